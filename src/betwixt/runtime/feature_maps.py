"""The features of a network as pictures: the first three principal components of what its modules return.

Only networks that run in PyTorch, those of papers, have them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from betwixt.models.base import Interpolator
from betwixt.models.maps import IntermediateMap, Maps

_CHANNELS = 8
"""Outputs with fewer channels are flows, masks and images."""


def feature_maps(model: Interpolator, make_frame: Callable[[], Any]) -> Maps:
    """The features that the modules of a model's network return while a frame is made.

    Args:
        model: The model.
        make_frame: Makes the frame.

    Returns:
        Images (h, w, 3) in [0, 1] by name: "features_" and the module's name, with a number where it returns several
        levels. A module that is called several times has the last result, and one that gets both frames in one batch
        that of the first frame. Empty for a model without such a network.
    """
    network = getattr(model, "network", None)
    if not isinstance(network, nn.Module):
        return {}
    found: dict[str, Tensor] = {}

    def note(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            levels = list(_feature_tensors(output))
            for number, tensor in enumerate(levels, 1):
                found[f"{name}_{number}" if len(levels) > 1 else name] = tensor

        return hook

    hooks = [module.register_forward_hook(note(name)) for name, module in _blocks(network)]
    try:
        make_frame()
    finally:
        for hook in hooks:
            hook.remove()
    return {
        f"features_{name.replace('.', '_')}": IntermediateMap("image", _principal_components(tensor[0]))
        for name, tensor in found.items()
    }


def _blocks(network: nn.Module, prefix: str = "", depth: int = 2) -> Iterator[tuple[str, nn.Module]]:
    """The names and modules of a network, two levels deep, without single layers."""
    for name, child in network.named_children():
        if any(True for _ in child.children()):
            yield f"{prefix}{name}", child
            if depth > 1:
                yield from _blocks(child, f"{prefix}{name}.", depth - 1)


def _feature_tensors(output: Any) -> Iterator[Tensor]:
    """The features (N, C, h, w) in the output of a module."""
    if isinstance(output, Tensor):
        if output.ndim == 4 and output.shape[1] >= _CHANNELS and min(output.shape[2:]) > 1:
            yield output
    elif isinstance(output, tuple | list):
        for item in output:
            yield from _feature_tensors(item)


def _principal_components(features: Tensor) -> np.ndarray[Any, np.dtype[np.float32]]:
    """The first three principal components of (C, h, w), each scaled to [0, 1]: (h, w, 3)."""
    pixels = features.float().flatten(1).T
    pixels = pixels - pixels.mean(dim=0)
    _, _, directions = torch.linalg.svd(pixels.T @ pixels / len(pixels))
    components = pixels @ directions[:3].T
    # The sign of a component is arbitrary: the largest weight of its direction is positive.
    signs = torch.sign(torch.gather(directions[:3], 1, directions[:3].abs().argmax(dim=1, keepdim=True)))[:, 0]
    components = components * signs
    low, high = components.min(dim=0).values, components.max(dim=0).values
    scaled = (components - low) / (high - low).clamp(min=1e-6)
    return np.ascontiguousarray(scaled.reshape(*features.shape[1:], 3).cpu().numpy(), np.float32)

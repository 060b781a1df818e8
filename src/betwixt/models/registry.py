"""The models by name, and what is known of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from betwixt.errors import UsageError
from betwixt.models.base import Interpolator

__all__ = ["DEFAULT_MODEL", "MODELS", "ModelInfo", "load_model"]

DEFAULT_MODEL = "dis"


@dataclass(frozen=True)
class ModelInfo:
    """What there is to know of a model before loading it.

    Attributes:
        name: As in `load_model`.
        summary: What it is, in a few words.
        paper: The paper it implements.
        parameters: How many it has; 0 for a model that learns nothing.
        weights: Whether good weights are at hand: "not needed", "embedded", "missing".
        licence: Of the weights, or of the method's implementation.
        load: Makes it, given the device.
    """

    name: str
    summary: str
    paper: str
    parameters: int
    weights: str
    licence: str
    load: Callable[[str], Interpolator]


def _dis(device: str) -> Interpolator:
    if device.startswith("cuda"):
        raise UsageError("The model dis runs on the CPU: leave --device out, or choose another model.")
    from betwixt.models.dis import DIS

    model: Interpolator = DIS()
    return model


MODELS: dict[str, ModelInfo] = {
    info.name: info
    for info in (
        ModelInfo(
            name="dis",
            summary="classical flow, projected to the new frame's time, fused by visibility",
            paper="Kroeger et al., Fast Optical Flow using Dense Inverse Search, ECCV 2016",
            parameters=0,
            weights="not needed",
            licence="MIT",
            load=_dis,
        ),
    )
}


def load_model(name: str = DEFAULT_MODEL, device: str = "auto") -> Interpolator:
    """Load a model by name.

    Args:
        name: One of `betwixt models`.
        device: "auto", "cpu", "cuda" or "cuda:1".

    Returns:
        The model, ready to use from any thread.

    Raises:
        UsageError: if there is no such model, or it does not run on that device.

    Example:
        >>> import betwixt
        >>> betwixt.load_model("dis").name
        'dis'
    """
    if name not in MODELS:
        raise UsageError(f"There is no model '{name}': choose one of {', '.join(sorted(MODELS))}.")
    _check_device(device)
    return MODELS[name].load(device)


def _check_device(device: str) -> None:
    kind, _, number = device.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (number and (kind != "cuda" or not number.isdigit())):
        raise UsageError(f"There is no device '{device}': choose auto, cpu, cuda or cuda:1.")
    if kind == "cuda":
        try:
            import torch
        except ImportError:
            raise UsageError("The device cuda needs PyTorch: pip install 'betwixt[torch]'.") from None
        if not torch.cuda.is_available():
            raise UsageError("No CUDA device is at hand: use --device cpu or auto.")
        if int(number or 0) >= torch.cuda.device_count():
            raise UsageError(f"There is no {device}: this machine has {torch.cuda.device_count()} CUDA device(s).")

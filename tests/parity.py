"""The parity fixtures: weights by formula, inputs and results of the authors' implementations."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

FOLDER = Path(__file__).parents[2] / "shared" / "parity"


def fixture(name: str) -> dict[str, NDArray[Any]]:
    """The arrays of a fixture; skips the test if the fixture is not available."""
    path = FOLDER / f"{name}.npz"
    if not path.exists():
        pytest.skip(f"{path} is missing: the parity fixtures are not part of the repository")
    with np.load(path) as file:
        return {key: file[key] for key in file.files}


def counts(model: str) -> dict[str, Any]:
    """Parameters and FLOPs of the authors' network."""
    path = FOLDER / "counts.json"
    if not path.exists():
        pytest.skip(f"{path} is missing: the parity fixtures are not part of the repository")
    return json.loads(path.read_text())["models"][model]


def make_weight(name: str, shape: tuple[int, ...], gain: float) -> NDArray[np.float32]:
    """The value of a parameter, from its name in the reference implementation."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    x = rng.standard_normal(shape, dtype=np.float32)
    if len(shape) > 1:
        return x * np.float32(gain * math.sqrt(1.0 / math.prod(shape[1:])))
    return (np.float32(0.25) if name.endswith("weight") else np.float32(0)) + np.float32(0.05) * x


def fill(network: nn.Module, arrays: dict[str, NDArray[Any]], rename: Callable[[str], str] = lambda name: name) -> None:
    """Load the fixture's weights into `network`; `rename` maps the authors' names to ours. Every name has to match."""
    gain = float(arrays["gain"])
    names = [str(name) for name in arrays["param_names"]]
    shapes = json.loads(str(arrays["param_shapes"]))
    if isinstance(shapes, dict):
        shapes = [shapes[name] for name in names]
    ours = dict(network.named_parameters())
    with torch.no_grad():
        for name, shape in zip(names, shapes, strict=True):
            parameter = ours.pop(rename(name))
            assert tuple(parameter.shape) == tuple(shape), name
            parameter.copy_(torch.from_numpy(make_weight(name, tuple(shape), gain)))
    assert not ours, f"parameters that the reference does not have: {sorted(ours)}"


def tensor(array: NDArray[Any]) -> Tensor:
    """An array of a fixture as a tensor."""
    return torch.from_numpy(np.array(array))


def gflop(network: nn.Module, height: int, width: int) -> float:
    """GFLOP of one interpolated frame, counted and rounded as in counts.json.

    They are counted at 64x64 and scaled by the area, which is faster than counting at full size on the meta device.
    """
    frame, t = torch.zeros(1, 3, 64, 64), torch.zeros(1, 1, 1, 1)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(frame, frame, t)
    return round(counter.get_total_flops() * height * width / 64**2 / 1e9, 3)


def check_counts(name: str, build: Callable[[], nn.Module]) -> None:
    """Check parameters and FLOPs at 1280x720, for networks whose FLOPs are not proportional to the area."""
    expected = counts(name)
    with torch.device("meta"):
        network = build().eval()
        frame, t = torch.empty(1, 3, 720, 1280), torch.empty(1, 1, 1, 1)
    assert sum(p.numel() for p in network.parameters()) == expected["params"]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(frame, frame, t)
    assert counter.get_total_flops() / 1e9 == pytest.approx(expected["gflop_1280x720_padded"], abs=5e-4)


def distances(arrays: dict[str, NDArray[Any]], prefix: str, results: dict[str, Tensor]) -> dict[str, float]:
    """The largest absolute difference from every array whose key starts with `prefix`; each needs a result.

    A result is named like its array, without the prefix and without the suffix of the subsampling factor (`_sub4`).
    """
    found = {}
    for key, theirs in arrays.items():
        if key.startswith(prefix):
            name, _, step = key.removeprefix(prefix).partition("_sub")
            subsampled = slice(None, None, int(step or 1))
            ours = results[name]
            found[key] = distance(ours[..., subsampled, subsampled] if ours.ndim == 4 else ours, theirs)
    return found


def distance(ours: Tensor, theirs: NDArray[Any]) -> float:
    """The largest absolute difference."""
    assert tuple(ours.shape) == theirs.shape
    return float((ours.detach().double() - torch.from_numpy(np.array(theirs)).double()).abs().max())

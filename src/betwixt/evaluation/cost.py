"""What a frame costs: parameters, operations, time, memory.

    measure(name, size) ──► load ──► warm up ──► time prepare + at(1/2), again and again ──► Cost

- Parameters: all that inference uses.
- FLOPs: of convolutions, transposed convolutions and matrix products, by `torch.utils.flop_counter`, one multiply-add
  counted as 2. (The papers often print half of that, sometimes calling it FLOPs; sampling, norms and activations are
  not counted.) They are counted on shapes alone, at the size padded to the network's multiple.
- Time: from two RGB pictures in memory to the one between them, everything included (transfer to the device, padding,
  network); median and quartiles over the runs.
- Peak memory: of the process while it makes frames, or of the CUDA device if the model runs there.
"""

from __future__ import annotations

import contextlib
import gc
import os
import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from betwixt.errors import UsageError
from betwixt.machine import describe_machine, peak_memory, require_torch
from betwixt.models.base import Image, Interpolator
from betwixt.models.registry import load_network, model_info
from betwixt.runtime.load import check_device, check_runtime, hash_weights, load_model

__all__ = ["Cost", "count_flops", "count_parameters", "made_pair", "measure", "parse_size"]

_LARGEST = 16384


@dataclass(frozen=True)
class Cost:
    """What making one frame takes.

    Attributes:
        model: Its name.
        width: Of the frame.
        height: Of the frame.
        runtime: "torch" or "openvino", or "native" for what needs no network.
        precision: "fp32", "bf16", "fp16", "int8".
        device: "cpu", "cuda", ..
        threads: CPU threads of the runtime.
        parameters: At inference.
        gflop: For one frame, a multiply-add counted as 2; None where nothing is counted (no network).
        seconds: Median for one frame.
        quartiles: The first and the third quartile, seconds.
        runs: How many were timed.
        peak_memory: Bytes.
        weights_hash: Of the weights it ran with, "" for none.
        trained: Whether it ran with trained weights; time and memory do not depend on it.
        machine: See `machine.describe_machine`.
    """

    model: str
    width: int
    height: int
    runtime: str
    precision: str
    device: str
    threads: int
    parameters: int
    gflop: float | None
    seconds: float
    quartiles: tuple[float, float]
    runs: int
    peak_memory: int
    weights_hash: str
    trained: bool
    machine: str

    @property
    def frames_per_second(self) -> float:
        """New frames a second, one after the other."""
        return 1.0 / self.seconds

    def as_dict(self) -> dict[str, Any]:
        """As plain numbers and texts."""
        return {
            **asdict(self),
            "quartiles": list(self.quartiles),
            "frames_per_second": self.frames_per_second,
            "flop_convention": "one multiply-add counts as 2",
        }


def parse_size(text: str) -> tuple[int, int]:
    """Width and height of "1280x720".

    Raises:
        UsageError: if it is no size.
    """
    width, cross, height = text.lower().partition("x")
    if not (cross and width.isdecimal() and height.isdecimal()):
        raise UsageError(f"'{text}' is no size: write it as 1280x720.")
    if not (16 <= int(width) <= _LARGEST and 16 <= int(height) <= _LARGEST):
        raise UsageError(f"The size {text} is out of range: each side has 16 to {_LARGEST} pixels.")
    return int(width), int(height)


def count_parameters(name: str) -> int:
    """The parameters of a model at inference; 0 if it learns nothing."""
    if not model_info(name).has_network:
        return 0
    import torch

    with torch.device("meta"):
        network = load_network(name)
    return sum(parameter.numel() for parameter in network.parameters())


def count_flops(name: str, width: int, height: int) -> float | None:
    """GFLOP of one frame, a multiply-add counted as 2, at the size padded to the network's multiple.

    None for a model that is no network. Nothing is computed: the network runs on shapes alone.
    """
    if not model_info(name).has_network:
        return None
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):
        network = load_network(name).eval()
        h, w = (-(-side // network.multiple) * network.multiple for side in (height, width))
        frames = torch.zeros(2, 1, 3, h, w)
        t = torch.full((1, 1, 1, 1), 0.5)
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        network(frames[0], frames[1], t)
    return counter.get_total_flops() / 1e9


def made_pair(width: int, height: int) -> tuple[Image, Image]:
    """Two made pictures to time models on: texture at several scales that turns and grows a little."""
    noise = np.random.default_rng(0)
    world = np.zeros((height, width, 3), np.float32)
    for sigma in (1.5, 4.0, 12.0):
        layer = cv2.GaussianBlur(noise.standard_normal(world.shape).astype(np.float32), (0, 0), sigma)
        world += layer / layer.std()
    first = np.clip(world * 0.12 + 0.5, 0, 1).astype(np.float32)
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), 2, 1.02)
    second = cv2.warpAffine(first, turn, (width, height), borderMode=cv2.BORDER_REFLECT_101)
    return first, np.asarray(second, np.float32)


def measure(
    name: str,
    width: int,
    height: int,
    *,
    device: str = "auto",
    runtime: str = "auto",
    precision: str = "auto",
    weights: Path | None = None,
    threads: int = 0,
    runs: int = 10,
    seconds: float = 20.0,
) -> Cost:
    """Measure a model.

    Args:
        name: The model; a network needs no trained weights for this.
        width: Of the frames.
        height: Of the frames.
        device: "auto", "cpu", "cuda", ..
        runtime: "auto", "torch", "openvino" or "native".
        precision: As of `load_model`, for networks; "auto" for what they run in by themselves.
        weights: A file of weights, if the trained network is to be timed.
        threads: CPU threads; 0 for one a core.
        runs: How often to time it, at least three times,
        seconds: but not for longer than about this.

    Raises:
        UsageError: if the model does not run so.
    """
    info = model_info(name)
    if info.sequences_only:
        raise UsageError(f"The model {name} works on sequences: it is timed as what --end-to-end compares with.")
    check_runtime(name, runtime)
    used = threads or os.cpu_count() or 1
    cv2.setNumThreads(used)
    model = _model(name, device, runtime, precision, weights, used)
    first, second = made_pair(width, height)
    where = str(getattr(model, "device", "cpu"))
    _reset_peak(where)
    times: list[float] = []
    began = time.perf_counter()
    # The first run compiles, allocates and fills caches: it does not count.
    while len(times) < 1 + max(3, runs) and (len(times) < 4 or time.perf_counter() - began < seconds):
        start = time.perf_counter()
        model.prepare(first, second).at(0.5)
        times.append(time.perf_counter() - start)
    kept = times[1:]
    quarters = statistics.quantiles(kept, n=4, method="inclusive")
    return Cost(
        model=name,
        width=width,
        height=height,
        runtime=getattr(model, "engine", info.runtimes[0]),
        precision=getattr(model, "precision", "fp32"),
        device=where,
        threads=used,
        parameters=count_parameters(name),
        gflop=count_flops(name, width, height),
        seconds=statistics.median(kept),
        quartiles=(quarters[0], quarters[2]),
        runs=len(kept),
        peak_memory=_peak(where),
        weights_hash=hash_weights(name, weights),
        trained=weights is not None or info.weights in ("not needed", "embedded"),
        machine=describe_machine(where, network=info.has_network),
    )


def _model(name: str, device: str, runtime: str, precision: str, weights: Path | None, threads: int) -> Interpolator:
    info = model_info(name)
    if info.has_network:
        require_torch(f"The model {name}")
        import torch

        torch.set_num_threads(threads)
    if not info.has_network or weights is not None or info.embedded:
        return load_model(name, device, weights=weights, precision=precision, runtime=runtime)
    check_device(device)
    network = load_network(name)
    from betwixt.runtime.torch import TorchInterpolator

    return TorchInterpolator(name, network, device, precision)


def _reset_peak(device: str) -> None:
    gc.collect()
    if device.startswith("cuda"):
        import torch

        torch.cuda.reset_peak_memory_stats(device)
        return
    # Where this cannot be done, the peak is that of the whole process.
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak(device: str) -> int:
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.max_memory_allocated(device))
    return peak_memory()

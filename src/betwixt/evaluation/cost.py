"""The cost of one frame: parameters, operations, time, memory.

    measure_cost(name, size) ──► load ──► warm up ──► time prepare + at(1/2), repeatedly ──► Cost

- Parameters: all that inference uses.
- FLOPs: of convolutions, transposed convolutions and matrix products, by `torch.utils.flop_counter`; one multiply-add
  counts as 2. (The papers often report half of that, sometimes calling it FLOPs; sampling, normalization and
  activations are not counted.) They are counted from shapes alone, at the size padded to the network's multiple.
- Time: from two RGB images in memory to the one between them, including transfer to the device and padding; median and
  quartiles over the runs. Of a batch, that of one pair.
- Peak memory: of the process while it makes frames, or of the CUDA device if the model runs there.
"""

from __future__ import annotations

import contextlib
import gc
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from betwixt.backends.backend import Backend, check_torch_device
from betwixt.errors import UsageError
from betwixt.evaluation.network_variant import UNCHANGED, NetworkVariant
from betwixt.machine import describe_machine, peak_memory, require_torch, torch_version
from betwixt.models.base import Interpolator
from betwixt.models.frame_view import Image
from betwixt.models.registry import load_network, model_info
from betwixt.runtime.load import check_runtime, hash_weights, load_model
from betwixt.weights.metadata import read_hyperparameters

if TYPE_CHECKING:
    from betwixt.models.network import Network

_MIN_SIDE, _MAX_SIDE = 16, 16384


@dataclass(frozen=True)
class Cost:
    """The cost of making one frame."""

    model: str
    width: int
    height: int
    runtime: str  # "torch" or "openvino", or "native" for models without a network
    precision: str  # "fp32", "bf16", "fp16", "int8"
    device: str  # "cpu", "cuda", ..
    threads: int  # CPU threads of the runtime
    parameters: int
    gflop: float | None  # for one frame, a multiply-add counted as 2; None for models without a network
    seconds: float  # median time of one frame
    quartiles: tuple[float, float]  # the first and the third quartile, in seconds
    runs: int
    peak_memory: int  # in bytes
    weights_hash: str  # hash of the weights it ran with, "" for none
    trained: bool  # whether it ran with trained weights; time and memory do not depend on them
    machine: str  # see `machine.describe_machine`
    settings: str = ""  # how the network differs from the registered one
    batch: int = 1  # pairs of frames processed together
    warm_up: int = 1  # untimed runs before the timed ones
    parts: dict[str, float] | None = None  # seconds of the network's parts, for one pair of frames

    @property
    def frames_per_second(self) -> float:
        return 1.0 / self.seconds

    def as_dict(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "frames_per_second": self.frames_per_second,
            "flop_convention": "one multiply-add counts as 2",
        }


def parse_size(text: str) -> tuple[int, int]:
    """Width and height of a text such as "1280x720".

    Raises:
        UsageError: if it is not a size, or a side is out of range.
    """
    width, separator, height = text.lower().partition("x")
    if not (separator and width.isdecimal() and height.isdecimal()):
        raise UsageError(f"'{text}' is no size: write it as 1280x720.")
    if not all(_MIN_SIDE <= int(side) <= _MAX_SIDE for side in (width, height)):
        raise UsageError(f"The size {text} is out of range: each side has {_MIN_SIDE} to {_MAX_SIDE} pixels.")
    return int(width), int(height)


def count_parameters(name: str, variant: NetworkVariant = UNCHANGED, weights: Path | None = None) -> int:
    """The number of parameters of a model at inference; 0 for a model without a network."""
    if not model_info(name).has_network or not torch_version():
        return model_info(name).parameters
    import torch

    with torch.device("meta"):
        network = _build(name, variant, weights)
    return sum(parameter.numel() for parameter in network.parameters())


def count_flops(
    name: str, width: int, height: int, variant: NetworkVariant = UNCHANGED, weights: Path | None = None
) -> float | None:
    """GFLOP of one frame, a multiply-add counted as 2, at the size padded to the network's multiple.

    None for a model without a network, and without PyTorch. Nothing is computed: the network runs on the meta device.
    """
    if not model_info(name).has_network or not torch_version():
        return None
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):
        network = _build(name, variant, weights).eval()
        h, w = (-(-side // network.multiple) * network.multiple for side in (height, width))
        frames = torch.zeros(2, 1, 3, h, w)
        t = torch.full((1, 1, 1, 1), 0.5)
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        network(frames[0], frames[1], t)
    return counter.get_total_flops() / 1e9 * (2 if variant.augmented else 1)


def _build(name: str, variant: NetworkVariant, weights: Path | None) -> Network:
    """The network of a model without trained weights, as its weights file and `variant` describe it."""
    stored = {} if weights is None or weights.suffix == ".onnx" else read_hyperparameters(weights, name)
    if variant.hyperparameters:
        return variant.build(name, stored)
    return load_network(name, stored)


def _make_test_pair(width: int, height: int) -> tuple[Image, Image]:
    """Two images to time models on: noise at several scales, then rotated by 2 degrees and enlarged by 2 %."""
    noise = np.random.default_rng(0)
    texture = np.zeros((height, width, 3), np.float32)
    for sigma in (1.5, 4.0, 12.0):
        layer = cv2.GaussianBlur(noise.standard_normal(texture.shape).astype(np.float32), (0, 0), sigma)
        texture += layer / layer.std()
    first = np.clip(texture * 0.12 + 0.5, 0, 1).astype(np.float32)
    rotation = cv2.getRotationMatrix2D((width / 2, height / 2), 2, 1.02)
    second = cv2.warpAffine(first, rotation, (width, height), borderMode=cv2.BORDER_REFLECT_101)
    return first, np.asarray(second, np.float32)


def measure_cost(
    name: str,
    width: int,
    height: int,
    *,
    device: str = "auto",
    runtime: str = "auto",
    precision: str = "auto",
    weights: Path | None = None,
    variant: NetworkVariant = UNCHANGED,
    threads: int = 0,
    runs: int = 10,
    warm_up: int = 1,
    batch: int = 1,
    parts: bool = False,
    max_seconds: float = 20.0,
) -> Cost:
    """Measure a model on frames of a size; `device`, `runtime`, `precision` and `weights` are as in `load_model`.

    A network needs no trained weights for this. After `warm_up` runs it is timed `runs` times, but at least three
    times, and then no longer than about `max_seconds`. `threads` 0 is one for each core. With a `batch`, that many
    pairs of frames are processed together, and the time is that of one of them. `parts` times the parts of the network
    as well, in runs of their own.

    Raises:
        UsageError: if the model does not run this way.
    """
    info = model_info(name)
    if info.sequences_only:
        raise UsageError(f"The model {name} works on sequences: `end_to_end` compares the others with it.")
    check_runtime(name, runtime, weights)
    used_threads = threads or os.cpu_count() or 1
    cv2.setNumThreads(used_threads)
    model = _load(name, device, runtime, precision, weights, used_threads, variant)
    if parts and not _has_module(model):
        raise UsageError(f"`parts` times a network that runs in PyTorch: {name} has none here.")
    backend = model.backend or Backend(info.runtimes[0])
    used_device = backend.device

    first, second = _make_test_pair(width, height)
    _reset_peak_memory(used_device)

    def run() -> None:
        if batch == 1:
            model.prepare(first, second).at(0.5)
        else:
            model.prepare_batch([first] * batch, [second] * batch).at(0.5)

    for _ in range(warm_up):  # the first run compiles, allocates and fills caches
        run()
    times: list[float] = []
    began = time.perf_counter()
    while len(times) < max(3, runs) and (len(times) < 3 or time.perf_counter() - began < max_seconds):
        start = time.perf_counter()
        run()
        times.append((time.perf_counter() - start) / batch)
    quartiles = statistics.quantiles(times, n=4, method="inclusive")
    return Cost(
        model=name,
        width=width,
        height=height,
        runtime=backend.engine,
        precision=backend.precision,
        device=used_device,
        threads=used_threads,
        parameters=count_parameters(name, variant, weights),
        gflop=count_flops(name, width, height, variant, weights),
        seconds=statistics.median(times),
        quartiles=(quartiles[0], quartiles[2]),
        runs=len(times),
        peak_memory=_peak_memory(used_device),
        weights_hash=hash_weights(name, weights),
        trained=weights is not None or info.weights in ("not needed", "embedded"),
        machine=describe_machine(used_device, "" if model.backend is None else backend.engine),
        settings=variant.text,
        batch=batch,
        warm_up=warm_up,
        parts=_time_parts(model, run, len(times), batch) if parts else None,
    )


def _has_module(model: Interpolator) -> bool:
    """Whether a model runs a network as a PyTorch module."""
    if not torch_version():
        return False
    from torch import nn

    return isinstance(getattr(model, "network", None), nn.Module)


def _time_parts(model: Any, run: Callable[[], None], runs: int, batch: int) -> dict[str, float]:
    """Seconds per pair of frames of the parts of a model's network, by name, in `runs` further runs."""
    from betwixt.evaluation.part_times import PartTimes

    times = PartTimes(model.network)
    for _ in range(runs):
        with times.frame():
            run()
    return {part: seconds / batch for part, seconds in times.medians().items()}


def _load(
    name: str,
    device: str,
    runtime: str,
    precision: str,
    weights: Path | None,
    threads: int,
    variant: NetworkVariant,
) -> Interpolator:
    info = model_info(name)
    if variant:
        require_torch(f"The model {name}")
        import torch

        torch.set_num_threads(threads)
        check_torch_device(device)
        if weights is not None:
            return variant.load(name, device, weights, precision)
        return variant.interpolator(name, variant.build(name), device, precision)
    if not info.has_network or weights is not None or info.embedded:
        model = load_model(name, device, weights=weights, precision=precision, runtime=runtime)
        if model.backend is not None and model.backend.engine == "torch":
            import torch

            torch.set_num_threads(threads)
        return model
    # A network without trained weights costs the same.
    require_torch(f"The model {name}")
    import torch

    from betwixt.runtime.network_interpolator import NetworkInterpolator

    torch.set_num_threads(threads)
    check_torch_device(device)
    return NetworkInterpolator(name, load_network(name), device, precision)


def _reset_peak_memory(device: str) -> None:
    gc.collect()
    if device.startswith("cuda"):
        import torch

        torch.cuda.reset_peak_memory_stats(device)
        return
    # Where Linux' counter cannot be reset, the peak is that of the whole process.
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak_memory(device: str) -> int:
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.max_memory_allocated(device))
    return peak_memory()

"""Running PyTorch modules on CPUs through OpenVINO, which takes less time there than PyTorch.

    module ──► OpenVINO model, any size ──► reshaped to a size ──► compiled ──► arrays in, arrays out
               cached by content, in the cache folder              cached there too

The first time, both steps take a second or two. From then on the models are read from the cache, BETWIXT_CACHE or the
user's cache folder, and PyTorch is not loaded at all. Without a writable cache everything works, but starts slower.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import os
import platform
import sys
import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from betwixt.machine import cache_folder, require_torch, torch_version

if TYPE_CHECKING:
    from torch import Tensor, nn

_Map = NDArray[Any]

_Trace = Callable[[], "tuple[nn.Module, Sequence[Tensor]]"]
"""Makes a module, with its weights, and small arguments (1, c, h, w) to trace it with. The module must compute the same
at other sizes."""

_PRECISIONS = ("fp32", "bf16", "int8")

_SIZES = 4
"""The number of compiled sizes that are kept: a video has one size, a data set a few."""


def supports_precision(precision: str) -> bool:
    """Whether OpenVINO is installed and runs networks in `precision` on a CPU; "auto" is its fastest."""
    if precision not in ("auto", *_PRECISIONS):
        return False
    try:
        _import_openvino()
    except ImportError:
        return False
    return True


def fastest_precision(int8: bool) -> str:
    """The fastest precision on this machine's CPU: "int8", "bf16" or "fp32".

    Args:
        int8: Whether the network can run in int8, which is faster on any x86 CPU. bf16 is faster where the CPU has
            instructions for it, and several times slower elsewhere.
    """
    capabilities = _capabilities()
    if int8 and "INT8" in capabilities:
        return "int8"
    return "bf16" if "BF16" in capabilities else "fp32"


class CompiledModule:
    """A module that OpenVINO runs on the CPU. Safe to use from several threads at once.

    Args:
        content: Identifies the module in the cache: its weights, its form, the code that defines it.
        trace: Makes the module, if it is not in the cache.
        precision: "fp32", "bf16" or "int8"; with "int8" the `FakeQuantConv` layers of the module run in int8, and the
            rest in the faster of the other two.
        channels_last_inputs: Which arguments come with their channels last, as images do.
        channels_last_outputs: Which results do; results with many channels take longer in another layout.

    Attributes:
        streams: How many threads run it side by side, each on its share of the cores; more threads may call it.
    """

    def __init__(
        self,
        content: str,
        trace: _Trace,
        precision: str = "fp32",
        channels_last_inputs: Sequence[int] = (0, 1),
        channels_last_outputs: Sequence[int] = (),
    ) -> None:
        folder = _writable(cache_folder("openvino"))
        float_precision = fastest_precision(int8=False) if precision == "int8" else precision
        self._settings: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "bf16" if float_precision == "bf16" else "f32",
            **({"CACHE_DIR": str(folder)} if folder is not None else {}),
        }
        self.streams, self._channels_last = 1, (channels_last_inputs, channels_last_outputs)
        self._model = _convert(content, trace, folder)
        self._compiled: OrderedDict[tuple[int, tuple[tuple[int, ...], ...]], Any] = OrderedDict()
        self._lock, self._local = threading.Lock(), threading.local()

    def __call__(self, *arguments: _Map) -> list[_Map]:
        """Run the module.

        Args:
            arguments: Contiguous arrays, each (1, c, h, w), or (1, h, w, c) with the channels last.

        Returns:
            The results, float32, each (1, c, h, w) or (1, h, w, c). They are valid until this thread's next call.
        """
        compiled = self._compiled_for(tuple(x.shape for x in arguments))
        requests: dict[int, tuple[Any, Any]] = self._local.__dict__.setdefault("requests", {})
        # A request belongs to one thread. It keeps its compiled model, so that the model's id is not used again.
        if id(compiled) not in requests:
            if len(requests) >= _SIZES:
                requests.clear()
            requests[id(compiled)] = compiled, compiled.create_infer_request()
        results = requests[id(compiled)][1].infer(list(arguments), share_inputs=True, share_outputs=True)
        return list(results.values())

    def _compiled_for(self, shapes: tuple[tuple[int, ...], ...]) -> Any:
        with self._lock:
            key = self.streams, shapes
            if key in self._compiled:
                self._compiled.move_to_end(key)
                return self._compiled[key]
            settings = dict(self._settings)
            if self.streams > 1:
                # A thread that is pinned to a core waits for whatever else runs on that core.
                settings |= {"NUM_STREAMS": str(self.streams), "ENABLE_CPU_PINNING": False}
            model = _reshape(self._model.clone(), shapes, *self._channels_last)
            compiled = _core().compile_model(model, "CPU", settings)
            self._compiled[key] = compiled
            if len(self._compiled) > _SIZES:
                self._compiled.popitem(last=False)
            return compiled


def _writable(folder: Path) -> Path | None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK) else None


_START_LOCK = threading.Lock()


def _import_openvino() -> Any:
    """OpenVINO, imported without its telemetry, unless the caller had imported it before.

    By default it reports every import and every conversion to its makers, and writes to the user's home folder.
    """
    with _START_LOCK:
        return _imported()


@functools.cache
def _imported() -> Any:
    with contextlib.nullcontext() if "openvino" in sys.modules else _hide_module("openvino_telemetry"):
        import openvino

        return openvino


@contextlib.contextmanager
def _hide_module(name: str) -> Iterator[None]:
    """Let imports of a module fail within the block."""
    before = sys.modules.get(name)
    sys.modules[name] = None  # type: ignore[assignment] # Python's mark for a module that cannot be imported
    try:
        yield
    finally:
        if sys.modules.get(name) is None:
            sys.modules.pop(name, None)
            if before is not None:
                sys.modules[name] = before


def _core() -> Any:
    """The process's one `openvino.Core`, which lives as long as the process."""
    with _START_LOCK:
        return _started_core()


@functools.cache
def _capabilities() -> tuple[str, ...]:
    """What OpenVINO can do on this CPU; empty except on x86, for which alone the effect on our networks is known."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return ()
    return tuple(_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


@functools.cache
def _started_core() -> Any:
    """Create the core, and run it once.

    Its CPU plugin gives the thread that creates it a stack for signal handlers; with two cores, the thread is left with
    a stack that has been freed, and the next signal overwrites unrelated memory.

    Its Python bindings initialize themselves at the first array while holding a lock that another thread may wait for
    while it holds the interpreter's: two threads that pass their first arrays at the same moment would deadlock.
    """
    openvino = _imported()
    core = openvino.Core()
    array = np.zeros((1, 1), np.float32)
    parameter = openvino.opset8.parameter([1, 1], np.float32)
    model = openvino.Model([openvino.opset8.relu(parameter)], [parameter], "first")
    request = core.compile_model(model, "CPU").create_infer_request()
    for value in request.infer([array], share_inputs=True).values():
        np.array(value)
    return core


def _convert(content: str, trace: _Trace, folder: Path | None) -> Any:
    """A module as an OpenVINO model of any size, from the cache if it is there."""
    openvino = _import_openvino()
    versions = openvino.__version__, torch_version()
    name = hashlib.sha256(repr((content, versions)).encode()).hexdigest()[:32]
    cached = None if folder is None else folder / f"{name}.xml"
    if cached is not None and _is_complete(cached):
        return _core().read_model(cached)
    require_torch("Compiling a network for OpenVINO")
    import torch

    jit_trace: Any = torch.jit.trace
    module, example = trace()
    log = logging.getLogger("openvino")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        # OpenVINO traces with functions that PyTorch deprecates; the versions of the two are pinned together.
        with torch.inference_mode(), warnings.catch_warnings(action="ignore"):
            # Checking the trace would run the module a second time, which takes as long as everything else.
            graph = jit_trace(module.float().cpu().eval(), tuple(example), strict=False, check_trace=False)
            model = openvino.convert_model(graph, example_input=tuple(example))
    finally:
        log.setLevel(level)
    if cached is not None:
        with contextlib.suppress(OSError, RuntimeError):
            partial = cached.with_name(f"{cached.stem}.{os.getpid()}.xml")
            openvino.save_model(model, partial, compress_to_fp16=False)
            # The weights come first: a description without them would be read as damaged.
            partial.with_suffix(".bin").replace(cached.with_suffix(".bin"))
            partial.replace(cached)
            # The saved model differs from `model` in the last bits: this run and the next must agree.
            return _core().read_model(cached)
    return model


def _is_complete(description: Path) -> bool:
    """Whether a cached model is complete: a crash may have left half a file."""
    try:
        return description.with_suffix(".bin").exists() and description.read_text().rstrip().endswith("</net>")
    except (OSError, UnicodeDecodeError):
        return False


def _reshape(model: Any, shapes: Sequence[tuple[int, ...]], inputs: Sequence[int], outputs: Sequence[int]) -> Any:
    """The model for arguments of these shapes; some inputs and outputs have their channels last, (1, h, w, c)."""
    from openvino import Layout
    from openvino.preprocess import PrePostProcessor

    model.reshape({i: [s[0], s[3], s[1], s[2]] if i in inputs else list(s) for i, s in enumerate(shapes)})
    steps = PrePostProcessor(model)
    for place in (*(steps.input(i) for i in inputs), *(steps.output(i) for i in outputs)):
        place.tensor().set_layout(Layout("NHWC"))
        place.model().set_layout(Layout("NCHW"))
    return steps.build()

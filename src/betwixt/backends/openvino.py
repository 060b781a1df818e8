"""Parts of networks on CPUs through OpenVINO, which runs the same graph in less time there than PyTorch.

    module ──► OpenVINO model, any size ──► reshaped to a size ──► compiled ──► pictures and maps in, maps out
               kept by content, in the cache folder              kept there too

The first time, both steps take a second or two; from then on the models are read from the cache: BETWIXT_CACHE, or the
user's cache folder, and PyTorch is not even loaded. A cache that cannot be written is done without.
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

_Traced = Callable[[], "tuple[nn.Module, Sequence[Tensor]]"]
"""Makes a part of a network, with its weights, and small arguments (1, c, h, w) to trace it with. The part has to do
with other sizes what it does with these."""

_PRECISIONS = ("fp32", "bf16", "int8")

_SIZES = 4
"""Compiled models that are kept: a video has one size, a data set a few."""


def supports_precision(precision: str) -> bool:
    """Whether OpenVINO is installed and computes in `precision` on a CPU; "auto" is what it does fastest."""
    if precision not in ("auto", *_PRECISIONS):
        return False
    try:
        _library()
    except ImportError:
        return False
    return True


def fastest_precision(int8: bool) -> str:
    """The precision in which this machine's CPU takes the least time: "int8", "bf16" or "fp32".

    Args:
        int8: Whether the network can be rounded to eight bits. That is a gain on any x86; sixteen bits are where
            there are instructions for them, and take several times longer elsewhere.
    """
    able = _able()
    if int8 and "INT8" in able:
        return "int8"
    return "bf16" if "BF16" in able else "fp32"


class CompiledModule:
    """A module whose arguments are pictures and maps, run by OpenVINO. Safe to use from several threads at once.

    Args:
        content: What tells this part from all others: its weights, its form, what defines it.
        traced: Makes it, where it is not in the cache.
        precision: "fp32", "bf16" or "int8"; with "int8" the `FakeQuantConv` layers of a module run in int8, and
            the rest in whichever of the others is faster.
        last: Which of the arguments come with their channels last, as pictures do.
        last_made: Which of the results do; results of many channels take longer in any other form.

    Attributes:
        streams: How many threads it is to serve side by side, each with its part of the processors; they may be more.
    """

    def __init__(
        self,
        content: str,
        traced: _Traced,
        precision: str = "fp32",
        last: Sequence[int] = (0, 1),
        last_made: Sequence[int] = (),
    ) -> None:
        folder = _writable(cache_folder("openvino"))
        computed = fastest_precision(int8=False) if precision == "int8" else precision
        self._settings: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "bf16" if computed == "bf16" else "f32",
            **({"CACHE_DIR": str(folder)} if folder is not None else {}),
        }
        self.streams, self._last = 1, (last, last_made)
        self._model = _converted(content, traced, folder)
        self._compiled: OrderedDict[tuple[int, tuple[tuple[int, ...], ...]], Any] = OrderedDict()
        self._lock, self._requests = threading.Lock(), threading.local()

    def __call__(self, *maps: _Map) -> list[_Map]:
        """Results, float32, each (1, c, h, w) or (1, h, w, c), of arguments that are contiguous and likewise.

        They are good until this thread's next call.
        """
        compiled = self._for(tuple(m.shape for m in maps))
        mine: dict[int, tuple[Any, Any]] = self._requests.__dict__.setdefault("mine", {})
        # A request belongs to one thread; it goes when its compiled model has gone from everywhere else.
        if id(compiled) not in mine:
            if len(mine) >= _SIZES:
                mine.clear()
            mine[id(compiled)] = compiled, compiled.create_infer_request()
        results = mine[id(compiled)][1].infer(list(maps), share_inputs=True, share_outputs=True)
        return list(results.values())

    def _for(self, shapes: tuple[tuple[int, ...], ...]) -> Any:
        with self._lock:
            key = self.streams, shapes
            if key in self._compiled:
                self._compiled.move_to_end(key)
                return self._compiled[key]
            settings = dict(self._settings)
            if self.streams > 1:
                # Threads that are tied to a core wait there for whatever else that core is doing.
                settings |= {"NUM_STREAMS": str(self.streams), "ENABLE_CPU_PINNING": False}
            compiled = _core().compile_model(_sized(self._model.clone(), shapes, *self._last), "CPU", settings)
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


_STARTING = threading.Lock()


def _library() -> Any:
    """OpenVINO, which tells nobody that it is used, unless whoever uses Betwixt had loaded it before.

    Left to itself, it reports each import and each conversion to its makers, and writes into the user's home folder.
    """
    with _STARTING:
        return _loaded()


@functools.cache
def _loaded() -> Any:
    with contextlib.nullcontext() if "openvino" in sys.modules else _without("openvino_telemetry"):
        import openvino

        return openvino


@contextlib.contextmanager
def _without(name: str) -> Iterator[None]:
    """Let imports find no module of this name."""
    before = sys.modules.get(name)
    sys.modules[name] = None  # type: ignore[assignment] # how Python marks what is not to be had
    try:
        yield
    finally:
        if sys.modules.get(name) is None:
            sys.modules.pop(name, None)
            if before is not None:
                sys.modules[name] = before


def _core() -> Any:
    """What compiles, once a process and for as long as that lives."""
    with _STARTING:
        return _started()


@functools.cache
def _able() -> tuple[str, ...]:
    """What OpenVINO says of this machine's CPU; only of x86 is it known what it means for our networks."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return ()
    return tuple(_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


@functools.cache
def _started() -> Any:
    """Make it, and run it once.

    Its CPU plugin gives the thread that makes it a stack for signal handlers, and where there were two of them leaves
    the thread with one that has been freed: the next signal then writes over whatever lies there by now.

    What its Python bindings set up when they first see an array, they set up with a lock held that another thread may
    wait for while it holds the interpreter's: two threads whose first arrays come at the same moment stop for good.
    """
    openvino = _loaded()
    core = openvino.Core()
    array = np.zeros((1, 1), np.float32)
    given = openvino.opset8.parameter([1, 1], np.float32)
    model = openvino.Model([openvino.opset8.relu(given)], [given], "first")
    request = core.compile_model(model, "CPU").create_infer_request()
    for value in request.infer([array], share_inputs=True).values():
        np.array(value)
    return core


def _converted(content: str, traced: _Traced, folder: Path | None) -> Any:
    """A part as an OpenVINO model of open sizes, from the cache where it is there."""
    openvino = _library()
    versions = openvino.__version__, torch_version()
    name = hashlib.sha256(repr((content, versions)).encode()).hexdigest()[:32]
    kept = None if folder is None else folder / f"{name}.xml"
    if kept is not None and _whole(kept):
        return _core().read_model(kept)
    require_torch("Making a network ready for OpenVINO")
    import torch

    trace: Any = torch.jit.trace
    module, example = traced()
    log = logging.getLogger("openvino")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        # OpenVINO traces with what PyTorch means to give up; the two are pinned together.
        with torch.inference_mode(), warnings.catch_warnings(action="ignore"):
            # Traced without a second run to compare it with, which takes as long as all the rest.
            graph = trace(module.float().cpu().eval(), tuple(example), strict=False, check_trace=False)
            model = openvino.convert_model(graph, example_input=tuple(example))
    finally:
        log.setLevel(level)
    if kept is not None:
        with contextlib.suppress(OSError, RuntimeError):
            partial = kept.with_name(f"{kept.stem}.{os.getpid()}.xml")
            openvino.save_model(model, partial, compress_to_fp16=False)
            # The weights come first: a description without them would be read as damaged.
            partial.with_suffix(".bin").replace(kept.with_suffix(".bin"))
            partial.replace(kept)
            # What is read differs from what was written in the last bits: this run and the next are to agree.
            return _core().read_model(kept)
    return model


def _whole(description: Path) -> bool:
    """Whether a kept model is all there; half a file of a machine that was switched off is as good as none."""
    try:
        return description.with_suffix(".bin").exists() and description.read_text().rstrip().endswith("</net>")
    except (OSError, UnicodeDecodeError):
        return False


def _sized(model: Any, shapes: Sequence[tuple[int, ...]], last: Sequence[int], last_made: Sequence[int]) -> Any:
    """The model for arguments of these shapes, with the channels of some arguments and results last, (1, h, w, c)."""
    from openvino import Layout
    from openvino.preprocess import PrePostProcessor

    model.reshape({i: [s[0], s[3], s[1], s[2]] if i in last else list(s) for i, s in enumerate(shapes)})
    steps = PrePostProcessor(model)
    for place in (*(steps.input(i) for i in last), *(steps.output(i) for i in last_made)):
        place.tensor().set_layout(Layout("NHWC"))
        place.model().set_layout(Layout("NCHW"))
    return steps.build()

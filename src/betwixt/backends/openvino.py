"""Running network graphs through OpenVINO, which takes less time on CPUs than PyTorch.

    ONNX file ──► OpenVINO model ──► weights bound, quantized ──► reshaped to a size ──► compiled ──► maps in, maps out

Compiled models are cached in BETWIXT_CACHE or the user's cache folder, by OpenVINO. Without a writable cache everything
works, but starts slower.
"""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import sys
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from betwixt.backends.activation_ranges import ACTIVATION_LEVELS, WEIGHT_LEVELS
from betwixt.errors import InputError
from betwixt.machine import cache_folder

_Map = NDArray[Any]

NAME = "OpenVINO"

_SIZES = 4
"""The number of compiled sizes that are kept: a video has one size, a data set a few."""

_CONVOLUTIONS = {"Convolution": 0, "ConvolutionBackpropData": 1}
"""The axis of a convolution's weights along which its filters are."""


def is_available() -> bool:
    """Whether OpenVINO is installed."""
    return find_spec("openvino") is not None


def missing(device: str) -> str:
    """What is missing for OpenVINO, which is installed, to use a device; "" if nothing is."""
    try:
        _import_openvino()
    except (ImportError, OSError) as error:
        reason = str(error).partition("\n")[0].rstrip(".:")
        return (
            f"OpenVINO is installed, but does not load ({reason}). If a plugin of the program brings another build of "
            "it, remove that, or pip install 'betwixt[onnxruntime]'."
        )
    if device == "cpu" or _plugin(device) in _core().available_devices:
        return ""
    return f"OpenVINO finds no device {device} on this machine: choose another device, or install its driver."


def device_name(device: str) -> str:
    """The name of an available device."""
    name: str = _core().get_property(_plugin(device), "FULL_DEVICE_NAME")
    return name


def _plugin(device: str) -> str:
    """The name that OpenVINO has for a device: "gpu:1" is "GPU.1"."""
    return device.upper().replace(":", ".")


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


class OpenVINOGraph:
    """A graph that OpenVINO runs. Safe to use from several threads at once.

    Args:
        path: The graph, an ONNX file.
        device: "cpu", "gpu", "gpu:1" or "npu".
        precision: "fp32", "bf16", "fp16" or "int8"; with "int8" the convolutions in `ranges` run in int8, and the rest
            in the fastest floating-point precision.
        weights: Weights to use instead of those that the graph refers to, by name.
        ranges: The activation ranges of convolutions, by name, for "int8".
        channels_last_inputs: Which arguments come with their channels last in memory, as images do.
        channels_last_outputs: Which results do; results with many channels take longer in another layout.

    Attributes:
        inputs: The names of its inputs.
        outputs: The names of its outputs.
        streams: How many threads run it side by side, each on its share of the cores; more threads may call it.
        quantized: The names of the convolutions that run in int8.

    Raises:
        InputError: if the file cannot be read.
    """

    def __init__(
        self,
        path: Path,
        device: str = "cpu",
        precision: str = "fp32",
        *,
        weights: Mapping[str, _Map] | None = None,
        ranges: Mapping[str, float] | None = None,
        channels_last_inputs: Sequence[int] = (0, 1),
        channels_last_outputs: Sequence[int] = (),
    ) -> None:
        folder = _writable(cache_folder("openvino"))
        float_precision = fastest_precision(int8=False) if precision == "int8" else precision
        self._settings: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": {"bf16": "bf16", "fp16": "f16"}.get(float_precision, "f32"),
            **({"CACHE_DIR": str(folder)} if folder is not None else {}),
        }
        self.streams, self._device = 1, _plugin(device)
        self._channels_last = channels_last_inputs, channels_last_outputs
        try:
            self._model = _core().read_model(path)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise InputError(f"OpenVINO cannot read {path} ({reason}).") from None
        self.inputs: list[str] = [value.get_any_name() for value in self._model.inputs]
        self.outputs: list[str] = [value.get_any_name() for value in self._model.outputs]
        if weights is not None:
            _bind_weights(self._model, weights)
        self.quantized = _quantize(self._model, ranges) if precision == "int8" and ranges is not None else frozenset()
        self._compiled: OrderedDict[tuple[int, tuple[tuple[int, ...], ...]], Any] = OrderedDict()
        self._lock, self._local = threading.Lock(), threading.local()

    def __call__(self, images: Sequence[_Map], maps: Sequence[_Map]) -> list[_Map]:
        """Run the graph.

        Args:
            images: Its first arguments, (h, w, 3).
            maps: Its further arguments, (c, h, w).

        Returns:
            The results, (c, h, w) float32; their memory may have the channels last. They are valid until this thread's
            next call.
        """
        inputs, outputs = self._channels_last
        arguments: list[_Map] = [*images, *maps]
        for i in range(len(images), len(arguments)):
            if i in inputs:
                arguments[i] = arguments[i].transpose(1, 2, 0)
        results = self._infer([np.ascontiguousarray(x, np.float32)[None] for x in arguments])
        return [x[0].transpose(2, 0, 1) if i in outputs else x[0] for i, x in enumerate(results)]

    def compile(self, shapes: Sequence[tuple[int, int, int]]) -> None:
        """Compile the graph for arguments of these shapes (c, h, w), before they come."""
        inputs, _ = self._channels_last
        self._compiled_for(tuple((1, h, w, c) if i in inputs else (1, c, h, w) for i, (c, h, w) in enumerate(shapes)))

    def _infer(self, arguments: list[_Map]) -> list[_Map]:
        compiled = self._compiled_for(tuple(x.shape for x in arguments))
        requests: dict[int, tuple[Any, Any]] = self._local.__dict__.setdefault("requests", {})
        # A request belongs to one thread. It keeps its compiled model, so that the model's id is not used again.
        if id(compiled) not in requests:
            if len(requests) >= _SIZES:
                requests.clear()
            requests[id(compiled)] = compiled, compiled.create_infer_request()
        results = requests[id(compiled)][1].infer(arguments, share_inputs=True, share_outputs=True)
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
            compiled = _core().compile_model(model, self._device, settings)
            self._compiled[key] = compiled
            if len(self._compiled) > _SIZES:
                self._compiled.popitem(last=False)
            return compiled

    def runtime_precisions(self) -> list[tuple[str, str]]:
        """The kind and the precision of each layer of the models that have run."""
        return [
            (str(info["layerType"].astype(str)), str(info["runtimePrecision"].astype(str)))
            for compiled in self._compiled.values()
            for info in (layer.get_rt_info() for layer in compiled.get_runtime_model().get_ops())
        ]


def _bind_weights(model: Any, weights: Mapping[str, _Map]) -> None:
    """Replace the constants of a model that have the names of weights, in place.

    The widths of the layers may differ: shapes are inferred again when the model is reshaped.
    """
    from openvino import PartialShape, opset8

    for parameter in model.get_parameters():
        parameter.set_partial_shape(PartialShape([1, -1, -1, -1]))
    for constant in model.get_ops():
        if constant.get_type_name() == "Constant" and constant.get_friendly_name() in weights:
            values = np.asarray(weights[constant.get_friendly_name()], np.float32)
            bound = opset8.constant(values, name=constant.get_friendly_name())
            for target in constant.output(0).get_target_inputs():
                target.replace_source_output(bound.output(0))


def _quantize(model: Any, ranges: Mapping[str, float]) -> frozenset[str]:
    """Let convolutions of a model run in int8, in place: quantize their inputs and weights (`activation_ranges`).

    Returns:
        The names of the convolutions that are quantized: those of the model that are in `ranges`.
    """
    from openvino import opset8

    quantized = set()
    for node in model.get_ops():
        if node.get_type_name() not in _CONVOLUTIONS:
            continue
        constant = _weights_of(node)
        name = constant.get_friendly_name().removesuffix(".weight")
        if name not in ranges:
            continue
        quantized.add(name)
        step = ranges[name] / -ACTIVATION_LEVELS[0]
        low, high = (opset8.constant(np.float32(step * level)) for level in ACTIVATION_LEVELS)
        values = np.asarray(constant.data, np.float32)
        filters = _CONVOLUTIONS[node.get_type_name()]
        other_axes = tuple(axis for axis in range(values.ndim) if axis != filters)
        largest = np.abs(values).max(axis=other_axes, keepdims=True).clip(min=1e-12)
        least, most = (opset8.constant(largest * np.float32(level / WEIGHT_LEVELS[1])) for level in WEIGHT_LEVELS)
        for number, limits, levels in ((0, (low, high), ACTIVATION_LEVELS), (1, (least, most), WEIGHT_LEVELS)):
            source = node.input_value(number)
            count = levels[1] - levels[0] + 1
            node.input(number).replace_source_output(opset8.fake_quantize(source, *limits, *limits, count).output(0))
    return frozenset(quantized)


def _weights_of(convolution: Any) -> Any:
    """The constant that holds a convolution's weights."""
    node = convolution.input_value(1).get_node()
    while node.get_type_name() != "Constant":
        node = node.input_value(0).get_node()
    return node


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

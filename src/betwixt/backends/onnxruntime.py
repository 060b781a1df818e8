"""Running network graphs through ONNX Runtime, on CPUs and on the devices of its execution providers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from betwixt.errors import InputError, UsageError
from betwixt.machine import available_cores

_Map = NDArray[Any]

NAME = "ONNX Runtime"

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "migraphx": "MIGraphXExecutionProvider",
    "directml": "DmlExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
}
"""The execution provider of each device."""

_IN_LIBRARIES = ("cuda", "tensorrt")
"""The devices whose providers are files of their own, which tell without an import whether they are there."""


def is_available() -> bool:
    """Whether ONNX Runtime is installed."""
    return find_spec("onnxruntime") is not None


def missing(device: str) -> str:
    """What is missing for the installed ONNX Runtime to use a device; "" if nothing is."""
    kind = device.partition(":")[0]
    provider = PROVIDERS[kind]
    if (kind not in _IN_LIBRARIES or _has_library(kind)) and provider in _import().get_available_providers():
        return ""
    return f"The installed ONNX Runtime has no {provider}: install the build that has it, or choose another device."


def _has_library(kind: str) -> bool:
    spec = find_spec("onnxruntime")
    folders = spec.submodule_search_locations if spec else None
    return any(any(Path(folder, "capi").glob(f"*onnxruntime_providers_{kind}.*")) for folder in folders or ())


@cache
def _import() -> Any:
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)  # its warnings are about optimizations, not about results
    return onnxruntime


class OnnxRuntimeGraph:
    """A graph that ONNX Runtime runs in float32. Safe to use from several threads at once.

    Args:
        path: The graph, an ONNX file.
        device: One of `PROVIDERS`, e.g. "cuda:1".
        weights: All weights of the graph by name, to use instead of those that it refers to.

    Attributes:
        inputs: The names of its inputs.
        outputs: The names of its outputs.
        streams: How many threads run it side by side; without effect.

    Raises:
        InputError: if the file cannot be read, or the weights do not fit the graph.
        UsageError: if `weights` have values that float16, in which graphs keep weights, cannot hold.
    """

    def __init__(self, path: Path, device: str = "cpu", weights: Mapping[str, _Map] | None = None) -> None:
        runtime = _import()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = available_cores()
        kept = []  # the session reads their memory
        if weights is not None:
            kept = [runtime.OrtValue.ortvalue_from_numpy(_to_float16(x, name)) for name, x in weights.items()]
            options.add_external_initializers(list(weights), kept)
        kind, _, number = device.partition(":")
        provider: Any = PROVIDERS[kind]
        if number:
            provider = provider, {"device_id": int(number)}
        try:
            self._session = runtime.InferenceSession(str(path), options, [provider])
        except Exception as error:
            reason = str(error).strip().splitlines()[0]
            raise InputError(f"ONNX Runtime cannot run {path} ({reason}).") from None
        self._weights = kept
        self.inputs = [value.name for value in self._session.get_inputs()]
        self.outputs = [value.name for value in self._session.get_outputs()]
        self.streams = 1

    def __call__(self, images: Sequence[_Map], maps: Sequence[_Map]) -> list[_Map]:
        """Run the graph on images (h, w, 3), then maps (c, h, w); returns maps (c, h, w), float32."""
        arguments = [*(image.transpose(2, 0, 1) for image in images), *maps]
        values = [np.ascontiguousarray(x, np.float32)[None] for x in arguments]
        return [x[0] for x in self._session.run(None, dict(zip(self.inputs, values, strict=True)))]


def _to_float16(values: _Map, name: str) -> _Map:
    half = values.astype(np.float16)
    if not np.array_equal(half.astype(np.float32), values.astype(np.float32)):
        raise UsageError(
            f"ONNX Runtime takes weights in float16, which cannot hold those of {name}: export them with betwixt train "
            "export, or choose another runtime."
        )
    return half

"""`GraphInterpolator`: a network that was exported as a graph (`betwixt weights export`), as a model without PyTorch.

    images (H, W, 3), t ──► ONNX file of the layout "plain" in OpenVINO or ONNX Runtime ──► image

A graph pads the frames itself. A graph without `t` makes the middle frame alone, and other times follow by halving
intervals; or, if its output is `next_frame`, the frame after the second.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np

from betwixt.backends.backend import Backend
from betwixt.backends.onnxruntime import OnnxRuntimeGraph
from betwixt.backends.openvino import OpenVINOGraph
from betwixt.errors import InputError
from betwixt.files import file_hash
from betwixt.images import check_same_size
from betwixt.models.base import Interpolator, Pair, check_interpolates
from betwixt.models.frame_view import Image
from betwixt.runtime.halving import halve_towards
from betwixt.runtime.tiles import TILE_PIXELS, prepare_in_tiles

_INPUTS = ["frame0", "frame1", "t"]


class GraphInterpolator(Interpolator):
    """An exported network as a model.

    Args:
        name: The model's name.
        path: The graph, an ONNX file of the layout "plain".
        backend: Where and how it runs: in OpenVINO or ONNX Runtime.
        tile: The most pixels that are made at a time; larger frames are made in tiles.

    Raises:
        InputError: if the file cannot be read, or is no graph of that layout.
    """

    def __init__(self, name: str, path: Path, backend: Backend, tile: int = TILE_PIXELS) -> None:
        if not path.is_file():
            raise InputError(f"There is no graph {path}.")
        self.name, self.backend = name, backend
        self.arithmetic = f"{backend} {file_hash(path)[:12]}"
        self._tile = tile
        if backend.engine == "onnxruntime":
            self._graph: OnnxRuntimeGraph | OpenVINOGraph = OnnxRuntimeGraph(path, backend.device)
        else:
            self._graph = OpenVINOGraph(path, backend.device, backend.precision, channels_last_outputs=(0,))
        if self._graph.inputs not in (_INPUTS, _INPUTS[:2]):
            raise InputError(f"{path} is no graph of the layout plain: export it with betwixt weights export {name}.")
        self.any_time = self._graph.inputs == _INPUTS
        self.extrapolates = self._graph.outputs == ["next_frame"]
        self.interpolates = not self.extrapolates

    def prepare(self, first: Image, second: Image) -> Pair:
        check_interpolates(self)
        check_same_size(first, second)
        height, width = first.shape[:2]
        return prepare_in_tiles(height, width, self._tile, lambda tile: _GraphPair(self, first[tile], second[tile]))

    def next_frame(self, first: Image, second: Image) -> Image:
        if not self.extrapolates:
            return super().next_frame(first, second)
        return self.run(first, second, 2.0)

    def set_concurrency(self, threads: int) -> None:
        self._graph.streams = max(1, threads)

    def run(self, first: Image, second: Image, t: float) -> Image:
        """The graph's frame of two frames; `t` is ignored by a graph that makes one time alone."""
        maps = [np.full((1, 1, 1), t, np.float32)] if self.any_time else []
        (frame,) = self._graph([first, second], maps)
        return np.array(frame.transpose(1, 2, 0))  # the graph's memory is used again


class _GraphPair(Pair):
    """Two frames, and those between them that have been made on the way to others."""

    def __init__(self, owner: GraphInterpolator, first: Image, second: Image) -> None:
        self._owner = owner
        self._frames = {Fraction(0): first, Fraction(1): second}

    def at(self, t: float) -> Image:
        if self._owner.any_time:
            return self._owner.run(self._frames[Fraction(0)], self._frames[Fraction(1)], t)
        for start, end in halve_towards(t):
            middle = (start + end) / 2
            if middle not in self._frames:
                self._frames[middle] = self._owner.run(self._frames[start], self._frames[end], 0.5)
        return self._frames[middle]

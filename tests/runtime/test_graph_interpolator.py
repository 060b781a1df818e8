"""Exported networks as models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from betwixt.backends.backend import GRAPH_ENGINES, Backend
from betwixt.errors import InputError, UsageError
from betwixt.models.network import Network, Synthesis
from betwixt.runtime.graph_interpolator import GraphInterpolator
from betwixt.runtime.load import load_model, trained_network
from betwixt.runtime.network_interpolator import NetworkInterpolator
from betwixt.runtime.onnx_export import graph_of


class Filtered(Network):
    """A weighted mean of the frames, filtered; the filter sees one pixel around each."""

    multiple = 16

    def __init__(self, any_time: bool = True, extrapolates: bool = False) -> None:
        super().__init__()
        self.any_time, self.extrapolates = any_time, extrapolates
        torch.manual_seed(0)
        self.filter = nn.Conv2d(3, 3, 3, padding=1)

    def pair(self, frame0: Tensor, frame1: Tensor) -> Any:
        return frame0, frame1

    def at(self, pair: Any, t: Tensor) -> Synthesis:
        blend = (1 - t) * pair[0] + t * pair[1]
        return Synthesis((0.8 * blend + 0.1 * self.filter(blend) + 0.05).clamp(0, 1))


def export(folder: Path, network: Network) -> Path:
    path = folder / "network.onnx"
    path.write_bytes(graph_of("rife", network))
    return path


def frames(height: int = 70, width: int = 90) -> list[np.ndarray]:
    return list(np.random.default_rng(0).random((2, height, width, 3), np.float32))


@pytest.mark.parametrize("engine", GRAPH_ENGINES)
@pytest.mark.parametrize("any_time", [True, False])
def test_frames_are_those_of_the_network(tmp_path: Path, engine: str, any_time: bool) -> None:
    network = Filtered(any_time)
    graph = load_model("rife", "cpu", weights=export(tmp_path, network), runtime=engine)
    assert graph.backend == Backend(engine)
    made, expected = graph.prepare(*frames()), NetworkInterpolator("rife", network, "cpu").prepare(*frames())
    for t in (0.5, 0.25, 0.4):
        # Frames on the way to others are padded anew, which changes what is near the padded borders.
        np.testing.assert_allclose(made.at(t)[:64, :80], expected.at(t)[:64, :80], atol=1e-5)


@pytest.mark.parametrize("engine", GRAPH_ENGINES)
def test_the_next_frame_is_that_of_the_network(tmp_path: Path, engine: str) -> None:
    network = Filtered(any_time=False, extrapolates=True)
    graph = load_model("rife", "cpu", weights=export(tmp_path, network), runtime=engine)
    assert graph.extrapolates
    expected = NetworkInterpolator("rife", network, "cpu").next_frame(*frames())
    np.testing.assert_allclose(graph.next_frame(*frames()), expected, atol=1e-5)
    with pytest.raises(UsageError, match="none in between"):
        graph.prepare(*frames())


def test_large_frames_are_made_in_tiles(tmp_path: Path) -> None:
    path = export(tmp_path, Filtered())
    whole, tiled = (
        GraphInterpolator("rife", path, Backend("onnxruntime"), tile).prepare(*frames(192, 512)).at(0.5)
        for tile in (192 * 512, 192 * 384)
    )
    np.testing.assert_allclose(whole, tiled, atol=0.02)
    assert (whole != tiled).any()


def test_other_files_are_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("no graph")
    for engine in GRAPH_ENGINES:
        with pytest.raises(InputError, match=r"cannot (read|run) .*text\.onnx"):
            load_model("rife", weights=tmp_path / "text.onnx", runtime=engine)
    with pytest.raises(InputError, match=r"There is no graph .*none\.onnx"):
        load_model("rife", weights=tmp_path / "none.onnx")
    with pytest.raises(UsageError, match=r"export this network with betwixt weights export rife-4\.6"):
        load_model("rife-4.6", runtime="openvino")
    with pytest.raises(InputError, match="is no graph of the layout plain"):
        load_model("rife-4.6", weights=trained_network("rife-4.6").graph("block0"))

"""Exported networks as models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from betwixt.backends.backend import GRAPH_ENGINES, Backend
from betwixt.errors import InputError, UsageError
from betwixt.models.network import Network
from betwixt.models.registry import load_network
from betwixt.runtime.graph_interpolator import GraphInterpolator
from betwixt.runtime.load import load_model, trained_network
from betwixt.runtime.network_interpolator import NetworkInterpolator
from betwixt.runtime.onnx_export import graph_of
from shifted import shifted_images, to_float


def export(folder: Path, name: str) -> tuple[Path, Network]:
    """A network with random weights, and its graph."""
    torch.manual_seed(0)
    network = load_network(name)
    path = folder / f"{name}.onnx"
    path.write_bytes(graph_of(name, network))
    return path, network


@pytest.mark.parametrize("engine", GRAPH_ENGINES)
@pytest.mark.parametrize(("name", "times"), [("ifrnet-s", (0.3,)), ("rife", (0.5, 0.25, 0.4))])
def test_frames_are_those_of_the_network(tmp_path: Path, name: str, times: tuple[float, ...], engine: str) -> None:
    path, network = export(tmp_path, name)
    frames = [to_float(picture) for picture in shifted_images(70, 90)]
    expected = NetworkInterpolator(name, network, "cpu").prepare(*frames)
    graph = load_model(name, "cpu", weights=path, runtime=engine)
    assert graph.backend == Backend(engine)
    made = graph.prepare(*frames)
    for t in times:
        difference = np.abs(made.at(t) - expected.at(t))
        # Frames on the way to others are padded anew, which changes what is near the padded borders.
        assert difference.max() < (1e-3 if network.any_time or t == 0.5 else 0.05)
        assert difference.mean() < 1e-3


def test_large_frames_are_made_in_tiles(tmp_path: Path) -> None:
    path, _ = export(tmp_path, "ifrnet-s")
    frames = [to_float(picture) for picture in shifted_images(192, 512)]
    whole, tiled = (
        GraphInterpolator("ifrnet-s", path, Backend("onnxruntime"), tile).prepare(*frames).at(0.5)
        for tile in (192 * 512, 192 * 384)
    )
    assert 0 < np.abs(whole - tiled).mean() < 0.01


def test_other_files_are_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("no graph")
    for engine in GRAPH_ENGINES:
        with pytest.raises(InputError, match=r"cannot (read|run) .*text\.onnx"):
            load_model("rife", weights=tmp_path / "text.onnx", runtime=engine)
    with pytest.raises(InputError, match=r"There is no graph .*none\.onnx"):
        load_model("rife", weights=tmp_path / "none.onnx")
    with pytest.raises(UsageError, match="export this network with betwixt weights export rife-4.6"):
        load_model("rife-4.6", runtime="openvino")
    with pytest.raises(InputError, match="is no graph of the layout plain"):
        load_model("rife-4.6", weights=trained_network("rife-4.6").graph("block0"))

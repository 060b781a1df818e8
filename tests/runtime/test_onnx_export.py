"""Networks as ONNX graphs."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from betwixt.cli.main import run
from betwixt.errors import UsageError
from betwixt.layers.warp import backward_warp
from betwixt.models.network import Network, Synthesis
from betwixt.models.registry import load_network
from betwixt.runtime.network_interpolator import NetworkInterpolator
from betwixt.runtime.onnx_export import check_exportable, graph_of

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


@dataclass(frozen=True)
class Config:
    """Nothing to choose."""


class Small(Network):
    """Two frames, warped by a convolution of both and by t."""

    multiple = 16
    any_time = True

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.config = Config()
        self.motion = nn.Conv2d(6, 4, 3, 2, 1)

    def pair(self, frame0, frame1):
        return frame0, frame1, self.motion(torch.cat((frame0, frame1), dim=1)) * 8

    def at(self, pair, t):
        frame0, frame1, motion = pair
        flow = nn.functional.interpolate(motion.float(), scale_factor=2.0, mode="bilinear")
        flow0, flow1 = flow.chunk(2, dim=1)
        return Synthesis((1 - t) * backward_warp(frame0, t * flow0) + t * backward_warp(frame1, (1 - t) * flow1))


def make_frames(height: int, width: int) -> list[np.ndarray]:
    return list(np.random.default_rng(0).random((2, 1, 3, height, width), np.float32))


def reference(network: Network, frames: list[np.ndarray], t: float) -> np.ndarray:
    """The frame that the runtime makes."""
    first, second = (frame[0].transpose(1, 2, 0) for frame in frames)
    return NetworkInterpolator("small", network, "cpu").prepare(first, second).at(t).transpose(2, 0, 1)[None]


def run_graph(graph: bytes, *inputs: np.ndarray) -> Any:
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    names = [node.name for node in session.get_inputs()]
    return session.run(None, dict(zip(names, inputs, strict=True)))[0]


def planes_of(frames: list[np.ndarray], t: float, channels: int) -> np.ndarray:
    """The planes of vs-mlrt's RIFE."""
    height, width = frames[0].shape[-2:]
    planes = [*frames, np.full((1, 1, height, width), t, np.float32)]
    planes += [np.full((1, channels - 7, height, width), 0.1, np.float32)]
    return np.concatenate(planes, axis=1)


@pytest.mark.parametrize(("height", "width"), [(32, 48), (37, 21)])
@pytest.mark.parametrize("t", [0.5, 0.2])
def test_frames_of_any_size_and_time_are_those_of_the_runtime(height, width, t):
    network, frames = Small(), make_frames(height, width)
    frame = run_graph(graph_of("small", network), *frames, np.full((1, 1, 1, 1), t, np.float32))
    assert frame.shape == (1, 3, height, width)
    assert np.abs(frame - reference(network, frames, t)).max() < 1e-5


@pytest.mark.parametrize(("layout", "channels"), [("vs-mlrt-v1", 11), ("vs-mlrt-v2", 7)])
def test_layouts_of_vs_mlrt(layout, channels):
    network, frames = Small(), make_frames(37, 21)
    graph = graph_of("small", network, layout)
    model = onnx.load_from_string(graph)
    # vs-mlrt takes a graph of one input and one output of four dimensions.
    shapes = [[d.dim_value for d in x.type.tensor_type.shape.dim] for x in (*model.graph.input, *model.graph.output)]
    assert shapes == [[1, channels, 0, 0], [1, 3, 0, 0]]
    assert model.graph.input[0].name == "input"
    # OpenVINO reads no sequences.
    assert not [node.op_type for node in model.graph.node if "Sequence" in node.op_type]
    frame = run_graph(graph, planes_of(frames, 0.3, channels))
    assert np.abs(frame - reference(network, frames, 0.3)).max() < 1e-5


def test_half_precision_is_of_weights_but_not_of_positions():
    network, frames = Small(), make_frames(37, 21)
    graph = graph_of("small", network, "plain", "fp16")
    types = {x.name: x.data_type for x in onnx.load_from_string(graph).graph.initializer if x.dims}
    assert onnx.TensorProto.FLOAT16 in types.values()
    frame = run_graph(graph, *frames, np.full((1, 1, 1, 1), 0.5, np.float32))
    assert frame.dtype == np.float32
    assert 0 < np.abs(frame - reference(network, frames, 0.5)).max() < 0.02


def test_a_network_for_one_time_has_no_time(monkeypatch):
    monkeypatch.setattr(Small, "any_time", False)
    network, frames = Small(), make_frames(32, 48)
    frame = run_graph(graph_of("small", network), *frames)
    assert np.abs(frame - reference(network, frames, 0.5)).max() < 1e-5
    with pytest.raises(UsageError, match=r"makes one time alone.*`layout=plain`"):
        graph_of("small", network, "vs-mlrt-v2")


@pytest.mark.parametrize(
    ("name", "text"),
    [("dis", "no network"), ("hybrid", "outside of its network"), ("rife+hm", "needs masks"), ("nothing", "no model")],
)
def test_models_that_are_not_exported(name, text):
    with pytest.raises(UsageError, match=text):
        check_exportable(name)


def test_a_network_whose_operations_depend_on_the_frames_is_not_exported():
    with pytest.raises(UsageError, match="by the size or the content"):
        graph_of("ebme", load_network("ebme"))


def test_the_command(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("BETWIXT_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setattr("betwixt.runtime.onnx_export.load_trained_network", lambda name, path: Small())
    target = tmp_path / "rife.onnx"
    command = ["weights", "export", "rife-4.6", str(target), "--layout", "vs-mlrt-v2"]
    assert run(command) == 0
    assert str(target) in capsys.readouterr().out
    model = onnx.load(target)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert (metadata["model"], metadata["layout"], metadata["licence"]) == ("rife-4.6", "vs-mlrt-v2", "MIT")
    assert len(metadata["weights"]) == 64
    assert metadata["betwixt"] == model.producer_version

    assert run(command) == 2
    assert "pass --overwrite" in capsys.readouterr().err
    assert run([*command, "--overwrite"]) == 0
    for options in (["--layout", "v3"], ["--precision", "int8"]):
        assert run([*command, "--overwrite", *options]) == 2
    assert run(["weights", "export", "rife", str(tmp_path / "x.onnx")]) == 2
    assert "No weights of rife are installed" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rife.onnx"]

"""The graphs that ship compute what the modules compute."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from betwixt.backends.onnxruntime import OnnxRuntimeGraph
from betwixt.backends.openvino import OpenVINOGraph
from betwixt.errors import InputError
from betwixt.models.compact.config import CompactConfig
from betwixt.models.compact.network import Compact
from betwixt.runtime.load import trained_network
from betwixt.weights.export import write_weights
from betwixt.weights.graphs import make_graphs, network_parts

PARTS = [(name, part) for name in ("compact", "compact-large", "hybrid", "rife-4.6") for part in network_parts(name)]


@pytest.fixture(scope="module")
def networks() -> dict[str, torch.nn.Module]:
    return {name: trained_network(name).build().eval() for name in dict(PARTS)}


@pytest.mark.parametrize(("name", "part"), PARTS)
def test_embedded_graphs_are_those_of_the_modules(networks: dict[str, torch.nn.Module], name: str, part: str) -> None:
    trained, kind = trained_network(name), network_parts(name)[part]
    assert kind.inputs is not None
    rng = np.random.default_rng(0)
    arguments = []
    for channels, factor in kind.inputs(trained.config).values():
        sides = [7 * kind.multiple // factor, 3 * kind.multiple // factor] if factor else [1, 1]
        arguments.append(rng.random((channels, *sides), np.float32))
    with torch.inference_mode():
        expected = kind.module(networks[name])(*(torch.from_numpy(x)[None] for x in arguments))
    expected = expected if isinstance(expected, tuple) else (expected,)
    for graph in (
        OnnxRuntimeGraph(trained.graph(part)),
        OpenVINOGraph(trained.graph(part), channels_last_inputs=()),
    ):
        for got, wanted in zip(graph([], arguments), expected, strict=True):
            np.testing.assert_allclose(got, wanted[0].numpy(), atol=2e-4, rtol=1e-3)


def test_a_graph_made_again_is_the_same() -> None:
    trained = trained_network("rife-4.6")
    assert trained.path is not None
    parts = {"block3": network_parts("rife-4.6")["block3"]}
    (made,) = make_graphs(parts, trained.build(), trained.config, trained.path, trained.path.name).values()
    assert made == trained.graph("block3").read_bytes()


def test_graphs_refer_to_weights_in_float16_alone(tmp_path: Path) -> None:
    network = Compact(CompactConfig())
    write_weights(tmp_path / "mine.safetensors", network.state_dict(), {})
    with pytest.raises(InputError, match="does not hold the weights of this network in float16"):
        make_graphs(network_parts("compact"), network, CompactConfig(), tmp_path / "mine.safetensors", "mine")

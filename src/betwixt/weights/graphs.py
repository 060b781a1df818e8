"""Graphs: the networks that ship, as ONNX files that OpenVINO and ONNX Runtime run without PyTorch.

    torch module of each part ──► torch.onnx ──► weights replaced by references ──► compact.flow.onnx, ..
                                                 into compact.safetensors

A graph has no weights of its own. Its tensors are external data, as ONNX calls them: a file beside it, an offset and a
length. Here that file is the weights file, since safetensors keeps tensors one after the other. So a graph takes 10 to
22 kB, the weights exist once, in float16, and every program that reads ONNX can load the graph. The engines fold the
conversion to float32 into the constants. int8 is not part of the graphs either: OpenVINO quantizes them by the
activation ranges beside the weights, so that one graph serves all precisions and weights. (Graphs with QuantizeLinear
and int8 weights of their own would add 9 MB.)

The modules are the source of truth. `betwixt weights export` makes the graphs of Betwixt's own models.
"""

from __future__ import annotations

import json
import logging
import struct
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from betwixt.backends.network_runner import NetworkPart
from betwixt.errors import InputError
from betwixt.files import check_output, write_atomically
from betwixt.machine import import_library
from betwixt.models.hybrid.interpolator import RIFE_PARTS
from betwixt.models.references import resolve
from betwixt.models.registry import model_info, network_config
from betwixt.weights.load import load_trained_network
from betwixt.weights.metadata import read_hyperparameters
from betwixt.weights.store import embedded_file

if TYPE_CHECKING:
    from torch import nn

OPSET = 18
"""The version of ONNX's operators."""

_EXAMPLE_HEIGHT, _EXAMPLE_WIDTH = 4, 5
"""The size, in multiples, with which modules are traced; graphs take any."""


@dataclass(frozen=True)
class _StoredTensor:
    """Where a weights file keeps a tensor."""

    shape: tuple[int, ...]
    offset: int  # in bytes, from the beginning of the file
    length: int  # in bytes


def network_parts(name: str) -> Mapping[str, NetworkPart]:
    """The parts of a model that graphs exist for, by name: of one of Betwixt's own, or of rife-4.6."""
    parts: Mapping[str, NetworkPart] = (
        RIFE_PARTS if name == "rife-4.6" else resolve(model_info(name).interpolator).parts
    )
    return parts


def export_graphs(name: str, target: Path, weights: Path | None = None, *, overwrite: bool = False) -> list[Path]:
    """Write the graphs of one of Betwixt's own models, and the weights files that they refer to.

    Args:
        name: The model.
        target: What to name them after: for OUT.onnx, the graphs of compact are OUT.flow.onnx and OUT.detail.onnx, and
            their weights are OUT.safetensors. Models that it is made of keep their names: rife-4.6.block0.onnx.
        weights: A weights file, safetensors in float16; by default the one that comes with Betwixt.
        overwrite: Whether existing files may be replaced.

    Returns:
        The files written.

    Raises:
        InputError: if the weights file cannot be read, or is not of this model or not in float16.
        OutputError: if a file cannot be written.
        UsageError: if onnx is not installed.
    """
    import_library("onnxscript", "Exporting a model", "onnx")
    info = model_info(name)
    sources = {name: (weights or embedded_file(info.embedded), target.with_suffix(".safetensors"))}
    for other in info.components:
        file = model_info(other).embedded
        sources[other] = embedded_file(file), target.with_name(file)
    files: dict[Path, bytes] = {}
    for each, (source, copy) in sources.items():
        files |= _make_graphs(each, source, copy)
        if not (copy.exists() and copy.samefile(source)):
            files[copy] = source.read_bytes()
    for path in files:
        check_output(path, None, overwrite)
    for path, content in files.items():
        write_atomically(path, content)
    return list(files)


def _make_graphs(name: str, weights: Path, copy: Path) -> dict[Path, bytes]:
    """The graphs of a model's parts by their paths, which refer to `copy`, a copy of `weights`."""
    info = model_info(name)
    network = info.trained_module(load_trained_network(name, weights))
    config = network_config(name, read_hyperparameters(weights, name))
    return {
        copy.with_name(f"{copy.stem}.{part}.onnx"): graph
        for part, graph in make_graphs(network_parts(name), network, config, weights, copy.name).items()
    }


def make_graphs(
    parts: Mapping[str, NetworkPart], network: nn.Module, config: Any, weights: Path, location: str
) -> dict[str, bytes]:
    """The graphs of a network's parts, ONNX files by the names of the parts.

    Args:
        parts: The parts, by name.
        network: The network, in PyTorch, with the weights of the file.
        config: Its hyper-parameters.
        weights: A safetensors file that holds its parameters in float16.
        location: The name of the file that the graphs refer to, which holds the same as `weights`.

    Raises:
        InputError: if the weights file does not hold the network's parameters in float16.
    """
    stored = _read_header(weights)
    for name, parameter in network.named_parameters():
        if name not in stored or stored[name].shape != parameter.shape:
            raise InputError(f"{weights} does not hold the weights of this network in float16.")
    graphs = {}
    for name, part in parts.items():
        module = (part.graph_module or part.module)(network).float().cpu().eval()
        model = _trace(part, module, config)
        names = {
            own: in_graph
            for in_graph, tensor in module.named_parameters()
            for own, parameter in network.named_parameters()
            if parameter is tensor
        }
        _refer_to_weights(model, names, stored, location)
        graphs[name] = model.SerializeToString(deterministic=True)
    return graphs


def _trace(part: NetworkPart, module: nn.Module, config: Any) -> Any:
    """A module as an onnx.ModelProto for any height and width."""
    import torch

    assert part.inputs is not None
    height, width = (torch.export.Dim(side, min=2, max=1 << 14) for side in ("height", "width"))
    example, shapes, inputs = [], [], part.inputs(config)
    for channels, factor in inputs.values():
        unit = part.multiple // factor if factor else 0
        size = (_EXAMPLE_HEIGHT * unit, _EXAMPLE_WIDTH * unit) if unit else (1, 1)
        example.append(torch.rand(1, channels, *size))
        shapes.append({2: unit * height, 3: unit * width} if unit else {})
    export: Any = torch.onnx.export
    # It warns that torchvision, which is not needed, is not installed.
    logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)
    with warnings.catch_warnings(action="ignore"):
        program = export(
            module,
            tuple(example),
            dynamo=True,
            opset_version=OPSET,
            input_names=list(inputs),
            dynamic_shapes=tuple(shapes),
            verbose=False,
        )
    return program.model_proto


def _refer_to_weights(model: Any, names: Mapping[str, str], stored: Mapping[str, _StoredTensor], location: str) -> None:
    """Replace the parameters of a graph by references into a weights file, in place.

    Args:
        model: An onnx.ModelProto.
        names: Names in the graph by names in the file.
        stored: What the file holds, by name.
        location: The name of the file.
    """
    import onnx

    initializers = {tensor.name: tensor for tensor in model.graph.initializer}
    casts = []
    for name, name_in_graph in names.items():
        if (tensor := initializers.get(name_in_graph)) is None:
            continue
        place = stored[name]
        casts.append(onnx.helper.make_node("Cast", [name], [name_in_graph], to=onnx.TensorProto.FLOAT))
        tensor.Clear()
        tensor.name, tensor.data_type, tensor.data_location = name, onnx.TensorProto.FLOAT16, onnx.TensorProto.EXTERNAL
        tensor.dims.extend(place.shape)
        for key, value in (("location", location), ("offset", place.offset), ("length", place.length)):
            tensor.external_data.add(key=key, value=str(value))
    nodes = [*casts, *model.graph.node]
    for node in nodes:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    for field in ("node", "value_info", "metadata_props"):
        model.graph.ClearField(field)
    model.ClearField("metadata_props")
    model.graph.node.extend(nodes)
    model.producer_name, model.producer_version = "betwixt", ""


def _read_header(weights: Path) -> dict[str, _StoredTensor]:
    """Where a safetensors file keeps its tensors of float16, by name."""
    with weights.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    return {
        name: _StoredTensor(tuple(entry["shape"]), 8 + length + begin, end - begin)
        for name, entry in header.items()
        if name != "__metadata__" and entry["dtype"] == "F16"
        for begin, end in [entry["data_offsets"]]
    }

"""Writing a model's network as one ONNX graph, for programs that run such graphs: two frames in, frame t out.

    frames, t ──► padded to the network's multiple ──► network ──► cropped, clamped ──► frame t

Height and width are free: the graph pads the frames itself, as `NetworkInterpolator` does, and its frames are that
class's. Inputs and outputs are float32 in either precision. Layouts:

    plain        frame0, frame1 (1, 3, H, W), RGB in [0, 1]; t (1, 1, 1, 1)           ──► frame (1, 3, H, W)
                 without t where a network makes one time alone: the middle frame, or `next_frame`, after the second
    vs-mlrt-v2   input (1, 7, H, W): RGB of frame 0, RGB of frame 1, a plane of t     ──► output (1, 3, H, W)
    vs-mlrt-v1   input (1, 11, H, W): those, two planes of coordinates, two of scales ──► output (1, 3, H, W)

vs-mlrt is a VapourSynth plugin whose script makes these planes for RIFE. The last four, from which its own graphs
compute the positions of pixels, are not used here: the graph computes positions in float32.

The graph is traced by the TorchScript exporter: that of `torch.export` takes forty times as long for RIFE 4.6, makes a
file of the same size, and its symbolic shapes do not survive autocast.
"""

from __future__ import annotations

import io
import warnings
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from betwixt.backends.torch import precision_context
from betwixt.errors import UsageError
from betwixt.files import check_output, file_hash, write_atomically
from betwixt.machine import import_library
from betwixt.models.registry import model_info
from betwixt.runtime.load import find_weights
from betwixt.version import __version__
from betwixt.weights.load import load_trained_network
from betwixt.weights.metadata import read_metadata

if TYPE_CHECKING:
    from betwixt.models.network import Network

LAYOUTS = {"plain": 0, "vs-mlrt-v1": 11, "vs-mlrt-v2": 7}
"""The planes of the one input of each layout; 0 where frames and time are inputs of their own."""

PRECISIONS = ("fp32", "fp16")

_OPSET = 17
"""The version of ONNX's operators: GridSample is there from 16 on."""

_TRACED = (136, 200)
"""The height and width of the frames that are traced, which no network takes without padding."""

_KEPT_METADATA = ("origin", "source", "licence")
"""What a weights file says of itself that the graph repeats."""


def export_onnx(
    name: str,
    target: Path,
    *,
    weights: str | Path | None = None,
    layout: str = "plain",
    precision: str = "fp32",
    overwrite: bool = False,
) -> None:
    """Write the network of a model as an ONNX file, whole or not at all.

    Args:
        name: A model of a paper, with a network.
        target: The file.
        weights: A weights file; by default the installed one, or the one that comes with Betwixt.
        layout: "plain", "vs-mlrt-v1" or "vs-mlrt-v2", as the module describes.
        precision: "fp32", or "fp16": weights and convolutions in half precision, positions in float32.
        overwrite: Whether an existing file may be replaced.

    Raises:
        UsageError: if the model cannot be exported, it has no weights, or the onnx package is missing.
        InputError: if the weights do not fit.
        OutputError: if the file cannot be written.
    """
    check_exportable(name, layout, precision)
    path = find_weights(name, weights)
    check_output(target, path, overwrite)
    network = load_trained_network(name, path)
    metadata = {
        "model": name,
        "weights": file_hash(path),
        **{key: value for key, value in read_metadata(path).items() if key in _KEPT_METADATA},
    }
    write_atomically(target, graph_of(name, network, layout, precision, metadata))


def check_exportable(name: str, layout: str = "plain", precision: str = "fp32") -> None:
    """Refuse what cannot be exported, as far as it is known before the network is built.

    Raises:
        UsageError: in one line.
    """
    if layout not in LAYOUTS:
        raise UsageError(f"There is no layout '{layout}': choose one of {', '.join(LAYOUTS)}.")
    if precision not in PRECISIONS:
        raise UsageError(f"Graphs are exported in fp32 or fp16, not in '{precision}'.")
    info = model_info(name)
    if not info.has_network:
        raise UsageError(f"The model {name} has no network to export: choose another model, such as rife-4.6.")
    if info.is_own:
        raise UsageError(
            f"The model {name} searches for motion outside of its network, too, so no one graph makes its frames: "
            "its parts are exported by weights.graphs."
        )
    if info.takes_masks:
        raise UsageError(f"The model {name} needs masks, which no layout has: export {name.removesuffix('+hm')}.")
    import_library("onnx", "Exporting a network", "onnx")


def graph_of(
    name: str, network: Network, layout: str = "plain", precision: str = "fp32", metadata: dict[str, str] | None = None
) -> bytes:
    """The ONNX file of a network.

    Args:
        name: The model's name, for messages.
        network: The network, with its weights.
        layout: One of `LAYOUTS`.
        precision: One of `PRECISIONS`.
        metadata: What the file says about itself, besides layout, precision and Betwixt's version.

    Raises:
        UsageError: if it cannot be exported.
    """
    if not network.fixed_graph:
        raise UsageError(
            f"The model {name} chooses its operations by the size or the content of frames: no one graph has them."
        )
    if LAYOUTS[layout] and not network.any_time:
        raise UsageError(f"The model {name} makes one time alone, and vs-mlrt asks for any: pass `layout=plain`.")
    network = network.eval().requires_grad_(False)
    graph: nn.Module = _FrameGraph(network)
    shapes: dict[str, tuple[int, ...]] = {"frame0": (1, 3, *_TRACED), "frame1": (1, 3, *_TRACED), "t": (1, 1, 1, 1)}
    output = "frame"
    if not network.any_time:
        del shapes["t"]
    if network.extrapolates:
        output = "next_frame"
    if planes := LAYOUTS[layout]:
        graph, shapes, output = _PlaneGraph(graph), {"input": (1, planes, *_TRACED)}, "output"
    content = _trace(name, graph, shapes, output, precision)
    return _describe(content, {**(metadata or {}), "layout": layout, "precision": precision, "betwixt": __version__})


class _FrameGraph(nn.Module):
    """Frame t of two frames (1, 3, H, W) of any size; without t, the one frame that the network makes."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, frame0: Tensor, frame1: Tensor, t: Tensor | None = None) -> Tensor:
        height, width = frame0.shape[-2:]
        multiple = self.network.multiple
        padding = (0, -width % multiple, 0, -height % multiple)
        padded = (F.pad(frame, padding, mode="replicate") for frame in (frame0, frame1))
        if t is None:
            t = frame0.new_full((1, 1, 1, 1), 2.0 if self.network.extrapolates else 0.5)
        frame: Tensor = self.network(*padded, t).frame
        return frame[..., :height, :width].float().clamp(0, 1)


class _PlaneGraph(nn.Module):
    """Frame t of the planes of vs-mlrt's RIFE; t is the same in the whole of its plane."""

    def __init__(self, graph: nn.Module) -> None:
        super().__init__()
        self.graph = graph

    def forward(self, planes: Tensor) -> Tensor:
        frame: Tensor = self.graph(planes[:, 0:3], planes[:, 3:6], planes[:, 6:7, :1, :1])
        return frame


class _Portable(TorchFunctionMode):
    """Replaces what the exporter records in a way that engines do not read.

    Of `chunk` and `tensor_split` it makes sequences, and of a half-precision `layer_norm` one of two types.
    """

    def __torch_function__(
        self, function: Any, types: Any, arguments: tuple[Any, ...] = (), keywords: dict[str, Any] | None = None
    ) -> Any:
        replacement = _REPLACED.get(function, function)
        return replacement(*arguments, **(keywords or {}))


def _chunk(x: Tensor, chunks: int, dim: int = 0) -> list[Tensor]:
    length = x.shape[dim] // chunks
    return _slice(x, [*(i * length for i in range(chunks)), None], dim)


def _tensor_split(x: Tensor, indices: tuple[int, ...], dim: int = 0) -> list[Tensor]:
    return _slice(x, [0, *indices, None], dim)


def _slice(x: Tensor, bounds: list[Any], dim: int) -> list[Tensor]:
    """The parts of `x` between neighbouring bounds along a dimension; None is its end."""
    before = (slice(None),) * (dim % x.dim())
    return [x[(*before, slice(start, end))] for start, end in pairwise(bounds)]


def _layer_norm(x: Tensor, *arguments: Any, **keywords: Any) -> Tensor:
    return F.layer_norm(x.float(), *arguments, **keywords).to(x.dtype)


_REPLACED = {torch.Tensor.chunk: _chunk, torch.Tensor.tensor_split: _tensor_split, F.layer_norm: _layer_norm}


def _trace(name: str, graph: nn.Module, shapes: dict[str, tuple[int, ...]], output: str, precision: str) -> bytes:
    """Trace a graph with inputs of these shapes."""
    inputs = tuple(torch.rand(shape) for shape in shapes.values())
    size = {2: "height", 3: "width"}
    free = {key: size for key, shape in shapes.items() if shape[-2:] == _TRACED}
    file: Any = io.BytesIO()
    # Tracing warns of every size that Python reads, and PyTorch of its exporter's age.
    with (
        warnings.catch_warnings(action="ignore"),
        torch.no_grad(),
        precision_context(torch.device("cpu"), precision),
        _Portable(),
    ):
        try:
            torch.onnx.export(
                graph,
                inputs,
                file,
                dynamo=False,
                opset_version=_OPSET,
                input_names=list(shapes),
                output_names=[output],
                dynamic_axes={**free, output: size},
            )
        except torch.onnx.errors.OnnxExporterError as error:
            reason = str(error).strip().splitlines()[0].split(". ")[0].rstrip(".")
            raise UsageError(f"The model {name} cannot be exported: {reason[:1].lower()}{reason[1:]}.") from None
    content: bytes = file.getvalue()
    return content


def _describe(content: bytes, metadata: dict[str, str]) -> bytes:
    """The file with its metadata, and with the whole shape of its output."""
    onnx: Any = import_library("onnx", "Exporting a network", "onnx")
    model = onnx.load_from_string(content)
    model.producer_name, model.producer_version = "betwixt", __version__
    onnx.helper.set_model_props(model, metadata)
    shape = model.graph.output[0].type.tensor_type.shape
    for dimension, length in zip(shape.dim, (1, 3), strict=False):
        dimension.dim_value = length
    described: bytes = model.SerializeToString()
    return described

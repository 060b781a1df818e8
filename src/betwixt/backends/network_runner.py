"""Running a trained network: its graphs in OpenVINO or ONNX Runtime, or its modules in PyTorch.

    TrainedNetwork ──► NetworkRunner ──► run(part, images, maps) ──► maps

A network is run in parts, between which the caller works on arrays. The engines agree up to rounding errors. PyTorch is
loaded only where it computes.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from betwixt.backends.activation_ranges import ranges_file, read_activation_ranges
from betwixt.backends.backend import ENGINES, Backend, choose_backend
from betwixt.backends.onnxruntime import OnnxRuntimeGraph
from betwixt.backends.openvino import OpenVINOGraph
from betwixt.errors import InputError, UsageError

if TYPE_CHECKING:
    import torch
    from torch import nn

Map = NDArray[Any]

Graph = OpenVINOGraph | OnnxRuntimeGraph


@dataclass(frozen=True)
class TrainedNetwork:
    """A network with trained weights that is built when it is needed."""

    build: Callable[[], nn.Module]  # builds it, with its weights, in PyTorch
    config: Any = None  # its hyper-parameters; None if only the built network knows them
    path: Path | None = None  # the file of its weights; None for a network in memory, whose parameters may still change
    graphs: Path | None = None  # its graphs are the files with this path and ".PART.onnx"; None if it has none
    owns_graphs: bool = True  # whether the weights that the graphs refer to are those of `path`

    @staticmethod
    def in_memory(network: nn.Module) -> TrainedNetwork:
        """A network that already exists, e.g. in training; it goes on sharing its parameters."""
        return TrainedNetwork(lambda: network, getattr(network, "config", None))

    def graph(self, part: str) -> Path:
        """The graph of a part, an ONNX file."""
        assert self.graphs is not None
        return self.graphs.with_name(f"{self.graphs.name}.{part}.onnx")

    @cached_property
    def activation_ranges(self) -> dict[str, float] | None:
        """The activation ranges of its weights; None if they are not known.

        Raises:
            InputError: if they are damaged.
        """
        return None if self.path is None else read_activation_ranges(self.path)

    @cached_property
    def weights(self) -> dict[str, Map] | None:
        """Its weights by name, to be used in graphs that refer to others; None if they refer to its own."""
        if self.owns_graphs:
            return None
        return {name: tensor.detach().float().cpu().numpy() for name, tensor in self.build().state_dict().items()}

    def choose_backend(self, device: str = "auto", precision: str = "auto", engine: str = "auto") -> Backend:
        """The backend for this network, as `choose_backend` chooses it.

        Raises:
            UsageError: if there is none.
            InputError: if the activation ranges are damaged.
        """
        if self.path is None:
            if precision == "int8":
                raise UsageError("Networks run in int8 from a weights file: give one, or choose another precision.")
            # A graph holds the parameters of one moment: a network in memory goes on sharing its own.
            return choose_backend(device, precision, engine, engines=("torch",))
        engines = ENGINES if self.graphs is not None else ("torch",)
        # Damaged ranges are not an error where nothing runs in int8.
        ranges = self.activation_ranges if precision in ("auto", "int8") and engine in ("auto", "openvino") else None
        return choose_backend(device, precision, engine, engines=engines, has_ranges=ranges is not None)


@dataclass(frozen=True)
class NetworkPart:
    """A part of a network that is run by itself, on images and maps.

    Attributes:
        module: Takes the part out of the network.
        inputs: The inputs of its graph from the network's configuration: for each name the channels and the factor by
            which its sides are smaller than those of the part's size; 0 for an input of one pixel, such as t. None if
            it has no graph.
        multiple: The sides of the part's size are multiples of this.
        channels_last_inputs: Which arguments OpenVINO gets with their channels last, as images are.
        channels_last_outputs: Which results it returns so; results with many channels take longer in another layout.
        graph_module: Takes the part out of the network for its graph, if that differs from `module`.
        engines: The engines that use this part.
    """

    module: Callable[[Any], nn.Module]
    inputs: Callable[[Any], dict[str, tuple[int, int]]] | None = None
    multiple: int = 16
    channels_last_inputs: tuple[int, ...] = (0, 1)
    channels_last_outputs: tuple[int, ...] = ()
    graph_module: Callable[[Any], nn.Module] | None = None
    engines: tuple[str, ...] = ENGINES


class NetworkRunner:
    """A trained network on a backend. Safe to use from several threads at once.

    Args:
        network: The network.
        parts: Its parts, by name; the parameters of a part begin with its name.
        backend: Where and how it runs.
        channels_last: Whether PyTorch keeps its weights and maps with their channels last.

    Attributes:
        backend: As given.
        arithmetic: The backend in words; frames computed in another arithmetic may differ a little.

    Raises:
        InputError: if the weights or the activation ranges cannot be used.
    """

    def __init__(
        self,
        network: TrainedNetwork,
        parts: Mapping[str, NetworkPart],
        backend: Backend,
        *,
        channels_last: bool = True,
    ) -> None:
        self.trained, self.backend, self._channels_last = network, backend, channels_last
        ranges = network.activation_ranges if backend.precision == "int8" else None
        self.arithmetic = f"{backend} {_digest_ranges(ranges)}".rstrip()
        self._parts = parts = {name: part for name, part in parts.items() if backend.engine in part.engines}
        self._graphs: dict[str, Graph] = {}
        self._modules: dict[str, nn.Module] = {}
        if backend.engine == "torch":
            self._modules = {name: part.module(self.network).eval() for name, part in parts.items()}
            return
        self._graphs = {name: self._load_graph(name, part, ranges) for name, part in parts.items()}
        if ranges is not None and network.path is not None:
            _check_quantized(self._graphs, ranges, network.path)

    def _load_graph(self, name: str, part: NetworkPart, ranges: Mapping[str, float] | None) -> Graph:
        path, weights = self.trained.graph(name), self.trained.weights
        if weights is not None:
            weights = {key: value for key, value in weights.items() if key.startswith(f"{name}.")}
        if self.backend.engine == "onnxruntime":
            return OnnxRuntimeGraph(path, self.backend.device, weights)
        return OpenVINOGraph(
            path,
            self.backend.device,
            self.backend.precision,
            weights=weights,
            ranges=ranges,
            channels_last_inputs=part.channels_last_inputs,
            channels_last_outputs=part.channels_last_outputs,
        )

    @cached_property
    def _device(self) -> torch.device:
        import torch

        return torch.device(self.backend.device)

    @cached_property
    def network(self) -> Any:
        """The network in PyTorch."""
        import torch

        network = self.trained.build()
        if self.backend.engine == "torch":
            network = network.to(self._device)
        if self._channels_last:
            network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return network.eval()

    def graph(self, part: str) -> Graph:
        """The graph of a part."""
        return self._graphs[part]

    def set_concurrency(self, threads: int) -> None:
        """Let that many threads run the network side by side, each on its share of the cores.

        Two threads that compute a frame each take less time than two that share every layer of both.
        """
        for graph in self._graphs.values():
            graph.streams = max(1, threads)

    def start_compiling(self, sizes: Mapping[str, tuple[int, int]]) -> None:
        """Compile parts for sizes that will be asked for, side by side and beside the caller's other work.

        Args:
            sizes: The height and width of each part.
        """
        for name, (height, width) in sizes.items():
            part, graph = self._parts.get(name), self._graphs.get(name)
            if part is not None and part.inputs is not None and isinstance(graph, OpenVINOGraph):
                shapes = [
                    (channels, height // factor, width // factor) if factor else (channels, 1, 1)
                    for channels, factor in part.inputs(self.trained.config).values()
                ]
                # Errors are raised where the part is run.
                Thread(target=_ignore_errors, args=(graph.compile, shapes)).start()

    def run(self, part: str, images: Sequence[Map], maps: Sequence[Map]) -> list[Map]:
        """Run a part.

        Args:
            part: Its name.
            images: Its first arguments, (h, w, 3).
            maps: Its further arguments, (c, h, w).

        Returns:
            Its results, (c, h, w) float32; their memory may have the channels last. They are valid until this thread
            runs the same part again.
        """
        if self.backend.engine == "torch":
            from betwixt.backends.torch import run_module

            return run_module(self._modules[part], self._device, self.backend.precision, images, maps)
        return self._graphs[part](images, maps)


def _ignore_errors(function: Callable[..., None], *arguments: Any) -> None:
    with contextlib.suppress(Exception):
        function(*arguments)


def _check_quantized(graphs: Mapping[str, Graph], ranges: Mapping[str, float], weights: Path) -> None:
    quantized = {name for graph in graphs.values() if isinstance(graph, OpenVINOGraph) for name in graph.quantized}
    if unknown := sorted(ranges.keys() - quantized):
        raise InputError(
            f"{ranges_file(weights)} is of another network: there is no convolution '{unknown[0]}' in this one."
        )


def _digest_ranges(ranges: Mapping[str, float] | None) -> str:
    return "" if ranges is None else hashlib.sha256(repr(sorted(ranges.items())).encode()).hexdigest()[:12]

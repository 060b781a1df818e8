"""Running a trained network through OpenVINO, where it is installed and the network runs on a CPU, or PyTorch.

    TrainedNetwork ──► NetworkRunner ──► run(part, images, maps) ──► maps

A network is run in parts, between which the caller works on arrays. The two engines agree up to rounding errors.
PyTorch is loaded only where it computes, or to compile the parts for OpenVINO for the first time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from betwixt.backends import openvino
from betwixt.backends.activation_ranges import ranges_file, read_activation_ranges
from betwixt.backends.devices import check_precision, is_cpu
from betwixt.errors import InputError, UsageError
from betwixt.files import file_hash
from betwixt.version import __version__

if TYPE_CHECKING:
    import torch
    from torch import nn

Map = NDArray[Any]


@dataclass(frozen=True)
class TrainedNetwork:
    """A network with trained weights that is built when it is needed."""

    build: Callable[[], nn.Module]  # builds it, with its weights, in PyTorch
    config: Any = None  # its hyper-parameters; None if only the built network knows them
    path: Path | None = None  # the file of its weights; None for a network in memory, whose parameters may still change

    @staticmethod
    def in_memory(network: nn.Module) -> TrainedNetwork:
        """A network that already exists, e.g. in training; it goes on sharing its parameters."""
        return TrainedNetwork(lambda: network, getattr(network, "config", None))

    @cached_property
    def digest(self) -> str:
        """A hash of its weights."""
        if self.path is not None:
            return file_hash(self.path)
        digest = hashlib.sha256()
        for tensor in self.build().state_dict().values():
            digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class NetworkPart:
    """A part of a network that is run by itself, on images and maps.

    Attributes:
        module: Takes the part out of the network.
        example: Makes small arguments (1, c, h, w) to trace it with, from the network's configuration; OpenVINO needs
            it.
        channels_last_inputs: Which arguments OpenVINO gets with their channels last, as images are.
        channels_last_outputs: Which results it returns so; results with many channels take longer in another layout.
        traced_module: Takes the part out of the network for OpenVINO, if that differs from `module`.
        engines: The engines that use this part.
    """

    module: Callable[[Any], nn.Module]
    example: Callable[[Any], list[torch.Tensor]] | None = None
    channels_last_inputs: tuple[int, ...] = (0, 1)
    channels_last_outputs: tuple[int, ...] = ()
    traced_module: Callable[[Any], nn.Module] | None = None
    engines: tuple[str, ...] = ("openvino", "torch")


class NetworkRunner:
    """A trained network on a device, in a precision, through an engine. Safe to use from several threads at once.

    Args:
        network: The network.
        parts: Its parts, by name.
        sources: The names of the modules that define it; a change in one invalidates the compiled parts.
        device: "auto", "cpu", "cuda" or "cuda:1".
        precision: "fp32", "bf16", "fp16" or "int8"; int8 runs in OpenVINO and needs the activation ranges of the
            weights. "auto" is the fastest that OpenVINO has on this CPU, which changes a score by a hundredth of a
            decibel, and fp32 in PyTorch.
        engine: "auto", "openvino" or "torch".
        channels_last: Whether PyTorch keeps its weights and maps with their channels last.

    Attributes:
        engine: "openvino" or "torch".
        precision: The precision chosen.
        arithmetic: Engine, device and precision in words; frames computed in another arithmetic may differ a little.

    Raises:
        UsageError: if device, precision and engine cannot be combined.
        InputError: if the weights or the activation ranges cannot be used.
    """

    def __init__(
        self,
        network: TrainedNetwork,
        parts: Mapping[str, NetworkPart],
        sources: Sequence[str],
        device: str = "auto",
        precision: str = "fp32",
        engine: str = "auto",
        *,
        channels_last: bool = True,
    ) -> None:
        check_precision(precision, "auto", "int8")
        self.trained = network
        self._device, self._channels_last = device, channels_last
        self.engine = _choose_engine(engine, device, precision, network)
        self.precision, self._ranges = _choose_precision(precision, self.engine, network)
        where = "openvino" if self.engine == "openvino" else f"torch {self.device.type}"
        self.arithmetic = f"{where} {self.precision} {_digest_ranges(self._ranges)}".rstrip()
        parts = {name: part for name, part in parts.items() if self.engine in part.engines}
        self._compiled: dict[str, tuple[NetworkPart, openvino.CompiledModule]] = {}
        self._modules: dict[str, nn.Module] = {}
        if self.engine == "torch":
            self._modules = {name: part.module(self.network).eval() for name, part in parts.items()}
            return
        content = repr((network.digest, network.config, __version__, *map(_source_text, sources), self._ranges))
        for name, part in parts.items():
            module = openvino.CompiledModule(
                name + content,
                partial(self._trace, part),
                self.precision,
                part.channels_last_inputs,
                part.channels_last_outputs,
            )
            self._compiled[name] = part, module
        if network.path is not None:
            # The compiled modules hold the weights.
            self.__dict__.pop("network", None)

    @cached_property
    def device(self) -> torch.device:
        """The device it runs on."""
        from betwixt.backends.torch import choose_device

        return choose_device(self._device)

    @cached_property
    def network(self) -> Any:
        """The network in PyTorch, quantized if it runs in int8."""
        import torch

        network = self.trained.build()
        if self._ranges is not None and self.trained.path is not None:
            _quantize(network, self._ranges, self.trained.path)
        network = network.to(self.device)
        if self._channels_last:
            network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return network.eval()

    def _trace(self, part: NetworkPart) -> tuple[nn.Module, list[torch.Tensor]]:
        """A part as OpenVINO compiles it, and arguments to trace it with."""
        assert part.example is not None
        return (part.traced_module or part.module)(self.network), part.example(self.trained.config)

    def compiled(self, part: str) -> openvino.CompiledModule:
        """A part as OpenVINO runs it."""
        return self._compiled[part][1]

    def set_concurrency(self, threads: int) -> None:
        """Let that many threads run the network side by side, each on its share of the cores.

        Two threads that compute a frame each take less time than two that share every layer of both.
        """
        for _, module in self._compiled.values():
            module.streams = max(1, threads)

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
        if self.engine == "torch":
            from betwixt.backends.torch import run_module

            return run_module(self._modules[part], self.device, self.precision, images, maps)
        layout, module = self._compiled[part]
        arguments: list[Map] = [*images, *maps]
        for i in range(len(images), len(arguments)):
            if i in layout.channels_last_inputs:
                arguments[i] = arguments[i].transpose(1, 2, 0)
        results = module(*(np.ascontiguousarray(x, np.float32)[None] for x in arguments))
        return [x[0].transpose(2, 0, 1) if i in layout.channels_last_outputs else x[0] for i, x in enumerate(results)]


def _choose_engine(engine: str, device: str, precision: str, network: TrainedNetwork) -> str:
    """The engine: "auto" is OpenVINO where it can run the network, else PyTorch.

    Raises:
        UsageError: if engine, device, precision and network cannot be combined.
    """
    in_memory = network.path is None
    possible = is_cpu(device) and openvino.supports_precision(precision)
    if engine == "auto":
        # Compiled modules hold the parameters of one moment: a network in memory goes on sharing its own.
        engine = "openvino" if possible and not in_memory else "torch"
    elif engine == "openvino" and not possible:
        raise UsageError(
            "OpenVINO runs networks on CPUs, in fp32, bf16 or int8, and where it is installed (pip install "
            "'betwixt[openvino]'): choose another device, precision or runtime."
        )
    if precision == "int8" and in_memory:
        raise UsageError("Networks run in int8 from a weights file: give one, or choose another precision.")
    if precision == "int8" and engine == "torch":
        raise UsageError(
            "Networks run in int8 on CPUs, through OpenVINO (pip install 'betwixt[openvino]'): choose another device, "
            "precision or runtime."
        )
    return engine


def _choose_precision(precision: str, engine: str, network: TrainedNetwork) -> tuple[str, Mapping[str, float] | None]:
    """The precision, and for int8 the activation ranges; "auto" is the fastest.

    Raises:
        UsageError: if int8 is asked for and there are no activation ranges.
        InputError: if they are damaged.
    """
    if engine == "torch":
        return ("fp32" if precision == "auto" else precision), None
    chosen = openvino.fastest_precision(int8=True) if precision == "auto" else precision
    if chosen != "int8":
        return chosen, None
    ranges = None if network.path is None else read_activation_ranges(network.path)
    if ranges is not None:
        return "int8", ranges
    if precision == "int8":
        raise UsageError(
            f"The activation ranges of {network.path} are unknown: measure them with betwixt weights calibrate, or "
            "choose another precision than int8."
        )
    return openvino.fastest_precision(int8=False), None


def _quantize(network: nn.Module, ranges: Mapping[str, float], weights: Path) -> None:
    from betwixt.backends.fake_quant import quantize_network

    try:
        quantize_network(network, ranges)
    except ValueError as error:
        raise InputError(f"{ranges_file(weights)} is of another network: {error}") from None


def _digest_ranges(ranges: Mapping[str, float] | None) -> str:
    return "" if ranges is None else hashlib.sha256(repr(sorted(ranges.items())).encode()).hexdigest()[:12]


def _source_text(module: str) -> str:
    """The source of a module, which is not imported for it."""
    spec = find_spec(module)
    try:
        return Path(spec.origin or "").read_text(encoding="utf-8") if spec is not None else ""
    except (OSError, UnicodeDecodeError):
        return ""

"""Loading a model by name: its weights are found, its network is built, a backend is chosen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from betwixt.backends.backend import GRAPH_ENGINES, check_device, check_torch_device, choose_backend
from betwixt.backends.network_runner import TrainedNetwork
from betwixt.errors import UsageError
from betwixt.files import file_hash
from betwixt.machine import require_torch
from betwixt.models import baselines
from betwixt.models.base import Interpolator, masks_unsupported
from betwixt.models.model_info import ModelInfo
from betwixt.models.registry import DEFAULT_MODEL, MODELS, choose_model, model_info, network_config
from betwixt.weights.metadata import read_hyperparameters
from betwixt.weights.store import embedded_file, embedded_graphs, find_installed

if TYPE_CHECKING:
    from torch import nn

    from betwixt.runtime.network_interpolator import FindMasks


def usable_models() -> list[ModelInfo]:
    """The models that can make frames between two frames now; those for comparison alone are left out."""
    return [
        info
        for info in MODELS.values()
        if info not in baselines.MODELS
        and not info.sequences_only
        and not info.extrapolates
        and (info.weights != "yours" or find_installed(info.name))
    ]


def load_model(
    name: str = DEFAULT_MODEL,
    device: str = "auto",
    *,
    weights: str | Path | None = None,
    precision: str = "auto",
    masks: FindMasks | None = None,
    runtime: str = "auto",
) -> Interpolator:
    """Load a model by name.

    Args:
        name: One of `betwixt models`; "auto" is `hybrid`, the default.
        device: "auto", the fastest that is available, or a device that `betwixt.backends.backend` lists, such as "cpu"
            or "cuda:1".
        weights: A weights file for a network: safetensors, the authors' own .pth or .pkl, an ncnn model, or an ONNX
            file that `betwixt weights export` wrote; by default the file that `betwixt weights` has installed, or the
            one that comes with Betwixt.
        precision: "fp32", "bf16" or "fp16", for networks, and "int8" for Betwixt's own in OpenVINO. "auto" is fp32 for
            the papers' networks, and for our own the fastest precision without a visible loss.
        masks: What finds the masks of two frames, for models that take them; by default `masks.regions.find_regions`.
        runtime: The engine: "openvino" or "onnxruntime" (for Betwixt's own networks and exported graphs), "torch", or
            "native" (for models without a network); "auto" is the fastest that is installed.

    Returns:
        The model, ready to use from any thread.

    Raises:
        UsageError: if there is no such model, it does not run on that device, or it has no weights.
        InputError: if the weights do not fit.

    Example:
        >>> import betwixt
        >>> betwixt.load_model("dis").name
        'dis'
    """
    name = choose_model(name, weights)
    info = model_info(name)
    check_device(device)
    check_runtime(name, runtime, weights)
    if masks is not None and not info.takes_masks:
        raise masks_unsupported(name)
    if info.sequences_only:
        raise UsageError(f"The model {name} works on sequences, for comparison: it can only be evaluated.")
    if not info.has_network:
        if device not in ("auto", "cpu"):
            raise UsageError(f"The model {name} runs on the CPU: leave out `device`, or choose another model.")
        if weights is not None:
            raise UsageError(f"The model {name} has no network: leave out `weights`, or choose another model.")
        if precision not in ("auto", "fp32"):
            raise UsageError(f"The model {name} has no network: leave out `precision`, or choose another model.")
        return info.make_interpolator()
    path = find_weights(name, weights)
    if info.is_own:
        network = trained_network(name, path)
        backend = network.choose_backend(device, precision, runtime)
        components = [trained_network(other) for other in info.components]
        return info.make_interpolator(network, *components, backend, name)
    if path.suffix == ".onnx":
        if masks is not None:
            raise masks_unsupported(name)
        return _load_graph(name, path, device, precision, runtime)
    require_torch(f"The model {name}")
    check_torch_device(device)
    from betwixt.runtime.network_interpolator import NetworkInterpolator
    from betwixt.weights.load import load_trained_network

    return NetworkInterpolator(name, load_trained_network(name, path), device, precision, masks=masks)


def _load_graph(name: str, path: Path, device: str, precision: str, runtime: str) -> Interpolator:
    """A model whose network was exported as a graph."""
    from betwixt.runtime.graph_interpolator import GraphInterpolator

    precision = "fp32" if precision == "auto" else precision
    return GraphInterpolator(name, path, choose_backend(device, precision, runtime, engines=GRAPH_ENGINES))


def trained_network(name: str, path: Path | None = None) -> TrainedNetwork:
    """The part of a model's network that is trained, with the weights of a file; PyTorch is not loaded for it.

    Args:
        name: The model.
        path: The file; by default the one that comes with Betwixt.
    """
    info = model_info(name)
    path = embedded_file(info.embedded) if path is None else path

    def build() -> nn.Module:
        from betwixt.weights.load import load_trained_network

        module: nn.Module = info.trained_module(load_trained_network(name, path))
        return module

    config = network_config(name, read_hyperparameters(path, name)) if info.is_own else None
    return TrainedNetwork(build, config, path, embedded_graphs(info.embedded), path == embedded_file(info.embedded))


def find_weights(name: str, weights: str | Path | None = None) -> Path:
    """The file that a network's weights are loaded from: `weights`, else the installed one, else the embedded one.

    Raises:
        UsageError: if there is none.
    """
    if weights is not None:
        return Path(weights)
    info = model_info(name)
    # For a paper's network the user's weights take precedence over those that come with Betwixt.
    path = None if info.is_own else find_installed(name)
    if path is None and info.embedded:
        path = embedded_file(info.embedded)
    if path is None:
        raise UsageError(_explain_missing(name))
    return path


def hash_weights(name: str, weights: str | Path | None = None) -> str:
    """The first twelve digits of the SHA-256 of a network's weights file; "" for a model without weights."""
    info = model_info(name)
    if not info.has_network or (weights is None and not info.embedded and find_installed(name) is None):
        return ""
    return file_hash(find_weights(name, weights))[:12]


def _explain_missing(name: str) -> str:
    """Where weights of a model can be found."""
    from betwixt.weights.catalog import catalog

    downloads = [entry.name for entry in catalog().published.values() if entry.model == name]
    place = catalog().manual_download(name)
    ways = [f"betwixt weights download {downloads[0]}"] if downloads else []
    authors = f" (the authors': {place.page})" if place is not None and not downloads else ""
    ways.append(f"betwixt weights import FILE --as {name}{authors}")
    ways.append("train it (docs/how-to/train.md) and pass `weights`, or use another model, such as hybrid")
    return f"No weights of {name} are installed: {'; '.join(ways)}."


def check_runtime(name: str, runtime: str, weights: str | Path | None = None) -> None:
    """Refuse a runtime that cannot run a model with these weights.

    Raises:
        UsageError: in one line.
    """
    info = model_info(name)
    if runtime not in ("auto", *info.runtimes):
        raise UsageError(f"The model {name} does not run on '{runtime}': choose auto or {' or '.join(info.runtimes)}.")
    if runtime in GRAPH_ENGINES and not info.is_own and not str(weights).endswith(".onnx"):
        raise UsageError(
            f"{runtime} runs graphs: export this network with betwixt weights export {name} {name}.onnx, and pass that "
            "file as `weights`."
        )

"""From the name of a model to the model, ready to use."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from betwixt.backends.devices import check_device, is_cpu
from betwixt.errors import UsageError
from betwixt.files import file_hash
from betwixt.machine import is_installed, require_torch, torch_version
from betwixt.models.base import Interpolator, masks_unsupported
from betwixt.models.registry import DEFAULT_MODEL, choose_model, model_info
from betwixt.weights.store import RIFE, embedded_file, find_installed

if TYPE_CHECKING:
    from betwixt.runtime.network_interpolator import FindMasks

__all__ = [
    "check_runtime",
    "find_weights",
    "hash_weights",
    "load_model",
    "suggest_packages",
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
        name: One of `betwixt models`; "auto" is `hybrid`, the best that comes with Betwixt, or `dis` where PyTorch is
            not installed.
        device: "auto", "cpu", "cuda" or "cuda:1".
        weights: A file of weights for a network: safetensors, the authors' own .pth or .pkl, or an ncnn model; by
            default what `betwixt weights` has installed, or what comes with Betwixt.
        precision: "fp32", "bf16" or "fp16", for networks, and "int8" for Betwixt's own on CPUs; "auto" is what serves
            best without a loss that can be seen: as `models.compact.interpolator` says for our own, fp32 for others.
        masks: What finds the masks of two frames, for models that take them; by default `masks.regions.find_regions`.
        runtime: "torch", "openvino" (on CPUs, for Betwixt's own networks) or "native" (for what is no network); "auto"
            is the fastest that is installed.

    Returns:
        The model, ready to use from any thread.

    Raises:
        UsageError: if there is no such model, it does not run on that device, or its weights are not at hand.
        InputError: if the weights do not fit.

    Example:
        >>> import betwixt
        >>> betwixt.load_model("dis").name
        'dis'
    """
    name = choose_model(name, weights)
    info = model_info(name)
    check_device(device)
    check_runtime(name, runtime)
    if masks is not None and not info.takes_masks:
        raise masks_unsupported(name)
    if info.sequences_only:
        raise UsageError(f"The model {name} works on sequences, for comparison: it can only be evaluated.")
    if not info.has_network:
        if device.startswith("cuda"):
            raise UsageError(f"The model {name} runs on the CPU: leave --device out, or choose another model.")
        if weights is not None:
            raise UsageError(f"The model {name} learns nothing: leave the weights out, or choose another model.")
        if precision not in ("auto", "fp32"):
            raise UsageError(f"The model {name} is no network: leave the precision out, or choose another model.")
        model: Interpolator = info.make_interpolator()
        return model
    path = find_weights(name, weights)
    if info.is_own:
        if not torch_version():
            require_torch(f"The model {name}")
        if info.components:
            from betwixt.models.hybrid.interpolator import HybridInterpolator

            return HybridInterpolator(path, device, precision, runtime, name, rife=embedded_file(RIFE))
        from betwixt.models.compact.interpolator import CompactInterpolator

        return CompactInterpolator(path, device, precision, runtime, name)
    require_torch(f"The model {name}")
    from betwixt.runtime.network_interpolator import NetworkInterpolator
    from betwixt.weights.load import load_trained_network

    return NetworkInterpolator(name, load_trained_network(name, path), device, precision, masks=masks)


def suggest_packages(name: str, device: str = "auto") -> list[str]:
    """What a person who asked for a model by this name could install for better or faster frames, in sentences."""
    if name != DEFAULT_MODEL:
        return []
    if choose_model(name) == "dis":
        return ["Without PyTorch the frames are those of dis; pip install 'betwixt[torch,openvino]' for better ones."]
    if not is_installed("openvino") and is_cpu(device):
        return ["Frames take less time with OpenVINO: pip install 'betwixt[openvino]'."]
    return []


def find_weights(name: str, given: str | Path | None = None) -> Path:
    """The file a network's weights are loaded from: the one given, one installed, or the one that comes with it.

    Raises:
        UsageError: if there is none.
    """
    if given is not None:
        return Path(given)
    info = model_info(name)
    # What users bring in of a paper's network goes before what comes with it.
    path = None if info.is_own else find_installed(name)
    if path is None and info.embedded:
        path = embedded_file(info.embedded)
    if path is None:
        raise UsageError(_without_weights(name))
    return path


def hash_weights(name: str, given: str | Path | None = None) -> str:
    """The first twelve digits of the SHA-256 of a network's weights; "" where a model has none."""
    info = model_info(name)
    if not info.has_network or (given is None and not info.embedded and find_installed(name) is None):
        return ""
    return file_hash(find_weights(name, given))[:12]


def _without_weights(name: str) -> str:
    """Where the weights of a model can be had."""
    from betwixt.weights.catalog import catalog

    offers = [entry.name for entry in catalog().published.values() if entry.model == name]
    place = catalog().manual_download(name)
    ways = [f"betwixt weights download {offers[0]}"] if offers else []
    authors = f" (the authors': {place.page})" if place is not None and not offers else ""
    ways.append(f"betwixt weights import FILE --as {name}{authors}")
    ways.append("train it (docs/how-to/train.md) and pass --weights FILE, or use another model, such as hybrid")
    return f"No weights of {name} are at hand: {'; '.join(ways)}."


def check_runtime(name: str, runtime: str) -> None:
    """Refuse what does not run a model."""
    known = model_info(name).runtimes
    if runtime not in ("auto", *known):
        raise UsageError(f"The model {name} does not run on '{runtime}': choose auto or {' or '.join(known)}.")

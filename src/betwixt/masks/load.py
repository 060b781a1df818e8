"""Load a mask source by name, with its networks.

"regions"       ──► `RegionMaskSource`       class-agnostic regions; needs no weights
"open-world"    ──► `OpenWorldMaskSource`    RAM, Grounding DINO and HQ-SAM; weights are imported by the user
"""

from __future__ import annotations

from typing import Any

from betwixt.errors import UsageError
from betwixt.masks.cache import MaskCache
from betwixt.masks.source import MaskSource, OpenWorldMaskSource, RegionMaskSource

MASK_SOURCES = ("regions", "open-world")
"""The names of the mask sources."""


def load_mask_source(name: str = "regions", device: str = "auto", *, cache: bool = True) -> MaskSource:
    """Load a mask source, for the frames of one video.

    Args:
        name: "regions" or "open-world".
        device: Where the networks of "open-world" run: "auto", "cpu", "cuda" or "cuda:1".
        cache: Whether to read masks from the cache on disk, and to store new ones there.

    Raises:
        UsageError: if there is no such source, or its weights or packages are not installed.
        InputError: if its weights are damaged.
    """
    mask_cache = MaskCache() if cache else None
    if mask_cache is not None:
        mask_cache.prune()
    if name == "regions":
        return RegionMaskSource(mask_cache)
    if name == "open-world":
        return _load_open_world(device, mask_cache)
    raise UsageError(f"There is no mask source '{name}': choose {' or '.join(MASK_SOURCES)}.")


def _load_open_world(device: str, cache: MaskCache | None) -> MaskSource:
    from betwixt.backends.backend import check_torch_device
    from betwixt.weights.mask_networks import MASK_NETWORKS, require_transformers
    from betwixt.weights.store import find_installed

    require_transformers("The source open-world")
    check_torch_device(device)
    from betwixt.backends.torch import choose_device
    from betwixt.masks.inference import SETTINGS, GroundingDINODetector, HQSAMSegmenter, RAMTagger
    from betwixt.masks.open_world import OpenWorldSegmenter
    from betwixt.weights.catalog import catalog
    from betwixt.weights.load import match_file, read_tensors
    from betwixt.weights.metadata import check_model, read_metadata

    installed = {name: find_installed(name) for name in MASK_NETWORKS}
    paths = {name: path for name, path in installed.items() if path is not None}
    missing = [name for name in installed if name not in paths]
    if missing:
        download = catalog().manual_download(missing[0])
        page = f" (the authors': {download.page})" if download is not None else ""
        raise UsageError(
            f"The source open-world needs weights that are not installed: {', '.join(missing)}. "
            f'Import them with `betwixt weights import FILE --as {missing[0]}`{page}, or pass `masks="regions"`.'
        )
    torch_device = choose_device(device)
    metadata = {name: read_metadata(path) for name, path in paths.items()}
    networks: dict[str, Any] = {}
    for name, path in paths.items():
        check_model(path, name)
        network = MASK_NETWORKS[name].build(read_tensors(path), path)
        network.load_state_dict(match_file(network, path).tensors)
        networks[name] = network.to(torch_device).eval()
    settings = {**SETTINGS, "weights": {name: data.get("content_sha256", "") for name, data in metadata.items()}}
    segmenter = OpenWorldSegmenter(
        RAMTagger(networks["ram"], metadata["ram"], torch_device),
        GroundingDINODetector(networks["grounding-dino"], metadata["grounding-dino"], torch_device),
        HQSAMSegmenter(networks["hq-sam"], torch_device),
    )
    return OpenWorldMaskSource(segmenter, settings, cache)

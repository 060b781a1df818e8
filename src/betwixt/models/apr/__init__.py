"""APR-VFI: forward warping and alignment-aware patch routing."""

from betwixt.models.model_info import ModelInfo

__all__ = ["MODELS"]

_PAPER = "Alignment-aware Patch-level Routing for Dynamic Video Frame Interpolation"
_NETWORK = "betwixt.models.apr.network"

MODELS = (
    ModelInfo(
        name="apr-static",
        summary="forward warping and synthesis by patches, all of it; any time",
        paper=_PAPER,
        parameters=2_206_600,
        weights="yours",
        network=f"{_NETWORK}:APR",
        config=f"{_NETWORK}:CONFIGS[apr-static]",
    ),
    ModelInfo(
        name="apr",
        summary="the same, with patches routed by how well they align; any time",
        paper=_PAPER,
        parameters=2_211_726,
        weights="yours",
        network=f"{_NETWORK}:APR",
        config=f"{_NETWORK}:CONFIGS[apr]",
    ),
)

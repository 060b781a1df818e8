"""APR-VFI: forward warping, and synthesis with patches routed by their alignment."""

from typing import Any

from betwixt.models.model_info import ModelInfo

__all__ = ["MODELS"]

_SHARED: dict[str, Any] = {
    "paper": "Alignment-aware Patch-level Routing for Dynamic Video Frame Interpolation",
    "weights": "yours",
    "network": "betwixt.models.apr.network:APR",
}
_CONFIGS = "betwixt.models.apr.network:CONFIGS"

MODELS = (
    ModelInfo(
        name="apr-static",
        summary="forward warping and synthesis, without routing; any time",
        parameters=2_206_600,
        config=f"{_CONFIGS}[apr-static]",
        **_SHARED,
    ),
    ModelInfo(
        name="apr",
        summary="forward warping and synthesis, patches routed by their alignment; any time",
        parameters=2_211_726,
        config=f"{_CONFIGS}[apr]",
        **_SHARED,
    ),
)

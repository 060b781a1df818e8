"""NCM: neighbor correspondence matching, for interpolation and extrapolation (ACM MM 2022)."""

from typing import Any

from betwixt.models.model_info import ModelInfo

__all__ = ["MODELS"]

_NCM = "betwixt.models.ncm.network:NCM"
_SHARED: dict[str, Any] = {
    "paper": "Jia et al., Neighbor Correspondence Matching for Flow-based Video Frame Synthesis, ACM MM 2022",
    "parameters": 12_123_586,
    "weights": "yours",
}
_BASE: dict[str, Any] = {**_SHARED, "network": _NCM, "config": "betwixt.models.ncm.network:NCM_BASE"}
_LARGE: dict[str, Any] = {
    **_SHARED,
    "network": "betwixt.models.augmented:build_augmented",
    "config": "betwixt.models.ncm.network:NCM_LARGE",
    "arguments": {"network": _NCM},
    "trained_part": "network",
}

MODELS = (
    ModelInfo(
        name="ncm-base",
        summary="neighbor correspondence matching; t = 1/2",
        changes={"teacher": False},
        **_BASE,
    ),
    ModelInfo(
        name="ncm-large",
        summary="NCM at twice the feature resolution, with test-time augmentation; t = 1/2",
        changes={"teacher": False},
        **_LARGE,
    ),
    ModelInfo(
        name="ncm-base-next",
        summary="NCM for extrapolation: the frame after the second",
        changes={"extrapolation": True, "teacher": False},
        **_BASE,
    ),
    ModelInfo(
        name="ncm-large-next",
        summary="NCM large for extrapolation: the frame after the second",
        changes={"extrapolation": True, "teacher": False},
        **_LARGE,
    ),
)

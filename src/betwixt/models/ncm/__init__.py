"""NCM: neighbor correspondence matching, for interpolation and extrapolation (ACM MM 2022)."""

from betwixt.models.model_info import ModelInfo

__all__ = ["MODELS"]

_PAPER = "Jia et al., Neighbor Correspondence Matching for Flow-based Video Frame Synthesis, ACM MM 2022"
_NETWORK = "betwixt.models.ncm.network"
_AUGMENTED = "betwixt.models.augmented:build_augmented"

MODELS = (
    ModelInfo(
        name="ncm-base",
        summary="neighbor correspondence matching; t = 1/2",
        paper=_PAPER,
        parameters=12_123_586,
        weights="yours",
        network=f"{_NETWORK}:NCM",
        config=f"{_NETWORK}:NCM_BASE",
        changes={"teacher": False},
    ),
    ModelInfo(
        name="ncm-large",
        summary="NCM at twice the feature resolution, 2T; t = 1/2",
        paper=_PAPER,
        parameters=12_123_586,
        weights="yours",
        network=_AUGMENTED,
        config=f"{_NETWORK}:NCM_LARGE",
        changes={"teacher": False},
        arguments={"network": f"{_NETWORK}:NCM"},
        trained_part="network",
    ),
    ModelInfo(
        name="ncm-base-next",
        summary="NCM for extrapolation: the frame after the second",
        paper=_PAPER,
        parameters=12_123_586,
        weights="yours",
        network=f"{_NETWORK}:NCM",
        config=f"{_NETWORK}:NCM_BASE",
        changes={"extrapolation": True, "teacher": False},
    ),
    ModelInfo(
        name="ncm-large-next",
        summary="NCM large for extrapolation: the frame after the second",
        paper=_PAPER,
        parameters=12_123_586,
        weights="yours",
        network=_AUGMENTED,
        config=f"{_NETWORK}:NCM_LARGE",
        changes={"extrapolation": True, "teacher": False},
        arguments={"network": f"{_NETWORK}:NCM"},
        trained_part="network",
    ),
)

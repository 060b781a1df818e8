"""EBME: enhanced bi-directional motion estimation, with forward splatting (WACV 2023)."""

from betwixt.models.model_info import ModelInfo

__all__ = ["MODELS"]

MODELS = (
    ModelInfo(
        "ebme",
        "bi-directional flow and forward splatting, without a synthesis network; any time",
        632_900,
        paper="Jin et al., Enhanced Bi-directional Motion Estimation for Video Frame Interpolation, WACV 2023",
        weights="yours",
        network="betwixt.models.ebme.network:EBMESplat",
    ),
)

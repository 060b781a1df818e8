"""EBME: bi-directional motion estimation and forward splatting (WACV 2023)."""

from betwixt.models.model_info import ModelInfo

__all__ = ["MODELS"]

_PAPER = "Jin et al., Enhanced Bi-directional Motion Estimation for Video Frame Interpolation, WACV 2023"
_NETWORK = "betwixt.models.ebme.network"

MODELS = (
    ModelInfo(
        name="ebme",
        summary="bi-directional flow, splatted, without synthesis; any time",
        paper=_PAPER,
        parameters=632_900,
        weights="yours",
        network=f"{_NETWORK}:EBMESplat",
    ),
)

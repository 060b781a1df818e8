"""IFRNet: joint refinement of flows and intermediate features (CVPR 2022)."""

from typing import Any

from betwixt.models.model_info import ModelInfo

__all__ = ["MODELS"]

_SHARED: dict[str, Any] = {
    "paper": "Kong et al., IFRNet: Intermediate Feature Refine Network for Efficient Frame Interpolation, CVPR 2022",
    "weights": "yours",
    "network": "betwixt.models.ifrnet.network:IFRNet",
}
_CONFIGS = "betwixt.models.ifrnet.network:CONFIGS"

MODELS = (
    ModelInfo(
        name="ifrnet-s",
        summary="joint refinement of flows and features, small; any time",
        parameters=2_803_610,
        config=f"{_CONFIGS}[ifrnet-s]",
        **_SHARED,
    ),
    ModelInfo(
        name="ifrnet",
        summary="joint refinement of flows and features; any time",
        parameters=4_959_692,
        config=f"{_CONFIGS}[ifrnet]",
        **_SHARED,
    ),
    ModelInfo(
        name="ifrnet-l",
        summary="joint refinement of flows and features, large; any time",
        parameters=19_699_460,
        config=f"{_CONFIGS}[ifrnet-l]",
        **_SHARED,
    ),
)

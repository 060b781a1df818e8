"""EMA-VFI: motion and appearance from inter-frame attention (CVPR 2023)."""

from typing import Any

from betwixt.models.model_info import ModelInfo

__all__ = ["MODELS"]

_SHARED: dict[str, Any] = {
    "paper": "Zhang et al., Extracting Motion and Appearance via Inter-Frame Attention, CVPR 2023",
    "weights": "yours",
    "network": "betwixt.models.ema_vfi.network:EMAVFI",
}

MODELS = (
    ModelInfo(
        name="ema-vfi-small",
        summary="inter-frame attention, small; any time",
        parameters=14_489_815,
        config="betwixt.models.ema_vfi.network:EMA_VFI_SMALL",
        **_SHARED,
    ),
    ModelInfo(
        name="ema-vfi",
        summary="inter-frame attention; any time",
        parameters=65_662_359,
        config="betwixt.models.ema_vfi.network:EMA_VFI",
        **_SHARED,
    ),
)

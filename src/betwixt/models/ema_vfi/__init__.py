"""EMA-VFI: inter-frame attention for motion and appearance (CVPR 2023)."""

from betwixt.models.model_info import ModelInfo

__all__ = ["MODELS"]

_PAPER = "Zhang et al., Extracting Motion and Appearance via Inter-Frame Attention, CVPR 2023"
_NETWORK = "betwixt.models.ema_vfi.network"

MODELS = (
    ModelInfo(
        name="ema-vfi-small",
        summary="inter-frame attention, small; any time",
        paper=_PAPER,
        parameters=14_489_815,
        weights="yours",
        network=f"{_NETWORK}:EMAVFI",
        config=f"{_NETWORK}:EMA_VFI_SMALL",
    ),
    ModelInfo(
        name="ema-vfi",
        summary="inter-frame attention; any time",
        paper=_PAPER,
        parameters=65_662_359,
        weights="yours",
        network=f"{_NETWORK}:EMAVFI",
        config=f"{_NETWORK}:EMA_VFI",
    ),
)

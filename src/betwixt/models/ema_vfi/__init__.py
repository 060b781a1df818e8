"""EMA-VFI: motion and appearance from inter-frame attention (CVPR 2023)."""

from functools import partial

from betwixt.models.model_info import ModelInfo

__all__ = ["MODELS"]

_MODULE = "betwixt.models.ema_vfi.network"
_ema_vfi = partial(
    ModelInfo,
    paper="Zhang et al., Extracting Motion and Appearance via Inter-Frame Attention, CVPR 2023",
    weights="yours",
    network=f"{_MODULE}:EMAVFI",
)

MODELS = (
    _ema_vfi("ema-vfi-small", "inter-frame attention, small; any time", 14_489_815, f"{_MODULE}:EMA_VFI_SMALL"),
    _ema_vfi("ema-vfi", "inter-frame attention; any time", 65_662_359, f"{_MODULE}:EMA_VFI"),
)

"""IFRNet: joint refinement of flows and intermediate features (CVPR 2022)."""

from functools import partial

from betwixt.models.model_info import ModelInfo

__all__ = ["MODELS"]

_ifrnet = partial(
    ModelInfo,
    paper="Kong et al., IFRNet: Intermediate Feature Refine Network for Efficient Frame Interpolation, CVPR 2022",
    weights="yours",
    network="betwixt.models.ifrnet.network:IFRNet",
)
_CONFIGS = "betwixt.models.ifrnet.network:CONFIGS"
_SUMMARY = "joint refinement of flows and features"

MODELS = (
    _ifrnet("ifrnet-s", f"{_SUMMARY}, small; any time", 2_803_610, f"{_CONFIGS}[ifrnet-s]"),
    _ifrnet("ifrnet", f"{_SUMMARY}; any time", 4_959_692, f"{_CONFIGS}[ifrnet]"),
    _ifrnet("ifrnet-l", f"{_SUMMARY}, large; any time", 19_699_460, f"{_CONFIGS}[ifrnet-l]"),
)

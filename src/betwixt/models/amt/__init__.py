"""AMT: all-pairs multi-field transforms (CVPR 2023)."""

from functools import partial

from betwixt.models.model_info import ModelInfo

__all__ = ["MODELS"]

_amt = partial(
    ModelInfo,
    paper="Li et al., AMT: All-Pairs Multi-Field Transforms for Efficient Frame Interpolation, CVPR 2023",
    weights="yours",
    network="betwixt.models.amt.network:AMT",
)
_CONFIGS = "betwixt.models.amt.network:CONFIGS"

MODELS = (
    _amt("amt-s", "all-pairs correlation, several flow fields, small; any time", 2_990_543, f"{_CONFIGS}[amt-s]"),
    _amt("amt-l", "all-pairs correlation, several flow fields, large; any time", 12_935_367, f"{_CONFIGS}[amt-l]"),
    _amt("amt-g", "all-pairs correlation, several flow fields, largest; any time", 30_638_919, f"{_CONFIGS}[amt-g]"),
)

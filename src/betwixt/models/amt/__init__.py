"""AMT: all-pairs multi-field transforms (CVPR 2023)."""

from typing import Any

from betwixt.models.model_info import ModelInfo

__all__ = ["MODELS"]

_SHARED: dict[str, Any] = {
    "paper": "Li et al., AMT: All-Pairs Multi-Field Transforms for Efficient Frame Interpolation, CVPR 2023",
    "weights": "yours",
    "network": "betwixt.models.amt.network:AMT",
}
_CONFIGS = "betwixt.models.amt.network:CONFIGS"

MODELS = (
    ModelInfo(
        name="amt-s",
        summary="all-pairs correlation, several flow fields, small; any time",
        parameters=2_990_543,
        config=f"{_CONFIGS}[amt-s]",
        **_SHARED,
    ),
    ModelInfo(
        name="amt-l",
        summary="all-pairs correlation, several flow fields, large; any time",
        parameters=12_935_367,
        config=f"{_CONFIGS}[amt-l]",
        **_SHARED,
    ),
    ModelInfo(
        name="amt-g",
        summary="all-pairs correlation, several flow fields, largest; any time",
        parameters=30_638_919,
        config=f"{_CONFIGS}[amt-g]",
        **_SHARED,
    ),
)

"""AMT: all-pairs correlation and several flow fields (CVPR 2023)."""

from betwixt.models.model_info import ModelInfo

__all__ = ["MODELS"]

_PAPER = "Li et al., AMT: All-Pairs Multi-Field Transforms for Efficient Frame Interpolation, CVPR 2023"
_NETWORK = "betwixt.models.amt.network"

MODELS = (
    ModelInfo(
        name="amt-s",
        summary="all-pairs correlation, several flows, small; any time",
        paper=_PAPER,
        parameters=2_990_543,
        weights="yours",
        network=f"{_NETWORK}:AMT",
        config=f"{_NETWORK}:CONFIGS[amt-s]",
    ),
    ModelInfo(
        name="amt-l",
        summary="all-pairs correlation, several flows, large; any time",
        paper=_PAPER,
        parameters=12_935_367,
        weights="yours",
        network=f"{_NETWORK}:AMT",
        config=f"{_NETWORK}:CONFIGS[amt-l]",
    ),
    ModelInfo(
        name="amt-g",
        summary="all-pairs correlation, several flows, global; any time",
        paper=_PAPER,
        parameters=30_638_919,
        weights="yours",
        network=f"{_NETWORK}:AMT",
        config=f"{_NETWORK}:CONFIGS[amt-g]",
    ),
)

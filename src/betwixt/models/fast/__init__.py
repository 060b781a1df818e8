"""fast: the method of dis at a lower resolution, for real time without a network."""

from betwixt.models.model_info import ModelInfo

__all__ = ["MODELS"]

MODELS = (
    ModelInfo(
        "fast",
        "dis at a lower resolution, with bilinear warps: real time",
        paper="Kroeger et al., Fast Optical Flow using Dense Inverse Search, ECCV 2016",
        interpolator="betwixt.models.fast.interpolator:Fast",
    ),
)

"""Simple methods to compare with: average, nearest, plain flow, FFmpeg's minterpolate."""

from betwixt.models.model_info import ModelInfo

__all__ = ["MODELS"]

_PAPER = "none: for comparison"
_MODULE = "betwixt.models.baselines.interpolator"

MODELS = (
    ModelInfo(
        name="average",
        summary="the mean of both frames, weighted by time",
        paper=_PAPER,
        interpolator=f"{_MODULE}:Average",
    ),
    ModelInfo(name="nearest", summary="the nearer frame", paper=_PAPER, interpolator=f"{_MODULE}:Nearest"),
    ModelInfo(
        name="dis-midpoint",
        summary="both frames warped along half of the plain flow",
        paper=_PAPER,
        interpolator=f"{_MODULE}:DISMidpoint",
    ),
    ModelInfo(
        name="minterpolate",
        summary="FFmpeg's filter; to be evaluated on sequences only",
        paper=_PAPER,
        licence="LGPL-2.1",
        interpolator=f"{_MODULE}:Minterpolate",
        sequences_only=True,
    ),
)

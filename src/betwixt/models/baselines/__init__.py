"""Simple methods to compare with: average, nearest, plain flow, FFmpeg's minterpolate."""

from functools import partial

from betwixt.models.model_info import ModelInfo

__all__ = ["MODELS"]

_baseline = partial(ModelInfo, paper="none: for comparison")
_MODULE = "betwixt.models.baselines.interpolator"

MODELS = (
    _baseline("average", "the mean of both frames, weighted by time", interpolator=f"{_MODULE}:Average"),
    _baseline("nearest", "the nearer frame", interpolator=f"{_MODULE}:Nearest"),
    _baseline("dis-midpoint", "both frames warped along half of the plain flow", interpolator=f"{_MODULE}:DISMidpoint"),
    _baseline(
        "minterpolate",
        "FFmpeg's filter; to be evaluated on sequences only",
        licence="LGPL-2.1",
        interpolator=f"{_MODULE}:Minterpolate",
        sequences_only=True,
    ),
)

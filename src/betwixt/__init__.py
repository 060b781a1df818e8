"""Betwixt interpolates video: it makes the frames in between, for any video and any frame rate.

    >>> import betwixt
    >>> model = betwixt.load_model("dis")

`interpolate_video` converts a video to another frame rate, and `frames` gives the same frames to a program.
`load_model` loads a model, whose `between` makes the frames between two images.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from betwixt.version import __version__

if TYPE_CHECKING:
    from betwixt.cluster.connection import Cluster
    from betwixt.codec.decode import Decoded, decode_video
    from betwixt.codec.encode import Encoded, encode_video
    from betwixt.errors import BetwixtError, DamagedInputError, InputError, Interrupted, OutputError, UsageError
    from betwixt.evaluation.compare import VideoComparison, compare_videos
    from betwixt.models.base import Interpolator
    from betwixt.models.maps import IntermediateMap
    from betwixt.pipeline.between import BetweenSummary, between_images
    from betwixt.pipeline.blur import blur_video, plan_blur
    from betwixt.pipeline.extrapolation import extrapolate_video, plan_extrapolation
    from betwixt.pipeline.frame_iterator import FrameIterator, OutputFrame, frames
    from betwixt.pipeline.inspect import Findings, inspect_video
    from betwixt.pipeline.interpolate import interpolate_video, plan_video
    from betwixt.pipeline.job import Plan
    from betwixt.pipeline.masks import MaskSummary, make_masks
    from betwixt.pipeline.run import Progress, Summary
    from betwixt.realtime.smoother import DisplayFrame, Smoother
    from betwixt.runtime.intermediate_maps import intermediate_maps
    from betwixt.runtime.load import load_model

_EXPORTS = {
    "betwixt.cluster.connection": ("Cluster",),
    "betwixt.codec.decode": ("Decoded", "decode_video"),
    "betwixt.codec.encode": ("Encoded", "encode_video"),
    "betwixt.errors": ("BetwixtError", "DamagedInputError", "InputError", "Interrupted", "OutputError", "UsageError"),
    "betwixt.evaluation.compare": ("VideoComparison", "compare_videos"),
    "betwixt.models.base": ("Interpolator",),
    "betwixt.models.maps": ("IntermediateMap",),
    "betwixt.pipeline.between": ("BetweenSummary", "between_images"),
    "betwixt.pipeline.blur": ("blur_video", "plan_blur"),
    "betwixt.pipeline.extrapolation": ("extrapolate_video", "plan_extrapolation"),
    "betwixt.pipeline.frame_iterator": ("FrameIterator", "OutputFrame", "frames"),
    "betwixt.pipeline.inspect": ("Findings", "inspect_video"),
    "betwixt.pipeline.interpolate": ("interpolate_video", "plan_video"),
    "betwixt.pipeline.job": ("Plan",),
    "betwixt.pipeline.masks": ("MaskSummary", "make_masks"),
    "betwixt.pipeline.run": ("Progress", "Summary"),
    "betwixt.realtime.smoother": ("DisplayFrame", "Smoother"),
    "betwixt.runtime.intermediate_maps": ("intermediate_maps",),
    "betwixt.runtime.load": ("load_model",),
}

__all__ = [
    "BetweenSummary",
    "BetwixtError",
    "Cluster",
    "DamagedInputError",
    "Decoded",
    "DisplayFrame",
    "Encoded",
    "Findings",
    "FrameIterator",
    "InputError",
    "IntermediateMap",
    "Interpolator",
    "Interrupted",
    "MaskSummary",
    "OutputError",
    "OutputFrame",
    "Plan",
    "Progress",
    "Smoother",
    "Summary",
    "UsageError",
    "VideoComparison",
    "__version__",
    "between_images",
    "blur_video",
    "compare_videos",
    "decode_video",
    "encode_video",
    "extrapolate_video",
    "frames",
    "inspect_video",
    "intermediate_maps",
    "interpolate_video",
    "load_model",
    "make_masks",
    "plan_blur",
    "plan_extrapolation",
    "plan_video",
]


def __getattr__(name: str) -> Any:
    # Imported on first use, so that `betwixt --help` and `--version` answer at once.
    for module, names in _EXPORTS.items():
        if name in names:
            value = getattr(import_module(module), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module 'betwixt' has no attribute '{name}'")


def __dir__() -> list[str]:
    return list(__all__)

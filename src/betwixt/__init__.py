"""Betwixt interpolates video: it makes the frames in between, for any video and any frame rate.

    >>> import betwixt
    >>> model = betwixt.load_model("dis")

`interpolate_video` converts a video to another frame rate; `load_model` loads a model, whose `between` makes the frames
between two images.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from betwixt.version import __version__

if TYPE_CHECKING:
    from betwixt.codec.decode import Decoded, decode_video
    from betwixt.codec.encode import Encoded, encode_video
    from betwixt.errors import BetwixtError, DamagedInputError, InputError, OutputError, UsageError
    from betwixt.models.base import Interpolator
    from betwixt.pipeline.interpolate import interpolate_video, plan_video
    from betwixt.pipeline.job import Plan
    from betwixt.pipeline.run import Progress, Summary
    from betwixt.runtime.load import load_model

_EXPORTS = {
    "betwixt.codec.decode": ("Decoded", "decode_video"),
    "betwixt.codec.encode": ("Encoded", "encode_video"),
    "betwixt.errors": ("BetwixtError", "DamagedInputError", "InputError", "OutputError", "UsageError"),
    "betwixt.models.base": ("Interpolator",),
    "betwixt.pipeline.interpolate": ("interpolate_video", "plan_video"),
    "betwixt.pipeline.job": ("Plan",),
    "betwixt.pipeline.run": ("Progress", "Summary"),
    "betwixt.runtime.load": ("load_model",),
}

__all__ = [
    "BetwixtError",
    "DamagedInputError",
    "Decoded",
    "Encoded",
    "InputError",
    "Interpolator",
    "OutputError",
    "Plan",
    "Progress",
    "Summary",
    "UsageError",
    "__version__",
    "decode_video",
    "encode_video",
    "interpolate_video",
    "load_model",
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

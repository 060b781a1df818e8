"""Betwixt makes the frames in between.

    >>> import betwixt
    >>> model = betwixt.load_model("dis")

`interpolate_video` turns a video into a smooth one; `load_model` gives a model whose `between` makes frames between
two pictures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from betwixt.version import __version__

if TYPE_CHECKING:
    from betwixt.codec.decode import Decoded, decode_video
    from betwixt.codec.encode import Encoded, encode_video
    from betwixt.errors import BetwixtError, DamagedInputError, InputError, OutputError, UsageError
    from betwixt.models.base import Interpolator
    from betwixt.pipeline.interpolate import Plan, Progress, Summary, interpolate_video, plan_video
    from betwixt.runtime.load import load_model

_HOMES = {
    "BetwixtError": "betwixt.errors",
    "DamagedInputError": "betwixt.errors",
    "Decoded": "betwixt.codec.decode",
    "Encoded": "betwixt.codec.encode",
    "InputError": "betwixt.errors",
    "Interpolator": "betwixt.models.base",
    "OutputError": "betwixt.errors",
    "Plan": "betwixt.pipeline.interpolate",
    "Progress": "betwixt.pipeline.interpolate",
    "Summary": "betwixt.pipeline.interpolate",
    "UsageError": "betwixt.errors",
    "decode_video": "betwixt.codec.decode",
    "encode_video": "betwixt.codec.encode",
    "interpolate_video": "betwixt.pipeline.interpolate",
    "load_model": "betwixt.runtime.load",
    "plan_video": "betwixt.pipeline.interpolate",
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
    # loaded on first use, so that `betwixt --help` and `--version` answer at once
    if name not in _HOMES:
        raise AttributeError(f"module 'betwixt' has no attribute '{name}'")
    from importlib import import_module

    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value

"""Inputs for options of conversions, made from their declarations (`pipeline.options`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from betwixt.models.registry import DEFAULT_MODEL, choose_model
from betwixt.pipeline.options import INTERPOLATE
from betwixt.runtime.load import usable_models

_CODECS = ("h264", "hevc", "av1", "vp9", "prores", "ffv1")

_LABELS = {"at_cuts": "Next to cuts", "end": "Stop at", "start": "Begin at", "scene_cuts": "Scene cuts"}
"""Labels of inputs that are not the option's name."""

_HELP = {"scene_cuts": "Find scene cuts, or ignore them."}
"""Help that differs from the option's, because the page offers less."""


def model_choices() -> list[tuple[str, str]]:
    """The models that can be used now, as labels and names; `DEFAULT_MODEL` is the first."""
    default = choose_model()
    others = [(f"{info.name}: {info.summary}", info.name) for info in usable_models() if info.name != default]
    return [(f"{default} (the default)", DEFAULT_MODEL), *others]


def model_input(value: str, label: str = "Model") -> Any:
    """A list of the models that can be used now, with one of them chosen."""
    return gr.Dropdown(model_choices(), value=value, label=label, interactive=True)


def option_input(name: str) -> Any:
    """An input for an option of `betwixt interpolate`, at its default; `model_input` is the one for models."""
    option = INTERPOLATE.options[name]
    help_ = _HELP.get(name, option.help)
    label = _LABELS.get(name, name.replace("_", " ").capitalize())
    choices: Sequence[str] = option.choices
    if name == "scene_cuts":
        choices = ("auto", "off")  # a file on the server is no choice here
    if name == "codec":
        return gr.Dropdown([("automatic", ""), *((c, c) for c in _CODECS)], value="", label=label, interactive=True)
    if choices:
        return gr.Dropdown(list(choices), value=option.default, label=label, info=help_, interactive=True)
    return gr.Textbox(label=label, info=help_, max_lines=1)


def options_given(names: Sequence[str], values: Sequence[Any]) -> dict[str, Any]:
    """The options that inputs hold, without those at their defaults."""
    stripped = (value.strip() if isinstance(value, str) else value for value in values)
    given = zip(names, stripped, strict=True)
    return {n: v for n, v in given if v not in ("", None) and v != INTERPOLATE.default(n)}


def options_for(declared: Mapping[str, Any], suffix: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the given options that a conversion takes, into a file of this suffix."""
    without = {"audio", "codec", "quality"} if suffix == ".gif" else set()
    return {name: value for name, value in given.items() if name in declared and name not in without}

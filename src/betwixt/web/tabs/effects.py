"""The tab Effects: motion blur, and frames after the end of a video; previewed, then queued."""

from __future__ import annotations

import html
from dataclasses import asdict
from pathlib import Path
from typing import Any

import gradio as gr

from betwixt.models.registry import DEFAULT_MODEL, EFFECTS_MODEL
from betwixt.pipeline.options import BLUR
from betwixt.web.choices import model_input
from betwixt.web.comparison import Excerpt, Version, make_preview
from betwixt.web.context import Context
from betwixt.web.conversions import output_suffix
from betwixt.web.inputs import chosen_video, errors_shown, find_motion, show_preview
from betwixt.web.jobs import QueuedJob
from betwixt.web.picker import video_picker
from betwixt.web.results import result_key

_BLUR, _EXTRAPOLATE = "Motion blur", "Frames after the end"
_COMMANDS = {_BLUR: "blur", _EXTRAPOLATE: "extrapolate"}

_MAX_NEW = 60
"""The most frames after the end that the page offers; more than a few are a guess anyway."""

_SECONDS = 2.0
"""How long a preview is."""


def build(context: Context) -> None:
    """Add the tab's components."""
    video = video_picker(context)
    effect = gr.Radio(list(_COMMANDS), value=_BLUR, label="Effect")
    with gr.Row() as of_blur:
        shutter = gr.Slider(
            0, 720, value=float(BLUR.default("shutter")), step=5, label="Shutter, in degrees; 180 is usual in film"
        )
        rate = gr.Textbox(label="Frames per second", placeholder="as the source; 24 for a film look", max_lines=1)
    with gr.Row(visible=False) as of_extrapolation:
        count = gr.Slider(1, _MAX_NEW, value=5, step=1, label="New frames after the last one")
        only = gr.Checkbox(label="Write the new frames alone", value=False)
    with gr.Row():
        model = model_input(EFFECTS_MODEL if context.model == DEFAULT_MODEL else context.model)
        start = gr.Number(value=None, minimum=0, label="Preview from, in seconds; empty: where most moves")
    with gr.Row():
        preview = gr.Button("Preview")
        queue = gr.Button("Add to the queue", variant="primary")
    message = gr.HTML(elem_id="effects-message")
    player = gr.HTML(elem_id="effects-video", label="Preview of the effect")

    @errors_shown(context)
    def show(id_: str | None, effect: str, start: float | None, *values: Any) -> str:
        source = chosen_video(context, id_)
        options = _options(effect, *values)
        if effect == _EXTRAPOLATE:
            options.pop("only", None)  # what comes before shows whether the motion goes on
        survey = find_motion(context, source)
        begin = max(survey.duration - _SECONDS, 0.0) if effect == _EXTRAPOLATE else survey.best_start(_SECONDS)
        excerpt = Excerpt(begin if start is None else float(start), _SECONDS)
        # Beside a blurred video at its own rate, the source shows what has changed.
        untouched = [Version()] if effect == _BLUR and "fps" not in options else []
        versions = [*untouched, Version(_COMMANDS[effect], options)]
        key = result_key("effect", [source], [options["model"]], [effect, asdict(excerpt), options])
        result = context.results.get(
            key, lambda folder: context.worker.call(make_preview, folder, source, excerpt, versions, "side")
        )
        return show_preview(result, "The source (left) and the blurred video (right)" if untouched else effect)

    @errors_shown(context)
    def add(id_: str | None, effect: str, *values: Any) -> str:
        source = chosen_video(context, id_)
        name = context.library.find(id_).name
        output = f"{Path(name).stem}-{_COMMANDS[effect]}{output_suffix(name)}"
        options = {**context.cuts.options(source), **_options(effect, *values)}
        context.queue.add(QueuedJob(str(id_), name, effect, _COMMANDS[effect], options, output))
        return f"<p role=status class=done>Added to the queue: {html.escape(effect)}.</p>"

    private: dict[str, Any] = {"api_visibility": "private"}
    settings = [model, shutter, rate, count, only]
    effect.change(
        lambda chosen: (gr.Row(visible=chosen == _BLUR), gr.Row(visible=chosen == _EXTRAPOLATE)),
        effect,
        [of_blur, of_extrapolation],
        queue=False,
        **private,
    )
    preview.click(show, [video, effect, start, *settings], player, **private)
    queue.click(add, [video, effect, *settings], message, **private)
    video.input(lambda: ("", ""), None, [message, player], queue=False, **private)


def _options(effect: str, model: str, shutter: float, rate: str, count: int, only: bool) -> dict[str, Any]:
    """The options of the conversion, as JSON holds them."""
    if effect == _EXTRAPOLATE:
        return {"model": model, "frames": min(int(count), _MAX_NEW), **({"only": True} if only else {})}
    return {"model": model, "shutter": f"{shutter:g}", **({"fps": rate.strip()} if rate.strip() else {})}

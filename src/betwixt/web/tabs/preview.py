"""The tab Preview: a few seconds by two models, one new frame pixel by pixel, and the cuts that were found."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import gradio as gr

from betwixt.web.choices import model_input
from betwixt.web.comparison import LAYOUTS, MAX_SECONDS, Excerpt, Version, make_preview
from betwixt.web.context import Context
from betwixt.web.inputs import chosen_video, errors_shown, find_motion, show_preview, tab_of
from betwixt.web.picker import video_picker
from betwixt.web.results import result_key
from betwixt.web.tabs import cuts, frame

_CONVERSIONS: dict[str, dict[str, Any]] = {
    "Twice the frames": {},
    "60 frames a second": {"fps": "60"},
    "Slow motion 2x": {"slow": "2"},
    "Slow motion 4x": {"slow": "4"},
    "Slow motion 8x": {"slow": "8"},
}
"""What can be previewed, with the options of `betwixt interpolate`."""

_SECONDS = 2.0
"""How long a preview is, unless the user chooses."""


def build(context: Context) -> None:
    """Add the tab's components."""
    video = video_picker(context)
    surveyed = gr.State(None)
    with gr.Row():
        start = gr.Slider(0, 10, value=0, step=0.01, label="Start, in seconds")
        seconds = gr.Slider(0.5, MAX_SECONDS, value=_SECONDS, step=0.5, label="Length, in seconds")
    with gr.Row():
        model_a, model_b = model_input(context.model, "Model A"), model_input("fast", "Model B")
    with gr.Row():
        conversion = gr.Dropdown(list(_CONVERSIONS), value=next(iter(_CONVERSIONS)), label="Conversion")
        layout = gr.Dropdown([(label, id_) for id_, label in LAYOUTS.items()], value="side", label="Layout")
    run = gr.Button("Preview", variant="primary")
    player = gr.HTML(elem_id="preview-video", label="Preview")
    frames = frame.build(context, video, (model_a, model_b))
    cuts.build(context, video)

    @errors_shown(context, others=3)
    def survey(id_: str | None, known: str | None) -> tuple[Any, ...]:
        """Move the sliders to where most moves, unless they are there already."""
        if id_ is None or id_ == known:
            return (gr.skip(),) * 4
        found = find_motion(context, context.library.resolve(id_))
        longest = max(found.duration, 0.01)
        begin, liveliest = found.best_start(_SECONDS), min(found.liveliest, longest)
        sliders = (gr.Slider(maximum=longest, value=at) for at in (begin, liveliest))
        return gr.skip(), id_, *sliders

    @errors_shown(context)
    def preview(
        id_: str | None, known_id: str | None, start: float, seconds: float, model_a: str, model_b: str,
        conversion: str, layout: str,
    ) -> str:  # fmt: skip
        source = chosen_video(context, id_)
        if id_ != known_id:  # the sliders have not moved to this video yet
            start = find_motion(context, source).best_start(float(seconds))
        known = context.cuts.load(source)
        cuts_at = None if known is None else tuple(known.times[number] for number in known.cuts)
        excerpt = Excerpt(float(start), float(seconds), cuts_at)
        models, options = list(dict.fromkeys([model_a, model_b])), _CONVERSIONS[conversion]
        versions = [Version("interpolate", {**options, "model": model}) for model in models]
        key = result_key("preview", [source], models, [asdict(excerpt), options, layout])
        result = context.results.get(
            key, lambda folder: context.worker.call(make_preview, folder, source, excerpt, versions, layout)
        )
        return show_preview(result, _describe(models, layout))

    private: dict[str, Any] = {"api_visibility": "private"}
    made = [player, frames.slider, frames.caption]
    video.input(
        lambda: ("", gr.ImageSlider(None, visible=False), ""),
        None,
        made,
        queue=False,
        show_progress="hidden",
        **private,
    )
    about_video = [player, surveyed, start, frames.time]
    # Opening the tab and choosing a video may follow each other while the first is still answered.
    gr.on(
        [video.input, tab_of(video).select], survey, [video, surveyed], about_video, show_progress="hidden",
        trigger_mode="multiple", **private,
    )  # fmt: skip
    run.click(preview, [video, surveyed, start, seconds, model_a, model_b, conversion, layout], player, **private)


def _describe(models: list[str], layout: str) -> str:
    """Which model made what in a preview."""
    if len(models) == 1:
        return f"By {models[0]}"
    places = {"side": ("left", "right"), "stack": ("above", "below"), "split": ("left half", "right half")}[layout]
    said = " and ".join(f"{model} ({place})" for model, place in zip(models, places, strict=True))
    return f"By {said}, in one video, so that they stay in step"

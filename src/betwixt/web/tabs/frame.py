"""One new frame by two models, pixel by pixel, in the tab Preview."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import Any

import gradio as gr
import numpy as np

from betwixt.web.context import Context
from betwixt.web.inputs import chosen_video, errors_shown
from betwixt.web.pictures import RGB, read_rgb
from betwixt.web.results import Result, result_key
from betwixt.web.stills import FramePair, make_still

_VIEWS = {
    "frame": ("The frame", ["frame"]),
    "motion": ("Motion, in the Middlebury colours", ["flow_t0", "displacement"]),
    "mask": ("Fusion mask", ["mask"]),
    "occlusion": ("Occlusions", ["visible_1", "disagreement"]),
    "regions": ("Regions", ["regions_0"]),
}
"""What can be shown: its label, and the maps that show it, of which the first that a model has is taken."""

_CROP = 640
"""The side of the part that is shown at 1:1, in pixels, at most."""

_BORDER = 2
"""What Gradio's border around the pictures takes, in pixels."""


@dataclass(frozen=True)
class FrameParts:
    """The components that other parts of the tab set.

    Attributes:
        time: The time of the first of the two source frames.
        slider: The two pictures.
        caption: What they are.
    """

    time: gr.Slider
    slider: gr.ImageSlider
    caption: gr.HTML


def build(context: Context, video: gr.Dropdown, models: tuple[gr.Dropdown, gr.Dropdown]) -> FrameParts:
    """Add the components; the video and the models are chosen above them."""
    gr.Markdown("## One new frame, pixel by pixel")
    gr.Markdown("The frame halfway between two source frames, by model A (left) and by model B (right).")
    with gr.Row():
        time = gr.Slider(0, 10, value=0, step=0.01, label="After this time, in seconds")
        view = gr.Dropdown([(label, id_) for id_, (label, _) in _VIEWS.items()], value="frame", label="Show")
    with gr.Row():
        zoom = gr.Radio([("Whole frame", "whole"), ("A part at 1:1", "part")], value="whole", label="Size")
        across = gr.Slider(0, 100, value=50, step=1, label="Place of the part: across, in %", visible=False)
        down = gr.Slider(0, 100, value=50, step=1, label="Place of the part: down, in %", visible=False)
    compare = gr.Button("Compare the frames")
    caption = gr.HTML(elem_id="preview-caption")
    slider = gr.ImageSlider(
        label="Model A | model B", elem_id="preview-slider", interactive=False, format="png", max_height=720,
        buttons=["fullscreen"], visible=False,
    )  # fmt: skip

    @errors_shown(context, others=1)
    def show(
        id_: str | None, time: float, model_a: str, model_b: str, view: str, zoom: str, across: float, down: float
    ) -> tuple[str, Any]:
        pair, models = FramePair((chosen_video(context, id_),), float(time)), (model_a, model_b)
        stills = [_still(context, pair, model) for model in models]
        images, said = zip(*(_view(still, view) for still in stills), strict=True)
        size: dict[str, Any] = {"width": None, "height": None}
        if zoom == "part":
            images = tuple(_crop(image, across / 100, down / 100) for image in images)
            size = {"width": images[0].shape[1] + _BORDER, "height": images[0].shape[0] + _BORDER}
        return _caption(models, said), gr.ImageSlider(images, visible=True, **size)

    def show_again(shown: str | None, *values: Any) -> tuple[Any, ...]:
        """Show what is shown already in another way; nothing is made for it."""
        answer: tuple[Any, ...] = show(*values) if shown else (gr.skip(), gr.skip())
        return answer

    chosen = [video, time, *models, view, zoom, across, down]
    private: dict[str, Any] = {"api_visibility": "private"}
    zoom.change(lambda zoom: [gr.Slider(visible=zoom == "part")] * 2, zoom, [across, down], queue=False, **private)
    gr.on([compare.click, time.release], show, chosen, [caption, slider], **private)
    ways = [view.input, zoom.input, across.release, down.release]
    gr.on(ways, show_again, [caption, *chosen], [caption, slider], trigger_mode="always_last", **private)
    return FrameParts(time, slider, caption)


def _still(context: Context, pair: FramePair, model: str) -> Result:
    key = result_key("still", list(pair.files), [model], pair.time)
    return context.results.get(key, lambda folder: context.worker.call(make_still, folder, pair, model))


def _view(still: Result, view: str) -> tuple[RGB, str]:
    """What is shown of a new frame, and what it is."""
    maps = still.facts["maps"]
    name = next((name for name in _VIEWS[view][1] if name in maps), None)
    if name is None:
        height, width = maps["frame"]["shape"][:2]
        return np.full((height, width, 3), 128, np.uint8), "it has no such map"
    extent = maps[name]["range"]
    return read_rgb(still.folder / f"{name}.png"), f"{maps[name]['caption']}{extent and ', '}{extent}"


def _crop(image: RGB, across: float, down: float) -> RGB:
    """A part of an image around a place, given as shares of its width and height."""
    height, width = image.shape[:2]
    left, top = (
        round(min(max(share * length - _CROP / 2, 0), max(length - _CROP, 0)))
        for share, length in ((across, width), (down, height))
    )
    return image[top : top + _CROP, left : left + _CROP]


def _caption(models: tuple[str, str], said: tuple[str, ...]) -> str:
    lines = [
        f"<strong>{side}, {html.escape(model)}:</strong> {html.escape(text)}."
        for side, model, text in zip("AB", models, said, strict=True)
    ]
    return f"<p>{'<br>'.join(lines)}</p>"

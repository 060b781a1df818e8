"""The tab Pictures: frames between two pictures."""

from __future__ import annotations

import html
import shutil
from pathlib import Path
from typing import Any

import gradio as gr

from betwixt.errors import UsageError
from betwixt.pipeline.between import between_images
from betwixt.web.choices import model_input
from betwixt.web.context import Context
from betwixt.web.inputs import errors_shown, picture_picker
from betwixt.web.results import Result, result_key

MAX_FRAMES = 60
"""The most frames that the page makes at a time; the command line makes more."""


def build(context: Context) -> None:
    """Add the tab's components."""
    gr.Markdown("Choose two pictures of the same size, and see the frames between them.")
    with gr.Row():
        first = picture_picker(context, "First picture")
        second = picture_picker(context, "Second picture")
    with gr.Row():
        count = gr.Slider(1, MAX_FRAMES, value=7, step=1, label="Frames in between")
        model = model_input(context.model)
        rate = gr.Slider(1, 50, value=10, step=1, label="Frames a second of the animation")
    make = gr.Button("Make the frames", variant="primary")
    output = gr.HTML(elem_id="pictures-result", label="The frames between the pictures")

    @errors_shown(context)
    def run(first: str | None, second: str | None, count: int, model: str, rate: int) -> str:
        if first is None or second is None:
            raise UsageError("Choose two pictures first.")
        files = [context.library.resolve(id_) for id_ in (first, second)]
        settings = {"count": min(int(count), MAX_FRAMES), "rate": int(rate)}
        key = result_key("between", files, [model], settings)
        result = context.results.get(
            key, lambda folder: context.worker.call(make_frames, folder, files[0], files[1], model, **settings)
        )
        return _show(result)

    make.click(run, [first, second, count, model, rate], output, api_visibility="private")


def make_frames(folder: Path, first: Path, second: Path, model: str, count: int, rate: int) -> dict[str, Any]:
    """Write the frames between two pictures as PNG files, as a GIF, and in a ZIP file.

    It runs in the worker.

    Raises:
        BetwixtError: if the pictures cannot be read or do not fit.
    """
    frames = folder / "frames"
    summary = between_images(first, second, frames, count=count, ends=True, model=model)
    shutil.make_archive(str(folder / "frames"), "zip", frames)
    for path in sorted(frames.iterdir()):
        path.rename(folder / path.name)
    frames.rmdir()
    between_images(first, second, folder / "animation.gif", count=count, fps=rate, model=model)
    return {"times": [float(t) for t in summary.times], "model": summary.model}


def _show(result: Result) -> str:
    """The animation, the frames and the downloads, as HTML."""
    times = result.facts["times"]
    figures = "".join(
        f'<figure><a href="{result.url(f"frame_{number:06d}.png")}" target="_blank">'
        f'<img src="{result.url(f"frame_{number:06d}.png")}" alt="Frame at {t:.3g}" loading="lazy"></a>'
        f"<figcaption>{_caption(t)}</figcaption></figure>"
        for number, t in enumerate(times, 1)
    )
    return (
        f'<div class="result"><figure><img src="{result.url("animation.gif")}" '
        f'alt="The frames as an animation"></figure>'
        f"<p>{len(times) - 2} new frames by {html.escape(result.facts['model'])}. "
        f'<a href="{result.url("animation.gif")}" download="animation.gif">Animation (GIF)</a> '
        f'<a href="{result.url("frames.zip")}" download="frames.zip">All frames (ZIP)</a></p>'
        f'<div class="gallery">{figures}</div></div>'
    )


def _caption(t: float) -> str:
    return {0.0: "first picture", 1.0: "second picture"}.get(t, f"t = {t:.3g}")

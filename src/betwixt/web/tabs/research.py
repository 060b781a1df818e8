"""The tab Research: any model on two frames, with all its maps as pictures and as arrays."""

from __future__ import annotations

import html

import gradio as gr

from betwixt.errors import UsageError
from betwixt.models.registry import choose_model
from betwixt.web.context import Context
from betwixt.web.inputs import all_model_choices, errors_shown, missing_weights, picture_picker
from betwixt.web.picker import video_picker
from betwixt.web.results import Result, result_key
from betwixt.web.stills import FramePair, make_still

_VIDEO, _PICTURES = "Two frames of the video", "Two pictures"


def build(context: Context) -> None:
    """Add the tab's components."""
    gr.Markdown("See what a model makes a frame of: flows, masks, visibility, residuals, warped frames and errors.")
    origin = gr.Radio([_VIDEO, _PICTURES], value=_VIDEO, label="Frames")
    with gr.Column() as of_video:
        video = video_picker(context)
        with gr.Row():
            time = gr.Number(value=0, minimum=0, label="Time of the first frame, in seconds")
            distance = gr.Radio(
                [("The next frame", 1), ("The one after; the frame between is the true one", 2)],
                value=2,
                label="Second frame",
            )
    with gr.Row(visible=False) as of_pictures:
        first = picture_picker(context, "First picture")
        second = picture_picker(context, "Second picture")
        truth = picture_picker(context, "True frame in between, if known")
    with gr.Row():
        model = gr.Dropdown(label="Model", choices=all_model_choices(), value=choose_model(context.model))
        t = gr.Slider(0.01, 0.99, value=0.5, step=0.01, label="Time of the new frame, from 0 (first) to 1 (second)")
    status = gr.Markdown(_status(choose_model(context.model)))
    run = gr.Button("Show the maps", variant="primary")
    output = gr.HTML(elem_id="research-result", label="Maps")

    @errors_shown(context)
    def show(
        origin: str, video: str | None, time: float | None, distance: int, first: str | None, second: str | None,
        truth: str | None, model: str, t: float,
    ) -> str:  # fmt: skip
        if origin == _VIDEO:
            if video is None:
                raise UsageError("Choose a video first.")
            pair = FramePair((context.library.resolve(video),), max(float(time or 0), 0.0), int(distance))
        else:
            if first is None or second is None:
                raise UsageError("Choose two pictures first.")
            ids = [first, second, *([truth] if truth else [])]
            pair = FramePair(tuple(context.library.resolve(id_) for id_ in ids))
        key = result_key("maps", list(pair.files), [model], [pair.time, pair.distance, t])
        result = context.results.get(
            key, lambda folder: context.worker.call(make_still, folder, pair, model, float(t), arrays=True)
        )
        return _show(result, model)

    origin.change(
        lambda choice: (gr.Column(visible=choice == _VIDEO), gr.Row(visible=choice == _PICTURES)),
        origin,
        [of_video, of_pictures],
        queue=False,
        api_visibility="private",
    )
    model.change(_status, model, status, queue=False, api_visibility="private")
    run.click(show, [origin, video, time, distance, first, second, truth, model, t], output, api_visibility="private")


def _status(model: str) -> str:
    """What is to be known about a model before it is run."""
    return html.escape(missing_weights(model))


def _show(result: Result, model: str) -> str:
    """All maps of a frame, as HTML."""
    figures = "".join(_figure(result, name) for name in result.facts["maps"])
    scores = result.facts["scores"]
    quality = f"PSNR {scores['psnr']:.2f} dB, SSIM {scores['ssim']:.4f} against the true frame. " if scores else ""
    return (
        f'<div class="result"><p>{html.escape(model)}: {quality}'
        f'<a href="{result.url("maps.zip")}" download="maps.zip">All maps (ZIP)</a></p>'
        f'<div class="gallery">{figures}</div></div>'
    )


def _figure(result: Result, name: str) -> str:
    """One map: its picture, what it is, and the links to picture and array."""
    facts = result.facts["maps"][name]
    caption, extent = html.escape(facts["caption"]), facts["range"] and f", {facts['range']}"
    size = "x".join(map(str, facts["shape"]))
    return (
        f'<figure><a href="{result.url(f"{name}.png")}" target="_blank">'
        f'<img src="{result.url(f"{name}.png")}" alt="{caption}" loading="lazy"></a>'
        f"<figcaption><strong>{caption}</strong><br><code>{name}</code> {size}, {html.escape(facts['unit'])}"
        f'{html.escape(extent)}<br><a href="{result.url(f"{name}.png")}" download="{name}.png">PNG</a> '
        f'<a href="{result.url(f"{name}.npy")}" download="{name}.npy">.npy</a></figcaption></figure>'
    )

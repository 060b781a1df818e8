"""What the tabs Preview, Pictures and Research share: lists of models and pictures, and how they show errors."""

from __future__ import annotations

import functools
import html
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, ParamSpec

import gradio as gr

from betwixt.errors import BetwixtError, UsageError
from betwixt.models.registry import MODELS, choose_model
from betwixt.runtime.load import find_weights
from betwixt.units import format_duration
from betwixt.web.context import Context
from betwixt.web.results import Result, result_key
from betwixt.web.survey import Survey, survey_video

P = ParamSpec("P")


def missing_weights(name: str) -> str:
    """Why a model cannot be used here, in one line; "" if it can."""
    if not MODELS[choose_model(name)].has_network:
        return ""
    try:
        find_weights(choose_model(name))
    except UsageError as error:
        return str(error)
    return ""


def all_model_choices() -> list[tuple[str, str]]:
    """Every model by label and name; those without weights say so."""
    return [
        (f"{info.name} (no weights installed)" if missing_weights(info.name) else info.name, info.name)
        for info in MODELS.values()
        if not info.sequences_only
    ]


def errors_shown(context: Context, others: int = 0) -> Callable[[Callable[P, Any]], Callable[P, Any]]:
    """A decorator for the answer to an event: an error that a user can cause is shown in the first output.

    Args:
        context: What the tabs share.
        others: How many further outputs there are; they stay as they are.
    """

    def decorate(function: Callable[P, Any]) -> Callable[P, Any]:
        @functools.wraps(function)
        def answer(*args: P.args, **kwargs: P.kwargs) -> Any:
            try:
                return function(*args, **kwargs)
            except BetwixtError as error:
                message = f'<p role="alert" class="error">{html.escape(context.explain(error))}</p>'
                return (message, *[gr.skip()] * others) if others else message

        return answer

    return decorate


def chosen_video(context: Context, id_: str | None) -> Path:
    """The path of the video that is chosen.

    Raises:
        UsageError: if none is chosen.
        InputError: if it is not there any more.
    """
    if id_ is None:
        raise UsageError("Choose a video first.")
    return context.library.resolve(id_)


def find_motion(context: Context, source: Path) -> Survey:
    """How long a video is and where most moves in it: asked again, the same, although it depends on the time taken.

    Raises:
        BetwixtError: if the video cannot be read.
    """
    key = result_key("survey", [source], [], None)
    return Survey(**context.results.get(key, lambda _: asdict(context.worker.call(survey_video, source))).facts)


def show_preview(result: Result, said: str) -> str:
    """A preview that was made (`web.comparison`), with a caption, as HTML."""
    facts = result.facts
    return (
        f'<figure class="result"><video src="{result.url("preview.mp4")}" controls loop muted autoplay playsinline '
        f'width="{facts["width"]}" height="{facts["height"]}" aria-label="Preview"></video>'
        f"<figcaption>{html.escape(said)}, from {format_duration(facts['start'])}, at {facts['rate']:.4g} frames a "
        "second, without sound.</figcaption></figure>"
    )


def tab_of(component: gr.components.Component) -> gr.Tab:
    """The tab that a component is in."""
    block = component.parent
    while not isinstance(block, gr.Tab):
        assert block is not None, "the component is in no tab"
        block = block.parent
    return block


def picture_picker(context: Context, label: str) -> gr.Dropdown:
    """Add a list of pictures, to which one can be added from the visitor's machine; its value is the library's id."""
    with gr.Group():
        pictures = gr.Dropdown(label=label, choices=_pictures(context), value=None, interactive=True)
        upload = gr.UploadButton(f"Upload: {label[:1].lower()}{label[1:]}", file_types=["image"], size="sm")
        message = gr.HTML()

    @errors_shown(context, others=1)
    def receive(path: str) -> tuple[str, gr.Dropdown]:
        added = context.library.add_upload(Path(path), Path(path).name)
        if not added.is_picture:
            context.library.remove(added.id)
            raise UsageError(f"{added.name} is not a picture: upload a PNG, JPEG, TIFF or WebP file.")
        return "", gr.Dropdown(choices=_pictures(context), value=added.id)

    # Only the choices: what is chosen while this runs must stay.
    pictures.focus(
        lambda: gr.Dropdown(choices=_pictures(context)), None, pictures, queue=False, show_progress="hidden",
        api_visibility="private",
    )  # fmt: skip
    upload.upload(receive, upload, [message, pictures], api_visibility="private")
    return pictures


def _pictures(context: Context) -> list[tuple[str, str]]:
    return [(file.name, file.id) for file in context.library.files(pictures=True)]

"""The list of videos to choose from; every tab that is about a video has one, and all show the same choice."""

from __future__ import annotations

import gradio as gr

from betwixt.web.context import Context


def video_picker(context: Context) -> gr.Dropdown:
    """Add a list of the videos. Choosing one sets `context.selected`; a choice elsewhere is shown here."""
    # Until the page has the present list, nothing can be chosen: the list would move below the pointer.
    videos = gr.Dropdown(label="Video", choices=[], value=None, interactive=False)
    # Not without Gradio's queue: its browser side notices changes of a state only in answers of queued events.
    videos.input(lambda id_: id_, videos, context.selected, show_progress="hidden", api_visibility="private")

    def show(id_: str | None) -> gr.Dropdown:
        choices = _choices(context)
        return gr.Dropdown(choices=choices, value=id_ if id_ in [value for _, value in choices] else None)

    context.selected.change(show, context.selected, videos, show_progress="hidden", api_visibility="private")
    # Without triggers: when the page is loaded.
    gr.on(
        None, lambda: gr.Dropdown(choices=_choices(context), interactive=True), None, videos, queue=False,
        show_progress="hidden", api_visibility="private",
    )  # fmt: skip
    return videos


def _choices(context: Context) -> list[tuple[str, str]]:
    return [(file.name, file.id) for file in context.library.files()]

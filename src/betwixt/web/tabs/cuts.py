"""The cuts of the selected video, in the tab Preview: those that were found, to be corrected by a click."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from betwixt.errors import UsageError
from betwixt.web.child import Child
from betwixt.web.context import Context
from betwixt.web.cuts import VideoCuts
from betwixt.web.inputs import chosen_video, errors_shown, tab_of
from betwixt.web.pictures import RGB, read_rgb
from betwixt.web.results import result_key
from betwixt.web.survey import draw_cut, find_cuts, read_strip

_SHOWN = 200
"""The most cuts that are shown."""

_AROUND = 5
"""How many frames before and after a time are shown, to choose the first of a new shot."""

_Pictures = list[tuple[RGB, str]]


def build(context: Context, video: gr.Dropdown) -> None:
    """Add the components; `video` is the list of videos above them."""
    gr.Markdown("## Cuts")
    gr.Markdown(
        "Nothing is blended across a cut. Click on a false cut to remove it, and again to put it back. Conversions and "
        "previews of this video then use the corrected list."
    )
    search = gr.Button("Find the cuts of the whole video")
    status = gr.HTML(elem_id="cuts-status")
    gallery = gr.Gallery(
        label="The last frame before each cut, and the first after it", columns=2, allow_preview=False,
        format="jpeg", elem_id="cuts", visible=False, height="auto", object_fit="contain", buttons=[],
    )  # fmt: skip
    with gr.Row(visible=False) as adding:
        missed = gr.Number(value=0, minimum=0, label="A cut is missing at, in seconds")
        look = gr.Button("Show the frames there")
    around = gr.Gallery(
        label="Click on the first frame of the new shot", columns=5, allow_preview=False, format="jpeg",
        elem_id="cuts-around", visible=False, height="auto", object_fit="contain", buttons=[],
    )  # fmt: skip
    frames = gr.State([])  # the numbers of the frames in `around`

    @errors_shown(context, others=3)
    def show(id_: str | None) -> tuple[Any, ...]:
        source = None if id_ is None else context.library.resolve(id_)
        cuts = None if source is None else context.cuts.load(source)
        if source is None or cuts is None:
            return "", gr.Gallery(value=None, visible=False), gr.Row(visible=False), gr.Gallery(None, visible=False)
        pictures = _pictures(context, source, cuts)
        return (
            _describe(cuts),
            gr.Gallery(value=pictures, visible=bool(pictures), selected_index=None),
            gr.Row(visible=True),
            gr.Gallery(value=None, visible=False),
        )

    @errors_shown(context, others=3)
    def find(id_: str | None, progress: gr.Progress = gr.Progress()) -> tuple[Any, ...]:  # noqa: B008
        source = chosen_video(context, id_)
        facts = _search(context, source, progress)
        known = context.cuts.load(source)
        if known is None:
            context.cuts.save(source, VideoCuts(tuple(facts["times"]), tuple(facts["found"])))
        shown: tuple[Any, ...] = show(id_)
        return shown

    @errors_shown(context, others=3)
    def toggle(id_: str | None, event: gr.SelectData) -> tuple[Any, ...]:
        source, cuts = _known(context, id_)
        if 0 <= int(event.index) < len(cuts.listed):
            context.cuts.save(source, cuts.toggle(cuts.listed[int(event.index)]))
        shown: tuple[Any, ...] = show(id_)
        return shown

    @errors_shown(context, others=2)
    def look_around(id_: str | None, time: float | None) -> tuple[Any, ...]:
        source, cuts = _known(context, id_)
        first = max(cuts.frame_at(float(time or 0)) - _AROUND, 0)
        strip = context.worker.call(read_strip, source, cuts.times[first], 2 * _AROUND)
        pictures = [(image, f"{at:.2f} s") for at, image in strip]
        numbers = [cuts.frame_at(at) for at, _ in strip]
        return gr.skip(), gr.Gallery(value=pictures, visible=True, selected_index=None), numbers

    @errors_shown(context, others=3)
    def add(id_: str | None, frames: list[int], event: gr.SelectData) -> tuple[Any, ...]:
        source, cuts = _known(context, id_)
        if 0 <= int(event.index) < len(frames):
            context.cuts.save(source, cuts.add(frames[int(event.index)]))
        shown: tuple[Any, ...] = show(id_)
        return shown

    about_cuts = [status, gallery, adding, around]
    private: dict[str, Any] = {"api_visibility": "private"}
    gr.on(
        [video.input, tab_of(video).select], show, video, about_cuts, show_progress="hidden", trigger_mode="multiple",
        **private,
    )  # fmt: skip
    search.click(find, video, about_cuts, **private)
    gallery.select(toggle, video, about_cuts, show_progress="hidden", **private)
    look.click(look_around, [video, missed], [status, around, frames], **private)
    around.select(add, [video, frames], about_cuts, **private)


def _known(context: Context, id_: str | None) -> tuple[Path, VideoCuts]:
    """The selected video and its cuts, which have been looked for."""
    source = chosen_video(context, id_)
    cuts = context.cuts.load(source)
    if cuts is None:
        raise UsageError("Find the cuts of the whole video first.")
    return source, cuts


def _key(source: Path) -> str:
    return result_key("cuts", [source], [], None)


def _search(context: Context, source: Path, progress: gr.Progress) -> dict[str, Any]:
    """Search a whole video for cuts, in a process of its own: that may take longer than the worker's calls."""

    def search(folder: Path) -> dict[str, Any]:
        child: Child[float, dict[str, Any]] = Child(find_cuts, folder, source, memory=context.worker.memory)
        for share in child.messages():
            progress(share, desc="Looking for cuts")
        return child.result

    return context.results.get(_key(source), search).facts


def _pictures(context: Context, source: Path, cuts: VideoCuts) -> _Pictures:
    """The two frames at each cut, with the time; those at removed cuts are darkened."""
    pictures: _Pictures = []
    for frame in cuts.listed[:_SHOWN]:
        path = context.results.find(_key(source), f"cut_{frame}.jpg") or _draw(context, source, cuts.times[frame - 1])
        image = read_rgb(path)
        caption = f"{cuts.times[frame]:.2f} s"
        if frame in cuts.removed:
            pictures.append((image // 4, f"{caption}, removed"))
        else:
            pictures.append((image, f"{caption}, added" if frame in cuts.added else caption))
    return pictures


def _draw(context: Context, source: Path, before: float) -> Path:
    """The picture of a cut after the frame at the time `before`."""
    key = result_key("cut", [source], [], before)
    result = context.results.get(key, lambda folder: context.worker.call(draw_cut, folder, source, before))
    return result.folder / "cut.jpg"


def _describe(cuts: VideoCuts) -> str:
    """How many cuts there are, in a sentence."""
    count = len(cuts.cuts)
    text = "1 cut" if count == 1 else f"{count} cuts"
    if cuts.is_corrected:
        text += f" ({len(cuts.removed)} removed, {len(cuts.added)} added): conversions of this video use this list"
    if len(cuts.listed) > _SHOWN:
        text += f"; the first {_SHOWN} are shown"
    return f"{text}."

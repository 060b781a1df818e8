"""The tab Convert: choose a video, see what it is, and queue a conversion.

upload or list ──► context.selected ──► inspection ──► facts, suggestions ──► measurement ──► costs
                                                          │
                                                          └─ a click ──► queue
"""

from __future__ import annotations

import html
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr

from betwixt.errors import BetwixtError, UsageError
from betwixt.media.timeline import parse_rate, parse_time
from betwixt.pipeline.inspect import inspect_video
from betwixt.units import format_duration
from betwixt.web.choices import model_input, option_input, options_for, options_given
from betwixt.web.context import Context
from betwixt.web.conversions import CONVERSIONS, output_suffix
from betwixt.web.costs import measure
from betwixt.web.facts import Fact, describe, format_size
from betwixt.web.jobs import QueuedJob
from betwixt.web.library import LibraryFile
from betwixt.web.picker import video_picker
from betwixt.web.suggestions import Measurement, Suggestion, custom_rate, estimate, source_rate, suggest

_OPTIONS = ("model", "audio", "codec", "quality", "scene_cuts", "at_cuts", "overlays", "start", "end")
"""The options of conversions that can be chosen here; the command line has all of them."""

_CONTAINERS = [("as the source", ""), *((name, name) for name in ("mp4", "mkv", "mov", "webm", "gif"))]
_MAX_SUGGESTIONS = 9
_MEASURING = "<p class=hint>measuring ..</p>"
_HIDDEN: dict[str, Any] = {"queue": True, "show_progress": "hidden", "api_visibility": "private"}


@dataclass(frozen=True)
class _Inspected:
    """A video that was inspected, as one browser tab keeps it.

    Attributes:
        video: The file.
        findings: What was found.
        suggestions: What could be done with it.
    """

    video: LibraryFile
    findings: dict[str, Any]
    suggestions: list[Suggestion] = field(default_factory=list)


def inspect_file(path: Path) -> dict[str, Any]:
    """The findings of an inspection as JSON holds them; called in the worker's process.

    Raises:
        InputError: if the file cannot be read.
    """
    return inspect_video(path).as_dict()


def build(context: Context) -> None:
    """Add the tab's components."""
    tab = _ConvertTab(context)
    tab.add_components()
    tab.connect()


class _ConvertTab:
    """The components of the tab, and what they do."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def add_components(self) -> None:
        """Add the components, from the top down."""
        limits = self._context.library.limits
        with gr.Row(equal_height=True):
            self.upload = gr.File(label="Drop videos here, or click to choose", file_count="multiple", height=150)
            with gr.Column():
                self.videos = video_picker(self._context)
                gr.HTML(
                    f"<p class=hint>Up to {limits.file_bytes / 1e9:.3g} GB each. Uploads and outputs stay on this "
                    f"server, and are removed after {limits.days:.3g} days.</p>"
                )
                self.remove = gr.Button("Remove this upload", size="sm", visible=False)
        self.message = gr.HTML(elem_id="convert-message")
        self.facts = gr.HTML(elem_id="facts")
        self.inspected = gr.State(None)
        self.dropped = gr.State(list[str]())
        with gr.Column(visible=False) as self.offer:
            gr.HTML("<h2>What should it become?</h2><p class=hint>A click adds the conversion to the queue.</p>")
            self.all = gr.Checkbox(label="Do this with all videos that were dropped together", visible=False)
            with gr.Row(elem_classes="cards"):
                self.cards = [_Card() for _ in range(_MAX_SUGGESTIONS)]
            with gr.Accordion("Options", open=False):
                self.container = gr.Dropdown(_CONTAINERS, value="", label="Container", interactive=True)
                self.model = model_input(self._context.model)
                with gr.Row(elem_classes="options"):
                    self.options = [self.model, *(option_input(name) for name in _OPTIONS[1:])]
            with gr.Row(elem_classes="rate"):
                self.rate = gr.Textbox(label="Another rate, in frames per second", placeholder="50, 59.94, 24000/1001")
                self.custom = gr.Button("Convert to this rate")

    def connect(self) -> None:
        """Say what happens when."""
        selected = self._context.selected
        chosen = [self.container, *self.options]
        self.upload.upload(self._take, self.upload, [self.upload, self.dropped, selected, self.message], **_HIDDEN)
        self.remove.click(self._remove, selected, [selected, self.videos], **_HIDDEN)
        cards = [part for card in self.cards for part in card.parts]
        costs = [card.cost for card in self.cards]
        shown = [self.inspected, self.facts, self.offer, self.remove, self.all, self.message, *cards]
        cleared = selected.change(self._clear, selected, [self.inspected, self.facts, self.offer], **_HIDDEN)
        inspection = cleared.then(self._inspect, [selected, self.dropped], shown, **_HIDDEN)
        measurement: Any = {"inputs": [self.inspected, *chosen], "outputs": costs, "concurrency_limit": 4, **_HIDDEN}
        measuring = inspection.then(self._measure, **measurement)
        changes = [choice.submit if isinstance(choice, gr.Textbox) else choice.input for choice in chosen]
        # With the latest choices at last, whatever is changed meanwhile.
        remeasuring = gr.on(changes, self._measure, trigger_mode="always_last", cancels=measuring, **measurement)
        selected.change(None, cancels=[measuring, remeasuring])
        for number, card in enumerate(self.cards):
            card.button.click(
                self._adder(number), [self.inspected, self.dropped, self.all, *chosen], self.message, **_HIDDEN
            )
        gr.on(
            [self.custom.click, self.rate.submit],
            self._add_custom,
            [self.inspected, self.dropped, self.all, self.rate, *chosen],
            self.message,
            **_HIDDEN,
        )

    # -- what happens

    def _take(self, paths: list[str] | None) -> tuple[None, list[str], Any, str]:
        """Take uploads into the library, and select the first one."""
        added, refused = [], []
        for path in map(Path, paths or []):
            try:
                added.append(self._context.library.add_upload(path, path.name).id)
            except BetwixtError as error:
                refused.append(self._context.explain(error))
        selected = added[0] if added else gr.skip()
        return None, added, selected, _alert(" ".join(refused))

    def _remove(self, id_: str | None) -> tuple[None, Any]:
        if id_ is not None and id_ not in self._context.queue.videos_in_use():
            self._context.library.remove(id_)
            return None, gr.skip()
        gr.Warning("A job in the queue needs this video: cancel it first.")
        return id_, gr.skip()  # type: ignore[return-value]

    def _clear(self, id_: str | None) -> tuple[None, str, Any]:
        """Hide what is known of the last video, while the next one is inspected."""
        return (
            None,
            "" if id_ is None else "<p class=hint role=status>Reading the video ..</p>",
            gr.Column(visible=False),
        )

    def _inspect(self, id_: str | None, dropped: list[str]) -> list[Any]:
        """Show what a video is, and suggestions without their costs."""
        nothing = [None, "", gr.Column(visible=False), gr.Button(visible=False), gr.skip()]
        cards = [part for card in self.cards for part in card.show(None)]
        if id_ is None:
            return [*nothing, "", *cards]
        try:
            video = self._context.library.find(id_)
            findings = self._context.worker.call(inspect_file, self._context.library.resolve(id_))
        except BetwixtError as error:
            return [*nothing, _alert(self._context.explain(error)), *cards]
        inspected = _Inspected(video, findings, suggest(findings))
        pairs = itertools.zip_longest(self.cards, inspected.suggestions)
        cards = [part for card, suggestion in pairs for part in card.show(suggestion)]
        # What repeated frames look like is among the facts, and a suggestion says what to do about it.
        notes = [self._context.explain(note) for note in findings["notes"] if "`duplicates=" not in note]
        facts = _facts(describe(findings, video.size), notes)
        several = gr.Checkbox(visible=len(dropped) > 1 and id_ in dropped, value=False)
        removable = gr.Button(visible=video.uploaded)
        message = gr.skip() if id_ in dropped else ""  # some of the dropped files may have been refused
        return [inspected, facts, gr.Column(visible=True), removable, several, message, *cards]

    def _measure(self, inspected: _Inspected | None, container: str, *values: Any) -> Iterator[list[Any]]:
        """Fill in the costs one after another; conversions of one kind share a measurement."""
        if inspected is None:
            return
        given = options_given(_OPTIONS, values)
        known: dict[tuple[str, str], Measurement | str] = {}
        costs: list[Any] = [_MEASURING] * len(self.cards)
        yield costs
        for number, suggestion in enumerate(inspected.suggestions):
            suffix = _suffix(inspected.video, suggestion, container)
            kind = suggestion.command, suffix
            if kind not in known:
                known[kind] = self._measure_one(inspected, suggestion, suffix, given)
            measured = known[kind]
            if isinstance(measured, str):
                costs[number] = f"<p class=error>{html.escape(measured)}</p>"
            else:
                notes = [self._context.explain(note) for note in measured.notes]
                costs[number] = _cost(suggestion, _trimmed(inspected.findings, given), measured, notes)
            yield costs

    def _measure_one(
        self, inspected: _Inspected, suggestion: Suggestion, suffix: str, given: dict[str, Any]
    ) -> Measurement | str:
        """What a conversion takes, or why it cannot be done."""
        options = _options(suggestion, suffix, {n: v for n, v in given.items() if n not in ("start", "end")})
        if suggestion.command == "interpolate":  # one measurement stands for all: what counts is a new frame
            options = {n: v for n, v in options.items() if n not in ("duplicates", "factor", "slow", "fps")}
        try:
            path = self._context.library.resolve(inspected.video.id)
            return self._context.measurer.call(measure, suggestion.command, path, suffix, options, inspected.findings)
        except BetwixtError as error:
            return self._context.explain(error)

    def _adder(self, number: int) -> Any:
        """The function that queues suggestion `number`."""

        def add(inspected: _Inspected | None, dropped: list[str], for_all: bool, container: str, *values: Any) -> str:
            if inspected is None or number >= len(inspected.suggestions):
                return _alert("Choose a video first.")
            return self._add(inspected, inspected.suggestions[number], dropped if for_all else [], container, values)

        return add

    def _add_custom(
        self, inspected: _Inspected | None, dropped: list[str], for_all: bool, rate: str, container: str, *values: Any
    ) -> str:
        if inspected is None:
            return _alert("Choose a video first.")
        try:
            suggestion = custom_rate(parse_rate(rate.strip(), "rate"), source_rate(inspected.findings))
        except UsageError as error:
            return _alert(self._context.explain(error))
        return self._add(inspected, suggestion, dropped if for_all else [], container, values)

    def _add(
        self,
        inspected: _Inspected,
        suggestion: Suggestion,
        others: Sequence[str],
        container: str,
        values: Sequence[Any],
    ) -> str:
        """Queue a conversion of the inspected video, or of several; returns what to say about it."""
        library, queue = self._context.library, self._context.queue
        given = options_given(_OPTIONS, values)
        try:
            for video in [library.find(id_) for id_ in others or [inspected.video.id]]:
                suffix = _suffix(video, suggestion, container)
                name = f"{Path(video.name).stem}-{suggestion.ending}{suffix}"
                options = {
                    **self._context.cuts.options(library.resolve(video.id)),
                    **_options(suggestion, suffix, given),
                }
                queue.add(QueuedJob(video.id, video.name, suggestion.title, suggestion.command, options, name))
        except BetwixtError as error:
            return _alert(self._context.explain(error))
        waiting = sum(not job.is_finished for job in queue.jobs())
        place = "It runs now." if waiting == 1 else f"The queue has {waiting} jobs to do."
        return f"<p role=status class=done>Added to the queue: {html.escape(suggestion.title)}. {place}</p>"


class _Card:
    """One suggestion: a button, and what it does and takes."""

    def __init__(self) -> None:
        with gr.Column(elem_classes="card", visible=False, min_width=240) as self.column:
            self.button = gr.Button("", variant="primary")
            self.text = gr.HTML()
            self.cost = gr.HTML()
        self.parts = [self.column, self.button, self.text, self.cost]

    def show(self, suggestion: Suggestion | None) -> list[Any]:
        """Values of its parts for a suggestion whose cost is not known yet, or for none."""
        if suggestion is None:
            return [gr.Column(visible=False), gr.skip(), "", ""]
        return [
            gr.Column(visible=True), gr.Button(suggestion.title), f"<p>{html.escape(suggestion.description)}</p>",
            _MEASURING,
        ]  # fmt: skip


def _trimmed(findings: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """The findings with the duration of the part between `start` and `end`."""
    try:
        start, end = (parse_time(given[name], name) if name in given else None for name in ("start", "end"))
    except UsageError:
        return findings
    duration = findings["duration"]
    ends = [float(time) for time in (duration, end) if time is not None]
    return findings if not ends else {**findings, "duration": max(0.0, min(ends) - float(start or 0))}


def _options(suggestion: Suggestion, suffix: str, given: dict[str, Any]) -> dict[str, Any]:
    """All options of a job: those of the suggestion go first."""
    declared = CONVERSIONS[suggestion.command].declared.options
    return {**options_for(declared, suffix, given), **suggestion.options}


def _suffix(video: LibraryFile, suggestion: Suggestion, container: str) -> str:
    """The suffix of the output: as the suggestion needs, else as chosen, else as the source if it can be written."""
    return suggestion.suffix or output_suffix(video.name, f".{container}" if container else "")


def _facts(facts: Sequence[Fact], notes: Sequence[str]) -> str:
    rows = "".join(f"<div><dt>{html.escape(f.name)}</dt><dd>{html.escape(f.text)}</dd></div>" for f in facts)
    return f"<dl class=facts>{rows}</dl>" + "".join(f"<p class=hint>{html.escape(note)}</p>" for note in notes)


def _cost(suggestion: Suggestion, findings: dict[str, Any], measured: Measurement, notes: Sequence[str]) -> str:
    """What a conversion takes, what its container loses, and what else is to be said."""
    about = estimate(suggestion, findings, measured)
    if about is None:
        text = f"{1 / measured.seconds_per_frame:.1f} new frames a second; the length is unknown"
    else:
        text = f"about {format_duration(about.seconds)} to make, {format_size(about.bytes)}"
    lines = [f"<p class=cost>{text}</p>"]
    if measured.lost:
        lost = html.escape(", ".join(measured.lost))
        lines.append(f"<p class=lost>Its container cannot hold: {lost}.</p>")
    lines += [f"<p class=hint>{html.escape(note)}</p>" for note in notes]
    return "".join(lines)


def _alert(message: str) -> str:
    return f"<p role=alert class=error>{html.escape(message)}</p>" if message else ""

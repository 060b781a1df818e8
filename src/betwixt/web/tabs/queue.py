"""The tab Queue: the jobs, how far they are, and what they made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from betwixt.web.context import Context
from betwixt.web.job_view import describe_job
from betwixt.web.jobs import CANCELLED, FAILED, PAUSED, RUNNING, WAITING, QueuedJob

_INTERVAL = 1.0
"""Seconds between two updates of what is shown."""

_EVENT: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}


def build(context: Context) -> None:
    """Add the tab's components."""
    tab = _QueueTab(context)
    tab.add_components()
    tab.connect()


class _QueueTab:
    """The components of the tab, and what they do."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def add_components(self) -> None:
        """Add the list, and beside it what is known of the job that is chosen there."""
        self.empty = gr.HTML("<p class=hint>Nothing here yet. Choose a video and a conversion in the tab Convert.</p>")
        with gr.Row(visible=False) as self.content:
            with gr.Column(scale=2, min_width=260):
                self.list = gr.Radio([], label="Jobs, in the order in which they run", elem_classes="jobs")
            with gr.Column(scale=3, min_width=260):
                with gr.Row(elem_classes="actions"):
                    self.actions = [
                        _Action("Pause", (RUNNING,), self._context.queue.pause),
                        _Action("Resume", (PAUSED,), self._context.queue.resume),
                        _Action("Move up", (WAITING,), lambda id_: self._context.queue.move(id_, -1)),
                        _Action("Move down", (WAITING,), lambda id_: self._context.queue.move(id_, 1)),
                        _Action("Try again", (FAILED, CANCELLED), self._context.queue.retry),
                        _Action("Cancel", (WAITING, RUNNING, PAUSED), self._context.queue.cancel),
                        _Action("Remove", ("done", FAILED, CANCELLED), self._context.queue.remove),
                    ]
                self.details = gr.HTML(elem_id="job")
        self.shown = gr.State(None)
        self.timer = gr.Timer(_INTERVAL)

    def connect(self) -> None:
        """Say what happens when."""
        buttons = [action.button for action in self.actions]
        outputs = [self.shown, self.empty, self.content, self.list, self.details, *buttons]
        inputs = [self.list, self.shown]
        gr.on([self.timer.tick, self.list.input], self._refresh, inputs, outputs, **_EVENT)
        for action in self.actions:
            action.button.click(action.run, self.list, None, **_EVENT).then(self._refresh, inputs, outputs, **_EVENT)

    def _refresh(self, chosen: str | None, shown: Any) -> list[Any]:
        """What to show now; what the browser shows already is not sent again."""
        jobs = self._context.queue.jobs()
        job = next((job for job in jobs if job.id == chosen), None) or _most_interesting(jobs)
        choices = [(_label(number, job), job.id) for number, job in enumerate(jobs, 1)]
        details = "" if job is None else describe_job(self._context, job)
        now = (choices, None if job is None else job.id, details)
        if now == shown:
            return [gr.skip()] * (5 + len(self.actions))
        listing: Any = gr.Radio(choices, value=now[1])
        if shown is not None and (choices, now[1]) == (shown[0], chosen):
            listing = gr.skip()
        buttons = [gr.Button(visible=job is not None and job.state in action.states) for action in self.actions]
        return [now, gr.HTML(visible=not jobs), gr.Row(visible=bool(jobs)), listing, details, *buttons]


class _Action:
    """A button that does something to the chosen job while it is in one of some states."""

    def __init__(self, label: str, states: tuple[str, ...], run: Callable[[str], None]) -> None:
        self.states, self._run = states, run
        variant: Any = "stop" if label in ("Cancel", "Remove") else "secondary"
        self.button = gr.Button(label, size="sm", variant=variant, visible=False, min_width=80)

    def run(self, id_: str | None) -> None:
        """Do it."""
        if id_ is not None:
            self._run(id_)


def _most_interesting(jobs: list[QueuedJob]) -> QueuedJob | None:
    """The job to show if none is chosen: the first that is not finished, else the last one."""
    return next((job for job in jobs if not job.is_finished), jobs[-1] if jobs else None)


def _label(number: int, job: QueuedJob) -> str:
    return f"{number}. {job.video_name}: {job.title} ({job.state})"

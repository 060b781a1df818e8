"""The tab Queue: the jobs, how far they are, and what they made."""

from __future__ import annotations

import gradio as gr

from betwixt.web.context import Context


def build(context: Context) -> None:
    """Add the tab's components."""
    gr.Radio(label="Jobs", choices=[(job.title, job.id) for job in context.queue.jobs()])

"""The tab Convert: choose a video, see what it is, and queue a conversion."""

from __future__ import annotations

import gradio as gr

from betwixt.web.context import Context
from betwixt.web.picker import video_picker


def build(context: Context) -> None:
    """Add the tab's components."""
    video_picker(context)
    gr.File(label="Drop videos here, or click to choose them", file_count="multiple")

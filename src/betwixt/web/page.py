"""The page: what is above the tabs, and the tabs.

Each tab is a module of `web.tabs` with a function ``build(context)``, which adds its components to the open
`gr.Tab`. The tabs share one `Context`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from betwixt.web.context import Context
from betwixt.web.jobs import DONE, FAILED, PAUSED, RUNNING, WAITING
from betwixt.web.library import Limits
from betwixt.web.queue import JobQueue
from betwixt.web.tabs import convert, effects, pictures, preview, queue, research

_STATIC = Path(__file__).parent / "static"

_STATUS_INTERVAL = 2.0
"""Seconds between two updates of the line about the queue."""

_FONT = ("system-ui", "sans-serif")
_FONT_MONO = ("ui-monospace", "Consolas", "monospace")


@dataclass(frozen=True)
class _Tab:
    id: str
    title: str
    build: Callable[[Context], None]


_TABS = (
    _Tab("convert", "Convert", convert.build),
    _Tab("preview", "Preview", preview.build),
    _Tab("queue", "Queue", queue.build),
    _Tab("effects", "Effects", effects.build),
    _Tab("pictures", "Pictures", pictures.build),
    _Tab("research", "Research", research.build),
)


def build_page(**shared: Any) -> gr.Blocks:
    """The page; `shared` are the attributes of `Context`, but for the selected video."""
    page: gr.Blocks = gr.Blocks(title="Betwixt", analytics_enabled=False, fill_width=True)
    with page:
        context = Context(**shared, selected=gr.State(None))
        head = gr.HTML(_head(context.queue))
        gr.Timer(_STATUS_INTERVAL).tick(
            lambda: _head(context.queue), None, head, show_progress="hidden", api_visibility="private"
        )
        with gr.Tabs():
            for tab in _TABS:
                with gr.Tab(tab.title, id=tab.id):
                    tab.build(context)
    return page


def _head(jobs: JobQueue) -> str:
    """The title, and what the queue does."""
    counts = Counter(job.state for job in jobs.jobs())
    parts = [f"{counts[state]} {state}" for state in (RUNNING, PAUSED, WAITING, FAILED, DONE) if counts[state]]
    running = next((job for job in jobs.jobs() if job.state == RUNNING), None)
    if running is not None and (progress := jobs.progress(running.id)) is not None and progress.total:
        parts[0] += f" ({100 * progress.frames // progress.total} %)"
    return f"<div class=head><h1>Betwixt</h1><p class=hint>Queue: {', '.join(parts) or 'empty'}</p></div>"


def page_options(limits: Limits) -> dict[str, Any]:
    """The arguments of `gr.mount_gradio_app` that belong to the page; nothing in them leads out of the machine."""
    return {
        "theme": _theme(),
        "head": '<script src="static/betwixt/player.js" defer></script>',
        "css_paths": [_STATIC / "page.css"],
        "footer_links": [],
        "run_history": False,
        "ssr_mode": False,
        "mcp_server": False,
        "pwa": False,
        "allowed_paths": [],
        "max_file_size": limits.file_bytes,
    }


def _theme() -> gr.themes.Base:
    """System fonts, since nothing is loaded from elsewhere, and colours with enough contrast for everybody."""
    theme = gr.themes.Default(primary_hue="indigo", neutral_hue="slate", font=_FONT, font_mono=_FONT_MONO)
    return theme.set(
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_cancel_background_fill="*error_text_color",
        button_cancel_text_color="white",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        block_label_text_color="*neutral_700",
        block_title_text_color="*neutral_700",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_400",
    )

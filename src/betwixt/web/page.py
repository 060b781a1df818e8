"""The page: what is above the tabs, and the tabs.

Each tab is a module of `web.tabs` with a function ``build(context)``, which adds its components to the open
`gr.Tab`. The tabs share one `Context`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from betwixt.web.context import Context
from betwixt.web.library import Library, Limits
from betwixt.web.queue import JobQueue
from betwixt.web.tabs import convert, queue
from betwixt.web.worker import Worker

_STATIC = Path(__file__).parent / "static"

# Fonts of the system: nothing is loaded from elsewhere.
_FONT = ("system-ui", "sans-serif")
_FONT_MONO = ("ui-monospace", "Consolas", "monospace")


@dataclass(frozen=True)
class _Tab:
    id: str
    title: str
    build: Callable[[Context], None]


_TABS = (
    _Tab("convert", "Convert", convert.build),
    _Tab("queue", "Queue", queue.build),
)


def build_page(
    work: Path, library: Library, jobs: JobQueue, worker: Worker, translate: Callable[[str], str]
) -> gr.Blocks:
    """The page on a library, a queue and a worker; the other arguments are those of `Context`."""
    page: gr.Blocks = gr.Blocks(title="Betwixt", analytics_enabled=False, fill_width=True)
    with page:
        context = Context(work, library, jobs, worker, translate, selected=gr.State(None))
        gr.HTML("<h1>Betwixt</h1>")
        with gr.Tabs():
            for tab in _TABS:
                with gr.Tab(tab.title, id=tab.id):
                    tab.build(context)
    return page


def page_options(limits: Limits) -> dict[str, Any]:
    """The arguments of `gr.mount_gradio_app` that belong to the page; nothing in them leads out of the machine."""
    return {
        "theme": gr.themes.Default(font=_FONT, font_mono=_FONT_MONO),
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

"""What the parts of the page share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import gradio as gr

from betwixt.web.library import Library
from betwixt.web.queue import JobQueue
from betwixt.web.worker import Worker


@dataclass(frozen=True)
class Context:
    """What the tabs share.

    Attributes:
        work: The work folder: uploads, jobs, temporary files.
        library: The files that may be read.
        queue: The conversions.
        worker: Runs short calls, such as an inspection or a preview, in a process of their own.
        translate: Rewrites a message of the library in terms of the command line (`cli.flags.translate`).
        selected: The id of the video that is selected, None at first; a state of each browser tab.
    """

    work: Path
    library: Library
    queue: JobQueue
    worker: Worker
    translate: Callable[[str], str]
    selected: gr.State

"""What the parts of the page share."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import gradio as gr

from betwixt.web.cuts import CutStore
from betwixt.web.library import Library
from betwixt.web.queue import JobQueue
from betwixt.web.results import ResultStore
from betwixt.web.worker import Worker


@dataclass(frozen=True)
class Context:
    """What the tabs share.

    Attributes:
        work: The work folder: uploads, jobs, temporary files.
        library: The files that may be read.
        queue: The conversions.
        results: Previews, pictures and maps that have been made.
        cuts: The cuts of videos, as they have been corrected.
        worker: Runs short calls, such as an inspection or a preview, in a process of their own.
        measurer: The same for measurements, which take longer, so that nobody waits for them.
        translate: Rewrites a message of the library in terms of the command line (`cli.flags.translate`).
        model: The model that is chosen at first.
        selected: The id of the video that is selected, None at first; a state of each browser tab.
    """

    work: Path
    library: Library
    queue: JobQueue
    results: ResultStore
    cuts: CutStore
    worker: Worker
    measurer: Worker
    translate: Callable[[str], str]
    model: str
    selected: gr.State

    def explain(self, message: object) -> str:
        """A message of the library as the page shows it: as the command line does, without the server's paths."""
        text = re.sub(re.escape(str(self.work)) + r"[/\\]\w+[/\\][0-9a-f]+[/\\](?:output[/\\])?", "", str(message))
        if self.library.folder is not None:
            text = text.replace(f"{self.library.folder}{os.sep}", "")
        return self.translate(text)

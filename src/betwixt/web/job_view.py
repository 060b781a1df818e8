"""A job as HTML: how far it is, and what it has made."""

from __future__ import annotations

import html
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

from betwixt.units import format_duration, format_rate
from betwixt.web.context import Context
from betwixt.web.conversions import JobProgress
from betwixt.web.facts import format_size
from betwixt.web.jobs import DONE, FAILED, PAUSED, RUNNING, WAITING, QueuedJob


def describe_job(context: Context, job: QueuedJob) -> str:
    """What is known of a job."""
    parts = [f"<h2>{_escape(job.title)}</h2>", f"<p><bdi>{_escape(job.video_name)}</bdi></p>"]
    if job.error:
        parts.append(f"<p role=alert class=error>{_escape(context.explain(job.error))}</p>")
    if job.state == WAITING:
        parts.append("<p class=hint>It waits for its turn.</p>")
    elif job.state in (RUNNING, PAUSED):
        parts.append(_running(context, job))
    elif job.state == DONE and job.summary is not None:
        parts.append(_done(context, job, job.summary))
    elif job.state != FAILED:
        parts.append("<p class=hint>It was cancelled.</p>")
    parts.append(_command(context, job))
    return "".join(parts)


def describe_progress(progress: JobProgress) -> str:
    """How far a job is, as the command line says it."""
    of = "" if progress.total is None else f" of {progress.total}"
    cuts = f"{progress.cuts} cut{'' if progress.cuts == 1 else 's'}"
    left = [] if progress.seconds_left is None else [f"{format_duration(progress.seconds_left)} left"]
    return ", ".join([f"{progress.frames}{of} frames", f"{progress.speed:.1f} new frames/s", cuts, *left])


def _running(context: Context, job: QueuedJob) -> str:
    progress = context.queue.progress(job.id)
    text = "It starts." if progress is None else describe_progress(progress)
    if job.state == PAUSED:
        text = f"Paused; the jobs after it wait. {'' if progress is None else text}"
    done = progress is not None and progress.total
    value = f' value="{progress.frames}" max="{progress.total}"' if done and progress is not None else ""
    parts = [f'<progress aria-label="Progress of the job"{value}></progress>', f"<p role=status>{_escape(text)}</p>"]
    thumbnail = context.queue.thumbnail(job)
    if thumbnail.is_file():
        version = thumbnail.stat().st_mtime_ns
        parts.append(f'<img class=thumbnail src="jobs/{job.id}/thumbnail?{version}" alt="The latest frame">')
    return "".join(parts)


def _done(context: Context, job: QueuedJob, summary: dict[str, Any]) -> str:
    rate = format_rate(Fraction(summary["rate"]))
    frames = f"{summary['frames_out']} frames at {rate} per second, {format_duration(summary['duration'])}"
    made = (
        f"{summary['untouched']} source frames untouched, {summary['synthesized']} new ({summary['model']}), "
        f"{summary['held']} held"
    )
    parts = [
        f"<p>{frames}, {format_size(summary['bytes'])}<br>{made}</p>",
        f'<p><a class=download href="jobs/{job.id}/output" download>Download {_escape(job.output)}</a></p>',
        _player(job),
    ]
    if summary["lost"]:
        parts.append(f"<p class=lost>The output cannot hold: {_escape(', '.join(summary['lost']))}.</p>")
    parts += [f"<p class=hint>{_escape(context.explain(note))}</p>" for note in summary["notes"]]
    document = _escape(json.dumps(summary, indent=2))
    parts.append(f"<details><summary>Summary as JSON</summary><pre tabindex=0>{document}</pre></details>")
    return "".join(parts)


def _player(job: QueuedJob) -> str:
    """The input and the output side by side; static/player.js lets them play together."""
    views = "".join(
        f"<figure>{_view(job, which)}<figcaption>{name}</figcaption></figure>"
        for which, name in (("before", "Before"), ("after", "After"))
    )
    slow = float(Fraction(str(job.options.get("slow", 1))))
    return f'<div class=compare data-slow="{slow:g}">{views}</div>'


def _view(job: QueuedJob, which: str) -> str:
    address = f"jobs/{job.id}/view/{which}"
    name = job.video_name if which == "before" else job.output
    if Path(name).suffix.lower() == ".gif":
        return f'<img src="{address}" alt="The {"input" if which == "before" else "output"}">'
    return f'<video src="{address}" controls muted loop playsinline preload=metadata aria-label="{which}"></video>'


def _command(context: Context, job: QueuedJob) -> str:
    """The command that repeats the job, with the path of a video of the shared folder."""
    folder = context.library.folder
    source = folder / job.video_name if folder is not None and job.video.startswith("folder-") else None
    command = _escape(job.command_line(source))
    return f"<details><summary>Command line</summary><pre tabindex=0><code>{command}</code></pre></details>"


def _escape(text: object) -> str:
    return html.escape(str(text))

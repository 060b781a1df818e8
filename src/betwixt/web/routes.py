"""Addresses of the page beside Gradio's: files of videos and jobs, named by ids."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI, HTTPException
from fastapi.responses import FileResponse, JSONResponse, Response

from betwixt.errors import BetwixtError
from betwixt.web.jobs import DONE, QueuedJob
from betwixt.web.library import Library
from betwixt.web.playable import make_playable
from betwixt.web.queue import JobQueue
from betwixt.web.results import ResultStore
from betwixt.web.worker import Worker

_STATIC = Path(__file__).parent / "static"

_TYPES = {
    ".gif": "image/gif", ".jpg": "image/jpeg", ".mkv": "video/x-matroska", ".mov": "video/quicktime",
    ".mp4": "video/mp4", ".png": "image/png", ".webm": "video/webm",
}  # fmt: skip
"""The media types that are stated; other files are only downloaded."""


def add_routes(app: FastAPI, library: Library, queue: JobQueue, results: ResultStore, worker: Worker) -> None:
    """Add the addresses to an application."""

    def find(id_: str) -> QueuedJob:
        job = queue.find(id_)
        if job is None:
            raise HTTPException(404)
        return job

    @app.get("/videos/{id_}")
    def video(id_: str) -> FileResponse:
        try:
            return _file(library.resolve(id_))
        except BetwixtError:
            raise HTTPException(404) from None

    @app.get("/jobs/{id_}/output")
    def output(id_: str) -> FileResponse:
        job = find(id_)
        if job.state != DONE:
            raise HTTPException(404)
        return _file(queue.output(job), download=True)

    @app.get("/jobs/{id_}/summary")
    def summary(id_: str) -> JSONResponse:
        return JSONResponse(find(id_).summary)

    @app.get("/jobs/{id_}/thumbnail")
    def thumbnail(id_: str) -> Response:
        # Read at once: a running job replaces the file while a `FileResponse` would still be sending it.
        try:
            return Response(queue.thumbnail(find(id_)).read_bytes(), media_type="image/jpeg")
        except OSError:
            raise HTTPException(404) from None

    @app.get("/jobs/{id_}/view/{which}")
    def view(id_: str, which: str) -> FileResponse:
        """The input or the output of a job, in a form that browsers can play."""
        job = find(id_)
        if which not in ("before", "after") or job.state != DONE:
            raise HTTPException(404)
        copy = queue.side_file(job, f"{which}.mp4")
        try:
            original = library.resolve(job.video) if which == "before" else queue.output(job)
            return _file(copy if worker.call(make_playable, original, copy) else original)
        except BetwixtError:
            raise HTTPException(404) from None

    @app.get("/results/{key}/{name}")
    def result(key: str, name: str) -> FileResponse:
        path = results.find(key, name)
        if path is None:
            raise HTTPException(404)
        return _file(path)

    @app.get("/static/betwixt/{name}")
    def static(name: str) -> FileResponse:
        known = {path.name: path for path in _STATIC.iterdir()}
        if name not in known:
            raise HTTPException(404)
        return FileResponse(known[name])


def _file(path: Path, download: bool = False) -> FileResponse:
    if not path.is_file():
        raise HTTPException(404)
    kind = _TYPES.get(path.suffix.lower(), "application/octet-stream")
    disposition = "attachment" if download or kind == "application/octet-stream" else "inline"
    return FileResponse(path, media_type=kind, filename=path.name, content_disposition_type=disposition)

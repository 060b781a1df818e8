"""The server of the page `betwixt web`.

    browser ──► uvicorn ──► Guard ──► routes: files of jobs and videos, by id
                                 └──► Gradio: the page

Gradio is imported here and below, so that without it only this command is missing.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from betwixt.errors import UsageError
from betwixt.files import write_error
from betwixt.machine import import_library, total_memory
from betwixt.models.registry import DEFAULT_MODEL, model_info
from betwixt.web.cuts import CutStore
from betwixt.web.guard import LOCAL_NAMES, Credentials, Guard
from betwixt.web.library import Library, Limits
from betwixt.web.queue import JobQueue
from betwixt.web.results import ResultStore
from betwixt.web.worker import Worker

FIRST_PORT = 7860
_PORTS = 100
"""How many ports are tried from `FIRST_PORT` on, if none is given."""

_MEMORY_SHARE = 0.75
"""The part of the machine's memory that a conversion may take."""

_CLEANING_INTERVAL = 600.0
"""Seconds between two removals of what has expired."""


@dataclass(frozen=True)
class Settings:
    """How the page is served.

    Attributes:
        work: The work folder, which holds uploads and jobs; it is made.
        folder: A folder of videos to choose from; None for uploads alone.
        host: The address to listen at.
        port: The port; None for the first free one from `FIRST_PORT` on.
        credentials: Who may use the page; None for everybody who reaches it.
        limits: What uploads may take.
        model: The model that is chosen at first.
        share: Whether the page is also opened to the internet, through Gradio's tunnel.
    """

    work: Path
    folder: Path | None = None
    host: str = "127.0.0.1"
    port: int | None = None
    credentials: Credentials | None = None
    limits: Limits = field(default_factory=Limits)
    model: str = DEFAULT_MODEL
    share: bool = False

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the page."""
        return self.host in LOCAL_NAMES and not self.share


def serve(settings: Settings, translate: Callable[[str], str], on_ready: Callable[[str], None]) -> None:
    """Serve the page until it is interrupted.

    Args:
        settings: How.
        translate: Rewrites a message of the library in terms of the command line.
        on_ready: Called with the page's address when it can be opened.

    Raises:
        UsageError: if Gradio is not installed, there is no such model, a password is missing, the port is taken,
            another server uses the work folder, or the tunnel cannot be opened.
        InputError: if the shared folder does not exist.
        OutputError: if the work folder cannot be written.
    """
    if not settings.is_local and settings.credentials is None:
        where = "Through `share`" if settings.share else f"At {settings.host}"
        raise UsageError(f"{where} others can reach the page: set BETWIXT_WEB_PASSWORD, or pass a `password_file`.")
    model_info(settings.model)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_TEMP_DIR"] = str(settings.work / "received")
    import_library("gradio", "The page", "web")
    import uvicorn

    with (
        _locked(settings.work),
        contextlib.closing(_listen(settings)) as listener,
        _application(settings, translate) as app,
    ):
        host, port = listener.getsockname()[:2]
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="on", timeout_graceful_shutdown=1))
        on_ready(f"http://{f'[{host}]' if ':' in host else host}:{port}/")
        if settings.share:
            on_ready(_open_tunnel(host, port))
        server.run(sockets=[listener])


def _open_tunnel(host: str, port: int) -> str:
    """Open Gradio's tunnel to the server, which lasts as long as this process; returns its public address.

    Raises:
        UsageError: if that fails.
    """
    from gradio.networking import setup_tunnel

    try:
        return setup_tunnel(host, port, secrets.token_urlsafe(32), None, None)
    except Exception as error:  # of many kinds: no network, no program for this system, no answer
        raise UsageError(f"Gradio's tunnel cannot be opened: {str(error).rstrip('.')}.") from None


@contextlib.contextmanager
def _application(settings: Settings, translate: Callable[[str], str]) -> Iterator[Guard]:
    """The page with its queue running."""
    import gradio as gr
    from fastapi import FastAPI

    from betwixt.web.page import build_page, page_options
    from betwixt.web.routes import add_routes

    memory = None if (total := total_memory()) is None else round(_MEMORY_SHARE * total)
    library = Library(settings.work, settings.folder, settings.limits)
    queue = JobQueue(settings.work, library.resolve, memory)
    results, cuts = ResultStore(settings.work), CutStore(settings.work)
    worker, measurer = Worker(memory), Worker(memory)
    app = FastAPI(openapi_url=None)
    add_routes(app, library, queue, results, worker)
    page = build_page(
        work=settings.work, library=library, queue=queue, results=results, cuts=cuts, worker=worker, measurer=measurer,
        translate=translate, model=settings.model,
    )  # fmt: skip
    gr.mount_gradio_app(app, page, "/", **page_options(settings.limits))
    ended = threading.Event()
    cleaner = threading.Thread(target=_clean, args=(library, queue, results, ended), daemon=True)
    queue.start()
    cleaner.start()
    try:
        hosts = LOCAL_NAMES if settings.is_local else None
        yield Guard(app, library.received, settings.limits, hosts, settings.credentials)
    finally:
        ended.set()
        queue.stop()
        worker.stop()
        measurer.stop()


@contextlib.contextmanager
def _locked(work: Path) -> Iterator[None]:
    """Make the work folder, and keep other servers out of it."""
    try:
        work.mkdir(parents=True, exist_ok=True, mode=0o700)
        with FileLock(work / "lock", timeout=0):
            yield
    except Timeout:
        raise UsageError(f"Another betwixt web uses {work}: end it, or pass another `work`.") from None
    except PermissionError as error:
        raise write_error(error, work) from None


def _listen(settings: Settings) -> socket.socket:
    """A socket at the host and the port."""
    ports = [settings.port] if settings.port is not None else range(FIRST_PORT, FIRST_PORT + _PORTS)
    error: OSError | None = None
    for port in ports:
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(
                settings.host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            with contextlib.ExitStack() as stack:
                listener = stack.enter_context(socket.socket(family, kind, protocol))
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind(address)
                listener.listen(100)
                stack.pop_all()
                return listener
        except OSError as caught:
            error = caught
    assert error is not None
    raise UsageError(f"{settings.host} port {port} cannot be used: {(error.strerror or str(error)).lower()}.")


def _clean(library: Library, queue: JobQueue, results: ResultStore, ended: threading.Event) -> None:
    """Remove what has expired, now and then."""
    while True:
        queue.remove_expired(library.limits.days)
        library.remove_expired(queue.videos_in_use())
        results.remove_expired(library.limits.days)
        if ended.wait(_CLEANING_INTERVAL):
            return

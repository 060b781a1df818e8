"""A server of the page in a process of its own, and a browser, for the tests of this folder."""

from __future__ import annotations

import http.client
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from clips import make_clip

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip


@dataclass
class WebServer:
    """A running `betwixt web`.

    Attributes:
        work: Its work folder.
        folder: The folder of videos that can be chosen.
        options: Further arguments.
        address: The page's address.
    """

    work: Path
    folder: Path
    options: tuple[str, ...] = ()
    address: str = field(init=False)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Start it, again if it was ended."""
        command = [
            sys.executable, "-m", "betwixt.cli", "web", str(self.folder), "--work", str(self.work), "--port", "0",
            "--model", "dis", *self.options,
        ]  # fmt: skip
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line.startswith("Betwixt is at http://"), line
        self.address = line.split()[3]

    def kill(self) -> None:
        """End it without any warning, as a crash would."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        """End it as Ctrl-C does; returns its exit code."""
        self._process.send_signal(signal.SIGINT)
        return self._process.wait(30)

    def request(
        self, path: str, body: bytes | None = None, *, method: str | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Send a raw request; returns the status and the body of the answer."""
        connection = http.client.HTTPConnection(urlsplit(self.address).netloc, timeout=30)
        connection.putrequest(method or ("GET" if body is None else "POST"), path, skip_host="Host" in (headers or {}))
        for name, value in (headers or {}).items():
            connection.putheader(name, value)
        if body is not None and "Content-Length" not in (headers or {}):
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, content


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small videos to choose from."""
    folder = tmp_path_factory.mktemp("videos")
    make_clip(folder / "small.mp4", frames=8, size=(64, 48), codec="libx264", audio=True)
    (folder / "damaged.mp4").write_bytes(b"no video at all" * 100)
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, clips: Path) -> Iterator[WebServer]:
    """A server that is shared by the tests of a module."""
    if find_spec("gradio") is None:
        pytest.skip("Gradio is not installed")
    server = WebServer(tmp_path_factory.mktemp("work"), clips)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A browser that is shared by the tests of a module."""
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Any, server: WebServer) -> Iterator[Any]:
    """An open page. No request of it may leave the machine, and no script of it may fail."""
    page = open_page(browser, server)
    yield page
    page.context.close()
    assert [url for url in page.requested if not url.startswith((server.address, "data:", "blob:"))] == []
    assert page.errors == []


def open_page(browser: Any, server: WebServer, **context: Any) -> Any:
    """Open the page in a browser of its own; what it requests is in `requested`, errors of scripts in `errors`."""
    page = browser.new_context(**context).new_page()
    page.set_default_timeout(30_000)
    page.requested, page.errors = [], []
    page.on("request", lambda request: page.requested.append(request.url))
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.goto(server.address)
    page.get_by_role("tab", name="Convert").wait_for()
    return page

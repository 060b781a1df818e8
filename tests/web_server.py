"""A server of the page in a process of its own, and pages in a browser, for tests."""

from __future__ import annotations

import http.client
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest


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
        self._wait()

    def stop(self) -> int:
        """End it as Ctrl-C does; returns its exit code."""
        self._process.send_signal(signal.SIGINT)
        return self._wait()

    def _wait(self) -> int:
        assert self._process.stdout is not None
        code = self._process.wait(30)
        self._process.stdout.close()
        return code

    def request(
        self, path: str, body: bytes | None = None, headers: dict[str, str] | None = None, *, method: str | None = None
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


def form(name: str, content: bytes, **headers: str) -> tuple[bytes, dict[str, str]]:
    """A form with one file, and the headers that go with it."""
    head = f'--x\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'.encode()
    return head + content + b"\r\n--x--\r\n", {"Content-Type": "multipart/form-data; boundary=x", **headers}


def open_page(browser: Any, server: WebServer, **context: Any) -> Any:
    """Open the page in a browser of its own; what it requests is in `requested`, errors of scripts in `errors`."""
    page = browser.new_context(**context).new_page()
    page.set_default_timeout(60_000)
    page.requested, page.errors = [], []
    page.on("request", lambda request: page.requested.append(request.url))
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.goto(server.address)
    page.get_by_role("tab", name="Convert").wait_for()
    return page


def open_tab(page: Any, name: str) -> None:
    """Open a tab of the page; where the line is too narrow, it is in the menu at its end."""
    tab = page.get_by_role("tab", name=name)
    if not tab.is_visible():
        page.locator(".overflow-menu > button").click()
        tab = page.locator(".overflow-dropdown button", has_text=name)
    tab.click()


def find_barriers(page: Any) -> list[str]:
    """What axe finds serious or critical in the open tab: barriers for screen readers, or for the keyboard."""
    spec = find_spec("axe_playwright_python")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("axe-playwright-python is not installed")
    # Importing the package fails in some locales: it reads this file without naming an encoding.
    page.evaluate(Path(spec.submodule_search_locations[0], "axe.min.js").read_text(encoding="utf-8"))
    violations = page.evaluate("axe.run({resultTypes: ['violations']})")["violations"]
    return [f"{v['id']}: {v['nodes'][0]['html']}" for v in violations if v["impact"] in ("serious", "critical")]

"""A server of the page and a browser, for the tests of this folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import av
import pytest

from clips import make_clip, paint
from web_server import WebServer, open_page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to choose from: a small video, one with a cut, a damaged one, and pictures."""
    folder = tmp_path_factory.mktemp("videos")
    make_clip(folder / "small.mp4", frames=8, size=(64, 48), codec="libx264", audio=True)
    make_clip(folder / "cut.mp4", frames=16, cuts=(8,), size=(160, 96), codec="libx264")
    (folder / "damaged.mp4").write_bytes(b"no video at all" * 100)
    for number, name in ((0, "a"), (4, "b"), (2, "middle")):
        paint(av.VideoFrame(64, 48, "rgb24"), number).save(folder / f"{name}.png")
    paint(av.VideoFrame(32, 48, "rgb24"), 0).save(folder / "narrow.png")
    return folder


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, clips: Path) -> Iterator[WebServer]:
    """A server that is shared by all tests of a process: it takes seconds to start."""
    if find_spec("gradio") is None:
        pytest.skip("Gradio is not installed")
    server = WebServer(tmp_path_factory.mktemp("work"), clips)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A browser that is shared by the tests of a module; its event loop would be in the way of other modules."""
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

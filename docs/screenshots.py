"""Make the screenshots of the page `betwixt web` in docs/images/web.

    python docs/screenshots.py            with the sample clip of examples/sample.py
    python docs/screenshots.py CLIP.mp4   with another clip

It needs Playwright and Chromium. Images are reduced to as many colours as fit into `_MAX_BYTES`.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
from PIL import Image
from playwright.sync_api import sync_playwright

PROJECT = Path(__file__).parents[1]
IMAGES = PROJECT / "docs" / "images" / "web"

_MAX_BYTES = 150_000
_DESKTOP = {"width": 1100, "height": 850}
_PHONE = {"width": 360, "height": 740}
_TIMEOUT = 100_000
"""Milliseconds that a result may take."""


def main(arguments: list[str]) -> None:
    """Start a server on a clip and two of its frames, and photograph its tabs."""
    with (
        tempfile.TemporaryDirectory() as folder,
        _server(_make_files(Path(folder), arguments)) as address,
        sync_playwright() as driver,
    ):
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        light = _open(browser, address, viewport=_DESKTOP)
        photograph_convert(light)
        photograph_preview(light)
        photograph_research(_open(browser, address, viewport=_DESKTOP, color_scheme="dark"))
        photograph_pictures(_open(browser, address, viewport=_PHONE))
        browser.close()


def photograph_convert(page: Any) -> None:
    """The tab Convert with its suggestions, and the queue."""
    _choose(page, "Video", "clip")
    page.locator(".cost").nth(3).wait_for(timeout=_TIMEOUT)
    _save(page, "convert")


def photograph_preview(page: Any) -> None:
    """The tab Preview: the video, one new frame, and the cuts."""
    page.get_by_role("tab", name="Preview").click()
    _choose(page, "Video", "clip")
    page.get_by_role("button", name="Preview", exact=True).click()
    page.locator("#preview-video video").wait_for(timeout=_TIMEOUT)
    page.locator("#preview-video video").evaluate("v => { v.pause(); v.currentTime = 1; }")
    page.wait_for_timeout(2000)
    _save(page, "preview", "#preview-video", above=340)
    page.get_by_role("button", name="Compare the frames").click()
    page.locator("#preview-slider img").first.wait_for(timeout=_TIMEOUT)
    _choose(page, "Show", "Motion")
    page.locator("#preview-caption").get_by_text("Flow").first.wait_for(timeout=_TIMEOUT)
    _save(page, "frame", "#preview-caption")
    page.get_by_role("button", name="Find the cuts").click()
    page.locator("#cuts button img").first.wait_for(timeout=_TIMEOUT)
    page.get_by_label("A cut is missing at, in seconds").fill("1")
    page.get_by_role("button", name="Show the frames there").click()
    page.locator("#cuts-around button img").first.wait_for(timeout=_TIMEOUT)
    _save(page, "cuts", "#cuts-status")


def photograph_research(page: Any) -> None:
    """The tab Research, in dark mode."""
    page.get_by_role("tab", name="Research").click()
    _choose(page, "Video", "clip")
    page.get_by_label("Time of the first frame, in seconds").fill("1")
    page.get_by_role("button", name="Show the maps").click()
    page.locator("#research-result img").first.wait_for(timeout=_TIMEOUT)
    _save(page, "research", "#research-result")


def photograph_pictures(page: Any) -> None:
    """The tab Pictures, on a phone."""
    page.locator(".overflow-menu > button").click()
    page.locator(".overflow-dropdown button", has_text="Pictures").click()
    _choose(page, "First picture", "first")
    _choose(page, "Second picture", "second")
    page.get_by_role("button", name="Make the frames").click()
    page.locator("#pictures-result .gallery img").first.wait_for(timeout=_TIMEOUT)
    _save(page, "pictures", "#pictures-result")


def _make_files(folder: Path, arguments: list[str]) -> Path:
    """A folder with a clip and two frames of it as pictures."""
    clip = folder / "clip.mp4"
    if arguments:
        shutil.copyfile(arguments[0], clip)
    else:
        sys.path.insert(0, str(PROJECT / "examples"))
        from sample import make_sample

        make_sample(clip)
    with av.open(str(clip)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number in (24, 28):
                frame.to_image().save(folder / ("first.png" if number == 24 else "second.png"))
            if number == 28:
                break
    return folder


@contextmanager
def _server(folder: Path) -> Iterator[str]:
    """A server of the page; its address."""
    command = [
        sys.executable, "-m", "betwixt.cli", "web", str(folder), "--work", str(folder / ".work"), "--port", "0",
        "--model", "compact",
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()[3]
        finally:
            process.terminate()


def _open(browser: Any, address: str, **context: Any) -> Any:
    page = browser.new_context(**context).new_page()
    page.goto(address)
    page.get_by_role("tab", name="Convert").wait_for()
    return page


def _choose(page: Any, label: str, option: str) -> None:
    page.get_by_label(label, exact=True).locator("visible=true").first.click()
    page.get_by_role("option", name=option).first.click()
    page.wait_for_timeout(4000)  # what follows from the choice


def _save(page: Any, name: str, at: str | None = None, above: int = 40) -> None:
    """Save what the window shows, scrolled to an element with so many pixels above it."""
    if at is not None:
        page.locator(at).evaluate(
            "(e, above) => window.scrollTo(0, e.getBoundingClientRect().top + window.scrollY - above)", above
        )
        page.wait_for_timeout(1000)
    image = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    for colours in (256, 128, 64, 32):
        data = io.BytesIO()
        image.quantize(colours).save(data, "PNG", optimize=True)
        if data.tell() <= _MAX_BYTES:
            break
    IMAGES.mkdir(parents=True, exist_ok=True)
    (IMAGES / f"{name}.png").write_bytes(data.getvalue())
    print(f"{name}.png: {data.tell() / 1000:.0f} kB, {colours} colours")


if __name__ == "__main__":
    main(sys.argv[1:])

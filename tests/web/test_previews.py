"""The tabs Preview, Effects, Pictures and Research, in a browser."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import numpy as np
import pytest

from betwixt.web.cuts import CutStore, VideoCuts
from web_server import WebServer, find_barriers, open_page, open_tab

pytest.importorskip("gradio", reason="Gradio is not installed")


@pytest.fixture(scope="module")
def tabs(browser: Any, server: WebServer) -> Iterator[Any]:
    """One open page for all tests of this module; no request of it leaves the machine, and no script fails."""
    page = open_page(browser, server)
    yield page
    page.context.close()
    assert [url for url in page.requested if not url.startswith((server.address, "data:", "blob:"))] == []
    assert page.errors == []


def choose(page: Any, label: str, option: str) -> None:
    """Choose from a list in the open tab."""
    box = page.get_by_label(label, exact=True).locator("visible=true").first
    box.click()
    page.get_by_role("option", name=option).first.click()


def fetch(page: Any, url: str) -> bytes:
    answer = page.request.get(urljoin(page.url, url))
    assert answer.ok, url
    return bytes(answer.body())


@pytest.fixture
def preview(tabs: Any) -> Any:
    """The page with the tab Preview open, and a video chosen in it."""
    open_tab(tabs, "Preview")
    if tabs.get_by_label("Video", exact=True).locator("visible=true").first.input_value() != "cut.mp4":
        choose(tabs, "Video", "cut.mp4")
        # The first call starts the worker's process, which takes a while.
        moved = "() => [...document.querySelectorAll('input[type=range]')].some(i => i.max === '0.64')"
        tabs.wait_for_function(moved, timeout=90_000)
    return tabs


def test_a_preview_is_one_video_of_two_models(preview: Any) -> None:
    start = preview.get_by_role("spinbutton", name="number input for Start, in seconds")
    start.fill("0.1")
    start.press("Tab")
    preview.get_by_role("button", name="Preview", exact=True).click()
    video = preview.locator("#preview-video video")
    video.wait_for()
    preview.wait_for_function("() => document.querySelector('#preview-video video').readyState >= 2")
    assert video.evaluate("v => [v.videoWidth, v.videoHeight]") == [320, 96]
    # Both halves stay in step, since they are one: seeking and the keyboard are the browser's own.
    assert video.evaluate("v => v.controls")
    assert "dis (left) and fast (right)" in preview.locator("#preview-video figcaption").inner_text()


def test_one_new_frame_is_compared_and_shown_in_other_ways(preview: Any) -> None:
    preview.get_by_role("button", name="Compare the frames").click()
    preview.locator("#preview-slider img").first.wait_for()
    caption = preview.locator("#preview-caption")
    caption.get_by_text("A, dis: The frame that the model makes.").wait_for()
    for view, said in (("Motion", "Flow from the new frame"), ("Regions", "Regions of the first frame")):
        choose(preview, "Show", view)
        caption.get_by_text(said).first.wait_for()
    preview.get_by_label("A part at 1:1").click()
    preview.get_by_label("Place of the part: across, in %").first.wait_for()
    # One pixel of the picture is one of the screen.
    preview.wait_for_function(
        "() => [...document.querySelectorAll('#preview-slider img')].every(i => i.naturalWidth === i.width)"
    )


def test_cuts_are_found_removed_put_back_and_added(preview: Any, server: WebServer, clips: Path) -> None:
    # By the keyboard: a click is lost if the layout moves between its two halves, as pictures above are loaded.
    preview.get_by_role("button", name="Find the cuts of the whole video").press("Enter")
    status = preview.locator("#cuts-status")
    status.get_by_text("1 cut.").wait_for()
    cut = preview.locator("#cuts button:has(img)").first
    cut.focus()
    preview.keyboard.press("Enter")
    status.get_by_text("0 cuts (1 removed, 0 added)").wait_for()
    preview.get_by_label("A cut is missing at, in seconds").fill("0.2")
    preview.get_by_role("button", name="Show the frames there").click()
    preview.locator("#cuts-around button:has(img)").nth(4).click()
    status.get_by_text("1 cut (1 removed, 1 added)").wait_for()
    options = CutStore(server.work).options(clips / "cut.mp4")
    assert Path(options["scene_cuts"]).read_text().split() == ["4", "#", "0.160", "s"]


def test_the_preview_tab_can_be_used_by_everybody(preview: Any) -> None:
    assert find_barriers(preview) == []


def test_a_phone_in_the_dark(browser: Any, server: WebServer) -> None:
    page = open_page(browser, server, color_scheme="dark", viewport={"width": 360, "height": 740})
    for tab in ("Preview", "Effects", "Pictures", "Research"):
        open_tab(page, tab)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, tab
        assert find_barriers(page) == [], tab
    page.context.close()


def test_a_damaged_video_gives_one_line(preview: Any) -> None:
    choose(preview, "Video", "damaged.mp4")
    preview.get_by_role("button", name="Preview", exact=True).click()
    alert = preview.locator("#preview-video").get_by_role("alert")
    alert.wait_for()
    assert "damaged.mp4" in alert.inner_text()
    assert "/" not in alert.inner_text()


def test_effects_are_previewed_and_queued_with_the_corrected_cuts(tabs: Any, server: WebServer, clips: Path) -> None:
    times = tuple(n / 25 for n in range(16))
    CutStore(server.work).save(clips / "cut.mp4", VideoCuts(times, (8,), frozenset((8,)), frozenset((4,))))
    open_tab(tabs, "Effects")
    choose(tabs, "Video", "cut.mp4")
    tabs.get_by_role("button", name="Preview", exact=True).locator("visible=true").click()
    tabs.locator("#effects-video video").wait_for()
    tabs.get_by_label("Frames after the end").click()
    tabs.get_by_role("button", name="Add to the queue").click()
    tabs.locator("#effects-message").get_by_text("Added to the queue").wait_for()
    jobs = [json.loads(path.read_text()) for path in (server.work / "jobs").glob("*/job.json")]
    (job,) = [job for job in jobs if job["command"] == "extrapolate"]
    assert job["options"]["frames"] == 5
    assert job["options"]["scene_cuts"].endswith(".txt")
    assert find_barriers(tabs) == []


def test_frames_between_two_pictures(tabs: Any) -> None:
    open_tab(tabs, "Pictures")
    choose(tabs, "First picture", "a.png")
    choose(tabs, "Second picture", "narrow.png")
    tabs.get_by_role("button", name="Make the frames").click()
    result = tabs.locator("#pictures-result")
    result.get_by_role("alert").get_by_text("a.png is 64x48, narrow.png is 32x48").wait_for()
    choose(tabs, "Second picture", "b.png")
    tabs.get_by_role("button", name="Make the frames").click()
    result.locator(".gallery figure").first.wait_for()
    assert result.locator(".gallery figure").count() == 9
    archive = zipfile.ZipFile(io.BytesIO(fetch(tabs, result.get_by_text("All frames").get_attribute("href"))))
    assert len(archive.namelist()) == 9
    assert fetch(tabs, result.get_by_text("Animation (GIF)").get_attribute("href")).startswith(b"GIF89a")
    assert find_barriers(tabs) == []


def test_a_picture_can_be_uploaded(tabs: Any, clips: Path) -> None:
    open_tab(tabs, "Pictures")
    with tabs.expect_file_chooser() as chooser:
        tabs.get_by_role("button", name="Upload: first picture").click()
    chooser.value.set_files(clips / "middle.png")
    tabs.wait_for_function("() => [...document.querySelectorAll('input')].some(i => i.value === 'middle.png')")


def test_research_shows_every_map_and_gives_it_as_an_array(tabs: Any) -> None:
    open_tab(tabs, "Research")
    tabs.get_by_label("Two pictures").click()
    for label, name in (("First picture", "a.png"), ("Second picture", "b.png"), ("True frame", "middle.png")):
        choose(tabs, label if label != "True frame" else "True frame in between, if known", name)
    tabs.get_by_role("button", name="Show the maps").click()
    result = tabs.locator("#research-result")
    result.get_by_text("PSNR").wait_for()
    flow = result.locator("figure", has_text="flow_t0").first
    array = np.load(io.BytesIO(fetch(tabs, flow.get_by_text(".npy").get_attribute("href"))))
    assert array.ndim == 3
    assert array.shape[2] == 2
    assert {"error", "visible_0", "mask"} <= {code.inner_text() for code in result.locator("code").all()}
    assert find_barriers(tabs) == []


def test_models_without_weights_say_so(tabs: Any) -> None:
    open_tab(tabs, "Research")
    choose(tabs, "Model", "ifrnet-s (no weights installed)")
    tabs.get_by_text("No weights of ifrnet-s are installed").first.wait_for()

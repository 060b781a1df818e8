"""The page in a browser: converting, the queue, and what everybody has to be able to use."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from betwixt.web.jobs import JobStore, QueuedJob
from clips import frames_equal, make_clip, read_frames
from web_server import WebServer, find_barriers, open_page, open_tab

HOSTILE = "<img src=x onerror=alert(1)>\"'\u202e%00.mp4"


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return make_clip(tmp_path / "upload.mp4", frames=8, size=(64, 48), codec="libx264", audio=True)


def drop(page: Any, *paths: Path) -> None:
    """Upload files, as dropping them does."""
    page.locator("input[type=file]").first.set_input_files([str(path) for path in paths])


def queue_first(page: Any, title: str = "Double to 50 fps") -> None:
    """Click a suggestion, and go to the queue."""
    page.get_by_role("button", name=title).click()
    page.get_by_text("Added to the queue").wait_for()
    page.get_by_role("tab", name="Queue").click()


def choose_last(page: Any) -> Any:
    """Choose the last job of the queue."""
    job = page.get_by_role("radio").last
    job.check()
    return job


def test_an_upload_becomes_what_the_command_line_makes_of_it(page: Any, clip: Path, tmp_path: Path) -> None:
    drop(page, clip)
    page.get_by_text("64 x 48 pixels").wait_for()
    queue_first(page)
    choose_last(page)
    link = page.get_by_role("link", name="Download upload-50fps.mp4")
    link.wait_for()
    with page.expect_download() as download:
        link.click()
    download.value.save_as(tmp_path / "from-page.mp4")
    page.get_by_text("Command line").click()
    command = shlex.split(page.locator("#job code").inner_text())
    assert command == ["betwixt", "interpolate", "upload.mp4", "upload-50fps.mp4", "--model", "dis"]
    subprocess.run([sys.executable, "-m", "betwixt.cli", *command[1:]], cwd=tmp_path, check=True, capture_output=True)
    ours, theirs = (read_frames(tmp_path / name) for name in ("from-page.mp4", "upload-50fps.mp4"))
    assert len(ours) == 16
    assert [frame.time for frame in ours] == [frame.time for frame in theirs]
    assert all(frames_equal(a.video, b.video) for a, b in zip(ours, theirs, strict=True))
    page.get_by_text("Summary as JSON").click()
    assert json.loads(page.locator("#job details pre").first.inner_text())["frames_out"] == 16
    for which in ("before", "after"):
        assert page.locator(f"video[aria-label={which}]").evaluate(
            "v => new Promise(done => { const check = () => v.error ? done(v.error.message) : v.readyState ? done('') "
            ": setTimeout(check, 50); check(); })"
        ) == ""  # fmt: skip


def test_a_video_of_the_folder_shows_its_costs_and_losses(page: Any) -> None:
    page.get_by_label("Video", exact=True).click()
    page.get_by_role("option", name="small.mp4").click()
    page.get_by_role("button", name="Smooth GIF loop").wait_for()
    page.locator(".cost").first.wait_for()
    page.get_by_text("Its container cannot hold: audio").wait_for()
    page.get_by_label("Another rate").fill("zero")
    page.get_by_role("button", name="Convert to this rate").click()
    page.get_by_role("alert").filter(has_text="zero").wait_for()


def test_a_damaged_video_gets_the_command_lines_error(page: Any, server: WebServer) -> None:
    page.get_by_label("Video", exact=True).click()
    page.get_by_role("option", name="damaged.mp4").click()
    message = page.get_by_role("alert").filter(has_text="damaged.mp4").inner_text()
    line = [sys.executable, "-m", "betwixt.cli", "info", "damaged.mp4"]
    error = subprocess.run(line, cwd=server.folder, capture_output=True, text=True, check=False).stderr
    assert error == f"betwixt: {message}\n"


def test_names_of_uploads_are_text(page: Any, clip: Path) -> None:
    page.on("dialog", lambda dialog: page.errors.append(dialog.message))
    drop(page, clip.rename(clip.with_name(HOSTILE)))
    queue_first(page)
    choose_last(page)
    page.get_by_role("link", name="Download").wait_for()
    assert page.locator("#job img[src=x]").count() == 0


def test_several_videos_are_converted_at_once(page: Any, clip: Path) -> None:
    other = make_clip(clip.with_name("second.mp4"), frames=6, size=(64, 48), codec="libx264")
    drop(page, clip, other)
    page.get_by_label("Do this with all videos").check()
    before = page.get_by_role("radio").count()
    queue_first(page, "Slow motion 2x")
    page.get_by_role("radio").nth(before + 1).wait_for()
    page.get_by_text("second.mp4: Slow motion 2x").wait_for()


def test_a_job_is_seen_by_all_pages_and_after_a_reload(browser: Any, page: Any, server: WebServer, clip: Path) -> None:
    long = make_clip(clip.with_name("long.mp4"), frames=300, size=(64, 48), codec="libx264")
    drop(page, long)
    queue_first(page, "Slow motion 8x")
    choose_last(page)
    page.get_by_text(re.compile(r"\d+ of 2400 frames")).wait_for()
    page.get_by_role("button", name="Pause").click()
    other = open_page(browser, server)
    other.get_by_role("tab", name="Queue").click()
    other.get_by_text("long.mp4: Slow motion 8x (paused)").wait_for()
    page.reload()
    page.get_by_role("tab", name="Queue").click()
    page.get_by_role("button", name="Resume").click()  # an unfinished job is chosen by itself
    other.get_by_text("long.mp4: Slow motion 8x (running)").wait_for()
    other.get_by_role("button", name="Cancel").click()
    page.get_by_text("long.mp4: Slow motion 8x (cancelled)").wait_for()
    other.context.close()


@pytest.fixture
def busy(tmp_path: Path, clips: Path) -> Iterator[WebServer]:
    """A server with fifty jobs, which an earlier one has left."""
    store = JobStore(tmp_path / "work" / "jobs")
    for number in range(50):
        store.save(
            QueuedJob("gone", f"{number}.mp4", "Double", "interpolate", {}, "x.mp4", created=number, state="paused")
        )
    server = WebServer(tmp_path / "work", clips)
    yield server
    server.kill()


def test_fifty_jobs_survive_a_server_that_is_killed(browser: Any, busy: WebServer) -> None:
    page = open_page(browser, busy)
    page.get_by_role("tab", name="Queue").click()
    page.get_by_text("50. 49.mp4").wait_for()
    assert page.get_by_role("radio").count() == 50
    page.get_by_role("button", name="Cancel").click()
    page.get_by_text("1. 0.mp4: Double (cancelled)").wait_for()
    busy.kill()
    busy.start()
    page = open_page(browser, busy)
    page.get_by_role("tab", name="Queue").click()
    page.get_by_text("50. 49.mp4: Double (paused)").wait_for()
    page.get_by_text("1. 0.mp4: Double (cancelled)").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_use_it(browser: Any, server: WebServer, clip: Path, scheme: str) -> None:
    page = open_page(browser, server, viewport={"width": 360, "height": 740}, color_scheme=scheme)
    drop(page, clip)
    page.locator(".cost").first.wait_for()
    page.get_by_role("button", name="Options").click()
    for tab in ("Convert", "Queue"):
        open_tab(page, tab)
        page.wait_for_timeout(500)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert find_barriers(page) == []
    page.context.close()


def test_the_queue_works_with_the_keyboard(page: Any, clip: Path) -> None:
    drop(page, clip)
    button = page.get_by_role("button", name="Double to 50 fps")
    button.wait_for()
    button.focus()
    page.keyboard.press("Enter")
    page.get_by_text("Added to the queue").wait_for()
    page.get_by_role("tab", name="Convert").focus()
    page.keyboard.press("Tab")
    page.get_by_role("tab", name="Queue").focus()
    page.keyboard.press("Enter")
    jobs = page.get_by_role("radio")
    jobs.last.wait_for()
    jobs.last.focus()
    page.keyboard.press("Space")
    assert jobs.last.is_checked()


def test_costs_follow_the_options_and_an_upload_can_be_removed(page: Any, clip: Path) -> None:
    drop(page, clip)
    page.locator(".cost").first.wait_for()
    page.get_by_role("button", name="Options").click()
    page.get_by_label("Container").click()
    page.get_by_role("option", name="webm").click()
    page.get_by_label("Codec").click()
    page.get_by_role("option", name="prores").click()
    page.get_by_text("prores", exact=False).filter(has_text="webm").first.wait_for()
    page.get_by_role("button", name="Remove this upload").click()
    page.get_by_text("What should it become?").wait_for(state="hidden")

"""The queue: order, states, and what survives a restart."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from betwixt.errors import BetwixtError, UsageError
from betwixt.web import queue as queue_module
from betwixt.web.jobs import CANCELLED, DONE, FAILED, PAUSED, RUNNING, WAITING, JobStore, QueuedJob
from betwixt.web.queue import JobQueue
from clips import make_clip, read_frames, wait_until


def resolver(folder: Path) -> Callable[[str], Path]:
    return lambda id_: folder / id_


def new_job(video: str = "clip.mkv", **options: object) -> QueuedJob:
    return QueuedJob(video, video, "Double", "interpolate", {"model": "dis", **options}, f"{Path(video).stem}-out.mkv")


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[JobQueue]:
    """A queue that does not run yet, on a folder with a clip."""
    make_clip(tmp_path / "clip.mkv", frames=6, size=(64, 48))
    queue = JobQueue(tmp_path / "work", resolver(tmp_path))
    yield queue
    queue.stop()


def states(queue: JobQueue) -> list[str]:
    return [job.state for job in queue.jobs()]


def test_jobs_run_one_after_another_and_errors_are_the_command_lines(queue: JobQueue, tmp_path: Path) -> None:
    (tmp_path / "damaged.mkv").write_bytes(b"no video" * 100)
    jobs = [queue.add(new_job()), queue.add(new_job("damaged.mkv")), queue.add(new_job("gone.mkv"))]
    queue.start()
    wait_until(lambda: all(job.is_finished for job in queue.jobs()))
    assert states(queue) == [DONE, FAILED, FAILED]
    done, damaged, gone = queue.jobs()
    assert len(read_frames(queue.output(done))) == 12
    assert done.summary is not None
    assert (done.summary["frames_out"], done.summary["output"]) == (12, "clip-out.mkv")
    assert queue.thumbnail(jobs[0]).read_bytes().startswith(b"\xff\xd8")
    assert (
        damaged.error
        == f"{tmp_path / 'damaged.mkv'} is not a video that can be read: its content fits no known format."
    )
    assert "does not exist" in gone.error
    assert not queue.output(damaged).parent.exists()


def test_waiting_jobs_can_be_moved_and_the_order_is_kept(queue: JobQueue, tmp_path: Path) -> None:
    a, b, c = (queue.add(new_job()).id for _ in range(3))
    queue.move(c, -1)
    queue.move(a, -1)  # it is the first already
    assert [job.id for job in queue.jobs()] == [a, c, b]
    queue.move(a, 1)
    assert [job.id for job in JobQueue(tmp_path / "work", resolver(tmp_path)).jobs()] == [c, a, b]


def test_a_cancelled_job_can_be_tried_again_and_a_finished_one_removed(queue: JobQueue, tmp_path: Path) -> None:
    id_ = queue.add(new_job()).id
    queue.remove(id_)  # not before it is finished
    queue.cancel(id_)
    assert states(queue) == [CANCELLED]
    queue.retry(id_)
    assert states(queue) == [WAITING]
    queue.cancel(id_)
    queue.remove(id_)
    assert queue.jobs() == []
    assert list((tmp_path / "work" / "jobs").glob("*/")) == []


def test_a_running_job_is_paused_resumed_and_cancelled(queue: JobQueue, tmp_path: Path) -> None:
    make_clip(tmp_path / "long.mkv", frames=100, size=(64, 48), codec="libx264")
    running, behind = queue.add(new_job("long.mkv", slow=50)).id, queue.add(new_job()).id
    queue.start()
    wait_until(lambda: queue.progress(running) is not None)
    queue.pause(running)
    assert states(queue) == [PAUSED, WAITING]
    queue.resume(running)
    assert states(queue) == [RUNNING, WAITING]
    queue.cancel(running)
    wait_until(lambda: queue.find(behind).state == DONE)  # type: ignore[union-attr]
    job = queue.find(running)
    assert job is not None
    assert job.state == CANCELLED
    assert not queue.output(job).parent.exists()


def test_a_job_goes_on_where_an_ended_server_left_it(queue: JobQueue, tmp_path: Path) -> None:
    make_clip(tmp_path / "long.mkv", frames=20, size=(160, 120))  # FFV1: frames are encoded at once
    id_ = queue.add(new_job("long.mkv", slow=50)).id
    queue.start()
    wait_until(lambda: (p := queue.progress(id_)) is not None and p.frames > 20)
    queue.stop()
    assert json.loads((tmp_path / "work" / "jobs" / id_ / "job.json").read_text())["state"] == RUNNING
    later = JobQueue(tmp_path / "work", resolver(tmp_path))
    assert states(later) == [WAITING]
    later.start()
    wait_until(lambda: states(later) == [DONE])
    later.stop()
    summary = later.jobs()[0].summary
    assert summary is not None
    assert summary["earlier"] > 0
    assert summary["frames_out"] == 1000


def test_a_paused_job_stays_paused_after_a_restart(tmp_path: Path) -> None:
    store = JobStore(tmp_path / "work" / "jobs")
    job = new_job()
    job.state = PAUSED
    store.save(job)
    queue = JobQueue(tmp_path / "work", resolver(tmp_path))
    queue.resume(job.id)
    assert states(queue) == [WAITING]


def test_damaged_files_of_jobs_are_left_out(queue: JobQueue, tmp_path: Path) -> None:
    kept = queue.add(new_job()).id
    for number, text in enumerate(("{", "[]", '{"video": 1}', '{"command": "rm"}')):
        folder = tmp_path / "work" / "jobs" / f"bad{number}"
        folder.mkdir()
        (folder / "job.json").write_text(text)
    (tmp_path / "work" / "jobs" / "queue.json").write_text("nonsense")
    assert [job.id for job in JobQueue(tmp_path / "work", resolver(tmp_path)).jobs()] == [kept]


def test_the_queue_is_limited(queue: JobQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_module, "MAX_JOBS", 1)
    queue.add(new_job())
    with pytest.raises(UsageError, match="holds 1 jobs"):
        queue.add(new_job())


def test_a_full_disk_is_said_in_one_line(queue: JobQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise BetwixtError("The disk is full.")

    monkeypatch.setattr(queue_module, "require_space", full)
    queue.add(new_job())
    queue.start()
    wait_until(lambda: states(queue) == [FAILED])
    assert queue.jobs()[0].error == "The disk is full."


def test_the_command_line_repeats_the_job() -> None:
    job = new_job("my clip.mkv", slow=4, loop=False, journal=False, overlays="off")
    command = "betwixt interpolate 'my clip.mkv' 'my clip-out.mkv' --model dis --slow 4 --no-journal --overlays off"
    assert job.command_line() == command

"""Functions in other processes: results, errors, crashes, limits."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import child_functions as functions
from betwixt.errors import BetwixtError, InputError
from betwixt.web import child as child_module
from betwixt.web.child import Child
from betwixt.web.worker import Worker


def run(function: Callable[..., Any], *arguments: Any, memory: int | None = None) -> tuple[list[Any], Any]:
    """What a child reports, and its result."""
    child: Child[Any, Any] = Child(function, *arguments, memory=memory)
    return list(child.messages()), child.result


def test_a_child_reports_and_returns() -> None:
    assert run(functions.count, 3) == ([0, 1, 2], "counted")


def test_an_error_of_the_user_is_one_line() -> None:
    with pytest.raises(BetwixtError, match=r"^This is no video\.$"):
        run(functions.refuse, "This is no video.")


def test_a_bug_and_a_crash_are_one_line_and_spare_the_server() -> None:
    with pytest.raises(BetwixtError, match=r"ValueError.*log has more"):
        run(functions.fail)
    with pytest.raises(BetwixtError, match=r"ended unexpectedly \(exit code 7\)"):
        run(functions.crash)


def test_a_child_that_does_not_end_after_its_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_module, "_END_TIMEOUT", 0.5)
    assert run(functions.leave_a_thread) == ([], "answered")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the memory of a process")
def test_memory_is_limited() -> None:
    assert run(functions.fill_memory, 1 << 20, memory=1 << 30) == ([], 1 << 20)
    with pytest.raises(BetwixtError, match="not enough memory"):
        run(functions.fill_memory, 2 << 30, memory=1 << 30)


def test_a_paused_child_waits_until_it_is_resumed_and_a_killed_one_ends() -> None:
    child: Child[int, str] = Child(functions.count, 100_000)
    numbers = child.messages()
    assert next(numbers) == 0
    child.pause()
    while child._connection.poll(0.5):  # what was on its way
        next(numbers)
    child.resume()
    assert child._connection.poll(30)
    child.kill()
    with pytest.raises(BetwixtError):
        list(numbers)


@pytest.fixture
def worker() -> Iterator[Worker]:
    worker = Worker()
    yield worker
    worker.stop()


def test_a_worker_keeps_its_process_until_that_ends(worker: Worker) -> None:
    first = worker.call(functions.process_id)
    assert first != os.getpid()
    assert worker.call(functions.process_id) == first
    with pytest.raises(BetwixtError, match="cannot be read here"):
        worker.call(functions.leave, 3)
    assert worker.call(functions.process_id) not in (first, os.getpid())


def test_errors_of_a_worker_are_those_of_the_function(worker: Worker) -> None:
    with pytest.raises(BetwixtError, match="Not this one") as error:
        worker.call(functions.refuse, print, "Not this one.")
    assert not isinstance(error.value, InputError)  # only the line comes back

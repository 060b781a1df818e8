"""Interrupts: deferred signals, and conversions that are interrupted at any point."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

import betwixt
from betwixt import signals
from betwixt.pipeline import production, run
from betwixt.signals import defer_signals
from clips import make_clip, wait_until


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)
    threading.Event().wait(0.05)  # it comes here, or not at all


def test_an_interrupt_is_deferred_until_the_block_ends():
    done = []

    def work():
        interrupt()
        interrupt()
        done.append(1)

    with pytest.raises(KeyboardInterrupt), defer_signals():
        work()
    assert done == [1]
    with pytest.raises(KeyboardInterrupt):  # and from then on it comes at once
        interrupt()


def test_cleared_signals_are_discarded():
    with defer_signals() as came:
        interrupt()
        came.clear()
    with defer_signals(), defer_signals() as inner:
        interrupt()
        inner.clear()


def test_each_signal_is_handled_once_and_in_order():
    came = []
    before = {
        number: signal.signal(number, lambda number, _: came.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        with defer_signals():
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
                os.kill(os.getpid(), number)
                threading.Event().wait(0.05)
            assert came == []
        assert came == [signal.SIGTERM, signal.SIGINT]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_an_interrupt_is_not_deferred_for_ever(monkeypatch):
    monkeypatch.setattr(signals, "_MAX_DELAY", 0.0)

    def work():
        interrupt()
        pytest.fail("it was held back")

    with pytest.raises(KeyboardInterrupt), defer_signals():
        work()


def test_an_exception_in_the_block_is_raised_and_handlers_are_restored():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ValueError, match="other"), defer_signals():
        raise ValueError("other")
    assert signal.getsignal(signal.SIGINT) is before


def test_other_threads_defer_nothing():
    came = []

    def work():
        with defer_signals():
            came.append(signal.getsignal(signal.SIGINT))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert came == [before]


@pytest.mark.parametrize("place", [1, 2, 3, 4])
def test_an_interrupt_around_any_deferring_block_leaves_nothing_behind(tmp_path, monkeypatch, place):
    source = make_clip(tmp_path / "in.mkv", frames=6)
    seen = []

    def held():
        seen.append(1)
        if len(seen) == place:
            raise KeyboardInterrupt
        return defer_signals()

    for module in (run, production):
        monkeypatch.setattr(module, "defer_signals", held)
    with pytest.raises(KeyboardInterrupt):
        betwixt.interpolate_video(source, tmp_path / "out.mkv", model="dis")
    assert [path.name for path in tmp_path.iterdir()] == ["in.mkv"]


@pytest.mark.skipif(os.name != "posix", reason="pipes that can be waited for")
@pytest.mark.parametrize("part", [0.1, 0.9])
def test_a_stalled_pipe_can_be_interrupted(tmp_path, part):
    content = make_clip(tmp_path / "in.mkv", frames=400, size=(64, 48)).read_bytes()
    command = [sys.executable, "-m", "betwixt.cli", "interpolate", "-", str(tmp_path / "out.mkv"), "--model", "dis"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            assert process.stdin is not None
            assert process.stderr is not None
            process.stdin.write(content[: int(len(content) * part)])
            process.stdin.flush()
            # Where it cannot even begin there is nothing to see: it has long begun to wait by then.
            wait_until(lambda: len(list(tmp_path.iterdir())) > 1) if part > 0.5 else time.sleep(2)
            process.send_signal(signal.SIGTERM)
            error = process.stderr.read()
            process.wait(20)
        finally:
            process.kill()
    assert process.returncode == 130
    assert error.endswith(b"betwixt: interrupted; nothing was left behind.\n")
    assert [path.name for path in tmp_path.iterdir()] == ["in.mkv"]

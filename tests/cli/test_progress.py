"""Progress: a bar on a terminal, plain lines elsewhere."""

import io

import pytest

from betwixt.cli import progress
from betwixt.cli.progress import ProgressDisplay, conversion_progress
from betwixt.pipeline.run import Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def lines(monkeypatch):
    """Print a plain line at each advance."""
    monkeypatch.setattr(progress, "_LINE_INTERVAL", 0.0)
    return io.StringIO()


def test_plain_lines_show_task_count_details_and_time_left(lines):
    with ProgressDisplay("samples", stream=lines) as display:
        display("reading", 0, 10)
        display("reading", 5, 10, "2 s each")
        display("writing")
    first, second, third = lines.getvalue().splitlines()
    assert first == "reading: 0 of 10 samples"
    assert second.startswith("reading: 5 of 10 samples, 2 s each, ")
    assert second.endswith(" left")
    assert third == "writing"


def test_the_time_left_runs_down_between_two_advances(lines, monkeypatch):
    clock = iter([0.0] * 10)
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with ProgressDisplay("scenes", stream=lines) as display:
        for now, done in ((0.0, 0), (100.0, 10), (140.0, 10), (260.0, 10)):
            clock = iter([now] * 10)
            display("rendering", done, 20)
    assert [line.rpartition(", ")[2] for line in lines.getvalue().splitlines()] == [
        "rendering: 0 of 20 scenes", "1:40 left", "1:00 left", "0.0 s left"
    ]  # fmt: skip


def test_bytes_are_shown_in_megabytes(lines):
    with ProgressDisplay("bytes", stream=lines) as display:
        display("x.pkl", 1_500_000, 0)
        display("x.pkl", 1_500_000, 3_000_000)
    assert lines.getvalue().splitlines() == ["x.pkl: 1.5 MB", "x.pkl: 1.5 of 3.0 MB"]


def test_lines_are_at_least_ten_seconds_apart():
    stream = io.StringIO()
    with ProgressDisplay("frames", stream=stream) as display:
        for done in range(100):
            display("reading", done, 100)
    assert stream.getvalue() == ""


def test_quiet_shows_nothing(lines):
    with ProgressDisplay("frames", quiet=True, stream=lines) as display:
        display("reading", 5, 10)
        display.print("a remark")
    assert lines.getvalue() == ""


def test_a_terminal_gets_a_bar():
    terminal = Terminal()
    with ProgressDisplay("frames", stream=terminal) as display:
        display("reading", 5, 10, "2 cuts")
        display.print("[a remark]")
        display("writing", 0, None)
    shown = terminal.getvalue()
    assert "[a remark]" in shown
    assert "5 of 10 frames" in shown


def test_a_resumed_conversion_says_so_once(capsys, monkeypatch):
    monkeypatch.setattr(progress, "_LINE_INTERVAL", 0.0)
    with conversion_progress() as show:
        show(Progress(frames_out=40, synthesized=20, earlier=20, kept=40, total=100))
        show(Progress(frames_out=50, synthesized=25, earlier=20, kept=40, cuts=1, total=100))
    error = capsys.readouterr().err
    assert error.count("Resuming after 40 frames") == 1
    assert "50 of 100 frames" in error
    assert "1 cut, " in error

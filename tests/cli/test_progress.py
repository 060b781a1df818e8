"""Progress: a bar on a terminal, plain lines elsewhere."""

import io
import time

import pytest
from rich.console import Console

from betwixt.cli import progress
from betwixt.cli.progress import BatchPosition, ProgressDisplay, conversion_progress
from betwixt.pipeline.production import NodeFigures
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
        "rendering: 0 of 20 scenes", "1:40 left", "1:00 left", "0 s left"
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


def test_a_quick_first_step_does_not_promise_an_early_end(lines, monkeypatch):
    clock = iter([0.0] * 10)
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with ProgressDisplay("frames", stream=lines) as display:
        for now, done in ((0.0, 0), (0.1, 1), (20.0, 1)):
            clock = iter([now] * 10)
            display("", done, 101)
    assert lines.getvalue().splitlines()[-1] == "1 of 101 frames, 16:20 left"


def bars(width, position=None):
    """What a terminal of this width shows halfway through a conversion, line by line."""
    terminal = Terminal()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(width))
        with ProgressDisplay("frames", stream=terminal, position=position) as display:
            display("", 0, 1300)
            display._start_time -= 60
            display("", 650, 1300, "12.3 new frames/s, 2 cuts")
            console = Console(width=width, file=io.StringIO())
            console.print(display._bars.make_tasks_table(display._bars.tasks))
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize(("width", "shown"), [(20, 2), (40, 3), (80, 4), (120, 5)])
def test_narrow_terminals_show_percentage_and_time_left_before_the_rest(width, shown):
    (line,) = bars(width)
    assert len(line) <= width
    parts = ["50 %", "1:00 left", "650 of 1300 frames", "\u2501", "12.3 new frames/s, 2 cuts"]
    assert [part in line for part in parts] == [True] * shown + [False] * (len(parts) - shown)


@pytest.mark.parametrize("width", [40, 60, 80])
def test_a_batch_has_a_line_for_the_file_and_one_for_all(width):
    position = BatchPosition("a long name of a holiday clip.mp4", 2, 5, 0.25, 0.5, time.monotonic() - 60)
    file, batch = bars(width, position)
    assert file.startswith("a long name of a")
    assert "50 %" in file
    assert "1:00 left" in file
    assert batch.startswith("all ")
    assert "50 %" in batch
    assert "1:00 left" in batch
    assert ("2 of 5 files" in batch) == (width >= 60)


def test_plain_lines_name_the_file_of_a_batch(lines):
    for count, place in ((5, "[2 of 5] a.mp4"), (None, "[2] a.mp4")):
        position = BatchPosition("a.mp4", 2, count, 0.25, 0.5, 0.0)
        with ProgressDisplay("frames", stream=lines, position=position) as display:
            display("", 0, 1)
        assert lines.getvalue().splitlines()[-1] == f"{place}: 0 of 1 frame"


def test_with_a_cluster_nodes_and_pieces_are_counted(capsys, lines):
    node = NodeFigures("a", frames=10, pieces=2, failures=0, new_frames_per_second=4.0)
    with conversion_progress() as show:
        show(Progress(frames_out=50, synthesized=25, total=100, nodes=(node, node), pieces=4))
        show(Progress(frames_out=60, synthesized=30, total=100, nodes=(node,), pieces=1))
    first, second = capsys.readouterr().err.splitlines()
    assert first.endswith(", 0 cuts, 2 nodes, 4 pieces")
    assert ", 0 cuts, 1 node, 1 piece, " in second

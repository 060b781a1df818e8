"""Working files: they fit beside any output, never collide, and those of killed runs are removed."""

import builtins
import contextlib
import gc
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from betwixt.errors import OutputError
from betwixt.files import WorkingFile, check_output, hidden_path, local_path, remove_leftovers, write_atomically
from betwixt.media.journal import journal_path

NAMES = ["out.mp4", "x" * 245 + ".mp4", "x" * 251 + ".mp4", "日" * 82 + ".mkv", "x." + "y" * 250, "what?.mp4"]


@pytest.mark.parametrize("name", NAMES)
def test_an_output_of_any_name_can_be_written(tmp_path, name):
    output = tmp_path / name
    check_output(output, None, overwrite=False)
    with WorkingFile(output) as working:
        assert working.path.name.startswith(".")
        working.file.write(b"content")
        assert os.listdir(tmp_path) == [working.path.name]
        working.publish()
    assert output.read_bytes() == b"content"
    assert os.listdir(tmp_path) == [name]
    journal_path(output).write_bytes(b"")


def test_long_names_that_differ_at_their_ends_have_hidden_names_that_differ(tmp_path):
    one, two = (hidden_path(tmp_path / ("x" * 250 + end), ".journal") for end in ("a", "b"))
    assert one != two
    assert len(os.fsencode(one.name)) <= 255


def test_a_name_too_long_for_a_file_is_refused_in_one_line(tmp_path):
    for name in ("x" * 300 + ".mp4", "日" * 90 + ".mp4"):
        with pytest.raises(OutputError, match="bytes, more than the 255") as caught:
            check_output(tmp_path / name, "in.mp4", overwrite=False)
        assert "\n" not in str(caught.value)
    with pytest.raises(OutputError, match="does not exist"):
        check_output(tmp_path / ("x" * 300) / "out.mp4", None, overwrite=False)


def test_what_is_not_published_is_removed(tmp_path):
    with WorkingFile(tmp_path / "out.mp4") as working:
        working.file.write(b"half")
    assert not os.listdir(tmp_path)
    with pytest.raises(OutputError, match="cannot be written"):
        write_atomically(tmp_path / "missing" / "out.txt", "text")


@pytest.mark.parametrize("name", ["dup", "fdopen", "open"])
def test_an_interrupt_while_the_file_is_made_leaves_none(tmp_path, monkeypatch, name):
    module = builtins if name == "open" else os
    make = getattr(module, name)

    def make_and_interrupt(*arguments, **options):
        made = make(*arguments, **options)
        if Path(f"/proc/self/fd/{made if name == 'dup' else made.fileno()}").resolve().parent == tmp_path:
            signal.raise_signal(signal.SIGINT)
        return made

    monkeypatch.setattr(module, name, make_and_interrupt)
    with contextlib.suppress(KeyboardInterrupt):
        WorkingFile(tmp_path / "out.mp4")
        pytest.fail("no interrupt came")
    monkeypatch.undo()
    gc.collect()  # the interrupt's frames hold it
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_what_killed_runs_left_is_removed_and_nothing_else(tmp_path, name):
    output = tmp_path / name
    with WorkingFile(output) as working:
        dead = working.path
    kept = ["in.mp4", ".out.mp4", ".out.part.mp4", ".other.12345678.part.mp4", ".out.1.part.mkv", ".out.one.part.mp4"]
    for file in kept:
        (tmp_path / file).touch()
    (tmp_path / ".out.87654321.part.mp4").mkdir()
    dead.write_bytes(b"half")
    with WorkingFile(output) as live:
        remove_leftovers(output)
        assert live.path.exists()
        assert not dead.exists()
        live.publish()
    assert {*kept, ".out.87654321.part.mp4"} <= set(os.listdir(tmp_path))


def test_the_file_of_another_live_process_stays_until_it_is_killed(tmp_path):
    output = tmp_path / "out.mp4"
    code = f"from betwixt.files import *; w = WorkingFile(Path({str(output)!r})); print(w.path, flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        path = Path(process.stdout.readline().decode().strip())
        check_output(output, None, overwrite=False)
        assert path.exists()
        process.kill()
        process.wait()
        assert path.exists()
        check_output(output, None, overwrite=False)
        assert not path.exists()


def test_what_an_earlier_process_with_this_number_left_is_no_hindrance(tmp_path):
    (tmp_path / f".out.{os.getpid()}.part.mp4").write_bytes(b"left")
    check_output(tmp_path / "out.mp4", None, overwrite=False)
    assert not os.listdir(tmp_path)


def test_a_folder_that_cannot_be_written_is_named_in_one_line(tmp_path, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(OutputError, match="the file system is read-only; choose another place"):
        check_output(tmp_path / "out.mp4", None, overwrite=False)


def test_a_file_may_be_named_by_its_address(tmp_path, monkeypatch):
    (tmp_path / "a b.mp4").touch()
    monkeypatch.chdir(tmp_path)
    assert local_path("file:a b.mp4") == "a b.mp4"
    assert local_path(f"file://{tmp_path}/a%20b.mp4") == f"{tmp_path}/a b.mp4"
    assert local_path("https://example.org/a.mp4") == "https://example.org/a.mp4"
    with pytest.raises(OutputError, match="is the input itself"):
        check_output(tmp_path / "a b.mp4", "file:a b.mp4", overwrite=True)
    Path("file:c.mp4").touch()
    assert local_path("file:c.mp4") == "file:c.mp4"

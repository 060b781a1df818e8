"""The journal: what it gives back after any end, and whom it refuses."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from betwixt.errors import OutputError, UsageError
from betwixt.media import journal as module
from betwixt.media import journal_file
from betwixt.media.journal import Journal, journal_path

SETTINGS = {"source": ["in.mkv", 1], "model": "dis", "quality": None}

# The order in which an encoder with B frames hands out its packets.
ORDER = [0, 3, 1, 2, 6, 4, 5, 7]


def fill(output: Path, order: list[int] = ORDER, **changes: object) -> Journal:
    journal = Journal(output, SETTINGS | changes)
    journal.describe(output.with_name(".part"), b"stream")
    for n, number in enumerate(order):
        journal.add_packet(bytes([number]) * (20 + number), number, n - 2, 1, number == 0)
    return journal


def drop(journal: Journal) -> None:
    """As a process that dies: nothing is said, the system closes the file."""
    journal._close()


def kept(output: Path) -> int:
    """How many frames a journal holds."""
    found = Journal(output, SETTINGS)
    drop(found)
    return found.frames


def age(output: Path, seconds: float, **changes: object) -> None:
    """Let a journal be that much work; change what else its head says."""
    path = journal_path(output)
    with path.open("r+b") as file:
        head = json.loads(file.read(16 << 10)) | {"worked": seconds} | changes
        file.seek(0)
        file.write(json.dumps(head).encode().ljust((16 << 10) - 1) + b"\n")


def test_it_gives_back_what_it_was_given(tmp_path):
    drop(fill(tmp_path / "out.mp4"))
    found = Journal(tmp_path / "out.mp4", SETTINGS)
    assert found.frames == 8
    for n, (kept, number) in enumerate(zip(found.packets(), ORDER, strict=True)):
        assert kept.data == bytes([number]) * (20 + number)
        assert (kept.number, kept.dts, kept.duration, kept.key) == (number, n - 2, 1, number == 0)
    found.discard()
    assert not journal_path(tmp_path / "out.mp4").exists()


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(0, 600), flip=st.booleans())
def test_wherever_it_breaks_off_there_is_no_gap(tmp_path_factory, cut, flip):
    output = tmp_path_factory.mktemp("journal") / "out.mp4"
    drop(fill(output))
    data = bytearray(journal_path(output).read_bytes())
    place = (16 << 10) + cut % (len(data) - (16 << 10))
    if flip:
        data[place] ^= 0x55
    else:
        del data[place:]
    journal_path(output).write_bytes(data)
    found = Journal(output, SETTINGS)
    # What is taken: any number of frames that are the first so many.
    assert found.frames in (0, 1, 4, 7, 8)
    numbers = [kept.number for kept in found.packets()]
    assert sorted(numbers) == list(range(found.frames))
    # What is added goes behind it.
    found.describe(output.with_name(".part"), b"stream")
    found.add_packet(b"more", found.frames, None, 1, True)
    drop(found)
    again = Journal(output, SETTINGS)
    assert again.frames == found.frames + 1
    assert [kept.data for kept in again.packets()][-1] == b"more"
    drop(again)


@pytest.mark.parametrize("rubbish", [b"", b"{", b"null", b'{"format": 1}', os.urandom(20_000)])
def test_rubbish_is_no_journal(tmp_path, rubbish):
    journal_path(tmp_path / "out.mp4").write_bytes(rubbish)
    found = Journal(tmp_path / "out.mp4", SETTINGS)
    assert found.frames == 0
    drop(found)


def test_little_work_of_other_settings_is_thrown_away_and_much_is_not(tmp_path):
    output = tmp_path / "out.mp4"
    drop(fill(output))
    found = Journal(output, SETTINGS | {"model": "hybrid"})
    assert found.frames == 0
    assert "other settings (model)" in found.notes[0]
    drop(found)
    drop(fill(output))
    age(output, 3600)
    with pytest.raises(UsageError, match=r"other settings \(model\).*`overwrite=True`"):
        Journal(output, SETTINGS | {"model": "hybrid"})
    # Nothing is lost by asking, and who means it can have it.
    found = Journal(output, SETTINGS)
    assert found.frames == 8
    drop(found)
    found = Journal(output, SETTINGS | {"model": "hybrid"}, overwrite=True)
    assert found.frames == 0
    drop(found)


def test_another_encoder_does_not_go_on(tmp_path):
    drop(fill(tmp_path / "out.mp4"))
    found = Journal(tmp_path / "out.mp4", SETTINGS)
    with pytest.raises(UsageError, match="another version of the encoder"):
        found.describe(tmp_path / ".part", b"other")
    drop(found)
    assert kept(tmp_path / "out.mp4") == 8


def test_one_process_at_a_time(tmp_path):
    journal = fill(tmp_path / "out.mp4")
    with pytest.raises(OutputError, match="another process"):
        Journal(tmp_path / "out.mp4", SETTINGS)
    drop(journal)
    assert kept(tmp_path / "out.mp4") == 8


def test_it_stays_where_it_is_worth_it(tmp_path):
    output = tmp_path / "out.mp4"
    assert not fill(output).suspend()
    assert not journal_path(output).exists()
    drop(fill(output))
    age(output, 61)
    assert Journal(output, SETTINGS).suspend()
    assert journal_path(output).exists()


def test_a_full_disk_costs_no_work(tmp_path, monkeypatch):
    output = tmp_path / "out.mp4"
    drop(fill(output))
    age(output, 3600)
    found = Journal(output, SETTINGS)
    found.describe(output.with_name(".part"), b"stream")
    monkeypatch.setattr(module, "_SYNC_INTERVAL", 0.0)
    monkeypatch.setattr(journal_file, "_MIN_FREE_SPACE", 1 << 60)
    found.add_packet(b"x", 8, None, 1, True)
    found.add_packet(b"x", 9, None, 1, True)
    assert any("disk" in note for note in found.notes)
    assert found.suspend()
    assert 8 <= kept(output) <= 9
    # A minute's work is not worth the room.
    journal = fill(tmp_path / "other.mp4")
    journal.add_packet(b"x", 8, None, 1, True)
    assert not journal_path(tmp_path / "other.mp4").exists()
    assert not journal.suspend()


@pytest.mark.parametrize("name", ["../precious.txt", "/tmp/precious", None, "precious.txt", 7, ".precious.part.txt"])
def test_only_what_is_ours_is_removed(tmp_path, name):
    (tmp_path / "here").mkdir()
    output = tmp_path / "here" / "out.mp4"
    for place in (tmp_path, tmp_path / "here"):
        for precious in ("precious.txt", "None", ".precious.part.txt"):
            (place / precious).write_text("precious")
    drop(fill(output))
    age(output, 0.0, temporary=name)
    drop(Journal(output, SETTINGS | {"model": "hybrid"}))
    assert (
        sum(
            path.read_text() == "precious"
            for path in tmp_path.rglob("*")
            if "journal" not in path.name and path.is_file()
        )
        == 6
    )
    # And what is ours is.
    drop(fill(output))
    mine = output.with_name(".out.123456789.part.mp4")
    mine.write_text("half")
    age(output, 0.0, temporary=mine.name)
    drop(Journal(output, SETTINGS))
    assert not mine.exists()


def test_links_are_not_followed(tmp_path):
    (tmp_path / "precious.txt").write_text("precious")
    journal_path(tmp_path / "out.mp4").symlink_to(tmp_path / "precious.txt")
    with pytest.raises(OutputError):
        Journal(tmp_path / "out.mp4", SETTINGS)
    assert (tmp_path / "precious.txt").read_text() == "precious"


def test_who_waited_for_one_that_was_finished_begins_a_new_one(tmp_path, monkeypatch):
    output = tmp_path / "out.mp4"
    first = fill(output)
    lock = journal_file._try_lock

    def late(file):
        # The first is finished between the opening and the lock.
        first.discard()
        return lock(file)

    monkeypatch.setattr(journal_file, "_try_lock", late)
    second = Journal(output, SETTINGS)
    assert second.frames == 0
    assert journal_path(output).exists()
    second.discard()
    assert not journal_path(output).exists()


def test_settings_that_do_not_fit_are_said_and_leave_nothing(tmp_path):
    with pytest.raises(UsageError, match="cannot hold settings"):
        Journal(tmp_path / "out.mp4", {"source": "x" * 20_000})
    assert not journal_path(tmp_path / "out.mp4").exists()

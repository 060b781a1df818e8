"""The journal: what it keeps after an interruption, and which runs may use it."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from betwixt.errors import OutputError, UsageError
from betwixt.media import journal as module
from betwixt.media import journal_file
from betwixt.media.encoded_video import EncodedPacket
from betwixt.media.journal import Journal, journal_path

SETTINGS = {"source": ["in.mkv", 1], "model": "dis", "quality": None}

# The order in which an encoder with B frames returns its packets.
ORDER = [0, 3, 1, 2, 6, 4, 5, 7]


def fill(output: Path, order: list[int] = ORDER, **changes: object) -> Journal:
    journal = Journal(output, SETTINGS | changes)
    journal.describe(output.with_name(".part"), b"stream")
    for n, number in enumerate(order):
        journal.add_packet(EncodedPacket(bytes([number]) * (20 + number), number, n - 2, 1, number == 0))
    return journal


def crash(journal: Journal) -> None:
    """Close it as the system does when a process dies."""
    journal._close()


def count_frames(output: Path) -> int:
    """Number of frames that a journal holds."""
    journal = Journal(output, SETTINGS)
    crash(journal)
    return journal.frames


def set_work(output: Path, seconds: float, **changes: object) -> None:
    """Change the amount of work, and other entries, in a journal's header."""
    path = journal_path(output)
    with path.open("r+b") as file:
        head = json.loads(file.read(16 << 10)) | {"worked": seconds} | changes
        file.seek(0)
        file.write(json.dumps(head).encode().ljust((16 << 10) - 1) + b"\n")


def test_packets_are_read_back_as_they_were_added(tmp_path):
    crash(fill(tmp_path / "out.mp4"))
    journal = Journal(tmp_path / "out.mp4", SETTINGS)
    assert journal.frames == 8
    for n, (packet, number) in enumerate(zip(journal.packets(), ORDER, strict=True)):
        assert packet.data == bytes([number]) * (20 + number)
        assert (packet.number, packet.dts, packet.duration, packet.key) == (number, n - 2, 1, number == 0)
    journal.discard()
    assert not journal_path(tmp_path / "out.mp4").exists()


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(0, 600), flip=st.booleans())
def test_a_truncated_or_damaged_journal_gives_frames_without_a_gap(tmp_path_factory, cut, flip):
    output = tmp_path_factory.mktemp("journal") / "out.mp4"
    crash(fill(output))
    data = bytearray(journal_path(output).read_bytes())
    place = (16 << 10) + cut % (len(data) - (16 << 10))
    if flip:
        data[place] ^= 0x55
    else:
        del data[place:]
    journal_path(output).write_bytes(data)
    journal = Journal(output, SETTINGS)
    # The numbers of packets after which no frame is missing.
    assert journal.frames in (0, 1, 4, 7, 8)
    numbers = [packet.number for packet in journal.packets()]
    assert sorted(numbers) == list(range(journal.frames))
    # New packets follow those that are kept.
    journal.describe(output.with_name(".part"), b"stream")
    journal.add_packet(EncodedPacket(b"more", journal.frames, None, 1, True))
    crash(journal)
    again = Journal(output, SETTINGS)
    assert again.frames == journal.frames + 1
    assert [packet.data for packet in again.packets()][-1] == b"more"
    crash(again)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"null", b'{"format": 1}', bytes(range(256)) * 80],
    ids=["empty", "cut off", "null", "incomplete", "binary"],
)
def test_other_content_is_not_a_journal(tmp_path, content):
    journal_path(tmp_path / "out.mp4").write_bytes(content)
    journal = Journal(tmp_path / "out.mp4", SETTINGS)
    assert journal.frames == 0
    crash(journal)


def test_little_work_of_other_settings_is_discarded_and_much_is_not(tmp_path):
    output = tmp_path / "out.mp4"
    crash(fill(output))
    journal = Journal(output, SETTINGS | {"model": "hybrid"})
    assert journal.frames == 0
    assert "other settings (model)" in journal.notes[0]
    crash(journal)
    crash(fill(output))
    set_work(output, 3600)
    with pytest.raises(UsageError, match=r"other settings \(model\).*`overwrite=True`"):
        Journal(output, SETTINGS | {"model": "hybrid"})
    # The refusal costs nothing, and `overwrite` forces it.
    journal = Journal(output, SETTINGS)
    assert journal.frames == 8
    crash(journal)
    journal = Journal(output, SETTINGS | {"model": "hybrid"}, overwrite=True)
    assert journal.frames == 0
    crash(journal)


def test_another_encoder_cannot_continue(tmp_path):
    crash(fill(tmp_path / "out.mp4"))
    journal = Journal(tmp_path / "out.mp4", SETTINGS)
    with pytest.raises(UsageError, match="another version of the encoder"):
        journal.describe(tmp_path / ".part", b"other")
    crash(journal)
    assert count_frames(tmp_path / "out.mp4") == 8


def test_only_one_process_can_hold_it(tmp_path):
    journal = fill(tmp_path / "out.mp4")
    with pytest.raises(OutputError, match="another process"):
        Journal(tmp_path / "out.mp4", SETTINGS)
    crash(journal)
    assert count_frames(tmp_path / "out.mp4") == 8


def test_it_is_kept_after_a_minute_of_work(tmp_path):
    output = tmp_path / "out.mp4"
    assert not fill(output).suspend()
    assert not journal_path(output).exists()
    crash(fill(output))
    set_work(output, 61)
    assert Journal(output, SETTINGS).suspend()
    assert journal_path(output).exists()


def test_a_full_disk_ends_the_journal_and_keeps_its_first_part(tmp_path, monkeypatch):
    output = tmp_path / "out.mp4"
    crash(fill(output))
    set_work(output, 3600)
    journal = Journal(output, SETTINGS)
    journal.describe(output.with_name(".part"), b"stream")
    monkeypatch.setattr(module, "_SYNC_INTERVAL", 0.0)
    monkeypatch.setattr(journal_file, "_MIN_FREE_SPACE", 1 << 60)
    journal.add_packet(EncodedPacket(b"x", 8, None, 1, True))
    journal.add_packet(EncodedPacket(b"x", 9, None, 1, True))
    assert any("disk" in note for note in journal.notes)
    assert journal.suspend()
    assert 8 <= count_frames(output) <= 9
    # Less than a minute of work leaves the room to the output.
    journal = fill(tmp_path / "other.mp4")
    journal.add_packet(EncodedPacket(b"x", 8, None, 1, True))
    assert not journal_path(tmp_path / "other.mp4").exists()
    assert not journal.suspend()


@pytest.mark.parametrize("name", ["../precious.txt", "/tmp/precious", None, "precious.txt", 7, ".precious.part.txt"])
def test_only_files_named_as_temporary_are_removed(tmp_path, name):
    (tmp_path / "here").mkdir()
    output = tmp_path / "here" / "out.mp4"
    for place in (tmp_path, tmp_path / "here"):
        for precious in ("precious.txt", "None", ".precious.part.txt"):
            (place / precious).write_text("precious")
    crash(fill(output))
    set_work(output, 0.0, temporary=name)
    crash(Journal(output, SETTINGS | {"model": "hybrid"}))
    assert (
        sum(
            path.read_text() == "precious"
            for path in tmp_path.rglob("*")
            if "journal" not in path.name and path.is_file()
        )
        == 6
    )
    # A file that is named as a temporary one is removed.
    crash(fill(output))
    mine = output.with_name(".out.123456789.part.mp4")
    mine.write_text("half")
    set_work(output, 0.0, temporary=mine.name)
    crash(Journal(output, SETTINGS))
    assert not mine.exists()


def test_links_are_not_followed(tmp_path):
    (tmp_path / "precious.txt").write_text("precious")
    journal_path(tmp_path / "out.mp4").symlink_to(tmp_path / "precious.txt")
    with pytest.raises(OutputError):
        Journal(tmp_path / "out.mp4", SETTINGS)
    assert (tmp_path / "precious.txt").read_text() == "precious"


def test_a_journal_removed_between_opening_and_locking_is_made_again(tmp_path, monkeypatch):
    output = tmp_path / "out.mp4"
    first = fill(output)
    lock = journal_file.try_lock

    def lock_late(file):
        # The first run finishes between the two steps.
        first.discard()
        return lock(file)

    monkeypatch.setattr(journal_file, "try_lock", lock_late)
    second = Journal(output, SETTINGS)
    assert second.frames == 0
    assert journal_path(output).exists()
    second.discard()
    assert not journal_path(output).exists()


def test_settings_that_do_not_fit_are_refused_and_leave_no_file(tmp_path):
    with pytest.raises(UsageError, match="cannot hold settings"):
        Journal(tmp_path / "out.mp4", {"source": "x" * 20_000})
    assert not journal_path(tmp_path / "out.mp4").exists()

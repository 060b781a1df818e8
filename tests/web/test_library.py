"""What the page may read, and what it keeps."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from betwixt.errors import InputError
from betwixt.web.library import Library, Limits, safe_name


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    (folder / "holiday").mkdir(parents=True)
    (folder / "holiday" / "beach.mp4").write_bytes(b"beach")
    (folder / "city.mkv").write_bytes(b"city")
    (folder / "notes.txt").write_bytes(b"not a video")
    (tmp_path / "secret.mp4").write_bytes(b"secret")
    return folder


@pytest.fixture
def library(tmp_path: Path, folder: Path) -> Library:
    return Library(tmp_path / "work", folder, Limits(file_bytes=1000, total_bytes=2000, count=3, days=1))


def upload(library: Library, name: str, content: bytes = b"content") -> str:
    received = library.received / "received.bin"
    received.write_bytes(content)
    return library.add_upload(received, name).id


def test_uploads_come_before_the_videos_of_the_folder(library: Library) -> None:
    upload(library, "mine.mp4")
    assert [file.name for file in library.files()] == ["mine.mp4", "city.mkv", "holiday/beach.mp4"]


def test_an_id_leads_to_the_file(library: Library, folder: Path) -> None:
    ids = {file.name: file.id for file in library.files()}
    assert library.resolve(ids["holiday/beach.mp4"]) == folder / "holiday" / "beach.mp4"
    assert library.resolve(upload(library, "mine.mp4", b"mine")).read_bytes() == b"mine"


@pytest.mark.parametrize(
    "id_", ["", None, ".", "..", "../../secret.mp4", "/etc/passwd", "folder-", "city.mkv", "%00", "city.mkv\0"]
)
def test_nothing_but_a_known_id_leads_anywhere(library: Library, id_: str | None) -> None:
    with pytest.raises(InputError, match="not there any more"):
        library.resolve(id_)


def test_links_that_leave_the_folder_are_neither_listed_nor_followed(library: Library, folder: Path) -> None:
    (folder / "inside.mp4").symlink_to(folder / "city.mkv")
    before = {file.name: file.id for file in library.files()}
    assert "inside.mp4" in before
    (folder / "link.mp4").symlink_to(folder.parent / "secret.mp4")
    (folder / "up").symlink_to(folder.parent)
    assert {file.name for file in library.files()} == set(before)
    # A file that becomes a link after it was listed is not followed, either.
    (folder / "city.mkv").unlink()
    (folder / "city.mkv").symlink_to(folder.parent / "secret.mp4")
    with pytest.raises(InputError):
        library.resolve(before["city.mkv"])


@pytest.mark.parametrize("content", [b"#EXTM3U\n/etc/passwd", b"\n ffconcat version 1.0", b"<?xml?><MPD>", b"v=0\no="])
def test_playlists_are_refused(library: Library, content: bytes) -> None:
    with pytest.raises(InputError, match="list of other files"):
        upload(library, "video.mp4", content)


def test_only_what_was_received_is_taken(library: Library, folder: Path) -> None:
    with pytest.raises(InputError, match="was not uploaded"):
        library.add_upload(folder / "city.mkv", "city.mkv")
    assert (folder / "city.mkv").exists()


def test_uploads_are_limited_in_size_and_number(library: Library) -> None:
    with pytest.raises(InputError, match="larger than"):
        upload(library, "large.mp4", bytes(1001))
    first, second = upload(library, "1.mp4", bytes(900)), upload(library, "2.mp4", bytes(900))
    with pytest.raises(InputError, match="together"):
        upload(library, "3.mp4", bytes(900))
    upload(library, "3.mp4", bytes(10))
    os.utime(library.resolve(first).parent, (0, 0))
    fourth = upload(library, "4.mp4", bytes(10))
    assert {file.id for file in library.files() if file.uploaded} >= {second, fourth}
    with pytest.raises(InputError):
        library.resolve(first)  # the oldest made room


def test_uploads_expire_unless_a_job_needs_them(library: Library) -> None:
    old, needed, new = (upload(library, f"{name}.mp4") for name in ("old", "needed", "new"))
    for id_ in (old, needed):
        os.utime(library.resolve(id_).parent, (time.time() - 100_000,) * 2)
    library.remove_expired(frozenset({needed}))
    assert {file.id for file in library.files() if file.uploaded} == {needed, new}


def test_what_was_received_but_never_added_is_removed_after_an_hour(library: Library) -> None:
    for name in ("old", "new"):
        (library.received / name).mkdir()
        (library.received / name / "clip.mp4").touch()
    os.utime(library.received / "old", (time.time() - 4000,) * 2)
    library.remove_expired()
    assert [path.name for path in library.received.iterdir()] == ["new"]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("clip.mp4", "clip.mp4"),
        ("../../etc/passwd", "passwd"),
        ("C:\\videos\\clip.mp4", "clip.mp4"),
        ("été à la mer.mov", "été à la mer.mov"),
        ("evil\u202e4pm.exe", "evil4pm.exe"),
        ("a\0b%00c\n.mp4", "ab%00c.mp4"),
        ('"><img src=x>.mp4', "img src=x.mp4"),
        ("--output=x.mp4", "output=x.mp4"),
        ("...", "video"),
        ("", "video"),
        ("a" * 300 + ".mp4", "a" * 116 + ".mp4"),
    ],
)
def test_names_keep_their_letters_and_nothing_harmful(given: str, kept: str) -> None:
    assert safe_name(given) == kept

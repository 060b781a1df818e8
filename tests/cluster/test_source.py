"""Workers find the source frames of a piece by their samples, and read only the parts of a file that they need."""

import io
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from betwixt.cluster.source import BLOCK, BlockServer, FrameFinder, RemoteFile, SourceFile, frame_digest
from betwixt.errors import InputError
from betwixt.media.reader import Frame, Reader
from betwixt.media.source import open_source
from clips import frames_equal, make_clip, read_frames


def remote(path: Path) -> RemoteFile:
    server = BlockServer(str(path))

    def request(block: int) -> Callable[[], bytes]:
        return lambda: server.read(block)

    return RemoteFile(request, path.stat().st_size)


def finder(source: Any) -> FrameFinder:
    def open_at(start: Fraction | None, by_clock: bool) -> Any:
        if isinstance(source, RemoteFile):
            source.seek(0)
        return open_source(source, start=start, by_clock=by_clock)

    return FrameFinder(open_at)


@pytest.mark.parametrize("name", ["in.mkv", "in.mp4", "in.avi", "in.ts", "in.m2v"])
@pytest.mark.parametrize("shipped", [False, True])
def test_frames_are_found_by_their_samples(tmp_path, name, shipped):
    codec = {"in.m2v": "mpeg2video", "in.avi": "mpeg4"}.get(name, "libx264")
    options = {"g": "12"} if codec != "libx264" else {"g": "12", "bf": "2", "x264-params": "open-gop=1"}
    path = make_clip(tmp_path / name, frames=100, codec=codec, options=options)
    frames = read_frames(path)
    found = finder(remote(path) if shipped else path)
    # In order, back, once more, and on from there.
    for first, count in ((40, 9), (45, 20), (10, 5), (10, 5), (14, 86)):
        wanted = frames[first : first + count]
        start, length = wanted[0].time - frames[0].time, wanted[-1].time - wanted[0].time
        videos = list(found.find([frame_digest(f.video) for f in wanted], start, length))
        assert all(frames_equal(a.video, b) for a, b in zip(wanted, videos, strict=True))
    found.close()


def test_a_wrong_place_costs_time_only(tmp_path):
    path = make_clip(tmp_path / "in.mkv", frames=60)
    frames = read_frames(path)
    found = finder(path)
    videos = list(found.find([frame_digest(f.video) for f in frames[5:9]], Fraction(2), Fraction(0)))
    assert all(frames_equal(a.video, b) for a, b in zip(frames[5:9], videos, strict=True))
    with pytest.raises(InputError, match="other samples"):
        list(found.find([frame_digest(frames[5].video), 1], Fraction(0), Fraction(0)))
    found.close()


def test_of_a_remote_file_only_parts_are_read(tmp_path):
    path = make_clip(tmp_path / "in.mkv", frames=400, size=(320, 192), options={"g": "1"}, still=True)
    assert path.stat().st_size > 16 * BLOCK
    file = remote(path)
    received = []
    for start in (12, 15):
        file.seek(0)
        with Reader(file, start=Fraction(start)) as reader:
            assert next(item.time for item in reader if isinstance(item, Frame)) == start
        received.append(file.received)
    # Beside the beginning and the index, which every reader needs and which are kept, only what it is about.
    assert received[0] < path.stat().st_size
    assert received[1] - received[0] < 5 * BLOCK
    file.seek(3)
    assert file.read(5) == path.read_bytes()[3:8]
    file.seek(-2, io.SEEK_END)
    assert file.read() == path.read_bytes()[-2:]


def test_in_a_transport_stream_frames_are_found_by_the_clock_and_where_that_jumps_without_it(tmp_path):
    options = {"g": "10", "bf": "2"}
    path = make_clip(tmp_path / "in.ts", frames=300, rate=5, codec="libx264", options=options)
    joined = tmp_path / "joined.ts"
    other = make_clip(tmp_path / "other.ts", frames=300, rate=5, codec="libx264", options=options, cuts=(1,))
    joined.write_bytes(path.read_bytes() + other.read_bytes())
    for source, number in ((path, 275), (joined, 575)):
        opened: list[bool] = []

        def open_at(start: Fraction | None, by_clock: bool, source: Path = source) -> Any:
            opened.append(by_clock)  # noqa: B023
            return open_source(source, start=start, by_clock=by_clock)

        frames = read_frames(source)
        wanted = frames[number : number + 5]
        found = FrameFinder(open_at)
        start = wanted[0].time - frames[0].time
        videos = list(found.find([frame_digest(f.video) for f in wanted], start, Fraction(1)))
        assert all(frames_equal(a.video, b) for a, b in zip(wanted, videos, strict=True))
        assert opened == [True] or source == joined
        found.close()


def test_another_file_of_that_name_is_not_the_source(tmp_path):
    path = make_clip(tmp_path / "in.mkv")
    source = SourceFile.of(str(path))
    assert source.is_seen()
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert not source.is_seen()
    path.unlink()
    assert not source.is_seen()

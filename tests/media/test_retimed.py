"""The rate of a bare stream is its own, and `input_fps` overrides the rate of any video."""

from fractions import Fraction

import av
import pytest

import betwixt
from betwixt.errors import UsageError
from betwixt.media.reader import Frame, Reader, StreamPacket
from betwixt.media.retimed import RetimedReader
from clips import frames_equal, make_clip, read_frames

NTSC = Fraction(24000, 1001)


@pytest.mark.parametrize(
    ("name", "codec", "rate"),
    [
        ("a.h264", "libx264", Fraction(60)),
        ("a.h264", "libx264", NTSC),
        ("a.hevc", "libx265", NTSC),
        ("a.m2v", "mpeg2video", Fraction(30000, 1001)),
        ("a.m1v", "mpeg1video", Fraction(30)),
    ],
)
def test_a_bare_stream_has_the_rate_that_it_states(tmp_path, name, codec, rate):
    source = make_clip(tmp_path / name, frames=20, rate=rate, codec=codec)
    frames = read_frames(source)
    assert [frame.time - frames[0].time for frame in frames] == [n / rate for n in range(20)]
    with Reader(source) as reader:
        assert (reader.info.rate, reader.info.variable, reader.info.duration) == (rate, False, None)
        assert not reader.notes


def test_a_stream_that_states_no_rate_gets_an_assumed_one_with_a_note(tmp_path):
    source = make_clip(tmp_path / "a.mjpeg", rate=50, codec="mjpeg", pixel_format="yuvj420p")
    with Reader(source) as reader:
        assert reader.info.rate == 25
        assert "25 is assumed. `input_fps` sets another" in reader.notes[0]
    summary = betwixt.interpolate_video(source, tmp_path / "out.mkv", input_fps=50, model="dis")
    assert (summary.rate, summary.frames_out) == (100, 24)
    assert not any("assumed" in note for note in summary.notes)


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".avi", ".ts"])
def test_frames_come_evenly_spaced_at_the_given_rate(tmp_path, suffix):
    times = [Fraction(n, 1000) for n in (0, 40, 73, 123, 156, 276, 316, 349, 400, 410)]
    timed = {} if suffix == ".avi" else {"times": times, "tick": Fraction(1, 1000)}
    source = make_clip(tmp_path / f"in{suffix}", frames=10, codec="mpeg4", **timed)
    plain = read_frames(source)
    with RetimedReader(source, Fraction(50)) as reader:
        frames = [item for item in reader if isinstance(item, Frame)]
        assert (reader.info.rate, reader.info.variable) == (50, False)
        assert [f.time - reader.info.start for f in frames] == [Fraction(n, 50) for n in range(10)]
        assert all(f.duration == Fraction(1, 50) for f in frames)
        assert all(frames_equal(a.video, b.video) for a, b in zip(plain, frames, strict=True))
    # From the last frame at or before the start to the first at or after the end.
    with RetimedReader(source, Fraction(50), start=Fraction(5, 100), end=Fraction(11, 100)) as reader:
        assert [item.index for item in reader if isinstance(item, Frame)] == [2, 3, 4, 5, 6]


def last_times(path):
    """When the last frame and the last packet of sound end, in seconds."""
    ends = {"video": Fraction(0), "audio": Fraction(0)}
    with av.open(str(path)) as container:
        for packet in container.demux():
            if packet.pts is not None:
                end = (packet.pts + (packet.duration or 0)) * packet.time_base
                ends[packet.stream.type] = max(ends[packet.stream.type], end)
    return float(ends["video"]), float(ends["audio"])


def test_sound_keeps_step_with_the_frames(tmp_path):
    source = make_clip(tmp_path / "in.mkv", frames=50, audio=True)
    summary = betwixt.interpolate_video(source, tmp_path / "out.mkv", input_fps=40, factor=1, model="dis", codec="ffv1")
    assert any("60 % faster, and so does the sound" in note for note in summary.notes)
    assert last_times(tmp_path / "out.mkv") == pytest.approx((1.25, 1.25), abs=0.06)
    betwixt.interpolate_video(
        source, tmp_path / "copy.mkv", input_fps=40, factor=1, model="dis", codec="ffv1", audio="copy"
    )
    assert last_times(tmp_path / "copy.mkv") == pytest.approx((1.25, 2.0), abs=0.06)
    part = {"input_fps": 40, "factor": 1, "model": "dis", "codec": "ffv1", "start": 0.5, "end": 1}
    betwixt.interpolate_video(source, tmp_path / "part.mkv", **part)
    assert last_times(tmp_path / "part.mkv") == pytest.approx((0.5, 0.5), abs=0.06)
    with pytest.raises(UsageError, match="cannot be copied into slow motion"):
        betwixt.plan_video(source, tmp_path / "x.mkv", input_fps=40, slow=2, model="dis", audio="copy")


def test_sound_that_fits_the_given_rate_is_copied(tmp_path):
    clip = make_clip(tmp_path / "in.mkv", frames=50, audio=True)
    # The same packets, but the frames are stored at half their rate.
    source = tmp_path / "wrong.mkv"
    with av.open(str(clip)) as original, av.open(str(source), "w") as out:
        copies = {s.index: out.add_stream_from_template(s) for s in original.streams}
        packets = [packet for packet in original.demux() if packet.dts is not None]
        for packet in packets:
            if packet.stream.type == "video":
                packet.pts, packet.dts, packet.duration = 2 * packet.pts, 2 * packet.dts, 2 * packet.duration
            packet.stream = copies[packet.stream.index]
        out.mux(packets)
    summary = betwixt.interpolate_video(source, tmp_path / "out.mkv", input_fps=25, factor=1, model="dis", codec="ffv1")
    assert any("as long as the sound, which is copied" in note for note in summary.notes)
    assert last_times(tmp_path / "out.mkv") == pytest.approx((2.0, 2.0), abs=0.06)


def test_streams_can_be_read_without_an_end(tmp_path):
    source = make_clip(tmp_path / "in.mkv", frames=10, audio=True)
    with RetimedReader(source, Fraction(25)) as reader:
        kinds = {type(item) for item in reader}
    assert kinds == {Frame, StreamPacket}


def test_a_rate_beyond_reason_has_to_be_confirmed(tmp_path):
    source = make_clip(tmp_path / "in.mp4", frames=6, rate=600, codec="libx264")
    with pytest.raises(UsageError, match=r"states 600 frames per second: choose the output's rate with `fps`"):
        betwixt.plan_video(source, tmp_path / "out.mp4", model="dis")
    assert betwixt.plan_video(source, tmp_path / "out.mp4", model="dis", fps=60).rates.output == 60
    assert betwixt.plan_video(source, tmp_path / "out.mp4", model="dis", input_fps=30).rates.output == 60

"""Reading videos as they are: parts from any time, incomplete beginnings, joined files, missing frames and times."""

import contextlib
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import av.filter
import numpy as np
import pytest

import betwixt
from betwixt.cli.main import run
from betwixt.errors import InputError, UsageError
from betwixt.media import preview
from betwixt.media.frames import planes
from betwixt.media.interlacing import Deinterlacer
from betwixt.media.reader import Frame, Reader, StreamPacket
from betwixt.pipeline.inspect import inspect_video
from clips import frames_equal, join_streams, make_clip, make_interlaced_clip, read_frames

CODECS = {
    "avi": "mpeg4", "ts": "libx264", "mpg": "mpeg2video", "mkv": "libx264", "mp4": "libx264", "nut": "mpeg4",
    "flv": "flv", "webm": "libvpx",
}  # fmt: skip


def _read(path, **options):
    """The frames of a video, and when each packet of sound begins, in seconds on the video's clock."""
    with Reader(path, **options) as reader:
        items = list(reader)
        frames = [item for item in items if isinstance(item, Frame)]
        sound = [i.time for i in items if isinstance(i, StreamPacket) and i.packet.stream.type == "audio"]
        return reader, frames, sound


def _look(frame):
    """A picture as something that can be compared: its mean luma in 24 parts."""
    luma = planes(frame.video)[0].astype(np.float64)
    return luma.reshape(4, luma.shape[0] // 4, 6, luma.shape[1] // 6).mean((1, 3))


def _same(a, b):
    return bool(np.abs(_look(a) - _look(b)).max() < 1e-6)


def _remux(source, target, change):
    """Copy packets; `change` edits one and says whether to keep it, given the number of its kind."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        streams = {s.index: new.add_stream_from_template(s) for s in old.streams}
        counts = dict.fromkeys(streams, 0)
        for packet in old.demux():
            if packet.dts is None and packet.pts is None:
                continue
            index = packet.stream.index
            counts[index] += 1
            if change(packet, counts[index] - 1):
                packet.stream = streams[index]
                new.mux(packet)
    return target


@pytest.mark.parametrize("suffix", CODECS)
@pytest.mark.parametrize("start", ["3.2", "2.99"])
def test_a_part_begins_with_the_frame_of_its_time(tmp_path, monkeypatch, suffix, start):
    monkeypatch.setattr(preview, "PEEK_PACKETS", 40)
    options = {"g": "20", "bf": "0" if suffix in ("flv", "avi") else "2"}
    options = {"g": "20"} if suffix == "webm" else options
    source = make_clip(
        tmp_path / f"in.{suffix}",
        frames=100,
        codec=CODECS[suffix],
        options=options,
        audio=suffix in ("ts", "mp4", "mkv"),
    )
    _, every, all_sound = _read(source)
    reader, frames, sound = _read(source, start=Fraction(start))
    first = reader.info.start + Fraction(start)
    wanted = [f for f in every if f.time > first - Fraction(1, 25)]
    assert [f.time for f in frames] == [f.time for f in wanted]
    assert all(_same(a, b) for a, b in zip(frames, wanted, strict=True))
    assert sound == [time for time in all_sound if time >= first]


def test_an_index_that_calls_every_frame_a_key_frame_is_not_trusted(tmp_path, monkeypatch):
    monkeypatch.setattr(preview, "PEEK_PACKETS", 40)
    source = make_clip(tmp_path / "in.avi", frames=100, codec="mpeg4", options={"g": "30", "bf": "0"})
    every = _read(source)[1]
    data = bytearray(source.read_bytes())
    index = data.index(b"idx1")
    for entry in range(index + 8, index + 8 + int.from_bytes(data[index + 4 : index + 8], "little"), 16):
        data[entry + 4] |= 0x10
    source.write_bytes(data)
    frames = _read(source, start=Fraction("3.2"))[1]
    assert len(frames) == 20
    assert all(_same(a, b) for a, b in zip(frames, every[80:], strict=True))


@pytest.mark.parametrize("suffix", ["mkv", "ts"])
def test_a_beginning_that_cannot_be_decoded_is_held(tmp_path, suffix):
    whole = make_clip(tmp_path / "whole.ts", frames=60, codec="libx264", options={"g": "20", "bf": "0"}, audio=True)
    source = _remux(whole, tmp_path / f"in.{suffix}", lambda p, n: p.stream.type == "audio" or n >= 5)
    reader, frames, sound = _read(source)
    assert len(frames) == 40
    assert frames[0].time - reader.info.start == Fraction(15, 25)
    assert ["first 0.60 s" in note for note in reader.notes] == [True]
    target = tmp_path / "out.mkv"
    summary = betwixt.interpolate_video(source, target, factor=1, codec="ffv1", model="dis", scene_cuts="off")
    assert (summary.untouched, summary.held, summary.synthesized) == (40, 15, 0)
    _, made, made_sound = _read(target)
    assert _same(made[0], frames[0])
    assert _same(made[16], frames[1])
    assert abs((made[16].time - made_sound[0]) - (frames[1].time - sound[0])) < Fraction(1, 500)


def test_empty_packets_of_avi_repeat_the_frame_before(tmp_path):
    shown = [0, 1, 2, 5, 6, 7, 8, 9, 10, 14, 15, 16, 17, 18, 19]
    whole = make_clip(tmp_path / "whole.avi", frames=20, options={"g": "1"})
    source = _remux(whole, tmp_path / "in.avi", lambda p, n: n in shown)
    _, every, _ = _read(whole)
    reader, frames, _ = _read(source)
    assert reader.damage is None
    assert reader.notes == ["Empty packets repeat the frame before them, as in any player: 5."]
    assert [f.time for f in frames] == [Fraction(n, 25) for n in range(20)]
    assert [f.index for f in frames] == list(range(20))
    for frame in frames:
        last = max(n for n in shown if n <= frame.index)
        assert _same(frame, every[last])


def test_empty_packets_at_the_end_of_avi_are_no_damage(tmp_path):
    source = make_clip(tmp_path / "in.avi", frames=20)
    data = bytearray(source.read_bytes())
    header = data.index(b"strh")
    assert int.from_bytes(data[header + 40 : header + 44], "little") == 20
    data[header + 40 : header + 44] = (23).to_bytes(4, "little")
    source.write_bytes(data)
    reader, frames, _ = _read(source)
    assert (reader.damage, len(frames)) == (None, 23)
    source.write_bytes(data[: data.rindex(b"00dc", 0, data.index(b"idx1"))])
    assert "cut off" in _read(source)[0].damage


def _join(target, *sources):
    target.write_bytes(b"".join(Path(source).read_bytes() for source in sources))
    return target


# FFmpeg's muxer of MPEG-PS begins anew with each file.
@pytest.mark.parametrize(("suffix", "second"), [("ts", 0), ("ts", 20), ("ts", 40000), ("mpg", 0)])
def test_joined_recordings_follow_each_other(tmp_path, suffix, second):
    settings = {"frames": 50, "codec": CODECS[suffix], "options": {"g": "20", "bf": "2"}, "audio": suffix == "ts"}
    first = make_clip(tmp_path / f"a.{suffix}", **settings)
    other = make_clip(tmp_path / f"b.{suffix}", start=Fraction(second), audio_start=Fraction(second), **settings)
    source = _join(tmp_path / f"in.{suffix}", first, other)
    _, frames0, sound0 = _read(first)
    _, frames1, sound1 = _read(other)
    reader, frames, sound = _read(source)
    assert reader.damage is None
    assert [f.time - frames[0].time for f in frames] == [Fraction(n, 25) for n in range(100)]
    assert all(_same(a, b) for a, b in zip(frames, [*frames0, *frames1], strict=True))
    assert ["begins anew or jumps, first after 2.00 s" in note for note in reader.notes] == [True]
    if sound:
        assert sound == sorted(sound)
        for ours, theirs, pictures, part in ((sound[0], sound0[0], frames0, 0), (sound[-1], sound1[-1], frames1, 50)):
            assert abs((ours - frames[part].time) - (theirs - pictures[0].time)) < Fraction(1, 1000)
    # a part of the second recording
    _, part, _ = _read(source, start=Fraction("2.4"))
    assert [f.time for f in part] == [f.time for f in frames[60:]]


def test_a_recording_of_other_streams_that_follows_is_not_lost_in_silence(tmp_path):
    first = make_clip(tmp_path / "a.ts", frames=50, codec="libx264")
    other = make_clip(
        tmp_path / "b.ts", frames=50, codec="libx264", prepare=lambda out, stream: setattr(stream, "id", 700)
    )
    reader, frames, _ = _read(_join(tmp_path / "in.ts", first, other))
    assert len(frames) == 50
    assert ["of this video stream: if another recording follows" in note for note in reader.notes] == [True]


def test_info_tells_the_length_of_joined_recordings(tmp_path):
    first = make_clip(tmp_path / "a.ts", frames=50, codec="libx264")
    later = make_clip(tmp_path / "b.ts", frames=50, codec="libx264", start=Fraction(40000))
    findings = inspect_video(_join(tmp_path / "in.ts", first, later))
    assert (findings.frames, findings.info.frames, findings.info.duration) == (100, 100, 4)


def test_frames_of_equal_times_get_their_places(tmp_path):
    whole = make_clip(tmp_path / "whole.mkv", frames=24, codec="mjpeg", pixel_format="yuvj420p")

    def pair(packet, number):
        packet.pts = packet.dts = number // 2 * 80
        return True

    source = _remux(whole, tmp_path / "in.mkv", pair)
    reader, frames, _ = _read(source)
    assert reader.info.rate == 25
    assert [f.time for f in frames] == [Fraction(n, 25) for n in range(24)]
    assert reader.notes == ["Frames whose times were equal or went back got places of their own: 12."]


def test_of_several_video_streams_the_default_one_is_converted_or_the_chosen_one(tmp_path, capsys):
    small = make_clip(tmp_path / "small.mkv", frames=6)
    large = make_clip(tmp_path / "large.mkv", frames=8, size=(128, 96))
    source = join_streams(tmp_path / "in.mkv", small, large, default=1)
    target = tmp_path / "out.mkv"
    betwixt.interpolate_video(source, target, factor=1, codec="ffv1", model="dis")
    assert _read(target)[0].info.width == 128
    betwixt.interpolate_video(source, target, factor=1, codec="ffv1", model="dis", stream=0, overwrite=True)
    with av.open(str(target)) as container:
        sizes = [stream.width for stream in container.streams]
        packets = [packet.stream_index for packet in container.demux() if packet.size]
    assert sizes == [96, 128]
    assert [packets.count(0), packets.count(1)] == [6, 8]
    for k, frames in enumerate((read_frames(small), read_frames(large))):
        again = [f.video for f in _read(target, stream=k)[1]]
        assert all(frames_equal(a.video, b) for a, b in zip(frames, again, strict=True))
    with pytest.raises(UsageError, match=r"`stream=5` is not a video stream of .*; its video streams: 0, 1"):
        Reader(source, stream=5)
    assert run(["interpolate", str(source), str(tmp_path / "x.mkv"), "--stream", "7", "--model", "dis"]) == 2
    assert "--stream 7 is not a video stream" in capsys.readouterr().err


def test_a_still_picture_is_not_the_video(tmp_path):
    still = make_clip(tmp_path / "still.mp4", frames=1, codec="libx264", size=(128, 96))
    video = make_clip(tmp_path / "video.mp4", frames=8, codec="libx264")
    assert _read(join_streams(tmp_path / "in.mp4", still, video))[0].info.width == 96


@pytest.fixture
def partly_interlaced(tmp_path):
    """Two seconds of progressive frames, then two of interlaced ones: MPEG-TS begins one frame later without sound."""
    first = make_clip(tmp_path / "a.ts", frames=50, codec="mpeg2video", options={"bf": "0", "g": "12"})
    return _join(tmp_path / "in.ts", first, make_interlaced_clip(tmp_path / "b.ts", 50, first=51))


def test_interlaced_parts_are_refused_before_anything_is_written(partly_interlaced):
    with pytest.raises(InputError, match=r"is interlaced in parts, at about [2-3] s"):
        Reader(partly_interlaced)
    _, frames, _ = _read(partly_interlaced, end=Fraction("1.8"))
    assert len(frames) == 46
    notes = _read(partly_interlaced, interlaced="ignore")[0].notes
    assert ["becomes interlaced at 2.00 s" in note for note in notes] == [True]


def test_interlaced_parts_that_are_only_noticed_when_reached_end_the_conversion(partly_interlaced, tmp_path):
    with pytest.raises(InputError, match=r"becomes interlaced at 2.00 s: pass `interlaced=\"deinterlace\"`"):
        betwixt.interpolate_video(partly_interlaced, tmp_path / "out.mkv", start=1, model="dis", journal=False)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.ts", "b.ts", "in.ts"]


def test_interlaced_parts_become_fields_between_progressive_frames(partly_interlaced):
    reader, frames, _ = _read(partly_interlaced, interlaced="deinterlace")
    times = [f.time - frames[0].time for f in frames]
    assert times == [*(Fraction(n, 25) for n in range(50)), *(Fraction(n, 50) for n in range(100, 200))]
    assert ["becomes interlaced" in note for note in reader.notes] == [True]


_CLOSING = """
import logging, sys
import av.logging
from betwixt.media.reader import Reader

av.logging.set_level(av.logging.DEBUG)  # each line of a decoder's thread needs the interpreter
logging.getLogger("libav").setLevel(logging.CRITICAL)
for _ in range(10):
    with Reader(sys.argv[1], threads=8) as reader:
        for _ in zip(range(8), reader):
            pass
    del reader
"""


def test_closing_waits_for_the_threads_of_the_decoder(tmp_path):
    options = {"x265-params": "log-level=0:keyint=100"}
    clip = make_clip(tmp_path / "in.mkv", frames=20, codec="libx265", size=(960, 544), options=options)
    subprocess.run([sys.executable, "-c", _CLOSING, str(clip)], check=True, timeout=60)


def test_fields_keep_the_colour_description():
    frames = [av.VideoFrame(64, 64, "yuva444p12le") for _ in range(3)]
    for number, frame in enumerate(frames):
        frame.pts, frame.time_base, frame.colorspace, frame.color_primaries = number, Fraction(1, 25), 1, 9
    deinterlacer = Deinterlacer(frames[0], Fraction(1, 25), all_frames=True)
    fields = [field for frame in frames for field in deinterlacer.push(frame)]
    assert {(int(field.colorspace), int(field.color_primaries)) for field in fields} == {(1, 9)}


def test_damage_that_decoder_threads_log_prints_no_traceback(tmp_path, capfd):
    clip = make_clip(tmp_path / "in.mkv", frames=25)
    data = bytearray(clip.read_bytes())
    for position in range(2000, len(data) - 500, 97):
        data[position] ^= 0x55
    clip.write_bytes(data)
    for _ in range(5):
        with contextlib.suppress(InputError), Reader(clip):
            pass
    assert "Traceback" not in capfd.readouterr().err

"""What of an input gets into an output beside the video, in each container, and whether the warnings say so."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition

from betwixt.errors import OutputError
from betwixt.media.encoder_options import EncoderSettings
from betwixt.media.reader import Reader, StreamPacket
from betwixt.media.timeline import TimeMap
from betwixt.media.writer import VideoWriter
from clips import copy_packets, make_clip, paint

CONTAINERS = ["mp4", "mov", "mkv", "webm", "avi", "ts", "nut", "mxf", "flv", "ogv", "3gp"]


def remux(source: Path, target: Path, audio: str = "copy", scale: int = 1, rate: Fraction | None = None) -> VideoWriter:
    """Write the frames and streams of a video again, without a model; the writer that did it."""
    codec = {"mxf": "mpeg2", "webm": None, "ogv": None, "flv": None}.get(target.suffix[1:], "mpeg4")
    with Reader(source) as reader:
        start = (reader.info.start - reader.earliest_start) * scale
        writer = VideoWriter(
            target, reader.info, rate or reader.info.rate, start=start, settings=EncoderSettings(codec=codec)
        )
        with writer:
            writer.copy_streams(reader, TimeMap(reader.earliest_start, Fraction(scale)), audio)
            number = 0
            for item in reader:
                if isinstance(item, StreamPacket):
                    writer.copy(item)
                else:
                    writer.write(item.video, number)
                    number += 1
            writer.commit()
    return writer


def canonical(stream: Any) -> str | None:
    """The codec of a stream."""
    return None if stream.codec_context is None else stream.codec_context.codec.canonical_name


def is_cover(stream: Any) -> bool:
    return stream.type == "video" and bool(stream.disposition & Disposition.attached_pic)


def counts(path: Path) -> dict[str, int]:
    """The number of audio, subtitle, attachment and cover streams that a reader finds."""
    with av.open(str(path)) as container:
        found = [
            "cover" if is_cover(s) else s.type
            for s in container.streams
            if s.type in ("audio", "subtitle", "attachment") or is_cover(s)
        ]
    return {kind: found.count(kind) for kind in ("audio", "subtitle", "attachment", "cover")}


def picture(codec: str = "mjpeg") -> tuple[bytes, str]:
    """A small image, and its pixel format."""
    pixel_format = "yuvj420p" if codec == "mjpeg" else "rgb24"
    context: Any = av.CodecContext.create(codec, "w")
    context.width, context.height, context.pix_fmt, context.time_base = 32, 32, pixel_format, Fraction(1, 25)
    frame = av.VideoFrame(32, 32, pixel_format)
    for plane in frame.planes:
        plane.update(bytes(plane.buffer_size))
    return b"".join(bytes(p) for p in [*context.encode(frame), *context.encode(None)]), pixel_format


def noise(layout: str, rate: int, seconds: float, sample_format: str = "s16") -> Iterator[Any]:
    """Frames of audio: noise that fades in and out twice a second."""
    rng = np.random.default_rng(1)
    channels, done = av.AudioLayout(layout).nb_channels, 0
    while done < seconds * rate:
        level = 8000 * np.abs(np.sin(2 * np.pi * (done + np.arange(1024)) / rate))
        data = (level[:, None] * rng.uniform(-1, 1, (1024, channels))).astype(np.int16).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(data, format="s16", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, done, Fraction(1, rate)
        done += 1024
        yield frame


def with_audio(path: Path, encoder: str, rate: int = 16000, layout: str = "stereo", seconds: float = 0.5) -> Path:
    """A video with a stream of noise."""
    with av.open(str(path), "w") as out:
        video = out.add_stream("mpeg4", rate=25)
        video.width, video.height = 96, 64
        sound = out.add_stream(encoder, rate=rate, layout=layout, bit_rate=64000 if encoder == "wmav2" else 0)
        for index in range(round(25 * seconds)):
            out.mux(video.encode(paint(av.VideoFrame(96, 64, "yuv420p"), index)))
        out.mux(video.encode(None))
        for frame in noise(layout, rate, seconds):
            out.mux(sound.encode(frame))
        out.mux(sound.encode(None))
    return path


def heard(path: Path) -> tuple[str, float, int]:
    """The layout and the length in seconds of the first audio stream, and its number of channels."""
    with av.open(str(path)) as container:
        samples = sum(frame.samples for frame in container.decode(audio=0))
        sound = container.streams.audio[0]
        return sound.layout.name, samples / sound.rate, sound.channels


# -- warnings


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files with all that their containers hold: a Matroska file, an mp4 and a mov."""
    folder = tmp_path_factory.mktemp("rich")
    plain = make_clip(folder / "plain.mkv", frames=10, audio=True)
    (folder / "s.srt").write_text("1\n00:00:00,050 --> 00:00:00,200\nHello\n\n2\n00:00:00,250 --> 00:00:00,400\nYou\n")
    (folder / "c.jpg").write_bytes(picture()[0])
    rich = folder / "rich.mkv"
    with av.open(str(plain)) as a, av.open(str(folder / "s.srt")) as s, av.open(str(rich), "w") as out:
        video = out.add_stream_from_template(a.streams.video[0], opaque=True)
        sounds = [out.add_stream_from_template(a.streams.audio[0]) for _ in range(2)]
        text = out.add_stream_from_template(s.streams.subtitles[0])
        out.add_attachment("font.ttf", "application/x-truetype-font", b"not really a font")
        out.add_attachment("cover.jpg", "image/jpeg", picture()[0])
        video.metadata["title"] = "Main"
        sounds[0].metadata["language"], sounds[1].metadata["language"] = "eng", "deu"
        sounds[1].metadata["title"] = "Kommentar"
        sounds[1].disposition = Disposition.comment
        text.metadata["language"] = "fra"
        text.disposition = Disposition.forced
        out.metadata.update(title="A title", MY_TAG="mine", creation_time="2020-01-02T03:04:05.000000Z")
        base = Fraction(1, 1000)
        out.set_chapters(
            [
                {"id": 1, "start": 0, "end": 200, "time_base": base, "metadata": {"title": "One"}},
                {"id": 2, "start": 200, "end": 400, "time_base": base, "metadata": {"title": "Two"}},
            ]
        )
        copy_packets(plain, 0, video, out)
        for sound in sounds:
            copy_packets(plain, 1, sound, out)
        copy_packets(folder / "s.srt", 0, text, out)
    files = {"mkv": rich}
    for name, tags in (
        ("mp4", {"location": "+48.1000+011.5000/", "timecode": "10:00:00:05", "artist": "Me"}),
        ("mov", {"com.apple.quicktime.make": "Maker", "com.apple.quicktime.model": "Phone"}),
    ):
        files[name] = folder / f"rich.{name}"
        with av.open(str(plain)) as a, av.open(str(folder / "c.jpg")) as p:
            options = {"movflags": "use_metadata_tags"} if name == "mov" else {}
            with av.open(str(files[name]), "w", container_options=options) as out:
                video = out.add_stream("mpeg4", rate=25)
                video.width, video.height = 96, 64
                sound = out.add_stream_from_template(a.streams.audio[0]) if name == "mp4" else None
                cover = out.add_stream_from_template(p.streams.video[0], opaque=True) if name == "mp4" else None
                if cover is not None:
                    cover.disposition = Disposition.attached_pic
                out.metadata.update(tags)
                for index in range(10):
                    out.mux(video.encode(paint(av.VideoFrame(96, 64, "yuv420p"), index)))
                out.mux(video.encode(None))
                for packet in a.demux(a.streams.audio[0]):
                    if packet.dts is not None and sound is not None:
                        packet.stream = sound
                        out.mux(packet)
                for packet in p.demux() if cover is not None else ():
                    if packet.size:
                        packet.stream = cover
                        out.mux(packet)
    return files


ABOUT_THE_FILE = {
    "encoder", "major_brand", "minor_version", "compatible_brands", "timecode", "location-eng", "handler_name",
    "vendor_id", "duration",
}  # fmt: skip


def missing(source: dict[str, str], target: dict[str, str]) -> set[str]:
    """The tags of a file or stream that another one does not have."""
    names = {key.lower() for key, value in target.items() if value != "und"}
    wanted = {k for k, v in source.items() if k.lower() not in ABOUT_THE_FILE and v != "und"}
    return {k for k in wanted if k.lower() not in names and source[k] not in target.values()}


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("kind", ["mkv", "mp4", "mov"])
def test_warnings_name_what_is_lost_and_nothing_else(rich, tmp_path, kind, container):
    source, target = rich[kind], tmp_path / f"out.{container}"
    writer = remux(source, target)
    before, after = counts(source), counts(target)
    named = {
        "audio": [x for x in writer.lost if x.startswith("audio ")],
        "subtitle": [x for x in writer.lost if x.startswith("subtitle ")],
        "attachment": [x for x in writer.lost if x.startswith("attachment ")],
        "cover": [x for x in writer.lost if x == "the cover picture"],
    }
    assert {k: len(v) for k, v in named.items()} == {k: before[k] - after[k] for k in before}
    with av.open(str(source)) as a, av.open(str(target)) as b:
        tags = dict(b.metadata)
        if container == "ogv":
            tags |= b.streams.video[0].metadata  # where Ogg has the tags of the file
        assert {x.removeprefix("tag ") for x in writer.lost if x.startswith("tag ")} == missing(a.metadata, tags)
        assert ("the chapters" in writer.lost) == (len(b.chapters()) < len(a.chapters()))
        assert any("timecode" in x for x in writer.lost) == (
            "timecode" in a.metadata | a.streams.video[0].metadata
            and "10:00:00:05" not in [*b.metadata.values(), *b.streams.video[0].metadata.values()]
        )
        for name in ("video", "audio", "subtitle"):
            kept = [s for s in b.streams if s.type == name and not is_cover(s)]
            for old, new in zip([s for s in a.streams if s.type == name and not is_cover(s)], kept, strict=False):
                lost = missing(old.metadata, new.metadata | (tags if container == "ogv" else {}))
                for tag in ("title",) if name == "video" else ("language", "title"):
                    says = any(x.startswith(f"the {tag} of {_named(old)}") for x in writer.lost)
                    assert says == (tag in lost), (name, tag, writer.lost)
                for mark in ("forced", "comment"):
                    gone = bool(old.disposition & ~new.disposition & Disposition[mark])
                    assert any(x.startswith(f'the mark "{mark}" of {_named(old)}') for x in writer.lost) == gone


def _named(stream: Any) -> str:
    """What messages call a stream."""
    language = stream.metadata.get("language")
    extra = f" ({language})" if language else ""
    return "the video" if stream.type == "video" else f"{stream.type} {canonical(stream)}{extra}"


def test_data_about_chapters_and_timecodes_is_not_called_lost(tmp_path):
    def chapters(out: Any, stream: Any) -> None:
        base = Fraction(1, 1000)
        out.set_chapters([{"id": 1, "start": 0, "end": 400, "time_base": base, "metadata": {"title": "One"}}])
        out.metadata["timecode"] = "01:00:00:00"

    source = make_clip(tmp_path / "in.mov", frames=10, codec="libx264", audio=True, prepare=chapters)
    with av.open(str(source)) as container:
        assert sum(s.type == "data" for s in container.streams) == 2
    for suffix in ("mov", "mp4", "mkv"):
        writer = remux(source, tmp_path / f"out.{suffix}")
        assert (writer.lost, writer.notes) == ([], [])


def test_tags_of_streams_in_capitals_are_their_tags(tmp_path):
    def tag(out: Any, stream: Any) -> None:
        stream.metadata.update(LANGUAGE="fra", TITLE="Main", CREATION_TIME="2020-01-02T03:04:05")
        out.metadata["creation_time"] = "2020-01-02T03:04:05.000000Z"

    source = make_clip(tmp_path / "in.nut", frames=3, prepare=tag)
    for suffix in ("mkv", "mp4"):
        assert remux(source, tmp_path / f"out.{suffix}").lost == []


def test_many_lost_tags_are_named_in_one_word(tmp_path):
    tags = {f"KEY_{number:02}": str(number) for number in range(20)}
    source = make_clip(tmp_path / "in.mkv", frames=3, prepare=lambda out, stream: out.metadata.update(tags))
    assert remux(source, tmp_path / "out.mp4").lost == ["20 tags (KEY_00, KEY_01, KEY_02 and others)"]


def test_data_is_kept_where_readers_find_it(tmp_path):
    source = tmp_path / "in.ts"
    klv = b"\x06\x0e+4\x02\x0b\x01\x01\x0e\x01\x03\x01\x01\x00\x00\x00\x05\x01\x02\x00\x01A"
    with av.open(str(source), "w") as out:
        video = out.add_stream("mpeg4", rate=25)
        video.width, video.height = 96, 64
        data = out.add_data_stream("klv")
        for index in range(10):
            out.mux(video.encode(paint(av.VideoFrame(96, 64, "yuv420p"), index)))
            packet = av.Packet(klv)
            packet.stream, packet.pts, packet.dts, packet.time_base = data, index, index, Fraction(1, 25)
            out.mux(packet)
        out.mux(video.encode(None))
    assert remux(source, tmp_path / "out.ts").lost == []
    with av.open(str(tmp_path / "out.ts")) as container:
        assert [bytes(p) for p in container.demux(container.streams.data[0]) if p.size] == 10 * [klv]
    assert remux(source, tmp_path / "out.mp4").lost == ["data klv"]


# -- cover pictures


@pytest.mark.parametrize("codec", ["mjpeg", "png"])
@pytest.mark.parametrize("path", [("mp4", "mkv", "mp4"), ("mkv", "mkv", "mkv"), ("mp4", "mp4", "mkv")])
def test_cover_pictures_stay_cover_pictures(tmp_path, codec, path):
    data, _ = picture(codec)
    suffix = "jpg" if codec == "mjpeg" else "png"
    mime = "image/jpeg" if codec == "mjpeg" else "image/png"
    source = make_clip(
        tmp_path / "in.mkv", frames=5, prepare=lambda out, stream: out.add_attachment(f"cover.{suffix}", mime, data)
    )
    for number, container in enumerate(path):
        target = tmp_path / f"{number}.{container}"
        assert remux(source, target).lost == []
        with av.open(str(target)) as found:
            (cover,) = [s for s in found.streams if is_cover(s)]
            (packet,) = [p for p in found.demux(cover) if p.size]
            assert (canonical(cover), bytes(packet)) == (codec, data)
            assert len(found.streams) == 2
        source = target


# -- timecodes


@pytest.mark.parametrize(
    ("rate", "timecode", "output_rate", "expected"),
    [
        (25, "01:00:00:12", 50, "01:00:00:24"),
        (Fraction(30000, 1001), "00:01:00;02", Fraction(60000, 1001), "00:01:00;04"),
        (Fraction(24000, 1001), "10:00:00:23", Fraction(24000, 1001), "10:00:00:23"),
        (Fraction(30000, 1001), "01:00:00;00", 60, "01:00:00:00"),
    ],
)
@pytest.mark.parametrize("suffix", ["mov", "mp4", "mkv"])
def test_timecodes_are_kept_at_the_new_rate(tmp_path, rate, timecode, output_rate, expected, suffix):
    source = make_clip(
        tmp_path / "in.mov", frames=5, rate=rate, codec="libx264",
        prepare=lambda out, stream: out.metadata.update(timecode=timecode),
    )  # fmt: skip
    writer = remux(source, tmp_path / f"out.{suffix}", rate=Fraction(output_rate))
    assert writer.lost == []
    with av.open(str(tmp_path / f"out.{suffix}")) as container:
        tags = {key.lower(): value for key, value in container.streams.video[0].metadata.items()}
        assert tags["timecode"] == expected


@pytest.mark.parametrize(
    ("suffix", "lost"), [("mov", []), ("mxf", ["reel name"]), ("mkv", []), ("avi", ["timecode", "reel name"])]
)
def test_the_reel_of_a_timecode_is_kept(tmp_path, suffix, lost):
    def prepare(out, stream):
        stream.metadata.update(timecode="10:00:00:05", reel_name="A001_C003")

    source = make_clip(tmp_path / "in.mov", frames=5, rate=25, codec="libx264", prepare=prepare)
    writer = remux(source, tmp_path / f"out.{suffix}", rate=Fraction(50))
    assert [any(f"the {what} " in text for text in writer.lost) for what in ("timecode", "reel name")] == [
        what in lost for what in ("timecode", "reel name")
    ]
    with av.open(str(tmp_path / f"out.{suffix}")) as container:
        tags = dict(container.metadata)
        for stream in container.streams:
            tags |= {key.lower(): value for key, value in stream.metadata.items()}
    if not lost:
        assert (tags["timecode"], tags["reel_name"]) == ("10:00:00:10", "A001_C003")


# -- sound


@pytest.mark.parametrize(
    ("source", "encoder", "layout", "rate"),
    [
        ("avi", "pcm_s16le", "stereo", 16000),
        ("mkv", "pcm_s16le", "5.1", 16000),
        ("avi", "pcm_mulaw", "mono", 8000),
        ("avi", "pcm_alaw", "stereo", 8000),
        ("avi", "adpcm_ms", "mono", 22050),
        ("asf", "wmav2", "stereo", 44100),
        ("nut", "pcm_s16le_planar", "stereo", 16000),
        ("mkv", "eac3", "5.1(side)", 48000),
        ("mkv", "flac", "2.1", 16000),
        ("mkv", "flac", "4.0", 16000),
        ("mkv", "flac", "7.1", 16000),
        ("mkv", "flac", "mono", 96000),
        ("mkv", "aac", "mono", 96000),
    ],
)
@pytest.mark.parametrize("container", ["mp4", "mov", "mkv", "webm", "avi", "ts", "mxf", "flv"])
def test_all_sound_gets_into_all_containers(tmp_path, source, encoder, layout, rate, container):
    path = with_audio(tmp_path / f"in.{source}", encoder, rate, layout)
    writer = remux(path, tmp_path / f"out.{container}")
    assert writer.lost == []
    _, seconds, channels = heard(path)
    _, new_seconds, new_channels = heard(tmp_path / f"out.{container}")
    assert abs(new_seconds - seconds) < 0.1 + 1024 / rate  # encoders begin with a frame of silence
    usual = {"ts": "is encoded as aac", "webm": "is encoded as opus"}.get(container, "")
    assert all(usual in note for note in writer.notes)
    changed = any("with the channels" in note for note in writer.notes)
    assert new_channels >= channels or changed


def test_channels_whose_places_are_not_stated_are_guessed_and_said(tmp_path):
    source = with_audio(tmp_path / "in.mkv", "pcm_s16le", layout="5.1")
    writer = remux(source, tmp_path / "out.mp4")
    assert writer.notes == ["audio pcm_s16le does not say where its 6 channels belong: they are taken as 5.1."]
    assert heard(tmp_path / "out.mp4")[0] == "5.1"


def test_sound_keeps_its_channels_rather_than_its_codec(tmp_path):
    source = with_audio(tmp_path / "in.mkv", "flac", layout="7.1")
    writer = remux(source, tmp_path / "out.mov")  # ALAC has no 7.1 in FFmpeg
    assert writer.notes == ["audio flac is encoded as pcm_s16le: mov does not take it as it is."]
    assert heard(tmp_path / "out.mov")[0] == "7.1"


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_packets_at_one_time_are_written_one_after_the_other(tmp_path, suffix):
    plain = with_audio(tmp_path / "plain.mp4", "aac", 48000)
    source = tmp_path / "in.mkv"
    with av.open(str(plain)) as a, av.open(str(source), "w") as out:
        copies = [out.add_stream_from_template(s, opaque=True) for s in a.streams]
        count = 0
        for packet in a.demux():
            if packet.dts is None:
                continue
            data, pts, kind = bytes(packet), packet.pts, packet.stream.type
            packet.stream = copies[packet.stream.index]
            base = packet.time_base
            out.mux(packet)
            count += kind == "audio"
            if kind == "audio" and count == 5:
                twin = av.Packet(data)
                twin.pts = twin.dts = pts + 1
                twin.time_base, twin.stream = base, packet.stream
                out.mux(twin)
    remux(source, tmp_path / f"out.{suffix}")
    with av.open(str(tmp_path / f"out.{suffix}")) as container:
        times = [p.dts for p in container.demux(audio=0) if p.dts is not None]
    assert len(times) >= count
    assert times == sorted(times)


def drop_packets(path: Path, pid: int, keep: Callable[[int], bool]) -> Path:
    """Leave out packets of a program ID of an MPEG-TS file: `keep` is asked for each, by its number in the file."""
    data = path.read_bytes()
    packets = [data[k : k + 188] for k in range(0, len(data), 188)]
    kept = [p for n, p in enumerate(packets) if (p[1] & 31) << 8 | p[2] != pid or keep(n)]
    path.write_bytes(b"".join(kept))
    return path


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "webm"])
def test_sound_that_is_announced_and_never_comes_is_left_out(tmp_path, suffix):
    source = drop_packets(with_audio(tmp_path / "in.ts", "aac", 48000, seconds=1), 257, lambda n: False)
    with av.open(str(source)) as container:
        assert len(container.streams.audio) == 1
    writer = remux(source, tmp_path / f"out.{suffix}")
    assert writer.lost == []
    assert writer.notes == ["audio aac is announced, but nothing of it comes in the first seconds: it is left out."]
    with av.open(str(tmp_path / f"out.{suffix}")) as container:
        assert [s.type for s in container.streams] == ["video"]


def loudness(path: Path) -> tuple[np.ndarray[Any, Any], int]:
    """The samples of the first audio stream, placed by their times, and their rate."""
    with av.open(str(path)) as container:
        rate = container.streams.audio[0].rate
        out = np.zeros(4 * rate)
        for frame in container.decode(audio=0):
            data = frame.to_ndarray().astype(float)
            data = data[0] if frame.format.is_planar else data.reshape(-1, len(frame.layout.channels))[:, 0]
            begin = max(0, round(frame.pts * frame.time_base * rate))
            out[begin : begin + len(data)] = data[: len(out) - begin]
    return np.abs(out) / np.abs(out).max(), rate


def onset(path: Path) -> float:
    """How long after the first frame the sound is first loud, in seconds."""
    level, rate = loudness(path)
    with av.open(str(path)) as container:
        # In AVI, the first frame is shown from the beginning on, and the others when they should be.
        _, second, *_ = [float(f.pts * f.time_base) for f in itertools.islice(container.decode(video=0), 3)]
    return int(np.argmax(level > 0.2)) / rate - (second - 0.04)


@pytest.mark.parametrize("container", ["mp4", "mov", "mkv", "webm", "avi", "ts", "nut", "mxf", "flv", "3gp"])
@pytest.mark.parametrize(("video", "audio"), [(0, 600), (600, 0), (0, 0)])
def test_sound_and_picture_begin_as_far_apart_as_they_did(tmp_path, container, video, audio):
    source = make_clip(
        tmp_path / "in.mkv", frames=50, audio=True, start=Fraction(video, 1000), audio_start=Fraction(audio, 1000)
    )
    writer = remux(source, tmp_path / f"out.{container}")
    expected = (audio - video) / 1000
    if container == "mxf":
        expected = max(0, expected)
    assert abs(onset(tmp_path / f"out.{container}") - expected) <= 0.045, writer.notes


def test_gaps_in_sound_that_is_encoded_again_stay_gaps(tmp_path):
    plain = with_audio(tmp_path / "plain.mkv", "flac", 16000, "mono", seconds=3)
    source = tmp_path / "in.mkv"
    with av.open(str(plain)) as a, av.open(str(source), "w") as out:
        copies = [out.add_stream_from_template(s, opaque=True) for s in a.streams]
        for packet in a.demux():
            gap = packet.stream.type == "audio" and packet.pts is not None and 1 < packet.pts * packet.time_base < 2
            if packet.dts is not None and not gap:
                packet.stream = copies[packet.stream.index]
                out.mux(packet)
    remux(source, tmp_path / "out.ts")
    level, rate = loudness(tmp_path / "out.ts")
    parts = [level[round(t * rate) : round((t + 0.2) * rate)].mean() for t in (0.6, 1.5, 2.6)]
    assert parts[1] < 0.02 < min(parts[0], parts[2])


def test_damaged_sound_is_silence_and_said(tmp_path):
    source = tmp_path / "in.mkv"
    with (
        av.open(str(with_audio(tmp_path / "plain.mkv", "ac3", 48000, seconds=2))) as a,
        av.open(str(source), "w") as out,
    ):
        copies = [out.add_stream_from_template(s, opaque=True) for s in a.streams]
        for packet in a.demux():
            if packet.dts is None:
                continue
            stream = copies[packet.stream.index]
            if packet.stream.type == "audio" and 0.8 < packet.pts * packet.time_base < 1.2:
                damaged = av.Packet(packet.size * b"\xff")
                damaged.pts, damaged.dts, damaged.time_base = packet.pts, packet.dts, packet.time_base
                damaged.duration, packet = packet.duration, damaged
            packet.stream = stream
            out.mux(packet)
    writer = remux(source, tmp_path / "out.webm")
    assert any("cannot be decoded: there is silence in their place" in note for note in writer.notes)
    assert abs(heard(tmp_path / "out.webm")[1] - 2) < 0.1


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_damaged_packets_that_a_muxer_refuses_do_not_end_the_conversion(tmp_path, suffix):
    source = with_audio(tmp_path / "in.ts", "aac", 48000, seconds=2)
    data = bytearray(source.read_bytes())
    for begin in range(len(data) // 564 * 188, len(data), 188):
        if (data[begin + 1] & 31) << 8 | data[begin + 2] == 257:
            header = data.find(b"\xff\xf1", begin, begin + 188)  # of a frame of AAC
            data[header : header + 2] = b"\x11\x22" if header > 0 else data[header : header + 2]
    source.write_bytes(data)
    writer = remux(source, tmp_path / f"out.{suffix}")
    assert any("damaged packets of sound or other streams are left out" in note for note in writer.notes)
    with av.open(str(tmp_path / f"out.{suffix}")) as container:
        assert len([p for p in container.demux(audio=0) if p.size]) > 20


def test_sound_that_changes_its_format_on_the_way_is_kept(tmp_path):
    parts = [
        with_audio(tmp_path / f"{rate}.ts", "mp2", rate, layout, seconds=1)
        for rate, layout in ((48000, "stereo"), (44100, "mono"))
    ]
    source = tmp_path / "in.mkv"
    with av.open(str(source), "w") as out:
        with av.open(str(parts[0])) as first:
            copies = [out.add_stream_from_template(s, opaque=True) for s in first.streams]
        for number, part in enumerate(parts):
            with av.open(str(part)) as given:
                start = given.start_time / 1_000_000 - number
                for packet in given.demux():
                    if packet.dts is None:
                        continue
                    shift = round(start / packet.time_base)
                    packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                    packet.stream = copies[packet.stream.index]
                    out.mux(packet)
    remux(source, tmp_path / "out.webm")
    assert abs(heard(tmp_path / "out.webm")[1] - 2) < 0.1


def test_stretched_sound_starts_and_ends_where_it_should(tmp_path):
    source = make_clip(tmp_path / "in.mkv", frames=25, audio=True, audio_start=Fraction(1, 2))
    remux(source, tmp_path / "out.mkv", "stretch", scale=2, rate=Fraction(25, 2))
    with av.open(str(tmp_path / "out.mkv")) as container:
        times = [f.pts * f.time_base for f in container.decode(audio=0)]
    assert abs(times[0] - 1) < Fraction(1, 20)
    assert abs(times[-1] - 3) < Fraction(1, 5)


def test_headers_that_are_repeated_among_the_packets_do_not_damage_the_output(tmp_path):
    # FLV files that were joined have the header of AAC twice; FFmpeg's Matroska muxer then writes it over other parts.
    plain, source = with_audio(tmp_path / "plain.mp4", "aac", 44100), tmp_path / "in.flv"
    make_clip(tmp_path / "video.flv", frames=12, codec="flv")
    with av.open(str(plain)) as a, av.open(str(tmp_path / "video.flv")) as v, av.open(str(source), "w") as out:
        streams = v.streams.video[0], a.streams.audio[0]
        copies = {s.type: out.add_stream_from_template(s, opaque=True) for s in streams}
        for packet in [*v.demux(), *a.demux(a.streams.audio[0])]:
            if packet.dts is not None:
                packet.stream = copies[packet.stream.type]
                out.mux(packet)
    data = source.read_bytes()
    begin = data.index(b"\xaf\x00") - 11
    size = int.from_bytes(data[begin + 1 : begin + 4], "big") + 15
    position, last = 13, 0
    while position < len(data):
        last = position if data[position] == 8 else last
        position += int.from_bytes(data[position + 1 : position + 4], "big") + 15
    source.write_bytes(data[:last] + data[begin : begin + size] + data[last:])
    with av.open(str(source)) as container:
        assert sum(p.has_sidedata("new_extradata") for p in container.demux(audio=0)) == 1
    remux(source, tmp_path / "out.mkv")
    with av.open(str(tmp_path / "out.mkv")) as container:
        assert [s.type for s in container.streams] == ["video", "audio"]


def test_many_streams_keep_their_order_and_number(tmp_path):
    source = tmp_path / "in.mkv"
    layouts = ["mono", "stereo", "7.1"]
    with av.open(str(source), "w") as out:
        video = out.add_stream("mpeg4", rate=25)
        video.width, video.height = 96, 64
        sounds = [out.add_stream("flac", rate=16000, layout=layout) for layout in layouts]
        for index in range(12):
            out.mux(video.encode(paint(av.VideoFrame(96, 64, "yuv420p"), index)))
        out.mux(video.encode(None))
        for layout, sound in zip(layouts, sounds, strict=True):
            for frame in noise(layout, 16000, 0.5):
                out.mux(sound.encode(frame))
            out.mux(sound.encode(None))
    for suffix in ("mp4", "webm", "ts"):
        remux(source, tmp_path / f"out.{suffix}")
        with av.open(str(tmp_path / f"out.{suffix}")) as container:
            assert [s.layout.name for s in container.streams.audio] == layouts, suffix


# -- subtitles


@pytest.mark.parametrize(("suffix", "codec"), [("mp4", "mov_text"), ("mov", "mov_text"), ("webm", "webvtt")])
def test_text_subtitles_are_written_as_the_container_takes_them(rich, tmp_path, suffix, codec):
    remux(rich["mkv"], tmp_path / f"out.{suffix}")
    remux(tmp_path / f"out.{suffix}", tmp_path / "back.mkv")
    with av.open(str(tmp_path / f"out.{suffix}")) as container:
        assert canonical(container.streams.subtitles[0]) == codec
    with av.open(str(tmp_path / "back.mkv")) as container:
        events = [(float(p.pts * p.time_base), bytes(p)) for p in container.demux(subtitles=0) if p.size]
    assert [text.decode().strip() for _, text in events] == ["Hello", "You"]
    assert [time for time, _ in events] == pytest.approx([0.05, 0.25], abs=0.002)


# -- when it is decided


def test_what_does_not_fit_is_known_before_the_first_frame(tmp_path):
    source = make_clip(tmp_path / "in.mkv", frames=2)
    with Reader(source) as reader:
        writer = VideoWriter(tmp_path / "out.mxf", reader.info, Fraction(77, 5), settings=EncoderSettings("mpeg2"))
        with writer, pytest.raises(OutputError, match="cannot be written"):
            writer.copy_streams(reader, TimeMap())
    assert [p.name for p in tmp_path.iterdir()] == ["in.mkv"]

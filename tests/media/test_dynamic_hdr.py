"""HDR10+ and Dolby Vision metadata: read from HEVC, carried to the right frames, repeated for new ones, or refused."""

import re
from dataclasses import replace
from fractions import Fraction

import av
import pytest

import betwixt
from betwixt.errors import UsageError
from betwixt.media.codecs import carries_dolby_vision, check_has_base_layer, choose_encoder
from betwixt.media.dynamic_hdr import FrameMetadata, read_metadata, write_metadata
from betwixt.media.encoder_options import EncoderSettings
from betwixt.media.frames import copy_description
from betwixt.media.reader import Frame, Reader
from betwixt.media.timeline import TimeMap
from betwixt.media.writer import VideoWriter
from clips import make_clip, paint


class Bits(list):
    """Bits of a message, written by the codes of H.265."""

    def u(self, count, *values):
        for value in values:
            self.extend(value >> bit & 1 for bit in reversed(range(count)))
        return self

    def golomb(self, *values):
        for value in values:
            length = (value + 1).bit_length()
            self.u(2 * length - 1, value + 1)
        return self

    def bytes(self):
        padded = self + [0] * (-len(self) % 8)
        return bytes(int("".join(map(str, padded[i : i + 8])), 2) for i in range(0, len(padded), 8))


def hdr10_plus(peak):
    """An HDR10+ message: one window, with `peak` as its brightest light."""
    bits = Bits().u(8, 1).u(2, 1).u(27, 400).u(1, 0)
    bits.u(17, peak, peak, peak, peak // 3).u(4, 0).u(10, 5).u(1, 0, 0, 0)
    return b"\xb5\x00\x3c\x00\x01\x04" + bits.bytes()


def rpu(number, profile=8):
    """A Dolby Vision RPU that maps nothing; `number` makes it unlike others."""
    bits = Bits().u(8, 25).u(6, 2).u(11, 18).u(4, int(profile != 5)).u(4, 0).u(1, 1, 0).u(2, 0)
    bits.golomb(23).u(2, 1).u(1, int(profile == 5)).golomb(2, 2, 4).u(1, 0).u(3, 0).u(1, 0, 1)
    bits.u(1, 0, 0).golomb(0, 0, 0)
    for _ in range(3):
        bits.golomb(0).u(10, 0, 1023)
    bits.golomb(0, 0)
    for _ in range(3):
        bits.golomb(0, 0).u(1, 0).golomb(0).u(23, number).golomb(1).u(23, 0)
    content = bits.bytes() + bytes([number % 251, 1, 2, 3]) + b"\x80"
    return b"\x7c\x01" + re.sub(rb"\x00\x00(?=[\x00-\x03])", b"\x00\x00\x03", content)


def hdr_clip(path, metadata, codec="libx265", frames=6):
    """A clip of x265 in PQ, with the metadata of each frame as `metadata(number)` makes it."""
    colour = {"color_primaries": 9, "color_trc": 16, "colorspace": 9, "color_range": 1}
    plain = make_clip(path.with_name("plain.mkv"), frames=2, codec=codec, pixel_format="yuv420p10le", colour=colour,
                      options={"x265-params": "log-level=0"})  # fmt: skip
    first = metadata(0)
    with Reader(plain) as reader:
        info = replace(reader.info, hdr10_plus=first.hdr10_plus is not None, dolby_vision=8 if first.rpu else None)
        with VideoWriter(path, info, Fraction(25), settings=EncoderSettings("hevc")) as writer:
            writer.copy_streams(reader, TimeMap(reader.earliest_start))
            for number in range(frames):
                frame = paint(av.VideoFrame(info.width, info.height, info.pixel_format), number)
                frame.opaque = metadata(number)
                writer.write(frame, number)
            writer.commit()
    return path


def metadata_of(path):
    with Reader(path) as reader:
        return [item.video.opaque for item in reader if isinstance(item, Frame)]


# -- packets


def test_metadata_is_read_back_as_it_was_written():
    packet = b"\0\0\0\1\x46\x01\x50" + b"\0\0\1\x26\x01\xaf\x12\x34" + b"\0\0\1\x02\x01\xd0\x55"
    metadata = FrameMetadata(hdr10_plus(0), rpu(0))
    written = write_metadata(packet, metadata)
    assert read_metadata(written) == metadata
    types = [data[0] >> 1 & 63 for data in re.split(rb"\x00*\x00\x00\x01", written)[1:]]
    assert types == [35, 39, 19, 1, 62]  # delimiter, SEI, two slices, RPU
    assert read_metadata(packet) is None
    units = re.split(rb"\x00*\x00\x00\x01", written)[1:]
    assert read_metadata(b"".join(len(u).to_bytes(4, "big") + u for u in units), 4) == metadata


@pytest.mark.parametrize("size", [0, 1, 254, 255, 256, 600])
def test_messages_of_any_length_and_with_zeros_survive(size):
    message = hdr10_plus(100) + bytes(size)
    written = write_metadata(b"\0\0\1\x26\x01\xaf", FrameMetadata(message, None))
    assert read_metadata(written).hdr10_plus == message
    unit = written[4 : written.index(b"\0\0\1\x26")]
    assert not any(b"\0\0" + bytes([value]) in unit for value in range(3))


def test_a_message_beside_others_is_found_and_damage_is_no_error():
    message = hdr10_plus(7)
    others = b"\x05\x02ab" + b"\x04\x03\xb5\x00\x31"
    unit = b"\x4e\x01" + others + b"\x04" + bytes([len(message)]) + message + b"\x89\x01\x00\x80"
    unit = re.sub(rb"\x00\x00(?=[\x00-\x03])", b"\x00\x00\x03", unit)
    packet = b"\0\0\1" + unit + b"\0\0\1\x26\x01\xaf"
    assert read_metadata(packet).hdr10_plus == message
    for end in range(len(packet)):
        read_metadata(packet[:end])
        read_metadata(packet[:end], 4)


# -- files


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.mov"])
def test_hdr10_plus_is_carried_and_repeated(tmp_path, name):
    source = hdr_clip(tmp_path / "in.mkv", lambda number: FrameMetadata(hdr10_plus(1000 + number)))
    with Reader(source) as reader:
        assert reader.info.hdr10_plus
    summary = betwixt.interpolate_video(source, tmp_path / name, model="dis", factor=3)
    before, after = metadata_of(source), metadata_of(tmp_path / name)
    assert [m.hdr10_plus for m in before] == [hdr10_plus(1000 + number) for number in range(6)]
    assert after == [m for m in before for _ in range(3)]
    assert summary.lost == ()
    assert any("repeat the HDR10+" in note for note in summary.notes)
    with av.open(str(tmp_path / name)) as container:
        sides = [[data.type.name for data in iter(f.side_data)] for f in container.decode(video=0)]
    assert all("DYNAMIC_HDR_PLUS" in side for side in sides)


def test_dolby_vision_of_one_layer_is_carried_and_stated(tmp_path):
    source = hdr_clip(tmp_path / "in.mkv", lambda number: FrameMetadata(None, rpu(number)))
    for name in ("a.mp4", "a.mkv"):
        summary = betwixt.interpolate_video(source, tmp_path / name, model="dis")
        before, after = metadata_of(source), metadata_of(tmp_path / name)
        assert after == [m for m in before for _ in range(2)]
        assert summary.lost == ()
        with Reader(tmp_path / name) as reader:
            assert reader.info.dolby_vision == 8
    assert b"dvvC" in (tmp_path / "a.mp4").read_bytes()  # the boxes with the configuration
    assert b"dvvC" in (tmp_path / "a.mkv").read_bytes()


@pytest.mark.parametrize(("name", "codec"), [("a.mkv", "av1"), ("a.mov", None), ("a.webm", None)])
def test_what_is_not_carried_is_named(tmp_path, name, codec):
    source = hdr_clip(tmp_path / "in.mkv", lambda number: FrameMetadata(hdr10_plus(number), rpu(number)))
    summary = betwixt.interpolate_video(source, tmp_path / name, model="dis", codec=codec, factor=1)
    assert "the Dolby Vision metadata (profile 8)" in summary.lost
    assert ("the HDR10+ metadata" in summary.lost) is (name != "a.mov")
    assert all(m is None or m.rpu is None for m in metadata_of(tmp_path / name))


def test_profile_5_is_refused_where_its_metadata_would_be_lost(tmp_path):
    source = hdr_clip(tmp_path / "in.mkv", lambda number: FrameMetadata(None, rpu(number, profile=5)))
    with Reader(source) as reader:
        assert reader.info.dolby_vision == 5
    for name, options in (("a.webm", {}), ("a.gif", {}), ("out/", {}), ("a.mp4", {"codec": "h264"}),
                          ("a.mkv", {"tone_map": "on"})):  # fmt: skip
        with pytest.raises(UsageError, match="profile 5") as error:
            betwixt.interpolate_video(source, str(tmp_path / name), model="dis", **options)
        assert "\n" not in str(error.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.mkv", "plain.mkv"]
    betwixt.interpolate_video(source, tmp_path / "a.mkv", model="dis")
    assert len(metadata_of(tmp_path / "a.mkv")) == 12
    assert None not in metadata_of(tmp_path / "a.mkv")


def test_two_layers_are_not_taken_for_one(tmp_path):
    with Reader(make_clip(tmp_path / "in.mkv", frames=1)) as reader:
        check_has_base_layer(replace(reader.info, dolby_vision=7))
        encoder = choose_encoder("hevc", "mp4", reader.info)
        assert not carries_dolby_vision(encoder, "mp4", replace(reader.info, dolby_vision=7))


def test_one_metadata_object_may_belong_to_many_frames(tmp_path):
    shared = FrameMetadata(hdr10_plus(5))
    source = hdr_clip(tmp_path / "in.mkv", lambda number: shared, frames=12)
    with Reader(source) as reader:
        frames = [item.video for item in reader if isinstance(item, Frame)]
    copies = [copy_description(frames[0], av.VideoFrame(16, 16)) for _ in range(5)]
    del frames, copies[:3]
    assert copies[0].opaque == copies[1].opaque == shared

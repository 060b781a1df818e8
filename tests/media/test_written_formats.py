"""What written frames are labelled as: pixel format, matrix, chroma location, aspect; and pictures of a few pixels."""

import io
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest

from betwixt.errors import UsageError
from betwixt.media.codecs import choose_encoder
from betwixt.media.colour import FULL, Colour
from betwixt.media.encoder_options import EncoderSettings
from betwixt.media.frames import is_rgb, planes
from betwixt.media.images.convert import frame_to_image, image_to_frame
from betwixt.media.pixel_formats import describe_conversion
from betwixt.media.probe import VideoInfo
from betwixt.media.writer import VideoWriter
from clips import read_frames

RGB = VideoInfo(
    name="x", container="images", codec="images", width=48, height=32, pixel_format="rgb24", rate=Fraction(25),
    variable=False, start=Fraction(0), duration=None, frames=None, colour=Colour(matrix=0, range=FULL),
)  # fmt: skip


def write(path, info, frames, codec=None):
    with VideoWriter(path, info, Fraction(25), settings=EncoderSettings(codec)) as writer:
        for index, frame in enumerate(frames):
            writer.write(frame, index)
        writer.commit()
    return writer


def filled(name, value, size=(48, 32)):
    frame = av.VideoFrame(*size, name)
    for plane in planes(frame):
        plane[...] = value
    frame.color_range = FULL if is_rgb(name) or name.startswith("gray") else 0
    return frame


def colour_bars(alpha=False):
    image = np.repeat(np.array([[(220, 40, 30), (30, 190, 60), (40, 60, 210)]], np.uint8), 16, axis=1)
    image = np.repeat(image, 32, axis=0)
    return image_to_frame(image, np.full((32, 48), 255, np.uint8) if alpha else None)


@pytest.mark.parametrize("alpha", [False, True])
def test_rgb_becomes_yuv_444_in_y4m(tmp_path, alpha):
    frame = colour_bars(alpha)
    writer = write(tmp_path / "out.y4m", replace(RGB, pixel_format=frame.format.name), [frame, frame])
    result = frame_to_image(read_frames(tmp_path / "out.y4m")[1].video)[0].astype(int)
    assert np.abs(result - frame_to_image(frame)[0].astype(int)).max() < 6
    assert writer.pixel_format == "yuv444p"
    assert "RGB to YUV 4:4:4" in writer.notes[0]
    assert writer.lost == (["the transparency"] if alpha else [])


@pytest.mark.parametrize(
    ("source", "target", "change"),
    [
        ("yuva444p", "yuv444p", None), ("rgba", "bgra", None), ("yuv420p", "yuv422p10le", None),
        ("gray", "yuv420p", None), ("nv12", "yuv420p", None), ("gray16le", "yuv420p12le", "16 to 12 bit"),
        ("rgb48le", "yuv420p10le", "RGB to YUV 4:2:0 and 16 to 10 bit"), ("yuv444p", "yuv420p", "chroma to 4:2:0"),
        ("yuv420p", "gray", "colour to grey"), ("yuv411p", "yuv420p", "chroma to 4:2:0"),
    ],
)  # fmt: skip
def test_what_a_conversion_changes_is_described(source, target, change):
    assert describe_conversion(source, target) == change


@pytest.mark.parametrize(
    ("location", "field"), [("left", b"C420mpeg2"), ("center", b"C420jpeg"), ("topleft", b"C420paldv")]
)
def test_y4m_states_the_chroma_location_and_the_aspect(tmp_path, location, field):
    info = replace(RGB, pixel_format="yuv420p", colour=Colour(location=location), aspect=Fraction(64, 45))
    write(tmp_path / "out.y4m", info, [filled("yuv420p", 90)])
    header = (tmp_path / "out.y4m").read_bytes().split(b"\n")[0].split(b" ")
    assert field in header
    assert b"A64:45" in header
    pipe = io.BytesIO()
    write(pipe, info, [filled("yuv420p", 90)])
    assert pipe.getvalue() == (tmp_path / "out.y4m").read_bytes()


@pytest.mark.parametrize(
    ("codec", "pixel_format"),
    [
        ("vp9", "gray"),
        ("av1", "gray"),
        ("hevc", "gray"),
        ("prores", "gray16le"),
        ("av1", "yuv420p"),
        ("vp9", "yuv420p"),
    ],
)
def test_the_matrix_of_rgb_is_not_stated_for_yuv(tmp_path, codec, pixel_format):
    frame = filled(pixel_format, 70)
    frame.colorspace = 0
    write(tmp_path / "out.mkv", replace(RGB, pixel_format=pixel_format), [frame, frame], codec=codec)
    frames = read_frames(tmp_path / "out.mkv")
    assert len(frames) == 2
    assert int(frames[0].video.colorspace) == 2


def test_the_matrix_of_rgb_is_stated_for_rgb(tmp_path):
    info = replace(RGB, pixel_format="gbrp", colour=Colour(matrix=2))
    write(tmp_path / "out.mkv", info, [filled("gbrp", 70)], codec="ffv1")
    assert int(read_frames(tmp_path / "out.mkv")[0].video.colorspace) == 0


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 5), (15, 17)])
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv420p10le", "rgb24"])
@pytest.mark.parametrize(
    ("name", "codec"),
    [("out.mp4", None), ("out.webm", None), ("out.mkv", "ffv1"), ("out.avi", "utvideo"), ("out.y4m", None)],
)
def test_pictures_of_a_few_pixels_are_written(tmp_path, size, pixel_format, name, codec):
    info = replace(RGB, width=size[0], height=size[1], pixel_format=pixel_format, colour=Colour())
    write(tmp_path / name, info, [filled(pixel_format, 60, size)] * 2, codec=codec)
    video = read_frames(tmp_path / name)[1].video
    assert (video.width, video.height) == size


@pytest.mark.parametrize(("codec", "side"), [("hevc", 16), ("av1", 4)])
def test_an_encoder_refuses_pictures_that_are_too_small_for_it(codec, side):
    with pytest.raises(UsageError, match=f"{side} pixels a side"):
        choose_encoder(codec, "matroska", replace(RGB, height=side - 1))
    choose_encoder(codec, "matroska", replace(RGB, width=side, height=side))

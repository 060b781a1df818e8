"""Planes and RGB: correct colours, and no loss on a still clip."""

import av
import cv2
import numpy as np
import pytest

from betwixt.media.colour import FULL, LIMITED, Colour, RGBConverter
from betwixt.media.frames import bit_depth, frame_from_planes, luma8, planes, supported_format, to_supported_format

FORMATS = [
    "yuv420p", "yuvj420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p10le", "yuv411p", "nv12",
    "nv21", "p010le", "gray", "gray10le", "rgb24", "bgr24", "rgba", "argb", "bgr0", "rgb48be", "rgb48le", "gbrp",
    "gbrp10le", "yuva420p", "ya8", "yuv420p12le", "yuv420p16le",
]  # fmt: skip


def noise_frame(name, width=38, height=22, seed=0, limited=True):
    frame = av.VideoFrame(width, height, name)
    rng = np.random.default_rng(seed)
    depth = bit_depth(name)
    low, high = (16 << (depth - 8), 236 << (depth - 8)) if limited else (0, 1 << depth)
    for plane in planes(frame):
        values = rng.integers(low, high, plane.shape)
        plane[...] = values << (16 - depth) if name.startswith("p0") else values
    return frame


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("size", [(38, 22), (37, 21)])
def test_a_still_pair_survives_the_round_trip_exactly(name, size):
    frame = noise_frame(name, *size, limited=False)
    parts = [p.copy() for p in planes(frame)]
    converter = RGBConverter(name, *size, Colour(range=FULL if name == "yuvj420p" else LIMITED))
    image = converter.to_rgb(parts)
    assert image.shape == (size[1], size[0], 3)
    assert 0 <= image.min() <= image.max() <= 1
    back = converter.to_planes(image, parts, parts, image, image, 0.5)
    for a, b in zip(parts, back, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("matrix", [1, 6, 9])
@pytest.mark.parametrize("colour_range", [LIMITED, FULL])
def test_colours_agree_with_ffmpeg(matrix, colour_range):
    rgb = np.zeros((16, 32, 3), np.uint8)
    rgb[:, :16] = (200, 40, 90)
    rgb[:, 16:] = (30, 180, 220)
    source = av.VideoFrame.from_ndarray(rgb, format="rgb24")
    spaces = {1: "ITU709", 6: "ITU601", 9: "BT2020"}
    ranges = {LIMITED: "MPEG", FULL: "JPEG"}
    yuv = source.reformat(format="yuv444p", dst_colorspace=spaces[matrix], dst_color_range=ranges[colour_range])
    converter = RGBConverter("yuv444p", 32, 16, Colour(matrix=matrix, range=colour_range))
    image = converter.to_rgb(planes(yuv))
    np.testing.assert_allclose(image * 255, rgb, atol=2.0)
    back = converter.to_planes(rgb / np.float32(255), planes(yuv), planes(yuv), image, image, 0.5)
    for mine, theirs in zip(back, planes(yuv), strict=True):
        np.testing.assert_allclose(mine.astype(int), theirs.astype(int), atol=1)


@pytest.mark.parametrize(("location", "shift"), [("left", 0.0), ("center", 0.5)])
def test_chroma_is_placed_where_the_stream_states(location, shift):
    # A ramp in chroma: its value at each luma sample shows where the chroma samples were assumed to be.
    width, height = 64, 8
    frame = av.VideoFrame(width, height, "yuv420p")
    y, u, v = planes(frame)
    y[...], v[...] = 128, 128
    u[...] = 100 + np.arange(width // 2)
    image = RGBConverter("yuv420p", width, height, Colour(range=FULL, location=location, matrix=1)).to_rgb(
        planes(frame)
    )
    blue = image[4, 10:50, 2] * 255
    expected = 128 + 2 * (1 - 0.0722) * (100 + (np.arange(10, 50) - shift) / 2 - 128) * 255 / 255
    np.testing.assert_allclose(blue, np.clip(expected, 0, 255), atol=0.6)


def test_changing_colours_are_not_corrected():
    a, b = noise_frame("yuv420p", seed=1), noise_frame("yuv420p", seed=2)
    converter = RGBConverter("yuv420p", 38, 22, Colour())
    pa, pb = converter.to_rgb(planes(a)), converter.to_rgb(planes(b))
    new = np.full_like(pa, 0.5)
    result = converter.to_planes(new, planes(a), planes(b), pa, pb, 0.5)
    assert np.abs(result[0].astype(int) - round(16 + 219 * 0.5)).max() <= 3


@pytest.mark.parametrize("name", ["pal8", "yuyv422", "monow", "rgb565le", "x2rgb10le", "ayuv"])
def test_other_formats_are_converted_to_supported_ones(name):
    target = supported_format(name)
    assert supported_format(target) == target
    if name != "pal8":
        frame = to_supported_format(av.VideoFrame(16, 16, name))
        assert frame.format.name == target
        assert luma8(frame).shape == (16, 16)


@pytest.mark.parametrize("name", FORMATS)
def test_luma_has_eight_bits(name):
    frame = av.VideoFrame(16, 8, name)
    depth = bit_depth(name)
    for plane in planes(frame):
        plane[...] = (128 << (depth - 8)) << (16 - depth if name.startswith("p0") else 0)
    assert np.abs(luma8(frame).astype(int) - 128).max() <= 1
    assert luma8(frame).dtype == np.uint8


def test_a_frame_made_of_planes_has_the_same_samples():
    frame = noise_frame("yuv420p10le", 37, 21)
    copy = frame_from_planes(planes(frame), frame)
    for a, b in zip(planes(frame), planes(copy), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", FORMATS)
def test_a_small_image_is_the_image_downscaled(name):
    width, height = 96, 64
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    smooth = np.stack([0.5 + 0.2 * np.sin(x / 9), 0.5 + 0.2 * np.cos(y / 8), 0.5 + 0.1 * np.sin((x + y) / 12)], axis=2)
    frame = av.VideoFrame.from_ndarray((255 * smooth).astype(np.uint8), format="rgb24").reformat(format=name)
    converter = RGBConverter(name, width, height, Colour(range=FULL if name == "yuvj420p" else LIMITED))
    if converter.rgb:
        converter = RGBConverter(name, width, height, Colour(range=FULL))
    parts = planes(frame)
    image = converter.to_rgb(parts)
    np.testing.assert_array_equal(converter.to_small_rgb(parts, height, width), image)
    small = converter.to_small_rgb(parts, height // 2, width // 2)
    expected = cv2.resize(image, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    assert small.dtype == np.float32
    # Chroma that lies beside luma is not moved: it is off by a quarter of a pixel, by three quarters for 4:1:1.
    assert np.abs(small - expected).max() < (0.06 if name == "yuv411p" else 0.03)
    assert np.abs(small - expected).mean() < 0.01

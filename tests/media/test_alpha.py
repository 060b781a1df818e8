"""Transparency: read where FFmpeg's usual decoder drops it, interpolated like the picture, kept where a codec can."""

from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest

import betwixt
from betwixt.errors import UsageError
from betwixt.media.codecs import choose_encoder
from betwixt.media.colour import Colour
from betwixt.media.images.convert import frame_to_image, image_to_frame
from betwixt.media.images.writer import ImageWriter
from betwixt.media.pixel_formats import pixel_format_for
from betwixt.media.probe import VideoInfo
from betwixt.media.reader import Reader
from clips import make_clip, read_frames

HEIGHT, WIDTH = 48, 96
PLAIN = VideoInfo(
    name="x", container="images", codec="images", width=WIDTH, height=HEIGHT, pixel_format="rgba", rate=Fraction(25),
    variable=False, start=Fraction(0), duration=None, frames=None, colour=Colour(),
)  # fmt: skip


def disc(position):
    """How opaque a disc is that has moved by `position` pixels."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.clip(14.5 - np.hypot(x - 30 - position, y - 24), 0, 1)


def sprite(position):
    """A disc with stripes on a transparent ground, which is black beneath."""
    alpha = disc(position)
    stripes = 140 + 60 * np.sin((np.arange(WIDTH) - position) / 3)
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[alpha > 0] = 200
    image[..., 1] = np.where(alpha > 0, stripes, 0)
    return image_to_frame(image, np.rint(255 * alpha).astype(np.uint8))


@pytest.fixture
def sprites(tmp_path):
    with ImageWriter(tmp_path / "in") as writer:
        for number in range(3):
            writer.write(sprite(8 * number))
        writer.commit()
    return tmp_path / "in"


def convert(source, target, **options):
    return betwixt.interpolate_video(source, target, model="dis", **options)


def opacity(path, index):
    return frame_to_image(read_frames(path)[index].video)[1].astype(float)


@pytest.mark.parametrize("codec", ["vp8", "vp9"])
def test_alpha_of_webm_is_read_interpolated_and_kept(tmp_path, sprites, codec):
    convert(sprites, tmp_path / "a.webm", codec=codec, factor=1)
    with Reader(tmp_path / "a.webm") as reader:
        assert reader.info.pixel_format == "yuva420p"
        assert reader.info.codec == codec
    summary = convert(tmp_path / "a.webm", tmp_path / "b.webm")
    assert (summary.pixel_format, summary.lost) == ("yuva420p", ())
    assert np.abs(opacity(tmp_path / "b.webm", 1) - 255 * disc(4)).mean() < 4
    with av.open(str(tmp_path / "b.webm")) as container:
        tags = {key.lower(): value for key, value in container.streams.video[0].metadata.items()}
    assert tags["alpha_mode"] == "1"


def test_an_output_without_alpha_does_not_claim_it(tmp_path, sprites):
    convert(sprites, tmp_path / "a.webm", factor=1)
    summary = convert(tmp_path / "a.webm", tmp_path / "b.mkv", codec="h264", factor=1)
    assert summary.lost == ("the transparency",)
    with av.open(str(tmp_path / "b.mkv")) as container:
        assert "alpha_mode" not in {key.lower() for key in container.streams.video[0].metadata}


@pytest.mark.parametrize("name", ["a.mov", "a.mkv", "a.nut", "a.avi", "a.webm", "a/", "a_%03d.tif", "a_%03d.webp"])
def test_new_frames_of_a_sprite_are_sprites(tmp_path, sprites, name):
    summary = convert(sprites, str(tmp_path / name))
    assert summary.lost == ()
    if "." not in name or "%" in name:
        name = f"{name}*.png" if name == "a/" else name
    source = betwixt.media.source.open_source(str(tmp_path / name))
    frame = [item.video for item in source if hasattr(item, "video")][1]
    source.close()
    image, alpha = frame_to_image(frame)
    scale = np.iinfo(alpha.dtype).max
    assert np.abs(alpha / scale - disc(4)).mean() < 0.015
    # Over white, no edge is darker than the disc, but for what 4:2:0 does.
    shown = image / scale * (alpha / scale)[..., None] + 1 - (alpha / scale)[..., None]
    assert shown[..., 0].min() > 200 / 255 - (0.12 if name == "a.webm" else 0.08)


@pytest.mark.parametrize(
    ("container", "codec", "pixel_format", "name"),
    [
        ("mov", "prores", "yuva444p12le", "prores_ks"), ("mov", "qtrle", "argb", "qtrle"),
        ("mov", "png", "rgba", "png"), ("mov", "gif", "bgra", "libx264"), ("mov", "images", "rgba", "prores_ks"),
        ("matroska", "vp9", "yuva420p", "libvpx-vp9"), ("matroska", "prores", "yuva444p12le", "ffv1"),
        ("webm", "prores", "yuva444p12le", "libvpx-vp9"),
        ("mp4", "vp9", "yuva420p", "libx264"), ("mpegts", "vp9", "yuva420p", "libx264"),
    ],
)  # fmt: skip
def test_the_usual_encoder_keeps_alpha_where_one_can(container, codec, pixel_format, name):
    source = replace(PLAIN, codec=codec, pixel_format=pixel_format)
    assert choose_encoder(None, container, source).name == name


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", None), ("a.mp4", "vp9"), ("a.ts", None), ("a_%03d.jpg", None)])
def test_what_cannot_hold_alpha_is_written_without_it_and_says_so(tmp_path, sprites, name, codec):
    summary = convert(sprites, str(tmp_path / name), codec=codec)
    assert summary.lost == ("the transparency",)
    assert summary.frames_out == 6


def test_frames_with_alpha_have_the_colour_that_the_container_states(tmp_path):
    colour = {"color_primaries": 1, "color_trc": 1, "colorspace": 1}
    path = make_clip(tmp_path / "a.webm", frames=3, codec="libvpx-vp9", pixel_format="yuva420p", colour=colour)
    with Reader(path) as reader:
        assert reader.info.pixel_format == "yuva420p"
        assert (reader.info.colour.primaries, reader.info.colour.transfer, reader.info.colour.matrix) == (1, 1, 1)


def test_libvpx_takes_alpha_in_420_and_in_webm_alone():
    vp9 = choose_encoder("vp9", "webm", PLAIN)
    assert pixel_format_for(vp9.name, None, "yuva444p12le", 64, 48, "webm") == "yuva420p"
    assert pixel_format_for(vp9.name, None, "yuva420p", 64, 48, "mp4") == "yuv420p"
    with pytest.raises(UsageError, match="in mp4"):
        pixel_format_for(vp9.name, "yuva420p", "yuv420p", 64, 48, "mp4")

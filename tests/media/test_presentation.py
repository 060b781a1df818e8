"""Rotation, pixel shape and HDR: stored where the target has a field, applied where it has none, or named as lost."""

from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest

import betwixt
from betwixt.media.colour import Colour
from betwixt.media.encoder_options import EncoderSettings
from betwixt.media.frames import planes
from betwixt.media.images.convert import frame_to_image
from betwixt.media.images.reader import ImageReader, read_image
from betwixt.media.presentation import Presentation, image_presentation, video_presentation
from betwixt.media.probe import HDR, VideoInfo
from betwixt.media.reader import Reader
from betwixt.media.tone_map import SDR_WHITE, ToneMapper
from betwixt.media.transfer import BT1886, transfer_of
from betwixt.media.writer import VideoWriter
from clips import TURNED, make_clip, read_frames, turned_clip

PLAIN = VideoInfo(
    name="x", container="matroska", codec="h264", width=48, height=32, pixel_format="yuv420p", rate=Fraction(25),
    variable=False, start=Fraction(0), duration=None, frames=None, colour=Colour(),
)  # fmt: skip


def convert(source, target, **options):
    return betwixt.interpolate_video(source, target, model="dis", factor=1, **options)


@pytest.mark.parametrize(("name", "codec"), [("out.avi", "ffv1"), ("out.nut", "ffv1"), ("out.y4m", None)])
def test_frames_are_turned_where_the_container_has_no_field_for_it(tmp_path, name, codec):
    source = turned_clip(tmp_path / "in.mov", codec="libx264", options={"qp": "0"})
    summary = convert(source, tmp_path / name, codec=codec)
    for before, after in zip(read_frames(source), read_frames(tmp_path / name), strict=True):
        for plane, turned in zip(planes(before.video), planes(after.video), strict=True):
            np.testing.assert_array_equal(np.rot90(plane, -1), turned)
    assert "turned upright" in summary.notes[0]
    assert summary.lost == ()


@pytest.mark.parametrize("name", ["out.gif", "out/", "out_%03d.jpg"])
def test_gifs_and_images_are_upright(tmp_path, name):
    source = turned_clip(tmp_path / "in.mov", codec="libx264", size=(96, 48))
    assert convert(source, str(tmp_path / name)).lost == ()
    if name.endswith("gif"):
        frame = read_frames(tmp_path / name)[0].video
    else:
        frame = read_image(sorted((tmp_path / name).parent.rglob("*.[jp][pn]g"))[0])
    assert (frame.width, frame.height) == (48, 96)
    before = frame_to_image(read_frames(source)[0].video)[0].astype(float)
    assert np.abs(np.rot90(before, -1) - frame_to_image(frame)[0]).mean() < 12


@pytest.mark.parametrize("name", ["out.mp4", "out.mov", "out.mkv", "out.webm"])
def test_the_rotation_is_stored_where_there_is_a_field(tmp_path, name):
    source = turned_clip(tmp_path / "in.mov", codec="libx264")
    assert convert(source, tmp_path / name).lost == ()
    with Reader(tmp_path / name) as reader:
        assert reader.info.rotation == TURNED
        assert (reader.info.width, reader.info.height) == (96, 64)


def test_a_rotation_by_another_angle_is_lost():
    info = replace(PLAIN, rotation=(46341, 46341, 0, -46341, 46341, 0, 0, 0, 1 << 30))
    assert "rotation" in video_presentation("avi", info).lost[0]
    assert video_presentation("mp4", info).lost == []


def test_a_matrix_that_only_stretches_is_no_rotation(tmp_path):
    stretched = (93207, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)  # to 64:45, which FFmpeg reports as the pixel aspect
    source = make_clip(tmp_path / "in.mp4", frames=2, codec="libx264",
                       prepare=lambda _, stream: stream.set_display_matrix(stretched))  # fmt: skip
    convert(source, tmp_path / "out.mp4")
    for path in (source, tmp_path / "out.mp4"):
        with Reader(path) as reader:
            assert reader.info.rotation is None
            assert abs(reader.info.aspect / ASPECT - 1) < 1e-3


def test_turning_on_the_side_gives_422_full_chroma_and_moves_its_location():
    info = replace(PLAIN, pixel_format="yuv422p10le", rotation=TURNED, aspect=Fraction(4, 3))
    presentation = Presentation(info, keeps_aspect=True)
    result = presentation.info
    assert (result.width, result.height, result.aspect) == (32, 48, Fraction(3, 4))
    assert (result.pixel_format, result.colour.location, result.rotation) == ("yuv444p10le", "top", None)
    frame = presentation.apply(av.VideoFrame(48, 32, "yuv422p10le"))
    assert (frame.format.name, frame.width, frame.height) == ("yuv444p10le", 32, 48)


ASPECT = Fraction(64, 45)


def wide_clip(path, size=(96, 64), aspect=ASPECT):
    def prepare(_, stream):
        stream.codec_context.sample_aspect_ratio = aspect

    return make_clip(path, frames=2, codec="libx264", size=size, prepare=prepare)


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.webm", None), ("a.mkv", "vp9"), ("a.mkv", "av1"), ("a.mkv", "ffv1"), ("a.mkv", None), ("a.mp4", None),
     ("a.mov", "prores"), ("a.y4m", None), ("a.avi", None)],
)  # fmt: skip
def test_the_pixel_aspect_is_stored(tmp_path, name, codec):
    summary = convert(wide_clip(tmp_path / "in.mp4"), tmp_path / name, codec=codec)
    with Reader(tmp_path / name) as reader:
        assert reader.info.aspect == ASPECT
        assert len([item for item in reader if not hasattr(item, "packet")]) == 2
    assert summary.lost == ()


def test_the_title_and_the_place_of_everything_else_are_kept_beside_the_pixel_aspect(tmp_path):
    source, vp9 = replace(PLAIN, aspect=ASPECT), EncoderSettings("vp9")
    with VideoWriter(tmp_path / "a.mkv", source, Fraction(25), settings=vp9) as writer:
        writer._stream.metadata["title"] = "Ein Film äöü"
        for index in range(3):
            frame = av.VideoFrame(48, 32, "yuv420p")
            for plane in planes(frame):
                plane[...] = 80
            writer.write(frame, index)
        writer.commit()
    with av.open(str(tmp_path / "a.mkv"), options={"err_detect": "crccheck+explode"}) as container:
        stream = container.streams.video[0]
        assert stream.metadata["title"] == "Ein Film äöü"
        assert stream.sample_aspect_ratio == ASPECT
        container.seek(80000)
        assert len(list(container.decode(video=0))) == 3


def test_a_pixel_aspect_that_cannot_be_stored_is_named(tmp_path):
    summary = convert(wide_clip(tmp_path / "in.mp4"), tmp_path / "a.avi", codec="utvideo")
    assert summary.lost == ("the pixel aspect ratio 64:45",)


@pytest.mark.parametrize(("aspect", "size"), [(ASPECT, (137, 64)), (Fraction(1, 2), (96, 128))])
def test_gifs_get_square_pixels(tmp_path, aspect, size):
    summary = convert(wide_clip(tmp_path / "in.mp4", aspect=aspect), tmp_path / "a.gif")
    video = read_frames(tmp_path / "a.gif")[0].video
    assert (video.width, video.height) == size
    assert f"scaled to {size[0]}x{size[1]}" in summary.notes[0]


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp", ".bmp"])
def test_images_state_the_pixel_aspect_or_get_square_pixels(tmp_path, suffix):
    convert(wide_clip(tmp_path / "in.mp4"), str(tmp_path / f"a_%03d{suffix}"))
    images = ImageReader(str(tmp_path / f"a_%03d{suffix}"))
    states = suffix in (".png", ".jpg", ".tif")
    assert images.aspect == (ASPECT if states else None)
    assert (images.width, images.height) == ((96, 64) if states else (137, 64))
    convert(str(tmp_path / f"a_%03d{suffix}"), tmp_path / "again.mp4")
    with Reader(tmp_path / "again.mp4") as reader:
        assert reader.info.aspect == images.aspect


# -- HDR

PQ = replace(PLAIN, pixel_format="yuv420p10le", colour=Colour(9, 16, 9, 1), hdr=HDR(content_light=(1000, 400)))


def map_light(light, transfer=16, info=PQ):
    """SDR light in units of white that comes of light in cd/m2, (..., 3) in BT.2020."""
    light = np.asarray(light, np.float64).reshape(1, -1, 3)
    if transfer == 16:
        codes = transfer_of(16).from_light(light / 10000)
    else:  # the inverse of a display's system gamma, 1.2 at 1000 cd/m2
        luminance = np.maximum(light / 1000 @ (0.2627, 0.6780, 0.0593), 1e-9)
        codes = transfer_of(18).from_light(light / 1000 * luminance[..., None] ** (1 / 1.2 - 1))
    mapper = ToneMapper(replace(info, colour=replace(info.colour, transfer=transfer)), BT1886)
    return BT1886.to_light(mapper.convert(codes.astype(np.float32)))[0]


@pytest.mark.parametrize("transfer", [16, 18])
def test_dark_greys_keep_their_light_and_the_peak_becomes_white(transfer):
    greys = np.array([1, 10, 50, 90, 203, 400, 700, 1000.0])
    result = map_light(np.repeat(greys[:, None], 3, 1), transfer)
    np.testing.assert_allclose(result[:4, 0] * SDR_WHITE, greys[:4], rtol=0.02)
    assert np.all(np.diff(result[:, 0]) > 0)
    assert result[-1, 0] > 0.99
    np.testing.assert_allclose(result, result[:, :1].repeat(3, 1), atol=2e-3)


def test_hues_of_bt709_stay_and_others_come_into_its_gamut():
    to_bt2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])
    orange = np.array([1.0, 0.4, 0.1])
    for light in (20, 300, 900):
        result = map_light(light * to_bt2020 @ orange)[0]
        np.testing.assert_allclose(result / result[0], orange, atol=0.02)
    green = map_light([0, 300.0, 0])[0]  # of BT.2020: outside of BT.709
    assert green[1] == green.max() > 0.5
    assert green.min() == 0


def test_a_peak_below_white_is_not_compressed():
    info = replace(PQ, hdr=HDR(luminance=(Fraction(0), Fraction(100))))
    np.testing.assert_allclose(map_light([150.0] * 3, info=info)[0] * SDR_WHITE, 150, rtol=0.02)


@pytest.mark.parametrize(
    ("suffix", "tone_map", "mapped"),
    [(".png", "auto", False), (".png", "on", True), (".jpg", "auto", True), (".tif", "auto", True),
     (".webp", "auto", True), (".jpg", "off", False)],
)  # fmt: skip
def test_images_that_cannot_state_hdr_become_sdr(suffix, tone_map, mapped):
    presentation = image_presentation(suffix, PQ, tone_map)
    assert presentation.info.colour.hdr is not mapped
    assert any("mapped to SDR" in note for note in presentation.notes) is mapped


@pytest.mark.parametrize(
    ("name", "codec", "lost"),
    [("a.mkv", "ffv1", False), ("a.mp4", None, False), ("a.avi", "utvideo", True), ("a.y4m", None, True)],
)
def test_an_output_that_cannot_state_hdr_says_so(tmp_path, name, codec, lost):
    colour = {"color_primaries": 9, "color_trc": 18, "colorspace": 9, "color_range": 1}
    source = make_clip(tmp_path / "in.mkv", frames=2, pixel_format="yuv420p10le", colour=colour)
    assert ("that the video is HDR (HLG)" in convert(source, tmp_path / name, codec=codec).lost) is lost


def test_hdr_clips_become_sdr_where_asked_for_and_in_gifs(tmp_path):
    colour = {"color_primaries": 9, "color_trc": 16, "colorspace": 9, "color_range": 1}
    source = make_clip(tmp_path / "in.mkv", frames=2, pixel_format="yuv420p10le", colour=colour)
    convert(source, tmp_path / "hdr.mkv")
    convert(source, tmp_path / "sdr.mkv", tone_map="on")
    convert(source, tmp_path / "sdr.gif")
    with Reader(tmp_path / "hdr.mkv") as hdr, Reader(tmp_path / "sdr.mkv") as sdr:
        assert hdr.info.colour.transfer == 16
        assert (sdr.info.colour.primaries, sdr.info.colour.transfer, sdr.info.colour.matrix) == (1, 1, 1)
    video, gif = (read_frames(tmp_path / name)[0].video for name in ("sdr.mkv", "sdr.gif"))
    image = np.array(frame_to_image(video)[0] // 257, float)
    assert np.abs(image - frame_to_image(gif)[0]).mean() < 12

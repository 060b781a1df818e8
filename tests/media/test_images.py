"""Image sequences: every format is read and written correctly, and nothing incomplete is left behind."""

import errno
import itertools
import os
import struct
import zlib
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from betwixt.errors import InputError, OutputError, UsageError
from betwixt.media.images import writer
from betwixt.media.images.convert import frame_to_image, image_to_frame
from betwixt.media.images.paths import find_images, is_image_location
from betwixt.media.images.reader import ImageReader, read_image
from betwixt.media.images.writer import ImageWriter

WIDTH, HEIGHT = 46, 34


def make_image(dtype=np.uint8, seed=0):
    """A smooth colourful image, so that lossy codecs stay close."""
    y, x = np.mgrid[:HEIGHT, :WIDTH] / np.float64(WIDTH)
    planes = [0.5 + 0.45 * np.sin(seed + 5 * x + k * y + k) for k in range(3)]
    return np.rint(np.stack(planes, axis=2) * np.iinfo(dtype).max).astype(dtype)


def save(path, pixels):
    channels = pixels if pixels.ndim == 2 else pixels[..., [2, 1, 0, 3][: pixels.shape[2]]]
    assert cv2.imwrite(str(path), channels)
    return path


def write_all(location, frames, **options):
    with ImageWriter(location, **options) as writer:
        for frame in frames:
            writer.write(frame)


def one_line(error):
    return "\n" not in str(error.value)


# -- locations


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for number in (1, 2, 10, 9):
        save(folder / f"img{number}.png", make_image(seed=number))
    return folder


def test_a_folder_is_read_in_natural_order(folder):
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden.png").write_bytes(b"no image")
    assert [p.name for p in find_images(folder)] == ["img1.png", "img2.png", "img9.png", "img10.png"]
    assert [p.name for p in find_images(f"{folder}/*.png")] == ["img1.png", "img2.png", "img9.png", "img10.png"]
    assert [p.name for p in find_images(folder / "img2.png")] == ["img2.png"]


def test_a_pattern_starts_at_any_number_and_a_gap_is_named(tmp_path):
    for number in (7, 8, 10):
        save(tmp_path / f"f_{number:03d}.png", make_image())
    save(tmp_path / "f_9.png", make_image())  # no leading zeros: not in the pattern
    with pytest.raises(InputError, match=r"f_009\.png is missing") as error:
        find_images(tmp_path / "f_%03d.png")
    assert one_line(error)
    (tmp_path / "f_010.png").unlink()
    assert [p.name for p in find_images(tmp_path / "f_%03d.png")] == ["f_007.png", "f_008.png"]
    assert [p.name for p in find_images(str(tmp_path / "f_%d.png"))] == ["f_9.png"]


@pytest.mark.parametrize("name", ["empty", "none_%03d.png", "none*.png", "none.png", "nowhere/f_%03d.png"])
def test_a_location_without_images_is_refused(tmp_path, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError) as error:
        find_images(tmp_path / name)
    assert one_line(error)


def test_an_existing_name_with_special_characters_is_a_file(tmp_path):
    for name in ("100%02d.png", "[a].png"):
        save(tmp_path / name, make_image())
        assert find_images(tmp_path / name) == [tmp_path / name]
        assert read_image(tmp_path / name).width == WIDTH


def test_input_locations(folder, tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"")
    for location in (folder, f"{folder}/", folder / "img1.png", "x_%05d.png", f"{folder}/*", "*.jpg"):
        assert is_image_location(location)
    for location in (tmp_path / "a.mp4", "b.mkv", "c.gif", "-", "rtsp://host/a_%d.png", f"{tmp_path}/*.mp4"):
        assert not is_image_location(location)


def test_output_locations(tmp_path):
    for location in (tmp_path, "out/", "out", "out_%04d.tif", "one.webp"):
        assert is_image_location(location, output=True)
    for location in ("out.mp4", "out.gif", "-", "out.jxl"):
        assert not is_image_location(location, output=True)


def test_images_of_two_sizes_are_refused(folder):
    save(folder / "img3.png", make_image()[:-2])
    with pytest.raises(InputError, match=r"img3\.png is 46x32, .*img1\.png is 46x34") as error:
        ImageReader(folder)
    assert one_line(error)


def test_images_of_incompatible_formats_are_refused(folder):
    save(folder / "img3.jpg", make_image())
    with pytest.raises(InputError, match=r"img3\.jpg has the pixel format yuvj420p") as error:
        ImageReader(folder)
    assert one_line(error)


# -- reading


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("alpha", [False, True])
def test_lossless_images_are_read_exactly(tmp_path, suffix, dtype, alpha):
    pixels = make_image(dtype)
    if alpha:
        pixels = np.dstack([pixels, np.full((HEIGHT, WIDTH), np.iinfo(dtype).max, dtype)])
        pixels[5:9, :, 3] = 77
    if alpha and suffix == "tif":
        write_all(tmp_path / "a.tif", [image_to_frame(pixels[..., :3], pixels[..., 3])])
    else:
        save(tmp_path / f"a.{suffix}", pixels)
    rgb, opacity = frame_to_image(read_image(tmp_path / f"a.{suffix}"))
    assert rgb.dtype == dtype
    np.testing.assert_array_equal(rgb, pixels[..., :3])
    if alpha:
        np.testing.assert_array_equal(opacity, pixels[..., 3])
    else:
        assert opacity is None


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_grey_images_are_full_range(tmp_path, dtype, suffix):
    grey = np.linspace(0, np.iinfo(dtype).max, HEIGHT * WIDTH).astype(dtype).reshape(HEIGHT, WIDTH)
    frame = read_image(save(tmp_path / f"g.{suffix}", grey))
    assert frame.format.name.startswith("gray")
    rgb, _ = frame_to_image(frame)
    np.testing.assert_array_equal(rgb, np.repeat(grey[..., None], 3, axis=2))


@pytest.mark.parametrize(("suffix", "tolerance"), [("jpg", 12), ("webp", 0), ("bmp", 0)])
def test_jpeg_webp_and_bmp_are_read_correctly(tmp_path, suffix, tolerance):
    path = tmp_path / f"a.{suffix}"
    options = [cv2.IMWRITE_JPEG_QUALITY, 98] if suffix == "jpg" else []
    if suffix == "webp":
        options = [cv2.IMWRITE_WEBP_QUALITY, 101]
    assert cv2.imwrite(str(path), make_image()[..., ::-1], options)
    rgb, _ = frame_to_image(read_image(path))
    np.testing.assert_allclose(rgb.astype(int), make_image(), atol=tolerance)


def test_linear_floating_point_becomes_16_bit_srgb(tmp_path):
    light = np.full((HEIGHT, WIDTH, 3), 0.2140411, np.float32)  # sRGB 0.5
    light[0, 0] = (4.0, -1.0, np.nan)
    frame = av.VideoFrame.from_ndarray(light, format="gbrpf32le")
    context = av.CodecContext.create("exr", "w")
    context.width, context.height, context.pix_fmt = WIDTH, HEIGHT, "gbrpf32le"
    context.time_base = Fraction(1, 25)
    frame.pts = 0
    (tmp_path / "a.exr").write_bytes(b"".join(bytes(p) for p in context.encode(frame) + context.encode(None)))
    reader = ImageReader(tmp_path / "a.exr")
    rgb, _ = frame_to_image(next(iter(reader)))
    assert reader.format == "rgb48le"
    np.testing.assert_allclose(rgb[5], 32768, atol=2)
    np.testing.assert_array_equal(rgb[0, 0], [65535, 0, 0])


@pytest.mark.parametrize("name", ["rgb48le", "rgba64le"])
def test_exr_holds_every_16_bit_value_in_linear_light(tmp_path, name):
    channels = 3 if name == "rgb48le" else 4
    values = np.arange(1 << 16, dtype=np.uint16).reshape(256, 256)
    pixels = np.stack([values, values.T, 65535 - values, values][:channels], axis=2)
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format=name)
    with ImageWriter(tmp_path / "a_%04d.exr", start_number=1001) as writer:
        writer.write(frame)
    assert [path.name for path in tmp_path.glob("*.exr")] == ["a_1001.exr"]
    data = (tmp_path / "a_1001.exr").read_bytes()
    context = av.CodecContext.create("exr", "r")
    (raw,) = context.decode(av.Packet(data)) or context.decode(None)
    grey = raw.to_ndarray()[..., 0][values == 32768]
    np.testing.assert_allclose(grey, 0.2140411, rtol=1e-4)
    rgb, alpha = frame_to_image(read_image(tmp_path / "a_1001.exr"))
    np.testing.assert_array_equal(rgb, pixels[..., :3])
    assert (alpha is None) == (channels == 3)
    if alpha is not None:
        np.testing.assert_array_equal(alpha, pixels[..., 3])


def test_a_sequence_may_begin_at_any_number(tmp_path):
    with ImageWriter(tmp_path / "a_%04d.png", start_number=0) as writer:
        for _ in range(3):
            writer.write(av.VideoFrame(16, 16, "rgb24"))
    assert sorted(path.name for path in tmp_path.glob("*.png")) == ["a_0000.png", "a_0001.png", "a_0002.png"]
    with pytest.raises(UsageError, match="numbered from 0 or higher"):
        ImageWriter(tmp_path / "b_%04d.png", start_number=-1)


def with_orientation(path, orientation):
    data = path.read_bytes()
    tiff = b"MM\0*" + struct.pack(">IH", 8, 1) + struct.pack(">HHIHH", 0x112, 3, 1, orientation, 0) + bytes(4)
    segment = b"Exif\0\0" + tiff
    path.write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + data[2:])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("sampling", [0x111111, 0x211111, 0x221111])
def test_photographs_are_turned_upright(tmp_path, orientation, sampling):
    path = tmp_path / "a.jpg"
    options = [cv2.IMWRITE_JPEG_QUALITY, 98, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]
    assert cv2.imwrite(str(path), make_image()[..., ::-1], options)
    with_orientation(path, orientation)
    expected = cv2.imread(str(path), cv2.IMREAD_COLOR)[..., ::-1]  # applies the orientation too
    reader = ImageReader(path)
    frame = next(iter(reader))
    assert (reader.width, reader.height, reader.format) == (frame.width, frame.height, frame.format.name)
    rgb, _ = frame_to_image(frame)
    assert rgb.shape == expected.shape
    assert np.abs(rgb.astype(int) - expected).mean() < 3


def test_a_sequence_is_read_unchanged_and_more_than_once(folder):
    reader = ImageReader(folder)
    assert (reader.width, reader.height, reader.format, len(reader)) == (WIDTH, HEIGHT, "rgb24", 4)
    for _ in range(2):
        for frame, seed in zip(reader, (1, 2, 9, 10), strict=True):
            np.testing.assert_array_equal(frame.to_ndarray(), make_image(seed=seed))


def test_grey_and_16_bit_images_are_brought_to_one_format_without_loss(tmp_path):
    grey, deep = make_image()[..., 0], make_image(np.uint16)
    save(tmp_path / "1.png", grey)
    save(tmp_path / "2.png", make_image())
    save(tmp_path / "3.png", deep)
    reader = ImageReader(tmp_path)
    assert reader.format == "rgb48le"
    first, second, third = (f.to_ndarray() for f in reader)
    np.testing.assert_array_equal(first, np.repeat(grey[..., None], 3, axis=2).astype(np.uint16) * 257)
    np.testing.assert_array_equal(second, make_image().astype(np.uint16) * 257)
    np.testing.assert_array_equal(third, deep)


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp", "bmp"])
@pytest.mark.parametrize("part", [0.0, 0.1, 0.6, 0.97])
def test_a_damaged_image_is_named(folder, suffix, part):
    for number in (1, 2, 9, 10):
        (folder / f"img{number}.png").unlink()
    rng = np.random.default_rng(0)
    for number in (1, 2):
        save(folder / f"img{number}.{suffix}", rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8))
    path = folder / f"img2.{suffix}"
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(InputError, match=rf"img2\.{suffix}") as error:
        list(ImageReader(folder))
    assert one_line(error)


def test_a_flipped_bit_in_a_png_is_detected(tmp_path):
    path = save(tmp_path / "a.png", make_image())
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"a\.png is damaged"):
        read_image(path)


@pytest.mark.parametrize("content", [b"hello there, no picture", b"RIFF\x30\0\0\0WEBPVP8X\x0a\0\0\0\x02"])
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(InputError) as error:
        read_image(tmp_path / "a.png")
    assert one_line(error)


def test_the_format_follows_from_the_content(tmp_path):
    save(tmp_path / "a.png", make_image()).rename(tmp_path / "a.jpg")
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg").to_ndarray(), make_image())


# -- writing


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp", ".bmp"])
def test_images_are_read_back_as_they_were_written(tmp_path, dtype, alpha, suffix):
    pixels = make_image(dtype)
    opacity = (pixels[..., 1] // 2) if alpha else None
    write_all(tmp_path / "out", [image_to_frame(pixels, opacity)], suffix=suffix)
    rgb, alpha_read = frame_to_image(read_image(tmp_path / "out" / f"frame_000001{suffix}"))
    deep = dtype == np.uint16
    if deep and suffix in (".webp", ".bmp"):
        pixels = np.rint(pixels / 257).astype(np.uint8)
        opacity = None if opacity is None else np.rint(opacity / 257).astype(np.uint8)
    assert rgb.dtype == pixels.dtype
    if suffix == ".webp" and alpha:
        visible = opacity > 0
        np.testing.assert_array_equal(rgb[visible], pixels[visible])
    else:
        np.testing.assert_array_equal(rgb, pixels)
    if alpha:
        np.testing.assert_array_equal(alpha_read, opacity)


def test_frames_in_a_format_of_the_codec_are_written_unchanged(tmp_path):
    for suffix, name in ((".png", "gray16be"), (".png", "ya8"), (".tif", "gray"), (".tif", "rgb48le")):
        rng = np.random.default_rng(0)
        frame = av.VideoFrame(WIDTH, HEIGHT, name)
        for plane in frame.planes:
            plane.update(rng.integers(0, 256, plane.buffer_size, np.uint8).tobytes())
        frame.color_range = 2
        path = tmp_path / f"{name}{suffix}"
        write_all(path, [frame])
        result = read_image(path)
        assert result.format.name == name
        np.testing.assert_array_equal(frame_to_image(result)[0], frame_to_image(frame)[0])


@pytest.mark.parametrize("quality", [None, 90, 50])
def test_jpeg_is_close_and_keeps_its_subsampling(tmp_path, quality):
    write_all(tmp_path / "a.jpg", [image_to_frame(make_image())], quality=quality)
    frame = read_image(tmp_path / "a.jpg")
    error = np.abs(frame_to_image(frame)[0].astype(int) - make_image())
    assert error.mean() < {None: 1.5, 90: 2.5, 50: 6}[quality]
    assert np.abs(cv2.imread(str(tmp_path / "a.jpg"))[..., ::-1].astype(int) - make_image()).mean() < 6
    # A frame of a JPEG is encoded again without a conversion: subsampling and range stay.
    write_all(tmp_path / "b.jpg", [frame], quality=quality)
    assert read_image(tmp_path / "b.jpg").format.name == frame.format.name == "yuvj444p"


def test_lower_quality_makes_smaller_files(tmp_path):
    noisy = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    for suffix in ("jpg", "webp"):
        sizes = []
        for quality in (95, 60, 20):
            path = tmp_path / f"{quality}.{suffix}"
            write_all(path, [image_to_frame(noisy)], quality=quality)
            sizes.append(path.stat().st_size)
        assert sizes[0] > sizes[1] > sizes[2]


@pytest.mark.parametrize("space", ["ITU601", "ITU709"])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_video_frames_keep_their_colours(tmp_path, space, full, suffix):
    colours = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    colours[:, :24], colours[:, 24:] = (200, 40, 90), (30, 180, 220)
    video = av.VideoFrame.from_ndarray(colours, format="rgb24").reformat(
        format="yuv420p", dst_colorspace=space, dst_color_range="JPEG" if full else "MPEG"
    )
    write_all(tmp_path / f"a{suffix}", [video])
    rgb, _ = frame_to_image(read_image(tmp_path / f"a{suffix}"))
    np.testing.assert_allclose(rgb[:, 4:20].astype(int), colours[:, 4:20], atol=4)
    np.testing.assert_allclose(rgb[:, 28:-4].astype(int), colours[:, 28:-4], atol=4)


@pytest.mark.parametrize("size", [(46, 34), (45, 33)])
@pytest.mark.parametrize("name", ["yuv420p", "yuv422p", "yuv444p"])
def test_chroma_is_not_shifted_in_a_jpeg(tmp_path, monkeypatch, name, size):
    ramp = np.tile(np.arange(size[0], dtype=np.uint8) * 4 + 30, (size[1], 1))
    pixels = np.stack([ramp, np.full_like(ramp, 128), 255 - ramp], axis=2)
    video = av.VideoFrame(*size, name)
    monkeypatch.setattr(writer, "frame_to_image", lambda frame: (pixels, None))
    write_all(tmp_path / "a.jpg", [video])
    frame = read_image(tmp_path / "a.jpg")
    assert frame.format.name == name.replace("yuv", "yuvj")
    inner = frame_to_image(frame)[0].astype(int)[4:-4, 4:-4] - pixels[4:-4, 4:-4]
    assert np.abs(inner.mean(axis=(0, 1))).max() < 1


def test_10_bit_video_is_written_with_16_bits_and_white_stays_white(tmp_path):
    video = av.VideoFrame(WIDTH, HEIGHT, "yuv420p10le")
    for plane, value in zip(video.planes, (940, 512, 512), strict=True):
        plane.update(np.full(plane.buffer_size // 2, value, "<u2").tobytes())
    for suffix in (".png", ".tif"):
        write_all(tmp_path / f"a{suffix}", [video])
        rgb, _ = frame_to_image(read_image(tmp_path / f"a{suffix}"))
        assert rgb.dtype == np.uint16
        assert rgb.min() == 65535


def test_grey_video_is_expanded_to_full_range(tmp_path):
    video = av.VideoFrame(WIDTH, HEIGHT, "gray")
    video.planes[0].update(np.full(video.planes[0].buffer_size, 235, np.uint8).tobytes())
    video.color_range = 1
    write_all(tmp_path / "a.png", [video])
    frame = read_image(tmp_path / "a.png")
    assert frame.format.name == "gray"
    assert frame_to_image(frame)[0].min() == 255


def frames(count=3):
    return [image_to_frame(make_image(seed=k)) for k in range(count)]


def frames_until_interrupt():
    yield frames()[0]
    raise KeyboardInterrupt


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_all_numbered_files_appear_on_commit(tmp_path):
    writer = ImageWriter(tmp_path / "out")
    for frame in frames():
        writer.write(frame)
    assert not (tmp_path / "out").exists()
    assert writer.count == 3
    writer.commit()
    assert names(tmp_path) == ["out"]
    assert names(tmp_path / "out") == ["frame_000001.png", "frame_000002.png", "frame_000003.png"]
    np.testing.assert_array_equal(read_image(tmp_path / "out/frame_000003.png").to_ndarray(), make_image(seed=2))
    # It has the permissions of any new folder, not those of a temporary one.
    (tmp_path / "other").mkdir()
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_a_pattern_in_a_new_folder_and_in_one_that_exists(tmp_path):
    write_all(tmp_path / "new" / "f_%03d.tif", frames(2))
    assert names(tmp_path / "new") == ["f_001.tif", "f_002.tif"]
    (tmp_path / "new" / "notes.txt").write_text("stays")
    write_all(tmp_path / "new" / "g_%d.jpg", frames(2))
    assert names(tmp_path / "new") == ["f_001.tif", "f_002.tif", "g_1.jpg", "g_2.jpg", "notes.txt"]


@pytest.mark.parametrize("place", ["out", "out/f_%04d.png", "out/one.png"])
def test_abort_leaves_everything_as_before(tmp_path, place):
    (tmp_path / "out").mkdir()
    with pytest.raises(KeyboardInterrupt):
        write_all(tmp_path / place, frames_until_interrupt())
    assert names(tmp_path) == ["out"]
    assert names(tmp_path / "out") == []


def test_existing_images_are_not_overwritten_by_default(tmp_path):
    write_all(tmp_path / "out", frames())
    for place in ("out", "out/", "out/frame_%06d.png", "out/frame_000002.png"):
        with pytest.raises(OutputError, match="`overwrite=True`") as error:
            ImageWriter(f"{tmp_path}/{place}")
        assert one_line(error)
    assert len(names(tmp_path / "out")) == 3


def test_overwrite_replaces_only_the_sequence(tmp_path):
    write_all(tmp_path / "out", frames(4))
    (tmp_path / "out" / "notes.txt").write_text("stays")
    with pytest.raises(KeyboardInterrupt):
        write_all(tmp_path / "out", frames_until_interrupt(), overwrite=True)
    assert len(names(tmp_path / "out")) == 5
    write_all(tmp_path / "out", frames(2)[::-1], overwrite=True)
    assert names(tmp_path / "out") == ["frame_000001.png", "frame_000002.png", "notes.txt"]
    np.testing.assert_array_equal(read_image(tmp_path / "out/frame_000001.png").to_ndarray(), make_image(seed=1))
    write_all(tmp_path / "out" / "one.png", frames(1))
    write_all(tmp_path / "out" / "one.png", frames(2)[1:], overwrite=True)
    np.testing.assert_array_equal(read_image(tmp_path / "out/one.png").to_ndarray(), make_image(seed=1))


def test_a_file_name_takes_a_single_image(tmp_path):
    with pytest.raises(UsageError, match=r"a_%05d\.png") as error:
        write_all(tmp_path / "a.png", frames(2))
    assert one_line(error)
    assert names(tmp_path) == []


@pytest.mark.parametrize("place", ["no/such/folder", "no/such/f_%d.png", "file/out", "file/", "file/a.png"])
def test_places_that_cannot_be_written_are_refused_at_once(tmp_path, place):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OutputError) as error:
        ImageWriter(f"{tmp_path}/{place}")
    assert one_line(error)


@pytest.mark.parametrize("options", [{"suffix": ".gif"}, {"suffix": ".jpg", "quality": 0}, {"quality": 80}])
def test_options_that_do_not_fit_are_refused(tmp_path, options):
    with pytest.raises(UsageError) as error:
        ImageWriter(tmp_path / "out", **options)
    assert one_line(error)
    assert names(tmp_path) == []


def test_two_numbers_in_a_pattern_are_refused(tmp_path):
    with pytest.raises(UsageError):
        ImageWriter(tmp_path / "a%d_%d.png")
    with pytest.raises(UsageError):
        find_images(tmp_path / "a%d_%d.png")


@pytest.mark.parametrize(
    ("code", "words"), [(errno.ENOSPC, "disk is full"), (errno.EROFS, "read-only"), (errno.EIO, "input/output")]
)
def test_a_failed_write_is_explained_and_cleaned_up(tmp_path, monkeypatch, code, words):
    calls = itertools.count()
    write_bytes = Path.write_bytes

    def failing(self, data):
        if next(calls):
            raise OSError(code, os.strerror(code))
        return write_bytes(self, data)

    monkeypatch.setattr(Path, "write_bytes", failing)
    with pytest.raises(OutputError, match=words) as error:
        write_all(tmp_path / "out", frames(2))
    assert one_line(error)
    assert names(tmp_path) == []


def test_a_failed_move_is_explained_and_cleaned_up(tmp_path, monkeypatch):
    def failing(source, target):
        raise OSError(errno.EACCES, "no")

    monkeypatch.setattr(os, "rename", failing)
    with pytest.raises(OutputError, match="no permission"):
        write_all(tmp_path / "out", frames(2))
    assert names(tmp_path) == []


@pytest.mark.parametrize("bad", [np.zeros((4, 4)), np.zeros((4, 4, 3), np.float32), np.zeros((4, 4, 4), np.uint8)])
def test_image_to_frame_refuses_other_arrays(bad):
    with pytest.raises(UsageError):
        image_to_frame(bad)
    with pytest.raises(UsageError):
        image_to_frame(make_image(), make_image(np.uint16)[..., 0])


# -- kinds of TIFF and WebP


def with_tag(data, tag, value):
    """A little-endian TIFF with a tag of one 16-bit integer, in place of its sample format."""
    start = struct.unpack_from("<I", data, 4)[0]
    count = struct.unpack_from("<H", data, start)[0]
    entries = [data[place : place + 12] for place in range(start + 2, start + 2 + 12 * count, 12)]
    kept = [entry for entry in entries if struct.unpack_from("<H", entry)[0] not in (tag, 339)]
    kept.append(struct.pack("<HHIHH", tag, 3, 1, value, 0))
    kept.sort(key=lambda entry: struct.unpack_from("<H", entry)[0])
    directory = struct.pack("<H", len(kept)) + b"".join(kept) + bytes(4)
    return data[:start] + directory + data[start + len(directory) :]


def tiff(pixels, *options):
    channels = pixels if pixels.ndim == 2 else pixels[..., ::-1]
    return cv2.imencode(".tif", channels, list(options))[1].tobytes()


JPEG = (cv2.IMWRITE_TIFF_COMPRESSION, 7)


def test_tiffs_with_jpeg_compression_are_read(tmp_path):
    pixels = make_image()
    (tmp_path / "a.tif").write_bytes(tiff(pixels, *JPEG))
    image, alpha = frame_to_image(read_image(tmp_path / "a.tif"))
    assert alpha is None
    assert np.abs(image.astype(int) - pixels).mean() < 3
    assert ImageReader(tmp_path / "a.tif").format == "rgb24"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floating_point_tiffs_from_0_to_1_become_16_bit(tmp_path, dtype):
    values = make_image(np.uint16)
    (tmp_path / "a.tif").write_bytes(tiff((values / 65535).astype(dtype)))
    frame = read_image(tmp_path / "a.tif")
    assert frame.format.name == ImageReader(tmp_path / "a.tif").format == "rgb48le"
    assert np.abs(frame_to_image(frame)[0].astype(int) - values).max() <= 1


def test_floating_point_tiffs_of_another_range_are_refused(tmp_path):
    (tmp_path / "a.tif").write_bytes(tiff(make_image().astype(np.float32)))
    with pytest.raises(InputError, match="white is expected at 1") as error:
        read_image(tmp_path / "a.tif")
    assert one_line(error)


@pytest.mark.parametrize(
    ("tag", "value", "name"), [(259, 50000, "Zstandard"), (259, 34887, "LERC"), (262, 8, r"L\*a\*b\*")]
)
def test_tiffs_that_nothing_reads_are_refused_by_name(tmp_path, tag, value, name):
    (tmp_path / "a.tif").write_bytes(with_tag(tiff(make_image(), cv2.IMWRITE_TIFF_COMPRESSION, 1), tag, value))
    for read in (read_image, ImageReader):
        with pytest.raises(InputError, match=name) as error:
            read(tmp_path / "a.tif")
        assert one_line(error)


@pytest.mark.parametrize("options", [(cv2.IMWRITE_TIFF_COMPRESSION, 5), JPEG])
def test_tiffs_are_turned_upright(tmp_path, options):
    pixels = make_image()
    (tmp_path / "a.tif").write_bytes(with_tag(tiff(pixels, *options), 274, 6))
    image, _ = frame_to_image(read_image(tmp_path / "a.tif"))
    assert np.abs(image.astype(int) - np.rot90(pixels, -1)).mean() < 3
    reader = ImageReader(tmp_path / "a.tif")
    assert (reader.width, reader.height) == (HEIGHT, WIDTH)


def test_tiffs_in_tiles_are_read(tmp_path):
    tile = np.full((16, 16), 90, np.uint8).tobytes()
    entries = [(256, 46), (257, 34), (258, 8), (259, 1), (262, 1), (277, 1), (322, 16), (323, 16)]
    offsets = b"".join(struct.pack("<I", 200 + 256 * k) for k in range(9))
    directory = b"".join(struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in entries)
    directory += struct.pack("<HHII", 324, 4, 9, 2000 + 600) + struct.pack("<HHII", 325, 4, 9, 2000 + 636)
    data = (b"II*\0" + struct.pack("<IH", 8, 10) + directory + bytes(4)).ljust(200, b"\0") + tile * 9
    data = data.ljust(2600, b"\0") + offsets + struct.pack("<9I", *[256] * 9)
    (tmp_path / "a.tif").write_bytes(data)
    image, _ = frame_to_image(read_image(tmp_path / "a.tif"))
    assert image.shape == (34, 46, 3)
    assert np.all(image == 90)


@pytest.mark.parametrize("cut", [3, 12, 200])
def test_a_tiff_that_is_cut_off_is_called_damaged(tmp_path, cut):
    (tmp_path / "a.tif").write_bytes(tiff(make_image(), *JPEG)[:-cut] if cut > 12 else b"II*\0" + bytes(cut))
    with pytest.raises(InputError) as error:
        read_image(tmp_path / "a.tif")
    assert one_line(error)


def animation(still, frames=1, place=0):
    """A WebP animation whose frames are the image of a still WebP."""
    body = still[12:]
    if body[:4] == b"VP8X":
        body = body[18:]
    size = (WIDTH - 1).to_bytes(3, "little") + (HEIGHT - 1).to_bytes(3, "little")
    frame = place.to_bytes(3, "little") + bytes(3) + size + (100).to_bytes(3, "little") + b"\0" + body
    chunks = [(b"VP8X", b"\x12\0\0\0" + size), (b"ANIM", bytes(6)), *[(b"ANMF", frame)] * frames]
    content = b"WEBP" + b"".join(k + struct.pack("<I", len(b)) + b + bytes(len(b) % 2) for k, b in chunks)
    return b"RIFF" + struct.pack("<I", len(content)) + content


@pytest.mark.parametrize("options", [{}, {"quality": 90}])
@pytest.mark.parametrize("alpha", [False, True])
def test_a_webp_animation_of_one_frame_is_a_still_image(tmp_path, options, alpha):
    opacity = np.tile(np.linspace(0, 255, WIDTH).astype(np.uint8), (HEIGHT, 1)) if alpha else None
    write_all(tmp_path / "still.webp", [image_to_frame(make_image(), opacity)], **options)
    (tmp_path / "a.webp").write_bytes(animation((tmp_path / "still.webp").read_bytes()))
    expected, still = read_image(tmp_path / "still.webp"), read_image(tmp_path / "a.webp")
    assert ImageReader(tmp_path / "a.webp").format == still.format.name == expected.format.name
    for a, b in zip(frame_to_image(expected), frame_to_image(still), strict=True):
        np.testing.assert_array_equal(a, b)


def test_longer_webp_animations_are_refused(tmp_path):
    write_all(tmp_path / "still.webp", [image_to_frame(make_image())])
    still = (tmp_path / "still.webp").read_bytes()
    for data in (animation(still, frames=2), animation(still, place=1)):
        (tmp_path / "a.webp").write_bytes(data)
        with pytest.raises(InputError, match="animated WebP"):
            read_image(tmp_path / "a.webp")


def with_exif(path, orientation):
    """A copy of a PNG or WebP that states an orientation."""
    exif = b"MM\0*" + struct.pack(">IH", 8, 1) + struct.pack(">HHIHH", 0x112, 3, 1, orientation, 0) + bytes(4)
    data = path.read_bytes()
    if path.suffix == ".png":
        chunk = struct.pack(">I", len(exif)) + b"eXIf" + exif + struct.pack(">I", zlib.crc32(b"eXIf" + exif))
        result = data[:33] + chunk + data[33:]  # after the header
    else:
        size = (WIDTH - 1).to_bytes(3, "little") + (HEIGHT - 1).to_bytes(3, "little")
        content = b"WEBPVP8X" + struct.pack("<I", 10) + b"\x08\0\0\0" + size + data[12:] + bytes(len(data) % 2)
        content += b"EXIF" + struct.pack("<I", len(exif)) + exif
        result = b"RIFF" + struct.pack("<I", len(content)) + content
    path.write_bytes(result)


@pytest.mark.parametrize("orientation", [1, 2, 3, 6, 8, 9])
@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_png_and_webp_are_turned_upright(tmp_path, suffix, orientation):
    path = tmp_path / f"a{suffix}"
    write_all(path, [image_to_frame(make_image())])
    with_exif(path, orientation)
    image, _ = frame_to_image(read_image(path))
    upright = {2: np.fliplr, 3: lambda i: np.rot90(i, 2), 6: lambda i: np.rot90(i, -1), 8: np.rot90}
    np.testing.assert_array_equal(image, upright.get(orientation, np.asarray)(make_image()))
    reader = ImageReader(path)
    assert (reader.height, reader.width) == image.shape[:2]


def test_a_palette_is_turned_upright(tmp_path):
    for name, opacity in (("a.png", None), ("b.png", [255, 0, 128, 255])):
        path = palette_png(tmp_path / name, opacity)
        expected = frame_to_image(read_image(path))[0]
        with_exif(path, 6)
        frame = read_image(path)
        np.testing.assert_array_equal(frame_to_image(frame)[0], np.rot90(expected, -1))
        assert ImageReader(path).format == frame.format.name


# -- transparency that is none


def palette_png(path, opacity):
    """A PNG of 4 colours; `opacity` of each, or None to state none."""
    rows = b"".join(b"\0" + bytes(x // 12 % 4 for x in range(WIDTH)) for _ in range(HEIGHT))
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 3, 0, 0, 0))]
    chunks.append((b"PLTE", bytes([200, 30, 10, 20, 180, 40, 10, 60, 220, 250, 240, 10])))
    if opacity is not None:
        chunks.append((b"tRNS", bytes(opacity)))
    chunks += [(b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    data = b"".join(struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in chunks)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + data)
    return path


def test_a_palette_without_transparency_has_no_alpha(tmp_path):
    frame = read_image(palette_png(tmp_path / "a.png", None))
    assert frame.format.name == ImageReader(tmp_path / "a.png").format == "rgb24"
    image, alpha = frame_to_image(frame)
    assert alpha is None
    assert [image[5, x].tolist() for x in (0, 12, 24, 36)] == [
        [200, 30, 10], [20, 180, 40], [10, 60, 220], [250, 240, 10],
    ]  # fmt: skip
    palette_png(tmp_path / "b.png", [255, 0, 128, 255])
    assert frame_to_image(read_image(tmp_path / "b.png"))[1][5, [0, 12, 24]].tolist() == [255, 0, 128]
    assert ImageReader(str(tmp_path / "*.png")).format == "rgba"


def test_lossless_webp_without_transparency_has_no_alpha(tmp_path):
    write_all(tmp_path / "a.webp", [image_to_frame(make_image())])
    frame = read_image(tmp_path / "a.webp")
    assert frame.format.name == ImageReader(tmp_path / "a.webp").format == "rgb24"
    np.testing.assert_array_equal(frame_to_image(frame)[0], make_image())

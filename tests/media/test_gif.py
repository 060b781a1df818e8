"""GIF: times that never drift, still areas that stay still, transparency, and no incomplete files."""

import builtins
import errno
import os
from fractions import Fraction

import av
import numpy as np
import pytest

from betwixt.errors import OutputError, UsageError
from betwixt.media.gif import MAX_RATE, GifWriter
from betwixt.media.images.convert import frame_to_image, image_to_frame

WIDTH, HEIGHT = 60, 40


def image(k=0):
    """A gradient with a red rectangle at position k."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    rgb = np.stack([40 + 3 * x, 60 + 3 * y, 200 - 2 * x], axis=2).astype(np.uint8)
    rgb[5:20, 3 + k : 15 + k] = (220, 60, 30)
    return rgb


def write(path, times, rate, images=None, **options):
    with GifWriter(path, WIDTH, HEIGHT, rate, **options) as writer:
        for k, time in enumerate(times):
            rgb = image(k % 40) if images is None else images[k]
            writer.write(image_to_frame(rgb), time)
    return writer


def read(path):
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


@pytest.mark.parametrize("rate", [Fraction(30), Fraction(24000, 1001), Fraction(50), Fraction(7), Fraction(1, 2)])
def test_times_do_not_drift(tmp_path, rate):
    count = 60 if rate > 10 else 12
    write(tmp_path / "a.gif", [k / rate for k in range(count)], rate)
    frames = read(tmp_path / "a.gif")
    assert len(frames) == count
    for k, frame in enumerate(frames):
        assert abs(frame.pts - k / rate * 100) <= Fraction(1, 2)
        end = frame.pts + frame.duration
        assert abs(end - (k + 1) / rate * 100) <= Fraction(1, 2)  # the last frame's too
    if rate == 30:
        assert {f.duration for f in frames} == {3, 4}


def test_uneven_times_are_kept_and_the_first_becomes_zero(tmp_path):
    times = [Fraction(k, 100) for k in (500, 510, 530, 535, 635)]
    write(tmp_path / "a.gif", times, Fraction(2))
    frames = read(tmp_path / "a.gif")
    assert [(f.pts, f.duration) for f in frames] == [(0, 10), (10, 20), (30, 5), (35, 100), (135, 50)]


def test_a_single_frame(tmp_path):
    write(tmp_path / "a.gif", [Fraction(0)], Fraction(10))
    (frame,) = read(tmp_path / "a.gif")
    assert frame.duration == 10


@pytest.mark.parametrize("loop", [True, False])
def test_loop(tmp_path, loop):
    write(tmp_path / "a.gif", [Fraction(0), Fraction(1)], Fraction(1), loop=loop)
    assert (b"NETSCAPE2.0" in (tmp_path / "a.gif").read_bytes()) == loop


def test_colours_are_close_and_still_areas_do_not_change(tmp_path):
    images = [image(k) for k in range(12)]
    write(tmp_path / "a.gif", [Fraction(k, 25) for k in range(12)], Fraction(25), images)
    decoded = [frame_to_image(f)[0] for f in read(tmp_path / "a.gif")]
    for source, result in zip(images, decoded, strict=True):
        assert np.abs(source.astype(int) - result).mean() < 6
    for k in range(1, 12):
        still = (images[k] == images[k - 1]).all(axis=2)
        np.testing.assert_array_equal(decoded[k][still], decoded[k - 1][still])


def noise(seed, low, high):
    """An image of 200 colours that other seeds do not share."""
    rng = np.random.default_rng(seed)
    colours = rng.integers(low, high, (200, 3), np.uint8)
    return colours[rng.integers(0, 200, (HEIGHT, WIDTH))]


def test_each_scene_has_its_own_palette(tmp_path):
    scenes = [noise(0, 0, 120)] * 3 + [noise(1, 100, 256)] * 60 + [noise(2, 0, 200)] * 3
    write(tmp_path / "a.gif", [Fraction(k, 25) for k in range(len(scenes))], Fraction(25), scenes)
    for source, frame in zip(scenes, read(tmp_path / "a.gif"), strict=True):
        # 200 colours fit into one palette; those of two scenes do not.
        assert np.abs(source.astype(int) - frame_to_image(frame)[0]).mean() < 3


def test_a_colour_that_appears_slowly_gets_into_the_palette(tmp_path):
    grey = np.repeat(np.linspace(0, 255, WIDTH).astype(np.uint8)[None, :, None], HEIGHT, axis=0).repeat(3, axis=2)
    images = []
    for k in range(110):  # without a cut, after the palette has been made
        rgb = grey.copy()
        rgb[:, : max(0, k - 50)] = (230, 20, 60)
        images.append(rgb)
    write(tmp_path / "a.gif", [Fraction(k, 25) for k in range(110)], Fraction(25), images)
    last = frame_to_image(read(tmp_path / "a.gif")[-1])[0]
    assert np.abs(last[:, :50].astype(int) - (230, 20, 60)).max() < 16


def test_transparency(tmp_path):
    with GifWriter(tmp_path / "a.gif", WIDTH, HEIGHT, Fraction(25)) as writer:
        for k in range(5):
            alpha = np.zeros((HEIGHT, WIDTH), np.uint8)
            alpha[5:20, 3 + k : 15 + k] = 255
            writer.write(image_to_frame(image(k), alpha), Fraction(k, 25))
    for k, frame in enumerate(read(tmp_path / "a.gif")):
        rgb, alpha = frame_to_image(frame)
        visible = np.zeros((HEIGHT, WIDTH), bool)
        visible[5:20, 3 + k : 15 + k] = True
        np.testing.assert_array_equal(alpha > 0, visible)
        assert np.abs(rgb[visible].astype(int) - (220, 60, 30)).max() < 8


def test_deep_and_yuv_frames(tmp_path):
    deep = image_to_frame(image().astype(np.uint16) * 257)
    yuv = image_to_frame(image()).reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
    yuv.colorspace, yuv.color_range = 1, 1
    with GifWriter(tmp_path / "a.gif", WIDTH, HEIGHT, Fraction(10)) as writer:
        writer.write(deep, Fraction(0))
        writer.write(yuv, Fraction(1, 10))
    for frame in read(tmp_path / "a.gif"):
        assert np.abs(frame_to_image(frame)[0].astype(int) - image()).mean() < 7


def test_memory_is_bounded(tmp_path):
    with GifWriter(tmp_path / "a.gif", WIDTH, HEIGHT, Fraction(50)) as writer:
        held = 0
        for k in range(60):
            writer.write(image_to_frame(image(k % 40)), Fraction(k, 50))
            held = max(held, len(writer._held))
        assert held <= 48


@pytest.mark.parametrize(
    ("size", "rate", "words"),
    [
        ((60, 40), Fraction(60), "`fps=50` or less"),
        ((60, 40), Fraction(0), "above zero"),
        ((70000, 40), Fraction(25), "65535"),
    ],
)
def test_rates_and_sizes_that_a_gif_cannot_have_are_refused(tmp_path, size, rate, words):
    with pytest.raises(UsageError, match=words) as error:
        GifWriter(tmp_path / "a.gif", *size, rate)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []
    assert MAX_RATE == 50


@pytest.mark.parametrize("times", [(0, 1), (0, 0), (10, 5)])
def test_frames_too_close_are_refused(tmp_path, times):
    with pytest.raises(UsageError):
        write(tmp_path / "a.gif", [Fraction(t, 100) for t in times], Fraction(50))
    assert list(tmp_path.iterdir()) == []


def test_a_frame_of_another_size_is_refused(tmp_path):
    with pytest.raises(UsageError, match="58x40"):
        write(tmp_path / "a.gif", [Fraction(0)], Fraction(50), [image()[:, 2:]])


def test_the_file_appears_on_commit(tmp_path):
    path = tmp_path / "a.gif"
    writer = GifWriter(path, WIDTH, HEIGHT, Fraction(10))
    writer.write(image_to_frame(image()), Fraction(0))
    assert not path.exists()
    writer.commit()
    assert [p.name for p in tmp_path.iterdir()] == ["a.gif"]
    before = path.read_bytes()
    with pytest.raises(OutputError, match="overwrite"):
        GifWriter(path, WIDTH, HEIGHT, Fraction(10))
    writer = GifWriter(path, WIDTH, HEIGHT, Fraction(10), overwrite=True)
    for k in range(60):
        writer.write(image_to_frame(image()), Fraction(k, 10))
    writer.abort()
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.gif"]
    write(path, [Fraction(0)], Fraction(10), [image(9)], overwrite=True)
    assert path.read_bytes() != before


def test_without_a_frame_nothing_is_written(tmp_path):
    with pytest.raises(OutputError, match="no frame"):
        write(tmp_path / "a.gif", [], Fraction(10))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["no/a.gif", "file/a.gif", "."])
def test_places_that_cannot_be_written_are_refused_at_once(tmp_path, place):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OutputError) as error:
        GifWriter(tmp_path / place, WIDTH, HEIGHT, Fraction(10))
    assert "\n" not in str(error.value)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("count", [1, 100])
def test_a_full_disk_is_explained_and_cleaned_up(tmp_path, monkeypatch, count):
    genuine = builtins.open
    opened = []

    def full(file, mode="r", **more):
        opened.append(mode)
        if opened.count("x+b") < 2:  # the trial file, which is opened first, finds room
            return genuine(file, mode, **more)
        file.touch()
        return genuine("/dev/full", "r+b", buffering=0)

    monkeypatch.setattr(builtins, "open", full)
    with pytest.raises(OutputError, match="the disk is full") as error:
        write(tmp_path / "a.gif", [Fraction(k, 25) for k in range(count)], Fraction(25))
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_move_is_explained_and_cleaned_up(tmp_path, monkeypatch):
    def failing(source, target):
        raise OSError(errno.EACCES, "no")

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(OutputError, match="no permission"):
        write(tmp_path / "a.gif", [Fraction(0)], Fraction(25))
    assert list(tmp_path.iterdir()) == []

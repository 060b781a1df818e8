"""Frames that a program hands over, in place of a file."""

import threading
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from PIL import Image

import betwixt
from betwixt.errors import InputError, UsageError
from betwixt.media.frame_source import FrameSource
from betwixt.media.frames import planes
from betwixt.media.images.convert import image_to_frame
from betwixt.media.reader import Frame, Reader
from betwixt.media.source import open_source
from clips import TURNED, frames_equal, make_clip, make_interlaced_clip, read_frames, turned_clip

IMAGES = [np.random.default_rng(n).integers(0, 256, (48, 64, 3), np.uint8) for n in range(6)]


def times_of(source):
    return [(item.index, item.time) for item in source if isinstance(item, Frame)]


def to_frames(images, **options):
    return list(betwixt.frames(images, model="dis", scene_cuts="off", **options))


@pytest.mark.parametrize(
    "give",
    [
        lambda images: images,
        iter,
        np.stack,
        lambda images: (Image.fromarray(image) for image in images),
        lambda images: torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2),
        lambda images: [image_to_frame(image) for image in images],
        lambda images: [(image, n / 25) for n, image in enumerate(images)],
        lambda images: [(image_to_frame(image), Fraction(n, 25)) for n, image in enumerate(images)],
    ],
)
def test_images_and_video_frames_come_out_untouched(give):
    made = to_frames(give(IMAGES))
    assert len(made) == 12
    assert all(np.array_equal(a.image, b) for a, b in zip(made[::2], IMAGES, strict=True))
    assert [frame.time for frame in made] == [Fraction(n, 50) for n in range(12)]
    assert [frame.synthesized for frame in made[:4]] == [False, True, False, True]


def test_deep_images_and_floats_keep_16_bits():
    deep = [image.astype(np.uint16) * 251 for image in IMAGES]
    assert np.array_equal(to_frames(deep)[4].image, deep[2])
    floats = [image.astype(np.float32) / 255 for image in IMAGES]
    assert np.array_equal(to_frames(floats)[4].image, IMAGES[2].astype(np.uint16) * 257)


def test_frames_decoded_by_pyav_are_converted_as_their_file_is(tmp_path):
    source = make_clip(tmp_path / "in.mkv", frames=8, rate=Fraction(24000, 1001), size=(64, 48))
    with av.open(str(source)) as container:
        made = to_frames(container.decode(video=0), fps=60)
    expected = to_frames(source, fps=60)
    assert len(made) == len(expected)
    assert all(frames_equal(a.video, b.video) for a, b in zip(made, expected, strict=True))
    assert [frame.kind for frame in made] == [frame.kind for frame in expected]


def test_a_file_can_be_made_of_images(tmp_path):
    seen = []
    summary = betwixt.interpolate_video(
        IMAGES, tmp_path / "out.mkv", model="dis", input_fps=10, fps=20, codec="ffv1", pixel_format="bgr0",
        progress=seen.append,
    )  # fmt: skip
    assert (summary.frames_in, summary.frames_out, summary.rate, seen[0].total) == (6, 12, 20, 12)
    (samples,) = planes(read_frames(tmp_path / "out.mkv")[4].video)
    assert np.array_equal(samples[..., 2::-1], IMAGES[2])
    assert betwixt.blur_video(iter(IMAGES), tmp_path / "blur.mkv", model="dis").frames_out == 6
    assert betwixt.extrapolate_video(IMAGES[:2], tmp_path / "more.mkv", model="dis", scene_cuts="off").frames_out == 3


def test_constant_rates_are_found_behind_rounded_times():
    with_floats = [(image, n / 30) for n, image in enumerate(IMAGES)]
    source = open_source(with_floats)
    assert (source.info.rate, source.info.variable, source.info.frames) == (30, False, 6)
    assert times_of(source) == [(n, Fraction(n, 30)) for n in range(6)]
    assert source.info.duration == Fraction(1, 5)
    exact = [(image, 7 + Fraction(n, 13)) for n, image in enumerate(IMAGES)]
    source = open_source(exact)
    assert (source.info.rate, source.info.variable, source.info.start) == (13, False, 7)


def test_variable_times_are_kept():
    times = [Fraction(1), Fraction(5, 4), Fraction(4, 3), Fraction(2), Fraction(9, 4), Fraction(3)]
    source = open_source(zip(IMAGES, times, strict=True))
    assert (source.info.variable, source.info.rate, source.info.frames) == (True, Fraction(5, 2), None)
    assert times_of(source) == list(enumerate(times))
    assert open_source(list(zip(IMAGES, times, strict=True))).info.duration == 2 + Fraction(2, 5)
    evenly = open_source(zip(IMAGES, times, strict=True), input_fps=Fraction(5))
    assert times_of(evenly) == [(n, Fraction(n, 5)) for n in range(6)]


def test_frames_that_are_missing_leave_a_gap():
    times = [Fraction(n, 25) for n in (0, 1, 2, 3, 50, 51)]
    source = open_source(list(zip(IMAGES, times, strict=True)), start=Fraction(1))
    assert (source.info.rate, source.info.duration) == (25, Fraction(52, 25))
    assert [index for index, _ in times_of(source)] == [3, 4, 5]


def test_a_live_source_without_times_starts_with_its_first_frame():
    read = []
    source = open_source(read.append(n) or image for n, image in enumerate(IMAGES))
    assert (read, source.info.rate, source.info.duration) == ([0], 25, None)


def test_a_part_begins_and_ends_with_the_frames_around_it():
    source = open_source(IMAGES, start=Fraction(3, 50), end=Fraction(7, 50))
    assert [index for index, _ in times_of(source)] == [1, 2, 3, 4]
    beyond = open_source(IMAGES, start=Fraction(9))
    assert [index for index, _ in times_of(beyond)] == [5]


def test_video_frames_can_be_given_again_and_keep_their_rotation(tmp_path):
    with av.open(str(turned_clip(tmp_path / "in.mov", codec="libx264"))) as container:
        frames = list(container.decode(video=0))
    stamps = [(frame.pts, frame.time_base) for frame in frames]
    for name in ("a.mp4", "b.mp4"):
        betwixt.interpolate_video(frames, tmp_path / name, model="dis")
        assert len(read_frames(tmp_path / name)) == 4
        with Reader(tmp_path / name) as reader:
            assert reader.info.rotation == TURNED
    assert [(frame.pts, frame.time_base) for frame in frames] == stamps
    assert to_frames(frames)[0].image.shape == (96, 64, 3)


SMALLER = np.zeros((40, 64, 3), np.uint8)


@pytest.mark.parametrize(
    ("frames", "options", "error", "message"),
    [
        ([], {}, InputError, "The iterable has no frames"),
        (5.0, {}, UsageError, "The source is a float: give a path"),
        ([IMAGES[0], "x"], {}, UsageError, "Frame 1 is a str"),
        ([np.stack(IMAGES)], {}, UsageError, "Frame 0 is a batch of 6 frames"),
        ([IMAGES[0], SMALLER], {}, UsageError, "Frame 1 is 64x40, rgb24, the first one 64x48, rgb24: bring all"),
        ([IMAGES[0], IMAGES[1].astype(np.uint16)], {}, UsageError, "Frame 1 is 64x48, rgb48le"),
        ([IMAGES[0], IMAGES[1] / 2], {}, UsageError, r"Frame 1 has values from 0 to 127\.5"),
        ([(IMAGES[0], 0), IMAGES[1]], {}, UsageError, "Frame 1 has no time, but the first one has"),
        ([(IMAGES[0], 0), (IMAGES[1], 0)], {}, UsageError, "Frame 1 is at 0 s, the one before at 0 s"),
        ([(IMAGES[0], "soon")], {}, UsageError, "The time 'soon' of a frame is not a number of seconds"),
        ([(IMAGES[0], float("nan"))], {}, UsageError, "is not a number of seconds"),
        (IMAGES, {"stream": 1}, UsageError, "`stream` is for videos: frames have no streams"),
        (IMAGES, {"interlaced": "deinterlace"}, UsageError, "cannot be deinterlaced"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(frames, options, error, message):
    with pytest.raises(error, match=message) as raised:
        to_frames(frames, **options)
    assert "\n" not in str(raised.value)


def test_interlaced_frames_are_refused_or_taken_as_they_are(tmp_path):
    source = make_interlaced_clip(tmp_path / "in.mpg", 4)
    with av.open(str(source)) as container, pytest.raises(UsageError, match="Frame 0 is interlaced"):
        to_frames(container.decode(video=0))
    with av.open(str(source)) as container:
        assert len(to_frames(container.decode(video=0), interlaced="ignore")) == 8


def test_an_exception_of_the_iterable_reaches_the_caller(tmp_path):
    def broken():
        yield from IMAGES * 2
        raise LookupError("the camera is gone")

    made = betwixt.frames(broken(), model="dis", scene_cuts="off")
    seen = []
    with pytest.raises(LookupError, match="the camera is gone"):
        seen.extend(made)
    assert len(seen) > 12
    with pytest.raises(LookupError):
        betwixt.interpolate_video(broken(), tmp_path / "out.mkv", model="dis")
    assert list(tmp_path.iterdir()) == []


def test_an_iterable_that_waits_for_ever_can_be_left():
    release = threading.Event()

    def waiting():
        yield from IMAGES * 2
        release.wait(60)
        yield IMAGES[0]

    with betwixt.frames(waiting(), model="dis", scene_cuts="off") as frames:
        next(frames)
    assert not [thread for thread in threading.enumerate() if thread.name == "betwixt-direct"]
    release.set()


def test_arrays_may_be_used_again_by_the_iterable():
    buffer = np.empty((48, 64, 3), np.uint8)

    def reused():
        for image in IMAGES:
            buffer[:] = image
            yield buffer

    assert isinstance(open_source(reused()), FrameSource)
    assert all(np.array_equal(a.image, b) for a, b in zip(to_frames(reused())[::2], IMAGES, strict=True))

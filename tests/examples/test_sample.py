"""The sample clip: the same film at any time, size and rate, with a cut that is visible and audible at once."""

import itertools
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from betwixt.errors import OutputError, UsageError
from betwixt.media.images.convert import frame_to_image
from sample import RATE, SOUND_RATE, make_sample, render, sound
from sample_scenes import Layer, shift_kernel

SIZE = (160, 90)


def difference(a, b):
    return float(np.abs(a.astype(int) - b.astype(int)).mean())


def test_a_frame_depends_only_on_its_time_and_the_seed():
    first = render(Fraction(1, 3), *SIZE)
    assert first.shape == (90, 160, 3)
    assert first.dtype == np.uint8
    render(Fraction(5), *SIZE)
    np.testing.assert_array_equal(render(Fraction(1, 3), *SIZE), first)
    assert difference(render(Fraction(1, 3), *SIZE, seed=1), first) > 5
    assert difference(render(Fraction(9, 24), *SIZE), first) > 1
    assert render(Fraction(600), *SIZE).shape == first.shape  # there is a frame at any time


def test_there_is_one_cut_half_way():
    times = [Fraction(k, 12) for k in range(25)]
    frames = [render(t, *SIZE, seconds=2) for t in times]
    steps = [difference(a, b) for a, b in itertools.pairwise(frames)]
    assert int(np.argmax(steps)) == 11  # from 11/12 s to 1 s
    assert steps[11] > 2.5 * max(steps[:11] + steps[12:])


def test_motion_is_smooth_below_one_pixel():
    # Each small step changes the frame, and two of them about twice as much as one.
    for start in (Fraction(1), Fraction(4)):
        a, b, c = (render(start + Fraction(k, 2000), *SIZE).astype(float) for k in range(3))
        one, two = np.abs(b - a).mean(), np.abs(c - a).mean()
        assert 0 < one < two < 2.2 * one


def test_layers_are_shifted_exactly():
    period, width, speed = 256, 100, 37.0
    x = np.arange(-4, period + width + 5)
    wave = 0.5 + 0.4 * np.sin(2 * np.pi * 32 * x / period)  # a period of eight pixels
    pixels = np.repeat(np.repeat(wave[None, :, None], 4, axis=2), 5, axis=0).astype(np.float32)
    layer = Layer(pixels, period, 0, speed)
    for t in (0.0, 0.013, 1.7, -0.3, 100.1):
        expected = 0.5 + 0.4 * np.sin(2 * np.pi * 32 * (np.arange(width) + speed * t) / period)
        np.testing.assert_allclose(layer.at(t, width)[2, :, 0], expected, atol=0.004)
    np.testing.assert_allclose(shift_kernel(0.0), [0, 0, 0, 0, 1, 0, 0, 0, 0], atol=1e-7)


def test_another_size_shows_the_same_film():
    for time in (Fraction(1), Fraction(4)):
        small, large = render(time, *SIZE), render(time, 320, 180)
        scaled = cv2.resize(large, SIZE, interpolation=cv2.INTER_AREA)
        assert difference(scaled, small) < 9


def test_streams_times_and_colours_of_the_file(tmp_path):
    calls = []
    path = make_sample(
        tmp_path / "a.mp4", width=160, height=90, seconds=1, progress=lambda done, all: calls.append((done, all))
    )
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]
    assert calls == [(k, 24) for k in range(1, 25)]
    with av.open(str(path)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.codec_context.name, video.codec_context.profile) == ("h264", "High")
        assert (audio.codec_context.name, audio.layout.name, audio.rate) == ("aac", "stereo", SOUND_RATE)
        assert video.average_rate == RATE
        assert video.start_time == audio.start_time == 0
        frames = list(container.decode(video))
    assert [f.pts * f.time_base for f in frames] == [k / RATE for k in range(24)]
    assert {(f.colorspace, f.color_range, f.color_primaries, f.color_trc) for f in frames} == {(1, 1, 1, 1)}
    for k in (0, 7, 11, 12, 23):
        truth = render(k / RATE, *SIZE, seconds=1)
        decoded, _ = frame_to_image(frames[k])
        assert difference(decoded, truth) < 8
        # Colours have no bias.
        assert np.abs(decoded.astype(float).mean(axis=(0, 1)) - truth.mean(axis=(0, 1))).max() < 1


def test_the_same_seed_gives_the_same_file(tmp_path):
    options = {"width": 64, "height": 36, "seconds": Fraction(1, 2), "rate": Fraction(10)}
    a, b, c = (make_sample(tmp_path / f"{k}.mp4", seed=k // 2, **options).read_bytes() for k in range(3))
    assert a == b
    assert a != c


def test_the_tick_is_at_the_cut(tmp_path):
    samples = sound(2)
    assert samples.shape == (2, 2 * SOUND_RATE)
    assert np.abs(samples).max() <= 1
    assert np.isfinite(samples).all()
    loud = np.abs(samples).max(axis=0) > 0.3
    assert SOUND_RATE <= np.argmax(loud) < SOUND_RATE + 48  # within a millisecond
    # The same holds in the file, after encoding.
    make_sample(tmp_path / "a.mp4", width=64, height=36, seconds=2, rate=Fraction(12))
    with av.open(str(tmp_path / "a.mp4")) as container:
        audio = np.concatenate([f.to_ndarray() for f in container.decode(audio=0)], axis=1)
    onset = np.argmax(np.abs(audio).max(axis=0) > 0.3)
    assert abs(onset - SOUND_RATE) < SOUND_RATE // 200


@pytest.mark.parametrize("options", [{"width": 33}, {"height": 16}, {"rate": Fraction(0)}, {"seconds": Fraction(-1)}])
def test_impossible_sizes_rates_and_lengths_are_refused(tmp_path, options):
    with pytest.raises(UsageError) as error:
        make_sample(tmp_path / "a.mp4", **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("place", ["no/a.mp4", "file/a.mp4"])
def test_an_output_that_cannot_be_written_is_refused(tmp_path, place):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OutputError) as error:
        make_sample(tmp_path / place, width=64, height=36, seconds=1)
    assert "\n" not in str(error.value)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]

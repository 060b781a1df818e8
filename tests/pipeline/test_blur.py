"""Motion blur: exposures, numbers of samples, and blurred videos."""

import itertools
from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from betwixt.errors import UsageError
from betwixt.media.colour import Colour
from betwixt.models.dis.interpolator import DIS
from betwixt.pipeline.blur import (
    MAX_SAMPLES,
    MAX_SAMPLES_PER_PIXEL,
    blur_video,
    exposure_parts,
    plan_blur,
    sample_count,
    sample_times,
)
from betwixt.runtime.synthesis import PairSynthesis, Synthesizer
from clips import copy_planes, frames_equal, make_clip, read_frames

instants = st.integers(-120, 720).map(lambda n: Fraction(n, 60))
increasing = st.lists(instants, min_size=2, max_size=8, unique=True).map(sorted)
quick = settings(max_examples=60, deadline=None)


@quick
@given(increasing, instants, instants)
def test_exposure_parts_have_no_gaps_or_overlaps(times, a, b):
    opens, closes = sorted((a, b))
    parts = exposure_parts(times, opens, closes)
    low, high = max(opens, times[0]), min(closes, times[-1])
    if high <= low:
        assert parts == []
        return
    assert sum(p.share for p in parts) == 1
    spans = [tuple(times[p.left] + t * (times[p.left + 1] - times[p.left]) for t in (p.start, p.end)) for p in parts]
    assert (spans[0][0], spans[-1][1]) == (low, high)
    assert all(before[1] == after[0] for before, after in itertools.pairwise(spans))
    for part, (begin, end) in zip(parts, spans, strict=True):
        assert 0 <= part.start < part.end <= 1
        assert part.share == (end - begin) / (high - low)


@quick
@given(increasing, instants, instants, st.integers(1, 40))
def test_sample_times_are_evenly_spaced_within_their_part(times, a, b, count):
    for part in exposure_parts(times, *sorted((a, b))):
        found = sample_times(part, count)
        assert len(found) == count
        assert all(float(part.start) < t < float(part.end) for t in found) or part.end - part.start < Fraction(1, 10**9)
        assert np.mean(found) == pytest.approx(float(part.start + part.end) / 2)


@quick
@given(st.integers(1, MAX_SAMPLES), st.floats(0, 1), st.floats(0, 3000))
def test_sample_count_has_at_least_one_and_at_most_four_samples_per_pixel(wanted, share, distance):
    count = sample_count(wanted, share, distance)
    assert 1 <= count <= MAX_SAMPLES
    assert count >= min(distance, MAX_SAMPLES)
    assert count <= 2 + MAX_SAMPLES_PER_PIXEL * distance
    if distance >= 1 and distance <= wanted * share <= MAX_SAMPLES_PER_PIXEL * distance:
        assert abs(count - wanted * share) <= 1


def _means(path):
    return [copy_planes(f.video)[0].astype(float) for f in read_frames(path)]


@pytest.mark.parametrize("linear", [True, False])
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p10le", "yuv444p", "bgr0", "gray"])
def test_still_parts_stay_bit_identical(tmp_path, pixel_format, linear):
    source = make_clip(tmp_path / "in.mkv", frames=4, still=True, pixel_format=pixel_format)
    blur_video(source, tmp_path / "out.mkv", model="dis", codec="ffv1", linear=linear)
    for a, b in zip(read_frames(source), read_frames(tmp_path / "out.mkv"), strict=True):
        assert frames_equal(a.video, b.video)


def dot_clip(path, frames=5, speed=12, pixel_format="yuv420p", colour=None):
    """A clip of a bright square that moves over black, beside one that stands still."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 192, 96, pixel_format
        for index in range(frames):
            image = np.full((96, 192, 3), 16, np.uint8)
            image[20:60, 30 + speed * index : 70 + speed * index] = 235
            image[70:90, 4:24] = 200
            frame = av.VideoFrame.from_ndarray(image, "rgb24").reformat(format=pixel_format)
            frame.pts, frame.time_base = index, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def test_a_moving_edge_becomes_a_smooth_ramp(tmp_path):
    source = dot_clip(tmp_path / "in.mkv")
    blur_video(source, tmp_path / "out.mkv", shutter=360, model="dis", codec="ffv1", linear=False)
    before, after = _means(source)[2], _means(tmp_path / "out.mkv")[2]
    row = after[40, 36:112]
    edge = np.diff(row)
    assert np.abs(np.diff(before[40, 36:112])).max() > 150
    # over twelve pixels, about evenly: no step is more than twice its share
    assert np.abs(edge).max() < 2.2 * (235 - 16) / 12
    assert row[0] < 60
    assert row.max() > 200
    assert (after[72:88, 6:20] == before[72:88, 6:20]).all()


def test_averaging_linear_light_is_brighter_than_averaging_code_values(tmp_path):
    source = dot_clip(tmp_path / "in.mkv")
    blur_video(source, tmp_path / "light.mkv", shutter=360, model="dis", codec="ffv1")
    blur_video(source, tmp_path / "plain.mkv", shutter=360, model="dis", codec="ffv1", linear=False)
    light, plain = (_means(tmp_path / name)[2] for name in ("light.mkv", "plain.mkv"))
    assert (light >= plain - 1).all()
    assert (light - plain).max() > 20


def test_no_exposure_reaches_across_a_cut(tmp_path):
    source = make_clip(tmp_path / "in.mkv", frames=14, cuts=(7,), size=(160, 96))
    blur_video(source, tmp_path / "out.mkv", shutter=540, model="dis", codec="ffv1", linear=False)
    second = make_clip(tmp_path / "one shot.mkv", frames=14, size=(160, 96))
    blur_video(second, tmp_path / "one.mkv", shutter=540, model="dis", codec="ffv1", linear=False, end="0.28")
    cut, one = read_frames(tmp_path / "out.mkv"), read_frames(tmp_path / "one.mkv")
    assert frames_equal(cut[4].video, one[4].video)
    before, after = read_frames(source), cut
    # at the cut the exposures end with their shot, and are still nearer to it than to the other
    for k, other in ((6, 7), (7, 6)):
        own = np.abs(copy_planes(after[k].video)[0].astype(float) - copy_planes(before[k].video)[0]).mean()
        far = np.abs(copy_planes(after[k].video)[0].astype(float) - copy_planes(before[other].video)[0]).mean()
        assert own < 0.5 * far


def test_rates_slow_motion_sound_and_frame_count(tmp_path):
    source = make_clip(tmp_path / "in.mkv", rate=50, frames=20, audio=True)
    film = blur_video(source, tmp_path / "film.mkv", fps=25, model="dis", codec="ffv1")
    assert (film.frames_out, str(film.rate)) == (10, "25")
    with av.open(str(tmp_path / "film.mkv")) as container:
        assert container.streams.audio
    slow = blur_video(source, tmp_path / "slow.mkv", slow=2, end="0.2", model="dis", codec="ffv1")
    assert (slow.frames_out, str(slow.rate)) == (20, "50")
    assert any("moments" in note for note in slow.notes)
    assert plan_blur(source, tmp_path / "x.mkv", model="dis").rates.output == 50
    assert plan_blur(source, tmp_path / "x.mkv", model="dis", fps="49.95").notes == ()


def test_the_blur_of_the_paper_averages_33_frames_from_one_frame_to_the_next(tmp_path):
    source = make_clip(tmp_path / "in.mkv", frames=3, pixel_format="gray")
    done = blur_video(
        source, tmp_path / "out.mkv", shutter=360, phase=0, grid=32, linear=False, model="dis", codec="ffv1"
    )
    assert any("33 to 33 moments" in note for note in done.notes)
    frames = [frame.video for frame in read_frames(source)[:2]]
    synthesizer = Synthesizer(DIS(), frames[0], Colour())
    pair = PairSynthesis(synthesizer, *(synthesizer.source(frame) for frame in frames))
    made = [frames[0], *pair.synthesize([Fraction(k, 32) for k in range(1, 32)]), frames[1]]
    expected = np.mean([copy_planes(frame)[0] for frame in made], axis=0)
    found = copy_planes(read_frames(tmp_path / "out.mkv")[0].video)[0]
    np.testing.assert_allclose(found, expected, atol=0.51)


def test_a_video_with_one_frame_is_passed_on(tmp_path):
    source = make_clip(tmp_path / "in.mkv", frames=1)
    assert blur_video(source, tmp_path / "out.mkv", model="dis", codec="ffv1").frames_out == 1
    assert frames_equal(read_frames(source)[0].video, read_frames(tmp_path / "out.mkv")[0].video)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"shutter": 0}, "shutter"),
        ({"shutter": 721}, "shutter"),
        ({"shutter": "wide"}, "not a number"),
        ({"phase": "1000"}, "phase"),
        ({"samples": 0}, "samples"),
        ({"samples": 100000}, "samples"),
        ({"grid": 0}, "grid"),
        ({"fps": "0.1"}, "span"),
    ],
)
def test_bad_options_are_refused_in_one_line(tmp_path, options, says):
    source = make_clip(tmp_path / "in.mkv", frames=4)
    with pytest.raises(UsageError, match=says) as error:
        blur_video(source, tmp_path / "out.mkv", model="dis", **options)
    assert "\n" not in str(error.value)
    assert [p.name for p in tmp_path.iterdir()] == ["in.mkv"]

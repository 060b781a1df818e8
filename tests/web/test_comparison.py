"""Previews: what is in the excerpt, where the halves are, and the maps of a new frame."""

from __future__ import annotations

import zipfile
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from betwixt.errors import InputError, UsageError
from betwixt.web.comparison import Excerpt, Version, make_preview
from betwixt.web.pictures import read_rgb
from betwixt.web.stills import FramePair, make_still, read_pair
from betwixt.web.survey import survey_video
from clips import make_clip, paint, read_frames

INTERPOLATE = Version("interpolate", {"model": "dis"})


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clips") / "clip.mkv", frames=25)


def nearest(image: np.ndarray, source: list[np.ndarray]) -> int:
    """The number of the frame that an image is."""
    return int(np.argmin([abs(image.astype(int) - other).mean() for other in source]))


def images(path: Path) -> list[np.ndarray]:
    return [frame.video.to_ndarray(format="rgb24").astype(int) for frame in read_frames(path)]


def test_two_versions_are_one_video(tmp_path: Path, clip: Path) -> None:
    facts = make_preview(tmp_path, clip, Excerpt(0.2, 0.4), [INTERPOLATE, INTERPOLATE], "side")
    assert facts == {"width": 192, "height": 64, "rate": 50.0, "start": pytest.approx(0.2)}
    assert [path.name for path in tmp_path.iterdir()] == ["preview.mp4"]
    joined = images(tmp_path / "preview.mp4")
    assert len(joined) == 20
    assert abs(joined[3][:, :96] - joined[3][:, 96:]).mean() < 3
    assert nearest(joined[4][:, :96], images(clip)) == 7  # frame 4 of 50 a second is 2 of 25, from frame 5 on


@pytest.mark.parametrize(("layout", "size"), [("stack", (96, 128)), ("split", (96, 64))])
def test_layouts(tmp_path: Path, clip: Path, layout: str, size: tuple[int, int]) -> None:
    facts = make_preview(tmp_path, clip, Excerpt(0, 0.1), [Version(), Version()], layout)
    assert (facts["width"], facts["height"]) == size


def test_cuts_of_the_whole_video_hold_in_the_excerpt(tmp_path: Path, clip: Path) -> None:
    hold = Version("interpolate", {"model": "dis", "at_cuts": "hold"})
    make_preview(tmp_path, clip, Excerpt(0.2, 0.4, cuts=(0.08, 0.32)), [hold], "side")
    preview = images(tmp_path / "preview.mp4")
    steps = [abs(after - before).mean() for before, after in pairwise(preview[:8])]
    # At 0.30 s there is no new frame, but one of the frames beside the cut.
    assert min(steps[4:6]) < 0.1 < min(steps[:4])


def test_times_of_a_variable_rate_are_kept(tmp_path: Path) -> None:
    times = [Fraction(n, 25) for n in (0, 1, 2, 6, 7, 8, 9, 10)]
    source = make_clip(tmp_path / "vfr.mkv", frames=8, times=times, tick=Fraction(1, 1000))
    make_preview(tmp_path, source, Excerpt(0, 1), [Version("interpolate", {"model": "dis", "fps": "25"})], "side")
    assert len(read_frames(tmp_path / "preview.mp4")) == 11


def test_effects_are_shown_beside_the_source(tmp_path: Path, clip: Path) -> None:
    blur = Version("blur", {"model": "dis", "shutter": "720"})
    make_preview(tmp_path, clip, Excerpt(0, 0.4), [Version(), blur], "side")
    source, blurred = np.split(images(tmp_path / "preview.mp4")[5], 2, axis=1)
    assert np.abs(np.diff(blurred, axis=1)).mean() < np.abs(np.diff(source, axis=1)).mean()


def test_unknown_layouts_are_refused(tmp_path: Path, clip: Path) -> None:
    with pytest.raises(UsageError, match="no layout 'x'"):
        make_preview(tmp_path, clip, Excerpt(0, 1), [INTERPOLATE], "x")


def test_a_still_has_maps_arrays_and_scores(tmp_path: Path, clip: Path) -> None:
    facts = make_still(tmp_path, FramePair((clip,), 0.4, distance=2), "dis", arrays=True)
    assert {"frame", "flow_t0", "mask", "visible_0", "error", "regions_0"} <= set(facts["maps"])
    assert facts["scores"]["psnr"] > 25
    assert facts["maps"]["flow_t0"]["shape"] == list(np.load(tmp_path / "flow_t0.npy").shape)
    for name in facts["maps"]:
        assert read_rgb(tmp_path / f"{name}.png").shape == (64, 96, 3)
    names = zipfile.ZipFile(tmp_path / "maps.zip").namelist()
    assert sorted(names) == sorted(f"{name}{suffix}" for name in facts["maps"] for suffix in (".npy", ".png"))


def test_the_pair_of_a_time(tmp_path: Path, clip: Path) -> None:
    source = images(clip)
    first, second, truth = read_pair(FramePair((clip,), 10 / 25, distance=2))
    for image, number in ((first, 10), (second, 12), (truth, 11)):
        assert image is not None
        assert nearest(image, source) == number
    *_, after = read_pair(FramePair((clip,), 10 / 25, distance=1), after=True)
    assert after is not None
    assert nearest(after, source) == 12
    assert read_pair(FramePair((clip,), 10 / 25))[2] is None
    with pytest.raises(InputError, match="no two frames"):
        read_pair(FramePair((clip,), 24 / 25))


def test_pictures_make_a_pair(tmp_path: Path) -> None:
    files = tuple(tmp_path / f"{n}.png" for n in range(3))
    for number, path in zip((0, 4, 2), files, strict=True):
        paint(av.VideoFrame(64, 48, "rgb24"), number).save(path)
    facts = make_still(tmp_path, FramePair(files), "average")
    assert facts["scores"]["psnr"] > 10
    assert not (tmp_path / "maps.zip").exists()
    assert make_still(tmp_path, FramePair(files[:2]), "average")["scores"] == {}


def test_the_liveliest_moment_is_found_and_no_cut(tmp_path: Path) -> None:
    positions = [0.0] * 20 + [4.0 * n for n in range(1, 9)] + [32.0] * 20
    moving = make_clip(tmp_path / "a.mkv", frames=48, positions=positions, cuts=(10,))
    survey = survey_video(moving)
    assert survey.duration == pytest.approx(48 / 25, abs=0.05)
    assert 19 / 25 <= survey.liveliest <= 28 / 25
    assert survey.best_start(0.5) == pytest.approx(survey.liveliest - 0.25, abs=0.01)
    assert survey.best_start(100) == 0


def test_pictures_that_are_too_large_are_refused(tmp_path: Path) -> None:
    large, small = tmp_path / "large.png", tmp_path / "small.png"
    av.VideoFrame(4096, 2305, "gray").save(large)
    av.VideoFrame(64, 48, "gray").save(small)
    with pytest.raises(InputError, match=r"large\.png is 4096x2305"):
        read_pair(FramePair((small, large)))

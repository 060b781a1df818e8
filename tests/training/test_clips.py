from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from betwixt.errors import InputError
from betwixt.training.clips import ClipRule, RealTriplets, build_clip_cache


def write_clip(path: Path, frames: list[np.ndarray]) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264rgb", rate=25, options={"crf": "0"})
        stream.width, stream.height, stream.pix_fmt = frames[0].shape[1], frames[0].shape[0], "rgb24"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def texture(seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (18, 40, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(noise, (480, 160), interpolation=cv2.INTER_CUBIC), np.uint8)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip: ten frames of a pan, a cut, ten frames of another pan, ten static frames."""
    folder = tmp_path_factory.mktemp("clips")
    first, second = texture(1), texture(2)
    frames = [first[:, 3 * i : 3 * i + 160] for i in range(10)]
    frames += [second[:, 2 * i : 2 * i + 160] for i in range(10)]
    frames += [second[:, 18 : 18 + 160]] * 10
    write_clip(folder / "pan.mkv", [np.ascontiguousarray(f) for f in frames])
    write_clip(folder / "long.mkv", [np.ascontiguousarray(f) for f in frames])
    build_clip_cache([folder / "pan.mkv", folder / "long.mkv"], folder / "cache", {"long": ClipRule(end=0.3)})
    return folder / "cache"


def test_cuts_duplicates_and_static_triplets_are_left_out(cache: Path) -> None:
    rows = np.load(cache / "clips/pan.triplets.npy")
    starts, gaps, motion = rows[:, 0], rows[:, 1], rows[:, 3]
    ends = starts + gaps
    assert ((ends <= 9) | ((starts >= 10) & (ends <= 19))).all()
    assert set(gaps) == {2, 3, 4, 6}
    stride_one = motion[(gaps == 2) & (ends <= 9)]
    assert stride_one == pytest.approx(np.full(len(stride_one), 6.0), abs=1.0)


def test_the_end_of_a_clip_can_be_excluded(cache: Path) -> None:
    assert len(np.load(cache / "clips/long.npy")) == 8


def test_crops_are_in_time_order(cache: Path) -> None:
    triplets = RealTriplets(cache, {"long": ClipRule(weight=0.0)})
    # long, long aged, pan, pan aged
    assert triplets.probabilities == pytest.approx([0.0, 0.0, 1 / 1.4, 0.4 / 1.4], abs=0.03)
    for i in range(10):
        sample = triplets.draw(np.random.default_rng(i), 96)
        frames, t = sample.images, sample.t
        assert frames.shape == (3, 96, 96, 3)
        # In a pan at constant speed the middle frame is closer to each end than the ends are to each other.
        ends = np.abs(frames[0].astype(int) - frames[2]).mean()
        assert np.abs(frames[0 if t <= 0.5 else 2].astype(int) - frames[1]).mean() < ends


def test_the_cache_does_not_depend_on_the_number_of_processes(cache: Path, tmp_path: Path) -> None:
    clips = [cache.parent / name for name in ("pan.mkv", "long.mkv")]
    build_clip_cache(clips, tmp_path, {"long": ClipRule(end=0.3)}, jobs=2)
    for path in (cache / "clips").glob("*.npy"):
        np.testing.assert_array_equal(np.load(path), np.load(tmp_path / "clips" / path.name))


def test_a_degraded_clip_is_the_clip_with_coding_noise(cache: Path) -> None:
    clip, degraded = np.load(cache / "clips/pan.npy"), np.load(cache / "clips/pan~aged.npy")
    assert degraded.shape == clip.shape
    difference = np.abs(clip.astype(int) - degraded).mean(axis=(1, 2, 3))
    assert (difference > 0.5).all()
    assert (difference < 16).all()


def test_target_times_middle_and_next(cache: Path) -> None:
    middle, following = (RealTriplets(cache, times=times) for times in ("middle", "next"))
    for i in range(10):
        between, beyond = (triplets.draw(np.random.default_rng(i), 64) for triplets in (middle, following))
        assert (between.t, beyond.t) == (0.5, 2.0)
        # The same three frames; the middle and the last one have changed places.
        np.testing.assert_array_equal(beyond.images, between.images[[0, 2, 1]])


def test_gaps_and_excluded_clips(cache: Path) -> None:
    every, short = RealTriplets(cache), RealTriplets(cache, gaps=(2,))
    assert 0 < len(short) < len(every)
    assert len(RealTriplets(cache, exclude=("long",))) < len(every)
    with pytest.raises(InputError, match="weight above 0"):
        RealTriplets(cache, {name: ClipRule(weight=0.0) for name in ("pan", "long")})


def test_an_unpickled_source_draws_the_same_samples(cache: Path) -> None:
    triplets = RealTriplets(cache, {"long": ClipRule(weight=0.1)}, times="middle")
    message = pickle.dumps(triplets)
    assert len(message) < 2_000
    for i in range(5):
        ours, theirs = (t.draw(np.random.default_rng(i), 64) for t in (triplets, pickle.loads(message)))
        np.testing.assert_array_equal(ours.images, theirs.images)
        assert ours.t == theirs.t


def test_an_empty_data_folder_and_an_empty_cache_are_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        build_clip_cache([], tmp_path, {})
    with pytest.raises(InputError):
        RealTriplets(tmp_path)


def test_a_damaged_clip_is_named_and_leaves_no_files(tmp_path: Path) -> None:
    (tmp_path / "noise.mp4").write_bytes(bytes(range(256)) * 8)
    with pytest.raises(InputError, match=r"noise\.mp4 cannot be decoded"):
        build_clip_cache([tmp_path / "noise.mp4"], tmp_path / "cache", {})
    write_clip(tmp_path / "late.mkv", [np.ascontiguousarray(texture(1)[:, :160])] * 3)
    with pytest.raises(InputError, match=r"late\.mkv has no frame before 0 s"):
        build_clip_cache([tmp_path / "late.mkv"], tmp_path / "cache", {"late": ClipRule(end=0.0)})
    assert not list((tmp_path / "cache/clips").iterdir())


def test_clips_with_the_same_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Two clips are called 'a'"):
        build_clip_cache([tmp_path / "a.mp4", tmp_path / "a.mkv"], tmp_path, {})


def test_a_damaged_cache_is_named(cache: Path, tmp_path: Path) -> None:
    shutil.copytree(cache, tmp_path / "cache")
    frames = tmp_path / "cache/clips/pan.npy"
    frames.write_bytes(frames.read_bytes()[:5000])
    with pytest.raises(InputError, match=r"pan\.npy is damaged"):
        RealTriplets(tmp_path / "cache")

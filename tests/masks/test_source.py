"""Mask sources and their cache."""

import itertools
import os

import numpy as np
import pytest

from betwixt.masks.cache import MaskCache, cache_key
from betwixt.masks.open_world import OpenWorldSegmenter
from betwixt.masks.source import OpenWorldMaskSource, RegionMaskSource
from sample import render


@pytest.fixture(scope="module")
def frames():
    return [np.ascontiguousarray(render(1 + 0.05 * k, width=160, height=96)) for k in range(5)]


def run(source, frames):
    return [source.pair(a, b) for a, b in itertools.pairwise(frames)]


def same(one, two):
    return all(
        np.array_equal(a.labels0, b.labels0) and np.array_equal(a.labels1, b.labels1) and a.count == b.count
        for a, b in zip(one, two, strict=True)
    )


def test_a_second_run_reads_from_the_cache(frames, tmp_path, monkeypatch):
    cache = MaskCache(tmp_path)
    first = RegionMaskSource(cache)
    made = run(first, frames)
    assert first.cache_hits == 0
    second = RegionMaskSource(cache)
    monkeypatch.setattr(second._tracker, "pair", None)
    assert same(run(second, frames), made)
    assert second.cache_hits == 4


@pytest.mark.parametrize("known", [1, 3])
def test_a_partly_cached_video_gives_the_same_masks(frames, tmp_path, known):
    cache = MaskCache(tmp_path)
    run(RegionMaskSource(cache), frames[: known + 1])
    source = RegionMaskSource(cache)
    assert same(run(source, frames), run(RegionMaskSource(), frames))
    assert source.cache_hits == known


def test_a_pair_after_another_pair_is_a_separate_entry(frames, tmp_path):
    cache = MaskCache(tmp_path)
    run(RegionMaskSource(cache), frames)
    source = RegionMaskSource(cache)
    source.pair(frames[2], frames[3])
    assert source.cache_hits == 0


def test_other_settings_are_separate_entries(frames, tmp_path):
    cache = MaskCache(tmp_path)
    run(RegionMaskSource(cache), frames[:2])
    source = RegionMaskSource(cache)
    source.settings = {**source.settings, "cell": 11}
    run(source, frames[:2])
    assert source.cache_hits == 0


def test_a_damaged_entry_counts_as_absent(frames, tmp_path):
    cache = MaskCache(tmp_path)
    made = run(RegionMaskSource(cache), frames[:2])
    (entry,) = tmp_path.glob("*/*.npz")
    entry.write_bytes(entry.read_bytes()[:100])
    source = RegionMaskSource(cache)
    assert same(run(source, frames[:2]), made)
    assert source.cache_hits == 0
    assert len(list(tmp_path.glob("*/*"))) == 1


def test_networks_run_once_per_frame(frames, tmp_path):
    segmented = []

    def tag(frame):
        segmented.append(cache_key(frame))
        return ["dog", "cat"]

    def detect(frame, tags):
        return {"dog": np.array([[10, 10, 40, 40]], np.float32)}

    def segment(frame, boxes):
        mask = np.zeros(frame.shape[:2], bool)
        mask[10:40, 10:40] = True
        return mask

    source = OpenWorldMaskSource(OpenWorldSegmenter(tag, detect, segment), {"version": 1}, MaskCache(tmp_path))
    made = run(source, frames)
    assert len(segmented) == len(set(segmented)) == 5
    assert all(m.source == "open-world" and m.names == ("the rest", "dog") for m in made)
    again = OpenWorldMaskSource(OpenWorldSegmenter(tag, detect, segment), {"version": 1}, MaskCache(tmp_path))
    assert same(run(again, frames), made)
    assert len(segmented) == 5
    other = OpenWorldMaskSource(OpenWorldSegmenter(tag, detect, segment), {"version": 2}, MaskCache(tmp_path))
    run(other, frames[:2])
    assert len(segmented) == 7


def test_keys_depend_on_types_shapes_and_order():
    a = np.zeros((2, 3), np.uint8)
    keys = {
        cache_key(a),
        cache_key(a.reshape(3, 2)),
        cache_key(a.astype(np.int8)),
        cache_key(a, a),
        cache_key(a, {"x": 1}),
        cache_key(),
    }
    assert len(keys) == 6


def test_the_least_recently_used_entries_are_deleted(tmp_path):
    cache = MaskCache(tmp_path, limit=3000)
    for i in range(4):
        cache.put(f"{i}" * 64, {"x": np.random.default_rng(i).integers(0, 256, 1000, dtype=np.uint8)})
        os.utime(tmp_path / f"{i}{i}" / f"{str(i) * 64}.npz", (i, i))
    cache.get("0" * 64)  # used just now
    cache.prune()
    left = sorted(p.stem[0] for p in tmp_path.glob("*/*.npz"))
    assert "0" in left
    assert "1" not in left


def test_an_unwritable_folder_is_no_error(tmp_path):
    (tmp_path / "file").touch()
    cache = MaskCache(tmp_path / "file")
    cache.put("a" * 64, {"x": np.zeros(3)})
    assert cache.get("a" * 64) is None


def test_the_folder_is_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv("BETWIXT_CACHE", str(tmp_path))
    assert MaskCache().folder == tmp_path / "masks"

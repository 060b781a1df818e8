from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from layouts import write_image

from betwixt.errors import BetwixtError, InputError, UsageError
from betwixt.training.augmentation import Augmentation
from betwixt.training.clips import RealTriplets
from betwixt.training.preparation_progress import watch_files
from betwixt.training.recipe_sampler import prepare_data
from betwixt.training.sample import TrainingSample
from betwixt.training.sources import (
    KINDS,
    ClipsEntry,
    MixWeight,
    SampleMix,
    SyntheticEntry,
    draw_sample,
    open_mix,
    read_entries,
)
from betwixt.training.synthetic import SceneRules, SyntheticBank, build_bank
from clips import make_clip


@dataclass(frozen=True)
class UniformColour:
    """A source of images of one colour."""

    colour: int

    def draw(self, rng: np.random.Generator, size: int) -> TrainingSample:
        return TrainingSample(np.full((3, size, size, 3), self.colour, np.uint8), 0.5)


def count_colours(mix: SampleMix, numbers: range) -> Counter[int]:
    return Counter(int(mix.draw(np.random.default_rng(k), 1, k).images[0, 0, 0, 0]) for k in numbers)


def test_a_mix_draws_by_weight() -> None:
    drawn = count_colours(
        SampleMix(
            [(UniformColour(1), MixWeight(3.0)), (UniformColour(2), MixWeight(1.0)), (UniformColour(3), MixWeight(0.0))]
        ),
        range(2000),
    )
    assert drawn[1] == pytest.approx(1500, abs=80)
    assert drawn[1] + drawn[2] == 2000


def test_weights_change_with_the_sample_index() -> None:
    weight = MixWeight(0.8, 0.2, 1000)
    assert [weight.at(number) for number in (0, 500, 1000, 5000)] == pytest.approx([0.8, 0.5, 0.2, 0.2])
    mix = SampleMix([(UniformColour(1), MixWeight(1.0, 0.0, 1000)), (UniformColour(2), MixWeight(0.0, 1.0, 1000))])
    assert count_colours(mix, range(1))[1] == 1
    assert count_colours(mix, range(1000, 1100)) == {2: 100}
    assert count_colours(mix, range(450, 550))[1] == pytest.approx(50, abs=20)


@pytest.mark.parametrize(
    "weights", [[MixWeight(0.0)], [MixWeight(1.0, 0.0, 10)], [MixWeight(0.0, 1.0, 10), MixWeight(0.0, 1.0, 20)]]
)
def test_weights_of_zero_are_refused(weights: list[MixWeight]) -> None:
    with pytest.raises(UsageError, match="all 0"):
        SampleMix([(UniformColour(1), weight) for weight in weights])


def entries(*tables: dict[str, Any]) -> list[Any]:
    return read_entries(tables, "a.toml")


def test_data_tables_become_entries() -> None:
    clips, synthetic, vimeo = entries(
        {"kind": "clips", "exclude": ["b"], "clips": {"a": {"end": 3}}, "weight": 2},
        {"kind": "synthetic", "weight": {"first": 0.35, "last": 0.3, "until": 60_000}, "scenes": {"blur": 0.0}},
        {"kind": "vimeo-septuplet", "path": "vimeo", "times": "next"},
    )
    assert clips == ClipsEntry(exclude=("b",), clips=clips.clips, weight=MixWeight(2.0))
    assert clips.clips["a"].end == 3.0
    assert synthetic == SyntheticEntry(weight=MixWeight(0.35, 0.3, 60_000), scenes=SceneRules(blur=0.0))
    assert (vimeo.kind, vimeo.path, vimeo.times) == ("vimeo-septuplet", "vimeo", "next")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"kind": "vimeo"}, "vimeo-triplet"),
        ({}, "kind"),
        ({"kind": "clips", "stride": 2}, "stride"),
        ({"kind": "clips", "clips": {"a": {"start": 1}}}, "start"),
        ({"kind": "clips", "gaps": [5]}, "5"),
        ({"kind": "clips", "weight": -1}, "0 or more"),
        ({"kind": "clips", "weight": "much"}, "weight"),
        ({"kind": "clips", "weight": {"first": 1, "middle": 2}}, "middle"),
        ({"kind": "clips", "weight": {"first": 1, "last": 0, "until": 0}}, "until"),
        ({"kind": "synthetic", "scenes": {"blurr": 1}}, "blurr"),
        ({"kind": "synthetic", "scenes": {"blur": 2}}, "blur"),
        ({"kind": "synthetic", "shards": -1}, "shards"),
        ({"kind": "x-train", "gaps": [2]}, "gaps"),
        ({"kind": "x-train", "gaps": [1, 2]}, "gap"),
        ({"kind": "gopro", "times": "any"}, "middle"),
        ({"kind": "gopro", "enlarge": 3.0}, "enlarge"),
    ],
)
def test_an_invalid_entry_is_refused_in_one_line(table: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as error:
        entries(table)
    assert "\n" not in str(error.value)


def test_a_recipe_without_data_is_refused() -> None:
    with pytest.raises(UsageError, match=r"a\.toml has no data: add \[\[data\]\]"):
        entries()


def prepare_and_open(recipe: list[Any], data: Path, cache: Path) -> SampleMix:
    prepare_data(recipe, data, cache)
    return open_mix(recipe, data, cache)


@pytest.mark.parametrize("kind", KINDS)
def test_missing_data_is_an_error_for_every_kind(kind: str, tmp_path: Path) -> None:
    entry = entries({"kind": kind})
    with pytest.raises(InputError, match="no data folder"):
        open_mix(entry, tmp_path / "nowhere", tmp_path / "cache")
    for path in (".", "nowhere"):
        entry = entries({"kind": kind, "path": path})
        with pytest.raises(InputError) as error:
            prepare_and_open(entry, tmp_path, tmp_path / "cache")
        assert "\n" not in str(error.value)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips and a photograph."""
    folder = tmp_path_factory.mktemp("data")
    make_clip(folder / "pan.mkv", frames=8, size=(96, 64))
    make_clip(folder / "held.mp4", frames=8, size=(96, 64), codec="libx264")
    write_image(folder / "photos/waves.jpg", 0, 200, 240)
    return folder


RECIPE = [
    {"kind": "clips", "exclude": ["held"], "weight": 0.5},
    {"kind": "synthetic", "shards": 0, "weight": 0.5, "scenes": {"top": 8.0}},
]


@pytest.fixture(scope="module")
def cache(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    prepare_data(entries(*RECIPE), data, folder)
    return folder


def test_clips_and_synthetic_scenes_are_prepared_and_opened(data: Path, cache: Path) -> None:
    assert sorted(path.name for path in (cache / "clips").glob("*[!s].npy")) == ["pan.npy", "pan~aged.npy"]
    mix = open_mix(entries(*RECIPE), data, cache)
    known = Counter(mix.draw(np.random.default_rng(i), 48, i).motion is not None for i in range(20))
    assert known[True] > 3
    assert known[False] > 3


def test_a_cached_clip_can_be_excluded(data: Path, cache: Path) -> None:
    mix = entries({"kind": "clips", "exclude": ["pan"]})
    with pytest.raises(InputError, match="no usable triplet"):
        open_mix(mix, data, cache)


def test_scenes_take_their_textures_from_photographs_and_clips(data: Path, cache: Path, tmp_path: Path) -> None:
    (clips, synthetic) = entries(RECIPE[0], {"kind": "synthetic", "size": 64})
    assert [t.shape[:2] for t in synthetic.textures(data, cache, [clips])] == [(200, 240), *[(64, 96)] * 3]
    assert len(synthetic.textures(data, cache, [])) == 1
    build_bank(synthetic.bank(tmp_path), synthetic.textures(data, cache, []), [0], size=64, scenes=2)
    assert isinstance(synthetic.open(data, tmp_path), SyntheticBank)


def test_each_set_of_scene_rules_has_its_own_folder(data: Path, cache: Path, tmp_path: Path) -> None:
    synthetic = [
        SyntheticEntry(),
        SyntheticEntry(size=64),
        *(SyntheticEntry(scenes=SceneRules(times=t)) for t in ("middle", "next")),
    ]
    assert len({entry.bank(tmp_path) for entry in synthetic}) == 4
    assert synthetic[0].bank(tmp_path) == SyntheticEntry(shards=2, weight=MixWeight(3.0)).bank(tmp_path)
    # A bank from before there were rules is used by the entries that its scenes fit.
    build_bank(tmp_path / "synthetic", synthetic[0].textures(data, cache, []), [0], size=192, scenes=2)
    assert [entry.bank(tmp_path).name == "synthetic" for entry in synthetic] == [True, False, True, False]


def test_preparing_again_reports_and_keeps_the_cache(data: Path, cache: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in cache.rglob("*.npy")}
    lines: list[str] = []
    prepare_data(entries(*RECIPE), data, cache, report=lines.append)
    assert any(line.startswith("pan: ") for line in lines)
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*.npy")} == before


def test_the_preparation_says_how_far_it_is(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    make_clip(tmp_path / "data/pan.mkv", frames=4, size=(64, 48))
    seen: list[tuple[str, int, int, str]] = []
    for _ in range(2):
        prepare_data(
            entries({"kind": "clips"}), tmp_path / "data", tmp_path / "cache", progress=lambda *p: seen.append(p)
        )
    assert {(task, total, unit) for task, _, total, unit in seen} == {("preparing 1 clip", 4, "files")}
    counts = [done for _, done, _, _ in seen]
    assert (counts[0], counts[-1]) == (0, 4)
    assert counts == sorted(counts)
    assert counts.count(0) == 1  # the second time nothing is left to do


def test_files_are_counted_in_their_unit(tmp_path: Path) -> None:
    files = [tmp_path / "a", tmp_path / "b"]
    files[0].touch()
    seen: list[tuple[str, int, int, str]] = []
    with watch_files("rendering", files, "scenes", lambda *report: seen.append(report), size=512):
        files[1].touch()
    assert seen[-1] == ("rendering", 1024, 1024, "scenes")
    assert seen[0][1] in (512, 1024)


def test_a_clip_that_does_not_exist_cannot_be_excluded(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no clip 'hold'"):
        prepare_data(entries({"kind": "clips", "exclude": ["hold"]}), data, tmp_path)


def test_a_damaged_photograph_is_named(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.jpg").write_bytes(b"none")
    with pytest.raises(InputError, match=r"a\.jpg is damaged"):
        open_mix(entries({"kind": "synthetic", "shards": 0}), tmp_path, tmp_path)


def test_a_cache_that_cannot_be_written_is_an_error(data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BetwixtError, match="file"):
        prepare_data(entries(*RECIPE), data, tmp_path / "file")


def digest(mix: SampleMix, number: int) -> tuple[int, float, float]:
    """Sample `number`, and the next number of its generator."""
    augmentation = Augmentation(channels=0.5, compression=0.5)
    sample, rng = draw_sample(mix, augmentation, 32, 7, number)
    return hash(sample.images.tobytes()), sample.t, float(rng.random())


def digest_with_process(mix: SampleMix, number: int) -> tuple[bytes, float, int]:
    augmentation = Augmentation(channels=0.5, compression=0.5)
    sample, _ = draw_sample(mix, augmentation, 32, 7, number)
    return sample.images.tobytes(), sample.t, os.getpid()


def test_sample_k_does_not_depend_on_the_order_or_the_number_of_threads(data: Path, cache: Path) -> None:
    mix = open_mix(entries(*RECIPE), data, cache)
    alone = [digest(mix, k) for k in range(24)]
    assert len(set(alone)) == 24
    assert [digest(mix, k) for k in reversed(range(24))] == alone[::-1]
    for workers in (1, 3):
        with concurrent.futures.ThreadPoolExecutor(workers) as pool:
            assert list(pool.map(lambda k: digest(mix, k), range(24))) == alone


def test_sample_k_is_the_same_in_another_process(data: Path, cache: Path) -> None:
    mix = open_mix(entries(*RECIPE), data, cache)
    context = multiprocessing.get_context("forkserver" if os.name == "posix" else "spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        theirs = list(pool.map(digest_with_process, [mix] * 6, range(6)))
    for (pixels, t, process), ours in zip(theirs, [digest_with_process(mix, k) for k in range(6)], strict=True):
        assert (pixels, t) == ours[:2]
        assert process != os.getpid()


def reference_sample(seed: int, number: int, size: int, clips: Path, bank: list[dict[str, np.ndarray]]) -> Any:
    """Sample `number` by an independent implementation, of the samples that `compact` was first trained on.

    The synthetic fraction falls from 0.85 to 0.45 at sample 40; compression 0.2.
    """
    fraction = 0.85 + (0.45 - 0.85) * min(1.0, number / 40)
    rng = np.random.default_rng((seed, number))
    if rng.random() < fraction:
        shard = bank[int(rng.integers(len(bank)))]
        i = int(rng.integers(len(shard["times"])))
        top, left = (int(rng.integers(n - size + 1)) for n in shard["frames"].shape[2:4])
        frames = shard["frames"][i][:, top : top + size, left : left + size]
        motion = shard["motion"][i][top : top + size, left : left + size].astype(np.float32)
        t, exact = float(shard["times"][i]), True
    else:
        names = sorted(path.name for path in clips.glob("*.triplets.npy"))
        rows = [np.load(clips / name) for name in names]
        weights = np.array(
            [np.sqrt(len(r)) * (0.4 if "~aged" in name else 1.0) for r, name in zip(rows, names, strict=True)]
        )
        clip = int(np.searchsorted(np.cumsum(weights / weights.sum()), rng.random()))
        odds = np.where(rows[clip][:, 2] * 2 == rows[clip][:, 1], 1.0, 0.25)
        odds = odds * np.clip(rows[clip][:, 3], 1.0, 16.0) ** 0.5
        row = int(np.searchsorted(np.cumsum(odds / odds.sum()), rng.random()))
        start, gap, position = (int(v) for v in rows[clip][row, :3])
        video = np.load(clips / names[clip].replace(".triplets", ""))
        height, width = video.shape[1:3]
        side = min(2 * size, height, width) if rng.random() < 0.25 else size
        places, changes = [], []
        for _ in range(2):
            y, x = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
            window = video[:, y : y + side : 4, x : x + side : 4, 1].astype(np.int16)
            places.append((y, x))
            changes.append(np.abs(window[start] - window[start + gap]).mean())
        y, x = places[int(changes[1] > changes[0])]
        frames = video[[start, start + position, start + gap], y : y + side, x : x + side]
        if side != size:
            frames = np.stack([cv2.resize(f, (size, size), interpolation=cv2.INTER_AREA) for f in frames])
        motion, t, exact = np.zeros((size, size, 2), np.float32), position / gap, False
    flip_x, flip_y, transpose, reverse = rng.random(4) < 0.5
    vx, vy = motion[..., 0], motion[..., 1]
    if flip_x:
        frames, vx, vy = frames[:, :, ::-1], -vx[:, ::-1], vy[:, ::-1]
    if flip_y:
        frames, vx, vy = frames[:, ::-1], vx[::-1], -vy[::-1]
    if transpose:
        frames, vx, vy = frames.swapaxes(1, 2), vy.T, vx.T
    if reverse:
        frames, vx, vy, t = frames[::-1], -vx, -vy, 1 - t
    if rng.random() < 0.5:
        frames = frames[..., rng.permutation(3)]
    frames = np.ascontiguousarray(frames)
    if rng.random() < 0.2:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(35, 90))]
        frames = np.stack([cv2.imdecode(cv2.imencode(".jpg", f, quality)[1], cv2.IMREAD_COLOR) for f in frames])
    return frames, np.stack([vx, vy], axis=-1), t, exact, rng.random()


def test_samples_equal_those_of_an_independent_implementation(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "clips").mkdir()
    for name, height in (("a", 60), ("a~aged", 60), ("b", 90)):
        np.save(tmp_path / f"clips/{name}.npy", rng.integers(0, 256, (9, height, 80, 3), dtype=np.uint8))
        rows = [[0, 2, 1, 0.5, 30], [1, 3, 2, 3, 30], [2, 6, 3, 25, 30], [4, 4, 2, 9, 22]]
        np.save(tmp_path / f"clips/{name}.triplets.npy", np.array(rows, np.float32))
    noise = rng.integers(0, 256, (200, 200, 3), dtype=np.uint8)
    build_bank(tmp_path / "synthetic", [noise], [0, 1], size=56, scenes=4, rules=SceneRules(blur=0.0))
    shards = [
        {part: np.load(tmp_path / f"synthetic/{n:04d}.{part}.npy") for part in ("frames", "motion", "times")}
        for n in (0, 1)
    ]

    weights = MixWeight(0.85, 0.45, 40), MixWeight(1 - 0.85, 1 - 0.45, 40)
    mix = SampleMix([(SyntheticBank(tmp_path / "synthetic"), weights[0]), (RealTriplets(tmp_path), weights[1])])
    augmentation = Augmentation(channels=0.5, compression=0.2)
    kinds: Counter[bool] = Counter()
    for number in range(120):
        sample, after = draw_sample(mix, augmentation, 40, 1, number)
        images, motion, t, exact, then = reference_sample(1, number, 40, tmp_path / "clips", shards)
        np.testing.assert_array_equal(sample.images, images)
        assert (sample.t, sample.motion is not None) == (t, exact)
        if sample.motion is not None:
            np.testing.assert_array_equal(sample.motion, motion)
        # What is drawn after it, such as the ratio of the search, is the same too.
        assert after.random() == then
        kinds[exact] += 1
    assert min(kinds.values()) > 20

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from layouts import LAYOUTS

from betwixt.errors import InputError, UsageError
from betwixt.evaluation.datasets import DatasetOptions, open_dataset
from betwixt.evaluation.log import EvaluationLog
from betwixt.evaluation.metrics import select_metrics
from betwixt.evaluation.scoring import evaluate
from betwixt.models.base import Image, Interpolator, Pair
from betwixt.models.baselines.interpolator import Average, Minterpolate, Nearest
from betwixt.runtime.load import load_model
from clips import make_clip

METRICS = select_metrics("psnr,ie")


class Counting(Interpolator):
    """Averages the frames, and counts the pairs."""

    name = "counting"

    def __init__(self) -> None:
        self.calls = 0

    def prepare(self, first: Image, second: Image) -> Pair:
        self.calls += 1
        return Average().prepare(first, second)


@pytest.fixture
def vimeo(tmp_path: Path) -> Path:
    LAYOUTS["vimeo90k"][0](tmp_path)
    return tmp_path


def test_scores_and_saved_frames_are_right(vimeo: Path, tmp_path: Path) -> None:
    result = evaluate(load_model("average"), open_dataset("vimeo90k", vimeo), METRICS, save_frames=tmp_path / "frames")
    sample = "00001/0001"
    folder = vimeo / "vimeo_triplet/sequences" / sample
    first, truth, second = (cv2.imread(str(folder / f"im{i}.png")).astype(int) for i in (1, 2, 3))
    mean = (first + second + 1) // 2
    row = result.rows[0]
    assert (row.sample, row.group, row.t) == (sample, "00001", 0.5)
    assert row.scores["ie"] == pytest.approx(np.abs(mean - truth).mean())
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "frames/00001_-_0001.png")), mean)


@pytest.mark.parametrize("jobs", [1, 3])
def test_order_and_scores_do_not_depend_on_the_jobs(vimeo: Path, jobs: int) -> None:
    result = evaluate(load_model("dis"), open_dataset("vimeo90k", vimeo), METRICS, jobs=jobs)
    assert [row.sample for row in result.rows] == ["00001/0001", "00001/0002", "00002/0001"]
    assert len({row.scores["psnr"] for row in result.rows}) == 1  # the three samples are equal


def test_missing_and_damaged_files_are_reported_and_counted(vimeo: Path) -> None:
    folder = vimeo / "vimeo_triplet/sequences"
    (folder / "00001/0001/im2.png").unlink()
    (folder / "00001/0002/im1.png").write_bytes(b"\x89PNG broken")
    result = evaluate(load_model("average"), open_dataset("vimeo90k", vimeo), METRICS)
    assert len(result.rows) == 1
    assert [skip.sample for skip in result.skipped] == ["00001/0001", "00001/0002"]
    assert "missing" in result.skipped[0].reason
    assert "damaged" in result.skipped[1].reason
    assert result.missing == 3782 - 3
    assert not result.complete


def test_a_set_is_complete_unless_limited(tmp_path: Path) -> None:
    LAYOUTS["frames"][0](tmp_path)
    assert evaluate(load_model("nearest"), open_dataset("frames", tmp_path), METRICS).complete
    limited = evaluate(load_model("nearest"), open_dataset("frames", tmp_path), METRICS, limit=2)
    assert len(limited.rows) == 2
    assert not limited.complete


@pytest.mark.parametrize("options", [DatasetOptions(), DatasetOptions(paths="curved")])
def test_every_nth_frame_of_each_sequence_in_order_of_time(tmp_path: Path, options: DatasetOptions) -> None:
    LAYOUTS["frames"][0](tmp_path)
    dataset = open_dataset("frames", tmp_path, options)
    result = evaluate(load_model("dis"), dataset, METRICS, every=2)
    assert [row.sample for row in result.rows] == ["alpha/00001", "alpha/00003", "alpha/00005", "beta/00001"]
    whole = evaluate(load_model("dis"), dataset, METRICS)
    assert all(row in whole.rows for row in result.rows)
    assert result.complete


def test_every_nth_sample_of_other_sets(vimeo: Path, tmp_path: Path) -> None:
    result = evaluate(Nearest(), open_dataset("vimeo90k", vimeo), METRICS, every=2)
    assert [row.sample for row in result.rows] == ["00001/0001", "00002/0001"]  # of the whole set
    assert result.missing == 3782 - 3
    (tmp_path / "videos").mkdir()
    for name in ("a.mkv", "b.mkv"):
        make_clip(tmp_path / "videos" / name, frames=11, size=(48, 32))
    dataset = open_dataset("video", tmp_path / "videos", DatasetOptions(paths="curved"))
    result = evaluate(load_model("dis"), dataset, METRICS, every=3)
    assert [row.sample for row in result.rows] == ["a.mkv/000001", "a.mkv/000007", "b.mkv/000001", "b.mkv/000007"]
    plain = open_dataset("video", tmp_path / "videos")
    result = evaluate(Minterpolate(), plain, METRICS, every=3)
    assert [row.sample for row in result.rows] == ["a.mkv/000001", "a.mkv/000007", "b.mkv/000001", "b.mkv/000007"]


def test_nothing_to_score_is_an_error(vimeo: Path) -> None:
    shutil.rmtree(vimeo / "vimeo_triplet/sequences")
    with pytest.raises(InputError, match="could be scored"):
        evaluate(load_model("average"), open_dataset("vimeo90k", vimeo), METRICS)


def test_ids_select_samples_and_unknown_ones_are_reported(vimeo: Path) -> None:
    result = evaluate(load_model("average"), open_dataset("vimeo90k", vimeo), METRICS, ids=["00002/0001", "no/such"])
    assert [row.sample for row in result.rows] == ["00002/0001"]
    assert [skip.sample for skip in result.skipped] == ["no/such"]


def test_an_interrupted_run_resumes(vimeo: Path, tmp_path: Path) -> None:
    dataset, key = open_dataset("vimeo90k", vimeo), {"model": "counting"}
    path = tmp_path / "j.journal"
    whole = evaluate(Counting(), dataset, METRICS)
    log = EvaluationLog(path, key, metrics=["psnr", "ie"], resume=False)
    evaluate(Counting(), dataset, METRICS, limit=2, log=log)
    log.close()
    # The last line was being written when the power failed.
    path.write_bytes(path.read_bytes() + b'{"sample": "00002/0001", "ro')
    model = Counting()
    log = EvaluationLog(path, key, metrics=["psnr", "ie"], resume=True)
    again = evaluate(model, dataset, METRICS, log=log)
    log.close()
    assert model.calls == 1
    assert again.rows == whole.rows
    with pytest.raises(UsageError, match="belongs to another evaluation"):
        EvaluationLog(path, {"model": "other"}, metrics=["psnr", "ie"], resume=True)
    assert [json.loads(line).get("sample") for line in path.read_text().splitlines()[1:]] == [
        row.sample for row in whole.rows
    ]


def test_skipped_samples_are_tried_again(vimeo: Path, tmp_path: Path) -> None:
    lost = vimeo / "vimeo_triplet/sequences/00001/0002/im2.png"
    data = lost.read_bytes()
    lost.unlink()
    dataset, path = open_dataset("vimeo90k", vimeo), tmp_path / "j.journal"
    for expected in (2, 3):
        log = EvaluationLog(path, {}, metrics=["psnr", "ie"], resume=True)
        result = evaluate(Counting(), dataset, METRICS, log=log)
        log.close()
        assert len(result.rows) == expected
        lost.write_bytes(data)


def test_samples_without_saved_frames_are_restored_again(vimeo: Path, tmp_path: Path) -> None:
    dataset, path = open_dataset("vimeo90k", vimeo), tmp_path / "j.journal"
    for folder in (None, tmp_path / "frames"):
        log = EvaluationLog(path, {}, metrics=["psnr", "ie"], resume=True)
        evaluate(Counting(), dataset, METRICS, log=log, save_frames=folder)
        log.close()
    assert len(list((tmp_path / "frames").glob("*.png"))) == 3


def test_similar_names_give_different_files(tmp_path: Path) -> None:
    LAYOUTS["triplets"][0](tmp_path / "set")
    for old, new in (("a", "x y"), ("b", "x_y")):
        (tmp_path / "set" / old).rename(tmp_path / "set" / new)
    evaluate(Nearest(), open_dataset("triplets", tmp_path / "set"), METRICS, save_frames=tmp_path / "frames")
    assert len(list((tmp_path / "frames").glob("*.png"))) == 2


def test_nan_in_the_output_skips_the_sample(vimeo: Path) -> None:
    class Broken(Counting):
        def prepare(self, first: Image, second: Image) -> Pair:
            self.calls += 1
            return Average().prepare(first * np.float32("nan" if self.calls == 1 else 1), second)

    result = evaluate(Broken(), open_dataset("vimeo90k", vimeo), METRICS)
    assert len(result.rows) == 2
    assert result.skipped[0].reason == "the model's output has NaN or infinite values"


def test_scores_can_be_the_mean_of_sequence_means(tmp_path: Path) -> None:
    LAYOUTS["frames"][0](tmp_path)
    dataset = open_dataset("frames", tmp_path)
    dataset.mean_of_sequences = True
    result = evaluate(Average(), dataset, METRICS)
    means = [np.mean([row.scores["psnr"] for row in rows]) for rows in result.sequences().values()]
    assert result.summary("psnr").mean == pytest.approx(np.mean(means))


def test_several_times_and_extrapolation(tmp_path: Path) -> None:
    LAYOUTS["x4k1000fps"][0](tmp_path)
    result = evaluate(load_model("average"), open_dataset("x4k1000fps", tmp_path), METRICS)
    assert [row.t for row in result.rows] == [i / 8 for i in range(1, 8)]
    after = open_dataset("x4k1000fps-extrapolation", tmp_path)
    with pytest.raises(UsageError, match="only interpolates"):
        evaluate(load_model("average"), after, METRICS)
    (row,) = evaluate(Nearest(), after, METRICS).rows
    assert row.t == 2


def test_flicker_is_a_score_of_the_whole_sample(tmp_path: Path) -> None:
    LAYOUTS["x4k1000fps"][0](tmp_path)
    result = evaluate(load_model("average"), open_dataset("x4k1000fps", tmp_path), select_metrics("flicker"))
    assert len({row.scores["flicker"] for row in result.rows}) == 1


def test_pulse_of_triplets_is_the_logarithm_of_sharpness(tmp_path: Path) -> None:
    LAYOUTS["triplets"][0](tmp_path)
    metrics = select_metrics("sharpness,pulse")
    for model, options in ((Average(), DatasetOptions()), (Nearest(), DatasetOptions(extrapolate=True))):
        for row in evaluate(model, open_dataset("triplets", tmp_path, options), metrics).rows:
            assert row.scores["pulse"] == pytest.approx(abs(np.log2(row.scores["sharpness"])))
            assert row.scores["pulse"] > 0.01


def test_minterpolate_works_on_sequences(tmp_path: Path) -> None:
    LAYOUTS["frames"][0](tmp_path)
    dataset = open_dataset("frames", tmp_path)
    names = [sample.name for sample in dataset.samples()]
    result = evaluate(Minterpolate(), dataset, METRICS)
    assert [row.sample for row in result.rows] == names
    assert np.mean([row.scores["psnr"] for row in result.rows]) > 20
    (tmp_path / "alpha/00003.jpg").write_bytes(b"damaged")
    partial = evaluate(Minterpolate(), dataset, METRICS)
    assert {row.sample for row in partial.rows} == set(names) - {f"alpha/{i:05d}" for i in (2, 3, 4)}
    assert len(partial.skipped) == 3
    few = evaluate(Minterpolate(), dataset, METRICS, ids=["alpha/00005", "beta/1"])
    whole = {row.sample: row.scores for row in partial.rows}
    assert [row.scores for row in few.rows] == [whole["alpha/00005"]]
    LAYOUTS["triplets"][0](tmp_path / "t")
    with pytest.raises(UsageError, match="works on sequences"):
        evaluate(Minterpolate(), open_dataset("triplets", tmp_path / "t"), METRICS)


def test_curved_paths_use_the_frames_around_the_two(tmp_path: Path) -> None:
    # Frame n has moved by n^2 / 2 pixels: the frame between two others is not halfway.
    world = cv2.GaussianBlur(np.random.default_rng(0).uniform(0, 255, (80, 300, 3)), (0, 0), 3.0)
    world = np.clip((world - 127) * 6 + 127, 0, 255)
    folder = tmp_path / "run"
    folder.mkdir()
    for n in range(11):
        matrix = np.array([[1, 0, 20 + n * n / 2], [0, 1, 0]], np.float64)
        image = cv2.warpAffine(world, matrix, (112, 80), flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP)
        cv2.imwrite(str(folder / f"{n:02d}.png"), np.rint(np.clip(image, 0, 255)).astype(np.uint8))
    scores = {}
    for paths in ("straight", "curved"):
        dataset = open_dataset("frames", tmp_path, DatasetOptions(paths=paths))
        result = evaluate(load_model("dis"), dataset, METRICS)
        scores[paths] = {row.sample: row.scores["psnr"] for row in result.rows}
        assert ("known as well" in result.protocol) == (paths == "curved")
    assert scores["straight"].keys() == scores["curved"].keys()
    gains = [scores["curved"][name] - scores["straight"][name] for name in scores["curved"]]
    assert np.mean(gains) > 1.0
    held = {
        sample.name: sample.load()
        for sample in open_dataset("frames", tmp_path, DatasetOptions(paths="curved")).samples()
    }
    assert held["run/01"].before is None
    for side, name in ((held["run/05"].before, "02"), (held["run/05"].after, "08")):
        assert side is not None
        assert (side[..., ::-1] == cv2.imread(str(folder / f"{name}.png"))).all()

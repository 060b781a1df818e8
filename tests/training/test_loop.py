from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from layouts import write_image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from betwixt.errors import InputError, UsageError
from betwixt.models.compact.network import Compact
from betwixt.runtime.load import load_model
from betwixt.training import loop, training_log
from betwixt.training.checkpoint import TrainingProgress, export_weights, read_checkpoint, restore
from betwixt.training.loop import TrainingRun, train
from betwixt.training.objectives.base import LossTerms
from betwixt.training.objectives.registry import OBJECTIVES, make_objective
from betwixt.training.recipe import load_recipe
from betwixt.training.recipe_files import find_recipe
from betwixt.training.training_log import SilentReporter

ROOT = Path(__file__).resolve().parents[2]

STAGES = """
[[stage]]
name = "coarse"
samples = 12

[[stage]]
name = "fine"
samples = 12
crop = 24
optimizer = "adamax"
"""

COMPACT = """
name = "compact"
[network]
name = "compact"
margin = 8
[[data]]
kind = "clips"
[train]
samples = 8
batch = 2
crop = 32
"""


class RecordingReporter:
    """A reporter that records notes and scores."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.rows: list[Any] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def prepare(self, task: str, done: int, total: int, unit: str) -> None: ...

    def step(self, samples: int, end: int, stage: str, figures: Any) -> None: ...

    def scores(self, row: Any) -> None:
        self.rows.append(row)


@pytest.fixture
def run_training(data: Path, cache: Path, tmp_path: Path):
    """Trains in a folder of the test; `run_training.report` is the reporter of the last run."""

    def run(recipe: Any, folder: str, **more: Any) -> TrainingProgress:
        run.report = RecordingReporter()
        return train(recipe, TrainingRun(data, cache, tmp_path / folder, jobs=1, device="cpu", **more), run.report)

    return run


def load_checkpoint(path: Path) -> dict[str, torch.Tensor]:
    return load_file(path / "checkpoint.safetensors")


def differing_tensors(one: Path, other: Path) -> list[str]:
    a, b = load_checkpoint(one), load_checkpoint(other)
    assert set(a) == set(b)
    return [name for name in a if not torch.equal(a[name], b[name])]


@pytest.mark.parametrize("stop", [4, 12, 16])
def test_a_stopped_run_resumes_bit_for_bit_in_every_stage(stop: int, recipe, run_training, tmp_path: Path) -> None:
    run_training(recipe(more=STAGES), "whole")
    run_training(recipe(more=STAGES), "parts", until=stop)
    assert run_training(recipe(more=STAGES), "parts", resume=True).samples == 24
    assert not differing_tensors(tmp_path / "whole", tmp_path / "parts")


def test_workers_do_not_change_the_result(run_training, tmp_path: Path) -> None:
    compact = tmp_path / "compact.toml"
    compact.write_text(COMPACT)
    run_training(load_recipe(compact), "without")
    run_training(load_recipe(compact), "with", workers=2)
    assert not differing_tensors(tmp_path / "without", tmp_path / "with")


def test_gradient_accumulation_gives_the_same_step(recipe, run_training, tmp_path: Path) -> None:
    run_training(recipe("batch=4"), "one", until=4)
    run_training(recipe("batch=4", "accumulate=2"), "two", until=4)
    a, b = load_checkpoint(tmp_path / "one"), load_checkpoint(tmp_path / "two")
    # The noise of the two parts differs; otherwise the gradient is the same.
    assert torch.allclose(a["first.first.weight"], b["first.first.weight"], atol=2e-4)
    assert not torch.allclose(a["first.first.weight"], torch.zeros(()))


def test_frozen_parameters_have_no_moments_and_teachers_are_not_exported(recipe, run_training, tmp_path: Path) -> None:
    run_training(recipe(more=STAGES), "run")
    names = set(load_checkpoint(tmp_path / "run"))
    assert {
        "objective.teacher.weight",
        "objective.fixed.weight",
        "objective.sample_count",
        "model.first.weight",
    } <= names
    assert not any(name.startswith("first.objective") for name in names)  # frozen in the second stage
    export_weights(tmp_path / "run/checkpoint.safetensors", tmp_path / "weights.safetensors")
    assert set(load_file(tmp_path / "weights.safetensors")) == {
        "first.weight",
        "first.bias",
        "last.weight",
        "last.bias",
    }


def test_without_averaging_the_average_is_the_weights(recipe, run_training, tmp_path: Path) -> None:
    run_training(recipe("average=0"), "run", until=8)
    checkpoint = load_checkpoint(tmp_path / "run")
    assert torch.equal(checkpoint["ema.first.weight"], checkpoint["model.first.weight"])


@pytest.mark.parametrize("name", ["compact", "hybrid"])
def test_exported_weights_record_their_origin_and_load_by_name(data, cache, tmp_path: Path, name: str) -> None:
    (tmp_path / "own.toml").write_text(COMPACT.replace("compact", name))
    request = TrainingRun(data, cache, tmp_path / "run", jobs=1, device="cpu")
    train(load_recipe(tmp_path / "own.toml"), request, SilentReporter())
    target = tmp_path / "weights.safetensors"
    export_weights(tmp_path / "run/small.safetensors", target)
    with safe_open(target, "pt") as file:
        metadata = file.metadata()
    assert metadata["model"] == metadata["recipe"] == name
    assert metadata["samples"] == "8"
    assert json.loads(metadata["network"])["margin"] == 8
    assert "clip0" in json.loads(metadata["data"])[0]
    assert len(metadata["code"]) == 12
    assert (tmp_path / "run/small.safetensors").stat().st_size < 8_000_000
    assert load_model(name, weights=target).name == name


def test_the_checkpoint_in_the_repository_can_be_resumed(data, cache, tmp_path: Path) -> None:
    source = ROOT / "checkpoints/compact.safetensors"
    checkpoint = read_checkpoint(source)
    recipe = load_recipe(find_recipe("compact"))
    objective = make_objective(recipe.network)
    optimizer = torch.optim.AdamW(objective.parameters())
    assert restore(checkpoint, objective, {}, optimizer) == []
    assert torch.equal(objective.exported_module.flow.head.weight, checkpoint.tensors["model.flow.head.weight"])
    assert len(optimizer.state) == len(list(Compact().parameters()))
    assert checkpoint.progress.name == recipe.name
    assert checkpoint.progress.stage_step == checkpoint.progress.step > 0


def test_development_sets_are_scored(recipe, run_training, tmp_path: Path) -> None:
    for name in ("Walking", "Beanbags"):
        write_image(tmp_path / f"eval/middlebury_other/input/{name}/frame10.png", 0)
        write_image(tmp_path / f"eval/middlebury_other/input/{name}/frame11.png", 2)
        write_image(tmp_path / f"eval/middlebury_other/gt/{name}/frame10i11.png", 1)
    for i in range(5):
        write_image(tmp_path / f"eval/davis_dev/pan/{i:05d}.jpg", i)
    run_training(recipe(), "run", evaluation=tmp_path / "eval", until=4)
    (row,) = run_training.report.rows
    assert row["recipe"] == "tiny"
    assert row["samples"] == 4
    assert 10 < row["middlebury"] < 60
    assert set(row) == {"recipe", "samples", "hours", "middlebury", "davis"}
    before = load_checkpoint(tmp_path / "run")
    # With nothing left to train the run is scored again and not changed.
    run_training(recipe(), "run", evaluation=tmp_path / "eval", until=4, resume=True)
    assert run_training.report.rows[0]["middlebury"] == row["middlebury"]
    assert len((tmp_path / "run/curve.csv").read_text().splitlines()) == 3
    assert all(torch.equal(before[name], value) for name, value in load_checkpoint(tmp_path / "run").items())


def test_a_diverging_loss_stops_the_run_and_keeps_the_last_good_checkpoint(
    recipe, run_training, tmp_path: Path
) -> None:
    run_training(recipe(), "run", until=8)
    good = (tmp_path / "run/checkpoint.safetensors").read_bytes()
    with pytest.raises(InputError, match=r"diverged after \d+ samples.*`resume=True`"):
        run_training(recipe("learning_rate=1e30", "warm_up=0"), "run", resume=True)
    assert (tmp_path / "run/checkpoint.safetensors").read_bytes() == good
    with pytest.raises(InputError, match="start over"):
        run_training(recipe("learning_rate=1e30", "warm_up=0"), "other")


def test_checkpoints_of_other_runs_and_damaged_ones_are_refused(recipe, run_training, tmp_path: Path) -> None:
    run_training(recipe(), "run", until=4)
    with pytest.raises(UsageError, match="`resume=True` to continue"):
        run_training(recipe(), "run")
    with pytest.raises(InputError, match="no checkpoint in"):
        run_training(recipe(), "empty", resume=True)
    with pytest.raises(UsageError, match="give only one"):
        run_training(recipe(), "run", resume=True, fresh=True)
    path = tmp_path / "run/checkpoint.safetensors"
    other = replace(recipe(), name="other", table={**recipe().table, "name": "other"})
    with pytest.raises(InputError, match="of the recipe tiny, not of other"):
        run_training(other, "x", source=path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="damaged or truncated"):
        run_training(recipe(), "run", resume=True)
    path.write_bytes(b"")
    with pytest.raises(InputError, match="checkpoint"):
        run_training(recipe(), "run", resume=True)
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(InputError, match="a weights file"):
        run_training(recipe(), "run", resume=True)
    content = load_file(ROOT / "checkpoints/compact.safetensors")
    save_file(content, path, {"state": json.dumps({"samples": 4, "recipe": {"name": "tiny"}})})
    with pytest.raises(InputError, match="is of another network"):
        run_training(recipe(), "run", resume=True)


def test_errors_are_reported_before_training_starts(recipe, run_training, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no stage 'rough': it has coarse, fine"):
        run_training(recipe(more='[[stage]]\nname = "rough"\n'), "run")
    with pytest.raises(UsageError, match="CUDA"):
        train(recipe(), TrainingRun(tmp_path, tmp_path, tmp_path / "run", device="cuda"), SilentReporter())
    with pytest.raises(InputError, match="none of the development sets"):
        run_training(recipe(), "run", evaluation=tmp_path)
    with pytest.raises(InputError, match="data folder"):
        train(
            recipe(), TrainingRun(tmp_path / "none", tmp_path / "c", tmp_path / "run", device="cpu"), SilentReporter()
        )
    (tmp_path / "nothing").mkdir()
    with pytest.raises(InputError, match="no clip"):
        train(
            recipe(),
            TrainingRun(tmp_path / "nothing", tmp_path / "c", tmp_path / "run", device="cpu", jobs=1),
            SilentReporter(),
        )
    assert not (tmp_path / "run").exists()


TWO = """
import sys
from dataclasses import replace
from pathlib import Path
import torch
import betwixt.training.loop as loop
from betwixt.training.deterministic_opencv import deterministic_opencv
from betwixt.training.recipe import load_recipe
from betwixt.training.training_log import SilentReporter

if __name__ == "__main__":
    torch.set_num_threads(1)
    folder, data, cache, output = map(Path, sys.argv[1:])
    run = loop.TrainingRun(data, cache, output, jobs=1, device="cpu")
    trainer = loop.Trainer(load_recipe(folder / "compact.toml"), run, SilentReporter())
    with deterministic_opencv():
        trainer.train()
    position = trainer.position
    torch.save(trainer.objective.state_dict(), output / f"rank{position.rank}of{position.world_size}.pt")
"""


def test_two_processes_give_the_result_of_one(data: Path, cache: Path, tmp_path: Path) -> None:
    (tmp_path / "compact.toml").write_text(COMPACT)
    (tmp_path / "two.py").write_text(TWO)
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    train(
        load_recipe(tmp_path / "compact.toml"),
        TrainingRun(data, cache, tmp_path / "one", jobs=1, device="cpu"),
        SilentReporter(),
    )
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    arguments = [str(path) for path in (tmp_path / "two.py", tmp_path, data, cache, tmp_path / "two")]
    done = subprocess.run([*torchrun, *arguments], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    one = {n[6:]: t for n, t in load_checkpoint(tmp_path / "one").items() if n.startswith("model.")}
    first, second = (torch.load(tmp_path / f"two/rank{rank}of2.pt", weights_only=True) for rank in (0, 1))
    assert all(torch.equal(first[name], second[name]) for name in first)
    first = {name.removeprefix("training_network.compact."): value for name, value in first.items()}
    start = make_objective({"name": "compact"}).exported_module.state_dict()
    assert any(not torch.equal(one[name], start[name]) for name in one)
    for name, value in one.items():
        # Adam divides by the size of the gradient: where that is next to nothing, the order of summation shows.
        assert torch.allclose(value, first[name], atol=5e-5), name
        assert (value - first[name]).abs().mean() < 1e-7, name


def test_a_pool_reuses_samples_deterministically(recipe, run_training, tmp_path: Path) -> None:
    assert run_training(recipe("reuse=3", "patch=40", "pool=8"), "run").samples == 24
    run_training(recipe("reuse=3", "patch=40", "pool=8"), "same")
    assert not differing_tensors(tmp_path / "run", tmp_path / "same")
    run_training(recipe("patch=0"), "plain")
    assert differing_tensors(tmp_path / "run", tmp_path / "plain")


def test_a_loss_gets_float32_inputs_under_mixed_precision(
    recipe, run_training, monkeypatch: pytest.MonkeyPatch
) -> None:
    types = []

    def loss(objective: Any, batch: Any, progress: float) -> Any:
        types.append((batch.truth.dtype, batch.motion.dtype, batch.extra["place"].dtype))
        return LossTerms((objective.blend.first(torch.cat((batch.frame0, batch.frame1), 1))).float().square().mean())

    loaded = recipe()
    monkeypatch.setattr(OBJECTIVES["tiny"], "loss", loss)
    run_training(loaded, "run", until=8, precision="bf16-mixed")
    assert types == [(torch.float32,) * 3] * 2


def test_the_learning_rate_cools_down_before_the_time_limit(
    recipe, run_training, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = []

    class Clock:
        """Advances by a minute on each call."""

        now = 0.0

        @classmethod
        def monotonic(cls) -> float:
            cls.now += 60.0
            return cls.now

    def add(log: Any, samples: int, figures: Any) -> None:
        rates.append(figures.get("learning rate"))

    monkeypatch.setattr(loop, "time", Clock)
    monkeypatch.setattr(training_log, "time", Clock)
    monkeypatch.setattr(training_log.TensorBoardLog, "add", add)
    run_training(
        recipe("batch=1", "samples=1000", "warm_up=0", "schedule=constant"), "run", minutes=200.0, cool_down=100.0
    )
    assert rates[0] == pytest.approx(1e-3)
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 5e-4

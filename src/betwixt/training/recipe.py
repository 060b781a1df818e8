"""Recipes: all that a training run is, in one TOML file.

    name = "rife"                   of the run, of its curve, of its checkpoints

    [network]                       which objective (`betwixt.training.objectives.base`), and its options
    name = "rife"

    [[data]]                        where samples come from, mixed by weight (`betwixt.training.sources`)
    kind = "vimeo-triplet"

    [augmentation]                  `betwixt.training.augmentation.Augmentation`

    [train]                         `TrainSettings`

    [[stage]]                       for training in stages: one table a stage, in order; its `name`, how many `samples`
    name = "coarse"                 it lasts, and any setting of [train] that differs in it

Counts are in samples, not in steps, so that they hold whatever the batch. A key that nobody knows is refused.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from betwixt.errors import InputError, UsageError
from betwixt.tables import parse_table, refuse_unknown_keys

__all__ = ["Recipe", "TrainSettings", "TrainingStage", "learning_rate", "load_recipe"]


@dataclass(frozen=True)
class TrainSettings:
    """How it is trained.

    Attributes:
        samples: How many it sees; of a stage, how many in it.
        seed: Of weights and samples.
        batch: Samples a step, on all devices together.
        accumulate: Parts in which a device does its share of a step, one after the other, where memory is short. The
            step stays the same.
        crop: Side of the square pictures, pixels.
        reuse: How many times a sample is used, with another crop each time, out of a pool that the device holds: where
            drawing samples takes longer than learning from them. 1 for once, without a pool.
        patch: With a pool, the side of the pictures that are drawn; a crop is a part of one.
        pool: How many samples the pool holds, on all devices together; the oldest go.
        optimizer: "adamw", "adam" or "adamax".
        learning_rate: The largest.
        betas: Of the optimizer.
        epsilon: Of the optimizer.
        weight_decay: Of the optimizer; decoupled with adamw, an L2 term with the others.
        clip_gradient: Largest norm of the gradient; 0 for any.
        schedule: Of the learning rate, after the warm-up; see `learning_rate`.
        warm_up: Samples over which it rises linearly.
        final_rate: "cosine" and "plateau-cosine": where it ends.
        cool_down: "plateau-cosine": samples over which it falls, at the end.
        milestones: "step": samples after which it is multiplied by `gamma`.
        gamma: See above.
        average: Horizon, in samples, of the moving average of the weights that is validated and exported; 0 for the
            weights themselves.
        precision: "fp32", or "bf16-mixed" where the device computes in bfloat16.
    """

    samples: int
    seed: int = 1
    batch: int = 8
    accumulate: int = 1
    crop: int = 256
    reuse: int = 1
    patch: int = 0
    pool: int = 4096
    optimizer: Literal["adamw", "adam", "adamax"] = "adamw"
    learning_rate: float = 3e-4
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    clip_gradient: float = 0.0
    schedule: Literal["constant", "cosine", "plateau-cosine", "step"] = "cosine"
    warm_up: int = 0
    final_rate: float = 0.0
    cool_down: int = 0
    milestones: tuple[int, ...] = ()
    gamma: float = 0.5
    average: int = 0
    precision: Literal["fp32", "bf16-mixed"] = "fp32"

    def check(self, where: str) -> None:
        """Refuse values that make no sense; `where` is for the message.

        Raises:
            UsageError: in one line.
        """
        for name in ("samples", "batch", "accumulate", "crop", "reuse", "pool"):
            if getattr(self, name) < 1:
                raise UsageError(f"'{name}' in {where} has to be 1 or more, not {getattr(self, name)}.")
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, (int, float)) and not (value >= 0 and math.isfinite(value)):
                raise UsageError(f"'{field.name}' in {where} has to be 0 or more, not {value}.")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise UsageError(f"'betas' in {where} have to be 0 or more and less than 1, not {list(self.betas)}.")
        if self.batch % self.accumulate:
            raise UsageError(
                f"'accumulate' in {where}: a batch of {self.batch} cannot be split into {self.accumulate} equal parts."
            )
        if self.patch and self.reuse == 1:
            raise UsageError(f"'patch' in {where} is of samples that are used again: set 'reuse', or leave it out.")
        if self.patch and self.patch < self.crop:
            raise UsageError(f"'patch' in {where} has to be as large as 'crop' or larger, not {self.patch}.")
        if self.schedule == "step" and not self.milestones:
            raise UsageError(f"'schedule' in {where} is \"step\": 'milestones' has to say where.")


@dataclass(frozen=True)
class TrainingStage:
    """A part of a run.

    Attributes:
        name: One of the objective's `stages`.
        begin: The number of its first sample.
        train: Its settings.
    """

    name: str
    begin: int
    train: TrainSettings

    @property
    def end(self) -> int:
        """The number of the first sample after it."""
        return self.begin + self.train.samples


@dataclass(frozen=True)
class Recipe:
    """A whole recipe.

    Attributes:
        name: Of the run.
        network: The table [network].
        data: The tables [[data]].
        augmentation: The table [augmentation].
        stages: In order; where the recipe has none, one whose name is "".
        table: All of it, as read and changed by `--set`.
        where: What it was read from, for messages.
    """

    name: str
    network: Mapping[str, Any]
    data: tuple[Mapping[str, Any], ...]
    augmentation: Mapping[str, Any]
    stages: tuple[TrainingStage, ...]
    table: Mapping[str, Any]
    where: str = "the recipe"

    @property
    def samples(self) -> int:
        """How many there are in all."""
        return self.stages[-1].end

    def stage_at(self, sample: int) -> TrainingStage:
        """The stage in which a sample lies; the last one at the end of the recipe."""
        return next((stage for stage in self.stages if sample < stage.end), self.stages[-1])


def learning_rate(train: TrainSettings, sample: int) -> float:
    """The learning rate of the step that begins with a sample, counted from the beginning of its stage.

    A linear warm-up over `warm_up` samples, times

        constant         learning_rate
        cosine           half a cosine from learning_rate at the beginning to final_rate at the end
        plateau-cosine   learning_rate, and over the last cool_down samples half a cosine to final_rate
        step             learning_rate, times gamma after each of the milestones
    """
    warm = min(1.0, (sample + train.batch) / max(train.warm_up, 1))
    top, low = train.learning_rate, train.final_rate
    if train.schedule == "constant":
        return top * warm
    if train.schedule == "step":
        return top * warm * train.gamma ** sum(sample >= milestone for milestone in train.milestones)
    length = train.samples if train.schedule == "cosine" else train.cool_down
    left = min(1.0, max(0, train.samples - sample) / max(length, 1))
    return warm * (low + (top - low) * 0.5 * (1.0 - math.cos(math.pi * left)))


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe.

    Args:
        path: The file.
        overrides: "key=value", the value as TOML has it; a text needs no quotes. `train.key` is of [train],
            `network.key` and `augmentation.key` likewise, `stage.NAME.key` of one stage, `data.KIND.key` of the data of
            a kind. A plain key is of [train] and of every stage that sets it itself.

    Raises:
        InputError: if there is no such file, or it is no TOML.
        UsageError: if a key is unknown, or a value does not fit.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"There is no recipe {path}.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {(error.strerror or 'error').lower()}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a recipe: {error}.") from None
    for item in overrides:
        _override(table, item)
    return _recipe(table, str(path))


def _recipe(table: dict[str, Any], where: str) -> Recipe:
    refuse_unknown_keys(table, ("name", "network", "data", "augmentation", "train", "stage"), where)
    name = table.get("name")
    if not isinstance(name, str) or not name or name != Path(name).name:
        raise UsageError(f'{where} needs a name: name = "rife".')
    network, augmentation, common = (_table(table, key, where) for key in ("network", "augmentation", "train"))
    data, stages = (_tables(table, key, where) for key in ("data", "stage"))
    if not data:
        raise UsageError(f"{where} says nothing of its data: add [[data]].")
    if not stages:
        train = parse_table(TrainSettings, common, f"[train] of {where}")
        train.check(f"[train] of {where}")
        return Recipe(name, network, tuple(data), augmentation, (TrainingStage("", 0, train),), table, where)
    # A wrong key of [train] is that table's, even if every stage would say it again.
    parse_table(TrainSettings, {"samples": 1, **common}, f"[train] of {where}")
    made: list[TrainingStage] = []
    for number, own in enumerate(stages):
        title = own.get("name")
        if not isinstance(title, str) or title in (stage.name for stage in made):
            raise UsageError(f"[[stage]] number {number + 1} of {where} needs a name of its own.")
        place = f"[[stage]] {title} of {where}"
        settings = {key: value for key, value in own.items() if key != "name"}
        parse_table(TrainSettings, {"samples": 1, **settings}, place)
        train = parse_table(TrainSettings, {**common, **settings}, place)
        train.check(place)
        made.append(TrainingStage(title, made[-1].end if made else 0, train))
    return Recipe(name, network, tuple(data), augmentation, tuple(made), table, where)


def _table(content: Mapping[str, Any], key: str, where: str) -> dict[str, Any]:
    value = content.get(key, {})
    if not isinstance(value, dict):
        raise UsageError(f"'{key}' in {where} has to be a table: [{key}].")
    return value


def _tables(content: Mapping[str, Any], key: str, where: str) -> list[dict[str, Any]]:
    value = content.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise UsageError(f"'{key}' in {where} has to be a list of tables: [[{key}]].")
    return value


def _override(table: dict[str, Any], item: str) -> None:
    key, equals, text = item.partition("=")
    key = key.strip()
    if not equals or not key:
        raise UsageError(f"--set '{item}' sets nothing: write key=value.")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    *place, last = key.split(".")
    if not place:
        table.setdefault("train", {})[last] = value
        for stage in _tables(table, "stage", "the recipe"):
            if last in stage:
                stage[last] = value
    elif len(place) == 1 and place[0] in ("train", "network", "augmentation"):
        _table(table, place[0], "the recipe")
        table.setdefault(place[0], {})[last] = value
    elif len(place) == 2 and place[0] in ("stage", "data"):
        title = "name" if place[0] == "stage" else "kind"
        found = [entry for entry in _tables(table, place[0], "the recipe") if entry.get(title) == place[1]]
        if not found:
            raise UsageError(f"--set '{item}': the recipe has no {place[0]} '{place[1]}'.")
        for entry in found:
            entry[last] = value
    else:
        raise UsageError(
            f"--set '{item}': write key, train.key, network.key, augmentation.key, stage.NAME.key or data.KIND.key."
        )

"""Recipes: everything that defines a training run, in one TOML file.

    name = "rife"                   of the run, its training curve and its checkpoints
    extends = "other.toml"          optional: a recipe to start from, in the same folder or one that comes with Betwixt;
                                    this one then states only the differences (see `load_recipe`)

    [network]                       `name` of the objective (`betwixt.training.objectives`) and its options
    name = "rife"

    [[data]]                        where samples come from, mixed by weight (`betwixt.training.sources`)
    kind = "vimeo-triplet"

    [augmentation]                  `betwixt.training.augmentation.Augmentation`

    [train]                         `TrainSettings`

    [[stage]]                       for training in stages, one table each, in order: its `name`, its number of
    name = "coarse"                 `samples`, and any setting of [train] that differs in it

Durations are numbers of samples, not of steps, so they hold for any batch size. Unknown keys are refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from betwixt.errors import UsageError
from betwixt.tables import parse_table, parse_value, refuse_unknown_keys
from betwixt.training.recipe_files import read_toml, recipe_files


@dataclass(frozen=True)
class TrainSettings:
    """The table [train] of a recipe: optimizer, schedule and batch.

    Attributes:
        samples: Number of training samples; in a stage, of that stage.
        seed: Of the initial weights and of the samples.
        batch: Samples per step, over all devices.
        accumulate: Gradient accumulation: the number of parts in which a device computes its samples of a step, one
            after the other, to save memory.
        crop: Side of the square training crops, pixels.
        reuse: How many times each sample is used, with a different crop each time, out of a pool on the device. For
            when drawing samples takes longer than training on them. 1: no pool.
        patch: With a pool, the side of the pooled images, of which crops are taken. 0: as `crop`.
        pool: Capacity of the pool in samples, over all devices; the oldest are dropped.
        optimizer: "adamw", "adam" or "adamax".
        learning_rate: The peak learning rate.
        betas: Of the optimizer.
        epsilon: Of the optimizer.
        weight_decay: Decoupled for adamw, an L2 term for the others.
        clip_gradient: Maximum norm of the gradient; 0: no clipping.
        schedule: Of the learning rate after the warm-up; see `learning_rate`.
        warm_up: Samples over which the learning rate rises linearly from 0.
        final_rate: "cosine" and "plateau-cosine": the learning rate at the end.
        cool_down: "plateau-cosine": samples at the end over which the learning rate falls.
        milestones: "step": samples after which the learning rate is multiplied by `gamma`.
        gamma: "step": the factor at each milestone.
        average: Horizon, in samples, of the moving average of the weights, which is validated and exported. 0: no
            averaging.
        precision: "fp32", or "bf16-mixed" where the device has bfloat16 instructions.
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
        """Raise `UsageError` for the first invalid value; `where` names the table in the message."""
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
            raise UsageError(f"'patch' in {where} needs 'reuse' of 2 or more: set it, or remove 'patch'.")
        if self.patch and self.patch < self.crop:
            raise UsageError(f"'patch' in {where} has to be at least 'crop', not {self.patch}.")
        if self.schedule == "step" and not self.milestones:
            raise UsageError(f"'schedule' in {where} is \"step\": give 'milestones'.")


@dataclass(frozen=True)
class TrainingStage:
    """A contiguous part of a run with its own settings."""

    name: str  # one of the objective's `stages`; "" in a recipe without stages
    begin: int  # the index of its first sample
    train: TrainSettings  # its settings

    @property
    def end(self) -> int:
        """One past the index of its last sample."""
        return self.begin + self.train.samples


@dataclass(frozen=True)
class Recipe:
    """A parsed recipe."""

    name: str  # of the run
    network: Mapping[str, Any]  # the table [network]
    data: tuple[Mapping[str, Any], ...]  # the tables [[data]]
    augmentation: Mapping[str, Any]  # the table [augmentation]
    stages: tuple[TrainingStage, ...]  # in order; a single one if the recipe has none
    table: Mapping[str, Any]  # the whole recipe, with the parent recipe merged and `settings` applied
    where: str = "the recipe"  # the name of the file, for messages

    @property
    def samples(self) -> int:
        """The number of samples of all stages."""
        return self.stages[-1].end

    def as_one_stage(self, name: str) -> Recipe:
        """The recipe with all its samples in one stage, by the settings of the first."""
        train = replace(self.stages[0].train, samples=self.samples)
        return replace(self, stages=(TrainingStage(name, 0, train),))

    def stage_at(self, sample: int) -> TrainingStage:
        """The stage that sample number `sample` belongs to; past the end, the last stage."""
        return next((stage for stage in self.stages if sample < stage.end), self.stages[-1])


def learning_rate(train: TrainSettings, sample: int) -> float:
    """The learning rate of the step whose first sample is `sample`, counted from the start of its stage.

    A linear warm-up over `warm_up` samples, times one of

        constant         learning_rate
        cosine           half a cosine from learning_rate at the start to final_rate at the end
        plateau-cosine   learning_rate, then over the last cool_down samples half a cosine to final_rate
        step             learning_rate, times gamma after each of the milestones
    """
    warm_up = min(1.0, (sample + train.batch) / max(train.warm_up, 1))
    peak, final = train.learning_rate, train.final_rate
    if train.schedule == "constant":
        return peak * warm_up
    if train.schedule == "step":
        return peak * warm_up * train.gamma ** sum(sample >= milestone for milestone in train.milestones)
    length = train.samples if train.schedule == "cosine" else train.cool_down
    remaining = min(1.0, max(0, train.samples - sample) / max(length, 1))
    return warm_up * (final + (peak - final) * 0.5 * (1.0 - math.cos(math.pi * remaining)))


def load_recipe(path: Path, settings: Sequence[str] = ()) -> Recipe:
    """Read a recipe.

    A recipe that `extends` another starts from that one's tables: its own [network], [augmentation] and [train]
    replace single keys, its own [[data]] and [[stage]] replace the whole list. The name is never inherited.

    Args:
        path: The TOML file.
        settings: Changes, "key=value" with the value as in TOML (strings need no quotes). `train.key`, `network.key`
            and `augmentation.key` change a key of that table, `stage.NAME.key` of one stage, `data.KIND.key` of all
            data of one kind. A plain key changes [train] and every stage that sets the key itself.

    Raises:
        InputError: if a file does not exist or is not TOML.
        UsageError: if a key is unknown, a value does not fit, or `extends` does not name a recipe.
    """
    table: dict[str, Any] = {}
    for file in reversed(recipe_files(path)):
        table = _merge(table, read_toml(file))
    for setting in settings:
        _apply_setting(table, setting)
    return _parse_recipe(table, str(path))


def _merge(parent: Mapping[str, Any], child: Mapping[str, Any]) -> dict[str, Any]:
    """The tables of a recipe that extends `parent`."""
    merged = {key: value for key, value in parent.items() if key != "name"}
    for key, value in child.items():
        inherited = merged.get(key)
        merged[key] = inherited | value if isinstance(value, dict) and isinstance(inherited, dict) else value
    merged.pop("extends", None)
    return merged


def _parse_recipe(table: dict[str, Any], where: str) -> Recipe:
    refuse_unknown_keys(table, ("name", "network", "data", "augmentation", "train", "stage"), where)
    name = table.get("name")
    if not isinstance(name, str) or not name or name != Path(name).name:
        raise UsageError(f'{where} needs a name: name = "rife".')
    network, augmentation, common = (_get_table(table, key, where) for key in ("network", "augmentation", "train"))
    data, stage_tables = (_get_tables(table, key, where) for key in ("data", "stage"))
    if not data:
        raise UsageError(f"{where} has no data: add [[data]].")
    # Check [train] by itself first, so that an error names [train] even where every stage overrides the key.
    parse_table(TrainSettings, {"samples": 1, **common}, f"[train] of {where}")
    stages: list[TrainingStage] = []
    for number, stage_table in enumerate(stage_tables or [{"name": ""}], start=1):
        title = stage_table.get("name")
        if not isinstance(title, str) or title in (stage.name for stage in stages):
            raise UsageError(f"[[stage]] number {number} of {where} needs a name of its own.")
        place = f"[[stage]] {title} of {where}" if stage_tables else f"[train] of {where}"
        own = {key: value for key, value in stage_table.items() if key != "name"}
        parse_table(TrainSettings, {"samples": 1, **own}, place)
        train = parse_table(TrainSettings, {**common, **own}, place)
        train.check(place)
        stages.append(TrainingStage(title, stages[-1].end if stages else 0, train))
    return Recipe(name, network, tuple(data), augmentation, tuple(stages), table, where)


def _get_table(recipe: Mapping[str, Any], key: str, where: str) -> dict[str, Any]:
    value = recipe.get(key, {})
    if not isinstance(value, dict):
        raise UsageError(f"'{key}' in {where} has to be a table: [{key}].")
    return value


def _get_tables(recipe: Mapping[str, Any], key: str, where: str) -> list[dict[str, Any]]:
    value = recipe.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise UsageError(f"'{key}' in {where} has to be a list of tables: [[{key}]].")
    return value


def _apply_setting(recipe: dict[str, Any], setting: str) -> None:
    """Apply one "key=value" of `load_recipe` to the tables of a recipe, in place."""
    dotted, equals, text = setting.partition("=")
    dotted = dotted.strip()
    if not equals or not dotted:
        raise UsageError(f"`settings`: '{setting}' is not of the form key=value.")
    value = parse_value(text)
    *place, key = dotted.split(".")
    if not place:
        recipe.setdefault("train", {})[key] = value
        for stage in _get_tables(recipe, "stage", "the recipe"):
            if key in stage:
                stage[key] = value
    elif len(place) == 1 and place[0] in ("train", "network", "augmentation"):
        _get_table(recipe, place[0], "the recipe")
        recipe.setdefault(place[0], {})[key] = value
    elif len(place) == 2 and place[0] in ("stage", "data"):
        title = "name" if place[0] == "stage" else "kind"
        matching = [entry for entry in _get_tables(recipe, place[0], "the recipe") if entry.get(title) == place[1]]
        if not matching:
            raise UsageError(f"`settings`: '{setting}': the recipe has no {place[0]} '{place[1]}'.")
        for entry in matching:
            entry[key] = value
    else:
        raise UsageError(
            f"`settings`: '{setting}' has to begin with key, train.key, network.key, augmentation.key, stage.NAME.key "
            "or data.KIND.key."
        )

"""Recipes: all settings of a training run, in one TOML file.

    [train]                 the fields of `Recipe`
    [data]
    exclude = ["name"]      clips that are never trained on
    [data.clips.name]       the fields of `ClipRule`: what may be taken of one clip

Counts are in samples, not in steps, so that they hold whatever the batch.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from betwixt.errors import InputError, UsageError
from betwixt.training.clips import ClipRule

__all__ = ["DataRules", "Recipe", "load_recipe"]


@dataclass(frozen=True)
class DataRules:
    """What may be taken from a data folder."""

    exclude: tuple[str, ...] = ()
    clips: Mapping[str, ClipRule] = field(default_factory=dict)


@dataclass(frozen=True)
class Recipe:
    """The settings of a run.

    Attributes:
        name: Of the recipe; it stands in the training curve.
        seed: Of weights and samples.
        batch: Samples a step.
        crop: Side of the square crops, pixels.
        margin: Pixels around the crop that the search for motion sees and the network does not.
        learning_rate: On the plateau.
        weight_decay: Of AdamW.
        clip_gradient: Largest gradient norm.
        warm_up: Samples of linear warm-up.
        samples: The end of the run.
        cool_down: Samples of half a cosine down to zero at the end.
        average: Horizon of the moving average of the weights.
        synthetic_first: Share of synthetic samples at the beginning,
        synthetic_last: and from `synthetic_until` on; linear between them.
        synthetic_until: See above.
        compressed: Share of samples with the noise of lossy compression, on all three frames.
        fidelity_weight: Weight of the logarithm of the squared error beside the reconstruction loss.
        flow_weight: Weight of the flow loss beside the reconstruction loss.
        bf16: Convolutions in bfloat16, where the device computes in it.
    """

    name: str = "compact"
    seed: int = 1
    batch: int = 8
    crop: int = 128
    margin: int = 32
    learning_rate: float = 5e-4
    weight_decay: float = 1e-4
    clip_gradient: float = 1.0
    warm_up: int = 1_000
    samples: int = 1_500_000
    cool_down: int = 300_000
    average: int = 8_000
    synthetic_first: float = 0.85
    synthetic_last: float = 0.45
    synthetic_until: int = 60_000
    compressed: float = 0.2
    fidelity_weight: float = 0.02
    flow_weight: float = 0.02
    bf16: bool = True


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> tuple[Recipe, DataRules]:
    """Read a recipe; `overrides` are "key=value" for [train], the value as TOML has it."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"There is no recipe {path}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a recipe: {error}.") from None
    settings: dict[str, Any] = dict(content.pop("train", {}))
    data: dict[str, Any] = dict(content.pop("data", {}))
    _refuse_unknown(content, (), f"{path}")
    for item in overrides:
        key, equals, value = item.partition("=")
        if not equals:
            raise UsageError(f"'{item}' sets nothing: write key=value.")
        try:
            settings[key.strip()] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            settings[key.strip()] = value
    types = {f.name: type(f.default) for f in fields(Recipe)}
    _refuse_unknown(settings, types, f"[train] of {path}")
    for key, value in settings.items():
        if types[key] is float and type(value) is int:
            settings[key] = float(value)
        elif type(value) is not types[key]:
            raise UsageError(f"'{key}' has to be of type {types[key].__name__}, not {value!r}.")
    _refuse_unknown(data, ("exclude", "clips"), f"[data] of {path}")
    rules = {}
    for name, rule in data.get("clips", {}).items():
        _refuse_unknown(rule, [f.name for f in fields(ClipRule)], f"[data.clips.{name}] of {path}")
        rules[name] = ClipRule(**rule)
    return Recipe(**settings), DataRules(tuple(data.get("exclude", ())), rules)


def _refuse_unknown(settings: Mapping[str, Any], known: Any, where: str) -> None:
    for key in settings:
        if key not in known:
            raise UsageError(f"{where} has no setting '{key}'.")

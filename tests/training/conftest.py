"""A tiny objective with all features that a real one may have, and tiny data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from betwixt.models.network import Network, Synthesis
from betwixt.tables import parse_table
from betwixt.training.objectives import registry
from betwixt.training.objectives.base import Batch, LossTerms, Objective
from betwixt.training.recipe import load_recipe
from clips import make_clip

RECIPE = """
name = "tiny"

[network]
name = "tiny"

[[data]]
kind = "synthetic"
shards = 0
weight = 0.5

[[data]]
kind = "clips"
weight = 0.5

[train]
samples = 24
batch = 4
crop = 32
learning_rate = 1e-3
warm_up = 8
average = 40
weight_decay = 1e-4
"""


class Blend(Network):
    """A blend of the two frames."""

    multiple = 8
    any_time = True

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(6, 4, 3, 1, 1)
        self.last = nn.Conv2d(4, 3, 3, 1, 1)

    def pair(self, frame0: Tensor, frame1: Tensor) -> tuple[Tensor, Tensor]:
        return frame0, frame1

    def at(self, pair: tuple[Tensor, Tensor], t: Tensor) -> Synthesis:
        change = self.last(torch.relu(self.first(torch.cat(pair, 1))))
        return Synthesis(pair[0] * (1 - t) + pair[1] * t + change)


@dataclass(frozen=True)
class TinyOptions:
    pass


class Tiny(Objective):
    """Trains `Blend` with a teacher in the first stage, noise, a buffer, a frozen network and prepared inputs."""

    stages = ("coarse", "fine")
    margin = 4

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        super().__init__()
        parse_table(TinyOptions, options, "[network]")
        self.blend = Blend()
        self.teacher = nn.Conv2d(3, 3, 1)
        self.fixed = nn.Conv2d(3, 3, 1).requires_grad_(False)
        self.register_buffer("sample_count", torch.zeros(()))

    @property
    def network(self) -> Network:
        return self.blend

    def begin_stage(self, stage: str) -> None:
        self.teacher.requires_grad_(stage == "coarse")

    def prepare(self, rng: np.random.Generator, sample: Any) -> dict[str, Any]:
        side = sample.images.shape[1]
        assert self.network.multiple == 8
        return {"place": np.full((side, side, 1), rng.random(), np.float32), "one": np.array(rng.random(), np.float32)}

    def loss(self, batch: Batch, progress: float) -> LossTerms:
        assert batch.extra["place"].shape == (len(batch), 1, *batch.frame0.shape[-2:])
        self.sample_count += len(batch)
        frame = self.blend(batch.frame0, batch.frame1, batch.t).frame
        noise = 0.01 * torch.rand(()) * (frame - 0.5).square().mean()
        close = (frame - batch.truth).abs().mean()
        distillation = (self.teacher(batch.truth) - frame).square().mean() + self.fixed(frame).mean() * 0.01
        total = close + noise + (1 - progress) * distillation + batch.extra["one"].mean() * frame.mean() * 0.01
        return LossTerms(total, {"close": close.detach()})


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register the objective `tiny`."""
    monkeypatch.setitem(registry.OBJECTIVES, "tiny", Tiny)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder of two short clips."""
    folder = tmp_path_factory.mktemp("data")
    for number in range(2):
        make_clip(folder / f"clip{number}.mkv", frames=7, size=(96, 96))
    return folder


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache in which the data is prepared, once."""
    return tmp_path_factory.mktemp("prepared") / "cache"


@pytest.fixture
def recipe(tmp_path: Path, tiny: None) -> Callable[..., Any]:
    """Loads a recipe of the tiny network, with changed settings and additional TOML text."""

    def load(*settings: str, more: str = "") -> Any:
        path = tmp_path / "tiny.toml"
        path.write_text(RECIPE + more)
        return load_recipe(path, settings)

    return load

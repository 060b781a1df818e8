from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from betwixt.training.batches import ProcessRank, draw_from_pool, load_batches, move_to_device
from betwixt.training.objectives.registry import make_objective
from betwixt.training.recipe_sampler import RecipeSampler


def concatenate(parts: list, name: str) -> torch.Tensor:
    return torch.cat([getattr(part, name) for part in parts])


def test_processes_split_every_step_and_a_resumed_run_sees_the_remaining_samples(
    recipe, data: Path, cache: Path
) -> None:
    loaded = recipe()
    objective = make_objective(loaded.network)
    (stage,) = loaded.stages
    draw = RecipeSampler(loaded, data, cache)
    draw.prepare(1, lambda line: None)
    whole = list(load_batches(draw, objective, stage, 0))
    assert len(whole) == 6
    parts = [list(load_batches(draw, objective, stage, 0, position=ProcessRank(rank, 2))) for rank in (0, 1)]
    for name in ("frame0", "truth", "frame1", "t", "motion", "exact"):
        for step, one in enumerate(whole):
            assert torch.equal(getattr(one, name), concatenate([part[step] for part in parts], name))
    rest = list(load_batches(draw, objective, stage, 8))
    assert len(rest) == 4
    assert torch.equal(rest[0].truth, whole[2].truth)
    assert torch.equal(rest[0].extra["place"], whole[2].extra["place"])


def test_a_batch_has_images_in_0_to_1_and_motion_only_where_it_is_known(recipe, data: Path, cache: Path) -> None:
    loaded = recipe("batch=24")
    objective = make_objective(loaded.network)
    draw = RecipeSampler(loaded, data, cache)
    draw.prepare(1, lambda line: None)
    raw = next(load_batches(draw, objective, loaded.stages[0], 0))
    batch = move_to_device(raw, torch.device("cpu"))
    assert raw.frame0.dtype == torch.uint8
    assert batch.frame0.shape == (24, 3, 32, 32)
    assert batch.frame0.is_contiguous(memory_format=torch.channels_last)
    assert 0.0 <= float(batch.truth.min()) < float(batch.truth.max()) <= 1.0
    assert batch.motion.shape == (24, 2, 32, 32)
    assert batch.extra["place"].shape == (24, 1, 32, 32)
    assert batch.extra["one"].shape == (24,)
    known = batch.exact.flatten() > 0.5
    assert 0 < int(known.sum()) < 24
    assert not batch.motion[~known].any()
    # The margin was cut off on all sides.
    _, sample = draw(0, 40)
    assert np.array_equal(sample.images[0, 4:-4, 4:-4], raw.frame0[0].permute(1, 2, 0).numpy())
    part = batch.part(2, 5)
    assert len(part) == 3
    assert torch.equal(part.extra["one"], batch.extra["one"][2:5])


def test_batches_from_a_pool_are_crops_of_the_drawn_samples_so_far(recipe, data: Path, cache: Path) -> None:
    loaded = recipe("reuse=3", "patch=48", "pool=8")
    objective = make_objective(loaded.network)
    (stage,) = loaded.stages
    draw = RecipeSampler(loaded, data, cache)
    draw.prepare(1, lambda line: None)
    drawn = list(load_batches(draw, objective, stage, 0))
    assert [batch.truth.shape for batch in drawn] == [(4, 3, 48, 48)] * 2
    # A run resumed in the middle draws the same samples at that step.
    (later,) = load_batches(draw, objective, stage, 16)
    assert torch.equal(later.truth, drawn[1].truth)
    batches = list(draw_from_pool(iter(drawn), stage, 0, torch.device("cpu")))
    again = list(draw_from_pool(iter(drawn), stage, 0, torch.device("cpu")))
    assert len(batches) == 6
    images = {float(one): batch.truth[i] for batch in drawn for i, one in enumerate(batch.extra["one"])}
    used: list[set[float]] = []
    for step, same in zip(batches, again, strict=True):
        assert step.truth.shape == (4, 3, 32, 32)
        assert step.motion.shape == (4, 2, 32, 32)
        assert step.extra["place"].shape == (4, 1, 32, 32)
        assert torch.equal(step.truth, same.truth)
        used.append({float(one) for one in step.extra["one"]})
        for one, crop in zip(step.extra["one"], step.truth, strict=True):
            windows = images[float(one)].unfold(1, 32, 1).unfold(2, 32, 1)
            assert (windows == crop[:, None, None]).flatten(3).all(dim=3).all(dim=0).any()
    # The last three steps can also take samples of the second draw.
    first = {float(one) for one in drawn[0].extra["one"]}
    assert set().union(*used[:3]) <= first
    assert not set().union(*used[3:]) <= first


def test_each_process_has_a_pool_of_its_part(recipe, data: Path, cache: Path) -> None:
    loaded = recipe("reuse=2", "pool=8")
    objective = make_objective(loaded.network)
    (stage,) = loaded.stages
    draw = RecipeSampler(loaded, data, cache)
    draw.prepare(1, lambda line: None)
    for rank in (0, 1):
        share = ProcessRank(rank, 2)
        feed = load_batches(draw, objective, stage, 0, position=share)
        assert [len(batch) for batch in draw_from_pool(feed, stage, 0, torch.device("cpu"), share)] == [2] * 6

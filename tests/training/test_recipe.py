from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from betwixt.errors import InputError, UsageError
from betwixt.training.objectives.registry import make_objective
from betwixt.training.recipe import TrainSettings, learning_rate, load_recipe
from betwixt.training.recipe_sampler import RecipeSampler

WHOLE = """
name = "x"
[network]
name = "compact"
[[data]]
kind = "clips"
[train]
samples = 100
batch = 4
[[stage]]
name = "coarse"
samples = 40
batch = 8
[[stage]]
name = "fine"
crop = 64
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text)
    return path


def test_stages_follow_one_another_and_differ_in_what_they_say(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, WHOLE))
    coarse, fine = recipe.stages
    assert (coarse.begin, coarse.end, fine.begin, fine.end, recipe.samples) == (0, 40, 40, 140, 140)
    assert (coarse.train.batch, fine.train.batch, coarse.train.crop, fine.train.crop) == (8, 4, 256, 64)
    assert [recipe.stage_at(k).name for k in (0, 39, 40, 139, 140)] == ["coarse", "coarse", "fine", "fine", "fine"]


@pytest.mark.parametrize(
    ("setting", "batches"),
    [("batch=2", (2, 2)), ("train.batch=2", (8, 2)), ("stage.coarse.batch=2", (2, 4)), ("stage.fine.batch=2", (8, 2))],
)
def test_a_setting_is_changed_where_it_is_said(tmp_path: Path, setting: str, batches: tuple[int, int]) -> None:
    recipe = load_recipe(write(tmp_path, WHOLE), [setting])
    assert tuple(stage.train.batch for stage in recipe.stages) == batches


def test_network_and_data_are_changed_too(tmp_path: Path) -> None:
    settings = ["network.margin=4", "data.clips.exclude=['a']", "augmentation.channels=1", "optimizer=adam"]
    recipe = load_recipe(write(tmp_path, WHOLE), settings)
    assert recipe.network["margin"] == 4
    assert recipe.data[0]["exclude"] == ["a"]
    assert recipe.augmentation["channels"] == 1
    assert recipe.stages[0].train.optimizer == "adam"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('name = "x"', 'name = "x"\nsteps = 3', "steps"),
        ('name = "x"\n', "", "needs a name"),
        ("[train]", "[train]\nbatches = 3", "batches"),
        ("crop = 64", "crops = 64", r"\[\[stage\]\] fine.*crops"),
        ("samples = 100", 'samples = "many"', "samples.*integer"),
        ("samples = 100", "samples = 0", "samples.*1 or more"),
        ("samples = 100", "samples = 100\nlearning_rate = -1", "learning_rate.*0 or more"),
        ("samples = 100", "samples = 100\nbetas = [0.9]", "betas"),
        ("samples = 100", "samples = 100\nbetas = [0.9, 1.0]", "betas"),
        ("samples = 100", 'samples = 100\noptimizer = "sgd"', 'one of "adamw"'),
        ("samples = 100", "samples = 100\naccumulate = 3", "accumulate"),
        ("samples = 100", 'samples = 100\nschedule = "step"', "milestones"),
        ("samples = 100\n", "", "lacks the setting 'samples'"),
        ('name = "fine"', 'name = "coarse"', "name of its own"),
        ('[[data]]\nkind = "clips"', "", "data"),
        ('[[data]]\nkind = "clips"', "data = 3", "data"),
        ('kind = "clips"', 'kind = "films"', "films"),
        ('kind = "clips"', 'kind = "clips"\nexcludes = ["a"]', "excludes"),
        ("[train]", "[augmentation]\nflips = 1\n[train]", "flips"),
        ('[network]\nname = "compact"', '[network]\nname = "compcat"', "compcat.*compact"),
        ('[network]\nname = "compact"', '[network]\nname = "compact"\nwidth = 3', "width"),
        ('[network]\nname = "compact"', '[network]\nname = "compact"\nmargin = 1.5', "margin"),
        ('[network]\nname = "compact"', "[network]", "name ="),
        ("batch = 4", "batch = 4\npatch = 300", "patch.*reuse"),
        ("batch = 4", "batch = 4\npatch = 200\nreuse = 2", "patch.*crop"),
        ("batch = 4", "batch = 4\nreuse = 0", "reuse"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert old in WHOLE
    with pytest.raises(UsageError, match=says) as caught:
        read_all(write(tmp_path, WHOLE.replace(old, new, 1)), tmp_path)
    assert "\n" not in str(caught.value)


def read_all(path: Path, folder: Path) -> None:
    """All that is read of a recipe before data is looked for."""
    recipe = load_recipe(path)
    make_objective(recipe.network)
    RecipeSampler(recipe, folder, folder)


@pytest.mark.parametrize("setting", ["batch", "=3", "stage.rough.batch=2", "data.films.weight=2", "a.b.c.d=1", "x.y=1"])
def test_a_setting_that_sets_nothing_is_refused(tmp_path: Path, setting: str) -> None:
    with pytest.raises(UsageError, match="--set"):
        load_recipe(write(tmp_path, WHOLE), [setting])


def test_a_file_that_is_no_recipe_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no recipe"):
        load_recipe(tmp_path / "none.toml")
    with pytest.raises(InputError, match="is not a recipe"):
        load_recipe(write(tmp_path, "name = "))
    with pytest.raises(InputError, match="cannot be read"):
        load_recipe(tmp_path)


def test_learning_rates_are_those_of_their_schedules() -> None:
    def rates(samples: tuple[int, ...], **more: object) -> list[float]:
        train = TrainSettings(samples=1000, batch=8, learning_rate=1.0, **more)  # type: ignore[arg-type]
        return [learning_rate(train, k) for k in samples]

    plateau = rates((0, 40, 80, 600, 800, 1000), schedule="plateau-cosine", warm_up=80, cool_down=400)
    assert plateau == pytest.approx([0.1, 0.6, 1.0, 1.0, 0.5, 0.0])
    assert rates((0, 500, 1000), schedule="cosine", final_rate=0.2) == pytest.approx([1.0, 0.6, 0.2])
    assert rates((0, 100, 299, 300), schedule="step", milestones=(100, 300), gamma=0.1) == pytest.approx(
        [1.0, 0.1, 0.1, 0.01]
    )
    assert rates((0, 999), schedule="constant") == [1.0, 1.0]


@given(
    schedule=st.sampled_from(["constant", "cosine", "plateau-cosine", "step"]),
    sample=st.integers(0, 1000),
    warm_up=st.integers(0, 2000),
    cool_down=st.integers(0, 2000),
    final=st.floats(0, 1),
)
def test_a_learning_rate_is_never_above_the_largest_nor_below_zero(
    schedule: str, sample: int, warm_up: int, cool_down: int, final: float
) -> None:
    train = TrainSettings(
        1000, schedule=schedule, learning_rate=1.0, warm_up=warm_up, cool_down=cool_down, final_rate=final
    )  # type: ignore[arg-type]
    assert 0.0 <= learning_rate(TrainSettings(**{**vars(train), "milestones": (500,)}), sample) <= 1.0 + 1e-12

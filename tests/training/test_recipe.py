from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from betwixt.errors import InputError, UsageError
from betwixt.training.objectives.registry import make_objective
from betwixt.training.recipe import TrainSettings, learning_rate, load_recipe, recipe_files
from betwixt.training.recipe_sampler import RecipeSampler

STAGED = """
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


def test_stages_are_consecutive_and_override_train_settings(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, STAGED))
    coarse, fine = recipe.stages
    assert (coarse.begin, coarse.end, fine.begin, fine.end, recipe.samples) == (0, 40, 40, 140, 140)
    assert (coarse.train.batch, fine.train.batch, coarse.train.crop, fine.train.crop) == (8, 4, 256, 64)
    assert [recipe.stage_at(k).name for k in (0, 39, 40, 139, 140)] == ["coarse", "coarse", "fine", "fine", "fine"]


@pytest.mark.parametrize(
    ("setting", "batches"),
    [("batch=2", (2, 2)), ("train.batch=2", (8, 2)), ("stage.coarse.batch=2", (2, 4)), ("stage.fine.batch=2", (8, 2))],
)
def test_a_plain_setting_changes_train_and_every_stage_that_sets_it(
    tmp_path: Path, setting: str, batches: tuple[int, int]
) -> None:
    recipe = load_recipe(write(tmp_path, STAGED), [setting])
    assert tuple(stage.train.batch for stage in recipe.stages) == batches


def test_settings_change_network_data_and_augmentation(tmp_path: Path) -> None:
    settings = ["network.margin=4", "data.clips.exclude=['a']", "augmentation.channels=1", "optimizer=adam"]
    recipe = load_recipe(write(tmp_path, STAGED), settings)
    assert recipe.network["margin"] == 4
    assert recipe.data[0]["exclude"] == ["a"]
    assert recipe.augmentation["channels"] == 1
    assert recipe.stages[0].train.optimizer == "adam"


@pytest.mark.parametrize(
    ("old", "new", "message"),
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
def test_an_invalid_recipe_is_refused_in_one_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in STAGED
    with pytest.raises(UsageError, match=message) as caught:
        parse_everything(write(tmp_path, STAGED.replace(old, new, 1)), tmp_path)
    assert "\n" not in str(caught.value)


def parse_everything(path: Path, folder: Path) -> None:
    """Everything that is parsed of a recipe before data is read."""
    recipe = load_recipe(path)
    make_objective(recipe.network)
    RecipeSampler(recipe, folder, folder)


@pytest.mark.parametrize("setting", ["batch", "=3", "stage.rough.batch=2", "data.films.weight=2", "a.b.c.d=1", "x.y=1"])
def test_an_invalid_setting_is_refused(tmp_path: Path, setting: str) -> None:
    with pytest.raises(UsageError, match="`settings`"):
        load_recipe(write(tmp_path, STAGED), [setting])


def test_a_recipe_that_extends_another_states_only_the_differences(tmp_path: Path) -> None:
    write(tmp_path, STAGED).rename(tmp_path / "base.toml")
    child = tmp_path / "child.toml"
    child.write_text('name = "y"\nextends = "base.toml"\n[network]\nmargin = 4\n[train]\nbatch = 2\n')
    recipe = load_recipe(child, ["crop=96"])
    assert recipe.name == "y"
    assert recipe.network == {"name": "compact", "margin": 4}
    assert recipe.data == ({"kind": "clips"},)
    assert [(stage.train.batch, stage.train.crop) for stage in recipe.stages] == [(8, 96), (2, 96)]
    assert recipe_files(child) == [child, tmp_path / "base.toml"]
    # Lists of tables are replaced as a whole, and "extends" can be chained.
    grandchild = tmp_path / "grandchild.toml"
    grandchild.write_text(
        'name = "z"\nextends = "child.toml"\nstage = [{ name = "fine", samples = 5 }]\n[[data]]\nkind = "gopro"\n'
    )
    recipe = load_recipe(grandchild)
    assert recipe.data == ({"kind": "gopro"},)
    assert [(stage.name, stage.train.samples, stage.train.batch) for stage in recipe.stages] == [("fine", 5, 2)]


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ('extends = "base.toml"', UsageError, "needs a name"),
        ('name = "y"\nextends = 3', UsageError, "name of a recipe in the same folder"),
        ('name = "y"\nextends = "../base.toml"', UsageError, "name of a recipe in the same folder"),
        ('name = "y"\nextends = "recipe.toml"', UsageError, "extends itself"),
        ('name = "y"\nextends = "none.toml"', InputError, r"no recipe .*none\.toml"),
    ],
)
def test_an_invalid_extends_is_refused(tmp_path: Path, text: str, error: type[Exception], message: str) -> None:
    write(tmp_path, STAGED).rename(tmp_path / "base.toml")
    with pytest.raises(error, match=message):
        load_recipe(write(tmp_path, text))


def test_a_file_that_is_not_a_recipe_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no recipe"):
        load_recipe(tmp_path / "none.toml")
    with pytest.raises(InputError, match="is not a recipe"):
        load_recipe(write(tmp_path, "name = "))
    with pytest.raises(InputError, match="cannot be read"):
        load_recipe(tmp_path)


def test_learning_rate_schedules() -> None:
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
def test_a_learning_rate_is_between_zero_and_the_peak(
    schedule: str, sample: int, warm_up: int, cool_down: int, final: float
) -> None:
    train = TrainSettings(
        1000, schedule=schedule, learning_rate=1.0, warm_up=warm_up, cool_down=cool_down, final_rate=final
    )  # type: ignore[arg-type]
    assert 0.0 <= learning_rate(TrainSettings(**{**vars(train), "milestones": (500,)}), sample) <= 1.0 + 1e-12

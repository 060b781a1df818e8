"""Configurations: files of options, and those that come with Betwixt."""

import pytest

from betwixt.errors import BetwixtError
from betwixt.pipeline.config import CONFIGS, load_config, override
from betwixt.pipeline.options import BLUR, EXTRAPOLATE, INTERPOLATE


@pytest.fixture
def write(tmp_path):
    def write_config(text):
        path = tmp_path / "mine.toml"
        path.write_text(text)
        return path

    return write_config


def test_those_that_come_with_betwixt_are_options_of_interpolation():
    assert {"anime", "film", "phone", "slow-motion"} <= CONFIGS.keys()
    for name in CONFIGS:
        options = load_config(name, INTERPOLATE)
        assert options
        INTERPOLATE.resolve(options)
        assert all(value != INTERPOLATE.default(option) for option, value in options.items())


def test_keys_are_the_names_of_options(write):
    path = write('fps = 59.94\nscene-cuts = "off"\nat_cuts = "hold"\nthreads = 2\noverwrite = true\njournal = false\n')
    assert load_config(path, INTERPOLATE) == {
        "fps": "59.94",
        "scene_cuts": "off",
        "at_cuts": "hold",
        "threads": 2,
        "overwrite": True,
        "journal": False,
    }
    table = write('[encoder-options]\ntune = "grain"\n')
    assert load_config(table, INTERPOLATE) == {"encoder_options": {"tune": "grain"}}


def test_one_file_serves_all_conversions(write):
    path = write("fps = 48\nshutter = 270\nframes = 3\n")
    assert load_config(path, INTERPOLATE) == {"fps": "48"}
    assert load_config(path, BLUR) == {"fps": "48", "shutter": "270"}
    assert load_config(path, EXTRAPOLATE) == {"frames": 3}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("fsp = 60", "unknown option 'fsp': did you mean fps"),
        ("fps = true", "'fps' is not a text or a number"),
        ("threads = 2.5", "'threads' is not an integer"),
        ('overwrite = "yes"', "'overwrite' is not true or false"),
        ("fps = [60]", "'fps' is not a text or a number"),
        ('encoder_options = "tune"', "'encoder_options' is not a table"),
        ("fps = = 60", "is not a TOML file"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(write, text, says):
    with pytest.raises(BetwixtError, match=says) as error:
        load_config(write(text), INTERPOLATE)
    assert "\n" not in str(error.value)


def test_an_unknown_name(tmp_path):
    with pytest.raises(BetwixtError, match="no configuration 'anmie': did you mean anime"):
        load_config("anmie", INTERPOLATE)
    with pytest.raises(BetwixtError, match="name a TOML file, or one of anime, film"):
        load_config(tmp_path / "mine.toml", INTERPOLATE)
    with pytest.raises(BetwixtError, match="cannot be read"):
        load_config(tmp_path, INTERPOLATE)


def test_given_options_win_and_take_with_them_what_depends_on_them():
    config = {"factor": "2.5", "codec": "av1", "quality": "30", "preset": "6", "model": "dis", "weights": "w.pth"}
    assert override(config, ["audio"]) == config
    assert override(config, ["fps"]).keys() == config.keys() - {"factor"}
    assert override(config, ["codec", "model"]) == {"factor": "2.5"}
    assert override(config, ["quality"]).keys() == config.keys() - {"quality"}

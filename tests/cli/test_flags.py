"""Messages of the library, in terms of the command that runs."""

import pytest
import typer

from betwixt.cli import flags
from betwixt.cli.main import app, run


@pytest.fixture
def translate():
    root = typer.main.get_command(app)

    def translate_for(command, message):
        flags.set_command(flags.find_command(root, command.split()))
        return flags.translate(message)

    return translate_for


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("Pass `overwrite=True` to replace it.", "Pass --overwrite to replace it."),
        ("`fps` and `factor` exclude each other: give one.", "--fps and --factor exclude each other: give one."),
        ("Pass `fps=60`.", "Pass --fps 60."),
        ('Pass `scene_cuts="off"`.', "Pass --scene-cuts off."),
        ("`pixel_format` is 'x'.", "--pixel-format is 'x'."),
        ("`target` is a folder.", "--output is a folder."),
        ("`shutter` belongs to another command.", "shutter belongs to another command."),
        ("`unknown=1` stays.", "unknown=1 stays."),
        ("See `betwixt models`.", "See betwixt models."),
        ("Nothing to do.", "Nothing to do."),
    ],
)
def test_parameters_become_flags(translate, message, expected):
    assert translate("interpolate IN OUT", message) == expected


def test_switches_that_turn_something_off(translate):
    assert translate("interpolate", "Pass `journal=False`.") == "Pass --no-journal."
    assert translate("blur", "Pass `linear=False`.") == "Pass --plain."
    assert translate("info", "Pass `scan=False`, not `scan=True`.") == "Pass --no-scan, not --scan."


def test_each_command_has_its_own_flags(translate):
    assert translate("blur a b --shutter 0", "`shutter` is 0.") == "--shutter is 0."
    assert translate("weights import x.pth", "Pass `model`, `overwrite=True`.") == "Pass --as, --overwrite."
    assert translate("train recipe.toml", "Pass `resume=True`.") == "Pass --resume."


def test_errors_name_flags(tmp_path, capsys):
    assert run(["interpolate", "in.mp4", str(tmp_path / "out.mp4"), "--duplicates", "maybe"]) == 2
    error = capsys.readouterr().err
    assert "--duplicates is 'maybe': choose keep or fill" in error
    assert "`" not in error

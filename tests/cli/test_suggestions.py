"""Suggestions for what is misspelt, or called otherwise elsewhere."""

import json

import pytest

from betwixt.cli.main import run
from betwixt.errors import did_you_mean


def said(capsys, *arguments):
    """The one line that a wrong command line is answered with."""
    assert run([str(a) for a in arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        (["--crf", "20"], "--crf, use --quality "),
        (["-crf", "20"], "-crf, use --quality "),
        (["--multi=4"], "--multi, use --factor "),
        (["--exp", "2"], "--factor, which is 2 for --exp 1"),
        (["--scene", "0.3"], "use --scene-cuts "),
        (["--dedup"], "use --duplicates fill "),
        (["-r", "60"], "use --fps "),
        (["-ss", "10"], "-ss, use --start "),
        (["-c:v", "libx265"], "use --codec "),
        (["-y"], "use --overwrite "),
        (["-pix_fmt", "yuv420p"], "use --pixel-format "),
        (["--scene_cuts", "off"], "use --scene-cuts "),
        (["-fps", "60"], "use --fps "),
        (["--fsp", "60"], "did you mean --fps"),
        (["--overwite"], "did you mean --overwrite"),
        (["--no-such-thing"], "--no-such-thing (see betwixt interpolate --help)"),
    ],
)
def test_options(capsys, typed, hint):
    assert hint in said(capsys, "interpolate", "in.mp4", "out.mp4", *typed)


def test_only_options_that_the_command_has_are_suggested(capsys):
    assert "--crf (see" in said(capsys, "models", "--crf")
    assert "--factor" not in said(capsys, "extrapolate", "in.mp4", "out.mp4", "--multi", "2")


def test_models_data_sets_metrics_choices_and_commands(tmp_path, capsys, doctest_clip):
    convert = ["interpolate", doctest_clip, tmp_path / "out.mp4"]
    assert "no model 'rif': did you mean rife" in said(capsys, *convert, "--model", "rif")
    assert "see betwixt models." in said(capsys, *convert, "--model", "xyz")
    assert "--duplicates is 'fil': did you mean fill?" in said(capsys, *convert, "--duplicates", "fil")
    evaluate = ["evaluate", "--root", tmp_path, "--dataset"]
    assert "did you mean vimeo90k, " in said(capsys, *evaluate, "vimeo")
    assert "did you mean psnr" in said(capsys, *evaluate, "triplets", "--metrics", "pnsr")
    assert "'interpolate'" in said(capsys, "interpolat")


def test_names_that_continue_a_name_are_near_it():
    assert did_you_mean("ema", ["ema-vfi-small", "rife"], "see the list") == "did you mean ema-vfi-small?"
    assert did_you_mean("RIFE", ["ema-vfi-small", "rife"], "see the list") == "did you mean rife?"
    assert did_you_mean("", ["ema-vfi-small", "rife"], "see the list") == "see the list."


def test_errors_as_json_go_to_standard_output_too(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for wrong in (["interpolate", "missing.mp4", "out.mp4"], ["info", "missing.mp4"], ["models", "--crf"]):
        assert run([*wrong, "--json"]) == 2
        printed = capsys.readouterr()
        assert f"betwixt: {json.loads(printed.out)['error']}\n" == printed.err
    # There y4m is written.
    assert run(["interpolate", "missing.mp4", "-", "--fps", "60", "--json"]) == 2
    assert run(["interpolate", "missing.mp4", "--json", "-o", "-"]) == 2
    assert capsys.readouterr().out == ""
    assert run(["interpolate", "-", "out/", "--fps", "60", "--json"]) == 2
    assert "name the output" in json.loads(capsys.readouterr().out)["error"]

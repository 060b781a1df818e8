"""Options are declared once: signatures, help, checks and the journal follow from the declarations."""

import inspect
from typing import Annotated

import av
import pytest
import typer

import betwixt
from betwixt.cli.conversion import conversion_command
from betwixt.cli.main import run
from betwixt.errors import UsageError
from betwixt.pipeline.options import (
    BLUR,
    EXTRAPOLATE,
    FRAMES,
    GROUPS,
    INTERPOLATE,
    ConversionOptions,
    Option,
    OptionSet,
    parse_key_values,
    takes_options,
)

CONVERSIONS = {
    betwixt.interpolate_video: INTERPOLATE,
    betwixt.blur_video: BLUR,
    betwixt.extrapolate_video: EXTRAPOLATE,
    betwixt.frames: FRAMES,
}


@pytest.mark.parametrize("convert", CONVERSIONS)
def test_signatures_and_docstrings_list_every_option_with_its_default(convert):
    declared = CONVERSIONS[convert]
    parameters = inspect.signature(convert).parameters
    assert list(parameters)[:2] == (["source", "dtype"] if convert is betwixt.frames else ["source", "target"])
    for name, option in declared.options.items():
        assert parameters[name].kind is inspect.Parameter.KEYWORD_ONLY
        assert parameters[name].default == declared.default(name)
        assert f"\n        {name}: {option.help[:20]}" in convert.__doc__
    assert "**options" not in convert.__doc__
    assert ">>> " in convert.__doc__


def test_options_are_ordered_by_group():
    groups = [option.group for option in BLUR.options.values()]
    assert groups == sorted(groups, key=GROUPS.index)


def test_resolve_fills_in_defaults():
    values = BLUR.resolve({"shutter": 90})
    assert (values["shutter"], values["samples"], values["model"]) == (90, 32, "compact")
    assert (values["loop"], values["masks"]) == (False, None)  # what only interpolation has
    assert EXTRAPOLATE.resolve({})["factor"] == 1


def test_a_misspelt_name_and_an_unknown_value_are_refused(tmp_path):
    with pytest.raises(TypeError, match=r"^interpolate_video\(\) got an .* 'fsp': did you mean fps\?$"):
        betwixt.interpolate_video("in.mp4", tmp_path / "out.mp4", fsp=60)
    with pytest.raises(UsageError, match="`audio` is 'loud': choose auto, copy, drop or stretch"):
        betwixt.interpolate_video("in.mp4", tmp_path / "out.mp4", audio="loud")


@pytest.mark.parametrize(
    "name",
    ["interpolate_video", "plan_video", "blur_video", "plan_blur", "extrapolate_video", "plan_extrapolation", "frames"],
)
def test_unknown_names_are_refused_by_the_function_that_got_them(tmp_path, name):
    targets = [] if name == "frames" else [tmp_path / "out.mp4"]
    message = rf"^{name}\(\) got an unexpected keyword argument 'zoom': help\(betwixt\.{name}\) lists all\.$"
    with pytest.raises(TypeError, match=message):
        getattr(betwixt, name)("in.mp4", *targets, zoom=2)


def test_a_new_option_takes_one_declaration():
    class Options(ConversionOptions, total=False):
        grain: Annotated[str | None, Option(None, "Film grain to add.", "output")]

    declared = OptionSet(Options)

    @takes_options(declared)
    def convert(source, target, **options):
        """Convert.

        Args:
            source: From.
            target: To.
            **options: The options.
        """
        return declared.resolve(options)

    assert inspect.signature(convert).parameters["grain"].default is None
    assert "grain: Film grain to add." in convert.__doc__
    assert convert("a", "b", grain="fine")["grain"] == "fine"
    command = typer.Typer()
    command.command()(conversion_command(declared)(lambda **_: None))
    flags = {flag for parameter in typer.main.get_command(command).params for flag in parameter.opts}
    assert {"--grain", "--scene-cuts", "--no-journal", "--json"} <= flags


def test_names_with_values_come_as_a_mapping_or_as_texts():
    assert parse_key_values("encoder_options", {"g": 48}) == {"g": "48"}
    assert parse_key_values("encoder_options", ["x264-params=ref=2", "tune=grain"]) == {
        "x264-params": "ref=2",
        "tune": "grain",
    }
    with pytest.raises(UsageError, match="`encoder_options`: 'tune' is not of the form key=value"):
        parse_key_values("encoder_options", ["tune"])


@pytest.mark.parametrize(("name", "what"), [("out.gif", "A GIF has no `bitrate`"), ("out.png", "Images have no")])
def test_targets_without_an_encoder_refuse_its_options(tmp_path, doctest_clip, name, what):
    with pytest.raises(UsageError, match=what):
        betwixt.interpolate_video(doctest_clip, tmp_path / name, bitrate="8M", model="dis")


def test_the_command_line_repeats_an_option_with_values(tmp_path, doctest_clip, capsys):
    out = tmp_path / "out.mp4"
    command = ["interpolate", str(doctest_clip), str(out), "--model", "dis", "--preset", "ultrafast"]
    assert run([*command, "--encoder-option", "g=5", "--encoder-option", "bf=0"]) == 0
    with av.open(str(out)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.pts is not None]
    assert [index for index, packet in enumerate(packets) if packet.is_keyframe] == list(range(0, 50, 5))
    assert all(packet.pts == packet.dts for packet in packets)
    assert run([*command, "--overwrite", "--encoder-option", "gg=5"]) == 2
    assert "libx264 has no option 'gg' (--encoder-option)" in capsys.readouterr().err

"""Help: options in groups with defaults and examples, for every command; completion by the shell."""

import os
import shlex
import subprocess
import sys

import pytest
import typer

from betwixt.cli.command import GROUP_TITLES
from betwixt.cli.main import app, run
from betwixt.pipeline.config import CONFIGS
from betwixt.version import __version__

ROOT = typer.main.get_command(app)


def commands(group=ROOT, path=()):
    """All commands with their names."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


def help_of(capsys, *path):
    assert run([*path, "-h"]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("path", [path for path, _ in commands()], ids=" ".join)
def test_each_command_has_two_examples_that_it_can_parse(path):
    command = dict(commands())[path]
    examples = [line.strip() for line in command.help.partition("\nExamples:\n")[2].splitlines() if line.strip()]
    assert len(examples) >= 2
    for example in examples:
        words = shlex.split(example)
        start = 1 + len(path)
        if path == ("train", "run"):
            start = 2  # `run` may be left out
        assert words[: 1 + len(path)] == ["betwixt", *path] or path == ("train", "run")
        command.make_context(path[-1], words[start:])


def test_options_are_in_groups_with_their_defaults(capsys):
    text = help_of(capsys, "interpolate")
    titles = [title for group, title in GROUP_TITLES.items() if group != "effect"]
    places = [text.index(f"\n{title}:\n") for title in titles]
    assert places == sorted(places)
    assert text.index("\nFrame rate:\n") < text.index("--fps") < text.index("\nModel:\n") < text.index("--model")
    assert "[default: curved]" in text
    assert all(name in text for name in CONFIGS)
    assert "<str>" not in text
    assert "\nEffect:\n" in help_of(capsys, "blur")


def test_commands_are_in_groups_with_whole_sentences(capsys):
    text = help_of(capsys)
    assert text.index("\nVideos:\n") < text.index("  interpolate") < text.index("\nModels:\n") < text.index("  train")
    assert "..." not in text.partition("\nVideos:\n")[2]


@pytest.mark.parametrize("path", [path for path, _ in commands()], ids=" ".join)
def test_help_fits_a_narrow_terminal(capsys, monkeypatch, path):
    monkeypatch.setenv("COLUMNS", "40")
    assert "Usage: betwixt" in help_of(capsys, *path)


def test_short_flags(capsys):
    assert run(["-V"]) == 0
    assert capsys.readouterr().out == f"betwixt {__version__}\n"
    assert help_of(capsys).startswith("Usage: betwixt")
    assert help_of(capsys, "train").startswith("Usage: betwixt train")


def test_the_output_of_any_command_may_be_named_by_a_flag(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for flags in (["-o", "out.png"], ["--output", "out.png"], ["--output=out.png"]):
        assert run(["between", *flags, "a.png", "b.png"]) == 2
        assert "a.png does not exist" in capsys.readouterr().err
    assert run(["between", "a.png", "b.png", "c.png", "-o", "out.png"]) == 2
    assert "unexpected extra argument" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("betwixt inter", "interpolate"),
        ("betwixt interpolate --at", "--at-cuts"),
        ("betwixt interpolate --duplicates f", "fill"),
        ("betwixt interpolate --model rife-4", "rife-4.6"),
        ("betwixt interpolate --config ani", "anime"),
    ],
)
def test_the_shell_completes_commands_options_and_values(typed, offered):
    words = len(typed.split())
    environment = {
        **os.environ,
        "_BETWIXT_COMPLETE": "complete_bash",
        "COMP_WORDS": typed,
        "COMP_CWORD": str(words - 1),
    }
    command = [sys.executable, "-c", "from betwixt.cli.main import main; main()"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert offered in done.stdout.split()

"""Command-line parameters made from the declared options (`pipeline.options`).

`cli.conversion` gives a command those of all options of a conversion. The other commands use single ones:
``device: o.Device = "auto"``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from betwixt.cli.command import GROUP_TITLES
from betwixt.models.registry import MODELS
from betwixt.pipeline.options import INTERPOLATE, Option

# Typer reads annotations at run time and does not know X | None.
Text = Optional[str]  # noqa: UP045
Number = Optional[int]  # noqa: UP045
Float = Optional[float]  # noqa: UP045
File = Optional[Path]  # noqa: UP045
Texts = Optional[list[str]]  # noqa: UP045


def typer_option(name: str, declared: Option, type_: Any = str) -> Any:
    """A declared option as Typer reads it; `type_` is that of its value."""
    panel = GROUP_TITLES[declared.group]
    if declared.off_flag is not None:
        # Typer has no flag that only turns off, so the default is False and the value is inverted.
        return typer.Option(
            declared.off_flag, help=declared.off_help, callback=lambda off: not off, rich_help_panel=panel
        )
    if type_ is bool:
        return typer.Option(_flag(name), help=declared.help, rich_help_panel=panel)
    choices = list(MODELS) if name == "model" else list(declared.choices)
    return typer.Option(
        declared.flag or _flag(name),
        metavar=declared.metavar or "|".join(declared.choices) or None,
        help=declared.help,
        rich_help_panel=panel,
        # Without choices the shell completes the names of files.
        autocompletion=(lambda: choices) if choices else None,
    )


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _declared(name: str, type_: Any = str) -> Any:
    return typer_option(name, INTERPOLATE.options[name], type_)


VideoSource = Annotated[str, typer.Argument(metavar="IN", help="A video, images (folder, pattern), or - for a pipe.")]
Model = Annotated[str, _declared("model")]
Device = Annotated[str, _declared("device")]
Runtime = Annotated[str, _declared("runtime")]
Weights = Annotated[Text, _declared("weights")]
Start = Annotated[Text, _declared("start")]
End = Annotated[Text, _declared("end")]
SceneCuts = Annotated[str, _declared("scene_cuts")]
Codec = Annotated[Text, _declared("codec")]
Quality = Annotated[Text, _declared("quality")]
PixelFormat = Annotated[Text, _declared("pixel_format")]
Stream = Annotated[Number, _declared("stream", int)]
Interlaced = Annotated[str, _declared("interlaced")]
InputFps = Annotated[Text, _declared("input_fps")]
Threads = Annotated[int, _declared("threads", int)]
Overwrite = Annotated[bool, _declared("overwrite", bool)]
Journal = Annotated[bool, _declared("journal", bool)]
Cluster = Annotated[Text, _declared("cluster")]
CodecWeights = Annotated[Text, typer.Option(metavar="FILE", help="bit-need: weights of the coding network.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print as JSON.", rich_help_panel=GROUP_TITLES["run"])]
NetworkSettings = Annotated[
    Texts,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Change a hyper-parameter of a paper's network: scales=16,4,1. Repeatable."
    ),
]
TestTimeAugmentation = Annotated[
    bool, typer.Option("--tta", help="Average the results of the frames and of the flipped frames.")
]

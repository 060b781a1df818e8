"""The options of conversions, each declared once.

A conversion's options are a `TypedDict`. Each field carries an `Option`: its default, its help and how the command line
spells it. Everything else reads these declarations:

    InterpolateOptions, BlurOptions, ExtrapolateOptions, FramesOptions
        │  Unpack[..]          types of the keywords of interpolate_video, blur_video, extrapolate_video, frames
        ├─ takes_options       their signatures and the list of options in their docstrings
        ├─ OptionSet.check     unknown names
        ├─ OptionSet.resolve   defaults, choices
        ├─ Job.settings        what the journal of an unfinished output records
        └─ cli.conversion      flags, defaults and help of `betwixt interpolate`, `blur` and `extrapolate`
"""

# The annotations below are read at run time, so this module does without `from __future__ import annotations`.
# "Interpolator" stays a string: the command line shows its help without loading a model's code.

import inspect
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypedDict, TypeVar

from betwixt.errors import UsageError, did_you_mean
from betwixt.models.registry import DEFAULT_MODEL, EFFECTS_MODEL

if TYPE_CHECKING:
    from betwixt.models.base import Interpolator
    from betwixt.pipeline.production import Cluster

Number = str | float | Fraction
"""A number as a user writes it: 60, 59.94, "60000/1001". Times may also be written "00:01:30.500"."""

Location = str | Path | None

KeyValues = Mapping[str, Any] | Sequence[str] | None
"""Names with values: a mapping, or texts of the form key=value, as the command line gives them."""

GROUPS = ("effect", "rate", "model", "content", "output", "input", "run")
"""The groups of options, in the order in which help lists them."""


@dataclass(frozen=True)
class Option:
    """The declaration of one option.

    Attributes:
        default: The value if it is not given.
        help: What it does, in one line for both the command line and Python.
        group: One of `GROUPS`.
        metavar: How the command line's help shows the value; by default the choices.
        choices: The values it may take; empty if there is no fixed list.
        off_flag: For a switch that is on by default: the flag that turns it off.
        off_help: The help of that flag.
        flag: The flag, if it is not the name: of an option that is repeated on the command line.
    """

    default: Any
    help: str
    group: str
    metavar: str | None = None
    choices: tuple[str, ...] = ()
    off_flag: str | None = None
    off_help: str = ""
    flag: str | None = None


class SynthesisOptions(TypedDict, total=False):
    """The options of everything that makes frames from a video's frames."""

    model: Annotated[
        "str | Interpolator",
        Option(DEFAULT_MODEL, "The model that makes the frames (see betwixt models); auto: the best.", "model", "NAME"),
    ]
    device: Annotated[
        str, Option("auto", "Where the model runs (see betwixt devices).", "model", "auto|cpu|gpu|npu|cuda[:n]|..")
    ]
    runtime: Annotated[
        str,
        Option(
            "auto",
            "What runs its network; auto: the fastest.",
            "model",
            choices=("auto", "openvino", "onnxruntime", "torch"),
        ),
    ]
    weights: Annotated[Location, Option(None, "A network's weights: safetensors, .pth, .pkl.", "model", "FILE")]
    start: Annotated[Number | None, Option(None, "Begin at this time: 90.5 or 00:01:30.500.", "content", "T")]
    end: Annotated[Number | None, Option(None, "Stop at this time.", "content", "T")]
    scene_cuts: Annotated[
        str | Path,
        Option("auto", "Find scene cuts, ignore them, or read them from a file.", "content", "auto|off|FILE"),
    ]
    duplicates: Annotated[
        str, Option("keep", "Replace repeated frames by new ones.", "content", choices=("keep", "fill"))
    ]
    stream: Annotated[
        int | None,
        Option(
            None, "The video stream to convert, by its number in betwixt info; the others are copied.", "input", "N"
        ),
    ]
    interlaced: Annotated[
        str,
        Option("refuse", "What to do with interlaced video.", "input", choices=("refuse", "deinterlace", "ignore")),
    ]
    input_fps: Annotated[
        Number | None, Option(None, "The rate of the input's frames. Default: as stated; 25 for images.", "input")
    ]
    threads: Annotated[int, Option(0, "Threads to use; 0 for one per core.", "run", "N")]


class ConversionOptions(SynthesisOptions, total=False):
    """The options of every conversion to a file."""

    audio: Annotated[
        str,
        Option(
            "auto",
            "The sound; stretch is for slow motion and keeps the pitch.",
            "output",
            choices=("auto", "copy", "drop", "stretch"),
        ),
    ]
    codec: Annotated[str | None, Option(None, "h264, hevc, av1, vp9, prores, ffv1, or any FFmpeg encoder.", "output")]
    quality: Annotated[
        str | int | None,
        Option(None, "On the encoder's own scale, lower is better; or lossless. Images: 1 to 100.", "output"),
    ]
    bitrate: Annotated[
        str | int | None, Option(None, "Instead of a quality: bits per second, such as 8M or 800k.", "output", "RATE")
    ]
    preset: Annotated[
        str | int | None,
        Option(None, "The encoder's preset: how much time it takes to make a smaller file.", "output", "NAME"),
    ]
    encoder_options: Annotated[
        KeyValues,
        Option(
            None,
            "Set an option of the encoder, as FFmpeg names it: tune=grain. Repeatable.",
            "output",
            "KEY=VALUE",
            flag="--encoder-option",
        ),
    ]
    pixel_format: Annotated[str | None, Option(None, "Encode in this format instead of the source's.", "output")]
    tone_map: Annotated[
        str,
        Option(
            "auto",
            "Map HDR to SDR: auto does so for GIFs and for images that cannot state HDR.",
            "output",
            choices=("auto", "on", "off"),
        ),
    ]
    start_number: Annotated[int, Option(1, "The number of the first image of a sequence.", "output", "N")]
    overwrite: Annotated[bool, Option(False, "Replace an existing output.", "run")]
    journal: Annotated[
        bool,
        Option(
            True,
            "Keep a journal beside the unfinished output, so that the same call can resume after a crash.",
            "run",
            off_flag="--no-journal",
            off_help="Keep no journal: after a crash this command starts again from the first frame.",
        ),
    ]


class RateOptions(TypedDict, total=False):
    """The options of what may change the frame rate."""

    fps: Annotated[Number | None, Option(None, "Output rate: 60, 60000/1001, 59.94.", "rate")]
    factor: Annotated[Number | None, Option(None, "Or a multiple of the source's rate: 2.5.", "rate", "N")]
    slow: Annotated[Number | None, Option(None, "Play this many times slower, at the source's rate.", "rate", "N")]
    overlays: Annotated[
        str,
        Option(
            "auto",
            "Find subtitles, logos and displays that stay while the picture moves, and keep them whole; or do not.",
            "content",
            choices=("auto", "off"),
        ),
    ]


class InterpolationOptions(RateOptions, total=False):
    """The options of interpolation."""

    at_cuts: Annotated[
        str,
        Option(
            "continue",
            "Next to a cut, continue the motion of the shot, or hold its nearest frame.",
            "content",
            choices=("continue", "hold"),
        ),
    ]
    loop: Annotated[bool, Option(False, "Interpolate from the last frame back to the first.", "content")]
    masks: Annotated[Location, Option(None, "Masks for a model that takes them (see betwixt masks).", "model", "DIR")]
    paths: Annotated[
        str,
        Option(
            "curved",
            "Let motion follow curves through the neighbouring frames (dis, compact, hybrid), or straight lines.",
            "model",
            choices=("curved", "straight"),
        ),
    ]


class ClusterOptions(TypedDict, total=False):
    """The options of what can be spread over many machines."""

    cluster: Annotated[
        "Cluster | None",
        Option(
            None,
            "Make the new frames on the machines of a Ray cluster: its address, or auto for the running one.",
            "run",
            "auto|ADDRESS",
        ),
    ]
    encode: Annotated[
        str,
        Option(
            "driver",
            "Who encodes with a cluster: driver, this machine; or distributed, each machine its part.",
            "run",
            "WHO",
            choices=("driver", "distributed"),
        ),
    ]


class InterpolateOptions(ConversionOptions, InterpolationOptions, ClusterOptions, total=False):
    """The options of `betwixt.interpolate_video`."""


class FramesOptions(SynthesisOptions, InterpolationOptions, total=False):
    """The options of `betwixt.frames`."""


class BlurOptions(ConversionOptions, RateOptions, ClusterOptions, total=False):
    """The options of `betwixt.blur_video`."""

    shutter: Annotated[
        Number, Option(180, "How long the shutter is open, up to 720: 360 is one frame.", "effect", "DEG")
    ]
    phase: Annotated[
        Number | None,
        Option(None, "When it opens, relative to the frame. Default: half a shutter before it.", "effect", "DEG"),
    ]
    samples: Annotated[
        int, Option(32, "Moments to average; more are taken in fast motion, fewer in slow.", "effect", "N")
    ]
    grid: Annotated[
        int | None,
        Option(
            None, "Average the moments k/N between two frames, k = 0 to N, in place of --samples: 32 as NCM does.",
            "effect", "N",
        ),
    ]  # fmt: skip
    linear: Annotated[
        bool,
        Option(
            True,
            "Average linear light, by the clip's transfer function; otherwise code values, as the paper does.",
            "effect",
            off_flag="--plain",
            off_help="Average code values, as the paper does, instead of linear light.",
        ),
    ]


class ExtrapolateOptions(ConversionOptions, ClusterOptions, total=False):
    """The options of `betwixt.extrapolate_video`."""

    frames: Annotated[int, Option(1, "How many frames to make.", "effect", "N")]
    only: Annotated[bool, Option(False, "Write the new frames alone, without sound.", "effect")]


class OptionSet:
    """The options of one conversion.

    Args:
        fields: The `TypedDict` that declares them.
        defaults: Defaults of this conversion that differ from the declared ones, also of options that it does not take.

    Attributes:
        options: The declarations by name, ordered by group.
        types: The types of their values.
    """

    def __init__(self, fields: type, **defaults: Any) -> None:
        fields_: dict[str, Any] = fields.__annotations__
        names = sorted(fields_, key=lambda name: GROUPS.index(fields_[name].__metadata__[0].group))
        self.options: dict[str, Option] = {name: fields_[name].__metadata__[0] for name in names}
        types = {name: fields_[name].__origin__ for name in names}
        self.types: dict[str, Any] = {name: getattr(type_, "__forward_arg__", type_) for name, type_ in types.items()}
        self._defaults = defaults

    def default(self, name: str) -> Any:
        """The value of an option that is not given."""
        return self._defaults.get(name, self.options[name].default)

    def check(self, given: Mapping[str, Any], function: str) -> None:
        """Refuse names that are not options, as Python does for a function with a fixed list of keywords.

        Args:
            given: The options given.
            function: The name of the function that they were given to.

        Raises:
            TypeError: naming the function, the first unknown name and the options that may be meant.
        """
        for name in given:
            if name not in self.options:
                hint = did_you_mean(name, self.options, f"help(betwixt.{function}) lists all")
                raise TypeError(f"{function}() got an unexpected keyword argument '{name}': {hint}")

    def resolve(self, given: Mapping[str, Any]) -> Any:
        """Complete given options by the defaults.

        Returns:
            The values of this conversion's options, and the defaults of those that only `interpolate_video` has.

        Raises:
            UsageError: for a value that is not among the choices.
        """
        values = {name: INTERPOLATE.default(name) for name in INTERPOLATE.options}
        values |= {name: option.default for name, option in self.options.items()}
        values |= {**self._defaults, **given}
        for name, option in self.options.items():
            if option.choices:
                check_choice(name, values[name], option.choices)
        return values

    def arguments(self, given: Mapping[str, Any]) -> list[str]:
        """The flags by which the command line gives these options; those at their defaults are left out."""
        flags: list[str] = []
        for name, value in given.items():
            option = self.options[name]
            if value == self.default(name):
                continue
            if isinstance(value, bool):
                flags.append(option.off_flag or flag(name))
            else:
                flags += [flag(name), str(value)]
        return flags


def flag(name: str) -> str:
    """How the command line spells an option."""
    return "--" + name.replace("_", "-")


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Refuse a value that is not among the choices of parameter `name`.

    Raises:
        UsageError: naming the choices.
    """
    if value not in choices:
        all_choices = f"choose {', '.join(choices[:-1])} or {choices[-1]}"
        raise UsageError(f"`{name}` is '{value}': {did_you_mean(str(value), choices, all_choices)}")


def parse_key_values(name: str, given: KeyValues) -> dict[str, str]:
    """The value of parameter `name`, as a dictionary of texts.

    Raises:
        UsageError: for a text that is not of the form key=value.
    """
    if isinstance(given, Mapping):
        return {key: str(value) for key, value in given.items()}
    values = {}
    for text in given or ():
        key, equals, value = text.partition("=")
        if not key.strip() or not equals:
            raise UsageError(f"`{name}`: '{text}' is not of the form key=value.")
        values[key.strip()] = value
    return values


INTERPOLATE = OptionSet(InterpolateOptions)
FRAMES = OptionSet(FramesOptions)
BLUR = OptionSet(BlurOptions, model=EFFECTS_MODEL)
EXTRAPOLATE = OptionSet(ExtrapolateOptions, model=EFFECTS_MODEL, factor=1, overlays="off")

F = TypeVar("F", bound=Callable[..., Any])


def takes_options(declared: OptionSet) -> Callable[[F], F]:
    """Show the options of a function that takes them as ``**options``: in its signature, with types and defaults, and
    in its docstring, where a line for each option replaces that of ``**options``."""

    def decorate(function: F) -> F:
        signature = inspect.signature(function)
        own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        options = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=declared.default(name), annotation=type_)
            for name, type_ in declared.types.items()
        ]
        parameters = sorted([*own, *options], key=lambda parameter: parameter.kind)
        function.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        lines = []
        for name, option in declared.options.items():
            choices = f" One of {', '.join(option.choices)}." if option.choices else ""
            text = f"{name}: {option.help}{choices}"
            lines.append(textwrap.fill(text, 116, initial_indent=" " * 8, subsequent_indent=" " * 12))
        function.__doc__ = re.sub(r" {8}\*\*options:.*", lambda _: "\n".join(lines), function.__doc__ or "")
        return function

    return decorate

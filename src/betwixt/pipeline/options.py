"""The options of conversions, each declared once.

A conversion's options are a `TypedDict`. Each field carries an `Option`: its default, its help and how the command line
spells it. Everything else reads these declarations:

    InterpolateOptions, BlurOptions, ExtrapolateOptions
        │  Unpack[..]          types of the keywords of interpolate_video, blur_video, extrapolate_video
        ├─ takes_options       their signatures and the list of options in their docstrings
        ├─ OptionSet.resolve   defaults, unknown names, choices
        ├─ OptionSet.recorded  what the journal of an unfinished output remembers
        └─ cli.options         flags, defaults and help of `betwixt interpolate`, `blur` and `extrapolate`
"""

# The annotations below are read at run time, so this module does without `from __future__ import annotations`.
# "Interpolator" stays a string: the command line shows its help without loading a model's code.

import inspect
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypedDict, TypeVar

from betwixt.errors import UsageError
from betwixt.models.registry import DEFAULT_MODEL, EFFECTS_MODEL

if TYPE_CHECKING:
    from betwixt.models.base import Interpolator

__all__ = [
    "BLUR",
    "EXTRAPOLATE",
    "GROUPS",
    "INTERPOLATE",
    "BlurOptions",
    "ConversionOptions",
    "ExtrapolateOptions",
    "InterpolateOptions",
    "Number",
    "Option",
    "OptionSet",
    "check_choice",
    "takes_options",
]

Number = str | float | Fraction
"""A number as a user writes it: 60, 59.94, "60000/1001". Times may also be written "00:01:30.500"."""

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
        recorded: Whether the journal records the value as it is given, so that an unfinished output is only continued
            with the same value. False if output frames do not depend on it, or if `Job.settings` records what follows
            from it (the resulting rate, the loaded weights).
    """

    default: Any
    help: str
    group: str
    metavar: str | None = None
    choices: tuple[str, ...] = ()
    off_flag: str | None = None
    off_help: str = ""
    recorded: bool = True


class ConversionOptions(TypedDict, total=False):
    """The options of every conversion."""

    model: Annotated[
        "str | Interpolator",
        Option(
            DEFAULT_MODEL,
            "The model that makes the frames (see betwixt models); auto: the best.",
            group="model",
            metavar="NAME",
            recorded=False,
        ),
    ]
    device: Annotated[
        str,
        Option("auto", "Where the model runs.", group="model", metavar="auto|cpu|cuda[:n]", recorded=False),
    ]
    weights: Annotated[
        str | Path | None,
        Option(None, "A network's weights: safetensors, .pth, .pkl.", group="model", metavar="FILE", recorded=False),
    ]
    start: Annotated[
        Number | None,
        Option(None, "Begin at this time: 90.5 or 00:01:30.500.", group="content", metavar="T"),
    ]
    end: Annotated[Number | None, Option(None, "Stop at this time.", group="content", metavar="T")]
    scene_cuts: Annotated[
        str | Path,
        Option(
            "auto",
            "Find scene cuts, ignore them, or read them from a file.",
            group="content",
            metavar="auto|off|FILE",
        ),
    ]
    duplicates: Annotated[
        str,
        Option("keep", "Replace repeated frames by new ones.", group="content", choices=("keep", "fill")),
    ]
    audio: Annotated[
        str,
        Option(
            "auto",
            "The sound; stretch is for slow motion and keeps the pitch.",
            group="output",
            choices=("auto", "copy", "drop", "stretch"),
            recorded=False,
        ),
    ]
    codec: Annotated[
        str | None,
        Option(None, "h264, hevc, av1, vp9, prores, ffv1, or any FFmpeg encoder.", group="output", recorded=False),
    ]
    quality: Annotated[
        str | int | None,
        Option(None, "On the encoder's own scale, lower is better; or lossless. Images: 1 to 100.", group="output"),
    ]
    pixel_format: Annotated[
        str | None,
        Option(None, "Encode in this format instead of the source's.", group="output", recorded=False),
    ]
    interlaced: Annotated[
        str,
        Option(
            "refuse",
            "What to do with interlaced video.",
            group="input",
            choices=("refuse", "deinterlace", "ignore"),
        ),
    ]
    input_fps: Annotated[Number | None, Option(None, "The rate of a folder of images. Default: 25.", group="input")]
    threads: Annotated[int, Option(0, "Threads to use; 0 for one per core.", group="run", metavar="N", recorded=False)]
    overwrite: Annotated[bool, Option(False, "Replace an existing output.", group="run", recorded=False)]
    journal: Annotated[
        bool,
        Option(
            True,
            "Keep a journal beside the unfinished output, so that the same call can resume after a crash.",
            group="run",
            off_flag="--no-journal",
            off_help="Keep no journal: after a crash this command starts again from the first frame.",
            recorded=False,
        ),
    ]


class _RateOptions(ConversionOptions, total=False):
    fps: Annotated[Number | None, Option(None, "Output rate: 60, 60000/1001, 59.94.", group="rate", recorded=False)]
    factor: Annotated[
        Number | None, Option(None, "Or a multiple of the source's rate: 2.5.", group="rate", recorded=False)
    ]
    slow: Annotated[
        Number | None,
        Option(None, "Play this many times slower, at the source's rate.", group="rate", recorded=False),
    ]


class InterpolateOptions(_RateOptions, total=False):
    """The options of `betwixt.interpolate_video`."""

    loop: Annotated[bool, Option(False, "Interpolate from the last frame back to the first.", group="content")]
    masks: Annotated[
        str | Path | None,
        Option(
            None,
            "Masks for a model that takes them (see betwixt masks).",
            group="model",
            metavar="DIR",
            recorded=False,
        ),
    ]
    paths: Annotated[
        str,
        Option(
            "curved",
            "Let motion follow curves through the neighbouring frames (dis, compact, hybrid), or straight lines.",
            group="model",
            choices=("curved", "straight"),
        ),
    ]


class BlurOptions(_RateOptions, total=False):
    """The options of `betwixt.pipeline.blur.blur_video`."""

    shutter: Annotated[
        Number,
        Option(180, "How long the shutter is open, up to 720: 360 is one frame.", group="effect", metavar="DEG"),
    ]
    phase: Annotated[
        Number | None,
        Option(
            None,
            "When the shutter opens, relative to the frame. Default: half a shutter before it.",
            group="effect",
            metavar="DEG",
        ),
    ]
    samples: Annotated[
        int,
        Option(32, "Moments to average; more are taken in fast motion, fewer in slow.", group="effect", metavar="N"),
    ]
    linear: Annotated[
        bool,
        Option(
            True,
            "Average linear light, by the clip's transfer function; otherwise code values, as the paper does.",
            group="effect",
            off_flag="--plain",
            off_help="Average code values, as the paper does, instead of linear light.",
        ),
    ]


class ExtrapolateOptions(ConversionOptions, total=False):
    """The options of `betwixt.pipeline.extrapolation.extrapolate_video`."""

    frames: Annotated[int, Option(1, "How many frames to make.", group="effect", metavar="N")]
    only: Annotated[bool, Option(False, "Write the new frames alone, without sound.", group="effect")]


class OptionSet:
    """The declared options of one conversion.

    Args:
        fields: The `TypedDict` that declares them.
        defaults: Defaults of this conversion that differ from the declared ones, also of options that it does not take.

    Attributes:
        options: The declarations by name, ordered by group.
    """

    def __init__(self, fields: type, **defaults: Any) -> None:
        declared: dict[str, Any] = fields.__annotations__
        options = {name: annotated.__metadata__[0] for name, annotated in declared.items()}
        self._types = {name: annotated.__origin__ for name, annotated in declared.items()}
        self._defaults = defaults
        self.options: dict[str, Option] = dict(sorted(options.items(), key=lambda item: GROUPS.index(item[1].group)))

    def default(self, name: str) -> Any:
        """The value of an option that is not given."""
        return self._defaults.get(name, self.options[name].default)

    def type(self, name: str) -> Any:
        """The declared type of an option's value."""
        return self._types[name]

    def resolve(self, given: Mapping[str, Any]) -> Any:
        """Complete given options by the defaults.

        Returns:
            The values of this conversion's options, and the defaults of those that only `interpolate_video` has.

        Raises:
            TypeError: for a name that is not an option.
            UsageError: for a value that is not among the choices.
        """
        if unknown := given.keys() - self.options.keys():
            raise TypeError(f"unexpected keyword arguments: {', '.join(sorted(unknown))}")
        values = {name: INTERPOLATE.default(name) for name in INTERPOLATE.options}
        values |= {name: option.default for name, option in self.options.items()}
        values |= {**self._defaults, **given}
        for name, option in self.options.items():
            if option.choices:
                check_choice(name, values[name], option.choices)
        return values

    def recorded(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The values that the journal records, by the names of their flags without the leading dashes."""
        names = (name for name, option in (INTERPOLATE.options | self.options).items() if option.recorded)
        return {name.replace("_", "-"): _as_json(values[name]) for name in names}


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Refuse a value that is not among the choices of parameter `name`.

    Raises:
        UsageError: naming the choices.
    """
    if value not in choices:
        raise UsageError(f"`{name}` is '{value}': choose {', '.join(choices[:-1])} or {choices[-1]}.")


def _as_json(value: Any) -> Any:
    return value if value is None or isinstance(value, bool) else str(value)


INTERPOLATE = OptionSet(InterpolateOptions)
BLUR = OptionSet(BlurOptions, model=EFFECTS_MODEL)
EXTRAPOLATE = OptionSet(ExtrapolateOptions, model=EFFECTS_MODEL, factor=1)

F = TypeVar("F", bound=Callable[..., Any])


def takes_options(declared: OptionSet) -> Callable[[F], F]:
    """Document the options of a function that takes them as ``**options``.

    Its signature lists each option with its type and default, and in its docstring the line of ``**options`` becomes
    one line for each option.
    """

    def decorate(function: F) -> F:
        signature = inspect.signature(function)
        keyword = inspect.Parameter.KEYWORD_ONLY
        options = [
            inspect.Parameter(name, keyword, default=declared.default(name), annotation=declared.type(name))
            for name in declared.options
        ]
        own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        positional, keywords = [p for p in own if p.kind is not keyword], [p for p in own if p.kind is keyword]
        function.__signature__ = signature.replace(parameters=[*positional, *options, *keywords])  # type: ignore[attr-defined]
        lines = (
            textwrap.fill(
                f"{name}: {option.help}{_choices(option)}", 116, initial_indent=" " * 8, subsequent_indent=" " * 12
            )
            for name, option in declared.options.items()
        )
        before, marker, after = (function.__doc__ or "").partition("        **options:")
        assert marker, "the docstring has to say where the options belong"
        function.__doc__ = before + "\n".join(lines) + after[after.index("\n") :]
        return function

    return decorate


def _choices(option: Option) -> str:
    return f" One of {', '.join(option.choices)}." if option.choices else ""

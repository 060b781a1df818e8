"""What could be done with a video: suggestions, as plain data, and what each would take.

`suggest` reads the findings of an inspection, `estimate` adds what a measured part of the video took.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

from betwixt.media.timeline import nominal_rate

SLOW_FACTORS = (2, 4, 8)

_GIF_SECONDS = 12.0
"""The longest video that is suggested as a GIF."""

_FAST_ENOUGH = 100
"""Frames per second from which on doubling is not suggested."""

_MIN_REPEATS = 0.1
"""The share of repeated frames from which on their replacement is suggested."""

_FILM_RATES = (Fraction(24), Fraction(24000, 1001))
_SMOOTH_RATES = (Fraction(60), Fraction(60000, 1001))


@dataclass(frozen=True)
class Suggestion:
    """A conversion that makes sense for a video.

    Attributes:
        id: A short name, unique among those of one video.
        title: What it makes, in a few words.
        description: What that means, in a sentence or two.
        command: The command that does it (`conversions.CONVERSIONS`).
        options: The options that make it what it is.
        ending: What the output's name ends in.
        suffix: The suffix that the output must have; "" for any.
        rate: The output's rate.
        slow: How many times slower it plays.
    """

    id: str
    title: str
    description: str
    command: str
    options: Mapping[str, Any]
    ending: str
    rate: Fraction
    suffix: str = ""
    slow: int = 1


def suggest(findings: Mapping[str, Any]) -> list[Suggestion]:
    """Suggestions for a video, the most usual ones first.

    Args:
        findings: What an inspection found (`pipeline.inspect.Findings.as_dict`).
    """
    rate = source_rate(findings)
    has_sound = any(stream["kind"] == "audio" for stream in findings["streams"])
    suggestions = [*_faster(rate), *_slower(rate, has_sound)]
    if findings["repeat_pattern"] is not None or repeat_share(findings) > _MIN_REPEATS:
        suggestions.insert(0, _without_repeats(rate, findings["repeat_pattern"] or "repeated frames"))
    if rate > 25:
        suggestions.append(_film_look(rate))
    duration = findings["duration"]
    if duration is not None and duration <= _GIF_SECONDS:
        suggestions.append(_loop(rate))
    if findings["interlaced"]:
        deinterlace = {"interlaced": "deinterlace"}
        suggestions = [_with_options(suggestion, deinterlace) for suggestion in suggestions]
    return suggestions


def source_rate(findings: Mapping[str, Any]) -> Fraction:
    """The rate of a video; of one whose rate varies, the usual rate next to the mean."""
    rate = Fraction(findings["rate"])
    return nominal_rate(rate) if findings["variable"] else rate


def repeat_share(findings: Mapping[str, Any]) -> float:
    """The share of the frames that were looked at that repeat the one before."""
    return float(findings["duplicates"] / max(1, findings["decoded"]["frames"]))


def custom_rate(rate: Fraction, source: Fraction) -> Suggestion:
    """The conversion to a rate that the user names."""
    return Suggestion(
        "custom", f"Convert to {_plain(rate)} fps", _kept(rate, source), "interpolate", {"fps": str(rate)},
        f"{_plain(rate)}fps", rate,
    )  # fmt: skip


def _faster(rate: Fraction) -> list[Suggestion]:
    suggestions = []
    if rate < _FAST_ENOUGH:
        text = "One new frame between every two. Every source frame stays as it is."
        name = _plain(2 * rate)
        suggestions.append(
            Suggestion("double", f"Double to {name} fps", text, "interpolate", {}, f"{name}fps", 2 * rate)
        )
    smooth = _closest(_SMOOTH_RATES, rate)
    if rate < smooth and 2 * rate != smooth:
        text, name, options = _kept(smooth, rate), _plain(smooth), {"fps": str(smooth)}
        suggestions.append(
            Suggestion("smooth", f"Smooth to {name} fps", text, "interpolate", options, f"{name}fps", smooth)
        )
    return suggestions


def _slower(rate: Fraction, has_sound: bool) -> list[Suggestion]:
    sound = " The sound is left out unless you stretch it." if has_sound else ""
    return [
        Suggestion(
            f"slow{factor}",
            f"Slow motion {factor}x",
            f"Plays {factor} times slower at {_plain(rate)} fps.{sound}",
            "interpolate",
            {"slow": factor},
            f"slow{factor}x",
            rate,
            slow=factor,
        )
        for factor in SLOW_FACTORS
    ]


def _without_repeats(rate: Fraction, pattern: str) -> Suggestion:
    return Suggestion(
        "repeats", f"Fix {pattern}", f"Repeated frames become new ones, so that motion is even at {_plain(rate)} fps.",
        "interpolate", {"duplicates": "fill", "factor": 1}, "even", rate,
    )  # fmt: skip


def _film_look(rate: Fraction) -> Suggestion:
    film = _closest(_FILM_RATES, rate)
    return Suggestion(
        "film", f"Film look: {_plain(film)} fps",
        "With the motion blur of a film camera: its shutter is open for half of each frame (180 degrees).",
        "blur", {"fps": str(film)}, "film", film,
    )  # fmt: skip


def _loop(rate: Fraction) -> Suggestion:
    return Suggestion(
        "loop", "Smooth GIF loop", "A GIF that leads from its last frame back to the first. It has no sound.",
        "interpolate", {"loop": True}, "loop", min(2 * rate, Fraction(50)), suffix=".gif",
    )  # fmt: skip


def _with_options(suggestion: Suggestion, options: Mapping[str, Any]) -> Suggestion:
    return replace(suggestion, options={**suggestion.options, **options})


def _closest(rates: tuple[Fraction, ...], source: Fraction) -> Fraction:
    """The rate at which the most source frames fall on output times; the first of equals."""
    return min(rates, key=lambda rate: (rate / source).denominator)


def _kept(rate: Fraction, source: Fraction) -> str:
    """How many source frames fall on output times."""
    every = (rate / source).denominator
    if every == 1:
        return "Every source frame stays as it is."
    if every > 20:
        return "Nearly all frames are new: the rates have no common beat."
    return f"1 of {every} source frames stays as it is; the others are new."


def _plain(rate: Fraction) -> str:
    """A rate for titles and file names: 60, 59.94."""
    return f"{float(rate):.4g}"


@dataclass(frozen=True)
class Measurement:
    """What a converted part of a video took.

    Attributes:
        seconds: Seconds that it took altogether.
        startup: Seconds before the first frame.
        seconds_per_frame: Seconds that a new frame takes, with everything around it.
        bytes_per_frame: Bytes that an output frame takes, with its share of sound.
        lost: What the container cannot hold.
        notes: Remarks on the conversion.
    """

    seconds: float
    startup: float
    seconds_per_frame: float
    bytes_per_frame: float
    lost: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Estimate:
    """What a conversion will take, about.

    Attributes:
        frames: Output frames.
        new_frames: New frames among them.
        seconds: How long it takes.
        bytes: The output's size.
    """

    frames: int
    new_frames: int
    seconds: float
    bytes: int


def estimate(suggestion: Suggestion, findings: Mapping[str, Any], measured: Measurement) -> Estimate | None:
    """What a conversion will take; None if the video's length is unknown."""
    duration = findings["duration"]
    if duration is None:
        return None
    sampling = suggestion.rate * suggestion.slow
    frames = max(1, round(duration * sampling))
    new = frames
    if suggestion.command == "interpolate":
        new -= frames // (sampling / source_rate(findings)).numerator
    if suggestion.options.get("duplicates") == "fill":
        new = round(frames * repeat_share(findings))
    seconds = measured.startup + max(1, new) * measured.seconds_per_frame
    return Estimate(frames, new, seconds, round(frames * measured.bytes_per_frame))

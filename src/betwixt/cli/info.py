"""betwixt info: the properties of a video."""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from betwixt.cli import options as o
from betwixt.cli.flags import translate
from betwixt.cli.progress import ProgressDisplay
from betwixt.cli.report import print_json
from betwixt.machine import available_cores
from betwixt.units import format_count, format_duration, format_rate

if TYPE_CHECKING:
    from betwixt.pipeline.inspect import Findings

_PRIMARIES = {
    1: "BT.709", 4: "BT.470M", 5: "BT.470BG", 6: "SMPTE 170M", 7: "SMPTE 240M", 8: "film", 9: "BT.2020", 10: "XYZ",
    11: "DCI-P3", 12: "Display P3", 22: "EBU 3213",
}  # fmt: skip
_TRANSFERS = {
    1: "BT.709", 4: "gamma 2.2", 5: "gamma 2.8", 6: "SMPTE 170M", 7: "SMPTE 240M", 8: "linear", 9: "log 100:1",
    10: "log 316:1", 11: "xvYCC", 12: "BT.1361", 13: "sRGB", 14: "BT.2020", 15: "BT.2020", 16: "PQ", 17: "SMPTE 428",
    18: "HLG",
}  # fmt: skip
_MATRICES = {
    0: "RGB", 1: "BT.709", 4: "FCC", 5: "BT.470BG", 6: "SMPTE 170M", 7: "SMPTE 240M", 8: "YCgCo", 9: "BT.2020",
    10: "BT.2020 of constant luminance", 14: "ICtCp",
}  # fmt: skip
_RANGES = {0: "range not stated", 1: "limited range", 2: "full range"}


def info(
    source: Annotated[str, typer.Argument(metavar="FILE", help="A video, or a folder or pattern of images.")],
    scan: Annotated[
        bool, typer.Option(help="Decode all of it: every figure is exact, damage is found, and the cost is measured.")
    ] = False,
    stream: o.Stream = None,
    as_json: o.AsJson = False,
) -> None:
    """Show a video's streams, exact rate, colour, cuts and duplicates, and what a conversion would cost.

    Examples:
        betwixt info clip.mp4
        betwixt info clip.mp4 --scan --json
    """
    from betwixt.pipeline.inspect import inspect_video

    with ProgressDisplay("frames", quiet=as_json or not sys.stderr.isatty()) as display:
        findings = inspect_video(source, scan=scan, stream=stream, progress=functools.partial(display, "inspecting"))
    if as_json:
        print_json(findings.as_dict(), sys.stdout)
    else:
        _show(findings)


def _show(findings: Findings) -> None:
    v = findings.info
    lines = [
        v.name,
        f"  video     {v.codec} in {v.container}, {v.width}x{v.height}, {v.pixel_format} ({v.depth} bit)",
        f"  rate      {_rate(findings)}",
        f"  length    {_length(findings)}",
        f"  colour    {_colour(v.colour, v.pixel_format)}",
    ]
    if findings.shortest is not None and findings.longest is not None and _is_uneven(findings):
        spacing = f"{float(findings.shortest) * 1000:.1f} to {float(findings.longest) * 1000:.1f} ms"
        lines.append(f"  spacing   {spacing} [{findings.certainty['longest_interval']}]")
    if v.hdr is not None:
        light = "" if v.hdr.content_light is None else ", MaxCLL {}, MaxFALL {}".format(*v.hdr.content_light)
        lines.append(f"  HDR       mastering metadata{light}")
    if v.hdr10_plus:
        lines.append("  HDR10+    metadata of single frames")
    if v.dolby_vision is not None:
        lines.append(f"  Dolby Vision of profile {v.dolby_vision}")
    if v.aspect is not None:
        lines.append(f"  pixels    {v.aspect} as wide as high")
    if v.rotation is not None:
        lines.append(f"  rotation  {_rotation(v.rotation)}")
    if v.interlaced:
        lines.append("  interlaced: betwixt interpolate needs --interlaced deinterlace or ignore")
    several = sum(s.kind == "video" for s in v.streams) > 1
    for s in v.streams:
        title = "" if s.title is None else f" {s.title!r}"
        here = ", described here" if several and s.index == findings.stream else ""
        lines.append(f"  stream {s.index}  {s}{title}{here}")
    lines += _content(findings)
    lines += [f"  note      {translate(note)}" for note in findings.notes]
    lines += _conversions(findings)
    print("\n".join(lines))


def _rate(findings: Findings) -> str:
    v = findings.info
    kind = "on average, variable" if v.variable else "constant"
    return f"{format_rate(v.rate)} frames per second, {kind} [{findings.certainty['rate']}]"


def _length(findings: Findings) -> str:
    certainty, parts = findings.certainty, []
    for name, unknown, text in (
        ("duration", "unknown length", format_duration(float(findings.duration or 0))),
        ("frames", "an unknown number of frames", format_count(findings.frames or 0, "frame")),
    ):
        parts.append(unknown if getattr(findings, name) is None else f"{text} [{certainty[name]}]")
    return f"{', '.join(parts)}, starts at {float(findings.info.start):.3f} s"


def _content(findings: Findings) -> list[str]:
    """The lines about what only decoded frames show."""
    f, certainty = findings, findings.certainty
    shown = [format_duration(float(t)) for t in f.cuts[:8]] + ["..."] * (len(f.cuts) > 8)
    cuts = f"{len(f.cuts)}{' at ' if shown else ''}{', '.join(shown)}"
    mark = "exact"
    if certainty["cuts"] == "sampled":
        places = "its beginning" if f.places == 1 else f"{f.places} places"
        mark = (
            f"sampled: {format_count(f.decoded, 'frame')}, {format_duration(float(f.decoded_seconds))}, from {places}"
        )
    if f.damage is not None:
        damage = f.damage if certainty["damage"] == "exact" else f"{f.damage}; --scan looks for more"
    else:
        damage = "none" if certainty["damage"] == "exact" else "not looked for; --scan decodes all of it"
    repeats = format_count(f.duplicates, "duplicate frame")
    return [
        f"  cuts      {cuts} [{mark}]",
        f"  repeats   {repeats} that --duplicates fill would replace [{certainty['duplicates']}]",
        f"  damage    {damage}",
    ]


def _conversions(findings: Findings) -> list[str]:
    """What usual conversions would make and cost."""
    from betwixt.errors import UsageError
    from betwixt.media import codecs
    from betwixt.pipeline.planner import choose_rates, exact_multiple

    v = findings.info
    path = Path(v.name)
    try:
        doubled = choose_rates(v.rate, None, None, None, variable=v.variable).output
    except UsageError:
        return ["  convert   with --fps, or with --input-fps if the rate is not true"]
    try:
        codecs.container_of(path)
    except UsageError:
        path = path.with_suffix(".mp4")  # the suffix names nothing that can be written
    output = f"{path.stem}-smooth{path.suffix}"
    lines = [f"  to {format_rate(doubled)} frames per second: {_cost(findings, doubled)} -> {output}"]
    nominal = Fraction(round(2 * v.rate))
    if not v.variable and exact_multiple(v.rate, nominal) is not None:
        kept = f"1 of {(nominal / v.rate).denominator} source frames untouched"
        lines.append(f"  to {nominal} frames per second: {_cost(findings, nominal)}, {kept}")
    return lines


def _cost(findings: Findings, rate: Fraction) -> str:
    """How many frames a conversion to `rate` makes, and how long that takes."""
    new = _new_frames(findings, rate)
    if new is None:
        return "an unknown number of new frames"
    text = ("about " if findings.info.variable else "") + format_count(new, "new frame")
    if findings.seconds_a_frame is None:
        return text if findings.certainty["seconds_a_frame"] == "not looked for" else f"{text}, cost unknown"
    seconds = format_duration(new * findings.seconds_a_frame)
    return f"{text}, about {seconds} of synthesis by {findings.model} on {available_cores()} cores"


def _new_frames(findings: Findings, rate: Fraction) -> int | None:
    """The number of output frames between source frames: neither one of these nor after the last."""
    v, frames, duration = findings.info, findings.frames, findings.duration
    if frames is None or duration is None:
        return None
    tolerance = Fraction(1, 10)  # containers round the end by less than this many frames
    last = math.floor(
        (duration - 1 / v.rate) * rate + tolerance
    )  # the number of the last output frame within the video
    kept = 0 if v.variable else -(-frames // (rate / v.rate).denominator)
    return max(0, last + 1 - kept)


def _is_uneven(findings: Findings) -> bool:
    """Whether frames are missing from a constant rate, or the rate varies."""
    v, longest = findings.info, findings.longest
    return v.variable or (longest is not None and longest * v.rate > Fraction(3, 2))


def _rotation(matrix: Sequence[int]) -> str:
    """What a display matrix does."""
    a, b, c, d = matrix[0], matrix[1], matrix[3], matrix[4]
    degrees = round(math.degrees(math.atan2(b, a))) % 360
    return f"{degrees} degrees clockwise{', mirrored' if a * d - b * c < 0 else ''}"


def _colour(colour: Any, pixel_format: str) -> str:
    from av import VideoFormat

    def name(names: Mapping[int, str], code: int) -> str:
        return names.get(code, "not stated" if code in (0, 2) else f"code {code}")

    parts = [
        f"primaries {name(_PRIMARIES, colour.primaries)}",
        f"transfer {name(_TRANSFERS, colour.transfer)}",
        f"matrix {name(_MATRICES, colour.matrix)}",
        _RANGES.get(colour.range, "range not stated"),
    ]
    if VideoFormat(pixel_format).chroma_width(16) < 16:
        parts.append(f"chroma {colour.location}")
    return ", ".join(parts)

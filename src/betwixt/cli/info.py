"""betwixt info: the properties of a video."""

from __future__ import annotations

import functools
import sys
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from betwixt.cli import options as o
from betwixt.cli.flags import translate
from betwixt.cli.progress import ProgressDisplay
from betwixt.cli.report import format_duration, format_rate, print_json
from betwixt.machine import available_cores

if TYPE_CHECKING:
    from betwixt.pipeline.inspect import Findings

_PRIMARIES = {1: "BT.709", 5: "BT.470BG", 6: "SMPTE 170M", 9: "BT.2020", 11: "DCI-P3", 12: "Display P3"}
_TRANSFERS = {1: "BT.709", 6: "SMPTE 170M", 8: "linear", 13: "sRGB", 14: "BT.2020", 16: "PQ", 18: "HLG"}
_MATRICES = {0: "RGB", 1: "BT.709", 5: "BT.470BG", 6: "SMPTE 170M", 9: "BT.2020"}
_RANGES = {0: "range not stated", 1: "limited range", 2: "full range"}


def info(
    source: Annotated[str, typer.Argument(metavar="FILE", help="A video, or a folder or pattern of images.")],
    scan: Annotated[
        bool, typer.Option(help="Decode all of it: every figure is exact, damage is found, and the cost is measured.")
    ] = False,
    stream: o.Stream = None,
    as_json: o.AsJson = False,
) -> None:
    """Show a video's streams, exact rate, colour, cuts and duplicates, and what a conversion would cost."""
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
        f"  colour    {_colour(v.colour)}",
    ]
    if v.variable and findings.shortest is not None and findings.longest is not None:
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
        lines.append("  rotation  stated; passed on")
    if v.interlaced:
        lines.append("  interlaced: betwixt interpolate needs --interlaced deinterlace or ignore")
    lines += [f"  stream {s.index}  {s}{'' if s.title is None else f' {s.title!r}'}" for s in v.streams]
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
        ("frames", "an unknown number of frames", f"{findings.frames} frame{'' if findings.frames == 1 else 's'}"),
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
        mark = f"sampled: {f.decoded} frames, {format_duration(float(f.decoded_seconds))}, from {places}"
    if f.damage is not None:
        damage = f.damage if certainty["damage"] == "exact" else f"{f.damage}; --scan looks for more"
    else:
        damage = "none" if certainty["damage"] == "exact" else "not looked for; --scan decodes all of it"
    return [
        f"  cuts      {cuts} [{mark}]",
        f"  repeats   {f.duplicates} duplicate frames that --duplicates fill would replace [{certainty['duplicates']}]",
        f"  damage    {damage}",
    ]


def _conversions(findings: Findings) -> list[str]:
    """What usual conversions would make and cost."""
    from betwixt.errors import UsageError
    from betwixt.media import codecs
    from betwixt.pipeline.planner import choose_rates, exact_multiple

    v, frames = findings.info, findings.frames
    path = Path(v.name)
    try:
        doubled = choose_rates(v.rate, None, None, None, variable=v.variable).output
    except UsageError:
        return ["  convert   with --fps, or with --input-fps if the rate is not true"]
    new = None
    if frames is not None:
        new = frames if not v.variable else max(0, round((findings.duration or 0) * doubled) - frames)
    try:
        codecs.container_of(path)
    except UsageError:
        path = path.with_suffix(".mp4")  # the suffix names nothing that can be written
    output = f"{path.stem}-smooth{path.suffix}"
    lines = [f"  to {format_rate(doubled)} frames per second: {_cost(findings, new)} -> {output}"]
    nominal = Fraction(round(2 * v.rate))
    if not v.variable and exact_multiple(v.rate, nominal) is not None:
        kept = (nominal / v.rate).denominator
        new = None if frames is None else round(frames * (nominal / v.rate - Fraction(1, kept)))
        lines.append(f"  to {nominal} frames per second: {_cost(findings, new)}, 1 of {kept} source frames untouched")
    return lines


def _cost(findings: Findings, frames: int | None) -> str:
    if frames is None:
        return "an unknown number of new frames"
    if findings.seconds_a_frame is None:
        return f"{frames} new frames"
    seconds = format_duration(frames * findings.seconds_a_frame)
    return f"{frames} new frames, about {seconds} of synthesis by {findings.model} on {available_cores()} cores"


def _colour(colour: Any) -> str:
    return (
        f"primaries {_PRIMARIES.get(colour.primaries, 'not stated')}, "
        f"transfer {_TRANSFERS.get(colour.transfer, 'not stated')}, "
        f"matrix {_MATRICES.get(colour.matrix, 'not stated')}, "
        f"{_RANGES.get(colour.range, '')}, chroma {colour.location}"
    )

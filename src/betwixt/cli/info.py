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
    scan: Annotated[bool, typer.Option(help="Decode all of it, to find cuts, duplicates and damage.")] = True,
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
    from betwixt.pipeline.planner import exact_multiple

    v = findings.info
    frames = findings.frames if findings.frames is not None else v.frames
    length = "unknown length" if v.duration is None else format_duration(float(v.duration))
    kind = "variable" if v.variable else "constant"
    lines = [
        v.name,
        f"  video     {v.codec} in {v.container}, {v.width}x{v.height}, {v.pixel_format} ({v.depth} bit)",
        f"  rate      {format_rate(v.rate)} frames per second, {kind}",
        f"  length    {length}, {'unknown' if frames is None else frames} frames, starts at {float(v.start):.3f} s",
        f"  colour    {_colour(v.colour)}",
    ]
    if v.variable and findings.shortest is not None and findings.longest is not None:
        lines.append(f"  spacing   {float(findings.shortest) * 1000:.1f} to {float(findings.longest) * 1000:.1f} ms")
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
    if findings.cuts is not None:
        shown = [format_duration(float(t)) for t in findings.cuts[:8]] + ["..."] * (len(findings.cuts) > 8)
        lines.append(f"  cuts      {len(findings.cuts)}{' at ' if shown else ''}{', '.join(shown)}")
        lines.append(f"  repeats   {findings.duplicates} duplicate frames that --duplicates fill would replace")
    if findings.damage is not None:
        lines.append(f"  damage    {findings.damage}")
    lines += [f"  note      {translate(note)}" for note in findings.notes]
    path = Path(v.name)
    output = f"{path.stem}-smooth{path.suffix or '.mp4'}"
    lines.append(f"  to {format_rate(2 * v.rate)} frames per second: {_cost(findings, frames)} -> {output}")
    nominal = Fraction(round(2 * v.rate))
    if not v.variable and exact_multiple(v.rate, nominal) is not None:
        kept = (nominal / v.rate).denominator
        new = None if frames is None else round(frames * (nominal / v.rate - Fraction(1, kept)))
        lines.append(f"  to {nominal} frames per second: {_cost(findings, new)}, 1 of {kept} source frames untouched")
    print("\n".join(lines))


def _cost(findings: Findings, frames: int | None) -> str:
    if frames is None or findings.seconds_a_frame is None:
        return "cost unknown"
    seconds = format_duration(frames * findings.seconds_a_frame)
    return f"{frames} new frames, about {seconds} of synthesis by {findings.model} on {available_cores()} cores"


def _colour(colour: Any) -> str:
    return (
        f"primaries {_PRIMARIES.get(colour.primaries, 'not stated')}, "
        f"transfer {_TRANSFERS.get(colour.transfer, 'not stated')}, "
        f"matrix {_MATRICES.get(colour.matrix, 'not stated')}, "
        f"{_RANGES.get(colour.range, '')}, chroma {colour.location}"
    )

"""Make the slow motion of an edit: each clip that an EDL slows down becomes a file of its own, and a new EDL uses it.

    pip install betwixt opentimelineio otio-cmx3600-adapter
    python slow_motion_edl.py edit.edl MEDIA OUT --rate 25

MEDIA holds the files that the EDL names in "FROM CLIP NAME". OUT gets one ProRes file for each slowed event, with the
timecode that the event begins at, and edit.edl, which plays these files at normal speed. Other events stay as they are.
"""

from __future__ import annotations

import argparse
import re
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import opentimelineio as otio

import betwixt
from betwixt.media.timeline import parse_rate

_M2_ROUNDING = Fraction(1, 20)
"""M2 lines state the speed in frames per second with one decimal: the largest error of that."""

_TIMECODE = re.compile(r"\b(\d\d:\d\d:\d\d)[:;](\d\d)\b")

_DROPPING = (30000 / 1001, 60000 / 1001)
"""The rates that have drop-frame timecode."""


def timeline_rate(text: str) -> Fraction:
    """The exact frame rate that a text names: 25, 23.976, 30000/1001.

    Raises:
        BetwixtError: if it is no rate, or one that timecode cannot count.
    """
    rate = parse_rate(text)
    if abs(Fraction(_smpte(rate)) / rate - 1) > Fraction(1, 10**6):
        raise betwixt.BetwixtError(f"No timecode counts {text} frames per second: give the timeline's rate.")
    return rate


def _smpte(rate: Fraction) -> float:
    """The number by which OpenTimelineIO knows a rate: it compares floats."""
    return float(otio.opentime.RationalTime.nearest_smpte_timecode_rate(float(rate)))


def read_edl(path: Path, rate: Fraction) -> tuple[Any, bool]:
    """The timeline of an EDL, and whether its timecode is drop-frame.

    Raises:
        BetwixtError: if it cannot be read.
    """
    try:
        text = path.read_text("utf-8")
        modes = re.findall(r"^FCM:\s*(NON-)?DROP", text, re.MULTILINE)
        if len(set(modes)) > 1:
            raise ValueError("it mixes drop-frame and non-drop-frame timecode")
        stated = "" in modes or (not modes and re.search(r"^\d.*\d;\d\d", text, re.MULTILINE) is not None)
        drops = stated and _smpte(rate) in _DROPPING
        # The adapter ignores FCM, and wants colons in M2 lines.
        lines = [
            _TIMECODE.sub(r"\1;\2" if drops and line[:1].isdigit() else r"\1:\2", line) for line in text.splitlines()
        ]
        return otio.adapters.read_from_string("\n".join(lines), "cmx_3600", rate=_smpte(rate)), drops
    except Exception as error:  # of a damaged file, the adapter raises whatever its first surprise is
        raise betwixt.BetwixtError(f"{path} cannot be read as an EDL: {_in_one_line(error)}") from None


def write_edl(timeline: Any, path: Path, rate: Fraction, drops: bool) -> None:
    """Write an EDL, with timecode as that of the one that was read.

    Raises:
        BetwixtError: if EDLs cannot hold the timeline.
    """
    try:
        text = otio.adapters.write_to_string(timeline, "cmx_3600", rate=_smpte(rate), reelname_len=32)
    except otio.exceptions.OTIOError as error:
        raise betwixt.BetwixtError(f"{path} cannot be written: {_in_one_line(error)}") from None

    def relabel(found: re.Match[str]) -> str:
        # At rates that have it, the adapter always writes drop-frame timecode.
        time = otio.opentime.from_timecode(found[0], _smpte(rate))
        return otio.opentime.to_timecode(time, _smpte(rate), drops)

    lines = [_TIMECODE.sub(relabel, line) if line[:1].isdigit() else line for line in text.splitlines()]
    lines.insert(1, f"FCM: {'' if drops else 'NON-'}DROP FRAME")
    path.write_text("\n".join(lines) + "\n", "utf-8")


def start_timecode(path: Path, rate: Fraction) -> otio.opentime.RationalTime:
    """The timecode of a file's first frame.

    Raises:
        BetwixtError: if the file is no video, or its timecode does not fit the rate.
    """
    try:
        with av.open(str(path)) as container:
            tags = [s.metadata.get("timecode") for s in container.streams] + [container.metadata.get("timecode")]
        return otio.opentime.from_timecode(next((tag for tag in tags if tag), "00:00:00:00"), _smpte(rate))
    except (av.FFmpegError, ValueError) as error:
        raise betwixt.BetwixtError(f"The timecode of {path} cannot be read: {_in_one_line(error)}") from None


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def speed_of(clip: Any) -> Fraction:
    """The speed at which an event plays its source; 1 without a retime.

    It is a simple fraction where M2's rounding allows one: a third is stated as 8.3 of 25 frames per second, and a half
    as 12.0 of 23.976.
    """
    speed = Fraction(1)
    for effect in clip.effects:
        if isinstance(effect, otio.schema.LinearTimeWarp):
            stated = Fraction(effect.time_scalar).limit_denominator(100_000)
            simple = stated.limit_denominator(10)
            rounding = _M2_ROUNDING / Fraction(clip.source_range.start_time.rate)
            speed *= simple if abs(simple - stated) <= rounding else stated
    return speed


def slow_down(clip: Any, number: int, media: Path, out: Path, rate: Fraction, **options: Any) -> Path:
    """Make the file of one slowed event, and let the event use it at normal speed."""
    speed = speed_of(clip)
    source = media / clip.name
    if not source.is_file():
        raise betwixt.BetwixtError(f"{source} does not exist: MEDIA must hold the files that the EDL names.")
    first = clip.source_range.start_time - start_timecode(source, rate)
    start = Fraction(round(first.value)) / rate
    length = Fraction(round(clip.source_range.duration.value)) * speed / rate
    target = out / f"{source.stem}_slow_{number:03}.mov"
    options = {"codec": "prores", "audio": "drop", **options}
    betwixt.interpolate_video(source, target, slow=1 / speed, start=start, end=start + length, **options)
    clip.name = target.name
    clip.metadata.get("cmx_3600", {}).pop("reel", None)
    del clip.effects[:]
    return target


def main(arguments: list[str]) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("edl", type=Path)
    parser.add_argument("media", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--rate", required=True, help="the timeline's frames per second: 25, 23.976, 30000/1001")
    parser.add_argument("--model", default="auto")
    given = parser.parse_args(arguments)
    if not given.edl.is_file():
        parser.error(f"{given.edl} does not exist.")
    if given.out.resolve() == given.edl.parent.resolve():
        parser.error(f"The new EDL would replace {given.edl}: choose another folder than {given.out}.")
    try:
        rate = timeline_rate(given.rate)
        timeline, drops = read_edl(given.edl, rate)
    except betwixt.BetwixtError as error:
        parser.error(str(error))
    given.out.mkdir(parents=True, exist_ok=True)
    for number, clip in enumerate(timeline.find_clips(), 1):
        if 0 < speed_of(clip) < 1:
            try:
                print(slow_down(clip, number, given.media, given.out, rate, model=given.model))
            except betwixt.BetwixtError as error:
                print(f"event {number}: {error}", file=sys.stderr)
                return 2
    try:
        write_edl(timeline, given.out / given.edl.name, rate, drops)
    except betwixt.BetwixtError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

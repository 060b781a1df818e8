"""Make the slow motion of an edit: each clip that an EDL slows down becomes a file of its own, and a new EDL uses it.

    pip install betwixt opentimelineio otio-cmx3600-adapter
    python slow_motion_edl.py edit.edl MEDIA OUT --rate 25

MEDIA holds the files that the EDL names in "FROM CLIP NAME". OUT gets one ProRes file for each slowed event, with the
timecode that the event begins at, and edit.edl, which plays these files at normal speed. Other events stay as they are.
"""

from __future__ import annotations

import argparse
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import opentimelineio as otio

import betwixt


def start_timecode(path: Path, rate: float) -> otio.opentime.RationalTime:
    """The timecode of a file's first frame."""
    with av.open(str(path)) as container:
        tags = [s.metadata.get("timecode") for s in container.streams] + [container.metadata.get("timecode")]
    return otio.opentime.from_timecode(next((tag for tag in tags if tag), "00:00:00:00"), rate)


def speed_of(clip: Any) -> Fraction:
    """The speed at which an event plays its source; 1 without a retime."""
    speed = Fraction(1)
    for effect in clip.effects:
        if isinstance(effect, otio.schema.LinearTimeWarp):
            # EDLs state the speed in frames per second with one decimal.
            speed *= Fraction(effect.time_scalar).limit_denominator(1000)
    return speed


def slow_down(clip: Any, number: int, media: Path, out: Path, **options: Any) -> Path:
    """Make the file of one slowed event, and let the event use it at normal speed."""
    rate = clip.source_range.start_time.rate
    speed = speed_of(clip)
    source = media / clip.name
    if not source.is_file():
        raise betwixt.BetwixtError(f"{source} does not exist: MEDIA must hold the files that the EDL names.")
    first = clip.source_range.start_time - start_timecode(source, rate)
    start = Fraction(round(first.value)) / Fraction(rate).limit_denominator(1001)
    length = Fraction(round(clip.source_range.duration.value)) * speed / Fraction(rate).limit_denominator(1001)
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
    parser.add_argument("--rate", type=float, required=True, help="the timeline's frames per second")
    parser.add_argument("--model", default="auto")
    given = parser.parse_args(arguments)
    if not given.edl.is_file():
        parser.error(f"{given.edl} does not exist.")
    timeline = otio.adapters.read_from_file(str(given.edl), rate=given.rate)
    given.out.mkdir(parents=True, exist_ok=True)
    for number, clip in enumerate(timeline.find_clips(), 1):
        if 0 < speed_of(clip) < 1:
            try:
                print(slow_down(clip, number, given.media, given.out, model=given.model))
            except betwixt.BetwixtError as error:
                print(f"event {number}: {error}", file=sys.stderr)
                return 2
    otio.adapters.write_to_file(timeline, str(given.out / given.edl.name), rate=given.rate, reelname_len=32)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

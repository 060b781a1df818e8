"""Measures whether the memory of a conversion grows with the length of the video.

    python benchmarks/memory.py [--size 1920x1080] [--rate 12] [--short 10] [--long 300] [--model auto]

Converts the same scene at two lengths and prints the peak memory of both processes. To measure the speed of whole
conversions, use `betwixt benchmark --end-to-end CLIP`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from betwixt.evaluation.end_to_end import convert
from betwixt.machine import describe_machine

sys.path.append(str(Path(__file__).parents[1] / "examples"))
from sample import make_sample


def repeat(clip: Path, target: Path, times: int) -> Path:
    """Write a clip several times in a row, by copying its packets."""
    with av.open(str(target), "w") as out:
        copy: Any = None
        offset = 0
        for _ in range(times):
            with av.open(str(clip)) as source:
                stream = source.streams.video[0]
                if copy is None:
                    copy = out.add_stream_from_template(stream, opaque=True)
                last = 0
                for packet in source.demux(stream):
                    if packet.dts is None:
                        continue
                    last = max(last, packet.pts + packet.duration)
                    packet.pts += offset
                    packet.dts += offset
                    packet.stream = copy
                    out.mux(packet)
                offset += last
    return target


def measure(arguments: argparse.Namespace, folder: Path) -> None:
    """Print the peak memory for a short and a long clip."""
    width, height = map(int, arguments.size.split("x"))
    unit = make_sample(
        folder / "unit.mp4", width=width, height=height, rate=Fraction(arguments.rate), seconds=arguments.short
    )
    peaks = []
    for seconds in (arguments.short, arguments.long):
        clip = repeat(unit, folder / f"{seconds}.mp4", seconds // arguments.short)
        summary = convert(clip, folder / "out.mp4", "--codec", "h264", "--model", arguments.model)
        peaks.append(summary["peak_memory"])
        print(
            f"{width}x{height}, {seconds} s: {summary['frames_in']} frames in, {summary['frames_out']} out, "
            f"peak {summary['peak_memory'] / 1e6:.0f} MB, {summary['new_frames_per_second']:.1f} new frames/s"
        )
    print(f"long / short: {peaks[1] / peaks[0]:.3f}")


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="1920x1080")
    parser.add_argument("--rate", type=int, default=12)
    parser.add_argument("--short", type=int, default=10)
    parser.add_argument("--long", type=int, default=300)
    parser.add_argument("--model", default="auto")
    arguments = parser.parse_args()
    print(describe_machine())
    with tempfile.TemporaryDirectory() as name:
        measure(arguments, Path(name))


if __name__ == "__main__":
    main()

"""Whole conversions: speed beside ffmpeg's minterpolate, and memory over length.

    python benchmarks/end_to_end.py speed [--clip CLIP] [--size 1280x720] [--seconds 4] [--rounds 3]
    python benchmarks/end_to_end.py memory [--size 1920x1080] [--rate 12] [--short 10] [--long 300]

`speed` doubles a clip's rate with `betwixt interpolate` and with ``ffmpeg -vf minterpolate=mi_mode=mci``, by turns in
the same run, with the same encoder settings (libx264, preset medium, crf 20), and prints new frames a second for both
and their ratio. It needs ffmpeg on the PATH. `memory` converts the same scene at two lengths and prints the peak
memory of both processes.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from betwixt.media.sample import make_sample

QUALITY = 20


def betwixt(source: Path, target: Path, *options: str) -> dict[str, Any]:
    """Double the rate with Betwixt, in a process of its own; its summary."""
    command = [sys.executable, "-m", "betwixt.cli", "interpolate", str(source), str(target), "--json", "--overwrite"]
    done = subprocess.run([*command, *options], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def minterpolate(source: Path, target: Path, rate: Fraction) -> None:
    """Double the rate with ffmpeg."""
    command = ["ffmpeg", "-y", "-v", "error", "-i", str(source), "-vf", f"minterpolate=mi_mode=mci:fps={rate}"]
    command += ["-c:v", "libx264", "-preset", "medium", "-crf", str(QUALITY), "-c:a", "copy", str(target)]
    subprocess.run(command, check=True)


def scaled(clip: Path, target: Path, width: int, height: int, seconds: float) -> Path:
    """The first seconds of a clip at another size, as H.264 without sound."""
    with av.open(str(clip)) as source, av.open(str(target), "w") as out:
        stream = source.streams.video[0]
        rate = stream.average_rate
        copy = out.add_stream("libx264", rate=rate, options={"crf": "16", "preset": "fast"})
        copy.width, copy.height, copy.pix_fmt = width, height, "yuv420p"
        for number, frame in enumerate(source.decode(stream)):
            if number >= seconds * rate:
                break
            picture = frame.reformat(width=width, height=height, format="yuv420p", interpolation="BICUBIC")
            picture.pts, picture.time_base = number, 1 / rate
            out.mux(copy.encode(picture))
        out.mux(copy.encode(None))
    return target


def repeated(clip: Path, target: Path, times: int) -> Path:
    """A clip played several times over, its packets copied."""
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


def speed(arguments: argparse.Namespace, folder: Path) -> None:
    """Print new frames a second for Betwixt and minterpolate, by turns."""
    if shutil.which("ffmpeg") is None:
        sys.exit("ffmpeg is not on the PATH: install it to compare with its minterpolate filter.")
    width, height = map(int, arguments.size.split("x"))
    if arguments.clip is None:
        clip = make_sample(folder / "in.mp4", width=width, height=height, rate=Fraction(24), seconds=arguments.seconds)
    else:
        clip = scaled(arguments.clip, folder / "in.mp4", width, height, arguments.seconds)
    ours, theirs = [], []
    for number in range(arguments.rounds):
        began = time.monotonic()
        summary = betwixt(clip, folder / "a.mp4", "--quality", str(QUALITY), "--codec", "h264")
        ours.append(time.monotonic() - began)
        rate = Fraction(summary["rate"])
        new = summary["frames_out"] - summary["frames_in"]
        began = time.monotonic()
        minterpolate(clip, folder / "b.mp4", rate)
        theirs.append(time.monotonic() - began)
        print(f"round {number + 1}: betwixt {new / ours[-1]:.1f}, minterpolate {new / theirs[-1]:.1f} new frames/s")
    a, b = statistics.median(ours), statistics.median(theirs)
    print(
        f"{width}x{height}, {summary['frames_in']} frames, whole process, median of {arguments.rounds}: "
        f"betwixt ({summary['model']}) {new / a:.1f}, minterpolate {new / b:.1f} new frames/s, ratio {b / a:.2f}"
    )


def memory(arguments: argparse.Namespace, folder: Path) -> None:
    """Print the peak memory for a short and a long clip."""
    width, height = map(int, arguments.size.split("x"))
    unit = make_sample(
        folder / "unit.mp4", width=width, height=height, rate=Fraction(arguments.rate), seconds=arguments.short
    )
    peaks = []
    for seconds in (arguments.short, arguments.long):
        clip = repeated(unit, folder / f"{seconds}.mp4", seconds // arguments.short)
        summary = betwixt(clip, folder / "out.mp4", "--codec", "h264")
        peaks.append(summary["peak_memory"])
        print(
            f"{width}x{height}, {seconds} s: {summary['frames_in']} frames in, {summary['frames_out']} out, "
            f"peak {summary['peak_memory'] / 1e6:.0f} MB, {summary['new_frames_per_second']:.1f} new frames/s"
        )
    print(f"long / short: {peaks[1] / peaks[0]:.3f}")


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    a = verbs.add_parser("speed")
    a.add_argument("--clip", type=Path, help="a video; the sample clip if not given")
    a.add_argument("--size", default="1280x720")
    a.add_argument("--seconds", type=float, default=4)
    a.add_argument("--rounds", type=int, default=3)
    b = verbs.add_parser("memory")
    b.add_argument("--size", default="1920x1080")
    b.add_argument("--rate", type=int, default=12)
    b.add_argument("--short", type=int, default=10)
    b.add_argument("--long", type=int, default=300)
    arguments = parser.parse_args()
    print(f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory() as name:
        {"speed": speed, "memory": memory}[arguments.verb](arguments, Path(name))


if __name__ == "__main__":
    main()

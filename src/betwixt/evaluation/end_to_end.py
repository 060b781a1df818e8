"""Whole conversions, timed beside ffmpeg's minterpolate in the same run: decode, make frames, encode, write.

Both double the clip's frame rate with the same encoder and settings (libx264, preset medium, crf 20). They take turns,
so that other load on the machine affects both. Every conversion is a process of its own, and its start counts. Without
an encoder, both decode, make frames and discard them, which measures the interpolation alone.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from betwixt.errors import InputError, UsageError
from betwixt.files import file_url
from betwixt.machine import describe_machine
from betwixt.runtime.load import hash_weights

_CRF = 20


@dataclass(frozen=True)
class EndToEndResult:
    """Speeds of whole conversions with Betwixt and with minterpolate."""

    model: str  # Betwixt's model
    width: int
    height: int
    encoder: str  # the encoder of both, or "none"
    frames_in: int  # frames of the clip
    new_frames: int  # frames that were made
    rounds: list[tuple[float, float]]  # new frames per second in each round, of Betwixt and of minterpolate
    ours: float  # the median of Betwixt's new frames per second
    theirs: float  # the median of minterpolate's new frames per second
    ratio: float  # `ours` / `theirs`
    weights_hash: str  # hash of Betwixt's weights, "" if the model has none
    ffmpeg: str
    machine: str  # see `machine.describe_machine`


def compare_with_minterpolate(
    clip: Path,
    model: str,
    *,
    size: tuple[int, int] | None = None,
    seconds: float | None = None,
    rounds: int = 3,
    encode: bool = True,
    device: str = "auto",
    threads: int = 0,
    weights: Path | None = None,
    progress: Callable[[int, float, float], None] | None = None,
) -> EndToEndResult:
    """Convert a clip with Betwixt and with minterpolate, in turns.

    The clip is first cut to its first `seconds` and scaled to `size` (width, height). Without `encode`, frames are made
    and discarded. `device`, `threads` and `weights` are for Betwixt's model. `progress` is called after each round with
    its number and the new frames per second of both.

    Raises:
        UsageError: if ffmpeg is not on the PATH.
        InputError: if the clip cannot be read.
    """
    if shutil.which("ffmpeg") is None:
        raise UsageError("ffmpeg is not on the PATH: install it to compare with its minterpolate filter.")
    if not clip.is_file():
        raise InputError(f"There is no {clip}.")
    if size is not None and (size[0] % 2 or size[1] % 2):
        raise UsageError(f"The size {size[0]}x{size[1]} is odd: H.264 needs even sides.")
    options = ["--model", model, "--device", device, "--threads", str(threads)]
    if encode:
        options += ["--quality", str(_CRF), "--codec", "h264"]
    if weights is not None:
        options += ["--weights", str(weights)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / "in.mp4"
        width, height = _prepare_clip(clip, source, size, seconds)
        speeds = []
        for number in range(rounds):
            began = time.monotonic()
            summary = convert(source, folder / "a.mp4" if encode else None, *options)
            our_speed = summary["synthesized"] / (time.monotonic() - began)
            began = time.monotonic()
            frames = _run_minterpolate(source, folder / "b.mp4" if encode else None, Fraction(summary["rate"]))
            their_speed = (frames - summary["frames_in"]) / (time.monotonic() - began)
            speeds.append((our_speed, their_speed))
            if progress is not None:
                progress(number + 1, our_speed, their_speed)
    ours, theirs = (statistics.median(column) for column in zip(*speeds, strict=True))
    return EndToEndResult(
        model=model,
        width=width,
        height=height,
        encoder=f"libx264 medium crf {_CRF}" if encode else "none",
        frames_in=summary["frames_in"],
        new_frames=summary["synthesized"],
        rounds=speeds,
        ours=ours,
        theirs=theirs,
        ratio=ours / theirs,
        weights_hash=hash_weights(model, weights),
        ffmpeg=_ffmpeg_version(),
        machine=describe_machine(),
    )


def convert(source: Path, target: Path | None, *options: str) -> dict[str, Any]:
    """Double a clip's frame rate with `betwixt interpolate` in a process of its own; returns the summary it prints.

    Without `target`, the frames are discarded. `options` are more options of the command.
    """
    command = [sys.executable, "-m", "betwixt.cli", "interpolate", str(source), "-" if target is None else str(target)]
    command += ["--json", "--overwrite", *options]
    # With frames on standard output, the summary goes to standard error.
    stdout = subprocess.DEVNULL if target is None else subprocess.PIPE
    done = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise InputError(_last_line(done.stderr).removeprefix("betwixt: "))
    printed = done.stderr if target is None else done.stdout
    try:
        # Warnings of libraries may come first.
        summary: dict[str, Any] = json.loads(printed[printed.index("{\n") :])
    except ValueError:
        raise InputError(f"betwixt interpolate printed no summary, but: {_last_line(printed)}") from None
    return summary


def _run_minterpolate(source: Path, target: Path | None, rate: Fraction) -> int:
    """Convert a clip to a frame rate with ffmpeg; the number of frames in the output."""
    command = ["ffmpeg", "-y", "-v", "error", "-progress", "-", "-nostats", "-i", str(source)]
    command += ["-vf", f"minterpolate=mi_mode=mci:fps={rate}"]
    if target is not None:
        command += ["-c:v", "libx264", "-preset", "medium", "-crf", str(_CRF), "-c:a", "copy", str(target)]
    else:
        command += ["-f", "null", "-"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(f"ffmpeg cannot convert {source}: {_last_line(done.stderr)}")
    counts = [line.removeprefix("frame=") for line in done.stdout.splitlines() if line.startswith("frame=")]
    if not counts:
        raise InputError("This ffmpeg does not report how many frames it makes: install a newer one.")
    return int(counts[-1])


def _ffmpeg_version() -> str:
    done = subprocess.run(["ffmpeg", "-version"], capture_output=True, text=True, check=False)
    words = done.stdout.split()
    return words[2] if words[:2] == ["ffmpeg", "version"] and len(words) > 2 else ""


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it failed without a message"])[-1]


def _prepare_clip(clip: Path, target: Path, size: tuple[int, int] | None, seconds: float | None) -> tuple[int, int]:
    """Write the first seconds of a clip, scaled if a size is given, as H.264 without sound; returns the frame size."""
    try:
        with av.open(file_url(clip)) as source, av.open(file_url(target), "w") as out:
            stream = source.streams.video[0]
            rate = stream.average_rate or Fraction(25)
            copy = out.add_stream("libx264", rate=rate, options={"crf": "16", "preset": "fast"})
            copy.width, copy.height = size or (stream.width, stream.height)
            copy.pix_fmt = "yuv420p"
            for number, frame in enumerate(source.decode(stream)):
                if seconds is not None and number >= seconds * rate:
                    break
                scaled = frame.reformat(width=copy.width, height=copy.height, format="yuv420p", interpolation="BICUBIC")
                scaled.pts, scaled.time_base = number, 1 / rate
                out.mux(copy.encode(scaled))
            out.mux(copy.encode(None))
            return copy.width, copy.height
    except (av.error.FFmpegError, IndexError):
        raise InputError(f"{clip} is not a video that can be read.") from None

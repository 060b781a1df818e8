"""Whole conversions, timed beside ffmpeg's minterpolate in the same run: decode, make frames, encode, write.

Both double the clip's rate with the same encoder at the same settings (libx264, preset medium, crf 20), by turns, so
that what else the machine does falls on both. Every conversion is a process of its own, start included. Without an
encoder both decode, make frames, and throw them away: what making frames costs, whatever becomes of them.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from betwixt.errors import InputError, UsageError
from betwixt.machine import describe_machine
from betwixt.models.registry import model_info
from betwixt.runtime.load import hash_weights

__all__ = ["EndToEnd", "convert", "race", "scaled"]

QUALITY = 20


@dataclass(frozen=True)
class EndToEnd:
    """The outcome of a race.

    Attributes:
        model: Betwixt's model.
        width: Of the clip.
        height: Of the clip.
        encoder: What both encoded with; "none" if nothing was encoded.
        frames_in: Frames of the clip.
        new_frames: Frames that were made.
        rounds: New frames a second in each round, Betwixt's and minterpolate's.
        ours: New frames a second, the median.
        theirs: Likewise of minterpolate.
        ratio: Of these two.
        weights_hash: Of Betwixt's weights, "" if the model has none.
        ffmpeg: The version of ffmpeg.
        machine: See `machine.describe_machine`.
    """

    model: str
    width: int
    height: int
    encoder: str
    frames_in: int
    new_frames: int
    rounds: list[tuple[float, float]]
    ours: float
    theirs: float
    ratio: float
    weights_hash: str
    ffmpeg: str
    machine: str

    def as_dict(self) -> dict[str, Any]:
        """As plain numbers and texts."""
        return {**asdict(self), "rounds": [list(pair) for pair in self.rounds]}


def convert(source: Path, target: Path | None, *options: str) -> dict[str, Any]:
    """Double a clip's rate with Betwixt, in a process of its own; its summary. None throws the frames away."""
    command = [sys.executable, "-m", "betwixt.cli", "interpolate", str(source), "-" if target is None else str(target)]
    # The summary goes where the frames do not.
    out = subprocess.DEVNULL if target is None else subprocess.PIPE
    command += ["--json", "--overwrite", *options]
    done = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise InputError(_last_line(done.stderr).removeprefix("betwixt: "))
    told = done.stderr if target is None else done.stdout
    try:
        # Libraries may have warned before.
        summary: dict[str, Any] = json.loads(told[told.index("{\n") :])
    except ValueError:
        raise InputError(f"betwixt interpolate did not say what it did, but: {_last_line(told)}") from None
    return summary


def _minterpolate(source: Path, target: Path | None, rate: Fraction) -> int:
    """Likewise with ffmpeg; how many frames came out."""
    command = ["ffmpeg", "-y", "-v", "error", "-progress", "-", "-nostats", "-i", str(source)]
    command += ["-vf", f"minterpolate=mi_mode=mci:fps={rate}"]
    if target is not None:
        command += ["-c:v", "libx264", "-preset", "medium", "-crf", str(QUALITY), "-c:a", "copy", str(target)]
    else:
        command += ["-f", "null", "-"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(f"ffmpeg cannot convert {source}: {_last_line(done.stderr)}")
    counts = [line.removeprefix("frame=") for line in done.stdout.splitlines() if line.startswith("frame=")]
    if not counts:
        raise InputError("This ffmpeg does not say how many frames it makes: install a newer one.")
    return int(counts[-1])


def _ffmpeg_version() -> str:
    done = subprocess.run(["ffmpeg", "-version"], capture_output=True, text=True, check=False)
    words = done.stdout.split()
    return words[2] if words[:2] == ["ffmpeg", "version"] and len(words) > 2 else ""


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it failed without a word"])[-1]


def scaled(clip: Path, target: Path, width: int | None, height: int | None, seconds: float | None) -> Path:
    """The first seconds of a clip, at another size if one is given, as H.264 without sound."""
    try:
        with av.open(str(clip)) as source, av.open(str(target), "w") as out:
            stream = source.streams.video[0]
            rate = stream.average_rate or Fraction(25)
            copy = out.add_stream("libx264", rate=rate, options={"crf": "16", "preset": "fast"})
            copy.width, copy.height, copy.pix_fmt = width or stream.width, height or stream.height, "yuv420p"
            for number, frame in enumerate(source.decode(stream)):
                if seconds is not None and number >= seconds * rate:
                    break
                picture = frame.reformat(
                    width=copy.width, height=copy.height, format="yuv420p", interpolation="BICUBIC"
                )
                picture.pts, picture.time_base = number, 1 / rate
                out.mux(copy.encode(picture))
            out.mux(copy.encode(None))
    except (av.error.FFmpegError, IndexError):
        raise InputError(f"{clip} is not a video that can be read.") from None
    return target


def race(
    clip: Path,
    model: str,
    *,
    size: tuple[int, int] | None = None,
    seconds: float | None = None,
    rounds: int = 3,
    encode: bool = True,
    options: Sequence[str] = (),
    progress: Callable[[int, float, float], None] | None = None,
) -> EndToEnd:
    """Convert a clip with Betwixt and with minterpolate, by turns.

    Args:
        clip: A video.
        model: Betwixt's model.
        size: Width and height to bring the clip to first; None for its own.
        seconds: Only so much of the clip; None for all.
        rounds: How often each converts it.
        encode: Whether the frames are encoded; otherwise they are made and thrown away.
        options: More options of `betwixt interpolate`.
        progress: Called after each round with its number and the new frames a second of both.

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
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        width, height = size or (None, None)
        source = scaled(clip, folder / "in.mp4", width, height, seconds)
        ours, theirs, speeds = [], [], []
        for number in range(rounds):
            began = time.monotonic()
            coding = ("--quality", str(QUALITY), "--codec", "h264") if encode else ()
            summary = convert(source, folder / "a.mp4" if encode else None, "--model", model, *coding, *options)
            ours.append(time.monotonic() - began)
            new = summary["synthesized"]
            began = time.monotonic()
            frames = _minterpolate(source, folder / "b.mp4" if encode else None, Fraction(summary["rate"]))
            theirs.append(time.monotonic() - began)
            their_new = frames - summary["frames_in"]
            speeds.append((new / ours[-1], their_new / theirs[-1]))
            if progress is not None:
                progress(number + 1, *speeds[-1])
        with av.open(str(source)) as container:
            stream = container.streams.video[0]
            width, height = stream.width, stream.height
    our_speed, their_speed = (statistics.median(column) for column in zip(*speeds, strict=True))
    return EndToEnd(
        model,
        width,
        height,
        f"libx264 medium crf {QUALITY}" if encode else "none",
        summary["frames_in"],
        new,
        speeds,
        our_speed,
        their_speed,
        our_speed / their_speed,
        hash_weights(model, _given_weights(options)),
        _ffmpeg_version(),
        describe_machine(network=model_info(model).has_network),
    )


def _given_weights(options: Sequence[str]) -> Path | None:
    return Path(options[options.index("--weights") + 1]) if "--weights" in options else None

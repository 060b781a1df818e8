"""Compares two videos: metrics between their frames, and a video that shows both.

A, B ── frames by time (`paired_frames`) ──┬──► metrics of the frames that both have at the same moment
                                           └──► picture of both (`comparison_view`) ──► video, with the sound of A
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from betwixt.errors import UsageError
from betwixt.evaluation.comparison_video import ComparisonVideo, label_texts, limit_rate
from betwixt.evaluation.comparison_view import LAYOUTS, ComparisonView
from betwixt.evaluation.metrics import METRICS, Metric, select_metrics
from betwixt.evaluation.pair_scores import PairScorer, ScoreSummary
from betwixt.evaluation.paired_frames import PairedFrames
from betwixt.files import check_output, write_atomically
from betwixt.machine import available_cores
from betwixt.media.encoder_options import EncoderSettings
from betwixt.media.presentation import Presentation
from betwixt.media.probe import VideoInfo
from betwixt.media.source import VideoSource, open_source
from betwixt.media.timeline import nearest_rate, nominal_rate, parse_time

DEFAULT_METRICS = "psnr,ssim,ssimulacra2"

Seconds = str | float | Fraction
"""A time as a user writes it: 90.5, "00:01:30.500"."""


@dataclass(frozen=True)
class VideoComparison:
    """What a comparison found.

    Attributes:
        first: The name of the first video.
        second: The name of the second video.
        scores: By the name of the metric; empty if no frames were compared.
        compared: Number of pairs of frames that were compared.
        identical: How many of them have the same samples.
        output: The video that shows both; None if none was made.
        frames: Number of its frames.
        duration: How long both videos last, in seconds.
        seconds: How long the comparison took.
        notes: Remarks for the user.
        lost: What the output's container could not hold.
    """

    first: str
    second: str
    scores: dict[str, ScoreSummary]
    compared: int
    identical: int
    output: str | None
    frames: int
    duration: float
    seconds: float
    notes: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The values as JSON can hold them."""
        return asdict(self)


def compare_videos(
    first: str | Path,
    second: str | Path,
    target: str | Path | None = None,
    *,
    metrics: str = DEFAULT_METRICS,
    every: int = 1,
    csv: str | Path | None = None,
    layout: str | None = None,
    labels: Sequence[str] | None = None,
    start: Seconds | None = None,
    end: Seconds | None = None,
    shift: Seconds = 0,
    codec: str | None = None,
    quality: str | int | None = None,
    threads: int = 0,
    overwrite: bool = False,
    progress: Callable[[int, int | None], None] | None = None,
) -> VideoComparison:
    """Compare two videos, frame by frame.

    Frames are paired by the time at which they are shown, from the first frame of each video on. Metrics are of 8-bit
    RGB, of the frames that both videos have at the same moment.

    Args:
        first: A video, or a folder or pattern of images. It is the reference of metrics that have one.
        second: The other one.
        target: A video that shows both, with the sound of the first, or a GIF; None to make none.
        metrics: The names of metrics of single frames, with commas between them; "none" for none.
        every: Compare one of so many pairs of frames.
        csv: A file to write the scores of each frame to.
        layout: "side" for beside each other, "stack" for one above the other, "split" for half of each. Default: side.
        labels: What is written over the two. Default: the names of the files. Empty: nothing.
        start: Where to begin, in the first video.
        end: Where to stop.
        shift: How much later the second video begins, in seconds; negative if earlier.
        codec: The encoder of the output, as in `interpolate_video`.
        quality: The quality of the output.
        threads: Threads to use; 0 for one per core.
        overwrite: Replace an existing output.
        progress: Called with the number of moments done, and of all of them, None if unknown.

    Raises:
        UsageError: for a wrong argument, or videos of different sizes without a target.
        InputError: if a video cannot be read.
        OutputError: if the output cannot be written.

    Example:
        >>> import betwixt
        >>> comparison = betwixt.compare_videos("in.mp4", "in.mp4", metrics="psnr")
        >>> comparison.identical
        25
    """
    began = time.monotonic()
    selected = _select(metrics)
    path = None if target is None else Path(target)
    if path is None:
        _refuse_without_target(layout=layout, labels=labels, codec=codec, quality=quality)
    _check(path, csv, (first, second), layout, every, selected, threads, overwrite)
    begin, until = (None if value is None else parse_time(value) for value in (start, end))
    moved = _parse_shift(shift)
    moment = max(begin or Fraction(0), moved, Fraction(0))  # the first that both may have
    workers = threads or available_cores()
    with contextlib.ExitStack() as stack:
        one = _open(stack, workers, first, begin, until)
        there = [None if t is None else max(Fraction(0), t - moved) for t in (begin, until)]
        other = _open(stack, workers, second, *there)
        rate = limit_rate(_common_rate(one.info, other.info), path)
        length = _common_length(one.info, other.info, moved, until)
        notes = []
        if selected and (obstacle := _obstacle(one.info, other.info)) is not None:
            if path is None:
                raise UsageError(f"{obstacle}, so there are no metrics: name an output for a video of both.")
            if csv is not None:
                raise UsageError(f"{obstacle}, so there are no metrics: leave `csv` out.")
            notes.append(f"{obstacle}, so there are no metrics.")
            selected = []
        notes += _describe_rates(one.info, other.info, rate, bool(selected)) + _describe_ends(one, other, moved, length)
        scorer = PairScorer(selected, one.info, other.info, every, workers)
        stack.callback(scorer.close)
        video: ComparisonVideo | None = None
        if path is not None:
            view = ComparisonView(one.info, other.info, rate, layout or "side", label_texts(labels, first, second))
            notes += view.notes
            settings = EncoderSettings(codec, None if quality is None else str(quality), threads=workers)
            video = stack.enter_context(ComparisonVideo(path, view, one, moment, settings, overwrite))
        expected = None if length is None else max(1, round((length - moment) * rate))
        pairs = PairedFrames(one, other, rate, moment, until, moved, None if video is None else video.copy)
        count = _compare_frames(pairs, scorer, video, lambda done: progress(done, expected) if progress else None)
    if csv is not None:
        write_atomically(Path(csv), scorer.table())
    notes += [f"{reader.name} is damaged: {reader.damage}." for reader in (one, other) if reader.damage is not None]
    return VideoComparison(
        first=one.name,
        second=other.name,
        scores=scorer.summaries(),
        compared=len(scorer.times),
        identical=scorer.identical,
        output=None if path is None else str(path),
        frames=0 if video is None else video.frames,
        duration=float(count / rate),
        seconds=time.monotonic() - began,
        notes=(*notes, *(() if video is None else video.notes)),
        lost=() if video is None else tuple(video.lost),
    )


def _compare_frames(
    pairs: PairedFrames, scorer: PairScorer, video: ComparisonVideo | None, progress: Callable[[int], None]
) -> int:
    """Score all pairs and show them in the video; returns how many moments there were."""
    count = 0
    for count, pair in enumerate(pairs, start=1):
        scorer.push(pair)
        if video is not None:
            video.write(pair)
        if count % 5 == 0:
            progress(count)
    if not count:
        raise UsageError("The two videos have no moment in common: check `start`, `end` and `shift`.")
    scorer.finish()
    if video is not None:
        video.commit()
    return count


def _check(
    target: Path | None,
    csv: str | Path | None,
    sources: tuple[str | Path, str | Path],
    layout: str | None,
    every: int,
    metrics: list[Metric],
    threads: int,
    overwrite: bool,
) -> None:
    """Refuse wrong arguments, and outputs that must not or cannot be written."""
    if layout is not None and layout not in LAYOUTS:
        raise UsageError(f"`layout` is '{layout}': choose {', '.join(LAYOUTS[:-1])} or {LAYOUTS[-1]}.")
    if threads < 0:
        raise UsageError(f"The number of threads ({threads}) must not be negative.")
    if every < 1:
        raise UsageError(f"`every` is a number of frames: 1 or more, not {every}.")
    if csv is not None and not metrics:
        raise UsageError("There are no scores for `csv` without `metrics`: leave one of them out.")
    for output in (target, csv):
        for source in sources:
            if output is not None:
                check_output(Path(output), source, overwrite)


def _open(
    stack: contextlib.ExitStack, threads: int, source: str | Path, start: Fraction | None, end: Fraction | None
) -> VideoSource:
    reader = open_source(source, start=start, end=end, interlaced="ignore", threads=min(threads, 16))
    stack.callback(reader.close)
    return reader


def _select(names: str) -> list[Metric]:
    if names == "none":
        return []
    chosen = [name.strip() for name in names.split(",")]
    usable = [name for name, metric in METRICS.items() if metric.score is not None]
    for name in chosen:
        if name not in usable:
            raise UsageError(f"`metrics`: '{name}' is no metric of single frames: choose from {', '.join(usable)}.")
    return select_metrics(names)


def _refuse_without_target(**given: Any) -> None:
    for name, value in given.items():
        if value is not None:
            raise UsageError(f"`{name}` is for a video of both: name an output, or leave it out.")


def _parse_shift(shift: Seconds) -> Fraction:
    text = str(shift).strip()
    return -parse_time(text[1:], "shift") if text.startswith("-") else parse_time(text.removeprefix("+"), "shift")


def _common_rate(first: VideoInfo, second: VideoInfo) -> Fraction:
    """How many moments per second are compared: the higher of the two rates."""
    return nearest_rate(max(nominal_rate(info.rate) if info.variable else info.rate for info in (first, second)))


def _common_length(first: VideoInfo, second: VideoInfo, shift: Fraction, end: Fraction | None) -> Fraction | None:
    """The time at which the first of the two videos ends, or at which to stop; None if it is not known."""
    ends = [first.duration, None if second.duration is None else second.duration + shift, end]
    return min((moment for moment in ends if moment is not None), default=None)


def _describe_rates(first: VideoInfo, second: VideoInfo, rate: Fraction, compared: bool) -> list[str]:
    notes = []
    if first.rate != second.rate and compared:
        notes.append(
            f"The rates differ, {float(first.rate):.6g} and {float(second.rate):.6g} frames per second: frames are "
            "compared where both videos have one."
        )
    if first.variable or second.variable:
        notes.append(f"The rate varies: moments are compared at a constant {float(rate):.6g} per second.")
    return notes


def _describe_ends(first: VideoSource, second: VideoSource, shift: Fraction, length: Fraction | None) -> list[str]:
    """A note if one of the videos ends before the other, and before the moment at which to stop."""
    if first.info.duration is None or second.info.duration is None or length is None:
        return []
    ends = {first.name: first.info.duration, second.name: second.info.duration + shift}
    shorter = min(ends, key=lambda name: ends[name])
    difference = max(ends.values()) - ends[shorter]
    if ends[shorter] > length or difference <= 1 / min(first.info.rate, second.info.rate):
        return []
    return [f"{shorter} ends {float(difference):.2f} s before the other: the rest is left out."]


def _obstacle(first: VideoInfo, second: VideoInfo) -> str | None:
    """Why there are no metrics between two videos; None if there are."""
    a, b = (Presentation(info, keeps_hdr=True, keeps_aspect=True, video=True).info for info in (first, second))
    if (a.width, a.height) != (b.width, b.height):
        return f"The sizes differ ({a.width}x{a.height} and {b.width}x{b.height})"
    if a.colour.hdr != b.colour.hdr or (a.colour.hdr and a.colour.transfer != b.colour.transfer):
        return "One of the videos is HDR and the other is not, or of another kind"
    return None

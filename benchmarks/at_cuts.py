"""Compares the two values of `--at-cuts` at the cuts of video clips, where the truth is known.

    python benchmarks/at_cuts.py CLIP_OR_FOLDER ... [--interval 2] [--ends] [--worst 8] [--sheet DIR]

No one knows the frames between the last frame of a shot and the cut. So the clip is taken at a lower rate: of the last
frames a, b, c, d of a shot, a and c are kept, and d, which lies half of their interval after c, is the truth. At the
beginning of a shot the same is done backward in time. "hold" repeats c. "continue" makes d from a and c, or repeats c
where it does not trust the motion. `--interval N` keeps every Nth frame: all frames up to half an interval from c are
compared. At a higher N motion is faster. `--ends` also counts the first and last frames of the clips as cuts.

Cuts are those that conversions find. Printed are the mean PSNR over RGB, in dB, how often each is the better one, and
the cases with the largest losses. Cases in which c equals d are counted apart. `--sheet DIR` writes crops of these,
unscaled: the truth, c, and the continued frame, where the latter two differ most.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from betwixt.evaluation.metrics import psnr
from betwixt.media.reader import Frame, Reader
from betwixt.media.scenes import CutDetector, make_thumbnail
from betwixt.models.dis.interpolator import DIS
from betwixt.runtime.synthesis import PairSynthesis, SourceFrame, Synthesizer

MOST = 50.0
"""A higher PSNR counts as this one: no difference can be seen."""

CROP = 200, 300
"""Height and width of a crop."""


@dataclass(frozen=True)
class Case:
    """A frame to be made: the numbers of the two frames that are given and of the truth, and where it lies."""

    first: int
    second: int
    truth: int
    distance: Fraction

    @property
    def side(self) -> str:
        return "after the end" if self.second > self.first else "before the start"


@dataclass(frozen=True)
class Result:
    """The PSNR of both ways in dB, and whether the motion was trusted."""

    clip: str
    case: Case
    hold: float
    proceed: float
    trusted: bool
    images: tuple[NDArray[np.uint8], ...]


def decoded(path: Path) -> Iterator[av.VideoFrame]:
    """The frames of a clip."""
    with Reader(path, interlaced="ignore") as reader:
        yield from (item.video for item in reader if isinstance(item, Frame))


def find_shots(path: Path) -> list[tuple[int, int, bool, bool]]:
    """The number of the first frame of each shot and that after its last, and whether there is a cut at each."""
    detector, cuts = CutDetector(), []
    for video in decoded(path):
        cuts += detector.push(make_thumbnail(video))
    cuts += detector.flush()
    borders = [0, *(index for index, cut in enumerate(cuts) if cut), len(cuts)]
    return [(begin, end, begin > 0, end < len(cuts)) for begin, end in pairwise(borders)]


def find_cases(path: Path, interval: int, ends: bool) -> list[Case]:
    """The cases of a clip."""
    most = max(1, interval // 2)
    cases = []
    for begin, end, cut_before, cut_after in find_shots(path):
        if end - begin <= most + interval:
            continue
        last, first = end - 1 - most, begin + most
        for step in range(1, most + 1):
            if cut_after or ends:
                cases.append(Case(last - interval, last, last + step, Fraction(step, interval)))
            if cut_before or ends:
                cases.append(Case(first + interval, first, first - step, Fraction(step, interval)))
    return cases


def measure(path: Path, interval: int, ends: bool) -> Iterator[Result | None]:
    """Both ways of all cases of a clip; None for one in which nothing moves."""
    cases = find_cases(path, interval, ends)
    needed = {number for case in cases for number in (case.first, case.second, case.truth)}
    videos = {number: video for number, video in enumerate(decoded(path)) if number in needed}
    if not videos:
        return
    with Reader(path, interlaced="ignore") as reader:
        synthesizer = Synthesizer(DIS(), next(iter(videos.values())), reader.info.colour)

    def image(source: SourceFrame) -> NDArray[np.uint8]:
        return np.rint(np.clip(source.rgb, 0, 1) * 255).astype(np.uint8)

    for case in cases:
        first, second, truth = (synthesizer.source(videos[n]) for n in (case.first, case.second, case.truth))
        if np.array_equal(image(second), image(truth)):
            yield None
            continue
        pair = PairSynthesis(synthesizer, first, second)
        made, trusted = second, pair.can_continue()
        if trusted:
            made = synthesizer.source(pair.move_second([case.distance])[0])
        images = image(truth), image(second), image(made)
        hold, proceed = (min(psnr(image, images[0]), MOST) for image in images[1:])
        yield Result(path.stem, case, hold, proceed, trusted, images)


def summarize(name: str, results: list[Result]) -> str:
    """A row of the table."""
    hold, proceed = (np.array([getattr(r, key) for r in results]) for key in ("hold", "proceed"))
    gain, trusted = proceed - hold, np.array([r.trusted for r in results])
    return (
        f"{name:22} {len(results):6} {trusted.sum():10} {hold.mean():7.2f} {proceed.mean():9.2f} {gain.mean():+6.2f} "
        f"{np.mean(gain > 0):7.0%} {np.mean(gain < 0):6.0%} {gain.min():+7.2f}"
    )


def write_sheet(path: Path, result: Result) -> None:
    """Write the truth, the held frame and the continued one, where the two differ most."""
    truth, held, made = result.images
    height, width = (min(side, full) for side, full in zip(CROP, truth.shape[:2], strict=True))
    error = cv2.boxFilter(np.abs(made.astype(np.float32) - held).mean(2), -1, (width, height))
    top, left = height // 2, width // 2
    inside = error[top : error.shape[0] - height + top + 1, left : error.shape[1] - width + left + 1]
    y, x = np.unravel_index(np.argmax(inside), inside.shape)
    crops = [image[y : y + height, x : x + width] for image in (truth, held, made)]
    gap = np.full((height, 4, 3), 255, np.uint8)
    row = np.hstack([crops[0], gap, crops[1], gap, crops[2]])
    cv2.imwrite(str(path), cv2.cvtColor(row, cv2.COLOR_RGB2BGR))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="+", type=Path, help="videos, or folders of .mp4 files")
    parser.add_argument("--interval", type=int, default=2, help="keep every Nth frame")
    parser.add_argument("--ends", action="store_true", help="also the first and last frames of clips")
    parser.add_argument("--worst", type=int, default=8, help="how many of the largest losses to list")
    parser.add_argument("--sheet", type=Path, help="a folder for crops of these")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    paths = [clip for path in arguments.clips for clip in ([path] if path.is_file() else sorted(path.glob("*.mp4")))]
    results: list[Result] = []
    still = 0
    for path in paths:
        for result in measure(path, arguments.interval, arguments.ends):
            still += result is None
            results += [] if result is None else [result]
    print(f"{'':22} {'cases':>6} {'continued':>10} {'hold':>7} {'continue':>9} {'gain':>6}  better  worse   worst")
    for side in ("after the end", "before the start"):
        print(summarize(side, [r for r in results if r.case.side == side]))
    print(summarize("both", results))
    for clip in sorted({r.clip for r in results}):
        print(summarize(f"  {clip}"[:22], [r for r in results if r.clip == clip]))
    print(f"In {still} cases nothing moves: both repeat the frame.")
    for number, r in enumerate(sorted(results, key=lambda r: r.proceed - r.hold)[: arguments.worst]):
        print(f"{r.proceed - r.hold:+.2f} dB: {r.clip}, frame {r.case.truth}, hold {r.hold:.2f}, {r.case.side}")
        if arguments.sheet:
            arguments.sheet.mkdir(parents=True, exist_ok=True)
            write_sheet(arguments.sheet / f"{number:02d}-{r.clip}-{r.case.truth}.png", r)


if __name__ == "__main__":
    main()

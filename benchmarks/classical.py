"""Measures the models without a network: quality at half the rate of real videos, and the time of a new frame.

    python benchmarks/classical.py ../shared/data/eval/davis_dev [--model fast,dis] [--size 1280x720] [--threads 2]

ROOT holds folders of consecutive frames. Quality: the first 40 frames of each folder as a 4:2:0 clip of 8 bits. The odd
frames are made from the even ones, and the even ones from the odd ones, as a conversion makes them, with the paths of
the neighbouring pairs. The PSNR is over RGB, against the frame of the clip; the sharpness is that of `betwixt
evaluate`. `betwixt evaluate --dataset frames` makes each frame from the frames right before and after it, too, but from
RGB images, from all frames of a folder, and without other neighbours unless `--paths curved` says so.

Time: frames of the same clips, scaled to --size, are in memory; every odd one is made from the even ones and thrown
away. Wall time with --threads threads, and processor time. `second t` is the processor time of a second frame of the
same pair, as a share of that of the first.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from betwixt import load_model
from betwixt.evaluation.metrics import psnr, sharpness
from betwixt.machine import describe_machine
from betwixt.media.colour import Colour
from betwixt.models.base import Interpolator
from betwixt.runtime.synthesis import PairSynthesis, Synthesizer
from betwixt.runtime.threads import one_frame_per_thread

_FRAMES = 40
_MIDDLE = Fraction(1, 2)


def read_clips(root: Path, size: tuple[int, int] | None = None) -> list[list[av.VideoFrame]]:
    """The first frames of each folder of `root` as 4:2:0 video, scaled to `size` (width, height)."""
    clips = []
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        clip = []
        for path in sorted(folder.iterdir())[:_FRAMES]:
            image = cv2.imread(str(path))
            if image is None:
                raise SystemExit(f"{path} is no image: ROOT has to hold folders of consecutive frames.")
            image = image if size is None else cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="bgr24")
            clip.append(frame.reformat(format="yuv420p", dst_colorspace="itu709"))
        clips.append(clip)
    return clips


def make_pairs(model: Interpolator, clip: list[av.VideoFrame]) -> Iterator[PairSynthesis]:
    """The pairs of successive frames of a clip, each linked to its neighbours, as in a conversion."""
    synthesizer = Synthesizer(model, clip[0], Colour(matrix=1))
    frames = map(synthesizer.source, clip)
    pairs = (PairSynthesis(synthesizer, *two) for two in itertools.pairwise(frames))
    previous = next(pairs)
    for pair in pairs:
        pair.link_previous(previous, 1.0, 1.0)
        yield previous
        previous = pair
    yield previous


def to_rgb(frame: av.VideoFrame) -> NDArray[np.uint8]:
    """The RGB image (H, W, 3) of a frame."""
    return np.asarray(frame.reformat(format="rgb24", src_colorspace="itu709").to_ndarray(), np.uint8)


def measure_quality(model: Interpolator, clips: list[list[av.VideoFrame]]) -> tuple[float, float, int]:
    """The mean PSNR and the median sharpness of the new frames, and their number."""
    scores = []
    for clip, parity in itertools.product(clips, (0, 1)):
        truths = clip[1 + parity :: 2]
        for pair, truth in zip(make_pairs(model, clip[parity::2]), truths, strict=False):
            (made,) = pair.synthesize([_MIDDLE])
            images = to_rgb(made), to_rgb(truth)
            scores.append((psnr(*images), sharpness(*images)))
    quality, detail = np.array(scores).T
    return float(quality.mean()), float(np.median(detail)), len(scores)


def measure_time(
    model: Interpolator, clips: list[list[av.VideoFrame]], threads: int, times: list[Fraction]
) -> tuple[float, float]:
    """Wall and processor time, in ms, of making the frames at `times` of a pair."""
    work = [pair for clip in clips for pair in make_pairs(model, clip[::2])]
    with one_frame_per_thread(model, threads), ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda pair: pair.synthesize(times), make_pairs(model, clips[0][:6:2])))  # warms up
        wall, processor = time.perf_counter(), time.process_time()
        for _ in pool.map(lambda pair: pair.synthesize(times), work):
            pass
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
    return wall / len(work) * 1e3, processor / len(work) * 1e3


def main() -> None:
    """Parse the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--model", default="fast,dis")
    parser.add_argument("--size", default="1280x720")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3, help="the fastest of so many rounds counts")
    arguments = parser.parse_args()
    width, height = map(int, arguments.size.split("x"))
    print(describe_machine())
    clips, scaled = read_clips(arguments.root), read_clips(arguments.root, (width, height))
    models = {name: load_model(name) for name in arguments.model.split(",")}
    times: dict[str, list[tuple[float, float, float]]] = {name: [] for name in models}
    for _ in range(arguments.rounds):  # by turns, so that all see the same load
        for name, model in models.items():
            wall, processor = measure_time(model, scaled, arguments.threads, [_MIDDLE])
            _, both = measure_time(model, scaled, arguments.threads, [Fraction(1, 3), Fraction(2, 3)])
            times[name].append((wall, processor, both / processor - 1))
    print(f"{arguments.size}, {arguments.threads} threads; wall and processor time of a new frame in ms")
    print("| model | PSNR, dB | sharpness | frames | wall | processor | second t |\n|---|---|---|---|---|---|---|")
    for name, model in models.items():
        quality, detail, count = measure_quality(model, clips)
        wall, processor, second = np.min(times[name], axis=0)
        print(f"| {name} | {quality:.2f} | {detail:.3f} | {count} | {wall:.1f} | {processor:.1f} | {second:.0%} |")


if __name__ == "__main__":
    main()

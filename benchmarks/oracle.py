"""What each motion of `hybrid-large` could give: an oracle that knows the true frame chooses between them.

    python benchmarks/oracle.py ../shared/data/eval/davis_dev --dataset frames --every 12
    python benchmarks/oracle.py ../shared/data/eval/middlebury_other --dataset middlebury

Each hypothesis is a frame: that of `dis` with both efforts of the search, that of RIFE's motion estimated at several
multiples of the network size, and that of each network given by `--model NAME=WEIGHTS`. The oracle takes, at each
pixel, the hypothesis with the least squared error over the `--window` around it: no method that chooses between these
hypotheses can score more. `gain` is what the oracle of all would lose, in dB, without the hypothesis. The models of
`--compare`, which do not know the truth, are scored beside it. All run in float32.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from betwixt import load_model
from betwixt.evaluation.datasets import DatasetOptions, open_dataset
from betwixt.evaluation.metrics import Image8, ie, psnr, to_uint8
from betwixt.layers.motion import FrameMotion
from betwixt.layers.planes import synthesize_planes
from betwixt.models.base import Interpolator
from betwixt.models.compact.interpolator import sigmoid
from betwixt.models.dis.interpolator import DIS
from betwixt.models.hybrid.config import rife_size
from betwixt.models.hybrid.interpolator import HybridInterpolator, resize_motion

Frame = NDArray[np.float32]
Method = Callable[[Frame, Frame, float], Frame]


def from_model(model: Interpolator) -> Method:
    """The frames of a model."""
    return lambda first, second, t: np.asarray(model.prepare(first, second).at(t), np.float32)


def from_rife(hybrid: HybridInterpolator, scale: float) -> Method:
    """RIFE's motion at a multiple of the frame size, with bicubic warps of the frames."""

    def make(first: Frame, second: Frame, t: float) -> Frame:
        height, width = first.shape[:2]
        h, w = rife_size(height, width, scale)
        images = [np.asarray(cv2.resize(x, (w, h), interpolation=cv2.INTER_CUBIC)) for x in (first, second)]
        motion = resize_motion(hybrid.rife(images[0], images[1], t), height, width)
        to_0, to_1 = (np.ascontiguousarray(flow.transpose(1, 2, 0)) for flow in (motion[:2], motion[2:4]))
        frame_motion = FrameMotion(to_0, to_1, sigmoid(motion[4]))
        return np.asarray(synthesize_planes([first], [second], frame_motion, (height, width))[0])

    return make


def local_error(frame: Image8, truth: Image8, window: int) -> Frame:
    """The mean squared error around each pixel, (H, W)."""
    squared = np.square(frame.astype(np.float32) - truth).sum(2)
    return np.asarray(cv2.blur(squared, (window, window), borderType=cv2.BORDER_REPLICATE))


def combine(frames: Sequence[Image8], errors: Sequence[Frame]) -> Image8:
    """At each pixel the frame with the least error."""
    best = np.argmin(errors, axis=0)
    return np.asarray(np.take_along_axis(np.stack(frames), best[None, ..., None], axis=0)[0])


def main() -> None:
    """Score every hypothesis, the oracles and the models on a data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--dataset", default="frames")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--window", type=int, default=17, help="the side of the window, in pixels")
    parser.add_argument("--scales", default="1,1.25,1.5,2", help="multiples of the frame size at which RIFE runs")
    parser.add_argument("--model", action="append", default=[], metavar="NAME=WEIGHTS", help="a further hypothesis")
    parser.add_argument("--compare", default="hybrid,hybrid-psnr,hybrid-large")
    options = parser.parse_args()

    hybrid = load_model("hybrid", precision="fp32")
    assert isinstance(hybrid, HybridInterpolator)
    methods = {"dis": from_model(DIS()), "dis, thorough": from_model(DIS(effort="thorough"))}
    methods |= {f"RIFE at {text}": from_rife(hybrid, float(text)) for text in options.scales.split(",")}
    for given in options.model:
        name, _, weights = given.partition("=")
        methods[name] = from_model(load_model(name, weights=weights or None, precision="fp32"))
    compared = {
        name: from_model(load_model(name, precision="fp32")) for name in filter(None, options.compare.split(","))
    }

    scores: dict[str, list[tuple[float, float]]] = {}
    for number, sample in enumerate(open_dataset(options.dataset, options.root, DatasetOptions()).samples()):
        if (number if sample.place is None else sample.place) % options.every:
            continue
        images = sample.load()
        first, second = (x.astype(np.float32) / np.float32(255) for x in (images.first, images.second))
        t, truth = sample.times[0], images.truths[0]

        def score(name: str, frame: Any, truth: Image8 = truth) -> None:
            scores.setdefault(name, []).append((psnr(frame, truth), ie(frame, truth)))

        frames = {name: to_uint8(method(first, second, t)) for name, method in methods.items()}
        errors = {name: local_error(frame, truth, options.window) for name, frame in frames.items()}
        for name, frame in frames.items():
            score(name, frame)
            others = [other for other in frames if other != name]
            score(f"oracle without {name}", combine([frames[x] for x in others], [errors[x] for x in others]))
        score("oracle of all", combine(list(frames.values()), list(errors.values())))
        for name, method in compared.items():
            score(name, to_uint8(method(first, second, t)))

    best = np.mean(scores["oracle of all"], axis=0)
    print(f"{len(scores['oracle of all'])} frames, window {options.window}")
    print(f"{'':20} {'PSNR':>6} {'IE':>5}  {'gain':>5}")
    for name in (*methods, "oracle of all", *compared):
        decibels, error = np.mean(scores[name], axis=0)
        gain = f"{best[0] - np.mean(scores[f'oracle without {name}'], axis=0)[0]:5.2f}" if name in methods else ""
        print(f"{name:20} {decibels:6.2f} {error:5.2f}  {gain}")


if __name__ == "__main__":
    main()

"""Looks for grids of dots in new frames: patterns that alternate from pixel to pixel.

    python benchmarks/grid.py ../shared/data/eval/davis_dev [--every 12] [--model dis,compact,hybrid]

A network whose last layer shuffles channels into pixels, or whose motions disagree, can leave a pattern with a period
of two pixels. For each model and pattern (checkerboard, columns, rows) this prints the energy near that frequency,
relative to that of the true frame: the median over frames, and the largest. 1 is as much as there should be; blurred
frames have less. Models run as in conversions.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

import betwixt
from betwixt.evaluation.datasets import DatasetOptions, open_dataset

PATTERNS = ("checkerboard", "columns", "rows")


def energies(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The energy of each of `PATTERNS` in the luma of an image."""
    luma = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float64)
    detail = luma - cv2.GaussianBlur(luma, (0, 0), 1.5)
    y, x = np.mgrid[: luma.shape[0], : luma.shape[1]]
    carriers = ((-1.0) ** (x + y), (-1.0) ** x, (-1.0) ** y)
    # Multiplied by the pattern, it becomes constant, and all else alternates and is averaged out.
    return np.array([np.square(cv2.GaussianBlur(detail * carrier, (0, 0), 2)).mean() for carrier in carriers])


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="a folder of folders of consecutive frames")
    parser.add_argument("--every", type=int, default=12)
    parser.add_argument("--model", default="dis,compact,rife-4.6,hybrid,hybrid-large,hybrid-psnr")
    options = parser.parse_args()
    models = {name: betwixt.load_model(name) for name in options.model.split(",")}
    ratios: dict[str, list[NDArray[np.float64]]] = {name: [] for name in models}
    for sample in open_dataset("frames", options.root, DatasetOptions()).samples():
        if sample.place is None or sample.place % options.every:
            continue
        images = sample.load()
        truth = energies(images.truths[0])
        for name, model in models.items():
            (frame,) = model.between(images.first, images.second, [0.5])
            ratios[name].append(energies(np.asarray(frame, np.uint8)) / truth)
    print(f"{'':16}" + "".join(f"{pattern:>20}" for pattern in PATTERNS))
    for name, found in ratios.items():
        middle, most = np.median(found, axis=0), np.max(found, axis=0)
        print(f"{name:16}" + "".join(f"{f'{a:.2f}, at most {b:.2f}':>20}" for a, b in zip(middle, most, strict=True)))


if __name__ == "__main__":
    main()

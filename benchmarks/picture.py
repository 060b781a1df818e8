"""Draws docs/images/between.jpg: two frames, and the frame between them by averaging, by Betwixt, and rendered.

    python benchmarks/picture.py docs/images/between.jpg [--model auto] [--time 1.35] [--rate 8]

The scene is that of the sample clip (`examples/sample.py`), which can be rendered at any time: the ground truth.
"""

from __future__ import annotations

import argparse
import sys
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

import betwixt

sys.path.append(str(Path(__file__).parents[1] / "examples"))
from sample import render

Image = NDArray[np.uint8]


def psnr(a: Image, b: Image) -> float:
    """Peak signal-to-noise ratio in dB, over all samples."""
    error = np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2)
    return float(10 * np.log10(255**2 / error))


def add_caption(image: Image, text: str) -> Image:
    """Add a caption below an image."""
    strip = np.full((34, image.shape[1], 3), 255, np.uint8)
    cv2.putText(strip, text, (6, 23), cv2.FONT_HERSHEY_SIMPLEX, 0.55, (30, 30, 30), 1, cv2.LINE_AA)
    return np.vstack([image, strip])


def main() -> None:
    """Write the sheet and print the PSNR of each result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--model", default="auto")
    parser.add_argument("--time", type=Fraction, default=Fraction("1.35"))
    parser.add_argument("--rate", type=Fraction, default=Fraction(8))
    arguments = parser.parse_args()
    size = {"width": 960, "height": 540}
    step = 1 / arguments.rate
    first, truth, second = (render(arguments.time + k * step / 2, **size) for k in range(3))
    model = betwixt.load_model(arguments.model)
    (new,) = model.between(first, second, [0.5])
    average = ((first.astype(np.uint16) + second) // 2).astype(np.uint8)
    # Show in detail the part where averaging is worst.
    error = cv2.blur(np.abs(average.astype(np.float32) - truth).mean(axis=2), (200, 150))
    error[:75], error[-75:], error[:, :120], error[:, -120:] = 0, 0, 0, 0
    y, x = np.unravel_index(np.argmax(error), error.shape)
    window = slice(y - 75, y + 75), slice(x - 120, x + 120)
    top = [add_caption(p, t) for p, t in ((first, "source frame"), (new, f"new frame ({model.name})"))]
    top.append(add_caption(second, "next source frame"))
    results = {"averaging": average, f"betwixt, {model.name}": new, "truth": truth}
    bottom = []
    for name, image in results.items():
        zoomed = cv2.resize(image[window], (960, 600), interpolation=cv2.INTER_CUBIC)
        note = "" if name == "truth" else f": {psnr(image, truth):.1f} dB"
        bottom.append(add_caption(zoomed, name + note))
        if note:
            print(f"{name}{note}")
    gap = np.full((top[0].shape[0], 8, 3), 255, np.uint8)
    row_1 = np.hstack([top[0], gap, top[1], gap, top[2]])
    gap = np.full((bottom[0].shape[0], 8, 3), 255, np.uint8)
    row_2 = np.hstack([bottom[0], gap, bottom[1], gap, bottom[2]])
    sheet = cv2.resize(np.vstack([row_1, row_2]), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(arguments.output), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 92])
    print(arguments.output)


if __name__ == "__main__":
    main()

"""Compare a clip at a low frame rate with the same clip interpolated: one GIF, before on the left, after on the right.

    python examples/side_by_side.py CLIP OUT.gif [--keep 4] [--start 2] [--seconds 2] [--width 300]

Every `--keep`-th frame of the clip is kept, and Betwixt makes the frames in between again.
"""

from __future__ import annotations

import argparse
import tempfile
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

import betwixt

Image = NDArray[np.uint8]

MARGIN = 4
"""Pixels between the two halves."""


def read(clip: Path, keep: int, start: float, seconds: float) -> tuple[list[Image], Fraction]:
    """Every `keep`-th frame of a part of the clip, as BGR images, and their rate."""
    with av.open(clip) as container:
        stream = container.streams.video[0]
        rate = stream.average_rate
        assert rate is not None
        first, last = int(start * rate), int((start + seconds) * rate)
        frames = [
            frame.to_ndarray(format="bgr24")
            for index, frame in enumerate(container.decode(stream))
            if first <= index <= last and (index - first) % keep == 0
        ]
    return frames, rate / keep


def resize(image: Image, width: int) -> Image:
    """The image at another width, its aspect ratio kept, with even sides."""
    height = round(image.shape[0] * width / image.shape[1] / 2) * 2
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


def label(image: Image, text: str) -> Image:
    """The image with white text on a dark box in its lower left corner."""
    image = image.copy()
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.45, 1)
    bottom = image.shape[0]
    image[bottom - height - 10 :, : width + 10] = 40
    place = (5, bottom - 5)
    return cv2.putText(image, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 255, 255), 1, cv2.LINE_AA)


def main() -> None:
    """Write the GIF."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--keep", type=int, default=4, help="keep one frame of so many")
    parser.add_argument("--start", type=float, default=0, help="where to begin, in seconds")
    parser.add_argument("--seconds", type=float, default=2, help="how much of the clip to take")
    parser.add_argument("--width", type=int, default=300, help="the width of each half, in pixels")
    parser.add_argument("--model", default="auto")
    options = parser.parse_args()

    before, rate = read(options.clip, options.keep, options.start, options.seconds)
    with tempfile.TemporaryDirectory() as name:
        source, target, both = Path(name, "source"), Path(name, "target"), Path(name, "both")
        source.mkdir()
        both.mkdir()
        for index, image in enumerate(before):
            cv2.imwrite(str(source / f"{index:04d}.png"), image)
        betwixt.interpolate_video(source, target, factor=options.keep, input_fps=rate, model=options.model)
        # The last source frame has no successor: what follows it only repeats it.
        after = sorted(target.glob("*.png"))[: (len(before) - 1) * options.keep]
        for index, path in enumerate(after):
            left = label(resize(before[index // options.keep], options.width), f"{float(rate):.2g} fps")
            right = resize(cv2.imread(str(path)), options.width)
            right = label(right, f"{float(rate * options.keep):.2g} fps, Betwixt")
            gap = np.full((left.shape[0], MARGIN, 3), 255, np.uint8)
            cv2.imwrite(str(both / f"{index:04d}.png"), np.hstack([left, gap, right]))
        # At the same rate, frames pass unchanged: only the format changes.
        betwixt.interpolate_video(both, options.output, factor=1, input_fps=rate * options.keep, overwrite=True)


if __name__ == "__main__":
    main()

"""Draws the figures of docs/how-to/blur-and-extrapolate.md and docs/how-to/realtime.md.

    python benchmarks/effects.py docs/images [--model dis]

writes extrapolation.jpg, blur.jpg and realtime.png, and prints the figures in them. The scene is that of the sample
clip, which can be rendered at any time, so the truth is known: for blur, the mean of the light of 128 moments.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

import betwixt
from betwixt.media.transfer import transfer_of
from betwixt.pipeline.blur import blur_video
from betwixt.realtime.session import simulate_video

sys.path.append(str(Path(__file__).parents[1] / "examples"))
from sample import make_sample, render

Image = NDArray[np.uint8]

SIZE = {"width": 960, "height": 540}


def psnr(a: Image, b: Image) -> float:
    """Peak signal-to-noise ratio in dB, over all samples."""
    error = np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2)
    return float(10 * np.log10(255**2 / error))


def add_caption(image: Image, text: str) -> Image:
    """Add a caption below an image."""
    strip = np.full((34, image.shape[1], 3), 255, np.uint8)
    cv2.putText(strip, text, (6, 23), cv2.FONT_HERSHEY_SIMPLEX, 0.55, (30, 30, 30), 1, cv2.LINE_AA)
    return np.vstack([image, strip])


def sheet(path: Path, figures: dict[str, Image], truth: Image, window: tuple[slice, slice]) -> None:
    """Write images side by side, complete and in detail, with their PSNR against the truth."""
    rows: list[list[Image]] = [[], []]
    for name, image in figures.items():
        note = "" if image is truth else f": {psnr(image, truth):.1f} dB"
        print(f"{path.stem}: {name}{note}")
        half = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        rows[0].append(add_caption(half, name + note))
        detail = cv2.resize(image[window], (480, 300), interpolation=cv2.INTER_CUBIC)
        rows[1].append(add_caption(detail, ""))
    gap = [np.full((row[0].shape[0], 6, 3), 255, np.uint8) for row in rows]
    lines = [np.hstack([part for cell in row for part in (cell, space)]) for row, space in zip(rows, gap, strict=True)]
    data = cv2.imencode(".jpg", cv2.cvtColor(np.vstack(lines), cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 90])[1]
    path.write_bytes(data.tobytes())
    print(path)


def most_different(a: Image, b: Image) -> tuple[slice, slice]:
    """The 240x150 pixels in which two images differ most."""
    error = cv2.blur(np.abs(a.astype(np.float32) - b).mean(axis=2), (240, 150))
    error[:75], error[-75:], error[:, :120], error[:, -120:] = 0, 0, 0, 0
    y, x = np.unravel_index(np.argmax(error), error.shape)
    return slice(int(y) - 75, int(y) + 75), slice(int(x) - 120, int(x) + 120)


def extrapolation(folder: Path, time: Fraction, rate: Fraction) -> None:
    """Draw the extrapolated next frame beside the last frame and the truth."""
    first, last, truth = (render(time + k / rate, **SIZE) for k in range(3))
    (made,) = betwixt.load_model("dis").extrapolate(first, last, 1)
    plain = betwixt.load_model("dis-midpoint").extrapolate(first, last, 1)[0]
    figures = {"the last frame again": last, "linear continuation of DIS": plain, "betwixt": made, "truth": truth}
    sheet(folder / "extrapolation.jpg", figures, truth, most_different(last, truth))


def blur_middle(model: str, frames: Sequence[Image], rate: Fraction, shutter: int) -> Image:
    """Return the middle frame with motion blur."""
    with tempfile.TemporaryDirectory() as place:
        source, target = Path(place, "in"), Path(place, "out")
        source.mkdir()
        for number, image in enumerate(frames):
            cv2.imwrite(str(source / f"{number:03d}.png"), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        blur_video(source, target, shutter=shutter, model=model, input_fps=rate)
        middle = sorted(target.iterdir())[len(frames) // 2]
        return np.asarray(cv2.cvtColor(cv2.imread(str(middle)), cv2.COLOR_BGR2RGB), np.uint8)


def blur(folder: Path, model: str, time: Fraction, rate: Fraction) -> None:
    """Draw a frame without blur, with blur, and as a shutter records it."""
    shutter, moments = 360, 128
    frames = [render(time + (k - 1) / rate, **SIZE) for k in range(3)]
    made = blur_middle(model, frames, rate, shutter)
    transfer = transfer_of(13)
    light = np.zeros(frames[1].shape, np.float64)
    for k in range(moments):
        moment = time + (Fraction(2 * k + 1, 2 * moments) - Fraction(1, 2)) * Fraction(shutter, 360) / rate
        light += transfer.to_light(render(moment, **SIZE).astype(np.float32) / np.float32(255))
    truth = np.rint(transfer.from_light(light / moments) * 255).astype(np.uint8)
    sheet(
        folder / "blur.jpg",
        {"source": frames[1], f"blurred ({model}), {shutter} degrees": made, "truth": truth},
        truth,
        most_different(frames[1], truth),
    )


def call(folder: Path, model: str) -> None:
    """Draw the plot of a simulated call."""
    with tempfile.TemporaryDirectory() as place:
        clip = make_sample(Path(place, "sample.mp4"), width=640, height=360, rate=Fraction(24), seconds=2)
        result = simulate_video(clip, Path(place, "call"), model=model, network="loss", seed=2, limit=48)
        for row in result.rows:
            print(f"realtime: {row['scheme']}: {row['psnr']} dB, flicker {row['flicker']}, {row['delay_ms']} ms")
        shutil.copyfile(Path(place, "call", "comparison.png"), folder / "realtime.png")
    print(folder / "realtime.png")


def main() -> None:
    """Draw all figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="dis")
    parser.add_argument("--time", type=Fraction, default=Fraction("1.35"))
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    extrapolation(arguments.folder, arguments.time, Fraction(12))
    blur(arguments.folder, arguments.model, arguments.time, Fraction(8))
    call(arguments.folder, arguments.model)


if __name__ == "__main__":
    main()

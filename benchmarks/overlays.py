"""Measures what detecting overlays gains and costs.

    python benchmarks/overlays.py CLIP.. [--model dis] [--frames 24] [--images FOLDER]

Draws overlays over clips, leaves every second frame out, interpolates it with overlays "auto" and "off", and prints the
PSNR (dB, RGB) against the frame that was left out: *inside* the overlay, *around* it (up to 12 pixels from it) and in
the *rest* of the frame; and the least gain that a single frame has inside. The sources are encoded by H.264, since
coding noise is what detection has to live with. The last lines of each clip are without an overlay: there both have to
be equal. `--images` saves the frame of each overlay that changed most. `--time` prints the processor time of each step
at 1280x720 instead.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

import betwixt
from betwixt.layers.overlays import Overlay
from betwixt.media.frames import planes
from betwixt.media.overlays import LOOK_AHEAD, RUN, OverlayView, find_overlays

Image = NDArray[np.uint8]
Layer = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Opacity (H, W, 1) in [0, 1], and colour (H, W, 3) in [0, 255]."""

SCALE = 4
"""Overlays are drawn at this multiple of their size, for antialiased edges."""

LINES = ("Why did you leave the door open?", "I thought that you had the key.")


def text(size: tuple[int, int], lines: Sequence[str], height: float, bottom: float, shift: float = 0) -> Layer:
    """White letters with a black outline, centred; `height`, `bottom` and `shift` in parts of the frame's height."""
    h, w = (side * SCALE for side in size)
    fill = np.zeros((h, w), np.uint8)
    scale = height * h / 30
    for number, line in enumerate(reversed(lines)):
        (width, _), _ = cv2.getTextSize(line, cv2.FONT_HERSHEY_DUPLEX, scale, max(1, round(2 * scale)))
        place = round((w - width) / 2 + shift * h), round(h * (1 - bottom) - number * height * 1.8 * h)
        cv2.putText(fill, line, place, cv2.FONT_HERSHEY_DUPLEX, scale, 255, max(1, round(2 * scale)), cv2.LINE_AA)
    reach = 2 * max(SCALE, round(0.1 * height * h)) + 1
    outline = cv2.dilate(fill, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach)))
    fill, outline = (cv2.resize(m, size[::-1], interpolation=cv2.INTER_AREA)[..., None] for m in (fill, outline))
    opacity = outline.astype(np.float32) / 255
    return opacity, np.repeat(fill.astype(np.float32) * 0.92 / np.maximum(opacity, 1e-3), 3, axis=2)


def logo(size: tuple[int, int], opacity: float) -> Layer:
    """A red box with a disc and letters in the upper right corner."""
    h, w = (side * SCALE for side in size)
    side = h // 10
    x, y = w - 3 * side, side // 2
    colour, box = np.zeros((h, w, 3), np.uint8), np.zeros((h, w), np.uint8)
    cv2.rectangle(box, (x, y), (x + 5 * side // 2, y + side), 255, -1)
    cv2.rectangle(colour, (x, y), (x + 5 * side // 2, y + side), (180, 30, 40), -1)
    cv2.circle(colour, (x + side // 2, y + side // 2), side // 3, (250, 220, 60), -1, cv2.LINE_AA)
    place = x + side, y + 3 * side // 4
    cv2.putText(colour, "TV 7", place, cv2.FONT_HERSHEY_DUPLEX, side / 40, (255, 255, 255), side // 12, cv2.LINE_AA)
    small = cv2.resize(colour, size[::-1], interpolation=cv2.INTER_AREA).astype(np.float32)
    mask = cv2.resize(box, size[::-1], interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    return opacity * mask[..., None], small


def scoreboard(size: tuple[int, int], number: int) -> Layer:
    """A dark box with names, a score and a clock, which changes every 12 frames, in the upper left corner."""
    h, w = (side * SCALE for side in size)
    side = h // 14
    colour, box = np.zeros((h, w, 3), np.uint8), np.zeros((h, w), np.uint8)
    cv2.rectangle(box, (side // 2, side // 2), (8 * side, 3 * side // 2), 255, -1)
    colour[:] = 30, 35, 60
    line = f"LIO 2:1 TIG 41:{number // 12:02d}"
    place = side, 5 * side // 4
    cv2.putText(colour, line, place, cv2.FONT_HERSHEY_DUPLEX, side / 40, (240, 240, 240), side // 12, cv2.LINE_AA)
    small, mask = (cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA) for image in (colour, box))
    return (mask.astype(np.float32) / 255)[..., None], small.astype(np.float32)


def display(size: tuple[int, int]) -> Layer:
    """A game's or a camera's display: a frame with a cross in green lines with dark edges, and numbers."""
    h, w = (side * SCALE for side in size)
    fill = np.zeros((h, w), np.uint8)
    wide = max(1, h // 240)
    cv2.rectangle(fill, (w // 3, h // 3), (2 * w // 3, 2 * h // 3), 255, wide)
    cv2.line(fill, (w // 2 - h // 20, h // 2), (w // 2 + h // 20, h // 2), 255, wide)
    cv2.line(fill, (w // 2, h // 2 - h // 20), (w // 2, h // 2 + h // 20), 255, wide)
    cv2.putText(fill, "REC 00:41", (w // 20, h // 8), cv2.FONT_HERSHEY_DUPLEX, h / 600, 255, 2 * wide, cv2.LINE_AA)
    cv2.putText(fill, "100", (5 * w // 6, 19 * h // 20), cv2.FONT_HERSHEY_DUPLEX, h / 400, 255, 2 * wide, cv2.LINE_AA)
    edge = cv2.dilate(fill, np.ones((2 * wide + 1, 2 * wide + 1), np.uint8))
    fill, edge = (cv2.resize(m, size[::-1], interpolation=cv2.INTER_AREA)[..., None] for m in (fill, edge))
    opacity = edge.astype(np.float32) / 255
    share = fill.astype(np.float32) / 255 / np.maximum(opacity, 1e-3)
    return opacity, share * np.array([90, 230, 90], np.float32)


def ticker(size: tuple[int, int], number: int) -> Layer:
    """White letters that run to the left over a dark band, by a 90th of the frame's height per frame."""
    opacity, colour = text(size, ["Rain in the north, sun in the south, and wind"], 0.05, 0.05, 0.2 - number / 90)
    band = np.zeros((*size, 1), np.float32)
    band[round(0.87 * size[0]) : round(0.97 * size[0])] = 1
    return np.maximum(band, opacity), opacity * colour + (1 - opacity) * np.float32(40)


OVERLAYS: dict[str, Callable[[tuple[int, int], int], Layer | None]] = {
    "subtitles": lambda size, _: text(size, LINES, 0.055, 0.08),
    "small subtitles": lambda size, _: text(size, LINES[:1], 0.035, 0.05),
    "title": lambda size, _: text(size, ["THE KEY"], 0.15, 0.4),
    "logo": lambda size, _: logo(size, 1),
    "transparent logo": lambda size, _: logo(size, 0.5),
    "scoreboard": scoreboard,
    "display": lambda size, _: display(size),
    "ticker": ticker,
    "none": lambda size, _: None,
}


def read(path: Path, count: int) -> list[Image]:
    """The first frames of a clip, RGB."""
    with av.open(str(path)) as container:
        return [
            frame.to_ndarray(format="rgb24") for frame, _ in zip(container.decode(video=0), range(count), strict=False)
        ]


def draw(image: Image, layer: Layer | None) -> Image:
    """An image with an overlay."""
    if layer is None:
        return image
    opacity, colour = layer
    return np.clip(np.rint(image + opacity * (colour - image)), 0, 255).astype(np.uint8)


def encode(path: Path, images: Sequence[Image]) -> Path:
    """Write images as H.264, 4:2:0."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "18", "preset": "fast", "threads": "1"})
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def psnr(a: Image, b: Image, where: NDArray[np.bool_]) -> float:
    """PSNR in dB over the pixels that are set in a mask."""
    error = (a[where].astype(np.float64) - b[where]) ** 2
    return float(10 * np.log10(255**2 / max(error.mean(), 1e-3)))


Scores = dict[str, dict[str, NDArray[np.float64]]]
"""For each overlay, and overlays "off" and "auto", the mean PSNR in each area."""


def report(name: str, overlay: str, scores: dict[str, NDArray[np.float64]], note: str = "") -> None:
    """Print the scores of one overlay."""
    labels = ("inside", "around", "rest") if len(scores["off"]) == 3 else ("whole",)
    areas = zip(labels, scores["off"], scores["auto"], strict=True)
    columns = "  ".join(f"{label} {off:5.2f} -> {auto:5.2f}" for label, off, auto in areas)
    print(f"{name:24s} {overlay:18s} {columns}  {note}", flush=True)


def measure(clip: Path, model: str, count: int, images: Path | None) -> Scores:
    """Print and return the scores of one clip."""
    result: Scores = {}
    frames = read(clip, count | 1)
    size = frames[0].shape[0] & ~1, frames[0].shape[1] & ~1
    frames = [np.ascontiguousarray(frame[: size[0], : size[1]]) for frame in frames]
    for name, layer_at in OVERLAYS.items():
        truth = [draw(frame, layer_at(size, number)) for number, frame in enumerate(frames)]
        made: dict[str, list[Image]] = {}
        with tempfile.TemporaryDirectory() as folder:
            source = encode(Path(folder) / "in.mkv", truth[::2])
            for value in ("off", "auto"):
                target = Path(folder) / f"{value}.mkv"
                betwixt.interpolate_video(source, target, model=model, overlays=value, codec="ffv1", journal=False)
                made[value] = read(target, len(truth))
        scores: dict[str, list[list[float]]] = {"off": [], "auto": []}
        changes = []
        for number in range(1, len(truth), 2):
            layer = layer_at(size, number)
            inside = np.zeros(size, bool) if layer is None else layer[0][..., 0] > 0
            near = cv2.dilate(inside.astype(np.uint8), np.ones((25, 25), np.uint8)) > 0
            areas = [inside, near & ~inside, ~near] if layer is not None else [~near]
            for value, images_made in made.items():
                scores[value].append([psnr(images_made[number], truth[number], area) for area in areas])
            changes.append(float(np.abs(made["auto"][number].astype(int) - made["off"][number]).mean()))
        result[name] = {value: np.mean(values, axis=0) for value, values in scores.items()}
        gains = [auto[0] - off[0] for auto, off in zip(scores["auto"], scores["off"], strict=True)]
        note = f"changed {sum(c > 0 for c in changes)}/{len(changes)}, least gain of a frame {min(gains):+.2f}"
        report(clip.stem, name, result[name], note)
        if images is not None and max(changes) > 0:
            worst = 2 * int(np.argmax(changes)) + 1
            sheet = np.vstack([made["off"][worst], made["auto"][worst], truth[worst]])
            cv2.imwrite(str(images / f"{clip.stem}-{name.replace(' ', '-')}-{model}.png"), sheet[..., ::-1])
    return result


def measure_time(clip: Path) -> None:
    """Print the processor time that overlays take at 1280x720, in one thread: the least of five runs."""
    cv2.setNumThreads(1)
    frames = [cv2.resize(frame, (1280, 720), interpolation=cv2.INTER_CUBIC) for frame in read(clip, 16)]
    for name, layer in (("without", None), ("with", text((720, 1280), LINES, 0.055, 0.08))):
        images = [av.VideoFrame.from_ndarray(draw(frame, layer), format="rgb24") for frame in frames]
        parts = [planes(image.reformat(format="yuv420p")) for image in images]
        times = np.min([_times(parts) for _ in range(5)], axis=0)
        steps = zip(("detection", "removal", "restoring"), times, strict=True)
        print(f"{clip.stem} {name} subtitles: " + ", ".join(f"{step} {time:.1f} ms" for step, time in steps))


def _times(parts: list[list[NDArray[Any]]]) -> list[float]:
    """The milliseconds that detection takes per pair, removal per pair, and restoring per new frame."""
    lumas = [np.ascontiguousarray(luma) for luma, *_ in parts]
    clock = [time.process_time()]
    views = [OverlayView(luma) for luma in lumas]
    pairs = range(LOOK_AHEAD, len(views) - LOOK_AHEAD - 1)
    masks = [find_overlays(views[k - LOOK_AHEAD : k + LOOK_AHEAD + 2], LOOK_AHEAD) for k in pairs]
    clock.append(time.process_time())
    overlays = [(k, Overlay(mask)) for k, mask in zip(pairs, masks, strict=True) if mask is not None]
    for k, overlay in overlays:
        overlay.fill(parts[k])
        overlay.fill(parts[k + 1])
    clock.append(time.process_time())
    for k, overlay in overlays:
        overlay.restore([plane.copy() for plane in parts[k]], parts[k], parts[k + 1], 0.5)
    clock.append(time.process_time())
    counts = [len(views) - RUN + 1, max(1, len(overlays)), max(1, len(overlays))]
    return [1000 * (end - begin) / count for (begin, end), count in zip(pairwise(clock), counts, strict=True)]


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path, nargs="+")
    parser.add_argument("--model", default="dis")
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--only", choices=OVERLAYS, help="measure one overlay alone")
    parser.add_argument("--time", action="store_true")
    args = parser.parse_args()
    if args.only:
        OVERLAYS.update({args.only: OVERLAYS.pop(args.only)})
        for name in [*OVERLAYS][:-1]:
            del OVERLAYS[name]
    if args.images is not None:
        args.images.mkdir(parents=True, exist_ok=True)
    if args.time:
        for clip in args.clips:
            measure_time(clip)
        return
    results = [measure(clip, args.model, args.frames, args.images) for clip in args.clips]
    for name in results[0]:
        means = {value: np.mean([result[name][value] for result in results], axis=0) for value in ("off", "auto")}
        report("mean", name, means)


if __name__ == "__main__":
    main()

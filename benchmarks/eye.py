"""Makes the pictures of docs/eye.md: difficult cases at 1:1, as made by several models.

    python benchmarks/eye.py DATA IMAGES

DATA holds eval/davis_dev, train and train2; IMAGES gets a JPEG of each still case and a GIF of each loop. No picture is
scaled. Models run as `betwixt.load_model` loads them, which is how conversions do, and get two frames and nothing else.

- A case with a true frame: frame i is made from frames i - 1 and i + 1, and shown beside the true one.
- A case at the native rate: a frame is made halfway between frames i and i + 1, and shown between these.
- A loop: successive source frames with a new frame between each two.
- The overlays: text or a logo is drawn over a clip, every second frame is left out, and `interpolate_video` makes it.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

import betwixt
from betwixt.models.base import Interpolator
from overlays import LINES, Layer, draw, encode, logo, read, text

Image = NDArray[np.uint8]

MODELS = ("rife-4.6", "hybrid-psnr", "hybrid")
GAP, LABEL = 4, 20
"""The space between tiles and the height of the line above them, in pixels."""
JPEG_QUALITY = 90
GIF_TICKS = 10
"""The time that a GIF shows each frame, in 1/100 s."""
GIF_COLOURS = 56


@dataclass(frozen=True)
class Case:
    """A place in a clip.

    Attributes:
        clip: A folder of images, or a video, below DATA.
        index: The frame left out; for a case at the native rate and for a loop the first source frame.
        left: The left edge of the box, in pixels.
        top: The upper edge of the box, in pixels.
        width: The width of the box, in pixels.
        height: The height of the box, in pixels.
    """

    clip: str
    index: int
    left: int
    top: int
    width: int = 224
    height: int = 160

    def crop(self, image: Image) -> Image:
        """The box of an image."""
        return image[self.top : self.top + self.height, self.left : self.left + self.width]


LEFT_OUT = {
    "bmx-wheels": Case("eval/davis_dev/bmx-trees", 9, 330, 240),
    "bmx-tree": Case("eval/davis_dev/bmx-trees", 17, 330, 230),
    "bmx-grass": Case("eval/davis_dev/bmx-trees", 29, 270, 240),
    "dance-hand": Case("eval/davis_dev/dance-twirl", 30, 240, 90),
    "dance-arm": Case("eval/davis_dev/dance-twirl", 34, 420, 30),
    "glider-lines": Case("eval/davis_dev/paragliding-launch", 5, 320, 10),
    "dog-legs": Case("eval/davis_dev/libby", 10, 290, 230),
    "animation": Case("train/bbb_trailer.mp4", 626, 80, 150),
}
"""Cases with a true frame, by the names of their pictures."""

NATIVE = {
    "runners": Case("train2/openshot_runners.mp4", 30, 310, 200, 176),
    "runner-hand": Case("train/tokenflow_woman-running.mp4", 13, 150, 195, 176),
}
"""Cases at the native rate."""

LOOPS = {
    "bmx": Case("eval/davis_dev/bmx-trees", 6, 355, 260, 168, 136),
    "foot": Case("eval/davis_dev/bmx-trees", 26, 300, 250, 168, 136),
    "dance": Case("eval/davis_dev/dance-twirl", 28, 430, 70, 168, 136),
    "hand": Case("eval/davis_dev/dance-twirl", 27, 270, 100, 168, 136),
    "glider": Case("eval/davis_dev/paragliding-launch", 2, 320, 10, 168, 136),
    "dog": Case("eval/davis_dev/libby", 7, 310, 250, 168, 136),
    "cartoon": Case("train/bbb_trailer.mp4", 623, 90, 160, 168, 136),
    "runner": Case("train/tokenflow_woman-running.mp4", 9, 160, 220, 168, 136),
}
LOOP_FRAMES = 7
"""The number of source frames of a loop."""

OVERLAYS: dict[str, tuple[Case, Callable[[tuple[int, int]], Layer]]] = {
    "subtitles": (
        Case("train/davis_drift-straight.mp4", 5, 145, 250, 224, 110),
        lambda size: text(size, LINES, 0.055, 0.08),
    ),
    "logo": (Case("train/davis_drift-straight.mp4", 5, 456, 0, 176, 100), lambda size: logo(size, 1)),
}
"""The first frame with an overlay, and the overlay, by the names of their pictures; each has a still and a loop."""

OVERLAY_FRAMES, OVERLAY_INDEX = 17, 13
"""The number of frames with an overlay, and the one that is shown, which is left out."""

OVERLAY_RUNS = (("rife-4.6", "off"), ("hybrid-psnr", "off"), ("hybrid", "off"), ("hybrid", "auto"))
"""The models, and how they treat overlays."""

CLIPS = {
    case.clip for case in (*LEFT_OUT.values(), *NATIVE.values(), *LOOPS.values(), *(c for c, _ in OVERLAYS.values()))
}


@lru_cache(maxsize=2)
def load_frames(path: Path) -> list[Image]:
    """All frames of a clip, RGB."""
    if path.is_dir():
        return [
            np.ascontiguousarray(cv2.imread(str(file), cv2.IMREAD_COLOR)[..., ::-1], np.uint8)
            for file in sorted(path.glob("*.jpg"))
        ]
    return read(path, 10_000)


def middle(model: Interpolator, first: Image, second: Image) -> Image:
    """The frame halfway between two."""
    (frame,) = model.between(first, second, [0.5])
    return np.asarray(frame, np.uint8)


def put_side_by_side(tiles: Mapping[str, Image]) -> Image:
    """Tiles in a row, with their names above them."""
    columns = []
    for name, tile in tiles.items():
        label = np.full((LABEL, tile.shape[1], 3), 255, np.uint8)
        cv2.putText(label, name, (2, LABEL - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
        columns += [np.vstack([label, tile]), np.full((LABEL + len(tile), GAP, 3), 255, np.uint8)]
    return np.hstack(columns[:-1])


def write_still(path: Path, tiles: Mapping[str, Image]) -> None:
    """Write tiles in a row as JPEG."""
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
    cv2.imwrite(str(path), put_side_by_side(tiles)[..., ::-1], options)
    print(f"{path}: {path.stat().st_size // 1000} kB", flush=True)


def write_gif(path: Path, images: Sequence[Image]) -> None:
    """Write a GIF that loops, with one small palette and without dither, which would hide fine detail."""
    height, width = images[0].shape[:2]
    graph = av.filter.Graph()
    source = graph.add("buffer", f"video_size={width}x{height}:pix_fmt=rgb24:time_base=1/100:pixel_aspect=1/1")
    split = graph.add("split")
    palette = graph.add("palettegen", f"max_colors={GIF_COLOURS}:reserve_transparent=0:stats_mode=full")
    use = graph.add("paletteuse", "dither=none")
    source.link_to(split)
    split.link_to(use, 0, 0)
    split.link_to(palette, 1, 0)
    palette.link_to(use, 0, 1)
    use.link_to(sink := graph.add("buffersink"))
    graph.configure()
    with av.open(str(path), "w", options={"loop": "0"}) as container:
        stream = container.add_stream("gif", rate=100)
        stream.width, stream.height, stream.pix_fmt = width, height, "pal8"
        stream.codec_context.time_base = Fraction(1, 100)
        for number, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = number * GIF_TICKS, Fraction(1, 100)
            source.push(frame)
        source.push(None)
        for _ in images:
            container.mux(stream.encode(sink.pull()))
        container.mux(stream.encode(None))
    print(f"{path}: {path.stat().st_size // 1000} kB", flush=True)


def make_left_out(case: Case, data: Path, models: Mapping[str, Interpolator]) -> dict[str, Image]:
    """The tiles of a case with a true frame."""
    first, truth, second = load_frames(data / case.clip)[case.index - 1 : case.index + 2]
    made = {name: middle(model, first, second) for name, model in models.items()}
    return {name: case.crop(image) for name, image in ({"true frame": truth} | made).items()}


def make_native(case: Case, data: Path, models: Mapping[str, Interpolator]) -> dict[str, Image]:
    """The tiles of a case at the native rate."""
    first, second = load_frames(data / case.clip)[case.index : case.index + 2]
    made = {name: middle(model, first, second) for name, model in models.items()}
    images = {"source frame": first} | made | {"next source frame": second}
    return {name: case.crop(image) for name, image in images.items()}


def make_loop(case: Case, data: Path, models: Mapping[str, Interpolator]) -> list[Image]:
    """The images of a loop: source frames, and new ones between them."""
    frames = load_frames(data / case.clip)[case.index : case.index + LOOP_FRAMES]
    images = []
    for number, frame in enumerate(frames):
        images.append(put_side_by_side({name: case.crop(frame) for name in models}))
        if number + 1 < len(frames):
            made = {name: middle(model, frame, frames[number + 1]) for name, model in models.items()}
            images.append(put_side_by_side({name: case.crop(image) for name, image in made.items()}))
    return images


def make_overlay(case: Case, draw_layer: Callable[[tuple[int, int]], Layer], data: Path) -> dict[str, list[Image]]:
    """The true frames with an overlay, and those of each run, which are source frames and new ones in turn."""
    frames = load_frames(data / case.clip)[case.index : case.index + OVERLAY_FRAMES]
    height, width = frames[0].shape[0] & ~1, frames[0].shape[1] & ~1
    layer = draw_layer((height, width))
    videos = {"true frame": [draw(frame[:height, :width], layer) for frame in frames]}
    with tempfile.TemporaryDirectory() as folder:
        source = encode(Path(folder) / "source.mp4", videos["true frame"][::2])
        for model, value in OVERLAY_RUNS:
            target = Path(folder) / f"{model}-{value}.mkv"
            betwixt.interpolate_video(source, target, model=model, overlays=value, codec="ffv1", journal=False)
            videos[model if value == "off" else f"{model}, overlays {value}"] = read(target, OVERLAY_FRAMES)
    return {name: [case.crop(image) for image in images] for name, images in videos.items()}


def write_overlay(path: Path, videos: Mapping[str, Sequence[Image]]) -> None:
    """Write a still and a loop of a case with an overlay."""
    write_still(path.with_suffix(".jpg"), {name: images[OVERLAY_INDEX] for name, images in videos.items()})
    made = {name: images for name, images in videos.items() if name not in ("true frame", "hybrid-psnr")}
    write_gif(
        path.with_suffix(".gif"),
        [put_side_by_side(dict(zip(made, tiles, strict=True))) for tiles in zip(*made.values(), strict=True)],
    )


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("images", type=Path)
    every = [*LEFT_OUT, *NATIVE, *LOOPS, *OVERLAYS]
    parser.add_argument("--only", nargs="+", choices=every, default=every, help="make these pictures alone")
    args = parser.parse_args()
    missing = [clip for clip in sorted(CLIPS) if not (args.data / clip).exists()]
    if missing:
        parser.error(f"{args.data} lacks {', '.join(missing)}.")
    args.images.mkdir(parents=True, exist_ok=True)
    models = {name: betwixt.load_model(name) for name in MODELS}
    for name in args.only:
        path = args.images / name
        if name in LOOPS:
            write_gif(path.with_suffix(".gif"), make_loop(LOOPS[name], args.data, models))
        elif name in OVERLAYS:
            write_overlay(path, make_overlay(*OVERLAYS[name], args.data))
        elif name in NATIVE:
            write_still(path.with_suffix(".jpg"), make_native(NATIVE[name], args.data, models))
        else:
            write_still(path.with_suffix(".jpg"), make_left_out(LEFT_OUT[name], args.data, models))


if __name__ == "__main__":
    main()

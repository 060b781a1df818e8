"""Benchmarks of image sequences: X4K1000FPS, Xiph, and any folders of consecutive frames."""

from __future__ import annotations

import itertools
import math
from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np

from betwixt.errors import InputError
from betwixt.evaluation.datasets.base import Dataset, Sample, failing_loader, image_loader, last_number, list_images
from betwixt.evaluation.metrics import Image8


class X4K1000FPS(Dataset):
    """X4K1000FPS, X-TEST: `test/TYPE/CLIP/0000.png .. 0032.png`; 15 clips, 4096x2160, 1000 fps.

    8x: from frames 0 and 32 those at 4, 8, .. 28 (t = 1/8 .. 7/8) are restored. Sim et al., XVFI, ICCV 2021.
    """

    name = "x4k1000fps"
    protocol = "8x: frames 4, 8, .. 28 of frames 0 and 32, 15 clips, 4096x2160 (Sim et al., ICCV 2021)"
    published_count = 15 * 7

    def clips(self) -> Iterator[tuple[str, str, list[Path]]]:
        """Name, group and frames of each clip."""
        base = self.find_folder("X4K1000FPS/test", "x4k1000fps/test", "X-TEST", "test", ".")
        folders = sorted(d for d in base.glob("*/*") if d.is_dir() and d.parent.is_dir())
        if not folders:
            raise InputError(f"{base} has no clip of X-TEST: expected folders such as {base / 'Type1' / 'TEST01'}.")
        for folder in folders:
            yield f"{folder.parent.name}/{folder.name}", folder.name, [folder / f"{i:04d}.png" for i in range(33)]

    def samples(self) -> Iterator[Sample]:
        times = tuple(i / 8 for i in range(1, 8))
        for name, group, frames in self.clips():
            yield Sample(name, group, times, image_loader(frames[0], frames[32], *frames[4:32:4]))


class X4K1000FPSExtrapolation(X4K1000FPS):
    """X-TEST for extrapolation: frame 32 from frames 0 and 16 (NCM, section 4.2)."""

    name = "x4k1000fps-extrapolation"
    protocol = "2x extrapolation: frame 32 of frames 0 and 16, 15 clips, 4096x2160 (NCM, section 4.2)"
    published_count = 15
    extrapolation = True

    def samples(self) -> Iterator[Sample]:
        for name, group, frames in self.clips():
            yield Sample(name, group, (2.0,), image_loader(frames[0], frames[16], frames[32]))


class _Xiph(Dataset):
    """Eight clips of Xiph's 4K video test media, as Niklaus and Liu use them: frames 1 .. 100 as PNG, 4096x2160.

    Frames 2, 4, .. 98 are restored from their neighbours: 49 a clip. "2K" downscales the frames to half (area
    averaging); "4K" crops the centre 2048x1080 of the full frames, which keeps the motion of 4K. Files are named
    CLIP-NNN.png with N from 1. Niklaus and Liu, Softmax splatting for video frame interpolation, CVPR 2020.
    """

    consecutive = True
    CLIPS: ClassVar[tuple[str, ...]] = (
        "BoxingPractice", "Crosswalk", "DrivingPOV", "FoodMarket", "FoodMarket2", "RitualDance", "SquareAndTimelapse",
        "Tango",
    )  # fmt: skip
    SIZE: ClassVar[tuple[int, int]] = (2160, 4096)
    """Height and width of the full frames."""
    published_count = 8 * 49

    @staticmethod
    @abstractmethod
    def reduce(image: Image8) -> Image8:
        """A full frame downscaled or cropped to half its size."""

    def samples(self) -> Iterator[Sample]:
        base = self.find_folder("xiph", "Xiph", "netflix", ".")
        if not any(True for clip in self.CLIPS for _ in base.glob(f"{clip}*")):
            raise InputError(f"{base} has no clip of Xiph: expected {base / f'{self.CLIPS[0]}-001.png'} and others.")
        for clip in self.CLIPS:
            for i in range(2, 99, 2):
                first, truth, second = (self._frame_path(base, clip, n) for n in (i - 1, i, i + 1))
                loader = image_loader(first, second, truth, transform=self._check_and_reduce)
                yield Sample(f"{clip}-{i:03d}", clip, (0.5,), loader, run=clip)

    def _check_and_reduce(self, image: Image8) -> Image8:
        if image.shape[:2] != self.SIZE:
            actual, needed = (f"{size[1]}x{size[0]}" for size in (image.shape, self.SIZE))
            raise InputError(f"A frame of Xiph has {actual} pixels: the protocol begins with frames of {needed}.")
        return self.reduce(image)

    @staticmethod
    def _frame_path(base: Path, clip: str, number: int) -> Path:
        flat = base / f"{clip}-{number:03d}.png"
        return flat if flat.exists() or not (base / clip).is_dir() else base / clip / f"{number:03d}.png"


class Xiph2K(_Xiph):
    """Xiph-2K: the frames downscaled to 2048x1080; see `_Xiph` for the layout."""

    name = "xiph-2k"
    protocol = "frames 2, 4, .. 98 of their neighbours, 8 clips, shrunk to 2048x1080 (Niklaus and Liu, CVPR 2020)"

    @staticmethod
    def reduce(image: Image8) -> Image8:
        """Area averaging to half the size."""
        height, width = image.shape[:2]
        return np.asarray(cv2.resize(image, (width // 2, height // 2), interpolation=cv2.INTER_AREA), np.uint8)


class Xiph4K(_Xiph):
    """Xiph-"4K": the centre 2048x1080 of the full frames; see `_Xiph` for the layout."""

    name = "xiph-4k"
    protocol = "frames 2, 4, .. 98 of their neighbours, 8 clips, centre 2048x1080 (Niklaus and Liu, CVPR 2020)"

    @staticmethod
    def reduce(image: Image8) -> Image8:
        """The middle half of the rows and of the columns."""
        height, width = image.shape[:2]
        top, left = height // 4, width // 4
        return np.ascontiguousarray(image[top : top + height // 2, left : left + width // 2])


class ConsecutiveFrames(Dataset):
    """Folders of consecutive frames, as in DAVIS: `SEQUENCE/*.jpg` (or .png) in the order of their numbers.

    Every frame i is restored from i - stride and i + stride. A root that holds images itself is one sequence. A number
    that is missing in a sequence counts as a missing frame: frames farther apart never replace it.
    """

    name = "frames"
    protocol = "every frame of the two `stride` frames before and after it, folders of consecutive frames"
    consecutive = True

    def samples(self) -> Iterator[Sample]:
        """Sequence by sequence, and in each run by run; a run holds every (2 · stride)-th frame."""
        stride = self.options.stride
        for folder in self._sequence_folders():
            frames = _index_frames(folder)
            stems_are_unique = len({path.stem for path in frames.values()}) == len(frames)
            for start in range(2 * stride):
                for i in range(start, max(frames) - 2 * stride + 1, 2 * stride):
                    indices = (i, i + stride, i + 2 * stride)
                    missing = next((index for index in indices if index not in frames), None)
                    if missing is not None:
                        name = f"{folder.name}/{i + stride} (by order)"
                        loader = failing_loader(f"{folder} has no frame at place {missing}, counted from 0.")
                        yield Sample(name, folder.name, (0.5,), loader, place=i)
                        continue
                    first, middle, second = (frames[index] for index in indices)
                    name = f"{folder.name}/{middle.stem if stems_are_unique else middle.name}"
                    loader = image_loader(first, second, middle)
                    yield Sample(name, folder.name, (0.5,), loader, place=i, run=f"{folder.name}#{start}")

    def _sequence_folders(self) -> list[Path]:
        folders: list[Path] = []
        if self.root.is_dir():
            folders = [self.root] if list_images(self.root) else sorted(d for d in self.root.iterdir() if d.is_dir())
        folders = [folder for folder in folders if list_images(folder)]
        if not folders:
            raise InputError(f"{self.root} has no frames: expected images in it, or folders of images.")
        return folders


def _index_frames(folder: Path) -> dict[int, Path]:
    """The images of a folder by index, counted from 0: by their numbers if these differ, else by their order."""
    paths = list_images(folder)
    numbers = [last_number(path.stem) for path in paths]
    steps = {b - a for a, b in itertools.pairwise(numbers)}
    if len(paths) < 2 or min(numbers) < 0 or 0 in steps:
        return dict(enumerate(paths))
    step = math.gcd(*steps)
    return {(number - numbers[0]) // step: path for number, path in zip(numbers, paths, strict=True)}

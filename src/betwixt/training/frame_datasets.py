"""Data sets of frames in the layouts in which they are published; frames are read when a sample asks for them.

    Vimeo-90K     vimeo_triplet/{tri_trainlist.txt, sequences/CLIP/SHOT/im1.png .. im3.png}        51,312 triplets
                  vimeo_septuplet/{sep_trainlist.txt, sequences/CLIP/SHOT/im1.png .. im7.png}      64,612 septuplets
    X-TRAIN       train/SCENE/CLIP/0000.png .. 0064.png, or encoded_train/SCENE/CLIP.mp4           4,408 clips
    GoPro         train/SEQUENCE/000001.png ..                                                     240 frames a second

    clips ──uniformly──► clip ──Choice──► places of frame 0, truth, frame 1; t ──read──► one crop of the three

Which three frames of a clip make a sample is a `TripletChooser`: one out of a list (`ListedTriplets`: the triplets that
Vimeo-90K's few frames allow), or a gap, a start and a place between them, each uniformly (`RandomGaps`: XVFI's rule for
X-TRAIN).

Opening a set looks for every file that it names, so that a set that is incomplete fails at once and not after a night.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import av
import cv2
import numpy as np

from betwixt.errors import InputError, UsageError
from betwixt.evaluation.datasets import list_images, read_image, read_list_file
from betwixt.files import error_text
from betwixt.training.sample import Image, TargetTimes, TrainingSample

__all__ = [
    "Clip",
    "ClipDataset",
    "ImageClip",
    "ListedTriplets",
    "RandomGaps",
    "TripletChooser",
    "VideoClip",
    "open_gopro",
    "open_vimeo90k",
    "open_x_train",
]

Places = tuple[int, int, int, float]
"""The places of frame 0, the truth and frame 1 in a clip, counted from 0, and t."""


class Clip(Protocol):
    """Consecutive frames."""

    def __len__(self) -> int: ...

    def read(self, places: Sequence[int]) -> list[Image]:
        """The frames at `places`, counted from 0; `InputError` if one cannot be read."""


@dataclass(frozen=True)
class ImageClip:
    """A clip of picture files."""

    paths: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, places: Sequence[int]) -> list[Image]:
        """See `Clip`."""
        return [read_image(Path(self.paths[place])) for place in places]


@dataclass(frozen=True)
class VideoClip:
    """A short video, decoded from its beginning each time: thrifty with disk, not with time."""

    path: str
    frames: int
    """How many it has."""

    def __len__(self) -> int:
        return self.frames

    def read(self, places: Sequence[int]) -> list[Image]:
        """See `Clip`."""
        found: dict[int, Image] = {}
        try:
            with av.open(self.path) as container:
                for number, frame in enumerate(itertools.islice(container.decode(video=0), max(places) + 1)):
                    if number in places:
                        found[number] = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
        except (av.error.FFmpegError, OSError, IndexError) as error:
            raise InputError(f"{self.path} cannot be decoded: {error_text(error)}.") from None
        if len(found) < len(set(places)):
            raise InputError(f"{self.path} is damaged: it ends before its frame {max(places)}, counted from 0.")
        return [found[place] for place in places]


class TripletChooser(Protocol):
    """Which frames of a clip make a sample."""

    @property
    def least(self) -> int:
        """How many frames a clip has to have."""

    def draw(self, rng: np.random.Generator, length: int) -> Places:
        """A choice among `length` frames."""


class ListedTriplets:
    """One of the triplets that clips of `length` frames allow, each as often as the others.

    For seven frames these are, "between", all 35 of three frames in order (RIFE_m: 0 <= n0 < n1 < n2 < 7,
    t = (n1 - n0) / (n2 - n0)); "middle", the 9 with the truth half-way; "next", those 9 with the last as the truth.
    """

    def __init__(self, length: int, times: TargetTimes) -> None:
        self.least = length
        self._all: list[Places] = []
        for first, truth, last in itertools.combinations(range(length), 3):
            even = truth - first == last - truth
            if times == "next" and even:
                self._all.append((first, last, truth, 2.0))
            elif times == "between" or (times == "middle" and even):
                self._all.append((first, truth, last, (truth - first) / (last - first)))

    def __len__(self) -> int:
        return len(self._all)

    def draw(self, rng: np.random.Generator, length: int) -> Places:
        """See `TripletChooser`; only the first frames that the list knows count."""
        return self._all[int(rng.integers(len(self._all)))]


@dataclass(frozen=True)
class RandomGaps:
    """Frames at a distance: how far apart frame 0 and frame 1 lie, from `smallest` to `largest` frames, uniformly.

    "between" takes any frame between the two (XVFI); "middle" even gaps alone and the frame half-way; "next" the frame
    that lies as far after frame 1.
    """

    smallest: int
    largest: int
    times: TargetTimes

    def __post_init__(self) -> None:
        least = 1 if self.times == "next" else 2
        if not least <= self.smallest <= self.largest:
            raise UsageError(
                f"A gap of {self.smallest} to {self.largest} frames leaves nothing to be learned: it has to be at "
                f"least {least}, and the second number not under the first."
            )
        if not self._gaps():
            raise UsageError(f"A gap of {self.smallest} frames has no middle frame: take an even one.")

    def _gaps(self) -> range:
        if self.times == "middle":
            return range(self.smallest + self.smallest % 2, self.largest + 1, 2)
        return range(self.smallest, self.largest + 1)

    @property
    def least(self) -> int:
        """See `TripletChooser`."""
        return self._gaps()[0] * (2 if self.times == "next" else 1) + 1

    def draw(self, rng: np.random.Generator, length: int) -> Places:
        """See `TripletChooser`; gaps that are too wide for the clip are left out."""
        reach = 2 if self.times == "next" else 1
        gaps = [gap for gap in self._gaps() if gap * reach < length]
        gap = gaps[int(rng.integers(len(gaps)))]
        start = int(rng.integers(length - gap * reach))
        if self.times == "next":
            return start, start + 2 * gap, start + gap, 2.0
        place = gap // 2 if self.times == "middle" else int(rng.integers(1, gap))
        return start, start + place, start + gap, place / gap


class ClipDataset:
    """Samples out of clips; see the module.

    Args:
        clips: At least one.
        choice: Which frames of a clip make a sample.
        enlarge: Share of the samples that show the frames at twice their size (IFRNet: 0.1).
    """

    def __init__(self, clips: Sequence[Clip], choice: TripletChooser, enlarge: float = 0.0) -> None:
        self._clips, self._choice, self._enlarge = clips, choice, enlarge

    def __len__(self) -> int:
        return len(self._clips)

    def draw(self, rng: np.random.Generator, size: int) -> TrainingSample:
        """See `SampleSource`."""
        clip = self._clips[int(rng.integers(len(self._clips)))]
        *places, t = self._choice.draw(rng, len(clip))
        images = clip.read(places)
        if any(image.shape != images[0].shape for image in images):
            raise InputError(f"{_name(clip)} has frames of different sizes.")
        enlarged = self._enlarge > 0 and rng.random() < self._enlarge
        side = (size + 1) // 2 if enlarged else size
        height, width = images[0].shape[:2]
        if min(height, width) < side:
            raise InputError(
                f"{_name(clip)} is {width}x{height}: too small for crops of {size}x{size}. Take a smaller crop."
            )
        top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
        crops = [image[top : top + side, left : left + side] for image in images]
        if enlarged:
            twice = (2 * side, 2 * side)
            crops = [np.asarray(cv2.resize(crop, twice, interpolation=cv2.INTER_LINEAR), np.uint8) for crop in crops]
        return TrainingSample(np.stack(crops)[:, :size, :size], t)


def _name(clip: Clip) -> str:
    if isinstance(clip, ImageClip):
        return str(Path(clip.paths[0]).parent)
    return clip.path if isinstance(clip, VideoClip) else "A clip"


def open_vimeo90k(
    root: Path, frames: int, times: TargetTimes, names: str | None = None, enlarge: float = 0.0
) -> ClipDataset:
    """Vimeo-90K (Xue et al., IJCV 2019): triplets (`frames` 3) or septuplets (7) of the training list.

    Args:
        root: The set's folder, or the one above it.
        frames: 3 or 7.
        times: Which frames are to be learned; triplets have no times but 1/2 and 2.
        names: The list file in it, by default tri_trainlist.txt or sep_trainlist.txt.
        enlarge: See `ClipDataset`.
    """
    kind = "vimeo_triplet" if frames == 3 else "vimeo_septuplet"
    table = names or ("tri_trainlist.txt" if frames == 3 else "sep_trainlist.txt")
    base = _find(root, f"Vimeo-90K ({kind})", kind, f"vimeo90k/{kind}", ".")
    clips = []
    for number, line in enumerate(read_list_file(base / table), start=1):
        folder = base / "sequences" / line
        paths = [folder / f"im{i}.png" for i in range(1, frames + 1)]
        lost = next((path for path in paths if not path.exists()), None)
        if lost is not None:
            raise InputError(f"{lost} is missing: {base / table} names it in line {number}.")
        clips.append(ImageClip(tuple(map(str, paths))))
    return ClipDataset(clips, ListedTriplets(frames, times), enlarge)


def open_x_train(root: Path, gaps: tuple[int, int], times: TargetTimes, enlarge: float = 0.0) -> ClipDataset:
    """X-TRAIN of X4K1000FPS (Sim et al., XVFI, ICCV 2021): 65 frames of 768x768 at 1000 fps a clip.

    As decoded frames, or as the videos that are published: these are decoded again for each sample, which takes a few
    tenths of a second. Where a clip is there as both, its frames are read.

    Args:
        root: The set's folder, or the one above it.
        gaps: See `RandomGaps`; XVFI takes 2 to 32.
        times: See `RandomGaps`.
        enlarge: See `ClipDataset`.
    """
    base = _find(root, "X-TRAIN", "X4K1000FPS/train", "train", "X4K1000FPS/encoded_train", "encoded_train", ".")
    choice = RandomGaps(*gaps, times)
    clips: dict[Path, Clip] = {p.with_suffix(""): VideoClip(str(p), 65) for p in sorted(base.glob("*/*.mp4"))}
    # A clip's name holds a dot: occ008.320.
    for folder in sorted(d for d in base.glob("*/*") if d.is_dir()):
        clips[folder] = _consecutive(folder)
    example = base / "002" / "occ008.320"
    expected = f"{base} holds no clip: expected {example / '0000.png'} and others, or {example}.mp4"
    return ClipDataset(_checked(clips, choice, expected), choice, enlarge)


def open_gopro(root: Path, gaps: tuple[int, int], times: TargetTimes, enlarge: float = 0.0) -> ClipDataset:
    """GoPro (Nah et al., CVPR 2017), all frames: 22 sequences of 1280x720 at 240 fps under train/.

    Args:
        root: The set's folder, the one above it, or any folder of folders of consecutive frames.
        gaps: See `RandomGaps`; "8x" interpolation has 8 alone.
        times: See `RandomGaps`.
        enlarge: See `ClipDataset`.
    """
    base = _find(root, "GoProEntry", "GOPRO_Large_all/train", "GOPRO/train", "train", ".")
    choice = RandomGaps(*gaps, times)
    clips: dict[Path, Clip] = {}
    for folder in sorted(d for d in base.iterdir() if d.is_dir()):
        clips[folder] = _consecutive(folder)
    expected = f"{base} holds no sequence: expected {base / 'GOPR0372_07_00' / '000047.png'} and others"
    return ClipDataset(_checked(clips, choice, expected), choice, enlarge)


def _consecutive(folder: Path) -> ImageClip:
    """The pictures of a folder; numbers that leave one out would give wrong times."""
    paths = list_images(folder)
    for before, after in itertools.pairwise(paths):
        if before.stem.isdecimal() and after.stem.isdecimal() and int(after.stem) != int(before.stem) + 1:
            raise InputError(f"{folder} lacks a frame between {before.name} and {after.name}: frames are consecutive.")
    return ImageClip(tuple(map(str, paths)))


def _checked(clips: dict[Path, Clip], choice: TripletChooser, expected: str) -> list[Clip]:
    if not clips:
        raise InputError(f"{expected}.")
    for place, clip in sorted(clips.items()):
        if len(clip) < choice.least:
            raise InputError(f"{place} holds {len(clip)} frames: a sample takes a clip of {choice.least} at least.")
    return [clip for _, clip in sorted(clips.items())]


def _find(root: Path, name: str, *folders: str) -> Path:
    """The first of the folders under the root that is there."""
    found = next((root / folder for folder in folders if (root / folder).is_dir()), None)
    if found is None:
        raise InputError(f"There is no folder {root}: {name} is expected in it.")
    return found

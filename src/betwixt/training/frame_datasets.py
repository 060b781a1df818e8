"""Published data sets of frames, in the folder layouts in which they are distributed.

    Vimeo-90K     vimeo_triplet/{tri_trainlist.txt, sequences/CLIP/SHOT/im1.png .. im3.png}        51,312 triplets
                  vimeo_septuplet/{sep_trainlist.txt, sequences/CLIP/SHOT/im1.png .. im7.png}      64,612 septuplets
    X-TRAIN       train/SCENE/CLIP/0000.png .. 0064.png, or encoded_train/SCENE/CLIP.mp4           4,408 clips
    GoPro         train/SEQUENCE/000001.png ..                                                     240 frames a second

    clips ──uniformly──► clip ──chooser─────────► frame numbers, t ──read──► one crop of the three frames

Opening a data set checks for every file that it lists, so an incomplete data set is reported before training starts.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np

from betwixt.errors import InputError, UsageError
from betwixt.evaluation.datasets import list_images, read_image, read_list_file
from betwixt.files import error_text, file_url
from betwixt.training.sample import Image, TargetTimes, TrainingSample
from betwixt.training.sample_masks import WholeFrameMasks

Triplet = tuple[int, int, int, float]
"""The numbers of frame 0, the target and frame 1 in a clip, counted from 0, and t."""


@dataclass(frozen=True)
class ImageClip:
    """A clip of image files."""

    paths: tuple[str, ...]

    @property
    def path(self) -> str:
        """The folder, for messages."""
        return str(Path(self.paths[0]).parent)

    @property
    def name(self) -> str:
        """The last two folders of its path: CLIP/SHOT in Vimeo-90K."""
        return "/".join(Path(self.path).parts[-2:])

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, numbers: Sequence[int]) -> list[Image]:
        """Read the frames with these numbers, counted from 0."""
        return [read_image(Path(self.paths[number])) for number in numbers]


@dataclass(frozen=True)
class VideoClip:
    """A video file of `frames` frames, decoded from its beginning for each sample: saves disk space, costs time."""

    path: str
    frames: int

    @property
    def name(self) -> str:
        """The name of the file without its suffix."""
        return Path(self.path).stem

    def __len__(self) -> int:
        return self.frames

    def read(self, numbers: Sequence[int]) -> list[Image]:
        images: dict[int, Image] = {}
        try:
            with av.open(file_url(self.path)) as container:
                for number, frame in enumerate(itertools.islice(container.decode(video=0), max(numbers) + 1)):
                    if number in numbers:
                        images[number] = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
        except (av.error.FFmpegError, OSError, IndexError) as error:
            raise InputError(f"{self.path} cannot be decoded: {error_text(error)}.") from None
        if len(images) < len(set(numbers)):
            raise InputError(f"{self.path} is damaged: it ends before frame {max(numbers)}, counted from 0.")
        return [images[number] for number in numbers]


Clip = ImageClip | VideoClip


class ListedTriplets:
    """Any of the triplets that clips of `length` frames allow, with equal probability.

    For seven frames these are, with "between", all 35 triplets in order (RIFE_m: 0 <= n0 < n1 < n2 < 7,
    t = (n1 - n0) / (n2 - n0)); with "middle", the 9 with the target half-way; with "next", those 9 with the last frame
    as the target.
    """

    def __init__(self, length: int, times: TargetTimes) -> None:
        self.min_length = length
        self._triplets: list[Triplet] = []
        for first, middle, last in itertools.combinations(range(length), 3):
            even = middle - first == last - middle
            if times == "next" and even:
                self._triplets.append((first, last, middle, 2.0))
            elif times == "between" or (times == "middle" and even):
                self._triplets.append((first, middle, last, (middle - first) / (last - first)))

    def __len__(self) -> int:
        return len(self._triplets)

    def draw(self, rng: np.random.Generator, length: int) -> Triplet:
        """Choose a triplet; `length` is not used, since all clips have the same."""
        return self._triplets[int(rng.integers(len(self._triplets)))]


@dataclass(frozen=True)
class RandomGaps:
    """A random gap between frame 0 and frame 1, a random start and target frame, each uniformly (XVFI).

    The gap is `smallest` to `largest` frames. "between" takes any frame between the two as the target, "middle" only
    even gaps and the frame half-way, "next" the frame one gap after frame 1.
    """

    smallest: int
    largest: int
    times: TargetTimes

    def __post_init__(self) -> None:
        minimum = 1 if self.times == "next" else 2
        if not minimum <= self.smallest <= self.largest:
            raise UsageError(
                f"'gaps' of {self.smallest} to {self.largest} frames have no target frame: they have to be at least "
                f"{minimum}, in ascending order."
            )
        if not self._gaps():
            raise UsageError(f"A gap of {self.smallest} frames has no middle frame: set 'gaps' to an even one.")

    def _gaps(self) -> range:
        if self.times == "middle":
            return range(self.smallest + self.smallest % 2, self.largest + 1, 2)
        return range(self.smallest, self.largest + 1)

    @property
    def min_length(self) -> int:
        """The number of frames that a clip needs."""
        return self._gaps()[0] * (2 if self.times == "next" else 1) + 1

    def draw(self, rng: np.random.Generator, length: int) -> Triplet:
        span = 2 if self.times == "next" else 1
        gaps = [gap for gap in self._gaps() if gap * span < length]
        gap = gaps[int(rng.integers(len(gaps)))]
        start = int(rng.integers(length - gap * span))
        if self.times == "next":
            return start, start + 2 * gap, start + gap, 2.0
        position = gap // 2 if self.times == "middle" else int(rng.integers(1, gap))
        return start, start + position, start + gap, position / gap


class ClipDataset:
    """A `SampleSource` of random crops of random triplets of clips.

    Args:
        clips: At least one.
        chooser: Chooses the frame numbers and t of a sample.
        enlarge: Fraction of the samples that are upscaled by 2 (IFRNet: 0.1).

    Attributes:
        masks: Finds the masks of the samples, in whole frames; None for samples without.
    """

    masks: WholeFrameMasks | None = None

    def __init__(self, clips: Sequence[Clip], chooser: ListedTriplets | RandomGaps, enlarge: float = 0.0) -> None:
        self._clips, self._chooser, self._enlarge = clips, chooser, enlarge

    def __len__(self) -> int:
        return len(self._clips)

    def draw(self, rng: np.random.Generator, size: int) -> TrainingSample:
        """Draw a sample of `size` x `size` pixels."""
        clip = self._clips[int(rng.integers(len(self._clips)))]
        *numbers, t = self._chooser.draw(rng, len(clip))
        images = clip.read(numbers)
        if any(image.shape != images[0].shape for image in images):
            raise InputError(f"{clip.path} has frames of different sizes.")
        enlarged = self._enlarge > 0 and rng.random() < self._enlarge
        side = (size + 1) // 2 if enlarged else size
        height, width = images[0].shape[:2]
        if min(height, width) < side:
            raise InputError(
                f"{clip.path} is {width}x{height}: too small for crops of {size}x{size}: set a smaller 'crop'."
            )
        top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
        crops = [image[top : top + side, left : left + side] for image in images]
        labels = None
        if self.masks is not None:
            found = self.masks.labels(images[0], images[2], clip.name, (numbers[0], numbers[2]))
            labels = found[:, top : top + side, left : left + side]
        if enlarged:
            double = (2 * side, 2 * side)
            crops = [np.asarray(cv2.resize(crop, double, interpolation=cv2.INTER_LINEAR), np.uint8) for crop in crops]
            labels = None if labels is None else labels.repeat(2, axis=1).repeat(2, axis=2)
        labels = None if labels is None else np.ascontiguousarray(labels[:, :size, :size])
        return TrainingSample(np.stack(crops)[:, :size, :size], t, labels=labels)


def open_vimeo90k(
    root: Path, frames: int, times: TargetTimes, names: str | None = None, enlarge: float = 0.0
) -> ClipDataset:
    """Open Vimeo-90K (Xue et al., IJCV 2019): triplets (`frames` 3) or septuplets (7) of the training list.

    Args:
        root: The folder of the data set, or its parent.
        frames: 3 or 7.
        times: Target times; triplets only have 1/2 and 2.
        names: The list file in it, by default tri_trainlist.txt or sep_trainlist.txt.
        enlarge: Fraction of the samples that are upscaled by 2.
    """
    kind = "vimeo_triplet" if frames == 3 else "vimeo_septuplet"
    table = names or ("tri_trainlist.txt" if frames == 3 else "sep_trainlist.txt")
    base = _find(root, f"Vimeo-90K ({kind})", kind, f"vimeo90k/{kind}", ".")
    clips = []
    for number, line in enumerate(read_list_file(base / table), start=1):
        folder = base / "sequences" / line
        paths = [folder / f"im{i}.png" for i in range(1, frames + 1)]
        missing = next((path for path in paths if not path.exists()), None)
        if missing is not None:
            raise InputError(f"{missing} is missing: line {number} of {base / table} lists it.")
        clips.append(ImageClip(tuple(map(str, paths))))
    return ClipDataset(clips, ListedTriplets(frames, times), enlarge)


def open_x_train(root: Path, gaps: tuple[int, int], times: TargetTimes, enlarge: float = 0.0) -> ClipDataset:
    """Open X-TRAIN of X4K1000FPS (Sim et al., XVFI, ICCV 2021): clips of 65 frames of 768x768 at 1000 fps.

    Either as decoded frames, or as the published videos, which are decoded again for each sample (a few tenths of a
    second). If a clip exists as both, its frames are used. The parameters are those of `open_gopro`.
    """
    base = _find(root, "X-TRAIN", "X4K1000FPS/train", "train", "X4K1000FPS/encoded_train", "encoded_train", ".")
    clips: dict[Path, Clip] = {p.with_suffix(""): VideoClip(str(p), 65) for p in sorted(base.glob("*/*.mp4"))}
    # Names of clips contain a dot, such as occ008.320.
    clips |= _open_folders(base.glob("*/*"))
    example = base / "002" / "occ008.320"
    expected = f"{base} has no clip: expected {example / '0000.png'} and others, or {example}.mp4"
    return _make_dataset(clips, RandomGaps(*gaps, times), enlarge, expected)


def open_gopro(root: Path, gaps: tuple[int, int], times: TargetTimes, enlarge: float = 0.0) -> ClipDataset:
    """Open GoPro (Nah et al., CVPR 2017), all frames: 22 sequences of 1280x720 at 240 fps under train/.

    Args:
        root: The folder of the data set, its parent, or any folder of folders of consecutive frames.
        gaps: Range of the gap between frame 0 and frame 1; 8 for 8x interpolation.
        times: Target times.
        enlarge: Fraction of the samples that are upscaled by 2.
    """
    base = _find(root, "GoPro", "GOPRO_Large_all/train", "GOPRO/train", "train", ".")
    expected = f"{base} has no sequence: expected {base / 'GOPR0372_07_00' / '000047.png'} and others"
    return _make_dataset(_open_folders(base.iterdir()), RandomGaps(*gaps, times), enlarge, expected)


def _open_folders(paths: Iterable[Path]) -> dict[Path, Clip]:
    """Clips of the images in each folder. A gap in their numbers would give wrong times, so it is an error."""
    clips: dict[Path, Clip] = {}
    for folder in sorted(path for path in paths if path.is_dir()):
        images = list_images(folder)
        for before, after in itertools.pairwise(images):
            if before.stem.isdecimal() and after.stem.isdecimal() and int(after.stem) != int(before.stem) + 1:
                raise InputError(f"{folder} lacks a frame between {before.name} and {after.name}.")
        clips[folder] = ImageClip(tuple(map(str, images)))
    return clips


def _make_dataset(clips: dict[Path, Clip], chooser: RandomGaps, enlarge: float, expected: str) -> ClipDataset:
    """A data set of the clips in the order of their paths; `InputError` if there are none, or one is too short."""
    if not clips:
        raise InputError(f"{expected}.")
    for path, clip in sorted(clips.items()):
        if len(clip) < chooser.min_length:
            raise InputError(f"{path} has {len(clip)} frames: samples need clips of at least {chooser.min_length}.")
    return ClipDataset([clip for _, clip in sorted(clips.items())], chooser, enlarge)


def _find(root: Path, name: str, *folders: str) -> Path:
    """The first of the folders under the root that exists."""
    for folder in folders:
        if (root / folder).is_dir():
            return root / folder
    raise InputError(f"There is no folder {root}: put {name} there.")

"""What every benchmark data set shares: samples, options, the `Dataset` interface, and reading image files.

Samples come one by one and their images are read on request, so memory does not grow with the set. A sample whose files
are missing or damaged raises `InputError` when it is loaded; `evaluation.scoring` reports, skips and counts it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from betwixt.errors import InputError
from betwixt.evaluation.metrics import Image8

IMAGE_SUFFIXES = (".png", ".webp", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")


@dataclass(frozen=True)
class SampleImages:
    """The images of a sample, all of one size."""

    first: Image8  # the frame at time 0
    second: Image8  # the frame at time 1
    truths: list[Image8]  # the true frames at the sample's times
    before: Image8 | None = None  # the frame at time -1, if the model may use it and it exists
    after: Image8 | None = None  # the frame at time 2, if the model may use it and it exists


@dataclass(frozen=True)
class Sample:
    """Two input frames, and the times at which frames are to be restored."""

    name: str  # unique in the data set, and the same each time the set is read
    group: str  # the sequence or class that the sample belongs to, for tables by sequence
    times: tuple[float, ...]  # between 0 (first) and 1 (second) to interpolate; 2, as far again, to extrapolate
    load: Callable[[], SampleImages] = field(repr=False, compare=False)  # raises InputError if missing or damaged
    place: int | None = None
    """The place of the frame in its sequence in order of time, from 0, if samples come in another order."""
    run: str | None = None
    """The run of consecutive samples that this one belongs to, if any. The second frame of each sample of a run is the
    first frame of the next, as methods that work on sequences (minterpolate) need it."""


@dataclass(frozen=True)
class DatasetOptions:
    """Options that apply to some data sets."""

    clean: bool = False  # ucf101: leave out the samples that the NCM paper found to have duplicate frames
    stride: int = 1  # frames: the distance of the two input frames from the middle one
    extrapolate: bool = False  # triplets: restore the last frame from the first and the middle one (NCM, section 4)
    paths: str = "straight"  # "curved": models also get the input frames before and after the two


class Dataset(ABC):
    """A benchmark in a folder."""

    name: str  # the name to choose it by
    protocol: str  # one line: which frames are input, which are restored, and where that is stated
    published_count: int | None = None  # frames to restore in the published set; None if it has no fixed size
    extrapolation: bool = False  # whether the frames to restore come after the second frame
    mean_of_sequences: bool = False  # whether the score is the mean of the sequences' means, not of all frames
    consecutive: bool = False  # whether samples overlap, so that a sequence can be processed as one
    uses_neighbours: bool = False  # whether samples include the frames before and after the two

    def __init__(self, root: Path, options: DatasetOptions) -> None:
        self.root, self.options = root, options

    @property
    def expected_count(self) -> int | None:
        """The number of frames to restore with these options; None where a set has no fixed size."""
        return self.published_count

    @abstractmethod
    def samples(self) -> Iterator[Sample]:
        """The samples, always in the same order.

        Raises:
            InputError: if the folder does not hold this data set.
        """

    def find_folder(self, *candidates: str) -> Path:
        """The first of these folders (relative to the root) that exists; "." is the root itself."""
        for name in candidates:
            if (self.root / name).is_dir():
                return self.root / name
        places = " or ".join(str(self.root / name) for name in candidates)
        raise InputError(f"{self.name} is not under {self.root}: expected the folder {places}.")


def read_image(path: Path) -> Image8:
    """An image file as 8-bit RGB.

    Raises:
        InputError: if it is missing, damaged, transparent or deeper than 8 bits (no benchmark has such images).
    """
    try:
        data = np.fromfile(path, np.uint8)
    except (OSError, ValueError):
        state = "cannot be read" if path.exists() else "is missing"
        raise InputError(f"{path} {state}.") from None
    try:
        image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
    except cv2.error:
        image = None
    if image is None:
        raise InputError(f"{path} is damaged: it cannot be read as an image.")
    if image.dtype != np.uint8:
        raise InputError(f"{path} has more than 8 bits per channel: the benchmarks and their metrics use 8-bit images.")
    if image.ndim == 2:
        return np.repeat(image[..., None], 3, axis=2).astype(np.uint8)
    if image.shape[2] == 4 and not (image[..., 3] == 255).all():
        raise InputError(f"{path} is transparent: metrics compare opaque images.")
    return np.ascontiguousarray(image[..., 2::-1], np.uint8)


def image_loader(
    first: Path, second: Path, *truths: Path, transform: Callable[[Image8], Image8] | None = None
) -> Callable[[], SampleImages]:
    """A `Sample.load` that reads image files, checks that their sizes agree, and applies `transform` to each."""

    def load() -> SampleImages:
        paths = (first, second, *truths)
        images = [read_image(path) for path in paths]
        for path, image in zip(paths, images, strict=True):
            if image.shape != images[0].shape:
                raise InputError(f"{path} differs in size from {first}.")
        if transform is not None:
            images = [transform(image) for image in images]
        return SampleImages(images[0], images[1], images[2:])

    return load


def failing_loader(reason: str) -> Callable[[], SampleImages]:
    """A `Sample.load` that raises InputError with this reason."""

    def load() -> SampleImages:
        raise InputError(reason)

    return load


def list_images(folder: Path) -> list[Path]:
    """The images of a folder in the order of their numbers; those without a number come first, by name."""
    paths = [p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".")]
    return sorted(paths, key=lambda p: (last_number(p.stem), p.name))


def last_number(text: str) -> int:
    """The last number in a text; -1 if there is none."""
    digits = "".join(c if c.isdigit() else " " for c in text).split()
    return int(digits[-1]) if digits else -1


def read_list_file(path: Path) -> list[str]:
    """The lines of a text file, such as a data set's list of samples, that are not blank.

    Raises:
        InputError: if the file cannot be read or is empty.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        raise InputError(f"{path} cannot be read: it should be a text file with a sample in each line.") from None
    lines = [line.strip() for line in text.replace("\0", " ").splitlines() if line.strip()]
    if not lines:
        raise InputError(f"{path} is empty: it should have a sample in each line.")
    return lines

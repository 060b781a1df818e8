"""The benchmarks of the papers, each read in the layout in which it is published.

    open_dataset(name, root) ──► Dataset ──► samples() ──► Sample ──► load() ──► Frames(first, second, truths)

A sample is a pair of frames and the times at which frames are wanted, with the true frames there. Samples come one by
one and their pictures are read when they are asked for, so memory does not grow with the set. A sample whose files are
missing or damaged says so when it is loaded (`InputError`); the runner names, skips and counts it.

Samples of one `run` follow each other in time, the second frame of one being the first frame of the next: that is what
methods that need a sequence (minterpolate) are given.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np

from betwixt.errors import InputError, UsageError
from betwixt.evaluation.metrics import Image8, to_uint8

__all__ = ["DATASETS", "Dataset", "DatasetOptions", "Frames", "Sample", "open_dataset"]

PICTURES = (".png", ".webp", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")


@dataclass(frozen=True)
class Frames:
    """The pictures of a sample: all of one size.

    Attributes:
        first: The frame at time 0.
        second: The frame at time 1.
        truths: The true frames at the sample's times.
        before: The frame at time -1, where it is to be known.
        after: The frame at time 2, likewise.
    """

    first: Image8
    second: Image8
    truths: list[Image8]
    before: Image8 | None = None
    after: Image8 | None = None


@dataclass(frozen=True)
class Sample:
    """Two frames, and the true ones at some times.

    Attributes:
        name: Unique in its data set, and the same at every visit.
        group: The sequence or class it belongs to, for a table by sequences.
        times: 0 < t < 1 for interpolation; 2 for the frame as far after the second as that is after the first.
        load: Reads the pictures.
        run: Which run of consecutive samples it belongs to, if any.
    """

    name: str
    group: str
    times: tuple[float, ...]
    load: Callable[[], Frames] = field(repr=False, compare=False)
    run: str | None = None


@dataclass(frozen=True)
class DatasetOptions:
    """What can be chosen of some data sets.

    Attributes:
        clean: UCF101 without the samples that the NCM paper found dirty.
        stride: frames: how far the two outer frames of a triplet lie from the middle one.
        extrapolate: Sets of triplets: the last frame is restored from the first and the middle one (NCM, section 4).
        paths: "curved": sets of consecutive frames show models the frames before and after the two as well.
    """

    clean: bool = False
    stride: int = 1
    extrapolate: bool = False
    paths: str = "straight"


class Dataset(ABC):
    """A benchmark in a folder.

    Attributes:
        name: As on the command line.
        protocol: One line: which frames are given and which are restored, and where that is stated.
        expected: How many targets the published set has; None where a set has no fixed size.
        extrapolation: Whether frames after the second are wanted.
        by_sequence: Whether the score is the mean of the sequences' means, not of all frames.
        consecutive: Whether samples are the middles of consecutive frames, so that a sequence can be made as a whole.
        surrounded: Whether the frames before and after the two are given too.
    """

    name: str
    protocol: str
    expected: int | None = None
    extrapolation: bool = False
    by_sequence: bool = False
    consecutive: bool = False
    surrounded: bool = False

    def __init__(self, root: Path, options: DatasetOptions) -> None:
        self.root, self.options = root, options

    @property
    def wanted(self) -> int | None:
        """How many targets there should be, with these options."""
        return self.expected

    @abstractmethod
    def samples(self) -> Iterator[Sample]:
        """The samples, always in the same order.

        Raises:
            InputError: if the folder does not hold this data set.
        """

    def _folder(self, *names: str) -> Path:
        """The first of the folders (relative to the root) that is there; the root itself for "."."""
        for name in names:
            if (self.root / name).is_dir():
                return self.root / name
        places = " or ".join(str(self.root / name) for name in names)
        raise InputError(f"{self.name} is not under {self.root}: expected the folder {places}.")


def read_picture(path: Path) -> Image8:
    """A picture file as RGB, 8 bit.

    Raises:
        InputError: if it is not there, is damaged, or has more than 8 bits or transparency, which no benchmark has.
    """
    try:
        data = np.fromfile(path, np.uint8)
    except (OSError, ValueError):
        state = "cannot be read" if path.exists() else "is missing"
        raise InputError(f"{path} {state}.") from None
    try:
        picture = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
    except cv2.error:
        picture = None
    if picture is None:
        raise InputError(f"{path} is damaged: it cannot be read as a picture.")
    if picture.dtype != np.uint8:
        raise InputError(f"{path} has more than 8 bits a sample: the benchmarks and their metrics are of 8 bit.")
    if picture.ndim == 2:
        return np.repeat(picture[..., None], 3, axis=2).astype(np.uint8)
    if picture.shape[2] == 4 and not (picture[..., 3] == 255).all():
        raise InputError(f"{path} is transparent: it is not clear what is to be compared.")
    return np.ascontiguousarray(picture[..., 2::-1], np.uint8)


def _broken(reason: str) -> Callable[[], Frames]:
    """A loader that only says what is wrong."""

    def load() -> Frames:
        raise InputError(reason)

    return load


def _files(
    first: Path, second: Path, *truths: Path, change: Callable[[Image8], Image8] | None = None
) -> Callable[[], Frames]:
    """A loader of picture files, which must agree in size."""

    def load() -> Frames:
        a, b, *rest = [read_picture(path) for path in (first, second, *truths)]
        for path, picture in zip((second, *truths), (b, *rest), strict=True):
            if picture.shape != a.shape:
                raise InputError(f"{path} differs in size from {first}.")
        if change is not None:
            a, b, *rest = [change(picture) for picture in (a, b, *rest)]
        return Frames(a, b, rest)

    return load


def _either(folder: Path, stem: str) -> Path:
    """`stem` with whichever suffix is there; .png if none is."""
    return next((p for p in (folder / f"{stem}{suffix}" for suffix in PICTURES) if p.exists()), folder / f"{stem}.png")


def list_pictures(folder: Path) -> list[Path]:
    """The pictures of a folder, in the order of their numbers where they have numbers."""
    paths = [p for p in folder.iterdir() if p.suffix.lower() in PICTURES and not p.name.startswith(".")]
    return sorted(paths, key=lambda p: (_number(p.stem), p.name))


def _number(text: str) -> int:
    digits = "".join(c if c.isdigit() else " " for c in text).split()
    return int(digits[-1]) if digits else -1


def read_list(path: Path) -> list[str]:
    """The lines of a list file that say something."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        raise InputError(f"{path} cannot be read: the data set's own list file belongs there.") from None
    lines = [line.strip() for line in text.replace("\0", " ").splitlines() if line.strip()]
    if not lines:
        raise InputError(f"{path} is empty: the data set's own list file belongs there.")
    return lines


class Vimeo90K(Dataset):
    """Vimeo-90K, triplets: `sequences/CLIP/SHOT/{im1,im2,im3}.png` and `tri_testlist.txt`; 448x256.

    im2 is restored from im1 and im3, for the 3,782 triplets of the test list. Xue et al., Video enhancement with
    task-oriented flow, IJCV 2019; the protocol of all five papers.
    """

    name = "vimeo90k"
    protocol = "im2 of im1 and im3, 3,782 triplets of tri_testlist.txt, 448x256 (Xue et al., IJCV 2019)"
    expected = 3782

    def samples(self) -> Iterator[Sample]:
        """The test list, in its order."""
        base = self._folder("vimeo_triplet", "vimeo90k/vimeo_triplet", "vimeo90k", ".")
        for line in read_list(base / "tri_testlist.txt"):
            folder = base / "sequences" / line
            yield Sample(
                line, line.split("/")[0], (0.5,), _files(folder / "im1.png", folder / "im3.png", folder / "im2.png")
            )


class Vimeo90KSeptuplet(Dataset):
    """Vimeo-90K, septuplets: `sequences/CLIP/SHOT/im1.png .. im7.png` and `sep_testlist.txt`; 448x256.

    im2 .. im6 are restored from im1 and im7, at t = 1/6 .. 5/6: arbitrary times, as RIFE_m is trained on septuplets for
    (RIFE, section 3.4). The protocol is ours; 7,824 sequences in the test list.
    """

    name = "vimeo90k-septuplet"
    protocol = "im2..im6 of im1 and im7 (t = 1/6..5/6), 7,824 septuplets of sep_testlist.txt (ours)"
    expected = 7824 * 5

    def samples(self) -> Iterator[Sample]:
        """The test list, in its order."""
        base = self._folder("vimeo_septuplet", "vimeo90k/vimeo_septuplet", "vimeo90k-septuplet", ".")
        for line in read_list(base / "sep_testlist.txt"):
            images = [base / "sequences" / line / f"im{i}.png" for i in range(1, 8)]
            times = tuple(i / 6 for i in range(1, 6))
            yield Sample(line, line.split("/")[0], times, _files(images[0], images[6], *images[1:6]))


_DIRTY = """
1 141 171 191 231 241 281 291 371 401 441 451 511 571 611 661 711 721 731 971 981 1001 1021 1041 1081
1091 1111 1221 1231 1241 1251 1261 1321 1361 1401 1411 1441 1451 1471 1501 1511 1531 1551 1601 1721 1741
1811 1901 1911 1961 2051 2061 2111 2191 2281 2291 2301 2361 2381 2401 2431 2441 2451 2471 2481 2491 2531
2671 2691 2711 2751 2761 2781 2881 2921 2971 3011 3061 3071 3111 3121 3131 3171 3181 3211 3231 3241 3311
3321 3341 3361 3381 3391 3441 3601 3651 3661 3721
"""


class UCF101(Dataset):
    """UCF101 as Liu et al. cut it: `ucf101_interp_ours/ID/{frame_00,frame_01_gt,frame_02}.png`; 379 triplets, 256x256.

    frame_01_gt is restored from its neighbours. Liu et al., Video frame synthesis using deep voxel flow, ICCV 2017.
    With `clean`, the 98 triplets are left out in which, as the NCM paper found (appendix A.5, table 6), two of the
    three frames are the same.
    """

    name = "ucf101"
    protocol = "frame_01_gt of frame_00 and frame_02, 379 triplets, 256x256 (Liu et al., ICCV 2017)"
    expected = 379

    DIRTY: ClassVar[frozenset[int]] = frozenset(map(int, _DIRTY.split()))

    @property
    def wanted(self) -> int | None:
        """379, or 281 without the dirty ones."""
        return 379 - len(self.DIRTY) if self.options.clean else 379

    def samples(self) -> Iterator[Sample]:
        """The triplets, by their numbers."""
        base = self._folder("ucf101_interp_ours", "ucf101/ucf101_interp_ours", "ucf101", ".")
        folders = sorted((d for d in base.iterdir() if d.is_dir() and d.name.isdecimal()), key=lambda d: int(d.name))
        if not folders:
            raise InputError(
                f"{base} holds no UCF101 triplet: expected folders named by numbers, such as {base / '1'}."
            )
        for folder in folders:
            if self.options.clean and int(folder.name) in self.DIRTY:
                continue
            first, truth, second = (_either(folder, stem) for stem in ("frame_00", "frame_01_gt", "frame_02"))
            yield Sample(folder.name, folder.name, (0.5,), _files(first, second, truth))


class Middlebury(Dataset):
    """Middlebury OTHER: `input/NAME/{frame10,frame11}.png`, `gt/NAME/frame10i11.png`; 12 sequences of about 640x480.

    The middle frame is restored; the papers report the mean over the sequences of `ie`, the mean absolute difference of
    the rounded frame. Baker et
    al., A database and evaluation methodology for optical flow, IJCV 2011. The published archives are
    other-color-twoframes (other-data/) and other-gt-interp (other-gt-interp/); both layouts are read.
    """

    name = "middlebury"
    protocol = "frame10i11 of frame10 and frame11, 12 sequences OTHER (Baker et al., IJCV 2011; IE as RIFE computes it)"
    expected = 12

    def samples(self) -> Iterator[Sample]:
        """The sequences by name."""
        base = self._folder("middlebury_other", "middlebury", ".")
        given = next((base / n for n in ("input", "other-data") if (base / n).is_dir()), None)
        truth = next((base / n for n in ("gt", "other-gt-interp") if (base / n).is_dir()), None)
        if given is None or truth is None:
            raise InputError(f"{base} is not Middlebury OTHER: expected the folders input/ and gt/ in it.")
        names = sorted(d.name for d in truth.iterdir() if d.is_dir())
        if not names:
            raise InputError(f"{truth} holds no sequence: expected {truth / 'Beanbags' / 'frame10i11.png'} and others.")
        for name in names:
            files = _files(given / name / "frame10.png", given / name / "frame11.png", truth / name / "frame10i11.png")
            yield Sample(name, name, (0.5,), files)


class _SNUFilm(Dataset):
    """SNU-FILM: `test-SETTING.txt`, a triplet of paths a line, and the frames under `test/`; 310 triplets a setting.

    The middle path is restored from the outer two; the settings are triplets of the same 240 fps videos with 2 (easy),
    4, 8 and 16 (extreme) frames between the ends. Choi et al., Channel attention is all you need for video frame
    interpolation, AAAI 2020. The lists name files by `data/SNU-FILM/test/...`; what follows `test/` counts.
    """

    setting: ClassVar[str]
    expected = 310

    def samples(self) -> Iterator[Sample]:
        """The list, in its order."""
        base = self._folder("SNU-FILM", "snu-film", ".")
        table = next(
            (
                p
                for p in (base / f"test-{self.setting}.txt", base / "eval_modes" / f"test-{self.setting}.txt")
                if p.exists()
            ),
            base / f"test-{self.setting}.txt",
        )
        for number, line in enumerate(read_list(table)):
            # What follows test/, wherever the list's author had it.
            parts = [re.split(r"(?:^|/)test/", part.replace("\\", "/"))[-1] for part in line.split()]
            name = f"{number:03d} {parts[len(parts) // 2]}"
            group = "/".join(parts[len(parts) // 2].split("/")[:-1])
            if len(parts) == 3:
                first, truth, second = (base / "test" / part for part in parts)
                yield Sample(name, group, (0.5,), _files(first, second, truth))
            else:
                reason = f"{table}, line {number + 1}: expected three paths, found {len(parts)}."
                yield Sample(name, group, (0.5,), _broken(reason))


def _snu_film(level: str, gap: int) -> type[_SNUFilm]:
    return type(
        f"SNUFilm{level.title()}",
        (_SNUFilm,),
        {
            "__doc__": _SNUFilm.__doc__,
            "name": f"snu-film-{level}",
            "setting": level,
            "protocol": f"the middle path of test-{level}.txt, 310 triplets, ends {gap} frames apart at 240 fps "
            "(Choi et al., AAAI 2020)",
        },
    )


class X4K1000FPS(Dataset):
    """X4K1000FPS, X-TEST: `test/TYPE/CLIP/0000.png .. 0032.png`; 15 clips, 4096x2160, 1000 fps.

    8x: from frames 0 and 32 those at 4, 8, .. 28 (t = 1/8 .. 7/8) are restored. Sim et al., XVFI, ICCV 2021.
    """

    name = "x4k1000fps"
    protocol = "8x: frames 4, 8, .. 28 of frames 0 and 32, 15 clips, 4096x2160 (Sim et al., ICCV 2021)"
    expected = 15 * 7

    def _clips(self) -> Iterator[tuple[str, str, list[Path]]]:
        base = self._folder("X4K1000FPS/test", "x4k1000fps/test", "X-TEST", "test", ".")
        clips = sorted(d for d in base.glob("*/*") if d.is_dir() and d.parent.is_dir())
        if not clips:
            raise InputError(f"{base} holds no clip of X-TEST: expected folders such as {base / 'Type1' / 'TEST01'}.")
        for folder in clips:
            yield f"{folder.parent.name}/{folder.name}", folder.name, [folder / f"{i:04d}.png" for i in range(33)]

    def samples(self) -> Iterator[Sample]:
        """A sample of seven times for each clip."""
        for name, group, f in self._clips():
            yield Sample(
                name, group, tuple(i / 8 for i in range(1, 8)), _files(f[0], f[32], *(f[i] for i in range(4, 32, 4)))
            )


class X4K1000FPSExtrapolation(X4K1000FPS):
    """X-TEST for extrapolation: frame 32 from frames 0 and 16 (NCM, section 4.2)."""

    name = "x4k1000fps-extrapolation"
    protocol = "2x extrapolation: frame 32 of frames 0 and 16, 15 clips, 4096x2160 (NCM, section 4.2)"
    expected = 15
    extrapolation = True

    def samples(self) -> Iterator[Sample]:
        """A sample for each clip."""
        for name, group, f in self._clips():
            yield Sample(name, group, (2.0,), _files(f[0], f[16], f[32]))


class _Xiph(Dataset):
    """Eight clips of Xiph's 4K video test media, as Niklaus and Liu use them: frames 1 .. 100 as PNG, 4096x2160.

    Frames 2, 4, .. 98 are restored from their neighbours: 49 a clip. "2K" shrinks the frames to half (area averaging);
    "4K" cuts the centre 2048x1080 out of the full frames, which keeps the motion of 4K. Files are named CLIP-NNN.png
    with N from 1. Niklaus and Liu, Softmax splatting for video frame interpolation, CVPR 2020.
    """

    consecutive = True
    CLIPS: ClassVar[tuple[str, ...]] = (
        "BoxingPractice", "Crosswalk", "DrivingPOV", "FoodMarket", "FoodMarket2", "RitualDance", "SquareAndTimelapse",
        "Tango",
    )  # fmt: skip
    SIZE: ClassVar[tuple[int, int]] = (2160, 4096)
    """Of the full frames, which the protocol shrinks or cuts."""
    expected = 8 * 49

    @staticmethod
    @abstractmethod
    def change(picture: Image8) -> Image8:
        """What is done to a full frame."""

    def samples(self) -> Iterator[Sample]:
        """Forty-nine samples for each clip."""
        base = self._folder("xiph", "Xiph", "netflix", ".")
        if not any(True for clip in self.CLIPS for _ in base.glob(f"{clip}*")):
            raise InputError(f"{base} holds no clip of Xiph: expected {base / f'{self.CLIPS[0]}-001.png'} and others.")
        for clip in self.CLIPS:
            for i in range(2, 99, 2):
                first, truth, second = (self._place(base, clip, n) for n in (i - 1, i, i + 1))
                loader = _files(first, second, truth, change=self._changed)
                yield Sample(f"{clip}-{i:03d}", clip, (0.5,), loader, run=clip)

    def _changed(self, picture: Image8) -> Image8:
        if picture.shape[:2] != self.SIZE:
            sizes = [f"{size[1]}x{size[0]}" for size in (picture.shape, self.SIZE)]
            raise InputError(f"A frame of Xiph has {sizes[0]} pixels: the protocol begins with frames of {sizes[1]}.")
        return self.change(picture)

    @staticmethod
    def _place(base: Path, clip: str, number: int) -> Path:
        flat = base / f"{clip}-{number:03d}.png"
        return flat if flat.exists() or not (base / clip).is_dir() else base / clip / f"{number:03d}.png"


class Xiph2K(_Xiph):
    """Xiph-2K: the frames shrunk to 2048x1080."""

    __doc__ = f"{_Xiph.__doc__}"
    name = "xiph-2k"
    protocol = "frames 2, 4, .. 98 of their neighbours, 8 clips, shrunk to 2048x1080 (Niklaus and Liu, CVPR 2020)"

    @staticmethod
    def change(picture: Image8) -> Image8:
        """Area averaging to half the size."""
        height, width = picture.shape[:2]
        return np.asarray(cv2.resize(picture, (width // 2, height // 2), interpolation=cv2.INTER_AREA), np.uint8)


class Xiph4K(_Xiph):
    """Xiph-"4K": the centre 2048x1080 of the full frames."""

    __doc__ = f"{_Xiph.__doc__}"
    name = "xiph-4k"
    protocol = "frames 2, 4, .. 98 of their neighbours, 8 clips, centre 2048x1080 (Niklaus and Liu, CVPR 2020)"

    @staticmethod
    def change(picture: Image8) -> Image8:
        """The middle half of the rows and of the columns."""
        height, width = picture.shape[:2]
        top, left = height // 4, width // 4
        return np.ascontiguousarray(picture[top : top + height // 2, left : left + width // 2])


class ConsecutiveFrames(Dataset):
    """Folders of consecutive frames, as DAVIS has them: `SEQUENCE/*.jpg` (or .png) in the order of their numbers.

    Every frame i is restored from i - stride and i + stride. A root that holds pictures itself is one sequence. A
    number that is missing in a sequence is counted as missing: frames farther apart than the stride never stand in.
    """

    name = "frames"
    protocol = "every frame of the two `stride` frames before and after it, folders of consecutive frames"
    consecutive = True

    def samples(self) -> Iterator[Sample]:
        """Sequence by sequence, and in each run by run: a run holds every 2 stride-th frame."""
        folders = [self.root] if self.root.is_dir() and list_pictures(self.root) else []
        if not folders and self.root.is_dir():
            folders = [d for d in sorted(self.root.iterdir()) if d.is_dir() and list_pictures(d)]
        if not folders:
            raise InputError(f"{self.root} holds no frames: expected pictures in it, or folders of pictures.")
        stride = self.options.stride
        for folder in folders:
            frames = _numbered(folder)
            twins = len({path.stem for path in frames.values()}) < len(frames)
            for start in range(2 * stride):
                for i in range(start, max(frames) - 2 * stride + 1, 2 * stride):
                    places = [i, i + stride, i + 2 * stride]
                    lost = next((place for place in places if place not in frames), None)
                    if lost is not None:
                        # Only what the middle frame's own place tells is new; ends are told by their neighbours.
                        name = f"{folder.name}/{i + stride} (by order)"
                        reason = f"{folder} has no frame at place {lost}, counted from 0."
                        yield Sample(name, folder.name, (0.5,), _broken(reason))
                        continue
                    first, middle, second = (frames[place] for place in places)
                    name = f"{folder.name}/{middle.name if twins else middle.stem}"
                    loader = _files(first, second, middle)
                    yield Sample(name, folder.name, (0.5,), loader, run=f"{folder.name}#{start}")


def _numbered(folder: Path) -> dict[int, Path]:
    """The pictures of a folder by their places, counted from 0: by their numbers if these differ, else by order."""
    paths = list_pictures(folder)
    numbers = [_number(path.stem) for path in paths]
    steps = {b - a for a, b in itertools.pairwise(numbers)}
    if len(paths) < 2 or min(numbers) < 0 or 0 in steps:
        return dict(enumerate(paths))
    step = math.gcd(*steps)
    return {(number - numbers[0]) // step: path for number, path in zip(numbers, paths, strict=True)}


class Triplets(Dataset):
    """Any folder of triplets: `NAME/` with three pictures, which by name are first, middle and second.

    The middle one is restored. A folder with another number of pictures is counted as damaged.
    """

    name = "triplets"
    protocol = "the middle one of the three pictures of each folder"

    def samples(self) -> Iterator[Sample]:
        """Folder by folder."""
        folders = sorted(d for d in self.root.iterdir() if d.is_dir()) if self.root.is_dir() else []
        if not folders:
            raise InputError(f"{self.root} holds no triplets: expected folders of three pictures each.")
        for folder in folders:
            yield Sample(folder.name, folder.name, (0.5,), self._loader(folder))

    @staticmethod
    def _loader(folder: Path) -> Callable[[], Frames]:
        def load() -> Frames:
            paths = list_pictures(folder)
            if len(paths) != 3:
                raise InputError(f"{folder} holds {len(paths)} pictures: a triplet has three.")
            return _files(paths[0], paths[2], paths[1])()

        return load


class _Videos(Dataset):
    """What sets of video files share: every other frame is dropped and restored from its neighbours."""

    consecutive = True

    def _label(self, path: Path) -> str:
        """What a video is called: its place under the root."""
        return path.relative_to(self.root).as_posix() if path != self.root else path.name

    def _halved(self, path: Path, most: int | None) -> Iterator[Sample]:
        """Samples of one video, in order: 0 _ 2 _ 4 .. A damaged one gives a sample that says so, and no other."""
        name = self._label(path)
        try:
            for _ in _decoded(path, most, convert=False):
                pass
        except InputError as error:
            yield Sample(name, name, (0.5,), _broken(str(error)))
            return
        window: list[Image8] = []
        for number, picture in enumerate(_decoded(path, most)):
            window.append(picture)
            if len(window) == 3:
                a, truth, b = window
                held = Frames(a, b, [truth])
                yield Sample(f"{name}/{number - 1:06d}", name, (0.5,), functools.partial(_given, held), run=name)
                window = [b]


def _given(frames: Frames) -> Frames:
    return frames


def _decoded(path: Path, most: int | None, *, convert: bool = True) -> Iterator[Image8]:
    """The first frames of a video as 8-bit RGB, by its own matrix and range.

    Raises:
        InputError: if it cannot be read, or is damaged before its end.
    """
    from betwixt.media.colour import RGBConverter
    from betwixt.media.frames import planes
    from betwixt.media.reader import Frame, Reader

    with Reader(path) as reader:
        route: RGBConverter | None = None
        frames = (item for item in reader if isinstance(item, Frame))
        for frame in itertools.islice(frames, most):
            if convert:
                video = frame.video
                route = route or RGBConverter(video.format.name, video.width, video.height, reader.info.colour)
                yield to_uint8(route.to_rgb(planes(video)))
        if reader.damage:
            raise InputError(f"{path} is damaged: {reader.damage}.")


class HD(_Videos):
    """The HD set of Bao et al.: 11 videos, three of 720p, four of 1080p, four of 1280x544: `HD_dataset/*/NAME.yuv`.

    Frames 1, 3, .. 99 of each are restored from their neighbours: the first hundred, as RIFE states (section 4.1),
    whose own script also reads frame 100; a video that ends sooner gives fewer. The figures that RIFE prints for this
    set are of luma: the metric `psnr_y`. Bao et al., MEMC-Net, TPAMI 2018. Videos other than those eleven are taken
    where none of the eleven is there; a raw .yuv (4:2:0) needs its size in its name or its folder's:
    NAME_1280x720_25.yuv, or 1080p, 720p, 544p.
    """

    name = "hd"
    protocol = "frames 1, 3, .. 99 of their neighbours, 11 videos of 544p, 720p and 1080p (RIFE, section 4.1: psnr_y)"
    by_sequence = True

    VIDEOS: ClassVar[tuple[str, ...]] = (
        "HD720p_GT/parkrun_1280x720_50",
        "HD720p_GT/shields_1280x720_60",
        "HD720p_GT/stockholm_1280x720_60",
        "HD1080p_GT/BlueSky",
        "HD1080p_GT/Kimono1_1920x1080_24",
        "HD1080p_GT/ParkScene_1920x1080_24",
        "HD1080p_GT/sunflower_1080p25",
        "HD544p_GT/Sintel_Alley2_1280x544",
        "HD544p_GT/Sintel_Market5_1280x544",
        "HD544p_GT/Sintel_Temple1_1280x544",
        "HD544p_GT/Sintel_Temple2_1280x544",
    )
    SUFFIXES: ClassVar[tuple[str, ...]] = (".yuv", ".y4m", ".mp4", ".mkv", ".avi", ".mov")

    def samples(self) -> Iterator[Sample]:
        """Video by video."""
        base = self._folder("HD_dataset", "hd", ".")
        videos = sorted(p for p in base.rglob("*") if p.suffix.lower() in self.SUFFIXES)
        if not videos:
            raise InputError(f"{base} holds no video of the HD set: expected {base / self.VIDEOS[0]}.yuv and others.")
        published = {Path(name).name: name for name in self.VIDEOS}
        found = {path.stem: path for path in videos if path.stem in published}
        if found:
            videos = [found.get(stem, base / f"{name}.yuv") for stem, name in published.items()]
        for path in videos:
            if not path.exists():
                yield Sample(self._label(path), self._label(path), (0.5,), _broken(f"{path} is missing."))
            elif path.suffix.lower() == ".yuv":
                yield from self._raw(path)
            else:
                yield from self._halved(path, 101)

    def _raw(self, path: Path) -> Iterator[Sample]:
        """Raw 8-bit 4:2:0."""
        name = self._label(path)
        found = re.search(r"(\d{2,5})x(\d{2,5})", path.name)
        known = {"1080p": (1920, 1080), "720p": (1280, 720), "544p": (1280, 544)}
        size = (int(found[1]), int(found[2])) if found else None
        for word, usual in known.items():
            if size is None and (word in path.name or word in path.parent.name):
                size = usual
        if size is None or 0 in size or size[0] % 2 or size[1] % 2:
            reason = f"{path}: its size, of even sides, has to be in its name, such as NAME_1280x720_25.yuv."
            yield Sample(name, name, (0.5,), _broken(reason))
            return
        width, height = size
        length = width * height * 3 // 2
        total = path.stat().st_size
        count = min(101, total // length)
        if total % length or count < 3:
            reason = f"{path} is damaged: it holds {total / length:.2f} frames of {width}x{height}."
            yield Sample(name, name, (0.5,), _broken(reason))
            return

        def triplet(i: int) -> Frames:
            first, truth, second = (_raw_frame(path, n, width, height) for n in (i - 1, i, i + 1))
            return Frames(first, second, [truth])

        for i in range(1, count - 1, 2):
            yield Sample(f"{name}/{i:06d}", name, (0.5,), functools.partial(triplet, i), run=name)


_TO_RGB = np.array([[1.0, 0.0, 1.13988303], [1.0, -0.394642334, -0.58062185], [1.0, 2.03206185, 0.0]])
"""YUV, U and V around 0, to RGB: the inverse of scikit-image's matrix."""


def _raw_frame(path: Path, number: int, width: int, height: int) -> Image8:
    """A frame of a raw video as RIFE's script reads it: full range (though video is not), the old analogue matrix."""
    length = width * height * 3 // 2
    data = np.fromfile(path, np.uint8, length, offset=number * length)
    luma, chroma = data[: width * height], data[width * height :].reshape(2, height // 2, width // 2)
    full = [cv2.resize(x, (width, height), interpolation=cv2.INTER_CUBIC) for x in chroma]
    yuv = np.stack([luma.reshape(height, width), *full], axis=2) / 255.0 - np.array([0.0, 0.5, 0.5])
    picture: Image8 = (np.clip(yuv @ _TO_RGB.T, 0, 1) * 255).astype(np.uint8)
    return picture


class Video(_Videos):
    """Any video, or a folder of videos: every other frame is dropped, restored from its neighbours, and compared."""

    name = "video"
    protocol = "every other frame of its neighbours, any video"

    def samples(self) -> Iterator[Sample]:
        """Video by video."""
        if self.root.is_dir():
            suffixes = (".mp4", ".mkv", ".mov", ".webm", ".avi", ".y4m", ".ts", ".m4v")
            videos = sorted(p for p in self.root.iterdir() if p.suffix.lower() in suffixes)
            if not videos:
                raise InputError(f"{self.root} holds no video.")
        else:
            videos = [self.root]
        for path in videos:
            yield from self._halved(path, None)


DATASETS: dict[str, type[Dataset]] = {
    kind.name: kind
    for kind in (
        Vimeo90K,
        Vimeo90KSeptuplet,
        UCF101,
        Middlebury,
        _snu_film("easy", 2),
        _snu_film("medium", 4),
        _snu_film("hard", 8),
        _snu_film("extreme", 16),
        X4K1000FPS,
        X4K1000FPSExtrapolation,
        Xiph2K,
        Xiph4K,
        HD,
        ConsecutiveFrames,
        Triplets,
        Video,
    )
}


class _Extrapolated(Dataset):
    """A set of triplets, of each of which the last frame is restored from the two before it.

    So NCM measures extrapolation (table 2). Frames of its times: 0, 1 and, to be restored, 2.
    """

    def __init__(self, triplets: Dataset) -> None:
        super().__init__(triplets.root, triplets.options)
        self.by_sequence = triplets.by_sequence
        self._triplets = triplets
        self.name = f"{triplets.name}-extrapolation"
        self.protocol = f"the last frame of the two before it, instead of: {triplets.protocol}"
        self.extrapolation = True

    @property
    def wanted(self) -> int | None:
        """As many as there are triplets."""
        return self._triplets.wanted

    def samples(self) -> Iterator[Sample]:
        """Those of the set."""
        for sample in self._triplets.samples():
            if sample.times != (0.5,):
                raise UsageError(f"--extrapolate needs triplets: {self._triplets.name} has none.")
            yield replace(sample, times=(2.0,), run=None, load=functools.partial(_turned, sample.load))


def _turned(load: Callable[[], Frames]) -> Frames:
    frames = load()
    return Frames(frames.first, frames.truths[0], [frames.second])


class _Surrounded(Dataset):
    """A set of consecutive frames whose samples also hold the given frames before and after their two."""

    surrounded = True

    def __init__(self, dataset: Dataset) -> None:
        super().__init__(dataset.root, dataset.options)
        self.by_sequence = dataset.by_sequence
        self._dataset = dataset
        self.name = dataset.name
        self.protocol = f"{dataset.protocol}; the given frames before and after the two are known as well"

    @property
    def wanted(self) -> int | None:
        """As many as without."""
        return self._dataset.wanted

    def samples(self) -> Iterator[Sample]:
        """Those of the set."""
        last: Sample | None = None
        for this, next_ in itertools.pairwise(itertools.chain(self._dataset.samples(), (None,))):
            assert this is not None
            before, after = (
                side.load if side is not None and side.run is not None and side.run == this.run else None
                for side in (last, next_)
            )
            yield replace(this, load=functools.partial(_surrounded, this.load, before, after))
            last = this


def _surrounded(
    load: Callable[[], Frames], before: Callable[[], Frames] | None, after: Callable[[], Frames] | None
) -> Frames:
    frames = load()
    with contextlib.suppress(InputError):  # what cannot be read is not known
        frames = replace(frames, before=None if before is None else before().first)
    with contextlib.suppress(InputError):
        frames = replace(frames, after=None if after is None else after().second)
    return frames


def open_dataset(name: str, root: Path, options: DatasetOptions | None = None) -> Dataset:
    """A data set by name.

    Raises:
        UsageError: if there is no such data set, or an option does not fit it.
        InputError: if the root is not there.
    """
    options = options or DatasetOptions()
    if name not in DATASETS:
        raise UsageError(f"There is no data set '{name}': choose from {', '.join(DATASETS)}.")
    if options.clean and name != "ucf101":
        raise UsageError("--clean is for ucf101: no other data set has a list of dirty samples.")
    if options.stride != 1 and name != "frames":
        raise UsageError("--stride is for the data set 'frames': the others have a protocol of their own.")
    if options.stride < 1:
        raise UsageError(f"--stride {options.stride} is too small: 1 is every frame of its direct neighbours.")
    if options.paths not in ("straight", "curved"):
        raise UsageError(f"--paths is '{options.paths}': choose straight or curved.")
    if options.paths == "curved" and (options.extrapolate or not DATASETS[name].consecutive):
        known = ", ".join(n for n, kind in DATASETS.items() if kind.consecutive)
        raise UsageError(f"--paths curved needs frames around the two, of interpolation: only {known} have them.")
    if not root.exists():
        raise InputError(f"There is no {root}: give the folder that holds {name} as --root.")
    if options.extrapolate and name.startswith("x4k1000fps"):
        return X4K1000FPSExtrapolation(root, options)
    dataset = DATASETS[name](root, options)
    if options.paths == "curved":
        return _Surrounded(dataset)
    return _Extrapolated(dataset) if options.extrapolate else dataset

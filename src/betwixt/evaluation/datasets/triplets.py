"""Benchmarks of separate image folders: Vimeo-90K, UCF101, Middlebury, SNU-FILM, and any folder of triplets."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np

from betwixt.errors import InputError
from betwixt.evaluation.datasets.base import (
    IMAGE_SUFFIXES,
    Dataset,
    Sample,
    SampleImages,
    failing_loader,
    image_loader,
    list_images,
    read_list_file,
)
from betwixt.evaluation.metrics import Image8


class Vimeo90K(Dataset):
    """Vimeo-90K, triplets: `sequences/CLIP/SHOT/{im1,im2,im3}.png` and `tri_testlist.txt`; 448x256.

    im2 is restored from im1 and im3, for the 3,782 triplets of the test list. Xue et al., Video enhancement with
    task-oriented flow, IJCV 2019; the protocol of all five papers.
    """

    name = "vimeo90k"
    protocol = "im2 of im1 and im3, 3,782 triplets of tri_testlist.txt, 448x256 (Xue et al., IJCV 2019)"
    published_count = 3782
    transform: Callable[[Image8], Image8] | None = None

    def samples(self) -> Iterator[Sample]:
        base = self.find_folder("vimeo_triplet", "vimeo90k/vimeo_triplet", "vimeo90k", ".")
        for line in read_list_file(base / "tri_testlist.txt"):
            folder = base / "sequences" / line
            paths = (folder / "im1.png", folder / "im3.png", folder / "im2.png")
            yield Sample(line, line.split("/")[0], (0.5,), image_loader(*paths, transform=self.transform))


class Vimeo90K480p(Vimeo90K):
    """Vimeo-90K, triplets enlarged to 480 rows (NCM, section 4.4: "if we resize 256p videos to 480p").

    The paper does not say how: here by bicubic interpolation, 448x256 to 840x480, the true frames as well.
    """

    name = "vimeo90k-480p"
    protocol = "im2 of im1 and im3, 3,782 triplets of tri_testlist.txt, enlarged to 840x480 (NCM, table 3)"

    @staticmethod
    def transform(image: Image8) -> Image8:
        """The image at 480 rows."""
        height, width = image.shape[:2]
        return np.asarray(cv2.resize(image, (width * 480 // height, 480), interpolation=cv2.INTER_CUBIC), np.uint8)


class Vimeo90KSeptuplet(Dataset):
    """Vimeo-90K, septuplets: `sequences/CLIP/SHOT/im1.png .. im7.png` and `sep_testlist.txt`; 448x256.

    im2 .. im6 are restored from im1 and im7, at t = 1/6 .. 5/6: arbitrary times, as RIFE_m is trained on septuplets for
    (RIFE, section 3.4). The protocol is Betwixt's own; the test list has 7,824 sequences.
    """

    name = "vimeo90k-septuplet"
    protocol = "im2..im6 of im1 and im7 (t = 1/6..5/6), 7,824 septuplets of sep_testlist.txt (ours)"
    published_count = 7824 * 5

    def samples(self) -> Iterator[Sample]:
        base = self.find_folder("vimeo_septuplet", "vimeo90k/vimeo_septuplet", "vimeo90k-septuplet", ".")
        for line in read_list_file(base / "sep_testlist.txt"):
            images = [base / "sequences" / line / f"im{i}.png" for i in range(1, 8)]
            times = tuple(i / 6 for i in range(1, 6))
            yield Sample(line, line.split("/")[0], times, image_loader(images[0], images[6], *images[1:6]))


_UCF101_DUPLICATES = """
1 141 171 191 231 241 281 291 371 401 441 451 511 571 611 661 711 721 731 971 981 1001 1021 1041 1081
1091 1111 1221 1231 1241 1251 1261 1321 1361 1401 1411 1441 1451 1471 1501 1511 1531 1551 1601 1721 1741
1811 1901 1911 1961 2051 2061 2111 2191 2281 2291 2301 2361 2381 2401 2431 2441 2451 2471 2481 2491 2531
2671 2691 2711 2751 2761 2781 2881 2921 2971 3011 3061 3071 3111 3121 3131 3171 3181 3211 3231 3241 3311
3321 3341 3361 3381 3391 3441 3601 3651 3661 3721
"""


class UCF101(Dataset):
    """UCF101 as Liu et al. cut it: `ucf101_interp_ours/ID/{frame_00,frame_01_gt,frame_02}.png`; 379 triplets, 256x256.

    frame_01_gt is restored from its neighbours. Liu et al., Video frame synthesis using deep voxel flow, ICCV 2017.
    The option `clean` leaves out the 98 triplets in which two of the three frames are identical, as the NCM paper found
    (appendix A.5, table 6).
    """

    name = "ucf101"
    protocol = "frame_01_gt of frame_00 and frame_02, 379 triplets, 256x256 (Liu et al., ICCV 2017)"
    published_count = 379

    DUPLICATES: ClassVar[frozenset[int]] = frozenset(map(int, _UCF101_DUPLICATES.split()))

    @property
    def expected_count(self) -> int:
        return 379 - len(self.DUPLICATES) if self.options.clean else 379

    def samples(self) -> Iterator[Sample]:
        base = self.find_folder("ucf101_interp_ours", "ucf101/ucf101_interp_ours", "ucf101", ".")
        folders = sorted((d for d in base.iterdir() if d.is_dir() and d.name.isdecimal()), key=lambda d: int(d.name))
        if not folders:
            raise InputError(f"{base} has no UCF101 triplet: expected folders named by numbers, such as {base / '1'}.")
        for folder in folders:
            if self.options.clean and int(folder.name) in self.DUPLICATES:
                continue
            first, truth, second = (_find_image(folder, stem) for stem in ("frame_00", "frame_01_gt", "frame_02"))
            yield Sample(folder.name, folder.name, (0.5,), image_loader(first, second, truth))


def _find_image(folder: Path, stem: str) -> Path:
    """The image with this stem, whatever its suffix; .png if there is none."""
    candidates = (folder / f"{stem}{suffix}" for suffix in IMAGE_SUFFIXES)
    return next((path for path in candidates if path.exists()), folder / f"{stem}.png")


class Middlebury(Dataset):
    """Middlebury OTHER: `input/NAME/{frame10,frame11}.png`, `gt/NAME/frame10i11.png`; 12 sequences of about 640x480.

    The middle frame is restored. The papers report the mean over the sequences of `ie`, the mean absolute difference of
    the 8-bit frame. Baker et al., A database and evaluation methodology for optical flow, IJCV 2011. The published
    archives are other-color-twoframes (other-data/) and other-gt-interp (other-gt-interp/); both layouts are read.
    """

    name = "middlebury"
    protocol = "frame10i11 of frame10 and frame11, 12 sequences OTHER (Baker et al., IJCV 2011; IE as RIFE computes it)"
    published_count = 12

    def samples(self) -> Iterator[Sample]:
        base = self.find_folder("middlebury_other", "middlebury", ".")
        inputs = next((base / n for n in ("input", "other-data") if (base / n).is_dir()), None)
        truths = next((base / n for n in ("gt", "other-gt-interp") if (base / n).is_dir()), None)
        if inputs is None or truths is None:
            raise InputError(f"{base} is not Middlebury OTHER: expected the folders input/ and gt/ in it.")
        names = sorted(d.name for d in truths.iterdir() if d.is_dir())
        if not names:
            example = truths / "Beanbags" / "frame10i11.png"
            raise InputError(f"{truths} has no sequence: expected {example} and others.")
        for name in names:
            first, second = (inputs / name / f"{frame}.png" for frame in ("frame10", "frame11"))
            yield Sample(name, name, (0.5,), image_loader(first, second, truths / name / "frame10i11.png"))


class _SNUFilm(Dataset):
    """SNU-FILM: `test-LEVEL.txt`, three paths a line, and the frames under `test/`; 310 triplets a level.

    The middle path is restored from the outer two. The levels are triplets of the same 240 fps videos whose ends lie
    2 (easy), 4, 8 and 16 (extreme) frames apart. Choi et al., Channel attention is all you need for video frame
    interpolation, AAAI 2020. The lists name files by `data/SNU-FILM/test/...`; only what follows `test/` is used.
    """

    level: ClassVar[str]
    published_count = 310

    def __init_subclass__(cls, level: str, distance: int) -> None:
        cls.name, cls.level = f"snu-film-{level}", level
        cls.protocol = (
            f"the middle path of test-{level}.txt, 310 triplets, ends {distance} frames apart at 240 fps "
            "(Choi et al., AAAI 2020)"
        )

    def samples(self) -> Iterator[Sample]:
        base = self.find_folder("SNU-FILM", "snu-film", ".")
        table, alternative = (folder / f"test-{self.level}.txt" for folder in (base, base / "eval_modes"))
        if not table.exists() and alternative.exists():
            table = alternative
        for number, line in enumerate(read_list_file(table)):
            paths = [re.split(r"(?:^|/)test/", path.replace("\\", "/"))[-1] for path in line.split()]
            middle = paths[len(paths) // 2]
            group = "/".join(middle.split("/")[:-1])
            if len(paths) == 3:
                first, truth, second = (base / "test" / path for path in paths)
                loader = image_loader(first, second, truth)
            else:
                loader = failing_loader(f"{table}, line {number + 1}: expected three paths, found {len(paths)}.")
            yield Sample(f"{number:03d} {middle}", group, (0.5,), loader)


class SNUFilmEasy(_SNUFilm, level="easy", distance=2):
    """SNU-FILM, easy; see `_SNUFilm` for the layout."""


class SNUFilmMedium(_SNUFilm, level="medium", distance=4):
    """SNU-FILM, medium; see `_SNUFilm` for the layout."""


class SNUFilmHard(_SNUFilm, level="hard", distance=8):
    """SNU-FILM, hard; see `_SNUFilm` for the layout."""


class SNUFilmExtreme(_SNUFilm, level="extreme", distance=16):
    """SNU-FILM, extreme; see `_SNUFilm` for the layout."""


class Triplets(Dataset):
    """Any folder of triplets: `NAME/` with three images, which in the order of their names are first, middle, second.

    The middle one is restored. A folder with another number of images counts as damaged.
    """

    name = "triplets"
    protocol = "the middle one of the three pictures of each folder"

    def samples(self) -> Iterator[Sample]:
        folders = sorted(d for d in self.root.iterdir() if d.is_dir()) if self.root.is_dir() else []
        if not folders:
            raise InputError(f"{self.root} has no triplets: expected folders of three images each.")
        for folder in folders:
            yield Sample(folder.name, folder.name, (0.5,), functools.partial(_load_triplet, folder))


def _load_triplet(folder: Path) -> SampleImages:
    paths = list_images(folder)
    if len(paths) != 3:
        raise InputError(f"{folder} has {len(paths)} images: a triplet has three.")
    return image_loader(paths[0], paths[2], paths[1])()

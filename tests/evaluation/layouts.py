"""Tiny benchmarks in their published layouts, made by code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray


def picture(step: float, height: int = 32, width: int = 48) -> NDArray[np.uint8]:
    """A pattern that has moved by `step` pixels."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    waves = [128 + 60 * np.sin((x - step) / (3 + c)) + 50 * np.cos((y + step / 2) / (4 + c)) for c in range(3)]
    return np.clip(np.stack(waves, axis=-1), 0, 255).astype(np.uint8)


def write(path: Path, step: float, height: int = 32, width: int = 48) -> None:
    """Write it as a picture file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), picture(step, height, width))


def vimeo90k(root: Path) -> None:
    names = ["00001/0001", "00001/0002", "00002/0001"]
    for name in names:
        for i in (1, 2, 3):
            write(root / "vimeo_triplet/sequences" / name / f"im{i}.png", i)
    (root / "vimeo_triplet/tri_testlist.txt").write_text("\n".join(names) + "\n\n")


def septuplet(root: Path) -> None:
    for i in range(1, 8):
        write(root / "vimeo_septuplet/sequences/00001/0001" / f"im{i}.png", i)
    (root / "vimeo_septuplet/sep_testlist.txt").write_text("00001/0001\n")


def ucf101(root: Path) -> None:
    for number in (1, 2, 11, 141):  # 1 and 141 are on the list of dirty ones
        for i, stem in enumerate(("frame_00", "frame_01_gt", "frame_02")):
            write(root / f"ucf101_interp_ours/{number}/{stem}.{'webp' if number == 2 else 'png'}", i)


def middlebury(root: Path) -> None:
    for name in ("Walking", "Beanbags"):
        write(root / f"middlebury_other/input/{name}/frame10.png", 0)
        write(root / f"middlebury_other/input/{name}/frame11.png", 2)
        write(root / f"middlebury_other/gt/{name}/frame10i11.png", 1)


def snu_film(root: Path) -> None:
    lines = []
    for i in (2, 4):
        for k in (i - 1, i, i + 1):
            write(root / f"SNU-FILM/test/GOPRO_test/GOPR01/{k:06d}.png", k)
        lines.append(" ".join(f"data/SNU-FILM/test/GOPRO_test/GOPR01/{k:06d}.png" for k in (i - 1, i, i + 1)))
    for level in ("easy", "medium", "hard", "extreme"):
        (root / f"SNU-FILM/test-{level}.txt").write_text("\n".join(lines))


def x_test(root: Path) -> None:
    for i in range(33):
        write(root / f"X4K1000FPS/test/Type1/TEST01/{i:04d}.png", i / 4)


def xiph(root: Path) -> None:
    clips = ("BoxingPractice", "Crosswalk", "DrivingPOV", "FoodMarket")
    for clip in (*clips, "FoodMarket2", "RitualDance", "SquareAndTimelapse", "Tango"):
        for i in (1, 2, 3):
            write(root / f"xiph/{clip}-{i:03d}.png", i, 64, 96)


def hd(root: Path) -> None:
    folder = root / "HD_dataset/HD544p_GT"
    folder.mkdir(parents=True)
    frames = [cv2.cvtColor(picture(i, 32, 48), cv2.COLOR_BGR2YUV_I420) for i in range(103)]
    (folder / "clip_48x32_25.yuv").write_bytes(b"".join(frame.tobytes() for frame in frames))


def frames(root: Path) -> None:
    for i in range(7):
        write(root / f"alpha/{i:05d}.jpg", i)
    for i in range(4):
        write(root / f"beta/{i:05d}.png", 2 * i)


def triplets(root: Path) -> None:
    for name in ("a", "b"):
        for i, stem in enumerate(("0", "1", "2")):
            write(root / f"{name}/{stem}.png", i)


LAYOUTS: dict[str, tuple[Callable[[Path], None], int]] = {
    "vimeo90k": (vimeo90k, 3),
    "vimeo90k-septuplet": (septuplet, 5),
    "ucf101": (ucf101, 4),
    "middlebury": (middlebury, 2),
    "snu-film-easy": (snu_film, 2),
    "snu-film-medium": (snu_film, 2),
    "snu-film-hard": (snu_film, 2),
    "snu-film-extreme": (snu_film, 2),
    "x4k1000fps": (x_test, 7),
    "x4k1000fps-extrapolation": (x_test, 1),
    "xiph-2k": (xiph, 8),
    "xiph-4k": (xiph, 8),
    "hd": (hd, 50),
    "frames": (frames, 7),
    "triplets": (triplets, 2),
}
"""How to make each data set, and how many frames of it can then be restored."""

"""Masks given to a conversion: which pair of maps reaches the model, and what is refused."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import betwixt
from betwixt.errors import BetwixtError, InputError, UsageError
from betwixt.layers.label_maps import LabelMapPair
from betwixt.models.baselines.interpolator import Average
from clips import make_clip, read_frames


class Masked(Average):
    """An average that records the masks it gets."""

    name = "average+hm"
    takes_masks = True

    def __init__(self) -> None:
        self.seen: list[tuple[int, int]] = []
        self._lock = threading.Lock()

    def prepare_masked(self, first: Any, second: Any, masks: LabelMapPair) -> Any:
        masks.check_size(*first.shape[:2])
        with self._lock:
            self.seen.append((int(masks.labels0[0, 0]), int(masks.labels1[0, 0])))
        return self.prepare(first, second)


def numbered_maps(folder: Path, count: int, height: int, width: int) -> Path:
    """Write one label map per frame; all of frame k has label k."""
    folder.mkdir()
    for k in range(count):
        cv2.imwrite(str(folder / f"{k:05d}.png"), np.full((height, width), k, np.uint8))
    return folder


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return make_clip(tmp_path / "in.mkv", frames=8)


def size_of(clip: Path) -> tuple[int, int]:
    frame = read_frames(clip)[0].video
    return frame.height, frame.width


@pytest.mark.parametrize("start", [None, 0.12])
def test_each_pair_gets_the_masks_of_its_frames(tmp_path: Path, clip: Path, start: float | None) -> None:
    model = Masked()
    maps = numbered_maps(tmp_path / "masks", 8, *size_of(clip))
    betwixt.interpolate_video(clip, tmp_path / "out.mkv", factor=2, model=model, masks=maps, start=start, codec="ffv1")
    first = 0 if start is None else 3
    assert sorted(model.seen) == [(k, k + 1) for k in range(first, 7)]


def test_masks_that_do_not_fit_are_refused(tmp_path: Path, clip: Path) -> None:
    height, width = size_of(clip)
    good = numbered_maps(tmp_path / "good", 8, height, width)
    small = numbered_maps(tmp_path / "small", 8, height // 2, width)
    short = numbered_maps(tmp_path / "short", 5, height, width)
    target = tmp_path / "out.mkv"
    for model, maps, more, kind, message in (
        ("dis", good, {}, UsageError, "dis takes no masks"),
        (Masked(), tmp_path / "none", {}, InputError, "There is no folder of masks"),
        (Masked(), small, {}, InputError, "make masks of the frames' size"),
        (Masked(), short, {}, InputError, "00005.png is missing"),
        (Masked(), good, {"loop": True}, UsageError, "`masks` and `loop`"),
    ):
        with pytest.raises(kind, match=message) as error:
            betwixt.interpolate_video(clip, target, model=model, masks=maps, codec="ffv1", **more)
        assert isinstance(error.value, BetwixtError)
        assert "\n" not in str(error.value)
        assert not list(tmp_path.glob("out*"))

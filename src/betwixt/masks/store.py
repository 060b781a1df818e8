"""Masks as files: a folder of label maps.

    frames     000000.png  000001.png  ..           one map a frame; a label means the same throughout
    pairs      000000-0.png  000000-1.png  ..       two maps a pair: of frames 0 and 1, of frames 1 and 2, ..

Both are read. Pairs are what Betwixt writes, since which labels two frames share is a matter of those two; frames are
what other tools write. A map is a PNG whose grey value, or index into its palette, is the label (as DAVIS publishes its
annotations), or a NumPy array (.npy) of integers, (height, width). `masks.json` beside the maps says what made them:

    {"format": "betwixt masks", "version": 1, "source": "regions", "settings": {..}, "width": 854, "height": 480,
     "frames": 60, "pairs": [{"count": 12, "names": []}, ..]}

Without it the masks count as given by a user.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import av
import av.error
import cv2
import numpy as np
from numpy.typing import NDArray

from betwixt.errors import InputError, OutputError
from betwixt.files import AtomicOutput, write_error
from betwixt.layers.label_maps import MASK_SOURCE_NAMES, MAX_LABELS, LabelMap, LabelMapPair, MaskSourceName, as_labels

__all__ = ["MaskFolder", "MaskWriter", "open_masks"]

_MANIFEST = "masks.json"
_NAME = re.compile(r"^(?P<number>\d+)(?:-(?P<side>[01]))?\.(?:png|npy)$")


def open_masks(folder: str | Path) -> MaskFolder:
    """The masks in a folder.

    Raises:
        InputError: if there are none, one is missing in between, or `masks.json` is damaged.
    """
    return MaskFolder(Path(folder))


class MaskFolder:
    """Label maps in a folder; they are read when they are asked for.

    Attributes:
        path: The folder.
        source: What made them.
        frames: Of how many frames there are masks.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_dir():
            raise InputError(f"There is no folder of masks {path}: betwixt masks makes one.")
        self._maps: dict[tuple[int, int | None], Path] = {}
        for file in sorted(path.iterdir()):
            if match := _NAME.match(file.name):
                side = match["side"]
                self._maps.setdefault((int(match["number"]), None if side is None else int(side)), file)
        if not self._maps:
            raise InputError(f"{path} holds no masks: expected 000000.png, .. or 000000-0.png, 000000-1.png, ..")
        kinds = {side is None for _, side in self._maps}
        if len(kinds) > 1:
            raise InputError(f"{path} holds masks of frames and of pairs: keep either 000000.png or 000000-0.png, ..")
        self._paired = not kinds.pop()
        numbers = sorted({number for number, _ in self._maps})
        # Other tools may count from 1 or from anywhere.
        self._first = numbers[0]
        self.frames = numbers[-1] - self._first + 1 + self._paired
        for number in range(self._first, numbers[-1] + 1):
            for side in (0, 1) if self._paired else (None,):
                if (number, side) not in self._maps:
                    raise InputError(
                        f"{self._file(number, side)} is missing: masks go from frame to frame without a gap."
                    )
        manifest = self._manifest()
        self.source: MaskSourceName = manifest.get("source", "given")
        self._pairs: list[dict[str, Any]] = manifest.get("pairs", [])

    def _file(self, number: int, side: int | None) -> Path:
        """What a map would be called, after those that are there."""
        like = next(iter(self._maps.values()))
        width = len(like.stem.partition("-")[0])
        return self.path / (f"{number:0{width}d}" + ("" if side is None else f"-{side}") + like.suffix)

    def _manifest(self) -> dict[str, Any]:
        path = self.path / _MANIFEST
        if not path.exists():
            return {}
        try:
            found = json.loads(path.read_text("utf-8"))
            good = (
                found["format"] == "betwixt masks"
                and found["version"] == 1
                and found["source"] in MASK_SOURCE_NAMES
                and len(found["pairs"]) == self.frames - 1
                and all(1 <= p["count"] <= MAX_LABELS and len(p["names"]) in (0, p["count"]) for p in found["pairs"])
            )
        except (OSError, ValueError, KeyError, TypeError):
            good = False
        if not good:
            raise InputError(f"{path} does not describe the masks beside it: make them anew, or delete it.")
        content: dict[str, Any] = found
        return content

    def check(self, frames: int | None, height: int, width: int) -> None:
        """See that the masks are those of a video, as far as its size and length tell.

        Args:
            frames: How many it has; None if that is not known.
            height: Of its frames.
            width: Likewise.

        Raises:
            InputError: if they are not.
        """
        if frames is not None and frames > self.frames:
            raise InputError(
                f"{self.path} has masks of {self.frames} frames, the video has {frames}: "
                f"{self._missing(self.frames).name} is missing."
            )
        self._check(next(iter(self._maps.values())), height, width)

    def _missing(self, frame: int) -> Path:
        """The first file that is not there for a frame beyond the last."""
        return self._file(self._first + frame - self._paired, 0 if self._paired else None)

    @staticmethod
    def _check(path: Path, height: int, width: int) -> LabelMap:
        labels = _read(path)
        if labels.shape != (height, width):
            raise InputError(
                f"{path} is {labels.shape[1]}x{labels.shape[0]}, the frames are {width}x{height}: make masks of the "
                "frames' size."
            )
        return labels

    def pair(self, first: int, second: int, height: int, width: int) -> LabelMapPair:
        """The masks of two frames.

        Where masks are of pairs and the two frames do not follow each other, the labels of the first in its pair and
        those of the second in its own are brought together by their names, or where they have none by their numbers.

        Args:
            first: The number of frame 0 in the video, from 0.
            second: That of frame 1, larger.
            height: Of the frames.
            width: Likewise.

        Raises:
            InputError: if one is missing or read_error, of another size, of other numbers than integers, or has more
                than 64 labels.
        """
        for frame in (first, second):
            if not 0 <= frame < self.frames:
                raise InputError(f"{self.path} has no masks of frame {frame}: {self._missing(frame).name} is missing.")
        if not self._paired:
            one, two = (self._check(self._maps[self._first + f, None], height, width) for f in (first, second))
            return LabelMapPair(one, two, int(max(one.max(), two.max())) + 1, self.source)
        before, after = first, max(second - 1, first)
        one = self._check(self._maps[self._first + before, 0], height, width)
        two = self._check(self._maps[self._first + after, 1], height, width)
        names = self._names(before)
        if before != after and names:
            others = self._names(after)
            # Tags that only the later pair has are part of the rest.
            table = np.array(
                [names.index(n) if n in names else 0 for n in others] + [0] * (256 - len(others)), np.uint8
            )
            two = table[two]
        count = max(int(max(one.max(), two.max())) + 1, len(names))
        return LabelMapPair(one, two, count, self.source, names)

    def _names(self, pair: int) -> tuple[str, ...]:
        return tuple(self._pairs[pair]["names"]) if self._pairs else ()


class MaskWriter(AtomicOutput):
    """A folder of label maps of pairs, written whole or not at all.

    Args:
        folder: Which is made.
        source: What makes the masks.
        settings: What they depend on beside the frames.
        overwrite: Whether masks that are there may be replaced; other files in the folder are left alone.

    Raises:
        OutputError: if the folder holds masks already, or cannot be written.
    """

    def __init__(self, folder: Path, source: MaskSourceName, settings: dict[str, Any], overwrite: bool = False) -> None:
        self.path = folder
        self._source, self._settings = source, settings
        self._pairs: list[dict[str, Any]] = []
        self._size: tuple[int, int] | None = None
        self._done = False
        if folder.exists() and not folder.is_dir():
            raise OutputError(f"{folder} is a file: give the name of a folder.")
        if not folder.parent.is_dir():
            raise OutputError(f"The folder {folder.parent} does not exist: make it first.")
        if _own_files(folder) and not overwrite:
            raise OutputError(
                f"{folder} holds masks already: pass --overwrite to replace them, or name another folder."
            )
        self.work = folder.parent / f".{folder.name}.{os.getpid()}.part"
        """Where files lie until `commit` moves them into the folder."""
        try:
            self.work.mkdir()
        except OSError as error:
            raise write_error(error, folder) from None

    def write(self, masks: LabelMapPair) -> None:
        """Write the maps of the next pair."""
        number = len(self._pairs)
        for side, labels in enumerate((masks.labels0, masks.labels1)):
            written, data = cv2.imencode(".png", labels, [cv2.IMWRITE_PNG_COMPRESSION, 4])
            if not written:
                raise OutputError(f"The masks of pair {number} cannot be written as PNG.")
            try:
                (self.work / f"{number:06d}-{side}.png").write_bytes(data.tobytes())
            except OSError as error:
                raise write_error(error, self.path) from None
        self._pairs.append({"count": masks.count, "names": list(masks.names)})
        self._size = masks.labels0.shape[0], masks.labels0.shape[1]

    def commit(self) -> None:
        """Describe the maps and move all that lies in `work` into the folder."""
        height, width = self._size or (0, 0)
        content = {
            "format": "betwixt masks", "version": 1, "source": self._source, "settings": self._settings, "width": width,
            "height": height, "frames": len(self._pairs) + 1, "pairs": self._pairs,
        }  # fmt: skip
        try:
            (self.work / _MANIFEST).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
            if not self.path.exists():
                self.work.rename(self.path)
            else:
                for old in _own_files(self.path):
                    old.unlink()
                for new in sorted(self.work.iterdir()):
                    new.replace(self.path / new.name)
                self.work.rmdir()
        except OSError as error:
            raise write_error(error, self.path) from None
        self._done = True

    def abort(self) -> None:
        """Leave nothing behind; does nothing after `commit`."""
        if not self._done:
            shutil.rmtree(self.work, ignore_errors=True)


def _own_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return [p for p in folder.iterdir() if _NAME.match(p.name) or p.name == _MANIFEST]


def _read(path: Path) -> LabelMap:
    """A label map from a file."""
    return as_labels(_read_array(path) if path.suffix == ".npy" else _read_png(path), str(path))


def _read_array(path: Path) -> NDArray[Any]:
    try:
        # By the format that the name promises: numpy.load would take an archive too.
        with path.open("rb") as opened:
            array: NDArray[Any] = np.lib.format.read_array(opened, allow_pickle=False)
    except (OSError, ValueError, EOFError, OverflowError, MemoryError):  # a damaged header may ask for any size
        raise InputError(f"{path} is no array of numbers, or damaged: save the labels with numpy.save.") from None
    return array


def _read_png(path: Path) -> NDArray[Any]:
    """The grey values of a PNG, or its indices into the palette."""
    try:
        with av.open(str(path)) as container:
            frame = next(container.decode(video=0))
    except (OSError, av.error.FFmpegError, StopIteration, IndexError):
        raise InputError(f"{path} cannot be read as PNG: it is missing, damaged or something else.") from None
    if frame.format.name == "pal8":
        plane: Any = frame.planes[0]
        return np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: frame.height, : frame.width].copy()
    if frame.format.name in ("gray", "gray16be", "gray16le"):
        return np.asarray(frame.to_ndarray())
    if frame.format.name in ("monow", "monob"):
        return np.asarray(frame.reformat(format="gray").to_ndarray()) // 255
    raise InputError(
        f"{path} is a colour picture ({frame.format.name}): a label map is a grey PNG, or one with a palette."
    )

"""Masks as files: a folder of label maps.

    frames     000000.png  000001.png  ..           one map a frame; a label means the same in all frames
    pairs      000000-0.png  000000-1.png  ..       two maps a pair: of frames 0 and 1, of frames 1 and 2, ..

Both kinds are read. Betwixt writes pairs, since the labels that two frames share depend on both; other tools write
frames. A map is a PNG whose grey value, or index into its palette, is the label (as in DAVIS' annotations), or a NumPy
array (.npy) of integers, (height, width). A manifest beside the maps, `masks.json`, says what made them:

    {"format": "betwixt masks", "version": 1, "source": "regions", "settings": {..}, "width": 854, "height": 480,
     "frames": 60, "pairs": [{"count": 12, "names": []}, ..]}

Without it, the source is "given".
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
from pathlib import Path
from typing import Any

import av
import av.error
import cv2
import numpy as np
from numpy.typing import NDArray

from betwixt.errors import InputError, OutputError
from betwixt.files import AtomicOutput, file_url, hidden_path, write_error
from betwixt.layers.label_maps import MASK_SOURCE_NAMES, MAX_LABELS, LabelMap, LabelMapPair, MaskSourceName, as_labels

_MANIFEST = "masks.json"
_NAME = re.compile(r"^(?P<number>\d+)(?:-(?P<side>[01]))?\.(?:png|npy)$")


class MaskFolder:
    """A folder of label maps, which are read on demand.

    Args:
        folder: The folder.

    Attributes:
        path: The folder.
        source: What made the masks.
        frames: Number of frames that have masks.

    Raises:
        InputError: if there are no masks, one is missing in between, or `masks.json` is damaged.
    """

    def __init__(self, folder: str | Path) -> None:
        self.path = path = Path(folder)
        if not path.is_dir():
            raise InputError(f"There is no folder of masks {path}: make one with `betwixt masks`.")
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
        # Other tools may count from 1, or from any number.
        self._first = numbers[0]
        self.frames = numbers[-1] - self._first + 1 + self._paired
        for number in range(self._first, numbers[-1] + 1):
            for side in (0, 1) if self._paired else (None,):
                if (number, side) not in self._maps:
                    missing = self._file_name(number, side)
                    raise InputError(f"{missing} is missing: every frame between the first and the last needs masks.")
        manifest = self._read_manifest()
        self.source: MaskSourceName = manifest.get("source", "given")
        self._pairs: list[dict[str, Any]] = manifest.get("pairs", [])

    def _file_name(self, number: int, side: int | None) -> Path:
        """The path that a map would have, named like the existing ones."""
        example = next(iter(self._maps.values()))
        digits = len(example.stem.partition("-")[0])
        return self.path / (f"{number:0{digits}d}" + ("" if side is None else f"-{side}") + example.suffix)

    def _read_manifest(self) -> dict[str, Any]:
        path = self.path / _MANIFEST
        if not path.exists():
            return {}
        manifest: dict[str, Any] = {}
        try:
            manifest = json.loads(path.read_text("utf-8"))
            pairs = manifest["pairs"]
            valid = (
                manifest["format"] == "betwixt masks"
                and manifest["version"] == 1
                and manifest["source"] in MASK_SOURCE_NAMES
                and len(pairs) == self.frames - 1
                and all(1 <= p["count"] <= MAX_LABELS and len(p["names"]) in (0, p["count"]) for p in pairs)
            )
        except (OSError, ValueError, KeyError, TypeError):
            valid = False
        if not valid:
            raise InputError(f"{path} does not describe the masks beside it: make them again, or delete it.")
        return manifest

    def check(self, frames: int | None, height: int, width: int) -> None:
        """Check that the masks fit a video's length and size; of the maps, only the first is read.

        Args:
            frames: Number of frames of the video; None if unknown.
            height: Height of its frames.
            width: Width of its frames.

        Raises:
            InputError: if they do not fit.
        """
        if frames is not None and frames > self.frames:
            raise InputError(
                f"{self.path} has masks of {self.frames} frames, the video has {frames}: "
                f"{self._first_missing(self.frames).name} is missing."
            )
        self.read_map(next(iter(self._maps.values())), height, width)

    def _first_missing(self, frame: int) -> Path:
        """The first missing file for a frame after the last."""
        return self._file_name(self._first + frame - self._paired, 0 if self._paired else None)

    @staticmethod
    def read_map(path: Path, height: int, width: int) -> LabelMap:
        """Read a label map of a frame of (height, width) from a PNG or .npy file.

        Raises:
            InputError: if it is damaged or has another size.
        """
        labels = as_labels(_read_array(path) if path.suffix == ".npy" else _read_png(path), str(path))
        if labels.shape != (height, width):
            raise InputError(
                f"{path} is {labels.shape[1]}x{labels.shape[0]}, the frames are {width}x{height}: make masks of the "
                "frames' size."
            )
        return labels

    def pair(self, first: int, second: int, height: int, width: int) -> LabelMapPair:
        """The masks of two frames.

        For masks of pairs and two frames that do not follow each other, the labels of the first frame in its pair and
        those of the second frame in its pair are matched by their names, or by their numbers if they have no names.

        Args:
            first: The index of frame 0 in the video, from 0.
            second: The index of frame 1, larger than `first`.
            height: Height of the frames.
            width: Width of the frames.

        Raises:
            InputError: if a map is missing or unreadable, differs in size, is not of integers, or has more than 64
                labels.
        """
        for frame in (first, second):
            if not 0 <= frame < self.frames:
                missing = self._first_missing(frame).name
                raise InputError(f"{self.path} has no masks of frame {frame}: {missing} is missing.")
        if not self._paired:
            labels0, labels1 = (
                self.read_map(self._maps[self._first + frame, None], height, width) for frame in (first, second)
            )
            return LabelMapPair(labels0, labels1, int(max(labels0.max(), labels1.max())) + 1, self.source)
        first_pair, last_pair = first, max(second - 1, first)
        labels0 = self.read_map(self._maps[self._first + first_pair, 0], height, width)
        labels1 = self.read_map(self._maps[self._first + last_pair, 1], height, width)
        names = self._names(first_pair)
        if first_pair != last_pair and names:
            # Tags of the last pair alone become part of the rest, label 0.
            renumbered = [names.index(name) if name in names else 0 for name in self._names(last_pair)]
            labels1 = np.array(renumbered + [0] * (256 - len(renumbered)), np.uint8)[labels1]
        count = max(int(max(labels0.max(), labels1.max())) + 1, len(names))
        return LabelMapPair(labels0, labels1, count, self.source, names)

    def _names(self, pair: int) -> tuple[str, ...]:
        return tuple(self._pairs[pair]["names"]) if self._pairs else ()


class MaskWriter(AtomicOutput):
    """Writes a folder of label maps of pairs, atomically.

    Args:
        folder: The folder.
        source: What makes the masks.
        settings: Everything that they depend on but the frames.
        overwrite: Whether existing masks may be replaced; other files in the folder are kept.

    Attributes:
        work: The temporary folder of the files until `commit` moves them into the folder.

    Raises:
        OutputError: if the folder holds masks already, or cannot be written.
    """

    def __init__(self, folder: Path, source: MaskSourceName, settings: dict[str, Any], overwrite: bool = False) -> None:
        self.path = folder
        self._source, self._settings = source, settings
        self._pairs: list[dict[str, Any]] = []
        self._size: tuple[int, int] | None = None
        self._committed = False
        if folder.exists() and not folder.is_dir():
            raise OutputError(f"{folder} is a file: give the name of a folder.")
        if not folder.parent.is_dir():
            raise OutputError(f"The folder {folder.parent} does not exist: make it first.")
        if _own_files(folder) and not overwrite:
            raise OutputError(
                f"{folder} holds masks already: pass `overwrite=True` to replace them, or name another folder."
            )
        self.work = hidden_path(folder, f".{secrets.token_hex(4)}.part")
        try:
            self.work.mkdir()
        except OSError as error:
            raise write_error(error, folder) from None

    def write(self, masks: LabelMapPair) -> None:
        """Write the maps of the next pair."""
        number = len(self._pairs)
        for side, labels in enumerate((masks.labels0, masks.labels1)):
            encoded, data = cv2.imencode(".png", labels, [cv2.IMWRITE_PNG_COMPRESSION, 4])
            if not encoded:
                raise OutputError(f"The masks of pair {number} cannot be written as PNG.")
            try:
                (self.work / f"{number:06d}-{side}.png").write_bytes(data.tobytes())
            except OSError as error:
                raise write_error(error, self.path) from None
        self._pairs.append({"count": masks.count, "names": list(masks.names)})
        self._size = masks.labels0.shape[0], masks.labels0.shape[1]

    def commit(self) -> None:
        """Write the manifest, and move the files from `work` into the folder."""
        height, width = self._size or (0, 0)
        manifest = {
            "format": "betwixt masks", "version": 1, "source": self._source, "settings": self._settings, "width": width,
            "height": height, "frames": len(self._pairs) + 1, "pairs": self._pairs,
        }  # fmt: skip
        try:
            (self.work / _MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
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
        self._committed = True

    def abort(self) -> None:
        """Delete the files written so far; does nothing after `commit`."""
        if not self._committed:
            shutil.rmtree(self.work, ignore_errors=True)


def _own_files(folder: Path) -> list[Path]:
    """The label maps and the manifest in a folder."""
    if not folder.is_dir():
        return []
    return [file for file in folder.iterdir() if _NAME.match(file.name) or file.name == _MANIFEST]


def _read_array(path: Path) -> NDArray[Any]:
    try:
        # Not numpy.load, which also reads archives and pickles.
        with path.open("rb") as opened:
            array: NDArray[Any] = np.lib.format.read_array(opened, allow_pickle=False)
    except (OSError, ValueError, EOFError, OverflowError, MemoryError):  # a damaged header may demand any memory
        raise InputError(f"{path} is not an array of numbers, or damaged: save the labels with numpy.save.") from None
    return array


def _read_png(path: Path) -> NDArray[Any]:
    """The grey values of a PNG, or the palette indices."""
    try:
        with av.open(file_url(path)) as container:
            frame = next(container.decode(video=0))
    except (OSError, av.error.FFmpegError, StopIteration, IndexError):
        raise InputError(f"{path} cannot be read as PNG: it is missing, damaged or in another format.") from None
    if frame.format.name == "pal8":
        plane: Any = frame.planes[0]
        return np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: frame.height, : frame.width].copy()
    if frame.format.name in ("gray", "gray16be", "gray16le"):
        return np.asarray(frame.to_ndarray())
    if frame.format.name in ("monow", "monob"):
        return np.asarray(frame.reformat(format="gray").to_ndarray()) // 255
    raise InputError(
        f"{path} is a colour image ({frame.format.name}): a label map is a grey PNG, or one with a palette."
    )

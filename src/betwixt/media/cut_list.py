"""Lists of scene cuts that the user gives in a file, in place of detection."""

from __future__ import annotations

import csv
import hashlib
import re
from bisect import bisect_right
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from betwixt.errors import InputError

_FRAME = re.compile(r"[0-9]+")
_SECONDS = re.compile(r"[0-9]+\.[0-9]*|\.[0-9]+")
_CLOCK = re.compile(r"(?:([0-9]+):)?([0-5]?[0-9]):([0-5]?[0-9](?:\.[0-9]*)?)")


@dataclass(frozen=True)
class CutList:
    """Cuts given by the user."""

    frames: frozenset[int] = frozenset()  # numbers of the frames that begin a new shot, from 0
    times: tuple[Fraction, ...] = ()  # when a new shot begins, in seconds, ascending

    def digest(self) -> str:
        """A hash of the cuts."""
        return hashlib.sha256(repr((sorted(self.frames), self.times)).encode()).hexdigest()

    def contains(self, index: int, time: Fraction, previous_time: Fraction) -> bool:
        """Whether there is a cut between frame `index`, at `time`, and the frame before it, at `previous_time`.

        Times are in seconds. A cut at time t counts if previous_time < t <= time.
        """
        if index in self.frames:
            return True
        at = bisect_right(self.times, time)
        return at > 0 and self.times[at - 1] > previous_time


def read_cuts(path: str | Path) -> CutList:
    """Read a list of cuts.

    A line holds one cut: a frame number (an integer, from 0: the first frame of the new shot) or a time (HH:MM:SS.mmm,
    MM:SS.mmm, or seconds with a decimal point). Blank lines and everything after a `#` are ignored. A scene list
    written by PySceneDetect (`scenedetect list-scenes`) is recognized by its header line.

    Raises:
        InputError: naming the file and the line, if the file cannot be read or a line is not a cut.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a text file; a list of cuts has one frame number or time a line") from error
    for number, line in enumerate(lines[:3]):
        if line.strip().strip('"').startswith("Scene Number"):
            return _read_scene_list(path, lines, number)
    frames, times = set(), set()
    for number, line in enumerate(lines, 1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        if _FRAME.fullmatch(text):
            frames.add(int(text))
        elif _SECONDS.fullmatch(text):
            times.add(Fraction(text))
        elif clock := _CLOCK.fullmatch(text):
            hours, minutes, seconds = clock.groups(default="0")
            times.add(3600 * int(hours) + 60 * int(minutes) + Fraction(seconds))
        else:
            raise InputError(
                f"{path}, line {number}: {text!r} is not a cut; give a frame number, HH:MM:SS.mmm, or seconds with a "
                "decimal point"
            )
    return CutList(frozenset(frames), tuple(sorted(times)))


def _read_scene_list(path: Path, lines: list[str], header: int) -> CutList:
    """Read PySceneDetect's table of scenes. Its frames count from 1, and the first scene does not begin with a cut."""
    separator = next((c for c in lines[header].replace("Scene Number", "", 1).strip('" ')[:1] if c in ",;\t"), ",")
    names = [name.strip() for name in next(csv.reader([lines[header]], delimiter=separator))]
    if "Start Frame" not in names:
        raise InputError(f"{path}, line {header + 1}: this scene list has no column 'Start Frame'")
    column = names.index("Start Frame")
    frames = set()
    for number, line in enumerate(lines[header + 1 :], header + 2):
        if not line.strip():
            continue
        cells = next(csv.reader([line], delimiter=separator))
        start = cells[column].strip() if column < len(cells) else ""
        if not _FRAME.fullmatch(start) or int(start) < 1:
            raise InputError(f"{path}, line {number}: {start!r} is not a start frame (an integer, from 1)")
        frames.add(int(start) - 1)
    return CutList(frozenset(frames - {0}))

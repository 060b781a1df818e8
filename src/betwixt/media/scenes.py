"""Where one shot ends and the next begins: the pairs of frames across which nothing may be blended.

A frame interpolated across a hard cut shows two shots at once, so every cut must be found. A cut declared where
there is none freezes the picture for one source interval in the middle of a motion, most visibly in the fastest
motion, which is exactly what looks most like a cut. `CutDetector` therefore does not ask how much two neighbouring
frames differ but whether motion explains the difference:

    thumbnail i-1, i  ->  mean difference, correlation in place     cheap, every pair; most pairs end here
                      ->  DIS flow both ways, each frame warped onto the other, correlation after the warp
                      ->  noise? fade? dissolve? flash?              only pairs that motion does not explain
                      ->  cut

Everything works on grey pictures whose longer side is 128 pixels, where a pan of a tenth of the width is 13 pixels
and grain is averaged away.

**The score** of a pair is a correlation in [-1, 1]: in each 9x9 window, mean and gain are removed (so a change of
exposure costs nothing), and the windows are averaged, weighted by their contrast (so clear sky has no say; bars at
the edges are cropped off first). It is the mean over both directions of warping, the better of a flow from rest and
a flow that starts at the global shift found by phase correlation.

**The threshold** follows what the neighbouring pairs score: `SCORE_RATIO` 0.55 of their median, held between
`SCORE_FLOOR` 0.29 (19 of 20 pairs of unrelated frames score below it) and `SCORE_CEILING` 0.46. So in a sequence
whose every pair matches badly because everything moves fast, a pair must match far worse to be a cut. In the clips
of `benchmarks/cuts.py` the 107 true cuts score at most 0.38, against a threshold of 0.46 there; the hardest motion
scores 0.49, against a threshold of about 0.33 there, and still 0.32 when every other frame is left out.

**What is not a cut**, besides motion:

- *noise*: a mean difference below `FAINT` (12 of 255) counts only where it is twice that of its neighbours;
- *fades*: next to a flat picture (black, white) correlation means nothing; where the other frame was already on its
  way to (or from) the flat one over the last frames, the pair is a step of the fade. A hard cut to black is a cut;
- *dissolves*, however short: a frame that is a mixture of the frames around it belongs to both;
- *flashes*: a bright, dark or flat stretch of up to four frames after which the earlier picture is back. A single
  unrelated picture in between is a shot of one frame, and has two cuts.

References: T. Kroeger et al., Fast Optical Flow using Dense Inverse Search, ECCV 2016 (the flow); PySceneDetect's
ContentDetector and AdaptiveDetector are what `benchmarks/cuts.py` measures this against.
"""

from __future__ import annotations

import csv
import hashlib
import re
from bisect import bisect_right
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from betwixt.errors import InputError

__all__ = ["CutDetector", "CutList", "make_thumbnail", "pair_score", "read_cuts", "thumbnail_size"]

Image = NDArray[np.uint8]
Plane = NDArray[np.float32]

LONG_SIDE = 128
"""Longer side of a working picture, pixels."""
SHORT_SIDE = 48
"""Least shorter side: narrower pictures are stretched, because DIS needs six of its patches' widths."""
WINDOW = 9
"""Side of the correlation window, pixels of the working picture."""
LARGEST_SHIFT = 32
"""Largest global shift taken for a pan, pixels: beyond a quarter of the width nothing could be interpolated."""
NOISE_VARIANCE = 16.0
"""Variance (grey levels squared) below which a window has no contrast to speak of: a deviation of four levels."""
SCORE_FLOOR = 0.29
"""A pair that scores less shows two unrelated pictures, whatever its neighbours score."""
SCORE_CEILING = 0.46
"""A pair that scores more is never a cut."""
SCORE_RATIO = 0.55
"""Between the two: a cut scores less than this part of its neighbours' median."""
SAME_PICTURE = 0.5
"""Two frames that score more show the same scene (used to see that a flash is over)."""
STILL_ENOUGH = 0.6
"""Correlation in place above which no flow is computed: motion could only raise it."""
LEAST_DIFFERENCE = 2.0
"""Mean absolute difference (levels of 255) below which nothing has happened."""
FAINT = 12.0
"""Mean absolute difference (levels) that noise alone may reach."""
FLAT_DEVIATION = 3.0
"""Standard deviation (levels) of a picture without content: black, white, one colour."""
BAR_RANGE = 12
"""Range of grey levels within a row or column, over both frames of a pair, that a bar at the edge may have."""
FADE_STEP = 0.9
"""A fade brings a frame this much closer to the flat picture within two frames; a moving shot does not."""
MIXTURE = (0.15, 0.85)
"""Share of the later frame in a frame of a dissolve. A frame of a hard cut has share 0 or 1."""
MIXTURE_RESIDUAL = 0.35
"""Part of the change that the mixture may leave unexplained: motion within the two shots."""


def thumbnail_size(width: int, height: int) -> tuple[int, int]:
    """Size (width, height) of the thumbnails that `CutDetector` wants of frames of `width` x `height` pixels.

    The longer side becomes 128 pixels; nothing is enlarged and no side falls below one pixel. Thumbnails should be
    made by area averaging, which removes grain. Raises `ValueError` for a size that is not positive.
    """
    if width < 1 or height < 1:
        raise ValueError(f"a frame of {width} x {height} pixels has no thumbnail")
    scale = min(1.0, LONG_SIDE / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def make_thumbnail(frame: av.VideoFrame) -> Image:
    """Scale a decoded frame down to the thumbnail that `CutDetector` takes, (height, width, 3) uint8, BGR."""
    width, height = thumbnail_size(frame.width, frame.height)
    small = frame.reformat(width=width, height=height, format="bgr24", interpolation="AREA")
    return np.asarray(small.to_ndarray(), np.uint8)


def pair_score(before: Image, after: Image) -> float:
    """How well motion explains the change between two thumbnails: the score of the module's text, in [-1, 1].

    Both are (height, width, 3), uint8, BGR, as for `CutDetector.push`. For inspection; the detector also looks at
    the frames around.
    """
    matcher = _Matcher(_working_size(before.shape[1], before.shape[0]))
    return matcher.score(matcher.prepare(before), matcher.prepare(after))


@dataclass
class _Frame:
    """One working picture and what is known about it."""

    colour: Image
    grey: Image
    smooth: Plane
    """Colour, blurred over 5x5 and as float: for differences in which small motion counts little."""
    deviation: float
    """Standard deviation of the blurred grey levels."""
    low: tuple[Image, Image]
    """Least grey level of each row, of each column."""
    high: tuple[Image, Image]
    """Greatest grey level of each row, of each column."""
    difference: float = 0.0
    """Mean absolute difference from the frame before, levels."""
    score: float | None = None
    """Score of the pair (frame before, this frame), once it was needed."""
    in_place: float = 1.0
    """Correlation with the frame before, without motion."""

    @property
    def flat(self) -> bool:
        return self.deviation < FLAT_DEVIATION


@dataclass
class CutDetector:
    """Decides, frame by frame, whether a cut lies between a frame and its predecessor.

    Frames go in by `push`, decisions come out of `push` and `flush`: exactly one a frame, in order, `lookahead`
    frames late. Decision i says whether there is a cut between frame i-1 and frame i; decision 0 is always False.
    Memory is bounded: about ten working pictures, whatever the length of the video. One detector serves one video.
    """

    lookahead: int = field(default=5, init=False)
    """How many later frames a decision waits for."""
    _frames: list[_Frame] = field(default_factory=list, init=False, repr=False)
    _first: int = field(default=0, init=False, repr=False)
    _pushed: int = field(default=0, init=False, repr=False)
    _decided: int = field(default=0, init=False, repr=False)
    _matcher: _Matcher | None = field(default=None, init=False, repr=False)

    def push(self, thumbnail: Image) -> list[bool]:
        """Take the next frame; return the decisions that it made final, in order (none or one).

        `thumbnail`: (height, width, 3), uint8, BGR, of about `thumbnail_size`; any other size is resized here, and
        all frames of a video need not have the same. Raises `ValueError` for another shape or type.
        """
        if thumbnail.ndim != 3 or thumbnail.shape[2] != 3 or thumbnail.dtype != np.uint8 or not thumbnail.size:
            raise ValueError(f"a thumbnail is (h, w, 3) uint8, not {thumbnail.shape} {thumbnail.dtype}")
        if self._matcher is None:
            self._matcher = _Matcher(_working_size(thumbnail.shape[1], thumbnail.shape[0]))
        frame = self._matcher.prepare(thumbnail)
        if self._frames:
            before = self._frames[-1]
            frame.difference = float(np.mean(cv2.absdiff(before.colour, frame.colour)))
            frame.in_place = self._matcher.in_place(before, frame)
        self._frames.append(frame)
        self._pushed += 1
        if self._pushed <= self.lookahead:
            return []
        return [self._next()]

    def flush(self) -> list[bool]:
        """Return the decisions still owed for the frames pushed so far; the video ends here."""
        return [self._next() for _ in range(self._pushed - self._decided)]

    def _next(self) -> bool:
        at = self._decided - self._first
        cut = at > 0 and self._is_cut(at)
        self._decided += 1
        surplus = self._decided - self._first - self.lookahead - 1
        if surplus > 0:
            del self._frames[:surplus]
            self._first += surplus
        return cut

    def _is_cut(self, i: int) -> bool:
        frame = self._frames[i]
        if frame.difference < LEAST_DIFFERENCE or frame.in_place > STILL_ENOUGH:
            return False
        # Repeated frames say nothing about how the shot moves.
        around = [
            j
            for j in range(max(1, i - 3), min(len(self._frames), i + 4))
            if j != i and self._frames[j].difference > 0.25 * LEAST_DIFFERENCE
        ]
        if frame.difference < FAINT and around:
            usual = float(np.median([self._frames[j].difference for j in around]))
            if frame.difference < 2 * usual:
                return False
        if self._score(i) >= SCORE_CEILING:
            return False
        if self._score(i) >= SCORE_FLOOR and around:
            usual = float(np.median([self._score(j) for j in around]))
            if self._score(i) >= max(SCORE_FLOOR, SCORE_RATIO * usual):
                return False
        return not (self._is_fade(i) or self._is_dissolve(i) or self._is_flash(i))

    def _score(self, i: int) -> float:
        frame = self._frames[i]
        if frame.score is None:
            frame.score = self._match(i - 1, i)
        return frame.score

    def _match(self, i: int, j: int) -> float:
        assert self._matcher is not None
        return self._matcher.score(self._frames[i], self._frames[j])

    def _is_fade(self, i: int) -> bool:
        """Whether one of the pair is flat and the other is on its way from or to it."""
        before, after = self._frames[i - 1], self._frames[i]
        for flat, step, there, further in ((after, -1, i - 1, i - 3), (before, 1, i, i + 2)):
            if not flat.flat:
                continue
            further = min(max(further, 0), len(self._frames) - 1)
            if (further - there) * step <= 0:
                continue
            level = flat.smooth.mean(axis=(0, 1))
            here = float(np.mean(np.abs(self._frames[there].smooth - level)))
            beyond = float(np.mean(np.abs(self._frames[further].smooth - level)))
            if here < FADE_STEP * beyond and self._match(there, further) > SCORE_FLOOR:
                return True
        return False

    def _is_dissolve(self, i: int) -> bool:
        """Whether one of the pair is a mixture of the other and a frame on its own other side."""
        frames = self._frames
        after = [(i - 1, i, j) for j in range(i + 1, min(len(frames), i + 4))]
        before = [(j, i - 1, i) for j in range(max(0, i - 4), i - 1)]
        for first, middle, last in after + before:
            whole = frames[last].smooth - frames[first].smooth
            part = frames[middle].smooth - frames[first].smooth
            power = float(np.vdot(whole, whole))
            if power < whole.size * LEAST_DIFFERENCE**2:
                continue
            share = float(np.vdot(part, whole)) / power
            if MIXTURE[0] < share < MIXTURE[1]:
                left = part - share * whole
                if float(np.vdot(left, left)) < MIXTURE_RESIDUAL**2 * power:
                    return True
        return False

    def _is_flash(self, i: int) -> bool:
        """Whether the pair lies in a short stretch of other light between two views of the same picture."""
        for length in range(2, self.lookahead + 1):
            for first in range(max(0, i - length), i):
                last = first + length
                if last >= len(self._frames) or last < i:
                    continue
                between = range(first + 1, last)
                if all(self._is_lit(j, first) for j in between) and self._match(first, last) > SAME_PICTURE:
                    return True
        return False

    def _is_lit(self, i: int, reference: int) -> bool:
        """Whether frame i could be the reference under more light, or less: nearly all of it changed one way."""
        frame, other = self._frames[i], self._frames[reference]
        if frame.flat:
            return True
        kernel = np.ones((WINDOW, WINDOW), np.uint8)
        grey = frame.grey.astype(np.int16)
        change = float(grey.mean()) - float(other.grey.mean())
        if change > 0:
            same_way = grey >= cv2.erode(other.grey, kernel).astype(np.int16) - 6
        else:
            same_way = grey <= cv2.dilate(other.grey, kernel).astype(np.int16) + 6
        return abs(change) > 8 and float(np.mean(same_way)) > 0.95


def _working_size(width: int, height: int) -> tuple[int, int]:
    scale = LONG_SIDE / max(width, height)
    return max(SHORT_SIDE, round(width * scale)), max(SHORT_SIDE, round(height * scale))


class _Matcher:
    """Scores how well motion explains the change from one working picture to another. One size for its life."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size
        width, height = size
        # Without the variational refinement, which smooths the flow of unrelated pictures into a fit.
        self.flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        self.flow.setVariationalRefinementIterations(0)
        self.grid_x, self.grid_y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
        self.taper = cv2.createHanningWindow((width, height), cv2.CV_32F)

    def prepare(self, thumbnail: Image) -> _Frame:
        height, width = thumbnail.shape[:2]
        if (width, height) != self.size:
            larger = width >= self.size[0] and height >= self.size[1]
            method = cv2.INTER_AREA if larger else cv2.INTER_LINEAR
            thumbnail = np.asarray(cv2.resize(thumbnail, self.size, interpolation=method), np.uint8)
        grey = np.asarray(cv2.cvtColor(thumbnail, cv2.COLOR_BGR2GRAY), np.uint8)
        smooth = np.asarray(cv2.blur(thumbnail, (5, 5)), np.float32)
        deviation = float(np.std(cv2.blur(grey, (5, 5))))
        low, high = (grey.min(axis=1), grey.min(axis=0)), (grey.max(axis=1), grey.max(axis=0))
        return _Frame(thumbnail.copy(), grey, smooth, deviation, low, high)

    def in_place(self, a: _Frame, b: _Frame) -> float:
        inside = _content(a, b)
        return _correlation(a.grey[inside], b.grey[inside])

    def score(self, a: _Frame, b: _Frame) -> float:
        still = self.in_place(a, b)
        if still > STILL_ENOUGH:
            return still
        rest = max(still, self._after_motion(a, b, None, None))
        if rest > SAME_PICTURE:
            return rest
        (x, y), _ = cv2.phaseCorrelate(a.grey.astype(np.float32), b.grey.astype(np.float32), self.taper)
        if max(abs(x), abs(y)) > LARGEST_SHIFT:
            return rest
        shift = np.empty((*a.grey.shape, 2), np.float32)
        shift[:] = (x, y)
        return max(rest, self._after_motion(a, b, shift, -shift))

    def _after_motion(self, a: _Frame, b: _Frame, there: Any, back: Any) -> float:
        there = self.flow.calc(a.grey, b.grey, there)
        back = self.flow.calc(b.grey, a.grey, back)
        inside = _content(a, b)
        forward = _correlation(a.grey[inside], self._warp(b.grey, there)[inside])
        return 0.5 * (forward + _correlation(b.grey[inside], self._warp(a.grey, back)[inside]))

    def _warp(self, image: Image, flow: Any) -> Image:
        x, y = self.grid_x + flow[..., 0], self.grid_y + flow[..., 1]
        warped = cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(warped, np.uint8)


def _correlation(a: Image, b: Image) -> float:
    """Local correlation of two grey pictures of one size, in [-1, 1]; 0 where neither has contrast."""

    def local(x: Any) -> Any:
        return cv2.blur(x, (WINDOW, WINDOW))

    fa, fb = a.astype(np.float32), b.astype(np.float32)
    mean_a, mean_b = local(fa), local(fb)
    var_a = np.maximum(local(fa * fa) - mean_a * mean_a, 0)
    var_b = np.maximum(local(fb * fb) - mean_b * mean_b, 0)
    both = (local(fa * fb) - mean_a * mean_b) / np.sqrt((var_a + NOISE_VARIANCE) * (var_b + NOISE_VARIANCE))
    weight = np.sqrt(np.maximum(var_a, var_b))
    return float(np.sum(both * weight) / (np.sum(weight) + 1e-3 * weight.size))


def _content(a: _Frame, b: _Frame) -> tuple[slice, slice]:
    """Rows and columns within the bars that both frames share; everything if there are none.

    The edge of a bar is the strongest contrast of a picture and never moves: counted in, it would hide a cut.
    """
    inside = []
    for axis in (0, 1):
        low = np.minimum(a.low[axis], b.low[axis]).astype(np.int16)
        high = np.maximum(a.high[axis], b.high[axis]).astype(np.int16)
        lively = np.flatnonzero(high - low > BAR_RANGE)
        size = low.size
        if not lively.size:
            return slice(None), slice(None)
        # One more line where a bar was: area averaging mixes it with the content.
        first = min(lively[0] + 1 if lively[0] else 0, size - 1)
        last = max(lively[-1] - 1 if lively[-1] < size - 1 else size - 1, 0)
        if last - first < WINDOW:
            return slice(None), slice(None)
        inside.append(slice(int(first), int(last) + 1))
    return inside[0], inside[1]


@dataclass(frozen=True)
class CutList:
    """Cuts given by the user: frame numbers (the first frame of the new shot, from 0) and times in seconds."""

    frames: frozenset[int] = frozenset()
    times: tuple[Fraction, ...] = ()
    """In ascending order."""

    def digest(self) -> str:
        """The same for the same cuts, short however many there are."""
        return hashlib.sha256(repr((sorted(self.frames), self.times)).encode()).hexdigest()

    def contains(self, index: int, time: Fraction, previous_time: Fraction) -> bool:
        """Whether a cut lies between the frame before and frame `index`, which are shown at these times (seconds).

        A cut at time t lies there if previous_time < t <= time.
        """
        if index in self.frames:
            return True
        at = bisect_right(self.times, time)
        return at > 0 and self.times[at - 1] > previous_time


_FRAME = re.compile(r"[0-9]+")
_SECONDS = re.compile(r"[0-9]+\.[0-9]*|\.[0-9]+")
_CLOCK = re.compile(r"(?:([0-9]+):)?([0-5]?[0-9]):([0-5]?[0-9](?:\.[0-9]*)?)")


def read_cuts(path: str | Path) -> CutList:
    """Read a list of cuts.

    One cut a line: a frame number (an integer, from 0: the first frame of the new shot) or a time (HH:MM:SS.mmm,
    MM:SS.mmm, or seconds with a decimal point). Blank lines and everything after a `#` are left out. A scene list
    written by PySceneDetect (`scenedetect list-scenes`), recognized by its header line, is read as it is.

    Raises `InputError`, naming the file and the line, if the file cannot be read or a line is none of these.
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
            return _read_scenes(path, lines, number)
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
                f"{path}, line {number}: {text!r} is no cut; give a frame number, HH:MM:SS.mmm, or seconds with a "
                "decimal point"
            )
    return CutList(frozenset(frames), tuple(sorted(times)))


def _read_scenes(path: Path, lines: list[str], header: int) -> CutList:
    """Read PySceneDetect's table of scenes, whose start frames count from 1; the first scene starts no cut."""
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
            raise InputError(f"{path}, line {number}: {start!r} is no start frame (an integer, from 1)")
        frames.add(int(start) - 1)
    return CutList(frozenset(frames - {0}))

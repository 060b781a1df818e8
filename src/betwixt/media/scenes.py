"""Scene cut detection: finds the pairs of frames across which nothing may be blended.

A frame interpolated across a hard cut shows two shots at once. A false cut freezes the video for one source interval,
most visibly in fast motion, which looks most like a cut. So `CutDetector` measures not how much two neighbouring frames
differ, but whether motion explains the difference:

    thumbnail i-1, i  ->  mean difference, correlation in place     cheap; most pairs end here
                      ->  DIS flow both ways, each frame warped onto the other, correlation after the warp
                      ->  noise? fade? dissolve? flash?              only pairs that motion does not explain
                      ->  cut

The thumbnails' longer side is 128 pixels: a pan by a tenth of the width is 13 pixels, and grain is averaged away.

**The score** of a pair is a correlation in [-1, 1]. In each 9x9 window of the grey thumbnails, mean and gain are
removed (a change of exposure does not count); the windows are averaged, weighted by their contrast (clear sky does not
count), without bars at the edges. The score is the mean over both directions of warping, with the better of two flows:
one searched from zero, and one from the global shift found by phase correlation.

**The threshold** is `SCORE_RATIO` 0.55 of the median score of the neighbouring pairs, between `SCORE_FLOOR` 0.29 (19 of
20 pairs of unrelated frames score below it) and `SCORE_CEILING` 0.46. So where all pairs match badly because everything
moves fast, a cut must match far worse. In the clips of `benchmarks/cuts.py`, which compares the detector with
PySceneDetect's, the 107 true cuts score at most 0.38 (threshold 0.46), and the hardest motion 0.49 (threshold 0.33).

**Not cuts**, besides motion:

- *noise*: a mean difference below `FAINT` (12 of 255) counts only if it is twice that of the neighbouring pairs;
- *fades*: correlation with a flat frame (black, white) means nothing; if the other frame has been approaching the flat
  one, or moves away from it, the pair is a step of a fade. A hard cut to black is a cut;
- *dissolves*, however short: a frame that is a mixture of the frames around it belongs to both shots;
- *flashes*: a bright, dark or flat stretch of up to four frames after which the earlier image is back. A single
  unrelated image in between is a shot of one frame, and has two cuts.

Reference for the flow: T. Kroeger et al., Fast Optical Flow using Dense Inverse Search, ECCV 2016.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

Thumbnail = NDArray[np.uint8]
"""(height, width, 3) BGR."""

Grey = NDArray[np.uint8]
"""(height, width)."""

LONG_SIDE = 128
"""Longer side of a thumbnail, pixels."""
SHORT_SIDE = 48
"""Minimum shorter side: narrower thumbnails are stretched, because DIS needs six times the width of its patches."""
WINDOW = 9
"""Side of the correlation window, pixels."""
LARGEST_SHIFT = 32
"""Largest global shift of a pan, pixels: beyond a quarter of the width nothing could be interpolated."""
NOISE_VARIANCE = 16.0
"""Variance (grey levels squared) below which a window has no contrast: a standard deviation of four levels."""
SCORE_FLOOR = 0.29
"""A pair that scores less shows two unrelated images, regardless of its neighbours' scores."""
SCORE_CEILING = 0.46
"""A pair that scores more is never a cut."""
SCORE_RATIO = 0.55
"""Between the two, a cut scores less than this part of the median of the neighbouring pairs."""
SAME_SCENE = 0.5
"""Two frames that score more show the same scene; decides whether a flash is over."""
STILL_ENOUGH = 0.6
"""Correlation in place above which no flow is computed: motion could only raise it."""
LEAST_DIFFERENCE = 2.0
"""Mean absolute difference (levels of 255) below which nothing has happened."""
FAINT = 12.0
"""Mean absolute difference (levels) that noise alone may reach."""
FLAT_DEVIATION = 3.0
"""Standard deviation (levels) of a frame without content: black, white, one colour."""
BAR_RANGE = 12
"""Range of grey levels within a row or column, over both frames of a pair, that a bar at the edge may have."""
FADE_STEP = 0.9
"""A fade brings a frame this much closer to the flat frame within two frames; a moving shot does not."""
MIXTURE = (0.15, 0.85)
"""Share of the later shot in a frame of a dissolve. A frame at a hard cut has share 0 or 1."""
MIXTURE_RESIDUAL = 0.35
"""Part of the change that the mixture may leave unexplained: motion within the two shots."""


def thumbnail_size(width: int, height: int) -> tuple[int, int]:
    """Size (width, height) of the thumbnails for frames of `width` x `height` pixels, which are never enlarged.

    Thumbnails should be made by area averaging, which removes grain.
    """
    if width < 1 or height < 1:
        raise ValueError(f"a frame of {width} x {height} pixels has no thumbnail")
    scale = min(1.0, LONG_SIDE / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def make_thumbnail(frame: av.VideoFrame) -> Thumbnail:
    """Scale a decoded frame down to the thumbnail that `CutDetector` takes."""
    width, height = thumbnail_size(frame.width, frame.height)
    # One thread: starting others for each frame takes longer than the scaling.
    small = frame.reformat(width=width, height=height, format="bgr24", interpolation="AREA", threads=1)
    return np.asarray(small.to_ndarray(), np.uint8)


def pair_score(before: Thumbnail, after: Thumbnail) -> float:
    """The score of a pair of thumbnails by itself, in [-1, 1]: how well motion explains the change between them."""
    matcher = _Matcher(before.shape[1], before.shape[0])
    return matcher.score(matcher.analyze(before), matcher.analyze(after))


class CutDetector:
    """Decides, frame by frame, whether there is a cut between a frame and its predecessor.

    `push` and `flush` return the decisions: one per frame, in order, `lookahead` frames late. Decision i says whether
    there is a cut between frames i-1 and i; decision 0 is always False. One detector serves one video, and holds about
    ten thumbnails.
    """

    lookahead = 5
    """Number of later frames that a decision waits for."""

    def __init__(self) -> None:
        self._matcher: _Matcher | None = None
        self._frames: list[_AnalyzedFrame] = []  # the latest ones
        self._pushed = 0
        self._decided = 0

    def push(self, thumbnail: Thumbnail) -> list[bool]:
        """Take the next frame; return the decisions that are now final, in order (none or one).

        Args:
            thumbnail: (height, width, 3) uint8, BGR, of about `thumbnail_size`; frames of a video may differ in size.

        Raises:
            ValueError: for another shape or type.
        """
        if thumbnail.ndim != 3 or thumbnail.shape[2] != 3 or thumbnail.dtype != np.uint8 or not thumbnail.size:
            raise ValueError(f"a thumbnail is (h, w, 3) uint8, not {thumbnail.shape} {thumbnail.dtype}")
        if self._matcher is None:
            self._matcher = _Matcher(thumbnail.shape[1], thumbnail.shape[0])
        frame = self._matcher.analyze(thumbnail)
        if self._frames:
            frame.compare(self._frames[-1])
        self._frames.append(frame)
        self._pushed += 1
        return [self._decide()] if self._pushed > self.lookahead else []

    def flush(self) -> list[bool]:
        """End the video; return the remaining decisions."""
        return [self._decide() for _ in range(self._pushed - self._decided)]

    def _decide(self) -> bool:
        """Make the next decision, and drop the frames that no later decision needs."""
        i = len(self._frames) - (self._pushed - self._decided)
        is_cut = i > 0 and self._is_cut(i)
        self._decided += 1
        del self._frames[: max(0, i - self.lookahead)]
        return is_cut

    def _is_cut(self, i: int) -> bool:
        """Whether there is a cut between frames i-1 and i of `_frames`."""
        frame = self._frames[i]
        if frame.difference < LEAST_DIFFERENCE or frame.still_score > STILL_ENOUGH:
            return False
        # Repeated frames do not show how the shot moves.
        neighbours = [
            j
            for j in range(max(1, i - 3), min(len(self._frames), i + 4))
            if j != i and self._frames[j].difference > 0.25 * LEAST_DIFFERENCE
        ]
        if frame.difference < FAINT and neighbours:
            typical = float(np.median([self._frames[j].difference for j in neighbours]))
            if frame.difference < 2 * typical:
                return False
        if self._score(i) >= SCORE_CEILING:
            return False
        if self._score(i) >= SCORE_FLOOR and neighbours:
            typical = float(np.median([self._score(j) for j in neighbours]))
            if self._score(i) >= max(SCORE_FLOOR, SCORE_RATIO * typical):
                return False
        return not (self._is_fade(i) or self._is_dissolve(i) or self._is_flash(i))

    def _score(self, i: int) -> float:
        """The cached score of the pair of frames i-1 and i."""
        frame = self._frames[i]
        if frame.score is None:
            frame.score = self._match(i - 1, i)
        return frame.score

    def _match(self, i: int, j: int) -> float:
        assert self._matcher is not None
        return self._matcher.score(self._frames[i], self._frames[j])

    def _is_fade(self, i: int) -> bool:
        """Whether one frame of the pair is flat and the other is on its way from or to it."""
        before, after = self._frames[i - 1], self._frames[i]
        for flat, step, other, further in ((after, -1, i - 1, i - 3), (before, 1, i, i + 2)):
            if not flat.is_flat:
                continue
            further = min(max(further, 0), len(self._frames) - 1)
            if (further - other) * step <= 0:
                continue
            level = flat.smooth.mean(axis=(0, 1))
            distance = float(np.mean(np.abs(self._frames[other].smooth - level)))
            distance_further = float(np.mean(np.abs(self._frames[further].smooth - level)))
            if distance < FADE_STEP * distance_further and self._match(other, further) > SCORE_FLOOR:
                return True
        return False

    def _is_dissolve(self, i: int) -> bool:
        """Whether one frame of the pair is a mixture of the other and a frame on its own other side."""
        frames = self._frames
        after = [(i - 1, i, j) for j in range(i + 1, min(len(frames), i + 4))]
        before = [(j, i - 1, i) for j in range(max(0, i - 4), i - 1)]
        for first, middle, last in after + before:
            change = frames[last].smooth - frames[first].smooth
            part = frames[middle].smooth - frames[first].smooth
            power = float(np.vdot(change, change))
            if power < change.size * LEAST_DIFFERENCE**2:
                continue
            share = float(np.vdot(part, change)) / power
            if MIXTURE[0] < share < MIXTURE[1]:
                residual = part - share * change
                if float(np.vdot(residual, residual)) < MIXTURE_RESIDUAL**2 * power:
                    return True
        return False

    def _is_flash(self, i: int) -> bool:
        """Whether the pair lies in a flash: a short change of light between two frames of the same scene."""
        for length in range(2, self.lookahead + 1):
            for first in range(max(0, i - length), i):
                last = first + length
                if last >= len(self._frames) or last < i:
                    continue
                between = range(first + 1, last)
                if all(self._is_relit(j, first) for j in between) and self._match(first, last) > SAME_SCENE:
                    return True
        return False

    def _is_relit(self, i: int, reference: int) -> bool:
        """Whether frame i could be the reference under more or less light: nearly all of it changed one way."""
        frame, other = self._frames[i], self._frames[reference]
        if frame.is_flat:
            return True
        kernel = np.ones((WINDOW, WINDOW), np.uint8)
        grey = frame.grey.astype(np.int16)
        change = float(grey.mean()) - float(other.grey.mean())
        if change > 0:
            same_way = grey >= cv2.erode(other.grey, kernel).astype(np.int16) - 6
        else:
            same_way = grey <= cv2.dilate(other.grey, kernel).astype(np.int16) + 6
        return abs(change) > 8 and float(np.mean(same_way)) > 0.95


class CutFinder:
    """Decides whether there is a cut before any frame of a video, in any order, as `CutDetector` does in order.

    Safe to use from several threads. It keeps what it has computed for about a hundred frames.

    Args:
        count: The number of frames of the video.
    """

    _KEPT = 100

    def __init__(self, count: int) -> None:
        self._count = count
        self._lock = threading.Lock()
        self._matcher: _Matcher | None = None
        self._analyzed: OrderedDict[int, _AnalyzedFrame] = OrderedDict()
        self._compared: set[int] = set()  # those that have been compared with the frame before them

    def window(self, number: int) -> range:
        """The frames whose thumbnails decide whether there is a cut before frame `number`."""
        lookahead = CutDetector.lookahead
        return range(max(0, number - lookahead - 1), min(self._count, number + lookahead + 1))

    def is_cut(self, number: int, thumbnails: Sequence[Thumbnail]) -> bool:
        """Whether there is a cut between frame `number` and the one before it.

        Args:
            number: The frame.
            thumbnails: Those of the frames of `window`, as for `CutDetector.push`.
        """
        with self._lock:
            if self._matcher is None:
                self._matcher = _Matcher(thumbnails[0].shape[1], thumbnails[0].shape[0])
            detector = CutDetector()
            detector._matcher = self._matcher
            for n, thumbnail in zip(self.window(number), thumbnails, strict=True):
                if n not in self._analyzed:
                    self._analyzed[n] = self._matcher.analyze(thumbnail)
                frame = self._analyzed[n]
                if detector._frames and n not in self._compared:
                    frame.compare(detector._frames[-1])
                    self._compared.add(n)
                detector._frames.append(frame)
            while len(self._analyzed) > self._KEPT:
                self._compared.discard(self._analyzed.popitem(last=False)[0])
            i = number - self.window(number)[0]
            return i > 0 and detector._is_cut(i)


@dataclass
class _AnalyzedFrame:
    """A thumbnail and what has been computed from it."""

    colour: Thumbnail
    grey: Grey
    smooth: NDArray[np.float32]  # colour, blurred over 5x5: for differences in which small motion counts little
    is_flat: bool
    darkest: tuple[Grey, Grey]  # minimum of each row, and of each column
    brightest: tuple[Grey, Grey]  # maximum of each row, and of each column
    difference: float = 0.0  # mean absolute difference from the frame before, levels
    still_score: float = 1.0  # correlation with the frame before, without motion
    score: float | None = None  # score of the pair (frame before, this frame), once it was needed

    def compare(self, before: _AnalyzedFrame) -> None:
        """Compare the frame with the one before it, without motion."""
        self.difference = float(np.mean(cv2.absdiff(before.colour, self.colour)))
        self.still_score = _still_score(before, self)


class _Matcher:
    """Scores how well motion explains the change from one thumbnail to another, all resized to one size."""

    def __init__(self, width: int, height: int) -> None:
        scale = LONG_SIDE / max(width, height)
        width, height = max(SHORT_SIDE, round(width * scale)), max(SHORT_SIDE, round(height * scale))
        self._size = width, height
        # Two searches: one that was given an initial flow uses that again when it is given none.
        self._from_zero, self._from_initial = _create_search(), _create_search()
        self._x, self._y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
        self._hanning = cv2.createHanningWindow((width, height), cv2.CV_32F)

    def analyze(self, thumbnail: Thumbnail) -> _AnalyzedFrame:
        height, width = thumbnail.shape[:2]
        if (width, height) != self._size:
            shrinks = width >= self._size[0] and height >= self._size[1]
            method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
            thumbnail = np.asarray(cv2.resize(thumbnail, self._size, interpolation=method), np.uint8)
        grey = np.asarray(cv2.cvtColor(thumbnail, cv2.COLOR_BGR2GRAY), np.uint8)
        return _AnalyzedFrame(
            colour=thumbnail.copy(),
            grey=grey,
            smooth=np.asarray(cv2.blur(thumbnail, (5, 5)), np.float32),
            is_flat=float(np.std(cv2.blur(grey, (5, 5)))) < FLAT_DEVIATION,
            darkest=(grey.min(axis=1), grey.min(axis=0)),
            brightest=(grey.max(axis=1), grey.max(axis=0)),
        )

    def score(self, a: _AnalyzedFrame, b: _AnalyzedFrame) -> float:
        still = _still_score(a, b)
        if still > STILL_ENOUGH:
            return still
        best = max(still, self._warped_score(a, b, None, None))
        if best > SAME_SCENE:
            return best
        (x, y), _ = cv2.phaseCorrelate(a.grey.astype(np.float32), b.grey.astype(np.float32), self._hanning)
        if max(abs(x), abs(y)) > LARGEST_SHIFT:
            return best
        shift = np.empty((*a.grey.shape, 2), np.float32)
        shift[:] = (x, y)
        return max(best, self._warped_score(a, b, shift, -shift))

    def _warped_score(self, a: _AnalyzedFrame, b: _AnalyzedFrame, initial_ab: Any, initial_ba: Any) -> float:
        """Mean correlation of each frame with the other one warped onto it, by DIS flow searched from initial flows."""
        dis = self._from_zero if initial_ab is None else self._from_initial
        flow_ab, flow_ba = dis.calc(a.grey, b.grey, initial_ab), dis.calc(b.grey, a.grey, initial_ba)
        inside = _shared_content(a, b)
        forward = _correlation(a.grey[inside], self._warp(b.grey, flow_ab)[inside])
        return 0.5 * (forward + _correlation(b.grey[inside], self._warp(a.grey, flow_ba)[inside]))

    def _warp(self, grey: Grey, flow: Any) -> Grey:
        x, y = self._x + flow[..., 0], self._y + flow[..., 1]
        return np.asarray(cv2.remap(grey, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def _create_search() -> Any:
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    # Variational refinement would smooth the flow between unrelated images into a fit.
    search.setVariationalRefinementIterations(0)
    return search


def _still_score(a: _AnalyzedFrame, b: _AnalyzedFrame) -> float:
    inside = _shared_content(a, b)
    return _correlation(a.grey[inside], b.grey[inside])


def _correlation(a: Grey, b: Grey) -> float:
    """Local correlation of two grey images of one size, in [-1, 1]; 0 where neither has contrast."""

    def mean(x: Any) -> Any:
        return cv2.blur(x, (WINDOW, WINDOW))

    fa, fb = a.astype(np.float32), b.astype(np.float32)
    mean_a, mean_b = mean(fa), mean(fb)
    var_a = np.maximum(mean(fa * fa) - mean_a * mean_a, 0)
    var_b = np.maximum(mean(fb * fb) - mean_b * mean_b, 0)
    correlation = (mean(fa * fb) - mean_a * mean_b) / np.sqrt((var_a + NOISE_VARIANCE) * (var_b + NOISE_VARIANCE))
    weight = np.sqrt(np.maximum(var_a, var_b))
    return float(np.sum(correlation * weight) / (np.sum(weight) + 1e-3 * weight.size))


def _shared_content(a: _AnalyzedFrame, b: _AnalyzedFrame) -> tuple[slice, slice]:
    """Rows and columns inside the bars that both frames share; all of them if there are no bars.

    The edge of a bar never moves and has strong contrast, which would hide a cut.
    """
    inside = []
    for axis in (0, 1):
        darkest = np.minimum(a.darkest[axis], b.darkest[axis]).astype(np.int16)
        brightest = np.maximum(a.brightest[axis], b.brightest[axis]).astype(np.int16)
        content = np.flatnonzero(brightest - darkest > BAR_RANGE)
        size = darkest.size
        if not content.size:
            return slice(None), slice(None)
        # One more line where a bar was: area averaging mixes it with the content.
        first = min(content[0] + 1 if content[0] else 0, size - 1)
        last = max(content[-1] - 1 if content[-1] < size - 1 else size - 1, 0)
        if last - first < WINDOW:
            return slice(None), slice(None)
        inside.append(slice(int(first), int(last) + 1))
    return inside[0], inside[1]

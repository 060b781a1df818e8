"""Overlay detection: finds subtitles, logos and displays that stay in place while the picture moves.

Where the picture around an overlay moves, a model moves parts of the overlay with it: letters dissolve. Its pixels can
be told from the picture's, because they stay equal over several frames, and with them the edges between them:

    luma of 4 frames  ->  range of each pixel over them           small, relative to the contrast around it: constant
                      ->  contrast around each pixel              high in all 4 frames: an edge that stays
                      ->  share of constant edges in each cell    cells that hold little else: part of an overlay
                      ->  connected cells                         an overlay, if the picture moves around it
                      ->  pixels of the edges, and constant ones between them

A pair of frames lies in up to three runs of `RUN` frames; a pixel belongs to an overlay if it does in one of them. So a
subtitle is found from its first frame to its last, if it is shown for `RUN` frames.

**Not overlays**: *flat areas* have no edges. *Lines along which the picture moves* stay constant, too, but have one
direction, while letters have edges in all directions. *Texture that moves* has constant edges by chance: far fewer than
edges that change. *Letters that move*, as in a ticker, change at their edges, even if they move by a fifth of a pixel
per frame. *A still background* has constant edges, too, but little moves around most of them; and if most edges of the
frame are constant, the camera stands still, and nothing is taken for an overlay. The change around an overlay has to go
on through all frames of the run, so one object that passes by does not suffice. *Transparent logos* change with the
picture behind them and are not found.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import reduce
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Luma = NDArray[np.uint8]
"""(height, width)."""

Mask = NDArray[np.uint8]
"""(height, width), 0 to 255: how far a pixel belongs to an overlay."""

RUN = 4
"""Frames over which an overlay is constant."""
LOOK_AHEAD = RUN - 2
"""Frames after a pair, and before it, that are used to find its overlays."""
MAX_LINES = 800
"""Frames of more lines are searched at a half, a third .. of their size."""
CELL = 8
"""Side of a cell, pixels."""
BORDER = 6
"""Cells around strokes in which the box that they are in is looked for."""

CONTRAST = 40
"""Range of luma in 5x5 pixels, levels of 255, from which there is an edge."""
RELATIVE_TOLERANCE, MAX_TOLERANCE = 1 / 8, 14
"""Change of a constant pixel over the run: part of the contrast around it, and levels. Coding noise is largest beside
edges of high contrast."""
FLAT_TOLERANCE = 5
"""Change of a flat pixel between the edges of an overlay, over the run, levels."""
MOTION = 12
"""Change from frame to frame, levels, from which a pixel shows motion."""
LEAST_SHAPE = 256
"""Pixels of the smallest box of a logo."""
SHAPE_STROKES = 0.1
"""Part of a box that is covered by strokes."""
CONVEX_SHARE = 0.93
"""Part of its convex hull that a box fills."""
PIXEL_SHARE = 0.4
"""Part of the edges in 7x7 pixels that is constant around a constant edge of an overlay."""
CELL_SHARE = 0.35
"""Part of the edges in 3x3 cells that is constant around a cell of an overlay ..."""
EDGE_SHARE = 0.5
"""... and on average over its cells."""
FILL_SHARE = 0.4
"""Part of an overlay's cells that is covered by constant edges, on average."""
LESSER_DIRECTION = 0.25
"""Ratio of the lengths of outlines in two directions at right angles, the lesser to the greater, from which constant
edges are not lines along which the picture moves."""
LEAST_CELLS = 8
"""Cells of the smallest overlay."""
MOVING_SHARE = 0.08
"""Part of the pixels around a cell that have to move, in each interval of the run."""
MOVING_CELLS = 0.15
"""Part of an overlay's cells around which the picture has to move."""
STILL_SHARE = 0.6
"""Part of the edges outside overlays that is constant, above which the camera stands still. Then objects of the
background among moving ones look like overlays, while real ones are in little danger."""


class OverlayView:
    """What is kept of a frame to find overlays. Any thread may use it.

    Args:
        luma: The frame's luma, (H, W).

    Attributes:
        luma: The luma at the size of the search.
        contrast: The range of the luma in the 5x5 pixels around each.
    """

    def __init__(self, luma: Luma) -> None:
        height, width = luma.shape
        if (factor := -(-height // MAX_LINES)) > 1:
            size = width // factor, height // factor
            luma = np.asarray(cv2.resize(luma, size, interpolation=cv2.INTER_AREA), np.uint8)
        kernel = np.ones((5, 5), np.uint8)
        self.luma = luma
        self.contrast = np.asarray(cv2.subtract(cv2.dilate(luma, kernel), cv2.erode(luma, kernel)), np.uint8)
        self._lock = threading.Lock()
        self._overlays: tuple[Mask | None] | None = None

    def overlays_until(self, following: Sequence[OverlayView]) -> Mask | None:
        """The pixels, 255 or 0, of overlays that are constant over this frame and the `RUN` - 1 following ones.

        They are looked for once: the run is part of the search for three pairs.
        """
        with self._lock:
            if self._overlays is None:
                run = _Run([self, *following])
                cells = _overlay_cells(run)
                self._overlays = (None if cells is None else run.mask(cells),)
            return self._overlays[0]


def find_overlays(views: Sequence[OverlayView], first: int) -> Mask | None:
    """The overlays that are constant over the pair of frames `first` and `first` + 1.

    Args:
        views: Successive frames of a shot, of one size, among them up to `LOOK_AHEAD` before and after the pair.
        first: Which of them is the first of the pair.

    Returns:
        255 in overlays and the pixels beside them, 127 one pixel further, 0 elsewhere; None if there are none.
    """
    starts = range(max(0, first - LOOK_AHEAD), min(first, len(views) - RUN) + 1)
    masks = [views[start].overlays_until(views[start + 1 : start + RUN]) for start in starts]
    found: list[Any] = [mask for mask in masks if mask is not None]
    if not found:
        return None
    # The outermost pixels of antialiased glyphs are mixtures with what moves behind them.
    kernel = np.ones((3, 3), np.uint8)
    mask = cv2.dilate(reduce(cv2.bitwise_or, found), kernel)
    return np.asarray(cv2.max(mask, cv2.dilate(mask, kernel) // 2), np.uint8)


class _Run:
    """What is constant over a run of frames.

    Attributes:
        lumas: The lumas of the frames.
        change: The range of each pixel over the run.
        edges: The pixels, 255 or 0, that lie on an edge in all frames.
        constant: Those among them that are constant.
    """

    def __init__(self, views: Sequence[OverlayView]) -> None:
        lumas: list[Any] = [view.luma for view in views]
        contrasts: list[Any] = [view.contrast for view in views]
        self.lumas: list[Luma] = lumas
        self.change: Any = cv2.subtract(reduce(cv2.max, lumas), reduce(cv2.min, lumas))
        contrast = reduce(cv2.min, contrasts)
        self.edges: Any = _at_least(contrast, CONTRAST)
        tolerance = cv2.convertScaleAbs(contrast, alpha=RELATIVE_TOLERANCE)
        tolerance = cv2.threshold(tolerance, MAX_TOLERANCE, 0, cv2.THRESH_TRUNC)[1]
        self.constant: Any = cv2.bitwise_and(self.edges, cv2.compare(self.change, tolerance, cv2.CMP_LE))

    def mask(self, cells: Any) -> Mask:
        """The pixels, 255 or 0, of the overlays in some cells."""
        # Only their part of the frame counts.
        x, y, width, height = cv2.boundingRect(cells)
        left, top, right, bottom = max(0, x - BORDER), max(0, y - BORDER), x + width + BORDER, y + height + BORDER
        cells = cells[top:bottom, left:right]
        area = slice(top * CELL, bottom * CELL), slice(left * CELL, right * CELL)
        edges, constant, change = self.edges[area], self.constant[area], self.change[area]

        inside = cv2.resize(cells, None, fx=CELL, fy=CELL, interpolation=cv2.INTER_NEAREST)
        inside = inside[: change.shape[0], : change.shape[1]]
        # Constant by chance is what lies among edges that change.
        least = cv2.convertScaleAbs(cv2.blur(edges, (7, 7)), alpha=PIXEL_SHARE)
        sure = cv2.compare(cv2.blur(constant, (7, 7)), least, cv2.CMP_GE)
        strokes = cv2.bitwise_and(cv2.bitwise_and(constant, sure), inside)
        strokes = cv2.morphologyEx(strokes, cv2.MORPH_CLOSE, np.ones((CELL + 1, CELL + 1), np.uint8))
        flat = cv2.bitwise_not(_at_least(change, FLAT_TOLERANCE + 1))
        changes = _at_least(change, MAX_TOLERANCE + 1)
        strokes = cv2.subtract(strokes, changes)
        # Where it is as bright as the picture beside it, the outer edge of an outline was not found.
        for _ in range(2):
            strokes = cv2.bitwise_or(strokes, cv2.bitwise_and(flat, cv2.dilate(strokes, np.ones((5, 5), np.uint8))))
        frame_height, frame_width = self.change.shape
        open_sides = left > 0, top > 0, right * CELL < frame_width, bottom * CELL < frame_height
        mask = np.zeros_like(self.change)
        mask[area] = cv2.bitwise_or(strokes, cv2.subtract(_shapes(flat, strokes, open_sides), changes))
        return np.asarray(mask, np.uint8)


def _shapes(flat: NDArray[Any], strokes: NDArray[Any], open_sides: tuple[bool, bool, bool, bool]) -> NDArray[Any]:
    """The shapes, 255 or 0, that constant flat areas and strokes form: the boxes of logos and scoreboards.

    Args:
        flat: The pixels, 255 or 0, that are constant without regard to edges.
        strokes: The pixels, 255 or 0, of edges of overlays, and those between them.
        open_sides: Whether the frame goes on to the left, above, to the right and below: no shape ends there.
    """
    filled = cv2.morphologyEx(cv2.bitwise_or(flat, strokes), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    filled = cv2.morphologyEx(filled, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
    count, labels, boxes, _ = cv2.connectedComponentsWithStats(filled, connectivity=4)
    covered = np.bincount(labels[strokes > 0], minlength=count)
    result = np.zeros_like(filled)
    for number in range(1, count):
        x, y, width, height, size = boxes[number]
        ends = x, y, filled.shape[1] - x - width, filled.shape[0] - y - height
        goes_on = any(is_open and end == 0 for is_open, end in zip(open_sides, ends, strict=True))
        if size < LEAST_SHAPE or covered[number] < SHAPE_STROKES * size or goes_on:
            continue
        box = slice(y, y + height), slice(x, x + width)
        shape = np.where(labels[box] == number, np.uint8(255), np.uint8(0))
        contours, _ = cv2.findContours(shape, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        if cv2.contourArea(contours[0]) >= CONVEX_SHARE * cv2.contourArea(cv2.convexHull(contours[0])):
            result[box] = cv2.bitwise_or(result[box], shape)
    return result


def _overlay_cells(run: _Run) -> NDArray[np.uint8] | None:
    """The cells, 255 or 0, that hold a part of an overlay; None if there are none."""
    constant, covered = run.constant, _cells(run.constant)
    if not (covered >= FILL_SHARE).any():
        return None
    covered_by_edges = _cells(run.edges)
    share = _around(covered) / np.maximum(_around(covered_by_edges), np.float32(1e-6))
    candidates = (covered > 0) & (share >= CELL_SHARE)
    count, labels = cv2.connectedComponents(candidates.astype(np.uint8), connectivity=8)
    sizes = _sums(labels, count, np.ones_like(covered))
    is_overlay = (
        (sizes >= LEAST_CELLS)
        & (_sums(labels, count, covered) >= FILL_SHARE * sizes)
        & (_sums(labels, count, share) >= EDGE_SHARE * sizes)
    )
    is_overlay[0] = False
    if not is_overlay.any():
        return None
    for one, other in ((0, 1), (1, 0)), ((1, 1), (1, -1)):
        lengths = [_sums(labels, count, _cells(_outlines(constant, step))) for step in (one, other)]
        is_overlay &= np.minimum(*lengths) >= LESSER_DIRECTION * np.maximum(*lengths)
    moving = _moving_around(run.lumas) >= MOVING_SHARE
    is_overlay &= _sums(labels, count, moving) >= MOVING_CELLS * sizes
    cells = is_overlay[labels]
    if not cells.any() or covered[~cells].sum() > STILL_SHARE * covered_by_edges[~cells].sum():
        return None
    return np.where(cells, np.uint8(255), np.uint8(0))


def _outlines(mask: NDArray[Any], step: tuple[int, int]) -> NDArray[Any]:
    """Where a mask changes along a step of (dy, dx) pixels: 255, 0 elsewhere."""
    dy, dx = step
    columns, before = (slice(dx, None), slice(None, -dx or None)) if dx >= 0 else (slice(None, dx), slice(-dx, None))
    result = np.zeros_like(mask)
    result[dy:, columns] = cv2.bitwise_xor(mask[dy:, columns], mask[: len(mask) - dy, before])
    return result


def _at_least(values: NDArray[Any], limit: int) -> NDArray[Any]:
    """255 where values are at least the limit, 0 elsewhere."""
    return cv2.threshold(values, limit - 1, 255, cv2.THRESH_BINARY)[1]


def _cells(mask: NDArray[Any]) -> NDArray[np.float32]:
    """The part of each cell that is set in a mask of 0 and 255; cells at the right and bottom edge may be smaller."""
    height, width = mask.shape
    cells = cv2.copyMakeBorder(mask, 0, -height % CELL, 0, -width % CELL, cv2.BORDER_REPLICATE)
    for _ in range(CELL.bit_length() - 1):  # halving is faster than one step
        cells = cv2.resize(cells, (cells.shape[1] // 2, cells.shape[0] // 2), interpolation=cv2.INTER_AREA)
    return np.asarray(cells, np.float32) / np.float32(255)


def _around(cells: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean over 3x3 cells."""
    return np.asarray(cv2.blur(cells, (3, 3), borderType=cv2.BORDER_REPLICATE), np.float32)


def _moving_around(lumas: Sequence[Luma]) -> NDArray[np.float32]:
    """The part of the pixels around each cell that moves, in the interval in which fewest do."""
    least: NDArray[np.float32] | None = None
    for before, after in pairwise(lumas):
        moving = _around(_cells(_at_least(cv2.absdiff(before, after), MOTION)))
        least = moving if least is None else np.minimum(least, moving)
    assert least is not None
    return _around(least)


def _sums(labels: NDArray[Any], count: int, values: NDArray[Any]) -> NDArray[np.float64]:
    """The sum of `values` over each label."""
    return np.bincount(labels.ravel(), values.ravel(), count).astype(np.float64)

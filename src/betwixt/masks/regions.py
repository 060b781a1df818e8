"""Regions: label maps without weights, from colour, motion and what was there before.

    frame 0 ── shrink ──► superpixels 0 ─┐
       │                                 ├─► merge, by colour, motion and the labels of the pair before ──► labels 0
       ├── DIS, both ways ─► F01, F10 ───┤                                                                    │
       │                                 └─► carry by F10, vote in each superpixel ──► labels 1 ◄─────────────┤
    frame 1 ── shrink ──► superpixels 1 ─────────▲                                       │                    │
                                                                                         ▼                    ▼
                                                    next pair's "labels before"      edges refined at full size

It takes the place of the open-world models of "Aligning Anything" (section 3.3) where their weights, gigabytes, are not
at hand. What the hierarchical models need of masks is that a label names the same part of the scene in both frames, so
that motion is sought inside it; what that part is called does not matter. Hence the regions have no classes. From the
paper is the form of the result alone; the rest is chosen here:

1. Superpixels. Watershed (OpenCV) from a grid of seeds, each put where its cell is smoothest, on the Lab picture at
   about 285x160: some 500 a frame, whose edges follow the picture's.
2. Merging. Neighbours are merged by Ward's criterion, what the merger adds to the spread inside the parts:
   a b / (a + b) |f_a - f_b|^2 with the areas a, b (parts of the frame) and the means f of Lab colour, of motion beyond
   an affine motion of the whole frame, and of the labels before; times the contrast along the common edge. First what
   was one region before is put together again, in however many pieces it lies, but for what has become too different:
   that makes regions last, while what starts to move by itself is split off. Then each round merges all pairs that are
   each other's nearest, until at most 16 are left; then one at a time while that costs little, down to 4.
3. Numbers. A region takes the number of the region before that it covers most; new ones take the number that has been
   free for longest.
4. Frame 1. Each of its superpixels takes the label that most of its pixels come from, counted where both flows agree.
   Where they do not (what frame 0 does not show), it takes that of the neighbour most like it. So every label of frame
   1 is one of frame 0, and what newly comes into view may become a region of its own in the next pair.
5. Edges. At the frame's full size the labels are fixed away from their edges, and watershed decides the band between.

Shapes: frames (H, W, 3) uint8 RGB; inside, (h, w) with h w about 45,000; label maps (H, W) uint8. Deterministic.

References: J. H. Ward, "Hierarchical Grouping to Optimize an Objective Function", JASA 1963; V. Machairas et al.,
"Waterpixels", IEEE TIP 2015 (seeds); F. Meyer, "Color image segmentation", IPA 1992 (OpenCV's watershed).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from betwixt.errors import UsageError
from betwixt.layers.label_maps import LabelMap, LabelMapPair
from betwixt.models.dis.interpolator import Flows, find_flows

__all__ = ["SETTINGS", "RegionTracker", "find_regions"]

_Array = NDArray[Any]

_AREA = 285 * 160
"""Pixels of the picture in which regions are sought."""
_CELL = 9
"""Distance of the seeds of superpixels there."""
_LEAST, _MOST = 4, 16
"""How many regions a frame has, if it is large enough."""

_LIGHTNESS, _COLOUR = 1 / 45, 1 / 22
"""What one step of 8-bit L, of a and b counts as a feature."""
_MOTION = 1.0, 0.5
"""Motion beyond the frame's counts _MOTION[0] log(1 + m / _MOTION[1]), m in pixels of the small picture."""
_BEFORE = 2.0
"""What the label before counts as a feature."""
_CONTRAST = 14.0, 0.35
"""The contrast along an edge at which a merger costs what Ward says, and the least part of it for an edge without."""
_CHEAP = 0.009
"""Below this, two of at most 16 regions are merged."""
_SPLIT = 0.03
"""Below this, what was one region before stays one."""
_ERROR = 4.0
"""Round trip error of the flows, in pixels of the frame, at which a pixel's word counts 1/e."""
_LOST = 0.15
"""Mean word of all pixels, below which two frames have nothing to do with each other."""

SETTINGS: dict[str, Any] = {
    "version": 1, "area": _AREA, "cell": _CELL, "least": _LEAST, "most": _MOST, "lightness": _LIGHTNESS,
    "colour": _COLOUR, "motion": _MOTION, "before": _BEFORE, "contrast": _CONTRAST, "cheap": _CHEAP,
    "split": _SPLIT, "error": _ERROR, "lost": _LOST,
}  # fmt: skip
"""All that the regions depend on but the frames: what is kept on disk is known by it."""


def find_regions(first: _Array, second: _Array) -> LabelMapPair:
    """The regions of two frames by themselves.

    Args:
        first: Frame 0, (H, W, 3), uint8, RGB.
        second: Frame 1, likewise.

    Raises:
        UsageError: if they are not, or differ in size.
    """
    return RegionTracker().pair(first, second)


class RegionTracker:
    """Finds the regions of one pair of frames after another; labels last from pair to pair.

    Give it the pairs of a video in order: (0, 1), (1, 2), .. Where a pair does not begin with the frame that the last
    one ended with, it starts anew. Not to be used from several threads at once.
    """

    def __init__(self) -> None:
        self._last: _Picture | None = None
        self._before: _Array | None = None  # labels of the last frame, (h, w)
        self._free_since = np.zeros(_MOST, np.int64)
        self._round = 0

    def pair(self, first: _Array, second: _Array) -> LabelMapPair:
        """The regions of two frames, (H, W, 3), uint8, RGB.

        Raises:
            UsageError: if they are something else, or differ in size.
        """
        for frame in (first, second):
            if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8 or not frame.size:
                raise UsageError(
                    f"Regions are found in frames (height, width, 3), uint8, not {frame.shape} {frame.dtype}."
                )
        if first.shape != second.shape:
            raise UsageError("The two frames differ in size: scale one to the other's size first.")
        first, second = np.ascontiguousarray(first), np.ascontiguousarray(second)
        height, width = first.shape[:2]
        h, w = _small_size(height, width)
        if min(h, w) < 2 * _CELL:
            self._last = None
            single = np.zeros((height, width), np.uint8)
            return LabelMapPair(single, single.copy(), 1, "regions")
        small_0 = _shrunk(first, h, w)
        if self._last is not None and np.array_equal(self._last.small, small_0):
            picture_0, before = self._last, self._before
        else:
            picture_0, before = _Picture(small_0), None
            self._free_since[:] = 0
        picture_1 = _Picture(_shrunk(second, h, w))
        flows = find_flows(_grey(first), _grey(second), _ratio(height, width))
        labels_0 = self._numbered(_merged(picture_0, flows, before), before)
        labels_1, trust = _carried(labels_0, picture_1, flows)
        self._last, self._before = picture_1, labels_1 if trust >= _LOST else None
        with ThreadPoolExecutor(1) as pool:  # OpenCV lets go of the interpreter
            later = pool.submit(_refined, labels_1, second)
            fine_0, fine_1 = _refined(labels_0, first), later.result()
        return LabelMapPair(fine_0, fine_1, int(max(fine_0.max(), fine_1.max())) + 1, "regions")

    def state(self) -> dict[str, _Array]:
        """What has to be kept after a pair so that `resume` can go on; for frames too small for regions, nothing."""
        if self._last is None:
            return {}
        before = np.zeros((0, 0), np.uint8) if self._before is None else self._before.astype(np.uint8)
        return {"before": before, "free_since": self._free_since.copy(), "round": np.array(self._round)}

    def resume(self, frame: _Array, state: Mapping[str, _Array]) -> None:
        """Be as after the pair that ended with `frame` and left `state`."""
        self._last = self._before = None
        if "before" not in state:
            return
        self._last = _Picture(_shrunk(frame, *_small_size(*frame.shape[:2])))
        self._before = state["before"].astype(np.int64) if state["before"].size else None
        self._free_since, self._round = state["free_since"].copy(), int(state["round"])

    def _numbered(self, parts: _Array, before: _Array | None) -> _Array:
        """Parts (h, w), numbered anyhow, with the numbers of those before that they cover most."""
        self._round += 1
        n = int(parts.max()) + 1
        numbers = np.full(n, -1)
        if before is None:
            # Large ones first: the numbers of a first frame say no more.
            numbers[np.argsort(-np.bincount(parts.reshape(-1), minlength=n), kind="stable")] = np.arange(n)
        else:
            shared = np.bincount((parts * _MOST + before).reshape(-1), minlength=n * _MOST).reshape(n, _MOST)
            for place in np.argsort(-shared, axis=None, kind="stable"):
                part, number = divmod(int(place), _MOST)
                if not shared[part, number]:
                    break
                if numbers[part] < 0 and number not in numbers:
                    numbers[part] = number
            for part in np.flatnonzero(numbers < 0).tolist():
                free = [k for k in range(_MOST) if k not in numbers]
                numbers[part] = min(free, key=lambda k: (self._free_since[k], k))
        self._free_since[numbers] = self._round
        return numbers[parts]


class _Picture:
    """A small picture and its superpixels.

    Attributes:
        small: (h, w, 3) uint8 RGB.
        labels: The superpixel of each pixel, (h, w), 0 to n - 1.
        area: Of each superpixel, as a part of the frame, (n,).
        colour: Mean Lab as features, (n, 3).
        edges: Neighbours, (m, 2).
        length: Of the edge between them, in pixels, (m,).
        contrast: Mean Lab difference across it, (m,).
    """

    def __init__(self, small: _Array) -> None:
        self.small = small
        lab = cv2.cvtColor(cv2.medianBlur(small, 3), cv2.COLOR_RGB2LAB)
        self.labels = _superpixels(lab)
        self._flat = self.labels.reshape(-1)
        self.n = int(self.labels.max()) + 1
        self.count = np.bincount(self._flat, minlength=self.n).astype(np.float64)
        self.area = self.count / self._flat.size
        self.colour = self.mean(lab) * (_LIGHTNESS, _COLOUR, _COLOUR)
        self.edges, self.length, self.contrast = _edges(self.labels, lab)

    def sum(self, values: _Array) -> _Array:
        """Sums of values (h, w) in each superpixel, (n,)."""
        return np.bincount(self._flat, values.reshape(-1), self.n)

    def mean(self, values: _Array) -> _Array:
        """Means of values (h, w, c) in each superpixel, (n, c)."""
        return np.stack([self.sum(values[..., c]) for c in range(values.shape[2])], 1) / self.count[:, None]


def _superpixels(lab: _Array) -> _Array:
    """Watershed from a grid of seeds, each at the smoothest place of its cell: (h, w), numbers from 0."""
    h, w = lab.shape[:2]
    rows, columns = h // _CELL, w // _CELL
    rough = cv2.morphologyEx(lab, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)).max(axis=2)
    top, left = (h - rows * _CELL) // 2, (w - columns * _CELL) // 2
    cells = rough[top : top + rows * _CELL, left : left + columns * _CELL]
    cells = cells.reshape(rows, _CELL, columns, _CELL)[:, 2:-2, :, 2:-2]
    side = _CELL - 4
    place = cells.transpose(0, 2, 1, 3).reshape(rows, columns, side * side).argmin(axis=2)
    y = top + 2 + place // side + _CELL * np.arange(rows)[:, None]
    x = left + 2 + place % side + _CELL * np.arange(columns)
    seeds = np.zeros((h, w), np.int32)
    seeds[y, x] = np.arange(1, rows * columns + 1).reshape(rows, columns)
    return _flooded(lab, seeds, np.int16).astype(np.int64) - 1


def _flooded(picture: _Array, seeds: _Array, kind: Any) -> _Array:
    """Watershed, the lines between the basins given to one of them; numbers from 1."""
    basins: _Array = np.maximum(cv2.watershed(picture, seeds), 0).astype(kind)
    while cv2.countNonZero(basins) < basins.size:
        grown = cv2.dilate(basins, np.ones((3, 3), np.uint8))
        basins = np.asarray(cv2.max(basins, cv2.copyTo(grown, (basins == 0).view(np.uint8))))
    return basins


def _edges(labels: _Array, lab: _Array) -> tuple[_Array, _Array, _Array]:
    """Which superpixels touch, along how many pixels, and how different the picture is on the two sides."""
    n = int(labels.max()) + 1
    codes, jumps = [], []
    picture = lab.astype(np.int16)
    for axis in (0, 1):
        a, b = (np.take(labels, range(start, labels.shape[axis] - 1 + start), axis) for start in (0, 1))
        at = np.nonzero(a != b)
        # Two pixels on from the line on each side: across the blur of an edge.
        step = np.eye(2, dtype=int)[axis]
        far = [np.clip(place + 2 * s, 0, size - 1) for place, s, size in zip(at, step, labels.shape, strict=True)]
        near = [np.clip(place - s, 0, size - 1) for place, s, size in zip(at, step, labels.shape, strict=True)]
        codes.append(np.minimum(a[at], b[at]) * n + np.maximum(a[at], b[at]))
        jumps.append(np.abs(picture[tuple(far)] - picture[tuple(near)]).max(axis=1))
    unique, inverse = np.unique(np.concatenate(codes), return_inverse=True)
    length = np.bincount(inverse).astype(np.float64)
    contrast = np.bincount(inverse, np.concatenate(jumps)) / length
    return np.stack([unique // n, unique % n], 1), length, contrast


def _merged(picture: _Picture, flows: Flows, before: _Array | None) -> _Array:
    """The superpixels of frame 0 merged to regions: (h, w), numbers from 0."""
    word = np.exp(flows.error_0 / -_ERROR) + 0.02
    weight = picture.sum(word)
    motion = _own_motion(flows.flow_01, word)
    moved = np.stack([picture.sum(motion[..., c] * word) for c in (0, 1)], 1) / weight[:, None]
    speed = np.hypot(moved[:, :1], moved[:, 1:])
    factor, knee = _MOTION
    features = [picture.colour, moved * (factor * np.log1p(speed / knee) / np.maximum(speed, 1e-6))]
    label = bridges = None
    if before is not None:
        shares = np.bincount((picture.labels * _MOST + before).reshape(-1), minlength=picture.n * _MOST)
        shares = shares.reshape(picture.n, _MOST)
        features.append(_BEFORE * shares / picture.count[:, None])
        label = shares.argmax(axis=1)
        bridges = _bridges(picture, label)
    return _ward(picture, np.concatenate(features, 1), label, bridges)[picture.labels]


def _bridges(picture: _Picture, label: _Array) -> _Array:
    """Edges, (m, 2), that join the pieces in which superpixels of one label lie, so that they may stay one region."""
    i, j = picture.edges[label[picture.edges[:, 0]] == label[picture.edges[:, 1]]].T
    piece = np.arange(picture.n)
    while True:
        least = piece.copy()
        np.minimum.at(least, i, piece[j])
        np.minimum.at(least, j, piece[i])
        if np.array_equal(least, piece):
            break
        piece = least[least]
    size = np.bincount(piece, picture.area, picture.n)
    largest: dict[int, int] = {}
    joined = []
    for root in sorted(np.flatnonzero(size), key=lambda root: (-size[root], root)):
        first = largest.setdefault(int(label[root]), int(root))
        if first != root:
            joined.append(sorted((first, int(root))))
    return np.array(joined, np.int64).reshape(-1, 2)


def _own_motion(flow: _Array, word: _Array) -> _Array:
    """What is left of a flow (h, w, 2) beyond the affine motion that most of the frame agrees on."""
    h, w = flow.shape[:2]
    y, x = np.mgrid[0:h:4, 0:w:4]
    basis = np.stack([np.ones(x.size), x.reshape(-1) / w - 0.5, y.reshape(-1) / h - 0.5], 1)
    target, trust = flow[::4, ::4].reshape(-1, 2).astype(np.float64), word[::4, ::4].reshape(-1)
    weight = trust
    solution = np.zeros((3, 2))
    for _ in range(5):
        weighted = basis * weight[:, None]
        solution = np.linalg.solve(weighted.T @ basis + 1e-6 * np.eye(3), weighted.T @ target)
        miss = np.linalg.norm(target - basis @ solution, axis=1)
        # Geman-McClure: what moves by itself loses its say.
        scale = max(0.5, 1.5 * float(np.median(miss)))
        weight = trust / (1 + (miss / scale) ** 2) ** 2
    solution = solution.astype(np.float32)
    slope_x, slope_y = solution[1] / w, solution[2] / h
    x, y = np.arange(w, dtype=np.float32)[None, :, None] - w / 2, np.arange(h, dtype=np.float32)[:, None, None] - h / 2
    own: _Array = flow - (solution[0] + x * slope_x + y * slope_y)
    return own


@dataclass
class _Parts:
    """Parts at some round of the merging: areas (n,), sums of features (n, d), and the edges between them."""

    area: _Array
    total: _Array
    edges: _Array
    length: _Array
    contrast: _Array  # times length

    def costs(self) -> _Array:
        """Of merging across each edge."""
        i, j = self.edges.T
        mean = self.total / self.area[:, None]
        apart = ((mean[i] - mean[j]) ** 2).sum(axis=1)
        full, least = _CONTRAST
        edge = np.clip(self.contrast / self.length / full, least, 1.5)
        cost: _Array = self.area[i] * self.area[j] / (self.area[i] + self.area[j]) * apart * edge
        return cost

    def mutual(self, cost: _Array) -> _Array:
        """The edges between parts that are each other's nearest, the cheapest first."""
        nearest = np.full(len(self.area), np.inf)
        i, j = self.edges.T
        np.minimum.at(nearest, i, cost)
        np.minimum.at(nearest, j, cost)
        found = np.flatnonzero((cost <= nearest[i]) & (cost <= nearest[j]) & np.isfinite(cost))
        return found[np.argsort(cost[found], kind="stable")]

    def merged(self, pairs: _Array) -> tuple[_Parts, _Array]:
        """With the parts of the edges `pairs` made one, and the new number of each part."""
        n = len(self.area)
        parent = np.arange(n)
        i, j = self.edges[pairs].T
        parent[j] = i  # i < j on every edge: no circles
        while True:
            onward = parent[parent]
            if np.array_equal(onward, parent):
                break
            parent = onward
        roots, number = np.unique(parent, return_inverse=True)
        m = len(roots)
        area = np.bincount(number, self.area, m)
        total = np.stack([np.bincount(number, column, m) for column in self.total.T], 1)
        a, b = np.sort(number[self.edges], axis=1).T
        outer = a != b
        unique, inverse = np.unique(a[outer] * m + b[outer], return_inverse=True)
        edges = np.stack([unique // m, unique % m], 1)
        length = np.bincount(inverse, self.length[outer], len(unique))
        contrast = np.bincount(inverse, self.contrast[outer], len(unique))
        return _Parts(area, total, edges, length, contrast), number


def _ward(picture: _Picture, features: _Array, label: _Array | None, bridges: _Array | None) -> _Array:
    """The region of each superpixel, (n,), numbers from 0.

    Args:
        picture: Its superpixels, (n,).
        features: Of each, (n, d).
        label: Of each in the pair before, (n,).
        bridges: Edges (m, 2) beside those of the picture, without length or contrast.
    """
    edges, length, contrast = picture.edges, picture.length, picture.contrast * picture.length
    if bridges is not None:
        edges = np.concatenate([edges, bridges])
        length = np.concatenate([length, np.ones(len(bridges))])
        contrast = np.concatenate([contrast, np.zeros(len(bridges))])
    parts = _Parts(picture.area, features * picture.area[:, None], edges, length, contrast)
    region = np.arange(picture.n)
    while label is not None:
        # What was one region is put together again first, but for what has become too different.
        cost = parts.costs()
        cost[label[parts.edges[:, 0]] != label[parts.edges[:, 1]]] = np.inf
        pairs = parts.mutual(cost)
        pairs = pairs[cost[pairs] < _SPLIT]
        if not len(pairs):
            break
        parts, number = parts.merged(pairs)
        region = number[region]
        kept = np.empty(len(parts.area), np.int64)
        kept[number] = label
        label = kept
    while len(parts.area) > _LEAST and len(parts.edges):
        cost = parts.costs()
        spare = len(parts.area) - _MOST
        if spare > 0:
            pairs = parts.mutual(cost)[:spare]
        else:
            pairs = np.array([int(cost.argmin())])
            if cost[pairs[0]] > _CHEAP:
                break
        parts, number = parts.merged(pairs)
        region = number[region]
    return region


def _carried(labels: _Array, picture: _Picture, flows: Flows) -> tuple[_Array, float]:
    """The labels of frame 0 brought to the superpixels of frame 1, and how far the flows agree, 0 to 1."""
    h, w = labels.shape
    flow = flows.flow_10
    x = np.arange(w, dtype=np.float32) + flow[..., 0]
    y = np.arange(h, dtype=np.float32)[:, None] + flow[..., 1]
    inside = (x > -0.5) & (x < w - 0.5) & (y > -0.5) & (y < h - 0.5)
    there = labels.astype(np.uint8)[
        np.clip(np.rint(y), 0, h - 1).astype(np.intp), np.clip(np.rint(x), 0, w - 1).astype(np.intp)
    ]
    word = np.exp(flows.error_1 / -_ERROR) * inside
    code = (picture.labels * _MOST + there).reshape(-1)
    votes = np.bincount(code, word.reshape(-1), picture.n * _MOST).reshape(picture.n, _MOST)
    chosen = votes.argmax(axis=1)
    known = votes.sum(axis=1) >= 0.3 * picture.count
    if not known.any():
        # Nothing to go by: as if nothing moved.
        stay = np.bincount((picture.labels * _MOST + labels).reshape(-1), minlength=picture.n * _MOST)
        return stay.reshape(-1, _MOST).argmax(axis=1)[picture.labels], 0.0
    i, j = np.concatenate([picture.edges, picture.edges[:, ::-1]]).T
    unlike = np.tile(
        np.linalg.norm(picture.colour[picture.edges[:, 0]] - picture.colour[picture.edges[:, 1]], axis=1), 2
    )
    while not known.all():
        # Each unknown one beside a known one takes the label of the known one most like it.
        front = np.flatnonzero(~known[i] & known[j])
        front = front[np.argsort(unlike[front], kind="stable")]
        who, first = np.unique(i[front], return_index=True)
        chosen[who] = chosen[j[front[first]]]
        known[who] = True
    return chosen[picture.labels], float(word.mean())


def _refined(labels: _Array, frame: _Array) -> LabelMap:
    """Labels (h, w) at the size of the frame (H, W), their edges on the picture's."""
    small = labels.astype(np.uint8)
    height, width = frame.shape[:2]
    square = np.ones((3, 3), np.uint8)
    inner = cv2.erode(small, square) == cv2.dilate(small, square)
    for label in np.flatnonzero(np.bincount(small.reshape(-1))):
        mine = small == label
        if not inner[mine].any():
            inner |= mine
    sure = np.where(inner, small + np.uint8(1), np.uint8(0))
    seeds = cv2.resize(sure, (width, height), interpolation=cv2.INTER_NEAREST).astype(np.int32)
    fine: LabelMap = _flooded(cv2.GaussianBlur(frame, (5, 5), 0), seeds, np.uint8) - np.uint8(1)
    return fine


def _ratio(height: int, width: int) -> float:
    return min(1.0, math.sqrt(_AREA / (height * width)))


def _small_size(height: int, width: int) -> tuple[int, int]:
    """The size of the picture in which regions are sought: as `find_flows` takes it."""
    ratio = _ratio(height, width)
    return max(1, round(height * ratio)), max(1, round(width * ratio))


def _shrunk(frame: _Array, h: int, w: int) -> _Array:
    if frame.shape[:2] == (h, w):
        return np.ascontiguousarray(frame)
    return cv2.resize(frame, (w, h), interpolation=cv2.INTER_AREA)


def _grey(frame: _Array) -> Any:
    return cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY)

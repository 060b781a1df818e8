"""Class-agnostic regions: label maps without trained weights, from colour, motion and the labels of the previous pair.

    frame 0 ── downsample ──► superpixels 0 ─┐
       │                                     ├─► merge, by colour, motion and previous labels ──► labels 0
       ├── DIS, both ways ─► F01, F10 ───────┤                                                       │
       │                                     └─► propagate by F10, vote per superpixel ──► labels 1 ◄┤
    frame 1 ── downsample ──► superpixels 1 ─────────▲                                        │      │
                                                                                              ▼      ▼
                                                       previous labels of the next pair    edges refined at full size

Regions replace the open-world models of "Aligning Anything" (section 3.3), whose weights take gigabytes. The
hierarchical models need masks in which a label means the same part of the scene in both frames, so that motion is
searched inside it; the class of that part does not matter. Only the form of the result is the paper's; the method is
our own:

1. Superpixels. Watershed (OpenCV) from a grid of seeds, each at the smoothest pixel of its cell, on the Lab image at
   about 285x160: some 500 a frame, which follow the edges of the image.
2. Merging. Neighbours are merged by Ward's criterion, the increase of the variance inside the regions:
   a b / (a + b) |f_a - f_b|^2 with the areas a, b (shares of the frame) and the mean features f: Lab colour, motion
   beyond the affine motion of the frame, and previous labels; times the contrast along the common edge. First, pieces
   of a previous region are merged again, even if they do not touch, unless they have become too different: this makes
   regions last, while what starts to move by itself is split off. Then each round merges all pairs that are each
   other's nearest, until at most 16 regions are left; then one pair at a time while that costs little, down to 4.
3. Labels. A region takes the label of the previous region that it overlaps most; new regions take the label that has
   been unused for longest.
4. Frame 1. Each of its superpixels takes the label that most of its pixels have in frame 0, counting pixels whose two
   flows agree. Where they do not (disocclusions), it takes that of the neighbour most like it. So every label of frame
   1 is one of frame 0, and what newly appears may become a region of its own in the next pair.
5. Edges. At full size, the labels are fixed away from the edges, and watershed decides the band between.

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
from betwixt.images import check_same_size
from betwixt.layers.label_maps import LabelMap, LabelMapPair
from betwixt.models.dis.interpolator import Flows, find_flows

_Array = NDArray[Any]

_AREA = 285 * 160
"""Pixels of the downsampled image on which regions are computed."""
_CELL = 9
"""Distance of the superpixel seeds, in pixels of that image."""
_MIN_REGIONS, _MAX_REGIONS = 4, 16
"""Number of regions of a frame, if it is large enough."""

_LIGHTNESS, _COLOUR = 1 / 45, 1 / 22
"""Feature scale of the 8-bit channels L, and a and b."""
_MOTION = 1.0, 0.5
"""Feature scale of motion: _MOTION[0] log(1 + m / _MOTION[1]), with m in pixels of the downsampled image."""
_PREVIOUS_LABEL = 2.0
"""Feature scale of the previous labels."""
_CONTRAST = 14.0, 0.35
"""The contrast along an edge that leaves Ward's cost unchanged, and the smallest factor on this cost."""
_MERGE_COST = 0.009
"""Largest cost of merging two of at most 16 regions."""
_REMERGE_COST = 0.03
"""Largest cost of merging two pieces of a previous region."""
_ERROR = 4.0
"""Round-trip error of the flows, in pixels of the frame, at which the confidence of a pixel is 1/e."""
_MIN_CONFIDENCE = 0.15
"""Mean confidence below which the frames are unrelated, as at a cut, and labels do not last."""

SETTINGS: dict[str, Any] = {
    "version": 1, "area": _AREA, "cell": _CELL, "least": _MIN_REGIONS, "most": _MAX_REGIONS, "lightness": _LIGHTNESS,
    "colour": _COLOUR, "motion": _MOTION, "before": _PREVIOUS_LABEL, "contrast": _CONTRAST, "cheap": _MERGE_COST,
    "split": _REMERGE_COST, "error": _ERROR, "lost": _MIN_CONFIDENCE,
}  # fmt: skip
"""Everything that the regions depend on but the frames; part of the key of cached masks."""


def find_regions(first: _Array, second: _Array) -> LabelMapPair:
    """The regions of a single pair of frames.

    Args:
        first: Frame 0, (H, W, 3) uint8 RGB.
        second: Frame 1, (H, W, 3) uint8 RGB.

    Raises:
        UsageError: if they are something else, or differ in size.
    """
    return RegionTracker().pair(first, second)


class RegionTracker:
    """Computes the regions of consecutive pairs of frames, with labels that last from pair to pair.

    Call it with the pairs of a video in order: (0, 1), (1, 2), .. It starts anew if a pair does not begin with the last
    frame of the previous pair. Not to be used from several threads at once.
    """

    def __init__(self) -> None:
        self._last: _Superpixels | None = None
        self._previous: _Array | None = None  # labels of the last frame, (h, w)
        self._last_used = np.zeros(_MAX_REGIONS, np.int64)  # the pair in which each label was last used
        self._pair_number = 0

    def pair(self, first: _Array, second: _Array) -> LabelMapPair:
        """The regions of two frames, (H, W, 3) uint8 RGB.

        Raises:
            UsageError: if they are something else, or differ in size.
        """
        for frame in (first, second):
            if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8 or not frame.size:
                raise UsageError(
                    f"Regions need frames of shape (height, width, 3), uint8, not {frame.shape}, {frame.dtype}."
                )
        check_same_size(first, second)
        first, second = np.ascontiguousarray(first), np.ascontiguousarray(second)
        height, width = first.shape[:2]
        h, w = _small_size(height, width)
        if min(h, w) < 2 * _CELL:
            self._last = None
            single = np.zeros((height, width), np.uint8)
            return LabelMapPair(single, single.copy(), 1, "regions")
        small0 = _resize(first, h, w)
        if self._last is not None and np.array_equal(self._last.image, small0):
            superpixels0, previous = self._last, self._previous
        else:
            superpixels0, previous = _Superpixels(small0), None
            self._last_used[:] = 0
        superpixels1 = _Superpixels(_resize(second, h, w))
        luma0, luma1 = (np.asarray(cv2.cvtColor(f, cv2.COLOR_RGB2GRAY), np.uint8) for f in (first, second))
        flows = find_flows(luma0, luma1, _ratio(height, width))
        labels0 = self._assign_labels(_merge_superpixels(superpixels0, flows, previous), previous)
        labels1, confidence = _propagate_labels(labels0, superpixels1, flows)
        self._last, self._previous = superpixels1, labels1 if confidence >= _MIN_CONFIDENCE else None
        with ThreadPoolExecutor(1) as pool:  # OpenCV releases the GIL
            future = pool.submit(_refine_edges, labels1, second)
            fine0, fine1 = _refine_edges(labels0, first), future.result()
        return LabelMapPair(fine0, fine1, int(max(fine0.max(), fine1.max())) + 1, "regions")

    def state(self) -> dict[str, _Array]:
        """The state after a pair, for `resume`; empty after frames too small for regions."""
        if self._last is None:
            return {}
        previous = np.zeros((0, 0), np.uint8) if self._previous is None else self._previous.astype(np.uint8)
        return {"before": previous, "free_since": self._last_used.copy(), "round": np.array(self._pair_number)}

    def resume(self, frame: _Array, state: Mapping[str, _Array]) -> None:
        """Restore the `state` after a pair that ended with `frame`."""
        self._last = self._previous = None
        if "before" not in state:
            return
        self._last = _Superpixels(_resize(frame, *_small_size(*frame.shape[:2])))
        self._previous = state["before"].astype(np.int64) if state["before"].size else None
        self._last_used, self._pair_number = state["free_since"].copy(), int(state["round"])

    def _assign_labels(self, regions: _Array, previous: _Array | None) -> _Array:
        """Relabel regions (h, w) by the previous labels (h, w) that they overlap most."""
        self._pair_number += 1
        n = int(regions.max()) + 1
        labels = np.full(n, -1)
        if previous is None:
            # By descending size.
            labels[np.argsort(-np.bincount(regions.reshape(-1), minlength=n), kind="stable")] = np.arange(n)
        else:
            code = (regions * _MAX_REGIONS + previous).reshape(-1)
            overlap = np.bincount(code, minlength=n * _MAX_REGIONS).reshape(n, _MAX_REGIONS)
            for index in np.argsort(-overlap, axis=None, kind="stable"):
                region, label = divmod(int(index), _MAX_REGIONS)
                if not overlap[region, label]:
                    break
                if labels[region] < 0 and label not in labels:
                    labels[region] = label
            for region in np.flatnonzero(labels < 0).tolist():
                free = [k for k in range(_MAX_REGIONS) if k not in labels]
                labels[region] = min(free, key=lambda k: (self._last_used[k], k))
        self._last_used[labels] = self._pair_number
        return labels[regions]


class _Superpixels:
    """A downsampled image and its superpixels.

    Attributes:
        image: (h, w, 3) uint8 RGB.
        index: The superpixel of each pixel, (h, w), 0 to n - 1.
        n: Number of superpixels.
        count: Pixels of each superpixel, (n,).
        area: Share of the image of each superpixel, (n,).
        colour: Mean Lab colour, scaled as features, (n, 3).
        edges: Pairs of neighbours, (m, 2).
        length: Length of each edge in pixels, (m,).
        contrast: Mean Lab difference across each edge, (m,).
    """

    def __init__(self, image: _Array) -> None:
        self.image = image
        lab = cv2.cvtColor(cv2.medianBlur(image, 3), cv2.COLOR_RGB2LAB)
        self.index = _compute_superpixels(lab)
        self._flat = self.index.reshape(-1)
        self.n = int(self.index.max()) + 1
        self.count = np.bincount(self._flat, minlength=self.n).astype(np.float64)
        self.area = self.count / self._flat.size
        self.colour = self.mean(lab) * (_LIGHTNESS, _COLOUR, _COLOUR)
        self.edges, self.length, self.contrast = _find_edges(self.index, lab)

    def sum(self, values: _Array) -> _Array:
        """The sum of values (h, w) over each superpixel, (n,)."""
        return np.bincount(self._flat, values.reshape(-1), self.n)

    def mean(self, values: _Array) -> _Array:
        """The mean of values (h, w, c) over each superpixel, (n, c)."""
        return np.stack([self.sum(values[..., c]) for c in range(values.shape[2])], 1) / self.count[:, None]

    def label_counts(self, labels: _Array, weights: _Array | None = None) -> _Array:
        """The number, or the weight, of the pixels with each label in each superpixel, (n, 16)."""
        code = (self.index * _MAX_REGIONS + labels).reshape(-1)
        weights = None if weights is None else weights.reshape(-1)
        return np.bincount(code, weights, self.n * _MAX_REGIONS).reshape(self.n, _MAX_REGIONS)


def _compute_superpixels(lab: _Array) -> _Array:
    """Watershed from a grid of seeds, each at the smoothest pixel of its cell: (h, w), from 0."""
    h, w = lab.shape[:2]
    rows, columns = h // _CELL, w // _CELL
    gradient = cv2.morphologyEx(lab, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)).max(axis=2)
    top, left = (h - rows * _CELL) // 2, (w - columns * _CELL) // 2
    cells = gradient[top : top + rows * _CELL, left : left + columns * _CELL]
    cells = cells.reshape(rows, _CELL, columns, _CELL)[:, 2:-2, :, 2:-2]
    side = _CELL - 4
    smoothest = cells.transpose(0, 2, 1, 3).reshape(rows, columns, side * side).argmin(axis=2)
    y = top + 2 + smoothest // side + _CELL * np.arange(rows)[:, None]
    x = left + 2 + smoothest % side + _CELL * np.arange(columns)
    seeds = np.zeros((h, w), np.int32)
    seeds[y, x] = np.arange(1, rows * columns + 1).reshape(rows, columns)
    return _watershed(lab, seeds, np.int16).astype(np.int64) - 1


def _watershed(image: _Array, seeds: _Array, dtype: Any) -> _Array:
    """Watershed, with the lines between the basins assigned to one of them; basins count from 1."""
    basins: _Array = np.maximum(cv2.watershed(image, seeds), 0).astype(dtype)
    while cv2.countNonZero(basins) < basins.size:
        grown = cv2.dilate(basins, np.ones((3, 3), np.uint8))
        basins = np.asarray(cv2.max(basins, cv2.copyTo(grown, (basins == 0).view(np.uint8))))
    return basins


def _find_edges(index: _Array, lab: _Array) -> tuple[_Array, _Array, _Array]:
    """The edges between superpixels: their pairs (m, 2), lengths (m,) and contrasts (m,)."""
    n = int(index.max()) + 1
    codes, differences = [], []
    image = lab.astype(np.int16)
    for axis in (0, 1):
        a, b = (np.take(index, range(start, index.shape[axis] - 1 + start), axis) for start in (0, 1))
        at = np.nonzero(a != b)
        # The difference between pixels next to the two at the edge, since edges are blurred.
        step = np.eye(2, dtype=int)[axis]
        far = [np.clip(i + 2 * s, 0, size - 1) for i, s, size in zip(at, step, index.shape, strict=True)]
        near = [np.clip(i - s, 0, size - 1) for i, s, size in zip(at, step, index.shape, strict=True)]
        codes.append(np.minimum(a[at], b[at]) * n + np.maximum(a[at], b[at]))
        differences.append(np.abs(image[tuple(far)] - image[tuple(near)]).max(axis=1))
    unique, inverse = np.unique(np.concatenate(codes), return_inverse=True)
    length = np.bincount(inverse).astype(np.float64)
    contrast = np.bincount(inverse, np.concatenate(differences)) / length
    return np.stack([unique // n, unique % n], 1), length, contrast


def _merge_superpixels(superpixels: _Superpixels, flows: Flows, previous: _Array | None) -> _Array:
    """Merge the superpixels of frame 0 into regions: (h, w), from 0."""
    confidence = np.exp(flows.error_0 / -_ERROR) + 0.02
    residual = _residual_motion(flows.flow_01, confidence)
    motion = np.stack([superpixels.sum(residual[..., c] * confidence) for c in (0, 1)], 1)
    motion = motion / superpixels.sum(confidence)[:, None]
    speed = np.hypot(motion[:, :1], motion[:, 1:])
    scale, knee = _MOTION
    features = [superpixels.colour, motion * (scale * np.log1p(speed / knee) / np.maximum(speed, 1e-6))]
    labels = bridges = None
    if previous is not None:
        counts = superpixels.label_counts(previous)
        features.append(_PREVIOUS_LABEL * counts / superpixels.count[:, None])
        labels = counts.argmax(axis=1)
        bridges = _bridging_edges(superpixels, labels)
    return _cluster(superpixels, np.concatenate(features, 1), labels, bridges)[superpixels.index]


def _bridging_edges(superpixels: _Superpixels, labels: _Array) -> _Array:
    """Edges, (m, 2), between the connected pieces of each label, so that they can stay one region."""
    i, j = superpixels.edges[labels[superpixels.edges[:, 0]] == labels[superpixels.edges[:, 1]]].T
    piece = np.arange(superpixels.n)
    while True:
        smallest = piece.copy()
        np.minimum.at(smallest, i, piece[j])
        np.minimum.at(smallest, j, piece[i])
        if np.array_equal(smallest, piece):
            break
        piece = smallest[smallest]
    area = np.bincount(piece, superpixels.area, superpixels.n)
    largest: dict[int, int] = {}
    bridges = []
    for root in sorted(np.flatnonzero(area), key=lambda root: (-area[root], root)):
        first = largest.setdefault(int(labels[root]), int(root))
        if first != root:
            bridges.append(sorted((first, int(root))))
    return np.array(bridges, np.int64).reshape(-1, 2)


def _residual_motion(flow: _Array, confidence: _Array) -> _Array:
    """A flow (h, w, 2) less the affine motion of the frame, fitted robustly."""
    h, w = flow.shape[:2]
    y, x = np.mgrid[0:h:4, 0:w:4]
    basis = np.stack([np.ones(x.size), x.reshape(-1) / w - 0.5, y.reshape(-1) / h - 0.5], 1)
    target, confidence = flow[::4, ::4].reshape(-1, 2).astype(np.float64), confidence[::4, ::4].reshape(-1)
    weight = confidence
    solution = np.zeros((3, 2))
    for _ in range(5):
        weighted = basis * weight[:, None]
        solution = np.linalg.solve(weighted.T @ basis + 1e-6 * np.eye(3), weighted.T @ target)
        error = np.linalg.norm(target - basis @ solution, axis=1)
        # Reweighted by the Geman-McClure estimator.
        scale = max(0.5, 1.5 * float(np.median(error)))
        weight = confidence / (1 + (error / scale) ** 2) ** 2
    solution = solution.astype(np.float32)
    slope_x, slope_y = solution[1] / w, solution[2] / h
    x, y = np.arange(w, dtype=np.float32)[None, :, None] - w / 2, np.arange(h, dtype=np.float32)[:, None, None] - h / 2
    residual: _Array = flow - (solution[0] + x * slope_x + y * slope_y)
    return residual


@dataclass
class _RegionGraph:
    """The regions at one step of the merging, and the edges between them."""

    index: _Array  # the region of each superpixel
    area: _Array  # share of the image of each region, (n,)
    total: _Array  # sum of the features over each region, (n, d)
    edges: _Array  # pairs of neighbours, (m, 2)
    length: _Array  # length of each edge, (m,)
    contrast: _Array  # contrast of each edge times its length, (m,)

    def costs(self) -> _Array:
        """The cost of merging across each edge, (m,)."""
        i, j = self.edges.T
        mean = self.total / self.area[:, None]
        distance = ((mean[i] - mean[j]) ** 2).sum(axis=1)
        neutral, smallest = _CONTRAST
        edge = np.clip(self.contrast / self.length / neutral, smallest, 1.5)
        cost: _Array = self.area[i] * self.area[j] / (self.area[i] + self.area[j]) * distance * edge
        return cost

    def mutual_nearest(self, cost: _Array) -> _Array:
        """The indices of the edges between regions that are each other's nearest, the cheapest first."""
        nearest = np.full(len(self.area), np.inf)
        i, j = self.edges.T
        np.minimum.at(nearest, i, cost)
        np.minimum.at(nearest, j, cost)
        mutual = np.flatnonzero((cost <= nearest[i]) & (cost <= nearest[j]) & np.isfinite(cost))
        return mutual[np.argsort(cost[mutual], kind="stable")]

    def merge(self, chosen: _Array) -> _RegionGraph:
        """Merge the regions across the `chosen` edges."""
        n = len(self.area)
        parent = np.arange(n)
        i, j = self.edges[chosen].T
        parent[j] = i  # i < j on every edge, so there are no cycles
        while True:
            grandparent = parent[parent]
            if np.array_equal(grandparent, parent):
                break
            parent = grandparent
        roots, index = np.unique(parent, return_inverse=True)
        m = len(roots)
        area = np.bincount(index, self.area, m)
        total = np.stack([np.bincount(index, column, m) for column in self.total.T], 1)
        a, b = np.sort(index[self.edges], axis=1).T
        outer = a != b
        unique, inverse = np.unique(a[outer] * m + b[outer], return_inverse=True)
        edges = np.stack([unique // m, unique % m], 1)
        length = np.bincount(inverse, self.length[outer], len(unique))
        contrast = np.bincount(inverse, self.contrast[outer], len(unique))
        return _RegionGraph(index[self.index], area, total, edges, length, contrast)


def _cluster(superpixels: _Superpixels, features: _Array, labels: _Array | None, bridges: _Array | None) -> _Array:
    """Cluster superpixels by Ward's criterion: the region of each superpixel, (n,), from 0.

    Args:
        superpixels: The n superpixels.
        features: Their features, (n, d).
        labels: Their previous labels, (n,); None without a previous pair.
        bridges: Additional edges (m, 2), of length 1 and without contrast.
    """
    edges, length, contrast = superpixels.edges, superpixels.length, superpixels.contrast * superpixels.length
    if bridges is not None:
        edges = np.concatenate([edges, bridges])
        length = np.concatenate([length, np.ones(len(bridges))])
        contrast = np.concatenate([contrast, np.zeros(len(bridges))])
    total = features * superpixels.area[:, None]
    graph = _RegionGraph(np.arange(superpixels.n), superpixels.area, total, edges, length, contrast)
    # Merge the pieces of previous regions, unless they have become too different.
    while labels is not None:
        cost = graph.costs()
        region_labels = np.empty(len(graph.area), np.int64)
        region_labels[graph.index] = labels  # so far, all superpixels of a region have the same label
        cost[region_labels[graph.edges[:, 0]] != region_labels[graph.edges[:, 1]]] = np.inf
        chosen = graph.mutual_nearest(cost)
        chosen = chosen[cost[chosen] < _REMERGE_COST]
        if not len(chosen):
            break
        graph = graph.merge(chosen)
    # Merge many pairs at a time until at most 16 regions are left, then one pair at a time.
    while len(graph.area) > _MIN_REGIONS and len(graph.edges):
        cost = graph.costs()
        surplus = len(graph.area) - _MAX_REGIONS
        if surplus > 0:
            chosen = graph.mutual_nearest(cost)[:surplus]
        else:
            chosen = np.array([int(cost.argmin())])
            if cost[chosen[0]] > _MERGE_COST:
                break
        graph = graph.merge(chosen)
    return graph.index


def _propagate_labels(labels: _Array, superpixels: _Superpixels, flows: Flows) -> tuple[_Array, float]:
    """Propagate the labels (h, w) of frame 0 to the superpixels of frame 1; also the mean confidence, 0 to 1."""
    h, w = labels.shape
    flow = flows.flow_10
    x = np.arange(w, dtype=np.float32) + flow[..., 0]
    y = np.arange(h, dtype=np.float32)[:, None] + flow[..., 1]
    inside = (x > -0.5) & (x < w - 0.5) & (y > -0.5) & (y < h - 0.5)
    warped = labels.astype(np.uint8)[
        np.clip(np.rint(y), 0, h - 1).astype(np.intp), np.clip(np.rint(x), 0, w - 1).astype(np.intp)
    ]
    confidence = np.exp(flows.error_1 / -_ERROR) * inside
    votes = superpixels.label_counts(warped, confidence)
    propagated = votes.argmax(axis=1)
    known = votes.sum(axis=1) >= 0.3 * superpixels.count
    if not known.any():
        # No flow can be trusted: assume no motion.
        return superpixels.label_counts(labels).argmax(axis=1)[superpixels.index], 0.0
    edges, colour = superpixels.edges, superpixels.colour
    i, j = np.concatenate([edges, edges[:, ::-1]]).T
    distance = np.tile(np.linalg.norm(colour[edges[:, 0]] - colour[edges[:, 1]], axis=1), 2)
    while not known.all():
        # Each unknown superpixel beside known ones takes the label of the one with the most similar colour.
        front = np.flatnonzero(~known[i] & known[j])
        front = front[np.argsort(distance[front], kind="stable")]
        unknown, nearest = np.unique(i[front], return_index=True)
        propagated[unknown] = propagated[j[front[nearest]]]
        known[unknown] = True
    return propagated[superpixels.index], float(confidence.mean())


def _refine_edges(labels: _Array, frame: _Array) -> LabelMap:
    """Upsample labels (h, w) to the size of the frame (H, W), with their edges on those of the frame."""
    small = labels.astype(np.uint8)
    height, width = frame.shape[:2]
    square = np.ones((3, 3), np.uint8)
    interior = cv2.erode(small, square) == cv2.dilate(small, square)
    for label in np.flatnonzero(np.bincount(small.reshape(-1))):
        region = small == label
        if not interior[region].any():
            interior |= region
    certain = np.where(interior, small + np.uint8(1), np.uint8(0))
    seeds = cv2.resize(certain, (width, height), interpolation=cv2.INTER_NEAREST).astype(np.int32)
    refined: LabelMap = _watershed(cv2.GaussianBlur(frame, (5, 5), 0), seeds, np.uint8) - np.uint8(1)
    return refined


def _ratio(height: int, width: int) -> float:
    """The size of the downsampled image over that of a frame."""
    return min(1.0, math.sqrt(_AREA / (height * width)))


def _small_size(height: int, width: int) -> tuple[int, int]:
    """The size (h, w) of the downsampled image, as `find_flows` computes it."""
    ratio = _ratio(height, width)
    return max(1, round(height * ratio)), max(1, round(width * ratio))


def _resize(frame: _Array, h: int, w: int) -> _Array:
    if frame.shape[:2] == (h, w):
        return np.ascontiguousarray(frame)
    return cv2.resize(frame, (w, h), interpolation=cv2.INTER_AREA)

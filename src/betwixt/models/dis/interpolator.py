"""DIS: classical optical flow, carried to the time of the new frame, fused by agreement and visibility.

    luma 0 ─┬─► shrink ─► DIS 0→1 ─► F01 ─► carry to t ──► u_a ─┐
            ╳                 │                                 ├─► soft choice ─► median ─► u ─┬─► F_t0 = −t u
    luma 1 ─┴─► shrink ─► DIS 1→0 ─► F10 ─► carry to t ──► u_b ─┘   by agreement                └─► F_t1 = (1 − t) u
                              │
                              └─► forward-backward error, carried to t ─► visibility ─► weight of frame 0

    once a pair: up to F01, F10 and their errors (`prepare`); the rest once a time (`motion`)

Here u is the motion from frame 0 to frame 1 of what is seen at a pixel at time t.

1. Flow. Dense inverse search, both ways, on shrunken pictures, without its variational refinement. The coarser scales,
   which find large motion, are searched with care; the finest, which costs most, gets few descent steps: more of
   them follow noise.
2. Carrying. The usual midpoint takes F10(x) as if the pixel x of the new frame were the pixel x of frame 1, which is
   wrong wherever the motion changes. Instead x_0 + t F01(x_0) = x is solved for x_0 by fixed-point iteration, and
   u_a(x) = F01(x_0); u_b likewise from F10. Unlike splatting this leaves no holes.
3. Choice. Where u_a and u_b differ (motion boundaries), each is weighed by how well the two frames, warped by it,
   agree. A median takes away what is left of single wrong patches.
4. Visibility. Where a flow and the flow back do not lead home, the point is hidden in the other frame: the frame that
   shows it gets the weight. So does the frame in which it lies inside the picture.

Shapes: luma (H, W) uint8; inside, pictures (h, w) uint8 and flows (h, w, 2) float32 in pixels of (h, w), with h, w as
`search_size` says; outside, maps of (h, w) with flows in pixels of (H, W).

After frame 1 the motion goes on as it went (`layers.extrapolation`).

Curved paths. Two frames tell where a thing is at two times, so it is taken to go straight and evenly between them; that
is most of the error on real videos. Where the pairs before and after are known (`with_neighbours`), two more of its
places are, too, without another search: their flows lead from frame 0 to frame -1, and from frame 1 to frame 2. Through
the places p(-s), p(0), p(1), p(1+r) goes one cubic, which departs from the straight line by

    d(t)  =  p(t) - (1-t) p(0) - t p(1)  =  -t (1-t) [ (1+r-t)/(1+r+s) c_0 + (s+t)/(1+r+s) c_1 ]

    c_0 = (F_{0->-1} / s + F_{0->1}) / (1+s),      c_1 = (F_{1->2} / r + F_{1->0}) / (1+r)

(Neville's scheme; for even times d(1/2) = -(c_0 + c_1) / 8). A pixel of frame t lies at -t u - d in frame 0 then and
at (1-t) u - d in frame 1. Each c counts as far as its two flows are trusted, by their forward-backward errors. What is
not trusted, or not known, counts as no bend: in the first and the last pair of a shot paths bend half as much.

Still parts stay still: flow below half a pixel is set to zero where the two frames are equal, so that a picture in
picture, a letterbox or a logo is copied bit by bit. Equal frames have zero flow everywhere.

Determinism: a search object holds its own buffers and lives for one call, so that pairs can be prepared in any number
of threads; OpenCV cuts the search into a fixed number of stripes, whatever its own number of threads.

Curved paths after: X. Xu, L. Siyao, W. Sun, Q. Yin, M.-H. Yang, "Quadratic Video Interpolation", NeurIPS 2019, which
fits one acceleration by a network; here it is both, by trust.

References: T. Kroeger, R. Timofte, D. Dai, L. Van Gool, "Fast Optical Flow using Dense Inverse Search", ECCV 2016. The
search is OpenCV's; steps 2 to 4 are not of that paper. Visibility by forward-backward consistency: N. Sundaram,
T. Brox, K. Keutzer, "Dense Point Trajectories by GPU-accelerated Large Displacement Optical Flow", ECCV 2010.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from betwixt.errors import UsageError
from betwixt.layers.extrapolation import extrapolate_motion
from betwixt.layers.motion import FrameMotion
from betwixt.layers.planes import synthesize_planes
from betwixt.models.base import Interpolator, MotionPair
from betwixt.models.frame_view import FrameView, Image, ImageView, Luma, LumaView, downscale_luma

_Map = NDArray[Any]
"""(h, w) or (h, w, 2), float32."""

Effort = Literal["quick", "plain", "thorough"]

_EFFORTS: dict[Effort, tuple[tuple[int, int], tuple[int, int]]] = {
    "quick": ((3, 12), (5, 4)),
    "plain": ((2, 8), (5, 6)),
    "thorough": ((1, 12), (3, 6)),
}
"""The stride of patches and the descent steps, at the coarser scales and at the finest. Coded frames are predicted by
"quick": what changes in it changes what they decode to (`codec.record.FORMAT`)."""

_SHORT_SIDE = 256, 540
"""The short side of the working picture: at least, if the frame is as large, and at most."""

_SMALLEST = 32
"""Pictures smaller than this are padded: the search needs room for its patches at half the size."""

_HIDDEN = 5.0, 0.03
"""Forward-backward error from which a point counts as hidden, in pixels, and how fast its weight falls from there."""

_TRUSTED = 1.0, 0.5
"""After frame 1: the forward-backward error up to which motion is trusted, in pixels, and how fast trust falls then."""

_BENDING = 3.0, 0.2
"""Likewise of the flows that tell how a path bends."""

_BEND_WIDTH = 5
"""The side of the window in which bends are averaged, in pixels of the working picture."""


@dataclass(frozen=True)
class Flows:
    """The flows between two frames at the size (h, w) in which they were sought.

    Attributes:
        flow_01: Where a pixel of frame 0 goes, (h, w, 2) float32, in pixels of (h, w).
        flow_10: Where a pixel of frame 1 comes from, likewise.
        error_0: How far from home a pixel of frame 0 lands that follows `flow_01` and then `flow_10`, (h, w) float32,
            in pixels of the frame. Large: frame 1 does not show it, or the flow is wrong.
        error_1: Likewise of frame 1.
    """

    flow_01: _Map
    flow_10: _Map
    error_0: _Map
    error_1: _Map


@dataclass(frozen=True)
class _Bends:
    """How paths bend, by the flows of the pairs beside; in pixels of the working picture.

    Attributes:
        at_0: c_0 times its trust for each pixel of frame 0, (h, w, 2); None where the pair before is not known.
        at_1: Likewise c_1, of frame 1.
        spans: How long the pair before and the pair after are, as multiples of this one's time.
    """

    at_0: _Map | None
    at_1: _Map | None
    spans: tuple[float, float]


def find_flows(first: Luma, second: Luma, ratio: float | None = None) -> Flows:
    """Find the motion between two grey pictures (H, W), uint8, both ways.

    Args:
        first: Frame 0.
        second: Frame 1, of the same size.
        ratio: As of `DIS`.
    """
    return DIS(ratio).prepare_luma(first, second).flows()


class DIS(Interpolator):
    """Frames in between by dense inverse search optical flow. It has no weights and needs no PyTorch.

    Args:
        ratio: The size of the picture in which motion is sought, as a part of the frame's; None for what suits it.
        effort: How closely the patches lie: "plain", "quick", which takes less time and costs about 0.01 dB, or
            "thorough", which takes more than twice as long.
    """

    name = "dis"
    extrapolates = True
    uses_neighbours = True

    def __init__(self, ratio: float | None = None, effort: Effort = "plain") -> None:
        self._ratio, self._effort = ratio, effort

    def prepare_views(self, first: FrameView, second: FrameView) -> DISPair:
        """Find the motion between two frames."""
        return DISPair(first, second, self._ratio, self._effort)

    def prepare(self, first: Image, second: Image) -> DISPair:
        """Find the motion between two RGB pictures (H, W, 3), float32 in [0, 1]."""
        return self.prepare_views(ImageView(first), ImageView(second))

    def prepare_luma(self, first: Luma, second: Luma) -> DISPair:
        """Find the motion between two grey pictures (H, W), uint8."""
        return self.prepare_views(LumaView(first), LumaView(second))

    def next_frame(self, first: Image, second: Image) -> Image:
        """The frame after two: what is seen in the second goes on as it went."""
        return self.prepare(first, second).at(2.0)

    def frames_after(self, first: Image, second: Image, steps: int) -> Iterator[Image]:
        """The frames after two, all along the motion between those two."""
        pair = self.prepare(first, second)
        for step in range(1, steps + 1):
            yield pair.at(1.0 + step)


class DISPair(MotionPair):
    """Two frames and the flows between them."""

    def __init__(
        self, first: FrameView, second: FrameView, ratio: float | None = None, effort: Effort = "plain"
    ) -> None:
        if first.luma.shape != second.luma.shape:
            raise UsageError("The two frames differ in size: scale one to the other's size first.")
        self._frames = first, second
        self._bends: _Bends | None = None
        height, width = first.luma.shape
        h, w = search_size(height, width, ratio)
        self._size = h, w
        self._scale = np.array([width / w, height / h], np.float32)
        changed = np.asarray(cv2.absdiff(first.luma, second.luma), np.uint8)
        self._equal = not changed.any()
        if self._equal:
            return
        self._luma_0, self._luma_1 = first.luma_at(h, w), second.luma_at(h, w)
        self._still = _unchanged(changed, h, w)
        self._flow_01, self._flow_10 = _search(self._luma_0, self._luma_1, effort)
        self._error_0 = self._round_trip(self._flow_01, self._flow_10)
        self._error_1 = self._round_trip(self._flow_10, self._flow_01)

    def flows(self) -> Flows:
        """The flows themselves."""
        if self._equal:
            still, at_home = np.zeros((*self._size, 2), np.float32), np.zeros(self._size, np.float32)
            return Flows(still, still, at_home, at_home)
        return Flows(self._flow_01, self._flow_10, self._error_0, self._error_1)

    def with_neighbours(
        self, before: MotionPair | None, after: MotionPair | None, spans: tuple[float, float] = (1.0, 1.0)
    ) -> DISPair:
        """This pair with curved paths, as the module says; itself where nothing is known of the pairs beside it."""
        if self._equal:
            return self
        s, r = spans
        at_0 = at_1 = None
        if isinstance(before, DISPair) and before._size == self._size and s > 0:
            past = before.flows()
            at_0 = _bend(past.flow_10, past.error_1, self._flow_01, self._error_0, s)
        if isinstance(after, DISPair) and after._size == self._size and r > 0:
            next_ = after.flows()
            at_1 = _bend(next_.flow_01, next_.error_0, self._flow_10, self._error_1, r)
        if at_0 is None and at_1 is None:
            return self
        bent = copy.copy(self)
        bent._bends = _Bends(at_0, at_1, spans)
        return bent

    @property
    def is_curved(self) -> bool:
        """Whether its paths are curved."""
        return self._bends is not None

    def motion(self, t: float) -> FrameMotion:
        """The motion and visibility at time `t`, 0 < t < 1."""
        t = float(t)
        if self._equal:
            zero = np.zeros((*self._size, 2), np.float32)
            return FrameMotion(zero, zero, np.full(self._size, 1 - t, np.float32))
        u = self._motion_at(t)
        to_0, to_1 = u * np.float32(-t), u * np.float32(1 - t)
        if self._bends is not None:
            departure = self._departure(self._bends, u, to_0, to_1, t)
            to_0 -= departure
            to_1 -= departure
        place_0, place_1 = to_0 + _grid(*self._size), to_1 + _grid(*self._size)
        # A large error at the point in frame 0 says that frame 1 does not show it, and the other way round.
        error_0, error_1 = _sampled(self._error_0, place_0), _sampled(self._error_1, place_1)
        seen_0 = np.float32(1 - t) * self._visibility(error_1, place_0)
        seen_1 = np.float32(t) * self._visibility(error_0, place_1)
        share = seen_0 + np.float32(1e-3 * (1 - t))
        share /= seen_0 + seen_1 + np.float32(1e-3)
        weight: _Map = cv2.blur(share, (3, 3), borderType=cv2.BORDER_REPLICATE)
        return FrameMotion(_by_axis(to_0, self._scale), _by_axis(to_1, self._scale), weight)

    def beyond(self, s: float) -> FrameMotion:
        """The motion and visibility `s` intervals after frame 1, s > 0: what is seen in frame 1 goes on as it went."""
        if self._equal:
            zero = np.zeros((*self._size, 2), np.float32)
            return FrameMotion(zero, zero, np.zeros(self._size, np.float32))
        trust = _trust(self._error_1, *_TRUSTED)
        x, y = (float(side) for side in self._scale)
        return extrapolate_motion(_by_axis(self._motion_at(1.0), self._scale), trust, float(s), (x, y))

    def longest(self) -> float:
        """How far the fastest parts move from frame 0 to frame 1, in pixels of the frame: all but a thousandth."""
        if self._equal:
            return 0.0
        lengths = [cv2.magnitude(*cv2.split(_by_axis(flow, self._scale))) for flow in (self._flow_01, self._flow_10)]
        for length in lengths:
            length[self._still] = 0
        return max(float(np.quantile(length, 0.999)) for length in lengths)

    def at(self, t: float) -> Image:
        """The frame at time `t`, 0 < t < 1, or after frame 1."""
        first, second = (frame.rgb for frame in self._frames)
        motion = self.motion(t) if t < 1 else self.beyond(t - 1)
        image: Image
        (image,) = synthesize_planes([first], [second], motion, first.shape[:2])
        return image

    def _motion_at(self, t: float) -> _Map:
        """The motion from frame 0 to frame 1 of what is seen at each pixel at time `t`."""
        u_a, u_b = _carried(self._flow_01, t), -_carried(self._flow_10, 1 - t)
        # exp(-cost) each, normalized: a logistic function of the difference of the costs.
        share = self._disagreement(u_b, t)
        share -= self._disagreement(u_a, t)
        share = 1 / (1 + np.exp(np.clip(-share, -30, 30)))
        u = u_b
        u += _by_pixel(u_a - u_b, share)
        u = cv2.merge([cv2.medianBlur(component, 5) for component in cv2.split(u)])
        _clear(u, self._still & (_length(_by_axis(u, self._scale)) < 0.5))
        return u

    def _departure(self, bends: _Bends, u: _Map, to_0: _Map, to_1: _Map, t: float) -> _Map:
        """d(t), how far what is seen at each pixel at time `t` lies from the straight way between its two places."""
        s, r = bends.spans
        sum_ = np.zeros_like(u)
        grid = _grid(*self._size)
        for bend, way, share in ((bends.at_0, to_0, 1 + r - t), (bends.at_1, to_1, s + t)):
            if bend is not None:
                sum_ += _sampled(bend, grid + way) * np.float32(-t * (1 - t) * share / (1 + r + s))
        _clear(sum_, (u[..., 0] == 0) & (u[..., 1] == 0))  # what stands still stays
        return sum_

    def _disagreement(self, u: _Map, t: float) -> _Map:
        """Mean absolute difference, around each pixel, of the two frames warped to time `t` by `u`."""
        grid = _grid(*self._size)
        warped_0 = _sampled(self._luma_0, grid - u * np.float32(t))
        warped_1 = _sampled(self._luma_1, grid + u * np.float32(1 - t))
        difference = cv2.absdiff(warped_0, warped_1).astype(np.float32)
        cost: _Map = cv2.blur(difference, (5, 5), borderType=cv2.BORDER_REPLICATE)
        return cost

    def _round_trip(self, there: _Map, back: _Map) -> _Map:
        """How far from home, in pixels of the frame, a point lands that follows one flow and then the other."""
        miss = _sampled(back, there + _grid(*self._size))
        miss += there
        return _length(_by_axis(miss, self._scale))

    def _visibility(self, error: _Map, place: _Map) -> _Map:
        """How likely the points at `place` of a frame are seen in it, from their errors in the other frame."""
        start, fall = _HIDDEN
        h, w = self._size
        x, y = cv2.split(place)
        beyond = np.maximum(np.maximum(-x, x - (w - 1)), np.maximum(-y, y - (h - 1)))
        return np.exp(np.maximum(error - start, 0) * -fall - np.maximum(beyond, 0))


def _trust(error: _Map, sure: float, fall: float) -> _Map:
    """1 for forward-backward errors up to `sure` pixels, and less beyond."""
    return np.exp(np.maximum(error - np.float32(sure), 0) * np.float32(-fall))


def _bend(beyond: _Map, error_beyond: _Map, within: _Map, error_within: _Map, span: float) -> _Map:
    """c times its trust, of a frame's flows: out of the pair, over `span`, and into it."""
    trust = _trust(np.maximum(error_within, error_beyond), *_BENDING)
    bends = _by_pixel(beyond / np.float32(span) + within, trust / np.float32(1 + span))
    averaged: _Map = cv2.blur(bends, (_BEND_WIDTH, _BEND_WIDTH), borderType=cv2.BORDER_REPLICATE)
    return averaged


def search_size(height: int, width: int, ratio: float | None = None) -> tuple[int, int]:
    """The size at which the motion is sought: small frames as they are, larger ones at a third or so."""
    least, most = _SHORT_SIDE
    short = min(height, width)
    if ratio is None:
        ratio = min(1.0, min(max(0.35 * short, least), most) / short)
    return max(1, round(height * ratio)), max(1, round(width * ratio))


def _search(first: Luma, second: Luma, effort: Effort) -> tuple[_Map, _Map]:
    """The flows from either picture to the other."""
    coarser, finest = _EFFORTS[effort]
    h, w = first.shape
    pad = (0, max(0, _SMALLEST - h), 0, max(0, _SMALLEST - w))
    whole = [np.asarray(cv2.copyMakeBorder(x, *pad, cv2.BORDER_REPLICATE), np.uint8) for x in (first, second)]
    full_h, full_w = whole[0].shape
    half = [downscale_luma(x, full_h // 2, full_w // 2) for x in whole]
    flows = []
    for way in (1, -1):
        start = cv2.resize(_searcher(*coarser).calc(*half[::way], None), (full_w, full_h))
        start = _by_axis(start, np.array([full_w / (full_w // 2), full_h / (full_h // 2)], np.float32))
        flow = _searcher(*finest, coarsest=0).calc(*whole[::way], start)
        flows.append(np.ascontiguousarray(flow[:h, :w]))
    return flows[0], flows[1]


def _searcher(stride: int, steps: int, coarsest: int | None = None) -> Any:
    """A search with patches every `stride` pixels and so many descent steps, from scale `coarsest` to the finest."""
    search: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    search.setPatchStride(stride)
    search.setGradientDescentIterations(steps)
    search.setVariationalRefinementIterations(0)
    search.setFinestScale(0)
    if coarsest is not None:
        search.setCoarsestScale(coarsest)
    return search


def _carried(flow: _Map, t: float) -> _Map:
    """At each x the flow of the point that `t` times its flow brings to x."""
    grid = _grid(*flow.shape[:2])
    once = _sampled(flow, grid - flow * np.float32(t))
    return _sampled(flow, grid - once * np.float32(t))


def _sampled(picture: NDArray[Any], places: _Map) -> NDArray[Any]:
    """`picture` at `places` (h, w, 2), bilinear; beyond its border, its border."""
    # One map with both coordinates; the stubs know only the form with two.
    sampled: NDArray[Any] = cv2.remap(  # type: ignore[call-overload]
        picture, places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return sampled


def _unchanged(difference: Luma, h: int, w: int) -> NDArray[np.bool_]:
    """Where nothing changes, on (h, w): in what a pixel covers, and beside it."""
    height, width = difference.shape
    covered = [2 * math.ceil(side) - 1 for side in (width / w, height / h)]
    changed = cv2.resize(
        cv2.dilate(difference, np.ones(covered[::-1], np.uint8)), (w, h), interpolation=cv2.INTER_NEAREST
    )
    return np.asarray(cv2.dilate(changed, np.ones((3, 3), np.uint8)) == 0)


# Over an axis of two, NumPy's loops and masks take ten times as long as over rows.


def _by_axis(vectors: _Map, factors: _Map) -> _Map:
    """(h, w, 2) times (2,)."""
    h, w = vectors.shape[:2]
    scaled: _Map = vectors.reshape(h, 2 * w) * np.tile(factors, w)
    return scaled.reshape(h, w, 2)


def _by_pixel(vectors: _Map, factors: _Map) -> _Map:
    """(h, w, 2) times (h, w)."""
    return np.multiply(vectors, cv2.merge([factors, factors]))


def _clear(vectors: _Map, where: NDArray[np.bool_]) -> None:
    """Set (h, w, 2) to zero where (h, w) says so."""
    np.copyto(vectors.view(np.uint64)[..., 0], 0, where=where)


def _length(vectors: _Map) -> _Map:
    """(h, w, 2) -> (h, w), rounded alike every time: `cv2.magnitude` rounds as the arrays happen to lie in memory."""
    squared = vectors * vectors
    length: _Map = np.sqrt(squared[..., 0] + squared[..., 1])
    return length


@lru_cache(maxsize=4)
def _grid(h: int, w: int) -> _Map:
    """The place of each pixel, (x, y)."""
    grid = np.empty((h, w, 2), np.float32)
    grid[..., 0] = np.arange(w, dtype=np.float32)
    grid[..., 1] = np.arange(h, dtype=np.float32)[:, None]
    grid.flags.writeable = False
    return grid

"""dis: classical optical flow, projected to the time of the new frame, fused by agreement and visibility.

    luma 0 ─┬─► downscale ─► DIS 0→1 ─► F01 ─► project to t ─► u_a ─┐
            ╳                   │                                   ├─► soft choice ─► median ─► u ─┬─► F_t0 = −t u
    luma 1 ─┴─► downscale ─► DIS 1→0 ─► F10 ─► project to t ─► u_b ─┘   by agreement                └─► F_t1 = (1 − t) u
                                │
                                └─► forward-backward error, sampled at t ─► visibility ─► weight of frame 0

    once a pair: up to F01, F10 and their errors (`prepare`); the rest once a time (`motion`)

u is the motion from frame 0 to frame 1 of what a pixel shows at time t.

1. Flow. Dense inverse search (DIS) in both directions on downscaled luma, without variational refinement, in stages
   (`search`): coarse scales, which find large motion, are searched thoroughly; the finest, which costs most, gets few
   patches and descent steps: more of them follow noise.
2. Projection. The usual midpoint rule takes F10(x) as if pixel x of the new frame were pixel x of frame 1, which is
   wrong wherever the motion changes. Instead x_0 + t F01(x_0) = x is solved for x_0 by fixed-point iteration, and
   u_a(x) = F01(x_0); u_b is found in the same way from F10. Unlike splatting this leaves no holes.
3. Choice. Where u_a and u_b differ (at motion boundaries), each is weighted by how well the two frames, warped by it,
   agree. A median filter removes what is left of single wrong patches.
4. Visibility. Where a flow followed by the opposite flow does not return to its start, the point is occluded in the
   other frame, and the frame that shows it gets the weight; so does the frame within whose borders the point lies.

Shapes: luma (H, W) uint8; inside, luma (h, w) uint8 and vectors (2, h, w) float32, x and y as planes, in pixels of
(h, w), where (h, w) is `search_size`, or a part of it; results are maps of (h, w) with flows in pixels of (H, W).

After frame 1 the motion continues unchanged (`layers.extrapolation`).

Curved paths. Two frames give the position of a point at two times, so its path is taken to be straight and its speed
constant; that is most of the error on real videos. Where the pairs before and after are known (`with_neighbours`), they
give two more positions without another search: their flows lead from frame 0 to frame -1, and from frame 1 to frame 2.
One cubic passes through the positions p(-s), p(0), p(1), p(1+r), and departs from the straight line by

    d(t)  =  p(t) - (1-t) p(0) - t p(1)  =  -t (1-t) [ (1+r-t)/(1+r+s) c_0 + (s+t)/(1+r+s) c_1 ]

    c_0 = (F_{0->-1} / s + F_{0->1}) / (1+s),      c_1 = (F_{1->2} / r + F_{1->0}) / (1+r)

(Neville's scheme; for even times d(1/2) = -(c_0 + c_1) / 8). A pixel of frame t then lies at -t u - d in frame 0 and at
(1-t) u - d in frame 1. Each curvature c is weighted by the trust in its two flows, from their forward-backward errors.
A curvature that is not trusted or not known counts as 0: in the first and the last pair of a shot, paths bend half as
much; likewise where the shared frame differs between the two pairs, because an overlay was removed from it for one.

Static parts stay static: flow below half a pixel is set to zero where the two frames are equal, so that a picture in
picture, a letterbox or a logo is copied bit by bit. Equal frames have zero flow everywhere.

Determinism: a DIS object has its own buffers and is used for one call, so that pairs can be prepared in any number of
threads; OpenCV splits the search into a fixed number of stripes, whatever its own number of threads.

References: T. Kroeger, R. Timofte, D. Dai, L. Van Gool, "Fast Optical Flow using Dense Inverse Search", ECCV 2016. The
search is OpenCV's; steps 2 to 4 are not from that paper. Visibility by forward-backward consistency: N. Sundaram,
T. Brox, K. Keutzer, "Dense Point Trajectories by GPU-accelerated Large Displacement Optical Flow", ECCV 2010. Curved
paths follow X. Xu, L. Siyao, W. Sun, Q. Yin, M.-H. Yang, "Quadratic Video Interpolation", NeurIPS 2019, which fits one
acceleration by a network; here there are two curvatures, weighted by trust.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from betwixt.images import check_same_size
from betwixt.layers.extrapolation import extrapolate_motion
from betwixt.layers.motion import FrameMotion
from betwixt.layers.planes import synthesize_planes
from betwixt.models.base import Interpolator, MotionPair, Pair
from betwixt.models.dis.search import SETTINGS, Effort, find_static, resize_flow, search_flows, search_size
from betwixt.models.frame_view import FrameView, Image, ImageView, Luma, LumaView, downscale_luma
from betwixt.models.maps import IntermediateMap, Maps

__all__ = ["DIS", "SHARPENING", "DISPair", "Effort", "Flows", "find_flows", "search_size"]

_Map = NDArray[Any]
"""(h, w) or, for vectors, (2, h, w), float32."""

_OCCLUSION = 5.0, 0.03
"""The forward-backward error, in pixels, above which a point counts as occluded, and the rate at which its weight falls
from there."""

_EXTRAPOLATION_TRUST = 1.0, 0.5
"""After frame 1: the forward-backward error, in pixels, up to which motion is trusted, and the rate at which trust
falls from there."""

_LEAST_TRUST = 0.65
"""The mean trust in the motion of a frame from which it is continued at a cut. Below, the new frame looks torn."""

SHARPENING = 0.05
"""`sharpening` of a `FrameMotion`: puts back some of the detail that warping and blending take, for 0.02 to 0.09 dB."""

_COST_WINDOW = 3, 3
"""The window over which the difference of the warped frames is averaged, in pixels of half the search size."""

_CURVATURE_TRUST = 3.0, 0.2
"""The same two numbers for the flows that curvatures are computed from."""

_CURVATURE_WINDOW = 3
"""The side of the window over which curvatures are averaged, in pixels of half the search size."""

_SHARED_TOLERANCE, _SHARED_REACH = 20, 8
"""The change of luma from which the frame that two pairs share differs between them, and how far, in pixels of the
search size, the flow around it is not comparable either: half the window of a search patch, and some more."""


@dataclass(frozen=True)
class Flows:
    """The flows between two frames, at the search size (h, w).

    Attributes:
        flow_01: Where a pixel of frame 0 goes, (h, w, 2) float32, in pixels of (h, w).
        flow_10: Where a pixel of frame 1 comes from, (h, w, 2) float32, in pixels of (h, w).
        error_0: The forward-backward error of frame 0: how far from its start a pixel ends that follows `flow_01` and
            then `flow_10`, (h, w) float32, in pixels of the frame. If large, frame 1 does not show it, or the flow is
            wrong.
        error_1: The forward-backward error of frame 1, (h, w) float32, in pixels of the frame.
    """

    flow_01: _Map
    flow_10: _Map
    error_0: _Map
    error_1: _Map


@dataclass(frozen=True)
class _Curvatures:
    """The curvatures of paths, from the flows of the neighbouring pairs, in pixels of the search size."""

    at_0: _Map | None  # c_0 times its trust for each pixel of frame 0, at half size; None if the pair before is unknown
    at_1: _Map | None  # c_1 times its trust for each pixel of frame 1, at half size; None if the pair after is unknown
    spans: tuple[float, float]  # the durations of the pair before and the pair after, as multiples of this one's


def find_flows(first: Luma, second: Luma, ratio: float | None = None) -> Flows:
    """Search the flows between two luma images (H, W), uint8, in both directions; `ratio` is as for `DIS`."""
    return DIS(ratio).prepare_luma(first, second).flows()


class DIS(Interpolator):
    """Interpolation by dense inverse search optical flow. It has no weights and needs no PyTorch.

    Args:
        ratio: The search size as a part of the frame size; None for `search_size`.
        effort: The density of the search (`SETTINGS`): "plain", "fast", which searches at a lower resolution,
            or "thorough", which takes more than twice as long.
    """

    name = "dis"
    extrapolates = True
    uses_neighbours = True
    scales = 0.25, 0.5, 1.0, 2.0, 4.0

    def __init__(self, ratio: float | None = None, effort: Effort = "plain") -> None:
        self._ratio, self._effort, self._scale = ratio, effort, 1.0

    def prepare_views(self, first: FrameView, second: FrameView) -> DISPair:
        return DISPair(first, second, self._ratio_for(first), self._effort)

    def _at_scale(self, scale: float) -> DIS:
        scaled = copy.copy(self)
        scaled._scale = scale
        return scaled

    def _ratio_for(self, frame: FrameView) -> float | None:
        """The search size as a part of a frame's; at most the frame's own."""
        if self._scale == 1:
            return self._ratio
        height, width = frame.luma.shape
        searched, _ = search_size(height, width, self._ratio, self._effort)
        return float(min(1.0, self._scale * searched / height))

    def prepare(self, first: Image, second: Image) -> DISPair:
        return self.prepare_views(ImageView(first), ImageView(second))

    def prepare_luma(self, first: Luma, second: Luma) -> DISPair:
        """Search the motion between two luma images (H, W), uint8."""
        return self.prepare_views(LumaView(first), LumaView(second))

    def next_frame(self, first: Image, second: Image) -> Image:
        return self.prepare(first, second).at(2.0)

    def frames_after(self, first: Image, second: Image, steps: int) -> Iterator[Image]:
        """The frames after two frames, all along the motion between those two."""
        pair = self.prepare(first, second)
        for step in range(1, steps + 1):
            yield pair.at(1.0 + step)


class DISPair(MotionPair):
    """Two frames and the flows between them."""

    def __init__(
        self, first: FrameView, second: FrameView, ratio: float | None = None, effort: Effort = "plain"
    ) -> None:
        check_same_size(first.luma, second.luma)
        self._frames = first, second
        self._curvatures: _Curvatures | None = None
        height, width = first.luma.shape
        searched = search_size(height, width, ratio, effort)
        reduction = SETTINGS[effort].reduction
        h, w = self._size = -(-searched[0] // reduction), -(-searched[1] // reduction)
        self._scale = np.array([width / w, height / h], np.float32)[:, None, None]
        difference = np.asarray(cv2.absdiff(first.luma, second.luma), np.uint8)
        self._equal = not difference.any()
        if self._equal:
            return
        self._static = find_static(difference, h, w)
        luma = first.luma_at(*searched), second.luma_at(*searched)
        self._flow_01, self._flow_10 = search_flows(*luma, effort)
        if reduction > 1:
            self._flow_01, self._flow_10 = (resize_flow(flow, h, w) for flow in (self._flow_01, self._flow_10))
        self._small_0, self._small_1 = (downscale_luma(x, *_half(h, w)) for x in luma)
        # What is smooth is computed at half the size, in a quarter of the time.
        self._coarse_01, self._coarse_10 = (resize_flow(x, *_half(h, w)) for x in (self._flow_01, self._flow_10))
        self._error_0 = self._forward_backward_error(self._coarse_01, self._coarse_10)
        self._error_1 = self._forward_backward_error(self._coarse_10, self._coarse_01)
        self._seen_0, self._seen_1 = (_trust(error, *_OCCLUSION) for error in (self._error_0, self._error_1))

    def flows(self) -> Flows:
        """The flows in both directions."""
        if self._equal:
            flow, error = np.zeros((*self._size, 2), np.float32), np.zeros(self._size, np.float32)
            return Flows(flow, flow, error, error)
        errors = (_resize(error, *self._size) for error in (self._error_0, self._error_1))
        return Flows(_interleave(self._flow_01), _interleave(self._flow_10), *errors)

    def maps(self, t: float) -> Maps:
        """The maps of the frame at `t`, and those of the search."""
        flows = self.flows()
        in_frame = self._scale.ravel()  # from pixels of the search size
        return super().maps(t) | {
            "flow_01": IntermediateMap("flow", flows.flow_01 * in_frame),
            "flow_10": IntermediateMap("flow", flows.flow_10 * in_frame),
            "error_0": IntermediateMap("length", flows.error_0),
            "error_1": IntermediateMap("length", flows.error_1),
            "visible_0": IntermediateMap("weight", _trust(flows.error_0, *_OCCLUSION)),
            "visible_1": IntermediateMap("weight", _trust(flows.error_1, *_OCCLUSION)),
        }

    def with_neighbours(
        self, before: Pair | None, after: Pair | None, spans: tuple[float, float] = (1.0, 1.0)
    ) -> DISPair:
        """This pair with curved paths; itself if nothing is known of the neighbouring pairs."""
        if self._equal:
            return self
        s, r = spans
        at_0 = at_1 = None
        if isinstance(before, DISPair) and before._size == self._size and s > 0:
            flow, error = before._flow_out(1)
            at_0 = _curvature(flow, error, self._coarse_01, self._error_0, s)
            self._forget_changes(at_0, before._frames[1], self._frames[0])
        if isinstance(after, DISPair) and after._size == self._size and r > 0:
            flow, error = after._flow_out(0)
            at_1 = _curvature(flow, error, self._coarse_10, self._error_1, r)
            self._forget_changes(at_1, after._frames[0], self._frames[1])
        if at_0 is None and at_1 is None:
            return self
        pair = copy.copy(self)
        pair._curvatures = _Curvatures(at_0, at_1, spans)
        return pair

    def _flow_out(self, frame: int) -> tuple[_Map, _Map]:
        """The flow of a frame, 0 or 1, to the other, and its forward-backward error, at half size."""
        if self._equal:
            h, w = _half(*self._size)
            return np.zeros((2, h, w), np.float32), np.zeros((h, w), np.float32)
        return (self._coarse_10, self._error_1) if frame else (self._coarse_01, self._error_0)

    def _forget_changes(self, curvature: _Map, neighbours: FrameView, own: FrameView) -> None:
        """Set a curvature to zero where the frame that two pairs share differs between them, in place.

        It does where an overlay was removed from it for one of the two: there one flow is the overlay's, the other that
        of the picture behind it.
        """
        if neighbours is own:
            return
        change = cv2.absdiff(neighbours.luma_at(*self._size), own.luma_at(*self._size))
        changed = cv2.threshold(change, _SHARED_TOLERANCE, 255, cv2.THRESH_BINARY)[1]
        # A contour is only the edge of a hole that was filled in a little further.
        changed = cv2.morphologyEx(changed, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
        side = 2 * _SHARED_REACH + 1
        changed = cv2.dilate(changed, np.ones((side, side), np.uint8))
        curvature[:, cv2.resize(changed, curvature.shape[:0:-1], interpolation=cv2.INTER_AREA) > 0] = 0

    @property
    def is_curved(self) -> bool:
        """Whether its paths are curved."""
        return self._curvatures is not None

    def motion(self, t: float) -> FrameMotion:
        """The motion and visibility at time `t`, 0 < t < 1."""
        t = float(t)
        if self._equal:
            zero = np.zeros((*self._size, 2), np.float32)
            return FrameMotion(zero, zero, np.full(self._size, 1 - t, np.float32))
        u = self._motion_at(t)
        coarse = resize_flow(u, *_half(*self._size))
        coarse_t0, coarse_t1 = coarse * np.float32(-t), coarse * np.float32(1 - t)
        flow_t0, flow_t1 = u * np.float32(-t), u * np.float32(1 - t)
        if self._curvatures is not None:
            departure = _departure(self._curvatures, coarse_t0, coarse_t1, t)
            coarse_t0 -= departure
            coarse_t1 -= departure
            departure = resize_flow(departure, *self._size, cv2.INTER_LINEAR)
            if self._static.any():
                departure[:, (u[0] == 0) & (u[1] == 0)] = 0  # static parts stay static
            flow_t0 -= departure
            flow_t1 -= departure
        # A large error at a point of frame 0 means that frame 1 does not show it, and vice versa.
        visible_0 = _sample(self._seen_1, coarse_t1) * _contains(coarse_t0) * np.float32(1 - t)
        visible_1 = _sample(self._seen_0, coarse_t0) * _contains(coarse_t1) * np.float32(t)
        share = visible_0 + np.float32(1e-3 * (1 - t))
        share /= visible_0 + visible_1 + np.float32(1e-3)
        weight = _resize(share, *self._size)
        to_0, to_1 = (_interleave(flow * self._scale) for flow in (flow_t0, flow_t1))
        return FrameMotion(to_0, to_1, weight, sharpening=SHARPENING)

    def motion_after(self, s: float) -> FrameMotion:
        """The motion and visibility `s` intervals after frame 1, s > 0: the motion of frame 1 continues."""
        if self._equal:
            zero = np.zeros((*self._size, 2), np.float32)
            return FrameMotion(zero, zero, np.zeros(self._size, np.float32))
        trust = self._trust_1()
        x, y = (float(factor) for factor in self._scale.ravel())
        return extrapolate_motion(_interleave(self._motion_at(1.0) * self._scale), trust, float(s), (x, y))

    def can_continue(self) -> bool:
        """Whether there is motion, and it is reliable enough for `motion_after` to be better than frame 1 itself."""
        return not self._equal and float(self._trust_1().mean()) >= _LEAST_TRUST

    def max_displacement(self) -> float:
        """The 99.9th percentile of the motion from frame 0 to frame 1, in pixels of the frame."""
        if self._equal:
            return 0.0
        lengths = [_length(flow * self._scale) for flow in (self._flow_01, self._flow_10)]
        for length in lengths:
            length[self._static] = 0
        return max(float(np.quantile(length, 0.999)) for length in lengths)

    def at(self, t: float) -> Image:
        """The frame at time `t`, 0 < t < 1, or after frame 1."""
        first, second = (frame.rgb for frame in self._frames)
        motion = self.motion(t) if t < 1 else self.motion_after(t - 1)
        image: Image
        (image,) = synthesize_planes([first], [second], motion, first.shape[:2])
        return image

    def _motion_at(self, t: float) -> _Map:
        """u (2, h, w) at time `t`, in pixels of the search size."""
        u_a, u_b = _project(self._flow_01, self._coarse_01, t), -_project(self._flow_10, self._coarse_10, 1 - t)
        # The weights are exp(-cost), normalized: a sigmoid of the difference of the costs.
        share = self._disagreement(u_b, t)
        share -= self._disagreement(u_a, t)
        share = _resize(1 / (1 + np.exp(np.clip(-share, -30, 30))), *self._size)
        u = u_b + (u_a - u_b) * share
        u = np.stack([cv2.medianBlur(component, 5) for component in u])
        if self._static.any():
            u[:, self._static & (_length(u * self._scale) < 0.5)] = 0
        return u

    def _disagreement(self, u: _Map, t: float) -> _Map:
        """The mean absolute difference of the two frames warped to time `t` by `u`, around each pixel, at half size."""
        h, w = self._size
        u = resize_flow(u, *_half(h, w))
        difference = cv2.absdiff(
            _sample(self._small_0, u * np.float32(-t)), _sample(self._small_1, u * np.float32(1 - t))
        )
        cost: _Map = cv2.blur(difference.astype(np.float32), _COST_WINDOW, borderType=cv2.BORDER_REPLICATE)
        return cost

    def _forward_backward_error(self, forward: _Map, backward: _Map) -> _Map:
        """How far from its start, in pixels of the frame, a point ends that follows one flow and then the other."""
        h, w = forward.shape[1:]
        pixel = np.array([self._size[1] / w, self._size[0] / h], np.float32)[:, None, None] * self._scale
        return _length((_sample(backward, forward) + forward) * pixel)

    def _trust_1(self) -> _Map:
        """Whether frame 0 shows the points of frame 1, (h, w) in [0, 1]."""
        return _resize(_trust(self._error_1, *_EXTRAPOLATION_TRUST), *self._size)


def _trust(error: _Map, threshold: float, rate: float) -> _Map:
    """1 for forward-backward errors up to `threshold` pixels, falling exponentially above."""
    return np.exp(np.maximum(error - np.float32(threshold), 0) * np.float32(-rate))


def _curvature(outward: _Map, outward_error: _Map, inward: _Map, inward_error: _Map, span: float) -> _Map:
    """A curvature c times its trust, from a frame's flow out of the pair, over `span`, and its flow into the pair."""
    trust = _trust(np.maximum(inward_error, outward_error), *_CURVATURE_TRUST)
    curvature = (outward / np.float32(span) + inward) * (trust / np.float32(1 + span))
    window = (_CURVATURE_WINDOW, _CURVATURE_WINDOW)
    averaged = [cv2.blur(component, window, borderType=cv2.BORDER_REPLICATE) for component in curvature]
    return np.stack(averaged)


def _departure(curvatures: _Curvatures, flow_t0: _Map, flow_t1: _Map, t: float) -> _Map:
    """d(t) (2, h, w): how far the path of each pixel departs at time `t` from the straight line."""
    s, r = curvatures.spans
    departure = np.zeros_like(flow_t0)
    for curvature, flow, share in ((curvatures.at_0, flow_t0, 1 + r - t), (curvatures.at_1, flow_t1, s + t)):
        if curvature is not None:
            departure += _sample(curvature, flow) * np.float32(-t * (1 - t) * share / (1 + r + s))
    return departure


def _project(flow: _Map, coarse: _Map, t: float) -> _Map:
    """At each x, the flow of the point that `t` times its flow moves to x; `coarse` is the flow at half size."""
    once = _sample(coarse, coarse * np.float32(-t))
    h, w = flow.shape[1:]
    return _sample(flow, resize_flow(once, h, w, cv2.INTER_LINEAR) * np.float32(-t))


def _sample(values: NDArray[Any], flow: _Map) -> NDArray[Any]:
    """An image, a map or vectors where `flow` leads to from each pixel, bilinear; outside, the nearest border pixel."""
    if values.ndim == 3:
        return np.stack([_sample(component, flow) for component in values])
    flags = cv2.INTER_LINEAR | cv2.WARP_RELATIVE_MAP
    return np.asarray(cv2.remap(values, flow[0], flow[1], flags, borderMode=cv2.BORDER_REPLICATE))


def _contains(flow: _Map) -> _Map:
    """1 where `flow` leads to a place in the image, 0 where it leads out of it, (h, w)."""
    inside = np.ones(flow.shape[1:], np.float32)
    flags = cv2.INTER_LINEAR | cv2.WARP_RELATIVE_MAP
    return np.asarray(cv2.remap(inside, flow[0], flow[1], flags, borderMode=cv2.BORDER_CONSTANT, borderValue=0))


def _half(h: int, w: int) -> tuple[int, int]:
    return -(-h // 2), -(-w // 2)


def _resize(values: _Map, h: int, w: int) -> _Map:
    """A map (h', w') on a finer map (h, w); its values are not scaled."""
    return np.asarray(cv2.resize(values, (w, h), interpolation=cv2.INTER_LINEAR))


def _interleave(vectors: _Map) -> _Map:
    """(2, h, w) -> (h, w, 2)."""
    return np.asarray(cv2.merge(list(vectors)))


def _length(vectors: _Map) -> _Map:
    """(2, h, w) -> (h, w), with the same rounding every time; that of `cv2.magnitude` depends on memory addresses."""
    squared = vectors * vectors
    length: _Map = np.sqrt(squared[0] + squared[1])
    return length

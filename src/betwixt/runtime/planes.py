"""Makes a frame from two frames and a `Motion`, plane by plane, in the format the video has.

    planes of frame 0 ──► warp by flow_t0 ──► · w ───────┐
                 flow_t0, flow_t1, w                     + ──► planes of frame t
    planes of frame 1 ──► warp by flow_t1 ──► · (1 − w) ─┘

Nothing is converted: a 10-bit plane stays one, subsampled chroma is warped at its own size, interleaved samples
(NV12's UV, packed RGB) move together, alpha is a plane like the others.

Shapes: planes (h, w) or (h, w, c), uint8, uint16 or float32, with h = ceil(H / sy) and w = ceil(W / sx) for a frame of
(H, W). The maps of the motion may be coarser than the frame and are brought to the size of each plane in bands of
rows: the memory needed beside the result does not grow with the frame.

Values: a warped sample is a convex combination of source samples (bilinear), and so is the blend. No value outside the
range that the two frames use can appear, hence no illegal code value. Where both frames agree and the flow is zero, the
result is the source, bit by bit.

Chroma samples read the flow at the centre of the luma samples that they cover. Where the format sites them at the left
edge this is half a luma pixel off, in a map that is coarser than that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from betwixt.errors import UsageError
from betwixt.models.base import Motion

__all__ = ["Plane", "synthesize_plane", "synthesize_planes"]

Plane = NDArray[Any]
"""One plane of a frame: (h, w) or (h, w, c), uint8, uint16 (either byte order) or float32."""

_BAND = 1 << 16
"""Samples of a band. Its maps and warps stay in a core's cache from one step to the next."""


def synthesize_planes(
    first: Sequence[Plane], second: Sequence[Plane], motion: Motion, size: tuple[int, int]
) -> list[Plane]:
    """Make the planes of the frame that `motion` describes.

    Args:
        first: The planes of the frame at time 0.
        second: The planes of the frame at time 1, of the same shapes and types.
        motion: Flows in pixels of the full frame, and the weight of the first frame.
        size: (H, W) of the full frame, which is the size of luma; smaller planes are subsampled.

    Returns:
        New planes, of the shapes and types of `first`.

    Raises:
        UsageError: if the planes of the two frames differ in number, shape or type.
    """
    if len(first) != len(second):
        raise UsageError(f"The two frames have {len(first)} and {len(second)} planes: give frames of one format.")
    return [synthesize_plane(a, b, motion, size) for a, b in zip(first, second, strict=True)]


def synthesize_plane(first: Plane, second: Plane, motion: Motion, size: tuple[int, int]) -> Plane:
    """Make one plane of the frame that `motion` describes; arguments as for `synthesize_planes`."""
    if first.shape != second.shape or first.dtype != second.dtype:
        raise UsageError(
            f"The two frames differ in format: a plane {first.shape} of {first.dtype}, one {second.shape} of "
            f"{second.dtype}."
        )
    height, width = first.shape[:2]
    shrink = np.array([1 / _subsampling(size[1], width), 1 / _subsampling(size[0], height)], np.float32)
    source_0, source_1 = _for_opencv(first), _for_opencv(second)
    half = np.float32(0.0 if first.dtype.kind == "f" else 0.5)
    out = np.empty(first.shape, first.dtype)
    rows = max(1, min(height, _BAND // width))
    columns = np.arange(width, dtype=np.float32)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        grid = np.empty((bottom - top, width, 2), np.float32)
        grid[..., 0] = columns
        grid[..., 1] = np.arange(top, bottom, dtype=np.float32)[:, None]
        warped = []
        for source, flow in ((source_0, motion.flow_t0), (source_1, motion.flow_t1)):
            where = _rows_of(flow, top, bottom, height, width, shrink)
            where += grid
            sampled = cv2.remap(source, where, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            warped.append(sampled.astype(np.float32, copy=False).reshape(bottom - top, *first.shape[1:]))
        weight = _rows_of(motion.weight, top, bottom, height, width)
        # w a + (1 - w) b, written so that two equal samples give that sample exactly.
        a, b = warped
        a -= b
        a *= weight if a.ndim == 2 else weight[..., None]
        a += b
        a += half  # integers are cut off below
        out[top:bottom] = a
    return out


def _subsampling(full: int, part: int) -> float:
    """By how much a plane of `part` samples is coarser than a frame of `full`: odd sizes are rounded up."""
    return next((float(s) for s in (1, 2, 4) if -(-full // s) == part), full / part)


def _for_opencv(plane: Plane) -> Plane:
    """`plane` in the machine's byte order and with forward strides, copied only if it is not so already."""
    native = plane.astype(plane.dtype.newbyteorder("="), copy=False)
    return native if native.strides[-1] == native.itemsize and min(native.strides) > 0 else np.ascontiguousarray(native)


def _rows_of(
    coarse: NDArray[np.float32],
    top: int,
    bottom: int,
    height: int,
    width: int,
    factor: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Rows `top` to `bottom` of `coarse` enlarged bilinearly to (height, width), times `factor`; always a new array."""
    map_h, map_w = coarse.shape[:2]
    if map_h == height:
        band = coarse[top:bottom]
    else:
        y = np.clip((np.arange(top, bottom, dtype=np.float32) + 0.5) * (map_h / height) - 0.5, 0, map_h - 1)
        above = y.astype(np.intp)
        part = (y - above).astype(np.float32).reshape(-1, *(1,) * (coarse.ndim - 1))
        band = coarse[above]
        band += (coarse[np.minimum(above + 1, map_h - 1)] - band) * part
    band = band * factor if factor is not None else band.copy()
    if map_w != width:
        band = cv2.resize(band, (width, bottom - top), interpolation=cv2.INTER_LINEAR)
    return band

"""Colour: what a stream says about it, and the conversion between its planes and RGB images.

    planes ── to_rgb ──► RGB float32 in [0, 1], the stream's own transfer ── model ──► new RGB ── to_planes ──► planes

Models that work on RGB images use an `RGBConverter`. Models that describe motion do not: there the planes themselves
are warped (`runtime.synthesis`). Both directions use the stream's own matrix, range and chroma location (ITU-T H.273;
BT.601, BT.709, BT.2020). A matrix that is not stated follows from the size, as in every player. Nothing is tone-mapped.

The round trip through RGB is not lossless: chroma is interpolated and averaged again, and colours outside of RGB are
clipped. In still parts of a video this would show as flicker between source frames and new ones. So `to_planes`
measures the error of the round trip on the two source frames, and removes it where they agree with each other and with
the new image: a still clip comes out unchanged.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import av
import av.filter
import av.logging
import cv2
import numpy as np
from numpy.typing import NDArray

from betwixt.media.ffmpeg_log import capture_log
from betwixt.media.frames import Plane, bit_depth, is_grey, is_rgb

FloatArray = NDArray[np.float32]

Image = NDArray[np.float32]
"""(H, W, 3), RGB, float32 in [0, 1]."""

UNSPECIFIED = 2
LIMITED, FULL = 1, 2

# kr and kb, the weights of red and blue in luma, by H.273 matrix code; only for matrices with constant weights.
_LUMA_WEIGHTS = {
    1: (0.2126, 0.0722), 4: (0.30, 0.11), 5: (0.299, 0.114), 6: (0.299, 0.114), 7: (0.212, 0.087), 9: (0.2627, 0.0593),
    10: (0.2627, 0.0593),
}  # fmt: skip

# The place of the chroma sample of a 2x2 block: (x, y) in luma samples from the top left one.
_LOCATIONS = {"left": (0.0, 0.5), "center": (0.5, 0.5), "topleft": (0.0, 0.0), "top": (0.5, 0.0)}

_AGREEMENT = 4
"""Difference, in code values of 8 bit, below which source frames and new images count as equal, at least in part."""


@dataclass(frozen=True)
class Colour:
    """The colour description of a stream: primaries, transfer and matrix as H.273 codes."""

    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED
    matrix: int = UNSPECIFIED
    range: int = 0  # 0 unspecified, 1 limited (studio), 2 full
    location: str = "left"  # of the chroma samples: left, center, topleft, top

    @property
    def hdr(self) -> bool:
        """Whether the transfer is PQ (16) or HLG (18)."""
        return self.transfer in (16, 18)


def chroma_location(frame: av.VideoFrame) -> str | None:
    """The chroma sample location that a decoded frame states (left, center, topleft, ...), or None."""
    # PyAV has no attribute for it, but FFmpeg's showinfo filter prints it.
    try:
        with capture_log(av.logging.INFO) as lines:
            graph = av.filter.Graph()
            base = frame.time_base or Fraction(1, 25)
            source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=base)
            graph.link_nodes(source, graph.add("showinfo"), graph.add("buffersink")).configure()
            graph.push(frame)
            graph.pull()
    except (av.error.FFmpegError, ValueError):
        return None
    for _, name, text in lines:
        if name == "showinfo" and (found := re.search(r"\bcl:(\w+)", text)):
            return None if found[1] == "unspecified" else found[1]
    return None


def colour_of(frame: av.VideoFrame, location: str | None = None) -> Colour:
    """The colour description of a decoded frame; `location` is the chroma location, if known."""
    full = frame.format.name.startswith("yuvj")
    return Colour(
        primaries=int(frame.color_primaries),
        transfer=int(frame.color_trc),
        matrix=int(frame.colorspace),
        range=FULL if full else int(frame.color_range),
        location=location or ("center" if full else "left"),
    )


def usual_matrix(width: int, height: int) -> int:
    """The matrix that players take where none is stated: BT.709 (1) for HD, BT.601 (6) for smaller pictures."""
    return 1 if width >= 1280 or height > 576 else 6


class RGBConverter:
    """Converts between the planes of one stream and RGB images.

    Args:
        pixel_format: The stream's; one that `frames.planes` reads.
        width: Width in luma samples.
        height: Height in luma samples.
        colour: The stream's colour description.

    Attributes:
        top: The highest code value of a sample.
        shift: Number of bits by which samples are shifted up in their 16 bits (p010 and similar formats).
    """

    def __init__(self, pixel_format: str, width: int, height: int, colour: Colour) -> None:
        self.pixel_format, self.width, self.height = pixel_format, width, height
        self.rgb = is_rgb(pixel_format)
        self.grey = is_grey(pixel_format)
        self.semi_planar = pixel_format.startswith(("nv", "p0", "p2", "p4"))
        self.swapped = pixel_format in ("nv21", "nv42")  # Cr before Cb
        depth = bit_depth(pixel_format)
        self.top, self.unit = float((1 << depth) - 1), float(1 << (depth - 8))
        self.shift = 16 - depth if pixel_format.startswith(("p0", "p2", "p4")) or "msb" in pixel_format else 0
        self.offset = _LOCATIONS.get(colour.location, (0.0, 0.5))
        self.kr, self.kb = _LUMA_WEIGHTS.get(colour.matrix, _LUMA_WEIGHTS[usual_matrix(width, height)])
        full = (colour.range or (FULL if self.rgb else LIMITED)) == FULL
        self.luma_zero, self.luma_scale = (0.0, self.top) if full else (16 * self.unit, 219 * self.unit)
        self.chroma_zero, self.chroma_scale = 128 * self.unit, self.top if full else 224 * self.unit

    # -- planes to RGB

    def to_rgb(self, parts: Sequence[Plane]) -> Image:
        """Convert planes to an RGB image, (H, W, 3) float32, clipped to [0, 1]."""
        if self.rgb:
            return np.ascontiguousarray(self._rgb_samples(parts)[..., :3] / np.float32(self.top))
        y = self._normalize_luma(self._luma_samples(parts))
        if self.grey:
            return np.clip(np.repeat(y[..., None], 3, axis=2), 0.0, 1.0)
        return self._ycbcr_to_rgb(y, *(self._upsample(plane) for plane in self._chroma(parts)))

    def to_small_rgb(self, parts: Sequence[Plane], height: int, width: int) -> Image:
        """Convert planes to a smaller RGB image, (height, width, 3): each pixel is the mean of the area it covers.

        The planes are downscaled before they are combined, which is several times faster than `to_rgb`. Chroma that
        lies half a sample beside luma is not moved.
        """
        if self.rgb or (height, width) == (self.height, self.width):
            return _resize(self.to_rgb(parts), height, width)
        y = self._normalize_luma(_resize(self._luma_samples(parts), height, width))
        if self.grey:
            return np.clip(cv2.merge([y, y, y]), 0.0, 1.0)
        return self._ycbcr_to_rgb(y, *(_resize(plane, height, width) for plane in self._chroma(parts)))

    def _ycbcr_to_rgb(self, y: FloatArray, cb: FloatArray, cr: FloatArray) -> Image:
        """Combine luma in [0, 1] and chroma in [-1/2, 1/2], all of one size, into RGB."""
        kr, kb = self.kr, self.kb
        kg = 1.0 - kr - kb
        red = y + np.float32(2 * (1 - kr)) * cr
        blue = y + np.float32(2 * (1 - kb)) * cb
        green = y - np.float32(2 * (1 - kr) * kr / kg) * cr - np.float32(2 * (1 - kb) * kb / kg) * cb
        image: Image = np.clip(cv2.merge([red, green, blue]), 0.0, 1.0)
        return image

    def _samples(self, plane: Plane) -> FloatArray:
        """The code values of a plane as float32."""
        return (plane >> self.shift if self.shift else plane).astype(np.float32)

    def _luma_samples(self, parts: Sequence[Plane]) -> FloatArray:
        return self._samples(parts[0] if parts[0].ndim == 2 else parts[0][..., 0])  # grey may come with alpha

    def _normalize_luma(self, samples: FloatArray) -> FloatArray:
        return (samples - np.float32(self.luma_zero)) / np.float32(self.luma_scale)

    def _chroma(self, parts: Sequence[Plane]) -> tuple[FloatArray, FloatArray]:
        """Cb and Cr in [-1/2, 1/2], at their own resolution."""
        if self.semi_planar:
            both = self._samples(parts[1])
            cb, cr = (both[..., 1], both[..., 0]) if self.swapped else (both[..., 0], both[..., 1])
        else:
            cb, cr = self._samples(parts[1]), self._samples(parts[2])
        zero, scale = np.float32(self.chroma_zero), np.float32(self.chroma_scale)
        return (cb - zero) / scale, (cr - zero) / scale

    def _rgb_samples(self, parts: Sequence[Plane]) -> FloatArray:
        """RGB (and alpha, if there is one) as (H, W, 3 or 4) in code values."""
        if self.pixel_format.startswith("gbr"):
            order = [2, 0, 1, *range(3, len(parts))]
            stacked: FloatArray = np.stack([self._samples(parts[i]) for i in order], axis=2)
            return stacked
        return self._samples(parts[0])[..., self._packed_order()]

    def _packed_order(self) -> list[int]:
        """The positions of red, green, blue (and alpha) in a packed sample, from the letters of the format's name."""
        return [self.pixel_format.index(c) for c in "rgba" if c in self.pixel_format[:4]]

    def _subsampling(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """The number of luma samples per sample of a plane of this shape, in x and y."""
        return round(self.width / shape[1]), round(self.height / shape[0])

    def _upsample(self, chroma: FloatArray) -> FloatArray:
        """Interpolate chroma at the positions of the luma samples."""
        fx, fy = self._subsampling(chroma.shape)
        if (fx, fy) == (1, 1):
            return chroma
        ox = self.offset[0] * (fx - 1) if fx > 1 else 0.0
        oy = self.offset[1] * (fy - 1) if fy > 1 else 0.0
        to_source = np.array([[1 / fx, 0, -ox / fx], [0, 1 / fy, -oy / fy]], np.float64)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        size = (self.width, self.height)
        upsampled = cv2.warpAffine(chroma, to_source, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(upsampled, np.float32)

    # -- RGB to planes

    def to_planes(
        self,
        image: Image,
        first: Sequence[Plane],
        second: Sequence[Plane],
        first_image: Image,
        second_image: Image,
        t: float,
    ) -> list[Plane]:
        """Convert a new image between two frames to planes.

        Args:
            image: The new image, (H, W, 3) RGB in [0, 1].
            first: The planes of frame 0.
            second: The planes of frame 1.
            first_image: Frame 0, converted by `to_rgb`.
            second_image: Frame 1, converted by `to_rgb`.
            t: The time of the new image, 0 < t < 1.

        Returns:
            Planes of the same shapes and types as `first`. Alpha is blended linearly.
        """
        converted = (self._to_code_values(each, first) for each in (image, first_image, second_image))
        planes: list[Plane] = []
        limit, weight = np.float32(_AGREEMENT * self.unit), np.float32(t)
        for new, returned_a, returned_b, plane_a, plane_b in zip(*converted, first, second, strict=True):
            a, b = self._samples(plane_a), self._samples(plane_b)
            value = blend = a + weight * (b - a)
            if new is not None and returned_a is not None and returned_b is not None:
                # The same blend after the round trip through RGB; its error is removed where nothing changes.
                returned = returned_a + weight * (returned_b - returned_a)
                change = np.maximum(np.abs(a - b), np.abs(new - returned))
                value = new + np.clip(1 - change / limit, 0, 1) * (blend - returned)
            planes.append(self._round(value, plane_a))
        return planes

    def from_rgb(self, image: Image, like: Sequence[Plane]) -> list[Plane]:
        """Convert an image, (H, W, 3) RGB in [0, 1], to planes of the shapes and types of `like`, with its alpha."""
        result: list[Plane] = []
        for values, plane in zip(self._to_code_values(image, like), like, strict=True):
            codes = self._samples(plane) if values is None else values
            result.append(self._round(codes, plane))
        return result

    def _round(self, values: FloatArray, like: Plane) -> Plane:
        """Code values as samples of the type of `like`."""
        codes = np.rint(np.clip(values, 0, self.top)).astype(np.uint16)
        return (codes << self.shift if self.shift else codes).astype(like.dtype)

    def _to_code_values(self, image: Image, like: Sequence[Plane]) -> list[FloatArray | None]:
        """The planes of an image in code values, not rounded; None for alpha. `like` gives their shapes."""
        if self.rgb:
            return self._arrange_rgb(image * np.float32(self.top), self._samples(like[0]), len(like))
        y, cb, cr = self._rgb_to_ycbcr(image)
        luma: FloatArray = y * np.float32(self.luma_scale) + np.float32(self.luma_zero)
        if self.grey:
            return [self._with_alpha(luma, self._samples(like[0]))]
        scale, zero = np.float32(self.chroma_scale), np.float32(self.chroma_zero)
        cb, cr = (self._downsample(chroma, like[1].shape) * scale + zero for chroma in (cb, cr))
        return self._arrange_yuv(luma, cb, cr, len(like))

    def offsets_to_planes(self, offsets: FloatArray, parts: Sequence[Plane]) -> list[FloatArray | None]:
        """Convert offsets that are to be added to RGB into offsets of each plane's samples.

        Args:
            offsets: (h, w, 3), in units of the full range of RGB; may be smaller than the frame.
            parts: The planes of a frame, for their number and channels.

        Returns:
            For each plane its offsets at the size of `offsets`; None for alpha.
        """
        unit = np.float32(1 << self.shift)
        empty = np.zeros((*offsets.shape[:2], parts[0].shape[2] if parts[0].ndim == 3 else 1), np.float32)
        if self.rgb:
            return self._arrange_rgb(offsets * (np.float32(self.top) * unit), empty, len(parts))
        y, cb, cr = self._rgb_to_ycbcr(offsets)
        luma: FloatArray = y * (np.float32(self.luma_scale) * unit)
        if self.grey:
            return [self._with_alpha(luma, empty if parts[0].ndim == 3 else luma)]
        scale = np.float32(self.chroma_scale) * unit
        return self._arrange_yuv(luma, cb * scale, cr * scale, len(parts))

    def _rgb_to_ycbcr(self, image: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Luma in [0, 1] and chroma in [-1/2, 1/2] of RGB; the inverse of `_ycbcr_to_rgb`."""
        red, green, blue = image[..., 0], image[..., 1], image[..., 2]
        kr, kb = np.float32(self.kr), np.float32(self.kb)
        y = kr * red + (1 - kr - kb) * green + kb * blue
        return y, (blue - y) / (2 * (1 - kb)), (red - y) / (2 * (1 - kr))

    def _arrange_rgb(self, values: FloatArray, packed: FloatArray, count: int) -> list[FloatArray | None]:
        """RGB values as the format's `count` planes; `packed` is filled where all channels share one plane."""
        if self.pixel_format.startswith("gbr"):
            return [*(np.ascontiguousarray(values[..., i]) for i in (1, 2, 0)), *([None] * (count - 3))]
        packed[..., self._packed_order()[:3]] = values
        return [packed]

    def _arrange_yuv(self, luma: FloatArray, cb: FloatArray, cr: FloatArray, count: int) -> list[FloatArray | None]:
        """Luma and chroma as the format's `count` planes."""
        if self.semi_planar:
            return [luma, np.stack([cr, cb] if self.swapped else [cb, cr], axis=2)]
        return [luma, cb, cr, *([None] * (count - 3))]

    @staticmethod
    def _with_alpha(luma: FloatArray, plane: FloatArray) -> FloatArray:
        """Luma as the plane of a grey format: with the alpha of `plane`, if that has one."""
        if plane.ndim == 2:
            return luma
        plane[..., 0] = luma
        return plane

    def _downsample(self, chroma: FloatArray, shape: tuple[int, ...]) -> FloatArray:
        fx, fy = self._subsampling(shape)
        chroma = _decimate(chroma, shape[1], fx, self.offset[0], axis=1)
        return _decimate(chroma, shape[0], fy, self.offset[1], axis=0)


def _resize(values: FloatArray, height: int, width: int) -> FloatArray:
    """Resize a plane or an image; where it gets smaller, each sample is the mean of the area it covers."""
    if values.shape[:2] == (height, width):
        return values
    shrinks = values.shape[0] >= height and values.shape[1] >= width
    size, method = (width, height), cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(np.ascontiguousarray(values), size, interpolation=method), np.float32)


def _decimate(values: FloatArray, count: int, factor: int, offset: float, axis: int) -> FloatArray:
    """Keep every `factor`-th sample, after a low-pass filter centred on the place of the chroma sample."""
    if factor == 1:
        return values
    if offset == 0.0 and factor == 2:  # on the even samples: a triangle
        taps = np.array([0.25, 0.5, 0.25], np.float32)
    else:  # between them: the mean of the block
        taps = np.full(factor, 1 / factor, np.float32)
    lead = (len(taps) - 1) // 2 if offset == 0.0 else 0
    need = lead + factor * (count - 1) + len(taps) - values.shape[axis]
    pad = [(0, 0), (0, 0)]
    pad[axis] = (lead, max(need, 0))
    padded = np.pad(values, pad, mode="edge")
    picks = [
        padded[(slice(None),) * axis + (slice(k, k + factor * (count - 1) + 1, factor),)] for k in range(len(taps))
    ]
    return np.asarray(sum(tap * pick for tap, pick in zip(taps, picks, strict=True)), np.float32)

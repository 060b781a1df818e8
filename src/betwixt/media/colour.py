"""Colour: what a stream says of it, and the way from its planes to RGB pictures and back.

    planes ── to_rgb ──► RGB float32 in [0, 1], the stream's own transfer ── model ──► new RGB ── to_planes ──► planes

The stream's own matrix, range and chroma location are used in both directions (ITU-T H.273; BT.601, BT.709, BT.2020);
where it states none, its size decides, as in every player. Nothing is tone-mapped: PQ and HLG pass as they are.

Going through RGB costs a little: chroma is interpolated and averaged again, colours outside of RGB are clipped. On a
picture that stands still, that loss would show as flicker between source frames and new ones. So `to_planes`
measures what the way there and back does to the two source frames, and gives that difference back wherever they
agree: a still clip comes out as it went in.
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

from betwixt.media.frames import Plane, bit_depth, is_rgb

__all__ = ["Colour", "RGBConverter", "chroma_location", "colour_of"]

Float = NDArray[np.float32]

Image = NDArray[np.float32]
"""A picture: (H, W, 3), RGB, float32 in [0, 1]."""

UNSPECIFIED = 2
LIMITED, FULL = 1, 2

# kr, kb of each H.273 matrix code that is one (Y'CbCr with constant weights)
_WEIGHTS = {
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
    10: (0.2627, 0.0593),
}

# where the chroma sample of a 2x2 block lies, in luma samples from its top left one
_LOCATIONS = {"left": (0.0, 0.5), "center": (0.5, 0.5), "topleft": (0.0, 0.0), "top": (0.5, 0.0)}


@dataclass(frozen=True)
class Colour:
    """What a stream says of its colour, as H.273 codes (2: unspecified).

    Attributes:
        primaries: Colour primaries.
        transfer: Transfer characteristics.
        matrix: Matrix coefficients.
        range: 0 unspecified, 1 limited (studio), 2 full.
        location: Chroma sample location: left, center, topleft, top.
    """

    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED
    matrix: int = UNSPECIFIED
    range: int = 0
    location: str = "left"

    @property
    def hdr(self) -> bool:
        """Whether the transfer is PQ (16) or HLG (18)."""
        return self.transfer in (16, 18)


def chroma_location(frame: av.VideoFrame) -> str | None:
    """The chroma sample location that a decoded frame states (left, center, topleft, ...), or None."""
    # PyAV has no attribute for it; FFmpeg's showinfo filter does print it
    level = av.logging.get_level()
    av.logging.set_level(av.logging.INFO)
    try:
        with av.logging.Capture() as lines:
            graph = av.filter.Graph()
            source = graph.add_buffer(
                width=frame.width,
                height=frame.height,
                format=frame.format,
                time_base=frame.time_base or Fraction(1, 25),
            )
            info, sink = graph.add("showinfo"), graph.add("buffersink")
            source.link_to(info)
            info.link_to(sink)
            graph.configure()
            graph.push(frame)
            graph.pull()
    except (av.error.FFmpegError, ValueError):
        return None
    finally:
        av.logging.set_level(level)
    for _, name, text in lines:
        if name == "showinfo" and (found := re.search(r"\bcl:(\w+)", text)):
            return None if found[1] == "unspecified" else found[1]
    return None


def colour_of(frame: av.VideoFrame, location: str | None = None) -> Colour:
    """The colour description of a decoded frame; `location` is the chroma location if it is known."""
    full = frame.format.name.startswith("yuvj")
    return Colour(
        primaries=int(frame.color_primaries),
        transfer=int(frame.color_trc),
        matrix=int(frame.colorspace),
        range=FULL if full else int(frame.color_range),
        location=location or ("center" if full else "left"),
    )


class RGBConverter:
    """The way between the planes of one stream and RGB pictures.

    Args:
        name: The stream's pixel format; one that `frames.planes` reads.
        width: Width in luma samples.
        height: Height in luma samples.
        colour: What the stream says of its colour.
    """

    def __init__(self, name: str, width: int, height: int, colour: Colour) -> None:
        fmt = av.VideoFormat(name, width, height)
        self.name, self.width, self.height = name, width, height
        self.rgb = is_rgb(name)
        self.grey = not self.rgb and len(fmt.components) < 3
        self.depth = bit_depth(name)
        high = name.startswith(("p0", "p2", "p4")) or "msb" in name
        self.shift = 16 - self.depth if high else 0
        self.semi_planar = name.startswith(("nv", "p0", "p2", "p4"))
        self.swapped = name in ("nv21", "nv42")
        self.range = colour.range or (FULL if self.rgb else LIMITED)
        self.offset = _LOCATIONS.get(colour.location, (0.0, 0.5))
        hd = width >= 1280 or height > 576
        self.kr, self.kb = _WEIGHTS.get(colour.matrix, _WEIGHTS[1] if hd else _WEIGHTS[6])
        top = float((1 << self.depth) - 1)
        unit = float(1 << (self.depth - 8))
        full = self.range == FULL
        self.luma_zero, self.luma_scale = (0.0, top) if full else (16 * unit, 219 * unit)
        self.chroma_zero, self.chroma_scale = 128 * unit, top if full else 224 * unit
        self.top, self.unit = top, unit

    # -- planes to RGB

    def to_rgb(self, parts: Sequence[Plane]) -> Image:
        """The picture in RGB, (H, W, 3) float32, clipped to [0, 1]."""
        if self.rgb:
            return np.ascontiguousarray(self._rgb_samples(parts)[..., :3] / np.float32(self.top))
        y = (self._samples(parts[0]) - np.float32(self.luma_zero)) / np.float32(self.luma_scale)
        if y.ndim == 3:  # grey with alpha
            y = y[..., 0]
        if self.grey:
            return np.clip(np.repeat(y[..., None], 3, axis=2), 0.0, 1.0)
        return self._mixed(y, *(self._upsample(plane) for plane in self._chroma(parts)))

    def to_small_rgb(self, parts: Sequence[Plane], height: int, width: int) -> Image:
        """What `to_rgb` gives, shrunk to (height, width, 3), each pixel the mean of what it covers.

        The planes are shrunk before they are mixed, which is several times faster. Chroma that is sited half a sample
        beside luma is left there.
        """
        if self.rgb or (height, width) == (self.height, self.width):
            return _fitted(self.to_rgb(parts), height, width)
        luma = parts[0] if parts[0].ndim == 2 else parts[0][..., 0]
        y = (_fitted(self._samples(luma), height, width) - np.float32(self.luma_zero)) / np.float32(self.luma_scale)
        if self.grey:
            return np.clip(cv2.merge([y, y, y]), 0.0, 1.0)
        return self._mixed(y, *(_fitted(plane, height, width) for plane in self._chroma(parts)))

    def _mixed(self, y: Float, cb: Float, cr: Float) -> Image:
        """Luma from 0 to 1 and chroma from -1/2 to 1/2, all of one size, as a picture."""
        kr, kb = self.kr, self.kb
        kg = 1.0 - kr - kb
        red = y + np.float32(2 * (1 - kr)) * cr
        blue = y + np.float32(2 * (1 - kb)) * cb
        green = y - np.float32(2 * (1 - kr) * kr / kg) * cr - np.float32(2 * (1 - kb) * kb / kg) * cb
        picture: Image = np.clip(cv2.merge([red, green, blue]), 0.0, 1.0)
        return picture

    def _samples(self, plane: Plane) -> Float:
        values = plane >> self.shift if self.shift else plane
        return values.astype(np.float32)

    def _chroma(self, parts: Sequence[Plane]) -> tuple[Float, Float]:
        if self.semi_planar:
            both = self._samples(parts[1])
            cb, cr = both[..., 0], both[..., 1]
            if self.swapped:
                cb, cr = cr, cb
        else:
            cb, cr = self._samples(parts[1]), self._samples(parts[2])
        zero, scale = np.float32(self.chroma_zero), np.float32(self.chroma_scale)
        return (cb - zero) / scale, (cr - zero) / scale

    def _rgb_samples(self, parts: Sequence[Plane]) -> Float:
        """RGB (and alpha, where there is one) as (H, W, 3 or 4) in code values."""
        if self.name.startswith("gbr"):
            order = [2, 0, 1, *range(3, len(parts))]
            stacked: Float = np.stack([self._samples(parts[i]) for i in order], axis=2)
            return stacked
        return self._samples(parts[0])[..., self._packed_order()]

    def _packed_order(self) -> list[int]:
        """Where red, green, blue (and alpha) stand in a packed sample: the name's letters are in that order."""
        return [self.name.index(c) for c in "rgba" if c in self.name[:4]]

    def _factors(self, shape: tuple[int, ...]) -> tuple[int, int]:
        return round(self.width / shape[1]), round(self.height / shape[0])

    def _upsample(self, chroma: Float) -> Float:
        fx, fy = self._factors(chroma.shape)
        if (fx, fy) == (1, 1):
            return chroma
        ox = self.offset[0] * (fx - 1) if fx > 1 else 0.0
        oy = self.offset[1] * (fy - 1) if fy > 1 else 0.0
        to_source = np.array([[1 / fx, 0, -ox / fx], [0, 1 / fy, -oy / fy]], np.float64)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        size = (self.width, self.height)
        moved = cv2.warpAffine(chroma, to_source, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(moved, np.float32)

    # -- RGB to planes

    def to_planes(
        self,
        picture: Image,
        first: Sequence[Plane],
        second: Sequence[Plane],
        first_picture: Image,
        second_picture: Image,
        t: float,
    ) -> list[Plane]:
        """The planes of a new picture between two frames.

        Args:
            picture: The new picture, (H, W, 3) RGB in [0, 1].
            first: The planes of frame 0.
            second: The planes of frame 1.
            first_picture: What `to_rgb` made of frame 0.
            second_picture: What `to_rgb` made of frame 1.
            t: The picture's time, 0 < t < 1.

        Returns:
            Planes of the same shapes and types as `first`. Alpha is blended linearly.
        """
        new, before, after = (self._project(p, first) for p in (picture, first_picture, second_picture))
        result: list[Plane] = []
        reach = np.float32(4 * self.unit)
        share = np.float32(t)
        for made, back_a, back_b, plane_a, plane_b in zip(new, before, after, first, second, strict=True):
            a, b = self._samples(plane_a), self._samples(plane_b)
            source = a + share * (b - a)
            if made is None or back_a is None or back_b is None:
                value = source
            else:
                there_and_back = back_a + share * (back_b - back_a)
                agree = np.maximum(np.abs(a - b), np.abs(made - there_and_back))
                value = made + np.clip(1 - agree / reach, 0, 1) * (source - there_and_back)
                if value.shape[2:] != a.shape[2:]:
                    raise AssertionError("planes differ in layout")
            codes = np.rint(np.clip(value, 0, self.top)).astype(np.uint16)
            result.append((codes << self.shift if self.shift else codes).astype(plane_a.dtype))
        return result

    def _project(self, picture: Image, like: Sequence[Plane]) -> list[Float | None]:
        """The planes of a picture in code values, unrounded; None for a plane that holds no colour."""
        if self.rgb:
            values = picture * np.float32(self.top)
            if self.name.startswith("gbr"):
                return [values[..., 1], values[..., 2], values[..., 0], *([None] * (len(like) - 3))]
            out = self._samples(like[0])
            order = self._packed_order()
            for source, target in enumerate(order[:3]):
                out[..., target] = values[..., source]
            return [out]
        red, green, blue = picture[..., 0], picture[..., 1], picture[..., 2]
        kr, kb = np.float32(self.kr), np.float32(self.kb)
        y = kr * red + (1 - kr - kb) * green + kb * blue
        luma: Float = y * np.float32(self.luma_scale) + np.float32(self.luma_zero)
        if self.grey:
            if like[0].ndim == 3:
                both = self._samples(like[0])
                both[..., 0] = luma
                return [both]
            return [luma]
        shape = like[1].shape
        scale, zero = np.float32(self.chroma_scale), np.float32(self.chroma_zero)
        cb = self._downsample((blue - y) / (2 * (1 - kb)), shape) * scale + zero
        cr = self._downsample((red - y) / (2 * (1 - kr)), shape) * scale + zero
        if self.semi_planar:
            return [luma, np.stack([cr, cb] if self.swapped else [cb, cr], axis=2)]
        return [luma, cb, cr, *([None] * (len(like) - 3))]

    def offsets_to_planes(self, colours: Float, parts: Sequence[Plane]) -> list[Float | None]:
        """A change of colours, (h, w, 3) RGB in units of the full range, as a change of each plane in its code values.

        The maps stay as coarse as `colours`; None for a plane that holds no colour.
        """
        unit = np.float32(1 << self.shift)
        if self.rgb:
            values = colours * (np.float32(self.top) * unit)
            if self.name.startswith("gbr"):
                return [*(np.ascontiguousarray(values[..., i]) for i in (1, 2, 0)), *([None] * (len(parts) - 3))]
            out = np.zeros((*colours.shape[:2], parts[0].shape[2]), np.float32)
            for source, target in enumerate(self._packed_order()[:3]):
                out[..., target] = values[..., source]
            return [out]
        kr, kb = np.float32(self.kr), np.float32(self.kb)
        red, green, blue = colours[..., 0], colours[..., 1], colours[..., 2]
        y = kr * red + (1 - kr - kb) * green + kb * blue
        luma: Float = y * (np.float32(self.luma_scale) * unit)
        if self.grey:
            return [luma if parts[0].ndim == 2 else np.stack([luma, np.zeros_like(luma)], axis=2)]
        scale = np.float32(self.chroma_scale) * unit
        cb, cr = (blue - y) / (2 * (1 - kb)) * scale, (red - y) / (2 * (1 - kr)) * scale
        if self.semi_planar:
            return [luma, np.stack([cr, cb] if self.swapped else [cb, cr], axis=2)]
        return [luma, cb, cr, *([None] * (len(parts) - 3))]

    def _downsample(self, chroma: Float, shape: tuple[int, ...]) -> Float:
        fx, fy = self._factors(shape)
        chroma = _thin(chroma, shape[1], fx, self.offset[0], axis=1)
        return _thin(chroma, shape[0], fy, self.offset[1], axis=0)


def _fitted(values: Float, height: int, width: int) -> Float:
    """A plane or a picture on (height, width): where that is smaller, the mean of what a sample covers."""
    if values.shape[:2] == (height, width):
        return values
    shrinks = values.shape[0] >= height and values.shape[1] >= width
    size, how = (width, height), cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(np.ascontiguousarray(values), size, interpolation=how), np.float32)


def _thin(values: Float, count: int, factor: int, offset: float, axis: int) -> Float:
    """Every `factor`-th sample after a low-pass filter centred on the chroma sample's place."""
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

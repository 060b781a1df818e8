"""HDR to SDR: pictures in PQ or HLG for targets that are shown as SDR.

    R'G'B' ── transfer ──► light in cd/m2 ── BT.2020 to BT.709 ── tone curve ──► 0 to 203 cd/m2 ── gamut ──► SDR R'G'B'

**Tone curve.** The EETF of ITU-R BT.2390, section 5.4.1: in PQ, light below a knee is kept, and light above it is
compressed by a Hermite spline, so that the source's peak becomes the target's. It is applied to the largest of the
three channels, and all are scaled alike: hues stay. White of an SDR display is taken as 203 cd/m2, the reference white
of BT.2408. The source's peak is its MaxCLL, else that of its mastering display, else 1000 cd/m2.

**HLG** is first turned into the light of a display of 1000 cd/m2 (system gamma 1.2, ITU-R BT.2100).

**Gamut.** Colours outside of BT.709 are moved towards the grey of the same luminance until they fit.
"""

from __future__ import annotations

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from betwixt.media.colour import Colour, FloatArray, Image, RGBConverter
from betwixt.media.frames import frame_from_planes, planes
from betwixt.media.probe import VideoInfo
from betwixt.media.transfer import Transfer, transfer_of

SDR_WHITE = 203.0
"""Reference white of HDR programmes in cd/m2 (ITU-R BT.2408): white of the SDR picture."""

_PQ, _HLG = 16, 18  # H.273 transfer characteristics
_BT709, _BT2020 = 1, 9  # H.273 primaries, and the matrices that belong to them

_PQ_PEAK = 10000.0
_HLG_PEAK, _HLG_GAMMA = 1000.0, 1.2
_USUAL_PEAK = 1000.0

_STEPS = 1 << 12
"""Entries of the tone curve, by the fourth root of light: the eye's steps are about even there."""

_CODES = 1 << 14
"""Entries of the table of code values, by the square root of light."""

_TO_BT709 = np.array(
    [[1.660491, -0.587641, -0.072850], [-0.124550, 1.132900, -0.008349], [-0.018151, -0.100579, 1.118730]], np.float32
)
"""Linear light of BT.2020 to BT.709 (ITU-R BT.2087)."""

_LUMINANCE = {_BT709: (0.2126, 0.7152, 0.0722), _BT2020: (0.2627, 0.6780, 0.0593)}


class ToneMapper:
    """Turns HDR frames into SDR frames of the same pixel format.

    Args:
        source: The HDR video.
        encode: From light in [0, 1] to the code values of the result.

    Attributes:
        colour: The colour description of the result: BT.709.
        peak: The light, in cd/m2, that becomes white.
    """

    def __init__(self, source: VideoInfo, encode: Transfer) -> None:
        colour = source.colour
        self.colour = Colour(_BT709, _BT709, 0 if colour.matrix == 0 else _BT709, colour.range, colour.location)
        self.peak = _peak(source)
        self._hlg = colour.transfer == _HLG
        self._wide = colour.primaries != _BT709
        self._decode = transfer_of(colour.transfer)
        self._codes = encode.from_light(np.linspace(0, 1, _CODES) ** 2)
        shape = source.pixel_format, source.width, source.height
        self._read, self._write = RGBConverter(*shape, colour), RGBConverter(*shape, self.colour)
        self._ratios = _tone_curve(self.peak)

    def apply(self, frame: av.VideoFrame) -> av.VideoFrame:
        """Convert a frame."""
        parts = planes(frame)
        image = self.convert(self._read.to_rgb(parts))
        result = frame_from_planes(self._write.from_rgb(image, parts), frame)
        result.color_primaries, result.color_trc = self.colour.primaries, self.colour.transfer
        result.colorspace = self.colour.matrix
        return result

    def convert(self, image: Image) -> Image:
        """Convert an RGB image in [0, 1], (H, W, 3), from code values of HDR to those of SDR."""
        light = self._display_light(image)
        if self._wide:
            light = np.asarray(cv2.transform(light, _TO_BT709), np.float32)
        red, green, blue = cv2.split(light)
        largest = cv2.max(cv2.max(red, green), blue)
        kept = np.clip(largest, 0, np.float32(self.peak))
        ratio = self._ratios[(np.sqrt(np.sqrt(kept / np.float32(self.peak))) * (_STEPS - 1) + 0.5).astype(np.uint16)]
        ratio *= kept / np.maximum(largest, np.float32(1e-6))
        channels = _move_into_gamut([np.asarray(part * ratio, np.float32) for part in (red, green, blue)])
        codes = [self._codes[(np.sqrt(part) * (_CODES - 1) + 0.5).astype(np.uint16)] for part in channels]
        return np.asarray(cv2.merge(codes), np.float32)

    def _display_light(self, image: Image) -> FloatArray:
        """The light of a display, in cd/m2."""
        light = self._decode.to_light(image)
        if not self._hlg:
            light *= np.float32(_PQ_PEAK)
            return light
        weights = np.array(_LUMINANCE[_BT2020 if self._wide else _BT709], np.float32)
        luminance = np.maximum(light @ weights, 1e-6)
        light *= (np.float32(_HLG_PEAK) * luminance ** np.float32(_HLG_GAMMA - 1))[..., None]
        return light


def _peak(source: VideoInfo) -> float:
    """The brightest light of a video, in cd/m2, as far as it is known."""
    if source.colour.transfer == _HLG:
        return _HLG_PEAK
    peak = 0.0
    if source.hdr is not None:
        mastering = 0.0 if source.hdr.luminance is None else float(source.hdr.luminance[1])
        peak = float(source.hdr.content_light[0]) if source.hdr.content_light else 0.0
        peak = peak or mastering
    return min(max(peak or _USUAL_PEAK, SDR_WHITE), _PQ_PEAK)


def _tone_curve(peak: float) -> NDArray[np.float32]:
    """What to multiply light by, in units of `SDR_WHITE`, by the fourth root of light / peak: the EETF of BT.2390."""
    pq = transfer_of(_PQ)
    light = np.linspace(0, 1, _STEPS, dtype=np.float64) ** 4 * peak
    source_white, target_white = pq.encode(np.array([peak, SDR_WHITE]) / _PQ_PEAK)
    e = pq.encode(light / _PQ_PEAK) / source_white
    largest = target_white / source_white
    knee = 1.5 * largest - 0.5
    if knee < 1:
        t = np.maximum(e - knee, 0) / (1 - knee)
        spline = (
            (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (-2 * t**3 + 3 * t**2) * largest
        )
        e = np.where(e < knee, e, spline)
    mapped = pq.decode(e * source_white) * _PQ_PEAK
    ratio = np.divide(mapped, light, out=np.ones_like(light), where=light > 0) / SDR_WHITE
    return ratio.astype(np.float32)


def _move_into_gamut(channels: list[FloatArray]) -> list[FloatArray]:
    """Move colours with a channel below 0 towards the grey of their luminance, until it is 0; clip light to [0, 1]."""
    red, green, blue = channels
    low = cv2.min(cv2.min(red, green), blue)
    weights = [np.float32(weight) for weight in _LUMINANCE[_BT709]]
    grey = np.maximum(sum(weight * part for weight, part in zip(weights, channels, strict=True)), np.float32(0))
    kept = np.where(low < 0, grey / np.maximum(grey - low, np.float32(1e-9)), np.float32(1))
    return [np.clip(grey + (part - grey) * kept, 0, 1) for part in channels]

"""The sample clip: a small film made by code, so that there is always something to interpolate and to look at.

    0 s                            seconds / 2                        seconds
    | a mill on the hills, morning | cut, tick | a fair by the river, night |

Both scenes are what frame interpolation has to master: layers at several speeds (parallax), an object that turns,
one that passes behind others, thin structures (sails, wires, spokes, bridge hangers), soft light, water, and a cut
between them. The sound is a chord for each scene and a tick at the cut, by which sync can be heard.

Every picture is a function of its time alone (`render`): layers are shifted by exact fractions of a pixel with a
windowed sinc, moving objects are drawn antialiased where they are. So the true picture at any time, hence at any
frame rate, is at hand to compare with. Sizes are relative: another resolution shows the same film.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import av
import av.error
import cv2
import numpy as np
from numpy.typing import NDArray

from betwixt.errors import UsageError
from betwixt.files import write_error
from betwixt.media.frames import planes

__all__ = ["RATE", "SECONDS", "SOUND_RATE", "make_sample", "render", "sound"]

RATE = Fraction(24000, 1001)
"""Frames a second of the sample clip."""

SECONDS = Fraction(6)
"""Its length."""

SOUND_RATE = 48000
"""Samples a second of its sound."""

Float = NDArray[np.float32]
Colour = tuple[float, float, float]
Point = tuple[float, float]

_PERIOD = 2.5
"""After how many picture widths a layer repeats itself."""

_TAPS = 4
"""Half the length of the interpolation kernel."""


def render(
    time: Fraction | float,
    width: int = 640,
    height: int = 360,
    *,
    seconds: Fraction | float = SECONDS,
    seed: int = 0,
) -> NDArray[np.uint8]:
    """The picture at `time`.

    Args:
        time: In seconds, from 0; any time has a picture.
        width: Width in pixels, at least 32.
        height: Height in pixels, at least 32.
        seconds: Length of the whole clip: the cut lies half way.
        seed: Which clip: its hills, clouds, houses and stars.

    Returns:
        (H, W, 3) RGB uint8, BT.709 primaries with the sRGB transfer.
    """
    cut = Fraction(seconds) / 2
    moment = Fraction(time)
    if moment < cut:
        return _scene(_Morning, width, height, seed).render(float(moment))
    return _scene(_Night, width, height, seed).render(float(moment - cut))


def make_sample(
    path: str | Path,
    *,
    width: int = 640,
    height: int = 360,
    rate: Fraction = RATE,
    seconds: Fraction | float = SECONDS,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write the sample clip: H.264 High (crf 16, yuv420p, BT.709) and AAC in MP4.

    Args:
        path: Where to; it appears when it is finished, and replaces what was there.
        width: Width in pixels, even, at least 32.
        height: Height in pixels, even, at least 32.
        rate: Frames a second.
        seconds: Length.
        seed: Which clip, as for `render`.
        progress: Called with the number of finished frames and of all frames.

    Returns:
        The path.

    Raises:
        UsageError: for a size, a rate or a length that cannot be.
        OutputError: if the file cannot be written.
    """
    path = Path(path)
    if width % 2 or height % 2 or width < 32 or height < 32:
        raise UsageError(f"The sample clip cannot be {width}x{height}: use even numbers of at least 32.")
    if rate <= 0 or seconds <= 0:
        raise UsageError("The sample clip needs a rate and a length above zero.")
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.part.mp4")
    try:
        _encode(temporary, width, height, Fraction(rate), Fraction(seconds), seed, progress)
        os.replace(temporary, path)
    except (OSError, av.error.FFmpegError) as error:
        raise write_error(error, path) from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
    return path


def _encode(
    path: Path,
    width: int,
    height: int,
    rate: Fraction,
    seconds: Fraction,
    seed: int,
    progress: Callable[[int, int], None] | None,
) -> None:
    count = max(2, round(seconds * rate))
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        video = container.add_stream("libx264", rate=rate)
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        video.time_base = 1 / rate
        video.options = {"crf": "16", "preset": "medium", "profile": "high"}
        context = video.codec_context
        context.colorspace = context.color_primaries = context.color_trc = 1
        context.color_range = 1
        audio = container.add_stream("aac", rate=SOUND_RATE, layout="stereo")
        audio.bit_rate = 160_000
        samples = sound(seconds, seed=seed)
        heard = 0
        for number in range(count):
            picture = render(number / rate, width, height, seconds=seconds, seed=seed)
            frame = _to_yuv(picture)
            frame.pts, frame.time_base = number, 1 / rate
            container.mux(video.encode(frame))
            until = min(samples.shape[1], int((number + 1) / rate * SOUND_RATE))
            if number == count - 1:
                until = samples.shape[1]
            part = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(samples[:, heard:until]), format="fltp", layout="stereo"
            )
            part.sample_rate, part.pts, part.time_base = SOUND_RATE, heard, Fraction(1, SOUND_RATE)
            container.mux(audio.encode(part))
            heard = until
            if progress is not None:
                progress(number + 1, count)
        container.mux(video.encode(None))
        container.mux(audio.encode(None))


def _to_yuv(picture: NDArray[np.uint8]) -> av.VideoFrame:
    """The picture as yuv420p, BT.709, limited range, chroma at the left (swscale would round chroma down)."""
    height, width = picture.shape[:2]
    kr, kb = 0.2126, 0.0722
    kg = 1 - kr - kb
    y, b, r = np.array([kr, kg, kb]), 112 / (1 - kb), 112 / (1 - kr)
    matrix = np.stack([219 * y, b * (np.array([0, 0, 1]) - y), r * (np.array([1, 0, 0]) - y)]) / 255
    luma, cb, cr = cv2.split(cv2.transform(picture.astype(np.float32), matrix.astype(np.float32)))
    frame = av.VideoFrame(width, height, "yuv420p")
    targets = planes(frame)
    targets[0][...] = np.rint(luma + 16)
    for target, chroma in zip(targets[1:], (cb, cr), strict=True):
        wide = np.pad(chroma, [(0, 0), (1, 1)], mode="edge")
        across = (wide[:, 0:-2:2] + 2 * wide[:, 1:-1:2] + wide[:, 2::2]) / 4
        target[...] = np.rint((across[0::2] + across[1::2]) / 2 + 128)
    frame.colorspace = frame.color_primaries = frame.color_trc = 1
    frame.color_range = 1
    return frame


# -- sound


def sound(seconds: Fraction | float = SECONDS, *, seed: int = 0) -> Float:
    """The sound of the whole clip: (2, samples) float32 in [-1, 1], left and right, at `SOUND_RATE`.

    A chord for each scene, and a tick that begins at the cut, `seconds` / 2.
    """
    total, cut = round(float(seconds) * SOUND_RATE), round(float(seconds) / 2 * SOUND_RATE)
    result = np.zeros((2, total), np.float32)
    chords = [(130.81, 196.0, 261.63, 329.63, 493.88), (110.0, 164.81, 220.0, 261.63, 392.0)]
    rng = np.random.default_rng(seed)
    for notes, start, end in zip(chords, (0, cut), (cut, total), strict=True):
        t = np.arange(end - start) / SOUND_RATE
        envelope = np.clip(t / 0.6, 0, 1) * np.clip((t[-1:] - t) / 0.35, 0, 1) if len(t) else t
        envelope = np.sin(envelope * math.pi / 2) ** 2
        for number, note in enumerate(notes):
            phase, wobble = rng.uniform(0, 2 * math.pi, 2)
            loudness = 1 + 0.25 * np.sin(2 * math.pi * 0.5 * t + wobble)
            tone = sum(np.sin(2 * math.pi * note * k * t + k * phase) / k**2.2 for k in (1, 2, 3, 4))
            side = 0.5 + 0.35 * math.cos(number * 2.1)
            for channel, gain in enumerate((side, 1 - side)):
                result[channel, start:end] += (0.085 * gain * envelope * loudness * tone).astype(np.float32)
    t = np.arange(min(total - cut, SOUND_RATE // 8)) / SOUND_RATE
    tick = 0.45 * np.exp(-t / 0.012) * np.sin(2 * math.pi * 1760 * t) + 0.25 * np.exp(-t / 0.004) * np.sin(
        2 * math.pi * 4200 * t
    )
    result[:, cut : cut + len(t)] += tick.astype(np.float32)
    return np.clip(result, -1, 1)


# -- layers


@dataclass(frozen=True)
class _Layer:
    """A strip that repeats itself sideways: RGBA in [0, 1], colour multiplied by alpha, from row `top` on."""

    pixels: Float
    period: int
    top: int
    speed: float  # pixels a second to the left

    def at(self, t: float, width: int) -> Float:
        """What is seen of it: (h, width, 4)."""
        position = (self.speed * t) % self.period
        whole = math.floor(position)
        strip = self.pixels[:, whole : whole + width + 2 * _TAPS]
        shifted = cv2.sepFilter2D(strip, -1, _kernel(position - whole), np.ones(1, np.float32))
        return np.asarray(shifted[:, _TAPS:-_TAPS], np.float32)

    def lay(self, canvas: Float, t: float) -> None:
        """Put it over `canvas`, (H, W, 3)."""
        seen = self.at(t, canvas.shape[1])
        _over(canvas[self.top : self.top + seen.shape[0]], seen)


def _kernel(fraction: float) -> Float:
    """A filter that shifts to the left by `fraction` of a pixel: sinc with a Lanczos window."""
    x = np.arange(-_TAPS, _TAPS + 1) - fraction
    taps = np.where(np.abs(x) < _TAPS, np.sinc(x) * np.sinc(x / _TAPS), 0)
    return np.asarray(taps / taps.sum(), np.float32)


def _layer(rgba: Float, period: int, width: int, speed: float) -> _Layer:
    """A layer from a picture one period wide; rows in which there is nothing are left out."""
    rgba = _soften(rgba)
    rows = np.flatnonzero(rgba[..., 3].max(axis=1) > 1e-4)
    top, bottom = (int(rows[0]), int(rows[-1]) + 1) if len(rows) else (0, 1)
    rgba = rgba[top:bottom]
    around = np.arange(-_TAPS, period + width + _TAPS + 1) % period
    return _Layer(np.ascontiguousarray(rgba[:, around]), period, top, speed)


def _soften(rgba: Float) -> Float:
    """Limit the bandwidth a little, so that shifting by fractions of a pixel keeps the sharpness constant."""
    wide = np.concatenate([rgba[:, -4:], rgba, rgba[:, :4]], axis=1)
    return np.asarray(cv2.GaussianBlur(wide, (0, 0), 0.45)[:, 4:-4], np.float32)


def _over(canvas: Float, rgba: Float) -> None:
    alpha = np.clip(rgba[..., 3:], 0, 1)
    canvas *= 1 - alpha
    canvas += rgba[..., : canvas.shape[2]]


def _coloured(mask: NDArray[Any], colour: NDArray[Any]) -> Float:
    """RGBA of a mask (H, W) and colours (H, W, 3)."""
    return np.concatenate([colour * mask[..., None], mask[..., None]], axis=2).astype(np.float32)


def _noise(rng: np.random.Generator, height: int, width: int, exponent: float, stretch: float = 1.0) -> Float:
    """Noise like nature's, (H, W), in [0, 1] around 0.5, that repeats itself at its edges.

    Its amplitude falls with frequency to the power of `exponent`; `stretch` > 1 draws it out sideways.
    """
    # drawn on a grid whose size does not depend on the resolution: another size gives the same noise
    rows, columns = 384, 1024
    fy = np.fft.fftfreq(rows)[:, None] * rows
    fx = np.fft.fftfreq(columns)[None] * columns * stretch * height / width
    spectrum = np.fft.fft2(rng.normal(size=(rows, columns))) / np.maximum(np.hypot(fx, fy), 0.8) ** exponent
    spectrum[0, 0] = 0
    field = np.fft.ifft2(spectrum).real
    field = np.tile(0.5 + field / (field.std() * 5), (1, 3)).astype(np.float32)
    scaled = cv2.resize(field, (3 * width, height), interpolation=cv2.INTER_CUBIC)[:, width : 2 * width]
    return np.clip(scaled, 0, 1)


def _ridge(rng: np.random.Generator, width: int, waves: int, exponent: float) -> Float:
    """A line like that of hills, (W,), about -1 to 1, that repeats itself: `waves` is its lowest frequency."""
    x = np.arange(width) / width * 2 * math.pi
    line = np.zeros(width)
    for k in range(waves, 90):
        line += math.pow(waves / k, exponent) * np.sin(k * x + rng.uniform(0, 2 * math.pi)) * rng.uniform(0.5, 1)
    return np.asarray(line / np.abs(line).max(), np.float32)


def _below(ridge: Float, height: int) -> Float:
    """Coverage (H, W) of what lies below a line of heights (in pixels from the top)."""
    slope = np.sqrt(1 + np.gradient(ridge) ** 2)
    rows = np.arange(height, dtype=np.float32)[:, None] + 0.5
    return np.clip((rows - ridge) / slope + 0.5, 0, 1).astype(np.float32)


def _gradient(height: int, stops: Sequence[tuple[float, Colour]]) -> Float:
    """Colours from top to bottom, (H, 1, 3), in [0, 1]; stops are (place in [0, 1], RGB in 0 to 255)."""
    rows = (np.arange(height) + 0.5) / height
    places = [s[0] for s in stops]
    channels = [np.interp(rows, places, [s[1][c] / 255 for s in stops]) for c in range(3)]
    return np.stack(channels, axis=1).astype(np.float32)[:, None]


def _mix(a: Any, b: Any, share: Any) -> Float:
    return np.asarray(a + (np.asarray(b) - a) * share, np.float32)


def _rgb(*values: float) -> Float:
    return np.asarray(np.array(values) / 255, np.float32)


def _step(low: float, high: float, x: NDArray[Any]) -> Float:
    t = np.clip((x - low) / (high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


class _Brush:
    """Draws antialiased shapes on a part of the picture; positions are in pixels of the picture, fractions count."""

    def __init__(self, left: float, top: float, right: float, bottom: float, fine: int = 4) -> None:
        self.left, self.top = math.floor(left), math.floor(top)
        self.fine = fine
        size = (math.ceil(bottom) - self.top, math.ceil(right) - self.left)
        self.size = (max(size[0], 1), max(size[1], 1))
        self.fine_pixels = np.zeros((self.size[0] * fine, self.size[1] * fine, 4), np.uint8)

    def _place(self, points: Sequence[Point]) -> NDArray[np.int32]:
        # pixel centres lie at .5; OpenCV counts from the centre of the first one; eight bits of fraction
        p = (np.asarray(points, np.float64) - (self.left, self.top)) * self.fine - 0.5
        return np.rint(p * 256).astype(np.int32)

    def polygon(self, points: Sequence[Point], colour: Colour, alpha: float = 1.0) -> None:
        """A filled polygon; colours are 0 to 255."""
        cv2.fillPoly(self.fine_pixels, [self._place(points)], _ink(colour, alpha), cv2.LINE_AA, 8)

    def line(self, points: Sequence[Point], colour: Colour, thickness: float, alpha: float = 1.0) -> None:
        """A line through `points`; its thickness is in pixels."""
        for a, b in itertools.pairwise(points):
            dx, dy = b[0] - a[0], b[1] - a[1]
            length = math.hypot(dx, dy) or 1.0
            nx, ny = -dy / length * thickness / 2, dx / length * thickness / 2
            corners = [(a[0] + nx, a[1] + ny), (b[0] + nx, b[1] + ny), (b[0] - nx, b[1] - ny), (a[0] - nx, a[1] - ny)]
            self.polygon(corners, colour, alpha)

    def disc(self, centre: Point, radius: float, colour: Colour, alpha: float = 1.0) -> None:
        """A filled circle."""
        x, y = self._place([centre])[0]
        r = round(radius * self.fine * 256)
        cv2.circle(self.fine_pixels, (int(x), int(y)), r, _ink(colour, alpha), -1, cv2.LINE_AA, 8)

    def ring(self, centre: Point, radius: float, colour: Colour, thickness: float) -> None:
        """A circle's outline."""
        angles = np.linspace(0, 2 * math.pi, 97)
        self.line(
            [(centre[0] + radius * math.cos(a), centre[1] + radius * math.sin(a)) for a in angles], colour, thickness
        )

    def rgba(self) -> Float:
        """What has been drawn, (h, w, 4), colour multiplied by alpha."""
        small = cv2.resize(self.fine_pixels, (self.size[1], self.size[0]), interpolation=cv2.INTER_AREA)
        return np.asarray(small, np.float32) / np.float32(255)

    def lay(self, canvas: Float) -> None:
        """Put it over `canvas`, (H, W, 3)."""
        height, width = canvas.shape[:2]
        y0, x0 = max(self.top, 0), max(self.left, 0)
        y1, x1 = min(self.top + self.size[0], height), min(self.left + self.size[1], width)
        if y0 < y1 and x0 < x1:
            seen = self.rgba()[y0 - self.top : y1 - self.top, x0 - self.left : x1 - self.left]
            _over(canvas[y0:y1, x0:x1], seen)


def _ink(colour: Colour, alpha: float) -> tuple[float, float, float, float]:
    return (colour[0] * alpha, colour[1] * alpha, colour[2] * alpha, 255 * alpha)


def _wide_brush(width: int, height: int, margin: float) -> _Brush:
    return _Brush(-margin, 0, width + margin, height, fine=4 if height <= 400 else 2)


def _folded(brush: _Brush, width: int) -> Float:
    """What a wide brush drew, one period wide: what stands over an edge comes in at the other."""
    rgba = brush.rgba()
    margin = -brush.left
    result = rgba[:, margin : margin + width].copy()
    for target, source in ((result[:, -margin:], rgba[:, :margin]), (result[:, :margin], rgba[:, margin + width :])):
        _over(target, source[:, : target.shape[1]])
    return result


# -- the scenes

_BRANCHES = (
    (0.0, 352, 226, 9.0),
    (-26, 268, 198, 4.2),
    (24, 258, 190, 4.6),
    (-9, 232, 168, 3.4),
    (40, 236, 205, 2.4),
)
"""The branches of a tree: how far they bend, where they begin and end (rows), how thick they are."""


class _Scene(ABC):
    """What is made once for a size and a seed; `render` then draws a time."""

    def __init__(self, width: int, height: int, seed: int) -> None:
        self.width, self.height = width, height
        self.unit = height / 360  # lengths below are for a picture 360 pixels high
        self.period = round(_PERIOD * width)
        self._seed = seed
        self._layers = 0

    def _rng(self) -> np.random.Generator:
        self._layers += 1
        return np.random.default_rng([self._seed, len(type(self).__name__), self._layers])

    def _layer(self, rgba: Float, speed: float) -> _Layer:
        return _layer(rgba, self.period, self.width, speed * self.unit)

    def _grid(self) -> tuple[Float, Float]:
        """x and y of the pixel centres of the picture, in units."""
        y, x = np.mgrid[: self.height, : self.width].astype(np.float32)
        return (x + 0.5) / self.unit, (y + 0.5) / self.unit

    def render(self, t: float) -> NDArray[np.uint8]:
        """The picture `t` seconds after the scene's beginning."""
        canvas = self._paint(t)
        np.clip(canvas, 0, 1, out=canvas)
        return np.rint(canvas * 255).astype(np.uint8)

    @abstractmethod
    def _paint(self, t: float) -> Float:
        """The picture `t` seconds after the scene's beginning, not yet clipped."""

    def _bloom(self, canvas: Float, threshold: float, strength: float) -> None:
        """Let bright places shine into their surroundings."""
        small = cv2.resize(canvas, (max(self.width // 4, 1), max(self.height // 4, 1)), interpolation=cv2.INTER_AREA)
        light = cv2.GaussianBlur(np.maximum(small - threshold, 0), (0, 0), 2.6 * self.unit)
        canvas += strength * cv2.resize(light, (self.width, self.height), interpolation=cv2.INTER_LINEAR)


class _Morning(_Scene):
    """A mill on the hills, a balloon behind a tree, a fence before all."""

    def __init__(self, width: int, height: int, seed: int) -> None:
        super().__init__(width, height, seed)
        self._sky = self._make_sky()
        self._clouds = self._layer(self._make_clouds(), 9)
        self._mountains = self._layer(self._make_mountains(), 17)
        self._hills = self._layer(self._make_hills(), 36)
        self._near_ridge = (252 + 15 * _ridge(self._rng(), self.period, 3, 1.9)) * self.unit
        self._near = self._layer(self._make_near(), 66)
        self._front = self._layer(self._make_front(), 190)
        self._mill_x = 0.80 * width / self.unit

    def _make_sky(self) -> Float:
        sky = np.repeat(
            _gradient(
                self.height,
                [(0, (70, 128, 196)), (0.3, (142, 190, 226)), (0.52, (250, 218, 186)), (0.66, (255, 206, 150))],
            ),
            self.width,
            axis=1,
        )
        x, y = self._grid()
        distance = np.hypot(x - 0.72 * self.width / self.unit, y - 128)
        for radius, strength in ((150, 0.30), (55, 0.35), (22, 0.30)):
            sky = _mix(sky, _rgb(255, 244, 214), strength * np.exp(-((distance / radius) ** 2))[..., None])
        return _mix(sky, _rgb(255, 252, 238), np.clip(15.5 - distance, 0, 1)[..., None])

    def _make_clouds(self) -> Float:
        shape = (self.height, self.period)
        puffs = _noise(self._rng(), *shape, 1.75, stretch=2.6)
        y = (np.arange(self.height, dtype=np.float32)[:, None] + 0.5) / self.height
        window = _step(-0.05, 0.12, y) * (1 - _step(0.34, 0.5, y))
        density = _step(0.40, 0.62, puffs * (0.6 + 0.4 * window)) * window
        below = np.roll(puffs, -round(7 * self.unit), axis=0)
        light = np.clip(0.62 + 2.4 * (puffs - below), 0, 1)[..., None]
        return _coloured(0.93 * density, _mix(_rgb(196, 172, 186), _rgb(255, 250, 240), light))

    def _make_mountains(self) -> Float:
        ridge = (158 + 50 * _ridge(self._rng(), self.period, 4, 1.25)) * self.unit
        mask = _below(ridge, self.height)
        depth = (np.arange(self.height, dtype=np.float32)[:, None] - ridge) / self.unit
        rock = _noise(self._rng(), self.height, self.period, 1.35)
        relief = np.roll(rock, round(2 * self.unit), axis=1) - rock
        colour = _mix(_rgb(96, 112, 158), _rgb(150, 142, 168), np.clip(0.5 + 9 * relief, 0, 1)[..., None])
        snow = (1 - _step(8, 30, depth + 46 * (rock - 0.5) + 0.22 * ridge / self.unit - 24))[..., None]
        colour = _mix(
            colour, _mix(_rgb(196, 204, 228), _rgb(255, 246, 236), np.clip(0.5 + 9 * relief, 0, 1)[..., None]), snow
        )
        haze = _step(0, 105, depth)[..., None]
        return _coloured(mask, _mix(colour, _rgb(240, 208, 186), 0.25 + 0.62 * haze))

    def _make_hills(self) -> Float:
        ridge = (212 + 19 * _ridge(self._rng(), self.period, 3, 1.7)) * self.unit
        mask = _below(ridge, self.height)
        depth = (np.arange(self.height, dtype=np.float32)[:, None] - ridge) / self.unit
        field = _noise(self._rng(), self.height, self.period, 1.6, stretch=1.6)
        parts = _step(0.47, 0.53, field)[..., None]
        x = np.arange(self.period, dtype=np.float32)[None] / self.period * 2 * math.pi
        rows = 0.5 + 0.5 * np.sin(x * 150 + 0.16 * depth)
        colour = _mix(_rgb(108, 142, 110), _rgb(176, 172, 112), parts)
        colour = _mix(colour, _rgb(88, 122, 98), 0.30 * (rows * _step(2, 12, depth))[..., None] * (1 - parts))
        woods = _noise(self._rng(), self.height, self.period, 1.05)
        clumps = _step(0.60, 0.66, woods) * (1 - _step(10, 42, depth))
        colour = _mix(colour, _rgb(62, 94, 84), clumps[..., None])
        return _coloured(mask, _mix(colour, _rgb(236, 206, 170), 0.26 * (1 - _step(-4, 40, depth))[..., None]))

    def _make_near(self) -> Float:
        ridge = self._near_ridge
        depth = (np.arange(self.height, dtype=np.float32)[:, None] - ridge) / self.unit
        grass = _noise(self._rng(), self.height, self.period, 0.85)
        broad = _noise(self._rng(), self.height, self.period, 1.7, stretch=2)
        colour = _mix(_rgb(92, 122, 52), _rgb(176, 168, 74), np.clip(0.5 + 1.6 * (broad - 0.5), 0, 1)[..., None])
        colour = _mix(colour, _rgb(58, 86, 42), np.clip(0.35 + 2.2 * (grass - 0.5), 0, 0.8)[..., None])
        colour = _mix(colour, _rgb(250, 220, 150), 0.38 * (1 - _step(-1, 9, depth))[..., None])
        result = _coloured(_below(ridge, self.height), colour * (1 - 0.35 * _step(20, 110, depth)[..., None]))
        # hedges and poplars along the crest
        rng, u = self._rng(), self.unit
        brush = _wide_brush(self.period, self.height, 60 * u)
        for number in range(22):
            place = (number + rng.uniform(0.1, 0.9)) / 22
            x, tall = place * self.period, rng.uniform() < 0.4
            base = float(ridge[int(x)]) + 3 * u
            shade = rng.uniform(0.75, 1.15)
            tuft = rng.normal(size=(26, 3))
            for k, (dx, dy, c) in enumerate(tuft):
                up = 1 - k / len(tuft)
                spread = (3.2, 15) if tall else (8, 4.6)
                light = shade * (0.82 + 0.14 * c + 0.25 * (1 - up))
                green = (66 * light, 92 * light, 48 * light)
                reach = spread[1] * (0.95 + (0.85 if tall else 0.6) * dy)
                radius = (2.6 if tall else 4.2) * u
                brush.disc((x + spread[0] * dx * u * (0.5 if tall else 0.9), base - max(reach, 1) * u), radius, green)
        trees = _folded(brush, self.period)
        _over_rgba(trees, result)
        return trees

    def _make_front(self) -> Float:
        u, rng = self.unit, self._rng()
        brush = _wide_brush(self.period, self.height, 120 * u)
        span = self.period / u
        # a tree at the roadside
        for place in (0.52 * self.width / u + 190 * 1.15, 0.9 * span):
            for bend, start, end, thick in _BRANCHES:
                points = [((place + bend * (k / 8) ** 1.4) * u, (start + (end - start) * k / 8) * u) for k in range(9)]
                brush.line(points, (58, 42, 36), thick * u)
            # leaves in tufts, the upper ones over the lower
            tufts = rng.uniform(-1, 1, (46, 3))
            leaves = rng.normal(size=(46, 34, 4))
            for tuft in np.argsort(tufts[:, 1])[::-1]:
                angle, reach = math.pi * tufts[tuft, 0], math.sqrt(abs(tufts[tuft, 2]))
                cx, cy = place + 50 * reach * math.cos(angle), 180 + 34 * tufts[tuft, 1] * math.sqrt(1.05 - reach**2)
                for dx, dy, c, r in leaves[tuft][np.argsort(leaves[tuft, :, 1])[::-1]]:
                    # darker below and on the left, where the sun does not reach
                    light = 0.72 - 0.0052 * (cy - 180) - 0.15 * dy + 0.0018 * (cx - place) + 0.10 * dx + 0.08 * c
                    light = min(max(light, 0.32), 1.3)
                    base = (132, 122, 48) if c > 1.2 else (84, 110, 46)
                    leaf = (base[0] * light, base[1] * light, base[2] * light)
                    bound = 1 / max(1.0, math.hypot(dx, dy) / 1.7)
                    spot = ((cx + 7.6 * dx * bound) * u, (cy + 5.6 * dy * bound) * u)
                    brush.disc(spot, (1.9 + 0.4 * abs(r)) * u, leaf)
        # the fence: rails first, posts before them, and two wires
        count = max(4, round(span / 74))
        gap = span / count
        sag = rng.uniform(-2.0, 2.0, (count, 2))
        tops = [(-gap + k * gap, sag[k % count - 1]) for k in range(count + 3)]
        for level, offset in ((300, 0), (321, 1)):
            rail = [(x * u, (level + s[offset]) * u) for x, s in tops]
            brush.line([(x, y + 1.3 * u) for x, y in rail], (74, 52, 40), 5.4 * u)
            brush.line([(x, y - 0.4 * u) for x, y in rail], (150, 110, 76), 3.2 * u)
        for level in (286, 311):
            for x, _ in tops[:-1]:
                wire = [((x + gap * k / 10) * u, (level + 6 * (k / 10) * (1 - k / 10)) * u) for k in range(11)]
                brush.line(wire, (66, 58, 56), 0.9 * u)
        for x, s in tops:
            lean = s[0] * 0.8
            post = [(x - 4, 362), (x - 3.6 + lean, 283), (x + lean, 279), (x + 3.6 + lean, 283), (x + 4, 362)]
            brush.polygon([(px * u, py * u) for px, py in post], (112, 80, 58))
            side = [(x + 1.2, 362), (x + 1.2 + lean, 281), (x + 3.6 + lean, 283), (x + 4, 362)]
            brush.polygon([(px * u, py * u) for px, py in side], (176, 132, 92))
        # grass and flowers
        blades = rng.uniform(size=(2600, 5))
        for x, y, bend, length, c in blades[np.argsort(blades[:, 1])]:
            foot, tip = 340 + 30 * y, 10 + 24 * length * (0.4 + y)
            px, lean = x * span, 16 * (bend - 0.5)
            green = (44 + 70 * c * y, 66 + 76 * c * y, 26 + 22 * c)
            points = [(px - 1.1, foot), (px + 0.45 * lean, foot - 0.6 * tip), (px + lean, foot - tip),
                      (px + 0.45 * lean + 1, foot - 0.6 * tip), (px + 1.1, foot)]  # fmt: skip
            brush.polygon([(a * u, b * u) for a, b in points], green)
            if c > 0.955:
                petal = [(236, 84, 70), (248, 214, 92), (240, 236, 240)][int(bend * 3) % 3]
                brush.disc(((px + lean) * u, (foot - tip) * u), 2.3 * u, petal)
        return _folded(brush, self.period)

    def _paint(self, t: float) -> Float:
        u = self.unit
        canvas = self._sky.copy()
        self._clouds.lay(canvas, t)
        self._mountains.lay(canvas, t)
        self._birds(canvas, t)
        self._hills.lay(canvas, t)
        x = 0.12 * self.width / u + 22 * t
        self._balloon(canvas, (x + 190, 86 - 5 * t), 11, 0.5 * t + 1, ((86, 130, 178), (236, 232, 220)))
        self._balloon(canvas, (x, 120 - 9 * t), 33, 0.35 * t, ((206, 58, 52), (246, 206, 96)))
        self._mill(canvas, t)
        self._near.lay(canvas, t)
        self._front.lay(canvas, t)
        self._bloom(canvas, 0.86, 0.35)
        return canvas

    def _balloon(
        self, canvas: Float, centre: Point, radius: float, turn: float, colours: tuple[Colour, Colour]
    ) -> None:
        u = self.unit
        x, y = centre
        brush = _Brush((x - 1.2 * radius) * u, (y - 1.2 * radius) * u, (x + 1.2 * radius) * u, (y + 2.2 * radius) * u)
        # a sphere above, a cone below that leaves it without an edge
        angles = np.linspace(0, 2.15, 22)
        outline = [(math.sin(a), -math.cos(a)) for a in angles]
        end = outline[-1]
        outline += [(end[0] + (0.2 - end[0]) * k / 6, end[1] + 0.86 * k / 6) for k in range(1, 7)]
        gores = 16
        for k in range(gores):
            # longitudes seen from the front: -90 to 90 degrees
            edges = [2 * math.pi * (k + e) / gores + turn for e in (0, 1)]
            edges = [(e + math.pi) % (2 * math.pi) - math.pi for e in edges]
            if edges[1] < edges[0]:
                edges[1] += 2 * math.pi
            west, east = max(edges[0], -math.pi / 2), min(edges[1], math.pi / 2)
            if west >= east:
                continue
            light = 0.80 + 0.30 * math.sin((west + east) / 2)
            colour = colours[k % 2]
            lit = (colour[0] * light, colour[1] * light, colour[2] * light)
            lit = (min(lit[0], 255), min(lit[1], 255), min(lit[2], 255))
            # a hair wider, so that nothing shows between the gores
            left = [(x + radius * r * math.sin(west - 0.012), y + radius * v) for r, v in outline]
            right = [(x + radius * r * math.sin(east), y + radius * v) for r, v in outline]
            brush.polygon([(a * u, b * u) for a, b in left + right[::-1]], lit)
        mouth = y + radius * outline[-1][1]
        for side in (-1, 1):
            rope = [
                ((x + side * 0.19 * radius) * u, mouth * u),
                ((x + side * 0.13 * radius) * u, (mouth + 0.45 * radius) * u),
            ]
            brush.line(rope, (70, 56, 50), 0.6 * u)
        basket = [(-0.15, 0.42), (0.15, 0.42), (0.12, 0.68), (-0.12, 0.68)]
        brush.polygon([((x + a * radius) * u, (mouth + b * radius) * u) for a, b in basket], (112, 76, 48))
        brush.lay(canvas)

    def _birds(self, canvas: Float, t: float) -> None:
        u = self.unit
        rng = np.random.default_rng([self._seed, 77])
        for number in range(7):
            dx, dy, phase, pace = rng.uniform(-1, 1, 4)
            x = 0.34 * self.width / u + 36 * (number - 3) + 8 * dx + (31 + 2 * pace) * t
            y = 66 + 9 * abs(number - 3) + 6 * dy - 3 * t
            size = 8.5 + 1.5 * dx
            beat = math.sin(2 * math.pi * (2.1 + 0.2 * pace) * t + 3 * phase)
            brush = _Brush((x - 14) * u, (y - 14) * u, (x + 14) * u, (y + 14) * u)
            for side in (-1, 1):
                joint = (x + side * size * 0.5, y - size * (0.22 + 0.26 * beat))
                tip = (x + side * size * (1 - 0.08 * abs(beat)), y - size * (0.05 + 0.62 * beat))
                wing = [(x, y - 0.9), joint, tip, (joint[0], joint[1] + 1.7), (x, y + 1.4)]
                brush.polygon([(a * u, b * u) for a, b in wing], (62, 62, 80))
            brush.lay(canvas)

    def _mill(self, canvas: Float, t: float) -> None:
        u = self.unit
        x = self._mill_x - 66 * t
        column = int(self._mill_x * u) % self.period
        foot = float(self._near_ridge[column]) / u + 6
        top = foot - 92
        brush = _Brush((x - 82) * u, (top - 82) * u, (x + 82) * u, (foot + 4) * u)

        def shape(points: Sequence[Point], colour: Colour) -> None:
            brush.polygon([((x + a) * u, (top + b) * u) for a, b in points], colour)

        shape([(-13, 4), (13, 4), (21, 96), (-21, 96)], (226, 208, 184))
        shape([(-13, 4), (-5, 4), (-8, 96), (-21, 96)], (168, 148, 140))
        shape([(-5, 4), (1, 4), (1, 96), (-8, 96)], (202, 184, 166))
        for row in range(6):  # courses of brick
            half = 13 + 8 * (row + 1) / 6.5
            shape(
                [(-half, 16 + 14 * row), (half, 16 + 14 * row), (half, 16.8 + 14 * row), (-half, 16.8 + 14 * row)],
                (178, 150, 132),
            )
        shape([(-5, 96), (-5, 78), (0, 74), (5, 78), (5, 96)], (84, 56, 44))
        shape([(-3, 44), (3, 44), (3.2, 53), (-3.2, 53)], (64, 62, 78))
        shape([(-15, 5), (-12, -8), (0, -17), (12, -8), (15, 5)], (122, 66, 54))
        shape([(0, -17), (12, -8), (15, 5), (3, 5)], (166, 92, 68))
        hub = (x, top - 2.0)
        for k in range(4):
            angle = 1.15 * t + 0.4 + k * math.pi / 2
            along, across = (math.sin(angle), -math.cos(angle)), (math.cos(angle), math.sin(angle))

            def place(r: float, s: float, along: Point = along, across: Point = across) -> Point:
                return ((hub[0] + r * along[0] + s * across[0]) * u, (hub[1] + r * along[1] + s * across[1]) * u)

            cloth = [place(20, 1.5), place(70, 1.5), place(70, 9.5), place(20, 9.5)]
            brush.polygon(cloth, (250, 240, 220), 0.86 if k % 2 else 0.42)
            for s in (1.5, 6, 11):
                brush.line([place(15, s), place(73, s)], (82, 58, 46), 1.0 * u)
            for r in range(15, 75, 6):
                brush.line([place(r, 0), place(r, 11.5)], (82, 58, 46), 1.0 * u)
            brush.line([place(-6, 0), place(75, 0)], (62, 44, 38), 2.4 * u)
        brush.disc((hub[0] * u, hub[1] * u), 3.4 * u, (60, 44, 40))
        brush.lay(canvas)


def _over_rgba(above: Float, below: Float) -> None:
    """Put `below` under `above`, both RGBA, in place."""
    above += below * (1 - above[..., 3:])


class _Night(_Scene):
    """A fair by the river: towers with lit windows, a wheel, a tram behind the hangers of a bridge, their mirror."""

    _WATER = 268.0

    def __init__(self, width: int, height: int, seed: int) -> None:
        super().__init__(width, height, seed)
        self._sky = self._make_sky()
        self._clouds = self._layer(self._make_clouds(), -6)
        self._far = self._layer(self._make_towers(44, (56, 84), (20, 104), (74, 50, 108), (58, 36, 92), 0.16), -16)
        self._middle = self._layer(self._make_towers(30, (32, 62), (26, 92), (34, 26, 66), (24, 20, 52), 0.34), -40)
        self._bank = self._layer(self._make_bank(), -62)
        self._bridge = self._layer(self._make_bridge(), -150)
        self._wheel_x = 0.30 * width / self.unit

    def _make_sky(self) -> Float:
        sky = np.repeat(
            _gradient(
                self.height,
                [
                    (0, (16, 16, 52)),
                    (0.32, (52, 34, 100)),
                    (0.56, (138, 60, 116)),
                    (0.70, (240, 124, 104)),
                    (0.76, (255, 176, 120)),
                ],
            ),
            self.width,
            axis=1,
        )
        x, y = self._grid()
        rng = self._rng()
        for px, py, size, bright in rng.uniform(size=(130, 4)):
            cx, cy = px * self.width / self.unit, py**1.3 * 190
            radius = 0.55 + 0.5 * size**3
            box = (
                slice(max(int((cy - 4) * self.unit), 0), int((cy + 5) * self.unit) + 1),
                slice(max(int((cx - 4) * self.unit), 0), int((cx + 5) * self.unit) + 1),
            )
            glow = np.exp(-((x[box] - cx) ** 2 + (y[box] - cy) ** 2) / (2 * radius**2))
            sky[box] += (glow * (0.25 + 0.7 * bright) * (1 - cy / 240))[..., None] * _rgb(236, 232, 255)
        # the moon
        cx, cy, radius = 0.80 * self.width / self.unit, 70.0, 27.0
        distance = np.hypot(x - cx, y - cy)
        sky += (0.30 * np.exp(-((distance / 62) ** 2)))[..., None] * _rgb(255, 226, 200)
        seas = _noise(self._rng(), self.height, self.width, 1.7)
        face = _mix(_rgb(255, 246, 226), _rgb(214, 196, 190), _step(0.47, 0.60, seas)[..., None])
        face *= (0.90 + 0.10 * np.sqrt(np.clip(1 - (distance / radius) ** 2, 0, 1)))[..., None]
        return _mix(sky, face, np.clip(radius - distance + 0.5, 0, 1)[..., None])

    def _make_clouds(self) -> Float:
        puffs = _noise(self._rng(), self.height, self.period, 1.7, stretch=4)
        y = (np.arange(self.height, dtype=np.float32)[:, None] + 0.5) / self.height
        window = _step(0.2, 0.42, y) * (1 - _step(0.62, 0.76, y))
        colour = _mix(_rgb(64, 36, 92), _rgb(255, 150, 118), np.clip(2.2 * (y - 0.32), 0, 1)[..., None])
        return _coloured(0.62 * _step(0.5, 0.72, puffs) * window, np.broadcast_to(colour, (*puffs.shape, 3)))

    def _make_towers(
        self, count: int, widths: Point, heights: Point, colour: Colour, side: Colour, lit: float
    ) -> Float:
        u, rng = self.unit, self._rng()
        span = self.period / u
        brush = _wide_brush(self.period, self.height, 90 * u)
        for number in range(count):
            x = (number + rng.uniform(-0.3, 0.3)) * span / count
            w, h = rng.uniform(*widths), rng.uniform(*heights) + rng.uniform() ** 4 * 60
            top = self._WATER - 18 - h
            shade = rng.uniform(0.85, 1.15)
            body = (colour[0] * shade, colour[1] * shade, colour[2] * shade)
            style, spire = rng.uniform(), rng.uniform()

            def block(x0: float, y0: float, x1: float, y1: float, ink: Colour) -> None:
                brush.polygon([(x0 * u, y0 * u), (x1 * u, y0 * u), (x1 * u, y1 * u), (x0 * u, y1 * u)], ink)

            block(x, top, x + w, self._WATER + 4, body)
            block(x + 0.72 * w, top, x + w, self._WATER + 4, side)
            if style < 0.35:  # a stepped roof
                block(x + 0.2 * w, top - 9, x + 0.8 * w, top + 1, body)
            elif style < 0.55:  # a pointed one
                brush.polygon(
                    [(x * u, (top + 0.5) * u), ((x + w / 2) * u, (top - 16) * u), ((x + w) * u, (top + 0.5) * u)], body
                )
            if spire < 0.4:
                brush.line([((x + w / 2) * u, (top - 34) * u), ((x + w / 2) * u, (top + 1) * u)], side, 1.2 * u)
                brush.disc(((x + w / 2) * u, (top - 34) * u), 1.2 * u, (255, 84, 72))
            columns, rows = max(2, int(w / 7.5)), max(2, int((h + 10) / 9))
            on = rng.uniform(size=(40, 12, 2))
            for row in range(min(rows, 40)):
                for column in range(min(columns, 12)):
                    chance, tint = on[row, column]
                    if chance < lit:
                        glow = [(255, 214, 128), (255, 186, 96), (255, 236, 190), (150, 220, 232)][int(tint * 4)]
                        wx, wy = x + 3 + column * (w - 5) / columns, top + 5 + row * 9
                        block(wx, wy, wx + 3.4, wy + 4.6, glow)
        return _folded(brush, self.period)

    def _make_bank(self) -> Float:
        u, rng = self.unit, self._rng()
        span = self.period / u
        brush = _wide_brush(self.period, self.height, 60 * u)
        for x, y, r, c in rng.uniform(size=(420, 4)):  # trees
            shade = 0.7 + 0.6 * c
            brush.disc((x * span * u, (254 + 10 * y) * u), (5 + 6 * r) * u, (26 * shade, 22 * shade, 46 * shade))
        quay = [(-60, 262), (span + 60, 262), (span + 60, self._WATER + 3), (-60, self._WATER + 3)]
        brush.polygon([(a * u, b * u) for a, b in quay], (22, 18, 40))
        lamps = 26
        for k in range(-1, lamps + 1):
            x = k * span / lamps
            brush.line([(x * u, 244 * u), (x * u, 264 * u)], (20, 16, 36), 1.1 * u)
            brush.disc((x * u, 243 * u), 2.3 * u, (255, 216, 140))
        bulbs = 150  # and a garland between them
        for k in range(bulbs):
            x, sag = k * span / bulbs, 0.5 - abs((k * lamps / bulbs) % 1 - 0.5)
            tint = [(255, 120, 96), (255, 222, 130), (120, 214, 220)][k % 3]
            brush.disc((x * u, (247 + 9 * sag * (1 - 0.35 * sag)) * u), 1.15 * u, tint)
        return _folded(brush, self.period)

    def _make_bridge(self) -> Float:
        u = self.unit
        span = self.period / u
        brush = _wide_brush(self.period, self.height, 80 * u)
        bays = 2
        bay = span / bays
        deck, dark, edge = 312.0, (26, 20, 44), (96, 64, 104)
        for k in range(-1, bays + 1):
            # the cable hangs as a parabola from tower to tower; hangers go down from it
            cable = [(k * bay + bay * s / 60, 312 - 14 - 250 * (2 * s / 60 - 1) ** 2) for s in range(61)]
            hangers = round(bay / 26)
            for h in range(1, hangers):
                x = k * bay + bay * h / hangers
                top = 312 - 14 - 250 * (2 * h / hangers - 1) ** 2
                brush.line([(x * u, top * u), (x * u, deck * u)], (44, 32, 62), 1.3 * u)
            brush.line([(a * u, b * u) for a, b in cable], edge, 3.4 * u)
            brush.line([(a * u, (b + 0.9 * 1) * u) for a, b in cable], dark, 2.6 * u)
        brush.polygon(
            [(-80 * u, deck * u), ((span + 80) * u, deck * u), ((span + 80) * u, 331 * u), (-80 * u, 331 * u)], dark
        )
        brush.polygon(
            [(-80 * u, deck * u), ((span + 80) * u, deck * u), ((span + 80) * u, 314 * u), (-80 * u, 314 * u)], edge
        )
        struts = 2 * round(span / 36)
        for k in range(-6, struts + 6):
            x, rise = k * span / struts, (316, 329) if k % 2 else (329, 316)
            brush.line([(x * u, rise[0] * u), ((x + span / struts) * u, rise[1] * u)], (70, 48, 84), 1.5 * u)
        for k in range(-1, bays + 2):
            x = k * bay
            for offset in (-11, 5):
                post = [(x + offset, 40), (x + offset + 6, 40), (x + offset + 8, 362), (x + offset - 2, 362)]
                brush.polygon([(a * u, b * u) for a, b in post], dark)
                brush.line([((x + offset + 6) * u, 40 * u), ((x + offset + 8) * u, 362 * u)], edge, 1.2 * u)
            for y in (58, 130, 220):
                brush.line([((x - 8) * u, y * u), ((x + 8) * u, y * u)], dark, 7 * u)
            brush.disc((x * u, 36 * u), 3 * u, (255, 92, 80))
        lamps = round(span / 52)
        for k in range(-1, lamps + 2):
            x = (k + 0.5) * span / lamps
            brush.line([(x * u, 290 * u), (x * u, 312 * u)], dark, 1.4 * u)
            brush.disc((x * u, 289 * u), 2.6 * u, (255, 230, 176))
        return _folded(brush, self.period)

    def _paint(self, t: float) -> Float:
        canvas = self._sky.copy()
        self._clouds.lay(canvas, t)
        self._far.lay(canvas, t)
        self._middle.lay(canvas, t)
        self._wheel(canvas, t)
        self._bank.lay(canvas, t)
        self._mirror(canvas, t)
        self._tram(canvas, t)
        self._bridge.lay(canvas, t)
        self._bloom(canvas, 0.62, 0.55)
        return canvas

    def _wheel(self, canvas: Float, t: float) -> None:
        u = self.unit
        x, y, radius = self._wheel_x + 56 * t, 168.0, 84.0
        turn = 0.55 * t
        brush = _Brush((x - 100) * u, (y - 100) * u, (x + 100) * u, (self._WATER + 2) * u)

        def at(angle: float, r: float) -> Point:
            return ((x + r * math.cos(angle)) * u, (y + r * math.sin(angle)) * u)

        for side in (-1, 1):
            brush.line([(x * u, y * u), ((x + side * 40) * u, (self._WATER + 1) * u)], (58, 42, 84), 4 * u)
        for k in range(24):
            angle = turn + k * math.pi / 12
            brush.line([at(angle, 4), at(angle + 0.05, radius)], (186, 160, 206), 0.8 * u)
        for r, thick, ink in (
            (radius, 2.4, (214, 120, 170)),
            (radius - 8, 1.2, (150, 110, 180)),
            (30, 1.2, (150, 110, 180)),
        ):
            brush.ring((x * u, y * u), r * u, ink, thick * u)
        for k in range(72):
            bulb = [(255, 236, 170), (255, 120, 170), (120, 220, 255)][k % 3]
            brush.disc(at(turn + k * math.pi / 36, radius), 1.5 * u, bulb)
        for k in range(12):
            angle = turn + (k + 0.5) * math.pi / 6
            px, py = at(angle, radius)
            px, py = px / u, py / u
            ink = [(240, 92, 84), (250, 196, 84), (92, 196, 190), (206, 126, 232)][k % 4]
            # cabins hang: they do not turn with the wheel
            cabin = [(-6, 4), (6, 4), (7, 9), (5, 15), (-5, 15), (-7, 9)]
            brush.line([(px * u, py * u), (px * u, (py + 5) * u)], (220, 210, 230), 1.0 * u)
            brush.polygon([((px + a) * u, (py + b) * u) for a, b in cabin], ink)
            pane = [(-4.4, 6), (4.4, 6), (4.8, 9.4), (-4.8, 9.4)]
            brush.polygon([((px + a) * u, (py + b) * u) for a, b in pane], (255, 244, 206))
        brush.disc((x * u, y * u), 6 * u, (255, 214, 150))
        brush.lay(canvas)

    def _tram(self, canvas: Float, t: float) -> None:
        u = self.unit
        start = -250 + 250 * t
        brush = _Brush(start * u, 276 * u, (start + 250) * u, 316 * u)
        for car in range(3):
            x = start + 4 + car * 82
            body = [(x + 2, 284), (x + 76, 284), (x + 78, 288), (x + 78, 311), (x, 311), (x, 288)]
            brush.polygon([(a * u, b * u) for a, b in body], (204, 62, 74))
            stripe = [(x, 302), (x + 78, 302), (x + 78, 304.5), (x, 304.5)]
            brush.polygon([(a * u, b * u) for a, b in stripe], (246, 226, 196))
            for k in range(6):
                wx = x + 5 + 12.2 * k
                pane = [(wx, 288.5), (wx + 8.4, 288.5), (wx + 8.4, 299), (wx, 299)]
                brush.polygon([(a * u, b * u) for a, b in pane], (255, 238, 178) if (k + car) % 4 else (210, 226, 230))
                if (k * 7 + car * 5) % 3 == 0:
                    brush.disc(((wx + 4.2) * u, 295 * u), 2.0 * u, (96, 66, 74))
                    brush.polygon(
                        [((wx + a) * u, b * u) for a, b in ((1.4, 299), (4.2, 295.6), (7, 299))], (96, 66, 74)
                    )
            for wheel in (14, 26, 54, 66):
                brush.disc(((x + wheel) * u, 311.5 * u), 3.4 * u, (26, 20, 36))
        brush.disc(((start + 246) * u, 305 * u), 2.4 * u, (255, 250, 220))
        brush.lay(canvas)

    def _mirror(self, canvas: Float, t: float) -> None:
        """Below the water line: what is above it, upside down, moved by waves."""
        u, line = self.unit, round(self._WATER * self.unit)
        rows = self.height - line
        y, x = np.mgrid[:rows, : self.width].astype(np.float32)
        below = y / u + 0.5
        across = x / u
        # waves look closer together far out
        phase = 120 * np.log1p(below / 22)
        wave = np.sin(0.42 * phase + 0.021 * across + 2.6 * t) + 0.6 * np.sin(
            0.93 * phase - 0.034 * across + 3.4 * t + 1
        )
        size = 0.6 + 0.05 * below
        source_y = line - 1 - (y * 1.15 + u * 2.2 * size * wave)
        source_x = x + u * 1.6 * size * np.sin(0.61 * phase + 0.05 * across - 2.1 * t)
        mirror = cv2.remap(canvas, source_x, source_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        depth = np.clip(below / 92, 0, 1)[..., None]
        tint = _mix(_rgb(120, 78, 128), _rgb(26, 24, 66), depth)
        glint = np.clip(wave - 1.1, 0, 1)[..., None] * _rgb(255, 190, 150)
        mirror = cv2.GaussianBlur(mirror, (0, 0), sigmaX=0.7 * u, sigmaY=1.3 * u)
        canvas[line:] = mirror * (0.74 - 0.2 * depth) + 0.16 * tint + 0.10 * glint


@lru_cache(maxsize=4)
def _scene(kind: type[_Scene], width: int, height: int, seed: int) -> _Scene:
    return kind(width, height, seed)

"""The two scenes of the sample clip: a windmill on hills in the morning, and a fair by a river at night.

Every frame is a function of time alone. Layers are shifted by exact fractions of a pixel with a windowed sinc;
moving objects are drawn antialiased where they are. Coordinates are in *units*: the image is 360 units high, so
another size shows the same film. Colours are RGB, 0 to 255, where they are tuples, and [0, 1] in arrays.
"""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]
Colour = tuple[float, float, float]
Point = tuple[float, float]

PERIOD = 2.5
"""Number of image widths after which a layer repeats itself."""

TAPS = 4
"""Half the length of the interpolation kernel."""


# -- layers


@dataclass(frozen=True)
class Layer:
    """A strip that repeats itself sideways: RGBA in [0, 1], premultiplied, from row `top` on."""

    pixels: Float
    period: int
    top: int
    speed: float  # pixels a second to the left

    def at(self, t: float, width: int) -> Float:
        """Its visible part at `t` seconds: (h, width, 4)."""
        position = (self.speed * t) % self.period
        whole = math.floor(position)
        strip = self.pixels[:, whole : whole + width + 2 * TAPS]
        shifted = cv2.sepFilter2D(strip, -1, shift_kernel(position - whole), np.ones(1, np.float32))
        return np.asarray(shifted[:, TAPS:-TAPS], np.float32)

    def draw(self, canvas: Float, t: float) -> None:
        """Draw it over `canvas`, (H, W, 3)."""
        visible = self.at(t, canvas.shape[1])
        _draw_over(canvas[self.top : self.top + visible.shape[0]], visible)


def shift_kernel(fraction: float) -> Float:
    """A filter that shifts to the left by `fraction` of a pixel: sinc with a Lanczos window."""
    x = np.arange(-TAPS, TAPS + 1) - fraction
    taps = np.where(np.abs(x) < TAPS, np.sinc(x) * np.sinc(x / TAPS), 0)
    return np.asarray(taps / taps.sum(), np.float32)


def _make_layer(rgba: Float, period: int, width: int, speed: float) -> Layer:
    """A layer from an image one period wide; empty rows above and below are left out."""
    # Limit the bandwidth a little, so that sharpness does not change with the fraction of a pixel.
    wide = np.concatenate([rgba[:, -4:], rgba, rgba[:, :4]], axis=1)
    rgba = np.asarray(cv2.GaussianBlur(wide, (0, 0), 0.45)[:, 4:-4], np.float32)
    rows = np.flatnonzero(rgba[..., 3].max(axis=1) > 1e-4)
    top, bottom = (int(rows[0]), int(rows[-1]) + 1) if len(rows) else (0, 1)
    columns = np.arange(-TAPS, period + width + TAPS + 1) % period
    return Layer(np.ascontiguousarray(rgba[top:bottom][:, columns]), period, top, speed)


def _draw_over(canvas: Float, rgba: Float) -> None:
    alpha = np.clip(rgba[..., 3:], 0, 1)
    canvas *= 1 - alpha
    canvas += rgba[..., : canvas.shape[2]]


# -- textures


def _colour_mask(mask: NDArray[Any], colour: NDArray[Any]) -> Float:
    """RGBA of a mask (H, W) and colours (H, W, 3)."""
    return np.concatenate([colour * mask[..., None], mask[..., None]], axis=2).astype(np.float32)


def _noise(rng: np.random.Generator, height: int, width: int, exponent: float, stretch: float = 1.0) -> Float:
    """Noise with a natural spectrum, (H, W), in [0, 1] around 0.5, periodic at its edges.

    Its amplitude falls with frequency to the power of `exponent`; `stretch` > 1 draws it out sideways.
    """
    # Drawn on a grid whose size does not depend on the resolution: another size gives the same noise.
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
    """A periodic skyline, (W,), about -1 to 1; `waves` is its lowest frequency."""
    x = np.arange(width) / width * 2 * math.pi
    line = np.zeros(width)
    for k in range(waves, 90):
        line += math.pow(waves / k, exponent) * np.sin(k * x + rng.uniform(0, 2 * math.pi)) * rng.uniform(0.5, 1)
    return np.asarray(line / np.abs(line).max(), np.float32)


def _below(ridge: Float, height: int) -> Float:
    """Coverage (H, W) of what lies below a skyline (in pixels from the top)."""
    slope = np.sqrt(1 + np.gradient(ridge) ** 2)
    rows = np.arange(height, dtype=np.float32)[:, None] + 0.5
    return np.clip((rows - ridge) / slope + 0.5, 0, 1).astype(np.float32)


def _mix(a: Any, b: Any, share: Any) -> Float:
    return np.asarray(a + (np.asarray(b) - a) * share, np.float32)


def _rgb(*values: float) -> Float:
    return np.asarray(np.array(values) / 255, np.float32)


def _smoothstep(low: float, high: float, x: NDArray[Any]) -> Float:
    t = np.clip((x - low) / (high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


# -- shapes


class Brush:
    """Draws antialiased shapes, in units, into a part of the image."""

    def __init__(self, unit: float, left: float, top: float, right: float, bottom: float, fine: int = 4) -> None:
        """The part is in pixels; shapes are drawn `fine` times as large and then reduced."""
        self.unit, self.fine = unit, fine
        self.left, self.top = math.floor(left), math.floor(top)
        self.size = (max(math.ceil(bottom) - self.top, 1), max(math.ceil(right) - self.left, 1))
        self.fine_pixels = np.zeros((self.size[0] * fine, self.size[1] * fine, 4), np.uint8)

    def _to_fine(self, points: Sequence[Point]) -> NDArray[np.int32]:
        # Pixel centres lie at .5; OpenCV counts from the centre of the first one, with eight bits of fraction.
        p = (np.asarray(points, np.float64) - (self.left, self.top)) * self.fine - 0.5
        return np.rint(p * 256).astype(np.int32)

    def _fill(self, points: Sequence[Point], colour: Colour, alpha: float = 1.0) -> None:
        cv2.fillPoly(self.fine_pixels, [self._to_fine(points)], _premultiply(colour, alpha), cv2.LINE_AA, 8)

    def polygon(self, points: Sequence[Point], colour: Colour, alpha: float = 1.0, at: Point = (0, 0)) -> None:
        """A filled polygon, moved by `at`."""
        self._fill([((at[0] + x) * self.unit, (at[1] + y) * self.unit) for x, y in points], colour, alpha)

    def box(self, left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
        """A filled rectangle."""
        self.polygon([(left, top), (right, top), (right, bottom), (left, bottom)], colour)

    def line(self, points: Sequence[Point], colour: Colour, thickness: float) -> None:
        """A line through `points`."""
        thickness *= self.unit
        for a, b in itertools.pairwise([(x * self.unit, y * self.unit) for x, y in points]):
            dx, dy = b[0] - a[0], b[1] - a[1]
            length = math.hypot(dx, dy) or 1.0
            nx, ny = -dy / length * thickness / 2, dx / length * thickness / 2
            self._fill(
                [(a[0] + nx, a[1] + ny), (b[0] + nx, b[1] + ny), (b[0] - nx, b[1] - ny), (a[0] - nx, a[1] - ny)], colour
            )

    def disc(self, centre: Point, radius: float, colour: Colour) -> None:
        """A filled circle."""
        x, y = self._to_fine([(centre[0] * self.unit, centre[1] * self.unit)])[0]
        r = round(radius * self.unit * self.fine * 256)
        cv2.circle(self.fine_pixels, (int(x), int(y)), r, _premultiply(colour, 1.0), -1, cv2.LINE_AA, 8)

    def ring(self, centre: Point, radius: float, colour: Colour, thickness: float) -> None:
        """A circle's outline."""
        angles = np.linspace(0, 2 * math.pi, 97)
        circle = [(centre[0] + radius * math.cos(a), centre[1] + radius * math.sin(a)) for a in angles]
        self.line(circle, colour, thickness)

    def rgba(self) -> Float:
        """What has been drawn, (h, w, 4), premultiplied."""
        small = cv2.resize(self.fine_pixels, (self.size[1], self.size[0]), interpolation=cv2.INTER_AREA)
        return np.asarray(small, np.float32) / np.float32(255)

    def draw(self, canvas: Float) -> None:
        """Draw it over `canvas`, (H, W, 3)."""
        height, width = canvas.shape[:2]
        y0, x0 = max(self.top, 0), max(self.left, 0)
        y1, x1 = min(self.top + self.size[0], height), min(self.left + self.size[1], width)
        if y0 < y1 and x0 < x1:
            visible = self.rgba()[y0 - self.top : y1 - self.top, x0 - self.left : x1 - self.left]
            _draw_over(canvas[y0:y1, x0:x1], visible)

    def wrap(self, width: int) -> Float:
        """What has been drawn, `width` wide: what extends over one edge comes in at the other."""
        rgba = self.rgba()
        margin = -self.left
        result = rgba[:, margin : margin + width].copy()
        _draw_over(result[:, -margin:], rgba[:, :margin])
        right = rgba[:, margin + width :]
        _draw_over(result[:, :margin], right[:, :margin])
        return result


def _premultiply(colour: Colour, alpha: float) -> tuple[float, float, float, float]:
    return (colour[0] * alpha, colour[1] * alpha, colour[2] * alpha, 255 * alpha)


# -- the scenes


class Scene(ABC):
    """Layers made once for a size and a seed; `render` then draws a frame."""

    stream: int
    """Part of the seed of its random numbers."""

    def __init__(self, width: int, height: int, seed: int) -> None:
        self.width, self.height = width, height
        self.unit = height / 360
        self.width_units = width / self.unit
        self.period = round(PERIOD * width)
        self.period_units = self.period / self.unit
        self._seed = seed
        self._generators = 0

    def render(self, t: float) -> NDArray[np.uint8]:
        """The frame `t` seconds after the beginning of the scene: (H, W, 3)."""
        canvas = self._paint(t)
        np.clip(canvas, 0, 1, out=canvas)
        return np.rint(canvas * 255).astype(np.uint8)

    @abstractmethod
    def _paint(self, t: float) -> Float:
        """The frame `t` seconds after the beginning of the scene, not yet clipped."""

    def _rng(self) -> np.random.Generator:
        """Another generator of random numbers at each call."""
        self._generators += 1
        return np.random.default_rng([self._seed, self.stream, self._generators])

    def _layer(self, rgba: Float, speed: float) -> Layer:
        return _make_layer(rgba, self.period, self.width, speed * self.unit)

    def _brush(self, left: float, top: float, right: float, bottom: float) -> Brush:
        """A brush for a part of the image, in units."""
        u = self.unit
        return Brush(u, left * u, top * u, right * u, bottom * u)

    def _wide_brush(self, margin: float) -> Brush:
        """A brush for a layer, with a margin in units."""
        margin *= self.unit
        return Brush(self.unit, -margin, 0, self.period + margin, self.height, fine=4 if self.height <= 400 else 2)

    def _grid(self) -> tuple[Float, Float]:
        """x and y of the pixel centres of the image, in units."""
        y, x = np.mgrid[: self.height, : self.width].astype(np.float32)
        return (x + 0.5) / self.unit, (y + 0.5) / self.unit

    def _rows(self) -> Float:
        """The pixel centres of a column, (H, 1), in [0, 1]."""
        return (np.arange(self.height, dtype=np.float32)[:, None] + 0.5) / self.height

    def _depth(self, ridge: Float) -> Float:
        """How far each pixel lies below a skyline, (H, W), in units."""
        return (np.arange(self.height, dtype=np.float32)[:, None] - ridge) / self.unit

    def _gradient(self, stops: Sequence[tuple[float, Colour]]) -> Float:
        """A sky of colours from top to bottom, (H, W, 3); stops are (place in [0, 1], colour)."""
        rows = (np.arange(self.height) + 0.5) / self.height
        channels = [np.interp(rows, [s[0] for s in stops], [s[1][c] / 255 for s in stops]) for c in range(3)]
        return np.repeat(np.stack(channels, axis=1).astype(np.float32)[:, None], self.width, axis=1)

    def _bloom(self, canvas: Float, threshold: float, strength: float) -> None:
        """Let bright places shine into their surroundings."""
        small = cv2.resize(canvas, (max(self.width // 4, 1), max(self.height // 4, 1)), interpolation=cv2.INTER_AREA)
        light = cv2.GaussianBlur(np.maximum(small - threshold, 0), (0, 0), 2.6 * self.unit)
        canvas += strength * cv2.resize(light, (self.width, self.height), interpolation=cv2.INTER_LINEAR)


class Morning(Scene):
    """A windmill on hills; a balloon behind a tree; a fence in front of all."""

    stream = 8

    _BRANCHES = (
        (0.0, 352, 226, 9.0),
        (-26, 268, 198, 4.2),
        (24, 258, 190, 4.6),
        (-9, 232, 168, 3.4),
        (40, 236, 205, 2.4),
    )
    """The branches of a tree: how far they bend, where they begin and end (rows), how thick they are."""

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
        sky = self._gradient(
            [(0, (70, 128, 196)), (0.3, (142, 190, 226)), (0.52, (250, 218, 186)), (0.66, (255, 206, 150))]
        )
        x, y = self._grid()
        distance = np.hypot(x - 0.72 * self.width / self.unit, y - 128)
        for radius, strength in ((150, 0.30), (55, 0.35), (22, 0.30)):
            sky = _mix(sky, _rgb(255, 244, 214), strength * np.exp(-((distance / radius) ** 2))[..., None])
        return _mix(sky, _rgb(255, 252, 238), np.clip(15.5 - distance, 0, 1)[..., None])

    def _make_clouds(self) -> Float:
        puffs = _noise(self._rng(), self.height, self.period, 1.75, stretch=2.6)
        y = self._rows()
        window = _smoothstep(-0.05, 0.12, y) * (1 - _smoothstep(0.34, 0.5, y))
        density = _smoothstep(0.40, 0.62, puffs * (0.6 + 0.4 * window)) * window
        below = np.roll(puffs, -round(7 * self.unit), axis=0)
        light = np.clip(0.62 + 2.4 * (puffs - below), 0, 1)[..., None]
        return _colour_mask(0.93 * density, _mix(_rgb(196, 172, 186), _rgb(255, 250, 240), light))

    def _make_mountains(self) -> Float:
        ridge = (158 + 50 * _ridge(self._rng(), self.period, 4, 1.25)) * self.unit
        depth = self._depth(ridge)
        rock = _noise(self._rng(), self.height, self.period, 1.35)
        relief = np.clip(0.5 + 9 * (np.roll(rock, round(2 * self.unit), axis=1) - rock), 0, 1)[..., None]
        colour = _mix(_rgb(96, 112, 158), _rgb(150, 142, 168), relief)
        snow = (1 - _smoothstep(8, 30, depth + 46 * (rock - 0.5) + 0.22 * ridge / self.unit - 24))[..., None]
        colour = _mix(colour, _mix(_rgb(196, 204, 228), _rgb(255, 246, 236), relief), snow)
        haze = _smoothstep(0, 105, depth)[..., None]
        return _colour_mask(_below(ridge, self.height), _mix(colour, _rgb(240, 208, 186), 0.25 + 0.62 * haze))

    def _make_hills(self) -> Float:
        ridge = (212 + 19 * _ridge(self._rng(), self.period, 3, 1.7)) * self.unit
        depth = self._depth(ridge)
        field = _noise(self._rng(), self.height, self.period, 1.6, stretch=1.6)
        parts = _smoothstep(0.47, 0.53, field)[..., None]
        x = np.arange(self.period, dtype=np.float32)[None] / self.period * 2 * math.pi
        furrows = 0.5 + 0.5 * np.sin(x * 150 + 0.16 * depth)
        colour = _mix(_rgb(108, 142, 110), _rgb(176, 172, 112), parts)
        colour = _mix(colour, _rgb(88, 122, 98), 0.30 * (furrows * _smoothstep(2, 12, depth))[..., None] * (1 - parts))
        woods = _noise(self._rng(), self.height, self.period, 1.05)
        clumps = _smoothstep(0.60, 0.66, woods) * (1 - _smoothstep(10, 42, depth))
        colour = _mix(colour, _rgb(62, 94, 84), clumps[..., None])
        haze = 0.26 * (1 - _smoothstep(-4, 40, depth))[..., None]
        return _colour_mask(_below(ridge, self.height), _mix(colour, _rgb(236, 206, 170), haze))

    def _make_near(self) -> Float:
        ridge = self._near_ridge
        depth = self._depth(ridge)
        grass = _noise(self._rng(), self.height, self.period, 0.85)
        broad = _noise(self._rng(), self.height, self.period, 1.7, stretch=2)
        colour = _mix(_rgb(92, 122, 52), _rgb(176, 168, 74), np.clip(0.5 + 1.6 * (broad - 0.5), 0, 1)[..., None])
        colour = _mix(colour, _rgb(58, 86, 42), np.clip(0.35 + 2.2 * (grass - 0.5), 0, 0.8)[..., None])
        colour = _mix(colour, _rgb(250, 220, 150), 0.38 * (1 - _smoothstep(-1, 9, depth))[..., None])
        hill = _colour_mask(_below(ridge, self.height), colour * (1 - 0.35 * _smoothstep(20, 110, depth)[..., None]))
        # Hedges and poplars along the crest.
        rng = self._rng()
        brush = self._wide_brush(60)
        for number in range(22):
            x = (number + rng.uniform(0.1, 0.9)) / 22 * self.period
            poplar = rng.uniform() < 0.4
            base = float(ridge[int(x)]) / self.unit + 3
            x /= self.unit
            shade = rng.uniform(0.75, 1.15)
            tuft = rng.normal(size=(26, 3))
            spread_x, spread_y, radius = (1.6, 15, 2.6) if poplar else (7.2, 4.6, 4.2)
            for k, (dx, dy, c) in enumerate(tuft):
                light = shade * (0.82 + 0.14 * c + 0.25 * (k / len(tuft)))
                green = (66 * light, 92 * light, 48 * light)
                up = spread_y * (0.95 + (0.85 if poplar else 0.6) * dy)
                brush.disc((x + spread_x * dx, base - max(up, 1)), radius, green)
        trees = brush.wrap(self.period)
        trees += hill * (1 - trees[..., 3:])
        return trees

    def _make_front(self) -> Float:
        rng = self._rng()
        brush = self._wide_brush(120)
        for place in (0.52 * self.width / self.unit + 190 * 1.15, 0.9 * self.period_units):
            self._draw_tree(brush, place, rng)
        self._draw_fence(brush, rng)
        # Grass and flowers.
        blades = rng.uniform(size=(2600, 5))
        for x, y, bend, length, c in blades[np.argsort(blades[:, 1])]:
            foot, height = 340 + 30 * y, 10 + 24 * length * (0.4 + y)
            x, lean = x * self.period_units, 16 * (bend - 0.5)
            green = (44 + 70 * c * y, 66 + 76 * c * y, 26 + 22 * c)
            points = [(x - 1.1, foot), (x + 0.45 * lean, foot - 0.6 * height), (x + lean, foot - height),
                      (x + 0.45 * lean + 1, foot - 0.6 * height), (x + 1.1, foot)]  # fmt: skip
            brush.polygon(points, green)
            if c > 0.955:
                petal = [(236, 84, 70), (248, 214, 92), (240, 236, 240)][int(bend * 3) % 3]
                brush.disc((x + lean, foot - height), 2.3, petal)
        return brush.wrap(self.period)

    def _draw_tree(self, brush: Brush, place: float, rng: np.random.Generator) -> None:
        for bend, start, end, thickness in self._BRANCHES:
            points = [(place + bend * (k / 8) ** 1.4, start + (end - start) * k / 8) for k in range(9)]
            brush.line(points, (58, 42, 36), thickness)
        # Leaves in tufts, the upper ones over the lower.
        tufts = rng.uniform(-1, 1, (46, 3))
        leaves = rng.normal(size=(46, 34, 4))
        for tuft in np.argsort(tufts[:, 1])[::-1]:
            angle, reach = math.pi * tufts[tuft, 0], math.sqrt(abs(tufts[tuft, 2]))
            cx, cy = place + 50 * reach * math.cos(angle), 180 + 34 * tufts[tuft, 1] * math.sqrt(1.05 - reach**2)
            for dx, dy, c, r in leaves[tuft][np.argsort(leaves[tuft, :, 1])[::-1]]:
                # Darker below and on the left, away from the sun.
                light = 0.72 - 0.0052 * (cy - 180) - 0.15 * dy + 0.0018 * (cx - place) + 0.10 * dx + 0.08 * c
                light = min(max(light, 0.32), 1.3)
                red, green, blue = (132, 122, 48) if c > 1.2 else (84, 110, 46)
                bound = 1 / max(1.0, math.hypot(dx, dy) / 1.7)
                brush.disc(
                    (cx + 7.6 * dx * bound, cy + 5.6 * dy * bound),
                    1.9 + 0.4 * abs(r),
                    (red * light, green * light, blue * light),
                )

    def _draw_fence(self, brush: Brush, rng: np.random.Generator) -> None:
        # Rails first, then two wires, and posts in front of them.
        count = max(4, round(self.period_units / 74))
        gap = self.period_units / count
        sag = rng.uniform(-2.0, 2.0, (count, 2))
        tops = [(-gap + k * gap, sag[k % count - 1]) for k in range(count + 3)]
        for level, offset in ((300, 0), (321, 1)):
            rail = [(x, level + s[offset]) for x, s in tops]
            brush.line([(x, y + 1.3) for x, y in rail], (74, 52, 40), 5.4)
            brush.line([(x, y - 0.4) for x, y in rail], (150, 110, 76), 3.2)
        for level in (286, 311):
            for x, _ in tops[:-1]:
                wire = [(x + gap * k / 10, level + 6 * (k / 10) * (1 - k / 10)) for k in range(11)]
                brush.line(wire, (66, 58, 56), 0.9)
        for x, s in tops:
            lean = s[0] * 0.8
            post = [(x - 4, 362), (x - 3.6 + lean, 283), (x + lean, 279), (x + 3.6 + lean, 283), (x + 4, 362)]
            brush.polygon(post, (112, 80, 58))
            side = [(x + 1.2, 362), (x + 1.2 + lean, 281), (x + 3.6 + lean, 283), (x + 4, 362)]
            brush.polygon(side, (176, 132, 92))

    def _paint(self, t: float) -> Float:
        canvas = self._sky.copy()
        self._clouds.draw(canvas, t)
        self._mountains.draw(canvas, t)
        self._birds(canvas, t)
        self._hills.draw(canvas, t)
        x = 0.12 * self.width / self.unit + 22 * t
        self._balloon(canvas, (x + 190, 86 - 5 * t), 11, 0.5 * t + 1, ((86, 130, 178), (236, 232, 220)))
        self._balloon(canvas, (x, 120 - 9 * t), 33, 0.35 * t, ((206, 58, 52), (246, 206, 96)))
        self._mill(canvas, t)
        self._near.draw(canvas, t)
        self._front.draw(canvas, t)
        self._bloom(canvas, 0.86, 0.35)
        return canvas

    def _balloon(
        self, canvas: Float, centre: Point, radius: float, turn: float, colours: tuple[Colour, Colour]
    ) -> None:
        x, y = centre
        brush = self._brush(x - 1.2 * radius, y - 1.2 * radius, x + 1.2 * radius, y + 2.2 * radius)
        # A sphere above, a cone below that leaves it without an edge.
        outline = [(math.sin(a), -math.cos(a)) for a in np.linspace(0, 2.15, 22)]
        end = outline[-1]
        outline += [(end[0] + (0.2 - end[0]) * k / 6, end[1] + 0.86 * k / 6) for k in range(1, 7)]
        gores = 16
        for k in range(gores):
            # Longitudes, from the front: -90 to 90 degrees are visible.
            west, east = ((2 * math.pi * (k + e) / gores + turn + math.pi) % (2 * math.pi) - math.pi for e in (0, 1))
            if east < west:
                east += 2 * math.pi
            west, east = max(west, -math.pi / 2), min(east, math.pi / 2)
            if west >= east:
                continue
            light = 0.80 + 0.30 * math.sin((west + east) / 2)
            red, green, blue = (min(c * light, 255) for c in colours[k % 2])
            # A hair wider, so that nothing shows between the gores.
            left = [(x + radius * r * math.sin(west - 0.012), y + radius * v) for r, v in outline]
            right = [(x + radius * r * math.sin(east), y + radius * v) for r, v in outline]
            brush.polygon(left + right[::-1], (red, green, blue))
        mouth = y + radius * outline[-1][1]
        for side in (-1, 1):
            rope = [(x + side * 0.19 * radius, mouth), (x + side * 0.13 * radius, mouth + 0.45 * radius)]
            brush.line(rope, (70, 56, 50), 0.6)
        basket = [(-0.15, 0.42), (0.15, 0.42), (0.12, 0.68), (-0.12, 0.68)]
        brush.polygon([(x + a * radius, mouth + b * radius) for a, b in basket], (112, 76, 48))
        brush.draw(canvas)

    def _birds(self, canvas: Float, t: float) -> None:
        rng = np.random.default_rng([self._seed, 77])
        for number in range(7):
            dx, dy, phase, pace = rng.uniform(-1, 1, 4)
            x = 0.34 * self.width / self.unit + 36 * (number - 3) + 8 * dx + (31 + 2 * pace) * t
            y = 66 + 9 * abs(number - 3) + 6 * dy - 3 * t
            size = 8.5 + 1.5 * dx
            beat = math.sin(2 * math.pi * (2.1 + 0.2 * pace) * t + 3 * phase)
            brush = self._brush(x - 14, y - 14, x + 14, y + 14)
            for side in (-1, 1):
                joint = (x + side * size * 0.5, y - size * (0.22 + 0.26 * beat))
                tip = (x + side * size * (1 - 0.08 * abs(beat)), y - size * (0.05 + 0.62 * beat))
                wing = [(x, y - 0.9), joint, tip, (joint[0], joint[1] + 1.7), (x, y + 1.4)]
                brush.polygon(wing, (62, 62, 80))
            brush.draw(canvas)

    def _mill(self, canvas: Float, t: float) -> None:
        x = self._mill_x - 66 * t
        column = int(self._mill_x * self.unit) % self.period
        foot = float(self._near_ridge[column]) / self.unit + 6
        top = foot - 92
        brush = self._brush(x - 82, top - 82, x + 82, foot + 4)
        shapes: list[tuple[list[Point], Colour]] = [
            ([(-13, 4), (13, 4), (21, 96), (-21, 96)], (226, 208, 184)),  # the tower: light, shadow, half shadow
            ([(-13, 4), (-5, 4), (-8, 96), (-21, 96)], (168, 148, 140)),
            ([(-5, 4), (1, 4), (1, 96), (-8, 96)], (202, 184, 166)),
        ]
        for row in range(6):  # courses of brick
            half, y = 13 + 8 * (row + 1) / 6.5, 16 + 14 * row
            shapes.append(([(-half, y), (half, y), (half, 16.8 + 14 * row), (-half, 16.8 + 14 * row)], (178, 150, 132)))
        shapes += [
            ([(-5, 96), (-5, 78), (0, 74), (5, 78), (5, 96)], (84, 56, 44)),  # door, window, roof
            ([(-3, 44), (3, 44), (3.2, 53), (-3.2, 53)], (64, 62, 78)),
            ([(-15, 5), (-12, -8), (0, -17), (12, -8), (15, 5)], (122, 66, 54)),
            ([(0, -17), (12, -8), (15, 5), (3, 5)], (166, 92, 68)),
        ]
        for points, colour in shapes:
            brush.polygon(points, colour, at=(x, top))
        hub = (x, top - 2.0)
        for k in range(4):
            angle = 1.15 * t + 0.4 + k * math.pi / 2
            along, across = (math.sin(angle), -math.cos(angle)), (math.cos(angle), math.sin(angle))

            def place(r: float, s: float, along: Point = along, across: Point = across) -> Point:
                return (hub[0] + r * along[0] + s * across[0], hub[1] + r * along[1] + s * across[1])

            cloth = [place(20, 1.5), place(70, 1.5), place(70, 9.5), place(20, 9.5)]
            brush.polygon(cloth, (250, 240, 220), 0.86 if k % 2 else 0.42)
            for s in (1.5, 6, 11):
                brush.line([place(15, s), place(73, s)], (82, 58, 46), 1.0)
            for r in range(15, 75, 6):
                brush.line([place(r, 0), place(r, 11.5)], (82, 58, 46), 1.0)
            brush.line([place(-6, 0), place(75, 0)], (62, 44, 38), 2.4)
        brush.disc(hub, 3.4, (60, 44, 40))
        brush.draw(canvas)


class Night(Scene):
    """A fair by a river: towers with lit windows, a wheel, a tram behind the hangers of a bridge; all mirrored."""

    stream = 6

    _WATER = 268.0  # the row of the water line

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
        sky = self._gradient([(0, (16, 16, 52)), (0.32, (52, 34, 100)), (0.56, (138, 60, 116)),
                              (0.70, (240, 124, 104)), (0.76, (255, 176, 120))])  # fmt: skip
        x, y = self._grid()
        rng = self._rng()
        for px, py, size, bright in rng.uniform(size=(130, 4)):  # stars
            cx, cy = px * self.width / self.unit, py**1.3 * 190
            radius = 0.55 + 0.5 * size**3
            part = tuple(slice(max(int((c - 4) * self.unit), 0), int((c + 5) * self.unit) + 1) for c in (cy, cx))
            glow = np.exp(-((x[part] - cx) ** 2 + (y[part] - cy) ** 2) / (2 * radius**2))
            sky[part] += (glow * (0.25 + 0.7 * bright) * (1 - cy / 240))[..., None] * _rgb(236, 232, 255)
        # The moon.
        cx, cy, radius = 0.80 * self.width / self.unit, 70.0, 27.0
        distance = np.hypot(x - cx, y - cy)
        sky += (0.30 * np.exp(-((distance / 62) ** 2)))[..., None] * _rgb(255, 226, 200)
        seas = _noise(self._rng(), self.height, self.width, 1.7)
        face = _mix(_rgb(255, 246, 226), _rgb(214, 196, 190), _smoothstep(0.47, 0.60, seas)[..., None])
        face *= (0.90 + 0.10 * np.sqrt(np.clip(1 - (distance / radius) ** 2, 0, 1)))[..., None]
        return _mix(sky, face, np.clip(radius - distance + 0.5, 0, 1)[..., None])

    def _make_clouds(self) -> Float:
        puffs = _noise(self._rng(), self.height, self.period, 1.7, stretch=4)
        y = self._rows()
        window = _smoothstep(0.2, 0.42, y) * (1 - _smoothstep(0.62, 0.76, y))
        colour = _mix(_rgb(64, 36, 92), _rgb(255, 150, 118), np.clip(2.2 * (y - 0.32), 0, 1)[..., None])
        return _colour_mask(0.62 * _smoothstep(0.5, 0.72, puffs) * window, np.broadcast_to(colour, (*puffs.shape, 3)))

    def _make_towers(
        self, count: int, widths: Point, heights: Point, colour: Colour, side: Colour, lit: float
    ) -> Float:
        rng = self._rng()
        brush = self._wide_brush(90)
        for number in range(count):
            x = (number + rng.uniform(-0.3, 0.3)) * self.period_units / count
            w, h = rng.uniform(*widths), rng.uniform(*heights) + rng.uniform() ** 4 * 60
            top = self._WATER - 18 - h
            shade = rng.uniform(0.85, 1.15)
            body = (colour[0] * shade, colour[1] * shade, colour[2] * shade)
            roof, spire = rng.uniform(), rng.uniform()
            brush.box(x, top, x + w, self._WATER + 4, body)
            brush.box(x + 0.72 * w, top, x + w, self._WATER + 4, side)
            if roof < 0.35:  # stepped
                brush.box(x + 0.2 * w, top - 9, x + 0.8 * w, top + 1, body)
            elif roof < 0.55:  # pointed
                brush.polygon([(x, top + 0.5), (x + w / 2, top - 16), (x + w, top + 0.5)], body)
            if spire < 0.4:
                brush.line([(x + w / 2, top - 34), (x + w / 2, top + 1)], side, 1.2)
                brush.disc((x + w / 2, top - 34), 1.2, (255, 84, 72))
            columns, rows = max(2, int(w / 7.5)), max(2, int((h + 10) / 9))
            windows = rng.uniform(size=(40, 12, 2))
            for row in range(min(rows, 40)):
                for column in range(min(columns, 12)):
                    chance, tint = windows[row, column]
                    if chance < lit:
                        glow = [(255, 214, 128), (255, 186, 96), (255, 236, 190), (150, 220, 232)][int(tint * 4)]
                        left, upper = x + 3 + column * (w - 5) / columns, top + 5 + row * 9
                        brush.box(left, upper, left + 3.4, upper + 4.6, glow)
        return brush.wrap(self.period)

    def _make_bank(self) -> Float:
        rng = self._rng()
        span = self.period_units
        brush = self._wide_brush(60)
        for x, y, r, c in rng.uniform(size=(420, 4)):  # trees
            shade = 0.7 + 0.6 * c
            brush.disc((x * span, 254 + 10 * y), 5 + 6 * r, (26 * shade, 22 * shade, 46 * shade))
        brush.box(-60, 262, span + 60, self._WATER + 3, (22, 18, 40))  # the quay
        lamps = 26
        for k in range(-1, lamps + 1):
            x = k * span / lamps
            brush.line([(x, 244), (x, 264)], (20, 16, 36), 1.1)
            brush.disc((x, 243), 2.3, (255, 216, 140))
        bulbs = 150  # and a garland between them
        for k in range(bulbs):
            x, sag = k * span / bulbs, 0.5 - abs((k * lamps / bulbs) % 1 - 0.5)
            tint = [(255, 120, 96), (255, 222, 130), (120, 214, 220)][k % 3]
            brush.disc((x, 247 + 9 * sag * (1 - 0.35 * sag)), 1.15, tint)
        return brush.wrap(self.period)

    def _make_bridge(self) -> Float:
        span = self.period_units
        brush = self._wide_brush(80)
        bays = 2
        bay = span / bays
        deck, dark, edge = 312.0, (26, 20, 44), (96, 64, 104)
        for k in range(-1, bays + 1):
            # The cable hangs as a parabola from tower to tower; hangers go down from it.
            cable = [(k * bay + bay * s / 60, 312 - 14 - 250 * (2 * s / 60 - 1) ** 2) for s in range(61)]
            hangers = round(bay / 26)
            for h in range(1, hangers):
                x = k * bay + bay * h / hangers
                brush.line([(x, 312 - 14 - 250 * (2 * h / hangers - 1) ** 2), (x, deck)], (44, 32, 62), 1.3)
            brush.line(cable, edge, 3.4)
            brush.line([(x, y + 0.9) for x, y in cable], dark, 2.6)
        brush.box(-80, deck, span + 80, 331, dark)
        brush.box(-80, deck, span + 80, 314, edge)
        struts = 2 * round(span / 36)
        for k in range(-6, struts + 6):
            x, (start, end) = k * span / struts, (316, 329) if k % 2 else (329, 316)
            brush.line([(x, start), (x + span / struts, end)], (70, 48, 84), 1.5)
        for k in range(-1, bays + 2):  # towers
            x = k * bay
            for left in (x - 11, x + 5):
                brush.polygon([(left, 40), (left + 6, 40), (left + 8, 362), (left - 2, 362)], dark)
                brush.line([(left + 6, 40), (left + 8, 362)], edge, 1.2)
            for y in (58, 130, 220):
                brush.line([(x - 8, y), (x + 8, y)], dark, 7)
            brush.disc((x, 36), 3, (255, 92, 80))
        lamps = round(span / 52)
        for k in range(-1, lamps + 2):
            x = (k + 0.5) * span / lamps
            brush.line([(x, 290), (x, 312)], dark, 1.4)
            brush.disc((x, 289), 2.6, (255, 230, 176))
        return brush.wrap(self.period)

    def _paint(self, t: float) -> Float:
        canvas = self._sky.copy()
        self._clouds.draw(canvas, t)
        self._far.draw(canvas, t)
        self._middle.draw(canvas, t)
        self._wheel(canvas, t)
        self._bank.draw(canvas, t)
        self._mirror(canvas, t)
        self._tram(canvas, t)
        self._bridge.draw(canvas, t)
        self._bloom(canvas, 0.62, 0.55)
        return canvas

    def _wheel(self, canvas: Float, t: float) -> None:
        x, y, radius = self._wheel_x + 56 * t, 168.0, 84.0
        turn = 0.55 * t
        brush = self._brush(x - 100, y - 100, x + 100, self._WATER + 2)

        def at(angle: float, r: float) -> Point:
            return (x + r * math.cos(angle), y + r * math.sin(angle))

        for side in (-1, 1):
            brush.line([(x, y), (x + side * 40, self._WATER + 1)], (58, 42, 84), 4)
        for k in range(24):  # spokes
            angle = turn + k * math.pi / 12
            brush.line([at(angle, 4), at(angle + 0.05, radius)], (186, 160, 206), 0.8)
        brush.ring((x, y), radius, (214, 120, 170), 2.4)
        for r in (radius - 8, 30):
            brush.ring((x, y), r, (150, 110, 180), 1.2)
        for k in range(72):
            bulb = [(255, 236, 170), (255, 120, 170), (120, 220, 255)][k % 3]
            brush.disc(at(turn + k * math.pi / 36, radius), 1.5, bulb)
        for k in range(12):  # cabins hang: they do not turn with the wheel
            hook = at(turn + (k + 0.5) * math.pi / 6, radius)
            colour = [(240, 92, 84), (250, 196, 84), (92, 196, 190), (206, 126, 232)][k % 4]
            brush.line([hook, (hook[0], hook[1] + 5)], (220, 210, 230), 1.0)
            brush.polygon([(-6, 4), (6, 4), (7, 9), (5, 15), (-5, 15), (-7, 9)], colour, at=hook)
            brush.polygon([(-4.4, 6), (4.4, 6), (4.8, 9.4), (-4.8, 9.4)], (255, 244, 206), at=hook)
        brush.disc((x, y), 6, (255, 214, 150))
        brush.draw(canvas)

    def _tram(self, canvas: Float, t: float) -> None:
        start = -250 + 250 * t
        brush = self._brush(start, 276, start + 250, 316)
        for car in range(3):
            x = start + 4 + car * 82
            body = [(x + 2, 284), (x + 76, 284), (x + 78, 288), (x + 78, 311), (x, 311), (x, 288)]
            brush.polygon(body, (204, 62, 74))
            brush.box(x, 302, x + 78, 304.5, (246, 226, 196))
            for k in range(6):
                left = x + 5 + 12.2 * k
                brush.box(left, 288.5, left + 8.4, 299, (255, 238, 178) if (k + car) % 4 else (210, 226, 230))
                if (k * 7 + car * 5) % 3 == 0:  # a passenger
                    brush.disc((left + 4.2, 295), 2.0, (96, 66, 74))
                    brush.polygon([(1.4, 299), (4.2, 295.6), (7, 299)], (96, 66, 74), at=(left, 0))
            for wheel in (14, 26, 54, 66):
                brush.disc((x + wheel, 311.5), 3.4, (26, 20, 36))
        brush.disc((start + 246, 305), 2.4, (255, 250, 220))
        brush.draw(canvas)

    def _mirror(self, canvas: Float, t: float) -> None:
        """Below the water line: what is above it, upside down, moved by waves."""
        u, line = self.unit, round(self._WATER * self.unit)
        y, x = np.mgrid[: self.height - line, : self.width].astype(np.float32)
        below, across = y / u + 0.5, x / u
        # Waves look closer together far out.
        phase = 120 * np.log1p(below / 22)
        wave = np.sin(0.42 * phase + 0.021 * across + 2.6 * t)
        wave += 0.6 * np.sin(0.93 * phase - 0.034 * across + 3.4 * t + 1)
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
def load_scene(kind: type[Scene], width: int, height: int, seed: int) -> Scene:
    """The scene of this size and seed; the last ones are kept, as making their layers takes a second."""
    return kind(width, height, seed)

"""Synthetic motion with exact flows: layers cut out of photographs, each moving in its own way.

    photographs, frames ─► background + 1..4 layers with masks ─┬─► frame 0
                                                                ├─► frame t,  motion v (exact)
                                                                └─► frame 1

Every layer is described in the coordinates of frame t: a texture, a mask, and the motion v(x) in pixels from frame 0
to frame 1 of what is seen at x. All things move along straight lines at constant speed, so

    F_{t->0} = -t v,    F_{t->1} = (1 - t) v

exactly, and frame 0 shows at y what frame t shows at the x with y = x - t v(x), found by fixed-point iteration. v is
the sum of an affine and a perspective motion and of an elastic one (smooth noise).

Scenes are made ahead of time into a bank of memory-mapped shards: a training process that has one core should spend
it on the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from betwixt.errors import InputError

__all__ = ["Scene", "SyntheticBank", "build_bank", "make_scene"]

Picture = NDArray[np.uint8]

_LATTICE = 4
_MARGIN = 64


@dataclass(frozen=True)
class Scene:
    """Three frames and the motion between the outer two, seen from the middle one.

    Attributes:
        frames: (3, size, size, 3) uint8: frame 0, frame t, frame 1.
        motion: (size, size, 2) float32, v in pixels, (x, y).
        t: The time of the middle frame.
    """

    frames: NDArray[np.uint8]
    motion: NDArray[np.float32]
    t: float


class _Motion:
    """v(x): affine + perspective about a centre, plus smooth noise."""

    def __init__(self, rng: np.random.Generator, size: int, shift: NDArray[np.float64], lively: float) -> None:
        self._centre = rng.uniform(0.2, 0.8, 2) * size
        angle, zoom = rng.normal(0, 0.04, 2) * lively
        shear = rng.normal(0, 0.02, 2) * lively
        self._affine = np.array([[zoom + shear[0], -angle], [angle, zoom + shear[1]]])
        self._shift = shift
        self._tilt = rng.normal(0, 0.04, 2) * lively / size if rng.random() < 0.5 else np.zeros(2)
        self._noise: NDArray[np.float32] | None = None
        if rng.random() < 0.4:
            cells = int(rng.integers(3, 8))
            # The slope of the noise stays well under 1, so that x -> x - t v(x) can be inverted.
            amplitude = rng.uniform(0.02, 0.12) * lively * size / cells
            self._noise = rng.normal(0, amplitude, (cells + 3, cells + 3, 2)).astype(np.float32)
            self._cell = (size + 2 * _MARGIN) / cells

    def __call__(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        d = x - self._centre
        v = d @ self._affine.T + d * (d @ self._tilt)[..., None] + self._shift
        if self._noise is not None:
            place = ((x + _MARGIN) / self._cell + 1).astype(np.float32)
            v = v + cv2.remap(
                self._noise, place[..., 0], place[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
            )
        return np.asarray(v)


class _Layer:
    """A texture with a mask and a motion."""

    def __init__(
        self,
        rng: np.random.Generator,
        sources: Sequence[Picture],
        size: int,
        motion: _Motion,
        mask: Picture | None,
    ) -> None:
        self.motion = motion
        self._mask = mask
        side = size + 2 * _MARGIN
        # Flat patches teach nothing of motion; few of them are enough.
        for _ in range(4):
            source = sources[int(rng.integers(len(sources)))]
            # How many source pixels a pixel shows; more than one is averaged first, so nothing aliases.
            zoom = float(np.exp(rng.uniform(np.log(0.7), np.log(2.5))))
            need = min(int(side * zoom), *source.shape[:2])
            top, left = (int(rng.integers(n - need + 1)) for n in source.shape[:2])
            patch = source[top : top + need, left : left + need]
            if patch[::8, ::8].std() > 25:
                break
        method = cv2.INTER_AREA if need >= side else cv2.INTER_CUBIC
        texture = cv2.resize(patch, (side, side), interpolation=method)
        if rng.random() < 0.5:
            texture = texture[:, ::-1]
        if mask is not None and rng.random() < 0.5:
            gain, offset = rng.uniform(0.6, 1.4, 3), rng.uniform(-30, 30, 3)
            texture = np.clip(texture * gain + offset, 0, 255)
        self._texture = np.ascontiguousarray(texture, np.uint8)
        self._offset = rng.uniform(0, 1, 2)
        self._method = cv2.INTER_CUBIC if rng.random() < 0.6 else cv2.INTER_LINEAR

    def paint(self, places: NDArray[np.float64], size: int) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Colours and mask at `places`, a lattice of positions in frame t."""
        fine = _from_lattice(places + self._offset + _MARGIN, size)
        colours = cv2.remap(self._texture, fine[..., 0], fine[..., 1], self._method, borderMode=cv2.BORDER_REFLECT_101)
        if self._mask is None:
            return np.asarray(colours, np.float32), None
        alpha = cv2.remap(self._mask, fine[..., 0], fine[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
        return np.asarray(colours, np.float32), np.asarray(alpha, np.float32)[..., None] / np.float32(255)


def _lattice(size: int) -> NDArray[np.float64]:
    axis = np.arange(0, size + _LATTICE, _LATTICE, dtype=np.float64)
    return np.stack(np.meshgrid(axis, axis), axis=-1)


def _from_lattice(values: NDArray[np.float64], size: int) -> NDArray[np.float32]:
    scale = np.array([[1 / _LATTICE, 0, 0], [0, 1 / _LATTICE, 0]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    fine = cv2.warpAffine(values.astype(np.float32), scale, (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(fine, np.float32)


def _mask(rng: np.random.Generator, side: int) -> Picture:
    """An object's shape: a blob, a thin structure or foliage-like speckle; (side, side), 255 inside."""
    mask = np.zeros((side, side), np.uint8)
    centre = rng.uniform(_MARGIN, side - _MARGIN, 2)
    kind = rng.random()
    if kind < 0.6:
        angle = np.linspace(0, 2 * np.pi, 96, endpoint=False)
        radius = np.full(96, np.exp(rng.uniform(np.log(8), np.log(70))))
        for k in range(1, 7):
            radius = radius * (1 + rng.normal(0, 0.35 / k) * np.cos(k * angle + rng.uniform(0, 6.3)))
        stretch = np.exp(rng.normal(0, 0.4))
        points = centre + np.stack((radius * np.cos(angle) * stretch, radius * np.sin(angle) / stretch), axis=-1)
        cv2.fillPoly(mask, [np.rint(points * 8).astype(np.int32)], 255, cv2.LINE_AA, 3)
    elif kind < 0.8:
        for _ in range(int(rng.integers(1, 6))):
            start = centre + rng.normal(0, 30, 2)
            points = start + np.cumsum(rng.normal(0, 25, (int(rng.integers(2, 5)), 2)), axis=0)
            width = int(rng.integers(1, 6))
            cv2.polylines(mask, [np.rint(points * 8).astype(np.int32)], False, 255, width, cv2.LINE_AA, 3)
    else:
        cells = int(rng.integers(8, 40))
        noise = cv2.resize(
            rng.normal(0, 1, (cells, cells)).astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC
        )
        y, x = np.mgrid[:side, :side]
        near = np.hypot(x - centre[0], y - centre[1]) / rng.uniform(30, 90)
        mask = (255 / (1 + np.exp(-12 * (noise + 0.6 - near)))).astype(np.uint8)
    if rng.random() < 0.3:
        return np.asarray(cv2.GaussianBlur(mask, (0, 0), float(rng.uniform(0.5, 2.5))), np.uint8)
    return mask


def _shift(rng: np.random.Generator, top: float) -> NDArray[np.float64]:
    """A translation whose length is log-uniform between a third of a pixel and `top`."""
    length, angle = np.exp(rng.uniform(np.log(0.3), np.log(top))), rng.uniform(0, 2 * np.pi)
    return np.array([length * np.cos(angle), length * np.sin(angle)])


def make_scene(rng: np.random.Generator, sources: Sequence[Picture], size: int, top: float = 44.0) -> Scene:
    """One scene.

    Args:
        rng: All chance comes from here.
        sources: Pictures to take textures from, (H, W, 3) uint8.
        size: Side of the square frames.
        top: The largest camera translation, in pixels from frame 0 to frame 1; an object's own comes on top of it.
    """
    t = 0.5 if rng.random() < 0.6 else float(rng.uniform(0.06, 0.94))
    camera = _shift(rng, top)
    layers = [_Layer(rng, sources, size, _Motion(rng, size, camera, 1.0), None)]
    for _ in range(int(rng.integers(0, 5))):
        shift = camera * rng.uniform(0.6, 1.4) + _shift(rng, top * 0.7) * (rng.random() < 0.8)
        mask = _mask(rng, size + 2 * _MARGIN)
        layers.append(_Layer(rng, sources, size, _Motion(rng, size, shift, 1.5), mask))

    grid = _lattice(size)
    frames: list[NDArray[np.float32]] = []
    motion = np.zeros((size, size, 2), np.float32)
    for time in (0.0, t, 1.0):
        picture = np.zeros((size, size, 3), np.float32)
        for layer in layers:
            places = grid
            if time != t:
                for _ in range(6):
                    places = grid + (t - time) * layer.motion(places)
            colours, alpha = layer.paint(places, size)
            picture = colours if alpha is None else picture + alpha * (colours - picture)
            if time == t:
                v = _from_lattice(layer.motion(grid), size)
                motion = v if alpha is None else np.where(alpha > 0.5, v, motion)
        frames.append(picture)
    if rng.random() < 0.2:
        gain = rng.normal(0, 0.06)
        frames = [f * np.float32(1 + gain * (time - t)) for f, time in zip(frames, (0.0, t, 1.0), strict=True)]
    if rng.random() < 0.3:
        sigma = rng.uniform(0.5, 3.0)
        noise = [rng.normal(0, sigma, frames[0].shape).astype(np.float32) for _ in range(2)]
        frames = [frames[0] + noise[0], frames[1], frames[2] + noise[1]]
    return Scene(np.clip(np.rint(np.stack(frames)), 0, 255).astype(np.uint8), motion, t)


def build_bank(
    folder: Path,
    sources: Sequence[Picture],
    shards: Sequence[int],
    *,
    size: int = 192,
    scenes: int = 512,
    seed: int = 0,
) -> None:
    """Write shards of `scenes` scenes each; one that is there already is kept. A shard depends on seed and number."""
    folder.mkdir(parents=True, exist_ok=True)
    for shard in shards:
        name = folder / f"{shard:04d}"
        if name.with_suffix(".times.npy").exists():
            continue
        made = [make_scene(np.random.default_rng((seed, shard, i)), sources, size) for i in range(scenes)]
        np.save(name.with_suffix(".frames.npy"), np.stack([s.frames for s in made]))
        np.save(name.with_suffix(".motion.npy"), np.stack([s.motion for s in made]).astype(np.float16))
        # Last, since its presence says that the shard is whole.
        partial = name.with_suffix(".partial.npy")
        np.save(partial, np.array([s.t for s in made]))
        partial.replace(name.with_suffix(".times.npy"))


class SyntheticBank:
    """Scenes made ahead of time, drawn by a random generator; shards written later are found by `refresh`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names: list[str] = []
        self._shards: list[tuple[NDArray[np.uint8], NDArray[np.float16], NDArray[np.float64]]] = []
        self.refresh()
        if not self._shards:
            raise InputError(f"No synthetic scenes in {folder}: make them first.")

    def refresh(self) -> int:
        """Open shards that are new; returns the number of scenes."""
        for path in sorted(self._folder.glob("*.times.npy")):
            name = path.name.removesuffix(".times.npy")
            if name not in self._names:
                self._names.append(name)
                frames = np.load(self._folder / f"{name}.frames.npy", mmap_mode="r")
                motion = np.load(self._folder / f"{name}.motion.npy", mmap_mode="r")
                self._shards.append((frames, motion, np.load(path)))
        return sum(len(times) for _, _, times in self._shards)

    def draw(self, rng: np.random.Generator, size: int) -> tuple[NDArray[np.uint8], NDArray[np.float32], float]:
        """A crop of a scene: frames (3, size, size, 3), motion (size, size, 2), t."""
        frames, motion, times = self._shards[int(rng.integers(len(self._shards)))]
        i = int(rng.integers(len(times)))
        height, width = frames.shape[2:4]
        top, left = int(rng.integers(height - size + 1)), int(rng.integers(width - size + 1))
        window = (slice(top, top + size), slice(left, left + size))
        return frames[i][:, *window], motion[i][window].astype(np.float32), float(times[i])

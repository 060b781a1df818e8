"""Synthetic scenes with exact motion: layers cut out of photographs, each with its own motion field.

    photographs, frames ─► background + 0..4 layers with masks ─┬─► frame 0
                                                                ├─► frame t,  motion v (exact)
                                                                └─► frame 1

Each layer is defined in the coordinates of frame t: a texture, a mask, and the motion v(x) in pixels from frame 0 to
frame 1 of what is visible at x. Every point moves along a straight line at constant speed, so

    F_{t->0} = -t v,    F_{t->1} = (1 - t) v

exactly. Frame 0 shows at y what frame t shows at the x with y = x - t v(x), found by fixed-point iteration. v is the
sum of

- an affine motion and, for half of the layers, a perspective one: v = a + A d + d (c . d) for d = x - centre, the eight
  parameters of the instantaneous motion of a plane in front of a camera,
- an elastic one, for two fifths of the layers: smooth noise.

Masks are blobs, thin structures of 1 to 5 pixels, and foliage-like speckle. A fraction of the scenes has motion blur:
each frame is the mean over the time the shutter is open. Another fraction changes in brightness from frame to frame;
another has sensor noise on frames 0 and 1. The motion stays exact: where a mask is semi-transparent or an object is
blurred, it is the motion of the layer that covers more than half of the pixel at t.

Scenes are rendered in advance into a bank of memory-mapped shards, or for each sample when it is drawn. The bank is for
machines with few CPU cores, which training needs for the network.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from betwixt.errors import InputError, UsageError
from betwixt.files import write_atomically, write_error
from betwixt.training.clips import load_array, save_array
from betwixt.training.sample import Image, TargetTimes, TrainingSample, check_fractions, time_matches

SCENES_PER_SHARD = 512

_LATTICE = 4
"""Pixels between the points at which motions are computed; in between they are interpolated."""
_MARGIN = 64
"""Pixels that textures and masks extend beyond the frame on each side."""
_TOLERANCE = 0.01
"""Pixels: where the fixed-point iteration of `_render` stops."""


@dataclass(frozen=True)
class SceneRules:
    """The rules by which scenes are generated.

    Attributes:
        times: Target times. "between": t = 1/2 in three fifths of the scenes, else in [0.06, 0.94].
        top: Maximum camera translation, pixels from frame 0 to frame 1; the motion of objects is added to it.
        layers: Maximum number of layers in front of the background.
        perspective: Fraction of the layers with perspective motion.
        elastic: Fraction of the layers with elastic motion.
        thin: Fraction of the masks that are thin structures; a fifth is speckle, the others are blobs.
        blur: Fraction of the scenes with motion blur.
        brightness: Fraction of the scenes that change in brightness.
        noise: Fraction of the scenes with sensor noise.
    """

    times: TargetTimes = "between"
    top: float = 44.0
    layers: int = 4
    perspective: float = 0.5
    elastic: float = 0.4
    thin: float = 0.2
    blur: float = 0.2
    brightness: float = 0.2
    noise: float = 0.3

    def __post_init__(self) -> None:
        fractions = ("perspective", "elastic", "thin", "blur", "brightness", "noise")
        check_fractions({name: getattr(self, name) for name in fractions}, "the synthetic scenes")
        if self.thin > 0.8:
            raise UsageError(f"'thin' in the synthetic scenes has to be at most 0.8, not {self.thin:g}.")
        if not self.top > _MIN_SHIFT:
            raise UsageError(f"'top' in the synthetic scenes has to be above {_MIN_SHIFT} pixels, not {self.top:g}.")
        if self.layers < 0:
            raise UsageError(f"'layers' in the synthetic scenes has to be 0 or more, not {self.layers}.")


_MIN_SHIFT = 0.3
"""Pixels: the shortest translation."""


class _MotionField:
    """v(x): a random affine and perspective motion about a centre, plus smooth noise."""

    def __init__(
        self, rng: np.random.Generator, size: int, shift: NDArray[np.float64], strength: float, rules: SceneRules
    ) -> None:
        self._centre = rng.uniform(0.2, 0.8, 2) * size
        angle, zoom = rng.normal(0, 0.04, 2) * strength
        shear = rng.normal(0, 0.02, 2) * strength
        self._affine = np.array([[zoom + shear[0], -angle], [angle, zoom + shear[1]]])
        self._shift = shift
        self._tilt = rng.normal(0, 0.04, 2) * strength / size if rng.random() < rules.perspective else np.zeros(2)
        self._noise: NDArray[np.float32] | None = None
        if rng.random() < rules.elastic:
            cells = int(rng.integers(3, 8))
            # The slope of the noise stays well below 1, so that x -> x - t v(x) can be inverted.
            amplitude = rng.uniform(0.02, 0.12) * strength * size / cells
            self._noise = rng.normal(0, amplitude, (cells + 3, cells + 3, 2)).astype(np.float32)
            self._cell = (size + 2 * _MARGIN) / cells

    def __call__(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        d = x - self._centre
        v = d @ self._affine.T + d * (d @ self._tilt)[..., None] + self._shift
        if self._noise is not None:
            position = ((x + _MARGIN) / self._cell + 1).astype(np.float32)
            v = v + cv2.remap(
                self._noise, position[..., 0], position[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
            )
        return np.asarray(v)


class _SceneLayer:
    """A texture with a mask (None for the background) and a motion field."""

    def __init__(
        self,
        rng: np.random.Generator,
        sources: Sequence[Image],
        size: int,
        motion: _MotionField,
        mask: NDArray[np.uint8] | None,
    ) -> None:
        self.motion = motion
        self._mask = mask
        side = size + 2 * _MARGIN
        # Prefer patches with texture: motion cannot be seen in flat ones.
        for _ in range(4):
            source = sources[int(rng.integers(len(sources)))]
            # Source pixels per scene pixel; above 1 the patch is area-averaged, which avoids aliasing.
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

    def paint(
        self, positions: NDArray[np.float64], size: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Sample colours (size, size, 3) in [0, 255] and mask (size, size, 1) in [0, 1] at positions on the lattice."""
        fine = _from_lattice(positions + self._offset + _MARGIN, size)
        colours = cv2.remap(self._texture, fine[..., 0], fine[..., 1], self._method, borderMode=cv2.BORDER_REFLECT_101)
        if self._mask is None:
            return np.asarray(colours, np.float32), None
        alpha = cv2.remap(self._mask, fine[..., 0], fine[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
        return np.asarray(colours, np.float32), np.asarray(alpha, np.float32)[..., None] / np.float32(255)


def _lattice(size: int) -> NDArray[np.float64]:
    """The (x, y) coordinates of every fourth pixel."""
    axis = np.arange(0, size + _LATTICE, _LATTICE, dtype=np.float64)
    return np.stack(np.meshgrid(axis, axis), axis=-1)


def _from_lattice(values: NDArray[np.float64], size: int) -> NDArray[np.float32]:
    """Interpolate values on the lattice to all pixels, linearly."""
    scale = np.array([[1 / _LATTICE, 0, 0], [0, 1 / _LATTICE, 0]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    fine = cv2.warpAffine(values.astype(np.float32), scale, (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(fine, np.float32)


def _draw_mask(rng: np.random.Generator, side: int, thin: float) -> NDArray[np.uint8]:
    """A random mask: a blob, a thin structure or foliage-like speckle; (side, side), 255 inside."""
    mask = np.zeros((side, side), np.uint8)
    centre = rng.uniform(_MARGIN, side - _MARGIN, 2)
    kind = rng.random()
    if kind < 0.8 - thin:
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
        distance = np.hypot(x - centre[0], y - centre[1]) / rng.uniform(30, 90)
        mask = (255 / (1 + np.exp(-12 * (noise + 0.6 - distance)))).astype(np.uint8)
    if rng.random() < 0.3:
        return np.asarray(cv2.GaussianBlur(mask, (0, 0), float(rng.uniform(0.5, 2.5))), np.uint8)
    return mask


def _draw_translation(rng: np.random.Generator, top: float) -> NDArray[np.float64]:
    """A random translation whose length is log-uniform between `_MIN_SHIFT` and `top` pixels."""
    length, angle = np.exp(rng.uniform(np.log(_MIN_SHIFT), np.log(top))), rng.uniform(0, 2 * np.pi)
    return np.array([length * np.cos(angle), length * np.sin(angle)])


def make_scene(
    rng: np.random.Generator, textures: Sequence[Image], size: int, rules: SceneRules | None = None
) -> TrainingSample:
    """Generate a scene of `size` x `size` pixels with its motion; layers are cut out of the textures."""
    rules = rules or SceneRules()
    t = 0.5 if rules.times == "middle" else 2.0
    if rules.times == "between":
        t = 0.5 if rng.random() < 0.6 else float(rng.uniform(0.06, 0.94))
    layers = _draw_layers(rng, textures, size, t, rules)
    motion = _motion_at(layers, size)
    exposure = _draw_exposure(rng, motion, rules)
    frames = []
    for time in (0.0, t, 1.0):
        images = [_render(layers, time + instant - t, size) for instant in exposure]
        frames.append(images[0] if len(images) == 1 else np.mean(images, axis=0, dtype=np.float32))
    if rng.random() < rules.brightness:
        gain = rng.normal(0, 0.06)
        frames = [f * np.float32(1 + gain * (time - t)) for f, time in zip(frames, (0.0, t, 1.0), strict=True)]
    if rng.random() < rules.noise:
        sigma = rng.uniform(0.5, 3.0)
        noise = [rng.normal(0, sigma, frames[0].shape).astype(np.float32) for _ in range(2)]
        frames = [frames[0] + noise[0], frames[1], frames[2] + noise[1]]
    return TrainingSample(np.clip(np.rint(np.stack(frames)), 0, 255).astype(np.uint8), t, motion)


def _draw_layers(
    rng: np.random.Generator, textures: Sequence[Image], size: int, t: float, rules: SceneRules
) -> list[_SceneLayer]:
    """A background that moves with the camera, and layers in front of it with parallax and a motion of their own."""
    # With t = 2 a frame is twice as far from t; half the strength keeps the motion invertible.
    strength = 1.0 / max(1.0, t)
    camera = _draw_translation(rng, rules.top)
    layers = [_SceneLayer(rng, textures, size, _MotionField(rng, size, camera, strength, rules), None)]
    for _ in range(int(rng.integers(0, rules.layers + 1))):
        parallax = camera * rng.uniform(0.6, 1.4)
        own = _draw_translation(rng, max(rules.top * 0.7, 2 * _MIN_SHIFT))
        shift = parallax + own * (rng.random() < 0.8)
        mask = _draw_mask(rng, size + 2 * _MARGIN, rules.thin)
        layers.append(_SceneLayer(rng, textures, size, _MotionField(rng, size, shift, 1.5 * strength, rules), mask))
    return layers


def _draw_exposure(rng: np.random.Generator, motion: NDArray[np.float32], rules: SceneRules) -> Sequence[float]:
    """The instants, relative to a frame's time, whose mean makes the frame; one without motion blur."""
    if not (rules.blur > 0 and rng.random() < rules.blur):
        return (0.0,)
    # Frames 0 and 1 are two frames of a video apart, so the shutter is open for at most half of the interval.
    shutter = float(rng.uniform(0.05, 0.5))
    blur_length = shutter * float(np.hypot(motion[..., 0], motion[..., 1]).max())
    steps = int(np.clip(np.ceil(blur_length), 3, 12))
    return [shutter * ((k + 0.5) / steps - 0.5) for k in range(steps)]


def _render(layers: Sequence[_SceneLayer], offset: float, size: int) -> NDArray[np.float32]:
    """Render the scene at time t + `offset`: (size, size, 3) in [0, 255]."""
    grid = _lattice(size)
    image = np.zeros((size, size, 3), np.float32)
    for layer in layers:
        positions = grid
        if offset:
            for step in range(24):
                previous, positions = positions, grid - offset * layer.motion(positions)
                if step >= 5 and np.abs(positions - previous).max() < _TOLERANCE:
                    break
        colours, alpha = layer.paint(positions, size)
        image = colours if alpha is None else image + alpha * (colours - image)
    return image


def _motion_at(layers: Sequence[_SceneLayer], size: int) -> NDArray[np.float32]:
    """The motion of the visible layer at each pixel of frame t: (size, size, 2)."""
    grid = _lattice(size)
    motion = np.zeros((size, size, 2), np.float32)
    for layer in layers:
        v = _from_lattice(layer.motion(grid), size)
        alpha = layer.paint(grid, size)[1]
        motion = v if alpha is None else np.where(alpha > 0.5, v, motion)
    return motion


class SyntheticScenes:
    """A `SampleSource` that renders a new scene for each sample; layers are cut out of the textures."""

    def __init__(self, textures: Sequence[Image], rules: SceneRules | None = None) -> None:
        if not textures:
            raise InputError("There are no images to make synthetic scenes from.")
        self._textures, self._rules = textures, rules or SceneRules()

    def draw(self, rng: np.random.Generator, size: int) -> TrainingSample:
        return make_scene(rng, self._textures, size, self._rules)


def build_bank(
    folder: Path,
    textures: Sequence[Image],
    shards: Sequence[int],
    *,
    size: int = 192,
    scenes: int = SCENES_PER_SHARD,
    seed: int = 0,
    rules: SceneRules | None = None,
) -> None:
    """Render shards of `scenes` scenes each; existing shards are kept. A shard depends on `seed` and its number.

    The file rules.json in the folder records the rules.
    """
    if not textures:
        raise InputError("There are no images to make synthetic scenes from.")
    rules = rules or SceneRules()
    claim_bank(folder, size, rules, seed)
    for shard in shards:
        if has_shard(folder, shard):
            continue
        samples = [make_scene(np.random.default_rng((seed, shard, i)), textures, size, rules) for i in range(scenes)]
        motion = np.stack([s.motion for s in samples if s.motion is not None])
        save_array(folder / f"{shard:04d}.frames.npy", np.stack([s.images for s in samples]))
        save_array(folder / f"{shard:04d}.motion.npy", motion.astype(np.float16))
        # Written last: its presence marks the shard as complete.
        save_array(shard_mark(folder, shard), np.array([s.t for s in samples]))


def has_shard(folder: Path, shard: int) -> bool:
    """Whether a shard exists and is complete."""
    return shard_mark(folder, shard).exists()


def shard_mark(folder: Path, shard: int) -> Path:
    """The file of a shard that is written last."""
    return folder / f"{shard:04d}.times.npy"


def claim_bank(folder: Path, size: int, rules: SceneRules, seed: int = 0) -> None:
    """Record the rules of a bank in its folder; `InputError` if it has scenes that were made with other rules."""
    path = folder / "rules.json"
    rules_now: dict[str, Any] = {"size": size, "seed": seed, **asdict(rules)}
    if not path.exists():
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise write_error(error, folder) from None
        # A bank without rules.json is from an older version; it is used as it is.
        if not any(folder.glob("*.times.npy")):
            write_atomically(path, json.dumps(rules_now, indent=1) + "\n")
        return
    try:
        recorded = dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        raise InputError(f"{path} is damaged: remove {folder} and prepare the data again.") from None
    for name, value in rules_now.items():
        if recorded.get(name) != value:
            raise InputError(
                f"The scenes in {folder} were made with {name} = {recorded.get(name)}, not {value}: remove the folder, "
                "or use another `cache`."
            )


class SyntheticBank:
    """A `SampleSource` of pre-rendered scenes.

    Args:
        folder: A folder made by `build_bank`.
        times: Which scenes are drawn; "between" includes those of t = 1/2.
        names: Names of the shards; None: all that exist.
    """

    def __init__(self, folder: Path, times: TargetTimes = "between", names: Sequence[str] | None = None) -> None:
        if names is None:
            names = [path.name.removesuffix(".times.npy") for path in sorted(folder.glob("*.times.npy"))]
        self._arguments = (folder, times, names)
        self._shards: list[tuple[NDArray[np.uint8], NDArray[np.float16], NDArray[np.float64], NDArray[np.intp]]] = []
        for name in names:
            frames = load_array(folder / f"{name}.frames.npy", mapped=True)
            motion = load_array(folder / f"{name}.motion.npy", mapped=True)
            t = load_array(folder / f"{name}.times.npy")
            usable = np.flatnonzero([time_matches(times, value) for value in t])
            if len(usable):
                self._shards.append((frames, motion, t, usable))
        if not self._shards:
            raise InputError(f"There are no synthetic scenes in {folder}: prepare the data first.")

    def __reduce__(self) -> tuple[Any, ...]:
        # Another process opens the same shards itself, without those that were added since.
        return SyntheticBank, self._arguments

    def __len__(self) -> int:
        return sum(len(usable) for _, _, _, usable in self._shards)

    def draw(self, rng: np.random.Generator, size: int) -> TrainingSample:
        frames, motion, times, usable = self._shards[int(rng.integers(len(self._shards)))]
        i = usable[int(rng.integers(len(usable)))]
        height, width = frames.shape[2:4]
        if size > min(height, width):
            raise UsageError(
                f"The scenes in {self._arguments[0]} are {width}x{height}, smaller than {size}x{size}, a crop with its "
                "margin: set a smaller 'crop' in [train], or a larger 'size' in [[data]]."
            )
        top, left = int(rng.integers(height - size + 1)), int(rng.integers(width - size + 1))
        window = (slice(top, top + size), slice(left, left + size))
        return TrainingSample(frames[i][:, *window], float(times[i]), motion[i][window].astype(np.float32))

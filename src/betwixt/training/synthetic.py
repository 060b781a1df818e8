"""Synthetic motion with exact flows: layers cut out of photographs, each moving in its own way.

    photographs, frames ─► background + 0..4 layers with masks ─┬─► frame 0
                                                                ├─► frame t,  motion v (exact)
                                                                └─► frame 1

Every layer is described in the coordinates of frame t: a texture, a mask, and the motion v(x) in pixels from frame 0
to frame 1 of what is seen at x. All things move along straight lines at constant speed, so

    F_{t->0} = -t v,    F_{t->1} = (1 - t) v

exactly, and frame 0 shows at y what frame t shows at the x with y = x - t v(x), found by fixed-point iteration. v is
the sum of

- an affine motion and, of half of the layers, a perspective one: v = a + A d + d (c . d) for d = x - centre, the eight
  numbers that the motion of a plane before a camera has at an instant,
- an elastic one, of two fifths of the layers: smooth noise.

Masks are blobs, thin structures of 1 to 5 pixels, and speckle as foliage has it. A share of the scenes is blurred by
motion: each frame is the mean of what is seen while the shutter is open, around its time; another changes in brightness
from frame to frame; another has sensor noise on the frames that are given. What the motion says stays exact: where a
mask is half transparent or a thing is blurred, it is that of the layer that covers more than half of the pixel at t.

Scenes are made ahead of time into a bank of memory-mapped shards, since a training process that has one core should
spend it on the network, or for every sample anew where cores are many.
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
from betwixt.training.clips import load_array
from betwixt.training.sample import Image, TargetTimes, TrainingSample, check_shares

__all__ = [
    "SceneRules",
    "SyntheticBank",
    "SyntheticScenes",
    "build_bank",
    "claim_bank",
    "has_shard",
    "make_scene",
]

_LATTICE = 4
_MARGIN = 64
_EXACT = 0.01
"""Pixels by which what a frame shows may lie beside where the motion says it does."""


@dataclass(frozen=True)
class SceneRules:
    """What scenes are like.

    Attributes:
        times: "between": t = 1/2 in three fifths of the scenes, else between 0.06 and 0.94; "middle"; "next".
        top: The largest camera translation, in pixels from frame 0 to frame 1; an object's own comes on top of it.
        layers: The largest number of layers before the background.
        perspective: Share of the layers that move in perspective.
        elastic: Share of the layers that are deformed.
        thin: Share of the masks that are thin structures; a fifth is speckle, the others are blobs.
        blur: Share of the scenes that are blurred by motion.
        brightness: Share of the scenes that change in brightness.
        noise: Share of the scenes with sensor noise.
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
        shares = ("perspective", "elastic", "thin", "blur", "brightness", "noise")
        check_shares({name: getattr(self, name) for name in shares}, "the synthetic scenes")
        if self.thin > 0.8:
            raise UsageError(f"'thin' in the synthetic scenes is at most 0.8, not {self.thin:g}: a fifth is speckle.")
        if not self.top > _SHORTEST:
            raise UsageError(f"'top' in the synthetic scenes is more than {_SHORTEST} pixels, not {self.top:g}.")
        if self.layers < 0:
            raise UsageError(f"'layers' in the synthetic scenes is 0 or more, not {self.layers}.")


_SHORTEST = 0.3
"""Pixels: the shortest translation."""


class _MotionField:
    """v(x): affine + perspective about a centre, plus smooth noise."""

    def __init__(
        self, rng: np.random.Generator, size: int, shift: NDArray[np.float64], lively: float, rules: SceneRules
    ) -> None:
        self._centre = rng.uniform(0.2, 0.8, 2) * size
        angle, zoom = rng.normal(0, 0.04, 2) * lively
        shear = rng.normal(0, 0.02, 2) * lively
        self._affine = np.array([[zoom + shear[0], -angle], [angle, zoom + shear[1]]])
        self._shift = shift
        self._tilt = rng.normal(0, 0.04, 2) * lively / size if rng.random() < rules.perspective else np.zeros(2)
        self._noise: NDArray[np.float32] | None = None
        if rng.random() < rules.elastic:
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


class _SceneLayer:
    """A texture with a mask and a motion."""

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


def _mask(rng: np.random.Generator, side: int, thin: float) -> NDArray[np.uint8]:
    """An object's shape: a blob, a thin structure or foliage-like speckle; (side, side), 255 inside."""
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
        near = np.hypot(x - centre[0], y - centre[1]) / rng.uniform(30, 90)
        mask = (255 / (1 + np.exp(-12 * (noise + 0.6 - near)))).astype(np.uint8)
    if rng.random() < 0.3:
        return np.asarray(cv2.GaussianBlur(mask, (0, 0), float(rng.uniform(0.5, 2.5))), np.uint8)
    return mask


def _shift(rng: np.random.Generator, top: float) -> NDArray[np.float64]:
    """A translation whose length is log-uniform between a third of a pixel and `top`."""
    length, angle = np.exp(rng.uniform(np.log(_SHORTEST), np.log(top))), rng.uniform(0, 2 * np.pi)
    return np.array([length * np.cos(angle), length * np.sin(angle)])


def make_scene(
    rng: np.random.Generator, textures: Sequence[Image], size: int, rules: SceneRules | None = None
) -> TrainingSample:
    """One scene, with its motion.

    Args:
        rng: All chance comes from here.
        textures: Pictures to cut layers out of, (H, W, 3) uint8.
        size: Side of the square frames.
        rules: What the scene is like; by default `SceneRules()`.
    """
    rules = rules or SceneRules()
    t = 0.5 if rules.times == "middle" else 2.0
    if rules.times == "between":
        t = 0.5 if rng.random() < 0.6 else float(rng.uniform(0.06, 0.94))
    # Twice as far from t, a frame could fold where a motion as lively still can be inverted.
    lively = 1.0 / max(1.0, t)
    camera = _shift(rng, rules.top)
    layers = [_SceneLayer(rng, textures, size, _MotionField(rng, size, camera, lively, rules), None)]
    for _ in range(int(rng.integers(0, rules.layers + 1))):
        shift = camera * rng.uniform(0.6, 1.4) + _shift(rng, max(rules.top * 0.7, 2 * _SHORTEST)) * (rng.random() < 0.8)
        mask = _mask(rng, size + 2 * _MARGIN, rules.thin)
        layers.append(_SceneLayer(rng, textures, size, _MotionField(rng, size, shift, 1.5 * lively, rules), mask))

    motion = _motion_at(layers, size)
    instants: tuple[float, ...] = (0.0,)
    if rules.blur > 0 and rng.random() < rules.blur:
        # The shutter is open for at most all the time between two frames of a video, of which every other is given.
        shutter = float(rng.uniform(0.05, 0.5))
        path = shutter * float(np.hypot(motion[..., 0], motion[..., 1]).max())
        steps = int(np.clip(np.ceil(path), 3, 12))
        instants = tuple(shutter * ((k + 0.5) / steps - 0.5) for k in range(steps))
    frames = []
    for time in (0.0, t, 1.0):
        seen = [_render(layers, time + instant - t, size) for instant in instants]
        frames.append(seen[0] if len(seen) == 1 else np.mean(seen, axis=0, dtype=np.float32))
    if rng.random() < rules.brightness:
        gain = rng.normal(0, 0.06)
        frames = [f * np.float32(1 + gain * (time - t)) for f, time in zip(frames, (0.0, t, 1.0), strict=True)]
    if rng.random() < rules.noise:
        sigma = rng.uniform(0.5, 3.0)
        noise = [rng.normal(0, sigma, frames[0].shape).astype(np.float32) for _ in range(2)]
        frames = [frames[0] + noise[0], frames[1], frames[2] + noise[1]]
    return TrainingSample(np.clip(np.rint(np.stack(frames)), 0, 255).astype(np.uint8), t, motion)


def _render(layers: Sequence[_SceneLayer], later: float, size: int) -> NDArray[np.float32]:
    """The scene at t + `later`."""
    grid = _lattice(size)
    image = np.zeros((size, size, 3), np.float32)
    for layer in layers:
        places = grid
        if later:
            for step in range(24):
                before, places = places, grid - later * layer.motion(places)
                if step >= 5 and np.abs(places - before).max() < _EXACT:
                    break
        colours, alpha = layer.paint(places, size)
        image = colours if alpha is None else image + alpha * (colours - image)
    return image


def _motion_at(layers: Sequence[_SceneLayer], size: int) -> NDArray[np.float32]:
    """The motion of what is seen at t."""
    grid = _lattice(size)
    motion = np.zeros((size, size, 2), np.float32)
    for layer in layers:
        v = _from_lattice(layer.motion(grid), size)
        alpha = layer.paint(grid, size)[1]
        motion = v if alpha is None else np.where(alpha > 0.5, v, motion)
    return motion


class SyntheticScenes:
    """Scenes made for every sample anew: a source.

    Args:
        textures: See `make_scene`.
        rules: See `make_scene`.
    """

    def __init__(self, textures: Sequence[Image], rules: SceneRules | None = None) -> None:
        if not textures:
            raise InputError("No pictures to make synthetic scenes of.")
        self._textures, self._rules = textures, rules or SceneRules()

    def draw(self, rng: np.random.Generator, size: int) -> TrainingSample:
        """See `SampleSource`."""
        return make_scene(rng, self._textures, size, self._rules)


def build_bank(
    folder: Path,
    textures: Sequence[Image],
    shards: Sequence[int],
    *,
    size: int = 192,
    scenes: int = 512,
    seed: int = 0,
    rules: SceneRules | None = None,
) -> None:
    """Write shards of `scenes` scenes each; one that is there already is kept. A shard depends on seed and number.

    Beside the shards stands what they are like (rules.json).

    Raises:
        InputError: if the folder holds scenes that were made by other rules.
    """
    if not textures:
        raise InputError("No pictures to make synthetic scenes of.")
    rules = rules or SceneRules()
    claim_bank(folder, size, rules, seed)
    for shard in shards:
        if has_shard(folder, shard):
            continue
        name = folder / f"{shard:04d}"
        made = [make_scene(np.random.default_rng((seed, shard, i)), textures, size, rules) for i in range(scenes)]
        try:
            np.save(name.with_suffix(".frames.npy"), np.stack([s.images for s in made]))
            motion = np.stack([s.motion for s in made if s.motion is not None])
            np.save(name.with_suffix(".motion.npy"), motion.astype(np.float16))
            # Last, since its presence says that the shard is whole.
            partial = name.with_suffix(".partial.npy")
            np.save(partial, np.array([s.t for s in made]))
            partial.replace(name.with_suffix(".times.npy"))
        except OSError as error:
            raise write_error(error, name.with_suffix(".npy")) from None


def has_shard(folder: Path, shard: int) -> bool:
    """Whether a shard is there, and whole."""
    return (folder / f"{shard:04d}.times.npy").exists()


def claim_bank(folder: Path, size: int, rules: SceneRules, seed: int = 0) -> None:
    """Write into the folder of a bank by which rules it is made, or compare where that is written already.

    Raises:
        InputError: if the folder holds scenes that were made by other rules.
    """
    path = folder / "rules.json"
    asked: dict[str, Any] = {"size": size, "seed": seed, **asdict(rules)}
    if not path.exists():
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise write_error(error, folder) from None
        # A bank that does not say is older than this file; it stays what it is.
        if not any(folder.glob("*.times.npy")):
            write_atomically(path, json.dumps(asked, indent=1) + "\n")
        return
    try:
        known = dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        raise InputError(f"{path} is damaged: remove {folder} and prepare the data again.") from None
    for name, value in asked.items():
        if known.get(name) != value:
            raise InputError(
                f"The scenes in {folder} were made with {name} = {known.get(name)}, and {value} is asked for: remove "
                "that folder, or take another cache."
            )


class SyntheticBank:
    """Scenes made ahead of time: a source. Shards written later are found by `refresh`.

    Args:
        folder: As `build_bank` made it.
        times: Which of the scenes are drawn. "between" takes those of "middle" too.
    """

    def __init__(self, folder: Path, times: TargetTimes = "between") -> None:
        self._folder, self._times = folder, times
        self._names: list[str] = []
        self._shards: list[tuple[NDArray[np.uint8], NDArray[np.float16], NDArray[np.float64], NDArray[np.intp]]] = []
        self.refresh()
        if not self._shards:
            raise InputError(f"No synthetic scenes in {folder}: make them first.")

    def __getstate__(self) -> tuple[Path, TargetTimes, list[str]]:
        return self._folder, self._times, self._names

    def __setstate__(self, state: tuple[Path, TargetTimes, list[str]]) -> None:
        # Another process opens the same shards itself, and none that are new.
        self._folder, self._times, names = state
        self._names, self._shards = [], []
        for name in names:
            self._open(name)

    def refresh(self) -> int:
        """Open shards that are new; returns the number of scenes that are drawn from."""
        for path in sorted(self._folder.glob("*.times.npy")):
            name = path.name.removesuffix(".times.npy")
            if name not in self._names:
                self._open(name)
        return sum(len(usable) for _, _, _, usable in self._shards)

    def _open(self, name: str) -> None:
        frames = load_array(self._folder / f"{name}.frames.npy", mapped=True)
        motion = load_array(self._folder / f"{name}.motion.npy", mapped=True)
        times = load_array(self._folder / f"{name}.times.npy")
        fits = {"middle": times == 0.5, "between": (times > 0) & (times < 1), "next": times == 2.0}
        self._names.append(name)
        usable = np.flatnonzero(fits[self._times])
        if len(usable):
            self._shards.append((frames, motion, times, usable))

    def draw(self, rng: np.random.Generator, size: int) -> TrainingSample:
        """See `SampleSource`: a crop of a scene."""
        frames, motion, times, usable = self._shards[int(rng.integers(len(self._shards)))]
        i = usable[int(rng.integers(len(usable)))]
        height, width = frames.shape[2:4]
        if size > min(height, width):
            raise UsageError(
                f"The scenes in {self._folder} are {width}x{height}, smaller than {size}x{size}, the crop with its "
                "margin: take a smaller crop, or make larger scenes (size)."
            )
        top, left = int(rng.integers(height - size + 1)), int(rng.integers(width - size + 1))
        window = (slice(top, top + size), slice(left, left + size))
        return TrainingSample(frames[i][:, *window], float(times[i]), motion[i][window].astype(np.float32))

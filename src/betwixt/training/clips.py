"""Real motion: folders of clips, decoded once, and the triplets that are worth learning from.

    clips/*.mp4 ──decode──► cache/clips/NAME.npy             (frames, height, width, 3) uint8, memory-mapped
                ├──age────► cache/clips/NAME~aged.npy        the same as old footage has it: small, MPEG-4
                └─measure─► cache/clips/NAME.triplets.npy    rows of first frame, gap, position, motion, error

A triplet is two frames `gap` apart and one between them, at t = position / gap. What it holds is measured on grey
frames a quarter of the size with DIS optical flow: how far the ends move, and how well the frame between is predicted
by warping both ends to it. Left out are

- duplicates: the frame between repeats one of the ends,
- static triplets: 95 % of the picture moves less than `STATIC` pixels,
- cuts and near-impossible motion: the prediction has less than `IMPOSSIBLE` dB.
"""

from __future__ import annotations

import io
import multiprocessing
import zlib
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from betwixt.errors import InputError
from betwixt.files import error_text, write_error
from betwixt.training.deterministic_opencv import make_opencv_deterministic
from betwixt.training.sample import TargetTimes, TrainingSample

__all__ = ["ClipRule", "RealTriplets", "build_clip_cache", "load_array", "usable"]

DUPLICATE = 0.4
"""Mean grey-level difference under which two frames are the same picture."""
STATIC = 0.35
"""Pixels; see above."""
IMPOSSIBLE = 20.0
"""dB; see above."""
AGED = "~aged"
"""What the name of a clip in old footage's quality ends in."""
AGED_SHARE = 0.4
"""How often such a clip is drawn for each time that the clip itself is."""
STEPS: tuple[tuple[int, int], ...] = ((2, 1), (4, 2), (6, 3), (3, 1), (3, 2))
"""(gap, position) of the triplets that are cut: t = 1/2 at strides 1 to 3, and thirds."""


@dataclass(frozen=True)
class ClipRule:
    """What may be taken from one clip: frames before `end` seconds, with this weight in the mix."""

    end: float | None = None
    weight: float | None = None


def build_clip_cache(clips: Sequence[Path], cache: Path, rules: Mapping[str, ClipRule], jobs: int = 1) -> None:
    """Decode `clips` into `cache` and measure their triplets; a clip that is there already is kept.

    Args:
        clips: Video files. Their stems name them and must differ.
        cache: Folder for the decoded frames, about 0.7 MB a frame at 640x360.
        rules: By stem, what to take of a clip.
        jobs: Processes at work.
    """
    if not clips:
        raise InputError("No clips to learn from: the data folder holds no video.")
    names = [path.stem for path in clips]
    twin = next((name for name in names if names.count(name) > 1), None)
    if twin is not None:
        raise InputError(f"Two clips are called '{twin}': a clip goes by its name without suffix. Rename one.")
    folder = cache / "clips"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(error, folder) from None
    # The largest first, so that none is left over at the end.
    work = [(p, folder, rules.get(p.stem, ClipRule())) for p in sorted(clips, key=lambda p: -p.stat().st_size)]
    if jobs == 1 or all((folder / f"{name}{AGED}.triplets.npy").exists() for name in names):
        for item in work:
            _cache_clip(*item)
        return
    with ProcessPoolExecutor(
        jobs, mp_context=multiprocessing.get_context("spawn"), initializer=make_opencv_deterministic
    ) as pool:
        for future in [pool.submit(_cache_clip, *item) for item in work]:
            future.result()


def _cache_clip(path: Path, folder: Path, rule: ClipRule) -> None:
    cv2.setNumThreads(1)
    target = folder / f"{path.stem}.npy"
    if not target.exists():
        _decode(path, target, rule.end)
    aged = folder / f"{path.stem}{AGED}.npy"
    if not aged.exists():
        _save(aged, _age(load_array(target, mapped=True), np.random.default_rng(zlib.crc32(path.stem.encode()))))
    for frames in (target, aged):
        measured = frames.with_suffix(".triplets.npy")
        if not measured.exists():
            _save(measured, _measure(load_array(frames, mapped=True)))


def _save(path: Path, array: NDArray[Any]) -> None:
    partial = path.with_suffix(".partial.npy")
    try:
        np.save(partial, array)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise write_error(error, path) from None


def load_array(path: Path, mapped: bool = False) -> NDArray[Any]:
    """An array of a cache; with `mapped` it stays on the disk and is read as it is used.

    Raises:
        InputError: if it is missing or damaged.
    """
    try:
        return np.asanyarray(np.load(path, mmap_mode="r" if mapped else None))
    except FileNotFoundError:
        raise InputError(f"{path} is missing: prepare the data again.") from None
    except (OSError, ValueError, EOFError):
        raise InputError(f"{path} is damaged: remove it and prepare the data again.") from None


def _age(frames: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """The clip as old footage has it: 240 lines, MPEG-4 part 2 with B-frames, of a quality that changes."""
    height, width = frames.shape[1:3]
    ratio = min(1.0, 240 / min(height, width))
    size = (round(width * ratio) // 2 * 2, round(height * ratio) // 2 * 2)
    result = []
    for start in range(0, len(frames), 240):
        file = io.BytesIO()
        with av.open(file, "w", format="avi") as out:
            stream = out.add_stream("mpeg4", rate=25, options={"bf": str(int(rng.integers(0, 3)))})
            stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
            stream.codec_context.qmin = stream.codec_context.qmax = int(rng.integers(2, 9))
            for image in frames[start : start + 240]:
                small = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
                out.mux(stream.encode(av.VideoFrame.from_ndarray(small, format="rgb24")))
            out.mux(stream.encode(None))
        file.seek(0)
        with av.open(file, "r") as container:
            result += [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return np.stack(result)


def _decode(path: Path, target: Path, end: float | None) -> None:
    frames: list[NDArray[np.uint8]] = []
    try:
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                if end is not None and frame.time is not None and frame.time >= end:
                    break
                frames.append(np.asarray(frame.to_ndarray(format="rgb24"), np.uint8))
    except (av.error.FFmpegError, OSError, IndexError) as error:
        raise InputError(f"{path} cannot be decoded after {len(frames)} frames: {error_text(error)}.") from None
    if not frames:
        raise InputError(f"{path} holds no frame{'' if end is None else f' before {end:g} s'}: leave it out.")
    if any(frame.shape != frames[0].shape for frame in frames):
        raise InputError(f"{path} changes its size on the way: leave it out, or encode it in one size.")
    _save(target, np.stack(frames))


def _measure(frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Rows of (first frame, gap, position, motion in pixels, error in dB) of the usable triplets."""
    height, width = frames.shape[1:3]
    scale = 160 / max(height, width)
    size = (round(width * scale), round(height * scale))
    grey = [cv2.cvtColor(cv2.resize(f, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY) for f in frames]
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    x, y = np.meshgrid(np.arange(size[0], dtype=np.float32), np.arange(size[1], dtype=np.float32))
    step = np.array([np.abs(a.astype(np.int16) - b).mean() for a, b in pairwise(grey)])
    nothing: Any = None  # cv2 takes it for "no flow to start from"; its stubs do not
    rows = []
    for gap in sorted({gap for gap, _ in STEPS}):
        for start in range(len(grey) - gap):
            first, last = grey[start], grey[start + gap]
            # A repeated frame anywhere inside means that the positions are not the times.
            if step[start : start + gap].min() < DUPLICATE:
                continue
            forward, backward = dis.calc(first, last, nothing), dis.calc(last, first, nothing)
            motion = float(np.percentile(np.hypot(forward[..., 0], forward[..., 1]), 95)) / scale
            if motion < STATIC:
                continue
            for position in (p for g, p in STEPS if g == gap):
                t = position / gap
                places = [(x + s * f[..., 0], y + s * f[..., 1]) for s, f in ((t, backward), (1 - t, forward))]
                a, b = (cv2.remap(p, u, v, cv2.INTER_LINEAR) for p, (u, v) in zip((first, last), places, strict=True))
                # What enters or leaves at the border is not held against a triplet.
                seen = np.ones(first.shape, bool)
                for u, v in places:
                    seen &= (u >= 0) & (u <= size[0] - 1) & (v >= 0) & (v <= size[1] - 1)
                error = ((1 - t) * a.astype(np.float32) + t * b - grey[start + position])[seen]
                psnr = 10 * np.log10(255**2 / max(float(np.mean(error**2)), 1e-3)) if error.size else 0.0
                if psnr >= IMPOSSIBLE:
                    rows.append((start, gap, position, motion, psnr))
    return np.asarray(rows, np.float32).reshape(-1, 5)


class RealTriplets:
    """Crops of real triplets out of a clip cache: a source of samples whose motion is not known.

    Clips are drawn with their weights (by default the square root of their number of triplets, so that a long clip
    does not drown the others), triplets with more motion a little more often.

    Args:
        cache: As `build_clip_cache` made it.
        rules: By the names of clips; their `weight` counts here. A clip of weight 0 is never drawn.
        times: Which frames are to be learned. "next" takes the triplets of "middle", the last frame being the truth.
        gaps: How far apart the outer frames of a triplet may lie; empty for all that were measured.
        exclude: Names of clips that are in the cache and are not to be drawn.
    """

    def __init__(
        self,
        cache: Path,
        rules: Mapping[str, ClipRule] | None = None,
        times: TargetTimes = "between",
        gaps: Sequence[int] = (),
        exclude: Collection[str] = (),
    ) -> None:
        self._made_of = (cache, rules, times, gaps, exclude)
        self._times = times
        self._clips: list[NDArray[np.uint8]] = []
        self._rows: list[NDArray[np.float32]] = []
        self._odds: list[NDArray[np.float64]] = []
        weights = []
        for path in sorted((cache / "clips").glob("*.triplets.npy")):
            name = path.name.removesuffix(".triplets.npy")
            if name.removesuffix(AGED) in exclude:
                continue
            rows = load_array(path)
            if times != "between":
                rows = rows[rows[:, 2] * 2 == rows[:, 1]]
            if gaps:
                rows = rows[np.isin(rows[:, 1], gaps)]
            if not len(rows):
                continue
            aged = name.endswith(AGED)
            self._clips.append(load_array(path.with_name(f"{name}.npy"), mapped=True))
            self._rows.append(rows)
            # t = 1/2 is most of what is asked for; the wider gaps are the harder motion.
            share = np.where(rows[:, 2] * 2 == rows[:, 1], 1.0, 0.25)
            odds = share * np.clip(rows[:, 3], 1.0, 16.0) ** 0.5
            self._odds.append(np.cumsum(odds / odds.sum()))
            rule = (rules or {}).get(name.removesuffix(AGED), ClipRule())
            weight = rule.weight if rule.weight is not None else float(np.sqrt(len(rows)))
            weights.append(weight * (AGED_SHARE if aged else 1.0))
        if not weights:
            raise InputError(
                f"No usable triplet in {cache / 'clips'}: the clips are static, too short or too wild, or not there."
            )
        if not sum(weights) > 0:
            raise InputError(f"No clip of {cache / 'clips'} has a weight above 0: nothing is left to be drawn.")
        self.shares = np.asarray(weights) / np.sum(weights)
        self._cumulative = np.cumsum(self.shares)

    def __reduce__(self) -> tuple[Any, ...]:
        # Another process opens the cache itself: what is mapped does not travel.
        return RealTriplets, self._made_of

    def __len__(self) -> int:
        return sum(len(rows) for rows in self._rows)

    def draw(self, rng: np.random.Generator, size: int) -> TrainingSample:
        """See `SampleSource`. A clip smaller than `size` is enlarged."""
        clip = min(int(np.searchsorted(self._cumulative, rng.random())), len(self._clips) - 1)
        row = min(int(np.searchsorted(self._odds[clip], rng.random())), len(self._rows[clip]) - 1)
        start, gap, position = (int(v) for v in self._rows[clip][row, :3])
        frames = self._clips[clip]
        height, width = frames.shape[1:3]
        # A quarter of the crops show up to twice the picture, made smaller: smaller things, cleaner pixels.
        side = min(2 * size, height, width) if rng.random() < 0.25 or size > min(height, width) else size
        best, activity = (0, 0), -1.0
        for _ in range(2):
            top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
            a = frames[start, top : top + side : 4, left : left + side : 4, 1].astype(np.int16)
            b = frames[start + gap, top : top + side : 4, left : left + side : 4, 1]
            change = float(np.abs(a - b).mean())
            if change > activity:
                best, activity = (top, left), change
        top, left = best
        places, t = (start, start + position, start + gap), position / gap
        if self._times == "next":
            places, t = (start, start + gap, start + position), 2.0
        crop = [frames[i, top : top + side, left : left + side] for i in places]
        if side != size:
            crop = [np.asarray(cv2.resize(c, (size, size), interpolation=cv2.INTER_AREA), np.uint8) for c in crop]
        return TrainingSample(np.stack(crop), t)


def usable(cache: Path) -> dict[str, int]:
    """The number of usable triplets of every clip."""
    paths = sorted((cache / "clips").glob("*.triplets.npy"))
    return {path.name.removesuffix(".triplets.npy"): len(load_array(path)) for path in paths}

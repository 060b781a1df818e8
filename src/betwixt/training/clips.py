"""Real motion: folders of clips, decoded once, and the triplets of frames in them that are useful for training.

    clips/*.mp4 ──decode───► cache/clips/NAME.npy             (frames, height, width, 3) uint8, memory-mapped
                ├──degrade─► cache/clips/NAME~aged.npy        the same in the quality of old footage: small, MPEG-4
                └──measure─► cache/clips/NAME.triplets.npy    rows of first frame, gap, position, motion, PSNR

A triplet is two frames `gap` apart and one between them, at t = position / gap. It is measured on grey frames of 160
pixels on the longer side with DIS optical flow: how far the outer frames move, and how well warping them predicts the
middle one. Left out are

- duplicates: a frame repeats the one before it,
- static triplets: 95 % of the pixels move less than `STATIC` pixels,
- cuts and motion too hard to follow: the predicted middle frame has less than `IMPOSSIBLE` dB PSNR.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from betwixt.errors import InputError
from betwixt.files import error_text, file_url, write_error
from betwixt.training.deterministic_opencv import run_in_processes
from betwixt.training.preparation_progress import PreparationProgress, count_files, watch_files
from betwixt.training.sample import Image, TargetTimes, TrainingSample
from betwixt.training.sample_masks import WholeFrameMasks

DUPLICATE = 0.4
"""Mean absolute difference in grey levels below which two frames are duplicates."""
STATIC = 0.35
"""Pixels of motion below which a triplet is static."""
IMPOSSIBLE = 20.0
"""dB of PSNR below which a triplet is left out."""
AGED = "~aged"
"""Suffix of the names of degraded clips."""
AGED_SHARE = 0.4
"""Weight of a degraded clip, relative to the clip itself."""
STEPS: tuple[tuple[int, int], ...] = ((2, 1), (4, 2), (6, 3), (3, 1), (3, 2))
"""(gap, position) of the triplets: t = 1/2 at strides 1 to 3, and t = 1/3 and 2/3."""


@dataclass(frozen=True)
class ClipRule:
    """How one clip is used."""

    end: float | None = None  # use only frames before this time in seconds
    weight: float | None = None  # relative frequency of the clip; by default the square root of its number of triplets


def build_clip_cache(
    clips: Sequence[Path],
    cache: Path,
    rules: Mapping[str, ClipRule],
    jobs: int = 1,
    progress: PreparationProgress | None = None,
) -> None:
    """Decode `clips` into `cache` and measure their triplets. Clips that are already cached are kept.

    Args:
        clips: Video files with unique stems, which become their names.
        cache: Folder for the decoded frames, about 0.7 MB per frame at 640x360.
        rules: By name, how a clip is used.
        jobs: Number of processes.
        progress: Called with how many of the cache's files are made; each clip has four.
    """
    if not clips:
        raise InputError("There are no clips to train on: the data folder has no video.")
    names = [path.stem for path in clips]
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise InputError(
            f"Two clips are called '{repeated}': a clip's name is its file name without suffix. Rename one."
        )
    folder = cache / "clips"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(error, folder) from None
    files = [file for name in names for file in _cached_files(folder, name)]
    if count_files(files) == len(files):
        return
    # The largest first, so that no process is left with a long clip at the end.
    largest_first = sorted(clips, key=lambda path: -path.stat().st_size)
    arguments = [(path, folder, rules.get(path.stem, ClipRule())) for path in largest_first]
    with watch_files(f"preparing {len(clips)} clip{'s' * (len(clips) > 1)}", files, "files", progress):
        run_in_processes(_cache_clip, arguments, jobs)


def _cached_files(folder: Path, name: str) -> list[Path]:
    """The files of a clip in the cache: its frames, degraded ones, and the triplets of both."""
    decoded, degraded = folder / f"{name}.npy", folder / f"{name}{AGED}.npy"
    return [decoded, degraded, *(frames.with_suffix(".triplets.npy") for frames in (decoded, degraded))]


def _cache_clip(path: Path, folder: Path, rule: ClipRule) -> None:
    decoded, degraded, *_ = _cached_files(folder, path.stem)
    if not decoded.exists():
        save_array(decoded, _decode(path, rule.end))
    if not degraded.exists():
        rng = np.random.default_rng(zlib.crc32(path.stem.encode()))
        save_array(degraded, _degrade(load_array(decoded, mapped=True), rng))
    for frames in (decoded, degraded):
        triplets = frames.with_suffix(".triplets.npy")
        if not triplets.exists():
            save_array(triplets, _measure_triplets(load_array(frames, mapped=True)))


def save_array(path: Path, array: NDArray[Any]) -> None:
    """Save an array in the cache, atomically."""
    partial = path.with_suffix(".partial.npy")
    try:
        np.save(partial, array)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise write_error(error, path) from None


def load_array(path: Path, mapped: bool = False) -> NDArray[Any]:
    """Load an array of the cache; with `mapped` it is memory-mapped."""
    try:
        return np.asanyarray(np.load(path, mmap_mode="r" if mapped else None))
    except FileNotFoundError:
        raise InputError(f"{path} is missing: prepare the data again.") from None
    except (OSError, ValueError, EOFError):
        raise InputError(f"{path} is damaged: remove it and prepare the data again.") from None


def _decode(path: Path, end: float | None) -> NDArray[np.uint8]:
    frames: list[Image] = []
    try:
        with av.open(file_url(path)) as container:
            for frame in container.decode(video=0):
                if end is not None and frame.time is not None and frame.time >= end:
                    break
                frames.append(np.asarray(frame.to_ndarray(format="rgb24"), np.uint8))
    except (av.error.FFmpegError, OSError, IndexError) as error:
        raise InputError(f"{path} cannot be decoded after {len(frames)} frames: {error_text(error)}.") from None
    if not frames:
        raise InputError(f"{path} has no frame{'' if end is None else f' before {end:g} s'}: exclude it.")
    if any(frame.shape != frames[0].shape for frame in frames):
        raise InputError(f"{path} changes its frame size: exclude it, or encode it in one size.")
    return np.stack(frames)


def _degrade(frames: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """The clip in the quality of old footage: 240 lines, MPEG-4 Part 2 with B-frames, with a varying quantizer."""
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


def _measure_triplets(frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Rows of (first frame, gap, position, motion in pixels, PSNR in dB) of the triplets that are kept."""
    height, width = frames.shape[1:3]
    scale = 160 / max(height, width)
    size = (round(width * scale), round(height * scale))
    grey = [cv2.cvtColor(cv2.resize(f, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY) for f in frames]
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    x, y = np.meshgrid(np.arange(size[0], dtype=np.float32), np.arange(size[1], dtype=np.float32))
    change = np.array([np.abs(a.astype(np.int16) - b).mean() for a, b in pairwise(grey)])
    no_initial_flow: Any = None  # OpenCV accepts it; its type stubs do not
    rows = []
    for gap in sorted({gap for gap, _ in STEPS}):
        for start in range(len(grey) - gap):
            first, last = grey[start], grey[start + gap]
            # With a repeated frame anywhere inside, frame positions are not times.
            if change[start : start + gap].min() < DUPLICATE:
                continue
            forward, backward = dis.calc(first, last, no_initial_flow), dis.calc(last, first, no_initial_flow)
            motion = float(np.percentile(np.hypot(forward[..., 0], forward[..., 1]), 95)) / scale
            if motion < STATIC:
                continue
            for position in (p for g, p in STEPS if g == gap):
                # Warp both outer frames to time t and compare their blend with the true frame.
                t = position / gap
                maps = [(x + s * f[..., 0], y + s * f[..., 1]) for s, f in ((t, backward), (1 - t, forward))]
                a, b = (cv2.remap(p, u, v, cv2.INTER_LINEAR) for p, (u, v) in zip((first, last), maps, strict=True))
                # Pixels that enter or leave the frame do not count.
                inside = np.ones(first.shape, bool)
                for u, v in maps:
                    inside &= (u >= 0) & (u <= size[0] - 1) & (v >= 0) & (v <= size[1] - 1)
                error = ((1 - t) * a.astype(np.float32) + t * b - grey[start + position])[inside]
                psnr = 10 * np.log10(255**2 / max(float(np.mean(error**2)), 1e-3)) if error.size else 0.0
                if psnr >= IMPOSSIBLE:
                    rows.append((start, gap, position, motion, psnr))
    return np.asarray(rows, np.float32).reshape(-1, 5)


class RealTriplets:
    """Random crops of real triplets from a clip cache: a `SampleSource` with unknown motion.

    Clips are drawn by their weights, by default the square root of their number of triplets, so that a long clip does
    not dominate. Within a clip, triplets with more motion are drawn a little more often.

    Args:
        cache: A folder made by `build_clip_cache`.
        rules: By name of the clip; their `weight` is used. A clip of weight 0 is never drawn.
        times: Target times. "next" takes the triplets of "middle" and makes the last frame the target.
        gaps: Allowed gaps between the outer frames of a triplet; empty: all that were measured.
        exclude: Names of cached clips that are never drawn.

    Attributes:
        masks: Finds the masks of the samples, in whole frames; None for samples without.
    """

    masks: WholeFrameMasks | None = None

    def __init__(
        self,
        cache: Path,
        rules: Mapping[str, ClipRule] | None = None,
        times: TargetTimes = "between",
        gaps: Sequence[int] = (),
        exclude: Collection[str] = (),
    ) -> None:
        self._arguments = (cache, rules, times, gaps, exclude)
        self._times = times
        self._clips: list[NDArray[np.uint8]] = []
        self._names: list[str] = []
        self._rows: list[NDArray[np.float32]] = []
        self._cumulative_odds: list[NDArray[np.float64]] = []
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
            self._clips.append(load_array(path.with_name(f"{name}.npy"), mapped=True))
            self._names.append(name.removesuffix(AGED))
            self._rows.append(rows)
            # t = 1/2 is the most common request; larger motion is harder, so it is drawn more often.
            odds = np.where(rows[:, 2] * 2 == rows[:, 1], 1.0, 0.25) * np.clip(rows[:, 3], 1.0, 16.0) ** 0.5
            self._cumulative_odds.append(np.cumsum(odds / odds.sum()))
            rule = (rules or {}).get(name.removesuffix(AGED), ClipRule())
            weight = rule.weight if rule.weight is not None else float(np.sqrt(len(rows)))
            weights.append(weight * (AGED_SHARE if name.endswith(AGED) else 1.0))
        if not weights:
            raise InputError(f"{cache / 'clips'} has no usable triplet: the clips are missing, static or too short.")
        if not sum(weights) > 0:
            raise InputError(f"All clips of {cache / 'clips'} have weight 0: give one a weight above 0.")
        self.probabilities = np.asarray(weights) / np.sum(weights)
        self._cumulative = np.cumsum(self.probabilities)

    def __reduce__(self) -> tuple[Any, ...]:
        # Another process opens the cache itself; memory maps are not pickled.
        return RealTriplets, self._arguments

    def __len__(self) -> int:
        return sum(len(rows) for rows in self._rows)

    def draw(self, rng: np.random.Generator, size: int) -> TrainingSample:
        """Draw a sample of `size` x `size` pixels. A clip smaller than `size` is enlarged."""
        clip = min(int(np.searchsorted(self._cumulative, rng.random())), len(self._clips) - 1)
        row = min(int(np.searchsorted(self._cumulative_odds[clip], rng.random())), len(self._rows[clip]) - 1)
        start, gap, position = (int(v) for v in self._rows[clip][row, :3])
        frames = self._clips[clip]
        height, width = frames.shape[1:3]
        # A quarter of the crops cover up to twice the area in each direction and are downscaled: smaller objects,
        # cleaner pixels.
        side = min(2 * size, height, width) if rng.random() < 0.25 or size > min(height, width) else size
        # Of two random crops, take the one in which more changes.
        corner, largest = (0, 0), -1.0
        for _ in range(2):
            top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
            a = frames[start, top : top + side : 4, left : left + side : 4, 1].astype(np.int16)
            b = frames[start + gap, top : top + side : 4, left : left + side : 4, 1]
            change = float(np.abs(a - b).mean())
            if change > largest:
                corner, largest = (top, left), change
        top, left = corner
        numbers, t = (start, start + position, start + gap), position / gap
        if self._times == "next":
            numbers, t = (start, start + gap, start + position), 2.0
        crops = [frames[number, top : top + side, left : left + side] for number in numbers]
        labels = None
        if self.masks is not None:
            ends = (numbers[0], numbers[2])
            found = self.masks.labels(frames[ends[0]], frames[ends[1]], self._names[clip], ends)
            labels = found[:, top : top + side, left : left + side]
        if side != size:
            crops = [np.asarray(cv2.resize(c, (size, size), interpolation=cv2.INTER_AREA), np.uint8) for c in crops]
        if side != size and labels is not None:
            resized = [cv2.resize(each, (size, size), interpolation=cv2.INTER_NEAREST) for each in labels]
            labels = np.asarray(np.stack(resized), np.uint8)
        return TrainingSample(np.stack(crops), t, labels=labels)

"""Frame interpolation in VapourSynth scripts.

    from betwixt.integrations.vapoursynth import interpolate
    clip = interpolate(clip, factor_num=2)

Each frame of the result has a small filter graph of its own, which asks for what the frame needs:

    clip ──► thumbnails, with _SceneChangePrev and _SceneChangeNext ──► cuts ─┐
      └────► the source frames from -1 to 2, or from -3 to 4 ─────────────────┴─► frame at t

So any frame can be asked for at any time, and several are made side by side. Source frames that fall on an output time
are passed on; samples stay in the clip's format. What was computed for the latest pairs of frames is kept: the next
frames need it.

Motion follows curves through the frames at -1 and 2. To find the static overlays of each of the three pairs, the two
frames before the pair and the two after it are used, as far as they belong to the same shot.
"""

from __future__ import annotations

import functools
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Container, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor
from pathlib import Path
from typing import TypeVar

import av
import cv2
import numpy as np

try:
    import vapoursynth as vs
except ImportError:
    raise ImportError("This needs VapourSynth: pip install vapoursynth, with Python 3.12 or later.") from None

from betwixt.backends import openvino
from betwixt.errors import BetwixtError, InputError, UsageError
from betwixt.integrations.vapoursynth_frames import FrameFormat, colour_of_props
from betwixt.media.colour import Colour
from betwixt.media.frames import Plane, fill_planes, planes
from betwixt.media.overlays import LOOK_AHEAD
from betwixt.media.scenes import CutFinder, make_thumbnail, thumbnail_size
from betwixt.models.base import Interpolator, check_interpolates
from betwixt.models.registry import DEFAULT_MODEL
from betwixt.pipeline.options import check_choice
from betwixt.pipeline.planner import MAX_EXTRAPOLATION
from betwixt.runtime.load import load_model
from betwixt.runtime.synthesis import PairSynthesis, SourceFrame, Synthesizer

# Plugins are loaded at the first use of `vs.core`, and one may bring another build of OpenVINO. A process uses the
# build that it loads first.
if openvino.is_available():
    openvino.missing("cpu")

K = TypeVar("K")
V = TypeVar("V")

Lengths = Callable[[int], Fraction]
"""The duration of a source frame in seconds, by its number."""

_MOST_FRAMES = 2**31 - 1
"""The length of VapourSynth's longest possible clip, in frames."""

_LARGEST = 2**63 - 1
"""The largest number in a frame rate."""

_TYPES: dict[type, tuple[tuple[type, ...], str]] = {
    bool: ((int,), "True or False"),
    int: ((int,), "an integer"),
    float: ((int, float), "a number"),
    str: ((str,), "a text"),
    Path: ((str, Path), "a path"),
}
"""What `check_type` accepts for a type, and how messages name it."""

_KEPT = 32
"""How many of a clip's latest frames are cached: as many as the frames in progress may depend on."""

_CUT = "_BetwixtCut"
"""The property of a 1x1 frame that says whether there is a cut before the source frame of that number."""


def interpolate(
    clip: vs.VideoNode,
    model: str | Interpolator = DEFAULT_MODEL,
    factor_num: int = 2,
    factor_den: int = 1,
    fps_num: int | None = None,
    fps_den: int | None = None,
    scale: float | None = None,
    sc: bool = True,
    sc_threshold: float | None = None,
    num_streams: int | None = None,
    device: str = "auto",
    *,
    weights: str | Path | None = None,
    paths: str = "curved",
    at_cuts: str = "continue",
    overlays: str = "auto",
) -> vs.VideoNode:
    """Interpolate a clip to a higher frame rate.

    Args:
        clip: A clip of constant format: YUV, RGB or GRAY, 8 to 16 bit or 32-bit float.
        model: A model's name (`betwixt models`), or a loaded model.
        factor_num: The result has this many frames for each `factor_den` frames of the clip.
        factor_den: See `factor_num`; the quotient is at least 1.
        fps_num: Instead of a factor: the result's frame rate, at least that of the clip.
        fps_den: Its denominator, 1 by default.
        scale: The resolution at which motion is estimated, relative to the model's own: 0.25, 0.5, 1, 2 or 4. For dis,
            fast, ema-vfi and the versions of RIFE 4.
        sc: Whether no frame is blended across a scene cut. Cuts are where the frame properties _SceneChangePrev and
            _SceneChangeNext say so; where a frame has neither, Betwixt's own detector decides.
        sc_threshold: In place of that detector: the mean absolute difference of two frames, 0 to 1, above which there
            is a cut between them.
        num_streams: How many frames are made at the same time; by default one for each thread of VapourSynth.
        device: Where the model runs, as for `betwixt.load_model`.
        weights: A weights file, as for `betwixt.load_model`.
        paths: "curved" or "straight", as for `betwixt.interpolate_video`.
        at_cuts: Next to a cut, "continue" the motion of the shot or "hold" its nearest frame.
        overlays: "auto" to keep static overlays (subtitles, logos, displays) intact over a moving picture, or "off".

    Returns:
        A clip of the same format. Its frame properties have exact durations and, if `sc`, the cuts: _SceneChangeNext of
            the last frame of a shot and _SceneChangePrev of the next one are 1, those of other frames 0.

    Raises:
        vapoursynth.Error: for arguments that are out of range, formats that are not supported, and models that cannot
            be loaded; in one line.
    """
    try:
        check_type(int, factor_num=factor_num, factor_den=factor_den)
        check_type(int, True, fps_num=fps_num, fps_den=fps_den, num_streams=num_streams)
        check_type(float, True, scale=scale, sc_threshold=sc_threshold)
        check_type(bool, sc=sc)
        check_type(str, device=device)
        check_type(Path, True, weights=weights)
        check_choice("paths", paths, ("curved", "straight"))
        check_choice("at_cuts", at_cuts, ("continue", "hold"))
        check_choice("overlays", overlays, ("auto", "off"))
        if sc_threshold is not None and not 0 <= sc_threshold <= 1:
            raise UsageError(f"`sc_threshold` is {sc_threshold:g}: it has to lie between 0 and 1.")
        source = _Source(clip)
        factor = _factor(clip, factor_num, factor_den, fps_num, fps_den)
        loaded = load_model(model, device, weights=weights) if isinstance(model, str) else model
        if not isinstance(loaded, Interpolator):
            raise UsageError(f"`model` is {model!r}: it has to be a name of `betwixt models`, or a loaded model.")
        check_interpolates(loaded)
        loaded = loaded if scale is None else loaded.with_scale(scale)
        streams = min(vs.core.num_threads, os.cpu_count() or 1) if num_streams is None else num_streams
        if streams < 1:
            raise UsageError(f"`num_streams` is {streams}: it has to be at least 1.")
        # Threads of OpenCV's own would split single frames.
        cv2.setNumThreads(1 if streams > 1 else -1)
        loaded.set_concurrency(streams)
        maker = _FrameMaker(
            source, loaded, 1 / factor, streams, paths == "curved", at_cuts == "continue", overlays == "auto"
        )
        return _interpolated(source, maker, factor, _find_cuts(source, sc_threshold) if sc else None)
    except BetwixtError as error:
        raise vs.Error(f"betwixt: {error}") from None


def check_type(type_: type, optional: bool = False, **values: object) -> None:
    """Refuse arguments that are not of a type: `bool`, `int`, `float`, `str` or `Path`.

    Integers count as floats, 0 and 1 as truth values, and texts as paths.

    Args:
        type_: The type.
        optional: Whether None is taken, too.
        **values: The arguments, by their names.

    Raises:
        UsageError: naming the argument.
    """
    accepted, kind = _TYPES[type_]
    for name, value in values.items():
        fits = isinstance(value, accepted) and (type_ is not bool or value in (0, 1))
        if not fits and not (optional and value is None):
            raise UsageError(f"`{name}` is {value!r}: it has to be {kind}.")


def _factor(clip: vs.VideoNode, factor_num: int, factor_den: int, fps_num: int | None, fps_den: int | None) -> Fraction:
    """How many frames are made for each frame of the clip."""
    if fps_num is None:
        if fps_den is not None:
            raise UsageError("`fps_den` needs `fps_num`.")
        if not 1 <= factor_den <= factor_num <= _MOST_FRAMES:
            limits = f"it has to be at least 1, and its numbers at most {_MOST_FRAMES}"
            raise UsageError(f"The factor {factor_num}/{factor_den} is out of range: {limits}.")
        factor = Fraction(factor_num, factor_den)
    elif not clip.fps:
        raise UsageError("The clip's frame rate is variable: give `factor_num` in place of `fps_num`.")
    else:
        fps_den = 1 if fps_den is None else fps_den
        if not (1 <= fps_num <= _MOST_FRAMES and 1 <= fps_den <= _MOST_FRAMES):
            raise UsageError(f"The rate {fps_num}/{fps_den} is out of range.")
        rate, own = Fraction(fps_num, fps_den), Fraction(clip.fps)
        if rate < own:
            raise UsageError(f"The rate {float(rate):.6g} is lower than the clip's {float(own):.6g}.")
        factor = rate / own
    rate = clip.fps * factor
    if max(rate.numerator, rate.denominator) > _LARGEST:
        raise UsageError(f"The factor {factor} is out of range: VapourSynth cannot state the rate.")
    return factor


class _Source:
    """The clip, and its frames as Betwixt reads them.

    Attributes:
        clip: The clip.
        format: Its format.
    """

    def __init__(self, clip: vs.VideoNode) -> None:
        if not isinstance(clip, vs.VideoNode):
            raise UsageError("`clip` is not a VapourSynth clip.")
        if clip.format.color_family == vs.UNDEFINED or not clip.width or not clip.height:
            raise InputError("The clip's format or size is variable: convert it to one format first.")
        self.clip = clip
        _keep_frames(clip)
        self.format = FrameFormat(clip.format)

    def __len__(self) -> int:
        return int(self.clip.num_frames)

    def to_video(self, number: int, frame: vs.VideoFrame) -> av.VideoFrame:
        """A frame of the clip as a video frame of FFmpeg."""
        video = av.VideoFrame(frame.width, frame.height, self.format.pixel_format)
        try:
            fill_planes(video, self.format.read(frame))
        except InputError as error:
            raise InputError(f"Frame {number}: {error}") from None
        colour = self.colour(frame)
        video.colorspace, video.color_range = colour.matrix, colour.range
        video.color_primaries, video.color_trc = colour.primaries, colour.transfer
        return video

    def colour(self, frame: vs.VideoFrame) -> Colour:
        """The colour description of a frame."""
        return colour_of_props(frame.props, self.format)


# -- cuts


def _find_cuts(source: _Source, threshold: float | None) -> vs.VideoNode:
    """A clip of 1x1 frames, whose property `_CUT` says whether there is a cut before the same frame of the source."""
    width, height = thumbnail_size(source.clip.width, source.clip.height)
    blank = vs.core.std.BlankClip(source.clip, width, height, vs.RGB24, keep=True)

    def shrink(n: int, f: list[vs.VideoFrame]) -> vs.VideoFrame:
        frame, small = f[0], f[1].copy()
        thumbnail = make_thumbnail(source.to_video(n, frame))
        for plane in range(3):
            np.copyto(np.asarray(small[plane]), thumbnail[..., 2 - plane])
        for name in ("_SceneChangePrev", "_SceneChangeNext"):
            if name in frame.props:
                small.props[name] = frame.props[name]
        return small

    thumbnails = vs.core.std.ModifyFrame(blank, [source.clip, blank], _in_one_line(shrink))
    _keep_frames(thumbnails)
    mark = vs.core.std.BlankClip(source.clip, 1, 1, vs.GRAY8, keep=True)
    finder = CutFinder(len(source))

    def mark_cut(number: int) -> vs.VideoNode:
        window = finder.window(number) if threshold is None else range(max(0, number - 1), number + 1)

        def decide(n: int, f: list[vs.VideoFrame]) -> vs.VideoFrame:
            marked = f[-1].copy()
            marked.props[_CUT] = int(_is_cut(number, dict(zip(window, f, strict=False)), finder, threshold))
            return marked

        return vs.core.std.ModifyFrame(mark, [*(thumbnails[k] for k in window), mark], _in_one_line(decide))

    return vs.core.std.FrameEval(mark, lambda n: mark_cut(n))  # it passes n by name


def _is_cut(number: int, frames: dict[int, vs.VideoFrame], finder: CutFinder, threshold: float | None) -> bool:
    """Whether there is a cut before frame `number`, from its thumbnail and those of the frames around it."""
    if not number:
        return False
    stated = _stated_cut(frames[number], frames[number - 1])
    if stated is not None:
        return stated
    images = [np.stack([np.asarray(frame[plane]) for plane in (2, 1, 0)], axis=-1) for frame in frames.values()]
    if threshold is None:
        return finder.is_cut(number, images)
    before, after = (image.astype(np.float32).mean(axis=2) for image in images)
    return float(np.abs(after - before).mean()) / 255 > threshold


def _stated_cut(frame: vs.VideoFrame | None, before: vs.VideoFrame | None) -> bool | None:
    """What the properties of a frame and of the one before it say about a cut between them; None if nothing."""
    for end, name in ((frame, "_SceneChangePrev"), (before, "_SceneChangeNext")):
        if end is not None and name in end.props:
            return bool(end.props[name])
    return None


# -- frames


@dataclass(frozen=True)
class _Slot:
    """Where a frame of the result lies in the clip.

    Attributes:
        number: The source frame at or before it.
        t: Its distance from that, in source frames, 0 <= t < 1.
        step: The distance of two frames of the result, in source frames.
    """

    number: int
    t: Fraction
    step: Fraction

    @property
    def nearest(self) -> int:
        """The source frame that it is nearest to: beside a cut, the frame shows the shot of that one."""
        return self.number + (self.t >= Fraction(1, 2))

    def duration(self, lengths: Lengths) -> Fraction:
        """How long it is shown, in seconds."""
        rest = max(Fraction(0), self.t + self.step - 1)
        return (self.step - rest) * lengths(self.number) + (rest * lengths(self.number + 1) if rest else 0)


class _FrameMaker:
    """Makes frames between source frames, in any order and in several threads.

    It has a thread pool of its own. To Python, each call from a thread of VapourSynth comes from a new thread, which
    ends with the call: what networks keep for each thread would be made anew for each frame, and OpenVINO fails when it
    is freed that way.

    Args:
        source: The clip.
        model: The model.
        step: The distance of two frames of the result, in source frames.
        streams: How many frames are made at the same time.
        curved: Whether motion follows curved paths.
        continues: Whether motion is continued next to a cut.
        overlays: Whether static overlays are kept.

    Attributes:
        reach: How many frames before the two that a new frame lies between, and after them, it may depend on.
    """

    def __init__(
        self,
        source: _Source,
        model: Interpolator,
        step: Fraction,
        streams: int,
        curved: bool,
        continues: bool,
        overlays: bool,
    ) -> None:
        self._source, self._model, self._step = source, model, step
        self._curved, self._continues = curved and model.uses_neighbours, continues
        self._overlays = overlays
        self.reach = 1 + (LOOK_AHEAD if overlays else 0)
        self._threads = ThreadPoolExecutor(streams, "betwixt-vapoursynth")
        self._lock = threading.Lock()
        self._synthesizers: dict[Colour, Synthesizer] = {}
        self._frames: OrderedDict[int, SourceFrame] = OrderedDict()
        self._pairs: OrderedDict[tuple[int, int], PairSynthesis] = OrderedDict()
        self._kept = 2 * (streams + 2 + self.reach)

    def make(
        self, slot: _Slot, frames: Mapping[int, vs.VideoFrame], cuts: Container[int], lengths: Lengths
    ) -> list[Plane] | int:
        """The frame at a slot between two source frames.

        Args:
            slot: The slot, t > 0.
            frames: The two source frames and up to `reach` before and after them, by their numbers.
            cuts: The numbers of those that follow a cut, except for the first of them.
            lengths: The duration of a source frame of these, in seconds, by its number.

        Returns:
            Its planes, or the number of the source frame to show in its place, next to a cut.
        """
        return self._threads.submit(self._make, slot, frames, cuts, lengths).result()

    def _make(
        self, slot: _Slot, frames: Mapping[int, vs.VideoFrame], cuts: Container[int], lengths: Lengths
    ) -> list[Plane] | int:
        number = slot.number
        if number + 1 in cuts:
            return self._beside_cut(slot, frames, cuts, lengths)
        pair = self._pair(number, number + 1, frames, cuts)
        if self._curved:
            self._link(number - 1, frames, cuts, lengths)
            self._link(number, frames, cuts, lengths)
        (video,) = pair.synthesize([slot.t])
        return planes(video)

    def _beside_cut(
        self, slot: _Slot, frames: Mapping[int, vs.VideoFrame], cuts: Container[int], lengths: Lengths
    ) -> list[Plane] | int:
        """The motion of the nearer shot, continued; or the number of its frame next to the cut."""
        if slot.t < Fraction(1, 2):
            second, first, time = slot.number, slot.number - 1, slot.t
            known, length = second not in cuts, lengths(first) if first in frames else Fraction(1)
        else:
            second, first, time = slot.number + 1, slot.number + 2, 1 - slot.t
            known, length = first not in cuts, lengths(second)
        distance = time * lengths(slot.number) / length
        if not self._continues or first not in frames or not known or distance > MAX_EXTRAPOLATION:
            return second
        pair = self._pair(first, second, frames, cuts)
        if not pair.can_continue():
            return second
        (video,) = pair.move_second([distance])
        return planes(video)

    def _pair(
        self, first: int, second: int, frames: Mapping[int, vs.VideoFrame], cuts: Container[int]
    ) -> PairSynthesis:
        with self._lock:
            if (first, second) not in self._pairs:
                sources = self._frame(first, frames), self._frame(second, frames)
                around = _shot_around(min(first, second), frames, cuts) if self._overlays else range(0)
                self._pairs[first, second] = PairSynthesis(
                    self._synthesizer(first, frames),
                    *sources,
                    around=[self._frame(number, frames) for number in around],
                )
            return _touch(self._pairs, (first, second), self._kept)

    def _frame(self, number: int, frames: Mapping[int, vs.VideoFrame]) -> SourceFrame:
        if number not in self._frames:
            video = self._source.to_video(number, frames[number])
            self._frames[number] = self._synthesizer(number, frames).source(video)
        return _touch(self._frames, number, self._kept)

    def _synthesizer(self, number: int, frames: Mapping[int, vs.VideoFrame]) -> Synthesizer:
        """That for a frame's colours, made on demand: players cannot give a frame while the script is loaded."""
        colour = self._source.colour(frames[number])
        if colour not in self._synthesizers:
            like = av.VideoFrame(frames[number].width, frames[number].height, self._source.format.pixel_format)
            self._synthesizers[colour] = Synthesizer(self._model, like, colour)
        return self._synthesizers[colour]

    def _link(self, number: int, frames: Mapping[int, vs.VideoFrame], cuts: Container[int], lengths: Lengths) -> None:
        """Let the intervals that begin at the frame `number` and at the next one use each other's motion."""
        next_ = number + 1
        is_shot = number in frames and next_ + 1 in frames and next_ not in cuts and next_ + 1 not in cuts
        if is_shot and self._has_slots(number) and self._has_slots(next_):
            before, after = self._pair(number, next_, frames, cuts), self._pair(next_, next_ + 1, frames, cuts)
            with self._lock:
                after.link_previous(before, float(lengths(number)), float(lengths(next_)))

    def _has_slots(self, number: int) -> bool:
        """Whether a frame is made between the source frames `number` and the next one."""
        return (floor(number / self._step) + 1) * self._step < number + 1


def _shot_around(number: int, frames: Mapping[int, vs.VideoFrame], cuts: Container[int]) -> range:
    """The frames `number` and `number` + 1 and those of their shot around them in which overlays are found."""
    first, last = number, number + 1
    while first > number - LOOK_AHEAD and first not in cuts and first - 1 in frames:
        first -= 1
    while last < number + 1 + LOOK_AHEAD and last + 1 not in cuts and last + 1 in frames:
        last += 1
    return range(first, last + 1)


def _keep_frames(clip: vs.VideoNode) -> None:
    """Let VapourSynth cache the latest frames of a clip: by itself it does not for filters that are created later."""
    vs.core.std.SetVideoCache(clip, mode=1, fixedsize=True, maxsize=_KEPT)


def _touch(recent: OrderedDict[K, V], key: K, kept: int) -> V:
    """The value of a key, which becomes the latest; the oldest are dropped."""
    recent.move_to_end(key)
    while len(recent) > kept:
        recent.popitem(last=False)
    return recent[key]


def _interpolated(source: _Source, maker: _FrameMaker, factor: Fraction, cuts: vs.VideoNode | None) -> vs.VideoNode:
    """The result: a node that makes the graph of each frame when it is asked for."""
    clip = source.clip
    rate = clip.fps * factor
    length = min(ceil(len(source) * factor), _MOST_FRAMES)
    blank = vs.core.std.BlankClip(clip, length=length, fpsnum=rate.numerator, fpsden=rate.denominator, keep=True)

    def graph(n: int) -> vs.VideoNode:
        slot = _slot(n, factor)
        made = slot.t > 0 and slot.number + 1 < len(source)
        reach = maker.reach if made else 0
        # The frame before it is there for its duration, which the last frame may lack.
        around = range(slot.number - max(reach, 1), slot.number + 2 + reach)
        numbers = [k for k in around if 0 <= k < len(source)]
        begins, ends = _shots(n, factor, length, len(source))
        asked = numbers[1:] if made else [k for k in (begins, ends) if k is not None and 0 < k < len(source)]
        marked = asked if cuts is not None else []

        def fill(n: int, f: list[vs.VideoFrame]) -> vs.VideoFrame:
            frames = dict(zip(numbers, f, strict=False))
            found = {k for k, mark in zip(marked, f[len(numbers) :], strict=False) if mark.props[_CUT]}
            lengths = functools.partial(_length, frames, clip.fps)
            result = maker.make(slot, frames, found, lengths) if made else slot.number
            shown = frames[slot.number if isinstance(result, list) else result].copy()
            if isinstance(result, list):
                source.format.write(result, shown)
            _set_times(shown, frames[slot.number], slot, lengths)
            for name, k in (("_SceneChangePrev", begins), ("_SceneChangeNext", ends)):
                if cuts is not None or name in frames[slot.number].props:
                    shown.props[name] = int(k is not None and _is_cut_before(k, frames, found))
                elif name in shown.props:
                    del shown.props[name]
            return shown

        nodes = [*(clip[k] for k in numbers), *(cuts[k] for k in marked if cuts is not None), blank]
        return vs.core.std.ModifyFrame(blank, nodes, _in_one_line(fill))

    return vs.core.std.FrameEval(blank, graph)


def _slot(n: int, factor: Fraction) -> _Slot:
    """Where the frame `n` of the result lies."""
    number, rest = divmod(n / factor, 1)
    return _Slot(int(number), Fraction(rest), 1 / factor)


def _shots(n: int, factor: Fraction, length: int, source_length: int) -> tuple[int | None, int | None]:
    """The source frames that a shot would begin with if the frame `n` of the result were its first, or its last.

    Each is None where the frame shows the same shot as the one before it, or after it, whatever cuts there are.

    Args:
        n: The frame.
        factor: The factor.
        length: The length of the result.
        source_length: The length of the clip.
    """
    before, here, after = (min(_slot(k, factor).nearest, source_length - 1) for k in (n - 1, n, n + 1))
    begins = here if n == 0 or before != here else None
    ends = source_length if n + 1 == length else after if after != here else None
    return begins, ends


def _is_cut_before(number: int, frames: Mapping[int, vs.VideoFrame], found: Container[int]) -> bool:
    """Whether there is a cut before a source frame: as properties state, otherwise whether it was found."""
    stated = _stated_cut(frames.get(number), frames.get(number - 1))
    return number in found if stated is None else stated


def _length(frames: Mapping[int, vs.VideoFrame], fps: Fraction, number: int) -> Fraction:
    """The duration of a source frame in seconds; past the end, that of the last one.

    A frame without one, as the last may be, takes that of the nearest one in `frames`, before or after it.
    """
    number = min(number, max(frames))
    for near in (*range(number, min(frames) - 1, -1), *range(number + 1, max(frames) + 1)):
        props = frames[near].props
        if props.get("_DurationNum", 0) > 0 and props.get("_DurationDen"):
            return Fraction(int(props["_DurationNum"]), int(props["_DurationDen"]))
        if fps:
            return 1 / fps
    raise InputError(f"Frame {number} has no duration, and the clip's frame rate is variable.")


def _set_times(frame: vs.VideoFrame, left: vs.VideoFrame, slot: _Slot, lengths: Lengths) -> None:
    """Set what the properties of a frame of the result say about its time.

    Args:
        frame: The new frame.
        left: The source frame at or before it.
        slot: Where it lies.
        lengths: The duration of a source frame.
    """
    duration = slot.duration(lengths)
    frame.props["_DurationNum"], frame.props["_DurationDen"] = duration.numerator, duration.denominator
    if "_AbsoluteTime" in left.props:
        frame.props["_AbsoluteTime"] = float(left.props["_AbsoluteTime"] + slot.t * lengths(slot.number))


def _in_one_line(select: Callable[[int, list[vs.VideoFrame]], vs.VideoFrame]) -> Callable[..., vs.VideoFrame]:
    """A function that makes frames, with Betwixt's errors as VapourSynth's."""

    def selector(n: int, f: list[vs.VideoFrame]) -> vs.VideoFrame:
        try:
            return select(n, f)
        except BetwixtError as error:
            raise vs.Error(f"betwixt: {error}") from None

    return selector

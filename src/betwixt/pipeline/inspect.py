"""Inspects a video: exact rate, cuts, duplicates, colour, and what a conversion would cost.

Without a scan the answer takes about a second, however long the video: the header, the packets read in a part of that
time, and frames decoded from a few places. `Findings.certainty` says of each figure where it comes from.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from betwixt.errors import InputError, UsageError
from betwixt.machine import available_cores
from betwixt.media.container import has_no_times, is_raw
from betwixt.media.preview import bare_stream_rate
from betwixt.media.probe import HDR, VideoInfo
from betwixt.media.reader import Frame, Reader
from betwixt.media.repeats import RepeatCounter
from betwixt.media.sampling import read_packet_times, read_windows
from betwixt.media.source import VideoSource, open_source
from betwixt.models.registry import choose_model
from betwixt.pipeline.planner import InterpolateStep, Planner, Rates

_TIMED_PAIRS = 3

EXACT, SAMPLED, STATED, ASSUMED, UNKNOWN = "exact", "sampled", "stated", "assumed", "not looked for"
"""Where a figure comes from: all of the video, a part of it, its header, or nowhere."""

UNMEASURABLE = "cannot be measured"
"""Of the cost: there are not two frames, or the model does not load."""

_BEGINNING_TIME = 0.3
"""Seconds in which the beginning is decoded."""

_WHOLE_TIME = 0.9
"""Seconds in which the whole video is decoded, if that seems possible after the beginning."""

_PACKETS_TIME = 0.2
"""Seconds in which packets are read without decoding them."""

_WINDOWS_TIME = 0.4
"""Seconds in which frames are decoded from other places."""

_WINDOWS = 4
_WINDOW_FRAMES = 24


@dataclass
class Findings:
    """What an inspection found.

    Attributes:
        info: What the container and the first frame state.
        model: The default model.
        certainty: Where each figure comes from, by its name in `as_dict`: "exact" (all of the video was read),
            "sampled" (a part was), "stated" (by the header), "assumed" (a rate that is stated nowhere) or "not looked
            for".
        seconds_a_frame: Seconds that a new frame takes on this machine, with one frame at a time on each core; None if
            that was not measured.
        notes: Remarks for the user.
        frames: Number of frames; None if unknown.
        duration: In seconds; None if unknown.
        shortest: The shortest interval between two frames in seconds; None if unknown.
        longest: The longest interval between two frames in seconds; None if unknown.
        cuts: Times of the cuts found, in seconds from the video's beginning.
        duplicates: How many repeated frames ``duplicates="fill"`` would replace, among those decoded.
        damage: What is wrong with the file; None if nothing was found.
        decoded: Number of frames that were decoded.
        decoded_seconds: How much of the video that is.
        places: In how many places.
        stream: The number of the video stream; None for images.
        repeat_pattern: What kind of material the duplicates look like, such as "animation on twos"; None if nothing.
    """

    info: VideoInfo
    model: str
    certainty: dict[str, str]
    seconds_a_frame: float | None
    notes: list[str]
    frames: int | None
    duration: Fraction | None
    shortest: Fraction | None
    longest: Fraction | None
    cuts: list[Fraction]
    duplicates: int
    damage: str | None
    decoded: int
    decoded_seconds: Fraction
    places: int = 1
    stream: int | None = None
    repeat_pattern: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The findings as JSON can hold them: times as numbers, rates as text."""
        info = self.info
        return {
            **{k: getattr(info, k) for k in ("name", "container", "codec", "width", "height", "pixel_format")},
            "bit_depth": info.depth,
            "rate": str(info.rate),
            "variable": info.variable,
            "start": float(info.start),
            "duration": None if self.duration is None else float(self.duration),
            "frames": self.frames,
            "interlaced": info.interlaced,
            "rotation": info.rotation,
            "sample_aspect_ratio": None if info.aspect is None else str(info.aspect),
            "colour": asdict(info.colour),
            "hdr": None if info.hdr is None else _hdr_as_dict(info.hdr),
            "hdr10_plus": info.hdr10_plus,
            "dolby_vision": info.dolby_vision,
            "stream": self.stream,
            "streams": [asdict(s) for s in info.streams],
            "shortest_interval": None if self.shortest is None else float(self.shortest),
            "longest_interval": None if self.longest is None else float(self.longest),
            "cuts": [float(t) for t in self.cuts],
            "duplicates": self.duplicates,
            "repeat_pattern": self.repeat_pattern,
            "seconds_a_frame": self.seconds_a_frame,
            "model": self.model,
            "damage": self.damage,
            "decoded": {"frames": self.decoded, "seconds": float(self.decoded_seconds), "places": self.places},
            "certainty": self.certainty,
            "notes": self.notes,
        }


def _hdr_as_dict(hdr: HDR) -> dict[str, Any]:
    primaries, luminance = hdr.primaries, hdr.luminance
    return {
        "mastering_display": None if primaries is None else [[float(x), float(y)] for x, y in primaries],
        "luminance": None if luminance is None else [float(v) for v in luminance],
        "content_light": hdr.content_light,
    }


def inspect_video(
    source: str | Path,
    *,
    scan: bool = False,
    stream: int | None = None,
    progress: Callable[[int, int | None], None] | None = None,
) -> Findings:
    """Inspect a video.

    Args:
        source: A video, or a folder or pattern of images.
        scan: Whether to decode all of it, so that all figures are exact, and to measure the cost of a conversion.
        stream: The number of the video stream; None for the default one.
        progress: Called with the number of frames decoded and the number expected, None if that is unknown.

    Raises:
        InputError: if it cannot be read.
    """
    reader = open_source(source, stream=stream, interlaced="ignore")
    try:
        whole = _Content(reader.info.rate)
        whole.decode(reader, None if scan else time.monotonic(), progress)
        if not whole.times:
            raise InputError(f"{reader.name} holds no picture that can be decoded.")
        findings = _exact_findings(reader, whole) if whole.ended else _sampled_findings(reader, whole)
        findings.repeat_pattern = whole.repeats.pattern(reader.info.rate)
        if (note := whole.repeats.note(reader.info.rate)) is not None:
            findings.notes.append(note)
        findings.stream = reader.stream.index if isinstance(reader, Reader) else None
        if isinstance(reader, Reader) and not whole.ended and (place := reader.find_interlaced()) is not None:
            findings.notes.append(f"The video is interlaced in parts, at about {float(place):.0f} s for instance.")
        if scan:
            findings.seconds_a_frame = _seconds_per_frame(whole.pairs, reader.info)
            findings.certainty["seconds_a_frame"] = SAMPLED if findings.seconds_a_frame is not None else UNMEASURABLE
        return findings
    finally:
        reader.close()


@dataclass
class _Content:
    """What is in the frames of a stretch of video.

    Attributes:
        rate: The video's rate.
        times: The times of the frames, in seconds.
        end: When the last of them ends.
        cuts: The times of those that begin a new shot.
        duplicates: Number of repeats to be filled.
        repeats: What their pattern says.
        pairs: A few pairs of frames between which there is motion, for measuring.
        ended: Whether the video ended before the time was up.
    """

    rate: Fraction
    times: list[Fraction] = field(default_factory=list)
    end: Fraction = Fraction(0)
    cuts: list[Fraction] = field(default_factory=list)
    duplicates: int = 0
    repeats: RepeatCounter = field(default_factory=RepeatCounter)
    pairs: list[tuple[Frame, Frame]] = field(default_factory=list)
    ended: bool = False

    def decode(
        self,
        reader: VideoSource,
        began: float | None = None,
        progress: Callable[[int, int | None], None] | None = None,
    ) -> None:
        """Examine a video from its beginning, for a limited time if the moment `began` is given."""

        def frames() -> Iterator[Frame]:
            for item in reader:
                if not isinstance(item, Frame):
                    continue
                self.times.append(item.time)
                self.end = item.time + item.duration
                if progress is not None and len(self.times) % 10 == 0:
                    progress(len(self.times), reader.info.frames)
                yield item
                if began is not None and self._is_late(time.monotonic() - began, reader.info.frames):
                    return
            self.ended = True
            if reader.stated_end is not None and abs(reader.stated_end - self.end) < 1:
                self.end = reader.stated_end

        self.examine(frames())

    def examine(self, frames: Iterable[Frame]) -> None:
        """Look for cuts and duplicates, as a conversion does."""
        planner = Planner(Rates(2 * self.rate, 2 * self.rate, Fraction(1)), cuts="auto", fill=True)
        planner.marker.repeats = self.repeats
        for step in planner.steps(frames):
            if isinstance(step, InterpolateStep) and len(self.pairs) < _TIMED_PAIRS:
                self.pairs.append((step.left, step.right))
        self.cuts += planner.marker.cut_times
        self.duplicates += planner.marker.duplicates_filled
        self.repeats.interrupt()

    def _is_late(self, seconds: float, frames: int | None) -> bool:
        """Whether to stop after so many seconds: a short video is decoded to its end."""
        if seconds < _BEGINNING_TIME:
            return False
        expected = None if not frames else seconds * frames / len(self.times)
        return seconds >= _WHOLE_TIME or expected is None or expected > _WHOLE_TIME


def _exact_findings(reader: VideoSource, whole: _Content) -> Findings:
    """What is known when all of the video has been decoded."""
    info = reader.info
    intervals = [b - a for a, b in itertools.pairwise(whole.times)]
    duration = whole.end - whole.times[0]
    return Findings(
        info=info,
        model=choose_model(),
        certainty=_certainty(EXACT) | {"rate": _rate_certainty(reader, EXACT if intervals else STATED)},
        seconds_a_frame=None,
        notes=reader.notes,
        frames=len(whole.times),
        duration=duration,
        shortest=min(intervals, default=None),
        longest=max(intervals, default=None),
        cuts=[t - info.start for t in whole.cuts],
        duplicates=whole.duplicates,
        damage=reader.damage,
        decoded=len(whole.times),
        decoded_seconds=duration,
    )


def _sampled_findings(reader: VideoSource, beginning: _Content) -> Findings:
    """What can be said after decoding the beginning: from the packets, and from windows in other places."""
    info = reader.info
    times, frames, duration = beginning.times, info.frames, info.duration
    certainty = _certainty(SAMPLED) | {"frames": STATED, "duration": STATED, "damage": UNKNOWN}
    content, decoded, places = beginning, len(times), 1
    seconds = beginning.end - times[0]
    if isinstance(reader, Reader) and Path(reader.name).is_file():
        packets = read_packet_times(reader, time.monotonic() + _PACKETS_TIME)
        if packets.complete:
            frames = packets.frames
            certainty["frames"] = EXACT
        if packets.end is not None:
            times = packets.times
            if packets.complete:
                duration = packets.end - times[0]
                certainty |= dict.fromkeys(("rate", "shortest_interval", "longest_interval", "duration"), EXACT)
        for window in _windows(reader, duration, beginning.times[-1]):
            content.examine(window)
            decoded += len(window)
            seconds += window[-1].time - window[0].time + 1 / info.rate
            places += 1
    elif isinstance(frames, int) and not isinstance(reader, Reader):
        certainty |= {"frames": EXACT, "duration": EXACT, "rate": STATED}  # images
    certainty["rate"] = _rate_certainty(reader, certainty["rate"])
    intervals = [b - a for a, b in itertools.pairwise(times)]
    if certainty["longest_interval"] == SAMPLED and intervals:
        # Packets come in coding order: of the last few read, earlier frames may still be missing.
        intervals = intervals[: max(1, len(intervals) - 32)]
    return Findings(
        info=info,
        model=choose_model(),
        certainty=certainty,
        seconds_a_frame=None,
        notes=reader.notes,
        frames=frames,
        duration=duration,
        shortest=min(intervals, default=None),
        longest=max(intervals, default=None),
        cuts=sorted(t - info.start for t in content.cuts),
        duplicates=content.duplicates,
        damage=reader.damage,
        decoded=decoded,
        decoded_seconds=seconds,
        places=places,
    )


def _certainty(certainty: str) -> dict[str, str]:
    names = (
        "rate", "frames", "duration", "shortest_interval", "longest_interval", "cuts", "duplicates", "damage",
    )  # fmt: skip
    return dict.fromkeys(names, certainty) | {"seconds_a_frame": UNKNOWN}


def _rate_certainty(reader: VideoSource, by_times: str) -> str:
    """Where the rate comes from, if the frames' times say so for `by_times`; some formats have no times."""
    if not isinstance(reader, Reader):
        return STATED
    if not has_no_times(reader.container):
        return by_times
    if not is_raw(reader.container) or bare_stream_rate(reader.container, reader.stream, reader.name):
        return STATED
    return ASSUMED


def _windows(reader: Reader, duration: Fraction | None, after: Fraction) -> Iterator[list[Frame]]:
    """Frames from a few places behind the beginning."""
    length = duration or Fraction(0)
    places = [reader.info.start + length * number / (_WINDOWS + 1) for number in range(1, _WINDOWS + 1)]
    places = [place for place in places if place > after]
    return read_windows(reader, places, after, _WINDOW_FRAMES, time.monotonic() + _WINDOWS_TIME)


def _seconds_per_frame(pairs: list[tuple[Frame, Frame]], info: VideoInfo) -> float | None:
    """Seconds that a new frame takes where each core makes one at a time, measured on pairs of the video itself."""
    if not pairs:
        return None
    from betwixt.runtime.load import load_model
    from betwixt.runtime.synthesis import PairSynthesis, Synthesizer
    from betwixt.runtime.threads import one_frame_per_thread

    try:
        model = load_model()
    except UsageError:
        return None
    synthesizer = Synthesizer(model, pairs[0][0].video, info.colour)
    cores = available_cores()

    def synthesize(pair: tuple[Frame, Frame]) -> None:
        left, right = (synthesizer.source(frame.video) for frame in pair)
        PairSynthesis(synthesizer, left, right).synthesize([Fraction(1, 2)])

    with one_frame_per_thread(model, cores), ThreadPoolExecutor(cores) as pool:
        synthesize(pairs[0])  # the first frame includes preparing the model for this size
        durations = []
        for pair in pairs:
            began = time.monotonic()
            list(pool.map(synthesize, [pair] * cores))
            durations.append((time.monotonic() - began) / cores)
    return min(durations)

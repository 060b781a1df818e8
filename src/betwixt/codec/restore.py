"""Restores every frame of an encoded video, in order.

    decoded base stream ──► RestoreDirector: show a sent frame, or make the frames between two ──► several threads, or
    a cluster ──► frames (pipeline.production)

A sent frame that is missing is concealed: it is made from its neighbours in the same shot, or the nearest one is shown
in its place. A B frame whose bits are damaged is synthesized.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av

from betwixt.codec.pairs import PairChain, single_threaded_kernels
from betwixt.codec.restore_data import RestoreData, frame_checksum
from betwixt.errors import InputError
from betwixt.media.reader import Frame, Reader, StreamPacket
from betwixt.models.base import Interpolator
from betwixt.pipeline.director import Director, Step, SynthesisTask
from betwixt.pipeline.planner import Planner, Rates, ShowStep
from betwixt.runtime.synthesis import PairSynthesis

if TYPE_CHECKING:
    from betwixt.codec.coder import BFrameCoder


@dataclass
class RestoreJob:
    """What makes the frames of an encoded video; it stands in for a `FrameJob`.

    Attributes:
        source: The file.
        reader: The same, open.
        data: Its restore data.
        damaged: The numbers of the coded B frames whose bits are damaged.
        model: The model that synthesizes.
        weights_hash: The hash of its weights; None for a model that the caller has loaded.
        options: Those of `InterpolateOptions` that say how the model is loaded and the file is read.
        codec_weights: The weights file of the network that coded B frames; None for the installed one.
        rates: The output's rate.
        threads: How many threads work.
        noted: Of the frames of an earlier run, those that were "differing" or "undecodable".
    """

    source: str
    reader: Reader
    data: RestoreData
    damaged: list[int]
    model: Interpolator
    weights_hash: str | None
    options: Mapping[str, Any]
    codec_weights: str | None
    rates: Rates
    threads: int
    noted: Mapping[str, set[int]] = field(default_factory=dict)
    precision = "fp32"  # gives the same frames here and at the encoder, whatever the machines support
    masks = None
    curved = False
    end_time = None

    @property
    def frames_out(self) -> int:
        """How many frames are restored."""
        return len(self.data.ticks)

    def make_planner(self) -> Planner:
        """A planner, of which only the marker and the clock are used."""
        return Planner(self.rates, cuts="off")

    def open_reader(self) -> Reader:
        """Open the file once more."""
        return Reader(self.source, interlaced="ignore", threads=min(self.threads, 16))


@functools.lru_cache(maxsize=1)
def load_coder_once(weights: str | None) -> BFrameCoder:
    """The coder of B frames, kept for the next piece of the same file."""
    from betwixt.codec.coder import load_coder

    return load_coder(weights)


class RestoreDirector(Director):
    """Decides on each frame of an encoded video.

    Args:
        job: A `RestoreJob`, or on a worker of a cluster what it knows of one.
        chunk: How many frames a task has at most.

    Attributes:
        kinds: What each planned frame is, by number: "sent"; "held", a sent frame in place of a missing one; "coded",
            by the network; "differing", by the network, but not as the encoder made it; "synthesized"; "concealed",
            synthesized because it is damaged. Frames that came out otherwise are in `findings`, as (number, kind).
    """

    def __init__(self, job: Any, chunk: int) -> None:
        super().__init__(job, chunk)
        self.kinds: dict[int, str] = {}
        self._data: RestoreData = job.data
        self._damaged, self._noted = set(job.damaged), job.noted
        self._codec_weights: str | None = job.codec_weights
        self._shots = sorted(self._data.shots)

    def time(self, index: int) -> Fraction:
        return self._data.start + self._data.time(index)

    def kernels(self, threads: int) -> contextlib.AbstractContextManager[None]:
        return single_threaded_kernels()

    def steps(self, items: Iterable[Frame | StreamPacket]) -> Iterator[Step]:
        """The frames in order. Each pair is linked to the pair after it before its tasks are yielded.

        Raises:
            InputError: if no frame can be decoded.
        """
        data = self._data
        sent = data.sent_frames
        sent_times = [data.start + data.time(number) for number in sent]
        spacing = min((b - a for a, b in itertools.pairwise(sent_times)), default=Fraction(1))
        tolerance = max(Fraction(2, 1000), spacing / 4)
        info = self._job.reader.info
        chain = PairChain(self._job.model, info.colour, data.ticks, data.paths == "curved")
        last_number = -1
        last: Frame | None = None
        waiting: list[Step] = []
        for item in self.planner.marker.mark(items):
            if isinstance(item, StreamPacket):
                waiting.append(item)
                continue
            frame = item.frame
            index = _nearest_index(sent_times, frame.time)
            number = sent[index]
            if abs(sent_times[index] - frame.time) > tolerance or number <= last_number:
                continue  # its time is damaged
            if last is None:
                self.planner.start_clock(frame)
            pair = chain.add(number, frame.video, self._next_shot(last_number) <= number)
            yield from waiting
            waiting = [*self._fill_gap(last_number, number, last, frame, pair), self._show(number, frame, "sent")]
            last_number, last = number, frame
        if last is None:
            raise InputError(f"{info.name} has no frame that can be decoded: copy the file again.")
        yield from waiting
        for number in range(last_number + 1, len(data.ticks)):
            yield self._show(number, last, "held")

    def _next_shot(self, number: int) -> int:
        """The frame that begins the shot after that of frame `number`."""
        index = bisect_left(self._shots, number + 1)
        return self._shots[index] if index < len(self._shots) else len(self._data.ticks)

    def _show(self, number: int, frame: Frame, kind: str) -> ShowStep:
        self.kinds[number] = kind
        return ShowStep(number, frame, kind == "held")

    def _fill_gap(
        self, left: int, right: int, first: Frame | None, second: Frame, pair: PairSynthesis | None
    ) -> Iterator[Step]:
        """The steps for the frames between two decoded ones; `pair` is None if they are of two shots."""
        if pair is not None:
            # The network's bits refer to the sent frames: none between the two may be missing.
            whole = not any(self._data.sent[left + 1 : right])
            for begin in range(left + 1, right, self._chunk):
                numbers = tuple(range(begin, min(begin + self._chunk, right)))
                for number in numbers:
                    self.kinds[number] = self._planned_kind(number, whole)
                yield SynthesisTask(numbers, functools.partial(self._make, numbers, left, right, pair, whole))
            return
        next_shot = self._next_shot(left)
        for number in range(left + 1, right):
            yield self._show(number, first if first is not None and number < next_shot else second, "held")

    def _planned_kind(self, number: int, whole: bool) -> str:
        """What a frame is to be, or has become in an earlier run."""
        if whole and number in self._data.coded and number not in self._noted.get("undecodable", ()):
            return "differing" if number in self._noted.get("differing", ()) else "coded"
        return self._synthesized_kind(number)

    def _synthesized_kind(self, number: int) -> str:
        """What a frame is that the network does not decode."""
        data = self._data
        is_damaged = data.sent[number] or number in data.coded or number in self._damaged
        return "concealed" if is_damaged else "synthesized"

    # -- making frames

    def _make(
        self, numbers: tuple[int, ...], left: int, right: int, pair: PairSynthesis, whole: bool
    ) -> list[av.VideoFrame]:
        return [self._make_frame(number, left, right, pair, whole) for number in numbers]

    def _make_frame(self, number: int, left: int, right: int, pair: PairSynthesis, whole: bool) -> av.VideoFrame:
        data = self._data
        t = Fraction(data.ticks[number] - data.ticks[left], data.ticks[right] - data.ticks[left])
        coded = data.coded.get(number)
        if coded is not None and whole:
            video = load_coder_once(self._codec_weights).decode(*pair.sources, coded.payload, t)
            if video is not None:
                if frame_checksum(video) != coded.checksum:
                    self.findings.append((number, "differing"))
                return video
            self.findings.append((number, self._synthesized_kind(number)))
        return pair.synthesize([t])[0]


def _nearest_index(values: list[Fraction], wanted: Fraction) -> int:
    index = bisect_left(values, wanted)
    if index == len(values) or (index and wanted - values[index - 1] <= values[index] - wanted):
        return index - 1
    return index

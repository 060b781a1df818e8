"""Restores every frame of an encoded video, in order.

    decoded base stream ──► plan: show a sent frame, or make the frames between two ──► several threads ──► frames

A sent frame that is missing is concealed: it is made from its neighbours in the same shot, or the nearest one is shown
in its place. A B frame whose bits are damaged is synthesized.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import av

from betwixt.codec.pairs import PairChain
from betwixt.codec.restore_data import RestoreData, frame_checksum
from betwixt.errors import InputError
from betwixt.media.reader import Reader, StreamPacket
from betwixt.models.base import Interpolator
from betwixt.runtime.parallel import map_in_order
from betwixt.runtime.synthesis import PairSynthesis

if TYPE_CHECKING:
    from betwixt.codec.coder import BFrameCoder


@dataclass(frozen=True)
class RestoredFrame:
    """A frame of the output."""

    number: int
    video: av.VideoFrame | None  # the frame; None if an earlier run has encoded it
    kind: str
    """"sent"; "held", a sent frame in place of a missing one; "coded", by the network; "differing", by the network, but
    not as the encoder made it; "synthesized"; "concealed", synthesized because it is damaged."""


@dataclass(frozen=True)
class _MakeStep:
    """Make the frames between two decoded ones."""

    left: int
    right: int
    pair: PairSynthesis


class FrameRestorer:
    """Restores the frames of an encoded video.

    `damaged` has the numbers of the coded B frames whose payload is damaged. An earlier run has encoded the first
    `resumed_frames` frames, which are not made again; `noted` has those of them that were "differing" or "undecodable".
    """

    def __init__(
        self,
        reader: Reader,
        data: RestoreData,
        damaged: list[int],
        model: Interpolator,
        coder: BFrameCoder | None,
        threads: int,
        resumed_frames: int,
        noted: Mapping[str, set[int]],
    ) -> None:
        self._reader, self._data, self._damaged = reader, data, set(damaged)
        self._model, self._coder, self._threads = model, coder, threads
        self._resumed_frames, self._noted = resumed_frames, noted
        self._shots = sorted(data.shots)

    def run(self) -> Iterator[list[RestoredFrame] | StreamPacket]:
        """Every frame in order, and the packets of the other streams.

        Raises:
            InputError: if the file has no frame that can be decoded.
        """
        return map_in_order(self._plan(), self._execute, self._threads)

    # -- which frames to show and which to make

    def _plan(self) -> Iterator[RestoredFrame | _MakeStep | StreamPacket]:
        """The steps in order. Each pair is linked to the pair after it before its step is yielded."""
        data = self._data
        sent = data.sent_frames
        sent_times = [data.start + data.time(number) for number in sent]
        spacing = min((b - a for a, b in itertools.pairwise(sent_times)), default=Fraction(1))
        tolerance = max(Fraction(2, 1000), spacing / 4)
        chain = PairChain(self._model, self._reader.info.colour, data.ticks, data.paths == "curved")
        last_number = -1
        last_video: av.VideoFrame | None = None
        waiting: list[RestoredFrame | _MakeStep | StreamPacket] = []
        for item in self._reader:
            if isinstance(item, StreamPacket):
                waiting.append(item)
                continue
            index = _nearest_index(sent_times, item.time)
            number = sent[index]
            if abs(sent_times[index] - item.time) > tolerance or number <= last_number:
                continue  # its time is damaged
            pair = chain.add(number, item.video, self._next_shot(last_number) <= number)
            yield from waiting
            waiting = [*self._fill_gap(last_number, number, last_video, item.video, pair)]
            waiting.append(RestoredFrame(number, item.video, "sent"))
            last_number, last_video = number, item.video
        if last_video is None:
            raise InputError(f"{self._reader.name} has no frame that can be decoded: copy the file again.")
        yield from waiting
        for number in range(last_number + 1, len(data.ticks)):
            yield RestoredFrame(number, last_video, "held")

    def _next_shot(self, number: int) -> int:
        """The frame that begins the shot after that of frame `number`."""
        index = bisect_left(self._shots, number + 1)
        return self._shots[index] if index < len(self._shots) else len(self._data.ticks)

    def _fill_gap(
        self, left: int, right: int, first: av.VideoFrame | None, second: av.VideoFrame, pair: PairSynthesis | None
    ) -> Iterator[RestoredFrame | _MakeStep]:
        """The steps for the frames between two decoded ones; `pair` is None if they are of two shots."""
        if pair is not None:
            if right - left > 1:
                yield _MakeStep(left, right, pair)
            return
        next_shot = self._next_shot(left)
        for number in range(left + 1, right):
            yield RestoredFrame(number, first if first is not None and number < next_shot else second, "held")

    # -- making frames

    def _execute(self, step: RestoredFrame | _MakeStep | StreamPacket) -> list[RestoredFrame] | StreamPacket:
        if isinstance(step, _MakeStep):
            return [self._make(step, number) for number in range(step.left + 1, step.right)]
        return [step] if isinstance(step, RestoredFrame) else step

    def _make(self, step: _MakeStep, number: int) -> RestoredFrame:
        data = self._data
        coded = data.coded.get(number)
        synthesized = "synthesized"
        if data.sent[number] or coded is not None or number in self._damaged:
            synthesized = "concealed"
        # The network's bits refer to the sent frames: none between the two may be missing.
        decodable = coded is not None and self._coder is not None and not any(data.sent[step.left + 1 : step.right])
        if number < self._resumed_frames:
            if decodable and number not in self._noted.get("undecodable", ()):
                return RestoredFrame(
                    number, None, "differing" if number in self._noted.get("differing", ()) else "coded"
                )
            return RestoredFrame(number, None, synthesized)
        t = Fraction(data.ticks[number] - data.ticks[step.left], data.ticks[step.right] - data.ticks[step.left])
        if decodable and coded is not None and self._coder is not None:
            video = self._coder.decode(*step.pair.sources, coded.payload, t)
            if video is not None:
                intact = frame_checksum(video) == coded.checksum
                return RestoredFrame(number, video, "coded" if intact else "differing")
        return RestoredFrame(number, step.pair.synthesize([t])[0], synthesized)


def _nearest_index(values: list[Fraction], wanted: Fraction) -> int:
    index = bisect_left(values, wanted)
    if index == len(values) or (index and wanted - values[index - 1] <= values[index] - wanted):
        return index - 1
    return index

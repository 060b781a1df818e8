"""Makes the B frames as a decoder will, and measures them.

    base stream ── decoded ──► pairs of sent frames ──► synthesis ──► error of every B frame
                                        │                               │ bit-need
    source ── true frames ──────────────┴───────────────────────────────┴──► network ──► payload, error

Frames are synthesized from the decoded base stream, not from the source, so what is measured here is what a decoder
will make.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av

from betwixt.codec.base_stream import packet_checksums
from betwixt.codec.distortion import mean_squared_error
from betwixt.codec.gop import Interval, intervals
from betwixt.codec.pairs import PairChain, map_in_order
from betwixt.codec.restore_data import CodedFrame, frame_checksum
from betwixt.codec.survey import ReopenableSource, Survey
from betwixt.errors import OutputError
from betwixt.media.reader import Frame, Reader
from betwixt.media.source import VideoSource
from betwixt.media.writer import VideoWriter
from betwixt.models.base import Interpolator
from betwixt.runtime.synthesis import PairSynthesis, SourceFrame

if TYPE_CHECKING:
    from betwixt.codec.coder import BFrameCoder

__all__ = ["BFrameMaker", "BFrameResult"]


@dataclass(frozen=True)
class BFrameResult:
    """A B frame as a decoder will make it.

    Attributes:
        number: The number of the frame.
        error: Its mean squared error, of samples in [0, 1].
        sent_error: The mean of the errors of the two sent frames that it is made from.
        coded: Its bits, if the network codes it; None if it is synthesized.
    """

    number: int
    error: float
    sent_error: float
    coded: CodedFrame | None


@dataclass(frozen=True)
class _PairWithTruth:
    """Two decoded frames, and the true frames by number, both ends included."""

    interval: Interval
    pair: PairSynthesis
    truths: dict[int, av.VideoFrame]


class BFrameMaker:
    """Makes and measures B frames.

    Args:
        source: The source.
        survey: Its times and shots.
        model: The model that synthesizes.
        coder: The network that codes B frames; None in bit-free mode.
        step: The quantizer's step of that network, of samples in [0, 255]; None to follow the base stream's quality.
        curved: Whether the model uses the neighbouring sent frames.
        threads: The number of threads.
    """

    def __init__(
        self,
        source: ReopenableSource,
        survey: Survey,
        model: Interpolator,
        *,
        coder: BFrameCoder | None,
        step: float | None,
        curved: bool,
        threads: int,
    ) -> None:
        self._source, self._survey, self._model, self._coder = source, survey, model, coder
        self._step, self._curved, self._threads = step, curved, threads

    def make(
        self,
        base_file: Path,
        writer: VideoWriter,
        sent: Sequence[bool],
        progress: Callable[[int, int | None], None],
    ) -> list[BFrameResult]:
        """Make every frame that is not sent.

        Args:
            base_file: The base stream.
            writer: What wrote it: it converts true frames to the base stream's pixel format.
            sent: Which frames the base stream has.
            progress: Called with the numbers of frames made and in total.

        Raises:
            OutputError: if the base stream lacks frames.
        """
        results: list[BFrameResult] = []
        with Reader(base_file, interlaced="ignore", threads=min(self._threads, 16)) as decoded:
            source, info = self._source.open(), decoded.info
            try:
                chain = PairChain(self._model, info.colour, self._survey.ticks, self._curved)
                bits_per_pixel = 8 * packet_checksums(base_file)[1] / (info.width * info.height * len(sent))
                pairs = self._pairs_with_truth(decoded, source, writer, sent, chain)
                make_pair = functools.partial(self._make_pair, chain, bits_per_pixel)
                for made in map_in_order(pairs, make_pair, self._threads):
                    results += made
                    progress(len(results), len(sent) - sum(sent))
            finally:
                source.close()
        return results

    def _pairs_with_truth(
        self, decoded: Reader, source: VideoSource, writer: VideoWriter, sent: Sequence[bool], chain: PairChain
    ) -> Iterator[_PairWithTruth]:
        """The pairs that have frames between them. Each is yielded once the pair after it is linked to it."""
        shots = set(self._survey.shots)
        interval_from = {interval.left: interval for interval in intervals(sent, self._survey.shots)}
        base_frames = (item for item in decoded if isinstance(item, Frame))
        interval: Interval | None = None  # the one that is being read
        truths: dict[int, av.VideoFrame] = {}
        complete: _PairWithTruth | None = None
        for number, frame in enumerate(item for item in source if isinstance(item, Frame)):
            following = interval_from.get(number)
            if interval is not None or following is not None:
                truths[number] = writer.to_output_format(frame.video)
            if not sent[number]:
                continue
            base_frame = next(base_frames, None)
            if base_frame is None:
                raise OutputError("The base encoder left frames out: pass another `base` or `preset`.")
            pair = chain.add(number, base_frame.video, number in shots)
            if complete is not None:
                yield complete
                complete = None
            if interval is not None:
                assert pair is not None
                complete = _PairWithTruth(interval, pair, truths)
            truths = {number: truths[number]} if following is not None else {}
            interval = following
        if complete is not None:
            yield complete

    def _make_pair(self, chain: PairChain, bits_per_pixel: float, work: _PairWithTruth) -> list[BFrameResult]:
        """Make the frames between two sent ones."""
        ticks, interval = self._survey.ticks, work.interval
        first, second = work.pair.sources
        span = ticks[interval.right] - ticks[interval.left]
        times = [Fraction(ticks[number] - ticks[interval.left], span) for number in interval.between]
        synthesized = work.pair.synthesize(times)
        ends = [mean_squared_error(first.video, work.truths[interval.left])]
        ends.append(mean_squared_error(second.video, work.truths[interval.right]))
        sent_error = sum(ends) / 2
        results = []
        for number, t, frame in zip(interval.between, times, synthesized, strict=True):
            error, coded = mean_squared_error(frame, work.truths[number]), None
            if self._coder is not None:
                lmbda, step = self._rate_distortion(self._coder, bits_per_pixel, sent_error)
                truth = chain.source(work.truths[number])
                error, coded = _code(self._coder, first, second, truth, t, error, lmbda, step)
            results.append(BFrameResult(number, error, sent_error, coded))
        return results

    def _rate_distortion(self, coder: BFrameCoder, bits_per_pixel: float, sent_error: float) -> tuple[float, float]:
        """Lambda and the quantizer's step: the step that was chosen, or those that suit the base stream."""
        if self._step is not None:
            step = self._step / 255
            return coder.lambda_at(step), step
        lmbda = coder.lambda_of_base(bits_per_pixel, sent_error)
        return lmbda, coder.step_at(lmbda)


def _code(
    coder: BFrameCoder,
    first: SourceFrame,
    second: SourceFrame,
    truth: SourceFrame,
    t: Fraction,
    synthesis_error: float,
    lmbda: float,
    step: float,
) -> tuple[float, CodedFrame | None]:
    """Code a frame by the network; its error and bits, or the synthesis' error and None if it is not worth its bits."""
    payload, frame = coder.encode(first, second, truth, t, step, lmbda)
    error = mean_squared_error(frame, truth.video)
    pixels = frame.width * frame.height
    if (synthesis_error - error) * lmbda * pixels <= 8 * len(payload):
        return synthesis_error, None
    return error, CodedFrame(payload, frame_checksum(frame))

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

from betwixt.codec.distortion import mean_squared_error
from betwixt.codec.gop import Interval, intervals
from betwixt.codec.pairs import PairChain
from betwixt.codec.restore_data import CodedFrame, frame_checksum
from betwixt.codec.survey import ReopenableSource, Survey
from betwixt.errors import OutputError
from betwixt.media.reader import Frame, Reader
from betwixt.media.source import VideoSource
from betwixt.media.writer import VideoWriter
from betwixt.models.base import Interpolator
from betwixt.runtime.parallel import map_in_order
from betwixt.runtime.synthesis import PairSynthesis

if TYPE_CHECKING:
    from betwixt.codec.coder import BFrameCoder


@dataclass(frozen=True)
class BFrameResult:
    """A B frame as a decoder will make it."""

    number: int
    error: float  # its mean squared error, of samples in [0, 1]
    sent_error: float  # the mean of the errors of the two sent frames that it is made from
    coded: CodedFrame | None  # its bits, if the network codes it; None if it is synthesized


@dataclass(frozen=True)
class _PairWithTruth:
    """Two decoded frames, and the true frames by number, both ends included."""

    interval: Interval
    pair: PairSynthesis
    truths: dict[int, av.VideoFrame]


@dataclass(frozen=True)
class BFrameMaker:
    """Makes and measures B frames."""

    model: Interpolator
    coder: BFrameCoder | None  # the network that codes B frames; None in bit-free mode
    step: float | None  # its quantizer's step, of samples in [0, 255]; None to follow the base stream's quality
    threads: int

    def make(
        self,
        source: ReopenableSource,
        survey: Survey,
        base_file: Path,
        base_size: int,
        writer: VideoWriter,
        sent: Sequence[bool],
        progress: Callable[[int, int | None], None],
    ) -> list[BFrameResult]:
        """Make every frame that is not sent; raises OutputError if the base stream lacks frames.

        `base_size` is the size of the base stream in bytes. `writer` wrote the base stream and converts true frames to
        its pixel format. `progress` is called with the numbers of frames made and in total.
        """
        results: list[BFrameResult] = []
        with Reader(base_file, interlaced="ignore", threads=min(self.threads, 16)) as decoded:
            reader, info = source.open(), decoded.info
            try:
                chain = PairChain(self.model, info.colour, survey.ticks, self.model.uses_neighbours)
                bits_per_pixel = 8 * base_size / (info.width * info.height * len(sent))
                pairs = self._pairs_with_truth(decoded, reader, survey.shots, writer, sent, chain)
                make_pair = functools.partial(self._make_pair, chain, survey.ticks, bits_per_pixel)
                for made in map_in_order(pairs, make_pair, self.threads):
                    results += made
                    progress(len(results), len(sent) - sum(sent))
            finally:
                reader.close()
        return results

    @staticmethod
    def _pairs_with_truth(
        decoded: Reader,
        source: VideoSource,
        shots: Sequence[int],
        writer: VideoWriter,
        sent: Sequence[bool],
        chain: PairChain,
    ) -> Iterator[_PairWithTruth]:
        """The pairs that have frames between them. Each is yielded once the pair after it is linked to it."""
        interval_from = {interval.left: interval for interval in intervals(sent, shots)}
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

    def _make_pair(
        self, chain: PairChain, ticks: Sequence[int], bits_per_pixel: float, work: _PairWithTruth
    ) -> list[BFrameResult]:
        """Make the frames between two sent ones."""
        interval = work.interval
        first, second = work.pair.sources
        span = ticks[interval.right] - ticks[interval.left]
        times = [Fraction(ticks[number] - ticks[interval.left], span) for number in interval.between]
        synthesized = work.pair.synthesize(times)
        left_error = mean_squared_error(first.video, work.truths[interval.left])
        sent_error = (left_error + mean_squared_error(second.video, work.truths[interval.right])) / 2
        results = []
        for number, t, frame in zip(interval.between, times, synthesized, strict=True):
            error, coded = mean_squared_error(frame, work.truths[number]), None
            if self.coder is not None:
                # The step that was chosen, or the one that suits the base stream.
                if self.step is not None:
                    step, lmbda = self.step / 255, self.coder.lambda_at(self.step / 255)
                else:
                    lmbda = self.coder.lambda_of_base(bits_per_pixel, sent_error)
                    step = self.coder.step_at(lmbda)
                truth = chain.source(work.truths[number])
                payload, decoded = self.coder.encode(first, second, truth, t, step, lmbda)
                coded_error = mean_squared_error(decoded, truth.video)
                # The synthesized frame stays if the network's bits would gain more elsewhere.
                if (error - coded_error) * lmbda * frame.width * frame.height > 8 * len(payload):
                    error, coded = coded_error, CodedFrame(payload, frame_checksum(decoded))
            results.append(BFrameResult(number, error, sent_error, coded))
        return results

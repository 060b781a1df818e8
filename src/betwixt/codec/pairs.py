"""Pairs of successive decoded frames, as encoder and decoder make the frames between them.

decoded frames ──► PairChain ──► a PairSynthesis for each two successive frames of a shot, linked to its neighbours
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence

import av
import cv2

from betwixt.media.colour import Colour
from betwixt.models.base import Interpolator
from betwixt.runtime.synthesis import PairSynthesis, SourceFrame, Synthesizer


class PairChain:
    """The pairs of successive frames of a base stream.

    `ticks` has the time of each frame of the video, sent or not. With `curved`, pairs are linked to the pairs beside
    them, for models that use neighbouring frames.
    """

    def __init__(self, model: Interpolator, colour: Colour, ticks: Sequence[int], curved: bool) -> None:
        self._model, self._colour, self._ticks, self._curved = model, colour, ticks, curved
        self._synthesizer: Synthesizer | None = None
        self._number = self._span = 0
        self._last: SourceFrame | None = None
        self._pair: PairSynthesis | None = None

    def source(self, video: av.VideoFrame) -> SourceFrame:
        """Wrap a frame of the stream's format."""
        if self._synthesizer is None:
            self._synthesizer = Synthesizer(self._model, video, self._colour)
        return self._synthesizer.source(video)

    def add(self, number: int, video: av.VideoFrame, begins_shot: bool) -> PairSynthesis | None:
        """The pair of the frame that was added last and this one; None at the beginning of a shot.

        After this call the pair before has all its neighbours: its frames can be made. `number` is that of the frame in
        the video; `begins_shot` tells whether a shot begins with this frame or between it and the last one.
        """
        source, previous_pair, last = self.source(video), self._pair, self._last
        self._pair, span = None, self._ticks[number] - self._ticks[self._number]
        if last is not None and not begins_shot:
            assert self._synthesizer is not None
            self._pair = PairSynthesis(self._synthesizer, last, source)
            if previous_pair is not None and self._curved:
                self._pair.link_previous(previous_pair, self._span, span)
        self._number, self._span, self._last = number, span, source
        return self._pair


@contextlib.contextmanager
def single_threaded_kernels() -> Iterator[None]:
    """OpenCV and PyTorch with one thread each, so that results do not depend on the number of threads."""
    opencv_threads = cv2.getNumThreads()
    torch = sys.modules.get("torch")  # not imported here: bit-free coding does not need it
    torch_threads = torch.get_num_threads() if torch is not None else 0
    cv2.setNumThreads(1)
    if torch is not None:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(opencv_threads)
        if torch is not None:
            torch.set_num_threads(torch_threads)

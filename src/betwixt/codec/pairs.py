"""Going through a base stream interval by interval, several at work at a time, results in order.

decoded frames ──► PairChain ──► an interval for each two that follow each other in a shot, told of those beside it
"""

from __future__ import annotations

import contextlib
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import av
import cv2

from betwixt.media.colour import Colour
from betwixt.models.base import Interpolator
from betwixt.runtime.synthesis import PairSynthesis, SourceFrame, Synthesizer

__all__ = ["PairChain", "map_in_order", "single_threaded_kernels"]

T = TypeVar("T")
R = TypeVar("R")


class PairChain:
    """The intervals of a base stream.

    Args:
        model: What makes the frames in them.
        colour: Of the stream.
        ticks: When each frame of the video stands, those between included.
        curved: Whether intervals are told of those beside them, which bends the paths of models that heed it.
    """

    def __init__(self, model: Interpolator, colour: Colour, ticks: Sequence[int], curved: bool) -> None:
        self._model, self._colour, self._ticks, self._curved = model, colour, ticks, curved
        self._synthesizer: Synthesizer | None = None
        self._number = self._span = 0
        self._last: SourceFrame | None = None
        self._work: PairSynthesis | None = None

    def source(self, video: av.VideoFrame) -> SourceFrame:
        """Wrap a frame of the stream's format."""
        if self._synthesizer is None:
            self._synthesizer = Synthesizer(self._model, video, self._colour)
        return self._synthesizer.source(video)

    def add(self, number: int, video: av.VideoFrame, begins: bool) -> PairSynthesis | None:
        """The interval from the frame that was added last to this one, or None where this one begins a shot.

        From then on the interval before knows all that it will: its frames can be made.

        Args:
            number: Of the frame in the video.
            video: The decoded frame.
            begins: Whether a shot begins with it, or somewhere since the frame before.
        """
        source, earlier, before = self.source(video), self._work, self._last
        self._work, span = None, self._ticks[number] - self._ticks[self._number]
        if before is not None and not begins:
            assert self._synthesizer is not None
            self._work = PairSynthesis(self._synthesizer, before, source)
            if earlier is not None and self._curved:
                self._work.link_previous(earlier, self._span, span)
        self._number, self._span, self._last = number, span, source
        return self._work


def map_in_order(items: Iterable[T], work: Callable[[T], R], workers: int) -> Iterator[R]:
    """The results of `work` for each of `items`, in order, with at most `workers` + 1 items under way.

    Items are drawn in the calling thread, so that what they come from need not be thread-safe.
    """
    waiting: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="betwixt-codec")
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def single_threaded_kernels() -> Iterator[None]:
    """Each frame is made by one thread: what is found must not depend on how many there are."""
    threads = cv2.getNumThreads()
    torch = sys.modules.get("torch")  # loaded by whoever needs it
    of_torch = torch.get_num_threads() if torch is not None else 0
    cv2.setNumThreads(1)
    if torch is not None:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)
        if torch is not None:
            torch.set_num_threads(of_torch)

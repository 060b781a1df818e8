"""Having OpenCV compute the same whichever process it is and however many there are.

Intel's IPP, which OpenCV uses where it can, rounds by where in memory an array lies: the magnitude of a vector, for
one, differs in its last bit from run to run. Without it, samples are the same bit for bit. It costs no time that could
be measured here. Several processes draw side by side, so each takes one thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import cv2

__all__ = ["deterministic_opencv", "make_opencv_deterministic"]


def make_opencv_deterministic() -> None:
    """From now on, in this thread of this process."""
    cv2.setNumThreads(1)
    cv2.ipp.setUseIPP(False)


@contextmanager
def deterministic_opencv() -> Iterator[None]:
    """For a while; afterwards OpenCV computes as before."""
    threads, ipp = cv2.getNumThreads(), cv2.ipp.useIPP()
    make_opencv_deterministic()
    try:
        yield
    finally:
        cv2.setNumThreads(threads)
        cv2.ipp.setUseIPP(ipp)

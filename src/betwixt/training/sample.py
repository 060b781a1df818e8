"""What a network learns from: three pictures, a time and, where it is known, the motion.

    Source ──draw(rng, size)──► Sample ──augment──► Sample ──► batch

A source is a data set, or a part of one, that any number of samples can be drawn from. All chance comes from the random
generator that it is given, so a sample depends on its seed alone: not on the samples before it, and not on how many
processes draw.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from betwixt.errors import UsageError

__all__ = ["Image", "SampleSource", "TargetTimes", "TrainingSample", "check_shares"]

Image = NDArray[np.uint8]
"""(H, W, 3), RGB."""

TargetTimes = Literal["middle", "between", "next"]
"""Which frames are to be learned: that at t = 1/2, that at any t between 0 and 1, or that at t = 2, which is as far
after the second frame as that is after the first."""


@dataclass(frozen=True)
class TrainingSample:
    """Two frames and the true one at t.

    Attributes:
        pictures: (3, S, S, 3) uint8, RGB: frame 0, the truth, frame 1.
        t: Time of the truth, frame 0 being at 0 and frame 1 at 1: in (0, 1), or 2 where the frame after the two is to
            be learned.
        motion: (S, S, 2) float32, pixels, (x, y): from frame 0 to frame 1 of what is seen at a pixel of the truth, so
            that F_{t->0} = -t motion and F_{t->1} = (1 - t) motion. None where it is not known.
    """

    images: NDArray[np.uint8]
    t: float
    motion: NDArray[np.float32] | None = None


class SampleSource(Protocol):
    """Where samples come from."""

    def draw(self, rng: np.random.Generator, size: int) -> TrainingSample:
        """A sample of `size` x `size` pixels.

        Raises:
            InputError: if a file that it needs is missing or damaged, or smaller than `size`.
        """


def check_shares(shares: Mapping[str, Any], where: str) -> None:
    """Raise `UsageError` for the first share that is not between 0 and 1."""
    for name, share in shares.items():
        if not 0.0 <= share <= 1.0:
            raise UsageError(f"'{name}' in {where} is a share of the samples: between 0 and 1, not {share:g}.")

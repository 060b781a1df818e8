"""One training sample: three images, the time of the middle one and, where it is known, the exact motion.

    SampleSource ──draw(rng, size)──► TrainingSample ──augment──► TrainingSample ──► Batch

A source is a data set, or a part of one. All randomness comes from the generator passed to `draw`, so a sample depends
on its seed alone: not on earlier samples, nor on the number of worker processes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from betwixt.errors import UsageError

Image = NDArray[np.uint8]
"""(H, W, 3), RGB."""

TargetTimes = Literal["middle", "between", "next"]
"""The times of the target frame: t = 1/2; any t in (0, 1); or t = 2, one interval after frame 1."""


@dataclass(frozen=True)
class TrainingSample:
    """Two input frames and the true frame at time t.

    Attributes:
        images: (3, S, S, 3) uint8, RGB: frame 0, the true frame t, frame 1.
        t: Time of the true frame; frame 0 is at 0 and frame 1 at 1. In (0, 1), or 2 for extrapolation.
        motion: (S, S, 2) float32, pixels, (x, y): displacement from frame 0 to frame 1 of what frame t shows at each
            pixel, so F_{t->0} = -t motion and F_{t->1} = (1 - t) motion. None if unknown.
        labels: (2, S, S) uint8, the masks of frames 0 and 1; None where none were asked for.
    """

    images: NDArray[np.uint8]
    t: float
    motion: NDArray[np.float32] | None = None
    labels: NDArray[np.uint8] | None = None


class SampleSource(Protocol):
    """Draws random training samples."""

    def draw(self, rng: np.random.Generator, size: int) -> TrainingSample:
        """Draw a sample of `size` x `size` pixels; `InputError` if a file is missing, damaged, or too small."""


def time_matches(times: TargetTimes, t: float) -> bool:
    """Whether `t` is one of the target times `times`."""
    return {"middle": t == 0.5, "between": 0.0 < t < 1.0, "next": t == 2.0}[times]


def check_fractions(fractions: Mapping[str, Any], where: str) -> None:
    """Raise `UsageError` for the first value outside [0, 1]; `where` names the recipe table in the message."""
    for name, value in fractions.items():
        if not 0.0 <= value <= 1.0:
            raise UsageError(f"'{name}' in {where} is a fraction of the samples: between 0 and 1, not {value:g}.")

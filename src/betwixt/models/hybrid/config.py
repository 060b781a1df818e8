"""What tells a `hybrid` from another (`betwixt.models.hybrid.network`). Nothing here needs PyTorch."""

from __future__ import annotations

from dataclasses import dataclass

from betwixt.models.dis.interpolator import Effort

__all__ = ["HYBRID", "HybridConfig"]


@dataclass(frozen=True)
class HybridConfig:
    """Hyper-parameters; the defaults are those of the shipped weights at work.

    Attributes:
        flow: Channels of the flow network at 1/4, 1/8 and 1/16; the first is also the width of the state.
        detail: Channels of the detail network at 1/2 and 1/4.
        search: The effort of the search, as of `dis.DIS`;
        searched: and how many of the lines that the networks see it sees.
    """

    flow: tuple[int, int, int] = (48, 64, 96)
    detail: tuple[int, int] = (32, 48)
    search: Effort = "quick"
    searched: float = 0.75


HYBRID = HybridConfig()
"""What ships."""

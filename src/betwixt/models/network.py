"""What every network of a paper is: a `Network` that turns two frames and a time into a `Synthesis`.

    frame 0, frame 1 ──► pair(·) ──► whatever depends on the two frames alone ──► at(·, t) ──► Synthesis
                          once a pair                                              once a time

A network never opens a file, never picks a device, never pads: the runtime does that once for all. It states what the
runtime has to know: by what the sides must be divisible and which times it was made for.

Some networks want to know besides which pixels belong together: a `MaskedNetwork` takes label maps of both frames with
them, a `MaskPair`.

Conventions: frames (N, 3, H, W), RGB in [0, 1]; t (N, 1, 1, 1); flows (N, 2, H, W), pixels, channels (x, y), where
`flow_t0` = F_{t->0} says where a pixel of frame t is found in frame 0; the mask (N, 1, H, W) is the weight of frame 0
after it was warped.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn


@dataclass(frozen=True)
class Synthesis:
    """Frame t, and how it came about; networks that know more return a subclass.

    Attributes:
        frame: (N, 3, H, W), RGB, clamped to [0, 1] where the paper's network clamps.
        flow_t0: (N, 2, H, W), F_{t->0} in pixels; None where a network has no such flow.
        flow_t1: (N, 2, H, W), F_{t->1} in pixels; None likewise.
        mask: (N, 1, H, W) in [0, 1], the weight of warped frame 0; None likewise.
    """

    frame: Tensor
    flow_t0: Tensor | None = None
    flow_t1: Tensor | None = None
    mask: Tensor | None = None


class Network(nn.Module):
    """Base of the papers' networks.

    Attributes:
        config: Its hyper-parameters, a frozen dataclass; None if it has none.
        multiple: H and W must be multiples of this.
        any_time: Whether it was made for every t in (0, 1); otherwise for t = 1/2 alone, and the runtime does other
            times by recursion.
        extrapolates: Whether it makes the frame after the second, t = 2, and none in between.
    """

    config: Any = None
    multiple: int = 32
    any_time: bool = False
    extrapolates: bool = False

    @abstractmethod
    def pair(self, frame0: Tensor, frame1: Tensor) -> Any:
        """All that depends on the two frames alone; what it is, is the network's own affair."""

    @abstractmethod
    def at(self, pair: Any, t: Tensor) -> Synthesis:
        """Frame t of a prepared pair; `t` is (N, 1, 1, 1)."""

    def forward(self, frame0: Tensor, frame1: Tensor, t: Tensor) -> Synthesis:
        """Frame t of two frames (N, 3, H, W), RGB in [0, 1]."""
        return self.at(self.pair(frame0, frame1), t)


@dataclass(frozen=True)
class MaskPair:
    """Which pixels of two frames belong together: label maps, in which a label means the same in both frames.

    Attributes:
        labels0: (N, H, W), of frame 0: whole numbers of any integer type, from 0 to `count` - 1.
        labels1: (N, H, W), of frame 1.
        count: How many labels there are; a frame need not show them all.
    """

    labels0: Tensor
    labels1: Tensor
    count: int

    def apply(self, function: Callable[[Tensor], Tensor]) -> MaskPair:
        """The masks with `function` applied to both maps."""
        return MaskPair(function(self.labels0), function(self.labels1), self.count)


class MaskedNetwork(Network):
    """Base of the networks that take masks with the frames; without masks a frame is one region."""

    @abstractmethod
    def pair(self, frame0: Tensor, frame1: Tensor, masks: MaskPair | None = None) -> Any:
        """All that depends on the two frames and their masks alone."""

    def forward(self, frame0: Tensor, frame1: Tensor, t: Tensor, masks: MaskPair | None = None) -> Synthesis:
        """Frame t of two frames (N, 3, H, W), RGB in [0, 1], and the masks of both."""
        return self.at(self.pair(frame0, frame1, masks), t)

"""The base of the papers' networks: a `Network` turns two frames and a time into a `Synthesis`.

    frame 0, frame 1 ──► pair(·) ──► what depends on the two frames alone ──► at(·, t) ──► Synthesis
                       once a pair                                          once a time

A network never opens a file, picks a device or pads: `betwixt.runtime` does that once for all. The network states what
the runtime needs to know: the number that divides its sides, and the times it was made for.

A `MaskedNetwork` also takes a `MaskPair`, label maps of both frames.

Conventions, for the methods of all networks: `frame0`, `frame1` and `truth` (the true frame t) are (N, 3, H, W), RGB in
[0, 1]; `t` is (N, 1, 1, 1). Flows are (N, 2, H, W) in pixels, channels (x, y); `flow_t0` = F_{t->0} is where a pixel of
frame t is found in frame 0. The mask (N, 1, H, W) is the weight of warped frame 0.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn


@dataclass(frozen=True)
class Synthesis:
    """Frame t and the maps it is made of; networks that return more use a subclass.

    Attributes:
        frame: (N, 3, H, W), RGB, clamped to [0, 1] where the paper's network clamps.
        flow_t0: (N, 2, H, W), F_{t->0} in pixels; None where a network has no such flow.
        flow_t1: (N, 2, H, W), F_{t->1} in pixels; None where a network has no such flow.
        mask: (N, 1, H, W) in [0, 1], the weight of warped frame 0; None where a network has no such mask.
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
        any_time: Whether it takes any t in (0, 1); otherwise it takes t = 1/2 alone, and the runtime makes other times
            by recursion.
        extrapolates: Whether it makes the frame after the second, t = 2, and none in between.
        scales: The values that `set_scale` takes; empty if it takes none.
        fixed_graph: Whether its operations are the same for frames of any size and content.
        parts: The parts that a benchmark times, each with the names of its submodules; empty for a default choice.
    """

    config: Any = None
    multiple: int = 32
    any_time: bool = False
    extrapolates: bool = False
    scales: tuple[float, ...] = ()
    fixed_graph: bool = True
    parts: Mapping[str, tuple[str, ...]] = {}

    @abstractmethod
    def pair(self, frame0: Tensor, frame1: Tensor) -> Any:
        """Compute what depends on the two frames alone; its type is up to the network."""

    @abstractmethod
    def at(self, pair: Any, t: Tensor) -> Synthesis:
        """Frame t from the result of `pair`; `t` is (N, 1, 1, 1)."""

    def set_scale(self, scale: float) -> None:
        """Estimate motion on frames scaled by `scale`, one of `scales`."""
        raise NotImplementedError

    def forward(self, frame0: Tensor, frame1: Tensor, t: Tensor) -> Synthesis:
        """Frame t of two frames (N, 3, H, W), RGB in [0, 1]."""
        return self.at(self.pair(frame0, frame1), t)


@dataclass(frozen=True)
class MaskPair:
    """Label maps of two frames; a label means the same in both."""

    labels0: Tensor  # (N, H, W), of frame 0: integers from 0 to `count` - 1
    labels1: Tensor  # (N, H, W), of frame 1: integers from 0 to `count` - 1
    count: int  # the number of labels; a frame need not show them all

    def apply(self, function: Callable[[Tensor], Tensor]) -> MaskPair:
        """The masks with `function` applied to both maps."""
        return MaskPair(function(self.labels0), function(self.labels1), self.count)


class MaskedNetwork(Network):
    """Base of the networks that take masks with the frames; without masks a frame is one region."""

    @abstractmethod
    def pair(self, frame0: Tensor, frame1: Tensor, masks: MaskPair | None = None) -> Any:
        """Compute what depends on the two frames and their masks alone."""

    def forward(self, frame0: Tensor, frame1: Tensor, t: Tensor, masks: MaskPair | None = None) -> Synthesis:
        """Frame t of two frames (N, 3, H, W), RGB in [0, 1], and the masks of both."""
        return self.at(self.pair(frame0, frame1, masks), t)

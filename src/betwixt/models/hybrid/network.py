"""hybrid: two motions at once, that of the search of `compact` and that of RIFE 4.6, fused by our own networks.

A search finds small motion to a fraction of a pixel, and fine texture; a network that has seen many films finds large
motion, and what hides what. Where they agree it does not matter whom to ask; where they do not, the two frames often
tell who is right, and where they do not tell, the mean of two guesses is nearer the truth than either.

    frames 0, 1 ──┬─► dis ──────► motion A at t: F_{t->0}, F_{t->1}, logit w          (see models/dis.py)
                  └─► RIFE 4.6 ─► motion B at t: the same                             (see models/rife_v4.py)
    frames warped by both ──► flow network, 1/4 .. 1/16 ──► corrections of both motions; logit m; state at 1/4
    frames warped anew, state ──► detail network, 1/2 and 1/4 ──► corrections of all that, colours, two softness maps
    blend_A  =  w_A warp(frame 0, F_{t->0}) + (1 - w_A) warp(frame 1, F_{t->1})        blend_B likewise
    blend    =  m blend_A + (1 - m) blend_B
    frame t  =  blend + s1 (G1 blend - blend) + s2 (G2 blend - blend) + colours

The parts are those of `compact`, which see two motions instead of one. Shapes, for frames (N, 3, H, W) at the working
size, sides multiples of 32:

    motion      (N, 5, H, W)       F_{t->0}, F_{t->1} in pixels, (x, y), and the logit of the weight of warped frame 0
    share       (N, 1, H, W)       the logit of m, how far motion A is followed
    state       (N, C, H/4, W/4)   what the flow network hands to the detail network

What was chosen, and why:

- Two motions, not the better one of two. Without training, `compact` on whichever motion the frames agree with better
  gains 0.4 dB on DAVIS; the mean of `compact` on either of them gains 0.6.
- m begins at how well the frames agree: a logistic function of the difference of the mean absolute differences of the
  two warped frames around a pixel, in 8-bit steps, as `dis` chooses between its own two.
- The networks start from those of `compact`, which know motion A; corrections of B and of m start at zero.
- RIFE 4.6 is used as its author trained it, on far more films than are at hand here; the networks that fuse are ours.

References: Huang et al., RIFE, ECCV 2022, and Practical-RIFE, version 4.6; those of `betwixt.models.compact.network`.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from betwixt.layers.ifblock import IFBlock
from betwixt.layers.warp import backward_warp
from betwixt.models.compact.config import CompactConfig
from betwixt.models.compact.initial_motion import network_size
from betwixt.models.compact.network import (
    Compact,
    DetailTrunk,
    FlowTrunk,
    apply_softness,
    disagreement,
    initialize,
    unshuffle_frames,
    upsample2x,
)
from betwixt.models.hybrid.config import HYBRID, HybridConfig
from betwixt.models.network import Network, Synthesis
from betwixt.models.rife.v4 import RIFE_4_6, RIFEv4

_AROUND = 5
"""The side of the window in which agreement is measured, in pixels of half the working size."""

_IDLE = 2
"""Maps of zeros: to lay out sixty maps takes OpenVINO five times as long as sixty-two."""

_MOST = 12.0
"""The logit of m at its beginning, at most: a network can still turn it."""


@dataclass(frozen=True)
class FusionOutput:
    """Frame t, and how it came about, at the working size.

    Attributes:
        frame: (N, 3, H, W), not clamped.
        motions: A and B, (N, 5, H, W) each.
        share: (N, 1, H, W), m.
        colours: (N, 3, H, W), what was added to the blend.
        softness: (N, 2, H, W), s1 and s2.
        coarse: The motions before the detail network; for the training loss.
    """

    frame: Tensor
    motions: tuple[Tensor, Tensor]
    share: Tensor
    colours: Tensor
    softness: Tensor
    coarse: tuple[Tensor, Tensor]


class FlowNetwork(FlowTrunk):
    """Mends two motions and tells which to follow."""

    def __init__(self, widths: tuple[int, int, int]) -> None:
        # Two pairs of pictures, four flows, two weights, the share and t.
        super().__init__(widths, 2 * (24 + 4 + 1) + 2, 11)
        self.idle = 0

    def forward(
        self, a0: Tensor, a1: Tensor, b0: Tensor, b1: Tensor, flows: Tensor, logits: Tensor, t: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Corrections at a quarter of the size, the logit of m at half of it, and the state.

        Args:
            a0: (N, 3, H, W), frame 0 warped by motion A; `a1`, `b0` and `b1` likewise.
            a1: See above.
            b0: See above.
            b1: See above.
            flows: (N, 8, H/2, W/2), those of A and of B, averaged, in pixels of the working size.
            logits: (N, 2, H, W), of the weights of A and of B.
            t: (N, 1, 1, 1).

        Returns:
            (N, 10, H/4, W/4) of A's and of B's motion, (N, 1, H/2, W/2), and (N, a, H/4, W/4).
        """
        seen_a, seen_b = unshuffle_frames(a0, a1), unshuffle_frames(b0, b1)
        share = _agreement(seen_a, seen_b)
        weights = F.avg_pool2d(torch.sigmoid(logits) - 0.5, 2)
        times = t.expand(-1, 1, *seen_a.shape[-2:])
        idle = [torch.zeros_like(times)] * self.idle
        given = seen_a, seen_b, 0.05 * flows, weights, torch.sigmoid(share) - 0.5, times, *idle
        change, state = self.corrections(torch.cat(given, dim=1))
        return change[:, :10], share + upsample2x(change[:, 10:]), state

    def with_idle_channels(self) -> FlowNetwork:
        """The same with some maps of zeros beside those that it is given, for OpenVINO."""
        wider = copy.deepcopy(self)
        wider.idle = _IDLE
        first: Any = wider.get_submodule("quarter.0.0")
        first.weight = nn.Parameter(F.pad(first.weight, (0, 0, 0, 0, 0, _IDLE)))
        return wider


class DetailNetwork(DetailTrunk):
    """Corrects two motions, the share and colours."""

    def __init__(self, width: int, low: int, state: int) -> None:
        # Two pairs of pictures with flows, weight and doubt; the share, and the doubt between A and B.
        super().__init__(width, low, state, 2 * (24 + 4 + 1 + 1) + 2, 16)

    def forward(
        self,
        a0: Tensor,
        a1: Tensor,
        b0: Tensor,
        b1: Tensor,
        flows: Tensor,
        logits: Tensor,
        share: Tensor,
        state: Tensor,
    ) -> Tensor:
        """(N, 16, H, W): corrections of A's and B's motions (5 each) and of the logit of m, colours (3), s1, s2.

        Args as of `FlowNetwork`, with `share` (N, 1, H/2, W/2), the logit of m, and the state.
        """
        weights = torch.sigmoid(logits)
        w_a, w_b = weights[:, :1], weights[:, 1:]
        m = torch.sigmoid(share)
        blends = w_a * a0 + (1.0 - w_a) * a1, w_b * b0 + (1.0 - w_b) * b1
        between = disagreement(*blends, F.interpolate(m, scale_factor=2.0, mode="bilinear"))
        given = (
            *(unshuffle_frames(a0, a1), unshuffle_frames(b0, b1), 0.05 * flows, F.avg_pool2d(weights - 0.5, 2)),
            *(disagreement(a0, a1, w_a), disagreement(b0, b1, w_b), m - 0.5, between),
        )
        return self.corrections(torch.cat(given, dim=1), state)


class Fusion(nn.Module):
    """The networks that fuse two motions; see the module for what they compute and why."""

    def __init__(self, config: HybridConfig | None = None) -> None:
        super().__init__()
        self.config = config or HYBRID
        self.flow = FlowNetwork(self.config.flow)
        self.detail = DetailNetwork(*self.config.detail, self.config.flow[0])
        initialize(self, self.flow.head, self.detail.head)

    def forward(self, frame0: Tensor, frame1: Tensor, t: Tensor, first: Tensor, second: Tensor) -> FusionOutput:
        """Frame t of two frames and of two motions.

        Args:
            frame0: (N, 3, H, W), RGB in [0, 1]; the sides are multiples of 16.
            frame1: The same.
            t: (N, 1, 1, 1), in (0, 1).
            first: (N, 5, H, W), motion A.
            second: (N, 5, H, W), motion B.
        """
        motions = first.float(), second.float()
        # What the networks see is given; they learn from what they change.
        with torch.no_grad():
            given = _shown(frame0, frame1, motions, "bilinear")
        change, share, state = self.flow(*given, t)
        change = F.interpolate(change.float(), scale_factor=4.0, mode="bilinear")
        coarse = motions[0] + change[:, :5], motions[1] + change[:, 5:]
        with torch.no_grad():
            given = _shown(frame0, frame1, coarse, "bicubic")
        change = self.detail(*given, share.detach(), state).float()
        motions = coarse[0] + change[:, :5], coarse[1] + change[:, 5:10]
        m = torch.sigmoid(upsample2x(share.float()) + change[:, 10:11])
        colours, softness = change[:, 11:14], change[:, 14:16]
        frame = compose(frame0, frame1, motions, m, colours, softness)
        return FusionOutput(frame, motions, m, colours, softness, coarse)


class RIFEPart(nn.Module):
    """The motion that RIFE 4.6 finds, without its frame."""

    def __init__(self, network: RIFEv4) -> None:
        super().__init__()
        self.network = network

    def forward(self, frame0: Tensor, frame1: Tensor, t: Tensor) -> Tensor:
        """(N, 5, H, W), motion B, of frames (N, 3, H, W) whose sides are multiples of 32."""
        for estimate in self.network.estimates(self.network.pair(frame0, frame1), t):
            last = estimate
        return torch.cat((last.flow_t0, last.flow_t1, last.logit), dim=1)


class RIFEBlockPart(nn.Module):
    """A block of RIFE 4.6 as the runtime calls it, which warps, enlarges and shrinks by faster means."""

    def __init__(self, block: IFBlock) -> None:
        super().__init__()
        self.block = block

    def forward(self, warped0: Tensor, warped1: Tensor, maps: Tensor) -> Tensor:
        """(N, 5, h, w), flows and logit as the block corrects them, in pixels of what it sees.

        Args:
            warped0: (N, 3, h, w), frame 0 as it is warped so far, at the size in which the block sees it.
            warped1: Likewise frame 1.
            maps: (N, 1, h, w), t, of the first block; (N, 6, h, w), t, logit and flows, of the others.
        """
        return self.block.body(torch.cat((warped0, warped1, maps), dim=1))


class HybridNetwork(Network):
    """`Fusion` and RIFE 4.6 behind the interface of the papers' networks, without the search: for what they cost.

    At work, the runtime searches, and warps by other means (`betwixt.models.hybrid.interpolator`).
    """

    multiple = 32
    any_time = True

    def __init__(self, config: HybridConfig | None = None, *, fusion: Fusion | None = None) -> None:
        super().__init__()
        self.fusion = fusion or Fusion(config)
        self.config = self.fusion.config
        self.rife = RIFEPart(RIFEv4(RIFE_4_6))

    def pair(self, frame0: Tensor, frame1: Tensor) -> tuple[Tensor, Tensor]:
        """The frames at the working size, padded."""
        size = [-(-side // self.multiple) * self.multiple for side in network_size(*frame0.shape[-2:])]
        small = (F.interpolate(frame, size, mode="bilinear", antialias=True) for frame in (frame0, frame1))
        return next(small), next(small)

    def at(self, pair: tuple[Tensor, Tensor], t: Tensor) -> Synthesis:
        """Frame t, at the working size, where the search finds no motion."""
        frame0, frame1 = pair
        still = torch.zeros_like(frame0[:, :1]).expand(-1, 5, -1, -1)
        output = self.fusion(frame0, frame1, t, still, self.rife(frame0, frame1, t))
        motion = output.motions[0]
        return Synthesis(output.frame, motion[:, 0:2], motion[:, 2:4], torch.sigmoid(motion[:, 4:5]))


def compose(
    frame0: Tensor,
    frame1: Tensor,
    motions: tuple[Tensor, Tensor],
    share: Tensor,
    colours: Tensor,
    softness: Tensor,
) -> Tensor:
    """Frame t (N, 3, H, W) of what the networks found: see `FusionOutput` for shapes and units."""
    blends = []
    for motion in motions:
        weight = torch.sigmoid(motion[:, 4:5])
        warped1 = backward_warp(frame1, motion[:, 2:4], "bicubic")
        blends.append(warped1 + weight * (backward_warp(frame0, motion[:, 0:2], "bicubic") - warped1))
    blend = blends[1] + share * (blends[0] - blends[1])
    return apply_softness(blend, colours, softness)


def init_from_compact(network: Fusion, compact: dict[str, Tensor]) -> None:
    """Let a network begin with what one of `compact` of the same widths has learned of motion A.

    Args:
        network: Fresh; what it knows of motion B and of the share stays as it is: nothing.
        compact: The state of a `compact.Compact`.

    Raises:
        ValueError: if the widths are not the same.
    """
    like = Compact(CompactConfig(network.config.flow, network.config.detail)).state_dict()
    if {name: value.shape for name, value in compact.items()} != {name: value.shape for name, value in like.items()}:
        raise ValueError("A hybrid begins with weights of compact of the same widths: these are of others.")
    state = network.state_dict()
    for name, theirs in compact.items():
        mine = state[name]
        value = theirs.to(mine.dtype)
        if name == "flow.quarter.0.0.weight":
            mine.zero_()
            # Theirs: 24 pictures, the motion u = F_{t->1} - F_{t->0}, weight, t.
            mine[:, :24], mine[:, 48:50], mine[:, 50:52] = value[:, :24], -value[:, 24:26], value[:, 24:26]
            mine[:, 56], mine[:, 59] = value[:, 26], value[:, 27]
        elif name == "detail.inputs.0.weight":
            mine.zero_()
            # Theirs: 24 pictures, four flows, weight, doubt.
            mine[:, :24], mine[:, 48:52], mine[:, 56], mine[:, 58] = (
                *(value[:, :24], value[:, 24:28]),
                *(value[:, 28], value[:, 29]),
            )
        elif name.startswith("flow.head."):
            mine[:5] = value
        elif name.startswith("detail.head."):
            # Channels of a pixel shuffle lie by fours: five of motion A, five of B, the share, then the others.
            mine[:20], mine[44:] = value[:20], value[20:]
        else:
            mine.copy_(value)
    network.load_state_dict(state)


def _shown(
    frame0: Tensor, frame1: Tensor, motions: tuple[Tensor, Tensor], mode: str
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """What a network is shown of both motions: four warped frames, flows at half the size, logits."""
    a, b = (motion.detach() for motion in motions)
    warped = [
        backward_warp(frame, flow, mode)
        for motion in (a, b)
        for frame, flow in ((frame0, motion[:, 0:2]), (frame1, motion[:, 2:4]))
    ]
    flows = F.avg_pool2d(torch.cat((a[:, :4], b[:, :4]), dim=1), 2)
    return warped[0], warped[1], warped[2], warped[3], flows, torch.cat((a[:, 4:5], b[:, 4:5]), dim=1)


def _agreement(seen_a: Tensor, seen_b: Tensor) -> Tensor:
    """(N, 1, H/2, W/2): how much better, in 8-bit steps, the frames warped by A agree than those warped by B."""
    costs = torch.cat([(x[:, :12] - x[:, 12:]).abs().mean(dim=1, keepdim=True) for x in (seen_a, seen_b)], dim=1)
    reach = _AROUND // 2
    costs = F.avg_pool2d(F.pad(costs, (reach,) * 4, mode="replicate"), _AROUND, stride=1)
    return (255.0 * (costs[:, 1:] - costs[:, :1])).clamp(-_MOST, _MOST)

"""hybrid: two motions, that of the search of `compact` and that of RIFE 4.6, fused by two networks.

A search finds small motion to a fraction of a pixel, and fine texture; a network trained on many films finds large
motion, and occlusions. Where they agree, either serves; where they differ, the two frames often tell which is right,
and where they do not, the mean of two estimates has less error than either.

    frames 0, 1 ──┬─► dis ──────► motion A at t: F_{t->0}, F_{t->1}, logit w     (see models/dis/interpolator.py)
                  └─► RIFE 4.6 ─► motion B at t: F_{t->0}, F_{t->1}, logit w     (see models/rife/v4.py)
    frames warped by both ──► flow network, 1/4 .. 1/16 ──► corrections of both motions; logit m; state at 1/4
    frames warped again, state ──► detail network, 1/2 and 1/4 ──► corrections of all these, colours, s1, s2
    blend_A  =  w_A warp(frame 0, F_{t->0}) + (1 - w_A) warp(frame 1, F_{t->1})        blend_B in the same way
    blend    =  m blend_A + (1 - m) blend_B
    frame t  =  blend + colour residual
    with softness:  blend + s1 (G1 blend - blend) + s2 (G2 blend - blend) + colour residual

The networks are those of `compact` with two motions as input instead of one. Shapes, for frames (N, 3, H, W) at the
network size, sides multiples of 32:

    motion      (N, 5, H, W)       F_{t->0}, F_{t->1} in pixels, (x, y), and the logit of the weight of warped frame 0
    share       (N, 1, H, W)       the logit of m, the weight of motion A against motion B
    state       (N, C, H/4, W/4)   features passed from the flow network to the detail network

Design choices:

- Both motions, not the better of the two: the mean of two estimates has less error than a choice between them.
- m starts from how well the frames agree: a sigmoid of the difference of the mean absolute differences of the two
  warped frames around a pixel, in 8-bit steps, as `dis` chooses between its own two flows.
- Training starts from the weights of `compact`, which know motion A; corrections of B and of m start at zero.
- RIFE 4.6 is used as its authors trained it, on far more films than are available here; the fusing networks are ours.
- RIFE does not find the same motion from frame 0 to frame 1 and back; the mean of both has less error, above all in
  large motion. All blocks but the finest, which takes half of the operations, run in both directions.
- RIFE sees the frames at 1.25 times the network size, upscaled if they are smaller: things appear larger to it, and its
  motion becomes more exact. On davis_dev that gives 0.3 dB and 2.2 points of SSIMULACRA 2.
- Where the motions are apart, m prefers B: a blend of two different motions shows edges twice.
- Softness, the maps s1 and s2, is for `hybrid-psnr` alone, and corrections are smoothed, as in `compact`.

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
from betwixt.models.compact.network import (
    Compact,
    DetailTrunk,
    FlowTrunk,
    correct,
    disagreement,
    initialize,
    resize_to_network,
    unshuffle_frames,
    upsample2x,
)
from betwixt.models.hybrid.config import APART_WINDOW, MULTIPLE, HybridConfig, rife_size
from betwixt.models.network import Network, Synthesis
from betwixt.models.rife.v4 import RIFE_4_6, RIFEv4

_AGREEMENT_WINDOW = 5
"""The side of the window over which agreement is averaged, in pixels of half the network size."""

_IDLE_CHANNELS = 2
"""Zero channels added to the flow network's input: OpenVINO takes five times as long to lay out 60 channels as 62."""

_MAX_LOGIT = 12.0
"""The largest magnitude of the initial logit of m, which a network can still reverse."""


@dataclass(frozen=True)
class FusionOutput:
    """Frame t and the maps it is made of, at the network size."""

    frame: Tensor  # (N, 3, H, W), not clamped
    motions: tuple[Tensor, Tensor]  # a and B, (N, 5, H, W) each
    share: Tensor  # (N, 1, H, W), m, the weight of motion A
    colour_residual: Tensor  # (N, 3, H, W), the residual added to the blend
    softness: Tensor  # (N, 2, H, W), s1 and s2; without effect unless `HybridConfig.softness`
    coarse: tuple[Tensor, Tensor]  # the motions before the detail network; for the training loss


class FlowNetwork(FlowTrunk):
    """Refines two motions and predicts how to weight them."""

    def __init__(self, widths: tuple[int, int, int]) -> None:
        # Two pairs of images, four flows, two weights, the share and t.
        super().__init__(widths, 2 * (24 + 4 + 1) + 2, 11)
        self.idle_channels = 0

    def forward(
        self, a0: Tensor, a1: Tensor, b0: Tensor, b1: Tensor, flows: Tensor, logits: Tensor, t: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Corrections of both motions (N, 10, H/4, W/4), the logit of m (N, 1, H/2, W/2), the state (N, a, H/4, W/4).

        `a0`, `a1` are frames 0 and 1 warped by motion A, `b0`, `b1` by B, (N, 3, H, W). `flows` (N, 8, H/2, W/2) are
        those of A and of B, averaged, in pixels of the network size; `logits` (N, 2, H, W) are of their weights.
        """
        frames_a, frames_b = unshuffle_frames(a0, a1), unshuffle_frames(b0, b1)
        share = _agreement(frames_a, frames_b)
        weights = F.avg_pool2d(torch.sigmoid(logits) - 0.5, 2)
        times = t.expand(-1, 1, *frames_a.shape[-2:])
        idle = [torch.zeros_like(times)] * self.idle_channels
        maps = frames_a, frames_b, 0.05 * flows, weights, torch.sigmoid(share) - 0.5, times, *idle
        change, state = self.corrections(torch.cat(maps, dim=1))
        return change[:, :10], share + upsample2x(change[:, 10:]), state

    def with_idle_channels(self) -> FlowNetwork:
        """This network with idle channels of zeros in its input: it computes the same, faster in OpenVINO."""
        wider = copy.deepcopy(self, {id(parameter): parameter for parameter in self.parameters()})
        wider.idle_channels = _IDLE_CHANNELS
        wider.quarter[0][0] = _IdleChannelsConv(wider.quarter[0][0])  # type: ignore[index, operator]
        return wider


class _IdleChannelsConv(nn.Module):
    """A convolution whose input has idle channels of zeros behind its own."""

    def __init__(self, convolution: Any) -> None:
        super().__init__()
        self.convolution = convolution

    def forward(self, x: Tensor) -> Tensor:
        convolution = self.convolution
        weight = F.pad(convolution.weight, (0, 0, 0, 0, 0, _IDLE_CHANNELS))
        return F.conv2d(x, weight, convolution.bias, convolution.stride, convolution.padding)


class DetailNetwork(DetailTrunk):
    """Corrects two motions, the share and colours of `hybrid`."""

    def __init__(self, width: int, low: int, state: int) -> None:
        # For A and B: images, flows, weight, disagreement. Besides: the share, and the disagreement of A and B.
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

        The arguments are those of `FlowNetwork`, the logit `share` of m (N, 1, H/2, W/2), and the state.
        """
        weights = torch.sigmoid(logits)
        w_a, w_b = weights[:, :1], weights[:, 1:]
        m = torch.sigmoid(share)
        blends = w_a * a0 + (1.0 - w_a) * a1, w_b * b0 + (1.0 - w_b) * b1
        between = disagreement(*blends, F.interpolate(m, scale_factor=2.0, mode="bilinear"))
        maps = (
            *(unshuffle_frames(a0, a1), unshuffle_frames(b0, b1), 0.05 * flows, F.avg_pool2d(weights - 0.5, 2)),
            *(disagreement(a0, a1, w_a), disagreement(b0, b1, w_b), m - 0.5, between),
        )
        return self.corrections(torch.cat(maps, dim=1), state)


class Fusion(nn.Module):
    """The networks that fuse two motions; the module describes what they compute."""

    def __init__(self, config: HybridConfig | None = None) -> None:
        super().__init__()
        self.config = config or HybridConfig()
        self.flow = FlowNetwork(self.config.flow)
        self.detail = DetailNetwork(*self.config.detail, self.config.flow[0])
        initialize(self, self.flow.head, self.detail.head)

    def forward(self, frame0: Tensor, frame1: Tensor, t: Tensor, first: Tensor, second: Tensor) -> FusionOutput:
        """Frame t, from two frames and two motions.

        Args:
            frame0: (N, 3, H, W), RGB in [0, 1]; the sides are multiples of 16.
            frame1: (N, 3, H, W), RGB in [0, 1].
            t: (N, 1, 1, 1), in (0, 1).
            first: (N, 5, H, W), motion A.
            second: (N, 5, H, W), motion B.
        """
        motions = first.float(), second.float()
        # Gradients flow through what the networks change, not through their inputs.
        with torch.no_grad():
            inputs = _network_inputs(frame0, frame1, motions, "bilinear")
        change, share, state = self.flow(*inputs, t)
        change = F.interpolate(change.float(), scale_factor=4.0, mode="bilinear")
        coarse = motions[0] + change[:, :5], motions[1] + change[:, 5:]
        with torch.no_grad():
            inputs = _network_inputs(frame0, frame1, coarse, "bicubic")
        change = self.detail(*inputs, share.detach(), state).float()
        motions = coarse[0] + change[:, :5], coarse[1] + change[:, 5:10]
        offset = self.config.share_offset * _apart(*motions)
        m = torch.sigmoid(upsample2x(share.float()) + change[:, 10:11] + offset)
        colour_residual, softness = change[:, 11:14], change[:, 14:16]
        frame = compose(frame0, frame1, motions, m, colour_residual, softness if self.config.softness else None)
        return FusionOutput(frame, motions, m, colour_residual, softness, coarse)


class RIFEPart(nn.Module):
    """RIFE 4.6 without its frame: the motion alone.

    Args:
        network: The trained network.
        symmetric_blocks: As in `HybridConfig`.
    """

    def __init__(self, network: RIFEv4, symmetric_blocks: int) -> None:
        super().__init__()
        self.network = network
        self.symmetric_blocks = symmetric_blocks

    def forward(self, frame0: Tensor, frame1: Tensor, t: Tensor) -> Tensor:
        """(N, 5, H, W), motion B, of frames (N, 3, H, W) whose sides are multiples of 32."""
        network, count = self.network, self.symmetric_blocks
        pair = network.pair(frame0, frame1)
        motion = None
        if count:
            forward = network.refine(pair, t, None, 0, count)
            backward = network.refine(network.pair(frame1, frame0), 1.0 - t, None, 0, count)
            motion = 0.5 * (forward + reverse_motion(backward))
        return network.refine(pair, t, motion, count)


def reverse_motion(motion: Tensor) -> Tensor:
    """The motion (N, 5, H, W) between two frames as that between the same frames in the opposite order."""
    return torch.cat((motion[:, 2:4], motion[:, 0:2], -motion[:, 4:5]), dim=1)


class RIFEBlockPart(nn.Module):
    """A block of RIFE 4.6 as inference runs it: warps and resizing are done outside, by OpenCV."""

    def __init__(self, block: IFBlock) -> None:
        super().__init__()
        self.block = block

    def forward(self, warped0: Tensor, warped1: Tensor, maps: Tensor) -> Tensor:
        """Corrections of flows and logit, (N, 5, h, w), in pixels of the block's size.

        `warped0` and `warped1` (N, 3, h, w) are the frames warped by the flows so far, at that size; `maps` are t for
        the first block (N, 1, h, w), and t, logit and flows for the others (N, 6, h, w).
        """
        return self.block.body(torch.cat((warped0, warped1, maps), dim=1))


class HybridNetwork(Network):
    """`Fusion` and RIFE 4.6 as a `Network`, without the search: for training, and to count their cost.

    Inference is in `betwixt.models.hybrid.interpolator`, which searches, and warps with OpenCV.
    """

    multiple = MULTIPLE
    any_time = True

    def __init__(self, config: HybridConfig | None = None, *, fusion: Fusion | None = None) -> None:
        super().__init__()
        self.fusion = fusion or Fusion(config)
        self.config = self.fusion.config
        self.rife = RIFEPart(RIFEv4(RIFE_4_6), self.config.symmetric_blocks)

    def pair(self, frame0: Tensor, frame1: Tensor) -> tuple[Tensor, Tensor]:
        """The frames at the network size, padded."""
        return resize_to_network(frame0, self.multiple), resize_to_network(frame1, self.multiple)

    def at(self, pair: tuple[Tensor, Tensor], t: Tensor) -> Synthesis:
        """Frame t at the network size, with zero for the motion of the search."""
        frame0, frame1 = pair
        no_motion = torch.zeros_like(frame0[:, :1]).expand(-1, 5, -1, -1)
        output = self.fusion(frame0, frame1, t, no_motion, self._rife_motion(frame0, frame1, t))
        motion = output.motions[0]
        return Synthesis(output.frame, motion[:, 0:2], motion[:, 2:4], torch.sigmoid(motion[:, 4:5]))

    def _rife_motion(self, frame0: Tensor, frame1: Tensor, t: Tensor) -> Tensor:
        """Motion B (N, 5, H, W): the mean of those at all scales; at every second one frames are turned."""
        h, w = frame0.shape[2:]
        motions = []
        for number, scale in enumerate(self.config.rife_scales):
            size = rife_size(h, w, scale)
            frames = [F.interpolate(frame, size, mode="bilinear") for frame in (frame0, frame1)]
            turned = bool(number % 2)
            motion = self.rife(*(frame.flip(2, 3) if turned else frame for frame in frames), t)
            units = motion.new_tensor([w / size[1], h / size[0]] * 2)
            if turned:
                motion, units = motion.flip(2, 3), -units
            motion = motion * F.pad(units, (0, 1), value=1.0)[:, None, None]
            motions.append(F.interpolate(motion, (h, w), mode="bilinear"))
        return torch.stack(motions).mean(dim=0)


def compose(
    frame0: Tensor,
    frame1: Tensor,
    motions: tuple[Tensor, Tensor],
    share: Tensor,
    colour_residual: Tensor,
    softness: Tensor | None,
) -> Tensor:
    """Frame t (N, 3, H, W) from its maps; see `FusionOutput` for shapes and units."""
    blends = []
    for motion in motions:
        weight = torch.sigmoid(motion[:, 4:5])
        warped1 = backward_warp(frame1, motion[:, 2:4], "bicubic")
        blends.append(warped1 + weight * (backward_warp(frame0, motion[:, 0:2], "bicubic") - warped1))
    blend = blends[1] + share * (blends[0] - blends[1])
    return correct(blend, colour_residual, softness)


def init_from_compact(network: Fusion, compact: dict[str, Tensor]) -> None:
    """Initialize the layers that process motion A with the weights of a `Compact` of the same widths.

    Args:
        network: Freshly initialized; the layers of motion B and of the share keep their zeros.
        compact: The state dict of a `Compact`.

    Raises:
        ValueError: if the widths differ.
    """
    expected = Compact(CompactConfig(network.config.flow, network.config.detail)).state_dict()
    if {name: x.shape for name, x in compact.items()} != {name: x.shape for name, x in expected.items()}:
        raise ValueError("A hybrid starts from weights of compact with the same widths: these have others.")
    state = network.state_dict()
    for name, source in compact.items():
        target = state[name]
        source = source.to(target.dtype)
        if name == "flow.quarter.0.0.weight":
            target.zero_()
            # The inputs of compact: 24 image channels, the motion u = F_{t->1} - F_{t->0}, weight, t.
            target[:, :24], target[:, 48:50], target[:, 50:52] = source[:, :24], -source[:, 24:26], source[:, 24:26]
            target[:, 56], target[:, 59] = source[:, 26], source[:, 27]
        elif name == "detail.inputs.0.weight":
            target.zero_()
            # The inputs of compact: 24 image channels, four flow components, weight, disagreement.
            target[:, :24], target[:, 48:52] = source[:, :24], source[:, 24:28]
            target[:, 56], target[:, 58] = source[:, 28], source[:, 29]
        elif name.startswith("flow.head."):
            target[:5] = source
        elif name.startswith("detail.head."):
            # Four channels a pixel shuffle: five maps of motion A, five of B, the share, then the others.
            target[:20], target[44:] = source[:20], source[20:]
        else:
            target.copy_(source)
    network.load_state_dict(state)


def _network_inputs(
    frame0: Tensor, frame1: Tensor, motions: tuple[Tensor, Tensor], mode: str
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The inputs of a network: the four warped frames, the flows at half the size, the logits."""
    a, b = (motion.detach() for motion in motions)
    warped = [
        backward_warp(frame, flow, mode)
        for motion in (a, b)
        for frame, flow in ((frame0, motion[:, 0:2]), (frame1, motion[:, 2:4]))
    ]
    flows = F.avg_pool2d(torch.cat((a[:, :4], b[:, :4]), dim=1), 2)
    return warped[0], warped[1], warped[2], warped[3], flows, torch.cat((a[:, 4:5], b[:, 4:5]), dim=1)


def _apart(first: Tensor, second: Tensor) -> Tensor:
    """(N, 1, H, W) in [0, 1]: how far two motions are apart around each pixel, 1 from a pixel on."""
    distance = (first[:, :4] - second[:, :4]).detach().square().sum(dim=1, keepdim=True).sqrt()
    padding = (APART_WINDOW // 2,) * 4
    return F.avg_pool2d(F.pad(distance, padding, mode="replicate"), APART_WINDOW, stride=1).clamp(max=1.0)


def _agreement(frames_a: Tensor, frames_b: Tensor) -> Tensor:
    """(N, 1, H/2, W/2): how much better, in 8-bit steps, the frames warped by A agree than those warped by B."""
    costs = [(x[:, :12] - x[:, 12:]).abs().mean(dim=1, keepdim=True) for x in (frames_a, frames_b)]
    padding = (_AGREEMENT_WINDOW // 2,) * 4
    cost = F.avg_pool2d(F.pad(torch.cat(costs, dim=1), padding, mode="replicate"), _AGREEMENT_WINDOW, stride=1)
    return (255.0 * (cost[:, 1:] - cost[:, :1])).clamp(-_MAX_LOGIT, _MAX_LOGIT)

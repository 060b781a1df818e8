"""compact and compact-large, the networks that Betwixt ships: classical flow, refined.

Not a paper's network but the parts of several that cost least for what they give. The large motion is found by dense
inverse search (`models.dis`), which needs no training and finds what a small network finds only after days of
it; the network does what a search cannot: it mends the flow where frames disagree, decides which frame to trust, and
corrects colours.

    frames 0, 1 ──► dis ──► motion u at t, visibility w                                  (see models/dis.py)
                             F_{t->0} = -t u,  F_{t->1} = (1 - t) u
    frames warped ──► flow network, 1/4 .. 1/16 ──► corrections of F_{t->0}, F_{t->1}, logit w; state at 1/4
    frames warped anew ──► detail network, 1/2 and 1/4 ──► corrections of flows, logit w and colours at full size
    blend    =  w warp(frame 0, F_{t->0}) + (1 - w) warp(frame 1, F_{t->1})
    frame t  =  blend + s1 (G1 blend - blend) + s2 (G2 blend - blend) + colours

Shapes, for frames (N, 3, H, W) at the working size, sides multiples of 16:

    u            (N, 2, H, W)       motion from frame 0 to frame 1 of what is seen at t, in pixels
    logit        (N, 1, H, W)       its sigmoid is the weight of warped frame 0
    state        (N, C, H/4, W/4)   what the flow network hands to the detail network; C is 48, of the large one 64
    flows        (N, 2, H, W)       F_{t->0}, F_{t->1}, in pixels, (x, y)
    s1, s2       (N, 2, H, W)       how far the blend is moved towards itself blurred by Gaussians of 1 and 2.5 pixels

What was chosen, and why:

- A search to begin with. From scratch, 57,000 samples of a recurrent correlation pyramid of this size stood at 34.1 dB
  on Middlebury; the motion of `dis`, warped as here, stands at 35.5 before the first sample.
- Warping is bicubic: on the same motion it gives 0.95 dB more than bilinear on Middlebury, whose frames are sharp.
- Both networks begin with no correction (their last convolutions are zero), so training starts from `dis`.
- Where the motion is not sure or the frames are noisy, blurred detail is nearer the truth than sharp detail in the
  wrong place: on DAVIS and UCF101 that is worth 0.2 dB and more. Two maps say where, instead of colours having to say
  it pixel by pixel; negative values sharpen.
- One motion u for both directions holds for any t along straight paths (BMBC, EBME); the flow network then moves the
  two flows apart where paths are not straight.
- The fusion mask and the residual are RIFE's; coarse-to-fine in two unlike steps is NCM's (heterogeneous).
- The large one spends its operations on the synthesis, at 1/4 and below: given better flows (those of EBME in the
  place of `dis`), the small one scores no more on UCF101, so it is not the motion that it lacks there.

Cost, in multiply-adds a pixel of the working size: compact 19 k, compact-large 76 k, nearly nine tenths of it in the
detail network. At 640x368 (1280x720 at half size, padded) 8.8 and 36 GFLOP a new frame. 0.50 M and 2.81 M parameters.

References: Kroeger et al., Dense inverse search, ECCV 2016; Park et al., BMBC, ECCV 2020; Huang et al., RIFE, ECCV
2022; Jia et al., Neighbor correspondence matching, ACM MM 2022; Jin et al., EBME, WACV 2023.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from betwixt.layers.warp import backward_warp
from betwixt.models.compact.config import BLUR_SIGMAS, CompactConfig
from betwixt.models.compact.initial_motion import network_size
from betwixt.models.network import Network, Synthesis


@dataclass(frozen=True)
class CompactOutput:
    """Frame t, and how it came about, at the working size.

    Attributes:
        frame: (N, 3, H, W), not clamped.
        flow_t0: (N, 2, H, W), F_{t->0}, in pixels.
        flow_t1: (N, 2, H, W), F_{t->1}.
        weight: (N, 1, H, W), the weight of warped frame 0.
        colours: (N, 3, H, W), what was added to the blend.
        softness: (N, 2, H, W), s1 and s2.
        coarse_t0: (N, 2, H, W), F_{t->0} before the detail network; for the training loss.
        coarse_t1: (N, 2, H, W), F_{t->1} likewise.
    """

    frame: Tensor
    flow_t0: Tensor
    flow_t1: Tensor
    weight: Tensor
    colours: Tensor
    softness: Tensor
    coarse_t0: Tensor
    coarse_t1: Tensor


def conv(channels_in: int, channels_out: int, stride: int = 1) -> nn.Sequential:
    """A convolution of 3x3 and what bends it."""
    return nn.Sequential(nn.Conv2d(channels_in, channels_out, 3, stride, 1), nn.LeakyReLU(0.1, inplace=True))


def unshuffle_frames(warped0: Tensor, warped1: Tensor) -> Tensor:
    """Both warped frames at half the size, (N, 24, H/2, W/2)."""
    return F.pixel_unshuffle(torch.cat((warped0, warped1), dim=1) - 0.5, 2)


class FlowTrunk(nn.Module):
    """A U-Net from 1/4 to 1/16, with a view wide enough for objects."""

    def __init__(self, widths: tuple[int, int, int], inputs: int, outputs: int) -> None:
        super().__init__()
        a, b, c = widths
        self.quarter = nn.Sequential(conv(inputs, a, 2), conv(a, a))
        self.eighth = nn.Sequential(conv(a, b, 2), conv(b, b))
        self.sixteenth = nn.Sequential(conv(b, c, 2), conv(c, c), conv(c, c))
        self.up_eighth = nn.Conv2d(c, b, 1)
        self.join_eighth = conv(b, b)
        self.up_quarter = nn.Conv2d(b, a, 1)
        self.join_quarter = conv(a, a)
        self.head = nn.Conv2d(a, outputs, 3, 1, 1)

    def corrections(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        """What is found in maps (N, inputs, H/2, W/2): (N, outputs, H/4, W/4), and the state (N, a, H/4, W/4)."""
        quarter = self.quarter(seen)
        eighth = self.eighth(quarter)
        sixteenth = self.up_eighth(self.sixteenth(eighth))
        eighth = self.join_eighth(eighth + upsample2x(sixteenth))
        state = self.join_quarter(quarter + upsample2x(self.up_quarter(eighth)))
        return self.head(state), state


class FlowNetwork(FlowTrunk):
    """Mends the flows of the search."""

    def __init__(self, widths: tuple[int, int, int]) -> None:
        super().__init__(widths, 24 + 4, 5)

    def forward(
        self, warped0: Tensor, warped1: Tensor, motion: Tensor, logit: Tensor, t: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Corrections (N, 5, H, W) of F_{t->0}, F_{t->1} (pixels) and the logit, and the state (N, a, H/4, W/4)."""
        change, state = self.at_quarter(warped0, warped1, F.avg_pool2d(motion, 2), logit, t)
        return F.interpolate(change, scale_factor=4.0, mode="bilinear"), state

    def at_quarter(
        self, warped0: Tensor, warped1: Tensor, motion: Tensor, logit: Tensor, t: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The corrections as they are found, (N, 5, H/4, W/4), and the state; of motion (N, 2, H/2, W/2), averaged."""
        seen = unshuffle_frames(warped0, warped1)
        weight = F.avg_pool2d(torch.sigmoid(logit) - 0.5, 2)
        times = t.expand(-1, 1, *seen.shape[-2:])
        # Flow in tenths of a pixel of its own map, and weights, are of the size of pictures.
        return self.corrections(torch.cat((seen, 0.05 * motion, weight, times), dim=1))


class DetailTrunk(nn.Module):
    """A light U-Net at 1/2 and 1/4, whose maps are of full size."""

    def __init__(self, width: int, low: int, state: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.inputs = conv(inputs, width)
        self.down = conv(width, low, 2)
        self.middle = nn.Sequential(conv(low + state, low), conv(low, low))
        self.up = nn.Conv2d(low, 4 * width, 1)
        self.outputs = conv(width, width)
        self.head = nn.Conv2d(width, 4 * outputs, 3, 1, 1)

    def corrections(self, seen: Tensor, state: Tensor) -> Tensor:
        """(N, outputs, H, W), of maps (N, inputs, H/2, W/2) and the state."""
        x = self.inputs(seen)
        low = self.middle(torch.cat((self.down(x), state), dim=1))
        x = self.outputs(F.leaky_relu(x + F.pixel_shuffle(self.up(low), 2), 0.1))
        return F.pixel_shuffle(self.head(x), 2)


class DetailNetwork(DetailTrunk):
    """Corrects flows, weight and colours."""

    def __init__(self, width: int, low: int, state: int) -> None:
        super().__init__(width, low, state, 24 + 6, 10)

    def forward(self, warped0: Tensor, warped1: Tensor, flows: Tensor, logit: Tensor, state: Tensor) -> Tensor:
        """(N, 10, H, W): corrections of F_{t->0}, F_{t->1} in pixels, of the logit, of the colours; s1, s2."""
        return self.corrections(_seen(warped0, warped1, F.avg_pool2d(flows, 2), logit), state)


class _Residual(nn.Module):
    """Two convolutions whose result is added to what they were given."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = conv(channels, channels)
        self.second = nn.Conv2d(channels, channels, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x + self.second(self.first(x)), 0.1)


class DeepDetailNetwork(nn.Module):
    """A U-Net from 1/2 to 1/16 in the place of `DetailNetwork`: the same maps in and out, most of its work at 1/4."""

    def __init__(self, widths: tuple[int, int, int, int], state: int) -> None:
        super().__init__()
        a, b, c, d = widths
        self.inputs = conv(24 + 6, a)
        self.quarter = conv(a, b, 2)
        self.join = nn.Sequential(conv(b + state, b), _Residual(b))
        self.eighth = nn.Sequential(conv(b, c, 2), _Residual(c))
        self.sixteenth = nn.Sequential(conv(c, d, 2), _Residual(d), _Residual(d))
        self.up_eighth = nn.Conv2d(d, c, 1)
        self.out_eighth = _Residual(c)
        self.up_quarter = nn.Conv2d(c, b, 1)
        self.out_quarter = _Residual(b)
        self.up = nn.Conv2d(b, 4 * a, 1)
        self.outputs = _Residual(a)
        self.head = nn.Conv2d(a, 4 * 10, 3, 1, 1)

    def forward(self, warped0: Tensor, warped1: Tensor, flows: Tensor, logit: Tensor, state: Tensor) -> Tensor:
        """See `DetailNetwork`."""
        return self.corrections(_seen(warped0, warped1, F.avg_pool2d(flows, 2), logit), state)

    def corrections(self, seen: Tensor, state: Tensor) -> Tensor:
        """See `DetailNetwork`."""
        half = self.inputs(seen)
        quarter = self.join(torch.cat((self.quarter(half), state), dim=1))
        eighth = self.eighth(quarter)
        eighth = self.out_eighth(eighth + upsample2x(self.up_eighth(self.sixteenth(eighth))))
        quarter = self.out_quarter(quarter + upsample2x(self.up_quarter(eighth)))
        half = self.outputs(F.leaky_relu(half + F.pixel_shuffle(self.up(quarter), 2), 0.1))
        return F.pixel_shuffle(self.head(half), 2)


class FlowPart(nn.Module):
    """The flow network as the runtime calls it, which enlarges and shrinks maps by faster means."""

    def __init__(self, network: FlowNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, warped0: Tensor, warped1: Tensor, motion: Tensor, logit: Tensor, t: Tensor
    ) -> tuple[Tensor, Tensor]:
        """`FlowNetwork.at_quarter`."""
        return self.network.at_quarter(warped0, warped1, motion, logit, t)


class DetailPart(nn.Module):
    """The detail network likewise."""

    def __init__(self, network: DetailNetwork | DeepDetailNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, warped0: Tensor, warped1: Tensor, flows: Tensor, logit: Tensor, state: Tensor) -> Tensor:
        """What the network makes, of flows (N, 4, H/2, W/2) that are averaged already."""
        change: Tensor = self.network.corrections(_seen(warped0, warped1, flows, logit), state)
        return change


class Compact(nn.Module):
    """The network; see the module for what it computes and why."""

    def __init__(self, config: CompactConfig | None = None) -> None:
        super().__init__()
        self.config = config or CompactConfig()
        self.flow = FlowNetwork(self.config.flow)
        self.detail = _detail(self.config)
        initialize(self, self.flow.head, self.detail.head)

    def forward(self, frame0: Tensor, frame1: Tensor, t: Tensor, motion: Tensor, logit: Tensor) -> CompactOutput:
        """Frame t of two frames and of the motion that a search found.

        Args:
            frame0: (N, 3, H, W), RGB in [0, 1]; the sides are multiples of 16.
            frame1: The same.
            t: (N, 1, 1, 1), in (0, 1).
            motion: (N, 2, H, W), u in pixels.
            logit: (N, 1, H, W), of the weight of frame 0.
        """
        flow_t0, flow_t1 = -t * motion, (1.0 - t) * motion
        # What the networks see is given; they learn from what they change.
        with torch.no_grad():
            warped0, warped1 = (backward_warp(f, v, "bicubic") for f, v in ((frame0, flow_t0), (frame1, flow_t1)))
        change, state = self.flow(warped0, warped1, motion, logit, t)
        flow_t0, flow_t1, logit = flow_t0 + change[:, 0:2], flow_t1 + change[:, 2:4], logit + change[:, 4:5]
        coarse_t0, coarse_t1 = flow_t0, flow_t1
        with torch.no_grad():
            warped0, warped1 = (backward_warp(f, v, "bicubic") for f, v in ((frame0, flow_t0), (frame1, flow_t1)))
        change = self.detail(warped0, warped1, torch.cat((flow_t0, flow_t1), dim=1).detach(), logit.detach(), state)
        flow_t0, flow_t1, logit = flow_t0 + change[:, 0:2], flow_t1 + change[:, 2:4], logit + change[:, 4:5]
        weight, colours, softness = torch.sigmoid(logit), change[:, 5:8], change[:, 8:10]
        frame = compose(frame0, frame1, flow_t0, flow_t1, weight, colours.float(), softness.float())
        return CompactOutput(frame, flow_t0, flow_t1, weight, colours, softness, coarse_t0, coarse_t1)


def initialize(network: nn.Module, *last: nn.Conv2d) -> None:
    """Draw the weights of all convolutions; what the last ones correct begins uncorrected."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.bias is not None:
            nn.init.kaiming_normal_(module.weight, a=0.1)
            nn.init.zeros_(module.bias)
    for layer in last:
        nn.init.zeros_(layer.weight)


def _detail(config: CompactConfig) -> DetailNetwork | DeepDetailNetwork:
    state = config.flow[0]
    if len(config.detail) == 2:
        return DetailNetwork(*config.detail, state)
    return DeepDetailNetwork(config.detail, state)


def compose(
    frame0: Tensor,
    frame1: Tensor,
    flow_t0: Tensor,
    flow_t1: Tensor,
    weight: Tensor,
    colours: Tensor,
    softness: Tensor,
) -> Tensor:
    """Frame t (N, 3, H, W) of what the networks found: see `CompactOutput` for shapes and units."""
    blend = weight * backward_warp(frame0, flow_t0, "bicubic")
    blend = blend + (1.0 - weight) * backward_warp(frame1, flow_t1, "bicubic")
    return apply_softness(blend, colours, softness)


def apply_softness(blend: Tensor, colours: Tensor, softness: Tensor) -> Tensor:
    """A blend (N, 3, H, W) with its colours changed, and moved towards itself blurred; see `CompactOutput`."""
    frame = blend + colours
    for number, sigma in enumerate(BLUR_SIGMAS):
        frame = frame + softness[:, number : number + 1] * (gaussian_blur(blend, sigma) - blend)
    return frame


class CompactNetwork(Network):
    """`Compact` behind the interface of the papers' networks, without the search: it counts what the networks cost.

    At work, the runtime searches, and warps by other means (`betwixt.models.compact.interpolator`).
    """

    multiple = 16
    any_time = True

    def __init__(self, config: CompactConfig | None = None) -> None:
        super().__init__()
        self.compact = Compact(config)
        self.config = self.compact.config

    def pair(self, frame0: Tensor, frame1: Tensor) -> tuple[Tensor, Tensor]:
        """The frames at the working size, padded."""
        height, width = network_size(*frame0.shape[-2:])
        size = [-(-side // 16) * 16 for side in (height, width)]
        small = (F.interpolate(frame, size, mode="bilinear", antialias=True) for frame in (frame0, frame1))
        return next(small), next(small)

    def at(self, pair: tuple[Tensor, Tensor], t: Tensor) -> Synthesis:
        """Frame t, at the working size, for no motion."""
        frame0, frame1 = pair
        still = torch.zeros_like(frame0[:, :2])
        output = self.compact(frame0, frame1, t, still, still[:, :1])
        return Synthesis(output.frame, output.flow_t0, output.flow_t1, output.weight)


def gaussian_blur(picture: Tensor, sigma: float) -> Tensor:
    """(N, 3, H, W) blurred by a Gaussian of three sigmas a side; beyond the border, the border."""
    reach = math.ceil(3 * sigma)
    # What is blurred is compared with what is sharp: bfloat16 would be off by more than they differ.
    with nullcontext() if picture.is_meta else torch.autocast(picture.device.type, enabled=False):
        picture = picture.float()
        taps = torch.exp(
            -(torch.arange(-reach, reach + 1, device=picture.device, dtype=picture.dtype) ** 2) / (2 * sigma**2)
        )
        taps = (taps / taps.sum()).expand(picture.shape[1], 1, 1, -1)
        padded = F.pad(picture, (reach, reach, reach, reach), mode="replicate")
        rows = F.conv2d(padded, taps, groups=picture.shape[1])
        return F.conv2d(rows, taps.transpose(2, 3), groups=picture.shape[1])


def _seen(warped0: Tensor, warped1: Tensor, flows: Tensor, logit: Tensor) -> Tensor:
    """What a detail network is given, (N, 30, H/2, W/2): warped frames, flows (at that size), weight and doubt."""
    weight = torch.sigmoid(logit)
    given = unshuffle_frames(warped0, warped1), 0.05 * flows, F.avg_pool2d(weight - 0.5, 2)
    return torch.cat((*given, disagreement(warped0, warped1, weight)), dim=1)


def disagreement(warped0: Tensor, warped1: Tensor, weight: Tensor) -> Tensor:
    """(N, 1, H/2, W/2): how far the two warped frames disagree, against the detail of their blend; 0 to 2.

    What `layers.planes` softens a blend by where a model says nothing of it: a hint that took the network long to find
    by itself. A frame without weight cannot spoil the blend, so it does not count.
    """
    blend = weight * warped0 + (1.0 - weight) * warped1
    detail = (gaussian_blur(blend, 2.0) - blend).abs().mean(dim=1, keepdim=True)
    disagreement = (warped0 - warped1).abs().mean(dim=1, keepdim=True) * 4.0 * weight * (1.0 - weight)
    both = F.avg_pool2d(torch.cat((disagreement, detail), dim=1), 4)
    both = F.avg_pool2d(F.pad(both, (2, 2, 2, 2), mode="replicate"), 5, stride=1)
    ratio = (both[:, 0:1] / (both[:, 1:2] + 1.0 / 255.0)).clamp(max=2.0)
    return upsample2x(ratio)


def upsample2x(x: Tensor) -> Tensor:
    """(N, C, H, W) at twice the size."""
    return F.interpolate(x, scale_factor=2.0, mode="bilinear")

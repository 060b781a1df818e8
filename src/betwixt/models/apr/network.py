"""APR-VFI: alignment-aware patch-level routing for dynamic video frame interpolation (Chen et al.).

Where the two warped frames already agree, little is left to refine. A router decides for every patch of 64x64 pixels
through which refine blocks it passes. Skipped blocks cost nothing: the patches that pass a block are gathered into a
batch, which the block processes with regular convolutions.

    frame 0, frame 1 ──► motion (EBME) ──► F_{0->1}, F_{1->0}                                      once a pair
    frame 0, frame 1 ──► context ──► features at five depths, all at full size                     once a pair

    frames, features ──► splatted by t F_{0->1} and (1 - t) F_{1->0} ──► warped frames, warped features   (equation 1)
    warped frames, their difference, F ──► router ──► routes: which patch passes which block
    block 0:       deepest features, warped frames ──► f^0                                         all patches
    block 1 .. 4:  ever shallower features, f^{k-1} ──► f^k = f^{k-1} + residual       patches that pass  (3)
                                                        f^k = f^{k-1}                  patches that skip
    f^0 + .. + f^4, normalised over the channels of a pixel ──► convolution ──► mask M, residual
    frame t  =  M warped frame 0 + (1 - M) warped frame 1 + residual                               (equation 2)

Shapes, for frames (N, 3, H, W), sides multiples of the patch p and of 64, n_h = H/p and n_w = W/p:

    flows            (N, 2, H, W)            pixels, (x, y)
    context          (N, 8 12 16 24 48, H, W)   shallow to deep
    f^k              (N, n_h, n_w, 32, p, p)    patches of one feature map
    routes           (N, 4, n_h, n_w)        0 or 1, for blocks 1 .. 4
    mask, residual   (N, 1 and 3, H, W)

Three modes share all weights: "frame" runs the blocks on whole frames (the paper's model without APR), "patches" on all
patches separately, and "routed" on the patches that the routes select. Patches are padded with zeros, since their
neighbours may skip the block. In all modes, motion, context, splatting, router and the last convolution work on the
whole frame.

In training, the routes are a straight-through Gumbel-softmax sample: 0 or 1 in the forward pass, with the gradient of
the probability in the backward pass; both cases of equation 3 are then computed. At test time they are the more likely
choice.

Training, in three stages (section 3.3; `APR.stage` sets the mode and what is frozen): motion, context and synthesis on
whole frames; context and synthesis on patches; context, synthesis and router with routes. The losses and the schedule
are in `betwixt.training.objectives.apr` and in the recipe `apr`.

The reference M' is only the router's target: stage 3 follows the predicted routes. To follow the reference, pass it:
`network.at(pair, t, network.reference(network.warp(pair, t)))`.

Any t: it is used by the warping alone. The paper trains with t = 1/2 only.

Where the paper is silent. It reports totals only: 2.2 M parameters, 1.730 T multiply-adds at 2048x1080 without routing,
and the cost at five sets of keep ratios (table 3). These choices meet all of them (docs/models/apr-vfi.md):

- A block is an encoder-decoder with one downsampling: 3x3 at full size, a strided 3x3 and three 3x3 at half size, a
  transposed 4x4, a skip connection, 3x3 to 32 channels; the widths are 112, 72, 64, 32, 24 from block 0 to 4. With two
  downsamplings, the same cost would have more than 2.2 M parameters.
- A context level is two 3x3 convolutions. The deepest is an input of block 0, from coarse to fine; levels are narrow,
  since 216 channels of a 2K frame have to be splatted.
- The warped frames are inputs of block 0. Blocks 1 .. 4 predict a residual of f^{k-1}: to skip is a residual of zero,
  so that both cases of equation 3 look alike to the next block.
- The router: 3x3 from 13 channels to 20, 3x3 to 14, mean and maximum over each patch, and a linear layer to the logits
  of skipping and passing each block. Its input flows are in patches, not pixels.
- LeakyReLUs have a slope of 0.1, as in the estimator. The residual is not bounded, the frame not clamped.

Reference routes (section 3.3): the mean over the colours of |warped 0 - warped 1|, 0 where one of the two has a hole;
averaged over 4x4 pixels, of which the largest in a patch counts (equation 5); the share r_k of the patches where it is
largest passes block k, the number rounded to the nearest, ties broken in row order. A patch that passes at a low ratio
passes at all higher ones.

Reference: Chen et al., Alignment-aware Patch-level Routing for Dynamic Video Frame Interpolation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from betwixt.layers.blocks import conv_leaky_relu
from betwixt.layers.ifblock import concatenate
from betwixt.layers.precision import at_least_float32
from betwixt.layers.splatting import splat, splat_with_coverage
from betwixt.models.ebme.network import BiFlow, BiFlowNet
from betwixt.models.network import Network, Synthesis

Mode = Literal["frame", "patches", "routed"]
"""What the refine blocks run on: whole frames, all patches, or the patches that the routes select."""

Fusion = Literal["add&norm", "concat&conv", "none"]
"""The input of the last convolution (table 5): the normalised sum of all f^k, a 1x1 convolution of all, or the last."""


@dataclass(frozen=True)
class APRConfig:
    """Hyper-parameters.

    Attributes:
        mode: The initial mode; only "routed" gives the network a router.
        patch: Side of a patch, a multiple of 4. No weight depends on it (table 2).
        keep: For blocks 1 .. 4, the share of the patches that pass in the reference routes (table 3).
        fusion: The input of the last convolution.
        context: Channels of the context levels, shallow to deep, one for each block.
        widths: Channels inside the blocks, block 0 first.
        features: Channels of f^k.
        levels: Levels of the estimator's pyramid; None chooses by the size of the frames.
    """

    mode: Mode = "routed"
    patch: int = 64
    keep: tuple[float, ...] = (0.1, 0.4, 0.6, 0.9)
    fusion: Fusion = "add&norm"
    context: tuple[int, ...] = (8, 12, 16, 24, 48)
    widths: tuple[int, ...] = (112, 72, 64, 32, 24)
    features: int = 32
    levels: int | None = None


CONFIGS = {"apr-static": APRConfig(mode="frame"), "apr": APRConfig()}
"""The paper's model without and with APR."""


@dataclass(frozen=True)
class APRPair(BiFlow):
    """Two frames, the motion between them, and their features."""

    context: tuple[Tensor, ...]  # levels of features, shallow to deep, each (2N, C, H, W), frame 0 first


@dataclass(frozen=True)
class Warped:
    """Two frames splatted to t."""

    frame0: Tensor  # (N, 3, H, W), RGB in [0, 1], 0 in holes
    frame1: Tensor  # (N, 3, H, W), RGB in [0, 1], 0 in holes
    covered: Tensor  # (N, 1, H, W), whether both frames reach a pixel: M_hole of equation 5


@dataclass(frozen=True, kw_only=True)
class APRSynthesis(Synthesis):
    """Frame t and the intermediate results of APR-VFI.

    Attributes:
        frame: (N, 3, H, W), not clamped.
        mask: (N, 1, H, W) in (0, 1), the weight of splatted frame 0.
        warped: The splatted frames.
        routes: (N, blocks, n_h, n_w), 1 where a patch passed a block; all 1 in modes without routes.
    """

    mask: Tensor
    warped: Warped
    routes: Tensor

    @property
    def kept(self) -> Tensor:
        """(N, blocks), the share of the patches that passed each block."""
        return self.routes.detach().float().mean(dim=(2, 3))


class ContextNet(nn.Module):
    """(N, 3, H, W) -> features (N, channels[l], H, W), shallow to deep."""

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        inputs = (3, *channels)
        self.levels = nn.ModuleList(
            nn.Sequential(conv_leaky_relu(shallower, deeper), conv_leaky_relu(deeper, deeper))
            for shallower, deeper in zip(inputs, channels, strict=False)
        )

    def forward(self, frame: Tensor) -> tuple[Tensor, ...]:
        features = [frame]
        for level in self.levels:
            features.append(level(features[-1]))
        return tuple(features[1:])


class RefineBlock(nn.Module):
    """An encoder-decoder with one downsampling: (N, inputs, h, w) -> (N, features, h, w); h and w are even."""

    def __init__(self, inputs: int, width: int, features: int) -> None:
        super().__init__()
        self.enter = conv_leaky_relu(inputs, width)
        self.body = nn.Sequential(
            conv_leaky_relu(width, width, stride=2),
            *(conv_leaky_relu(width, width) for _ in range(3)),
            nn.ConvTranspose2d(width, width, 4, 2, 1),
            nn.LeakyReLU(0.1),
        )
        self.leave = nn.Conv2d(width, features, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        features: Tensor = self.leave(x + self.body(x))
        return features


class Router(nn.Module):
    """The APR module: predicts the routes (N, blocks, n_h, n_w) from the warped frames and the flows.

    Args:
        blocks: Number of blocks that a patch can pass or skip.
        patch: Side of a patch.

    Attributes:
        temperature: Temperature of the Gumbel-softmax, 1; the paper does not give one.
    """

    def __init__(self, blocks: int, patch: int) -> None:
        super().__init__()
        self.patch = patch
        self.temperature = 1.0
        self.body = nn.Sequential(conv_leaky_relu(13, 20), conv_leaky_relu(20, 14))
        self.choice = nn.Conv2d(2 * 14, 2 * blocks, 1)

    def logits(self, pair: BiFlow, warped: Warped) -> Tensor:
        """The logits of skipping and of passing, (N, blocks, 2, n_h, n_w), at least float32."""
        flow = torch.cat((pair.flow_01, pair.flow_10), dim=1) / self.patch
        images = torch.cat((warped.frame0 - warped.frame1, warped.frame0, warped.frame1), dim=1)
        x = self.body(concatenate(images.to(pair.frame0.dtype), flow))
        x = self.choice(torch.cat((F.avg_pool2d(x, self.patch), F.max_pool2d(x, self.patch)), dim=1))
        return at_least_float32(x).reshape(len(x), -1, 2, *x.shape[-2:])

    def forward(self, pair: BiFlow, warped: Warped) -> Tensor:
        """Routes: in training a straight-through Gumbel-softmax sample, else the more likely choice (a tie skips)."""
        logits = self.logits(pair, warped)
        if not self.training:
            return (logits[:, :, 1] > logits[:, :, 0]).to(logits.dtype)
        sample: Tensor = F.gumbel_softmax(logits, self.temperature, dim=2)
        passing = sample[:, :, 1]
        # Added in this order, the sum is exactly 0 or 1.
        return (passing > 0.5).to(passing.dtype) + (passing - passing.detach())


def kept_patches(ratio: float, patches: int) -> int:
    """The number of `patches` that pass a block with this keep ratio, rounded to the nearest, halves up."""
    # The small term rounds products that are a half in decimals up, too.
    return math.floor(ratio * patches + 0.5 + 1e-9)


def patch_difference(difference: Tensor, patch: int) -> Tensor:
    """Equation 5: the difficulty of each patch.

    Args:
        difference: (N, C, H, W), a difference, of which the mean absolute value over the channels counts.
        patch: Side of a patch, a multiple of 4.

    Returns:
        (N, n_h, n_w): the largest mean over 4x4 pixels in each patch.
    """
    magnitude = difference.abs().mean(dim=1, keepdim=True)
    return F.max_pool2d(F.avg_pool2d(magnitude, 4), patch // 4)[:, 0]


def rank_routes(difficulty: Tensor, keep: tuple[float, ...]) -> Tensor:
    """Let the most difficult patches of each sample pass: (N, n_h, n_w) -> (N, len(keep), n_h, n_w), 0 or 1.

    Exactly `kept_patches` pass each block; ties are broken in row order.
    """
    flat = difficulty.flatten(1)
    rank = flat.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    counts = torch.tensor([kept_patches(ratio, flat.shape[1]) for ratio in keep], device=flat.device)
    routes = (rank[:, None] < counts[:, None]).to(difficulty.dtype)
    return routes.reshape(len(routes), len(keep), *difficulty.shape[1:])


def reference_routes(warped: Warped, keep: tuple[float, ...], patch: int) -> Tensor:
    """M' of section 3.3, (N, len(keep), n_h, n_w), by the difference of the warped frames where neither has a hole.

    For the other differences of table 4, use `rank_routes(patch_difference(difference, patch), keep)`.
    """
    with torch.no_grad():
        return rank_routes(patch_difference((warped.frame0 - warped.frame1) * warped.covered, patch), keep)


def route_loss(routes: Tensor, reference: Tensor) -> Tensor:
    """Mean |M' - M| of equation 4, a scalar; the router gets its gradient through `APRSynthesis.routes`."""
    return (routes - reference).abs().mean()


def _split(maps: Tensor, height: int, width: int) -> Tensor:
    """(N, C, H, W) -> (N, H/height, W/width, C, height, width); a view, where `maps` is contiguous."""
    batch, channels, rows, columns = maps.shape
    grid = maps.reshape(batch, channels, rows // height, height, columns // width, width)
    return grid.permute(0, 2, 4, 1, 3, 5)


def _join(patches: Tensor) -> Tensor:
    """The inverse of `_split`."""
    batch, rows, columns, channels, height, width = patches.shape
    return patches.permute(0, 3, 1, 4, 2, 5).reshape(batch, channels, rows * height, columns * width)


class APR(Network):
    """The network of APR-VFI; the module's docstring describes it.

    Args:
        config: Hyper-parameters; `CONFIGS` has the paper's.

    Attributes:
        mode: What the refine blocks run on; may be changed at any time.
        router: The APR module; None unless the network was created in mode "routed".

    Raises:
        ValueError: if `config` is not consistent.
    """

    any_time = True
    # The pyramid's levels depend on the frames' size, and the routes on their content.
    fixed_graph = False

    def __init__(self, config: APRConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or APRConfig()
        blocks = len(config.widths)
        if config.mode not in get_args(Mode):
            raise ValueError(f"`mode` is {config.mode!r}: choose one of {', '.join(get_args(Mode))}.")
        if config.fusion not in get_args(Fusion):
            raise ValueError(f"`fusion` is {config.fusion!r}: choose one of {', '.join(get_args(Fusion))}.")
        if config.patch < 4 or config.patch % 4:
            raise ValueError(f"`patch` is {config.patch}: it has to be a multiple of 4.")
        if len(config.context) != blocks or len(config.keep) != blocks - 1:
            raise ValueError(f"{blocks} widths need {blocks} context levels and {blocks - 1} keep ratios.")
        self.mode: Mode = config.mode
        self.multiple = math.lcm(64 if config.levels is None else 2 << config.levels, config.patch)
        self.estimator = BiFlowNet(config.levels)
        self.context = ContextNet(config.context)
        inputs = (6, *[config.features] * (blocks - 1))  # the warped frames for block 0, f^{k-1} for the others
        self.blocks = nn.ModuleList(
            RefineBlock(2 * context + channels, width, config.features)
            for context, channels, width in zip(reversed(config.context), inputs, config.widths, strict=True)
        )
        self.fuse = nn.Conv2d(blocks * config.features, config.features, 1) if config.fusion == "concat&conv" else None
        self.predict = nn.Conv2d(config.features, 4, 3, 1, 1)
        self.router = Router(blocks - 1, config.patch) if config.mode == "routed" else None

    def stage(self, number: int) -> None:
        """Prepare for stage 1, 2 or 3 of the training: set the mode and the parameters to be trained.

        A network with a router can do all three stages. One without can do the first two; its weights, loaded with
        `strict=False` into a network with a router, are the start of the third.

        Raises:
            ValueError: if there is no such stage, or stage 3 lacks the router.
        """
        modes: dict[int, Mode] = {1: "frame", 2: "patches", 3: "routed"}
        if number not in modes:
            raise ValueError(f"There is no stage {number}: choose 1, 2 or 3.")
        if number == 3 and self.router is None:
            raise ValueError('Stage 3 needs a network with a router: create it with mode="routed".')
        self.mode = modes[number]
        self.estimator.requires_grad_(number == 1)
        if self.router is not None:
            self.router.requires_grad_(number == 3)

    def pair(self, frame0: Tensor, frame1: Tensor) -> APRPair:
        """Motion and features of two frames (N, 3, H, W), RGB in [0, 1]."""
        flow_01, flow_10 = self.estimator(frame0, frame1)
        return APRPair(frame0, frame1, flow_01, flow_10, self.context(torch.cat((frame0, frame1))))

    def warp(self, pair: BiFlow, t: Tensor) -> Warped:
        """Splat the frames to t (equation 1), t (N, 1, 1, 1)."""
        frames = torch.cat((pair.frame0, pair.frame1)).to(pair.flow_01.dtype)
        warped, coverage = splat_with_coverage(frames, _flows_to_t(pair, t))
        (warped0, warped1), (covered0, covered1) = warped.chunk(2), (coverage > 0).chunk(2)
        return Warped(warped0, warped1, covered0 & covered1)

    def reference(self, warped: Warped) -> Tensor:
        """The reference routes M' of splatted frames: (N, blocks, n_h, n_w)."""
        return reference_routes(warped, self.config.keep, self.config.patch)

    def at(self, pair: APRPair, t: Tensor, routes: Tensor | None = None) -> APRSynthesis:
        """Frame t of a prepared pair.

        Args:
            pair: The result of `pair`.
            t: (N, 1, 1, 1), in [0, 1].
            routes: (N, blocks, n_h, n_w), 0 or 1, to follow whatever the mode. For routes that require a gradient, both
                cases of equation 3 are computed for all patches; otherwise skipped blocks are not computed.

        Raises:
            ValueError: if the mode is "routed", but there are neither routes nor a router.
        """
        warped = self.warp(pair, t)
        if routes is None and self.mode == "routed":
            if self.router is None:
                raise ValueError('This network has no router: pass `routes`, or create it with mode="routed".')
            routes = self.router(pair, warped)
        features = _join(self._refine(pair, warped, _flows_to_t(pair, t), routes))
        if self.config.fusion == "add&norm":
            features = _normalise(features)
        # Sums are float32; convolutions compute in the type of the context.
        features = features.to(pair.context[0].dtype)
        if self.fuse is not None:
            features = self.fuse(features)
        prediction = self.predict(features).to(warped.frame0.dtype)
        mask, residual = torch.sigmoid(prediction[:, 0:1]), prediction[:, 1:4]
        frame = mask * warped.frame0 + (1 - mask) * warped.frame1 + residual
        if routes is None:
            height, width = frame.shape[-2:]
            patch = self.config.patch
            routes = frame.new_ones(len(frame), len(self.config.keep), height // patch, width // patch)
        return APRSynthesis(frame=frame.to(pair.frame0.dtype), mask=mask, warped=warped, routes=routes)

    def _refine(self, pair: APRPair, warped: Warped, flows: Tensor, routes: Tensor | None) -> Tensor:
        """Run the blocks: the sum, the concatenation or the last of f^0 .. f^4, (N, n_h, n_w, C, p, p)."""
        # In mode "frame", the frame is the only patch.
        whole = routes is None and self.mode == "frame"
        size = tuple(warped.frame0.shape[-2:]) if whole else (self.config.patch, self.config.patch)
        inputs = concatenate(_splat_both(pair.context[-1], flows), warped.frame0, warped.frame1)
        f = _apply_to_all(self.blocks[0], _split(inputs, *size))
        all_f = [at_least_float32(f)]  # 16-bit sums would lose small summands
        for k, context in enumerate(reversed(pair.context[:-1])):
            block = self.blocks[k + 1]
            route = None if routes is None else routes[:, k]
            if route is None or route.requires_grad:
                maps = torch.cat((_split(_splat_both(context, flows), *size), f), dim=3)
                refined = f + _apply_to_all(block, maps)
                if route is None:
                    f = refined
                else:
                    passing = route.to(f.dtype)[..., None, None, None]
                    f = passing * refined + (1 - passing) * f
            else:
                patches = _passing_patches(route, self.config.keep[k])
                # Features are splatted only if a patch needs them.
                if len(patches[0]):
                    previous = f[patches]
                    maps = torch.cat((_split(_splat_both(context, flows), *size)[patches], previous), dim=1)
                    f = f.index_put(patches, previous + block(maps))
            if self.config.fusion == "add&norm":
                all_f = [all_f[0] + f]
            elif self.config.fusion == "concat&conv":
                all_f.append(f)
            else:
                all_f = [f]
        return torch.cat(all_f, dim=3)


def _flows_to_t(pair: BiFlow, t: Tensor) -> Tensor:
    """The flows from frame 0 and then from frame 1 to t, (2N, 2, H, W)."""
    t = t.to(pair.flow_01.dtype)
    return torch.cat((t * pair.flow_01, (1 - t) * pair.flow_10))


def _splat_both(features: Tensor, flows: Tensor) -> Tensor:
    """Splat features of both frames (2N, C, H, W) and concatenate them: (N, 2C, H, W)."""
    return torch.cat(splat(features, flows).chunk(2), dim=1)


def _apply_to_all(block: nn.Module, patches: Tensor) -> Tensor:
    """Apply a block to all patches: (N, n_h, n_w, C, p, p) -> (N, n_h, n_w, features, p, p)."""
    features: Tensor = block(patches.flatten(0, 2))
    return features.reshape(*patches.shape[:3], *features.shape[1:])


def _passing_patches(route: Tensor, ratio: float) -> tuple[Tensor, ...]:
    """Sample, row and column indices of the patches that pass, from a map (N, n_h, n_w)."""
    if route.is_meta:
        # Without values, as for counting FLOPs, the share of the keep ratio passes.
        count = len(route) * kept_patches(ratio, route[0].numel())
        return (torch.empty(count, dtype=torch.long, device=route.device),) * 3
    return route.nonzero(as_tuple=True)


def _normalise(features: Tensor) -> Tensor:
    """Normalise (N, C, H, W) to mean 0 and variance 1 over the channels of every pixel."""
    features = features - features.mean(dim=1, keepdim=True)
    return features * torch.rsqrt(features.square().mean(dim=1, keepdim=True) + 1e-5)

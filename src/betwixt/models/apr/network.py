"""APR-VFI: frames splatted to t, and a synthesis that spends on every patch as much as the patch needs.

Chen et al., Alignment-aware Patch-level Routing for Dynamic Video Frame Interpolation. Where the two warped frames
already agree, little is left to be done: a router looks at every patch of 64x64 pixels and says which of the refine
blocks it passes. What a patch skips is not computed: the patches that pass a block are gathered, and the block sees
them as a batch, by regular convolutions.

    frame 0, frame 1 ──► motion (EBME) ──► F_{0->1}, F_{1->0}                                      once a pair
    frame 0, frame 1 ──► context ──► features at five depths, all at full size                     once a pair

    frames, features ──► splatted by t F_{0->1} and (1 - t) F_{1->0} ──► warped frames, warped features   (equation 1)
    warped frames, their difference, F ──► router ──► routes: which patch passes which block
    block 0:       deepest features, warped frames ──► f^0                                         every patch
    block 1 .. 4:  shallower and shallower features, f^{k-1} ──► f^k = f^{k-1} + correction        who passes  (3)
                                                                 f^k = f^{k-1}                     who skips
    f^0 + .. + f^4, normalised over the channels of a pixel ──► convolution ──► mask M, residual
    frame t  =  M warped frame 0 + (1 - M) warped frame 1 + residual                               (equation 2)

Shapes, for frames (N, 3, H, W), sides multiples of the patch p and of 64, n_h = H/p and n_w = W/p:

    flows            (N, 2, H, W)            pixels, (x, y)
    context          (N, 8 12 16 24 48, H, W)   shallow to deep
    f^k              (N, n_h, n_w, 32, p, p)    patches of one feature map
    routes           (N, 4, n_h, n_w)        0 or 1, for blocks 1 .. 4
    mask, residual   (N, 1 and 3, H, W)

Three modes share all weights: "frame" synthesises whole frames (the paper's model without APR), "patches" synthesises
all patches, each by itself, and "routed" those that the routes name. A patch by itself sees zeros outside, as any
convolution does at its border; neighbours would have to be computed where they skip. Motion, context, splatting, router
and the last convolution see the whole frame in all modes.

The routes in training are a straight-through Gumbel-softmax sample: 0 or 1 in the forward pass, the gradient of the
probability in the backward pass; both sides of equation 3 are computed then. At test time they are the likelier choice.

Training, in three stages (section 3.3; `APR.stage` sets mode and what is frozen, and the loop does the rest):

    stage  mode      trained                     loss
    1      frame     motion, context, synthesis  charbonnier + 0.1 census
    2      patches   context, synthesis          the same
    3      routed    context, synthesis, router  the same + 0.01 route_loss(out.routes, network.reference(out.warped))

    800,000, 200,000 and 200,000 steps of 32 samples, AdamW, weight decay 1e-4; in each stage 2000 steps up to 2e-4,
    then a cosine down to 2e-5.

The reference M' is only what the router is held to: the routes that are followed in stage 3 are the predicted ones. One
who wants to follow the reference passes it: `network.at(pair, t, network.reference(network.warp(pair, t)))`.

Any t: the warping takes it, and nothing else asks for it. The paper's training knows t = 1/2 alone.

What the paper leaves open, and what was chosen. It gives the sums: 2.2 M parameters, 1.730 T multiply-adds at 2048x1080
without routing, 5.13 k parameters in the router. (Its table counts a multiply-add once: IFRNet-L, which it gives 1.96,
has 1.69.) Table 3 tells more. A cost of c + Σ b_k r_k at keep ratios r_k fits its five rows within 0.001 T, with

    c = 1.039    b1 - b4 = 0.250    b2 - b3 = 0.165    b3 + b4 = 0.142    b1 + .. + b4 = 0.700    (10^12 multiply-adds)

and c + Σ b_k = 1.739 is 1.730 and about 5.13 k more a pixel: the router works at full size. Block 1 costs the most of
the four, blocks 3 and 4 little. So these follow:

- A block is an encoder-decoder of one halving: 3x3 at full size, a halving and three 3x3 at half size, a transposed
  4x4, the first added, 3x3 to 32 channels; of width 112, 72, 64, 32, 24 from block 0 to 4. 2.2 M parameters at 1.73 T
  ask for one halving: with two, the same cost would have more parameters.
- A context level is two 3x3. The deepest goes to block 0, from coarse to fine; narrow levels keep it bearable to splat
  216 channels of a 2K frame.
- Block 0 sees the warped frames too. Blocks 1 .. 4 give a correction to f^{k-1}: to skip is to correct by zero, and
  both cases of equation 3 look alike to what follows.
- The router: 3x3 from 13 channels to 20, 3x3 to 14, mean and maximum over each patch, a linear layer to skipping and
  passing of each block. Flows go in as parts of a patch.
- Slopes of 0.1 for negative values everywhere, as in the estimator. The residual is not bounded, the frame not clamped.

    at 2048x1088, in multiply-adds     parameters     a pixel     10^12
    motion, 5 levels                      632,900      68,528     0.153
    context, both frames                   46,944      93,456     0.208
    block 0                               788,064     298,144     0.664
    block 1                               342,608     139,968     0.312
    block 2                               268,704     108,544     0.242
    block 3                                78,816      38,656     0.086
    block 4                                47,408      24,768     0.055
    mask and residual                       1,156       1,152     0.003
    static                              2,206,600     773,216     1.723       paper: 1.730
    router                                  5,126       4,860     0.011
    routed, keep 0.1 0.4 0.6 0.9        2,211,726     569,006     1.268       paper: 1.271; 1.220 on Xiph-2K
    routed, keep 0.2 0.5 0.7 1.0                                  1.338              1.341
    routed, keep 0.2 0.4 0.6 0.8                                  1.294              1.296
    routed, keep 0.5 0.5 0.5 0.5                                  1.386              1.389
    routed, keep 0.9 0.6 0.4 0.1                                  1.505              1.504

Reference routes (section 3.3): the mean over the colours of |warped 0 - warped 1|, 0 where one of the two has a hole;
means of 4x4 pixels, the largest of those in a patch (equation 5); the share r_k of the patches where it is largest, to
the nearest number, passes block k, of equals the first row by row. So who passes a low ratio passes all higher ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from betwixt.layers.ifblock import concatenate
from betwixt.layers.splatting import splat, splat_with_coverage
from betwixt.models.ebme.network import BiFlow, BiFlowNet
from betwixt.models.network import Network, Synthesis

__all__ = [
    "APR",
    "CONFIGS",
    "APRConfig",
    "APRPair",
    "APRSynthesis",
    "Fusion",
    "Mode",
    "Warped",
    "kept_patches",
    "patch_difference",
    "rank_routes",
    "reference_routes",
    "route_loss",
]

Mode = Literal["frame", "patches", "routed"]
"""What the synthesis is made over; see the module."""

Fusion = Literal["add&norm", "concat&conv", "none"]
"""What the last convolution sees (table 5): the normalised sum of all f^k, a 1x1 convolution of all, the last alone."""


@dataclass(frozen=True)
class APRConfig:
    """Hyper-parameters.

    Attributes:
        mode: What the network starts in; only "routed" makes it have a router.
        patch: Side of a patch, a multiple of 4. No weight depends on it (table 2).
        keep: For blocks 1 .. 4, what share of the patches the reference routes let pass (table 3).
        fusion: What the last convolution sees.
        context: Channels of the context levels, shallow to deep, one a block.
        widths: Of the blocks, block 0 first.
        features: Channels of f^k.
        levels: Of the estimator's pyramid; None: by the size of the frames.
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
    """Two frames, the motion between them, and their features.

    Attributes:
        context: Shallow to deep, each (2N, C, H, W), those of frame 0 first.
    """

    context: tuple[Tensor, ...]


@dataclass(frozen=True)
class Warped:
    """Two frames splatted to t.

    Attributes:
        frame0: (N, 3, H, W), RGB in [0, 1], 0 in holes.
        frame1: The same.
        covered: (N, 1, H, W), whether both reach a pixel: M_hole of equation 5.
    """

    frame0: Tensor
    frame1: Tensor
    covered: Tensor


@dataclass(frozen=True, kw_only=True)
class APRSynthesis(Synthesis):
    """Frame t, and how it came about.

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


def _conv(channels_in: int, channels_out: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels_in, channels_out, 3, stride, 1), nn.LeakyReLU(0.1))


class ContextNet(nn.Module):
    """(N, 3, H, W) -> features (N, channels[l], H, W), shallow to deep."""

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        inputs = (3, *channels)
        self.levels = nn.ModuleList(
            nn.Sequential(_conv(before, after), _conv(after, after))
            for before, after in zip(inputs, channels, strict=False)
        )

    def forward(self, frame: Tensor) -> tuple[Tensor, ...]:
        features = [frame]
        for level in self.levels:
            features.append(level(features[-1]))
        return tuple(features[1:])


class RefineBlock(nn.Module):
    """(N, inputs, h, w) -> (N, features, h, w), by way of `width` channels at full and half size; h and w are even."""

    def __init__(self, inputs: int, width: int, features: int) -> None:
        super().__init__()
        self.enter = _conv(inputs, width)
        self.body = nn.Sequential(
            _conv(width, width, 2),
            *(_conv(width, width) for _ in range(3)),
            nn.ConvTranspose2d(width, width, 4, 2, 1),
            nn.LeakyReLU(0.1),
        )
        self.leave = nn.Conv2d(width, features, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        found: Tensor = self.leave(x + self.body(x))
        return found


class Router(nn.Module):
    """The APR module: from the warped frames and the flows to routes (N, blocks, n_h, n_w).

    Args:
        blocks: How many blocks there are to pass or to skip.
        patch: Side of a patch.

    Attributes:
        temperature: Of the Gumbel-softmax; the paper does not give one.
    """

    def __init__(self, blocks: int, patch: int) -> None:
        super().__init__()
        self.patch = patch
        self.temperature = 1.0
        self.body = nn.Sequential(_conv(13, 20), _conv(20, 14))
        self.choice = nn.Conv2d(2 * 14, 2 * blocks, 1)

    def logits(self, pair: BiFlow, warped: Warped) -> Tensor:
        """(N, blocks, 2, n_h, n_w), at least float32, of skipping and of passing."""
        flow = torch.cat((pair.flow_01, pair.flow_10), dim=1) / self.patch
        images = torch.cat((warped.frame0 - warped.frame1, warped.frame0, warped.frame1), dim=1)
        x = self.body(concatenate(images.to(pair.frame0.dtype), flow))
        x = self.choice(torch.cat((F.avg_pool2d(x, self.patch), F.max_pool2d(x, self.patch)), dim=1))
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        logits: Tensor = x.reshape(len(x), -1, 2, *x.shape[-2:])
        return logits

    def forward(self, pair: BiFlow, warped: Warped) -> Tensor:
        """Routes: in training a straight-through Gumbel-softmax sample, else the likelier choice (a tie skips)."""
        logits = self.logits(pair, warped)
        if not self.training:
            return (logits[:, :, 1] > logits[:, :, 0]).to(logits.dtype)
        sample: Tensor = F.gumbel_softmax(logits, self.temperature, dim=2)
        passing = sample[:, :, 1]
        # In this order the sum is 0 or 1 to the last bit.
        return (passing > 0.5).to(passing.dtype) + (passing - passing.detach())


def kept_patches(ratio: float, patches: int) -> int:
    """How many of `patches` pass a block of this keep ratio: the nearest number, halves up."""
    # What is a half in decimals shall be one.
    return math.floor(ratio * patches + 0.5 + 1e-9)


def patch_difference(difference: Tensor, patch: int) -> Tensor:
    """Equation 5: how much is to be done in a patch.

    Args:
        difference: (N, C, H, W), where two things differ; its absolute value counts, and of its channels the mean.
        patch: Side of a patch, a multiple of 4.

    Returns:
        (N, n_h, n_w): of the means of 4x4 pixels the largest in each patch, which is 16x16 of them at 64 pixels.
    """
    magnitude = difference.abs().mean(dim=1, keepdim=True)
    return F.max_pool2d(F.avg_pool2d(magnitude, 4), patch // 4)[:, 0]


def rank_routes(difficulty: Tensor, keep: tuple[float, ...]) -> Tensor:
    """Let the hardest patches of each sample pass: (N, n_h, n_w) -> (N, len(keep), n_h, n_w), 0 or 1.

    Exactly `kept_patches` pass each block; of equally hard ones the first row by row.
    """
    flat = difficulty.flatten(1)
    rank = flat.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    counts = torch.tensor([kept_patches(ratio, flat.shape[1]) for ratio in keep], device=flat.device)
    routes = (rank[:, None] < counts[:, None]).to(difficulty.dtype)
    return routes.reshape(len(routes), len(keep), *difficulty.shape[1:])


def reference_routes(warped: Warped, keep: tuple[float, ...], patch: int) -> Tensor:
    """M' of section 3.3: (N, len(keep), n_h, n_w), by how much the warped frames differ where both have no hole.

    Table 4 has it by other differences too: for those, `rank_routes(patch_difference(.., patch), keep)`.
    """
    with torch.no_grad():
        return rank_routes(patch_difference((warped.frame0 - warped.frame1) * warped.covered, patch), keep)


def route_loss(routes: Tensor, reference: Tensor) -> Tensor:
    """Mean |M' - M| of equation 4, a scalar; its gradient reaches the router through `APRSynthesis.routes`."""
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
    """The network; see the module.

    Args:
        config: Its hyper-parameters; `CONFIGS` has the paper's.

    Attributes:
        mode: What the synthesis is made over; may be changed at any time.
        router: The APR module; None in a network that was not made for routes.
    """

    any_time = True

    def __init__(self, config: APRConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or APRConfig()
        blocks = len(config.widths)
        if config.mode not in get_args(Mode):
            raise ValueError(f"no mode {config.mode!r}: choose one of {', '.join(get_args(Mode))}")
        if config.fusion not in get_args(Fusion):
            raise ValueError(f"no fusion {config.fusion!r}: choose one of {', '.join(get_args(Fusion))}")
        if config.patch < 4 or config.patch % 4:
            raise ValueError(f"the side of a patch must be a multiple of 4, not {config.patch}")
        if len(config.context) != blocks or len(config.keep) != blocks - 1:
            raise ValueError(f"{blocks} widths ask for {blocks} context levels and {blocks - 1} keep ratios")
        self.mode: Mode = config.mode
        self.multiple = math.lcm(64 if config.levels is None else 2 << config.levels, config.patch)
        self.estimator = BiFlowNet(config.levels)
        self.context = ContextNet(config.context)
        own = (6, *[config.features] * (blocks - 1))
        self.blocks = nn.ModuleList(
            RefineBlock(2 * context + before, width, config.features)
            for context, before, width in zip(reversed(config.context), own, config.widths, strict=True)
        )
        self.fuse = nn.Conv2d(blocks * config.features, config.features, 1) if config.fusion == "concat&conv" else None
        self.predict = nn.Conv2d(config.features, 4, 3, 1, 1)
        self.router = Router(blocks - 1, config.patch) if config.mode == "routed" else None

    def stage(self, number: int) -> None:
        """Prepare for stage 1, 2 or 3 of the training: the mode, and which parameters are trained; see the module.

        A network with a router can do all three. One without does the first two, and its weights, read with
        `strict=False`, begin the third of one that has a router.
        """
        modes: dict[int, Mode] = {1: "frame", 2: "patches", 3: "routed"}
        if number not in modes:
            raise ValueError(f"no stage {number}: there are 1, 2 and 3")
        if number == 3 and self.router is None:
            raise ValueError("stage 3 needs a network with a router")
        self.mode = modes[number]
        self.estimator.requires_grad_(number == 1)
        if self.router is not None:
            self.router.requires_grad_(number == 3)

    def pair(self, frame0: Tensor, frame1: Tensor) -> APRPair:
        """Motion and features of two frames (N, 3, H, W), RGB in [0, 1]."""
        flow_01, flow_10 = self.estimator(frame0, frame1)
        return APRPair(frame0, frame1, flow_01, flow_10, self.context(torch.cat((frame0, frame1))))

    def warp(self, pair: BiFlow, t: Tensor) -> Warped:
        """The frames splatted to t (equation 1), t (N, 1, 1, 1)."""
        frames = torch.cat((pair.frame0, pair.frame1)).to(pair.flow_01.dtype)
        warped, coverage = splat_with_coverage(frames, _flows(pair, t))
        (warped0, warped1), (reached0, reached1) = warped.chunk(2), (coverage > 0).chunk(2)
        return Warped(warped0, warped1, reached0 & reached1)

    def reference(self, warped: Warped) -> Tensor:
        """The reference routes M' of splatted frames: (N, blocks, n_h, n_w)."""
        return reference_routes(warped, self.config.keep, self.config.patch)

    def at(self, pair: APRPair, t: Tensor, routes: Tensor | None = None) -> APRSynthesis:
        """Frame t, t (N, 1, 1, 1) in [0, 1].

        Args:
            pair: As `pair` makes it.
            t: (N, 1, 1, 1).
            routes: (N, blocks, n_h, n_w), 0 or 1, to be followed whatever the mode. Routes that need a gradient have
                both sides of equation 3 computed for all patches; with others, a patch that skips costs nothing.
        """
        warped = self.warp(pair, t)
        if routes is None and self.mode == "routed":
            if self.router is None:
                raise ValueError("a network without a router finds no routes: pass them, or make it in mode 'routed'")
            routes = self.router(pair, warped)
        features = _join(self._features(pair, warped, _flows(pair, t), routes))
        if self.config.fusion == "add&norm":
            features = _normalised(features)
        # Sums are wide; the convolutions are as wide as what they were given.
        features = features.to(pair.context[0].dtype)
        if self.fuse is not None:
            features = self.fuse(features)
        found = self.predict(features).to(warped.frame0.dtype)
        mask, residual = torch.sigmoid(found[:, 0:1]), found[:, 1:4]
        frame = mask * warped.frame0 + (1 - mask) * warped.frame1 + residual
        if routes is None:
            height, width = frame.shape[-2:]
            patch = self.config.patch
            routes = frame.new_ones(len(frame), len(self.config.keep), height // patch, width // patch)
        return APRSynthesis(frame=frame.to(pair.frame0.dtype), mask=mask, warped=warped, routes=routes)

    def _features(self, pair: APRPair, warped: Warped, flows: Tensor, routes: Tensor | None) -> Tensor:
        """What the fusion makes of f^0 .. f^4, before its normalisation or convolution, (N, n_h, n_w, C, p, p)."""
        # A whole frame is one patch.
        whole = routes is None and self.mode == "frame"
        size = tuple(warped.frame0.shape[-2:]) if whole else (self.config.patch, self.config.patch)
        inputs = concatenate(_splatted(pair.context[-1], flows), warped.frame0, warped.frame1)
        f = _every(self.blocks[0], _split(inputs, *size))
        all_f = [_wide(f)]
        for k, context in enumerate(reversed(pair.context[:-1])):
            block = self.blocks[k + 1]
            route = None if routes is None else routes[:, k]
            if route is None or route.requires_grad:
                maps = torch.cat((_split(_splatted(context, flows), *size), f), dim=3)
                found = f + _every(block, maps)
                if route is None:
                    f = found
                else:
                    passing = route.to(f.dtype)[..., None, None, None]
                    f = passing * found + (1 - passing) * f
            else:
                passed = _passing(route, self.config.keep[k])
                # Features that no patch asks for are not even splatted.
                if len(passed[0]):
                    before = f[passed]
                    maps = torch.cat((_split(_splatted(context, flows), *size)[passed], before), dim=1)
                    f = f.index_put(passed, before + block(maps))
            if self.config.fusion == "add&norm":
                all_f = [all_f[0] + f]
            elif self.config.fusion == "concat&conv":
                all_f.append(f)
            else:
                all_f = [f]
        return torch.cat(all_f, dim=3)


def _flows(pair: BiFlow, t: Tensor) -> Tensor:
    """(2N, 2, H, W), from frame 0 and then from frame 1 to t."""
    t = t.to(pair.flow_01.dtype)
    return torch.cat((t * pair.flow_01, (1 - t) * pair.flow_10))


def _splatted(features: Tensor, flows: Tensor) -> Tensor:
    """Features of both frames (2N, C, H, W), splatted side by side: (N, 2C, H, W)."""
    return torch.cat(splat(features, flows).chunk(2), dim=1)


def _every(block: nn.Module, patches: Tensor) -> Tensor:
    """A block over all patches: (N, n_h, n_w, C, p, p) -> (N, n_h, n_w, features, p, p)."""
    found: Tensor = block(patches.flatten(0, 2))
    return found.reshape(*patches.shape[:3], *found.shape[1:])


def _passing(route: Tensor, ratio: float) -> tuple[Tensor, ...]:
    """Sample, row and column of the patches that pass, by a map (N, n_h, n_w)."""
    if route.is_meta:
        # Shapes alone say nothing of who passes: for counting, it is the keep ratio's share.
        count = len(route) * kept_patches(ratio, route[0].numel())
        return (torch.empty(count, dtype=torch.long, device=route.device),) * 3
    return route.nonzero(as_tuple=True)


def _wide(x: Tensor) -> Tensor:
    """At least float32: sums of half floats lose what was added."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _normalised(features: Tensor) -> Tensor:
    """Mean 0 and variance 1 over the channels of every pixel of (N, C, H, W)."""
    features = features - features.mean(dim=1, keepdim=True)
    return features * torch.rsqrt(features.square().mean(dim=1, keepdim=True) + 1e-5)

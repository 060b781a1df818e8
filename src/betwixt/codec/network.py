"""The network that codes B frames: motion predicted by interpolation, and only what differs from it coded.

    frames 0, 1 ──► interpolation network ──► predicted flow, mask ──┬────────────────────────────────┐
    true frame ──► teacher ──► refined flow, mask ──── minus ────────┤                                │
                                                │                    ▼ motion context                 ▼ +
                                                └──► contextual coding ──► ..bits.. ──► residual ──► flow^, mask^
    frames 0, 1 ──► features at 1, 1/2, 1/4 ──► warped by flow^, joined ──► contexts C0, C1, C2
    frames 0, 1 ──► warped by flow^, fused ──► prediction ────────────┐        │
    true frame - prediction ──► transform, + contextual encoder ◄─────┼────────┤
                                     │                                │        │
                                  latents ──► ..bits.. ──► inverse ─ + ◄─ contextual decoder, frame generator ──► frame^

Shapes, for frames (N, 3, H, W), sides multiples of 32:

    flow      (N, 4, H, W)          F_{t->0}, F_{t->1}, pixels
    logit     (N, 1, H, W)          its sigmoid is the weight of warped frame 0
    motion    (N, 5, H/8, W/8)      latents of the residual motion
    C0 C1 C2  (N, 16 24 32, ..)     contexts at 1, 1/2, 1/4
    latents   (N, 192, H/8, W/8)    of the frame

What follows the paper (NCM, appendix C; DCVC and TCM, which it builds on): the four parts, motion predicted without
bits, the teacher's view of the true frame as what to code, contexts at three scales by the compressed flows, the frame
generator, the loss of equation 9. Where it is silent, or a network that learns for minutes asked for it, was chosen:

- Prediction is subtracted, and the residual is transformed by an 8x8 cosine transform of three decorrelated colours;
  the contextual encoder and decoder add to that what they have learned, and begin at zero. So the network begins as a
  plain transform codec of the prediction's residual, and learns from there.
- The same for motion: block means of the residual motion, and what the networks add. Only blocks whose prediction
  gains more than a few bits are worth say anything, else the noise of flow on even surfaces would be coded.
- One network for all rates: the quantizer's step is an input, and lambda = 64 / step² ties both.
- With `compact`, which has no teacher block, one is made here. It sees what RIFE's and NCM's see, and, since `compact`
  starts from a search, the flow that the search finds from the true frame; it begins by taking, at each place,
  whichever flow warps better.
- Entropy models look at the two reference frames, not at warped contexts: see `betwixt.codec.entropy`.

Reference: Jia et al., Neighbor Correspondence Matching for Flow-based Video Frame Synthesis, ACM MM 2022, appendix C;
Li, Li, Lu: Deep contextual video compression, NeurIPS 2021; Sheng et al.: Temporal context mining for learned video
compression, 2021.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from betwixt.codec.entropy import LatentEntropyModel, ReferenceFeatures, gaussian_tables
from betwixt.codec.fixed_point import on_grid
from betwixt.errors import UsageError
from betwixt.layers.resize import resize_flow_to, resize_to
from betwixt.layers.warp import backward_warp
from betwixt.models.compact.config import network_size, search
from betwixt.models.compact.network import Compact, compose
from betwixt.models.dis.interpolator import search_size

__all__ = [
    "LAMBDA",
    "BFrameMotion",
    "BFrameNetwork",
    "CodecConfig",
    "Predictor",
    "Reconstruction",
    "step_code",
    "step_from_code",
]

LAMBDA = 64.0
"""lambda = LAMBDA / step²: what a unit of mean squared error is worth in bits a pixel."""

_CODES = 16
"""Steps of the quantizer's scale an octave."""

_SHRINK = 8

_MOTION_BITS = 60.0
"""What a block's motion has to bring, in bits, to be said at all."""


def step_code(step: float) -> int:
    """The nearest of 256 steps of the quantizer, a 16th of an octave apart; `step` is of samples in [0, 1]."""
    return min(255, max(0, round(_CODES * math.log2(max(255.0 * step, 1e-6)))))


def step_from_code(code: int) -> float:
    """The step of a code."""
    return float(2.0 ** (code / _CODES)) / 255.0


@dataclass(frozen=True)
class CodecConfig:
    """Hyper-parameters.

    Attributes:
        predictor: The interpolation network: "compact", or one with a teacher of its own: "rife", "ncm-base".
        contexts: Channels of the contexts at 1, 1/2 and 1/4.
        features: Channels of each frame's features at these scales.
        width: Channels of the contextual encoder and decoder at 1/8.
        hyper: Channels of z.
        inside: Channels inside the entropy models.
        look: Channels of what they see of the reference frames.
    """

    predictor: str = "compact"
    contexts: tuple[int, int, int] = (16, 24, 32)
    features: tuple[int, int, int] = (12, 24, 32)
    width: int = 64
    hyper: int = 16
    inside: int = 48
    look: int = 24


@dataclass(frozen=True)
class BFrameMotion:
    """What is known of the motion of frame t.

    Attributes:
        flow: (N, 4, H, W), F_{t->0} and F_{t->1}, pixels.
        logit: (N, 1, H, W), of the weight of warped frame 0.
        colours: (N, 3, H, W), what the interpolation network adds to the fused frame.
        softness: (N, 2, H, W), how far it blurs it (`betwixt.models.compact.network`).
    """

    flow: Tensor
    logit: Tensor
    colours: Tensor
    softness: Tensor

    @property
    def both(self) -> Tensor:
        """(N, 5, H, W), flow and logit."""
        return torch.cat((self.flow, self.logit), dim=1)

    def moved(self, residual: Tensor) -> BFrameMotion:
        """With a residual (N, 5, H, W) added."""
        return BFrameMotion(self.flow + residual[:, :4], self.logit + residual[:, 4:], self.colours, self.softness)

    def frame(self, frame0: Tensor, frame1: Tensor) -> Tensor:
        """The frame that it gives."""
        weight = torch.sigmoid(self.logit)
        return compose(frame0, frame1, self.flow[:, :2], self.flow[:, 2:], weight, self.colours, self.softness)


@dataclass(frozen=True)
class Reconstruction:
    """What coding gives in training.

    Attributes:
        frame: (N, 3, H, W), not clamped.
        predicted: (N, 3, H, W), without any bits.
        taught: (N, 3, H, W), with the teacher's motion.
        compensated: (N, 3, H, W), with the compressed motion, before the residual.
        motion_bits: (N,), R_F.
        frame_bits: (N,), R_x.
    """

    frame: Tensor
    predicted: Tensor
    taught: Tensor
    compensated: Tensor
    motion_bits: Tensor
    frame_bits: Tensor


class Predictor(nn.Module):
    """The interpolation network as the codec uses it.

    Attributes:
        any_time: Whether it knows every t, or t = 1/2 alone.
    """

    any_time = False

    @abstractmethod
    def hints(self, pictures: NDArray[np.uint8], t: float) -> dict[str, NDArray[Any]]:
        """What a decoder has to know beside the frames, found on the CPU from frames 0 and 1, (2, H, W, 3)."""

    @abstractmethod
    def teacher_hints(self, pictures: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        """What the teacher sees beside, found from frame 0, the true frame and frame 1, (3, H, W, 3)."""

    @abstractmethod
    def predict(self, frame0: Tensor, frame1: Tensor, t: Tensor, hints: Mapping[str, Tensor]) -> BFrameMotion:
        """The motion without bits."""

    @abstractmethod
    def teach(
        self,
        frame0: Tensor,
        frame1: Tensor,
        t: Tensor,
        truth: Tensor,
        motion: BFrameMotion,
        hints: Mapping[str, Tensor],
    ) -> BFrameMotion:
        """The motion with the true frame before its eyes."""


class _Teacher(nn.Module):
    """Chooses, at every place, between the predicted flow and what a search from the true frame finds."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(20, width, 3, 2, 1),
            nn.LeakyReLU(0.1),
            nn.Conv2d(width, width, 3, 2, 1),
            nn.LeakyReLU(0.1),
            nn.Conv2d(width, width, 3, 1, 1),
            nn.LeakyReLU(0.1),
            nn.Conv2d(width, 7, 3, 1, 1),
        )
        last = self.body[-1]
        assert isinstance(last, nn.Conv2d)
        _zero(last)

    def forward(
        self, frame0: Tensor, frame1: Tensor, truth: Tensor, motion: BFrameMotion, found: Tensor
    ) -> BFrameMotion:
        """`found` is (N, 4, H, W): flows from the true frame to frames 0 and 1."""
        errors = []
        for flow in (motion.flow, found):
            for frame, part in ((frame0, flow[:, :2]), (frame1, flow[:, 2:])):
                errors.append((backward_warp(frame, part) - truth).abs().mean(dim=1, keepdim=True))
        seen = torch.cat(
            (truth - 0.5, *(e * 4.0 for e in errors), 0.05 * motion.flow, 0.05 * (found - motion.flow), motion.logit),
            dim=1,
        )
        blurred = F.avg_pool2d(torch.cat(errors, dim=1), 4)
        grown = F.avg_pool2d(F.pad(blurred, (1, 1, 1, 1), mode="replicate"), 3, 1)
        change = self.body(torch.cat((seen, F.interpolate(grown * 4.0, scale_factor=4.0, mode="bilinear")), dim=1))
        # The better of the two, judged over 12 pixels, unless the network knows better.
        gate0 = torch.sigmoid(change[:, 5:6] + 400.0 * (grown[:, 0:1] - grown[:, 2:3]) - 2.0)
        gate1 = torch.sigmoid(change[:, 6:7] + 400.0 * (grown[:, 1:2] - grown[:, 3:4]) - 2.0)
        gates = F.interpolate(torch.cat((gate0, gate0, gate1, gate1), dim=1), scale_factor=4.0, mode="bilinear")
        change = F.interpolate(change[:, :5], scale_factor=4.0, mode="bilinear")
        flow = motion.flow + gates * (found - motion.flow) + change[:, :4]
        # What is seen in one of the frames alone is taken from there.
        reached = [
            (backward_warp(frame, part) - truth).abs().mean(dim=1, keepdim=True)
            for frame, part in ((frame0, flow[:, :2]), (frame1, flow[:, 2:]))
        ]
        both = F.avg_pool2d(F.pad(torch.cat(reached, dim=1), (2, 2, 2, 2), mode="replicate"), 5, 1)
        logit = motion.logit + 40.0 * (both[:, 1:] - both[:, :1]) + change[:, 4:]
        return BFrameMotion(flow, logit.clamp(-8.0, 8.0), motion.colours, motion.softness)


class CompactPredictor(Predictor):
    """`compact`, whose weights stay as they are, and a teacher made for it."""

    any_time = True

    def __init__(self) -> None:
        super().__init__()
        self.network = Compact().requires_grad_(False)
        self.teacher = _Teacher()

    def hints(self, pictures: NDArray[np.uint8], t: float) -> dict[str, NDArray[Any]]:
        """What the search finds between the two frames: "found" (h, w, 2) and "logit" (h, w, 1)."""
        height, width = pictures.shape[1:3]
        # At the size that the networks see, as `compact` does at work.
        ratio = max(network_size(height, width)[0], search_size(height, width)[0]) / height
        found, logit = search(pictures[0], pictures[1], t, ratio)
        return {"found": found, "logit": logit}

    def teacher_hints(self, pictures: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        """What the search finds from the true frame to the two: "true" (H, W, 4)."""
        return {"true": search_true_flow(pictures)}

    def predict(self, frame0: Tensor, frame1: Tensor, t: Tensor, hints: Mapping[str, Tensor]) -> BFrameMotion:
        """The motion of `compact`, at its working size, brought to the frames'."""
        full = frame0.shape[-2:]
        h, w = network_size(*full)
        size = (-(-h // 16) * 16, -(-w // 16) * 16)
        small0, small1 = (resize_to(f, size, antialias=True) for f in (frame0, frame1))
        found, logit = resize_flow_to(hints["found"], size), resize_to(hints["logit"], size)
        with torch.no_grad():
            out = self.network(small0, small1, t, found, logit)
        flow = resize_flow_to(torch.cat((out.flow_t0, out.flow_t1), dim=1), full)
        maps = torch.cat((torch.logit(out.weight, 1e-4), out.colours, out.softness), dim=1)
        maps = resize_to(maps, full)
        return BFrameMotion(flow, maps[:, :1], maps[:, 1:4], maps[:, 4:6])

    def teach(
        self,
        frame0: Tensor,
        frame1: Tensor,
        t: Tensor,
        truth: Tensor,
        motion: BFrameMotion,
        hints: Mapping[str, Tensor],
    ) -> BFrameMotion:
        """What the teacher makes of it."""
        taught: BFrameMotion = self.teacher(frame0, frame1, truth, motion, hints["true"])
        return taught


class TaughtPredictor(Predictor):
    """A network with a teacher block of its own (RIFE, NCM), at t = 1/2."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def hints(self, pictures: NDArray[np.uint8], t: float) -> dict[str, NDArray[Any]]:
        """None: the network sees the frames."""
        return {}

    def teacher_hints(self, pictures: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        """None: the teacher sees the frames."""
        return {}

    def predict(self, frame0: Tensor, frame1: Tensor, t: Tensor, hints: Mapping[str, Tensor]) -> BFrameMotion:
        """The network's own flow and mask; its residual becomes the colours."""
        return _motion_of(self.network(frame0, frame1, t))

    def teach(
        self,
        frame0: Tensor,
        frame1: Tensor,
        t: Tensor,
        truth: Tensor,
        motion: BFrameMotion,
        hints: Mapping[str, Tensor],
    ) -> BFrameMotion:
        """The teacher block's flow and mask."""
        network: Any = self.network
        teacher = network.distil(frame0, frame1, t, truth).teacher
        return BFrameMotion(teacher.flow, teacher.logit, motion.colours, motion.softness)


def _motion_of(synthesis: Any) -> BFrameMotion:
    last = synthesis.stages[-1]
    colours = synthesis.frame - last.merged
    return BFrameMotion(last.flow, last.logit, colours, torch.zeros_like(colours[:, :2]))


def search_true_flow(pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Flows from the middle one of three pictures (3, H, W, 3) to the first and the last, (H, W, 4), pixels."""
    grey = [np.asarray(cv2.cvtColor(np.ascontiguousarray(p), cv2.COLOR_RGB2GRAY), np.uint8) for p in pictures]
    dis: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flows = [dis.calc(grey[1], other, None) for other in (grey[0], grey[2])]
    return np.concatenate(flows, axis=2).astype(np.float32)


def _predictor(name: str) -> Predictor:
    if name == "compact":
        return CompactPredictor()
    if name == "rife":
        from betwixt.models.rife.network import RIFE

        return TaughtPredictor(RIFE())
    if name == "ncm-base":
        from betwixt.models.ncm.network import NCM, NCM_BASE

        return TaughtPredictor(NCM(NCM_BASE))
    raise UsageError(f"The codec has no predictor '{name}': choose compact, rife or ncm-base.")


def _conv(channels_in: int, channels_out: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels_in, channels_out, 3, stride, 1), nn.LeakyReLU(0.1))


def _zero(conv: nn.Conv2d) -> nn.Conv2d:
    nn.init.zeros_(conv.weight)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv


class _Features(nn.Module):
    """Features of one frame at 1, 1/2 and 1/4."""

    def __init__(self, sizes: tuple[int, int, int]) -> None:
        super().__init__()
        a, b, c = sizes
        self.fine, self.middle, self.coarse = _conv(3, a), _conv(a, b, 2), _conv(b, c, 2)

    def forward(self, frame: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        full = self.fine(frame - 0.5)
        half = self.middle(full)
        return full, half, self.coarse(half)


class _Contexts(nn.Module):
    """Multi-scale contexts: features of both frames, warped by the compressed flows and joined (TCM)."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.features = _Features(config.features)
        self.join = nn.ModuleList(
            _conv(2 * f + below, c)
            for f, c, below in zip(config.features, config.contexts, (*config.contexts[1:], 0), strict=True)
        )

    def forward(self, frame0: Tensor, frame1: Tensor, motion: BFrameMotion) -> list[Tensor]:
        """C0, C1, C2 at 1, 1/2, 1/4; the coarser ones flow into the finer."""
        levels0, levels1 = self.features(frame0), self.features(frame1)
        weight = torch.sigmoid(motion.logit)
        contexts: list[Tensor] = []
        for level in (2, 1, 0):
            size = levels0[level].shape[-2:]
            flow, w = resize_flow_to(motion.flow, size), resize_to(weight, size)
            warped0 = backward_warp(levels0[level], flow[:, :2])
            warped1 = backward_warp(levels1[level], flow[:, 2:])
            parts = [w * warped0 + (1.0 - w) * warped1, warped0 - warped1]
            if contexts:
                parts.append(F.interpolate(contexts[0], scale_factor=2.0, mode="bilinear"))
            contexts.insert(0, self.join[level](torch.cat(parts, dim=1)))
        return contexts


def _cosines() -> Tensor:
    """(64, 64), the two-dimensional orthonormal cosine transform of 8x8 pixels, rows are frequencies."""
    n = torch.arange(8, dtype=torch.float64)
    basis = torch.cos(math.pi / 8 * (n[None] + 0.5) * n[:, None]) * 0.5
    basis[0] /= math.sqrt(2)
    return torch.kron(basis, basis).float()


def _colours() -> Tensor:
    """(3, 3), orthonormal: brightness, red against blue, green against both."""
    rows = [[1.0, 1.0, 1.0], [1.0, 0.0, -1.0], [-0.5, 1.0, -0.5]]
    return F.normalize(torch.tensor(rows), dim=1)


def _falling() -> Tensor:
    """(192,), logarithms of the scales of a residual's coefficients: they fall with frequency, and for colour."""
    n = torch.arange(8, dtype=torch.float32)
    luma = 4.5 - 0.42 * (n[:, None] + n[None]).flatten()
    return torch.cat((luma, luma - 2.2, luma - 2.6))


class _Transform(nn.Module):
    """The cosine transform of decorrelated colours: (N, 3, H, W) <-> (N, 192, H/8, W/8); orthonormal."""

    basis: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("basis", torch.kron(_colours(), _cosines())[..., None, None], persistent=False)

    def forward(self, picture: Tensor) -> Tensor:
        """Pixels to coefficients."""
        return F.conv2d(F.pixel_unshuffle(picture, _SHRINK), self.basis)

    def inverse(self, coefficients: Tensor) -> Tensor:
        """Coefficients to pixels."""
        return F.pixel_shuffle(F.conv2d(coefficients, self.basis.transpose(0, 1)), _SHRINK)


class _ContextualEncoder(nn.Module):
    """What the contexts let the latents say beyond the residual; begins at zero."""

    def __init__(self, config: CodecConfig, latents: int) -> None:
        super().__init__()
        c0, c1, c2 = config.contexts
        self.fine = _conv(6 + c0, c1, 2)
        self.middle = _conv(c1 + c1, c2, 2)
        self.coarse = _conv(c2 + c2, config.width, 2)
        self.out = _zero(nn.Conv2d(config.width, latents, 1))

    def forward(self, truth: Tensor, prediction: Tensor, contexts: list[Tensor]) -> Tensor:
        """(N, 192, H/8, W/8), in units of the residual's coefficients."""
        x = self.fine(torch.cat((truth - prediction, prediction - 0.5, contexts[0]), dim=1))
        x = self.middle(torch.cat((x, contexts[1]), dim=1))
        found: Tensor = self.out(self.coarse(torch.cat((x, contexts[2]), dim=1)))
        return found


class _FrameGenerator(nn.Module):
    """The contextual decoder and the frame generator: from latents and contexts to what corrects the frame."""

    def __init__(self, config: CodecConfig, latents: int) -> None:
        super().__init__()
        c0, c1, c2 = config.contexts
        self.inside = _conv(latents + 1, config.width)
        self.coarse = nn.Conv2d(config.width, 4 * c2, 1)
        self.join2 = _conv(2 * c2, c2)
        self.middle = nn.Conv2d(c2, 4 * c1, 1)
        self.join1 = _conv(2 * c1, c1)
        self.fine = nn.Conv2d(c1, 4 * c0, 1)
        self.join0 = _conv(2 * c0 + 6, c0)
        self.refine = _conv(c0, c0)
        self.out = _zero(nn.Conv2d(c0, 3, 3, 1, 1))

    def forward(
        self, latents: Tensor, step: Tensor, plain: Tensor, prediction: Tensor, contexts: list[Tensor]
    ) -> Tensor:
        """(N, 3, H, W), to be added to `plain`, the prediction with the inverse transform of the latents on it."""
        x = self.inside(torch.cat((latents, step.expand(-1, 1, *latents.shape[-2:])), dim=1))
        x = self.join2(torch.cat((F.pixel_shuffle(self.coarse(x), 2), contexts[2]), dim=1))
        x = self.join1(torch.cat((F.pixel_shuffle(self.middle(x), 2), contexts[1]), dim=1))
        seen = (F.pixel_shuffle(self.fine(x), 2), contexts[0], plain - 0.5, plain - prediction)
        x = self.join0(torch.cat(seen, dim=1))
        corrected: Tensor = self.out(self.refine(x) + x)
        return corrected


class _MotionEncoder(nn.Module):
    """Block means of the residual motion, and what the motion context lets them say beyond."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(_conv(10, width), _conv(width, width), _zero(nn.Conv2d(width, 5, 1)))

    def forward(self, residual: Tensor, context: Tensor) -> Tensor:
        """(N, 5, H/8, W/8), in pixels."""
        means = F.avg_pool2d(residual, _SHRINK)
        beyond: Tensor = self.body(torch.cat((means, context), dim=1))
        return means + beyond


class _MotionDecoder(nn.Module):
    """The residual motion out of its latents and the motion context."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(_conv(10, width), _conv(width, width), _zero(nn.Conv2d(width, 5, 1)))

    def forward(self, latents: Tensor, context: Tensor) -> Tensor:
        """(N, 5, H, W)."""
        coarse: Tensor = latents + self.body(torch.cat((latents, context), dim=1))
        return F.interpolate(coarse, scale_factor=float(_SHRINK), mode="bilinear")


class BFrameNetwork(nn.Module):
    """The network; see the module for what it computes."""

    gaussians: Tensor
    multiple = 32

    def __init__(self, config: CodecConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or CodecConfig()
        self.predictor = _predictor(config.predictor)
        self.look = ReferenceFeatures(config.look)
        latents = 3 * _SHRINK**2
        self.motion_context = nn.Sequential(_conv(5, 16), nn.Conv2d(16, 5, 3, 1, 1))
        self.motion_encoder, self.motion_decoder = _MotionEncoder(32), _MotionDecoder(32)
        self.motion_gain = nn.Parameter(torch.tensor([0.0, 0.0, 0.0, 0.0, 0.7]))
        self.motion_model = LatentEntropyModel(torch.full((5,), -0.5), 4, 24, config.look, octaves=2.0)
        self.contexts = _Contexts(config)
        self.transform = _Transform()
        self.encoder = _ContextualEncoder(config, latents)
        self.generator = _FrameGenerator(config, latents)
        self.gain = nn.Parameter(torch.zeros(latents))
        self.model = LatentEntropyModel(_falling(), config.hyper, config.inside, config.look, octaves=4.0)
        self.register_buffer("gaussians", torch.from_numpy(gaussian_tables().astype(np.float32)), persistent=False)

    # -- the parts, as training and coding share them

    def hint(self, step: Tensor) -> Tensor:
        """The step (N, 1, 1, 1) as entropy models and generator see it: octaves above 1/255, in 16ths."""
        return on_grid(torch.log2(255.0 * step) * 0.25, 16.0 * _CODES / 4.0)

    def motion_step(self, step: Tensor) -> Tensor:
        """The quantizer's steps of motion, (N, 5, 1, 1) in pixels: half a pixel at a step of 16/255, and learned."""
        return torch.sqrt(step * (255.0 / 16.0)) * 0.5 * torch.exp(self.motion_gain).reshape(1, 5, 1, 1)

    def frame_step(self, step: Tensor) -> Tensor:
        """The quantizer's steps of the frame's latents, (N, 192, 1, 1)."""
        return step * torch.exp(self.gain).reshape(1, -1, 1, 1)

    def context_of(self, motion: BFrameMotion) -> Tensor:
        """The motion context, (N, 5, H/8, W/8)."""
        context: Tensor = self.motion_context(F.avg_pool2d(motion.both, _SHRINK) * 0.1)
        return context

    def motion_latents(
        self,
        predicted: BFrameMotion,
        taught: BFrameMotion,
        unaided: Tensor,
        better: Tensor,
        truth: Tensor,
        step: Tensor,
    ) -> Tensor:
        """What there is to say of the motion, in steps: the residual, in blocks where it is worth bits.

        Args:
            predicted: The motion that the decoder knows.
            taught: The teacher's.
            unaided: (N, 3, H, W), the frame by the predicted motion.
            better: (N, 3, H, W), the frame by the teacher's.
            truth: (N, 3, H, W).
            step: (N, 1, 1, 1).
        """
        with torch.no_grad():
            gain = ((unaided - truth) ** 2 - (better - truth) ** 2).mean(dim=1, keepdim=True)
            gain = F.avg_pool2d(gain, _SHRINK) * (_SHRINK**2 * LAMBDA / step**2)
            around = F.avg_pool2d(F.pad(gain, (1, 1, 1, 1), mode="replicate"), 3, 1)
            worth = F.interpolate((around > _MOTION_BITS).to(truth.dtype), scale_factor=float(_SHRINK))
        residual = (taught.both - predicted.both) * worth
        found: Tensor = self.motion_encoder(residual, self.context_of(predicted))
        return found / self.motion_step(step)

    def compressed_motion(self, predicted: BFrameMotion, latents: Tensor, step: Tensor) -> BFrameMotion:
        """The motion as the decoder has it; latents that are all 0 leave the prediction as it is."""
        residual = self.motion_decoder(latents * self.motion_step(step), self.context_of(predicted))
        return predicted.moved(residual)

    def latents(self, truth: Tensor, prediction: Tensor, contexts: list[Tensor], step: Tensor) -> Tensor:
        """What there is to say of the frame, in steps."""
        coefficients: Tensor = self.transform(truth - prediction) + self.encoder(truth, prediction, contexts)
        return coefficients / self.frame_step(step)

    def reconstruct(self, prediction: Tensor, contexts: list[Tensor], latents: Tensor, step: Tensor) -> Tensor:
        """The frame out of its latents, (N, 3, H, W), not clamped."""
        coefficients = latents * self.frame_step(step)
        plain = prediction + self.transform.inverse(coefficients)
        beyond: Tensor = self.generator(coefficients, self.hint(step), plain, prediction, contexts)
        return plain + beyond

    # -- training

    def forward(
        self, frame0: Tensor, frame1: Tensor, t: Tensor, truth: Tensor, hints: Mapping[str, Tensor], step: Tensor
    ) -> Reconstruction:
        """Code and decode frames, with noise in the place of rounding where bits are counted.

        Args:
            frame0: (N, 3, H, W), RGB in [0, 1], as the base decoder gives it; sides multiples of 32.
            frame1: The same.
            t: (N, 1, 1, 1), in (0, 1).
            truth: (N, 3, H, W), the true frame t.
            hints: What the predictor and its teacher see beside.
            step: (N, 1, 1, 1), of samples in [0, 1].
        """
        luma = torch.cat([luma_of(f) for f in (frame0, frame1)], dim=1)
        look, hint = self.look(luma), self.hint(step)
        predicted = self.predictor.predict(frame0, frame1, t, hints)
        taught = self.predictor.teach(frame0, frame1, t, truth, predicted, hints)
        unaided, better = predicted.frame(frame0, frame1), taught.frame(frame0, frame1)
        found = self.motion_latents(predicted, taught, unaided, better, truth, step)
        y, motion_bits = self.motion_model(found, look, hint)
        motion = self.compressed_motion(predicted, y, step)
        contexts = self.contexts(frame0, frame1, motion)
        prediction = motion.frame(frame0, frame1)
        y, frame_bits = self.model(self.latents(truth, prediction, contexts, step), look, hint)
        frame = self.reconstruct(prediction, contexts, y, step)
        return Reconstruction(frame, unaided, better, prediction, motion_bits, frame_bits)


def luma_of(frame: Tensor) -> Tensor:
    """Luma as video has it (limited range, 8 bit), of RGB in [0, 1]: multiples of 1/256 in [-1/2, 1/2]."""
    weights = frame.new_tensor([0.2126, 0.7152, 0.0722]).reshape(1, 3, 1, 1)
    luma = 16.0 + 219.0 * (frame * weights).sum(dim=1, keepdim=True)
    return torch.round(luma.detach()) / 256.0 - 0.5

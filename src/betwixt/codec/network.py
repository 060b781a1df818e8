"""The network that codes B frames: motion predicted by interpolation, and only the difference to it coded.

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

It follows the paper (NCM, appendix C, which builds on DCVC and TCM) in these parts: motion is predicted without bits,
the teacher finds the motion to code from the true frame, contexts at three scales are warped by the compressed flows, a
generator makes the frame, and the loss is equation 9. Where the paper says nothing, or where a network that trains for
minutes needs it, this was chosen:

- The prediction is subtracted, and the residual is transformed by an 8x8 discrete cosine transform of three
  decorrelated colour channels. The contextual encoder and decoder add what they learn, and begin at zero. So the
  network begins as a plain transform codec of the prediction's residual, and learns from there.
- Motion is coded the same way: block means of the residual motion, and what the networks add. Only blocks whose
  prediction gains more than a few bits are coded; otherwise the noise of flow on even surfaces would be coded.
- One network serves all rates: the quantizer's step is an input, and lambda = 64 / step² links the two.
- `compact` has no teacher block, so one is defined here. It sees what RIFE's and NCM's teachers see and, since
  `compact` starts from a DIS search, the flow that a search finds from the true frame; it begins by choosing, at each
  pixel, the flow that warps better.
- Entropy models see contexts, as in DCVC and TCM, but contexts of their own: features of the two frames' luma, warped
  by a motion of integers that every machine finds alike (`betwixt.codec.exact_motion`). Those in floating point would
  make a range decoder on another machine read other symbols.

Reference: Jia et al., Neighbor Correspondence Matching for Flow-based Video Frame Synthesis, ACM MM 2022, appendix C;
Li, Li, Lu: Deep contextual video compression, NeurIPS 2021; Sheng et al.: Temporal context mining for learned video
compression, 2021.
"""

from __future__ import annotations

import itertools
import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from betwixt.codec.entropy import LatentEntropyModel, ReferenceFeatures, gaussian_tables
from betwixt.codec.exact_motion import add_exact_residual, search_exact_motion, warp_exactly
from betwixt.codec.fixed_point import quantize
from betwixt.errors import UsageError
from betwixt.layers.resize import resize_flow_to, resize_to
from betwixt.layers.warp import backward_warp
from betwixt.models.compact.initial_motion import network_size, search_motion
from betwixt.models.compact.network import Compact, compose
from betwixt.models.dis.interpolator import search_size

LAMBDA = 64.0
"""lambda = LAMBDA / step², in bits per pixel for a unit of mean squared error."""

_CODES_PER_OCTAVE = 16
"""Codes of the quantizer's step in an octave."""

_BLOCK = 8

_EXACT_STEPS = 256.0
"""Parts of a pixel in which the residual motion is counted that contexts of entropy models are warped by."""

_MIN_MOTION_GAIN = 60.0
"""The rate-distortion gain, in bits, below which the motion of a block is not coded."""


def code_from_step(step: float) -> int:
    """The nearest of 256 steps of the quantizer, a 16th of an octave apart; `step` is of samples in [0, 1]."""
    return min(255, max(0, round(_CODES_PER_OCTAVE * math.log2(max(255.0 * step, 1e-6)))))


def step_from_code(code: int) -> float:
    """The step of a code, of samples in [0, 1]."""
    return float(2.0 ** (code / _CODES_PER_OCTAVE)) / 255.0


def step_feature_from_code(code: int) -> float:
    """The input of entropy models and generator for a code; see `BFrameNetwork.step_feature`."""
    return code / (4.0 * _CODES_PER_OCTAVE)


@dataclass(frozen=True)
class CodecConfig:
    """Hyper-parameters."""

    predictor: str = "compact"  # or an interpolation network with a teacher of its own: "rife", "ncm-base"
    context_channels: tuple[int, int, int] = (16, 24, 32)  # channels of the contexts at 1, 1/2 and 1/4
    feature_channels: tuple[int, int, int] = (12, 24, 32)  # channels of each frame's features at these scales
    width: int = 64  # channels of the contextual encoder and decoder at 1/8
    hyper_channels: int = 16  # channels of z
    entropy_width: int = 48  # channels inside the entropy models
    reference_channels: int = 24  # channels of the reference features that entropy models see
    entropy_contexts: bool = True  # whether entropy models see contexts; older weights have none


@dataclass(frozen=True)
class BFrameMotion:
    """The motion of frame t, and the rest that the interpolation network needs to synthesize it."""

    flow: Tensor  # (N, 4, H, W), F_{t->0} and F_{t->1}, pixels
    logit: Tensor  # (N, 1, H, W), of the weight of warped frame 0
    colour_residual: Tensor  # (N, 3, H, W), the residual that the interpolation network adds to the fused frame
    softness: Tensor  # (N, 2, H, W), how much it blurs the fused frame (`betwixt.models.compact.network`)

    @property
    def flow_and_logit(self) -> Tensor:
        """(N, 5, H, W)."""
        return torch.cat((self.flow, self.logit), dim=1)

    def synthesize(self, frame0: Tensor, frame1: Tensor) -> Tensor:
        """Frame t, (N, 3, H, W)."""
        weight = torch.sigmoid(self.logit)
        return compose(frame0, frame1, self.flow[:, :2], self.flow[:, 2:], weight, self.colour_residual, self.softness)


@dataclass(frozen=True)
class Reconstruction:
    """The result of coding in training."""

    frame: Tensor  # (N, 3, H, W), the decoded frame, not clamped
    predicted: Tensor  # (N, 3, H, W), the frame by the predicted motion, without any bits
    taught: Tensor  # (N, 3, H, W), the frame by the teacher's motion
    compensated: Tensor  # (N, 3, H, W), the frame by the compressed motion, before the residual
    motion_bits: Tensor  # (N,), R_F
    frame_bits: Tensor  # (N,), R_x


Maps = Mapping[str, Tensor]
"""Search results by name, (N, C, H, W)."""


class Predictor(nn.Module):
    """The interpolation network as the codec uses it.

    Attributes:
        any_time: Whether it predicts motion for every t, or for t = 1/2 alone.
    """

    any_time = False

    def search(self, images: NDArray[np.uint8], t: float) -> dict[str, NDArray[Any]]:
        """Search results that `predict` needs, found on the CPU in frames 0 and 1, (2, H, W, 3); empty by default."""
        return {}

    def search_for_teacher(self, images: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        """Search results that `teach` needs, found in frame 0, the true frame, frame 1, (3, H, W, 3)."""
        return {}

    @abstractmethod
    def predict(self, frame0: Tensor, frame1: Tensor, t: Tensor, searched: Maps) -> BFrameMotion:
        """The motion that costs no bits."""

    @abstractmethod
    def teach(
        self, frame0: Tensor, frame1: Tensor, t: Tensor, truth: Tensor, motion: BFrameMotion, searched: Maps
    ) -> BFrameMotion:
        """The predicted motion improved by means of the true frame."""


class _Teacher(nn.Module):
    """Chooses, at every pixel, between the predicted flow and the flow that a search from the true frame finds."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        layers = [_conv(20, width, 2), _conv(width, width, 2), _conv(width, width)]
        self.body = nn.Sequential(*itertools.chain(*layers), _zero(nn.Conv2d(width, 7, 3, 1, 1)))

    def forward(
        self, frame0: Tensor, frame1: Tensor, truth: Tensor, motion: BFrameMotion, true_flow: Tensor
    ) -> BFrameMotion:
        """The improved motion; `true_flow` (N, 4, H, W) has flows from the true frame to frames 0 and 1."""
        errors = _warp_errors(frame0, frame1, truth, motion.flow) + _warp_errors(frame0, frame1, truth, true_flow)
        inputs = torch.cat(
            (
                truth - 0.5,
                *(e * 4.0 for e in errors),
                0.05 * motion.flow,
                0.05 * (true_flow - motion.flow),
                motion.logit,
            ),
            dim=1,
        )
        # Errors at 1/4, averaged over 12 pixels: the flow with the smaller one is chosen unless the network disagrees.
        local_errors = F.avg_pool2d(torch.cat(errors, dim=1), 4)
        local_errors = F.avg_pool2d(F.pad(local_errors, (1, 1, 1, 1), mode="replicate"), 3, 1)
        upsampled = F.interpolate(local_errors * 4.0, scale_factor=4.0, mode="bilinear")
        output = self.body(torch.cat((inputs, upsampled), dim=1))
        gate0 = torch.sigmoid(output[:, 5:6] + 400.0 * (local_errors[:, 0:1] - local_errors[:, 2:3]) - 2.0)
        gate1 = torch.sigmoid(output[:, 6:7] + 400.0 * (local_errors[:, 1:2] - local_errors[:, 3:4]) - 2.0)
        gates = F.interpolate(torch.cat((gate0, gate0, gate1, gate1), dim=1), scale_factor=4.0, mode="bilinear")
        change = F.interpolate(output[:, :5], scale_factor=4.0, mode="bilinear")
        flow = motion.flow + gates * (true_flow - motion.flow) + change[:, :4]
        # Pixels that are visible in only one of the frames are taken from that frame.
        new_errors = torch.cat(_warp_errors(frame0, frame1, truth, flow), dim=1)
        new_errors = F.avg_pool2d(F.pad(new_errors, (2, 2, 2, 2), mode="replicate"), 5, 1)
        logit = motion.logit + 40.0 * (new_errors[:, 1:] - new_errors[:, :1]) + change[:, 4:]
        return replace(motion, flow=flow, logit=logit.clamp(-8.0, 8.0))


def _warp_errors(frame0: Tensor, frame1: Tensor, truth: Tensor, flow: Tensor) -> list[Tensor]:
    """Mean absolute differences (N, 1, H, W) of frames 0 and 1, each warped by its flow, from the true frame."""
    return [
        (backward_warp(frame, part) - truth).abs().mean(dim=1, keepdim=True)
        for frame, part in ((frame0, flow[:, :2]), (frame1, flow[:, 2:]))
    ]


class CompactPredictor(Predictor):
    """`compact`, whose weights are fixed, and a teacher for it."""

    any_time = True

    def __init__(self) -> None:
        super().__init__()
        self.network = Compact().requires_grad_(False)
        self.teacher = _Teacher()

    def search(self, images: NDArray[np.uint8], t: float) -> dict[str, NDArray[Any]]:
        """The motion that DIS finds between the two frames: "motion" (h, w, 2) and "logit" (h, w, 1)."""
        height, width = images.shape[1:3]
        # At the size of the networks' input, as `compact` does in conversions.
        ratio = max(network_size(height, width)[0], search_size(height, width)[0]) / height
        motion, logit = search_motion(images[0], images[1], t, ratio)
        return {"motion": motion, "logit": logit}

    def search_for_teacher(self, images: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        """The flow that DIS finds from the true frame to the two: "true_flow" (H, W, 4)."""
        return {"true_flow": search_true_flow(images)}

    def predict(self, frame0: Tensor, frame1: Tensor, t: Tensor, searched: Maps) -> BFrameMotion:
        """The motion of `compact`, computed at its network size and resized to the frames' size."""
        full = frame0.shape[-2:]
        h, w = network_size(*full)
        size = (-(-h // 16) * 16, -(-w // 16) * 16)
        small0, small1 = (resize_to(f, size, antialias=True) for f in (frame0, frame1))
        motion, logit = resize_flow_to(searched["motion"], size), resize_to(searched["logit"], size)
        with torch.no_grad():
            out = self.network(small0, small1, t, motion, logit)
        flow = resize_flow_to(torch.cat((out.flow_t0, out.flow_t1), dim=1), full)
        maps = torch.cat((torch.logit(out.weight, 1e-4), out.colour_residual, out.softness), dim=1)
        maps = resize_to(maps, full)
        return BFrameMotion(flow, maps[:, :1], maps[:, 1:4], maps[:, 4:6])

    def teach(
        self, frame0: Tensor, frame1: Tensor, t: Tensor, truth: Tensor, motion: BFrameMotion, searched: Maps
    ) -> BFrameMotion:
        improved: BFrameMotion = self.teacher(frame0, frame1, truth, motion, searched["true_flow"])
        return improved


class DistilledPredictor(Predictor):
    """A network with a teacher block of its own (RIFE, NCM), at t = 1/2."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def predict(self, frame0: Tensor, frame1: Tensor, t: Tensor, searched: Maps) -> BFrameMotion:
        """The network's own flow and mask; its residual becomes the colour residual."""
        synthesis = self.network(frame0, frame1, t)
        last = synthesis.stages[-1]
        colour_residual = synthesis.frame - last.merged
        return BFrameMotion(last.flow, last.logit, colour_residual, torch.zeros_like(colour_residual[:, :2]))

    def teach(
        self, frame0: Tensor, frame1: Tensor, t: Tensor, truth: Tensor, motion: BFrameMotion, searched: Maps
    ) -> BFrameMotion:
        """The teacher block's flow and mask."""
        network: Any = self.network
        teacher = network.distil(frame0, frame1, t, truth).teacher
        return replace(motion, flow=teacher.flow, logit=teacher.logit)


def search_true_flow(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """DIS flows from the middle one of three images (3, H, W, 3) to the first and the last, (H, W, 4), pixels."""
    grey = [np.asarray(cv2.cvtColor(np.ascontiguousarray(i), cv2.COLOR_RGB2GRAY), np.uint8) for i in images]
    dis: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flows = [dis.calc(grey[1], other, None) for other in (grey[0], grey[2])]
    return np.concatenate(flows, axis=2).astype(np.float32)


def _make_predictor(name: str) -> Predictor:
    if name == "compact":
        return CompactPredictor()
    if name == "rife":
        from betwixt.models.rife.network import RIFE

        return DistilledPredictor(RIFE())
    if name == "ncm-base":
        from betwixt.models.ncm.network import NCM, NCM_BASE

        return DistilledPredictor(NCM(NCM_BASE))
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

    def __init__(self, channels: tuple[int, int, int]) -> None:
        super().__init__()
        a, b, c = channels
        self.fine, self.middle, self.coarse = _conv(3, a), _conv(a, b, 2), _conv(b, c, 2)

    def forward(self, frame: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        full = self.fine(frame - 0.5)
        half = self.middle(full)
        return full, half, self.coarse(half)


class _Contexts(nn.Module):
    """Multi-scale contexts: features of both frames, warped by the compressed flows and joined (TCM)."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.features = _Features(config.feature_channels)
        coarser_channels = (*config.context_channels[1:], 0)
        self.join = nn.ModuleList(
            _conv(2 * features + coarser, context)
            for features, context, coarser in zip(
                config.feature_channels, config.context_channels, coarser_channels, strict=True
            )
        )

    def forward(self, frame0: Tensor, frame1: Tensor, motion: BFrameMotion) -> list[Tensor]:
        """C0, C1, C2 at 1, 1/2, 1/4; the coarser ones are inputs of the finer ones."""
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


def _dct_basis() -> Tensor:
    """(64, 64), the two-dimensional orthonormal discrete cosine transform of 8x8 pixels; rows are frequencies."""
    n = torch.arange(8, dtype=torch.float64)
    basis = torch.cos(math.pi / 8 * (n[None] + 0.5) * n[:, None]) * 0.5
    basis[0] /= math.sqrt(2)
    return torch.kron(basis, basis).float()


def _colour_basis() -> Tensor:
    """(3, 3), orthonormal: brightness, red against blue, green against both."""
    rows = [[1.0, 1.0, 1.0], [1.0, 0.0, -1.0], [-0.5, 1.0, -0.5]]
    return F.normalize(torch.tensor(rows), dim=1)


def _initial_frame_scales() -> Tensor:
    """(192,), logarithms of the scales of a residual's coefficients: smaller for high frequencies and for colour."""
    n = torch.arange(8, dtype=torch.float32)
    luma = 4.5 - 0.42 * (n[:, None] + n[None]).flatten()
    return torch.cat((luma, luma - 2.2, luma - 2.6))


class _Transform(nn.Module):
    """The orthonormal cosine transform of decorrelated colours: (N, 3, H, W) <-> (N, 192, H/8, W/8)."""

    basis: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("basis", torch.kron(_colour_basis(), _dct_basis())[..., None, None], persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        return F.conv2d(F.pixel_unshuffle(image, _BLOCK), self.basis)

    def inverse(self, coefficients: Tensor) -> Tensor:
        return F.pixel_shuffle(F.conv2d(coefficients, self.basis.transpose(0, 1)), _BLOCK)


class _ContextualEncoder(nn.Module):
    """What the contexts let the latents carry beyond the residual's coefficients; its output starts at zero."""

    def __init__(self, config: CodecConfig, latents: int) -> None:
        super().__init__()
        c0, c1, c2 = config.context_channels
        self.fine = _conv(6 + c0, c1, 2)
        self.middle = _conv(c1 + c1, c2, 2)
        self.coarse = _conv(c2 + c2, config.width, 2)
        self.out = _zero(nn.Conv2d(config.width, latents, 1))

    def forward(self, truth: Tensor, prediction: Tensor, contexts: list[Tensor]) -> Tensor:
        """(N, 192, H/8, W/8), in units of the residual's coefficients."""
        x = self.fine(torch.cat((truth - prediction, prediction - 0.5, contexts[0]), dim=1))
        x = self.middle(torch.cat((x, contexts[1]), dim=1))
        coefficients: Tensor = self.out(self.coarse(torch.cat((x, contexts[2]), dim=1)))
        return coefficients


class _FrameGenerator(nn.Module):
    """The contextual decoder and the frame generator: from latents and contexts to a correction of the frame."""

    def __init__(self, config: CodecConfig, latents: int) -> None:
        super().__init__()
        c0, c1, c2 = config.context_channels
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
        self, latents: Tensor, step_feature: Tensor, plain: Tensor, prediction: Tensor, contexts: list[Tensor]
    ) -> Tensor:
        """(N, 3, H, W), to be added to `plain`, the prediction plus the inverse transform of the latents."""
        x = self.inside(torch.cat((latents, step_feature.expand(-1, 1, *latents.shape[-2:])), dim=1))
        x = self.join2(torch.cat((F.pixel_shuffle(self.coarse(x), 2), contexts[2]), dim=1))
        x = self.join1(torch.cat((F.pixel_shuffle(self.middle(x), 2), contexts[1]), dim=1))
        inputs = (F.pixel_shuffle(self.fine(x), 2), contexts[0], plain - 0.5, plain - prediction)
        x = self.join0(torch.cat(inputs, dim=1))
        correction: Tensor = self.out(self.refine(x) + x)
        return correction


class _MotionTransform(nn.Module):
    """Block means of motion, or its latents, plus a correction that depends on the motion context."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(_conv(10, width), _conv(width, width), _zero(nn.Conv2d(width, 5, 1)))

    def forward(self, motion: Tensor, context: Tensor) -> Tensor:
        """(N, 5, H/8, W/8), in pixels."""
        corrected: Tensor = motion + self.body(torch.cat((motion, context), dim=1))
        return corrected


class BFrameNetwork(nn.Module):
    """The network; see the module for what it computes. Attribute names are those of weights files."""

    gaussians: Tensor
    multiple = 32

    def __init__(self, config: CodecConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or CodecConfig()
        self.predictor = _make_predictor(config.predictor)
        self.look = ReferenceFeatures(config.reference_channels)
        latents = 3 * _BLOCK**2
        self.motion_context = nn.Sequential(_conv(5, 16), nn.Conv2d(16, 5, 3, 1, 1))
        self.motion_encoder, self.motion_decoder = _MotionTransform(32), _MotionTransform(32)
        self.motion_gain = nn.Parameter(torch.tensor([0.0, 0.0, 0.0, 0.0, 0.7]))
        entropy_contexts = config.reference_channels if config.entropy_contexts else 0
        self.look_warped = ReferenceFeatures(entropy_contexts) if entropy_contexts else None
        self.motion_model = LatentEntropyModel(
            torch.full((5,), -0.5), 4, 24, config.reference_channels, 2.0, entropy_contexts
        )
        self.contexts = _Contexts(config)
        self.transform = _Transform()
        self.encoder = _ContextualEncoder(config, latents)
        self.generator = _FrameGenerator(config, latents)
        self.gain = nn.Parameter(torch.zeros(latents))
        self.model = LatentEntropyModel(
            _initial_frame_scales(), config.hyper_channels, config.entropy_width, config.reference_channels, 4.0,
            entropy_contexts,
        )  # fmt: skip
        self.register_buffer("gaussians", torch.from_numpy(gaussian_tables().astype(np.float32)), persistent=False)

    # -- steps of coding, shared by training and `betwixt.codec.coder`

    def step_feature(self, step: Tensor) -> Tensor:
        """The step (N, 1, 1, 1) as entropy models and generator see it: octaves above 1/255, in 16ths, over 4."""
        return quantize(torch.log2(255.0 * step) * 0.25, 16.0 * _CODES_PER_OCTAVE / 4.0)

    def motion_step(self, step: Tensor) -> Tensor:
        """The quantizer's steps of motion, (N, 5, 1, 1): half a pixel at a step of 16/255, times learned gains."""
        return torch.sqrt(step * (255.0 / 16.0)) * 0.5 * torch.exp(self.motion_gain).reshape(1, 5, 1, 1)

    def exact_motion_steps(self, code: int) -> Tensor:
        """`motion_step` of the two flows, (1, 4, 1, 1), in 256ths of a pixel, the same on every machine.

        Python's double precision is exact enough for that: no product is within a billionth of the middle of two.
        """
        step = math.sqrt(step_from_code(code) * (255.0 / 16.0)) * 0.5
        steps = [round(_EXACT_STEPS * step * math.exp(gain)) / _EXACT_STEPS for gain in self.motion_gain.tolist()[:4]]
        return torch.tensor(steps, dtype=torch.float64).reshape(1, 4, 1, 1)

    def frame_step(self, step: Tensor) -> Tensor:
        """The quantizer's steps of the frame's latents, (N, 192, 1, 1)."""
        return step * torch.exp(self.gain).reshape(1, -1, 1, 1)

    def encode_motion(
        self,
        predicted: BFrameMotion,
        taught: BFrameMotion,
        predicted_frame: Tensor,
        taught_frame: Tensor,
        truth: Tensor,
        step: Tensor,
    ) -> Tensor:
        """The latents of the residual motion, in steps; 0 in blocks where motion gains too little.

        `predicted` is the motion that the decoder has already, `taught` the teacher's; `predicted_frame` and
        `taught_frame` (N, 3, H, W) are the frames that they give.
        """
        with torch.no_grad():
            gain = ((predicted_frame - truth) ** 2 - (taught_frame - truth) ** 2).mean(dim=1, keepdim=True)
            gain = F.avg_pool2d(gain, _BLOCK) * (_BLOCK**2 * LAMBDA / step**2)
            gain = F.avg_pool2d(F.pad(gain, (1, 1, 1, 1), mode="replicate"), 3, 1)
            mask = F.interpolate((gain > _MIN_MOTION_GAIN).to(truth.dtype), scale_factor=float(_BLOCK))
        residual = (taught.flow_and_logit - predicted.flow_and_logit) * mask
        latents: Tensor = self.motion_encoder(F.avg_pool2d(residual, _BLOCK), self._motion_context(predicted))
        return latents / self.motion_step(step)

    def decode_motion(self, predicted: BFrameMotion, latents: Tensor, step: Tensor) -> BFrameMotion:
        """The compressed motion; latents that are all 0 leave the prediction as it is."""
        coarse = self.motion_decoder(latents * self.motion_step(step), self._motion_context(predicted))
        residual = F.interpolate(coarse, scale_factor=float(_BLOCK), mode="bilinear")
        return replace(predicted, flow=predicted.flow + residual[:, :4], logit=predicted.logit + residual[:, 4:])

    def _motion_context(self, motion: BFrameMotion) -> Tensor:
        """(N, 5, H/8, W/8)."""
        context: Tensor = self.motion_context(F.avg_pool2d(motion.flow_and_logit, _BLOCK) * 0.1)
        return context

    def encode_frame(self, truth: Tensor, prediction: Tensor, contexts: list[Tensor], step: Tensor) -> Tensor:
        """The latents of the frame, in steps."""
        coefficients: Tensor = self.transform(truth - prediction) + self.encoder(truth, prediction, contexts)
        return coefficients / self.frame_step(step)

    def decode_frame(self, prediction: Tensor, contexts: list[Tensor], latents: Tensor, step: Tensor) -> Tensor:
        """The frame from its latents, (N, 3, H, W), not clamped."""
        coefficients = latents * self.frame_step(step)
        plain = prediction + self.transform.inverse(coefficients)
        correction: Tensor = self.generator(coefficients, self.step_feature(step), plain, prediction, contexts)
        return plain + correction

    # -- training

    def forward(
        self, frame0: Tensor, frame1: Tensor, t: Tensor, truth: Tensor, searched: Maps, step: Tensor
    ) -> Reconstruction:
        """Code and decode frames; noise replaces quantization where bits are counted.

        Frames are (N, 3, H, W), RGB in [0, 1], with sides that are multiples of 32; `t`, in (0, 1), and `step`, of
        samples in [0, 1], are (N, 1, 1, 1). `searched` has the search results for the predictor and its teacher.
        """
        luma = torch.cat([_quantized_luma(frame) for frame in (frame0, frame1)], dim=1)
        reference, step_feature = self.look(luma), self.step_feature(step)
        exact = search_exact_motion(luma, t) if self.look_warped is not None else None
        # Motion
        predicted = self.predictor.predict(frame0, frame1, t, searched)
        taught = self.predictor.teach(frame0, frame1, t, truth, predicted, searched)
        predicted_frame, taught_frame = (motion.synthesize(frame0, frame1) for motion in (predicted, taught))
        latents = self.encode_motion(predicted, taught, predicted_frame, taught_frame, truth, step)
        context = self.look_warped(warp_exactly(luma, exact)) if self.look_warped and exact else None
        latents, motion_bits = self.motion_model(latents, reference, step_feature, context)
        motion = self.decode_motion(predicted, latents, step)
        # Frame
        contexts = self.contexts(frame0, frame1, motion)
        prediction = motion.synthesize(frame0, frame1)
        if self.look_warped and exact:
            residual = latents[:, :4].detach() * quantize(self.motion_step(step)[:, :4].detach(), _EXACT_STEPS)
            context = self.look_warped(warp_exactly(luma, add_exact_residual(luma, exact, residual)))
        latents = self.encode_frame(truth, prediction, contexts, step)
        latents, frame_bits = self.model(latents, reference, step_feature, context)
        frame = self.decode_frame(prediction, contexts, latents, step)
        return Reconstruction(frame, predicted_frame, taught_frame, prediction, motion_bits, frame_bits)


def from_reference(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a weights file, with parts that older ones lack: contexts that do not change any probability."""
    result = dict(tensors)
    for name in ("first.weight", "first.bias", "second.weight", "second.bias"):
        if f"look.{name}" in tensors:
            result.setdefault(f"look_warped.{name}", tensors[f"look.{name}"])
    for model in ("model", "motion_model"):
        joined, features = tensors.get(f"{model}.decoder.join.weight"), tensors.get("look.second.bias")
        if joined is not None and features is not None:
            weight = joined.new_zeros(len(joined), len(features), 3, 3)
            result.setdefault(f"{model}.decoder.context.weight", weight)
            result.setdefault(f"{model}.decoder.context.bias", joined.new_zeros(len(joined)))
    return result


def _quantized_luma(frame: Tensor) -> Tensor:
    """Luma of RGB in [0, 1] as video has it (limited range, 8 bit): multiples of 1/256 in [-1/2, 1/2], (N, 1, H, W)."""
    weights = frame.new_tensor([0.2126, 0.7152, 0.0722]).reshape(1, 3, 1, 1)
    luma = 16.0 + 219.0 * (frame * weights).sum(dim=1, keepdim=True)
    return torch.round(luma.detach()) / 256.0 - 0.5

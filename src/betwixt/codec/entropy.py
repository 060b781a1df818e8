"""Entropy models of latents, and their range coding.

    y (N, M, h, w) ── hyper-encoder ──► z (N, K, h/4, w/4) ── quantized ──► z^ ── factorized prior ──► bits
                                                                │
    reference frames, 8 bit ─┬► ReferenceFeatures ──┼── hyper-decoder, fixed point ──► mean and scale of every y
                 warped by exact motion ──► context ┘                                           │
    y - mean ── quantized ──► + mean ──► y^             conditional Gaussians ──► bits ◄────────┘

The prior of z is Balle's: a cumulative distribution learned for each channel (Variational image compression with a
scale hyperprior, ICLR 2018, appendix 6.1). The distributions of y are Gaussians; a network predicts their means and
scales from z^, from the two reference frames, and from a context: features of the two frames warped to frame t, as in
contextual coding (Li, Li, Lu: Deep contextual video compression, NeurIPS 2021), where they differ as the residual does.
There is no autoregressive part (Minnen et al., Joint autoregressive and hierarchical priors, NeurIPS 2018). In coding,
everything that they depend on is an integer (`betwixt.codec.fixed_point`, `betwixt.codec.exact_motion`), and
probabilities are integers, 65536ths, that are stored with the weights: a decoder on any machine reads the symbols that
were written.

In training, bits are estimated by the usual means: uniform noise replaces quantization in the rate; the distortion uses
quantization with straight-through gradients.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from betwixt.codec.fixed_point import FixedPointConv2d, quantize, quantize_activations

_SCALES_PER_OCTAVE = 4.0
_MIN_LOG_SCALE, _MAX_LOG_SCALE = -4.0, 6.0

SCALES = tuple(
    2.0 ** (_MIN_LOG_SCALE + i / _SCALES_PER_OCTAVE)
    for i in range(int((_MAX_LOG_SCALE - _MIN_LOG_SCALE) * _SCALES_PER_OCTAVE) + 1)
)
"""The standard deviations that Gaussians can have, in steps of the quantizer."""

_TOTAL_FREQUENCY = 1 << 16
_MAX_RADIUS = 160
_PRIOR_RADIUS = 24
_PRIOR_INITIAL_WIDTH = 0.4
"""Most of z is 0."""

_OFFSET_SPEED = 8.0
"""Offsets of scales learn this many times faster than weights, as they have to change by several octaves."""

_MAX_SYMBOL = 32767


class FactorizedPrior(nn.Module):
    """A distribution for each channel, learned without a parametric form.

    The cumulative distribution is a small network of its argument, monotonic because its weights are positive: three
    layers of three units, x + tanh(a) tanh(x) between them, and a sigmoid.
    """

    tables: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        sizes = (1, 3, 3, 3, 1)
        scale = _PRIOR_INITIAL_WIDTH ** (1 / (len(sizes) - 1))
        self.matrices, self.biases, self.factors = nn.ParameterList(), nn.ParameterList(), nn.ParameterList()
        for inputs, outputs in itertools.pairwise(sizes):
            initial = math.log(math.expm1(1 / scale / outputs))
            self.matrices.append(nn.Parameter(torch.full((channels, outputs, inputs), initial)))
            self.biases.append(nn.Parameter(torch.empty(channels, outputs, 1).uniform_(-0.2, 0.2)))
            if outputs != 1:
                self.factors.append(nn.Parameter(torch.zeros(channels, outputs, 1)))
        # Integer frequencies, as floats, which weights files store; `freeze` fills them in.
        self.register_buffer("tables", torch.zeros(channels, 2 * _PRIOR_RADIUS + 2), persistent=False)

    def _cumulative_logits(self, values: Tensor) -> Tensor:
        """(C, 1, n) -> the cumulative distribution there, before the sigmoid."""
        for number, (matrix, bias) in enumerate(zip(self.matrices, self.biases, strict=True)):
            values = torch.matmul(F.softplus(matrix), values) + bias
            if number < len(self.factors):
                values = values + torch.tanh(self.factors[number]) * torch.tanh(values)
        return values

    def probabilities(self, values: Tensor) -> Tensor:
        """(C, 1, n) -> the probability of the unit interval around each value."""
        low, high = self._cumulative_logits(values - 0.5), self._cumulative_logits(values + 0.5)
        # Computed on the side where the sigmoid is not near 1, so that small differences are not lost.
        sign = -torch.sign(low + high).detach()
        return (torch.sigmoid(sign * high) - torch.sigmoid(sign * low)).abs()

    def bits(self, values: Tensor) -> Tensor:
        """(N, C, h, w) -> the bits of each sample, (N,)."""
        count, channels = values.shape[:2]
        flat = values.permute(1, 0, 2, 3).reshape(channels, 1, -1)
        probabilities = self.probabilities(flat).clamp(min=1e-9).reshape(channels, count, -1)
        return -torch.log2(probabilities).sum(dim=(0, 2))

    @torch.no_grad()
    def freeze(self) -> None:
        """Make the integer tables that coding uses from the learned distribution."""
        values = torch.arange(-_PRIOR_RADIUS, _PRIOR_RADIUS + 1, dtype=torch.float32)
        probabilities = self.probabilities(values.expand(len(self.tables), 1, -1)).squeeze(1).double().cpu().numpy()
        rows = [_to_frequencies(np.append(row, max(0.0, 1.0 - row.sum()))) for row in probabilities]
        self.tables.copy_(torch.from_numpy(np.stack(rows).astype(np.float32)))


def _to_frequencies(probabilities: NDArray[np.float64]) -> NDArray[np.int32]:
    """Integer 65536ths that add up to 65536, none of them 0."""
    shares = probabilities / probabilities.sum() * (_TOTAL_FREQUENCY - len(probabilities))
    frequencies = 1 + np.floor(shares).astype(np.int64)
    # The remainder goes to the entries that rounding down reduced most.
    remainder = _TOTAL_FREQUENCY - frequencies.sum()
    frequencies[np.argsort(np.floor(shares) - shares, kind="stable")[:remainder]] += 1
    return np.asarray(frequencies, np.int32)


def _table_radius(scale: float) -> int:
    return min(_MAX_RADIUS, max(2, math.ceil(4.5 * scale)))


def gaussian_tables() -> NDArray[np.int32]:
    """For each of `SCALES`, the frequencies of -radius to radius and of everything beyond, padded by zeros.

    Shape (scales, 2 · 160 + 2).
    """
    tables = np.zeros((len(SCALES), 2 * _MAX_RADIUS + 2), np.int32)
    for number, scale in enumerate(SCALES):
        radius = _table_radius(scale)
        cumulative = [math.erf((k - 0.5) / (scale * math.sqrt(2))) / 2 for k in range(-radius, radius + 2)]
        inside = np.diff(np.array(cumulative))
        row = _to_frequencies(np.append(inside, max(0.0, 1.0 - inside.sum())))
        tables[number, : len(row)] = row
    return tables


def scale_indices(log_scales: Tensor) -> NDArray[np.int64]:
    """The indices into `SCALES` of logarithms of scales, as the hyper-decoder gives them."""
    return ((log_scales - _MIN_LOG_SCALE) * _SCALES_PER_OCTAVE).round().long().numpy()


class ReferenceFeatures(nn.Module):
    """Features of two frames, in fixed point: where there is detail, and where they differ.

    (N, 2, H, W) luma, multiples of 1/256 in [-1/2, 1/2] -> (N, C, H/8, W/8). They are of the reference frames as they
    are, or of these warped to frame t (the context).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = FixedPointConv2d(3, 16, 4, 4)
        self.second = FixedPointConv2d(16, channels, 2, 2)

    def forward(self, luma: Tensor) -> Tensor:
        inputs = torch.cat((luma, (luma[:, :1] - luma[:, 1:]).abs() * 4.0), dim=1)
        features: Tensor = quantize_activations(self.second(quantize_activations(self.first(inputs) * 8.0)))
        return features


def _zero(conv: FixedPointConv2d) -> FixedPointConv2d:
    assert conv.bias is not None
    nn.init.zeros_(conv.weight)
    nn.init.zeros_(conv.bias)
    return conv


class _HyperDecoder(nn.Module):
    """Mean and scale of every latent, in fixed point."""

    offset: nn.Parameter

    def __init__(
        self,
        hyper_channels: int,
        reference_channels: int,
        context_channels: int,
        width: int,
        initial_scales: Tensor,
        octaves: float,
    ) -> None:
        super().__init__()
        latents = len(initial_scales)
        self.octaves = octaves
        self.up = FixedPointConv2d(hyper_channels, 4 * width, 3, 1, 1)
        self.up2 = FixedPointConv2d(width, 4 * width, 3, 1, 1)
        self.join = FixedPointConv2d(width + reference_channels + 1, width, 3, 1, 1)
        # It adds to `join`, and begins at zero: so weights from before there were contexts give the same probabilities.
        self.context = _zero(FixedPointConv2d(context_channels, width, 3, 1, 1)) if context_channels else None
        self.out = _zero(FixedPointConv2d(width, 2 * latents, 1))
        self.offset = nn.Parameter(initial_scales.reshape(1, -1, 1, 1) / _OFFSET_SPEED)

    def forward(
        self, z: Tensor, reference: Tensor, step_feature: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Means (N, M, h, w), multiples of 1/16, and logarithms of scales, multiples of 1/4.

        `context` (N, C, h, w) is None for a model without contexts.
        """
        x = quantize_activations(F.pixel_shuffle(self.up(quantize_activations(z, rectify=False)), 2))
        x = quantize_activations(F.pixel_shuffle(self.up2(x), 2))
        step_map = step_feature.expand(-1, 1, *reference.shape[-2:])
        joined = self.join(torch.cat((x, reference, step_map), dim=1))
        if self.context is not None:
            joined = joined + self.context(context)
        x = quantize_activations(joined)
        mean, log_scale = self.out(x).chunk(2, dim=1)
        # Offsets are of samples in [0, 255]; the step, in octaves, converts them to steps of the quantizer.
        log_scale = log_scale + quantize(self.offset * _OFFSET_SPEED, 256.0) - self.octaves * step_feature
        log_scale = log_scale.clamp(_MIN_LOG_SCALE, _MAX_LOG_SCALE)
        return quantize_activations(mean, rectify=False), quantize(log_scale, _SCALES_PER_OCTAVE)


class LatentEntropyModel(nn.Module):
    """The entropy model of one kind of latents: a hyperprior and conditional Gaussians.

    Args:
        initial_scales: (M,), base-2 logarithms of the scales to begin with, of samples in [0, 255].
        hyper_channels: K, channels of z.
        width: Channels of the hidden layers.
        reference_channels: Channels of `ReferenceFeatures`.
        octaves: By how many octaves scales fall where the step feature rises by 1.
        context_channels: Channels of the context, which are `ReferenceFeatures`, too; 0 for a model without contexts.
    """

    def __init__(
        self,
        initial_scales: Tensor,
        hyper_channels: int,
        width: int,
        reference_channels: int,
        octaves: float,
        context_channels: int = 0,
    ) -> None:
        super().__init__()
        self.hyper_encoder = nn.Sequential(
            nn.Conv2d(len(initial_scales), width, 3, 2, 1),
            nn.LeakyReLU(0.1),
            nn.Conv2d(width, hyper_channels, 3, 2, 1),
        )
        self.prior = FactorizedPrior(hyper_channels)
        self.decoder = _HyperDecoder(
            hyper_channels, reference_channels, context_channels, width, initial_scales, octaves
        )

    def hyper_latents(self, y: Tensor) -> Tensor:
        """z (N, K, h/4, w/4), before quantization, from the magnitudes of the latents."""
        z: Tensor = self.hyper_encoder(torch.log1p(y.abs()))
        return z

    def forward(
        self, y: Tensor, reference: Tensor, step_feature: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """In training: the latents as the decoder will have them, and the bits of each sample, (N,).

        `y` (N, M, h, w) is in steps of the quantizer, `reference` (N, C, h, w) has the reference features, `context`
        (N, C, h, w) those of the warped frames, and `step_feature` (N, 1, 1, 1) is that of `BFrameNetwork`.
        """
        z = self.hyper_latents(y)
        noisy_z = z + torch.rand_like(z) - 0.5
        mean, log_scale = self.decoder(quantize(z, 1.0), reference, step_feature, context)
        noisy_y = y + torch.rand_like(y) - 0.5
        bits = self.prior.bits(noisy_z) + _gaussian_bits(noisy_y - mean, log_scale)
        return quantize(y - mean, 1.0) + mean, bits


def _gaussian_bits(difference: Tensor, log_scale: Tensor) -> Tensor:
    """The bits of each sample, (N,), of distances from the mean (N, M, h, w) and logarithms of scales."""
    distance, deviation = difference.abs(), torch.exp2(log_scale)
    # The normal distribution is evaluated in its lower tail, where it is precise.
    upper = torch.special.ndtr((0.5 - distance) / deviation)
    lower = torch.special.ndtr((-0.5 - distance) / deviation)
    return -torch.log2((upper - lower).clamp(min=1e-9)).flatten(1).sum(dim=1)


CodingPlan = Sequence[tuple[NDArray[np.int64], Any, int]]
"""Groups of symbols: their indices, the library's model of their distribution, and the radius of its table."""


class _SymbolModels:
    """Integer tables as models of the range coding library."""

    def __init__(self, gaussians: NDArray[np.int32]) -> None:
        import constriction

        self.stream: Any = constriction.stream
        self._radii = [_table_radius(scale) for scale in SCALES]
        self._gaussians = [
            self._categorical(row[: 2 * radius + 2]) for row, radius in zip(gaussians, self._radii, strict=True)
        ]
        self.uniform = self.stream.model.Uniform(2 * (_MAX_SYMBOL + 1))

    def _categorical(self, frequencies: NDArray[np.int32]) -> Any:
        # 65536ths are exact in floating point, so the library gets the same probabilities on every machine.
        return self.stream.model.Categorical(frequencies.astype(np.float64) / _TOTAL_FREQUENCY, perfect=False)

    def gaussian_plan(self, scale_indices: NDArray[np.int64]) -> CodingPlan:
        """Symbols grouped by their scale, for the index into `SCALES` of every symbol."""
        order = np.argsort(scale_indices, kind="stable")
        ends = np.searchsorted(scale_indices[order], np.arange(len(SCALES) + 1))
        return [
            (order[ends[i] : ends[i + 1]], self._gaussians[i], self._radii[i])
            for i in range(len(SCALES))
            if ends[i + 1] > ends[i]
        ]

    def prior_plan(self, tables: NDArray[np.int32], size: int) -> CodingPlan:
        """Symbols of a factorized prior grouped by channel, with `size` symbols in each channel."""
        return [
            (np.arange(i * size, (i + 1) * size), self._categorical(row), _PRIOR_RADIUS) for i, row in enumerate(tables)
        ]


class SymbolEncoder:
    """Writes integers as bits, with the result of `gaussian_tables`."""

    def __init__(self, gaussians: NDArray[np.int32]) -> None:
        self.models = _SymbolModels(gaussians)
        self._coder = self.models.stream.queue.RangeEncoder()

    def encode(self, symbols: NDArray[np.int64], plan: CodingPlan) -> None:
        """Write symbols group by group; those beyond their table are written as an escape and a plain integer."""
        for indices, model, radius in plan:
            values = np.clip(symbols[indices], -_MAX_SYMBOL, _MAX_SYMBOL)
            escaped = np.abs(values) > radius
            self._coder.encode(np.where(escaped, 2 * radius + 1, values + radius).astype(np.int32), model)
            if escaped.any():
                self._coder.encode((values[escaped] + _MAX_SYMBOL).astype(np.int32), self.models.uniform)

    def bytes(self) -> bytes:
        """The bits written so far."""
        words: NDArray[np.uint32] = self._coder.get_compressed()
        return words.astype("<u4").tobytes()


class SymbolDecoder:
    """Reads what `SymbolEncoder` wrote; raises ValueError if `data` is not a multiple of four bytes."""

    def __init__(self, data: bytes, gaussians: NDArray[np.int32]) -> None:
        self.models = _SymbolModels(gaussians)
        self._coder = self.models.stream.queue.RangeDecoder(np.frombuffer(data, "<u4").astype(np.uint32))

    def decode(self, count: int, plan: CodingPlan) -> NDArray[np.int64]:
        """Read `count` symbols by the plan that they were written by."""
        symbols = np.zeros(count, np.int64)
        for indices, model, radius in plan:
            values = self._coder.decode(model, len(indices)).astype(np.int64)
            escaped = values == 2 * radius + 1
            values -= radius
            if escaped.any():
                rest = self._coder.decode(self.models.uniform, int(escaped.sum()))
                values[escaped] = np.asarray(rest, np.int64) - _MAX_SYMBOL
            symbols[indices] = values
        return symbols

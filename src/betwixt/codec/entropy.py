"""Entropy models of latents, and their range coding.

    y (N, M, h, w) ── hyper-encoder ──► z (N, K, h/4, w/4) ── rounded ──► z^ ── factorized prior ──► bits
                                                               │
    references, 8 bit ── look ──► what they show ──┬── hyper-decoder, fixed point ──► mean and scale of every y
                                                   │
    y - mean ── rounded ──► + mean ──► y^          └── conditional Gaussians ──► bits

The prior of z is Balle's: a cumulative distribution learned for each channel (Variational image compression with a
scale hyperprior, ICLR 2018, appendix 6.1). Those of y are Gaussians, whose means and scales a network says from z^ and
from the two reference frames (Minnen et al., Joint autoregressive and hierarchical priors, NeurIPS 2018, without the
autoregressive part). In coding, everything they depend on is a whole number (`betwixt.codec.fixed_point`), and
probabilities are whole numbers of 65536ths that are kept with the weights: a decoder on any machine reads the symbols
that were written.

Bits are estimated in training by the usual means: uniform noise stands for rounding in the rate, and rounding itself,
with gradients passed through, in the distortion.
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

from betwixt.codec.fixed_point import FixedConv2d, activation, on_grid
from betwixt.errors import UsageError

__all__ = [
    "SCALES",
    "FactorizedPrior",
    "LatentEntropyModel",
    "ReferenceFeatures",
    "SymbolDecoder",
    "SymbolEncoder",
    "gaussian_tables",
    "require_constriction",
]

_LEVELS = 4.0
"""Steps an octave of the scale."""

_LOWEST, _HIGHEST = -4.0, 6.0

SCALES = tuple(2.0 ** (_LOWEST + i / _LEVELS) for i in range(int((_HIGHEST - _LOWEST) * _LEVELS) + 1))
"""The standard deviations that Gaussians can have, in steps of the quantizer."""

_TOTAL = 1 << 16
_WIDEST = 160
_PRIOR_REACH = 24
_PRIOR_WIDTH = 0.4
"""The width that priors begin with: most of z is 0."""

_HASTE = 8.0
"""Offsets of scales learn this many times faster than weights: they have octaves to go."""

_LARGEST_SYMBOL = 32767


def require_constriction() -> Any:
    """The library of range coders.

    Raises:
        UsageError: if it is not there.
    """
    try:
        import constriction
    except ImportError:
        raise UsageError("Coding B frames needs constriction: pip install 'betwixt[codec]'.") from None
    return constriction


class FactorizedPrior(nn.Module):
    """A distribution for each channel, learned without a parametric form.

    The cumulative distribution is a small network of its argument alone, made monotonic by weights that are positive:
    three layers of three units, x + tanh(a) tanh(x) between them, and a sigmoid.
    """

    tables: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        sizes = (1, 3, 3, 3, 1)
        scale = _PRIOR_WIDTH ** (1 / (len(sizes) - 1))
        self.matrices, self.biases, self.factors = nn.ParameterList(), nn.ParameterList(), nn.ParameterList()
        for into, out in itertools.pairwise(sizes):
            start = math.log(math.expm1(1 / scale / out))
            self.matrices.append(nn.Parameter(torch.full((channels, out, into), start)))
            self.biases.append(nn.Parameter(torch.empty(channels, out, 1).uniform_(-0.2, 0.2)))
            if out != 1:
                self.factors.append(nn.Parameter(torch.zeros(channels, out, 1)))
        # Whole numbers, as floats, which is what files of weights hold; made when a network is finished for coding.
        self.register_buffer("tables", torch.zeros(channels, 2 * _PRIOR_REACH + 2), persistent=False)

    def _logits(self, values: Tensor) -> Tensor:
        """(C, 1, n) -> the cumulative distribution there, before the sigmoid."""
        for number, (matrix, bias) in enumerate(zip(self.matrices, self.biases, strict=True)):
            values = torch.matmul(F.softplus(matrix), values) + bias
            if number < len(self.factors):
                values = values + torch.tanh(self.factors[number]) * torch.tanh(values)
        return values

    def _mass(self, values: Tensor) -> Tensor:
        """(C, 1, n) -> the probability of the unit interval around each."""
        low, high = self._logits(values - 0.5), self._logits(values + 0.5)
        # Taken on the side where the sigmoid is not near 1, so that small differences are not lost.
        sign = -torch.sign(low + high).detach()
        return (torch.sigmoid(sign * high) - torch.sigmoid(sign * low)).abs()

    def bits(self, values: Tensor) -> Tensor:
        """(N, C, h, w) -> bits of each sample, (N,)."""
        count, channels = values.shape[:2]
        flat = values.permute(1, 0, 2, 3).reshape(channels, 1, -1)
        mass = self._mass(flat).clamp(min=1e-9).reshape(channels, count, -1)
        return -torch.log2(mass).sum(dim=(0, 2))

    @torch.no_grad()
    def freeze(self) -> None:
        """Make the tables of whole numbers that coding uses out of what was learned."""
        places = torch.arange(-_PRIOR_REACH, _PRIOR_REACH + 1, dtype=torch.float32)
        mass = self._mass(places.expand(len(self.tables), 1, -1)).squeeze(1).double().cpu().numpy()
        rows = [_whole(np.append(row, max(0.0, 1.0 - row.sum()))) for row in mass]
        self.tables.copy_(torch.from_numpy(np.stack(rows).astype(np.float32)))


def _whole(probabilities: NDArray[np.float64]) -> NDArray[np.int32]:
    """Whole numbers of 65536ths that add up, none of them 0."""
    shares = probabilities / probabilities.sum() * (_TOTAL - len(probabilities))
    counts = 1 + np.floor(shares).astype(np.int64)
    # What rounding left over goes to those that lost most by it.
    counts[np.argsort(np.floor(shares) - shares, kind="stable")[: _TOTAL - counts.sum()]] += 1
    return np.asarray(counts, np.int32)


def _reach(scale: float) -> int:
    return min(_WIDEST, max(2, math.ceil(4.5 * scale)))


def gaussian_tables() -> NDArray[np.int32]:
    """For each of `SCALES`, the counts of -reach to reach and of what lies beyond, (scales, 2·160 + 2), 0 behind it."""
    tables = np.zeros((len(SCALES), 2 * _WIDEST + 2), np.int32)
    for number, scale in enumerate(SCALES):
        reach = _reach(scale)
        edges = [math.erf((k - 0.5) / (scale * math.sqrt(2))) / 2 for k in range(-reach, reach + 2)]
        inside = np.diff(np.array(edges))
        row = _whole(np.append(inside, max(0.0, 1.0 - inside.sum())))
        tables[number, : len(row)] = row
    return tables


class ReferenceFeatures(nn.Module):
    """What two reference frames show, in fixed point: where there is detail, and where they differ.

    (N, 2, H, W) luma, multiples of 1/256 in [-1/2, 1/2] -> (N, C, H/8, W/8).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = FixedConv2d(3, 16, 4, 4)
        self.second = FixedConv2d(16, channels, 2, 2)

    def forward(self, luma: Tensor) -> Tensor:
        """See the class."""
        seen = torch.cat((luma, (luma[:, :1] - luma[:, 1:]).abs() * 4.0), dim=1)
        found: Tensor = activation(self.second(activation(self.first(seen) * 8.0)))
        return found


class _HyperDecoder(nn.Module):
    """Mean and scale of every latent, in fixed point."""

    offset: nn.Parameter

    def __init__(self, hyper: int, look: int, width: int, start: Tensor, octaves: float) -> None:
        super().__init__()
        latents = len(start)
        self.octaves = octaves
        self.up = FixedConv2d(hyper, 4 * width, 3, 1, 1)
        self.up2 = FixedConv2d(width, 4 * width, 3, 1, 1)
        self.join = FixedConv2d(width + look + 1, width, 3, 1, 1)
        self.out = FixedConv2d(width, 2 * latents, 1)
        assert self.out.bias is not None
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        self.offset = nn.Parameter(start.reshape(1, -1, 1, 1) / _HASTE)

    def forward(self, z: Tensor, look: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        """Means (N, M, h, w), multiples of 1/16, and logarithms of scales, multiples of 1/4."""
        x = activation(F.pixel_shuffle(self.up(activation(z, rectify=False)), 2))
        x = activation(F.pixel_shuffle(self.up2(x), 2))
        x = activation(self.join(torch.cat((x, look, step.expand(-1, 1, *look.shape[-2:])), dim=1)))
        mean, scale = self.out(x).chunk(2, dim=1)
        # Said of samples in [0, 255]; the step, in octaves, makes it steps.
        scale = scale + on_grid(self.offset * _HASTE, 256.0) - self.octaves * step
        return activation(mean, rectify=False), on_grid(scale.clamp(_LOWEST, _HIGHEST), _LEVELS)


class LatentEntropyModel(nn.Module):
    """The entropy model of one kind of latents.

    Args:
        start: The logarithms (base 2) of the scales to begin with, of samples in [0, 255], (M,).
        hyper: K, channels of z.
        width: Channels inside.
        look: Channels of `ReferenceFeatures`.
        octaves: By how many octaves scales fall where the hint of the step rises by 1.
    """

    def __init__(self, start: Tensor, hyper: int, width: int, look: int, octaves: float) -> None:
        super().__init__()
        self.hyper_encoder = nn.Sequential(
            nn.Conv2d(len(start), width, 3, 2, 1), nn.LeakyReLU(0.1), nn.Conv2d(width, hyper, 3, 2, 1)
        )
        self.prior = FactorizedPrior(hyper)
        self.decoder = _HyperDecoder(hyper, look, width, start, octaves)

    def encoder(self, y: Tensor) -> Tensor:
        """z, before it is rounded; it sees how large latents are, whatever their sign."""
        z: Tensor = self.hyper_encoder(torch.log1p(y.abs()))
        return z

    def forward(self, y: Tensor, look: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        """In training: the latents as the decoder will have them, and the bits of each sample.

        Args:
            y: (N, M, h, w), in steps of the quantizer.
            look: (N, C, h, w).
            step: (N, 1, 1, 1), see `step_hint`.
        """
        z = self.encoder(y)
        noisy = z + torch.rand_like(z) - 0.5
        mean, scale = self.decoder(on_grid(z, 1.0), look, step)
        bits = self.prior.bits(noisy) + _gaussian_bits(y + torch.rand_like(y) - 0.5 - mean, scale)
        return on_grid(y - mean, 1.0) + mean, bits


def _gaussian_bits(difference: Tensor, scale: Tensor) -> Tensor:
    """(N, M, h, w) distances from the mean, and logarithms of scales -> bits of each sample, (N,)."""
    distance, deviation = difference.abs(), torch.exp2(scale)
    # The normal distribution is taken at its lower tail, where it is exact.
    upper = torch.special.ndtr((0.5 - distance) / deviation)
    lower = torch.special.ndtr((-0.5 - distance) / deviation)
    return -torch.log2((upper - lower).clamp(min=1e-9)).flatten(1).sum(dim=1)


class _Models:
    """Tables of whole numbers as the library's models."""

    def __init__(self, gaussians: NDArray[np.int32]) -> None:
        self._library = require_constriction()
        self.reaches = [_reach(scale) for scale in SCALES]
        self._gaussians = [
            self._categorical(row[: 2 * reach + 2]) for row, reach in zip(gaussians, self.reaches, strict=True)
        ]
        self.anything = self._library.stream.model.Uniform(2 * (_LARGEST_SYMBOL + 1))

    def _categorical(self, counts: NDArray[np.int32]) -> Any:
        # Whole numbers of 65536ths are exact in floating point: the library rounds nothing of what differs by machine.
        return self._library.stream.model.Categorical(counts.astype(np.float64) / _TOTAL, perfect=False)

    def plan(self, scales: NDArray[np.int64]) -> list[tuple[NDArray[np.int64], Any, int]]:
        """Places, model and reach, for the indices of scales of every symbol."""
        order = np.argsort(scales, kind="stable")
        ends = np.searchsorted(scales[order], np.arange(len(SCALES) + 1))
        return [
            (order[ends[i] : ends[i + 1]], self._gaussians[i], self.reaches[i])
            for i in range(len(SCALES))
            if ends[i + 1] > ends[i]
        ]

    def prior(self, tables: NDArray[np.int32], size: int) -> list[tuple[NDArray[np.int64], Any, int]]:
        """The same for a factorized prior, whose channels have `size` symbols each."""
        return [
            (np.arange(i * size, (i + 1) * size), self._categorical(row), _PRIOR_REACH) for i, row in enumerate(tables)
        ]


Plan = Sequence[tuple[NDArray[np.int64], Any, int]]


class SymbolEncoder:
    """Writes whole numbers as bits.

    Args:
        gaussians: As `gaussian_tables` gives them.
    """

    def __init__(self, gaussians: NDArray[np.int32]) -> None:
        self.models = _Models(gaussians)
        self._coder = require_constriction().stream.queue.RangeEncoder()

    def encode(self, symbols: NDArray[np.int64], plan: Plan) -> None:
        """Write symbols, each by the model that the plan has for its place; what lies beyond a table is written out."""
        for places, model, reach in plan:
            values = np.clip(symbols[places], -_LARGEST_SYMBOL, _LARGEST_SYMBOL)
            outside = np.abs(values) > reach
            self._coder.encode(np.where(outside, 2 * reach + 1, values + reach).astype(np.int32), model)
            if outside.any():
                self._coder.encode((values[outside] + _LARGEST_SYMBOL).astype(np.int32), self.models.anything)

    def bytes(self) -> bytes:
        """What was written."""
        words: NDArray[np.uint32] = self._coder.get_compressed()
        return words.astype("<u4").tobytes()


class SymbolDecoder:
    """Reads what `SymbolEncoder` wrote.

    Raises:
        ValueError: if the bits are not a whole number of words.
    """

    def __init__(self, data: bytes, gaussians: NDArray[np.int32]) -> None:
        self.models = _Models(gaussians)
        self._coder = require_constriction().stream.queue.RangeDecoder(np.frombuffer(data, "<u4").astype(np.uint32))

    def decode(self, count: int, plan: Plan) -> NDArray[np.int64]:
        """Read `count` symbols by the plan that they were written by."""
        symbols = np.zeros(count, np.int64)
        for places, model, reach in plan:
            values = self._coder.decode(model, len(places)).astype(np.int64)
            outside = values == 2 * reach + 1
            values -= reach
            if outside.any():
                rest = self._coder.decode(self.models.anything, int(outside.sum()))
                values[outside] = np.asarray(rest, np.int64) - _LARGEST_SYMBOL
            symbols[places] = values
        return symbols

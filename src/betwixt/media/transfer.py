"""Transfer characteristics: conversion between the code values of a video and linear light.

    R'G'B' in [0, 1], as coded ── to_light ──► light in [0, 1] ── from_light ──► R'G'B'

Motion blur (`pipeline.blur`) averages linear light, as a shutter does; the mean of code values would darken moving
highlights. The functions are those of ITU-T H.273, table 3. Light is that of the scene for camera curves (BT.709,
BT.2020, HLG) and that of the display for display curves (sRGB, PQ, BT.470). The default is sRGB for RGB streams and
BT.709 for others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[Any]

_STEPS = 1 << 16
"""Entries of the table from code values to light: one per code value of 16 bits."""


@dataclass(frozen=True)
class Transfer:
    """A transfer characteristic."""

    name: str
    decode: Callable[[Values], Values]  # from code values in [0, 1] to light in [0, 1]
    encode: Callable[[Values], Values]  # from light to code values

    @cached_property
    def _table(self) -> NDArray[np.float32]:
        codes = np.arange(_STEPS, dtype=np.float64) / (_STEPS - 1)
        return self.decode(codes).astype(np.float32)

    def to_light(self, codes: Values) -> NDArray[np.float32]:
        """Convert code values in [0, 1] to light, by a table that is exact at the 65536 values of 16 bits."""
        index = (np.clip(codes, 0, 1) * np.float32(_STEPS - 1) + np.float32(0.5)).astype(np.uint16)
        light: NDArray[np.float32] = self._table[index]
        return light

    def from_light(self, light: Values) -> NDArray[np.float32]:
        """Convert light in [0, 1] to code values."""
        codes: NDArray[np.float32] = self.encode(np.clip(light, 0, 1)).astype(np.float32)
        return codes


def _power(name: str, gamma: float) -> Transfer:
    return Transfer(name, lambda v: v**gamma, lambda v: v ** (1 / gamma))


def _piecewise(name: str, alpha: float, beta: float, slope: float, gamma: float) -> Transfer:
    """Code values are alpha L^gamma - (alpha - 1) for light L from `beta` on, and slope L below."""
    start = slope * beta

    def decode(v: Values) -> Values:
        return np.where(v < start, v / slope, (np.maximum(v + alpha - 1, 0) / alpha) ** (1 / gamma))

    def encode(light: Values) -> Values:
        return np.where(light < beta, light * slope, alpha * light**gamma - (alpha - 1))

    return Transfer(name, decode, encode)


def _logarithmic(name: str, decades: float) -> Transfer:
    """Code values are 1 + log10(L) / decades; light below 10^-decades is black."""
    least = 10.0**-decades

    def encode(light: Values) -> Values:
        return np.where(light < least, 0.0, 1 + np.log10(np.maximum(light, least)) / decades)

    return Transfer(name, lambda v: np.where(v <= 0, 0.0, 10 ** ((v - 1) * decades)), encode)


def _pq() -> Transfer:
    m1, m2 = 2610 / 16384, 2523 / 4096 * 128
    c1, c2, c3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32

    def decode(v: Values) -> Values:
        p = v ** (1 / m2)
        light: Values = (np.maximum(p - c1, 0) / (c2 - c3 * p)) ** (1 / m1)
        return light

    def encode(light: Values) -> Values:
        p = light**m1
        codes: Values = ((c1 + c2 * p) / (1 + c3 * p)) ** m2
        return codes

    return Transfer("PQ", decode, encode)


def _hlg() -> Transfer:
    a = 0.17883277
    b, c = 1 - 4 * a, 0.5 - a * np.log(4 * a)

    def decode(v: Values) -> Values:
        light: Values = np.where(v <= 0.5, v**2 / 3, (np.exp((v - c) / a) + b) / 12)
        return light

    def encode(light: Values) -> Values:
        codes: Values = np.where(light <= 1 / 12, np.sqrt(3 * light), a * np.log(np.maximum(12 * light - b, 1e-9)) + c)
        return codes

    return Transfer("HLG", decode, encode)


_BT709 = _piecewise("BT.709", 1.09929682680944, 0.018053968510807, 4.5, 0.45)
_SRGB = _piecewise("sRGB", 1.055, 0.0031308, 12.92, 1 / 2.4)

BT1886 = _power("BT.1886", 2.4)
"""How an SDR display turns code values into light; BT.709 is how a camera makes them."""

_BY_CODE = {
    **dict.fromkeys((1, 6, 11, 12, 14, 15), _BT709),
    4: _power("gamma 2.2", 2.2),
    5: _power("gamma 2.8", 2.8),
    7: _piecewise("SMPTE 240M", 1.1115, 0.0228, 4.0, 0.45),
    8: _power("linear", 1.0),
    9: _logarithmic("logarithmic 100:1", 2.0),
    10: _logarithmic("logarithmic 316:1", 2.5),
    13: _SRGB,
    16: _pq(),
    17: _power("SMPTE 428", 2.6),
    18: _hlg(),
}


def transfer_of(code: int, rgb: bool = False) -> Transfer:
    """The transfer characteristic of an H.273 code; for 2 and unknown codes, the usual one of RGB or YUV streams.

    Example:
        >>> transfer_of(16).name, transfer_of(2).name, transfer_of(2, rgb=True).name
        ('PQ', 'BT.709', 'sRGB')
    """
    return _BY_CODE.get(code, _SRGB if rgb else _BT709)

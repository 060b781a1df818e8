"""The table of rate-distortion curves: a point of a curve in each row."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from betwixt.errors import InputError
from betwixt.evaluation.report import to_csv
from betwixt.files import write_atomically

METHODS: dict[str, dict[str, Any]] = {
    "base": {"mode": "base"},
    "base-p": {"mode": "base", "order": "p"},
    "base-own": {"mode": "base", "order": "own"},
    "bit-free": {"mode": "bit-free"},
    "bit-free-floor": {"mode": "bit-free", "floor": True},
    "bit-free-own": {"mode": "bit-free", "order": "own"},
    "bit-need": {"mode": "bit-need"},
}
"""The ways of coding: the base codec in the same order (I-B-P-B), as I and P alone (low delay, as the P-frame codec of
NCM's paper) or in its own order, and the modes of `encode_video`."""


@dataclass(frozen=True)
class CurvePoint:
    """A point of a curve; a row of the table."""

    clip: str
    base: str  # the base codec and its preset
    method: str  # a name out of `METHODS`
    quality: int  # on the base encoder's scale
    frames: int
    size: str  # "854x480"
    bytes: int  # the size of the file
    bpp: float  # bits per pixel
    psnr: float  # mean over frames, in dB
    ms_ssim: float  # mean over frames
    psnr_sent: float  # PSNR of the frames that "bit-free" sends
    psnr_between: float  # PSNR of the other frames
    sent: int  # frames of the base stream
    encode_seconds: float  # how long encoding took
    decode_seconds: float  # how long decoding took, including writing the frames losslessly
    model: str
    weights: str  # the hash of the weights of the network that codes
    protocol: str  # which frames, the distance of I frames, and the rest that the figures depend on
    date: str
    machine: str  # see `machine.describe_machine`

    @property
    def key(self) -> tuple[str, str, str, int]:
        """A new measurement replaces the one with the same key."""
        return self.clip, self.base, self.method, self.quality


_DIGITS = {"bpp": 6, "psnr": 4, "ms_ssim": 6, "psnr_sent": 4, "psnr_between": 4}
_DIGITS |= {"encode_seconds": 2, "decode_seconds": 2}
"""Decimals in the table."""


def sort_points(points: Iterable[CurvePoint]) -> list[CurvePoint]:
    """Points in the order of the table: by base codec, clip, method and quality."""
    return sorted(points, key=lambda p: (p.base, p.clip, list(METHODS).index(p.method), p.quality))


def write_points(path: Path, points: Iterable[CurvePoint]) -> None:
    """Write the table.

    Raises:
        OutputError: if it cannot be written.
    """
    names = [f.name for f in fields(CurvePoint)]
    rows = [
        [f"{value:.{_DIGITS[name]}f}" if name in _DIGITS else value for name, value in vars(point).items()]
        for point in sort_points(points)
    ]
    write_atomically(path, to_csv(names, rows))


def read_points(path: Path) -> list[CurvePoint]:
    """Read the table.

    Raises:
        InputError: if the file is no such table.
    """
    types = {f.name: {"int": int, "float": float}.get(str(f.type), str) for f in fields(CurvePoint)}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        points = [CurvePoint(**{name: parse(row[name]) for name, parse in types.items()}) for row in rows]
        if not all(point.method in METHODS for point in points):
            raise ValueError("unknown method")
        return points
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, ValueError, TypeError):
        raise InputError(f"{path} is no table of rd-curve: pass another `output`, or remove it.") from None

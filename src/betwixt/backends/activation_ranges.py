"""Activation ranges of a network, stored as NAME.int8.json beside NAME.safetensors; int8 inference needs them.

An input x of a convolution with activation range r becomes clamp(round(128 x / r), -128, 127); the weights w of each
filter become round(127 w / max |w|). The file:

{"weights": SHA-256 of the weights file,
 "origin": what the ranges were measured on,
 "activation_ranges": {name of a convolution: largest magnitude that its codes stand for, ..}}
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

from betwixt.errors import InputError
from betwixt.files import file_hash, read_error, write_atomically

ACTIVATION_LEVELS = -128, 127
"""The least and the greatest code value of an activation; the first stands for minus the activation range."""

WEIGHT_LEVELS = -127, 127
"""Those of a weight; both stand for the largest magnitude of the filter's weights."""


def ranges_file(weights: Path) -> Path:
    """The path of the activation ranges that belong to a weights file."""
    return weights.with_suffix(".int8.json")


def read_activation_ranges(weights: Path) -> dict[str, float] | None:
    """The activation ranges of a weights file; None if it has none, or if they were measured for other weights.

    Raises:
        InputError: if the file of ranges cannot be read or is damaged.
    """
    if not weights.is_file() or not (path := ranges_file(weights)).exists():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        ranges = {str(name): float(value) for name, value in content["activation_ranges"].items()}
        if not ranges or not all(0 < value < math.inf for value in ranges.values()):
            raise ValueError
        return ranges if content["weights"] == file_hash(weights) else None
    except OSError as error:
        raise read_error(path, error) from None
    except (ValueError, ArithmeticError, LookupError, TypeError, AttributeError, RecursionError):
        raise InputError(
            f"{path} is damaged: remove it, or measure the activation ranges again with betwixt weights calibrate."
        ) from None


def write_activation_ranges(target: Path, weights_hash: str, ranges: Mapping[str, float], origin: str) -> None:
    """Write the activation ranges of a network.

    Args:
        target: The file to write: `ranges_file` of the weights is where they are looked for.
        weights_hash: The SHA-256 of the weights file.
        ranges: The largest magnitude that the codes of each convolution's input stand for, by its name.
        origin: What they were measured on.

    Raises:
        OutputError: if `target` cannot be written.
    """
    four_digits = {name: float(f"{value:.4g}") for name, value in ranges.items()}
    content = {"weights": weights_hash, "origin": origin, "activation_ranges": four_digits}
    write_atomically(target, json.dumps(content, indent=1) + "\n")

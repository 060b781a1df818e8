"""NAME.int8.json beside NAME.safetensors: what has to be known to run a network in eight bits (`layers.rounding`).

{"weights": SHA-256 of the weights, "origin": what it was measured on, "reaches": {convolution: reach, ..}}
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

from betwixt.errors import InputError
from betwixt.files import file_hash, read_error, write_whole

__all__ = ["ranges_file", "read_activation_ranges", "write_activation_ranges"]


def ranges_file(weights: Path) -> Path:
    """Where the reaches of a file of weights lie."""
    return weights.with_suffix(".int8.json")


def read_activation_ranges(weights: Path) -> dict[str, float] | None:
    """The reaches beside a file of weights; None where there are none, or where they are of other weights.

    Raises:
        InputError: if they are damaged.
    """
    if not weights.is_file() or not (path := ranges_file(weights)).exists():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        reaches = {str(name): float(reach) for name, reach in content["reaches"].items()}
        if not reaches or not all(0 < reach < math.inf for reach in reaches.values()):
            raise ValueError
        return reaches if content["weights"] == file_hash(weights) else None
    except OSError as error:
        raise read_error(path, error) from None
    except (ValueError, ArithmeticError, LookupError, TypeError, AttributeError, RecursionError):
        raise InputError(
            f"{path} is damaged: remove it, or make it anew with betwixt weights calibrate --overwrite."
        ) from None


def write_activation_ranges(target: Path, digest: str, reaches: Mapping[str, float], origin: str) -> None:
    """Keep the reaches of a network.

    Args:
        target: Where; `ranges_file` its weights is where they are found.
        digest: The SHA-256 of its weights.
        reaches: How far the input of each convolution reaches.
        origin: What they were measured on.

    Raises:
        OutputError: if `target` cannot be written.
    """
    rounded = {name: float(f"{reach:.4g}") for name, reach in reaches.items()}
    content = {"weights": digest, "origin": origin, "reaches": rounded}
    write_whole(target, json.dumps(content, indent=1) + "\n")

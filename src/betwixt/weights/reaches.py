"""NAME.int8.json beside NAME.safetensors: what has to be known to run a network in eight bits (`layers.rounding`).

{"weights": SHA-256 of the weights, "origin": what it was measured on, "reaches": {convolution: reach, ..}}
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from betwixt.errors import InputError
from betwixt.media.files import write_whole
from betwixt.weights.store import file_hash

__all__ = ["place_of", "read_reaches", "write_reaches"]


def place_of(weights: Path) -> Path:
    """Where the reaches of a file of weights lie."""
    return weights.with_suffix(".int8.json")


def read_reaches(weights: Path) -> dict[str, float] | None:
    """The reaches beside a file of weights; None where there are none, or where they are of other weights.

    Raises:
        InputError: if they are damaged.
    """
    path = place_of(weights)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        reaches = {str(name): float(reach) for name, reach in content["reaches"].items()}
        if not all(0 < reach < float("inf") for reach in reaches.values()):
            raise ValueError
        return reaches if content["weights"] == file_hash(weights) else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{path} is damaged: remove it, or make it anew with betwixt weights calibrate.") from None


def write_reaches(weights: Path, reaches: Mapping[str, float], origin: str, target: Path) -> None:
    """Keep the reaches of a network with these weights, with what they were measured on.

    Raises:
        OutputError: if `target` cannot be written.
    """
    rounded = {name: float(f"{reach:.4g}") for name, reach in reaches.items()}
    content = {"weights": file_hash(weights), "origin": origin, "reaches": rounded}
    write_whole(target, json.dumps(content, indent=1) + "\n")

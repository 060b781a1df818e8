"""The networks that make open-world masks: how they are built from a checkpoint, and which text files they need.

The shapes of a checkpoint's tensors decide which of the published sizes it is. Texts that a network needs (tags, a
vocabulary) are stored in the metadata of its weights file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from betwixt.errors import InputError, UsageError
from betwixt.machine import is_installed
from betwixt.models.references import resolve

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Companion:
    """A text file that a network needs beside its weights."""

    key: str  # the metadata key it is stored under
    file: str  # the authors' name of the file
    source: str  # where the authors publish it
    lines: int = 0  # the number of its lines; 0 for any number
    numbers: bool = False  # whether each line is a number
    required: bool = True  # whether the network is useless without it

    def check(self, text: str) -> None:
        """Raise `InputError` if `text` cannot be the content of this file."""
        lines = text.splitlines()
        if self.lines and len(lines) != self.lines:
            raise InputError(f"{self.file} has {len(lines)} lines, not {self.lines}: take it from {self.source}.")
        if not self.numbers and len(set(lines)) != len(lines):
            raise InputError(f"{self.file} has a line twice: take it from {self.source}.")
        if self.numbers:
            try:
                valid = all(0 <= float(line) <= 1 for line in lines)
            except ValueError:
                valid = False
            if not valid:
                raise InputError(f"{self.file} is not a list of numbers from 0 to 1: take it from {self.source}.")


@dataclass(frozen=True)
class MaskNetworkInfo:
    """A network that helps to make masks.

    Attributes:
        name: The name of its weights file.
        builder: Reference to a function that takes the tensors of a checkpoint, under the authors' names or ours, and
            the path of the file, and returns the network without weights.
        needs_transformers: Whether it is built from layers of the transformers package.
        companions: The text files it needs.
    """

    name: str
    builder: str
    needs_transformers: bool
    companions: tuple[Companion, ...] = ()

    def build(self, tensors: Mapping[str, Tensor], path: object) -> nn.Module:
        """The network without weights, in the size of a checkpoint's tensors; `path` is for messages."""
        network: nn.Module = resolve(self.builder)(tensors, path)
        return network


def require_transformers(what: str) -> None:
    """Raise `UsageError`, beginning with `what`, if PyTorch or transformers is not installed."""
    if not is_installed("torch") or not is_installed("transformers"):
        raise UsageError(f"{what} needs PyTorch and transformers: pip install 'betwixt[masks]'.")


_RAM_DATA = "ram/data of github.com/xinyu1205/recognize-anything"

MASK_NETWORKS: dict[str, MaskNetworkInfo] = {
    info.name: info
    for info in (
        MaskNetworkInfo(
            "ram",
            "betwixt.masks.ram:build_from_checkpoint",
            needs_transformers=False,
            companions=(
                Companion("tags", "ram_tag_list.txt", _RAM_DATA, 4585),
                Companion("thresholds", "ram_tag_list_threshold.txt", _RAM_DATA, 4585, numbers=True, required=False),
            ),
        ),
        MaskNetworkInfo("hq-sam", "betwixt.masks.hq_sam:build_from_checkpoint", needs_transformers=True),
        MaskNetworkInfo(
            "grounding-dino",
            "betwixt.masks.grounding_dino:build_from_checkpoint",
            needs_transformers=True,
            companions=(Companion("vocabulary", "vocab.txt", "bert-base-uncased of huggingface.co", 30522),),
        ),
    )
}
"""By name, in the order in which they run."""


def companion_texts(metadata: Mapping[str, Any]) -> dict[str, str]:
    """The companion texts in the metadata of a weights file, by key."""
    keys = {companion.key for info in MASK_NETWORKS.values() for companion in info.companions}
    return {key: str(value) for key, value in metadata.items() if key in keys}

"""The networks of open-world masks by the names under which their weights are kept.

Each is built from a table of tensors, since a checkpoint's shapes say which of the published sizes it is. What a
network needs beside its weights (tags, words) lies as text beside the authors' checkpoints or in their repositories,
and is kept in the same file as the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from betwixt.errors import InputError, UsageError

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["NETWORKS", "Companion", "MaskNetwork", "companion_texts", "need_transformers"]


@dataclass(frozen=True)
class Companion:
    """A text file that a network needs beside its weights.

    Attributes:
        key: Under what it is kept.
        file: Its name at its authors'.
        where: Where they keep it.
        lines: How many lines it has; 0 for any number.
        numbers: Whether each line is a number.
        needed: Whether the network is of no use without it.
    """

    key: str
    file: str
    where: str
    lines: int = 0
    numbers: bool = False
    needed: bool = True

    def check(self, text: str) -> None:
        """Raise `InputError` if it cannot be what it should be."""
        lines = text.splitlines()
        if self.lines and len(lines) != self.lines:
            raise InputError(f"{self.file} has {len(lines)} lines, not {self.lines}: take it from {self.where}.")
        if not self.numbers and len(set(lines)) != len(lines):
            raise InputError(f"{self.file} has a line twice: take it from {self.where}.")
        if self.numbers:
            try:
                good = all(0 <= float(line) <= 1 for line in lines)
            except ValueError:
                good = False
            if not good:
                raise InputError(f"{self.file} is no list of numbers from 0 to 1: take it from {self.where}.")


@dataclass(frozen=True)
class MaskNetwork:
    """A network.

    Attributes:
        name: Under which its weights are kept.
        build: Makes it from the shapes of a checkpoint's tensors, by their names or by ours; the second argument names
            the file.
        transformers: Whether it is built of the layers of transformers.
        companions: What else it needs.
    """

    name: str
    build: Callable[[Mapping[str, Tensor], object], nn.Module]
    transformers: bool
    companions: tuple[Companion, ...] = ()


def need_transformers(what: str) -> None:
    """Raise `UsageError`, beginning with `what`, where PyTorch or transformers is not installed."""
    if find_spec("torch") is None or find_spec("transformers") is None:
        raise UsageError(f"{what} needs PyTorch and transformers: pip install 'betwixt[masks]'.")


def _ram(tensors: Mapping[str, Tensor], path: object) -> nn.Module:
    from betwixt.masks import ram

    return ram.RAM(ram.RAM_SWIN_L)


def _hq_sam(tensors: Mapping[str, Tensor], path: object) -> nn.Module:
    from betwixt.masks.hq_sam import HQSAM, config_of

    return HQSAM(config_of(tensors, path))


def _grounding_dino(tensors: Mapping[str, Tensor], path: object) -> nn.Module:
    from betwixt.masks.grounding_dino import GroundingDINO, config_of

    return GroundingDINO(config_of(tensors, path))


_RAM_DATA = "ram/data of github.com/xinyu1205/recognize-anything"

NETWORKS: dict[str, MaskNetwork] = {
    network.name: network
    for network in (
        MaskNetwork(
            "ram",
            _ram,
            False,
            (
                Companion("tags", "ram_tag_list.txt", _RAM_DATA, 4585),
                Companion("thresholds", "ram_tag_list_threshold.txt", _RAM_DATA, 4585, numbers=True, needed=False),
            ),
        ),
        MaskNetwork("hq-sam", _hq_sam, True),
        MaskNetwork(
            "grounding-dino",
            _grounding_dino,
            True,
            (Companion("vocabulary", "vocab.txt", "bert-base-uncased of huggingface.co", 30522),),
        ),
    )
}
"""In the order in which they work."""


def companion_texts(metadata: Mapping[str, Any]) -> dict[str, str]:
    """The texts among what a file of weights says of itself."""
    keys = {companion.key for network in NETWORKS.values() for companion in network.companions}
    return {key: str(value) for key, value in metadata.items() if key in keys}

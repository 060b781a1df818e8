"""Where masks are made: the source of a name, its networks loaded, frames brought to them and answers back.

    frame (H, W, 3) uint8 ──► 384x384 ──► RAM ──► logits ──► tags above their thresholds
                          ──► short side 800 ──► Grounding DINO, as many tags as 256 tokens hold ──► boxes above 0.25
                          ──► long side 1024, padded ──► HQ-SAM ──► logits at a quarter ──► the frame's size, above 0

Sizes and thresholds are those of the authors' demonstrations: RAM's tags at their own thresholds, or 0.68; boxes at
0.25; boxes of a tag that overlap by more than half (IoU) count once. A box belongs to the tag whose words it answers to
most.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from betwixt.errors import InputError, UsageError
from betwixt.masks.cache import MaskCache
from betwixt.masks.source import MaskSource, OpenWorldMaskSource, RegionMaskSource

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["MASK_SOURCES", "load_mask_source"]

MASK_SOURCES = ("regions", "open-world")
"""What can make masks."""

_TAG, _BOX, _SAME = 0.68, 0.25, 0.5
_TOKENS = 256
_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_SAM = (123.675 / 255, 116.28 / 255, 103.53 / 255), (58.395 / 255, 57.12 / 255, 57.375 / 255)

Frame = NDArray[np.uint8]


def load_mask_source(name: str = "regions", device: str = "auto", *, cache: bool = True) -> MaskSource:
    """What makes masks, ready to use for one video.

    Args:
        name: "regions" or "open-world".
        device: Where the networks of "open-world" run: "auto", "cpu", "cuda" or "cuda:1".
        cache: Whether masks that were made before are taken from disk, and new ones kept there.

    Raises:
        UsageError: if there is no such source, or what it needs is not at hand.
        InputError: if its weights are damaged.
    """
    kept = MaskCache() if cache else None
    if kept is not None:
        kept.prune()
    if name == "regions":
        return RegionMaskSource(kept)
    if name == "open-world":
        return _open_world(device, kept)
    raise UsageError(f"There is no source of masks '{name}': choose {' or '.join(MASK_SOURCES)}.")


def _open_world(device: str, cache: MaskCache | None) -> MaskSource:
    from betwixt.backends.devices import check_device
    from betwixt.weights.mask_networks import MASK_NETWORKS, require_transformers
    from betwixt.weights.store import find_installed

    require_transformers("The source open-world")
    check_device(device)
    from betwixt.backends.torch import choose_device
    from betwixt.masks.open_world import OpenWorldSegmenter
    from betwixt.weights.catalog import catalog
    from betwixt.weights.metadata import read_metadata

    paths = {name: find_installed(name) for name in MASK_NETWORKS}
    missing = [name for name, path in paths.items() if path is None]
    if missing:
        place = catalog().manual_download(missing[0])
        page = f" (the authors': {place.page})" if place is not None else ""
        raise UsageError(
            f"The source open-world needs weights that are not at hand: {', '.join(missing)}. "
            f"betwixt weights import FILE --as {missing[0]}{page}, or use --source regions."
        )
    where = choose_device(device)
    found = {name: path for name, path in paths.items() if path is not None}
    facts = {name: read_metadata(path) for name, path in found.items()}
    networks = {name: _load(name, path, where) for name, path in found.items()}
    settings = {
        "version": 1, "tag": _TAG, "box": _BOX, "same": _SAME,
        "weights": {name: fact.get("content_sha256", "") for name, fact in facts.items()},
    }  # fmt: skip
    return OpenWorldMaskSource(
        OpenWorldSegmenter(
            RAMTagger(networks["ram"], facts["ram"], where),
            GroundingDINODetector(networks["grounding-dino"], facts["grounding-dino"], where),
            HQSAMSegmenter(networks["hq-sam"], where),
        ),
        settings,
        cache,
    )


def _load(name: str, path: Path, device: torch.device) -> Any:
    """A network of masks with its weights."""
    from betwixt.weights.load import match_file, read_tensors
    from betwixt.weights.mask_networks import MASK_NETWORKS
    from betwixt.weights.metadata import check_model

    check_model(path, name)
    network: Any = MASK_NETWORKS[name].build(read_tensors(path), path)
    network.load_state_dict(match_file(network, path).tensors)
    return network.to(device).eval()


def _picture(frame: Frame, height: int, width: int, mean: tuple[float, ...], deviation: tuple[float, ...]) -> Tensor:
    """A frame as networks take it: (1, 3, height, width), resized as Pillow does, less its mean over its deviation."""
    import torch
    from torch.nn import functional as F

    picture = torch.from_numpy(np.ascontiguousarray(frame)).permute(2, 0, 1)[None].float() / 255
    if frame.shape[:2] != (height, width):
        picture = F.interpolate(picture, (height, width), mode="bilinear", antialias=True)
    return (picture - torch.tensor(mean).reshape(3, 1, 1)) / torch.tensor(deviation).reshape(3, 1, 1)


class RAMTagger:
    """RAM as a tagger.

    Args:
        network: `masks.ram.RAM`.
        facts: What its file says: `tags`, a line each, and perhaps `thresholds`.
        device: Where it runs.
    """

    def __init__(self, network: Any, facts: Mapping[str, str], device: torch.device) -> None:
        self._network, self._device = network, device
        self._tags = [tag.strip() for tag in facts.get("tags", "").splitlines()]
        if len(self._tags) != network.config.tags:
            raise InputError("The weights of ram came without their tags: import them again (docs/how-to/masks.md).")
        lines = facts.get("thresholds", "").splitlines()
        self._thresholds = np.array([float(line) for line in lines] or [_TAG] * len(self._tags))

    def __call__(self, frame: Frame) -> list[str]:
        """The tags of a frame, in the order of the list."""
        import torch

        side = self._network.config.size
        with torch.inference_mode():
            logits = self._network(_picture(frame, side, side, *_IMAGENET).to(self._device)).logits[0]
        likely = torch.sigmoid(logits.float()).cpu().numpy()
        return [self._tags[i] for i in np.flatnonzero(likely > self._thresholds)]


class GroundingDINODetector:
    """Grounding DINO as a detector.

    Args:
        network: `masks.grounding_dino.GroundingDINO`.
        facts: What its file says: `vocabulary`, a line each.
        device: Where it runs.
        short: To what the short side of a frame is brought.
        long: What the long side may be at most.
    """

    def __init__(
        self, network: Any, facts: Mapping[str, str], device: torch.device, short: int = 800, long: int = 1333
    ) -> None:
        self._network, self._device = network, device
        self._short, self._long = short, long
        words = facts.get("vocabulary", "").splitlines()
        if not words:
            raise InputError(
                "The weights of grounding-dino came without vocab.txt: import them again (docs/how-to/masks.md)."
            )
        from transformers import BertTokenizer

        self._tokenizer: Any = BertTokenizer(vocab={word: i for i, word in enumerate(words)}, do_lower_case=True)

    def __call__(self, frame: Frame, tags: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Boxes (n, 4) of each tag: left, top, right, bottom in pixels of the frame."""
        import torch

        height, width = frame.shape[:2]
        ratio = min(self._short / min(height, width), self._long / max(height, width))
        picture = _picture(frame, max(1, round(height * ratio)), max(1, round(width * ratio)), *_IMAGENET)
        found: dict[str, NDArray[np.float32]] = {}
        for some in self._groups(tags):
            tokens, spans = self._tokens(some)
            with torch.inference_mode():
                logits, boxes = self._network(picture.to(self._device), torch.tensor([tokens], device=self._device))
            likely = torch.sigmoid(logits.float()).cpu().numpy()
            scores = np.stack([likely[:, start:stop].max(axis=1) for start, stop in spans], axis=1)
            x, y, w, h = boxes.float().cpu().numpy().T
            corners = np.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], 1)
            corners = np.clip(corners, 0, 1) * np.array([width, height, width, height])
            best = scores.argmax(axis=1)
            for i, tag in enumerate(some):
                mine = np.flatnonzero((best == i) & (scores[:, i] > _BOX))
                kept = _apart(corners[mine], scores[mine, i])
                if len(kept):
                    found[tag] = corners[mine][kept].astype(np.float32)
        return found

    def _words(self, tag: str) -> list[int]:
        ids: list[int] = self._tokenizer(tag, add_special_tokens=False)["input_ids"]
        return ids

    def _groups(self, tags: Sequence[str]) -> list[list[str]]:
        """As many tags at a time as the network reads."""
        groups: list[list[str]] = []
        used = _TOKENS
        for tag in tags:
            size = len(self._words(tag)) + 1
            if size == 1 or size > _TOKENS - 2:
                continue
            if used + size > _TOKENS - 2:
                groups.append([])
                used = 0
            groups[-1].append(tag)
            used += size
        return groups

    def _tokens(self, tags: Sequence[str]) -> tuple[list[int], list[tuple[int, int]]]:
        """ "[CLS] tag . tag . [SEP]" as numbers, and where each tag stands."""
        stop = self._words(".")
        tokens, spans = [int(self._tokenizer.cls_token_id)], []
        for tag in tags:
            words = self._words(tag)
            spans.append((len(tokens), len(tokens) + len(words)))
            tokens += words + stop
        return [*tokens, int(self._tokenizer.sep_token_id)], spans


def _apart(boxes: NDArray[Any], scores: NDArray[Any]) -> list[int]:
    """Which boxes stay when each of two that overlap by more than half must go, the best first."""
    kept: list[int] = []
    for i in np.argsort(-scores, kind="stable"):
        if all(_iou(boxes[i], boxes[k]) <= _SAME for k in kept):
            kept.append(int(i))
    return kept


def _iou(a: NDArray[Any], b: NDArray[Any]) -> float:
    """The intersection of two boxes over their union."""
    shared = float(np.prod(np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0)))
    return shared / max(float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2])) - shared, 1e-9)


class HQSAMSegmenter:
    """HQ-SAM as a segmenter.

    Args:
        network: `masks.hq_sam.HQSAM`.
        device: Where it runs.
    """

    def __init__(self, network: Any, device: torch.device) -> None:
        self._network, self._device = network, device
        self._seen: tuple[Frame, Any] | None = None

    def __call__(self, frame: Frame, boxes: NDArray[np.float32]) -> NDArray[np.bool_]:
        """The pixels (H, W) of all that lies in the boxes."""
        import torch

        height, width = frame.shape[:2]
        side = self._network.config.size
        ratio = side / max(height, width)
        h, w = max(1, round(height * ratio)), max(1, round(width * ratio))
        with torch.inference_mode():
            if self._seen is None or self._seen[0] is not frame:
                picture = _picture(frame, h, w, *_SAM)
                picture = torch.nn.functional.pad(picture, (0, side - w, 0, side - h))
                self._seen = frame, self._network.encode(picture.to(self._device))
            scaled = boxes * np.array([w / width, h / height] * 2, np.float32)
            mask = np.zeros((height, width), bool)
            for i in range(0, len(scaled), 16):
                logits = self._network(self._seen[1], torch.from_numpy(scaled[i : i + 16]).to(self._device))
                for one in logits.float().cpu().numpy():
                    full = cv2.resize(one, (side, side), interpolation=cv2.INTER_LINEAR)[:h, :w]
                    mask |= cv2.resize(full, (width, height), interpolation=cv2.INTER_LINEAR) > 0
        return mask

"""Inference of the networks that make open-world masks: preprocessing, thresholds and postprocessing.

    frame (H, W, 3) uint8 ──► 384x384 ──► RAM ──► logits ──► tags above their thresholds
                          ──► short side 800 ──► Grounding DINO, as many tags as fit in 256 tokens ──► boxes above 0.25
                          ──► long side 1024, padded ──► HQ-SAM ──► logits at a quarter ──► the frame's size, above 0

Sizes and thresholds are those of the authors' demos: RAM's tags at their own thresholds, or 0.68; boxes at 0.25;
non-maximum suppression of the boxes of a tag at an IoU of 0.5. A box belongs to the tag whose words score highest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from betwixt.errors import InputError
from betwixt.masks.open_world import Boxes, Image, Mask

_TAG_THRESHOLD, _BOX_THRESHOLD, _NMS_IOU = 0.68, 0.25, 0.5
_MAX_TOKENS = 256
_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_SAM = (123.675 / 255, 116.28 / 255, 103.53 / 255), (58.395 / 255, 57.12 / 255, 57.375 / 255)

SETTINGS: dict[str, Any] = {"version": 2, "tag": _TAG_THRESHOLD, "box": _BOX_THRESHOLD, "same": _NMS_IOU}
"""Everything but the weights that the results for a frame depend on; part of the key of cached masks."""


def _preprocess(image: Image, height: int, width: int, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """The input of a network, (1, 3, height, width): resized with antialiasing as in Pillow, and normalised."""
    tensor = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float() / 255
    if image.shape[:2] != (height, width):
        tensor = F.interpolate(tensor, (height, width), mode="bilinear", antialias=True)
    return (tensor - torch.tensor(mean).reshape(3, 1, 1)) / torch.tensor(std).reshape(3, 1, 1)


class RAMTagger:
    """RAM as a `Tagger`.

    Args:
        network: `masks.ram.RAM`.
        metadata: Metadata of its weights file: `tags`, one a line, and optionally `thresholds`.
        device: Where it runs.

    Raises:
        InputError: if the metadata has no tags.
    """

    def __init__(self, network: Any, metadata: Mapping[str, str], device: torch.device) -> None:
        self._network, self._device = network, device
        self._tags = [tag.strip() for tag in metadata.get("tags", "").splitlines()]
        if len(self._tags) != network.config.tags:
            raise InputError("The weights of ram came without their tags: import them again (see the docs on masks).")
        lines = metadata.get("thresholds", "").splitlines()
        self._thresholds = np.array([float(line) for line in lines] or [_TAG_THRESHOLD] * len(self._tags))

    def __call__(self, image: Image) -> list[str]:
        """The tags of an image, in the order of the list."""
        side = self._network.config.size
        with torch.inference_mode():
            logits = self._network(_preprocess(image, side, side, *_IMAGENET).to(self._device)).logits[0]
        probabilities = torch.sigmoid(logits.float()).cpu().numpy()
        return [self._tags[i] for i in np.flatnonzero(probabilities > self._thresholds)]


class GroundingDINODetector:
    """Grounding DINO as a `Detector`.

    Args:
        network: `masks.grounding_dino.GroundingDINO`.
        metadata: Metadata of its weights file: `vocabulary`, one word a line.
        device: Where it runs.
        short: The length to which the short side of an image is resized.
        long: The largest length of the long side.

    Raises:
        InputError: if the metadata has no vocabulary.
    """

    def __init__(
        self, network: Any, metadata: Mapping[str, str], device: torch.device, short: int = 800, long: int = 1333
    ) -> None:
        self._network, self._device = network, device
        self._short, self._long = short, long
        words = metadata.get("vocabulary", "").splitlines()
        if not words:
            raise InputError(
                "The weights of grounding-dino came without vocab.txt: import them again (see the docs on masks)."
            )
        from transformers import BertTokenizer

        self._tokenizer: Any = BertTokenizer(vocab={word: i for i, word in enumerate(words)}, do_lower_case=True)

    def __call__(self, image: Image, tags: Sequence[str]) -> dict[str, Boxes]:
        """The boxes (n, 4) of each tag: left, top, right, bottom in pixels of the image."""
        height, width = image.shape[:2]
        scale = min(self._short / min(height, width), self._long / max(height, width))
        tensor = _preprocess(image, max(1, round(height * scale)), max(1, round(width * scale)), *_IMAGENET)
        result: dict[str, Boxes] = {}
        for group in self._groups(tags):
            tokens, spans = self._tokenize(group)
            with torch.inference_mode():
                logits, boxes = self._network(tensor.to(self._device), torch.tensor([tokens], device=self._device))
            probabilities = torch.sigmoid(logits.float()).cpu().numpy()
            scores = np.stack([probabilities[:, start:stop].max(axis=1) for start, stop in spans], axis=1)
            x, y, w, h = boxes.float().cpu().numpy().T
            corners = np.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], 1)
            corners = np.clip(corners, 0, 1) * np.array([width, height, width, height])
            best = scores.argmax(axis=1)
            for i, tag in enumerate(group):
                candidates = np.flatnonzero((best == i) & (scores[:, i] > _BOX_THRESHOLD))
                kept = _non_maximum_suppression(corners[candidates], scores[candidates, i])
                if len(kept):
                    result[tag] = corners[candidates][kept].astype(np.float32)
        return result

    def _token_ids(self, tag: str) -> list[int]:
        ids: list[int] = self._tokenizer(tag, add_special_tokens=False)["input_ids"]
        return ids

    def _groups(self, tags: Sequence[str]) -> list[list[str]]:
        """Split the tags into groups that fit into the network's text input."""
        groups: list[list[str]] = []
        used = _MAX_TOKENS
        for tag in tags:
            size = len(self._token_ids(tag)) + 1
            if size == 1 or size > _MAX_TOKENS - 2:
                continue
            if used + size > _MAX_TOKENS - 2:
                groups.append([])
                used = 0
            groups[-1].append(tag)
            used += size
        return groups

    def _tokenize(self, tags: Sequence[str]) -> tuple[list[int], list[tuple[int, int]]]:
        """The token ids of "[CLS] tag . tag . [SEP]", and the span of each tag in them."""
        stop = self._token_ids(".")
        tokens, spans = [int(self._tokenizer.cls_token_id)], []
        for tag in tags:
            ids = self._token_ids(tag)
            spans.append((len(tokens), len(tokens) + len(ids)))
            tokens += ids + stop
        return [*tokens, int(self._tokenizer.sep_token_id)], spans


def _non_maximum_suppression(boxes: NDArray[Any], scores: NDArray[Any]) -> list[int]:
    """The indices of the boxes that remain, best first: no two of them have an IoU above 0.5."""
    kept: list[int] = []
    for i in np.argsort(-scores, kind="stable"):
        if all(_iou(boxes[i], boxes[k]) <= _NMS_IOU for k in kept):
            kept.append(int(i))
    return kept


def _iou(a: NDArray[Any], b: NDArray[Any]) -> float:
    """The intersection over union of two boxes."""
    intersection = float(np.prod(np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0)))
    union = float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2])) - intersection
    return intersection / max(union, 1e-9)


class HQSAMSegmenter:
    """HQ-SAM as a `Segmenter`; the embedding of the last image is kept for further boxes.

    Args:
        network: `masks.hq_sam.HQSAM`.
        device: Where it runs.
    """

    def __init__(self, network: Any, device: torch.device) -> None:
        self._network, self._device = network, device
        self._embedded: tuple[Image, Any] | None = None

    def __call__(self, image: Image, boxes: Boxes) -> Mask:
        """The union (H, W) of the masks of all boxes."""
        height, width = image.shape[:2]
        side = self._network.config.size
        scale = side / max(height, width)
        h, w = max(1, round(height * scale)), max(1, round(width * scale))
        with torch.inference_mode():
            if self._embedded is None or self._embedded[0] is not image:
                tensor = F.pad(_preprocess(image, h, w, *_SAM), (0, side - w, 0, side - h))
                self._embedded = image, self._network.encode(tensor.to(self._device))
            scaled = boxes * np.array([w / width, h / height] * 2, np.float32)
            mask = np.zeros((height, width), bool)
            for i in range(0, len(scaled), 16):
                logits = self._network(self._embedded[1], torch.from_numpy(scaled[i : i + 16]).to(self._device))
                for box_logits in logits.float().cpu().numpy():
                    upsampled = cv2.resize(box_logits, (side, side), interpolation=cv2.INTER_LINEAR)[:h, :w]
                    mask |= cv2.resize(upsampled, (width, height), interpolation=cv2.INTER_LINEAR) > 0
        return mask

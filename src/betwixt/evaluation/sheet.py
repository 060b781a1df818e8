"""A contact sheet of the frames that a model restored worst, as one .html (images embedded) or .png file.

One row for each frame: first, second, truth, restored, error (the absolute difference, times 4), and the motion from
the first to the second frame in the Middlebury colour code: the model's own flow if it has one, otherwise DIS flow.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from betwixt.errors import UsageError
from betwixt.evaluation.datasets import Dataset
from betwixt.evaluation.metrics import METRICS, Image8, to_uint8
from betwixt.evaluation.scores import Evaluation
from betwixt.evaluation.scoring import Model, restore_samples
from betwixt.files import write_atomically
from betwixt.models.base import Interpolator, MotionPair

_COLUMNS = ("first", "second", "truth", "restored", "error x 4", "motion")
_ERROR_GAIN = 4
_MAX_WIDTH = 480
"""Wider images are downscaled to this width."""


@dataclass(frozen=True)
class _Row:
    title: str
    images: list[Image8]


def write_sheet(
    path: Path, model: Model, evaluation: Evaluation, dataset: Dataset, metric: str, count: int = 10
) -> None:
    """Write the sheet of the `count` worst frames by `metric`.

    Raises:
        UsageError: if the suffix of `path` is neither .html nor .png.
        OutputError: if it cannot be written.
    """
    check_sheet_path(path)
    worst = sorted(evaluation.rows, key=lambda row: METRICS[metric].badness(row.scores[metric]), reverse=True)[:count]
    ranks = {(row.sample, row.t): rank for rank, row in enumerate(worst)}
    rows: dict[int, _Row] = {}
    for sample, images, frames in restore_samples(model, dataset, {row.sample for row in worst}):
        motion = _motion_image(model, images.first, images.second)
        for t, frame, truth in zip(sample.times, frames, images.truths, strict=True):
            rank = ranks.get((sample.name, t))
            if rank is None:
                continue
            frame8 = to_uint8(frame)
            error = np.clip(np.abs(frame8.astype(np.int16) - truth) * _ERROR_GAIN, 0, 255).astype(np.uint8)
            scores = "  ".join(f"{name} {value:.{METRICS[name].digits}f}" for name, value in worst[rank].scores.items())
            title = f"{rank + 1}. {sample.name}  t = {t:g}  {scores}"
            columns = [images.first, images.second, truth, frame8, error, motion]
            rows[rank] = _Row(title, [_resize_to_width(image, min(image.shape[1], _MAX_WIDTH)) for image in columns])
    ordered = [rows[rank] for rank in sorted(rows)]
    heading = (
        f"{evaluation.model} on {evaluation.dataset}: the {len(ordered)} worst of {len(evaluation.rows)} by {metric}"
    )
    summary = ", ".join(
        f"{METRICS[m].aggregation} {m} {evaluation.summary(m).score:.{METRICS[m].digits}f}" for m in evaluation.metrics
    )
    render = _render_png if path.suffix.lower() == ".png" else _render_html
    write_atomically(path, render(heading, f"All frames: {summary}", ordered))


def check_sheet_path(path: Path) -> None:
    """Refuse a path whose suffix is neither .html nor .png."""
    if path.suffix.lower() not in (".html", ".htm", ".png"):
        raise UsageError(f"A sheet is an HTML page or an image: end {path} in .html or .png.")


def _motion_image(model: Model, first: Image8, second: Image8) -> Image8:
    """The motion from the first to the second frame, in colours."""
    if isinstance(model, Interpolator):
        pair = model.prepare(*(np.asarray(x, np.float32) / np.float32(255) for x in (first, second)))
        if isinstance(pair, MotionPair):
            height, width = first.shape[:2]
            flow = cv2.resize(pair.motion(0.5).displacement(), (width, height), interpolation=cv2.INTER_LINEAR)
            return _flow_to_colours(flow.astype(np.float32))
    if min(first.shape[:2]) < 16:
        return np.full_like(first, 255)  # too small for DIS
    grey = [cv2.cvtColor(x, cv2.COLOR_RGB2GRAY) for x in (first, second)]
    dis: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return _flow_to_colours(dis.calc(grey[0], grey[1], None))


@lru_cache(maxsize=1)
def _colour_wheel() -> NDArray[np.float64]:
    """The 55 hues of the Middlebury colour wheel, (55, 3) in 0 to 1, red first (Baker et al., IJCV 2011)."""
    steps = (("ry", 15), ("yg", 6), ("gc", 4), ("cb", 11), ("bm", 13), ("mr", 6))
    corner = {"r": (1, 0, 0), "y": (1, 1, 0), "g": (0, 1, 0), "c": (0, 1, 1), "b": (0, 0, 1), "m": (1, 0, 1)}
    hues = []
    for pair, count in steps:
        a, b = (np.array(corner[letter], float) for letter in pair)
        hues += [a + (b - a) * i / count for i in range(count)]
    return np.stack(hues)


def _flow_to_colours(flow: NDArray[np.float32]) -> Image8:
    """A flow (H, W, 2), pixels, in the Middlebury colour code: the hue is the direction, the saturation the length."""
    length = np.hypot(flow[..., 0], flow[..., 1]).astype(np.float64)
    saturation = np.nan_to_num(length / max(float(length.max()), 1e-6))[..., None]
    wheel = _colour_wheel()
    angle = np.arctan2(-flow[..., 1], -flow[..., 0]) / np.pi
    position = np.nan_to_num((angle + 1) / 2 * (len(wheel) - 1))
    low = np.floor(position).astype(int)
    fraction = (position - low)[..., None]
    hue = (1 - fraction) * wheel[low] + fraction * wheel[(low + 1) % len(wheel)]
    image: Image8 = np.floor(255 * (1 - saturation * (1 - hue))).astype(np.uint8)
    return image


def _resize_to_width(image: Image8, width: int) -> Image8:
    if image.shape[1] == width:
        return image
    size = (width, max(1, round(image.shape[0] * width / image.shape[1])))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _encode_png(image: Image8) -> bytes:
    return bytes(cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1])


def _render_html(heading: str, summary: str, rows: Sequence[_Row]) -> bytes:
    body = []
    for row in rows:
        cells = "".join(
            f'<figure><img src="data:image/png;base64,{base64.b64encode(_encode_png(image)).decode()}" alt="{column}">'
            f"<figcaption>{column}</figcaption></figure>"
            for column, image in zip(_COLUMNS, row.images, strict=True)
        )
        body.append(f"<h2>{html.escape(row.title)}</h2><div>{cells}</div>")
    style = (
        "body{font:14px sans-serif;margin:24px;background:#fff;color:#222}h1{font-size:20px}h2{font-size:14px;"
        "font-weight:600;margin:24px 0 6px}div{display:flex;flex-wrap:wrap;gap:8px}figure{margin:0;flex:1 1 240px;"
        "max-width:480px}img{width:100%;display:block}figcaption{color:#666;font-size:12px}"
    )
    page = (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(heading)}</title><style>{style}</style>"
        f"<h1>{html.escape(heading)}</h1><p>{html.escape(summary)}</p>{''.join(body)}</html>"
    )
    return page.encode("utf-8", "replace")


def _render_png(heading: str, summary: str, rows: Sequence[_Row]) -> bytes:
    gap, line = 8, 22
    cell = min(max((image.shape[1] for row in rows for image in row.images), default=200), 320)
    width = gap + len(_COLUMNS) * (cell + gap)
    parts: list[Image8] = [_draw_text(heading, width, line + 6, 0.6), _draw_text(summary, width, line, 0.45)]
    for row in rows:
        parts.append(_draw_text(row.title, width, line, 0.45))
        images = [_resize_to_width(image, cell) for image in row.images]
        height = max(image.shape[0] for image in images)
        strip = np.full((height + line, width, 3), 255, np.uint8)
        for number, (column, image) in enumerate(zip(_COLUMNS, images, strict=True)):
            left = gap + number * (cell + gap)
            strip[: image.shape[0], left : left + cell] = image
            strip[height:, left : left + cell] = _draw_text(column, cell, line, 0.4)
        parts.append(strip)
    return _encode_png(np.concatenate(parts))


def _draw_text(text: str, width: int, height: int, size: float) -> Image8:
    strip = np.full((height, width, 3), 255, np.uint8)
    ascii_text = text.encode("ascii", "replace").decode()
    cv2.putText(strip, ascii_text, (8, height - 7), cv2.FONT_HERSHEY_SIMPLEX, size, (40, 40, 40), 1, cv2.LINE_AA)
    return strip

"""A contact sheet of the frames that a model restored worst, as one .html (images embedded) or .png file.

Two lines for each frame:

- whole, wide ones downscaled: first, second, truth, restored, error (the absolute difference, times 4), and the motion
  from the first to the second frame that the model made it with, in the Middlebury colour code;
- at their true size, pixel by pixel: 256x256 of first, second, truth, restored and error around the worst place, which
  is framed in the error image above.

Another sheet has several models side by side.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from betwixt.errors import InputError, UsageError
from betwixt.evaluation.datasets import Dataset
from betwixt.evaluation.metrics import METRICS, Image8, to_uint8
from betwixt.evaluation.scores import Evaluation
from betwixt.evaluation.scoring import Model, RestoredSample, restore_samples
from betwixt.files import write_atomically
from betwixt.models.base import Flow
from betwixt.runtime.map_images import flow_to_colours

_COLUMNS = ("first", "second", "truth", "restored", "error x 4")
_ERROR_GAIN = 4
_MAX_WIDTH = 480
"""Wider images are downscaled to this width."""
_CROP = 256
"""The side of the crops, which are never scaled."""
_DEFECT = 32
"""The worst place is the square of this side with the largest mean error."""


@dataclass(frozen=True)
class _Row:
    title: str
    frames: dict[str, Image8]  # by caption; smaller than the frames if these are wide
    crops: dict[str, Image8]  # by caption, at 1:1; none if the frames are no larger than a crop


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
    for restored in restore_samples(model, dataset, {row.sample for row in worst}):
        for number, t in enumerate(restored.sample.times):
            rank = ranks.get((restored.sample.name, t))
            if rank is not None:
                rows[rank] = _make_row(restored, number, rank, worst[rank].scores)
    ordered = [rows[rank] for rank in sorted(rows)]
    heading = (
        f"{evaluation.model} on {evaluation.dataset}: the {len(ordered)} worst of {len(evaluation.rows)} by {metric}"
    )
    summary = ", ".join(
        f"{METRICS[m].aggregation} {m} {evaluation.summary(m).score:.{METRICS[m].digits}f}" for m in evaluation.metrics
    )
    render = _render_png if path.suffix.lower() == ".png" else _render_html
    write_atomically(path, render(heading, f"All frames: {summary}", ordered))


def write_side_by_side(
    path: Path,
    models: Sequence[Model],
    evaluations: Sequence[Evaluation],
    dataset: Dataset,
    metric: str,
    count: int = 10,
) -> None:
    """Write a sheet of the frames that the models restored worst on average, the truth and every model beside each
    other: whole, with the place of the largest mean error framed in the truth, and that place pixel by pixel.

    Raises:
        UsageError: if the suffix of `path` is neither .html nor .png.
        InputError: if no frame was restored by all models.
        OutputError: if it cannot be written.
    """
    check_sheet_path(path)
    scores = [{(row.sample, row.t): row.scores[metric] for row in evaluation.rows} for evaluation in evaluations]
    common = [key for key in scores[0] if all(key in of_model for of_model in scores)]
    if not common:
        raise InputError(f"No frame of {dataset.name} was restored by all models.")
    badness = METRICS[metric].badness
    worst = sorted(common, key=lambda key: sum(badness(of_model[key]) for of_model in scores), reverse=True)[:count]
    ranks = {key: rank for rank, key in enumerate(worst)}
    restored: dict[int, dict[str, Image8]] = {rank: {} for rank in ranks.values()}
    for model, evaluation in zip(models, evaluations, strict=True):
        for sample in restore_samples(model, dataset, {name for name, _ in worst}):
            for number, t in enumerate(sample.sample.times):
                if (rank := ranks.get((sample.sample.name, t))) is not None:
                    restored[rank].setdefault("truth", sample.images.truths[number])
                    restored[rank][evaluation.model] = to_uint8(sample.frames[number])
    rows = []
    for rank, (name, t) in enumerate(worst):
        values = "  ".join(
            f"{evaluation.model} {of_model[name, t]:.{METRICS[metric].digits}f}"
            for evaluation, of_model in zip(evaluations, scores, strict=True)
        )
        rows.append(_side_by_side_row(f"{rank + 1}. {name}  t = {t:g}  {metric}: {values}", restored[rank]))
    heading = f"{', '.join(e.model for e in evaluations)} on {dataset.name}: {len(rows)} frames, the worst by {metric}"
    means = ", ".join(f"{e.model} {e.summary(metric).score:.{METRICS[metric].digits}f}" for e in evaluations)
    summary = f"All frames, {METRICS[metric].aggregation} {metric}: {means}"
    if path.suffix.lower() == ".png":
        write_atomically(path, _render_png(heading, summary, rows, columns=len(models) + 1))
    else:
        write_atomically(path, _render_html(heading, summary, rows))


def _side_by_side_row(title: str, images: Mapping[str, Image8]) -> _Row:
    """The row of one frame: the truth, then every model's."""
    truth = images["truth"]
    errors = [np.abs(image.astype(np.int16) - truth) for name, image in images.items() if name != "truth"]
    left, top, right, bottom = _worst_place(np.mean(errors, axis=0).astype(np.uint8))
    frames = {name: _resize_to_width(image, min(image.shape[1], _MAX_WIDTH)) for name, image in images.items()}
    if max(truth.shape[:2]) <= _CROP:
        return _Row(title, frames, {})
    crops = {f"{name}, 1:1 at {left}, {top}": image[top:bottom, left:right] for name, image in images.items()}
    frames["truth"] = _resize_to_width(_frame_place(truth, left, top, right, bottom), frames["truth"].shape[1])
    return _Row(title, frames, crops)


def check_sheet_path(path: Path) -> None:
    """Refuse a path whose suffix is neither .html nor .png."""
    if path.suffix.lower() not in (".html", ".htm", ".png"):
        raise UsageError(f"A sheet is an HTML page or an image: end {path} in .html or .png.")


def _make_row(restored: RestoredSample, number: int, rank: int, scores: Mapping[str, float]) -> _Row:
    """The row of one restored frame of a sample."""
    images, truth, frame = restored.images, restored.images.truths[number], to_uint8(restored.frames[number])
    difference = np.abs(frame.astype(np.int16) - truth).astype(np.uint8)
    error = np.minimum(difference.astype(np.int16) * _ERROR_GAIN, 255).astype(np.uint8)
    columns = [images.first, images.second, truth, frame, error]
    left, top, right, bottom = _worst_place(difference)
    crops: dict[str, Image8] = {}
    if max(truth.shape[:2]) > _CROP:
        captions = (f"{column}, 1:1 at {left}, {top}" for column in _COLUMNS)
        crops = {c: image[top:bottom, left:right] for c, image in zip(captions, columns, strict=True)}
        columns[-1] = _frame_place(error, left, top, right, bottom)
    columns = [_resize_to_width(image, min(image.shape[1], _MAX_WIDTH)) for image in columns]
    motion, caption = _motion_image(restored.motions[number], columns[0].shape)
    text = "  ".join(f"{name} {value:.{METRICS[name].digits}f}" for name, value in scores.items())
    title = f"{rank + 1}. {restored.sample.name}  t = {restored.sample.times[number]:g}  {text}"
    return _Row(title, {**dict(zip(_COLUMNS, columns, strict=True)), caption: motion}, crops)


def _frame_place(image: Image8, left: int, top: int, right: int, bottom: int) -> Image8:
    """A copy of an image with a framed place."""
    framed = image.copy()
    thickness = max(1, round(2 * image.shape[1] / _MAX_WIDTH))
    for colour, width in (((255, 255, 255), 3 * thickness), ((255, 0, 0), thickness)):
        cv2.rectangle(framed, (left, top), (right - 1, bottom - 1), colour, width)
    return framed


def _worst_place(difference: Image8) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the crop around the largest local error, within the image."""
    height, width = difference.shape[:2]
    side = min(_DEFECT, height, width)
    means: Any = cv2.blur(difference.mean(axis=2, dtype=np.float32), (side, side), borderType=cv2.BORDER_CONSTANT)
    y, x = np.unravel_index(int(means.argmax()), means.shape)
    left, top = (
        min(max(int(centre) - _CROP // 2, 0), max(length - _CROP, 0)) for centre, length in ((x, width), (y, height))
    )
    return left, top, min(left + _CROP, width), min(top + _CROP, height)


def _motion_image(flow: Flow | None, shape: tuple[int, ...]) -> tuple[Image8, str]:
    """A motion (h, w, 2) in colours, as an image of `shape`, and its caption."""
    if flow is None:
        return np.full(shape, 255, np.uint8), "no motion"
    length = np.hypot(flow[..., 0], flow[..., 1])
    colours = cv2.resize(flow_to_colours(flow), (shape[1], shape[0]), interpolation=cv2.INTER_AREA)
    return np.asarray(colours, np.uint8), f"motion, up to {float(length.max()):.1f} px"


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
        body.append(f"<h2>{html.escape(row.title)}</h2><div>{_figures(row.frames)}</div>")
        if row.crops:
            body.append(f"<div class=crops>{_figures(row.crops)}</div>")
    style = (
        "body{font:14px sans-serif;margin:24px;background:#fff;color:#222}h1{font-size:20px}h2{font-size:14px;"
        "font-weight:600;margin:24px 0 6px}div{display:flex;flex-wrap:wrap;gap:8px}figure{margin:0;flex:1 1 240px;"
        "max-width:480px}img{width:100%;height:auto;display:block}figcaption{color:#666;font-size:12px}"
        ".crops{margin-top:8px}.crops figure{flex:none}.crops img{width:auto;max-width:none}"
    )
    page = (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(heading)}</title><style>{style}</style>"
        f"<h1>{html.escape(heading)}</h1><p>{html.escape(summary)}</p>{''.join(body)}</html>"
    )
    return page.encode("utf-8", "replace")


def _figures(images: Mapping[str, Image8]) -> str:
    """Images and their captions as HTML."""
    return "".join(
        f'<figure><img src="data:image/png;base64,{base64.b64encode(_encode_png(image)).decode()}" '
        f'width={image.shape[1]} height={image.shape[0]} alt="{caption}"><figcaption>{caption}</figcaption></figure>'
        for caption, image in images.items()
    )


def _render_png(heading: str, summary: str, rows: Sequence[_Row], columns: int = len(_COLUMNS) + 1) -> bytes:
    cell = min(max((image.shape[1] for row in rows for image in row.frames.values()), default=200), 320)
    width = _GAP + columns * (cell + _GAP)
    parts: list[Image8] = [_draw_text(heading, width, _LINE + 6, 0.6), _draw_text(summary, width, _LINE, 0.45)]
    for row in rows:
        parts.append(_draw_text(row.title, width, _LINE, 0.45))
        parts.append(
            _draw_images(
                {c: _resize_to_width(image, min(image.shape[1], cell)) for c, image in row.frames.items()}, cell, width
            )
        )
        if row.crops:
            parts.append(_draw_images(row.crops, cell, width))
    return _encode_png(np.concatenate(parts))


_GAP, _LINE = 8, 22


def _draw_images(images: Mapping[str, Image8], cell: int, width: int) -> Image8:
    """Images in cells beside each other, with captions below."""
    height = max(image.shape[0] for image in images.values())
    strip = np.full((height + _LINE, width, 3), 255, np.uint8)
    for number, (caption, image) in enumerate(images.items()):
        left = _GAP + number * (cell + _GAP)
        strip[: image.shape[0], left : left + image.shape[1]] = image
        strip[height:, left : left + cell] = _draw_text(caption, cell, _LINE, 0.4)
    return strip


def _draw_text(text: str, width: int, height: int, size: float) -> Image8:
    strip = np.full((height, width, 3), 255, np.uint8)
    ascii_text = text.encode("ascii", "replace").decode()
    cv2.putText(strip, ascii_text, (8, height - 7), cv2.FONT_HERSHEY_SIMPLEX, size, (40, 40, 40), 1, cv2.LINE_AA)
    return strip

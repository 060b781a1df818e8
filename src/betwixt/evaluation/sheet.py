"""A sheet of pictures: the frames a model did worst, so that a person sees what a number hides.

A row a frame: first, second, truth, what was made, the error (brighter is larger, times 4), and the motion from the
first to the second frame in the Middlebury colour code: the model's own where it tells it, else that of DIS.

One file: .html (with the pictures inside it) or .png.
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
from betwixt.evaluation.metrics import Image8, to_uint8
from betwixt.evaluation.scoring import Evaluation, Model, restored
from betwixt.files import write_atomically
from betwixt.models.base import Interpolator, MotionPair

__all__ = ["flow_colours", "write_sheet"]

_TITLES = ("first", "second", "truth", "made", "error x 4", "motion")
_ERROR_GAIN = 4
_WIDEST = 480
"""Pictures are shrunk to this width at most."""


@dataclass(frozen=True)
class _Panel:
    """A row of the sheet."""

    title: str
    pictures: list[Image8]


@lru_cache(maxsize=1)
def _wheel() -> NDArray[np.float64]:
    """The 55 hues of the Middlebury colour wheel, (55, 3) in 0 to 1, red first (Baker et al., IJCV 2011)."""
    steps = (("ry", 15), ("yg", 6), ("gc", 4), ("cb", 11), ("bm", 13), ("mr", 6))
    corner = {"r": (1, 0, 0), "y": (1, 1, 0), "g": (0, 1, 0), "c": (0, 1, 1), "b": (0, 0, 1), "m": (1, 0, 1)}
    hues = []
    for pair, count in steps:
        a, b = (np.array(corner[letter], float) for letter in pair)
        hues += [a + (b - a) * i / count for i in range(count)]
    return np.stack(hues)


def flow_colours(flow: NDArray[np.float32], largest: float | None = None) -> Image8:
    """A flow (H, W, 2) in the Middlebury colour code: the hue is the direction, the saturation the length.

    Args:
        flow: In pixels, (x, y).
        largest: The length that is fully saturated; longer ones are darkened. None for the longest there is.
    """
    length = np.hypot(flow[..., 0], flow[..., 1]).astype(np.float64)
    scale = float(largest if largest is not None else length.max()) or 1.0
    radius = np.nan_to_num(length / max(scale, 1e-6))
    wheel = _wheel()
    angle = np.arctan2(-flow[..., 1], -flow[..., 0]) / np.pi
    place = np.nan_to_num((angle + 1) / 2 * (len(wheel) - 1))
    low = np.floor(place).astype(int)
    part = (place - low)[..., None]
    hue = (1 - part) * wheel[low] + part * wheel[(low + 1) % len(wheel)]
    near = radius[..., None] <= 1
    colour = np.where(near, 1 - radius[..., None] * (1 - hue), hue * 0.75)
    picture: Image8 = np.floor(255 * colour).astype(np.uint8)
    return picture


def write_sheet(path: Path, model: Model, evaluation: Evaluation, dataset: Any, metric: str, count: int = 10) -> None:
    """Write the sheet of the `count` worst frames by `metric`.

    Raises:
        UsageError: if the suffix of `path` is neither .html nor .png.
        OutputError: if it cannot be written.
    """
    check_sheet(path)
    from betwixt.evaluation.metrics import METRICS

    worst = evaluation.worst(count, metric, lower_is_worse=METRICS[metric].better == "higher")
    places = {(row.sample, row.t): rank for rank, row in enumerate(worst)}
    panels: dict[int, _Panel] = {}
    for sample, frames, made in restored(model, dataset, {row.sample for row in worst}):
        motion = _motion(model, frames.first, frames.second)
        for t, image, truth in zip(sample.times, made, frames.truths, strict=True):
            rank = places.get((sample.name, t))
            if rank is None:
                continue
            picture = to_uint8(image)
            error = np.clip(np.abs(picture.astype(np.int16) - truth) * _ERROR_GAIN, 0, 255).astype(np.uint8)
            scores = "  ".join(f"{name} {value:.{METRICS[name].digits}f}" for name, value in worst[rank].scores.items())
            title = f"{rank + 1}. {sample.name}  t = {t:g}  {scores}"
            pictures = [frames.first, frames.second, truth, picture, error, motion]
            panels[rank] = _Panel(title, [_shrunk(p) for p in pictures])
    ordered = [panels[rank] for rank in sorted(panels)]
    mean = ", ".join(f"{m} {evaluation.summary(m).mean:.{METRICS[m].digits}f}" for m in evaluation.metrics)
    heading = (
        f"{evaluation.model} on {evaluation.dataset}: the {len(ordered)} worst of {len(evaluation.rows)} by {metric}"
    )
    data = (
        _page(heading, mean, ordered) if path.suffix.lower() in (".html", ".htm") else _poster(heading, mean, ordered)
    )
    write_atomically(path, data)


def check_sheet(path: Path) -> None:
    """Refuse a name that is neither a page nor a picture."""
    if path.suffix.lower() not in (".html", ".htm", ".png"):
        raise UsageError(f"A sheet is a page or a picture: end {path} in .html or .png.")


def _motion(model: Model, first: Image8, second: Image8) -> Image8:
    """The motion from the first to the second frame, in colours."""
    if isinstance(model, Interpolator):
        pair = model.prepare(*(np.asarray(x, np.float32) / np.float32(255) for x in (first, second)))
        if isinstance(pair, MotionPair):
            flow = pair.motion(0.5).displacement()
            height, width = first.shape[:2]
            return flow_colours(cv2.resize(flow, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.float32))
    if min(first.shape[:2]) < 16:
        return np.full_like(first, 255)  # too small to search
    grey = [cv2.cvtColor(x, cv2.COLOR_RGB2GRAY) for x in (first, second)]
    search: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return flow_colours(search.calc(grey[0], grey[1], None))


def _shrunk(picture: Image8) -> Image8:
    height, width = picture.shape[:2]
    if width <= _WIDEST:
        return picture
    size = (_WIDEST, max(1, round(height * _WIDEST / width)))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def _page(heading: str, mean: str, panels: Sequence[_Panel]) -> bytes:
    rows = []
    for panel in panels:
        cells = "".join(
            f'<figure><img src="data:image/png;base64,{_encoded(picture)}" alt="{title}">'
            f"<figcaption>{title}</figcaption></figure>"
            for title, picture in zip(_TITLES, panel.pictures, strict=True)
        )
        rows.append(f"<h2>{html.escape(panel.title)}</h2><div>{cells}</div>")
    style = (
        "body{font:14px sans-serif;margin:24px;background:#fff;color:#222}h1{font-size:20px}h2{font-size:14px;"
        "font-weight:600;margin:24px 0 6px}div{display:flex;flex-wrap:wrap;gap:8px}figure{margin:0;flex:1 1 240px;"
        "max-width:480px}img{width:100%;display:block}figcaption{color:#666;font-size:12px}"
    )
    page = (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(heading)}</title><style>{style}</style>"
        f"<h1>{html.escape(heading)}</h1><p>Means: {html.escape(mean)}</p>{''.join(rows)}</html>"
    )
    return page.encode("utf-8", "replace")


def _encoded(picture: Image8) -> str:
    return base64.b64encode(_png(picture)).decode()


def _png(picture: Image8) -> bytes:
    return bytes(cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1])


def _poster(heading: str, mean: str, panels: Sequence[_Panel]) -> bytes:
    """The same as one picture."""
    gap, line = 8, 22
    cell = max((p.shape[1] for panel in panels for p in panel.pictures), default=200)
    cell = min(cell, 320)
    width = gap + len(_TITLES) * (cell + gap)
    parts: list[Image8] = [_text(heading, width, line + 6, 0.6), _text(f"means: {mean}", width, line, 0.45)]
    for panel in panels:
        parts.append(_text(panel.title, width, line, 0.45))
        scaled = [
            np.asarray(
                cv2.resize(p, (cell, max(1, round(p.shape[0] * cell / p.shape[1]))), interpolation=cv2.INTER_AREA),
                np.uint8,
            )
            for p in panel.pictures
        ]
        height = max(p.shape[0] for p in scaled)
        strip = np.full((height + line, width, 3), 255, np.uint8)
        for number, (title, picture) in enumerate(zip(_TITLES, scaled, strict=True)):
            left = gap + number * (cell + gap)
            strip[: picture.shape[0], left : left + cell] = picture
            strip[height:, left : left + cell] = _text(title, cell, line, 0.4)
        parts.append(strip)
    return _png(np.concatenate(parts))


def _text(text: str, width: int, height: int, size: float) -> Image8:
    strip = np.full((height, width, 3), 255, np.uint8)
    plain = text.encode("ascii", "replace").decode()
    cv2.putText(strip, plain, (8, height - 7), cv2.FONT_HERSHEY_SIMPLEX, size, (40, 40, 40), 1, cv2.LINE_AA)
    return strip

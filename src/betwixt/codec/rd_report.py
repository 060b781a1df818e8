"""Reports on rate-distortion curves: BD-rate, bits at given qualities, a Markdown page, a plot, comparison images.

BD-rate is computed by the library `bjontegaard` over the qualities where two curves overlap; a curve that does not
reach the other's qualities has none. The HEVC test sequences also give a curve for each class and one for all, as in
NCM's figures: the means of bits per pixel and of quality over the sequences, at each quality of the encoder.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from betwixt.codec.rd_table import METHODS, CurvePoint
from betwixt.evaluation.metrics import Image8
from betwixt.files import write_atomically

_Curves = Mapping[tuple[str, str], list[CurvePoint]]
"""Points by clip and method."""

_PAPER_QUALITIES = (("psnr", 32.0, "32 dB"), ("psnr", 34.0, "34 dB"), ("ms_ssim", 0.965, "MS-SSIM 0.965"))
"""The qualities at which NCM's paper states the bits that it saves (section 5): 34 dB against HM in the same order."""

_HEVC_CLASSES = {
    "B": ("Kimono", "Kimono1", "ParkScene", "Cactus", "BQTerrace", "BasketballDrive"),
    "C": ("RaceHorses", "RaceHorsesC", "BQMall", "PartyScene", "BasketballDrill"),
    "D": ("RaceHorses", "RaceHorsesD", "BQSquare", "BlowingBubbles", "BasketballPass"),
    "E": ("FourPeople", "Johnny", "KristenAndSara"),
}
"""The 16 HEVC test sequences of the paper (appendix C.2.3), some with two spellings; RaceHorses is in two sizes."""

_CLASS_SIZES = {"B": "1920x1080", "C": "832x480", "D": "416x240", "E": "1280x720"}

_METRICS = (("psnr", "PSNR"), ("ms_ssim", "MS-SSIM"))


def bd_rate(anchor: Sequence[CurvePoint], test: Sequence[CurvePoint], metric: str) -> float | None:
    """How many percent more bits the test needs than the anchor for the same quality; None if they do not overlap."""
    import bjontegaard

    curves = []
    for points in (anchor, test):
        rising: list[tuple[float, float]] = []
        for rate, score in sorted((p.bpp, _to_decibels(metric, getattr(p, metric))) for p in points):
            if not rising or score > rising[-1][1]:  # leave out points that cost more bits and are worse
                rising.append((rate, score))
        curves.append(rising)
    if min(len(curve) for curve in curves) < 3:
        return None
    low, high = max(curve[0][1] for curve in curves), min(curve[-1][1] for curve in curves)
    if high - low < 0.1 * (curves[0][-1][1] - curves[0][0][1]):
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # curves that overlap in part
        value = bjontegaard.bd_rate(
            *([x for x, _ in curves[0]], [y for _, y in curves[0]]),
            *([x for x, _ in curves[1]], [y for _, y in curves[1]]),
            method="pchip",
            require_matching_points=False,
            min_overlap=0,
        )
    return float(value) if math.isfinite(value) else None


def _to_decibels(metric: str, value: float) -> float:
    """MS-SSIM in decibels, as codec comparisons use it: its own scale is too dense near 1."""
    return -10.0 * math.log10(max(1.0 - value, 1e-9)) if metric == "ms_ssim" else value


def rate_at(points: Sequence[CurvePoint], metric: str, quality: float) -> float | None:
    """Bits per pixel at a quality, interpolated between measured points; None beyond them."""
    curve = sorted((_to_decibels(metric, getattr(p, metric)), math.log(p.bpp)) for p in points)
    target = _to_decibels(metric, quality)
    if not curve or not curve[0][0] <= target <= curve[-1][0]:
        return None
    return float(math.exp(np.interp(target, [x for x, _ in curve], [y for _, y in curve])))


# -- classes of HEVC test sequences


def hevc_class(point: CurvePoint) -> str | None:
    """The class, "B" to "E", of the test sequence that a point is of; None if it is of another clip."""
    name = point.clip.partition("_")[0]
    for letter, names in _HEVC_CLASSES.items():
        if name in names and point.size == _CLASS_SIZES[letter]:
            return letter
    return None


def class_points(points: Sequence[CurvePoint]) -> list[CurvePoint]:
    """The mean curves of the classes that have more than one sequence, and of all sequences if there are more classes.

    A point is the mean over the sequences, at one quality of the encoder; it is left out if one of them lacks it.
    """
    members: dict[str, list[CurvePoint]] = {}
    for point in points:
        if (letter := hevc_class(point)) is not None:
            members.setdefault(f"class {letter}, mean", []).append(point)
    if len(members) > 1:
        members["all classes, mean"] = [point for group in members.values() for point in group]
    result = []
    for name, group in members.items():
        clips = {point.clip for point in group}
        for method, quality in dict.fromkeys((p.method, p.quality) for p in group):
            own = [p for p in group if (p.method, p.quality) == (method, quality)]
            if len(clips) > 1 and len(own) == len(clips):
                bpp, psnr, similarity = (
                    float(np.mean([getattr(p, field) for p in own])) for field in ("bpp", "psnr", "ms_ssim")
                )
                result.append(replace(own[0], clip=name, bpp=bpp, psnr=psnr, ms_ssim=similarity))
    return result


# -- Markdown


def markdown_report(points: Sequence[CurvePoint]) -> str:
    """The tables in Markdown."""
    lines = ["<!-- made by betwixt rd-curve -->", ""]
    for base in dict.fromkeys(p.base for p in points):
        lines += _report_of_base(base, [p for p in points if p.base == base])
    return "\n".join(lines)


def _report_of_base(base: str, points: list[CurvePoint]) -> list[str]:
    methods = [m for m in METHODS if any(p.method == m for p in points)]
    clips = list(dict.fromkeys(p.clip for p in points))
    curves = {(c, m): [p for p in points if (p.clip, p.method) == (c, m)] for c in clips for m in methods}
    means = class_points(points)
    groups = list(dict.fromkeys(p.clip for p in means))
    curves |= {(g, m): [p for p in means if (p.clip, p.method) == (g, m)] for g in groups for m in methods}
    lines = [f"### {base}", ""]
    lines += _bd_rate_table(curves, clips, groups, [m for m in methods if m != "base"])
    for anchor, label in (("base", "in the same order"), ("base-p", "with I and P alone, as NCM's P-frame codec")):
        if anchor in methods:
            others = [m for m in methods if m != anchor]
            lines += _savings_table(curves, [*clips, *groups], anchor, label, others)
    lines += _time_table(points, methods)
    machines = "; ".join(dict.fromkeys(p.machine for p in points))
    protocols = "; ".join(dict.fromkeys(p.protocol for p in points))
    return [*lines, f"<sub>{protocols}. Measured on {machines}.</sub>", ""]


def _bd_rate_table(curves: _Curves, clips: list[str], groups: list[str], methods: list[str]) -> list[str]:
    columns = [(method, metric) for method in methods for metric, _ in _METRICS]
    header = [f"{method}, {label}" for method in methods for _, label in _METRICS]
    lines = ["BD-rate against the base codec in the same order; negative is better.", ""]
    lines += [f"| clip | {' | '.join(header)} |", f"|---|{'---:|' * len(header)}"]
    rates: dict[tuple[str, str], list[float | None]] = {column: [] for column in columns}
    for clip in [*clips, *groups]:
        anchor = curves.get((clip, "base"))
        found = [bd_rate(anchor, curves[clip, method], metric) if anchor else None for method, metric in columns]
        lines.append(f"| {clip} | {' | '.join(_percent(value) for value in found)} |")
        if clip in clips:  # the curves of classes are means of theirs
            for column, value in zip(columns, found, strict=True):
                rates[column].append(value)
    means = []
    for column in columns:
        values = [value for value in rates[column] if value is not None]
        means.append(_percent(float(np.mean(values)) if values and len(values) == len(clips) else None))
    lines += [f"| mean | {' | '.join(means)} |", ""]
    return [*lines, "`-`: the curves share too little quality to be compared.", ""]


def _savings_table(curves: _Curves, clips: list[str], anchor: str, label: str, methods: list[str]) -> list[str]:
    """Bits at the paper's qualities, against those of another method."""
    lines = [f"Bits at the qualities of NCM's paper, against the base codec {label}:", ""]
    lines += [f"| clip | quality | {' | '.join(methods)} |", f"|---|---|{'---:|' * len(methods)}"]
    for clip in clips:
        for metric, quality, text in _PAPER_QUALITIES:
            anchor_rate = rate_at(curves[clip, anchor], metric, quality)
            rates = [rate_at(curves[clip, method], metric, quality) for method in methods]
            if anchor_rate and any(rates):
                cells = [_percent(100 * (rate / anchor_rate - 1) if rate else None) for rate in rates]
                lines.append(f"| {clip} | {text} | {' | '.join(cells)} |")
    return [*lines, ""]


def _time_table(points: list[CurvePoint], methods: list[str]) -> list[str]:
    lines = ["Time in seconds per frame, means over clips and qualities:", ""]
    lines += ["| method | encoding | decoding |", "|---|---:|---:|"]
    for method in methods:
        own = [p for p in points if p.method == method]
        encoding = np.mean([p.encode_seconds / p.frames for p in own])
        decoding = np.mean([p.decode_seconds / p.frames for p in own])
        lines.append(f"| {method} | {encoding:.2f} | {decoding:.2f} |")
    return [*lines, ""]


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:+.1f} %"


# -- images


def draw_curves(path: Path, points: Sequence[CurvePoint]) -> None:
    """Plot PSNR and MS-SSIM over bits per pixel, a row for each clip or class and base codec, as PNG."""
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    for base in dict.fromkeys(p.base for p in points):
        points = [*points, *class_points([p for p in points if p.base == base])]
    clips = list(dict.fromkeys((p.clip, p.base) for p in points))
    with matplotlib.rc_context({"font.size": 9}):
        figure = Figure(figsize=(9, 2.9 * len(clips)), layout="constrained")
        axes = figure.subplots(len(clips), 2, squeeze=False)
        for row, (clip, base) in zip(axes, clips, strict=True):
            for axis, metric, label in zip(row, ("psnr", "ms_ssim"), ("PSNR, dB", "MS-SSIM"), strict=True):
                for number, method in enumerate(METHODS):
                    curve = [p for p in points if (p.clip, p.base, p.method) == (clip, base, method)]
                    curve.sort(key=lambda p: p.bpp)
                    if curve:
                        style = "o--" if method.endswith("-own") else "o-"
                        x, y = [p.bpp for p in curve], [getattr(p, metric) for p in curve]
                        axis.plot(x, y, style, color=f"C{number}", markersize=3.5, label=method)
                axis.set_xscale("log")
                axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
                axis.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
                axis.xaxis.set_minor_formatter(NullFormatter())
                axis.set_xlabel("bits per pixel (log)")
                axis.set_ylabel(label)
                axis.set_title(f"{clip}, {base}")
                axis.grid(alpha=0.3, which="both")
            row[0].legend(fontsize=8)
        data = io.BytesIO()
        figure.savefig(data, format="png", dpi=110, metadata={"Software": None})
    write_atomically(path, data.getvalue())


def draw_comparison(path: Path, images: Mapping[str, Image8]) -> None:
    """Write labelled images side by side, two in a row: their middle parts at full size, as JPEG."""
    cells = []
    for name, image in images.items():
        height, width = image.shape[:2]
        h, w = min(height, 300), min(width, 480)
        top, left = (height - h) // 2, (width - w) // 2
        cell = np.ascontiguousarray(image[top : top + h, left : left + w])
        cell[h - 22 :, : 9 * len(name) + 12] //= 4
        cv2.putText(cell, name, (6, h - 7), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, cv2.LINE_AA)
        cells.append(cell)
    if len(cells) % 2:
        cells.append(np.full_like(cells[0], 255))
    rows = [np.concatenate(cells[i : i + 2], axis=1) for i in range(0, len(cells), 2)]
    _, data = cv2.imencode(".jpg", np.concatenate(rows)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])
    write_atomically(path, data.tobytes())

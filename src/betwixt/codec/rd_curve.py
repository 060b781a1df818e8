"""Rate-distortion curves: what each way of coding costs at what quality, on the same frames.

    clip ──► its first frames, lossless ──┬─► encode (method, quality) ──► a file: its size is the rate
                                          │         └──► decode ──► frames ──► PSNR, MS-SSIM
                                          └──────────────────────────────────► the true frames

    NAME.csv   a line for each clip, method and quality; lines of other runs are kept
    NAME.png   PSNR and MS-SSIM over bits a pixel, a row for each clip
    NAME-CLIP.jpg  a frame between two kept ones, as each method gives it, at the middle quality
    NAME.md    BD-rate against the base codec, bits saved at the marks that NCM's paper names, times

Everything counts that is in the file, the container too. PSNR and MS-SSIM are of 8-bit RGB pictures, means over all
frames. BD-rate is the library `bjontegaard`'s, over the qualities where two curves overlap; a curve that does not reach
the other's qualities has none.
"""

from __future__ import annotations

import csv
import io
import math
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from betwixt.codec.base_codec import find_base_codec
from betwixt.codec.decode import decode_video
from betwixt.codec.encode import encode_video
from betwixt.errors import InputError, UsageError
from betwixt.evaluation.metrics import ms_ssim, psnr, to_uint8
from betwixt.files import write_atomically
from betwixt.machine import describe_machine
from betwixt.media.colour import RGBConverter
from betwixt.media.frames import planes
from betwixt.media.images.paths import is_image_location
from betwixt.media.reader import Frame, Reader
from betwixt.media.sequence import ImageSource
from betwixt.media.timeline import parse_time
from betwixt.media.writer import VideoWriter
from betwixt.models.registry import DEFAULT_MODEL, choose_model

__all__ = ["METHODS", "CurvePoint", "CurveRequest", "measure_rd_curves"]

METHODS: dict[str, dict[str, Any]] = {
    "base": {"mode": "base"},
    "base-p": {"mode": "base", "order": "p"},
    "base-own": {"mode": "base", "order": "own"},
    "bit-free": {"mode": "bit-free"},
    "bit-free-floor": {"mode": "bit-free", "floor": True},
    "bit-free-own": {"mode": "bit-free", "order": "own"},
    "bit-need": {"mode": "bit-need"},
}
"""What is compared: the base codec in the same order (I-B-P-B), as I and P alone (low delay, as the P-frame codec of
NCM's paper) or in its own order, and the modes of `encode_video`."""

_MARKS = (("psnr", 32.0, "32 dB"), ("ms_ssim", 0.965, "MS-SSIM 0.965"))
"""Where NCM's paper reads its savings (section 5)."""

_FEWEST = 2
_SMALLEST = 176


@dataclass(frozen=True)
class CurveRequest:
    """What to measure.

    Attributes:
        clips: Videos or folders of images; `PATH@T` begins at time T.
        output: Where to, without a suffix.
        methods: Of `METHODS`, "base" first.
        qualities: On the base encoder's scale.
        base: The base codec.
        preset: Its preset, the same for all methods.
        frames: How many of each clip.
        keep: As in `encode_video`.
        intra: Likewise.
        floor: For the method "bit-free-floor".
        model: Likewise.
        weights: Likewise.
        codec_weights: Likewise.
        threads: Likewise.
        resume: Leave out what the table has already, by the same protocol, model and weights of the network that codes.
    """

    clips: tuple[str, ...]
    output: Path
    methods: tuple[str, ...] = ("base", "bit-free", "bit-need")
    qualities: tuple[int, ...] = (22, 27, 32, 37)
    base: str = "x265"
    preset: str | None = None
    frames: int = 33
    keep: int = 2
    intra: int = 32
    floor: float = -2.0
    model: str = DEFAULT_MODEL
    weights: str | None = None
    codec_weights: str | None = None
    threads: int = 0
    resume: bool = False


@dataclass(frozen=True)
class CurvePoint:
    """A point of a curve.

    Attributes:
        clip: The clip's name.
        base: The base codec and its preset.
        method: How it was coded.
        quality: On the base encoder's scale.
        frames: How many.
        size: "854x480".
        bytes: Of the file.
        bpp: Bits a pixel.
        psnr: Mean over frames, dB.
        ms_ssim: Mean over frames.
        psnr_sent: PSNR of the frames that "bit-free" sends.
        psnr_between: PSNR of the others.
        sent: Frames of the base stream.
        encode_seconds: How long encoding took.
        decode_seconds: How long decoding took, with writing the frames losslessly.
        model: What synthesizes.
        weights: The network's that codes.
        protocol: Frames from where, intra period.
        date: When.
        machine: On what.
    """

    clip: str
    base: str
    method: str
    quality: int
    frames: int
    size: str
    bytes: int
    bpp: float
    psnr: float
    ms_ssim: float
    psnr_sent: float
    psnr_between: float
    sent: int
    encode_seconds: float
    decode_seconds: float
    model: str
    weights: str
    protocol: str
    date: str
    machine: str

    @property
    def key(self) -> tuple[str, str, str, int]:
        """What a new measurement replaces."""
        return self.clip, self.base, self.method, self.quality


def measure_rd_curves(
    request: CurveRequest, progress: Callable[[str], None] | None = None
) -> tuple[list[CurvePoint], list[str]]:
    """Measure, and write table, figure and page.

    Returns:
        All points of the table, and notes.

    Raises:
        UsageError: for arguments that are wrong, or a library that is missing.
        InputError: if a clip cannot be used.
        OutputError: if something cannot be written.
    """
    tell = progress or (lambda text: None)
    notes: list[str] = []
    methods = _checked(request, notes)
    path = request.output.with_name(request.output.name + ".csv")
    known = {p.key: p for p in _read(path)} if path.exists() else {}
    codec, weights = " ".join(_base_of(request)), _codec_weights(request) if "bit-need" in methods else ""
    for clip in request.clips:
        with tempfile.TemporaryDirectory(prefix="betwixt-rd-") as folder:
            lossless = Path(folder) / "clip.mkv"
            name, protocol = _cut(clip, lossless, request)
            truths = _pictures(lossless)
            middle = sorted(request.qualities)[len(request.qualities) // 2]
            shown: dict[str, NDArray[np.uint8]] = {}
            for quality in request.qualities:
                for method in methods:
                    there = known.get((name, codec, method, quality))
                    how = _how(request, method, protocol, weights)
                    if request.resume and there is not None and (there.protocol, there.model, there.weights) == how:
                        continue
                    tell(f"{name}: {method}, {request.base} at {quality}")
                    point, frame = _measure(request, name, how, lossless, truths, method, quality, Path(folder))
                    known[point.key] = point
                    if quality == middle:
                        shown[f"{method}, {psnr(frame, truths[_shown(truths)]):.2f} dB"] = frame
                    write_atomically(path, _csv(_sorted(known.values())))  # what was measured stays
            if len(shown) == len(methods):
                tiles = {"true": truths[_shown(truths)], **shown}
                _picture(request.output.with_name(f"{request.output.name}-{name}.jpg"), tiles)
    points = _sorted(known.values())
    _draw(request.output.with_name(request.output.name + ".png"), points)
    write_atomically(request.output.with_name(request.output.name + ".md"), markdown_report(points))
    return points, notes


def _how(request: CurveRequest, method: str, protocol: str, weights: str) -> tuple[str, str, str]:
    """What else a point depends on: its protocol, the model that synthesizes, the weights that code."""
    mode = METHODS[method]["mode"]
    if METHODS[method].get("floor"):
        protocol += f", floor {request.floor:g} dB"
    return protocol, "none" if mode == "base" else choose_model(request.model), weights if mode == "bit-need" else ""


def _codec_weights(request: CurveRequest) -> str:
    from betwixt.codec.coder import load_coder

    return load_coder(request.codec_weights).weights


def _sorted(points: Iterable[CurvePoint]) -> list[CurvePoint]:
    return sorted(points, key=lambda p: (p.base, p.clip, list(METHODS).index(p.method), p.quality))


def _base_of(request: CurveRequest) -> tuple[str, str]:
    base, preset = find_base_codec(request.base, request.preset)
    return base.name, preset


def _checked(request: CurveRequest, notes: list[str]) -> list[str]:
    """The methods that can be run; refuses what cannot work before anything is done."""
    _library("bjontegaard")
    _library("matplotlib")
    if not request.clips:
        raise UsageError("There are no clips: give a video or a folder of images.")
    choose_model(request.model, request.weights)
    for method in request.methods:
        if method not in METHODS:
            raise UsageError(f"There is no method '{method}': choose from {', '.join(METHODS)}.")
    if request.frames < _FEWEST:
        raise UsageError(f"{request.frames} frames have nothing between them: give at least {_FEWEST}.")
    if len(set(request.qualities)) != len(request.qualities) or not request.qualities:
        raise UsageError("The qualities repeat, or there are none: give e.g. 22,27,32,37.")
    if not request.output.parent.is_dir():
        raise UsageError(f"The folder {request.output.parent} does not exist: make it first.")
    names = [_place(clip)[2] for clip in request.clips]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"Two clips are called {name}, and the table knows them by their names: rename one.")
    chosen = list(dict.fromkeys(request.methods))
    if "bit-need" in chosen:
        try:
            _codec_weights(request)
        except UsageError as error:
            if request.codec_weights is not None or len(chosen) == 1:
                raise
            notes.append(f"bit-need is left out. {error}")
            chosen.remove("bit-need")
    return chosen


def _library(name: str) -> Any:
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError:
        raise UsageError(f"rd-curve needs {name}: pip install 'betwixt[codec,evaluation]'.") from None


# -- measuring


def _place(clip: str) -> tuple[str, Fraction | None, str]:
    """The file or folder of a clip, when it begins, and its name in the table."""
    location, start = clip, None
    if not Path(clip).exists() and "@" in clip:
        location, _, moment = clip.rpartition("@")
        start = parse_time(moment)
    return location, start, Path(location).stem + (f"@{float(start):g}" if start else "")


def _cut(clip: str, target: Path, request: CurveRequest) -> tuple[str, str]:
    """The clip's first frames, or those from a time on, lossless and in 4:2:0; its name, and which frames those are."""
    location, start, name = _place(clip)
    source: Reader | ImageSource
    if is_image_location(location):
        source = ImageSource(location, Fraction(25), start, None)
    else:
        source = Reader(location, start=start)
    try:
        if min(source.info.width, source.info.height) < _SMALLEST:
            raise InputError(
                f"{clip} is {source.info.width}x{source.info.height}: MS-SSIM needs {_SMALLEST} pixels a side."
            )
        pixel_format = "yuv420p10le" if source.info.depth > 8 else "yuv420p"
        writer = VideoWriter(target, source.info, source.info.rate, codec="ffv1", pixel_format=pixel_format)
        with writer:
            begin = (source.info.start if isinstance(source, Reader) else 0) + (start or 0)
            count = 0
            for item in source:
                if isinstance(item, Frame) and item.time >= begin:
                    writer.write(item.video, count)
                    count += 1
                if count == request.frames:
                    break
            writer.commit()
    finally:
        source.close()
    if count < _FEWEST:
        raise InputError(f"{clip} has {count} frames from there on: at least {_FEWEST} are needed.")
    where = f"from {float(start):g} s" if start else "from the beginning"
    return name, f"{count} frames {where}, I frames {request.intra} apart, one of {request.keep} kept"


def _pictures(path: Path) -> list[NDArray[np.uint8]]:
    with Reader(path, interlaced="ignore") as reader:
        info = reader.info
        to_rgb = RGBConverter(info.pixel_format, info.width, info.height, info.colour).to_rgb
        return [to_uint8(to_rgb(planes(item.video))) for item in reader if isinstance(item, Frame)]


def _measure(
    request: CurveRequest,
    name: str,
    how: tuple[str, str, str],
    source: Path,
    truths: list[NDArray[np.uint8]],
    method: str,
    quality: int,
    folder: Path,
) -> tuple[CurvePoint, NDArray[np.uint8]]:
    coded, restored = folder / "coded.mkv", folder / "restored.mkv"
    options = dict(METHODS[method])
    if options.pop("floor", False):
        options["floor"] = request.floor
    if options["mode"] == "bit-need":
        options["codec_weights"] = request.codec_weights
    done = encode_video(
        source, coded, base=request.base, preset=request.preset, quality=quality, keep=request.keep,
        intra=request.intra, model=request.model, weights=request.weights, threads=request.threads, overwrite=True,
        **options,
    )  # fmt: skip
    began = time.monotonic()
    if options["mode"] != "base":
        decode_video(
            coded, restored, weights=request.weights, codec_weights=options.get("codec_weights"), codec="ffv1",
            threads=request.threads, overwrite=True,
        )  # fmt: skip
    made = _pictures(restored if options["mode"] != "base" else coded)
    decode_seconds = time.monotonic() - began
    if len(made) != len(truths):
        raise InputError(f"{name}: {method} gave {len(made)} frames for {len(truths)}.")
    scores = [psnr(a, b) for a, b in zip(made, truths, strict=True)]
    structure = [ms_ssim(a, b) for a, b in zip(made, truths, strict=True)]
    last = len(scores) - 1
    kept = [s for k, s in enumerate(scores) if k % request.keep == 0 or k == last]
    between = [s for k, s in enumerate(scores) if k % request.keep and k != last]
    height, width = truths[0].shape[:2]
    point = CurvePoint(
        clip=name,
        base=" ".join(_base_of(request)),
        method=method,
        quality=quality,
        frames=len(scores),
        size=f"{width}x{height}",
        bytes=done.size,
        bpp=8 * done.size / (height * width * len(scores)),
        psnr=float(np.mean(scores)),
        ms_ssim=float(np.mean(structure)),
        psnr_sent=float(np.mean(kept)),
        psnr_between=float(np.mean(between)) if between else math.nan,
        sent=done.sent,
        encode_seconds=done.seconds,
        decode_seconds=decode_seconds,
        model=done.model,
        weights=how[2],
        protocol=how[0],
        date=time.strftime("%Y-%m-%d"),
        machine=describe_machine(),
    )
    return point, made[_shown(truths)]


def _shown(truths: Sequence[NDArray[np.uint8]]) -> int:
    """The number of the frame that is shown: one between two kept ones, in the middle of the clip."""
    return min(len(truths) // 2 | 1, len(truths) - 1)


# -- the table

_DIGITS = {
    "bpp": 6,
    "psnr": 4,
    "ms_ssim": 6,
    "psnr_sent": 4,
    "psnr_between": 4,
    "encode_seconds": 2,
    "decode_seconds": 2,
}


def _csv(points: Iterable[CurvePoint]) -> str:
    text = io.StringIO()
    names = [f.name for f in fields(CurvePoint)]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    for p in points:
        values = ((n, getattr(p, n)) for n in names)
        writer.writerow([f"{v:.{_DIGITS[n]}f}" if n in _DIGITS else v for n, v in values])
    return text.getvalue()


def _read(path: Path) -> list[CurvePoint]:
    converters = {f.name: {"int": int, "float": float}.get(str(f.type), str) for f in fields(CurvePoint)}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            points = [
                CurvePoint(**{name: kind(row[name]) for name, kind in converters.items()})
                for row in csv.DictReader(file)
            ]
        if not all(point.method in METHODS for point in points):
            raise ValueError("a method that is none")
        return points
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, ValueError, TypeError):
        raise InputError(f"{path} is no table of rd-curve: give another --output, or remove it.") from None


# -- what it comes to


def bd_rate(anchor: Sequence[CurvePoint], test: Sequence[CurvePoint], metric: str) -> float | None:
    """How many percent more bits the test takes than the anchor for the same quality; None if they do not overlap."""
    library = _library("bjontegaard")
    curves = []
    for points in (anchor, test):
        best: list[tuple[float, float]] = []
        for rate, score in sorted((p.bpp, _scale(metric, getattr(p, metric))) for p in points):
            if not best or score > best[-1][1]:  # a curve that rises: more bits for less are no point of it
                best.append((rate, score))
        curves.append(best)
    if min(len(c) for c in curves) < 3:
        return None
    low, high = max(c[0][1] for c in curves), min(c[-1][1] for c in curves)
    if high - low < 0.1 * (curves[0][-1][1] - curves[0][0][1]):
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of curves that overlap in part, which the page says
        value = library.bd_rate(
            *([x for x, _ in curves[0]], [y for _, y in curves[0]]),
            *([x for x, _ in curves[1]], [y for _, y in curves[1]]),
            method="pchip",
            require_matching_points=False,
            min_overlap=0,
        )
    return float(value) if math.isfinite(value) else None


def _scale(metric: str, value: float) -> float:
    """MS-SSIM in decibels, as codecs are compared by it: near 1, its own scale is too crowded."""
    return -10.0 * math.log10(max(1.0 - value, 1e-9)) if metric == "ms_ssim" else value


def rate_at(points: Sequence[CurvePoint], metric: str, wanted: float) -> float | None:
    """Bits a pixel at a quality, between measured points; None beyond them."""
    curve = sorted((_scale(metric, getattr(p, metric)), math.log(p.bpp)) for p in points)
    target = _scale(metric, wanted)
    if not curve or not curve[0][0] <= target <= curve[-1][0]:
        return None
    return float(math.exp(np.interp(target, [x for x, _ in curve], [y for _, y in curve])))


def markdown_report(points: Sequence[CurvePoint]) -> str:
    """The tables in Markdown."""
    lines = ["<!-- made by betwixt rd-curve -->", ""]
    for base in dict.fromkeys(p.base for p in points):
        lines += _page_of(base, [p for p in points if p.base == base])
    return "\n".join(lines)


def _page_of(base: str, points: list[CurvePoint]) -> list[str]:
    methods = [m for m in METHODS if any(p.method == m for p in points)]
    clips = list(dict.fromkeys(p.clip for p in points))
    curves = {(c, m): [p for p in points if (p.clip, p.method) == (c, m)] for c in clips for m in methods}
    lines = [f"### {base}", "", "BD-rate against the base codec in the same order; negative is better.", ""]
    others = [m for m in methods if m != "base"]
    head = [f"{m}, {what}" for m in others for what in ("PSNR", "MS-SSIM")]
    lines += [f"| clip | {' | '.join(head)} |", f"|---|{'---:|' * len(head)}"]
    found: dict[tuple[str, str], list[float | None]] = {}
    for clip in clips:
        cells = []
        for method in others:
            for metric in ("psnr", "ms_ssim"):
                base_curve = curves.get((clip, "base"))
                value = bd_rate(base_curve, curves[clip, method], metric) if base_curve else None
                found.setdefault((method, metric), []).append(value)
                cells.append(_percent(value))
        lines.append(f"| {clip} | {' | '.join(cells)} |")
    cells = []
    for method in others:
        for metric in ("psnr", "ms_ssim"):
            values = [v for v in found[method, metric] if v is not None]
            whole = len(values) == len(clips)
            cells.append(_percent(float(np.mean(values))) if values and whole else "-")
    lines += [f"| mean | {' | '.join(cells)} |", ""]
    lines += ["`-`: the curves share too little quality to be compared.", ""]
    for anchor, what in (("base", "in the same order"), ("base-p", "with I and P alone, as NCM's P-frame codec")):
        if anchor in methods:
            lines += _marks(curves, clips, anchor, what, [m for m in methods if m != anchor])
    lines += ["What it takes, means over clips and qualities, in seconds a frame:", ""]
    lines += ["| method | encoding | decoding |", "|---|---:|---:|"]
    for method in methods:
        own = [p for p in points if p.method == method]
        times = [np.mean([t / p.frames for t, p in ((getattr(p, k), p) for p in own)]) for k in _TIMES]
        lines.append(f"| {method} | {times[0]:.2f} | {times[1]:.2f} |")
    machines = "; ".join(dict.fromkeys(p.machine for p in points))
    protocols = "; ".join(dict.fromkeys(p.protocol for p in points))
    lines += ["", f"<sub>{protocols}. Measured on {machines}.</sub>", ""]
    return lines


def _marks(
    curves: Mapping[tuple[str, str], list[CurvePoint]], clips: list[str], anchor: str, what: str, others: list[str]
) -> list[str]:
    """Bits at the paper's marks, against those of a method."""
    lines = [f"Bits at the marks of NCM's paper, against the base codec {what}:", ""]
    lines += [f"| clip | mark | {' | '.join(others)} |", f"|---|---|{'---:|' * len(others)}"]
    for clip in clips:
        for metric, value, text in _MARKS:
            whole = rate_at(curves[clip, anchor], metric, value)
            rates = [rate_at(curves[clip, method], metric, value) for method in others]
            if whole and any(rates):
                cells = [_percent(100 * (rate / whole - 1)) if rate else "-" for rate in rates]
                lines.append(f"| {clip} | {text} | {' | '.join(cells)} |")
    return [*lines, ""]


_TIMES = ("encode_seconds", "decode_seconds")


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:+.1f} %"


# -- the figure


def _draw(path: Path, points: Sequence[CurvePoint]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    clips = list(dict.fromkeys((p.clip, p.base) for p in points))
    with matplotlib.rc_context({"font.size": 9}):
        figure, axes = pyplot.subplots(
            len(clips), 2, figsize=(9, 2.9 * len(clips)), layout="constrained", squeeze=False
        )
        for row, (clip, base) in zip(axes, clips, strict=True):
            for axis, metric, label in zip(row, ("psnr", "ms_ssim"), ("PSNR, dB", "MS-SSIM"), strict=True):
                for number, method in enumerate(METHODS):
                    own = sorted((p for p in points if (p.clip, p.base, p.method) == (clip, base, method)), key=_rate)
                    if own:
                        style = "--" if method.endswith("-own") else "-"
                        values = [getattr(p, metric) for p in own]
                        axis.plot(
                            [p.bpp for p in own], values, f"o{style}", color=f"C{number}", markersize=3.5, label=method
                        )
                axis.set_xscale("log")
                axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
                axis.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
                axis.xaxis.set_minor_formatter(NullFormatter())
                axis.set_xlabel("bits a pixel (log)")
                axis.set_ylabel(label)
                axis.set_title(f"{clip}, {base}")
                axis.grid(alpha=0.3, which="both")
            row[0].legend(fontsize=8)
        data = io.BytesIO()
        figure.savefig(data, format="png", dpi=110, metadata={"Software": None})
        pyplot.close(figure)
    write_atomically(path, data.getvalue())


def _picture(path: Path, tiles: Mapping[str, NDArray[np.uint8]]) -> None:
    """Pictures side by side, two a row, each with its name: their middle parts, at full size."""
    cells = []
    for name, picture in tiles.items():
        height, width = picture.shape[:2]
        h, w = min(height, 300), min(width, 480)
        top, left = (height - h) // 2, (width - w) // 2
        cell = np.ascontiguousarray(picture[top : top + h, left : left + w])
        cell[h - 22 :, : 9 * len(name) + 12] //= 4
        cv2.putText(cell, name, (6, h - 7), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, cv2.LINE_AA)
        cells.append(cell)
    if len(cells) % 2:
        cells.append(np.full_like(cells[0], 255))
    rows = [np.concatenate(cells[i : i + 2], axis=1) for i in range(0, len(cells), 2)]
    whole = np.ascontiguousarray(np.concatenate(rows)[..., ::-1])
    _, data = cv2.imencode(".jpg", whole, [cv2.IMWRITE_JPEG_QUALITY, 90])
    write_atomically(path, data.tobytes())


def _rate(point: CurvePoint) -> float:
    return point.bpp

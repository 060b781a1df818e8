"""Rate-distortion curves: the bits that each way of coding needs for which quality, on the same frames.

    clip ──► its first frames, lossless ──┬─► encode (method, quality) ──► a file: its size is the rate
                                          │         └──► decode ──► frames ──► PSNR, MS-SSIM
                                          └──────────────────────────────────► the true frames

    NAME.csv       a row for each clip, method and quality; rows of other runs are kept
    NAME.png       PSNR and MS-SSIM over bits per pixel (bpp), a row for each clip
    NAME-CLIP.jpg  a frame between two kept ones by each method, at the middle quality
    NAME.md        BD-rate against the base codec, bits saved at the qualities that NCM's paper names, times; also for
                   the classes of the HEVC test sequences

The rate is that of the whole file, container included; of an external codec it is the bitstream and the data that
restores the B frames. PSNR and MS-SSIM are of 8-bit RGB images, means over all frames.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from betwixt.codec.base_codec import find_base_codec
from betwixt.codec.decode import decode_video
from betwixt.codec.encode import encode_video
from betwixt.codec.external_codec import ExternalCodec
from betwixt.codec.rd_report import draw_comparison, draw_curves, markdown_report
from betwixt.codec.rd_table import METHODS, CurvePoint, read_points, sort_points, write_points
from betwixt.errors import InputError, UsageError
from betwixt.evaluation.metrics import Image8, ms_ssim, psnr, to_uint8
from betwixt.files import write_atomically
from betwixt.machine import describe_machine, import_library, require_torch
from betwixt.media.colour import RGBConverter
from betwixt.media.encoder_options import EncoderSettings
from betwixt.media.frames import planes
from betwixt.media.reader import Frame, Reader
from betwixt.media.source import open_source
from betwixt.media.timeline import parse_time
from betwixt.media.writer import VideoWriter
from betwixt.models.registry import DEFAULT_MODEL, choose_model

_MIN_FRAMES = 2
_MIN_SIDE = 176
"""MS-SSIM needs this many pixels."""


@dataclass(frozen=True)
class CurveRequest:
    """What to measure; fields without a comment are as in `encode_video`."""

    clips: tuple[str, ...]  # videos or folders of images; `PATH@T` begins at time T
    output: Path  # the outputs' path without a suffix
    methods: tuple[str, ...] = ("base", "bit-free", "bit-need")  # names out of `METHODS`, "base" first
    qualities: tuple[int, ...] = (22, 27, 32, 37)  # on the base encoder's scale
    base: str = "x265"
    preset: str | None = None  # its preset, the same for all methods
    p_codec: str | None = None  # the command of an external codec with I and P alone, in place of `base`
    b_codec: str | None = None  # the command of the same codec in the order I-B-P-B, for the method "base"
    frames: int = 33
    keep: int = 2
    intra: int = 32
    floor: float = -2.0  # as in `encode_video`, for the method "bit-free-floor"
    model: str = DEFAULT_MODEL
    weights: str | None = None
    codec_weights: str | None = None
    threads: int = 0
    resume: bool = False  # skip points that the table has already by the same protocol, model and weights

    def output_path(self, ending: str) -> Path:
        """An output: the name with this ending."""
        return self.output.with_name(self.output.name + ending)


@dataclass(frozen=True)
class _Clip:
    """The frames of a clip that are coded."""

    name: str  # the clip's name in the table
    protocol: str  # which frames they are
    lossless: Path  # a file of them
    truths: list[Image8]

    @property
    def shown_frame(self) -> int:
        """The frame of the comparison image: one between two kept ones, in the middle of the clip."""
        return min(len(self.truths) // 2 | 1, len(self.truths) - 1)


def measure_rd_curves(
    request: CurveRequest, progress: Callable[[str], None] = lambda text: None
) -> tuple[list[CurvePoint], list[str]]:
    """Measure, and write table, plot, comparison images and report; returns all points of the table, and notices.

    Raises:
        UsageError: for arguments that are wrong, or a library that is missing.
        InputError: if a clip cannot be used.
        OutputError: if an output cannot be written.
    """
    methods, notes = _check(request)
    table = request.output_path(".csv")
    points = {point.key: point for point in read_points(table)} if table.exists() else {}
    base = _base_name(request)
    weights = _codec_weights(request) if "bit-need" in methods else ""
    middle = sorted(request.qualities)[len(request.qualities) // 2]
    for path in request.clips:
        with tempfile.TemporaryDirectory(prefix="betwixt-rd-") as folder:
            clip = _prepare_clip(path, Path(folder) / "clip.mkv", request)
            shown: dict[str, Image8] = {}
            for quality in request.qualities:
                for method in methods:
                    conditions = _conditions(request, method, clip.protocol, weights)
                    known = points.get((clip.name, base, method, quality))
                    if request.resume and known and (known.protocol, known.model, known.weights) == conditions:
                        continue
                    progress(f"{clip.name}: {method}, {base} at {quality}")
                    point, frame = _measure(request, clip, method, quality, conditions, Path(folder))
                    points[point.key] = point
                    if quality == middle:
                        shown[f"{method}, {psnr(frame, clip.truths[clip.shown_frame]):.2f} dB"] = frame
                    write_points(table, points.values())  # after each point: they take long
            if len(shown) == len(methods):
                images = {"true": clip.truths[clip.shown_frame], **shown}
                draw_comparison(request.output_path(f"-{clip.name}.jpg"), images)
    ordered = sort_points(points.values())
    draw_curves(request.output_path(".png"), ordered)
    write_atomically(request.output_path(".md"), markdown_report(ordered))
    return ordered, notes


def _check(request: CurveRequest) -> tuple[list[str], list[str]]:
    """The methods that can be run, and notices; refuses a request that cannot work."""
    for library in ("bjontegaard", "matplotlib"):
        import_library(library, "rd-curve", "codec,evaluation")
    if not request.clips:
        raise UsageError("There are no clips: pass a video or a folder of images.")
    choose_model(request.model, request.weights)
    for method in request.methods:
        if method not in METHODS:
            raise UsageError(f"There is no method '{method}': choose from {', '.join(METHODS)}.")
    _check_external(request)
    if request.frames < _MIN_FRAMES:
        raise UsageError(f"{request.frames} frames have nothing between them: pass at least {_MIN_FRAMES}.")
    if len(set(request.qualities)) != len(request.qualities) or not request.qualities:
        raise UsageError("The qualities repeat, or there are none: pass e.g. 22,27,32,37.")
    if not request.output.parent.is_dir():
        raise UsageError(f"The folder {request.output.parent} does not exist: create it first.")
    names = [_parse_clip(clip)[2] for clip in request.clips]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"Two clips are called {name}, and the table identifies them by name: rename one.")
    methods, notes = list(dict.fromkeys(request.methods)), []
    if "bit-need" in methods:
        try:
            _codec_weights(request)
        except UsageError as error:
            if request.codec_weights is not None or len(methods) == 1:
                raise
            notes.append(f"bit-need is left out. {error}")
            methods.remove("bit-need")
    return methods, notes


_P_METHODS = ("base-p", "bit-free", "bit-free-floor", "bit-need")
"""The methods whose base stream has I and P frames alone, unless frames below the floor are sent."""


def _check_external(request: CurveRequest) -> None:
    """Refuse methods for which there is no command, where there is a command for others."""
    if request.p_codec is None and request.b_codec is None:
        return
    if request.preset is not None:
        raise UsageError("`preset` is for the base codecs of FFmpeg: a command has its own settings.")
    for method in request.methods:
        if _command(request, method) is None:
            needed = "`b_codec`" if method == "base" else "`p_codec`"
            hint = f"pass {needed}, or leave it out" if method in ("base", *_P_METHODS) else "leave it out"
            raise UsageError(f"There is no command for the method {method}: {hint}.")
        ExternalCodec(_command(request, method) or "")


def _command(request: CurveRequest, method: str) -> str | None:
    """The command of the external codec for a method, if there is one."""
    if method == "base":
        return request.b_codec
    return request.p_codec if method in _P_METHODS else None


def _base_name(request: CurveRequest) -> str:
    """The base codec and its preset, or the name of the external codec's program."""
    if (command := request.p_codec or request.b_codec) is not None:
        return ExternalCodec(command).name
    codec, preset = find_base_codec(request.base, request.preset)
    return f"{codec.name} {preset}"


def _codec_weights(request: CurveRequest) -> str:
    require_torch("The mode bit-need")
    from betwixt.codec.coder import load_coder

    return load_coder(request.codec_weights).weights


def _conditions(request: CurveRequest, method: str, protocol: str, weights: str) -> tuple[str, str, str]:
    """What else a point depends on: protocol, the model that synthesizes, the weights of the network that codes."""
    mode = METHODS[method]["mode"]
    if METHODS[method].get("floor"):
        protocol += f", floor {request.floor:g} dB"
    return protocol, "none" if mode == "base" else choose_model(request.model), weights if mode == "bit-need" else ""


# -- measuring


def _parse_clip(clip: str) -> tuple[str, Fraction | None, str]:
    """The file or folder of a clip, the time when it begins, and its name in the table."""
    location, start = clip, None
    if not Path(clip).exists() and "@" in clip:
        location, _, moment = clip.rpartition("@")
        start = parse_time(moment)
    return location, start, Path(location).stem + (f"@{float(start):g}" if start else "")


def _prepare_clip(clip: str, target: Path, request: CurveRequest) -> _Clip:
    """Write the clip's first frames, or those from a time on, losslessly in 4:2:0 to `target`."""
    location, start, name = _parse_clip(clip)
    source = open_source(location, start=start)
    try:
        info = source.info
        if min(info.width, info.height) < _MIN_SIDE:
            raise InputError(f"{clip} is {info.width}x{info.height}: MS-SSIM needs {_MIN_SIDE} pixels a side.")
        pixel_format = "yuv420p10le" if info.depth > 8 else "yuv420p"
        settings = EncoderSettings(codec="ffv1", pixel_format=pixel_format)
        with VideoWriter(target, info, info.rate, settings=settings) as writer:
            begin = (info.start if isinstance(source, Reader) else 0) + (start or 0)
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
    if count < _MIN_FRAMES:
        raise InputError(f"{clip} has {count} frames from there on: at least {_MIN_FRAMES} are needed.")
    which = f"from {float(start):g} s" if start else "from the beginning"
    protocol = f"{count} frames {which}, I frames {request.intra} apart, one of {request.keep} kept"
    return _Clip(name, protocol, target, _read_images(target))


def _read_images(path: Path) -> list[Image8]:
    with Reader(path, interlaced="ignore") as reader:
        info = reader.info
        to_rgb = RGBConverter(info.pixel_format, info.width, info.height, info.colour).to_rgb
        return [to_uint8(to_rgb(planes(item.video))) for item in reader if isinstance(item, Frame)]


def _measure(
    request: CurveRequest, clip: _Clip, method: str, quality: int, conditions: tuple[str, str, str], folder: Path
) -> tuple[CurvePoint, Image8]:
    """Encode and decode a clip; the point, and the frame for the comparison image."""
    coded, restored = folder / "coded.mkv", folder / "restored.mkv"
    options = dict(METHODS[method])
    if options.pop("floor", False):
        options["floor"] = request.floor
    if options["mode"] == "bit-need":
        options["codec_weights"] = request.codec_weights
    command = _command(request, method)
    base: str | ExternalCodec = request.base if command is None else ExternalCodec(command)
    summary = encode_video(
        clip.lossless, coded, base=base, preset=request.preset, quality=quality, keep=request.keep,
        intra=request.intra, model=request.model, weights=request.weights, threads=request.threads, overwrite=True,
        **options,
    )  # fmt: skip
    began = time.monotonic()
    if options["mode"] != "base":
        decode_video(
            coded, restored, weights=request.weights, codec_weights=options.get("codec_weights"), codec="ffv1",
            threads=request.threads, overwrite=True,
        )  # fmt: skip
    frames = _read_images(coded if options["mode"] == "base" else restored)
    decode_seconds = time.monotonic() - began
    if len(frames) != len(clip.truths):
        raise InputError(f"{clip.name}: {method} gave {len(frames)} frames for {len(clip.truths)}.")
    scores = [psnr(frame, truth) for frame, truth in zip(frames, clip.truths, strict=True)]
    similarity = [ms_ssim(frame, truth) for frame, truth in zip(frames, clip.truths, strict=True)]
    last = len(scores) - 1
    kept = [score for number, score in enumerate(scores) if number % request.keep == 0 or number == last]
    between = [score for number, score in enumerate(scores) if number % request.keep and number != last]
    height, width = clip.truths[0].shape[:2]
    protocol, _, weights = conditions
    point = CurvePoint(
        clip=clip.name,
        base=_base_name(request),
        method=method,
        quality=quality,
        frames=len(scores),
        size=f"{width}x{height}",
        bytes=summary.size,
        bpp=8 * summary.size / (height * width * len(scores)),
        psnr=float(np.mean(scores)),
        ms_ssim=float(np.mean(similarity)),
        psnr_sent=float(np.mean(kept)),
        psnr_between=float(np.mean(between)) if between else math.nan,
        sent=summary.sent,
        encode_seconds=summary.seconds,
        decode_seconds=decode_seconds,
        model=summary.model,
        weights=weights,
        protocol=protocol,
        date=time.strftime("%Y-%m-%d"),
        machine=describe_machine(),
    )
    return point, frames[clip.shown_frame]

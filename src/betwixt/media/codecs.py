"""Chooses the encoder of an output, its pixel format and its options.

    codec as the user names it, container, source ── choose_encoder ──► Encoder
    Encoder, the source's pixel format ── pixel_formats ──► the pixel format to encode
    Encoder, quality, HDR metadata ── options_for ──► FFmpeg options

`resolve_encoding` does all three. `VideoWriter` calls it, and so do commands that check their options before they open
an output. A table states for each encoder how its quality is set and which options it needs to be fast and compatible.
"""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import av.error

from betwixt.errors import UsageError
from betwixt.media.frames import has_alpha, subsampling
from betwixt.media.pixel_formats import pixel_format_for
from betwixt.media.probe import HDR, VideoInfo


@dataclass(frozen=True)
class Encoder:
    """How to use one of FFmpeg's encoders."""

    name: str  # FFmpeg's name
    quality_option: str = ""  # the option that sets the quality; "" if there is none
    quality: int = 0  # its default, visually lossless for most material
    best: int = 0  # its lowest value (lower is better)
    worst: int = 0  # its highest value
    lossless: dict[str, str] | None = None  # options for lossless output; None if the encoder has no lossless mode
    options: dict[str, str] = field(default_factory=dict)  # options that are always set
    min_side: int = 1  # the smallest width and height that it encodes, in pixels


_ENCODERS = {
    e.name: e
    for e in (
        Encoder("libx264", "crf", 17, 0, 51, {"qp": "0"}, {"preset": "medium"}),
        Encoder("libx265", "crf", 18, 0, 51, {"x265-params": "lossless=1"}, {"preset": "medium"}, 16),
        Encoder("libsvtav1", "crf", 24, 1, 63, {"svtav1-params": "lossless=1"}, {"preset": "8"}, 4),
        Encoder(
            "libvpx-vp9", "crf", 24, 0, 63, {"lossless": "1"}, {"deadline": "good", "cpu-used": "4", "row-mt": "1"}
        ),
        Encoder("libvpx", "crf", 10, 4, 63, None, {"deadline": "good", "cpu-used": "4"}),
        Encoder("ffv1", lossless={}, options={"level": "3", "slicecrc": "1"}),
        Encoder("utvideo", lossless={}),
        Encoder("huffyuv", lossless={}),
        Encoder("rawvideo", lossless={}),
        Encoder("wrapped_avframe", lossless={}),
        Encoder("png", lossless={}),
        Encoder("qtrle", lossless={}),
        Encoder("prores_ks", "", options={"vendor": "apl0"}),
        Encoder("mpeg4", "qmin", 3, 1, 31),
        Encoder("mpeg2video", "qmin", 3, 1, 31),
        Encoder("mjpeg", "qmin", 3, 1, 31, None, {"strict": "unofficial"}),
        Encoder("h264_nvenc", "cq", 19, 0, 51, {"tune": "lossless"}, {"rc": "vbr", "preset": "p5"}),
        Encoder("hevc_nvenc", "cq", 20, 0, 51, {"tune": "lossless"}, {"rc": "vbr", "preset": "p5"}),
        Encoder("av1_nvenc", "cq", 26, 0, 63, None, {"rc": "vbr", "preset": "p5"}),
    )
}

_SHORT_NAMES = {
    "h264": "libx264", "x264": "libx264", "avc": "libx264", "hevc": "libx265", "h265": "libx265", "x265": "libx265",
    "av1": "libsvtav1", "svtav1": "libsvtav1", "vp9": "libvpx-vp9", "vp8": "libvpx", "prores": "prores_ks",
    "mpeg2": "mpeg2video", "raw": "rawvideo",
}  # fmt: skip

_LOSSLESS_SOURCES = ("ffv1", "huffyuv", "utvideo", "rawvideo")

HDR_OPTIONS = {
    "libx264": ("x264-params", "mastering-display", "cll"),
    "libx265": ("x265-params", "master-display", "max-cll"),
    "libsvtav1": ("svtav1-params", "mastering-display", "content-light"),
}
"""Encoders that write static HDR metadata: the option with their parameters, and the two parameters' names."""

_CUTREE_MIN_SIDE = 128
"""In pixels: for frames with a shorter side, x265's cutree is switched off, as it writes beyond its memory there."""

_FFV1_SLICED_SIDE = 32
"""In pixels: frames with a shorter side are coded by FFV1 as one slice, as it cannot divide every small size."""

_FFV1_LARGE_SIDE = 8192
"""In pixels: beyond it, FFmpeg's FFV1 encoder chooses more slices than its decoder takes."""

_SUGGESTED = "try h264, hevc, av1, vp9, prores or ffv1."

_CONTAINERS = {
    ".mp4": "mp4", ".m4v": "mp4", ".mkv": "matroska", ".mov": "mov", ".webm": "webm", ".avi": "avi", ".ts": "mpegts",
    ".m2ts": "mpegts", ".mts": "mpegts", ".nut": "nut", ".y4m": "yuv4mpegpipe", ".gif": "gif", ".mxf": "mxf",
    ".flv": "flv", ".ogv": "ogg", ".3gp": "3gp",
}  # fmt: skip


def container_of(path: Path) -> str:
    """FFmpeg's name of the container that the suffix of `path` asks for.

    Raises:
        UsageError: if the suffix is unknown.
    """
    suffix = path.suffix.lower()
    if suffix in _CONTAINERS:
        return _CONTAINERS[suffix]
    known = " ".join(sorted(_CONTAINERS))
    subject = f"The suffix '{suffix}'" if suffix else f"'{path.name}' has no suffix, which"
    raise UsageError(f"{subject} does not say which container to write: use one of {known}.")


def choose_encoder(codec: str | None, container: str, source: VideoInfo) -> Encoder:
    """Choose the encoder for an output.

    Args:
        codec: A common name (h264, hevc, ffv1) or any encoder of FFmpeg (libx265); None for the usual one: VP9 in
            WebM; otherwise HEVC for 10 bit or HDR, FFV1 for lossless sources that stay in Matroska, H.264 for the rest;
            with alpha one that keeps it, if the container has one.
        container: FFmpeg's name of the output's container.
        source: The input.

    Raises:
        UsageError: if there is no such encoder, or it cannot be used with the container.
    """
    if codec is None:
        return _usual_encoder(container, source)
    name = _SHORT_NAMES.get(codec.lower(), codec)
    try:
        found = av.Codec(name, "w")
    except (av.error.FFmpegError, ValueError):
        near = difflib.get_close_matches(name, sorted({*_SHORT_NAMES, *_ENCODERS}), 3, 0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else _SUGGESTED
        raise UsageError(f"There is no encoder '{codec}': {hint}") from None
    if found.type != "video":
        raise UsageError(f"'{codec}' encodes {found.type}, not video: {_SUGGESTED}")
    if container == "yuv4mpegpipe" and name not in ("wrapped_avframe", "rawvideo"):
        raise UsageError(f"A pipe and .y4m carry uncompressed frames, not {codec}: leave `codec` out.")
    encoder = _ENCODERS.get(name, Encoder(name))
    if min(source.width, source.height) < encoder.min_side:
        raise UsageError(
            f"{name} cannot encode {source.width}x{source.height}: it needs {encoder.min_side} pixels a side or more. "
            "Choose h264, vp9 or ffv1 as `codec`."
        )
    return encoder


def _usual_encoder(container: str, source: VideoInfo) -> Encoder:
    encoder = _ENCODERS[_usual_name(container, source)]
    if min(source.width, source.height) < encoder.min_side:
        return _ENCODERS["libvpx-vp9" if container == "webm" else "libx264"]
    return encoder


def _usual_name(container: str, source: VideoInfo) -> str:
    deep = source.depth > 8
    if is_transparent(source) and (name := _usual_alpha_encoder(container, source)):
        return name
    if container == "webm":
        return "libsvtav1" if deep else "libvpx-vp9"
    if container == "yuv4mpegpipe":
        return "wrapped_avframe"
    if source.codec in _LOSSLESS_SOURCES and container in ("matroska", "nut"):
        return "ffv1"
    if container == "ogg":
        return "libvpx"
    if container == "avi" and deep:
        return "ffv1"
    if (deep or source.colour.hdr) and container in ("mp4", "matroska", "mov", "mpegts"):
        return "libx265"
    return "libx264"


def _usual_alpha_encoder(container: str, source: VideoInfo) -> str | None:
    """The usual encoder for a source with alpha; None for a container without one that keeps it."""
    if container == "webm" or (container == "matroska" and source.codec in ("vp8", "vp9")):
        return "libvpx-vp9"
    if container == "mov":
        return source.codec if source.codec in ("qtrle", "png") else "prores_ks"
    return "ffv1" if container in ("matroska", "nut", "avi") else None


def is_transparent(source: VideoInfo) -> bool:
    """Whether a source has alpha. The frames of a GIF always come with it, transparent or not: they do not count."""
    return has_alpha(source.pixel_format) and source.codec != "gif"


class Encoding(NamedTuple):
    """How an output is encoded, with FFmpeg's options."""

    encoder: Encoder
    pixel_format: str
    options: dict[str, str]


def resolve_encoding(
    codec: str | None, container: str, quality: str | None, pixel_format: str | None, source: VideoInfo, threads: int
) -> Encoding:
    """Choose how to encode an output; the functions that it calls explain the arguments.

    Raises:
        UsageError: if a codec, quality or pixel format does not exist or does not fit.
    """
    encoder = choose_encoder(codec, container, source)
    if not carries_dolby_vision(encoder, container, source):
        check_has_base_layer(source)
    chosen = pixel_format_for(encoder.name, pixel_format, source.pixel_format, source.width, source.height, container)
    return Encoding(encoder, chosen, options_for(encoder, quality, source, chosen, threads))


# -- dynamic HDR metadata


def carries_hdr10_plus(encoder: Encoder) -> bool:
    """Whether the HDR10+ metadata of frames is written beside what an encoder makes (`media.dynamic_hdr`)."""
    return encoder.name == "libx265"


def carries_dolby_vision(encoder: Encoder, container: str, source: VideoInfo) -> bool:
    """Whether a source's Dolby Vision metadata is written: of one layer, as HEVC, in a container that states it."""
    stated = source.dolby_vision == 8 or (source.dolby_vision == 5 and source.container != "hevc")
    return stated and encoder.name == "libx265" and container in ("mp4", "matroska")


def check_has_base_layer(source: VideoInfo) -> None:
    """Refuse Dolby Vision whose frames have wrong colours without its metadata.

    Raises:
        UsageError: for profile 5.
    """
    if source.dolby_vision == 5:
        raise UsageError(
            f"{source.name} is Dolby Vision of profile 5, whose colours are wrong without its metadata: write HEVC to "
            ".mp4 or .mkv, which keeps them, or convert it to another profile first."
        )


# -- options


def options_for(
    encoder: Encoder, quality: str | None, source: VideoInfo, pixel_format: str, threads: int
) -> dict[str, str]:
    """The encoder's options: quality, threads, HDR metadata, and what players require.

    Args:
        encoder: The encoder.
        quality: A number on the encoder's own scale (lower is better), "lossless", or None for the default.
        source: The input.
        pixel_format: As encoded.
        threads: 0 lets the encoder choose.

    Raises:
        UsageError: if the quality does not fit the encoder.
    """
    options = encoder.options | _quality_options(encoder, quality)
    if threads:
        options["threads"] = str(threads)
    if encoder.name == "prores_ks":
        options["profile"] = "4444" if "444" in pixel_format or "gbr" in pixel_format else "hq"
    if encoder.name == "libvpx" and has_alpha(pixel_format):
        options["auto-alt-ref"] = "0"  # VP8's alpha would not be in step
    if encoder.name == "ffv1" and min(source.width, source.height) < _FFV1_SLICED_SIDE:
        options["slices"] = "1"
    elif encoder.name == "ffv1" and max(source.width, source.height) > _FFV1_LARGE_SIDE:
        options["slices"] = "144"
    if encoder.name == "wrapped_avframe" and subsampling(pixel_format) == (2, 2):
        options["chroma_sample_location"] = source.colour.location  # y4m takes 4:2:0 as centred otherwise
    if encoder.name not in HDR_OPTIONS:
        return options
    key, display_key, light_key = HDR_OPTIONS[encoder.name]
    is_x265, is_svt = encoder.name == "libx265", encoder.name == "libsvtav1"
    parameters = [options[key]] if key in options else []
    if is_x265:
        parameters.append("log-level=0")
    parameters += _hdr_parameters(source.hdr, display_key, light_key, in_decimals=is_svt)
    if is_x265 and source.hdr is not None:
        parameters += ["hdr10=1", "repeat-headers=1"]
    location = {"center": 1, "topleft": 2, "top": 3}.get(source.colour.location)  # left is the default
    if location is not None and not is_svt:
        parameters.append(f"chromaloc={location}")
    if is_x265 and threads:
        parameters.append(f"pools={threads}")
    if is_x265 and min(source.width, source.height) < _CUTREE_MIN_SIDE:
        parameters.append("no-cutree=1")
    if is_svt:
        os.environ.setdefault("SVT_LOG", "1")  # errors only; it writes its settings to standard error otherwise
    if parameters:
        options[key] = ":".join(parameters)
    return options


def _quality_options(encoder: Encoder, quality: str | None) -> dict[str, str]:
    if quality is not None and quality.lower() == "lossless":
        if encoder.lossless is None:
            raise UsageError(f"{encoder.name} cannot encode losslessly: choose ffv1, h264 or hevc as `codec`.")
        return encoder.lossless
    if not encoder.quality_option:
        if quality is not None:
            raise UsageError(f"{encoder.name} has no quality setting: leave `quality` out.")
        return {}
    value = encoder.quality
    if quality is not None:
        limits = f"give {encoder.best} (best) to {encoder.worst}"
        try:
            value = int(quality)
        except ValueError:
            raise UsageError(f"The quality '{quality}' is not a number: {limits}, or lossless.") from None
        if not encoder.best <= value <= encoder.worst:
            raise UsageError(f"The quality {value} does not fit {encoder.name}: {limits}.")
    options = {encoder.quality_option: str(value)}
    if encoder.quality_option == "qmin":
        options["qmax"] = str(value)
    if encoder.name == "libvpx-vp9" or encoder.name.endswith("nvenc"):
        options["b"] = "0"
    elif encoder.name == "libvpx":
        options["b"] = "20M"
    return options


def _hdr_parameters(hdr: HDR | None, display_key: str, light_key: str, in_decimals: bool) -> list[str]:
    """The mastering display, as G(x,y)B(x,y)R(x,y)WP(x,y)L(max,min), and the content light level, as MaxCLL,MaxFALL.

    Numbers are decimals, or integers in units of 1/50000 for chromaticities and of 1/10000 cd/m2 for luminance.
    """

    def pair(letters: str, values: tuple[Fraction, ...], unit: int) -> str:
        numbers = (f"{float(value):.4f}" if in_decimals else str(round(value * unit)) for value in values)
        return f"{letters}({','.join(numbers)})"

    parameters = []
    if hdr is not None and hdr.primaries:
        red, green, blue, white = hdr.primaries
        low, high = hdr.luminance or (Fraction(0), Fraction(0))
        points = (("G", green), ("B", blue), ("R", red), ("WP", white))
        display = "".join(pair(letters, point, 50000) for letters, point in points)
        parameters.append(f"{display_key}={display}{pair('L', (high, low), 10000)}")
    if hdr is not None and hdr.content_light:
        parameters.append("{}={},{}".format(light_key, *hdr.content_light))
    return parameters

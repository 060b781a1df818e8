"""Encoders: which one, at what quality, in which pixel format.

One table states for each encoder how quality is set, and what it needs to be quick and compatible. `choose_encoder`
picks the encoder for an output; `pixel_format_for` the format nearest to the source's that the encoder takes, never
with fewer bits or less chroma than the source has unless there is no other.
"""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass, field
from pathlib import Path

import av
import av.error

from betwixt.errors import UsageError
from betwixt.media.frames import bit_depth, has_alpha, is_rgb
from betwixt.media.probe import HDR, VideoInfo

__all__ = [
    "Encoder",
    "carries_hdr",
    "choose_encoder",
    "container_of",
    "options_for",
    "pixel_format_for",
    "resolve_encoding",
]


@dataclass(frozen=True)
class Encoder:
    """How to drive one of FFmpeg's encoders.

    Attributes:
        name: FFmpeg's name.
        quality_option: The option that quality is given by ("" where there is none).
        quality: Its default, visually lossless for most material.
        best: The lowest value it takes (lower is better).
        worst: The highest value it takes.
        lossless: Options for bit-exact output; None if it cannot.
        options: What is always set.
    """

    name: str
    quality_option: str = ""
    quality: int = 0
    best: int = 0
    worst: int = 0
    lossless: dict[str, str] | None = None
    options: dict[str, str] = field(default_factory=dict)


_ENCODERS = {
    e.name: e
    for e in (
        Encoder("libx264", "crf", 17, 0, 51, {"qp": "0"}, {"preset": "medium"}),
        Encoder("libx265", "crf", 18, 0, 51, {"x265-params": "lossless=1"}, {"preset": "medium"}),
        Encoder("libsvtav1", "crf", 24, 1, 63, {"svtav1-params": "lossless=1"}, {"preset": "8"}),
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
    "h264": "libx264",
    "x264": "libx264",
    "avc": "libx264",
    "hevc": "libx265",
    "h265": "libx265",
    "x265": "libx265",
    "av1": "libsvtav1",
    "svtav1": "libsvtav1",
    "vp9": "libvpx-vp9",
    "vp8": "libvpx",
    "prores": "prores_ks",
    "mpeg2": "mpeg2video",
    "raw": "rawvideo",
}

_Y4M_FORMATS = [
    "gray", "yuv411p", "yuv420p", "yuv422p", "yuv444p", "gray10le", "yuv420p10le", "yuv422p10le", "yuv444p10le",
    "yuv420p12le", "yuv422p12le", "yuv444p12le", "yuv420p16le", "yuv422p16le", "yuv444p16le",
]  # fmt: skip

_SMALL = 128
"""Pictures with a side shorter than this are not given to x265's cutree."""

# made for players, which expect YUV and mostly 4:2:0
_FOR_PLAYERS = ("libx264", "libx265", "libsvtav1", "libvpx-vp9", "libvpx", "mpeg4", "mpeg2video")

_CONTAINERS = {
    ".mp4": "mp4",
    ".m4v": "mp4",
    ".mkv": "matroska",
    ".mov": "mov",
    ".webm": "webm",
    ".avi": "avi",
    ".ts": "mpegts",
    ".m2ts": "mpegts",
    ".mts": "mpegts",
    ".nut": "nut",
    ".y4m": "yuv4mpegpipe",
    ".gif": "gif",
    ".mxf": "mxf",
    ".flv": "flv",
    ".ogv": "ogg",
    ".3gp": "3gp",
}


def container_of(path: Path) -> str:
    """FFmpeg's name of the container that `path` asks for by its suffix.

    Raises:
        UsageError: if the suffix is unknown.
    """
    suffix = path.suffix.lower()
    if suffix in _CONTAINERS:
        return _CONTAINERS[suffix]
    known = " ".join(sorted(_CONTAINERS))
    what = f"The suffix '{suffix}'" if suffix else f"'{path.name}' has no suffix, which"
    raise UsageError(f"{what} does not say which container to write: use one of {known}.")


def choose_encoder(codec: str | None, container: str, source: VideoInfo) -> Encoder:
    """The encoder for an output.

    Args:
        codec: What the user asked for (`h264`, `libx265`, `ffv1`, any encoder of FFmpeg's), or None for the usual one:
            VP9 in WebM; otherwise HEVC for 10 bit or HDR, FFV1 for lossless sources that stay in Matroska, H.264 for
            the rest.
        container: FFmpeg's name of the output's container.
        source: The input.

    Raises:
        UsageError: if there is no such encoder or the container does not take it.
    """
    if codec is None:
        lossless = source.codec in ("ffv1", "huffyuv", "utvideo", "rawvideo")
        if container == "webm":
            name = "libsvtav1" if source.depth > 8 else "libvpx-vp9"
        elif container == "yuv4mpegpipe":
            name = "wrapped_avframe"
        elif lossless and container in ("matroska", "nut"):
            name = "ffv1"
        elif container == "ogg":
            name = "libvpx"
        elif container == "avi" and source.depth > 8:
            name = "ffv1"
        elif (source.depth > 8 or source.colour.hdr) and container in ("mp4", "matroska", "mov", "mpegts"):
            name = "libx265"
        else:
            name = "libx264"
    else:
        name = _SHORT_NAMES.get(codec.lower(), codec)
    try:
        found = av.Codec(name, "w")
    except (av.error.FFmpegError, ValueError):
        names = sorted({*_SHORT_NAMES, *_ENCODERS})
        near = difflib.get_close_matches(name, names, 3, 0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else "try h264, hevc, av1, vp9, prores or ffv1."
        raise UsageError(f"There is no encoder '{codec}': {hint}") from None
    if found.type != "video":
        raise UsageError(f"'{codec}' encodes {found.type}, not video: try h264, hevc, av1, vp9, prores or ffv1.")
    if container == "yuv4mpegpipe" and name not in ("wrapped_avframe", "rawvideo"):
        raise UsageError(f"A pipe and .y4m carry frames that are not encoded, not {codec}: leave --codec out.")
    return _ENCODERS.get(name, Encoder(name))


def resolve_encoding(
    codec: str | None, container: str, quality: str | None, pixel_format: str | None, source: VideoInfo, threads: int
) -> tuple[str, str]:
    """The name of the encoder and the pixel format that an output gets, its quality checked.

    Raises:
        UsageError: as `choose_encoder`, `pixel_format_for` and `options_for`.
    """
    encoder = choose_encoder(codec, container, source)
    chosen = pixel_format_for(encoder, pixel_format, source.pixel_format, source.width, source.height)
    options_for(encoder, quality, source, chosen, threads)
    return encoder.name, chosen


def pixel_format_for(encoder: Encoder, wanted: str | None, source: str, width: int, height: int) -> str:
    """The pixel format to encode in: the wanted one, else the one nearest to the source's that the encoder takes.

    H.264 and HEVC cannot code an odd width or height with halved chroma; there, the chroma is kept whole instead.

    Raises:
        UsageError: if the encoder does not take the wanted format.
    """
    names = [f.name for f in (av.Codec(encoder.name, "w").video_formats or [])]
    if encoder.name == "libx265":
        names = [name for name in names if not name.startswith("yuva")]  # named, but not every build encodes alpha
    if encoder.name == "wrapped_avframe":
        names = _Y4M_FORMATS
    if wanted is not None:
        try:
            av.VideoFormat(wanted, width, height)
        except ValueError:
            raise UsageError(f"There is no pixel format '{wanted}': try yuv420p, yuv420p10le or yuv444p.") from None
        if names and wanted not in names:
            raise UsageError(f"{encoder.name} does not take the pixel format {wanted}: it takes {', '.join(names)}.")
        return wanted
    odd_x = width % 2 == 1 and encoder.name.startswith(("libx26", "h264", "hevc"))
    odd_y = height % 2 == 1 and encoder.name.startswith(("libx26", "h264", "hevc"))
    if not names:
        return source
    if source in names and not (is_rgb(source) and encoder.name in _FOR_PLAYERS) and not _halves(source, odd_x, odd_y):
        return source
    usable = [n for n in names if not _halves(n, odd_x, odd_y)] or names
    return min(usable, key=lambda n: _distance(source, n, encoder.name))


def _halves(name: str, odd_x: bool, odd_y: bool) -> bool:
    """Whether the format's chroma does not fit an odd width or height."""
    sub_x, sub_y = _subsampling(name)
    return (odd_x and sub_x > 1) or (odd_y and sub_y > 1)


def _subsampling(name: str) -> tuple[int, int]:
    fmt = av.VideoFormat(name, 64, 64)
    parts = fmt.components
    if len(parts) < 3:
        return 1, 1
    return 64 // parts[1].width, 64 // parts[1].height


def _distance(source: str, target: str, encoder: str) -> tuple[int, ...]:
    """How far `target` is from `source`: what would be lost counts most, then what would be added for nothing."""
    depth, wanted = bit_depth(target), bit_depth(source)
    sx, sy = _subsampling(target)
    wx, wy = _subsampling(source)
    if is_rgb(source) and not is_rgb(target):
        # video players expect 4:2:0; lossless and intermediate codecs keep the colour whole
        wx, wy = (2, 2) if encoder in _FOR_PLAYERS else (1, 1)
    grey = len(av.VideoFormat(source, 64, 64).components) < 3
    return (
        int(depth < wanted),
        int(has_alpha(source) and not has_alpha(target)),
        int((sx, sy) > (wx, wy)) if not grey else 0,
        int(is_rgb(target) if encoder in _FOR_PLAYERS else is_rgb(source) != is_rgb(target)),
        int(grey and (sx, sy) != (2, 2)),
        int((sx, sy) != (wx, wy)),
        abs(depth - wanted),
        int(has_alpha(target) and not has_alpha(source)),
        int(target.startswith("yuvj") != source.startswith("yuvj")),
        int(target.startswith(("nv", "p0"))),
    )


def options_for(
    encoder: Encoder, quality: str | None, source: VideoInfo, pixel_format: str, threads: int
) -> dict[str, str]:
    """The encoder's options: quality, HDR metadata, what compatibility asks for.

    Args:
        encoder: Which one.
        quality: A number on the encoder's own scale (lower is better), "lossless", or None for the default.
        source: The input.
        pixel_format: What will be encoded.
        threads: How many threads it may use; 0 for its own choice.

    Raises:
        UsageError: if the quality does not fit the encoder.
    """
    options = dict(encoder.options)
    if quality is not None and quality.lower() == "lossless":
        if encoder.lossless is None:
            raise UsageError(f"{encoder.name} cannot encode losslessly: use --codec ffv1, h264 or hevc.")
        options |= encoder.lossless
    elif encoder.quality_option:
        value = encoder.quality if quality is None else _number(quality, encoder)
        options[encoder.quality_option] = str(value)
        if encoder.quality_option == "qmin":
            options["qmax"] = str(value)
        if encoder.name in ("libvpx", "libvpx-vp9"):
            options["b"] = "0" if encoder.name == "libvpx-vp9" else "20M"
        if encoder.name.endswith("nvenc"):
            options["b"] = "0"
    elif quality is not None:
        raise UsageError(f"{encoder.name} has no quality setting: leave --quality out.")
    if threads:
        options["threads"] = str(threads)
    if encoder.name == "libx265":
        _extend(options, "x265-params", ["log-level=0", *_x265_hdr(source.hdr), *_chroma("chromaloc", source)])
        if threads:
            _extend(options, "x265-params", [f"pools={threads}"])
        if min(source.width, source.height) < _SMALL:
            # Its look at how blocks depend on each other writes beyond its memory in pictures of a few blocks.
            _extend(options, "x265-params", ["no-cutree=1"])
    elif encoder.name == "libx264":
        _extend(options, "x264-params", [*_x264_hdr(source.hdr), *_chroma("chromaloc", source)])
    elif encoder.name == "libsvtav1":
        os.environ.setdefault("SVT_LOG", "1")  # errors only; it writes its settings to standard error otherwise
        _extend(options, "svtav1-params", _svt_hdr(source.hdr))
    if encoder.name == "prores_ks":
        options["profile"] = "4444" if "444" in pixel_format or "gbr" in pixel_format else "hq"
    return options


def carries_hdr(encoder: Encoder) -> bool:
    """Whether the encoder writes static HDR metadata."""
    return encoder.name in ("libx264", "libx265", "libsvtav1")


def _number(quality: str, encoder: Encoder) -> int:
    try:
        value = int(quality)
    except ValueError:
        raise UsageError(
            f"The quality '{quality}' is not a number: give {encoder.best} (best) to {encoder.worst}, or lossless."
        ) from None
    if not encoder.best <= value <= encoder.worst:
        raise UsageError(
            f"The quality {value} does not fit {encoder.name}: give {encoder.best} (best) to {encoder.worst}."
        )
    return value


def _extend(options: dict[str, str], key: str, parts: list[str]) -> None:
    joined = ":".join([*([options[key]] if key in options else []), *parts])
    if joined:
        options[key] = joined


def _chroma(key: str, source: VideoInfo) -> list[str]:
    places = {"left": 0, "center": 1, "topleft": 2, "top": 3}
    place = places.get(source.colour.location, 0)
    return [f"{key}={place}"] if place else []


def _display(hdr: HDR, unit_xy: int, unit_light: int) -> str:
    """The mastering display as x264 and x265 write it: G(x,y)B(x,y)R(x,y)WP(x,y)L(max,min)."""
    assert hdr.primaries is not None
    red, green, blue, white = (tuple(round(v * unit_xy) for v in xy) for xy in hdr.primaries)
    text = "".join(f"{n}({x},{y})" for n, (x, y) in (("G", green), ("B", blue), ("R", red), ("WP", white)))
    low, high = hdr.luminance or (0, 0)
    return f"{text}L({round(high * unit_light)},{round(low * unit_light)})"


def _x265_hdr(hdr: HDR | None) -> list[str]:
    if hdr is None:
        return []
    parts = [f"master-display={_display(hdr, 50000, 10000)}"] if hdr.primaries else []
    if hdr.content_light:
        parts.append("max-cll={},{}".format(*hdr.content_light))
    return [*parts, "hdr10=1", "repeat-headers=1"]


def _x264_hdr(hdr: HDR | None) -> list[str]:
    if hdr is None:
        return []
    parts = [f"mastering-display={_display(hdr, 50000, 10000)}"] if hdr.primaries else []
    if hdr.content_light:
        parts.append("cll={},{}".format(*hdr.content_light))
    return parts


def _svt_hdr(hdr: HDR | None) -> list[str]:
    if hdr is None:
        return []
    parts = []
    if hdr.primaries:
        red, green, blue, white = hdr.primaries
        named = (("G", green), ("B", blue), ("R", red), ("WP", white))
        text = "".join(f"{n}({float(x):.4f},{float(y):.4f})" for n, (x, y) in named)
        low, high = hdr.luminance or (0, 0)
        parts.append(f"mastering-display={text}L({float(high):.4f},{float(low):.4f})")
    if hdr.content_light:
        parts.append("content-light={},{}".format(*hdr.content_light))
    return parts

"""Chooses the encoder of an output.

A table states for each encoder how its quality and its speed are set, and which options it needs to be fast and
compatible.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import av
import av.error

from betwixt.errors import UsageError, did_you_mean
from betwixt.media.frames import has_alpha
from betwixt.media.probe import VideoInfo


@dataclass(frozen=True)
class Encoder:
    """How to use one of FFmpeg's encoders."""

    name: str  # FFmpeg's name
    quality_options: tuple[str, ...] = ()  # the options that set the quality; empty if there are none
    quality: int = 0  # its default, visually lossless for most material
    best: int = 0  # its best value
    worst: int = 0  # its worst value
    lossless: dict[str, str] | None = None  # options for lossless output; None if the encoder has no lossless mode
    options: dict[str, str] = field(default_factory=dict)  # options that are always set
    min_side: int = 1  # the smallest width and height that it encodes, in pixels
    with_quality: dict[str, str] = field(default_factory=dict)  # options that are set beside the quality
    with_bitrate: dict[str, str] = field(default_factory=dict)  # options that are set beside the bit rate
    quality_unit: int = 1  # by how much a step of the quality changes its option
    preset_option: str = "preset"  # the option that trades speed for size


_QSCALE = ("qmin", "qmax")
_VPX = {"deadline": "good", "cpu-used": "4"}
_NVENC = {"rc": "vbr", "preset": "p5"}
_VARIABLE = {"b": "0"}  # the quality alone decides how many bits a frame gets
_QP, _PEAK = {"rc": "cqp"}, {"rc": "vbr_peak"}
_VIDEOTOOLBOX = {"flags": "+qscale"}

_ENCODERS = {
    e.name: e
    for e in (
        Encoder("libx264", ("crf",), 17, 0, 51, {"qp": "0"}, {"preset": "medium"}),
        Encoder("libx265", ("crf",), 18, 0, 51, {"x265-params": "lossless=1"}, {"preset": "medium"}, 16),
        Encoder("libsvtav1", ("crf",), 24, 1, 63, {"svtav1-params": "lossless=1"}, {"preset": "8"}, 4),
        Encoder(
            "libvpx-vp9", ("crf",), 24, 0, 63, {"lossless": "1"}, {**_VPX, "row-mt": "1"},
            with_quality=_VARIABLE, preset_option="cpu-used",
        ),
        Encoder("libvpx", ("crf",), 10, 4, 63, None, _VPX, with_quality={"b": "20M"}, preset_option="cpu-used"),
        Encoder("ffv1", lossless={}, options={"level": "3", "slicecrc": "1"}),
        Encoder("utvideo", lossless={}),
        Encoder("huffyuv", lossless={}),
        Encoder("rawvideo", lossless={}),
        Encoder("wrapped_avframe", lossless={}),
        Encoder("png", lossless={}),
        Encoder("qtrle", lossless={}),
        Encoder("prores_ks", options={"vendor": "apl0"}),
        Encoder("mpeg4", _QSCALE, 3, 1, 31),
        Encoder("mpeg2video", _QSCALE, 3, 1, 31),
        Encoder("mjpeg", _QSCALE, 3, 1, 31, None, {"strict": "unofficial"}),
        Encoder("h264_nvenc", ("cq",), 19, 0, 51, {"tune": "lossless"}, _NVENC, with_quality=_VARIABLE),
        Encoder("hevc_nvenc", ("cq",), 20, 0, 51, {"tune": "lossless"}, _NVENC, with_quality=_VARIABLE),
        Encoder("av1_nvenc", ("cq",), 26, 0, 63, None, _NVENC, with_quality=_VARIABLE),
        Encoder("h264_qsv", ("global_quality",), 20, 1, 51),
        Encoder("hevc_qsv", ("global_quality",), 20, 1, 51),
        Encoder("av1_qsv", ("global_quality",), 24, 1, 51),
        Encoder("h264_amf", ("qp_i", "qp_p", "qp_b"), 19, 0, 51, with_quality=_QP, with_bitrate=_PEAK),
        Encoder("hevc_amf", ("qp_i", "qp_p"), 20, 0, 51, with_quality=_QP, with_bitrate=_PEAK),
        Encoder("av1_amf", ("qp_i", "qp_p"), 90, 0, 255, with_quality=_QP, with_bitrate=_PEAK),
        Encoder("h264_vaapi", ("qp",), 19, 1, 51),
        Encoder("hevc_vaapi", ("qp",), 20, 1, 51),
        Encoder("av1_vaapi", ("global_quality",), 90, 1, 255),
        Encoder("h264_videotoolbox", ("global_quality",), 70, 100, 1, with_quality=_VIDEOTOOLBOX, quality_unit=118),
        Encoder("hevc_videotoolbox", ("global_quality",), 70, 100, 1, with_quality=_VIDEOTOOLBOX, quality_unit=118),
    )
}  # fmt: skip

_SHORT_NAMES = {
    "h264": "libx264", "x264": "libx264", "avc": "libx264", "hevc": "libx265", "h265": "libx265", "x265": "libx265",
    "av1": "libsvtav1", "svtav1": "libsvtav1", "vp9": "libvpx-vp9", "vp8": "libvpx", "prores": "prores_ks",
    "mpeg2": "mpeg2video", "raw": "rawvideo",
}  # fmt: skip

_LOSSLESS_SOURCES = ("ffv1", "huffyuv", "utvideo", "rawvideo")

_HARDWARE = {
    "nvenc": "an NVIDIA GPU and its driver",
    "qsv": "an Intel GPU and its driver with oneVPL",
    "amf": "an AMD GPU and its driver with AMF",
    "vaapi": "a GPU whose driver has VA-API",
    "videotoolbox": "macOS",
}
"""Hardware encoders by the end of their name, and what they need."""

_SUGGESTED = "try h264, hevc, av1, vp9, prores or ffv1"

_CONTAINERS = {
    ".mp4": "mp4", ".m4v": "mp4", ".mkv": "matroska", ".mov": "mov", ".webm": "webm", ".avi": "avi", ".ts": "mpegts",
    ".m2ts": "mpegts", ".mts": "mpegts", ".nut": "nut", ".y4m": "yuv4mpegpipe", ".gif": "gif", ".mxf": "mxf",
    ".flv": "flv", ".ogv": "ogg", ".3gp": "3gp",
}  # fmt: skip

WRITABLE_SUFFIXES = tuple(_CONTAINERS)
"""Suffixes of videos that can be written."""


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
    if not _encodes(name):
        if is_hardware(name):
            raise UsageError(_not_built(name))
        known = sorted({*_SHORT_NAMES, *_ENCODERS})
        raise UsageError(f"There is no encoder '{codec}': {did_you_mean(name, known, _SUGGESTED)}")
    found = av.Codec(name, "w")
    if found.type != "video":
        raise UsageError(f"'{codec}' encodes {found.type}, not video: {_SUGGESTED}.")
    if container == "yuv4mpegpipe" and name not in ("wrapped_avframe", "rawvideo"):
        raise UsageError(f"A pipe and .y4m carry uncompressed frames, not {codec}: leave `codec` out.")
    encoder = _ENCODERS.get(name, Encoder(name))
    if min(source.width, source.height) < encoder.min_side:
        raise UsageError(
            f"{name} cannot encode {source.width}x{source.height}: it needs {encoder.min_side} pixels a side or more. "
            "Choose h264, vp9 or ffv1 as `codec`."
        )
    return encoder


def is_hardware(name: str) -> bool:
    """Whether FFmpeg's encoder of this name runs on a chip, and not on the processor."""
    return name.rpartition("_")[2] in _HARDWARE


def hardware_needs(name: str) -> str:
    """What a hardware encoder needs: "an NVIDIA GPU and its driver"."""
    return _HARDWARE[name.rpartition("_")[2]]


def is_hevc(encoder: Encoder) -> bool:
    """Whether an encoder writes HEVC."""
    return av.Codec(encoder.name, "w").canonical_name == "hevc"


def _not_built(name: str) -> str:
    codec = name.rpartition("_")[0]
    others = sorted(n for n in av.codecs_available if is_hardware(n) and n.startswith(f"{codec}_") and _encodes(n))
    here = f"it has {', '.join(others)}, and" if others else "it has"
    return f"The FFmpeg of this PyAV is built without {name}: {here} {codec} on the processor."


def _encodes(name: str) -> bool:
    try:
        av.Codec(name, "w")
    except (av.error.FFmpegError, ValueError):
        return False
    return True


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

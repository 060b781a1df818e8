"""What an inspection found, in plain words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from betwixt.units import format_duration

_CODECS = {
    "av1": "AV1", "ffv1": "FFV1", "gif": "GIF", "h264": "H.264", "hevc": "HEVC (H.265)", "mjpeg": "Motion JPEG",
    "mpeg2video": "MPEG-2", "mpeg4": "MPEG-4", "prores": "ProRes", "vp8": "VP8", "vp9": "VP9",
}  # fmt: skip
_PQ, _HLG = 16, 18  # H.273 transfer characteristics
_SHOWN_CUTS = 5


@dataclass(frozen=True)
class Fact:
    """One property of a video: its name and what it is, in words."""

    name: str
    text: str


def describe(findings: Mapping[str, Any], size: int) -> list[Fact]:
    """The properties of a video that matter for a conversion.

    Args:
        findings: What an inspection found (`pipeline.inspect.Findings.as_dict`).
        size: The file's size in bytes.
    """
    facts = [
        Fact("Rate", _rate(findings)),
        Fact("Length", _length(findings)),
        Fact("Picture", _picture(findings)),
        Fact("File", _file(findings, size)),
        Fact("Cuts", _cuts(findings)),
        Fact("Repeats", _repeats(findings)),
    ]
    if (hdr := _hdr(findings)) is not None:
        facts.append(Fact("HDR", hdr))
    if findings["interlaced"]:
        facts.append(Fact("Interlaced", "yes; it is deinterlaced first"))
    if findings["damage"]:
        facts.append(Fact("Damage", findings["damage"]))
    return facts


def format_size(size: float) -> str:
    """The size of a file, in decimal units as file managers show it: 830 kB, 4.2 MB, 1.3 GB."""
    for unit, name in ((1e9, "GB"), (1e6, "MB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{max(1, round(size / 1e3))} kB"


def _rate(f: Mapping[str, Any]) -> str:
    rate = Fraction(f["rate"])
    text = f"{float(rate):.6g} frames per second"
    return f"{text} on average; it varies" if f["variable"] else text


def _length(f: Mapping[str, Any]) -> str:
    duration = "unknown" if f["duration"] is None else format_duration(f["duration"])
    return duration if f["frames"] is None else f"{duration}, {f['frames']} frame{'' if f['frames'] == 1 else 's'}"


def _picture(f: Mapping[str, Any]) -> str:
    text = f"{f['width']} x {f['height']} pixels"
    if f["rotation"] is not None:
        text += ", turned for display"
    if f["sample_aspect_ratio"] is not None:
        text += f", pixels {f['sample_aspect_ratio']}"
    return text


def _file(f: Mapping[str, Any], size: int) -> str:
    sounds = sum(stream["kind"] == "audio" for stream in f["streams"])
    subtitles = sum(stream["kind"] == "subtitle" for stream in f["streams"])
    parts = [format_size(size), _CODECS.get(f["codec"], f["codec"])]
    parts.append("no sound" if not sounds else "with sound" if sounds == 1 else f"{sounds} sound tracks")
    if subtitles:
        parts.append(f"{subtitles} subtitle track{'' if subtitles == 1 else 's'}")
    return ", ".join(parts)


def _cuts(f: Mapping[str, Any]) -> str:
    cuts = f["cuts"]
    sampled = "" if f["certainty"]["cuts"] == "exact" else " in the parts that were looked at"
    if not cuts:
        return f"none found{sampled}"
    times = ", ".join(format_duration(t) for t in cuts[:_SHOWN_CUTS])
    more = f" and {len(cuts) - _SHOWN_CUTS} more" if len(cuts) > _SHOWN_CUTS else ""
    return f"{len(cuts)}{sampled}, at {times}{more}"


def _repeats(f: Mapping[str, Any]) -> str:
    if not f["duplicates"]:
        return "none"
    text = f"{f['duplicates']} of {f['decoded']['frames']} frames repeat the one before"
    return text if f["repeat_pattern"] is None else f"{text}: {f['repeat_pattern']}"


def _hdr(f: Mapping[str, Any]) -> str | None:
    transfer = f["colour"]["transfer"]
    if f["dolby_vision"] is not None:
        return f"Dolby Vision, profile {f['dolby_vision']}"
    if transfer == _HLG:
        return "HLG"
    if transfer == _PQ:
        return "HDR10+ (PQ)" if f["hdr10_plus"] else "HDR10 (PQ)" if f["hdr"] else "PQ"
    return None

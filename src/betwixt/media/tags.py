"""Tags and dispositions: which of an input's are carried over, and which of these an output does not hold.

Containers differ in the tags that they store and in how they name them. No table is kept of that: `media.trial` writes
a small file with all tags and reads it back, and the functions here compare the two.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from av.stream import Disposition

# Tags that describe the encoding of the input, not its content.
_STALE = {
    "encoder", "major_brand", "minor_version", "compatible_brands", "duration", "handler_name", "vendor_id", "timecode",
    "isvbr", "audiodelay", "metadatadate", "wmfsdkversion", "wmfsdkneeded", "deviceconformancetemplate",
    "metadatacreator", "hasvideo", "hasaudio", "hasmetadata", "haskeyframes", "hascuepoints", "canseektoend",
    "datasize", "videosize", "audiosize", "filesize", "lasttimestamp", "lastkeyframetimestamp",
    "lastkeyframelocation", "operational_pattern_ul", "uid", "generation_uid", "application_platform",
    "modification_date", "material_package_umid", "file_package_umid", "material_package_name", "file_package_name",
    "company_name", "filename", "mimetype", "variant_bitrate", "alpha_mode",
}  # fmt: skip
_STALE_PREFIXES = (
    "_statistics", "number_of_", "bps", "duration-", "product_", "toolkit_", "asf_protection", "wm/wmadrc",
)  # fmt: skip

# QuickTime numbers its languages, and FFmpeg names these otherwise than ISO 639-2/T does.
_QUICKTIME_LANGUAGES = {
    "deu": "ger",
    "nld": "dut",
    "swe": "sve",
    "ell": "gre",
    "isl": "ice",
    "zho": "chi",
    "sqi": "alb",
}

_COMMON = ("title", "language", "creation_time")

# Dispositions that mean something to a person who watches or listens.
_MARKS = (
    "dub", "original", "comment", "lyrics", "karaoke", "forced", "hearing_impaired", "visual_impaired",
    "clean_effects", "captions", "descriptions",
)  # fmt: skip


def content_tags(tags: Mapping[str, str], without: Collection[str] = ()) -> dict[str, str]:
    """The tags that describe the content, without those named in `without`."""
    return {
        key: value
        for key, value in tags.items()
        # FFmpeg reads some tags of mp4 twice, as `location` and `location-eng`.
        if key not in without and not _is_stale(key, value) and tags.get(_without_language(key)) != value
    }


def stream_tags(stream: Any, container: str) -> dict[str, str]:
    """The tags of an input stream that its copy in an output gets.

    Args:
        stream: The input's stream.
        container: FFmpeg's name of the output's format.
    """
    tags = content_tags(stream.metadata)
    for key in [key for key in tags if key != key.lower() and key.lower() in _COMMON]:
        tags.setdefault(key.lower(), tags.pop(key))  # some Matroska files have these as tags of their own
    if "name" in tags:
        tags.setdefault("title", tags.pop("name"))  # QuickTime's word for the title of a track
    if "creation_time" in stream.container.metadata:
        tags.pop("creation_time", None)  # each track of an mp4 repeats when it was made
    if tags.get("language") == "und":
        del tags["language"]
    elif container == "mov" and "language" in tags:
        tags["language"] = _QUICKTIME_LANGUAGES.get(tags["language"], tags["language"])
    if container in ("mp4", "mov") and stream.metadata.get("handler_name"):
        tags["handler_name"] = stream.metadata["handler_name"]
    return tags


def missing_tags(tags: Mapping[str, str], kept: Mapping[str, str]) -> list[str]:
    """The names of those tags that are not among `kept`, under their own name or under another one."""
    kept = {key: value for key, value in kept.items() if value not in ("", "und")}
    names, values = {key.lower() for key in kept}, set(kept.values())

    def is_kept(key: str) -> bool:
        return bool(names & {key.lower(), _without_language(key).lower()}) or tags[key] in values

    return sorted(key for key in tags if key != "handler_name" and tags[key] and not is_kept(key))


def missing_marks(disposition: Disposition, kept: Disposition) -> list[str]:
    """The dispositions, such as "forced", that a viewer would miss in `kept`."""
    return [name.replace("_", " ") for name in _MARKS if disposition & ~kept & Disposition[name]]


def _without_language(key: str) -> str:
    """The name of a tag without the language at its end; empty if it has none."""
    name, dash, language = key.rpartition("-")
    return name if dash and len(language) == 3 else ""


def _is_stale(key: str, value: str) -> bool:
    lower = key.lower()
    is_writer = lower == "software" and value.startswith("Lavf")
    return is_writer or lower in _STALE or lower.startswith(_STALE_PREFIXES)

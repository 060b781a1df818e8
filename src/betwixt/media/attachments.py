"""Attachments of Matroska files, in which `codec` stores its data: players ignore them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import av
from av.stream import Disposition

from betwixt.files import file_url
from betwixt.media.carriers import Attachment
from betwixt.media.container import write_errors


def add_attachment(source: Path, target: Path, name: str, data: bytes, tags: Mapping[str, str] | None = None) -> None:
    """Copy a Matroska file, packet by packet, and add an attachment.

    Args:
        source: The file to copy.
        target: The copy; replaced if it exists.
        name: File name of the attachment.
        data: Content of the attachment.
        tags: Additional tags of the container.

    Raises:
        OutputError: if the copy cannot be written.
    """
    with (
        write_errors(target),
        av.open(file_url(source)) as original,
        av.open(file_url(target), "w", format="matroska") as out,
    ):
        out.metadata.update({k: v for k, v in original.metadata.items() if k.lower() != "encoder"} | dict(tags or {}))
        held, packets = _first_packets(original)
        copies: dict[int, Any] = {}
        for stream in original.streams:
            if stream.disposition & Disposition.attached_pic:  # FFmpeg reads attached pictures as video
                Attachment(stream, [p for p in held if p.stream_index == stream.index]).open(out, "matroska")
                continue
            copy = out.add_stream_from_template(stream, opaque=True)
            copy.metadata.update({k: v for k, v in stream.metadata.items() if k.lower() not in ("encoder", "duration")})
            copy.disposition = stream.disposition
            if stream.type != "attachment":
                copies[stream.index] = copy
        out.add_attachment(name, "application/octet-stream", data)
        if chapters := original.chapters():
            out.set_chapters(chapters)
        for packet in itertools.chain(held, packets):
            if not packet.size or packet.stream_index not in copies:
                continue
            if packet.dts is None and packet.pts is not None:
                # Matroska stores no decoding times, and the first packets of reordered frames come without one.
                packet.dts = packet.pts - 1000
            packet.stream = copies[packet.stream_index]
            out.mux(packet)


def _first_packets(source: Any) -> tuple[list[Any], Iterator[Any]]:
    """The packets up to those of all attached pictures, and the others."""
    missing = {s.index for s in source.streams if s.disposition & Disposition.attached_pic}
    packets = source.demux([s for s in source.streams if s.type != "attachment"])
    held = []
    while missing and (packet := next(packets, None)) is not None:
        held.append(packet)
        missing.discard(packet.stream_index)
    return held, packets


def read_attachment(container: av.container.InputContainer, name: str) -> bytes | None:
    """The content of the attachment with this file name, or None."""
    for stream in container.streams:
        if stream.type == "attachment" and stream.metadata.get("filename") == name:
            attachment: Any = stream
            return bytes(attachment.data)
    return None

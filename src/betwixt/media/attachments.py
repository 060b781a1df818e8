"""A file put into a Matroska, as an attachment that players leave alone, and read out of it again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import av
import av.error

from betwixt.files import write_error

__all__ = ["add_attachment", "read_attachment"]


def add_attachment(source: Path, target: Path, name: str, data: bytes, tags: Mapping[str, str] | None = None) -> None:
    """Copy a Matroska file, packet by packet, with one more attachment.

    Args:
        source: The file.
        target: Where to; written over.
        name: The attachment's name.
        data: What it holds.
        tags: Tags of the container, beside those it has.

    Raises:
        OutputError: if it cannot be written.
    """
    try:
        with av.open(str(source)) as given, av.open(str(target), "w", format="matroska") as out:
            out.metadata.update({k: v for k, v in given.metadata.items() if k.lower() != "encoder"} | dict(tags or {}))
            copies: dict[int, Any] = {}
            for stream in given.streams:
                copy = out.add_stream_from_template(stream, opaque=True)
                copy.metadata.update(
                    {k: v for k, v in stream.metadata.items() if k.lower() not in ("encoder", "duration")}
                )
                copy.disposition = stream.disposition
                if stream.type != "attachment":
                    copies[stream.index] = copy
            # Beside the attachments that were there: PyAV writes the name, and Matroska wants the type.
            out.add_attachment(name, "application/octet-stream", data)
            if chapters := given.chapters():
                out.set_chapters(chapters)
            for packet in given.demux([s for s in given.streams if s.index in copies]):
                if not packet.size:
                    continue
                if packet.dts is None and packet.pts is not None:
                    # Matroska keeps no decoding times; the first of a stream that reorders frames comes without.
                    packet.dts = packet.pts - 1000
                packet.stream = copies[packet.stream.index]
                out.mux(packet)
    except (OSError, av.error.FFmpegError) as error:
        raise write_error(error, target) from None


def read_attachment(container: av.container.InputContainer, name: str) -> bytes | None:
    """What the attachment of that name holds; None where there is none."""
    for stream in container.streams:
        if stream.type == "attachment" and stream.metadata.get("filename") == name:
            holder: Any = stream
            return bytes(holder.data)
    return None

"""How one stream of an input gets into an output.

    Carrier ── add_to(output) ──► a stream of the output
            ── write(packet) ───► packets for it

A `Carrier` is one way: `Copied` here, `Picture` and `Attachment` here, `audio.EncodedAudio` and
`subtitles.ConvertedSubtitles`. `stream_copier` tries the ways for each stream in order of preference (`media.trial`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import av
import av.container

from betwixt.media.probe import describe_stream
from betwixt.media.reader import StreamPacket
from betwixt.media.tags import stream_tags
from betwixt.media.timeline import TimeMap

_STEP_BACK = Fraction(1, 5)
"""Packets that lie further than this behind the one before, in seconds, are left out."""

_PICTURE_NAMES = {
    "mjpeg": ("cover.jpg", "image/jpeg"), "png": ("cover.png", "image/png"), "bmp": ("cover.bmp", "image/bmp"),
    "gif": ("cover.gif", "image/gif"), "webp": ("cover.webp", "image/webp"), "tiff": ("cover.tif", "image/tiff"),
}  # fmt: skip

# A packet that stands for those of a stream of which none is at hand yet.
_PLACEHOLDERS = {"mov_text": b"\0\x01x", "ass": b"0,0,Default,,0,0,0,,x", "ssa": b"0,0,Default,,0,0,0,,x"}


def codec_of(stream: Any) -> str | None:
    """The name of a stream's codec, the same for all of its decoders and encoders; None if it is unknown."""
    context = stream.codec_context
    name = context.codec.canonical_name if context is not None else getattr(stream, "name", None)
    return None if name is None else str(name)


class Carrier(ABC):
    """A way to get one stream of an input into an output.

    Args:
        source: The input's stream.
        packets: The first packets of the stream, as far as they are at hand.

    Attributes:
        name: The stream's name in messages.
        kind: The type of the output's stream; "picture" for a cover picture.
        codec: The codec that a reader of the output finds.
        rate: Of audio: samples per second in the output.
        channels: Of audio: the number of channels in the output.
        layout: Of audio: the name of the channel layout in the output.
        note: What the user should know about this way, or None.
        count: Number of packets taken so far.
        failures: Number of packets among them of which nothing is written.
        failure: Why, as the end of a sentence.
    """

    failure = ""

    def __init__(self, source: Any, packets: Sequence[Any]) -> None:
        self.source, self.packets = source, packets
        self.name = str(describe_stream(source))
        self.kind: str = source.type
        self.codec = codec_of(source)
        context = source.codec_context
        is_audio = source.type == "audio" and context is not None
        self.rate: int = context.sample_rate if is_audio else 0
        self.channels: int = context.channels if is_audio else 0
        self.layout = str(context.layout.name) if is_audio else ""
        self.note: str | None = None
        self.count = self.failures = 0
        self.stream: Any = None

    def open(self, output: av.container.OutputContainer, container: str) -> None:
        """Add the stream to the output, with its tags and its disposition."""
        self.stream = self.add_to(output)
        self.describe(self.stream, container)

    def describe(self, stream: Any, container: str) -> None:
        """Give a stream of an output the tags and the disposition of the source."""
        stream.metadata.update(stream_tags(self.source, container))
        stream.disposition = self.source.disposition

    @abstractmethod
    def add_to(self, output: av.container.OutputContainer) -> Any:
        """Add the stream to an output whose header is not yet written.

        Raises:
            ValueError, FFmpegError: if the container does not take it.
        """

    def begin(self) -> list[Any]:
        """The packets to write right after the header."""
        return []

    @abstractmethod
    def write(self, item: StreamPacket) -> list[Any]:
        """The packets to write for a packet of the source."""

    def flush(self) -> list[Any]:
        """The packets to write at the end."""
        return []

    def closing_note(self) -> str | None:
        """What the user should know at the end, or None."""
        if self.kind in ("audio", "video") and not self.count:
            return f"{self.name} is announced, but the input has nothing of it."
        return None if not self.failures else f"{self.failures} packets of {self.name} {self.failure}."

    def sample(self, stream: Any) -> list[Any]:
        """A few packets for a trial: `stream` is what `add_to` returned."""
        contents = [bytes(packet) for packet in self.packets] or [_PLACEHOLDERS.get(self.codec or "", b"x" * 32)]
        return [_packet(data, stream, number) for number, data in enumerate(contents)]


def _packet(data: bytes, stream: Any, number: int) -> Any:
    """A packet of a trial, 40 ms long."""
    packet: Any = av.Packet(data)
    packet.stream, packet.time_base = stream, Fraction(1, 1000)
    packet.pts = packet.dts = 40 * number
    packet.duration = 40
    packet.is_keyframe = True
    return packet


def _without_side_data(packet: Any) -> Any:
    bare: Any = av.Packet(bytes(packet))
    bare.pts, bare.dts, bare.duration, bare.time_base = packet.pts, packet.dts, packet.duration, packet.time_base
    bare.is_keyframe = packet.is_keyframe
    return bare


class OutputTimes:
    """Maps the times of packets to an output, where decoding times never go back.

    Args:
        time_map: From the input's times to the output's.
        strict: Whether the container demands that each packet of a stream is later than the one before.
    """

    def __init__(self, time_map: TimeMap, strict: bool) -> None:
        self._map, self._least = time_map, int(strict)
        self._last: int | None = None  # the decoding time of the last packet, in the output's unit
        self._latest: Fraction | None = None  # the same before rounding, in seconds

    def set(self, packet: Any, stream: Any) -> bool:
        """Give a packet its times in a started output's stream; whether it can be written at all."""
        base, unit = packet.time_base, stream.time_base
        if packet.pts is None and packet.dts is None:
            return False
        pts = None if packet.pts is None else round(self._map(packet.pts * base) / unit)
        dts = None
        if packet.dts is not None or stream.type != "video":
            time = self._map((packet.pts if packet.dts is None else packet.dts) * base)
            if self._latest is not None and time < self._latest - _STEP_BACK:
                return False
            dts = round(time / unit)
            if self._last is not None:
                dts = max(dts, self._last + self._least)
            self._last, self._latest = dts, time
            pts = None if pts is None else max(pts, dts)
        duration = round(packet.duration * base * self._map.scale / unit) if packet.duration else 0
        packet.stream, packet.time_base = stream, unit
        packet.pts, packet.dts, packet.duration = pts, dts, duration
        return True


class Copied(Carrier):
    """Copies a stream packet by packet.

    Args:
        source: The input's stream.
        packets: Its first packets.
        times: Sets those of the packets.
        keeps_discarded: Whether the output can hide packets before the beginning of an edit list again.
        layout: The channel layout to state for audio whose own one is unknown.
    """

    failure = "go back in time, or have none: they are left out"

    def __init__(
        self, source: Any, packets: Sequence[Any], times: OutputTimes, keeps_discarded: bool, layout: str | None = None
    ) -> None:
        super().__init__(source, packets)
        self._times, self._keeps_discarded, self._guessed = times, keeps_discarded, layout
        self.layout = layout or self.layout

    def add_to(self, output: av.container.OutputContainer) -> Any:
        stream: Any = output.add_stream_from_template(self.source, opaque=True)
        if self._guessed is not None:
            stream.codec_context.layout = self._guessed
        return stream

    def write(self, item: StreamPacket) -> list[Any]:
        packet = item.packet
        if packet.is_discard and not self._keeps_discarded:
            return []
        self.count += 1
        if packet.has_sidedata("new_extradata"):
            # FFmpeg's Matroska muxer writes it over the header, whatever fits there. It has the usual one already.
            packet = _without_side_data(packet)
        if not self._times.set(packet, self.stream):
            self.failures += 1
            return []
        return [packet]


class Picture(Carrier):
    """A cover picture, as a stream with one packet."""

    def __init__(self, source: Any, packets: Sequence[Any]) -> None:
        super().__init__(source, packets[:1])
        self.kind = "picture"

    def add_to(self, output: av.container.OutputContainer) -> Any:
        if not self.packets:
            raise ValueError("the picture is not at hand")
        return output.add_stream_from_template(self.source, opaque=True)

    def begin(self) -> list[Any]:
        return self.sample(self.stream)

    def write(self, item: StreamPacket) -> list[Any]:
        return []


class Attachment(Carrier):
    """An attachment of a Matroska file, or a cover picture that becomes one."""

    def __init__(self, source: Any, packets: Sequence[Any]) -> None:
        super().__init__(source, packets)
        self.kind = "attachment"
        if source.type != "attachment":
            self.kind = "picture"
            if source.metadata.get("filename") and source.metadata.get("mimetype"):
                self._file = source.metadata["filename"], source.metadata["mimetype"]
            else:
                self._file = _PICTURE_NAMES.get(self.codec or "", ("cover", "application/octet-stream"))

    def add_to(self, output: av.container.OutputContainer) -> Any:
        if output.format.name != "matroska":
            raise ValueError("only Matroska has attachments")
        if self.source.type == "attachment":
            return output.add_stream_from_template(self.source)
        if not self.packets:
            raise ValueError("the picture is not at hand")
        return output.add_attachment(*self._file, bytes(self.packets[0]))

    def describe(self, stream: Any, container: str) -> None:
        tags = {k: v for k, v in self.source.metadata.items() if k in ("title", "filename", "mimetype")}
        stream.metadata.update(tags)

    def sample(self, stream: Any) -> list[Any]:
        return []

    def write(self, item: StreamPacket) -> list[Any]:
        return []

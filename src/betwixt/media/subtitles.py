"""Text subtitles in another codec: decoded and encoded again, event by event."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import av
import av.container
import av.error

from betwixt.media.carriers import Carrier, OutputTimes, codec_of
from betwixt.media.reader import StreamPacket

_TEXT_ENCODERS = ("subrip", "mov_text", "webvtt", "ass")


def is_text(source: Any) -> bool:
    """Whether a stream holds subtitles that can be decoded to text."""
    context = source.codec_context
    return source.type == "subtitle" and context is not None and bool(context.codec.text_sub)


def text_encoders(source: Any) -> Iterator[str]:
    """The encoders to try for text subtitles, best first: those that keep styles where the source has some."""
    own = codec_of(source)
    yield from (name for name in (("ass",) if own in ("ass", "ssa") else ()) + _TEXT_ENCODERS if name != own)


class ConvertedSubtitles(Carrier):
    """Decodes text subtitles, and encodes them again.

    Args:
        source: The input's stream.
        packets: Its first packets.
        encoder: The encoder.
        times: Sets those of the packets.
    """

    failure = "cannot be converted: they are left out"

    def __init__(self, source: Any, packets: Sequence[Any], encoder: str, times: OutputTimes) -> None:
        super().__init__(source, packets)
        self._encoder, self._times = encoder, times
        self.codec = av.Codec(encoder, "w").canonical_name

    def add_to(self, output: av.container.OutputContainer) -> Any:
        decoder = self.source.codec_context
        decoder.open(strict=False)
        stream: Any = output.add_stream(self._encoder)
        stream.codec_context.subtitle_header = decoder.subtitle_header
        return stream

    def write(self, item: StreamPacket) -> list[Any]:
        self.count += 1
        packet = item.packet
        try:
            subtitle = self.source.codec_context.decode2(packet)
            if subtitle is None or not len(subtitle):
                return []
            encoded = self.stream.codec_context.encode_subtitle(subtitle)
        except (ValueError, av.error.FFmpegError):
            self.failures += 1
            return []
        encoded.pts, encoded.dts, encoded.duration = packet.pts, packet.dts, packet.duration
        encoded.time_base, encoded.is_keyframe = packet.time_base, True
        return [encoded] if self._times.set(encoded, self.stream) else []

"""Encodes a video in segments, on any machine, so that their packets can be joined to one stream.

    frames k .. k + n of the output ── SegmentEncoder ──► n packets ── VideoWriter.write_encoded ──► one stream

Each segment has an encoder of its own, with the same settings. So it begins with a key frame, no frame of it refers to
another segment (a closed GOP), and nothing is encoded twice where segments meet. An encoder that aims at a bit rate
would spend it on each segment anew: only constant quality can be joined.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import av

from betwixt.errors import OutputError, UsageError
from betwixt.machine import keep_scheduling
from betwixt.media.encoded_video import EncodedPacket, EncodedVideo
from betwixt.media.encoder_options import PARAMETERS, EncoderSettings
from betwixt.media.encoding import Encoding
from betwixt.media.probe import VideoInfo
from betwixt.media.writer import can_keep_journal, stream_parameters

_RATE_OPTIONS = frozenset(
    ("b", "maxrate", "minrate", "bufsize", "rc", "rc_mode", "cbr", "nal-hrd", "pass", "stats", "passlogfile")
)
"""Options of FFmpeg's encoders by which they aim at a bit rate."""

_RATE_PARAMETERS = frozenset(
    ("bitrate", "vbv-maxrate", "vbv-bufsize", "nal-hrd", "pass", "stats", "rc", "tbr", "mbr", "strict-cbr")
)
"""The same in the parameters of x264, x265 and SVT-AV1."""


@dataclass(frozen=True)
class SegmentSettings:
    """All that the packets of an output's video depend on, besides its frames.

    Attributes:
        container: FFmpeg's name of the output's container.
        source: The input.
        rate: The output's rate, in frames per second.
        settings: How the user wants it to be encoded.
        tone_map: "on" to map HDR to SDR.
    """

    container: str
    source: VideoInfo
    rate: Fraction
    settings: EncoderSettings
    tone_map: str


class SegmentEncoder:
    """Encodes one segment.

    Args:
        settings: Those of the output.

    Attributes:
        parameters: The encoder's stream parameters: segments of different ones cannot be joined.

    Raises:
        UsageError: if the encoder does not open on this machine.
    """

    def __init__(self, settings: SegmentSettings) -> None:
        s = settings
        self._video = EncodedVideo(s.container, s.source, s.rate, s.settings, s.tone_map)
        self._tick = 1 / s.rate
        # A container that is never written: it tells the encoder whether it needs the stream parameters apart.
        self._output = av.open(io.BytesIO(), "w", format=s.container)
        self._stream = self._video.add_stream(self._output, self._tick)
        context = self._stream.codec_context
        with keep_scheduling():
            context.open()
        self.parameters = stream_parameters(bytes(context.extradata or b""))
        self._numbers: list[int] = []
        self._packets: list[EncodedPacket] = []

    def write(self, frame: av.VideoFrame, index: int) -> None:
        """Encode frame `index` of the output, the one after the last."""
        frame = self._video.convert(frame)
        frame.pts, frame.time_base, frame.pict_type = index, self._tick, 0
        self._numbers.append(index)
        self._encode(frame)

    def finish(self) -> list[EncodedPacket]:
        """The packets of the segment in decoding order, one for each frame.

        Raises:
            OutputError: if the encoder made more or fewer.
        """
        self._encode(None)
        self.close()
        if sorted(packet.number for packet in self._packets) != self._numbers:
            raise OutputError(
                f"{self._video.encoder.name} made {len(self._packets)} packets of {len(self._numbers)} frames, which "
                'cannot be joined: pass `encode="driver"`.'
            )
        return self._packets

    def close(self) -> None:
        """Free the encoder: the container and its stream refer to each other, and would keep its memory."""
        self._output.close()

    def _encode(self, frame: av.VideoFrame | None) -> None:
        for packet in map(self._video.finish, self._stream.encode(frame)):
            key = bool(packet.is_keyframe)
            self._packets.append(EncodedPacket(bytes(packet), packet.pts, packet.dts, packet.duration or 0, key))


def segment_parameters(settings: SegmentSettings) -> bytes:
    """The stream parameters of the segments that are encoded on this machine; errors as for `SegmentEncoder`."""
    encoder = SegmentEncoder(settings)
    encoder.close()
    return encoder.parameters


def check_segments(encoding: Encoding, settings: EncoderSettings, source: VideoInfo) -> None:
    """Refuse an encoding whose segments cannot be joined.

    Args:
        encoding: The encoder, as resolved for the output.
        settings: What the user asks for.
        source: The input.

    Raises:
        UsageError: saying why.
    """
    encoder, pixel_format, _ = encoding
    refused = 'With `encode="distributed"` '
    if settings.bitrate is not None:
        raise UsageError(f"{refused}the quality is constant: pass `quality` instead of `bitrate`.")
    if (option := _rate_option(settings.options)) is not None:
        raise UsageError(f"{refused}the quality is constant: leave {option} out of `encoder_options`.")
    if not can_keep_journal(encoder.name, pixel_format):
        raise UsageError(f"{refused}packets of {encoder.name} cannot be joined: choose another `codec`.")
    is_intra = encoder.lossless == {} or encoder.name == "prores_ks"
    if not is_intra and (not encoder.quality_options or encoder.with_quality.get("b", "0") != "0"):
        raise UsageError(f"{refused}the quality is constant, which {encoder.name} has not: choose another `codec`.")
    if source.dolby_vision is not None:
        raise UsageError(f'{refused}Dolby Vision metadata cannot be kept: pass `encode="driver"`.')


def _rate_option(options: Mapping[str, str]) -> str | None:
    """The first of an encoder's options that makes it aim at a bit rate, or None."""
    for key, value in options.items():
        if key in _RATE_OPTIONS:
            return key
        names = {part.partition("=")[0].strip() for part in value.split(":")} if key.endswith(PARAMETERS) else set()
        if found := sorted(names & _RATE_PARAMETERS):
            return f"{key}={found[0]}"
    return None

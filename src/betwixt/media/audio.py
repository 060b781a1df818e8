"""Audio in another codec or at another speed: decoded, resampled, stretched at constant pitch, and encoded again.

    packets ── decode ──► FFmpeg's aresample, atempo ── encode ──► packets

`EncodedAudio` is used for slow motion with `audio="stretch"`, and at factor 1 (without atempo) for audio that the
output's container does not take. All other audio is copied packet by packet. `encodings` lists the codecs and settings
to try for a stream, best first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import av.audio
import av.container
import av.error
import av.filter

from betwixt.media.carriers import Carrier
from betwixt.media.frames import drain_graph
from betwixt.media.reader import StreamPacket

# The best lossy codec of a container that its players know.
_USUAL = {"webm": "libopus", "avi": "libmp3lame", "ogg": "libopus", "mxf": "pcm_s16le"}

_FALLBACKS = ("aac", "libmp3lame", "ac3", "pcm_s16le", "mp2")

# The only sample rate of a container.
_RATES = {"mxf": 48000}

# Encoders of lossy codecs that are worth choosing again.
_ENCODERS = {
    "aac": "aac", "ac3": "ac3", "eac3": "eac3", "mp2": "mp2", "mp3": "libmp3lame", "opus": "libopus",
}  # fmt: skip

_LAYOUTS = (
    "mono", "stereo", "2.1", "3.0", "quad", "4.0", "5.0", "5.0(side)", "5.1", "5.1(side)", "6.1", "7.1",
)  # fmt: skip

# Layouts that every decoder of a codec knows, where its encoder takes more.
_COMMON_LAYOUTS = {"aac": ("mono", "stereo", "3.0", "4.0", "5.0", "5.1", "7.1")}

_BIT_RATE = 96000
"""Of lossy codecs: bits per second and channel."""

_LOSSLESS_ENCODERS = ("flac", "alac")


@dataclass(frozen=True)
class AudioEncoding:
    """How audio is encoded: an encoder and settings that it takes."""

    encoder: str  # FFmpeg's name
    rate: int  # samples per second
    layout: str  # channel layout
    sample_format: str
    bit_rate: int  # 0 for lossless codecs


def stated_layout(source: Any) -> str | None:
    """The layout of an audio stream's channels; None if only their number is known."""
    name = str(source.codec_context.layout.name)
    return None if name.endswith(" channels") or name.startswith("ambisonic") else name


def usual_layout(source: Any) -> str:
    """The usual layout for the number of channels of an audio stream."""
    return str(av.AudioLayout(f"{source.codec_context.channels}c").name)


def is_known(source: Any) -> bool:
    """Whether the format of an audio stream is known: one that never comes is announced without."""
    context = source.codec_context
    return context is not None and context.sample_rate > 0 and context.channels > 0


def encodings(source: av.audio.AudioStream, container: str) -> Iterator[AudioEncoding]:
    """The encodings of audio to try for a container (FFmpeg's name), best first: its own codec, or one as good."""
    context = source.codec_context
    layout = stated_layout(source) or usual_layout(source)
    encoders = list(dict.fromkeys(_encoders(context, container)))
    reduced: list[AudioEncoding] = []
    for encoder in encoders:
        encoding = _best_encoding(encoder, context, layout, _RATES.get(container, context.sample_rate))
        if encoding is None:
            continue
        if av.AudioLayout(encoding.layout).nb_channels < context.channels:
            reduced.append(encoding)
        else:
            yield encoding
    yield from reduced


def _best_encoding(encoder: str, context: Any, layout: str, rate: int) -> AudioEncoding | None:
    """The settings of an encoder that keep most of the sound of a decoder's context; None if it takes none."""
    try:
        codec = av.Codec(encoder, "w")
    except ValueError:
        return None
    rate = _nearest_rate(codec.audio_rates, rate)
    for name in _layouts_like(layout):
        if name not in _COMMON_LAYOUTS.get(encoder, (name,)):
            continue
        # Low sample rates have no use for as many bits. Some encoders refuse them; 0 is the encoder's default.
        bits = min(_BIT_RATE, 6 * rate) * av.AudioLayout(name).nb_channels
        for bit_rate in (bits, 0) if codec.lossy else (0,):
            encoding = AudioEncoding(encoder, rate, name, _sample_format(codec, context), bit_rate)
            if _opens(encoding):
                return encoding
    return None


def _encoders(context: Any, container: str) -> Iterator[str]:
    name = str(context.codec.canonical_name)
    # Of the codecs that can be both, only WavPack is usually lossless.
    if context.codec.lossless and (not context.codec.lossy or name == "wavpack"):
        pcm = _pcm(name, _format_of(context))
        if name.startswith("pcm_"):
            yield pcm
        elif name in ("flac", "alac", "wavpack", "tta"):
            yield name
        yield from _LOSSLESS_ENCODERS
        yield pcm
    elif name in _ENCODERS:
        yield _ENCODERS[name]
    yield _USUAL.get(container, "aac")
    yield from _FALLBACKS


def _pcm(codec: str, sample_format: str) -> str:
    """The PCM codec that holds samples of a decoder."""
    if "24" in codec:
        return "pcm_s24le"
    kind = sample_format.removesuffix("p")
    return {"s32": "pcm_s32le", "flt": "pcm_f32le", "dbl": "pcm_f64le"}.get(kind, "pcm_s16le")


def _format_of(context: Any) -> str:
    """The sample format of a decoder; some know it only when the first packet is decoded."""
    return "s16" if context.format is None else str(context.format.name)


def _nearest_rate(rates: Sequence[int] | None, wanted: int) -> int:
    """The wanted rate, or else the next higher one that an encoder takes, or its highest."""
    if not rates or wanted in rates:
        return wanted
    return min((rate for rate in rates if rate > wanted), default=max(rates))


def _sample_format(codec: av.Codec, context: Any) -> str:
    """A format of the encoder with as many bits as the samples of the decoder, or else the first."""
    formats = [f.name for f in codec.audio_formats or ()]
    wide = av.AudioFormat(_format_of(context)).bytes > 2
    if codec.lossy:
        return formats[0]
    return next((name for name in formats if (av.AudioFormat(name).bytes > 2) == wide), formats[0])


def _layouts_like(layout: str) -> list[str]:
    """Layouts to hold audio of a layout: itself, then those that have all of its channels, then smaller ones."""
    channels = _channels(layout)
    swapped = frozenset({"SL": "BL", "SR": "BR", "BL": "SL", "BR": "SR"}.get(name, name) for name in channels)

    def order(name: str) -> tuple[int, int]:
        others = _channels(name)
        if others in (channels, swapped):
            return int(others != channels), 0
        if others > channels or others > swapped:
            return 2, len(others)
        return 3 + (len(others) > len(channels)), -len(others)

    return [layout, *sorted((name for name in _LAYOUTS if name != layout), key=order)]


def _channels(layout: str) -> frozenset[str]:
    return frozenset(channel.name for channel in av.AudioLayout(layout).channels)


def _opens(encoding: AudioEncoding) -> bool:
    """Whether an encoder takes its settings."""
    context: Any = av.CodecContext.create(encoding.encoder, "w")
    context.sample_rate, context.bit_rate = encoding.rate, encoding.bit_rate
    context.format, context.layout = encoding.sample_format, encoding.layout
    try:
        context.open()
    except (ValueError, av.error.FFmpegError):
        return False
    return True


class EncodedAudio(Carrier):
    """Decodes an audio stream, and encodes it again.

    Args:
        source: The input's stream.
        packets: Its first packets.
        encoding: How it is encoded.
        zero: The input time that becomes 0 in the output, in seconds.
        factor: The factor by which the audio becomes longer, > 0.
        from_zero: Whether the output begins at 0: silence fills the time before the audio, and earlier audio is cut.
    """

    failure = "cannot be decoded: there is silence in their place"

    def __init__(
        self,
        source: Any,
        packets: Sequence[Any],
        encoding: AudioEncoding,
        zero: Fraction,
        factor: Fraction,
        from_zero: bool = False,
    ) -> None:
        super().__init__(source, packets)
        self.encoding = encoding
        self.codec = av.Codec(encoding.encoder, "w").canonical_name
        self.rate, self.layout = encoding.rate, encoding.layout
        self.channels = av.AudioLayout(encoding.layout).nb_channels
        self._zero, self._factor = zero, factor
        self._shape: tuple[str, int, str] | None = None  # sample format, rate and layout that the graph is made for
        self._graph: av.filter.Graph | None = None
        self._offset = Fraction(0) if from_zero else None  # when the output begins, in seconds
        self._samples = 0  # number of samples encoded

    def changes(self) -> str:
        """The codec, and what is changed beside it, for messages."""
        context, parts = self.source.codec_context, [self.codec or self.encoding.encoder]
        if self.rate != context.sample_rate:
            parts.append(f"at {self.rate} Hz (from {context.sample_rate})")
        if self.channels != context.channels:
            parts.append(f"with the channels {self.layout} (from {context.layout.name})")
        return ", ".join(parts)

    def add_to(self, output: av.container.OutputContainer) -> Any:
        e = self.encoding
        stream: Any = output.add_stream(e.encoder, rate=e.rate, bit_rate=e.bit_rate, layout=e.layout)
        stream.codec_context.format = e.sample_format
        return stream

    def sample(self, stream: Any) -> list[Any]:
        silence = _silence(self.encoding, stream.codec_context.frame_size or 1024)
        packets: list[Any] = [*stream.encode(silence), *stream.encode(None)]
        return packets

    def write(self, item: StreamPacket) -> list[Any]:
        self.count += 1
        try:
            frames: list[Any] = item.packet.decode()
        except av.error.FFmpegError:
            self.failures += 1
            return []
        finished: list[Any] = []
        for frame in frames:
            time = None if frame.pts is None else frame.pts * frame.time_base - self._zero
            if self._offset is None:
                if time is None and item.time is not None:
                    time = item.time - self._zero
                self._offset = max(Fraction(0), time or Fraction(0)) * self._factor
            shape = frame.format.name, frame.sample_rate, frame.layout.name
            if shape != self._shape:
                finished += self._filter(None)
                self._shape, self._graph = shape, self._build_graph(frame)
            frame.pts = None if time is None else round(time * frame.sample_rate)
            frame.time_base = Fraction(1, frame.sample_rate)
            finished += self._filter(frame)
        return finished

    def flush(self) -> list[Any]:
        return self._filter(None) + (self._encode(None) if self._samples else [])

    def _build_graph(self, frame: av.AudioFrame) -> av.filter.Graph:
        e = self.encoding
        graph = av.filter.Graph()
        source = graph.add_abuffer(
            sample_rate=frame.sample_rate,
            format=frame.format.name,
            layout=frame.layout.name,
            time_base=Fraction(1, frame.sample_rate),
        )
        # With async=1 gaps in the source's times become silence, and overlaps are cut.
        begin = round(((self._offset or Fraction(0)) * e.rate + self._samples) / self._factor)
        resample = graph.add("aresample", f"{e.rate}:async=1:first_pts={begin}")
        shape = f"sample_fmts={e.sample_format}:sample_rates={e.rate}:channel_layouts={e.layout}"
        # One atempo filter slows down to half speed at most.
        tempos, tempo = [], 1 / self._factor
        while tempo < Fraction(1, 2):
            tempos.append(Fraction(1, 2))
            tempo *= 2
        if tempo != 1:
            tempos.append(tempo)
        stretching = [graph.add("atempo", f"{float(tempo):.12g}") for tempo in tempos]
        sink = graph.add("abuffersink")
        graph.link_nodes(source, resample, *stretching, graph.add("aformat", shape), sink).configure()
        return graph

    def _filter(self, frame: av.AudioFrame | None) -> list[Any]:
        """Filter a frame (None: the end), and encode the frames that are finished."""
        if self._graph is None:
            return []
        self._graph.push(frame)
        finished: list[Any] = []
        for filtered in drain_graph(self._graph):
            filtered.pts, filtered.time_base = self._samples, Fraction(1, self.encoding.rate)
            self._samples += filtered.samples
            finished += self._encode(filtered)
        return finished

    def _encode(self, frame: av.AudioFrame | None) -> list[Any]:
        """Encode a frame (None: the end); shift the packets to where the audio begins in the output."""
        packets: list[Any] = self.stream.encode(frame)
        for packet in packets:
            shift = round((self._offset or Fraction(0)) / packet.time_base)
            packet.pts += shift
            packet.dts += shift
        return packets


def _silence(encoding: AudioEncoding, samples: int) -> Any:
    """A frame of silence for an encoder."""
    graph = av.filter.Graph()
    source = graph.add("anullsrc", f"sample_rate={encoding.rate}:channel_layout={encoding.layout}:nb_samples={samples}")
    shape = graph.add("aformat", f"sample_fmts={encoding.sample_format}")
    graph.link_nodes(source, shape, graph.add("abuffersink")).configure()
    return graph.pull()

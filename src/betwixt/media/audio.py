"""Audio at another speed or in another codec: decoded, stretched at constant pitch, and encoded again.

    packets ── decode ──► FFmpeg's atempo ── encode ──► packets

`stream_copier` uses it for slow motion with `audio="stretch"`, and at factor 1 (without atempo) for audio whose codec
the output's container does not take. All other audio is copied packet by packet.
"""

from __future__ import annotations

from fractions import Fraction
from operator import methodcaller
from typing import Any

import av
import av.audio
import av.container
import av.error
import av.filter

from betwixt.media.container import can_mux
from betwixt.media.frames import drain_graph

_LOSSLESS = ("flac", "alac", "wavpack", "tta", "ape", "mlp", "truehd")


def choose_audio_encoder(codec: str, container: str) -> str:
    """Choose the encoder of audio for a container (FFmpeg's names): the same codec, or else one of the same quality."""
    usual = {"webm": "libopus", "avi": "libmp3lame", "ogg": "libopus", "mxf": "pcm_s16le"}.get(container, "aac")
    own = {"opus": "libopus", "vorbis": "libopus", "mp3": "libmp3lame"}.get(codec, codec)
    lossless = ["flac", "alac"] if codec in _LOSSLESS else []
    for name in (own, *lossless, usual, "aac", "pcm_s16le"):
        if can_mux(container, methodcaller("add_stream", name, rate=48000)):
            return name
    return usual


class AudioStretcher:
    """Stretches one audio stream into a new stream of an output container.

    Args:
        source: The input's audio stream.
        output: The output container, not yet started.
        container: FFmpeg's name of its format.
        factor: The factor by which the audio becomes longer, > 0.

    Attributes:
        stream: The stream of the output.
    """

    def __init__(
        self, source: av.audio.AudioStream, output: av.container.OutputContainer, container: str, factor: Fraction
    ) -> None:
        context = source.codec_context
        name = choose_audio_encoder(context.name, container)
        self._factor = factor
        self._rate = 48000 if name == "libopus" else context.sample_rate
        self.stream: Any = output.add_stream(name, rate=self._rate, layout=context.layout.name)
        self._graph: av.filter.Graph | None = None
        self._offset: Fraction | None = None  # when the output begins, in seconds
        self._samples = 0  # number of samples encoded

    def push(self, packet: av.Packet[Any], time: Fraction | None) -> list[Any]:
        """Take a packet of the source; return the finished packets of the output.

        `time` is when the packet begins, in seconds from the input time that becomes 0 in the output.
        """
        if self._offset is None and time is not None:
            self._offset = max(Fraction(0), time) * self._factor
        try:
            frames: list[Any] = packet.decode()
        except av.error.FFmpegError:
            return []
        finished: list[Any] = []
        for frame in frames:
            if self._graph is None:
                self._graph = self._build_graph(frame)
            frame.pts = None
            finished += self._stretch(self._graph, frame)
        return finished

    def flush(self) -> list[Any]:
        """Return the remaining packets."""
        stretched = [] if self._graph is None else self._stretch(self._graph, None)
        return stretched + self._encode(None)

    def _build_graph(self, frame: av.AudioFrame) -> av.filter.Graph:
        graph = av.filter.Graph()
        source = graph.add_abuffer(
            sample_rate=frame.sample_rate,
            format=frame.format.name,
            layout=frame.layout.name,
            time_base=Fraction(1, frame.sample_rate),
        )
        encoder = self.stream.codec_context
        layout = f"sample_fmts={encoder.format.name}:sample_rates={self._rate}:channel_layouts={encoder.layout.name}"
        # One atempo filter slows down to half speed at most.
        tempos, tempo = [], 1 / self._factor
        while tempo < Fraction(1, 2):
            tempos.append(Fraction(1, 2))
            tempo *= 2
        if tempo != 1:
            tempos.append(tempo)
        stretching = [graph.add("atempo", f"{float(tempo):.12g}") for tempo in tempos]
        graph.link_nodes(source, *stretching, graph.add("aformat", layout), graph.add("abuffersink")).configure()
        if encoder.frame_size:
            graph.set_audio_frame_size(encoder.frame_size)
        return graph

    def _stretch(self, graph: av.filter.Graph, frame: av.AudioFrame | None) -> list[Any]:
        """Filter a frame (None: the end), and encode the frames that are finished."""
        graph.push(frame)
        finished: list[Any] = []
        for stretched in drain_graph(graph):
            stretched.pts = self._samples
            stretched.time_base = Fraction(1, self._rate)
            self._samples += stretched.samples
            finished += self._encode(stretched)
        return finished

    def _encode(self, frame: av.AudioFrame | None) -> list[Any]:
        """Encode a frame (None: the end); shift the packets to where the audio begins in the output."""
        packets: list[Any] = self.stream.encode(frame)
        for packet in packets:
            shift = int((self._offset or Fraction(0)) / packet.time_base)
            packet.pts += shift
            packet.dts += shift
        return packets

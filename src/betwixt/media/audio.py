"""Audio at another speed or in another codec: decoded, stretched at constant pitch, and encoded again.

    packets ── decode ──► FFmpeg's atempo ── encode ──► packets

`stream_copier` uses it for slow motion with `audio="stretch"`, and for audio whose codec the output's container does
not take (at factor 1, without atempo). All other audio is copied packet by packet.
"""

from __future__ import annotations

import io
from fractions import Fraction
from typing import Any

import av
import av.audio
import av.container
import av.error
import av.filter

_LOSSLESS = ("flac", "alac", "wavpack", "tta", "ape", "mlp", "truehd")


def choose_audio_encoder(codec: str, container: str) -> str:
    """Choose the encoder for audio: the source's own codec if the container takes it, or else one as good.

    Args:
        codec: FFmpeg's name of the source's codec.
        container: FFmpeg's name of the output's format.
    """
    usual = {"webm": "libopus", "avi": "libmp3lame", "ogg": "libopus", "mxf": "pcm_s16le"}.get(container, "aac")
    own = {"opus": "libopus", "vorbis": "libopus", "mp3": "libmp3lame"}.get(codec, codec)
    lossless = ["flac", "alac"] if codec in _LOSSLESS else []
    names: list[str] = [own, *lossless, usual, "aac", "pcm_s16le"]
    for name in names:
        try:
            # Some containers reject a codec only when their header is written, so one is written to memory.
            trial: Any
            with io.BytesIO() as memory, av.open(memory, "w", format=container) as trial:
                trial.add_stream(name, rate=48000)
                trial.start_encoding()
        except (av.error.FFmpegError, ValueError, RuntimeError):
            continue
        return name
    return usual


class AudioStretcher:
    """Stretches one audio stream into a new stream of an output container.

    Args:
        source: The input's audio stream.
        output: The output container, not yet started.
        container: FFmpeg's name of its format.
        factor: How many times longer the audio becomes, > 0.

    Attributes:
        stream: The stream of the output.
    """

    def __init__(
        self,
        source: av.audio.AudioStream,
        output: av.container.OutputContainer,
        container: str,
        factor: Fraction,
    ) -> None:
        context = source.codec_context
        name = choose_audio_encoder(context.name, container)
        self._factor = factor
        self._rate = 48000 if name == "libopus" else context.sample_rate
        self.stream: Any = output.add_stream(name, rate=self._rate, layout=context.layout.name)
        self._graph: av.filter.Graph | None = None
        self._offset: Fraction | None = None  # when the output begins, in seconds
        self._samples = 0  # how many samples were encoded

    def push(self, packet: av.Packet[Any], time: Fraction | None) -> list[Any]:
        """Take a packet of the source; return the packets of the output that are finished.

        Args:
            packet: The packet as it is in the input.
            time: When it begins, in seconds from the time that becomes 0 in the output.
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
            self._graph.push(frame)
            finished += self._pull(self._graph)
        return finished

    def flush(self) -> list[Any]:
        """Return the remaining packets."""
        finished: list[Any] = []
        if self._graph is not None:
            self._graph.push(None)
            finished += self._pull(self._graph)
        return finished + [self._shift(packet) for packet in self.stream.encode(None)]

    def _build_graph(self, frame: av.AudioFrame) -> av.filter.Graph:
        graph = av.filter.Graph()
        last = graph.add_abuffer(
            sample_rate=frame.sample_rate,
            format=frame.format.name,
            layout=frame.layout.name,
            time_base=Fraction(1, frame.sample_rate),
        )
        encoder = self.stream.codec_context
        layout = f"sample_fmts={encoder.format.name}:sample_rates={self._rate}:channel_layouts={encoder.layout.name}"
        filters = [("atempo", f"{float(tempo):.12g}") for tempo in _tempos(1 / self._factor)]
        for name, options in [*filters, ("aformat", layout)]:
            node = graph.add(name, options)
            last.link_to(node)
            last = node
        last.link_to(graph.add("abuffersink"))
        graph.configure()
        if encoder.frame_size:
            graph.set_audio_frame_size(encoder.frame_size)
        return graph

    def _pull(self, graph: av.filter.Graph) -> list[Any]:
        """Encode the frames that the filters have finished."""
        finished: list[Any] = []
        while True:
            try:
                frame: Any = graph.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return finished
            frame.pts = self._samples
            frame.time_base = Fraction(1, self._rate)
            self._samples += frame.samples
            finished += [self._shift(packet) for packet in self.stream.encode(frame)]

    def _shift(self, packet: Any) -> Any:
        """Move a packet to where the audio begins in the output."""
        shift = int((self._offset or Fraction(0)) / packet.time_base)
        packet.pts += shift
        packet.dts += shift
        return packet


def _tempos(tempo: Fraction) -> list[Fraction]:
    """The factors of a tempo, each of which one atempo filter can do: it slows down to half speed at most."""
    tempos = []
    while tempo < Fraction(1, 2):
        tempos.append(Fraction(1, 2))
        tempo *= 2
    return [*tempos, tempo] if tempo != 1 else tempos

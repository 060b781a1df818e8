"""Sound at another speed or in another codec: decoded, stretched with its pitch kept, encoded again.

    packets ── decode ──► FFmpeg's atempo ── encode ──► packets

Slow motion with ``--audio stretch`` comes here, and sound whose codec the output's container does not take; otherwise
audio packets are copied as they are.
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

__all__ = ["AudioStretcher", "choose_audio_encoder"]


_LOSSLESS = ("flac", "alac", "wavpack", "tta", "ape", "mlp", "truehd")


def choose_audio_encoder(codec: str, container: str) -> str:
    """The encoder for sound: the source's codec where the container takes it, else one that loses as little."""
    usual = {"webm": "libopus", "avi": "libmp3lame", "ogg": "libopus", "mxf": "pcm_s16le"}.get(container, "aac")
    own = {"opus": "libopus", "vorbis": "libopus", "mp3": "libmp3lame"}.get(codec, codec)
    lossless = ["flac", "alac"] if codec in _LOSSLESS else []
    names: list[str] = [own, *lossless, usual, "aac", "pcm_s16le"]
    for name in names:
        try:
            # Some containers only say when their header is written that they do not take a codec.
            trial: Any
            with io.BytesIO() as memory, av.open(memory, "w", format=container) as trial:
                trial.add_stream(name, rate=48000)
                trial.start_encoding()
        except (av.error.FFmpegError, ValueError, RuntimeError):
            continue
        return name
    return usual


class AudioStretcher:
    """Stretches one audio stream into a stream of an output container.

    Args:
        source: The input's audio stream.
        output: The output container, not yet started.
        container: FFmpeg's name of its format.
        factor: How many times longer the sound becomes, > 0.
    """

    def __init__(
        self,
        source: av.audio.AudioStream,
        output: av.container.OutputContainer,
        container: str,
        factor: Fraction,
    ) -> None:
        context = source.codec_context
        self._factor = factor
        self._output = output
        rate = context.sample_rate
        name = choose_audio_encoder(context.name, container)
        if name == "libopus":
            rate = 48000
        self.stream: Any = output.add_stream(name, rate=rate, layout=context.layout.name)
        self._rate = rate
        self._graph: av.filter.Graph | None = None
        self._context = context
        self._offset: Fraction | None = None
        self._zero = Fraction(0)

    def push(self, packet: av.Packet[Any], time: Fraction | None) -> list[Any]:
        """Take a packet of the source; give the packets of the output that are finished.

        Args:
            packet: The packet as it stands in the input.
            time: When it begins on the output's clock before stretching, in seconds.
        """
        if self._offset is None and time is not None:
            self._offset = max(Fraction(0), time) * self._factor
        made: list[Any] = []
        try:
            frames: list[Any] = packet.decode()
        except av.error.FFmpegError:
            return []
        for frame in frames:
            made += self._through(frame)
        return made

    def flush(self) -> list[Any]:
        """The rest."""
        made: list[Any] = []
        if self._graph is not None:
            self._graph.push(None)
            made += self._pull()
        made += [self._placed(p) for p in self.stream.encode(None)]
        return made

    def _through(self, frame: av.AudioFrame) -> list[Any]:
        if self._graph is None:
            self._graph = self._build(frame)
        frame.pts = None
        self._graph.push(frame)
        return self._pull()

    def _build(self, frame: av.AudioFrame) -> av.filter.Graph:
        graph = av.filter.Graph()
        last = graph.add_abuffer(
            sample_rate=frame.sample_rate,
            format=frame.format.name,
            layout=frame.layout.name,
            time_base=Fraction(1, frame.sample_rate),
        )
        # one atempo slows down to half speed at the most; at the same speed there is none
        left = 1 / self._factor
        steps = []
        while left < Fraction(1, 2):
            steps.append(Fraction(1, 2))
            left *= 2
        if left != 1:
            steps.append(left)
        for step in steps:
            node = graph.add("atempo", f"{float(step):.12g}")
            last.link_to(node)
            last = node
        wanted = self.stream.codec_context
        form = graph.add(
            "aformat",
            f"sample_fmts={wanted.format.name}:sample_rates={self._rate}:channel_layouts={wanted.layout.name}",
        )
        sink = graph.add("abuffersink")
        last.link_to(form)
        form.link_to(sink)
        graph.configure()
        size = wanted.frame_size
        if size:
            graph.set_audio_frame_size(size)
        return graph

    def _pull(self) -> list[Any]:
        assert self._graph is not None
        made: list[Any] = []
        while True:
            try:
                frame: Any = self._graph.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return made
            frame.pts = self._written
            frame.time_base = Fraction(1, self._rate)
            self._written += frame.samples
            made += [self._placed(p) for p in self.stream.encode(frame)]

    _written = 0

    def _placed(self, packet: Any) -> Any:
        shift = int((self._offset or Fraction(0)) / packet.time_base)
        packet.pts += shift
        packet.dts += shift
        return packet

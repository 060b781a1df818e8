"""Trials of an output: a small file is written to memory and read back, before the first frame is made.

Only a muxer knows what a container takes, and some find out when the first packet or the end is written; others take
streams and tags that no reader finds again. So `OutputDraft.read_back` writes all that an output would get, with a few
packets of each stream and a small picture in the place of the video, and returns what a reader finds in it.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av
import av.container
import av.error
from av.stream import Disposition

from betwixt.media.carriers import Carrier, codec_of

# Cheap encoders to stand in for the video's one.
_STAND_INS = {"webm": "libvpx", "ogg": "libvpx", "mxf": "mpeg2video", "flv": "flv"}
_USUAL_STAND_IN = "mpeg4"

# Readers of containers, where FFmpeg names them otherwise: so small a file may not be recognized.
_DEMUXERS = {"mp4": "mov", "3gp": "mov", "webm": "matroska"}

_SIDE = 64
"""Width and height of the stand-in's frames, in pixels."""

# Codecs of which FLV holds any channel layout.
_FLV_ANY_LAYOUT = ("aac", "ac3", "eac3", "flac", "opus")

# Decoders of one family tell these apart by the content of packets alone.
_SAME_CODEC = {"mp1": "mp3", "mp2": "mp3", "ssa": "ass"}


@dataclass(frozen=True)
class FoundStream:
    """A stream that a reader found."""

    kind: str  # as `Carrier.kind`
    codec: str | None
    tags: dict[str, str]
    disposition: Disposition
    rate: int = 0  # of audio: samples per second
    channels: int = 0  # of audio


@dataclass(frozen=True)
class Found:
    """What a reader found in a trial's file."""

    tags: dict[str, str]
    video: FoundStream
    streams: tuple[FoundStream | None, ...]  # for each carrier; None if its stream is not there
    chapters: int


@dataclass
class OutputDraft:
    """What an output gets beside its video.

    Attributes:
        container: FFmpeg's name of the format.
        options: Options of the muxer.
        carriers: The streams, in order.
        tags: Of the container.
        video_tags: Of the video stream.
        video_disposition: Of the video stream.
        chapters: As `set_chapters` takes them.
        timecode: Of the first frame; None for none.
        reel: The name of the reel, or tape, that a timecode track states; None for none.
    """

    container: str
    options: Mapping[str, str]
    carriers: list[Carrier] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    video_tags: dict[str, str] = field(default_factory=dict)
    video_disposition: Disposition = field(default_factory=lambda: Disposition(0))
    chapters: list[Any] = field(default_factory=list)
    timecode: str | None = None
    reel: str | None = None

    def apply(self, output: av.container.OutputContainer, video: Any) -> None:
        """Add everything but the carriers' streams to an output that has a video stream."""
        output.metadata.update(self.tags)
        video.metadata.update(self.video_tags)
        if self.timecode is not None:
            video.metadata["timecode"] = self.timecode
        if self.reel is not None:
            video.metadata["reel_name"] = self.reel
        video.disposition = self.video_disposition
        if self.chapters:
            output.set_chapters(self.chapters)

    def read_back(self, carriers: Sequence[Carrier] | None = None) -> Found | None:
        """What a reader finds in an output made of this draft.

        Args:
            carriers: The streams; None for those of the draft, with chapters and tags.

        Returns:
            None if it cannot be written or read.
        """
        memory = io.BytesIO()
        chosen = self.carriers if carriers is None else carriers
        if self.container == "flv" and any(map(_aborts_flv, chosen)):
            return None
        try:
            with av.open(memory, "w", format=self.container, container_options=dict(self.options)) as output:
                self._write(output, chosen, complete=carriers is None)
            memory.seek(0)
            demuxer = _DEMUXERS.get(self.container, self.container)
            with av.open(memory, format=demuxer, metadata_errors="replace") as back:
                return _found(back, chosen)
        except (ValueError, RuntimeError, OverflowError, av.error.FFmpegError):
            return None

    def _write(self, output: Any, carriers: Sequence[Carrier], complete: bool) -> None:
        # A drop-frame timecode exists at the rates of NTSC only.
        rate = Fraction(30000, 1001) if ";" in (self.timecode or "") else Fraction(25)
        video = _add_stand_in(output, rate)
        if complete:
            self.apply(output, video)
        streams = []
        for carrier in carriers:
            stream = carrier.add_to(output)
            if complete:
                carrier.describe(stream, self.container)
            elif carrier.kind == "picture":
                stream.disposition = Disposition.attached_pic
            streams.append(stream)
        output.start_encoding()
        for number in range(3):
            frame = av.VideoFrame(_SIDE, _SIDE, "yuv420p")
            for plane in frame.planes:
                plane.update(bytes(plane.buffer_size))
            frame.pts, frame.time_base = number, 1 / rate
            output.mux(video.encode(frame))
        for carrier, stream in zip(carriers, streams, strict=True):
            output.mux(carrier.sample(stream))
        output.mux(video.encode(None))


def _add_stand_in(output: Any, rate: Fraction) -> Any:
    """Add a cheap video stream."""
    video = output.add_stream(_STAND_INS.get(output.format.name, _USUAL_STAND_IN), rate=rate)
    video.width = video.height = _SIDE
    return video


def _found(back: Any, carriers: Sequence[Carrier]) -> Found:
    """Match the streams of a file with the carriers, which are in the same order within each kind."""
    by_kind: dict[str, list[FoundStream]] = {}
    tags = dict(back.metadata)
    for stream in back.streams:
        is_picture = stream.type == "video" and stream.disposition & Disposition.attached_pic
        kind = "picture" if is_picture else stream.type
        if kind == "data" and "timecode" in stream.metadata:
            tags |= stream.metadata
            continue
        found = FoundStream(kind, codec_of(stream), dict(stream.metadata), stream.disposition, *_sound_format(stream))
        by_kind.setdefault(kind, []).append(found)
    video = by_kind.get("video", [])
    if not video:
        raise ValueError("the video is not there")
    rest = {kind: iter(streams) for kind, streams in by_kind.items()}
    next(rest["video"])
    matched = []
    for carrier in carriers:
        stream = next(rest.get(carrier.kind, iter(())), None)
        matched.append(stream if stream is not None and _same(carrier, stream) else None)
    return Found(tags | video[0].tags, video[0], tuple(matched), len(back.chapters()))


def _aborts_flv(carrier: Carrier) -> bool:
    """Whether FFmpeg's FLV muxer would end the process at audio that it does not take."""
    return carrier.kind == "audio" and not (carrier.codec in _FLV_ANY_LAYOUT or carrier.layout in ("mono", "stereo"))


def _sound_format(stream: Any) -> tuple[int, int]:
    context = stream.codec_context
    return (context.sample_rate, context.channels) if stream.type == "audio" and context is not None else (0, 0)


def _same(carrier: Carrier, found: FoundStream) -> bool:
    wanted = carrier.codec
    if wanted is None or found.codec is None:
        return wanted is found.codec
    # Nothing but the container says how PCM is to be read.
    if wanted.startswith("pcm_") and (carrier.rate, carrier.channels) != (found.rate, found.channels):
        return False
    return _SAME_CODEC.get(wanted, wanted) == _SAME_CODEC.get(found.codec, found.codec)

"""Writing a video: frames in order, everything else copied, the finished file moved into place in one step.

    Frame, index ── encode ──► packets ─┐
    packets of the other streams ───────┴─ mux ──► .name.part ── commit ──► name
    packets of an earlier run's journal ┘

Frame k is written at ``offset + k / rate`` exactly, as far as the container can say so. Audio, subtitles, attachments,
data and cover pictures are copied packet by packet with their times shifted by the same amount as the video's;
chapters, tags, languages and dispositions go along. What the container cannot hold is collected in `lost`, to be
named in one warning. Nothing appears under the output's name before `commit`. With a journal (`media.journal`) a
conversion that was broken off goes on: what it had encoded is written again, packet by packet.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import re
from collections.abc import Generator, Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import IO, Any

import av
import av.container
import av.error
import av.stream
from av.audio.stream import AudioStream
from av.video.frame import PictureType
from av.video.reformatter import Interpolation

from betwixt.errors import OutputError, UsageError
from betwixt.files import temporary_path, write_error
from betwixt.media import codecs
from betwixt.media.audio import AudioStretcher
from betwixt.media.colour import FULL, LIMITED
from betwixt.media.frames import has_alpha, is_rgb, planes
from betwixt.media.journal import Journal, JournalPacket, discard_journal
from betwixt.media.probe import VideoInfo
from betwixt.media.reader import StreamPacket
from betwixt.media.timeline import TimeMap

__all__ = ["VideoWriter", "can_keep_journal"]

# tags that describe the input's own encoding, not its content
_STALE_TAGS = ("encoder", "major_brand", "minor_version", "compatible_brands", "duration", "handler_name", "vendor_id")
_STALE_PREFIXES = ("_statistics", "number_of_", "bps")

# what the MP4 muxer writes of the container's tags
_MP4_TAGS = {
    "title", "artist", "album_artist", "composer", "album", "date", "comment", "genre", "copyright", "grouping",
    "lyrics", "description", "synopsis", "show", "episode_id", "network", "keywords", "episode_sort",
    "season_number", "media_type", "hd_video", "gapless_playback", "track", "disc", "tmpo", "creation_time",
    "location", "year", "performer", "author", "rating", "purchase_date", "sort_name", "sort_artist", "sort_album",
}  # fmt: skip

_EXACT = int(Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT)

_UNCOMPRESSED = ("rawvideo", "wrapped_avframe", "v210", "v410")


class VideoWriter:
    """A video file to be written once, from front to back.

    Args:
        target: The output path, or an open binary file (written as y4m, for a pipe).
        source: The input, whose properties the output takes on.
        rate: Frames a second.
        start: When frame 0 stands on the output's clock, in seconds.
        codec: Encoder as the user names it; None for the usual one.
        quality: Its quality as the user gives it; None for the default.
        pixel_format: None for the one nearest to the source's.
        threads: Encoder threads, 0 for its own choice.
        container: FFmpeg's name of the format; None to take it from the suffix.
        tick: What frame numbers count, in seconds, where frames do not follow at the rate; None for 1 / rate.
        timestamps: When each frame stands, in ticks; None where each stands at its number.
        last_duration: How long the last frame of `timestamps` stands, in ticks.
        options: Further options of the encoder, over the usual ones; what ends in "-params" is appended to.
        journal: Where the packets are kept until the file is whole; the writer leaves or discards it.

    Attributes:
        resumed_frames: How many frames, from the first on, the journal holds from an earlier run. Write these with
            `write_from_journal`, in order, instead of `write`.

    Raises:
        UsageError: for a codec, quality or pixel format that does not exist or fit.
        OutputError: if the file cannot be written.
    """

    def __init__(
        self,
        target: Path | IO[bytes],
        source: VideoInfo,
        rate: Fraction,
        *,
        start: Fraction = Fraction(0),
        codec: str | None = None,
        quality: str | None = None,
        pixel_format: str | None = None,
        threads: int = 0,
        container: str | None = None,
        tick: Fraction | None = None,
        timestamps: Sequence[int] | None = None,
        last_duration: int | None = None,
        options: Mapping[str, str] | None = None,
        journal: Journal | None = None,
    ) -> None:
        self.lost: list[str] = []
        self.notes: list[str] = []
        self._journal, self.resumed_frames = journal, 0 if journal is None else journal.frames
        self._kept = _none() if journal is None else journal.packets()
        self._begun = False
        self._last: int | None = None
        self.path = target if isinstance(target, Path) else None
        self._source, self._rate, self._start = source, rate, start
        self._tick = 1 / rate if tick is None else tick
        self._committed = self._closed = False
        self._lengths: dict[int, int] = {}
        self._timestamps = timestamps
        if timestamps and last_duration is not None:
            self._lengths[timestamps[-1]] = last_duration
        self._numbers = {} if timestamps is None else {at: number for number, at in enumerate(timestamps)}
        self._copies: dict[int, Any] = {}
        self._stretchers: dict[int, AudioStretcher] = {}
        self._map = TimeMap()
        if self.path is not None:
            self.container = container or codecs.container_of(self.path)
        else:
            self.container = container or "yuv4mpegpipe"
        self.encoder = codecs.choose_encoder(codec, self.container, source)
        self.pixel_format = codecs.pixel_format_for(
            self.encoder, pixel_format, source.pixel_format, source.width, source.height
        )
        # A GIF's frames come with alpha, whether anything shows through them or not.
        if source.codec != "gif" and has_alpha(source.pixel_format) and not has_alpha(self.pixel_format):
            self.lost.append("the transparency")
        settings = codecs.options_for(self.encoder, quality, source, self.pixel_format, threads)
        for key, value in (options or {}).items():
            joined = key.endswith("-params") and key in settings
            settings[key] = f"{settings[key]}:{value}" if joined else value
        container_options = {}
        if self.container == "yuv4mpegpipe":
            container_options["strict"] = "-1"  # more than 8 bits
        if self.container == "mov" and any(key.startswith("com.apple") for key in source.metadata):
            container_options["movflags"] = "use_metadata_tags"
        self._temporary = temporary_path(self.path) if self.path is not None else None
        self._file: IO[bytes] | None = None
        try:
            if self._temporary is not None:
                # a file of our own, since its errors (no space) come back as they are
                self._file = open(self._temporary, "w+b", buffering=1 << 20)  # noqa: SIM115
                self._out = av.open(self._file, "w", format=self.container, container_options=container_options)
            else:
                self._out = av.open(target, "w", format=self.container, container_options=container_options)
            self._stream = self._add_video(settings)
        except (OSError, av.error.FFmpegError) as error:
            self.abort()
            raise write_error(error, self.path or "standard output") from None
        except BaseException:
            self.abort()
            raise

    def _add_video(self, options: dict[str, str]) -> Any:
        source = self._source
        try:
            stream: Any = self._out.add_stream(self.encoder.name, rate=self._rate, options=options)
        except ValueError as error:
            if "does not support" not in str(error):
                raise
            raise UsageError(
                f"{self.encoder.name} video does not fit into {self.container}: choose another --codec or suffix."
            ) from None
        context = stream.codec_context
        context.width, context.height = source.width, source.height
        context.pix_fmt = self.pixel_format
        context.time_base = self._tick
        context.framerate = self._rate
        if source.aspect is not None:
            context.sample_aspect_ratio = source.aspect
        self._set_colour(context)
        if self.encoder.name == "libx265" and self.container in ("mp4", "mov"):
            context.codec_tag = "hvc1"  # the tag that Apple's players ask for
        if source.rotation is not None:
            if self.container in ("mp4", "mov", "matroska", "webm"):
                stream.set_display_matrix(source.rotation)
            else:
                self.lost.append("the rotation")
        if source.hdr is not None and not codecs.carries_hdr(self.encoder):
            self.lost.append("the HDR mastering metadata")
        self._ticks = self._tick
        if self._start:
            whole = math.lcm(self._tick.denominator, self._start.denominator)
            self._ticks = Fraction(1, whole if whole < 1 << 31 else self._tick.denominator)
            stream.time_base = self._ticks
        return stream

    def _set_colour(self, context: Any) -> None:
        colour = self._source.colour
        self._converts_rgb = is_rgb(self._source.pixel_format) and not is_rgb(self.pixel_format)
        if self._converts_rgb:
            # pictures become video: what players assume of HD
            primaries = colour.primaries if colour.primaries not in (0, 2) else 1
            transfer = colour.transfer if colour.transfer not in (0, 2) else 1
            matrix = 9 if primaries == 9 else 1
            coded_range = LIMITED
        else:
            primaries, transfer, matrix = colour.primaries, colour.transfer, colour.matrix
            coded_range = FULL if self._source.pixel_format.startswith("yuvj") else colour.range
        context.color_primaries, context.color_trc = primaries, transfer
        context.colorspace, context.color_range = matrix, coded_range
        self._coded = (primaries, transfer, matrix, coded_range)

    # -- the other streams

    def copy_streams(
        self,
        source: av.container.InputContainer,
        video: Any,
        time: TimeMap,
        audio: str = "copy",
        without: Sequence[str] = (),
    ) -> None:
        """Prepare to copy everything but the video stream `video` of an input.

        Args:
            source: The open input.
            video: Its video stream, which is not copied.
            time: From its clock to the output's.
            audio: "copy", "drop" or "stretch".
            without: Attachments and tags of these names are left out.
        """
        self._map = time
        for stream in source.streams:
            if stream.type == "attachment" and stream.metadata.get("filename") in without:
                continue
            if stream.index == video.index:
                self._describe(self._stream, stream)
            elif stream.type == "audio" and audio == "drop":
                continue
            elif isinstance(stream, AudioStream) and audio == "stretch":
                self._stretchers[stream.index] = AudioStretcher(stream, self._out, self.container, time.scale)
                self._describe(self._stretchers[stream.index].stream, stream)
            elif stream.type == "attachment" or self._holds(stream):
                self._add_copy(stream)
            elif (
                isinstance(stream, AudioStream)
                and stream.codec_context is not None
                and self.container not in ("yuv4mpegpipe", "gif")
            ):
                self._reencode(stream)
            else:
                self.lost.append(_name(stream))
        self._copy_tags(source, without)

    def _reencode(self, stream: AudioStream) -> None:
        """Keep sound whose codec the container does not take: encoded anew, at the same speed."""
        try:
            stretcher = AudioStretcher(stream, self._out, self.container, Fraction(1))
        except (ValueError, av.error.FFmpegError):
            self.lost.append(_name(stream))
            return
        self._stretchers[stream.index] = stretcher
        self._describe(stretcher.stream, stream)
        name = stretcher.stream.codec_context.name
        self.notes.append(f"{self.container} does not take {_name(stream)}: it is encoded as {name}.")

    def _add_copy(self, stream: Any) -> None:
        if stream.type == "attachment" and self.container != "matroska":
            self.lost.append(f"attachment {stream.metadata.get('filename', '')}".strip())
            return
        try:
            copy = self._out.add_stream_from_template(stream, opaque=True)
        except (ValueError, av.error.FFmpegError):
            self.lost.append(_name(stream))
            return
        self._describe(copy, stream)
        if stream.type != "attachment":
            self._copies[stream.index] = copy

    def _holds(self, stream: Any) -> bool:
        """Whether the container takes this stream: tried on a container in memory, since only its header tells."""
        if self.container == "yuv4mpegpipe":
            return False
        if stream.type not in ("audio", "video", "subtitle", "data"):
            return False
        try:
            with io.BytesIO() as memory:
                trial = av.open(memory, "w", format=self.container)
                trial.add_stream_from_template(stream, opaque=True)
                trial.start_encoding()
                trial.close()
        except (ValueError, RuntimeError, av.error.FFmpegError):
            return False
        return True

    def _describe(self, target: Any, source: Any) -> None:
        tags = {k: v for k, v in source.metadata.items() if not _stale(k)}
        if self.container in ("mp4", "mov") and source.metadata.get("handler_name"):
            tags["handler_name"] = source.metadata["handler_name"]
        target.metadata.update(tags)
        target.disposition = source.disposition

    def _copy_tags(self, source: av.container.InputContainer, without: Sequence[str]) -> None:
        if self.container == "yuv4mpegpipe":
            return
        tags = {k: v for k, v in source.metadata.items() if not _stale(k) and k not in without}
        self._out.metadata.update(tags)
        if self.container == "mp4":
            unknown = sorted(k for k in tags if k.lower() not in _MP4_TAGS and not k.lower().startswith("com.apple"))
            self.lost += [f"tag {key}" for key in unknown]
        try:
            chapters = source.chapters()
        except av.error.FFmpegError:
            chapters = []
        if not chapters:
            return
        if self.container not in ("mp4", "mov", "matroska", "webm", "ogg", "nut"):
            self.lost.append("the chapters")
            return
        moved: list[Any] = []
        for chapter in chapters:
            base = chapter["time_base"] or Fraction(1, 1000)
            begin, end = (max(self._map(chapter[key] * base), Fraction(0)) for key in ("start", "end"))
            if end > 0:
                moved.append({**chapter, "start": round(begin / base), "end": round(end / base), "time_base": base})
        self._out.set_chapters(moved)

    # -- writing

    def write(
        self, frame: av.VideoFrame, index: int, kind: PictureType = PictureType.NONE, length: int | None = None
    ) -> None:
        """Encode `frame` as output frame `index`, which stands at ``start + index * tick``.

        Args:
            frame: The frame.
            index: Its number.
            kind: As what it is coded; NONE to leave that to the encoder, whatever the source frame was.
            length: How long it stands, in ticks; None for one frame of the rate.

        Raises:
            OutputError: if it cannot be encoded or written.
        """
        self._begin()
        frame = self.to_output_format(frame)
        at = index if self._timestamps is None else self._timestamps[index]
        frame.pts, frame.time_base = at, self._tick
        frame.pict_type = int(kind)
        if length is not None:
            self._lengths[at] = length
        try:
            self._mux_video(self._stream.encode(frame))
        except (OSError, av.error.FFmpegError) as error:
            raise self._failure(error) from None

    def write_from_journal(self) -> None:
        """Write the next packet of the journal, in the place of a frame that an earlier run has encoded.

        Raises:
            OutputError: if it cannot be read or written.
        """
        self._begin()
        kept = next(self._kept)
        packet = av.Packet(kept.data)
        packet.pts = kept.number if self._timestamps is None else self._timestamps[kept.number]
        packet.dts, packet.duration, packet.is_keyframe = kept.dts, kept.duration, kept.key
        packet.stream, packet.time_base = self._stream, self._stream.codec_context.time_base
        try:
            self._mux_video([packet], new=False)
        except (OSError, av.error.FFmpegError) as error:
            raise self._failure(error) from None

    def _begin(self) -> None:
        """Open the encoder, before anything is written, and compare what it says of its stream with the journal."""
        if self._begun or self._journal is None or self._temporary is None:
            return
        self._begun = True
        try:
            self._out.start_encoding()
        except (OSError, av.error.FFmpegError) as error:
            raise self._failure(error) from None
        self._journal.describe(self._temporary, _parameters(bytes(self._stream.codec_context.extradata or b"")))

    def copy(self, item: StreamPacket) -> None:
        """Write a packet of another stream, moved onto the output's clock."""
        self._begin()
        packet = item.packet
        index = packet.stream.index
        time = None if item.time is None else self._map(item.time)
        try:
            if index in self._stretchers:
                before = None if item.time is None else item.time - self._map.zero
                self._mux_all(self._stretchers[index].push(packet, before))
            elif index in self._copies:
                if time is None and packet.dts is None:
                    return
                if packet.is_discard and self.container not in ("mp4", "mov"):
                    return  # lies before an edit list's beginning; only these containers can hide it again
                base = packet.time_base
                if packet.pts is not None:
                    packet.pts = round(self._map(packet.pts * base) / base)
                if packet.dts is not None:
                    packet.dts = round(self._map(packet.dts * base) / base)
                if self._map.scale != 1 and packet.duration:
                    packet.duration = round(packet.duration * self._map.scale)
                packet.stream = self._copies[index]
                self._out.mux(packet)
        except (OSError, av.error.FFmpegError) as error:
            raise self._failure(error) from None

    def commit(self) -> None:
        """Finish the file and move it to its name.

        Raises:
            OutputError: if the last of it cannot be written; then nothing is left behind.
        """
        try:
            self._mux_video(self._stream.encode(None))
            for stretcher in self._stretchers.values():
                self._mux_all(stretcher.flush())
            self._out.close()
            self._closed = True
            if self._file is not None and self._temporary is not None and self.path is not None:
                self._file.flush()
                if self._journal is not None:
                    # The journal goes when this is on the disk.
                    os.fsync(self._file.fileno())
                self._file.close()
                os.replace(self._temporary, self.path)
                if self._journal is None:
                    discard_journal(self.path)
            self._committed = True
            self._kept.close()
            if self._journal is not None:
                self.notes += self._journal.notes
                self._journal.discard()
        except (OSError, av.error.FFmpegError) as error:
            failure = self._failure(error)
            self.abort()
            raise failure from None

    def abort(self) -> bool:
        """Leave nothing behind but a journal that is worth it, and return whether there is one.

        Does nothing after `commit`.
        """
        if self._committed:
            return False
        self._kept.close()
        kept = self._journal is not None and self._journal.suspend()
        if not self._closed and hasattr(self, "_out"):
            self._closed = True
            with contextlib.suppress(OSError, ValueError, av.error.FFmpegError):
                self._out.close()
        if self._file is not None and not self._file.closed:
            with contextlib.suppress(OSError):
                self._file.close()
        if self._temporary is not None:
            with contextlib.suppress(OSError):
                self._temporary.unlink(missing_ok=True)
        return kept

    def to_output_format(self, frame: av.VideoFrame) -> av.VideoFrame:
        """The frame in the format that is encoded; the frame itself wherever that is its own format."""
        if frame.format.name == self.pixel_format:
            return frame
        if frame.format.name == self.pixel_format.replace("yuv", "yuvj", 1):
            result = av.VideoFrame(frame.width, frame.height, self.pixel_format)
            for target, part in zip(planes(result), planes(frame), strict=True):
                target[...] = part
        elif self._converts_rgb:
            result = frame.reformat(
                format=self.pixel_format,
                src_color_range="JPEG",
                dst_color_range="MPEG",
                dst_colorspace="BT2020" if self._coded[2] == 9 else "ITU709",
                interpolation=_EXACT,
            )
        else:
            coded = "JPEG" if self._coded[3] == FULL else "MPEG"
            result = frame.reformat(
                format=self.pixel_format, src_color_range=coded, dst_color_range=coded, interpolation=_EXACT
            )
        result.color_primaries, result.color_trc = self._coded[0], self._coded[1]
        result.colorspace, result.color_range = self._coded[2], self._coded[3]
        return result

    def _mux_video(self, packets: Iterable[Any], new: bool = True) -> None:
        for packet in packets:
            if self._journal is not None:
                if packet.dts is not None:
                    # Where the encoder began anew, its first times may meet the last of the run before.
                    if new and self.resumed_frames and self._last is not None:
                        packet.dts = max(packet.dts, min(self._last + 1, packet.pts))
                    self._last = packet.dts
                if new:
                    number = packet.pts if self._timestamps is None else self._numbers[packet.pts]
                    self._journal.add_packet(
                        bytes(packet), number, packet.dts, packet.duration or 0, bool(packet.is_keyframe)
                    )
            length = self._lengths.pop(packet.pts, None) if self._lengths else None
            if length is not None:
                packet.duration = length
            if self._start:
                step = self._tick / self._ticks
                shift = self._start / self._ticks
                packet.pts = round(packet.pts * step + shift)
                packet.dts = round(packet.dts * step + shift) if packet.dts is not None else None
                packet.duration = round((1 / self._rate if length is None else length * self._tick) / self._ticks)
                packet.time_base = self._ticks
            elif not packet.duration:
                packet.duration = max(1, round(1 / self._rate / self._tick))
            self._out.mux(packet)

    def _mux_all(self, packets: Iterable[Any]) -> None:
        for packet in packets:
            self._out.mux(packet)

    def _failure(self, error: BaseException) -> OutputError:
        return write_error(error, self.path or "standard output")

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.abort()


def can_keep_journal(encoder: str, pixel_format: str) -> bool:
    """Whether packets of an encoder can be kept for another run, and are worth it."""
    # libvpx keeps transparency beside its packets, and what is not compressed would take its size a second time.
    return not (encoder in _UNCOMPRESSED or (encoder.startswith("libvpx") and has_alpha(pixel_format)))


def _none() -> Generator[JournalPacket, None, None]:
    yield from ()


def _parameters(description: bytes) -> bytes:
    """An encoder's description of its stream without what it says of itself: x265 tells its number of threads there."""
    units = re.split(rb"\x00\x00\x00?\x01", description)
    if units[0]:
        return description
    # HEVC's prefix SEI; no unit of H.264 that describes a stream begins with this byte.
    return b"\x00\x00\x01".join(unit for unit in units if unit[:1] != b"\x4e")


def _stale(key: str) -> bool:
    lower = key.lower()
    return lower in _STALE_TAGS or lower.startswith(_STALE_PREFIXES)


def _name(stream: Any) -> str:
    context = getattr(stream, "codec_context", None)
    codec = context.name if context is not None else ""
    language = stream.metadata.get("language")
    return " ".join(part for part in (stream.type, codec, f"({language})" if language else "") if part)

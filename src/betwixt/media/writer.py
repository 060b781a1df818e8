"""Writes a video file: encodes frames in order, copies the other streams, and moves the finished file into place.

    frame, number ── encode ──────────────► packets ─┐
    packets of an earlier run's journal ────────────►│
    packets of other encoders (segment) ────────────►├─ mux ──► .name.part ── commit ──► name
    packets of the other streams (stream_copier) ───►┘

A caller (a conversion in `pipeline`, the video codec) takes these steps:

    writer = VideoWriter(path, reader.info, rate)              chooses encoder, quality and pixel format; opens the file
    writer.copy_streams(reader, time_map)                      optional: audio, subtitles, chapters, tags
    writer.write(frame, k); writer.copy(packet); ..            frames in order; packets as the reader gives them
    writer.commit()                                            or abort(), which leaves no trace of the output

Frame k is shown at ``start + k / rate``, as exactly as the container can store it. What the container cannot hold is
listed in `lost`, for one warning. Nothing appears under the output's name before `commit`.

With a journal (`media.journal`) an interrupted conversion can be resumed: each encoded packet is also kept there, and
the next run writes these packets with `write_from_journal` instead of encoding the frames again.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import IO, Any

import av
import av.container
import av.error
from av.video.frame import PictureType

from betwixt.errors import OutputError
from betwixt.files import WorkingFile, file_url
from betwixt.machine import keep_scheduling
from betwixt.media import codecs, matroska
from betwixt.media.container import named_causes, write_errors
from betwixt.media.encoded_video import EncodedPacket, EncodedVideo, name_of_hdr
from betwixt.media.encoder_options import EncoderSettings
from betwixt.media.frames import has_alpha
from betwixt.media.journal import Journal, discard_journal
from betwixt.media.presentation import ratio
from betwixt.media.probe import VideoInfo
from betwixt.media.reader import Reader, StreamPacket
from betwixt.media.stream_copier import StreamCopier
from betwixt.media.timeline import MAX_TERM, TimeMap
from betwixt.media.y4m import Y4MFile

_ASPECT_ERROR = Fraction(1, 100)
"""Relative error of a sample aspect ratio that a container stores in few bits and that nobody sees."""

_LARGEST_DELAY = 1000
"""The most frames by which an encoder may reorder; decoding times further from the presentation time are not times."""

_UNCOMPRESSED = ("rawvideo", "wrapped_avframe", "v210", "v410")


class VideoWriter:
    """A video file that is written once, from front to back.

    Args:
        target: The output path, or an open binary file (written as y4m, for a pipe).
        source: The input, whose size, colour, rotation and aspect ratio the output gets; frames are turned upright if
            the container has no field for the rotation.
        rate: Frames per second.
        start: When frame 0 is shown, in seconds.
        settings: How the video is encoded; None for the usual way.
        tone_map: "on" to map HDR to SDR.
        tick: The time unit of frame numbers, in seconds; None for 1 / rate.
        timestamps: When each frame is shown, in ticks; None to show each frame at its number.
        last_duration: The duration of the last frame of `timestamps`, in ticks.
        journal: Keeps the packets until the file is complete; the writer leaves or discards it.

    Attributes:
        encoder: The encoder.
        pixel_format: The pixel format that is encoded.
        lost: Descriptions of what the output cannot hold of the input.
        notes: Other messages for the user.
        resumed_frames: Number of frames, from the first on, that the journal holds from an earlier run. Write these
            with `write_from_journal`, in order, instead of `write`.

    Raises:
        UsageError: for a setting that does not exist or does not fit, or an encoder that does not open.
        OutputError: if the file cannot be written.
    """

    def __init__(
        self,
        target: Path | IO[bytes],
        source: VideoInfo,
        rate: Fraction,
        *,
        start: Fraction = Fraction(0),
        settings: EncoderSettings | None = None,
        tone_map: str = "auto",
        tick: Fraction | None = None,
        timestamps: Sequence[int] | None = None,
        last_duration: int | None = None,
        journal: Journal | None = None,
    ) -> None:
        self.path = target if isinstance(target, Path) else None
        self.container = "yuv4mpegpipe" if self.path is None else codecs.container_of(self.path)
        self._video = EncodedVideo(self.container, source, rate, settings or EncoderSettings(), tone_map)
        self.encoder, self.pixel_format = self._video.encoder, self._video.pixel_format
        self.lost, self.notes = self._video.lost, self._video.notes
        self._source = source = self._video.source
        self._rate = rate
        self._tick = 1 / rate if tick is None else tick
        self._start, self._cut = _start_in(self.container, start, self._tick)
        self._durations: dict[int, int] = {}  # by timestamp, in ticks; only those that differ from one frame
        self._timestamps = timestamps
        self._numbers = {} if timestamps is None else {at: number for number, at in enumerate(timestamps)}
        if timestamps and last_duration is not None:
            self._durations[timestamps[-1]] = last_duration
        self._journal = journal
        self._kept = None if journal is None else journal.packets()
        self.resumed_frames = 0 if journal is None else journal.frames
        self._last_dts: int | None = None
        self._copier: StreamCopier | None = None
        self._begun = self._committed = False
        self._has_frames = False
        self._open = False  # whether FFmpeg has the container open

        self._working: WorkingFile | None = None
        try:
            with self._write_errors():
                self._out = self._open_container(target)
                self._open = True
                self._stream = self._add_video()
        except BaseException:
            self.abort()
            raise

    def _open_container(self, target: Path | IO[bytes]) -> av.container.OutputContainer:
        options = {}
        if self.container == "yuv4mpegpipe":
            options["strict"] = "-1"  # more than 8 bits
        if self.container == "mp4" and self._source.dolby_vision:
            options["strict"] = "unofficial"  # the box of the Dolby Vision configuration
        if self.container in ("mp4", "mov") and any(key.startswith("com.apple") for key in self._source.metadata):
            options["movflags"] = "use_metadata_tags"
        self._muxer_options = options
        file: Any = target
        if self.path is not None:
            # A Python file, because PyAV passes on its errors (disk full) unchanged.
            self._working = WorkingFile(self.path)
            file = self._working.file
        if self.container == "yuv4mpegpipe" and self._source.aspect is not None:
            file = Y4MFile(file, self._source.aspect)
        return av.open(file, "w", format=self.container, container_options=options)

    def _add_video(self) -> Any:
        """Add the video stream to the container."""
        stream = self._video.add_stream(self._out, self._tick)
        # In the container's time base both the ticks and the start are integers.
        self._time_base = self._tick
        if self._start:
            common = math.lcm(self._tick.denominator, self._start.denominator)
            if common > MAX_TERM:  # then the start is rounded
                common = self._tick.denominator * max(1, 1_000_000 // self._tick.denominator)
            self._time_base = Fraction(1, common)
            stream.time_base = self._time_base
        return stream

    def copy_streams(self, reader: Reader, time_map: TimeMap, audio: str = "copy", without: Sequence[str] = ()) -> None:
        """Carry over all of an input but its video stream, of which only the tags are copied; then call `begin`.

        Args:
            reader: The open input.
            time_map: From the input's times to the output's.
            audio: "copy", "drop" or "stretch".
            without: Attachments and tags of these names are left out.

        Raises:
            OutputError: if the file's header cannot be written.
        """
        with self._write_errors():
            self._video.describe_like(reader.stream, self._stream, self._tick)
            self._copier = StreamCopier(
                self._out, self._stream, time_map, self._rate, self._muxer_options, self.lost, self.notes
            )
            self._copier.add_streams(reader, audio, without)
        self.begin()

    def begin(self) -> None:
        """Write the header, if it is not yet written: then every stream is known to fit before a frame is made.

        Raises:
            OutputError: if it cannot be written.
        """
        if self._begun:
            return
        self._begun = True
        self._video.begin()
        if self._source.aspect is not None and self.container in ("matroska", "webm"):
            self._stream.metadata["title"] = matroska.pad_title(self._stream.metadata.get("title", ""))
        with self._write_errors(), named_causes():
            with keep_scheduling():
                self._out.start_encoding()
            if self._copier is not None:
                self._copier.begin()
        if self._journal is not None and self._working is not None:
            # The journal compares the encoder's stream parameters with the earlier run's.
            extradata = bytes(self._stream.codec_context.extradata or b"")
            self._journal.describe(self._working.path, stream_parameters(extradata))

    # -- writing

    def write(
        self,
        frame: av.VideoFrame,
        index: int,
        picture_type: PictureType = PictureType.NONE,
        duration: int | None = None,
    ) -> None:
        """Encode a frame, which is shown at ``start + index * tick``.

        Args:
            frame: The frame.
            index: Its number.
            picture_type: I, P or B; NONE lets the encoder choose.
            duration: In ticks; None for one frame of the rate.

        Raises:
            OutputError: if it cannot be encoded or written.
        """
        self.begin()
        frame = self._video.convert(frame)
        at = index if self._timestamps is None else self._timestamps[index]
        frame.pts, frame.time_base = at, self._tick
        frame.pict_type = int(picture_type)
        if duration is not None:
            self._durations[at] = duration
        with self._write_errors():
            self._write_packets(self._stream.encode(frame))

    def write_from_journal(self) -> None:
        """Write the next packet of the journal, in place of a frame that an earlier run has encoded.

        Raises:
            OutputError: if it cannot be read or written.
        """
        self.begin()
        assert self._kept is not None, "there is no journal"
        packet = self._packet(next(self._kept))
        self._last_dts = packet.dts if packet.dts is not None else self._last_dts
        with self._write_errors():
            self._mux_video(packet)

    def write_encoded(self, packet: EncodedPacket) -> None:
        """Write the next packet of a segment that another encoder has made (`segment.SegmentEncoder`).

        Raises:
            OutputError: if it cannot be written.
        """
        self.begin()
        with self._write_errors():
            self._keep_and_mux(self._packet(packet))

    def _packet(self, encoded: EncodedPacket) -> Any:
        """A packet of the output's video stream."""
        packet: Any = av.Packet(encoded.data)
        packet.pts = encoded.number if self._timestamps is None else self._timestamps[encoded.number]
        packet.dts, packet.duration, packet.is_keyframe = encoded.dts, encoded.duration, encoded.key
        packet.stream, packet.time_base = self._stream, self._stream.codec_context.time_base
        return packet

    def copy(self, item: StreamPacket) -> None:
        """Write a packet of another stream, with its times mapped to the output's.

        Raises:
            OutputError: if it cannot be written.
        """
        self.begin()
        if self._copier is not None:
            with self._write_errors():
                self._copier.write(item)

    def commit(self) -> None:
        """Finish the file and move it to its name.

        Raises:
            OutputError: if the last of it cannot be written; then nothing is left behind.
        """
        try:
            with self._write_errors():
                self._write_packets(self._stream.encode(None))
                if self._copier is not None:
                    self._copier.flush()
                self._out.close()
                self._open = False
                if self._working is not None and self.path is not None:
                    self._working.file.flush()
                    self._check_written(self._working)
                    if self._journal is not None:
                        os.fsync(self._working.file.fileno())  # only then may the journal be discarded
                    self._working.publish()
                    if self._journal is None:
                        discard_journal(self.path)
                self._committed = True
                if self._journal is not None and self._kept is not None:
                    self._kept.close()
                    self.notes += self._journal.notes
                    self._journal.discard()
        except OutputError:
            self.abort()
            raise

    def _check_written(self, written: WorkingFile) -> None:
        """Open the finished file again, and say if it lost the sample aspect ratio or that the video is HDR.

        Raises:
            OutputError: if it cannot be opened: some muxers break a file with streams that they claim to take.
        """
        source = self._source
        if source.aspect is not None and self.container in ("matroska", "webm"):
            # FFmpeg writes it for some codecs only.
            size = matroska.display_size(source.width, source.height, source.aspect)
            matroska.write_display_size(written.file, *size)
        try:
            with av.open(file_url(written.path)) as container:
                stream = container.streams.video[0]
                stated = stream.sample_aspect_ratio or Fraction(1)
                transfer = getattr(stream.codec_context, "color_trc", None)
        except (IndexError, av.error.FFmpegError):
            if not self._has_frames:
                return
            raise OutputError(
                f"{self.path} cannot be written: FFmpeg made a file that cannot be read. "
                "Choose another suffix or `codec`."
            ) from None
        if source.aspect is not None and abs(stated / source.aspect - 1) > _ASPECT_ERROR:
            self.lost.append(f"the pixel aspect ratio {ratio(source.aspect)}")
        if source.colour.hdr and self.container != "yuv4mpegpipe" and transfer != source.colour.transfer:
            self.lost.append(name_of_hdr(source))

    def abort(self) -> bool:
        """Remove the unfinished file, and return whether a journal is kept to resume from; no effect after `commit`."""
        if self._committed:
            return False
        if self._kept is not None:
            self._kept.close()
        kept = self._journal is not None and self._journal.suspend()
        if self._open:
            self._open = False
            with contextlib.suppress(OSError, ValueError, av.error.FFmpegError):
                self._out.close()
        if self._working is not None:
            self._working.discard()
        return kept

    def to_output_format(self, frame: av.VideoFrame) -> av.VideoFrame:
        """Convert a frame to what is encoded; a frame that is that already is returned as it is."""
        return self._video.convert(frame)

    def _write_packets(self, packets: Iterable[Any]) -> None:
        """Write packets of the encoder."""
        for packet in map(self._video.finish, packets):
            self._keep_and_mux(packet)

    def _keep_and_mux(self, packet: Any) -> None:
        """Write a video packet whose times are in ticks, and keep it in the journal."""
        if packet.dts is not None:
            if not 0 <= packet.pts - packet.dts <= _LARGEST_DELAY / (self._rate * self._tick):
                packet.dts = packet.pts  # x265 leaves it undefined for a video of two frames
            # An encoder that starts in the middle of a file may begin before the last packet of the one before.
            if self._last_dts is not None:
                packet.dts = max(packet.dts, min(self._last_dts + 1, packet.pts))
            self._last_dts = packet.dts
        if self._journal is not None:
            number = packet.pts if self._timestamps is None else self._numbers[packet.pts]
            duration, key = packet.duration or 0, bool(packet.is_keyframe)
            self._journal.add_packet(EncodedPacket(bytes(packet), number, packet.dts, duration, key))
        self._mux_video(packet)

    def _mux_video(self, packet: Any) -> None:
        """Write a video packet whose times are in ticks."""
        self._has_frames = True
        duration = self._durations.pop(packet.pts, None)
        if duration is not None:
            packet.duration = duration
        if self._start:
            step = self._tick / self._time_base
            shift = self._start / self._time_base
            packet.pts = round(packet.pts * step + shift)
            packet.dts = round(packet.dts * step + shift) if packet.dts is not None else None
            seconds = 1 / self._rate if duration is None else duration * self._tick
            packet.duration = round(seconds / self._time_base)
            packet.time_base = self._time_base
        elif not packet.duration:
            packet.duration = max(1, round(1 / self._rate / self._tick))
        self._out.mux(packet)

    def _write_errors(self) -> contextlib.AbstractContextManager[None]:
        return write_errors(self.path or "standard output")

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.abort()


def _start_in(container: str, start: Fraction, tick: Fraction) -> tuple[Fraction, Fraction]:
    """When the video begins in a container's file, and how much of all other streams is cut before that, in seconds."""
    if container == "avi":  # counts frames: empty ones come first
        return round(start / tick) * tick, Fraction(0)
    if container == "mxf":  # begins with the first frame
        return Fraction(0), start
    return start, Fraction(0)


def can_keep_journal(encoder: str, pixel_format: str) -> bool:
    """Whether a journal can keep the packets of an encoder at a reasonable size."""
    # libvpx stores transparency beside its packets; uncompressed video would take up its size twice.
    return not (encoder in _UNCOMPRESSED or (encoder.startswith("libvpx") and has_alpha(pixel_format)))


def stream_parameters(extradata: bytes) -> bytes:
    """The encoder's stream parameters (extradata) without HEVC's SEI units.

    There x265 writes its settings, with the number of threads, which may differ between the runs of a journal.
    """
    units = re.split(rb"\x00\x00\x00?\x01", extradata)
    if units[0]:
        return extradata
    # 0x4e begins a prefix SEI unit of HEVC; no unit of H.264 that describes a stream begins with this byte.
    return b"\x00\x00\x01".join(unit for unit in units if unit[:1] != b"\x4e")

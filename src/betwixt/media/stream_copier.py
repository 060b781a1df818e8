"""Copies all of an input but its video stream: audio, subtitles, attachments, data, chapters and tags.

    StreamPacket ──┬─► same packet, new times ────────────────────────► output container
                   └─► AudioStretcher (other speed or other codec) ───►

Each `VideoWriter` has one `StreamCopier`. Before anything is written, `add_streams` adds a stream to the output for
each stream that the container takes, and lists the others in `lost`. `write` then takes the packets one by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from operator import methodcaller
from typing import Any

import av
import av.container
import av.error
from av.audio.stream import AudioStream

from betwixt.media.audio import AudioStretcher
from betwixt.media.container import can_mux
from betwixt.media.probe import describe_stream
from betwixt.media.reader import StreamPacket
from betwixt.media.timeline import TimeMap

# Tags that describe the encoding of the input, not its content.
_STALE_TAGS = ("encoder", "major_brand", "minor_version", "compatible_brands", "duration", "handler_name", "vendor_id")
_STALE_PREFIXES = ("_statistics", "number_of_", "bps")

# The tags of a container that the MP4 muxer writes.
_MP4_TAGS = {
    "title", "artist", "album_artist", "composer", "album", "date", "comment", "genre", "copyright", "grouping",
    "lyrics", "description", "synopsis", "show", "episode_id", "network", "keywords", "episode_sort",
    "season_number", "media_type", "hd_video", "gapless_playback", "track", "disc", "tmpo", "creation_time",
    "location", "year", "performer", "author", "rating", "purchase_date", "sort_name", "sort_artist", "sort_album",
}  # fmt: skip

_WITH_CHAPTERS = ("mp4", "mov", "matroska", "webm", "ogg", "nut")


class StreamCopier:
    """The streams of an output that are copied from its input.

    Args:
        output: The output container, not yet started.
        container: FFmpeg's name of its format.
        time_map: From input times to output times.
        lost: Gets a description of all that the container cannot hold.
        notes: Gets other messages for the user.
    """

    def __init__(
        self,
        output: av.container.OutputContainer,
        container: str,
        time_map: TimeMap,
        lost: list[str],
        notes: list[str],
    ) -> None:
        self._output, self._container, self._map = output, container, time_map
        self._lost, self._notes = lost, notes
        self._copies: dict[int, Any] = {}  # by the number of the input stream
        self._stretchers: dict[int, AudioStretcher] = {}

    # -- before anything is written

    def add_streams(self, source: av.container.InputContainer, video: Any, audio: str, without: Sequence[str]) -> None:
        """Add an output stream for each stream of `source` except `video`; copy chapters and tags.

        The arguments are those of `VideoWriter.copy_streams`.
        """
        for stream in source.streams:
            is_attachment = stream.type == "attachment"
            if stream.index == video.index or (is_attachment and stream.metadata.get("filename") in without):
                continue
            if stream.type == "audio" and audio == "drop":
                continue
            if isinstance(stream, AudioStream) and audio == "stretch":
                self._add_stretcher(stream, self._map.scale)
            elif is_attachment or self._can_hold(stream):
                self._add_copy(stream)
            elif (
                isinstance(stream, AudioStream)
                and stream.codec_context is not None
                and self._container not in ("yuv4mpegpipe", "gif")
            ):
                self._reencode(stream)
            else:
                self._lost.append(str(describe_stream(stream)))
        self._copy_tags_and_chapters(source, without)

    def _add_stretcher(self, stream: AudioStream, factor: Fraction) -> AudioStretcher:
        stretcher = AudioStretcher(stream, self._output, self._container, factor)
        self._stretchers[stream.index] = stretcher
        copy_tags(stream, stretcher.stream, self._container)
        return stretcher

    def _reencode(self, stream: AudioStream) -> None:
        """Keep audio whose codec the container does not take, encoded again at the same speed."""
        name = str(describe_stream(stream))
        try:
            codec = self._add_stretcher(stream, Fraction(1)).stream.codec_context.name
        except (ValueError, av.error.FFmpegError):
            self._lost.append(name)
        else:
            self._notes.append(f"{self._container} does not take {name}: it is encoded as {codec}.")

    def _add_copy(self, stream: Any) -> None:
        try:
            if stream.type == "attachment" and self._container != "matroska":
                raise ValueError("only Matroska has attachments")
            copy = self._output.add_stream_from_template(stream, opaque=True)
        except (ValueError, av.error.FFmpegError):
            self._lost.append(str(describe_stream(stream)))
            return
        copy_tags(stream, copy, self._container)
        if stream.type != "attachment":
            self._copies[stream.index] = copy

    def _can_hold(self, stream: Any) -> bool:
        if self._container == "yuv4mpegpipe" or stream.type not in ("audio", "video", "subtitle", "data"):
            return False
        return can_mux(self._container, methodcaller("add_stream_from_template", stream, opaque=True))

    def _copy_tags_and_chapters(self, source: av.container.InputContainer, without: Sequence[str]) -> None:
        if self._container == "yuv4mpegpipe":
            return
        tags = {k: v for k, v in source.metadata.items() if not _is_stale(k) and k not in without}
        self._output.metadata.update(tags)
        if self._container == "mp4":
            unknown = sorted(k for k in tags if k.lower() not in _MP4_TAGS and not k.lower().startswith("com.apple"))
            self._lost += [f"tag {key}" for key in unknown]
        try:
            chapters = source.chapters()
        except av.error.FFmpegError:
            return
        if not chapters:
            return
        if self._container not in _WITH_CHAPTERS:
            self._lost.append("the chapters")
            return
        moved: list[Any] = []
        for chapter in chapters:
            base = chapter["time_base"] or Fraction(1, 1000)
            begin, end = (max(self._map(chapter[key] * base), Fraction(0)) for key in ("start", "end"))
            if end > 0:
                moved.append({**chapter, "start": round(begin / base), "end": round(end / base), "time_base": base})
        self._output.set_chapters(moved)

    # -- writing

    def write(self, item: StreamPacket) -> None:
        """Write a packet with its times mapped to the output; packets of streams that are not copied are dropped."""
        packet = item.packet
        index = packet.stream.index
        if index in self._stretchers:
            time = None if item.time is None else item.time - self._map.zero
            self._mux(self._stretchers[index].push(packet, time))
        elif index in self._copies:
            if item.time is None and packet.dts is None:
                return
            if packet.is_discard and self._container not in ("mp4", "mov"):
                return  # lies before the beginning of an edit list, which only these containers can hide again
            base = packet.time_base
            if packet.pts is not None:
                packet.pts = round(self._map(packet.pts * base) / base)
            if packet.dts is not None:
                packet.dts = round(self._map(packet.dts * base) / base)
            if self._map.scale != 1 and packet.duration:
                packet.duration = round(packet.duration * self._map.scale)
            packet.stream = self._copies[index]
            self._output.mux(packet)

    def flush(self) -> None:
        """Write what the audio encoders still hold."""
        for stretcher in self._stretchers.values():
            self._mux(stretcher.flush())

    def _mux(self, packets: Iterable[Any]) -> None:
        for packet in packets:
            self._output.mux(packet)


def copy_tags(source: Any, target: Any, container: str) -> None:
    """Copy the tags and the disposition of a stream, without tags that describe the encoding of the input."""
    tags = {k: v for k, v in source.metadata.items() if not _is_stale(k)}
    if container in ("mp4", "mov") and source.metadata.get("handler_name"):
        tags["handler_name"] = source.metadata["handler_name"]
    target.metadata.update(tags)
    target.disposition = source.disposition


def _is_stale(key: str) -> bool:
    lower = key.lower()
    return lower in _STALE_TAGS or lower.startswith(_STALE_PREFIXES)

"""Carries over all of an input but its video stream: audio, subtitles, pictures, attachments, data, chapters and tags.

    first packets of each stream ── trial (media.trial) ──► a Carrier for each stream: copied, or else encoded
    StreamPacket ── Carrier ──► packets for the output container

Each `VideoWriter` has one `StreamCopier`. Before anything is written, `add_streams` finds for each stream the best way
that the container takes, and lists in `lost` what it does not hold at all. `write` then takes the packets one by one.
"""

from __future__ import annotations

import errno
import itertools
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from typing import Any

import av
import av.container
import av.error
from av.format import Flags
from av.stream import Discard, Disposition

from betwixt.media.audio import EncodedAudio, encodings, is_known, stated_layout, usual_layout
from betwixt.media.carriers import Attachment, Carrier, Copied, OutputTimes, Picture, codec_of
from betwixt.media.probe import describe_stream
from betwixt.media.reader import Reader, StreamPacket
from betwixt.media.subtitles import ConvertedSubtitles, is_text, text_encoders
from betwixt.media.tags import content_tags, missing_marks, missing_tags, stream_tags
from betwixt.media.timecode import shift_timecode
from betwixt.media.timeline import TimeMap
from betwixt.media.trial import Found, OutputDraft

_NAMES = {
    "matroska": "Matroska", "webm": "WebM", "mpegts": "MPEG-TS", "avi": "AVI", "mxf": "MXF", "flv": "FLV", "ogg": "Ogg",
    "nut": "NUT",
}  # fmt: skip

_WITHOUT_TIMES = ("avi", "mxf", "ogg")
"""Containers whose sound begins with the picture, whatever the times of its packets."""

_APART = Fraction(1, 25)
"""Sound that begins further than this from the picture, in seconds, is seen to be out of sync."""

_REFUSALS = (errno.EINVAL, errno.ENOSYS, errno.ERANGE)
"""What muxers say to packets that they do not understand."""

_FFMPEG_ERRORS = 1 << 16
"""FFmpeg's own numbers of errors, such as that of invalid data, lie beyond those of the system."""

_MOST_TAGS = 12
"""Of so many lost tags, each one is named."""


class StreamCopier:
    """The streams of an output that come from its input.

    Args:
        output: The output container, with its video stream; not yet started.
        video: Its video stream.
        time_map: From input times to output times.
        rate: The output's rate in frames per second.
        options: Options of the muxer.
        lost: Gets a description of all that the container cannot hold.
        notes: Gets other messages for the user.
    """

    def __init__(
        self,
        output: av.container.OutputContainer,
        video: Any,
        time_map: TimeMap,
        rate: Fraction,
        options: dict[str, str],
        lost: list[str],
        notes: list[str],
    ) -> None:
        self._output, self._video, self._map, self._rate = output, video, time_map, rate
        self._container = output.format.name
        self._refusal = f"{_NAMES.get(self._container, self._container)} does not take it as it is"
        self._lost, self._notes = lost, notes
        nonstrict: Any = Flags.ts_nonstrict
        self._strict = not output.format.flags & nonstrict.value
        self._draft = OutputDraft(self._container, options)
        self._carriers: dict[int, Carrier] = {}  # by the number of the input stream
        self._refused = 0  # number of packets that the muxer did not take

    # -- before anything is written

    def add_streams(self, reader: Reader, audio: str, without: Sequence[str]) -> None:
        """Add an output stream for each stream of the input but its video; carry over chapters and tags.

        The arguments are those of `VideoWriter.copy_streams`.
        """
        source, video = reader.container, reader.stream
        streams = [s for s in source.streams if s.index != video.index and not _is_elsewhere(s, source, without, audio)]
        if self._container == "yuv4mpegpipe":
            self._lost += map(_describe_lost, streams)
            return
        self._settle([(s, self._ways(s, reader.first_packets.get(s.index, []), audio)) for s in streams])
        draft = self._draft
        draft.tags = content_tags(source.metadata, without)
        draft.video_tags = stream_tags(video, self._container)
        draft.video_disposition = video.disposition
        draft.timecode = self._timecode(reader)
        draft.reel = _stated("reel_name", reader) if draft.timecode is not None else None
        draft.chapters = self._map_chapters(source)
        found = draft.read_back()
        if found is None and draft.timecode is not None:
            self._lost.append(f"the timecode {draft.timecode}")
            draft.timecode = draft.reel = None
            found = draft.read_back()
        self._report(found, video)
        draft.apply(self._output, self._video)
        for carrier in draft.carriers:
            carrier.open(self._output, self._container)
            self._carriers[carrier.source.index] = carrier

    def _ways(self, stream: Any, packets: Sequence[Any], audio: str) -> Iterator[Carrier]:
        """The ways to carry over a stream, best first."""
        is_mov = self._container in ("mp4", "mov")
        if stream.type == "attachment":
            yield Attachment(stream, packets)
        elif stream.disposition & Disposition.attached_pic:
            yield from (Attachment(stream, packets), Picture(stream, packets))
        elif stream.type == "audio":
            yield from self._audio_ways(stream, packets, audio)
        elif stream.type == "data":
            # Of data without a codec's name, only mp4 and mov say what it is, and FFmpeg writes only that of GoPro.
            if codec_of(stream) not in (None, *(() if is_mov else ("bin_data",))):
                yield Copied(stream, packets, self._output_times(), is_mov)
        elif stream.type in ("video", "subtitle"):
            yield Copied(stream, packets, self._output_times(), is_mov)
            if is_text(stream):
                for encoder in text_encoders(stream):
                    way = ConvertedSubtitles(stream, packets, encoder, self._output_times())
                    way.note = f"{way.name} is written as {way.codec}: {self._refusal}."
                    yield way

    def _audio_ways(self, stream: Any, packets: Sequence[Any], audio: str) -> Iterator[Carrier]:
        if not is_known(stream):
            return
        guessed = usual_layout(stream) if stated_layout(stream) is None else None
        is_shifted = self._container in _WITHOUT_TIMES and self._begins_apart(packets)
        if audio != "stretch" and not is_shifted:
            yield from self._audio_copies(stream, packets, guessed)
        if guessed is not None:
            stream.codec_context.layout = guessed
        reason = "" if audio == "stretch" else self._refusal
        if is_shifted:
            reason = f"in {_NAMES[self._container]} it has to begin with the picture"
        factor = self._map.scale if audio == "stretch" else Fraction(1)
        from_zero = self._container in _WITHOUT_TIMES
        for encoding in encodings(stream, self._container):
            encoded = EncodedAudio(stream, packets, encoding, self._map.zero, factor, from_zero)
            changes = encoded.changes()
            note = f"{encoded.name} is encoded as {changes}{': ' * bool(reason)}{reason}."
            notes = [_guess_note(stream, guessed), note if reason or changes != encoded.codec else None]
            encoded.note = " ".join(filter(None, notes)) or None
            yield encoded

    def _audio_copies(self, stream: Any, packets: Sequence[Any], guessed: str | None) -> Iterator[Carrier]:
        """The ways to copy audio: with a channel layout that is `guessed` where none is stated, and without."""
        keeps_discarded = self._container in ("mp4", "mov")
        as_it_is = Copied(stream, packets, self._output_times(), keeps_discarded)
        placed = Copied(stream, packets, self._output_times(), keeps_discarded, guessed)
        placed.note = _guess_note(stream, guessed)
        # One or two channels leave no doubt where they belong.
        yield from (placed, as_it_is) if placed.note is None else (as_it_is, placed)

    def _begins_apart(self, packets: Sequence[Any]) -> bool:
        """Whether a stream begins before or after the output."""
        times = [self._map(packet.pts * packet.time_base) for packet in packets if packet.pts is not None]
        # Only in MXF something is left of packets that lie before 0.
        return bool(times) and (min(times) > _APART or (min(times) < -_APART and self._container == "mxf"))

    def _output_times(self) -> OutputTimes:
        return OutputTimes(self._map, self._strict)

    def _settle(self, wishes: Sequence[tuple[Any, Iterator[Carrier]]]) -> None:
        """Choose a way for each stream that the container takes together with all others."""
        best = [next(ways, None) for _, ways in wishes]
        chosen = [way for way in best if way is not None]
        if not self._holds(chosen):
            chosen = []
            for first, (_, next_ways) in zip(best, wishes, strict=True):
                ways = itertools.chain([] if first is None else [first], next_ways)
                # An attachment depends on the container alone, and may be large.
                others = [way for way in chosen if not isinstance(way, Attachment)]
                way = next((way for way in ways if self._holds([*others, way])), None)
                chosen += [] if way is None else [way]
        self._draft.carriers = chosen
        kept = {way.source.index for way in chosen}
        for stream in (stream for stream, _ in wishes if stream.index not in kept):
            if stream.type == "audio" and stream.codec_context is not None and not is_known(stream):
                name = describe_stream(stream)
                self._notes.append(
                    f"{name} is announced, but nothing of it comes in the first seconds: it is left out."
                )
            else:
                self._lost.append(_describe_lost(stream))
        self._notes += dict.fromkeys(way.note for way in chosen if way.note is not None)

    def _holds(self, carriers: Sequence[Carrier]) -> bool:
        found = self._draft.read_back(carriers)
        return found is not None and all(found.streams)

    def _timecode(self, reader: Reader) -> str | None:
        """The timecode of the output's first frame."""
        timecode = _stated("timecode", reader)
        if timecode is None:
            return None
        later = max(Fraction(0), self._map.zero - reader.info.start)
        shifted = shift_timecode(timecode, reader.info.rate, later, self._rate)
        if shifted is None:
            self._lost.append(f"the timecode {timecode}")
        return shifted

    def _map_chapters(self, source: av.container.InputContainer) -> list[Any]:
        try:
            chapters = source.chapters()
        except av.error.FFmpegError:
            return []
        moved: list[Any] = []
        for chapter in chapters:
            base = chapter["time_base"] or Fraction(1, 1000)
            begin, end = (max(self._map(chapter[key] * base), Fraction(0)) for key in ("start", "end"))
            if end > 0:
                moved.append({**chapter, "start": round(begin / base), "end": round(end / base), "time_base": base})
        return moved

    def _report(self, found: Found | None, video: Any) -> None:
        """List what a reader does not find in a trial of the output."""
        draft = self._draft
        if found is None:
            return
        keys = missing_tags(draft.tags, found.tags)
        if len(keys) > _MOST_TAGS:
            self._lost.append(f"{len(keys)} tags ({', '.join(keys[:3])} and others)")
        else:
            self._lost += [f"tag {key}" for key in keys]
        described = [("the video", video, draft.video_tags, found.video)]
        described += [
            (way.name, way.source, stream_tags(way.source, self._container), stream)
            for way, stream in zip(draft.carriers, found.streams, strict=True)
            if stream is not None and way.kind != "attachment"
        ]
        for name, stream, tags, kept in described:
            missing = [f"the {key}" for key in missing_tags(tags, kept.tags) if (stream, key) != (video, "language")]
            missing += [f'the mark "{mark}"' for mark in missing_marks(stream.disposition, kept.disposition)]
            self._lost += [f"{what} of {name}" for what in missing]
        if draft.timecode is not None and "timecode" not in {key.lower() for key in found.tags}:
            self._lost.append(f"the timecode {draft.timecode}")
        if draft.reel is not None and "reel_name" not in {key.lower() for key in found.tags}:
            self._lost.append(f"the reel name {draft.reel}")
        if draft.chapters and found.chapters < len(draft.chapters):
            self._lost.append("the chapters")

    # -- writing

    def begin(self) -> None:
        """Write what comes right after the output's header."""
        for carrier in self._carriers.values():
            self._mux(carrier.begin())

    def write(self, item: StreamPacket) -> None:
        """Write a packet with its times mapped to the output; packets of streams that are left out are dropped."""
        carrier = self._carriers.get(item.packet.stream.index)
        if carrier is not None:
            self._mux(carrier.write(item))

    def flush(self) -> None:
        """Write what the encoders still hold, and note what did not come through."""
        for carrier in self._carriers.values():
            self._mux(carrier.flush())
            if (note := carrier.closing_note()) is not None:
                self._notes.append(note)
        if self._refused:
            self._notes.append(f"{self._refused} damaged packets of sound or other streams are left out.")

    def _mux(self, packets: Iterable[Any]) -> None:
        for packet in packets:
            try:
                self._output.mux(packet)
            except av.error.FFmpegError as error:
                if error.errno not in _REFUSALS and (error.errno or 0) < _FFMPEG_ERRORS:
                    raise
                self._refused += 1


def _stated(tag: str, reader: Reader) -> str | None:
    """What the video, the container or any stream says of a tag that is about the video."""
    stated = [o.metadata.get(tag) for o in (reader.stream, reader.container, *reader.container.streams)]
    return next((text for text in stated if text), None)


def _is_elsewhere(stream: Any, source: Any, without: Sequence[str], audio: str) -> bool:
    """Whether a stream is not to be carried over, or gets into the output in another way."""
    if stream.type == "attachment":
        return stream.metadata.get("filename") in without
    if stream.type == "audio":
        return audio == "drop"
    if stream.type == "data" and "timecode" in stream.metadata:
        return True  # it is a tag of the video, too
    # QuickTime keeps chapters in tracks of their own.
    is_chapters = stream.discard == Discard.all or bool(stream.disposition & Disposition.timed_thumbnails)
    return is_chapters and bool(source.chapters())


def _guess_note(stream: Any, guessed: str | None) -> str | None:
    """A note that the layout of an audio stream's channels is guessed; None if there is no doubt."""
    if guessed is None or stream.channels <= 2:
        return None
    name = describe_stream(stream)
    return f"{name} does not say where its {stream.channels} channels belong: they are taken as {guessed}."


def _describe_lost(stream: Any) -> str:
    if stream.type == "unknown":
        return "a stream of an unknown kind"
    return "the cover picture" if stream.disposition & Disposition.attached_pic else str(describe_stream(stream))

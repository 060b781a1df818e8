"""A conversion, prepared: its input is open, its output checked, its model loaded and every option decided.

Nothing is written yet: `Job.describe` tells what would be done, `run.convert` does it. Blur and extrapolation are
subclasses that add what they check and record.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO, Any, ClassVar

from betwixt.errors import UsageError
from betwixt.files import files_fingerprint
from betwixt.media.journal import Journal
from betwixt.media.probe import VideoInfo
from betwixt.media.reader import Reader
from betwixt.media.retimed import RetimedReader
from betwixt.media.segment import SegmentSettings
from betwixt.media.sequence import ImageSource
from betwixt.media.source import Source
from betwixt.media.timeline import TimeMap
from betwixt.media.writer import VideoWriter
from betwixt.pipeline.frame_job import FrameJob
from betwixt.pipeline.planner import Rates
from betwixt.pipeline.production import check_cluster
from betwixt.pipeline.targets import Sink, choose_target
from betwixt.version import __version__


@dataclass(frozen=True)
class Plan:
    """What a conversion will do.

    Attributes:
        source: The input.
        rates: The rates.
        frames_out: How many frames will be written; None if the input does not state its length.
        output: The output's name.
        encoder: FFmpeg's encoder, or what else writes the frames.
        pixel_format: The pixel format that the frames are encoded in.
        model: The model's name.
        audio: What happens to the sound: "copy", "drop", "stretch" or "none".
        notes: Remarks for the user.
    """

    source: VideoInfo
    rates: Rates
    frames_out: int | None
    output: str
    encoder: str
    pixel_format: str
    model: str
    audio: str
    notes: tuple[str, ...] = ()


_NOT_RECORDED = {
    "device", "threads", "overwrite", "audio", "journal", "cluster", "encode",
    "fps", "factor", "slow", "model", "runtime", "weights", "masks", "codec", "pixel_format",
}  # fmt: skip
"""Options whose values a journal does not record. Those in the first line do not change the frames; of the others it
records what follows from them: the rate, the arithmetic, a hash of the weights, the encoder."""


class Job(FrameJob):
    """A conversion, ready to run. It holds an open input: use it as a context manager, or call `close`.

    Args:
        source: As for `FrameJob`.
        target: A video file, a GIF, a folder or pattern of images, or an open binary file.
        options: The options given (`pipeline.options`); the others take their defaults.

    Attributes:
        conversion: The name of the conversion in the journal.
        target: The output.
        audio: What happens to the sound: "copy", "drop", "stretch" or "none".
        encoding: The encoder and the pixel format.
        cluster: The machines that make the new frames; None for this one.
        segments: How these machines encode segments of the output; None if this one encodes.
        began: When it was created, by `time.monotonic`.

    Raises:
        UsageError: for a wrong option.
        InputError: if the source cannot be read.
        OutputError: if the target must not or cannot be written.
    """

    conversion: ClassVar[str] = "interpolate"

    def __init__(self, source: Source, target: str | Path | IO[bytes], options: Mapping[str, Any]) -> None:
        self.began = time.monotonic()
        self._target = target
        super().__init__(source, options)

    def check_output(self) -> None:
        self.cluster = self._values["cluster"]
        check_cluster(self.cluster)
        self.target = choose_target(self._target, self.source, self._values)
        self.max_rate = self.target.max_rate

    def prepare(self) -> None:
        self.encoding = self.target.encoding(self.reader.info)
        super().prepare()
        self.audio = self._choose_audio()
        self.segments = self._choose_segments()

    def _choose_segments(self) -> SegmentSettings | None:
        if self._values["encode"] == "driver":
            return None
        if self.cluster is None:
            raise UsageError('`encode="distributed"` is for `cluster`: leave it out.')
        return self.target.segments(self.reader.info, self.rates.output)

    def _choose_audio(self) -> str:
        audio, slow = self._values["audio"], self.rates.slow != 1
        if audio == "copy" and slow:
            raise UsageError('The sound cannot be copied into slow motion: pass `audio="stretch"` or `audio="drop"`.')
        if isinstance(self.reader, RetimedReader) and self.reader.pace != 1 and not slow:
            return self._choose_retimed_audio(self.reader, audio)
        if audio == "auto":
            audio = "drop" if slow else "copy"
        elif audio == "stretch" and not slow:
            audio = "copy"
        if not any(stream.kind == "audio" for stream in self.reader.info.streams):
            return "none"
        if audio == "drop" and slow:
            self.notes.append('Slow motion has no sound; `audio="stretch"` keeps it, at the same pitch.')
        return audio

    def _choose_retimed_audio(self, reader: RetimedReader, audio: str) -> str:
        """Copy the sound beside frames at another rate than the stated one, or let it keep step with them."""
        if not any(stream.kind == "audio" for stream in reader.info.streams):
            return "none"
        if audio == "copy" or (audio == "auto" and reader.sound_fits):
            if audio == "auto":
                self.notes.append("At `input_fps` the frames last as long as the sound, which is copied as it is.")
            reader.stream_pace = Fraction(1)
            return "copy"
        if audio == "auto":
            speed = f"{float(100 * abs(1 / reader.pace - 1)):.3g} % {'faster' if reader.pace < 1 else 'slower'}"
            self.notes.append(
                f"At `input_fps` the video plays {speed}, and so does the sound, at the same pitch; "
                '`audio="copy"` leaves it as it is.'
            )
        return "drop" if audio == "drop" else "stretch"

    @property
    def copies_streams(self) -> bool:
        """Whether the input's other streams are copied."""
        return True

    def open_sink(self) -> Sink:
        """Open the output."""
        info, reader = self.reader.info, self.reader
        zero, offset = self.start_time, Fraction(0)
        if not self._start:
            # Streams keep their distances in time. The earliest begins at 0, as players expect.
            zero = reader.earliest_start
            offset = (info.start - zero) * self.rates.slow
            if offset < Fraction(1, 90000):
                offset = Fraction(0)
        sink = self.target.open(info, self.rates.output, offset, self._open_journal())
        if isinstance(sink, VideoWriter):
            try:
                if isinstance(reader, (Reader, RetimedReader)) and self.copies_streams:
                    audio = "drop" if self.audio == "none" else self.audio
                    time_map = TimeMap(zero, self.rates.slow)
                    if isinstance(reader, RetimedReader):
                        time_map = TimeMap(reader.to_stream_time(zero), self.rates.slow * reader.stream_pace)
                        reader = reader.stated
                    sink.copy_streams(reader, time_map, audio)
                sink.begin()
            except BaseException:
                sink.abort()
                raise
        return sink

    def _open_journal(self) -> Journal | None:
        """The journal to record the output in; None if it could not be resumed."""
        if not self._values["journal"] or self._weights_hash is None or not self._source_files():
            return None
        output = self.target.journal_output(self.reader.info)
        return None if output is None else Journal(output, self.settings(), self._values["overwrite"])

    def _source_files(self) -> list[Path]:
        """The files that the frames come from; empty for a pipe or a network address."""
        if isinstance(self.reader, ImageSource):
            return self.reader.paths
        path = Path(self.source) if isinstance(self.source, (str, Path)) else None
        return [path] if path is not None and path.is_file() else []

    def settings(self) -> dict[str, Any]:
        """All that the output's frames depend on: an interrupted run is resumed only with the same settings."""
        encoder, pixel_format = self.encoding
        masks, given = self._values["masks"], dict(self._values)
        recorded = {k.replace("_", "-"): _as_json(given[k]) for k in given if k not in _NOT_RECORDED}
        return recorded | {
            "version": __version__,
            "conversion": self.conversion,
            "source": files_fingerprint(self._source_files()),
            "start": self._start,
            "end": self._end,
            "input-fps": self._input_fps,
            "rate": (self.rates.output, self.rates.slow),
            "scene-cuts": self._cuts if isinstance(self._cuts, str) else self._cuts.digest(),
            "model": self.model.name,
            "weights": self._weights_hash,
            "arithmetic": self.model.arithmetic,
            "masks": None if masks is None else files_fingerprint(sorted(Path(masks).rglob("*.png"))),
            "codec": encoder,
            "pixel-format": pixel_format,
            "name": Path(self.target.name).name,
        }

    def describe(self) -> Plan:
        """What will be done."""
        encoder, pixel_format = self.encoding
        return Plan(
            source=self.reader.info,
            rates=self.rates,
            frames_out=self.frames_out,
            output=self.target.name,
            encoder=encoder,
            pixel_format=pixel_format,
            model=self.model.name,
            audio=self.audio if self.audio == "none" or self.target.holds_sound else "drop",
            notes=tuple(self.notes),
        )


def _as_json(value: Any) -> Any:
    return value if value is None or isinstance(value, bool) else str(value)

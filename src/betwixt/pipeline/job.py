"""A conversion, prepared: its input is open, its output checked, its model loaded and every option decided.

Nothing is written yet: `Job.describe` tells what would be done, `run.convert` does it. Blur and extrapolation are
subclasses that add what they check and record.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO, Any, ClassVar, Self

from betwixt.errors import UsageError
from betwixt.files import files_fingerprint, local_path
from betwixt.machine import available_cores
from betwixt.masks.store import MaskFolder
from betwixt.media.cut_list import CutList, read_cuts
from betwixt.media.journal import Journal
from betwixt.media.probe import VideoInfo
from betwixt.media.retimed import RetimedReader
from betwixt.media.sequence import ImageSource
from betwixt.media.source import open_source
from betwixt.media.timeline import TimeMap, frame_count, parse_rate, parse_time
from betwixt.media.writer import VideoWriter
from betwixt.models.base import check_interpolates, masks_unsupported
from betwixt.pipeline.options import INTERPOLATE, InterpolateOptions, Number, OptionSet
from betwixt.pipeline.planner import Planner, Rates, choose_rates, exact_multiple
from betwixt.pipeline.targets import Sink, choose_target
from betwixt.runtime.load import hash_weights, load_model
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
    "device", "threads", "overwrite", "audio", "journal",
    "fps", "factor", "slow", "model", "runtime", "weights", "masks", "codec", "pixel_format",
}  # fmt: skip
"""Options whose values a journal does not record. Those in the first line do not change the frames; of the others it
records what follows from them: the rate, the arithmetic, a hash of the weights, the encoder."""


class Job:
    """A conversion, ready to run. It holds an open input: use it as a context manager, or call `close`.

    Args:
        source: A video, a folder or pattern of images, or an open binary file.
        target: A video file, a GIF, a folder or pattern of images, or an open binary file.
        options: The options given (`pipeline.options`); the others take their defaults.

    Attributes:
        conversion: The name of the conversion in the journal.
        declared: The options that it takes.
        reader: The open input.
        target: The output.
        model: The loaded model.
        masks: Masks for a model that takes them; None if it finds its own or takes none.
        curved: Whether a model that can may use the neighbouring frames.
        rates: The rates.
        end_time: The time at which the output ends, on the source's clock; None for the end of the source.
        audio: What happens to the sound: "copy", "drop", "stretch" or "none".
        threads: How many threads work.
        encoding: The encoder and the pixel format.
        notes: Remarks for the user.
        began: When it was created, by `time.monotonic`.

    Raises:
        UsageError: for a wrong option.
        InputError: if the source cannot be read.
        OutputError: if the target must not or cannot be written.
    """

    conversion: ClassVar[str] = "interpolate"
    declared: ClassVar[OptionSet] = INTERPOLATE

    def __init__(
        self, source: str | Path | IO[bytes], target: str | Path | IO[bytes], options: Mapping[str, Any]
    ) -> None:
        self.began = time.monotonic()
        self._source = source = local_path(source) if isinstance(source, (str, Path)) else source
        self._values: InterpolateOptions = self.declared.resolve(options)
        values = self._values
        if values["threads"] < 0:
            raise UsageError(f"The number of threads ({values['threads']}) must not be negative.")
        self.threads = values["threads"] = values["threads"] or available_cores()
        self._fps = _parse(parse_rate, values["fps"], "rate")
        self._factor = _parse(parse_rate, values["factor"], "factor")
        self._slow = _parse(parse_rate, values["slow"], "slow-down")
        self._input_fps = _parse(parse_rate, values["input_fps"], "rate")
        self._start = _parse(parse_time, values["start"], "start")
        self._end = _parse(parse_time, values["end"], "end")
        if self._end is not None and self._end <= (self._start or 0):
            raise UsageError(f"The end ({values['end']}) is not after the start ({values['start'] or 0}).")
        cuts = values["scene_cuts"]
        self.curved = values["paths"] == "curved"
        self._cuts: CutList | str = str(cuts) if str(cuts) in ("auto", "off") else read_cuts(cuts)
        self.target = choose_target(target, source, values)
        self.reader = open_source(
            source,
            input_fps=self._input_fps,
            start=self._start,
            end=self._end,
            stream=values["stream"],
            interlaced=values["interlaced"],
            threads=min(self.threads, 16),
            retime=True,
        )
        try:
            self.notes: list[str] = list(self.reader.notes)
            self._decide_times()
            self.encoding = self.target.encoding(self.reader.info)
            self._load_model()
            self.audio = self._choose_audio()
            if values["loop"] and self._end is not None:
                self.notes.append("`loop` leads from the last frame before `end` back to the first.")
            self.check()
        except BaseException:
            self.close()
            raise

    def _decide_times(self) -> None:
        info = self.reader.info
        self.rates = choose_rates(info.rate, self._fps, self._factor, self._slow, self.target.max_rate, info.variable)
        if (limit := self.target.max_rate) is not None and self.rates.output > limit:
            raise UsageError(f"A GIF cannot show more than {limit} frames per second: pass `fps={limit}`.")
        if self._start and not info.variable:
            # The output begins with a source frame, so that source frames fall on output times.
            self._start = math.ceil(self._start * info.rate) / info.rate
        if self._start and info.duration is not None and self._start >= info.duration:
            raise UsageError(f"The start lies behind the end of the video ({float(info.duration):.3f} s).")
        # On the source's clock.
        self._begin_time = info.start + (self._start or 0)
        self.end_time = None if self._end is None else info.start + self._end

    def _note_rate(self) -> None:
        """Note what the mean of a variable rate became, or a rate close to the requested one that keeps every frame."""
        info, fps = self.reader.info, self._fps
        source = info.rate
        if info.variable and fps is None:
            self.notes.append(
                f"The rate varies, {float(source):.6g} frames per second on average: the output has a constant "
                f"{float(self.rates.output):.6g}. `fps` sets another rate."
            )
        if fps is None or info.variable or self.rates.slow != 1:
            return
        if (multiple := exact_multiple(source, fps)) is not None:
            new = multiple / source - 1
            plural = "" if new == 1 else "s"
            self.notes.append(
                f"At {fps} frames per second, 1 of {(fps / source).denominator} source frames is kept untouched. "
                f'`fps="{multiple}"` keeps all of them and makes {new} new frame{plural} for each.'
            )

    def _load_model(self) -> None:
        model, weights = self._values["model"], self._values["weights"]
        if isinstance(model, str):
            device, runtime = self._values["device"], self._values["runtime"]
            self.model = load_model(model, device, weights=weights, runtime=runtime)
            self._weights_hash: str | None = hash_weights(model, weights)
        else:
            # Of a model that the caller has loaded nobody can tell, in a later run, that it is the same again.
            self.model, self._weights_hash = model, None
        folder = self._values["masks"]
        self.masks = None if folder is None else MaskFolder(folder)
        if self.masks is not None:
            if not self.model.takes_masks:
                raise masks_unsupported(self.model.name)
            if self._values["loop"]:
                raise UsageError(
                    "`masks` and `loop` exclude each other: there are no masks from the last frame to the first."
                )
            self.masks.check(None, self.reader.info.height, self.reader.info.width)

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

    # -- what conversions differ in

    def check(self) -> None:
        """Refuse what this conversion cannot do; called when everything is decided."""
        check_interpolates(self.model)
        self._note_rate()

    @property
    def copies_streams(self) -> bool:
        """Whether the input's other streams are copied."""
        return True

    @property
    def frames_out(self) -> int | None:
        """How many frames will be written; None if the input does not state its length."""
        info = self.reader.info
        duration = info.duration
        if duration is None and info.frames is not None:
            duration = info.frames / info.rate
        if duration is None and self._end is None:
            return None
        end = min(x for x in (duration, self._end) if x is not None)
        return frame_count(max(Fraction(0), end - (self._start or 0)), self.rates.sampling)

    # -- what follows from it

    def make_planner(self) -> Planner:
        """A planner for the input's frames, not yet used."""
        return Planner(
            self.rates,
            cuts=self._cuts,
            fill=self._values["duplicates"] == "fill",
            overlays=self._values["overlays"] == "auto",
            loop=self._values["loop"],
            at_cuts=self._values["at_cuts"],
            start=self._begin_time,
            end=self.end_time,
            stated_end=self.reader.stated_end,
        )

    def open_sink(self) -> Sink:
        """Open the output."""
        info, reader = self.reader.info, self.reader
        zero, offset = info.start + (self._start or 0), Fraction(0)
        if not isinstance(reader, ImageSource) and not self._start:
            # Streams keep their distances in time. The earliest begins at 0, as players expect.
            zero = reader.earliest_start
            offset = (info.start - zero) * self.rates.slow
            if offset < Fraction(1, 90000):
                offset = Fraction(0)
        sink = self.target.open(info, self.rates.output, offset, self._open_journal())
        if isinstance(sink, VideoWriter):
            try:
                if not isinstance(reader, ImageSource) and self.copies_streams:
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
        path = Path(self._source) if isinstance(self._source, (str, Path)) else None
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

    def close(self) -> None:
        """Close the input."""
        self.reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _parse(parse: Callable[[Number, str], Fraction], value: Number | None, what: str) -> Fraction | None:
    return None if value is None else parse(value, what)


def _as_json(value: Any) -> Any:
    return value if value is None or isinstance(value, bool) else str(value)

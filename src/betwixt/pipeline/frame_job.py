"""What makes the frames of a conversion: an open input, a loaded model, and every option decided.

`Job` adds the output. `frames` (`frame_iterator`) has none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar, Self

from betwixt.errors import UsageError
from betwixt.files import local_path
from betwixt.machine import available_cores
from betwixt.masks.store import MaskFolder
from betwixt.media.cut_list import CutList, read_cuts
from betwixt.media.source import Source, VideoSource, open_source
from betwixt.media.timeline import frame_count, parse_rate, parse_time
from betwixt.models.base import check_interpolates, masks_unsupported
from betwixt.pipeline.options import INTERPOLATE, InterpolateOptions, Number, OptionSet
from betwixt.pipeline.planner import Planner, choose_rates, exact_multiple
from betwixt.runtime.load import hash_weights, load_model


class FrameJob:
    """Frames to be made. It holds an open input: use it as a context manager, or call `close`.

    Args:
        source: A video, a folder or pattern of images, an open binary file, or frames (`media.frame_source`).
        options: The options given (`pipeline.options`); the others take their defaults.

    Attributes:
        declared: The options that it takes.
        max_rate: The highest rate that the output can hold; None without a limit.
        reader: The open input.
        model: The loaded model.
        masks: Masks for a model that takes them; None if it finds its own or takes none.
        curved: Whether a model that can may use the neighbouring frames.
        rates: The rates.
        start_time: The time of the first frame of the output, on the source's clock.
        end_time: The time at which the output ends, on the source's clock; None for the end of the source.
        threads: How many threads work.
        notes: Remarks for the user.

    Raises:
        UsageError: for a wrong option.
        InputError: if the source cannot be read.
    """

    declared: ClassVar[OptionSet] = INTERPOLATE
    max_rate: Fraction | None = None

    def __init__(self, source: Source, options: Mapping[str, Any]) -> None:
        self.source = source = local_path(source) if isinstance(source, (str, Path)) else source
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
        self.check_output()
        self.reader = self.open_reader()
        try:
            self.notes: list[str] = list(self.reader.notes)
            self.prepare()
            self.check()
        except BaseException:
            self.close()
            raise

    # -- what jobs differ in

    def check_output(self) -> None:
        """Refuse an output that cannot be written, before the input is opened."""

    def prepare(self) -> None:
        """Decide all that depends on the input."""
        self._decide_times()
        self._load_model()
        if self._values["loop"] and self._end is not None:
            self.notes.append("`loop` leads from the last frame before `end` back to the first.")

    def check(self) -> None:
        """Refuse what this job cannot do; called when everything is decided."""
        check_interpolates(self.model)
        self._note_rate()

    @property
    def frames_out(self) -> int | None:
        """How many frames will be made or passed on; None if the input does not state its length."""
        info = self.reader.info
        duration = info.duration
        if duration is None and info.frames is not None:
            duration = info.frames / info.rate
        if duration is None and self._end is None:
            return None
        end = min(x for x in (duration, self._end) if x is not None)
        return frame_count(max(Fraction(0), end - (self._start or 0)), self.rates.sampling)

    # -- decisions

    def open_reader(self) -> VideoSource:
        """Open the source."""
        return open_source(
            self.source,
            input_fps=self._input_fps,
            start=self._start,
            end=self._end,
            stream=self._values["stream"],
            interlaced=self._values["interlaced"],
            threads=min(self.threads, 16),
            retime=True,
        )

    def _decide_times(self) -> None:
        info = self.reader.info
        self.rates = choose_rates(info.rate, self._fps, self._factor, self._slow, self.max_rate, info.variable)
        if self.max_rate is not None and self.rates.output > self.max_rate:
            raise UsageError(
                f"A GIF cannot show more than {self.max_rate} frames per second: pass `fps={self.max_rate}`."
            )
        if self._start and not info.variable:
            # The output begins with a source frame, so that source frames fall on output times.
            self._start = math.ceil(self._start * info.rate) / info.rate
        if self._start and info.duration is not None and self._start >= info.duration:
            raise UsageError(f"The start lies behind the end of the video ({float(info.duration):.3f} s).")
        # On the source's clock.
        self.start_time = info.start + (self._start or 0)
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

    # -- what follows from them

    def make_planner(self) -> Planner:
        """A planner for the input's frames, not yet used."""
        return Planner(
            self.rates,
            cuts=self._cuts,
            fill=self._values["duplicates"] == "fill",
            overlays=self._values["overlays"] == "auto",
            loop=self._values["loop"],
            at_cuts=self._values["at_cuts"],
            start=self.start_time,
            end=self.end_time,
            stated_end=self.reader.stated_end,
        )

    @property
    def options(self) -> Mapping[str, Any]:
        """The values of all options."""
        return self._values

    @property
    def weights_hash(self) -> str | None:
        """The hash of the model's weights; None for a model that the caller has loaded."""
        return self._weights_hash

    def close(self) -> None:
        """Close the input."""
        self.reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _parse(parse: Callable[[Number, str], Fraction], value: Number | None, what: str) -> Fraction | None:
    return None if value is None else parse(value, what)

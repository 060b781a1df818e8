"""What a conversion can write: a video file or stream, a GIF, or a sequence of images.

Each kind of target checks its options before any work is done, names the encoding that it will use, and opens the sink
that takes the frames.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import IO, Any, Protocol

import av

from betwixt.errors import UsageError
from betwixt.files import check_output
from betwixt.media import codecs
from betwixt.media.encoder_options import EncoderSettings
from betwixt.media.encoding import Encoding, resolve_encoding
from betwixt.media.gif import MAX_RATE as MAX_GIF_RATE
from betwixt.media.images.paths import image_folder, image_suffix, is_image_location
from betwixt.media.journal import Journal, journal_path
from betwixt.media.presentation import gif_presentation, image_presentation, video_presentation
from betwixt.media.probe import VideoInfo
from betwixt.media.reader import StreamPacket
from betwixt.media.segment import SegmentSettings, check_segments
from betwixt.media.sequence import GifSink, ImageSink
from betwixt.media.source import Source
from betwixt.media.writer import VideoWriter, can_keep_journal
from betwixt.pipeline.options import InterpolateOptions, parse_key_values


class Sink(Protocol):
    """Takes the output's frames in order: a `VideoWriter`, `ImageSink` or `GifSink`.

    Attributes:
        resumed_frames: How many frames, from the first on, an interrupted run has left in the journal.
        lost: What the output could not hold.
        notes: Remarks for the user.
    """

    resumed_frames: int
    lost: list[str]
    notes: list[str]

    def write(self, frame: av.VideoFrame, index: int) -> None:
        """Write frame `index`."""

    def write_from_journal(self) -> None:
        """Write the next of the resumed frames, in the place of `write`."""

    def copy(self, item: StreamPacket) -> None:
        """Write a packet of another stream."""

    def commit(self) -> None:
        """Complete the output and move it into place."""

    def abort(self) -> bool:
        """Discard the output, and return whether a journal is kept to resume from."""


class Target(ABC):
    """Where a conversion writes to.

    Args:
        location: A path, or an open binary file.
        options: All options of the conversion.

    Attributes:
        name: Its name in messages.
        max_rate: The highest rate it can hold; None without a limit.
        holds_sound: Whether it can hold sound.
    """

    max_rate: Fraction | None = None
    holds_sound = False

    def __init__(self, location: str | Path | IO[bytes], options: InterpolateOptions) -> None:
        self._options = options
        self._settings = EncoderSettings(
            codec=options["codec"],
            quality=None if options["quality"] is None else str(options["quality"]),
            bitrate=None if options["bitrate"] is None else str(options["bitrate"]),
            preset=None if options["preset"] is None else str(options["preset"]),
            pixel_format=options["pixel_format"],
            options=parse_key_values("encoder_options", options["encoder_options"]),
            threads=options["threads"],
        )
        self.name = str(location) if isinstance(location, (str, Path)) else "standard output"

    @abstractmethod
    def encoding(self, info: VideoInfo) -> tuple[str, str]:
        """The encoder (or what else writes the frames) and the pixel format, for an input.

        Raises:
            UsageError: if the options do not fit, or the encoder does not open on this machine.
        """

    @abstractmethod
    def open(self, info: VideoInfo, rate: Fraction, start: Fraction, journal: Journal | None) -> Sink:
        """Open the output.

        Args:
            info: The input's properties, which the output takes on.
            rate: The output's rate.
            start: The time of frame 0 on the output's clock, in seconds.
            journal: Records the frames until the output is complete; None to keep none.
        """

    def journal_output(self, info: VideoInfo) -> Path | None:
        """The file or folder that a journal would belong to; None if the output cannot be resumed."""
        return None

    def segments(self, info: VideoInfo, rate: Fraction) -> SegmentSettings:
        """How segments of the output are encoded, to be joined by `VideoWriter.write_encoded`.

        Args:
            info: The input's properties.
            rate: The output's rate.

        Raises:
            UsageError: if they cannot be joined.
        """
        raise UsageError('`encode="distributed"` needs a video file as output.')


class VideoTarget(Target):
    """A video file, whose suffix says which container, or an open binary file, written as y4m."""

    def __init__(self, location: Path | IO[bytes], options: InterpolateOptions) -> None:
        super().__init__(location, options)
        self._location = location
        self._container = codecs.container_of(location) if isinstance(location, Path) else "yuv4mpegpipe"
        self.holds_sound = self._container != "yuv4mpegpipe"

    def encoding(self, info: VideoInfo) -> tuple[str, str]:
        encoding = self._resolve(info)
        return encoding.encoder.name, encoding.pixel_format

    def segments(self, info: VideoInfo, rate: Fraction) -> SegmentSettings:
        if not self.holds_sound:
            return super().segments(info, rate)
        check_segments(self._resolve(info), self._settings, info)
        return SegmentSettings(self._container, info, rate, self._settings, self._options["tone_map"])

    def _resolve(self, info: VideoInfo) -> Encoding:
        shown = video_presentation(self._container, info, self._options["tone_map"]).info
        return resolve_encoding(self._settings, self._container, shown)

    def open(self, info: VideoInfo, rate: Fraction, start: Fraction, journal: Journal | None) -> Sink:
        o = self._options
        return VideoWriter(
            self._location, info, rate, start=start, settings=self._settings, tone_map=o["tone_map"], journal=journal
        )

    def journal_output(self, info: VideoInfo) -> Path | None:
        return self._location if isinstance(self._location, Path) and can_keep_journal(*self.encoding(info)) else None


class GifTarget(Target):
    """An animated GIF."""

    max_rate = MAX_GIF_RATE

    def __init__(self, path: Path, options: InterpolateOptions) -> None:
        super().__init__(path, options)
        _refuse(options, "A GIF has", ("codec", "quality", "bitrate", "preset", "encoder_options", "pixel_format"))

    def encoding(self, info: VideoInfo) -> tuple[str, str]:
        gif_presentation(info, self._options["tone_map"])
        return "gif", "pal8"

    def open(self, info: VideoInfo, rate: Fraction, start: Fraction, journal: Journal | None) -> Sink:
        return GifSink(Path(self.name), info, rate, self._options["overwrite"], self._options["tone_map"])


class ImageTarget(Target):
    """A folder or pattern of images, or a single image."""

    def __init__(self, location: str | Path, options: InterpolateOptions) -> None:
        super().__init__(location, options)
        _refuse(options, "Images have", ("codec", "bitrate", "preset", "encoder_options"))

    def encoding(self, info: VideoInfo) -> tuple[str, str]:
        shown = image_presentation(image_suffix(self.name), info, self._options["tone_map"]).info
        return "images", shown.pixel_format

    def open(self, info: VideoInfo, rate: Fraction, start: Fraction, journal: Journal | None) -> Sink:
        o = self._options
        return ImageSink(
            self.name, info, self._settings.quality, o["overwrite"], journal, o["tone_map"], o["start_number"]
        )

    def journal_output(self, info: VideoInfo) -> Path | None:
        folder, single = image_folder(self.name)
        return None if single or not journal_path(folder).parent.is_dir() else folder


def _refuse(options: InterpolateOptions, what: str, names: tuple[str, ...]) -> None:
    """Refuse options that a target does not have: "A GIF has"."""
    given: Mapping[str, Any] = options
    for name in names:
        if given[name]:
            raise UsageError(f"{what} no `{name}`: leave it out.")


def choose_target(target: str | Path | IO[bytes], source: Source, options: InterpolateOptions) -> Target:
    """The kind of target that a location names, checked before any work is done.

    Args:
        target: A path, or an open binary file.
        source: The input, which must not be written over.
        options: All options of the conversion.

    Raises:
        UsageError: if an option does not fit the target.
        OutputError: if the target must not or cannot be written.
    """
    if not isinstance(target, (str, Path)):
        return VideoTarget(target, options)
    if is_image_location(target, output=True):
        return ImageTarget(target, options)
    path = Path(target)
    check_output(path, source if isinstance(source, (str, Path)) else None, options["overwrite"])
    return (GifTarget if codecs.container_of(path) == "gif" else VideoTarget)(path, options)

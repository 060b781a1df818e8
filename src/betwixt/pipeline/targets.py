"""What a conversion can write: a video file, a stream, a GIF or a sequence of images.

Each kind of target checks its options before any work is done, names the encoding that it will use, and opens the sink
that takes the frames.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO, Any, Protocol, runtime_checkable

import av
import av.container

from betwixt.errors import UsageError
from betwixt.files import check_output
from betwixt.media import codecs
from betwixt.media.gif import MAX_RATE as MAX_GIF_RATE
from betwixt.media.images.paths import image_folder, is_image_location
from betwixt.media.journal import Journal, journal_path
from betwixt.media.probe import VideoInfo
from betwixt.media.reader import StreamPacket
from betwixt.media.sequence import GifSink, ImageSink
from betwixt.media.timeline import TimeMap
from betwixt.media.writer import VideoWriter, can_keep_journal

__all__ = ["EncodingOptions", "ResumableSink", "Sink", "StreamCopy", "Target", "choose_target"]


class Sink(Protocol):
    """Takes the output's frames, in order."""

    lost: list[str]
    notes: list[str]

    def write(self, frame: av.VideoFrame, index: int) -> None:
        """Write frame `index`."""

    def copy(self, item: StreamPacket) -> None:
        """Write a packet of another stream."""

    def commit(self) -> None:
        """Complete the output and move it into place."""

    def abort(self) -> bool:
        """Discard the output, and return whether a journal is kept to resume from."""


@runtime_checkable
class ResumableSink(Protocol):
    """A sink that may already hold the first frames of the output, from an interrupted run.

    Attributes:
        resumed_frames: How many frames it holds, from the first on.
    """

    resumed_frames: int

    def write_from_journal(self) -> None:
        """Write the next of these frames, in the place of `Sink.write`."""


@dataclass(frozen=True)
class EncodingOptions:
    """The options of a conversion that concern the encoder and the output file.

    Attributes:
        codec: The encoder, by the user's name for it; None for the default.
        quality: Its quality, as the user wrote it; None for the default.
        pixel_format: The format to encode in; None for the one nearest to the source's.
        threads: Encoder threads.
        overwrite: Whether an existing output may be replaced.
    """

    codec: str | None
    quality: str | None
    pixel_format: str | None
    threads: int
    overwrite: bool


@dataclass(frozen=True)
class StreamCopy:
    """The input's other streams, to be copied into the output.

    Attributes:
        container: The open input.
        video: Its video stream, which is not copied.
        time_map: From the input's clock to the output's.
        audio: What to do with the sound: "copy", "drop" or "stretch".
    """

    container: av.container.InputContainer
    video: Any
    time_map: TimeMap
    audio: str


class Target(ABC):
    """Where a conversion writes to.

    Attributes:
        name: Its name in messages.
        max_rate: The highest rate it can hold; None without a limit.
    """

    max_rate: Fraction | None = None

    def __init__(self, name: str, options: EncodingOptions) -> None:
        self.name, self._options = name, options

    @abstractmethod
    def encoding(self, info: VideoInfo) -> tuple[str, str]:
        """The encoder (or what else writes the frames) and the pixel format, for an input.

        Raises:
            UsageError: if the options do not fit.
        """

    @abstractmethod
    def open(
        self, info: VideoInfo, rate: Fraction, start: Fraction, streams: StreamCopy | None, journal: Journal | None
    ) -> Sink:
        """Open the output.

        Args:
            info: The input's properties, which the output takes on.
            rate: The output's rate.
            start: The time of frame 0 on the output's clock, in seconds.
            streams: The input's other streams; None if they are left out.
            journal: Records the frames until the output is complete; None to keep none.
        """

    def journal_output(self, info: VideoInfo) -> Path | None:
        """The file or folder that a journal would belong to; None if the target cannot be resumed."""
        return None


class _VideoTarget(Target):
    """Frames encoded into a container."""

    _container: str
    _destination: Path | IO[bytes]

    def encoding(self, info: VideoInfo) -> tuple[str, str]:
        o = self._options
        return codecs.resolve_encoding(o.codec, self._container, o.quality, o.pixel_format, info, o.threads)

    def open(
        self, info: VideoInfo, rate: Fraction, start: Fraction, streams: StreamCopy | None, journal: Journal | None
    ) -> Sink:
        o = self._options
        writer = VideoWriter(
            self._destination,
            info,
            rate,
            start=start,
            codec=o.codec,
            quality=o.quality,
            pixel_format=o.pixel_format,
            threads=o.threads,
            journal=journal,
        )
        if streams is not None:
            try:
                writer.copy_streams(streams.container, streams.video, streams.time_map, streams.audio)
            except BaseException:
                writer.abort()
                raise
        return writer


class FileTarget(_VideoTarget):
    """A video file; its suffix says which container."""

    def __init__(self, path: Path, options: EncodingOptions) -> None:
        super().__init__(str(path), options)
        self._destination, self._container = path, codecs.container_of(path)

    def journal_output(self, info: VideoInfo) -> Path | None:
        return Path(self.name) if can_keep_journal(*self.encoding(info)) else None


class StreamTarget(_VideoTarget):
    """An open binary file, such as a pipe, written as y4m."""

    def __init__(self, stream: IO[bytes], options: EncodingOptions) -> None:
        super().__init__("standard output", options)
        self._destination, self._container = stream, "yuv4mpegpipe"


class GifTarget(Target):
    """An animated GIF."""

    max_rate = MAX_GIF_RATE

    def __init__(self, path: Path, options: EncodingOptions) -> None:
        super().__init__(str(path), options)
        if options.codec is not None or options.quality is not None or options.pixel_format is not None:
            raise UsageError("A GIF has no `codec`, `quality` or `pixel_format`: leave them out.")

    def encoding(self, info: VideoInfo) -> tuple[str, str]:
        return "gif", "pal8"

    def open(
        self, info: VideoInfo, rate: Fraction, start: Fraction, streams: StreamCopy | None, journal: Journal | None
    ) -> Sink:
        return GifSink(Path(self.name), info, rate, self._options.overwrite)


class ImageTarget(Target):
    """A folder or pattern of images, or a single image."""

    def __init__(self, location: str | Path, options: EncodingOptions) -> None:
        super().__init__(str(location), options)
        if options.codec is not None:
            raise UsageError("Images have no `codec`: the suffix says how they are written.")

    def encoding(self, info: VideoInfo) -> tuple[str, str]:
        return "images", info.pixel_format

    def open(
        self, info: VideoInfo, rate: Fraction, start: Fraction, streams: StreamCopy | None, journal: Journal | None
    ) -> Sink:
        return ImageSink(self.name, info, self._options.quality, self._options.overwrite, journal)

    def journal_output(self, info: VideoInfo) -> Path | None:
        folder, single = image_folder(self.name)
        return None if single or not journal_path(folder).parent.is_dir() else folder


def choose_target(target: str | Path | IO[bytes], source: str | Path | IO[bytes], options: EncodingOptions) -> Target:
    """The kind of target that a location names, checked before any work is done.

    Args:
        target: A path, or an open binary file.
        source: The input, which must not be written over.
        options: The options that concern the encoder and the output.

    Raises:
        UsageError: if an option does not fit the target.
        OutputError: if the target must not or cannot be written.
    """
    if not isinstance(target, (str, Path)):
        return StreamTarget(target, options)
    if is_image_location(target, output=True):
        return ImageTarget(target, options)
    path = Path(target)
    check_output(path, source if isinstance(source, (str, Path)) else None, options.overwrite)
    return (GifTarget if codecs.container_of(path) == "gif" else FileTarget)(path, options)

"""Image sequences and GIFs in place of a video file.

`ImageSource` has the interface of `Reader`; `ImageSink` and `GifSink` have that of `VideoWriter`.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av

from betwixt.errors import UsageError
from betwixt.media.codecs import is_transparent
from betwixt.media.colour import chroma_location, colour_of
from betwixt.media.frames import to_supported_format
from betwixt.media.gif import GifWriter
from betwixt.media.images.paths import image_suffix
from betwixt.media.images.reader import ImageReader
from betwixt.media.images.writer import ImageWriter
from betwixt.media.journal import Journal
from betwixt.media.presentation import Presentation, gif_presentation, image_presentation
from betwixt.media.probe import VideoInfo
from betwixt.media.reader import Frame, StreamPacket


class ImageSource:
    """Images as a video of constant rate.

    Args:
        location: A folder, pattern or glob (`media.images.paths.find_images`).
        rate: Frames per second.
        start: Where to begin, in seconds; earlier frames are left out.
        end: Where to stop, in seconds; None for the end.

    Raises:
        InputError: if there are no images, or they do not fit together; and, while reading, for a damaged file.
    """

    def __init__(self, location: str | Path, rate: Fraction, start: Fraction | None, end: Fraction | None) -> None:
        self.name = str(location)
        self.damage: str | None = None
        self.notes: list[str] = []
        self._images = ImageReader(location)
        self.paths = self._images.paths
        self._rate, self._start, self._end = rate, start, end
        first = to_supported_format(next(iter(self._images)))
        self.info = VideoInfo(
            name=self.name,
            container="images",
            codec="images",
            width=first.width,
            height=first.height,
            pixel_format=first.format.name,
            rate=rate,
            variable=False,
            start=Fraction(0),
            duration=len(self._images) / rate,
            frames=len(self._images),
            colour=colour_of(first, chroma_location(first)),
            aspect=self._images.aspect,
        )

    def __iter__(self) -> Iterator[Frame | StreamPacket]:
        """The frames from the last one at or before `start` to the first one at or after `end`."""
        step = 1 / self._rate
        first = int((self._start or 0) * self._rate)
        for index, image in enumerate(self._images):
            if index < first:
                continue
            yield Frame(index, to_supported_format(image), index * step, step)
            if self._end is not None and index * step >= self._end:
                return

    @property
    def earliest_start(self) -> Fraction:
        """When the first image is shown: there are no other streams."""
        return self.info.start

    @property
    def stated_end(self) -> Fraction | None:
        """None: the last image is the end."""
        return None

    def stop(self) -> None:
        """Nothing to do: reading an image does not block."""

    def close(self) -> None:
        """Nothing to do: no file is open between two images."""


class _Sink:
    """Base of image and GIF sinks, which hold no other streams and keep no packets in a journal.

    Attributes:
        lost: The streams of the input that they cannot hold.
        notes: Other messages for the user.
        resumed_frames: Number of frames, from the first on, that an earlier run has left. Call `write_from_journal` for
            each of these, in order, instead of `write`.
    """

    def __init__(self, source: VideoInfo, presentation: Presentation) -> None:
        self._presentation = presentation
        self.lost = [*presentation.lost, *(str(s) for s in source.streams if s.kind in ("audio", "subtitle"))]
        shown = presentation.info
        if shown.colour.hdr and (shown.hdr10_plus or shown.dolby_vision):
            self.lost.append("the metadata of HDR10+ or Dolby Vision")
        self.notes = list(presentation.notes)
        self.resumed_frames = 0

    def write_from_journal(self) -> None:
        """Nothing to do: the earlier run has written the image."""

    def copy(self, item: StreamPacket) -> None:
        """Nothing to do: there are no other streams."""


class ImageSink(_Sink):
    """Frames as numbered images; the other arguments are those of `ImageWriter`.

    Args:
        source: The input.
        journal: Says where an interrupted run has left its images; None to keep nothing for another run.
        tone_map: When HDR becomes SDR: "auto" for images that cannot state it, "on" or "off".
        start_number: The number of the first image.
    """

    def __init__(
        self,
        location: str | Path,
        source: VideoInfo,
        quality: str | None,
        overwrite: bool,
        journal: Journal | None,
        tone_map: str = "auto",
        start_number: int = 1,
    ) -> None:
        suffix = image_suffix(location)
        super().__init__(source, image_presentation(suffix, source, tone_map))
        if is_transparent(source) and suffix in (".jpg", ".jpeg"):
            self.lost.insert(0, "the transparency")
        self._journal = journal
        self._new: list[Path] = []  # images that the journal does not know yet
        unfinished = None if journal is None or journal.folder is None else (journal.folder, journal.images)
        try:
            self._writer = ImageWriter(
                location, quality=_parse_quality(quality), aspect=self._presentation.info.aspect, overwrite=overwrite,
                start_number=start_number, unfinished=unfinished, keep_on_failure=journal is not None,
            )  # fmt: skip
        except BaseException:
            if journal is not None:
                journal.suspend()
            raise
        if journal is not None:
            journal.describe(self._writer.temporary, b"")
        self.resumed_frames = self._writer.count

    def write(self, frame: av.VideoFrame, index: int) -> None:
        """Write the next frame."""
        self._writer.write(self._presentation.apply(frame))
        if self._journal is not None:
            self._new.append(self._writer.path_of(self._writer.count))
            if self._journal.add_images(self._writer.count, self._new):
                self._new.clear()

    def commit(self) -> None:
        """Move the images to their folder."""
        self._writer.commit()
        if self._journal is not None:
            self.notes += self._journal.notes
            self._journal.discard()

    def abort(self) -> bool:
        """Remove the images, unless there is enough to resume from; return whether they are kept."""
        kept = self._journal is not None and self._journal.suspend(self._writer.count, self._new)
        if kept:
            self._writer.keep_unfinished()
        else:
            self._writer.abort()
        return kept


def _parse_quality(quality: str | None) -> int | None:
    try:
        return None if quality is None else int(quality)
    except ValueError:
        raise UsageError(f"The quality '{quality}' is not a number: give 1 to 100.") from None


class GifSink(_Sink):
    """Frames as a GIF that repeats for ever, at most `gif.MAX_RATE` per second; see `GifWriter`."""

    def __init__(self, path: Path, source: VideoInfo, rate: Fraction, overwrite: bool, tone_map: str = "auto") -> None:
        super().__init__(source, gif_presentation(source, tone_map))
        if is_transparent(source):
            self.notes.append("Pixels of a GIF are opaque or transparent: what lies between is rounded.")
        self._rate = rate
        info = self._presentation.info
        self._writer = GifWriter(path, info.width, info.height, rate, overwrite=overwrite)

    def write(self, frame: av.VideoFrame, index: int) -> None:
        """Write frame `index`."""
        self._writer.write(self._presentation.apply(frame), index / self._rate)

    def commit(self) -> None:
        """Move the finished file into place."""
        self._writer.commit()

    def abort(self) -> bool:
        """Remove the unfinished file; no effect after `commit`."""
        self._writer.abort()
        return False

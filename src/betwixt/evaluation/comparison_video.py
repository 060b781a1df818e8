"""Writes the video that shows two videos, with the sound of the first."""

from __future__ import annotations

import os
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from betwixt.errors import UsageError
from betwixt.evaluation.comparison_view import ComparisonView
from betwixt.evaluation.paired_frames import FramePair
from betwixt.media.codecs import container_of
from betwixt.media.encoder_options import EncoderSettings
from betwixt.media.gif import MAX_RATE as MAX_GIF_RATE
from betwixt.media.reader import Reader, StreamPacket
from betwixt.media.sequence import GifSink
from betwixt.media.source import VideoSource
from betwixt.media.timeline import TimeMap
from betwixt.media.writer import VideoWriter


class ComparisonVideo:
    """A video or GIF that shows two videos; as a context manager it is discarded unless it was committed.

    Args:
        path: The output.
        view: What it shows.
        first: The first video, whose other streams are copied.
        begin: The first moment that is shown, in seconds from the first frame of the first video.
        settings: How it is encoded.
        overwrite: Whether an existing file is replaced.

    Attributes:
        frames: Number of frames written.
        lost: What the container cannot hold.
        notes: Remarks for the user.

    Raises:
        UsageError: if a setting does not fit.
        OutputError: if it cannot be written.
    """

    def __init__(
        self,
        path: Path,
        view: ComparisonView,
        first: VideoSource,
        begin: Fraction,
        settings: EncoderSettings,
        overwrite: bool,
    ) -> None:
        self.frames = 0
        self._view = view
        self._sink: VideoWriter | GifSink
        if is_gif(path):
            if settings.codec is not None or settings.quality is not None:
                raise UsageError("A GIF has no `codec` or `quality`: leave them out.")
            self._sink = GifSink(path, view.info, view.info.rate, overwrite)
        else:
            self._sink = _open_writer(path, view, first, begin, settings)
        self.lost, self.notes = self._sink.lost, self._sink.notes

    def write(self, pair: FramePair) -> None:
        """Write the picture of two frames."""
        self._sink.write(self._view.compose(pair.first.video, pair.second.video), pair.index)
        self.frames += 1

    def copy(self, packet: StreamPacket) -> None:
        """Write a packet of another stream of the first video."""
        self._sink.copy(packet)

    def commit(self) -> None:
        """Complete the output and move it into place."""
        self._sink.commit()

    def __enter__(self) -> ComparisonVideo:
        return self

    def __exit__(self, *_: object) -> None:
        self._sink.abort()


def is_gif(path: Path) -> bool:
    """Whether an output is a GIF."""
    return container_of(path) == "gif"


def limit_rate(rate: Fraction, path: Path | None) -> Fraction:
    """A rate that an output can have."""
    return min(rate, MAX_GIF_RATE) if path is not None and is_gif(path) else rate


def label_texts(labels: Sequence[str] | None, first: str | Path, second: str | Path) -> tuple[str, str] | None:
    """What is written over the two videos: by default the names of the files; None for nothing.

    Raises:
        UsageError: if there are not two labels.
    """
    if labels is None:
        a, b = (Path(os.path.abspath(source)) for source in (first, second))
        if a.name != b.name:
            return a.name, b.name
        return f"{a.parent.name}/{a.name}", f"{b.parent.name}/{b.name}"
    if not labels:
        return None
    if len(labels) != 2:
        raise UsageError(f"`labels` are two texts, one for each video, not {len(labels)}.")
    return labels[0], labels[1]


def _open_writer(
    path: Path, view: ComparisonView, first: VideoSource, begin: Fraction, settings: EncoderSettings
) -> VideoWriter:
    """Open the output, with the other streams of the first video."""
    zero, offset = first.info.start + begin, Fraction(0)
    if isinstance(first, Reader) and not begin:
        zero = first.earliest_start  # streams keep their distances in time
        offset = first.info.start - zero
    writer = VideoWriter(path, view.info, view.info.rate, start=offset, settings=settings)
    try:
        if isinstance(first, Reader):
            writer.copy_streams(first, TimeMap(zero))
        writer.begin()
    except BaseException:
        writer.abort()
        raise
    return writer

"""The base stream: the sent frames through a base encoder, and all other streams of the source."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
from av.video.frame import PictureType

from betwixt.codec.base_codec import BaseCodec, base_encoder_options
from betwixt.codec.gop import frame_types
from betwixt.codec.survey import ReopenableSource, Survey
from betwixt.errors import InputError
from betwixt.files import file_url
from betwixt.media.encoder_options import EncoderSettings
from betwixt.media.reader import Reader, StreamPacket
from betwixt.media.timeline import TimeMap
from betwixt.media.writer import VideoWriter


@dataclass(frozen=True)
class BaseStreamEncoder:
    """Encodes the sent frames of a source."""

    codec: BaseCodec
    preset: str
    quality: str | None  # the quality on its scale; None for its default
    order: str  # one of `base_codec.ORDERS`
    keep: int  # one of this many frames is kept
    intra: int  # the distance of I frames, in frames of the source
    pixel_format: str | None  # the pixel format to encode; None for the source's, or the nearest that the encoder takes
    threads: int

    def encode(
        self,
        path: Path,
        source: ReopenableSource,
        survey: Survey,
        kept: Sequence[bool],
        sent: Sequence[bool],
        progress: Callable[[int, int | None], None],
    ) -> VideoWriter:
        """Write the sent frames and all other streams of the source to `path`; the writer that did it."""
        # In the order "p", all sent frames are I and P as if they were kept.
        types = frame_types(sent if self.order == "p" else kept, sent, survey.shots, self.intra)
        sets_types = self.order != "own" and self.codec.sets_frame_types
        sends_most = 2 * sum(sent) > len(sent) + len(sent) // self.keep
        intra = self.intra if sends_most else max(1, self.intra // self.keep)
        # H.264 states its time base as its rate: use the coarsest one that the sent frames fit.
        unit = survey.common_unit(sent)
        reader = source.open()
        try:
            writer = VideoWriter(
                path,
                reader.info,
                survey.rate if sends_most else survey.rate / self.keep,
                start=survey.start,
                settings=EncoderSettings(
                    codec=self.codec.encoder,
                    quality=self.quality,
                    pixel_format=self.pixel_format,
                    options=base_encoder_options(self.codec, self.preset, self.order, _longest_b_run(types), intra),
                    threads=self.threads,
                ),
                tick=survey.tick * unit,
            )
            with writer:
                if isinstance(reader, Reader):
                    writer.copy_streams(reader, TimeMap(reader.earliest_start))
                number = 0
                for item in reader:
                    if isinstance(item, StreamPacket):
                        writer.copy(item)
                        continue
                    if number < len(sent) and sent[number]:
                        forced = sets_types or types[number] == PictureType.I
                        is_last = number + 1 == len(sent)
                        duration = -(-survey.last // unit) if is_last else None
                        frame_type = types[number] if forced else PictureType.NONE
                        writer.write(item.video, survey.ticks[number] // unit, frame_type, duration)
                    number += 1
                    progress(number, len(sent))
                writer.commit()
        finally:
            reader.close()
        if number != len(sent):
            raise InputError(f"{reader.name} changed while it was read: {len(sent)} frames first, now {number}.")
        return writer


def _longest_b_run(types: Sequence[PictureType]) -> int:
    """The largest number of sent B frames without a sent frame of another type between them."""
    are_b = (frame_type == PictureType.B for frame_type in types if frame_type != PictureType.NONE)
    return max((len(list(run)) for is_b, run in itertools.groupby(are_b) if is_b), default=0)


def packet_checksums(path: Path) -> tuple[list[int], int]:
    """CRC-32 of each packet of the base stream, in the order of frames, and the total size of the packets in bytes."""
    checksums: list[tuple[int, int]] = []
    size = 0
    with av.open(file_url(path)) as container:
        for packet in container.demux(container.streams.video[0]):
            if packet.pts is not None and packet.size:
                checksums.append((packet.pts, zlib.crc32(bytes(packet))))
                size += packet.size
    return [checksum for _, checksum in sorted(checksums)], size

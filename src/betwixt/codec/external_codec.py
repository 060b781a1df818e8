"""Codecs that are not FFmpeg's, run as commands: HM, VTM, or a learned P-frame codec such as NCM's TCM.

    sent frames ──► raw .yuv ──► COMMAND ──┬─► bitstream: its size is the rate
                                           └─► reconstruction, raw .yuv ──► the base stream, lossless

This is for measurements (`betwixt.codec.rd_curve`): the base stream holds the reconstructed frames losslessly, so that
B frames are made of them as of any base stream, and no player has to know the codec. A command codes the frames that
it gets in an order of its own: for NCM's P-frame codec, with I and P alone.
"""

from __future__ import annotations

import shlex
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from betwixt.codec.survey import ReopenableSource, Survey
from betwixt.errors import InputError, OutputError, UsageError
from betwixt.media.encoder_options import EncoderSettings
from betwixt.media.frames import bit_depth, copy_description, planes
from betwixt.media.probe import VideoInfo
from betwixt.media.reader import Frame
from betwixt.media.writer import VideoWriter

PLACEHOLDERS = (
    "input", "bitstream", "reconstruction", "width", "height", "fps", "frames", "depth", "quality", "intra",
)  # fmt: skip
"""What a command may name in braces."""

_NEEDED = ("input", "bitstream", "reconstruction", "quality")


@dataclass(frozen=True)
class ExternalCodec:
    """A codec that is run as a command.

    Attributes:
        command: The command line, with `PLACEHOLDERS`: {input}, a raw video of {frames} frames of {width}x{height} with
            {depth} bits, 4:2:0, {fps} frames per second; {bitstream} and {reconstruction}, the files that it has to
            write, the latter in the format of the input; {quality}; {intra}, the distance of I frames.
    """

    command: str

    def __post_init__(self) -> None:
        try:
            self.arguments(**dict.fromkeys(PLACEHOLDERS, "1"))
        except (ValueError, KeyError, IndexError):
            names = ", ".join(f"{{{name}}}" for name in PLACEHOLDERS)
            raise UsageError(f"The command '{self.command}' cannot be read: in braces it may have {names}.") from None
        for name in _NEEDED:
            if f"{{{name}}}" not in self.command:
                raise UsageError(f"The command '{self.command}' lacks {{{name}}}: see docs/how-to/compress.md.")

    @property
    def name(self) -> str:
        """The name of the program."""
        return Path(shlex.split(self.command)[0]).name

    @property
    def encoder(self) -> str:
        """The name for messages."""
        return self.name

    def arguments(self, **values: object) -> list[str]:
        """The words of the command; values may contain blanks."""
        return [word.format(**values) for word in shlex.split(self.command)]


@dataclass
class ExternalBaseStream:
    """Encodes the sent frames of a source by an external codec; used as `BaseStreamEncoder`.

    Attributes:
        codec: The codec.
        quality: The quality on its scale.
        keep: One of this many frames is kept.
        intra: The distance of I frames, in frames of the source.
        size: The size of the last bitstream, in bytes.
    """

    codec: ExternalCodec
    quality: str
    keep: int
    intra: int
    size: int = field(default=0, init=False)

    def encode(
        self,
        path: Path,
        source: ReopenableSource,
        survey: Survey,
        kept: Sequence[bool],
        sent: Sequence[bool],
        progress: Callable[[int, int | None], None],
    ) -> VideoWriter:
        """Write the reconstructed frames losslessly to `path`; the writer that did it. `kept` is not used.

        Raises:
            InputError: if the source is not 4:2:0.
            OutputError: if the command fails, or does not write what it should.
        """
        rate = survey.rate if all(sent) else survey.rate / self.keep
        intra = self.intra if all(sent) else max(1, self.intra // self.keep)
        with tempfile.TemporaryDirectory(prefix="betwixt-external-") as name:
            folder = Path(name)
            files = {part: folder / f"{part}.{end}" for part, end in (("input", "yuv"), ("reconstruction", "yuv"))}
            files["bitstream"] = folder / "stream.bin"
            first, info = self._write_input(files["input"], source, sent, progress)
            values = {
                **files, "width": first.width, "height": first.height, "fps": f"{float(rate):g}", "frames": sum(sent),
                "depth": bit_depth(first.format.name), "quality": self.quality, "intra": intra,
            }  # fmt: skip
            self._run(self.codec.arguments(**values))
            self.size = files["bitstream"].stat().st_size if files["bitstream"].is_file() else 0
            if not self.size:
                raise OutputError(f"{self.codec.name} wrote no bitstream: it has to write the file {{bitstream}}.")
            unit = survey.common_unit(sent)
            settings = EncoderSettings(codec="ffv1", pixel_format=first.format.name)
            with VideoWriter(
                path, info, rate, start=survey.start, settings=settings, tick=survey.tick * unit
            ) as writer:
                data = self._read_reconstruction(files["reconstruction"], first, sum(sent))
                numbers = [number for number, is_sent in enumerate(sent) if is_sent]
                for number, samples in zip(numbers, data, strict=True):
                    frame = copy_description(first, av.VideoFrame(first.width, first.height, first.format.name))
                    at = 0
                    for plane in planes(frame):
                        plane[...] = samples[at : at + plane.size].reshape(plane.shape)
                        at += plane.size
                    writer.write(frame, survey.ticks[number] // unit)
                writer.commit()
        return writer

    def _write_input(
        self,
        path: Path,
        source: ReopenableSource,
        sent: Sequence[bool],
        progress: Callable[[int, int | None], None],
    ) -> tuple[av.VideoFrame, VideoInfo]:
        """Write the sent frames as raw video; the first of them, and the source's description."""
        reader = source.open()
        first: av.VideoFrame | None = None
        try:
            frames = (item for item in reader if isinstance(item, Frame))
            with path.open("wb") as file:
                for number, (frame, is_sent) in enumerate(zip(frames, sent, strict=True), 1):
                    if is_sent:
                        first = first or frame.video
                        for plane in planes(frame.video):
                            file.write(plane.tobytes())
                    progress(number, len(sent))
            if first is None or not first.format.name.startswith("yuv420p"):
                raise InputError(f"{reader.name} is not 4:2:0, as external codecs are given it: convert it first.")
            return first, reader.info
        finally:
            reader.close()

    def _run(self, command: list[str]) -> None:
        try:
            done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        except OSError as error:
            raise UsageError(f"{self.codec.name} cannot be run: {error.strerror or error}.") from None
        if done.returncode:
            lines = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()
            raise OutputError(f"{self.codec.name} ended with {done.returncode}: {lines[-1].strip().rstrip('.')[:200]}.")

    def _read_reconstruction(self, path: Path, first: av.VideoFrame, count: int) -> list[NDArray[Any]]:
        """The samples of every frame of the reconstruction."""
        parts = planes(first)
        samples = sum(plane.size for plane in parts)
        expected = samples * parts[0].itemsize * count
        found = path.stat().st_size if path.is_file() else 0
        if found != expected:
            raise OutputError(
                f"{self.codec.name} wrote a reconstruction of {found} bytes, not {expected}: it has to be raw video "
                "like the input, with the same frames, size and depth."
            )
        return list(np.fromfile(path, parts[0].dtype).reshape(count, samples))

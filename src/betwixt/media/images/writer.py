"""Writing frames as numbered image files, all of them or none.

    av.VideoFrame ── write ──► numbered files in a hidden folder ── commit ──► the target folder

PNG and TIFF are written with 8 or 16 bits, as the source; JPEG, WebP and BMP with 8; EXR in linear light, as 32-bit
floating point.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import av.error
import numpy as np

from betwixt.errors import OutputError, UsageError
from betwixt.files import AtomicOutput, error_text, hidden_path, write_error
from betwixt.media.colour import FULL
from betwixt.media.container import write_errors
from betwixt.media.frames import bit_depth, fill_planes, is_rgb, planes
from betwixt.media.images.convert import frame_to_image, image_codec, image_to_jpeg_frame, pack_frame, to_8_bit
from betwixt.media.images.paths import NUMBER, READABLE, WRITABLE, image_folder, join_suffixes, numbered_path
from betwixt.media.transfer import transfer_of

_SRGB, _PQ, _HLG = 13, 16, 18  # H.273 transfer characteristics


class ImageWriter(AtomicOutput):
    """Writes frames as numbered images, all of them or none.

    Files are written into a hidden folder; `commit` moves them to the target, `abort` removes them. Samples of more
    than 8 bits become 16 bits, grey stays grey and alpha stays, where the image format can. Frames in a format of the
    codec are written without a conversion.

    Args:
        location: A folder (it exists, ends with a slash or has no suffix), which gets ``frame_000001.png`` and so on;
            a pattern (``dir/frame_%05d.png``); or a file name for a single image.
        suffix: The image format in a folder, one of `WRITABLE`.
        quality: 1 to 100 for JPEG (default 97) and WebP (default: lossless).
        aspect: The sample aspect ratio that PNG, JPEG and TIFF state; None for square pixels.
        start_number: The number of the first image of a folder or pattern.
        overwrite: Whether to write into a folder that is not empty: `commit` then replaces all images of the same
            sequence, and leaves other files.
        unfinished: The hidden folder of an interrupted run, and the number of complete images in it; the writer
            continues in it.
        keep_on_failure: Whether the finished images stay for another run if `commit` fails.

    Attributes:
        count: Number of images written, including those of `unfinished`.
        temporary: The folder that holds them until `commit`.

    Raises:
        UsageError: for an unknown suffix, a negative number, or a quality that the format does not have.
        OutputError: if the target exists or cannot be written; also from `write` and `commit`.
    """

    def __init__(
        self,
        location: str | Path,
        *,
        suffix: str = ".png",
        quality: int | None = None,
        aspect: Fraction | None = None,
        start_number: int = 1,
        overwrite: bool = False,
        unfinished: tuple[Path, int] | None = None,
        keep_on_failure: bool = False,
    ) -> None:
        path = Path(os.fspath(location))
        if start_number < 0:
            raise UsageError(f"`start_number` is {start_number}: images are numbered from 0 or higher.")
        self.count = 0
        self._before = start_number - 1
        self._location = path
        self._pending = False
        self._aspect = aspect
        self._keep_on_failure = keep_on_failure
        self._folder, self._single = image_folder(location)
        if self._folder == path:
            self._name = f"frame_%06d{suffix}"
            sequence = rf"frame_\d{{6,}}({'|'.join(map(re.escape, READABLE))})"
        else:
            self._name = path.name
            suffix = path.suffix
            if len(NUMBER.findall(path.name)) > 1:
                raise UsageError(f"{path} has more than one number: use one, such as frame_%05d.png.")
            sequence = r"\d+".join(re.escape(p) for p in re.split(r"%\d*d", path.name))
        self._sequence = re.compile(sequence)  # the names of existing files that belong to this sequence
        self._suffix = suffix.lower()
        self._options = _encoder_options(self._suffix, quality)
        self._prepare(overwrite, unfinished)

    def _prepare(self, overwrite: bool, unfinished: tuple[Path, int] | None) -> None:
        folder = self._folder
        with write_errors(self._location):
            exists = folder.is_dir()
            if not exists and folder.exists():
                raise OutputError(f"{folder} is a file, not a folder: choose another name.")
            if exists and not overwrite:
                if self._location == folder and any(p.name[:9] != ".betwixt." for p in folder.iterdir()):
                    raise OutputError(
                        f"The folder {folder} is not empty: choose another, or pass `overwrite=True` to write into it."
                    )
                if (taken := next(self._existing(), None)) is not None:
                    raise OutputError(f"{taken} exists: choose another name, or pass `overwrite=True` to replace it.")
            if not exists and not folder.parent.is_dir():
                raise OutputError(f"The folder {folder.parent} does not exist: create it first.")
            if unfinished is not None:
                self.temporary, complete = unfinished
                while self.count < complete and self.path_of(self.count + 1).is_file():
                    self.count += 1
            else:
                # Beside a new folder, so that one rename moves it; within an existing one, which may be another file
                # system than its parent.
                base = folder / "betwixt" if exists else folder
                self.temporary = hidden_path(base, f".{secrets.token_hex(4)}.part")
                self.temporary.mkdir()
            self._new_folder = not exists
            self._pending = True

    def _existing(self) -> Iterator[Path]:
        return (p for p in sorted(self._folder.iterdir()) if self._sequence.fullmatch(p.name))

    def path_of(self, number: int) -> Path:
        """The file of image `number`, counted from 1, until `commit`."""
        return numbered_path(self.temporary / self._name, self._before + number)

    def write(self, frame: av.VideoFrame) -> None:
        """Write the next image."""
        if self._single and self.count:
            raise UsageError(
                f"{self._location} holds one image: give a folder, or a pattern such as "
                f"{self._location.stem}_%05d{self._location.suffix}, for more."
            )
        data = self._encode(frame)
        with write_errors(self._location):
            self.path_of(self.count + 1).write_bytes(data)
        self.count += 1

    def commit(self) -> None:
        """Move the images to their folder."""
        if not self._pending:
            return
        try:
            if self._new_folder and not self._folder.exists():
                os.rename(self.temporary, self._folder)
            else:
                self._merge()
        except OSError as error:
            if not self._keep_on_failure:
                self.abort()
            raise write_error(error, self._location) from None
        self._pending = False

    def _merge(self) -> None:
        """Move the images into an existing folder, and remove its other images of the same sequence."""
        written = set(os.listdir(self.temporary))
        stale = {p.name for p in self._existing()} - written
        moved: list[str] = []
        try:
            for name in sorted(written):
                os.replace(self.temporary / name, self._folder / name)
                moved.append(name)
        except OSError:
            # Move them back, to keep all images together.
            with contextlib.suppress(OSError):
                for name in moved:
                    os.replace(self._folder / name, self.temporary / name)
            raise
        for name in stale:
            (self._folder / name).unlink()
        self.temporary.rmdir()

    def abort(self) -> None:
        """Remove the images that have been written."""
        if self._pending:
            shutil.rmtree(self.temporary, ignore_errors=True)
            self._pending = False

    def keep_unfinished(self) -> None:
        """Leave the hidden folder for another run to continue in."""
        self._pending = False

    # -- encoding

    def _encode(self, frame: av.VideoFrame) -> bytes:
        encoder = _ENCODERS[self._suffix]
        if encoder.codec == "mjpeg":
            frame = _jpeg_frame(frame)
        elif encoder.codec == "exr":
            frame = _linear_frame(frame)
        else:
            frame = _packed_frame(frame, encoder)
        context = image_codec(encoder.codec, "w")
        context.width, context.height = frame.width, frame.height
        context.pix_fmt = frame.format.name
        context.time_base = Fraction(1, 25)
        if self._aspect is not None:
            context.sample_aspect_ratio = self._aspect
        context.options = encoder.options | self._options
        frame.pts = 0
        try:
            packets = context.encode(frame) + context.encode(None)
        except av.error.FFmpegError as error:
            size = f"{frame.width}x{frame.height}"
            raise OutputError(
                f"An image of {size} cannot be written as {self._suffix[1:].upper()} ({error_text(error)}): use PNG."
            ) from None
        return b"".join(bytes(packet) for packet in packets)


class _Encoder(NamedTuple):
    codec: str
    formats: dict[tuple[bool, bool, bool], str]  # the pixel format to encode, by (colour, alpha, 16 bits)
    options: dict[str, str]


def _formats(names: str) -> dict[tuple[bool, bool, bool], str]:
    """Eight names: grey, grey with alpha, RGB, RGB with alpha, of 8 bits and then of 16."""
    keys = [(c, a, d) for d in (False, True) for c in (False, True) for a in (False, True)]
    return dict(zip(keys, names.split(), strict=True))


_ENCODERS = {
    ".png": _Encoder(
        "png", _formats("gray ya8 rgb24 rgba gray16be ya16be rgb48be rgba64be"), {"compression_level": "3"}
    ),
    ".tif": _Encoder(
        "tiff", _formats("gray ya8 rgb24 rgba gray16le ya16le rgb48le rgba64le"), {"compression_algo": "deflate"}
    ),
    ".webp": _Encoder("libwebp", _formats("bgra " * 8), {}),
    ".bmp": _Encoder("bmp", _formats("bgr24 bgra " * 4), {}),
    ".jpg": _Encoder("mjpeg", {}, {}),
    ".exr": _Encoder("exr", {}, {"compression": "zip16"}),
}
_ENCODERS |= {".jpeg": _ENCODERS[".jpg"], ".tiff": _ENCODERS[".tif"]}


def _encoder_options(suffix: str, quality: int | None) -> dict[str, str]:
    encoder = _ENCODERS.get(suffix)
    if encoder is None:
        raise UsageError(f"Images cannot be written as '{suffix}': use {join_suffixes(WRITABLE)}.")
    if quality is not None and not 1 <= quality <= 100:
        raise UsageError(f"The quality {quality} lies outside 1 to 100: 100 is best.")
    if encoder.codec == "mjpeg":
        # libjpeg's scale of its quantization matrices; FFmpeg's matrices match it at a quantizer of 8.
        percent = 6 if quality is None else 5000 / quality if quality < 50 else 200 - 2 * quality
        quantizer = str(min(31, max(1, round(percent * 8 / 100))))
        return {"qmin": quantizer, "qmax": quantizer}
    if encoder.codec == "libwebp":
        if quality is None:
            return {"lossless": "1", "compression_level": "1"}
        return {"lossless": "0", "quality": str(quality)}
    if quality is not None:
        raise UsageError(f"{suffix[1:].upper()} is lossless and has no `quality`: use JPEG or WebP, or leave it out.")
    return {}


def _packed_frame(frame: av.VideoFrame, encoder: _Encoder) -> av.VideoFrame:
    """The frame in the encoder's own format for its colours, alpha and depth."""
    name = frame.format.name
    full_range = is_rgb(name) or int(frame.color_range) == FULL
    if full_range and name in encoder.formats.values():
        return _copy(frame)
    image, alpha = frame_to_image(frame)
    fmt = frame.format
    colour = fmt.has_palette or fmt.is_rgb or len(fmt.components) >= 3
    target = encoder.formats[colour, alpha is not None, image.dtype == np.uint16]
    if bit_depth(target) == 8:
        image, alpha = to_8_bit(image), None if alpha is None else to_8_bit(alpha)
    result = pack_frame(image, alpha, target)
    # Only HDR is tagged: untagged, a viewer takes the image for sRGB, which ordinary video is close to.
    if int(frame.color_trc) in (_PQ, _HLG):
        result.color_trc, result.color_primaries = frame.color_trc, frame.color_primaries
    return result


def _linear_frame(frame: av.VideoFrame) -> av.VideoFrame:
    """The frame as EXR stores it: linear light in [0, 1], float32. SDR video is taken to be sRGB, as images are."""
    image, alpha = frame_to_image(frame)
    top = np.float32(np.iinfo(image.dtype).max)
    light = transfer_of(_SRGB).to_light(image / top)
    if alpha is None:
        return av.VideoFrame.from_ndarray(np.ascontiguousarray(light), format="gbrpf32le")
    opacity = (alpha / top).astype(np.float32)[..., None]
    return av.VideoFrame.from_ndarray(np.concatenate([light, opacity], axis=2), format="gbrapf32le")


def _jpeg_frame(frame: av.VideoFrame) -> av.VideoFrame:
    """The frame as JPEG stores it, with the chroma subsampling that it has."""
    name = frame.format.name
    if name in ("yuvj420p", "yuvj422p", "yuvj444p") and int(frame.colorspace) in (2, 5, 6):
        return _copy(frame)
    image, _ = frame_to_image(frame)
    subsampling = next((s for s in ("420", "422") if s in name), "420" if "gray" in name else "444")
    return image_to_jpeg_frame(to_8_bit(image), subsampling)


def _copy(frame: av.VideoFrame) -> av.VideoFrame:
    """A copy without times, picture type and colour tags, which an encoder would write into the file."""
    result = fill_planes(av.VideoFrame(frame.width, frame.height, frame.format.name), planes(frame))
    result.color_range = FULL
    return result

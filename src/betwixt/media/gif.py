"""GIF: few colours, coarse time, and still what a short clip is shared as.

    frames ── held until a scene is known ──► palette of the scene (palettegen)
          └──────────────────────────────────► mapped to it, ordered dither (paletteuse) ──► GIF encoder

Colours. One palette serves a whole scene, made from its first frames (as many as fit into 64 MB, 48 at the most); it
is made anew at a cut, or when what has come into view fits it badly. The dither is an ordered one. Both for the same
reason: where the picture stands still, its pixels have to stay the same. With a palette for each frame, or with error
diffusion, still areas flicker, and the file grows by half; their gain in accuracy is below half a decibel. So memory
is bounded however long the clip is, and each frame is seen once.

Time. A GIF counts in 1/100 s. Each frame is put on the tick nearest to its exact time, so that rounding never adds
up: 30 frames a second become delays of 3, 4, 3, 3, 4, 3, ... Players take a delay of less than 2/100 s for a mistake
and show such frames slowly: hence `MAX_RATE`.
"""

from __future__ import annotations

import os
import secrets
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import cv2
import numpy as np
from av.filter import Graph
from av.filter.context import FilterContext
from numpy.typing import NDArray

from betwixt.errors import OutputError, UsageError
from betwixt.files import AtomicOutput, write_error
from betwixt.media.images.convert import frame_to_image, to_8_bit

__all__ = ["MAX_RATE", "TICK", "GifWriter"]

MAX_RATE = Fraction(50)
"""The highest rate at which players show a GIF as it is meant, in frames a second."""

TICK = Fraction(1, 100)
"""The unit of a GIF's delays, in seconds."""

_HELD_FRAMES = 48
_HELD_BYTES = 64 << 20
_CUT = 28.0  # mean difference of two frames, of 255, that makes them two scenes
_MISFIT = 2.0  # how many times the squared error of its own frames a palette may reach

RGBA = NDArray[np.uint8]


class GifWriter(AtomicOutput):
    """Writes a GIF; it appears in its place, whole, on `commit`.

    As a context manager it commits when the block ends and aborts when it raises.

    Args:
        path: Where to.
        width: Width in pixels, at most 65535.
        height: Height in pixels, at most 65535.
        rate: Frames a second, above 0, at most `MAX_RATE`; it gives the last frame its duration.
        loop: Whether players repeat it for ever, or play it once.
        overwrite: Whether an existing file is replaced on commit.

    Attributes:
        count: How many frames have been written.

    Raises:
        UsageError: for a rate or a size that a GIF cannot have.
        OutputError: if the file exists or cannot be written; also from `write` and `commit`.
    """

    def __init__(
        self,
        path: str | Path,
        width: int,
        height: int,
        rate: Fraction,
        *,
        loop: bool = True,
        overwrite: bool = False,
    ) -> None:
        if rate > MAX_RATE:
            raise UsageError(
                f"A GIF cannot show {float(rate):g} frames a second: pass --fps 50 or less, or write MP4 or WebM."
            )
        if rate <= 0:
            raise UsageError("A GIF needs a rate above zero.")
        if not (0 < width < 65536 and 0 < height < 65536):
            raise UsageError(f"A GIF cannot be {width}x{height}: 65535 pixels a side are the limit.")
        self.count = 0
        self._path = Path(path)
        self._size = (width, height)
        self._rate = Fraction(rate)
        self._first: Fraction | None = None
        self._last = Fraction(0)
        self._ticks: list[int] = []  # of the held frames
        self._held: list[RGBA] = []
        self._room = max(2, min(_HELD_FRAMES, _HELD_BYTES // (4 * width * height)))
        self._palette: _Palette | None = None
        self._glimpse: NDArray[np.uint8] | None = None
        self._packet = b""
        if self._path.is_dir():
            raise OutputError(f"{path} is a folder: give a file name.")
        if self._path.exists() and not overwrite:
            raise OutputError(f"{path} exists: choose another name, or pass --overwrite.")
        if not self._path.parent.is_dir():
            raise OutputError(f"The folder {self._path.parent} does not exist: create it first.")
        self._temporary = self._path.with_name(f".{self._path.name}.{secrets.token_hex(4)}.part")
        self._pending = True
        try:
            self._file = open(self._temporary, "w+b")  # noqa: SIM115
        except OSError as error:
            self._pending = False
            raise write_error(error, path) from None
        self._container = av.open(self._file, "w", format="gif", options={"loop": "0" if loop else "-1"})
        self._stream = self._container.add_stream("gif", rate=100)
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "pal8"
        self._stream.time_base = self._stream.codec_context.time_base = TICK

    def write(self, frame: av.VideoFrame, time: Fraction) -> None:
        """Add a frame.

        Args:
            frame: A frame of the size given.
            time: When it begins, in seconds, exact, later than the one before; the first one's is the zero.

        Raises:
            UsageError: for a frame of another size, or times that do not rise by 2/100 s or more each.
        """
        if (frame.width, frame.height) != self._size:
            raise UsageError(
                f"A frame is {frame.width}x{frame.height}, the GIF {self._size[0]}x{self._size[1]}: give all one size."
            )
        if self._first is None:
            self._first = time
        elif time - self._last < 1 / MAX_RATE:
            raise UsageError("Frames of a GIF have to be 2/100 s apart or more: pass --fps 50 or less.")
        self._last = time
        tick = round((time - self._first) / TICK)
        rgba = self._rgba(frame)
        try:
            self._take(rgba, tick)
        except (OSError, av.error.FFmpegError) as error:
            raise write_error(error, self._path) from None
        self.count += 1

    def commit(self) -> None:
        """Finish the file and move it into its place."""
        if not self._pending:
            return
        try:
            if not self.count:
                raise OutputError(f"{self._path} is not written: there is no frame.")
            self._flush()
            self._mux(self._stream.encode(None))
            self._container.close()
            self._set_last_delay()
            self._file.close()
            os.replace(self._temporary, self._path)
        except (OSError, av.error.FFmpegError) as error:
            raise write_error(error, self._path) from None
        finally:
            self.abort()

    def abort(self) -> None:
        """Remove what has been written; what was there before stays as it is."""
        if not self._pending:
            return
        self._pending = False
        try:
            self._container.close()
        except (OSError, ValueError, av.error.FFmpegError):
            pass  # what it could not write is not wanted any more
        finally:
            self._file.close()
            self._temporary.unlink(missing_ok=True)

    # -- colours

    def _rgba(self, frame: av.VideoFrame) -> RGBA:
        picture, alpha = frame_to_image(frame)
        if picture.dtype == np.uint16:
            picture = to_8_bit(picture)
            alpha = None if alpha is None else to_8_bit(alpha)
        opacity = np.full(picture.shape[:2], 255, np.uint8) if alpha is None else alpha
        return np.dstack([picture, opacity]).astype(np.uint8)

    def _take(self, rgba: RGBA, tick: int) -> None:
        """Hold a frame until its scene's palette is known, or encode it where it is."""
        glimpse = cv2.resize(rgba, (32, 18), interpolation=cv2.INTER_AREA)
        before, self._glimpse = self._glimpse, glimpse.astype(np.uint8)
        cut = before is not None and float(cv2.absdiff(before, self._glimpse)[..., :3].mean()) > _CUT
        if self._palette is not None and (cut or not self._palette.fits(rgba)):
            self._palette = None
        if self._palette is not None:
            self._encode(self._palette, rgba, tick)
            return
        if cut:
            self._flush()
            self._palette = None
        self._held.append(rgba)
        self._ticks.append(tick)
        if len(self._held) >= self._room:
            self._flush()

    def _flush(self) -> None:
        """Make the palette of the held frames, and encode them."""
        if not self._held:
            return
        self._palette = _Palette(self._held)
        for rgba, tick in zip(self._held, self._ticks, strict=True):
            self._encode(self._palette, rgba, tick)
        self._held, self._ticks = [], []

    def _encode(self, palette: _Palette, rgba: RGBA, tick: int) -> None:
        frame = palette.map(rgba, tick)
        frame.pts, frame.time_base = tick, TICK
        self._mux(self._stream.encode(frame))

    # -- the file

    def _mux(self, packets: list[av.Packet[Any]]) -> None:
        for packet in packets:
            self._packet = bytes(packet)
            self._container.mux(packet)

    def _set_last_delay(self) -> None:
        """Let the last frame end where the clip does; the muxer would repeat the delay before it."""
        end = self._last + 1 / self._rate - (self._first or 0)
        delay = max(2, round(end / TICK) - round((self._last - (self._first or 0)) / TICK))
        control = self._packet.find(b"\x21\xf9\x04")  # the graphic control extension, which precedes the image
        size = self._file.seek(0, os.SEEK_END)
        position = size - 1 - len(self._packet) + control  # the trailer is one byte
        self._file.seek(position)
        if control < 0 or self._file.read(3) != b"\x21\xf9\x04":
            raise AssertionError("a GIF ends with its last image and a trailer")
        self._file.seek(position + 4)
        self._file.write(min(delay, 65535).to_bytes(2, "little"))


class _Palette:
    """The colours of a scene, and the way of a frame to them."""

    def __init__(self, frames: list[RGBA]) -> None:
        self._height, self._width = frames[0].shape[:2]
        found = self._generate(frames)
        colours = np.frombuffer(bytes(found.planes[0]), np.uint8).reshape(16, -1, 4)[:, :16].reshape(-1, 4)
        self._colours = colours[colours[:, 3] > 0][:, 2::-1].astype(np.float32)  # they come as BGRA
        self._allowed = 8.0 + _MISFIT * max(self._error(rgba) for rgba in frames[:: max(1, len(frames) // 8)])
        self._graph = Graph()
        self._input = self._buffer(self._graph, self._width, self._height, "rgba")
        palette = self._buffer(self._graph, 16, 16, "bgra")
        use = self._graph.add("paletteuse", "dither=bayer:bayer_scale=3")
        self._output = self._graph.add("buffersink")
        self._input.link_to(use, 0, 0)
        palette.link_to(use, 0, 1)
        use.link_to(self._output)
        self._graph.configure()
        found.pts, found.time_base = 0, TICK
        palette.push(found)
        palette.push(None)

    @staticmethod
    def _buffer(graph: Graph, width: int, height: int, name: str) -> FilterContext:
        return graph.add_buffer(width=width, height=height, format=av.VideoFormat(name), time_base=TICK)

    def _generate(self, frames: list[RGBA]) -> av.VideoFrame:
        graph = Graph()
        source = self._buffer(graph, self._width, self._height, "rgba")
        generate, sink = graph.add("palettegen", "stats_mode=full"), graph.add("buffersink")
        source.link_to(generate)
        generate.link_to(sink)
        graph.configure()
        for number, rgba in enumerate(frames):
            source.push(_frame(rgba, number))
        source.push(None)
        return graph.vpull()

    def _error(self, rgba: RGBA) -> float:
        """The mean squared distance of a frame's colours to the palette's, on a coarse grid of pixels."""
        step = max(1, min(self._height, self._width) // 48)
        pixels = rgba[step // 2 :: step, step // 2 :: step].reshape(-1, 4)
        pixels = pixels[pixels[:, 3] >= 128][:, :3].astype(np.float32)
        if not len(pixels) or not len(self._colours):
            return 0.0
        squares = (pixels**2).sum(axis=1)[:, None] + (self._colours**2).sum(axis=1) - 2 * pixels @ self._colours.T
        return float(np.maximum(squares.min(axis=1), 0).mean())

    def fits(self, rgba: RGBA) -> bool:
        """Whether the palette serves this frame about as well as those it was made from."""
        return self._error(rgba) <= self._allowed

    def map(self, rgba: RGBA, tick: int) -> av.VideoFrame:
        """The frame in the palette's colours (pal8)."""
        self._input.push(_frame(rgba, tick))
        frame = self._output.pull()
        if not isinstance(frame, av.VideoFrame):
            raise AssertionError("paletteuse gives a frame for each frame")
        return frame


def _frame(rgba: RGBA, tick: int) -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(rgba, format="rgba")
    frame.pts, frame.time_base = tick, TICK
    return frame

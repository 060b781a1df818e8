"""Writing animated GIFs, with one palette per scene and exact times.

    frames ── held until a palette is made ──► palette of the scene (palettegen)
          └──────────────────────────────────► mapped to it, ordered dither (paletteuse) ──► GIF encoder

**Colours.** A palette is made from a scene's first frames (as many as fit into 64 MB, 48 at most), and made again at a
cut or when new content fits it badly. With a palette per frame, or with error diffusion instead of ordered dither,
still areas would flicker and the file would grow by half, to gain less than half a decibel. Memory is bounded.

**Time.** The unit is 1/100 s. Each frame is put on the tick nearest to its exact time, so rounding errors do not add
up: 30 frames per second become delays of 3, 4, 3, 3, 4, 3, ... ticks. Players treat a delay of less than 2 ticks as a
mistake and show such frames slowly, hence `MAX_RATE`.
"""

from __future__ import annotations

import os
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
from betwixt.files import AtomicOutput, WorkingFile, check_output
from betwixt.media.container import write_errors
from betwixt.media.images.convert import frame_to_image, to_8_bit

MAX_RATE = Fraction(50)
"""The highest rate that players show correctly, in frames per second."""

TICK = Fraction(1, 100)
"""The unit of a GIF's delays, in seconds."""

_HELD_FRAMES = 48
_HELD_BYTES = 64 << 20
_CUT = 28.0  # mean difference (levels of 255) between two frames of different scenes
_MISFIT = 2.0  # largest squared error of a later frame, relative to that of the frames the palette was made from

RGBA = NDArray[np.uint8]
"""(H, W, 4)."""


class GifWriter(AtomicOutput):
    """Writes a GIF, which appears in its place, complete, on `commit`.

    Args:
        path: The file.
        width: Width in pixels, at most 65535.
        height: Height in pixels, at most 65535.
        rate: Frames per second, above 0, at most `MAX_RATE`; it gives the duration of the last frame.
        loop: Whether players repeat it for ever, or play it once.
        overwrite: Whether an existing file is replaced on commit.

    Attributes:
        count: Number of frames written.

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
                f"A GIF cannot show {float(rate):g} frames per second: pass `fps=50` or less, or write MP4 or WebM."
            )
        if rate <= 0:
            raise UsageError("A GIF needs a rate above zero.")
        if not (0 < width < 65536 and 0 < height < 65536):
            raise UsageError(f"A GIF cannot be {width}x{height}: 65535 pixels a side are the limit.")
        self.count = 0
        self._path = Path(path)
        self._size = (width, height)
        self._rate = Fraction(rate)
        self._first_time: Fraction | None = None
        self._last_time = Fraction(0)
        self._held: list[tuple[RGBA, int]] = []  # frames and their ticks, until the palette is made
        self._capacity = max(2, min(_HELD_FRAMES, _HELD_BYTES // (4 * width * height)))
        self._palette: _Palette | None = None
        self._last_thumbnail: NDArray[np.uint8] | None = None
        self._last_packet = b""
        check_output(self._path, None, overwrite)
        with write_errors(self._path):
            self._working = WorkingFile(self._path)
        self._file = self._working.file
        self._pending = True
        self._container = av.open(self._file, "w", format="gif", options={"loop": "0" if loop else "-1"})
        self._stream = self._container.add_stream("gif", rate=100)
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "pal8"
        self._stream.time_base = self._stream.codec_context.time_base = TICK

    def write(self, frame: av.VideoFrame, time: Fraction) -> None:
        """Add a frame.

        Args:
            frame: A frame of the GIF's size.
            time: When it begins, in exact seconds, later than the one before; the first frame's time becomes 0.

        Raises:
            UsageError: for a frame of another size, or one that begins less than 2/100 s after the one before.
        """
        if (frame.width, frame.height) != self._size:
            raise UsageError(
                f"A frame is {frame.width}x{frame.height}, the GIF {self._size[0]}x{self._size[1]}: "
                "all frames must have one size."
            )
        if self._first_time is None:
            self._first_time = time
        elif time - self._last_time < 1 / MAX_RATE:
            raise UsageError("Frames of a GIF must be 2/100 s apart or more: pass `fps=50` or less.")
        self._last_time = time
        with write_errors(self._path):
            self._add(_to_rgba(frame), round((time - self._first_time) / TICK))
        self.count += 1

    def commit(self) -> None:
        """Finish the file and move it to its place."""
        if not self._pending:
            return
        try:
            if not self.count:
                raise OutputError(f"{self._path} is not written: there is no frame.")
            with write_errors(self._path):
                self._flush()
                self._mux(self._stream.encode(None))
                self._container.close()
                self._set_last_delay()
                self._working.publish()
        finally:
            self.abort()

    def abort(self) -> None:
        """Remove the unfinished file."""
        if not self._pending:
            return
        self._pending = False
        try:
            self._container.close()
        except (OSError, ValueError, av.error.FFmpegError):
            pass  # the file is removed anyway
        finally:
            self._working.discard()

    def _add(self, rgba: RGBA, tick: int) -> None:
        """Encode a frame, or hold it until its scene has a palette."""
        thumbnail = cv2.resize(rgba, (32, 18), interpolation=cv2.INTER_AREA).astype(np.uint8)
        before, self._last_thumbnail = self._last_thumbnail, thumbnail
        is_cut = before is not None and float(cv2.absdiff(before, thumbnail)[..., :3].mean()) > _CUT
        if self._palette is not None:
            if not is_cut and self._palette.fits(rgba):
                self._encode(self._palette, rgba, tick)
                return
        elif is_cut:
            self._flush()
        self._palette = None
        self._held.append((rgba, tick))
        if len(self._held) >= self._capacity:
            self._flush()

    def _flush(self) -> None:
        """Encode the held frames with a palette made from them."""
        if not self._held:
            return
        self._palette = _Palette([rgba for rgba, _ in self._held])
        for rgba, tick in self._held:
            self._encode(self._palette, rgba, tick)
        self._held = []

    def _encode(self, palette: _Palette, rgba: RGBA, tick: int) -> None:
        frame = palette.map(rgba, tick)
        frame.pts, frame.time_base = tick, TICK
        self._mux(self._stream.encode(frame))

    def _mux(self, packets: list[av.Packet[Any]]) -> None:
        for packet in packets:
            self._last_packet = bytes(packet)
            self._container.mux(packet)

    def _set_last_delay(self) -> None:
        """Write the duration of the last frame into the file; the muxer repeats the delay before it."""
        start = self._last_time - (self._first_time or 0)
        delay = max(2, round((start + 1 / self._rate) / TICK) - round(start / TICK))
        control = self._last_packet.find(b"\x21\xf9\x04")  # the graphic control extension, which precedes the image
        position = self._file.seek(0, os.SEEK_END) - 1 - len(self._last_packet) + control  # the trailer is one byte
        self._file.seek(position)
        if control < 0 or self._file.read(3) != b"\x21\xf9\x04":
            raise AssertionError("a GIF ends with its last image and a trailer")
        self._file.seek(position + 4)
        self._file.write(min(delay, 65535).to_bytes(2, "little"))


class _Palette:
    """The colours of a scene, and the filter that maps frames to them."""

    def __init__(self, frames: list[RGBA]) -> None:
        self._height, self._width = frames[0].shape[:2]
        palette = self._generate(frames)
        colours = np.frombuffer(bytes(palette.planes[0]), np.uint8).reshape(16, -1, 4)[:, :16].reshape(-1, 4)
        self._colours = colours[colours[:, 3] > 0][:, 2::-1].astype(np.float32)  # BGRA to RGB
        self._largest_error = 8.0 + _MISFIT * max(self._error(rgba) for rgba in frames[:: max(1, len(frames) // 8)])
        self._graph = graph = Graph()  # kept, because its contexts do not keep it alive
        self._input = _add_buffer(graph, self._width, self._height, "rgba")
        palette_input = _add_buffer(graph, 16, 16, "bgra")
        use = graph.add("paletteuse", "dither=bayer:bayer_scale=3")
        self._output = graph.add("buffersink")
        palette_input.link_to(use, 0, 1)
        graph.link_nodes(self._input, use, self._output).configure()
        palette.pts, palette.time_base = 0, TICK
        palette_input.push(palette)
        palette_input.push(None)

    def _generate(self, frames: list[RGBA]) -> av.VideoFrame:
        """The palette as a frame of 16x16 pixels."""
        graph = Graph()
        source = _add_buffer(graph, self._width, self._height, "rgba")
        generate = graph.add("palettegen", "stats_mode=full")
        graph.link_nodes(source, generate, graph.add("buffersink")).configure()
        for number, rgba in enumerate(frames):
            source.push(_to_frame(rgba, number))
        source.push(None)
        return graph.vpull()

    def _error(self, rgba: RGBA) -> float:
        """Mean squared distance between a frame's colours and the palette's, on a coarse grid of pixels."""
        step = max(1, min(self._height, self._width) // 48)
        pixels = rgba[step // 2 :: step, step // 2 :: step].reshape(-1, 4)
        pixels = pixels[pixels[:, 3] >= 128][:, :3].astype(np.float32)
        if not len(pixels) or not len(self._colours):
            return 0.0
        squares = (pixels**2).sum(axis=1)[:, None] + (self._colours**2).sum(axis=1) - 2 * pixels @ self._colours.T
        return float(np.maximum(squares.min(axis=1), 0).mean())

    def fits(self, rgba: RGBA) -> bool:
        """Whether the palette fits this frame about as well as those it was made from."""
        return self._error(rgba) <= self._largest_error

    def map(self, rgba: RGBA, tick: int) -> av.VideoFrame:
        """The frame in the palette's colours (pal8)."""
        self._input.push(_to_frame(rgba, tick))
        frame = self._output.pull()
        assert isinstance(frame, av.VideoFrame), "paletteuse returns a frame for each frame"
        return frame


def _add_buffer(graph: Graph, width: int, height: int, name: str) -> FilterContext:
    return graph.add_buffer(width=width, height=height, format=av.VideoFormat(name), time_base=TICK)


def _to_rgba(frame: av.VideoFrame) -> RGBA:
    image, alpha = frame_to_image(frame)
    opacity = np.full(image.shape[:2], 255, np.uint8) if alpha is None else to_8_bit(alpha)
    return np.dstack([to_8_bit(image), opacity])


def _to_frame(rgba: RGBA, tick: int) -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(rgba, format="rgba")
    frame.pts, frame.time_base = tick, TICK
    return frame

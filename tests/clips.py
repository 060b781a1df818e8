"""Small video files with known content, made by code."""

from __future__ import annotations

import atexit
import contextlib
import functools
import hashlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any
from unittest import mock

import av
import av.container
import av.filter
import numpy as np
from numpy.typing import NDArray

from betwixt.machine import keep_scheduling
from betwixt.media.frames import bit_depth, planes
from betwixt.media.reader import Frame, Reader
from betwixt.media.writer import VideoWriter

TURNED = (0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30)
"""A display matrix: by 90 degrees, clockwise."""

_clips = tempfile.TemporaryDirectory(prefix="betwixt-clips-")
"""The clips that were made in this process, to be copied if a test asks for the same clip again."""

atexit.register(_clips.cleanup)


def paint(frame: av.VideoFrame, index: float, *, scene: int = 0, speed: float = 2.0) -> av.VideoFrame:
    """Fill a frame with a smooth texture that moves to the right by `speed` pixels per frame."""
    shift = bit_depth(frame.format.name) - 8
    for number, plane in enumerate(planes(frame)):
        height, width = plane.shape[:2]
        scale = frame.width / width, frame.height / height
        value = _texture(width, height, scale, speed * index, scene, number)
        low, high = (16 << shift, 235 << shift) if number == 0 else (40 << shift, 210 << shift)
        samples = np.rint(low + value * (high - low))
        plane[...] = (samples if plane.ndim == 2 else samples[..., None]).astype(plane.dtype)
    return frame


@functools.lru_cache(maxsize=1000)
def _texture(
    width: int, height: int, scale: tuple[float, float], offset: float, scene: int, plane: int
) -> NDArray[np.float64]:
    """A smooth texture in [0, 1], moved by `offset` pixels to the right; many clips have the same ones."""
    rng = np.random.default_rng(1000 * scene + plane)
    fx, fy, phase = rng.uniform([0.02, -0.5, 0.0], [0.5, 0.5, 6.28], (16, 3)).T
    across = np.outer(fx, np.arange(width) * scale[0] - offset)
    down = np.outer(np.arange(height) * scale[1], fy) + phase
    # The sum over all waves of sin(across + down), by the addition theorem.
    value = np.sin(down) @ np.cos(across) + np.cos(down) @ np.sin(across)
    return np.clip(0.5 + 0.06 * value + (0.1 if scene % 2 else -0.1), 0, 1)


def make_clip(
    path: Path,
    *,
    frames: int = 12,
    rate: Fraction | int = 25,
    size: tuple[int, int] = (96, 64),
    codec: str = "ffv1",
    pixel_format: str = "yuv420p",
    times: list[Fraction] | None = None,
    start: Fraction = Fraction(0),
    tick: Fraction = Fraction(1, 90000),
    cuts: tuple[int, ...] = (),
    still: bool = False,
    repeat: int = 1,
    audio: bool = False,
    options: dict[str, str] | None = None,
    colour: dict[str, int] | None = None,
    prepare: Any = None,
    audio_start: Fraction = Fraction(0),
    positions: list[float] | None = None,
) -> Path:
    """Write a clip of a moving texture, or copy one that was made with the same settings before.

    Args:
        path: The file; its suffix selects the container.
        frames: Number of frames.
        rate: Frames per second.
        size: Width and height.
        codec: Encoder.
        pixel_format: Of the stream.
        times: When each frame is shown, in seconds, for a variable rate.
        start: When the first frame is shown.
        tick: The encoder's time base for `times` and `start`.
        cuts: Numbers of the frames that begin a new scene.
        still: Whether nothing moves.
        repeat: How many times each frame is repeated.
        audio: Whether to add a tone.
        options: Encoder options.
        colour: Attributes of the codec context (colorspace, color_range, ...).
        prepare: Called with the container and stream before the first frame.
        audio_start: When the tone begins, in seconds.
        positions: Position of the texture in each frame, in pixels; it moves by 2 per frame if not given.
    """
    settings = {name: value for name, value in locals().items() if name != "path"}
    kept = Path(_clips.name, hashlib.sha256(repr(settings).encode()).hexdigest()).with_suffix(path.suffix)
    if prepare is None and kept.exists():
        shutil.copyfile(kept, path)
        return path
    rate = Fraction(rate)
    with av.open(f"file:{path}", "w") as out:
        stream: Any = out.add_stream(codec, rate=rate, options=options or {})
        stream.width, stream.height, stream.pix_fmt = *size, pixel_format
        exact = times is not None or start
        stream.codec_context.time_base = tick if exact else 1 / rate
        for key, value in (colour or {}).items():
            setattr(stream.codec_context, key, value)
        sound: Any = None
        if audio:
            sound = out.add_stream("aac" if path.suffix in (".mp4", ".mov", ".ts") else "flac", rate=44100)
        if prepare is not None:
            prepare(out, stream)
        with keep_scheduling():
            out.start_encoding()
        for index in range(frames):
            scene = sum(index >= c for c in cuts)
            frame = av.VideoFrame(*size, pixel_format)
            if positions is None:
                paint(frame, 0 if still else index // repeat, scene=scene)
            else:
                paint(frame, positions[index], scene=scene, speed=1.0)
            for key, value in (colour or {}).items():
                setattr(frame, key, value)
            if times is not None:
                frame.pts, frame.time_base = round((start + times[index]) / tick), tick
            elif exact:
                frame.pts, frame.time_base = round((start + index / rate) / tick), tick
            else:
                frame.pts, frame.time_base = index, 1 / rate
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        if sound is not None:
            seconds = float(frames / rate)
            count = int(44100 * seconds) // 1024 * 1024
            tone = (0.2 * np.sin(np.arange(count) * 2 * np.pi * 440 / 44100)).astype(np.float32)
            name = sound.codec_context.format.name
            for begin in range(0, count, 1024):
                part = tone[begin : begin + 1024]
                if name.startswith("flt"):
                    data = np.stack([part, part])
                else:
                    kind = np.int16 if name.startswith("s16") else np.int32
                    data = (np.stack([part, part]) * np.iinfo(kind).max).astype(kind)
                if not name.endswith("p"):
                    data = data.T.reshape(1, -1)
                piece = av.AudioFrame.from_ndarray(np.ascontiguousarray(data), format=name, layout="stereo")
                piece.rate = 44100
                piece.pts, piece.time_base = begin + round(audio_start * 44100), Fraction(1, 44100)
                out.mux(sound.encode(piece))
            out.mux(sound.encode(None))
    if prepare is None:
        shutil.copyfile(path, kept)
    return path


def turned_clip(path: Path, **options: Any) -> Path:
    """Write a clip of two frames that are to be shown turned by 90 degrees."""
    return make_clip(path, frames=2, prepare=lambda _, stream: stream.set_display_matrix(TURNED), **options)


def join_streams(target: Path, *sources: Path, default: int = 0) -> Path:
    """Write a file with the streams of several clips; the video of clip number `default` is the default stream."""
    with contextlib.ExitStack() as stack:
        out = stack.enter_context(av.open(str(target), "w"))
        copies = []
        for number, source in enumerate(sources):
            clip = stack.enter_context(av.open(str(source)))
            for stream in clip.streams:
                copy: Any = out.add_stream_from_template(stream)
                copy.disposition = av.stream.Disposition.default if number == default else 0
                copies.append((source, stream.index, copy))
        for source, index, copy in copies:
            copy_packets(source, index, copy, out)
    return target


def copy_packets(source: Path, number: int, target: Any, out: av.container.OutputContainer) -> None:
    """Write all packets of stream `number` of a file to a stream of an output."""
    with av.open(str(source)) as container:
        for packet in container.demux(container.streams[number]):
            if packet.dts is not None:
                packet.stream = target
                out.mux(packet)


def make_interlaced_clip(path: Path, count: int, *, first: int = 0, matrix: int = 2) -> Path:
    """Write MPEG-2 of `count` frames that are made of two fields, 20 ms apart.

    Args:
        path: The file.
        count: Number of frames.
        first: Number of the first one, which says when it is shown and where the texture is.
        matrix: That the stream states (H.273).
    """
    graph = av.filter.Graph()
    feed = graph.add_buffer(width=96, height=64, format=av.VideoFormat("yuv420p"), time_base=Fraction(1, 25))
    graph.link_nodes(feed, graph.add("setfield", "tff"), graph.add("buffersink")).configure()
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("mpeg2video", rate=25, options={"flags": "+ildct+ilme", "bf": "0", "g": "12"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.codec_context.colorspace = matrix
        for index in range(first, first + count):
            frame, later = (paint(av.VideoFrame(96, 64, "yuv420p"), index + n) for n in (0, 0.5))
            for plane, other in zip(planes(frame), planes(later), strict=True):
                plane[1::2] = other[1::2]
            frame.pts, frame.time_base = index, Fraction(1, 25)
            graph.push(frame)
            out.mux(stream.encode(graph.vpull()))
        out.mux(stream.encode(None))
    return path


def read_frames(path: Path) -> list[Frame]:
    """All frames of a clip with their exact times."""
    with Reader(path, interlaced="ignore") as reader:
        return [item for item in reader if isinstance(item, Frame)]


def copy_planes(frame: av.VideoFrame) -> list[Any]:
    """Copies of a frame's planes."""
    return [plane.copy() for plane in planes(frame)]


def frames_equal(a: av.VideoFrame, b: av.VideoFrame) -> bool:
    """Whether two frames are equal, plane by plane."""
    return all(np.array_equal(x, y) for x, y in zip(planes(a), planes(b), strict=True))


@contextlib.contextmanager
def interrupt_at(number: int) -> Iterator[None]:
    """Interrupt whatever writes a video, before frame `number`."""
    write = VideoWriter.write

    def stop(self: VideoWriter, frame: av.VideoFrame, index: int) -> None:
        if index >= number:
            raise KeyboardInterrupt
        write(self, frame, index)

    with mock.patch.object(VideoWriter, "write", stop):
        yield


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait until a condition holds, such as something that another process does."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition did not become true in time"
        time.sleep(0.01)

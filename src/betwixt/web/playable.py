"""Copies of videos that every browser can play: short, small, H.264 in MP4, 8 bit, SDR."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from betwixt.files import WorkingFile, write_error
from betwixt.media.probe import VideoInfo
from betwixt.media.reader import Frame
from betwixt.media.source import open_source
from betwixt.web.pictures import FrameViewer

_WIDTH = 960
_TICK = Fraction(1, 90000)
_SECONDS = 20
"""How much of a video is copied."""

_PLAYABLE = {
    ".mp4": {("h264", "yuv420p"), ("av1", "yuv420p"), ("h264", "yuvj420p")},
    ".webm": {("vp8", "yuv420p"), ("vp9", "yuv420p"), ("av1", "yuv420p")},
    ".gif": {("gif", "bgra"), ("gif", "pal8"), ("gif", "rgb24")},
}
"""What browsers play as it is: codecs and pixel formats by the suffix of the file."""


def make_playable(source: Path, target: Path) -> bool:
    """Write a copy of a video's beginning that every browser can play, unless the video itself can be played.

    Returns:
        Whether there is a copy now.

    Raises:
        InputError: if the video cannot be read.
        OutputError: if the copy cannot be written.
    """
    if target.exists():
        return True
    reader = open_source(source, interlaced="ignore")
    try:
        info = reader.info
        if (info.codec, info.pixel_format) in _PLAYABLE.get(source.suffix.lower(), set()):
            return False
        frames = (item for item in reader if isinstance(item, Frame))
        with WorkingFile(target) as working:
            _encode(itertools.takewhile(lambda f: f.time - info.start <= _SECONDS, frames), info, working.path)
            working.publish()
    except OSError as error:
        raise write_error(error, target) from None
    finally:
        reader.close()
    return True


def _encode(frames: Iterable[Frame], info: VideoInfo, path: Path) -> None:
    """Write frames as H.264 in MP4."""
    viewer, stream = FrameViewer(info, _WIDTH), None
    with av.open(str(path), "w", format="mp4") as out:
        for item in frames:
            picture = viewer.rgb(item.video)
            height, width = (size // 2 * 2 for size in picture.shape[:2])
            if stream is None:
                stream = out.add_stream("libx264", rate=info.rate, options={"preset": "veryfast", "crf": "20"})
                stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
                stream.codec_context.time_base = _TICK
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture[:height, :width]))
            frame.time_base, frame.pts = _TICK, round((item.time - info.start) / _TICK)
            out.mux(stream.encode(frame))
        if stream is not None:
            out.mux(stream.encode(None))

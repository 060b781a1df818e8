"""Frames as a browser shows them: small, upright, with square pixels, in SDR."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from betwixt.files import write_atomically
from betwixt.media.images.convert import frame_to_image
from betwixt.media.presentation import image_presentation
from betwixt.media.probe import VideoInfo
from betwixt.media.source import open_source

RGB = NDArray[np.uint8]
"""(H, W, 3), 0 to 255."""

THUMBNAIL_WIDTH = 480


class FrameViewer:
    """Turns frames of one video into pictures for a browser.

    Args:
        info: The video.
        width: The largest width of the pictures, in pixels.
    """

    def __init__(self, info: VideoInfo, width: int = 1280) -> None:
        scale = min(1.0, width / info.width)
        self._size = max(2, round(info.width * scale)), max(2, round(info.height * scale))
        small = replace(info, width=self._size[0], height=self._size[1])
        self._presentation = image_presentation(".webp", small, "on" if info.colour.hdr else "auto")

    def rgb(self, frame: av.VideoFrame) -> RGB:
        """The picture of a frame: (H, W, 3) RGB."""
        if (frame.width, frame.height) != self._size:
            frame = frame.reformat(width=self._size[0], height=self._size[1])
        image, _ = frame_to_image(self._presentation.apply(frame))
        return np.asarray(image if image.dtype == np.uint8 else image >> 8, np.uint8)

    def write_jpeg(self, frame: av.VideoFrame, path: Path) -> None:
        """Write the picture of a frame as a JPEG.

        Raises:
            OutputError: if it cannot be written.
        """
        encoded = cv2.imencode(".jpg", cv2.cvtColor(self.rgb(frame), cv2.COLOR_RGB2BGR))[1]
        write_atomically(path, encoded.tobytes())


def read_rgb(path: Path) -> RGB:
    """An 8-bit picture that the page has written: (H, W, 3) RGB."""
    data: Any = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    return np.asarray(cv2.cvtColor(data, cv2.COLOR_BGR2RGB), np.uint8)


def open_viewer(source: Path, width: int) -> FrameViewer:
    """A viewer for the frames of a file.

    Raises:
        InputError: if it cannot be read.
    """
    reader = open_source(source, interlaced="ignore")
    try:
        return FrameViewer(reader.info, width)
    finally:
        reader.close()

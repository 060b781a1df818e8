"""The decoder of a video stream: FFmpeg's usual one, with what that one leaves out.

- The alpha of VP8 and VP9 in WebM, which only libvpx's decoders return; they leave out the colour that the container
  states.
- The dynamic HDR metadata of HEVC in the form in which an encoder can write it: as the frame's `opaque`, a
  `dynamic_hdr.FrameMetadata`.
"""

from __future__ import annotations

from typing import Any

import av

from betwixt.media.dynamic_hdr import length_size_of, read_metadata

_UNSPECIFIED = 2
"""FFmpeg's code for primaries and transfer functions that are not stated."""

_KEEPING_ALPHA = {"vp8": "libvpx", "vp9": "libvpx-vp9"}


class Decoder:
    """Decodes the packets of a video stream.

    Args:
        stream: The stream of an open container.
        threads: Its threads; 0 lets it choose.
    """

    def __init__(self, stream: Any, threads: int) -> None:
        self._context: Any = _choose(stream)
        self._context.thread_type = "AUTO"
        if threads:
            self._context.thread_count = threads
        self._stated = None if self._context is stream.codec_context else stream.codec_context
        self._is_hevc = stream.codec_context.name == "hevc"
        if self._is_hevc:
            self._length_size = length_size_of(stream.codec_context.extradata)
            self._context.copy_opaque = True

    def decode(self, packet: av.Packet[Any] | None) -> list[av.VideoFrame]:
        """Decode a packet; None, or the empty one at the end, returns the last frames."""
        if self._is_hevc and packet is not None and packet.size:
            packet.opaque = read_metadata(bytes(packet), self._length_size)
        frames: list[av.VideoFrame] = self._context.decode(packet)
        if self._stated is not None:
            for frame in frames:
                _complete_colour(frame, self._stated)
        return frames

    def flush(self) -> None:
        """Forget what has been decoded, before a packet from another place."""
        self._context.flush_buffers()

    def close(self) -> None:
        """Wait for the decoder's threads.

        PyAV frees a decoder without releasing the interpreter. A thread that still works then may need it, to log a
        line or to free a frame's metadata, and neither would ever end.
        """
        self._context.flush_buffers()


def _complete_colour(frame: av.VideoFrame, stated: Any) -> None:
    """Give a frame the colour that the container states, where the frame itself states none."""
    if frame.color_primaries == _UNSPECIFIED:
        frame.color_primaries = stated.color_primaries
    if frame.color_trc == _UNSPECIFIED:
        frame.color_trc = stated.color_trc


def _choose(stream: Any) -> Any:
    context = stream.codec_context
    transparent = any(key.lower() == "alpha_mode" and value == "1" for key, value in stream.metadata.items())
    if transparent and context.name in _KEEPING_ALPHA:
        return av.CodecContext.create(_KEEPING_ALPHA[context.name], "r")
    return context

"""Conversion between video frames and RGB images.

av.VideoFrame ── frame_to_image ──► (H, W, 3) RGB and (H, W) alpha, uint8 or uint16
RGB, alpha    ── image_to_frame ──► av.VideoFrame, packed RGB
"""

from __future__ import annotations

from typing import Any

import av
import cv2
import numpy as np
from av.video.codeccontext import VideoCodecContext
from numpy.typing import NDArray

from betwixt.errors import UsageError
from betwixt.media.colour import FULL, Colour, RGBConverter, colour_of
from betwixt.media.frames import bit_depth, has_alpha, planes, to_supported_format

Image = NDArray[np.uint8] | NDArray[np.uint16]
"""(H, W, 3), RGB, uint8 (0 to 255) or uint16 (0 to 65535)."""

Alpha = NDArray[np.uint8] | NDArray[np.uint16]
"""Opacity of an image: (H, W), of the image's type; 0 is transparent."""

_BT601 = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float32)


def frame_to_image(frame: av.VideoFrame, colour: Colour | None = None) -> tuple[Image, Alpha | None]:
    """Convert a frame to RGB and alpha.

    Args:
        frame: A frame of any integer pixel format.
        colour: Its colour description; None for what the frame states.

    Returns:
        (H, W, 3) RGB, uint8 for 8-bit samples, else uint16 scaled to its whole range; and (H, W) alpha of the same
        type, or None.

    Raises:
        InputError: for a pixel format that cannot be read (raw sensor data, floating point).
    """
    frame = to_supported_format(frame)
    name, parts = frame.format.name, planes(frame)
    depth = bit_depth(name)
    dtype: Any = np.uint8 if depth == 8 else np.uint16
    if name == "rgb24":
        return np.array(parts[0], np.uint8), None
    if name in ("gray", "gray16le", "gray16be") and int(frame.color_range) == FULL:
        grey: Any = parts[0].astype(dtype)
        return np.repeat(grey[..., None], 3, axis=2), None
    top = np.iinfo(dtype).max
    rgb = RGBConverter(name, frame.width, frame.height, colour or colour_of(frame)).to_rgb(parts)
    image = np.rint(rgb * np.float32(top)).astype(dtype)
    if not has_alpha(name):
        return image, None
    # Alpha is the fourth plane, or stands where the letter a does: rgba, argb, ya8.
    alpha = parts[3] if len(parts) == 4 else parts[0][..., name.index("a")]
    scale = np.float32(top / ((1 << depth) - 1))
    return image, np.rint(alpha.astype(np.float32) * scale).astype(dtype)


def image_to_frame(image: Image, alpha: Alpha | None = None) -> av.VideoFrame:
    """Convert an image to a frame: rgb24, rgba, rgb48le or rgba64le.

    Args:
        image: (H, W, 3), RGB, uint8 or uint16.
        alpha: (H, W), of the same type, or None.

    Raises:
        UsageError: for arrays of another shape or type.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype not in (np.uint8, np.uint16):
        raise UsageError(
            f"An image of shape {image.shape} and type {image.dtype} cannot be written: "
            "give (height, width, 3), RGB, uint8 or uint16."
        )
    if alpha is not None and (alpha.shape != image.shape[:2] or alpha.dtype != image.dtype):
        raise UsageError("The alpha does not fit the image: give (height, width) of the image's type.")
    return pack_frame(image, alpha, packed_format(True, alpha is not None, image.dtype == np.uint16))


def packed_format(colour: bool, alpha: bool, deep: bool) -> str:
    """FFmpeg's name of a packed format: RGB or grey, with or without alpha, of 16 bits (`deep`) or 8."""
    if colour:
        return ("rgba64le" if alpha else "rgb48le") if deep else ("rgba" if alpha else "rgb24")
    return ("ya16le" if alpha else "gray16le") if deep else ("ya8" if alpha else "gray")


def pack_frame(image: Image, alpha: Alpha | None, name: str) -> av.VideoFrame:
    """Make a frame of the packed format `name`. Grey formats get the red channel; formats without alpha drop it."""
    frame = av.VideoFrame(image.shape[1], image.shape[0], name)
    target = planes(frame)[0]
    if target.ndim == 2:
        target[...] = image[..., 0]
    else:
        letters = [c for c in name if c in "yrgba"][: target.shape[2]]
        for channel, letter in enumerate(letters):
            if letter == "a":
                target[..., channel] = np.iinfo(target.dtype).max if alpha is None else alpha
            else:
                target[..., channel] = image[..., "rgb".index(letter) if letter != "y" else 0]
    frame.color_range = FULL
    return frame


def image_to_jpeg_frame(image: Image, subsampling: str) -> av.VideoFrame:
    """Convert an 8-bit image to what JPEG stores: BT.601, full range, each chroma sample in the middle of its block.

    Args:
        image: (H, W, 3), RGB, uint8.
        subsampling: "444", "422" or "420".
    """
    # swscale would round chroma down and place it at the left of its block, as MPEG does.
    height, width = image.shape[:2]
    result = av.VideoFrame(width, height, f"yuvj{subsampling}p")
    result.colorspace, result.color_range = 5, FULL
    luma, cb, cr = cv2.split(cv2.transform(image.astype(np.float32), _BT601))
    rows, columns = {"444": (1, 1), "422": (1, 2), "420": (2, 2)}[subsampling]
    targets = planes(result)
    targets[0][...] = np.rint(luma)
    for target, chroma in zip(targets[1:], (cb, cr), strict=True):
        even = np.pad(chroma, [(0, height % rows), (0, width % columns)], mode="edge")
        blocks = even.reshape(even.shape[0] // rows, rows, even.shape[1] // columns, columns)
        target[...] = np.rint(np.minimum(blocks.mean(axis=(1, 3)) + 128, 255))
    return result


def to_8_bit(samples: NDArray[Any]) -> NDArray[np.uint8]:
    """Round 16-bit samples to 8 bits; return 8-bit samples as they are."""
    return samples if samples.dtype == np.uint8 else ((samples.astype(np.uint32) + 128) // 257).astype(np.uint8)


def image_codec(name: str, mode: Any) -> VideoCodecContext:
    """Make a codec context that decodes (mode "r") or encodes ("w") one image."""
    context = av.CodecContext.create(name, mode)
    assert isinstance(context, VideoCodecContext)
    context.thread_count = 1  # starting threads takes longer than coding an image
    return context

"""Shows two videos in one picture: side by side, one above the other, or each in its half of the same picture.

    frame A ── upright, square pixels ──► YUV of the output ──┐
                                                              ├──► picture with labels
    frame B ── upright, square pixels ──► scaled to fit A  ───┘

Pictures stay in YUV, with 10 bits if one of the two has more than 8. HDR stays if both are HDR of one kind; otherwise
both are mapped to SDR.
"""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from fractions import Fraction
from typing import Any

import av
import cv2
import numpy as np
from av.video.reformatter import Interpolation
from numpy.typing import NDArray

from betwixt.media.colour import FULL, LIMITED, UNSPECIFIED, Colour, usual_matrix
from betwixt.media.frames import is_rgb, planes
from betwixt.media.presentation import Presentation
from betwixt.media.probe import VideoInfo
from betwixt.media.transfer import transfer_of

LAYOUTS = ("side", "stack", "split")
"""Beside each other, one above the other, or the left half of one and the right half of the other."""

_GAP = 4
"""Pixels between the two pictures; half as many in a split one."""

_BLACK, _WHITE, _NEUTRAL = 16, 235, 128
_SCALING = int(Interpolation.LANCZOS | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT)
_COLORSPACES = {1: "ITU709", 4: "FCC", 5: "ITU601", 6: "ITU601", 7: "SMPTE240M", 9: "BT2020"}
"""swscale's names of matrices, by their H.273 codes."""

_SMALLEST_LETTERS = 0.35
"""Scale of the smallest font that can be read; text that is too long for it is cut."""


class ComparisonView:
    """Puts the frames of two videos into one picture.

    Args:
        first: The first video.
        second: The second video.
        rate: The rate of the pictures.
        layout: One of `LAYOUTS`.
        labels: What is written over the two; None for nothing.

    Attributes:
        info: The properties of the pictures.
        notes: What is changed, for the user.
    """

    def __init__(
        self, first: VideoInfo, second: VideoInfo, rate: Fraction, layout: str, labels: tuple[str, str] | None
    ) -> None:
        keeps_hdr = first.colour.hdr and first.colour.transfer == second.colour.transfer
        presentations = [Presentation(info, keeps_hdr=keeps_hdr, video=True) for info in (first, second)]
        shown = presentations[0].info
        width, height = shown.width + shown.width % 2, shown.height + shown.height % 2
        deep = max(presentation.info.depth for presentation in presentations) > 8
        self._shift = 2 if deep else 0
        name, colour = "yuv420p10le" if deep else "yuv420p", _output_colour(shown)
        self._cells = [_Cell(presentation, width, height, name, colour) for presentation in presentations]
        self._layout = layout
        self._places, (whole_width, whole_height) = _arrange(layout, width, height)
        self._labels = [None if labels is None else _draw_label(text, width, height, layout) for text in labels or "  "]
        self.notes = [
            f"{info.name} is HDR ({transfer_of(info.colour.transfer).name}) and is mapped to SDR in the video of both."
            for info in (first, second)
            if info.colour.hdr and not keeps_hdr
        ]
        self.info = replace(
            shown, name="the comparison", width=whole_width, height=whole_height, pixel_format=name, rate=rate,
            variable=False, colour=colour, rotation=None, aspect=None, interlaced=False, hdr10_plus=False,
            dolby_vision=None, metadata={},
        )  # fmt: skip

    def compose(self, first: av.VideoFrame, second: av.VideoFrame) -> av.VideoFrame:
        """The picture of two frames."""
        info = self.info
        picture = av.VideoFrame(info.width, info.height, info.pixel_format)
        _fill(picture, (0, 0, info.width, info.height), _WHITE << self._shift, _NEUTRAL << self._shift)
        for cell, frame, (left, top, width, height) in zip(self._cells, (first, second), self._places, strict=True):
            # In a split picture the second one begins in the middle.
            skipped = left if self._layout == "split" else 0
            _paste(picture, cell.convert(frame), left, top, skipped, width, height)
        for label, (left, top, width, _) in zip(self._labels, self._places, strict=True):
            if label is not None:
                at_right = self._layout == "split" and left > 0
                self._write(picture, label, left + width - label.shape[1] if at_right else left, top)
        colour = info.colour
        picture.color_primaries, picture.color_trc = colour.primaries, colour.transfer
        picture.colorspace, picture.color_range = colour.matrix, colour.range
        return picture

    def _write(self, picture: av.VideoFrame, label: NDArray[np.uint8], left: int, top: int) -> None:
        height, width = label.shape
        _fill(picture, (left, top, width, height), 0, _NEUTRAL << self._shift)
        luma = planes(picture)[0]
        luma[top : top + height, left : left + width] = label.astype(luma.dtype) << self._shift


class _Cell:
    """Converts the frames of one video to those of the picture: fitted into its size, with black bars."""

    def __init__(self, presentation: Presentation, width: int, height: int, name: str, colour: Colour) -> None:
        info = presentation.info
        self._presentation, self._name, self._size = presentation, name, (width, height)
        ratio = min(Fraction(width, info.width), Fraction(height, info.height))
        self._inner = _even(info.width * ratio), _even(info.height * ratio)
        rgb = is_rgb(info.pixel_format)
        full = rgb or info.colour.range == FULL
        self._options: dict[str, Any] = {
            "src_color_range": "JPEG" if full else "MPEG",
            "dst_color_range": "MPEG",
            "dst_colorspace": _COLORSPACES.get(colour.matrix, "ITU709"),
        }
        if not rgb:
            self._options["src_colorspace"] = _COLORSPACES.get(_matrix_of(info), "ITU709")

    def convert(self, frame: av.VideoFrame) -> av.VideoFrame:
        width, height = self._inner
        inner = self._presentation.apply(frame).reformat(
            width=width, height=height, format=self._name, interpolation=_SCALING, **self._options
        )
        if self._inner == self._size:
            return inner
        cell = av.VideoFrame(*self._size, self._name)
        shift = 2 if "10" in self._name else 0
        _fill(cell, (0, 0, *self._size), _BLACK << shift, _NEUTRAL << shift)
        left, top = ((whole - part) // 4 * 2 for whole, part in zip(self._size, self._inner, strict=True))
        _paste(cell, inner, left, top, 0, width, height)
        return cell


def _even(value: Fraction) -> int:
    return max(2, round(value / 2) * 2)


def _matrix_of(info: VideoInfo) -> int:
    matrix = info.colour.matrix
    return matrix if matrix in _COLORSPACES else usual_matrix(info.width, info.height)


def _output_colour(shown: VideoInfo) -> Colour:
    """The colour description of the pictures: that of the first video, as YUV of limited range."""
    colour = shown.colour
    if is_rgb(shown.pixel_format):
        return Colour(1, 1, 1, LIMITED)
    stated = colour.matrix in _COLORSPACES
    return Colour(
        colour.primaries or UNSPECIFIED, colour.transfer or UNSPECIFIED,
        colour.matrix if stated else usual_matrix(shown.width, shown.height), LIMITED, colour.location,
    )  # fmt: skip


def _arrange(layout: str, width: int, height: int) -> tuple[list[tuple[int, int, int, int]], tuple[int, int]]:
    """Left, top, width and height of the two pictures, and the size of the whole, in pixels."""
    if layout == "side":
        return [(0, 0, width, height), (width + _GAP, 0, width, height)], (2 * width + _GAP, height)
    if layout == "stack":
        return [(0, 0, width, height), (0, height + _GAP, width, height)], (width, 2 * height + _GAP)
    left = width // 4 * 2
    right = min(width, left + _GAP // 2)
    return [(0, 0, left, height), (right, 0, width - right, height)], (width, height)


def _paste(
    picture: av.VideoFrame, part: av.VideoFrame, left: int, top: int, skipped: int, width: int, height: int
) -> None:
    """Copy a part of a frame, from column `skipped` on, to a place of another; all numbers are even."""
    for number, (target, source) in enumerate(zip(planes(picture), planes(part), strict=True)):
        step = 1 if number == 0 else 2
        rows, columns = height // step, width // step
        x, y, begin = left // step, top // step, skipped // step
        target[y : y + rows, x : x + columns] = source[:rows, begin : begin + columns]


def _fill(picture: av.VideoFrame, place: tuple[int, int, int, int], luma: int, chroma: int) -> None:
    left, top, width, height = place
    for number, plane in enumerate(planes(picture)):
        step = 1 if number == 0 else 2
        x, y = left // step, top // step
        plane[y : y + height // step, x : x + width // step] = chroma if number else luma


def _draw_label(text: str, width: int, height: int, layout: str) -> NDArray[np.uint8]:
    """Text in a dark box, as luma of 8 bits, in even numbers of pixels."""
    # OpenCV's letters are those of ASCII.
    plain = unicodedata.normalize("NFKD", text)
    plain = "".join(c if c.isascii() else "?" for c in plain if not unicodedata.combining(c))
    room = (width // 2 if layout == "split" else width) - 4
    scale = max(_SMALLEST_LETTERS, min(height, width) / 900)
    thickness = max(1, round(scale * 1.5))

    def measure() -> tuple[int, int, int]:
        (text_width, text_height), baseline = cv2.getTextSize(plain, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
        return text_width, text_height, baseline

    while measure()[0] + 12 > room and scale > _SMALLEST_LETTERS:
        scale, thickness = max(_SMALLEST_LETTERS, scale * 0.9), 1
    while measure()[0] + 12 > room and len(plain) > 1:
        plain = plain[:-1]
    text_width, text_height, baseline = measure()
    margin = max(4, text_height // 2)
    box_width = min(_even(Fraction(text_width + 2 * margin)), room // 2 * 2)
    box_height = min(_even(Fraction(text_height + baseline + margin)), height)
    box = np.full((box_height, box_width), _BLACK, np.uint8)
    place = (margin, margin // 2 + text_height)
    cv2.putText(box, plain, place, cv2.FONT_HERSHEY_SIMPLEX, scale, (_WHITE,), thickness, cv2.LINE_AA)
    return box

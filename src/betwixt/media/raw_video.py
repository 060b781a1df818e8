"""Raw video files (.yuv), which state nothing: their size and format are in their names, as those of the JCT-VC.

BasketballDrive_1920x1080_50.yuv                     1920x1080, 50 per second, 8 bit, 4:2:0
NebutaFestival_2560x1600_60_10bit_crop.yuv           10 bit in two bytes, little-endian
Tango2_3840x2160_60fps_10bit_420.yuv                 chroma 400, 420, 422 or 444
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from betwixt.errors import InputError

_DEFAULT_RATE = Fraction(25)
_SUBSAMPLING = {"400": None, "420": (2, 2), "422": (2, 1), "444": (1, 1)}
_DEPTHS = (8, 9, 10, 12, 14, 16)


@dataclass(frozen=True)
class RawFormat:
    """What a raw video file holds.

    Attributes:
        width: Pixels a line.
        height: Lines.
        rate: Frames per second; None if that is not stated.
        depth: Bits per sample; those of more than 8 take two bytes, the low one first.
        chroma: "400" (grey), "420", "422" or "444".
    """

    width: int
    height: int
    rate: Fraction | None = None
    depth: int = 8
    chroma: str = "420"

    @property
    def pixel_format(self) -> str:
        """FFmpeg's name of the format."""
        name = "gray" if self.chroma == "400" else f"yuv{self.chroma}p"
        return name if self.depth == 8 else f"{name}{self.depth}le"

    @property
    def frame_bytes(self) -> int:
        """Bytes of a frame."""
        samples = self.width * self.height
        if (subsampling := _SUBSAMPLING[self.chroma]) is not None:
            samples += 2 * -(-self.width // subsampling[0]) * -(-self.height // subsampling[1])
        return samples * (1 if self.depth == 8 else 2)

    @property
    def options(self) -> dict[str, str]:
        """The options of FFmpeg's demuxer `rawvideo`."""
        size = f"{self.width}x{self.height}"
        return {"video_size": size, "pixel_format": self.pixel_format, "framerate": str(self.rate or _DEFAULT_RATE)}


def is_raw_video(path: str | Path) -> bool:
    """Whether a path is that of a raw video file, by its suffix."""
    return Path(path).suffix.lower() == ".yuv"


def find_raw_format(path: Path) -> RawFormat:
    """The format that the name of a raw video states.

    Raises:
        InputError: if the name states no size, or the file is no whole number of such frames long.

    >>> find_raw_format(Path("RaceHorses_416x240_30.yuv")).rate
    Fraction(30, 1)
    """
    example = "such as NAME_1920x1080_50.yuv or NAME_1920x1080_50_10bit_422.yuv"
    match = re.search(r"(?<!\d)(\d{2,5})x(\d{2,5})(?!\d)", path.stem)
    if match is None or not int(match[1]) * int(match[2]):
        raise InputError(f"{path} states no size: rename it, or make a link with its size in the name, {example}.")
    words = re.split(r"[_\-. ]", path.stem[match.end() :])
    rate, depth, chroma = None, 8, "420"
    for word in words:
        if bits := re.fullmatch(r"(\d{1,2})bits?", word):
            depth = int(bits[1])
        elif word in _SUBSAMPLING:
            chroma = word
        elif (fps := re.fullmatch(r"(\d{1,3})(?:fps|hz)?", word, re.IGNORECASE)) and int(fps[1]):
            rate = Fraction(fps[1])
    if depth not in _DEPTHS:
        raise InputError(f"{path} states {depth} bits, which no raw video has: rename it, {example}.")
    found = RawFormat(int(match[1]), int(match[2]), rate, depth, chroma)
    if path.is_file() and path.stat().st_size % found.frame_bytes:
        frames = path.stat().st_size / found.frame_bytes
        raise InputError(
            f"{path} has {frames:.2f} frames of {found.width}x{found.height} in {found.pixel_format}: "
            f"it is cut off, or its name states another format than its own, {example}."
        )
    return found

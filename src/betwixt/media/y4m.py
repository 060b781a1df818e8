"""The sample aspect ratio in the header of a y4m stream, which PyAV gives no way to set.

YUV4MPEG2 W720 H576 F25:1 Ip A0:0 C420mpeg2 ..     as FFmpeg's muxer writes it
YUV4MPEG2 W720 H576 F25:1 Ip A64:45 C420mpeg2 ..   as it is passed on
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import IO


class Y4MFile:
    """Passes a y4m stream on to a binary file, with the sample aspect ratio in its header.

    Args:
        file: Where to write.
        aspect: The sample aspect ratio, above 0.
    """

    def __init__(self, file: IO[bytes], aspect: Fraction) -> None:
        self._file = file
        self._field: bytes | None = b" A%d:%d" % (aspect.numerator, aspect.denominator)

    def write(self, data: bytes) -> int:
        """Write the next bytes; the first ones begin with the header."""
        written = len(data)
        if self._field is not None:
            header, newline, rest = bytes(data).partition(b"\n")
            data = re.sub(rb" A\d+:\d+", self._field, header, count=1) + newline + rest
            self._field = None
        self._file.write(data)
        return written

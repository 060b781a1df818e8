"""How a worker gets the source frames of a piece.

    storage that it sees    the file itself ──────────────┐
    other storage           blocks of the file, by Ray ───┴─► reader, from a key frame before the piece
                                                                └─► frames, compared with the driver's by digest

A worker does not rely on times: an index can be wrong, and a decoder that starts in the middle may give other frames at
first. It takes the frames whose samples are those that the driver has decoded. If it does not find them, it reads from
an earlier place, and at last from the beginning of the file, as the driver did.
"""

from __future__ import annotations

import io
import os
import zlib
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np

from betwixt.errors import BetwixtError, InputError
from betwixt.media.frames import planes
from betwixt.media.images.paths import find_images, is_image_location
from betwixt.media.reader import Frame
from betwixt.media.source import VideoSource

BLOCK = 1 << 20
"""Bytes of a file that are sent at a time."""

_KEPT_BLOCKS = 64
"""Blocks that a worker keeps: the index of a container is read again for each piece."""

_BLOCKS_AHEAD = 3
"""Blocks that are asked for before they are needed."""

_HEAD = 64 << 10
"""Bytes at either end of a file that are compared to tell whether two machines see the same one."""

_ATTEMPTS = ((Fraction(0), True), (Fraction(30), True), (Fraction(0), False))
"""How many seconds before a piece the attempts to read it begin, and whether they rely on the clock (`Reader`); the
last one begins with the file."""

_PATIENCE = Fraction(10)
"""Seconds of video after a piece over which an attempt goes on."""

_RECENT = 24
"""Frames that are kept for the next piece, which often follows the last one."""


def frame_digest(frame: av.VideoFrame) -> int:
    """A checksum of a frame's samples, of 64 bits."""
    crc, adler = 0, 1
    for plane in planes(frame):
        data = np.ascontiguousarray(plane).data
        crc, adler = zlib.crc32(data, crc), zlib.adler32(data, adler)
    return crc << 32 | adler


@dataclass(frozen=True)
class SourceFile:
    """An input, as the driver sees it.

    Attributes:
        path: Its absolute path.
        size: Its length in bytes; None for images.
        digest: The checksum of its first and last bytes; for images, of their names and lengths.
    """

    path: str
    size: int | None
    digest: int

    @classmethod
    def of(cls, path: str) -> SourceFile:
        """Describe an input on this machine."""
        if is_image_location(path):
            listing = [(image.name, image.stat().st_size) for image in find_images(path)]
            return cls(path, None, zlib.crc32(repr(listing).encode()))
        size = os.path.getsize(path)
        with open(path, "rb") as file:
            digest = zlib.crc32(file.read(_HEAD))
            file.seek(max(0, size - _HEAD))
            return cls(path, size, zlib.crc32(file.read(_HEAD), digest))

    def is_seen(self) -> bool:
        """Whether this machine sees the same file under the same path."""
        try:
            return SourceFile.of(self.path) == self
        except (OSError, BetwixtError):
            return False


class BlockServer:
    """Reads blocks of a file for workers that do not see it; an actor on the driver's node."""

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_RDONLY)

    def read(self, block: int) -> bytes:
        """Block number `block`: `BLOCK` bytes, or fewer at the end."""
        return os.pread(self._descriptor, BLOCK, block * BLOCK)


class RemoteFile(io.RawIOBase):
    """A file on another machine, read in blocks.

    Args:
        request: Asks for a block, and returns a function that waits for it.
        size: The length of the file in bytes.

    Attributes:
        received: Bytes that were sent so far.
    """

    def __init__(self, request: Callable[[int], Callable[[], bytes]], size: int) -> None:
        self._request, self._size, self._position = request, size, 0
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._asked: dict[int, Callable[[], bytes]] = {}
        self._last = -1
        self.received = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = 0) -> int:
        self._position = offset + (0, self._position, self._size)[whence]
        return self._position

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes, but none beyond the current block."""
        number, offset = divmod(self._position, BLOCK)
        if self._position >= self._size:
            return b""
        block = self._block(number)
        data = block[offset:] if size < 0 else block[offset : offset + size]
        self._position += len(data)
        return data

    def _block(self, number: int) -> bytes:
        if number in self._blocks:
            self._blocks.move_to_end(number)
            return self._blocks[number]
        # Blocks are requested ahead only in sequential reading, not after a seek.
        ahead = _BLOCKS_AHEAD if number == self._last + 1 else 0
        self._asked = {n: wait for n, wait in self._asked.items() if number <= n <= number + _BLOCKS_AHEAD}
        for wanted in range(number, min(number + ahead + 1, -(-self._size // BLOCK))):
            if wanted not in self._blocks and wanted not in self._asked:
                self._asked[wanted] = self._request(wanted)
        data = self._asked.pop(number)()
        self.received += len(data)
        self._last = number
        self._blocks[number] = data
        if len(self._blocks) > _KEPT_BLOCKS:
            self._blocks.popitem(last=False)
        return data


class FrameFinder:
    """Finds frames of a source by their digests.

    Args:
        open_reader: Opens the source at a time in seconds from its beginning, or at its beginning for None; the second
            argument is `by_clock`, as for `Reader`.
    """

    def __init__(self, open_reader: Callable[[Fraction | None, bool], VideoSource]) -> None:
        self._open_reader = open_reader
        self._reader: VideoSource | None = None
        self._items: Iterator[Any] = iter(())
        self._recent: deque[tuple[int, av.VideoFrame]] = deque(maxlen=_RECENT)

    def find(self, digests: Sequence[int], start: Fraction, length: Fraction) -> Iterator[av.VideoFrame]:
        """The frames with these digests, in order.

        Args:
            digests: Their digests, by `frame_digest`.
            start: Where the first one is, in seconds from the beginning of the source.
            length: How many seconds after that the last one is.

        Raises:
            InputError: if there is no such frame.
        """
        found = 0
        for frames in self._attempts(digests[0], start, start + length + _PATIENCE):
            for digest, frame in frames:
                while found < len(digests) and digest == digests[found]:
                    yield frame
                    found += 1
                if found == len(digests):
                    return
        raise InputError(
            f"frame {found + 1} of {len(digests)} from {float(start):.2f} s on is decoded to other samples than on the "
            "driver"
        )

    def _attempts(self, first: int, start: Fraction, until: Fraction) -> Iterator[Iterator[tuple[int, av.VideoFrame]]]:
        """The source's frames and digests, read from earlier and earlier places until `until`, in seconds."""
        recent = list(self._recent)
        number = next((n for n, (digest, _) in enumerate(recent) if digest == first), None)
        if number is not None:
            yield self._read_on(recent[number:], until)
        for earlier, by_clock in _ATTEMPTS:
            if start > earlier:
                self._open(start - earlier, by_clock)
                yield self._read_on([], until)
        self._open(None, False)
        yield self._read_on([], None)

    def _open(self, start: Fraction | None, by_clock: bool) -> None:
        self.close()
        self._reader = self._open_reader(start, by_clock)
        self._items = iter(self._reader)

    def _read_on(
        self, recent: list[tuple[int, av.VideoFrame]], until: Fraction | None
    ) -> Iterator[tuple[int, av.VideoFrame]]:
        """The recent frames, and those that follow them in the source."""
        yield from recent
        begin = None if self._reader is None else self._reader.info.start
        for item in self._items:
            if isinstance(item, Frame):
                self._recent.append((frame_digest(item.video), item.video))
                yield self._recent[-1]
                if until is not None and begin is not None and item.time - begin > until:
                    return

    def close(self) -> None:
        """Close the source."""
        if self._reader is not None:
            self._reader.close()
        self._reader, self._items = None, iter(())
        self._recent.clear()

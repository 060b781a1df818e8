"""What the driver and the workers send each other.

driver ── JobDescription ──► worker     once for a conversion
       ◄── Readiness ────────
       ── Piece ───────────►            again and again
       ◄── PieceReport, frames ──
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from betwixt.cluster.source import SourceFile
from betwixt.media.frames import copy_description, fill_planes, planes
from betwixt.media.probe import VideoInfo
from betwixt.pipeline.director import Director
from betwixt.pipeline.planner import Rates
from betwixt.version import __version__

_ENGINES = ("openvino", "onnxruntime", "torch")


def versions() -> dict[str, str]:
    """The versions of all that may change the bits of a frame, by name. Engines that are not installed are left out."""
    found = {"betwixt": __version__, "av": av.__version__, "numpy": np.__version__, "opencv": cv2.__version__}
    for name in _ENGINES:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def version_conflict(own: Mapping[str, str], other: Mapping[str, str]) -> str | None:
    """The name of what two machines have in different versions; None if there is none.

    An engine that one of them lacks is no conflict: which one a model runs in, its `arithmetic` says.
    """
    return next((name for name in own if name in other and own[name] != other[name]), None)


@dataclass(frozen=True)
class JobDescription:
    """A conversion, as a worker needs to know it.

    Attributes:
        source: The input.
        options: The values of all options.
        director: The class that decides on each frame.
        info: The properties of the input.
        rates: The rates.
        pace: How many times longer the video lasts than it states (`RetimedReader`).
        end_time: As in `FrameJob`.
        extra: Further attributes of the job that the director reads.
        chunk: How many frames a task of the director has at most.
        weights: The hash of the model's weights.
        arithmetic: The model's arithmetic, as on the driver.
    """

    source: SourceFile
    options: Mapping[str, Any]
    director: type[Director]
    info: VideoInfo
    rates: Rates
    pace: Fraction
    end_time: Fraction | None
    extra: Mapping[str, Any]
    chunk: int
    weights: str
    arithmetic: str


@dataclass(frozen=True)
class Readiness:
    """A worker's answer to a `JobDescription`.

    Attributes:
        sees_source: Whether it can open the input itself.
        error: Why it cannot take part, in one line without a full stop; "" if it can.
    """

    sees_source: bool
    error: str = ""


@dataclass(frozen=True)
class Mark:
    """A source frame, as the driver has read and judged it.

    Attributes:
        index: Its number.
        time: Its time.
        duration: Its duration.
        cut: Whether there is a cut before it.
        duplicate: Whether it repeats the frame before it.
        digest: Of its samples (`source.frame_digest`).
    """

    index: int
    time: Fraction
    duration: Fraction
    cut: bool
    duplicate: bool
    digest: int


@dataclass(frozen=True)
class Piece:
    """New frames for a worker to make.

    Attributes:
        number: Its place among the pieces.
        indices: The numbers of the frames in the output.
        marks: The source frames that they depend on.
        begin: The time of output frame 0.
        stated_end: As in `Planner`.
    """

    number: int
    indices: Sequence[int]
    marks: Sequence[Mark]
    begin: Fraction
    stated_end: Fraction | None


@dataclass(frozen=True)
class FrameData:
    """A new frame without its memory's owner: numpy arrays travel through Ray's object store without a copy."""

    planes: list[NDArray[Any]]
    width: int
    height: int
    format: str
    colorspace: int
    color_range: int
    color_primaries: int
    color_trc: int
    opaque: Any

    @classmethod
    def of(cls, frame: av.VideoFrame) -> FrameData:
        """Copy a frame's samples and description."""
        return cls(
            [np.ascontiguousarray(plane) for plane in planes(frame)],
            frame.width,
            frame.height,
            frame.format.name,
            int(frame.colorspace),
            int(frame.color_range),
            int(frame.color_primaries),
            int(frame.color_trc),
            frame.opaque,
        )

    def to_frame(self) -> av.VideoFrame:
        """The frame again."""
        frame = fill_planes(av.VideoFrame(self.width, self.height, self.format), self.planes)
        return copy_description(self, frame)  # type: ignore[arg-type]


@dataclass(frozen=True)
class PieceReport:
    """What is known of a finished piece without its frames.

    Attributes:
        moments: As in `Director`.
    """

    moments: list[int]

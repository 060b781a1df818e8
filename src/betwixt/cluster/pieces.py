"""What the driver and the workers send each other.

driver ── JobDescription ──► worker     once for a conversion
       ◄── Readiness ────────
       ── Piece ───────────►            again and again
       ◄── PieceReport, frames or packets ──
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
from betwixt.media.encoded_video import EncodedPacket
from betwixt.media.frames import copy_description, fill_planes, planes
from betwixt.media.probe import VideoInfo
from betwixt.media.segment import SegmentSettings
from betwixt.pipeline.director import Director
from betwixt.pipeline.planner import Rates
from betwixt.version import __version__

_ENGINES = ("openvino", "onnxruntime", "torch")


def versions() -> dict[str, str]:
    """The versions, by name, of everything that may change the bits of a frame; engines only if installed."""
    found = {"betwixt": __version__, "av": av.__version__, "numpy": np.__version__, "opencv": cv2.__version__}
    for name in _ENGINES:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def version_conflict(own: Mapping[str, str], other: Mapping[str, str]) -> str | None:
    """The name of what two machines have in different versions; None if there is none.

    An engine that one of them lacks is no conflict: the model's `arithmetic` names the one that it runs in.
    """
    return next((name for name in own if name in other and own[name] != other[name]), None)


@dataclass(frozen=True)
class JobDescription:
    """A conversion, as a worker needs to know it.

    Attributes:
        source: The input.
        options: The values of all options.
        precision: That of the model, as `load_model` takes it.
        director: The class that decides on each frame.
        info: The properties of the input.
        rates: The input's and the output's, in frames per second.
        pace: How many times longer the video lasts than it states (`RetimedReader`).
        end_time: As in `FrameJob`.
        extra: Further attributes of the job that the director reads.
        chunk: The most frames of one task of the director.
        weights: The hash of the model's weights.
        arithmetic: The model's arithmetic, as on the driver.
        segments: How workers encode pieces of the output; None if they return the new frames.
        parameters: The encoder's stream parameters on the driver; empty if workers do not encode.
    """

    source: SourceFile
    options: Mapping[str, Any]
    precision: str
    director: type[Director]
    info: VideoInfo
    rates: Rates
    pace: Fraction
    end_time: Fraction | None
    extra: Mapping[str, Any]
    chunk: int
    weights: str
    arithmetic: str
    segments: SegmentSettings | None
    parameters: bytes


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
        index: Its number in the source.
        time: Its presentation time, in seconds.
        duration: In seconds.
        cut: Whether there is a cut before it.
        duplicate: Whether it repeats the frame before it.
        digest: The checksum of its samples (`source.frame_digest`).
    """

    index: int
    time: Fraction
    duration: Fraction
    cut: bool
    duplicate: bool
    digest: int


@dataclass(frozen=True)
class Piece:
    """Frames for a worker to make: only the new ones, or all of a part of the output if the worker encodes them.

    Attributes:
        number: Its place among the pieces.
        indices: The numbers of the frames in the output.
        new: How many of them are new.
        marks: The source frames that they depend on.
        begin: The time at which the output's clock begins, in seconds.
        stated_end: As in `Planner`.
    """

    number: int
    indices: Sequence[int]
    new: int
    marks: Sequence[Mark]
    begin: Fraction
    stated_end: Fraction | None


@dataclass(frozen=True)
class FrameData:
    """A new frame as numpy arrays, which Ray's object store passes on without a copy.

    Attributes:
        planes: As `media.frames.planes` gives them: (h, w) or (h, w, channels), uint8 or uint16.
        width: In pixels.
        height: In pixels.
        format: FFmpeg's name of the pixel format.
        colorspace: The matrix, by its code in H.273.
        color_range: FFmpeg's AVColorRange.
        color_primaries: By their code in H.273.
        color_trc: The transfer characteristic, by its code in H.273.
        opaque: The dynamic HDR metadata, or None.
    """

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
    """What a worker reports of a finished piece, apart from its frames.

    Attributes:
        findings: As in `Director`, for the frames of the piece.
    """

    findings: list[Any]


Made = list[FrameData] | list[EncodedPacket]
"""What comes back of a piece: its new frames in order, or the packets of all its frames in decoding order."""

"""What frames become for a target that has no field to store how they are to be shown.

    frame ── tone map ──► turn upright ──► scale to square pixels ──► frame to be written

A video file may say that its frames are to be turned, that their pixels are not square, that their light is HDR. Where
the target has a field for it, frames stay as they are and the field is set. Where it has none, the frames are changed
here, and a note says so. `Presentation.info` describes the frames that come out.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import av
from av.video.reformatter import Interpolation

from betwixt.media.codecs import check_has_base_layer
from betwixt.media.orientation import (
    UPRIGHT,
    is_sideways,
    orientation_of,
    turn_upright,
    upright_format,
    upright_location,
)
from betwixt.media.probe import VideoInfo
from betwixt.media.tone_map import ToneMapper
from betwixt.media.transfer import BT1886, Transfer, transfer_of

_SRGB = 13  # H.273 transfer characteristic

_WITH_ROTATION = ("mp4", "mov", "3gp", "matroska", "webm")
"""Containers with a field for the display matrix."""

_WITH_ASPECT = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
"""Suffixes of images with a field for the sample aspect ratio, or for two densities, which give it."""

_WITH_HDR = (".png",)
"""Suffixes of images with a field for the transfer characteristic (PNG: the cICP chunk)."""

_SCALING = int(Interpolation.LANCZOS | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT)


class Presentation:
    """Changes frames so that they look right in a target.

    Args:
        source: The input.
        keeps_rotation: Whether the target stores the rotation.
        keeps_aspect: Whether it stores the sample aspect ratio.
        keeps_hdr: Whether it stores the transfer characteristic, or is left in HDR anyway.
        video: Whether it is shown as video, and not as an sRGB image.

    Attributes:
        info: The properties of the frames to be written.
        notes: What is changed, for the user.
        lost: What the target can neither store nor show.
    """

    def __init__(
        self,
        source: VideoInfo,
        *,
        keeps_rotation: bool = False,
        keeps_aspect: bool = False,
        keeps_hdr: bool = False,
        video: bool = False,
    ) -> None:
        self.notes: list[str] = []
        self.lost: list[str] = []
        self.info = source
        if not video or not keeps_hdr:
            check_has_base_layer(source)
        self._tone_mapper: ToneMapper | None = None
        self._orientation = UPRIGHT
        self._size: tuple[int, int] | None = None
        if source.colour.hdr and not keeps_hdr:
            self._map_tones(BT1886 if video else transfer_of(_SRGB))
        if source.rotation is not None and not keeps_rotation:
            self._turn()
        if source.aspect is not None and not keeps_aspect:
            self._make_square()

    def _map_tones(self, encode: Transfer) -> None:
        self._tone_mapper = ToneMapper(self.info, encode)
        name = transfer_of(self.info.colour.transfer).name
        self.notes.append(
            f"HDR ({name}, up to {self._tone_mapper.peak:.0f} cd/m2) is mapped to SDR (BT.709): "
            '`tone_map="off"` writes the code values of HDR.'
        )
        self.info = replace(self.info, colour=self._tone_mapper.colour, hdr=None, hdr10_plus=False, dolby_vision=None)

    def _turn(self) -> None:
        info, orientation = self.info, orientation_of(self.info.rotation)
        if orientation is None:
            self.lost.append("the rotation by an angle that is no multiple of 90 degrees")
            self.info = replace(info, rotation=None)
            return
        self._orientation = orientation
        width, height, aspect = info.width, info.height, info.aspect
        if is_sideways(orientation):
            width, height, aspect = height, width, None if aspect is None else 1 / aspect
        location = upright_location(info.colour.location, orientation)
        name = upright_format(info.pixel_format, orientation)
        self.info = replace(
            info, width=width, height=height, aspect=aspect, pixel_format=name, rotation=None,
            colour=replace(info.colour, location=location),
        )  # fmt: skip
        self.notes.append("The frames are turned upright, as the output has no field for the rotation.")

    def _make_square(self) -> None:
        aspect = self.info.aspect or Fraction(1)
        width, height = self.info.width, self.info.height
        if aspect > 1:
            width = max(1, round(width * aspect))
        else:
            height = max(1, round(height / aspect))
        self._size = width, height
        self.info = replace(self.info, width=width, height=height, aspect=None)
        self.notes.append(
            f"The frames are scaled to {width}x{height}, as the output has no field for pixels of {ratio(aspect)}."
        )

    def apply(self, frame: av.VideoFrame) -> av.VideoFrame:
        """Change a frame; one that needs no change is returned as it is."""
        if self._tone_mapper is not None:
            frame = self._tone_mapper.apply(frame)
        frame = turn_upright(frame, self._orientation)
        if self._size is not None:
            frame = frame.reformat(width=self._size[0], height=self._size[1], interpolation=_SCALING)
        return frame


def ratio(aspect: Fraction) -> str:
    """A ratio as users write it: 4:3."""
    return f"{aspect.numerator}:{aspect.denominator}"


def video_presentation(container: str, source: VideoInfo, tone_map: str = "auto") -> Presentation:
    """The presentation in a video file; HDR stays unless `tone_map` is "on"."""
    return Presentation(
        source, keeps_rotation=container in _WITH_ROTATION, keeps_aspect=True, keeps_hdr=tone_map != "on", video=True
    )


def gif_presentation(source: VideoInfo, tone_map: str = "auto") -> Presentation:
    """The presentation in a GIF, which has no field that players read; HDR stays only if `tone_map` is "off"."""
    return Presentation(source, keeps_hdr=tone_map == "off")


def image_presentation(suffix: str, source: VideoInfo, tone_map: str = "auto") -> Presentation:
    """The presentation in images; by default HDR stays in PNG of 16 bits, which states it."""
    suffix = suffix.lower()
    states_hdr = suffix in _WITH_HDR and source.depth > 8
    keeps_hdr = tone_map == "off" or (tone_map == "auto" and states_hdr)
    presentation = Presentation(source, keeps_aspect=suffix in _WITH_ASPECT, keeps_hdr=keeps_hdr)
    info = presentation.info
    if info.aspect is not None:
        presentation.notes.append(
            f"The images keep their pixels of {ratio(info.aspect)}, as their headers say; most viewers ignore that."
        )
    if info.colour.hdr and states_hdr:
        presentation.notes.append(
            'The images are HDR, as their headers say (cICP); most viewers ignore that. `tone_map="on"` makes them SDR.'
        )
    return presentation

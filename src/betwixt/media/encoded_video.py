"""The video of an output: how its frames are shown, converted, encoded and described.

    frame ── convert ──► frame as encoded ── encoder ──► packet ── finish ──► packet with dynamic HDR metadata

`media.writer` writes the packets; here is what they hold. What is changed or lost on the way is noted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import av
import av.container
from av.bitstream import BitStreamFilterContext
from av.video.reformatter import Interpolation

from betwixt.errors import UsageError
from betwixt.media import codecs
from betwixt.media.colour import FULL, LIMITED, UNSPECIFIED, Colour, usual_matrix
from betwixt.media.dynamic_hdr import FrameMetadata, write_metadata
from betwixt.media.encoder_options import HDR_OPTIONS, EncoderSettings
from betwixt.media.encoding import hardware_device, resolve_encoding
from betwixt.media.frames import copy_description, fill_planes, has_alpha, is_rgb, planes
from betwixt.media.interlacing import flag_progressive
from betwixt.media.pixel_formats import describe_conversion
from betwixt.media.presentation import video_presentation
from betwixt.media.probe import VideoInfo
from betwixt.media.transfer import transfer_of

_EXACT = int(Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT)

_IDENTITY, _BT709, _BT601, _BT2020 = 0, 1, 6, 9  # H.273 codes of matrices


@dataclass(frozen=True)
class EncodedPacket:
    """A packet of encoded video, apart from its stream.

    Attributes:
        data: Its bytes.
        number: The number of its frame.
        dts: Its decoding time, in ticks of the writer's clock; None if the encoder states none.
        duration: In ticks.
        key: Whether it is a key frame.
    """

    data: bytes
    number: int
    dts: int | None
    duration: int
    key: bool


def name_of_hdr(source: VideoInfo) -> str:
    """What is lost if an output does not state the transfer characteristic of HDR."""
    return f"that the video is HDR ({transfer_of(source.colour.transfer).name})"


class EncodedVideo:
    """The video of an output.

    Args:
        container: FFmpeg's name of the container.
        source: The input.
        rate: Frames per second.
        settings: How it is encoded.
        tone_map: "on" to map HDR to SDR.

    Attributes:
        source: The input as it is shown: upright and in SDR, if the frames are made so.
        encoder: The encoder.
        pixel_format: The pixel format that is encoded.
        options: FFmpeg's options for the encoder.
        colour: The colour description of the encoded frames.
        lost: Descriptions of what cannot be kept.
        notes: Other messages for the user.

    Raises:
        UsageError: for a setting that does not exist or does not fit.
    """

    def __init__(
        self,
        container: str,
        source: VideoInfo,
        rate: Fraction,
        settings: EncoderSettings,
        tone_map: str,
    ) -> None:
        self._container, self._rate = container, rate
        self._presentation = video_presentation(container, source, tone_map)
        self.source = source = self._presentation.info
        self.lost = list(self._presentation.lost)
        self.notes = list(self._presentation.notes)
        self.encoder, self.pixel_format, self.options = resolve_encoding(settings, container, source)
        self._converts_rgb = is_rgb(source.pixel_format) and not is_rgb(self.pixel_format)
        self._states_dolby_vision = False
        self.colour = self._output_colour()
        conversion = describe_conversion(source.pixel_format, self.pixel_format)
        if conversion is not None and settings.pixel_format is None:
            name = "y4m" if container == "yuv4mpegpipe" else self.encoder.name
            self.notes.append(f"The frames are converted for {name}: {conversion} ({self.pixel_format}).")
        if codecs.is_transparent(source) and not has_alpha(self.pixel_format):
            self.lost.append("the transparency")
        if source.colour.hdr and container == "yuv4mpegpipe":
            self.lost.append(name_of_hdr(source))
        if source.hdr is not None and self.encoder.name not in HDR_OPTIONS:
            self.lost.append("the HDR mastering metadata")
        if source.hdr10_plus and not codecs.carries_hdr10_plus(self.encoder):
            self.lost.append("the HDR10+ metadata")
        elif source.hdr10_plus:
            self.notes.append("New frames repeat the HDR10+ metadata of the frame before them.")

    def _output_colour(self) -> Colour:
        """The colour description of the encoded frames: the source's, or that of HD video for RGB converted to YUV.

        The matrix is RGB's where RGB is encoded, and only there: grey images and some H.264 state it without cause.
        y4m states no matrix: RGB is converted by the one that players take for its size.
        """
        colour = self.source.colour
        if not self._converts_rgb:
            full = self.source.pixel_format.startswith("yuvj") or is_rgb(self.pixel_format)
            matrix = _IDENTITY if is_rgb(self.pixel_format) else colour.matrix or UNSPECIFIED
            return Colour(colour.primaries, colour.transfer, matrix, FULL if full else colour.range)
        primaries = colour.primaries if colour.primaries not in (0, UNSPECIFIED) else 1
        transfer = colour.transfer if colour.transfer not in (0, UNSPECIFIED) else 1
        matrix = _BT2020 if primaries == 9 else _BT709
        if self._container == "yuv4mpegpipe":
            matrix = usual_matrix(self.source.width, self.source.height)
        return Colour(primaries, transfer, matrix, LIMITED)

    def add_stream(self, output: av.container.OutputContainer, tick: Fraction) -> Any:
        """Add the video stream to an output, and describe it; its frame numbers count `tick` seconds.

        Raises:
            UsageError: if the container does not take it.
        """
        name = self.encoder.name
        try:
            stream: Any = output.add_stream(name, rate=self._rate, options=self.options, hwaccel=hardware_device(name))
        except ValueError as error:
            if "does not support" not in str(error):
                raise
            raise UsageError(
                f"{name} video does not fit into {self._container}: choose another `codec` or suffix."
            ) from None
        self.describe(stream, tick)
        return stream

    def describe(self, stream: Any, tick: Fraction) -> None:
        """Set the properties of an output stream, whose frame numbers count `tick` seconds."""
        source, context = self.source, stream.codec_context
        context.width, context.height = source.width, source.height
        context.pix_fmt = self.pixel_format
        context.time_base = tick
        context.framerate = self._rate
        if source.aspect is not None:
            context.sample_aspect_ratio = source.aspect
        context.color_primaries, context.color_trc = self.colour.primaries, self.colour.transfer
        context.colorspace, context.color_range = self.colour.matrix, self.colour.range
        if codecs.is_hevc(self.encoder) and self._container in ("mp4", "mov"):
            context.codec_tag = "hvc1"  # the tag that Apple's players require
        if source.rotation is not None:
            stream.set_display_matrix(source.rotation)
        if self.encoder.name == "libx265" and (source.hdr10_plus or source.dolby_vision):
            context.copy_opaque = True  # the metadata of a frame comes back with its packet

    def describe_like(self, video: Any, stream: Any, tick: Fraction) -> None:
        """Describe an output stream again, with the Dolby Vision configuration of a stream of the input."""
        if not codecs.carries_dolby_vision(self.encoder, self._container, self.source):
            return
        # PyAV sets no such side data itself, but a filter hands on all parameters of a stream. The others are set anew.
        # "dovi_rpu" makes a configuration of profile 8 where the source, a raw stream, states none.
        BitStreamFilterContext("dovi_rpu" if self.source.dolby_vision == 8 else "null", video, stream)
        context = stream.codec_context
        context.extradata, context.bit_rate, context.codec_tag = None, 0, "\0\0\0\0"
        self.describe(stream, tick)
        if self.source.dolby_vision == 5 and self._container == "mp4":
            context.codec_tag = "dvh1"  # its base layer is not HEVC that any player can show
        self._states_dolby_vision = True

    def begin(self) -> None:
        """Note what becomes of Dolby Vision metadata, now that the output's streams are described."""
        if self._states_dolby_vision:
            self.notes.append("New frames repeat the Dolby Vision metadata of the frame before them.")
        elif self.source.dolby_vision is not None:
            codecs.check_has_base_layer(self.source)
            self.lost.append(f"the Dolby Vision metadata (profile {self.source.dolby_vision})")

    def convert(self, frame: av.VideoFrame) -> av.VideoFrame:
        """Convert a frame to what is encoded; a frame that is that already is returned as it is."""
        # All output is progressive; with `interlaced="ignore"`, source frames still have the flag that is ignored.
        frame = flag_progressive(self._presentation.apply(frame))
        name = frame.format.name
        if name == self.pixel_format:
            result = frame
        elif name == self.pixel_format.replace("yuv", "yuvj", 1):
            # The same samples; the colour range says that they are full range, not the format.
            result = av.VideoFrame(frame.width, frame.height, self.pixel_format)
            copy_description(frame, fill_planes(result, planes(frame)))
        elif self._converts_rgb:
            result = frame.reformat(
                format=self.pixel_format,
                src_color_range="JPEG",
                dst_color_range="MPEG",
                dst_colorspace={_BT2020: "BT2020", _BT601: "ITU601"}.get(self.colour.matrix, "ITU709"),
                interpolation=_EXACT,
            )
        else:
            coded = "JPEG" if self.colour.range == FULL else "MPEG"
            result = frame.reformat(
                format=self.pixel_format, src_color_range=coded, dst_color_range=coded, interpolation=_EXACT
            )
        result.color_primaries, result.color_trc = self.colour.primaries, self.colour.transfer
        result.colorspace, result.color_range = self.colour.matrix, self.colour.range
        return result

    def finish(self, packet: Any) -> Any:
        """A packet of the encoder with the dynamic HDR metadata of its frame."""
        metadata = packet.opaque
        if not isinstance(metadata, FrameMetadata):
            return packet
        if not self._states_dolby_vision:
            metadata = replace(metadata, rpu=None)
        result: Any = av.Packet(write_metadata(bytes(packet), metadata))
        result.pts, result.dts, result.duration = packet.pts, packet.dts, packet.duration
        result.is_keyframe, result.time_base = packet.is_keyframe, packet.time_base
        result.stream = packet.stream
        return result

"""Decides how an output is encoded, and tries it.

    codec as the user names it, container, source ── choose_encoder ──► Encoder
    Encoder, the source's pixel format ── pixel_format_for ──► the pixel format to encode
    Encoder, settings, HDR metadata ── options_for ──► FFmpeg options
    all three ── open_encoder ──► an encoder that opens on this machine, or an error that says why it does not

`resolve_encoding` does all four. `VideoWriter` calls it, and so do commands that check their options before they open
an output.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache
from typing import Any, NamedTuple

import av
import av.error
import av.logging
from av.codec.hwaccel import HWAccel

from betwixt.errors import UsageError
from betwixt.files import error_text
from betwixt.machine import keep_scheduling
from betwixt.media.codecs import (
    Encoder,
    carries_dolby_vision,
    check_has_base_layer,
    choose_encoder,
    hardware_needs,
    is_hardware,
)
from betwixt.media.encoder_options import PARAMETERS, EncoderSettings, options_for
from betwixt.media.ffmpeg_log import capture_log
from betwixt.media.pixel_formats import pixel_format_for
from betwixt.media.probe import VideoInfo

_RATE = Fraction(25)
"""Frames per second at which encoders are tried: every encoder takes it."""


class Encoding(NamedTuple):
    """How an output is encoded, with FFmpeg's options."""

    encoder: Encoder
    pixel_format: str
    options: dict[str, str]


def resolve_encoding(settings: EncoderSettings, container: str, source: VideoInfo) -> Encoding:
    """Decide how to encode an output, and open the encoder once, so that what it refuses is known at once.

    Args:
        settings: What the user asks for.
        container: FFmpeg's name of the output's container.
        source: The input, as it is shown.

    Raises:
        UsageError: if a setting does not exist or does not fit, or the encoder does not open on this machine.
    """
    encoder = choose_encoder(settings.codec, container, source)
    if not carries_dolby_vision(encoder, container, source):
        check_has_base_layer(source)
    width, height = source.width, source.height
    chosen = pixel_format_for(encoder.name, settings.pixel_format, source.pixel_format, width, height, container)
    options = options_for(encoder, settings, source, chosen)
    _check_opens(encoder.name, chosen, width, height, tuple(options.items()), tuple(settings.options))
    return Encoding(encoder, chosen, options)


def hardware_device(encoder: str) -> HWAccel | None:
    """The device that an encoder takes its frames from; None if it takes them from the machine's memory."""
    return HWAccel("vaapi") if encoder.endswith("_vaapi") else None


@lru_cache(maxsize=16)
def _check_opens(
    name: str, pixel_format: str, width: int, height: int, options: tuple[tuple[str, str], ...], own: tuple[str, ...]
) -> None:
    """Open an encoder and close it again.

    Args:
        name: FFmpeg's name.
        pixel_format: As encoded.
        width: Of the frames, in pixels.
        height: Of the frames, in pixels.
        options: Its options, as pairs.
        own: The names of those that the user gave.

    Raises:
        UsageError: if it does not open, or does not take a value.
    """
    with capture_log(av.logging.WARNING, all_threads=True) as log:
        try:
            context: Any = av.CodecContext.create(name, "w", hardware_device(name))
            context.width, context.height, context.pix_fmt = width, height, pixel_format
            context.time_base, context.framerate = 1 / _RATE, _RATE
            context.options = dict(options)
            with keep_scheduling():
                context.open()
            failure = None
        except (av.error.FFmpegError, NotImplementedError) as error:
            failure = error
    lines = [" ".join(text.split()).rstrip(".") for _, _, text in log]
    for key in own:
        if key.endswith(PARAMETERS) and (refused := [line for line in lines if _names_parameter(line)]):
            raise UsageError(f"{name} does not take `encoder_options` {key}={dict(options)[key]}: {refused[0]}.")
    if failure is None:
        return
    for key in own:
        if any(f"setting option {key} " in line for line in lines):
            raise UsageError(f"{name} does not take `encoder_options` {key}={dict(options)[key]}: {lines[-2]}.")
    cause = lines[-1] if lines else error_text(failure)
    if is_hardware(name):
        codec = name.rpartition("_")[0]
        raise UsageError(
            f"{name} does not open on this machine: {cause}. It needs {hardware_needs(name)}; "
            f'`codec="{codec}"` encodes on the processor.'
        )
    raise UsageError(f"{name} does not open with these settings, {width}x{height} in {pixel_format}: {cause}.")


def _names_parameter(line: str) -> bool:
    """Whether a line of FFmpeg's log says that a parameter in an option is unknown or wrong."""
    return re.match(r"(error parsing option|unknown option|invalid value|bad value)", line, re.IGNORECASE) is not None

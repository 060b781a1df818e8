"""The options of an encoder: what the user asks for, in the terms of FFmpeg.

`EncoderSettings` is what the user asks for. `options_for` turns it into options of one encoder (`media.codecs`), and
refuses what that encoder does not have.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache

import av
from av.codec.context import CodecOption, OptionFlags

from betwixt.errors import UsageError, did_you_mean
from betwixt.media.codecs import Encoder
from betwixt.media.frames import has_alpha, subsampling
from betwixt.media.probe import HDR, VideoInfo


@dataclass(frozen=True)
class EncoderSettings:
    """How the user wants a video to be encoded.

    Attributes:
        codec: A common name (h264, hevc, ffv1) or any encoder of FFmpeg; None for the usual one.
        quality: A number on the encoder's own scale, or "lossless"; None for the default.
        bitrate: In bits per second, as "8M", instead of a quality.
        preset: One of the encoder's presets, which trade speed for size; None for the default.
        pixel_format: None for the one nearest to the source's.
        options: Options of the encoder that replace the usual ones; a value for a key that ends in "-params" is
            appended to the usual one.
        threads: Encoder threads; 0 lets the encoder choose.
    """

    codec: str | None = None
    quality: str | None = None
    bitrate: str | None = None
    preset: str | None = None
    pixel_format: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    threads: int = 0


HDR_OPTIONS = {
    "libx264": ("x264-params", "mastering-display", "cll"),
    "libx265": ("x265-params", "master-display", "max-cll"),
    "libsvtav1": ("svtav1-params", "mastering-display", "content-light"),
}
"""Encoders that write static HDR metadata: the option with their parameters, and the two parameters' names."""

PARAMETERS = "-params"
"""The end of the names of options that hold parameters of the encoder's own, as key=value:key=value."""

_X26_PRESETS = (
    "ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo"
)  # fmt: skip
_NAMED_PRESETS = {"libx264": _X26_PRESETS, "libx265": _X26_PRESETS}
"""The presets of encoders that FFmpeg does not list."""

_LOWEST_BITRATE = 1000
"""In bits per second; at a lower rate, the unit was probably left out."""

_CUTREE_MIN_SIDE = 128
"""In pixels: for frames with a shorter side, x265's cutree is switched off, as it writes beyond its memory there."""

_FFV1_SLICED_SIDE = 32
"""In pixels: frames with a shorter side are coded by FFV1 as one slice, as it cannot divide every small size."""

_FFV1_LARGE_SIDE = 8192
"""In pixels: beyond it, FFmpeg's FFV1 encoder chooses more slices than its decoder takes."""


def options_for(encoder: Encoder, settings: EncoderSettings, source: VideoInfo, pixel_format: str) -> dict[str, str]:
    """The encoder's options: quality, threads, HDR metadata, what players require, and those that the user gave.

    Args:
        encoder: The encoder.
        settings: What the user asks for.
        source: The input.
        pixel_format: As encoded.

    Raises:
        UsageError: if a setting does not fit the encoder.
    """
    options = encoder.options | _preset_options(encoder, settings.preset) | _rate_options(encoder, settings)
    if settings.threads:
        options["threads"] = str(settings.threads)
    _add_format_options(options, encoder, source, pixel_format)
    if encoder.name in HDR_OPTIONS:
        _add_parameters(options, encoder, source, settings.threads)
    _add_user_options(options, encoder, settings.options)
    return options


def _add_format_options(options: dict[str, str], encoder: Encoder, source: VideoInfo, pixel_format: str) -> None:
    """Set what follows from the size and the pixel format."""
    if encoder.name == "prores_ks":
        options["profile"] = "4444" if "444" in pixel_format or "gbr" in pixel_format else "hq"
    if encoder.name == "libvpx" and has_alpha(pixel_format):
        options["auto-alt-ref"] = "0"  # VP8's alpha would not be in step
    if encoder.name == "ffv1" and min(source.width, source.height) < _FFV1_SLICED_SIDE:
        options["slices"] = "1"
    elif encoder.name == "ffv1" and max(source.width, source.height) > _FFV1_LARGE_SIDE:
        options["slices"] = "144"
    if encoder.name == "wrapped_avframe" and subsampling(pixel_format) == (2, 2):
        options["chroma_sample_location"] = source.colour.location  # y4m takes 4:2:0 as centred otherwise


def _add_parameters(options: dict[str, str], encoder: Encoder, source: VideoInfo, threads: int) -> None:
    """Set HDR metadata, and what x264, x265 and SVT-AV1 take as parameters of their own."""
    key, display_key, light_key = HDR_OPTIONS[encoder.name]
    is_x265, is_svt = encoder.name == "libx265", encoder.name == "libsvtav1"
    parameters = [options[key]] if key in options else []
    if is_x265:
        parameters.append("log-level=0")
    parameters += _hdr_parameters(source.hdr, display_key, light_key, in_decimals=is_svt)
    if is_x265 and source.hdr is not None:
        parameters += ["hdr10=1", "repeat-headers=1"]
    location = {"center": 1, "topleft": 2, "top": 3}.get(source.colour.location)  # left is the default
    if location is not None and not is_svt:
        parameters.append(f"chromaloc={location}")
    if is_x265 and threads:
        parameters.append(f"pools={threads}")
    if is_x265 and min(source.width, source.height) < _CUTREE_MIN_SIDE:
        parameters.append("no-cutree=1")
    if is_svt:
        os.environ.setdefault("SVT_LOG", "1")  # errors only; it writes its settings to standard error otherwise
    if parameters:
        options[key] = ":".join(parameters)


def _rate_options(encoder: Encoder, settings: EncoderSettings) -> dict[str, str]:
    """The options that set the quality or the bit rate."""
    quality, name = settings.quality, encoder.name
    if settings.bitrate is not None:
        if quality is not None:
            raise UsageError("`quality` and `bitrate` exclude each other: give one of them.")
        if not av.Codec(name, "w").lossy or name == "prores_ks":
            raise UsageError(f"{name} has no bit rate to set: leave `bitrate` out.")
        return {**encoder.with_bitrate, "b": str(parse_bitrate(settings.bitrate))}
    if quality is not None and quality.lower() == "lossless":
        if encoder.lossless is None:
            raise UsageError(f"{name} cannot encode losslessly: choose ffv1, h264 or hevc as `codec`.")
        return encoder.lossless
    if not encoder.quality_options:
        if quality is not None:
            raise UsageError(f"{name} has no quality setting: leave `quality` out.")
        return {}
    value = encoder.quality
    if quality is not None:
        hint = "" if encoder.lossless is None else ", or lossless"
        limits = f"give {encoder.best} (best) to {encoder.worst}"
        try:
            value = int(quality)
        except ValueError:
            raise UsageError(f"The quality '{quality}' is not a number: {limits}{hint}.") from None
        if not min(encoder.best, encoder.worst) <= value <= max(encoder.best, encoder.worst):
            raise UsageError(f"The quality {value} does not fit {name}: {limits}.")
    return {**encoder.with_quality, **dict.fromkeys(encoder.quality_options, str(value * encoder.quality_unit))}


def parse_bitrate(text: str) -> int:
    """A bit rate in bits per second, from "8M", "800k" or "8000000".

    Raises:
        UsageError: if it is none.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kKmMgG]?)", text.strip())
    rate = int(float(match[1]) * {"": 1, "k": 1e3, "m": 1e6, "g": 1e9}[match[2].lower()]) if match else 0
    if rate < _LOWEST_BITRATE:
        raise UsageError(f"The bit rate '{text}' is not one: give bits per second, such as 8M, 2.5M or 800k.")
    return rate


def _preset_options(encoder: Encoder, preset: str | None) -> dict[str, str]:
    if preset is None:
        return {}
    name = encoder.preset_option
    option = next((option for option in _known_options(encoder.name) if option.name == name), None)
    if option is None:
        raise UsageError(f"{encoder.name} has no presets: leave `preset` out.")
    names = list(_NAMED_PRESETS.get(encoder.name, ())) or [choice.name for choice in option.choices]
    taken = f"{', '.join(names[:-1])} or {names[-1]}" if names else f"{option.min:.0f} to {option.max:.0f}"
    if preset not in names and (names or not _is_within(preset, option.min, option.max)):
        raise UsageError(f"{encoder.name} has no preset '{preset}': it takes {taken}.")
    return {name: preset}


def _is_within(text: str, low: float, high: float) -> bool:
    return re.fullmatch(r"-?\d+", text) is not None and low <= int(text) <= high


def _add_user_options(options: dict[str, str], encoder: Encoder, given: Mapping[str, str]) -> None:
    """Let the given options replace those that are set; parameters are appended to them.

    Raises:
        UsageError: for an option that the encoder does not have.
    """
    known = {option.name: option for option in _known_options(encoder.name)}
    for key, value in given.items():
        if key not in known:
            hint = did_you_mean(key, known, f"ffmpeg -h encoder={encoder.name} lists them")
            raise UsageError(f"{encoder.name} has no option '{key}' (`encoder_options`): {hint}")
        appends = key.endswith(PARAMETERS) and key in options
        options[key] = f"{options[key]}:{value}" if appends else value


@cache
def _known_options(encoder: str) -> tuple[CodecOption, ...]:
    """The options of an encoder: its own, and those of all encoders of video."""
    supported = av.CodecContext.create(encoder, "w").supported_options
    for_video = OptionFlags.ENCODING_PARAM | OptionFlags.VIDEO_PARAM
    return (*supported.private, *(option for option in supported.generic if option.flags & for_video == for_video))


def _hdr_parameters(hdr: HDR | None, display_key: str, light_key: str, in_decimals: bool) -> list[str]:
    """The mastering display, as G(x,y)B(x,y)R(x,y)WP(x,y)L(max,min), and the content light level, as MaxCLL,MaxFALL.

    Numbers are decimals, or integers in units of 1/50000 for chromaticities and of 1/10000 cd/m2 for luminance.
    """

    def pair(letters: str, values: tuple[Fraction, ...], unit: int) -> str:
        numbers = (f"{float(value):.4f}" if in_decimals else str(round(value * unit)) for value in values)
        return f"{letters}({','.join(numbers)})"

    parameters = []
    if hdr is not None and hdr.primaries:
        red, green, blue, white = hdr.primaries
        low, high = hdr.luminance or (Fraction(0), Fraction(0))
        points = (("G", green), ("B", blue), ("R", red), ("WP", white))
        display = "".join(pair(letters, point, 50000) for letters, point in points)
        parameters.append(f"{display_key}={display}{pair('L', (high, low), 10000)}")
    if hdr is not None and hdr.content_light:
        parameters.append("{}={},{}".format(light_key, *hdr.content_light))
    return parameters

"""Chooses the pixel format that is encoded: the source's, or the nearest one that the encoder takes."""

from __future__ import annotations

import av

from betwixt.errors import UsageError
from betwixt.media.codecs import is_hardware
from betwixt.media.frames import bit_depth, has_alpha, is_grey, is_rgb, subsampling

_Y4M_FORMATS = [
    "gray", "yuv411p", "yuv420p", "yuv422p", "yuv444p", "gray10le", "yuv420p10le", "yuv422p10le", "yuv444p10le",
    "gray12le", "yuv420p12le", "yuv422p12le", "yuv444p12le", "gray16le", "yuv420p16le", "yuv422p16le", "yuv444p16le",
]  # fmt: skip

# Encoders whose output is meant for players, which expect YUV, mostly 4:2:0; all that run on a chip are, too.
_PLAYER_ENCODERS = ("libx264", "libx265", "libsvtav1", "libvpx-vp9", "libvpx", "mpeg4", "mpeg2video")

# Encoders that cannot code an odd width or height with subsampled chroma.
_EVEN_CHROMA = ("libx26", "h264", "hevc", "utvideo", "huffyuv", "ffvhuff")

_UPLOADED = ("nv12", "p010le")
"""Formats that are uploaded to a GPU's memory."""

_SUBSAMPLING_NAMES = {(1, 1): (4, 4), (2, 1): (2, 2), (2, 2): (2, 0), (4, 1): (1, 1), (1, 2): (4, 0), (4, 4): (1, 0)}
"""The last two numbers of 4:4:4, 4:2:2 and so on, by luma samples per chroma sample in x and y."""


def pixel_format_for(
    encoder: str, requested: str | None, source: str, width: int, height: int, container: str = "matroska"
) -> str:
    """Choose the pixel format to encode: the requested one, or the one nearest to the source's.

    The nearest one has at least the source's bits and chroma resolution if the encoder takes such a format. H.264 and
    HEVC cannot code an odd width or height (pixels) with subsampled chroma: there, chroma keeps its full resolution.

    Raises:
        UsageError: if the encoder does not take the requested format.
    """
    accepted = _accepted_formats(encoder, container)
    if requested is not None:
        try:
            av.VideoFormat(requested, width, height)
        except ValueError:
            raise UsageError(f"There is no pixel format '{requested}': try yuv420p, yuv420p10le or yuv444p.") from None
        if accepted and requested not in accepted:
            raise UsageError(
                f"{encoder} does not take the pixel format {requested} in {container}: it takes {', '.join(accepted)}."
            )
        return requested
    if not accepted:
        return source
    even_only = encoder.startswith(_EVEN_CHROMA)
    odd = (even_only and width % 2 == 1, even_only and height % 2 == 1)
    keeps_rgb = not (is_rgb(source) and _is_for_players(encoder))
    if source in accepted and keeps_rgb and _chroma_fits(source, odd):
        return source
    usable = [name for name in accepted if _chroma_fits(name, odd)] or accepted
    return min(usable, key=lambda name: _distance(source, name, encoder))


def _accepted_formats(encoder: str, container: str) -> list[str]:
    """The pixel formats that an encoder takes and a container holds; empty if the encoder does not say."""
    if encoder == "wrapped_avframe":
        return _Y4M_FORMATS
    listed = [f.name for f in (av.Codec(encoder, "w").video_formats or [])]
    # Surfaces in a GPU's memory have no components. An encoder that takes nothing else gets its frames uploaded.
    names = [name for name in listed if av.VideoFormat(name).components]
    if listed and not names:
        names = list(_UPLOADED)
    alpha = [name for name in names if has_alpha(name)]
    if encoder == "libx265":
        alpha = []  # not every build encodes those that it lists
    elif encoder.startswith("libvpx"):
        # Alpha is a second stream beside the packets, which no other container holds; in 4:4:4 it is not encoded.
        alpha = ["yuva420p"] if container in ("matroska", "webm") else []
    return [name for name in names if not has_alpha(name)] + alpha


def _is_for_players(encoder: str) -> bool:
    return encoder in _PLAYER_ENCODERS or is_hardware(encoder)


def _chroma_fits(name: str, odd: tuple[bool, bool]) -> bool:
    """Whether a format's chroma can be coded at a size whose width or height is odd."""
    return not any(is_odd and step > 1 for is_odd, step in zip(odd, subsampling(name), strict=True))


def _distance(source: str, target: str, encoder: str) -> tuple[int, ...]:
    """How far `target` is from `source`: first counts what is lost, then what is added without need."""
    depth, source_depth = bit_depth(target), bit_depth(source)
    steps, wanted = subsampling(target), subsampling(source)
    if is_rgb(source) and not is_rgb(target):
        # Players expect 4:2:0; lossless and intermediate codecs keep chroma at full resolution.
        wanted = (2, 2) if _is_for_players(encoder) else (1, 1)
    grey = is_grey(source)
    return (
        int(is_grey(target) and not grey),
        int(depth < source_depth),
        int(has_alpha(source) and not has_alpha(target)),
        int(steps > wanted and not grey),
        int(is_rgb(target) if _is_for_players(encoder) else is_rgb(source) != is_rgb(target)),
        int(grey and steps != (2, 2)),
        int(steps != wanted),
        abs(depth - source_depth),
        int(has_alpha(target) and not has_alpha(source)),
        int(target.startswith("yuvj") != source.startswith("yuvj")),
        int(target.startswith(("nv", "p0"))),
    )


def describe_conversion(source: str, target: str) -> str | None:
    """What converting frames from one pixel format to another changes, but for alpha: "RGB to YUV 4:4:4"; or None.

    A change that loses nothing (more bits, more chroma samples, another order of the same samples) is left out.
    """
    changes = []
    chroma = "4:{}:{}".format(*_SUBSAMPLING_NAMES.get(subsampling(target), ("?", "?")))
    if is_rgb(source) != is_rgb(target) and not is_grey(source):
        changes.append("YUV to RGB" if is_rgb(target) else f"RGB to YUV {chroma}")
    elif is_grey(target) and not is_grey(source):
        changes.append("colour to grey")
    elif any(a > b for a, b in zip(subsampling(target), subsampling(source), strict=True)) and not is_grey(source):
        changes.append(f"chroma to {chroma}")
    if bit_depth(target) < bit_depth(source):
        changes.append(f"{bit_depth(source)} to {bit_depth(target)} bit")
    return " and ".join(changes) or None

"""Where a conversion writes to if its user names only a folder, or nothing: ``clip.mkv`` becomes ``clip-60fps.mkv``."""

from __future__ import annotations

import contextlib
import io
import itertools
import os
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from betwixt.errors import UsageError
from betwixt.files import local_path, write_error
from betwixt.media import codecs
from betwixt.media.gif import MAX_RATE as MAX_GIF_RATE
from betwixt.media.images.paths import is_image_location
from betwixt.media.probe import VideoInfo
from betwixt.media.source import open_source
from betwixt.media.timeline import parse_rate
from betwixt.pipeline.options import BLUR, EXTRAPOLATE, OptionSet
from betwixt.pipeline.planner import Rates, choose_rates

_FALLBACK_SUFFIX = ".mkv"
"""Of an output whose source has a suffix that is not written, or cannot hold the codec."""


def name_output(source: str | Path, declared: OptionSet, options: Mapping[str, Any]) -> str:
    """A name for the output of a conversion, after its source and what the conversion does.

    ``clip.mp4`` becomes ``clip-60fps.mp4``, ``clip-slow-4x.mp4``, ``clip-blur.mp4`` or ``clip-extrapolated.mp4``; a
    folder of images ``frames`` becomes ``frames-50fps``, a folder. The source is opened to learn its rate.

    Args:
        source: A video, or a folder or pattern of images.
        declared: The options of the conversion: `options.INTERPOLATE`, `BLUR` or `EXTRAPOLATE`.
        options: The options given.

    Raises:
        UsageError: for a source without a name (a pipe or an address), or a wrong option.
        InputError: if the source cannot be read.
    """
    path = _named_path(source)
    values = declared.resolve(options)
    rate = {name: _parse(values[name]) for name in ("fps", "factor", "slow", "input_fps")}
    with contextlib.closing(
        open_source(
            path, input_fps=rate["input_fps"], stream=values["stream"], interlaced=values["interlaced"], retime=True
        )
    ) as reader:
        info = reader.info
    if is_image_location(path):
        stem, suffix = _image_folder(path).name, ""
    else:
        stem, suffix = path.stem, _choose_suffix(path, values["codec"], info)
    limit = MAX_GIF_RATE if suffix == ".gif" else None
    rates = choose_rates(info.rate, rate["fps"], rate["factor"], rate["slow"], limit, info.variable)
    return f"{stem}-{_describe(declared, rates, rate['fps'] is not None or rate['factor'] is not None)}{suffix}"


def locate_output(
    source: str | Path, target: str | Path | None, declared: OptionSet, options: Mapping[str, Any]
) -> str | Path:
    """The output that `target` stands for.

    Args:
        source: A video, or a folder or pattern of images.
        target: A file, a pattern of images or "-", which are returned as they are. A folder stands for a file in it if
            the source is a video; of images it is the output itself. None: a file or folder beside the source, whose
            name is free unless `overwrite` is among the options.
        declared: The options of the conversion.
        options: The options given.

    Raises:
        UsageError: if the target has no suffix and is no folder, for a source without a name, or for a wrong option.
        InputError: if the source cannot be read.
    """
    if target is None:
        path = _named_path(source)
        folder = (_image_folder(path) if is_image_location(path) else path).parent
        output = folder / name_output(source, declared, options)
        return output if options.get("overwrite") else next(free_names(output))
    if _is_images(source) or str(target) == "-":
        return target
    if os.path.isdir(target) or os.fspath(target).endswith(("/", os.sep)):
        return Path(target) / name_output(source, declared, options)
    if not Path(target).suffix:
        raise UsageError(
            f"{target} has no suffix: {target}.mkv is a video, {target}/ a folder to put the video in, "
            f"{target}/%06d.png images."
        )
    return target


def free_names(path: Path) -> Iterator[Path]:
    """The names, from `path` on, that nothing has: clip.mkv, clip-2.mkv, clip-3.mkv."""
    numbered = (path.with_name(f"{path.stem}-{number}{path.suffix}") for number in itertools.count(2))
    return (name for name in itertools.chain([path], numbered) if not os.path.lexists(name))


@contextlib.contextmanager
def output_folder(folder: Path) -> Iterator[None]:
    """Make a folder for outputs if there is none; remove what was made if nothing was written to it.

    Raises:
        OutputError: if it cannot be made.
    """
    missing = list(itertools.takewhile(lambda path: not path.exists(), (folder, *folder.parents)))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(error, folder) from None
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # those that hold something stay
            for path in missing:
                path.rmdir()


def _named_path(source: str | Path) -> Path:
    local = local_path(source)
    if str(local) == "-" or "://" in str(local):
        raise UsageError(f"An output is named after its source's file, and '{source}' is none: name the output, too.")
    return Path(local)


def _image_folder(path: Path) -> Path:
    """The folder of a sequence of images, with a name, also if the path is "." or "%d.png"."""
    folder = path if path.is_dir() else path.parent
    return folder if folder.name not in ("", "..") else folder.resolve()


def _is_images(source: str | Path) -> bool:
    return str(source) != "-" and is_image_location(local_path(source))


def _parse(value: Any) -> Fraction | None:
    return None if value is None else parse_rate(value)


def _choose_suffix(source: Path, codec: str | None, info: VideoInfo) -> str:
    """The source's suffix, if files of that kind are written, compressed, and can hold the codec."""
    suffix = source.suffix.lower()
    try:
        container = codecs.container_of(source)
    except UsageError:
        return _FALLBACK_SUFFIX
    if container == "yuv4mpegpipe" or (codec is not None and not _holds(container, codec, info)):
        return _FALLBACK_SUFFIX
    return suffix


def _holds(container: str, codec: str, info: VideoInfo) -> bool:
    encoder = av.Codec(codecs.choose_encoder(codec, container, info).name, "w")
    with av.open(io.BytesIO(), "w", format=container) as output:
        return encoder.canonical_name in output.supported_codecs


def _describe(declared: OptionSet, rates: Rates, rate_given: bool) -> str:
    """What a conversion does, as a part of a name."""
    if declared is EXTRAPOLATE:
        return "extrapolated"
    parts = ["blur"] if declared is BLUR else []
    if rates.slow != 1:
        parts.append(f"slow-{float(rates.slow):.5g}x")
    if rate_given or not parts:
        parts.append(f"{float(rates.output):.5g}fps")
    return "-".join(parts)

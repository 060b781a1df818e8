"""Locations of images: folders, numbered patterns, globs and single files."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Sequence
from glob import glob, has_magic
from pathlib import Path

from betwixt.errors import InputError, UsageError
from betwixt.files import error_text

READABLE = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp", ".exr")
"""Suffixes of images that can be read."""

WRITABLE = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp", ".exr")
"""Suffixes of images that can be written."""

NUMBER = re.compile(r"%(?:0(\d+))?d")
"""The number in a pattern such as ``frame_%05d.png``; group 1 is its width."""


def is_image_location(location: str | Path, *, output: bool = False) -> bool:
    """Whether `location` names images and not a video file.

    Args:
        location: For input: a folder, a pattern (``dir/frame_%05d.png``), a glob (``dir/*.png``) or one image file.
            For output: a folder (it exists, ends with a slash or has no suffix), a pattern or one image file.
        output: Whether it will be written.
    """
    text = os.fspath(location)
    if "://" in text or text == "-":
        return False
    path = Path(text)
    if os.path.isdir(path):
        return True
    if path.suffix.lower() in (WRITABLE if output else READABLE):
        return True
    if output:
        return text.endswith(("/", os.sep)) or not path.suffix
    return not os.path.exists(path) and has_magic(text) and any(_is_image(Path(p)) for p in glob(text))


def image_folder(location: str | Path) -> tuple[Path, bool]:
    """The folder into which `ImageWriter` writes the images of `location`, and whether it is a single image."""
    path = Path(os.fspath(location))
    if os.path.isdir(path) or os.fspath(location).endswith(("/", os.sep)) or not path.suffix:
        return path, False
    return path.parent, not NUMBER.search(path.name)


def image_suffix(location: str | Path) -> str:
    """The suffix of the images that `ImageWriter` writes to `location`: PNG's in a folder."""
    path = Path(os.fspath(location))
    return ".png" if image_folder(location)[0] == path else path.suffix.lower()


def find_images(location: str | Path) -> list[Path]:
    """The image files at `location`, in order.

    Args:
        location: A folder (its images in natural order, img2 before img10; hidden files and other files are left
            out), a pattern with one number (``dir/frame_%05d.png``; it may start at any number and must have no
            gaps), a glob (``dir/*.png``, in natural order) or one image file.

    Raises:
        InputError: if there are no images, or one number of a pattern is missing.
        UsageError: for a pattern with more than one number.
    """
    text = os.fspath(location)
    path = Path(text)
    if os.path.isdir(path):
        try:
            images = [p for p in path.iterdir() if _is_image(p)]
        except OSError as error:
            raise InputError(f"The folder {text} cannot be read: {error_text(error)}.") from None
        if not images:
            raise InputError(f"The folder {text} holds no images: expected {join_suffixes(READABLE)}.")
        return sorted(images, key=natural_key)
    if os.path.exists(path):
        return [path]
    if NUMBER.search(path.name):
        return _find_numbered(path)
    if has_magic(text):
        images = [p for p in map(Path, glob(text)) if _is_image(p)]
        if not images:
            raise InputError(f"No image matches {text}: check the path, and quote the pattern in the shell.")
        return sorted(images, key=natural_key)
    raise InputError(f"{text} does not exist: check the path.")


def _find_numbered(pattern: Path) -> list[Path]:
    """The files of a pattern, in order."""
    widths = NUMBER.findall(pattern.name)
    if len(widths) != 1:
        raise UsageError(f"{pattern} has more than one number: use one, such as frame_%05d.png.")
    before, after = (re.escape(part) for part in re.split(r"%\d*d", pattern.name))
    try:
        matches = [re.fullmatch(f"{before}(\\d+){after}", name) for name in os.listdir(pattern.parent)]
    except OSError as error:
        raise InputError(f"The folder {pattern.parent} cannot be read: {error_text(error)}.") from None
    width = int(widths[0] or 1)
    numbers = sorted(int(match[1]) for match in matches if match and match[1] == f"{int(match[1]):0{width}d}")
    if not numbers:
        raise InputError(f"No image matches {pattern}: check the folder and the number of digits.")
    for number, following in itertools.pairwise(numbers):
        if following != number + 1:
            everything = pattern.parent / f"*{pattern.suffix}"
            raise InputError(
                f"{numbered_path(pattern, number + 1)} is missing: add it, or pass '{everything}' to go on without it."
            )
    return [numbered_path(pattern, number) for number in numbers]


def numbered_path(pattern: Path, number: int) -> Path:
    """The file of a pattern with this number."""
    return pattern.with_name(NUMBER.sub(lambda m: f"{number:0{int(m[1] or 1)}d}", pattern.name))


def join_suffixes(suffixes: Sequence[str]) -> str:
    """Suffixes as a list for messages: "bmp, jpg, png"."""
    return ", ".join(sorted({s[1:] for s in suffixes if s not in (".jpeg", ".tiff")}))


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in READABLE and not path.name.startswith(".") and path.is_file()


def natural_key(path: Path) -> tuple[list[tuple[int, str]], str]:
    """Sort key that puts img2 before img10."""
    parts = re.split(r"(\d+)", path.name)
    key = [(int(p), "") if i % 2 else (-1, p.casefold()) for i, p in enumerate(parts)]
    return key, path.name

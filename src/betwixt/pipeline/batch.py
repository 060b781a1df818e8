"""Many conversions, one after the other: of several files, of folders of videos, and of folders that are watched.

    find_inputs / watch_inputs ──► BatchInput ── Batch.convert ──► BatchResult

A file that cannot be converted does not stop the others.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from betwixt.errors import BetwixtError, DamagedInputError, InputError, Interrupted, UsageError
from betwixt.files import local_path, read_error
from betwixt.media.codecs import WRITABLE_SUFFIXES
from betwixt.media.images.paths import READABLE, is_image_location, natural_key
from betwixt.pipeline.options import OptionSet
from betwixt.pipeline.output_names import name_output, output_folder
from betwixt.pipeline.run import Progress, Summary

VIDEO_SUFFIXES = frozenset(WRITABLE_SUFFIXES) | {
    ".wmv", ".asf", ".mpg", ".mpeg", ".m2v", ".vob", ".ogm", ".divx", ".f4v", ".3g2", ".rm", ".rmvb", ".dv", ".wtv",
    ".h264", ".264", ".hevc", ".h265", ".265", ".obu", ".ivf", ".mjpeg", ".mjpg", ".apng",
}  # fmt: skip
"""Suffixes by which videos are found in folders."""

SETTLING_TIME = 2.0
"""Seconds for which a file in a watched folder must not have changed before it is converted."""


@dataclass(frozen=True)
class BatchInput:
    """One input of a batch.

    Attributes:
        source: A video, or a folder or pattern of images.
        folder: The folder for its output.
    """

    source: str
    folder: Path


@dataclass(frozen=True)
class BatchResult:
    """What became of an input.

    Attributes:
        source: The input.
        status: "done"; "skipped" if its output exists; "damaged" if only a part of it could be read, and was converted;
            or "failed".
        output: The output; None if it was not even named.
        summary: What the conversion did, if it is done or the input is damaged.
        error: Why it was skipped or failed, or what was damaged; None if it is done.
    """

    source: str
    status: Literal["done", "skipped", "damaged", "failed"]
    output: str | None = None
    summary: Summary | None = None
    error: str | None = None

    @property
    def failed(self) -> bool:
        """Whether there is no whole output."""
        return self.status in ("damaged", "failed")

    def as_dict(self) -> dict[str, Any]:
        """The values as JSON can hold them."""
        summary = None if self.summary is None else self.summary.as_dict()
        values = {"source": self.source, "status": self.status, "output": self.output, "error": self.error}
        return {**values, "summary": summary}


class Batch:
    """Converts inputs with the same options.

    Outputs are named by `output_names.name_output`. One that exists is left, and its input is skipped, so that the same
    batch can be run again; with the option `overwrite` it is replaced.

    Args:
        convert: A function such as `interpolate_video`.
        declared: The options that it takes.
        options: The options given.
    """

    def __init__(self, convert: Callable[..., Summary], declared: OptionSet, options: Mapping[str, Any]) -> None:
        self._convert, self._declared, self._options = convert, declared, dict(options)
        self._outputs: set[Path] = set()

    def convert(self, item: BatchInput, progress: Callable[[Progress], None] | None = None) -> BatchResult:
        """Convert one input. Errors that a user can cause are in the result; an interrupt is raised."""
        output: Path | None = None
        try:
            output = self.name_output(item)
            if self.is_done(output):
                error = f"{output} exists: pass `overwrite=True` to replace it."
                return BatchResult(item.source, "skipped", str(output), error=error)
            with output_folder(item.folder):
                summary = self._convert(item.source, output, progress=progress, **self._options)
        except DamagedInputError as error:
            return BatchResult(item.source, "damaged", str(output), error.summary, str(error))
        except Interrupted:
            raise
        except BetwixtError as error:
            return BatchResult(item.source, "failed", None if output is None else str(output), error=str(error))
        return BatchResult(item.source, "done", str(output), summary)

    def name_output(self, item: BatchInput) -> Path:
        """The output of an input: one that no other input of this batch has.

        Raises:
            BetwixtError: as `output_names.name_output`.
        """
        first = output = item.folder / name_output(item.source, self._declared, self._options)
        number = 1
        while output in self._outputs:
            number += 1
            output = first.with_name(f"{first.stem}-{number}{first.suffix}")
        self._outputs.add(output)
        return output

    def is_done(self, output: Path) -> bool:
        """Whether an output exists, and must not be replaced."""
        return os.path.lexists(output) and not self._options.get("overwrite")


def find_inputs(sources: Sequence[str], output_dir: Path, recursive: bool = False) -> list[BatchInput]:
    """The inputs that several sources stand for.

    Args:
        sources: Videos, patterns of images, and folders: of videos, which are inputs by themselves, or of images, which
            are one input.
        output_dir: The folder for outputs. The videos in the folders of a source get folders of the same names in it.
        recursive: Whether to look for videos in the folders of a folder, too; then it is not taken for a sequence of
            images.

    Raises:
        UsageError: if a folder holds both videos and images, or the outputs would be put among the inputs.
        InputError: if a folder holds neither.
    """
    inputs: list[BatchInput] = []
    for source in sources:
        if source == "-":
            raise UsageError("Standard input has no name for its output: convert it alone, with an output of its own.")
        folder = Path(local_path(source))
        if not folder.is_dir():
            inputs.append(BatchInput(source, output_dir))
            continue
        videos = _find_videos(folder, output_dir, recursive)
        images = not recursive and any(p.suffix.lower() in READABLE for p in _visible(folder))
        if videos and images:
            raise UsageError(
                f"{source} holds videos and images: pass the files that you mean, such as {folder / '*.mp4'}, or "
                "`recursive=True` for the videos."
            )
        if not videos and not images:
            raise InputError(f"The folder {source} holds no videos{'' if recursive else ' and no images'}.")
        inputs += videos or [BatchInput(source, output_dir)]
    return inputs


def is_video_folder(location: str) -> bool:
    """Whether this is a folder that holds videos and no images."""
    if not os.path.isdir(location):
        return False
    suffixes = {path.suffix.lower() for path in _visible(Path(location))}
    return bool(suffixes & VIDEO_SUFFIXES) and not suffixes & set(READABLE)


def watch_inputs(
    folders: Sequence[str],
    output_dir: Path,
    recursive: bool = False,
    *,
    settling_time: float = SETTLING_TIME,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[BatchInput]:
    """The videos in folders, and those that come later, when they are complete; ends with Ctrl-C while it waits.

    Args:
        folders: The folders.
        output_dir: The folder for outputs, as for `find_inputs`.
        recursive: Whether to watch the folders in them, too.
        settling_time: For how many seconds a video must not have changed.
        sleep: Waits for some seconds.

    Raises:
        UsageError: if a source is not a folder, or the outputs would be put among the inputs.
    """
    for folder in folders:
        if not os.path.isdir(folder):
            raise UsageError(f"{folder} is not a folder: `watch` is for folders of videos.")
        _find_videos(Path(folder), output_dir, recursive)
    return _watch(folders, output_dir, recursive, settling_time, sleep)


def _watch(
    folders: Sequence[str],
    output_dir: Path,
    recursive: bool,
    settling_time: float,
    sleep: Callable[[float], None],
) -> Iterator[BatchInput]:
    before: dict[str, tuple[int, int]] = {}
    given: dict[str, tuple[int, int]] = {}
    while True:
        now: dict[str, tuple[int, int]] = {}
        for item in (item for folder in folders for item in _find_videos(Path(folder), output_dir, recursive)):
            try:
                fact = os.stat(item.source)
            except OSError:  # it has just been removed
                continue
            state = now[item.source] = (fact.st_size, fact.st_mtime_ns)
            if before.get(item.source) == state != given.get(item.source):
                given[item.source] = state
                yield item
        before = now
        try:
            sleep(settling_time)
        except KeyboardInterrupt:
            return


def input_sizes(inputs: Iterable[BatchInput]) -> list[float]:
    """How much work each input is, as a share of all: by the sizes of the files; images count as the mean of these."""
    sizes = [_file_size(item.source) for item in inputs]
    known = [size for size in sizes if size]
    mean = sum(known) / len(known) if known else 1.0
    total = sum(size or mean for size in sizes)
    return [(size or mean) / total for size in sizes]


def _file_size(source: str) -> int:
    path = Path(local_path(source))
    return 0 if is_image_location(path) or not path.is_file() else path.stat().st_size


def _find_videos(folder: Path, output_dir: Path, recursive: bool) -> list[BatchInput]:
    """The videos in a folder, in natural order, without those in the folder of outputs."""
    outputs = output_dir.resolve()
    if folder.resolve() == outputs:
        raise UsageError(f"The outputs would be inputs of the next run: choose another `output_dir` than {folder}.")

    def search(folder: Path, output_folder: Path) -> Iterator[BatchInput]:
        for path in _visible(folder):
            if not path.is_dir():
                if path.suffix.lower() in VIDEO_SUFFIXES:
                    yield BatchInput(str(path), output_folder)
            elif recursive and path.resolve() != outputs and not path.is_symlink():
                yield from search(path, output_folder / path.name)

    return list(search(folder, output_dir))


def _visible(folder: Path) -> list[Path]:
    try:
        return sorted((p for p in folder.iterdir() if not p.name.startswith(".")), key=natural_key)
    except OSError as error:
        raise read_error(folder, error) from None

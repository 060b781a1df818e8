"""Packs everything that a run needs into one small folder for another machine: code, data, recipe, checkpoint.

    FOLDER/train.sh              unpacks the code, prepares the data and trains; takes the arguments of `betwixt train`
    FOLDER/recipes/              the recipe and those that it extends
    FOLDER/start.safetensors     the checkpoint to continue from, if there is one
    FOLDER/data/                 clips and photographs as they are, compressed; decoded on arrival
    FOLDER/code.tar.xz           the package and its project files

Left out is what the run does not use: clips that the recipe excludes, the part of a clip after its `end`, and the
weights inside the package that the network's training does not need.
"""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Collection, Sequence
from pathlib import Path

import av

from betwixt.errors import InputError, UsageError
from betwixt.evaluation.datasets import IMAGE_SUFFIXES
from betwixt.files import error_text, file_url, write_error
from betwixt.training.checkpoint import check_checkpoint, read_checkpoint
from betwixt.training.objectives.registry import EMBEDDED_WEIGHTS
from betwixt.training.recipe import load_recipe
from betwixt.training.recipe_files import recipe_files
from betwixt.training.sources import ClipsEntry, DataEntry, SyntheticEntry, check_data_folder, read_entries

_MIB = 1 << 20

_Items = dict[Path, tuple[Path, float | None]]
"""By name in the packed folder: the file to copy, and of a clip the time in seconds before which to copy it."""

_SCRIPT = """\
#!/bin/sh
# Needs Python 3.11 and the dependencies: pip install -c constraints.txt '.[train]' in the unpacked code.tar.xz.
# ./train.sh --minutes 20 --workers 16      continues the run in run/, or starts it{start}
set -e
cd "$(dirname "$0")"
PYTHON="${{PYTHON:-python3}}"
if [ ! -d src ]; then "$PYTHON" -m tarfile -e code.tar.xz .; fi
export PYTHONPATH="$PWD/src${{PYTHONPATH:+:$PYTHONPATH}}"
if [ -e run/checkpoint.safetensors ]; then set -- --resume "$@"{otherwise}; fi
exec "$PYTHON" -m betwixt.cli train 'recipes/{recipe}' --data data --cache cache --output run{settings} "$@"
"""


def pack(recipe: Path, folder: Path, data: Path, checkpoint: Path | None = None, limit: int = 60) -> int:
    """Write the folder, completely or not at all, and return its size in bytes.

    Args:
        recipe: The recipe's file.
        folder: The output folder, which must not exist.
        data: The data folder.
        checkpoint: A checkpoint to continue from.
        limit: Maximum size of the folder in MiB.

    Raises:
        UsageError: if the folder exists.
        InputError: if something is missing, or the folder would exceed the limit.
        OutputError: if the folder cannot be written.
    """
    loaded = load_recipe(recipe)
    entries = read_entries(loaded.data, loaded.where)
    if folder.exists():
        raise UsageError(f"{folder} exists: remove it, or choose another `folder`.")
    items: _Items = {Path("recipes") / file.name: (file, None) for file in recipe_files(recipe)}
    if checkpoint is not None:
        check_checkpoint(read_checkpoint(checkpoint), loaded.table)
        items[Path("start.safetensors")] = (checkpoint, None)
    items |= _data_files(entries, data)
    excludes = any(isinstance(entry, ClipsEntry) and entry.exclude for entry in entries)
    partial = folder.with_name(f".{folder.name}.part")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        size = 0
        # The largest last, so that a folder over the limit is noticed before most of it is copied.
        for name, (path, end) in sorted(items.items(), key=lambda item: item[1][0].stat().st_size):
            target = partial / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if end is None:
                shutil.copyfile(path, target)
            else:
                _trim(path, target, end)
            size += target.stat().st_size
            if size > limit * _MIB:
                break
        _write_code(partial / "code.tar.xz", EMBEDDED_WEIGHTS.get(str(loaded.network["name"]), ()))
        script = _SCRIPT.format(
            recipe=recipe.name,
            start=" from start.safetensors" if checkpoint else "",
            otherwise='; else set -- --from start.safetensors "$@"' if checkpoint else "",
            # Excluded clips are not packed, and naming a missing clip is an error.
            settings=" --set 'data.clips.exclude=[]'" if excludes else "",
        )
        (partial / "train.sh").write_text(script, encoding="utf-8")
        (partial / "train.sh").chmod(0o755)
        size += (partial / "code.tar.xz").stat().st_size + (partial / "train.sh").stat().st_size
        if size > limit * _MIB:
            total = sum(path.stat().st_size for path, _ in items.values()) / _MIB
            raise InputError(
                f"The folder would exceed {limit} MiB (its files have {total:.1f}): exclude clips in the recipe, or "
                "raise `limit`."
            )
        partial.replace(folder)
    except OSError as error:
        raise write_error(error, folder) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return size


def _data_files(entries: Sequence[DataEntry], data: Path) -> _Items:
    """The files that the entries read, by their names in the packed folder."""
    check_data_folder(data)
    items: _Items = {}
    for entry in entries:
        root = data / entry.path
        ends: dict[str, float | None] = {}
        if isinstance(entry, ClipsEntry):
            ends = {name: rule.end for name, rule in entry.clips.items()}
            files = entry.files(data)
        elif isinstance(entry, SyntheticEntry):
            folder = root / entry.pictures
            files = [path for path in folder.glob("*") if path.suffix.lower() in IMAGE_SUFFIXES]
        else:
            files = [path for path in root.rglob("*") if path.is_file()]
        items |= {Path("data") / path.relative_to(data): (path, ends.get(path.stem)) for path in files}
    return items


def _trim(source: Path, target: Path, end: float) -> None:
    """Copy the packets of a clip up to `end` seconds, without re-encoding.

    Packets are in decoding order and no frame is decoded after it is shown, so all frames before `end` and the frames
    that they refer to have decoding times before `end`.
    """
    try:
        with av.open(file_url(source)) as source_file, av.open(file_url(target), "w") as out:
            stream = source_file.streams.video[0]
            copy = out.add_stream_from_template(stream)
            for packet in source_file.demux(stream):
                if packet.dts is None or packet.time_base is None:
                    continue
                if packet.dts * packet.time_base >= end:
                    break
                packet.stream = copy
                out.mux(packet)
    except (av.error.FFmpegError, IndexError) as error:
        raise InputError(f"{source} cannot be copied up to {end:g} s: {error_text(error)}.") from None


def _write_code(target: Path, weights: Collection[str]) -> None:
    """Archive the package with the weight files named in `weights` and, from a checkout, its project files."""
    package = Path(__file__).parents[1]
    project = package.parents[1]
    with tarfile.open(target, "w:xz") as archive:
        for path in sorted(package.rglob("*")):
            left_out = path.parent.name == "embedded" and path.suffix == ".safetensors" and path.name not in weights
            if path.is_file() and "__pycache__" not in path.parts and not left_out:
                archive.add(path, Path("src/betwixt") / path.relative_to(package))
        for name in ("pyproject.toml", "constraints.txt", "README.md", "LICENSE"):
            if (project / name).is_file():
                archive.add(project / name, name)

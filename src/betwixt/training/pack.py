"""All that a run needs in one folder, small enough to travel: code, data, recipe, checkpoint.

    FOLDER/train.sh              runs it, unpacking and preparing first; takes what `betwixt train` takes
    FOLDER/recipe.toml
    FOLDER/start.safetensors     the checkpoint to go on from, if there is one
    FOLDER/data/                 clips and photographs as they came: compressed, and decoded on arrival
    FOLDER/code.tar.xz           the package and how it is installed

Nothing that a run does not use is in it: clips that the recipe excludes, what comes after a clip's `end`, weights that
ship inside the package, unless the network learns beside them.
"""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import av

from betwixt.errors import InputError, UsageError
from betwixt.evaluation.datasets import IMAGE_SUFFIXES
from betwixt.files import error_text, write_error
from betwixt.training.checkpoint import check_checkpoint, read_checkpoint
from betwixt.training.objectives.registry import EMBEDDED_WEIGHTS
from betwixt.training.recipe import load_recipe
from betwixt.training.recipe_sampler import entries_of
from betwixt.training.sources import ClipsEntry, DataEntry, SyntheticEntry

__all__ = ["pack"]

_MIB = 1 << 20

_SCRIPT = """\
#!/bin/sh
# Needs Python 3.11 and what code.tar.xz's pyproject.toml names: pip install -c constraints.txt '.[train]' in it.
# ./train.sh --minutes 20 --workers 16      goes on with what is in run/, or begins it{begins}
set -e
cd "$(dirname "$0")"
PYTHON="${{PYTHON:-python3}}"
if [ ! -d src ]; then "$PYTHON" -m tarfile -e code.tar.xz .; fi
export PYTHONPATH="$PWD/src${{PYTHONPATH:+:$PYTHONPATH}}"
if [ -e run/checkpoint.safetensors ]; then set -- --resume "$@"{otherwise}; fi
exec "$PYTHON" -m betwixt.cli train recipe.toml --data data --cache cache --output run{settings} "$@"
"""


@dataclass(frozen=True)
class _Item:
    """A file that goes into the folder; of a clip, only what comes before `end` seconds."""

    path: Path
    end: float | None = None

    def write(self, target: Path) -> None:
        if self.end is None:
            shutil.copyfile(self.path, target)
        else:
            _trim(self.path, target, self.end)


def pack(recipe: Path, folder: Path, data: Path, checkpoint: Path | None = None, limit: int = 60) -> int:
    """Write the folder, whole or not at all.

    Args:
        recipe: The recipe's file.
        folder: Must not exist.
        data: The data folder.
        checkpoint: What to go on from.
        limit: MiB that the folder may have.

    Returns:
        Its size in bytes.

    Raises:
        UsageError: if the folder exists.
        InputError: if something is missing, or all of it is larger than the limit.
        OutputError: if the folder cannot be written.
    """
    whole = load_recipe(recipe)
    entries = entries_of(whole)
    if folder.exists():
        raise UsageError(f"{folder} exists: remove it, or give another name.")
    items = {Path("recipe.toml"): _Item(recipe)}
    if checkpoint is not None:
        check_checkpoint(read_checkpoint(checkpoint), whole.table)
        items[Path("start.safetensors")] = _Item(checkpoint)
    items |= _data(entries, data)
    partial = folder.with_name(f".{folder.name}.part")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        size = 0
        # The largest last: what is too large is known before most of it is copied.
        for name, item in sorted(items.items(), key=lambda named: named[1].path.stat().st_size):
            target = partial / name
            target.parent.mkdir(parents=True, exist_ok=True)
            item.write(target)
            size += target.stat().st_size
            if size > limit * _MIB:
                break
        _write_code(partial / "code.tar.xz", EMBEDDED_WEIGHTS.get(str(whole.network["name"]), ()))
        _write_script(partial / "train.sh", entries, checkpoint is not None)
        size += (partial / "code.tar.xz").stat().st_size + (partial / "train.sh").stat().st_size
        if size > limit * _MIB:
            total = sum(item.path.stat().st_size for item in items.values()) / _MIB
            raise InputError(
                f"The folder would have more than {limit} MiB (its files are {total:.1f}): exclude clips in the "
                "recipe, or raise --limit."
            )
        partial.replace(folder)
    except OSError as error:
        raise write_error(error, folder) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return size


def _data(entries: Sequence[DataEntry], data: Path) -> dict[Path, _Item]:
    """The files that the entries read, by their names in the folder."""
    if not data.is_dir():
        raise InputError(f"There is no data folder {data}: give the one that holds what the recipe names as --data.")
    items: dict[Path, _Item] = {}
    for entry in entries:
        root = entry.root(data)
        if isinstance(entry, ClipsEntry):
            ends = {name: rule.end for name, rule in entry.clips.items()}
            found = [_Item(path, ends.get(path.stem)) for path in entry.files(data)]
        elif isinstance(entry, SyntheticEntry):
            folder = root / entry.pictures
            found = [_Item(path) for path in folder.glob("*") if path.suffix.lower() in IMAGE_SUFFIXES]
        else:
            found = [_Item(path) for path in root.rglob("*") if path.is_file()]
        items |= {Path("data") / item.path.relative_to(data): item for item in found}
    return items


def _trim(source: Path, target: Path, end: float) -> None:
    """Copy the packets of a clip whose frames come before `end` seconds, and those that they need.

    What a frame needs comes before it in the order of decoding, and none is decoded after it is shown.
    """
    try:
        with av.open(str(source)) as given, av.open(str(target), "w") as out:
            stream = given.streams.video[0]
            copy = out.add_stream_from_template(stream)
            for packet in given.demux(stream):
                if packet.dts is None or packet.time_base is None:
                    continue
                if packet.dts * packet.time_base >= end:
                    break
                packet.stream = copy
                out.mux(packet)
    except (av.error.FFmpegError, IndexError) as error:
        raise InputError(f"{source} cannot be copied up to {end:g} s: {error_text(error)}.") from None


def _write_code(target: Path, weights: Collection[str]) -> None:
    """The package, with some of the weights that ship in it, and how it is installed, where it is a checkout."""
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


def _write_script(target: Path, entries: Sequence[DataEntry], goes_on: bool) -> None:
    left_out = any(isinstance(entry, ClipsEntry) and entry.exclude for entry in entries)
    text = _SCRIPT.format(
        begins=" from start.safetensors" if goes_on else "",
        otherwise='; else set -- --from start.safetensors "$@"' if goes_on else "",
        # What is not there need not be excluded; a recipe that names it would look for it.
        settings=" --set 'data.clips.exclude=[]'" if left_out else "",
    )
    target.write_text(text, encoding="utf-8")
    target.chmod(0o755)

"""All that a run needs in one folder, small enough to travel: code, data, recipe, checkpoint.

FOLDER/train.sh                     runs it, preparing the data first; takes what `betwixt train` takes
FOLDER/recipe.toml
FOLDER/start.safetensors            the checkpoint to go on from, if there is one
FOLDER/data/                        clips and photographs as they came, compressed
FOLDER/src/betwixt/, pyproject.toml, constraints.txt
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from betwixt.errors import InputError, UsageError
from betwixt.evaluation.datasets import PICTURES
from betwixt.media.files import output_error
from betwixt.training.checkpoint import check_checkpoint, read_checkpoint
from betwixt.training.recipe import load_recipe
from betwixt.training.samples import entries_of
from betwixt.training.sources import VIDEOS, Clips, Entry, Synthetic

__all__ = ["pack"]

_MIB = 1 << 20

_SCRIPT = """\
#!/bin/sh
# Needs Python 3.11 or newer with what pyproject.toml names: pip install -c constraints.txt '.[train]'
# ./train.sh --minutes 20 --workers 16      goes on with what is in run/, or begins it{start}
set -e
cd "$(dirname "$0")"
export PYTHONPATH="$PWD/src${{PYTHONPATH:+:$PYTHONPATH}}"
if [ -e run/checkpoint.safetensors ]; then set -- --resume "$@"{other}; fi
exec "${{PYTHON:-python3}}" -m betwixt.cli train recipe.toml --data data --cache cache --output run "$@"
"""


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
    files = {Path("recipe.toml"): recipe}
    if checkpoint is not None:
        check_checkpoint(read_checkpoint(checkpoint), whole.table)
        files[Path("start.safetensors")] = checkpoint
    files |= _data(entries_of(whole), data) | _code()
    size = sum(path.stat().st_size for path in files.values())
    if size > limit * _MIB:
        raise InputError(
            f"The folder would have {size / _MIB:.1f} MiB, more than {limit}: leave data out, or raise --limit."
        )
    if folder.exists():
        raise UsageError(f"{folder} exists: remove it, or give another name.")
    partial = folder.with_name(f".{folder.name}.part")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        for name, path in files.items():
            target = partial / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        start = other = ""
        if checkpoint is not None:
            start, other = " from start.safetensors", '; else set -- --from start.safetensors "$@"'
        script = partial / "train.sh"
        script.write_text(_SCRIPT.format(start=start, other=other), encoding="utf-8")
        script.chmod(0o755)
        partial.replace(folder)
    except OSError as error:
        raise output_error(error, folder) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return size + len(_SCRIPT)


def _data(entries: Sequence[Entry], data: Path) -> dict[Path, Path]:
    """The files that the entries read, by their names in the folder."""
    if not data.is_dir():
        raise InputError(f"There is no data folder {data}: give the one that holds what the recipe names as --data.")
    files: dict[Path, Path] = {}
    for entry in entries:
        root = entry.root(data)
        if isinstance(entry, Clips):
            entry.files(data)  # says what is missing
            paths = [path for path in root.iterdir() if path.suffix.lower() in VIDEOS]
        elif isinstance(entry, Synthetic):
            paths = [path for path in (root / entry.pictures).glob("*") if path.suffix.lower() in PICTURES]
        else:
            paths = [path for path in root.rglob("*") if path.is_file()]
        files |= {Path("data") / path.relative_to(data): path for path in sorted(paths)}
    return files


def _code() -> dict[Path, Path]:
    """The package, and beside it what says how it is installed, where it is a checkout."""
    package = Path(__file__).parents[1]
    files = {
        Path("src/betwixt") / path.relative_to(package): path
        for path in sorted(package.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }
    project = package.parents[1]
    names = ("pyproject.toml", "constraints.txt", "README.md", "LICENSE")
    return files | {Path(name): project / name for name in names if (project / name).is_file()}

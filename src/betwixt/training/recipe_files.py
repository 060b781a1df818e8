"""The files of recipes: those that come with Betwixt, and a user's own.

A recipe is named as `rife-small`, if it comes with Betwixt, or by its file. One that extends another names it without a
folder: it is in the same folder, or comes with Betwixt.
"""

from __future__ import annotations

import itertools
import re
import tomllib
from pathlib import Path
from typing import Any

from betwixt.errors import InputError, UsageError, did_you_mean
from betwixt.files import read_error

_BUILT_IN = Path(__file__).with_name("recipes")

_NO_RECIPES = ("common-small",)
"""Files among the recipes that only serve others to extend."""


def recipe_names() -> list[str]:
    """The names of the recipes that come with Betwixt."""
    return sorted(path.stem for path in _BUILT_IN.glob("*.toml") if path.stem not in _NO_RECIPES)


def find_recipe(recipe: str | Path) -> Path:
    """The file of a recipe.

    Args:
        recipe: The name of one that comes with Betwixt, or a TOML file.

    Raises:
        InputError: if there is none.
    """
    path = Path(recipe)
    if path.is_file():
        return path
    if str(recipe) in recipe_names():
        return _BUILT_IN / f"{recipe}.toml"
    known = path.stem if path.suffix == ".toml" else path.name
    hint = did_you_mean(known, recipe_names(), "`betwixt train list` shows those that there are")
    raise InputError(f"There is no recipe {recipe}: {hint}")


def recipe_files(path: Path) -> list[Path]:
    """The file of a recipe, followed by those that it extends, directly and indirectly.

    Raises:
        InputError: if a file does not exist or is not TOML.
        UsageError: if `extends` does not name a recipe.
    """
    files = [path]
    while (parent := read_toml(files[-1]).get("extends")) is not None:
        if not isinstance(parent, str) or parent != Path(parent).name:
            raise UsageError(f"'extends' in {files[-1]} has to be the name of a recipe in the same folder.")
        beside, built_in = files[-1].with_name(parent), _BUILT_IN / parent
        found = beside if beside.is_file() or not built_in.is_file() else built_in
        if found in files:
            raise UsageError(f"{path} extends itself.")
        files.append(found)
    return files


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a recipe's file.

    Raises:
        InputError: if it does not exist or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"There is no recipe {path}.") from None
    except OSError as error:
        raise read_error(path, error) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a recipe: {error}.") from None


def summarize(name: str) -> str:
    """What a recipe that comes with Betwixt is for, as the comment at its beginning says."""
    lines = (_BUILT_IN / f"{name}.toml").read_text(encoding="utf-8").splitlines()
    comment = itertools.takewhile(lambda line: line.startswith("#"), lines)
    text = " ".join(line.lstrip("# ") for line in comment).removeprefix(f"{name}: ")
    return re.split(r"[.:](?=\s|$)", text)[0]

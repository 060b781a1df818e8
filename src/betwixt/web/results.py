"""What the page makes to be looked at: previews, pictures, maps. Kept by content, so that nothing is made twice.

    WORK/results/KEY/result.json    what is said about it
    WORK/results/KEY/NAME           its files, which the browser reads at /results/KEY/NAME

KEY is a hash of all that a result depends on.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from betwixt.errors import BetwixtError
from betwixt.files import files_fingerprint, write_error
from betwixt.masks.cache import cache_key
from betwixt.runtime.load import hash_weights
from betwixt.version import __version__

_FACTS = "result.json"
_LIMIT = 4 << 30
"""The most bytes that results take together; the oldest are removed."""


@dataclass(frozen=True)
class Result:
    """A finished result.

    Attributes:
        key: What it is kept by.
        folder: Where its files are.
        facts: What was found out while it was made.
    """

    key: str
    folder: Path
    facts: dict[str, Any]

    def url(self, name: str) -> str:
        """The address of one of its files."""
        return f"/results/{self.key}/{name}"


class ResultStore:
    """The results in a work folder.

    Args:
        work: The work folder.
    """

    def __init__(self, work: Path) -> None:
        self._folder = work / "results"
        self._making: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def get(self, key: str, make: Callable[[Path], dict[str, Any]]) -> Result:
        """The result of a key, which is made if it is not there; who asks for it meanwhile waits.

        Args:
            key: As `result_key` makes it.
            make: Writes its files into a folder, and returns its facts as JSON holds them.

        Raises:
            OutputError: if it cannot be written.
            BetwixtError: that `make` raises.
        """
        with self._making[key]:
            return self._get(key, make)

    def _get(self, key: str, make: Callable[[Path], dict[str, Any]]) -> Result:
        folder = self._folder / key
        with contextlib.suppress(OSError, ValueError):
            facts = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
            os.utime(folder)
            return Result(key, folder, facts)
        unfinished = self._folder / f".{secrets.token_hex(8)}"
        try:
            unfinished.mkdir(parents=True)
            facts = make(unfinished)
            (unfinished / _FACTS).write_text(json.dumps(facts), encoding="utf-8")
            shutil.rmtree(folder, ignore_errors=True)
            unfinished.rename(folder)
        except OSError as error:
            raise write_error(error, self._folder) from None
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        self._make_room(folder)
        return Result(key, folder, facts)

    def find(self, key: str, name: str) -> Path | None:
        """A file of a result, by names that a browser gave; None if there is none."""
        if not re.fullmatch(r"[0-9a-f]{16,64}", key) or not re.fullmatch(r"\w[\w.-]*", name, re.ASCII):
            return None
        path = self._folder / key / name
        return path if path.is_file() else None

    def remove_expired(self, days: float) -> None:
        """Remove results that nobody has looked at for so long."""
        for used, folder in self._by_age():
            if used < time.time() - days * 86400:
                shutil.rmtree(folder, ignore_errors=True)

    def _make_room(self, newest: Path) -> None:
        sizes = {folder: sum(file.stat().st_size for file in folder.iterdir()) for _, folder in self._by_age()}
        total = sum(sizes.values())
        for folder, size in sizes.items():
            if total > _LIMIT and folder != newest:
                shutil.rmtree(folder, ignore_errors=True)
                total -= size

    def _by_age(self) -> list[tuple[float, Path]]:
        """The folders with the times at which they were last used, the oldest first."""
        found = []
        with contextlib.suppress(OSError):
            found = [(path.stat().st_mtime, path) for path in self._folder.iterdir() if path.is_dir()]
        return sorted(found)


def result_key(kind: str, files: list[Path], models: list[str], settings: Any) -> str:
    """The key of a result.

    Args:
        kind: What it is.
        files: The files that it is made from.
        models: The models that make it, by name.
        settings: Whatever else it depends on, as JSON holds it.
    """
    weights = []
    for model in models:
        with contextlib.suppress(BetwixtError):  # a model without weights fails later, and says why
            weights.append(hash_weights(model))
    return cache_key(kind, __version__, files_fingerprint(files), models, weights, settings)

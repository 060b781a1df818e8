"""Where Betwixt keeps what it can make anew: one folder, a part for each purpose."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["cache_folder"]


def cache_folder(part: str) -> Path:
    """The folder of a part, which may not exist yet: under BETWIXT_CACHE, or in the system's place for caches."""
    if named := os.environ.get("BETWIXT_CACHE"):
        return Path(named) / part
    from platformdirs import user_cache_path

    return user_cache_path("betwixt", appauthor=False) / part

"""Renaming of checkpoint parameters by rules."""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["apply_first_rule"]


def apply_first_rule(name: str, rules: Iterable[tuple[str, str]]) -> str:
    """Rename by the first (pattern, replacement) whose pattern matches; a name that none matches stays as it is."""
    for pattern, replacement in rules:
        renamed, count = re.subn(pattern, replacement, name)
        if count:
            return renamed
    return name

"""References: names of objects that are imported when they are needed."""

from __future__ import annotations

import re
from importlib import import_module
from typing import Any


def resolve(reference: str) -> Any:
    """The object that "module:name" or "module:name[key]" refers to; its module is imported."""
    match = re.fullmatch(r"([\w.]+):(\w+)(?:\[(.+)\])?", reference)
    if match is None:
        raise ValueError(f"'{reference}' is not a reference: write module:name.")
    value = getattr(import_module(match[1]), match[2])
    return value if match[3] is None else value[match[3]]

"""Converts TOML tables to dataclasses; anything that does not fit raises a one-line error.

[train]            @dataclass(frozen=True)
batch = 8    ──►   class TrainSettings:         unknown key, wrong type, missing key ──► UsageError
                       batch: int
"""

from __future__ import annotations

import tomllib
import types
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from betwixt.errors import UsageError

T = TypeVar("T")


def parse_table(kind: type[T], table: Mapping[str, Any], where: str) -> T:
    """Convert a table of settings to a dataclass.

    Fields may be `bool`, `int`, `float` (which accepts integers), `str`, `Literal` of strings, tuples of these,
    `| None`, mappings, and dataclasses, whose tables are converted by the same rules.

    Args:
        kind: The dataclass.
        table: As `tomllib` returns it.
        where: The name of the table in messages, e.g. "[train] of rife.toml".

    Raises:
        UsageError: if a key is unknown, a value has the wrong type, or a field without a default is missing.
    """
    hints = get_type_hints(kind)
    known = fields(kind)  # type: ignore[arg-type]
    refuse_unknown_keys(table, [f.name for f in known], where)
    values = {key: _field_value(hints[key], value, key, where) for key, value in table.items()}
    for field in known:
        if field.name not in values and field.default is MISSING and field.default_factory is MISSING:
            raise UsageError(f"{where} lacks the setting '{field.name}'.")
    return kind(**values)


def refuse_unknown_keys(table: Mapping[str, Any], known: Collection[str], where: str) -> None:
    """Raise `UsageError` for the first key of `table` that is not in `known`."""
    for key in table:
        if key not in known:
            names = f": it knows {', '.join(sorted(known))}" if known else ""
            raise UsageError(f"{where} has no setting '{key}'{names}.")


def parse_value(text: str) -> Any:
    """A value as TOML writes it; a list may lack its brackets, and other text is a string.

    Example:
        >>> parse_value("0.5"), parse_value("16,4,1"), parse_value("own")
        (0.5, [16, 4, 1], 'own')
    """
    for candidate in (text, f"[{text}]" if "," in text else text):
        try:
            return tomllib.loads(f"value = {candidate}")["value"]
        except tomllib.TOMLDecodeError:
            continue
    return text.strip()


def _field_value(hint: Any, value: Any, key: str, where: str) -> Any:
    if isinstance(hint, type) and is_dataclass(hint) and isinstance(value, Mapping):
        return parse_table(hint, value, f"'{key}' in {where}")
    try:
        return _convert(hint, value)
    except ValueError:
        raise UsageError(f"'{key}' in {where} has to be {_describe(hint)}, not {value!r}.") from None


def _convert(hint: Any, value: Any) -> Any:
    """The value as the type `hint`; `ValueError` if it does not fit."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        for part in parts:
            with suppress(ValueError):
                return _convert(part, value)
        raise ValueError
    if origin is tuple and isinstance(value, (list, tuple)):
        item_types = [parts[0]] * len(value) if parts[-1] is Ellipsis else parts
        return tuple(_convert(item_type, item) for item_type, item in zip(item_types, value, strict=True))
    if hint is float and type(value) is int:
        return float(value)
    if origin is Literal:
        fits = value in parts and not isinstance(value, bool)
    elif (origin or hint) in (Mapping, dict):
        fits = isinstance(value, Mapping)
    else:
        fits = hint is Any or type(value) is hint
    if not fits:
        raise ValueError
    return value


def _describe(hint: Any) -> str:
    """A type in words, for a message that ends in "has to be ..."."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(_describe(part) for part in parts if part is not type(None))
    if origin is Literal:
        return "one of " + ", ".join(f'"{value}"' for value in parts)
    if origin is tuple:
        count = "" if parts[-1] is Ellipsis else f"{len(parts)} values, each "
        return f"a list of {count}{_describe(parts[0])}"
    names = {bool: "true or false", int: "an integer", float: "a number", str: "a string"}
    return names.get(hint, "a table")

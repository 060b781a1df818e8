"""Settings from TOML tables: a table becomes a dataclass, and what does not fit is refused in one line.

[train]            @dataclass(frozen=True)
batch = 8    ──►   class Train:                 unknown key, wrong type, missing key ──► UsageError
                       batch: int
"""

from __future__ import annotations

import types
from collections.abc import Collection, Mapping
from dataclasses import MISSING, fields
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from betwixt.errors import UsageError

__all__ = ["parse_table", "refuse_unknown_keys"]

T = TypeVar("T")


def parse_table(kind: type[T], table: Mapping[str, Any], where: str) -> T:
    """Make a dataclass of a table of settings.

    Fields may be `bool`, `int`, `float` (which takes whole numbers too), `str`, `Literal` of strings, tuples of these,
    `| None`, mappings, and dataclasses, whose tables are read likewise.

    Args:
        kind: The dataclass.
        table: As `tomllib` gives it.
        where: The table's name for messages, e.g. "[train] of recipes/rife.toml".

    Raises:
        UsageError: if a key is unknown, a value has the wrong type, or a field without a default is missing.
    """
    hints = get_type_hints(kind)
    known = fields(kind)  # type: ignore[arg-type]
    refuse_unknown_keys(table, [f.name for f in known], where)
    values = {key: _value(hints[key], value, key, where) for key, value in table.items()}
    for field in known:
        if field.name not in values and field.default is MISSING and field.default_factory is MISSING:
            raise UsageError(f"{where} lacks the setting '{field.name}'.")
    return kind(**values)


def refuse_unknown_keys(table: Mapping[str, Any], known: Collection[str], where: str) -> None:
    """Raise `UsageError` for the first key of `table` that is not among `known`."""
    for key in table:
        if key not in known:
            names = f": it knows {', '.join(sorted(known))}" if known else ""
            raise UsageError(f"{where} has no setting '{key}'{names}.")


def _value(hint: Any, value: Any, key: str, where: str) -> Any:
    if isinstance(hint, type) and hasattr(hint, "__dataclass_fields__") and isinstance(value, Mapping):
        return parse_table(hint, value, f"'{key}' in {where}")
    fits, result = _fit(hint, value)
    if not fits:
        raise UsageError(f"'{key}' in {where} has to be {_name(hint)}, not {value!r}.")
    return result


def _fit(hint: Any, value: Any) -> tuple[bool, Any]:
    """Whether a value is of a type, and the value in that type."""
    origin = get_origin(hint)
    if hint is Any:
        return True, value
    if origin in (Union, types.UnionType):
        for part in get_args(hint):
            fits, result = (value is None, None) if part is type(None) else _fit(part, value)
            if fits:
                return True, result
        return False, None
    if origin is Literal:
        return value in get_args(hint) and not isinstance(value, bool), value
    if origin is tuple:
        parts = get_args(hint)
        if not isinstance(value, (list, tuple)):
            return False, None
        if parts[-1] is not Ellipsis and len(value) != len(parts):
            return False, None
        kinds = [parts[0]] * len(value) if parts[-1] is Ellipsis else parts
        fitted = [_fit(kind, item) for kind, item in zip(kinds, value, strict=True)]
        return all(fits for fits, _ in fitted), tuple(item for _, item in fitted)
    if hint is float and type(value) is int:
        return True, float(value)
    kind = origin or hint
    if kind in (Mapping, dict):
        return isinstance(value, Mapping), value
    return type(value) is kind, value


def _name(hint: Any) -> str:
    """A type, as the end of "has to be"."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(_name(part) for part in get_args(hint) if part is not type(None))
    if origin is Literal:
        return "one of " + ", ".join(f'"{value}"' for value in get_args(hint))
    if origin is tuple:
        parts = get_args(hint)
        many = "" if parts[-1] is Ellipsis else f"{len(parts)} values, each "
        return f"a list of {many}{_name(parts[0])}"
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
    return names.get(hint, "a table")

"""Configurations: files of options for conversions, and those that come with Betwixt.

A configuration is a TOML file whose keys are the names of options, with - or _ between words:

    fps = 60
    scene-cuts = "off"
    overwrite = true
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from betwixt.errors import InputError, UsageError, did_you_mean
from betwixt.files import read_error
from betwixt.pipeline.options import BLUR, EXTRAPOLATE, INTERPOLATE, KeyValues, OptionSet

_FOLDER = Path(__file__).parent / "configs"

CONFIGS: dict[str, Path] = {path.stem: path for path in sorted(_FOLDER.glob("*.toml"))}
"""The configurations that come with Betwixt, by name."""

_DEPENDENT = {
    "fps": ("factor",),
    "factor": ("fps",),
    "model": ("weights",),
    "codec": ("quality", "bitrate", "preset", "encoder_options", "pixel_format"),
    "quality": ("bitrate",),
    "bitrate": ("quality",),
}
"""Options that exclude or describe another one: if that is given, those of a configuration no longer apply."""


def load_config(config: str | Path, declared: OptionSet) -> dict[str, Any]:
    """Read the options of a configuration.

    Args:
        config: The name of one that comes with Betwixt (`CONFIGS`), or a TOML file.
        declared: The options of the conversion. Those that only other conversions have are left out, so that one file
            can serve all of them.

    Raises:
        UsageError: if there is no such configuration, or it has an unknown option or a value of the wrong kind.
        InputError: if the file cannot be read or is not TOML.
    """
    import tomllib  # late: help only needs the names

    path = CONFIGS.get(str(config), Path(config))
    if not path.exists():
        hint = did_you_mean(str(config), CONFIGS, f"name a TOML file, or one of {', '.join(CONFIGS)}")
        raise UsageError(f"There is no configuration '{config}': {hint}")
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise read_error(path, error) from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path} is not a TOML file: {error}.") from None
    options = {}
    for key, value in table.items():
        name = key.replace("-", "_")
        everywhere = {**INTERPOLATE.options, **BLUR.options, **EXTRAPOLATE.options}
        if name not in everywhere:
            hint = did_you_mean(name, everywhere, "see `betwixt interpolate --help`")
            raise UsageError(f"{path} has an unknown option '{key}': {hint}")
        if name in declared.options:
            options[name] = _check_value(path, key, value, declared.types[name])
    return options


def override(config: Mapping[str, Any], given: Iterable[str]) -> dict[str, Any]:
    """The options of a configuration that still apply beside given ones.

    A given option replaces that of the configuration, and those that depend on it: `fps` also replaces `factor`,
    `model` the `weights`, and `codec` all that describes the encoding.
    """
    replaced = {name for option in given for name in (option, *_DEPENDENT.get(option, ()))}
    return {name: value for name, value in config.items() if name not in replaced}


def _check_value(path: Path, key: str, value: Any, type_: Any) -> Any:
    """A value as conversions take it: numbers and texts as text, as on the command line."""
    if type_ is bool:
        kind, fits = "true or false", isinstance(value, bool)
    elif type_ is int or type_ == int | None:
        kind, fits = "an integer", isinstance(value, int) and not isinstance(value, bool)
    elif type_ == KeyValues:
        kind, fits = "a table", isinstance(value, dict)
    else:
        kind, fits = "a text or a number", isinstance(value, str | int | float) and not isinstance(value, bool)
        value = str(value)
    if not fits:
        raise UsageError(f"{path}: the value of '{key}' is not {kind}.")
    return value

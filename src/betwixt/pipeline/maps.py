"""Writes the maps of a frame (`betwixt.models.maps`) into a folder: numbers, pictures, and what they mean.

FOLDER/flow_t0.npy    the values
FOLDER/flow_t0.png    their picture
FOLDER/maps.json      kind, unit, shape and caption of each map
"""

from __future__ import annotations

import json
import secrets
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from betwixt.errors import OutputError
from betwixt.files import hidden_path, write_error
from betwixt.media.images.convert import image_to_frame
from betwixt.media.images.writer import ImageWriter
from betwixt.models.maps import CAPTIONS, IntermediateMap, Maps
from betwixt.runtime.map_images import describe_range, map_to_image


def check_maps_folder(folder: Path, overwrite: bool) -> None:
    """Refuse a folder that maps cannot be written into.

    Raises:
        OutputError: in one line.
    """
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file: give the name of a folder.")
    if not folder.parent.is_dir():
        raise OutputError(f"The folder {folder.parent} does not exist: make it first.")
    if folder.is_dir() and any(folder.iterdir()) and not overwrite:
        raise OutputError(
            f"The folder {folder} is not empty: choose another, or pass `overwrite=True` to write into it."
        )


def write_maps(maps: Maps, folder: Path, overwrite: bool = False) -> None:
    """Write maps into a folder, all of them or none.

    Args:
        maps: The maps by name.
        folder: The folder, which is made.
        overwrite: Whether files in an existing folder may be replaced; others are kept.

    Raises:
        OutputError: if the folder is not empty, or cannot be written.
    """
    check_maps_folder(folder, overwrite)
    work = hidden_path(folder, f".{secrets.token_hex(4)}.part")
    try:
        work.mkdir()
        for name, map_ in maps.items():
            np.save(work / f"{name}.npy", map_.values)
            with ImageWriter(work / f"{name}.png") as writer:
                writer.write(image_to_frame(map_to_image(map_)))
        listing = {name: _describe(name, map_) for name, map_ in maps.items()}
        (work / "maps.json").write_text(json.dumps(listing, indent=1) + "\n", encoding="utf-8")
        if folder.is_dir():
            for file in sorted(work.iterdir()):
                file.replace(folder / file.name)
        else:
            work.rename(folder)
    except OSError as error:
        raise write_error(error, folder) from None
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _describe(name: str, map_: IntermediateMap) -> dict[str, Any]:
    return {
        "caption": CAPTIONS.get(name, name),
        "kind": map_.kind,
        "unit": map_.describe_unit(),
        "shape": list(map_.values.shape),
        "picture": describe_range(map_),
    }

"""Where a user's weights lie: one folder of safetensors files, each named as its model.

    ~/.local/share/betwixt/weights/ifrnet-s.safetensors           Linux
    ~/Library/Application Support/betwixt/weights/..              macOS
    %LOCALAPPDATA%\\betwixt\\weights\\..                             Windows

The environment's BETWIXT_WEIGHTS names another folder.
"""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path

__all__ = ["RIFE", "SHARED_WEIGHTS", "embedded_file", "find_installed", "weights_folder"]

SHARED_WEIGHTS = {"rife-large": "rife-2r", "apr-static": "apr"}
"""Models that are another one, run otherwise, and so take its weights where they have none of their own."""

RIFE = "rife-4.6.safetensors"
"""Its author's weights of RIFE 4.6, which come with Betwixt: `hybrid` is trained on the motion that these find."""


def weights_folder() -> Path:
    """The user's folder of weights; it may not exist yet."""
    if named := os.environ.get("BETWIXT_WEIGHTS"):
        return Path(named)
    from platformdirs import user_data_path

    return user_data_path("betwixt", appauthor=False) / "weights"


def find_installed(model: str) -> Path | None:
    """The file of a model's weights in the user's folder, or None."""
    for name in (model, SHARED_WEIGHTS.get(model)):
        if name is not None and (path := weights_folder() / f"{name}.safetensors").is_file():
            return path
    return None


def embedded_file(name: str) -> Path:
    """The place of a file of weights that comes with Betwixt."""
    return Path(str(files("betwixt.weights") / "embedded" / name))

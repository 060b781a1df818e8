"""Where weights files are: the user's folder, and the files that come with Betwixt.

    ~/.local/share/betwixt/weights/ifrnet-s.safetensors           Linux
    ~/Library/Application Support/betwixt/weights/..              macOS
    %LOCALAPPDATA%\\betwixt\\weights\\..                             Windows

The environment variable BETWIXT_WEIGHTS names another folder. Each file is named after its model.
"""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path

SHARED_WEIGHTS = {
    "rife-2t": "rife",
    "rife-large": "rife-2r",
    "rife-large-next": "rife-2r-next",
    "apr-static": "apr",
    "compact-psnr": "compact",
    "hybrid-psnr": "hybrid",
    "hybrid-large": "hybrid",
}
"""Models that run another model's network in another way, and use its weights if they have none of their own."""

RIFE = "rife-4.6.safetensors"
"""The authors' weights of RIFE 4.6, which come with Betwixt; `hybrid` was trained on the motion that they estimate."""


def weights_folder() -> Path:
    """The user's folder of weights. It may not exist yet."""
    if path := os.environ.get("BETWIXT_WEIGHTS"):
        return Path(path)
    from platformdirs import user_data_path

    return user_data_path("betwixt", appauthor=False) / "weights"


def find_installed(model: str) -> Path | None:
    """The weights file of a model in the user's folder, or None."""
    for name in (model, SHARED_WEIGHTS.get(model)):
        if name is not None and (path := weights_folder() / f"{name}.safetensors").is_file():
            return path
    return None


def embedded_file(name: str) -> Path:
    """The path of a weights file that comes with Betwixt."""
    return Path(str(files("betwixt.weights") / "embedded" / name))


def embedded_graphs(file: str) -> Path | None:
    """What the paths of the graphs begin with that refer to an embedded weights file; None if it has none.

    The graph of the part `flow` of compact.safetensors is compact.flow.onnx, beside it.
    """
    start = embedded_file(file).with_suffix("")
    return start if any(start.parent.glob(f"{start.name}.*.onnx")) else None

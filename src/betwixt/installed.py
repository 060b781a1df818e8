"""What is installed beside Betwixt, without loading it."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

__all__ = ["installed_torch", "is_installed"]


def installed_torch() -> str:
    """The version of PyTorch, "" where it is not installed."""
    try:
        return version("torch")
    except PackageNotFoundError:
        return ""


def is_installed(package: str) -> bool:
    """Whether a package is there to be imported; a folder of its name alone is none."""
    spec = find_spec(package)
    return spec is not None and spec.origin is not None

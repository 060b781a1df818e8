"""What is known of this machine's devices without loading PyTorch, which takes longer than making ten frames."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = ["cpu_computes_in_bf16", "installed_torch", "is_cpu"]


def installed_torch() -> str:
    """The version of PyTorch, "" where it is not installed."""
    try:
        return version("torch")
    except PackageNotFoundError:
        return ""


def is_cpu(device: str) -> bool:
    """Whether a network that is to run on `device`, "auto" included, runs on the CPU."""
    if device != "auto" or installed_torch().endswith("+cpu"):
        return device in ("auto", "cpu")
    import torch

    return not torch.cuda.is_available()


def cpu_computes_in_bf16() -> bool:
    """Whether bfloat16 is a gain on this CPU: without instructions for it, it is several times slower than float32."""
    information = Path("/proc/cpuinfo")
    if not information.exists():
        return False
    flags = information.read_text(encoding="utf-8", errors="replace")
    return "avx512_bf16" in flags or "amx_bf16" in flags

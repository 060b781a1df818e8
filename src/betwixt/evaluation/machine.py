"""On what machine a figure was measured."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from betwixt.installed import installed_torch

__all__ = ["describe_machine"]


def describe_machine(device: str = "cpu", network: bool = True) -> str:
    """The processor, its cores, the memory, and what ran: one line, without the machine's name.

    Args:
        device: "cpu" or a CUDA device, which is then named too.
        network: Whether a network ran; PyTorch is then named.
    """
    parts = [f"{_processor()}, {os.cpu_count()} cores", _memory()]
    if device.startswith("cuda"):
        import torch

        parts.append(torch.cuda.get_device_name(torch.device(device)))
    if network and (version := installed_torch()):
        parts.append(f"PyTorch {version}")
    parts.append(f"Python {platform.python_version()}")
    parts.append(platform.system())
    return ", ".join(part for part in parts if part)


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return " ".join(line.partition(":")[2].split())
    return platform.processor() or platform.machine()


def _memory() -> str:
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return ""
    return f"{size / (1 << 30):.0f} GB"

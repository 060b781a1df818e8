"""The devices of PyTorch, which is loaded only where that cannot be avoided: loading it takes seconds."""

from __future__ import annotations

import re
import sys
from importlib.util import find_spec
from pathlib import Path


def is_cpu_only() -> bool:
    """Whether PyTorch is not installed, or was built without CUDA, ROCm and MPS, read from its file version.py."""
    spec = find_spec("torch")
    if spec is None:
        return True
    if sys.platform == "darwin":
        return False
    try:
        text = Path(spec.origin or "").with_name("version.py").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False
    return all(re.search(rf"^{kind}\b.*= None$", text, re.MULTILINE) for kind in ("cuda", "hip"))


def missing(device: str) -> str:
    """What is missing for PyTorch, which is installed, to use a device; "" if nothing is."""
    kind, _, number = device.partition(":")
    if kind == "cpu":
        return ""
    import torch

    if kind == "mps":
        return "" if torch.backends.mps.is_available() else "No MPS device is available: choose the device cpu or auto."
    if not torch.cuda.is_available():
        return "No CUDA device is available: choose the device cpu or auto."
    if int(number or 0) >= torch.cuda.device_count():
        return f"There is no {device}: this machine has {torch.cuda.device_count()} CUDA device(s)."
    return ""


def device_name(device: str) -> str:
    """The name of an available device, "" for the CPU."""
    if not device.startswith("cuda"):
        return ""
    import torch

    name: str = torch.cuda.get_device_name(torch.device(device))
    return name


def cpu_computes_in_bf16() -> bool:
    """Whether this CPU has instructions for bfloat16; without them it is several times slower than float32."""
    information = Path("/proc/cpuinfo")
    if not information.exists():
        return False
    flags = information.read_text(encoding="utf-8", errors="replace")
    return "avx512_bf16" in flags or "amx_bf16" in flags

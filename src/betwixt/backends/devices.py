"""What is known of this machine's devices without loading PyTorch, which takes longer than making ten frames."""

from __future__ import annotations

import re
import sys
from importlib.util import find_spec
from pathlib import Path

from betwixt.machine import require_torch

__all__ = ["cpu_computes_in_bf16", "is_cpu"]


def is_cpu(device: str) -> bool:
    """Whether a network that is to run on `device`, "auto" included, runs on the CPU."""
    if device != "auto" or sys.platform == "darwin" or _built_for_cpus():
        return device in ("auto", "cpu")
    require_torch("The choice of a device")
    import torch

    return not torch.cuda.is_available()


def _built_for_cpus() -> bool:
    """Whether PyTorch was built without CUDA and ROCm, as it says in a file of its own."""
    spec = find_spec("torch")
    try:
        text = Path(spec.origin or "").with_name("version.py").read_text(encoding="utf-8") if spec is not None else ""
    except (OSError, ValueError):
        return False
    return all(re.search(rf"^{kind}\b.*= None$", text, re.MULTILINE) for kind in ("cuda", "hip"))


def cpu_computes_in_bf16() -> bool:
    """Whether bfloat16 is a gain on this CPU: without instructions for it, it is several times slower than float32."""
    information = Path("/proc/cpuinfo")
    if not information.exists():
        return False
    flags = information.read_text(encoding="utf-8", errors="replace")
    return "avx512_bf16" in flags or "amx_bf16" in flags

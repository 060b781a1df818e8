"""Devices and precisions: which exist, and which this machine has. PyTorch is loaded only where it is needed."""

from __future__ import annotations

import re
import sys
from importlib.util import find_spec
from pathlib import Path

from betwixt.errors import UsageError
from betwixt.machine import require_torch

PRECISIONS = ("fp32", "bf16", "fp16")
"""The precisions in which every network runs."""


def check_device(device: str) -> None:
    """Refuse a device that does not exist, or that this machine does not have.

    Raises:
        UsageError: in one line.
    """
    kind, _, number = device.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (number and (kind != "cuda" or not number.isdigit())):
        raise UsageError(f"There is no device '{device}': choose auto, cpu, cuda or cuda:1.")
    if kind == "cuda":
        require_torch("The device cuda")
        import torch

        if not torch.cuda.is_available():
            raise UsageError("No CUDA device is available: choose the device cpu or auto.")
        if int(number or 0) >= torch.cuda.device_count():
            raise UsageError(f"There is no {device}: this machine has {torch.cuda.device_count()} CUDA device(s).")


def check_precision(precision: str, *more: str) -> None:
    """Refuse a precision that is neither in `PRECISIONS` nor in `more`.

    Raises:
        UsageError: in one line.
    """
    if precision not in (allowed := (*PRECISIONS, *more)):
        if precision == "int8":
            raise UsageError("Only Betwixt's own networks, such as hybrid, run in int8: choose another precision.")
        raise UsageError(f"There is no precision '{precision}': choose one of {', '.join(allowed)}.")


def is_cpu(device: str) -> bool:
    """Whether a network on `device`, which may be "auto", runs on the CPU."""
    if device != "auto" or sys.platform == "darwin" or _torch_is_cpu_only():
        return device in ("auto", "cpu")
    require_torch("The choice of a device")
    import torch

    return not torch.cuda.is_available()


def _torch_is_cpu_only() -> bool:
    """Whether PyTorch was built without CUDA and ROCm, read from its file version.py: loading PyTorch takes seconds."""
    spec = find_spec("torch")
    try:
        text = Path(spec.origin or "").with_name("version.py").read_text(encoding="utf-8") if spec is not None else ""
    except (OSError, ValueError):
        return False
    return all(re.search(rf"^{kind}\b.*= None$", text, re.MULTILINE) for kind in ("cuda", "hip"))


def cpu_computes_in_bf16() -> bool:
    """Whether this CPU has instructions for bfloat16; without them it is several times slower than float32."""
    information = Path("/proc/cpuinfo")
    if not information.exists():
        return False
    flags = information.read_text(encoding="utf-8", errors="replace")
    return "avx512_bf16" in flags or "amx_bf16" in flags

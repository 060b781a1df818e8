"""`Backend`: the engine, the device and the precision that a network runs with, chosen and checked in one place.

    engine        devices                                              precisions
    openvino      cpu, gpu and npu (Intel's)                           fp32, int8; bf16 on the cpu, fp16 elsewhere
    onnxruntime   cpu, cuda, tensorrt, migraphx, directml, coreml      fp32
    torch         cpu, cuda, mps                                       fp32, bf16, fp16

"auto" stands for the fastest that is available: a CUDA device before Apple's before the CPU; on each device, the first
engine of this table that can run the network. An Intel GPU has to be named: many are slower than the CPU beside them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from betwixt.backends import onnxruntime, openvino, torch_devices
from betwixt.errors import UsageError
from betwixt.machine import require_torch

ENGINES = ("openvino", "onnxruntime", "torch")
"""In the order of preference."""

GRAPH_ENGINES = ENGINES[:2]
"""Those that run graphs."""

PRECISIONS = ("fp32", "bf16", "fp16")
"""The precisions in which every network runs in PyTorch."""

_FOUND_BY_AUTO = ("cuda", "mps", "cpu")

_DEVICES = {
    "openvino": ("cpu", "gpu", "npu"),
    "onnxruntime": tuple(onnxruntime.PROVIDERS),
    "torch": ("cpu", "cuda", "mps"),
}

_NUMBERED = ("cuda", "gpu", "tensorrt")
"""Devices of which a machine may have several: cuda:1."""

_PACKAGES = {
    "openvino": "pip install openvino",
    "onnxruntime": "pip install 'betwixt[onnxruntime]'",
}


@dataclass(frozen=True)
class Backend:
    """Where and how a network runs; `choose_backend` makes one that exists on this machine."""

    engine: str = "torch"  # one of `ENGINES`
    device: str = "cpu"  # e.g. "cpu", "cuda" or "cuda:1"
    precision: str = "fp32"  # "fp32", "bf16", "fp16" or "int8"

    def __str__(self) -> str:
        return f"{self.engine} {self.device} {self.precision}"


@dataclass(frozen=True)
class DeviceStatus:
    """Whether an engine can use a device of this machine."""

    engine: str
    device: str
    available: bool
    note: str  # the device's name, or what is missing


def choose_backend(
    device: str = "auto",
    precision: str = "auto",
    engine: str = "auto",
    *,
    engines: Sequence[str] = ENGINES,
    has_ranges: bool = False,
) -> Backend:
    """The fastest backend of this machine that a user's choice permits.

    Args:
        device: "auto" or a device.
        precision: "auto", "fp32", "bf16", "fp16" or "int8". "auto" is the fastest without a visible loss: in OpenVINO
            int8 or bf16 where the CPU has instructions for them, elsewhere fp32.
        engine: "auto" or an engine.
        engines: Those that can run the network.
        has_ranges: Whether its activation ranges are known, without which it cannot run in int8.

    Raises:
        UsageError: if there is no such backend, in one line.
    """
    check_device(device)
    check_precision(precision, "auto", "int8")
    kinds = (device,) if device != "auto" else _FOUND_BY_AUTO
    for kind in kinds:
        reasons = []
        for each in engines if engine == "auto" else (engine,):
            if each not in engines or _kind(kind) not in _DEVICES[each]:
                continue
            reason = _missing(each, kind) or _refuse_precision(each, kind, precision, has_ranges)
            if not reason:
                return Backend(each, kind, _resolve_precision(each, kind, precision, has_ranges))
            reasons.append(reason)
    raise UsageError(_explain(device, precision, engine, engines, reasons))


def check_device(device: str) -> None:
    """Refuse a device that does not exist.

    Raises:
        UsageError: in one line.
    """
    kind, colon, number = device.partition(":")
    known = dict.fromkeys(kind for devices in _DEVICES.values() for kind in devices)
    if kind not in ("auto", *known) or (colon and (kind not in _NUMBERED or not number.isdigit())):
        raise UsageError(f"There is no device '{device}': choose auto, {', '.join(known)}, or cuda:1.")


def check_torch_device(device: str) -> None:
    """Refuse a device that PyTorch does not have on this machine.

    Raises:
        UsageError: in one line.
    """
    check_device(device)
    if device == "auto":
        return
    if _kind(device) not in _DEVICES["torch"]:
        raise UsageError(f"PyTorch does not run this on the device {device}: choose auto, cpu, cuda or mps.")
    if reason := _missing("torch", device):
        raise UsageError(reason)


def check_precision(precision: str, *more: str) -> None:
    """Refuse a precision that is neither in `PRECISIONS` nor in `more`.

    Raises:
        UsageError: in one line.
    """
    if precision not in (allowed := (*PRECISIONS, *more)):
        if precision == "int8":
            raise UsageError("Only Betwixt's own networks, such as hybrid, run in int8: choose another precision.")
        raise UsageError(f"There is no precision '{precision}': choose one of {', '.join(allowed)}.")


def list_devices() -> list[DeviceStatus]:
    """All devices of all engines: whether this machine has them, and what is missing for the others."""
    found = []
    for engine, kinds in _DEVICES.items():
        for kind in kinds:
            reason = _missing(engine, kind)
            found.append(DeviceStatus(engine, kind, not reason, reason or _name_device(engine, kind)))
    return found


def _kind(device: str) -> str:
    return device.partition(":")[0]


def _missing(engine: str, device: str) -> str:
    """What is missing for an engine to use a device; "" if nothing is."""
    if engine == "torch":
        if device != "cpu" and torch_devices.is_cpu_only():
            kind = _kind(device).upper()
            return f"No {kind} device is available to PyTorch: it is not installed, or it is a build for CPUs alone."
        try:
            require_torch(f"The device {device}" if device != "cpu" else "This")
        except UsageError as error:
            return str(error)
        return torch_devices.missing(device)
    module: Any = openvino if engine == "openvino" else onnxruntime
    if not module.is_available():
        return f"{module.NAME} is not installed: {_PACKAGES[engine]}."
    reason: str = module.missing(device)
    return reason


def _name_device(engine: str, device: str) -> str:
    if engine == "onnxruntime":
        return ""
    return openvino.device_name(device) if engine == "openvino" else torch_devices.device_name(device)


def _refuse_precision(engine: str, device: str, precision: str, has_ranges: bool) -> str:
    """Why an engine does not run a network in a precision on a device; "" if it does."""
    if precision == "int8":
        if engine != "openvino":
            return "Networks run in int8 through OpenVINO: choose another device, precision or runtime."
        if not has_ranges:
            return (
                "The activation ranges of these weights are unknown: measure them with betwixt weights calibrate, or "
                "choose another precision than int8."
            )
        return ""
    if precision == "auto" or precision in _float_precisions(engine, device):
        return ""
    return f"{engine} does not run networks in {precision} on the device {device}: choose another precision."


def _float_precisions(engine: str, device: str) -> tuple[str, ...]:
    if engine == "torch":
        return PRECISIONS
    if engine == "onnxruntime":
        return ("fp32",)
    return ("fp32", "bf16") if device == "cpu" else ("fp32", "fp16")


def _resolve_precision(engine: str, device: str, precision: str, has_ranges: bool) -> str:
    if precision != "auto":
        return precision
    return openvino.fastest_precision(int8=has_ranges) if (engine, device) == ("openvino", "cpu") else "fp32"


def _explain(device: str, precision: str, engine: str, engines: Sequence[str], reasons: Sequence[str]) -> str:
    """Why no backend is left, in one line."""
    if engine != "auto" and engine not in engines:
        return f"This network does not run on '{engine}': choose auto or {' or '.join(engines)}."
    if reasons:
        # The last engine is the one that the most networks and devices run on; int8 is refused by all but the first.
        if precision == "int8" or len(reasons) == 1:
            return reasons[0]
        return next((reason for reason in reasons if "does not load" in reason), reasons[-1])
    return f"Nothing runs this network on the device {device} in {precision}: choose auto for the device and runtime."

"""What this machine has: processor, cores, memory, installed packages, and a folder for caches.

Nothing here loads PyTorch or OpenVINO, except to name a CUDA device or to check that PyTorch loads.
"""

from __future__ import annotations

import contextlib
import os
import platform
import sys
import threading
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from betwixt.errors import UsageError


def available_cores() -> int:
    """The number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


_SCHEDULING = threading.RLock()
_TASKS = Path("/proc/self/task")
"""On Linux, it has a folder for each thread of the process."""


@contextlib.contextmanager
def keep_scheduling() -> Iterator[None]:
    """Restore the scheduling policy of each thread after the block; new threads get that of the calling one.

    SVT-AV1 gives its threads, and the one that opens it, real-time priority where it may, as it does for root. They
    would take the cores from everything else on the machine, and processes that are started later would inherit it.
    """
    with _SCHEDULING:  # another thread must not take for usual what this one is about to undo
        before = _scheduling()
        try:
            yield
        finally:
            for thread, now in _scheduling().items():
                if now != (kept := before.get(thread, before[threading.get_native_id()])):
                    with contextlib.suppress(OSError):  # it has ended meanwhile
                        os.sched_setscheduler(thread, *kept)


def _scheduling() -> dict[int, tuple[int, os.sched_param]]:
    """The policy and the parameters of each thread of this process; empty where the system does not tell."""
    found = {}
    if sys.platform == "linux" and _TASKS.is_dir():  # a chroot may have no /proc
        for thread in map(int, os.listdir(_TASKS)):
            with contextlib.suppress(OSError):
                found[thread] = os.sched_getscheduler(thread), os.sched_getparam(thread)
    return found


def peak_memory() -> int:
    """The process's peak resident memory in bytes; 0 where the system does not report it."""
    # getrusage would also count the process that started this one.
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def total_memory() -> int | None:
    """The machine's memory in bytes; None where the system does not report it."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def cache_folder(part: str) -> Path:
    """The cache folder for one purpose, under BETWIXT_CACHE or the user's cache folder. It may not exist yet."""
    if named := os.environ.get("BETWIXT_CACHE"):
        return Path(named) / part
    from platformdirs import user_cache_path

    return user_cache_path("betwixt", appauthor=False) / part


def is_installed(package: str) -> bool:
    """Whether a package can be imported. A folder that merely has its name does not count."""
    spec = find_spec(package)
    return spec is not None and spec.origin is not None


def torch_version() -> str:
    """The installed version of PyTorch, "" if it is not installed."""
    return _installed_version("torch")


def _installed_version(package: str) -> str:
    """The version of a package, "" if it is not installed."""
    from importlib.metadata import PackageNotFoundError, version  # late: the command line shows its help without it

    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def require_torch(what: str) -> None:
    """Raise `UsageError`, whose text begins with `what`, if PyTorch is not installed or does not load."""
    try:
        import torch  # noqa: F401
    except (ImportError, OSError) as error:
        if torch_version():
            raise UsageError(
                f"{what} needs PyTorch, which is installed but does not load ({error}): repair it, or pass `model=dis`."
            ) from None
        raise UsageError(f"{what} needs PyTorch: pip install 'betwixt[torch]'.") from None


def import_library(module: str, what: str, extra: str, package: str | None = None) -> Any:
    """Import a library that is not always installed with Betwixt.

    Args:
        module: The module.
        what: What needs it; the error message begins with this.
        extra: The optional dependencies of Betwixt that install it, as in `pip install 'betwixt[extra]'`.
        package: The library's name; by default that of the module.

    Raises:
        UsageError: if it is not installed.
    """
    try:
        return import_module(module)
    except ImportError:
        raise UsageError(f"{what} needs {package or module}: pip install 'betwixt[{extra}]'.") from None


def require_matplotlib(what: str) -> None:
    """Raise `UsageError`, whose text begins with `what`, if matplotlib is not installed."""
    import_library("matplotlib", what, "evaluation")


_ENGINE_NAMES = {"openvino": "OpenVINO", "onnxruntime": "ONNX Runtime", "torch": "PyTorch"}
"""The names of packages that run networks."""


def describe_machine(device: str = "cpu", engine: str = "") -> str:
    """The processor, its cores, the memory and the software that ran, in one line without the host name.

    Args:
        device: "cpu" or a CUDA device, which is then named too.
        engine: What ran a network: "openvino", "onnxruntime", "torch"; "" if none ran.
    """
    parts = [f"{_processor()}, {os.cpu_count()} cores", _memory()]
    if device.startswith("cuda"):
        import torch

        parts.append(torch.cuda.get_device_name(torch.device(device)))
    if engine:
        parts.append(f"{_ENGINE_NAMES[engine]} {_installed_version(engine)}")
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
    size = total_memory()
    return "" if size is None else f"{size / (1 << 30):.0f} GB"

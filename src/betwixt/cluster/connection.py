"""The connection to a Ray cluster."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from importlib.util import find_spec
from typing import Self

from betwixt.cluster.worker import IdleWorkers
from betwixt.errors import UsageError
from betwixt.files import error_text
from betwixt.pipeline.director import Director
from betwixt.pipeline.frame_job import FrameJob
from betwixt.pipeline.production import Production

_CONNECT_SECONDS = 8
"""How long a cluster may take to answer. With the look at the port and the start of Python that stays below 15."""

_TRY = "import ray, sys; ray.init(address=sys.argv[1], log_to_driver=False, logging_level='CRITICAL')"


class Cluster:
    """A running Ray cluster, on whose machines conversions make their new frames. Use it as a context manager.

    This machine has to be one of its nodes, if only with ``--num-cpus 0``.

    Args:
        address: The address that ``ray start`` has printed, such as "192.168.1.10:6379"; "auto" for that in the
            environment variable RAY_ADDRESS, or else the cluster that runs on this machine.

    Raises:
        UsageError: if Ray is not installed, or no cluster answers.

    Example:
        >>> with betwixt.Cluster("auto") as cluster:  # doctest: +SKIP
        ...     betwixt.interpolate_video("in.mp4", "out.mp4", fps=60, cluster=cluster)
    """

    def __init__(self, address: str = "auto") -> None:
        if find_spec("ray") is None:
            raise UsageError('`cluster` needs Ray: pip install "betwixt[cluster]"')
        self._idle: IdleWorkers = {}
        self._restore_output = _silence()
        try:
            self._connected = _connect(address)
        except BaseException:
            self._restore_output()
            raise

    def produce(self, job: FrameJob, director: type[Director], resumed: int) -> Production:
        """A production whose new frames the cluster makes; the arguments are those of `Production`."""
        from betwixt.cluster.production import ClusterProduction, SegmentProduction  # late: it loads Ray

        kind = ClusterProduction if job.options["encode"] == "driver" else SegmentProduction
        return kind(job, director, resumed, self._idle)

    def close(self) -> None:
        """Leave the cluster."""
        import ray

        for worker in self._idle.values():
            with contextlib.suppress(ray.exceptions.RayError):  # the cluster may be gone
                ray.kill(worker)
        self._idle.clear()
        if self._connected:
            self._connected = False
            ray.shutdown()
        self._restore_output()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _connect(address: str) -> bool:
    """Connect this process to a cluster, unless it is connected to one already; return whether it was not.

    Raises:
        UsageError: if no cluster answers.
    """
    import ray

    if ray.is_initialized():
        return False
    if "://" in address:
        raise UsageError(
            f"`cluster` cannot be '{address}': give host:port, on a machine that is a node of the cluster."
        )
    if address != "auto":
        _check_port(address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    _check_cluster(address)
    handler = signal.getsignal(signal.SIGTERM)
    ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)  # Ray's would end the process at once
    return True


def _check_cluster(address: str) -> None:
    """Connect from another process, which can be ended: Ray itself waits for minutes, and cannot be interrupted.

    Raises:
        UsageError: if that fails.
    """
    try:
        tried = subprocess.run(
            [sys.executable, "-c", _TRY, address], capture_output=True, text=True, timeout=_CONNECT_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise UsageError(
            f"No Ray cluster answers at {address}: check the address, that this machine is one of its nodes, and its "
            "token if it has one (RAY_AUTH_MODE=token)."
        ) from None
    if not tried.returncode:
        return
    reason = next((line for line in reversed(tried.stderr.splitlines()) if "Error: " in line), "")
    if "Could not find any running Ray instance" in reason:
        raise UsageError("No Ray cluster runs on this machine: start one with ray start --head, or name its address.")
    raise UsageError(f"The Ray cluster at {address} cannot be used: {reason.partition('Error: ')[2] or 'it failed'}")


def _silence() -> Callable[[], None]:
    """Keep Ray from printing the deaths of workers on standard output, which may carry JSON or a video.

    Ray has no public way for it. Where it lacks the private function that is replaced, nothing is, and it prints.

    Returns:
        Undoes it.
    """
    try:
        from ray._private import worker

        original = worker.print_to_stdstream
    except (ImportError, AttributeError):
        return lambda: None
    worker.print_to_stdstream = lambda *_, **__: None
    return lambda: setattr(worker, "print_to_stdstream", original)


def _check_port(address: str) -> None:
    """Check that an address is one, and that something listens there.

    Raises:
        UsageError: if not.
    """
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal():
        raise UsageError(f"`cluster` cannot be '{address}': give auto, or an address such as 192.168.1.10:6379.")
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS / 3).close()
    except (OSError, OverflowError) as error:
        raise UsageError(
            f"Nothing answers at {address} ({error_text(error)}): check the address of the cluster."
        ) from None

"""Gives pieces to workers, and those of a worker that fails to others.

    submit(piece) ──► waiting ──► a worker's queue (two pieces) ──► done: the result stays in Ray's object store
                         ▲                    │
                         └── lost, late, failed: at most `MAX_ATTEMPTS` times

One thread watches the workers: those of nodes that join are added, those that are lost or do not answer are started
again, and nodes whose workers fail again and again are left out, whether they die or only raise errors.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import cv2
import ray
import ray.exceptions
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from betwixt.cluster.pieces import JobDescription, Made, Piece, PieceReport, Readiness, version_conflict, versions
from betwixt.cluster.source import BlockServer
from betwixt.cluster.worker import IdleWorkers, Worker
from betwixt.errors import OutputError, UsageError
from betwixt.files import error_text
from betwixt.pipeline.channel import Stopped
from betwixt.pipeline.production import NodeFigures
from betwixt.units import format_count

QUEUE = 2
"""Pieces that a worker has at a time: one that it makes, and the next."""

MAX_ATTEMPTS = 3
"""How often a piece is tried before the conversion ends."""

MAX_FAILURES = 3
"""How often in a row a worker may fail before its node is left out."""

START_SECONDS = 15.0
"""How many seconds to wait for the answers of all workers; after that, those that have answered begin."""

FIRST_SECONDS = 120.0
"""How many seconds to wait for a worker where none is ready."""

SLOWEST = 8.0
"""How many times longer than expected a piece may take before its worker is given up."""

LEAST_SECONDS = 60.0
"""How many seconds a piece may take in any case."""

UNKNOWN_SECONDS = 900.0
"""How many seconds a piece may take at least while no speed is known."""

SLOWEST_FRAME = 60.0
"""How many seconds a frame of it may take then."""

_TICK = 0.2
"""Seconds between two looks at the workers."""

_NODES_INTERVAL = 2.0
"""Seconds between two looks at the nodes."""

HEAD_SECONDS = 30.0
"""How long the head of the cluster may be silent: less than the minute after which Ray ends this process."""


class Work:
    """A piece that is scheduled.

    Attributes:
        piece: The piece.
        report: The worker's report; None before it is made.
        made: Ray's reference to what is made; None before, and once it is fetched.
        attempts: How often making it has failed.
        failed_on: The ids of the nodes on which it has failed.
        error: Why it cannot be made; None if it can.
        is_done: Set when it is made, or cannot be.
    """

    def __init__(self, piece: Piece) -> None:
        self.piece = piece
        self.report: PieceReport | None = None
        self.made: Any = None
        self.attempts = 0
        self.failed_on: list[str] = []
        self.error: BaseException | None = None
        self.is_done = threading.Event()


@dataclass(frozen=True)
class _Task:
    """A piece in a worker's queue, and Ray's references to its report and to what is made."""

    work: Work
    report: Any
    made: Any


class BlockRequest:
    """Asks a `BlockServer` for blocks."""

    def __init__(self, server: Any) -> None:
        self._server = server

    def __call__(self, block: int) -> Callable[[], bytes]:
        """Ask for a block; the result waits for it."""
        reference = self._server.read.remote(block)
        return lambda: bytes(ray.get(reference))


@dataclass
class _Slot:
    """A place for a worker on a node; a worker that dies is replaced.

    Attributes:
        node: The node's id.
        name: The node's name.
        number: Which of the node's workers it is.
        threads: How many threads it has.
        gpu: Whether it has a GPU of its own.
        state: "starting", "ready", "refused" or "gone".
        handle: Ray's handle of the worker; None once it is handed on.
        answer: Ray's reference to the answer that a starting worker owes.
        queue: Its pieces; it makes the first of them.
        since: When it began with that one, or to start; by `time.monotonic`.
        speed: Frames per second, averaged over the last pieces; None before the first one.
        frames: New frames made.
        pieces: Pieces made.
        seconds: How long it has worked on these.
        failures: Pieces that it has failed to make.
        failures_in_a_row: Failures of the worker since the last piece that it has made.
    """

    node: str
    name: str
    number: int
    threads: int
    gpu: bool
    state: str = "starting"
    handle: Any = None
    answer: Any = None
    queue: deque[_Task] = field(default_factory=deque)
    since: float = 0.0
    speed: float | None = None
    frames: int = 0
    pieces: int = 0
    seconds: float = 0.0
    failures: int = 0
    failures_in_a_row: int = 0

    @property
    def key(self) -> tuple[str, int, int, bool]:
        """As in `IdleWorkers`."""
        return self.node, self.number, self.threads, self.gpu


class Scheduler:
    """The workers of a cluster, and the pieces of one conversion.

    Args:
        description: The conversion.
        describe: Puts a piece in words, for messages.
        idle: Workers of earlier conversions. Those of this one are added at the end.

    Attributes:
        notes: Remarks for the user.

    Raises:
        UsageError: if no worker can take part, or if a node that is there at the beginning is unfit.
    """

    def __init__(self, description: JobDescription, describe: Callable[[Piece], str], idle: IdleWorkers) -> None:
        self.notes: list[str] = []
        self._description, self._describe, self._idle = description, describe, idle
        self._slots: list[_Slot] = []
        self._servers: list[Any] = []
        self._waiting: list[Work] = []
        self._open = 0  # pieces that are submitted and not yet taken
        self._change = threading.Condition()
        self._begun = False
        self._ended: BaseException | None = None  # why no more pieces are made
        self._failure: BaseException | None = None
        self._nodes_seen = 0.0
        self._thread = threading.Thread(target=self._watch, name="betwixt-cluster", daemon=True)
        try:
            self._find_nodes()
            self._await_workers()
        except BaseException:
            self._end_workers()
            raise
        self._begun = True
        self._thread.start()

    # -- what the production calls

    def submit(self, piece: Piece, report: Callable[[], None]) -> Work:
        """Let a worker make a piece; waits while enough pieces are on their way, and calls `report` now and then.

        Raises:
            Stopped: if `stop` was called.
            BetwixtError: if no worker is left.
        """
        work = Work(piece)
        while self._open >= self._limit() and self._ended is None:
            with self._change:
                self._change.wait(_TICK)
            report()
        with self._change:
            if self._ended is not None:
                raise self._ended
            self._open += 1
            self._waiting.append(work)
            self._change.notify_all()
        return work

    def take(self, work: Work) -> tuple[PieceReport, Made]:
        """Wait for a piece, and fetch it.

        Raises:
            Stopped: if `stop` was called.
            BetwixtError: if it cannot be made.
        """
        while True:
            work.is_done.wait()
            if work.error is not None:
                raise work.error
            try:
                made: Made = ray.get(work.made)
            except ray.exceptions.RayError as error:
                # The node that had made it is gone, and with it the result.
                with self._change:
                    work.is_done.clear()
                    work.made = None
                self._retry(work, None, f"its result was lost ({_first_line(error)})")
                continue
            work.made = None
            with self._change:
                self._open -= 1
                self._change.notify_all()
            assert work.report is not None
            return work.report, made

    @property
    def workers(self) -> int:
        """How many workers are ready."""
        return sum(slot.state == "ready" for slot in self._slots)

    @property
    def speed(self) -> float | None:
        """Frames per second of the slowest worker; None if that is not yet known."""
        return min((slot.speed for slot in self._slots if slot.speed and slot.state == "ready"), default=None)

    @property
    def pieces(self) -> int:
        """How many pieces are being made."""
        return sum(len(slot.queue) for slot in self._slots)

    def figures(self) -> tuple[NodeFigures, ...]:
        """What each node has done."""
        nodes: dict[str, list[_Slot]] = {}
        for slot in list(self._slots):
            nodes.setdefault(slot.node, []).append(slot)
        return tuple(
            NodeFigures(
                name=slots[0].name,
                frames=sum(slot.frames for slot in slots),
                pieces=sum(slot.pieces for slot in slots),
                failures=sum(slot.failures for slot in slots),
                new_frames_per_second=sum(slot.frames / slot.seconds for slot in slots if slot.seconds),
            )
            for slots in nodes.values()
            if any(slot.state == "ready" or slot.pieces or slot.failures for slot in slots)
        )

    def stop(self) -> None:
        """Give up; may be called from any thread."""
        self._end(Stopped())

    def close(self) -> None:
        """Leave the workers to the next conversion; end those that are still at work."""
        self.stop()
        if self._thread.ident is not None:
            self._thread.join()
        for slot in self._slots:
            if slot.state == "ready" and not slot.queue:
                self._idle[slot.key] = slot.handle
                slot.handle = None
        self._end_workers()

    # -- nodes and workers

    def _limit(self) -> int:
        return QUEUE * max(1, self.workers) + 2

    def _find_nodes(self) -> None:
        """Start a worker on each node that has none: one for each GPU if the driver's model runs on one, else one."""
        self._nodes_seen = time.monotonic()
        known = {slot.node for slot in self._slots}
        on_gpu = "cuda" in self._description.arithmetic
        for node in ray.nodes():
            resources = node["Resources"]
            cores, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
            if not node["Alive"] or node["NodeID"] in known or cores < 1 or (on_gpu and not gpus):
                continue
            count = gpus if on_gpu and gpus else 1
            name = f"{node['NodeManagerHostname']} ({node['NodeID'][:6]})"
            slots = [_Slot(node["NodeID"], name, n, max(1, cores // count), on_gpu) for n in range(count)]
            self._end_other_idle(node["NodeID"], slots)
            for slot in slots:
                self._slots.append(slot)
                self._start(slot)

    def _end_other_idle(self, node: str, slots: list[_Slot]) -> None:
        """End the idle workers of a node that are not those to be used: they hold CPUs that these need."""
        wanted = {slot.key for slot in slots}
        for key in [key for key in self._idle if key[0] == node and key not in wanted]:
            ray.kill(self._idle.pop(key))

    def _start(self, slot: _Slot) -> None:
        options = {
            "num_cpus": slot.threads,
            "num_gpus": 1 if slot.gpu else 0,
            "scheduling_strategy": NodeAffinitySchedulingStrategy(slot.node, soft=False),
        }
        slot.state, slot.since = "starting", time.monotonic()
        slot.handle = self._idle.pop(slot.key, None)
        if slot.handle is None:
            slot.handle = ray.remote(Worker).options(**options).remote(slot.threads, "cuda" if slot.gpu else None)
        slot.answer = slot.handle.greet.remote()

    def _await_workers(self) -> None:
        """Wait until all workers of the first nodes have answered, or the first few of many."""
        if not self._slots:
            what = "GPU" if "cuda" in self._description.arithmetic else "CPU"
            raise UsageError(f"No node of the cluster offers a {what}: start nodes with ray start.")
        began = time.monotonic()
        while True:
            self._read_answers(0.1)
            if self._failure is not None:
                raise self._failure
            starting = sum(slot.state == "starting" for slot in self._slots)
            elapsed = time.monotonic() - began
            if self.workers and (not starting or elapsed > START_SECONDS):
                return
            if not starting:
                raise UsageError(f"No node of the cluster can take part: {' '.join(self.notes) or 'all are gone.'}")
            if elapsed > FIRST_SECONDS:
                raise UsageError(
                    "No worker of the cluster has started: its CPUs are in use by other programs (ray status)."
                )

    def _read_answers(self, wait: float) -> None:
        """Take the answers of workers that are starting; wait for up to `wait` seconds."""
        starting = [slot for slot in self._slots if slot.state == "starting"]
        if not starting:
            return
        ready, _ = ray.wait([slot.answer for slot in starting], num_returns=len(starting), timeout=wait)
        for slot in starting:
            if slot.answer in ready:
                try:
                    self._advance(slot, ray.get(slot.answer))
                except ray.exceptions.RayError as error:
                    self._lose_starting(slot, error)

    def _advance(self, slot: _Slot, answer: Any) -> None:
        """Go on with a worker that has answered."""
        if isinstance(answer, Readiness):
            if answer.error:
                self._refuse(slot, f"Node {slot.name} {answer.error}")
            elif answer.sees_source:
                slot.state, slot.since = "ready", time.monotonic()
                with self._change:
                    self._change.notify_all()
            elif self._description.source.size is None:
                self._refuse(
                    slot,
                    f"Node {slot.name} does not see {self._description.source.path}: images have to lie on storage "
                    "that all nodes share",
                )
            else:
                slot.answer = slot.handle.prepare.remote(self._description, self._request_blocks())
            return
        own = versions()
        if (name := version_conflict(own, answer)) is not None:
            self._refuse(
                slot, f"Node {slot.name} has {name} {answer[name]}, this machine {own[name]}: install the same versions"
            )
            return
        if answer["instructions"] != cv2.getCPUFeaturesLine():
            self._note(
                f"The CPU of node {slot.name} has other instruction sets: its frames may differ in the last bit."
            )
        slot.answer = slot.handle.prepare.remote(self._description)

    def _request_blocks(self) -> Callable[[int], Callable[[], bytes]]:
        """The function by which a worker asks for blocks of the source; starts the server when first called."""
        if not self._servers:
            here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
            options = {"num_cpus": 0, "scheduling_strategy": here, "max_concurrency": 8, "max_restarts": -1}
            path = os.path.realpath(self._description.source.path)
            server = ray.remote(BlockServer).options(**options).remote(path)
            self._servers.append(server)
        return BlockRequest(self._servers[0])

    def _lose_starting(self, slot: _Slot, error: BaseException) -> None:
        """Start a worker again that has died before it was ready, or leave its node out."""
        if "No module named" in str(error):
            missing = str(error).split("No module named")[1].split("'")[1]
            self._refuse(slot, f"Node {slot.name} has no {missing}: install Betwixt with its extra cluster there")
            return
        slot.failures_in_a_row += 1
        if slot.failures_in_a_row >= MAX_FAILURES or not self._is_alive(slot):
            self._leave_out(slot, f"its worker does not start ({_first_line(error)})")
        else:
            self._start(slot)

    def _refuse(self, slot: _Slot, reason: str) -> None:
        """End a worker that would make other frames, or none: at the beginning that is an error, later a note."""
        slot.state = "refused"
        ray.kill(slot.handle)
        if self._begun:
            self._note(f"{reason}. It was not used.")
        else:
            self._failure = self._failure or UsageError(f"{reason}.")

    def _leave_out(self, slot: _Slot, reason: str) -> None:
        slot.state = "gone"
        self._note(f"Node {slot.name} was left out: {reason}.")

    def _note(self, note: str) -> None:
        """Keep a remark, once however many workers of a node it is about, and however often they start."""
        if note not in self.notes:
            self.notes.append(note)

    def _leave_out_failing(self, slot: _Slot, reason: str) -> None:
        times = format_count(slot.failures_in_a_row, "time")
        self._leave_out(slot, f"its worker failed {times} in a row, the last time: {reason}")

    def _is_alive(self, slot: _Slot) -> bool:
        return any(node["NodeID"] == slot.node and node["Alive"] for node in ray.nodes())

    def _end_workers(self) -> None:
        for handle in filter(None, [slot.handle for slot in self._slots] + self._servers):
            with contextlib.suppress(Exception):
                ray.kill(handle)

    # -- pieces

    def _watch(self) -> None:
        """Run until `stop`."""
        self._nodes_seen = time.monotonic()
        try:
            while self._ended is None:
                if time.monotonic() - self._nodes_seen > _NODES_INTERVAL and self._head_answers():
                    self._find_nodes()
                    self._drop_dead_nodes()
                self._read_answers(0.0)
                self._assign()
                self._collect()
                self._give_up_late()
                self._check_workers()
        except ray.exceptions.RayError as error:
            self._end(OutputError(f"The cluster is gone: {_first_line(error)}."))
        except BaseException as error:
            self._end(error)

    def _head_answers(self) -> bool:
        """Whether the head of the cluster can be asked for its nodes. Where it is gone, Ray's calls wait for a minute.

        Raises:
            OutputError: if it could not be asked for `HEAD_SECONDS`.
        """
        address = ray.get_runtime_context().gcs_address
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=1).close()
        except OSError as error:
            if time.monotonic() - self._nodes_seen > HEAD_SECONDS:
                raise OutputError(
                    f"The cluster is gone: its head does not answer any more at {address} ({error_text(error)})."
                ) from None
            return False
        return True

    def _check_workers(self) -> None:
        """Raise an error if no worker is ready and none has been starting for a short time only."""
        recent = time.monotonic() - FIRST_SECONDS
        if any(slot.state == "ready" or (slot.state == "starting" and slot.since > recent) for slot in self._slots):
            return
        reason = " ".join(self.notes) or f"none has started within {FIRST_SECONDS:.0f} s."
        raise OutputError(f"No worker of the cluster is left: {reason}")

    def _end(self, error: BaseException) -> None:
        """Stop, and raise this error in all calls of `submit` and `take`."""
        with self._change:
            if self._ended is not None:
                return
            self._ended = error
            for work in [*self._waiting, *(task.work for slot in self._slots for task in slot.queue)]:
                work.error = error
                work.is_done.set()
            self._waiting.clear()
            self._change.notify_all()

    def _assign(self) -> None:
        """Fill the queues of the workers, the earliest pieces first."""
        with self._change:
            self._waiting.sort(key=lambda work: work.piece.number)
            ready = [slot for slot in self._slots if slot.state == "ready"]
            for work in list(self._waiting):
                free = [slot for slot in ready if len(slot.queue) < QUEUE]
                # A node on which it has failed gets it again only if there is no other.
                others = [slot for slot in ready if slot.node not in work.failed_on]
                free = [slot for slot in free if slot in others] if others else free
                if not free:
                    continue
                slot = min(free, key=lambda slot: len(slot.queue))
                if not slot.queue:
                    slot.since = time.monotonic()
                task = _Task(work, *slot.handle.make.options(num_returns=2).remote(work.piece))
                self._waiting.remove(work)
                slot.queue.append(task)

    def _collect(self) -> None:
        """Wait a moment for pieces, and take note of those that are done."""
        with self._change:
            running = [task.report for slot in self._slots for task in slot.queue]
            if not running:
                self._change.wait(_TICK)
                return
        ready, _ = ray.wait(running, num_returns=len(running), timeout=_TICK, fetch_local=False)
        if not ready:
            return
        done = set(ready)
        for slot in self._slots:
            while slot.queue and slot.queue[0].report in done:
                task = slot.queue[0]
                try:
                    task.work.report = ray.get(task.report)
                except ray.exceptions.RayTaskError as error:
                    with self._change:
                        slot.queue.popleft()
                    slot.since = time.monotonic()
                    self._fail(slot, task.work, _first_line(error.cause or error))
                except ray.exceptions.RayError as error:
                    self._lose(slot, f"its worker ended ({_first_line(error)})")
                    break
                else:
                    with self._change:
                        slot.queue.popleft()
                    self._finish(slot, task)

    def _finish(self, slot: _Slot, task: _Task) -> None:
        now = time.monotonic()
        frames, seconds = len(task.work.piece.indices), max(1e-3, now - slot.since)
        slot.since, slot.failures_in_a_row = now, 0
        slot.frames += task.work.piece.new
        slot.pieces, slot.seconds = slot.pieces + 1, slot.seconds + seconds
        speed = frames / seconds
        slot.speed = speed if slot.speed is None else 0.5 * (slot.speed + speed)
        # It stays in the object store of its node until it is fetched.
        task.work.made = task.made
        task.work.is_done.set()

    def _fail(self, slot: _Slot, work: Work, reason: str) -> None:
        """Take note of a piece that a worker could not make, though the worker is still there."""
        slot.failures += 1
        slot.failures_in_a_row += 1
        self._retry(work, slot, reason)
        # The last worker is kept: if it makes no piece, the first of them ends the conversion and says why.
        if slot.failures_in_a_row >= MAX_FAILURES and self.workers > 1:
            ray.kill(slot.handle)
            self._put_back(self._empty_queue(slot))
            self._leave_out_failing(slot, reason)

    def _retry(self, work: Work, slot: _Slot | None, reason: str) -> None:
        """Put a piece back, or end the conversion with it."""
        work.attempts += 1
        if slot is not None:
            work.failed_on.append(slot.node)
        if work.attempts >= MAX_ATTEMPTS:
            where = "" if slot is None else f", the last time on {slot.name}"
            work.error = OutputError(
                f"{self._describe(work.piece)} failed {format_count(work.attempts, 'time')}{where}: {reason}."
            )
            work.is_done.set()
            return
        self._put_back([work])

    def _put_back(self, works: list[Work]) -> None:
        """Let any worker make these pieces; if the conversion has ended meanwhile, they end with it."""
        with self._change:
            if self._ended is None:
                self._waiting += works
            else:
                for work in works:
                    work.error = self._ended
                    work.is_done.set()
            self._change.notify_all()

    def _lose(self, slot: _Slot, reason: str) -> None:
        """Return the pieces of a worker that is gone to the queue, and start it again if its node is there."""
        works = self._empty_queue(slot)
        slot.failures_in_a_row += 1
        if works:
            slot.failures += 1
            self._retry(works[0], slot, reason)
        self._put_back(works[1:])
        if not self._is_alive(slot):
            self._leave_out(slot, "it is gone")
        elif slot.failures_in_a_row >= MAX_FAILURES:
            self._leave_out_failing(slot, reason)
        else:
            self._start(slot)

    def _empty_queue(self, slot: _Slot) -> list[Work]:
        with self._change:
            works = [task.work for task in slot.queue]
            slot.queue.clear()
        return works

    def _drop_dead_nodes(self) -> None:
        alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
        for slot in self._slots:
            if slot.node not in alive and slot.state in ("starting", "ready"):
                self._lose(slot, "its node is gone")

    def _give_up_late(self) -> None:
        """Stop workers that take many times longer than expected."""
        known = self.speed
        for slot in self._slots:
            if slot.state != "ready" or not slot.queue:
                continue
            frames = len(slot.queue[0].work.piece.indices)
            speed = slot.speed or known
            limit = max(UNKNOWN_SECONDS, SLOWEST_FRAME * frames)
            if speed is not None:
                limit = max(LEAST_SECONDS, SLOWEST * frames / speed)
            if time.monotonic() - slot.since > limit:
                ray.kill(slot.handle)
                self._lose(slot, f"no answer within {limit:.0f} s")


def _first_line(error: BaseException) -> str:
    """What an error says, in one line without a full stop."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__

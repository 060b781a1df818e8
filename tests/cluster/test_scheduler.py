"""The scheduler, with a stub in the place of Ray: workers that fail, nodes that go, a cluster that ends."""

import re
import socket
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import pytest

import betwixt
from betwixt.cluster.pieces import Piece, PieceReport, Readiness, versions
from betwixt.errors import OutputError, UsageError
from betwixt.pipeline.channel import Stopped
from clips import make_clip

ray = pytest.importorskip("ray", reason="Ray is not installed (the extra cluster)")

from betwixt.cluster import scheduler as module  # noqa: E402
from betwixt.cluster.production import ClusterProduction  # noqa: E402
from betwixt.cluster.scheduler import MAX_ATTEMPTS, MAX_FAILURES, Scheduler, Work  # noqa: E402

UNKNOWN = object()


class Reference:
    """Ray's reference to a value, or to an error that is raised; `UNKNOWN` as long as there is none."""

    def __init__(self, value: Any = UNKNOWN) -> None:
        self.value = value


class StubRay:
    """Ray with one worker on each node, whose answers a test decides.

    Attributes:
        resources: What the nodes offer that are alive; their names are hexadecimal digits.
        head: A socket of the head, which listens.
        workers: The nodes and the threads of the workers that were started.
        killed: The workers that were ended.
    """

    exceptions = ray.exceptions

    def __init__(self) -> None:
        self.resources = {"a": {"CPU": 1.0}}
        self.head = socket.create_server(("127.0.0.1", 0))
        self.address = self.head.getsockname()
        self.workers: list[tuple[str, int]] = []
        self.killed: list[Any] = []

    def greet(self, node: str) -> Any:
        return versions() | {"instructions": module.cv2.getCPUFeaturesLine()}

    def prepare(self, node: str, *_: Any) -> Any:
        return Readiness(True)

    def make(self, node: str, piece: Any) -> Any:
        return UNKNOWN

    def nodes(self) -> list[dict[str, Any]]:
        return [
            {"NodeID": 56 * name, "NodeManagerHostname": name, "Alive": True, "Resources": resources}
            for name, resources in self.resources.items()
        ]

    def get_runtime_context(self) -> Any:
        host, port = self.address
        return SimpleNamespace(gcs_address=f"{host}:{port}", get_node_id=lambda: 56 * "a")

    def remote(self, kind: type) -> Any:
        return SimpleNamespace(options=lambda **options: SimpleNamespace(remote=lambda *a: self._start(options, *a)))

    def _start(self, options: dict[str, Any], threads: Any, *_: Any) -> Any:
        node = options["scheduling_strategy"].node_id[0]
        self.workers.append((node, threads))
        return SimpleNamespace(
            node=node,
            greet=SimpleNamespace(remote=lambda: Reference(self.greet(node))),
            prepare=SimpleNamespace(remote=lambda *a: Reference(self.prepare(node, *a))),
            make=SimpleNamespace(options=lambda **_: SimpleNamespace(remote=lambda piece: self._make(node, piece))),
        )

    def _make(self, node: str, piece: Any) -> tuple[Reference, Reference]:
        return Reference(self.make(node, piece)), Reference([])

    def wait(self, references: list[Reference], **_: Any) -> tuple[list[Reference], list[Reference]]:
        time.sleep(0.002)
        return [reference for reference in references if reference.value is not UNKNOWN], []

    def get(self, reference: Reference) -> Any:
        if isinstance(reference.value, Exception):
            raise reference.value
        return reference.value

    def kill(self, handle: Any) -> None:
        self.killed.append(handle)


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[StubRay]:
    replacement = StubRay()
    monkeypatch.setattr(module, "ray", replacement)
    monkeypatch.setattr(module, "_TICK", 0.01)
    monkeypatch.setattr(module, "_NODES_INTERVAL", 0.0)
    with replacement.head:
        yield replacement


@pytest.fixture
def by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no thread watch the workers: a test does."""
    monkeypatch.setattr(Scheduler, "_watch", lambda _: None)


def start(
    describe: Callable[[Piece], str] = lambda piece: f"Piece {piece.number}",
    arithmetic: str = "on a CPU",
    size: int | None = 1000,
) -> Scheduler:
    description: Any = SimpleNamespace(source=SimpleNamespace(path="/film.mkv", size=size), arithmetic=arithmetic)
    return Scheduler(description, describe, {})


def submit(scheduler: Scheduler, count: int) -> list[Work]:
    pieces = [Piece(number, range(8), 8, [], Fraction(0), None) for number in range(count)]
    return [scheduler.submit(piece, lambda: None) for piece in pieces]


def test_a_conversion_whose_workers_are_gone_while_no_piece_is_made_ends(stub, tmp_path):
    def produce(*arguments: Any) -> ClusterProduction:
        production = ClusterProduction(*arguments, {})
        stub.resources.clear()
        production._scheduler._thread.join()
        return production

    source = make_clip(tmp_path / "in.mkv")
    reason = r"^No worker of the cluster is left: Node a \(a{6}\) was left out: it is gone\.$"
    with pytest.raises(OutputError, match=reason):
        betwixt.interpolate_video(source, tmp_path / "out.mkv", model="dis", cluster=SimpleNamespace(produce=produce))
    assert [path.name for path in tmp_path.iterdir()] == ["in.mkv"]


def test_pieces_of_a_worker_that_is_lost_as_the_conversion_is_stopped_end_with_it(stub, by_hand):
    stub.make = lambda *_: ray.exceptions.WorkerCrashedError()
    scheduler = start(lambda _: scheduler.stop() or "The piece")  # Ctrl-C comes as the first piece is given up
    first, second = submit(scheduler, 2)
    first.attempts = MAX_ATTEMPTS - 1
    scheduler._assign()
    scheduler._collect()
    assert second.is_done.is_set()
    with pytest.raises(Stopped):
        scheduler.take(second)
    with pytest.raises(OutputError, match="The piece failed 3 times"):
        scheduler.take(first)


def test_a_piece_that_cannot_be_handed_to_a_worker_ends_the_conversion(stub):
    def fail(*_: Any) -> None:
        raise OSError("No space left on device")

    stub.make = fail
    scheduler = start()
    (work,) = submit(scheduler, 1)
    assert work.is_done.wait(10)
    with pytest.raises(OSError, match="No space left"):
        scheduler.take(work)
    scheduler.close()


def raised(error: Exception) -> Exception:
    """An error of a worker's method, as Ray passes it on."""
    return ray.exceptions.RayTaskError("make", "", error, proctitle="worker", ip="127.0.0.1")


@pytest.mark.parametrize(
    ("error", "reason", "started"),
    [
        (raised(MemoryError("Unable to allocate 9 GiB")), "Unable to allocate 9 GiB", 1),
        (raised(OSError(28, "No space left on device")), r"\[Errno 28\] No space left on device", 1),
        (
            ray.exceptions.OutOfMemoryError("The node ran low on memory.\nIts worker used 7 GB."),
            r"its worker ended \(The node ran low on memory\)",
            MAX_FAILURES,
        ),
    ],
)
def test_a_node_on_which_every_piece_fails_is_left_out(stub, error, reason, started):
    stub.resources["b"] = {"CPU": 1.0}
    stub.make = lambda node, _: error if node == "a" else PieceReport([])
    scheduler = start()
    for _ in range(4):
        for work in submit(scheduler, 3):
            scheduler.take(work)
    assert [(node.name[0], node.pieces, node.failures) for node in scheduler.figures()] == [
        ("a", 0, MAX_FAILURES),
        ("b", 12, 0),
    ]
    (note,) = scheduler.notes
    assert re.fullmatch(rf"Node a .* was left out: its worker failed 3 times in a row, the last time: {reason}\.", note)
    assert [node for node, _ in stub.workers].count("a") == started
    scheduler.close()


def test_pieces_that_the_last_worker_cannot_make_end_the_conversion_and_say_why(stub):
    stub.make = lambda *_: raised(MemoryError("Unable to allocate 9 GiB"))
    scheduler = start()
    first, *_ = submit(scheduler, 3)
    with pytest.raises(OutputError, match=r"Piece 0 failed 3 times, the last time on a .*: Unable to allocate 9 GiB\."):
        scheduler.take(first)
    scheduler.close()


def test_a_remark_on_a_node_is_made_once_however_often_its_workers_start(stub):
    stub.resources["b"] = {"CPU": 1.0}
    stub.greet = lambda node: versions() | {"instructions": "those of a CPU of its own"}
    stub.make = lambda node, _: ray.exceptions.WorkerCrashedError() if node == "a" else PieceReport([])
    scheduler = start()
    for _ in range(4):
        for work in submit(scheduler, 3):
            scheduler.take(work)
    assert [node for node, _ in stub.workers].count("a") == MAX_FAILURES
    first, second, left_out = scheduler.notes
    assert all("has other instruction sets" in note for note in (first, second))
    assert left_out.startswith("Node a (aaaaaa) was left out: its worker failed 3 times in a row")
    assert left_out.endswith(".")
    scheduler.close()


@pytest.mark.parametrize(
    ("arithmetic", "workers"),
    [("torch cuda float16", [("a", 4), ("a", 4), ("b", 6)]), ("torch cpu float32", [("a", 8), ("b", 6), ("c", 3)])],
)
def test_each_gpu_has_a_worker_with_its_share_of_the_cpus(stub, arithmetic, workers):
    stub.resources = {
        "a": {"CPU": 8.0, "GPU": 2.0},
        "b": {"CPU": 6.0, "GPU": 1.0},
        "c": {"CPU": 3.0},
        "d": {"CPU": 0.0},
    }
    scheduler = start(arithmetic=arithmetic)
    assert stub.workers == workers
    scheduler.close()


def test_a_conversion_whose_cluster_is_gone_ends(stub, monkeypatch):
    scheduler = start()
    (work,) = submit(scheduler, 1)
    stub.head.close()
    time.sleep(0.05)
    assert not work.is_done.is_set()  # it may come back
    monkeypatch.setattr(module, "HEAD_SECONDS", 0.05)
    with pytest.raises(
        OutputError, match=r"^The cluster is gone: its head does not answer any more at 127\.0\.0\.1:\d+ \("
    ) as e:
        scheduler.take(work)
    assert "\n" not in str(e.value)
    scheduler.close()


def test_an_error_of_ray_is_one_line(stub):
    def fail() -> Any:
        raise ray.exceptions.RpcError("failed to connect to all addresses.\nLast error: UNAVAILABLE")

    scheduler = start()
    (work,) = submit(scheduler, 1)
    stub.nodes = fail
    with pytest.raises(OutputError, match=r"^The cluster is gone: failed to connect to all addresses\.$"):
        scheduler.take(work)
    scheduler.close()


NO_MODULE = """\
Traceback (most recent call last):
RuntimeError: The actor with name Worker failed to import on the worker. This may be because needed library \
dependencies are not installed in the worker environment:

Traceback (most recent call last):
ModuleNotFoundError: No module named 'betwixt'"""
"""What Ray 2.60 passes on where a class cannot be imported."""


def test_a_node_without_betwixt_is_named(stub):
    error = ray.exceptions.RayTaskError("Worker.__init__", NO_MODULE, RuntimeError(), "worker", 1, "127.0.0.1")
    stub.greet = lambda _: ray.exceptions.ActorDiedError(error)
    with pytest.raises(
        UsageError, match=r"^Node a \(a{6}\) has no betwixt: install Betwixt with its extra cluster there\.$"
    ):
        start()


def test_images_that_a_node_does_not_see_are_refused_and_a_file_is_sent(stub):
    conversions: list[int] = []
    stub.prepare = lambda node, *a: conversions.append(len(a)) or Readiness(sees_source=len(a) > 1)
    start().close()
    assert conversions == [1, 2]  # the second time with the function that asks for blocks
    with pytest.raises(UsageError, match=r"^Node a \(a{6}\) does not see /film\.mkv: images have to lie on storage"):
        start(size=None)

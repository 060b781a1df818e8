"""Clusters that do not answer, and workers that do not start, are reported in one line."""

import socket
import sys
import time

import pytest

from betwixt.cli.main import run
from betwixt.cluster import connection
from betwixt.cluster.connection import Cluster
from betwixt.errors import OutputError, UsageError
from clips import make_clip


@pytest.fixture(autouse=True)
def _unconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray", reason="Ray is not installed (the extra cluster)")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)


@pytest.mark.parametrize("address", ["here", "ray://localhost:10001", "localhost:no"])
def test_what_is_no_address_is_refused(address):
    with pytest.raises(UsageError, match="`cluster` cannot be"):
        Cluster(address)


def test_an_address_at_which_nothing_answers_is_refused(tmp_path, capsys, monkeypatch):
    source = make_clip(tmp_path / "in.mkv")
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setattr(connection, "_CONNECT_SECONDS", 1)
        began = time.monotonic()
        with pytest.raises(UsageError, match="No Ray cluster answers at"):
            Cluster(address)
        assert time.monotonic() - began < 8  # Ray itself would wait for minutes
    assert run(["interpolate", str(source), str(tmp_path / "out.mkv"), "--cluster", address]) == 2
    error = capsys.readouterr().err
    assert f"Nothing answers at {address}" in error
    assert error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["in.mkv"]


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setattr(connection, "find_spec", lambda _: None)
    with pytest.raises(UsageError, match=r"betwixt\[cluster\]"):
        Cluster()


def test_what_ray_prints_is_restored_and_a_ray_without_that_function_is_left_alone(monkeypatch):
    from ray._private import worker

    original = worker.print_to_stdstream
    restore = connection._silence()
    assert worker.print_to_stdstream is not original
    restore()
    assert worker.print_to_stdstream is original
    with pytest.raises(UsageError):
        Cluster("here")
    assert worker.print_to_stdstream is original
    monkeypatch.delattr(worker, "print_to_stdstream")
    connection._silence()()
    assert not hasattr(worker, "print_to_stdstream")


def test_workers_that_do_not_start_are_not_waited_for_without_end():
    from betwixt.cluster.scheduler import FIRST_SECONDS, Scheduler, _Slot

    scheduler = Scheduler.__new__(Scheduler)
    scheduler.notes = []
    starting = _Slot("id", "name", 0, 1, False, since=time.monotonic())
    scheduler._slots = [starting]
    scheduler._check_workers()
    starting.since -= FIRST_SECONDS
    with pytest.raises(OutputError, match=r"No worker of the cluster is left: none has started within 120 s\."):
        scheduler._check_workers()
    scheduler._slots.append(_Slot("id", "name", 1, 1, False, state="ready"))
    scheduler._check_workers()

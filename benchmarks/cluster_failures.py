"""Spreads a conversion over a Ray cluster again and again, breaks something each time, and compares the output.

    python benchmarks/cluster_failures.py --runs 20 --seed 0
    python benchmarks/cluster_failures.py --runs 20 --encode distributed
    python benchmarks/cluster_failures.py --runs 2 --nodes 3 --apart

Each run starts `betwixt interpolate --cluster`, and at a random moment kills a worker, a node or the command itself
(which is then started again), with SIGKILL. The decoded frames and their times must be those of a conversion on one
machine. With `--apart` the nodes are as machines that share only a network: each but the first has a network namespace
with an address of its own, and its own /tmp and /dev/shm, so that it does not see the input, which is sent to it (this
takes root).

It needs Linux, the extra `cluster`, and no other Ray cluster on this machine.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np

from betwixt.cluster.source import frame_digest

PORT = 6411
RAY = [str(Path(sys.executable).with_name("ray")), "start", "--block", "--disable-usage-stats"]


def make_film(path: Path, seconds: int) -> None:
    """Write a film of shots of a moving pattern, with sound."""
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=24, options={"g": "48", "bf": "2"})
        video.width, video.height, video.pix_fmt = 320, 192, "yuv420p"
        shot = rng.integers(0, 255, (192 // 8, 640 // 8, 3), np.uint8)
        for number in range(24 * seconds):
            if number % 61 == 60:
                shot = rng.integers(0, 255, shot.shape, np.uint8)
            image = np.roll(shot.repeat(8, 0).repeat(8, 1), 3 * (number % 61), axis=1)[:, :320]
            out.mux(video.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(image), "rgb24")))
        out.mux(video.encode(None))


def content(path: Path) -> list[tuple[int | None, int]]:
    """The time and the samples of each frame, the latter as a checksum."""
    with av.open(str(path)) as container:
        return [(frame.pts, frame_digest(frame)) for frame in container.decode(video=0)]


class Network:
    """A bridge on this machine, and network namespaces that are joined to it."""

    NAME = "betwixt"
    ADDRESS = "10.77.0.1"

    def __init__(self) -> None:
        self._names: list[str] = []
        _ip(f"link add {self.NAME} type bridge")
        _ip(f"addr add {self.ADDRESS}/24 dev {self.NAME}")
        _ip(f"link set {self.NAME} up")

    def add(self) -> tuple[str, str]:
        """Make another namespace; return its name and its address."""
        name, address = f"{self.NAME}{len(self._names)}", f"10.77.0.{2 + len(self._names)}"
        _ip(f"netns add {name}")
        self._names.append(name)
        _ip(f"link add {name} type veth peer name inside netns {name}")
        _ip(f"link set {name} master {self.NAME} up")
        for command in (f"addr add {address}/24 dev inside", "link set inside up", "link set lo up"):
            _ip(f"-n {name} {command}")
        return name, address

    def close(self) -> None:
        """Remove all of it."""
        for name in self._names:
            _ip(f"netns del {name}")
        _ip(f"link del {self.NAME}")


def _ip(arguments: str) -> None:
    subprocess.run(["ip", *arguments.split()], check=True)


class Nodes:
    """The nodes of a cluster, each a process group of its own.

    Args:
        apart: Whether all nodes but the first share only a network with it.

    Attributes:
        address: That of the cluster.
    """

    def __init__(self, apart: bool = False) -> None:
        self._network = Network() if apart else None
        host = "127.0.0.1" if self._network is None else self._network.ADDRESS
        self.address = f"{host}:{PORT}"
        self._running: list[subprocess.Popen[bytes]] = []
        head = ["--head", f"--port={PORT}", "--include-dashboard=false", "--num-cpus=1"]
        self.head = self._start([*head, f"--node-ip-address={host}"])
        self.wait(1)

    def add(self) -> None:
        """Start another node."""
        command = [f"--address={self.address}", "--num-cpus=1"]
        namespace = ""
        if self._network is not None:
            namespace, address = self._network.add()
            command.append(f"--node-ip-address={address}")
        self._running.append(self._start(command, namespace))

    def wait(self, count: int) -> None:
        """Wait until so many nodes are up."""
        script = (
            "import ray; ray.init(address='auto', log_to_driver=False); print(sum(n['Alive'] for n in ray.nodes()))"
        )
        for _ in range(10):
            with contextlib.suppress(subprocess.TimeoutExpired):
                command = [sys.executable, "-c", script]
                env = {**os.environ, "RAY_ADDRESS": self.address}
                found = subprocess.run(command, capture_output=True, text=True, timeout=30, env=env)
                if found.stdout.strip().isdecimal() and int(found.stdout) >= count:
                    return
            time.sleep(1)
        raise SystemExit("the cluster does not start")

    def kill(self, rng: random.Random) -> bool:
        """Kill a node other than the first, and start another one."""
        process = self._running.pop(rng.randrange(len(self._running)))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self.add()
        return True

    def close(self) -> None:
        """End all nodes."""
        for process in [*self._running, self.head]:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        if self._network is not None:
            self._network.close()

    def _start(self, arguments: list[str], namespace: str = "") -> subprocess.Popen[bytes]:
        command = [*RAY, "--object-store-memory=100000000", *arguments]
        if namespace:
            hidden = "mount -t tmpfs none /tmp && mount -t tmpfs none /dev/shm"
            command = ["ip", "netns", "exec", namespace, "sh", "-c", f"{hidden} && exec {' '.join(command)}"]
        return subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, env=os.environ
        )


def kill_worker(rng: random.Random) -> bool:
    """Kill one of the workers that are making a piece; False if none is for four seconds."""
    for _ in range(200):
        busy = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if b"ray::Worker.make" in (folder / "cmdline").read_bytes():
                    busy.append(int(folder.name))
        if busy:
            os.kill(rng.choice(sorted(busy)), signal.SIGKILL)
            return True
        time.sleep(0.02)
    return False


def kill_driver(process: subprocess.Popen[str]) -> bool:
    """Kill the command; False if it had ended."""
    is_running = process.poll() is None
    process.kill()
    return is_running


def convert(
    command: list[str], at: float, break_something: Callable[[subprocess.Popen[str]], bool]
) -> tuple[dict[str, object], bool]:
    """Run the command, break something after `at` seconds of it, and run it again if it was killed.

    Returns:
        What it printed, and whether there was something to break.
    """
    broken = False
    for attempt in range(2):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if attempt == 0:
            time.sleep(at)
            broken = break_something(process)
        out, err = process.communicate()
        if process.returncode == 0:
            return dict(json.loads(out)), broken
        if process.returncode != -signal.SIGKILL:
            raise SystemExit(f"exit code {process.returncode}: {err}")
    raise SystemExit("the second run was killed, too")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--seconds", type=int, default=40, help="the length of the film")
    parser.add_argument("--encode", choices=("driver", "distributed"), default="driver")
    parser.add_argument("--apart", action="store_true", help="nodes that share only a network")
    options = parser.parse_args()
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled", "RAY_memory_monitor_refresh_ms": "0"}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # which ends the nodes, too
    failed = breaks_made = 0
    with tempfile.TemporaryDirectory(prefix="betwixt-cluster-") as folder:
        work, films = Path(folder), Path(folder, "films")
        films.mkdir()
        make_film(films / "film.mkv", options.seconds)
        command = [sys.executable, "-m", "betwixt.cli", "interpolate", str(films / "film.mkv")]
        flags = ["--fps", "60", "--model", "dis", "--codec", "ffv1", "--overwrite", "--json", "--threads", "1"]
        began = time.monotonic()
        subprocess.run([*command, str(work / "alone.mkv"), *flags], check=True, capture_output=True)
        alone = time.monotonic() - began
        expected = content(work / "alone.mkv")
        nodes = Nodes(options.apart)
        try:
            for _ in range(options.nodes - 1):
                nodes.add()
            nodes.wait(options.nodes)
            for run in range(options.runs):
                rng = random.Random(options.seed + run)
                kind, at = rng.choice(["worker", "node", "driver"]), rng.uniform(4, 6 + alone / 2)
                breaks: dict[str, Callable[[subprocess.Popen[str]], bool]] = {
                    "worker": lambda _, rng=rng: kill_worker(rng),
                    "node": lambda _, rng=rng: nodes.kill(rng),
                    "driver": kill_driver,
                }
                cluster = ["--cluster", nodes.address, "--encode", options.encode]
                made, broken = convert([*command, str(work / "spread.mkv"), *flags, *cluster], at, breaks[kind])
                equal = content(work / "spread.mkv") == expected
                failed += not equal
                breaks_made += broken
                given_back = sum(node["failures"] for node in made["nodes"])  # type: ignore[attr-defined]
                what = kind if broken else "nothing"
                print(
                    f"seed {options.seed + run}: {what} killed after {at:.1f} s, {made['seconds']:.1f} s in all, "
                    f"{made['earlier']} of {made['synthesized']} new frames resumed, {given_back} pieces made again: "
                    f"{'equal' if equal else 'DIFFERENT'}",
                    flush=True,
                )
                (work / "spread.mkv").unlink()
        finally:
            nodes.close()
    print(f"{options.runs - failed} of {options.runs} outputs are equal; something was killed in {breaks_made} runs")
    raise SystemExit(1 if failed else 0)


if __name__ == "__main__":
    main()

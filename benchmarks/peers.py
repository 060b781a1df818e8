"""Betwixt beside what people use for smooth video on CPUs: SVPflow, MVTools, FFmpeg's minterpolate, RIFE in vs-mlrt.

    make peers
    .venv/bin/python benchmarks/peers.py --frames ../shared/data/eval/davis_dev [--methods svpflow,dis] [--rounds 5]
        [--seconds 3] [--vapoursynth .venv-peers/bin/python] [--betwixt .venv/bin/python] [--record results/peers.csv]

Times are of a new frame of 4:2:0, halfway between two others, made from frames in memory on all cores and thrown away.
The source is one sequence, scaled to `--size`, played forwards and backwards. Every method is a process of its own that
stays loaded (`peers_worker.py`); they take turns, and the figure is the median of the turns, whose first frames do not
count. `vs-..` are Betwixt's models as a VapourSynth script runs them, by `interpolate(clip, model)`: cuts and overlays
are looked for. RIFE 4.6 is exported for vs-mlrt's OpenVINO plugin, which needs the package onnx.

PSNR is of the 8-bit RGB frames of `--frames`: of the first 40 of each sequence, every frame but the first and the last
is made from the two beside it. Frames are converted to 4:2:0 and back by libswscale (bicubic, BT.601, limited range),
the same for all; what the conversion alone costs is printed with them.

What is missing is skipped, in a line that says why.
"""

from __future__ import annotations

import argparse
import datetime
import json
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from betwixt.errors import BetwixtError, InputError
from betwixt.evaluation.metrics import psnr
from betwixt.evaluation.report import read_table, update_table
from betwixt.machine import describe_machine

METHODS = {
    "svpflow": "SVPflow, its defaults",
    "svpflow-finer": "SVPflow, blocks of 16 refined to 8, no scene detection",
    "svpflow-23": "SVPflow, the same with algorithm 23",
    "mvtools": "MVTools FlowFPS, blocks of 16",
    "mvtools-finer": "MVTools FlowFPS, blocks of 16 recalculated at 8, half pixels, no scene detection",
    "mlrt-rife": "RIFE 4.6 in vs-mlrt's OpenVINO, by the graph of betwixt weights export",
    "minterpolate": "FFmpeg minterpolate, no scene detection",
    "fast": "Betwixt fast",
    "dis": "Betwixt dis",
    "compact": "Betwixt compact",
    "hybrid": "Betwixt hybrid",
    "vs-fast": "Betwixt fast in VapourSynth",
    "vs-dis": "Betwixt dis in VapourSynth",
    "vs-compact": "Betwixt compact in VapourSynth",
    "vs-hybrid": "Betwixt hybrid in VapourSynth",
}
"""What is compared, and what it is called in tables."""

_FRAMES = 40
_LIMIT = 300.0
"""Seconds after which a method that does not answer is given up."""

_WARM_UP = 8
"""The frames of a turn that do not count: the first ones wait for what is computed ahead."""


class Worker:
    """A method in a process of its own.

    Args:
        method: One of `METHODS`.
        python: The Python that has what the method needs.
        graph: RIFE for vs-mlrt, where the method needs it.

    Attributes:
        version: Of the program that makes the frames.
        missing: Why the method cannot run; "" if it can.
    """

    def __init__(self, method: str, python: Path, graph: Path | None = None) -> None:
        self.method = method
        command = [str(python), str(Path(__file__).with_name("peers_worker.py")), method]
        command += [] if graph is None else [str(graph)]
        try:
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        except OSError as error:
            raise InputError(f"{python} does not run: {error.strerror}. make peers builds it.") from None
        hello = self._read()
        self.version, self.missing = hello.get("version", ""), hello.get("missing", "")

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send a request and wait for its answer."""
        assert self._process.stdin is not None
        print(json.dumps(request), file=self._process.stdin, flush=True)
        return self._read()

    def close(self) -> None:
        """End the process."""
        self._process.communicate()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        watch = threading.Timer(_LIMIT, self._process.kill)
        watch.start()
        line = self._process.stdout.readline()
        watch.cancel()
        if not line:
            raise InputError(f"{self.method} stopped, or did not answer within {_LIMIT:.0f} seconds.")
        answer: dict[str, Any] = json.loads(line)
        return answer


def start_workers(arguments: argparse.Namespace, folder: Path) -> dict[str, Worker]:
    """A process for each method; those that something is missing for are named and left out."""
    workers: dict[str, Worker] = {}
    for name in arguments.methods.split(","):
        if name not in METHODS:
            raise InputError(f"There is no method {name}: choose of {', '.join(METHODS)}.")
        is_plugin = name.startswith(("svpflow", "mvtools", "mlrt", "vs-"))
        graph = export_rife(folder) if name.startswith("mlrt") else None
        worker = Worker(name, arguments.vapoursynth if is_plugin else arguments.betwixt, graph)
        if worker.missing:
            print(f"{name} is left out: {worker.missing}", flush=True)
            worker.close()
        else:
            workers[name] = worker
    return workers


def export_rife(folder: Path) -> Path | None:
    """RIFE 4.6 as vs-mlrt takes it; None if it cannot be exported here."""
    try:
        from betwixt.runtime.onnx_export import export_onnx

        export_onnx("rife-4.6", folder / "rife.onnx", layout="vs-mlrt-v2")
    except (ImportError, BetwixtError):
        return None
    return folder / "rife.onnx"


def measure_times(workers: dict[str, Worker], source: Path, rounds: int, seconds: float) -> dict[str, list[float]]:
    """The milliseconds of a new frame in each round, by method; the methods take turns of about `seconds`."""
    counts = {}
    for name, worker in workers.items():
        took = worker.ask(source=str(source), warm_up=_WARM_UP, count=4)["seconds"]
        counts[name] = max(8, round(seconds / took))
    times: dict[str, list[float]] = {name: [] for name in workers}
    for number in range(rounds):
        for name, worker in workers.items():
            took = worker.ask(source=str(source), warm_up=_WARM_UP, count=counts[name])["seconds"]
            times[name].append(1000 * took)
        print(
            f"round {number + 1}: " + ", ".join(f"{name} {values[-1]:.1f}" for name, values in times.items()),
            flush=True,
        )
    return times


def measure_psnr(worker: Worker | None, sequences: list[list[np.ndarray]], folder: Path) -> tuple[float, int]:
    """The mean PSNR of new frames in dB, and their number; without a worker, that of the true frames, converted."""
    scores = []
    for frames in sequences:
        converted = [to_yuv(frame) for frame in frames]
        # The frames in between the even ones, then those in between the odd ones.
        for start in (0, 1):
            truths = frames[start + 1 : -1 : 2]
            if worker is None:
                made = np.stack(converted[start + 1 : -1 : 2])
            else:
                np.save(folder / "source.npy", np.stack(converted[start::2]))
                worker.ask(source=str(folder / "source.npy"), target=str(folder / "made.npy"))
                made = np.load(folder / "made.npy")
            scores += [psnr(to_rgb(image), truth) for image, truth in zip(made, truths, strict=True)]
    return statistics.fmean(scores), len(scores)


def to_yuv(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) RGB as (H * 3 / 2, W), planar 4:2:0."""
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
    return np.asarray(frame.reformat(format="yuv420p", interpolation="BICUBIC").to_ndarray())


def to_rgb(image: np.ndarray) -> np.ndarray:
    """(H * 3 / 2, W), planar 4:2:0, as (H, W, 3) RGB."""
    frame = av.VideoFrame.from_ndarray(image, format="yuv420p")
    return np.asarray(frame.reformat(format="rgb24", interpolation="BICUBIC").to_ndarray())


def read_sequences(root: Path) -> Iterator[tuple[str, list[np.ndarray]]]:
    """The first frames of each folder of images, (H, W, 3) RGB, and its name."""
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        files = sorted(folder.glob("*.jpg")) + sorted(folder.glob("*.png"))
        yield folder.name, [cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB) for file in files[:_FRAMES]]


def main() -> None:
    """Print the figures, and record them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    peers = Path(".venv-peers/bin/python")
    parser.add_argument("--frames", type=Path, required=True, help="a folder of sequences of images")
    parser.add_argument("--clip", default="bmx-trees", help="the sequence that is timed")
    parser.add_argument("--size", default="1280x720")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--vapoursynth", type=Path, default=peers if peers.exists() else Path(sys.executable))
    parser.add_argument("--betwixt", type=Path, default=Path(sys.executable))
    parser.add_argument("--no-psnr", action="store_true")
    parser.add_argument("--no-times", action="store_true")
    parser.add_argument("--note", default="", help="what else the machine did")
    parser.add_argument("--record", type=Path)
    arguments = parser.parse_args()
    sequences = dict(read_sequences(arguments.frames))
    if arguments.clip not in sequences:
        raise InputError(f"There is no sequence {arguments.clip} in {arguments.frames}: it has {', '.join(sequences)}.")
    width, height = map(int, arguments.size.split("x"))

    with tempfile.TemporaryDirectory() as path:
        folder = Path(path)
        workers = start_workers(arguments, folder)
        scaled = [cv2.resize(x, (width, height), interpolation=cv2.INTER_CUBIC) for x in sequences[arguments.clip]]
        np.save(folder / "clip.npy", np.stack([to_yuv(image) for image in scaled]))
        rounds = 0 if arguments.no_times else arguments.rounds
        times = measure_times(workers, folder / "clip.npy", rounds, arguments.seconds) if rounds else {}
        entries = []
        for name, worker in workers.items():
            entry = {"size": arguments.size, "method": name, "description": METHODS[name], "version": worker.version}
            entry |= _describe_times(times[name], arguments) if times else {}
            if not arguments.no_psnr:
                quality, count = measure_psnr(worker, list(sequences.values()), folder)
                entry |= {"psnr": f"{quality:.2f}", "frames": str(count)}
            entries.append(entry | {"date": datetime.date.today().isoformat(), "machine": describe_machine()})
            print(f"{name}: {entry.get('milliseconds', '-')} ms, {entry.get('psnr', '-')} dB", flush=True)
            worker.close()
        if not arguments.no_psnr:
            print(f"conversion alone: {measure_psnr(None, list(sequences.values()), folder)[0]:.2f} dB")
    if arguments.record:
        key = ("size", "method")
        earlier = {tuple(row[column] for column in key): row for row in read_table(arguments.record, key)[1]}
        # What this run did not measure stays as it was.
        update_table(arguments.record, [{**earlier.get((e["size"], e["method"]), {}), **e} for e in entries], key)


def _describe_times(times: list[float], arguments: argparse.Namespace) -> dict[str, str]:
    """The columns of results/peers.csv that times are in."""
    quartiles = statistics.quantiles(times, n=4, method="inclusive") if len(times) > 1 else times * 3
    return {
        "milliseconds": f"{statistics.median(times):.1f}",
        "quartile_1": f"{quartiles[0]:.1f}",
        "quartile_3": f"{quartiles[2]:.1f}",
        "rounds": str(len(times)),
        "clip": arguments.clip,
        "note": arguments.note,
    }


if __name__ == "__main__":
    try:
        main()
    except BetwixtError as error:
        sys.exit(f"peers.py: {error}")

"""Measures what a cluster costs the machine that runs the command, and models how many nodes that can serve.

    python benchmarks/cluster.py [--size 1920x1080] [--frames 480] [--speed 2] [--network 10] [--hours 2]
    python benchmarks/cluster.py --overhead [--size 1920x1080] [--frames 480] [--model dis] [--runs 5]

A stub takes the place of the workers: it returns new frames at once, copied as through the object store. So what is
measured is the driver alone: decoding twice, finding cuts and duplicates, planning pieces, receiving new frames, and
(second line) encoding. The table is a model, not a measurement: new frames come at nodes x SPEED, unless the driver or
the network (NETWORK Gbit/s at the driver) is slower.

With `--overhead` nothing is a stub: the same film is converted with and without a cluster that has this machine as its
only node, in turn, and the ratio of the times is printed. It needs the extra `cluster`. Run both on a machine that does
nothing else.
"""

from __future__ import annotations

import argparse
import logging
import os
import pickle
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any
from unittest import mock

import av

import betwixt
from betwixt.cluster import production
from betwixt.cluster.pieces import FrameData, JobDescription, Piece, PieceReport
from betwixt.cluster.scheduler import Work
from betwixt.machine import available_cores, describe_machine

sys.path.append(str(Path(__file__).parents[1] / "examples"))
from sample import make_sample

NODES = (1, 2, 4, 8, 16, 32, 64)
LAST_PIECE = 10.0
"""Seconds for which the last piece is waited for (`PIECE_SECONDS`)."""


class StubScheduler:
    """Has the interface of `Scheduler`, and makes every piece at once."""

    speed, workers, notes = 8.0, 64, ()
    pieces = 0

    def __init__(self, description: JobDescription, describe: Any, idle: Any) -> None:
        info = description.info
        self._room = threading.Semaphore(2 * self.workers + 2)
        self._frame = FrameData.of(av.VideoFrame(info.width, info.height, info.pixel_format))

    def submit(self, piece: Piece, report: Callable[[], None]) -> Work:
        """Take note of a piece."""
        self._room.acquire()
        StubScheduler.pieces += 1
        pickle.dumps(piece)
        return Work(piece)

    def take(self, work: Work) -> tuple[PieceReport, list[FrameData]]:
        """New frames, copied as between two processes."""
        self._room.release()
        return PieceReport([]), [_copy(self._frame) for _ in work.piece.indices]

    def figures(self) -> tuple[()]:
        """Nothing: there are no nodes."""
        return ()

    def stop(self) -> None:
        """Nothing to do."""

    close = stop


def _copy(frame: FrameData) -> FrameData:
    buffers: list[pickle.PickleBuffer] = []
    data = pickle.dumps(frame, protocol=5, buffer_callback=buffers.append)
    copied: FrameData = pickle.loads(data, buffers=[bytearray(buffer) for buffer in buffers])
    return copied


def convert(source: Path, target: Any, **options: Any) -> betwixt.Summary:
    """Convert with the stub in the place of a cluster."""
    cluster: Any = SimpleNamespace(
        produce=lambda job, director, resumed: production.ClusterProduction(job, director, resumed, {})
    )
    with mock.patch.object(production, "Scheduler", StubScheduler):
        return betwixt.interpolate_video(source, target, model="dis", fps=60, cluster=cluster, **options)


def model_nodes(options: argparse.Namespace, source: Path) -> None:
    """Measure the driver with the stub, and print the model."""
    began = time.monotonic()
    with open(os.devnull, "wb") as nothing:
        planned = convert(source, nothing, threads=0)
    plan_seconds = time.monotonic() - began
    pieces = StubScheduler.pieces
    began = time.monotonic()
    encoded = convert(source, source.with_name("out.mp4"))
    encode_seconds = time.monotonic() - began
    out, new = planned.frames_out, planned.synthesized
    width, height = map(int, options.size.split("x"))
    share, frame_bytes = new / out, width * height * 3 // 2
    print(f"{out} frames, {new} of them new, in {pieces} pieces, peak memory {encoded.peak_memory >> 20} MiB")
    print(f"driver without encoding: {1000 * plan_seconds / out:.2f} ms for each frame of the output")
    print(f"driver with {encoded.encoder}: {1000 * encode_seconds / out:.2f} ms")
    sent_kb, back_mb = source.stat().st_size / new / 1e3, frame_bytes / 1e6
    print(f"for each new frame: {sent_kb:.0f} kB to a node that does not see the file, {back_mb:.2f} MB back")
    frames = options.hours * 3600 * 60
    driver = frames * encode_seconds / out
    network = frames * share * frame_bytes * 8 / options.network / 1e9
    print(f"\nmodel: {options.hours:g} h of {options.size}, 24 -> 60, {options.speed:g} new frames/s on a node")
    print("| nodes | hours | bound by |\n|---:|---:|---|")
    for nodes in NODES:
        bounds = {"nodes": frames * share / nodes / options.speed + LAST_PIECE, "driver": driver, "network": network}
        slowest = max(bounds, key=lambda name: bounds[name])
        print(f"| {nodes} | {bounds[slowest] / 3600:.2f} | {slowest} |")


def measure_overhead(source: Path, model: str, runs: int) -> None:
    """Convert with and without a cluster of this machine alone, in turn, and print the ratio of the times."""
    import ray

    target = source.with_name("out.mp4")
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
    ray.init(
        address="local", num_cpus=available_cores(), include_dashboard=False, log_to_driver=False,
        logging_level=logging.CRITICAL,
    )  # fmt: skip

    def seconds(cluster: betwixt.Cluster | None) -> float:
        return betwixt.interpolate_video(
            source, target, model=model, fps=60, cluster=cluster, overwrite=True, journal=False
        ).seconds

    with betwixt.Cluster() as cluster:
        first = seconds(cluster)
        times = [(seconds(None), seconds(cluster)) for _ in range(runs)]
    ray.shutdown()
    ratios = [spread / alone for alone, spread in times]
    alone, spread = (median(column) for column in zip(*times, strict=True))
    print(f"{model} on {available_cores()} cores, medians of {runs} runs: {alone:.2f} s, as one node {spread:.2f} s")
    print(f"ratio in each run: {median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})")
    print(f"the first conversion, which starts the worker and loads its model: {first:.2f} s")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="1920x1080")
    parser.add_argument("--frames", type=int, default=480, help="source frames to measure with")
    parser.add_argument("--speed", type=float, default=2.0, help="new frames per second of one node")
    parser.add_argument("--network", type=float, default=10.0, help="Gbit/s that the driver can receive")
    parser.add_argument("--hours", type=float, default=2.0, help="the length of the film, at 24 frames per second")
    parser.add_argument("--overhead", action="store_true", help="compare one node with a run without a cluster")
    parser.add_argument("--model", default="dis", help="with --overhead, the model")
    parser.add_argument("--runs", type=int, default=5, help="with --overhead, how often both are measured")
    options = parser.parse_args()
    width, height = map(int, options.size.split("x"))
    print(describe_machine())
    with tempfile.TemporaryDirectory() as folder:
        source = make_sample(
            Path(folder, "in.mp4"), width=width, height=height, rate=Fraction(24), seconds=options.frames / 24
        )
        if options.overhead:
            measure_overhead(source, options.model, options.runs)
        else:
            model_nodes(options, source)


if __name__ == "__main__":
    main()

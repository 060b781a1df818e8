"""Measures what a cluster costs the machine that runs the command, and models how many nodes that can serve.

    python benchmarks/cluster.py [--size 1920x1080] [--frames 480] [--speed 2] [--network 10] [--hours 2]

A stub takes the place of the workers: it returns new frames at once, copied as through the object store. So what is
measured is the driver alone: decoding twice, finding cuts and duplicates, planning pieces, receiving new frames, and
(second line) encoding. The table is a model, not a measurement: new frames come at nodes x SPEED, unless the driver or
the network (NETWORK Gbit/s at the driver) is slower. Run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import os
import pickle
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import av

import betwixt
from betwixt.cluster import production
from betwixt.cluster.pieces import FrameData, JobDescription, Piece, PieceReport
from betwixt.cluster.scheduler import Work
from betwixt.machine import describe_machine

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


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="1920x1080")
    parser.add_argument("--frames", type=int, default=480, help="source frames to measure with")
    parser.add_argument("--speed", type=float, default=2.0, help="new frames per second of one node")
    parser.add_argument("--network", type=float, default=10.0, help="Gbit/s that the driver can receive")
    parser.add_argument("--hours", type=float, default=2.0, help="the length of the film, at 24 frames per second")
    options = parser.parse_args()
    width, height = map(int, options.size.split("x"))
    print(describe_machine())
    with tempfile.TemporaryDirectory() as folder:
        source = make_sample(
            Path(folder, "in.mp4"), width=width, height=height, rate=Fraction(24), seconds=options.frames / 24
        )
        began = time.monotonic()
        with open(os.devnull, "wb") as nothing:
            planned = convert(source, nothing, threads=0)
        plan_seconds = time.monotonic() - began
        pieces = StubScheduler.pieces
        began = time.monotonic()
        encoded = convert(source, Path(folder, "out.mp4"))
        encode_seconds = time.monotonic() - began
        sent = source.stat().st_size
    out, new = planned.frames_out, planned.synthesized
    share, frame_bytes = new / out, width * height * 3 // 2
    print(f"{out} frames, {new} of them new, in {pieces} pieces, peak memory {encoded.peak_memory >> 20} MiB")
    print(f"driver without encoding: {1000 * plan_seconds / out:.2f} ms for each frame of the output")
    print(f"driver with {encoded.encoder}: {1000 * encode_seconds / out:.2f} ms")
    sent_kb, back_mb = sent / new / 1e3, frame_bytes / 1e6
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


if __name__ == "__main__":
    main()

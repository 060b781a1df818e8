"""Measures what a cluster costs the machine that runs the command, and models how many nodes that can serve.

    python benchmarks/cluster.py [--size 1920x1080] [--frames 480] [--speed 2] [--network 10] [--hours 2]
    python benchmarks/cluster.py --overhead [--size 1920x1080] [--frames 480] [--model dis] [--runs 5]
    python benchmarks/cluster.py --film [--hours 2] [--rate 24] [--fps 60] [--size 128x72] [--model fast]
    python benchmarks/cluster.py --growth FILE [--speed 2]

A stub takes the place of the workers: it returns new frames at once, copied as through the object store, or packets. So
what is measured is the driver alone: decoding (twice, where it encodes), finding cuts and duplicates, planning pieces,
receiving new frames and (second line) encoding them; or (third line) joining packets. The table is a model, not a
measurement: new frames come at nodes x SPEED, unless the driver or the network (NETWORK Gbit/s at the driver) is
slower. Nodes that encode take as long for it as this machine.

With `--overhead` nothing is a stub: the same film is converted with and without a cluster that has this machine as its
only node, in turn, and the ratio of the times is printed. It needs the extra `cluster`. Run both on a machine that does
nothing else.

With `--film` a film of HOURS is converted alone, by two nodes whose frames are encoded here, and by two nodes that
encode. The frames and the duration of the outputs are compared, and the memory of all processes over the time. It needs
Linux.

With `--growth` the frames of FILE are encoded by x264 and x265 at their usual qualities, as one and in pieces as long
as those of nodes that make SPEED frames a second, and the sizes and the quality are compared.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import pickle
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any
from unittest import mock

import av
import numpy as np

import betwixt
from betwixt.cluster import production
from betwixt.cluster.pieces import FrameData, JobDescription, Made, Piece, PieceReport
from betwixt.cluster.planning import SEGMENT_FRAMES, begins_piece, piece_size
from betwixt.cluster.scheduler import Work
from betwixt.machine import available_cores, describe_machine
from betwixt.media.encoded_video import EncodedPacket
from betwixt.media.encoder_options import EncoderSettings
from betwixt.media.frames import frame_bytes, planes
from betwixt.media.reader import Frame, Reader, StreamPacket
from betwixt.media.segment import SegmentEncoder, SegmentSettings
from betwixt.pipeline.marker import FrameMarker

sys.path.append(str(Path(__file__).parents[1] / "examples"))
from sample import make_sample

NODES = (1, 2, 4, 8, 16, 32, 64)
LAST_PIECE = 10.0
"""Seconds for which the last piece is waited for (`PIECE_SECONDS`)."""

PACKET = 20_000
"""Bytes of a packet of the stub: 9.6 Mbit/s at 60 frames per second."""


class StubScheduler:
    """Has the interface of `Scheduler`, and makes every piece at once."""

    speed, workers, notes = 8.0, 64, ()
    pieces = 0

    def __init__(self, description: JobDescription, describe: Any, idle: Any) -> None:
        info = description.info
        self._encodes = description.segments is not None
        self._room = threading.Semaphore(2 * self.workers + 2)
        self._frame = FrameData.of(av.VideoFrame(info.width, info.height, info.pixel_format))

    def submit(self, piece: Piece, report: Callable[[], None]) -> Work:
        """Take note of a piece."""
        self._room.acquire()
        StubScheduler.pieces += 1
        pickle.dumps(piece)
        return Work(piece)

    def take(self, work: Work) -> tuple[PieceReport, Made]:
        """New frames, copied as between two processes, or packets."""
        self._room.release()
        indices = work.piece.indices
        if self._encodes:
            return PieceReport([]), [EncodedPacket(bytes(PACKET), n, n, 1, n == indices[0]) for n in indices]
        return PieceReport([]), [_copy(self._frame) for _ in indices]

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
    kind = production.ClusterProduction if "encode" not in options else production.SegmentProduction
    cluster: Any = SimpleNamespace(produce=lambda job, director, resumed: kind(job, director, resumed, {}))
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
    began = time.monotonic()
    convert(source, source.with_name("joined.mp4"), encode="distributed")
    join_seconds = time.monotonic() - began
    out, new = planned.frames_out, planned.synthesized
    width, height = map(int, options.size.split("x"))
    share, bytes_back = new / out, frame_bytes("yuv420p", width, height)
    print(f"{out} frames, {new} of them new, in {pieces} pieces, peak memory {encoded.peak_memory >> 20} MiB")
    print(f"driver without encoding: {1000 * plan_seconds / out:.2f} ms for each frame of the output")
    print(f"driver with {encoded.encoder}: {1000 * encode_seconds / out:.2f} ms")
    print(f"driver that joins packets: {1000 * join_seconds / out:.2f} ms")
    sent_kb, back_mb = source.stat().st_size / new / 1e3, bytes_back / 1e6
    print(f"for each new frame: {sent_kb:.0f} kB to a node that does not see the file, {back_mb:.2f} MB back")
    frames = options.hours * 3600 * 60
    network = options.network * 1e9 / 8
    node_seconds = share / options.speed
    encoding_seconds = node_seconds + max(0.0, encode_seconds - plan_seconds) / out
    ways = {
        "driver": (node_seconds, LAST_PIECE, encode_seconds / out, share * bytes_back / network),
        "nodes": (encoding_seconds, SEGMENT_FRAMES * encoding_seconds, join_seconds / out, PACKET / network),
    }
    print(f"\nmodel: {options.hours:g} h of {options.size}, 24 -> 60, {options.speed:g} new frames/s on a node")
    print("| nodes | hours, the driver encodes | bound by | hours, nodes encode | bound by |\n|---:|---:|---|---:|---|")
    for nodes in NODES:
        cells = [str(nodes)]
        for on_node, last_piece, on_driver, on_network in ways.values():
            bounds = {"nodes": frames * on_node / nodes + last_piece}
            bounds |= {"driver": frames * on_driver, "network": frames * on_network}
            slowest = max(bounds, key=lambda name: bounds[name])
            cells += [f"{bounds[slowest] / 3600:.2f}", slowest]
        print(f"| {' | '.join(cells)} |")


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


def make_film(path: Path, width: int, height: int, rate: int, hours: float) -> Path:
    """Write a film that repeats a minute of the sample clip."""
    minute = make_sample(path.with_name("minute.mp4"), width=width, height=height, rate=Fraction(rate), seconds=60)
    with av.open(str(path), "w") as out:
        copies: dict[int, Any] = {}
        for repeat in range(round(60 * hours)):
            with av.open(str(minute)) as source:
                copies = copies or {s.index: out.add_stream_from_template(s) for s in source.streams}
                for packet in source.demux():
                    if packet.dts is None or packet.pts is None:
                        continue
                    if not 0 <= packet.pts * packet.time_base < 60:
                        continue  # sound that overlaps with the minute beside
                    shift = round(60 * repeat / packet.time_base)
                    packet.stream = copies[packet.stream.index]
                    packet.pts += shift
                    packet.dts += shift
                    out.mux(packet)
    return path


def memory(process: int) -> dict[str, int]:
    """The private memory of a process and of all workers of a cluster, in bytes, by what they are."""
    found = {"driver": _private(Path("/proc", str(process)))}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (folder / "cmdline").read_bytes().startswith(b"ray::Worker"):
                found[f"worker {folder.name}"] = _private(folder)
    return found


def _private(folder: Path) -> int:
    lines = (folder / "status").read_text().splitlines()
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon")), 0)


def convert_film(command: list[str]) -> dict[str, Any]:
    """Run a conversion, print its memory in each quarter of its time, and return its summary."""
    samples: list[dict[str, int]] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        reader = ThreadPoolExecutor(1).submit(process.stdout.read)  # type: ignore[union-attr]
        while process.poll() is None:
            with contextlib.suppress(OSError):
                samples.append(memory(process.pid))
            time.sleep(1)
        made: dict[str, Any] = json.loads(reader.result())
    names = sorted({name for sample in samples for name in sample})
    for name in names:
        quarters = [samples[k * len(samples) // 4 : (k + 1) * len(samples) // 4] for k in range(4)]
        peaks = [max((sample.get(name, 0) for sample in quarter), default=0) >> 20 for quarter in quarters]
        print(f"  {name}: at most {', '.join(map(str, peaks))} MiB in the quarters of the time")
    return made


def convert_films(options: argparse.Namespace, folder: Path) -> None:
    """Convert a long film alone and by two nodes, and compare."""
    from cluster_failures import Nodes

    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled", "RAY_memory_monitor_refresh_ms": "0"}
    width, height = map(int, options.size.split("x"))
    source = make_film(folder / "film.mkv", width, height, options.rate, options.hours)
    nodes = Nodes()
    try:
        nodes.add()
        nodes.wait(2)
        cluster = ["--cluster", nodes.address, "--encode"]
        for name, flags in (("alone", []), ("driver", [*cluster, "driver"]), ("nodes", [*cluster, "distributed"])):
            print(f"{name}:" if name == "alone" else f"two nodes, encoded by the {name}:", flush=True)
            target = folder / f"{name}.mkv"
            command = [sys.executable, "-m", "betwixt.cli", "interpolate", str(source), str(target)]
            settings = ["--fps", str(options.fps), "--model", options.model, "--json", "--no-journal"]
            made = convert_film([*command, *settings, *flags])
            with av.open(str(target)) as container:
                ends = {s.type: 0.0 for s in container.streams}
                count = 0
                for packet in container.demux():
                    if packet.pts is not None:
                        count += packet.stream.type == "video"
                        end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
                        ends[packet.stream.type] = max(ends[packet.stream.type], end)
            durations = ", ".join(f"{kind} {end:.3f} s" for kind, end in ends.items())
            print(f"  {made['seconds']:.0f} s, {count} frames, {durations}, {target.stat().st_size} bytes", flush=True)
            target.unlink()
    finally:
        nodes.close()


def measure_growth(path: Path, codec: str, speed: float) -> None:
    """Encode the frames of a file as one and in pieces, and print the sizes and the PSNR."""
    with Reader(path) as reader:
        # In MPEG-TS the stream parameters are in the packets, so that these can be decoded as they are.
        settings = SegmentSettings("mpegts", reader.info, reader.info.rate, EncoderSettings(codec), "auto")
        target = piece_size(speed, 2, None, 0, SEGMENT_FRAMES)
        whole, pieces = SegmentEncoder(settings), [SegmentEncoder(settings)]
        number = first = 0
        for item in FrameMarker("auto", False, False).mark(reader):
            if isinstance(item, StreamPacket):
                continue
            if begins_piece(number - first, 0, item.cut, target):
                pieces.append(SegmentEncoder(settings))
                first = number
            for encoder in (whole, pieces[-1]):
                encoder.write(item.frame.video, number)
            number += 1
    ways = [[packet for encoder in encoders for packet in encoder.finish()] for encoders in ([whole], pieces)]
    alone, joined = (sum(len(packet.data) for packet in way) for way in ways)
    before, after = (mean_psnr(path, codec, way) for way in ways)
    print(f"{path.name}, {codec}: {number} frames in {len(pieces)} pieces of about {target}: ", end="")
    print(f"{alone} bytes as one, {joined} in pieces ({100 * (joined / alone - 1):+.2f} %), ", end="")
    print(f"PSNR of luma {before:.2f} and {after:.2f} dB", flush=True)


def mean_psnr(path: Path, codec: str, packets: list[EncodedPacket]) -> float:
    """The mean PSNR of the luma of packets against the frames of a file of 8 bits, in dB."""
    decoder = av.CodecContext.create(codec, "r")

    def decode() -> Iterator[av.VideoFrame]:
        for encoded in packets:
            packet = av.Packet(encoded.data)
            packet.pts, packet.dts = encoded.number, encoded.dts
            yield from decoder.decode(packet)  # type: ignore[attr-defined]
        yield from decoder.decode(None)  # type: ignore[attr-defined]

    values = []
    with Reader(path) as reader:
        truths = (item.video for item in reader if isinstance(item, Frame))
        for truth, frame in zip(truths, decode(), strict=True):
            difference = planes(truth)[0].astype(np.float32) - planes(frame)[0]
            values.append(10 * np.log10(255**2 / max(1e-9, float(np.mean(difference**2)))))
    return float(np.mean(values))


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", help="default: 1920x1080; with --film 128x72")
    parser.add_argument("--frames", type=int, default=480, help="source frames to measure with")
    parser.add_argument("--speed", type=float, default=2.0, help="new frames per second of one node")
    parser.add_argument("--network", type=float, default=10.0, help="Gbit/s that the driver can receive")
    parser.add_argument("--hours", type=float, default=2.0, help="the length of the film")
    parser.add_argument("--rate", type=int, default=24, help="with --film, its frames per second")
    parser.add_argument("--fps", type=int, default=60, help="with --film, the output's frames per second")
    parser.add_argument("--overhead", action="store_true", help="compare one node with a run without a cluster")
    parser.add_argument("--model", help="with --overhead (dis) and --film (fast), the model")
    parser.add_argument("--runs", type=int, default=5, help="with --overhead, how often both are measured")
    parser.add_argument("--film", action="store_true", help="convert a long film alone and by two nodes")
    parser.add_argument("--growth", type=Path, metavar="FILE", help="compare the size of pieces with that of the whole")
    options = parser.parse_args()
    options.size = options.size or ("128x72" if options.film else "1920x1080")
    options.model = options.model or ("fast" if options.film else "dis")
    print(describe_machine())
    if options.growth is not None:
        for codec in ("h264", "hevc"):
            measure_growth(options.growth, codec, options.speed)
        return
    with tempfile.TemporaryDirectory(prefix="betwixt-cluster-") as folder:
        if options.film:
            convert_films(options, Path(folder))
            return
        width, height = map(int, options.size.split("x"))
        source = make_sample(
            Path(folder, "in.mp4"), width=width, height=height, rate=Fraction(24), seconds=options.frames / 24
        )
        if options.overhead:
            measure_overhead(source, options.model, options.runs)
        else:
            model_nodes(options, source)


if __name__ == "__main__":
    main()

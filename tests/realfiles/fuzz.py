"""Damages small videos in ten ways and runs every command on each.

    python tests/realfiles/fuzz.py [--count 500] [--seed 0] [--verbs info,interpolate] [--keep FOLDER]

A command may only end with 0 (done), 2 (refused) or 3 (damaged: what can be read is written), within `LIMIT` seconds,
in less than `MEMORY` bytes, and it leaves either a whole output or nothing. Everything else is printed, and counted in
the table at the end. `--keep` keeps the inputs of which a command ended in another way.
"""

from __future__ import annotations

import argparse
import collections
import random
import shutil
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
from isolation import Outcome, run, working_folder

sys.path.insert(0, str(Path(__file__).parents[1]))
from clips import make_clip

LIMIT = 60.0
"""Seconds that a command may take."""

MEMORY = 2 << 30
"""Bytes that a command may use."""

VERBS: dict[str, list[str]] = {
    "info": ["info", "IN"],
    "interpolate": ["interpolate", "IN", "out.mkv", "--model", "dis"],
    "part": ["interpolate", "IN", "out.mp4", "--model", "dis", "--start", "0.4", "--end", "0.9"],
    "blur": ["blur", "IN", "out.mp4", "--samples", "4"],
    "extrapolate": ["extrapolate", "IN", "out.mkv"],
    "encode": ["encode", "IN", "out.mkv", "--model", "dis", "--base", "x264"],
    "decode": ["decode", "IN", "out.mkv"],
    "realtime": [
        "realtime",
        "IN",
        "out.folder",
        "--model",
        "dis",
        "--limit",
        "16",
        "--network",
        "loss",
        "--bitrate",
        "100k",
    ],
}


def flip_bytes(data: bytearray, rng: random.Random, begin: int, end: int, count: int) -> bytearray:
    """Replace `count` bytes between two positions."""
    for _ in range(count):
        data[rng.randrange(begin, max(begin + 1, min(end, len(data))))] = rng.randrange(256)
    return data


def lie_about_sizes(data: bytearray, rng: random.Random) -> bytearray:
    """Change lengths of boxes, elements or chunks: four bytes before a four-letter name, or after it."""
    names = (b"moov", b"trak", b"mdia", b"stbl", b"stts", b"ctts", b"stsz", b"stco", b"stsc", b"mdat", b"elst", b"avcC")
    names += (b"LIST", b"strl", b"strh", b"strf", b"movi", b"idx1", b"00dc")
    places = [data.find(name) for name in names if data.find(name) >= 4]
    for place in rng.sample(places, min(2, len(places))) or [rng.randrange(4, len(data) - 8)]:
        where = place - 4 if rng.random() < 0.5 else place + 4
        value = rng.choice([0, 1, 7, 0x7FFFFFFF, 0xFFFFFFFF, rng.randrange(1 << 20)])
        data[where : where + 4] = value.to_bytes(4, rng.choice(["big", "little"]))
    return data


def jump_timestamps(path: Path, rng: random.Random) -> bytearray:
    """Copy a file packet by packet with times that jump forward or back, or begin anew."""
    target = path.with_name(f"jumping{path.suffix}")
    steps = [rng.choice([-5, -0.5, 0.5, 20, 40000]) for _ in range(2)]
    try:
        with av.open(str(path)) as source, av.open(str(target), "w") as out:
            streams = {s.index: out.add_stream_from_template(s) for s in source.streams}
            packets = [packet for packet in source.demux() if packet.size]
            for number, packet in enumerate(packets):
                shift = sum(step for k, step in enumerate(steps) if number > len(packets) * (k + 1) // 3)
                ticks = round(shift / packet.time_base) if packet.time_base else 0
                packet.pts = None if packet.pts is None else packet.pts + ticks
                packet.dts = None if packet.dts is None else packet.dts + ticks
                packet.stream = streams[packet.stream.index]
                out.mux(packet)
    except (av.error.FFmpegError, ValueError, OverflowError):
        pass  # the muxer refuses some jumps: what it wrote before is an input, too
    return bytearray(target.read_bytes()) if target.exists() else bytearray()


def _shuffle_blocks(data: bytearray, rng: random.Random) -> bytearray:
    size = 188 * rng.randrange(1, 20)
    blocks = [data[k : k + size] for k in range(0, len(data), size)]
    a, b = rng.randrange(len(blocks)), rng.randrange(len(blocks))
    blocks[a], blocks[b] = blocks[b], blocks[a]
    return bytearray(b"".join(blocks))


def _repeat_block(data: bytearray, rng: random.Random) -> bytearray:
    begin = rng.randrange(len(data))
    end = min(len(data), begin + rng.randrange(1, 4000))
    return data[:end] + data[begin:end] * rng.randrange(1, 4) + data[end:]


def _remove_block(data: bytearray, rng: random.Random) -> bytearray:
    begin = rng.randrange(len(data))
    del data[begin : begin + rng.randrange(1, max(2, len(data) // 5))]
    return data


def _zero_block(data: bytearray, rng: random.Random) -> bytearray:
    begin = rng.randrange(len(data))
    count = min(len(data) - begin, rng.randrange(1, 5000))
    data[begin : begin + count] = bytes(count)
    return data


DAMAGES: dict[str, Callable[[Path, bytearray, random.Random], bytearray]] = {
    "header bytes": lambda _, data, rng: flip_bytes(data, rng, 0, 400, rng.randrange(1, 12)),
    "packet bytes": lambda _, data, rng: flip_bytes(data, rng, 400, len(data), rng.randrange(1, 200)),
    "index bytes": lambda _, data, rng: flip_bytes(
        data, rng, max(0, len(data) - 1500), len(data), rng.randrange(1, 30)
    ),
    "truncated": lambda _, data, rng: data[: rng.randrange(1, len(data))],
    "beginning lost": lambda _, data, rng: data[rng.randrange(1, len(data)) :],
    "false sizes": lambda _, data, rng: lie_about_sizes(data, rng),
    "jumping times": lambda path, data, rng: jump_timestamps(path, rng) or data,
    "blocks exchanged": lambda _, data, rng: _shuffle_blocks(data, rng),
    "blocks repeated": lambda _, data, rng: _repeat_block(data, rng),
    "blocks lost": lambda _, data, rng: _remove_block(data, rng) if rng.random() < 0.5 else _zero_block(data, rng),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--verbs", default=",".join(VERBS))
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    counts: collections.Counter[tuple[str, str]] = collections.Counter()
    with working_folder() as folder:
        originals = make_originals(folder)
        for number in range(options.first, options.first + options.count):
            rng = random.Random(f"{options.seed} {number}")
            damage = list(DAMAGES)[number % len(DAMAGES)]
            original = originals[number // len(DAMAGES) % len(originals)]
            data = DAMAGES[damage](original, bytearray(original.read_bytes()), rng)
            path = folder / f"in{original.suffix}"
            path.write_bytes(data)
            for verb in options.verbs.split(","):
                result, outcome = try_verb(verb, path, folder)
                counts[verb, result] += 1
                if result not in ("0", "2", "3"):
                    print(f"{number} {damage} of {original.name}, {verb}: {result}: {outcome.message}", flush=True)
                    if options.keep is not None:
                        options.keep.mkdir(parents=True, exist_ok=True)
                        shutil.copy(path, options.keep / f"{number}-{verb}{path.suffix}")
            path.unlink()
    results = sorted({result for _, result in counts})
    print("| command |", " | ".join(results), "|")
    print("|---|" + "---:|" * len(results))
    for verb in options.verbs.split(","):
        print("|", verb, "|", " | ".join(str(counts[verb, result]) for result in results), "|")


def make_originals(folder: Path) -> list[Path]:
    """Small videos of several containers and codecs."""
    x264 = {"preset": "ultrafast", "g": "12", "bf": "2"}
    clips = [
        ("a.mp4", {"codec": "libx264", "audio": True, "options": x264}),
        ("b.mkv", {"codec": "libx264", "audio": True, "options": x264}),
        ("c.ts", {"codec": "libx264", "audio": True, "options": x264}),
        ("d.avi", {"codec": "mpeg4"}),
        ("e.mov", {"codec": "mjpeg", "pixel_format": "yuvj420p", "audio": True}),
        ("f.webm", {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8"}}),
        ("g.mkv", {"codec": "ffv1", "times": [Fraction(k * k, 900) for k in range(1, 26)]}),
        ("h.mpg", {"codec": "mpeg2video"}),
        ("i.flv", {"codec": "libx264", "options": x264}),
        ("j.y4m", {"codec": "wrapped_avframe"}),
    ]
    paths = [make_clip(folder / name, frames=25, **settings) for name, settings in clips]
    encoded = folder / "k.mkv"
    outcome = run(["encode", str(paths[0]), str(encoded), "--model", "dis"], LIMIT)
    assert outcome.code == 0, outcome.stderr
    return [*paths, encoded]


def try_verb(verb: str, source: Path, folder: Path) -> tuple[str, Outcome]:
    """Run a command; its exit code, or what is wrong with how it ended."""
    place = folder / "output"
    place.mkdir()
    arguments = [str(source) if x == "IN" else str(place / x) if x.startswith("out.") else x for x in VERBS[verb]]
    outcome = run(arguments, LIMIT)
    left = sorted(path.name for path in place.iterdir())
    shutil.rmtree(place)
    if outcome.hung:
        return "hang", outcome
    if outcome.crashed or outcome.code not in (0, 2, 3):
        return f"crash ({outcome.code})", outcome
    if outcome.peak > MEMORY:
        return "memory", outcome
    whole = [x for x in VERBS[verb] if x.startswith("out.")]
    expected = whole if outcome.code in (0, 3) else []
    if left != expected:
        return f"left {', '.join(left) or 'nothing'}", outcome
    return str(outcome.code), outcome


if __name__ == "__main__":
    main()

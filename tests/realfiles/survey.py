"""Converts every video in a folder and compares each output with its input.

    python tests/realfiles/survey.py FOLDER --results results.jsonl [--every N] [--only TEXT] [--resume]
    python tests/realfiles/survey.py FOLDER --results results.jsonl --table

Needs ffprobe and ffmpeg on the PATH, as a second opinion. Each file goes through

    betwixt info FILE
    betwixt interpolate FILE a.mkv --codec ffv1      up to 0.6 s; source frames are recognizable in the output
    betwixt interpolate FILE b.mkv --start MIDDLE    the same from the middle of files of 4 s or more, or from 12 s
    betwixt interpolate FILE c.mp4                   up to 0.6 s, with the usual encoder

and is put into the worst of these classes:

    traceback, hang   a command ended by a traceback or a signal, or ran for more than `LIMIT` seconds
    wrong             an output differs from its input in time, sync, colour, streams or tags, and no message says so
    unsure            refused, though ffmpeg decodes a picture of it
    refused           refused with one line, and ffmpeg decodes no picture, or the line names a reason that holds
    damaged           converted as far as it can be read, and said so (exit code 3)
    converted         converted, and nothing was found wrong
"""

from __future__ import annotations

import argparse
import collections
import hashlib
import json
import statistics
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from isolation import Outcome, run, working_folder

from betwixt.media.tags import content_tags

LIMIT = 90.0
"""Seconds that a command may take."""

LENGTH = 0.6
"""Seconds of each file that are converted; of large pictures fewer, down to an eighth."""

FURTHEST = 12.0
"""The latest beginning of a part, in seconds."""

SYNC = 0.045
"""Seconds by which sound may move against the picture."""

CLASSES = ("traceback", "hang", "wrong", "unsure", "refused", "damaged", "converted")

_TRUE_REFUSALS = (
    "is interlaced",
    "encrypted",
    "no video stream",
    "is empty",
    "is a picture",
    "Dolby Vision",
    "`",
    "rate",
)


@dataclass
class Content:
    """What a file holds: its picture, and the packets of its other streams."""

    frames: list[tuple[float, str]] = field(default_factory=list)  # time in seconds and hash, in order
    packets: dict[int, dict[str, float]] = field(default_factory=dict)  # by stream: the first time of each content
    starts: dict[int, float] = field(default_factory=dict)  # by stream: the time of its first packet
    kinds: dict[int, str] = field(default_factory=dict)
    formats: set[tuple[str, int, int]] = field(default_factory=set)  # pixel format, width and height of the frames


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--only", default="")
    parser.add_argument("--resume", action="store_true", help="keep earlier results but those of the classes to repair")
    parser.add_argument("--again", default="", help="with --resume: the classes to convert again, separated by commas")
    parser.add_argument("--table", action="store_true", help="only print the table of earlier results")
    options = parser.parse_args()
    results: dict[str, dict[str, Any]] = {}
    if (options.resume or options.table) and options.results.exists():
        for line in options.results.read_text().splitlines():
            result = json.loads(line)
            results[result["file"]] = result
    if not options.table:
        again = options.again.split(",")
        paths = sorted(path for path in options.folder.rglob("*") if path.is_file() and options.only in str(path))
        for path in paths[:: options.every]:
            name = str(path.relative_to(options.folder))
            if name in results and results[name]["class"] not in again:
                continue
            results[name] = {"file": name, **survey(path)}
            with options.results.open("a") as file:
                print(json.dumps(results[name]), file=file)
            print(results[name]["class"], name, *results[name]["findings"], sep="\n    ", flush=True)
    print_table(list(results.values()))


def print_table(results: Sequence[dict[str, Any]]) -> None:
    """Counts by collection, the first folder of each path, and by class."""
    collections_ = sorted({result["file"].split("/")[0] for result in results})
    print("| collection | files | with video |", " | ".join(CLASSES[::-1]), "|")
    print("|---|" + "---:|" * (len(CLASSES) + 2))
    for name in [*collections_, ""]:
        chosen = [result for result in results if not name or result["file"].split("/")[0] == name]
        counts = collections.Counter(result["class"] for result in chosen)
        videos = sum(result["video"] for result in chosen)
        numbers = [str(counts[kind]) for kind in CLASSES[::-1]]
        print("|", name or "all", "|", len(chosen), "|", videos, "|", " | ".join(numbers), "|")


def survey(path: Path) -> dict[str, Any]:
    """Run all commands on one file; the class, the findings, and whether ffmpeg decodes a picture of it."""
    probe = ffprobe(path)
    decodes = ffmpeg_decodes(path)
    findings: list[tuple[str, str]] = []
    with working_folder() as folder:
        info = run(["info", str(path), "--json"], LIMIT)
        findings += list(judge(info, decodes, "info"))
        description = json.loads(info.stdout) if info.code == 0 and info.stdout else {}
        extra = ["--interlaced", "deinterlace"] if description.get("interlaced") else []
        extra += ["--fps", "50"] if Fraction(description.get("rate", "25")) > 400 else []
        duration = description.get("duration") or 0.0
        pixels = description.get("width", 0) * description.get("height", 0)
        length = LENGTH / (8 if pixels > 4_000_000 else 4 if pixels > 1_500_000 else 2 if pixels > 400_000 else 1)
        end = ["--end", f"{length}"] if duration > 1.5 * length else []
        source: Content | None = None
        if description:
            source = read_content(path, length + 2 if end else None)
        for name, arguments in commands(duration, length, end, extra):
            output = folder / name
            outcome = run(["interpolate", str(path), str(output), "--model", "dis", "--overwrite", *arguments], LIMIT)
            where = " ".join([name, *arguments])
            judged = list(judge(outcome, decodes, where))
            if "--start" in arguments and any(kind == "damaged" for kind, _ in findings):
                judged = [("damaged" if kind == "unsure" else kind, text) for kind, text in judged]
            findings += judged
            if info.code == outcome.code == 2:
                break  # refused by both: the others would only say so again
            if outcome.code in (0, 3) and output.exists() and source is not None:
                whole = source if "--start" not in arguments else read_content(path, min(duration / 2, FURTHEST) + 2)
                differences = compare(
                    probe, whole, output, arguments, outcome, exact=not extra and not description["variable"]
                )
                kind = "wrong" if outcome.code == 0 else "damaged"
                findings += [(kind, f"{where}: {text}") for text in differences]
    worst = min((kind for kind, _ in findings), key=CLASSES.index, default="converted")
    return {"class": worst, "video": decodes, "findings": [f"{kind}: {text}" for kind, text in findings]}


def commands(
    duration: float, length: float, end: Sequence[str], extra: Sequence[str]
) -> Iterator[tuple[str, list[str]]]:
    """Output and arguments of each conversion."""
    yield "a.mkv", ["--codec", "ffv1", *end, *extra]
    if duration >= 4:
        middle = min(duration / 2, FURTHEST)
        part = ["--factor", "1", "--start", f"{middle:.3f}", "--end", f"{middle + 1:.3f}"]
        yield "b.mkv", ["--codec", "ffv1", *part, *extra]
    yield "c.mp4", [*end, *extra]


def judge(outcome: Outcome, decodes: bool, where: str) -> Iterator[tuple[str, str]]:
    """How a command ended, apart from what it wrote."""
    if outcome.hung:
        yield "hang", where
    elif outcome.crashed or outcome.code not in (0, 2, 3):
        yield "traceback", f"{where}: {outcome.code} {outcome.message}"
    elif outcome.code == 3:
        yield "damaged", f"{where}: {outcome.message}"
    elif outcome.code == 2:
        true = not decodes or any(text in outcome.message for text in _TRUE_REFUSALS)
        yield "refused" if true else "unsure", f"{where}: {outcome.message}"


def compare(
    probe: dict[str, Any], source: Content, output: Path, arguments: Sequence[str], outcome: Outcome, exact: bool
) -> Iterator[str]:
    """What is wrong with an output, compared with its input."""
    made = read_content(output, None)
    said = (outcome.stdout + outcome.stderr).lower()
    result = ffprobe(output)
    if not made.frames:
        yield "no frame can be decoded"
        return
    if len(source.frames) > 1:
        yield from _compare_times(source, made, arguments, said, by_hash="ffv1" in arguments and exact)
    if "--start" not in arguments:
        silent = {source.kinds[i] for i in source.kinds if not source.packets.get(i)}
        yield from _compare_streams(probe, result, said, silent)
        yield from _compare_colour(probe, result, said)


def _compare_times(source: Content, made: Content, arguments: Sequence[str], said: str, by_hash: bool) -> Iterator[str]:
    moved = "places of their own" in said or "is held for that time" in said
    whole = not {"--start", "--end"} & set(arguments)
    if whole and not moved:
        before, after = length_of(source.frames), length_of(made.frames)
        if abs(after - before) > max(0.1, 1.5 * before / len(source.frames)):
            yield f"{before:.2f} s of video became {after:.2f} s"
    video_shift = made.frames[0][0] - source.frames[0][0]
    if by_hash and source.formats == made.formats:
        unique = collections.Counter(digest for _, digest in source.frames)
        shown = collections.defaultdict(list)
        for time, digest in made.frames:
            shown[digest].append(time)
        begin, first = next(((time, shown[x][0]) for time, x in source.frames if x in shown), (source.frames[0][0], 0))
        last = begin + made.frames[-1][0] - first
        inside = [(time, x) for time, x in source.frames if begin <= time <= last and unique[x] == 1]
        shifts = [shown[x][0] - time for time, x in inside if x in shown]
        if shifts:
            # A frame beside a cut may be held, before its time or after it: its own time is the one that counts.
            usual = statistics.median(shifts)
            shifts = [
                min((at - time for at in shown[x]), key=lambda shift: abs(shift - usual))
                for time, x in inside
                if x in shown
            ]
        if not moved and len(inside) > 2 and len(unique) > 0.8 * len(source.frames):
            if len(shifts) < 0.8 * len(inside) - 1:
                yield f"{len(shifts)} source frames found of {len(inside)}"
            if shifts and max(shifts) - min(shifts) > SYNC:
                yield f"source frames move by {min(shifts):.3f} to {max(shifts):.3f} s"
        if shifts:
            video_shift = statistics.median(shifts)
        elif "--start" in arguments:
            return
    elif "--start" in arguments:
        return
    audio_in, audio_out = ([i for i, kind in x.kinds.items() if kind == "audio"] for x in (source, made))
    if len(audio_in) != len(audio_out):
        if "audio" not in said and "sound" not in said and "--start" not in arguments:
            yield f"{len(audio_in)} audio streams became {len(audio_out)}"
        return
    if moved:
        return  # the times that ffmpeg states are not those at which frames are shown
    for a, b in zip(audio_in, audio_out, strict=True):
        before, after = source.packets.get(a), made.packets.get(b)
        if not before or not after:
            continue
        common = [after[key] - before[key] for key in before.keys() & after.keys()]
        # ffprobe may add the encoder's delay to the start of one file and not of the other: one packet proves nothing.
        if not common and "--start" not in arguments and len(after) > 2:
            common = [max(0.0, made.starts[b]) - source.starts[a]]
        if common and abs(statistics.median(common) - video_shift) > SYNC:
            yield f"sound {statistics.median(common) - video_shift:+.3f} s against the picture"
        if common and len(common) > 2 and max(common) - min(common) > SYNC:
            yield f"sound moves by {min(common):.3f} to {max(common):.3f} s"


def length_of(frames: Sequence[tuple[float, str]]) -> float:
    """The length of a video in seconds, whose last frame is as long as the others on average."""
    count = len(frames)
    return (frames[-1][0] - frames[0][0]) * count / max(1, count - 1)


def _compare_streams(probe: dict[str, Any], result: dict[str, Any], said: str, silent: set[str]) -> Iterator[str]:
    """Compare streams and tags; of the kinds in `silent` a stream has no packet in the part that was converted."""

    def kinds(description: dict[str, Any]) -> collections.Counter[str]:
        return collections.Counter(
            "cover" if stream.get("disposition", {}).get("attached_pic") else stream.get("codec_type", "unknown")
            for stream in description.get("streams", [])
        )

    before, after = kinds(probe), kinds(result)
    for kind in before:
        lost = before[kind] - after[kind]
        if kind == "subtitle" and kind in silent:
            continue
        if kind == "data" and ("timecode" in json.dumps(result).lower() or result.get("chapters")):
            continue  # a timecode track becomes a tag, a track of chapters chapters
        if lost > 0 and kind not in said and not (kind == "audio" and "sound" in said):
            yield f"{lost} {kind} streams lost, and not named"
    tags = {key.lower(): value for key, value in result.get("format", {}).get("tags", {}).items()}
    values = set(tags.values())
    for key, value in content_tags(probe.get("format", {}).get("tags", {})).items():
        kept = key.lower() in tags or value in values
        if not kept and key.lower() not in said and "and others" not in said and value.strip():
            yield f"tag {key} lost, and not named"
    if "cannot hold" in said:
        for key in tags:
            if f"tag {key}," in said or f"tag {key}." in said:
                yield f"tag {key} kept, but named as lost"


def _compare_colour(probe: dict[str, Any], result: dict[str, Any], said: str) -> Iterator[str]:
    first, second = (
        next((s for s in x.get("streams", []) if s.get("codec_type") == "video"), {}) for x in (probe, result)
    )
    if str(first.get("pix_fmt", "")).startswith(("rgb", "bgr", "gbr", "pal", "argb", "abgr", "mono", "gray")):
        return
    for key in ("color_primaries", "color_transfer", "color_space"):
        before, after = first.get(key, "unknown"), second.get(key, "unknown")
        if before not in ("unknown", "reserved", "gbr") and before != after:
            yield f"{key} {before} became {after}"
    before, after = first.get("sample_aspect_ratio", "1:1"), second.get("sample_aspect_ratio", "1:1")
    if before not in ("0:1", "N/A") and before != after and "aspect" not in said and "pixel" not in said:
        a, b = (float(x.split(":")[0]) / float(x.split(":")[1]) for x in (before, after))
        if abs(a / b - 1) > 0.005:
            yield f"sample aspect ratio {before} became {after}"


def read_content(path: Path, end: float | None) -> Content:
    """Decode the picture, and read the other packets, up to `end` seconds after the first frame."""
    content = Content()
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            videos = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
            if not videos:
                return content
            chosen = max(videos, key=lambda stream: stream.frames)
            chosen.thread_type = "AUTO"
            content.kinds = {s.index: s.type for s in container.streams if s.index != chosen.index}
            first: float | None = None
            stamps: list[float] = []
            for packet in container.demux([s for s in container.streams if s.type in ("video", "audio", "subtitle")]):
                if packet.stream.index != chosen.index:
                    if packet.pts is not None and packet.size and not packet.is_discard:
                        digest = hashlib.md5(bytes(packet)).hexdigest()
                        times = content.packets.setdefault(packet.stream.index, {})
                        content.starts.setdefault(packet.stream.index, float(packet.pts * packet.time_base))
                        if digest in times:
                            times[digest] = float("nan")  # the same content twice says nothing about time
                        else:
                            times[digest] = float(packet.pts * packet.time_base)
                    continue
                if packet.size and packet.dts is not None:
                    stamps.append(float(packet.dts * packet.time_base))
                try:
                    frames: list[Any] = packet.decode()
                except av.error.FFmpegError:
                    continue
                for frame in frames:
                    if frame.time is None:
                        continue
                    first = frame.time if first is None else first
                    content.frames.append((frame.time, frame_hash(frame)))
                    content.formats.add((frame.format.name, frame.width, frame.height))
                if end is not None and first is not None and content.frames[-1][0] > first + end:
                    break
            if container.format.name == "avi":
                # AVI numbers its packets; the frames that leave the decoder follow each other in that order.
                content.frames = [(time, digest) for time, (_, digest) in zip(stamps, content.frames, strict=False)]
    except (av.error.FFmpegError, OSError, ValueError):
        pass
    content.frames.sort()
    for number, times in content.packets.items():
        content.packets[number] = {key: time for key, time in times.items() if time == time}
    return content


def frame_hash(frame: av.VideoFrame) -> str:
    """A hash of the samples, without the padding of lines."""
    digest = hashlib.md5()
    for plane in frame.planes:
        width = plane.width * max(1, frame.format.components[0].bits + 7 >> 3) if len(frame.planes) > 1 else None
        data = memoryview(plane)
        for row in range(plane.height):
            begin = row * plane.line_size
            digest.update(data[begin : begin + (width or plane.line_size)])
    return digest.hexdigest()


def ffprobe(path: Path) -> dict[str, Any]:
    """Streams, format and tags, as ffprobe says."""
    command = ["ffprobe", "-v", "error", "-show_streams", "-show_format", "-show_chapters", "-of", "json", str(path)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=LIMIT, check=False)
        return dict(json.loads(done.stdout or b"{}"))
    except (subprocess.TimeoutExpired, ValueError):
        return {}


def ffmpeg_decodes(path: Path) -> bool:
    """Whether ffmpeg decodes two pictures of the file."""
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-map", "0:v:0", "-frames:v", "2", "-f", "framemd5", "-"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=LIMIT, check=False, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        return False
    return sum(not line.startswith(b"#") for line in done.stdout.splitlines()) >= 1


if __name__ == "__main__":
    main()

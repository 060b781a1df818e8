"""How stable regions are along a video, and how much time they take compared with DIS.

    python benchmarks/masks.py --root ../shared/data/eval/davis_dev [--frames N] [--after N] [--json FILE] [NAME ...]
    python benchmarks/masks.py --root ../shared/data/eval/davis_dev --sheet FILE.jpg [--columns 0,1,15,30] [NAME ...]

A root has a folder of frames for each sequence. Motion is measured by OpenCV's DIS (medium) at full size, another
search than the one that finds the regions, and used only where both directions agree to a pixel. The columns:

- in pair: the share of pixels whose label in frame 0 is also found in frame 1 where the flow leads; "if copied": the
  same share if the labels of frame 0 are used for frame 1 as well, as a method that ignores motion would have it.
- across pairs: the share of pixels of a frame that have the same label as the second frame of one pair and as the first
  of the next; "afresh": the same share if every pair is processed by itself.
- after N: the share of pixels that still have the label of N frames ago, followed by the flows from frame to frame.
- ms: the median time to find the regions of a pair, and of `models.dis` in both directions (as dis prepares a pair), in
  turns; CPU: the processor time of all cores, which is more meaningful on a busy machine; ratio: of the two CPU times.

`--sheet` measures nothing; it lays the labels over some frames of each sequence, a row for each sequence: column k
shows frame k as the first of its pair, with labels tracked from frame 0 on.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from betwixt.masks.regions import RegionTracker, find_regions
from betwixt.models.dis.interpolator import find_flows
from betwixt.runtime.map_images import overlay_labels

Array = NDArray[Any]


def warp(image: Array, flow: Array, interpolation: int) -> Array:
    """`image` sampled at each pixel's position plus `flow`."""
    h, w = flow.shape[:2]
    positions = flow + np.stack(np.meshgrid(np.arange(w), np.arange(h)), 2).astype(np.float32)
    return cv2.remap(image, positions, None, interpolation, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]


def consistent_flow(first: Array, second: Array) -> tuple[Array, Array]:
    """The flow from `first` to `second`, and where it stays inside the frame and the backward flow agrees with it."""
    dis: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    forward, backward = dis.calc(first, second, None), dis.calc(second, first, None)
    h, w = first.shape
    x, y = np.arange(w) + forward[..., 0], np.arange(h)[:, None] + forward[..., 1]
    agrees = np.linalg.norm(forward + warp(backward, forward, cv2.INTER_LINEAR), axis=2) < 1
    return forward, agrees & (x >= 0) & (x <= w - 1) & (y >= 0) & (y <= h - 1)


def read_frames(folder: Path, count: int | None) -> list[Array]:
    """The first frames in a folder, RGB."""
    paths = sorted(p for p in folder.iterdir() if p.suffix in (".jpg", ".png", ".webp"))[:count]
    return [np.ascontiguousarray(cv2.imread(str(p))[..., ::-1]) for p in paths]


def draw_overlays(folder: Path, columns: list[int], width: int = 280) -> Array:
    """Overlays of some frames of a sequence, side by side."""
    frames = read_frames(folder, max(columns) + 2)
    tracker, tiles = RegionTracker(), []
    for k in range(len(frames) - 1):
        labels = tracker.pair(frames[k], frames[k + 1]).labels0
        if k in columns:
            image = overlay_labels(frames[k], labels)
            tiles.append(cv2.resize(image, (width, round(width * 9 / 16)), interpolation=cv2.INTER_AREA))
    return np.hstack(tiles)


def measure(folder: Path, count: int | None, after: int) -> dict[str, float]:
    """Measure one sequence."""
    frames = read_frames(folder, count)
    greys = [cv2.cvtColor(f, cv2.COLOR_RGB2GRAY) for f in frames]
    tracker = RegionTracker()
    own: list[tuple[float, float]] = []
    dis: list[tuple[float, float]] = []
    pairs = []
    for k in range(len(frames) - 1):
        began = time.perf_counter(), time.process_time()
        pairs.append(tracker.pair(frames[k], frames[k + 1]))
        middle = time.perf_counter(), time.process_time()
        find_flows(greys[k], greys[k + 1])
        dis.append((time.perf_counter() - middle[0], time.process_time() - middle[1]))
        own.append((middle[0] - began[0], middle[1] - began[1]))
    alone = [find_regions(frames[k], frames[k + 1]) for k in range(len(frames) - 1)]
    flows = [consistent_flow(a, b) for a, b in itertools.pairwise(greys)]
    inside, copied, kept = [], [], []
    for k, (pair, (flow, consistent)) in enumerate(zip(pairs, flows, strict=True)):
        inside.append((warp(pair.labels1, flow, cv2.INTER_NEAREST) == pair.labels0)[consistent].mean())
        copied.append((warp(pair.labels0, flow, cv2.INTER_NEAREST) == pair.labels0)[consistent].mean())
        if k + after < len(pairs):
            total, good = np.zeros_like(flow), np.ones(flow.shape[:2], bool)
            for step, ok in flows[k : k + after]:
                good &= warp(ok.astype(np.uint8), total, cv2.INTER_NEAREST) > 0
                total = total + warp(step, total, cv2.INTER_LINEAR)
            then = warp(pairs[k + after].labels0, total, cv2.INTER_NEAREST)
            if good.any():
                kept.append((then == pair.labels0)[good].mean())
    across = [(a.labels1 == b.labels0).mean() for a, b in itertools.pairwise(pairs)]
    afresh = [(a.labels1 == b.labels0).mean() for a, b in itertools.pairwise(alone)]
    return {
        "pairs": len(pairs),
        "regions": float(np.mean([len(np.unique(p.labels0)) for p in pairs])),
        "in_pair": float(np.mean(inside)),
        "if_copied": float(np.mean(copied)),
        "across_pairs": float(np.mean(across)),
        "afresh": float(np.mean(afresh)),
        "after": float(np.mean(kept)) if kept else float("nan"),
        **dict(zip(("ms", "cpu_ms"), (1e3 * np.median(own, axis=0)).tolist(), strict=True)),
        **dict(zip(("dis_ms", "dis_cpu_ms"), (1e3 * np.median(dis, axis=0)).tolist(), strict=True)),
    }


def main() -> None:
    """Print a line for each sequence, and their mean."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sequences", nargs="*")
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--frames", type=int)
    parser.add_argument("--after", type=int, default=10)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--sheet", type=Path)
    parser.add_argument("--columns", default="0,1,15,30")
    arguments = parser.parse_args()
    names = arguments.sequences or sorted(p.name for p in arguments.root.iterdir() if p.is_dir())
    if arguments.sheet is not None:
        columns = [int(text) for text in arguments.columns.split(",")]
        sheet = np.vstack([draw_overlays(arguments.root / name, columns) for name in names])
        cv2.imwrite(str(arguments.sheet), sheet[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 78])
        return
    rows = {name: measure(arguments.root / name, arguments.frames, arguments.after) for name in names}
    rows["mean"] = {key: float(np.mean([row[key] for row in rows.values()])) for key in next(iter(rows.values()))}
    head = ("pairs", "regions", "in pair", "if copied", "across pairs", "afresh", f"after {arguments.after}")
    head += ("ms", "CPU ms", "DIS ms", "DIS CPU ms", "ratio")
    print(f"{'':20}" + "".join(f"{title:>13}" for title in head))
    for name, row in rows.items():
        shares = (row[key] for key in ("in_pair", "if_copied", "across_pairs", "afresh", "after"))
        times = [row[key] for key in ("ms", "cpu_ms", "dis_ms", "dis_cpu_ms")]
        print(
            f"{name:20}{row['pairs']:13.0f}{row['regions']:13.1f}"
            + "".join(f"{share:13.3f}" for share in shares)
            + "".join(f"{ms:13.1f}" for ms in times)
            + f"{row['cpu_ms'] / row['dis_cpu_ms']:13.2f}"
        )
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""Precision and recall of cut detection on clips with hand-checked cuts.

    python benchmarks/cuts.py --root ../shared/data/train [--sheet DIR] [--stride N] [CLIP ...]

Compares `betwixt.media.scenes.CutDetector` with two detectors of PySceneDetect, each with its defaults and with a
least scene length of one frame: ContentDetector, which puts a threshold on the change of hue, saturation and
brightness, and AdaptiveDetector, which compares that change with the mean of the frames around. All see the same
frames, 256 pixels wide.

The ground truth is in `cuts/CLIP.csv` beside this file: `frame` (from 0, the first frame of the new shot), `kind` and
`note`. It was labelled by eye on contact sheets of all pairs that any detector reports and of the pairs with the next
highest scores. A *cut* is a change from one image to an unrelated one between two frames, however similar they look
(the same set from another angle, one line of text replaced by another). `fade` (a step of a fade, even the largest)
and `motion` are not cuts, and count as errors if reported. `ambiguous` pairs do not count. A clip without a file has
no cuts.

`--sheet DIR` writes one contact sheet per clip: each row shows frames i-2, i-1 | i, i+1 for every cut, every reported
pair and the pairs with the lowest scores besides. `--stride N` keeps every Nth frame, for motion N times as fast.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from scenedetect import AdaptiveDetector, ContentDetector, FrameTimecode

from betwixt.media.scenes import CutDetector, pair_score, thumbnail_size

Image = NDArray[np.uint8]
TRUTH = Path(__file__).parent / "cuts"
UNREPORTED_PAIRS = 12
"""Number of pairs on a contact sheet that no detector reported."""
SHEET_WIDTH = 200


def read_frames(path: Path, stride: int) -> Iterator[Image]:
    """The frames of a clip, BGR, 256 pixels wide: the size PySceneDetect reduces its frames to."""
    with av.open(str(path)) as container:
        for index, frame in enumerate(container.decode(video=0)):
            if index % stride == 0:
                height = max(2, round(frame.height * 256 / frame.width / 2) * 2)
                image = frame.to_ndarray(format="bgr24", width=256, height=height, interpolation="AREA")
                yield np.asarray(image, np.uint8)


def read_labels(name: str, stride: int) -> dict[int, str]:
    """The labels of a clip, by frame number, if only every `stride`th frame is kept."""
    path = TRUTH / f"{name}.csv"
    if not path.exists():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        rows = [(int(row["frame"]), row["kind"]) for row in csv.DictReader(file)]
    # A cut takes precedence over other labels of the same pair.
    return {-(-frame // stride): kind for frame, kind in sorted(rows, key=lambda row: row[1] == "cut")}


def scale_down(frame: Image) -> Image:
    """The thumbnail that Betwixt's detector takes."""
    size = thumbnail_size(frame.shape[1], frame.shape[0])
    return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)


def detect_with_betwixt(frames: Iterable[Image]) -> list[int]:
    """The cuts that Betwixt reports."""
    detector, decisions = CutDetector(), []
    for frame in frames:
        decisions += detector.push(frame)
    decisions += detector.flush()
    return [index for index, cut in enumerate(decisions) if cut]


def detect_with_scenedetect(detector: Any, frames: Iterable[Image]) -> list[int]:
    """The cuts that one of PySceneDetect's detectors reports."""
    cuts, at = [], FrameTimecode(0, 25.0)
    for index, frame in enumerate(frames):
        at = FrameTimecode(index, 25.0)
        cuts += detector.process_frame(at, frame)
    cuts += detector.post_process(at)
    return sorted({cut.frame_num for cut in cuts})


def write_sheet(path: Path, frames: list[Image], truth: dict[int, str], reported: list[int]) -> None:
    """Write the contact sheet of one clip."""
    thumbnails = [scale_down(frame) for frame in frames]
    scores = {
        i: pair_score(thumbnails[i - 1], thumbnails[i])
        for i in range(1, len(frames))
        if np.mean(cv2.absdiff(thumbnails[i - 1], thumbnails[i])) > 1
    }
    rest = sorted((i for i in scores if i not in reported and i not in truth), key=lambda i: scores[i])
    rows = []
    for i in sorted({*reported, *truth, *rest[:UNREPORTED_PAIRS]}):
        cells: list[Any] = []
        for j in range(i - 2, i + 2):
            frame = frames[j] if 0 <= j < len(frames) else np.zeros_like(frames[0])
            height = round(SHEET_WIDTH * frame.shape[0] / frame.shape[1])
            cells.append(cv2.resize(frame, (SHEET_WIDTH, height), interpolation=cv2.INTER_AREA))
        cells.insert(2, np.full((cells[0].shape[0], 4, 3), (0, 0, 255), np.uint8))
        row = cv2.copyMakeBorder(np.hstack(cells), 16, 2, 0, 8, cv2.BORDER_CONSTANT)
        decision = "cut" if i in reported else "no cut"
        caption = f"{i}: {decision}, score {scores.get(i, 1.0):.2f}, truth {truth.get(i, '-')}"
        colour = (255, 255, 255) if (i in reported) == (truth.get(i) == "cut") else (0, 128, 255)
        cv2.putText(row, caption, (4, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.4, colour, 1, cv2.LINE_AA)
        rows.append(row)
    columns = -(-len(rows) // 25)
    rows += [np.zeros_like(rows[0])] * (-len(rows) % columns)
    each = len(rows) // columns
    stacked = [np.vstack(rows[c * each : (c + 1) * each]) for c in range(columns)]
    cv2.imwrite(str(path), np.hstack(stacked))


def main() -> None:
    """Run the detectors on the clips and print precision and recall."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("clips", nargs="*", metavar="CLIP", help="names without .mp4; all of the folder if none")
    parser.add_argument("--root", type=Path, required=True, help="folder of the clips")
    parser.add_argument("--sheet", type=Path, help="folder for contact sheets")
    parser.add_argument("--stride", type=int, default=1, help="keep every Nth frame")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    detectors: dict[str, Any] = {
        "Betwixt": None,
        "ContentDetector": lambda: ContentDetector(),
        "AdaptiveDetector": lambda: AdaptiveDetector(),
        "ContentDetector, min 1": lambda: ContentDetector(min_scene_len=1),
        "AdaptiveDetector, min 1": lambda: AdaptiveDetector(min_scene_len=1),
    }
    totals = {name: np.zeros(3, int) for name in detectors}
    if arguments.sheet:
        arguments.sheet.mkdir(parents=True, exist_ok=True)
    paths = [p for p in sorted(arguments.root.glob("*.mp4")) if not arguments.clips or p.stem in arguments.clips]
    seconds, frame_count = 0.0, 0
    for path in paths:
        frames = list(read_frames(path, arguments.stride))
        truth = read_labels(path.stem, arguments.stride)
        cuts = {i for i, kind in truth.items() if kind == "cut"}
        skipped = {i for i, kind in truth.items() if kind == "ambiguous"}
        print(f"{path.stem}: {len(frames)} frames, {len(cuts)} cuts")
        for name, make in detectors.items():
            if make is None:
                thumbnails = [scale_down(frame) for frame in frames]
                start = time.perf_counter()
                reported = detect_with_betwixt(thumbnails)
                seconds, frame_count = seconds + time.perf_counter() - start, frame_count + len(frames)
                if arguments.sheet:
                    write_sheet(arguments.sheet / f"{path.stem}.png", frames, truth, reported)
            else:
                reported = detect_with_scenedetect(make(), frames)
            found, wrong = cuts & set(reported), sorted(set(reported) - cuts - skipped)
            missed = sorted(cuts - found)
            totals[name] += len(found), len(wrong), len(missed)
            if wrong or missed:
                print(f"  {name}: missed {shorten(missed)}, wrong {shorten(wrong)}")
    print(f"\n{'detector':26} {'found':>6} {'wrong':>6} {'missed':>7} {'precision':>10} {'recall':>7}")
    for name, (found, wrong, missed) in totals.items():
        precision, recall = found / max(1, found + wrong), found / max(1, found + missed)
        print(f"{name:26} {found:6} {wrong:6} {missed:7} {precision:10.3f} {recall:7.3f}")
    print(f"Betwixt: {1000 * seconds / max(1, frame_count):.2f} ms a frame on one core, without making the thumbnails")


def shorten(frames: list[int]) -> str:
    """The first frame numbers of a list."""
    shown = ", ".join(str(frame) for frame in frames[:12])
    return f"[{shown}{', ...' if len(frames) > 12 else ''}]" + (f" ({len(frames)})" if len(frames) > 12 else "")


if __name__ == "__main__":
    main()

"""How good and how fast frames made without a network are: averaging, the DIS midpoint, `dis`, ffmpeg's minterpolate.

    python benchmarks/classical.py --root DIR [--set ucf101] [--set middlebury] [--set davis] [--stride N] [--jobs N]
    python benchmarks/classical.py --size 1280x720

The first form leaves out the middle one of three frames, restores it, and prints, for each method, means over triplets:
the PSNR over RGB of the frame rounded to 8 bit and (in brackets) of the frame as it was made, the interpolation error
(mean absolute difference of the rounded frame), and seconds a frame on one thread.

    DIR/ucf101_interp_ours/ID/{frame_00,frame_01_gt,frame_02}.{png,webp}     379 triplets, 256x256
    DIR/middlebury_other/{input/NAME/frame10,frame11.png, gt/NAME/frame10i11.png}     12 triplets
    DIR/davis_dev/SEQUENCE/*.jpg     every three consecutive frames

minterpolate needs more of a video than two frames (it looks one frame back and one ahead), so it is only measured on
sequences: each is given to it at half rate twice, the even frames and then the odd ones, which covers every triplet. It
gives 8 bit, so it has no figure in brackets; its time is wall time, where the others' is processor time. It is left out
if ffmpeg is not on the PATH.

The second form prints how long `dis` takes for one frame of yuv420p, step by step, on one thread.
"""

from __future__ import annotations

import argparse
import functools
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import Pool
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from betwixt.layers.planes import synthesize_planes
from betwixt.models.base import Image
from betwixt.models.dis import DIS

Picture = NDArray[np.uint8]
Files = tuple[Path, Path, Path]

MINTERPOLATE = "minterpolate=fps=2:scd=none:mi_mode=mci:mc_mode=aobmc:me_mode=bidir:vsbmc=1"


@dataclass(frozen=True)
class Score:
    """What a method did to one triplet."""

    psnr: float
    psnr_exact: float
    error: float
    seconds: float


def read(path: Path) -> Picture:
    """A picture file as RGB."""
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise SystemExit(f"{path} cannot be read: give a --root that holds the data sets.")
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)


def ucf101(root: Path) -> list[list[Files]]:
    """The triplets of each UCF101 folder: one."""
    folders = sorted((root / "ucf101_interp_ours").glob("*/"))
    return [[(_image(d, "frame_00"), _image(d, "frame_01_gt"), _image(d, "frame_02"))] for d in folders]


def middlebury(root: Path) -> list[list[Files]]:
    """The triplets of each Middlebury sequence: one."""
    folder = root / "middlebury_other"
    names = sorted(d.name for d in (folder / "gt").glob("*/"))
    given, truth = folder / "input", folder / "gt"
    return [[(given / n / "frame10.png", truth / n / "frame10i11.png", given / n / "frame11.png")] for n in names]


def davis(root: Path) -> list[list[Files]]:
    """Every three consecutive frames of each DAVIS sequence."""
    sequences = [sorted(d.glob("*.jpg")) for d in sorted((root / "davis_dev").glob("*/"))]
    return [[(s[i], s[i + 1], s[i + 2]) for i in range(len(s) - 2)] for s in sequences]


def _image(folder: Path, stem: str) -> Path:
    png = folder / f"{stem}.png"
    return png if png.exists() else png.with_suffix(".webp")


def average(first: Image, second: Image) -> Image:
    """The mean of the two frames."""
    return (first + second) / np.float32(2)


def midpoint(first: Image, second: Image) -> Image:
    """Plain DIS: each frame warped by half of the flow that starts at the other; their mean."""
    grey = [cv2.cvtColor(np.rint(x * 255).astype(np.uint8), cv2.COLOR_RGB2GRAY) for x in (first, second)]
    search: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    height, width = first.shape[:2]
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), 2).astype(np.float32)
    result = np.zeros_like(first)
    for frame, source, target in ((first, grey[1], grey[0]), (second, grey[0], grey[1])):
        place: Any = grid + search.calc(source, target, None) / 2
        result += cv2.remap(frame, place[..., 0], place[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return result / np.float32(2)


def dis(first: Image, second: Image) -> Image:
    """Betwixt's `dis`."""
    return DIS().prepare(first, second).at(0.5)


METHODS: dict[str, Callable[[Image, Image], Image]] = {
    "average": average,
    "DIS midpoint": midpoint,
    "betwixt dis": dis,
}
SETS: dict[str, Callable[[Path], list[list[Files]]]] = {"ucf101": ucf101, "middlebury": middlebury, "davis": davis}


def judge(made: NDArray[Any], truth: Picture, seconds: float) -> Score:
    """Compare a frame, RGB from 0 to 255, with the true one."""
    rounded = np.floor(made + 0.5)
    return Score(_psnr(rounded, truth), _psnr(made, truth), float(np.abs(rounded - truth).mean()), seconds)


def _psnr(made: NDArray[Any], truth: Picture) -> float:
    mean = float(np.mean((made.astype(np.float64) - truth) ** 2))
    return float(10 * np.log10(255**2 / mean)) if mean else float("inf")


def restore(method: str, files: Files) -> Score:
    """Make the middle one of three frames and judge it."""
    cv2.setNumThreads(1)
    before, truth, after = (read(path) for path in files)
    first, second = (x.astype(np.float32) / np.float32(255) for x in (before, after))
    began = time.process_time()
    made = METHODS[method](first, second)
    return judge(made * 255, truth, time.process_time() - began)


def restore_by_ffmpeg(triplets: list[Files]) -> list[Score]:
    """Make the middle frames of consecutive triplets by minterpolate, from the sequence at half rate."""
    names = [triplets[0][0], triplets[0][1], *(t[2] for t in triplets)]
    frames = [read(path) for path in names]
    height, width = frames[0].shape[:2]
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24"]
    command = ["ffmpeg", "-v", "error", "-threads", "1", *raw, "-s", f"{width}x{height}", "-r", "1", "-i", "-"]
    command += ["-filter_threads", "1", "-vf", f"format=yuv444p,{MINTERPOLATE}", "-fps_mode", "passthrough", *raw, "-"]
    scores = []
    for start in (0, 1):
        kept = frames[start::2]
        # The filter holds its last frames back: repeats of the last one push them out.
        given = b"".join(x.tobytes() for x in [*kept, kept[-1], kept[-1], kept[-1]])
        began = time.perf_counter()
        done = subprocess.run(command, input=given, check=True, capture_output=True)
        count = len(kept) - 1
        seconds = (time.perf_counter() - began) / max(1, count)
        made = np.frombuffer(done.stdout, np.uint8).reshape(-1, height, width, 3)
        scores += [judge(made[2 * i + 1], frames[start + 2 * i + 1], seconds) for i in range(count)]
    return scores


def table(sets: Sequence[str], root: Path, stride: int, jobs: int) -> Iterator[str]:
    """Measure everything; the lines of the table."""
    yield f"{'set':<12}{'triplets':>9}  {'method':<14}{'PSNR (exact)':>16}{'IE':>8}{'s a frame':>11}"
    with Pool(jobs) as pool:
        for name in sets:
            sequences = SETS[name](root)
            triplets = [t for sequence in sequences for t in sequence][::stride]
            if not triplets:
                yield f"{name:<12}{'-':>9}  not found under {root}"
                continue
            for method in METHODS:
                scores = pool.map(functools.partial(restore, method), triplets, chunksize=4)
                yield _line(name, method, scores)
            if max(map(len, sequences)) > 1 and stride == 1:
                if shutil.which("ffmpeg") is None:
                    yield f"{name:<12}{'-':>9}  minterpolate: left out, ffmpeg is not on the PATH"
                    continue
                parts = pool.map(restore_by_ffmpeg, sequences, chunksize=1)
                yield _line(name, "minterpolate", [score for part in parts for score in part], exact=False)


def _line(name: str, method: str, scores: Sequence[Score], exact: bool = True) -> str:
    psnr, unrounded, error, seconds = (
        statistics.fmean(getattr(s, field) for s in scores) for field in ("psnr", "psnr_exact", "error", "seconds")
    )
    both = f"{psnr:.2f} ({unrounded:.2f})" if exact else f"{psnr:.2f}        "
    return f"{name:<12}{len(scores):>9}  {method:<14}{both:>16}{error:>8.3f}{seconds:>11.3f}"


def speed(width: int, height: int, rounds: int) -> str:
    """How long the steps of `dis` take, in ms, on a made picture that turns and grows."""
    cv2.setNumThreads(1)
    noise = np.random.default_rng(0)
    world = np.zeros((height, width), np.float32)
    for sigma in (1.5, 4, 12):
        layer = cv2.GaussianBlur(noise.standard_normal(world.shape).astype(np.float32), (0, 0), sigma)
        world += layer / layer.std()
    world = np.clip(world * 30 + 128, 16, 235)
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), 2, 1.02)
    lumas = [world.astype(np.uint8), cv2.warpAffine(world, turn, (width, height)).astype(np.uint8)]
    half = (-(-width // 2), -(-height // 2))
    frames = [[x, cv2.resize(x, half), cv2.resize(x[:, ::-1], half)] for x in lumas]
    times = []
    for _ in range(rounds + 1):
        clock = [time.process_time()]
        pair = DIS().prepare_luma(lumas[0], lumas[1])
        clock.append(time.process_time())
        motion = pair.motion(0.5)
        clock.append(time.process_time())
        synthesize_planes(frames[0], frames[1], motion, (height, width))
        clock.append(time.process_time())
        times.append(np.diff(clock) * 1000)
    prepare, move, warp = np.median(times[1:], axis=0)
    return (
        f"dis at {width}x{height} yuv420p, one thread, median of {rounds}: prepare {prepare:.1f} ms, "
        f"motion {move:.1f} ms, planes {warp:.1f} ms, together {prepare + move + warp:.1f} ms"
    )


def main() -> None:
    """Read the command line and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--root", type=Path, help="the folder of the data sets")
    parser.add_argument("--set", action="append", choices=SETS, help="only this one; may be repeated")
    parser.add_argument("--stride", type=int, default=1, help="only every Nth triplet")
    parser.add_argument("--jobs", type=int, default=1, help="processes; more than one disturbs the times")
    parser.add_argument("--size", help="measure the speed at WIDTHxHEIGHT")
    parser.add_argument("--rounds", type=int, default=15, help="measurements of the speed")
    arguments = parser.parse_args()
    if arguments.root is None and arguments.size is None:
        parser.error("give --root, --size or both")
    if arguments.size is not None:
        size = re.fullmatch(r"(\d+)x(\d+)", arguments.size)
        if size is None:
            parser.error(f"the size {arguments.size} is not of the form 1280x720")
        print(speed(int(size[1]), int(size[2]), arguments.rounds))
    if arguments.root is not None:
        for line in table(arguments.set or list(SETS), arguments.root, arguments.stride, arguments.jobs):
            print(line)
            sys.stdout.flush()


if __name__ == "__main__":
    main()

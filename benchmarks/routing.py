"""How much time patch routing saves: seconds per frame of `apr`, routed, against `apr-static`, on real frames.

    python benchmarks/routing.py --frames ../shared/data/eval/davis_dev [--size 1920x1080] [--pairs 4] [--flow EBME.pkl]

Both networks have the same random weights: the time does not depend on them. The routes are the reference routes of
section 3.3 at the default keep ratios, 0.1, 0.4, 0.6 and 0.9, determined as in the paper, so which patches are skipped
depends on the frames; the router runs, too, and its time counts. `--flow` is a weights file of EBME, so that the warped
frames differ where they would; without it the motion is that of an untrained network.

Each pair (the frames before and after every tenth frame of each sequence, enlarged to `--size`) goes through both
networks in turn; what depends on the pair alone is timed separately. Look at the ratio: seconds depend on the machine,
and the median of the pairs' ratios is robust against a disturbed one.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from betwixt.evaluation.datasets import DatasetOptions, open_dataset
from betwixt.models.apr.network import APR, APRConfig, APRPair
from betwixt.weights.load import load_weights


def pairs(root: Path, size: tuple[int, int] | None) -> Iterator[tuple[Tensor, Tensor]]:
    """The frames (1, 3, H, W) before and after every tenth frame of each sequence."""
    samples = sorted(open_dataset("frames", root, DatasetOptions()).samples(), key=lambda sample: sample.name)
    mean_of_sequences: dict[str, list[Any]] = {}
    for sample in samples:
        mean_of_sequences.setdefault(sample.group or "", []).append(sample)
    selected = itertools.zip_longest(*(group[5::10] for group in mean_of_sequences.values()))
    for sample in (s for row in selected for s in row if s is not None):
        images = sample.load()
        yield tuple(_to_tensor(image, size) for image in (images.first, images.second))  # type: ignore[misc]


def _to_tensor(image: Any, size: tuple[int, int] | None) -> Tensor:
    if size is not None:
        image = cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)
    tensor = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float() / 255
    height, width = tensor.shape[-2:]
    return torch.nn.functional.pad(tensor, (0, -width % 64, 0, -height % 64), mode="replicate")


def run_timed(function: Callable[[], Any]) -> tuple[Any, float]:
    """The result of a function, and how many seconds it took."""
    began = time.perf_counter()
    result = function()
    return result, time.perf_counter() - began


def main() -> None:
    """Time both and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=Path, required=True, help="folder of sequences of consecutive images")
    parser.add_argument("--size", help="WIDTHxHEIGHT to enlarge the frames to")
    parser.add_argument("--pairs", type=int, default=4)
    parser.add_argument("--flow", type=Path, help="weights of EBME's estimator")
    arguments = parser.parse_args()
    size = tuple(int(side) for side in arguments.size.split("x")) if arguments.size else None
    torch.manual_seed(0)
    routed = APR(APRConfig()).eval()
    if arguments.flow is not None:
        from betwixt.models.ebme.network import EBMESplat

        estimator = EBMESplat()
        load_weights(estimator, arguments.flow)
        routed.estimator.load_state_dict(estimator.estimator.state_dict())
    static = APR(replace(routed.config, mode="frame")).eval()
    static.load_state_dict(routed.state_dict(), strict=False)
    assert routed.router is not None
    half = torch.full((1, 1, 1, 1), 0.5)
    rows = []
    with torch.inference_mode():
        for frame0, frame1 in itertools.islice(pairs(arguments.frames, size), arguments.pairs):
            pair, shared = run_timed(lambda a=frame0, b=frame1: routed.pair(a, b))  # type: ignore[misc]
            assert isinstance(pair, APRPair)
            warped = routed.warp(pair, half)
            routes = routed.reference(warped)
            _, routing = run_timed(lambda p=pair, w=warped: routed.router(p, w))  # type: ignore[misc]
            _, dynamic = run_timed(lambda p=pair, r=routes: routed.at(p, half, r))  # type: ignore[misc]
            _, static_time = run_timed(lambda p=pair: static.at(p, half))  # type: ignore[misc]
            rows.append((shared, static_time, routing + dynamic))
            print(
                f"pair {len(rows)}  {frame0.shape[-1]}x{frame0.shape[-2]}  once per pair {shared:.2f} s  "
                f"static {static_time:.2f} s  routed {routing + dynamic:.2f} s (router {routing:.2f})  "
                f"patches {routes.mean(dim=(0, 2, 3)).tolist()}",
                flush=True,
            )
    shared, static_time, dynamic = np.array(rows).T
    print(
        f"median of {len(rows)} pairs: a frame takes {np.median(dynamic / static_time):.2f} of static's time without "
        f"preparing the pair, {np.median((shared + dynamic) / (shared + static_time)):.2f} with it."
    )


if __name__ == "__main__":
    main()

"""Does hierarchical motion help where targets move far? RIFE with the plug-in against RIFE, both small.

    python benchmarks/hierarchical.py PICTURES OUTPUT [--samples 40000] [--minutes M] [--masks exact|regions] [--flow W]

Both networks begin with the same weights (what the plug-in alone has beside), see the same samples in the same order,
and learn by the paper's losses (equations 12 and 13) and one schedule. The samples are layered scenes: a background cut
from a photograph moves by up to 16 pixels, in front of it one to three rigid layers, cut from others, by 8 to --top
pixels, from frame 0 to frame 1; the frame to be made is the middle one. Masks say which layer a pixel is of (exact),
or are found in the two frames (regions). Every fifth picture is kept for the test.

From frames alone flow is learned slowly. --flow W adds to both losses W times the mean end-point error of the flows
to the exact ones, of the network's last flows and, a tenth of it as in equation 13, of the plug-in's.

Written to OUTPUT, and gone on from where it is there (with the same settings): state.pt, every few minutes and at the
end; curve.csv and curve.png, scores on the same 128 test scenes, with 95 % intervals, also of the difference scene by
scene; settings.json. The last line says how the plug-in does with masks of zeros (table 3 of the paper).
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from betwixt.errors import BetwixtError, InputError, UsageError
from betwixt.evaluation.statistics import SampleStatistics, summarize
from betwixt.masks.regions import find_regions
from betwixt.models.hierarchical.network import HierarchicalConfig, HierarchicalNetwork, build_hierarchical
from betwixt.models.network import MaskPair, Network
from betwixt.models.rife.network import RIFE, RIFEConfig
from betwixt.training.losses import endpoint_error
from betwixt.training.objectives.hierarchical import hierarchical_loss

SMALL = RIFEConfig(teacher=False, widths=(64, 48, 32), context=8)
TEST, TEST_SEED = 128, 10**6
BATCH, RATE, LAST_RATE, WARM_UP, PLUGIN_WEIGHT = 8, 3e-4, 1e-5, 2000, 0.1
NAMES = ("rife", "rife+hm")

Picture = NDArray[np.uint8]


def read_pictures(folder: Path) -> tuple[list[Picture], list[Picture]]:
    """The pictures of a folder, at most 1280 pixels wide: those to learn from; every fifth, to be tested on."""
    pictures = []
    for path in sorted(folder.glob("*")):
        picture = cv2.imread(str(path)) if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp") else None
        if picture is not None:
            ratio = min(1.0, 1280 / picture.shape[1])
            small = cv2.resize(picture, None, fx=ratio, fy=ratio, interpolation=cv2.INTER_AREA)
            pictures.append(np.asarray(small[..., ::-1], np.uint8))
    if len(pictures) < 5:
        raise InputError(f"{folder} holds {len(pictures)} pictures: five or more are needed.")
    return [p for i, p in enumerate(pictures) if i % 5 != 4], pictures[4::5]


def _texture(rng: np.random.Generator, pictures: Sequence[Picture], side: int) -> NDArray[np.float32]:
    """A cut of a picture, (side, side, 3): of four the one with the most detail, since flat ones do not show motion."""
    cuts = []
    for _ in range(4):
        picture = pictures[int(rng.integers(len(pictures)))]
        need = int(min(side * rng.uniform(0.8, 2.0), *picture.shape[:2]))
        top, left = (int(rng.integers(n - need + 1)) for n in picture.shape[:2])
        cuts.append(
            cv2.resize(picture[top : top + need, left : left + need], (side, side), interpolation=cv2.INTER_AREA)
        )
    return np.asarray(max(cuts, key=lambda cut: float(cv2.Laplacian(cut, cv2.CV_32F).std())), np.float32)


def _blob(rng: np.random.Generator, side: int) -> NDArray[np.float32]:
    """A shape in the middle half of a square, (side, side), 1 inside."""
    angle = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    radius = np.full(96, rng.uniform(0.07, 0.17) * side)
    for k in range(1, 5):
        radius *= 1 + rng.normal(0, 0.25 / k) * np.cos(k * angle + rng.uniform(0, 6.3))
    centre = side * rng.uniform(0.35, 0.65, 2)
    points = centre + np.stack((radius * np.cos(angle), radius * np.sin(angle)), axis=-1)
    mask = np.zeros((side, side), np.uint8)
    cv2.fillPoly(mask, [np.rint(points * 8).astype(np.int32)], 255, cv2.LINE_AA, 3)
    return mask.astype(np.float32) / 255


def make_scene(
    rng: np.random.Generator, pictures: Sequence[Picture], size: int, top: float
) -> tuple[Picture, NDArray[np.uint8], NDArray[np.float32]]:
    """A scene of layers that move along straight lines.

    Returns:
        Frame 0, the middle and frame 1, (3, size, size, 3); the layers that frames 0 and 1 show, (2, size, size); the
        motion from frame 0 to frame 1 of what the middle shows, (size, size, 2), pixels, (x, y).
    """
    margin = int(top / 2) + 12
    side = size + 2 * margin
    layers: list[tuple[NDArray[np.float32], NDArray[np.float32] | None, float]]
    layers = [(_texture(rng, pictures, side), None, rng.uniform(0, 16))]
    layers += [
        (_texture(rng, pictures, side), _blob(rng, side), rng.uniform(8, top)) for _ in range(int(rng.integers(1, 4)))
    ]
    motions = [length * np.array([np.cos(a), np.sin(a)]) for _, _, length in layers for a in [rng.uniform(0, 6.283)]]
    frames, labels = np.zeros((3, size, size, 3), np.float32), np.zeros((3, size, size), np.uint8)
    for i, time_ in enumerate((-0.5, 0.0, 0.5)):
        for number, ((texture, mask, _), motion) in enumerate(zip(layers, motions, strict=True)):
            place = np.array([[1, 0, time_ * motion[0] - margin], [0, 1, time_ * motion[1] - margin]])
            colours = cv2.warpAffine(texture, place, (size, size), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
            if mask is None:
                frames[i] = colours
                continue
            alpha = cv2.warpAffine(mask, place, (size, size), flags=cv2.INTER_LINEAR)
            frames[i] += alpha[..., None] * (colours - frames[i])
            labels[i][alpha > 0.5] = number
    motion = np.array(motions, np.float32)[labels[1]]
    return np.clip(np.rint(frames), 0, 255).astype(np.uint8), labels[::2], motion


class Scenes:
    """Batches by their numbers.

    Args:
        pictures: To cut from.
        settings: Those of the run.
        seed: Sample k depends on it and on k alone.
    """

    def __init__(self, pictures: Sequence[Picture], settings: dict[str, Any], seed: int) -> None:
        self._pictures, self._settings, self._seed = pictures, settings, seed

    def batch(self, numbers: range) -> tuple[Tensor, Tensor, Tensor, MaskPair, Tensor]:
        """Frame 0, truth and frame 1, (N, 3, S, S), the masks, and the exact flows from the middle, (N, 4, S, S)."""
        frames, labels, motions = [], [], []
        for number in numbers:
            rng = np.random.default_rng((self._seed, number))
            made, layers, motion = make_scene(rng, self._pictures, self._settings["size"], self._settings["top"])
            if self._settings["masks"] == "regions":
                masks = find_regions(made[0], made[2])
                layers = np.stack((masks.labels0, masks.labels1))
            frames.append(made)
            labels.append(layers)
            motions.append(motion)
        tensors = torch.from_numpy(np.stack(frames)).permute(1, 0, 4, 2, 3).float() / 255
        maps = torch.from_numpy(np.stack(labels))
        first, truth, second = tensors
        half = 0.5 * torch.from_numpy(np.stack(motions)).permute(0, 3, 1, 2)
        masks = MaskPair(maps[:, 0], maps[:, 1], int(maps.max()) + 1)
        return first, truth, second, masks, torch.cat((-half, half), dim=1)


def start(seed: int) -> dict[str, Network]:
    """Both networks, the host's weights the same."""
    torch.manual_seed(seed)
    plain = RIFE(SMALL)
    with_plugin = build_hierarchical(HierarchicalConfig(), SMALL)
    with_plugin.load_host_weights(plain.state_dict())
    return {"rife": plain, "rife+hm": with_plugin}


def middle(network: Network, first: Tensor, second: Tensor, masks: MaskPair | None) -> Tensor:
    """The frame that a network makes."""
    half = torch.full((len(first), 1, 1, 1), 0.5)
    if isinstance(network, HierarchicalNetwork):
        return network(first, second, half, masks).frame
    return network(first, second, half).frame


def loss_of(
    network: Network, first: Tensor, truth: Tensor, second: Tensor, masks: MaskPair, flows: Tensor, flow_weight: float
) -> Tensor:
    """Equation 12 for the host, 13 with the plug-in; both with the exact flows, where they have a weight."""
    half = torch.full((len(first), 1, 1, 1), 0.5)
    alone = None
    if isinstance(network, HierarchicalNetwork):
        found, alone = network.at_with_estimate(network.pair(first, second, masks), half)
    else:
        found = network(first, second, half)
    parts = hierarchical_loss(found, alone, truth)
    if flow_weight:
        assert found.flow_t0 is not None
        assert found.flow_t1 is not None
        parts["reconstruction"] += flow_weight * _distance(torch.cat((found.flow_t0, found.flow_t1), dim=1), flows)
        if alone is not None:
            parts["plug-in"] += flow_weight * _distance(alone.flow, flows)
    return parts["reconstruction"] + PLUGIN_WEIGHT * parts.get("plug-in", torch.zeros(()))


def _distance(found: Tensor, exact: Tensor) -> Tensor:
    return 0.5 * (endpoint_error(found[:, :2], exact[:, :2]) + endpoint_error(found[:, 2:], exact[:, 2:])).mean()


def score(networks: dict[str, Network], scenes: Scenes) -> dict[str, list[float]]:
    """PSNR of every test scene, of frames rounded to 8 bit; "zero" is the plug-in with masks of zeros."""
    found: dict[str, list[float]] = {name: [] for name in (*networks, "zero")}
    with torch.inference_mode():
        for begin in range(0, TEST, BATCH):
            first, truth, second, masks, _ = scenes.batch(range(begin, begin + BATCH))
            for name in found:
                network = networks["rife+hm" if name == "zero" else name].eval()
                made = middle(network, first, second, None if name == "zero" else masks)
                error = ((made * 255).round() / 255 - truth).square().mean(dim=(1, 2, 3))
                found[name] += (-10 * torch.log10(error)).tolist()
    return found


def in_short(values: Sequence[float]) -> SampleStatistics:
    """Mean and interval over scenes, each by itself."""
    return summarize(values, [str(i) for i in range(len(values))])


def rate_at(sample: int, samples: int) -> float:
    """Linear warm-up, then half a cosine."""
    fall = 0.5 * (1 + math.cos(math.pi * min(1.0, sample / samples)))
    return min(1.0, (sample + BATCH) / WARM_UP) * (LAST_RATE + (RATE - LAST_RATE) * fall)


def _save(path: Path, networks: dict[str, Network], optimizers: dict[str, Any], samples: int) -> None:
    state = {
        "samples": samples,
        "networks": {name: network.state_dict() for name, network in networks.items()},
        "optimizers": {name: optimizer.state_dict() for name, optimizer in optimizers.items()},
    }
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)


def _row(samples: int, scores: dict[str, list[float]]) -> dict[str, Any]:
    row: dict[str, Any] = {"samples": samples}
    values = {
        **{name: scores[name] for name in NAMES},
        "difference": [b - a for a, b in zip(scores["rife"], scores["rife+hm"], strict=True)],
        "zero masks": scores["zero"],
    }
    for name, each in values.items():
        summary = in_short(each)
        row |= {name: f"{summary.mean:.3f}", f"{name} low": f"{summary.low:.3f}", f"{name} high": f"{summary.high:.3f}"}
    return row


def _write_curve(folder: Path, rows: list[dict[str, Any]]) -> None:
    with (folder / "curve.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.add_subplot()
    x = [int(row["samples"]) for row in rows]
    for name in NAMES:
        axes.plot(x, [float(row[name]) for row in rows], marker=".", label=name)
        axes.fill_between(x, *([float(row[f"{name} {end}"]) for row in rows] for end in ("low", "high")), alpha=0.15)
    axes.set(xlabel="samples", ylabel="PSNR of the test scenes, dB")
    axes.legend()
    figure.savefig(folder / "curve.png", dpi=110)


def run(arguments: argparse.Namespace) -> None:
    """Train until the end, or for so many minutes."""
    folder: Path = arguments.output
    folder.mkdir(parents=True, exist_ok=True)
    settings = {name: getattr(arguments, name) for name in ("samples", "size", "top", "masks", "flow", "seed")}
    known = folder / "settings.json"
    if known.exists() and json.loads(known.read_text()) != settings:
        raise UsageError(f"{folder} holds a run with other settings ({known}): name another folder.")
    known.write_text(json.dumps(settings, indent=1) + "\n")
    learned, tested = read_pictures(arguments.pictures)
    training, test = Scenes(learned, settings, settings["seed"]), Scenes(tested, settings, TEST_SEED)
    networks = start(settings["seed"])
    optimizers = {
        name: torch.optim.AdamW(network.parameters(), RATE, weight_decay=1e-4) for name, network in networks.items()
    }
    rows: list[dict[str, Any]] = []
    done = 0
    if (folder / "state.pt").exists():
        state = torch.load(folder / "state.pt", weights_only=True)
        done = state["samples"]
        for name in NAMES:
            networks[name].load_state_dict(state["networks"][name])
            optimizers[name].load_state_dict(state["optimizers"][name])
        with (folder / "curve.csv").open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if int(row["samples"]) <= done]
    for name, network in networks.items():
        print(f"{name}: {sum(p.numel() for p in network.parameters()) / 1e6:.2f} M parameters")
    began = saved = time.monotonic()

    def judge() -> None:
        rows.append(_row(done, score(networks, test)))
        _write_curve(folder, rows)
        row = rows[-1]
        print(
            f"{done} samples, {(time.monotonic() - began) / 60:.1f} min: "
            + ", ".join(f"{n} {row[n]} ({row[f'{n} low']} to {row[f'{n} high']})" for n in (*NAMES, "difference")),
            flush=True,
        )

    if not rows:
        judge()
    end = settings["samples"]
    while done < end and (arguments.minutes is None or time.monotonic() - began < 60 * arguments.minutes):
        first, truth, second, masks, flows = training.batch(range(done, done + BATCH))
        for name, network in networks.items():
            network.train()
            for group in optimizers[name].param_groups:
                group["lr"] = rate_at(done, end)
            loss = loss_of(network, first, truth, second, masks, flows, settings["flow"])
            optimizers[name].zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizers[name].step()
        done += BATCH
        if done % arguments.every < BATCH:
            judge()
        if time.monotonic() - saved > 180:
            _save(folder / "state.pt", networks, optimizers, done)
            saved = time.monotonic()
    if int(rows[-1]["samples"]) != done:
        judge()
    _save(folder / "state.pt", networks, optimizers, done)
    row = rows[-1]
    print(f"rife+hm with masks of zeros: {row['zero masks']} ({row['zero masks low']} to {row['zero masks high']})")


def main() -> int:
    """Parse the arguments and do it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path, help="folder of photographs")
    parser.add_argument("output", type=Path)
    parser.add_argument("--samples", type=int, default=40_000, help="in all; the schedule depends on it")
    parser.add_argument("--minutes", type=float, help="stop after so many; the same command goes on")
    parser.add_argument("--every", type=int, default=4_000, help="samples between two tests")
    parser.add_argument("--size", type=int, default=160, help="side of the frames, a multiple of 32")
    parser.add_argument("--top", type=float, default=64.0, help="the largest displacement, pixels")
    parser.add_argument("--masks", choices=("exact", "regions"), default="exact")
    parser.add_argument("--flow", type=float, default=0.0, help="weight of the exact flows in the losses")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(arguments.threads)
    try:
        run(arguments)
    except BetwixtError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Does hierarchical motion help where objects move far? Small RIFE with the plug-in against small RIFE without it.

    python benchmarks/hierarchical.py IMAGES OUTPUT [--samples 40000] [--minutes M] [--masks exact|regions] [--flow W]

Both networks begin with the same weights (except for the plug-in's own), see the same samples in the same order, and
train with the paper's losses (equations 12 and 13) and one schedule. The samples are layered scenes: a background cut
from a photograph moves by up to 16 pixels, and one to three rigid layers, cut from others, move in front of it by 8 to
--top pixels, from frame 0 to frame 1; the middle frame is to be restored. Masks give the layer of each pixel (exact),
or are found in the two frames (regions). Every fifth image is kept for the test.

From frames alone, flow is learned slowly. --flow W adds to both losses W times the mean end-point error against the
exact flows: of the network's last flows and, weighted by a tenth as in equation 13, of the plug-in's.

OUTPUT gets state.pt, every few minutes and at the end, from which the same command resumes; curve.csv and curve.png,
the scores on the same 128 test scenes with 95 % intervals, also of the difference scene by scene; settings.json. The
last line printed is the score of the plug-in with masks of zeros (table 3 of the paper).
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
from betwixt.evaluation.scores import summarize
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

Image8 = NDArray[np.uint8]


def read_images(folder: Path) -> tuple[list[Image8], list[Image8]]:
    """The images of a folder, at most 1280 pixels wide: four of five for training, every fifth for the test."""
    images = []
    for path in sorted(folder.glob("*")):
        image = cv2.imread(str(path)) if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp") else None
        if image is not None:
            ratio = min(1.0, 1280 / image.shape[1])
            small = cv2.resize(image, None, fx=ratio, fy=ratio, interpolation=cv2.INTER_AREA)
            images.append(np.asarray(small[..., ::-1], np.uint8))
    if len(images) < 5:
        raise InputError(f"{folder} has {len(images)} images: at least five are needed.")
    return [image for i, image in enumerate(images) if i % 5 != 4], images[4::5]


def _crop_texture(rng: np.random.Generator, images: Sequence[Image8], side: int) -> NDArray[np.float32]:
    """A crop of an image, (side, side, 3): of four, the one with the most detail, since flat ones show no motion."""
    crops = []
    for _ in range(4):
        image = images[int(rng.integers(len(images)))]
        length = int(min(side * rng.uniform(0.8, 2.0), *image.shape[:2]))
        top, left = (int(rng.integers(n - length + 1)) for n in image.shape[:2])
        crop = image[top : top + length, left : left + length]
        crops.append(cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA))
    return np.asarray(max(crops, key=lambda crop: float(cv2.Laplacian(crop, cv2.CV_32F).std())), np.float32)


def _draw_shape(rng: np.random.Generator, side: int) -> NDArray[np.float32]:
    """A random shape in the middle half of a square, (side, side), 1 inside."""
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
    rng: np.random.Generator, images: Sequence[Image8], size: int, top: float
) -> tuple[Image8, NDArray[np.uint8], NDArray[np.float32]]:
    """A scene of layers that move along straight lines.

    Returns:
        Frame 0, the middle frame and frame 1, (3, size, size, 3); the visible layer of each pixel of frames 0 and 1,
        (2, size, size); the motion from frame 0 to frame 1 at each pixel of the middle frame, (size, size, 2), pixels,
        (x, y).
    """
    margin = int(top / 2) + 12
    side = size + 2 * margin
    layers: list[tuple[NDArray[np.float32], NDArray[np.float32] | None, float]]
    layers = [(_crop_texture(rng, images, side), None, rng.uniform(0, 16))]
    layers += [
        (_crop_texture(rng, images, side), _draw_shape(rng, side), rng.uniform(8, top))
        for _ in range(int(rng.integers(1, 4)))
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
    """Batches of generated scenes.

    Args:
        images: The images to cut layers from.
        settings: The settings of the run.
        seed: Sample k depends on the seed and on k alone.
    """

    def __init__(self, images: Sequence[Image8], settings: dict[str, Any], seed: int) -> None:
        self._images, self._settings, self._seed = images, settings, seed

    def batch(self, numbers: range) -> tuple[Tensor, Tensor, Tensor, MaskPair, Tensor]:
        """Frame 0, true middle frame, frame 1 (N, 3, S, S), masks, and exact flows from the middle (N, 4, S, S)."""
        frames, labels, motions = [], [], []
        for number in numbers:
            rng = np.random.default_rng((self._seed, number))
            scene, layers, motion = make_scene(rng, self._images, self._settings["size"], self._settings["top"])
            if self._settings["masks"] == "regions":
                masks = find_regions(scene[0], scene[2])
                layers = np.stack((masks.labels0, masks.labels1))
            frames.append(scene)
            labels.append(layers)
            motions.append(motion)
        tensors = torch.from_numpy(np.stack(frames)).permute(1, 0, 4, 2, 3).float() / 255
        maps = torch.from_numpy(np.stack(labels))
        first, truth, second = tensors
        half = 0.5 * torch.from_numpy(np.stack(motions)).permute(0, 3, 1, 2)
        masks = MaskPair(maps[:, 0], maps[:, 1], int(maps.max()) + 1)
        return first, truth, second, masks, torch.cat((-half, half), dim=1)


def make_networks(seed: int) -> dict[str, Network]:
    """Both networks, with the same weights of the host network."""
    torch.manual_seed(seed)
    plain = RIFE(SMALL)
    with_plugin = build_hierarchical(HierarchicalConfig(), SMALL)
    with_plugin.load_host_weights(plain.state_dict())
    return {"rife": plain, "rife+hm": with_plugin}


def restore_middle(network: Network, first: Tensor, second: Tensor, masks: MaskPair | None) -> Tensor:
    """The middle frame by a network."""
    half = torch.full((len(first), 1, 1, 1), 0.5)
    if isinstance(network, HierarchicalNetwork):
        return network(first, second, half, masks).frame
    return network(first, second, half).frame


def compute_loss(
    network: Network, first: Tensor, truth: Tensor, second: Tensor, masks: MaskPair, flows: Tensor, flow_weight: float
) -> Tensor:
    """Equation 12 for the host, 13 with the plug-in; plus `flow_weight` times the error against the exact flows."""
    half = torch.full((len(first), 1, 1, 1), 0.5)
    estimate = None
    if isinstance(network, HierarchicalNetwork):
        synthesis, estimate = network.at_with_estimate(network.pair(first, second, masks), half)
    else:
        synthesis = network(first, second, half)
    parts = hierarchical_loss(synthesis, estimate, truth)
    if flow_weight:
        assert synthesis.flow_t0 is not None
        assert synthesis.flow_t1 is not None
        predicted = torch.cat((synthesis.flow_t0, synthesis.flow_t1), dim=1)
        parts["reconstruction"] += flow_weight * _flow_error(predicted, flows)
        if estimate is not None:
            parts["plug-in"] += flow_weight * _flow_error(estimate.flow, flows)
    return parts["reconstruction"] + PLUGIN_WEIGHT * parts.get("plug-in", torch.zeros(()))


def _flow_error(flows: Tensor, exact: Tensor) -> Tensor:
    return 0.5 * (endpoint_error(flows[:, :2], exact[:, :2]) + endpoint_error(flows[:, 2:], exact[:, 2:])).mean()


def score(networks: dict[str, Network], scenes: Scenes) -> dict[str, list[float]]:
    """PSNR of the 8-bit middle frame of every test scene; "zero" is the plug-in with masks of zeros."""
    scores: dict[str, list[float]] = {name: [] for name in (*networks, "zero")}
    with torch.inference_mode():
        for begin in range(0, TEST, BATCH):
            first, truth, second, masks, _ = scenes.batch(range(begin, begin + BATCH))
            for name in scores:
                network = networks["rife+hm" if name == "zero" else name].eval()
                frame = restore_middle(network, first, second, None if name == "zero" else masks)
                error = ((frame * 255).round() / 255 - truth).square().mean(dim=(1, 2, 3))
                scores[name] += (-10 * torch.log10(error)).tolist()
    return scores


def learning_rate(sample: int, samples: int) -> float:
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
        summary = summarize(each, [str(i) for i in range(len(each))])
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
    """Train to the end, or for the given number of minutes."""
    folder: Path = arguments.output
    folder.mkdir(parents=True, exist_ok=True)
    settings = {name: getattr(arguments, name) for name in ("samples", "size", "top", "masks", "flow", "seed")}
    known = folder / "settings.json"
    if known.exists() and json.loads(known.read_text()) != settings:
        raise UsageError(f"{folder} has a run with other settings ({known}): pass another folder.")
    known.write_text(json.dumps(settings, indent=1) + "\n")
    training_images, test_images = read_images(arguments.images)
    training, test = Scenes(training_images, settings, settings["seed"]), Scenes(test_images, settings, TEST_SEED)
    networks = make_networks(settings["seed"])
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

    def evaluate() -> None:
        rows.append(_row(done, score(networks, test)))
        _write_curve(folder, rows)
        row = rows[-1]
        print(
            f"{done} samples, {(time.monotonic() - began) / 60:.1f} min: "
            + ", ".join(f"{n} {row[n]} ({row[f'{n} low']} to {row[f'{n} high']})" for n in (*NAMES, "difference")),
            flush=True,
        )

    if not rows:
        evaluate()
    end = settings["samples"]
    while done < end and (arguments.minutes is None or time.monotonic() - began < 60 * arguments.minutes):
        first, truth, second, masks, flows = training.batch(range(done, done + BATCH))
        for name, network in networks.items():
            network.train()
            for group in optimizers[name].param_groups:
                group["lr"] = learning_rate(done, end)
            loss = compute_loss(network, first, truth, second, masks, flows, settings["flow"])
            optimizers[name].zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizers[name].step()
        done += BATCH
        if done % arguments.every < BATCH:
            evaluate()
        if time.monotonic() - saved > 180:
            _save(folder / "state.pt", networks, optimizers, done)
            saved = time.monotonic()
    if int(rows[-1]["samples"]) != done:
        evaluate()
    _save(folder / "state.pt", networks, optimizers, done)
    row = rows[-1]
    print(f"rife+hm with masks of zeros: {row['zero masks']} ({row['zero masks low']} to {row['zero masks high']})")


def main() -> int:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path, help="folder of photographs")
    parser.add_argument("output", type=Path)
    parser.add_argument("--samples", type=int, default=40_000, help="in total; the schedule depends on it")
    parser.add_argument("--minutes", type=float, help="stop after this time; the same command resumes")
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

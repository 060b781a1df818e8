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

from betwixt.errors import BetwixtError, UsageError
from betwixt.evaluation.scores import summarize
from betwixt.masks.regions import find_regions
from betwixt.models.hierarchical.network import HierarchicalConfig, HierarchicalNetwork, build_hierarchical
from betwixt.models.network import MaskPair, Network
from betwixt.models.rife.network import RIFE, RIFEConfig
from betwixt.training.layered_scenes import make_scene, read_images
from betwixt.training.losses import endpoint_error
from betwixt.training.objectives.hierarchical import hierarchical_loss

SMALL = RIFEConfig(teacher=False, widths=(64, 48, 32), context=8)
TEST, TEST_SEED = 128, 10**6
BATCH, RATE, LAST_RATE, WARM_UP, PLUGIN_WEIGHT = 8, 3e-4, 1e-5, 2000, 0.1
NAMES = ("rife", "rife+hm")

Image8 = NDArray[np.uint8]


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

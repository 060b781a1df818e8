"""betwixt reproduce: small experiments on the papers' claims."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from betwixt.cli import options as o
from betwixt.cli.progress import ProgressDisplay
from betwixt.cli.report import print_json
from betwixt.cli.train import TrainingReporter
from betwixt.errors import UsageError
from betwixt.machine import require_torch


def reproduce(
    claim: Annotated[
        o.Text, typer.Argument(metavar="NAME", help="The claim; without it, the claims are listed.")
    ] = None,
    images: Annotated[
        o.File, typer.Option(metavar="DIR", help="A folder of photographs, at least five, from which scenes are made.")
    ] = None,
    output: Annotated[
        o.File, typer.Option(metavar="DIR", help="The folder of the networks and of result.json. Default: runs/NAME.")
    ] = None,
    samples: Annotated[
        o.Number,
        typer.Option(
            metavar="N", help="Training scenes of each network. Default: the claim's own number; 0 with --weights."
        ),
    ] = None,
    weights: Annotated[
        o.File, typer.Option(metavar="FILE", help="Weights that both networks begin with; claims on cost need them.")
    ] = None,
    treatment_weights: Annotated[
        o.File, typer.Option(metavar="FILE", help="Weights of the network with what is claimed to help.")
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of the initial weights and the training scenes.")] = 1,
    threads: Annotated[int, typer.Option(metavar="N", help="CPU threads.")] = 1,
    as_json: o.AsJson = False,
) -> None:
    """Test a claim of a paper by a small experiment: two networks that differ in one thing, on the same scenes.

    Both begin with the same weights, are trained on the same scenes of moving layers, and are compared on the same test
    scenes, with a 95 % confidence interval of the difference. It takes some hours on one CPU thread. The same command
    resumes an interrupted run.

    Examples:
        betwixt reproduce
        betwixt reproduce rife-distillation --images photos/
        betwixt reproduce apr-routing --images photos/ --weights apr-static.safetensors
    """
    require_torch("Training")
    from betwixt.training.claims import CLAIMS, find_claim, reproduce_claim

    if claim is None:
        if as_json:
            print_json({name: {"paper": c.paper, "text": c.text} for name, c in CLAIMS.items()}, sys.stdout)
            return
        for name, c in CLAIMS.items():
            print(f"{name:20}{c.paper}: {c.text}")
        return
    found = find_claim(claim)
    if images is None:
        raise UsageError("A claim is tested on scenes made of photographs: pass `images`, a folder of them.")
    folder = Path("runs") / claim if output is None else output
    with ProgressDisplay("samples") as display:
        result = reproduce_claim(
            claim, images, folder, TrainingReporter(display), samples=samples, seed=seed, threads=threads,
            weights=weights, treatment_weights=treatment_weights,
        )  # fmt: skip
    if as_json:
        print_json(result.as_dict(), sys.stdout)
        return
    print(f"{found.paper}: {found.text}")
    for arm in found.arms:
        mean = result.mean(arm)
        print(f"  {arm.label}: {mean.mean:.2f} dB ({mean.low:.2f} to {mean.high:.2f})")
    gain = result.difference
    print(f"  the difference, scene by scene: {gain.mean:+.2f} dB ({gain.low:+.2f} to {gain.high:+.2f})")
    for name, change in result.cost_changes.items():
        print(f"  {name}, scene by scene: {change.mean:+.1f} % ({change.low:+.1f} to {change.high:+.1f})")
    scenes = len(result.scores[found.treatment.label])
    print(f"  {scenes} test scenes, {result.samples} training scenes, seed {result.seed}; 95 % intervals; {folder}")

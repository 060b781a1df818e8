"""Training from the shell, in two steps.

python -m betwixt.training prepare RECIPE DATA CACHE
    Decode the clips of DATA (*.mp4, photos/*.jpg) and make the synthetic scenes, once.

python -m betwixt.training run RECIPE CACHE OUTPUT --minutes 60 [--evaluation DIR] [--set key=value]
    Train, going on from the checkpoint in OUTPUT if there is one.

python -m betwixt.training export CHECKPOINT WEIGHTS
    The averaged weights alone, in float16.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cv2
import torch

from betwixt.errors import BetwixtError
from betwixt.training.checkpoint import export_weights
from betwixt.training.loop import train
from betwixt.training.prepare import prepare
from betwixt.training.recipe import load_recipe
from betwixt.training.sources import Clips, Synthetic
from betwixt.training.synthetic import SceneRules


def main() -> int:
    """Parse the arguments and do it."""
    parser = argparse.ArgumentParser(prog="python -m betwixt.training")
    verbs = parser.add_subparsers(dest="verb", required=True)
    first = verbs.add_parser("prepare", help="decode the clips and make the synthetic scenes")
    first.add_argument("recipe", type=Path)
    first.add_argument("data", type=Path)
    first.add_argument("cache", type=Path)
    first.add_argument("--shards", type=int, default=24, help="of 512 synthetic scenes each (default: 24)")
    first.add_argument("--jobs", type=int, default=1, help="processes at work (default: 1)")
    second = verbs.add_parser("run", help="train, going on from the checkpoint in OUTPUT")
    second.add_argument("recipe", type=Path)
    second.add_argument("cache", type=Path)
    second.add_argument("output", type=Path)
    second.add_argument("--minutes", type=float, default=60.0)
    second.add_argument("--until", type=int, help="stop at this sample")
    second.add_argument("--evaluation", type=Path, help="folder of the development sets")
    second.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    second.add_argument("--threads", type=int, default=0, help="of the CPU; 0 for all (default)")
    second.add_argument("--workers", type=int, default=0, help="threads that draw samples ahead (default: none)")
    second.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a setting of [train]")
    third = verbs.add_parser("export", help="write the averaged weights of a checkpoint, in float16")
    third.add_argument("checkpoint", type=Path)
    third.add_argument("weights", type=Path)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    try:
        if arguments.verb == "prepare":
            _, rules = load_recipe(arguments.recipe)
            entries = [
                Clips(exclude=rules.exclude, clips=rules.clips),
                Synthetic(shards=arguments.shards, scenes=SceneRules(blur=0.0)),
            ]
            prepare(entries, arguments.data, arguments.cache, max(1, arguments.jobs), print)
        elif arguments.verb == "export":
            export_weights(arguments.checkpoint, arguments.weights)
        else:
            if arguments.threads:
                torch.set_num_threads(arguments.threads)
            recipe, rules = load_recipe(arguments.recipe, arguments.set)
            train(
                recipe,
                arguments.cache,
                arguments.output,
                minutes=arguments.minutes,
                until=arguments.until,
                evaluation=arguments.evaluation,
                device=arguments.device,
                workers=arguments.workers,
                rules=rules,
            )
    except BetwixtError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())

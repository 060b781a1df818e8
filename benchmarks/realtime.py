"""Measures whether `Smoother` meets the deadlines of a display, in real time.

    python benchmarks/realtime.py [--models dis,compact] [--size 854x480] [--rate 24] [--factor 4] [--seconds 4]

Plays the sample clip as a call by the wall clock: a frame is pushed every `factor` ticks, and an image is pulled at
every tick. If an image takes so long that further ticks pass, these show the last image again and count as missed. The
images of the next `--ahead` ticks are made in advance.
"""

from __future__ import annotations

import argparse
import sys
import time
from fractions import Fraction
from pathlib import Path

import numpy as np

from betwixt.machine import describe_machine
from betwixt.realtime import MODES, Smoother

sys.path.append(str(Path(__file__).parents[1] / "examples"))
from sample import render


def play(smoother: Smoother, frames: list[np.ndarray], rate: Fraction, factor: int) -> tuple[list[float], int]:
    """Play frames to a smoother.

    Returns:
        The seconds from each tick to its image, and how many ticks were missed because an image took too long.
    """
    waits: list[float] = []
    begin = time.monotonic() + 0.05
    sent = tick = missed = 0
    while tick < len(frames):
        due = begin + float(tick / rate)
        time.sleep(max(0.0, due - time.monotonic()))
        while sent <= tick:
            if sent % factor == 0:
                smoother.push(frames[sent], captured=sent / rate, now=begin + float(sent / rate))
            sent += 1
        smoother.pull(due)
        waits.append(time.monotonic() - due)
        # As on a display, the ticks that have passed meanwhile show the last image again.
        following = min(max(tick + 1, int((time.monotonic() - begin) * float(rate))), len(frames))
        missed += following - tick - 1
        tick = following
    return waits, missed


def main() -> None:
    """Print one line for each model and mode."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="dis,compact")
    parser.add_argument("--size", default="854x480")
    parser.add_argument("--rate", type=Fraction, default=Fraction(24))
    parser.add_argument("--factor", type=int, default=4)
    parser.add_argument("--seconds", type=Fraction, default=Fraction(4))
    parser.add_argument("--ahead", type=int, default=2)
    arguments = parser.parse_args()
    width, height = map(int, arguments.size.split("x"))
    count = int(arguments.seconds * arguments.rate)
    # One second of the scene, forwards and backwards: rendering all of it would take longer than playing it.
    second = [render(1 + k / arguments.rate, width=width, height=height) for k in range(int(arguments.rate))]
    order = [*range(len(second)), *range(len(second) - 2, 0, -1)]
    frames = [second[order[k % len(order)]] for k in range(count)]
    tick = float(1 / arguments.rate)
    for model in arguments.models.split(","):
        for mode in MODES:
            with Smoother(
                model,
                rate=arguments.rate,
                source_rate=arguments.rate / arguments.factor,
                mode=mode,
                ahead=arguments.ahead,
            ) as smoother:
                waits, missed = play(smoother, frames, arguments.rate, arguments.factor)
            print(
                f"{model}, {mode}, {arguments.size} at {float(arguments.rate):g}/s, factor {arguments.factor}: median "
                f"{1000 * np.median(waits):.0f} ms, 95 % {1000 * np.quantile(waits, 0.95):.0f} ms after the tick, "
                f"{missed} of {count} ticks of {1000 * tick:.0f} ms without an image of their own"
            )
    print(describe_machine())


if __name__ == "__main__":
    main()

"""Whether `Smoother` meets the display's ticks, in real time.

    python benchmarks/realtime.py [--models dis,compact] [--size 854x480] [--rate 24] [--factor 4] [--seconds 4]

Plays the sample clip as a call by the wall clock: a frame is pushed every `factor` ticks, a picture pulled at every
tick. Where a picture takes so long that further ticks pass, those show the last one again, and count as missed. The
pictures of the next `--ahead` ticks are made ahead.
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


def played(smoother: Smoother, frames: list[np.ndarray], rate: Fraction, factor: int) -> tuple[list[float], int]:
    """Seconds from each tick to its picture, and how many ticks there were no picture for, since one took too long."""
    waits: list[float] = []
    begin = time.monotonic() + 0.05
    sent = tick = skipped = 0
    while tick < len(frames):
        due = begin + float(tick / rate)
        time.sleep(max(0.0, due - time.monotonic()))
        while sent <= tick:
            if sent % factor == 0:
                smoother.push(frames[sent], captured=sent / rate, now=begin + float(sent / rate))
            sent += 1
        smoother.pull(due)
        waits.append(time.monotonic() - due)
        # what a display does: ticks that have passed meanwhile show the last picture again
        following = min(max(tick + 1, int((time.monotonic() - begin) * float(rate))), len(frames))
        skipped += following - tick - 1
        tick = following
    return waits, skipped


def main() -> None:
    """Print a line for each model and mode."""
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
    # one second of the scene, forwards and back: rendering all of it would take longer than playing it
    some = [render(1 + k / arguments.rate, width=width, height=height) for k in range(int(arguments.rate))]
    order = [*range(len(some)), *range(len(some) - 2, 0, -1)]
    frames = [some[order[k % len(order)]] for k in range(count)]
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
                waits, skipped = played(smoother, frames, arguments.rate, arguments.factor)
            print(
                f"{model}, {mode}, {arguments.size} at {float(arguments.rate):g}/s, factor {arguments.factor}: median "
                f"{1000 * np.median(waits):.0f} ms, 95 % {1000 * np.quantile(waits, 0.95):.0f} ms after the tick, "
                f"{skipped} of {count} ticks of {1000 * tick:.0f} ms without a picture of their own"
            )
    print(describe_machine())


if __name__ == "__main__":
    main()

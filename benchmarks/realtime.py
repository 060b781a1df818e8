"""Whether `Smoother` meets the display's ticks, in real time.

    python benchmarks/realtime.py [--models dis,compact] [--size 854x480] [--rate 24] [--factor 4] [--seconds 6]

Plays the sample clip as a call by the wall clock: a frame is pushed every `factor` ticks, a picture pulled at every
tick. A picture is late if it comes later than one tick after it was asked for; then the display repeats the last one.
With the thread that works ahead, the picture of a tick has usually been begun one tick before.
"""

from __future__ import annotations

import argparse
import time
from fractions import Fraction

import numpy as np

from betwixt.evaluation.machine import describe_machine
from betwixt.media.sample import render
from betwixt.realtime import MODES, Smoother


def played(smoother: Smoother, frames: list[np.ndarray], rate: Fraction, factor: int) -> list[float]:
    """Seconds from asking for a picture to having it, for each tick."""
    waits: list[float] = []
    begin = time.monotonic() + 0.05
    for tick, frame in enumerate(frames):
        due = begin + float(tick / rate)
        time.sleep(max(0.0, due - time.monotonic()))
        if tick % factor == 0:
            smoother.push(frame, captured=tick / rate, now=begin + float(tick / rate))
        smoother.pull(begin + float(tick / rate))
        # from when it was due: a picture that is late makes the next one late too
        waits.append(time.monotonic() - due)
    return waits


def main() -> None:
    """Print a line for each model and mode."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="dis,compact")
    parser.add_argument("--size", default="854x480")
    parser.add_argument("--rate", type=Fraction, default=Fraction(24))
    parser.add_argument("--factor", type=int, default=4)
    parser.add_argument("--seconds", type=Fraction, default=Fraction(4))
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
                model, rate=arguments.rate, source_rate=arguments.rate / arguments.factor, mode=mode, ahead=True
            ) as smoother:
                waits = np.array(played(smoother, frames, arguments.rate, arguments.factor)[2 * arguments.factor :])
            late = float(np.mean(waits > tick))
            print(
                f"{model}, {mode}, {arguments.size} at {float(arguments.rate):g}/s, factor {arguments.factor}: median "
                f"{1000 * np.median(waits):.0f} ms, 95 % {1000 * np.quantile(waits, 0.95):.0f} ms after the tick, "
                f"{100 * late:.0f} % of {len(waits)} later than a tick of {1000 * tick:.0f} ms"
            )
    print(describe_machine())


if __name__ == "__main__":
    main()

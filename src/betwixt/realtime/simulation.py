"""The comparison of the paper's appendix E: four ways to show a call over a network that is too slow.

                        ┌─ all frames, low quality ────────────► network ──► shown as they come ──► scheme 1
    clip ── the same ───┤
            bits        └─ every n-th frame, high quality ─────► network ─┬► shown as they come ──► scheme 2
                                                                          ├► Smoother, interpolate
                                                                          └► Smoother, extrapolate

Both streams are really encoded and decoded (`realtime.coding`), at the same bits to a hundredth each, and travel over
the same seeded network (`realtime.network`). At each tick of the display, which runs at the clip's own rate, each
scheme shows a picture; it is compared with the clip's frame of the content time that is due then. So a scheme that
waits is not punished for the wait, which stands in a column of its own, but one that stands still is.

Columns: PSNR and SSIM are the mean over ticks; *flicker* (`evaluation.metrics`) is what of the change from one shown
picture to the next the clip's own motion does not explain: 0 were perfectly smooth, and standing still and then jumping
counts as much as quality that comes and goes. *Delay* is the time from capture to display. *Standing* is the share of
ticks that show the picture of the tick before. *Ms* is what making a picture took, its median and 95th percentile, and
*missed* the share of ticks that took longer than a tick.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from betwixt.errors import InputError, UsageError
from betwixt.evaluation.metrics import flicker, psnr, ssim
from betwixt.models.base import Interpolator, check_interpolates
from betwixt.realtime.coding import Coded, code_to_bits
from betwixt.realtime.network import Network
from betwixt.realtime.playout import Playout
from betwixt.realtime.smoother import Shown, Smoother

__all__ = ["SCHEMES", "Comparison", "Scores", "Tick", "compare_schemes"]

Picture = NDArray[np.uint8]

SCHEMES = {
    "scheme 1": "all frames at low quality",
    "scheme 2": "few frames at high quality",
    "interpolation": "few frames at high quality, interpolated",
    "extrapolation": "few frames at high quality, extrapolated",
}
"""The paper's names, and what they are."""


@dataclass(frozen=True)
class Tick:
    """A tick of the display.

    Attributes:
        now: When, in seconds on the sender's clock.
        due: The number of the clip's frame that is due.
        picture: What is shown, (H, W, 3) RGB uint8.
        kind: As `Shown.kind`.
        seconds: What making it took.
    """

    now: Fraction
    due: int
    picture: Picture
    kind: str
    seconds: float


@dataclass
class Scores:
    """What a scheme came to.

    Attributes:
        scheme: Its name.
        psnr: Of each tick that counts, in dB.
        ssim: Likewise.
        due: The number of the frame due at each.
        flicker: Of the whole; lower is smoother.
        delay: Mean time from capture to display, in seconds.
        standing: Share of the ticks that repeat a picture.
        seconds: What each picture took.
        missed: Share of the ticks that took longer than a tick.
        bits: Sent in all.
        crf: The quality the stream was coded at.
        arrived: Frames that arrived, of those sent.
        sent: Frames that were sent.
    """

    scheme: str
    psnr: list[float]
    ssim: list[float]
    due: list[int]
    flicker: float
    delay: float
    standing: float
    seconds: list[float]
    missed: float
    bits: int
    crf: float
    arrived: int
    sent: int


@dataclass
class Comparison:
    """What came out.

    Attributes:
        rate: The display's rate.
        factor: Of how many frames scheme 2 sends one.
        bitrate: Bits a second that were asked for.
        network: The network.
        seed: Its seed.
        model: The model's name.
        scores: By scheme.
        ticks: By scheme, what was shown.
        frames: The clip.
    """

    rate: Fraction
    factor: int
    bitrate: float
    network: Network
    seed: int
    model: str
    scores: dict[str, Scores]
    ticks: dict[str, list[Tick]] = field(repr=False)
    frames: Sequence[Picture] = field(repr=False)


def compare_schemes(
    frames: Sequence[Picture],
    rate: Fraction,
    model: Interpolator,
    *,
    factor: int = 4,
    bitrate: float,
    network: Network,
    seed: int = 0,
    margin: float = 0.0,
    progress: Callable[[str], None] | None = None,
) -> Comparison:
    """Show a clip in the four ways.

    Args:
        frames: The clip, (H, W, 3) RGB uint8, of even sides.
        rate: Its frames a second, which are the display's.
        model: What makes the frames.
        factor: One frame of so many is sent at high quality.
        bitrate: Bits a second of both streams.
        network: What is between.
        seed: Of the network.
        margin: Seconds that interpolation waits beyond what it needs.
        progress: Called with what is being done.

    Raises:
        UsageError: if the bits cannot be met or an argument is out of range.
        InputError: if the clip is too short.
    """
    if not 2 <= factor <= 16:
        raise UsageError(f"--factor {factor} is out of range: give 2 to 16.")
    if bitrate <= 0:
        raise UsageError("The bitrate must be greater than 0.")
    if len(frames) < 4 * factor:
        raise InputError(f"The clip has {len(frames)} frames: a comparison at --factor {factor} needs {4 * factor}.")
    check_interpolates(model)
    say = progress or (lambda _: None)
    bits = round(bitrate * float(len(frames) / rate))
    say("encoding all frames")
    full = code_to_bits(frames, rate, bits)
    say(f"encoding one frame of {factor}")
    sparse = code_to_bits(frames[::factor], rate / factor, bits)
    streams = {"scheme 1": (full, 1), "scheme 2": (sparse, factor)}
    ticks: dict[str, list[Tick]] = {}
    counts: dict[str, tuple[Coded, int]] = {}
    for scheme in SCHEMES:
        say(scheme)
        coded, step = streams.get(scheme, (sparse, factor))
        captured = [number * step / rate for number in range(len(coded.frames))]
        arrivals = network.arrivals(captured, coded.bits, bitrate, seed)
        source: _Shows = _AsItComes(rate)
        if scheme in ("interpolation", "extrapolation"):
            mode = "interpolate" if scheme == "interpolation" else "extrapolate"
            wait = margin if scheme == "interpolation" else 0.0
            source = Smoother(model, rate=rate, source_rate=rate / factor, mode=mode, margin=wait)
        ticks[scheme] = _played(source, coded, captured, arrivals, rate, len(frames))
        counts[scheme] = coded, sum(a is not None for a in arrivals)
    say("scoring")
    scores = {scheme: _scored(scheme, shown, frames, rate, factor, *counts[scheme]) for scheme, shown in ticks.items()}
    return Comparison(rate, factor, bitrate, network, seed, model.name, scores, ticks, frames)


class _AsItComes:
    """What a display without any of this does: the newest frame, until there is a newer one."""

    def __init__(self, rate: Fraction) -> None:
        self._playout = Playout(rate, Fraction(0))
        self._newest: tuple[Fraction, Picture] | None = None
        self._fresh = False

    def push(self, frame: Picture, captured: Fraction, now: Fraction) -> None:
        self._playout.arrived(captured, now)
        if self._newest is None or captured > self._newest[0]:
            self._newest, self._fresh = (captured, frame), True

    def pull(self, now: Fraction) -> Shown | None:
        content = self._playout.due(now)
        if content is None or self._newest is None:
            return None
        kind, self._fresh = ("source" if self._fresh else "held"), False
        return Shown(self._newest[1], content, kind)


_Shows = Any
"""A `Smoother` or `_AsItComes`."""


def _played(
    source: _Shows,
    coded: Coded,
    captured: Sequence[Fraction],
    arrivals: Sequence[Fraction | None],
    rate: Fraction,
    count: int,
) -> list[Tick]:
    """What is shown at each tick, until the clip's last frame has been due."""
    waiting = [
        (arrival, moment, picture)
        for arrival, moment, picture in zip(arrivals, captured, coded.frames, strict=True)
        if arrival is not None
    ]
    first = waiting[0][0]
    ticks: list[Tick] = []
    number = 0
    while True:
        # the display ticks when the first frame has arrived, and from then on at its rate
        now = first + number / rate
        number += 1
        while waiting and waiting[0][0] <= now:
            arrival, moment, picture = waiting.pop(0)
            source.push(picture, moment, arrival)
        began = time.perf_counter()
        shown = source.pull(now)
        seconds = time.perf_counter() - began
        if shown is None:
            continue
        due = round(shown.time * rate)
        if due >= count:
            return ticks
        if due >= 0:
            ticks.append(Tick(now, due, shown.picture, shown.kind, seconds))


def _scored(
    scheme: str,
    ticks: Iterable[Tick],
    frames: Sequence[Picture],
    rate: Fraction,
    factor: int,
    coded: Coded,
    arrived: int,
) -> Scores:
    """The scores over the frames that every scheme can show: not the first two intervals, nor the last."""
    counted = [tick for tick in ticks if 2 * factor <= tick.due < len(frames) - factor]
    standing = [a.picture is b.picture or np.array_equal(a.picture, b.picture) for a, b in _pairs(counted)]
    strip = [tick.picture.astype(np.float32) / np.float32(255) for tick in counted]
    seconds = [tick.seconds for tick in counted]
    return Scores(
        scheme=scheme,
        psnr=[psnr(tick.picture, frames[tick.due]) for tick in counted],
        ssim=[ssim(tick.picture, frames[tick.due]) for tick in counted],
        due=[tick.due for tick in counted],
        flicker=flicker(strip, [frames[tick.due] for tick in counted]),
        delay=float(np.mean([float(tick.now - tick.due / rate) for tick in counted])),
        standing=float(np.mean(standing)),
        seconds=seconds,
        missed=float(np.mean([s > 1 / rate for s in seconds])),
        bits=coded.total,
        crf=coded.crf,
        arrived=arrived,
        sent=len(coded.frames),
    )


def _pairs(ticks: list[Tick]) -> Iterable[tuple[Tick, Tick]]:
    return itertools.pairwise(ticks)

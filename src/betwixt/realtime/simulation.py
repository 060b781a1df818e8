"""Four ways to show a call over a network that is too slow, compared as in appendix E of NCM's paper.

              ┌─ all frames at low quality ──────────► network ───► shown as they arrive ────► scheme 1
    clip ─────┤
              └─ every n-th frame at high quality ───► network ─┬─► shown as they arrive ────► scheme 2
                 (the same bitrate)                             ├─► Smoother, interpolate ───► interpolation
                                                                └─► Smoother, extrapolate ───► extrapolation

Both streams are encoded and decoded (`realtime.coding`) at the same size within 1 %, and are sent over the same seeded
network (`realtime.network`). The display runs at the clip's own rate. The image that a scheme shows at a tick is
compared with the clip's frame that is due: waiting does not lower a scheme's scores (its delay is reported
separately), but repeating an image does.

PSNR and SSIM are means over ticks. *Flicker* (`evaluation.metrics`) is the part of the change from one shown image to
the next that the clip's own motion does not explain: 0 is perfectly smooth; freezing and then jumping counts as much
as quality that varies. Paper: Z. Jia et al., Neighbor Correspondence Matching for Flow-based Video Frame Synthesis,
ACM MM 2022.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from betwixt.errors import InputError, UsageError
from betwixt.evaluation.metrics import flicker, psnr, ssim
from betwixt.models.base import Interpolator, check_interpolates
from betwixt.realtime.coding import CodedClip, encode_to_size
from betwixt.realtime.frame_maker import Image
from betwixt.realtime.network import SimulatedNetwork
from betwixt.realtime.playout import PlayoutClock
from betwixt.realtime.smoother import DisplayFrame, Smoother

SCHEMES = {
    "scheme 1": "all frames at low quality",
    "scheme 2": "few frames at high quality",
    "interpolation": "few frames at high quality, interpolated",
    "extrapolation": "few frames at high quality, extrapolated",
}
"""The schemes: name and description."""

SMOOTHED = {"interpolation": "interpolate", "extrapolation": "extrapolate"}
"""The schemes that use a `Smoother`, and its mode."""


@dataclass(frozen=True)
class Tick:
    """The image shown at a tick of the display."""

    now: Fraction  # in seconds on the sender's clock
    due: int  # number of the clip's frame that is due
    image: Image  # (H, W, 3) RGB uint8
    kind: str  # as `DisplayFrame.kind`
    seconds: float  # time to make the image


@dataclass
class SchemeScores:
    """The scores of a scheme; the lists have an entry for each scored tick."""

    scheme: str
    psnr: list[float]  # dB
    ssim: list[float]
    due: list[int]  # number of the clip's frame that is due
    flicker: float  # lower is smoother
    delay: float  # mean time from capture to display, in seconds
    standing: float  # share of ticks that repeat the image of the tick before
    seconds: list[float]  # time to make the image
    missed: float  # share of images that took longer than a tick
    bits: int  # total size of the frames sent
    crf: float  # quality at which they were encoded
    arrived: int  # number of frames
    sent: int  # number of frames


@dataclass
class Comparison:
    """The result of `compare_schemes`, and its arguments."""

    rate: Fraction
    factor: int
    bitrate: float  # as requested, in bits per second
    network: SimulatedNetwork
    seed: int
    model: str
    scores: dict[str, SchemeScores]  # by scheme
    ticks: dict[str, list[Tick]] = field(repr=False)  # by scheme
    frames: Sequence[Image] = field(repr=False)  # the clip, (H, W, 3) RGB uint8


def compare_schemes(
    frames: Sequence[Image],
    rate: Fraction,
    model: Interpolator,
    *,
    factor: int = 4,
    bitrate: float,
    network: SimulatedNetwork,
    seed: int = 0,
    margin: float = 0.0,
    extrapolator: Interpolator | None = None,
    progress: Callable[[str], None] | None = None,
) -> Comparison:
    """Simulate the four schemes with a clip, and score the images shown.

    The other arguments are those of `session.simulate_video`.

    Args:
        frames: The clip, (H, W, 3) RGB uint8, with even sides.
        rate: Frames per second of the clip and the display.
        model: Makes the images of the smoothed schemes.
        bitrate: Bits per second of each stream.
        network: The network between sender and display.
        extrapolator: Makes the frames after the last one, as for `Smoother`.

    Raises:
        UsageError: if the bitrate cannot be reached or an argument is out of range.
        InputError: if the clip is too short.
    """
    if not 2 <= factor <= 16:
        raise UsageError(f"`factor={factor}` is out of range: give 2 to 16.")
    if bitrate <= 0:
        raise UsageError("The bitrate must be greater than 0.")
    if len(frames) < 4 * factor:
        raise InputError(f"The clip has {len(frames)} frames: a comparison at `factor={factor}` needs {4 * factor}.")
    check_interpolates(model)
    name = model.name if extrapolator is None else f"{model.name}, {extrapolator.name}"
    report = progress or (lambda _: None)

    bits = round(bitrate * float(len(frames) / rate))
    report("encoding all frames")
    full = encode_to_size(frames, rate, bits)
    report(f"encoding one frame of {factor}")
    sparse = encode_to_size(frames[::factor], rate / factor, bits)

    ticks: dict[str, list[Tick]] = {}
    arrived: dict[str, int] = {}
    for scheme in SCHEMES:
        report(scheme)
        coded, step = (full, 1) if scheme == "scheme 1" else (sparse, factor)
        captured = [number * step / rate for number in range(len(coded.frames))]
        arrivals = network.arrivals(captured, coded.bits, bitrate, seed)
        source: Smoother | _NewestFrame
        if scheme in SMOOTHED:
            mode = SMOOTHED[scheme]
            wait = margin if mode == "interpolate" else 0.0
            source = Smoother(
                model, rate=rate, source_rate=rate / factor, mode=mode, margin=wait, extrapolator=extrapolator
            )
        else:
            source = _NewestFrame(rate)
        ticks[scheme] = _play(source, coded, captured, arrivals, rate, len(frames))
        arrived[scheme] = sum(a is not None for a in arrivals)

    report("scoring")
    scores = {
        scheme: _score(scheme, shown, frames, rate, factor, full if scheme == "scheme 1" else sparse, arrived[scheme])
        for scheme, shown in ticks.items()
    }
    return Comparison(rate, factor, bitrate, network, seed, name, scores, ticks, frames)


class _NewestFrame:
    """A display without a smoother: shows the newest frame until a newer one arrives."""

    def __init__(self, rate: Fraction) -> None:
        self._playout = PlayoutClock(rate, Fraction(0))
        self._newest: tuple[Fraction, Image] | None = None
        self._is_new = False

    def push(self, frame: Image, captured: Fraction, now: Fraction) -> None:
        self._playout.note_arrival(captured, now)
        if self._newest is None or captured > self._newest[0]:
            self._newest, self._is_new = (captured, frame), True

    def pull(self, now: Fraction) -> DisplayFrame | None:
        content = self._playout.due_time(now)
        if content is None or self._newest is None:
            return None
        kind, self._is_new = ("source" if self._is_new else "held"), False
        return DisplayFrame(self._newest[1], content, kind)


def _play(
    source: Smoother | _NewestFrame,
    coded: CodedClip,
    captured: Sequence[Fraction],
    arrivals: Sequence[Fraction | None],
    rate: Fraction,
    count: int,
) -> list[Tick]:
    """The images shown at each tick, until the last of the clip's `count` frames has been due."""
    sent = zip(arrivals, captured, coded.frames, strict=True)
    waiting = deque((arrival, capture, image) for arrival, capture, image in sent if arrival is not None)
    first_arrival = waiting[0][0]
    ticks: list[Tick] = []
    for number in itertools.count():
        # The display begins to tick when the first frame arrives.
        now = first_arrival + number / rate
        while waiting and waiting[0][0] <= now:
            arrival, capture, image = waiting.popleft()
            source.push(image, capture, arrival)
        began = time.perf_counter()
        shown = source.pull(now)
        seconds = time.perf_counter() - began
        if shown is None:
            continue
        due = round(shown.time * rate)
        if due >= count:
            break
        if due >= 0:
            ticks.append(Tick(now, due, shown.image, shown.kind, seconds))
    return ticks


def _score(
    scheme: str,
    ticks: Sequence[Tick],
    frames: Sequence[Image],
    rate: Fraction,
    factor: int,
    coded: CodedClip,
    arrived: int,
) -> SchemeScores:
    """Score the frames that every scheme can show: not those of the first two intervals, nor of the last."""
    scored = [tick for tick in ticks if 2 * factor <= tick.due < len(frames) - factor]
    truth = [frames[tick.due] for tick in scored]
    repeats = [a.image is b.image or np.array_equal(a.image, b.image) for a, b in itertools.pairwise(scored)]
    seconds = [tick.seconds for tick in scored]
    return SchemeScores(
        scheme=scheme,
        psnr=[psnr(tick.image, frame) for tick, frame in zip(scored, truth, strict=True)],
        ssim=[ssim(tick.image, frame) for tick, frame in zip(scored, truth, strict=True)],
        due=[tick.due for tick in scored],
        flicker=flicker([tick.image.astype(np.float32) / np.float32(255) for tick in scored], truth),
        delay=float(np.mean([float(tick.now - tick.due / rate) for tick in scored])),
        standing=float(np.mean(repeats)),
        seconds=seconds,
        missed=float(np.mean([s > 1 / rate for s in seconds])),
        bits=sum(coded.bits),
        crf=coded.crf,
        arrived=arrived,
        sent=len(coded.frames),
    )

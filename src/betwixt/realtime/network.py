"""A simulated network between a sender and a display, with bursts of loss, jitter and temporary rate drops.

    frame (capture time, bits) ─┬─► link of limited rate, one frame at a time ──► transit + jitter ──► arrival
                                └─► lost

- *Loss* comes in bursts, by Gilbert's two-state Markov chain: a good state loses nothing, a bad one everything. The
  frames after a lost one count as decodable, as in calls whose senders only use frames known to have arrived as
  references; the bits that this costs are not counted.
- *Jitter* is exponentially distributed and adds to the transit time. Frames stay in order: a late frame delays those
  after it, which then arrive in a burst.
- *Rate drops* reduce the link's rate to a fraction for a while; frames queue until they fit.

The same seed gives the same network, whatever is sent over it. Reference: E. Gilbert, "Capacity of a Burst-Noise
Channel", Bell System Technical Journal, 1960.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np


@dataclass(frozen=True)
class SimulatedNetwork:
    """The properties of a network."""

    name: str  # in `NETWORKS`
    transit: float = 0.02  # shortest time from sender to receiver, in seconds
    jitter: float = 0.0  # mean additional delay, in seconds
    loss: float = 0.0  # share of frames that never arrive, 0 to 1
    burst: float = 1.0  # mean number of frames lost in a row, >= 1
    capacity: float | None = None  # the link's rate, as a multiple of the stream's mean rate; None for no limit
    drops: float = 0.0  # mean number of rate drops per minute
    drop_length: float = 0.5  # duration of a rate drop, in seconds
    drop_to: float = 0.25  # share of the capacity that is left during a rate drop

    def arrivals(
        self, captured: Sequence[Fraction], bits: Sequence[int], bitrate: float, seed: int
    ) -> list[Fraction | None]:
        """When each frame arrives, in seconds on the sender's clock; None for frames that are lost.

        Args:
            captured: When each frame was captured, in seconds, increasing.
            bits: The size of each frame.
            bitrate: The stream's mean rate in bits per second, to which the capacity is relative.
            seed: The seed of the random numbers.
        """
        jitter_rng = np.random.default_rng([seed, 1])
        lost = self._draw_losses(len(captured), np.random.default_rng([seed, 2]))
        end = float(captured[-1]) + 60.0 if captured else 0.0
        drops = self._draw_drops(end, np.random.default_rng([seed, 3]))
        arrivals: list[Fraction | None] = []
        sent = latest = 0.0  # when the last frame left the link, and when the last one arrived
        for capture, size, is_lost in zip(captured, bits, lost, strict=True):
            sent = max(float(capture), sent)
            if self.capacity is not None:
                sent = _send(sent, size, self.capacity * bitrate, drops, self.drop_to)
            arrival = sent + self.transit + (jitter_rng.exponential(self.jitter) if self.jitter else 0.0)
            if is_lost:
                arrivals.append(None)
                continue
            latest = max(latest, arrival)
            arrivals.append(Fraction(latest).limit_denominator(1_000_000))
        return arrivals

    def _draw_losses(self, count: int, rng: np.random.Generator) -> list[bool]:
        """Which frames are lost."""
        if not self.loss:
            return [False] * count
        leave_bad = 1 / self.burst
        enter_bad = leave_bad * self.loss / (1 - self.loss)
        bad, lost = False, []
        for number in range(count):
            bad = rng.random() >= leave_bad if bad else rng.random() < enter_bad
            lost.append(bad and number > 0)  # a call begins with its first frame
        return lost

    def _draw_drops(self, end: float, rng: np.random.Generator) -> list[tuple[float, float]]:
        """When the link is slow: (from, to) in seconds, in order."""
        drops: list[tuple[float, float]] = []
        if not self.drops:
            return drops
        begin = rng.exponential(60 / self.drops)
        while begin <= end:
            drops.append((begin, begin + self.drop_length))
            begin = begin + self.drop_length + rng.exponential(60 / self.drops)
        return drops


def _send(start: float, bits: int, rate: float, drops: list[tuple[float, float]], share: float) -> float:
    """When the last of `bits` has left a link of `rate`, of which only a share is available during drops."""
    now, left = start, float(bits)
    for begin, end in drops:
        if end <= now:
            continue
        if now < begin:
            if left <= (begin - now) * rate:
                return now + left / rate
            left -= (begin - now) * rate
            now = begin
        if left <= (end - now) * rate * share:
            return now + left / (rate * share)
        left -= (end - now) * rate * share
        now = end
    return now + left / rate


NETWORKS = {
    network.name: network
    for network in (
        SimulatedNetwork("clean"),
        SimulatedNetwork("loss", loss=0.08, burst=1.5),
        SimulatedNetwork("bursts", jitter=0.04),
        SimulatedNetwork("drops", capacity=2.0, drops=30),
        SimulatedNetwork("all", jitter=0.02, loss=0.05, burst=1.5, capacity=2.0, drops=20),
    )
}
"""The networks of `betwixt realtime`, by name."""

"""A simulated network between a sender and a display: loss in bursts, jitter, drops of the rate.

    frame (time of capture, bits) ─┬─► link of limited rate, one frame after the other ──► transit + jitter ──► arrival
                                   └─► lost: never

- *Loss* comes in bursts, by Gilbert's two-state Markov chain (a good state that loses nothing and a bad one that loses
  everything). A frame that refers to a lost one counts as decodable, as in calls whose senders refer only to frames
  that are known to have arrived; the bits that this costs are not counted.
- *Jitter* is exponentially distributed and is added to the transit time. Frames stay in order: a late frame delays
  those after it, which then arrive in a burst.
- *Rate drops* reduce the link's rate to a fraction for a while; frames that do not fit wait.

The same seed gives the same network, whatever is sent over it. Reference: E. Gilbert, "Capacity of a Burst-Noise
Channel", Bell System Technical Journal, 1960.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from betwixt.errors import UsageError


@dataclass(frozen=True)
class SimulatedNetwork:
    """The properties of a network.

    Attributes:
        name: Its name in `NETWORKS`.
        transit: The shortest time from sender to receiver, in seconds.
        jitter: The mean of what is added to it, in seconds.
        loss: The share of frames that never arrive, 0 to 1.
        burst: How many frames in a row are lost on average, >= 1.
        capacity: The link's rate, as a multiple of the stream's mean rate; None for no limit.
        drops: How many rate drops there are a minute, on average.
        drop_length: How long one lasts, in seconds.
        drop_to: The share of the capacity that is left during one.
    """

    name: str
    transit: float = 0.02
    jitter: float = 0.0
    loss: float = 0.0
    burst: float = 1.0
    capacity: float | None = None
    drops: float = 0.0
    drop_length: float = 0.5
    drop_to: float = 0.25

    def arrivals(
        self, captured: Sequence[Fraction], bits: Sequence[int], bitrate: float, seed: int
    ) -> list[Fraction | None]:
        """When each frame arrives, in seconds on the sender's clock; None for frames that are lost.

        Args:
            captured: When each frame was captured, in seconds, increasing.
            bits: The size of each frame.
            bitrate: The stream's mean rate in bits a second, to which the capacity is relative.
            seed: The seed of everything random.
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
        drops = []
        now = 0.0
        while self.drops:
            now += rng.exponential(60 / self.drops)
            if now > end:
                break
            drops.append((now, now + self.drop_length))
            now += self.drop_length
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


def find_network(name: str) -> SimulatedNetwork:
    """The network of a name.

    Raises:
        UsageError: if there is none of that name.
    """
    if name not in NETWORKS:
        raise UsageError(f"There is no network '{name}': choose from {', '.join(NETWORKS)}.")
    return NETWORKS[name]

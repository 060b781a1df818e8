"""A network between a sender and a display, made up from a seed: loss, bursts, drops of the rate.

    frame of so many bits, captured at ──► link of limited rate, one after the other ──► transit + jitter ──► arrival
                                     └──► lost: never

- *Loss* comes in bursts, by the two-state chain of Gilbert (a good state that loses nothing, a bad one that loses all).
  What refers to a lost frame is taken for decodable, as where senders refer only to what is known to have arrived; what
  that costs in bits is not charged.
- *Jitter* is exponential, added to the transit. Frames stay in order: a late one holds up those after it, which then
  come in a burst.
- *Rate drops* lower the link's rate to a part for a while. What does not fit waits.

The same seed gives the same network, whatever is sent over it. References: E. Gilbert, "Capacity of a Burst-Noise
Channel", Bell System Technical Journal, 1960.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from betwixt.errors import UsageError

__all__ = ["NETWORKS", "Network", "network_by_name"]


@dataclass(frozen=True)
class Network:
    """What a network does to frames.

    Attributes:
        name: As in `NETWORKS`.
        transit: Seconds from sender to receiver at least.
        jitter: Seconds that are added on average.
        loss: Share of the frames that never arrive, 0 to 1.
        burst: Frames that are lost in a row on average, >= 1.
        capacity: The link's rate, as a multiple of the stream's mean rate; None for no limit.
        drops: Rate drops a minute, on average.
        drop_length: Seconds that one lasts.
        drop_to: What is left of the capacity in it.
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
        """When frames arrive, in seconds on the sender's clock; None for those that never do.

        Args:
            captured: When each was captured, increasing.
            bits: Its size.
            bitrate: The stream's mean rate in bits a second, to which the capacity is relative.
            seed: Of the network.
        """
        chance = np.random.default_rng([seed, 1])
        lost = self._losses(len(captured), np.random.default_rng([seed, 2]))
        end = float(captured[-1]) + 60.0 if captured else 0.0
        slow = self._drops(end, np.random.default_rng([seed, 3]))
        result: list[Fraction | None] = []
        free = last = 0.0
        for moment, size, gone in zip(captured, bits, lost, strict=True):
            sent = max(float(moment), free)
            if self.capacity is not None:
                sent = _sent(sent, size, self.capacity * bitrate, slow, self.drop_to)
            free = sent
            arrival = sent + self.transit + (chance.exponential(self.jitter) if self.jitter else 0.0)
            if gone:
                result.append(None)
                continue
            last = max(last, arrival)
            result.append(Fraction(last).limit_denominator(1_000_000))
        return result

    def _losses(self, count: int, chance: np.random.Generator) -> list[bool]:
        if not self.loss:
            return [False] * count
        leave = 1 / self.burst
        enter = leave * self.loss / (1 - self.loss)
        bad, result = False, []
        for number in range(count):
            bad = chance.random() >= leave if bad else chance.random() < enter
            result.append(bad and number > 0)  # without a first frame there is no call
        return result

    def _drops(self, end: float, chance: np.random.Generator) -> list[tuple[float, float]]:
        """When the link is slow: (from, to), in order."""
        result = []
        now = 0.0
        while self.drops:
            now += chance.exponential(60 / self.drops)
            if now > end:
                break
            result.append((now, now + self.drop_length))
            now += self.drop_length
        return result


def _sent(start: float, bits: int, rate: float, slow: list[tuple[float, float]], part: float) -> float:
    """When the last of `bits` leaves, of a link of `rate` that is slower in between."""
    now, left = start, float(bits)
    for begin, end in slow:
        if end <= now:
            continue
        if now < begin:
            if left <= (begin - now) * rate:
                return now + left / rate
            left -= (begin - now) * rate
            now = begin
        if left <= (end - now) * rate * part:
            return now + left / (rate * part)
        left -= (end - now) * rate * part
        now = end
    return now + left / rate


NETWORKS = {
    network.name: network
    for network in (
        Network("clean"),
        Network("loss", loss=0.08, burst=1.5),
        Network("bursts", jitter=0.04),
        Network("drops", capacity=2.0, drops=30),
        Network("all", jitter=0.02, loss=0.05, burst=1.5, capacity=2.0, drops=20),
    )
}
"""Networks by name."""


def network_by_name(name: str) -> Network:
    """A network by name.

    Raises:
        UsageError: if there is none of that name.
    """
    if name not in NETWORKS:
        raise UsageError(f"There is no network '{name}': choose from {', '.join(NETWORKS)}.")
    return NETWORKS[name]

"""Test-time augmentation: a network runs on the frames and on the frames rotated by 180 degrees; results are averaged.

    frame 0, frame 1 ──────────────────► network ─────────────────────┐
                     └► flip both ways ► network ► flip both ways ────┴► mean ──► frame t, flows, mask

Flow between flipped frames points the other way, so its sign changes when it is flipped back. The result is the mean of
two frames; the mean flows and mask describe it, but warping by them does not give exactly that frame. It costs two
passes and adds no parameters.

Reference: Huang et al., RIFE, ECCV 2022, section 4.2: RIFE-2T, and RIFE-Large, which is 2T of 2R.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from betwixt.models.network import Network, Synthesis
from betwixt.models.references import resolve


class TestTimeAugmented(Network):
    """A network whose results are averaged over the frames and the frames flipped both ways."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        self.config = network.config
        self.multiple = network.multiple
        self.any_time = network.any_time
        self.extrapolates = network.extrapolates
        self.fixed_graph = network.fixed_graph

    def pair(self, frame0: Tensor, frame1: Tensor) -> tuple[Any, Any]:
        """The network's `pair` of the frames, and of the frames flipped both ways."""
        return self.network.pair(frame0, frame1), self.network.pair(_flip(frame0), _flip(frame1))

    def at(self, pair: tuple[Any, Any], t: Tensor) -> Synthesis:
        """Frame t; a plain `Synthesis`, whatever the network returns."""
        upright, flipped = (self.network.at(prepared, t) for prepared in pair)
        return Synthesis(
            frame=(upright.frame + _flip(flipped.frame)) * 0.5,
            flow_t0=_mean(upright.flow_t0, flipped.flow_t0, -1.0),
            flow_t1=_mean(upright.flow_t1, flipped.flow_t1, -1.0),
            mask=_mean(upright.mask, flipped.mask, 1.0),
        )


def build_augmented(config: Any, network: str) -> TestTimeAugmented:
    """A network with test-time augmentation; `network` is a reference to its class."""
    return TestTimeAugmented(resolve(network)(config))


def _flip(maps: Tensor) -> Tensor:
    return maps.flip(-2, -1)


def _mean(upright: Tensor | None, flipped: Tensor | None, sign: float) -> Tensor | None:
    if upright is None or flipped is None:
        return None
    return (upright + sign * _flip(flipped)) * 0.5

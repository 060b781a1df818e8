"""Test-time augmentation: a network sees the frames twice, the second time turned by half a turn, and both agree.

    frame 0, frame 1 ──────────────────► network ─────────────────────┐
                     └► flip both ways ► network ► flip both ways ────┴► mean ──► frame t, flows, mask

Flow between turned frames points the other way, so it changes its sign as it is turned back. The frame is the mean of
two frames; the mean flows and mask say how it came about, but warping by them does not give quite that frame. It costs
two passes and adds no parameters.

Reference: Huang et al., RIFE, ECCV 2022, section 4.2: RIFE-2T, and RIFE-Large, which is 2T around 2R.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from betwixt.models.network import Network, Synthesis
from betwixt.models.references import resolve


class TestTimeAugmented(Network):
    """Any network, its results averaged over the frames and the frames flipped both ways."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        self.config = network.config
        self.multiple = network.multiple
        self.any_time = network.any_time
        self.extrapolates = network.extrapolates

    def pair(self, frame0: Tensor, frame1: Tensor) -> tuple[Any, Any]:
        """What the network makes of the frames, and of the frames flipped both ways."""
        return self.network.pair(frame0, frame1), self.network.pair(_flip(frame0), _flip(frame1))

    def at(self, pair: tuple[Any, Any], t: Tensor) -> Synthesis:
        """Frame t of a prepared pair; a plain `Synthesis`, whatever the network returns."""
        upright, turned = (self.network.at(each, t) for each in pair)
        return Synthesis(
            frame=(upright.frame + _flip(turned.frame)) * 0.5,
            flow_t0=_mean(upright.flow_t0, turned.flow_t0, -1.0),
            flow_t1=_mean(upright.flow_t1, turned.flow_t1, -1.0),
            mask=_mean(upright.mask, turned.mask, 1.0),
        )


def build_augmented(config: Any, network: str) -> TestTimeAugmented:
    """A network of a configuration with test-time augmentation; `network` is a reference to its class."""
    return TestTimeAugmented(resolve(network)(config))


def _flip(maps: Tensor) -> Tensor:
    return maps.flip(-2, -1)


def _mean(upright: Tensor | None, turned: Tensor | None, sign: float) -> Tensor | None:
    if upright is None or turned is None:
        return None
    return (upright + sign * _flip(turned)) * 0.5

"""Which share of the patches the router of APR-VFI lets pass, and the operations that this leaves (its table 1).

The shares depend on what the frames show. They are noted while a data set is restored.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from betwixt.evaluation.cost import count_flops
from betwixt.evaluation.network_variant import NetworkVariant


@dataclass(frozen=True)
class Routing:
    """The routes of all frames of a data set.

    Attributes:
        kept: The mean share of the patches that passed each routed block.
        gflop: The mean GFLOP of a frame with these routes, a multiply-add counted as two.
        static_gflop: GFLOP of a frame where all patches pass all blocks.
    """

    kept: tuple[float, ...]
    gflop: float
    static_gflop: float


@dataclass
class RouteCollector:
    """The routes of the frames so far: the kept shares of each, by the padded size of the frames (width, height)."""

    patch: int
    shares: dict[tuple[int, int], list[tuple[float, ...]]] = field(default_factory=lambda: defaultdict(list))

    def add(self, routes: Any) -> None:
        """Note routes, (N, blocks, n_h, n_w)."""
        rows, columns = routes.shape[2:]
        for shares in routes.float().mean(dim=(2, 3)).tolist():
            self.shares[columns * self.patch, rows * self.patch].append(tuple(shares))

    def summary(self, name: str, variant: NetworkVariant) -> Routing | None:
        """The means over all frames, of a model whose network `variant` describes; None if there were no frames."""
        routed: list[float] = []
        static: list[float] = []
        for (width, height), shares in self.shares.items():
            for keep, costs in ((np.mean(shares, axis=0).tolist(), routed), ([1.0] * len(shares[0]), static)):
                changed = NetworkVariant({**variant.hyperparameters, "keep": keep, "patch": self.patch})
                costs += [count_flops(name, width, height, changed) or 0.0] * len(shares)
        if not routed:
            return None
        everything = np.concatenate([np.array(shares) for shares in self.shares.values()])
        kept = tuple(float(share) for share in everything.mean(axis=0))
        return Routing(kept, float(np.mean(routed)), float(np.mean(static)))


@contextmanager
def collect_routes(model: Any) -> Iterator[RouteCollector | None]:
    """Collect the routes of the frames that a model makes within this context; None for a model without a router."""
    network: Any = getattr(model, "network", None)
    network = getattr(network, "network", network)  # the one that is augmented
    router = getattr(network, "router", None)
    if router is None or getattr(network, "mode", "") != "routed":
        yield None
        return
    collector = RouteCollector(network.config.patch)
    hook = router.register_forward_hook(lambda module, inputs, routes: collector.add(routes))
    try:
        yield collector
    finally:
        hook.remove()

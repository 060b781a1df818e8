"""The share of the patches that APR-VFI's router passes to each block, and the operations that remain (its table 1).

The shares depend on the frames. They are collected while a data set is evaluated.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from betwixt.evaluation.cost import count_flops
from betwixt.evaluation.network_variant import NetworkVariant


@dataclass(frozen=True)
class Routing:
    """Shares and operations, averaged over the frames of a data set.

    Attributes:
        kept: The mean share of the patches that pass each routed block.
        gflop: The mean GFLOP of a frame with these shares, a multiply-add counted as two.
        static_gflop: The mean GFLOP of a frame whose patches all pass all blocks.
    """

    kept: tuple[float, ...]
    gflop: float
    static_gflop: float


@dataclass
class RouteCollector:
    """The shares of the frames so far.

    Attributes:
        patch: Side of the patches, pixels.
        shares: The share of the patches that passes each block, of every frame, by its padded size (width, height).
    """

    patch: int
    shares: dict[tuple[int, int], list[tuple[float, ...]]] = field(default_factory=lambda: defaultdict(list))

    def add(self, routes: Any) -> None:
        """Add the shares of routes (N, blocks, n_h, n_w), 1 where a patch passes a block."""
        rows, columns = routes.shape[2:]
        for shares in routes.float().mean(dim=(2, 3)).tolist():
            self.shares[columns * self.patch, rows * self.patch].append(tuple(shares))

    def summary(self, name: str, variant: NetworkVariant, weights: Path) -> Routing | None:
        """The means over all frames.

        Args:
            name: The model.
            variant: How its network differs from the one that its weights file describes.
            weights: Its weights file.

        Returns:
            None if there were no frames.
        """
        routed: list[float] = []
        static: list[float] = []
        for (width, height), shares in self.shares.items():
            for keep, costs in ((np.mean(shares, axis=0).tolist(), routed), ([1.0] * len(shares[0]), static)):
                hyperparameters = {**variant.hyperparameters, "keep": keep, "patch": self.patch}
                routes = NetworkVariant(hyperparameters, variant.augmented)
                costs += [count_flops(name, width, height, routes, weights) or 0.0] * len(shares)
        if not routed:
            return None
        everything = np.concatenate([np.array(shares) for shares in self.shares.values()])
        kept = tuple(float(share) for share in everything.mean(axis=0))
        return Routing(kept, float(np.mean(routed)), float(np.mean(static)))


@contextmanager
def collect_routes(model: Any) -> Iterator[RouteCollector | None]:
    """Collect the routes of the frames that a model makes within this context; None for a model without a router."""
    network: Any = getattr(model, "network", None)
    network = getattr(network, "network", network)  # inside `TestTimeAugmented`
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

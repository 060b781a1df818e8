"""Times the parts of a network: hooks around its submodules measure them while it makes frames (NCM, figure 10)."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from betwixt.models.network import Network

REST = "the rest (warping, resizing, fusion)"


class PartTimes:
    """Times the parts that `Network.parts` names; by default the outermost submodules whose `forward` is called.

    A GPU is synchronized before and after every part, so a whole frame takes longer than without.
    """

    def __init__(self, network: Network) -> None:
        network = getattr(network, "network", network)  # inside `TestTimeAugmented`
        self._device = next(network.parameters()).device
        parts = dict(network.parts) or {name: (name,) for name in _called_modules(network)}
        self._modules = {part: [network.get_submodule(name) for name in names] for part, names in parts.items()}
        self._seconds: dict[str, list[float]] = {part: [] for part in parts}
        self._whole: list[float] = []

    @contextmanager
    def frame(self) -> Iterator[None]:
        """Time the parts of a frame that is made within this context."""
        totals = dict.fromkeys(self._modules, 0.0)
        hooks = [
            hook for part, modules in self._modules.items() for m in modules for hook in self._watch(m, part, totals)
        ]
        began = self._now()
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
        self._whole.append(self._now() - began)
        for part, seconds in totals.items():
            self._seconds[part].append(seconds)

    def medians(self) -> dict[str, float]:
        """Seconds of a run by part, the median over the runs; `REST`, the time outside all parts, is the last."""
        rest = [whole - sum(seconds[i] for seconds in self._seconds.values()) for i, whole in enumerate(self._whole)]
        return {part: statistics.median(seconds) for part, seconds in {**self._seconds, REST: rest}.items()}

    def _watch(self, module: nn.Module, part: str, totals: dict[str, float]) -> Iterator[Any]:
        """Hooks that add the times of a module, or of the items of a list of modules, to the total of a part."""
        if isinstance(module, nn.ModuleList):
            for item in module:
                yield from self._watch(item, part, totals)
            return
        began: list[float] = []

        def finish(*arguments: Any) -> None:
            totals[part] += self._now() - began.pop()

        yield module.register_forward_pre_hook(lambda *arguments: began.append(self._now()))
        yield module.register_forward_hook(finish)

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()


def _called_modules(module: nn.Module, prefix: str = "") -> Iterator[str]:
    """The names of the outermost submodules with a `forward`; networks within networks and lists are looked into."""
    for name, child in module.named_children():
        if isinstance(child, Network) or type(child).forward is nn.Module.forward:
            yield from _called_modules(child, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"

"""LPIPS with AlexNet: how differently a network sees two pictures (Zhang et al., CVPR 2018, version 0.1).

    pictures ─► [-1, 1] ─► shift, scale ─► AlexNet ─► 5 feature maps ─► unit length ─► (a - b)² ─► 1x1 ─► mean ─► sum

The weights are the user's own, in one folder: AlexNet's as torchvision publishes them (`alexnet-owt-*.pth`) and the
linear layers as the authors of LPIPS publish them (`alex.pth`). Both are read with `weights_only=True`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from betwixt.errors import InputError

__all__ = ["LPIPS"]

_WIDTHS = (64, 192, 384, 256, 256)
_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)


class LPIPS(nn.Module):
    """The distance between pictures (H, W, 3) uint8 RGB; 0 for equal ones."""

    def __init__(self) -> None:
        super().__init__()
        a, b, c, d, e = _WIDTHS
        # Their places in AlexNet's own sequence: 0, 3, 6, 8, 10.
        self.features = nn.ModuleDict(
            {
                "0": nn.Conv2d(3, a, 11, 4, 2),
                "3": nn.Conv2d(a, b, 5, 1, 2),
                "6": nn.Conv2d(b, c, 3, 1, 1),
                "8": nn.Conv2d(c, d, 3, 1, 1),
                "10": nn.Conv2d(d, e, 3, 1, 1),
            }
        )
        self.linear = nn.ModuleList(nn.Conv2d(width, 1, 1, bias=False) for width in _WIDTHS)
        self.register_buffer("shift", torch.tensor(_SHIFT).reshape(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor(_SCALE).reshape(1, 3, 1, 1))

    @classmethod
    def load(cls, folder: Path) -> LPIPS:
        """Read the user's weights.

        Raises:
            InputError: if they are not there or not these.
        """
        backbone = next(iter(sorted(folder.glob("alexnet*.pth"))), None)
        head = folder / "alex.pth"
        if backbone is None or not head.exists():
            raise InputError(f"{folder} has no LPIPS weights: expected alexnet-owt-*.pth and alex.pth in it.")
        model = cls()
        try:
            features = torch.load(backbone, map_location="cpu", weights_only=True)
            linear = torch.load(head, map_location="cpu", weights_only=True)
            model.features.load_state_dict(
                {n.removeprefix("features."): v for n, v in features.items() if n.startswith("features.")}
            )
            model.linear.load_state_dict({f"{i}.weight": linear[f"lin{i}.model.1.weight"] for i in range(len(_WIDTHS))})
        except Exception as error:
            # Whatever is wrong with such a file, it is not these weights.
            raise InputError(
                f"The weights in {folder} are not those of LPIPS (AlexNet): {_first_line(error)}"
            ) from None
        return model.eval()

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """The distances (N,) of pictures (N, 3, H, W) in [-1, 1]."""
        total = first.new_zeros(len(first))
        pairs = zip(self._maps(first), self._maps(second), self.linear, strict=True)
        for a, b, linear in pairs:
            difference = (F.normalize(a, dim=1, eps=1e-10) - F.normalize(b, dim=1, eps=1e-10)).square()
            total = total + linear(difference).mean(dim=(1, 2, 3))
        return total

    def _maps(self, picture: Tensor) -> list[Tensor]:
        x = (picture - self.get_buffer("shift")) / self.get_buffer("scale")
        maps = []
        for place, convolution in self.features.items():
            if place in ("3", "6"):
                x = F.max_pool2d(x, 3, 2)
            x = F.relu(convolution(x))
            maps.append(x)
        return maps

    def distance(self, made: NDArray[np.uint8], truth: NDArray[np.uint8]) -> float:
        """The distance between two pictures (H, W, 3), uint8 RGB."""
        with torch.inference_mode():
            a, b = (torch.from_numpy(np.array(x)).permute(2, 0, 1)[None].float() / 127.5 - 1.0 for x in (made, truth))
            return float(self(a, b))


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]

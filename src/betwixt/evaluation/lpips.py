"""LPIPS with AlexNet, a perceptual distance between two images (Zhang et al., CVPR 2018, version 0.1).

    images ─► [-1, 1] ─► shift, scale ─► AlexNet ─► 5 feature maps ─► unit length ─► (a - b)² ─► 1x1 ─► mean ─► sum

The user provides the weights, in one folder: AlexNet's as torchvision publishes them (`alexnet-owt-*.pth`) and the
linear layers as the authors of LPIPS publish them (`alex.pth`). Both are read with `weights_only=True`. The network is
defined here because the `lpips` package needs torchvision.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from betwixt.errors import InputError

_WIDTHS = (64, 192, 384, 256, 256)
_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)


class LPIPS(nn.Module):
    """The distance between two images; 0 for identical ones."""

    def __init__(self) -> None:
        super().__init__()
        a, b, c, d, e = _WIDTHS
        # The keys are the layers' indices in torchvision's AlexNet.
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
            InputError: if the files are missing or hold other weights.
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
        except Exception as error:  # torch.load and load_state_dict raise many types for a wrong file
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise InputError(f"The weights in {folder} are not those of LPIPS (AlexNet): {reason}") from None
        return model.eval()

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """The distances (N,) between images (N, 3, H, W) in [-1, 1]."""
        total = first.new_zeros(len(first))
        pairs = zip(self._feature_maps(first), self._feature_maps(second), self.linear, strict=True)
        for a, b, linear in pairs:
            difference = (F.normalize(a, dim=1, eps=1e-10) - F.normalize(b, dim=1, eps=1e-10)).square()
            total = total + linear(difference).mean(dim=(1, 2, 3))
        return total

    def _feature_maps(self, image: Tensor) -> list[Tensor]:
        x = (image - self.get_buffer("shift")) / self.get_buffer("scale")
        maps = []
        for index, convolution in self.features.items():
            if index in ("3", "6"):
                x = F.max_pool2d(x, 3, 2)
            x = F.relu(convolution(x))
            maps.append(x)
        return maps

    def distance(self, first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
        """The distance between two images (H, W, 3), uint8 RGB."""
        images = (first, second)
        with torch.inference_mode():
            a, b = (torch.from_numpy(np.array(x)).permute(2, 0, 1)[None].float() / 127.5 - 1.0 for x in images)
            return float(self(a, b))

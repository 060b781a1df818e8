"""Backward warping: each pixel of the result is read in the image at the place its flow points to.

    out(x) = image(x + flow(x))        bilinear or bicubic between pixels

Flows are in pixels, channels (x, y). A place outside the image is clamped to the border. Whole-pixel corners are
aligned: position 0 is the centre of the first pixel.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["backward_warp"]


def backward_warp(image: Tensor, flow: Tensor, mode: str = "bilinear") -> Tensor:
    """Read `image` (N, C, H, W) at every pixel + `flow` (N, 2, H, W); the result has the image's shape.

    `mode` is "bilinear", as in the papers, or "bicubic" (a = -0.75, as OpenCV's).
    """
    height, width = image.shape[-2:]
    x = torch.arange(width, device=flow.device, dtype=flow.dtype)
    y = torch.arange(height, device=flow.device, dtype=flow.dtype)[:, None]
    # grid_sample counts from -1 (first pixel) to 1 (last); a side of one pixel has only its own centre.
    grid_x = (flow[:, 0] + x) * (2.0 / max(width - 1, 1)) - 1.0
    grid_y = (flow[:, 1] + y) * (2.0 / max(height - 1, 1)) - 1.0
    grid = torch.stack((grid_x, grid_y), dim=-1)
    return F.grid_sample(image, grid, mode=mode, padding_mode="border", align_corners=True)

"""Backward warping: each pixel of the result is read in the image at the place its flow points to.

    out(x) = image(x + flow(x))        bilinear or bicubic between pixels, or the nearest

Flows are in pixels, channels (x, y). A place outside the image is clamped to the border. Whole-pixel corners are
aligned: position 0 is the centre of the first pixel.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["backward_warp"]


def backward_warp(image: Tensor, flow: Tensor, mode: str = "bilinear") -> Tensor:
    """Read `image` (N, C, H, W) at every pixel + `flow` (N, 2, H, W); the result is as the image in shape and type.

    `mode` is "bilinear", as in the papers, "bicubic" (a = -0.75, as OpenCV's), or "nearest", for labels.
    """
    height, width = image.shape[-2:]
    # Sixteen bits do not hold a position: beyond 1024, bfloat16 knows every eighth pixel only.
    precise = torch.promote_types(torch.promote_types(image.dtype, flow.dtype), torch.float32)
    flow = flow.to(precise)
    x = torch.arange(width, device=flow.device, dtype=precise)
    y = torch.arange(height, device=flow.device, dtype=precise)[:, None]
    # grid_sample counts from -1 (first pixel) to 1 (last); a side of one pixel has only its own centre.
    grid_x = (flow[:, 0] + x) * (2.0 / max(width - 1, 1)) - 1.0
    grid_y = (flow[:, 1] + y) * (2.0 / max(height - 1, 1)) - 1.0
    grid = torch.stack((grid_x, grid_y), dim=-1)
    warped = F.grid_sample(image.to(precise), grid, mode=mode, padding_mode="border", align_corners=True)
    return warped.to(image.dtype)

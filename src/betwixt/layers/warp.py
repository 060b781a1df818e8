"""Backward warping: each output pixel samples the image at the position its flow points to.

    out(x) = image(x + flow(x))

Flows are in pixels, channels (x, y); position 0 is the centre of the first pixel. Positions outside the image are
clamped to its border.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def backward_warp(image: Tensor, flow: Tensor, mode: str = "bilinear") -> Tensor:
    """Sample an image at every pixel + flow.

    Args:
        image: (N, C, H, W).
        flow: (N, 2, H, W), in pixels.
        mode: "bilinear", as in the papers, "bicubic" (a = -0.75, as in OpenCV), or "nearest", for labels.

    Returns:
        (N, C, H, W), in the type of `image`.
    """
    height, width = image.shape[-2:]
    # 16 bits do not hold a position: beyond 1024, bfloat16 represents every eighth pixel only.
    precise = torch.promote_types(torch.promote_types(image.dtype, flow.dtype), torch.float32)
    flow = flow.to(precise)
    x = torch.arange(width, device=flow.device, dtype=precise)
    y = torch.arange(height, device=flow.device, dtype=precise)[:, None]
    # grid_sample's coordinates run from -1 (first pixel) to 1 (last); for a side of one pixel, any divisor will do.
    grid_x = (flow[:, 0] + x) * (2.0 / max(width - 1, 1)) - 1.0
    grid_y = (flow[:, 1] + y) * (2.0 / max(height - 1, 1)) - 1.0
    grid = torch.stack((grid_x, grid_y), dim=-1)
    warped = F.grid_sample(image.to(precise), grid, mode=mode, padding_mode="border", align_corners=True)
    return warped.to(image.dtype)

"""Checks that every network has to pass."""

from __future__ import annotations

import torch
from torch import Tensor

from betwixt.models.network import Network, Synthesis


def check_batch(network: Network, frames: Tensor, t: Tensor, **tolerances: float) -> Synthesis:
    """Check that a batch gives the same results as its samples one by one.

    Args:
        network: The network.
        frames: (2, N, 3, H, W).
        t: (N, 1, 1, 1).
        tolerances: Absolute tolerances by the name of the result; by default those of `frame` and `flow_t1`.

    Returns:
        The result of the batch.
    """
    with torch.inference_mode():
        together = network(*frames, t)
        for i in range(len(t)):
            alone = network(*frames[:, i : i + 1], t[i : i + 1])
            for name, tolerance in (tolerances or {"frame": 1e-5, "flow_t1": 1e-4}).items():
                batch, sample = getattr(together, name), getattr(alone, name)
                torch.testing.assert_close(batch[i : i + 1], sample, atol=tolerance, rtol=0)
    return together


def check_bfloat16(network: Network, frames: Tensor, t: Tensor, flow: float = 0.05, frame: float = 0.03) -> None:
    """Check that autocast to bfloat16 changes the flow by at most `flow` pixels and the frame by at most `frame`."""
    with torch.inference_mode():
        exact = network(*frames, t)
        with torch.autocast("cpu", torch.bfloat16):
            autocast = network(*frames, t)
    assert autocast.frame.dtype == autocast.flow_t0.dtype == torch.float32
    torch.testing.assert_close(autocast.flow_t0, exact.flow_t0, atol=flow, rtol=0)
    torch.testing.assert_close(autocast.frame, exact.frame, atol=frame, rtol=0)

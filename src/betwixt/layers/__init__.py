"""Layers that several networks share, each written once."""

from betwixt.layers.correlation import fixed_window_matching, local_correlation
from betwixt.layers.warp import backward_warp

__all__ = ["backward_warp", "fixed_window_matching", "local_correlation"]

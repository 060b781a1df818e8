from __future__ import annotations

from dataclasses import replace

import torch

from betwixt.models import augmented
from betwixt.models.network import Network, Synthesis
from betwixt.models.rife.v4 import RIFE_4_25, RIFEv4

HALF = torch.full((1, 1, 1, 1), 0.5)


class Colours(Network):
    """Has no flow and no mask; what it makes depends on where a pixel is."""

    multiple = 2

    def pair(self, frame0, frame1):
        return frame0, frame1

    def at(self, pair, t):
        ramp = torch.linspace(0, 1, pair[0].shape[-1])
        return Synthesis(ramp * pair[0] + (1 - ramp) * pair[1])


def test_flipped_frames_give_flipped_results() -> None:
    torch.manual_seed(0)
    network = RIFEv4(replace(RIFE_4_25, widths=(16, 16), scales=(2, 1)))
    twice = augmented.TestTimeAugmented(network)
    frames = torch.rand(2, 2, 3, 16, 24)
    with torch.inference_mode():
        once, a, b = network(*frames, HALF), twice(*frames, HALF), twice(*frames.flip(-2, -1), HALF)
    torch.testing.assert_close(a.frame, b.frame.flip(-2, -1))
    torch.testing.assert_close(a.mask, b.mask.flip(-2, -1))
    torch.testing.assert_close(a.flow_t0, -b.flow_t0.flip(-2, -1))
    torch.testing.assert_close(a.flow_t1, -b.flow_t1.flip(-2, -1))
    # Of the two that the mean is made of, one is what the network says by itself.
    torch.testing.assert_close(a.frame, (once.frame + network(*frames.flip(-2, -1), HALF).frame.flip(-2, -1)) / 2)
    assert (twice.any_time, twice.multiple) == (True, network.multiple)


def test_networks_without_flow_and_mask() -> None:
    twice = augmented.TestTimeAugmented(Colours())
    frames = torch.rand(2, 1, 3, 4, 6)
    output = twice(*frames, HALF)
    torch.testing.assert_close(output.frame, frames.mean(dim=0))
    assert (output.flow_t0, output.flow_t1, output.mask) == (None, None, None)
    assert (twice.any_time, twice.multiple) == (False, 2)

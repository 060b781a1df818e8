from __future__ import annotations

import pytest
import torch

from betwixt.models.compact import Compact, pyramid_levels


@pytest.fixture(scope="module")
def network() -> Compact:
    torch.manual_seed(0)
    return Compact().eval()


def test_an_untrained_head_and_detail_leave_motion_and_blend_alone(network: Compact) -> None:
    frames = torch.rand(2, 2, 3, 64, 96)
    t = torch.tensor([0.5, 0.25]).reshape(-1, 1, 1, 1)
    with torch.inference_mode():
        output = network(frames[0], frames[1], t)
    assert output.frame.shape == (2, 3, 64, 96)
    torch.testing.assert_close(output.weight, (1 - t).expand(2, 1, 64, 96))
    # One motion for both directions: F_{t->0} / -t = F_{t->1} / (1 - t).
    torch.testing.assert_close(output.flow_t0 / -t, output.flow_t1 / (1 - t))


def test_features_of_a_frame_do_not_depend_on_the_other(network: Compact) -> None:
    frames = torch.rand(2, 3, 64, 64)
    t = torch.full((1, 1, 1, 1), 0.5)
    with torch.inference_mode():
        a, b = (network.features(f[None], 4) for f in frames)
        apart = network.motion(a, b, t).flow_t0
        together = network.motion(*([f[i : i + 1] for f in network.features(frames, 4)] for i in (0, 1)), t).flow_t0
    torch.testing.assert_close(apart, together)


def test_levels_and_size_are_free(network: Compact) -> None:
    t = torch.full((1, 1, 1, 1), 0.3)
    with torch.inference_mode():
        for levels, height, width in ((2, 8, 24), (3, 16, 48), (5, 64, 128)):
            frame = network(torch.rand(1, 3, height, width), torch.rand(1, 3, height, width), t, levels).frame
            assert frame.shape == (1, 3, height, width)
            assert bool(frame.isfinite().all())


@pytest.mark.parametrize(("size", "levels"), [((256, 256), 4), ((384, 640), 5), ((480, 854), 6), ((8, 8), 1)])
def test_levels_follow_the_size(size: tuple[int, int], levels: int) -> None:
    assert pyramid_levels(*size) == levels


def test_it_is_small(network: Compact) -> None:
    assert sum(p.numel() for p in network.parameters()) < 3_000_000

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from betwixt.layers import correlation
from betwixt.layers.correlation import (
    AllPairsCorrelation,
    OnDemandCorrelation,
    all_pairs_correlation,
    fixed_window_matching,
    local_correlation,
    multi_scale_matching,
    pixel_coordinates,
)
from betwixt.layers.resize import resize, resize_flow, resize_flow_to, resize_to
from betwixt.layers.warp import backward_warp

PARITY = Path(__file__).resolve().parents[3] / "shared/parity"


def load(name: str) -> dict[str, NDArray[np.float32]]:
    path = PARITY / name
    if not path.exists():
        pytest.skip(f"the reference values {path} are missing")
    with np.load(path) as file:
        return dict(file)


def test_backward_warp_matches_the_reference() -> None:
    values = load("ops_backwarp.npz")
    result = backward_warp(torch.from_numpy(values["input"]), torch.from_numpy(values["flow"]))
    np.testing.assert_allclose(result.numpy(), values["out"], atol=1e-4)


def test_backward_warp_samples_at_pixel_plus_flow_and_clamps() -> None:
    image = torch.arange(12.0).reshape(1, 1, 3, 4)
    flow = torch.zeros(1, 2, 3, 4)
    flow[:, 0] = 1.0
    torch.testing.assert_close(
        backward_warp(image, flow)[0, 0], torch.tensor([[1.0, 2, 3, 3], [5, 6, 7, 7], [9, 10, 11, 11]])
    )


def test_backward_warp_has_the_right_gradient() -> None:
    torch.manual_seed(0)
    image = torch.randn(1, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    # Between pixel centres, where bilinear sampling is differentiable; some positions are outside the image.
    steps = torch.randint(-2, 3, (1, 2, 4, 5)) + 0.2 + 0.6 * torch.rand(1, 2, 4, 5, dtype=torch.float64)
    assert torch.autograd.gradcheck(backward_warp, (image, steps.requires_grad_()))


def test_backward_warp_is_exact_at_large_coordinates_in_bfloat16() -> None:
    image = torch.zeros(1, 1, 1, 2000, dtype=torch.bfloat16)
    image[..., 1501] = 1.0
    flow = torch.zeros(1, 2, 1, 2000, dtype=torch.bfloat16)
    flow[:, 0] = 1.0
    warped = backward_warp(image, flow)
    assert warped.dtype == torch.bfloat16
    assert int(warped.argmax()) == 1500


def test_resizing_keeps_means_and_scales_flows() -> None:
    maps = torch.rand(1, 3, 8, 12)
    torch.testing.assert_close(resize(maps, 0.5).mean(), maps.mean())
    assert resize(maps, 1) is maps
    flow = torch.full((1, 2, 8, 12), 3.0)
    torch.testing.assert_close(resize_flow(flow, 2.0), torch.full((1, 2, 16, 24), 6.0))
    both = torch.cat((flow, -flow), dim=1)
    grown = torch.tensor([6.0, 12, -6, -12]).reshape(1, 4, 1, 1).expand(1, 4, 32, 24)
    torch.testing.assert_close(resize_flow_to(both, (32, 24)), grown)
    torch.testing.assert_close(resize_to(maps, (4, 6), antialias=True).mean(), maps.mean(), atol=0.02, rtol=0)
    assert resize_to(maps, (8, 12), antialias=True) is maps


def test_local_correlation_matches_the_reference() -> None:
    values = load("ops_correlation.npz")
    result = local_correlation(torch.from_numpy(values["first"]), torch.from_numpy(values["second"]), 4)
    np.testing.assert_allclose(result.numpy(), values["out"], atol=1e-5)


def test_local_correlation_has_the_right_gradient() -> None:
    first = torch.randn(1, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    second = torch.randn(1, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a, b: local_correlation(a, b, 2), (first, second))


def test_fixed_window_matching_has_every_pair_of_the_window() -> None:
    first, second = torch.randn(2, 1, 6, 5, 7).unbind()
    volume = fixed_window_matching(first, second, 1).reshape(1, 3, 3, 3, 3, 5, 7)
    expected = (first[0, :, 2 - 1, 3 + 1] * second[0, :, 2 + 1, 3 + 0]).mean()
    torch.testing.assert_close(volume[0, 0, 2, 2, 1, 2, 3], expected)
    # The pairs of the window's centre with the second frame's window are the local correlation.
    torch.testing.assert_close(volume[0, 1, 1].reshape(9, 5, 7), local_correlation(first, second, 1)[0])
    # Outside the maps there are zeros.
    assert float(volume[0, 0, 0, :, :, 0, 0].abs().max()) == 0.0


@pytest.mark.parametrize("size", [(8, 16), (9, 13), (3, 5), (1, 2)])
def test_multi_scale_matching_follows_the_equation(size: tuple[int, int]) -> None:
    first, second = torch.randn(2, 2, 6, *size, dtype=torch.float64).unbind()
    volume = multi_scale_matching(first, second, 1, 3).reshape(2, 3, 9, 9, *size)
    torch.testing.assert_close(volume[:, 0].flatten(1, 2), fixed_window_matching(first, second, 1))
    k, (height, width) = 1, size
    if min(size) < 8:
        return

    def read(features: torch.Tensor, row: int, column: int) -> torch.Tensor:
        """A pixel of a map averaged over squares of 2^k, between its pixels by bilinear interpolation."""
        averaged = torch.nn.functional.avg_pool2d(features, 2**k)[0]
        y, x = min(row / 2**k, averaged.shape[1] - 1), min(column / 2**k, averaged.shape[2] - 1)
        top, left = int(y), int(x)
        below, right = min(top + 1, averaged.shape[1] - 1), min(left + 1, averaged.shape[2] - 1)
        upper = averaged[:, top, left] * (1 - x + left) + averaged[:, top, right] * (x - left)
        lower = averaged[:, below, left] * (1 - x + left) + averaged[:, below, right] * (x - left)
        return upper * (1 - y + top) + lower * (y - top)

    for i, j in ((4, 4), (3, 5), (5, 7), (height - 3, width - 3)):
        for dy0, dx0, dy1, dx1 in ((-1, -1, 1, 0), (0, 0, 0, 0), (0, 1, -1, 1)):
            a = read(first, i + 2**k * dy0, j + 2**k * dx0)
            b = read(second, i + 2**k * dy1, j + 2**k * dx1)
            pair = volume[0, k, 3 * (dy0 + 1) + dx0 + 1, 3 * (dy1 + 1) + dx1 + 1]
            torch.testing.assert_close(pair[i, j], (a * b).mean())


def test_matching_in_bands_of_rows_changes_nothing() -> None:
    first, second = torch.randn(2, 2, 6, 11, 7).unbind()
    whole = multi_scale_matching(first, second, 1, 4)
    for band in (1, 2 * 2 * 9 * 6 * 7 * 3):
        torch.testing.assert_close(multi_scale_matching(first, second, 1, 4, band), whole)
    parts = [fixed_window_matching(first, second, 2, 3, rows) for rows in (None, 1, 4, 11, 20)]
    for part in parts[1:]:
        torch.testing.assert_close(part, parts[0])


@pytest.mark.parametrize("band", [1, 1 << 20])
def test_matching_has_the_right_gradient(band: int) -> None:
    torch.manual_seed(0)
    first = torch.randn(1, 2, 2, 3, dtype=torch.float64, requires_grad=True)
    second = torch.randn(1, 2, 2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a, b: multi_scale_matching(a, b, 1, 2, band), (first, second))


def test_matching_does_not_overflow_in_float16() -> None:
    strong = torch.full((1, 96, 2, 2), 100.0, dtype=torch.float16)
    assert bool(multi_scale_matching(strong, strong, 1, 2).isfinite().all())


def test_all_pairs_lookup_matches_the_reference() -> None:
    values = {key: torch.from_numpy(array) for key, array in load("ops_correlation_lookup.npz").items() if array.ndim}
    pairs = AllPairsCorrelation.of(values["fmap0"], values["fmap1"], 4)
    found = pairs.lookup(values["coords0"], values["coords1"], 3)
    for ours, name in zip(found, ("out0", "out1"), strict=True):
        torch.testing.assert_close(ours[..., ::2, ::2], values[name], atol=2e-5, rtol=0)


def test_all_pairs_lookup_has_the_right_gradient() -> None:
    torch.manual_seed(0)
    first, second = torch.randn(2, 1, 2, 2, 3, dtype=torch.float64).unbind()
    # Between the pixel centres of every level, where bilinear sampling is differentiable.
    places = pixel_coordinates(first) + 0.3 + 0.1 * torch.rand(2, 1, 2, 2, 3, dtype=torch.float64)
    inputs = [x.requires_grad_() for x in (first, second, *places.unbind())]
    assert torch.autograd.gradcheck(lambda a, b, p, q: AllPairsCorrelation.of(a, b, 2).lookup(p, q, 1), inputs)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (6, 8), (9, 1)])
def test_all_pairs_of_small_maps(size: tuple[int, int]) -> None:
    first, second = torch.rand(2, 2, 4, *size).unbind()
    centre = pixel_coordinates(first).expand(2, -1, -1, -1)
    found, back = AllPairsCorrelation.of(first, second, 4).lookup(centre, centre, 1)
    assert found.shape == (2, 4 * 9, *size)
    assert bool(found.isfinite().all())
    # The centre of the finest window is the pixel itself, and both directions agree there.
    torch.testing.assert_close(found[:, 4], (first * second).sum(dim=1) / 2.0)
    torch.testing.assert_close(found[:, 4], back[:, 4])
    # Outside the maps there are zeros.
    assert float(found[:, :3, :, 0].abs().max()) < 1e-6


@pytest.mark.parametrize("size", [(1, 3), (9, 14)])
def test_on_demand_correlation_equals_all_pairs_correlation(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Bands of about two rows.
    monkeypatch.setattr(correlation, "_LOOKUP_BYTES", 4 * 2 * 6 * 14 * 25 * 2)
    maps = torch.randn(2, 2, 6, *size, dtype=torch.float64).unbind()
    places = (pixel_coordinates(maps[0]) + 4.0 * torch.randn(2, 2, 2, *size, dtype=torch.float64)).unbind()
    inputs = [x.requires_grad_() for x in (*maps, *places)]
    results = []
    for kind in (AllPairsCorrelation, OnDemandCorrelation):
        found = torch.cat(kind.of(*maps, 3).lookup(*places, 2), dim=1)
        results.append((found, *torch.autograd.grad(found.square().sum(), inputs)))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_all_pairs_correlation_keeps_to_its_memory_limit() -> None:
    maps = torch.randn(2, 1, 4, 8, 16).unbind()
    taken = AllPairsCorrelation.size(maps[0])
    pairs = all_pairs_correlation(*maps, limit=taken)
    assert isinstance(pairs, AllPairsCorrelation)
    assert sum(level.nbytes for level in pairs.of_first + pairs.of_second) <= taken
    assert isinstance(all_pairs_correlation(*maps, limit=taken - 1), OnDemandCorrelation)

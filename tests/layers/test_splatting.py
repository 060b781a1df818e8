from __future__ import annotations

import pytest
import torch
from torch import Tensor

from betwixt.layers.splatting import splat, splat_with_coverage
from parity import distance, fixture, tensor

METRICS = {"summation": None, "average": None, "linear": "metric_linear", "softmax": "metric"}


@pytest.mark.parametrize("mode", METRICS)
def test_it_matches_the_authors_splatting(mode) -> None:
    arrays = {key: array for key, array in fixture("ops_splat").items() if array.ndim}
    metric = METRICS[mode] and tensor(arrays[METRICS[mode]])
    splatted = splat(tensor(arrays["input"]), tensor(arrays["flow"]), mode, metric)
    # The authors compute the fraction from pixel + flow, which loses precision.
    assert distance(splatted, arrays[f"out_{mode}"]) < 2e-5


def test_coverage_matches_the_authors_normalizer() -> None:
    arrays = fixture("ops_splat")
    average, coverage = splat_with_coverage(tensor(arrays["input"]), tensor(arrays["flow"]))
    assert distance(coverage, arrays["normalizer_average"]) < 2e-5
    assert distance(average, arrays["out_average"]) < 2e-5
    assert torch.equal(coverage == 0, tensor(arrays["normalizer_average"]) == 0)


def flow_of(*vectors: tuple[int, int, float, float], size: tuple[int, int] = (4, 5)) -> Tensor:
    """A flow that moves every pixel out of the image except those of `vectors`: row, column, x, y."""
    flow = torch.full((1, 2, *size), 1e6)
    for row, column, x, y in vectors:
        flow[0, :, row, column] = torch.tensor((x, y))
    return flow


def test_a_pixel_is_spread_over_four_pixels() -> None:
    image = torch.full((1, 1, 4, 5), 8.0)
    expected = torch.zeros(1, 1, 4, 5)
    expected[0, 0, 1:3, 3:5] = torch.tensor([[3.0, 1.0], [3.0, 1.0]])
    torch.testing.assert_close(splat(image, flow_of((0, 1, 2.25, 1.5)), "summation"), expected)
    # Half of it is outside the image.
    expected = torch.zeros(1, 1, 4, 5)
    expected[0, 0, 3, 0] = 4.0
    torch.testing.assert_close(splat(image, flow_of((3, 0, -0.5, 0.0)), "summation"), expected)


def test_overlapping_pixels_are_combined_by_the_mode() -> None:
    image = torch.zeros(1, 2, 4, 5)
    image[0, :, 0, 0], image[0, :, 3, 4] = 1.0, 3.0
    flow = flow_of((0, 0, 2.0, 1.0), (3, 4, -2.0, -2.0))
    metric = torch.ones(1, 1, 4, 5)
    metric[0, 0, 3, 4] = 3.0

    def at(splatted: Tensor) -> list[float]:
        return splatted[0, :, 1, 2].tolist()

    assert at(splat(image, flow, "summation")) == [4.0, 4.0]
    assert at(splat(image, flow)) == [2.0, 2.0]
    assert at(splat(image, flow, "linear", metric)) == [2.5, 2.5]
    assert at(splat(image, flow, "softmax", metric.log())) == pytest.approx([2.5, 2.5])


def test_softmax_neither_overflows_nor_underflows() -> None:
    torch.manual_seed(0)
    image, flow, metric = torch.rand(1, 3, 6, 7), 3 * torch.randn(1, 2, 6, 7), torch.randn(1, 1, 6, 7)
    splatted = splat(image, flow, "softmax", metric)
    for offset in (-1000.0, 1000.0):
        torch.testing.assert_close(splat(image, flow, "softmax", metric + offset), splatted, atol=2e-4, rtol=0)
    # A pixel without overlap is visible, however small its metric is.
    still = torch.zeros_like(flow)
    steep = torch.linspace(-1e4, 1e4, 42).reshape(1, 1, 6, 7)
    assert torch.equal(splat(image, still, "softmax", steep), image)
    # With overlap, it is hidden.
    meeting = flow_of((0, 0, 2.0, 1.0), (3, 4, -2.0, -2.0), size=(6, 7))
    assert torch.equal(splat(image, meeting, "softmax", steep)[..., 1, 2], image[..., 3, 4])


@pytest.mark.parametrize("mode", METRICS)
def test_gradients_are_right(mode) -> None:
    torch.manual_seed(0)
    image, metric = torch.rand(2, 2, 4, 5, dtype=torch.float64), 0.5 + torch.rand(2, 1, 4, 5, dtype=torch.float64)
    # Between pixels, where bilinear weights are differentiable; some leave the image.
    flow = (3 * torch.randn(2, 2, 4, 5, dtype=torch.float64)).floor() + 0.1
    flow = flow + 0.8 * torch.rand_like(flow)
    inputs = [x.requires_grad_() for x in ((image, flow, metric) if METRICS[mode] else (image, flow))]
    assert torch.autograd.gradcheck(lambda image, flow, metric=None: splat(image, flow, mode, metric), inputs)


def test_pixels_with_nan_flow_are_dropped() -> None:
    flow = torch.zeros(1, 2, 3, 4)
    flow[0, 0, 0, 0], flow[0, 1, 1, 1], flow[0, 0, 2, 2] = torch.nan, torch.inf, -1e30
    average, coverage = splat_with_coverage(torch.ones(1, 1, 3, 4), flow)
    expected = torch.ones(1, 1, 3, 4)
    expected[0, 0, 0, 0] = expected[0, 0, 1, 1] = expected[0, 0, 2, 2] = 0
    assert torch.equal(average, expected)
    assert torch.equal(coverage, expected)


def test_bfloat16_is_summed_in_float32() -> None:
    # 2,000 pixels overlap; in bfloat16 a sum of ones stops at 256.
    image = torch.ones(1, 1, 1, 2000, dtype=torch.bfloat16)
    flow = torch.zeros(1, 2, 1, 2000)
    flow[0, 0] = -torch.arange(2000.0)
    assert splat(image, flow, "summation").dtype == torch.bfloat16
    assert float(splat(image, flow, "summation")[..., 0]) == 2000
    assert float(splat_with_coverage(image, flow)[1][..., 0]) == 2000


def test_wrong_arguments_are_rejected() -> None:
    image, flow, metric = torch.ones(1, 3, 2, 2), torch.zeros(1, 2, 2, 2), torch.ones(1, 1, 2, 2)
    with pytest.raises(ValueError, match="softmax needs a metric"):
        splat(image, flow, "softmax")
    with pytest.raises(ValueError, match="average takes no metric"):
        splat(image, flow, "average", metric)
    with pytest.raises(ValueError, match="'mean'"):
        splat(image, flow, "mean")

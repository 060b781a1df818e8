from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from betwixt.training.losses import (
    adaptive_charbonnier,
    census,
    charbonnier,
    detail_energy,
    endpoint_error,
    flow_distillation,
    geometry,
    laplacian,
    log_error,
    robust_weight,
    sobel,
    structural_dissimilarity,
)
from parity import fixture

Loss = Callable[[Tensor, Tensor], Tensor]


def ifrnet_census(prediction: Tensor, truth: Tensor) -> Tensor:
    return census(prediction, truth, form="ifrnet")


def ifrnet_reconstruction(prediction: Tensor, truth: Tensor) -> Tensor:
    return charbonnier(prediction, truth) + ifrnet_census(prediction, truth)


def ebme_reconstruction(prediction: Tensor, truth: Tensor) -> Tensor:
    return charbonnier(prediction, truth) + 0.1 * census(prediction, truth)


IMAGE_LOSSES: dict[str, Loss] = {
    "rife/lap": laplacian,
    "ema_vfi/lap": laplacian,
    "ebme/lap": laplacian,
    "rife/census_mean": census,
    "ema_vfi/census_mean": census,
    "ebme/census_mean": census,
    "rife/sobel_mean": sobel,
    "ifrnet/charbonnier": charbonnier,
    "ifrnet/census": ifrnet_census,
    "ifrnet/rec": ifrnet_reconstruction,
    "amt/charbonnier": charbonnier,
    "amt/census": ifrnet_census,
    "ebme/l2_charbonnier_plus_0.1census": ebme_reconstruction,
}
NOT_LOSSES = {"ssim_matlab3d", "ssim_matlab3d_first_only", "ssim2d", "ssim3d", "psnr", "ie"}
UNUSED = {"census_map_sub4", "charbonnier_masked"}
"""Variants in the reference that no objective uses."""


class Reference:
    """The values of the authors' implementations."""

    def __init__(self, values: dict[str, NDArray[np.float32]]) -> None:
        self.values = values

    def input(self, name: str) -> Tensor:
        return torch.from_numpy(self.values[f"in/{name}"])

    def check(self, key: str, ours: Tensor) -> None:
        assert float(ours) == pytest.approx(float(self.values[key]), rel=1e-5), key

    def check_map(self, key: str, ours: Tensor) -> None:
        np.testing.assert_allclose(ours[..., ::4, ::4].numpy(), self.values[key], rtol=1e-5, atol=1e-7)


@pytest.fixture(scope="module")
def reference() -> Reference:
    return Reference(fixture("losses"))


@pytest.mark.parametrize("which", ["pred", "pred_near"])
@pytest.mark.parametrize("key", list(IMAGE_LOSSES))
def test_image_losses(reference: Reference, key: str, which: str) -> None:
    reference.check(f"{key}/{which}", IMAGE_LOSSES[key](reference.input(which), reference.input("gt")))


@pytest.mark.parametrize(("key", "loss"), [("rife/lap", laplacian), ("ifrnet/rec", ifrnet_reconstruction)])
def test_gradients(reference: Reference, key: str, loss: Loss) -> None:
    prediction = reference.input("pred").requires_grad_()
    torch.autograd.backward(loss(prediction, reference.input("gt")))
    assert prediction.grad is not None
    theirs = reference.values[f"{key}/grad_pred_sub4"]
    largest = float(np.abs(theirs).max())
    np.testing.assert_allclose(prediction.grad[..., ::4, ::4].numpy(), theirs, rtol=1e-5, atol=1e-5 * largest)


@pytest.mark.parametrize("levels", [1, 2, 3, 4])
def test_laplacian_levels(reference: Reference, levels: int) -> None:
    result = laplacian(reference.input("pred"), reference.input("gt"), levels)
    reference.check(f"rife/lap_levels{levels}/pred", result)


def test_endpoint_error(reference: Reference) -> None:
    error = endpoint_error(reference.input("flow_pred_level0")[:, :2], reference.input("flow_gt")[:, :2])
    reference.check("rife/epe_mean", (error * reference.input("mask")).mean())


def test_geometry(reference: Reference) -> None:
    first = geometry(reference.input("feat_a"), reference.input("feat_b"))
    second = geometry(reference.input("feat2_a"), reference.input("feat2_b"))
    reference.check("ifrnet/geometry/feat", first)
    reference.check("ifrnet/geometry/feat2", second)
    reference.check("amt/geometry_sum_of_two", first + second)


def test_adaptive_charbonnier(reference: Reference) -> None:
    difference = reference.input("flow_pred_level0")[:, :2] - reference.input("flow_gt")[:, :2]
    reference.check("ifrnet/charbonnier_ada", adaptive_charbonnier(difference, reference.input("weight")))


def test_flow_distillation(reference: Reference) -> None:
    flows = [reference.input(f"flow_pred_level{k}") for k in range(4)]
    to0, to1 = [f[:, :2] for f in flows], [f[:, 2:] for f in flows]
    teacher = reference.input("flow_gt")
    reference.check_map("ifrnet/robust_weight0_sub4", robust_weight(to0[0], teacher[:, :2]))
    single = flow_distillation(to0, to1, teacher[:, :2], teacher[:, 2:])
    reference.check("amt/flow_single", single)
    reference.check("ifrnet/flow_distillation_total", 0.01 * single)


def test_flow_distillation_of_several_fields(reference: Reference) -> None:
    flows = [reference.input(f"flow_pred_level{k}") for k in range(1, 4)]
    to0 = [reference.input("multiflow_pred0"), *(f[:, :2] for f in flows)]
    to1 = [reference.input("multiflow_pred1"), *(f[:, 2:] for f in flows)]
    teacher = reference.input("flow_gt")
    reference.check_map("amt/multi_robust_weight0_sub4", robust_weight(to0[0], teacher[:, :2]))
    reference.check("amt/flow_multiple", flow_distillation(to0, to1, teacher[:, :2], teacher[:, 2:]))


def test_every_value_of_the_reference_is_checked(reference: Reference) -> None:
    checked = {f"{key}/{which}" for key in IMAGE_LOSSES for which in ("pred", "pred_near")}
    checked |= {f"rife/lap_levels{levels}/pred" for levels in (1, 2, 3, 4)}
    checked |= {"rife/lap/grad_pred_sub4", "ifrnet/rec/grad_pred_sub4", "rife/epe_mean"}
    checked |= {"ifrnet/geometry/feat", "ifrnet/geometry/feat2", "amt/geometry_sum_of_two", "ifrnet/charbonnier_ada"}
    checked |= {"ifrnet/robust_weight0_sub4", "ifrnet/flow_distillation_total"}
    checked |= {"amt/flow_single", "amt/flow_multiple", "amt/multi_robust_weight0_sub4"}
    skipped = NOT_LOSSES | UNUSED
    theirs = {k for k in reference.values if "/" in k and not k.startswith("in/") and k.split("/")[1] not in skipped}
    assert checked == theirs


def test_flow_distillation_gives_the_finest_flow_no_gradient() -> None:
    generator = torch.Generator().manual_seed(0)
    fine, coarse = (torch.randn(1, 2, s, s, generator=generator, requires_grad=True) for s in (16, 8))
    teacher = torch.zeros(1, 2, 16, 16)
    torch.autograd.backward(flow_distillation([fine, coarse], [fine, coarse], teacher, teacher))
    assert fine.grad is None
    assert coarse.grad is not None
    assert float(coarse.grad.abs().sum()) > 0


def test_a_teacher_that_disagrees_has_little_influence() -> None:
    coarse = torch.zeros(1, 2, 4, 4, requires_grad=True)
    gradients = []
    for distance in (1.0, 20.0):
        teacher = torch.full((1, 2, 8, 8), distance)
        fine = torch.zeros(1, 2, 8, 8)
        (gradient,) = torch.autograd.grad(flow_distillation([fine, coarse], [fine, coarse], teacher, teacher), coarse)
        gradients.append(float(gradient.abs().sum()))
    assert gradients[1] < 0.01 * gradients[0]


@pytest.mark.parametrize("loss", [*IMAGE_LOSSES.values(), geometry])
def test_equal_images_have_no_loss_and_a_finite_gradient(loss: Loss) -> None:
    truth = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    prediction = truth.clone().requires_grad_()
    value = loss(prediction, truth)
    at_minimum = float(value.detach())
    assert at_minimum == pytest.approx(0.0, abs=1.01e-3)  # charbonnier's epsilon
    torch.autograd.backward(value)
    assert prediction.grad is not None
    assert bool(prediction.grad.isfinite().all())
    assert float(loss(1 - truth, truth)) > at_minimum + 0.01


def test_endpoint_error_is_the_length_of_the_difference() -> None:
    prediction, truth = torch.zeros(1, 2, 1, 2), torch.tensor([[[[3.0, 0.0]], [[4.0, 0.0]]]])
    torch.testing.assert_close(endpoint_error(prediction, truth), torch.tensor([[[[5.0, 0.001]]]]))


def test_log_error_depends_on_error_ratios_only() -> None:
    truth = torch.zeros(1, 3, 4, 4)
    easy, hard = torch.full_like(truth, 0.1), torch.full_like(truth, 0.8)
    gains = [float(log_error(x, truth, 0.0) - log_error(x / 2, truth, 0.0)) for x in (easy, hard)]
    assert gains[0] == pytest.approx(gains[1])
    assert gains[0] == pytest.approx(2 * np.log(2), rel=1e-5)


def test_structural_dissimilarity_is_one_minus_ssim() -> None:
    skimage = pytest.importorskip("skimage.metrics")
    generator = torch.Generator().manual_seed(0)
    truth = torch.rand(1, 3, 40, 48, generator=generator, dtype=torch.float64)
    made = (truth + 0.1 * torch.randn(truth.shape, generator=generator, dtype=torch.float64)).clamp(0, 1)
    settings = {"channel_axis": 0, "data_range": 1, "gaussian_weights": True, "sigma": 1.5}
    expected = skimage.structural_similarity(made[0].numpy(), truth[0].numpy(), use_sample_covariance=False, **settings)
    assert float(structural_dissimilarity(made, truth, scales=1)) == pytest.approx(1 - expected, rel=1e-6)
    assert float(structural_dissimilarity(truth, truth, scales=2)) == pytest.approx(0, abs=1e-9)


def test_detail_energy_punishes_blur_but_not_displacement() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = torch.nn.functional.interpolate(torch.rand(1, 3, 33, 33, generator=generator), scale_factor=2)
    displaced = truth.roll((3, 2), dims=(2, 3))
    blurred = torch.nn.functional.avg_pool2d(truth, 3, 1, 1)
    assert float(detail_energy(truth, truth)) == 0
    assert float(detail_energy(displaced, truth)) < 0.4 * float(detail_energy(blurred, truth))
    flat = torch.full_like(truth, 0.5)
    # A checkerboard of amplitude a has a Laplacian of 8 a.
    checkerboard = flat + 0.1 * ((torch.arange(66)[:, None] + torch.arange(66)) % 2 * 2 - 1)
    assert float(detail_energy(checkerboard, flat)) == pytest.approx(0.8, rel=0.01)

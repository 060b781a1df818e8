from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from betwixt.training.losses import census, charbonnier, endpoint_error, laplacian

REFERENCE = Path(__file__).resolve().parents[3] / "shared/parity/losses.npz"


@pytest.fixture(scope="module")
def values() -> dict[str, NDArray[np.float64]]:
    if not REFERENCE.exists():
        pytest.skip(f"the reference values {REFERENCE} are not here")
    with np.load(REFERENCE) as file:
        return dict(file)


@pytest.mark.parametrize(
    ("key", "loss"),
    [("rife/lap", laplacian), ("rife/census_mean", census), ("ifrnet/charbonnier", charbonnier)],
)
@pytest.mark.parametrize("which", ["pred", "pred_near"])
def test_losses_match_the_reference(
    values: dict[str, NDArray[np.float64]], key: str, loss: Callable[[Tensor, Tensor], Tensor], which: str
) -> None:
    result = loss(torch.from_numpy(values[f"in/{which}"]), torch.from_numpy(values["in/gt"]))
    assert float(result) == pytest.approx(float(values[f"{key}/{which}"]), rel=1e-5)


@pytest.mark.parametrize("levels", [1, 2, 3, 4])
def test_laplacian_levels_match_the_reference(values: dict[str, NDArray[np.float64]], levels: int) -> None:
    result = laplacian(torch.from_numpy(values["in/pred"]), torch.from_numpy(values["in/gt"]), levels)
    assert float(result) == pytest.approx(float(values[f"rife/lap_levels{levels}/pred"]), rel=1e-5)


def test_endpoint_error_is_the_length_of_the_difference() -> None:
    prediction, truth = torch.zeros(1, 2, 1, 2), torch.tensor([[[[3.0, 0.0]], [[4.0, 0.0]]]])
    torch.testing.assert_close(endpoint_error(prediction, truth), torch.tensor([[[[5.0, 0.001]]]]))

"""SSIMULACRA 2, compared with scores that the reference implementation printed for the same images."""

from __future__ import annotations

import numpy as np
import pytest
from layouts import make_bands

from betwixt.errors import UsageError
from betwixt.evaluation.metrics import METRICS
from betwixt.evaluation.ssimulacra2 import ssimulacra2


@pytest.mark.parametrize(
    ("height", "width", "coarse", "shifted"),
    [
        (128, 160, 73.77050446, 35.53723558),
        (121, 133, 72.24337395, 37.07389195),  # odd sides
        (40, 48, -27.29205250, 61.67298359),  # fewer than six scales
        (8, 16, 90.34961482, 79.01752847),
    ],
)
def test_scores_are_those_of_the_reference(height: int, width: int, coarse: float, shifted: float) -> None:
    # Printed by https://github.com/cloudinary/ssimulacra2 (81feacf) for these images as PNG.
    truth = make_bands(height, width)
    assert ssimulacra2(truth // 24 * 24 + 12, truth) == pytest.approx(coarse, abs=0.05)
    assert ssimulacra2(np.roll(truth, 1, axis=1), truth) == pytest.approx(shifted, abs=0.05)


def test_identical_images_score_100() -> None:
    assert ssimulacra2(make_bands(64, 64), make_bands(64, 64)) == 100
    assert METRICS["ssimulacra2"].better == "higher"


def test_images_that_are_too_small_are_refused() -> None:
    with pytest.raises(UsageError, match="at least 8 pixels a side: these have 16x7"):
        ssimulacra2(make_bands(7, 16), make_bands(7, 16))

"""SSIMULACRA 2, compared with scores that the reference implementation printed for the same images."""

from __future__ import annotations

import numpy as np
import pytest

from betwixt.errors import UsageError
from betwixt.evaluation.metrics import METRICS, Image8
from betwixt.evaluation.ssimulacra2 import ssimulacra2


def pattern(height: int, width: int) -> Image8:
    """Curved bands in three colours."""
    y, x = np.mgrid[0:height, 0:width]
    bands = np.stack([(3 * x + (c + 1) * y + ((c + 2) * x * x + 3 * y * y) // 97) % 256 for c in range(3)], axis=-1)
    return (64 + np.minimum(bands, 255 - bands)).astype(np.uint8)


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
    truth = pattern(height, width)
    assert ssimulacra2(truth // 24 * 24 + 12, truth) == pytest.approx(coarse, abs=0.05)
    assert ssimulacra2(np.roll(truth, 1, axis=1), truth) == pytest.approx(shifted, abs=0.05)


def test_identical_images_score_100() -> None:
    assert ssimulacra2(pattern(64, 64), pattern(64, 64)) == 100
    assert METRICS["ssimulacra2"].better == "higher"


def test_images_that_are_too_small_are_refused() -> None:
    with pytest.raises(UsageError, match="at least 8 pixels a side: these have 16x7"):
        ssimulacra2(pattern(7, 16), pattern(7, 16))

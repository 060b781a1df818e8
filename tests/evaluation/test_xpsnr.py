from __future__ import annotations

import numpy as np
import pytest

from betwixt.errors import UsageError
from betwixt.evaluation.metrics import Image8, select_metrics
from betwixt.evaluation.xpsnr import xpsnr


def grey(values: np.ndarray) -> Image8:  # type: ignore[type-arg]
    return np.repeat(values[..., None], 3, axis=2).astype(np.uint8)


@pytest.mark.parametrize(("height", "width"), [(96, 128), (98, 131)])
def test_flat_frames_that_stand_still_have_the_least_activity(height: int, width: int) -> None:
    truth = grey(np.full((height, width), 100))
    score, end = xpsnr([truth, truth + 5, truth], [truth] * 3, slice(1, None))
    # By definition for 8 bits, the weight of a flat block is sqrt(a_pic) / 4, where a_pic is 2048 for 3840x2160 pixels
    # and grows with the square root of how much fewer there are.
    weight = np.sqrt(2048 / np.sqrt(width * height / (3840 * 2160))) / 4
    assert score == pytest.approx(10 * np.log10(255**2 / (5**2 * weight)), abs=0.01)
    assert end == 100


def test_errors_in_texture_and_motion_weigh_less() -> None:
    flat = np.full((96, 128), 100)
    noise = flat + np.random.default_rng(0).integers(-40, 41, flat.shape)
    scores = []
    for before, truth in ((flat, flat), (flat + 20, flat), (noise, noise)):
        scores += xpsnr([grey(before), grey(truth + 5)], [grey(before), grey(truth)], slice(1, 2))
    still, moving, textured = scores
    assert still < moving < textured


def test_a_missing_filter_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("av.filter.filters_available", frozenset({"psnr"}))
    with pytest.raises(UsageError, match=r"xpsnr needs FFmpeg 7\.1"):
        select_metrics("xpsnr")


def test_the_frame_before_is_the_samples_first_frame() -> None:
    (metric,) = select_metrics("xpsnr")
    assert metric.score_sequence is not None
    truths = [grey(np.full((96, 128), level)) for level in (100, 120, 140)]
    made = [t.astype(np.float32) / np.float32(255) for t in (truths[0], truths[1] + 5, truths[2])]
    new = slice(1, -1)
    assert metric.score_sequence(made, truths, new) == xpsnr([truths[0], truths[1] + 5], truths[:2], slice(1, 2))

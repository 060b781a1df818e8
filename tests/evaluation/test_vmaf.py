"""VMAF, compared with scores that libvmaf printed for the same frames."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from layouts import make_bands

from betwixt.errors import UsageError
from betwixt.evaluation.metrics import Image8, select_metrics
from betwixt.evaluation.vmaf import VMAF

TRUTHS = [make_bands(144, 176, 2 * i) for i in range(4)]


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        ([make_bands(144, 176, 3), make_bands(144, 176, 5)], [55.072907, 57.995827]),
        ([truth // 48 * 48 + 24 for truth in TRUTHS[1:3]], [85.276738, 86.189395]),
    ],
)
def test_scores_are_those_of_libvmaf(made: list[Image8], expected: list[float]) -> None:
    # Printed by FFmpeg 9.0's libvmaf for the luma of these frames, of which the first and last are true ones.
    pytest.importorskip("vmaf_torch")
    (metric,) = select_metrics("vmaf")
    assert metric.score_sequence is not None
    frames = [image.astype(np.float32) / np.float32(255) for image in (TRUTHS[0], *made, TRUTHS[3])]
    assert metric.score_sequence(frames, TRUTHS, slice(1, -1)) == pytest.approx(expected, abs=0.05)


def test_small_images_are_refused() -> None:
    pytest.importorskip("vmaf_torch")
    small = [image[:31] for image in TRUTHS]
    with pytest.raises(UsageError, match="at least 32 pixels a side: these have 176x31"):
        VMAF().score(small, small, slice(1, -1))


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vmaf_torch", None)
    with pytest.raises(UsageError, match=r"vmaf needs vmaf-torch: pip install 'betwixt\[vmaf\]'"):
        select_metrics("vmaf")

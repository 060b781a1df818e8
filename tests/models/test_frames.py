"""Errors for frames and times that no model can use."""

import numpy as np
import pytest
import torch

from betwixt.errors import UsageError
from betwixt.models.dis.interpolator import DIS

GOOD = np.full((24, 32, 3), 0.5, np.float32)


def _with(value):
    frame = GOOD.copy()
    frame[3, 4, 1] = value
    return frame


@pytest.mark.parametrize(
    ("first", "second", "times", "message"),
    [
        (_with(np.nan), GOOD, [0.5], "The first frame contains NaN or infinity"),
        (GOOD, _with(np.inf), [0.5], "The second frame contains NaN or infinity"),
        (torch.full((3, 24, 32), torch.nan), torch.zeros(3, 24, 32), [0.5], "contains NaN or infinity"),
        (GOOD, GOOD[:, :30], [0.5], "differ in size: 32x24 and 30x24"),
        (GOOD, (GOOD * 255).astype(np.uint8), [0.5], "differ in type"),
        (GOOD, torch.zeros(3, 24, 32), [0.5], "differ in type"),
        (GOOD[..., 0], GOOD[..., 0], [0.5], r"shape \(24, 32\): .* a grey one can be repeated three times"),
        (GOOD[..., :1], GOOD[..., :1], [0.5], "a grey one can be repeated three times"),
        (
            np.zeros((24, 32, 4), np.uint8),
            np.zeros((24, 32, 4), np.uint8),
            [0.5],
            "of an RGBA one take the first three",
        ),
        (torch.zeros(1, 4, 24, 32), torch.zeros(1, 4, 24, 32), [0.5], "of an RGBA one take the first three"),
        (torch.zeros(2, 2, 24, 32), torch.zeros(2, 2, 24, 32), [0.5], "or a batch of such"),
        (GOOD[:0], GOOD[:0], [0.5], "has shape"),
        (GOOD.astype(np.int64), GOOD.astype(np.int64), [0.5], "is of type int64"),
        ([[0]], [[0]], [0.5], "is a list"),
        (GOOD, GOOD, [1.5], "The time 1.5 lies outside 0 to 1"),
        (GOOD, GOOD, [-0.1], "lies outside 0 to 1"),
        (GOOD, GOOD, 0.5, "`times` has to be a list of numbers"),
        (GOOD, GOOD, ["half"], "`times` has to be a list of numbers"),
        (GOOD, GOOD, [float("nan")], "The time nan lies outside 0 to 1"),
    ],
)
def test_bad_frames_and_times_get_one_line(first, second, times, message):
    with pytest.raises(UsageError, match=message) as error:
        DIS().between(first, second, times)
    assert "\n" not in str(error.value)

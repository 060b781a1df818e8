from __future__ import annotations

import numpy as np
import pytest

from betwixt.models.maps import IntermediateMap, MapKind
from betwixt.runtime.map_images import describe_range, flow_to_colours, map_to_image


def test_directions_have_hues_and_rest_is_white() -> None:
    flow = np.array([[[0, 0], [10, 0], [-10, 0], [0, 10]]], np.float32)
    still, right, left, down = (tuple(int(v) for v in pixel) for pixel in flow_to_colours(flow)[0])
    assert still == (255, 255, 255)
    assert right == (255, 0, 0)
    assert left[0] == 0 < left[1] < left[2] == 255  # between cyan and blue
    assert down[0] == 255 > down[1] > down[2] == 0  # between red and yellow


@pytest.mark.parametrize(
    ("kind", "values", "dark", "bright"),
    [
        ("image", np.array([[[0, 0, 0], [1, 1, 1]]]), (0, 0, 0), (255, 255, 255)),
        ("weight", np.array([[0, 1]]), (0, 0, 0), (255, 255, 255)),
        ("residual", np.array([[[-0.5, 0, 0], [0, 0, 0.5]]]), (0, 128, 128), (128, 128, 255)),
    ],
)
def test_values_have_their_levels(
    kind: MapKind, values: np.ndarray, dark: tuple[int, ...], bright: tuple[int, ...]
) -> None:
    picture = map_to_image(IntermediateMap(kind, values.astype(np.float32)))
    assert picture.shape == (1, 2, 3)
    assert [tuple(pixel.tolist()) for pixel in picture[0]] == [dark, bright]


def test_the_largest_error_is_brightest_and_named() -> None:
    map_ = IntermediateMap("length", np.array([[0, 2, 5]], np.float32))
    levels = map_to_image(map_).astype(int).sum(axis=2)[0]
    assert levels[0] < levels[1] < levels[2]
    assert describe_range(map_) == "up to 5.0 px"


def test_nan_and_empty_motion_are_drawn() -> None:
    flow = IntermediateMap("flow", np.array([[[np.nan, 0], [0, 0]]], np.float32))
    assert map_to_image(flow).shape == (1, 2, 3)
    assert not map_to_image(IntermediateMap("difference", np.zeros((2, 2), np.float32)))[0, 0, 1:2].any()


def test_labels_differ_in_colour() -> None:
    picture = map_to_image(IntermediateMap("labels", np.array([[0, 1]], np.uint8)))
    assert not np.array_equal(picture[0, 0], picture[0, 1])

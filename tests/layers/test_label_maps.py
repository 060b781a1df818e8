"""Label maps: which ones are accepted, and which are rejected with an error message."""

import numpy as np
import pytest

from betwixt.errors import InputError
from betwixt.layers.label_maps import LabelMapPair, as_labels


def labels(top, height=6, width=8, dtype=np.uint8):
    return (np.arange(height * width).reshape(height, width) % (top + 1)).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64, np.uint16])
def test_integers_of_any_type_become_uint8(dtype):
    masks = LabelMapPair(labels(3, dtype=dtype), labels(2, dtype=dtype), 4, "given")
    assert masks.labels0.dtype == masks.labels1.dtype == np.uint8
    assert np.array_equal(masks.labels0, labels(3))
    assert masks.labels0.flags.c_contiguous


@pytest.mark.parametrize("count", [1, 64])
def test_one_label_and_sixty_four_are_allowed(count):
    masks = LabelMapPair(labels(count - 1, 8, 8), np.zeros((8, 8), np.uint8), count, "regions")
    assert masks.count == count


@pytest.mark.parametrize("dtype", [np.float32, np.float64, bool])
def test_other_types_than_integers_are_rejected(dtype):
    with pytest.raises(InputError, match=rf"type {np.dtype(dtype)}, but labels are integers"):
        LabelMapPair(labels(1).astype(dtype), labels(1), 2, "given")


@pytest.mark.parametrize("count", [0, 65, 300])
def test_a_number_of_labels_out_of_range_is_rejected(count):
    with pytest.raises(InputError, match=rf"There are {count} labels, but masks have 1 to 64"):
        LabelMapPair(labels(0), labels(0), count, "given")


def test_a_label_out_of_range_is_rejected():
    with pytest.raises(InputError, match="have the label 64, but at most 64 labels"):
        as_labels(labels(64, 10, 10))
    with pytest.raises(InputError, match="have the label -1"):
        as_labels(np.full((4, 4), -1))


def test_a_label_not_below_the_count_is_rejected():
    with pytest.raises(InputError, match="the label 3, but there are 3 labels"):
        LabelMapPair(labels(2), labels(3), 3, "given")


def test_maps_of_two_sizes_are_rejected():
    with pytest.raises(InputError, match=r"differ in size \(8x6 and 9x6\)"):
        LabelMapPair(labels(1), labels(1, 6, 9), 2, "given")


def test_another_size_than_the_frames_is_rejected():
    masks = LabelMapPair(labels(1), labels(1), 2, "given")
    masks.check_size(6, 8)
    with pytest.raises(InputError, match="The masks are 8x6, the frames 16x12"):
        masks.check_size(12, 16)


def test_arrays_that_are_not_two_dimensional_are_rejected():
    with pytest.raises(InputError, match=r"shape \(6, 8, 1\)"):
        as_labels(labels(1)[..., None])


def test_every_label_needs_a_name():
    assert LabelMapPair(labels(1), labels(1), 2, "open-world", ("dog", "the rest")).names == ("dog", "the rest")
    with pytest.raises(InputError, match="1 names for 2 labels"):
        LabelMapPair(labels(1), labels(1), 2, "open-world", ("dog",))

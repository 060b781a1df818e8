"""The rules by which masks of two frames become label maps."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from betwixt.masks.open_world import REST, OpenWorldSegmenter, TaggedMasks, TagLabels, common_tags, label_pair

SIZE = (20, 30)


def box(top, left, bottom, right):
    mask = np.zeros(SIZE, bool)
    mask[top:bottom, left:right] = True
    return mask


def tagged(**masks):
    return TaggedMasks(tuple(masks), tuple(masks.values()), SIZE)


class Fake:
    """Networks with fixed answers."""

    def __init__(self, tags, boxes):
        self.tags, self.boxes, self.asked = tags, boxes, []

    def tag(self, frame):
        return self.tags

    def detect(self, frame, tags):
        self.asked.append(list(tags))
        return {tag: self.boxes[tag] for tag in tags if tag in self.boxes}

    def segment(self, frame, boxes):
        mask = np.zeros(frame.shape[:2], bool)
        for left, top, right, bottom in boxes.astype(int):
            mask[top:bottom, left:right] = True
        return mask


def test_tags_that_are_not_found_are_dropped():
    boxes = {
        "dog": np.array([[0, 0, 5, 5], [10, 10, 12, 12]], np.float32),
        "cat": np.zeros((0, 4), np.float32),
        "fly": np.array([[3, 3, 3, 3]], np.float32),
    }
    fake = Fake(["dog", "cat", "fly", "sky", "dog"], boxes)
    found = OpenWorldSegmenter(fake.tag, fake.detect, fake.segment).segment(np.zeros((*SIZE, 3), np.uint8))
    assert fake.asked == [["dog", "cat", "fly", "sky"]]
    assert found.tags == ("dog",)
    assert found.masks[0].sum() == 29


def test_words_that_name_no_object_are_dropped():
    everywhere = np.array([[0, 0, 30, 20]], np.float32)
    fake = Fake(["blue", "dog", "walk", "indoor"], dict.fromkeys(["blue", "dog", "walk", "indoor"], everywhere))
    found = OpenWorldSegmenter(fake.tag, fake.detect, fake.segment).segment(np.zeros((*SIZE, 3), np.uint8))
    assert fake.asked == [["dog"]]
    assert found.tags == ("dog",)


@pytest.mark.parametrize("word", ["watch", "wave", "swing", "ski", "shadow", "couple", "roll", "stand"])
def test_words_that_are_things_as_well_are_looked_for(word):
    fake = Fake([word], {word: np.array([[0, 0, 4, 4]], np.float32)})
    found = OpenWorldSegmenter(fake.tag, fake.detect, fake.segment).segment(np.zeros((*SIZE, 3), np.uint8))
    assert found.tags == (word,)


def test_without_tags_the_detector_is_not_called():
    fake = Fake([], {})
    assert OpenWorldSegmenter(fake.tag, fake.detect, fake.segment).segment(np.zeros((*SIZE, 3), np.uint8)).tags == ()
    assert fake.asked == []


def test_only_common_tags_stay_and_the_rest_is_label_0():
    first = tagged(dog=box(0, 0, 5, 5), cat=box(10, 10, 15, 15))
    second = tagged(dog=box(1, 2, 6, 7), bird=box(10, 10, 15, 15))
    masks = label_pair(first, second)
    assert (masks.count, masks.source, masks.names) == (2, "open-world", (REST, "dog"))
    assert np.array_equal(masks.labels0 == 1, first.masks[0])
    assert np.array_equal(masks.labels1 == 1, second.masks[0])


def test_the_smaller_of_two_overlapping_tags_is_dropped_from_both_frames():
    # In frame 0 they share 20 of 100 pixels of the smaller; in frame 1 nothing.
    first = tagged(small=box(0, 8, 10, 18), large=box(0, 0, 20, 10))
    second = tagged(small=box(0, 20, 10, 30), large=box(0, 0, 20, 10))
    assert common_tags(first, second) == ["large"]
    assert common_tags(second, first) == ["large"]


@pytest.mark.parametrize(("shared", "stays"), [(1, True), (2, False)])
def test_an_overlap_of_a_tenth_of_the_smaller_is_allowed(shared, stays):
    # The smaller one is 10 pixels wide and 1 high.
    larger, smaller = box(0, 0, 20, 10), box(5, 10 - shared, 6, 20 - shared)
    found = label_pair(tagged(a=larger, b=smaller), tagged(a=larger, b=smaller))
    assert ("b" in found.names) == stays
    if stays:  # what they share is the smaller one's
        assert (found.labels0 == found.names.index("b")).sum() == 10


def test_a_tag_is_dropped_only_for_one_that_stays():
    # b overlaps a and goes; c overlaps b alone.
    a, b, c = box(0, 0, 20, 12), box(0, 10, 10, 20), box(0, 18, 4, 26)
    both = tagged(c=c, b=b, a=a)
    assert common_tags(both, both) == ["a", "c"]


def test_without_common_tags_there_is_one_mask():
    masks = label_pair(tagged(a=box(0, 0, 4, 4)), tagged(b=box(0, 0, 4, 4)))
    assert (masks.count, masks.names) == (1, (REST,))
    assert not masks.labels0.any()


def test_of_more_than_63_tags_the_largest_are_kept():
    size = (100, 70)
    many = {}
    for i in range(70):
        mask = np.zeros(size, bool)
        mask[: 20 + i, i] = True
        many[f"tag {i}"] = mask
    both = TaggedMasks(tuple(many), tuple(many.values()), size)
    masks = label_pair(both, both)
    assert masks.count == 64
    assert "tag 69" in masks.names
    assert "tag 0" not in masks.names


def test_labels_last_along_a_video():
    tag_labels = TagLabels()
    a, b, c = box(0, 0, 5, 5), box(8, 8, 16, 16), box(0, 20, 3, 23)
    one = label_pair(tagged(a=a, b=b), tagged(a=a, b=b), tag_labels)
    assert one.names == (REST, "b", "a")
    two = label_pair(tagged(a=a, b=b, c=c), tagged(a=a, c=c), tag_labels)
    assert two.names == (REST, "c", "a")  # b's label is free again


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 19)] * 4), max_size=6))
def test_tagged_masks_survive_a_round_trip_through_arrays(corners):
    masks = {f"t{i}": box(min(a, c), min(b, d), max(a, c) + 1, max(b, d) + 1) for i, (a, b, c, d) in enumerate(corners)}
    before = tagged(**masks)
    after = TaggedMasks.from_arrays(before.to_arrays())
    assert after.tags == before.tags
    assert after.size == before.size
    assert all(np.array_equal(x, y) for x, y in zip(after.masks, before.masks, strict=True))

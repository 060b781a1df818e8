"""Patterns of repeated frames are told apart, and video without them raises no false alarm."""

from fractions import Fraction
from itertools import cycle, islice

import numpy as np
import pytest

from betwixt.media.repeats import RepeatCounter


def count(holds):
    counter = RepeatCounter()
    for hold in holds:
        for number in range(hold):
            counter.push(number > 0)
    return counter


def pulldown(source, stored, pictures):
    """The holds of frames at one rate that are stored at a higher one."""
    shown = [int(number * Fraction(source) / Fraction(stored)) for number in range(pictures * stored // source)]
    return [shown.count(picture) for picture in range(shown[-1])]


@pytest.mark.parametrize(
    ("holds", "rate", "pattern"),
    [
        ([2] * 20, 24, "animation on twos"),
        ([3] * 10, 24, "animation on threes"),
        ([2] * 20, 60, "30 frames per second stored as 60"),
        (pulldown(24, 60, 40), 60, "24 frames per second stored as 60"),
        (pulldown(25, 60, 40), 60, "25 frames per second stored as 60"),
        (pulldown(24, 30, 40), Fraction(30000, 1001), "24 frames per second stored as 29.97"),
        (pulldown(24, 25, 300), 25, "24 frames per second stored as 25"),
        ([2, 3, 2, 1, 2, 2, 3, 3, 2, 1, 2, 4, 2, 2] * 2, 24, "animation"),
    ],
)
def test_patterns_are_named(holds, rate, pattern):
    note = count(holds).note(Fraction(rate))
    repeats, frames = sum(holds) - len(holds), sum(holds)
    assert note == (
        f"{repeats} of {frames} frames repeat the one before, which looks like {pattern}: "
        '`duplicates="fill"` replaces them by new frames.'
    )


def test_repeats_without_a_pattern_are_counted_only():
    holds = np.random.default_rng(1).choice([1, 1, 1, 2], 200).tolist()
    assert count(holds).note(Fraction(25)).endswith('the one before: `duplicates="fill"` replaces them by new frames.')


@pytest.mark.parametrize(
    "holds",
    [
        [1] * 300,
        [1] * 100 + [40] + [1] * 100,  # a still picture
        [200],
        [2, 2],
        [1] * 90 + [2] + [1] * 7 + [2] + [1] * 40 + [3] + [1] * 100,  # a few dropped frames
        [1, 40, 1, 12, 1, 30, 6, 1, 9] * 4,  # slides
    ],
    ids=["video", "still", "only a still", "too short", "dropped", "slides"],
)
def test_other_video_is_not_worth_a_word(holds):
    assert count(holds).note(Fraction(25)) is None


@pytest.mark.parametrize("seed", range(20))
def test_repeats_at_random_are_not_taken_for_a_rate(seed):
    holds = 1 + (np.random.default_rng(seed).random(400) < 0.04)
    assert "stored as" not in (count(holds.tolist()).note(Fraction(25)) or "")


def test_places_of_a_video_are_not_joined():
    counter = RepeatCounter()
    for _ in range(4):  # each place begins and ends within a picture that is shown for two frames
        for duplicate in [False, *islice(cycle([False, True]), 13)]:
            counter.push(duplicate)
        counter.interrupt()
    assert "animation on twos" in counter.note(Fraction(24))
    assert counter.frames == 4 * 14

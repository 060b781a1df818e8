from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from betwixt.errors import UsageError
from betwixt.training.augmentation import Augmentation, augment, compress_jpeg, compress_video
from betwixt.training.sample import TrainingSample

SIZE = 24
NO_TRANSFORM = Augmentation(flip_x=0.0, flip_y=0.0, transpose=0.0, reverse=0.0)
TRANSFORMS = ["flip_x", "flip_y", "transpose", "turn", "reverse", "channels", "bgr"]


def translating_noise(seed: int, t: float) -> TrainingSample:
    """Noise that moves by whole pixels between the frames and time t, with its exact motion."""
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 256, (3 * SIZE, 3 * SIZE, 3), dtype=np.uint8)
    # From frame 0 to frame 1; a multiple of 4, so that it is a whole number of pixels up to t = 1/4, too.
    shift = 4 * rng.integers(-2, 3, 2)

    def at(time: float) -> np.ndarray:
        x, y = (SIZE - shift * time).astype(int)
        return noise[y : y + SIZE, x : x + SIZE]

    motion = np.broadcast_to(shift.astype(np.float32), (SIZE, SIZE, 2))
    return TrainingSample(np.stack([at(0.0), at(t), at(1.0)]), t, motion)


def motion_is_exact(sample: TrainingSample) -> bool:
    """Whether the motion leads from each pixel of the target to the same pixel of both frames, where it is inside."""
    assert sample.motion is not None
    y, x = np.mgrid[:SIZE, :SIZE]
    for frame, part in ((sample.images[0], -sample.t), (sample.images[2], 1 - sample.t)):
        flow = np.rint(part * sample.motion).astype(int)
        u, v = x + flow[..., 0], y + flow[..., 1]
        inside = (u >= 0) & (u < SIZE) & (v >= 0) & (v < SIZE)
        assert inside.mean() > 0.1
        if not (frame[v[inside], u[inside]] == sample.images[1][inside]).all():
            return False
    return True


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 1000),
    t=st.sampled_from([0.25, 0.5, 0.75, 2.0]),
    probabilities=st.fixed_dictionaries({name: st.sampled_from([0.0, 0.5, 1.0]) for name in TRANSFORMS}),
)
def test_the_motion_is_transformed_with_the_images(seed: int, t: float, probabilities: dict[str, float]) -> None:
    before = translating_noise(seed, t)
    assert motion_is_exact(before)
    after = augment(np.random.default_rng(seed), before, Augmentation(**probabilities))
    assert motion_is_exact(after)
    assert after.t in (before.t, 1 - before.t)
    assert after.images.shape == before.images.shape
    assert after.images.flags.c_contiguous


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_each_transform_changes_the_sample(transform: str) -> None:
    before = translating_noise(3, 0.25)
    always = Augmentation(**{**NO_TRANSFORM.__dict__, transform: 1.0})
    changed = [augment(np.random.default_rng(i), before, always) for i in range(9)]
    if transform == "reverse":
        assert all(sample.t == 0.75 for sample in changed)
    assert any(not np.array_equal(sample.images, before.images) for sample in changed)
    unchanged = augment(np.random.default_rng(0), before, NO_TRANSFORM)
    np.testing.assert_array_equal(unchanged.images, before.images)
    np.testing.assert_array_equal(unchanged.motion, before.motion)


def test_each_flip_gives_the_expected_images() -> None:
    before = translating_noise(1, 0.5).images
    for transform, expected in (
        ("flip_x", before[:, :, ::-1]),
        ("flip_y", before[:, ::-1]),
        ("transpose", before.transpose(0, 2, 1, 3)),
        ("reverse", before[::-1]),
        ("bgr", before[..., ::-1]),
    ):
        after = augment(
            np.random.default_rng(0),
            TrainingSample(before, 0.5),
            Augmentation(**{**NO_TRANSFORM.__dict__, transform: 1.0}),
        )
        np.testing.assert_array_equal(after.images, expected)
        assert after.motion is None


def test_rotations_never_mirror() -> None:
    before = translating_noise(1, 0.5)
    turned = {k: np.rot90(before.images, k, axes=(1, 2)) for k in (1, 2, 3)}
    turns = set()
    for seed in range(30):
        after = augment(np.random.default_rng(seed), before, Augmentation(**{**NO_TRANSFORM.__dict__, "turn": 1.0}))
        turns |= {k for k, images in turned.items() if np.array_equal(after.images, images)}
    assert turns == {1, 2, 3}


def test_probabilities_are_respected() -> None:
    before = translating_noise(2, 0.25)
    sometimes = Augmentation(**{**NO_TRANSFORM.__dict__, "reverse": 0.3})
    reversed_ = sum(augment(np.random.default_rng(i), before, sometimes).t == 0.75 for i in range(400))
    assert 90 <= reversed_ <= 150


def test_extrapolation_samples_are_reversed_only_without_known_motion() -> None:
    always = Augmentation(**{**NO_TRANSFORM.__dict__, "reverse": 1.0})
    known = translating_noise(4, 2.0)
    kept = augment(np.random.default_rng(0), known, always)
    np.testing.assert_array_equal(kept.images, known.images)
    unknown = TrainingSample(known.images, 2.0)
    reversed_ = augment(np.random.default_rng(0), unknown, always)
    assert reversed_.t == 2.0
    # In time order the frames are 0, 1, target; backwards the target is the first of them.
    np.testing.assert_array_equal(reversed_.images, known.images[[1, 0, 2]])


def test_jpeg_compression_changes_little() -> None:
    ramp = np.broadcast_to(np.arange(48, dtype=np.uint8)[:, None] * 5, (3, 48, 48))
    frames = np.stack([ramp, ramp[:, ::-1], ramp.transpose(0, 2, 1)], axis=-1)
    difference = np.abs(compress_jpeg(np.random.default_rng(0), frames).astype(int) - frames).mean()
    assert 0 < difference < 10
    always = Augmentation(**{**NO_TRANSFORM.__dict__, "compression": 1.0})
    after = augment(np.random.default_rng(0), TrainingSample(frames, 0.5), always)
    assert not np.array_equal(after.images, frames)


@pytest.mark.parametrize("seed", range(6))
def test_video_compression_changes_little_and_is_deterministic(seed: int) -> None:
    x = np.linspace(0, 6, 64)
    frames = np.stack([np.add.outer(np.sin(x + shift), np.cos(2 * x)) for shift in (0.0, 0.1, 0.2)])
    frames = np.repeat((128 + 50 * frames)[..., None], 3, axis=3).astype(np.uint8)
    first, again = (compress_video(np.random.default_rng(seed), frames) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    differences = np.abs(first[:, None].astype(int) - frames).mean(axis=(2, 3, 4))
    assert 0 < differences.max() < 20
    # Every frame is closest to itself: none is lost, and the order is kept.
    assert differences.argmin(axis=1).tolist() == [0, 1, 2]
    odd = compress_video(np.random.default_rng(seed), np.ascontiguousarray(frames[:, :63, :63]))
    assert odd.shape == (3, 63, 63, 3)
    always = Augmentation(**{**NO_TRANSFORM.__dict__, "video": 1.0})
    assert not np.array_equal(augment(np.random.default_rng(seed), TrainingSample(frames, 0.5), always).images, frames)


@pytest.mark.parametrize("probability", [-0.1, 1.1, float("nan")])
def test_a_probability_outside_0_to_1_is_refused(probability: float) -> None:
    with pytest.raises(UsageError, match=r"'turn' in \[augmentation\]"):
        Augmentation(turn=probability)

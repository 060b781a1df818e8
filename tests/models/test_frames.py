"""The frames and times that models take: the types that go in come out, and what cannot be used is refused."""

import numpy as np
import pytest
import torch
from PIL import Image

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
        (GOOD, GOOD[:, :30], [0.5], "differ in size, 32x24 and 30x24"),
        (GOOD, (GOOD * 255).astype(np.uint8), [0.5], "differ in type, float32 array and uint8 array"),
        (GOOD * 255, GOOD, [0.5], r"values from 127\.5 to 127\.5, but floats .* divide 8-bit values by 255"),
        (GOOD, GOOD - 0.6, [0.5], r"The second frame has values from -0\.1 to -0\.1"),
        (torch.full((3, 24, 32), 255.0), torch.zeros(3, 24, 32), [0.5], "have to be in"),
        (torch.zeros(3, 24, 32, dtype=torch.int64), torch.zeros(3, 24, 32), [0.5], r"of type torch\.int64"),
        (
            Image.new("RGBA", (32, 24)),
            Image.new("RGBA", (32, 24)),
            [0.5],
            r'mode RGBA: convert it by \.convert\("RGB"\)',
        ),
        (Image.new("RGB", (32, 24)), Image.new("RGB", (30, 24)), [0.5], "differ in size, 32x24 and 30x24"),
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


def test_errors_name_the_neighbouring_frame_that_is_wrong():
    with pytest.raises(UsageError, match=r"^`before` is a list"):
        DIS().between(GOOD, GOOD, [0.5], before=[0])
    with pytest.raises(UsageError, match=r"^`after` has shape"):
        DIS().between(GOOD, GOOD, [0.5], after=GOOD[..., 0])


RAMP = np.linspace(0, 1, 24 * 32 * 3).reshape(24, 32, 3)


def as_tensor(dtype):
    def convert(image):
        values = torch.from_numpy(image).permute(2, 0, 1)
        return (values * torch.iinfo(dtype).max).round().to(dtype) if not dtype.is_floating_point else values.to(dtype)

    return convert


GIVEN = {
    "uint8": lambda image: np.rint(image * 255).astype(np.uint8),
    "uint16": lambda image: np.rint(image * 65535).astype(np.uint16),
    "float32": lambda image: image.astype(np.float32),
    "float64": lambda image: image,
    "tensor float16": as_tensor(torch.float16),
    "tensor float32": as_tensor(torch.float32),
    "tensor uint8": as_tensor(torch.uint8),
    "tensor uint16": as_tensor(torch.uint16),
    "PIL": lambda image: Image.fromarray(np.rint(image * 255).astype(np.uint8)),
}


def as_floats(image):
    """A frame of any type as (H, W, 3) in [0, 1]."""
    array = image.permute(1, 2, 0).float().numpy() if isinstance(image, torch.Tensor) else np.asarray(image)
    top = {1: 255, 2: 65535}[np.asarray(image).dtype.itemsize] if np.asarray(image).dtype.kind == "u" else 1
    return array / top


@pytest.mark.parametrize("kind", GIVEN)
def test_frames_come_out_in_the_type_that_went_in(kind):
    first, second = GIVEN[kind](RAMP), GIVEN[kind](RAMP[:, ::-1].copy())
    frames = DIS().between(first, second, [0, 0.5, 1], before=first, after=second)
    frames += DIS().extrapolate(first, first, 1)
    for frame in frames:
        assert isinstance(frame, type(first))
        if not isinstance(first, Image.Image):
            assert (frame.dtype, frame.shape) == (first.dtype, first.shape)
    assert np.array_equal(frames[0], first)
    assert frames[0] is not first
    assert np.array_equal(frames[2], second)
    assert np.allclose(as_floats(frames[1]).mean(), 0.5, atol=0.1)
    assert np.allclose(as_floats(frames[3]), RAMP, atol=0.01)


def test_a_batch_of_tensors_of_integers_keeps_its_shape():
    first = GIVEN["tensor uint8"](RAMP).repeat(2, 1, 1, 1)
    (frame,) = DIS().between(first, first, [0.5])
    assert torch.equal(frame, first)


def test_images_that_were_opened_from_different_formats_go_together(tmp_path):
    for name in ("a.png", "b.bmp"):
        GIVEN["PIL"](RAMP).save(tmp_path / name)
    with Image.open(tmp_path / "a.png") as first, Image.open(tmp_path / "b.bmp") as second:
        frames = DIS().between(first, second, [0.5, 1])
    assert all(isinstance(frame, Image.Image) and frame.mode == "RGB" for frame in frames)
    assert np.array_equal(frames[0], frames[1])

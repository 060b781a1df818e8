"""Raw video: its format is in its name."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from betwixt.cli.main import run as cli
from betwixt.errors import InputError
from betwixt.media.frames import planes
from betwixt.media.raw_video import find_raw_format
from betwixt.media.reader import Reader


@pytest.mark.parametrize(
    ("name", "size", "rate", "pixel_format"),
    [
        ("BasketballDrive_1920x1080_50.yuv", (1920, 1080), 50, "yuv420p"),
        ("NebutaFestival_2560x1600_60_10bit_crop.yuv", (2560, 1600), 60, "yuv420p10le"),
        ("Tango2_3840x2160_60fps_10bit_420.yuv", (3840, 2160), 60, "yuv420p10le"),
        ("a_64x48_30_422.YUV", (64, 48), 30, "yuv422p"),
        ("grey 64x48 400.yuv", (64, 48), None, "gray"),
    ],
)
def test_a_name_states_the_format(name, size, rate, pixel_format):
    found = find_raw_format(Path(name))
    assert (found.width, found.height) == size
    assert found.rate == rate
    assert found.pixel_format == pixel_format


@pytest.mark.parametrize(("depth", "dtype"), [("", np.uint8), ("_10bit", np.dtype("<u2"))])
def test_frames_are_read_as_they_are(tmp_path, depth, dtype):
    rng = np.random.default_rng(0)
    samples = rng.integers(16, 236, (4, 66 * 50 * 3 // 2)).astype(dtype)
    path = tmp_path / f"noise_66x50_30{depth}.yuv"
    samples.tofile(path)
    with Reader(path) as reader:
        assert (reader.info.width, reader.info.height, reader.info.rate) == (66, 50, Fraction(30))
        assert reader.info.frames in (None, 4)
        frames = [item for item in reader if hasattr(item, "video")]
    assert [frame.time for frame in frames] == [Fraction(k, 30) for k in range(4)]
    for frame, expected in zip(frames, samples, strict=True):
        assert np.array_equal(np.concatenate([plane.reshape(-1) for plane in planes(frame.video)]), expected)
        assert reader.notes == []
    with Reader(path, start=Fraction(2, 30)) as reader:
        first = next(item for item in reader if hasattr(item, "video"))
    assert first.time == Fraction(2, 30)


def test_wrong_names_and_lengths_are_refused(tmp_path, capsys):
    for name, message in (
        ("clip.yuv", "states no size"),
        ("clip_64x48_11bit.yuv", "11 bits"),
        ("clip_64x48.yuv", "has 0.22 frames of 64x48"),
    ):
        path = tmp_path / name
        path.write_bytes(bytes(1000))
        with pytest.raises(InputError, match=message):
            Reader(path)
        assert cli(["info", str(path)]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1

from __future__ import annotations

from collections import Counter
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from betwixt.errors import InputError, UsageError
from betwixt.training.frame_datasets import (
    ClipDataset,
    ListedTriplets,
    RandomGaps,
    VideoClip,
    open_gopro,
    open_vimeo90k,
    open_x_train,
)

SIZE = 24


def frame(number: int) -> np.ndarray:
    """A frame whose pixels encode where they come from: (number of the frame, column, row)."""
    y, x = np.mgrid[:32, :48]
    return np.stack([np.full_like(x, number), x, y], axis=-1).astype(np.uint8)


def write(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.ascontiguousarray(frame(number)[..., ::-1]))


def make_vimeo(root: Path, frames: int) -> Path:
    kind, table = ("vimeo_triplet", "tri_trainlist.txt") if frames == 3 else ("vimeo_septuplet", "sep_trainlist.txt")
    for name in ("00001/0001", "00002/0007"):
        for i in range(frames):
            write(root / kind / "sequences" / name / f"im{i + 1}.png", i)
    # The published lists end in an empty line; a test shot is not in it.
    write(root / kind / "sequences/00003/0001/im1.png", 99)
    (root / kind / table).write_text("00001/0001\n00002/0007\n\n")
    return root


def make_clips(root: Path, folder: str, first: int, count: int) -> Path:
    for i in range(count):
        write(root / folder / f"{first + i:04d}.png", i)
    return root


def check_samples(source: ClipDataset, draws: int = 20) -> Counter[float]:
    """Draw samples, check that their frames match t and are cropped at one place, and count the values of t."""
    times: Counter[float] = Counter()
    for seed in range(draws):
        sample = source.draw(np.random.default_rng(seed), SIZE)
        assert sample.images.shape == (3, SIZE, SIZE, 3)
        assert sample.motion is None
        first, truth, last = (int(image[0, 0, 0]) for image in sample.images)
        assert last > first
        assert sample.t == (truth - first) / (last - first)
        x, y = sample.images[0, 0, 0, 1:]
        for number, image in zip((first, truth, last), sample.images, strict=True):
            np.testing.assert_array_equal(image, frame(number)[y : y + SIZE, x : x + SIZE])
        times[sample.t] += 1
    return times


def test_vimeo_triplets(tmp_path: Path) -> None:
    source = open_vimeo90k(make_vimeo(tmp_path, 3), 3, "middle")
    assert len(source) == 2
    assert set(check_samples(source)) == {0.5}
    assert set(check_samples(open_vimeo90k(tmp_path / "vimeo_triplet", 3, "next"))) == {2.0}


def test_vimeo_septuplets_have_any_time(tmp_path: Path) -> None:
    times = check_samples(open_vimeo90k(make_vimeo(tmp_path, 7), 7, "between"), 40)
    assert len(times) > 5
    assert all(0 < t < 1 for t in times)
    assert set(check_samples(open_vimeo90k(tmp_path, 7, "middle"), 5)) == {0.5}
    assert set(check_samples(open_vimeo90k(tmp_path, 7, "next"), 5)) == {2.0}


def test_septuplets_contain_all_ordered_triplets() -> None:
    between, middle, after = (ListedTriplets(7, times) for times in ("between", "middle", "next"))
    assert (len(between), len(middle), len(after)) == (35, 9, 9)
    drawn = Counter(between.draw(np.random.default_rng(i), 7) for i in range(3500))
    assert len(drawn) == 35
    assert min(drawn.values()) > 50
    for first, truth, last, t in drawn:
        assert 0 <= first < truth < last < 7
        assert t == (truth - first) / (last - first)


@given(
    smallest=st.integers(2, 8),
    more=st.integers(0, 8),
    extra=st.integers(0, 10),
    times=st.sampled_from(["middle", "between", "next"]),
    seed=st.integers(0, 1000),
)
def test_gaps_stay_within_the_clip(smallest: int, more: int, extra: int, times: str, seed: int) -> None:
    if times == "middle" and smallest % 2 and not more:
        return
    gaps = RandomGaps(smallest, smallest + more, times)
    length = gaps.min_length + extra
    first, truth, last, t = gaps.draw(np.random.default_rng(seed), length)
    assert smallest <= last - first <= smallest + more
    assert t == (truth - first) / (last - first)
    assert all(0 <= number < length for number in (first, truth, last))
    assert {"middle": t == 0.5, "between": 0 < t < 1, "next": t == 2.0}[times]


@pytest.mark.parametrize("gaps", [(1, 4, "between"), (4, 2, "between"), (3, 3, "middle"), (0, 1, "next")])
def test_gaps_without_a_target_frame_are_refused(gaps: tuple[int, int, str]) -> None:
    with pytest.raises(UsageError, match="gap"):
        RandomGaps(*gaps)


def test_x_train_frames(tmp_path: Path) -> None:
    for clip in ("002/occ008.320", "172/occ131.000"):
        make_clips(tmp_path, f"X4K1000FPS/train/{clip}", 0, 9)
    source = open_x_train(tmp_path, (2, 8), "between")
    assert len(source) == 2
    assert len(check_samples(source)) > 4
    assert set(check_samples(open_x_train(tmp_path, (2, 4), "next"), 5)) == {2.0}


def encode_clip(path: Path, count: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264rgb", rate=30, options={"crf": "0"})
        stream.width, stream.height, stream.pix_fmt = 48, 32, "rgb24"
        for step in range(count):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame(step), format="rgb24")))
        container.mux(stream.encode())
    return path


def test_x_train_as_published_videos(tmp_path: Path) -> None:
    encode_clip(tmp_path / "encoded_train/002/occ008.320.mp4", 65)
    source = open_x_train(tmp_path, (2, 4), "between")
    assert len(source) == 1
    check_samples(source, 3)
    # Decoded frames take precedence over the video.
    make_clips(tmp_path, "encoded_train/002/occ008.320", 0, 5)
    assert len(open_x_train(tmp_path, (2, 4), "between")) == 1
    check_samples(open_x_train(tmp_path, (2, 4), "between"), 3)


def test_gopro(tmp_path: Path) -> None:
    make_clips(tmp_path, "train/GOPR0372_07_00", 47, 12)
    times = check_samples(open_gopro(tmp_path, (8, 8), "between"), 12)
    assert set(times) <= {i / 8 for i in range(1, 8)}
    assert len(times) > 3


def test_enlarged_samples_are_upscaled_by_two(tmp_path: Path) -> None:
    source = open_vimeo90k(make_vimeo(tmp_path, 3), 3, "middle", enlarge=1.0)
    for size in (40, 41):
        sample = source.draw(np.random.default_rng(0), size)
        assert sample.images.shape == (3, size, size, 3)
        columns = sample.images[0, 0, :, 1].astype(int)
        # Every column of the frame appears twice.
        assert columns[-2] - columns[1] == pytest.approx((size - 3) / 2, abs=1)


def test_a_listed_file_that_is_missing_is_named(tmp_path: Path) -> None:
    lost = make_vimeo(tmp_path, 7) / "vimeo_septuplet/sequences/00002/0007/im5.png"
    lost.unlink()
    with pytest.raises(InputError, match=r"0007/im5\.png is missing: line 2 of .*sep_trainlist\.txt"):
        open_vimeo90k(tmp_path, 7, "between")


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    make_vimeo(tmp_path, 3)
    source = open_vimeo90k(tmp_path, 3, "middle")
    for path in tmp_path.glob("vimeo_triplet/sequences/*/*/im2.png"):
        path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(InputError, match=r"im2\.png is damaged"):
        source.draw(np.random.default_rng(0), SIZE)
    video = encode_clip(tmp_path / "002/short.mp4", 5)
    with pytest.raises(InputError, match=r"short\.mp4 is damaged: it ends before frame 7"):
        VideoClip(str(video), 65).read([0, 3, 7])
    video.write_bytes(b"no video" * 100)
    with pytest.raises(InputError, match=r"short\.mp4 cannot be decoded"):
        VideoClip(str(video), 65).read([0])


def test_a_crop_larger_than_the_frames_is_refused(tmp_path: Path) -> None:
    source = open_vimeo90k(make_vimeo(tmp_path, 3), 3, "middle")
    with pytest.raises(InputError, match="48x32: too small for crops of 64x64"):
        source.draw(np.random.default_rng(0), 64)


def test_missing_and_empty_data_sets_are_one_line_errors(tmp_path: Path) -> None:
    messages = []
    for opener in (
        lambda root: open_vimeo90k(root, 3, "middle"),
        lambda root: open_vimeo90k(root, 7, "between"),
        lambda root: open_x_train(root, (2, 32), "between"),
        lambda root: open_gopro(root, (8, 8), "between"),
    ):
        for root in (tmp_path / "nowhere", tmp_path):
            with pytest.raises(InputError) as error:
                opener(root)
            messages.append(str(error.value))
    assert all("\n" not in message for message in messages)
    (tmp_path / "vimeo_triplet").mkdir()
    (tmp_path / "vimeo_triplet/tri_trainlist.txt").write_text("\n\n")
    with pytest.raises(InputError, match=r"tri_trainlist\.txt is empty"):
        open_vimeo90k(tmp_path, 3, "middle")


def test_clips_that_are_too_short_or_lack_a_frame_are_refused(tmp_path: Path) -> None:
    make_clips(tmp_path / "short", "train/a", 0, 8)
    with pytest.raises(InputError, match="has 8 frames: samples need clips of at least 9"):
        open_gopro(tmp_path / "short", (8, 8), "between")
    make_clips(tmp_path / "lost", "train/a", 0, 12)
    (tmp_path / "lost/train/a/0004.png").unlink()
    with pytest.raises(InputError, match=r"lacks a frame between 0003\.png and 0005\.png"):
        open_gopro(tmp_path / "lost", (8, 8), "between")

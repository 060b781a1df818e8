from __future__ import annotations

import itertools
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from layouts import LAYOUTS, make_image, write_image

from betwixt.errors import InputError, UsageError
from betwixt.evaluation.datasets import DATASETS, DatasetOptions, Sample, SampleImages, open_dataset, sequences
from betwixt.evaluation.datasets.triplets import UCF101
from betwixt.evaluation.datasets.videos import _size_from_name


def load_samples(root: Path, name: str, options: DatasetOptions | None = None) -> list[tuple[Sample, SampleImages]]:
    result = []
    for sample in open_dataset(name, root, options).samples():
        try:
            result.append((sample, sample.load()))
        except InputError:
            continue
    return result


@pytest.mark.parametrize("name", LAYOUTS)
def test_published_layouts_are_read(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequences._Xiph, "SIZE", (64, 96))
    make, count = LAYOUTS[name]
    make(tmp_path)
    samples = load_samples(tmp_path, name)
    assert sum(len(sample.times) for sample, _ in samples) == count
    assert len({sample.name for sample, _ in samples}) == len(samples)
    for sample, frames in samples:
        assert len(frames.truths) == len(sample.times)
        assert {f.shape for f in (frames.first, frames.second, *frames.truths)} == {frames.first.shape}
        assert frames.first.dtype == np.uint8


@pytest.mark.parametrize("name", DATASETS)
def test_other_folders_are_refused_in_one_line(name: str, tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text("nothing")
    with pytest.raises(InputError) as error:
        list(open_dataset(name, tmp_path).samples())
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="There is no"):
        open_dataset(name, tmp_path / "nowhere")


def test_every_set_states_its_protocol() -> None:
    for kind in DATASETS.values():
        assert kind.__doc__
        assert kind.protocol


def test_clean_leaves_out_the_98_duplicates(tmp_path: Path) -> None:
    LAYOUTS["ucf101"][0](tmp_path)
    assert len(UCF101.DUPLICATES) == 98
    assert [s.name for s, _ in load_samples(tmp_path, "ucf101", DatasetOptions(clean=True))] == ["2", "11"]
    assert open_dataset("ucf101", tmp_path, DatasetOptions(clean=True)).expected_count == 281
    with pytest.raises(UsageError, match="`clean` is for ucf101"):
        open_dataset("middlebury", tmp_path, DatasetOptions(clean=True))


def test_images_are_rgb(tmp_path: Path) -> None:
    LAYOUTS["triplets"][0](tmp_path)
    _, frames = load_samples(tmp_path, "triplets")[0]
    np.testing.assert_array_equal(frames.first, make_image(0)[..., ::-1])


def test_x_test_times_are_eighths(tmp_path: Path) -> None:
    LAYOUTS["x4k1000fps"][0](tmp_path)
    (sample, frames), *_ = load_samples(tmp_path, "x4k1000fps")
    assert sample.times == tuple(i / 8 for i in range(1, 8))
    np.testing.assert_array_equal(frames.truths[0], make_image(1)[..., ::-1])
    (sample, frames), *_ = load_samples(tmp_path, "x4k1000fps-extrapolation")
    assert sample.times == (2.0,)
    np.testing.assert_array_equal(frames.second, make_image(4)[..., ::-1])


def test_xiph_frames_are_downscaled_or_cropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequences._Xiph, "SIZE", (64, 96))
    LAYOUTS["xiph-2k"][0](tmp_path)
    _, small = load_samples(tmp_path, "xiph-2k")[0]
    _, cut = load_samples(tmp_path, "xiph-4k")[0]
    assert small.first.shape == cut.first.shape == (32, 48, 3)
    np.testing.assert_array_equal(cut.first, make_image(1, 64, 96)[16:48, 24:72, ::-1])


def test_every_inner_frame_is_restored(tmp_path: Path) -> None:
    LAYOUTS["frames"][0](tmp_path)
    names = {sample.name for sample, _ in load_samples(tmp_path, "frames")}
    assert names == {f"alpha/{i:05d}" for i in range(1, 6)} | {f"beta/{i:05d}" for i in (1, 2)}
    names = {sample.name for sample, _ in load_samples(tmp_path, "frames", DatasetOptions(stride=3))}
    assert names == {"alpha/00003"}


def test_missing_numbers_count_as_missing_frames(tmp_path: Path) -> None:
    LAYOUTS["frames"][0](tmp_path)
    (tmp_path / "alpha/00003.jpg").unlink()
    samples = [s for s in open_dataset("frames", tmp_path).samples() if s.group == "alpha"]
    assert len(samples) == 5
    good = [
        name for name, frames in ((s.name, f) for s, f in load_samples(tmp_path, "frames")) if name.startswith("alpha")
    ]
    assert good == ["alpha/00001", "alpha/00005"]


def test_files_with_the_same_stem_give_different_samples(tmp_path: Path) -> None:
    for i in range(3):
        write_image(tmp_path / f"s/{i}.png", i)
        write_image(tmp_path / f"s/{i}.jpg", i)
    names = [s.name for s, _ in load_samples(tmp_path, "frames")]
    assert len(set(names)) == len(names) == 4


def test_a_damaged_video_is_counted_and_others_are_read(tmp_path: Path) -> None:
    for name in ("a.ts", "b.ts"):
        with av.open(str(tmp_path / name), "w") as out:
            stream = out.add_stream("libx264", rate=25, options={"g": "5"})
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            for i in range(20):
                out.mux(stream.encode(av.VideoFrame.from_ndarray(make_image(i, 48, 64), format="rgb24")))
            out.mux(stream.encode(None))
    damaged = tmp_path / "a.ts"
    damaged.write_bytes(damaged.read_bytes()[:-3000])
    samples = list(open_dataset("video", tmp_path).samples())
    assert [s.name for s in samples if s.group == "a.ts"] == ["a.ts"]
    with pytest.raises(InputError, match="damaged"):
        samples[0].load()
    assert len([s for s in samples if s.group == "b.ts"]) == 9


def test_list_files_in_other_formats_are_read(tmp_path: Path) -> None:
    LAYOUTS["vimeo90k"][0](tmp_path)
    table = tmp_path / "vimeo_triplet/tri_testlist.txt"
    table.write_bytes(b"\xef\xbb\xbf00001/0001\r\n00001/0002\r\n")
    assert [s.name for s, _ in load_samples(tmp_path, "vimeo90k")] == ["00001/0001", "00001/0002"]
    table.write_text("")
    with pytest.raises(InputError, match="is empty"):
        list(open_dataset("vimeo90k", tmp_path).samples())
    LAYOUTS["snu-film-hard"][0](tmp_path)
    table = tmp_path / "SNU-FILM/test-hard.txt"
    lines = table.read_text().splitlines()
    table.write_text(f"{lines[0]}\nonly two\n" + " ".join(p.removeprefix("data/SNU-FILM/") for p in lines[1].split()))
    samples = list(open_dataset("snu-film-hard", tmp_path).samples())
    assert len(samples) == 3
    samples[2].load()
    with pytest.raises(InputError, match="line 2: expected three paths"):
        samples[1].load()


def test_grey_images_are_read_and_16_bit_images_refused(tmp_path: Path) -> None:
    LAYOUTS["triplets"][0](tmp_path)
    grey = np.full((32, 48), 77, np.uint8)
    for i in range(3):
        assert cv2.imwrite(str(tmp_path / f"a/{i}.png"), grey)
        assert cv2.imwrite(str(tmp_path / f"b/{i}.png"), grey.astype(np.uint16) * 257)
    first, second = open_dataset("triplets", tmp_path).samples()
    assert (first.load().first == 77).all()
    with pytest.raises(InputError, match="more than 8 bits"):
        second.load()


def test_samples_of_a_run_share_frames(tmp_path: Path) -> None:
    LAYOUTS["frames"][0](tmp_path)
    samples = load_samples(tmp_path, "frames")
    for (a, frames_a), (b, frames_b) in itertools.pairwise(samples):
        if a.run == b.run:
            np.testing.assert_array_equal(frames_a.second, frames_b.first)


def test_a_video_gives_every_other_frame(tmp_path: Path) -> None:
    path = tmp_path / "clip.mkv"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264rgb", rate=25, options={"qp": "0"})
        stream.width, stream.height, stream.pix_fmt = 48, 32, "rgb24"
        for i in range(6):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(make_image(i), format="rgb24")))
        out.mux(stream.encode(None))
    samples = load_samples(path, "video")
    assert [sample.name for sample, _ in samples] == ["clip.mkv/000001", "clip.mkv/000003"]
    np.testing.assert_array_equal(samples[1][1].truths[0], make_image(3))
    assert len(load_samples(tmp_path, "video")) == 2


def test_triplets_are_reordered_for_extrapolation(tmp_path: Path) -> None:
    LAYOUTS["vimeo90k"][0](tmp_path)
    dataset = open_dataset("vimeo90k", tmp_path, DatasetOptions(extrapolate=True))
    sample = next(iter(dataset.samples()))
    assert (dataset.name, dataset.extrapolation, sample.times) == ("vimeo90k-extrapolation", True, (2.0,))
    frames = sample.load()
    np.testing.assert_array_equal(frames.truths[0], make_image(3)[..., ::-1])
    np.testing.assert_array_equal(frames.second, make_image(2)[..., ::-1])
    LAYOUTS["vimeo90k-septuplet"][0](tmp_path)
    with pytest.raises(UsageError, match="needs triplets"):
        next(iter(open_dataset("vimeo90k-septuplet", tmp_path, DatasetOptions(extrapolate=True)).samples()))


def test_missing_videos_of_the_hd_set_are_counted(tmp_path: Path) -> None:
    LAYOUTS["hd"][0](tmp_path)
    frame = np.zeros(1280 * 544 * 3 // 2, np.uint8).tobytes()
    (tmp_path / "HD_dataset/HD544p_GT/Sintel_Alley2_1280x544.yuv").write_bytes(3 * frame)
    samples = list(open_dataset("hd", tmp_path).samples())
    assert len(samples) == 11
    assert samples[7].load().truths[0].shape == (544, 1280, 3)
    with pytest.raises(InputError, match="parkrun"):
        samples[0].load()


def test_sizes_of_raw_videos_are_in_their_names() -> None:
    assert _size_from_name(Path("HD1080p_GT/BlueSky.yuv")) == (1920, 1080)
    assert _size_from_name(Path("HD1080p_GT/clip_48x32_25.yuv")) == (48, 32)
    assert _size_from_name(Path("videos/clip.yuv")) is None


def test_raw_videos_need_a_size(tmp_path: Path) -> None:
    (tmp_path / "clip.yuv").write_bytes(b"\0" * 100)
    (sample,) = open_dataset("hd", tmp_path).samples()
    with pytest.raises(InputError, match="has to be in its name"):
        sample.load()


def test_damaged_samples_are_reported(tmp_path: Path) -> None:
    LAYOUTS["triplets"][0](tmp_path)
    (tmp_path / "a/1.png").write_bytes(b"not an image")
    (tmp_path / "b/3.png").write_bytes((tmp_path / "b/2.png").read_bytes())
    first, second = open_dataset("triplets", tmp_path).samples()
    with pytest.raises(InputError, match=r"1\.png is damaged"):
        first.load()
    with pytest.raises(InputError, match="has 4 images"):
        second.load()

"""Masks as files: written, read, from other tools, damaged."""

import json

import av
import cv2
import numpy as np
import pytest

from betwixt.errors import InputError, OutputError
from betwixt.layers.label_maps import LabelMapPair
from betwixt.masks.store import MaskFolder, MaskWriter

SIZE = (12, 20)


def labels(seed, top=5, size=SIZE):
    return np.random.default_rng(seed).integers(0, top, size).astype(np.uint8)


@pytest.fixture
def folder(tmp_path):
    """Masks of four frames, as Betwixt writes them."""
    with MaskWriter(tmp_path / "masks", "regions", {"version": 1}) as writer:
        for k in range(3):
            writer.write(LabelMapPair(labels(2 * k), labels(2 * k + 1), 5, "regions"))
    return tmp_path / "masks"


def given(folder, count=3, size=SIZE, start=0, width=6):
    """Masks of frames, as another tool might write them."""
    folder.mkdir()
    for k in range(count):
        cv2.imwrite(str(folder / f"{k + start:0{width}d}.png"), labels(k, size=size))
    return folder


def test_written_masks_are_read_back(folder):
    found = MaskFolder(folder)
    assert (found.source, found.frames) == ("regions", 4)
    found.check(4, *SIZE)
    for k in range(3):
        masks = found.pair(k, k + 1, *SIZE)
        assert np.array_equal(masks.labels0, labels(2 * k))
        assert np.array_equal(masks.labels1, labels(2 * k + 1))
        assert (masks.count, masks.source) == (5, "regions")
    assert json.loads((folder / "masks.json").read_text())["settings"] == {"version": 1}


def test_frames_that_do_not_follow_each_other(folder):
    masks = MaskFolder(folder).pair(0, 3, *SIZE)
    assert np.array_equal(masks.labels0, labels(0))
    assert np.array_equal(masks.labels1, labels(5))


def test_labels_of_two_pairs_are_matched_by_name(tmp_path):
    with MaskWriter(tmp_path / "masks", "open-world", {}) as writer:
        a = np.array([[0, 1, 2]], np.uint8)
        writer.write(LabelMapPair(a, a, 3, "open-world", ("the rest", "dog", "cat")))
        writer.write(LabelMapPair(a, a, 3, "open-world", ("the rest", "bird", "dog")))
    masks = MaskFolder(tmp_path / "masks").pair(0, 2, 1, 3)
    assert masks.names == ("the rest", "dog", "cat")
    assert masks.labels1.tolist() == [[0, 0, 1]]


@pytest.mark.parametrize(("start", "width"), [(0, 6), (1, 4), (17, 5)])
def test_masks_of_frames_may_count_from_any_number(tmp_path, start, width):
    found = MaskFolder(given(tmp_path / "given", start=start, width=width))
    assert (found.source, found.frames) == ("given", 3)
    masks = found.pair(1, 2, *SIZE)
    assert np.array_equal(masks.labels0, labels(1))
    assert np.array_equal(masks.labels1, labels(2))


def test_palette_indices_are_labels(tmp_path):
    (tmp_path / "given").mkdir()
    for k in range(2):
        frame = av.VideoFrame(SIZE[1], SIZE[0], "pal8")
        plane = np.frombuffer(frame.planes[0], np.uint8).reshape(-1, frame.planes[0].line_size)
        plane[: SIZE[0], : SIZE[1]] = labels(k)
        np.frombuffer(frame.planes[1], np.uint8)[:] = np.random.default_rng(0).integers(0, 256, 1024)
        with av.open(str(tmp_path / "given" / f"{k:05d}.png"), "w", format="image2") as out:
            stream = out.add_stream("png", rate=1)
            stream.width, stream.height, stream.pix_fmt = SIZE[1], SIZE[0], "pal8"
            out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
    masks = MaskFolder(tmp_path / "given").pair(0, 1, *SIZE)
    assert np.array_equal(masks.labels0, labels(0))
    assert np.array_equal(masks.labels1, labels(1))


@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
def test_arrays_of_integers(tmp_path, dtype):
    (tmp_path / "given").mkdir()
    for k in range(2):
        np.save(tmp_path / "given" / f"{k}.npy", labels(k).astype(dtype))
    assert np.array_equal(MaskFolder(tmp_path / "given").pair(0, 1, *SIZE).labels1, labels(1))


def test_sixteen_bit_maps(tmp_path):
    given(tmp_path / "given")
    cv2.imwrite(str(tmp_path / "given" / "000001.png"), labels(1).astype(np.uint16))
    assert np.array_equal(MaskFolder(tmp_path / "given").pair(0, 1, *SIZE).labels1, labels(1))


# -- one-line errors


def test_a_missing_folder_and_an_empty_one(tmp_path):
    with pytest.raises(InputError, match="There is no folder of masks"):
        MaskFolder(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"holds no masks: expected 000000.png"):
        MaskFolder(tmp_path)


def test_another_size_than_the_frames(folder):
    found = MaskFolder(folder)
    with pytest.raises(
        InputError, match=r"000000-0.png is 20x12, the frames are 40x24: make masks of the frames' size"
    ):
        found.check(4, 24, 40)
    with pytest.raises(InputError, match=r"is 20x12, the frames are 40x24"):
        found.pair(0, 1, 24, 40)


def test_one_map_of_another_size(folder):
    cv2.imwrite(str(folder / "000001-1.png"), labels(0, size=(12, 21)))
    with pytest.raises(InputError, match=r"000001-1.png is 21x12, the frames are 20x12"):
        MaskFolder(folder).pair(1, 2, *SIZE)


@pytest.mark.parametrize("name", ["000001-0.png", "000001-1.png"])
def test_a_missing_map(folder, name):
    (folder / name).unlink()
    with pytest.raises(InputError, match=rf"{name} is missing"):
        MaskFolder(folder)


def test_a_missing_array_is_named_like_the_others(tmp_path):
    (tmp_path / "given").mkdir()
    for k in (1, 3):
        np.save(tmp_path / "given" / f"{k:03d}.npy", labels(k))
    with pytest.raises(InputError, match=r"002.npy is missing"):
        MaskFolder(tmp_path / "given")
    np.save(tmp_path / "given" / "002.npy", labels(2))
    with pytest.raises(InputError, match=r"no masks of frame 3: 004.npy is missing"):
        MaskFolder(tmp_path / "given").pair(2, 3, *SIZE)


def test_masks_of_too_few_frames(folder, tmp_path):
    with pytest.raises(InputError, match=r"masks of 4 frames, the video has 6: 000003-0.png is missing"):
        MaskFolder(folder).check(6, *SIZE)
    with pytest.raises(InputError, match=r"no masks of frame 4: 000003-0.png is missing"):
        MaskFolder(folder).pair(3, 4, *SIZE)
    with pytest.raises(InputError, match=r"masks of 3 frames, the video has 4: 000004.png is missing"):
        MaskFolder(given(tmp_path / "given", start=1)).check(4, *SIZE)


def test_float_masks(tmp_path):
    (tmp_path / "given").mkdir()
    for k in range(2):
        np.save(tmp_path / "given" / f"{k}.npy", labels(k).astype(np.float32))
    with pytest.raises(InputError, match=r"0.npy are of type float32, but labels are integers"):
        MaskFolder(tmp_path / "given").pair(0, 1, *SIZE)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_more_than_sixty_four_labels(tmp_path, dtype):
    given(tmp_path / "given")
    cv2.imwrite(str(tmp_path / "given" / "000000.png"), np.full(SIZE, 64, dtype))
    with pytest.raises(InputError, match=r"000000.png have the label 64, but at most 64 labels"):
        MaskFolder(tmp_path / "given").pair(0, 1, *SIZE)


def test_colour_images_and_damaged_files(tmp_path):
    given(tmp_path / "given")
    cv2.imwrite(str(tmp_path / "given" / "000000.png"), np.zeros((*SIZE, 3), np.uint8) + 3)
    with pytest.raises(InputError, match="is a colour image"):
        MaskFolder(tmp_path / "given").pair(0, 1, *SIZE)
    (tmp_path / "given" / "000000.png").write_bytes(b"nothing")
    with pytest.raises(InputError, match="cannot be read as PNG"):
        MaskFolder(tmp_path / "given").pair(0, 1, *SIZE)


def test_pickled_arrays_are_rejected(tmp_path):
    (tmp_path / "given").mkdir()
    for k in range(2):
        np.save(tmp_path / "given" / f"{k}.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(InputError, match="is not an array of numbers"):
        MaskFolder(tmp_path / "given").pair(0, 1, *SIZE)


def test_archives_and_damaged_arrays_are_rejected(tmp_path):
    (tmp_path / "given").mkdir()
    for k in range(2):
        np.save(tmp_path / "given" / f"{k}.npy", labels(k))
    file = tmp_path / "given" / "0.npy"
    whole = file.read_bytes()
    damaged = [b"", whole[: len(whole) // 2], *(whole.replace(b"(12,", b"(" + b"9" * n + b",") for n in (14, 30))]
    with file.open("wb") as archive:
        np.savez(archive, labels=labels(0))
    for content in (file.read_bytes(), *damaged):
        file.write_bytes(content)
        with pytest.raises(InputError, match=r"0.npy is not an array of numbers, or damaged"):
            MaskFolder(tmp_path / "given").pair(0, 1, *SIZE)


@pytest.mark.parametrize("content", ["", "[]", '{"format": "x"}', '{"format": "betwixt masks", "version": 2}'])
def test_a_damaged_manifest(folder, content):
    (folder / "masks.json").write_text(content)
    with pytest.raises(InputError, match=r"masks.json does not describe the masks beside it"):
        MaskFolder(folder)


def test_both_kinds_of_maps_at_once(folder):
    cv2.imwrite(str(folder / "000007.png"), labels(0))
    with pytest.raises(InputError, match="masks of frames and of pairs"):
        MaskFolder(folder)


def test_existing_masks_are_kept_without_overwrite(folder):
    with pytest.raises(OutputError, match="holds masks already: pass `overwrite=True`"):
        MaskWriter(folder, "regions", {})
    (folder / "notes.txt").write_text("mine")
    with MaskWriter(folder, "given", {}, overwrite=True) as writer:
        writer.write(LabelMapPair(labels(9), labels(8), 5, "given"))
    assert sorted(p.name for p in folder.iterdir()) == ["000000-0.png", "000000-1.png", "masks.json", "notes.txt"]


def test_an_aborted_writer_leaves_nothing_behind(tmp_path):
    def broken():
        with MaskWriter(tmp_path / "masks", "regions", {}) as writer:
            writer.write(LabelMapPair(labels(0), labels(1), 5, "regions"))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken()
    assert not list(tmp_path.iterdir())


def test_targets_that_cannot_be_folders(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="is a file"):
        MaskWriter(tmp_path / "file", "regions", {})
    with pytest.raises(OutputError, match="does not exist: make it first"):
        MaskWriter(tmp_path / "a" / "b", "regions", {})

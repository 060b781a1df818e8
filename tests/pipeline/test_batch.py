"""Many conversions, one after the other."""

import os
import shutil
from pathlib import Path

import av
import pytest

from betwixt.errors import BetwixtError, Interrupted
from betwixt.pipeline.batch import Batch, BatchInput, find_inputs, input_sizes, watch_inputs
from betwixt.pipeline.interpolate import interpolate_video
from betwixt.pipeline.options import INTERPOLATE
from clips import make_clip, paint, read_frames

FAST = {"model": "dis", "codec": "ffv1"}


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return make_clip(tmp_path_factory.mktemp("clips") / "a.mkv", frames=4, rate=25)


@pytest.fixture
def folder(tmp_path, clip):
    """Videos in a folder and in one in it, among other files."""
    for name in ("v/b10.mkv", "v/b9.mkv", "v/deep/a.mkv", "v/.hidden.mkv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(clip, tmp_path / name)
    (tmp_path / "v" / "notes.txt").touch()
    return tmp_path / "v"


def found(inputs, root):
    return [(str(Path(i.source).relative_to(root)), str(i.folder.relative_to(root))) for i in inputs]


def test_folders_stand_for_their_videos_in_natural_order(folder, tmp_path):
    flat = find_inputs([str(folder)], tmp_path / "out")
    assert found(flat, tmp_path) == [("v/b9.mkv", "out"), ("v/b10.mkv", "out")]
    deep = find_inputs([str(folder)], tmp_path / "out", recursive=True)
    assert found(deep, tmp_path) == [("v/b9.mkv", "out"), ("v/b10.mkv", "out"), ("v/deep/a.mkv", "out/deep")]
    assert input_sizes(deep) == [pytest.approx(1 / 3)] * 3


def test_the_folder_of_outputs_is_no_input(folder, tmp_path):
    shutil.copy(folder / "b9.mkv", folder / "deep" / "made.mkv")
    inside = find_inputs([str(folder)], folder / "deep", recursive=True)
    assert [Path(i.source).name for i in inside] == ["b9.mkv", "b10.mkv"]
    with pytest.raises(BetwixtError, match="choose another `output_dir`"):
        find_inputs([str(folder)], folder)


def test_a_folder_of_images_is_one_input_and_a_mixed_one_is_refused(folder, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    paint(av.VideoFrame(64, 48, "rgb24"), 0).save(images / "0.png")
    (one,) = find_inputs([str(images)], tmp_path / "out")
    assert one == BatchInput(str(images), tmp_path / "out")
    shutil.copy(folder / "b9.mkv", images)
    with pytest.raises(BetwixtError, match="holds videos and images"):
        find_inputs([str(images)], tmp_path / "out")
    (video,) = find_inputs([str(images)], tmp_path / "out", recursive=True)
    assert video.source.endswith("b9.mkv")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BetwixtError, match="holds no videos and no images"):
        find_inputs([str(tmp_path / "empty")], tmp_path / "out")


def test_a_bad_file_does_not_stop_the_others(tmp_path, clip):
    (tmp_path / "bad.mp4").write_text("no video")
    batch = Batch(interpolate_video, INTERPOLATE, FAST)
    out = tmp_path / "out" / "deep"
    results = [batch.convert(BatchInput(str(source), out)) for source in (tmp_path / "bad.mp4", clip, "missing.mkv")]
    assert [r.status for r in results] == ["failed", "done", "failed"]
    assert [r.failed for r in results] == [True, False, True]
    assert len(read_frames(out / "a-50fps.mkv")) == 8
    assert "not a video" in results[0].error
    assert results[1].as_dict()["summary"]["frames_out"] == 8


def test_what_exists_is_skipped_unless_it_may_be_replaced(tmp_path, clip):
    item = BatchInput(str(clip), tmp_path)
    (tmp_path / "a-50fps.mkv").write_text("precious")
    result = Batch(interpolate_video, INTERPOLATE, FAST).convert(item)
    assert (result.status, result.failed) == ("skipped", False)
    assert (tmp_path / "a-50fps.mkv").read_text() == "precious"
    assert Batch(interpolate_video, INTERPOLATE, {**FAST, "overwrite": True}).convert(item).status == "done"
    assert len(read_frames(tmp_path / "a-50fps.mkv")) == 8


def test_inputs_of_one_name_get_different_outputs(tmp_path, clip):
    (tmp_path / "other").mkdir()
    shutil.copy(clip, tmp_path / "other" / "a.mkv")
    batch = Batch(interpolate_video, INTERPOLATE, FAST)
    outputs = [batch.convert(BatchInput(str(source), tmp_path)).output for source in (clip, tmp_path / "other/a.mkv")]
    assert [Path(output).name for output in outputs] == ["a-50fps.mkv", "a-50fps-2.mkv"]


def test_a_damaged_file_counts_as_failed_and_an_interrupt_ends_all(tmp_path, clip):
    whole = make_clip(tmp_path / "whole.mkv", frames=60, codec="libx264", options={"g": "5"})
    (tmp_path / "damaged.mkv").write_bytes(whole.read_bytes()[: whole.stat().st_size * 7 // 10])
    batch = Batch(interpolate_video, INTERPOLATE, FAST)
    result = batch.convert(BatchInput(str(tmp_path / "damaged.mkv"), tmp_path))
    assert (result.status, result.failed) == ("damaged", True)
    assert result.summary.frames_out == len(read_frames(result.output))

    def interrupt(*_, **__):
        raise Interrupted("interrupted.")

    with pytest.raises(Interrupted):
        Batch(interrupt, INTERPOLATE, {}).convert(BatchInput(str(clip), tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_watched_folder_gives_each_video_once_it_is_complete(folder, tmp_path, clip):
    events = iter(["grow", "wait", "wait", "again", "wait", "stop"])
    growing = folder / "new.mkv"
    growing.write_bytes(clip.read_bytes()[:100])

    def sleep(seconds):
        event = next(events)
        if event == "grow":
            shutil.copy(clip, growing)
        elif event == "again":
            os.utime(folder / "b9.mkv", (1, 1))
        elif event == "stop":
            raise KeyboardInterrupt

    names = [Path(i.source).name for i in watch_inputs([str(folder)], tmp_path / "out", sleep=sleep)]
    assert names == ["b9.mkv", "b10.mkv", "new.mkv", "b9.mkv"]
    with pytest.raises(BetwixtError, match="not a folder"):
        next(watch_inputs([str(clip)], tmp_path / "out"))

"""Names of outputs that are left out, and folders that stand for a file in them."""

import av
import pytest

from betwixt.errors import UsageError
from betwixt.pipeline.options import BLUR, EXTRAPOLATE, INTERPOLATE
from betwixt.pipeline.output_names import free_names, locate_output, name_output, output_folder
from clips import make_clip, paint


@pytest.fixture
def clip(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return make_clip(tmp_path / "clip.mp4", frames=4, rate=30, codec="libx264")


@pytest.mark.parametrize(
    ("declared", "options", "name"),
    [
        (INTERPOLATE, {}, "clip-60fps.mp4"),
        (INTERPOLATE, {"fps": "59.94"}, "clip-59.94fps.mp4"),
        (INTERPOLATE, {"factor": 1.5}, "clip-45fps.mp4"),
        (INTERPOLATE, {"slow": 4}, "clip-slow-4x.mp4"),
        (INTERPOLATE, {"slow": "2.5", "fps": 60}, "clip-slow-2.5x-60fps.mp4"),
        (INTERPOLATE, {"codec": "prores"}, "clip-60fps.mkv"),  # which mp4 cannot hold
        (INTERPOLATE, {"codec": "hevc"}, "clip-60fps.mp4"),
        (BLUR, {}, "clip-blur.mp4"),
        (BLUR, {"fps": 24}, "clip-blur-24fps.mp4"),
        (EXTRAPOLATE, {}, "clip-extrapolated.mp4"),
    ],
)
def test_names_say_what_a_conversion_does(clip, declared, options, name):
    assert name_output(clip, declared, options) == name


@pytest.mark.parametrize(
    ("suffix", "written"), [(".MOV", ".mov"), (".y4m", ".mkv"), (".mpg", ".mkv"), (".gif", ".gif")]
)
def test_the_suffix_is_the_sources_where_such_files_are_written(tmp_path, suffix, written):
    codec = {".y4m": "wrapped_avframe", ".mpg": "mpeg2video", ".gif": "gif"}.get(suffix, "libx264")
    pixel_format = "gray" if suffix == ".gif" else "yuv420p"
    source = make_clip(tmp_path / f"clip{suffix}", frames=4, rate=25, codec=codec, pixel_format=pixel_format)
    assert name_output(source, INTERPOLATE, {}) == f"clip-50fps{written}"


def test_an_output_that_is_left_out_is_beside_the_source_under_a_free_name(clip, tmp_path):
    assert locate_output(clip, None, INTERPOLATE, {}) == tmp_path / "clip-60fps.mp4"
    (tmp_path / "clip-60fps.mp4").touch()
    assert locate_output(clip, None, INTERPOLATE, {}) == tmp_path / "clip-60fps-2.mp4"
    assert locate_output(clip, None, INTERPOLATE, {"overwrite": True}) == tmp_path / "clip-60fps.mp4"
    (tmp_path / "clip-60fps-2.mp4").symlink_to("nowhere")
    assert next(free_names(tmp_path / "clip-60fps.mp4")) == tmp_path / "clip-60fps-3.mp4"


def test_images_become_a_folder_beside_theirs(tmp_path, monkeypatch):
    folder = tmp_path / "walk"
    folder.mkdir()
    for number in range(2):
        paint(av.VideoFrame(64, 48, "rgb24"), number).save(folder / f"{number}.png")
    for source in (folder, folder / "%d.png", folder / "*.png"):
        assert locate_output(source, None, INTERPOLATE, {"input_fps": 10}) == tmp_path / "walk-20fps"
    monkeypatch.chdir(folder)
    assert locate_output(".", None, INTERPOLATE, {}) == tmp_path / "walk-50fps"
    assert locate_output(".", "out", INTERPOLATE, {}) == "out"


def test_a_folder_stands_for_a_video_in_it(clip, tmp_path):
    (tmp_path / "there").mkdir()
    for folder in ("there", "new/"):
        assert locate_output(clip, folder, INTERPOLATE, {}) == tmp_path.joinpath(folder, "clip-60fps.mp4").relative_to(
            tmp_path
        )
    for target in ("-", "frames/%06d.png", "one.png", "out.mkv"):
        assert locate_output(clip, target, INTERPOLATE, {}) == target
    with pytest.raises(UsageError, match=r"new has no suffix: new\.mkv is a video, new/ a folder .*, new/%06d\.png"):
        locate_output(clip, "new", INTERPOLATE, {})


@pytest.mark.parametrize("source", ["-", "https://example.org/clip.mp4"])
def test_a_source_without_a_file_names_no_output(source):
    with pytest.raises(UsageError, match="name the output"):
        locate_output(source, None, INTERPOLATE, {})


def test_a_folder_for_outputs_goes_again_if_nothing_was_written(tmp_path):
    with output_folder(tmp_path / "a" / "b"):
        pass
    assert not (tmp_path / "a").exists()
    with pytest.raises(KeyboardInterrupt), output_folder(tmp_path / "a" / "b"):
        raise KeyboardInterrupt
    assert not (tmp_path / "a").exists()
    with output_folder(tmp_path / "a" / "b"):
        (tmp_path / "a" / "b" / "file").touch()
    with output_folder(tmp_path / "a"):
        pass
    assert (tmp_path / "a" / "b" / "file").exists()

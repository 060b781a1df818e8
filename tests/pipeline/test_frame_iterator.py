"""`betwixt.frames`: the frames of a conversion in a loop of the caller."""

import gc
import subprocess
import sys
import threading
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

import betwixt
from betwixt.errors import DamagedInputError, InputError, UsageError
from betwixt.models.dis.interpolator import DIS
from clips import frames_equal, make_clip, read_frames, turned_clip

SMALL = {"frames": 8, "size": (64, 48)}


def pipeline_threads():
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("betwixt-")]


@pytest.mark.parametrize(
    ("clip", "options"),
    [
        ({"cuts": (4,)}, {"fps": 60}),
        ({"pixel_format": "yuv422p10le"}, {"factor": "2.5", "start": 0.08, "end": 0.2}),
        ({"repeat": 2}, {"slow": 2, "duplicates": "fill", "loop": True}),
        ({"cuts": (4,)}, {"fps": 60, "at_cuts": "hold", "scene_cuts": "off", "paths": "straight", "overlays": "off"}),
        ({"times": [Fraction(n, 100) for n in (0, 3, 7, 8, 14, 20, 21, 24)]}, {"fps": 60}),
    ],
)
def test_frames_are_those_that_a_conversion_encodes_to_the_bit(tmp_path, clip, options):
    source = make_clip(tmp_path / "in.mkv", **SMALL, **clip)
    summary = betwixt.interpolate_video(source, tmp_path / "out.mkv", model="dis", codec="ffv1", **options)
    made = list(betwixt.frames(source, model="dis", threads=3, **options))
    encoded = read_frames(tmp_path / "out.mkv")
    assert len(made) == len(encoded) == summary.frames_out
    assert all(frames_equal(a.video, b.video) for a, b in zip(made, encoded, strict=True))
    kinds = [frame.kind for frame in made]
    counts = (summary.untouched, summary.held, summary.synthesized)
    assert tuple(map(kinds.count, ("untouched", "held", "synthesized"))) == counts
    assert [frame.synthesized for frame in made] == [kind == "synthesized" for kind in kinds]
    assert [frame.time for frame in made] == [n / summary.rate for n in range(len(made))]


def test_source_frames_come_out_untouched_at_their_times(tmp_path):
    source = make_clip(tmp_path / "in.mkv", rate=Fraction(24000, 1001), **SMALL)
    before = read_frames(source)
    with betwixt.frames(source, fps=60, model="dis", start=0.1) as frames:
        assert (frames.rate, frames.total, frames.model) == (60, 13, "dis")
        made = list(frames)
    assert len(made) == 13
    assert made[0].source_time == before[3].time - before[0].time
    assert [frame.source_time - frame.time for frame in made] == [made[0].source_time] * len(made)
    untouched = [frame for frame in made if frame.kind == "untouched"]
    assert frames_equal(untouched[0].video, before[3].video)


def test_slow_motion_has_two_clocks(tmp_path):
    source = make_clip(tmp_path / "in.mkv", **SMALL)
    frames = list(betwixt.frames(source, slow=4, model="dis"))
    assert (frames[8].time, frames[8].source_time) == (Fraction(8, 25), Fraction(2, 25))


@pytest.mark.parametrize(("pixel_format", "dtype"), [("yuv420p", np.uint8), ("yuv420p10le", np.uint16)])
def test_images_are_rgb_of_the_depth_of_the_source_or_as_asked(tmp_path, pixel_format, dtype):
    source = make_clip(tmp_path / "in.mkv", pixel_format=pixel_format, **SMALL)
    own = next(betwixt.frames(source, model="dis"))
    assert (own.image.shape, own.image.dtype, own.alpha) == ((48, 64, 3), dtype, None)
    values = own.image / np.iinfo(dtype).max
    for asked, scale in (("uint8", 255), ("uint16", 65535), ("float32", 1)):
        image = next(betwixt.frames(source, model="dis", dtype=asked)).image
        assert image.dtype == asked
        assert np.allclose(image / scale, values, atol=0.51 / 255 if asked == "uint8" else 1e-5)


def test_images_are_upright_and_have_alpha(tmp_path):
    turned = turned_clip(tmp_path / "in.mov", codec="libx264", options={"qp": "0"})
    frame = next(betwixt.frames(turned, model="dis"))
    assert frame.image.shape[:2] == (frame.video.width, frame.video.height)
    transparent = make_clip(tmp_path / "alpha.mkv", pixel_format="yuva420p", **SMALL)
    frame = next(betwixt.frames(transparent, model="dis"))
    assert frame.alpha.shape == (48, 64)


def test_threads_start_with_the_first_frame_and_end_with_the_last(tmp_path):
    frames = betwixt.frames(make_clip(tmp_path / "in.mkv", **SMALL), model="dis")
    assert pipeline_threads() == []
    next(frames)
    assert "betwixt-direct" in pipeline_threads() or frames.total is None
    assert len(list(frames)) == 15
    assert pipeline_threads() == []
    assert list(frames) == []


@pytest.mark.parametrize("leave", ["drop", "break", "close", "with", "cycle", "error"])
def test_threads_end_when_the_iterator_is_left_early(tmp_path, leave):
    opencv_threads = cv2.getNumThreads()
    frames = betwixt.frames(make_clip(tmp_path / "in.mkv", frames=300, size=(64, 48)), model="dis")
    next(frames)
    assert "betwixt-direct" in pipeline_threads()
    if leave == "break":
        for _ in frames:
            break
    elif leave == "close":
        frames.close()
        with pytest.raises(StopIteration):
            next(frames)
    elif leave == "with":
        with frames:
            next(frames)
    elif leave == "cycle":
        circle = [frames]
        circle.append(circle)
        del circle
    elif leave == "error":
        with pytest.raises(ZeroDivisionError), frames:
            _ = 1 / 0
    del frames
    gc.collect()
    assert pipeline_threads() == []
    assert cv2.getNumThreads() == opencv_threads


def test_few_frames_are_made_ahead(tmp_path):
    read = []

    def source():
        for n in range(400):
            read.append(n)
            yield np.full((48, 64, 3), n % 250, np.uint8)

    with betwixt.frames(source(), model="dis", scene_cuts="off") as frames:
        next(frames)
        assert len(read) <= 150
    assert len(read) <= 150


def test_two_iterators_at_once_and_one_of_the_other(tmp_path):
    source = make_clip(tmp_path / "in.mkv", **SMALL)
    model = DIS()
    twice = betwixt.frames(betwixt.frames(source, model=model), model=model)
    plain = betwixt.frames(source, model=model)
    made, other = list(twice), list(plain)
    assert (len(made), len(other)) == (32, 16)
    assert all(frames_equal(a.video, b.video) for a, b in zip(made[::2], other, strict=True))
    assert [frame.time for frame in made] == [Fraction(n, 100) for n in range(32)]


def test_a_program_may_end_in_the_middle(tmp_path):
    make_clip(tmp_path / "in.mkv", frames=300, size=(64, 48))
    code = "import betwixt; frames = betwixt.frames('in.mkv', model='dis'); print(next(frames))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "<OutputFrame 0 at 0 s, 64x48 yuv420p, untouched>\n"


def test_damage_is_reported_after_the_last_frame(tmp_path):
    source = make_clip(tmp_path / "in.mkv", frames=40, size=(64, 48), codec="libx264")
    source.write_bytes(source.read_bytes()[:-600])
    frames = betwixt.frames(source, model="dis")
    made = []
    with pytest.raises(DamagedInputError, match=r"is damaged: .*\. What could be read was made into frames\."):
        made.extend(frames)
    assert len(made) > 40
    assert pipeline_threads() == []


def test_errors_come_at_once_or_in_the_loop(tmp_path):
    source = make_clip(tmp_path / "in.mkv", **SMALL)
    with pytest.raises(TypeError, match=r"^frames\(\) got an unexpected keyword argument 'codec'"):
        betwixt.frames(source, codec="ffv1")
    with pytest.raises(UsageError, match="`dtype` is 'complex': choose uint8, uint16 or float32"):
        betwixt.frames(source, dtype="complex")
    with pytest.raises(InputError, match="does not exist"):
        betwixt.frames(tmp_path / "none.mkv")
    with pytest.raises(UsageError, match="The start lies behind the end"):
        betwixt.frames(source, model="dis", start=5)
    frames = betwixt.frames(iter([np.zeros((48, 64, 3), np.uint8)] * 3), model="dis", start=5)
    with pytest.raises(UsageError, match="There is no frame between `start` and `end`"):
        list(frames)
    assert pipeline_threads() == []


def test_video_frames_can_be_encoded_by_the_caller(tmp_path):
    source = make_clip(tmp_path / "in.mkv", **SMALL)
    with av.open(str(tmp_path / "out.mkv"), "w") as out, betwixt.frames(source, fps=60, model="dis") as frames:
        stream = out.add_stream("ffv1", rate=frames.rate)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for frame in frames:
            frame.video.pts, frame.video.time_base = frame.index, 1 / frames.rate
            out.mux(stream.encode(frame.video))
        out.mux(stream.encode(None))
    assert len(read_frames(tmp_path / "out.mkv")) == frames.total

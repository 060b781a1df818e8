"""Frames made in VapourSynth are those that `interpolate_video` makes, whatever order they are asked for in."""

from __future__ import annotations

import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from betwixt.media.frames import planes
from betwixt.pipeline.interpolate import interpolate_video
from clips import make_clip
from overlay_clips import pan, save, text_mask, write

vs = pytest.importorskip("vapoursynth", reason="VapourSynth needs Python 3.12 or later (make vapoursynth)")

from betwixt.integrations.vapoursynth import interpolate  # noqa: E402

CUTS = 5, 9, 10
SIZE = 160, 96
"""Large enough for the cuts to be found."""


def decode(path: Path) -> list[list[np.ndarray]]:
    """The planes of each frame of a video; those of RGB in VapourSynth's order."""
    with av.open(str(path)) as container:
        frames = [[part.copy() for part in planes(frame)] for frame in container.decode(video=0)]
        rgb = "gbr" in container.streams.video[0].pix_fmt
    return [[frame[k] for k in ((2, 0, 1) if rgb else range(len(frame)))] for frame in frames]


def clip_of(frames: list[list[np.ndarray]], format_: int, rate: int = 25, **props: list[int]) -> vs.VideoNode:
    """A clip of frames, each a list of planes; `props` are frame properties with a value for each frame."""
    height, width = frames[0][0].shape
    blank = vs.core.std.BlankClip(None, width, height, format_, len(frames), rate, 1, keep=True)

    def fill(n: int, f: vs.VideoFrame) -> vs.VideoFrame:
        frame = f.copy()
        for plane, part in enumerate(frames[n]):
            np.copyto(np.asarray(frame[plane]), part)
        for name, values in props.items():
            frame.props[name] = values[n]
        return frame

    return vs.core.std.ModifyFrame(blank, blank, fill)


def samples(clip: vs.VideoNode, number: int) -> list[np.ndarray]:
    frame = clip.get_frame(number)
    return [np.asarray(frame[plane]).copy() for plane in range(frame.format.num_planes)]


@pytest.fixture
def grey(tmp_path: Path) -> list[list[np.ndarray]]:
    """Twelve frames, 8 bit, with cuts at `CUTS`."""
    return decode(make_clip(tmp_path / "grey.mkv", cuts=CUTS, size=SIZE, pixel_format="gray"))


@pytest.mark.parametrize(
    ("pixel_format", "format_", "factor"),
    [
        ("yuv420p", "YUV420P8", Fraction(2)),
        ("yuv422p10le", "YUV422P10", Fraction(5, 2)),
        ("yuv444p16le", "YUV444P16", Fraction(25, 24)),
        ("gbrp10le", "RGB30", Fraction(2)),
        ("gray", "GRAY8", Fraction(60000, 25025)),
    ],
)
@pytest.mark.parametrize("at_cuts", ["continue", "hold"])
def test_frames_are_those_of_a_conversion(tmp_path, pixel_format, format_, factor, at_cuts):
    source = make_clip(tmp_path / "in.mkv", cuts=CUTS, size=SIZE, pixel_format=pixel_format)
    interpolate_video(
        source, tmp_path / "out.mkv", factor=factor, model="dis", codec="ffv1", overlays="off", at_cuts=at_cuts
    )
    expected = decode(tmp_path / "out.mkv")
    clip = clip_of(decode(source), getattr(vs, format_))
    result = interpolate(clip, "dis", factor.numerator, factor.denominator, at_cuts=at_cuts, overlays="off")
    assert (result.num_frames, result.fps) == (len(expected), 25 * factor)
    for number in np.random.default_rng(0).permutation(len(expected)).tolist():
        for made, wanted in zip(samples(result, number), expected[number], strict=True):
            assert (made == wanted).all(), number


def test_networks_run_in_threads_that_stay(tmp_path):
    source = make_clip(tmp_path / "in.mkv", frames=5)
    interpolate_video(source, tmp_path / "out.mkv", factor=2, model="compact", codec="ffv1")
    expected = decode(tmp_path / "out.mkv")
    for streams in (1, 3):
        result = interpolate(clip_of(decode(source), vs.YUV420P8), "compact", num_streams=streams)
        for frame, wanted in zip(result.frames(), expected, strict=True):
            assert all((np.asarray(frame[plane]) == part).all() for plane, part in enumerate(wanted))


def test_overlays_are_kept_as_in_a_conversion(tmp_path):
    frames = [write(pan(k)) for k in range(7)] + [write(pan(30 - 2 * k)) for k in range(6)] + [pan(60), pan(61)]
    source = save(tmp_path / "in.mkv", frames)
    interpolate_video(source, tmp_path / "out.mkv", factor=2, model="dis", codec="ffv1")
    expected = decode(tmp_path / "out.mkv")
    result = interpolate(clip_of(decode(source), vs.YUV420P8), "dis")
    whole = text_mask()[1]
    for number in np.random.default_rng(1).permutation(len(expected)).tolist():
        made = samples(result, number)
        assert all((one == other).all() for one, other in zip(made, expected[number], strict=True)), number
        if number < 25:
            assert (made[0][whole] == frames[0][whole]).mean() > 0.99
    dissolved = interpolate(clip_of(decode(source), vs.YUV420P8), "dis", overlays="off")
    assert (samples(dissolved, 5)[0][whole] == frames[0][whole]).mean() < 0.96


def test_scale_changes_the_size_at_which_motion_is_estimated(grey):
    clip = clip_of(grey, vs.GRAY8)
    plain, coarse = interpolate(clip, "fast"), interpolate(clip, "fast", scale=0.5)
    assert (samples(interpolate(clip, "fast", scale=1), 3)[0] == samples(plain, 3)[0]).all()
    assert (samples(coarse, 3)[0] != samples(plain, 3)[0]).any()


def test_a_rate_is_a_factor(grey):
    clip = clip_of(grey, vs.GRAY8)
    by_rate, by_factor = interpolate(clip, "dis", fps_num=75), interpolate(clip, "dis", 3)
    assert by_rate.fps == by_factor.fps == 75
    assert (samples(by_rate, 4)[0] == samples(by_factor, 4)[0]).all()


@pytest.mark.parametrize(
    ("pixel_format", "deep_format", "float_format"),
    [
        ("gray16le", "GRAY16", "GRAYS"),
        ("yuv420p16le", "YUV420P16", "YUV420PS"),
        ("yuv444p16le", "YUV444P16", "YUV444PS"),
        ("gbrp16le", "RGB48", "RGBS"),
    ],
)
def test_float_frames_are_those_of_16_bit(tmp_path, pixel_format, deep_format, float_format):
    source = make_clip(tmp_path / "in.mkv", frames=6, pixel_format=pixel_format)
    deep, is_yuv = decode(source), pixel_format.startswith("yuv")
    floats = [
        [part / np.float32(65535) - np.float32(0.5 if is_yuv and plane else 0) for plane, part in enumerate(frame)]
        for frame in deep
    ]
    # Full range, as floats are.
    made = samples(interpolate(clip_of(floats, getattr(vs, float_format)), "dis"), 5)
    full = clip_of(deep, getattr(vs, deep_format), _Range=[1] * 6)
    wanted = samples(interpolate(full, "dis"), 5)
    for plane, (part, other) in enumerate(zip(made, wanted, strict=True)):
        assert part.dtype == np.float32
        assert np.abs((part + (0.5 if is_yuv and plane else 0)) * 65535 - other).max() < 0.02
        assert (other != deep[2][plane]).any()
        assert (other != deep[3][plane]).any()


def test_source_frames_are_passed_on(grey):
    beyond = [[part / np.float32(255) * 2 for part in frame] for frame in grey]
    result = interpolate(clip_of(beyond, vs.GRAYS), "dis", sc=False)
    assert (samples(result, 4)[0] == beyond[2][0]).all()


def cuts_of(clip: vs.VideoNode) -> list[tuple[int | None, int | None]]:
    """Whether there is a cut before each frame, and after it, as its properties say."""
    return [tuple(frame.props.get(f"_SceneChange{side}") for side in ("Prev", "Next")) for frame in clip.frames()]


@pytest.mark.parametrize(
    ("factor", "before"),  # frames of the result that follow a cut: the first that are at least as near to that shot
    [
        (Fraction(1), [5, 9, 10]),
        (Fraction(5, 4), [6, 11, 12]),
        (Fraction(2), [9, 17, 19]),
        (Fraction(5, 2), [12, 22, 24]),
        (Fraction(4), [18, 34, 38]),
    ],
)
def test_the_cuts_that_are_found_become_properties(grey, factor, before):
    clip = clip_of(grey, vs.GRAY8)
    result = interpolate(clip, "dis", factor.numerator, factor.denominator, at_cuts="hold")
    marks = cuts_of(result)
    assert marks == [(int(n in before), int(n + 1 in before)) for n in range(len(marks))]
    shown = [samples(result, n)[0] for n in range(len(marks))]
    for n, source in zip(before, CUTS, strict=True):
        assert (shown[n] == grey[source][0]).all()
        assert not (shown[n - 1] == grey[source][0]).all()
    # In any order, and for one frame alone.
    assert cuts_of(interpolate(clip, "dis", factor.numerator, factor.denominator)[before[0]]) == [(1, 0)]


def test_properties_say_nothing_of_cuts_that_nobody_looked_for(grey):
    assert set(cuts_of(interpolate(clip_of(grey, vs.GRAY8), "dis", sc=False))) == {(None, None)}
    stated = clip_of(grey, vs.GRAY8, _SceneChangePrev=[1, *[int(n in CUTS) for n in range(1, 12)]])
    marks = cuts_of(interpolate(stated, "dis", sc=False))
    assert [n for n, (first, _) in enumerate(marks) if first] == [0, 9, 17, 19]
    assert {last for _, last in marks} == {None}


@pytest.mark.parametrize("name", ["_SceneChangePrev", "_SceneChangeNext"])
def test_cuts_that_properties_state_are_obeyed(grey, name):
    number = 2 if name == "_SceneChangePrev" else 1
    stated = [int(n == number) for n in range(len(grey))]
    result = interpolate(clip_of(grey, vs.GRAY8, **{name: stated}), "dis", at_cuts="hold", factor_num=4)
    shown = [samples(result, n)[0] for n in range(4, 9)]
    assert [bool((frame == grey[1][0]).all()) for frame in shown] == [True, True, False, False, False]
    assert [bool((frame == grey[2][0]).all()) for frame in shown] == [False, False, True, True, True]
    # Where they say that there is none, the detector is not asked.
    assert not (samples(result, 18)[0] == grey[5][0]).all()
    assert cuts_of(result)[4:9] == [(0, 0), (0, 1), (1, 0), (0, 0), (0, 0)]


def test_cuts_can_be_ignored_or_found_by_a_threshold(grey):
    clip = clip_of(grey, vs.GRAY8)
    ignored = samples(interpolate(clip, "dis", sc=False, at_cuts="hold"), 9)[0]
    assert not any((ignored == grey[n][0]).all() for n in (4, 5))
    everywhere = interpolate(clip, "dis", sc_threshold=0.0, at_cuts="hold")
    assert all((samples(everywhere, 2 * n + 1)[0] == grey[n + 1][0]).all() for n in range(9))


def test_durations_of_a_variable_rate_are_exact(grey):
    durations = [1, 2, 3, 1, 1, 2, 1, 1, 5, 1, 1, 1]
    clip = clip_of(grey, vs.GRAY8, rate=0, _DurationNum=durations, _DurationDen=[50] * 12)
    result = interpolate(clip, "dis", 5, 2)
    assert result.fps == 0
    props = [result.get_frame(n).props for n in range(5)]
    lengths = [Fraction(p["_DurationNum"], p["_DurationDen"]) for p in props]
    assert lengths == [Fraction(n, 250) for n in (2, 2, 3, 4, 4)]
    # A player may not know how long the last frame is.
    unknown = clip_of(grey, vs.GRAY8, rate=0, _DurationNum=[1] * 11 + [0], _DurationDen=[50] * 11 + [1])
    assert interpolate(unknown, "dis").get_frame(23).props["_DurationDen"] == 100
    with pytest.raises(vs.Error, match="Frame 0 has no duration, and the clip's frame rate is variable"):
        interpolate(clip_of(grey, vs.GRAY8, rate=0), "dis").get_frame(1)


def test_absolute_times_follow(grey):
    times = [10.0, 10.5, 10.75, 12.0, *[13.0 + n for n in range(8)]]
    durations = {"_DurationNum": [2, 1, 5, *[4] * 9], "_DurationDen": [4] * 12}
    clip = clip_of(grey, vs.GRAY8, rate=0, _AbsoluteTime=times, **durations)
    shown = [frame.props["_AbsoluteTime"] for frame in interpolate(clip, "dis", 4, sc=False).frames()]
    assert shown[:10] == [10.0, 10.125, 10.25, 10.375, 10.5, 10.5625, 10.625, 10.6875, 10.75, 11.0625]
    assert shown[-4:] == [20.0, 20.25, 20.5, 20.75]
    assert "_AbsoluteTime" not in interpolate(clip_of(grey, vs.GRAY8), "dis").get_frame(1).props


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": "no such"}, "no such"),
        ({"model": 4.6}, "`model` is 4.6: it has to be a name"),
        ({"factor_num": 1, "factor_den": 2}, "1/2 is out of range"),
        ({"fps_num": 59.94}, "`fps_num` is 59.94: it has to be an integer"),
        ({"sc_threshold": "low"}, "`sc_threshold` is 'low': it has to be a number"),
        ({"device": 3}, "`device` is 3: it has to be a text"),
        ({"weights": 3}, "`weights` is 3: it has to be a path"),
        ({"sc": "yes"}, "`sc` is 'yes': it has to be True or False"),
        ({"sc": 2}, "`sc` is 2: it has to be True or False"),
        ({"factor_num": 10**30}, "is out of range"),
        ({"fps_num": 10**12}, "The rate 1000000000000/1 is out of range"),
        ({"fps_num": 60, "fps_den": 0}, "The rate 60/0 is out of range"),
        ({"fps_num": 10}, "lower than the clip's 25"),
        ({"sc_threshold": 2.0}, "sc_threshold"),
        ({"scale": 3}, "`scale` is 3: dis takes 0.25, 0.5, 1, 2 or 4"),
        ({"scale": 0.5, "model": "compact"}, "leave out `scale`"),
        ({"overlays": "on"}, "overlays"),
        ({"num_streams": 0}, "num_streams"),
        ({"model": "ncm-base-next"}, "ncm-base-next"),
    ],
)
def test_bad_arguments_are_one_line(grey, arguments, message):
    with pytest.raises(vs.Error, match=message) as caught:
        interpolate(clip_of(grey, vs.GRAY8), **{"model": "dis", **arguments})
    assert "\n" not in str(caught.value)


def test_bad_clips_are_one_line(grey):
    with pytest.raises(vs.Error, match="`clip` is not a VapourSynth clip"):
        interpolate(None, "dis")
    clip = clip_of(grey, vs.GRAY8)
    variable = vs.core.std.Splice([clip, vs.core.resize.Point(clip, format=vs.GRAY16)], mismatch=True)
    for bad, message in ((variable, "format or size is variable"), (clip.resize.Point(format=vs.GRAYH), "GrayH")):
        with pytest.raises(vs.Error, match=message):
            interpolate(bad, "dis")
    beyond = [[part / np.float32(100) for part in frame] for frame in grey]
    with pytest.raises(vs.Error, match=r"Frame \d: samples lie outside"):
        interpolate(clip_of(beyond, vs.GRAYS), "dis").get_frame(1)


def test_vspipe_runs_a_script(tmp_path, grey):
    (tmp_path / "script.vpy").write_text(
        "import vapoursynth as vs\n"
        "from betwixt.integrations.vapoursynth import interpolate\n"
        "clip = vs.core.std.BlankClip(None, 64, 48, vs.YUV420P8, length=5, fpsnum=24000, fpsden=1001)\n"
        "interpolate(clip, 'fast', factor_num=5, factor_den=2).set_output()\n"
    )
    tools = Path(sys.executable).parent
    environment = {**os.environ, "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    for command in (
        [tools / "vapoursynth", "config"],  # tells vspipe where this Python is
        [tools / "vspipe", "--container", "y4m", tmp_path / "script.vpy", tmp_path / "out.y4m"],
    ):
        subprocess.run(command, check=True, capture_output=True, env=environment)
    with av.open(str(tmp_path / "out.y4m")) as container:
        assert container.streams.video[0].average_rate == Fraction(60000, 1001)
        assert len(list(container.decode(video=0))) == 13

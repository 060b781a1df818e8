"""The script for mpv runs with the variables that mpv gives it, and again after every seek."""

from __future__ import annotations

import importlib
import math
import shutil
import subprocess
import sys
from fractions import Fraction

import pytest

from betwixt.integrations.mpv import SCRIPT, playback_factor
from clips import make_clip

LONGEST = 2**31 // 16 - 1
"""The length that mpv states for the clip of any video, frames."""


@pytest.mark.parametrize(
    ("source", "target", "factor"),
    [
        (24, 60, Fraction(5, 2)),
        (24000 / 1001, 60, Fraction(5, 2)),
        (24000 / 1001, 59.951, Fraction(5, 2)),
        (25, 60, Fraction(12, 5)),
        (30000 / 1001, 60, 2),
        (50, 60, Fraction(6, 5)),
        (25, 144, Fraction(23, 4)),
        (25, 165, Fraction(33, 5)),
        (60000 / 1001, 60, 1),
        (60, 59.94, 1),
        (120, 60, 1),
        (0, 60, 2),
        (math.nan, 60, 2),
        (math.inf, 60, 2),
    ],
)
def test_the_factor_is_simple_where_it_can_be(source, target, factor):
    assert playback_factor(source, target) == factor


def test_running_the_module_prints_the_path_of_the_script():
    command = [sys.executable, "-m", "betwixt.integrations.mpv"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert shown == f"{SCRIPT}\n"
    assert SCRIPT.is_file()


def test_what_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "vapoursynth", None)
    monkeypatch.delitem(sys.modules, "betwixt.integrations.vapoursynth", raising=False)
    with pytest.raises(ImportError, match="This needs VapourSynth: pip install vapoursynth"):
        importlib.import_module("betwixt.integrations.vapoursynth")


class TestInVapourSynth:
    """The script in the real VapourSynth."""

    @pytest.fixture(autouse=True)
    def import_vapoursynth(self):
        reason = "VapourSynth needs Python 3.12 or later (make vapoursynth)"
        self.vs = pytest.importorskip("vapoursynth", reason=reason)

    def load(self, container_fps=24.0, display_fps=60.0):
        """What the script plays, and the numbers of the source frames that were asked for."""
        vs, asked = self.vs, []
        blank = vs.core.std.BlankClip(None, 64, 48, vs.YUV420P8, LONGEST, fpsnum=0, fpsden=1, keep=True)

        def decode(n, f):
            asked.append(n)
            frame = f.copy()
            frame.props["_DurationNum"], frame.props["_DurationDen"] = 41_708, 1_000_000
            return frame

        video_in = blank.std.ModifyFrame(blank, decode)
        variables = {"video_in": video_in, "container_fps": container_fps, "display_fps": display_fps}
        exec(compile(SCRIPT.read_text(), str(SCRIPT), "exec"), variables)
        assert not asked  # mpv has no frame to give while the script is loaded
        return vs.get_output(0).clip, video_in, asked

    @pytest.mark.parametrize("display_fps", [60.0, 0.0, math.nan])
    @pytest.mark.parametrize("container_fps", [24000 / 1001, 0.0, math.nan])
    def test_it_takes_the_variables_of_mpv(self, container_fps, display_fps):
        clip, _, _ = self.load(container_fps, display_fps)
        step = Fraction(2, 5) if container_fps > 0 else Fraction(1, 2)
        frames = [clip.get_frame(n) for n in range(5)]
        lengths = [Fraction(frame.props["_DurationNum"], frame.props["_DurationDen"]) for frame in frames]
        assert lengths == [Fraction(41_708, 1_000_000) * step] * 5

    def test_a_frame_depends_on_few_that_come_later(self):
        clip, _, asked = self.load()
        clip.get_frame(250)  # the source frame 100
        assert max(asked) == 101
        clip.get_frame(251)  # between the source frames 100 and 101
        assert max(asked) == 107

    def test_it_can_be_loaded_again_after_a_seek(self):
        for _ in range(10):
            clip, _, asked = self.load()
            clip.get_frame(3)
            assert set(asked) == set(range(9))

    def test_a_clip_that_needs_no_new_frames_is_passed_on(self):
        clip, video_in, _ = self.load(60.0, 59.94)
        assert clip == video_in

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"model": "quick"}, "There is no model 'quick'"),
            ({"model": None}, "`model` is None: it has to be a text"),
            ({"fps": "x"}, "`fps` is 'x': it has to be a number"),
            ({"fps": math.nan}, "`fps` is nan: it has to be greater than 0"),
            ({"fps": -5}, "`fps` is -5: it has to be greater than 0"),
            ({"fps": 0}, "`fps` is 0: it has to be greater than 0"),
            ({"fps": 1e12}, "is out of range"),
            ({"factor_num": 3}, "There is no option `factor_num`"),
            ({"quality": 1}, "There is no option `quality`: choose among fps, model, scale, sc"),
            ({"overlay": "off"}, "There is no option `overlay`: .*overlays"),
            ({"device": []}, r"`device` is \[\]: it has to be a text"),
            ({"weights": 3}, "`weights` is 3: it has to be a path"),
        ],
    )
    def test_wrong_options_are_one_line(self, options, message):
        from betwixt.integrations.mpv import interpolate

        clip = self.vs.core.std.BlankClip(None, 64, 48, self.vs.YUV420P8)
        with pytest.raises(self.vs.Error, match=message) as caught:
            interpolate(clip, 24, 60, **options)
        assert "\n" not in str(caught.value)


SEEKS = """
-- Seeks forth and back ten times, once all that comes through the pipe is in the cache.
local targets, count, ready = {1.5, 0.25}, 0, false

local function seek()
    mp.commandv("seek", targets[count % 2 + 1], "absolute+exact")
end

mp.observe_property("demuxer-cache-state", "native", function(_, state)
    if state and state["eof-cached"] and not ready then
        ready = true
        seek()
    end
end)

mp.register_event("playback-restart", function()
    if not ready then return end
    print(string.format("shown %.3f sound %s", mp.get_property_number("time-pos"), mp.get_property("aid")))
    count = count + 1
    if count == 10 then mp.commandv("quit") else seek() end
end)
"""


@pytest.mark.skipif(shutil.which("mpv") is None, reason="mpv is not installed")
def test_mpv_seeks_in_what_comes_through_a_pipe(tmp_path):
    clip = make_clip(tmp_path / "in.mkv", frames=24, rate=12, audio=True)
    (tmp_path / "seeks.lua").write_text(SEEKS)
    convert = [sys.executable, "-m", "betwixt.cli", "interpolate", clip, "-", "--model", "fast"]
    play = ["mpv", "--no-config", "--vo=null", "--ao=null", "--pause", "--cache=yes", f"--audio-file={clip}"]
    with subprocess.Popen(convert, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as converting:
        played = subprocess.run(
            [*play, f"--script={tmp_path / 'seeks.lua'}", "-"],
            stdin=converting.stdout, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        converting.stdout.close()
        message = converting.stderr.read()
    assert converting.returncode == 0, message
    assert played.returncode == 0, played.stdout
    shown = [line.split()[-4:] for line in played.stdout.splitlines() if "shown" in line]
    assert [(float(time), sound) for _, time, _, sound in shown] == [(1.5, "1"), (0.25, "1")] * 5

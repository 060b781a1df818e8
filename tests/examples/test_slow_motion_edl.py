"""The slow motion of an edit, made from its EDL."""

import re
from fractions import Fraction

import av
import pytest

from clips import make_clip, read_frames

otio = pytest.importorskip("opentimelineio")
slow_motion_edl = pytest.importorskip("slow_motion_edl")

EDL = """TITLE: scene 4
FCM: NON-DROP FRAME

001  A001     V     C        10:00:00:00 10:00:00:10 01:00:00:00 01:00:00:10
* FROM CLIP NAME: a.mov
002  A001     V     C        10:00:00:02 10:00:00:07 01:00:00:10 01:00:00:20
M2   A001            012.5                10:00:00:02
* FROM CLIP NAME: a.mov
"""


def test_slowed_events_become_files_at_normal_speed(tmp_path, capsys):
    make_clip(
        tmp_path / "a.mov", frames=12, rate=25, codec="libx264",
        prepare=lambda out, stream: stream.metadata.update(timecode="10:00:00:00"),
    )  # fmt: skip
    (tmp_path / "edit.edl").write_text(EDL)
    out = tmp_path / "out"
    given = [str(tmp_path / "edit.edl"), str(tmp_path), str(out), "--rate", "25", "--model", "fast"]
    assert slow_motion_edl.main(given) == 0
    assert capsys.readouterr().out == f"{out / 'a_slow_002.mov'}\n"
    with av.open(str(out / "a_slow_002.mov")) as container:
        assert container.streams.video[0].metadata["timecode"] == "10:00:00:02"
    assert [frame.time for frame in read_frames(out / "a_slow_002.mov")] == [Fraction(n, 25) for n in range(10)]
    first, second = otio.adapters.read_from_file(str(out / "edit.edl"), rate=25).find_clips()
    assert (first.name, second.name) == ("a.mov", "a_slow_002.mov")
    assert not second.effects
    assert otio.opentime.to_timecode(second.source_range.start_time) == "10:00:00:02"
    assert second.source_range.duration.value == 10


@pytest.mark.parametrize(
    ("given", "rate", "nominal", "speed"),
    [
        ("23.976", Fraction(24000, 1001), 24, "012.0"),
        ("24000/1001", Fraction(24000, 1001), 24, "011.9"),
        ("29.97", Fraction(30000, 1001), 30, "015.0"),
        ("25", Fraction(25), 25, "012.5"),
    ],
)
def test_the_frames_are_found_at_every_rate(tmp_path, given, rate, nominal, speed):
    make_clip(
        tmp_path / "a.mov", frames=80, rate=rate, codec="libx264", options={"crf": "1"},
        prepare=lambda out, stream: stream.metadata.update(timecode="10:00:00:00"),
    )  # fmt: skip
    event = "001  A001     V     C        10:00:02:05 10:00:02:10 01:00:00:00 01:00:00:10"
    edl = f"TITLE: one\nFCM: NON-DROP FRAME\n\n{event}\nM2   A001  {speed}  10:00:02:05\n* FROM CLIP NAME: a.mov\n"
    (tmp_path / "edit.edl").write_text(edl)
    out = tmp_path / "out"
    assert (
        slow_motion_edl.main([str(tmp_path / "edit.edl"), str(tmp_path), str(out), "--rate", given, "--model", "fast"])
        == 0
    )
    made, source = read_frames(out / "a_slow_001.mov"), read_frames(tmp_path / "a.mov")
    assert [frame.time for frame in made] == [n / rate for n in range(10)]
    pictures = [frame.video.to_ndarray(format="gray").astype(int) for frame in source]
    for number in (0, 2, 8):
        shown = made[number].video.to_ndarray(format="gray")
        nearest = min(range(len(pictures)), key=lambda k: abs(pictures[k] - shown).mean())
        assert nearest == 2 * nominal + 5 + number // 2
    written = (out / "edit.edl").read_text()
    assert "FCM: NON-DROP FRAME" in written
    assert "10:00:02:05 10:00:02:15 01:00:00:00 01:00:00:10" in written


@pytest.mark.parametrize("mark", [";", ":"])
def test_drop_frame_timecode_is_kept(tmp_path, mark):
    make_clip(
        tmp_path / "a.mov", frames=80, rate=Fraction(30000, 1001), codec="libx264",
        prepare=lambda out, stream: stream.metadata.update(timecode="10:00:59;00"),
    )  # fmt: skip
    event = "001  A001     V     C        10:01:00:12 10:01:00:17 01:00:00:00 01:00:00:10".replace(":", mark)
    event = re.sub(rf"(\d\d){mark}(\d\d){mark}", r"\1:\2:", event)
    edl = f"TITLE: one\nFCM: DROP FRAME\n\n{event}\nM2   A001  015.0  10:01:00{mark}12\n* FROM CLIP NAME: a.mov\n"
    (tmp_path / "edit.edl").write_text(edl)
    out = tmp_path / "out"
    assert (
        slow_motion_edl.main(
            [str(tmp_path / "edit.edl"), str(tmp_path), str(out), "--rate", "29.97", "--model", "fast"]
        )
        == 0
    )
    with av.open(str(out / "a_slow_001.mov")) as container:
        assert container.streams.video[0].metadata["timecode"] == "10:01:00;12"
    written = (out / "edit.edl").read_text()
    assert "FCM: DROP FRAME" in written
    assert "10:01:00;12 10:01:00;22 01:00:00;00 01:00:00;10" in written


def test_speeds_are_simple_where_rounding_allows_it():
    def speed(fps, rate):
        time = otio.opentime.RationalTime(10, float(rate))
        clip = otio.schema.Clip("a", source_range=otio.opentime.TimeRange(time, time))
        clip.effects.append(otio.schema.LinearTimeWarp(time_scalar=fps / rate))
        return slow_motion_edl.speed_of(clip)

    found = [speed(8.3, 25), speed(12.0, 24000 / 1001), speed(24.0, 25), speed(12.3, 25), speed(0.0, 25)]
    assert found == [Fraction(1, 3), Fraction(1, 2), Fraction(24, 25), Fraction(123, 250), 0]


@pytest.mark.parametrize(
    ("text", "rate", "message"),
    [
        (EDL, "fast", "The rate 'fast' is not a number"),
        (EDL, "23.5", "No timecode counts 23.5 frames per second"),
        (EDL.replace("012.5", "slow!"), "25", "cannot be read as an EDL"),
        (EDL.replace("10:00:00:02", "10:00:00:99"), "25", "cannot be read as an EDL"),
        (EDL + "FCM: DROP FRAME\n", "29.97", "it mixes drop-frame and non-drop-frame timecode"),
        ("\0\1 this is no EDL", "25", "cannot be read as an EDL"),
    ],
)
def test_bad_input_ends_in_one_line(tmp_path, capsys, text, rate, message):
    (tmp_path / "edit.edl").write_text(text)
    with pytest.raises(SystemExit) as stopped:
        slow_motion_edl.main([str(tmp_path / "edit.edl"), str(tmp_path), str(tmp_path / "out"), "--rate", rate])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_the_edl_is_not_replaced(tmp_path, capsys):
    (tmp_path / "edit.edl").write_text(EDL)
    with pytest.raises(SystemExit):
        slow_motion_edl.main([str(tmp_path / "edit.edl"), str(tmp_path), str(tmp_path), "--rate", "25"])
    assert "would replace" in capsys.readouterr().err
    assert (tmp_path / "edit.edl").read_text() == EDL


def test_missing_media_end_in_one_line(tmp_path, capsys):
    (tmp_path / "edit.edl").write_text(EDL)
    assert slow_motion_edl.main([str(tmp_path / "edit.edl"), str(tmp_path), str(tmp_path / "out"), "--rate", "25"]) == 2
    assert "a.mov does not exist" in capsys.readouterr().err

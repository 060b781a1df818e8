"""The slow motion of an edit, made from its EDL."""

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


def test_missing_media_end_in_one_line(tmp_path, capsys):
    (tmp_path / "edit.edl").write_text(EDL)
    assert slow_motion_edl.main([str(tmp_path / "edit.edl"), str(tmp_path), str(tmp_path / "out"), "--rate", "25"]) == 2
    assert "a.mov does not exist" in capsys.readouterr().err

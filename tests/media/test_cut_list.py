"""Lists of cuts that the user gives."""

from fractions import Fraction
from itertools import pairwise

import pytest

from betwixt.errors import InputError
from betwixt.media.cut_list import CutList, read_cuts


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_a_list_of_frames_and_times_is_read(tmp_path):
    path = write(
        tmp_path / "cuts.txt",
        "\ufeff# cuts\n\n59\n 90  # second\n1.5\n00:01:02.250\n02:03\n1:00:00.040\n.5\n5.\n",
    )
    cuts = read_cuts(path)
    assert cuts.frames == {59, 90}
    assert cuts.times == tuple(Fraction(t) for t in ("0.5", "1.5", "5", "62.25", "123", "3600.04"))


def test_a_cut_lies_between_the_frame_that_it_begins_and_the_one_before():
    cuts = CutList(frozenset({7}), (Fraction(1), Fraction(5, 2)))
    frame = Fraction(1, 25)
    assert cuts.contains(7, 7 * frame, 6 * frame)
    assert not cuts.contains(8, 8 * frame, 7 * frame)
    assert cuts.contains(25, Fraction(1), Fraction(24, 25)), "the frame shown at that time begins the shot"
    assert not cuts.contains(26, Fraction(26, 25), Fraction(1))
    assert cuts.contains(63, Fraction(63, 25), Fraction(62, 25)), "a time between two frames"
    assert not CutList().contains(3, Fraction(3), Fraction(2))


def test_a_list_without_cuts(tmp_path):
    assert read_cuts(write(tmp_path / "cuts.txt", "# none\n\n")) == CutList()


@pytest.mark.parametrize("line", ["abc", "-5", "1,5", "12 13", "1:2:3:4", "00:61:00", "00:00:75", "1e3", "٣"])
def test_a_bad_line_is_named(tmp_path, line):
    path = write(tmp_path / "cuts.txt", f"10\n\n{line}\n")
    with pytest.raises(InputError, match=r"cuts\.txt, line 3: ") as caught:
        read_cuts(path)
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read_are_named(tmp_path):
    binary = tmp_path / "cuts.bin"
    binary.write_bytes(b"\xff\xfe\x80\x81")
    for path in (tmp_path / "missing.txt", tmp_path, binary):
        with pytest.raises(InputError, match=path.name):
            read_cuts(path)


@pytest.mark.parametrize("with_cuts", [True, False])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_scene_list_of_pyscenedetect_is_read(tmp_path, with_cuts, separator):
    from scenedetect import FrameTimecode
    from scenedetect.output import write_scene_list

    edges = [FrameTimecode(frame, 25.0) for frame in (0, 59, 90, 200)]
    path = tmp_path / "scenes.csv"
    with path.open("w", newline="") as file:
        write_scene_list(
            file,
            list(pairwise(edges)),
            include_cut_list=with_cuts,
            col_separator=separator,
        )
    assert read_cuts(path) == CutList(frozenset({59, 90}))


def test_a_scene_list_of_one_scene_or_with_a_bad_row(tmp_path):
    header = "Timecode List:\nScene Number,Start Frame,Start Timecode\n"
    assert read_cuts(write(tmp_path / "one.csv", header + "1,1,00:00:00.000\n")) == CutList()
    with pytest.raises(InputError, match=r"bad\.csv, line 4: "):
        read_cuts(write(tmp_path / "bad.csv", header + "1,1,00:00:00.000\n2,x,00:00:01.000\n"))
    with pytest.raises(InputError, match=r"odd\.csv, line 1: .*Start Frame"):
        read_cuts(write(tmp_path / "odd.csv", "Scene Number,Length\n1,5\n"))

"""Measuring rate-distortion curves on a small clip, and reports on them."""

import csv
import dataclasses
import sys
from pathlib import Path

import pytest

from betwixt.codec.rd_curve import CurveRequest, measure_rd_curves
from betwixt.codec.rd_report import bd_rate, class_points, markdown_report, rate_at
from betwixt.codec.rd_table import CurvePoint
from betwixt.errors import InputError, OutputError, UsageError
from clips import make_clip


def point(bpp, psnr, method="base", **changes):
    plain = CurvePoint(
        clip="c", base="x264 fast", method=method, quality=int(1000 * bpp), frames=9, size="192x176", bytes=1,
        bpp=bpp, psnr=psnr, ms_ssim=1 - 10 ** (-psnr / 20), psnr_sent=psnr, psnr_between=psnr, sent=5,
        encode_seconds=1.0, decode_seconds=1.0, model="dis", weights="", protocol="p", date="d", machine="m",
    )  # fmt: skip
    return dataclasses.replace(plain, **changes)


BASE = [point(b, q) for b, q in ((0.1, 30.0), (0.2, 33.0), (0.4, 36.0), (0.8, 39.0))]


def test_half_the_bits_is_a_bd_rate_of_minus_50_percent():
    half = [dataclasses.replace(p, bpp=p.bpp / 2, method="bit-free") for p in BASE]
    for metric in ("psnr", "ms_ssim"):
        assert bd_rate(BASE, half, metric) == pytest.approx(-50, abs=0.01)
        assert bd_rate(half, BASE, metric) == pytest.approx(100, abs=0.01)
    assert bd_rate(BASE, BASE, "psnr") == pytest.approx(0, abs=1e-9)
    text = markdown_report([*BASE, *half])
    assert "| c | -50.0 % | -50.0 % |" in text
    assert "| c | 32 dB | -50.0 % |" in text


def test_curves_without_overlap_have_no_bd_rate():
    low = [point(b, q, "bit-free") for b, q in ((0.1, 20.0), (0.2, 21.0), (0.4, 21.2))]
    assert bd_rate(BASE, low, "psnr") is None
    assert bd_rate(BASE, BASE[:2], "psnr") is None
    # Points that cost more and are worse are left out.
    falling = [*BASE, point(1.6, 38.0)]
    assert bd_rate(BASE, falling, "psnr") == pytest.approx(0, abs=1e-9)
    assert "| c | - | - |" in markdown_report([*BASE, *low])


def test_rates_are_interpolated_between_points():
    assert rate_at(BASE, "psnr", 33.0) == pytest.approx(0.2)
    assert 0.1 < rate_at(BASE, "psnr", 31.0) < 0.2
    assert rate_at(BASE, "psnr", 29.0) is None
    assert rate_at(BASE, "psnr", 41.0) is None


def test_curves_are_measured_written_and_resumed(tmp_path):
    source = make_clip(tmp_path / "in.mkv", frames=8, size=(192, 176))
    request = CurveRequest(
        clips=(str(source), f"{source}@0.08"), output=tmp_path / "rd", methods=("base", "bit-free", "bit-free-floor"),
        qualities=(20, 30), base="x264", preset="ultrafast", frames=5, model="dis", threads=1,
    )  # fmt: skip
    points, notes = measure_rd_curves(request)
    assert not notes
    assert len(points) == 2 * 2 * 3
    assert {p.clip for p in points} == {"in", "in@0.08"}
    for p in points:
        assert p.frames == 5
        assert p.bpp == pytest.approx(8 * p.bytes / (192 * 176 * 5))
        assert 10 < p.psnr <= 100
        assert 0 < p.ms_ssim <= 1
        assert p.sent == (5 if p.method == "base" else p.sent)
    by = {(p.clip, p.method, p.quality): p for p in points}
    assert by["in", "base", 20].psnr > by["in", "base", 30].psnr
    assert by["in", "base", 20].bytes > by["in", "base", 30].bytes
    assert by["in", "bit-free", 20].sent == 3
    assert (tmp_path / "rd.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "rd-in.jpg").read_bytes().startswith(b"\xff\xd8")
    assert "in@0.08" in (tmp_path / "rd.md").read_text()
    # Points of the table are kept, and not measured again.
    table = (tmp_path / "rd.csv").read_text()
    again, _ = measure_rd_curves(dataclasses.replace(request, clips=(str(source),), methods=("base",), resume=True))
    assert [p.key for p in again] == [p.key for p in points]
    assert (tmp_path / "rd.csv").read_text() == table
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"methods": ("bit-bound",)}, "no method 'bit-bound'"),
        ({"qualities": (22, 22)}, "qualities repeat"),
        ({"frames": 1}, "nothing between"),
        ({"clips": ()}, "no clips"),
        ({"base": "x266"}, "no base codec"),
        ({"clips": ("a/in.mkv", "b/in.mkv")}, "Two clips are called in,"),
    ],
)
def test_wrong_requests_are_refused(tmp_path, change, message):
    source = make_clip(tmp_path / "in.mkv", frames=4, size=(192, 176))
    request = CurveRequest(clips=(str(source),), output=tmp_path / "rd", methods=("base",))
    with pytest.raises(UsageError, match=message):
        measure_rd_curves(dataclasses.replace(request, **change))


def test_short_clips_and_foreign_tables_are_refused(tmp_path):
    source = make_clip(tmp_path / "in.mkv", frames=4, size=(192, 176))
    request = CurveRequest(clips=(f"{source}@0.14",), output=tmp_path / "rd", methods=("base",), model="dis")
    with pytest.raises(InputError, match="at least 2 are needed"):
        measure_rd_curves(request)
    (tmp_path / "rd.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="is no table of rd-curve"):
        measure_rd_curves(request)


def test_frames_too_small_for_ms_ssim_are_refused_before_encoding(tmp_path):
    source = make_clip(tmp_path / "in.mkv", frames=4, size=(192, 160))
    with pytest.raises(InputError, match="192x160: MS-SSIM needs 176"):
        measure_rd_curves(CurveRequest(clips=(str(source),), output=tmp_path / "rd", methods=("base",)))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.mkv"]


def test_points_of_another_model_or_floor_are_measured_again(tmp_path):
    source = make_clip(tmp_path / "in.mkv", frames=5, size=(192, 176))
    request = CurveRequest(
        clips=(str(source),), output=tmp_path / "rd", methods=("bit-free-floor",), qualities=(30,), base="x264",
        preset="ultrafast", model="dis", floor=5.0, resume=True,
    )  # fmt: skip
    measure_rd_curves(request)
    (first,) = csv.DictReader((tmp_path / "rd.csv").read_text().splitlines())
    for change in ({"floor": 60.0}, {"model": "average"}):
        measure_rd_curves(dataclasses.replace(request, **change))
        (row,) = csv.DictReader((tmp_path / "rd.csv").read_text().splitlines())
        assert (row["sent"], row["model"]) != (first["sent"], first["model"])


def test_bit_need_without_weights_is_left_out_with_a_note(tmp_path, monkeypatch):
    monkeypatch.setattr("betwixt.codec.coder.embedded_file", lambda name: tmp_path / "nothing")
    source = make_clip(tmp_path / "in.mkv", frames=3, size=(192, 176))
    request = CurveRequest(
        clips=(str(source),), output=tmp_path / "rd", methods=("base", "bit-need"), qualities=(30,), base="x264",
        preset="ultrafast", model="dis",
    )  # fmt: skip
    points, notes = measure_rd_curves(request)
    assert [p.method for p in points] == ["base"]
    assert notes[0].startswith("bit-need is left out. There are no weights")
    with pytest.raises(UsageError, match="There are no weights"):
        measure_rd_curves(dataclasses.replace(request, methods=("bit-need",)))


def test_the_report_has_mean_curves_of_hevc_classes():
    def sequence(clip, size, factor, method="base"):
        return [dataclasses.replace(p, clip=clip, size=size, bpp=p.bpp * factor, method=method) for p in BASE]

    points = [
        *sequence("BQMall_832x480_60", "832x480", 1.0),
        *sequence("PartyScene_832x480_50", "832x480", 3.0),
        *sequence("BQMall_832x480_60", "832x480", 0.5, "bit-need"),
        *sequence("PartyScene_832x480_50", "832x480", 1.5, "bit-need"),
        *sequence("film", "832x480", 9.0),
    ]
    means = class_points(points)
    assert [(p.clip, p.method) for p in means] == [("class C, mean", "base")] * 4 + [("class C, mean", "bit-need")] * 4
    assert [p.bpp for p in means[:4]] == pytest.approx([2 * p.bpp for p in BASE])
    assert [p.psnr for p in means[:4]] == [p.psnr for p in BASE]
    text = markdown_report(points)
    assert "| class C, mean | -50.0 % | -50.0 % |" in text
    assert "| class C, mean | 34 dB | -50.0 % |" in text
    assert "| film | - | - |" in text
    # RaceHorses is in two classes, which its size tells apart; a second class gives a mean of all.
    both = [*points, *sequence("RaceHorses_416x240_30", "416x240", 1.0), *sequence("BQSquare", "416x240", 1.0)]
    assert {p.clip for p in class_points(both)} == {"class C, mean", "class D, mean", "all classes, mean"}
    # A quality that one sequence lacks has no mean.
    assert len(class_points(points[1:])) == 7


FAKE_CODEC = """
import sys, zlib
import numpy as np
source, stream, reconstruction, step = sys.argv[1:5]
samples = np.fromfile(source, np.uint8)
coarse = np.rint(samples / int(step)).astype(np.uint8)
open(stream, "wb").write(zlib.compress(coarse.tobytes()))
(coarse * int(step)).clip(0, 255).astype(np.uint8).tofile(reconstruction)
open(sys.argv[5], "a").write(" ".join(sys.argv[6:]) + "\\n")
"""


def test_an_external_codec_codes_the_base_frames(tmp_path):
    source = make_clip(tmp_path / "in.mkv", frames=3, size=(192, 176))
    script, log = tmp_path / "fake codec.py", tmp_path / "log"
    script.write_text(FAKE_CODEC)
    command = (
        f"{sys.executable} '{script}' {{input}} {{bitstream}} {{reconstruction}} {{quality}} {log} "
        "{width} {height} {fps} {frames} {depth} {intra}"
    )
    request = CurveRequest(
        clips=(str(source),), output=tmp_path / "rd", methods=("base", "bit-free", "bit-need"), qualities=(4, 24),
        p_codec=command, b_codec=command, model="dis", threads=1,
    )  # fmt: skip
    points, _ = measure_rd_curves(request)
    assert set(log.read_text().splitlines()) == {"192 176 25 3 8 32", "192 176 12.5 2 8 16"}
    by = {(p.method, p.quality): p for p in points}
    for p in points:
        assert p.base == Path(sys.executable).name
        assert p.sent == (3 if p.method == "base" else 2)
    assert by["base", 4].bytes > by["base", 24].bytes > 0
    assert by["base", 4].psnr > 40 > by["base", 24].psnr
    # Not the size of the lossless frames in between.
    assert by["bit-free", 4].bytes < by["base", 4].bytes
    assert by["bit-need", 4].bytes >= by["bit-free", 4].bytes
    assert by["bit-free", 4].psnr_sent == pytest.approx(by["base", 4].psnr, abs=1.0)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("codec {input} {bitstream} {reconstruction}", "lacks {quality}"),
        ("codec {input} {bitstream} {reconstruction} {quality} {qp}", "cannot be read"),
        ("nothing-there {input} {bitstream} {reconstruction} {quality}", "nothing-there cannot be run"),
        ("false {input} {bitstream} {reconstruction} {quality}", "false ended with 1: no message"),
        ("true {input} {bitstream} {reconstruction} {quality}", "true wrote no bitstream"),
        ("cp {input} {bitstream} --suffix={reconstruction}{quality}", r"a reconstruction of 0 bytes, not 152064"),
    ],
)
def test_commands_that_do_not_work_are_refused_in_one_line(tmp_path, command, message):
    source = make_clip(tmp_path / "in.mkv", frames=3, size=(192, 176))
    request = CurveRequest(
        clips=(str(source),), output=tmp_path / "rd", methods=("base-p",), qualities=(30,), p_codec=command, model="dis"
    )
    with pytest.raises((UsageError, OutputError), match=message) as caught:
        measure_rd_curves(request)
    assert "\n" not in str(caught.value)


def test_methods_without_a_command_are_refused(tmp_path):
    source = make_clip(tmp_path / "in.mkv", frames=3, size=(192, 176))
    command = "codec {input} {bitstream} {reconstruction} {quality}"
    for method, message in (("base", "pass `b_codec`, or leave it out"), ("base-own", "base-own: leave it out")):
        with pytest.raises(UsageError, match=message):
            measure_rd_curves(
                CurveRequest(clips=(str(source),), output=tmp_path / "rd", methods=(method,), p_codec=command)
            )

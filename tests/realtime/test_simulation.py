"""The comparison of four ways to show a call, on a small clip."""

import csv
import json
from fractions import Fraction

import av
import numpy as np
import pytest

import betwixt
from betwixt.errors import BetwixtError, InputError, UsageError
from betwixt.realtime.coding import code, code_to_bits
from betwixt.realtime.network import NETWORKS
from betwixt.realtime.session import simulate_video
from betwixt.realtime.simulation import SCHEMES, compare_schemes
from clips import make_clip, paint, read_frames

RATE = Fraction(24)


@pytest.fixture(scope="module")
def clip():
    return [paint(av.VideoFrame(128, 96, "rgb24"), n, speed=1.5).to_ndarray() for n in range(25)]


def test_coding_keeps_every_frame_and_meets_the_bits(clip):
    coded = code(clip[:8], RATE, 20.0)
    assert len(coded.frames) == len(coded.bits) == 8
    assert np.abs(coded.frames[5].astype(float) - clip[5]).mean() < 12
    wanted = 60_000
    found = code_to_bits(clip[:8], RATE, wanted)
    assert abs(found.total - wanted) <= 0.02 * wanted
    with pytest.raises(UsageError, match="raise --bitrate"):
        code_to_bits(clip[:8], RATE, 100)
    with pytest.raises(UsageError, match="lower --bitrate"):
        code_to_bits(clip[:8], RATE, 10**9)


def test_the_schemes_differ_as_the_paper_says(clip):
    found = compare_schemes(clip, RATE, betwixt.load_model("dis"), bitrate=60_000, network=NETWORKS["clean"], factor=4)
    scores = found.scores
    assert list(scores) == list(SCHEMES)
    bits = [s.bits for s in scores.values()]
    assert max(bits) <= 1.03 * min(bits)
    mean = {name: np.mean(s.psnr) for name, s in scores.items()}
    # three frames of delay at 4x for interpolation, none for extrapolation
    delay = {name: s.delay - 0.02 for name, s in scores.items()}
    assert delay["interpolation"] == pytest.approx(3 / 24, abs=1e-6)
    assert delay["extrapolation"] == delay["scheme 1"] == delay["scheme 2"] == pytest.approx(0, abs=1e-6)
    assert scores["scheme 2"].standing == pytest.approx(0.75, abs=0.05)
    assert scores["interpolation"].standing == scores["extrapolation"].standing == 0
    assert mean["interpolation"] > mean["extrapolation"] > mean["scheme 2"]
    assert scores["interpolation"].flicker < scores["scheme 2"].flicker
    assert {t.kind for t in found.ticks["extrapolation"]} >= {"extrapolated", "seam"}
    assert all(s.due == list(range(8, 21)) for s in scores.values())


def test_a_seed_gives_the_same_call(clip):
    calls = [
        compare_schemes(clip, RATE, betwixt.load_model("average"), bitrate=60_000, network=NETWORKS["all"], seed=seed)
        for seed in (3, 3, 4)
    ]
    ticks = [[(t.now, t.due, t.kind) for t in call.ticks["interpolation"]] for call in calls]
    assert ticks[0] == ticks[1] != ticks[2]


def test_one_command_s_worth(tmp_path):
    source = make_clip(tmp_path / "in.mkv", frames=26, size=(130, 96), rate=24)
    table = tmp_path / "realtime.csv"
    outcome = simulate_video(
        source, tmp_path / "out", bitrate="30k", network="loss", seed=1, model="dis", height=64, record_to=table
    )
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "comparison.csv", "comparison.json", "comparison.mp4", "comparison.png",
    ]  # fmt: skip
    with (tmp_path / "out" / "comparison.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["scheme"] for row in rows] == list(SCHEMES)
    assert {row["size"] for row in rows} == {"86x64"}
    with table.open() as file:
        assert [r["psnr"] for r in csv.DictReader(file)] == [
            r["psnr"] for r in sorted(rows, key=lambda row: row["scheme"])
        ]
    assert len(json.loads((tmp_path / "out" / "comparison.json").read_text())["ticks"]) == 4
    frames = read_frames(tmp_path / "out" / "comparison.mp4")
    assert (frames[0].video.width, frames[0].video.height) == (172, 2 * (64 + 22))
    assert len(outcome.written) == 5
    with pytest.raises(BetwixtError, match="--overwrite"):
        simulate_video(source, tmp_path / "out", model="dis")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"network": "dream"}, "no network"),
        ({"factor": 1}, "--factor"),
        ({"bitrate": "fast"}, "bits a second"),
        ({"bitrate": "200"}, "raise --bitrate"),
        ({"limit": 10}, "--limit"),
        ({"height": 2}, "--height"),
        ({"margin": -1.0}, "margin"),
        ({"model": "ncm-base-next"}, "No weights"),
        ({"input_fps": 24}, "--input-fps"),
        ({"end": "0.2"}, "needs 16"),
    ],
)
def test_bad_options_get_a_line_and_leave_nothing(tmp_path, options, says):
    source = make_clip(tmp_path / "in.mkv", frames=20)
    with pytest.raises(BetwixtError, match=says) as error:
        simulate_video(source, tmp_path / "out", **({"model": "average"} | options))
    assert "\n" not in str(error.value)
    assert [p.name for p in tmp_path.iterdir()] == ["in.mkv"]


def test_a_clip_of_one_frame_is_no_call(tmp_path):
    source = make_clip(tmp_path / "in.mkv", frames=1)
    with pytest.raises(InputError, match="has 1 frames"):
        simulate_video(source, tmp_path / "out", model="average")

"""Suggestions, estimates and facts, from what an inspection found."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from betwixt.pipeline.inspect import inspect_video
from betwixt.web.conversions import CONVERSIONS
from betwixt.web.costs import measure
from betwixt.web.facts import describe, format_size
from betwixt.web.suggestions import Measurement, Suggestion, custom_rate, estimate, suggest
from clips import make_clip, make_interlaced_clip


def found(**values: Any) -> dict[str, Any]:
    """What an inspection finds in a plain video, with some values changed."""
    findings = {
        "codec": "h264", "width": 640, "height": 480, "rate": "25", "variable": False, "duration": 20.0, "frames": 500,
        "interlaced": False, "rotation": None, "sample_aspect_ratio": None, "colour": {"transfer": 1}, "hdr": None,
        "hdr10_plus": False, "dolby_vision": None, "streams": [{"kind": "video"}], "cuts": [], "duplicates": 0,
        "repeat_pattern": None, "damage": None, "decoded": {"frames": 100}, "certainty": {"cuts": "exact"}, "notes": [],
    }  # fmt: skip
    return findings | values


def by_id(findings: dict[str, Any]) -> dict[str, Suggestion]:
    return {suggestion.id: suggestion for suggestion in suggest(findings)}


@pytest.mark.parametrize(
    ("rate", "smooth"),
    [
        ("24", "60"),
        ("24000/1001", "60000/1001"),
        ("25", "60"),
        ("15", "60"),
        ("30", None),  # doubling makes 60
        ("30000/1001", None),
        ("60", None),
        ("50", "60"),
    ],
)
def test_the_smooth_rate_keeps_the_most_source_frames(rate: str, smooth: str | None) -> None:
    suggestion = by_id(found(rate=rate)).get("smooth")
    assert (None if suggestion is None else suggestion.options["fps"]) == smooth


def test_a_description_says_how_many_source_frames_stay() -> None:
    assert by_id(found(rate="24"))["smooth"].description.startswith("1 of 2 source frames stays")
    assert by_id(found(rate="15"))["smooth"].description == "Every source frame stays as it is."
    assert "Nearly all frames are new" in custom_rate(Fraction(47), Fraction(30000, 1001)).description


def test_slow_motion_comes_in_three_speeds() -> None:
    slow = [s for s in suggest(found()) if s.id.startswith("slow")]
    assert [(s.options, s.rate) for s in slow] == [({"slow": n}, 25) for n in (2, 4, 8)]
    assert "sound" not in slow[0].description
    assert "sound" in by_id(found(streams=[{"kind": "audio"}]))["slow2"].description


def test_repeated_frames_come_first() -> None:
    first = suggest(found(repeat_pattern="animation on twos", duplicates=50))[0]
    assert (first.title, first.options) == ("Fix animation on twos", {"duplicates": "fill", "factor": 1})
    assert suggest(found(duplicates=20))[0].title == "Fix repeated frames"
    assert "repeats" not in by_id(found(duplicates=5))


def test_film_is_for_fast_videos_and_gifs_are_for_short_ones() -> None:
    assert by_id(found(rate="60000/1001"))["film"].options == {"fps": "24000/1001"}
    assert "film" not in by_id(found())
    assert by_id(found(duration=3.0))["loop"].suffix == ".gif"
    assert "loop" not in by_id(found())
    assert "loop" not in by_id(found(duration=None))


def test_interlaced_videos_are_deinterlaced_and_varying_rates_become_usual_ones() -> None:
    assert all(s.options["interlaced"] == "deinterlace" for s in suggest(found(interlaced=True)))
    assert by_id(found(rate="14987/500", variable=True))["double"].rate in (60, Fraction(60000, 1001))


def test_all_options_of_suggestions_are_options_of_their_commands() -> None:
    for findings in (found(rate="60", duration=2.0, repeat_pattern="x", interlaced=True), found()):
        for suggestion in suggest(findings):
            assert suggestion.options.keys() <= CONVERSIONS[suggestion.command].declared.options.keys()


def test_an_estimate_counts_new_frames() -> None:
    measured = Measurement(seconds=5, startup=1, seconds_per_frame=0.1, bytes_per_frame=1000)
    doubled = estimate(by_id(found())["double"], found(), measured)
    assert doubled is not None
    assert (doubled.frames, doubled.new_frames, doubled.seconds, doubled.bytes) == (1000, 500, 51, 1_000_000)
    slow = estimate(by_id(found())["slow4"], found(), measured)
    assert slow is not None
    assert (slow.frames, slow.new_frames) == (2000, 1500)
    repeats = found(duplicates=50, repeat_pattern="animation on twos")
    fixed = estimate(by_id(repeats)["repeats"], repeats, measured)
    assert fixed is not None
    assert (fixed.frames, fixed.new_frames) == (500, 250)
    assert estimate(by_id(found())["double"], found(duration=None), measured) is None


def test_a_measurement_converts_a_part_and_tells_what_is_lost(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mkv", frames=30, size=(64, 48), codec="libx264", audio=True)
    findings = inspect_video(clip).as_dict()
    measured = measure("interpolate", clip, ".gif", {"model": "dis"}, findings)
    assert measured.seconds > measured.startup > 0
    assert measured.seconds_per_frame > 0
    assert measured.bytes_per_frame > 100
    assert any("audio" in lost for lost in measured.lost)
    assert list(tmp_path.iterdir()) == [clip]


def test_facts_are_in_plain_words(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", frames=16, size=(64, 48), codec="libx264", audio=True)
    facts = {fact.name: fact.text for fact in describe(inspect_video(clip).as_dict(), 12_345)}
    assert facts == {
        "Rate": "25 frames per second",
        "Length": "0.6 s, 16 frames",
        "Picture": "64 x 48 pixels",
        "File": "12 kB, H.264, with sound",
        "Cuts": "none found",
        "Repeats": "none",
    }


def test_facts_name_what_is_special(tmp_path: Path) -> None:
    special = found(
        colour={"transfer": 16}, rotation=[0] * 9, damage="frame 3 is missing", variable=True, cuts=[1.0] * 9
    )
    facts = {fact.name: fact.text for fact in describe(special, 5_000_000_000)}
    assert facts["HDR"] == "PQ"
    assert facts["Damage"] == "frame 3 is missing"
    assert facts["Rate"] == "25 frames per second on average; it varies"
    assert facts["Picture"].endswith("turned for display")
    assert facts["Cuts"].endswith("and 4 more")
    assert facts["File"].startswith("5.0 GB")
    interlaced = inspect_video(make_interlaced_clip(tmp_path / "clip.mpg", 8)).as_dict()
    assert "deinterlaced" in {fact.name: fact.text for fact in describe(interlaced, 1)}["Interlaced"]


def test_sizes_are_decimal() -> None:
    assert [format_size(size) for size in (0, 830_000, 4_200_000, 1.3e9)] == ["1 kB", "830 kB", "4.2 MB", "1.3 GB"]

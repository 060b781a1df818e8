"""An interrupted decoding resumes, and gives the same output as one without an interruption."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from betwixt.cli.main import run
from betwixt.codec.decode import Decoded, decode_video
from betwixt.codec.encode import encode_video
from betwixt.errors import DamagedInputError
from betwixt.media import journal
from betwixt.media.journal import journal_path
from clips import frames_equal, interrupt_at, make_clip, read_frames

QUICK: dict[str, Any] = {"base": "x264", "preset": "ultrafast", "model": "dis", "quality": 20, "threads": 1}
STEPS = [40, 33, 50, 33, 120, 40, 33, 47, 80, 40, 33, 60]
TIMES = [Fraction(sum(STEPS) * (n // 12) + sum(STEPS[: n % 12]), 1000) for n in range(120)]


@pytest.fixture(autouse=True)
def _keep_every_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "_KEEP_AFTER", 0.0)


def decode(source: Path, target: Path, **options: Any) -> Decoded:
    try:
        return decode_video(source, target, **({"threads": 1, "codec": "ffv1"} | options))
    except DamagedInputError as error:
        summary: Decoded = error.summary
        return summary


def interrupt_decoding(after: int, source: Path, target: Path, **options: Any) -> BaseException:
    with interrupt_at(after), pytest.raises(KeyboardInterrupt) as caught:
        decode(source, target, **options)
    return caught.value


def counts(summary: Decoded) -> tuple[Any, ...]:
    return tuple(
        getattr(summary, name)
        for name in ("frames", "sent", "coded", "synthesized", "concealed", "differing", "duration", "damage")
    )


@pytest.mark.parametrize("how", [{}, {"times": TIMES, "tick": Fraction(1, 1000)}])
@pytest.mark.parametrize(("name", "codec"), [("mkv", "ffv1"), ("mp4", "h264"), ("mkv", "hevc")])
def test_an_interrupted_decoding_resumes(tmp_path: Path, how: dict[str, Any], name: str, codec: str) -> None:
    source = make_clip(tmp_path / "in.mkv", frames=len(TIMES), size=(96, 64), **how)
    encode_video(source, tmp_path / "c.mkv", keep=4, **QUICK)
    whole, target = tmp_path / f"whole.{name}", tmp_path / f"out.{name}"
    uninterrupted = decode(tmp_path / "c.mkv", whole, codec=codec)
    for after in (100, 115):
        error = interrupt_decoding(after, tmp_path / "c.mkv", target, codec=codec)
        assert error.__notes__ == ["What was done is kept: run the same command again to continue."]
        assert journal_path(target).exists()
        assert not target.exists()
    summary = decode(tmp_path / "c.mkv", target, codec=codec)
    kept = summary.earlier
    assert counts(summary) == counts(uninterrupted)
    assert kept == 115 if codec == "ffv1" else 0 < kept < 115
    assert f"{kept} frames are those of an earlier run that was interrupted." in summary.notes
    frames, expected = read_frames(target), read_frames(whole)
    assert [frame.time for frame in frames] == [frame.time for frame in expected]
    assert frames[-1].duration == expected[-1].duration
    if codec == "ffv1":
        assert all(frames_equal(a.video, b.video) for a, b in zip(frames, expected, strict=True))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["in.mkv", "c.mkv", whole.name, target.name])


def test_damage_before_the_interruption_is_still_reported(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mkv", frames=24)
    encode_video(source, tmp_path / "c.mkv", intra=1, **QUICK)
    with av.open(str(tmp_path / "c.mkv")) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        place = (tmp_path / "c.mkv").read_bytes().find(bytes(packets[3])[20:60])
    content = bytearray((tmp_path / "c.mkv").read_bytes())
    content[place : place + 60] = bytes(60)
    (tmp_path / "c.mkv").write_bytes(content)
    uninterrupted = decode(tmp_path / "c.mkv", tmp_path / "whole.mkv")
    assert uninterrupted.damage
    interrupt_decoding(18, tmp_path / "c.mkv", tmp_path / "out.mkv")
    with pytest.raises(DamagedInputError) as caught:
        decode_video(tmp_path / "c.mkv", tmp_path / "out.mkv", codec="ffv1", threads=1)
    assert caught.value.summary.earlier >= 18
    assert counts(caught.value.summary) == counts(uninterrupted)


def test_without_a_journal_decoding_starts_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = make_clip(tmp_path / "in.mkv", frames=12)
    encode_video(source, tmp_path / "c.mkv", **QUICK)
    interrupt_decoding(8, tmp_path / "c.mkv", tmp_path / "out.mkv", journal=False)
    assert not journal_path(tmp_path / "out.mkv").exists()
    interrupt_decoding(8, tmp_path / "c.mkv", tmp_path / "out.mkv")
    command = ["decode", str(tmp_path / "c.mkv"), str(tmp_path / "out.mkv"), "--codec", "ffv1", "--threads", "1"]
    assert run(command) == 0
    assert "8 frames are those of an earlier run" in capsys.readouterr().err
    (tmp_path / "out.mkv").unlink()
    interrupt_decoding(8, tmp_path / "c.mkv", tmp_path / "out.mkv")
    assert run([*command, "--no-journal"]) == 0
    assert "earlier run" not in capsys.readouterr().err
    # A complete output has no journal.
    assert not journal_path(tmp_path / "out.mkv").exists()

"""Conversions over a Ray cluster make the frames that one machine makes, whatever fails."""

import json
import os
import signal
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any
from unittest import mock

import av
import numpy as np
import pytest

import betwixt
from betwixt.cli.main import run
from betwixt.cluster import planning
from betwixt.errors import OutputError, UsageError
from betwixt.media import journal
from betwixt.media.encoded_video import EncodedPacket
from betwixt.media.frames import planes
from betwixt.media.journal import journal_path
from betwixt.media.writer import VideoWriter
from clips import frames_equal, interrupt_at, make_clip, make_interlaced_clip, read_frames, wait_until

pytestmark = pytest.mark.filterwarnings("ignore")

X264 = {"codec": "libx264", "options": {"g": "24", "bf": "2"}}


@pytest.fixture(scope="module")
def cluster(ray_cluster: Any) -> Iterator[betwixt.Cluster]:
    with betwixt.Cluster("auto") as connected:
        yield connected


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "PIECE_SECONDS", 0.3)
    monkeypatch.setattr("betwixt.cluster.production.SEGMENT_FRAMES", 16)


def packets(path: Path) -> list[tuple[Any, ...]]:
    """All packets of a file, in its order."""
    with av.open(str(path)) as container:
        return [(p.stream_index, p.pts, p.dts, p.duration, p.is_keyframe, bytes(p)) for p in container.demux()]


def times(path: Path) -> list[Any]:
    """When frames are shown, when their packets are decoded, and all packets of the other streams."""
    with av.open(str(path)) as container:
        found = [p for p in container.demux() if p.size]
        video = [p for p in found if p.stream.type == "video"]
        others = [(p.stream_index, p.pts, p.dts, p.duration, bytes(p)) for p in found if p.stream.type != "video"]
        return [sorted((p.pts, p.duration) for p in video), [p.dts for p in video], others]


def key_frames(path: Path) -> int:
    return sum(frame.video.key_frame for frame in read_frames(path))


def same_frames(alone: Path, spread: Path) -> bool:
    pairs = zip(read_frames(alone), read_frames(spread), strict=True)
    return all(a.time == b.time and frames_equal(a.video, b.video) for a, b in pairs)


def convert(source: Path, target: Path, **options: Any) -> betwixt.Summary:
    # In FFV1: x264 does not always give the same bits for the same frames.
    return betwixt.interpolate_video(source, target, **{"model": "dis", "threads": 1, "codec": "ffv1", **options})


def check(source: Path, cluster: betwixt.Cluster, suffix: str = ".mkv", **options: Any) -> betwixt.Summary:
    """Convert with and without a cluster, and compare."""
    alone, spread = (source.with_name(f"{name}{suffix}") for name in ("alone", "spread"))
    expected = convert(source, alone, **options)
    made = convert(source, spread, cluster=cluster, **options)
    assert packets(alone) == packets(spread)
    assert sum(node.frames for node in made.nodes) == made.synthesized
    same = ("frames_in", "untouched", "held", "synthesized", "cuts", "duplicates", "notes")
    assert [getattr(made, name) for name in same] == [getattr(expected, name) for name in same]
    return made


def test_the_command_line_reports_each_node(tmp_path, ray_cluster, capsys):
    # It comes before the tests that share a `Cluster`, whose workers hold all CPUs.
    source = make_clip(tmp_path / "in.mkv", frames=40)
    arguments = ["interpolate", source, tmp_path / "out.mkv", "--model", "dis", "--cluster", "auto", "--json"]
    assert run([str(argument) for argument in arguments]) == 0
    made = json.loads(capsys.readouterr().out)
    for node in made["nodes"]:
        assert set(node) == {"name", "frames", "pieces", "failures", "new_frames_per_second"}
        assert node["frames"] >= node["pieces"] > 0
        assert node["new_frames_per_second"] > 0
    assert sum(node["frames"] for node in made["nodes"]) == made["synthesized"] == 39


@pytest.mark.parametrize(
    ("clip", "options"),
    [
        ({"cuts": (25, 40), "audio": True, **X264}, {"fps": 60}),
        ({"repeat": 2}, {"duplicates": "fill", "factor": 3}),
        ({"cuts": (30,)}, {"slow": 4, "start": 0.5, "end": 2.2, "loop": True}),
        ({"rate": 24, **X264}, {"input_fps": 25, "fps": 50, "at_cuts": "hold", "paths": "straight"}),
        ({"times": [Fraction(k * k, 2000) + Fraction(k, 30) for k in range(70)]}, {"fps": 50}),
    ],
)
def test_the_output_is_that_of_one_machine(tmp_path, cluster, clip, options):
    made = check(make_clip(tmp_path / "in.mkv", frames=70, **clip), cluster, **options)
    assert len(made.nodes) == 2
    assert all(node.pieces for node in made.nodes)


def test_fields_and_images_are_spread_too(tmp_path, cluster):
    check(make_interlaced_clip(tmp_path / "in.ts", 30), cluster, interlaced="deinterlace")
    frames = tmp_path / "frames"
    convert(make_clip(tmp_path / "clip.mkv", frames=16), frames / "%04d.png", factor=1, codec=None)
    check(frames, cluster, suffix="-images.mkv", input_fps=12)


def test_source_frames_that_memory_cannot_keep_are_decoded_again(tmp_path, cluster, monkeypatch):
    monkeypatch.setattr("betwixt.cluster.production.HELD_BYTES", 50_000)  # five frames
    source = make_clip(tmp_path / "in.mkv", frames=60, cuts=(20,), **X264)
    check(source, cluster, duplicates="fill", end=2)


def test_blur_is_spread(tmp_path, cluster):
    source = make_clip(tmp_path / "in.mkv", frames=40, cuts=(20,), size=(64, 48))
    options = {"shutter": 500, "samples": 4, "threads": 1, "codec": "ffv1"}
    betwixt.blur_video(source, tmp_path / "alone.mkv", **options)
    made = betwixt.blur_video(source, tmp_path / "spread.mkv", cluster=cluster, **options)
    assert packets(tmp_path / "alone.mkv") == packets(tmp_path / "spread.mkv")
    assert "moments" in made.notes[-1]


SAME = ("frames_in", "frames_out", "untouched", "held", "synthesized", "cuts", "duplicates")


@pytest.mark.parametrize(
    ("clip", "options"),
    [
        ({"cuts": (25, 40), "audio": True, **X264}, {"fps": 60}),
        ({"repeat": 2}, {"duplicates": "fill", "factor": 3}),
        ({"cuts": (30,)}, {"slow": 4, "start": 0.5, "end": 2.2, "loop": True}),
        ({"times": [Fraction(1, 5) + Fraction(k * k, 2000) + Fraction(k, 30) for k in range(70)]}, {"fps": 50}),
    ],
)
def test_frames_that_nodes_encode_are_those_of_one_machine(tmp_path, cluster, clip, options):
    source = make_clip(tmp_path / "in.mkv", frames=70, **clip)
    alone, spread = tmp_path / "alone.mkv", tmp_path / "spread.mkv"
    expected = convert(source, alone, **options)
    made = convert(source, spread, cluster=cluster, encode="distributed", **options)
    assert same_frames(alone, spread)
    assert times(alone) == times(spread)
    assert [getattr(made, name) for name in SAME] == [getattr(expected, name) for name in SAME]
    assert sum(node.pieces for node in made.nodes) >= 4


@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", "h264"), (".mkv", "hevc"), (".ts", "h264")])
def test_packets_are_joined_with_the_times_of_one_encoder(tmp_path, cluster, suffix, codec):
    source = make_clip(tmp_path / "in.mkv", frames=60, cuts=(25,), audio=True, **X264)
    alone, spread = tmp_path / f"alone{suffix}", tmp_path / f"spread{suffix}"
    options = {"codec": codec, "quality": 5, "preset": "fast"}
    convert(source, alone, **options)
    convert(source, spread, cluster=cluster, encode="distributed", **options)
    assert times(alone) == times(spread)
    assert key_frames(spread) > key_frames(alone)
    pairs = zip(read_frames(alone), read_frames(spread), strict=True)
    assert all(np.abs(planes(a.video)[0].astype(int) - planes(b.video)[0]).mean() < 2 for a, b in pairs)


def test_blur_and_extrapolation_are_encoded_by_nodes(tmp_path, cluster):
    source = make_clip(tmp_path / "in.mkv", frames=40, cuts=(20,), size=(64, 48))
    for make, options in (
        (betwixt.blur_video, {"shutter": 300, "samples": 4}),
        (betwixt.extrapolate_video, {"frames": 11}),
    ):
        alone, spread = (tmp_path / f"{make.__name__}-{name}.mkv" for name in ("alone", "spread"))
        make(source, alone, threads=1, codec="ffv1", **options)
        make(source, spread, threads=1, codec="ffv1", cluster=cluster, encode="distributed", **options)
        assert same_frames(alone, spread)


@pytest.mark.parametrize("options", [{"frames": 20}, {"frames": 9, "only": True}, {"frames": 5, "duplicates": "fill"}])
def test_extrapolation_is_spread(tmp_path, cluster, options):
    times = [Fraction(k, 25) + Fraction(k % 3, 100) for k in range(40)]
    source = make_clip(tmp_path / "in.mkv", frames=40, times=times, size=(64, 48))
    alone, spread = tmp_path / "alone.mkv", tmp_path / "spread.mkv"
    expected = betwixt.extrapolate_video(source, alone, threads=1, codec="ffv1", **options)
    made = betwixt.extrapolate_video(source, spread, threads=1, codec="ffv1", cluster=cluster, **options)
    assert packets(alone) == packets(spread)
    assert sum(node.frames for node in made.nodes) == made.synthesized == expected.synthesized


@pytest.mark.parametrize("keep", [2, 8])
def test_decoding_is_spread(tmp_path, cluster, keep):
    source = make_clip(tmp_path / "in.mkv", frames=90, cuts=(30,), audio=True)
    coded = tmp_path / "coded.mkv"
    options = {"model": "dis", "threads": 1}
    betwixt.encode_video(source, coded, base="x264", preset="ultrafast", keep=keep, **options)
    alone, spread = tmp_path / "alone.mkv", tmp_path / "spread.mkv"
    expected = betwixt.decode_video(coded, alone, codec="ffv1", threads=1)
    made = betwixt.decode_video(coded, spread, codec="ffv1", threads=1, cluster=cluster)
    assert packets(alone) == packets(spread)
    assert sum(node.frames for node in made.nodes) == made.synthesized == expected.synthesized
    assert len(made.nodes) >= 2


def test_an_interrupted_conversion_that_nodes_encode_is_resumed(tmp_path, cluster, monkeypatch):
    monkeypatch.setattr(journal, "_KEEP_AFTER", 0.0)
    source = make_clip(tmp_path / "in.mkv", frames=60, cuts=(20,))
    convert(source, tmp_path / "alone.mkv", factor=3)
    write = VideoWriter.write_encoded
    for after in (41, 100):

        def stop(self: VideoWriter, packet: EncodedPacket, after: int = after) -> None:
            if packet.number >= after:
                wait_until(lambda: not _busy_workers())  # those at work would have to be started again
                raise KeyboardInterrupt
            write(self, packet)

        with mock.patch.object(VideoWriter, "write_encoded", stop), pytest.raises(KeyboardInterrupt):
            convert(source, tmp_path / "out.mkv", factor=3, cluster=cluster, encode="distributed")
    made = convert(source, tmp_path / "out.mkv", factor=3, cluster=cluster, encode="distributed")
    assert 0 < sum(node.frames for node in made.nodes) <= 60
    assert made.earlier >= 60
    assert same_frames(tmp_path / "alone.mkv", tmp_path / "out.mkv")


def test_a_file_that_nodes_do_not_see_is_sent_to_them(tmp_path, cluster, monkeypatch):
    if not Path("/proc/self/cwd").exists():
        pytest.skip("a path that each process sees differently needs /proc")
    make_clip(tmp_path / "in.mkv", frames=50, **X264)
    monkeypatch.chdir(tmp_path)
    alone, spread = tmp_path / "alone.mkv", tmp_path / "spread.mkv"
    convert(tmp_path / "in.mkv", alone)
    convert(Path("/proc/self/cwd/in.mkv"), spread, cluster=cluster)
    assert packets(alone) == packets(spread)


def test_an_interrupted_conversion_is_resumed_by_a_cluster(tmp_path, cluster, monkeypatch):
    monkeypatch.setattr(journal, "_KEEP_AFTER", 0.0)
    source = make_clip(tmp_path / "in.mkv", frames=60)
    convert(source, tmp_path / "alone.mkv")
    for after, options in ((40, {}), (70, {"cluster": cluster}), (100, {"cluster": cluster})):
        with pytest.raises(KeyboardInterrupt), interrupt_at(after):
            convert(source, tmp_path / "spread.mkv", **options)
    made = convert(source, tmp_path / "spread.mkv", cluster=cluster)
    assert made.earlier >= 40
    assert sum(node.frames for node in made.nodes) < 20
    assert same_frames(tmp_path / "alone.mkv", tmp_path / "spread.mkv")


def test_idle_workers_of_another_kind_make_room(tmp_path, cluster):
    source = make_clip(tmp_path / "in.mkv", frames=30)
    check(source, cluster)
    assert cluster._idle
    for node, number, threads, _ in list(cluster._idle):
        cluster._idle[node, number, threads, True] = cluster._idle.pop((node, number, threads, False))
    (tmp_path / "alone.mkv").unlink()
    (tmp_path / "spread.mkv").unlink()
    check(source, cluster)
    assert not any(gpu for *_, gpu in cluster._idle)


def _parent(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


def _busy_workers() -> list[int]:
    """The processes of workers of this test run that are making a piece."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            ours = _parent(_parent(int(folder.name))) == os.getpid()
            if ours and b"ray::Worker.make" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            pass
    return found


@pytest.mark.parametrize("encode", ["driver", "distributed"])
def test_a_killed_worker_costs_nothing_but_time(tmp_path, cluster, capsys, encode):
    if not Path("/proc/self").exists():
        pytest.skip("finding the workers needs /proc")
    source = make_clip(tmp_path / "in.mkv", frames=60, size=(160, 96), **X264)
    convert(source, tmp_path / "alone.mkv", factor=3)
    killed: list[int] = []

    def kill_one(p: betwixt.Progress) -> None:
        if p.frames_out > 20 and not killed and (busy := _busy_workers()):
            killed.append(busy[0])
            os.kill(killed[0], signal.SIGKILL)

    made = convert(source, tmp_path / "out.mkv", factor=3, cluster=cluster, encode=encode, progress=kill_one)
    assert killed
    assert same_frames(tmp_path / "alone.mkv", tmp_path / "out.mkv")
    assert sum(node.failures for node in made.nodes) >= 1
    assert not capsys.readouterr().out


def test_a_node_that_joins_is_used_and_may_go(tmp_path, cluster, ray_cluster, monkeypatch):
    monkeypatch.setattr("betwixt.cluster.scheduler._NODES_INTERVAL", 0.2)
    source = make_clip(tmp_path / "in.mkv", frames=60)
    convert(source, tmp_path / "alone.mkv", factor=3)
    late: list[Any] = []

    def join_and_go(p: betwixt.Progress) -> None:
        if not late:
            late.append(ray_cluster.add_node(num_cpus=1, object_store_memory=80 << 20))
        elif len(p.nodes) < 3:
            time.sleep(0.1)  # or the film is over before it is there
        elif p.nodes[2].pieces and len(late) == 1:
            late.append(ray_cluster.remove_node(late[0], allow_graceful=False))

    made = convert(source, tmp_path / "out.mkv", factor=3, cluster=cluster, progress=join_and_go)
    assert len(late) == 2
    assert same_frames(tmp_path / "alone.mkv", tmp_path / "out.mkv")
    assert made.nodes[2].pieces > 0


def test_a_piece_that_always_fails_ends_the_conversion_and_keeps_the_rest(tmp_path, cluster, monkeypatch):
    from betwixt.cluster import production

    monkeypatch.setattr(journal, "_KEEP_AFTER", 0.0)
    source = make_clip(tmp_path / "in.mkv", frames=80)
    digest = production.frame_digest
    seen: list[int] = []

    def wrong_in_the_middle(frame: av.VideoFrame) -> int:
        seen.append(0)
        return digest(frame) + (len(seen) == 50)

    with monkeypatch.context() as patch:
        patch.setattr(production, "frame_digest", wrong_in_the_middle)
        with pytest.raises(
            OutputError, match=r"of the output \(at \d\.\d s\) failed 3 times.* other samples .* is kept"
        ):
            convert(source, tmp_path / "out.mkv", cluster=cluster)
    assert journal_path(tmp_path / "out.mkv").exists()
    assert convert(source, tmp_path / "out.mkv", cluster=cluster).earlier > 8


def test_a_worker_that_hangs_is_given_up(tmp_path, cluster, monkeypatch):
    from betwixt.cluster import scheduler

    if not Path("/proc/self").exists():
        pytest.skip("finding the workers needs /proc")
    monkeypatch.setattr(scheduler, "LEAST_SECONDS", 1.5)
    source = make_clip(tmp_path / "in.mkv", frames=60, size=(160, 96))
    convert(source, tmp_path / "alone.mkv", factor=3)
    stopped: list[int] = []

    def stop_one(p: betwixt.Progress) -> None:
        if p.frames_out > 20 and not stopped and (busy := _busy_workers()):
            stopped.append(busy[0])
            os.kill(stopped[0], signal.SIGSTOP)

    made = convert(source, tmp_path / "spread.mkv", factor=3, cluster=cluster, progress=stop_one)
    assert packets(tmp_path / "alone.mkv") == packets(tmp_path / "spread.mkv")
    assert sum(node.failures for node in made.nodes) >= 1
    wait_until(lambda: not Path(f"/proc/{stopped[0]}").exists())


def test_what_cannot_be_spread_is_refused(tmp_path, cluster, monkeypatch):
    source = make_clip(tmp_path / "in.mkv")
    with pytest.raises(UsageError, match=r"cluster=betwixt\.Cluster"):
        convert(source, tmp_path / "out.mkv", cluster="auto")
    with pytest.raises(UsageError, match="needs the name of a model"):
        convert(source, tmp_path / "out.mkv", cluster=cluster, model=betwixt.load_model("dis"))
    distributed: dict[str, Any] = {"cluster": cluster, "encode": "distributed"}
    for name, options, reason in (
        ("out.mkv", {"codec": "h264", "bitrate": "1M"}, "pass `quality` instead of `bitrate`"),
        ("out.mkv", {"codec": "h264", "encoder_options": ["maxrate=1M"]}, "leave maxrate out of `encoder_options`"),
        ("out.mkv", {"codec": "h264", "encoder_options": {"x264-params": "bitrate=900"}}, "x264-params=bitrate"),
        ("out.webm", {"codec": "vp8"}, "which libvpx has not"),
        ("out.nut", {"codec": "rawvideo"}, "packets of rawvideo cannot be joined"),
        ("out.gif", {"codec": None}, "needs a video file"),
        ("out.y4m", {"codec": None}, "needs a video file"),
        ("out.mkv", {"cluster": None}, "is for `cluster`"),
    ):
        with pytest.raises(UsageError, match=reason):
            convert(source, tmp_path / name, **distributed | options)
    with open(source, "rb") as file, pytest.raises(UsageError, match="several times"):
        convert(file, tmp_path / "out.mkv", cluster=cluster)
    with monkeypatch.context() as patch:
        patch.setattr("betwixt.cluster.scheduler.versions", lambda: {"betwixt": "0.0.1"})
        with pytest.raises(UsageError, match=r"^Node .* has betwixt .*, this machine 0\.0\.1: install the same"):
            convert(source, tmp_path / "out.mkv", cluster=cluster)
    with monkeypatch.context() as patch:
        patch.setattr("betwixt.pipeline.frame_job.hash_weights", lambda *_: "0123")
        with pytest.raises(UsageError, match=r"^Node .* has other weights of the model\.$"):
            convert(source, tmp_path / "out.mkv", cluster=cluster)
    assert [path.name for path in tmp_path.iterdir()] == ["in.mkv"]

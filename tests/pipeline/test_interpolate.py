"""Interpolation of videos: times, source frames, the rest of the file, cuts, duplicates."""

import itertools
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.logging
import cv2
import numpy as np
import pytest

import betwixt
from betwixt.errors import InputError, OutputError, UsageError
from betwixt.media.interlacing import states_interlaced
from betwixt.media.reader import Reader
from betwixt.pipeline.inspect import inspect_video
from clips import copy_packets, copy_planes, frames_equal, make_clip, make_interlaced_clip, read_frames

NTSC = Fraction(24000, 1001)


@pytest.mark.parametrize(
    ("rate", "wish", "suffix"),
    [
        (NTSC, {"fps": 60}, "mkv"),
        (NTSC, {"factor": "2.5"}, "mkv"),
        (25, {"fps": "60000/1001"}, "mkv"),
        (30, {"fps": 144}, "mp4"),
        (25, {}, "mov"),
        (25, {"fps": 10}, "avi"),
        (NTSC, {"slow": 4}, "mkv"),
        (25, {"fps": 50}, "ts"),
    ],
)
def test_duration_is_kept_and_source_frames_on_output_times_are_untouched(tmp_path, rate, wish, suffix):
    source = make_clip(tmp_path / "in.mkv", rate=rate, frames=14)
    target = tmp_path / f"out.{suffix}"
    lossless = {"codec": "h264", "quality": "lossless"} if suffix in ("mp4", "mov", "ts") else {"codec": "ffv1"}
    summary = betwixt.interpolate_video(source, target, **wish, **lossless)
    before, after = read_frames(source), read_frames(target)
    slow = Fraction(wish.get("slow", 1))
    assert len(after) == summary.frames_out
    assert 0 <= summary.duration - slow * 14 / Fraction(rate) < 1 / summary.rate
    assert summary.frames_out == summary.untouched + summary.held + summary.synthesized
    # frame k stands at k / rate
    spacing = Fraction(1, 1000) if suffix == "mkv" else Fraction(1, 90000)
    for k, frame in enumerate(after):
        assert abs(frame.time - after[0].time - k / summary.rate) <= spacing
    shared = 0
    for n, frame in enumerate(before):
        k = n * slow / Fraction(rate) * summary.rate
        if k.denominator == 1 and k < len(after):
            assert frames_equal(frame.video, after[int(k)].video)
            shared += 1
    assert shared >= 1


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_fractional_rates_do_not_drift_from_the_sound(tmp_path, suffix):
    source = make_clip(tmp_path / "in.mp4", rate=NTSC, frames=48, codec="libx264", audio=True)
    target = tmp_path / f"out.{suffix}"
    betwixt.interpolate_video(source, target, fps=60, model="dis")
    starts = {}
    for path in (source, target):
        with av.open(str(path)) as container:
            times = {"video": [], "audio": []}
            for packet in container.demux():
                if packet.pts is not None and not packet.is_discard:
                    times[packet.stream.type].append(packet.pts * packet.time_base)
            starts[path] = min(times["audio"]) - min(times["video"]), len(times["audio"])
    assert abs(starts[source][0] - starts[target][0]) <= Fraction(1, 1000)
    assert starts[source][1] == starts[target][1]


def test_a_delay_between_streams_is_kept(tmp_path):
    source = make_clip(
        tmp_path / "in.mkv", rate=25, frames=25, start=Fraction(3, 2), audio=True, audio_start=Fraction(2)
    )
    target = tmp_path / "out.mkv"
    betwixt.interpolate_video(source, target)
    with av.open(str(target)) as container:
        first: dict[str, Fraction] = {}
        for packet in container.demux():
            if packet.pts is not None:
                first.setdefault(packet.stream.type, packet.pts * packet.time_base)
    assert first["video"] == 0
    assert abs(first["audio"] - Fraction(1, 2)) <= Fraction(1, 1000)


def test_variable_rates_keep_the_time_of_each_frame(tmp_path):
    steps = [40, 33, 50, 33, 120, 40, 33, 47, 80, 40, 33, 60]
    times = [Fraction(sum(steps[:n]), 1000) for n in range(len(steps))]
    source = make_clip(tmp_path / "in.mkv", frames=len(times), times=times, tick=Fraction(1, 1000))
    target = tmp_path / "out.mkv"
    summary = betwixt.interpolate_video(source, target, fps=1000, codec="ffv1", model="dis")
    after = read_frames(target)
    for frame in read_frames(source):
        assert frames_equal(frame.video, after[int(frame.time * 1000)].video)
    assert abs(summary.duration - Fraction(sum(steps), 1000)) <= Fraction(50, 1000)


@pytest.mark.parametrize(
    "pixel_format",
    ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p10le", "yuvj420p", "gray", "bgr0"],
)
@pytest.mark.parametrize("full", [False, True])
def test_source_frames_are_untouched_and_still_clips_do_not_flicker(tmp_path, pixel_format, full):
    codec = "mjpeg" if pixel_format == "yuvj420p" else "ffv1"
    source = make_clip(
        tmp_path / "in.mkv",
        frames=4,
        still=True,
        codec=codec,
        pixel_format=pixel_format,
        options={"qmin": "2", "qmax": "2"} if codec == "mjpeg" else None,
        colour=None if pixel_format in ("bgr0", "gray") else {"color_range": 2 if full else 1, "colorspace": 1},
    )
    target = tmp_path / "out.mkv"
    betwixt.interpolate_video(source, target, factor=3, codec="ffv1", scene_cuts="off")
    before, after = read_frames(source), read_frames(target)
    for k, frame in enumerate(after):
        for a, b in zip(copy_planes(before[k // 3].video), copy_planes(frame.video), strict=True):
            assert np.abs(a.astype(int) - b.astype(int)).max() <= (0 if k % 3 == 0 else 1)


class _RGBAverage(betwixt.Interpolator):
    """A model that makes RGB images: the average."""

    name = "average"

    def prepare(self, first, second):
        class Pair:
            def at(self, t):
                return (1 - t) * first + t * second

        return Pair()


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv420p10le", "yuv422p", "yuv444p"])
def test_still_clips_do_not_flicker_with_models_that_make_rgb_images(tmp_path, pixel_format):
    source = make_clip(tmp_path / "in.mkv", frames=3, still=True, pixel_format=pixel_format)
    target = tmp_path / "out.mkv"
    betwixt.interpolate_video(source, target, codec="ffv1", model=_RGBAverage())
    frames = [copy_planes(f.video) for f in read_frames(target)]
    for parts in frames[1:]:
        for a, b in zip(frames[0], parts, strict=True):
            assert np.abs(a.astype(int) - b.astype(int)).max() <= 1


def test_colour_description_aspect_ratio_and_rotation_are_kept(tmp_path):
    def rotate(out, stream):
        stream.set_display_rotation(90)
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)

    source = make_clip(
        tmp_path / "in.mp4",
        frames=4,
        codec="libx265",
        pixel_format="yuv420p10le",
        options={"x265-params": "log-level=0:chromaloc=2:master-display=G(13250,34500)B(7500,3000)R(34000,16000)"
                 "WP(15635,16450)L(10000000,50):max-cll=1000,400:hdr10=1"},
        colour={"color_primaries": 9, "color_trc": 16, "colorspace": 9, "color_range": 1},
        prepare=rotate,
    )  # fmt: skip
    target = tmp_path / "out.mp4"
    betwixt.interpolate_video(source, target)
    with Reader(source) as a, Reader(target) as b:
        for name in ("pixel_format", "colour", "hdr", "rotation", "aspect"):
            assert getattr(a.info, name) == getattr(b.info, name), name
        assert b.info.hdr.content_light == (1000, 400)
        assert b.info.rotation is not None
        assert b.info.colour.location == "topleft"


def _with_extras(path: Path) -> Path:
    """A Matroska file with two audio streams, a subtitle, chapters, an attachment and tags."""
    plain = make_clip(path.with_name("plain.mkv"), frames=50, audio=True)
    subtitles = path.with_name("subtitles.srt")
    subtitles.write_text("1\n00:00:00,200 --> 00:00:01,000\nHello\n\n2\n00:00:01,200 --> 00:00:01,900\nThere\n")
    with av.open(str(plain)) as a, av.open(str(subtitles)) as s, av.open(str(path), "w") as out:
        video = out.add_stream_from_template(a.streams.video[0], opaque=True)
        sounds = [out.add_stream_from_template(a.streams.audio[0]) for _ in range(2)]
        text = out.add_stream_from_template(s.streams.subtitles[0])
        out.add_attachment("font.ttf", "application/x-truetype-font", b"not really a font")
        sounds[0].metadata["language"], sounds[1].metadata["language"] = "eng", "deu"
        sounds[1].metadata["title"] = "Kommentar"
        text.metadata["language"] = "fra"
        sounds[0].disposition = av.stream.Disposition.default
        text.disposition = av.stream.Disposition.forced
        out.metadata["title"] = "A title"
        out.metadata["MY_TAG"] = "kept"
        base = Fraction(1, 1000)
        out.set_chapters(
            [
                {"id": 1, "start": 0, "end": 1000, "time_base": base, "metadata": {"title": "One"}},
                {"id": 2, "start": 1000, "end": 2000, "time_base": base, "metadata": {"title": "Two"}},
            ]
        )
        out.start_encoding()
        copy_packets(plain, 0, video, out)
        for sound in sounds:
            copy_packets(plain, 1, sound, out)
        copy_packets(subtitles, 0, text, out)
    return path


def _contents(path: Path) -> dict[str, list[bytes]]:
    with av.open(str(path)) as container:
        found: dict[str, list[bytes]] = {}
        for packet in container.demux([s for s in container.streams if s.type in ("audio", "subtitle")]):
            if packet.dts is not None:
                found.setdefault(f"{packet.stream.index}", []).append(bytes(packet))
        return found


def test_everything_else_in_the_file_is_copied(tmp_path):
    source = _with_extras(tmp_path / "in.mkv")
    target = tmp_path / "out.mkv"
    summary = betwixt.interpolate_video(source, target)
    assert summary.lost == ()
    assert _contents(source) == _contents(target)
    with av.open(str(source)) as a, av.open(str(target)) as b:
        assert [s.type for s in a.streams] == [s.type for s in b.streams]
        for x, y in zip(a.streams, b.streams, strict=True):
            assert x.metadata.get("language") == y.metadata.get("language")
            assert x.metadata.get("title") == y.metadata.get("title")
            assert x.disposition == y.disposition
        assert [(c["start"] * c["time_base"], c["metadata"]) for c in a.chapters()] == [
            (c["start"] * c["time_base"], c["metadata"]) for c in b.chapters()
        ]
        assert b.metadata["title"] == "A title"
        assert b.metadata["MY_TAG"] == "kept"
        assert b.streams.attachments[0].data == b"not really a font"


def test_what_the_container_cannot_hold_is_reported(tmp_path):
    source = _with_extras(tmp_path / "in.mkv")
    summary = betwixt.interpolate_video(source, tmp_path / "out.mp4")
    assert summary.lost == ("attachment font.ttf", "tag MY_TAG")
    assert "subtitle subrip (fra) is written as mov_text: mp4 does not take it as it is." in summary.notes
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert len(container.streams.audio) == 2
        assert len(container.chapters()) == 2


def test_lossless_sound_stays_lossless_in_containers_that_do_not_take_its_codec(tmp_path):
    source = make_clip(tmp_path / "in.mkv", frames=25, audio=True)
    summary = betwixt.interpolate_video(source, tmp_path / "out.mov", model="dis")
    assert any("encoded as alac" in note for note in summary.notes)
    sounds = []
    for path in (source, tmp_path / "out.mov"):
        with av.open(str(path)) as container:
            frames = [f.to_ndarray().astype(np.int64) for f in container.decode(audio=0)]
            kept = [x if x.shape[0] == 2 else x.reshape(-1, 2).T for x in frames]
            sounds.append(np.concatenate(kept, axis=1))
    length = min(x.shape[1] for x in sounds)
    assert length >= 44100 * 9 // 10
    a, b = (x[:, :length] for x in sounds)
    # One holds 16 bits as such, the other may hold them in 32.
    assert (a == b).all() or (a << 16 == b).all()


def test_nothing_is_blended_across_a_cut(tmp_path):
    source = make_clip(tmp_path / "in.mkv", frames=20, cuts=(10,), size=(160, 96))
    target = tmp_path / "out.mkv"
    summary = betwixt.interpolate_video(source, target, factor=4, codec="ffv1", at_cuts="hold")
    assert summary.cuts == 1
    before, after = read_frames(source), read_frames(target)
    # between frames 9 and 10: the nearer side, as it is
    assert frames_equal(after[37].video, before[9].video)
    assert frames_equal(after[38].video, before[10].video)
    assert frames_equal(after[39].video, before[10].video)
    assert not frames_equal(after[35].video, before[8].video)


def test_a_list_of_cuts_is_used(tmp_path):
    source = make_clip(tmp_path / "in.mkv", frames=10)
    cuts = tmp_path / "cuts.txt"
    cuts.write_text("# one cut\n5\n")
    options = {"scene_cuts": cuts, "at_cuts": "hold"}
    summary = betwixt.interpolate_video(source, tmp_path / "out.mkv", codec="ffv1", **options)
    before, after = read_frames(source), read_frames(tmp_path / "out.mkv")
    assert summary.cuts == 1
    assert frames_equal(after[9].video, before[5].video)
    assert not frames_equal(after[11].video, before[5].video)


def test_duplicates_are_filled_without_changing_the_duration(tmp_path):
    source = make_clip(tmp_path / "in.mkv", frames=24, repeat=2, size=(160, 96))
    plain = betwixt.interpolate_video(source, tmp_path / "keep.mkv", fps=25, codec="ffv1")
    filled = betwixt.interpolate_video(source, tmp_path / "fill.mkv", fps=25, codec="ffv1", duplicates="fill")
    assert plain.duplicates == 0
    assert filled.duplicates == 11  # the last has nothing after it to lead to
    assert filled.duration == plain.duration
    assert "12 of 24 frames repeat the one before, which looks like animation on twos" in "".join(plain.notes)
    assert "repeat" not in "".join(filled.notes)
    assert "looks like animation on twos" in "".join(inspect_video(source).notes)
    frames = [f.video for f in read_frames(tmp_path / "fill.mkv")]
    moved = [not frames_equal(a, b) for a, b in itertools.pairwise(frames)]
    assert all(moved[:-1])


def test_start_and_end_select_a_part(tmp_path):
    source = make_clip(tmp_path / "in.mp4", frames=50, rate=25, codec="libx264", audio=True)
    target = tmp_path / "out.mkv"
    summary = betwixt.interpolate_video(source, target, start="0.4", end="1.2", codec="ffv1")
    assert summary.frames_out == 40
    after, before = read_frames(target), read_frames(source)
    assert frames_equal(after[0].video, before[10].video)
    with av.open(str(target)) as container:
        last = max(p.pts * p.time_base for p in container.demux(audio=0) if p.pts is not None)
    assert Fraction(7, 10) < last < Fraction(8, 10) + Fraction(1, 20)


def test_a_start_between_two_frames_begins_with_the_second(tmp_path):
    source = make_clip(tmp_path / "in.mkv", frames=20, rate=25)
    summary = betwixt.interpolate_video(source, tmp_path / "out.mkv", start="0.1", fps=25, codec="ffv1")
    after, before = read_frames(tmp_path / "out.mkv"), read_frames(source)
    assert summary.untouched == len(after) == 17
    assert all(frames_equal(a.video, b.video) for a, b in zip(after, before[3:], strict=True))


def test_a_loop_leads_back_to_the_first_frame(tmp_path):
    source = make_clip(tmp_path / "in.mkv", frames=6)
    plain = betwixt.interpolate_video(source, tmp_path / "plain.mkv", codec="ffv1")
    looped = betwixt.interpolate_video(source, tmp_path / "loop.mkv", codec="ffv1", loop=True)
    assert looped.frames_out == plain.frames_out
    a, b = read_frames(tmp_path / "plain.mkv"), read_frames(tmp_path / "loop.mkv")
    assert frames_equal(a[-1].video, a[-2].video)
    assert not frames_equal(b[-1].video, b[-2].video)


def test_slow_motion_drops_or_stretches_the_sound(tmp_path):
    source = make_clip(tmp_path / "in.mp4", frames=50, codec="libx264", audio=True)
    dropped = betwixt.interpolate_video(source, tmp_path / "drop.mp4", slow=3, model="dis")
    assert any("sound" in note for note in dropped.notes)
    betwixt.interpolate_video(source, tmp_path / "stretch.mp4", slow=3, audio="stretch", model="dis")
    with av.open(str(tmp_path / "drop.mp4")) as container:
        assert not container.streams.audio
    with av.open(str(tmp_path / "stretch.mp4")) as container:
        sound = np.concatenate([f.to_ndarray()[0] for f in container.decode(audio=0)])
    assert abs(len(sound) / 44100 - 6) < 0.15
    middle = sound[44100 : 4 * 44100]
    pitch = np.argmax(np.abs(np.fft.rfft(middle))) * 44100 / len(middle)
    assert abs(pitch - 440) < 3


def test_interlaced_video_is_refused_or_made_into_fields(tmp_path):
    count = 12
    source = make_interlaced_clip(tmp_path / "in.mkv", count, matrix=1)
    with pytest.raises(InputError, match="interlaced"):
        betwixt.interpolate_video(source, tmp_path / "out.mkv")
    assert not (tmp_path / "out.mkv").exists()
    made = betwixt.interpolate_video(source, tmp_path / "out.mkv", interlaced="deinterlace", fps=50, codec="ffv1")
    assert (made.rate, made.synthesized) == (50, 0)
    assert abs(made.frames_out - 2 * count) <= 2
    with Reader(tmp_path / "out.mkv") as reader:
        assert reader.info.colour.matrix == 1


@pytest.mark.parametrize("interlaced", ["deinterlace", "ignore"])
@pytest.mark.parametrize("codec", ["h264", "hevc", "ffv1", "prores"])
def test_no_output_is_flagged_as_interlaced(tmp_path, interlaced, codec):
    source = make_interlaced_clip(tmp_path / "in.ts", 6, matrix=1)
    target = tmp_path / "out.mov" if codec == "prores" else tmp_path / "out.mkv"
    betwixt.interpolate_video(source, target, interlaced=interlaced, fps=100, codec=codec, model="dis")
    with av.open(str(source)) as given, av.open(str(target)) as made:
        assert all(frame.interlaced_frame for frame in given.decode(video=0))
        assert not states_interlaced(made.streams.video[0])
        assert not any(frame.interlaced_frame for frame in made.decode(video=0))
    if codec == "h264":
        assert b" interlaced=0 " in target.read_bytes()  # in the settings that x264 writes into the stream
    with Reader(target) as reader:
        assert reader.info.colour.matrix == 1


def test_the_source_is_never_touched_and_never_overwritten(tmp_path):
    source = make_clip(tmp_path / "in.mkv", frames=4)
    content = source.read_bytes()
    with pytest.raises(OutputError, match="input itself"):
        betwixt.interpolate_video(source, source, overwrite=True)
    target = tmp_path / "out.mkv"
    target.write_bytes(b"precious")
    with pytest.raises(OutputError, match="overwrite"):
        betwixt.interpolate_video(source, target)
    assert target.read_bytes() == b"precious"
    betwixt.interpolate_video(source, target, overwrite=True)
    assert len(read_frames(target)) == 8
    assert source.read_bytes() == content


def test_a_failure_in_the_middle_leaves_nothing(tmp_path):
    class Failing(_RGBAverage):
        def prepare(self, first, second):
            raise UsageError("No more.")

    source = make_clip(tmp_path / "in.mkv", frames=30)
    with pytest.raises(UsageError, match="No more"):
        betwixt.interpolate_video(source, tmp_path / "out.mkv", model=Failing())
    assert [p.name for p in tmp_path.iterdir()] == ["in.mkv"]


def test_threads_do_not_change_the_result(tmp_path):
    source = make_clip(tmp_path / "in.mkv", frames=8, size=(160, 96))
    for n in (1, 4):
        betwixt.interpolate_video(source, tmp_path / f"{n}.mkv", codec="ffv1", threads=n, factor=3)
    for a, b in zip(read_frames(tmp_path / "1.mkv"), read_frames(tmp_path / "4.mkv"), strict=True):
        assert frames_equal(a.video, b.video)


@pytest.mark.parametrize("size", [(853, 479), (16, 16), (17, 33), (1280, 2)])
def test_odd_and_tiny_sizes(tmp_path, size):
    source = make_clip(tmp_path / "in.mkv", frames=3, size=size)
    summary = betwixt.interpolate_video(source, tmp_path / "out.mp4", codec="h264")
    assert summary.frames_out == 6
    frame = read_frames(tmp_path / "out.mp4")[0].video
    assert (frame.width, frame.height) == size


def test_one_frame_makes_one_interval(tmp_path):
    source = make_clip(tmp_path / "in.mkv", frames=1)
    summary = betwixt.interpolate_video(source, tmp_path / "out.mkv", codec="ffv1")
    assert (summary.frames_in, summary.synthesized, summary.frames_out) == (1, 0, 2)


def test_the_plan_matches_the_conversion(tmp_path):
    source = make_clip(tmp_path / "in.mkv", frames=24, rate=24)
    plan = betwixt.plan_video(source, tmp_path / "out.mp4", fps=60)
    assert (plan.frames_out, plan.rates.output, plan.encoder) == (60, 60, "libx264")
    assert not (tmp_path / "out.mp4").exists()
    summary = betwixt.interpolate_video(source, tmp_path / "out.mp4", fps=60)
    assert summary.frames_out == plan.frames_out


def test_a_note_names_the_exact_multiple_of_the_rate(tmp_path):
    source = make_clip(tmp_path / "in.mkv", frames=4, rate=Fraction(30000, 1001))
    notes = betwixt.plan_video(source, tmp_path / "out.mkv", fps=60, model="dis").notes
    assert notes == (
        "At 60 frames per second, 1 of 500 source frames is kept untouched. "
        '`fps="60000/1001"` keeps all of them and makes 1 new frame for each.',
    )
    for options in ({"fps": "59.94"}, {"fps": 50}, {"factor": 2}, {"fps": 60, "slow": 2}):
        plan = betwixt.plan_video(source, tmp_path / "out.mkv", model="dis", **options)
        assert not any("untouched" in note for note in plan.notes)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".y4m"])
def test_any_rate_can_be_written(tmp_path, suffix):
    source = make_clip(tmp_path / "in.mkv", frames=4)
    target = tmp_path / f"out{suffix}"
    assert betwixt.interpolate_video(source, target, fps="33.3333333333", model="dis").rate == Fraction(100, 3)
    with Reader(target) as reader:
        assert reader.info.rate == Fraction(100, 3)
    summary = betwixt.interpolate_video(source, target, factor="2.123456789123", model="dis", overwrite=True)
    assert abs(summary.rate - Fraction("53.086419728")) < Fraction(1, 10**6)


def test_an_encoder_that_refuses_says_why(tmp_path):
    source = make_clip(tmp_path / "in.mkv", frames=4)
    with pytest.raises(OutputError, match=r"invalid argument \(.*65535\)\.$") as error:
        betwixt.interpolate_video(source, tmp_path / "out.avi", fps="70001/1000", codec="mpeg4", model="dis")
    assert "\n" not in str(error.value)
    assert [p.name for p in tmp_path.iterdir()] == ["in.mkv"]
    assert av.logging.get_level() is None


def test_the_mean_of_a_variable_rate_becomes_a_usual_rate_with_a_note(tmp_path):
    steps = [33, 34, 20, 46, 33, 33, 34, 33]
    times = [Fraction(sum(steps[:n]), 1000) for n in range(len(steps))]
    options = {"frames": len(times), "times": times, "tick": Fraction(1, 1000)}
    source = make_clip(tmp_path / "in.mp4", rate=30, codec="libx264", **options)
    plan = betwixt.plan_video(source, tmp_path / "out.mkv", model="dis")
    assert plan.source.variable
    assert plan.rates.output == 60
    assert any("varies" in note and "a constant 60" in note for note in plan.notes)
    assert not betwixt.plan_video(source, tmp_path / "out.mkv", model="dis", fps=50).notes


def _accelerated_noise(folder: Path, times: list[float], seed: int = 0) -> Path:
    """A folder of images: noise that accelerates, at 4 t + 2 t^2 pixels at time t."""
    noise = np.random.default_rng(seed)
    world = cv2.GaussianBlur(noise.uniform(0, 255, (96, 400, 3)).astype(np.float32), (0, 0), 3.5)
    world = np.clip((world - 127) * 7 + 127, 0, 255)
    folder.mkdir(exist_ok=True)
    begin = len(list(folder.iterdir()))
    for number, t in enumerate(times):
        matrix = np.array([[1, 0, 60 + 4 * t + 2 * t * t], [0, 1, 0]], np.float64)
        picture = cv2.warpAffine(world, matrix, (128, 96), flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP)
        cv2.imwrite(str(folder / f"{begin + number:03d}.png"), np.rint(np.clip(picture, 0, 255)).astype(np.uint8))
    return folder


def _convert(source: Path, target: Path, **options: Any) -> list[Any]:
    betwixt.interpolate_video(source, target / "%03d.png", **options)
    return [cv2.imread(str(path)).astype(int) for path in sorted(target.iterdir())]


def _error(made: Any, truth: Any) -> float:
    return float(np.abs(made - truth)[:, 25:-25].mean())


@pytest.mark.parametrize("threads", [1, 3])
def test_curved_paths_follow_accelerated_motion(tmp_path, threads):
    source = _accelerated_noise(tmp_path / "in", [-1, 0, 1, 2, 3])
    truth = _accelerated_noise(tmp_path / "truth", [n / 2 for n in range(-2, 7)])
    wanted = [cv2.imread(str(path)).astype(int) for path in sorted(truth.iterdir())]
    (tmp_path / "curved").mkdir()
    (tmp_path / "straight").mkdir()
    curved = _convert(source, tmp_path / "curved", threads=threads)
    straight = _convert(source, tmp_path / "straight", threads=threads, paths="straight")
    off = [[_error(made[k], wanted[k]) for made in (curved, straight)] for k in (1, 3, 5, 7)]
    # where both neighbours are known, and at the ends, where one is
    assert all(bent < 0.5 * plain for bent, plain in off[1:3])
    assert all(bent < 0.8 * plain for bent, plain in (off[0], off[3]))
    with pytest.raises(UsageError, match="paths"):
        betwixt.interpolate_video(source, tmp_path / "x" / "%03d.png", paths="round")


def test_frames_beyond_a_cut_do_not_affect_curved_paths(tmp_path):
    both = _accelerated_noise(_accelerated_noise(tmp_path / "both", [-1, 0, 1, 2]), [2, 1, 0, -1], seed=1)
    alone = _accelerated_noise(tmp_path / "alone", [2, 1, 0, -1], seed=1)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    (tmp_path / "cuts.txt").write_text("4\n")
    together = _convert(both, tmp_path / "a", scene_cuts=tmp_path / "cuts.txt")
    apart = _convert(alone, tmp_path / "b", scene_cuts="off")
    assert len(together) == 16
    for k in range(8):
        assert (together[8 + k] == apart[k]).all()


def test_paths_are_straight_beside_intervals_without_new_frames(tmp_path):
    # 25 to 10: one new frame between frames 2 and 3, one between 7 and 8; the intervals beside are never prepared
    source = _accelerated_noise(tmp_path / "in", [n / 4 for n in range(10)])
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    curved = _convert(source, tmp_path / "a", fps=10)
    straight = _convert(source, tmp_path / "b", fps=10, paths="straight")
    assert len(curved) == len(straight) == 4
    assert all((x == y).all() for x, y in zip(curved, straight, strict=True))

"""bit-free on real files: times, sent frames, other streams, cuts, the floor, damage."""

import random
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from av.stream import Disposition

from betwixt.codec.base_codec import BASE_CODECS
from betwixt.codec.decode import decode_video, read_restore_data
from betwixt.codec.distortion import mean_squared_error, psnr_from_mse
from betwixt.codec.encode import encode_video
from betwixt.codec.restore_data import ATTACHMENT, FORMAT
from betwixt.errors import BetwixtError, DamagedInputError, InputError, OutputError, UsageError
from betwixt.media.attachments import add_attachment, read_attachment
from betwixt.media.reader import Reader
from betwixt.models.dis.interpolator import DIS
from clips import frames_equal, make_clip, read_frames

NTSC = Fraction(24000, 1001)
QUICK = {"base": "x264", "preset": "ultrafast", "model": "dis", "quality": 20, "threads": 1}


def read_data(path):
    with Reader(path, interlaced="ignore") as reader:
        return read_restore_data(reader)[0]


def restore(path, target=None, **options):
    target = target or path.with_name("restored.mkv")
    summary = decode_video(path, target, codec="ffv1", overwrite=True, threads=1, **options)
    return summary, read_frames(target)


@pytest.mark.parametrize(("rate", "frames", "keep"), [(NTSC, 14, 2), (25, 9, 4), (Fraction(60), 12, 8), (30, 2, 2)])
def test_every_frame_is_restored_at_its_time(tmp_path, rate, frames, keep):
    source = make_clip(tmp_path / "in.mkv", rate=rate, frames=frames)
    done = encode_video(source, tmp_path / "c.mkv", keep=keep, **QUICK)
    assert done.sent + done.synthesized == done.frames == frames
    assert done.size == (tmp_path / "c.mkv").stat().st_size
    summary, after = restore(tmp_path / "c.mkv")
    before = read_frames(source)
    assert [f.time for f in after] == [f.time for f in before]
    assert summary.frames == frames
    assert summary.duration == frames / Fraction(rate)
    # Sent frames are the base decoder's, sample by sample;
    record = read_data(tmp_path / "c.mkv")
    sent = [k for k, is_sent in enumerate(record.sent) if is_sent]
    coded = read_frames(tmp_path / "c.mkv")
    assert len(coded) == len(sent) == done.sent
    assert all(frames_equal(after[k].video, frame.video) for k, frame in zip(sent, coded, strict=True))
    # synthesized frames are near the true ones, which move evenly.
    synthesized = [k for k, is_sent in enumerate(record.sent) if not is_sent]
    if keep == 2:
        assert all(psnr_from_mse(mean_squared_error(after[k].video, before[k].video)) > 28 for k in synthesized)


@pytest.mark.parametrize("cuts", [(), (7,)])
@pytest.mark.parametrize("threads", [1, 3])
def test_curved_paths_use_sent_neighbours_and_measured_psnr_is_the_decoders(tmp_path, monkeypatch, cuts, threads):
    positions = [k * k / 5 for k in range(13)]
    source = make_clip(tmp_path / "in.mkv", frames=13, positions=positions, cuts=cuts, size=(128, 96))
    (tmp_path / "cuts.txt").write_text("".join(f"{cut}\n" for cut in cuts) or "100\n")
    options = QUICK | {"quality": 4, "measure": True, "scene_cuts": tmp_path / "cuts.txt", "threads": threads}
    curved = encode_video(source, tmp_path / "c.mkv", **options)
    _, after = restore(tmp_path / "c.mkv")
    record, before = read_data(tmp_path / "c.mkv"), read_frames(source)
    assert record.paths == "curved"
    synthesized = [k for k, is_sent in enumerate(record.sent) if not is_sent]
    found = [psnr_from_mse(mean_squared_error(after[k].video, before[k].video)) for k in synthesized]
    assert sum(found) / len(found) == pytest.approx(curved.psnr, abs=1e-6)
    monkeypatch.setattr(DIS, "uses_neighbours", False)
    straight = encode_video(source, tmp_path / "s.mkv", **options)
    assert read_data(tmp_path / "s.mkv").paths == "straight"
    assert curved.psnr > straight.psnr + 1


def test_players_show_half_the_frame_rate(tmp_path):
    source = make_clip(tmp_path / "in.mkv", rate=24, frames=25)
    encode_video(source, tmp_path / "c.mkv", **QUICK)
    with av.open(str(tmp_path / "c.mkv")) as container:
        video = container.streams.video[0]
        assert video.average_rate == 12
        assert [f.time for f in container.decode(video)] == pytest.approx([k / 12 for k in range(13)], abs=1e-3)
        assert "BETWIXT" in container.metadata


def test_variable_frame_rates_keep_all_times(tmp_path):
    steps = [40, 33, 50, 33, 120, 40, 33, 47, 80, 40, 33, 60]
    times = [Fraction(sum(steps[:n]), 1000) for n in range(len(steps))]
    source = make_clip(tmp_path / "in.mkv", frames=len(times), times=times, tick=Fraction(1, 1000))
    encode_video(source, tmp_path / "c.mkv", keep=4, **QUICK)
    _, after = restore(tmp_path / "c.mkv")
    assert [f.time for f in after] == times
    assert read_data(tmp_path / "c.mkv").variable


def test_audio_and_offsets_between_streams_are_kept(tmp_path):
    source = make_clip(
        tmp_path / "in.mkv", rate=25, frames=25, start=Fraction(3, 2), audio=True, audio_start=Fraction(2)
    )
    encode_video(source, tmp_path / "c.mkv", floor=60, **QUICK)
    restore(tmp_path / "c.mkv")
    packets = {}
    for name in ("in", "c", "restored"):
        with av.open(str(tmp_path / f"{name}.mkv")) as container:
            found = [(p.stream.type, p.pts * p.time_base, bytes(p)) for p in container.demux() if p.pts is not None]
            sound = [(t, data) for kind, t, data in found if kind == "audio"]
            first = min(t for kind, t, _ in found if kind == "video")
            packets[name] = [(t - first, data) for t, data in sound]
            if name == "restored":
                assert not [s for s in container.streams if s.type == "attachment"]
                assert "BETWIXT" not in container.metadata
    assert [d for _, d in packets["in"]] == [d for _, d in packets["c"]] == [d for _, d in packets["restored"]]
    for name in ("c", "restored"):
        assert all(abs(a - b) <= Fraction(1, 500) for (a, _), (b, _) in zip(packets["in"], packets[name], strict=True))


def test_ten_bits_and_hdr_metadata_are_kept(tmp_path):
    colour = {"color_primaries": 9, "color_trc": 16, "colorspace": 9, "color_range": 1}
    params = "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1):max-cll=1000,400"
    source = make_clip(
        tmp_path / "in.mkv",
        frames=6,
        codec="libx265",
        pixel_format="yuv420p10le",
        colour=colour,
        options={"preset": "ultrafast", "x265-params": f"log-level=0:hdr10=1:repeat-headers=1:{params}"},
    )
    encode_video(source, tmp_path / "c.mkv", **(QUICK | {"base": "x265"}))
    decode_video(tmp_path / "c.mkv", tmp_path / "restored.mkv", codec="hevc", threads=1)
    with Reader(source) as reader:
        wanted = reader.info
    for name in ("c", "restored"):
        with Reader(tmp_path / f"{name}.mkv") as reader:
            assert reader.info.pixel_format == "yuv420p10le"
            assert reader.info.colour == wanted.colour
            assert reader.info.hdr == wanted.hdr
            assert reader.info.hdr is not None


def test_rotation_chapters_and_attachments_are_kept(tmp_path):
    cover = cv2.imencode(".png", np.zeros((16, 16, 3), np.uint8))[1].tobytes()

    def prepare(out, stream):
        out.metadata["title"] = "a title"
        out.add_attachment("note.txt", "text/plain", b"kept")
        out.add_attachment("cover.png", "image/png", cover)
        out.set_chapters(
            [{"id": 1, "start": 0, "end": 400, "time_base": Fraction(1, 1000), "metadata": {"title": "I"}}]
        )
        stream.set_display_matrix((0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30))

    source = make_clip(tmp_path / "in.mkv", frames=10, prepare=prepare)
    encode_video(source, tmp_path / "c.mkv", **QUICK)
    restore(tmp_path / "c.mkv")
    for name in ("c", "restored"):
        with Reader(tmp_path / f"{name}.mkv") as reader:
            assert reader.info.rotation is not None
            assert read_attachment(reader.container, "note.txt") == b"kept"
            (picture,) = [s for s in reader.container.streams.video if s.disposition & Disposition.attached_pic]
            assert [bytes(p) for p in reader.first_packets[picture.index]] == [cover]
            assert reader.info.metadata["title"] == "a title"
            assert [c["end"] for c in reader.container.chapters()] != []


@pytest.mark.parametrize("keep", [2, 4])
def test_no_frame_is_synthesized_across_a_cut(tmp_path, keep):
    source = make_clip(tmp_path / "in.mkv", frames=24, cuts=(9, 14))
    (tmp_path / "cuts.txt").write_text("9\n14\n")
    encode_video(source, tmp_path / "c.mkv", keep=keep, scene_cuts=tmp_path / "cuts.txt", **QUICK)
    record = read_data(tmp_path / "c.mkv")
    assert record.shots == (0, 9, 14)
    assert all(record.sent[k] for k in (0, 8, 9, 13, 14, 23))
    _, after = restore(tmp_path / "c.mkv")
    for k, frame in enumerate(read_frames(source)):
        assert psnr_from_mse(mean_squared_error(after[k].video, frame.video)) > 26


def test_cuts_are_detected(tmp_path):
    source = make_clip(tmp_path / "in.mkv", frames=24, cuts=(11,))
    encode_video(source, tmp_path / "c.mkv", **QUICK)
    assert read_data(tmp_path / "c.mkv").shots == (0, 11)


@pytest.mark.parametrize("base", list(BASE_CODECS))
@pytest.mark.parametrize("keep", [2, 4])
def test_decoded_b_frames_reach_the_floor(tmp_path, base, keep):
    source = make_clip(tmp_path / "in.mkv", frames=13, size=(128, 96))
    preset = {"x264": "ultrafast", "x265": "ultrafast", "svtav1": "12"}[base]
    quality = 40 if base == "svtav1" else 24
    options = QUICK | {"base": base, "preset": preset, "quality": quality, "keep": keep}
    free = encode_video(source, tmp_path / "free.mkv", measure=True, **options)
    assert free.worst < free.psnr
    floor = (free.worst + free.psnr) / 2
    done = encode_video(source, tmp_path / "c.mkv", floor=floor, **options)
    assert 0 < done.below < 13
    assert done.worst is None or done.worst >= floor
    record = read_data(tmp_path / "c.mkv")
    _, after = restore(tmp_path / "c.mkv")
    for k, frame in enumerate(read_frames(source)):
        if not record.sent[k]:
            assert psnr_from_mse(mean_squared_error(after[k].video, frame.video)) >= floor - 1e-6


def test_a_negative_floor_is_relative_to_the_sent_frames(tmp_path):
    source = make_clip(tmp_path / "in.mkv", frames=9)
    assert encode_video(source, tmp_path / "a.mkv", floor=-50, **QUICK).below == 0
    assert encode_video(source, tmp_path / "b.mkv", floor=-0.0001, **QUICK).sent >= 5


@pytest.mark.parametrize("order", ["ip", "p", "own"])
def test_frame_types_follow_the_order(tmp_path, order):
    source = make_clip(tmp_path / "in.mkv", frames=17, size=(128, 96))
    encode_video(source, tmp_path / "c.mkv", mode="base", order=order, intra=8, **(QUICK | {"preset": "medium"}))
    with av.open(str(tmp_path / "c.mkv")) as container:
        types = "".join("?IPB"[int(f.pict_type)] for f in container.decode(video=0))
    if order == "ip":
        assert types == "IBPBPBPPIBPBPBPPI"  # a B frame cannot refer past an I frame, where a player may begin
    elif order == "p":
        assert types == "IPPPPPPPIPPPPPPPI"
    else:
        assert types[0] == types[8] == "I"


def test_a_folder_of_images_is_encoded(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for k, frame in enumerate(read_frames(make_clip(tmp_path / "in.mkv", frames=5))):
        frame.video.to_image().save(folder / f"{k:03d}.png")
    done = encode_video(folder, tmp_path / "c.mkv", input_fps=10, **QUICK)
    assert (done.frames, done.sent) == (5, 3)
    summary, after = restore(tmp_path / "c.mkv")
    assert summary.rate == 10
    assert len(after) == 5


# -- bad input


def test_a_single_frame_is_refused(tmp_path):
    source = make_clip(tmp_path / "in.mkv", frames=1)
    with pytest.raises(InputError, match="single frame"):
        encode_video(source, tmp_path / "c.mkv", **QUICK)
    assert [p.name for p in tmp_path.iterdir()] == ["in.mkv"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mode": "free"}, "`mode` is 'free'"),
        ({"keep": 3}, "`keep` is 3"),
        ({"base": "x266"}, "no base codec 'x266'"),
        ({"preset": "hasty"}, "no preset 'hasty'"),
        ({"quality": 99}, "does not fit libx264"),
        ({"order": "pi"}, "`order` is 'pi'"),
        ({"intra": 0}, "at least 1|1 or more"),
        ({"floor": float("nan")}, "out of range"),
        ({"floor": 30, "mode": "base"}, "`floor` is for"),
        ({"step": 4}, "`step` is for"),
        ({"codec_weights": "x"}, "`codec_weights` is for"),
        ({"model": "nonesuch"}, "no model 'nonesuch'"),
        ({"input_fps": 25}, "`input_fps` is for"),
        ({"threads": -1}, "threads"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(tmp_path, change, message):
    source = make_clip(tmp_path / "in.mkv", frames=4)
    with pytest.raises(UsageError, match=message) as caught:
        encode_video(source, tmp_path / "c.mkv", **(QUICK | change))
    assert "\n" not in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["in.mkv"]


def test_the_output_must_be_a_matroska_and_not_the_input(tmp_path):
    source = make_clip(tmp_path / "in.mkv", frames=4)
    with pytest.raises(UsageError, match=r"no \.mkv"):
        encode_video(source, tmp_path / "c.mp4", **QUICK)
    with pytest.raises(OutputError, match="input itself"):
        encode_video(source, source, **(QUICK | {"overwrite": True}))


def test_a_missing_base_encoder_is_reported_with_alternatives(tmp_path, monkeypatch):
    source = make_clip(tmp_path / "in.mkv", frames=4)
    monkeypatch.setattr(av, "codecs_available", {"libx264"})
    whole = av.Codec

    def codec(name, mode="r"):
        if name == "libx265":
            raise av.error.DecoderNotFoundError(0, "no such encoder")
        return whole(name, mode)

    monkeypatch.setattr(av, "Codec", codec)
    with pytest.raises(UsageError, match="has no libx265, which `base=x265` needs: pass `base=x264`"):
        encode_video(source, tmp_path / "c.mkv", base="x265", model="dis")


def test_a_damaged_source_is_refused(tmp_path):
    whole = make_clip(tmp_path / "whole.mkv", frames=60, codec="libx264").read_bytes()
    source = tmp_path / "in.mkv"
    source.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="is damaged"):
        encode_video(source, tmp_path / "c.mkv", **QUICK)


def test_files_without_restore_data_are_refused(tmp_path):
    source = make_clip(tmp_path / "in.mkv", frames=4)
    with pytest.raises(InputError, match="was not made by betwixt encode"):
        decode_video(source, tmp_path / "out.mkv")
    add_attachment(source, tmp_path / "lost.mkv", "other.bin", b"x", {"BETWIXT": "bit-free"})
    with pytest.raises(InputError, match="has lost its restore data"):
        decode_video(tmp_path / "lost.mkv", tmp_path / "out.mkv")


def test_another_format_version_is_refused(tmp_path):
    source = make_clip(tmp_path / "in.mkv", frames=4)
    add_attachment(source, tmp_path / "later.mkv", ATTACHMENT, b"BTWX\x01" + bytes(8))
    with pytest.raises(InputError, match=f"version 1, and this Betwixt reads version {FORMAT}"):
        decode_video(tmp_path / "later.mkv", tmp_path / "out.mkv")
    assert not (tmp_path / "out.mkv").exists()


def test_decoding_with_another_model_adds_a_note(tmp_path):
    source = make_clip(tmp_path / "in.mkv", frames=5)
    encode_video(source, tmp_path / "c.mkv", **QUICK)
    summary, _ = restore(tmp_path / "c.mkv", model="average")
    assert "encoded with the model dis" in summary.notes[0]


def test_a_lost_frame_is_concealed_and_reported(tmp_path):
    source = make_clip(tmp_path / "in.mkv", frames=9)
    encode_video(source, tmp_path / "c.mkv", **(QUICK | {"intra": 1}))
    lost = tmp_path / "lost.mkv"
    with av.open(str(tmp_path / "c.mkv")) as given, av.open(str(lost), "w") as out:
        copies = {s.index: out.add_stream_from_template(s, opaque=True) for s in given.streams}
        for copy, stream in ((copies[s.index], s) for s in given.streams):
            copy.metadata.update(stream.metadata)
        for number, packet in enumerate(given.demux(given.streams.video[0])):
            if packet.size and number != 2:
                packet.stream = copies[packet.stream.index]
                out.mux(packet)
    with pytest.raises(DamagedInputError, match=r"1 of its frames arrived damaged, the first at 0\.16 s") as caught:
        restore(lost)
    assert caught.value.summary.concealed == 1
    after, before = read_frames(tmp_path / "restored.mkv"), read_frames(source)
    assert [f.time for f in after] == [f.time for f in before]
    assert psnr_from_mse(mean_squared_error(after[4].video, before[4].video)) > 20


def outcome(damaged, target):
    """The outcome of decoding a damaged file: "intact", a "report" with all frames, or an "error" without any."""
    failure = None
    try:
        restore(damaged, target)
    except BetwixtError as error:
        failure = error
    if failure is not None:
        assert "\n" not in str(failure)
    if failure is None or isinstance(failure, DamagedInputError):
        assert len(read_frames(target)) == 12
        return "intact" if failure is None else "report"
    assert not target.exists()
    return "error"


def test_flipped_bytes_give_errors_or_reports_but_never_crash(tmp_path):
    source = make_clip(tmp_path / "in.mkv", frames=12, codec="libx264", audio=True)
    encode_video(source, tmp_path / "c.mkv", **QUICK)
    whole = (tmp_path / "c.mkv").read_bytes()
    at = whole.index(b"BTWX")
    video = whole.index(b"\x1f\x43\xb6\x75")  # the first cluster
    rng = random.Random(0)
    places = {
        "header": [rng.randrange(0, at) for _ in range(15)],
        "restore data": [rng.randrange(at, at + 200) for _ in range(10)],
        "packets": [rng.randrange(video, len(whole)) for _ in range(15)],
    }
    outcomes = {}
    for kind, positions in places.items():
        for place in positions:
            flipped = bytearray(whole)
            flipped[place] ^= rng.randrange(1, 256)
            damaged = tmp_path / "damaged.mkv"
            damaged.write_bytes(flipped)
            target = tmp_path / "restored.mkv"
            target.unlink(missing_ok=True)
            outcomes.setdefault(kind, set()).add(outcome(damaged, target))
    assert outcomes["restore data"] == {"error"}
    assert "report" in outcomes["packets"]
    assert not list(tmp_path.glob(".*"))


def test_odd_sizes_and_444_are_restored(tmp_path):
    source = make_clip(tmp_path / "in.mkv", frames=5, size=(97, 63), pixel_format="yuv444p")
    encode_video(source, tmp_path / "c.mkv", **QUICK)
    _, after = restore(tmp_path / "c.mkv")
    assert {(f.video.width, f.video.height, f.video.format.name) for f in after} == {(97, 63, "yuv444p")}
    assert np.isfinite(mean_squared_error(after[1].video, read_frames(source)[1].video))
    assert Path(tmp_path / "c.mkv").stat().st_size > 0

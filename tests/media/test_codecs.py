"""The choice of encoder, pixel format and options."""

import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import pytest

import betwixt
from betwixt.errors import OutputError, UsageError
from betwixt.machine import keep_scheduling
from betwixt.media import codecs
from betwixt.media.codecs import choose_encoder, container_of
from betwixt.media.colour import Colour
from betwixt.media.encoder_options import EncoderSettings, options_for
from betwixt.media.encoding import resolve_encoding
from betwixt.media.pixel_formats import pixel_format_for
from betwixt.media.probe import HDR, VideoInfo
from betwixt.media.reader import Frame, Reader
from betwixt.media.writer import VideoWriter
from clips import make_clip, read_frames

PLAIN = VideoInfo(
    name="x", container="matroska", codec="h264", width=64, height=48, pixel_format="yuv420p", rate=Fraction(25),
    variable=False, start=Fraction(0), duration=None, frames=None, colour=Colour(),
)  # fmt: skip


@pytest.mark.parametrize(
    ("container", "change", "name"),
    [
        ("mp4", {}, "libx264"),
        ("matroska", {"pixel_format": "yuv420p10le"}, "libx265"),
        ("mp4", {"colour": Colour(transfer=16)}, "libx265"),
        ("webm", {}, "libvpx-vp9"),
        ("webm", {"pixel_format": "yuv420p10le"}, "libsvtav1"),
        ("matroska", {"codec": "ffv1"}, "ffv1"),
        ("yuv4mpegpipe", {}, "wrapped_avframe"),
    ],
)
def test_the_usual_encoder_keeps_depth_and_hdr(container, change, name):
    assert choose_encoder(None, container, replace(PLAIN, **change)).name == name


@pytest.mark.parametrize(
    ("codec", "source", "size", "expected"),
    [
        ("h264", "yuv420p", (64, 48), "yuv420p"),
        ("h264", "yuv420p", (63, 48), "yuv444p"),
        ("h264", "yuv420p", (64, 47), "yuv422p"),
        ("h264", "yuv422p", (64, 47), "yuv422p"),
        ("h264", "yuv422p10le", (64, 48), "yuv422p10le"),
        ("h264", "rgb24", (64, 48), "yuv420p"),
        ("hevc", "yuv420p12le", (64, 48), "yuv420p12le"),
        ("hevc", "p010le", (64, 48), "yuv420p10le"),
        ("ffv1", "yuv422p10le", (64, 48), "yuv422p10le"),
        ("ffv1", "rgba", (64, 48), "bgra"),
        ("prores", "yuv420p", (64, 48), "yuv422p10le"),
        ("vp9", "yuva420p", (64, 48), "yuva420p"),
        ("vp9", "yuv420p", (63, 47), "yuv420p"),
    ],
)
def test_the_nearest_pixel_format_is_chosen(codec, source, size, expected):
    assert pixel_format_for(choose_encoder(codec, "matroska", PLAIN).name, None, source, *size) == expected


@pytest.mark.parametrize("codec", ["h264", "hevc", "av1", "vp9", "ffv1", "prores", "mpeg4", "mjpeg", "utvideo"])
@pytest.mark.parametrize("quality", [None, "lossless", "12"])
def test_every_encoder_takes_its_options(codec, quality):
    encoder = choose_encoder(codec, "matroska", PLAIN)
    name = pixel_format_for(encoder.name, None, "yuv420p", 64, 48)
    try:
        options = options_for(encoder, EncoderSettings(quality=quality, threads=1), PLAIN, name)
    except UsageError:
        assert quality is not None
        return
    context = av.CodecContext.create(encoder.name, "w")
    context.width, context.height, context.pix_fmt = 64, 48, name
    context.time_base, context.framerate = Fraction(1, 25), Fraction(25)
    context.options = options
    frame = av.VideoFrame(64, 48, name)
    frame.pts = 0
    with keep_scheduling():
        assert context.encode(frame) + context.encode(None)


def test_hdr_metadata_is_written_as_the_encoders_take_it():
    f = Fraction
    display = ((f(17, 25), f(8, 25)), (f(53, 200), f(69, 100)), (f(3, 20), f(3, 50)), (f(3127, 10000), f(329, 1000)))
    source = replace(PLAIN, hdr=HDR(display, (f(1, 200), f(1000)), (1000, 400)), pixel_format="yuv420p10le")
    encoder = choose_encoder("hevc", "matroska", source)
    text = options_for(encoder, EncoderSettings(), source, "yuv420p10le")["x265-params"]
    assert "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)" in text
    assert "max-cll=1000,400" in text


def test_unknown_suffixes_are_refused():
    assert container_of(Path("a.MKV")) == "matroska"
    with pytest.raises(UsageError, match="xyz"):
        container_of(Path("a.xyz"))


def test_x265_survives_frames_of_a_few_blocks(tmp_path):
    """With its usual options x265 writes beyond its memory there, so it runs in a separate process."""
    clips = [
        make_clip(tmp_path / "odd.mkv", frames=9, size=(35, 27)),
        make_clip(tmp_path / "tall.mkv", frames=9, size=(48, 80), pixel_format="yuv420p10le"),
        make_clip(tmp_path / "tiny.mkv", frames=9, size=(40, 24)),
    ]
    program = """
import sys, betwixt
for path in sys.argv[1:]:
    for number in range(2):
        betwixt.interpolate_video(path, f"{path}.{number}.mkv", codec="hevc", factor=1)
"""
    subprocess.run([sys.executable, "-c", program, *map(str, clips)], check=True, timeout=240)
    for clip in clips:
        assert [len(read_frames(Path(f"{clip}.{number}.mkv"))) for number in range(2)] == [9, 9]


def test_ffv1_of_huge_pictures_has_no_more_slices_than_decoders_take():
    encoder = choose_encoder("ffv1", "matroska", PLAIN)
    options = {
        width: options_for(encoder, EncoderSettings(), replace(PLAIN, width=width), "yuv420p")
        for width in (64, 8192, 16000)
    }
    assert [x.get("slices") for x in options.values()] == [None, None, "144"]


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_hevc_of_a_few_frames_is_whole(tmp_path, count, suffix):
    source = make_clip(tmp_path / "in.mkv", frames=count)
    betwixt.interpolate_video(source, tmp_path / f"out{suffix}", codec="hevc", factor=1, model="dis")
    assert len(read_frames(tmp_path / f"out{suffix}")) == count


def test_an_output_that_cannot_be_read_is_refused(tmp_path):
    class Truncated:
        """An output container whose file ends early."""

        def __init__(self, container, file):
            self.container, self.file = container, file

        def __getattr__(self, name):
            return getattr(self.container, name)

        def close(self):
            self.container.close()
            self.file.truncate(100)

    with Reader(make_clip(tmp_path / "in.mkv", frames=2)) as reader:
        writer = VideoWriter(tmp_path / "out.mp4", reader.info, Fraction(25))
        for number, frame in enumerate(item for item in reader if isinstance(item, Frame)):
            writer.write(frame.video, number)
        writer._out = Truncated(writer._out, writer._working.file)
        with pytest.raises(OutputError, match="cannot be read"):
            writer.commit()
    assert [path.name for path in tmp_path.iterdir()] == ["in.mkv"]


@pytest.mark.parametrize(
    ("codec", "preset", "options"),
    [
        ("h264", "ultrafast", {"preset": "ultrafast"}),
        ("av1", "12", {"preset": "12"}),
        ("vp9", "8", {"cpu-used": "8"}),
        ("hevc_nvenc", "p7", {"preset": "p7"}),
        ("hevc_qsv", "veryslow", {"preset": "veryslow"}),
    ],
)
def test_presets_are_those_of_the_encoder(codec, preset, options):
    encoder = choose_encoder(codec, "matroska", PLAIN)
    assert options_for(encoder, EncoderSettings(preset=preset), PLAIN, "yuv420p").items() >= options.items()


@pytest.mark.parametrize(
    ("codec", "preset", "message"),
    [
        ("h264", "nope", "libx264 has no preset 'nope': it takes ultrafast, .*slower, veryslow or placebo"),
        ("av1", "slow", "libsvtav1 has no preset 'slow': it takes -2 to 13"),
        ("av1_nvenc", "p9", "av1_nvenc has no preset 'p9': it takes .*p6 or p7"),
        ("ffv1", "slow", "ffv1 has no presets: leave `preset` out"),
    ],
)
def test_other_presets_are_refused_with_the_list_of_those_that_exist(codec, preset, message):
    with pytest.raises(UsageError, match=message):
        options_for(choose_encoder(codec, "matroska", PLAIN), EncoderSettings(preset=preset), PLAIN, "yuv420p")


def test_a_bit_rate_takes_the_place_of_the_quality():
    encoder = choose_encoder("h264", "matroska", PLAIN)
    options = options_for(encoder, EncoderSettings(bitrate="2.5M"), PLAIN, "yuv420p")
    assert options["b"] == "2500000"
    assert "crf" not in options
    amf = options_for(choose_encoder("h264_amf", "matroska", PLAIN), EncoderSettings(bitrate="800k"), PLAIN, "nv12")
    assert (amf["rc"], amf["b"], "qp_i" in amf) == ("vbr_peak", "800000", False)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (EncoderSettings("h264", quality="20", bitrate="8M"), "`quality` and `bitrate` exclude each other"),
        (EncoderSettings("h264", bitrate="8"), "The bit rate '8' is not one: give bits per second, such as 8M"),
        (EncoderSettings("h264", bitrate="8 Mbit"), "The bit rate '8 Mbit' is not one"),
        (EncoderSettings("ffv1", bitrate="8M"), "ffv1 has no bit rate to set"),
        (EncoderSettings("prores", bitrate="8M"), "prores_ks has no bit rate to set"),
        (EncoderSettings("h264", options={"tuen": "grain"}), "no option 'tuen' .*: did you mean tune"),
        (EncoderSettings("h264", options={"xyz-abc": "1"}), "ffmpeg -h encoder=libx264 lists them"),
        (EncoderSettings("h264", options={"g": "abc"}), "does not take `encoder_options` g=abc"),
        (EncoderSettings("av1", options={"qp": "99"}), r"qp=99: .*out of range \[0 - 63\]"),
        (EncoderSettings("h264", options={"x264-params": "nope=1"}), "x264-params=nope=1: Error parsing option 'nope"),
        (EncoderSettings("hevc", options={"x265-params": "nope=1"}), "nope=1: Unknown option: nope"),
    ],
)
def test_settings_that_do_not_fit_are_refused_by_name(settings, message):
    with pytest.raises(UsageError, match=message):
        resolve_encoding(settings, "matroska", PLAIN)


def test_options_of_the_user_replace_or_extend_the_usual_ones():
    given = EncoderSettings("hevc", options={"preset": "fast", "x265-params": "rd=2"})
    options = resolve_encoding(given, "matroska", PLAIN).options
    assert options["preset"] == "fast"
    assert options["x265-params"].startswith("log-level=0:")
    assert options["x265-params"].endswith(":rd=2")


@pytest.mark.parametrize(
    ("encoder", "source", "expected"),
    [
        ("h264_nvenc", "yuv420p", "yuv420p"),
        ("hevc_nvenc", "yuv420p10le", "p010le"),
        ("hevc_qsv", "yuv420p", "nv12"),
        ("hevc_qsv", "yuv420p10le", "p010le"),
        ("av1_amf", "yuv420p10le", "p010le"),
        ("hevc_nvenc", "rgb24", "yuv420p"),
        ("h264_qsv", "gbrp", "nv12"),
    ],
)
def test_hardware_encoders_get_the_nearest_format_that_they_take(encoder, source, expected):
    assert pixel_format_for(encoder, None, source, 64, 48) == expected


def test_an_encoder_that_takes_only_a_chips_surfaces_gets_frames_to_upload(monkeypatch):
    class Codec:
        def __init__(self, *_):
            self.video_formats = [av.VideoFormat("vaapi", 64, 48)]

    monkeypatch.setattr(av, "Codec", Codec)
    assert pixel_format_for("h264_vaapi", None, "yuv420p", 64, 48) == "nv12"
    assert pixel_format_for("hevc_vaapi", None, "yuv420p10le", 64, 48) == "p010le"


def test_hardware_that_is_not_there_is_named_before_anything_is_written(tmp_path):
    source = make_clip(tmp_path / "in.mkv", frames=2)
    # A device that does not exist, for machines that have one.
    options = {"codec": "h264_nvenc", "encoder_options": {"gpu": 77}, "model": "dis"}
    with pytest.raises(UsageError, match=r"on this machine: .* NVIDIA GPU and its driver; `codec=\"h264\"`|gpu=77"):
        betwixt.interpolate_video(source, tmp_path / "out.mp4", **options)
    assert [path.name for path in tmp_path.iterdir()] == ["in.mkv"]


def test_hardware_that_ffmpeg_is_built_without_is_named(monkeypatch):
    monkeypatch.setattr(codecs, "_encodes", lambda name: name == "hevc_qsv")
    message = "is built without hevc_vaapi: it has hevc_qsv, and hevc on the processor"
    with pytest.raises(UsageError, match=message):
        choose_encoder("hevc_vaapi", "matroska", PLAIN)


def test_alpha_that_x265_does_not_encode_is_reported_as_lost(tmp_path):
    source = make_clip(tmp_path / "in.mkv", frames=4, pixel_format="yuva420p")
    summary = betwixt.interpolate_video(source, tmp_path / "out.mkv", codec="hevc")
    assert summary.pixel_format == "yuv420p"
    assert summary.lost == ("the transparency",)
    kept = betwixt.interpolate_video(source, tmp_path / "kept.mkv", codec="ffv1")
    assert (kept.pixel_format, kept.lost) == ("yuva420p", ())

"""bit-need: coding B frames by the network, also in another process."""

import dataclasses
import json
import subprocess
import sys
import zlib
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from betwixt.codec import restore
from betwixt.codec.coder import MODEL, finish_weights, load_coder
from betwixt.codec.decode import decode_video, read_restore_data
from betwixt.codec.distortion import mean_squared_error, psnr_from_mse
from betwixt.codec.encode import encode_video
from betwixt.codec.network import BFrameNetwork, CodecConfig, code_from_step, search_true_flow, step_from_code
from betwixt.codec.restore_data import frame_checksum, pack
from betwixt.errors import DamagedInputError, InputError, UsageError
from betwixt.media.journal import Journal
from betwixt.media.reader import Reader
from betwixt.models.dis.interpolator import DIS
from betwixt.runtime.synthesis import Synthesizer
from betwixt.training.objectives.codec import CodecObjective, code_references
from betwixt.weights.load import load_weights
from clips import frames_equal, interrupt_at, make_clip, read_frames


def make_moving_clip(path, frames, size=(128, 96), rate=25):
    """A lossless clip of a moving texture whose colours RGB can represent."""
    rng = np.random.default_rng(3)
    width, height = size
    scene = cv2.GaussianBlur(rng.uniform(0, 255, (height + 8, width + 60, 3)).astype(np.float32), (0, 0), 2.0)
    scene = np.clip(128 + 3.0 * (scene - scene.mean()), 16, 239)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("ffv1", rate=rate)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for k in range(frames):
            # Unevenly, so that the prediction has an error to code.
            left = 3 * k + (k % 2)
            image = np.ascontiguousarray(scene[:height, left : left + width].astype(np.uint8))
            out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p")))
        out.mux(stream.encode(None))
    return path


QUICK = {"base": "x264", "preset": "ultrafast", "model": "dis", "quality": 30, "threads": 1}


def write(network, path, **metadata):
    described = {"model": MODEL, "network": json.dumps({"name": "codec", "predictor": network.config.predictor})}
    save_file(finish_weights(network), path, described | metadata)
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """An untrained network: a transform codec of the prediction's residual."""
    torch.manual_seed(0)
    network = CodecObjective("codec", {}).codec
    return write(network, tmp_path_factory.mktemp("weights") / "codec.safetensors")


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    frames = read_frames(make_moving_clip(folder / "in.mkv", 3, (97, 63)))
    with Reader(folder / "in.mkv") as reader:
        synthesizer = Synthesizer(DIS(), frames[0].video, reader.info.colour)
    return [synthesizer.source(f.video) for f in frames]


def test_a_finer_step_gives_a_better_frame_for_more_bits(weights, sources):
    coder = load_coder(weights)
    first, truth, second = sources
    results = []
    for step in (4, 16, 64):
        payload, frame = coder.encode(first, second, truth, Fraction(1, 2), step / 255)
        results.append((len(payload), psnr_from_mse(mean_squared_error(frame, truth.video))))
        again = coder.decode(first, second, payload, Fraction(1, 2))
        assert frames_equal(again, frame)
        assert (frame.width, frame.height, frame.format.name) == (97, 63, "yuv420p")
    assert results == sorted(results, reverse=True)
    assert results[0][1] > 42


def test_threads_do_not_change_a_frame(weights, sources):
    coder = load_coder(weights)
    first, truth, second = sources
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            payload, frame = coder.encode(first, second, truth, Fraction(1, 3), 10 / 255)
            results.append((payload, frame_checksum(frame)))
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)
    assert results[0] == results[1]


def test_invalid_payloads_never_crash(weights, sources):
    coder = load_coder(weights)
    first, truth, second = sources
    payload, _ = coder.encode(first, second, truth, Fraction(1, 2), 16 / 255)
    rng = np.random.default_rng(0)
    for data in (b"", b"\x50", payload[:-4], payload[:-3], bytes(rng.integers(0, 256, 401, np.uint8)), b"\xff" * 41):
        frame = coder.decode(first, second, data, Fraction(1, 2))
        assert frame is None or frame.width == 97


def test_another_process_decodes_the_same_frames(tmp_path, weights):
    source = make_moving_clip(tmp_path / "in.mkv", 9)
    done = encode_video(source, tmp_path / "c.mkv", mode="bit-need", codec_weights=weights, step=8, keep=4, **QUICK)
    assert done.coded > 0
    assert done.coded + done.sent + done.synthesized == 9
    program = (
        "import sys; from betwixt.cli.main import run; sys.exit(run(sys.argv[1:]))",
        *("decode", str(tmp_path / "c.mkv"), str(tmp_path / "out.mkv"), "--codec", "ffv1", "--json"),
        *("--codec-weights", str(weights), "--threads", "2"),
    )
    result = subprocess.run([sys.executable, "-c", *program], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    summary = json.loads(result.stdout)
    assert (summary["coded"], summary["differing"], summary["damage"]) == (done.coded, 0, None)
    with Reader(tmp_path / "c.mkv") as reader:
        record, _ = read_restore_data(reader)
    after, before = read_frames(tmp_path / "out.mkv"), read_frames(source)
    assert [f.time for f in after] == [f.time for f in before]
    errors = []
    for number, coded in record.coded.items():
        assert frame_checksum(after[number].video) == coded.checksum
        errors.append(mean_squared_error(after[number].video, before[number].video))
    assert done.psnr >= np.mean([psnr_from_mse(e) for e in errors]) - 1e-6 or done.synthesized
    assert done.size == (tmp_path / "c.mkv").stat().st_size
    assert done.record_size >= sum(len(c.payload) for c in record.coded.values())


def test_a_flipped_payload_costs_one_frame_and_a_wrong_checksum_is_reported(tmp_path, weights):
    source = make_moving_clip(tmp_path / "in.mkv", 5)
    encode_video(source, tmp_path / "c.mkv", mode="bit-need", codec_weights=weights, step=8, **QUICK)
    whole = (tmp_path / "c.mkv").read_bytes()
    with Reader(tmp_path / "c.mkv") as reader:
        record, _ = read_restore_data(reader)
    assert set(record.coded) == {1, 3}
    place = whole.index(record.coded[3].payload) + 20
    (tmp_path / "flipped.mkv").write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
    with pytest.raises(DamagedInputError, match="1 frames were concealed") as caught:
        decode_video(tmp_path / "flipped.mkv", tmp_path / "out.mkv", codec_weights=weights, threads=1)
    assert (caught.value.summary.coded, caught.value.summary.concealed) == (1, 1)
    assert len(read_frames(tmp_path / "out.mkv")) == 5
    # Another checksum than the encoder's, as arithmetic of another machine would give.
    other = dataclasses.replace(record.coded[1], checksum=record.coded[1].checksum ^ 1)
    forged = dataclasses.replace(record, coded=record.coded | {1: other})
    packed = pack(record)
    start = whole.index(packed[:40])
    (tmp_path / "forged.mkv").write_bytes(whole[:start] + pack(forged) + whole[start + len(packed) :])
    with pytest.raises(DamagedInputError, match="1 B frames differ from what the encoder made"):
        decode_video(tmp_path / "forged.mkv", tmp_path / "out.mkv", codec_weights=weights, threads=1, overwrite=True)


def test_differing_frames_of_an_interrupted_run_are_still_reported(tmp_path, weights, monkeypatch):
    source = make_moving_clip(tmp_path / "in.mkv", 12)
    encode_video(source, tmp_path / "c.mkv", mode="bit-need", codec_weights=weights, step=8, **QUICK)
    with Reader(tmp_path / "c.mkv") as reader:
        coded = len([number for number in read_restore_data(reader)[0].coded if number < 8])
    assert coded
    options = {"codec": "ffv1", "codec_weights": weights, "threads": 1}
    with monkeypatch.context() as patch:
        patch.setattr(restore, "frame_checksum", lambda video: -1)
        # As after kill -9: nothing more is written to the journal.
        patch.setattr(Journal, "suspend", lambda self: self._close() is None)
        with interrupt_at(8), pytest.raises(KeyboardInterrupt):
            decode_video(tmp_path / "c.mkv", tmp_path / "out.mkv", **options)
    with pytest.raises(DamagedInputError, match=f"{coded} B frames differ") as caught:
        decode_video(tmp_path / "c.mkv", tmp_path / "out.mkv", **options)
    summary = caught.value.summary
    assert (summary.earlier, summary.differing) == (8, coded)
    assert summary.sent + summary.coded + summary.synthesized == summary.frames == 12


def test_weights_are_checked(tmp_path, weights, monkeypatch):
    source = make_clip(tmp_path / "in.mkv", frames=4)
    with pytest.raises(InputError, match="no weights file"):
        load_coder(tmp_path / "none.safetensors")
    network = CodecObjective("codec", {}).codec
    save_file({k: v.half() for k, v in network.state_dict().items()}, tmp_path / "raw.safetensors", {"model": MODEL})
    with pytest.raises(InputError, match="does not say which"):
        load_coder(tmp_path / "raw.safetensors")
    described = {"model": MODEL, "network": '{"predictor": "compact"}'}
    save_file({k: v.half() for k, v in network.state_dict().items()}, tmp_path / "raw.safetensors", described)
    with pytest.raises(InputError, match="lacks the table"):
        load_coder(tmp_path / "raw.safetensors")
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors", {"model": "rife"})
    with pytest.raises(InputError, match="has no weights of the B-frame network"):
        load_coder(tmp_path / "other.safetensors")
    encode_video(source, tmp_path / "c.mkv", mode="bit-need", codec_weights=weights, step=8, **QUICK)
    torch.manual_seed(5)
    other = write(network, tmp_path / "another.safetensors", note="other")
    with pytest.raises(InputError, match=r"was coded with weights [0-9a-f]{12}, and those here"):
        decode_video(tmp_path / "c.mkv", tmp_path / "out.mkv", codec_weights=other)
    monkeypatch.setattr("betwixt.codec.coder.embedded_file", lambda name: Path("nowhere"))
    with pytest.raises(UsageError, match="There are no weights of the B-frame network: train it") as caught:
        encode_video(source, tmp_path / "d.mkv", mode="bit-need", **QUICK)
    assert "\n" not in str(caught.value)


def test_weights_without_contexts_code_as_before_and_can_be_trained_on(tmp_path, sources):
    torch.manual_seed(3)
    old = BFrameNetwork(CodecConfig(entropy_contexts=False))
    old.model.decoder.out.weight.data.normal_(0, 0.02)
    first, truth, second = sources
    payload, frame = load_coder(write(old, tmp_path / "old.safetensors")).encode(
        first, second, truth, Fraction(1, 2), 16 / 255
    )
    # The same weights with contexts: their inputs begin at zero, so that the bits are the same.
    new = BFrameNetwork(CodecConfig())
    load_weights(new, tmp_path / "old.safetensors")
    coder = load_coder(write(new, tmp_path / "new.safetensors"))
    assert coder.encode(first, second, truth, Fraction(1, 2), 16 / 255)[0] == payload
    assert frame_checksum(coder.decode(first, second, payload, Fraction(1, 2))) == frame_checksum(frame)
    assert torch.equal(new.look_warped.first.weight, new.look.first.weight)
    # With other numbers there they change the bits, and both sides agree.
    new.model.decoder.context.weight.data.normal_(0, 0.1)
    coder = load_coder(write(new, tmp_path / "trained.safetensors"))
    changed, frame = coder.encode(first, second, truth, Fraction(1, 2), 16 / 255)
    assert changed != payload
    assert frame_checksum(coder.decode(first, second, changed, Fraction(1, 2))) == frame_checksum(frame)


def test_step_codes_round_trip():
    assert [code_from_step(step_from_code(code)) for code in range(256)] == list(range(256))
    assert code_from_step(0.0) == 0


def test_the_teachers_search_finds_the_motion(tmp_path):
    frames = read_frames(make_clip(tmp_path / "in.mkv", frames=3, size=(128, 96)))
    flow = search_true_flow(np.stack([frame.video.to_ndarray(format="rgb24") for frame in frames]))
    inner = flow[16:-16, 16:-16]
    assert abs(np.median(inner[..., 0])) == pytest.approx(2.0, abs=0.4)
    assert np.median(inner[..., 0]) == pytest.approx(-np.median(inner[..., 2]), abs=0.5)


@pytest.mark.parametrize("predictor", ["rife", "ncm-base"])
def test_networks_with_a_teacher_block_predict_and_teach(predictor):
    torch.manual_seed(0)
    network = BFrameNetwork(CodecConfig(predictor=predictor))
    frame0, truth, frame1 = (torch.rand(1, 3, 64, 64) for _ in range(3))
    half, step = torch.full((1, 1, 1, 1), 0.5), torch.full((1, 1, 1, 1), 0.1)
    out = network(frame0, frame1, half, truth, {}, step)
    assert out.frame.shape == truth.shape
    (out.frame.mean() + out.motion_bits.mean() + out.frame_bits.mean()).backward()
    assert not network.predictor.any_time
    teacher = [p for n, p in network.predictor.named_parameters() if "tea" in n]
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in teacher)


def test_coded_references_keep_their_size_and_are_reproducible():
    rng = np.random.default_rng(0)
    images = np.kron(rng.integers(0, 256, (2, 9, 9, 3)), np.ones((1, 9, 9, 1))).astype(np.uint8)
    fine, coarse = (code_references(images, step).astype(int) for step in (2.0, 60.0))
    assert fine.shape == images.shape
    assert np.abs(fine - images).mean() < np.abs(coarse - images).mean()
    assert zlib.crc32(code_references(images, 9.0).tobytes()) == zlib.crc32(code_references(images, 9.0).tobytes())

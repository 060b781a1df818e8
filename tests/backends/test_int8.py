"""Betwixt's own networks in int8."""

from __future__ import annotations

import json
import platform
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from betwixt.backends import openvino
from betwixt.backends.activation_ranges import ranges_file, read_activation_ranges, write_activation_ranges
from betwixt.backends.network_runner import TrainedNetwork
from betwixt.cli.main import run
from betwixt.errors import InputError, UsageError
from betwixt.files import file_hash
from betwixt.models.compact.network import Compact
from betwixt.models.registry import model_info
from betwixt.runtime.load import load_model
from betwixt.weights.store import RIFE, embedded_file
from clips import make_clip
from shifted import shifted_images, to_float

OWN = "hybrid", "compact", "compact-large"


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    network = Compact()
    for layer in (network.flow.head, network.detail.head):
        torch.nn.init.normal_(layer.weight, std=0.01)
    path = tmp_path / "mine.safetensors"
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, path)
    return path


@pytest.mark.parametrize("name", OWN)
def test_int8_frames_are_close_to_fp32(name: str) -> None:
    frames = [to_float(picture) for picture in shifted_images()]
    exact, rounded = (load_model(name, "cpu", precision=each) for each in ("fp32", "int8"))
    assert [model.backend and model.backend.precision for model in (exact, rounded)] == ["fp32", "int8"]
    made, coarse = (model.prepare(*frames).at(0.4) for model in (exact, rounded))
    assert 0 < np.abs(made - coarse).mean() < 0.5 / 255


@pytest.mark.skipif(platform.machine().lower() not in ("x86_64", "amd64"), reason="whole numbers on x86")
def test_convolutions_run_in_int8() -> None:
    model: Any = load_model("hybrid", "cpu", precision="int8")
    model.prepare(*(to_float(picture) for picture in shifted_images())).at(0.5)
    for part, rounded in (
        (model.runner.graph("flow"), 10),
        (model.runner.graph("detail"), 5),
        (model.rife.runner.graph("block3"), 10),
    ):
        kinds = [kind for kind, precision in part.runtime_precisions() if precision in ("i8", "u8")]
        assert sum("onvolution" in kind for kind in kinds) == rounded


def test_the_fastest_precision_of_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for able, rounded, plain in (
        (("FP32", "BF16", "INT8"), "int8", "bf16"),
        (("FP32", "INT8"), "int8", "fp32"),
        (("FP32",), "fp32", "fp32"),
    ):
        monkeypatch.setattr(openvino, "_capabilities", lambda able=able: able)
        assert (openvino.fastest_precision(True), openvino.fastest_precision(False)) == (
            rounded,
            plain,
        )


@pytest.mark.parametrize("file", [*(model_info(name).embedded for name in OWN), RIFE])
def test_shipped_weights_have_activation_ranges(file: str) -> None:
    activation_ranges = read_activation_ranges(embedded_file(file))
    assert activation_ranges
    assert all(0.01 < value < 1000 for value in activation_ranges.values())


def test_activation_ranges_belong_to_the_weights_beside_them(weights: Path) -> None:
    assert read_activation_ranges(weights) is None
    write_activation_ranges(ranges_file(weights), file_hash(weights), {"flow.up_eighth": 1.23456}, "a clip")
    assert read_activation_ranges(weights) == {"flow.up_eighth": 1.235}
    content = ranges_file(weights).read_text()
    weights.write_bytes(weights.read_bytes() + b" ")
    assert read_activation_ranges(weights) is None
    for damaged in (
        *("", "[]", "[" * 100_000, content[:-5], content.replace('"flow.up_eighth": 1.235', "")),
        *(content.replace("1.235", value) for value in ('"a"', "0", "NaN", "1" * 400)),
    ):
        ranges_file(weights).write_text(damaged)
        with pytest.raises(InputError, match="is damaged: remove it, or measure the activation ranges again"):
            read_activation_ranges(weights)
    assert read_activation_ranges(Path()) is None


def test_activation_ranges_of_another_network_are_refused(weights: Path) -> None:
    write_activation_ranges(ranges_file(weights), file_hash(weights), {"flow.none": 1.0}, "a clip")
    with pytest.raises(InputError, match=r"mine\.int8\.json is of another network"):
        load_model("compact", "cpu", weights=weights, precision="int8")


def test_calibrated_weights_run_in_int8(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = make_clip(tmp_path / "in.mkv", frames=30, size=(96, 64))
    command = ["weights", "calibrate", "compact", str(clip), "--weights", str(weights)]
    before: Any = load_model("compact", "cpu", weights=weights)
    assert before.backend.precision == openvino.fastest_precision(False)
    assert run([*command, "--json"]) == 0
    target = tmp_path / "mine.int8.json"
    assert json.loads(capsys.readouterr().out) == {"written": [str(target)]}
    assert json.loads(target.read_text())["origin"] == "2 pairs of frames of in.mkv"
    model: Any = load_model("compact", "cpu", weights=weights)
    assert model.backend.precision == openvino.fastest_precision(True)
    frames = [to_float(picture) for picture in shifted_images()]
    exact = load_model("compact", "cpu", weights=weights, precision="fp32").prepare(*frames).at(0.5)
    assert np.abs(model.prepare(*frames).at(0.5) - exact).mean() < 1 / 255
    assert run(command) == 2
    assert "pass --overwrite" in capsys.readouterr().err
    target.write_text("damaged")
    assert run([*command, "--overwrite"]) == 0
    assert capsys.readouterr().out == f"{target}\n"
    # Other reaches make other frames, also where those of before are in the cache.
    write_activation_ranges(
        target, file_hash(weights), dict.fromkeys(read_activation_ranges(weights) or {}, 0.05), "by hand"
    )
    other: Any = load_model("compact", "cpu", weights=weights)
    assert (other.arithmetic == model.arithmetic) == (openvino.fastest_precision(True) != "int8")
    assert np.array_equal(other.prepare(*frames).at(0.5), model.prepare(*frames).at(0.5)) == (
        other.arithmetic == model.arithmetic
    )


def test_rife_runs_in_the_precision_of_hybrid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(openvino, "_capabilities", lambda: ("FP32", "INT8"))
    mine, clip = tmp_path / "mine.safetensors", make_clip(tmp_path / "in.mkv", frames=6, size=(96, 64))
    shutil.copy(embedded_file("hybrid.safetensors"), mine)
    model: Any = load_model("hybrid", "cpu", weights=mine)
    assert (model.backend.precision, model.rife.runner.backend.precision) == ("fp32", "fp32")
    assert run(["weights", "calibrate", "hybrid", str(clip), "--weights", str(mine)]) == 0
    model = load_model("hybrid", "cpu", weights=mine)
    assert (model.backend.precision, model.rife.runner.backend.precision) == ("int8", "int8")
    # Its weights alone were measured; with none given, all that it is made of is.
    assert run(["weights", "calibrate", "auto", str(clip), "-o", str(tmp_path)]) == 0
    names = ["hybrid.int8.json", "in.mkv", "mine.int8.json", "mine.safetensors", "rife-4.6.int8.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_errors_say_why_int8_is_unavailable(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = make_clip(tmp_path / "in.mkv", frames=2, size=(96, 64))
    calibrate, mine = ["weights", "calibrate", "compact"], ["--weights", weights]
    for command, text in (
        (["weights", "calibrate", "dis", clip], "does not run in int8"),
        ([*calibrate, clip], "are calibrated already: give your own"),
        ([*calibrate, clip, *mine], "No video has three frames"),
        ([*calibrate, clip, tmp_path / "none.mkv", *mine], "none.mkv"),
        ([*calibrate, clip, *mine, "-o", tmp_path / "none"], "does not exist"),
        (["benchmark", "--model", "compact", *mine, "--precision", "int8"], "betwixt weights calibrate"),
        (["benchmark", "--model", "compact", "--precision", "int8", "--runtime", "torch"], "through OpenVINO"),
        (["benchmark", "--model", "compact,rife", "--precision", "int8"], "Only Betwixt's own networks"),
        (["interpolate", clip, tmp_path / "out.mkv", "--model", "compact", "--weights", ""], "no weights file"),
    ):
        assert run([str(word) for word in command]) == 2
        error = capsys.readouterr().err
        assert text in error
        assert error.count("betwixt: ") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mkv", "mine.safetensors"]
    with pytest.raises(UsageError, match="from a weights file"):
        TrainedNetwork.in_memory(Compact()).choose_backend("cpu", "int8")

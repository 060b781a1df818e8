"""Choosing where networks run, without loading PyTorch."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from betwixt.backends import backend, onnxruntime, openvino, torch_devices
from betwixt.backends.backend import Backend, choose_backend, list_devices
from betwixt.errors import UsageError


@pytest.fixture
def cpu_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_devices, "is_cpu_only", lambda: True)
    monkeypatch.setattr(openvino, "_capabilities", lambda: ("FP32", "INT8"))


@pytest.mark.skipif(sys.platform == "darwin", reason="no CUDA there")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("__version__ = '2.13.0'\ncuda: Optional[str] = None\nhip: Optional[str] = None\n", True),
        ("__version__ = '2.13.0'\ncuda: Optional[str] = '13.0'\nhip: Optional[str] = None\n", False),
        ("__version__ = '2.13.0'\ncuda: Optional[str] = None\nhip: Optional[str] = '7.1'\n", False),
        ("", False),
    ],
)
def test_the_build_of_pytorch_is_read_from_its_files(
    text: str, expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "version.py").write_text(text)
    spec = SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(torch_devices, "find_spec", lambda name: spec)
    assert torch_devices.is_cpu_only() == expected


@pytest.mark.usefixtures("cpu_only")
@pytest.mark.parametrize(
    ("choice", "has_ranges", "chosen"),
    [
        ({}, True, Backend("openvino", "cpu", "int8")),
        ({}, False, Backend("openvino", "cpu", "fp32")),
        ({"precision": "bf16"}, True, Backend("openvino", "cpu", "bf16")),
        ({"precision": "fp16"}, True, Backend("torch", "cpu", "fp16")),
        ({"engine": "onnxruntime"}, True, Backend("onnxruntime", "cpu", "fp32")),
        ({"engine": "torch", "device": "cpu"}, True, Backend("torch", "cpu", "fp32")),
        ({"engines": ("torch",)}, True, Backend("torch", "cpu", "fp32")),
    ],
)
def test_the_fastest_backend_that_a_choice_permits(choice, has_ranges, chosen) -> None:
    assert choose_backend(**choice, has_ranges=has_ranges) == chosen


def test_a_gpu_is_chosen_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_devices, "is_cpu_only", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_backend() == Backend("torch", "cuda", "fp32")
    assert choose_backend("cuda:1", "fp16") == Backend("torch", "cuda:1", "fp16")
    with pytest.raises(UsageError, match=r"There is no cuda:2: this machine has 2 CUDA"):
        choose_backend("cuda:2")
    monkeypatch.setattr(onnxruntime, "missing", lambda device: "")
    assert choose_backend() == Backend("onnxruntime", "cuda", "fp32")
    assert choose_backend("cuda:1", engine="onnxruntime") == Backend("onnxruntime", "cuda:1", "fp32")
    assert choose_backend("tensorrt") == Backend("onnxruntime", "tensorrt", "fp32")


@pytest.mark.usefixtures("cpu_only")
@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"device": "tpu"}, "There is no device 'tpu': choose auto, cpu, gpu"),
        ({"device": "cpu:1"}, "There is no device 'cpu:1'"),
        ({"device": "cuda"}, "No CUDA device is available to PyTorch"),
        ({"device": "npu"}, "OpenVINO finds no device npu"),
        ({"device": "gpu", "engine": "torch"}, "Nothing runs this network on the device gpu"),
        ({"device": "directml"}, "The installed ONNX Runtime has no DmlExecutionProvider"),
        ({"precision": "fp64"}, "There is no precision 'fp64'"),
        ({"precision": "int8"}, "The activation ranges of these weights are unknown"),
        ({"precision": "int8", "engine": "torch"}, "Networks run in int8 through OpenVINO"),
        ({"engine": "openvino", "engines": ("torch",)}, "does not run on 'openvino': choose auto or torch"),
        ({"precision": "bf16", "engine": "onnxruntime"}, "onnxruntime does not run networks in bf16"),
    ],
)
def test_refusals_say_why(choice, message) -> None:
    with pytest.raises(UsageError, match=message):
        choose_backend(**choice)


@pytest.mark.usefixtures("cpu_only")
def test_an_openvino_that_does_not_load_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ImportError("Check 'versions_compatible' failed at pyopenvino.cpp:99:\nOpenVINO Python version ..")

    monkeypatch.setattr(openvino, "_imported", fail)
    assert choose_backend() == Backend("onnxruntime", "cpu", "fp32")
    monkeypatch.setattr(onnxruntime, "is_available", lambda: False)
    for engines in (("openvino",), ("openvino", "onnxruntime")):
        with pytest.raises(UsageError, match=r"OpenVINO is installed, but does not load \(Check 'versions") as caught:
            choose_backend(engines=engines)
        assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("cpu_only")
def test_devices_are_listed_with_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "is_available", lambda: False)
    found = {(status.engine, status.device): status for status in list_devices()}
    assert found["openvino", "cpu"].available
    assert found["openvino", "cpu"].note
    assert found["torch", "cpu"].available
    assert found["onnxruntime", "cpu"].note == f"ONNX Runtime is not installed: {backend._PACKAGES['onnxruntime']}."
    assert not found["torch", "cuda"].available

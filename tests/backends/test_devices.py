"""Devices, without loading PyTorch."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from betwixt.backends import devices


def test_named_devices_need_no_pytorch() -> None:
    assert devices.is_cpu("cpu")
    assert not devices.is_cpu("cuda")
    assert not devices.is_cpu("cuda:1")


@pytest.mark.skipif(sys.platform == "darwin", reason="no CUDA there")
@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("__version__ = '2.13.0'\ncuda: Optional[str] = None\nhip: Optional[str] = None\n", False),
        ("__version__ = '2.13.0'\ncuda: Optional[str] = '13.0'\nhip: Optional[str] = None\n", True),
        ("__version__ = '2.13.0'\ncuda: Optional[str] = None\nhip: Optional[str] = '7.1'\n", True),
        ("", True),
    ],
)
def test_pytorch_is_loaded_only_if_it_may_have_a_gpu(
    text: str, asked: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "version.py").write_text(text)
    monkeypatch.setattr(devices, "find_spec", lambda name: SimpleNamespace(origin=str(tmp_path / "__init__.py")))
    questions: list[bool] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(questions.append(True)))
    assert devices.is_cpu("auto")
    assert bool(questions) == asked

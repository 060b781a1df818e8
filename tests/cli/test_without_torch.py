"""What works, and what is said, where PyTorch is not installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from clips import make_clip

_RUN = """
import importlib.metadata, json, sys

sys.modules["torch"] = None  # an import of it fails
version = importlib.metadata.version

def without_torch(package):
    if package == "torch":
        raise importlib.metadata.PackageNotFoundError(package)
    return version(package)

importlib.metadata.version = without_torch
from betwixt.cli.main import run

codes = [run(command) for command in json.loads(sys.argv[1])]
print("codes", json.dumps(codes))
"""


def run_without_torch(folder, *commands):
    """Run commands of one process; returns their exit codes and what was written to standard error."""
    done = subprocess.run(
        [sys.executable, "-c", _RUN, json.dumps(commands)],
        cwd=folder,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )
    assert "Traceback" not in done.stderr
    return json.loads(done.stdout.rpartition("codes ")[2]), done.stderr


@pytest.fixture
def folder(tmp_path):
    make_clip(tmp_path / "in.mkv", frames=6, size=(64, 48))
    return tmp_path


def test_conversions_and_bit_free_coding_work(folder):
    codes, _ = run_without_torch(
        folder,
        ["interpolate", "in.mkv", "hybrid.mkv"],
        ["interpolate", "in.mkv", "compact.mkv", "--model", "compact", "--runtime", "onnxruntime"],
        ["interpolate", "in.mkv", "dis.mkv", "--model", "dis"],
        ["blur", "in.mkv", "blur.mkv", "--samples", "4"],
        ["extrapolate", "in.mkv", "next.mkv"],
        ["encode", "in.mkv", "coded.mkv", "--base", "x264"],
        ["decode", "coded.mkv", "decoded.mkv"],
        ["benchmark", "--model", "compact", "--size", "64x64", "--runs", "1"],
        ["models"],
        ["devices"],
        ["info", "in.mkv"],
    )
    assert codes == [0] * 11


def test_what_needs_pytorch_says_so_in_one_line(folder):
    commands = [
        ["encode", "in.mkv", "coded.mkv", "--mode", "bit-need"],
        ["interpolate", "in.mkv", "out.mkv", "--model", "rife-4.6"],
        ["interpolate", "in.mkv", "out.mkv", "--runtime", "torch"],
        ["train", "recipe.toml"],
        ["weights", "export", "rife-4.6", "out.onnx"],
        ["masks", "in.mkv", "masks", "--source", "open-world"],
    ]
    codes, messages = run_without_torch(folder, *commands)
    assert codes == [2] * len(commands)
    lines = messages.strip().splitlines()
    assert len(lines) == len(commands)
    assert all("needs PyTorch" in line for line in lines), lines
    assert [path.name for path in folder.iterdir()] == ["in.mkv"]

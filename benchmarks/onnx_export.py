"""Which networks export as ONNX graphs, and whether the graphs make the frames that PyTorch makes.

    python benchmarks/onnx_export.py [MODEL ..] [--precision fp16] [--vapoursynth .venv-peers/bin/python]

Every network is exported, and run by ONNX Runtime on frames of two sizes that were not traced, at different times. The
table shows the largest difference from PyTorch's frames, RGB in [0, 1], and the size of the file. Networks whose
weights come with Betwixt use these, the others random ones: agreement does not depend on them.

With --vapoursynth, a Python that has vapoursynth, vapoursynth-mlrt-ov and numpy, the graphs in the layouts of vs-mlrt
are also run in VapourSynth, by core.ov.Model.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

SIZES = ((180, 320, 0.5), (211, 173, 0.3))
"""Height, width and time of the frames that are made."""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="*", metavar="MODEL")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "fp16"))
    parser.add_argument("--vapoursynth", metavar="PYTHON", type=Path)
    arguments = parser.parse_args()

    from betwixt.errors import BetwixtError
    from betwixt.models.registry import MODELS

    refused: dict[str, list[str]] = {}
    print("| model | largest difference | MB |" + (" in VapourSynth |" if arguments.vapoursynth else ""))
    print("|---|---:|---:|" + ("---:|" if arguments.vapoursynth else ""))
    for name in arguments.models or [name for name, info in MODELS.items() if info.has_network]:
        try:
            cells = _row(name, arguments.precision, arguments.vapoursynth)
        except BetwixtError as error:
            refused.setdefault(str(error).replace(f"The model {name} ", "").split(":")[0], []).append(name)
        else:
            print(f"| {' | '.join((name, *cells))} |", flush=True)
    print()
    for reason, names in refused.items():
        print(f"not exported: {', '.join(names)} ({reason})")


def _row(name: str, precision: str, vapoursynth: Path | None) -> list[str]:
    """The largest difference of a model's graph, its megabytes and the largest difference in VapourSynth."""
    from betwixt.models.registry import load_network, model_info
    from betwixt.runtime.onnx_export import check_exportable, graph_of
    from betwixt.weights.load import load_trained_network
    from betwixt.weights.store import embedded_file

    check_exportable(name)
    embedded = model_info(name).embedded
    network = load_trained_network(name, embedded_file(embedded)) if embedded else load_network(name)
    graph = graph_of(name, network, "plain", precision)
    cells = [f"{_largest_difference(network, graph):.0e}", f"{len(graph) / 1e6:.0f}"]
    if vapoursynth and network.any_time:
        graphs = {layout: graph_of(name, network, layout, precision) for layout in ("vs-mlrt-v1", "vs-mlrt-v2")}
        differences = [_vapoursynth_difference(vapoursynth, network, *item) for item in graphs.items()]
        cells.append(f"{max(differences):.0e}")
    elif vapoursynth:
        cells.append("-")
    return cells


def _largest_difference(network: Any, graph: bytes) -> float:
    """Between the frames of PyTorch and those of a plain graph in ONNX Runtime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    names = [node.name for node in session.get_inputs()]
    difference = 0.0
    for height, width, t in SIZES:
        inputs = (*_make_frames(height, width), np.full((1, 1, 1, 1), t, np.float32))
        frame = session.run(None, dict(zip(names, inputs, strict=False)))[0]
        difference = max(difference, float(np.abs(frame - _reference(network, *inputs)).max()))
    return difference


def _vapoursynth_difference(python: Path, network: Any, layout: str, graph: bytes) -> float:
    """Between the frames of PyTorch and those of a graph in VapourSynth."""
    difference = 0.0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        (path / "graph.onnx").write_bytes(graph)
        for height, width, t in SIZES:
            frames = _make_frames(height, width)
            np.save(path / "frames.npy", np.concatenate(frames))
            command = [python, __file__, "--run-in-vapoursynth", folder, layout, json.dumps(t)]
            subprocess.run(command, check=True)
            reference = _reference(network, *frames, np.full((1, 1, 1, 1), t, np.float32))
            difference = max(difference, float(np.abs(np.load(path / "frame.npy") - reference).max()))
    return difference


def _reference(network: Any, *inputs: np.ndarray) -> np.ndarray:
    """The frame that `load_model` makes, (1, 3, H, W), in fp32."""
    from betwixt.runtime.network_interpolator import NetworkInterpolator

    model = NetworkInterpolator("network", network, "cpu")
    first, second = (frame[0].transpose(1, 2, 0) for frame in inputs[:2])
    if network.extrapolates:
        frame = model.next_frame(first, second)
    else:
        frame = model.prepare(first, second).at(float(inputs[2].item()) if network.any_time else 0.5)
    return frame.transpose(2, 0, 1)[None]


def _make_frames(height: int, width: int) -> list[np.ndarray]:
    """Two frames (1, 3, H, W) of a smooth pattern that moves by four pixels."""
    import cv2

    noise = np.random.default_rng(0).random((height // 8 + 2, width // 8 + 2, 3), np.float32)
    pattern = np.clip(cv2.resize(noise, (width + 4, height), interpolation=cv2.INTER_CUBIC), 0, 1)
    return [np.ascontiguousarray(x.transpose(2, 0, 1)[None]) for x in (pattern[:, :-4], pattern[:, 4:])]


def run_in_vapoursynth(folder: Path, layout: str, t: float) -> None:
    """Make frame t by core.ov.Model: reads frames.npy and graph.onnx, writes frame.npy; imports nothing of Betwixt."""
    import vapoursynth as vs

    frames = np.load(folder / "frames.npy")
    height, width = frames.shape[-2:]
    blank = vs.core.std.BlankClip(format=vs.RGBS, width=width, height=height, length=1)
    grey = vs.core.std.BlankClip(format=vs.GRAYS, width=width, height=height, length=1)

    def clip_of(planes: np.ndarray) -> Any:
        def fill(n: int, f: Any) -> Any:
            frame = f.copy()
            for i, plane in enumerate(planes):
                np.copyto(np.asarray(frame[i]), plane)
            return frame

        base = blank if len(planes) == 3 else grey
        return base.std.ModifyFrame(base, fill)

    clips = [clip_of(frames[0]), clip_of(frames[1]), grey.std.BlankClip(color=t)]
    if layout == "vs-mlrt-v1":
        # The coordinates of the pixels from -1 to 1, and the length of a pixel in them.
        x, y = np.linspace(-1, 1, width, dtype=np.float32), np.linspace(-1, 1, height, dtype=np.float32)
        clips += [clip_of(np.broadcast_to(plane, (1, height, width))) for plane in (x, y[:, None])]
        clips += [grey.std.BlankClip(color=2 / (side - 1)) for side in (width, height)]
    # Where the CPU has instructions for bf16, OpenVINO would use it.
    model = vs.core.ov.Model(clips, str(folder / "graph.onnx"), config=lambda: {"INFERENCE_PRECISION_HINT": "f32"})
    made = model.get_frame(0)
    np.save(folder / "frame.npy", np.stack([np.asarray(made[i]) for i in range(3)])[None])


if __name__ == "__main__":
    if sys.argv[1:2] == ["--run-in-vapoursynth"]:
        run_in_vapoursynth(Path(sys.argv[2]), sys.argv[3], json.loads(sys.argv[4]))
    else:
        main()

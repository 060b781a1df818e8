from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from betwixt.backends import openvino
from betwixt.backends.backend import Backend
from betwixt.media.colour import RGBConverter, colour_of
from betwixt.media.frames import planes
from betwixt.models.compact.config import CONFIGS, CompactConfig
from betwixt.models.compact.initial_motion import search_motion
from betwixt.models.compact.interpolator import CompactInterpolator
from betwixt.models.compact.network import Compact
from betwixt.models.dis.interpolator import DIS
from betwixt.runtime.load import load_model, trained_network
from betwixt.runtime.synthesis import PairSynthesis, Synthesizer
from betwixt.weights.metadata import hyperparameter_metadata
from shifted import shifted_images, to_float


def write_weights(folder: Path, model: str) -> Path:
    """Weights that change flows, weight, colours and softness a little."""
    torch.manual_seed(0)
    network = Compact(CONFIGS[model])
    for layer in (network.flow.head, network.detail.head):
        torch.nn.init.normal_(layer.weight, std=0.01)
    path = folder / f"{model}.safetensors"
    save_file({name: value.half().contiguous() for name, value in network.state_dict().items()}, path)
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_weights(tmp_path_factory.mktemp("weights"), "compact")


@pytest.mark.parametrize("name", ["compact", "compact-psnr"])
def test_frames_match_the_network(weights: Path, name: str) -> None:
    first, second = shifted_images()
    model = CompactInterpolator(trained_network(name, weights), Backend("openvino"))
    made = model.prepare(to_float(first), to_float(second)).at(0.5)
    u, logit = (torch.from_numpy(x).permute(2, 0, 1)[None] for x in search_motion(first, second, 0.5))
    a, b = (torch.from_numpy(to_float(x)).permute(2, 0, 1)[None] for x in (first, second))
    with torch.inference_mode():
        output = model.runner.network(a, b, torch.full((1, 1, 1, 1), 0.5), u, logit)
    assert float(output.colour_residual.abs().mean()) > 1e-3
    assert float(output.softness.abs().mean()) > 1e-3
    expected = output.frame[0].permute(1, 2, 0).numpy().clip(0, 1)
    assert np.abs(made - expected).mean() < 1 / 255


def test_only_the_variant_for_benchmarks_softens(weights: Path) -> None:
    frames = [to_float(x) for x in shifted_images()]
    sharp, soft = (
        CompactInterpolator(trained_network(name, weights), Backend("openvino")).prepare(*frames).motion(0.5)
        for name in ("compact", "compact-psnr")
    )
    assert sharp.softness == ()
    assert len(soft.softness) == 2
    np.testing.assert_array_equal(sharp.flow_t0, soft.flow_t0)


def test_untrained_it_equals_dis(tmp_path: Path) -> None:
    network = Compact()
    path = tmp_path / "untrained.safetensors"
    save_file({name: value.half().contiguous() for name, value in network.state_dict().items()}, path)
    first, second = (to_float(p) for p in shifted_images())
    made = CompactInterpolator(trained_network("compact", path), Backend("openvino")).prepare(first, second).motion(0.5)
    found = DIS(effort=network.config.search_effort).prepare(first, second).motion(0.5)
    np.testing.assert_allclose(made.flow_t0, found.flow_t0, atol=1e-4)
    np.testing.assert_allclose(made.weight, np.clip(found.weight, 0.01, 0.99), atol=1e-4)
    assert made.colour_residual is not None
    assert not made.colour_residual.any()


def test_static_parts_are_bit_identical(weights: Path) -> None:
    first, second = shifted_images()
    second[:, :64] = first[:, :64]
    frames = [av.VideoFrame.from_ndarray(p, format="rgb24") for p in (first, second)]
    synthesizer = Synthesizer(
        CompactInterpolator(trained_network("compact", weights), Backend("openvino")), frames[0], colour_of(frames[0])
    )
    sources = [synthesizer.source(frame) for frame in frames]
    (made,) = PairSynthesis(synthesizer, *sources).synthesize([Fraction(1, 2)])
    result = made.to_ndarray(format="rgb24")
    np.testing.assert_array_equal(result[:, :48], first[:, :48])
    assert (result[:, 80:] != first[:, 80:]).any()


@pytest.mark.parametrize("name", ["yuv420p", "yuv444p10le", "nv12", "gbrp", "rgb48le"])
def test_colours_reach_the_planes_of_every_format(weights: Path, name: str) -> None:
    first, second = shifted_images(shift=2)
    frames = [av.VideoFrame.from_ndarray(p, format="rgb24").reformat(format=name) for p in (first, second)]
    synthesizer = Synthesizer(
        CompactInterpolator(trained_network("compact", weights), Backend("openvino")), frames[0], colour_of(frames[0])
    )
    sources = [synthesizer.source(frame) for frame in frames]
    (made,) = PairSynthesis(synthesizer, *sources).synthesize([Fraction(1, 2)])
    assert made.format.name == name
    path = synthesizer.converter
    expected = synthesizer.model.prepare(sources[0].rgb, sources[1].rgb).at(0.5)
    # Subsampled chroma cannot follow changes from pixel to pixel: what counts is the colour of places.
    got, wanted = (cv2.blur(x, (8, 8)) for x in (path.to_rgb(planes(made)), expected))
    assert np.abs(got - wanted).mean() < 2 / 255


@pytest.mark.parametrize("name", ["yuv420p", "yuv444p10le", "nv12", "p010le", "gbrp", "bgr24", "gray"])
def test_colour_residuals_are_differences_of_images(name: str) -> None:
    frame = av.VideoFrame.from_ndarray(shifted_images()[0], format="rgb24").reformat(format=name)
    path = RGBConverter(name, frame.width, frame.height, colour_of(frame))
    parts = planes(frame)
    plain = np.full((frame.height, frame.width, 3), (0.3, 0.5, 0.4), np.float32)
    change = np.full((frame.height, frame.width, 3), (0.1, -0.05, 0.2), np.float32)
    after, before = (path._to_code_values(x, parts) for x in (plain + change, plain))
    unit = 1 << path.shift
    for got, new, old in zip(path.offsets_to_planes(change, parts), after, before, strict=True):
        assert got is not None
        assert new is not None
        assert old is not None
        height, width = new.shape[:2]
        np.testing.assert_allclose(got[:height, :width] / unit, new - old, atol=0.02)


def test_compact_large_matches_its_network_in_both_engines(tmp_path: Path) -> None:
    large = write_weights(tmp_path, "compact-large")
    first, second = shifted_images(70, 90)
    model = CompactInterpolator(trained_network("compact-large", large), Backend(), "compact-large")
    assert model.name == "compact-large"
    made = model.prepare(to_float(first), to_float(second)).at(0.4)
    u, logit = (
        np.pad(x, ((0, 10), (0, 6), (0, 0)), "edge") for x in search_motion(first, second, 0.4, effort="thorough")
    )
    a, b = (np.pad(to_float(x), ((0, 10), (0, 6), (0, 0)), "edge") for x in (first, second))
    tensors = [torch.from_numpy(x).permute(2, 0, 1)[None] for x in (a, b, u, logit)]
    with torch.inference_mode():
        output = model.runner.network(*tensors[:2], torch.full((1, 1, 1, 1), 0.4), *tensors[2:])
    expected = output.frame[0].permute(1, 2, 0).numpy()[:70, :90].clip(0, 1)
    assert np.abs(made - expected).mean() < 1 / 255
    compiled = CompactInterpolator(trained_network("compact-large", large), Backend("openvino"), "compact-large")
    assert np.abs(compiled.prepare(to_float(first), to_float(second)).at(0.4) - made).mean() < 1e-5


def test_all_engines_agree(weights: Path) -> None:
    for first, second in (shifted_images(), shifted_images(70, 90)):
        frames = to_float(first), to_float(second)
        torch_made, compiled, again, in_onnxruntime = (
            CompactInterpolator(trained_network("compact", weights), Backend(engine)).prepare(*frames).at(0.4)
            for engine in ("torch", "openvino", "openvino", "onnxruntime")
        )
        assert np.abs(compiled - torch_made).max() < 1e-3
        assert np.abs(compiled - torch_made).mean() < 1e-5
        assert np.abs(in_onnxruntime - torch_made).max() < 1e-3
        np.testing.assert_array_equal(compiled, again)


@pytest.mark.parametrize(("good", "chosen"), [(True, "bf16"), (False, "fp32")])
def test_bf16_is_used_where_the_cpu_has_it(
    weights: Path, monkeypatch: pytest.MonkeyPatch, good: bool, chosen: str
) -> None:
    monkeypatch.setattr(openvino, "_capabilities", lambda: ("FP32", "INT8", "BF16") if good else ("FP32", "INT8"))
    frames = [to_float(p) for p in shifted_images()]
    model = load_model("compact", "cpu", weights=weights)
    assert model.backend == Backend("openvino", "cpu", chosen)
    exact = load_model("compact", "cpu", weights=weights, runtime="torch").prepare(*frames).at(0.5)
    assert np.abs(model.prepare(*frames).at(0.5) - exact).mean() < (1 / 255 if good else 1e-5)


def test_the_cache_of_compiled_graphs_is_optional(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = [to_float(p) for p in shifted_images(64, 64)]
    (tmp_path / "file").write_text("")
    made = []
    for place in ("cache", "cache", "file"):
        monkeypatch.setenv("BETWIXT_CACHE", str(tmp_path / place))
        made.append(load_model("compact", "cpu", weights=weights, precision="fp32").prepare(*frames).at(0.5))
    assert list((tmp_path / "cache" / "openvino").iterdir())
    np.testing.assert_array_equal(made[0], made[1])
    np.testing.assert_array_equal(made[0], made[2])


def test_weights_of_other_widths_run_in_the_graphs(tmp_path: Path) -> None:
    config = CompactConfig(flow=(16, 24, 32), detail=(16, 24))
    torch.manual_seed(0)
    network = Compact(config)
    torch.nn.init.normal_(network.detail.head.weight, std=0.01)
    path = tmp_path / "narrow.safetensors"
    save_file(
        {name: value.contiguous() for name, value in network.state_dict().items()},
        path,
        {"model": "compact", **hyperparameter_metadata(network)},
    )
    frames = [to_float(p) for p in shifted_images(64, 96)]
    made, expected = (
        load_model("compact", "cpu", weights=path, runtime=engine, precision="fp32").prepare(*frames).at(0.5)
        for engine in ("openvino", "torch")
    )
    assert np.abs(made - expected).max() < 1e-4


_WITHOUT_TORCH = """
import sys
import numpy as np
from betwixt.runtime.load import load_model

sys.modules["torch"] = None  # an import of it fails
first, second = np.random.default_rng(0).random((2, 64, 64, 3), np.float32)
for engine in ("openvino", "onnxruntime"):
    for name in ("compact", "hybrid"):
        load_model(name, "cpu", runtime=engine).prepare(first, second).at(0.5)
"""


def test_embedded_networks_need_no_pytorch() -> None:
    subprocess.run([sys.executable, "-c", _WITHOUT_TORCH], check=True, timeout=120)


_ALONE = """
import sys
import openvino_telemetry, openvino_telemetry.main
from betwixt.runtime.load import load_model

loaded = sys.modules["openvino_telemetry"]
calls = []
openvino_telemetry.main.Telemetry.__init__ = lambda *_, **__: calls.append(1)
load_model("compact", "cpu", weights=sys.argv[1])
print(calls, sys.modules["openvino_telemetry"] is loaded)
"""


def test_openvino_sends_no_telemetry(weights: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino_telemetry")
    environment = {**os.environ, "BETWIXT_CACHE": str(tmp_path)}
    command = [sys.executable, "-c", _ALONE, str(weights)]
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    # Whoever reports their own use of OpenVINO keeps the module that does it.
    assert told.strip() == "[] True"


def test_telemetry_stays_importable_in_other_threads() -> None:
    pytest.importorskip("openvino_telemetry")
    openvino.missing("npu")
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            openvino.missing("npu")

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        for _ in range(20_000):
            assert sys.modules["openvino_telemetry"] is not None
    finally:
        done.set()
        asking.join()


_FIRST_ARRAYS = """
import os, sys, threading
import numpy as np
from openvino import Model, opset8
from betwixt.backends.openvino import _core
given = opset8.parameter([1, 4], np.float32)
compiled = _core().compile_model(Model([opset8.relu(given)], [given], "x"), "CPU")
requests = [compiled.create_infer_request() for _ in range(4)]
arrays = [np.zeros((1, 4), np.float32) for _ in requests]
gate = threading.Barrier(4)
sys.setswitchinterval(1e-6)
def first(request, array):
    gate.wait()
    request.infer([array], share_inputs=True)
threads = [threading.Thread(target=first, args=x, daemon=True) for x in zip(requests, arrays)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join(20)
os._exit(any(thread.is_alive() for thread in threads))
"""


def test_simultaneous_first_arrays_do_not_deadlock() -> None:
    # Without the start in `_core` seven of ten such processes stand still.
    for _ in range(2):
        assert subprocess.run([sys.executable, "-c", _FIRST_ARRAYS], check=False, timeout=120).returncode == 0


def test_threads_can_share_a_model(weights: Path) -> None:
    model = CompactInterpolator(trained_network("compact", weights), Backend("openvino"))
    work = [[to_float(p) for p in shifted_images(64, 64 + 16 * (i % 3))] for i in range(12)]
    alone = [model.prepare(*frames).at(0.5) for frames in work]
    model.set_concurrency(2)
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda frames: model.prepare(*frames).at(0.5), work))
    for a, b in zip(alone, together, strict=True):
        np.testing.assert_array_equal(a, b)


SIGNALS = """
import signal, subprocess, sys
import numpy as np
from betwixt.runtime.load import load_model

signal.signal(signal.SIGCHLD, lambda number, frame: None)
first, second = np.random.default_rng(0).random((2, 64, 64, 3), np.float32)
for _ in range(3):
    load_model("compact", "cpu", weights=sys.argv[1]).prepare(first, second).at(0.5)
others = [bytearray(11_000) for _ in range(2_000)]
for _ in range(30):
    subprocess.run(["true"], check=True)
assert not any(any(other) for other in others)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGCHLD"), reason="no such signal here")
def test_signal_stacks_survive_deleted_models(weights: Path) -> None:
    done = subprocess.run([sys.executable, "-c", SIGNALS, str(weights)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest
import torch

from betwixt.cli.main import run as cli
from betwixt.errors import BetwixtError, InputError, UsageError
from betwixt.evaluation.benchmark import BenchmarkRequest, run_benchmark
from betwixt.evaluation.cost import count_flops, count_parameters, measure_cost, parse_size
from betwixt.evaluation.network_variant import parse_variant
from betwixt.evaluation.plot import PlotPoint, draw_plot, read_quality
from betwixt.models.registry import MODELS
from clips import make_clip
from parity import counts

PUBLISHED = {
    "rife": "rife",
    "rife-m": "rife_m",
    "rife-2r": "rife_2r",
    "rife-4.6": "rife_v4.6",
    "rife-4.22-lite": "rife_v4.22_lite",
    "rife-4.25": "rife_v4.25",
    "ifrnet-s": "ifrnet_s",
    "ifrnet": "ifrnet",
    "ifrnet-l": "ifrnet_l",
    "amt-s": "amt_s",
    "amt-l": "amt_l",
    "amt-g": "amt_g",
    "ema-vfi-small": "ema_vfi_small",
    "ema-vfi": "ema_vfi",
    "ebme": "ebme_biflow",
}


@pytest.mark.parametrize("model", PUBLISHED)
def test_counts_match_the_authors_networks(model: str) -> None:
    theirs = counts(PUBLISHED[model])
    assert count_parameters(model) == pytest.approx(1e6 * theirs["params_M_inference"], abs=51)
    assert count_flops(model, 448, 256) == pytest.approx(theirs["gflop_256x448"], rel=5e-5, abs=1e-3)


@pytest.mark.parametrize("model", [name for name, info in MODELS.items() if info.has_network])
def test_registered_parameter_counts_are_right(model: str) -> None:
    assert count_parameters(model) == MODELS[model].parameters


def test_models_without_a_network_have_nothing_to_count() -> None:
    assert count_parameters("dis") == 0
    assert count_flops("dis", 64, 64) is None


def test_flops_of_compact_and_compact_large() -> None:
    small, large = (count_flops(model, 1280, 720) for model in ("compact", "compact-large"))
    assert small is not None
    assert large is not None
    assert 8 < small < 10
    assert 3.5 < large / small < 4.5


def test_a_benchmark_is_measured_recorded_and_plotted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    quality = tmp_path / "quality.csv"
    quality.write_text("model,dataset,options,psnr\naverage,ucf101,,33.1\ndis,ucf101,,34.9\n")
    arguments = ["benchmark", "--model", "average,dis", "--size", "64x48", "--runs", "3", "--json", "-"]
    assert cli([*arguments, "--record", str(tmp_path / "cost.csv"), "--plot", str(quality)]) == 0
    results = json.loads(capsys.readouterr().out)["results"]
    assert [r["model"] for r in results] == ["average", "dis"]
    for r in results:
        assert (r["width"], r["height"], r["runtime"], r["runs"]) == (64, 48, "native", 3)
        assert 0 < r["quartiles"][0] <= r["seconds"] <= r["quartiles"][1]
        assert r["peak_memory"] > 1e6
        assert r["machine"]
    assert "average,64x48,native" in (tmp_path / "cost.csv").read_text()
    assert "<svg" in quality.with_suffix(".svg").read_text()
    assert quality.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


@pytest.fixture
def thread_settings() -> Iterator[None]:
    """Restores the numbers of threads that a measurement sets."""
    torch_threads, opencv_threads = torch.get_num_threads(), cv2.getNumThreads()
    yield
    torch.set_num_threads(torch_threads)
    cv2.setNumThreads(opencv_threads)


@pytest.mark.usefixtures("thread_settings")
def test_networks_are_timed_without_trained_weights() -> None:
    cost = measure_cost("ifrnet-s", 64, 64, runs=3, threads=1)
    assert not cost.trained
    assert cost.runtime == "torch"
    assert cost.parameters == MODELS["ifrnet-s"].parameters
    assert cost.gflop is not None


@pytest.mark.usefixtures("thread_settings")
def test_changed_networks_are_timed_in_batches_and_by_part() -> None:
    variant = parse_variant(["scales=8,4,2"], augmented=True)
    cost = measure_cost("rife", 64, 64, runs=3, threads=1, warm_up=2, batch=2, parts=True, variant=variant)
    plain, coarse = count_flops("rife", 64, 64), count_flops("rife", 64, 64, parse_variant(["scales=8,4,2"]))
    assert (cost.settings, cost.batch, cost.runs) == ("scales=8,4,2, tta", 2, 3)
    assert plain is not None
    assert coarse is not None
    assert cost.gflop == 2 * coarse < 2 * plain
    assert cost.parts is not None
    assert all(seconds > 0 for seconds in cost.parts.values())
    ncm = measure_cost("ncm-base", 64, 64, runs=3, threads=1, parts=True).parts
    assert ncm is not None
    assert {"feature pyramid", "matching", "fine-scale blocks"} < ncm.keys()


@pytest.mark.usefixtures("thread_settings")
@pytest.mark.parametrize("runtime", ["torch", "openvino"])
def test_the_requested_runtime_is_used(runtime: str) -> None:
    cost = measure_cost("compact", 64, 64, runs=3, threads=1, runtime=runtime)
    assert (cost.runtime, cost.trained) == (runtime, True)


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not on the PATH")
@pytest.mark.parametrize("encode", [True, False])
def test_conversions_are_timed_beside_minterpolate(encode: bool, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mkv", frames=8, size=(64, 48))
    request = BenchmarkRequest(["average"], end_to_end=clip, rounds=1, no_encoder=not encode, record=tmp_path / "x.csv")
    (result,) = run_benchmark(request).end_to_end
    assert (result.width, result.height, result.frames_in, result.new_frames) == (64, 48, 8, 7)
    assert result.ratio == result.ours / result.theirs > 0
    (row,) = csv.DictReader((tmp_path / "x.csv").read_text().splitlines())
    assert row["encoder"] == ("libx264 medium crf 20" if encode else "none")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"models": ["nothing"]}, "no model"),
        ({"size": "720p"}, "no size"),
        ({"size": "8x8"}, "out of range"),
        ({"runs": 0}, "at least 1"),
        ({"batch": 0}, "at least 1"),
        ({"tta": True}, "networks of papers"),
        ({"models": ["rife"], "tta": True, "record": Path("x.csv")}, "`record` is for"),
        ({"parts": True}, "`parts` times"),
        ({"parts": True, "end_to_end": Path("x.mp4")}, "do not apply"),
        ({"runtime": "torch"}, "does not run on 'torch'"),
        ({"models": ["rife"], "runtime": "openvino"}, "export this network"),
        ({"models": ["minterpolate"]}, "`end_to_end`"),
        ({"end_to_end": Path("/no/clip.mp4")}, "no /no/clip.mp4|ffmpeg is not on the PATH"),
        ({"plot": Path("/no/table.csv")}, "cannot be read"),
        ({"seconds": 2.0}, "belongs to `end_to_end`"),
        ({"no_encoder": True}, "`no_encoder` belongs to `end_to_end`"),
        ({"json": Path("/no/such/folder/x.json")}, "does not exist"),
    ],
)
def test_bad_requests_are_refused_in_one_line(change: dict[str, object], message: str) -> None:
    with pytest.raises(BetwixtError, match=message) as error:
        run_benchmark(BenchmarkRequest(**{"models": ["average"], "size": "64x48", **change}))  # type: ignore[arg-type]
    assert "\n" not in str(error.value)


def test_sizes_are_parsed() -> None:
    assert parse_size("1920x1080") == (1920, 1080)
    with pytest.raises(UsageError):
        parse_size("1920*1080")


def test_plots_find_medians_by_the_metrics_name(tmp_path: Path) -> None:
    path = tmp_path / "quality.csv"
    path.write_text("model,dataset,options,psnr,sharpness_median\ndis,ucf101,,34.9,0.64\ndis,ucf101,every 2,35,0.7\n")
    assert read_quality(path, "ucf101", "sharpness") == {"dis": 0.64}
    assert read_quality(path, "ucf101", "psnr") == {"dis": 34.9}
    with pytest.raises(InputError, match="no ssim on ucf101"):
        read_quality(path, "ucf101", "ssim")


def test_plots_are_reproducible(tmp_path: Path) -> None:
    points = [PlotPoint("a", 0.01, 30.0), PlotPoint("b", 0.1, 34.0)]
    for name in ("x", "y"):
        draw_plot(tmp_path / f"{name}.csv", points, title="t", metric="psnr")
    assert (tmp_path / "x.svg").read_bytes() == (tmp_path / "y.svg").read_bytes()
    with pytest.raises(UsageError, match="Nothing to draw"):
        draw_plot(tmp_path / "z.csv", [], title="t", metric="psnr")

"""`betwixt evaluate`: requests, outputs, and the command line."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from layouts import LAYOUTS, write_image
from safetensors.torch import save_file

from betwixt.cli.main import run as cli
from betwixt.errors import BetwixtError, InputError, UsageError
from betwixt.evaluation.cost import count_flops
from betwixt.evaluation.network_variant import parse_variant
from betwixt.evaluation.report import update_table
from betwixt.evaluation.run import EvaluationRequest, run_evaluation
from betwixt.models.apr.network import APR, APRConfig
from betwixt.models.ifrnet.network import CONFIGS, IFRNet
from betwixt.models.registry import load_network
from betwixt.weights.metadata import hyperparameter_metadata


@pytest.fixture(autouse=True)
def wide_console(monkeypatch: pytest.MonkeyPatch) -> None:
    """Print tables whole, however narrow the terminal is that runs the tests."""
    monkeypatch.setenv("COLUMNS", "120")


@pytest.fixture
def vimeo(tmp_path: Path) -> Path:
    LAYOUTS["vimeo90k"][0](tmp_path)
    return tmp_path


def test_the_command_line(vimeo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {name: tmp_path / f"out.{name}" for name in ("csv", "json", "html")}
    arguments = ["evaluate", "--model", "average,nearest", "--dataset", "vimeo90k", "--root", str(vimeo)]
    arguments += ["--csv", str(files["csv"]), "--json", str(files["json"]), "--frames-csv", str(tmp_path / "f.csv")]
    arguments += ["--compare", "published", "--record", str(tmp_path / "quality.csv")]
    assert cli(arguments) == 0
    results = json.loads(files["json"].read_text())["results"]
    assert [(r["model"], r["dataset"], r["count"], r["skipped"]) for r in results] == [
        ("average", "vimeo90k", 3, 3779),
        ("nearest", "vimeo90k", 3, 3779),
    ]
    assert results[0]["psnr"] > results[1]["psnr"]
    low, high = results[0]["confidence_95"]["psnr"]
    assert low <= results[0]["psnr"] <= high
    with files["csv"].open() as file:
        assert [(r["model"], r["sequence"], r["count"]) for r in csv.DictReader(file)][:2] == [
            ("average", "00001", "2"),
            ("average", "00002", "1"),
        ]
    printed = capsys.readouterr()
    assert "incomplete" in printed.err
    assert "NCM-Large" in printed.out
    assert "36.22" in printed.out
    assert not list(tmp_path.glob("*.journal"))


def test_json_goes_to_standard_output_alone(vimeo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["evaluate", "--model", "nearest", "--dataset", "vimeo90k", "--root", str(vimeo), "--limit", "1"]
    assert cli([*arguments, "--json", "-"]) == 0
    (result,) = json.loads(capsys.readouterr().out)["results"]
    assert {"psnr", "psnr_float", "ssim", "ie"} <= result.keys()


def test_a_median_is_named_in_the_outputs_and_a_part_of_the_set_in_the_options(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    LAYOUTS["frames"][0](tmp_path / "set")
    table, sequences, record = tmp_path / "f.csv", tmp_path / "s.csv", tmp_path / "quality.csv"
    arguments = ["evaluate", "--model", "average", "--dataset", "frames", "--root", str(tmp_path / "set")]
    assert cli([*arguments, "--metrics", "psnr", "--record", str(record)]) == 0
    arguments += ["--metrics", "psnr,sharpness", "--frames-csv", str(table), "--csv", str(sequences), "--json", "-"]
    capsys.readouterr()
    assert cli([*arguments, "--record", str(record)]) == 0
    printed = capsys.readouterr()
    (result,) = json.loads(printed.out)["results"]
    assert result["metrics"]["sharpness"] == {"aggregation": "median", "better": "nearer to 1"}
    assert any({"sharpness", "nearer", "median"} <= set(line.split()) for line in printed.err.splitlines())
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert result["sharpness"] == pytest.approx(np.median([float(r["sharpness"]) for r in rows]), abs=1e-6)
    with sequences.open() as file:
        for row in csv.DictReader(file):
            frames = [float(r["sharpness"]) for r in rows if r["sequence"] == row["sequence"]]
            assert float(row["sharpness_median"]) == pytest.approx(np.median(frames), abs=1e-6)

    assert cli([*arguments, "--every", "3", "--record", str(record)]) == 0
    with record.open() as file:
        whole, part = csv.DictReader(file)
    assert (whole["options"], whole["count"], part["options"], part["count"]) == ("set", "7", "set, every 3", "3")
    low, score, high = (float(whole[f"sharpness_median{end}"]) for end in ("_low", "", "_high"))
    assert low <= score <= high


def test_several_sets_are_scored_one_after_the_other_with_their_mean(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("vimeo90k", "ucf101"):
        LAYOUTS[name][0](tmp_path)
    arguments = ["evaluate", "--model", "average,nearest", "--dataset", "vimeo90k,ucf101", "--root", str(tmp_path)]
    arguments += ["--metrics", "psnr", "--save-frames", str(tmp_path / "frames"), "--csv", str(tmp_path / "s.csv")]
    assert cli([*arguments, "--json", str(tmp_path / "x.json"), "--compare", "published"]) == 0
    results = json.loads((tmp_path / "x.json").read_text())["results"]
    assert [(r["dataset"], r["model"]) for r in results] == [
        (dataset, model) for dataset in ("vimeo90k", "ucf101") for model in ("average", "nearest")
    ]
    mean = (results[0]["psnr"] + results[2]["psnr"]) / 2
    printed = capsys.readouterr().out
    assert f"{mean:.2f}" in printed.partition("mean of the 2 sets")[2]
    assert printed.count("published: paper") == 4
    assert sorted(p.relative_to(tmp_path / "frames").as_posix() for p in (tmp_path / "frames").glob("*/*")) == [
        f"{model}/{dataset}" for model in ("average", "nearest") for dataset in ("ucf101", "vimeo90k")
    ]
    assert not list(tmp_path.glob("*.journal"))


def test_weights_name_their_model_and_its_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    LAYOUTS["triplets"][0](tmp_path / "set")
    torch.manual_seed(0)
    network = IFRNet(replace(CONFIGS["ifrnet-s"], channels=(8, 12, 16, 20)))
    weights = tmp_path / "mine.safetensors"
    save_file(network.state_dict(), weights, {"model": "ifrnet-s", **hyperparameter_metadata(network)})
    arguments = ["evaluate", "--weights", str(weights), "--dataset", "triplets", "--root", str(tmp_path / "set")]
    scores = []
    for extra in ([], ["--tta"]):
        assert cli([*arguments, *extra, "--json", "-"]) == 0
        (result,) = json.loads(capsys.readouterr().out)["results"]
        assert (result["model"], result["options"]) == ("ifrnet-s", "set, tta" if extra else "set")
        scores.append(result["psnr"])
    assert scores[0] != scores[1]
    for wrong, message in (
        (["--set", "scales=16,4,1"], "no setting 'scales'"),
        (["--set", "channels=9,9,9,9"], "holds weights of another network"),
        (["--set", "channels"], "not of the form key=value"),
        (["--tta", "--runtime", "openvino"], "leave --runtime out"),
        (["--tta", "--model", "compact"], "change the networks of papers"),
    ):
        assert cli([*arguments, *wrong]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


def test_routes_of_apr_are_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    LAYOUTS["triplets"][0](tmp_path / "set")
    torch.manual_seed(0)
    network = APR(APRConfig(patch=16))
    with torch.no_grad():  # every patch passes blocks 1 and 3 and skips the others
        network.router.choice.weight.zero_()
        network.router.choice.bias.copy_(torch.tensor([-1.0, 1, 1, -1, -1, 1, 1, -1]))
    weights = tmp_path / "apr.safetensors"
    save_file(network.state_dict(), weights, {"model": "apr", **hyperparameter_metadata(network)})
    arguments = ["evaluate", "--weights", str(weights), "--dataset", "triplets", "--root", str(tmp_path / "set")]
    assert cli([*arguments, "--jobs", "1", "--json", "-"]) == 0
    printed = capsys.readouterr()
    (result,) = json.loads(printed.out)["results"]
    assert result["routing"]["kept"] == [1.0, 0.0, 1.0, 0.0]
    all_pass = count_flops("apr", 64, 64, parse_variant(["keep=1,1,1,1", "patch=16"]))
    assert 0 < result["routing"]["gflop"] < result["routing"]["static_gflop"] == pytest.approx(all_pass)
    assert result["seconds_per_frame"] > 0
    assert "blocks pass 100.0 %, 0.0 %, 100.0 %, 0.0 % of the patches" in printed.err
    assert "ms a frame" in printed.err
    assert cli([*arguments, "--tta", "--json", "-"]) == 0
    (augmented,) = json.loads(capsys.readouterr().out)["results"]
    assert augmented["routing"]["static_gflop"] == pytest.approx(2 * all_pass)
    folders = [part for name in ("flows", "routes") for part in (f"--save-{name}", str(tmp_path / name))]
    assert cli([*arguments, *folders]) == 0
    names = {f"{sample}.flow_{way}{suffix}" for sample in "ab" for way in ("01", "10") for suffix in (".flo", ".png")}
    assert {p.name for p in (tmp_path / "flows").iterdir()} == names
    content = (tmp_path / "flows/a.flow_01.flo").read_bytes()
    assert content[:4] == b"PIEH"
    assert tuple(np.frombuffer(content, "<i4", 2, 4)) == (48, 32)
    assert len(content) == 12 + 48 * 32 * 8
    for block, brightness in enumerate((255, 0, 255, 0), 1):
        assert (cv2.imread(str(tmp_path / f"routes/a.routes_{block}.png")) == brightness).all()
    assert cli([*arguments, "--save-routes", "/no/such/folder/x"]) == 2
    capsys.readouterr()
    # All patches separately, without the router.
    assert cli([*arguments, "--set", "mode=patches", "--json", "-"]) == 0
    (result,) = json.loads(capsys.readouterr().out)["results"]
    assert result["routing"] is None


def test_masks_can_be_chosen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    LAYOUTS["triplets"][0](tmp_path / "set")
    torch.manual_seed(0)
    weights = tmp_path / "hm.safetensors"
    save_file(load_network("ifrnet-s+hm").state_dict(), weights, {"model": "ifrnet-s+hm"})
    (tmp_path / "masks").mkdir()
    labels = np.zeros((32, 48), np.uint8)
    labels[:, 24:] = 5
    for name in "ab":
        for side in (0, 1):
            cv2.imwrite(str(tmp_path / "masks" / f"{name}-{side}.png"), labels)
    arguments = ["evaluate", "--weights", str(weights), "--dataset", "triplets", "--root", str(tmp_path / "set")]
    scores = {}
    for masks in ("regions", "zero", str(tmp_path / "masks")):
        assert cli([*arguments, "--metrics", "psnr_float", "--masks", masks, "--json", "-"]) == 0
        (result,) = json.loads(capsys.readouterr().out)["results"]
        assert result["options"] == f"set, masks {Path(masks).name}"
        scores[Path(masks).name] = result["psnr_float"]
    assert len(set(scores.values())) == 3
    zero = EvaluationRequest(["ifrnet-s+hm"], "triplets", tmp_path / "set", weights=weights, settings=("masks=false",))
    ((evaluation, _),) = run_evaluation(zero).evaluations
    assert evaluation.summary("psnr_float").score == pytest.approx(scores["zero"])
    (tmp_path / "masks" / "b-1.png").unlink()
    assert cli([*arguments, "--masks", str(tmp_path / "masks")]) == 0
    assert "b-1.png is missing" in capsys.readouterr().err
    for wrong, message in (
        (["--masks", "clouds"], "clouds is neither"),
        (["--model", "compact", "--masks", "zero"], "compact takes no masks"),
    ):
        assert cli([*arguments, *wrong]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize("suffix", [".html", ".png"])
def test_a_sheet_shows_the_worst_frames(tmp_path: Path, suffix: str) -> None:
    LAYOUTS["triplets"][0](tmp_path / "set")
    write_image(tmp_path / "set/a/1.png", 9)  # far from the middle of the two
    path = tmp_path / f"sheet{suffix}"
    run_evaluation(EvaluationRequest(["dis", "average"], "triplets", tmp_path / "set", sheet=path))
    for name in ("dis", "average"):
        sheet = tmp_path / f"sheet.{name}{suffix}"
        if suffix == ".png":
            assert cv2.imread(str(sheet)) is not None
        else:
            page = sheet.read_text()
            assert page.index("1. a") < page.index("2. b")
            assert page.count("<img") == 12


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dataset": "imagenet"}, "no data set 'imagenet'"),
        ({"models": ["nothing"]}, "no model 'nothing'"),
        ({"models": ["rife"]}, "weights of rife"),
        ({"models": ["average", "average"]}, "named twice"),
        ({"dataset": "vimeo90k,vimeo90k"}, "named twice"),
        ({"metrics": "beauty"}, "no metric 'beauty'"),
        ({"limit": 0}, "leaves nothing"),
        ({"every": 0}, "`every=0` is too small"),
        ({"stride": 2}, "`stride` is for"),
        ({"compare": "rumour"}, "nothing to compare"),
        ({"resume": True}, "`resume` needs"),
        ({"sheet": Path("x.pdf")}, "end x.pdf in .html or .png"),
        ({"side_by_side": Path("x.png")}, "at least two"),
        ({"csv": Path("/no/such/folder/x.csv")}, "does not exist"),
        ({"ids": Path("/no/such/list")}, "cannot be read"),
        ({"jobs": -1}, "too small"),
        ({"record": Path("q.csv"), "limit": 1}, "whole sets"),
        ({"precision": "int4"}, "no precision"),
        ({"weights": Path("w.pth")}, "has a network"),
        ({"csv": Path("same.csv"), "json": Path("same.csv")}, "same name"),
        ({"models": ["average", "minterpolate"]}, "works on sequences"),
        ({"models": ["nearest", "average"], "extrapolate": True}, "only interpolates"),
        ({"models": ["dis"], "device": "tpu"}, "no device"),
    ],
)
def test_bad_requests_are_refused_in_one_line(vimeo: Path, change: dict[str, object], message: str) -> None:
    request = {"models": ["average"], "dataset": "vimeo90k", "root": vimeo, **change}
    with pytest.raises(BetwixtError, match=message) as error:
        run_evaluation(EvaluationRequest(**request))  # type: ignore[arg-type]
    assert "\n" not in str(error.value)


def test_updating_a_table_replaces_rows_with_the_same_key(tmp_path: Path) -> None:
    path = tmp_path / "quality.csv"
    update_table(path, [{"model": "b", "psnr": 1}, {"model": "a", "psnr": 2}], ("model",))
    update_table(path, [{"model": "b", "ssim": 4, "psnr": 3}], ("model",))
    with path.open() as file:
        assert file.readline() == "model,ssim,psnr\n"
        file.seek(0)
        assert list(csv.DictReader(file)) == [
            {"model": "a", "psnr": "2", "ssim": ""},
            {"model": "b", "psnr": "3", "ssim": "4"},
        ]
    path.write_text("something,else\n1,2\n")
    with pytest.raises(InputError, match="no table of these results"):
        update_table(path, [{"model": "a"}], ("model",))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dataset": "middlebury"}, "only .*frames"),
        ({"extrapolate": True}, "for interpolation"),
        ({"models": ["average"]}, "does not use the neighbouring frames"),
        ({"models": ["minterpolate"]}, "does not use the neighbouring frames"),
        ({"paths": "round"}, "straight or curved"),
    ],
)
def test_curved_paths_are_refused_where_they_do_not_apply(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    LAYOUTS["frames"][0](tmp_path)
    request = {"models": ["dis"], "dataset": "frames", "root": tmp_path, "paths": "curved", **change}
    with pytest.raises(UsageError, match=message):
        run_evaluation(EvaluationRequest(**request))  # type: ignore[arg-type]

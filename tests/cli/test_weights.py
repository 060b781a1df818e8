"""betwixt weights."""

import json
import re

import av
import pytest
import torch
from safetensors.torch import save_file

from betwixt.cli.main import run
from betwixt.models.registry import load_network
from clips import paint


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("BETWIXT_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path / "weights"


@pytest.fixture
def checkpoint(tmp_path):
    torch.manual_seed(0)
    state = {f"module.{n.removeprefix('estimator.')}": v for n, v in load_network("ebme").state_dict().items()}
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "x.pkl")
    return tmp_path / "x.pkl"


def test_import_list_verify_use(capsys, checkpoint, folder, tmp_path):
    assert run(["weights", "list"]) == 0
    out = capsys.readouterr().out
    assert "x.pkl" not in out
    assert "Betwixt" in out  # what comes with it
    assert run(["weights", "import", str(checkpoint), "--as", "ebme"]) == 0
    out = capsys.readouterr().out
    assert str(folder / "ebme.safetensors") in out
    assert "ebme: all 30 tensors, 0.63 M numbers, of x.pkl" in out

    assert run(["weights", "list"]) == 0
    out = capsys.readouterr().out
    assert "x.pkl" in out
    assert "nihui/rife-ncnn-vulkan" in out
    assert run(["weights", "list", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [w["model"] for w in found["weights"]] == [
        "codec-b",
        "compact-large",
        "compact",
        "hybrid",
        "rife-4.6",
        "ebme",
    ]
    assert {"rife-4.6", "ifrnet-l"} <= {d["name"] for d in found["downloads"]}

    assert run(["models", "--json"]) == 0
    states = {m["name"]: m["weights"] for m in json.loads(capsys.readouterr().out)["models"]}
    assert (states["ebme"], states["rife"]) == ("installed", "yours")

    assert run(["weights", "verify"]) == 0
    assert capsys.readouterr().out.startswith("good")
    data = bytearray((folder / "ebme.safetensors").read_bytes())
    data[-8] ^= 1
    (folder / "ebme.safetensors").write_bytes(data)
    assert run(["weights", "verify", "ebme"]) == 2
    said = capsys.readouterr()
    assert said.out.startswith("BAD")
    assert said.err == "betwixt: 1 of 1 files cannot be verified.\n"


def test_unreadable_weights_are_listed(capsys, folder):
    folder.mkdir()
    save_file({"a": torch.ones(1)}, folder / "odd.safetensors", {"model": "[/x]", "origin": "[red]"})
    (folder / "half.safetensors").write_bytes((folder / "odd.safetensors").read_bytes()[:-1])
    (folder / "gone.safetensors").symlink_to(folder / "nowhere")
    (folder / "room.safetensors").mkdir()
    assert run(["weights", "list"]) == 0
    out = capsys.readouterr().out
    assert "[/x]" in out
    assert "[red]" in out
    assert out.count("cannot be read") == 3
    assert run(["weights", "verify"]) == 2
    said = capsys.readouterr()
    assert said.out.count("is not a file, but a folder or a broken link") == 2
    assert f"{folder / 'half.safetensors'}: is not a safetensors file" in said.out
    assert re.fullmatch(r"betwixt: 4 of \d files cannot be verified\.\n", said.err)


def test_import_as_json(capsys, checkpoint, tmp_path):
    target = tmp_path / "mine.safetensors"
    assert run(["weights", "import", str(checkpoint), "--as", "ebme", "-o", str(target), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["model"], found["path"], found["parameters"]) == ("ebme", str(target), 632_900)


def test_a_restricted_licence_is_noted(capsys, tmp_path):
    torch.save(load_network("amt-s").state_dict(), tmp_path / "amt-s.pth")
    assert run(["weights", "import", str(tmp_path / "amt-s.pth"), "--as", "amt-s"]) == 0
    assert "CC BY-NC 4.0, not for commercial use" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["import", "none.pth", "--as", "ebme"], "There is no weights file none.pth"),
        (["import", "none.pth"], "--as"),
        (["import", "none.pth", "--as", "nothing"], "There is no model 'nothing'"),
        (["download", "nothing"], "There are no weights 'nothing' to download"),
        (["verify", "nothing"], "There are no weights 'nothing'"),
        (["fetch"], "fetch"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(capsys, arguments, message):
    assert run(["weights", *arguments]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "ways"),
    [
        ("ifrnet-s", ("betwixt weights download ifrnet-s", "betwixt weights import FILE --as ifrnet-s", "train it")),
        ("ifrnet", ("betwixt weights download ifrnet;",)),
        (
            "amt-l",
            ("betwixt weights import FILE --as amt-l (the authors': https://github.com/MCG-NKU/AMT)", "train it"),
        ),
        ("ncm-base", ("betwixt weights import FILE --as ncm-base", "train it")),
    ],
)
def test_a_model_without_weights_says_how_to_get_them(capsys, tmp_path, name, ways):
    for picture in ("a.png", "b.png"):
        paint(av.VideoFrame(64, 48, "rgb24"), 1).save(tmp_path / picture)
    given = [str(tmp_path / picture) for picture in ("a.png", "b.png", "c.png")]
    assert run(["between", *given, "--model", name]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"betwixt: No weights of {name} are installed: ")
    assert all(way in said for way in ways)
    assert said.count("\n") == 1

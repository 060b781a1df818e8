"""Importing, finding and verifying weights."""

import errno
import os
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from betwixt.errors import BetwixtError, InputError, OutputError, UsageError
from betwixt.files import file_hash
from betwixt.models.registry import load_network
from betwixt.runtime.load import find_weights, load_model
from betwixt.weights import store
from betwixt.weights.catalog import catalog, git_blob_hash
from betwixt.weights.install import build_meta_network, find_same_layers, import_weights
from betwixt.weights.load import read_tensors
from betwixt.weights.mask_networks import MASK_NETWORKS
from betwixt.weights.metadata import read_metadata
from betwixt.weights.store import embedded_file
from betwixt.weights.verify import list_weights, verify_weights
from parity import FOLDER


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The user's folder, for one test."""
    monkeypatch.setenv("BETWIXT_WEIGHTS", str(tmp_path / "weights"))
    return tmp_path / "weights"


@pytest.fixture
def checkpoint(tmp_path):
    """What EBME's authors would publish, in half precision."""
    torch.manual_seed(0)
    state = load_network("ebme").state_dict()
    path = tmp_path / "bi-flownet.pkl"
    torch.save(OrderedDict(("module." + n.removeprefix("estimator."), v.half()) for n, v in state.items()), path)
    return path


def test_imported_weights_record_their_source(checkpoint, folder):
    imported = import_weights(checkpoint, "ebme")
    assert imported.path == folder / "ebme.safetensors"
    assert (imported.tensors, imported.parameters) == (30, 632_900)
    found = read_metadata(imported.path)
    assert found["model"] == "ebme"
    assert found["source"] == "bi-flownet.pkl"
    assert found["source_sha256"] == file_hash(checkpoint)
    assert found["source_format"] == "float16"
    assert found["converter"].startswith("betwixt ")
    assert found["date"].startswith("20")
    tensors = read_tensors(imported.path)
    assert all(value.dtype == torch.float32 for value in tensors.values())
    assert set(tensors) == set(build_meta_network("ebme").state_dict())


def test_imported_weights_are_found(checkpoint):
    with pytest.raises(
        UsageError, match=r"No weights of ebme are installed: betwixt weights download ebme; .*import FILE"
    ):
        load_model("ebme")
    import_weights(checkpoint, "ebme")
    model = load_model("ebme", "cpu")
    rng = np.random.default_rng(0)
    first, second = (rng.random((40, 50, 3), np.float32) for _ in range(2))
    assert model.prepare(first, second).at(0.5).shape == (40, 50, 3)


def test_the_authors_released_weights(folder):
    path = FOLDER / "ebme_biflow_released.pkl"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    imported = import_weights(path, "ebme")
    theirs = torch.load(path, map_location="cpu", weights_only=True)
    ours = load_model("ebme", "cpu").network.state_dict()
    assert all(torch.equal(ours["estimator." + n.removeprefix("module.")], value) for n, value in theirs.items())
    assert [v.good for v in verify_weights([str(path), "ebme"])] == [True, True]
    assert "checkpoints/ebme/bi-flownet.pkl of srcn-ivl/EBME" in verify_weights([str(path)])[0].text
    assert imported.path.parent == folder


def test_models_share_weights_of_the_same_network(tmp_path, folder, monkeypatch):
    folder.mkdir()
    (folder / "rife-2r.safetensors").touch()
    assert store.find_installed("rife-large") == folder / "rife-2r.safetensors"
    assert store.find_installed("rife") is None
    (folder / "apr.safetensors").touch()
    assert store.find_installed("apr-static") == folder / "apr.safetensors"


def test_weights_of_another_model_with_equal_shapes_are_refused(tmp_path):
    torch.save(load_network("rife-2r").state_dict(), tmp_path / "x.pth")
    imported = import_weights(tmp_path / "x.pth", "rife-2r")
    with pytest.raises(InputError, match="holds weights of rife-2r, not of rife"):
        load_model("rife", "cpu", weights=imported.path)
    with pytest.raises(InputError, match="holds weights of rife-2r, not of rife"):
        import_weights(imported.path, "rife", tmp_path / "y.safetensors")
    assert import_weights(imported.path, "rife-2r", tmp_path / "y.safetensors").tensors == imported.tensors
    assert load_model("rife-large", "cpu").name == "rife-large"


def test_apr_static_takes_the_weights_of_apr(tmp_path):
    torch.save(load_network("apr").state_dict(), tmp_path / "x.pth")
    imported = import_weights(tmp_path / "x.pth", "apr", tmp_path / "apr.safetensors")
    assert load_model("apr-static", "cpu", weights=imported.path).name == "apr-static"


def test_existing_files_are_kept_without_overwrite(checkpoint, tmp_path):
    target = tmp_path / "x.safetensors"
    target.write_bytes(b"mine")
    with pytest.raises(OutputError, match="pass `overwrite=True`"):
        import_weights(checkpoint, "ebme", target)
    assert target.read_bytes() == b"mine"
    import_weights(checkpoint, "ebme", target, overwrite=True)
    assert verify_weights([str(target)])[0].good


@pytest.mark.parametrize(
    ("model", "target", "message"),
    [
        ("nothing", None, "no model 'nothing'"),
        ("dis", None, "no network"),
        ("compact", None, "come with Betwixt"),
        ("ebme", "x.pth", "end its name in .safetensors"),
        ("ebme", "none/x.safetensors", "does not exist"),
        ("ebme", "folder.safetensors", "is a folder"),
    ],
)
def test_bad_imports_say_why(checkpoint, tmp_path, model, target, message):
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(BetwixtError, match=message):
        import_weights(checkpoint, model, None if target is None else tmp_path / target)
    with pytest.raises(InputError, match="no weights file"):
        import_weights(tmp_path / "none.pth", "ebme")


def test_a_full_disk_leaves_no_partial_file(checkpoint, folder, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="the disk is full"):
        import_weights(checkpoint, "ebme")
    assert list(folder.iterdir()) == []


def test_extra_tensors_are_refused_unless_ignored(tmp_path, checkpoint):
    state = torch.load(checkpoint, weights_only=True)
    torch.save({**state, "head.weight": torch.ones(2), "block_tea.a.weight": torch.ones(2)}, tmp_path / "x.pth")
    with pytest.raises(
        InputError, match=r"holds 1 tensors that ebme does not have, head.weight .* pass `ignore_extra=True`"
    ):
        import_weights(tmp_path / "x.pth", "ebme")
    imported = import_weights(tmp_path / "x.pth", "ebme", ignore_extra=True)
    assert imported.extra == ("head.weight",)
    assert imported.unused == ("block_tea.a.weight",)


def test_the_error_names_the_model_that_fits(checkpoint):
    with pytest.raises(InputError, match=r'weights of another network: .* It fits `model="ebme"`\.$'):
        import_weights(checkpoint, "rife-4.6")


@pytest.fixture(scope="module")
def versions_of_rife(tmp_path_factory):
    """Checkpoints of versions of RIFE 4 as they circulate, by file name: other names of blocks and encoder, float16."""
    folder = tmp_path_factory.mktemp("rife")
    files = {}
    for name, model, renamed in (
        ("rife_v4.25_lite.safetensors", "rife-4.25-lite", {"block": "blocks."}),
        ("flownet_v4.18.pkl", "rife-4.10", {}),
        ("flownet_v4.9.pkl", "rife-4.7", {"encode.cnn0": "encode.0", "encode.cnn3": "encode.1"}),
    ):
        tensors = {}
        for key, value in build_meta_network(model).state_dict().items():
            for ours, theirs in renamed.items():
                key = theirs + key.removeprefix(ours) if key.startswith(ours) else key
            tensors[key] = torch.full(value.shape, 0.01, dtype=torch.float16)
        files[name] = folder / name
        if name.endswith(".pkl"):
            torch.save({f"module.{key}": value for key, value in tensors.items()}, files[name])
        else:
            save_file(tensors, files[name])
    return files


@pytest.mark.parametrize(
    ("name", "model", "same"),
    [
        ("rife_v4.25_lite.safetensors", "rife-4.25-lite", ()),
        ("flownet_v4.9.pkl", "rife-4.7", ("rife-4.8", "rife-4.9")),
    ],
)
def test_versions_of_rife_are_imported_under_their_circulating_names(versions_of_rife, tmp_path, name, model, same):
    imported = import_weights(versions_of_rife[name], model, tmp_path / "x.safetensors")
    assert (imported.extra, imported.same_layers) == ((), same)
    assert set(read_tensors(imported.path)) == set(build_meta_network(model).state_dict())


def test_a_version_of_rife_is_known_by_its_tensors(versions_of_rife, tmp_path):
    with pytest.raises(InputError, match=r'It fits `model="rife-4.10"`\.$'):
        import_weights(versions_of_rife["flownet_v4.18.pkl"], "rife-4.26", tmp_path / "x.safetensors")
    with pytest.raises(UsageError, match=r"rife-4.18 has the layers of rife-4.10, and is run by its name"):
        import_weights(versions_of_rife["flownet_v4.18.pkl"], "rife-4.18", tmp_path / "x.safetensors")
    assert not (tmp_path / "x.safetensors").exists()


def test_models_that_no_file_tells_apart():
    for model, same in (("rife-4.25", ("rife-4.26",)), ("rife-4.6", ()), ("ebme", ())):
        assert find_same_layers(model, build_meta_network(model)) == same
    assert "rife-2r" in find_same_layers("rife", build_meta_network("rife"))


def test_damaged_weights_fail_verification(checkpoint, folder):
    shipped = "codec-b", "compact-large", "compact", "hybrid", "rife-4.6"
    path = import_weights(checkpoint, "ebme").path
    assert [(v.good, v.path) for v in verify_weights()] == [
        *((True, embedded_file(f"{name}.safetensors")) for name in shipped),
        (True, path),
    ]
    data = bytearray(path.read_bytes())
    data[-1000] ^= 1
    path.write_bytes(data)
    (verdict,) = verify_weights(["ebme"])
    assert not verdict.good
    assert "is damaged" in verdict.text
    path.write_bytes(data[:5000])
    (verdict,) = verify_weights(["ebme"])
    assert not verdict.good
    (item,) = (stored for stored in list_weights() if stored.path == path)
    assert item.problem
    with pytest.raises(UsageError, match="no weights 'rife'"):
        verify_weights(["rife"])


def test_installed_weights_take_precedence_over_embedded_ones(folder):
    assert find_weights("rife-4.6") == embedded_file("rife-4.6.safetensors")
    # As if they had another RIFE 4.6.
    mine = import_weights(embedded_file("rife-4.6.safetensors"), "rife-4.6").path
    assert find_weights("rife-4.6") == mine
    assert [v.good for v in verify_weights(["rife-4.6"])] == [True, True]
    data = bytearray(mine.read_bytes())
    data[-1000] ^= 1
    mine.write_bytes(data)
    assert [v.good for v in verify_weights(["rife-4.6"])] == [True, False]


@pytest.mark.parametrize("name", ["compact", "hybrid"])
def test_weights_of_own_networks_need_a_target(tmp_path, folder, name):
    with pytest.raises(UsageError, match="name a file to write as `target`"):
        import_weights(embedded_file(f"{name}.safetensors"), name)
    made = import_weights(embedded_file(f"{name}.safetensors"), name, tmp_path / "copy.safetensors")
    assert load_model(name, "cpu", weights=made.path).name == name


def test_unknown_files_fail_verification(tmp_path):
    (tmp_path / "x.bin").write_bytes(b"hello")
    (verdict,) = verify_weights([str(tmp_path / "x.bin")])
    assert not verdict.good
    assert file_hash(tmp_path / "x.bin") in verdict.text


def test_git_blob_hash(tmp_path):
    (tmp_path / "x").write_bytes(b"hello\n")
    assert git_blob_hash(tmp_path / "x") == "ce013625030ba8dba906f756967f9e9ca394464a"


def test_the_catalog_is_complete():
    known = catalog()
    assert {entry.model for entry in known.published.values()} >= {"rife-4.6", "ifrnet-s", "ifrnet", "ifrnet-l", "ebme"}
    for entry in known.published.values():
        assert bool(entry.model) != bool(entry.unsupported)
        assert len(entry.commit) == 40
        if entry.model:
            build_meta_network(entry.model)
            assert all(file.size or file.estimated_size for file in known.files_of(entry.name))
    for file in known.files:
        assert (len(file.git_blob_sha1), len(file.sha256)) in ((40, 0), (0, 64))
        assert file.url.startswith("https://")
    for place in known.manual:
        assert set(place.unverified) <= set(place.models)
        assert all(model in MASK_NETWORKS or build_meta_network(model) for model in place.models)
    embedded = Path(store.embedded_file("x")).parent
    assert not embedded.is_dir() or {p.name for p in embedded.glob("*.safetensors")} <= set(known.embedded)

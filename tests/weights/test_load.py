"""Weights files: the authors' formats, and files that are refused."""

import io
import json
import os
import pickle
import struct
import sys
import zipfile
from collections import OrderedDict
from copy import copy
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from betwixt.errors import BetwixtError, InputError
from betwixt.models.ebme.network import EBMESplat
from betwixt.weights.install import build_meta_network
from betwixt.weights.load import load_weights, match_file, match_tensors, read_tensors, reference_renaming
from betwixt.weights.metadata import read_metadata
from parity import fixture


@pytest.fixture(scope="module")
def ours():
    """The state dict of a small network."""
    torch.manual_seed(0)
    return EBMESplat().state_dict()


def theirs(ours, prefix="module."):
    """The same under the authors' names."""
    return OrderedDict((prefix + name.removeprefix("estimator."), value) for name, value in ours.items())


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3, "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]}},
        lambda state: {"model": {"params": dict(state)}, "step": 7},
        lambda state: {"anything": state, "version": "1.0"},
        lambda state: {name.replace("module.", "flow."): value for name, value in state.items()},
    ],
)
@pytest.mark.parametrize("archive", [True, False])
def test_checkpoints_of_many_layouts(tmp_path, ours, wrap, archive):
    path = tmp_path / "checkpoint.pkl"
    torch.save(wrap(theirs(ours)), path, _use_new_zipfile_serialization=archive)
    network = EBMESplat()
    load_weights(network, path)
    assert all(torch.equal(value, ours[name]) for name, value in network.state_dict().items())


def test_a_bin_file_can_be_a_checkpoint(tmp_path, ours):
    torch.save(theirs(ours), tmp_path / "pytorch_model.bin")
    load_weights(EBMESplat(), tmp_path / "pytorch_model.bin")


@pytest.mark.parametrize(
    ("name", "model"),
    [
        *((name, name.replace("_v", "-").replace("_", "-")) for name in ("rife", "rife_m", "rife_2r", "rife_v4.6")),
        *((name, name.replace("_v", "-").replace("_", "-")) for name in ("rife_v4.22_lite", "rife_v4.25", "amt_g")),
        *((name, name.replace("_", "-")) for name in ("ifrnet_s", "ifrnet", "ifrnet_l", "amt_s", "amt_l")),
        *((name, name.replace("_", "-")) for name in ("ema_vfi_small", "ema_vfi")),
        ("ebme_biflow", "ebme"),
    ],
)
def test_the_authors_names_and_shapes_match(name, model):
    arrays = fixture(name)
    names, shapes = [str(n) for n in arrays["param_names"]], json.loads(str(arrays["param_shapes"]))
    shapes = [shapes[n] for n in names] if isinstance(shapes, dict) else shapes
    given = {n: torch.zeros(()).expand(shape) for n, shape in zip(names, shapes, strict=True)}
    # What else their files hold: teachers, and the masks of the last batch.
    given |= {"teacher.conv0.0.0.weight": torch.ones(2), "backbone.block.attn_mask": torch.ones(2)}
    given["feature_bone.block4.0.HW"] = torch.tensor([3.0, 4.0])
    network = build_meta_network(model)
    found = match_tensors(network, given, Path("x.pkl"), reference_renaming(network))
    assert set(found.tensors) == set(network.state_dict())
    assert not found.extra
    assert len(found.unused) >= 3


def test_extra_tensors_are_listed(ours):
    given = dict(theirs(ours, "")) | {"head.weight": torch.ones(2)}
    assert match_tensors(build_meta_network("ebme"), given, Path("x"), reference_renaming(EBMESplat())).extra == (
        "head.weight",
    )


class Bomb:
    """Runs a command when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


def _code(folder, ours):
    return pickle.dumps({"a": Bomb(folder / "ran")})


def _code_without_protocol(folder, ours):
    return f"cposix\nsystem\n(S'touch {folder / 'ran'}'\ntR.".encode()


def _code_in_an_archive(folder, ours):
    return _saved({**ours, "a": Bomb(folder / "ran")})


def _code_in_an_old_file(folder, ours):
    return _saved({**ours, "a": Bomb(folder / "ran")}, _use_new_zipfile_serialization=False)


def _whole_module(folder, ours):
    return _saved(nn.Conv2d(1, 1, 1))


def _cut_archive(folder, ours):
    return _saved(ours)[:-5000]


def _cut_old_file(folder, ours):
    return _saved(ours, _use_new_zipfile_serialization=False)[:-5000]


def _bit_rot(folder, ours):
    data = bytearray(_saved(ours))
    data[len(data) // 2] ^= 8
    return bytes(data)


def _zip_bomb(folder, ours):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(64 << 20))
    return buffer.getvalue()


def _overlapping_zip_bomb(folder, ours):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", bytes(1 << 20))
        for number in range(1000):
            again = copy(archive.filelist[0])
            again.filename = f"archive/data/{number}"
            archive.filelist.append(again)
    return buffer.getvalue()


def _other_archive(folder, ours):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("readme.txt", "hello")
    return buffer.getvalue()


def _program(folder, ours):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("data.pkl", "constants.pkl", "code/__torch__.py"):
            archive.writestr(f"script/{name}", "")
    return buffer.getvalue()


def _nested_tables(folder, ours):
    """A table that holds one table two thousand times, which holds one two thousand times, .."""
    inner = {"a": 1}
    for _ in range(3):
        inner = dict.fromkeys(map(str, range(2000)), inner)
    return _saved(inner)


def _archive_with_false_sizes(folder, ours, count=60_000):
    """A tensor of 1000 numbers that says it has `count`."""
    source, buffer = io.BytesIO(_saved({"a": torch.zeros(1000)})), io.BytesIO()
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(buffer, "w") as new:
        for entry in old.infolist():
            data = old.read(entry)
            if entry.filename.endswith("data.pkl"):
                data = data.replace(b"M\xe8\x03", b"J" + struct.pack("<i", count))
            new.writestr(entry.filename, data)
    return buffer.getvalue()


def _old_file_with_false_sizes(folder, ours):
    data = _saved({"a": torch.zeros(1000)}, _use_new_zipfile_serialization=False)
    return data.replace(b"M\xe8\x03", b"J" + struct.pack("<i", 2_000_000_000))


def _safetensors(header, data=b"", length=None):
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def _false_shape(folder, ours):
    return _safetensors({"a": {"dtype": "F32", "shape": [1 << 20, 1 << 12], "data_offsets": [0, 16]}}, bytes(16))


def _false_offsets(folder, ours):
    return _safetensors({"a": {"dtype": "F32", "shape": [1 << 33], "data_offsets": [0, 1 << 35]}}, bytes(16))


def _endless_header(folder, ours):
    return _safetensors({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}, bytes(16), length=1 << 60)


def _cut_safetensors(folder, ours):
    save_file(dict(ours), folder / "whole")
    return (folder / "whole").read_bytes()[:-100]


def _saved(content, **options):
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


BAD = [
    (_code, ".pkl", "may hold code, which is never run"),
    (_code_without_protocol, ".pkl", "holds code, or objects that need it .*system"),
    (_code_in_an_archive, ".pth", "holds code, or objects that need it .*system"),
    (_code_in_an_old_file, ".pkl", "holds code, or objects that need it .*system"),
    (_whole_module, ".pth", "holds code, or objects that need it .*Conv2d"),
    (_program, ".pt", "is a TorchScript program"),
    (_cut_archive, ".pth", "damaged or cut short"),
    (_cut_old_file, ".pkl", "damaged or cut short"),
    (_bit_rot, ".pth", "is damaged"),
    (_zip_bomb, ".pth", "would unpack from 0.1 to 67.1 MB"),
    (_overlapping_zip_bomb, ".pth", "would unpack from .* to 1049.6 MB"),
    (_nested_tables, ".pth", "holds no weights"),
    (_other_archive, ".pth", "an archive of something else"),
    (lambda _, ours: _saved(ours), ".safetensors", r"a PyTorch archive, .* end its name in \.pth"),
    (_archive_with_false_sizes, ".pth", "damaged or cut short"),
    (_old_file_with_false_sizes, ".pkl", "damaged or cut short"),
    (_false_shape, ".safetensors", "header does not match"),
    (_false_offsets, ".safetensors", "header does not match"),
    (_endless_header, ".safetensors", "header does not match"),
    (_cut_safetensors, ".safetensors", "header does not match"),
    (lambda *_: b"", ".pth", "is empty"),
    (lambda *_: b"\0" * 100, ".safetensors", "not a safetensors"),
    (lambda *_: b"PK\x03\x04" + b"\0" * 100, ".pth", "damaged or cut short"),
    (lambda *_: b"\x80\x02}q\x00." * 5, ".pth", "not a PyTorch checkpoint"),
    (lambda *_: b"hello" * 100, ".pth", r"not a PyTorch checkpoint, or is damaged or cut short\.$"),
    (lambda *_: b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", ".pth", "a Git LFS pointer"),
    (lambda *_: b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", ".safetensors", "a Git LFS pointer"),
    (lambda *_: b"<!DOCTYPE html><html>sign in</html>", ".pth", "a web page"),
    (lambda *_: b"\x89HDF\r\n\x1a\n" + b"\0" * 100, ".h5", "not a weights file that Betwixt reads"),
    (lambda *_: _saved([torch.ones(2)]), ".pth", "holds no weights"),
    (lambda *_: _saved({"a": 1, "b": "c"}), ".pth", "holds no weights"),
    (lambda *_: _saved({"a": torch.ones(2).to_sparse()}), ".pth", "sparse, quantized or empty"),
    (lambda *_: _saved({"a": torch.ones(2), "module.a": torch.ones(2)}), ".pth", "some names twice"),
]


@pytest.mark.parametrize(("make", "suffix", "message"), BAD)
def test_bad_files_raise_one_line_and_run_no_code(tmp_path, ours, make, suffix, message):
    path = tmp_path / f"bad{suffix}"
    path.write_bytes(make(tmp_path, ours))
    with pytest.raises(InputError, match=message) as error:
        read_tensors(path)
    if suffix == ".safetensors":
        # What is looked at first says the same.
        with pytest.raises(InputError, match=message):
            read_metadata(path)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)
    assert not (tmp_path / "ran").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is measured as Linux has it")
def test_bad_files_take_no_memory(tmp_path, ours):
    paths = []
    for number, (make, suffix, _) in enumerate(BAD):
        paths.append(tmp_path / f"{number}{suffix}")
        paths[-1].write_bytes(make(tmp_path, ours))
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = _peak_memory()
    for path in paths:
        with pytest.raises(InputError):
            read_tensors(path)
    assert _peak_memory() - before < 40e6


def _peak_memory():
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return 1024 * int(line.split()[1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("estimator.flow_estimator.conv_layer6.0.bias"), "1 of 30 tensors are missing, estimator.flow"),
        (lambda t: t.update({"estimator.flow_estimator.conv_layer6.0.bias": torch.ones(5)}), r"has the shape \(5,\)"),
        (lambda t: t["estimator.flow_estimator.conv_layer6.0.bias"].fill_(float("nan")), "contains NaN or infinity"),
        (lambda t: t["estimator.flow_estimator.conv_layer6.0.bias"].fill_(float("inf")), "contains NaN or infinity"),
        (
            lambda t: t.update({"estimator.flow_estimator.conv_layer6.0.bias": torch.ones(4, dtype=torch.int32)}),
            "is of int32, not of real numbers",
        ),
        (
            lambda t: t.update({k: v.to(torch.float8_e4m3fn) for k, v in t.items()}),
            "is of float8_e4m3fn, not of real numbers of 16 bits or more",
        ),
        (lambda t: t.clear() or t.update(a=torch.ones(2)), "30 of 30 tensors are missing"),
    ],
)
def test_weights_that_do_not_fit_change_no_parameter(tmp_path, ours, change, message):
    tensors = {name: value.clone() for name, value in ours.items()}
    change(tensors)
    torch.save(tensors, tmp_path / "x.pth")
    network = EBMESplat()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(InputError, match=message):
        load_weights(network, tmp_path / "x.pth")
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_weights_of_other_variants_are_refused(tmp_path):
    torch.save(
        {k: torch.zeros(v.shape) for k, v in build_meta_network("ifrnet-s").state_dict().items()}, tmp_path / "x.pth"
    )
    for model in ("ifrnet", "rife", "rife-4.25", "amt-s"):
        with pytest.raises(BetwixtError, match="weights of another network"):
            match_file(build_meta_network(model), tmp_path / "x.pth")

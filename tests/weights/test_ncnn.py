"""ncnn models: both encodings, matching to networks, equal results."""

from itertools import count

import numpy as np
import pytest
import torch

from betwixt.errors import InputError
from betwixt.models.registry import load_network
from betwixt.weights.install import build_meta_network, import_weights
from betwixt.weights.load import load_weights
from betwixt.weights.ncnn import convolutions, match_layers, read_ncnn
from ncnn_graph import FOLDER, random_weights, run, write_bin


def real_file(name):
    """A real file; the test is skipped where it is not at hand."""
    path = FOLDER / name
    if not path.exists():
        pytest.skip(f"{path} is not here: ncnn's files lie beside the project, not in it")
    return path


def pattern(height, width, phase=0.0):
    """A frame (1, 3, H, W) of waves."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    waves = [0.5 + 0.5 * np.sin(0.31 * x * (c + 1) + 0.17 * y + c + phase) for c in range(3)]
    return torch.from_numpy(np.stack(waves)[None].astype(np.float32))


def write_pair(folder, param, half, seed=3, gain=0.5):
    """The real layers with weights of our own, as a pair of files; and the weights."""
    weights = random_weights(param, seed, half, gain)
    copy = folder / param.name
    copy.write_bytes(param.read_bytes())
    write_bin(copy.with_suffix(".bin"), copy, weights, half)
    return copy, weights


@pytest.mark.parametrize(
    ("name", "model", "half"),
    [
        ("rife-v4/flownet", "rife-4.0", True),
        ("rife-v4/flownet", "rife-4.0", False),
        ("rife-v4.6/flownet", "rife-4.6", True),
        ("rife-v4.6/flownet", "rife-4.6", False),
        ("IFRNet_S_Vimeo90K/ifrnet", "ifrnet-s", True),
        ("IFRNet_S_Vimeo90K/ifrnet", "ifrnet-s", False),
        ("IFRNet_Vimeo90K/ifrnet", "ifrnet", True),
        ("IFRNet_L_Vimeo90K/ifrnet", "ifrnet-l", True),
    ],
)
def test_an_imported_model_computes_what_the_graph_computes(tmp_path, name, model, half):
    param, weights = write_pair(tmp_path, real_file(f"{name}.param"), half)
    given = param if half else param.with_suffix(".bin")
    imported = import_weights(given, model, tmp_path / "x.safetensors")
    network = load_network(model).eval()
    load_weights(network, imported.path)

    frame0, frame1, t = pattern(64, 96), pattern(64, 96, 1.0), torch.full((1, 1, 1, 1), 0.3)
    if model.startswith("rife"):
        expected = run(param, weights, frame0, frame1, t.expand(1, 1, 64, 96))["out0"]
    else:
        # The mean stays outside the graph, and t is a map of a sixteenth.
        mean = 0.5 * (frame0.mean() + frame1.mean())
        expected = run(param, weights, frame0 - mean, frame1 - mean, t.expand(1, 1, 4, 6))["out0"] + mean
    with torch.no_grad():
        made = network(frame0, frame1, t)
    assert made.flow_t0.abs().max() > 0.2
    assert (made.frame - expected.clamp(0, 1)).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("rife", [(0.032687, 0.176388), (0.110613, 0.268307), (0.117274, 0.691989), (0.986476, 6.320423)]),
        ("rife-v2.4", [(0.0744, 0.287207), (-0.001966, 0.238297), (0.058643, 0.195306), (0.034711, 0.220712)]),
    ],
)
def test_real_weights_are_read_as_ncnn_reads_them(name, known):
    """Mean and standard deviation of the features are those that ncnn itself (1.0.20261020, CPU, float32) computed."""
    param = real_file(f"{name}/contextnet.param")
    net = read_ncnn(param.with_suffix(".bin"))[""]
    assert net.encoding == "fp16"
    weights = [[array.reshape(-1) for array in net.arrays[place]] for place in sorted(net.arrays)]
    blobs = run(param, weights, pattern(64, 96), torch.zeros(1, 2, 32, 48))
    found = [blobs[f"f{level}"] for level in (1, 2, 3, 4)]
    for features, (mean, deviation) in zip(found, known, strict=True):
        assert float(features.mean()) == pytest.approx(mean, abs=2e-6 + 1e-5 * deviation)
        assert float(features.std(correction=0)) == pytest.approx(deviation, rel=1e-5)


@pytest.mark.parametrize(
    ("name", "model", "message"),
    [
        ("rife-v4", "rife-4.6", r"convolution 1 \(conv_20\) is .*PReLU"),
        ("IFRNet_S_Vimeo90K", "ifrnet", "24 x 3 x 3 x 3.*here it is .*32 x 3 x 3 x 3"),
        ("IFRNet_L_Vimeo90K", "rife-4.6", "is not this network"),
    ],
)
def test_real_layers_of_another_network_are_refused(tmp_path, name, model, message):
    (param,) = real_file(name).glob("*.param")
    write_pair(tmp_path, param, True)
    with pytest.raises(InputError, match=message):
        match_layers(read_ncnn(tmp_path / param.name), build_meta_network(model))


def test_the_error_says_which_model_it_is(tmp_path):
    param, _ = write_pair(tmp_path, real_file("IFRNet_S_Vimeo90K/ifrnet.param"), True)
    with pytest.raises(InputError, match=r'It fits `model="ifrnet-s"`\.$'):
        import_weights(param, "ifrnet", tmp_path / "x.safetensors")
    param, _ = write_pair(tmp_path, real_file("rife-v4/flownet.param"), True)
    with pytest.raises(InputError, match=r'It fits `model="rife-4.0"`\.$'):
        import_weights(param, "rife-4.6", tmp_path / "x.safetensors")
    param, _ = write_pair(tmp_path, real_file("rife/flownet.param"), True)
    with pytest.raises(InputError, match=r"It is models/rife of nihui/rife-ncnn-vulkan: an earlier RIFE than the"):
        import_weights(param, "rife-4.6", tmp_path / "x.safetensors")
    assert not (tmp_path / "x.safetensors").exists()


# From here on the pairs are the tests' own, made of networks


def write_chain(path, network, half=True, *, steps=None, frames=1, factors="folded"):
    """A network's convolutions as an ncnn pair, one behind the other.

    Such a graph could not run, since it has nothing else; what is mapped by place in the graph is there.
    """
    parameters = dict(network.named_parameters())
    numbers, lines, arrays = count(), [], []
    makes = lambda: f"b{next(numbers)}"  # noqa: E731
    lines += [f"Input in{index} 0 1 in{index}" for index in range(frames)]
    ends = []
    for index in range(frames):
        blob = f"in{index}"
        shared = [s for s in steps or convolutions(network) if s.name.startswith("enc")] if frames == 2 else []
        for step in shared:
            blob = _write_step(lines, arrays, step, parameters, blob, makes, factors)
        ends.append(blob)
    blob = ends[0]
    if frames == 2:
        lines.append(f"Concat cat 2 1 {ends[0]} {ends[1]} joined")
        blob = "joined"
    for step in steps or convolutions(network):
        if frames == 1 or not step.name.startswith("enc"):
            blob = _write_step(lines, arrays, step, parameters, blob, makes, factors)
    path.write_text("\n".join(["7767517", f"{len(lines)} {next(numbers)}", *lines]) + "\n")
    write_bin(path.with_suffix(".bin"), path, arrays, half)
    return path


def _write_step(lines, arrays, step, parameters, blob, makes, factors):
    weight, bias = parameters[step.names["weight"]].detach(), parameters[step.names["bias"]].detach()
    factor = parameters[step.names["factors"]].detach() if "factors" in step.names else None
    skip = blob
    if factor is not None:
        lines.append(f"Split split{makes()} 1 2 {blob} {blob}a {blob}b")
        blob, skip = f"{blob}a", f"{blob}b"
        if factors == "folded":
            weight, bias = weight * factor.reshape(-1, 1, 1, 1), bias * factor.reshape(-1)
    if step.kind == "Deconvolution":
        weight = weight.transpose(0, 1)
    out, _, kernel = weight.shape[:3]
    after = makes()
    lines.append(
        f"{step.kind} layer{makes()} 1 1 {blob} {after} 0={out} 1={kernel} 3={step.stride} 4=1 5=1 6={weight.numel()}"
    )
    arrays.append([weight.reshape(-1), bias])
    if factor is not None:
        if factors != "folded":
            lines.append(f"MemoryData data{makes()} 0 1 {after}f 0=1 1=1 2={factor.numel()}")
            lines.append(f"BinaryOp mul{makes()} 2 1 {after} {after}f {after}m 0=2")
            arrays.append([factor.reshape(-1)])
            after = f"{after}m"
        lines.append(f"BinaryOp add{makes()} 2 1 {after} {skip} {after}s 0=0")
        lines.append(f"ReLU relu{makes()} 1 1 {after}s {after}r 0=0.2")
        after = f"{after}r"
    if step.slopes:
        slopes = parameters[step.names["slopes"]].detach()
        lines.append(f"PReLU prelu{makes()} 1 1 {after} {after}p 0={step.slopes}")
        arrays.append([slopes])
        after = f"{after}p"
    return after


@pytest.fixture(scope="module")
def rife():
    torch.manual_seed(0)
    network = load_network("rife")
    with torch.no_grad():  # all of them numbers that float16 holds
        for parameter in network.parameters():
            parameter.copy_(parameter.half().float())
    return network


@pytest.fixture(scope="module")
def ifrnet():
    return load_network("ifrnet-s")


def imported_tensors(path, network):
    return match_layers(read_ncnn(path), network)


@pytest.mark.parametrize("half", [True, False])
@pytest.mark.parametrize("suffix", [".param", ".bin"])
def test_both_encodings(tmp_path, rife, half, suffix):
    path = write_chain(tmp_path / "flownet.param", rife, half)
    found = imported_tensors(path.with_suffix(suffix), rife)
    assert all(torch.equal(found[name], value) for name, value in rife.state_dict().items())


def test_three_files(tmp_path, rife):
    parts = {"contextnet": ("contextnet.",), "fusionnet": ("unet.",), "flownet": ("block",)}
    for part, prefixes in parts.items():
        steps = [step for step in convolutions(rife) if step.name.startswith(prefixes)]
        write_chain(tmp_path / f"{part}.param", rife, steps=steps)
    for part in parts:
        found = imported_tensors(tmp_path / f"{part}.bin", rife)
        assert all(torch.equal(found[name], value) for name, value in rife.state_dict().items())
    with pytest.raises(InputError, match="is not this network"):
        imported_tensors(tmp_path / "flownet.bin", build_meta_network("rife-2r"))  # the same shapes, other strides


@pytest.mark.parametrize("factors", ["folded", "kept"])
def test_encoder_per_frame_and_factors(tmp_path, factors):
    torch.manual_seed(0)
    network = load_network("rife-4.22-lite")
    path = write_chain(tmp_path / "flownet.param", network, half=False, frames=2, factors=factors)
    found = imported_tensors(path, network)
    own = network.state_dict()
    if factors == "kept":
        assert all(torch.equal(found[name], value) for name, value in own.items())
    else:
        beta, weight = "block0.convblock.0.beta", "block0.convblock.0.conv.weight"
        assert torch.equal(found[beta], torch.ones_like(own[beta]))
        assert torch.equal(found[weight], own[weight] * own[beta].reshape(-1, 1, 1, 1))


def test_any_topological_order(tmp_path):
    param = real_file("IFRNet_S_Vimeo90K/ifrnet.param")
    head, rows = param.read_text().splitlines()[:2], param.read_text().splitlines()[2:]
    # the second frame's encoder first: as an exporter may write it
    first = next(i for i, row in enumerate(rows) if row.split()[1] == "conv_7")
    second = next(i for i, row in enumerate(rows) if row.split()[1] == "conv_15")
    third = next(i for i, row in enumerate(rows) if row.split()[1] == "prelu_58")
    moved = rows[:first] + rows[second:third] + rows[first:second] + rows[third:]
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    other = tmp_path / "b" / "ifrnet.param"
    other.write_text("\n".join([*head, *moved]))
    straight, weights = write_pair(tmp_path / "a", param, True)
    names = [r.split()[1] for r in rows if r.split()[0] in ("Convolution", "Deconvolution", "PReLU")]
    by_name = dict(zip(names, weights, strict=True))
    order = [r.split()[1] for r in moved if r.split()[0] in ("Convolution", "Deconvolution", "PReLU")]
    write_bin(other.with_suffix(".bin"), other, [by_name[name] for name in order], True)
    network = build_meta_network("ifrnet-s")
    expected, found = imported_tensors(straight, network), imported_tensors(other, network)
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def _swap(path):
    rows = path.read_text().splitlines()
    rows[4], rows[6] = rows[6], rows[4]
    path.write_text("\n".join(rows))


def _write(path, old, new):
    path.write_text(path.read_text().replace(old, new, 1))


def _insert(path, *lines):
    rows = path.read_text().splitlines()
    rows[1] = f"{int(rows[1].split()[0]) + len(lines)} 0"
    path.write_text("\n".join([*rows[:3], *lines, *rows[3:]]))


def _bytes(path, change):
    path = path.with_suffix(".bin")
    path.write_bytes(change(path.read_bytes()))


BAD = [
    (lambda p: _bytes(p, lambda b: b[:-8]), "cut short, or belongs to another model"),
    (lambda p: _bytes(p, lambda b: b[:100]), "cut short, or belongs to another model"),
    (lambda p: _bytes(p, lambda b: b""), "cut short, or belongs to another model"),
    (lambda p: _bytes(p, lambda b: b + b"\0" * 8), "8 bytes are left over"),
    (lambda p: _bytes(p, lambda b: b"\x38\x4b\x0d\x00" + b[4:]), "an encoding that is not supported"),
    (lambda p: _bytes(p, lambda b: b[:4] + b"\xff\x7e" + b[6:]), "contains NaN or infinity"),
    (lambda p: p.with_suffix(".bin").unlink(), "is half of an ncnn model"),
    (lambda p: p.write_bytes(b"\x7f\x85\x76\x00\xff\xfe"), "not the text of an ncnn model"),
    (lambda p: p.write_text("hello\n"), "does not begin with 7767517"),
    (lambda p: p.write_text("7767517\n"), "is damaged"),
    (lambda p: p.write_text(p.read_text()[:2000]), "cut short or damaged|is damaged"),
    (lambda p: _write(p, "1 1 in0", "-1 9 in0"), "is damaged"),
    (lambda p: _write(p, " 0=24 ", " 0=nan "), "is damaged"),
    (lambda p: _write(p, " 0=24 ", " 0=23 "), "do not agree"),
    (lambda p: _write(p, " 6=648", " 6=64800000000000000000"), "cut short, or belongs to another model|do not agree"),
    (lambda p: _write(p, "Convolution layerb1 ", "LSTM x "), "has a layer LSTM"),
    (lambda p: _write(p, " 6=648", " 6=648 8=1"), "in 8 bit"),
    (_swap, "reads what no layer before it writes"),
    (lambda p: _write(p, " 0=24 1=3 ", " 0=24 1=-3 11=-3 "), "do not agree"),
    (lambda p: _insert(p, "Convolution x 1 0 in0 0=24 1=3 6=648"), "is damaged"),
    (lambda p: _insert(p, "BinaryOp x 2 1 in0 in0 in0 0=0"), "writes what a layer before it has written"),
    (lambda p: _insert(p, *[f"Noop x{i} 0 0" for i in range(100_000)]), "is too large"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_bad_files_raise_one_line(tmp_path, ifrnet, change, message):
    path = write_chain(tmp_path / "ifrnet.param", ifrnet)
    change(path)
    with pytest.raises(InputError, match=message) as error:
        import_weights(path, "ifrnet-s", tmp_path / "x.safetensors")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "x.safetensors").exists()


def test_different_weights_per_frame_are_refused(tmp_path):
    param, weights = write_pair(tmp_path, real_file("IFRNet_S_Vimeo90K/ifrnet.param"), True)
    weights[16] = [array + 1 for array in weights[16]]  # of the second encoder
    write_bin(param.with_suffix(".bin"), param, weights, True)
    with pytest.raises(InputError, match="with different weights"):
        imported_tensors(param, build_meta_network("ifrnet-s"))

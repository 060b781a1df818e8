from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from betwixt.backends.backend import ENGINES, Backend
from betwixt.backends.torch_devices import cpu_computes_in_bf16
from betwixt.layers.planes import synthesize_planes
from betwixt.models.compact.initial_motion import search_motion
from betwixt.models.hybrid.interpolator import HybridInterpolator, HybridPair, RIFEMotion
from betwixt.models.hybrid.network import Fusion
from betwixt.runtime.load import load_model, trained_network
from betwixt.runtime.synthesis import shift_motion
from shifted import shifted_images, to_float


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights that change both motions, their shares, colours and softness a little."""
    torch.manual_seed(0)
    network = Fusion()
    for layer in (network.flow.head, network.detail.head):
        torch.nn.init.normal_(layer.weight, std=0.01)
    path = tmp_path_factory.mktemp("weights") / "hybrid.safetensors"
    save_file({name: value.half().contiguous() for name, value in network.state_dict().items()}, path)
    return path


def make_model(weights: Path, engine: str = "torch", name: str = "hybrid") -> HybridInterpolator:
    return HybridInterpolator(trained_network(name, weights), trained_network("rife-4.6"), Backend(engine), name)


@pytest.mark.parametrize(
    ("name", "t"), [("hybrid", 0.5), ("hybrid", 0.25), ("hybrid-psnr", 0.5), ("hybrid-large", 0.5)]
)
def test_frames_match_the_networks(weights: Path, name: str, t: float) -> None:
    first, second = shifted_images()
    model = make_model(weights, name=name)
    model.config = replace(model.config, sharpening=0.0)  # not part of the networks
    pair = model.prepare(to_float(first), to_float(second))
    made = pair.at(t)
    u, logit = search_motion(first, second, t, effort=model.config.search_effort)
    a = np.concatenate((-t * u, (1 - t) * u, logit), axis=-1)
    b = np.moveaxis(pair.rife_motion(t), 0, 2)
    tensors = [
        torch.from_numpy(x.astype(np.float32)).permute(2, 0, 1)[None] for x in (to_float(first), to_float(second), a, b)
    ]
    with torch.inference_mode():
        output = model.runner.network(*tensors[:2], torch.full((1, 1, 1, 1), t), *tensors[2:])
    assert float(output.colour_residual.abs().mean()) > 1e-3
    assert float(output.share.std()) > 0.01
    expected = output.frame[0].permute(1, 2, 0).numpy().clip(0, 1)
    # Half of what one motion alone, or either without its correction, would be off by.
    assert np.abs(made - expected).mean() < 0.06 / 255


def test_all_engines_agree(weights: Path) -> None:
    for first, second in (shifted_images(), shifted_images(70, 90)):
        made, *others = (
            make_model(weights, engine).prepare(to_float(first), to_float(second)).at(0.4) for engine in ENGINES[::-1]
        )
        assert max(np.abs(made - other).mean() for other in others) < 1e-5


def test_rife_estimates_motion() -> None:
    first, second = (to_float(picture) for picture in shifted_images(shift=6))
    found = RIFEMotion(trained_network("rife-4.6"), 2, Backend())(first, second, 0.25)
    inside = found[:, 16:-16, 24:-24]
    # What is at x in the first picture is at x - 6 in the second.
    np.testing.assert_allclose(inside[:4].mean(axis=(1, 2)), [1.5, 0, -4.5, 0], atol=0.3)


@pytest.mark.parametrize("name", ["hybrid", "hybrid-large"])
def test_rife_sees_frames_at_several_sizes(name: str) -> None:
    """Its motion is in pixels of the network size, whatever the sizes, and turned back where frames were turned."""
    pair = load_model(name).prepare(*(to_float(picture) for picture in shifted_images(shift=6)))
    assert isinstance(pair, HybridPair)
    found = pair.rife_motion(0.25)[:, 16:-16, 24:-24]
    np.testing.assert_allclose(found[:4].mean(axis=(1, 2)), [1.5, 0, -4.5, 0], atol=0.3)


@pytest.mark.parametrize(("name", "sharpens"), [("hybrid", True), ("hybrid-psnr", False)])
def test_only_frames_for_the_eye_are_sharpened(name: str, sharpens: bool) -> None:
    first, second = (to_float(picture) for picture in shifted_images(shift=6))
    pair = load_model(name).prepare(first, second)
    motion = pair.motion(0.5)
    (unsharpened,) = synthesize_planes(
        [first], [second], replace(motion, sharpening=0.0), first.shape[:2], [motion.colour_residual]
    )
    contrast, unsharpened_contrast = (np.abs(np.diff(x, axis=1)).mean() for x in (pair.at(0.5), unsharpened))
    assert contrast == pytest.approx(unsharpened_contrast * (1.02 if sharpens else 1), rel=0.015 if sharpens else 1e-6)


def test_curved_paths_bend_both_motions(weights: Path) -> None:
    world = shifted_images(96, 160, 0)[0]
    # Ever faster: 1, 3 and 5 pixels.
    frames = [to_float(np.ascontiguousarray(world[:, s : s + 128])) for s in (0, 1, 4, 9)]
    model = make_model(weights)
    before, pair, after = (model.prepare(frames[i], frames[i + 1]) for i in range(3))
    straight, bent = pair.motion(0.5), pair.with_neighbours(before, after).motion(0.5)
    assert straight.other is not None
    assert bent.other is not None
    for a, b in ((straight, bent), (straight.other, bent.other)):
        difference = (b.flow_t0 - a.flow_t0)[24:-24, 32:-32, 0].mean()
        assert abs(difference) > 0.1


def test_static_parts_are_bit_identical() -> None:
    first, second = shifted_images(128, 160)
    second[:40], first[:40] = 77, 77
    made = load_model("hybrid").prepare(to_float(first), to_float(second)).at(0.5)
    np.testing.assert_array_equal(made[:24], to_float(first)[:24])


def test_shift_motion_moves_both_motions() -> None:
    # A pan of 8 pixels: what is at x in the first picture is at x - 8 in the second.
    world = shifted_images(96, 176, 0)[0]
    frames = [to_float(np.ascontiguousarray(world[:, s : s + 128])) for s in (0, 8)]
    motion = load_model("hybrid").prepare(*frames).motion(0.5)
    assert motion.other is not None
    for earlier in (moved := shift_motion(motion, 0.5, 0.25), moved.other):
        assert earlier is not None
        np.testing.assert_allclose(np.median(earlier.flow_t0[24:-24, 32:-32, 0]), 2, atol=0.3)
        np.testing.assert_allclose(np.median(earlier.flow_t1[24:-24, 32:-32, 0]), -6, atol=0.3)


@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_motion_of_all_blocks_in_both_directions_does_not_depend_on_the_order(engine: str) -> None:
    first, second = (to_float(picture) for picture in shifted_images(shift=6))
    rife = RIFEMotion(trained_network("rife-4.6"), 4, Backend(engine))
    forward, backward = rife(first, second, 0.3), rife(second, first, 0.7)
    reversed_motion = np.concatenate((backward[2:4], backward[:2], -backward[4:]))
    np.testing.assert_allclose(forward, reversed_motion, atol=2e-3)


@pytest.mark.parametrize("symmetric_blocks", [0, 2])
def test_rife_in_blocks_equals_rife(symmetric_blocks: int) -> None:
    first, second = (to_float(picture) for picture in shifted_images(70, 450, 5))
    whole, blocks = (
        RIFEMotion(trained_network("rife-4.6"), symmetric_blocks, Backend(engine))(first, second, 0.3)
        for engine in ("torch", "openvino")
    )
    assert whole.shape == (5, 70, 450)
    np.testing.assert_allclose(blocks, whole, atol=5e-3)
    if cpu_computes_in_bf16():
        in_bf16 = Backend("openvino", precision="bf16")
        coarse = RIFEMotion(trained_network("rife-4.6"), symmetric_blocks, in_bf16)(first, second, 0.3)
        assert np.abs(coarse - whole)[:4].mean() < 0.05


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_frames_are_the_same_in_any_thread(precision: str) -> None:
    first, second = (to_float(picture) for picture in shifted_images())
    model = load_model("hybrid", precision=precision)
    model.set_concurrency(2)
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(lambda t: model.prepare(first, second).at(t), [0.25, 0.5, 0.25, 0.5]))
    np.testing.assert_array_equal(made[0], made[2])
    np.testing.assert_array_equal(made[1], made[3])

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from betwixt.errors import BetwixtError, UsageError
from betwixt.layers.label_maps import LabelMapPair
from betwixt.masks.regions import find_regions
from betwixt.models.network import MaskedNetwork, MaskPair, Network, Synthesis
from betwixt.models.registry import MODELS, load_network
from betwixt.runtime.load import load_model
from betwixt.runtime.network_interpolator import NetworkInterpolator
from betwixt.runtime.tiles import split_into_tiles
from betwixt.weights.install import build_meta_network


class Blend(Network):
    """The blend of two frames, and what it was asked."""

    multiple = 16

    def __init__(self, any_time: bool) -> None:
        super().__init__()
        self.any_time = any_time
        self.pairs = 0
        self.shapes: list[tuple[int, ...]] = []

    def pair(self, frame0: Tensor, frame1: Tensor) -> Any:
        self.pairs += 1
        self.shapes.append(tuple(frame0.shape))
        return frame0, frame1

    def at(self, pair: Any, t: Tensor) -> Synthesis:
        return Synthesis((1 - t) * pair[0] + t * pair[1])


class Moving(Blend):
    """A network whose flows are 12 pixels to the right times the difference of the frames' means."""

    def at(self, pair: Any, t: Tensor) -> Synthesis:
        flow = torch.zeros_like(pair[0][:, :2])
        flow[:, 0] = 12 * (pair[1].mean() - pair[0].mean())
        return Synthesis(super().at(pair, t).frame, -t * flow, (1 - t) * flow)


def frames(height: int = 21, width: int = 37) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return tuple(rng.random((height, width, 3), dtype=np.float32) for _ in range(2))  # type: ignore[return-value]


def test_any_size_is_padded_and_cropped() -> None:
    network = Blend(any_time=True)
    first, second = frames()
    pair = NetworkInterpolator("blend", network, "cpu").prepare(first, second)
    for t in (0.25, 0.5, 0.75):
        np.testing.assert_allclose(pair.at(t), (1 - t) * first + t * second, atol=1e-6)
    assert network.shapes == [(1, 3, 32, 48)]


def test_frames_of_different_sizes_are_refused() -> None:
    first, second = frames()
    with pytest.raises(UsageError, match="differ in size"):
        NetworkInterpolator("blend", Blend(any_time=True), "cpu").prepare(first, second[:, 1:])


def test_networks_for_the_middle_frame_recurse() -> None:
    network = Blend(any_time=False)
    first, second = frames()
    pair = NetworkInterpolator("blend", network, "cpu").prepare(first, second)
    for t in (0.5, 0.25, 0.3, 1 / 3, 0.97):
        near = round(t * 32) / 32
        np.testing.assert_allclose(pair.at(t), (1 - near) * first + near * second, atol=1e-5)
    made = network.pairs
    pair.at(0.25)
    assert network.pairs == made


@pytest.mark.parametrize("any_time", [True, False])
@pytest.mark.parametrize("tile", [1, 1 << 20])
def test_pairs_tell_the_motion_of_the_network(any_time: bool, tile: int) -> None:
    first, second = np.zeros((400, 450, 3), np.float32), np.full((400, 450, 3), 0.5, np.float32)
    pair = NetworkInterpolator("moving", Moving(any_time), "cpu", tile=tile).prepare(first, second)
    for t in (0.5, 0.25):
        flow = pair.displacement(t)
        assert flow is not None
        np.testing.assert_allclose(flow, np.broadcast_to([6, 0], (400, 450, 2)), atol=1e-4)
    assert (
        NetworkInterpolator("blend", Blend(any_time), "cpu", tile=tile).prepare(first, second).displacement(0.5) is None
    )


class Local(Blend):
    """A network that sees a few pixels around each."""

    def at(self, pair: Any, t: Tensor) -> Synthesis:
        return Synthesis(torch.nn.functional.avg_pool2d(super().at(pair, t).frame, 9, 1, 4))


@pytest.mark.parametrize("tile", [1, 500 * 400, 800 * 900])
def test_tiles_leave_no_seam(tile: int) -> None:
    first, second = frames(1000, 900)
    whole = NetworkInterpolator("local", Local(any_time=True), "cpu").prepare(first, second).at(0.5)
    network = Local(any_time=True)
    tiled = NetworkInterpolator("local", network, "cpu", tile=tile).prepare(first, second).at(0.5)
    assert network.pairs > 1
    # The border of a tile is padded, and counts for next to nothing where it is.
    assert np.abs(whole - tiled).max() < 1e-2
    assert np.abs(whole - tiled)[:, 10:-10].mean() < 1e-4
    tiles = np.zeros((1000, 900))
    for place in split_into_tiles(1000, 900, tile):
        tiles[place] += 1
    # What one tile alone shows is what the whole frame shows.
    assert (tiles == 1).any()
    assert np.abs(whole - tiled)[tiles == 1].max() < 1e-6


def test_frames_within_the_budget_are_made_whole() -> None:
    network = Blend(any_time=True)
    first, second = frames(300, 400)
    NetworkInterpolator("blend", network, "cpu", tile=300 * 400).prepare(first, second).at(0.5)
    assert network.pairs == 1


@pytest.mark.parametrize("name", ["rife-4.22-lite", "ema-vfi-small"])
def test_motion_is_estimated_at_a_scale_with_the_same_weights(name: str) -> None:
    model = NetworkInterpolator(name, load_network(name))
    multiple, before = model.network.multiple, model.prepare(*frames()).at(0.5)
    half = model.with_scale(0.5)
    assert half.network.multiple == 2 * multiple
    assert all(a is b for a, b in zip(half.network.parameters(), model.network.parameters(), strict=True))
    assert (half.prepare(*frames()).at(0.5) != before).any()
    assert (model.prepare(*frames()).at(0.5) == before).all()
    with pytest.raises(UsageError, match=f"`scale` is 3: {name} takes 0.25, 0.5"):
        model.with_scale(3)


def test_a_model_without_scales_says_so() -> None:
    with pytest.raises(UsageError, match="compact estimates motion at a size of its own: leave out `scale`"):
        load_model("compact").with_scale(0.5)


def test_weights_files_are_loaded_or_refused(tmp_path: Path) -> None:
    network = load_network("rife-4.25")
    tensors = {name: value.half() for name, value in network.state_dict().items()}
    save_file(tensors, tmp_path / "good.safetensors")
    torch.save({f"module.{name}": value for name, value in tensors.items()}, tmp_path / "good.pth")
    first, second = frames()
    made = [
        load_model("rife-4.25", "cpu", weights=tmp_path / name).prepare(first, second).at(0.5)
        for name in ("good.safetensors", "good.pth")
    ]
    np.testing.assert_array_equal(made[0], made[1])
    name = next(iter(tensors))
    for change, message in (
        ({**tensors, name: tensors[name][:1]}, "shape"),
        ({n: v for n, v in tensors.items() if n != name}, "missing"),
    ):
        torch.save(change, tmp_path / "bad.pth")
        with pytest.raises(BetwixtError, match=message):
            load_model("rife-4.25", "cpu", weights=tmp_path / "bad.pth")
    (tmp_path / "noise.pth").write_bytes(b"\x80\x04 nothing")
    for file in ("noise.pth", "none.pth"):
        with pytest.raises(BetwixtError) as error:
            load_model("rife-4.25", "cpu", weights=tmp_path / file)
        assert "\n" not in str(error.value)


def test_missing_weights_raise_one_line() -> None:
    for name, info in MODELS.items():
        if info.weights == "yours":
            with pytest.raises(BetwixtError, match="pass `weights`"):
                load_model(name)


def test_the_registry_says_which_networks_extrapolate() -> None:
    for name, info in MODELS.items():
        if info.has_network and not info.is_own:
            assert info.extrapolates == build_meta_network(name).extrapolates, name


class Masked(MaskedNetwork):
    """The blend of two frames, which shows the labels of the first in red; everything moves by `step` pixels."""

    multiple = 16

    def __init__(self, any_time: bool = True, step: float = 0.0) -> None:
        super().__init__()
        self.any_time, self.step = any_time, step
        self.seen: list[MaskPair | None] = []

    def pair(self, frame0: Tensor, frame1: Tensor, masks: MaskPair | None = None) -> Any:
        self.seen.append(masks)
        return frame0, masks

    def at(self, pair: Any, t: Tensor) -> Synthesis:
        frame = pair[0].clone()
        frame[:, 0] = pair[1].labels0 / 64
        flow = torch.zeros_like(frame[:, :2])
        flow[:, 0] = self.step
        return Synthesis(frame, flow, flow, torch.ones_like(flow[:, :1]))


def halves(height: int = 21, width: int = 37) -> LabelMapPair:
    labels = np.zeros((height, width), np.uint8)
    labels[:, width // 2 :] = 5
    return LabelMapPair(labels, labels[::-1].copy(), 7, "given")


def test_masks_are_padded_like_frames() -> None:
    network = Masked()
    model = NetworkInterpolator("masked", network, "cpu")
    made = model.prepare(*frames(), masks=halves()).at(0.5)
    np.testing.assert_allclose(made[..., 0] * 64, halves().labels0)
    (masks,) = network.seen
    assert masks is not None
    assert (masks.labels0.shape, masks.labels0.dtype, masks.count) == ((1, 32, 48), torch.int64, 7)
    assert bool((masks.labels0[:, :, 37:] == 5).all())


def test_masks_are_found_by_default() -> None:
    network = Masked()
    first, second = frames(64, 96)
    asked = []

    def source(a: np.ndarray, b: np.ndarray) -> LabelMapPair:
        asked.append((a, b))
        return halves(64, 96)

    NetworkInterpolator("masked", network, "cpu", masks=source).prepare(first, second)
    np.testing.assert_array_equal(asked[0][1], np.rint(second * 255).astype(np.uint8))
    NetworkInterpolator("masked", network, "cpu").prepare(first, second)
    found = find_regions(*(np.rint(x * 255).astype(np.uint8) for x in (first, second)))
    assert network.seen[1] is not None
    np.testing.assert_array_equal(network.seen[1].labels1[0], found.labels1)


def test_tiles_crop_masks() -> None:
    network = Masked()
    masks = halves(500, 900)
    made = NetworkInterpolator("masked", network, "cpu", tile=400 * 400).prepare(*frames(500, 900), masks=masks).at(0.5)
    assert len(network.seen) > 1
    np.testing.assert_allclose(made[..., 0] * 64, masks.labels0, atol=1e-3)


def test_masks_of_recursive_frames_are_warped() -> None:
    network = Masked(any_time=False, step=-3.0)
    pair = NetworkInterpolator("masked", network, "cpu").prepare(*frames(32, 48), masks=halves(32, 48))
    # 3/4 lies between the middle, whose labels are those of frame 0 three pixels to the right, and the end.
    made = pair.at(0.75)
    np.testing.assert_allclose(made[:, 3:, 0] * 64, halves(32, 48).labels0[:, :-3])
    assert network.seen[1] is not None
    np.testing.assert_array_equal(network.seen[1].labels1[0], halves(32, 48).labels1)


def test_masks_that_do_not_fit_are_refused() -> None:
    with pytest.raises(BetwixtError, match="frames 37x21") as error:
        NetworkInterpolator("masked", Masked(), "cpu").prepare(*frames(), masks=halves(21, 38))
    assert "\n" not in str(error.value)
    with pytest.raises(BetwixtError, match="takes no masks"):
        NetworkInterpolator("blend", Blend(any_time=True), "cpu").prepare(*frames(), masks=halves())
    with pytest.raises(BetwixtError, match="takes no masks"):
        NetworkInterpolator("blend", Blend(any_time=True), "cpu", masks=find_regions)
    with pytest.raises(BetwixtError, match="takes no masks"):
        load_model("rife", masks=find_regions)


def test_hierarchical_model_with_a_weights_file(tmp_path: Path) -> None:
    save_file(load_network("ifrnet-s+hm").state_dict(), tmp_path / "weights.safetensors")
    model = load_model("ifrnet-s+hm", "cpu", weights=tmp_path / "weights.safetensors")
    first, second = frames(64, 96)
    made = model.prepare(first, second).at(0.25)
    assert made.shape == (64, 96, 3)
    assert np.isfinite(made).all()


class Next(Blend):
    """A network for the frame after the second, by going on as before."""

    extrapolates = True

    def at(self, pair: Any, t: Tensor) -> Synthesis:
        return Synthesis(pair[0] + t * (pair[1] - pair[0]))


def test_extrapolating_networks_make_the_next_frame_only() -> None:
    first, second = (0.25 + 0.25 * x for x in frames())
    model = NetworkInterpolator("next", Next(any_time=False), "cpu")
    np.testing.assert_allclose(model.next_frame(first, second), 2 * second - first, atol=1e-6)
    for attempt in (lambda: model.prepare(first, second), lambda: model.between(first, second, [0.5])):
        with pytest.raises(BetwixtError, match="next makes the frame after two frames"):
            attempt()
    with pytest.raises(BetwixtError, match="only interpolates"):
        NetworkInterpolator("blend", Blend(any_time=True), "cpu").next_frame(first, second)


def test_extrapolating_networks_tell_their_motion() -> None:
    class MovingNext(Moving):
        extrapolates = True

    first, second = np.zeros((20, 30, 3), np.float32), np.full((20, 30, 3), 0.5, np.float32)
    flow = NetworkInterpolator("next", MovingNext(any_time=False), "cpu").next_displacement(first, second)
    assert flow is not None
    np.testing.assert_allclose(flow, np.broadcast_to([6, 0], (20, 30, 2)), atol=1e-5)


def test_ncm_extrapolates() -> None:
    model = NetworkInterpolator("ncm-base-next", load_network("ncm-base-next"), "cpu")
    (made,) = model.extrapolate(*frames(40, 50))
    assert made.shape == (40, 50, 3)
    assert np.isfinite(made).all()


@pytest.mark.parametrize("any_time", [True, False])
def test_batches_run_in_one_pass(any_time: bool) -> None:
    network = Blend(any_time)
    first, second = frames(3 * 21)
    firsts, seconds = first.reshape(3, 21, 37, 3), second.reshape(3, 21, 37, 3)
    made = NetworkInterpolator("blend", network, "cpu").between(firsts, seconds, [0.0, 0.25, 0.5])
    for t, batch in zip((0.0, 0.25, 0.5), made, strict=True):
        np.testing.assert_allclose(batch, (1 - t) * firsts + t * seconds, atol=1e-6)
    assert network.shapes[0] == (3, 3, 32, 48)


def test_large_batches_run_in_parts() -> None:
    network = Blend(any_time=True)
    first, second = frames(5 * 32, 32)
    firsts, seconds = first.reshape(5, 32, 32, 3), second.reshape(5, 32, 32, 3)
    (made,) = NetworkInterpolator("blend", network, "cpu", tile=2 * 32 * 32).between(firsts, seconds, [0.5])
    np.testing.assert_allclose(made, (firsts + seconds) / 2, atol=1e-6)
    assert [shape[0] for shape in network.shapes] == [2, 2, 1]


def test_batches_of_tensors_stay_batches_of_tensors() -> None:
    first, second = (torch.from_numpy(x).reshape(2, 32, 40, 3).permute(0, 3, 1, 2) for x in frames(64, 40))
    for model in (NetworkInterpolator("blend", Blend(any_time=True), "cpu"), load_model("average")):
        (made,) = model.between(first, second, [0.25])
        torch.testing.assert_close(made, 0.75 * first + 0.25 * second, atol=1e-6, rtol=0)
    with pytest.raises(BetwixtError, match="2 first frames and 1 second"):
        load_model("average").between(first, second[:1], [0.25])


def test_batches_have_masks_per_pair() -> None:
    def source(first: np.ndarray, second: np.ndarray) -> LabelMapPair:
        labels = np.full(first.shape[:2], first[0, 0, 0] % 9, np.uint8)
        return LabelMapPair(labels, labels, int(labels.max()) + 1, "given")

    network = Masked()
    firsts, seconds = (x.reshape(3, 21, 37, 3) for x in frames(3 * 21))
    (made,) = NetworkInterpolator("masked", network, "cpu", masks=source).between(firsts, seconds, [0.5])
    expected = np.rint(firsts[:, 0, 0, 0] * 255) % 9
    np.testing.assert_allclose(made[..., 0] * 64, np.broadcast_to(expected[:, None, None], (3, 21, 37)), atol=1e-4)
    assert len(network.seen) == 1

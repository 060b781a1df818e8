"""The maps of models of each kind: which there are, their sizes, and that they describe the frame."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from betwixt.errors import UsageError
from betwixt.models.base import Interpolator
from betwixt.models.frame_view import Image
from betwixt.models.maps import Maps
from betwixt.models.network import Network, Synthesis
from betwixt.models.registry import load_network
from betwixt.runtime.intermediate_maps import intermediate_maps
from betwixt.runtime.network_interpolator import NetworkInterpolator
from reuse import load_model_once
from shifted import shifted_images, to_float

SHIFT = 4
MOTION = {"flow_t0", "flow_t1", "mask"}
DERIVED = {"frame", "warped_0", "warped_1", "disagreement"}
SEARCH = {"flow_01", "flow_10", "error_0", "error_1", "visible_0", "visible_1"}
SEARCHED = {f"searched_{name}" for name in MOTION}


@pytest.fixture(scope="module")
def frames() -> tuple[Image, Image]:
    first, second = (to_float(image) for image in shifted_images(48, 72, SHIFT))
    return first, second


class Second(Network):
    """The second frame; its flows are t, its mask is the red of the first frame."""

    any_time = True

    def pair(self, frame0: Tensor, frame1: Tensor) -> tuple[Tensor, Tensor]:
        return frame0, frame1

    def at(self, pair: tuple[Tensor, Tensor], t: Tensor) -> Synthesis:
        flow = t.expand(-1, 2, *pair[0].shape[2:])
        return Synthesis(pair[1], flow, flow, pair[0][:, :1])


def random_network(name: str) -> Interpolator:
    torch.manual_seed(0)
    return NetworkInterpolator(name, load_network(name), "cpu")


def sizes(maps: Maps) -> dict[str, tuple[int, ...]]:
    return {name: map_.values.shape for name, map_ in maps.items()}


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("average", set()),
        ("dis-midpoint", {"displacement"}),
        ("dis", MOTION | DERIVED | SEARCH),
        ("compact", MOTION | DERIVED | SEARCH | SEARCHED | {"residual"}),
        (
            "hybrid",
            MOTION | DERIVED | SEARCH | SEARCHED | {f"other_{n}" for n in MOTION} | {"residual", "share"},
        ),
        ("rife-4.6", MOTION | DERIVED),
    ],
)
def test_each_kind_of_model_has_its_maps(frames: tuple[Image, Image], name: str, own: set[str]) -> None:
    model = load_model_once(name)
    maps = intermediate_maps(model, *frames)
    assert set(maps) - {"softness_1", "softness_2"} == own | {"frame"}
    np.testing.assert_array_equal(maps["frame"].values, model.prepare(*frames).at(0.5))
    for map_ in maps.values():
        assert map_.values.ndim == (3 if map_.kind in ("image", "residual", "flow") else 2)
        assert map_.values.dtype == np.float32
        assert np.isfinite(map_.values).all()


@pytest.mark.parametrize("name", ["dis", "compact"])
def test_flows_lead_to_both_frames_and_warps_agree(frames: tuple[Image, Image], name: str) -> None:
    maps = intermediate_maps(load_model_once(name), *frames, 0.25)
    middle = (slice(8, -8), slice(12, -12))
    # What is at x in the first frame is at x - SHIFT in the second.
    assert np.median(maps["flow_t0"].values[..., 0]) == pytest.approx(0.25 * SHIFT, abs=0.3)
    assert np.median(maps["flow_t1"].values[..., 0]) == pytest.approx(-0.75 * SHIFT, abs=0.3)
    still = np.abs(frames[0] - frames[1]).mean()
    assert maps["disagreement"].values[middle].mean() < 0.3 * still
    if name == "dis":
        assert np.median(maps["flow_01"].values[..., 0]) == pytest.approx(-SHIFT, abs=0.2)
        assert np.median(maps["flow_10"].values[..., 0]) == pytest.approx(SHIFT, abs=0.2)


def test_what_only_one_frame_shows_is_less_visible() -> None:
    rng = np.random.default_rng(1)
    background, block = (
        cv2.resize(rng.random((side[1] // 8, side[0] // 8, 3)), side, interpolation=cv2.INTER_CUBIC).clip(0, 1)
        for side in ((192, 128), (64, 64))
    )
    first, second = background.copy(), background.copy()
    first[32:96, 24:88] = second[32:96, 40:104] = block  # moves by 16 to the right
    visible = intermediate_maps(load_model_once("dis"), first, second)["visible_1"].values
    visible = cv2.resize(visible, (192, 128))
    assert visible[36:92, 26:38].mean() < 0.9
    assert visible[:8].mean() > 0.99


def test_the_error_is_measured_against_the_true_frame(frames: tuple[Image, Image]) -> None:
    maps = intermediate_maps(load_model_once("average"), *frames, truth=frames[0])
    np.testing.assert_allclose(maps["error"].values, np.abs(frames[1] - frames[0]).mean(axis=2) / 2, atol=1e-6)
    with pytest.raises(UsageError, match=r"The true frame is 71x48, the two frames 72x48"):
        intermediate_maps(load_model_once("average"), *frames, truth=frames[0][:, 1:])


def test_a_network_of_a_paper_gives_what_it_returns(frames: tuple[Image, Image]) -> None:
    maps = intermediate_maps(random_network("ifrnet-s"), *frames)
    shapes = sizes(maps)
    assert shapes["flow_t0"] == shapes["flow_t1"] == (48, 72, 2)
    assert shapes["mask"] == (48, 72)
    assert shapes["merged"] == (48, 72, 3)
    assert shapes["level_flows_2_t1"] == (12, 18, 2)  # without the padding to 64x96
    assert maps["level_flows_2_t1"].describe_unit() == "pixels of its level, (x, y)"
    assert not any("features" in name for name in shapes)
    assert 0 <= maps["mask"].values.min() <= maps["mask"].values.max() <= 1


def test_stages_are_numbered_and_masks_shown(frames: tuple[Image, Image]) -> None:
    maps = intermediate_maps(random_network("rife+hm"), *frames)
    shapes = sizes(maps)
    assert {"stages_1_flow_t0", "stages_3_flow_t1", "stages_1_mask", "residual"} <= set(shapes)
    assert shapes["labels_0"] == shapes["labels_1"] == (48, 72)
    assert maps["labels_0"].values.dtype == np.uint8


def test_a_network_that_extrapolates_shows_the_frame_after(frames: tuple[Image, Image]) -> None:
    network = Second()
    network.extrapolates = True
    maps = intermediate_maps(NetworkInterpolator("next", network, "cpu"), *frames)
    np.testing.assert_array_equal(maps["frame"].values, frames[1])
    assert np.unique(maps["flow_t0"].values).tolist() == [2.0]


def test_tiles_are_joined() -> None:
    frames = [to_float(image) for image in shifted_images(96, 512, SHIFT)]
    maps = intermediate_maps(NetworkInterpolator("second", Second(), "cpu", tile=96 * 400), *frames)
    assert sizes(maps)["flow_t0"] == (96, 512, 2)
    np.testing.assert_allclose(maps["mask"].values, frames[0][..., 0], atol=1e-6)


@pytest.mark.parametrize("t", [0.0, 1.0, 1.5])
def test_times_outside_are_refused(frames: tuple[Image, Image], t: float) -> None:
    with pytest.raises(UsageError, match="is not between 0 and 1"):
        intermediate_maps(load_model_once("dis"), *frames, t)


def test_frames_made_by_recursion_have_no_maps(frames: tuple[Image, Image]) -> None:
    with pytest.raises(UsageError, match=r"its maps are those of t = 0\.5"):
        intermediate_maps(random_network("rife"), *frames, 0.25)


def test_a_batch_is_refused(frames: tuple[Image, Image]) -> None:
    batch = np.stack(frames)
    with pytest.raises(UsageError, match="not of a batch"):
        intermediate_maps(load_model_once("dis"), batch, batch)

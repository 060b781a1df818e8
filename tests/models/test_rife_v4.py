from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from betwixt.models.rife import v4
from betwixt.models.rife.v4 import RIFE_4_6, RIFE_4_22_LITE, RIFE_4_25, RIFEv4
from network_checks import check_batch, check_bfloat16
from parity import counts, distances, fill, fixture, gflop, make_weight, tensor

VERSIONS = {"rife_v4.6": RIFE_4_6, "rife_v4.22_lite": RIFE_4_22_LITE, "rife_v4.25": RIFE_4_25}


def at(t: float) -> Tensor:
    return torch.full((1, 1, 1, 1), t)


@pytest.mark.parametrize("name", VERSIONS)
def test_it_matches_the_authors_network(name: str) -> None:
    arrays = fixture(name)
    network = RIFEv4(VERSIONS[name])
    fill(network, arrays)
    found = {}
    with torch.inference_mode():
        pair = network.pair(tensor(arrays["img0"]), tensor(arrays["img1"]))
        for t in arrays["timestep"]:
            output = network.at(pair, at(float(t)))
            results = {"out": output.frame, "flow_t0": output.flow_t0, "flow_t1": output.flow_t1, "mask": output.mask}
            results |= {"feat0": pair.features0, "feat1": pair.features1}
            results |= {f"stage{k}_flow": stage.flow for k, stage in enumerate(network.estimates(pair, at(float(t))))}
            found |= distances(arrays, f"t{t:.2f}/", results)
    assert len(found) >= 16
    assert {k: d for k, d in found.items() if d > (1e-4 if "flow" in k else 1e-5)} == {}


@pytest.mark.parametrize("name", VERSIONS)
def test_its_cost_is_that_of_the_authors_network(name: str) -> None:
    expected = counts(name)
    network = RIFEv4(VERSIONS[name])
    assert sum(p.numel() for p in network.parameters()) == expected["params"]
    for size in ("256x448", "1280x720_padded"):
        assert gflop(network, *expected[f"size_{size}"]) == expected[f"gflop_{size}"]
    assert network.multiple == expected["pad_multiple"]


PUBLISHED = {
    "RIFE_4_0": (
        0.7,
        [0.46286, 0.89545, 0.69548, 0.62271, 0.81152, 0.55446, 0.82437, 0.08574, 0.70498, 0.68873, 0.36788, 0.64954],
    ),
    "RIFE_4_2": (
        1.15,
        [0.78382, 0.95455, 0.87891, 0.91523, 0.54682, 0.96964, 0.48039, 0.25615, 0.79005, 0.01182, 0.80997, 0.77618],
    ),
    "RIFE_4_5": (
        1.0,
        [0.77271, 0.93125, 0.31003, 0.76661, 0.86379, 0.87867, 0.66279, 0.62100, 0.83185, 0.01946, 0.94619, 0.63519],
    ),
    "RIFE_4_6": (
        1.0,
        [0.82152, 0.97300, 0.58793, 0.63397, 0.65328, 0.96529, 0.74551, 0.50758, 0.77330, 0.06954, 0.90256, 0.84717],
    ),
    "RIFE_4_7": (
        1.2,
        [0.83982, 0.97395, 0.51194, 0.80936, 0.78291, 0.83488, 0.89498, 0.41565, 0.72649, 0.02553, 0.99250, 0.86907],
    ),
    "RIFE_4_10": (
        1.2,
        [0.95438, 0.98889, 0.68332, 0.51587, 0.37010, 0.99360, 0.77730, 0.57579, 0.48766, 0.30304, 0.93449, 0.74338],
    ),
    "RIFE_4_12_LITE": (
        1.2,
        [0.76720, 0.91181, 0.54184, 0.63800, 0.58261, 0.77546, 0.74556, 0.71272, 0.93556, 0.19736, 0.93020, 0.82841],
    ),
    "RIFE_4_14_LITE": (
        1.2,
        [0.90683, 0.98453, 0.66904, 0.42441, 0.46346, 0.98598, 0.74001, 0.58485, 0.59154, 0.19656, 0.96242, 0.87837],
    ),
    "RIFE_4_15_LITE": (
        1.2,
        [0.72908, 0.92992, 0.54735, 0.73816, 0.54796, 0.80406, 0.70624, 0.49146, 0.85419, 0.02606, 0.98870, 0.79108],
    ),
    "RIFE_4_20": (
        1.2,
        [0.69181, 0.86516, 0.36032, 0.42194, 0.50820, 0.89049, 0.44656, 0.06943, 0.42686, 0.01163, 0.82774, 0.48680],
    ),
    "RIFE_4_21": (
        1.2,
        [0.67395, 0.88402, 0.79120, 0.91869, 0.79864, 0.94231, 0.47666, 0.33682, 0.70886, 0.03979, 0.65214, 0.58142],
    ),
    "RIFE_4_22_LITE": (
        1.2,
        [0.64826, 0.92368, 0.99342, 0.78943, 0.69406, 0.91458, 0.41292, 0.32563, 0.58095, 0.05631, 0.65286, 0.50337],
    ),
    "RIFE_4_25": (
        1.2,
        [0.80248, 0.89780, 0.91736, 0.66657, 0.84505, 0.80476, 0.59660, 0.45589, 0.91099, 0.79812, 0.99739, 0.78517],
    ),
    "RIFE_4_25_LITE": (
        1.2,
        [0.74014, 0.61941, 0.75217, 0.88013, 0.87530, 0.87142, 0.78188, 0.08865, 0.98245, 0.37197, 0.73908, 0.66465],
    ),
    "RIFE_4_25_HEAVY": (
        1.2,
        [0.82278, 0.92569, 0.84939, 0.18572, 0.94010, 0.61998, 0.66460, 0.86194, 0.92159, 0.13941, 0.70536, 0.27242],
    ),
    "RIFE_4_26_HEAVY": (
        1.2,
        [0.76657, 0.99137, 0.86393, 0.67559, 0.79044, 0.87235, 0.33894, 0.21202, 0.84830, 0.45312, 0.95413, 0.83073],
    ),
}
"""By configuration: the gain of the weights, and values of the frame that the published network makes.

Made by the modules IFNet_HDv3_v4_*.py of vsrife 5.7.0 (PyPI), in float32, for `waves()` and t = 0.3. Their parameters
had the values of `parity.make_weight` for our names of them. The versions that share a configuration gave equal values.
"""


def waves() -> tuple[Tensor, Tensor]:
    """Two frames of one moving pattern, (1, 3, 128, 256)."""
    y, x = np.mgrid[0:128, 0:256].astype(np.float64)
    frames = [
        [0.5 + 0.5 * np.sin(0.09 * (c + 2) * (x - dx) + 0.07 * (y - dy) * (3 - c) + c) for c in range(3)]
        for dx, dy in ((0, 0), (3, -2))
    ]
    first, second = (torch.from_numpy(np.stack(frame)[None].astype(np.float32)) for frame in frames)
    return first, second


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_version_makes_the_frame_of_the_published_network(name: str) -> None:
    gain, expected = PUBLISHED[name]
    with torch.device("meta"):
        network = RIFEv4(getattr(v4, name))
    network.to_empty(device="cpu")
    with torch.inference_mode():
        for parameter_name, parameter in network.named_parameters():
            parameter.copy_(torch.from_numpy(make_weight(parameter_name, tuple(parameter.shape), gain)))
        frame = network(*waves(), at(0.3)).frame
    values = frame[0, :, 5::40, 9::80].flatten()[::3][: len(expected)]
    torch.testing.assert_close(values, torch.tensor(expected), atol=1e-4, rtol=0)


def test_names_of_published_checkpoints_become_ours() -> None:
    names = {
        "encode.0.weight": "encode.cnn0.weight",
        "encode.1.bias": "encode.cnn3.bias",
        "encode.2.weight": "encode.cnn1.weight",
        "encode.4.weight": "encode.cnn2.weight",
        "encode.6.weight": "encode.cnn3.weight",
        "blocks.3.conv0.1.0.weight": "block3.conv0.1.0.weight",
        "blocks.0.convblock.7.beta": "block0.convblock.7.beta",
    }
    assert {name: v4.from_reference_name(name) for name in names} == names
    for config in (v4.RIFE_4_7, v4.RIFE_4_10, v4.RIFE_4_25):
        with torch.device("meta"):
            ours = list(RIFEv4(config).state_dict())
        assert [v4.from_reference_name(name) for name in ours] == ours


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"block": "round"}, "`block` is 'round': choose one of residual, plain, paper"),
        ({"block": "plain"}, "A plain block passes no state on"),
        ({"encoder_layers": 3}, "choose 2 or 4"),
    ],
)
def test_a_configuration_that_makes_no_network_is_refused(changes, message) -> None:
    with pytest.raises(ValueError, match=message):
        RIFEv4(replace(RIFE_4_25, **changes))


@pytest.mark.parametrize("config", VERSIONS.values(), ids=VERSIONS)
def test_a_batch_equals_its_samples_one_by_one(config) -> None:
    torch.manual_seed(0)
    network = RIFEv4(replace(config, widths=(8,) * len(config.widths)))
    frames, t = torch.rand(2, 2, 3, 64, 128), torch.tensor([0.5, 0.2]).reshape(2, 1, 1, 1)
    together = check_batch(network, frames, t)
    with torch.inference_mode():
        assert not torch.equal(together.frame, network(*frames, 1.0 - t).frame)


def test_scale_changes_the_resolution_of_every_block() -> None:
    small = replace(RIFE_4_25, widths=(8, 8), scales=(4, 2))
    half, doubled = RIFEv4(small, scale=0.5), RIFEv4(replace(small, scales=(8, 4)))
    doubled.load_state_dict(half.state_dict())
    frames = torch.rand(2, 1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(half(*frames, at(0.3)).frame, doubled(*frames, at(0.3)).frame)
        # Every scale accepts sides that are multiples of its `multiple`.
        for scale, multiple in ((0.25, 64), (0.5, 32), (1, 16), (2, 16), (4, 16)):
            network = RIFEv4(small, scale=scale)
            assert network.multiple == multiple
            assert network(*torch.rand(2, 1, 3, multiple, 2 * multiple), at(0.3)).frame.shape[-2:] == (
                multiple,
                2 * multiple,
            )
    with pytest.raises(ValueError, match="`scale` is 3"):
        RIFEv4(small, scale=3)


def test_bfloat16_changes_the_flow_little() -> None:
    torch.manual_seed(0)
    network = RIFEv4(replace(RIFE_4_22_LITE, widths=(16, 16, 16, 16)))
    check_bfloat16(network, torch.rand(2, 1, 3, 32, 64), at(0.5))


@pytest.mark.parametrize("name", ["RIFE_4_0", "RIFE_4_2", "RIFE_4_6", "RIFE_4_22_LITE"])
def test_the_distillation_loss_has_no_gradient_for_the_teacher(name: str) -> None:
    torch.manual_seed(0)
    config = getattr(v4, name)
    network = RIFEv4(replace(config, teacher=True))
    first, second = torch.rand(2, 1, 3, 32, 32)
    with torch.no_grad():
        without_teacher = RIFEv4(config)
        without_teacher.load_state_dict(network.state_dict(), strict=False)
        teacher = network.distil(first, second, at(0.3), torch.rand_like(first)).teacher
    # The truth is the teacher's frame, so the teacher is better than the student everywhere.
    distilled = network.distil(first, second, at(0.3), teacher.merged)
    torch.testing.assert_close(distilled.student.frame, without_teacher(first, second, at(0.3)).frame)
    network.zero_grad()
    torch.autograd.backward(distilled.loss)
    assert all(p.grad is None for p in network.block_tea.parameters())
    assert all(p.grad is not None for p in network.get_submodule("block0").parameters())
    with pytest.raises(ValueError, match="no teacher block"):
        without_teacher.distil(first, second, at(0.3), first)

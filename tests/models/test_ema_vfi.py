from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from betwixt.models.ema_vfi.network import EMA_VFI, EMA_VFI_SMALL, EMAVFI, EMAVFIConfig, Windows, from_reference_name
from parity import counts, distance, fill, fixture, tensor

SIZES = pytest.mark.parametrize(
    ("name", "config"), [("ema_vfi_small", EMA_VFI_SMALL), ("ema_vfi", EMA_VFI)], ids=["small", "large"]
)
TINY = EMAVFIConfig(channels=4, depths=(1, 1, 1, 2, 2))


def times(*t: float) -> Tensor:
    return torch.tensor(t).reshape(-1, 1, 1, 1)


@SIZES
def test_it_matches_the_authors_network(name: str, config: EMAVFIConfig) -> None:
    arrays = fixture(name)
    with torch.device("meta"):
        network = EMAVFI(config)
    network.to_empty(device="cpu").eval()
    fill(network, arrays, from_reference_name)
    with torch.inference_mode():
        pair = network.pair(tensor(arrays["img0"]), tensor(arrays["img1"]))
        ours: dict[str, Tensor] = {
            "motion8_channel_mean": pair.motion[0].mean(dim=(0, 2, 3)),
            "motion_absmean": torch.stack([x.abs().mean() for x in pair.motion]),
            "appearance_means": torch.stack([x.abs().mean() for x in pair.appearance]),
        }
        for prefix in ("t0.50/", "t0.25/"):
            synthesis = network.at(pair, times(float(prefix[1:-1])))
            assert synthesis.flow_t0 is not None
            assert synthesis.flow_t1 is not None
            assert synthesis.mask is not None
            ours |= {"out": synthesis.frame, "merged": synthesis.merges[-1], "mask": synthesis.mask}
            ours |= {"flow_t0": synthesis.flow_t0, "flow_t1": synthesis.flow_t1}
            ours |= {"stage0_flow_sub4": synthesis.flows[0][..., ::4, ::4]}
            for key in (key for key in arrays if key.startswith(prefix)):
                limit = 3e-5 if "flow" in key else 1e-5
                assert distance(ours[key.removeprefix(prefix)], arrays[key]) < limit, key
        frame = network(tensor(arrays["nopad/img0"]), tensor(arrays["nopad/img1"]), times(0.5)).frame
    assert distance(frame, arrays["nopad/t0.50/out"]) < 1e-5


@SIZES
def test_parameters_and_flops_are_those_of_the_reference(name: str, config: EMAVFIConfig) -> None:
    expected = counts(name)
    with torch.device("meta"):
        network = EMAVFI(config).eval()
        frame, t = torch.rand(1, 3, 256, 448), torch.rand(1, 1, 1, 1)
    assert sum(p.numel() for p in network.parameters()) == expected["params"]
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(frame, frame, t)
    # The reference embeds the same positions for both frames, padding included: 32x56 and 16x28 pixels there.
    saved = 4 * config.channels * (8 * 35 * 56 + 16 * 21 * 28)
    assert (counter.get_total_flops() + saved) / 1e9 == pytest.approx(expected["gflop_256x448"], abs=6e-4)


@pytest.fixture(scope="module")
def network() -> EMAVFI:
    torch.manual_seed(0)
    return EMAVFI(TINY).eval()


@pytest.mark.parametrize(("height", "width", "shift"), [(14, 7, 0), (12, 20, 0), (12, 20, 3), (4, 6, 3)])
def test_merge_is_the_inverse_of_partition(height: int, width: int, shift: int) -> None:
    windows = Windows(height, width, 7, shift, torch.device("cpu"))
    x = torch.rand(2, height, width, 5)
    parts = windows.partition(x)
    assert parts.shape == (2 * len(windows.position), 49, 5)
    torch.testing.assert_close(windows.merge(parts), x)


def test_windows_mask_padding_and_pixels_beyond_the_border() -> None:
    assert Windows(14, 14, 7, 0, torch.device("cpu")).masked is None
    # One window of 7x7 with one row of padding above 5 rows, and one below.
    padded = Windows(5, 7, 7, 0, torch.device("cpu")).masked
    assert padded is not None
    first_row = padded[0, 0, 10].reshape(7, 7)
    assert first_row[:, 0].tolist() == [True, False, False, False, False, False, True]
    # The last of two windows, rolled by 3: its last 3 rows are the map's first.
    rolled = Windows(14, 7, 7, 3, torch.device("cpu")).masked
    assert rolled is not None
    assert rolled[1, 0, 0].reshape(7, 7)[:, 0].tolist() == [False] * 4 + [True] * 3


def test_a_batch_equals_its_samples_one_by_one(network: EMAVFI) -> None:
    frames = torch.rand(2, 2, 3, 64, 96)
    t = times(0.25, 0.6)
    with torch.inference_mode():
        together = network(frames[0], frames[1], t)
        for i in (0, 1):
            alone = network(frames[0, i : i + 1], frames[1, i : i + 1], t[i : i + 1])
            torch.testing.assert_close(together.frame[i : i + 1], alone.frame, atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(together.flow_t0[i : i + 1], alone.flow_t0, atol=1e-5, rtol=1e-4)


def test_flow_scale_estimates_on_smaller_frames(network: EMAVFI) -> None:
    scaled = EMAVFI(TINY, flow_scale=0.5).eval()
    scaled.load_state_dict(network.state_dict())
    assert scaled.multiple == 2 * network.multiple
    frames = torch.rand(2, 1, 3, 64, 128)
    small = torch.nn.functional.avg_pool2d(frames[:, 0], 2)[:, None]
    with torch.inference_mode():
        full, half = scaled(*frames, times(0.3)), network(*small, times(0.3))
    assert full.frame.shape == (1, 3, 64, 128)
    torch.testing.assert_close(full.flows[0], half.flows[0])
    enlarged = torch.nn.functional.interpolate(half.flows[-1], scale_factor=2.0, mode="bilinear")
    torch.testing.assert_close(full.flows[-1], 2.0 * enlarged)
    for bad in (0.0, 0.4, 2.0):
        with pytest.raises(ValueError, match="flow_scale"):
            EMAVFI(TINY, flow_scale=bad)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
def test_16_bits_change_the_flow_little(network: EMAVFI, dtype: torch.dtype) -> None:
    frames = torch.rand(2, 1, 3, 64, 96)
    with torch.inference_mode():
        exact = network(*frames, times(0.5))
        with torch.autocast("cpu", dtype):
            rough = network(*frames, times(0.5))
    assert rough.flow_t0.dtype == torch.float32
    torch.testing.assert_close(rough.flow_t0, exact.flow_t0, atol=0.05, rtol=0.05)
    torch.testing.assert_close(rough.frame, exact.frame, atol=0.05, rtol=0.0)


def test_every_head_gets_gradients() -> None:
    torch.manual_seed(0)
    network = EMAVFI(TINY)
    synthesis = network(torch.rand(1, 3, 32, 64), torch.rand(1, 3, 32, 64), times(0.5))
    (synthesis.frame.mean() + sum(merge.mean() for merge in synthesis.merges)).backward()
    idle = [name for name, p in network.named_parameters() if p.grad is None]
    # The bias of the position embedding cancels.
    assert all(name.endswith("position.bias") for name in idle)

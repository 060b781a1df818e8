from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from betwixt.errors import InputError, UsageError
from betwixt.evaluation.metrics import (
    METRICS,
    Image8,
    _mean_similarity,
    flicker,
    ie,
    ms_ssim,
    psnr,
    psnr_y,
    pulse,
    select_metrics,
    sharpness,
    ssim,
    ssim_2d,
    to_uint8,
)
from betwixt.evaluation.scores import summarize
from parity import fixture


def texture(height: int = 48, width: int = 64, seed: int = 0) -> Image8:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 8, width // 8, 3)).astype(np.float32)
    return np.clip(np.kron(coarse, np.ones((8, 8, 1))) + rng.normal(0, 4, (height, width, 3)), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("name", ["pred", "pred_near"])
def test_metrics_match_the_authors_code(name: str) -> None:
    arrays = fixture("losses")
    predictions, truth = (arrays[f"in/{k}"].transpose(0, 2, 3, 1) * 255.0 for k in (name, "gt"))
    assert np.mean([ssim(a, b) for a, b in zip(predictions, truth, strict=True)]) == pytest.approx(
        float(arrays[f"rife/ssim_matlab3d/{name}"]), abs=3e-6
    )
    assert np.mean([ssim_2d(a, b) for a, b in zip(predictions, truth, strict=True)]) == pytest.approx(
        float(arrays[f"rife/ssim2d/{name}"]), abs=3e-6
    )
    # The fixture's PSNR and IE are over the whole batch.
    assert psnr(predictions, truth) == pytest.approx(float(arrays[f"ifrnet/psnr/{name}"]), abs=1e-4)
    a, b = (np.stack([to_uint8(x / 255.0) for x in batch]) for batch in (predictions, truth))
    assert ie(a, b) == pytest.approx(float(arrays[f"ifrnet/ie/{name}"]), rel=1e-4)


def test_known_values() -> None:
    dark, light = np.zeros((16, 16, 3), np.uint8), np.full((16, 16, 3), 5, np.uint8)
    assert psnr(light, dark) == pytest.approx(20 * np.log10(255 / 5))
    assert ie(light, dark) == 5
    assert ssim(light, light) == pytest.approx(1.0)
    assert psnr(dark, dark) == 100
    red = dark + np.array([10, 0, 0], np.uint8)
    assert psnr_y(red, dark) == pytest.approx(20 * np.log10(255 / 2.99))


@given(st.integers(0, 255), st.integers(0, 255))
def test_a_mean_of_two_code_values_rounds_half_up(a: int, b: int) -> None:
    mean = np.full((1, 1, 3), (np.float32(a) / np.float32(255) + np.float32(b) / np.float32(255)) / np.float32(2))
    assert to_uint8(mean.astype(np.float32))[0, 0, 0] == (a + b + 1) // 2


def test_rounding_clips() -> None:
    assert to_uint8(np.array([[[-0.2, 0.5, 1.7]]], np.float32)).tolist() == [[[0, 128, 255]]]


def test_metrics_prefer_the_closer_image() -> None:
    truth = texture()
    near = np.clip(truth.astype(int) + 3, 0, 255).astype(np.uint8)
    far = texture(seed=1)
    for metric in select_metrics("psnr,ssim,ssim_2d,ssim_skimage,ie,flip"):
        assert metric.score is not None
        good, bad = (metric.score(p.astype(np.float32) / np.float32(255), p, truth) for p in (near, far))
        assert (good > bad) == (metric.better == "higher"), metric.name


def test_flip_of_equal_images_is_zero_and_of_black_and_white_nearly_one() -> None:
    (metric,) = select_metrics("flip")
    assert metric.score is not None
    black, white = (np.full((32, 32, 3), level, np.uint8) for level in (0, 255))
    assert metric.score(black.astype(np.float32), black, black) == 0
    score = metric.score(np.ones((32, 32, 3), np.float32), white, black)
    assert score == pytest.approx(0.9674, abs=1e-3)  # as the tool prints


@pytest.mark.parametrize("step", [0, 3, 20])
def test_flicker_of_a_still_scene_is_the_change_in_code_values(step: int) -> None:
    truth = np.clip(texture(96, 128), 30, 220)
    still = truth.astype(np.float32) / np.float32(255)
    changed = still + np.float32(step / 255)
    assert flicker([still, changed, still], [truth] * 3) == pytest.approx(step, abs=0.01)


def test_flicker_detects_a_flash() -> None:
    frames = [np.roll(texture(96, 128), shift, axis=1) for shift in (0, 1, 2)]
    floats = [f.astype(np.float32) / np.float32(255) for f in frames]
    still = flicker(floats, frames)
    blinking = [floats[0], np.clip(floats[1] + np.float32(0.1), 0, 1), floats[2]]
    assert still < 6
    assert flicker(blinking, frames) > still + 10


def test_pulse_is_zero_for_true_frames_and_one_where_the_variance_halves() -> None:
    def stripes(level: int) -> Image8:
        image = np.zeros((32, 32, 3), np.uint8)
        image[:, ::2] = level
        return image

    def pulse_of(*levels: int) -> float:
        truths = [stripes(level) for level in (100, *([200] * (len(levels) - 2)), 100)]
        return pulse([stripes(level).astype(np.float32) / np.float32(255) for level in levels], truths)

    assert pulse_of(100, 200, 100) == 0  # the true frames, of which the middle one has four times the variance
    assert pulse_of(100, 100, 100) == pytest.approx(2, abs=1e-4)  # a quarter of the variance
    assert pulse_of(100, 141, 100) == pytest.approx(1, abs=0.01)  # half
    assert pulse_of(100, 100, 100, 100) == pytest.approx(4 / 3, abs=1e-4)  # two steps by 2 in three intervals
    assert pulse_of(100, 100) == 0


def test_unknown_metrics_and_missing_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no metric 'beauty'"):
        select_metrics("psnr,beauty")
    with pytest.raises(UsageError, match="`lpips_weights`"):
        select_metrics("lpips")
    with pytest.raises(InputError, match="no LPIPS weights"):
        select_metrics("lpips", tmp_path)


def test_lpips_reads_the_users_weights(tmp_path: Path) -> None:
    import torch

    from betwixt.evaluation.lpips import LPIPS

    torch.manual_seed(0)
    model = LPIPS()
    folder = tmp_path
    features = {f"features.{n}": v for n, v in model.features.state_dict().items()}
    torch.save({**features, "classifier.1.weight": torch.zeros(1)}, folder / "alexnet-owt-7be5be79.pth")
    linear = {f"lin{i}.model.1.weight": layer.weight.data.abs() for i, layer in enumerate(model.linear)}
    torch.save(linear, folder / "alex.pth")
    (metric,) = select_metrics("lpips", folder)
    assert metric.score is not None
    a, b = texture(64, 64), texture(64, 64, seed=1)
    zero = np.zeros((1, 1, 3), np.float32)
    assert metric.score(zero, a, a) == 0
    assert metric.score(zero, b, a) > 0
    torch.save({"lin0": torch.zeros(1)}, folder / "alex.pth")
    with pytest.raises(InputError, match="not those of LPIPS"):
        select_metrics("lpips", folder)


def test_badness_sorts_scores_by_what_is_better() -> None:
    worst_first = {"psnr": [20, 30, 40], "ie": [9, 5, 1], "sharpness": [0.4, 2.0, 1.5, 0.9, 1.0]}
    for name, scores in worst_first.items():
        assert sorted(scores, key=METRICS[name].badness, reverse=True) == scores
    assert METRICS["sharpness"].badness(0) > METRICS["sharpness"].badness(0.01)


def test_sharpness_is_the_ratio_of_the_laplacians_variances() -> None:
    stripes = np.zeros((32, 32, 3), np.uint8)
    stripes[:, ::2] = 200  # the Laplacian is -400 and 400: its variance is 400²
    faint = stripes // 2  # and here 200²
    assert sharpness(stripes, stripes) == 1
    assert sharpness(faint, stripes) == pytest.approx(0.25, rel=1e-5)
    assert sharpness(stripes, faint) == pytest.approx(4, rel=1e-5)
    flat = np.full((32, 32, 3), 90, np.uint8)
    assert sharpness(flat, flat) == 1
    assert sharpness(flat, stripes) < 1e-6


def test_a_median_is_reported_with_the_interval_of_the_median() -> None:
    values, sequences = [1.0, 1.0, 1.0, 1.0, 100.0], [str(i) for i in range(5)]
    s = summarize(values, sequences, "median")
    assert (s.score, s.mean, s.median) == (1.0, 20.8, 1.0)
    assert summarize(values, sequences).score == 20.8
    few = np.random.default_rng(0).normal(0, 1, 8).tolist()
    for groups in (["a"] * 8, ["a"] * 5 + ["b"] * 3):
        s = summarize(few, groups, "median")
        unit = np.unique(groups, return_inverse=True)[1] if len(set(groups)) > 1 else np.arange(8)
        draws = np.random.default_rng(0).integers(unit.max() + 1, size=(10_000, unit.max() + 1))
        medians = [np.median(np.concatenate([np.array(few)[unit == u] for u in draw])) for draw in draws]
        assert (s.low, s.high) == pytest.approx(tuple(np.percentile(medians, [2.5, 97.5])))


@settings(max_examples=25)
@given(st.lists(st.floats(10, 50), min_size=1, max_size=40))
def test_the_interval_contains_the_mean(values: list[float]) -> None:
    s = summarize(values, [str(i) for i in range(len(values))])
    assert s.mean == pytest.approx(np.mean(values))
    assert min(values) - 1e-9 <= s.low <= s.mean + 1e-9
    assert s.mean - 1e-9 <= s.high <= max(values) + 1e-9


def test_whole_sequences_are_resampled() -> None:
    values = [20.0] * 50 + [30.0] * 50
    together = summarize(values, ["a"] * 50 + ["b"] * 50)
    apart = summarize(values, [str(i) for i in range(100)])
    assert together.mean == apart.mean == 25
    assert together.high - together.low > 2 * (apart.high - apart.low)


def test_each_scale_of_ms_ssim_is_scikit_images_ssim() -> None:
    structural_similarity = pytest.importorskip("skimage.metrics").structural_similarity
    a, b = texture(80, 96), np.roll(texture(80, 96), 1, axis=1)
    similarity, contrast = _mean_similarity(a.astype(np.float64), b.astype(np.float64))
    for channel in range(3):
        expected = structural_similarity(
            *(a[..., channel], b[..., channel]),
            data_range=255,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        assert similarity[channel] == pytest.approx(expected, abs=1e-9)
    assert (contrast >= similarity - 1e-12).all()


def test_ms_ssim_is_the_product_of_its_scales() -> None:
    a = texture(184, 192, seed=1)[:181, :191]
    b = np.clip(a.astype(int) + np.random.default_rng(0).integers(-30, 31, a.shape), 0, 255).astype(np.uint8)
    expected = np.ones(3)
    x, y = a.astype(np.float64), b.astype(np.float64)
    for exponent, last in zip((0.0448, 0.2856, 0.3001, 0.2363, 0.1333), (False,) * 4 + (True,), strict=True):
        expected *= _mean_similarity(x, y)[0 if last else 1] ** exponent
        odd = [(0, x.shape[0] % 2), (0, x.shape[1] % 2), (0, 0)]
        x, y = (np.pad(p, odd, mode="edge") for p in (x, y))
        x, y = (p.reshape(p.shape[0] // 2, 2, p.shape[1] // 2, 2, 3).mean(axis=(1, 3)) for p in (x, y))
    assert ms_ssim(b, a) == pytest.approx(float(expected.mean()), abs=1e-12)


def test_ms_ssim_properties() -> None:
    a = texture(184, 192)
    assert ms_ssim(a, a) == pytest.approx(1.0)
    scores = []
    for noise in (4, 16, 64):
        b = np.clip(a + np.random.default_rng(0).normal(0, noise, a.shape), 0, 255).astype(np.uint8)
        assert ms_ssim(a, b) == pytest.approx(ms_ssim(b, a))
        scores.append(ms_ssim(a, b))
    assert scores == sorted(scores, reverse=True)
    # Light alone counts at the coarsest scale, by an exponent of 0.1333.
    brighter = np.clip(a.astype(int) // 2 + 20, 0, 255).astype(np.uint8)
    dimmer = np.clip(a.astype(int) // 2, 0, 255).astype(np.uint8)
    assert 0.9 < ms_ssim(brighter, dimmer) < 1.0
    assert ms_ssim(255 - a, a) == 0.0  # structure turned over
    with pytest.raises(UsageError, match="at least 176 pixels a side"):
        ms_ssim(a[:175], a[:175])
    assert METRICS["ms_ssim"].better == "higher"

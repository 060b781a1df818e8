"""Fixed-point networks, probability tables, range coding."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from betwixt.codec.entropy import (
    SCALES,
    FactorizedPrior,
    LatentEntropyModel,
    ReferenceFeatures,
    SymbolDecoder,
    SymbolEncoder,
    gaussian_tables,
)
from betwixt.codec.fixed_point import FixedPointConv2d, quantize_activations, to_double_precision

TABLES = gaussian_tables()


def with_extreme_weights(network):
    """Set the weights of a network to random values up to the largest ones."""
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        parameter.data = 8.0 * torch.rand(parameter.shape, generator=generator) - 4.0
    return network


def test_fixed_point_convolutions_equal_integer_arithmetic():
    conv = to_double_precision(with_extreme_weights(FixedPointConv2d(48, 8, 3, 1, 1)))
    x = torch.randint(-512, 513, (1, 48, 6, 7), dtype=torch.float64, generator=torch.Generator().manual_seed(1)) / 16
    output = conv(x)
    weight = np.rint(conv.weight.numpy().clip(-4, 4) * 256).astype(object)
    bias = np.rint(conv.bias.numpy() * 4096).astype(object)
    padded = np.pad(np.rint(x[0].numpy() * 16).astype(int), ((0, 0), (1, 1), (1, 1))).astype(object)
    for place in ((0, 0), (3, 5), (5, 6)):
        patch = padded[:, place[0] : place[0] + 3, place[1] : place[1] + 3]
        sums = [(patch * w).sum() + b for w, b in zip(weight, bias, strict=True)]
        assert [int(v) for v in (output[0, :, place[0], place[1]] * 4096)] == [int(s) for s in sums]
    assert torch.equal(quantize_activations(output) * 16, torch.round(quantize_activations(output) * 16))


def test_probabilities_do_not_depend_on_the_number_of_threads():
    model, reference = (
        to_double_precision(with_extreme_weights(LatentEntropyModel(torch.zeros(192), 16, 48, 24, 4.0).decoder)),
        to_double_precision(with_extreme_weights(ReferenceFeatures(24))),
    )
    generator = torch.Generator().manual_seed(0)
    luma = torch.randint(-128, 128, (1, 2, 256, 256), dtype=torch.float64, generator=generator) / 256
    z = torch.randint(-9, 10, (1, 16, 8, 8), dtype=torch.float64, generator=generator)
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(model(z, reference(luma), torch.full((1, 1, 1, 1), 1.25, dtype=torch.float64)))
    finally:
        torch.set_num_threads(threads)
    for mean, scale in results[1:]:
        assert torch.equal(mean, results[0][0])
        assert torch.equal(scale, results[0][1])
    scales = results[0][1]
    assert torch.equal(scales * 4, torch.round(scales * 4))
    assert scales.min() >= np.log2(SCALES[0]) - 1e-9
    assert scales.max() <= np.log2(SCALES[-1]) + 1e-9


def test_frequencies_add_up_and_none_is_zero():
    for number in range(len(SCALES)):
        row = TABLES[number][TABLES[number] > 0]
        assert row.sum() == 65536
        middle = (len(row) - 2) // 2
        assert np.abs(row[:middle] - row[2 * middle : middle : -1]).max() <= 1
    prior = FactorizedPrior(3)
    prior.freeze()
    assert (prior.tables.sum(dim=1) == 65536).all()
    assert (prior.tables >= 1).all()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(-40000, 40000), st.integers(0, len(SCALES) - 1)), min_size=1, max_size=50))
def test_symbols_round_trip(pairs):
    symbols = np.clip(np.array([s for s, _ in pairs]), -32767, 32767)
    scales = np.array([i for _, i in pairs])
    writer = SymbolEncoder(TABLES)
    writer.encode(symbols, writer.models.gaussian_plan(scales))
    reader = SymbolDecoder(writer.bytes(), TABLES)
    assert (reader.decode(len(symbols), reader.models.gaussian_plan(scales)) == symbols).all()


def test_coded_size_is_the_entropy_of_gaussians():
    rng = np.random.default_rng(0)
    for number in (8, 20, 32):
        symbols = np.rint(rng.normal(0, SCALES[number], 20000)).astype(np.int64)
        writer = SymbolEncoder(TABLES)
        writer.encode(symbols, writer.models.gaussian_plan(np.full(len(symbols), number)))
        share = TABLES[number][np.clip(symbols + (len(TABLES[number][TABLES[number] > 0]) - 2) // 2, 0, None)] / 65536
        assert 8 * len(writer.bytes()) == pytest.approx(-np.log2(share).sum(), rel=2e-3)


def test_bits_estimated_in_training_are_those_of_coding():
    torch.manual_seed(0)
    model = LatentEntropyModel(torch.full((6,), 1.0), 4, 16, 24, 4.0).requires_grad_(False)
    y = 2.0 * torch.randn(1, 6, 32, 32)
    reference = torch.zeros(1, 24, 32, 32)
    estimated = float(torch.stack([model(y, reference, torch.zeros(1, 1, 1, 1))[1] for _ in range(4)]).mean())
    model.prior.freeze()
    z = torch.round(model.hyper_latents(y))
    mean, scale = model.decoder(z, reference, torch.zeros(1, 1, 1, 1))
    writer = SymbolEncoder(TABLES)
    tables = model.prior.tables.numpy().astype(np.int32)
    writer.encode(z.numpy().astype(np.int64).reshape(-1), writer.models.prior_plan(tables, z[0, 0].numel()))
    index = ((scale + 4) * 4).round().long().numpy().reshape(-1)
    symbols = torch.round(y - mean).numpy().astype(np.int64).reshape(-1)
    writer.encode(symbols, writer.models.gaussian_plan(index))
    assert 8 * len(writer.bytes()) == pytest.approx(estimated, rel=0.05)


def test_a_factorized_prior_is_a_distribution_and_learns():
    torch.manual_seed(0)
    prior = FactorizedPrior(2)
    places = torch.arange(-200.0, 201.0)
    total = prior.probabilities(places.expand(2, 1, -1)).sum(dim=2)
    assert torch.allclose(total, torch.ones_like(total), atol=1e-3)
    values = torch.round(torch.tensor([0.0, 5.0]).reshape(1, 2, 1, 1) + torch.randn(16, 2, 8, 8))
    before = float(prior.bits(values).detach().mean())
    optimizer = torch.optim.Adam(prior.parameters(), 0.05)
    for _ in range(80):
        loss = prior.bits(values).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    after = float(prior.bits(values).detach().mean()) / 128
    assert after < before / 128 / 2
    assert after < 2.3  # the entropy of a rounded normal distribution is 2.1 bits

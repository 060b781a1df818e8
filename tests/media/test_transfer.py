"""Transfer characteristics: code values to linear light and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from betwixt.media.transfer import transfer_of

CODES = [1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18]


@pytest.mark.parametrize("code", CODES)
def test_encoding_inverts_decoding(code):
    transfer = transfer_of(code)
    values = np.arange(1024) / 1023
    light = transfer.to_light(values)
    back = transfer.from_light(light)
    defined = values > (0.01 if code in (9, 10) else 0)  # the logarithmic curves end above black
    np.testing.assert_allclose(back[defined], values[defined], atol=2e-4)
    assert (np.diff(light) >= 0).all()
    assert (light[0], round(float(light[-1]), 3)) == (pytest.approx(0, abs=0.011), 1.0)


@pytest.mark.parametrize(
    ("code", "rgb", "value", "light"),
    [
        (1, False, 0.081, 0.018),  # BT.709: where its two parts join
        (13, True, 0.5, 0.21404),  # sRGB
        (2, True, 0.5, 0.21404),  # not stated, RGB: sRGB
        (2, False, 0.5, 0.25972),  # not stated, video: BT.709
        (4, False, 0.5, 0.5**2.2),
        (16, False, 0.5081, 0.01),  # PQ: 100 of 10,000 cd/m2 (ST 2084)
        (18, False, 0.5, 1 / 12),  # HLG: where its two parts join (BT.2100)
        (8, False, 0.3, 0.3),
    ],
)
def test_known_values(code, rgb, value, light):
    assert transfer_of(code, rgb).to_light(np.array([value]))[0] == pytest.approx(light, rel=2e-3)


@given(st.floats(0, 1), st.floats(0, 1), st.sampled_from([1, 13, 16, 18]))
def test_the_mean_of_light_is_no_darker_than_the_mean_of_code_values(a, b, code):
    transfer = transfer_of(code)
    light = transfer.to_light(np.array([a, b])).mean(keepdims=True)
    assert transfer.from_light(light)[0] >= (a + b) / 2 - 1e-3

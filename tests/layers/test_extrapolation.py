"""Motion extrapolation: straight paths, occlusion, no second copies, static regions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from betwixt.layers.extrapolation import extrapolate_motion

SIZE = (40, 60)


def motion_of(square=None, velocity=(6.0, 0.0), rest=(0.0, 0.0)):
    u = np.zeros((*SIZE, 2), np.float32) + np.array(rest, np.float32)
    if square is not None:
        u[square] = velocity
    return u


@given(
    st.floats(-8, 8).filter(lambda v: abs(v) > 0.5),
    st.floats(-8, 8),
    st.sampled_from([0.5, 1.0, 2.0]),
    st.sampled_from([(1.0, 1.0), (2.0, 2.5)]),
)
def test_uniform_motion_continues(x, y, s, scale):
    u = motion_of(rest=(x, y))
    made = extrapolate_motion(u, np.ones(SIZE, np.float32), s, scale)
    np.testing.assert_allclose(made.flow_t1, -s * u, atol=1e-3)
    np.testing.assert_allclose(made.flow_t0, -(1 + s) * u, atol=1e-3)
    assert 0 <= made.weight.min() <= made.weight.max() <= 0.5


def test_a_moving_square_leaves_no_second_copy():
    square = (slice(10, 30), slice(10, 26))
    made = extrapolate_motion(motion_of(square), np.ones(SIZE, np.float32), 1.0, (1.0, 1.0))
    moving = made.flow_t1[..., 0] < -5
    assert moving[14:26, 19:29].all()  # the inside, six pixels on
    assert not moving[:, :14].any()  # no copy remains at its old place
    assert not moving[:, 36:].any()
    assert (made.flow_t1[:, 40:] == 0).all()


def test_static_regions_are_frame_1_alone():
    square = (slice(10, 30), slice(10, 26))
    made = extrapolate_motion(motion_of(square), np.ones(SIZE, np.float32), 1.0, (1.0, 1.0))
    still = (made.flow_t1 == 0).all(axis=2)
    assert still.mean() > 0.7
    assert (made.weight[still] == 0).all()
    none = extrapolate_motion(motion_of(), np.ones(SIZE, np.float32), 1.0, (1.0, 1.0))
    assert not none.flow_t0.any()
    assert not none.weight.any()


def test_without_trust_frame_0_has_no_weight():
    u = motion_of(rest=(4.0, 1.0))
    made = extrapolate_motion(u, np.zeros(SIZE, np.float32), 1.0, (1.0, 1.0))
    assert made.weight.max() == pytest.approx(0.0)
    np.testing.assert_allclose(made.flow_t1, -u, atol=1e-3)

"""The algebra given the between-site sd against the conditioning of one big normal vector."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from gbveval.numerics.hierarchy_given_sd import Coefficients, Conditional, SiteMeans
from gbveval.numerics.priors import Flat, HalfNormal, Normal

numbers = st.floats(-3.0, 3.0)
scales = st.floats(0.1, 3.0)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(numbers, scales, numbers, numbers), min_size=2, max_size=6),
    st.floats(0.01, 4.0),
    st.tuples(numbers, numbers, numbers),
    st.tuples(scales, scales, scales),
    st.tuples(numbers, numbers),
)
def test_against_conditioning_one_normal_vector(rows, tau, prior_mean, prior_sd, point):
    y, se, first, second = np.array(rows).T
    moderators = np.column_stack([first, second])
    means = SiteMeans.of(
        len(y),
        Normal(prior_mean[0], prior_sd[0]),
        moderators=moderators,
        slope_priors=(Normal(prior_mean[1], prior_sd[1]), Normal(prior_mean[2], prior_sd[2])),
        at=[point],
    )
    X, S = np.column_stack([np.ones(len(y)), moderators]), np.diag(np.square(prior_sd))
    # (b, theta, new, y) is a linear map of independent normals: prior, deviations of sites and the new one, errors.
    k = len(y)
    pick = np.block(
        [
            [np.eye(3), np.zeros((3, k + 1 + k))],
            [X, tau * np.eye(k), np.zeros((k, 1 + k))],
            [np.array([[1.0, *point]]), np.zeros((1, k)), np.array([[tau]]), np.zeros((1, k))],
            [X, tau * np.eye(k), np.zeros((k, 1)), np.diag(se)],
        ]
    )
    base = np.zeros((3 + 2 * k + 1, 3 + 2 * k + 1))
    base[:3, :3], base[3:, 3:] = S, np.eye(2 * k + 1)
    centre, joint = pick[:, :3] @ np.array(prior_mean), pick @ base @ pick.T
    inside = joint[-k:, -k:]
    gain = np.linalg.solve(inside, joint[-k:, :-k]).T
    wanted = centre[:-k] + gain @ (y - centre[-k:])
    spread = joint[:-k, :-k] - gain @ joint[-k:, :-k]
    at = Conditional.at(y, se, means, np.array([tau]))
    # Solving 18 by 18 systems of condition number up to 1e5 in double precision.
    np.testing.assert_allclose(at.means[0], wanted, rtol=0, atol=1e-8)
    np.testing.assert_allclose(at.sds[0], np.sqrt(np.diag(spread)), rtol=0, atol=1e-7)
    common = at.loadings[0] @ at.loadings[0].T
    off = ~np.eye(len(common), dtype=bool)
    np.testing.assert_allclose(common[off], spread[off], rtol=0, atol=1e-7)
    found = Coefficients.at(y, se, means, np.array([tau])).log_likelihood[0]
    assert found == pytest.approx(stats.multivariate_normal(centre[-k:], inside).logpdf(y), abs=1e-7)


def test_a_flat_average_is_the_limit_of_a_wide_one():
    y, se = np.array([0.3, -0.2, 1.0]), np.array([0.2, 0.4, 0.3])
    tau, x = np.array([0.05, 0.5]), np.array([[-1.0], [0.0], [1.0]])
    flat = SiteMeans.of(3, Flat(), moderators=x, slope_priors=(Normal(0.0, 1.0),))
    wide = SiteMeans.of(3, Normal(0.0, 1e5), moderators=x, slope_priors=(Normal(0.0, 1.0),))
    a, b = (Coefficients.at(y, se, means, tau) for means in (flat, wide))
    # A prior of sd 1e5 moves the mean by 1e-10 and its density at the data is 1 / (1e5 sqrt(2 pi)).
    np.testing.assert_allclose(a.mean, b.mean, atol=1e-9)
    np.testing.assert_allclose(a.log_likelihood, b.log_likelihood + np.log(1e5 * np.sqrt(2 * np.pi)), atol=1e-8)


def test_parts_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="one column a prior"):
        SiteMeans.of(3, Flat(), moderators=np.zeros((3, 2)), slope_priors=(Normal(0.0, 1.0),))
    with pytest.raises(ValueError, match="finite"):
        SiteMeans.of(2, Flat(), moderators=[[0.0], [np.nan]], slope_priors=(Normal(0.0, 1.0),))
    with pytest.raises(ValueError, match="slope must be Normal"):
        SiteMeans.of(2, Flat(), moderators=[[0.0], [1.0]], slope_priors=(HalfNormal(1.0),))

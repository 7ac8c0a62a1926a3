"""Averages over normals of any width, against closed forms and adaptive quadrature."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, stats

from gbveval.numerics.hierarchy_quadrature import Panels, adaptive_panels, panel_nodes
from gbveval.numerics.smoothing import Smoother

EDGES = np.array([-8.0, -4.0, -2.0, -1.0, -0.7, -0.5, -0.4, -0.3, 0.0, 1.0, 2.0, 6.0, 8.0])
WIDTHS = [1e-7, 1e-4, 0.003, 0.02, 0.05, 0.11, 0.26, 0.6, 1.4, 5.0, 40.0]
POINTS = np.linspace(-3.0, 3.0, 41)


def panels(function):
    return adaptive_panels(function, EDGES, tolerance=1e-10)


@pytest.mark.parametrize("sd", WIDTHS)
def test_a_normal_smoothed_is_a_normal(sd):
    centre, width = -0.45, 0.07
    found = panels(lambda x: -0.5 * ((x - centre) / width) ** 2)
    total = np.hypot(width, sd)
    scale = width / total
    posterior = width**2 / total**2
    z = (POINTS - centre) / total
    wanted = scale * np.exp(-0.5 * z**2)
    shift = (centre - POINTS) * (1.0 - posterior)
    moments = Smoother(found, tails=False).moments(POINTS, sd, found.log_values, 2)
    # Panels resolve to 1e-10 of the integral; the reach of seven and a half sds leaves 6e-14.
    np.testing.assert_allclose(moments[0, 0], wanted, atol=1e-9)
    np.testing.assert_allclose(moments[1, 0], wanted * shift, atol=1e-9 * max(sd, 1))
    second = shift**2 + sd**2 * posterior
    np.testing.assert_allclose(moments[2, 0], wanted * second, atol=1e-9 * max(sd, 1) ** 2)
    values = np.exp(found.log_values[0]).ravel()
    if sd > 1e-5:
        np.testing.assert_allclose(Smoother(found, tails=False).matrix(POINTS, sd) @ values, wanted, atol=1e-8)


@pytest.mark.parametrize("sd", WIDTHS)
def test_constants_stay_and_tails_go_on(sd):
    found = Panels(EDGES[:-1], EDGES[1:], np.zeros((1, len(EDGES) - 1, 16)))
    moments = Smoother(found, tails=True).moments(POINTS, sd, found.log_values, 2)
    np.testing.assert_allclose(moments[0, 0], 1.0, atol=1e-10)
    np.testing.assert_allclose(moments[1, 0], 0.0, atol=1e-10 * max(sd, 1))
    np.testing.assert_allclose(moments[2, 0], sd**2, rtol=1e-9)


@pytest.mark.parametrize("sd", [0.02, 0.3, 2.0])
def test_a_plateau_with_a_flank(sd):
    def plateau(x):
        return -np.exp(3.0 * x)

    found = panels(plateau)
    got = Smoother(found, tails=True).moments(np.array([-1.0, 0.2, 1.0]), sd, found.log_values)[0, 0]
    for point, value in zip([-1.0, 0.2, 1.0], got, strict=True):
        wanted = integrate.quad(
            lambda x, point=point: np.exp(plateau(x)) * stats.norm.pdf(x, point, sd),
            point - 12 * sd,
            min(point + 12 * sd, 8.0),
            epsabs=1e-13,
            epsrel=1e-11,
            limit=400,
        )[0]
        # Beyond minus eight the plateau is one to 4e-11, and goes on as a constant.
        assert value == pytest.approx(wanted, abs=2e-9)
    assert panel_nodes(EDGES[:-1], EDGES[1:]).shape == (12, 16)

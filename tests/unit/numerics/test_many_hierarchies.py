"""Many exact hierarchies at once: the answers of one by one. `tests/calibration` has 5,000 pilots of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gbveval as gbv
from gbveval.numerics.many_hierarchies import many_hierarchies, spread_cdf

SE = np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])
SCHOOLS = np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
PRIORS: list[tuple[Any, Any]] = [
    (gbv.Normal(0, 5), gbv.HalfCauchy(5)),
    (gbv.Normal(3, 20), gbv.HalfNormal(10)),
    (gbv.Normal(0, 5), gbv.Uniform(30)),
    (gbv.Flat(), gbv.HalfNormal(5)),
    (gbv.Normal(0, 5), gbv.Exponential(8.0)),
    (gbv.Normal(0, 5), gbv.LogNormal(1.0, 1.0)),
]


@pytest.mark.parametrize(("average", "spread"), PRIORS)
def test_every_study_has_the_answer_it_has_alone(average: Any, spread: Any) -> None:
    rng = np.random.default_rng(1)
    seen = np.vstack([SCHOOLS, rng.normal(size=(3, 8)) * np.sqrt(SE**2 + 36.0) + 4.0])
    many = many_hierarchies(seen, SE, mu_prior=average, tau_prior=spread)
    ends = np.array([2.0, 5.0, 0.5, 9.0])
    sds = spread_cdf(many, ends, mu_prior=average, tau_prior=spread)
    for row, y in enumerate(seen):
        sites = gbv.SiteEffects({"y": y, "s": SE}, estimate="y", std_error="s")
        one = gbv.NormalHierarchy(gbv.HierarchyPrior(average, spread)).estimate(sites)
        # Both integrate analytic functions by Gauss rules; a log-normal spread bends most in a panel.
        assert many.average_cdf(1.0)[row] == pytest.approx(one.probability("average effect", below=1.0), abs=1e-8)
        assert many.new_site_cdf(0.0)[row] == pytest.approx(
            one.probability("effect in a new site", below=0.0), abs=1e-8
        )
        assert many.site_cdf(2, 1.0)[row] == pytest.approx(one.probability("effect in site 03", below=1.0), abs=1e-8)
        assert sds[row] == pytest.approx(one.probability("between-site sd", below=ends[row]), abs=1e-7)
        assert many.spread_mean()[row] == pytest.approx(one["between-site sd"].value, rel=1e-7)
        assert many.average_moments()[0][row] == pytest.approx(one["average effect"].value, abs=1e-7)

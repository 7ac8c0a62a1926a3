"""Hides how models of the same sites are compared by how well each predicts a site that it has not seen."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError
from gbveval.core.table import Table

FloatArray = NDArray[np.float64]
COLUMNS = ("model", "log_density", "std_error", "difference", "difference_std_error", "stacking_weight")


def compare_models(scores: Mapping[str, Table]) -> Table:
    """Return how models compare in predicting each site from the others, the best first.

    Parameters
    ----------
    scores : mapping of str to Table
        What the models are called, and what `leave_one_site_out` gave for each, on the same sites.

    Returns
    -------
    Table
        Columns model, log_density (the sum over sites) and its std_error, difference (from the best model) and its
        standard error over sites, stacking_weight (shares of models in the average that predicts best).

    Raises
    ------
    DesignError
        If there are fewer than two models, or their sites are not the same.

    Notes
    -----
    A difference of less than about four, or of less than twice its standard error, tells models apart no better than
    chance; with a handful of sites nothing will. It compares predictions, and does not say whether any of the models is
    good. Densities compare only on one scale of the data: not estimates with counts, not logs with differences.

    References
    ----------
    Vehtari, Gelman and Gabry (2017), Statistics and Computing 27. Yao, Vehtari, Simpson and Gelman (2018), Bayesian
    Analysis 13, for stacking.

    Examples
    --------
    >>> import gbveval as gbv
    >>> sites = gbv.SiteEffects({"y": [0.1, 0.3, 0.2, 1.9], "se": [0.1] * 4}, estimate="y", std_error="se")
    >>> prior = gbv.HierarchyPrior(gbv.Normal(0, 1), gbv.HalfNormal(0.3))
    >>> table = compare_models({
    ...     "normal effects": gbv.leave_one_site_out(sites, prior),
    ...     "one odd site": gbv.leave_one_site_out(sites, prior, df=3),
    ... })
    >>> table.rows[0][0]
    'one odd site'
    """
    if len(scores) < 2:
        raise DesignError(f"Comparing takes two models at least; there are {len(scores)}.")
    pointwise = _pointwise(scores)
    total = pointwise.sum(axis=1)
    order = np.argsort(-total, kind="stable")
    names, best = list(scores), pointwise[order[0]]
    weight = _stacking(pointwise)
    rows = []
    for place in order:
        gap = pointwise[place] - best
        own, between = _sum_error(pointwise[place]), _sum_error(gap)
        difference_error = None if place == order[0] else between
        rows.append((names[place], float(total[place]), own, float(gap.sum()), difference_error, float(weight[place])))
    note = f"Log density of each of {pointwise.shape[1]} sites given the others; differences are from the first row."
    support = next(iter(scores.values())).support[-1]
    return Table("Models compared", COLUMNS, tuple(rows), (note,), (support,) * len(rows))


def _pointwise(scores: Mapping[str, Table]) -> FloatArray:
    """Return log densities, shape (models, sites)."""
    sites: tuple[object, ...] | None = None
    found = []
    for name, table in scores.items():
        if not isinstance(table, Table) or table.columns != ("site", "log_density", "std_error"):
            raise DesignError(f"{name!r} is not what leave_one_site_out gives.")
        own = tuple(row[0] for row in table.rows[:-1])
        if sites is not None and own != sites:
            raise DesignError(f"{name!r} was scored on other sites than the models before it; use the same data.")
        sites = own
        found.append([float(row[1]) for row in table.rows[:-1]])
    return np.array(found, dtype=np.float64)


def _sum_error(values: FloatArray) -> float | None:
    """Return the standard error of a sum over sites; None for one site."""
    return float(np.sqrt(values.size * np.var(values, ddof=1))) if values.size > 1 else None


def _stacking(pointwise: FloatArray) -> FloatArray:
    """Return the weights w that maximise sum_i log sum_k w_k p_k(y_i), a concave programme over the simplex."""
    from scipy.optimize import Bounds, LinearConstraint, minimize

    models = len(pointwise)
    density = np.exp(pointwise - pointwise.max(axis=0))

    def loss(w: FloatArray) -> float:
        return -float(np.log(w @ density).sum())

    def slope(w: FloatArray) -> FloatArray:
        return np.asarray(-(density / (w @ density)).sum(axis=1), dtype=np.float64)

    start = np.full(models, 1.0 / models)
    whole = LinearConstraint(np.ones((1, models)), 1.0, 1.0)
    limits = Bounds(1e-9, 1.0)
    found = minimize(loss, start, jac=slope, method="SLSQP", bounds=limits, constraints=whole, tol=1e-12)
    weight = np.clip(found.x, 0.0, None)
    return np.asarray(weight / weight.sum(), dtype=np.float64)

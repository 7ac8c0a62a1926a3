"""What follows from the rows of a result: contrasts, and a test of all of them together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError
from gbveval.core.estimand import LEVELS, Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.term import Term
from gbveval.numerics.inference import f_upper, wald_joint

FloatArray = NDArray[np.float64]
# The difference of two levels of a population compares its parts.
DIFFERENCES = {"mean": "mean_difference", "share": "prevalence_difference", "quantile": "quantile_difference"}


def contrast(estimates: Estimates, weights: Mapping[Any, float], *, name: str) -> Estimates:
    """Return a weighted sum of rows as a new single row; see `Estimates.contrast`."""
    chosen = [estimates.index(term) for term in weights]
    links = {estimates.terms[i].estimand.link for i in chosen}
    if len(links) != 1:
        raise DesignError("A contrast needs rows on one scale; these mix " + " and ".join(sorted(links)) + ".")
    if estimates.in_posterior[chosen].any():
        raise DesignError("For a posterior, draw jointly with `posterior.sample` and contrast the draws.")
    w = np.zeros(len(estimates.terms))
    w[chosen] = list(weights.values())
    used = np.asarray(chosen)
    first = estimates.terms[chosen[0]]
    estimand = first.estimand
    if links == {"logit"}:
        if abs(sum(weights.values())) > 1e-12:
            raise DesignError("A sum of log odds is no proportion; weights that add to zero give an odds ratio.")
        estimand = Estimand("association", "odds_ratio", first.estimand.population, first.estimand.scale)
    elif first.estimand.effect in LEVELS and abs(sum(weights.values())) < 1e-12:
        kind = DIFFERENCES.get(first.estimand.contrast, first.estimand.contrast)
        estimand = Estimand("association", kind, first.estimand.population, first.estimand.scale)
    value = float(w[used] @ estimates.values[used])
    variance = float(w[used] @ estimates.covariance[np.ix_(used, used)] @ w[used])
    defined = np.isfinite(value) and np.isfinite(variance) and variance > 0
    row = replace(
        first,
        term=name,
        estimand=estimand,
        value=value if np.isfinite(value) else None,
        std_error=float(np.sqrt(variance)) if defined else None,
        df=_contrast_df(estimates, used, w[used]),
        reason="" if defined else "a row of the contrast is undefined, or the contrast has no variance",
        support=tuple(dict.fromkeys(cell for i in chosen for cell in estimates.terms[i].support)),
        interval=None,
        statistic=None,
        p_value=None,
        extra=(),
    )
    influence = None if estimates.influence is None else (estimates.influence[:, used] @ w[used])[:, None]
    covariance = np.array([[variance if defined else np.nan]])
    return replace(
        estimates,
        terms=(row,),
        covariance=covariance,
        influence=influence,
        posterior=None,
        band=None,
        aggregator=None,
    )


def _contrast_df(estimates: Estimates, used: Any, weights: FloatArray) -> float:
    """Return degrees of freedom of a weighted sum of rows."""
    smallest = min(estimates.terms[int(i)].df for i in used)
    if estimates.influence is None or estimates.blocks is None:
        return smallest
    scores = estimates.influence[:, used] @ weights
    _, code, size = np.unique(estimates.blocks, return_inverse=True, return_counts=True)
    parts = np.bincount(code, weights=scores**2)
    # A block whose units cancel in the contrast takes no part in it.
    bottom = float(np.sum(parts[size > 1] ** 2 / (size[size > 1] - 1.0)))
    return float(parts.sum() ** 2 / bottom) if bottom > 0 else smallest


def joint_test(estimates: Estimates, *, name: str) -> Estimates:
    """Return a test that all effects are zero; see `Estimates.joint_test`."""
    bayesian = estimates.in_posterior
    if bayesian.any() and bayesian.all():
        raise DesignError("A posterior has no Wald test; ask for the probability beyond a threshold.")
    used = np.array([i for i in estimates.main_rows() if not bayesian[i]], dtype=int)
    if used.size == 0:
        raise DesignError("No row has a standard error, so there is nothing to test jointly.")
    if any(estimates.terms[i].estimand.contrast in ("proportion", "share") for i in used):
        raise DesignError("That all proportions are a half is nobody's hypothesis; test differences or ratios.")
    smallest = min(estimates.terms[i].df for i in used)
    statistic, rank, _ = wald_joint(estimates.values[used], estimates.covariance[np.ix_(used, used)])
    finite = np.isfinite(smallest)
    # Hotelling's T squared: with few degrees of freedom the plain F rejects far too often.
    df2 = smallest - rank + 1.0 if finite else np.inf
    scale = df2 / (smallest * rank) if finite else 1.0 / rank
    possible = rank > 0 and df2 > 0
    first = estimates.terms[used[0]]
    row = Term(
        term=name,
        estimand=first.estimand,
        outcome=first.outcome,
        value=None,
        std_error=None,
        df=float(rank),
        kind="test",
        statistic=(statistic * scale if finite else statistic) if possible else None,
        df2=float(df2) if finite and possible else None,
        p_value=f_upper(statistic * scale, rank, float(df2)) if possible else None,
        reason="" if possible else "there are more rows than degrees of freedom, so they cannot be tested together",
        n_units=first.n_units,
        n_clusters=first.n_clusters,
        support=tuple(dict.fromkeys(cell for i in used for cell in estimates.terms[i].support)),
    )
    return replace(
        estimates,
        terms=(row,),
        covariance=np.full((1, 1), np.nan),
        influence=None,
        posterior=None,
        band=None,
        aggregator=None,
    )

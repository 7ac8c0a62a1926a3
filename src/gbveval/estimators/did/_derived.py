"""What is made of the rows of a rollout: averages of them, and one test of several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.lazy import LazyMatrix
from gbveval.core.term import Term
from gbveval.estimators.did._rollout import masked

FloatArray = NDArray[np.float64]
PRETEST = "all effects before treatment are zero"


def averaged(
    estimates: Estimates,
    terms: Sequence[Term],
    covariance: FloatArray,
    influence: FloatArray | LazyMatrix | None,
    words: Sequence[str],
) -> Estimates:
    """Return averages in the place of the rows they are made of, with words on how."""
    return replace(
        estimates,
        terms=tuple(terms),
        covariance=masked(covariance, terms),
        influence=influence,
        method=replace(estimates.method, sample=f"{estimates.method.sample}; {', '.join(words)}"),
        aggregator=None,
        band=None,
    )


def pretested(
    estimates: Estimates,
    name: str,
    *,
    df: float,
    statistic: float,
    p_value: float,
    df2: float | None = None,
    reason: str = "",
    n_units: int | None = None,
) -> Estimates:
    """Return a test of effects before treatment in the place of the rows; without numbers where there is a reason."""
    first = estimates.terms[0]
    row = Term(
        term=name,
        estimand=Estimand("pretest", "none", "treated"),
        outcome=first.outcome,
        value=None,
        std_error=None,
        kind="test",
        df=float(df),
        df2=None if reason else df2,
        statistic=None if reason else float(statistic),
        p_value=None if reason else float(p_value),
        n_units=first.n_units if n_units is None else n_units,
        n_clusters=first.n_clusters,
        support=tuple(dict.fromkeys(cell for each in estimates.terms for cell in each.support)),
        reason=reason,
    )
    return replace(
        estimates, terms=(row,), covariance=np.full((1, 1), np.nan), influence=None, aggregator=None, band=None
    )

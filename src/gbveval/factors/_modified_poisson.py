"""Modified Poisson regression for adjusted prevalence ratios: weighted point estimates and linearised scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import ConvergenceError, IdentificationError
from gbveval.factors._columns import ModelData
from gbveval.factors._log_poisson import fit_log_poisson
from gbveval.numerics.least_squares import make_basis

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
# A fitted risk this far below the overall one means a coefficient on its way to minus infinity: the scoring steps stop
# long after it and long before rounding would hide it.
VANISHING = 1e-6


@dataclass(frozen=True, eq=False, slots=True)
class ModifiedPoisson:
    """A fitted log-link model of risk.

    Attributes
    ----------
    log_ratio : ndarray, shape (exposures,)
        Coefficients of the exposure columns.
    row_values : ndarray, shape (n, exposures)
        Linearised values by respondent, weights included; zero for rows that were set aside.
    separated : bool
        Some combination of the columns has no events, so that no finite solution exists; the numbers then mean nothing.
    above_one : int
        Respondents with a fitted risk above one.
    dropped : tuple of str
        Covariates that were collinear with the others.
    set_aside : tuple of str
        Covariates of which one category has no events: its respondents say nothing about the ratio.
    k : int
        Coefficients, the intercept included.
    """

    log_ratio: FloatArray
    row_values: FloatArray
    separated: bool
    above_one: int
    dropped: tuple[str, ...]
    set_aside: tuple[str, ...]
    k: int


def fit_modified_poisson(data: ModelData, factor: str) -> ModifiedPoisson:
    """Return adjusted log prevalence ratios by Poisson quasi-likelihood with a log link.

    Parameters
    ----------
    data : ModelData
        Respondents by patterns; each category of the factor has events, and so has the reference.
    factor : str
        Name of the factor, for messages.

    Notes
    -----
    The fit is that of patterns with their weight and weighted share of events, which has the scores of the people.

    Raises
    ------
    IdentificationError
        If a category of the factor is a combination of the covariates.
    ConvergenceError
        If the scoring steps do not reach a solution.

    References
    ----------
    Zou (2004), American Journal of Epidemiology 159. Binder (1983), International Statistical Review 51.
    """
    total, share, m = data.total, data.share, data.exposures.shape[1]
    keep, usable, aside = _informative(share * total, data.covariates, data.names)
    design = np.column_stack([data.covariates[keep][:, usable], data.exposures[keep]])
    basis = make_basis(design, weights=total[keep])
    labels = [data.names[i] for i in usable]
    dropped = tuple(labels[i] for i in basis.dropped if i < len(labels))
    if any(i >= len(labels) for i in basis.dropped):
        raise confounded(factor)
    fit = fit_log_poisson(basis.rows(design, slice(None)), share[keep], total[keep])
    if not fit.converged:
        raise ConvergenceError(
            f"The adjusted model of factor {factor!r} found no solution. Merge small categories, or adjust for fewer "
            "columns."
        )
    wanted = basis.to_original[-m:]
    slope = np.zeros((data.patterns.count, m))
    fitted = np.zeros(data.patterns.count)
    slope[keep] = fit.pull @ wanted.T
    fitted[keep] = fit.fitted
    people = np.bincount(data.patterns.index, minlength=data.patterns.count)
    return ModifiedPoisson(
        log_ratio=wanted @ fit.gamma,
        row_values=data.spread(-fitted[:, None] * slope, slope),
        separated=bool(fit.fitted.min() < VANISHING * np.average(share[keep], weights=total[keep])),
        above_one=int(people[fitted > 1.0 + 1e-9].sum()),
        dropped=dropped,
        set_aside=aside,
        k=int(fit.gamma.size),
    )


def confounded(factor: str) -> IdentificationError:
    """Return the error of a factor that cannot be told from its covariates."""
    return IdentificationError(
        f"Factor {factor!r} is a combination of the columns it is adjusted for, so its ratio cannot be told from "
        "theirs. Take out of its adjust_for the column that contains it."
    )


def _informative(
    events: FloatArray, covariates: FloatArray, names: Sequence[str]
) -> tuple[BoolArray, list[int], tuple[str, ...]]:
    """Return the patterns and columns left when indicator columns without events on one side are taken out.

    The coefficient of such an indicator is infinite; in that limit its respondents have risk zero and change nothing
    else, so leaving them out gives the limit exactly.
    """
    keep = np.ones(events.size, dtype=bool)
    columns = [j for j in range(covariates.shape[1]) if set(np.unique(covariates[:, j]).tolist()) <= {0.0, 1.0}]
    aside: list[int] = []
    found = True
    while found:
        found = False
        for j in columns:
            if j in aside:
                continue
            inside = keep & (covariates[:, j] == 1.0)
            outside = keep & ~inside
            if not (inside.any() and outside.any()):
                continue
            for group in (inside, outside):
                if events[group].sum() == 0:
                    keep &= ~group
                    aside.append(j)
                    found = True
                    break
    usable = [j for j in range(covariates.shape[1]) if j not in aside]
    return keep, usable, tuple(names[j] for j in sorted(aside))

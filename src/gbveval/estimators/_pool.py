"""Pools the results of one estimator on several completed data sets into one result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from gbveval.core.errors import DesignError
from gbveval.core.estimates import Estimates
from gbveval.core.method import Cell, Check, Method
from gbveval.core.provenance import Provenance, versions
from gbveval.core.term import Term
from gbveval.numerics.imputation import Pooled, pool

# Below this many imputations the p-values of two runs differ visibly.
FEW = 20


def pool_imputations(results: Sequence[Estimates]) -> Estimates:
    """Pool the results of one estimator on several imputed data sets by Rubin's rules.

    Parameters
    ----------
    results : sequence of Estimates
        One for each imputed data set, all by the same estimator on the same rows. Two at least; twenty or more are
        wanted.

    Returns
    -------
    Estimates
        The mean of the estimates, total covariance, and degrees of freedom of Barnard and Rubin. A column
        `missing_information` says what share of the information is missing; others give the variances within and
        between imputations, the relative increase of the variance, the share of it between imputations, and Rubin's
        degrees of freedom for large samples.

    Raises
    ------
    DesignError
        If there are fewer than two results, they have different rows, or rows that are bounds, tests or posteriors.

    Notes
    -----
    **Use it** for imputations made elsewhere, by a model that holds the arm and everything the analysis holds.
    **Do not use when** the results come from subsamples or bootstrap samples: the rules are those of imputations drawn
    from a posterior.

    References
    ----------
    Rubin (1987), Multiple Imputation for Nonresponse in Surveys. Barnard and Rubin (1999), Biometrika 86.

    Examples
    --------
    >>> import gbveval as gbv
    >>> completed = []
    >>> for last in (4.0, 6.0, 8.0):
    ...     frame = {"y": [1.0, 2.0, 3.0, 2.0, 5.0, last], "arm": ["usual"] * 3 + ["new"] * 3}
    ...     trial = gbv.Trial(frame, outcome="y", arm="arm", control="usual")
    ...     completed.append(gbv.DifferenceInMeans().estimate(trial))
    >>> round(gbv.pool_imputations(completed)[0].value, 4)
    2.3333
    """
    return pooled_estimates(tuple(results), estimator="", extra_checks=())


def pooled_estimates(
    results: tuple[Estimates, ...], *, estimator: str, extra_checks: tuple[Check, ...], words: str = ""
) -> Estimates:
    """Return the pooled result; `estimator` names who imputed, and is empty where that happened elsewhere."""
    _check(results)
    first = results[0]
    values = np.array([result.values for result in results])
    covariances = np.array([result.covariance for result in results])
    dfs = np.array([[row.df for row in result.terms] for result in results]).min(axis=0)
    found = pool(values, covariances, dfs)
    terms = tuple(_term(results, place, found) for place in range(len(first)))
    undefined = np.array([row.std_error is None for row in terms])
    covariance = found.covariance.copy()
    covariance[undefined, :] = covariance[:, undefined] = np.nan
    few = len(results) < FEW
    own = Check(
        "imputations",
        "warn" if few else "info",
        f"{len(results)} imputations were pooled"
        + ("; with so few, another run can move the p-value. Take twenty or more." if few else "."),
    )
    return Estimates(
        estimator=estimator or first.estimator,
        terms=terms,
        covariance=covariance,
        method=_method(first.method, len(results), words),
        level=first.level,
        checks=(*extra_checks, own, *(c for c in first.checks if c.name != "missing outcome")),
        provenance=replace(first.provenance, versions=versions()) if estimator else Provenance(versions=versions()),
        flow=first.flow,
    )


def _check(results: tuple[Estimates, ...]) -> None:
    if len(results) < 2:
        raise DesignError("Pooling needs the results of at least two imputations; twenty or more are wanted.")
    first = results[0]
    rows = [tuple((row.outcome, row.term, row.estimand, row.kind) for row in result.terms) for result in results]
    if any(result.estimator != first.estimator for result in results) or any(row != rows[0] for row in rows):
        raise DesignError(
            "The results to pool must come from one estimator and have the same rows; these differ. A level or column "
            "that occurs in some imputations only makes such a difference: fix the levels before imputing."
        )
    if any(result.posterior is not None for result in results) or any(row[3] != "point" for row in rows[0]):
        raise DesignError(
            "Rubin's rules pool estimates with standard errors; bounds, tests and posteriors they do not. For a "
            "posterior, put the draws of all imputations together."
        )


def _term(results: tuple[Estimates, ...], place: int, found: Pooled) -> Term:
    rows = [result.terms[place] for result in results]
    first = rows[0]
    absent = next((row for row in rows if row.value is None or row.std_error is None), None)
    support = tuple(_fewest([row.support[i] for row in rows]) for i in range(len(first.support)))
    return replace(
        first,
        value=None if absent is not None and absent.value is None else float(found.value[place]),
        std_error=None if absent is not None else float(np.sqrt(found.covariance[place, place])),
        df=float(found.df[place]) if absent is None else float("inf"),
        interval=None,
        interval_level=None,
        statistic=None,
        p_value=None,
        n_units=None if first.n_units is None else min(row.n_units or 0 for row in rows),
        support=support,
        reason="" if absent is None else f"in an imputation: {absent.reason}",
        extra=_columns(found, place),
    )


def _columns(found: Pooled, place: int) -> tuple[tuple[str, float | None], ...]:
    """Return the columns that pooling adds: what is missing, variances within and between, Rubin's large-sample df."""
    parts = {
        "missing_information": found.missing_information,
        "within_variance": found.within,
        "between_variance": found.between,
        "relative_increase": found.relative_increase,
        "share_between": found.share_between,
        "df_large_sample": found.df_large,
        "missing_information_large_sample": found.missing_large,
    }
    values = {name: float(column[place]) for name, column in parts.items()}
    return tuple((name, value if np.isfinite(value) else None) for name, value in values.items())


def _fewest(cells: list[Cell]) -> Cell:
    """Return the smallest counts of any imputation, which disclosure control protects most."""
    events = [cell.events for cell in cells if cell.events is not None]
    return replace(cells[0], n=min(cell.n for cell in cells), events=min(events) if len(events) == len(cells) else None)


def _method(inner: Method, count: int, words: str) -> Method:
    return replace(
        inner,
        sample=words or f"{inner.sample}; {count} imputed data sets",
        std_error=f"{inner.std_error}; over {count} imputations by Rubin's rules",
        reference="t with Barnard and Rubin's degrees of freedom",
        assumptions=(
            *(item for item in inner.assumptions if not item.startswith("outcomes are missing")),
            "outcomes are missing for reasons that the imputation model holds, up to the shift it declares",
            "the imputation model is right for those who are missing",
        ),
        source=f"Rubin 1987; Barnard and Rubin 1999; {inner.source}",
    )

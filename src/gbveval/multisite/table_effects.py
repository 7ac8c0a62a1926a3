"""`effects_from_tables` and `effects_from_means`: site effects from the counts or means that a site reports."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DataError, DesignError
from gbveval.core.method import Cell
from gbveval.data._assignment import control_first
from gbveval.data._frame import Reader, plural
from gbveval.data._site_arms import arm_places
from gbveval.data.sites import SiteEffects
from gbveval.data.tables import SiteTables
from gbveval.numerics.table_effects import (
    RISK_MEASURES,
    ZERO_CELLS,
    EffectSizes,
    rate_effects,
    risk_effects,
    standardised_mean_differences,
)

FloatArray = NDArray[np.float64]


def effects_from_tables(
    tables: SiteTables,
    *,
    measure: str = "risk_ratio",
    continuity: float = 0.5,
    corrected: str = "zero_cell_sites",
) -> SiteEffects:
    """Return an estimate and standard error a site from events in two arms.

    Parameters
    ----------
    tables : SiteTables
        Events by site and arm.
    measure : str
        "risk_ratio", "odds_ratio", "peto_odds_ratio", "risk_difference" or "arcsine_difference" for people,
        "rate_ratio" for time at risk. Ratios are kept as logarithms.
    continuity : float
        Added to each cell of the tables that `corrected` names, above zero.
    corrected : str
        "zero_cell_sites" (default), "all_sites", "all_sites_if_any_zero_cell", or "none".

    Raises
    ------
    DesignError
        If an option is not known, or a measure of people is asked of rates or the other way round.
    DataError
        If a site has no estimate, as with zero cells and no correction.

    Notes
    -----
    The constant is a choice that moves the answer when events are rare, and a site with no events in either arm is
    given a ratio of about one that it does not know of. `MantelHaenszel` and `OneStage` need none.

    Examples
    --------
    >>> frame = {"site": ["a", "a", "b", "b"], "arm": ["usual", "new"] * 2, "events": [10, 5, 8, 8], "n": [100] * 4}
    >>> tables = SiteTables(frame, site="site", arm="arm", control="usual", events="events", n="n")
    >>> effects_from_tables(tables, measure="risk_difference").estimate.tolist()
    [-0.05, 0.0]
    """
    if corrected not in ZERO_CELLS:
        raise DesignError(f"corrected must be one of {', '.join(ZERO_CELLS)}, not {corrected!r}.")
    if not isinstance(continuity, (int, float)) or not np.isfinite(continuity) or continuity <= 0:
        raise DesignError("continuity must be a number above zero, such as 0.5; for none give corrected='none'.")
    found = _sizes(tables, measure, float(continuity), corrected)
    lacking = int(np.isnan(found.estimate).sum())
    if lacking:
        raise DataError(
            f"{plural(lacking, 'site')} of {tables.n} have no {measure.replace('_', ' ')} or no standard error, "
            "as an arm has no events or only events. Use MantelHaenszel or OneStage, or correct zero cells and say so."
        )
    contrast = "odds_ratio" if measure == "peto_odds_ratio" else measure
    return SiteEffects.from_values(
        found.estimate,
        np.sqrt(found.variance),
        names=tables.names,
        contrast=contrast,
        outcome=tables.outcome,
        support=tables.support,
    )


def _sizes(tables: SiteTables, measure: str, continuity: float, corrected: str) -> EffectSizes:
    if measure not in (*RISK_MEASURES, "rate_ratio"):
        raise DesignError(f"measure must be one of {', '.join(RISK_MEASURES)}, rate_ratio, not {measure!r}.")
    if measure == "rate_ratio":
        if not tables.has_exposure:
            raise DesignError("A rate ratio needs the time at risk (exposure); with people take a risk or odds ratio.")
        return rate_effects(tables.events, tables.total, add=continuity, to=corrected)
    if tables.has_exposure:
        raise DesignError(f"A {measure.replace('_', ' ')} needs the number of people (n); with time take a rate_ratio.")
    return risk_effects(tables.events, tables.total, measure=measure, add=continuity, to=corrected)


def effects_from_means(
    frame: Any,
    *,
    site: str,
    arm: str,
    control: str | int | bool,
    mean: str,
    sd: str,
    n: str,
    contrast: str = "standardised_mean_difference",
) -> SiteEffects:
    """Return an estimate and standard error a site from means and standard deviations of two arms.

    Parameters
    ----------
    frame : pandas, polars or pyarrow frame, or dict of columns
        One row a site and arm.
    site, arm : str
        Columns with the site and the arm.
    control : str, int or bool
        Which arm is the control.
    mean, sd, n : str
        Columns with the mean, the standard deviation (above zero) and the number of people (two or more).
    contrast : str
        "standardised_mean_difference" (Hedges's g; default) or "mean_difference" (variances of the arms may differ).

    Raises
    ------
    DataError
        Listing every problem by column and number of rows.
    DesignError
        If the contrast is not one of the two.

    Notes
    -----
    Standardise only when sites measure on different scales: a difference in units of the outcome can be read, and its
    standard deviation differs between sites for reasons that have nothing to do with the effect. Clustered sites need
    standard errors that know of the clusters: estimate there, and pool with `SiteEffects.from_estimates`.

    References
    ----------
    Hedges (1981), Journal of Educational Statistics 6.

    Examples
    --------
    >>> frame = {"site": ["a", "a"], "arm": ["usual", "new"], "mean": [0, 1], "sd": [1, 1], "n": [50, 50]}
    >>> found = effects_from_means(frame, site="site", arm="arm", control="usual", mean="mean", sd="sd", n="n")
    >>> round(float(found.estimate[0]), 4)
    0.9923
    """
    known = ("standardised_mean_difference", "mean_difference")
    if contrast not in known:
        raise DesignError(f"contrast must be one of {', '.join(known)}, not {contrast!r}.")
    reader = Reader(frame, "table of means")
    sites, arms = reader.labels(site, "site"), reader.labels(arm, "arm")
    columns = [reader.numbers(mean, "mean"), reader.positive(sd, "sd"), reader.positive(n, "n")]
    small = int((columns[2] < 2).sum())
    if small:
        reader.problem(
            f"Column {n!r} (n) is below two in {plural(small, 'row')}; a standard deviation needs two people."
        )
    reader.raise_problems()
    arms = control_first(reader, arms, arm, str(control))
    rows = arm_places(reader, sites, arms, site, arm)
    means, sds, people = (values[rows] for values in columns)
    if contrast == "mean_difference":
        found = EffectSizes(means[:, 1] - means[:, 0], (sds**2 / people).sum(axis=1))
    else:
        found = standardised_mean_differences(means, sds, people)
    names = tuple(sites.levels[sites.codes[row]] for row in rows[:, 0])
    support = tuple(
        tuple(Cell(arms.levels[a], int(people[i, a]), None, f"{mean} in site {i + 1}") for a in (0, 1))
        for i in range(len(names))
    )
    return SiteEffects.from_values(
        found.estimate, np.sqrt(found.variance), names=names, contrast=contrast, outcome=mean, support=support
    )

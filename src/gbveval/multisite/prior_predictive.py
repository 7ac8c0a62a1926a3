"""Hides what priors say before any data, in units that people know: events per 100, means, ratios."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError
from gbveval.core.estimand import Estimand
from gbveval.core.table import Table
from gbveval.core.term import inverse_link
from gbveval.multisite.site_prior import HierarchyPrior, SitePrior, TablePrior
from gbveval.numerics.inference import t_quantile
from gbveval.numerics.prior_draws import prior_draws
from gbveval.numerics.priors import Beta, Flat, Normal

FloatArray = NDArray[np.float64]
POINTS = 4096
P = (0.025, 0.5, 0.975)
COLUMNS = ("quantity", "unit", "low", "median", "high")
PER_100 = "events per 100 people"
EFFECT = "in a site"


@dataclass(frozen=True, slots=True)
class _Unit:
    """What a linear predictor is for people: its inverse link, times what, called what."""

    shown: Callable[[FloatArray], FloatArray]
    unit: str
    ratio: str | None


@dataclass(frozen=True, slots=True)
class _StudentT:
    """The standard Student-t, of site effects in units of their scale."""

    df: float

    def quantile(self, probability: FloatArray) -> FloatArray:
        return t_quantile(probability, self.df)


def _expit(x: FloatArray) -> FloatArray:
    return np.asarray(100.0 * inverse_link("logit", x), dtype=np.float64)


def _same(x: FloatArray) -> FloatArray:
    return x


UNITS = {
    "binomial": _Unit(_expit, PER_100, "odds ratio"),
    "rate": _Unit(lambda x: 100.0 * np.exp(x), "events per 100 units of exposure", "rate ratio"),
    "negative_binomial": _Unit(lambda x: 100.0 * np.exp(x), "events per 100 people or units", "rate ratio"),
    "normal": _Unit(_same, "units of the outcome", None),
    "ordinal": _Unit(_expit, "people above the lowest level, per 100", "odds ratio"),
    "hurdle": _Unit(np.exp, "size of the count among those with any, before its zeros are cut", "rate ratio"),
}


def prior_predictive(model: Any, *, outcome: str | None = None) -> Table:
    """Return what a model's priors say of sites before any data, in the units of the outcome.

    Priors are given on scales that nobody thinks in. A normal of mean -2 and sd 3 for log odds looks vague and says
    that in nearly half of all sites fewer than 5 or more than 90 of 100 people are harassed.

    Parameters
    ----------
    model : NormalHierarchy, TableHierarchy, ControlAndEffect or HierarchicalModel
        With its priors.
    outcome : str, optional
        What cannot be known from the model: for `NormalHierarchy` the contrast of the estimates ("mean_difference" by
        default, "odds_ratio", ...); for `TableHierarchy` "rate" where counts have exposure; for `HierarchicalModel`
        the family, where the model leaves it to the data ("binomial" or "normal").

    Returns
    -------
    Table
        Columns quantity, unit, low, median, high: the 2.5, 50 and 97.5 % points of the prior.

    Raises
    ------
    DesignError
        If a prior is flat, so that it says nothing that could be shown, or the outcome is unknown.

    Notes
    -----
    By 4,096 evenly spread points, always the same: probabilities are good to three thousandths.

    Examples
    --------
    >>> import gbveval as gbv
    >>> prior = gbv.TablePrior(gbv.Normal(0, 0.5), gbv.HalfNormal(0.3), site_control=gbv.Normal(-2, 1))
    >>> for row in prior_predictive(gbv.TableHierarchy(prior)).rows:
    ...     print(row[0], [round(x, 1) for x in row[2:]])
    control arm of a site [1.9, 11.9, 48.8]
    intervention arm of a site [1.3, 12.0, 56.5]
    difference between arms [-13.2, -0.0, 20.9]
    odds ratio in a site [0.3, 1.0, 3.2]
    average odds ratio [0.4, 1.0, 2.6]
    """
    found = _rows(model, outcome)
    note = "The prior alone: 95 % of what it holds possible lies between low and high."
    return Table("What the priors say", COLUMNS, found, (note,))


def in_outcome_units(model: Any, outcome: str | None) -> str:
    """Return the same in a few words, for the method of an answer; nothing where a prior is flat."""
    try:
        rows = _rows(model, outcome)
    except DesignError:
        return ""
    told = [row for row in rows if row[0].startswith("control arm") or row[0].endswith(EFFECT)]
    parts = [f"the {row[0]} at {row[2]:.3g} to {row[4]:.3g} {row[1]}".rstrip() for row in told]
    return f"; they put {' and '.join(parts)} (95 %)"


Row = tuple[str, str, float, float, float]


@lru_cache(maxsize=64)
def _rows(model: Any, outcome: str | None) -> tuple[Row, ...]:
    prior = getattr(model, "prior", None)
    if isinstance(prior, HierarchyPrior):
        return _of_estimates(prior, outcome or "mean_difference")
    if isinstance(prior, TablePrior):
        return _of_tables(prior, UNITS["rate" if outcome == "rate" else "binomial"], getattr(model, "df", None))
    if isinstance(prior, SitePrior):
        family = getattr(model, "family", None) or outcome or "normal"
        if family not in UNITS:
            raise DesignError(f"The outcome must be one of {', '.join(UNITS)}; it is {family!r}.")
        rows = _of_people(prior, UNITS[family])
        if prior.any_outcome is not None:
            part = _of_people(prior.any_outcome, UNITS["binomial"])
            rows += tuple((f"{row[0]}, any at all", *row[1:]) for row in part)
        return rows
    raise DesignError("prior_predictive takes a model of several sites, such as TableHierarchy(prior).")


def _draws(priors: Mapping[str, Any]) -> dict[str, FloatArray]:
    flat = [name.replace("_", " ") for name, prior in priors.items() if isinstance(prior, Flat)]
    if flat:
        raise DesignError(f"The prior of {flat[0]} is flat: it puts everything beyond any bound. Give a proper one.")
    return prior_draws(priors, POINTS)


def _row(quantity: str, unit: str, values: FloatArray) -> Row:
    low, middle, high = (float(x) for x in np.quantile(values, P))
    # Zero in the middle, to the digits that the points give.
    return quantity, unit, low, round(middle, 12) + 0.0, high


def _of_estimates(prior: HierarchyPrior, contrast: str) -> tuple[Row, ...]:
    link = Estimand("site_effect", contrast, "sites").link
    drawn = _draws({"average_effect": prior.average_effect, "between_site_sd": prior.between_site_sd, "site": Normal()})
    one = drawn["average_effect"] + drawn["between_site_sd"] * drawn["site"]
    words = contrast.replace("_", " ")
    return (
        _row(f"{words} {EFFECT}", "", inverse_link(link, one)),
        _row(f"average {words}", "", inverse_link(link, drawn["average_effect"])),
        _row("between-site sd", "on the scale of inference", drawn["between_site_sd"]),
    )


def _of_tables(prior: TablePrior, unit: _Unit, df: float | None) -> tuple[Row, ...]:
    if prior.site_control is None:
        raise DesignError("The conditional likelihood has no prior of levels: only ratios are known beforehand.")
    drawn = _draws(
        {
            "average_effect": prior.average_effect,
            "between_site_sd": prior.between_site_sd,
            "site": Normal() if df is None else _StudentT(df),
            "site_control": prior.site_control,
        }
    )
    return _arms(drawn["site_control"], drawn["average_effect"], drawn["between_site_sd"] * drawn["site"], unit)


def _of_people(prior: SitePrior, unit: _Unit) -> tuple[Row, ...]:
    drawn = _draws(
        {
            "control_mean": prior.control_mean,
            "average_effect": prior.average_effect,
            "between_site_sd_control": prior.between_site_sd_control,
            "between_site_sd": prior.between_site_sd,
            "half_correlation": Beta(prior.correlation, prior.correlation),
            "control": Normal(),
            "effect": Normal(),
        }
    )
    # LKJ of two is a Beta stretched to -1 and 1.
    r = 2.0 * drawn["half_correlation"] - 1.0
    level = drawn["control_mean"] + drawn["between_site_sd_control"] * drawn["control"]
    own = drawn["between_site_sd"] * (r * drawn["control"] + np.sqrt(1.0 - r**2) * drawn["effect"])
    return _arms(level, drawn["average_effect"], own, unit)


def _arms(level: FloatArray, average: FloatArray, own: FloatArray, unit: _Unit) -> tuple[Row, ...]:
    """Return control, intervention, their difference and ratio, from levels, averages and deviations of sites."""
    control, intervention = unit.shown(level), unit.shown(level + average + own)
    rows = (
        _row("control arm of a site", unit.unit, control),
        _row("intervention arm of a site", unit.unit, intervention),
        _row("difference between arms", unit.unit, intervention - control),
    )
    if unit.ratio is None:
        return (
            rows[0],
            rows[1],
            _row(f"difference {EFFECT}", unit.unit, average + own),
            _row("average difference", unit.unit, average),
        )
    return (
        *rows,
        _row(f"{unit.ratio} {EFFECT}", "", np.exp(average + own)),
        _row(f"average {unit.ratio}", "", np.exp(average)),
    )

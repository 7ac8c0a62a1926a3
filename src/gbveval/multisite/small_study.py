"""Whether small sites tell another story, and what the average would be if they did not: tests and corrections."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError, IdentificationError
from gbveval.core.method import Cell
from gbveval.core.table import Table
from gbveval.data.sites import SiteEffects
from gbveval.multisite._pooled_line import design, require_independent
from gbveval.multisite.random_effects import RandomEffects, fit_line
from gbveval.numerics.inference import f_upper, wald
from gbveval.numerics.random_effects import RandomEffectsFit, fit_random_effects
from gbveval.numerics.selection_model import fit_selection, interval_of
from gbveval.numerics.small_study import ESTIMATORS, missing_side
from gbveval.numerics.small_study import trim_and_fill as _trim_and_fill

FloatArray = NDArray[np.float64]
LINE_COLUMNS = ("quantity", "estimate", "std_error", "statistic", "df", "p_value", "conf_low", "conf_high")
ON_LINK = "Ratios are on the log scale."
FEW = "Fewer than ten sites: such tests find little, and what they find is often chance."
CAUSES = (
    "Small sites may differ because effects went unreported, and also because they were run otherwise, with other "
    "people or more care; the number cannot tell which."
)


def egger_test(sites: SiteEffects, *, level: float = 0.95) -> Table:
    """Return Egger's test of whether effects depend on their standard errors.

    Parameters
    ----------
    sites : SiteEffects
        One estimate and standard error a site.
    level : float
        Level of the intervals.

    Returns
    -------
    Table
        The slope on the standard error, and the limit of the line where the standard error is zero.

    Raises
    ------
    IdentificationError
        If there are fewer than three sites, or all standard errors are equal.

    Notes
    -----
    Effects are regressed on their standard errors with weights 1 / variance and free dispersion. Ratios of rare events
    and standardised differences are correlated with their own standard errors, so the test rejects too often for them
    (Peters and others 2006); with fewer than ten sites it has little power.

    References
    ----------
    Egger and others (1997), BMJ 315. Sterne and others (2011), BMJ 343.

    Examples
    --------
    >>> sites = SiteEffects({"y": [0.1, 0.2, 0.5, 0.9], "se": [0.05, 0.1, 0.2, 0.4]}, estimate="y", std_error="se")
    >>> egger_test(sites).column("quantity")
    ('slope on the standard error', 'limit at standard error zero')
    """
    require_independent(sites, "egger_test")
    fit = _on(sites, sites.std_error)
    names = ("limit at standard error zero", "slope on the standard error")
    rows = _line(names, fit, level)[::-1]
    return _table("Egger's test", rows, sites)


def pet_peese(sites: SiteEffects, *, alpha: float = 0.1, level: float = 0.95) -> Table:
    """Return the average effect extrapolated to a site without error, by PET, PEESE and the choice between them.

    Parameters
    ----------
    sites : SiteEffects
        One estimate and standard error a site.
    alpha : float
        Two-sided size of the test of PET's limit: if it rejects zero, PEESE is chosen.
    level : float
        Level of the intervals.

    Returns
    -------
    Table
        PET (line in the standard error), PEESE (line in the variance), and the chosen one.

    Raises
    ------
    IdentificationError
        If there are fewer than three sites, or all standard errors are equal.

    Notes
    -----
    An extrapolation: it is far off when effects differ between sites by much, when all sites are small, or with fewer
    than twenty (Stanley 2017). Its interval knows nothing of the choice that was made.

    References
    ----------
    Stanley and Doucouliagos (2014), Research Synthesis Methods 5. Stanley (2017), Social Psychological and Personality
    Science 8.
    """
    require_independent(sites, "pet_peese")
    if not isinstance(alpha, (int, float)) or not 0.0 < alpha < 1.0:
        raise DesignError("alpha must lie between 0 and 1, such as 0.1.")
    pet = _line(("PET", ""), _on(sites, sites.std_error), level)[0]
    peese = _line(("PEESE", ""), _on(sites, sites.std_error**2), level)[0]
    p_value = pet[5]
    chosen = peese if p_value is not None and p_value < alpha else pet
    rows = [pet, peese, (f"chosen: {chosen[0]}", *chosen[1:])]
    return _table("Average effect at standard error zero", rows, sites)


def _on(sites: SiteEffects, predictor: FloatArray) -> RandomEffectsFit:
    """Return the line of effects on a predictor, weights 1 / variance, dispersion free."""
    if sites.n < 3:
        raise IdentificationError(f"{sites.n} sites give no line with a standard error; at least three are needed.")
    if np.ptp(sites.std_error) <= 1e-9 * sites.std_error.max():
        raise IdentificationError("All standard errors are equal, so effects cannot depend on them. Leave this out.")
    x = np.column_stack([np.ones(sites.n), predictor])
    return fit_random_effects(sites.estimate, sites.std_error**2, x, method="EE", inference="hartung_knapp")


def _line(names: tuple[str, str], fit: RandomEffectsFit, level: float) -> list[tuple[Any, ...]]:
    errors = np.sqrt(np.diag(fit.covariance))
    found = wald(fit.coefficients, errors, df=fit.df, level=level)
    return [
        (
            name,
            float(fit.coefficients[i]),
            *(_number(x) for x in (errors[i], found.statistic[i], fit.df, found.p_value[i])),
            *(_number(x) for x in (found.conf_low[i], found.conf_high[i])),
        )
        for i, name in enumerate(names)
    ]


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def trim_and_fill(
    sites: SiteEffects, model: RandomEffects | None = None, *, side: str = "auto", estimator: str = "L0"
) -> Table:
    """Return the average with the effects filled in that would make the funnel symmetric.

    Parameters
    ----------
    sites : SiteEffects
        One estimate and standard error a site, without moderators.
    model : RandomEffects, optional
        How effects are pooled; REML with Hartung-Knapp by default.
    side : str
        Where effects are missing: "left", "right", or "auto" (left where effects grow with their standard error).
    estimator : str
        "L0" (default) or "R0", of the number missing.

    Returns
    -------
    Table
        Rows "as reported" and "filled", each with its average and heterogeneity.

    Raises
    ------
    DesignError
        If an option is not known, or the sites have moderators.

    Notes
    -----
    A picture of how much asymmetry could matter, not a correction: filled effects are no data, and when effects differ
    between sites it adjusts for bias that is not there, or too little for bias that is (Peters and others 2007).

    References
    ----------
    Duval and Tweedie (2000), Biometrics 56; JASA 95. Peters and others (2007), Statistics in Medicine 26.
    """
    chosen = RandomEffects() if model is None else model
    if side not in ("auto", "left", "right"):
        raise DesignError(f"side must be auto, left or right, not {side!r}.")
    if estimator not in ESTIMATORS:
        raise DesignError(f"estimator must be one of {', '.join(ESTIMATORS)}, not {estimator!r}.")
    fit = fit_line(sites, chosen)
    if sites.moderator_names:
        raise DesignError("trim_and_fill has no place for moderators: asymmetry may be their work. Leave them out.")
    y, v = sites.estimate, sites.std_error**2
    where = missing_side(y, v, method=chosen.method) if side == "auto" else side
    filled = _trim_and_fill(y, v, method=chosen.method, side=where, estimator=estimator)
    again = fit_random_effects(
        filled.estimate,
        filled.variance,
        np.ones((len(filled.estimate), 1)),
        method=chosen.method,
        inference=chosen.inference,
    )
    rows = [
        _pooled("as reported", sites.n, 0, fit, chosen.level),
        _pooled("filled", sites.n + filled.filled, filled.filled, again, chosen.level),
    ]
    columns = (
        *("effects", "n", "filled", "estimate", "std_error", "statistic", "df", "p_value", "conf_low", "conf_high"),
        *("between_site_variance", "between_site_variance_std_error", "q", "q_p_value", "i_squared", "h_squared"),
        "log_likelihood",
    )
    notes = [ON_LINK, f"Effects were sought on the {filled.side}. They are no data.", CAUSES]
    if not filled.settled:
        notes.append("The number of filled effects goes round in a circle; the last one is shown.")
    return Table("Trim and fill", columns, tuple(rows), tuple(notes), (_support(sites),) * 2)


def _pooled(
    label: str, n: int, filled: int, fit: RandomEffectsFit, level: float
) -> tuple[str | int | float | None, ...]:
    error = float(np.sqrt(fit.covariance[0, 0]))
    found = wald(fit.coefficients[0], error, df=fit.df, level=level)
    numbers = (error, found.statistic[0], fit.df, found.p_value[0], found.conf_low[0], found.conf_high[0])
    rest = (fit.tau2, fit.se_tau2, fit.q, fit.q_p_value, fit.i_squared, fit.h_squared, fit.log_likelihood)
    return (label, n, filled, float(fit.coefficients[0]), *(_number(x) for x in (*numbers, *rest)))


def selection_model(
    sites: SiteEffects, *, direction: str, steps: tuple[float, ...] = (0.025,), level: float = 0.95
) -> Table:
    """Return the average effect if effects were reported more often the smaller their p-value (Vevea and Hedges).

    Parameters
    ----------
    sites : SiteEffects
        One estimate and standard error a site; moderators are kept.
    direction : str
        Which effects are welcome: "greater" or "less" than zero. For a programme that should lower harassment, "less".
    steps : tuple of float
        One-sided p-values at which the probability of being reported may change, rising: 0.025 is significance of a
        two-sided test at 5 per cent. Each interval between them must hold effects.
    level : float
        Level of the intervals.

    Returns
    -------
    Table
        Average effect (at the mean of the moderators), slopes, between-site sd, relative probabilities of being
        reported, and the likelihood-ratio test of no selection.

    Raises
    ------
    DesignError
        If the steps or the direction are not as described.
    IdentificationError
        If an interval holds no effect, or sites are too few.

    Notes
    -----
    Inference is that of large samples: with fewer than about thirty sites relative probabilities are hardly known
    (their intervals say so), and no test is no evidence of no selection. Intervals of the sd are not given.

    References
    ----------
    Vevea and Hedges (1995), Psychometrika 60. Hedges and Vevea (1996), Journal of Educational and Behavioral Statistics
    21.
    """
    require_independent(sites, "selection_model")
    cuts = _steps(steps, direction)
    y, v, x = sites.estimate, sites.std_error**2, design(sites)
    counts = np.bincount(interval_of(y, v, cuts, direction=direction), minlength=len(cuts) + 1)
    if (counts == 0).any() or sites.n <= x.shape[1] + len(cuts) + 1:
        words = ", ".join(str(count) for count in counts)
        raise IdentificationError(
            f"The intervals of p-values hold {words} effects, of {sites.n}; each needs some, and together more than "
            f"the {x.shape[1] + len(cuts) + 1} numbers to be estimated. Choose fewer or other steps."
        )
    fit = fit_selection(y, v, x, cuts, direction=direction)
    names = ["average effect", *(f"slope of {name}" for name in sites.moderator_names)]
    found = wald(fit.coefficients, fit.errors, level=level)
    parts = (fit.coefficients, fit.errors, found.conf_low, found.conf_high, found.statistic, found.p_value)
    rows = [
        (name, *(_number(part[i]) for part in parts[:4]), sites.n, *(_number(part[i]) for part in parts[4:]))
        for i, name in enumerate(names)
    ]
    rows.append(("between-site sd", float(np.sqrt(fit.tau2)), None, None, None, sites.n, None, None))
    ends = (0.0, *cuts, 1.0)
    shares = wald(np.log(fit.relative), fit.log_relative_errors, level=level)
    for i in range(1, len(ends) - 1):
        low, high = (_number(np.exp(limit[i])) for limit in (shares.conf_low, shares.conf_high))
        label = f"reported, p from {ends[i]:g} to {ends[i + 1]:g} against p below {ends[1]:g}"
        rows.append((label, float(fit.relative[i]), None, low, high, int(counts[i]), None, None))
    gain = max(0.0, 2.0 * (fit.log_likelihood - fit.unselected))
    rows.append(("no selection", None, None, None, None, sites.n, gain, f_upper(gain / len(cuts), len(cuts), np.inf)))
    notes = [ON_LINK, f"One-sided p-values for effects {direction} than zero; intervals at level {level:g}.", CAUSES]
    if fit.edge:
        notes.append("A relative probability has no finite estimate: take fewer steps. The other rows are conditional.")
    columns = ("quantity", "estimate", "std_error", "conf_low", "conf_high", "n", "statistic", "p_value")
    return Table("Selection model", columns, tuple(rows), tuple(notes), (_support(sites),) * len(rows))


def _steps(steps: tuple[float, ...], direction: str) -> tuple[float, ...]:
    if direction not in ("greater", "less"):
        raise DesignError(f"direction must be greater or less, not {direction!r}.")
    try:
        cuts = tuple(float(step) for step in steps)
    except (TypeError, ValueError) as error:
        raise DesignError("steps must be p-values between 0 and 1, such as (0.025, 0.5).") from error
    if not cuts or not all(0.0 < a < 1.0 for a in cuts) or any(a >= b for a, b in pairwise(cuts)):
        raise DesignError("steps must be rising p-values between 0 and 1, such as (0.025, 0.5).")
    return cuts


def _table(title: str, rows: list[tuple[Any, ...]], sites: SiteEffects) -> Table:
    notes = (ON_LINK, CAUSES) if sites.n >= 10 else (ON_LINK, FEW, CAUSES)
    return Table(title, LINE_COLUMNS, tuple(rows), notes, (_support(sites),) * len(rows))


def _support(sites: SiteEffects) -> tuple[Cell, ...]:
    return tuple(cell for cells in sites.support for cell in cells)

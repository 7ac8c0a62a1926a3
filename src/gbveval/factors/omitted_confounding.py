"""How robust a regression coefficient is to a confounder that was left out: robustness values and benchmarks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DataError, DesignError, IdentificationError
from gbveval.core.method import Cell
from gbveval.core.table import Table
from gbveval.data._frame import plural
from gbveval.data.survey import Survey
from gbveval.numerics.inference import t_quantile
from gbveval.numerics.least_squares import fit_least_squares
from gbveval.numerics.unmeasured_confounding import benchmark_strength, partial_r2, robustness, with_confounder

FloatArray = NDArray[np.float64]
BOUND_COLUMNS = (
    "row",
    "r2_exposure",
    "r2_outcome",
    "estimate",
    "std_error",
    "statistic",
    "df",
    "conf_low",
    "conf_high",
    "robustness_value",
    "robustness_value_limit",
)
NOTE = (
    "A confounder that explains the robustness value of what is left of both exposure and outcome would take the "
    "estimate (or its significance) away; the numbers say nothing of whether there is one."
)


def robustness_value(estimate: float, std_error: float, df: float, *, q: float = 1.0, alpha: float = 0.05) -> Table:
    """Return robustness values of a coefficient of a linear regression.

    Parameters
    ----------
    estimate, std_error, df : float
        The coefficient of the exposure, its classical standard error and the residual degrees of freedom.
    q : float
        Share of the estimate that a confounder would take off.
    alpha : float
        Size of the test that it would make fail to reject.

    Returns
    -------
    Table
        One row: the partial R^2 and f^2 of the exposure with the outcome, the robustness value of the estimate and that
        of its significance.

    Notes
    -----
    **Do not use** with a ratio (use `e_value`), or with a standard error that is not the regression's own: weights and
    clusters change what t says about R^2.

    References
    ----------
    Cinelli and Hazlett (2020), Journal of the Royal Statistical Society B 82.

    Examples
    --------
    >>> table = robustness_value(0.097, 0.0232, 783)
    >>> [round(x, 2) for x in table.rows[0]]
    [0.02, 0.02, 0.14, 0.08]
    """
    if not std_error > 0.0 or not df >= 2.0 or not np.isfinite(estimate):
        raise DataError("The estimate is finite, its standard error above zero and df at least 2.")
    if not 0.0 < q <= 1.0 or not 0.0 < alpha < 1.0:
        raise DesignError("q lies above 0 and up to 1, alpha between 0 and 1.")
    t = estimate / std_error
    r2 = partial_r2(t, df)
    columns = ("partial_r2", "partial_f2", "robustness_value", "robustness_value_limit")
    row = (r2, t**2 / df, robustness(t, df, q=q), robustness(t, df, q=q, alpha=alpha))
    return Table("Robustness to an omitted confounder", columns, (row,), (NOTE,))


def omitted_confounding(
    survey: Survey,
    exposure: str,
    *,
    adjust_for: Sequence[str],
    benchmark: str,
    kd: Sequence[float] = (1.0, 2.0, 3.0),
    ky: Sequence[float] | None = None,
    q: float = 1.0,
    alpha: float = 0.05,
) -> Table:
    """Return what a regression would say with a confounder as strong as a benchmark covariate, or several times so.

    Parameters
    ----------
    survey : Survey
        A simple sample (no weights, strata or primary units), with one outcome.
    exposure : str
        A numeric column, such as a factor coded 0 and 1.
    adjust_for : sequence of str
        Covariates; text columns enter as categories.
    benchmark : str
        One of them, with which confounders are compared.
    kd, ky : sequence of float
        How many times as strong as the benchmark with exposure and outcome; `ky` is `kd` by default.
    q, alpha
        As for `robustness_value`.

    Returns
    -------
    Table
        The row "as estimated" with its partial R^2 and robustness values, and a row for each pair of kd and ky.

    Notes
    -----
    Ordinary least squares on the respondents who are complete; the confounder is taken to have made the estimate too
    large in absolute value. **Do not use** as a proof: a confounder may be stronger
    than any covariate that was measured.

    References
    ----------
    Cinelli and Hazlett (2020), Journal of the Royal Statistical Society B 82.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> age = rng.normal(size=200)
    >>> abused = (rng.normal(size=200) + age > 0).astype(float)
    >>> frame = {"distress": abused + age + rng.normal(size=200), "abused": abused, "age": age}
    >>> survey = Survey(frame, outcome="distress")
    >>> table = omitted_confounding(survey, "abused", adjust_for=["age"], benchmark="age", kd=[0.2, 0.4])
    >>> table.column("row")
    ('as estimated', '0.2 times age', '0.4 times age')
    """
    if benchmark not in adjust_for:
        raise DesignError(f"The benchmark {benchmark!r} is not among adjust_for.")
    multiples = list(zip(kd, kd if ky is None else ky, strict=False))
    if ky is not None and len(kd) != len(ky):
        raise DesignError(f"kd has {len(kd)} entries and ky {len(ky)}; give as many.")
    y, d, x, names, support = _columns(survey, exposure, tuple(adjust_for))
    estimate, error, df = _fit(d, x, y)
    owned = np.array([name == benchmark or name.startswith(f"{benchmark}[") for name in names])
    r2_exposure = 1.0 - _residual(x, d) / _residual(x[:, ~owned], d)
    r2_outcome = 1.0 - _residual(np.column_stack([d, x]), y) / _residual(np.column_stack([d, x[:, ~owned]]), y)
    t, level = estimate / error, 1.0 - alpha
    half = float(t_quantile(1.0 - alpha / 2.0, df)) * error
    values = (robustness(t, df, q=q), robustness(t, df, q=q, alpha=alpha))
    rows: list[tuple[Any, ...]] = [
        ("as estimated", None, partial_r2(t, df), estimate, error, t, df, estimate - half, estimate + half, *values)
    ]
    for d_times, y_times in multiples:
        name = (
            f"{d_times:g} times {benchmark}" if d_times == y_times else f"{d_times:g} and {y_times:g} times {benchmark}"
        )
        try:
            r2d, r2y = benchmark_strength(r2_exposure, r2_outcome, kd=d_times, ky=y_times)
        except ValueError as error_found:
            raise DesignError(f"{error_found} Ask for smaller kd.") from error_found
        found = with_confounder(estimate, error, df, r2_exposure=r2d, r2_outcome=r2y, q=q, level=level)
        limits = (found.conf_low, found.conf_high)
        rows.append((name, r2d, r2y, found.estimate, found.std_error, found.statistic, df - 1.0, *limits, None, None))
    title = f"Omitted confounding of {exposure} and {survey.outcome_names[0]}"
    return Table(title, BOUND_COLUMNS, tuple(rows), (NOTE,), tuple(support for _ in rows))


def _columns(
    survey: Survey, exposure: str, adjust_for: tuple[str, ...]
) -> tuple[FloatArray, FloatArray, FloatArray, tuple[str, ...], tuple[Cell, ...]]:
    """Return outcome, exposure, covariates, their names and the counts behind them, of complete respondents."""
    if survey.weight is not None or survey.psu is not None or survey.stratum is not None:
        raise DesignError(
            "omitted_confounding rests on ordinary least squares and its own errors, so it takes no weights, strata or "
            "primary units. Make the Survey without them and say so."
        )
    if exposure in adjust_for:
        raise DesignError(f"The exposure {exposure!r} is among adjust_for; take it out.")
    if len(survey.outcome_names) != 1:
        raise DesignError(f"The survey has {len(survey.outcome_names)} outcomes; make one with a single outcome.")
    d, labels, answered = survey.covariates([exposure])
    if labels != (exposure,):
        raise DesignError(f"The exposure {exposure!r} is text; code it as 0 and 1.")
    x, names, complete = survey.covariates(adjust_for)
    keep = answered & complete & survey.observed(0)
    lost = survey.n - int(keep.sum())
    if keep.sum() < 3:
        raise IdentificationError(f"{plural(int(keep.sum()), 'respondent')} have all columns; too few to fit a model.")
    support: tuple[Cell, ...] = (Cell("complete", int(keep.sum()), None, "complete respondents"),)
    if lost:
        support += (Cell("incomplete", lost, None, "complete respondents"),)
    return survey.outcomes[keep, 0], d[keep, 0], x[keep], names, support


def _fit(d: FloatArray, x: FloatArray, y: FloatArray) -> tuple[float, float, float]:
    """Return coefficient and classical standard error of the exposure, and the residual degrees of freedom.

    By residuals of outcome and exposure given the covariates (Frisch and Waugh 1933; Lovell 1963).
    """
    both = np.column_stack([y, d])
    fit = fit_least_squares(x, both)
    ry, rd = fit.residuals(x, both).T
    df = float(y.size - fit.basis.kept.size - 2)
    left = float(rd @ rd)
    if df < 2 or left <= 1e-10 * float(((d - d.mean()) ** 2).sum()) or np.ptp(d) == 0.0:
        raise IdentificationError(
            "The exposure does not vary, is a combination of the covariates, or there are as many columns as "
            "respondents. Adjust for fewer columns."
        )
    estimate = float(rd @ ry) / left
    rest = ry - estimate * rd
    return estimate, float(np.sqrt(float(rest @ rest) / df / left)), df


def _residual(design: FloatArray, y: FloatArray) -> float:
    """Return the residual sum of squares of a regression with an intercept."""
    if design.shape[1] == 0:
        return float(((y - y.mean()) ** 2).sum())
    return float((fit_least_squares(design, y).residuals(design, y) ** 2).sum())

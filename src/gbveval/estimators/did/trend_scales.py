"""`trend_scales`: one rollout with trends parallel in level, log, ratio or rate, all read in outcome units."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DataError, DesignError, GbvevalError, IdentificationError
from gbveval.core.method import Cell
from gbveval.core.table import Table
from gbveval.data._frame import plural
from gbveval.data.panel import Panel
from gbveval.estimators.did._compared_groups import ComparedGroups, compared_groups
from gbveval.estimators.did._rollout import COHORTS, cohort_label, rounding
from gbveval.estimators.did._rollout_checks import cohorts_alone, dose_checks
from gbveval.numerics.group_moments import GroupMoments
from gbveval.numerics.inference import check_level, wald, wald_joint
from gbveval.numerics.trend_scales import SCALES, ScaleFit, fit_scale

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FloatArray = NDArray[np.float64]
COLUMNS = (
    *("scale", "contrast", "estimate", "std_error", "conf_low", "conf_high"),
    *("pretest_statistic", "pretest_df", "pretest_p_value"),
    *("counterfactual", "counterfactual_std_error"),
    *("effect", "effect_std_error", "effect_low", "effect_high"),
    *("difference", "difference_std_error", "difference_p_value"),
    *("assumes", "reason"),
)
CONTRASTS = {
    "level": "mean_difference",
    "log": "log_difference",
    "ratio": "mean_ratio",
    "rate": "rate_difference",
    "rate_ratio": "rate_ratio",
}
ASSUMES = {
    "level": "untreated means would have changed by equal amounts",
    "log": "untreated means of logs would have changed by equal amounts; in outcome units also: logs would not have "
    "spread within cohorts",
    "ratio": "untreated means would have changed by equal factors",
    "rate": "untreated rates would have changed by equal amounts; in outcome units also: treatment leaves exposure as "
    "it is",
    "rate_ratio": "untreated rates would have changed by equal factors; in outcome units also: treatment leaves "
    "exposure as it is",
}
# What the table says in place of an error that counts rows: the table may leave, and few rows are few people.
OUTSIDE = {
    "log": "outcomes of zero or less have no logarithm; for counts use the scale 'ratio', or "
    "ExtendedTwfe(family='poisson', contrast='ratio'), and not log(1 + y), whose answer depends on the unit of y",
    "ratio": "outcomes below zero have no ratio; use the scale 'level'",
    "rate_ratio": "outcomes below zero have no ratio; use the scale 'rate'",
}
AGREE = "all agree"


def trend_scales(
    panel: Panel,
    *,
    scales: Sequence[str] | None = None,
    control: str = "not_yet_treated",
    anticipation: float = 0.0,
    unbalanced: str = "error",
    level: float = 0.95,
) -> Table:
    """Estimate a rollout's effect with trends parallel on several scales, and read all of them in outcome units.

    Parameters
    ----------
    panel : Panel
        Units followed over time, or repeated cross-sections.
    scales : sequence of str, optional
        Of "level"; "log" (outcomes above zero); "ratio" (means of counts and other outcomes of zero or more); with
        `exposure`, "rate" and "rate_ratio". By default all that the panel has roles for; a scale that the outcome does
        not allow is then a row that says why, and where it is asked for, an error that counts rows.
    control : str
        "not_yet_treated" or "never_treated", as in `CallawaySantAnna`.
    anticipation : float
        Time before treatment in which it may already act: years, quarters, ... where periods are dates.
    unbalanced : str
        Units without an outcome in every period: "error"; "drop", which counts them; "as_cross_sections", which keeps
        every row.
    level : float
        Of the intervals.

    Returns
    -------
    Table
        One row a scale. `estimate`: the average effect over treated rows on that scale (ratios as ratios, with the
        standard error of the logarithm). `pretest_*`: the Wald test that all effects before treatment are zero *on that
        scale*. `counterfactual`: the mean outcome that the treated would have had; `effect`: what they had beyond it,
        in units of the outcome. `difference`: that effect less the one of the first scale. The last row tests jointly
        that all scales give one effect.

    Raises
    ------
    DataError
        If a scale is asked for that the outcome is outside of: a log of zero is none, and log(1 + y) is no log.
    DesignError
        If the panel has covariates, clusters in two ways, treatment that ends, or an option is not known.
    IdentificationError
        If nothing is compared.

    Notes
    -----
    For each cohort and period the last untreated period is the base and units not (yet) treated are the comparison.
    Level is `CallawaySantAnna` without covariates, log the same on logarithms, ratio what Poisson regression with
    cohorts and periods gives in two periods. The **rate** is a ratio of totals: unit rates weighted by exposure, as a
    place's time at risk says how much its rate is worth.

    **From a scale to outcome units.** The counterfactual mean is, on the level, own base + change of the comparison; on
    the ratio, own base x factor of the comparison; on rates the rate found so, at the exposure that the treated had. On
    logs it is own base x exp(change of the comparison's mean log), which needs that the *spread* of logs within cohorts
    would not have changed: a mean of exponentials is not the exponential of a mean. Standard errors are from influence
    functions, jointly for all scales, clustered; no small-sample factor, normal reference.

    **When the scale matters.** Ratio less level is (own base - the comparison's base) x (the comparison's growth): if
    groups were alike before, or nothing changes over time, all scales agree. The test that they agree is then
    conservative, as the difference is a product of two things near zero. That scales agree does not show that any of
    them is right.

    **Do not use** the pre-tests to choose a scale after seeing the effects: name the scale beforehand, from how the
    outcome comes about. Two scales can hold at once only in special cases; `functional_form` asks whether all can.

    References
    ----------
    Roth and Sant'Anna (2023), Econometrica 91(2), 737-747. Kahn-Lang and Lang (2020), Journal of Business and Economic
    Statistics 38(3).

    Examples
    --------
    >>> import numpy as np
    >>> from gbveval.datasets.pilot import PilotRollout
    >>> panel = PilotRollout().draw(np.random.default_rng(2))
    >>> trend_scales(panel, scales=["level", "ratio"]).column("scale")
    ('level', 'ratio', 'all agree')
    """
    try:
        check_level(level)
    except ValueError as error:
        raise DesignError(str(error)) from error
    asked = _asked(panel, scales)
    used = compared_groups(
        "trend_scales", panel, control=control, anticipation=float(anticipation), unbalanced=unbalanced
    )
    moments = _moments(panel, used, asked)
    found: dict[str, ScaleFit] = {}
    refused: dict[str, str] = {}
    for scale in asked:
        try:
            _check_range(panel, used, scale)
            found[scale] = _fit(scale, moments, used)
        except GbvevalError as error:
            if scales is not None:
                raise
            refused[scale] = OUTSIDE[scale] if isinstance(error, DataError) else str(error)
    return _table(panel, used, asked, found, refused, control=control, level=level)


def _asked(panel: Panel, scales: Sequence[str] | None) -> tuple[str, ...]:
    if scales is None:
        return SCALES if panel.exposure is not None else SCALES[:3]
    asked = (scales,) if isinstance(scales, str) else tuple(scales)
    unknown = [scale for scale in asked if scale not in SCALES]
    if unknown or not asked or len(set(asked)) < len(asked):
        raise DesignError(f"scales are some of {', '.join(SCALES)}, each once; not {', '.join(map(repr, asked))}.")
    if panel.exposure is None and any(scale.startswith("rate") for scale in asked):
        raise DesignError("A rate needs the panel's exposure: declare exposure, or leave the scale out.")
    return asked


def _moments(panel: Panel, used: ComparedGroups, asked: Sequence[str]) -> GroupMoments:
    y = used.rows.y
    # Columns that no scale uses are zero.
    logs = np.log(y) if "log" in asked and (y > 0).all() else np.zeros(y.size)
    exposure = np.ones(y.size) if used.rows.exposure is None else used.rows.exposure
    return used.moments(np.column_stack([y, logs, exposure]))


def _check_range(panel: Panel, used: ComparedGroups, scale: str) -> None:
    y = used.rows.y
    if scale == "log" and (y <= 0).any():
        below = int((y < 0).sum())
        instead = (
            "Use the scale 'level'."
            if below
            else "For counts use the scale 'ratio', or ExtendedTwfe(family='poisson', contrast='ratio'); log(1 + y) "
            "is another scale, whose answer depends on the unit of y."
        )
        raise DataError(
            f"Column {panel.outcome_name!r} (outcome) is zero or less in {plural(int((y <= 0).sum()), 'row')}; "
            f"logarithms need outcomes above zero. {instead}"
        )
    if scale in ("ratio", "rate_ratio") and (y < 0).any():
        raise DataError(
            f"Column {panel.outcome_name!r} (outcome) is below zero in {plural(int((y < 0).sum()), 'row')}; ratios of "
            "means need outcomes of zero or more. Use the scale 'level'."
        )


def _fit(scale: str, moments: GroupMoments, used: ComparedGroups) -> ScaleFit:
    found = fit_scale(scale, moments, used.compared)
    if not np.isfinite(found.effect):
        raise IdentificationError(
            f"On the scale {scale!r} no effect is defined: a comparison group, or the treated, have a mean of zero. "
            "Use the scale 'level', or merge periods or cohorts."
        )
    return found


def _table(
    panel: Panel,
    used: ComparedGroups,
    asked: Sequence[str],
    found: dict[str, ScaleFit],
    refused: dict[str, str],
    *,
    control: str,
    level: float,
) -> Table:
    least = _least(used)
    first = next(iter(found), None)
    rows = [
        _row(scale, found[scale], None if scale == first or first is None else found[first], level, least)
        if scale in found
        else (scale, CONTRASTS[scale], *[None] * (len(COLUMNS) - 4), ASSUMES[scale], refused[scale])
        for scale in asked
    ]
    if len(found) > 1:
        rows.append(_agreement(list(found.values()), least["level"]))
    support = (_support(panel, used, control),) * len(rows)
    title = f"{panel.outcome_name}: the effect with trends parallel on each scale"
    return Table(title, COLUMNS, tuple(rows), _notes(panel, used, first, control, level, found), support)


def _least(used: ComparedGroups) -> dict[str, float]:
    """Return for each scale the standard error below which there is only rounding."""
    level = rounding(used.rows)
    exposure = used.rows.exposure
    rate = level if exposure is None else level / float(exposure.mean())
    return {"level": level, "rate": rate, "log": 1e-13, "ratio": 1e-13, "rate_ratio": 1e-13}


def _row(scale: str, fit: ScaleFit, first: ScaleFit | None, level: float, least: dict[str, float]) -> tuple[Any, ...]:
    ratio = scale.endswith("ratio")
    on_scale = _wald(fit.effect, fit.influence[:, 0], level, least[scale])
    shown = [np.exp(x) if x is not None and ratio and i != 1 else x for i, x in enumerate(on_scale[:4])]
    base = _wald(fit.counterfactual, fit.influence[:, 1], level, least["level"])
    units = _wald(fit.in_units, fit.influence[:, 2], level, least["level"])
    apart: tuple[Any, ...] = (None, None, None)
    if first is not None:
        gap = _wald(fit.in_units - first.in_units, fit.influence[:, 2] - first.influence[:, 2], level, least["level"])
        apart = (gap[0], gap[1], gap[4])
    reason = None if units[1] is not None else "the outcome does not vary, so there is no standard error"
    statistic, df, p_value, why = _pretest(fit, least[scale])
    return (
        scale,
        CONTRASTS[scale],
        *(None if x is None else float(x) for x in shown),
        *(statistic, df, p_value),
        *base[:2],
        *units[:4],
        *apart,
        ASSUMES[scale],
        "; ".join(part for part in (reason, why) if part) or None,
    )


def _wald(value: float, influence: FloatArray, level: float, least: float) -> tuple[Any, ...]:
    """Return value, standard error, limits and p-value; None where there is no standard error."""
    error = float(np.sqrt(influence @ influence))
    if not error > least:
        return float(value), None, None, None, None
    found = wald([value], [error], level=level)
    return float(value), error, float(found.conf_low[0]), float(found.conf_high[0]), float(found.p_value[0])


def _pretest(fit: ScaleFit, least: float) -> tuple[Any, Any, Any, str | None]:
    own = fit.influence[:, 3:]
    covariance = own.T @ own
    place = np.flatnonzero(np.sqrt(np.diag(covariance)) > least)
    if not place.size:
        return None, None, None, "no comparison before treatment to test"
    statistic, rank, p_value = wald_joint(fit.before[place], covariance[np.ix_(place, place)])
    if rank < place.size:
        return None, None, None, "too many comparisons before treatment for a joint test"
    why = (
        f"{plural(fit.n_untested, 'comparison')} before treatment not defined on this scale" if fit.n_untested else None
    )
    return statistic, rank, p_value, why


def _agreement(fits: Sequence[ScaleFit], least: float) -> tuple[Any, ...]:
    """Return the test that all scales give the same effect in outcome units."""
    value = np.array([fit.in_units - fits[0].in_units for fit in fits[1:]])
    influence = np.column_stack([fit.influence[:, 2] - fits[0].influence[:, 2] for fit in fits[1:]])
    covariance = influence.T @ influence
    usable = np.flatnonzero(np.sqrt(np.diag(covariance)) > least)
    p_value, reason = np.nan, "the effects do not differ by more than rounding"
    if usable.size:
        _, rank, p_value = wald_joint(value[usable], covariance[np.ix_(usable, usable)])
        # Two scales can be one: a rate with constant exposure is a level.
        reason = "" if rank == usable.size else f"scales that coincide are counted once: {rank} differences"
    empty = [None] * (len(COLUMNS) - 5)
    known = None if np.isnan(p_value) else p_value
    return (AGREE, "test", *empty, known, "one effect in outcome units, whatever the scale", reason or None)


def _support(panel: Panel, used: ComparedGroups, control: str) -> tuple[Cell, ...]:
    sizes = used.rows.cohort_sizes()
    own = tuple(Cell(cohort_label(panel, float(g)), sizes[float(g)], None, COHORTS) for g in np.unique(used.cohort))
    groups = used.compared
    rows = np.bincount(used.cell, minlength=used.member.shape[1])
    pools = used.member[np.concatenate([groups.pool_now, groups.pool_base])] @ rows
    return (*own, Cell("comparison", int(pools.min()), None, f"comparison of scales ({control.replace('_', ' ')})"))


def _notes(
    panel: Panel, used: ComparedGroups, first: str | None, control: str, level: float, found: dict[str, ScaleFit]
) -> tuple[str, ...]:
    said = [
        f"Compared with units that are {control.replace('_', ' ')}; intervals at level {level:g}, pointwise; influence "
        f"functions clustered by {panel.cluster_name}, no small-sample factor.",
        "`estimate` is on the scale itself; `counterfactual` and `effect` are in units of the outcome, averaged over "
        "treated rows. Name the scale that counts before looking: a scale whose pre-test passed may not be right.",
    ]
    if len(found) > 1:
        said.append(f"`difference` is the effect in outcome units less that of {first!r}.")
    said += [*used.words(), *(check.public or check.message for check in (*cohorts_alone(panel), *dose_checks(panel)))]
    clusters = used.rows.clusters[0].present
    if clusters < 40:
        said.append(f"{clusters} independent units or clusters; influence-function standard errors need more.")
    return tuple(said)


def plot_trend_scales(table: Table, ax: Axes | None = None) -> Axes:
    """Draw the effect in outcome units on every scale, with its pre-treatment test beside it, and return the axes.

    Parameters
    ----------
    table : Table
        From `trend_scales`.
    ax : matplotlib.axes.Axes, optional
        Where to draw.

    Raises
    ------
    DesignError
        If the table is another one, or has no effect.
    """
    import matplotlib.pyplot as plt

    if table.columns != COLUMNS:
        raise DesignError("plot_trend_scales draws a table from trend_scales.")
    records = [dict(zip(COLUMNS, row, strict=True)) for row in table.rows]
    drawn = [record for record in records if record["effect"] is not None]
    if not drawn:
        raise DesignError("No scale of this table has an effect; read the table instead.")
    if ax is None:
        _, ax = plt.subplots(figsize=(7.0, 0.6 * len(drawn) + 1.4), layout="constrained")
    ax.axvline(0.0, color="#444444", linewidth=0.8)
    for place, record in enumerate(drawn):
        ax.plot(record["effect"], place, "o", color="#0072B2", markersize=5)
        if record["effect_low"] is not None:
            ax.plot([record["effect_low"], record["effect_high"]], [place, place], color="#0072B2", linewidth=1.4)
    ax.set_yticks(range(len(drawn)), [_said(record) for record in drawn])
    ax.set_ylim(len(drawn) - 0.5, -0.5)
    ax.set_xlabel("effect in units of the outcome")
    return ax


def _said(record: dict[str, Any]) -> str:
    p_value = record["pretest_p_value"]
    tested = (
        "no pre-test" if p_value is None else "pre-test p < 0.001" if p_value < 0.001 else f"pre-test p = {p_value:.3f}"
    )
    return f"{record['scale'].replace('_', ' ')}\n({tested})"

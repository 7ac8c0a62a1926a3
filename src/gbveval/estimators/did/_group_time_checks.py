"""What was looked at beside group-time effects, and what was found."""

from __future__ import annotations

import numpy as np

from gbveval.core.method import Check
from gbveval.core.term import Term
from gbveval.data.panel import Panel
from gbveval.estimators.did._group_time_arrays import GroupTimeArrays
from gbveval.estimators.did._group_time_errors import JointErrors
from gbveval.estimators.did._group_time_rows import clusters_used
from gbveval.estimators.did._rollout import SMALL_COHORT
from gbveval.estimators.did._rollout_checks import two_way_checks
from gbveval.numerics.group_time_adjusted import AdjustedFit
from gbveval.numerics.group_time_cells import GroupTimeFit


def group_time_checks(
    data: Panel, used: GroupTimeArrays, fit: GroupTimeFit, sizes: dict[float, int], errors: JointErrors
) -> tuple[Check, ...]:
    found = []
    if used.n_left_out:
        found.append(Check("balance", "warn", f"{used.n_left_out:,} units or rows were left out for missing outcomes."))
    if fit.n_already_treated:
        text = f"{fit.n_already_treated:,} units treated, or anticipating it, from the first period on are left out."
        found.append(Check("already treated", "info", text))
    if np.isfinite(fit.last_cohort):
        text = (
            f"nobody is never treated: the cohort of {data.calendar.name(fit.last_cohort)} serves as control until it "
            "is treated, and later periods are not used."
        )
        found.append(Check("never treated", "info", text))
    small = [f"{data.calendar.name(g)} ({n})" for g, n in sizes.items() if n < SMALL_COHORT]
    if small and used.followed:
        text = f"cohorts with few units (size): {', '.join(small)}; their own standard errors are not to be relied on."
        public = "some cohorts have few units; their own standard errors are not to be relied on."
        found.append(Check("small cohorts", "warn", text, public))
    n_independent = clusters_used(fit, used.ways)
    if n_independent < 40 and np.isinf(errors.df):
        text = (
            f"{n_independent} independent units or clusters; influence-function standard errors need more, and "
            "std_error='jackknife' does not."
        )
        found.append(Check("few clusters", "warn", text))
    found += two_way_checks(errors.repaired)
    lost = sum(bool(reason) for reason in errors.reason)
    if lost:
        text = f"{lost} cells are undefined without one of the clusters, and have no jackknife standard error."
        found.append(Check("jackknife", "warn", text))
    return tuple(found)


def pretrend_check(tested: Term) -> Check:
    """Say what the joint test of the effects before treatment found."""
    if tested.p_value is None:
        return Check("pre-trends", "info", f"no joint test of pre-treatment effects: {tested.reason}.")
    kind, df = ("chi-square", f"{tested.df:g}") if tested.df2 is None else ("F", f"{tested.df:g} and {tested.df2:g}")
    text = (
        f"Wald test that all effects before treatment are zero: {kind} {tested.statistic:.2f} on {df} df, p = "
        f"{tested.p_value:.3f}. Passing it does not show parallel trends."
    )
    public = "a joint test of the effects before treatment was made; `aggregate('pretest')` gives it."
    return Check("pre-trends", "warn" if tested.p_value < 0.05 else "info", text, public)


def covariate_checks(found: AdjustedFit) -> tuple[Check, ...]:
    checks = []
    if found.n_trimmed:
        text = (
            f"{found.n_trimmed:,} comparison units (counted in each comparison) are all but sure to be treated by "
            "their covariates, and have no weight there."
        )
        public = "some comparison units are all but sure to be treated by their covariates, and have no weight."
        checks.append(Check("overlap", "warn", text, public))
    if found.n_reduced:
        text = (
            f"in {found.n_reduced} of {found.fit.att.size} cells a covariate does not vary or is collinear, and was "
            "left out there."
        )
        checks.append(Check("covariates", "info", text))
    undefined = [reason for reason in found.fit.reason if "covariates" in reason]
    if undefined:
        text = f"{len(undefined)} cells have no estimate because of their covariates: {undefined[0]}."
        checks.append(Check("covariates", "warn", text))
    return tuple(checks)

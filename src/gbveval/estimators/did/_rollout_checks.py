"""What results of rollouts say of their panel: cohorts of one, doses not looked at, variances that were repaired."""

from __future__ import annotations

import numpy as np

from gbveval.core.method import Check
from gbveval.data._frame import plural
from gbveval.data.panel import Panel

DOSE_UNUSED = (
    "the panel has doses, and this method looks at treated or not: its effects are averages over the doses that were "
    "given. DoseResponse estimates effects by dose."
)


def cohorts_alone(data: Panel) -> tuple[Check, ...]:
    """Warn of cohorts that are one cluster (or unit): its own shocks are then in no standard error."""
    if data.unit is None and data.cluster is None:
        return ()
    cohort = data.cohort_of_unit()
    observed = data.complete_units
    if data.unit is None:
        observed = ~np.isnan(data.outcome)
    elif not data.is_balanced:
        observed = np.bincount(data.unit.codes[~np.isnan(data.outcome)], minlength=data.n_units) > 0
    ways = data.cluster_of_unit() if data.unit is not None else data.cluster.codes if data.cluster is not None else None
    used = observed & (cohort > data.periods[0]) & (cohort <= data.periods[-1])
    levels = np.unique(cohort[used])
    place = np.searchsorted(levels, cohort[used])
    if ways is None:
        counts = np.bincount(place, minlength=levels.size)
    else:
        width = int(ways.max()) + 1
        pairs = np.bincount(place * width + ways[used], minlength=levels.size * width)
        counts = np.count_nonzero(pairs.reshape(-1, width), axis=1)
    lone = int(np.count_nonzero(counts == 1))
    if not lone:
        return ()
    what = "unit" if data.cluster is None else "cluster"
    text = (
        f"{plural(lone, 'cohort')} of {levels.size} {'is' if lone == 1 else 'are'} one {what}, whose own shocks cannot "
        "be told from the effect: standard errors of rows that rest on them are far too small. Merge cohorts, use "
        "CallawaySantAnna(std_error='jackknife'), or ConleyTaber."
    )
    public = f"some cohorts are one {what}: standard errors of rows that rest on them are far too small."
    return (Check("cohorts of one", "warn", text, public),)


def two_way_checks(repaired: bool) -> tuple[Check, ...]:
    """Return that negative variances were repaired, where they were."""
    text = "the two-way formula gave negative variances, which were set to zero."
    return (Check("two-way variance", "warn", text),) if repaired else ()


def dose_checks(data: Panel) -> tuple[Check, ...]:
    """Return what a method that looks at treated or not says of a panel with doses."""
    return () if data.dose is None else (Check("dose", "info", DOSE_UNUSED),)

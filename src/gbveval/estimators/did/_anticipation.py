"""How long before its beginning treatment may act: what is asked for, what it reaches, and how it is said."""

from __future__ import annotations

import numpy as np

from gbveval.core.errors import DesignError
from gbveval.data.panel import Panel


def check_anticipation(periods: float) -> None:
    """Raise unless it is a length of time."""
    if not 0 <= periods < np.inf:
        raise DesignError("anticipation is a length of time, zero or more.")


def refuse_idle_anticipation(data: Panel, anticipation: float) -> None:
    """Raise where an anticipation above zero reaches no period before the treatment of any cohort."""
    if not anticipation:
        return
    first = np.unique(data.cohort[np.isfinite(data.cohort)])[:, None]
    if not first.size or ((first - anticipation <= data.periods) & (data.periods < first)).any():
        return
    raise DesignError(
        f"anticipation={anticipation:g} reaches no period before treatment: it is a length of time "
        f"({_time_unit(data)}), and periods are {np.diff(data.periods).min():g} or more apart. Give the time from the "
        "period in which treatment may first act to its beginning."
    )


def _time_unit(data: Panel) -> str:
    """Return what time is counted in."""
    return "in the units of the time column" if data.calendar.step == "number" else f"in {data.calendar.step}s"


def ahead_of_treatment(data: Panel, anticipation: float) -> str:
    """Return an anticipation in words: 2 quarters, or 1 unit of time."""
    unit = "unit" if data.calendar.step == "number" else data.calendar.step
    many = "" if anticipation == 1 else "s"
    return f"{anticipation:g} {unit}{many}" + (" of time" if unit == "unit" else "")


def no_earlier(data: Panel, anticipation: float) -> str:
    """Say that treatment does not act before it begins, or before it may be anticipated."""
    ahead = f"more than {ahead_of_treatment(data, anticipation)} " if anticipation else ""
    return f"treatment does not act {ahead}before it begins"


def all_before(data: Panel, anticipation: float) -> str:
    """Say that all untreated rows are compared with, but those that may anticipate treatment."""
    but = f", but those of the last {ahead_of_treatment(data, anticipation)}" if anticipation else ""
    return f"all untreated rows, all periods before{but}"

"""A checked panel with fewer rows, or with other first treated periods; and the one effect of a result."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError
from gbveval.core.estimates import Estimates
from gbveval.data._assignment import recode
from gbveval.data._frame import Labels
from gbveval.data.panel import Panel

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
# By row, beside labels, time and cohort.
BY_ROW = ("outcome", "weight", "exposure", "eligible", "dose", "covariates", "coordinates")
LABELS = ("unit", "cluster", "second_cluster")
SAME = ("outcome_name", "calendar", "cluster_name", "covariate_names", "effect_names", "place")


def part_of(panel: Panel, keep: BoolArray, cohort: FloatArray | None = None) -> Panel:
    """Return some rows of a panel; with other first treated periods, treatment is from them on.

    Parameters
    ----------
    panel : Panel
    keep : ndarray of bool, shape (rows,)
    cohort : ndarray, shape (rows,), optional
        First treated period of each row of `panel`, infinite for never.
    """
    values: dict[str, Any] = {name: getattr(panel, name) for name in SAME}
    for name in BY_ROW:
        column = getattr(panel, name)
        values[name] = None if column is None else column[keep]
    for name in LABELS:
        labels: Labels | None = getattr(panel, name)
        values[name] = None if labels is None else recode(labels, keep)
    values["effects"] = tuple(recode(each, keep) for each in panel.effects)
    used, time = np.unique(panel.time[keep], return_inverse=True)
    values["time"], values["periods"] = time.astype(np.intp), panel.periods[used]
    values["cohort"] = (panel.cohort if cohort is None else cohort)[keep]
    given = panel.treatment is not None and cohort is None
    values["treatment"] = panel.treatment[keep] if given and panel.treatment is not None else None
    result = Panel.__new__(Panel)
    result._set(**values)
    return result


def single_effect(result: Estimates) -> Estimates:
    """Return the one row that says what the treatment did: the overall average, or the only effect on the treated."""
    if result.aggregator is not None:
        return result.aggregate("simple").with_terms([0])
    effects = [i for i, row in enumerate(result.terms) if row.estimand.effect == "ATT" and row.kind == "point"]
    if len(effects) != 1:
        raise DesignError(
            f"{result.estimator} gives {len(effects)} effects and no average of them; an estimator with one effect on "
            "the treated, or with aggregate('simple'), is needed."
        )
    return result.with_terms(effects)

"""Adjusted p-values beside raw ones, for numbers and for the rows of a result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from gbveval.core.errors import DesignError
from gbveval.core.estimates import Estimates
from gbveval.core.method import Check
from gbveval.numerics.multiplicity import METHODS, adjust

FAMILY_WISE = ("bonferroni", "sidak", "holm", "hochberg", "hommel")


def adjust_p_values(p_values: ArrayLike, *, method: str = "holm", alpha: float = 0.05) -> tuple[float, ...]:
    """Return p-values adjusted for their number.

    Parameters
    ----------
    p_values : sequence of float
        Raw p-values of one family, decided on before the data were seen.
    method : str
        Family-wise error rate: "bonferroni", "sidak", "holm" (the default; valid whatever the dependence), "hochberg",
        "hommel" (valid under positive dependence). False discovery rate: "BH" (positive dependence), "BY" (any),
        "two_stage_bh", "two_stage_bky" (independence), "sharpened_q" (the smallest rate at which the two-stage
        procedure rejects, on a grid of 0.001).
    alpha : float
        Level of the first stage of the two-stage methods, whose adjusted p-values are to be compared with it.

    Raises
    ------
    DesignError
        If a p-value is missing or outside 0 to 1, or the method is not known.

    References
    ----------
    Holm (1979), Scandinavian Journal of Statistics 6. Benjamini and Hochberg (1995), Journal of the Royal Statistical
    Society B 57. Benjamini, Krieger and Yekutieli (2006), Biometrika 93. Anderson (2008), Journal of the American
    Statistical Association 103.

    Examples
    --------
    >>> adjust_p_values([0.01, 0.04, 0.03])
    (0.03, 0.06, 0.06)
    """
    if method not in METHODS:
        raise DesignError(f"method must be one of {', '.join(METHODS)}, not {method!r}.")
    if not 0.0 < alpha < 1.0:
        raise DesignError(f"alpha must lie between 0 and 1, such as 0.05; it is {alpha}.")
    p = np.asarray(p_values, dtype=float)
    wrong = 0 if p.ndim != 1 else int(np.count_nonzero(~((p >= 0) & (p <= 1))))
    if p.ndim != 1 or wrong:
        raise DesignError(
            f"{wrong} of {p.size} p-values are missing or outside 0 to 1. Leave out hypotheses that were not tested."
        )
    return tuple(float(x) for x in adjust(p, method, alpha=alpha))


def adjust_for_multiplicity(
    estimates: Estimates,
    *,
    method: str = "holm",
    terms: Sequence[str | tuple[str, str]] | None = None,
    alpha: float = 0.05,
) -> Estimates:
    """Return a result with adjusted p-values in the column `p_adjusted`, beside the raw ones.

    Parameters
    ----------
    estimates : Estimates
        A frequentist result.
    method, alpha : str, float
        As in `adjust_p_values`.
    terms : sequence of str or of (outcome, term), optional
        The family; by default every row with a p-value that is no coefficient of a working model.

    Raises
    ------
    DesignError
        If the result has no p-values (a posterior has none), or a row of the family has none.

    Notes
    -----
    **Do not use when** the family was chosen after seeing the results. Methods that know how outcomes go together
    (`WestfallYoung`, `RomanoWolf`) reject more.

    Examples
    --------
    >>> import gbveval as gbv
    >>> frame = {"y": [1.0, 2.0, 4.0, 5.0], "z": [3.0, 1.0, 2.0, 5.0], "arm": ["a", "a", "b", "b"]}
    >>> trial = gbv.Trial(frame, outcome=["y", "z"], arm="arm", control="a")
    >>> answer = adjust_for_multiplicity(gbv.DifferenceInMeans().estimate(trial), method="bonferroni")
    >>> answer.tidy()[["p_value", "p_adjusted"]].round(3).values.tolist()
    [[0.051, 0.103], [0.504, 1.0]]
    """
    records = estimates.records()
    if terms is None:
        chosen = [
            i
            for i, row in enumerate(estimates.terms)
            if row.estimand.effect != "nuisance" and records[i]["p_value"] is not None
        ]
    else:
        chosen = [estimates.index(term) for term in terms]
    missing = sum(records[i]["p_value"] is None for i in chosen)
    if not chosen or missing:
        raise DesignError(
            f"{missing or 'All'} rows of the family have no p-value, so they cannot be adjusted. Name the rows to "
            "adjust in `terms`; a posterior has no p-values."
        )
    adjusted = adjust_p_values([records[i]["p_value"] for i in chosen], method=method, alpha=alpha)
    rows = list(estimates.terms)
    for i, p in zip(chosen, adjusted, strict=True):
        kept: tuple[Any, ...] = tuple(pair for pair in rows[i].extra if pair[0] not in ("p_adjusted", "adjustment"))
        rows[i] = replace(rows[i], extra=(*kept, ("p_adjusted", p), ("adjustment", method)))
    rate = "family-wise error rate" if method in FAMILY_WISE else "false discovery rate"
    note = Check(
        "multiplicity",
        "info",
        f"p_adjusted holds p-values of {len(chosen)} rows adjusted for the {rate} ({method}); p_value and the "
        "intervals are not adjusted.",
    )
    return replace(estimates, terms=tuple(rows), checks=(*estimates.checks, note))

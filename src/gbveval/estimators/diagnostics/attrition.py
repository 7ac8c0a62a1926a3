"""`differential_attrition`: whether outcomes are missing at the same rate, and for the same people, in every arm."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DataError, DesignError, IdentificationError
from gbveval.core.method import Cell
from gbveval.core.provenance import derive_seed
from gbveval.core.table import Table
from gbveval.data.trial import Trial
from gbveval.estimators._trials import changed
from gbveval.estimators.diagnostics._described import described, filled
from gbveval.estimators.diagnostics._omnibus import by_allocations, resolved
from gbveval.estimators.randomised._assignment import Assignment, RecordedAllocations
from gbveval.estimators.randomised.ancova import Ancova
from gbveval.numerics.inference import check_level

FloatArray = NDArray[np.float64]
COLUMNS = (
    *("outcome", "row", "randomised", "missing", "estimate", "std_error", "conf_low", "conf_high"),
    *("statistic", "df", "p_value"),
)


def differential_attrition(
    trial: Trial,
    outcome: str | None = None,
    *,
    assignment: str | RecordedAllocations = "auto",
    n_draws: int = 9_999,
    level: float = 0.95,
    rng: np.random.Generator | None = None,
) -> Table:
    """Return how many outcomes are missing by arm, and tests of whether that has to do with the arm.

    Parameters
    ----------
    trial : Trial
        Its characteristics, covariates and baseline outcome say who is missing.
    outcome : str, optional
        One outcome; by default all of them.
    assignment : str or RecordedAllocations
        How units were assigned, as in `RandomisationInference`.
    n_draws : int
        Allocations drawn where they are not all listed.
    level : float
        Level of the intervals.
    rng : numpy.random.Generator, optional
        For drawn allocations; by default seeded from the data.

    Returns
    -------
    Table
        For each outcome: the share missing in each arm; its difference from control, adjusted for strata as in
        `Ancova`, with interval; and up to three randomisation tests of d2 (Hansen and Bowers 2008).

    Notes
    -----
    All three tests are of one sharp null: being assigned changed for nobody whether the outcome is there. Who is
    missing is then fixed, and its relation to the arm is due to the lot alone, so the tests are exact. They look in
    different places:

    - *missing by arm*: the rates differ;
    - *who is missing, by arm*: those missing differ between arms in their covariates, though rates may not (the
      interaction of arm and covariates);
    - *who is observed, by arm*: those left differ in their covariates, which is what biases a comparison of them.

    **Do not use when** the question is whether attrition biases the estimate. Rates can agree while different people
    leave, and covariates say nothing about what was not measured: `LeeBounds` and `ManskiBounds` bound the effect.
    Where accounts were suspended because of the intervention, suspension is an outcome and no attrition.

    References
    ----------
    Hansen and Bowers (2008), Statistical Science 23. Lee (2009), Review of Economic Studies 76, on what equal rates do
    and do not give.

    Examples
    --------
    >>> frame = {"y": [0, None, 1, 0, 1, None, 1, 1], "arm": ["usual", "new"] * 4}
    >>> trial = Trial(frame, outcome="y", arm="arm", control="usual")
    >>> table = differential_attrition(trial)
    >>> table.column("row")
    ('usual', 'new', 'new vs usual', 'missing by arm')
    >>> table.column("estimate")[:3]
    (0.0, 0.5, 0.5)
    """
    if outcome is not None and outcome not in trial.outcome_names:
        raise DataError(f"{outcome!r} is not an outcome of the trial; there are: {', '.join(trial.outcome_names)}.")
    try:
        check_level(level)
    except ValueError as error:
        raise DesignError(str(error)) from error
    if n_draws < 19:
        raise DesignError("n_draws must be at least 19, so that p can be 0.05.")
    names = trial.outcome_names if outcome is None else (outcome,)
    seed = derive_seed(trial.digest, "differential_attrition") if rng is None else int(rng.integers(2**31))
    draws = np.random.default_rng(seed)
    units = resolved(trial, assignment)
    rows: list[dict[str, Any]] = []
    support: list[tuple[Cell, ...]] = []
    notes: list[str] = []
    for name in names:
        missing = ~trial.observed(trial.outcome_names.index(name))
        rates, cells, said = _rates(trial, name, missing, level)
        tests, more = _tests(trial, missing, units, n_draws, draws)
        rows += [{"outcome": name, **row} for row in (*rates, *tests)]
        support += [*cells, *(() for _ in tests)]
        notes += [f"{name}: {text}" for text in (*said, *more)]
    return Table(
        title="Attrition by arm",
        columns=COLUMNS,
        rows=tuple(tuple(row.get(column) for column in COLUMNS) for row in rows),
        notes=(*dict.fromkeys(notes), "Tests are of no effect of assignment on anybody's being observed."),
        support=tuple(support),
    )


def _rates(
    trial: Trial, name: str, missing: NDArray[np.bool_], level: float
) -> tuple[list[dict[str, Any]], list[tuple[Cell, ...]], list[str]]:
    """Return the share missing by arm and its difference from control."""
    rows: list[dict[str, Any]] = []
    cells = []
    for code, arm in enumerate(trial.arms):
        member = trial.arm == code
        share = float(np.average(missing[member], weights=_weights(trial, member)))
        rows.append(
            {"row": arm, "randomised": int(member.sum()), "missing": int(missing[member].sum()), "estimate": share}
        )
        # As in the participant flow: those lost may be few, those randomised may not.
        cells.append(Cell(arm, int(member.sum()), None, f"{name} randomised by arm"))
    support: list[tuple[Cell, ...]] = [(cell,) for cell in cells]
    plain = changed(
        trial,
        outcome_names=(name,),
        outcomes=missing.astype(float)[:, None],
        covariate_names=(),
        covariates=np.zeros((trial.n, 0)),
        baseline=None,
    )
    try:
        found = Ancova().estimate(plain).records(level)[: len(trial.arms) - 1]
    except IdentificationError as error:
        return rows, support, [f"no difference, because {error}"]
    for code, record in enumerate(found, start=1):
        keys = ("estimate", "std_error", "conf_low", "conf_high", "statistic", "df", "p_value")
        rows.append({"row": record["term"], **{key: record[key] for key in keys}})
        support.append((cells[0], cells[code]))
    reasons = [f"no standard error: {record['reason']}" for record in found if record["reason"]]
    return rows, support, reasons


def _weights(trial: Trial, member: NDArray[np.bool_]) -> FloatArray | None:
    if trial.weight is None or trial.weight[member].sum() == 0:
        return None
    return trial.weight[member]


def _tests(
    trial: Trial, missing: NDArray[np.bool_], units: Assignment, n_draws: int, rng: np.random.Generator
) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the randomisation tests that the data allow."""
    lost = missing.astype(float)
    asked = [("missing by arm", lost[:, None])]
    if trial.covariate_names or trial.characteristic_names or trial.baseline is not None:
        matrix = filled(described(trial))[0]
        for text, member in (("who is missing, by arm", missing), ("who is observed, by arm", ~missing)):
            centre = matrix[member].mean(axis=0) if member.any() else np.zeros(matrix.shape[1])
            away = np.where(member[:, None], matrix - centre, 0.0)
            # What rounding leaves of a column that is the same for all of them must not be taken for a difference.
            asked.append((text, np.where(np.abs(away) > 1e-12 * np.abs(matrix).max(axis=0), away, 0.0)))
    rows, notes = [], []
    for text, columns in asked:
        found = by_allocations(trial, columns, units, n_draws, rng)
        rows.append({"row": text, "statistic": found.statistic, "df": found.df, "p_value": found.p_value})
        notes.append(f"{found.words}." if found.statistic is not None else f"{text}: no test, as {found.reason}.")
    return rows, notes

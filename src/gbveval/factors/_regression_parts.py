"""What regressions of a survey have in common: their columns, the counts behind a coefficient, what they leave out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError
from gbveval.core.method import Cell, Check
from gbveval.data._frame import plural
from gbveval.data.survey import Survey
from gbveval.factors._domains import outcome_cell
from gbveval.factors._rows import category

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


def require_no_design(data: Survey) -> None:
    """Raise DesignError for roles that a model-based standard error would ignore."""
    given = [
        role
        for role, part in (
            ("weight", data.weight),
            ("stratum", data.stratum),
            ("psu", data.psu),
            ("replicate_weights", data.replicates),
        )
        if part is not None
    ]
    if given:
        raise DesignError(
            f"std_error='model' ignores the design, and the survey declares {', '.join(given)}. Use std_error='design'."
        )


def model_columns(data: Survey, columns: tuple[str, ...]) -> tuple[FloatArray, tuple[str, ...], BoolArray]:
    """Return the covariates as numbers; DesignError when one of them is an outcome, an identifier or the unit."""
    used = [column for column in columns if column in data.outcome_names]
    if used:
        raise DesignError(f"Column {used[0]!r} is an outcome of the survey; it cannot explain itself.")
    x, names, complete = data.covariates(columns)
    for column in columns:
        if column not in names:
            category(data, column)
    return x, names, complete


def model_support(
    data: Survey, outcome: int, member: BoolArray, column: tuple[str, FloatArray] | None
) -> tuple[Cell, ...]:
    """Return the counts behind a coefficient: the model's respondents, and both sides of an indicator."""
    cell = outcome_cell(data, outcome)
    name = data.outcome_names[outcome]
    if column is None or not set(np.unique(column[1][member]).tolist()) <= {0.0, 1.0}:
        return (cell(member, "in the model", f"{name}, model"),)
    label, values = column
    table = f"{name} by {label}, model"
    return (cell(member & (values == 1.0), label, table), cell(member & (values == 0.0), f"not {label}", table))


def left_out_checks(data: Survey, outcome: int, member: BoolArray, dropped: list[str]) -> list[Check]:
    """Return what was left out of a model: respondents without a covariate, and collinear columns."""
    found = []
    name = data.outcome_names[outcome]
    lost = int(data.observed(outcome).sum() - member.sum())
    if lost:
        says = f"have {name} but lack a covariate (or have weight zero); they are not in the model and not imputed."
        text, public = f"{lost:,} of {plural(data.n, 'respondent')} {says}", f"some respondents {says}"
        status = "warn" if lost > 0.05 * data.n else "info"
        found.append(Check(f"missing covariates of {name}", status, text, public))
    if dropped:
        text = f"{name}: collinear columns were left out and change nothing: {', '.join(dropped)}."
        found.append(Check(f"rank {name}", "warn", text))
    return found

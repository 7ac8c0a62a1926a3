"""What the models of one factor and outcome share: their respondents, patterns, counts and checks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import IdentificationError
from gbveval.core.method import COMPLETE_ON, Cell, Check
from gbveval.data._frame import plural
from gbveval.factors._association import Comparison, crude_words
from gbveval.factors._columns import ModelData
from gbveval.numerics.patterns import find_patterns

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, eq=False, slots=True)
class Models:
    """What all models of a comparison share.

    Attributes
    ----------
    comparison : Comparison
        Factor and outcome.
    model : ndarray of bool, shape (n,)
        Respondents with outcome, factor, covariates and a weight above zero.
    """

    comparison: Comparison
    model: BoolArray

    @property
    def adjust_for(self) -> tuple[str, ...]:
        """Columns adjusted for."""
        return self.comparison.adjust_for or ()

    @property
    def words(self) -> str:
        """How the rows of these models are called in the table."""
        shown = ", ".join(self.adjust_for)
        return f"adjusted for {shown}" if shown else crude_words(self.comparison)

    def data(self, inside: BoolArray, exposures: FloatArray | None, codes: Sequence[int]) -> ModelData:
        """Return a model's data; exposures by category of the factor, or indicators of `codes`."""
        comparison, columns = self.comparison, self.comparison.columns
        rows = np.flatnonzero(inside)
        labels = comparison.labels.codes
        found = find_patterns([labels[rows], *(columns.covariate(name).codes[rows] for name in self.adjust_for)])
        first = rows[found.first]
        if exposures is None:
            exposures = np.column_stack([np.arange(comparison.labels.count) == code for code in codes]).astype(float)
        return ModelData(
            y=comparison.survey.outcomes[rows, comparison.outcome],
            weights=comparison.survey.weights()[rows],
            patterns=found,
            exposures=exposures[labels[first]],
            covariates=columns.design(self.adjust_for, first),
            names=columns.names(self.adjust_for),
        )

    def varying(self, *, both_sides: bool) -> list[int]:
        """Return the categories with events in the model, and with respondents without if asked."""
        y, labels = self.comparison.survey.outcomes[:, self.comparison.outcome], self.comparison.labels
        n = np.bincount(labels.codes[self.model], minlength=labels.count)
        events = np.bincount(labels.codes[self.model], weights=y[self.model], minlength=labels.count)
        return [code for code in range(labels.count) if events[code] > 0 and (events[code] < n[code] or not both_sides)]

    def only(self, codes: Sequence[int]) -> BoolArray:
        """Return the respondents of the model in some categories."""
        inside: BoolArray = self.model & np.isin(self.comparison.labels.codes, list(codes))
        return inside

    def spread(self, inside: BoolArray, values: FloatArray) -> FloatArray:
        """Return linearised values of some respondents as those of all."""
        result = np.zeros(self.comparison.survey.n)
        result[inside] = values
        return result


def models_of(comparison: Comparison) -> Models:
    """Return the models of a comparison."""
    complete = comparison.columns.complete(comparison.adjust_for or ())
    return Models(comparison, comparison.analysed & complete & (comparison.survey.weights() > 0))


def support_of(models: Models, codes: Sequence[int]) -> tuple[Cell, ...]:
    """Return the counts behind a row: of the crude rows, and of the model where it has fewer respondents."""
    comparison, within = models.comparison, models.comparison.analysed
    table = f"{comparison.outcome_name} by {comparison.factor.column}"
    support: dict[Cell, None] = {}
    for code in codes:
        support |= dict.fromkeys(comparison.cells(code, within, table))
        if models.model.sum() < within.sum():
            # The model has fewer respondents than the crude rows: its own counts must be large enough too.
            shown = ", ".join(models.adjust_for) or "a weight above zero"
            support |= dict.fromkeys(comparison.cells(code, models.model, f"{table}{COMPLETE_ON}{shown}"))
    return tuple(support)


def check_size(comparison: Comparison, member: BoolArray, k: int) -> None:
    """Raise IdentificationError when the model has more coefficients than the design has degrees of freedom."""
    df = comparison.design.df(member)
    if k > df:
        raise IdentificationError(
            f"The adjusted model of factor {comparison.factor.column!r} has {k:,} coefficients, but the sample has "
            f"only {df:.0f} degrees of freedom (primary units minus strata). Adjust for fewer columns or categories."
        )


def sample_check(models: Models) -> list[Check]:
    """Return a check that counts who is in the crude rows and not in the models."""
    comparison = models.comparison
    total = int((comparison.analysed & (comparison.survey.weights() > 0)).sum())
    lost = total - int(models.model.sum())
    if not lost or not models.adjust_for:
        return []
    column = comparison.factor.column
    says = (
        f"in the crude rows of {comparison.outcome_name} lack an answer to {', '.join(models.adjust_for)} and are not "
        "in the adjusted model; part of the change from crude to adjusted may come from that."
    )
    text = f"{column}: {lost:,} of {plural(total, 'respondent')} {says}"
    public = f"{column}: some respondents {says}"
    return [Check(f"adjusted sample {column}", "warn" if lost > 0.05 * total else "info", text, public)]


def fit_checks(column: str, dropped: tuple[str, ...], aside: tuple[str, ...], above_one: int) -> list[Check]:
    """Return checks on collinear columns, respondents set aside and fitted risks above one."""
    found = []
    if dropped:
        text = f"{column}: collinear columns were dropped and change nothing: {', '.join(dropped)}."
        found.append(Check(f"rank {column}", "warn", text))
    if aside:
        # Which category it is stays unsaid: that nobody in it reports the outcome is for `release` to show or hide.
        columns = ", ".join(dict.fromkeys(name.split("[")[0] for name in aside))
        text = (
            f"{column}: {columns} has a side or category that says nothing about the ratio (the model is separated "
            "there); its respondents were set aside, which is the limit of the fit."
        )
        public = (
            f"{column}: respondents of whom the model can say nothing were set aside, which is the limit of the fit."
        )
        found.append(Check(f"separation {column}", "warn", text, public))
    if above_one:
        says = "respondents have a fitted risk above one, which a log link does not prevent."
        text, public = f"{column}: {above_one:,} {says}", f"{column}: some {says}"
        found.append(Check(f"fitted risk {column}", "warn", text, public))
    return found

"""`AdditiveInteraction`: whether two factors together go with more of an outcome than the sum of each alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.method import Check
from gbveval.core.registry import register
from gbveval.data._frame import Labels, as_names
from gbveval.data.survey import Survey
from gbveval.factors._adjusted import ratio_rows
from gbveval.factors._association import NO_EVENTS, Comparison, compare, crude_rows, extra_of
from gbveval.factors._columns import Columns
from gbveval.factors._models import Models, models_of, sample_check, support_of
from gbveval.factors._replicated import Block, rows_of_blocks
from gbveval.factors._rows import (
    SurveyRow,
    assemble,
    check_lonely,
    clusters_in,
    design_of,
    missing_answer_check,
    missing_outcome_check,
    refuse_outcomes,
    require_binary,
    survey_method,
)
from gbveval.factors.factor import Factor
from gbveval.numerics.additive_interaction import Derived, attributable_proportion, excess_risk, log_synergy
from gbveval.numerics.survey import SampleDesign

FloatArray = NDArray[np.float64]
NO_SYNERGY = (
    "the synergy index needs risks with both factors, and with one on average, above those with neither; take the "
    "category of least risk as each factor's reference"
)
MEASURES: tuple[tuple[str, str, Callable[[FloatArray], Derived], str], ...] = (
    ("relative excess risk due to interaction", "relative_excess_risk", excess_risk, ""),
    ("attributable proportion due to interaction", "attributable_proportion", attributable_proportion, ""),
    ("synergy index", "synergy_index", log_synergy, NO_SYNERGY),
)


@register("additive_interaction")
@dataclass(frozen=True, slots=True)
class AdditiveInteraction:
    """Interaction of two factors of two categories on the additive scale: RERI, attributable proportion, synergy index.

    Parameters
    ----------
    first, second : Factor or str
        Two factors, each of two categories.
    adjust_for : sequence of str
        Confounders of both.
    behaviour : str
        "experience" or "perpetration".
    lonely_psu : str
        As in `RiskFactors`.

    Notes
    -----
    **Estimates** from the prevalence ratios of one factor alone, of the other alone and of both, against neither (one
    modified Poisson model): the relative excess risk R11 - R10 - R01 + 1, that over R11, and the synergy index
    (R11 - 1) / (R10 + R01 - 2). Where risks add up they are 0, 0 and 1. With linearised errors by strata and primary
    units.

    **Use it** where it matters how many people are affected: two factors may multiply exactly, with no interaction on
    the ratio scale, and still go with more together than their sum.

    **Do not use** with a protective factor whose absence is the reference: measures are read from the category of least
    risk; a check says so.

    **Undefined**: a combination without events leaves all rows null; the synergy index also where risks with both, or
    with one, do not exceed those with neither.

    References
    ----------
    Rothman (1986), Modern Epidemiology. Hosmer and Lemeshow (1992), Epidemiology 3. Knol and others (2011), European
    Journal of Epidemiology 26 (which category is the reference).

    Examples
    --------
    >>> from gbveval.datasets.pilot import PilotSurvey
    >>> survey = PilotSurvey().draw(np.random.default_rng(1))
    >>> table = AdditiveInteraction("lgbtq", "disability", behaviour="experience").estimate(survey)
    >>> table[0].term
    'lgbtq and disability: relative excess risk due to interaction'
    """

    name: ClassVar[str] = "additive_interaction"

    first: Factor | str
    second: Factor | str
    adjust_for: Sequence[str] = ()
    behaviour: str = field(kw_only=True)
    lonely_psu: str = field(default="error", kw_only=True)

    def __post_init__(self) -> None:
        for option in ("first", "second"):
            given = getattr(self, option)
            object.__setattr__(self, option, given if isinstance(given, Factor) else Factor(given))
        object.__setattr__(self, "adjust_for", tuple(dict.fromkeys(as_names(self.adjust_for, "adjust_for"))))
        one, other = self._columns()
        if one == other:
            raise DesignError(f"Factor {one!r} is given twice; an interaction is of two.")
        if {one, other} & set(self.adjust_for):
            raise DesignError("A factor of the interaction cannot be adjusted for; take it out of adjust_for.")
        if self.behaviour not in ("experience", "perpetration"):
            raise DesignError(f"behaviour is 'experience' or 'perpetration', not {self.behaviour!r}.")
        check_lonely(self.lonely_psu)

    def _factors(self) -> tuple[Factor, Factor]:
        assert isinstance(self.first, Factor)
        assert isinstance(self.second, Factor)
        return self.first, self.second

    def _columns(self) -> tuple[str, str]:
        one, other = self._factors()
        return one.column, other.column

    def estimate(self, data: Survey, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return for each outcome three measures of interaction and the three ratios behind them.

        Parameters
        ----------
        data : Survey
            The checked survey; its outcomes are 0 or 1.
        rng : numpy.random.Generator, optional
            Ignored: nothing is random.

        Raises
        ------
        DataError
            If an outcome is not 0 or 1, or a column is absent.
        DesignError
            If a factor has other than two categories, or is an outcome.
        IdentificationError
            If a combination is one of the covariates, or the variance cannot be estimated.
        """
        refuse_outcomes(data, self.adjust_for)
        design, columns = design_of(data, self.lonely_psu), Columns(data)
        joint = self._joined(columns)
        blocks: list[Block] = []
        checks: list[Check] = []
        for outcome in range(len(data.outcome_names)):
            require_binary(data, outcome, "AdditiveInteraction")
            checks += missing_outcome_check(data, outcome)
            blocks.append(partial(self._block, design=design, outcome=outcome, joint=joint))
        rows, notes = rows_of_blocks(columns, blocks)
        checks += notes
        for column in self._columns():
            checks += missing_answer_check(column, int((columns.labels(column).codes < 0).sum()), data.n)
        method = survey_method(
            data,
            sample="respondents with the outcome, both factors and every covariate; the others are left out and not "
            "imputed",
            std_error="Taylor linearisation of the ratios (log-link Poisson quasi-likelihood) and of their functions",
            assumptions=(
                "these are associations: nothing here says that changing a factor would change the outcome",
                "respondents were drawn as the weights, strata and primary units say",
            ),
            source="Rothman 1986; Hosmer and Lemeshow 1992",
        )
        return assemble(self, data, design, rows, method=method, checks=checks)

    def _block(
        self, columns: Columns, *, design: SampleDesign, outcome: int, joint: Factor
    ) -> tuple[list[SurveyRow], list[Check]]:
        """Return the rows of one outcome under the weights of the columns' survey."""
        return _rows_of(
            compare(
                columns,
                design,
                outcome=outcome,
                factor=joint,
                adjust_for=tuple(self.adjust_for),
                reason="declared confounders" if self.adjust_for else "",
                behaviour=self.behaviour,
            )
        )

    def _joined(self, columns: Columns) -> Factor:
        """Return the four combinations as one factor, neither first, and make them a column."""
        parts = []
        for factor in self._factors():
            labels = columns.labels(factor.column)
            if labels.count != 2:
                raise DesignError(
                    f"Factor {factor.column!r} does not have two categories (it has {labels.count:,}); an additive "
                    "interaction is of factors with two each. Merge categories."
                )
            if factor.reference is not None and factor.reference not in labels.levels:
                raise DesignError(f"Factor {factor.column!r} has no category {factor.reference!r}; give one it has.")
            flipped = factor.reference == labels.levels[1]
            levels = labels.levels[::-1] if flipped else labels.levels
            codes = np.where(labels.codes < 0, -1, 1 - labels.codes if flipped else labels.codes)
            parts.append((codes, levels))
        (a, a_levels), (b, b_levels) = parts
        both = np.where((a < 0) | (b < 0), -1, 2 * a + b)
        names = tuple(f"{one}, {other}" for one in a_levels for other in b_levels)
        name = " and ".join(self._columns())
        return columns.join(name, Labels(both.astype(np.intp), names))


def _rows_of(comparison: Comparison) -> tuple[list[SurveyRow], list[Check]]:
    models = models_of(comparison)
    checks = sample_check(models)
    if models.adjust_for:
        ratios, notes = ratio_rows(models)
        checks += notes
    else:
        ratios = {code: crude_rows(comparison, code)["ratio"] for code in comparison.others()}
    # Codes of the joint factor: 1 the second alone, 2 the first alone, 3 both.
    three = [ratios[code] for code in (2, 1, 3)]
    rows = [_measure_row(models, three, *measure) for measure in MEASURES]
    values = [row.value for row in three]
    if any(value is not None and value < 0 for value in values[:2]):
        text = (
            f"{comparison.factor.column}: a factor alone goes with less of {comparison.outcome_name} than neither; "
            "read additive interaction with the category of least risk as each reference."
        )
        checks.append(Check(f"reference {comparison.factor.column}", "warn", text))
    return [*rows, *three], checks


def _measure_row(
    models: Models,
    ratios: Sequence[SurveyRow],
    words: str,
    contrast: str,
    function: Callable[[FloatArray], Derived],
    undefined: str,
) -> SurveyRow:
    comparison, survey = models.comparison, models.comparison.survey
    value: float | None = None
    values: FloatArray | None = None
    reason = NO_EVENTS
    logs = [row.value for row in ratios]
    if all(x is not None for x in logs):
        found = function(np.array(logs, dtype=np.float64))
        reason = undefined
        if np.isfinite(found.value):
            value = found.value
            parts = [row.row_values for row in ratios]
            values = sum(
                (slope * part for slope, part in zip(found.gradient, parts, strict=True) if part is not None),
                np.zeros(survey.n),
            )
    return SurveyRow(
        term=f"{comparison.factor.column}: {words}",
        outcome=comparison.outcome_name,
        estimand=Estimand("association", contrast, "survey_population"),
        value=value,
        row_values=values,
        df=min(row.df for row in ratios),
        reason="" if value is not None else reason,
        n_units=int(models.model.sum()),
        n_clusters=clusters_in(survey, models.model),
        support=support_of(models, comparison.others()),
        extra=extra_of(comparison, None, models.words, float(1.0 - models.model.sum() / survey.n)),
    )

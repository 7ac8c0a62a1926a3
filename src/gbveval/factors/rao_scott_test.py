"""`RaoScottTest`: whether an outcome and a category go together in a surveyed population."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DataError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.method import Check
from gbveval.core.provenance import Provenance, options_of, versions
from gbveval.core.registry import register
from gbveval.core.term import Term
from gbveval.data._frame import Labels
from gbveval.data.survey import Survey
from gbveval.factors._domains import Domains, groups, outcome_cell
from gbveval.factors._population import sample_words
from gbveval.factors._rows import (
    category,
    check_lonely,
    clusters_in,
    design_checks,
    design_of,
    df_of,
    missing_answer_check,
    missing_outcome_check,
    survey_method,
)
from gbveval.factors._variance import AtWeights, influence_of
from gbveval.numerics.rao_scott import RaoScott, rao_scott
from gbveval.numerics.survey import SampleDesign, mean

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
# More values than this make a measurement, not a category.
MAXIMUM_VALUES = 20


@register("rao_scott_test")
@dataclass(frozen=True, slots=True)
class RaoScottTest:
    """Test that each outcome is distributed alike in the categories of a column, under the sample design.

    Parameters
    ----------
    by : str
        A column whose categories are compared.
    lonely_psu : str
        For strata with a single primary unit: "error", "adjust", "certainty" or "average", as in `Prevalence`.

    Notes
    -----
    **Tests** independence in the table of outcome by category, in the population. Pearson's statistic of the weighted
    table is divided by the mean generalised design effect, and referred to an F distribution whose degrees of freedom
    know how the design effects vary (second-order correction). Respondents without one of the two are left out of the
    table and stay in the design.

    **Undefined** where a combination of outcome and category has nobody.

    **Extra columns**: chi_square (Pearson's, uncorrected) and mean_design_effect.

    **Do not use when** what matters is how different groups are: `Prevalence` by group and its contrasts say that.

    References
    ----------
    Rao and Scott (1984), Annals of Statistics 12. Thomas and Rao (1987), Journal of the American Statistical
    Association 82.

    Examples
    --------
    >>> import gbveval as gbv
    >>> frame = {"harassed": [0, 1, 1, 0, 1, 0, 0, 0], "sex": ["w", "w", "w", "w", "m", "m", "m", "m"]}
    >>> row = gbv.RaoScottTest("sex").estimate(gbv.Survey(frame, outcome="harassed"))[0]
    >>> row.kind, row.df, row.df2
    ('test', 1.0, 7.0)
    """

    name: ClassVar[str] = "rao_scott_test"

    by: str
    lonely_psu: str = "error"

    def __post_init__(self) -> None:
        check_lonely(self.lonely_psu)

    def estimate(self, data: Survey, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return one test for each outcome.

        Parameters
        ----------
        data : Survey
            The checked survey; its outcomes have few values.
        rng : numpy.random.Generator, optional
            Ignored: nothing is random.

        Raises
        ------
        DataError
            If `by` is absent, or an outcome has more than 20 values.
        DesignError
            If `by` is an outcome, an identifier or the primary unit.
        IdentificationError
            If strata have a single primary unit and `lonely_psu` is "error".
        """
        design = design_of(data, self.lonely_psu)
        labels = category(data, self.by)
        rows = [_row(data, design, outcome, self.by, labels) for outcome in range(len(data.outcome_names))]
        checks: list[Check] = []
        for outcome in range(len(data.outcome_names)):
            checks += missing_outcome_check(data, outcome)
        checks += missing_answer_check(self.by, int((labels.codes < 0).sum()), data.n)
        smallest = min((row.df2 / row.df for row in rows if row.df2), default=np.inf)
        return Estimates(
            estimator=self.name,
            terms=tuple(rows),
            covariance=np.full((len(rows), len(rows)), np.nan),
            method=survey_method(
                data,
                sample=sample_words(data, range(len(data.outcome_names))) + f", as are those without {self.by}",
                std_error="the table's covariance by Taylor linearisation",
                assumptions=(
                    "respondents were drawn as the weights, strata and units say",
                    "answers are missing for reasons unrelated to the outcome",
                ),
                source="Rao and Scott 1984; Thomas and Rao 1987",
            ),
            checks=(*checks, *design_checks(data, design, smallest)),
            provenance=Provenance(data.digest, tuple(options_of(self).items()), None, versions()),
        )


def _row(data: Survey, design: SampleDesign, outcome: int, by: str, labels: Labels) -> Term:
    name = data.outcome_names[outcome]
    weights, y = data.weights(), data.outcomes[:, outcome]
    member = data.observed(outcome) & (labels.codes >= 0) & (weights > 0)
    values = np.unique(y[member])
    if values.size > MAXIMUM_VALUES:
        raise DataError(
            f"Column {name!r} (outcome) has {values.size:,} values, which makes no table; at most {MAXIMUM_VALUES} "
            "were expected. Cut it into a few bands first."
        )
    used = np.unique(labels.codes[member])
    found, reason = None, ""
    df = df_of(data, design, member)
    if min(values.size, used.size) < 2:
        reason = "the outcome, or the category, takes one value only, so there is nothing to compare"
    elif df < 1:
        reason = "respondents are found in no more primary units than strata, so the table's variance is unknown"
    else:
        found, reason = _test(data, design, member, (y[:, None] == values, labels.codes[:, None] == used), df)
    support = groups(data, name, Domains(by, labels.levels, labels.codes), outcome_cell(data, outcome))
    return Term(
        term=f"{name} is distributed alike by {by}",
        estimand=Estimand("association", "none", "survey_population"),
        outcome=name,
        value=None,
        std_error=None,
        df=df if found is None else found.df1,
        kind="test",
        statistic=None if found is None else found.statistic,
        df2=None if found is None else found.df2,
        p_value=None if found is None else found.p_value,
        n_units=int(member.sum()),
        n_clusters=clusters_in(data, member),
        support=tuple(cell for group in list(support)[1:] for cell in group.support),
        reason=reason,
        extra=(
            ("chi_square", None if found is None else found.chi_square),
            ("mean_design_effect", None if found is None else found.mean_design_effect),
        ),
    )


def _test(
    data: Survey, design: SampleDesign, member: BoolArray, sides: tuple[BoolArray, BoolArray], df: float
) -> tuple[RaoScott | None, str]:
    """Return the test of the table that two sets of indicators make, or the reason why there is none."""
    first, second = sides
    weights = data.weights()
    cells = (first[:, :, None] & second[:, None, :]).reshape(data.n, -1).astype(np.float64)
    if np.any(cells[member].sum(axis=0) == 0):
        return None, "a combination of outcome and category has nobody; merge categories"
    shares = [mean(column, weights, member) for column in cells.T]
    values = np.column_stack([share.row_values for share in shares])
    ways = [(share.value, _cell_share(column, member)) for share, column in zip(shares, cells.T, strict=True)]
    influence = influence_of(data, design, values, ways)
    covariance = influence.T @ influence
    table = np.array([share.value for share in shares]).reshape(first.shape[1], second.shape[1])
    found = rao_scott(table, covariance, n=int(member.sum()), df=df) if np.trace(covariance) > 0.0 else None
    # A design effect of less than this is what rounding leaves of none.
    if found is None or not found.mean_design_effect > 1e-12:
        return None, "what is tested does not vary between primary units, so there is no test"
    return found, ""


def _cell_share(column: FloatArray, member: BoolArray) -> AtWeights:
    def at(weights: FloatArray) -> float:
        return mean(column, weights, member).value

    return at

"""`ConditionalLogistic`: odds ratios from cases and controls that were matched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError, IdentificationError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.method import Check, Method
from gbveval.core.provenance import Provenance, options_of, versions
from gbveval.core.registry import register
from gbveval.core.term import Term
from gbveval.data._frame import Labels, as_names, plural
from gbveval.data.survey import Survey
from gbveval.factors._columns import Columns
from gbveval.factors._matched_sets import MatchedSets, informative_in
from gbveval.factors._rows import missing_answer_check, require_binary
from gbveval.factors._strength import with_e_values
from gbveval.factors.factor import Factor
from gbveval.numerics.conditional_logit import ConditionalFit

BoolArray = NDArray[np.bool_]


@register("conditional_logistic")
@dataclass(frozen=True, slots=True)
class ConditionalLogistic:
    """Odds ratios of a factor in a matched case-control study, compared within the matched sets.

    Parameters
    ----------
    factor : Factor or str
        The exposure; one model an exposure.
    matched_set : str
        Column that says which cases and controls belong together.
    adjust_for : sequence of str
        Confounders that were not matched on.
    outcome : str, optional
        Which of the survey's outcomes; needed when there are several.

    Notes
    -----
    **Estimates** the odds ratio of each category of the factor against its reference, given the set and the covariates,
    by exact conditional likelihood: any number of cases and controls in a set. A set whose members are all cases or all
    controls, or all alike, says nothing; the former are left out and counted. Coefficients of covariates are not shown.

    **Valid** when cases and controls were sampled within sets, whatever their shares. **Do not use** for a weighted or
    clustered sample; with covariates that are constant within sets (they drop out, and a check says so); or to read a
    ratio of risks off a common outcome.

    **E-values** take the root of the odds ratio, as for a common outcome; for a rare one they are larger:
    `e_value(..., measure="odds_ratio", outcome_is_rare=True)`.

    **Undefined** where the likelihood has no maximum (separation): rows are null with the reason.

    References
    ----------
    Breslow and Day (1980), Statistical Methods in Cancer Research 1. Gail, Lubin and Rubinstein (1981), Biometrika 68.

    Examples
    --------
    >>> frame = {"case": [1, 0, 1, 0, 1, 0] * 4, "exposed": list("ynynny") * 4, "pair": [i // 2 for i in range(24)]}
    >>> answer = ConditionalLogistic("exposed", "pair").estimate(Survey(frame, outcome="case"))
    >>> round(float(np.exp(answer[0].value)), 6)  # eight pairs against four
    2.0
    """

    name: ClassVar[str] = "conditional_logistic"

    factor: Factor | str
    matched_set: str
    adjust_for: Sequence[str] = ()
    outcome: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        factor = self.factor if isinstance(self.factor, Factor) else Factor(self.factor)
        object.__setattr__(self, "factor", factor)
        object.__setattr__(self, "adjust_for", tuple(dict.fromkeys(as_names(self.adjust_for, "adjust_for"))))
        if factor.column in (*self.adjust_for, self.matched_set) or self.matched_set in self.adjust_for:
            raise DesignError("Factor, matched set and the columns to adjust for are different columns.")

    def estimate(self, data: Survey, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return a row for each category of the factor but the reference.

        Parameters
        ----------
        data : Survey
            Cases (1) and controls (0), without weights, strata or primary units.
        rng : numpy.random.Generator, optional
            Ignored: nothing is random.

        Raises
        ------
        DataError
            If the outcome is not 0 or 1, or a column is absent.
        DesignError
            If the survey declares weights, strata or primary units.
        IdentificationError
            If no set is informative, or the factor does not vary within sets.
        """
        assert isinstance(self.factor, Factor)
        if data.weight is not None or data.stratum is not None or data.psu is not None:
            raise DesignError(
                "ConditionalLogistic compares within matched sets and takes no weights, strata or primary units. Make "
                "the Survey without them, or use RiskFactors."
            )
        position = self._position(data)
        require_binary(data, position, "ConditionalLogistic")
        columns = Columns(data)
        labels, matched = columns.labels(self.factor.column), data.labels(self.matched_set)
        reference = self._reference(labels)
        complete = columns.complete(self.adjust_for) & (labels.codes >= 0) & (matched.codes >= 0)
        used = complete & data.observed(position)
        y = data.outcomes[:, position]
        informative = informative_in(y, matched.codes, used)
        present = [code for code in range(labels.count) if (labels.codes[informative] == code).any()]
        if reference not in present or len(present) < 2:
            raise IdentificationError(
                f"Factor {self.factor.column!r} has fewer than two categories, or not its reference, in matched sets "
                f"with both cases and controls ({plural(int(np.unique(matched.codes[informative]).size), 'set')}). "
                "Leave it out."
            )
        codes = [code for code in range(labels.count) if code != reference]
        model = MatchedSets(columns, labels, matched, y, informative, [code for code in codes if code in present])
        found, dropped, reason = model.fit(tuple(self.adjust_for), self.factor.column)
        rows = [self._row(model, code, reference, found, reason, int(used.sum())) for code in codes]
        checks = self._checks(data, used, informative, matched, dropped)
        return with_e_values(self._assembled(data, model, rows, codes, found, checks))

    def _position(self, data: Survey) -> int:
        if self.outcome is None and len(data.outcome_names) > 1:
            raise DesignError(f"The survey has {len(data.outcome_names)} outcomes; name one in outcome.")
        wanted = data.outcome_names[0] if self.outcome is None else self.outcome
        if wanted not in data.outcome_names:
            raise DesignError(f"{wanted!r} is not an outcome of the survey: {', '.join(data.outcome_names)}.")
        clash = sorted({self.matched_set, *self.adjust_for} & set(data.outcome_names))
        if clash:
            raise DesignError(f"Column {clash[0]!r} is an outcome of the survey; give another.")
        return data.outcome_names.index(wanted)

    def _reference(self, labels: Labels) -> int:
        assert isinstance(self.factor, Factor)
        if self.factor.reference is None:
            return 0
        if self.factor.reference not in labels.levels:
            raise DesignError(
                f"Factor {self.factor.column!r} has no category {self.factor.reference!r}; give one of its."
            )
        return labels.levels.index(self.factor.reference)

    def _row(
        self, model: MatchedSets, code: int, reference: int, found: ConditionalFit | None, reason: str, n_used: int
    ) -> Term:
        assert isinstance(self.factor, Factor)
        labels = model.labels
        place = model.codes.index(code) if code in model.codes else None
        value = error = None
        why = reason or "nobody in a set with both cases and controls is in this category"
        if found is not None and place is not None:
            value, error, why = float(found.beta[place]), float(np.sqrt(found.covariance[place, place])), ""
        table = f"cases by {self.factor.column}, informative sets"
        return Term(
            term=f"{self.factor.column}: {labels.levels[code]} vs {labels.levels[reference]} (within matched sets)",
            estimand=Estimand("association", "odds_ratio", "sample", "conditional"),
            outcome=model.columns.survey.outcome_names[self._position(model.columns.survey)],
            value=value,
            std_error=error,
            n_units=int(model.informative.sum()),
            n_clusters=int(np.unique(model.matched.codes[model.informative]).size),
            support=tuple(model.cell(each, table) for each in (code, reference)),
            reason=why,
            extra=(
                ("factor", self.factor.column),
                ("reference", labels.levels[reference]),
                ("model", f"adjusted for {', '.join(('the matched set', *self.adjust_for))}"),
                ("missing_share", 1.0 - n_used / model.columns.survey.n),
            ),
        )

    def _checks(
        self, data: Survey, used: BoolArray, informative: BoolArray, matched: Labels, dropped: tuple[str, ...]
    ) -> list[Check]:
        assert isinstance(self.factor, Factor)
        checks = []
        aside = np.unique(matched.codes[used & ~informative]).size
        if aside:
            text = f"{plural(aside, 'matched set')} without both a case and a control say nothing and were left out."
            checks.append(Check("matched sets", "info", text))
        lost = data.n - int(used.sum())
        if lost:
            text = (
                f"{lost:,} of {plural(data.n, 'respondent')} lack the outcome, the factor, the matched set or a "
                "covariate; they were left out and not imputed."
            )
            checks.append(Check("complete", "warn" if lost > 0.05 * data.n else "info", text))
        if dropped:
            text = f"columns that do not vary within sets, or are collinear there, were dropped: {', '.join(dropped)}."
            checks.append(Check("rank", "warn", text))
        labels = data.labels(self.factor.column)
        checks += missing_answer_check(self.factor.column, int((labels.codes < 0).sum()), data.n)
        return checks

    def _assembled(
        self,
        data: Survey,
        model: MatchedSets,
        rows: list[Term],
        codes: list[int],
        found: ConditionalFit | None,
        checks: list[Check],
    ) -> Estimates:
        covariance = np.full((len(rows), len(rows)), np.nan)
        if found is not None:
            at = [i for i, code in enumerate(codes) if code in model.codes]
            k = len(model.codes)
            covariance[np.ix_(at, at)] = found.covariance[:k, :k]
        return Estimates(
            estimator=self.name,
            terms=tuple(rows),
            covariance=covariance,
            method=Method(
                sample=f"{int(model.informative.sum()):,} of {plural(data.n, 'respondent')}, in matched sets with both "
                "a case and a control",
                std_error="inverse of the observed information of the exact conditional likelihood",
                small_sample="none",
                reference="standard normal",
                inference_for="the population from which cases and controls of such sets come",
                assumptions=(
                    "these are associations: nothing here says that changing a factor would change the outcome",
                    "controls were sampled within sets without regard to the factor",
                    "odds ratios are the same in all sets",
                ),
                source="Breslow and Day 1980; Gail, Lubin and Rubinstein 1981",
            ),
            checks=tuple(checks),
            provenance=Provenance(data.digest, tuple(options_of(self).items()), None, versions()),
        )

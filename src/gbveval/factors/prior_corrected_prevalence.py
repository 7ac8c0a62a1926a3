"""`PriorCorrectedPrevalence`: prevalence behind reports, where sensitivity and specificity are believed, not known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError, IdentificationError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.method import Cell, Check, Method
from gbveval.core.posterior import DrawsPosterior
from gbveval.core.provenance import Provenance, derive_seed, options_of, versions
from gbveval.core.registry import register
from gbveval.core.term import Term
from gbveval.data._frame import plural
from gbveval.data.survey import Survey
from gbveval.factors._corrected import check_reference, domains_of
from gbveval.factors._domains import Group, groups, outcome_cell
from gbveval.factors._population import sample_words, tidy_by
from gbveval.factors._rows import (
    check_lonely,
    clusters_in,
    design_of,
    missing_answer_check,
    missing_outcome_check,
    require_binary,
    varies,
)
from gbveval.factors._variance import variance_of
from gbveval.numerics.misclassification import ShareDraws, draw_shares
from gbveval.numerics.priors import Beta
from gbveval.numerics.proportion_intervals import effective_size
from gbveval.numerics.survey import SampleDesign, mean

FloatArray = NDArray[np.float64]
# Prior draws for each posterior draw; weighted, they must be worth this many at least.
PER_DRAW = 25
FEWEST = 400.0
# More of the prior than this on rates at which answers say nothing is a prior that was not thought through.
MUCH_USELESS = 0.05


@register("prior_corrected_prevalence")
@dataclass(frozen=True, slots=True)
class PriorCorrectedPrevalence:
    """Posterior of prevalences, overall or by group, given priors of how truly the question is answered.

    Parameters
    ----------
    sensitivity : Beta or float
        Share of those with the outcome who report it, in all groups alike.
    specificity : Beta or float
        Share of those without who report none.
    by : str or sequence of str, optional
        A column whose categories are the groups; several are crossed. There is then no row for all.
    reference : str, optional
        A group: each other one gets a difference from it and a ratio to it.
    n_draws : int
        Draws of the posterior; with 4,000 the Monte Carlo error of a mean is a sixtieth of its sd.
    lonely_psu : str
        For strata with a single primary unit: "error", "adjust", "certainty" or "average", as in `Prevalence`.

    Notes
    -----
    **Estimates** prevalences inside 0 to 1, uniform beforehand and independent of each other. A group's answers count
    as a binomial sample of its effective size under the survey's design. Rows are on the log-odds scale (ratios: log),
    with credible intervals.

    **What the answers say of the rates** is little: a group in which nobody says yes rules out a low specificity, one
    in which everybody does a low sensitivity. The rest of the posterior of the rates is their prior. Show two priors.

    **Differential reporting**: groups that tell less need an analysis of their own each, with their own prior.

    **How**: the prior of the rates is drawn from, each draw weighted by the probability of the answers, for which there
    is a closed form; a check tells how many draws these weights are worth.

    **Do not use when** the rates were validated among those surveyed on enough people: `RoganGladen` needs no prior of
    the prevalence.

    References
    ----------
    Joseph, Gyorkos and Coupal (1995), American Journal of Epidemiology 141. Gelman and Carpenter (2020), Journal of the
    Royal Statistical Society C 69.

    Examples
    --------
    >>> import gbveval as gbv
    >>> from gbveval.datasets.pilot import PilotSurvey
    >>> survey = PilotSurvey().draw(np.random.default_rng(1))
    >>> answer = PriorCorrectedPrevalence(gbv.Beta(14, 7), gbv.Beta(95, 5), n_draws=1000).estimate(survey)
    >>> len(answer), answer.posterior is not None
    (1, True)
    """

    name: ClassVar[str] = "prior_corrected_prevalence"

    sensitivity: Beta | float
    specificity: Beta | float = 1.0
    by: str | Sequence[str] | None = None
    reference: str | None = None
    n_draws: int = 4000
    lonely_psu: str = "error"

    def __post_init__(self) -> None:
        check_lonely(self.lonely_psu)
        tidy_by(self)
        check_reference(self)
        if self.n_draws < 100:
            raise DesignError(f"n_draws is {self.n_draws}; at least 100 are needed, better 4,000.")
        for name in ("sensitivity", "specificity"):
            value = getattr(self, name)
            known = isinstance(value, (int, float)) and not isinstance(value, bool) and 0.0 < value <= 1.0
            if not (known or isinstance(value, Beta)):
                raise DesignError(f"{name} is a Beta prior, or a share above 0 and at most 1.")
        if _mean(self.sensitivity) + _mean(self.specificity) <= 1.0:
            raise DesignError(
                "Sensitivity and specificity add up to one or less on average; answers then say nothing of the outcome."
            )

    def estimate(self, data: Survey, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return the prevalence of all, or of each group and then differences and ratios.

        Parameters
        ----------
        data : Survey
            The checked survey, with one outcome of 0 and 1.
        rng : numpy.random.Generator, optional
            For the draws; by default seeded from data and options.

        Raises
        ------
        DataError
            If a column of `by` is absent, or the outcome is not 0 and 1.
        DesignError
            If the survey has several outcomes, or more than a twentieth of the prior has rates that add up to one or
            less.
        IdentificationError
            If the answers and the priors contradict each other, or a group has no answer.
        """
        if len(data.outcome_names) != 1:
            raise DesignError("PriorCorrectedPrevalence takes one outcome; make a Survey for each.")
        require_binary(data, 0, "PriorCorrectedPrevalence")
        design = design_of(data, self.lonely_psu)
        domains = domains_of(data, self.by, self.reference)
        shown = [
            group
            for group in groups(data, data.outcome_names[0], domains, outcome_cell(data, 0))
            if (group.level is None) == (domains is None)
        ]
        seed = derive_seed(data.digest, self.name, repr(options_of(self))) if rng is None else None
        rng = np.random.default_rng(seed) if rng is None else rng
        counts = np.array([_effective(data, design, group) for group in shown])
        drawn = self._draw(counts, rng)
        terms, columns = _rows(data, shown, counts, drawn, self.reference)
        joint = np.column_stack(columns)
        checks = [*missing_outcome_check(data, 0), *_weight_check(drawn)]
        if domains is not None:
            checks += missing_answer_check(domains.name, int((domains.codes < 0).sum()), data.n)
        return Estimates(
            estimator=self.name,
            terms=tuple(terms),
            covariance=np.atleast_2d(np.cov(joint, rowvar=False)),
            method=self._method(data),
            checks=tuple(checks),
            provenance=Provenance(
                data.digest, tuple(options_of(self).items()), seed, versions(), seed_derived=seed is not None
            ),
            posterior=DrawsPosterior(joint[None, :, :]),
        )

    def _draw(self, counts: FloatArray, rng: np.random.Generator) -> ShareDraws:
        """Return posterior draws, the prior cut to rates that add up to more than one."""
        size = PER_DRAW * self.n_draws
        rates = [
            value.quantile(rng.random(size)) if isinstance(value, Beta) else np.full(size, float(value))
            for value in (self.sensitivity, self.specificity)
        ]
        useful = rates[0] + rates[1] > 1.0
        if np.mean(~useful) > MUCH_USELESS:
            raise DesignError(
                f"{np.mean(~useful):.0%} of the prior has sensitivity + specificity of one or less, where answers say "
                "nothing of the outcome. Give priors that say more; a validation study would."
            )
        try:
            found = draw_shares(
                counts[:, 0], counts[:, 1], rates[0][useful], rates[1][useful], n_draws=self.n_draws, rng=rng
            )
        except ValueError as error:
            raise IdentificationError(f"{error} Doubt the priors, or the question.") from error
        if found.effective < FEWEST and isinstance(self.sensitivity, Beta) | isinstance(self.specificity, Beta):
            raise IdentificationError(
                f"The answers leave only {found.effective:,.0f} of {size:,} prior draws: they contradict the priors of "
                "sensitivity and specificity. Doubt the priors, or raise n_draws."
            )
        return found

    def _method(self, data: Survey) -> Method:
        weights = "unweighted" if data.weight is None else "weighted by the sampling weights"
        words = [f"{name} {_words(getattr(self, name))}" for name in ("sensitivity", "specificity")]
        return Method(
            sample=f"{sample_words(data, [0])}; {weights}",
            std_error="posterior standard deviation, of shares on the log-odds scale and of ratios on the log scale",
            small_sample="respondents are divided by the design effect of each group",
            reference=f"posterior; priors: {words[0]}, {words[1]}, each prevalence uniform on 0 to 1",
            inference_for="the population that the survey was drawn from",
            assumptions=(
                "the priors describe how truly those surveyed answer, in all groups alike",
                "respondents were drawn as the weights, strata and primary units say",
                "answers are missing for reasons unrelated to the outcome",
            ),
            source="Joseph, Gyorkos and Coupal 1995; Gelman and Carpenter 2020",
        )


def _mean(value: Beta | float) -> float:
    return value.a / (value.a + value.b) if isinstance(value, Beta) else float(value)


def _words(value: Beta | float) -> str:
    return value.describe() if isinstance(value, Beta) else f"{value:.4g} (known)"


def _effective(data: Survey, design: SampleDesign, group: Group) -> tuple[float, float]:
    """Return yes answers and respondents that a simple random sample would need to say as much."""
    member = group.member & data.observed(0)
    weights, y = data.weights(), data.outcomes[:, 0]
    counted = int((member & (weights > 0)).sum())
    if not counted:
        raise IdentificationError(f"The row {group.term!r} has no respondent with an answer. Merge the group.")
    found = mean(y, weights, member)
    size = float(counted)
    if 0.0 < found.value < 1.0:
        if design.df(member & (weights > 0)) < 1:
            raise IdentificationError(
                f"The row {group.term!r} is found in no more primary units than strata, so its variance is unknown. "
                "Merge the group with another."
            )
        variance = variance_of(data, design, found.row_values, found.value, lambda w: mean(y, w, member).value)
        if not varies(variance, found.row_values):
            raise IdentificationError(
                f"In the row {group.term!r} nothing varies between primary units, so it is unknown how much its "
                "answers say. Merge the group with another, or take respondents as the primary units and say so."
            )
        size = effective_size(found.value, variance, counted)
    return found.value * size, size


def _rows(
    data: Survey, shown: Sequence[Group], counts: FloatArray, drawn: ShareDraws, reference: str | None
) -> tuple[list[Term], list[FloatArray]]:
    """Return the rows with the draws of each."""
    terms, columns = [], []
    for g, group in enumerate(shown):
        # Draws of exactly 0 or 1 are rounding.
        share = np.clip(drawn.shares[:, g], 1e-12, 1.0 - 1e-12)
        columns.append(np.log(share) - np.log1p(-share))
        extra = (
            ("domain", group.domain),
            ("domain_level", group.level),
            ("reported_share", float(counts[g, 0] / counts[g, 1])),
            ("n_effective", float(counts[g, 1])),
        )
        terms.append(_term(data, group.term, "proportion", columns[-1], [group], extra))
    base = next((g for g, group in enumerate(shown) if reference is not None and group.level == reference), None)
    for g, group in enumerate(shown):
        if base is None or g == base:
            continue
        pair = np.clip(drawn.shares[:, [g, base]], 1e-12, 1.0)
        for word, values in (("difference", pair[:, 0] - pair[:, 1]), ("ratio", np.log(pair[:, 0] / pair[:, 1]))):
            name = f"{group.term} vs {reference} ({word})"
            terms.append(_term(data, name, f"prevalence_{word}", values, [group, shown[base]], ()))
            columns.append(values)
    return terms, columns


def _term(
    data: Survey,
    name: str,
    contrast: str,
    draws: FloatArray,
    behind: Sequence[Group],
    extra: tuple[tuple[str, float | str | None], ...],
) -> Term:
    member = np.any([group.member for group in behind], axis=0) & data.observed(0) & (data.weights() > 0)
    support: tuple[Cell, ...] = tuple(cell for group in behind for cell in group.support)
    effect = "prevalence" if contrast == "proportion" else "association"
    return Term(
        term=name,
        estimand=Estimand(effect, contrast, "survey_population"),
        outcome=data.outcome_names[0],
        value=float(draws.mean()),
        std_error=float(draws.std(ddof=1)),
        n_units=int(member.sum()),
        n_clusters=clusters_in(data, member),
        support=support,
        extra=extra,
    )


def _weight_check(drawn: ShareDraws) -> tuple[Check, ...]:
    """Return how many draws of the rates the posterior rests on."""
    text = f"draws of the rates, weighted by the answers, are worth {plural(int(drawn.effective), 'independent one')}."
    return (Check("weights of draws", "warn" if drawn.effective < 5.0 * FEWEST else "info", text),)

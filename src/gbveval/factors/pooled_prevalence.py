"""`PooledPrevalence`: prevalence in many small groups, drawn towards each other, and their poststratified average."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DataError, DesignError, IdentificationError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.method import Cell, Check, Method
from gbveval.core.posterior import DrawsPosterior
from gbveval.core.provenance import Provenance, derive_seed, options_of, versions
from gbveval.core.registry import register
from gbveval.core.term import Term
from gbveval.data._frame import as_names, plural
from gbveval.data.survey import Survey
from gbveval.factors._domains import Domains, Group, groups, outcome_cell, read_domains
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
from gbveval.numerics.priors import HalfNormal, Normal
from gbveval.numerics.small_areas import fit_small_areas
from gbveval.numerics.survey import SampleDesign, mean

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
MINIMUM_GROUPS = 3
# Shares of most groups between 5 and 95 %, and groups whose odds differ by a factor of two or so.
AVERAGE, BETWEEN = Normal(0.0, 1.5), HalfNormal(1.0)


@dataclass(frozen=True, eq=False, slots=True)
class _Direct:
    """What the sample says of each group alone, and of the design.

    Attributes
    ----------
    n, share : ndarray, shape (groups,)
        Respondents, and weighted share (zero without respondents).
    design_effect : float
        Common to all groups.
    """

    n: FloatArray
    share: FloatArray
    design_effect: float


@register("pooled_prevalence")
@dataclass(frozen=True, slots=True)
class PooledPrevalence:
    """Prevalence in each of several small groups, partially pooled, and over a population of known composition.

    Parameters
    ----------
    by : str or sequence of str
        A column whose categories are the groups; several are crossed ("woman, rural").
    population : mapping of str to float, optional
        Group to number of people. Gives a row of its own, the prevalence of that population; groups of it that nobody
        in the sample is in are predicted from the others.
    average : Normal
        Prior of the average log odds.
    between_sd : HalfNormal
        Prior of the sd of log odds between groups: how alike groups are before looking.
    n_draws : int
        Draws of the posterior; with 4,000 the Monte Carlo error of a mean is a sixtieth of its sd.
    lonely_psu : str
        For strata with a single primary unit: "error", "adjust", "certainty" or "average", as in `Prevalence`.

    Notes
    -----
    **Estimates** each group's prevalence from its own respondents and from the groups it resembles: the fewer it has,
    the more it is drawn to their average. A group in which nobody, or everybody, has the outcome gets a share inside 0
    to 1. Rows are on the log-odds scale, with posterior and credible intervals.

    **How**: a group's respondents count as many as their number over one design effect common to all groups (the sum of
    design-based variances over the sum of simple ones), and their weighted share as events among them. Log odds of
    groups are normal around their average. The posterior is summed over a grid, and drawn from.

    **Extra columns**: domain, domain_level, direct_share (the group's own), n_effective, and pooling_factor (0: the
    group's own share; 1: the average of the groups).

    **Do not use when** groups differ for known reasons that nothing in the model holds: their average then tells little
    of any of them. Or to show a group that is too small to be shown: `release` hides it all the same.

    References
    ----------
    Gelman and Little (1997), Survey Methodology 23. Chen, Wakefield and Lumley (2014), Spatial and Spatio-temporal
    Epidemiology 11.

    Examples
    --------
    >>> import numpy as np
    >>> from gbveval.datasets.pilot import PilotSurvey
    >>> survey = PilotSurvey().draw(np.random.default_rng(1))
    >>> answer = PooledPrevalence(by=["region", "gender"]).estimate(survey)
    >>> len(answer), answer[0].term
    (13, 'region and gender: east, man')
    """

    name: ClassVar[str] = "pooled_prevalence"

    by: str | Sequence[str]
    population: Mapping[str, float] | tuple[tuple[str, float], ...] | None = None
    average: Normal = AVERAGE
    between_sd: HalfNormal = BETWEEN
    n_draws: int = 4000
    lonely_psu: str = "error"

    def __post_init__(self) -> None:
        check_lonely(self.lonely_psu)
        tidy_by(self)
        if not as_names(self.by):
            raise DesignError("PooledPrevalence needs a column of groups.")
        if self.n_draws < 100:
            raise DesignError(f"n_draws is {self.n_draws}; at least 100 are needed, better 4,000.")
        if self.population is not None:
            given = self.population.items() if isinstance(self.population, Mapping) else self.population
            pairs = tuple(sorted((str(label), float(size)) for label, size in given))
            wrong = sum(not (np.isfinite(size) and size >= 0) for _, size in pairs)
            if wrong or not sum(size for _, size in pairs) > 0:
                raise DesignError("population holds numbers of people, zero or more and not all zero.")
            object.__setattr__(self, "population", pairs)

    def estimate(self, data: Survey, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return the prevalence of each group, the sd between groups, and that of the population if one is given.

        Parameters
        ----------
        data : Survey
            The checked survey, with one outcome of 0 and 1.
        rng : numpy.random.Generator, optional
            For the draws; by default seeded from data and options.

        Raises
        ------
        DataError
            If a column of `by` is absent, the outcome is not 0 and 1, or groups lack a population.
        DesignError
            If the survey has several outcomes, or a column of `by` is an outcome, an identifier or the primary unit.
        IdentificationError
            If there are fewer than three groups with respondents, or the outcome takes one value.
        """
        if len(data.outcome_names) != 1:
            raise DesignError("PooledPrevalence takes one outcome; make a Survey for each.")
        require_binary(data, 0, "PooledPrevalence")
        design = design_of(data, self.lonely_psu)
        domains = self._with_unseen(read_domains(data, as_names(self.by)))
        direct = _direct(data, design, domains)
        size = direct.n / direct.design_effect
        posterior = fit_small_areas(
            direct.share * size, size, centre=self.average.log_density, spread=self.between_sd.log_density
        )
        seed = derive_seed(data.digest, self.name, repr(options_of(self))) if rng is None else None
        draws, _, tau = posterior.draw(self.n_draws, np.random.default_rng(seed) if rng is None else rng)
        found = _Rows(data, domains, direct, size, draws, tau)
        terms, columns = self._terms(found)
        joint = np.column_stack(columns)
        return Estimates(
            estimator=self.name,
            terms=terms,
            covariance=np.cov(joint, rowvar=False),
            method=self._method(data),
            checks=(
                *missing_outcome_check(data, 0),
                *missing_answer_check(domains.name, int((domains.codes < 0).sum()), data.n),
                Check("design effect", "info", f"one for all groups: {direct.design_effect:.2f}."),
            ),
            provenance=Provenance(
                data.digest, tuple(options_of(self).items()), seed, versions(), seed_derived=rng is None
            ),
            posterior=DrawsPosterior(joint[None, :, :]),
        )

    def _with_unseen(self, domains: Domains | None) -> Domains:
        """Return the groups, those of the population that nobody is in after the others."""
        assert domains is not None
        if self.population is None:
            return domains
        named = list(dict(self.population))
        absent = sum(label not in named for label in domains.labels)
        if absent:
            raise DataError(
                f"population has no number for {absent:,} groups of {domains.name}; every group of the sample "
                "needs one. Labels of crossed columns are joined by a comma and a space, in the order of `by`."
            )
        unseen = tuple(label for label in named if label not in domains.labels)
        return Domains(domains.name, (*domains.labels, *unseen), domains.codes)

    def _terms(self, found: _Rows) -> tuple[tuple[Term, ...], list[FloatArray]]:
        """Return the rows with the draws of each."""
        terms, columns = [], []
        support = list(groups(found.data, found.data.outcome_names[0], found.domains, outcome_cell(found.data, 0)))
        for g, group in enumerate(support[1:]):
            terms.append(found.group_term(g, group))
            columns.append(found.draws[:, g])
        whole = support[0].support
        if self.population is not None:
            sizes = dict(self.population)
            weight = np.array([sizes[label] for label in found.domains.labels])
            share = (1.0 / (1.0 + np.exp(-found.draws))) @ (weight / weight.sum())
            columns.append(np.log(share) - np.log1p(-share))
            estimand = Estimand("prevalence", "proportion", "survey_population")
            terms.append(found.term("poststratified", estimand, columns[-1], whole))
        columns.append(found.tau)
        spread = Estimand("between_subgroup_sd", "standard_deviation", "survey_population")
        terms.append(found.term("sd between groups", spread, found.tau, whole))
        return tuple(terms), columns

    def _method(self, data: Survey) -> Method:
        weights = "unweighted" if data.weight is None else "weighted by the sampling weights"
        return Method(
            sample=f"{sample_words(data, [0])}; {weights}",
            std_error="posterior standard deviation on the log-odds scale",
            small_sample="respondents are divided by one design effect common to all groups",
            reference=f"posterior of a logit-normal hierarchy; priors: average {self.average.describe()}, between "
            f"groups {self.between_sd.describe()}",
            inference_for="the population that the survey was drawn from"
            + ("" if self.population is None else ", with the numbers of people given"),
            assumptions=(
                "log odds of groups vary normally around one average",
                "respondents of a group stand for it, as the weights say",
                "answers are missing for reasons unrelated to the outcome",
            ),
            source="Gelman and Little 1997; Chen, Wakefield and Lumley 2014",
        )


@dataclass(frozen=True, eq=False, slots=True)
class _Rows:
    """What rows are made of."""

    data: Survey
    domains: Domains
    direct: _Direct
    size: FloatArray
    draws: FloatArray
    tau: FloatArray

    def group_term(self, g: int, group: Group) -> Term:
        """Return the row of a group."""
        counted = group.member & self.data.observed(0) & (self.data.weights() > 0)
        share = 1.0 / (1.0 + np.exp(-self.draws[:, g]))
        # The share of information on the group that is its own, given the spread: tau^2 against 1 / (n p q).
        pooling = float(np.mean(1.0 / (1.0 + self.tau**2 * self.size[g] * share * (1.0 - share))))
        own = self.direct.n[g] > 0
        extra: tuple[tuple[str, float | str | None], ...] = (
            ("domain", group.domain),
            ("domain_level", group.level),
            ("direct_share", float(self.direct.share[g]) if own else None),
            ("n_effective", float(self.size[g])),
            ("pooling_factor", pooling),
        )
        estimand = Estimand("prevalence", "proportion", "survey_population")
        row = self.term(group.term, estimand, self.draws[:, g], group.support)
        return replace(row, n_units=int(counted.sum()), n_clusters=clusters_in(self.data, counted), extra=extra)

    def term(self, name: str, estimand: Estimand, draws: FloatArray, support: tuple[Cell, ...]) -> Term:
        """Return a row with the mean and sd of its draws."""
        counted = self.data.observed(0) & (self.data.weights() > 0)
        return Term(
            term=name,
            estimand=estimand,
            outcome=self.data.outcome_names[0],
            value=float(draws.mean()),
            std_error=float(draws.std(ddof=1)),
            n_units=int(counted.sum()),
            n_clusters=clusters_in(self.data, counted),
            support=support,
        )


def _direct(data: Survey, design: SampleDesign, domains: Domains) -> _Direct:
    """Return the groups' own shares, and the design effect that they have in common."""
    weights, y = data.weights(), data.outcomes[:, 0]
    usable = data.observed(0) & (weights > 0)
    count = len(domains.labels)
    n, share = np.zeros(count), np.zeros(count)
    actual, simple = 0.0, 0.0
    for g in range(count):
        member = usable & (domains.codes == g)
        n[g] = member.sum()
        if not n[g]:
            continue
        found = mean(y, weights, member)
        share[g] = found.value
        if n[g] > 1 and 0.0 < found.value < 1.0 and design.df(member) >= 1:
            variance = variance_of(data, design, found.row_values, found.value, _Share(y, member))
            actual += variance if varies(variance, found.row_values) else 0.0
            simple += found.value * (1.0 - found.value) / n[g]
    seen = int((n > 0).sum())
    if seen < MINIMUM_GROUPS:
        raise IdentificationError(
            f"{plural(seen, 'group')} of {domains.name} with respondents; at least {MINIMUM_GROUPS} are needed to "
            "learn how alike they are. Use Prevalence."
        )
    values = np.unique(y[usable & (domains.codes >= 0)])
    if values.size < 2:
        raise IdentificationError(
            f"Column {data.outcome_names[0]!r} (outcome) takes one value in every group, so nothing tells how alike "
            "they are. Use Prevalence with interval='korn_graubard'."
        )
    return _Direct(n, share, actual / simple if actual > 0 and simple > 0 else 1.0)


@dataclass(frozen=True, eq=False, slots=True)
class _Share:
    """A group's share under other weights."""

    y: FloatArray
    member: BoolArray

    def __call__(self, weights: FloatArray) -> float:
        return mean(self.y, weights, self.member).value

"""`Maihda`: how much of who is at risk lies between intersectional strata, and how much of that is additive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DataError, DesignError, IdentificationError
from gbveval.core.estimates import Estimates
from gbveval.core.method import Check, Method
from gbveval.core.provenance import Provenance, derive_seed, options_of, versions
from gbveval.core.registry import register
from gbveval.core.table import Table
from gbveval.data._frame import as_names, plural
from gbveval.data.survey import Survey
from gbveval.factors._maihda_rows import StrataAnswer, answer_rows, whole_support
from gbveval.factors._rows import category, is_binary, missing_answer_check, missing_outcome_check
from gbveval.factors._strata import (
    FEWEST,
    LEAST_TOLD,
    SPARSE,
    PeopleInStrata,
    check_quadrature,
    counts_check,
    overdispersed,
    people_in_strata,
)
from gbveval.numerics.mixed_linear import NoMaximumError
from gbveval.numerics.random_strata import FAMILIES, Strata, StrataFit, fit_strata
from gbveval.numerics.strata_inference import SpreadNodes, spread_nodes, stratum_levels, variance_draws

FloatArray = NDArray[np.float64]


@register("maihda")
@dataclass(frozen=True, slots=True)
class Maihda:
    """Multilevel analysis of individual heterogeneity and discriminatory accuracy (MAIHDA) over intersectional strata.

    People who share gender, class, migration, disability are a stratum. The null model asks how much strata differ; the
    additive one adds main effects of what defines them, and asks what is left: how far being both is more, or less,
    than the sum.

    Parameters
    ----------
    strata : sequence of str
        Columns whose observed combinations are the strata; two at least. Their main effects are in the additive model.
    family : str, optional
        "binomial" (logit), "poisson" (log) or "normal"; by default binomial for an outcome of 0 and 1.
    quadrature : int
        Points of adaptive Gauss-Hermite quadrature for each stratum; one is Laplace's approximation, which is what most
        software does and too small where strata are.
    site : str, optional
        Column of sites (countries, organisations) that the strata are crossed with. Levels and variances between strata
        are then of people of one site, and the sites' own share is a row.

    Notes
    -----
    **Rows**: the VPC before and after main effects (the share of the variance between people that lies between strata,
    on the scale of log odds for yes-or-no outcomes, of the outcome for counts and the normal); the PCV (the share of
    the variance between strata that main effects account for); the level of every stratum, drawn towards what its main
    effects foresee, the more so the fewer people it has; and every departure from the sum of main effects.

    **Sites** have fixed effects that sum to zero: levels of strata are in the middle of the sites, each counted once,
    and how much sites differ is told like main effects are. Departures of a stratum are taken to be the same in all
    sites.

    **What varies at random** are the departures. The strata are those of the design, each counted once, and what their
    main effects make of them is fixed: variances between strata are those of main effects over the strata plus that of
    the departures. An interval from the null model alone would treat main effects as drawn at random, and is too wide.

    **Intervals** are quantiles of a confidence distribution: Jeffreys' prior of the variance of departures, and the
    noncentral chi-square of main effects given it (Satterthwaite's where categories or sites are unequal).
    `maximum_likelihood` beside VPC and PCV is the usual estimate, of the two models apart (restricted for the normal
    family). No interval holds a variance of departures of zero, or a PCV of one: both are bounds, and where departures
    are really next to nothing the interval lies beside them. It says how large they may be, and is no test of whether
    there are any.

    **AUC** beside the VPCs: how well strata, or main effects alone, tell who has the outcome and who has not. A VPC of
    a few per cent goes with an AUC near a half: strata differ on average, and people within them differ far more.
    Strata are no property of persons, and a low AUC means that programmes for "people at risk" miss most of them.

    **Do not use when** weights matter (they are not used; a check says so), or strata are few: with less than a dozen
    the variance between them is hardly known; or family "poisson" when people's own rates vary (a check says so). A
    departure is an association, not an effect.

    References
    ----------
    Merlo (2018), Social Science and Medicine 203. Evans, Williams, Onnela and Subramanian (2018), Social Science and
    Medicine 203. Leckie, Browne, Goldstein, Merlo and Austin (2020), Multivariate Behavioral Research 55, for counts.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(1)
    >>> levels = {"g": "mwx", "class": "123", "born": "yn"}
    >>> frame = {name: rng.choice(list(each), 3000) for name, each in levels.items()}
    >>> eta = -1.0 + 0.8 * (frame["g"] == "w") + 0.4 * (frame["class"] == "3")
    >>> frame["harassed"] = (rng.random(3000) < 1 / (1 + np.exp(-eta))).astype(int)
    >>> answer = Maihda(["g", "class", "born"]).estimate(Survey(frame, outcome="harassed"))
    >>> [row.term for row in answer.terms[:4]]
    ['VPC', 'VPC after main effects', 'PCV', 'g and class and born: m, 1, n']
    >>> 0.8 < answer["PCV"].value < 1.0
    True
    """

    name: ClassVar[str] = "maihda"

    strata: Sequence[str]
    family: str | None = None
    quadrature: int = 15
    site: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "strata", as_names(self.strata, "strata"))
        if len(set(self.strata)) < 2 or len(set(self.strata)) != len(self.strata):
            raise DesignError("strata names two columns at least, each once: one property has no intersections.")
        if self.family is not None and self.family not in FAMILIES:
            raise DesignError(f"family is one of {', '.join(FAMILIES)}, not {self.family!r}.")
        if self.site is not None and self.site in self.strata:
            raise DesignError(f"Column {self.site!r} is a site and defines strata too; give it one place.")
        check_quadrature(self.quadrature)

    def estimate(self, data: Survey, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return VPC, PCV, the level of every stratum and its departure from the sum of main effects.

        Parameters
        ----------
        data : Survey
            The checked survey, with one outcome.
        rng : numpy.random.Generator, optional
            For draws of the variances; by default seeded from data and options.

        Raises
        ------
        DataError
            If the outcome does not fit the family, or a column is absent.
        DesignError
            If the survey has several outcomes, or the family is needed.
        IdentificationError
            If there are fewer than six strata, no fewer main effects than strata, or the outcome takes one value.
        """
        people = _checked(self, data)
        null, additive = _fitted(people.null, self.quadrature), _fitted(people.sums, self.quadrature)
        seed = derive_seed(data.digest, self.name, repr(options_of(self))) if rng is None else None
        nodes = _spread(people.sums, additive, self.quadrature)
        draws = variance_draws(people.sums, nodes, 4000, np.random.default_rng(seed) if rng is None else rng)
        answer = StrataAnswer(people, null, additive, nodes, draws, stratum_levels(people.sums, nodes))
        terms, covariance, posterior = answer_rows(answer).joined()
        return Estimates(
            estimator=self.name,
            terms=terms,
            covariance=covariance,
            method=_method(self, data, people),
            checks=_checks(self, answer),
            provenance=Provenance(
                data.digest, tuple(options_of(self).items()), seed, versions(), seed_derived=rng is None
            ),
            posterior=posterior,
        )

    def models(self, data: Survey) -> Table:
        """Return the two models as other software prints them: coefficients, variances, log likelihoods.

        Parameters
        ----------
        data : Survey
            As for `estimate`.

        Notes
        -----
        For comparison with other software. Coefficients of main effects are adjusted for each other, and each may be a
        consequence of another: read none of them as a risk factor's (the Table 2 fallacy); `RiskFactors` is for that.
        """
        people = _checked(self, data)
        rows: list[tuple[str, str, float, float | None]] = []
        for name, sums in (("null", people.null), ("main effects", people.sums)):
            fit = _fitted(sums, self.quadrature)
            errors = np.sqrt(np.diag(fit.covariance))
            # Sites have no row: their names stay where the data are.
            terms = ("intercept", *(people.names if name == "main effects" else ()))
            rows += [(name, term, float(b), float(e)) for term, b, e in zip(terms, fit.beta, errors, strict=False)]
            rows.append((name, "variance", fit.variance, None))
            if sums.family == "normal":
                rows.append((name, "residual variance", fit.residual, None))
            rows.append((name, "log likelihood", fit.log_likelihood, None))
        note = f"{len(people.domains.labels)} strata; log likelihoods without the constants of the data."
        support = (whole_support(people),) * len(rows)
        return Table("Models of strata", ("model", "term", "estimate", "std_error"), tuple(rows), (note,), support)


def _checked(model: Maihda, data: Survey) -> PeopleInStrata:
    if len(data.outcome_names) != 1:
        raise DesignError("Maihda takes one outcome; make a Survey for each.")
    family = model.family
    if family is None:
        if not is_binary(data, 0):
            raise DesignError("The outcome is not 0 and 1: say which family, 'poisson' for counts or 'normal'.")
        family = "binomial"
    _check_outcome(data, family)
    people = people_in_strata(
        data,
        [category(data, column) for column in model.strata],
        tuple(model.strata),
        family,
        None if model.site is None else data.labels(model.site),
    )
    count, effects = len(people.domains.labels), len(people.names) + 1
    if count < FEWEST:
        raise IdentificationError(
            f"{plural(count, 'stratum')} of {people.domains.name} hold respondents; at least {FEWEST} are needed to "
            "learn how much strata differ. Use Prevalence by group."
        )
    if effects >= count:
        raise IdentificationError(
            f"{count} strata and {effects} coefficients of main effects: nothing is left to depart from them. Merge "
            "categories."
        )
    _check_told_apart(model, people)
    if np.ptp(data.outcomes[people.used, 0]) == 0.0:
        raise IdentificationError(
            f"Column {data.outcome_names[0]!r} (outcome) takes one value, so nothing tells strata apart."
        )
    if family == "normal":
        _check_varies_within(model, people)
    return people


def _check_varies_within(model: Maihda, people: PeopleInStrata) -> None:
    """Refuse outcomes of which strata are all there is: their share would be one by construction."""
    sums, y = people.sums, people.data.outcomes[people.used, 0]
    if sums.within_df < 1.0 or sums.within <= 1e-20 * float(y @ y):
        where = "strata" if model.site is None else "strata of a site"
        raise IdentificationError(
            f"Column {people.data.outcome_names[0]!r} (outcome) does not vary between people within {where}, so there "
            "is nothing to compare the variance between strata with. Use fewer columns, or merge categories."
        )


def _check_told_apart(model: Maihda, people: PeopleInStrata) -> None:
    """Refuse main effects and sites of which one is a combination of others."""
    sums = people.sums
    main = sums.levels[:, : len(people.names) + 1]
    if np.linalg.matrix_rank(main) < main.shape[1]:
        raise IdentificationError(
            f"Some category of {people.domains.name} occurs only together with one of another column, so that their "
            "main effects cannot be told apart. Merge categories, or leave a column out."
        )
    if model.site is None:
        return
    if sums.sites < 2:
        raise IdentificationError(f"Column {model.site!r} (site) has one site with respondents; leave `site` out.")
    if np.linalg.matrix_rank(sums.X) < sums.X.shape[1]:
        raise IdentificationError(
            f"Column {model.site!r} (site) cannot be told from what defines the strata: a category lives in some sites "
            "only, and nobody else does. Leave those sites out, or merge categories."
        )


def _fitted(sums: Strata, points: int) -> StrataFit:
    try:
        return fit_strata(sums, points)
    except NoMaximumError as error:
        raise _no_estimate(error) from error


def _spread(sums: Strata, fit: StrataFit, points: int) -> SpreadNodes:
    try:
        return spread_nodes(sums, fit, points)
    except NoMaximumError as error:
        raise _no_estimate(error) from error


def _no_estimate(error: NoMaximumError) -> IdentificationError:
    return IdentificationError(
        f"The model of strata has no estimate: {error}. Some main effect or site has all of the events or none; merge "
        "categories, or leave that site out."
    )


def _check_outcome(data: Survey, family: str) -> None:
    y = data.outcomes[data.observed(0), 0]
    if family == "binomial":
        wrong, wanted = int(((y != 0) & (y != 1)).sum()), "0 or 1"
    elif family == "poisson":
        wrong, wanted = int(((y < 0) | (y != np.floor(y))).sum()), "a count"
    else:
        return
    if wrong:
        raise DataError(
            f"Column {data.outcome_names[0]!r} (outcome) is not {wanted} in {plural(wrong, 'row')}; the family is "
            f"{family!r}."
        )


def _checks(model: Maihda, answer: StrataAnswer) -> tuple[Check, ...]:
    people, data = answer.people, answer.people.data
    found = [
        *missing_outcome_check(data, 0),
        *missing_answer_check(people.domains.name, int((people.domains.codes < 0).sum()), data.n),
    ]
    if model.site is not None:
        found += missing_answer_check(model.site, int((data.labels(model.site).codes < 0).sum()), data.n)
    if data.weight is not None:
        text = "sampling weights are declared and not used: VPC and PCV are of the respondents' strata."
        found.append(Check("weights", "warn", text))
    if data.psu is not None:
        text = (
            "respondents of a primary unit are treated as independent; levels of strata are surer than they should be."
        )
        found.append(Check("clusters", "warn", text))
    count = len(people.domains.labels)
    if count < 20:
        found.append(Check("few strata", "warn", f"with {count} strata the variance between them is hardly known."))
    if people.sums.family != "normal" and answer.nodes.told < LEAST_TOLD:
        found.append(Check("sparse strata", "warn", SPARSE))
    if people.sums.family == "poisson" and _overdispersed(model, people):
        found.append(counts_check("overdispersion"))
    small = int((people.n < 10).sum())
    if small:
        says = "strata have fewer than ten respondents; their levels are mostly what others say."
        found.append(Check("small strata", "info", f"{small} of {count} {says}", f"some {says}"))
    if answer.additive.variance <= 1e-6 * answer.null.variance:
        text = (
            "the likelihood is greatest without any departure from main effects; the intervals say how large it may be."
        )
        found.append(Check("no departure", "info", text))
    return tuple(found)


def _overdispersed(model: Maihda, people: PeopleInStrata) -> bool:
    data, used, code = people.data, people.used, people.domains.codes
    if model.site is not None:
        sites = data.labels(model.site)
        code = code * sites.count + sites.codes
    return overdispersed(data.outcomes[used, 0], np.unique(code[used], return_inverse=True)[1])


def _method(model: Maihda, data: Survey, people: PeopleInStrata) -> Method:
    strata = len(people.domains.labels)
    # How many lack a variable of the strata would fill a gap in the table of strata.
    used = f"{int(people.n.sum()):,} of" if people.used.sum() == data.observed(0).sum() else "those in a stratum, of"
    crossed = "" if model.site is None else f", crossed with {people.sums.sites} sites"
    how = "restricted likelihood" if people.sums.family == "normal" else f"{model.quadrature}-point adaptive quadrature"
    return Method(
        sample=f"{used} {plural(data.n, 'respondent')} in {strata} strata{crossed}, unweighted",
        std_error=f"standard deviation of a confidence distribution, {how}",
        small_sample="coefficients integrated out; Jeffreys' prior of the variance between strata",
        reference="quantiles of that distribution",
        inference_for="strata of this design: main effects fixed, departures from them random",
        assumptions=(
            "departures of strata from the sum of main effects are normal and independent",
            "respondents of a stratum are independent"
            + (", and their counts Poisson with one rate" if people.sums.family == "poisson" else ""),
            "answers are missing for reasons unrelated to the outcome",
        ),
        source="Merlo 2018; Evans and others 2018",
    )

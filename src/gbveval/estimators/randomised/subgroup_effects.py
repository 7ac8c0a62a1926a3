"""`SubgroupEffects`: for whom it works, as one joint model with shrunken effects beside the plain ones."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.grid_posterior import DENSITY, GridPosterior
from gbveval.core.method import Check, Method
from gbveval.core.posterior import PartialPosterior
from gbveval.core.registry import register
from gbveval.core.term import SHRUNKEN, Term
from gbveval.data.trial import Trial
from gbveval.estimators._assemble import Row, all_samples, assemble, mean_contrast, require_parallel
from gbveval.estimators.randomised._subgroups import (
    Cells,
    JointModel,
    cell_support,
    fit_joint_model,
    groups_of,
    make_cells,
)
from gbveval.numerics.correlated_hierarchy import CorrelatedHierarchyFit, correlated_hierarchy
from gbveval.numerics.joint_contrasts import enlarged
from gbveval.numerics.priors import Flat, HalfNormal, Normal

FloatArray = NDArray[np.float64]
SLOPES = ("common", "by_arm")
# The default prior's median is a sixth of the outcome's standard deviation.
DEFAULT_SHARE = 0.25
SAME, SPREAD = "the effect is the same in every subgroup", "between-subgroup sd"
_TOO_FEW = (
    "too few units or clusters for this many subgroups: their joint covariance is not known well enough to weigh the "
    "effects against each other; merge categories"
)
_UNTESTED = "the covariance of the differences is not of full rank, or too few degrees of freedom are left for the test"


@register("subgroup_effects")
@dataclass(frozen=True, slots=True)
class SubgroupEffects:
    """Effects in subgroups from one joint model: plain and shrunken, with one test that they are the same.

    One regression on every product of arm and subgroup gives the average effect, the effect in each subgroup and their
    joint covariance; one test asks whether the effect is the same in all subgroups; a normal hierarchy over the
    subgroups' effects, with that covariance, draws them towards their mean as far as the data say they are alike.

    Parameters
    ----------
    by : tuple of str
        Columns among the trial's role `subgroup`; several are crossed. Empty: all of them.
    slopes : str
        How covariates, the baseline outcome and strata enter, where the trial has them. "common": one slope for all
        arms, as in `Ancova`. "by_arm": a slope for each arm, centred within each subgroup, in the manner of
        `LinAdjusted`.
    average_effect : Normal or Flat
        Prior of the mean of the subgroups' effects, for the shrunken rows.
    between_subgroup_sd : HalfNormal, HalfCauchy, HalfStudentT, Uniform, Exponential, LogNormal or None
        Prior of the standard deviation of effects between subgroups, on the scale of the outcome. None: half-normal
        with a quarter of the outcome's standard deviation within arms. It is printed with the answer.

    Notes
    -----
    **Identifies** the intention-to-treat effect among the people of each subgroup, and their average with the sample's
    shares, when subgroups were known before assignment. The plain and the shrunken row of a subgroup estimate the same
    quantity. The plain one is unbiased and wide; the shrunken one is biased towards the mean and closer to the truth on
    average over subgroups, and the largest of them is no longer large because it was the luckiest.

    **Variance**: CR2 by cluster (or pair), HC2 for single units, both with Satterthwaite degrees of freedom for every
    row, so that a small subgroup has few even in a large trial. Clusters with members of several subgroups make these
    covary. The test is the approximate Hotelling test. Shrunken rows are an exact posterior by quadrature, read by
    `Estimates.probability`. It takes the joint covariance as known; since the inverse of an estimated covariance is too
    large on average, the covariance is first enlarged by what its degrees of freedom ask (a Wishart matrix's factor; a
    check says how much).

    **Reading.** That one subgroup's interval excludes zero and another's does not is no difference between them. The
    test and the row `between-subgroup sd` speak of differences; `Estimates.contrast` gives any of them. Plain intervals
    hold one at a time: `adjust_for_multiplicity(answer, terms=[...])` adjusts their p-values for their number.

    **Valid when** each subgroup has at least about ten units, or five clusters, in each arm; the test and the plain
    rows hold their level with fewer (docs: measured sizes), and say little. With fewer than five
    subgroups the prior of their standard deviation decides much of the shrinkage: show another beside it. Strata need
    one probability of assignment with `slopes="common"`.

    **Do not use when** subgroups were chosen after seeing outcomes, or could have been changed by the intervention (who
    took it up, who answered). Nor for ratios: effects may be alike as ratios and differ as differences.

    References
    ----------
    Wang, Lagakos, Ware, Hunter and Drazen (2007), New England Journal of Medicine 357. Dixon and Simon (1991),
    Biometrics 47. Jones, Ohlssen, Neuenschwander, Racine and Branson (2011), Clinical Trials 8. Bell and McCaffrey
    (2002), Survey Methodology 28. Pustejovsky and Tipton (2018), Journal of Business and Economic Statistics 36.

    Examples
    --------
    >>> frame = {
    ...     "y": [1.0, 2.0, 3.0, 4.0, 1.0, 3.0, 2.0, 2.0],
    ...     "arm": ["usual", "usual", "new", "new"] * 2,
    ...     "gender": ["woman"] * 4 + ["man"] * 4,
    ... }
    >>> trial = Trial(frame, outcome="y", arm="arm", control="usual", subgroup="gender")
    >>> answer = SubgroupEffects().estimate(trial)
    >>> [round(answer[f"new vs usual, {whom}"].value, 2) for whom in ("average over subgroups", "man", "woman")]
    [1.0, 0.0, 2.0]
    """

    by: tuple[str, ...] = ()
    slopes: str = "common"
    average_effect: Any = Flat()  # noqa: RUF009  (a frozen value)
    between_subgroup_sd: Any = None
    name: ClassVar[str] = "subgroup_effects"

    def __post_init__(self) -> None:
        if isinstance(self.by, str) or not all(isinstance(column, str) for column in self.by):
            raise DesignError("by must be a tuple of names of columns, such as ('gender',).")
        object.__setattr__(self, "by", tuple(dict.fromkeys(self.by)))
        if self.slopes not in SLOPES:
            raise DesignError(f"slopes must be one of {', '.join(SLOPES)}, not {self.slopes!r}.")
        if not isinstance(self.average_effect, (Normal, Flat)):
            raise DesignError("average_effect must be a Normal or a Flat prior.")
        prior = self.between_subgroup_sd
        if prior is not None and (not getattr(prior, "is_proper", False) or isinstance(prior, Normal)):
            raise DesignError("between_subgroup_sd needs a proper prior on zero and above, such as HalfNormal(0.1).")

    def estimate(self, data: Trial, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return for each outcome the average effect, one test, and each subgroup's effect, plain and shrunken.

        Parameters
        ----------
        data : Trial
            A trial with the role `subgroup`.
        rng : numpy.random.Generator, optional
            Ignored: nothing is random.

        Raises
        ------
        DesignError
            If the trial declares no subgroup, clusters change arm over time, or pairs meet `slopes="by_arm"`.
        IdentificationError
            If a subgroup has fewer than two units (clusters) in an arm, or an arm is collinear with covariates.
        """
        require_parallel("SubgroupEffects", data)
        if data.pair is not None and self.slopes == "by_arm":
            raise DesignError(
                "A pair has one unit in each arm and no slope of its own: use slopes='common' with pairs."
            )
        cells = make_cells(data, self.by)
        plain, notes, models = self._plain(data, cells)
        parts: list[_Outcome] = []
        for outcome, model in enumerate(models):
            positions = np.arange(outcome * model.found.value.size, (outcome + 1) * model.found.value.size)
            parts.append(_outcome(self, data, cells, (outcome, model), plain.with_terms(list(positions))))
        notes += [note for part in parts for note in part.checks]
        blocks = _blocks(data, cells, models)
        return _put_together(plain, parts, (*_reading(cells), *notes), blocks)

    def _plain(self, data: Trial, cells: Cells) -> tuple[Estimates, list[Check], list[JointModel]]:
        """Return the plain effects of all outcomes with their joint covariance."""
        rows: list[Row] = []
        notes: list[Check] = []
        models = []
        for outcome in range(len(data.outcome_names)):
            model, found = fit_joint_model(data, cells, outcome, self.slopes)
            notes += found
            models.append(model)
            rows += _plain_rows(data, cells, outcome, model)
        adjusted = any(model.adjusted for model in models)
        method = _method(self, data, cells, adjusted=adjusted)
        return assemble(self, data, rows, method=method), notes, models


def _plain_rows(data: Trial, cells: Cells, outcome: int, model: JointModel) -> list[Row]:
    """Return the rows in the order of the fit: each arm's subgroups, then each arm's average."""
    size, arms = len(cells.labels), len(data.arms) - 1
    # All rows rest on all counts: a small subgroup follows from the average and the others, or from the shrunken rows,
    # and what is left when those are hidden is the list of separate results that this is not.
    support = tuple(cell_support(data, cells, outcome, model.used))
    contrast = mean_contrast(data, outcome)
    rows = []
    for i, (arm, cell) in enumerate(_order(arms, size)):
        chosen = range(size) if cell is None else (cell,)
        member = model.used & np.isin(data.arm, (0, arm)) & np.isin(cells.codes, list(chosen))
        own = () if cell is None else (("subgroup", cells.labels[cell]), ("share", float(model.shares[cell])))
        rows.append(
            Row(
                term=_term(data, cells, arm, cell),
                outcome=data.outcome_names[outcome],
                value=float(model.found.value[i]),
                influence=_spread(model.found.influence[:, i], data, model),
                df=float(model.found.df[i]),
                estimand=Estimand("ITT", contrast, "participant_average" if cell is None else "subgroup"),
                n_units=int(member.sum()),
                n_clusters=None if data.cluster is None else int(np.unique(data.cluster.codes[member]).size),
                support=support,
                extra=own,
            )
        )
    return rows


def _order(arms: int, size: int) -> list[tuple[int, int | None]]:
    effects: list[tuple[int, int | None]] = [(arm, cell) for arm in range(1, arms + 1) for cell in range(size)]
    return [*effects, *((arm, None) for arm in range(1, arms + 1))]


def _term(data: Trial, cells: Cells, arm: int, cell: int | None) -> str:
    whom = "average over subgroups" if cell is None else cells.labels[cell]
    return f"{data.arms[arm]} vs {data.arms[0]}, {whom}"


def _spread(influence: FloatArray, data: Trial, model: JointModel) -> FloatArray:
    """Return influence by all units of the trial; that of clusters is complete already."""
    if groups_of(data)[0] is not None:
        return influence
    whole = np.zeros(data.n)
    whole[model.used] = influence
    return whole


@dataclass(frozen=True, eq=False, slots=True)
class _Outcome:
    """The rows of one outcome in the order shown, each a plain row's position, or a term with its part and place."""

    rows: list[tuple[Term, int | None, tuple[int, int] | None]]
    posteriors: list[GridPosterior]
    checks: list[Check]


def _outcome(
    model: SubgroupEffects, data: Trial, cells: Cells, fitted: tuple[int, JointModel], plain: Estimates
) -> _Outcome:
    outcome, joint = fitted
    size, arms = len(cells.labels), len(data.arms) - 1
    prior, checks = _prior(model, data, outcome, joint)
    start = outcome * len(plain)
    rows: list[tuple[Term, int | None, tuple[int, int] | None]] = [
        (plain.terms[arms * size + a], start + arms * size + a, None) for a in range(arms)
    ]
    rows.append((_test(data, joint, plain), None, None))
    posteriors: list[GridPosterior] = []
    for a in range(arms):
        own = slice(a * size, (a + 1) * size)
        fit, reason, known = _shrink(model, prior, plain.with_terms(list(range(*own.indices(arms * size)))), joint, a)
        checks += known
        if fit is not None:
            columns = (*range(1, size + 1), DENSITY)
            posteriors.append(GridPosterior(fit.effects, fit.tau_nodes[:, None], (fit.tau,), columns))
        for s in range(size):
            at = a * size + s
            place = None if fit is None else (len(posteriors) - 1, s)
            rows.append((plain.terms[at], start + at, None))
            rows.append((_shrunken(plain.terms[at], fit, s, reason), None, place))
        place = None if fit is None else (len(posteriors) - 1, size)
        rows.append((_between(data, a + 1, plain.terms[a * size], fit, reason), None, place))
    return _Outcome(rows, posteriors, checks)


def _prior(model: SubgroupEffects, data: Trial, outcome: int, joint: JointModel) -> tuple[Any, list[Check]]:
    """Return the prior of the between-subgroup sd, None where the outcome has no scale to tie it to; and say it."""
    prior = model.between_subgroup_sd
    if prior is None:
        y, arm = data.outcomes[joint.used, outcome], data.arm[joint.used]
        means = np.bincount(arm, weights=y) / np.bincount(arm)
        sd = float(np.sqrt(np.sum((y - means[arm]) ** 2) / (y.size - len(data.arms))))
        prior = HalfNormal(DEFAULT_SHARE * sd) if sd > 1e-13 * float(np.sqrt(np.mean(y**2))) else None
    name = data.outcome_names[outcome]
    if prior is None:
        return None, []
    head, tail = f"shrunken rows of {name}: between-subgroup sd", f"average effect {model.average_effect.describe()}."
    if model.between_subgroup_sd is not None:
        return prior, [Check(f"prior {name}", "info", f"{head} {prior.describe()}, as given; {tail}")]
    why = "by default a quarter of the outcome's sd within arms"
    # All digits of the sd of a yes-or-no outcome would tell how many had it.
    rough = f"{head} half-normal(sd about {prior.sd:.1g}), {why}; {tail}"
    return prior, [Check(f"prior {name}", "info", f"{head} {prior.describe()}, {why}; {tail}", rough)]


def _shrink(
    model: SubgroupEffects, prior: Any, plain: Estimates, joint: JointModel, arm: int
) -> tuple[CorrelatedHierarchyFit | None, str, list[Check]]:
    """Return the hierarchy over one arm's effects, or the reason why there is none, and what was done before."""
    if prior is None or not np.isfinite(plain.covariance).all():
        reason = "a subgroup's effect has no standard error, so the effects cannot be weighed against each other"
        return None, reason, []
    dfs = np.array([row.df for row in plain.terms])
    covariance = enlarged(plain.covariance, dfs, joint.found.family_df[arm])
    if covariance is None:
        return None, _TOO_FEW, []
    try:
        fit = correlated_hierarchy(plain.values, covariance, mu_prior=model.average_effect, tau_prior=prior)
    except ValueError as error:
        return None, f"the hierarchy has no answer: {str(error)[0].lower()}{str(error)[1:].rstrip('.')}", []
    most = float(np.max(np.diag(covariance) / np.diag(plain.covariance)))
    if most < 1.05:
        return fit, "", []
    text = (
        f"before shrinking, variances of plain effects are multiplied by up to {most:.2f}, for having been estimated "
        "from few units or clusters."
    )
    public = "before shrinking, variances of plain effects are enlarged, for having been estimated from few units or "
    name, status = f"estimated variances {plain.terms[0].outcome}", "warn" if most > 2.0 else "info"
    return fit, "", [Check(name, status, text, f"{public}clusters.")]


def _shrunken(plain: Term, fit: CorrelatedHierarchyFit | None, cell: int, reason: str) -> Term:
    """Return a subgroup's shrunken row: posterior mean and sd."""
    theta = None if fit is None else fit.theta
    return replace(
        plain,
        term=f"{plain.term}{SHRUNKEN}",
        value=None if theta is None else float(theta.mean[cell]),
        std_error=None if theta is None else float(theta.sd[cell]),
        df=float("inf"),
        reason=reason,
        extra=(*plain.extra, ("pooling_factor", None if fit is None else float(fit.pooling_mean[cell]))),
    )


def _between(
    data: Trial,
    arm: int,
    plain: Term,
    fit: CorrelatedHierarchyFit | None,
    reason: str,
) -> Term:
    finite = fit is not None and np.isfinite(fit.tau.sd)
    return replace(
        plain,
        term=f"{data.arms[arm]} vs {data.arms[0]}, {SPREAD}",
        estimand=Estimand("between_subgroup_sd", "standard_deviation", "subgroup"),
        value=float(fit.tau.mean) if fit is not None and np.isfinite(fit.tau.mean) else None,
        std_error=float(fit.tau.sd) if fit is not None and finite else None,
        df=float("inf"),
        n_units=None,
        n_clusters=None,
        reason="" if finite else reason or "this posterior has no finite variance; read its quantiles",
        extra=(),
    )


def _test(data: Trial, joint: JointModel, plain: Estimates) -> Term:
    """Return the test that the effect is the same in every subgroup, of all arms together."""
    found = joint.found.test
    # An effect that seems to be known exactly, as where nobody of a subgroup has the outcome, would decide the test.
    vary = all(row.std_error is not None for row in plain.terms)
    possible = bool(np.isfinite(found.p_value)) and vary
    clusters = None if data.cluster is None else int(np.unique(data.cluster.codes[joint.used]).size)
    return Term(
        term=SAME,
        estimand=Estimand("ITT", plain.terms[0].estimand.contrast, "subgroup"),
        outcome=plain.terms[0].outcome,
        value=None,
        std_error=None,
        df=float(found.df),
        kind="test",
        statistic=found.statistic if possible else None,
        df2=found.df2 if possible else None,
        p_value=found.p_value if possible else None,
        n_units=int(joint.used.sum()),
        n_clusters=clusters,
        support=plain.terms[0].support,
        reason="" if possible else _UNTESTED if vary else "a subgroup's effect has no standard error",
    )


def _blocks(data: Trial, cells: Cells, models: list[JointModel]) -> NDArray[np.intp] | None:
    """Return which variance each unit belongs to, where means of cells are all there is; else None."""
    if groups_of(data)[0] is not None or data.weight is not None or any(model.adjusted for model in models):
        return None
    result: NDArray[np.intp] = cells.codes * len(data.arms) + data.arm
    return result


def _put_together(
    plain: Estimates, parts: list[_Outcome], checks: tuple[Check, ...], blocks: NDArray[np.intp] | None
) -> Estimates:
    """Return all rows in the order shown, plain ones with their influence, shrunken ones with their posterior."""
    assert plain.influence is not None
    offsets = np.cumsum([0, *(len(part.posteriors) for part in parts)])
    posteriors = [posterior for part in parts for posterior in part.posteriors]
    rows = [
        (term, at, None if place is None else (place[0] + int(offsets[number]), place[1]))
        for number, part in enumerate(parts)
        for term, at, place in part.rows
    ]
    size = len(rows)
    covariance = np.full((size, size), np.nan)
    influence = np.full((plain.influence.shape[0], size), np.nan)
    here = [i for i, (_, at, _) in enumerate(rows) if at is not None]
    there = [at for _, at, _ in rows if at is not None]
    covariance[np.ix_(here, here)] = plain.covariance[np.ix_(there, there)]
    influence[:, here] = plain.influence[:, there]
    for number, posterior in enumerate(posteriors):
        own = [(i, place[1]) for i, (_, _, place) in enumerate(rows) if place is not None and place[0] == number]
        mine, theirs = [i for i, _ in own], [j for _, j in own]
        covariance[np.ix_(mine, mine)] = posterior.covariance()[np.ix_(theirs, theirs)]
    covariance[~np.isfinite(covariance)] = np.nan
    places = tuple(place for _, _, place in rows)
    return replace(
        plain,
        terms=tuple(term for term, _, _ in rows),
        covariance=covariance,
        checks=(*checks, *plain.checks),
        posterior=PartialPosterior(tuple(posteriors), places) if posteriors else None,
        influence=influence,
        blocks=blocks,
    )


def _reading(cells: Cells) -> tuple[Check, ...]:
    """Return what a reader of effects by subgroup must know."""
    size = len(cells.labels)
    found = [
        Check(
            "one model",
            "info",
            f"all rows come from one regression with every product of arm and subgroup; whether the {size} subgroups "
            f"differ is asked once, by the row '{SAME}'. That one interval excludes zero and another does not is no "
            "difference between the two; `contrast` gives any difference.",
        ),
        Check(
            "multiplicity",
            "info",
            f"plain intervals of {size} subgroups hold one at a time and are not adjusted for their number; "
            "adjust_for_multiplicity adjusts their p-values. Shrunken rows need no such adjustment, and rest on their "
            "prior instead.",
        ),
    ]
    if size < 5:
        text = (
            f"with {size} subgroups the prior of the between-subgroup sd decides much of the shrinkage; show another "
            "beside it."
        )
        found.append(Check("few subgroups", "warn", text))
    return tuple(found)


def _method(model: SubgroupEffects, data: Trial, cells: Cells, *, adjusted: bool) -> Method:
    group, _, word = groups_of(data)
    unit = "the unit of assignment" if word == "cluster" else word
    error = "HC2, robust to heteroskedasticity" if group is None else f"CR2, clustered by {unit}"
    how = {"common": "one slope for all arms", "by_arm": "a slope for each arm, centred within subgroups"}[model.slopes]
    sample = f"{all_samples(data)}; {len(cells.labels)} subgroups of {' and '.join(cells.columns)} in one joint model"
    between = model.between_subgroup_sd
    prior = "half-normal, a quarter of the outcome's sd within arms" if between is None else between.describe()
    return Method(
        sample=sample + (f", adjusted with {how}" if adjusted else ""),
        std_error=f"{error}; shrunken rows: posterior standard deviation",
        small_sample="HC2 with each row's own degrees of freedom"
        if group is None
        else "CR2 (bias-reduced linearisation, identity working model)",
        reference="t with Satterthwaite's degrees of freedom; the test of a same effect: approximate Hotelling T "
        "squared; shrunken rows: exact posterior by quadrature, equal-tailed intervals, priors: average effect "
        f"{model.average_effect.describe()}, between-subgroup sd {prior}",
        inference_for="the participants of each subgroup (conservative) or a superpopulation",
        assumptions=(
            "arms were assigned at random as declared, with one probability"
            + (" in each stratum" if model.slopes == "by_arm" else ""),
            "subgroups and covariates were known before assignment, and chosen before outcomes were seen",
            "one unit's assignment does not change another's outcome",
            "outcomes are missing for reasons unrelated to the outcome",
            "shrunken rows: plain effects are normal about the true ones with known covariance; true effects are "
            "normal over subgroups, of which nothing was known beforehand that tells them apart",
        ),
        source="Bell and McCaffrey 2002; Pustejovsky and Tipton 2018; Dixon and Simon 1991; Jones and others 2011",
    )

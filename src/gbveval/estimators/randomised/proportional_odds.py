"""`ProportionalOdds`: the odds ratio of an ordered outcome, the same at every cut."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import ConvergenceError, DataError, DesignError, IdentificationError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.method import Check, Method
from gbveval.core.registry import register
from gbveval.data.trial import Trial
from gbveval.estimators._assemble import Row, all_samples, arm_support, assemble, require_parallel
from gbveval.estimators._model_design import Design, build_design
from gbveval.numerics.ordinal import KINDS, OrdinalFit, fit_ordinal, ordinal_influence, proportional_odds_test

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
STD_ERRORS = ("auto", *KINDS)
MOST_LEVELS = 20
NUISANCE = Estimand("nuisance", "none", "participant_average", "conditional")
WORDS = {
    "model": ("model-based, from the information", "none"),
    "HC0": ("sandwich of the scores", "none"),
    "HC1": ("sandwich of the scores", "rows over rows minus coefficients"),
    "CR0": ("sandwich of the scores, clustered by the unit of assignment", "none"),
    "CR1": ("sandwich of the scores, clustered by the unit of assignment", "clusters over clusters minus one"),
    "CR3": ("jackknife of the clusters, in one step from the maximum", "CR3 (jackknife)"),
}


@register("proportional_odds")
@dataclass(frozen=True, slots=True)
class ProportionalOdds:
    """Odds ratio of a higher level of an ordered outcome, from the cumulative logit model.

    The model is P(Y > cut) = 1 / (1 + exp(cut - x'b)) with one b for every cut: the odds of being above "never" and
    those of being above "once" are multiplied by the same factor. An odds ratio above one means higher levels.

    Parameters
    ----------
    std_error : str
        "auto" (CR3 when the trial is clustered, else HC1), "model", "HC0", "HC1", "CR0", "CR1" or "CR3".
    levels : tuple of float, optional
        The values that could be answered, in order. A level that nobody chose is then refused by its place. By
        default those that occur.

    Notes
    -----
    **Identifies**, in a randomised trial, the ratio of the odds of any higher level between people alike in covariates
    and strata, if the odds are proportional. Without covariates and strata it is the marginal one. Levels are used in
    their order; distances between them mean nothing.

    **Check.** A score test, robust and by cluster, of one odds ratio of the arms at every cut. With a small p-value the
    odds ratio is an average of several; say so, and report a cut that matters (`GeneralisedLinear`) or
    `WinProbability`, which assumes nothing.

    **Inference.** By cluster, the jackknife with one step from the maximum, t with clusters minus one degrees of
    freedom; else the sandwich, normal.

    **Valid when** every level has some dozens of people, and there are about ten clusters an arm.

    **Do not use when** the odds are not proportional, or few levels are filled (merge them beforehand, not after
    looking). Odds ratios are no risk ratios.

    References
    ----------
    McCullagh (1980), Journal of the Royal Statistical Society B 42. Brant (1990), Biometrics 46. Boos (1992), American
    Statistician 46.

    Examples
    --------
    >>> frame = {"y": [0, 0, 1, 1, 0, 1, 1, 1] * 5, "arm": (["usual"] * 4 + ["new"] * 4) * 5}
    >>> trial = Trial(frame, outcome="y", arm="arm", control="usual")
    >>> round(float(np.exp(ProportionalOdds().estimate(trial)[0].value)), 3)  # two levels: the odds ratio, 3 / 1
    3.0
    """

    std_error: str = "auto"
    levels: tuple[float, ...] | None = None
    name: ClassVar[str] = "proportional_odds"

    def __post_init__(self) -> None:
        if self.std_error not in STD_ERRORS:
            raise DesignError(f"std_error must be one of {', '.join(STD_ERRORS)}, not {self.std_error!r}.")
        if self.levels is not None and (len(self.levels) < 2 or list(self.levels) != sorted(set(self.levels))):
            raise DesignError("levels must be two or more values in increasing order.")

    def estimate(self, data: Trial, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return each arm against control for each outcome, then coefficients and cuts.

        Parameters
        ----------
        data : Trial
            The checked trial.
        rng : numpy.random.Generator, optional
            Ignored: nothing is random.

        Raises
        ------
        DataError
            If an outcome has a value that is none of `levels`.
        DesignError
            If an outcome has more than twenty levels, or roles and options do not fit each other.
        IdentificationError
            If a level is empty, an outcome is separated, or an arm too small or collinear with covariates.
        ConvergenceError
            If no maximum was found.
        """
        require_parallel("ProportionalOdds", data)
        kind = _kind(data, self.std_error)
        rows: list[Row] = []
        checks: list[Check] = []
        covariance = None
        for outcome in range(len(data.outcome_names)):
            design = build_design(data, outcome, name="ProportionalOdds")
            level, count = _levels(design.y, self.levels, data.outcome_names[outcome])
            fit = _fit(design, level, count, data.outcome_names[outcome])
            lift, order = _lift(design, count)
            influence = ordinal_influence(fit, kind, design.cluster)
            if influence is None:
                covariance = (lift @ np.linalg.inv(fit.information) @ lift.T)[np.ix_(order, order)]
            rows += _rows(data, outcome, design, (lift @ fit.theta, influence, lift, order))
            checks += [*design.checks, _proportional(data, outcome, design, fit, level, count)]
        return assemble(self, data, rows, method=_method(data, kind), checks=checks, covariance=covariance)


def _kind(data: Trial, asked: str) -> str:
    clustered = data.cluster is not None
    kind = ("CR3" if clustered else "HC1") if asked == "auto" else asked
    if clustered and not kind.startswith("CR"):
        raise DesignError(f"Errors are clustered by assignment; {kind} would treat people as independent. Use CR3.")
    if not clustered and kind.startswith("CR"):
        raise DesignError(f"{kind} needs clusters; the trial declares none. Use HC1.")
    if kind == "model" and (len(data.outcome_names) > 1 or data.weight is not None):
        raise DesignError(
            "A model-based standard error fits one outcome without weights. Use HC1, or one outcome at a time."
        )
    return kind


def _levels(y: FloatArray, declared: tuple[float, ...] | None, name: str) -> tuple[IntArray, int]:
    """Return each outcome's level from zero, and the number of levels."""
    known, codes = np.unique(y, return_inverse=True)
    if declared is not None:
        wrong = int((~np.isin(y, declared)).sum())
        if wrong:
            raise DataError(f"Column {name!r} (outcome) has {wrong:,} rows with none of the levels. Recode them.")
        places = [i + 1 for i, value in enumerate(declared) if value not in known]
        if places:
            raise IdentificationError(
                f"Nobody with an outcome {name!r} is at level {', '.join(map(str, places))} of {len(declared)}, so the "
                "cuts around it cannot be told apart. Merge the level with a neighbour."
            )
    if known.size > MOST_LEVELS:
        raise DesignError(
            f"Column {name!r} (outcome) has {known.size:,} distinct values; ProportionalOdds is for {MOST_LEVELS} "
            "ordered levels at most. Use WinProbability, or group the values beforehand."
        )
    if known.size < 2:
        raise IdentificationError(
            f"Column {name!r} (outcome) takes one value only, so there is nothing to compare. Use another outcome."
        )
    return codes.astype(np.intp), int(known.size)


def _fit(design: Design, level: IntArray, count: int, name: str) -> OrdinalFit:
    fit = fit_ordinal(design.z[:, 1:], level, count, weight=design.weight)
    if fit.separated:
        raise IdentificationError(
            f"The outcome {name!r} is separated: an arm, a stratum or a covariate tells the level apart from others "
            "without error, so an odds ratio is infinite. Merge levels, leave the covariate out, or use WinProbability."
        )
    if not fit.converged:
        raise ConvergenceError(
            f"No maximum was found for {name!r}. Merge levels with few people, or use fewer covariates."
        )
    return fit


def _lift(design: Design, count: int) -> tuple[FloatArray, list[int]]:
    """Return what turns parameters on the basis into cuts and coefficients on the columns, and the order of the rows.

    With z = (x - mean) / scale, c - z'g = (c + mean'b) - x'b with b = g / scale.
    """
    cuts = count - 1
    scale, mean = design.basis.scale[design.basis.kept], design.basis.mean[design.basis.kept]
    lift = np.eye(cuts + scale.size)
    lift[cuts:, cuts:] = np.diag(1.0 / scale)
    lift[:cuts, cuts:] = mean / scale
    first = [cuts + place - 1 for place in design.arms]
    rest = [cuts + place - 1 for place in design.shown if place > 0]
    # Cuts beside strata are those of the stratum that comes first.
    return lift, [*first, *rest, *(range(cuts) if 0 in design.shown else ())]


def _rows(
    data: Trial, outcome: int, design: Design, found: tuple[FloatArray, FloatArray | None, FloatArray, list[int]]
) -> list[Row]:
    theta, influence, lift, order = found
    adjusted = bool(data.covariate_names) or data.stratum is not None
    effect = Estimand("ITT", "odds_ratio", "participant_average", "conditional" if adjusted else "marginal")
    cuts = theta.size - design.basis.kept.size
    groups = None if design.present is None else int(design.present.size)
    rows = []
    for number, place in enumerate(order):
        causal = number < len(design.arms)
        code = number + 1 if causal else 0
        name = f"cut {place + 1} of {cuts}" if place < cuts else design.labels[place - cuts + 1]
        rows.append(
            Row(
                term=f"{data.arms[code]} vs {data.arms[0]}" if causal else name,
                outcome=data.outcome_names[outcome],
                value=float(theta[place]),
                influence=None if influence is None else _spread(influence @ lift[place], design),
                df=np.inf if groups is None else groups - 1.0,
                estimand=effect if causal else NUISANCE,
                n_units=int(design.used.sum()),
                n_clusters=groups,
                support=arm_support(data, outcome, design.used, (0, code)) if causal else (),
            )
        )
    return rows


def _spread(influence: FloatArray, design: Design) -> FloatArray:
    whole = np.zeros(design.n_groups)
    whole[design.used if design.present is None else design.present] = influence
    return whole


def _proportional(data: Trial, outcome: int, design: Design, fit: OrdinalFit, level: IntArray, count: int) -> Check:
    name = f"proportional odds {data.outcome_names[outcome]}"
    if count == 2:
        return Check(name, "info", "there are two levels and one cut, so nothing has to be proportional.")
    tested = np.array(design.arms, dtype=np.intp) - 1
    found = proportional_odds_test(fit, design.z[:, 1:], level, count, tested, design.cluster)
    if found is None:
        text = "too few people or clusters, or too sparse levels, to test one odds ratio at every cut; it is assumed."
        return Check(name, "warn", text)
    doubtful = found.p_value < 0.05
    text = (
        f"score test of one odds ratio of the arms at every cut: F({found.df1:.0f}, {found.df2:,.0f}) = "
        f"{found.statistic:.2f}, p = {found.p_value:.3f}"
    )
    advice = (
        "; the odds ratio averages different ones, and WinProbability does not need them equal." if doubtful else "."
    )
    return Check(name, "warn" if doubtful else "ok", text + advice)


def _method(data: Trial, kind: str) -> Method:
    clustered = data.cluster is not None
    return Method(
        sample=all_samples(data),
        std_error=WORDS[kind][0],
        small_sample=WORDS[kind][1],
        reference="t with clusters minus one degrees of freedom" if clustered else "normal",
        inference_for="a superpopulation of " + ("clusters" if clustered else "units"),
        assumptions=(
            "arms were assigned at random as declared",
            "the odds of a higher level are multiplied by the same factor at every cut",
            "one unit's assignment does not change another's outcome",
            "outcomes are missing for reasons unrelated to the outcome",
        ),
        source="McCullagh 1980",
    )

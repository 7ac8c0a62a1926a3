"""`Hurdle`: counts in two parts, whether there is any and how many, put together as a ratio of means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import ConvergenceError, DataError, IdentificationError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.method import Check, Method
from gbveval.core.registry import register
from gbveval.data.trial import Trial
from gbveval.estimators._assemble import Row, all_samples, arm_support, require_parallel
from gbveval.estimators._glm_fit import fit_glm
from gbveval.estimators._hurdle_fit import fit_positive_part
from gbveval.estimators._model_design import Design, build_design
from gbveval.estimators._model_rows import (
    CLUSTERED,
    WORDS,
    choose_degrees,
    choose_std_error,
    degrees_of_freedom,
    finish,
    inference_options,
    raise_unless_converged,
    reference_words,
    spread,
    std_error_words,
    superpopulation,
)
from gbveval.numerics.glm import Family, whiten
from gbveval.numerics.glm_covariance import coefficient_covariance
from gbveval.numerics.groups import group_sums
from gbveval.numerics.standardisation import ArmMean, contrast_of
from gbveval.numerics.truncated_poisson import positive_part

FloatArray = NDArray[np.float64]
STD_ERRORS = ("auto", "HC0", "HC1", "HC2", "HC3", *CLUSTERED)
ANY = Family("binomial", "logit")
ADVICE = "Merge categories, leave such a column out, or compare the arms with DifferenceInMeans."


@dataclass(frozen=True, eq=False, slots=True)
class _Parts:
    """Both fits of one outcome.

    `gammas` are the coefficients of any and of how many on the basis, `influences` their influence by independent unit,
    `df` their degrees of freedom by coefficient.
    """

    gammas: tuple[FloatArray, FloatArray]
    influences: tuple[FloatArray, FloatArray]
    df: FloatArray


@register("hurdle")
@dataclass(frozen=True, slots=True)
class Hurdle:
    """Ratio of mean counts from two parts: the risk of any, and the mean among those with any.

    A logistic model says who has any, a truncated Poisson model how many those have. The product, averaged over
    everybody under each arm, is the mean count; its ratio is the effect. It shows whether an intervention ends
    incidents or makes them fewer.

    Parameters
    ----------
    std_error : str
        "auto" (CR2 when the trial is clustered, else HC2), "HC0" to "HC3", "CR0", "CR1", "CR1S", "CR2" or "CR3".
    df : str
        "auto" (the smaller of the two parts' Satterthwaite with CR2 and CR3, clusters minus one with the other CR, else
        normal), "normal", "residual", "clusters_minus_1" or "satterthwaite".
    cluster_by : str
        What errors are clustered by: "assignment" (the role `cluster`, if there is one) or "site".

    Notes
    -----
    **Identifies** the ratio of mean counts and the ratio of risks of any over the participants. Without covariates both
    are those of the arms' samples, whatever the counts' distribution; robust standard errors do not use the truncated
    Poisson's variance.

    **Valid when** each arm has clearly more people with several incidents than there are coefficients.

    **Do not use when** the ratio among those with any is wanted as an effect: the intervention decides who those are.
    That row compares different people and has no causal reading. Do not use with unequal time at risk (refused), or
    when a few huge counts carry the mean: a randomisation test is then exact.

    References
    ----------
    Mullahy (1986), Journal of Econometrics 33.

    Examples
    --------
    >>> frame = {"y": [0, 0, 1, 3, 2, 0, 0, 0, 1, 2], "arm": ["usual"] * 5 + ["new"] * 5}
    >>> trial = Trial(frame, outcome="y", arm="arm", control="usual")
    >>> [(row.term, round(float(np.exp(row.value)), 4)) for row in Hurdle().estimate(trial).terms]
    [('new vs usual', 0.5), ('new vs usual (any)', 0.6667), ('new vs usual (among those with any)', 0.75)]
    """

    std_error: str = "auto"
    df: str = "auto"
    cluster_by: str = "assignment"
    name: ClassVar[str] = "hurdle"

    def __post_init__(self) -> None:
        inference_options(self.std_error, self.df, self.cluster_by, STD_ERRORS)

    def estimate(self, data: Trial, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return for each arm against control the ratios of means, of risks of any, and among those with any.

        Parameters
        ----------
        data : Trial
            The checked trial.
        rng : numpy.random.Generator, optional
            Ignored: nothing is random.

        Raises
        ------
        DataError
            If an outcome is not a count.
        DesignError
            If roles and options do not fit each other.
        IdentificationError
            If an arm has no events, events of everybody, or nobody with more than one.
        """
        require_parallel("Hurdle", data)
        kind = choose_std_error("Hurdle", data, self.std_error, self.cluster_by)
        degrees = choose_degrees(self.df, kind)
        rows: list[Row] = []
        checks: list[Check] = []
        for outcome in range(len(data.outcome_names)):
            _check_counts(data, outcome)
            design = build_design(data, outcome, name="Hurdle", cluster_by=self.cluster_by)
            checks += design.checks
            parts = _fit(design, data.outcome_names[outcome], (kind, degrees))
            rows += _rows(data, outcome, design, parts)
        return finish(self, data, rows, self._method(data, kind, degrees), checks, None)

    def _method(self, data: Trial, kind: str, degrees: str) -> Method:
        smaller = " (the smaller of the two parts')" if degrees == "satterthwaite" else ""
        return Method(
            sample=all_samples(data),
            std_error=f"{std_error_words(kind, self.cluster_by)}, delta method with the sampling of covariates",
            small_sample=WORDS[kind][1],
            reference=reference_words(degrees) + smaller,
            inference_for=superpopulation(data, self.cluster_by),
            assumptions=(
                "arms were assigned at random as declared, with one probability",
                "both parts of the model are right, or there are no covariates",
                "one unit's assignment does not change another's outcome",
                "outcomes are missing for reasons unrelated to the outcome",
            ),
            source="Mullahy 1986",
        )


def _check_counts(data: Trial, outcome: int) -> None:
    y = data.outcomes[data.observed(outcome), outcome]
    wrong = int(((y < 0) | ((y > 0) & (y < 1))).sum())
    if wrong:
        raise DataError(
            f"Column {data.outcome_names[outcome]!r} (outcome) is negative or between zero and one in {wrong:,} rows; "
            "a count is zero, or one and more. Recode it, or use DifferenceInMeans."
        )


def _fit(design: Design, outcome: str, inference: tuple[str, str]) -> _Parts:
    """Return both parts' coefficients, their influence by independent unit and their degrees of freedom."""
    z, y, weight = design.z, design.y, design.weight
    some = y > 0
    first = fit_glm(ANY, z, some.astype(float), weight=weight)
    raise_unless_converged(design, first, f"any {outcome}", ADVICE)
    second = fit_positive_part(design, outcome)
    white = whiten(ANY, z, some.astype(float), first.gamma, weight=weight)
    moments = positive_part(z[some] @ second)
    root = np.sqrt(moments.variance if weight is None else weight[some] * moments.variance)
    residual = (y[some] - moments.mean) * (1.0 if weight is None else weight[some]) / root
    influences, df = [], []
    everybody = np.ones(y.size, dtype=bool)
    for rows, x, e in ((everybody, white.design, white.residual), (some, z[some] * root[:, None], residual)):
        influence, degrees = _influence(design, rows, (x, e), inference, outcome)
        influences.append(influence)
        df.append(degrees)
    return _Parts((first.gamma, second), (influences[0], influences[1]), np.minimum(df[0], df[1]))


def _influence(
    design: Design,
    rows: NDArray[np.bool_],
    whitened: tuple[FloatArray, FloatArray],
    inference: tuple[str, str],
    outcome: str,
) -> tuple[FloatArray, FloatArray]:
    """Return the influence of one part's coefficients, zero for units outside it, and their degrees of freedom."""
    kind, degrees = inference
    present = codes = None
    if design.cluster is not None:
        present, codes = np.unique(design.cluster[rows], return_inverse=True)
    k = whitened[0].shape[1]
    enough = present is None or present.size >= 3
    found = coefficient_covariance(*whitened, np.eye(k), kind, cluster=codes) if enough else None
    if found is None or found.influence is None:
        raise IdentificationError(
            f"Too few units or clusters have any {outcome!r} for a model of how many. Use fewer covariates, or compare "
            "the risk of any alone."
        )
    count = design.y.size if design.cluster is None else int(design.cluster.max()) + 1
    whole = np.zeros((count, k))
    whole[rows if present is None else present] = found.influence
    return whole, degrees_of_freedom(degrees, kind, design, found.df)


def _arm(design: Design, z: FloatArray, parts: _Parts, which: str) -> tuple[ArmMean, FloatArray]:
    """Return the standardised mean ("mean") or risk ("any") of an arm, and its influence through the coefficients."""
    share = np.full(design.y.size, 1.0 / design.y.size)
    if design.weight is not None:
        share = design.weight / design.weight.sum()
    eta = z @ parts.gammas[0]
    risk, slope = ANY.mean(eta), ANY.slope(eta)
    many = positive_part(z @ parts.gammas[1])
    amount, change = (many.mean, many.variance) if which == "mean" else (np.ones(eta.size), np.zeros(eta.size))
    value = float(share @ (risk * amount))
    first = z.T @ (share * slope * amount)
    second = z.T @ (share * risk * change)
    own = parts.influences[0] @ first + parts.influences[1] @ second
    sampling = share * (risk * amount - value)
    if design.cluster is not None:
        sampling = group_sums(design.cluster, sampling, int(design.cluster.max()) + 1)
    return ArmMean(value, first, sampling), own + sampling


def _rows(data: Trial, outcome: int, design: Design, parts: _Parts) -> list[Row]:
    found: dict[str, list[Row]] = {"mean": [], "any": [], "positive": []}
    arms = range(len(data.arms))
    means = {which: [_arm(design, design.under(a, len(arms)), parts, which) for a in arms] for which in ("mean", "any")}
    for arm in arms[1:]:
        label = f"{data.arms[arm]} vs {data.arms[0]}"
        values, psi = {}, {}
        for which, contrast in (("mean", "rate_ratio"), ("any", "risk_ratio")):
            (treated, one), (control, other) = means[which][arm], means[which][0]
            ratio = contrast_of(contrast, treated, control)
            if ratio is None:
                raise ConvergenceError(f"A mean of {data.outcome_names[outcome]!r} fell to zero. Use fewer covariates.")
            values[which], psi[which] = ratio[0], ratio[1] * one + ratio[2] * other
        # The mean among those with any is the mean over the risk.
        values["positive"], psi["positive"] = values["mean"] - values["any"], psi["mean"] - psi["any"]
        for which, suffix, estimand in (
            ("mean", "", Estimand("ITT", "rate_ratio")),
            ("any", " (any)", Estimand("ITT", "risk_ratio")),
            ("positive", " (among those with any)", Estimand("nuisance", "rate_ratio")),
        ):
            found[which].append(
                Row(
                    term=label + suffix,
                    outcome=data.outcome_names[outcome],
                    value=values[which],
                    influence=spread(psi[which][:, None], design)[:, 0],
                    df=float(parts.df[design.arms[arm - 1]]),
                    estimand=estimand,
                    n_units=int(design.y.size),
                    n_clusters=design.n_clusters,
                    support=arm_support(data, outcome, design.used, (0, arm)) if which != "positive" else (),
                )
            )
    return [*found["mean"], *found["any"], *found["positive"]]

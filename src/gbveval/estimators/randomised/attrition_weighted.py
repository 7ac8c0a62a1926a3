"""`AttritionWeighted`: adjusts a comparison for outcomes that are missing as measured covariates predict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import ConvergenceError, DesignError, IdentificationError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.method import Check, Method
from gbveval.core.registry import register
from gbveval.data.trial import Trial
from gbveval.estimators._assemble import Row, all_samples, assemble, mean_contrast, require_parallel
from gbveval.estimators._glm_fit import fit_glm
from gbveval.estimators.randomised._linear import (
    Choice,
    arm_columns,
    check_options,
    check_sizes,
    choose,
    coefficient_rows,
    fit_checks,
    row_order,
    separate_outcomes,
    shown_coefficients,
    spread_rows,
    stratum_columns,
)
from gbveval.numerics.glm import Family
from gbveval.numerics.least_squares import column_names, make_basis
from gbveval.numerics.linear_inference import LinearInference, linear_inference
from gbveval.numerics.response_weights import Response, response_model, weight_correction

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
LINKS = ("logit", "probit")
# A weight of twenty: a handful of such people decide the answer.
RARE = 0.05


@dataclass(frozen=True, eq=False, slots=True)
class _Model:
    """A fitted response model: columns and coefficients, their influence, and whether anything was missing."""

    z: FloatArray
    fit: Response
    estimated: bool
    coefficients: FloatArray
    influence: FloatArray
    names: tuple[str, ...]
    checks: tuple[Check, ...]


@register("attrition_weighted")
@dataclass(frozen=True, slots=True)
class AttritionWeighted:
    """Difference between arms, with everybody observed weighted by one over the fitted probability of being observed.

    Parameters
    ----------
    response : tuple of str
        Covariates of the response model, to which the arms are added; empty: all covariates.
    adjust : tuple of str
        Covariates of the outcome regression, besides the arms.
    link : str
        "logit" or "probit" of the response model.
    weights_known : bool
        Whether to leave out that the weights are estimated, as software does that treats them as given. The errors are
        then too large as a rule.
    std_error, df : str
        As in `Ancova`.

    Notes
    -----
    **Identifies** the intention-to-treat effect over all participants, if being observed depends on arm and measured
    covariates only, given which it is unrelated to the outcome, and everybody had a chance of being observed.

    **Errors.** The sandwich of the weighted regression plus the influence of the response model, by unit or by cluster.

    **Do not use when** people leave because of what happened to them, which no covariate tells: `LeeBounds`,
    `ManskiBounds` and delta-adjusted imputation say how much that could matter. Compare with the unweighted answer; if
    the two agree, little was learned about the people who are missing.

    References
    ----------
    Robins, Rotnitzky and Zhao (1995), Journal of the American Statistical Association 90. Newey and McFadden (1994),
    Handbook of Econometrics 4. Wooldridge (2007), Journal of Econometrics 141.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.tile([0.0, 1.0], 20)
    >>> y = np.where(np.arange(40) % 8 < 5, x, np.nan)
    >>> frame = {"y": y, "x": x, "arm": ["usual"] * 20 + ["new"] * 20}
    >>> trial = Trial(frame, outcome="y", arm="arm", control="usual", covariates=["x"])
    >>> round(AttritionWeighted().estimate(trial)[0].value, 4)
    -0.0239
    """

    response: tuple[str, ...] = ()
    adjust: tuple[str, ...] = ()
    link: str = "logit"
    weights_known: bool = False
    std_error: str = "auto"
    df: str = "auto"
    name: ClassVar[str] = "attrition_weighted"

    def __post_init__(self) -> None:
        check_options(self.std_error, self.df)
        if self.link not in LINKS:
            raise DesignError(f"link must be one of {', '.join(LINKS)}, not {self.link!r}.")

    def estimate(self, data: Trial, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return the weighted difference of each arm for each outcome, and the coefficients of both models.

        Parameters
        ----------
        data : Trial
            A trial; missing outcomes are those that were not observed.
        rng : numpy.random.Generator, optional
            Ignored: nothing is random.

        Raises
        ------
        DesignError
            If a covariate is not there, or the standard error does not fit the trial.
        IdentificationError
            If some people could not be observed at all, or an arm is too small.
        """
        require_parallel("AttritionWeighted", data)
        choice = choose(data, self.std_error, self.df)
        if choice.std_error == "classical" and not self.weights_known:
            raise DesignError("Classical errors do not fit estimated weights. Use std_error='auto'.")
        rows: list[Row] = []
        checks: list[Check] = []
        blocks: list[FloatArray] = []
        for outcome in range(len(data.outcome_names)):
            found, block, notes = self._fit(data, outcome, choice)
            rows += found
            blocks.append(block)
            checks += notes
        joint = None if all(row.influence is not None for row in rows) else separate_outcomes(blocks)
        return assemble(self, data, rows, method=_method(self, data, choice), checks=checks, covariance=joint)

    def _fit(self, data: Trial, outcome: int, choice: Choice) -> tuple[list[Row], FloatArray, list[Check]]:
        everybody = np.ones(data.n, dtype=bool) if data.weight is None else data.weight > 0
        model = _respond(self, data, outcome, everybody)
        used = everybody & data.observed(outcome)
        probability = np.ones(data.n)
        probability[everybody] = model.fit.probability
        weights = (1.0 if data.weight is None else data.weight[used]) / probability[used]
        arms, arm_names = arm_columns(data, used)
        columns, names = _chosen(data, self.adjust)
        groups, group_names = stratum_columns(data, used)
        design = np.column_stack([arms, columns[used], groups])
        labels = (*arm_names, *names, *group_names)
        check_sizes(data, used, 1 + design.shape[1] - int(make_basis(design).dropped.size))
        y = data.outcomes[used, outcome]
        found = linear_inference(
            design,
            y,
            std_error=choice.std_error,
            df=choice.df,
            weights=weights,
            cluster=None if choice.group is None else choice.group[used],
            n_clusters=choice.n_groups,
        )
        found = self._corrected(data, found, (design, y, weights), (everybody, used), model, choice)
        _, dropped = column_names(list(labels), found.fit.basis)
        shown = [name for name in dropped if not name.startswith(("stratum #", "pair #"))]
        checks = [*model.checks, *fit_checks(found, 1, shown)]
        estimand = Estimand("ITT", mean_contrast(data, outcome))
        rows = coefficient_rows(data, used, outcome, found, labels, estimand, choice)
        mean_weight = ("mean_weight", float(weights.mean()))
        rows = [replace(row, extra=(*row.extra, mean_weight)) if row.extra else row for row in rows]
        order = row_order(found, labels, arm_names)
        nuisance, inner = _response_rows(data, outcome, everybody, model, choice)
        size = len(order)
        block = np.full((size + len(nuisance), size + len(nuisance)), np.nan)
        block[:size, :size] = found.covariance[np.ix_(order, order)]
        block[size:, size:] = inner
        return [*rows, *nuisance], block, checks

    def _corrected(
        self,
        data: Trial,
        found: LinearInference,
        fitted: tuple[FloatArray, FloatArray, FloatArray],
        members: tuple[BoolArray, BoolArray],
        model: _Model,
        choice: Choice,
    ) -> LinearInference:
        """Return the inference over all units or groups of the trial, with the part of the estimated weights."""
        everybody, used = members
        if found.influence is None:
            return found
        influence = spread_rows(found.influence, data, used, choice)
        if self.weights_known or not model.estimated:
            return replace(found, influence=influence)
        design, y, weights = fitted
        x = found.fit.basis.rows(design, slice(None))
        bread = found.fit.basis.to_original @ found.fit.basis.gram_inverse
        residual = weights * found.fit.residuals(design, y)
        extra = weight_correction(bread, x, residual, used[everybody], model.z, model.fit)
        influence = influence + _gather(data, extra, everybody, choice)
        return replace(found, influence=influence, covariance=influence.T @ influence)


def _respond(model: AttritionWeighted, data: Trial, outcome: int, everybody: BoolArray) -> _Model:
    """Return the response model of one outcome, fitted over everybody with a positive weight."""
    name = data.outcome_names[outcome]
    observed = data.observed(outcome)[everybody]
    count = int(everybody.sum())
    if observed.all():
        nothing = Response(np.ones(count), np.zeros(count), np.zeros((count, 0)))
        check = Check(f"response {name}", "info", f"{name} is observed for everybody: all weights are equal.")
        return _Model(np.zeros((count, 0)), nothing, False, np.zeros(0), np.zeros((count, 0)), (), (check,))
    arms, arm_names = arm_columns(data, everybody)
    columns, names = _chosen(data, model.response or data.covariate_names)
    groups, group_names = stratum_columns(data, everybody)
    design = np.column_stack([arms, columns[everybody], groups])
    weight = None if data.weight is None else data.weight[everybody]
    basis = make_basis(design, weights=weight)
    z = basis.rows(design, slice(None))
    family = Family("binomial", model.link)
    fitted = fit_glm(family, z, observed.astype(float), weight=weight)
    if fitted.direction is not None:
        raise IdentificationError(
            f"Some combination of arm and covariates is always, or never, observed for {name}, so its people have no "
            "weight that could be estimated. Use fewer covariates in `response`, merge categories, or report bounds."
        )
    if not fitted.converged:
        raise ConvergenceError(f"The response model of {name} found no solution. Use fewer covariates in `response`.")
    fit = response_model(family, z, observed, fitted.gamma, weight=weight)
    labels, _ = column_names([*arm_names, *names, *group_names], basis)
    return _Model(
        z,
        fit,
        True,
        basis.to_original @ fitted.gamma,
        fit.influence @ basis.to_original.T,
        tuple(labels),
        _overlap(name, fit.probability, observed),
    )


def _overlap(name: str, probability: FloatArray, observed: BoolArray) -> tuple[Check, ...]:
    """Return what the weights look like: the largest, and how many people were hardly likely to be observed."""
    rare = int((probability[observed] < RARE).sum())
    largest = float((1.0 / probability[observed]).max())
    text = f"the largest weight for {name} is {largest:.1f}"
    if rare:
        text += f"; {rare} people observed had a probability below {RARE:.0%}: they decide. Report bounds too."
    return (Check(f"response {name}", "warn" if rare else "info", text + ("" if rare else ".")),)


def _gather(data: Trial, influence: FloatArray, everybody: BoolArray, choice: Choice) -> FloatArray:
    """Return influence functions of rows as those of the trial's independent units."""
    if choice.group is None:
        whole = np.zeros((data.n, influence.shape[1]))
        whole[everybody] = influence
        return whole
    codes = choice.group[everybody]
    return np.column_stack([np.bincount(codes, weights=column, minlength=choice.n_groups) for column in influence.T])


def _response_rows(
    data: Trial, outcome: int, everybody: BoolArray, model: _Model, choice: Choice
) -> tuple[list[Row], FloatArray]:
    """Return the coefficients of the response model as rows without a causal reading, and their covariance."""
    influence = _gather(data, model.influence, everybody, choice) if model.estimated else np.zeros((data.n, 0))
    nuisance = Estimand("nuisance", "log_odds_ratio", "participant_average", "conditional")
    shown = shown_coefficients(model.names, [])
    rows = [
        Row(
            term=f"response: {model.names[i]}",
            outcome=data.outcome_names[outcome],
            value=float(model.coefficients[i]),
            influence=influence[:, i],
            df=float("inf"),
            estimand=nuisance,
            n_units=int(everybody.sum()),
        )
        for i in shown
    ]
    chosen = influence[:, shown]
    return rows, chosen.T @ chosen


def _method(model: AttritionWeighted, data: Trial, choice: Choice) -> Method:
    known = "weights taken as known" if model.weights_known else "estimated weights taken into account"
    return Method(
        sample=all_samples(data),
        std_error=f"{choice.std_error_words()}, {known}",
        small_sample=choice.small_sample_words(),
        reference=choice.reference_words(),
        inference_for="the participants of the trial (conservative) or a superpopulation",
        assumptions=(
            "arms were assigned at random as declared, with one probability",
            "given arm and covariates, being observed is unrelated to the outcome",
            "everybody had a chance of being observed",
            "one unit's assignment does not change another's outcome",
        ),
        source="Robins, Rotnitzky and Zhao 1995",
    )


def _chosen(data: Trial, names: Sequence[str]) -> tuple[FloatArray, tuple[str, ...]]:
    unknown = [name for name in names if name not in data.covariate_names]
    if unknown:
        known = ", ".join(data.covariate_names) or "none"
        raise DesignError(f"{', '.join(map(repr, unknown))}: no such covariate; the trial has: {known}.")
    places = [data.covariate_names.index(name) for name in names]
    return data.covariates[:, places], tuple(names)

"""`QuantileEffect`: differences between the quantiles of the arms, solved exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import ConvergenceError, DesignError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.method import Check, Method
from gbveval.core.registry import register
from gbveval.data.trial import Trial
from gbveval.estimators._assemble import Row, all_samples, arm_support, assemble, require_parallel
from gbveval.estimators.randomised._linear import arm_columns, check_arms_separate, check_sizes, used_rows
from gbveval.numerics.least_squares import make_basis
from gbveval.numerics.quantile_regression import (
    COVARIANCES,
    check_loss,
    group_quantiles,
    quantile_coefficients,
    quantile_covariance,
)

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
# With more than this share of the outcomes at one quantile its density is not defined.
TIED = 0.02


@register("quantile_effect")
@dataclass(frozen=True, slots=True)
class QuantileEffect:
    """Difference between the quantiles of the outcome in each arm and in control.

    Parameters
    ----------
    quantiles : tuple of float
        Each between 0 and 1.
    std_error : str
        "kernel" (Powell's sandwich; by cluster where clusters were assigned), "nid" (difference of neighbouring
        quantiles) or "iid" (one density for all errors).

    Notes
    -----
    **Identifies** the difference between quantiles of the outcome if all were treated and if none were. This is not the
    effect on the person at that quantile. With covariates it is the difference given the covariates, a conditional
    effect.

    **Valid when** the outcome is continuous around the quantile and there are some hundreds of units. The
    standard errors need the density there. With clusters the reference is for many of them: with 6 or 10 of very
    unequal size the median's test at 5 % rejected in 13 and 9 of 100 trials without an effect (docs: measured
    sizes).

    **Do not use when** outcomes are tied at the quantile, as counts with many zeros are: there is no density, the
    standard error is missing or worthless (a check says so), and `RandomisationInference` of another statistic is the
    honest choice.

    **Where packages differ.** statsmodels stops its iterations early; here the linear programme is solved to a vertex.
    When the minimisers are a set, the largest is taken. quantreg divides by a number near zero where outcomes are tied
    and prints standard errors of 1e30; here there is none, and the reason.

    References
    ----------
    Koenker and Bassett (1978), Econometrica 46. Koenker (2005), Quantile Regression. Powell (1991). Hendricks and
    Koenker (1992), Journal of the American Statistical Association 87. Parente and Santos Silva (2016), Journal of
    Econometric Methods 5.

    Examples
    --------
    >>> y = [1.0, 2.0, 3.0, 4.0, 9.0, 2.0, 4.0, 6.0, 8.0, 18.0]
    >>> frame = {"y": y, "arm": ["usual"] * 5 + ["new"] * 5}
    >>> trial = Trial(frame, outcome="y", arm="arm", control="usual")
    >>> QuantileEffect((0.5,)).estimate(trial)[0].value
    3.0
    """

    quantiles: tuple[float, ...] = (0.25, 0.5, 0.75)
    std_error: str = "kernel"
    name: ClassVar[str] = "quantile_effect"

    def __post_init__(self) -> None:
        if not self.quantiles or not all(0.0 < q < 1.0 for q in self.quantiles):
            raise DesignError("quantiles must lie between 0 and 1, such as (0.25, 0.5, 0.75).")
        if self.std_error not in COVARIANCES:
            raise DesignError(f"std_error must be one of {', '.join(COVARIANCES)}, not {self.std_error!r}.")

    def estimate(self, data: Trial, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return the quantile effect of each arm for each outcome and quantile, and the quantiles of control.

        Parameters
        ----------
        data : Trial
            The checked trial.
        rng : numpy.random.Generator, optional
            Ignored: nothing is random.

        Raises
        ------
        DesignError
            If the trial has weights, strata or pairs, or clusters without std_error="kernel".
        IdentificationError
            If an arm has fewer than two units (clusters).
        """
        require_parallel("QuantileEffect", data)
        for role in ("weight", "stratum", "pair"):
            if getattr(data, role) is not None:
                raise DesignError(
                    f"QuantileEffect does not take the role {role!r}. Give strata as covariates, or compare means."
                )
        if data.cluster is not None and self.std_error != "kernel":
            raise DesignError(f"std_error={self.std_error!r} takes people as independent; clusters need 'kernel'.")
        rows: list[Row] = []
        checks: list[Check] = []
        blocks: list[FloatArray] = []
        for outcome in range(len(data.outcome_names)):
            used, notes = used_rows(data, outcome)
            checks += notes
            for quantile in self.quantiles:
                found, block, notes = self._rows(data, outcome, used, quantile)
                rows += found
                blocks.append(block)
                checks += notes
        covariance = np.full((len(rows), len(rows)), np.nan)
        start = 0
        for block in blocks:
            end = start + block.shape[0]
            covariance[start:end, start:end] = block
            start = end
        return assemble(self, data, rows, method=self._method(data), checks=checks, covariance=covariance)

    def _rows(
        self, data: Trial, outcome: int, used: BoolArray, quantile: float
    ) -> tuple[list[Row], FloatArray, list[Check]]:
        arms, _ = arm_columns(data, used)
        check_arms_separate(data, used, data.covariates[used])
        kept = make_basis(data.covariates[used]).kept
        x = np.column_stack([np.ones(int(used.sum())), arms, data.covariates[used][:, kept]])
        y = data.outcomes[used, outcome]
        check_sizes(data, used, x.shape[1])
        beta = _solve(data, used, x, y, quantile)
        covariance = quantile_covariance(
            x, y, beta, quantile, kind=self.std_error, meat=_meat(data, used, x, y - x @ beta, quantile)
        )
        name = data.outcome_names[outcome]
        k = arms.shape[1]
        order = [*range(1, k + 1), 0]
        tied = _tied(y - x @ beta, x.shape[1])
        known = covariance is not None and not tied
        block = covariance[np.ix_(order, order)] if covariance is not None and known else np.zeros((k + 1, k + 1))
        checks = [_ties(name, quantile)] if tied else []
        clusters = None if data.cluster is None else int(np.unique(data.cluster.codes[used]).size)
        loss = (("quantile", quantile), ("objective", check_loss(y - x @ beta, quantile)))
        scale = "conditional" if kept.size else "marginal"
        effect = Estimand("ITT", "quantile_difference", "participant_average", scale)
        level = Estimand("nuisance", "quantile_difference", "participant_average", scale)
        labels = [f"{arm} vs {data.arms[0]}, quantile {quantile:g}" for arm in data.arms[1:]]
        rows = [
            Row(
                term=label,
                outcome=name,
                value=float(beta[position]),
                influence=None,
                df=float("inf"),
                estimand=effect if position else level,
                n_units=int(used.sum()),
                n_clusters=clusters,
                support=arm_support(data, outcome, used, (0, position) if position else (0,)),
                extra=loss,
                reason="" if known else "outcomes are tied at the quantile, where they have no density",
            )
            for label, position in zip([*labels, f"{data.arms[0]}, quantile {quantile:g}"], order, strict=True)
        ]
        return rows, block, checks

    def _method(self, data: Trial) -> Method:
        words = {
            "kernel": "sandwich with a normal kernel for the density (Hall-Sheather bandwidth)",
            "nid": "sandwich with densities from neighbouring quantiles (Hall-Sheather bandwidth)",
            "iid": "one error density for all (Hall-Sheather bandwidth)",
        }[self.std_error]
        return Method(
            sample=all_samples(data),
            std_error=words + ("" if data.cluster is None else ", scores summed by cluster"),
            small_sample="none" if data.cluster is None else "clusters over clusters minus one",
            reference="normal",
            inference_for="a superpopulation of participants" + ("" if data.cluster is None else " in clusters"),
            assumptions=(
                "arms were assigned at random as declared, with one probability",
                "the outcome is continuous around the quantile",
                "one unit's assignment does not change another's outcome",
                "outcomes are missing for reasons unrelated to the outcome",
            ),
            source="Koenker 2005",
        )


def _solve(data: Trial, used: BoolArray, x: FloatArray, y: FloatArray, quantile: float) -> FloatArray:
    if x.shape[1] == len(data.arms):
        levels = group_quantiles(y, data.arm[used], quantile)
        return np.concatenate([levels[:1], levels[1:] - levels[0]])
    beta = quantile_coefficients(x, y, quantile)
    if beta is None:
        raise ConvergenceError(
            f"The linear programme of quantile {quantile:g} found no solution. Scale the covariates, or use fewer."
        )
    return beta


def _meat(data: Trial, used: BoolArray, x: FloatArray, residual: FloatArray, quantile: float) -> FloatArray | None:
    """Return the cross-product of scores by cluster, with G / (G - 1); None where people are independent."""
    if data.cluster is None:
        return None
    codes = np.unique(data.cluster.codes[used], return_inverse=True)[1]
    count = int(codes.max()) + 1
    # Rows of the vertex are on the line and not below it, whatever rounding says.
    below = residual < -1e-9 * float(np.abs(residual).max())
    score = x * (quantile - below)[:, None]
    sums = np.column_stack([np.bincount(codes, weights=column, minlength=count) for column in score.T])
    result: FloatArray = sums.T @ sums * count / (count - 1.0)
    return result


def _ties(name: str, quantile: float) -> Check:
    text = (
        f"many outcomes of {name} are tied at quantile {quantile:g}, where there is then no density and no standard "
        "error; test another statistic by randomisation."
    )
    return Check(f"ties {name}", "warn", text)


def _tied(residual: FloatArray, k: int) -> bool:
    """Return whether more outcomes lie on the fit than a vertex has, and than chance would put there."""
    scale = max(float(np.abs(residual).max()), 1e-300)
    return int(np.sum(np.abs(residual) < 1e-9 * scale)) > max(TIED * residual.size, 2 * k)

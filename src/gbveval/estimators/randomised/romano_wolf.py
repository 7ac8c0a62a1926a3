"""`RomanoWolf`: p-values of several outcomes and arms, adjusted by one wild bootstrap for all of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError, IdentificationError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.method import Check, Method
from gbveval.core.provenance import Provenance, derive_seed, options_of, versions
from gbveval.core.registry import register
from gbveval.core.term import Term
from gbveval.data.trial import Trial
from gbveval.estimators._assemble import all_samples, arm_support, mean_contrast, missing_check, require_parallel
from gbveval.estimators._wild_test import VARIANTS, WEIGHTS, bootstrap_draws
from gbveval.estimators.randomised._regression import arm_regression
from gbveval.estimators.randomised.wild_cluster_bootstrap import VCOVS, WildClusterBootstrap, prepared
from gbveval.numerics.inference import ALTERNATIVES
from gbveval.numerics.multiplicity import step_down
from gbveval.numerics.null_distribution import tail
from gbveval.numerics.wild_bootstrap import WildBootstrap

FloatArray = NDArray[np.float64]


@register("romano_wolf")
@dataclass(frozen=True, slots=True)
class RomanoWolf:
    """Effects of assignment on several outcomes and arms, with step-down adjusted p-values from the bootstrap.

    Every outcome is regressed on the arms, the trial's covariates, and indicators of strata, pairs and periods. One
    wild bootstrap resamples the signs of clusters (of people, where no clusters were assigned) for all outcomes at
    once, so what they have in common is kept. `p_adjusted` compares each t statistic with the largest among all rows
    that are no more extreme; `p_bootstrap` is the row's own.

    Parameters
    ----------
    variant, weights, vcov : str
        As in `WildClusterBootstrap`. Without clusters each person is one.
    n_draws : int
        Bootstrap samples; all vectors of signs are used instead when there are no more than these.
    alternative : str
        "two_sided", "greater" or "less", for all rows.

    Notes
    -----
    **Controls** the probability of any false rejection in large samples of clusters, whatever the effects on the other
    outcomes. With few clusters `WestfallYoung` is exact for no effect on anyone.

    **Do not use when** the outcomes were chosen after seeing the results, or the trial has weights. `p_value` is
    that of t with clusters minus one degrees of freedom; intervals are not adjusted.

    References
    ----------
    Romano and Wolf (2005), Econometrica 73; (2016), Statistics and Probability Letters 113. Clarke, Romano and Wolf
    (2020), Stata Journal 20.

    Examples
    --------
    >>> frame = {
    ...     "reports": [1.0, 2.0, 3.0, 2.0, 2.5, 6.0, 7.0, 9.0, 8.0, 6.5],
    ...     "fear": [3.0, 2.0, 4.0, 1.0, 2.0, 3.0, 5.0, 4.0, 2.0, 3.0],
    ...     "arm": ["usual"] * 5 + ["new"] * 5,
    ... }
    >>> trial = Trial(frame, outcome=["reports", "fear"], arm="arm", control="usual")
    >>> [round(dict(row.extra)["p_adjusted"], 3) for row in RomanoWolf().estimate(trial).terms]
    [0.002, 0.23]
    """

    variant: str = "WCR11"
    weights: str = "rademacher"
    n_draws: int = 9_999
    alternative: str = "two_sided"
    vcov: str = "CR1S"
    name: ClassVar[str] = "romano_wolf"

    def __post_init__(self) -> None:
        for option, known in (
            ("variant", VARIANTS),
            ("weights", WEIGHTS),
            ("alternative", ALTERNATIVES),
            ("vcov", VCOVS),
        ):
            if getattr(self, option) not in known:
                raise DesignError(f"{option} must be one of {', '.join(known)}, not {getattr(self, option)!r}.")
        if self.n_draws < 19:
            raise DesignError("n_draws must be at least 19, so that p can be 0.05.")

    def estimate(self, data: Trial, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return one row for each outcome and arm, with raw and adjusted p-values.

        Parameters
        ----------
        data : Trial
            The checked trial.
        rng : numpy.random.Generator, optional
            For drawn weights; by default seeded from the data and the options.

        Raises
        ------
        DesignError
            If the trial has weights.
        IdentificationError
            If an arm is collinear with the rest, too small, or an outcome does not vary.
        """
        require_parallel("RomanoWolf", data, crossover=True)
        if data.weight is not None:
            raise DesignError("RomanoWolf takes no weights. Leave the role out, or adjust by Holm.")
        seed = derive_seed(data.digest, self.name, repr(options_of(self))) if rng is None else int(rng.integers(2**31))
        count = data.n if data.cluster is None else data.cluster.count
        options = WildClusterBootstrap(self.variant, self.weights, self.n_draws, vcov=self.vcov)
        weights = bootstrap_draws(options, count, np.random.default_rng(seed))
        rows: list[Term] = []
        ready: list[tuple[WildBootstrap, NDArray[np.intp]]] = []
        influence: list[FloatArray] = []
        checks: list[Check] = []
        for outcome in range(len(data.outcome_names)):
            fitted, notes = arm_regression(data, outcome)
            checks += notes
            for arm in range(1, len(data.arms)):
                one = prepared(options, fitted, arm)
                rows.append(_row(data, outcome, arm, one, (fitted.used, fitted.clusters.size)))
                ready.append((one, fitted.clusters))
                spread = np.zeros(count)
                spread[fitted.clusters] = one.influence
                influence.append(spread)
        imposed = self.variant.startswith("WCR")
        columns = np.concatenate(
            [
                [
                    one.parts(block[:, clusters]).statistic(one.estimate if imposed else 0.0, studentised=True)
                    for one, clusters in ready
                ]
                for block in weights.blocks()
            ],
            axis=1,
        )
        turn = {"two_sided": np.abs, "greater": np.positive, "less": np.negative}[self.alternative]
        values = turn(np.where(np.isnan(columns), np.inf, columns).T)
        observed = turn(np.array([row.value / row.std_error for row in rows]))  # type: ignore[operator]
        weight = weights.probability
        adjusted = step_down(values, observed, weight)
        own = [tail(values[:, i], float(x), weight, rule="greater") for i, x in enumerate(observed)]
        note = f"p_adjusted is adjusted for {len(rows)} rows together; p_value and intervals are not adjusted."
        return self._answer(
            data,
            rows,
            (own, adjusted),
            influence,
            weights.words,
            (seed, rng is None),
            [*checks, Check("multiplicity", "info", note)],
        )

    def _answer(
        self,
        data: Trial,
        rows: list[Term],
        p_values: tuple[list[float], FloatArray],
        influence: list[FloatArray],
        how: str,
        seed: tuple[int, bool],
        checks: list[Check],
    ) -> Estimates:
        scores = np.column_stack(influence)
        terms = tuple(
            replace(
                row,
                extra=(
                    ("p_bootstrap", own),
                    ("p_adjusted", float(adjusted)),
                    ("adjustment", "Romano-Wolf step-down"),
                ),
            )
            for row, own, adjusted in zip(rows, *p_values, strict=True)
        )
        unit = "clusters" if data.cluster is not None else "people"
        return Estimates(
            estimator=self.name,
            terms=terms,
            covariance=scores.T @ scores,
            method=Method(
                sample=all_samples(data),
                std_error="cluster jackknife (CV3)" if self.variant[4] == "3" else f"robust by {unit} ({self.vcov})",
                small_sample=f"wild bootstrap {self.variant} for the adjusted p-values",
                reference=f"t with {unit} minus one degrees of freedom; adjusted: bootstrap distribution ({how})",
                inference_for=f"a superpopulation of {unit}",
                assumptions=(
                    "arms were assigned at random as declared",
                    f"{unit} are independent of each other",
                    "outcomes are missing for reasons unrelated to the outcome",
                ),
                source="Romano and Wolf 2005, 2016",
            ),
            checks=(*dict.fromkeys(checks), *missing_check(data)),
            provenance=Provenance(
                data.digest, tuple(options_of(self).items()), seed[0], versions(), seed_derived=seed[1]
            ),
            flow=data.flow(),
            influence=scores,
        )


def _row(data: Trial, outcome: int, arm: int, ready: WildBootstrap, sample: tuple[NDArray[np.bool_], int]) -> Term:
    used, count = sample
    y = data.outcomes[used, outcome]
    if ready.std_error <= 1e-13 * float(np.sqrt(np.mean(y**2))):
        raise IdentificationError(
            f"Nothing of the outcome {data.outcome_names[outcome]!r} is left to vary around the fit, so it cannot be "
            "resampled. Leave it out."
        )
    pair = used & np.isin(data.arm, (0, arm))
    return Term(
        term=f"{data.arms[arm]} vs {data.arms[0]}",
        estimand=Estimand("ITT", mean_contrast(data, outcome), "participant_average"),
        outcome=data.outcome_names[outcome],
        value=ready.estimate,
        std_error=ready.std_error,
        df=float(count - 1),
        n_units=int(pair.sum()),
        n_clusters=None if data.cluster is None else count,
        support=arm_support(data, outcome, pair, (0, arm)),
    )

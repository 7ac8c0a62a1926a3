"""`WildClusterBootstrap`: tests and intervals for few clusters from resampled signs of their scores."""

from __future__ import annotations

from dataclasses import dataclass
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
from gbveval.estimators._wild_test import bootstrap_draws, bootstrap_test, check_bootstrap, singular_checks
from gbveval.estimators.randomised._regression import ArmRegression, arm_regression
from gbveval.numerics.randomisation import Parts, join_parts
from gbveval.numerics.wild_bootstrap import WildBootstrap, wild_bootstrap

FloatArray = NDArray[np.float64]
VCOVS = ("CR0", "CR1", "CR1S")


@register("wild_cluster_bootstrap")
@dataclass(frozen=True, slots=True)
class WildClusterBootstrap:
    """Effect of assignment in a cluster trial, tested by the wild cluster bootstrap.

    Regresses the outcome on the arms, the trial's covariates, and indicators of its strata, pairs and periods. The t
    statistic of an arm is compared with those of bootstrap samples in which every cluster's residuals keep or change
    their sign together. The interval holds the effects that the test does not reject.

    Parameters
    ----------
    variant : str
        "WCR11" (the null imposed on the residuals; the default), "WCU11" (not imposed). A first digit of 3 takes each
        cluster's residuals from the fit without it; a second digit of 3 takes the jackknife variance (CV3). "WCR31" and
        "WCR33" are the most reliable when clusters are few or unequal.
    weights : str
        "rademacher" (signs) or "webb" (six points, for eleven clusters and fewer when not all signs are listed).
    n_draws : int
        Bootstrap samples; all 2^G vectors of signs are used instead when there are no more than these.
    null : float
        Effect under test.
    alternative : str
        "two_sided" (absolute t), "central" (twice the smaller tail), "greater" or "less".
    vcov : str
        Small-sample factor of the standard error for a second digit of 1: "CR0" none, "CR1" G/(G - 1), "CR1S" that
        times (n - 1)/(n - k). It changes the standard error shown, and not the test.
    ties : bool
        Whether bootstrap statistics equal to the observed one count as extreme. Among all sign vectors at least two are
        equal to it; without them p can be zero.
    level : float
        Level of the interval. It holds at this level only.

    Notes
    -----
    **Identifies** the effect of assignment when arms were assigned at random; with strata or pairs it weighs them by
    their share of treated times untreated, so declare strata with like shares, or read it under a constant effect.

    In a stepped wedge periods enter and clusters do not: clusters are compared with each other within a period.

    **Valid when** clusters are independent. It is far better than t with few clusters, but no cure: with one or two
    treated clusters WCR hardly ever and WCU nearly always rejects. A warning says so.
    WCU11 rejects up to three times too often with 6 clusters of very unequal size (docs: measured sizes).

    **Do not use when** there are fewer than about six clusters or a single treated one (use
    `RandomisationInference`), or when the trial has weights.

    References
    ----------
    Cameron, Gelbach and Miller (2008), Review of Economics and Statistics 90. MacKinnon and Webb (2017), Journal of
    Applied Econometrics 32. MacKinnon, Nielsen and Webb (2023), Journal of Applied Econometrics 38.

    Examples
    --------
    >>> frame = {
    ...     "y": [1.0, 2.0, 2.0, 3.0, 1.5, 1.0, 4.0, 5.0, 3.0, 5.0, 6.0, 4.0],
    ...     "arm": ["usual"] * 6 + ["new"] * 6,
    ...     "school": [1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6],
    ... }
    >>> trial = Trial(frame, outcome="y", arm="arm", control="usual", cluster="school")
    >>> row = WildClusterBootstrap().estimate(trial)[0]
    >>> row.value, row.p_value  # 2 of the 64 vectors of signs
    (2.75, 0.03125)
    """

    variant: str = "WCR11"
    weights: str = "rademacher"
    n_draws: int = 9_999
    null: float = 0.0
    alternative: str = "two_sided"
    vcov: str = "CR1S"
    ties: bool = True
    level: float = 0.95
    name: ClassVar[str] = "wild_cluster_bootstrap"

    def __post_init__(self) -> None:
        check_bootstrap(self)
        if self.vcov not in VCOVS:
            raise DesignError(f"vcov must be one of {', '.join(VCOVS)}, not {self.vcov!r}.")

    def estimate(self, data: Trial, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return the effect of each arm on each outcome.

        Parameters
        ----------
        data : Trial
            A trial whose clusters were assigned.
        rng : numpy.random.Generator, optional
            For drawn weights; by default seeded from the data and the options.

        Raises
        ------
        DesignError
            If the trial has no clusters, or weights.
        IdentificationError
            If an arm is collinear with the rest, or an arm has no cluster with an outcome.
        """
        if data.cluster is None:
            raise DesignError(
                "The wild cluster bootstrap resamples clusters; the trial declares none. Use RandomisationInference or "
                "LinAdjusted for units assigned one by one."
            )
        require_parallel("WildClusterBootstrap", data, crossover=True)
        if data.weight is not None:
            raise DesignError("WildClusterBootstrap takes no weights. Leave the role out, or use another estimator.")
        seed = derive_seed(data.digest, self.name, repr(options_of(self))) if rng is None else int(rng.integers(2**31))
        draws = np.random.default_rng(seed)
        rows: list[Term] = []
        influence: list[FloatArray] = []
        checks: list[Check] = []
        words = []
        for outcome in range(len(data.outcome_names)):
            fitted, notes = arm_regression(data, outcome)
            weights = bootstrap_draws(self, fitted.clusters.size, draws)
            checks += notes
            checks += _cluster_checks(data, fitted)
            words.append(weights.words)
            for arm in range(1, len(data.arms)):
                ready = prepared(self, fitted, arm)
                parts = join_parts([ready.parts(block) for block in weights.blocks()])
                row, notes = self._row(data, outcome, arm, fitted, ready, parts, weights.probability)
                rows.append(row)
                checks += notes
                spread = np.zeros(data.cluster.count)
                spread[fitted.clusters] = ready.influence
                influence.append(spread)
        return _estimates(self, data, rows, np.column_stack(influence), checks, words, (seed, rng is None))

    def _row(
        self,
        data: Trial,
        outcome: int,
        arm: int,
        fitted: ArmRegression,
        ready: WildBootstrap,
        parts: Parts,
        weight: FloatArray | None,
    ) -> tuple[Term, list[Check]]:
        if ready.std_error <= 1e-13 * fitted.size:
            raise IdentificationError(
                "Nothing is left to vary around the fit, so there is no standard error to bootstrap. Check the "
                "outcome, or use fewer covariates."
            )
        tested = bootstrap_test(self, ready, parts, weight, ties=self.ties)
        used = fitted.used & ((data.arm == 0) | (data.arm == arm))
        row = Term(
            term=f"{data.arms[arm]} vs {data.arms[0]}",
            estimand=Estimand("ITT", mean_contrast(data, outcome), "participant_average"),
            outcome=data.outcome_names[outcome],
            value=ready.estimate,
            std_error=ready.std_error,
            df=float(fitted.clusters.size - 1),
            interval=tested.interval,
            interval_level=self.level,
            statistic=(ready.estimate - self.null) / ready.std_error,
            p_value=tested.p_value,
            n_units=int(used.sum()),
            n_clusters=fitted.clusters.size,
            support=arm_support(data, outcome, used, (0, arm)),
            reason=tested.reason,
            extra=(("n_draws", float(parts.d_y.size)), ("draws", "listed" if weight is not None else "drawn")),
        )
        return row, list(singular_checks(ready))


def prepared(options: WildClusterBootstrap, fitted: ArmRegression, arm: int) -> WildBootstrap:
    """Return the bootstrap of one arm's coefficient."""
    count, fit = fitted.clusters.size, fitted.fit
    factor = {"CR0": 1.0, "CR1": count / (count - 1.0)}.get(
        options.vcov, count / (count - 1.0) * (fit.n - 1.0) / (fit.n - fit.k)
    )
    return wild_bootstrap(
        fit,
        fitted.sums,
        fitted.place[arm - 1],
        restricted=options.variant.startswith("WCR"),
        transformed=options.variant[3] == "3",
        jackknife=options.variant[4] == "3",
        factor=factor,
    )


def _cluster_checks(data: Trial, fitted: ArmRegression) -> list[Check]:
    counts = data.sizes_by_arm(fitted.used)[1]
    assert counts is not None
    checks = []
    if fitted.clusters.size < 6 or min(counts) < 3:
        text = (
            f"there are {fitted.clusters.size} clusters, the fewest in an arm {min(counts)}; the bootstrap is "
            "unreliable there. RandomisationInference is exact."
        )
        public = "there are few clusters in an arm; the bootstrap is unreliable there."
        checks.append(Check("few clusters", "warn", text, public))
    return checks


def _estimates(
    options: WildClusterBootstrap,
    data: Trial,
    rows: list[Term],
    influence: FloatArray,
    checks: list[Check],
    words: list[str],
    seed: tuple[int, bool],
) -> Estimates:
    imposed = "imposed on" if options.variant.startswith("WCR") else "not imposed on"
    jackknife = options.variant[4] == "3"
    return Estimates(
        estimator=options.name,
        terms=tuple(rows),
        covariance=influence.T @ influence,
        method=Method(
            sample=all_samples(data),
            std_error="cluster jackknife (CV3)" if jackknife else f"cluster-robust ({options.vcov})",
            small_sample=f"wild cluster bootstrap {options.variant}, the null {imposed} the residuals",
            reference=f"bootstrap distribution of t ({'; '.join(dict.fromkeys(words))})",
            inference_for="a superpopulation of clusters",
            assumptions=(
                "arms were assigned at random as declared",
                "clusters are independent of each other",
                "one cluster's assignment does not change another's outcome",
                "outcomes are missing for reasons unrelated to the outcome",
            ),
            source="Cameron, Gelbach and Miller 2008; MacKinnon, Nielsen and Webb 2023",
        ),
        level=options.level,
        checks=(*dict.fromkeys(checks), *missing_check(data)),
        provenance=Provenance(
            data.digest, tuple(options_of(options).items()), seed[0], versions(), seed_derived=seed[1]
        ),
        flow=data.flow(),
        influence=influence,
    )

"""`LinAdjusted`: regression adjustment with every covariate interacted with the arm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from gbveval.core.batch import BatchEstimates, ClusterBatch
from gbveval.core.errors import DesignError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.method import Check, Method
from gbveval.core.registry import register
from gbveval.data.trial import Trial
from gbveval.estimators._assemble import Row, all_samples, assemble, mean_contrast, require_parallel
from gbveval.estimators.randomised._batches import adjusted_batch, can_batch
from gbveval.estimators.randomised._linear import (
    Choice,
    arm_columns,
    check_arms_separate,
    check_options,
    check_sizes,
    choose,
    coefficient_rows,
    fit_checks,
    fit_trial,
    regression_weights,
    row_order,
    separate_outcomes,
    stratum_columns,
    used_rows,
)
from gbveval.numerics.least_squares import column_names, make_basis

FloatArray = NDArray[np.float64]


@register("lin_adjusted")
@dataclass(frozen=True, slots=True)
class LinAdjusted:
    """Difference between arms, adjusted for covariates by Lin's regression.

    Regresses the outcome on the arms, the covariates centred at their mean, and all products of the two. The
    coefficient of an arm estimates the average effect of being assigned to it instead of control. When units are
    assigned one by one it is asymptotically never less precise than the difference in means; when clusters are
    assigned it can be. Strata enter as covariates, so it also holds where probabilities differ between them.

    Parameters
    ----------
    std_error : str
        "auto" (CR2 when the trial is clustered, else HC2), "classical", "HC0" to "HC3", "CR0", "CR1", "CR1S", "CR2" or
        "CR3".
    df : str
        "auto" (Satterthwaite with CR2 and CR3, clusters minus one with the other CR, rows minus coefficients with HC),
        "residual", "clusters_minus_1", "satterthwaite" or "normal".
    population : str
        "participant_average", or "cluster_average", in which every cluster counts the same whatever its size.

    Notes
    -----
    **Identifies** the intention-to-treat effect over participants (or clusters), whether or not the regression is
    right, when assignment was random, with one probability in each stratum.

    **Valid when** there are clearly more independent units in each arm than coefficients. CR2 with Satterthwaite
    degrees of freedom holds with few clusters; its df, printed with the result, say how much is left.

    **Centring.** Covariates are centred at their weighted mean over the rows used, all arms together; the mean is taken
    as known. **With analysis weights** they enter the regression and the centring, and CR2 keeps an identity working
    model.

    **Do not use when** a covariate was measured after assignment, or a stratum lacks an arm (its slope would be
    borrowed; a check says so). Matched pairs are refused: a pair has nothing left to estimate its own effect from.

    The first rows are the effects; the rows after them are coefficients of the working model, without a causal reading.

    References
    ----------
    Lin (2013), Annals of Applied Statistics 7. Bell and McCaffrey (2002), Survey Methodology 28.
    Pustejovsky and Tipton (2018), Journal of Business and Economic Statistics 36.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.arange(12.0)
    >>> frame = {"y": x + np.tile([0.0, 2.0], 6), "x": x, "arm": ["usual", "new"] * 6}
    >>> trial = Trial(frame, outcome="y", arm="arm", control="usual", covariates=["x"])
    >>> round(LinAdjusted().estimate(trial)[0].value, 6)
    2.0
    """

    std_error: str = "auto"
    df: str = "auto"
    population: str = "participant_average"
    name: ClassVar[str] = "lin_adjusted"

    def __post_init__(self) -> None:
        check_options(self.std_error, self.df, self.population)

    def estimate(self, data: Trial, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return the adjusted difference of each arm for each outcome, and the coefficients behind it.

        Parameters
        ----------
        data : Trial
            A trial with two or more arms.
        rng : numpy.random.Generator, optional
            Ignored: nothing is random.

        Raises
        ------
        DesignError
            If the trial has pairs, clusters change arm over time, or the standard error does not fit it.
        IdentificationError
            If an arm is collinear with covariates, or there are too few units.
        """
        require_parallel("LinAdjusted", data)
        if data.pair is not None:
            raise DesignError(
                "LinAdjusted does not take the role 'pair': a pair has one unit in each arm, and nothing left to "
                "estimate its own slope from. Use DifferenceInMeans, or Ancova with covariates."
            )
        choice = choose(data, self.std_error, self.df)
        rows: list[Row] = []
        checks: list[Check] = []
        covariances: list[FloatArray] = []
        for outcome in range(len(data.outcome_names)):
            found, order, notes = self._fit(data, outcome, choice)
            rows += found
            checks += notes
            covariances.append(order)
        joint = None if rows[0].influence is not None else separate_outcomes(covariances)
        return assemble(self, data, rows, method=_method(self, data, choice), checks=checks, covariance=joint)

    @property
    def in_batches(self) -> bool:
        """Whether `estimate_batch` does what `estimate` does with these options."""
        return can_batch(self.std_error, self.population)

    def estimate_batch(self, batch: ClusterBatch) -> BatchEstimates:
        """Return what `estimate` returns, for many simulated cluster trials, from their cross-products.

        Parameters
        ----------
        batch : ClusterBatch
            Cross-products of the trials.

        Raises
        ------
        DesignError
            If these options need every respondent.
        IdentificationError
            If covariates of a draw are collinear.
        """
        if not self.in_batches:
            raise DesignError(
                "These options of LinAdjusted need every respondent, and a batch holds clusters; simulate with "
                "path='data'."
            )
        return adjusted_batch(batch, self.std_error, self.df, by_arm=True)

    def _fit(self, data: Trial, outcome: int, choice: Choice) -> tuple[list[Row], FloatArray, list[Check]]:
        used, checks = used_rows(data, outcome)
        weights = regression_weights(data, used, self.population)
        groups, group_names = stratum_columns(data, used)
        covariates = np.column_stack([data.covariates[used], groups])
        check_arms_separate(data, used, covariates)
        arms, arm_names = arm_columns(data, used)
        design, names = lin_design(arms, covariates, arm_names, (*data.covariate_names, *group_names), weights)
        check_sizes(data, used, 1 + design.shape[1] - int(make_basis(design).dropped.size))
        found = fit_trial(data, used, outcome, design, choice, weights)
        kept, dropped = column_names(list(names), found.fit.basis)
        for arm in arm_names:
            checks += _borrowed_slopes(dropped, kept, arm)
        unexplained = [name for name in dropped if not any(name in check.message for check in checks)]
        checks += fit_checks(found, 1, unexplained)
        estimand = Estimand("ITT", mean_contrast(data, outcome), self.population)
        order = row_order(found, names, arm_names)
        return (
            coefficient_rows(data, used, outcome, found, names, estimand, choice),
            found.covariance[np.ix_(order, order)],
            checks,
        )


def lin_design(
    arms: FloatArray,
    covariates: FloatArray,
    arm_names: tuple[str, ...],
    names: tuple[str, ...],
    weights: FloatArray | None = None,
) -> tuple[FloatArray, tuple[str, ...]]:
    """Return the columns (arms, centred covariates, products by arm) and their names."""
    w = np.ones(covariates.shape[0]) if weights is None else weights
    centred = covariates - (w @ covariates) / w.sum()
    products = [arms[:, [position]] * centred for position in range(arms.shape[1])]
    design = np.column_stack([arms, centred, *products])
    labels = [*arm_names, *(f"{name} (centred)" for name in names)]
    labels += [f"{arm} x {name} (centred)" for arm in arm_names for name in names]
    return design, tuple(labels)


def _borrowed_slopes(dropped: list[str], kept: list[str], arm: str) -> list[Check]:
    """Name covariates that do not vary in one arm: the slope there is then taken from the other."""
    prefix = f"{arm} x "
    found = [name for name in dropped if name.startswith(prefix) and name.removeprefix(prefix) in kept]
    return [
        Check(
            "slopes",
            "warn",
            f"{name} cannot be estimated, since the covariate hardly varies in one arm; its slope is taken from the "
            "other arm, which is an assumption. Leave the covariate out to avoid it.",
        )
        for name in found
    ]


def _method(model: LinAdjusted, data: Trial, choice: Choice) -> Method:
    whom = "clusters, each counted once" if model.population == "cluster_average" else "the participants of the trial"
    return Method(
        sample=all_samples(data),
        std_error=choice.std_error_words(),
        small_sample=choice.small_sample_words(),
        reference=choice.reference_words(),
        inference_for=f"{whom} (conservative), covariate means taken as known",
        assumptions=(
            "arms were assigned at random as declared, with one probability in each stratum",
            "covariates were measured before assignment",
            "one unit's assignment does not change another's outcome",
            "outcomes are missing for reasons unrelated to the outcome",
        ),
        source="Lin 2013",
    )

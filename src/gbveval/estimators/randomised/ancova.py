"""`Ancova`: analysis of covariance, one slope for all arms."""

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
    with_baseline,
)
from gbveval.numerics.least_squares import column_names, make_basis
from gbveval.numerics.linear_inference import LinearInference

FloatArray = NDArray[np.float64]


@register("ancova")
@dataclass(frozen=True, slots=True)
class Ancova:
    """Difference between arms, adjusted for covariates with one slope for all arms.

    Least squares of the outcome on the arms, the baseline outcome (role `baseline`), the covariates and an effect of
    each stratum or pair. Without covariates this is the plain regression on the arms.

    Parameters
    ----------
    std_error : str
        "auto" (CR2 where clusters or pairs were assigned, else HC2), "classical", "HC0" to "HC3", or "CR0", "CR1",
        "CR1S" (Stata's factor), "CR2", "CR3" (cluster jackknife).
    df : str
        "auto" (Satterthwaite with CR2 and CR3, clusters minus one with the other CR, rows minus coefficients with HC),
        "residual", "clusters_minus_1", "satterthwaite" or "normal".
    population : str
        "participant_average", or "cluster_average", in which every cluster counts the same whatever its size. They
        differ when the effect goes with cluster size.
    cluster_by : str
        "assignment": errors are clustered by the clusters or pairs that were assigned. "site": by site, for a
        superpopulation of sites, also where people were assigned within them (Abadie, Athey, Imbens and Wooldridge
        2023); it needs many sites.
    interact : tuple of str
        Covariates whose product with each arm enters. The arm's row is then the effect where they are zero, a
        conditional effect; for the average effect use `LinAdjusted`, for effects by subgroup `SubgroupEffects`.

    Notes
    -----
    **Identifies** the intention-to-treat effect, whether or not the regression is right, when assignment was random
    with one probability (Freedman 2008; Lin 2013). With strata of different probabilities it weights strata by how
    evenly they were split, which is nobody's population: use `DifferenceInMeans` or `LinAdjusted`.

    **Valid when** there are clearly more independent units than coefficients. CR2 with Satterthwaite degrees of freedom
    holds its level with few clusters, CR3 errs on the safe side; CR0, CR1 and clusters minus one are given for
    comparison with other software and reject too often, with 20 clusters of unequal size 10 % instead of 5 (docs:
    measured sizes).

    **Pairs.** With effects of pairs and errors clustered by unit (clusters of people) the variance is half of what it
    should be, and a test at 5 % rejects in the limit 16.6 %; errors are clustered by pair
    (de Chaisemartin and Ramirez-Cuellar 2024).

    **Do not use when** a covariate was measured after assignment. Rows after the arms are coefficients of the working
    model, without a causal reading.

    References
    ----------
    Freedman (2008), Advances in Applied Mathematics 40. Lin (2013), Annals of Applied Statistics 7. Bell and McCaffrey
    (2002), Survey Methodology 28. Abadie, Athey, Imbens and Wooldridge (2023), Quarterly Journal of Economics 138. de
    Chaisemartin and Ramirez-Cuellar (2024), American Economic Journal: Applied
    Economics 16.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.arange(12.0)
    >>> frame = {"y": 3 * x + np.tile([0.0, 2.0], 6), "x": x, "arm": ["usual", "new"] * 6}
    >>> trial = Trial(frame, outcome="y", arm="arm", control="usual", covariates=["x"])
    >>> round(Ancova().estimate(trial)[0].value, 6)
    2.0
    """

    std_error: str = "auto"
    df: str = "auto"
    population: str = "participant_average"
    cluster_by: str = "assignment"
    interact: tuple[str, ...] = ()
    name: ClassVar[str] = "ancova"

    def __post_init__(self) -> None:
        check_options(self.std_error, self.df, self.population, self.cluster_by)

    def estimate(self, data: Trial, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return a row for each arm against control and outcome, and the coefficients behind them.

        Parameters
        ----------
        data : Trial
            A trial with two or more arms.
        rng : numpy.random.Generator, optional
            Ignored: nothing is random.

        Raises
        ------
        DesignError
            If the standard error does not fit the trial, or clusters change arm over time.
        IdentificationError
            If an arm is collinear with covariates, or there are too few units.
        """
        require_parallel("Ancova", data)
        choice = choose(data, self.std_error, self.df, self.cluster_by)
        rows: list[Row] = []
        checks: list[Check] = []
        covariances: list[FloatArray] = []
        for outcome in range(len(data.outcome_names)):
            fitted, notes = fit_ancova(self, data, outcome, choice)
            contrast = mean_contrast(data, outcome)
            scale = "conditional" if self.interact else "marginal"
            estimand = Estimand("ITT", contrast, self.population, scale)
            rows += coefficient_rows(data, fitted.used, outcome, fitted.found, fitted.names, estimand, choice)
            checks += notes
            order = row_order(fitted.found, fitted.names, data.arms[1:])
            covariances.append(fitted.found.covariance[np.ix_(order, order)])
        joint = None if rows[0].influence is not None else separate_outcomes(covariances)
        return assemble(self, data, rows, method=_method(self, data, choice), checks=checks, covariance=joint)

    @property
    def in_batches(self) -> bool:
        """Whether `estimate_batch` does what `estimate` does with these options."""
        return can_batch(self.std_error, self.population) and self.cluster_by == "assignment" and not self.interact

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
                "These options of Ancova need every respondent, and a batch holds clusters; simulate with path='data'."
            )
        return adjusted_batch(batch, self.std_error, self.df, by_arm=False)


@dataclass(frozen=True, eq=False, slots=True)
class Fitted:
    """A fitted regression of one outcome with the names of its columns and the rows it used."""

    found: LinearInference
    names: tuple[str, ...]
    used: NDArray[np.bool_]


def fit_ancova(model: Ancova, data: Trial, outcome: int, choice: Choice) -> tuple[Fitted, list[Check]]:
    """Return the fit behind `Ancova` for one outcome, and what a reader should know of it."""
    used, checks = used_rows(data, outcome)
    used, notes = with_baseline(data, used, outcome)
    checks += notes
    design, names = _design(model, data, used)
    check_sizes(data, used, 1 + design.shape[1] - int(make_basis(design).dropped.size))
    weights = regression_weights(data, used, model.population)
    found = fit_trial(data, used, outcome, design, choice, weights)
    _, dropped = column_names(list(names), found.fit.basis)
    shown = [name for name in dropped if not name.startswith(("stratum #", "pair #"))]
    return Fitted(found, names, used), [*checks, *fit_checks(found, 1, shown)]


def _design(model: Ancova, data: Trial, used: NDArray[np.bool_]) -> tuple[FloatArray, tuple[str, ...]]:
    """Return the columns: arms, baseline, covariates, products, strata; and their names."""
    arms, arm_names = arm_columns(data, used)
    covariates, names = data.covariates[used], data.covariate_names
    if data.baseline is not None:
        covariates, names = np.column_stack([data.baseline[used], covariates]), ("baseline", *names)
    unknown = [name for name in model.interact if name not in names]
    if unknown:
        known = ", ".join(names) or "none"
        raise DesignError(f"interact names {', '.join(map(repr, unknown))}; the covariates are: {known}.")
    groups, group_names = stratum_columns(data, used)
    check_arms_separate(data, used, np.column_stack([covariates, groups]))
    products, product_names = [], []
    for name in model.interact:
        column = covariates[:, names.index(name)]
        for position, arm in enumerate(arm_names):
            products.append(arms[:, position] * column)
            product_names.append(f"{arm} x {name}")
    design = np.column_stack([arms, covariates, *products, groups])
    return design, (*arm_names, *names, *product_names, *group_names)


def _method(model: Ancova, data: Trial, choice: Choice) -> Method:
    whom = "clusters, each counted once" if model.population == "cluster_average" else "the participants of the trial"
    return Method(
        sample=all_samples(data),
        std_error=choice.std_error_words(),
        small_sample=choice.small_sample_words(),
        reference=choice.reference_words(),
        inference_for=f"{whom} (conservative) or a superpopulation",
        assumptions=(
            "arms were assigned at random as declared, with one probability",
            "covariates were measured before assignment",
            "one unit's assignment does not change another's outcome",
            "outcomes are missing for reasons unrelated to the outcome",
        ),
        source="Lin 2013; Bell and McCaffrey 2002",
    )

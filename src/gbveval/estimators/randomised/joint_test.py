"""`JointTest`: one test of several coefficients of a regression, with few clusters too."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError, IdentificationError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.method import Method
from gbveval.core.registry import register
from gbveval.core.term import Term
from gbveval.data.trial import Trial
from gbveval.estimators._assemble import (
    all_samples,
    arm_support,
    assemble_terms,
    mean_contrast,
    require_parallel,
)
from gbveval.estimators.randomised._linear import Choice, choose
from gbveval.estimators.randomised.ancova import Ancova, Fitted, fit_ancova
from gbveval.numerics.cluster_wald import WaldTest, cluster_wald
from gbveval.numerics.inference import f_upper, wald_joint
from gbveval.numerics.least_squares import column_names

FloatArray = NDArray[np.float64]
# The name of a test, what it is in words, and what the numeric function calls it.
TESTS = {
    "auto": "",
    "hotelling": "HTZ",
    "hotelling_a": "HTA",
    "hotelling_b": "HTB",
    "eigen_f": "EDF",
    "eigen_t": "EDT",
    "chi_squared": "chi-squared",
    "f": "naive-F",
}
_WORDS = {
    "hotelling": "approximate Hotelling T squared (total variance matched)",
    "hotelling_a": "approximate Hotelling T squared (least squares on all covariances)",
    "hotelling_b": "approximate Hotelling T squared (distinct covariances, as clubSandwich computes it)",
    "eigen_f": "F by two moments of the uncorrelated parts",
    "eigen_t": "chi-squared of normalised t statistics of the uncorrelated parts",
    "chi_squared": "chi-squared",
    "f": "F",
}
_TOO_FEW = "too few clusters for this many coefficients; test fewer, or a sharp null"


@register("joint_test")
@dataclass(frozen=True, slots=True)
class JointTest:
    """Test that several coefficients of an analysis of covariance are all zero.

    By default: that no arm differs from control. With `terms` any coefficients, such as the products of an arm with
    covariates (does the effect differ between subgroups? `SubgroupEffects` asks this and gives the effects as well).

    Parameters
    ----------
    terms : tuple of str
        Names of coefficients as `Ancova` shows them; the arm itself by its label ("new" or "new vs usual"). Empty: all
        arms.
    model : Ancova
        The regression and its covariance.
    test : str
        "auto": "hotelling" where errors are clustered, else "f". "hotelling" is the approximate Hotelling test, the one
        that holds its level with few clusters; with more than two thousand it is the F with clusters minus one degrees
        of freedom, from which it no longer differs. The others are there for comparison with other software:
        "hotelling_a", "hotelling_b", "eigen_f", "eigen_t", "chi_squared", "f" (clusters minus one, or rows minus
        coefficients, degrees of freedom).

    Notes
    -----
    **Valid when** assignment was random as declared and, for "hotelling", the errors are not far from the working model
    (independent, equal variances); it errs towards not rejecting. "chi_squared" and "f" reject far too often with few
    clusters: with ten clusters and three coefficients, several times their level (tests measure it).

    **Do not use when** there are hardly more clusters than coefficients: the test is then undefined and says so. For a
    sharp null hypothesis use `RandomisationInference`.

    References
    ----------
    Pustejovsky and Tipton (2018), Journal of Business and Economic Statistics 36. Tipton and Pustejovsky (2015),
    Journal of Educational and Behavioral Statistics 40.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(1)
    >>> frame = {"y": rng.normal(size=30), "arm": ["usual", "letter", "visit"] * 10}
    >>> trial = Trial(frame, outcome="y", arm="arm", control="usual")
    >>> row = JointTest().estimate(trial)[0]
    >>> row.kind, row.df, row.df2
    ('test', 2.0, 27.0)
    """

    terms: tuple[str, ...] = ()
    model: Ancova = field(default_factory=Ancova)
    test: str = "auto"
    name: ClassVar[str] = "joint_test"

    def __post_init__(self) -> None:
        if self.test not in TESTS:
            raise DesignError(f"test must be one of {', '.join(TESTS)}, not {self.test!r}.")

    def estimate(self, data: Trial, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return one test for each outcome.

        Parameters
        ----------
        data : Trial
            The checked trial.
        rng : numpy.random.Generator, optional
            Ignored: nothing is random.

        Raises
        ------
        DesignError
            If a term is not a coefficient of the model, or the test needs clusters that are not there.
        """
        require_parallel("JointTest", data)
        choice = choose(data, self.model.std_error, self.model.df, self.model.cluster_by)
        test = self.test if self.test != "auto" else "f" if choice.group is None else "hotelling"
        if choice.group is None and test not in ("f", "chi_squared"):
            raise DesignError(f"test={test!r} is for clustered errors; here units are independent. Use 'f'.")
        rows, checks = [], []
        for outcome in range(len(data.outcome_names)):
            fitted, notes = fit_ancova(self.model, data, outcome, choice)
            rows.append(self._row(data, outcome, fitted, test, choice))
            checks += [note for note in notes if note.name != "degrees of freedom"]
        return assemble_terms(self, data, rows, method=_method(data, choice, test), checks=checks)

    def _row(self, data: Trial, outcome: int, fitted: Fitted, test: str, choice: Choice) -> Term:
        kept, _ = column_names(list(fitted.names), fitted.found.fit.basis)
        wanted = [_plain(name, data.arms) for name in self.terms] or list(data.arms[1:])
        absent = [name for name in wanted if name not in kept]
        if absent:
            raise DesignError(
                f"{', '.join(map(repr, absent))}: no such coefficient, or it was dropped as collinear. There are: "
                f"{', '.join(name for name in kept if not name.startswith(('stratum ', 'pair ')))}."
            )
        constraints = np.zeros((len(wanted), len(kept)))
        for row, name in enumerate(wanted):
            constraints[row, kept.index(name)] = 1.0
        outcomes = data.outcomes[fitted.used, outcome]
        # What rounding leaves of an outcome that is fitted exactly.
        exact = fitted.found.residual_squares <= 1e-26 * float(outcomes @ outcomes)
        undefined = WaldTest(float("nan"), float("nan"), len(wanted), float("nan"), float("nan"))
        found = undefined if exact else _test(fitted, constraints, test, choice)
        causal = set(wanted) <= set(data.arms[1:])
        estimand = Estimand("ITT" if causal else "nuisance", mean_contrast(data, outcome), self.model.population)
        possible = np.isfinite(found.p_value) and not exact
        reason = "nothing is left to vary around the fit" if exact else _TOO_FEW
        groups = choice.group
        used = fitted.used
        return Term(
            term=f"all zero: {', '.join(wanted)}",
            estimand=estimand,
            outcome=data.outcome_names[outcome],
            value=None,
            std_error=None,
            df=float(found.df),
            kind="test",
            statistic=found.statistic if possible else None,
            df2=found.df2 if possible and np.isfinite(found.df2) else None,
            p_value=found.p_value if possible else None,
            n_units=int(used.sum()),
            n_clusters=None if groups is None else int(np.unique(groups[used]).size),
            support=arm_support(data, outcome, used, range(len(data.arms))),
            reason="" if possible else reason,
            extra=(("scale", found.scale if possible else None),),
        )


def _plain(name: str, arms: tuple[str, ...]) -> str:
    """Return the coefficient of an arm that is named as a comparison."""
    for arm in arms[1:]:
        if name == f"{arm} vs {arms[0]}":
            return arm
    return name


def _test(fitted: Fitted, constraints: FloatArray, test: str, choice: Choice) -> WaldTest:
    found = fitted.found
    if np.linalg.matrix_rank(constraints) < constraints.shape[0]:
        raise DesignError("A term is named twice; name each coefficient once.")
    if found.moments is not None:
        return cluster_wald(found.beta, found.covariance, constraints, found.moments, test=TESTS[test])
    value = constraints @ found.beta
    statistic, rank, _ = wald_joint(value, constraints @ found.covariance @ constraints.T)
    if rank < constraints.shape[0]:
        raise IdentificationError("The coefficients have no variance left to test them with. Use fewer covariates.")
    # Thousands of clusters, whose number decides, or units.
    free = found.fit.n - found.fit.k if choice.group is None else np.unique(choice.group[fitted.used]).size - 1
    df2 = float("inf") if test == "chi_squared" else float(free)
    return WaldTest(statistic / rank, 1.0, rank, df2, f_upper(statistic / rank, rank, df2))


def _method(data: Trial, choice: Choice, test: str) -> Method:
    if choice.group is None:
        reference = "chi-squared" if test == "chi_squared" else "F with rows minus coefficients degrees of freedom"
    else:
        reference = _WORDS[test] + (" with clusters minus one degrees of freedom" if test == "f" else "")
    return Method(
        sample=all_samples(data),
        std_error=choice.std_error_words(),
        small_sample=choice.small_sample_words(),
        reference=reference,
        inference_for="the participants of the trial (conservative) or a superpopulation",
        assumptions=(
            "arms were assigned at random as declared, with one probability",
            "covariates were measured before assignment",
            "one unit's assignment does not change another's outcome",
            "outcomes are missing for reasons unrelated to the outcome",
        ),
        source="Pustejovsky and Tipton 2018",
    )

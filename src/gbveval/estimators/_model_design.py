"""From a `Trial` to the columns of a regression model: arms, covariates, strata, offset, weights, clusters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DataError, DesignError, IdentificationError
from gbveval.core.method import Check
from gbveval.data._frame import Labels
from gbveval.data.trial import Trial
from gbveval.estimators.randomised._linear import check_nested, regression_weights
from gbveval.numerics.least_squares import Basis, make_basis

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
BoolArray = NDArray[np.bool_]
# Fewer rows a stratum than this, and the estimated stratum coefficients pull the others away from zero.
SMALL_STRATUM = 10.0


@dataclass(frozen=True, eq=False, slots=True)
class Design:
    """The rows and columns of one outcome's model.

    Attributes
    ----------
    used : ndarray of bool, shape (units of the trial,)
        Units with the outcome and a positive weight.
    y : ndarray, shape (n,)
        Their outcome.
    arm : ndarray of int, shape (n,)
        Their arm.
    offset, weight : ndarray, shape (n,), or None
        Log exposure; prior weights.
    cluster : ndarray of int, shape (n,), or None
        Clusters present (or sites, where errors are clustered by site), coded from zero.
    present : ndarray of int, or None
        Which cluster of the trial each of them is.
    n_groups : int
        Independent units of the trial: clusters (sites), or units.
    columns : ndarray, shape (n, columns)
        Covariates, strata, arms, products, in this order and without the constant.
    names : tuple of str
        Their names.
    basis : Basis
        A well-conditioned basis of the constant and the columns.
    arms : tuple of int
        Position of each arm but control among the coefficients.
    shown : tuple of int
        Positions of the coefficients that are shown after the arms.
    products : tuple of int
        Covariates that have a product with the arms.
    checks : tuple of Check
        What was found.
    """

    used: BoolArray
    y: FloatArray
    arm: IntArray
    offset: FloatArray | None
    weight: FloatArray | None
    cluster: IntArray | None
    present: IntArray | None
    n_groups: int
    columns: FloatArray
    names: tuple[str, ...]
    basis: Basis
    arms: tuple[int, ...]
    shown: tuple[int, ...]
    products: tuple[int, ...]
    checks: tuple[Check, ...]

    @property
    def z(self) -> FloatArray:
        """The basis of all rows, shape (n, k)."""
        return self.basis.rows(self.columns, slice(None))

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the coefficients, the intercept first."""
        return ("intercept", *(self.names[i] for i in self.basis.kept))

    @property
    def n_clusters(self) -> int | None:
        """Clusters with a row that is used."""
        return None if self.present is None else int(self.present.size)

    def under(self, arm: int, n_arms: int) -> FloatArray:
        """Return the basis of all rows as if everybody were in one arm."""
        columns = self.columns.copy()
        width = (n_arms - 1) * (1 + len(self.products))
        first = columns.shape[1] - width
        codes = np.full(self.y.size, arm, dtype=np.intp)
        columns[:, first:] = _arm_columns(codes, n_arms, columns[:, list(self.products)])
        return self.basis.rows(columns, slice(None))


def build_design(
    data: Trial,
    outcome: int,
    *,
    name: str,
    products: Sequence[int] = (),
    log_link: bool = False,
    cluster_by: str = "assignment",
    population: str = "participant_average",
) -> Design:
    """Return the model of one outcome of a trial.

    Parameters
    ----------
    data : Trial
        The trial.
    outcome : int
        Position of the outcome.
    name : str
        Of the estimator, for messages.
    products : sequence of int
        Covariates whose products with the arms are added.
    log_link : bool
        Whether the link is the logarithm, so that exposure is an offset.
    cluster_by : str
        "assignment" or "site".
    population : str
        "participant_average" or "cluster_average", in which the weights of every cluster add up to the same.

    Raises
    ------
    DesignError
        If the trial has a role that the model cannot use.
    IdentificationError
        If an arm is too small, or is a combination of the covariates.
    """
    _check_roles(data, name, log_link)
    checks: list[Check] = []
    used = data.observed(outcome)
    if data.weight is not None:
        zero = used & (data.weight == 0)
        used = used & ~zero
        if zero.any():
            checks.append(Check("weights", "info", f"{int(zero.sum())} units have weight zero and take no part."))
    _check_arms(data, used)
    arm = data.arm[used]
    covariates = data.covariates[used]
    strata, strata_names = _strata(data, used)
    n_arms = len(data.arms)
    columns = np.column_stack([covariates, strata, _arm_columns(arm, n_arms, covariates[:, list(products)])])
    product_names = [f"{label} x {data.covariate_names[j]}" for label in data.arms[1:] for j in products]
    names = (*data.covariate_names, *strata_names, *data.arms[1:], *product_names)
    weight = regression_weights(data, used, population)
    basis = make_basis(columns, weights=weight)
    first_arm = covariates.shape[1] + strata.shape[1]
    checks += _check_rank(data, basis, names, first_arm)
    checks += _check_size(data, used, basis, strata.shape[1])
    position = {int(column): place + 1 for place, column in enumerate(basis.kept)}
    arms = tuple(position[first_arm + a] for a in range(n_arms - 1))
    hidden = set(range(covariates.shape[1], first_arm))
    shown = tuple(place for column, place in position.items() if column not in hidden and place not in arms)
    groups = grouping(data, cluster_by)
    present = cluster = None
    if groups is not None:
        present, cluster = np.unique(groups.codes[used], return_inverse=True)
        _check_groups(present.size, cluster_by)
    return Design(
        used=used,
        y=data.outcomes[used, outcome],
        arm=arm,
        offset=None if data.exposure is None else np.log(data.exposure[used]),
        weight=weight,
        cluster=cluster,
        present=present,
        n_groups=data.n if groups is None else groups.count,
        columns=columns,
        names=names,
        basis=basis,
        arms=arms,
        shown=shown if strata.shape[1] else (0, *shown),
        products=tuple(products),
        checks=tuple(checks),
    )


def grouping(data: Trial, cluster_by: str) -> Labels | None:
    """Return what errors are clustered by: the clusters that were assigned, the sites, or nothing.

    Raises
    ------
    DesignError
        If errors shall be clustered by site and the trial has none, or a cluster lies in several.
    """
    if cluster_by != "site":
        return data.cluster
    if data.site is None:
        raise DesignError("cluster_by='site' needs the role 'site'; the trial declares none.")
    check_nested(data)
    return data.site


def _check_groups(count: int, cluster_by: str) -> None:
    if count < 3:
        what = "site" if cluster_by == "site" else "cluster"
        raise IdentificationError(
            f"Only {count} {what}s have an outcome, which leaves no variance between them to estimate. Use a "
            "randomisation test, or describe the data without inference."
        )


def check_outcome(data: Trial, outcome: int, family: str, name: str) -> list[Check]:
    """Raise where an outcome is outside the range of a family; say where it is unusual inside it."""
    y = data.outcomes[data.observed(outcome), outcome]
    column = data.outcome_names[outcome]
    if family == "binomial":
        wrong = int(((y < 0) | (y > 1)).sum())
        if wrong:
            raise DataError(
                f"Column {column!r} (outcome) is not 0 or 1 in {wrong:,} rows; {name} with family 'binomial' needs an "
                "outcome that is 0 or 1, or a proportion with its denominator as weight. Recode it, or choose another "
                "family."
            )
        between = int(((y > 0) & (y < 1)).sum())
        if between:
            text = (
                f"{column} is a proportion in {between:,} rows; with weights as denominators it is a count of events."
            )
            return [Check("proportions", "info", text)]
    if family in ("poisson", "quasipoisson", "negative_binomial"):
        wrong = int((y < 0).sum())
        if wrong:
            raise DataError(
                f"Column {column!r} (outcome) is negative in {wrong:,} rows; a count is zero or more. Recode it, or "
                "use family 'gaussian'."
            )
        broken = int((y != np.round(y)).sum())
        if broken and family == "negative_binomial":
            text = f"{column} is not a whole number in {broken:,} rows; give counts, with the role exposure for rates."
            return [Check("counts", "warn", text)]
    return []


def _check_roles(data: Trial, name: str, log_link: bool) -> None:
    if data.pair is not None:
        raise DesignError(
            f"{name} does not take the role 'pair': a coefficient for each pair would bias the others. Use "
            "DifferenceInMeans, or give what the pairs were matched on as covariates."
        )
    if data.exposure is not None and not log_link:
        raise DesignError(
            f"{name} uses the role 'exposure' only with a log link, where it is an offset. Choose the log link, or "
            "leave exposure out."
        )


def _strata(data: Trial, used: BoolArray) -> tuple[FloatArray, tuple[str, ...]]:
    """Return an indicator for each stratum that occurs but the first."""
    if data.stratum is None:
        return np.zeros((int(used.sum()), 0)), ()
    present, codes = np.unique(data.stratum.codes[used], return_inverse=True)
    columns = (codes[:, None] == np.arange(1, present.size)[None, :]).astype(float)
    return columns, tuple(f"stratum {data.stratum.levels[i]}" for i in present[1:])


def _arm_columns(arm: IntArray, n_arms: int, covariates: FloatArray) -> FloatArray:
    """Return an indicator for each arm but control, and its products with the covariates."""
    arms = (arm[:, None] == np.arange(1, n_arms)[None, :]).astype(float)
    products = [arms[:, [a]] * covariates for a in range(n_arms - 1)]
    return np.column_stack([arms, *products])


def _check_arms(data: Trial, used: BoolArray) -> None:
    for code, label in enumerate(data.arms):
        member = used & (data.arm == code)
        what = "unit" if data.cluster is None else "cluster"
        count = int(member.sum()) if data.cluster is None else int(np.unique(data.cluster.codes[member]).size)
        if count < 2:
            raise IdentificationError(
                f"Arm {label!r} has {count} {what}{'' if count == 1 else 's'} with an outcome; at least two are needed "
                "for a standard error. Merge arms, or describe the data without inference."
            )


def _check_rank(data: Trial, basis: Basis, names: Sequence[str], first_arm: int) -> list[Check]:
    last_arm = first_arm + len(data.arms) - 1
    if any(first_arm <= i < last_arm for i in basis.dropped):
        raise IdentificationError(
            "An arm is collinear with the covariates or strata, so its effect cannot be told from theirs. Leave out "
            "the covariate that determines the arm, or merge strata that hold one arm only."
        )
    dropped = [names[i] for i in basis.dropped]
    if not dropped:
        return []
    return [Check("rank", "warn", f"collinear columns were dropped and change nothing: {', '.join(dropped)}.")]


def _check_size(data: Trial, used: BoolArray, basis: Basis, n_strata: int) -> list[Check]:
    n, k = int(used.sum()), basis.kept.size + 1
    if n <= k:
        raise IdentificationError(
            f"{n} units with an outcome for {k} coefficients; more units than coefficients are needed. Use fewer "
            "covariates or merge strata."
        )
    if n_strata and n < SMALL_STRATUM * (n_strata + 1):
        text = (
            f"{n_strata + 1} strata have {n / (n_strata + 1):.1f} units each on average; with so few, their estimated "
            "coefficients bias those of a model that is not linear. Merge strata, or use DifferenceInMeans."
        )
        return [Check("strata", "warn", text)]
    return []

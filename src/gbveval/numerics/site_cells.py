"""Hides how people in sites become sums by site, arm, cluster and covariate cell, which is all a likelihood needs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.groups import compact, group_sizes, group_sums

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

FAMILIES = ("binomial", "normal", "negative_binomial", "ordinal", "hurdle")
# A covariate with more values than this makes cells of single people, and then nothing has been summed up.
MOST_LEVELS = 12


@dataclass(frozen=True, slots=True, eq=False)
class SiteCells:
    """Sufficient statistics of people in sites.

    A cell is a site and an arm, and further a cluster, a combination of covariate values and an amount of exposure
    where there are such.

    Attributes
    ----------
    n_sites, n_arms, n_clusters : int
        How many there are; no clusters is zero.
    site, arm, cluster : ndarray of int, shape (cells,)
        Where each cell lies; `cluster` is zero throughout without clusters.
    covariates : ndarray, shape (cells, covariates)
        Mean of each covariate in the cell, about its mean over all people.
    log_exposure : ndarray, shape (cells,)
        Logarithm of exposure; zero without.
    n, total : ndarray, shape (cells,)
        People, and the sum of their outcomes: events, counts, values.
    positive : ndarray, shape (cells,)
        People with an outcome above zero; for a hurdle.
    categories : ndarray, shape (cells, levels)
        People in each category; for ordered outcomes. Otherwise no columns.
    values, people : ndarray, shape (values,)
        Each count above zero that occurs, and how many people have it, in all cells together; for counts.
    within : ndarray, shape (1 + covariates, 1 + covariates)
        Cross-products of outcome and covariates about their cell means, summed over cells; for the normal.
    """

    n_sites: int
    n_arms: int
    n_clusters: int
    site: IntArray
    arm: IntArray
    cluster: IntArray
    covariates: FloatArray
    log_exposure: FloatArray
    n: FloatArray
    total: FloatArray
    positive: FloatArray
    categories: FloatArray
    values: FloatArray
    people: FloatArray
    within: FloatArray

    @property
    def n_cells(self) -> int:
        """Cells."""
        return int(self.n.shape[0])

    def by_site_and_arm(self, values: FloatArray) -> FloatArray:
        """Return sums of `values` (cells first) over the cells of each site and arm, shape (sites, arms, ...)."""
        summed: FloatArray = np.zeros((self.n_sites, self.n_arms, *values.shape[1:]))
        np.add.at(summed, (self.site, self.arm), values)
        return summed

    def cluster_shares(self) -> FloatArray:
        """Return the sum of squared shares of clusters in each site and arm: one over how many there are, if alike."""
        sizes = np.zeros((self.n_sites, self.n_arms, max(self.n_clusters, 1)))
        np.add.at(sizes, (self.site, self.arm, self.cluster), self.n)
        total = sizes.sum(axis=2)
        shares: FloatArray = (sizes**2).sum(axis=2) / np.where(total > 0, total, 1.0) ** 2
        return shares


def site_cells(
    y: FloatArray,
    site: IntArray,
    arm: IntArray,
    *,
    family: str,
    n_arms: int,
    cluster: IntArray | None = None,
    covariates: FloatArray | None = None,
    exposure: FloatArray | None = None,
) -> SiteCells:
    """Return the sufficient statistics of people for one family of models.

    Parameters
    ----------
    y : ndarray, shape (people,)
        Outcomes: 0 or 1, counts, levels 0, 1, 2, ... of an ordered outcome, or any numbers for the normal.
    site, arm, cluster : ndarray of int, shape (people,)
        Codes from zero on.
    family : str
        One of `FAMILIES`.
    n_arms : int
        Arms of the trial, control included.
    covariates : ndarray, shape (people, covariates), optional
        For the normal any; for the others each column has few values, since each combination makes cells.
    exposure : ndarray, shape (people,), optional
        Time at risk behind a count; each amount makes cells.

    Raises
    ------
    ValueError
        If a covariate, or the exposure, has more than `MOST_LEVELS` values where that matters.

    Notes
    -----
    What is summed loses nothing: the likelihood of the people is that of the sums times a constant. For the negative
    binomial, lgamma(y + size) needs the counts themselves, but not whose they are, so one histogram serves all cells.
    For the normal, sum (y - a - x'b)^2 over a cell is n (ybar - a - xbar'b)^2 plus a quadratic form in b whose
    matrix is summed over cells.

    Examples
    --------
    >>> cells = site_cells(np.array([0.0, 1, 1, 0]), np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]),
    ...                    family="binomial", n_arms=2)
    >>> cells.n.tolist(), cells.total.tolist()
    ([1.0, 1.0, 1.0, 1.0], [0.0, 1.0, 1.0, 0.0])
    """
    n_sites = int(site.max()) + 1
    x = np.zeros((y.shape[0], 0)) if covariates is None else covariates - covariates.mean(axis=0)
    code, count = site * n_arms + arm, n_sites * n_arms
    if cluster is not None:
        code, count = _cross(code, count, cluster, int(cluster.max()) + 1)
    if family != "normal":
        for column in x.T:
            code, count = _cross(code, count, *_levels(column, "covariate"))
    if exposure is not None:
        code, count = _cross(code, count, *_levels(exposure, "exposure"))
    occurring, code = compact(code, count)
    count = occurring.size
    n, first = group_sizes(code, count), _first_rows(code, count)
    total = group_sums(code, y, count)
    mean_x = np.column_stack([group_sums(code, column, count) / n for column in x.T]) if x.shape[1] else x[:count]
    values, people = _histogram(y) if family in ("negative_binomial", "hurdle") else (np.zeros(0), np.zeros(0))
    return SiteCells(
        n_sites,
        n_arms,
        0 if cluster is None else int(cluster.max()) + 1,
        site[first],
        arm[first],
        np.zeros(count, dtype=np.intp) if cluster is None else cluster[first],
        mean_x,
        np.zeros(count) if exposure is None else np.log(exposure[first]),
        n,
        total,
        group_sums(code, (y > 0).astype(np.float64), count) if family == "hurdle" else np.zeros(count),
        _categories(code, y, count) if family == "ordinal" else np.zeros((count, 0)),
        values,
        people,
        _within(code, y, x, total / n, mean_x) if family == "normal" else np.zeros((0, 0)),
    )


def _cross(code: IntArray, count: int, other: IntArray, others: int) -> tuple[IntArray, int]:
    """Return codes of the combinations that occur, without a table of those that do not."""
    occurring, crossed = compact(code * others + other, count * others)
    return crossed, int(occurring.size)


def _levels(column: FloatArray, what: str) -> tuple[IntArray, int]:
    """Return a column as codes of its values, of which there may be few only."""
    levels, codes = np.unique(column, return_inverse=True)
    if levels.size > MOST_LEVELS:
        raise ValueError(
            f"A {what} has {levels.size:,} values; each makes cells of its own, and more than {MOST_LEVELS} leave "
            "nothing summed up."
        )
    return codes, int(levels.size)


def _first_rows(code: IntArray, count: int) -> IntArray:
    """Return a row of each cell."""
    first = np.empty(count, dtype=np.intp)
    first[code] = np.arange(code.size)
    return first


def _histogram(y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the counts above zero that occur, and how many people have each."""
    values, people = np.unique(y[y > 0], return_counts=True)
    return values.astype(np.float64), people.astype(np.float64)


def _categories(code: IntArray, y: FloatArray, count: int) -> FloatArray:
    levels = int(y.max()) + 1
    return group_sizes(code * levels + y.astype(np.intp), count * levels).reshape(count, levels)


def _within(code: IntArray, y: FloatArray, x: FloatArray, mean_y: FloatArray, mean_x: FloatArray) -> FloatArray:
    """Return cross-products about cell means, centred first, so that large means cost no digits."""
    left = np.column_stack([y - mean_y[code], x - mean_x[code]])
    crossed: FloatArray = left.T @ left
    return crossed

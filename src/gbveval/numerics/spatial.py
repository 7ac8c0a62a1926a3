"""Sums over pairs of neighbouring places: the covariance of Conley (1999), without a matrix of distances.

An estimate less its truth is, to first order, the sum of influence values psi_i of places i (of all rows of a place, in
all periods). If shocks of places farther apart than a cutoff are uncorrelated, its variance is the sum of
E[psi_i psi_j'] over pairs within it. Conley (1999, Journal of Econometrics 92, 1-45) weights the pairs by a kernel of
their distance that declines to zero:

    V = sum_i sum_j k(d_ij / cutoff) psi_i psi_j'

"bartlett" is k(u) = 1 - u, "uniform" is k(u) = 1, both zero beyond u = 1. Summing a place over its periods first, as
here, leaves the correlation within a place over time, and between neighbours in any two periods, without restriction
(Driscoll and Kraay 1998 restrict lags and not distance; sums over pairs in the same period restrict lags too).

**Neither kernel makes V positive semi-definite.** The uniform one does not on a line: for three places a cutoff apart
the matrix of weights has the eigenvalue 1 - sqrt(2). Bartlett's is the overlap of two intervals, and so positive
semi-definite, on a line only: in the plane its transform takes negative values, and a square grid of 36 places with a
cutoff of 1.4 steps has an eigenvalue below zero. Conley's own weights, products of Bartlett kernels in two coordinates,
are positive semi-definite, and depend on how the map is turned. Kelejian and Prucha (2007, Journal of Econometrics 140,
131-154) show consistency for kernels of distance. With Bartlett's kernel negative variances are rare, and with neither
are they hidden: `SpatialCovariance.negative` marks them.

The sums need only pairs within the cutoff. They are found by a tree over points on the unit sphere, where the distance
along a great circle is 2 R arcsin(chord / 2), and taken in blocks, so that memory does not grow with the number of
pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy.spatial import cKDTree

FloatArray = NDArray[np.float64]
KERNELS = ("bartlett", "uniform")
# Mean radius of the earth (IUGG), in kilometres; the ellipsoid's differ from it by at most 0.34 percent.
EARTH_KM = 6371.0088
# Pairs held at once: about 100 MB.
PAIRS = 2_000_000
# A sum over neighbours this small beside the sum over places alone is what cancelling leaves of rounding.
CANCELLED = 1e-10


@dataclass(frozen=True, eq=False)
class Neighbourhood:
    """Distinct places, and how much two of them count together.

    Attributes
    ----------
    latitude, longitude : ndarray, shape (places,)
        In degrees.
    cutoff_km : float
        Distance up to which places are neighbours, along a great circle.
    kernel : str
        "bartlett" or "uniform".
    """

    latitude: FloatArray = field(repr=False)
    longitude: FloatArray = field(repr=False)
    cutoff_km: float
    kernel: str

    @cached_property
    def points(self) -> FloatArray:
        """Places on the unit sphere, shape (places, 3)."""
        north, east = np.radians(self.latitude), np.radians(self.longitude)
        return np.column_stack([np.cos(north) * np.cos(east), np.cos(north) * np.sin(east), np.sin(north)])

    def cross_products(self, values: FloatArray) -> FloatArray:
        """Return the sum over pairs of places of weight times `values_i values_j'`, shape (terms, terms).

        Parameters
        ----------
        values : ndarray, shape (places, terms)

        Examples
        --------
        >>> two = Neighbourhood(np.array([0.0, 0.0]), np.array([0.0, 1.0]), 2 * np.pi * EARTH_KM / 180, "bartlett")
        >>> two.cross_products(np.array([[1.0], [3.0]])).round(9).tolist()
        [[13.0]]
        """
        total = np.zeros((values.shape[1], values.shape[1]))
        for block, i, j, weight in self._pairs():
            # Sorted by the first place, a block's pairs are a matrix in compressed rows.
            total += values[block].T @ _times(i, j, weight, values, block.size)
        return (total + total.T) / 2.0

    def _pairs(self) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp], FloatArray]]:
        """Yield blocks of places with their pairs: place in the block, other place, weight."""
        from scipy.spatial import cKDTree

        tree = cKDTree(self.points)
        # Half way round the earth everything is within reach; a hair more keeps pairs that are the cutoff apart.
        reach = 2.0 * np.sin(min(self.cutoff_km / (2.0 * EARTH_KM), np.pi / 2.0)) * (1.0 + 1e-12)
        counts = np.asarray(tree.query_ball_point(self.points, reach, return_length=True))
        part = np.cumsum(counts) // PAIRS
        for block in np.split(np.arange(counts.size), np.flatnonzero(np.diff(part)) + 1):
            i, j, chord = _within(cKDTree(self.points[block]), tree, reach)
            distance = 2.0 * EARTH_KM * np.arcsin(np.minimum(chord / 2.0, 1.0))
            yield block, i, j, self._weight(distance)

    def _weight(self, distance: FloatArray) -> FloatArray:
        if self.kernel == "uniform":
            return np.ones(distance.size)
        return np.maximum(1.0 - distance / self.cutoff_km, 0.0)

    def independent(self, member: NDArray[np.bool_]) -> float:
        """Return how many independent places have a mean as exact as that of these, were the weights correlations.

        It is n^2 over the sum of the weights of all n^2 pairs: n where nobody has a neighbour, one where all places
        are one.

        Examples
        --------
        >>> alone = Neighbourhood(np.array([0.0, 50.0]), np.array([0.0, 0.0]), 10.0, "uniform")
        >>> alone.independent(np.array([True, True]))
        2.0
        """
        n = float(member.sum())
        return n**2 / float(self.cross_products(member.astype(np.float64)[:, None])[0, 0]) if n else 0.0


def _within(block: cKDTree, tree: cKDTree, reach: float) -> tuple[Any, Any, FloatArray]:
    found = block.sparse_distance_matrix(tree, reach, output_type="ndarray")
    return found["i"], found["j"], found["v"]


def _times(i: Any, j: Any, weight: FloatArray, values: FloatArray, rows: int) -> FloatArray:
    """Return the sparse matrix of weights times `values`, shape (rows, terms)."""
    from scipy.sparse import coo_array

    return np.asarray(coo_array((weight, (i, j)), shape=(rows, values.shape[0])).tocsr() @ values)


@dataclass(frozen=True, eq=False, slots=True)
class SpatialCovariance:
    """A covariance from sums over neighbours.

    Attributes
    ----------
    covariance : ndarray, shape (terms, terms)
        As the formula gives it; it need not be positive semi-definite.
    negative : ndarray of bool, shape (terms,)
        Terms whose variance is not above zero although places differ, or is rounding left by cancelling.
    indefinite : bool
        Whether the joint covariance of the other terms has an eigenvalue below zero (in units of standard errors).
    """

    covariance: FloatArray
    negative: NDArray[np.bool_]
    indefinite: bool


def spatial_covariance(influence: FloatArray, neighbourhood: Neighbourhood) -> SpatialCovariance:
    """Return the covariance of estimates from the influence of places (Conley 1999).

    Parameters
    ----------
    influence : ndarray, shape (places, terms)
        Of whole places: rows, periods and units of a place summed.
    neighbourhood : Neighbourhood

    Notes
    -----
    **Do not use** it with a cutoff as wide as the map: influence sums to zero over all places, and so does then the
    variance.
    """
    found = neighbourhood.cross_products(influence)
    alone = np.sum(influence**2, axis=0)
    variance = np.diag(found)
    negative = (variance <= CANCELLED * alone) & (alone > 0)
    good = np.flatnonzero(variance > CANCELLED * alone)
    size = np.sqrt(variance[good])
    roots = np.linalg.eigvalsh(found[np.ix_(good, good)] / np.outer(size, size)) if good.size else np.zeros(1)
    return SpatialCovariance(found, negative, bool(roots[0] < -1e-8))

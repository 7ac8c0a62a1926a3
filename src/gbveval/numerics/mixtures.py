"""Distributions that come out of a quadrature: mixtures of normals over its nodes, and a density on its panels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gbveval.numerics.hierarchy_quadrature import Panels

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
BoolArray = NDArray[np.bool_]

_DOUBLINGS = 1100
_ITERATIONS = 200


@dataclass(frozen=True, slots=True, eq=False)
class NormalMixtures:
    """Several quantities, each a mixture of normals over the same nodes.

    Attributes
    ----------
    weights : ndarray, shape (nodes,)
        Weights of the nodes, summing to one.
    means, sds : ndarray, shape (nodes, terms)
        Mean and standard deviation of each term given the node; a zero sd is a point mass.
    loadings : ndarray, shape (nodes, terms) or (nodes, terms, factors), or None
        Given the node, term j is its mean + loading_j'z + an independent normal remainder, with one or several standard
        normals z shared by the terms; its variance must be at least the squared loadings. None: independent given the
        node.
    finite_moments : ndarray of int, shape (terms,), or None
        How many moments exist (0, 1, or 2 and more). A finite number of nodes cannot tell: whoever builds the mixture
        knows. None: all of them.
    """

    weights: FloatArray
    means: FloatArray
    sds: FloatArray
    loadings: FloatArray | None = None
    finite_moments: IntArray | None = None

    def __len__(self) -> int:
        return int(self.means.shape[1])

    def select(self, terms: slice | list[int]) -> NormalMixtures:
        """Return the mixture of some of the terms."""
        return NormalMixtures(
            weights=self.weights,
            means=self.means[:, terms],
            sds=self.sds[:, terms],
            loadings=None if self.loadings is None else self.loadings[:, terms],
            finite_moments=None if self.finite_moments is None else self.finite_moments[terms],
        )

    def weighted_sum(self, weights: FloatArray) -> NormalMixtures:
        """Return the mixture of one weighted sum of the terms."""
        shared = self._factors
        rest = self.sds**2 - (shared**2).sum(axis=2)
        joint = np.einsum("j,njf->nf", weights, shared)
        variance = np.maximum(rest, 0.0) @ weights**2 + (joint**2).sum(axis=1)
        return NormalMixtures(self.weights, (self.means @ weights)[:, None], np.sqrt(variance)[:, None])

    @property
    def mean(self) -> FloatArray:
        """Means, shape (terms,); NaN where the mean does not exist."""
        return np.where(self._moments >= 1, self.weights @ self.means, np.nan)

    @property
    def sd(self) -> FloatArray:
        """Standard deviations, shape (terms,); infinite where the variance is."""
        centred = self.means - self.weights @ self.means
        return np.where(self._moments >= 2, np.sqrt(self.weights @ (self.sds**2 + centred**2)), np.inf)

    @property
    def covariance(self) -> FloatArray:
        """Joint covariance, shape (terms, terms); infinite or NaN where a variance is infinite."""
        centred = self.means - self.weights @ self.means
        weighted = self.weights[:, None] * centred
        matrix = weighted.T @ centred
        if self.loadings is not None:
            matrix += np.einsum("n,naf,nbf->ab", self.weights, self._factors, self._factors)
        np.fill_diagonal(matrix, self.sd**2)
        endless = self._moments < 2
        pairs = (endless[:, None] | endless[None, :]) & ~np.eye(len(self), dtype=bool)
        return np.where(pairs, np.nan, matrix)

    @property
    def _factors(self) -> FloatArray:
        """Loadings with their factors as the last axis, none where terms are independent given the node."""
        if self.loadings is None:
            return np.zeros((*self.means.shape, 0))
        return self.loadings[..., None] if self.loadings.ndim == 2 else self.loadings

    @property
    def _moments(self) -> IntArray:
        return np.full(len(self), 2, dtype=np.intp) if self.finite_moments is None else self.finite_moments

    def cdf(self, x: ArrayLike) -> FloatArray:
        """Return P(term <= x).

        Parameters
        ----------
        x : float or ndarray, shape (..., terms)
            Points; broadcast against the terms.

        Returns
        -------
        ndarray, shape (..., terms)
        """
        return self._tail(x, -1.0)

    def sf(self, x: ArrayLike) -> FloatArray:
        """Return P(term > x), accurate also when it is tiny; shapes as for `cdf`."""
        return self._tail(x, 1.0)

    def quantile(self, probability: ArrayLike) -> FloatArray:
        """Return quantiles of every term.

        Parameters
        ----------
        probability : float or ndarray, shape (p,)
            Probabilities strictly between 0 and 1.

        Returns
        -------
        ndarray, shape (terms,) or (p, terms)
            Accurate to about 1e-11 of the spread; at a jump of the cdf (a point mass) the place of the jump.

        Raises
        ------
        ValueError
            If a probability is not strictly between 0 and 1.

        Notes
        -----
        Newton's method on the normal score of the cdf, which is nearly a straight line, kept inside a bracket.
        """
        p = _checked_probability(probability)
        grid = np.atleast_1d(p)
        tail_sign = np.where(grid > 0.5, 1.0, -1.0)
        found = _Search(self, grid, tail_sign).solve()
        return found[0] if p.ndim == 0 else found

    def sample(self, n: int, rng: np.random.Generator) -> FloatArray:
        """Return `n` joint draws, shape (n, terms): a node, then the shared normal and the remainders."""
        node = rng.choice(len(self.weights), size=n, p=self.weights / self.weights.sum())
        return self.given(node, rng)

    def given(self, node: IntArray, rng: np.random.Generator) -> FloatArray:
        """Return one joint draw for each of some nodes, shape (draws, terms)."""
        means, sds = self.means[node], self.sds[node]
        if self.loadings is None:
            return means + sds * rng.standard_normal(means.shape)
        factors = self._factors[node]
        rest = np.sqrt(np.maximum(sds**2 - (factors**2).sum(axis=2), 0.0))
        common = np.einsum("ntf,nf->nt", factors, rng.standard_normal((node.size, factors.shape[2])))
        draws: FloatArray = means + common + rest * rng.standard_normal(means.shape)
        return draws

    def _tail(self, x: ArrayLike, sign: float) -> FloatArray:
        from scipy.special import ndtr

        points = np.broadcast_to(np.asarray(x, float), np.broadcast_shapes(np.shape(x), (len(self),)))
        difference = self.means - points[..., None, :]
        positive = self.sds > 0.0
        score = difference / np.where(positive, self.sds, 1.0)
        share = ndtr(sign * score)
        if not positive.all():
            step = difference > 0.0 if sign > 0.0 else difference <= 0.0
            share = np.where(positive, share, step)
        result: FloatArray = np.einsum("...nt,n->...t", share, self.weights)
        return result


class _Search:
    """One search for quantiles: shapes (p, terms) throughout, (p, nodes, terms) inside."""

    def __init__(self, mixture: NormalMixtures, p: FloatArray, tail_sign: FloatArray) -> None:
        from scipy.special import ndtri

        terms = len(mixture)
        self.weights = mixture.weights[:, None]
        self.term = np.tile(np.arange(terms), len(p))
        self.means = mixture.means
        self.sds = mixture.sds
        # The smaller tail keeps its relative precision: work with the survival function above the median.
        self.sign = np.repeat(tail_sign, terms)
        self.tail = np.repeat(np.where(tail_sign > 0.0, 1.0 - p, p), terms)
        self.score = ndtri(self.tail)
        self.shape = (len(p), terms)

    def solve(self) -> FloatArray:
        spread, start = self._first_guess()
        low, high = self._bracket(start, spread)
        x = np.clip(start, low, high)
        active = np.flatnonzero(high > low)
        for _ in range(_ITERATIONS):
            if not active.size:
                break
            gap, slope = self._gap(x[active], active)
            above = gap > 0.0
            high[active] = np.where(above, x[active], high[active])
            low[active] = np.where(above, low[active], x[active])
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                step = x[active] - gap / slope
            lo, hi = low[active], high[active]
            # Bounds included: at convergence the step lands on the end that x has just become.
            inside = (step >= lo) & (step <= hi)
            new = np.where(inside, step, 0.5 * (lo + hi))
            moved = np.abs(new - x[active])
            x[active] = new
            # In a spike much narrower than the spread a small step is not yet a small gap.
            near = (moved <= 1e-12 * spread[active]) & (np.abs(gap) < 1e-9)
            active = active[~near & (moved > 1e-15 * np.abs(new))]
        return x.reshape(self.shape)

    def _first_guess(self) -> tuple[FloatArray, FloatArray]:
        # Weighted quartiles of the component means and sds: sound also when moments are infinite.
        centre = _weighted_median(self.means, self.weights[:, 0])
        spread = _weighted_median(self.sds + np.abs(self.means - centre), self.weights[:, 0])
        with np.errstate(over="ignore"):
            centred = self.means - centre
            sd = np.sqrt(self.weights[:, 0] @ np.minimum(self.sds**2 + centred**2, (1e3 * spread) ** 2))
        scale = np.maximum(spread, sd)
        scale = np.where(scale > 0.0, scale, np.finfo(float).tiny)
        guess = centre[self.term] + -self.sign * self.score * np.where(sd > 0.0, sd, 0.0)[self.term]
        return scale[self.term], guess

    def _bracket(self, start: FloatArray, spread: FloatArray) -> tuple[FloatArray, FloatArray]:
        low, high = start.copy(), start.copy()
        every = np.arange(len(start))
        gap, _ = self._gap(start, every)
        for side, bound in ((1.0, high), (-1.0, low)):
            active = every[gap * side < 0.0]
            width = spread.copy()
            for _ in range(_DOUBLINGS):
                if not active.size:
                    break
                other = low if side > 0.0 else high
                other[active] = bound[active]
                bound[active] = bound[active] + side * width[active]
                width[active] *= 2.0
                now, _ = self._gap(bound[active], active)
                active = active[now * side < 0.0]
        return low, high

    def _gap(self, x: FloatArray, which: IntArray) -> tuple[FloatArray, FloatArray]:
        """Return the normal score of the cdf minus the wanted one, increasing in x, and its slope."""
        from scipy.special import ndtr, ndtri

        term, sign = self.term[which], self.sign[which]
        sds, means = self.sds[:, term], self.means[:, term]
        positive = sds > 0.0
        safe = np.where(positive, sds, 1.0)
        with np.errstate(over="ignore"):
            z = (x - means) / safe
            step = np.where(sign > 0.0, x < means, x >= means)
            tail = (self.weights * np.where(positive, ndtr(-sign * z), step)).sum(axis=0)
            density = (self.weights * np.where(positive, np.exp(-0.5 * z * z) / safe, 0.0)).sum(axis=0)
            score = ndtri(np.minimum(tail, 1.0))
            slope = density * np.exp(0.5 * np.minimum(score * score, 1400.0))
        # ndtri(0) and ndtri(1) are infinite: any large number with that sign leads back into the bracket.
        gap = -sign * (np.clip(score, -40.0, 40.0) - self.score[which])
        return gap, slope


def _weighted_median(values: FloatArray, weights: FloatArray) -> FloatArray:
    order = np.argsort(values, axis=0)
    cumulative = np.cumsum(weights[order], axis=0)
    row = np.argmax(cumulative >= 0.5 * cumulative[-1], axis=0)
    columns = np.arange(values.shape[1])
    median: FloatArray = values[order[row, columns], columns]
    return median


def _checked_probability(probability: ArrayLike) -> FloatArray:
    p = np.asarray(probability, float)
    if p.ndim > 1 or not bool(np.all((p > 0.0) & (p < 1.0))):
        raise ValueError("Probabilities of quantiles must lie strictly between 0 and 1, as a number or a vector.")
    return p


@dataclass(frozen=True, slots=True, eq=False)
class GridDensity:
    """A one-dimensional density held as Legendre series on panels, on a linear or a log axis.

    Attributes
    ----------
    low, high : ndarray, shape (panels,)
        Ends of the panels on the axis (the log of the quantity when `log_axis`).
    coefficients : ndarray, shape (panels, order)
        Legendre coefficients of the density with respect to the axis; it integrates to one.
    cumulative : ndarray, shape (panels + 1,)
        Probability below each end.
    mean, sd : float
        Moments; NaN or infinite where they do not exist.
    log_axis : bool
        Whether the axis is the logarithm of the quantity.
    """

    low: FloatArray
    high: FloatArray
    coefficients: FloatArray
    cumulative: FloatArray
    mean: float
    sd: float
    log_axis: bool

    @classmethod
    def from_panels(cls, panels: Panels, *, log_axis: bool, finite_moments: int = 2, target: int = 0) -> GridDensity:
        """Normalise one integrand of `panels`; `finite_moments` says how many moments exist (0, 1, or 2 and more)."""
        coefficients, shift = panels.coefficients(target)
        mass = coefficients[:, 0] * (panels.high - panels.low)
        total = mass.sum()
        weights = (panels.weights * np.exp(panels.log_values[target] - shift)).ravel() / total
        nodes = panels.nodes.ravel()
        value = np.exp(nodes) if log_axis else nodes
        mean = float(weights @ value) if finite_moments >= 1 else (np.inf if log_axis else np.nan)
        sd = float(np.sqrt(weights @ (value - mean) ** 2)) if finite_moments >= 2 else np.inf
        return cls(
            low=panels.low,
            high=panels.high,
            coefficients=coefficients / total,
            cumulative=np.concatenate([[0.0], np.cumsum(mass) / total]),
            mean=mean,
            sd=sd,
            log_axis=log_axis,
        )

    def cdf(self, x: ArrayLike) -> FloatArray:
        """Return P(quantity <= x), elementwise."""
        point = np.asarray(x, float)
        axis = np.log(np.maximum(point, np.finfo(float).tiny)) if self.log_axis else point
        inside = np.clip(axis, self.low[0], self.high[-1])
        panel = self._panel(np.searchsorted(self.high, inside))
        xi = self._local(inside, panel)
        below = np.clip(self.cumulative[panel] + self._partial(xi, panel), 0.0, 1.0)
        return np.where(axis <= self.low[0], 0.0, below)

    def sf(self, x: ArrayLike) -> FloatArray:
        """Return P(quantity > x), elementwise."""
        return 1.0 - self.cdf(x)

    def density(self, x: ArrayLike) -> FloatArray:
        """Return the density of the quantity, zero outside the panels."""
        point = np.asarray(x, float)
        positive = np.maximum(point, np.finfo(float).tiny)
        axis = np.log(positive) if self.log_axis else point
        panel = self._panel(np.searchsorted(self.high, axis))
        value = _series(self.coefficients, self._local(axis, panel), panel)
        value = value / positive if self.log_axis else value
        within = (axis >= self.low[0]) & (axis <= self.high[-1])
        return np.where(within, np.maximum(value, 0.0), 0.0)

    def quantile(self, probability: ArrayLike) -> FloatArray:
        """Return quantiles, elementwise, by Newton's method on the integrated series of the right panel.

        Raises
        ------
        ValueError
            If a probability is not strictly between 0 and 1.
        """
        p = _checked_probability(probability)
        flat = np.atleast_1d(p)
        panel = self._panel(np.searchsorted(self.cumulative, flat) - 1)
        wanted = flat - self.cumulative[panel]
        half = 0.5 * (self.high - self.low)[panel]
        integral = _antiderivative(self.coefficients)[panel] * half[:, None]
        slopes = self.coefficients[panel] * half[:, None]
        low, high = np.full(flat.shape, -1.0), np.full(flat.shape, 1.0)
        xi = np.zeros(flat.shape)
        for _ in range(_ITERATIONS):
            basis = np.polynomial.legendre.legvander(xi, integral.shape[1] - 1)
            gap = np.einsum("ij,ij->i", basis, integral) - wanted
            high, low = np.where(gap > 0.0, xi, high), np.where(gap > 0.0, low, xi)
            with np.errstate(divide="ignore", invalid="ignore"):
                step = xi - gap / np.einsum("ij,ij->i", basis[:, :-1], slopes)
            new = np.where((step >= low) & (step <= high), step, 0.5 * (low + high))
            moved = float(np.abs(new - xi).max())
            xi = new
            if moved < 1e-12:
                break
        axis = 0.5 * (self.high + self.low)[panel] + half * xi
        value = np.exp(axis) if self.log_axis else axis
        return value[0] if p.ndim == 0 else value

    def _panel(self, index: IntArray) -> IntArray:
        return np.clip(index, 0, len(self.low) - 1)

    def _local(self, axis: FloatArray, panel: IntArray) -> FloatArray:
        width = self.high[panel] - self.low[panel]
        return np.clip((2.0 * axis - self.low[panel] - self.high[panel]) / width, -1.0, 1.0)

    def _partial(self, xi: FloatArray, panel: IntArray) -> FloatArray:
        half = 0.5 * (self.high[panel] - self.low[panel])
        return _series(_antiderivative(self.coefficients), xi, panel) * half


def _series(coefficients: FloatArray, xi: FloatArray, panel: IntArray) -> FloatArray:
    basis = np.polynomial.legendre.legvander(xi, coefficients.shape[1] - 1)
    result: FloatArray = (basis * coefficients[panel]).sum(axis=-1)
    # legvander makes a vector of a number.
    return result.reshape(np.shape(xi))


def _antiderivative(coefficients: FloatArray) -> FloatArray:
    """Return coefficients of the integral from -1, shape (panels, order + 1)."""
    integral = np.polynomial.legendre.legint(coefficients, lbnd=-1, axis=1)
    return np.asarray(integral, dtype=np.float64)

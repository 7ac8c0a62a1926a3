"""Hides each site's likelihood and effect given average and spread, for likelihoods known on panels.

Normal effects are averages over normals. Student-t effects are mixtures of normals over their precision, and what is
wanted at many widths is read off a table over the log of the width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.hierarchy_quadrature import ORDER, Panels, panel_nodes
from gbveval.numerics.smoothing import Smoother
from gbveval.numerics.student_sites import mixing_nodes
from gbveval.numerics.table_likelihood import REACH, SiteLikelihoods

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Given:
    """Sites given average and spread, arrays (points, sites, averages, spreads).

    Attributes
    ----------
    log_likelihood : ndarray
        With the site's effect integrated out.
    first, second : ndarray
        Mean of the effect's distance from the average, and of its square.
    """

    log_likelihood: FloatArray
    first: FloatArray
    second: FloatArray


class SiteEffectsGiven:
    """Site effects that are normal, or Student-t, around an average."""

    def __init__(self, likelihoods: SiteLikelihoods, df: float | None) -> None:
        self.likelihoods, self.df = likelihoods, df
        values = likelihoods.log_values
        self.top = values.max(axis=(0, 2, 3))
        self.shape = values.shape[:2]
        self.log_values = (values - self.top[:, None, None]).reshape(-1, *values.shape[2:])
        self.smoother = Smoother(likelihoods.panels, tails=True)
        # What was found for the last averages, by spread: the last panels are asked for again, and a Student-t asks
        # for the same widths whatever its scale.
        self._averages, self._found = np.empty(0), dict[tuple[float, int], FloatArray]()
        if df is not None:
            self.widths = _Widths(likelihoods, df)

    def log_likelihood(self, mu: FloatArray, tau: FloatArray) -> FloatArray:
        """Return log likelihoods, shape (points, sites, mu, tau)."""
        return self._at(mu, tau, 0)[0]

    def given(self, mu: FloatArray, tau: FloatArray) -> Given:
        """Return likelihoods and conditional moments."""
        log_likelihood, first, second = self._at(mu, tau, 2)
        return Given(log_likelihood, first, second)

    def _at(self, mu: FloatArray, tau: FloatArray, degree: int) -> list[FloatArray]:
        sds = tau if self.df is None else self.widths.sds
        table = np.stack([self._moments(mu, float(sd), degree) for sd in sds], axis=-1)
        with np.errstate(divide="ignore", invalid="ignore"):
            log_likelihood = np.log(np.maximum(table[0], 0.0))
            ratios = [np.where(table[0] > 0.0, part / table[0], 0.0) for part in table[1:]]
        found = [log_likelihood, *ratios]
        if self.df is not None:
            found = self.widths.mix(log_likelihood, ratios, tau)
        shape = (*self.shape, len(mu), len(tau))
        found = [part.reshape(shape) for part in found]
        found[0] = found[0] + self.top[:, None, None]
        return found

    def _moments(self, mu: FloatArray, sd: float, degree: int) -> FloatArray:
        if not np.array_equal(mu, self._averages):
            self._averages, self._found = mu, {}
        if (sd, degree) not in self._found:
            self._found[sd, degree] = self.smoother.moments(mu, sd, self.log_values, degree)
        return self._found[sd, degree]

    def spread_over(self, tau: FloatArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return sds and weights (..., sds) of the normals that effects with spreads `tau` (..., tau) are made of."""
        if self.df is None:
            return tau, weights
        return self.widths.sds, weights @ self.widths.share(tau)

    def log_at(self, theta: FloatArray) -> FloatArray:
        """Return the log likelihoods at effects, less each site's best, shape (points x sites, n)."""
        return read_off(self.likelihoods.panels, self.log_values, theta)


def read_off(panels: Panels, log_values: FloatArray, x: FloatArray) -> FloatArray:
    """Return the series of functions (functions, panels, ORDER) at points (n,), constant beyond the ends."""
    inside = np.clip(x, panels.low[0], panels.high[-1])
    panel = np.clip(np.searchsorted(panels.high, inside), 0, len(panels.low) - 1)
    xi = (2.0 * inside - panels.low[panel] - panels.high[panel]) / (panels.high - panels.low)[panel]
    basis = np.polynomial.legendre.legvander(np.clip(xi, -1.0, 1.0), ORDER - 1) @ panels.transform
    found = np.empty((len(log_values), len(x)))
    for place in np.unique(panel):
        at = panel == place
        found[:, at] = log_values[:, place] @ basis[at].T
    return found


class _Widths:
    """A table over log widths for mixtures of normals over their precision."""

    def __init__(self, likelihoods: SiteLikelihoods, df: float) -> None:
        # Narrower normals are taken to be as wide as the narrowest here: a 300th of a panel moves nothing by 1e-7.
        low = np.log(float((likelihoods.high - likelihoods.low).min()) / 300.0)
        high = np.log(4.0 * REACH)
        edges = np.linspace(low, high, int(np.ceil((high - low) / 1.5)) + 1)
        self.panels = Panels(low=edges[:-1], high=edges[1:], log_values=np.empty((0, 0, 0)))
        self.sds = np.exp(panel_nodes(edges[:-1], edges[1:])).ravel()
        self.fading = np.tile(likelihoods.fading(), len(likelihoods.weight))
        mixing = mixing_nodes(df)
        kept = mixing.weight > 1e-18
        self.log_stretch, self.weight = -0.5 * np.log(mixing.precision[kept]), mixing.weight[kept]

    def _places(self, tau: FloatArray) -> FloatArray:
        """Return log widths, shape (tau, mixing)."""
        return np.asarray(np.log(tau)[:, None] + self.log_stretch)

    def mix(self, log_likelihood: FloatArray, ratios: list[FloatArray], tau: FloatArray) -> list[FloatArray]:
        """Return log likelihoods and ratios (functions, mu, tau) of mixtures from those (functions, mu, sds)."""
        functions, averages = log_likelihood.shape[:2]
        width = self._places(tau)
        # Beyond the table a likelihood that fades on both sides falls as one over the width; the others stay.
        beyond = np.maximum(width - self.panels.high[-1], 0.0)
        result = [np.empty((functions, averages, len(tau))) for _ in range(1 + len(ratios))]
        for f in range(functions):
            rows = [np.maximum(log_likelihood[f], -1e4), *(ratio[f] for ratio in ratios)]
            read = [
                read_off(self.panels, row.reshape(averages, -1, ORDER), width.ravel()).reshape(averages, *width.shape)
                for row in rows
            ]
            log_density = read[0] - (beyond if self.fading[f] else 0.0)
            top = log_density.max(axis=2, keepdims=True)
            density = self.weight * np.exp(log_density - top)
            total = density.sum(axis=2)
            result[0][f] = top[..., 0] + np.log(total)
            for place, ratio in enumerate(read[1:], 1):
                result[place][f] = (density * ratio).sum(axis=2) / total
        return result

    def share(self, tau: FloatArray) -> FloatArray:
        """Return how a Student-t of each spread is made of normals of the table's widths, shape (tau, sds)."""
        width = self._places(tau).ravel()
        unit = np.eye(len(self.sds)).reshape(len(self.sds), -1, ORDER)
        read = read_off(self.panels, unit, width).reshape(len(self.sds), len(tau), -1)
        share: FloatArray = (read @ self.weight).T
        return share

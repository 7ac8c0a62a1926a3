"""Hides how the joint posterior of a hierarchy over counts is kept: a density a row, and nodes from which to draw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gbveval.core.grid_posterior import density_from_dict, density_to_dict
from gbveval.numerics.mixtures import GridDensity
from gbveval.numerics.site_draws import SiteDraws

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SitePosterior:
    """Joint posterior of average, site effects, a new site's effect, between-site sd and what reporting hides.

    Parameters
    ----------
    margins : tuple of GridDensity
        One a row.
    joint : ndarray, shape (rows, rows)
        Covariance; NaN where a variance is infinite.
    draws : SiteDraws
        Draws all quantities there are.
    rows : tuple of int
        Which of those quantities the rows are.
    """

    margins: tuple[GridDensity, ...]
    joint: FloatArray
    draws: SiteDraws
    rows: tuple[int, ...]

    def mean(self) -> FloatArray:
        """Return posterior means, one a term."""
        return np.array([margin.mean for margin in self.margins])

    def sd(self) -> FloatArray:
        """Return posterior standard deviations, one a term."""
        return np.array([margin.sd for margin in self.margins])

    def covariance(self) -> FloatArray:
        """Return the joint covariance of the terms."""
        return self.joint.copy()

    def cdf(self, term: int, x: ArrayLike) -> float:
        """Return P(term <= x)."""
        return float(self.margins[term].cdf(x))

    def quantile(self, term: int, probability: float) -> float:
        """Return a quantile of a term."""
        return float(self.margins[term].quantile(probability))

    def quantiles(self, probabilities: ArrayLike) -> FloatArray:
        """Return quantiles of all terms, shape (probabilities, terms)."""
        p = np.atleast_1d(np.asarray(probabilities, dtype=float))
        return np.stack([margin.quantile(p) for margin in self.margins], axis=1)

    def sample(self, n: int, rng: np.random.Generator) -> FloatArray:
        """Return joint draws, shape (n, terms); what the sites share takes the values of its nodes."""
        return self.draws.sample(n, rng)[:, list(self.rows)]

    def select(self, terms: NDArray[np.intp]) -> SitePosterior:
        """Return the posterior of some of the terms."""
        return SitePosterior(
            tuple(self.margins[i] for i in terms),
            self.joint[np.ix_(terms, terms)],
            self.draws,
            tuple(self.rows[i] for i in terms),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON can hold."""
        d = self.draws
        return {
            "kind": "sites",
            "margins": [density_to_dict(margin) for margin in self.margins],
            "joint": [[float(x) if np.isfinite(x) else None for x in row] for row in self.joint],
            "rows": list(self.rows),
            "draws": {
                "df": d.df,
                **{
                    name: getattr(d, name).tolist()
                    for name in ("point", "mu", "tau", "weight", "low", "high", "log_values", "columns")
                },
            },
        }

    @staticmethod
    def from_dict(content: dict[str, Any]) -> SitePosterior:
        """Return the posterior that `to_dict` described."""
        d = content["draws"]
        arrays = {
            name: np.array(d[name], dtype=float)
            for name in ("mu", "tau", "weight", "low", "high", "log_values", "columns")
        }
        joint = [[np.nan if x is None else float(x) for x in row] for row in content["joint"]]
        return SitePosterior(
            margins=tuple(density_from_dict(margin) for margin in content["margins"]),
            joint=np.array(joint, dtype=float).reshape(len(joint), len(joint)),
            draws=SiteDraws(
                point=np.array(d["point"], dtype=np.intp), df=None if d["df"] is None else float(d["df"]), **arrays
            ),
            rows=tuple(int(i) for i in content["rows"]),
        )

"""Uniform bands: one critical value for several rows, found by simulation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gbveval.core.errors import DesignError

if TYPE_CHECKING:
    from gbveval.core.estimates import Estimates

MULTIPLIERS = ("gaussian", "rademacher", "mammen")


@dataclass(frozen=True, slots=True)
class Band:
    """A uniform band: one critical value for several terms, found by simulation.

    Parameters
    ----------
    n_draws : int
        Simulated draws.
    seed : int
        Seed of the draws, so that another level re-uses the same ones.
    members : tuple of int
        Rows the band covers together.
    multiplier : str
        "gaussian" draws from the joint covariance; "rademacher" and "mammen" multiply the influence functions, which
        differs with few units and needs them in memory.
    level : float
        Level at which `critical` and `scale` hold.
    critical : float
        Critical value.
    scale : tuple of float
        What it multiplies, one a member: standard errors, or their bootstrap counterparts.
    """

    n_draws: int
    seed: int
    members: tuple[int, ...]
    multiplier: str
    level: float
    critical: float
    scale: tuple[float, ...]


def make_band(estimates: Estimates, *, n_draws: int, seed: int, multiplier: str, scale: str, level: float) -> Band:
    """Return the uniform band of all rows with a standard error that are not called "overall"."""
    from gbveval.numerics.uniform_band import multiplier_critical, sup_t_critical

    bayesian = estimates.in_posterior
    if bayesian.any() and bayesian.all():
        raise DesignError("A posterior has no uniform band; draw jointly with `posterior.sample` for joint statements.")
    rows = [i for i in estimates.main_rows() if not bayesian[i]]
    members = tuple(i for i in rows if estimates.terms[i].term != "overall")
    if not members:
        raise DesignError("No row has a standard error, so there is nothing to put a band around.")
    chosen = np.asarray(members)
    rng = np.random.default_rng(seed)
    if multiplier == "gaussian":
        block = estimates.covariance[np.ix_(chosen, chosen)]
        df = min(estimates.terms[i].df for i in members)
        found = sup_t_critical(block, rng=rng, level=level, n_draws=n_draws, df=df)
    elif multiplier in ("rademacher", "mammen"):
        if estimates.influence is None:
            raise DesignError(
                "A multiplier bootstrap needs the influence functions, which are in no file. Use "
                "multiplier='gaussian', or make the band before saving."
            )
        scores = estimates.influence[:, chosen]
        kind = "rademacher" if multiplier == "rademacher" else "mammen"
        spread = "interquartile" if scale == "interquartile" else "std_error"
        found = multiplier_critical(scores, rng=rng, level=level, n_draws=n_draws, multiplier=kind, scale=spread)  # type: ignore[arg-type]
    else:
        raise DesignError(f"multiplier must be one of {', '.join(MULTIPLIERS)}, not {multiplier!r}.")
    errors = tuple(float(x) for x in found.scale)
    return Band(n_draws, seed, members, multiplier, level, float(found.value), errors)

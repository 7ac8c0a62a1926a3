"""Hides how draws are checked against a quadrature that no sampler had a part in."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gbveval.core.method import Check
from gbveval.multisite._sampling import Sampled, monte_carlo_error
from gbveval.multisite._site_model import ModelSpec
from gbveval.numerics.bivariate_twin import bivariate_twin
from gbveval.numerics.site_approximation import Nuisance, arm_levels
from gbveval.numerics.site_cells import SiteCells

FloatArray = NDArray[np.float64]
# Disagreement is told beyond the first number of Monte Carlo errors and is a failure beyond the second. Both are far
# out for a normal, but the errors are estimated from the same draws: of 1,300 fits with nothing wrong, to eight sites
# of 40 or 80 people and with 100 draws' worth of weights or more, twelve lay beyond four and two beyond six. Below
# FEWEST draws' worth, the effective sample size that is asked of the draws themselves, nothing is told.
DOUBTFUL, WRONG, FEWEST = 4.0, 6.0, 400.0
WORDS = {
    "control_mean": "the mean of control",
    "average_effect": "the average effect",
    "between_site_sd_control": "the between-site sd of control",
    "between_site_sd": "the between-site sd",
    "correlation": "the correlation",
}


def twin_check(cells: SiteCells, spec: ModelSpec, drawn: Sampled) -> Check:
    """Return whether the draws, weighted to a normal likelihood, have the means that quadrature gives for it.

    The twin replaces each site's likelihood by a normal one, for which the posterior is known by quadrature. It is an
    approximation of the model, but the draws are not compared with it as they are: weighted by the ratio of the two
    likelihoods they are draws of the twin, so that what is left is the sampler's own error.
    """
    if spec.n_effects > 1 or spec.n_clusters or spec.family == "hurdle":
        return Check("twin", "info", "no quadrature runs beside several arms, clusters or hurdles.")
    nuisance, log_extra = _nuisance(spec, drawn)
    level, variance = arm_levels(cells, spec.family, nuisance)
    control, effect = drawn.draws["control"], drawn.draws["effect"][..., 0]
    levels = np.stack([control, control + effect], axis=-1)
    log_twin = -0.5 * ((levels - level) ** 2 / variance).sum(axis=(2, 3))
    log_weight = log_twin - drawn.draws["log_likelihood"] + log_extra
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.mean()
    worth = float(weight.size / np.mean(weight**2))
    if worth < FEWEST:
        text = "the counts are too small for a normal likelihood to say anything of the draws; nothing is compared."
        return Check("twin", "info", text)
    twin = bivariate_twin(
        level,
        variance,
        means=(spec.prior.control_mean, spec.prior.average_effect),
        sds=(spec.prior.between_site_sd_control, spec.prior.between_site_sd),
        eta=spec.prior.correlation,
    )
    off = {}
    for name in WORDS:
        values = drawn.draws[name].reshape(weight.shape)
        gap = weight * (values - getattr(twin, name))
        off[name] = float(abs(gap.mean()) / monte_carlo_error(gap))
    worst = max(off, key=lambda name: off[name])
    text = (
        f"weighted to a normal likelihood, {WORDS[worst]} is {off[worst]:.1f} Monte Carlo errors from what quadrature "
        f"gives, the farthest of {len(off)}; at most {DOUBTFUL:g} is wanted. If it is more, draw longer and look again."
    )
    status = "ok" if off[worst] <= DOUBTFUL else "warn" if off[worst] <= WRONG else "fail"
    return Check("twin", status, text)


def _nuisance(spec: ModelSpec, drawn: Sampled) -> tuple[Nuisance, FloatArray]:
    """Return nuisance parameters at their means, and the log ratio of a normal density of them to their prior."""
    shape = drawn.draws["log_likelihood"].shape
    columns, log_prior = [np.zeros((*shape, 0))], np.zeros(shape)
    found: dict[str, FloatArray] = {}
    for name in ("covariate_effect", "dispersion", "residual_sd", "cutpoint_gap"):
        if name not in drawn.draws:
            continue
        values = drawn.draws[name].reshape(*shape, -1)
        log_prior = log_prior + getattr(spec.prior, name).log_density(values).sum(axis=2)
        if name != "covariate_effect":
            # Positive ones are looked at as logarithms, whose density has the value itself as a factor.
            log_prior = log_prior + np.log(values).sum(axis=2)
            values = np.log(values)
        columns.append(values)
        found[name] = values.mean(axis=(0, 1))
    stacked = np.concatenate(columns, axis=2)
    log_normal = np.zeros(shape)
    if stacked.shape[2]:
        centred = stacked - stacked.mean(axis=(0, 1))
        covariance = np.atleast_2d(np.cov(centred.reshape(-1, stacked.shape[2]), rowvar=False))
        log_normal = -0.5 * np.einsum("cdi,ij,cdj->cd", centred, np.linalg.inv(covariance), centred)
    gaps = np.exp(found["cutpoint_gap"]) if "cutpoint_gap" in found else np.zeros(0)
    nuisance = Nuisance(
        found.get("covariate_effect", np.zeros(0)),
        float(np.exp(found["dispersion"][0])) if "dispersion" in found else float("nan"),
        float(np.exp(found["residual_sd"][0])) if "residual_sd" in found else 0.0,
        np.concatenate([[0.0], np.cumsum(gaps)]) if spec.family == "ordinal" else np.zeros(0),
    )
    return nuisance, log_normal - log_prior

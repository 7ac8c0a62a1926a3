"""Hides PyMC, ArviZ and nutpie: a specification and sums in, plain arrays of draws and diagnostics out.

PyMC 5 with ArviZ 0 (Python 3.11) and PyMC 6 with ArviZ 1 (3.12 and later) differ in their containers, their default
sampler and their default intervals. What is the same in both is used here and nothing else: the values of a posterior
variable are (chain, draw, ...), and r-hat and effective sample sizes take plain arrays. The sampler is nutpie, named.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
SAMPLER = "nutpie"


@dataclass(frozen=True, slots=True)
class SamplerSettings:
    """How to sample.

    Parameters
    ----------
    draws, tune : int
        Kept and warm-up draws a chain.
    chains : int
        Chains.
    target_accept : float
        Target acceptance of NUTS. High by default, since a single divergent transition keeps a result from release.
    """

    draws: int = 1000
    tune: int = 1000
    chains: int = 4
    target_accept: float = 0.98


@dataclass(frozen=True, eq=False, slots=True)
class Sampled:
    """Draws as plain arrays, with what is needed to judge them.

    Attributes
    ----------
    draws : dict of str to ndarray, shape (chains, draws, ...)
        One a variable.
    divergences : int
        Divergent transitions after warm-up.
    rhat : float
        Largest r-hat over all variables.
    ess : float
        Smallest effective sample size, of the bulk or of the tails, over all variables.
    bfmi : float
        Smallest Bayesian fraction of missing information over the chains.
    native : object
        ArviZ's own container, for whoever wants to go on.
    """

    draws: dict[str, FloatArray]
    divergences: int
    rhat: float
    ess: float
    bfmi: float
    native: Any


_compiled: dict[Any, Any] = {}


def compile_once(key: Any, build: Callable[[], Any]) -> Any:
    """Return the compiled model for a key, building and compiling it the first time only.

    Compiling takes ten times as long as sampling a small model, so the data of a model are replaced, never its code.
    """
    if key not in _compiled:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import nutpie

            _compiled[key] = nutpie.compile_pymc_model(build())
    return _compiled[key]


def sample(
    compiled: Any, data: Mapping[str, Any], variables: tuple[str, ...], *, settings: SamplerSettings, seed: int
) -> Sampled:
    """Return draws of some variables of a compiled model with these data.

    Parameters
    ----------
    compiled : object
        From `compile_once`.
    data : mapping of str to array
        Values of the model's data containers.
    variables : tuple of str
        Which variables to return and to diagnose.
    settings : SamplerSettings
        How to sample.
    seed : int
        Seed of the sampler.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import nutpie

        native = nutpie.sample(
            compiled.with_data(**data),
            draws=settings.draws,
            tune=settings.tune,
            chains=settings.chains,
            cores=min(settings.chains, 2),
            target_accept=settings.target_accept,
            seed=seed % 2**31,
            progress_bar=False,
            save_warmup=False,
        )
    draws = {name: np.asarray(native["posterior"][name].values, dtype=np.float64) for name in variables}
    diverging = int(np.asarray(native["sample_stats"]["diverging"].values).sum())
    rhat, ess = diagnose(draws)
    bfmi = missing_information(np.asarray(native["sample_stats"]["energy"].values, dtype=np.float64))
    return Sampled(draws, diverging, rhat, ess, bfmi, native)


def diagnose(draws: Mapping[str, FloatArray]) -> tuple[float, float]:
    """Return the largest r-hat and the smallest effective sample size, bulk or tail, over all scalar quantities."""
    worst_rhat, least_ess = 1.0, float("inf")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import arviz

        for values in draws.values():
            flat = values.reshape(values.shape[0], values.shape[1], -1)
            for i in range(flat.shape[2]):
                worst_rhat = max(worst_rhat, float(arviz.rhat(flat[:, :, i])))
                bulk = float(arviz.ess(flat[:, :, i], method="bulk"))
                # ArviZ 1 has no default for which tails are meant; ArviZ 0 means these.
                tail = float(arviz.ess(flat[:, :, i], method="tail", prob=(0.05, 0.95)))
                least_ess = min(least_ess, bulk, tail)
    return worst_rhat, least_ess


def monte_carlo_error(draws: FloatArray) -> float:
    """Return how far the mean of draws may be from the mean of the posterior they are drawn from.

    The standard deviation of the draws over the square root of their effective sample size: draws of a chain resemble
    each other, so that a thousand of them may be worth a hundred.

    Parameters
    ----------
    draws : ndarray, shape (chains, draws)
        Of one quantity. A probability is the mean of draws that are 0 or 1.

    Returns
    -------
    float
        A standard error, in the unit of the draws. It says nothing of the posterior itself: more people make the
        posterior narrower, more draws make this smaller.

    Examples
    --------
    >>> import numpy as np
    >>> import gbveval as gbv
    >>> independent = np.random.default_rng(1).normal(size=(4, 2500))
    >>> bool(abs(gbv.monte_carlo_error(independent) / 0.01 - 1) < 0.1)
    True
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import arviz

        return float(draws.std(ddof=1) / np.sqrt(float(arviz.ess(draws, method="mean"))))


def missing_information(energy: FloatArray) -> float:
    """Return the smallest over chains of mean squared change of energy over its variance (Betancourt 2016)."""
    change = np.mean(np.diff(energy, axis=1) ** 2, axis=1)
    return float(np.min(change / energy.var(axis=1)))


def build_site_model(data: Mapping[str, Any], spec: Any) -> Any:
    """Return the PyMC model that a specification describes, with these sums as its data.

    Levels of control and effects of the other arms are jointly normal over sites. The likelihood is a potential on
    sums by cell, known up to a constant, and is kept as `log_likelihood`. How far a site is sampled centred is
    data too, so that one compiled model serves all studies of its shape.

    Parameters
    ----------
    data : mapping of str to array
        From `data_of`.
    spec : ModelSpec
        Family, sizes and priors.
    """
    import pymc as pm
    import pytensor.tensor as pt

    with pm.Model() as model:
        held = {name: pm.Data(name, values) for name, values in data.items()}
        if spec.family == "hurdle":
            any_eta = _linear_predictor(pm, pt, held, spec, spec.prior.any_outcome, "any_")
            total = _binomial(pt, any_eta, held["n"], held["positive"])
            total = total + _counts(pm, pt, _linear_predictor(pm, pt, held, spec, spec.prior, ""), held, spec, True)
        else:
            eta = _linear_predictor(pm, pt, held, spec, spec.prior, "")
            total = _likelihood(pm, pt, eta, held, spec)
        pm.Deterministic("log_likelihood", total)
        pm.Potential("likelihood", total)
    return model


def _linear_predictor(pm: Any, pt: Any, held: Mapping[str, Any], spec: Any, prior: Any, prefix: str) -> Any:
    """Return the linear predictor of every cell; names of its variables begin with `prefix`.

    A cluster lies in one site and arm. It is sampled about their level in the way sites are about the average, more or
    less centred: where a cluster tells much of itself, its level is known well, and its distance from theirs is not.
    """
    control, effects = _sites(pm, pt, held, spec, prior, prefix)
    # Control has no effect: a column of zeros stands for it.
    by_arm = pt.concatenate([pt.zeros((spec.n_sites, 1)), effects], axis=1)
    if spec.n_clusters:
        m = control[held["cluster_site"]] + by_arm[held["cluster_site"], held["cluster_arm"]]
        sd, w = _prior(pm, f"{prefix}between_cluster_sd", prior.between_cluster_sd), held[f"{prefix}cluster_centring"]
        x = pm.Normal(f"{prefix}raw_cluster", w * m, sd**w, shape=spec.n_clusters)
        own = pm.Deterministic(f"{prefix}cluster_effect", sd ** (1.0 - w) * (x - w * m))
        eta = (m + own)[held["cluster"]] + held["log_exposure"]
    else:
        eta = control[held["site"]] + by_arm[held["site"], held["arm"]] + held["log_exposure"]
    if spec.n_covariates:
        slopes = pm.Normal(
            f"{prefix}covariate_effect", prior.covariate_effect.mean, prior.covariate_effect.sd, shape=spec.n_covariates
        )
        eta = eta + held["covariates"] @ slopes
    return eta


def _sites(pm: Any, pt: Any, held: Mapping[str, Any], spec: Any, prior: Any, prefix: str) -> tuple[Any, Any]:
    """Return site levels of control, shape (sites,), and site effects, shape (sites, effects).

    One component after the other, given those before it, is normal with some mean m and sd c. What is sampled is
    x ~ N(w m, c^w), and the component is m + c^(1 - w) (x - w m): centred where the weight w is 1, non-centred where it
    is 0, the same posterior whatever it is (Papaspiliopoulos, Roberts and Skoeld 2007).
    """
    average = pm.Normal(
        f"{prefix}average_effect", prior.average_effect.mean, prior.average_effect.sd, shape=spec.n_effects
    )
    means = [_prior(pm, f"{prefix}control_mean", prior.control_mean), *(average[j] for j in range(spec.n_effects))]
    spread = _prior(pm, f"{prefix}between_site_sd", prior.between_site_sd, shape=spec.n_effects)
    sds = [_prior(pm, f"{prefix}between_site_sd_control", prior.between_site_sd_control)]
    sds += [spread[j] for j in range(spec.n_effects)]
    factor = _correlation_factor(pm, pt, spec.n_effects + 1, prior.correlation, prefix)
    weights = held[f"{prefix}centring"]
    found: list[Any] = []
    innovations: list[Any] = []
    for j, row in enumerate(factor):
        m = means[j] + sds[j] * sum((row[k] * innovations[k] for k in range(j)), start=pt.zeros(spec.n_sites))
        c, w = sds[j] * row[j], weights[:, j]
        x = pm.Normal(f"{prefix}raw_{j}", w * m, c**w, shape=spec.n_sites)
        found.append(m + c ** (1.0 - w) * (x - w * m))
        innovations.append((found[j] - m) / c)
    control = pm.Deterministic(f"{prefix}control", found[0])
    return control, pm.Deterministic(f"{prefix}effect", pt.stack(found[1:], axis=1))


def _correlation_factor(pm: Any, pt: Any, size: int, eta: float, prefix: str) -> list[list[Any]]:
    """Return the lower Cholesky factor of a correlation matrix with an LKJ(eta) prior, and note its correlations.

    Partial correlations given the k columns before are independent, 2 B - 1 with B ~ Beta(b, b) and
    b = eta + (size - 2 - k) / 2 (Lewandowski, Kurowicka and Joe 2009); two by two this is Beta(eta, eta).
    """
    rows: list[list[Any]] = [[pt.as_tensor_variable(1.0)]]
    for i in range(1, size):
        left, row = pt.as_tensor_variable(1.0), []
        for k in range(i):
            b = eta + 0.5 * (size - 2 - k)
            partial = 2.0 * pm.Beta(f"{prefix}half_partial_{i}{k}", b, b) - 1.0
            row.append(partial * pt.sqrt(left))
            left = left * (1.0 - partial**2)
        rows.append([*row, pt.sqrt(left)])
    pairs = [sum(rows[i][k] * rows[j][k] for k in range(j + 1)) for i in range(size) for j in range(i)]
    pm.Deterministic(f"{prefix}correlation", pt.stack(pairs))
    return rows


def _likelihood(pm: Any, pt: Any, eta: Any, held: Mapping[str, Any], spec: Any) -> Any:
    """Return the log likelihood of all cells, up to a constant."""
    if spec.family == "binomial":
        return _binomial(pt, eta, held["n"], held["total"])
    if spec.family == "negative_binomial":
        return _counts(pm, pt, eta, held, spec, False)
    if spec.family == "ordinal":
        return _ordered(pm, pt, eta, held, spec)
    sd = _prior(pm, "residual_sd", spec.prior.residual_sd)
    slopes = pm.modelcontext(None)["covariate_effect"] if spec.n_covariates else None
    within = held["within"]
    left = within[0, 0]
    if slopes is not None:
        left = left - 2.0 * within[0, 1:] @ slopes + slopes @ within[1:, 1:] @ slopes
    squares = left + pt.sum(held["n"] * (held["mean"] - eta) ** 2)
    return -pt.sum(held["n"]) * pt.log(sd) - squares / (2.0 * sd**2)


def _binomial(pt: Any, eta: Any, n: Any, events: Any) -> Any:
    return pt.sum(events * eta - n * pt.softplus(eta))


def _counts(pm: Any, pt: Any, eta: Any, held: Mapping[str, Any], spec: Any, above_zero: bool) -> Any:
    """Return the negative binomial log likelihood, of all people or of those above zero given that they are."""
    size = _prior(pm, "dispersion", spec.prior.dispersion)
    n = held["positive"] if above_zero else held["n"]
    # log of size / (size + mean), and of the rest.
    log_none, log_rest = -pt.softplus(eta - pt.log(size)), -pt.softplus(pt.log(size) - eta)
    cells = held["total"] * log_rest + n * size * log_none
    if above_zero:
        cells = cells - n * pt.log(-pt.expm1(size * log_none))
    return pt.sum(cells) + pt.sum(held["people"] * (pt.gammaln(held["values"] + size) - pt.gammaln(size)))


def _ordered(pm: Any, pt: Any, eta: Any, held: Mapping[str, Any], spec: Any) -> Any:
    """Return the proportional-odds log likelihood; the first cutpoint is zero, the others lie gaps above it.

    log(F(b) - F(a)) = log F(b) + log F(-a) + log(1 - exp(a - b)) for the logistic F, exactly.
    """
    gaps = spec.n_categories - 2
    cuts = pt.zeros(1)
    if gaps:
        gap = _prior(pm, "cutpoint_gap", spec.prior.cutpoint_gap, shape=gaps)
        cuts = pt.concatenate([cuts, pt.cumsum(gap)])
    cuts = pm.Deterministic("cutpoints", cuts)
    z = cuts[None, :] - eta[:, None]
    counts = held["categories"]
    total = -pt.sum(counts[:, :-1] * pt.softplus(-z)) - pt.sum(counts[:, 1:] * pt.softplus(z))
    if gaps:
        total = total + pt.sum(pt.sum(counts[:, 1:-1], axis=0) * pt.log(-pt.expm1(-gap)))
    return total


def _prior(pm: Any, name: str, prior: Any, shape: int | None = None) -> Any:
    """Return the PyMC variable of one of gbveval's priors."""
    size = {} if shape is None else {"shape": shape}
    makers: dict[str, Callable[[], Any]] = {
        "Normal": lambda: pm.Normal(name, prior.mean, prior.sd, **size),
        "HalfNormal": lambda: pm.HalfNormal(name, prior.sd, **size),
        "HalfCauchy": lambda: pm.HalfCauchy(name, prior.scale, **size),
        "HalfStudentT": lambda: pm.HalfStudentT(name, nu=prior.df, sigma=prior.scale, **size),
        "Uniform": lambda: pm.Uniform(name, 0.0, prior.upper, **size),
        "Exponential": lambda: pm.Exponential(name, scale=prior.mean, **size),
        "LogNormal": lambda: pm.LogNormal(name, prior.mean_log, prior.sd_log, **size),
    }
    kind = type(prior).__name__
    if kind not in makers:
        raise ValueError(f"The prior {kind} of {name} cannot be sampled from; it must be proper.")
    return makers[kind]()

"""The only file that touches PyMC, ArviZ and nutpie: a compiled model in, plain arrays of draws and diagnostics out.

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
        Target acceptance of NUTS.
    """

    draws: int = 1000
    tune: int = 1000
    chains: int = 4
    target_accept: float = 0.95


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
        Smallest bulk effective sample size over all variables.
    native : object
        ArviZ's own container, for whoever wants to go on.
    """

    draws: dict[str, FloatArray]
    divergences: int
    rhat: float
    ess: float
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
        )
    draws = {name: np.asarray(native["posterior"][name].values, dtype=np.float64) for name in variables}
    diverging = int(np.asarray(native["sample_stats"]["diverging"].values).sum())
    rhat, ess = diagnose(draws)
    return Sampled(draws, diverging, rhat, ess, native)


def diagnose(draws: Mapping[str, FloatArray]) -> tuple[float, float]:
    """Return the largest r-hat and the smallest bulk effective sample size over all scalar quantities."""
    worst_rhat, least_ess = 1.0, float("inf")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import arviz

        for values in draws.values():
            flat = values.reshape(values.shape[0], values.shape[1], -1)
            for i in range(flat.shape[2]):
                worst_rhat = max(worst_rhat, float(arviz.rhat(flat[:, :, i])))
                least_ess = min(least_ess, float(arviz.ess(flat[:, :, i])))
    return worst_rhat, least_ess


def build_site_model(data: Mapping[str, Any], prior: Any, binary: bool, centred: bool) -> Any:
    """Return the PyMC model of correlated site intercepts and effects.

    control_i and effect_i are jointly normal over sites; events are binomial in the cells of site and arm, or means and
    sums of squares carry the normal likelihood. Centred and non-centred forms have the same posterior and differ in how
    well they are sampled: centred for sites that tell much, non-centred for sites that tell little.

    Parameters
    ----------
    data : mapping of str to array
        "n" and "events", or "n", "mean" and "squares", each (sites, 2).
    prior : SitePrior
        The priors.
    binary : bool
        Whether the outcome is 0 or 1.
    centred : bool
        Which form.
    """
    import pymc as pm
    import pytensor.tensor as pt

    n_sites = int(np.shape(data["n"])[0])
    with pm.Model() as model:
        held = {name: pm.Data(name, values) for name, values in data.items()}
        mu_a, mu_t = _prior(pm, "control_mean", prior.control_mean), _prior(pm, "average_effect", prior.average_effect)
        sd_a = _prior(pm, "between_site_sd_control", prior.between_site_sd_control)
        sd_t = _prior(pm, "between_site_sd", prior.between_site_sd)
        # Density proportional to (1 - r^2)^(eta - 1): the LKJ prior of a two by two correlation.
        half = pm.Beta("half_correlation", prior.correlation, prior.correlation)
        r = pm.Deterministic("correlation", 2.0 * half - 1.0)
        left = pt.sqrt(1.0 - r**2)
        if centred:
            a = pm.Normal("control", mu_a, sd_a, shape=n_sites)
            t = pm.Normal("effect", mu_t + r * sd_t / sd_a * (a - mu_a), sd_t * left, shape=n_sites)
        else:
            z = pm.Normal("z", 0.0, 1.0, shape=(2, n_sites))
            a = pm.Deterministic("control", mu_a + sd_a * z[0])
            t = pm.Deterministic("effect", mu_t + sd_t * (r * z[0] + left * z[1]))
        mean = pt.stack([a, a + t], axis=1)
        if binary:
            pm.Binomial("events_seen", n=held["n"], logit_p=mean, observed=held["events"])
        else:
            sd = _prior(pm, "residual_sd", prior.residual_sd)
            deviance = held["squares"] + held["n"] * (held["mean"] - mean) ** 2
            pm.Potential("likelihood", pt.sum(-held["n"] * pt.log(sd) - deviance / (2.0 * sd**2)))
    return model


def _prior(pm: Any, name: str, prior: Any) -> Any:
    """Return the PyMC variable of one of gbveval's priors."""
    makers: dict[str, Callable[[], Any]] = {
        "Normal": lambda: pm.Normal(name, prior.mean, prior.sd),
        "HalfNormal": lambda: pm.HalfNormal(name, prior.sd),
        "HalfCauchy": lambda: pm.HalfCauchy(name, prior.scale),
        "HalfStudentT": lambda: pm.HalfStudentT(name, nu=prior.df, sigma=prior.scale),
        "Uniform": lambda: pm.Uniform(name, 0.0, prior.upper),
        "Exponential": lambda: pm.Exponential(name, scale=prior.mean),
        "LogNormal": lambda: pm.LogNormal(name, prior.mean_log, prior.sd_log),
    }
    kind = type(prior).__name__
    if kind not in makers:
        raise ValueError(f"The prior {kind} of {name} cannot be sampled from; it must be proper.")
    return makers[kind]()

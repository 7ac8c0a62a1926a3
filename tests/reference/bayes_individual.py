"""Translates cases about people in sites with correlated levels and effects, which both sides sample."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import gbveval as gbv
from tests.reference.bayes import prior
from tests.reference.compare import Path as Place
from tests.reference.compare import Tolerance, Unsupported
from tests.reference.frames import read_csv

SETTINGS = gbv.SamplerSettings(draws=5000, tune=1500, target_accept=0.98)
# What describes the reference's own run, and no posterior. `mcse_mean` sets the tolerance instead.
OWN_RUN = ("mcse_mean", "ess_bulk", "rhat")
# Names of the reference, and of the container that `native` returns.
NAMES = {
    "mu_a": "control_mean",
    "mu_t": "average_effect",
    "sig_a": "between_site_sd_control",
    "sig_t": "between_site_sd",
    "rho": "correlation",
    "phi": "dispersion",
}


def posterior_only(results: Any) -> Any:
    """Return results without the diagnostics of the run that made them."""
    if isinstance(results, dict):
        return {key: posterior_only(value) for key, value in results.items() if key not in OWN_RUN}
    return results


def people(folder: Path, inputs: dict[str, Any]) -> gbv.Trial:
    """Return one row a person, as evaluators have them."""
    table, columns = read_csv(folder, inputs["file"]), inputs["columns"]
    if inputs["family"] == "binomial":
        rows = table.loc[table.index.repeat(table[columns["n"]])]
        place = rows.groupby([columns["site"], columns["arm"]]).cumcount()
        y = (place < rows[columns["events"]]).astype(float)
    elif inputs["family"] == "negative_binomial":
        rows = table.loc[table.index.repeat(table[columns["people"]])]
        y = rows[columns["outcome"]].astype(float)
    else:
        raise Unsupported(f"people with the family {inputs['family']!r}")
    frame = {"y": y.to_numpy(), "arm": rows[columns["arm"]].to_numpy(), "site": rows[columns["site"]].to_numpy()}
    return gbv.Trial(frame, outcome="y", arm="arm", control=0, site="site")


def individual_correlated(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    """Answer a case; beside each number stands its Monte Carlo error, on which the tolerance rests."""
    inputs = case["inputs"]
    given = {role: entry for role, entry in inputs["priors"].items() if role != "correlation"}
    chosen = {role: prior(entry) for role, entry in given.items()}
    whole = gbv.SitePrior(
        chosen["average_control"],
        chosen["average_effect"],
        chosen["sd_control"],
        chosen["between_site_sd"],
        float(inputs["priors"]["correlation"]["args"][0]),
        dispersion=chosen.get("dispersion_size"),
    )
    model = gbv.HierarchicalModel(whole, SETTINGS, family=inputs["family"])
    trial = people(folder, inputs)
    answer = model.estimate(trial, rng=np.random.default_rng(1))
    failed = [check.message for check in answer.checks if check.status == "fail"]
    if failed:
        raise AssertionError("; ".join(failed))
    native = model.native(trial, rng=np.random.default_rng(1))
    draws = answer.posterior.draws

    def summary(values: NDArray[np.float64]) -> dict[str, float]:
        return _summary(replace(answer.posterior, draws=values[:, :, None]))

    found: dict[str, Any] = {}
    for name, ours in NAMES.items():
        if name in case["results"]:
            values = np.asarray(native["posterior"][ours].values, dtype=float)
            found[name] = summary(values.reshape(values.shape[:2]))
    rows = [answer.index(f"effect in site {i + 1:02d}") for i in range(len(case["results"]["t"]["mean"]))]
    each = [summary(draws[..., row]) for row in rows]
    found["t"] = {key: [entry[key] for entry in each] for key in each[0]}
    found["new_site_effect"] = summary(draws[..., answer.index("effect in a new site")])
    # The rows are ratios, and so is the threshold.
    found["P(mu_t<0)"] = answer.probability("average effect", below=1.0)
    found["P(mu_t<0), error"] = _share_error(draws[..., answer.index("average effect")], 0.0)
    return found


def _summary(posterior: Any) -> dict[str, float]:
    """Return what the cases state of a quantity, each number with its Monte Carlo error."""
    values = posterior.draws[..., 0]
    mean, sd = float(posterior.mean()[0]), float(posterior.sd()[0])
    found = {"mean": mean, "mean, error": gbv.monte_carlo_error(values)}
    # That of the mean square, by the derivative of the root.
    found |= {"sd": sd, "sd, error": gbv.monte_carlo_error((values - mean) ** 2) / (2.0 * sd)}
    for name, p in {"q025": 0.025, "q975": 0.975}.items():
        error = _share_error(values, posterior.quantile(0, p))
        # As far as the quantile moves when its probability does.
        low, high = (posterior.quantile(0, min(max(p + side * error, 0.0), 1.0)) for side in (-1, 1))
        found |= {name: posterior.quantile(0, p), f"{name}, error": 0.5 * (high - low)}
    return {**found, "P(<0)": posterior.cdf(0, 0.0), "P(<0), error": _share_error(values, 0.0)}


def _share_error(values: NDArray[np.float64], below: float) -> float:
    """Return the Monte Carlo error of a share of draws."""
    return gbv.monte_carlo_error((values <= below).astype(float))


def monte_carlo_tolerance(case: dict[str, Any], answer: dict[str, Any]) -> Tolerance:
    """Return 4 sqrt(theirs^2 + ours^2), as the cases state for means.

    For sds, quantiles and probabilities the case has no error of its own. It is the same posterior, so theirs is to
    ours as the errors of the two means are.
    """
    results = case["results"]

    def tolerance(path: Place, expected: float) -> float:
        own = _at(answer, (*path[:1], f"{path[1]}, error", *path[2:])) if len(path) > 1 else answer[f"{path[0]}, error"]
        key = path[0] if path[0] in results and "mcse_mean" in dict(_mapping(results[path[0]])) else "mu_t"
        place = path[2:] if key == path[0] else ()
        theirs = _at(results, (key, "mcse_mean", *place)) / _at(answer, (key, "mean, error", *place)) * own
        return 4.0 * float(np.hypot(own, theirs))

    return tolerance


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _at(value: Any, path: Place) -> float:
    for key in path:
        value = value[int(key)] if isinstance(value, list) else value[key]
    return float(value)


TASKS = {"individual_correlated": individual_correlated}

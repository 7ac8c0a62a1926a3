"""Translates cases about power of stepped wedges, crossovers, baselines and rollouts."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gbveval as gbv
from tests.reference.compare import Unsupported
from tests.reference.power_requests import CENTRAL_QUANTILES, side, size

Case = dict[str, Any]
Plan = Any
# swdpwr rounds power to three decimals, and counts the tail of the effect alone.
ROUNDED = 0.5e-3


def likeness(within: float, between: float, same_person: float | None = None, decay: float = 1.0) -> Any:
    """Return the correlation of two people in one period, in two, and of one with herself."""
    found = gbv.ClusterPeriodCorrelation.from_alphas(within, between, same_person)
    return gbv.ClusterPeriodCorrelation(found.icc, found.cac, found.individual_autocorrelation, decay)


def schedule(given: Case) -> Any:
    kind, times, around = given.get("design", "stepped_wedge"), given.get("timepoints"), given.get("incomplete")
    if kind == "stepped_wedge":
        sequences = len(given["clusters"])
        if times is not None and times != sequences + 1:
            raise Unsupported("a stepped wedge with more periods than sequences and one before")
        if around is not None and not isinstance(around, int):
            raise Unsupported("a pattern of observed cells that is not told by periods around the switch")
        return gbv.ClusterSchedule.stepped_wedge(
            sequences, transition_periods=given.get("transition_periods") or 0, observed_around=around
        )
    if around is not None:
        raise Unsupported(f"an incomplete {kind} design")
    if kind == "parallel":
        return gbv.ClusterSchedule.parallel(times or 1)
    first, second = times or (1, 1)
    if kind == "parallel_baseline":
        return gbv.ClusterSchedule.parallel_with_baseline(n_before=first, n_after=second)
    if kind == "crossover":
        return gbv.ClusterSchedule.crossover(n_first=first, n_second=second)
    raise Unsupported(f"the design {kind}")


def variances(given: Case, **options: Any) -> Plan:
    """Return the plan of a case that names standard deviations of clusters, cluster-periods, people and residuals."""
    tau, gamma, psi, residual = (float(given.get(name) or 0.0) ** 2 for name in ("tau", "gamma", "psi", "sigma"))
    decay = given.get("AR")
    if isinstance(decay, list):
        raise Unsupported("a decay of its own for each component")
    total = tau + gamma + psi + residual
    return gbv.LongitudinalClusterDesign(
        schedule=schedule(given),
        clusters_per_sequence=tuple(given["clusters"]),
        cluster_period_size=given["n"],
        correlation=likeness(
            (tau + gamma) / total, tau / total, (tau + psi) / total, 1.0 if decay is None else float(decay)
        ),
        # sigma is the standard deviation of the residual, sd that between respondents.
        outcome=gbv.Continuous(sd=total**0.5),
        effect_sd=float(given.get("eta") or 0.0),
        reference="normal",
        **options,
    )


def hussey_hughes(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    plan = variances(given)
    both = gbv.power(plan, effect=given["d"], alpha=given["alpha"])
    return {
        "power": both,
        "power_SteppedPower": both,
        "power_closed": gbv.power(plan, effect=given["d"], **side({**given, "tails_counted": "upper"}, given["d"])),
        "var_theta": plan.planned_test(given["d"]).std_error ** 2,
    }


def stepped_power(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    plan = variances(given)
    return {
        "power": gbv.power(plan, effect=given["d"], **side(given, given["d"])),
        "se": plan.planned_test(given["d"]).std_error,
    }


def alphas(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    within, between, same = given["alphas"]
    plan = gbv.LongitudinalClusterDesign(
        schedule=gbv.ClusterSchedule.stepped_wedge(len(given["clusters"])),
        clusters_per_sequence=tuple(given["clusters"]),
        cluster_period_size=given["n"],
        correlation=likeness(within, between, same),
        # The reference takes sigma as the residual standard deviation, so that the total variance is larger.
        outcome=gbv.Continuous(sd=given["sigma"] / (1.0 - within - same + between) ** 0.5),
        reference="normal",
    )
    return {"power": gbv.power(plan, effect=given["d"], **side(given, given["d"]))}


def marginal(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    if given.get("model", "marginal") != "marginal":
        raise Unsupported("a conditional model")
    link, start, end = given["link"], given["m0"], given["m0e"]
    binary = given["family"] == "binomial"
    if not binary and link != "identity":
        raise Unsupported("a link for a continuous outcome")
    cohort = given["type"] == "cohort"
    plan = gbv.LongitudinalClusterDesign(
        schedule=gbv.ClusterSchedule.stepped_wedge(len(given["clusters"])),
        clusters_per_sequence=tuple(given["clusters"]),
        cluster_period_size=given["K"],
        correlation=likeness(given["a0"], given["a1"], given["a2"] if cohort else None),
        outcome=gbv.Binary(end) if binary else gbv.Continuous(sd=given["s2"] ** 0.5, mean=end),
        period_effects=bool(given["period_effects"]),
        link=link,
        trend=end - start,
        reference="normal",
    )
    effect = given["m1"] - end
    found = gbv.power(plan, effect=effect, **side({**given, "tails_counted": "upper"}, effect))
    return {"power": found, "_off": {"power": (0.0, ROUNDED)}}


def crossover(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    plan = gbv.LongitudinalClusterDesign(
        schedule=gbv.ClusterSchedule.crossover(),
        clusters_per_sequence=10,
        cluster_period_size=given["m"],
        correlation=likeness(given["wpc"], given["bpc"]),
        outcome=gbv.Continuous(),
        reference="normal",
    )
    # Half of all measurements are under treatment: single respondents would have this variance.
    single = 4.0 / plan.n_measurements
    return {
        "deff": plan.planned_test(0.0).std_error ** 2 / single,
        "clusters_per_sequence": size(plan, given["d"], given, given["power"], solve_for="clusters_per_sequence").exact,
    }


def woertman(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    k, n = given["k"], given["n"]
    plan = gbv.LongitudinalClusterDesign(
        schedule=gbv.ClusterSchedule.stepped_wedge(k, periods_before=given["b"], periods_per_step=given["t"]),
        clusters_per_sequence=5,
        cluster_period_size=n,
        correlation=likeness(given["icc"], given["icc"]),
        outcome=gbv.Continuous(),
        reference="normal",
    )
    # The design effect is over the variance of a trial of as many single respondents as one period has.
    return {"deff": plan.planned_test(0.0).std_error ** 2 * plan.n_clusters * n / 4.0}


def decay_transition(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    if "icc" in given:
        total, within = float(given.get("total_variance", 1.0)), float(given["icc"])
        steady = within * total * float(given.get("cac", 1.0))
        parts = {"tau": steady, "gamma": within * total - steady, "sigma": (1.0 - within) * total}
        given = {**given, **{name: part**0.5 for name, part in parts.items()}}
    elif "tau" not in given:
        raise Unsupported("a case that names neither an ICC nor the variance of clusters")
    elif "sigma" not in given:
        given = {**given, "sigma": (float(given["total_variance"]) - float(given["tau"]) ** 2) ** 0.5}
    effect = given.get("d", given.get("delta", given.get("effect")))
    found = {}
    for gap in (True, False):
        plan = variances({**given, "transition_periods": given["transition_periods"] if gap else 0})
        found[gap] = {
            "se": plan.planned_test(effect).std_error,
            "power": gbv.power(plan, effect=effect, **side(given, effect)),
        }
    # The two without the gap may have any name that says which it is.
    return {name: found[name in ("se", "power")]["power" if "power" in name else "se"] for name in case["results"]}


def baseline(given: Case, sd: float, **options: Any) -> Plan:
    return gbv.LongitudinalClusterDesign(
        schedule=gbv.ClusterSchedule.parallel_with_baseline(),
        clusters_per_sequence=given["k"],
        cluster_period_size=given["m"],
        outcome=gbv.Continuous(sd=sd),
        cluster_effects="fixed",
        **options,
    )


def change_of_means(given: Case, sd: float) -> Plan:
    icc = gbv.ICC(given["icc"], scale="observed")
    return baseline(given, sd, correlation=gbv.ClusterPeriodCorrelation(icc, given["rho_c"], given["rho_s"]))


def cluster_change(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    plan = change_of_means(given, given["sd"])
    within = plan.correlation.of_means(given["m"], [0.0, 1.0])
    return {
        "power": gbv.power(plan, effect=given["d"], **side(given, given["d"])),
        "r": within[0, 1] / within[0, 0],
    }


def cluster_change_of_risks(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    # The formula takes one variance, that of the mean proportion, for both arms and periods.
    plan = change_of_means(given, (given["p"] * (1.0 - given["p"])) ** 0.5)
    return {"power": gbv.power(plan, effect=given["d"], **side(given, given["d"]))}


def two_by_two_clusters(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    total = given["cp_var"] + given["ind_var"]
    icc = gbv.ICC(given["cp_var"] / total, scale="observed")
    plan = baseline(given, total**0.5, correlation=gbv.ClusterPeriodCorrelation(icc, cac=0.0))
    test = plan.planned_test(0.0)
    return {
        "var": test.std_error**2,
        "mde": gbv.mde(plan, power=given["power"], **side(given, 1.0)),
        "_off": {"mde": (CENTRAL_QUANTILES / test.df, 0.0)},
    }


def upper(given: Case, effect: float) -> dict[str, Any]:
    """Return size and side of formulas that add two normal quantiles: the tail of the effect alone."""
    return side({**given, "tails_counted": "upper"}, effect)


def apart(**options: Any) -> Plan:
    """Return a plan that takes errors as independent, which warns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", gbv.GbvevalWarning)
        return gbv.RolloutDesign(**options)


def autoregressive_panel(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    options: dict[str, Any] = {
        "n_periods": given["m"] + given["r"],
        "first_treated": (None, given["m"] + 1),
        "units_per_cohort": (given["nC"], given["nT"]),
    }
    plan = gbv.RolloutDesign(**options, errors=gbv.Autoregressive(given["rho"], sd=given["sd"]))
    test = plan.planned_test(0.0)
    naive = apart(**options, errors=gbv.Independent(sd=given["sd"]))
    return {
        "var": test.std_error**2,
        "se": test.std_error,
        "mde_z": gbv.mde(replace(plan, reference="normal"), power=given["power"], **upper(given, 1.0)),
        "mde_t": gbv.mde(plan, power=given["power"], **upper(given, 1.0)),
        "var_iid_naive": naive.planned_test(0.0).std_error ** 2,
        "_off": {"mde_t": (CENTRAL_QUANTILES / test.df, 0.0)},
    }


def average_covariances(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    treated = round(given["J"] * given["P"])
    if abs(treated - given["J"] * given["P"]) > 1e-9:
        raise Unsupported("a share of units that is no whole number of them")
    plan = gbv.RolloutDesign.before_after(
        given["J"] - treated,
        treated,
        n_before=given["m"],
        n_after=given["r"],
        errors=gbv.AverageCovariances(
            sd=given["s2"] ** 0.5, before=given["psiB"], after=given["psiA"], across=given["psiX"]
        ),
    )
    test = plan.planned_test(0.0)
    normal = replace(plan, reference="normal")
    # The published expression has as many degrees of freedom as units, two more than there are; a t quantile moves by
    # (z^3 + z) / (4 df), so that two of them matter by less than 3 / df^2 of it.
    off = CENTRAL_QUANTILES / test.df + 3.0 / test.df**2
    return {
        "var": test.std_error**2,
        "mde": gbv.mde(plan, power=given["power"], **upper(given, 1.0)),
        "J_z": gbv.required_size(normal, effect=given["tau"], power=given["power"], **upper(given, given["tau"])).exact,
        "_off": {"mde": (off, 0.0)},
    }


def clusters_in_waves(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    plan = gbv.RolloutDesign.before_after(
        given["k"],
        given["k"],
        n_before=given["pre"],
        n_after=given["post"],
        errors=gbv.Autoregressive(given["rho"], sd=given["cp_var"] ** 0.5),
        people_per_period=given["m"],
        people_sd=given["ind_var"] ** 0.5,
    )
    test = plan.planned_test(0.0)
    return {
        "var": test.std_error**2,
        "se": test.std_error,
        "mde": gbv.mde(plan, power=given["power"], **upper(given, 1.0)),
        "_off": {"mde": (CENTRAL_QUANTILES / test.df, 0.0)},
    }


def staggered(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    starts = given["first_treated_period_0based"]
    cohorts = Counter(None if start is None else start + 1 for start in starts)
    options: dict[str, Any] = {
        "n_periods": given["periods"],
        "first_treated": tuple(cohorts),
        "units_per_cohort": tuple(cohorts.values()),
    }
    plan = gbv.RolloutDesign(**options, errors=gbv.Autoregressive(given["rho"], sd=given["sd"]), reference="normal")
    error = plan.planned_test(0.0).std_error
    return {
        "var": error**2,
        "se": error,
        "se_if_iid": apart(**options, errors=gbv.Independent(sd=given["sd"])).planned_test(0.0).std_error,
        "mde80_z": gbv.mde(plan, power=given["power"], **upper(given, 1.0)),
    }


def pretrends(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    if given.get("layout", "column_major") != "column_major":
        raise Unsupported(f"a covariance laid out by {given['layout']}")
    times = [time - given["ref"] - 1 for time in given["tVec"]]
    k = len(times)
    sigma = [given["S"][row * k : (row + 1) * k] for row in range(k)]
    study = gbv.event_study_from([0.0] * k, sigma, times)
    asked: dict[str, Any] = {"alpha": given["alpha"]}
    slopes = gbv.pretrend_power(study, power=given["target_powers"], **asked).column("slope")[1:]
    power = gbv.pretrend_power(study, slope=given["slope"], power=(), **asked).column("power")[-1]
    names = [f"slope{round(100 * target)}" for target in given["target_powers"]]
    return {**dict(zip(names, slopes, strict=True)), "power_joint_nis": power}


TASKS: dict[str, Callable[[Path, Case], dict[str, Any]]] = {
    "sw-hh": hussey_hughes,
    "sw-steppedpower": stepped_power,
    "sw-alpha012": alphas,
    "sw-swdpwr": marginal,
    "sw-swdpwr-time": marginal,
    "sw-woertman": woertman,
    "sw-decay-transition": decay_transition,
    "crossover-cluster": crossover,
    "crt-did-cpa": cluster_change,
    "crt-did-binary-cpa": cluster_change_of_risks,
    "did-2x2-cluster": two_by_two_clusters,
    "did-ar1": autoregressive_panel,
    "did-bpw": average_covariances,
    "did-cluster-ar1": clusters_in_waves,
    "did-staggered-twfe": staggered,
    "pretrends-power": pretrends,
}

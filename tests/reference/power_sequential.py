"""Translates cases about studies that are looked at several times."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from statistics import NormalDist
from typing import Any

import gbveval as gbv
from tests.reference.compare import Unsupported

Case = dict[str, Any]
# rpact reports the last spent alpha as alpha - 1e-8.
LAST_SPENT = 1.01e-8
# Sizes are whole; ratios of sizes are asked of effects so small that rounding up one person changes nothing.
SMALL = 0.002
FAMILIES: dict[str, Callable[[Case], Any]] = {
    "OF": lambda given: gbv.OBrienFleming(),
    "P": lambda given: gbv.Pocock(),
    "WT": lambda given: gbv.WangTsiatis(given["delta"]),
    "asOF": lambda given: gbv.AlphaSpending("obrien_fleming"),
    "asP": lambda given: gbv.AlphaSpending("pocock"),
    "asKD": lambda given: gbv.AlphaSpending("power", shape=given["gammaA"]),
    "asHSD": lambda given: gbv.AlphaSpending("hwang_shih_decani", shape=given["gammaA"]),
    "LDOF": lambda given: gbv.AlphaSpending("obrien_fleming"),
    "LDPocock": lambda given: gbv.AlphaSpending("pocock"),
}


def looks(given: Case) -> tuple[float, ...]:
    shares = given.get("info", given.get("timing"))
    return (*map(float, shares[:-1]), 1.0)


def side(given: Case) -> dict[str, Any]:
    return {"alpha": given["alpha"], "alternative": "two_sided" if given["sided"] == 2 else "greater"}


def design(given: Case, **options: Any) -> Any:
    """Return a plan of two arms with known variance; its size is asked for, or does not matter."""
    plan = gbv.ParallelDesign(n_per_arm=1000, outcome=gbv.Continuous(), analysis="normal")
    family = FAMILIES[given["type"] if "type" in given else given["sf"]](given)
    return gbv.SequentialDesign(plan, looks=looks(given), boundary=family, **options)


def bounds(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    told = gbv.boundaries(design(given), **side(given))
    return {
        "critical_values": list(told.column("z")),
        "alpha_spent": list(told.column("alpha_spent")),
        "stage_levels": list(told.column("nominal_p")),
        "_off": {"alpha_spent": (0.0, LAST_SPENT)},
    }


def upwards(plan: Any, given: Case, n: int) -> float:
    """Return the probability to reject in the direction of the effect: rpact's power, also of two-sided tests."""
    told = gbv.stopping_probabilities(plan.resized("n_per_arm", n), effect=SMALL, **side(given))
    return sum(told.column("efficacy"))


def needed(plan: Any, given: Case) -> int:
    """Return the least size with the power."""
    low, high = 1000, 10**8
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if upwards(plan, given, middle) >= 1.0 - given["beta"] else (middle, high)
    return high


def cost(plan: Any, given: Case) -> dict[str, float]:
    """Return the size against that of a single look, and the mean of the last statistic."""
    single = gbv.SequentialDesign(plan.plan, looks=(1.0,), boundary=gbv.EfficacyAtEnd())
    found, once = needed(plan, given), needed(single, given)
    whole = plan.resized("n_per_arm", found)
    expected = [gbv.expected_size(whole, effect=effect, **side(given)) / once for effect in (0.0, SMALL)]
    return {
        "inflation": found / once,
        "shift": SMALL**2 * found / 2.0,
        "asn_H0": expected[0],
        "asn_H1": expected[1],
    }


def futility(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    if given["type_beta"] != "bsOF":
        raise Unsupported("another spending of the error of the second kind")
    plan = design(
        given,
        futility=gbv.BetaSpending(power=1.0 - given["beta"]),
        binding=given["binding"],
        higher_is_worse=False,
    )
    told = gbv.boundaries(plan, **side(given))
    return {
        "critical_values": list(told.column("z")),
        "futility": list(told.column("lower_z"))[:-1],
        "inflation": cost(plan, given)["inflation"],
    }


def inflation(_: Path, case: Case) -> dict[str, Any]:
    return cost(design(case["inputs"]), case["inputs"])


def means(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    found = cost(design(given), given)
    once = gbv.required_size(
        gbv.ParallelDesign(n_per_arm=10, outcome=gbv.Continuous(sd=given["sd"]), analysis="normal"),
        effect=given["delta"],
        power=1.0 - given["beta"],
        **side(given),
    )
    return {"n_max": 2.0 * once.exact * found["inflation"], "n_expected_H1": 2.0 * once.exact * found["asn_H1"]}


def relative_information(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    plan = design(given)
    whole = cost(plan, given)["inflation"]
    return {
        "upper": list(gbv.boundaries(plan, **side(given)).column("z")),
        "n_I": [share * whole for share in looks(given)],
    }


def interim(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    n = 1000
    plan = gbv.ParallelDesign(n_per_arm=n, outcome=gbv.Continuous(), analysis="normal")
    told = gbv.conditional_power(
        gbv.SequentialDesign(plan, looks=(given["t"], 1.0), boundary=gbv.EfficacyAtEnd()),
        look=1,
        z=given["z1"],
        effect=given["theta"] * math.sqrt(2.0 / n),
        alpha=given["alpha"],
        alternative="greater",
    )
    found = dict(told.rows)
    return {
        "cp_assumed": found["assumed effect"],
        "cp_trend": found["trend"],
        "predictive_power": found["predictive"],
    }


def several_arms(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    if given["ushape"] != "obf" or given["lshape"] != "fixed":
        raise Unsupported("other shapes of bounds for several arms")
    # p is the probability that somebody treated is above somebody in control.
    effect, other = (math.sqrt(2.0) * NormalDist().inv_cdf(given[name]) for name in ("p", "p0"))
    stages = given["J"]
    plan = gbv.MultiStageDesign(
        n_per_stage=10,
        n_treated_arms=given["K"],
        n_stages=stages,
        outcome=gbv.Continuous(),
        boundary=gbv.OBrienFleming(),
        higher_is_worse=False,
        futility=gbv.FutilityBounds((float(given["lfix"]),) * (stages - 1)) if stages > 1 else None,
        binding=stages > 1,
        other_effect=other,
    )
    found = gbv.required_size(plan, effect=effect, power=given["power"], alpha=given["alpha"])
    told = plan.bounds(given["alpha"])
    upper, lower = list(told.column("upper")), list(told.column("lower"))
    return {
        "u": upper if stages > 1 else upper[0],
        "l": lower if stages > 1 else lower[0],
        "n": found.rounded,
        "N": found.rounded * stages * (given["K"] + 1),
    }


TASKS: dict[str, Callable[[Path, Case], dict[str, Any]]] = {
    "gs-boundary": bounds,
    "gs-kd-hsd": bounds,
    "gs-wt": bounds,
    "gs-futility": futility,
    "gs-inflation": inflation,
    "gs-means-n": means,
    "gs-gsdesign": relative_information,
    "conditional-power": interim,
    "mams-single-stage": several_arms,
}

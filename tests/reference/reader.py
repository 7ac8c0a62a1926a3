"""Reads a folder of reference cases, asks gbveval each question, and compares the numbers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gbveval as gbv
from tests.reference import (
    associations,
    attrition,
    compliance,
    decompositions,
    diagnostics,
    imputed,
    linear,
    meta,
    mixed,
    power,
    proportions,
    resampling,
    rollouts,
    sensitivity,
    strata,
    surveys,
    synthetic,
    underreporting,
)
from tests.reference.bayes import TASKS as BAYES_TASKS
from tests.reference.bayes import bayes_tolerance
from tests.reference.bayes_individual import TASKS as INDIVIDUAL_TASKS
from tests.reference.bayes_individual import monte_carlo_tolerance, posterior_only
from tests.reference.compare import Comparison, Tolerance, Unsupported, compare, is_number, leaves
from tests.reference.differences import callaway_santanna, doubly_robust
from tests.reference.glm import TASKS as GLM_TASKS
from tests.reference.randomised import difference_in_means

# Result keys that are not compared, and why. They still count among a case's numbers.
IGNORED = {
    "warnings": "texts of the reference system",
    "inputs": "repeats the question",
    "monte_carlo_rel_tol": "the tolerance of the simulated numbers beside it",
}
INTERVAL = ("conf_low", "conf_high")
# R's did prints this p-value rounded to five decimals; half a unit of the last one is all that can be compared.
ROUNDED = {"pretest_pvalue": 0.5e-5}
# Standard errors of searches that stopped early, by how much they are off at most. MASS takes the information on theta
# one Newton step before its solution, and stops at steps below 1.2e-4. R's glm, on which its standardised contrasts
# rest, stops at changes of the deviance below 1e-8 and keeps the information of the step before. The same steps, taken
# again, give its numbers to 1e-10 (the unit tests of NegativeBinomial and Standardised show both).
STANDARDISED = ("se_risk_0", "se_risk_1", "se_risk_difference", "se_log_risk_ratio", "se_log_odds_ratio")
EARLY = {"se_theta": 1.2e-4, **dict.fromkeys(STANDARDISED, 2e-5)}
# R's fisher.test finds limits and estimate by uniroot with its default tolerance, 2.2e-16 ** 0.25, on the odds ratio
# (or its inverse) in 0 to 1; they are right to that and no further, whatever tolerance the case states.
SOLVED = {("fisher_exact", key): 1.3e-4 for key in ("odds_ratio", "conf_low", "conf_high")}

# Below the smallest normal double digits are lost one by one: such a tail probability is compared as zero.
SMALLEST = 2.3e-308

Answer = Callable[[Path, dict[str, Any]], Any]
TASKS: dict[str, Answer] = {
    **linear.TASKS,
    **compliance.TASKS,
    **attrition.TASKS,
    **mixed.TASKS,
    **proportions.TASKS,
    **resampling.TASKS,
    **mixed.TASKS,
    **diagnostics.TASKS,
    **rollouts.TASKS,
    **imputed.TASKS,
    **decompositions.TASKS,
    **sensitivity.TASKS,
    **strata.TASKS,
    **surveys.TASKS,
    **synthetic.TASKS,
    **underreporting.TASKS,
    **power.TASKS,
    **meta.TASKS,
    **associations.TASKS,
    "difference_in_means": lambda folder, case: difference_in_means(folder, case["task"]),
    "callaway_santanna": lambda folder, case: callaway_santanna(folder, case["task"], case["results"]),
    "drdid_panel": doubly_robust,
    "drdid_rc": doubly_robust,
    **INDIVIDUAL_TASKS,
    **BAYES_TASKS,
    **GLM_TASKS,
}


def ignored(path: tuple[str, ...]) -> bool:
    return any(key in IGNORED for key in path)


def relative_tolerance(case: dict[str, Any]) -> Tolerance:
    """Return the tolerance of a case that states a relative or absolute one."""
    stated = case.get("tolerance")
    stated = stated if isinstance(stated, dict) else {}
    relative = stated.get("relative", stated.get("rel", stated.get("value")))
    absolute = stated.get("absolute", 0.0)
    if relative is None and not absolute:
        raise Unsupported("the case states no tolerance that a program can read")
    simulated = _simulated(case["results"])
    own = case.get("task", {}).get("options", {}).get("tolerance_absolute", {})
    scale = _scales(case["results"])
    kind = kind_of(case)

    def tolerance(path: tuple[str, ...], expected: float) -> float:
        if (kind, path[-1]) in SOLVED:
            return SOLVED[kind, path[-1]] * max(1.0, expected**2)
        if path[-1] in ROUNDED:
            return ROUNDED[path[-1]]
        for place, loose in simulated.items():
            if path[: len(place)] == place:
                return loose * abs(expected)
        if path[-1] in own:
            return float(own[path[-1]])
        if path[-1] in EARLY:
            return max(EARLY[path[-1]], float(relative or 0.0)) * abs(expected)
        if path[-1] == "p_value" and "p_value_relative" in stated:
            # A tail magnifies the last digits of its statistic, so some cases state a tolerance of their own for it.
            return float(stated["p_value_relative"]) * abs(expected)
        names = [name for name in path if f"absolute_{name}" in stated]
        if names:
            return float(stated[f"absolute_{names[-1]}"])
        if path[-1] in INTERVAL and "relative_conf_int" in stated:
            return float(stated["relative_conf_int"]) * abs(expected)
        # Estimates far smaller than their standard error are compared on the scale of that error.
        size = max(abs(expected), 0.01 * scale.get(path, 0.0))
        return max(float(relative or 0.0) * size, float(absolute), SMALLEST)

    return tolerance


def loosened(tolerance: Tolerance, answer: Any) -> Tolerance:
    """Return the tolerance with those in `_off`: by name, how far the reference system is known to be off, and why."""
    off = answer.get("_off", {}) if isinstance(answer, dict) else {}

    def loose(path: tuple[str, ...], expected: float) -> float:
        named = (".".join(path), path[-1], path[0])
        relative, absolute = next((off[name] for name in named if name in off), (0.0, 0.0))
        return max(tolerance(path, expected), relative * abs(expected), absolute)

    return loose


def _simulated(results: Any) -> dict[tuple[str, ...], float]:
    """Return the places of the results that hold simulated numbers, with their stated relative tolerance."""
    found: dict[tuple[str, ...], float] = {}
    for path, value in leaves(results):
        if path[-1] == "monte_carlo_rel_tol":
            found[path[:-1]] = float(value)
    return found


def _scales(results: Any, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], float]:
    """Return for each estimate the standard error that stands beside it."""
    found: dict[tuple[str, ...], float] = {}
    if not isinstance(results, dict):
        return found
    for value, error in (("estimate", "std_error"), ("att", "se"), ("overall_att", "overall_se"), ("estimate", "se")):
        a, b = results.get(value), results.get(error)
        if isinstance(a, list) and isinstance(b, list):
            found.update({(*path, value, str(i)): float(s) for i, s in enumerate(b) if s is not None})
        elif isinstance(a, (int, float)) and isinstance(b, (int, float)):
            found[(*path, value)] = float(b)
    for key, entry in results.items():
        found.update(_scales(entry, (*path, str(key))))
    return found


def kind_of(case: dict[str, Any]) -> str:
    """Return what kind of question a case asks."""
    if isinstance(case.get("task"), dict):
        return str(case["task"].get("kind"))
    inputs = case.get("inputs")
    if isinstance(inputs, dict) and "kind" in inputs:
        return str(inputs["kind"])
    return str(case.get("family", "unknown"))


def run_case(folder: Path, case: dict[str, Any]) -> Comparison:
    """Return how one case compares."""
    name = str(case.get("id", "?"))
    kind = kind_of(case)
    try:
        if kind not in TASKS:
            raise Unsupported(f"gbveval does not estimate {kind!r} yet")
        return compare_answer(case, TASKS[kind](folder, case))
    except Unsupported as reason:
        return Comparison(name, "unsupported", str(reason), numbers=count(case))
    except gbv.DesignError as error:
        # A design or an option that gbveval says it does not cover.
        return Comparison(name, "unsupported", str(error), numbers=count(case))
    except gbv.GbvevalError as error:
        return Comparison(name, "mismatched", f"gbveval refuses: {error}", numbers=count(case))
    except Exception as error:
        # A case that the reader cannot read is not passed over, and does not stop the others.
        reason = f"the reader fails with {type(error).__name__}: {error}"
        return Comparison(name, "mismatched", reason, numbers=count(case))


def compare_answer(case: dict[str, Any], answer: dict[str, Any]) -> Comparison:
    """Return how the answer to a case compares."""
    results, tolerance = comparable(case, answer)
    return compare(str(case.get("id", "?")), results, answer, tolerance, ignored)


def comparable(case: dict[str, Any], answer: dict[str, Any]) -> tuple[dict[str, Any], Tolerance]:
    """Return what of a case's results can be compared, and within which tolerance."""
    kind = kind_of(case)
    if kind in INDIVIDUAL_TASKS:
        return posterior_only(case["results"]), monte_carlo_tolerance(case, answer)
    stated = bayes_tolerance(case) if kind in BAYES_TASKS else relative_tolerance(case)
    return case["results"], loosened(stated, answer)


def count(case: dict[str, Any]) -> int:
    """Return how many finite numbers a case's results hold."""
    return sum(is_number(value) for _, value in leaves(case["results"]))


def read_cases(folder: Path) -> list[dict[str, Any]]:
    """Return the cases of a folder, whether the file is a list or a dictionary with one."""
    content = json.loads((folder / "cases.json").read_text(encoding="utf-8"))
    cases: list[dict[str, Any]] = content["cases"] if isinstance(content, dict) else content
    return cases


def run_folder(folder: Path) -> list[Comparison]:
    """Return how every case of a folder compares."""
    return [run_case(folder, case) for case in read_cases(folder)]

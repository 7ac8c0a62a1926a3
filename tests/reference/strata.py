"""Translates cases about people in intersectional strata."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gbveval as gbv
from tests.reference.compare import Unsupported
from tests.reference.frames import read_csv

FAMILIES = {"binomial": "binomial", "gaussian": "normal", "poisson": "poisson"}
# One point of quadrature is Laplace's approximation; the normal family takes none.
POINTS = {"laplace": 1, "REML": 1}
CURVATURE = (
    "lme4 takes second differences, with steps of 1e-4, of a deviance that its inner iterations solve to 1e-7: the "
    "curvature is blurred by 0.2 %. test_standard_errors_are_of_the_joint_curvature takes them of the exact one."
)


def maihda(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    """Answer a case from both models."""
    task = case["task"]
    options, roles = task["options"], task["roles"]
    if options["family"] not in FAMILIES or options["estimation"] not in POINTS:
        raise Unsupported(f"MAIHDA with family {options['family']!r} by {options['estimation']!r}")
    frame = read_csv(folder, task["data"]["file"])
    strata = list(roles["strata"])
    for column in strata:
        frame[column] = frame[column].astype(str)
    # The reference category is the one that sorts first.
    for entry in roles.get("covariates", []):
        first = entry["column"], entry["reference"]
        frame[first[0]] = frame[first[0]].where(frame[first[0]] != first[1], f" {first[1]}")
    data = gbv.Survey(frame, outcome=roles["outcome"])
    model = gbv.Maihda(strata, FAMILIES[options["family"]], quadrature=POINTS[options["estimation"]])
    answer = model.estimate(data)
    both = {(row[0], row[1]): row[2:] for row in model.models(data).rows}
    shares = {name: dict(answer[name].extra)["maximum_likelihood"] for name in ("VPC", "VPC after main effects", "PCV")}
    levels = [term for term in answer.terms if term.estimand.effect == "stratum_level"]
    fixed = {}
    for key, what in case.get("result_terms", {}).items():
        name = "intercept" if what == "intercept" else f"{what['column']}[{what['level']}]"
        fixed[key] = both["main effects", name][0]
    return {
        "n_strata": len(levels),
        "intercept": both["null", "intercept"][0],
        "intercept_null": both["null", "intercept"][0],
        "se_intercept_null": both["null", "intercept"][1],
        "between_var": both["null", "variance"][0],
        "residual_var": both.get(("null", "residual variance"), (None,))[0],
        "var_null": both["null", "variance"][0],
        "var_adjusted": both["main effects", "variance"][0],
        "vpc": shares["VPC"],
        "vpc_null": shares["VPC"],
        "vpc_adjusted": shares["VPC after main effects"],
        "pcv": shares["PCV"],
        "fixef_adjusted": fixed,
        "loglik_null": both["null", "log likelihood"][0],
        "loglik_adjusted": both["main effects", "log likelihood"][0],
        "_disputed": {"se_intercept_null": CURVATURE},
    }


TASKS = {"maihda": maihda}

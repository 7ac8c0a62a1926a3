"""The vocabulary of generalised linear models in reference cases: made-up data, statsmodels as the other system."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from numpy.typing import NDArray
from scipy import stats

import tests.reference.reader as reader

FloatArray = NDArray[np.float64]
BINOMIAL, POISSON = sm.families.Binomial(), sm.families.Poisson()
OPTIONS = {"family": "binomial", "link": "logit", "vcov": "HC0", "df": "normal"}
ARM = {"column": "arm", "as": "numeric", "control": 0, "treated": 1}


@pytest.fixture
def frame(tmp_path: Path) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    n = 300
    made = pd.DataFrame(
        {
            "arm": np.tile([0, 1], n // 2),
            "dose": np.tile(["none", "low", "high"], n // 3),
            "level": rng.choice(["a", "b", "c"], n),
            "x": rng.uniform(1.0, 3.0, n),
            "w": rng.uniform(0.5, 2.0, n),
            "trials": rng.integers(2, 9, n),
            "group": np.repeat(np.arange(30), 10),
        }
    )
    made["events"] = rng.binomial(made["trials"], 0.3 + 0.1 * made["arm"])
    made["y"] = rng.binomial(1, 0.35 + 0.1 * made["arm"])
    made.to_csv(tmp_path / "made.csv", index=False)
    return pd.read_csv(tmp_path / "made.csv")


def ask(folder: Path, roles: dict[str, Any], terms: dict[str, Any], results: dict[str, Any], **options: Any) -> Any:
    task = {
        "kind": "glm",
        "data": {"file": "made.csv"},
        "roles": {"outcome": "y", "treatment": ARM, **roles},
        "options": {**OPTIONS, **options},
    }
    # Two fits of one model, each converged to about 1e-10.
    case = {"id": "made", "task": task, "results": results, "result_terms": terms, "tolerance": {"relative": 1e-6}}
    return reader.run_case(folder, case)


def columns(*parts: Any) -> FloatArray:
    return np.column_stack([np.ones(len(parts[0])), *parts]).astype(float)


def rows(fit: Any, names: dict[str, int]) -> dict[str, Any]:
    return {
        name: {"estimate": float(np.asarray(fit.params)[i]), "std_error": float(np.asarray(fit.bse)[i])}
        for name, i in names.items()
    }


def test_counts_of_events_and_weights(frame: pd.DataFrame, tmp_path: Path) -> None:
    share = frame["events"] / frame["trials"]
    model = sm.GLM(share, columns(frame["arm"]), family=BINOMIAL, var_weights=frame["trials"] * frame["w"])
    expected = rows(model.fit(cov_type="HC0", tol=1e-13), {"(Intercept)": 0, "arm": 1})
    roles = {"outcome": None, "successes": "events", "trials": "trials", "weights": "w"}
    found = ask(tmp_path, roles, {"(Intercept)": "intercept", "arm": {"column": "arm"}}, expected)
    assert (found.status, found.compared) == ("matched", 4)


def test_several_arms_and_fixed_effects(frame: pd.DataFrame, tmp_path: Path) -> None:
    dummies = [frame["level"] == "b", frame["level"] == "c"]
    model = sm.GLM(frame["y"], columns(frame["dose"] == "low", frame["dose"] == "high", *dummies), family=POISSON)
    expected = rows(model.fit(cov_type="HC0", tol=1e-13), {"low": 1, "high": 2})
    roles = {
        "treatment": {"column": "dose", "as": "factor", "levels": ["none", "low", "high"]},
        "fixed_effects": ["level"],
    }
    terms = {name: {"column": "dose", "level": name} for name in ("low", "high")}
    found = ask(tmp_path, roles, terms, expected, family="poisson", link="log")
    assert (found.status, found.compared) == ("matched", 4)


def test_products_of_the_treatment_with_a_factor_and_a_logarithm(frame: pd.DataFrame, tmp_path: Path) -> None:
    a, b, c, x = frame["arm"], frame["level"] == "b", frame["level"] == "c", np.log(frame["x"])
    design = columns(a, b, c, x, a * b, a * c, b * x, c * x)
    names = {"arm": 1, "b": 2, "log(x)": 4, "arm:c": 6, "b:log(x)": 7}
    expected = rows(sm.GLM(frame["y"], design, family=BINOMIAL).fit(cov_type="HC0", tol=1e-13), names)
    roles = {
        "covariates": [{"column": "level", "as": "factor", "levels": ["a", "b", "c"]}, {"column": "x", "as": "log"}],
        "interactions": [["arm", "level"], ["level", "x"]],
    }
    level = {key: {"column": "level", "level": key} for key in "bc"}
    log = {"column": "x", "as": "log"}
    terms = {
        "arm": {"column": "arm"},
        "b": level["b"],
        "log(x)": log,
        "arm:c": {"interaction": [{"column": "arm"}, level["c"]]},
        "b:log(x)": {"interaction": [level["b"], log]},
    }
    found = ask(tmp_path, roles, terms, expected)
    assert (found.status, found.compared) == ("matched", 10)


def test_groups_in_which_arms_vary_one_sided_tests_and_another_null(frame: pd.DataFrame, tmp_path: Path) -> None:
    fit = sm.GLM(frame["y"], columns(frame["arm"]), family=BINOMIAL).fit(
        cov_type="cluster", cov_kwds={"groups": frame["group"]}, tol=1e-13
    )
    statistic = (fit.params.iloc[1] - 0.1) / fit.bse.iloc[1]
    expected = rows(fit, {"arm": 1})
    expected["arm"] |= {"statistic": float(statistic), "p_value": float(stats.t.sf(statistic, 29)), "df": 29}
    found = ask(
        tmp_path,
        {"cluster": "group"},
        {"arm": {"column": "arm"}},
        expected,
        vcov="CR1S",
        df="clusters_minus_1",
        null=0.1,
        alternative="greater",
    )
    assert (found.status, found.compared) == ("matched", 5)


def test_where_separation_is_expected_the_refusal_is_the_answer(frame: pd.DataFrame, tmp_path: Path) -> None:
    spoiled = frame.assign(y=frame["y"] * frame["arm"])
    spoiled.to_csv(tmp_path / "made.csv", index=False)
    separation = {"expected": True, "infinite_terms": [{"column": "arm"}], "reported_term": {"column": "arm"}}
    found = ask(tmp_path, {}, {"arm": {"column": "arm"}}, {"arm": {"estimate": 20.0}}, separation=separation)
    assert found.status == "unsupported"
    assert "no maximum, and gbveval says so" in found.reason
    assert "separated" in found.reason

"""List experiments as trials of two lists: what is refused, told and shown."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gbveval as gbv


def _frame(n: int = 400, seed: int = 2) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    long = np.arange(n) % 2
    return {
        "count": (rng.binomial(4, 0.4, n) + long * (rng.random(n) < 0.3)).astype(float),
        "list": np.where(long == 1, "long", "short").tolist(),
        "x": rng.normal(size=n),
        "town": np.repeat([f"t{k}" for k in range(n // 10)], 10).tolist(),
    }


def _trial(frame: dict[str, Any] | None = None, **roles: Any) -> gbv.Trial:
    return gbv.Trial(_frame() if frame is None else frame, outcome="count", arm="list", control="short", **roles)


def test_prevalence_is_the_difference_in_means_by_the_roles_of_the_trial() -> None:
    for roles in ({}, {"stratum": "town"}):
        trial = _trial(**roles)
        row, plain = gbv.ListExperiment(4).estimate(trial)[0], gbv.DifferenceInMeans().estimate(trial)[0]
        assert (row.value, row.std_error, row.df) == (plain.value, plain.std_error, plain.df)
        assert row.estimand.effect == "prevalence"


def test_ends_of_the_lists_are_counted() -> None:
    frame = _frame()
    counts = np.asarray(frame["count"])
    short = np.asarray(frame["list"]) == "short"
    answer = gbv.ListExperiment(4).estimate(_trial())
    floor = next(check for check in answer.checks if check.name == "floor count")
    assert f"{np.mean(counts[short] == 0):.1%}" in floor.message
    # What leaves holds no number of the few who would give themselves away.
    assert "%" not in floor.public
    # Joint shares together give the counts of both lists away, so each rests on all of them.
    cells = gbv.ListDesignTest(4, n_draws=1000).estimate(_trial())[0].support
    assert (cells[0].n, cells[0].events) == (200, int((counts[short] == 0).sum()))
    assert (cells[-1].n, cells[-1].events) == (200, int((counts[~short] == 5).sum()))


@pytest.mark.parametrize("model", ["likelihood", "two_step", "linear"])
def test_models_without_covariates_agree_with_the_difference_in_means(model: str) -> None:
    plain = gbv.ListExperiment(4).estimate(_trial())[0]
    row = gbv.ListRegression(4, model).estimate(_trial())[0]
    assert plain.value is not None
    assert plain.std_error is not None
    if model == "likelihood":
        # It knows that counts are binomial: not the same number, but near, and more precise.
        assert row.value == pytest.approx(plain.value, abs=plain.std_error)
        assert row.std_error < plain.std_error
    else:
        assert row.value == pytest.approx(plain.value, abs=1e-7)


def test_linear_coefficients_do_not_depend_on_the_units_of_a_covariate() -> None:
    frame = _frame()
    one = gbv.ListRegression(4, "linear").estimate(_trial(frame, covariates=["x"]))
    far = {**frame, "x": 1000.0 * np.asarray(frame["x"]) + 5e5}
    other = gbv.ListRegression(4, "linear").estimate(_trial(far, covariates=["x"]))
    assert one["sensitive: x"].value == pytest.approx(1000.0 * other["sensitive: x"].value, rel=1e-6)
    assert one[0].value == pytest.approx(other[0].value, rel=1e-9)


def test_impossible_counts_and_lists_are_refused_by_column_and_rows() -> None:
    frame = _frame()
    frame["count"] = np.where(np.arange(400) == 0, 5.0, np.asarray(frame["count"]))  # the short list has four items
    with pytest.raises(gbv.DataError, match=r"'count' \(outcome\) is no count that its list allows in 1 rows"):
        gbv.ListExperiment(4).estimate(_trial(frame))
    three = {**_frame(), "list": ["short", "long", "other", "long"] * 100}
    with pytest.raises(gbv.DesignError, match="3 arms"):
        gbv.ListExperiment(4).estimate(_trial(three))
    for estimator in (gbv.ListRegression(4), gbv.ListDesignTest(4)):
        with pytest.raises(gbv.DesignError, match="declares stratum"):
            estimator.estimate(_trial(stratum="town"))
    double = {**_frame(), "z": 2.0 * np.asarray(_frame()["x"])}
    with pytest.raises(gbv.IdentificationError, match="collinear"):
        gbv.ListRegression(4).estimate(_trial(double, covariates=["x", "z"]))


@pytest.mark.parametrize("items", [0, 10, 2.5, True])
def test_items_are_those_of_a_list(items: Any) -> None:
    with pytest.raises(gbv.DesignError, match="items is the number"):
        gbv.ListExperiment(items)


def test_options_are_known_ones() -> None:
    with pytest.raises(gbv.DesignError, match="model is one of"):
        gbv.ListRegression(4, "probit")
    with pytest.raises(gbv.DesignError, match="selection is one of"):
        gbv.ListDesignTest(4, selection="none")
    with pytest.raises(gbv.DesignError, match="n_draws"):
        gbv.ListDesignTest(4, n_draws=10)


def test_joint_shares_add_up_to_everybody() -> None:
    answer = gbv.ListDesignTest(4, n_draws=1000).estimate(_trial())
    values = [row.value for row in answer.terms if row.kind == "point"]
    assert len(values) == 10
    assert sum(value for value in values if value is not None) == pytest.approx(1.0, abs=1e-12)
    assert answer[-1].kind == "test"

"""Transitions against closed forms, and against the same groups cut out of the data by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import gbveval as gbv


def frame(rng: np.random.Generator, n: int = 400) -> dict[str, np.ndarray]:
    before = rng.choice(4, n, p=[0.5, 0.2, 0.2, 0.1])
    arm = np.arange(n) % 2
    y = np.where(rng.random(n) < np.where(before == 0, 0.6, 0.3) + 0.1 * arm, 0, rng.integers(1, 4, n))
    return {"y": y.astype(float), "b": before.astype(float), "arm": np.where(arm == 1, "new", "usual")}


def trial(data: object, **roles: object) -> gbv.Trial:
    return gbv.Trial(data, outcome="y", arm="arm", control="usual", baseline="b", **roles)


def test_risks_differences_and_joint_covariance_are_closed_forms() -> None:
    data = frame(np.random.default_rng(1))
    found = gbv.Transitions().estimate(trial(data))
    table = pd.DataFrame(data)
    events = {
        "prevention": (table["b"] == 0, table["y"] == 0),
        "cessation": (table["b"] > 0, table["y"] == 0),
        "reduction": (table["b"] > 0, table["y"] < table["b"]),
        "escalation": (table["b"] > 0, table["y"] > table["b"]),
    }
    assert [row.term for row in found.terms] == [f"{name}: new vs usual" for name in events]
    for row, (group, event) in zip(found.terms, events.values(), strict=True):
        arms = [event[group & (table["arm"] == arm)].to_numpy(dtype=float) for arm in ("new", "usual")]
        assert row.value == pytest.approx(arms[0].mean() - arms[1].mean(), rel=1e-12)
        # Neyman's variance.
        assert row.std_error == pytest.approx(np.sqrt(sum(a.var(ddof=1) / a.size for a in arms)), rel=1e-12)
        assert row.n_units == int(group.sum())
        assert [cell.n for cell in row.support] == [arms[1].size, arms[0].size]
        assert [cell.events for cell in row.support] == [int(arms[1].sum()), int(arms[0].sum())]
    shared = 0.0
    for arm in ("new", "usual"):
        member = (table["b"] > 0) & (table["arm"] == arm)
        shared += np.cov(events["cessation"][1][member], events["reduction"][1][member])[0, 1] / member.sum()
    assert found.covariance[1, 2] == pytest.approx(shared, rel=1e-10)
    # Different people.
    assert found.covariance[0, 1] == pytest.approx(0.0, abs=1e-18)
    assert {row.estimand.population for row in found.terms[1:]} == {"with_at_baseline"}
    assert found[0].estimand.population == "without_at_baseline"


def test_clusters_are_those_of_the_group_cut_out_by_hand() -> None:
    rng = np.random.default_rng(2)
    data = frame(rng)
    data["g"] = np.arange(400) % 20
    found = gbv.Transitions().estimate(trial(data, cluster="g"))
    table = pd.DataFrame(data)
    cut = table[table["b"] > 0].assign(y=lambda t: (t["y"] == 0).astype(float))
    import statsmodels.formula.api as smf

    fit = smf.ols("y ~ t", cut.assign(t=(cut["arm"] == "new").astype(float))).fit(
        cov_type="cluster", cov_kwds={"groups": cut["g"]}
    )
    row = found["cessation: new vs usual"]
    assert row.value == pytest.approx(fit.params["t"], rel=1e-10)
    # CR2 against statsmodels' CR1 with twenty clusters: alike, not equal.
    assert row.std_error == pytest.approx(fit.bse["t"], rel=0.1)
    assert row.n_clusters == 20
    assert 10 < row.df < 20


def test_ratios_on_request() -> None:
    data = trial(frame(np.random.default_rng(3)))
    difference = gbv.Transitions(("prevention",)).estimate(data)[0]
    ratio = gbv.Transitions(("prevention",), gbv.ModifiedPoisson()).estimate(data)[0]
    assert ratio.estimand.contrast == "risk_ratio"
    new, usual = (cell.events / cell.n for cell in reversed(difference.support))
    assert float(np.exp(ratio.value)) == pytest.approx(new / usual, rel=1e-8)


def test_missing_baselines_and_outcomes_are_counted_and_left_out() -> None:
    data = frame(np.random.default_rng(4))
    data["b"][:5] = np.nan
    data["y"][5:8] = np.nan
    found = gbv.Transitions().estimate(trial(data))
    assert found.check("baseline").message.startswith("5 units")
    assert found.check("missing outcome").status == "warn"
    assert found[0].n_units + found[1].n_units == 392
    assert sum(check.name == "missing outcome" for check in found.checks) == 1


def test_a_group_without_two_in_an_arm_is_null_with_its_reason() -> None:
    data = {
        "y": [0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0],
        "b": [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 2.0],
        "arm": ["usual", "usual", "usual", "new", "new", "new", "new"],
    }
    found = gbv.Transitions().estimate(trial(data))
    assert found["prevention: new vs usual"].value is not None
    assert found["cessation"].value is None
    assert "among those with it at baseline" in found["cessation"].reason
    without = {**data, "b": [0.0] * 7}
    assert "nobody with it" in gbv.Transitions().estimate(trial(without))["reduction"].reason
    with pytest.raises(gbv.IdentificationError, match="No transition"):
        gbv.Transitions(("cessation",)).estimate(trial(data))


def test_nobody_stops_in_either_arm() -> None:
    rng = np.random.default_rng(5)
    data = {"y": rng.integers(1, 4, 40).astype(float), "b": np.ones(40), "arm": np.tile(["usual", "new"], 20)}
    found = gbv.Transitions(("cessation", "escalation")).estimate(trial(data))
    assert (found[0].value, found[0].std_error) == (0.0, None)
    assert found[1].std_error is not None


def test_ordered_frequencies_with_a_cut_and_several_arms() -> None:
    data = frame(np.random.default_rng(6), 600)
    data["arm"] = np.tile(["usual", "new", "newer"], 200)
    found = gbv.Transitions(("cessation",), none_up_to=1.0).estimate(trial(data))
    assert [row.term for row in found.terms] == ["cessation: new vs usual", "cessation: newer vs usual"]
    table = pd.DataFrame(data)
    group = table[table["b"] > 1]
    risk = (group["y"] <= 1).groupby(group["arm"]).mean()
    assert found[1].value == pytest.approx(risk["newer"] - risk["usual"], rel=1e-12)


def test_what_does_not_fit_is_refused() -> None:
    data = frame(np.random.default_rng(7))
    with pytest.raises(gbv.DesignError, match="role `baseline`"):
        gbv.Transitions().estimate(gbv.Trial(data, outcome="y", arm="arm", control="usual"))
    two = {**data, "y2": data["y"]}
    with pytest.raises(gbv.DesignError, match="one outcome"):
        gbv.Transitions().estimate(gbv.Trial(two, outcome=["y", "y2"], arm="arm", control="usual", baseline="b"))
    with pytest.raises(gbv.DataError, match="below zero in 400 rows"):
        gbv.Transitions().estimate(trial({**data, "y": data["y"] - 9}))
    with pytest.raises(gbv.DesignError, match="transitions must be"):
        gbv.Transitions(("prevented",))
    with pytest.raises(gbv.DesignError, match="none_up_to"):
        gbv.Transitions(none_up_to=float("nan"))

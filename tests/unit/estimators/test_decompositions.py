"""What two-way fixed effects average: comparisons and weights against regressions by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls

import gbveval as gbv
from gbveval.core.errors import DesignError, IdentificationError
from gbveval.estimators.did.goodman_bacon import FORBIDDEN
from gbveval.numerics.treatment_weights import smallest_spread


def made(seed: int, cohorts: list[float], *, periods: int = 6, each: int = 4, covariates: int = 0) -> pd.DataFrame:
    """Return a panel with an effect of its own in every cohort and period."""
    rng = np.random.default_rng(seed)
    first = np.repeat(cohorts, rng.integers(1, each + 1, len(cohorts)))
    n = first.size
    treated = np.arange(1, periods + 1)[None, :] >= first[:, None]
    y = rng.normal(size=(n, 1)) + rng.normal(size=(n, periods)) + treated * rng.normal(1, 1, size=(n, periods))
    frame = pd.DataFrame(
        {
            "id": np.repeat([f"u{i}" for i in range(n)], periods),
            "t": np.tile(np.arange(1, periods + 1), n),
            "g": np.repeat(first, periods),
            "w": np.repeat(rng.uniform(0.5, 2.0, n), periods),
            "y": y.ravel(),
        }
    )
    for j in range(covariates):
        frame[f"x{j}"] = rng.normal(size=n * periods) + 0.5 * treated.ravel()
    return frame


def panel(frame: pd.DataFrame, **roles: Any) -> gbv.Panel:
    return gbv.Panel(frame, **{"outcome": "y", "unit": "id", "time": "t", "cohort": "g", **roles})


def coefficient(data: gbv.Panel) -> float:
    value = gbv.TwoWayFixedEffects().estimate(data)[0].value
    assert value is not None
    return value


SETS = st.sets(st.sampled_from([1.0, 2.0, 3.0, 5.0, 6.0, np.inf]), min_size=2).filter(
    lambda s: s & {2.0, 3.0, 5.0, 6.0}
)


@settings(max_examples=30, deadline=None)
@given(cohorts=SETS, seed=st.integers(0, 10**6), weighted=st.booleans(), covariates=st.integers(0, 2))
def test_comparisons_sum_to_the_coefficient(cohorts: set[float], seed: int, *, weighted: bool, covariates: int) -> None:
    roles: dict[str, Any] = {"covariates": [f"x{j}" for j in range(covariates)]}
    roles |= {"weight": "w"} if weighted else {}
    frame = made(seed, sorted([*cohorts, *cohorts]), covariates=covariates)
    data = panel(frame, **roles)
    table = gbv.goodman_bacon(data)
    weight, estimate = (np.array(table.column(name)) for name in ("weight", "estimate"))
    assert weight.sum() == pytest.approx(1.0, abs=1e-12)
    assert (weight > 0).all()
    # Two routes to one number, so that only rounding is allowed for.
    assert weight @ estimate == pytest.approx(coefficient(data), abs=1e-10)
    by_kind = gbv.goodman_bacon_by_kind(table)
    assert by_kind.rows[-1][2:] == pytest.approx((1.0, weight @ estimate, weight @ estimate))
    assert sum(by_kind.column("contribution")[:-1]) == pytest.approx(weight @ estimate)


def test_each_comparison_is_a_regression_on_its_own_rows() -> None:
    frame = made(3, [1.0, 3.0, 5.0, np.inf])
    table = gbv.goodman_bacon(panel(frame))
    place = {"always treated": 1.0, "cohort 3": 3.0, "cohort 5": 5.0, "never treated": np.inf}
    assert len(table.rows) == 6
    for _, treated, comparison, estimate, _ in table.rows:
        k, u = place[treated], place[comparison]
        rows = frame["g"].isin([k, u])
        if u > k:
            rows &= frame["t"] < u
        else:
            rows &= frame["t"] >= u
        part = frame[rows].assign(d=lambda x, k=k: ((x["g"] == k) & (x["t"] >= k)).astype(float))
        design = pd.get_dummies(part[["id", "t"]].astype(str), dtype=float).assign(d=part["d"])
        slopes = np.linalg.lstsq(design.to_numpy(), part["y"].to_numpy(), rcond=None)[0]
        assert estimate == pytest.approx(slopes[-1], abs=1e-10)


def test_weights_do_not_depend_on_the_outcome_and_the_middle_weighs_most() -> None:
    frame = made(5, [2.0, 4.0, 6.0, np.inf])
    table = gbv.goodman_bacon(panel(frame))
    again = gbv.goodman_bacon(panel(frame.assign(y=np.random.default_rng(0).normal(size=len(frame)))))
    assert table.column("weight") == again.column("weight")
    # Against as many never treated, D(1 - D) is 5/36, 9/36 and 5/36... for cohorts treated in 5, 3 and 1 of 6 periods.
    even = pd.concat([frame[frame["g"] == g].head(6) for g in (2.0, 4.0, 6.0, np.inf)])
    rows = {row[1]: row[4] for row in gbv.goodman_bacon(panel(even)).rows if row[2] == "never treated"}
    assert rows["cohort 4"] / rows["cohort 2"] == pytest.approx(9 / 5)
    assert rows["cohort 6"] == pytest.approx(rows["cohort 2"])


def test_cohorts_outside_the_window_and_dates() -> None:
    frame = made(7, [1.0, 3.0, np.inf, np.inf])
    starts = frame["g"].map({1.0: 2019.0, 3.0: 2023.0, np.inf: np.nan})
    half = frame["id"].isin(frame.loc[np.isinf(frame["g"]), "id"].unique()[:1])
    dated = frame.assign(
        t=pd.to_datetime((frame["t"] + 2020).astype(str) + "-01-01"),
        g=pd.to_datetime(starts.mask(half, 2099.0).map(lambda x: None if np.isnan(x) else f"{x:.0f}-01-01")),
    )
    table = gbv.goodman_bacon(panel(dated))
    plain = gbv.goodman_bacon(panel(frame))
    assert table.column("weight") == pytest.approx(plain.column("weight"))
    assert set(table.column("comparison")) == {"always treated", "never treated"}
    assert any("1 cohort treated only after the last period" in note for note in table.notes)


def test_within_cohorts_is_the_slope_on_what_covariates_leave_within_them() -> None:
    frame = made(11, [3.0, 5.0, np.inf], covariates=1)
    table = gbv.goodman_bacon(panel(frame, covariates=["x0"]))
    treated = (frame["t"] >= frame["g"]).to_numpy(float)
    others = pd.get_dummies(frame[["id", "t"]].astype(str), dtype=float).assign(x=frame["x0"]).to_numpy()
    left = treated - others @ np.linalg.lstsq(others, treated, rcond=None)[0]
    rest = left - pd.Series(left).groupby([frame["g"], frame["t"]]).transform("mean").to_numpy()
    row = next(row for row in table.rows if row[0] == "within cohorts")
    assert row[3] == pytest.approx(rest @ frame["y"].to_numpy() / (rest @ rest))
    assert row[4] == pytest.approx(rest @ rest / (left @ left))
    lost = gbv.goodman_bacon(panel(frame.assign(c=frame["t"] * 2.0), covariates=["c"]))
    assert any("left out: c" in note for note in lost.notes)
    assert lost.column("estimate")[0] is not None


def test_the_plot_shows_every_comparison() -> None:
    table = gbv.goodman_bacon(panel(made(3, [1.0, 3.0, 5.0, np.inf])))
    ax = gbv.plot_goodman_bacon(table)
    lines = {line.get_label(): line for line in ax.get_lines()}
    shown = {kind: lines[kind].get_xdata() for kind in set(table.column("kind"))}
    assert sorted(np.concatenate(list(shown.values()))) == sorted(table.column("weight"))
    assert len({lines[kind].get_marker() for kind in shown}) == len(shown)
    assert all(lines[kind].get_markerfacecolor() != "white" for kind in FORBIDDEN)
    with pytest.raises(DesignError, match="another table"):
        gbv.plot_goodman_bacon(gbv.goodman_bacon_by_kind(table))


def noiseless(frame: pd.DataFrame, effect: pd.Series, treatment: pd.Series, seed: int = 0) -> pd.DataFrame:
    """Return the frame with outcomes that are unit and period effects and the effects of the treated."""
    rng = np.random.default_rng(seed)
    unit = frame["id"].map(dict(zip(frame["id"].unique(), rng.normal(size=frame["id"].nunique()), strict=True)))
    period = frame["t"].map(dict(zip(frame["t"].unique(), rng.normal(size=frame["t"].nunique()), strict=True)))
    return frame.assign(y=unit + period + effect * treatment, d=treatment)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), ends=st.booleans(), gaps=st.booleans(), covariate=st.booleans())
def test_weights_reproduce_the_coefficient_of_any_effects(
    seed: int, *, ends: bool, gaps: bool, covariate: bool
) -> None:
    rng = np.random.default_rng(seed)
    frame = made(seed, [2.0, 4.0, 5.0, np.inf], covariates=1)
    last = frame["g"] + 2 if ends else np.inf
    treatment = ((frame["t"] >= frame["g"]) & (frame["t"] <= last)).astype(float)
    effect = frame.groupby(["g", "t"])["y"].transform(lambda _: rng.normal(1, 1))
    frame = noiseless(frame, effect, treatment)
    if gaps:
        frame = frame.assign(y=frame["y"].mask(rng.random(len(frame)) < 0.3))
    data = panel(frame, treatment="d", covariates=["x0"] if covariate else [], weight="w")
    table = gbv.twfe_weights(data)
    truth = frame.assign(effect=effect).groupby(["g", "t"])["effect"].first()
    effects = [truth[float(row[0].split()[1]), float(row[1])] for row in table.rows]
    assert sum(table.column("weight")) == pytest.approx(1.0, abs=1e-9)
    assert sum(table.column("share")) == pytest.approx(1.0)
    assert np.dot(table.column("weight"), effects) == pytest.approx(coefficient(data), abs=1e-8)


def test_weights_by_hand_and_amounts() -> None:
    frame = made(2, [2.0, 4.0, np.inf])
    amount = (frame["t"] >= frame["g"]) * (1.0 + (frame["t"] == 5))
    effect = frame.groupby(["g", "t"])["y"].transform("first")
    data = panel(noiseless(frame, effect, amount), treatment="d")
    design = pd.get_dummies(frame[["id", "t"]].astype(str), dtype=float).to_numpy()
    left = amount - design @ np.linalg.lstsq(design, amount.to_numpy(), rcond=None)[0]
    by_hand = (left * amount).groupby([frame["g"], frame["t"]]).sum() / (left @ amount)
    table = gbv.twfe_weights(data)
    assert table.column("weight") == pytest.approx([by_hand[float(r[0].split()[1]), float(r[1])] for r in table.rows])
    assert any("amount" in note for note in table.notes)
    measures = dict(gbv.twfe_robustness(data).rows)
    assert measures["coefficient"] == pytest.approx(coefficient(data))
    negative = [row for row in table.rows if row[3] < 0]
    assert measures["cells of negative weight"] == len(negative)
    assert measures["sum of negative weights"] == pytest.approx(sum(row[3] for row in negative))


def test_one_cohort_beside_never_treated_has_the_weights_of_an_average() -> None:
    data = panel(made(4, [3.0, np.inf]))
    table = gbv.twfe_weights(data)
    assert table.column("weight") == pytest.approx(table.column("share"))
    measures = dict(gbv.twfe_robustness(data).rows)
    assert measures["smallest sd for a zero average"] is None
    assert measures["smallest sd for the opposite sign"] is None


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_smallest_spreads_are_the_minima(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 6))
    share = rng.dirichlet(np.full(n, 3.0))
    ratio = rng.normal(1.0, 1.5, n)
    ratio += 1.0 - share @ ratio
    found = smallest_spread(1.0, ratio * share, share)
    spread = np.sqrt(share)[:, None] * (np.eye(n) - share[None, :])
    # The equations of the least sum of squares under two equalities: coefficient one, average zero.
    rules = np.array([share * ratio, share])
    system = np.block([[2.0 * spread.T @ spread, rules.T], [rules, np.zeros((2, 2))]])
    effects = np.linalg.lstsq(system, np.concatenate([np.zeros(n), [1.0, 0.0]]), rcond=None)[0][:n]
    assert found.zero_average == pytest.approx(np.linalg.norm(spread @ effects), rel=1e-6)
    if (ratio < -0.05).any():
        # Effects at most zero: non-negative least squares, with the equality as a row of great weight. A weight of 1e4
        # misses it by about its square's inverse.
        heavy = 1e4 * found.opposite_sign
        rows = np.vstack([spread, heavy * (share * ratio)[None, :]])
        effects = nnls(rows, np.concatenate([np.zeros(n), [-heavy]]))[0]
        assert found.opposite_sign == pytest.approx(np.linalg.norm(spread @ effects), rel=1e-5)
    elif (ratio >= 0).all():
        assert np.isnan(found.opposite_sign)


@pytest.mark.parametrize(
    ("change", "roles", "error", "words"),
    [
        ({"y": lambda f: f["y"].mask(f.index == 0)}, {}, DesignError, "1 unit have no outcome in some period"),
        ({"d": lambda f: (f["t"] == f["g"]).astype(float)}, {"treatment": "d"}, DesignError, "Treatment ends"),
        ({"d": lambda f: 2.0 * (f["t"] >= f["g"])}, {"treatment": "d"}, DesignError, "treatment is not 0 before"),
        ({"w": lambda f: f["w"] + f["t"]}, {"weight": "w"}, DesignError, "weight varies within"),
        ({"g": 3.0}, {}, IdentificationError, "treated at the same time"),
        ({"g": np.inf}, {}, IdentificationError, "treated at the same time"),
        (
            {"x": lambda f: (f["t"] >= f["g"]).astype(float)},
            {"covariates": ["x"]},
            IdentificationError,
            "explain treatment",
        ),
        ({}, {"unit": None}, DesignError, "units followed over time"),
    ],
)
def test_bacon_refuses(change: dict[str, Any], roles: dict[str, Any], error: type[Exception], words: str) -> None:
    data = panel(made(1, [3.0, 5.0, np.inf]).assign(**change), **roles)
    with pytest.raises(error, match=words):
        gbv.goodman_bacon(data)


def test_weights_refuse() -> None:
    frame = made(1, [3.0, 5.0, np.inf])
    with pytest.raises(DesignError, match=r"below zero in \d+ row"):
        gbv.twfe_weights(panel(frame.assign(d=-1.0 * (frame["t"] >= frame["g"])), treatment="d"))
    with pytest.raises(IdentificationError, match="explain treatment"):
        gbv.twfe_weights(panel(frame.assign(g=3.0)))


def test_a_release_keeps_small_cohorts_back() -> None:
    frame = made(6, [3.0, 5.0, np.inf], each=2)
    released = gbv.release([gbv.goodman_bacon(panel(frame)), gbv.twfe_weights(panel(frame))], gbv.Policy())
    for item in released.items:
        assert all(value is None or isinstance(value, str) for row in item.rows for value in row[3:])

"""Balance tables: every number against another program, the test's size and power, layout, release, refusals."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf
from scipy import stats

import gbveval as gbv
from gbveval.estimators.diagnostics.balance import ALL

mpl.use("Agg")


def frame(n: int = 120, seed: int = 1, arms: tuple[str, ...] = ("usual", "new")) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    data = pd.DataFrame(
        {
            "y": rng.normal(size=n),
            "arm": np.resize(arms, n),
            "age": rng.normal(30, 6, n),
            "before": rng.binomial(1, 0.4, n).astype(float),
            "group": rng.choice(["a", "b", "c"], n),
            "district": np.repeat(["north", "south"], n // 2),
        }
    )
    data.loc[rng.random(n) < 0.1, "age"] = np.nan
    return data


def trial(data: pd.DataFrame, **roles: Any) -> gbv.Trial:
    roles = {"characteristics": ["age", "before", "group"], **roles}
    return gbv.Trial(data, outcome="y", arm="arm", control="usual", **roles)


def row(table: gbv.Table, name: str, level: str = "", panel: str = "all") -> dict[str, Any]:
    rows = [dict(zip(table.columns, values, strict=True)) for values in table.rows]
    return next(r for r in rows if (r["panel"], r["characteristic"], r["level"]) == (panel, name, level))


def test_a_row_against_scipy_and_statsmodels() -> None:
    data = frame()
    found = row(gbv.balance(trial(data), p_values=True), "age")
    control, new = (data.loc[data["arm"] == arm, "age"].dropna() for arm in ("usual", "new"))
    assert (found["n: usual"], found["n: new"]) == (control.size, new.size)
    assert found["missing: usual"] + found["missing: new"] == data["age"].isna().sum()
    assert (found["mean: new"], found["sd: new"]) == pytest.approx((new.mean(), new.std()), rel=1e-12)
    assert found["difference: new"] == pytest.approx(new.mean() - control.mean(), rel=1e-10)
    assert found["variance ratio: new"] == pytest.approx(new.var() / control.var(), rel=1e-10)
    spread = np.sqrt((new.var() + control.var()) / 2)
    assert found["standardised difference: new"] == pytest.approx((new.mean() - control.mean()) / spread, rel=1e-10)
    fit = smf.ols("age ~ t", data.assign(t=(data["arm"] == "new").astype(float))).fit(cov_type="HC2", use_t=True)
    assert found["std_error: new"] == pytest.approx(fit.bse["t"], rel=1e-10)
    assert (found["conf_low: new"], found["conf_high: new"]) == pytest.approx(tuple(fit.conf_int().loc["t"]), rel=1e-9)
    # All three stand side by side: the difference, its interval and, on request, its p-value.
    assert found["p_value: new"] == pytest.approx(fit.pvalues["t"], rel=1e-8)


def test_strata_adjust_the_difference_and_leave_the_means() -> None:
    data = frame().drop(index=range(5)).reset_index(drop=True)
    table = gbv.balance(trial(data, stratum="district"))
    found = row(table, "before")
    fit = smf.ols("before ~ t + C(district)", data.assign(t=(data["arm"] == "new").astype(float))).fit(cov_type="HC2")
    assert found["difference: new"] == pytest.approx(fit.params["t"], rel=1e-9)
    assert found["mean: new"] == pytest.approx(data.loc[data["arm"] == "new", "before"].mean(), rel=1e-12)
    assert any("adjusted for strata" in note for note in table.notes)


def test_categories_show_every_level_below_their_name() -> None:
    data = frame()
    data.loc[3, "group"] = None
    table = gbv.balance(trial(data))
    assert [level for name, level in zip(*map(table.column, ("characteristic", "level"))) if name == "group"] == [
        *("", "a", "b", "c")
    ]
    shares = [row(table, "group", level)["mean: usual"] for level in "abc"]
    assert sum(shares) == pytest.approx(1.0, abs=1e-12)
    assert sum(row(table, "group")[f"missing: {arm}"] for arm in ("usual", "new")) == 1


def test_covariates_are_described_with_the_level_that_has_no_indicator() -> None:
    data = frame().assign(age=lambda d: d["age"].fillna(30.0), base=lambda d: d["y"] + 1)
    data.loc[0, "base"] = np.nan
    table = gbv.balance(trial(data, characteristics=[], covariates=["age", "group"], baseline="base"))
    named = list(dict.fromkeys(table.column("characteristic")))
    assert named == ["age", "group", "baseline", ALL]
    assert row(table, "group", "a")["mean: new"] == pytest.approx(
        (data.loc[data["arm"] == "new", "group"] == "a").mean()
    )


def test_the_layout_does_not_depend_on_the_numbers() -> None:
    data = frame()
    first = gbv.balance(trial(data)).columns
    assert gbv.balance(trial(data.assign(age=np.nan))).columns == first
    assert gbv.balance(trial(data.assign(before=1.0)), omnibus="regression").columns == first
    assert gbv.balance(trial(data, stratum="district"), panels="stratum").columns == first
    tidy = gbv.balance(trial(data), p_values=True).tidy()
    assert tuple(tidy.columns) == gbv.balance(trial(data), p_values=True).columns
    assert "p_value: new" in tidy


def test_all_arms_are_tested_together() -> None:
    data = frame(180, arms=("usual", "letter", "visit"))
    table = gbv.balance(trial(data, characteristics=["before"]), p_values=True)
    found = row(table, "before")
    # With HC2 in a model of means the covariance is that of the arms' means, here by hand; Hotelling's (m - q + 1) / m
    # for q = 2 hypotheses and m = 177 degrees of freedom turns the Wald statistic into an F.
    groups = [data.loc[data["arm"] == arm, "before"] for arm in ("usual", "letter", "visit")]
    gap = np.array([g.mean() - groups[0].mean() for g in groups[1:]])
    variance = groups[0].var() / 60 + np.diag([g.var() / 60 for g in groups[1:]])
    assert found["statistic"] == pytest.approx(gap @ np.linalg.solve(variance, gap) / 2 * 176 / 177, rel=1e-8)
    # d2 of one column and three arms has two degrees of freedom: the analysis of variance of the lot.
    last = row(table, ALL)
    x = data["before"] - data["before"].mean()
    between = sum(60 * x[data["arm"] == arm].mean() ** 2 for arm in ("usual", "letter", "visit"))
    assert last["statistic"] == pytest.approx(between / (x.var(ddof=1)), rel=1e-8)
    assert last["df"] == 2


@pytest.mark.parametrize("vcov", ["classical", "HC0", "HC1", "HC2", "HC3"])
def test_the_regression_against_statsmodels(vcov: str) -> None:
    data = frame().assign(age=lambda d: d["age"].fillna(30.0))
    table = gbv.balance(trial(data, characteristics=["age", "before"]), omnibus="regression", vcov=vcov)
    kind = {} if vcov == "classical" else {"cov_type": vcov}
    design = sm.add_constant(data[["age", "before"]])
    fit = sm.OLS((data["arm"] == "new").astype(float), design).fit(use_t=True, **kind)
    witness = fit.f_test("age = 0, before = 0")
    last = row(table, ALL)
    assert (last["statistic"], last["p_value"]) == pytest.approx(
        (float(witness.fvalue), float(witness.pvalue)), rel=1e-9
    )
    assert (last["df"], last["df2"]) == (2, 117)


def test_the_regression_tests_some_columns_given_the_others_and_clusters_by_site() -> None:
    data = frame().assign(age=lambda d: d["age"].fillna(30.0), town=np.repeat(np.arange(20), 6))
    given = trial(data, characteristics=["age", "before"], site="town")
    last = row(gbv.balance(given, tested=["before"], omnibus="regression", vcov="CR1", df="clusters_minus_1"), ALL)
    design = sm.add_constant(data[["age", "before"]])
    fit = sm.OLS((data["arm"] == "new").astype(float), design).fit(
        cov_type="cluster", cov_kwds={"groups": data["town"], "use_correction": False}
    )
    statistic = (fit.params["before"] / fit.bse["before"]) ** 2 * 19 / 20
    assert last["statistic"] == pytest.approx(statistic, rel=1e-9)
    assert last["p_value"] == pytest.approx(stats.f.sf(statistic, 1, 19), rel=1e-8)


def test_the_p_value_of_the_lot_is_uniform_and_sees_imbalance() -> None:
    """Under a stratified cluster lot, with gaps in a column; then with a log that moved people of one kind."""
    rng = np.random.default_rng(8)
    small, shifted, draws = [], 0, 250
    for _ in range(draws):
        schools = 12
        arm = np.concatenate([rng.permutation(np.repeat([0, 1], 3)) for _ in range(2)])
        school = np.repeat(np.arange(schools), rng.integers(3, 9, schools))
        level = rng.normal(size=schools)[school]
        data = pd.DataFrame(
            {
                "y": 0.0,
                "arm": np.where(arm[school] == 1, "new", "usual"),
                "school": school,
                "district": school // 6,
                "x": level + rng.normal(size=school.size),
                "z": rng.exponential(size=school.size),
            }
        )
        data.loc[rng.random(school.size) < 0.2, "z"] = np.nan
        given = trial(data, characteristics=["x", "z"], cluster="school", stratum="district")
        small.append(row(gbv.balance(given, n_draws=199, rng=rng), ALL)["p_value"])
        moved = trial(data.assign(x=data["x"] + 4.0 * (data["arm"] == "new")), characteristics=["x"], cluster="school")
        shifted += row(gbv.balance(moved, n_draws=199, rng=rng), ALL)["p_value"] <= 0.05
    # Exact tests: the share at or below a is at most a, and for 400 possible allocations hardly less. Four errors.
    for level_ in (0.05, 0.1, 0.25, 0.5):
        share = np.mean(np.array(small) <= level_)
        assert share < level_ + 4 * np.sqrt(level_ * (1 - level_) / draws)
        assert share > level_ - 0.02 - 4 * np.sqrt(level_ * (1 - level_) / draws)
    assert shifted > 0.95 * draws


def test_release_hides_a_small_level_and_one_more() -> None:
    data = frame(400)
    data.loc[data["group"] == "c", "group"] = "b"
    data.loc[[4, 6], "group"] = "c"
    data["group"] = data["group"].where(data.index % 3 > 0, "d")
    data.loc[[4, 6], "group"] = "c"
    released = gbv.release(gbv.balance(trial(data, characteristics=["group"])))
    shown = {r[2]: r[3:] for r in released.items[0].rows if r[1] == "group"}
    hidden = [level for level, numbers in shown.items() if level and all(x is None for x in numbers)]
    assert "c" in hidden
    assert len(hidden) >= 2  # with a single one, the arm's total less the others would be it


def test_panels_of_sites_are_tested_each_and_not_released_with_the_whole() -> None:
    data = frame(240)
    given = trial(data, characteristics=["before"], site="district")
    table = gbv.balance(given, panels="site")
    assert list(dict.fromkeys(table.column("panel"))) == ["north", "south"]
    south = data[data["district"] == "south"]
    found = row(table, "before", panel="south")["mean: new"]
    assert found == pytest.approx(south.loc[south["arm"] == "new", "before"].mean(), rel=1e-12)
    assert row(table, ALL, panel="south")["df"] == 1
    rare = data.assign(before=(data.index < 9).astype(float))
    both = [gbv.balance(trial(rare, characteristics=["before"], site="district"), panels=p) for p in (None, "site")]
    with pytest.raises(gbv.GbvevalError):
        gbv.release(both)


def test_ugly_data() -> None:
    data = frame()
    lost = data.assign(age=data["age"].where(data["arm"] == "usual"))
    table = gbv.balance(trial(lost))
    assert row(table, "age")["difference: new"] is None
    assert row(table, ALL)["p_value"] is not None
    assert any("age: no difference" in note for note in table.notes)
    constant = gbv.balance(trial(data.assign(before=1.0), characteristics=["before"]))
    assert row(constant, "before")["standardised difference: new"] is None
    assert row(constant, ALL)["p_value"] is None
    assert any("There is no test" in note for note in constant.notes)
    far = gbv.balance(trial(data.assign(age=1e9 + data["before"]), characteristics=["age"]))
    near = gbv.balance(trial(data, characteristics=["before"]))
    assert row(far, ALL)["statistic"] == pytest.approx(row(near, ALL)["statistic"], rel=1e-3)
    weighted = gbv.balance(trial(data.assign(w=np.resize([0.0, 1.0, 2.0], 120)), weight="w"))
    member = data[(data["arm"] == "new")]
    w = np.resize([0.0, 1.0, 2.0], 120)[member.index]
    assert row(weighted, "before")["mean: new"] == pytest.approx(np.average(member["before"], weights=w))
    categorical = data.assign(group=pd.Categorical(data["group"], categories=["a", "b", "c", "unused"]))
    assert "unused" not in gbv.balance(trial(categorical)).column("level")


def test_refusals() -> None:
    data = frame()
    with pytest.raises(gbv.DesignError, match="characteristics"):
        gbv.balance(trial(data, characteristics=[]))
    with pytest.raises(gbv.DesignError, match="'wealth' is not among"):
        gbv.balance(trial(data), tested=["wealth"])
    with pytest.raises(gbv.DesignError, match="two arms"):
        gbv.balance(trial(frame(90, arms=("usual", "b", "c"))), omnibus="regression")
    with pytest.raises(gbv.DesignError, match="site"):
        gbv.balance(trial(data), panels="site")
    with pytest.raises(gbv.DesignError, match="CR1 needs clusters"):
        gbv.balance(trial(data), omnibus="regression", vcov="CR1")
    clustered = trial(data.assign(c=np.resize(np.arange(10), 120)), cluster="c")
    with pytest.raises(gbv.DesignError, match="as independent"):
        gbv.balance(clustered, omnibus="regression", vcov="HC1")
    for option in ({"omnibus": "f"}, {"df": "welch"}, {"n_draws": 3}, {"level": 2.0}, {"panels": "arm"}):
        with pytest.raises(gbv.DesignError):
            gbv.balance(trial(data), **option)
    wedge = pd.DataFrame(
        {"y": 0.0, "arm": ["usual", "new", "usual", "usual"], "c": [1, 1, 2, 2], "t": [1, 2, 1, 2], "x": 1}
    )
    with pytest.raises(gbv.DesignError, match="sequence as the arm"):
        gbv.balance(
            gbv.Trial(wedge, outcome="y", arm="arm", control="usual", cluster="c", time="t", characteristics=["x"])
        )
    lone = pd.DataFrame({"y": [0.0, 1.0], "arm": ["usual", "new"], "s": [1, 2], "x": [1.0, 2.0]})
    with pytest.raises(gbv.IdentificationError, match="one allocation"):
        gbv.balance(gbv.Trial(lone, outcome="y", arm="arm", control="usual", stratum="s", characteristics=["x"]))


def test_characteristics_are_read_like_covariates_but_may_be_missing() -> None:
    data = frame()
    with pytest.raises(gbv.DataError, match="two roles"):
        trial(data, characteristics=["y"])
    with pytest.raises(gbv.DataError, match="looks like a name"):
        trial(
            data.assign(who=[f"person {i}" for i in range(120)] * 1)
            .pipe(lambda d: pd.concat([d, d, d]))
            .assign(who=[f"person {i}" for i in range(360)]),
            characteristics=["who"],
        )
    both = trial(data, characteristics=["before"], covariates=["before"])
    assert gbv.balance(both).column("characteristic") == ("before", ALL)
    assert trial(data).digest != trial(data, characteristics=["before"]).digest


def test_a_love_plot_draws_a_mark_an_arm_and_row() -> None:
    table = gbv.balance(trial(frame(180, arms=("usual", "letter", "visit"))))
    axes = gbv.love_plot(table)
    marks = [line for line in axes.get_lines() if line.get_linestyle() == "None"]
    assert [line.get_label() for line in marks] == ["letter", "visit"]
    assert list(marks[0].get_xdata()) == [x for x in table.column("standardised difference: letter") if x is not None]
    assert [text.get_text() for text in axes.get_yticklabels()] == [
        "age",
        "before",
        "group [a]",
        "group [b]",
        "group [c]",
    ]
    with pytest.raises(gbv.DesignError, match="made by `balance`"):
        gbv.love_plot(gbv.Table("t", ("a",), ((1,),)))
    mpl.pyplot.close("all")


def test_repeats_exactly_and_takes_a_generator() -> None:
    given = trial(frame())
    assert gbv.balance(given).rows == gbv.balance(given).rows
    other = row(gbv.balance(given, rng=np.random.default_rng(4)), ALL)
    assert other["statistic"] == row(gbv.balance(given), ALL)["statistic"]

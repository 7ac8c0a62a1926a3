"""`RiskFactors`: crude and adjusted ratios against brute force and statsmodels, and everything it must refuse."""

from __future__ import annotations

import dataclasses
import pickle

import numpy as np
import pytest
import statsmodels.api as sm

from gbveval.core.errors import DataError, DesignError, IdentificationError
from gbveval.core.replicate import binomial_band, generators
from gbveval.data.survey import Survey
from gbveval.datasets.pilot import PilotSurvey
from gbveval.disclosure.release import release
from gbveval.factors._columns import ModelData
from gbveval.factors._modified_poisson import fit_modified_poisson
from gbveval.factors.factor import Factor
from gbveval.factors.risk_factors import RiskFactors
from gbveval.numerics.patterns import Patterns


def _frame(n: int = 240, seed: int = 5) -> dict[str, object]:
    rng = np.random.default_rng(seed)
    ward = np.repeat(np.arange(n // 8), 8)
    online = rng.choice(["high", "low", "middle"], n)
    age = rng.uniform(15, 30, n)
    sex = rng.choice(["man", "woman"], n)
    risk = 0.2 + 0.15 * (online == "high") + 0.1 * (sex == "woman") + 0.01 * (30 - age) / 3
    return {
        "y": (rng.random(n) < risk).astype(float),
        "w": rng.uniform(1, 3, n),
        "ward": [f"ward {g:02d}" for g in ward],
        "region": np.where(ward < n // 16, "north", "south").tolist(),
        "online": online.tolist(),
        "sex": sex.tolist(),
        "age": age,
    }


def _survey(frame: dict[str, object], **roles: object) -> Survey:
    used = {"outcome": "y", "weight": "w", "stratum": "region", "psu": "ward", **roles}
    return Survey(frame, **{key: value for key, value in used.items() if value is not None})


def _table(**options: object) -> RiskFactors:
    given = {"factors": ["online"], "behaviour": "experience", **options}
    return RiskFactors(given.pop("factors"), given.pop("adjust_for", None), **given)


# -- numbers --------------------------------------------------------------------------------------------------------


def test_crude_ratio_and_difference_by_brute_force() -> None:
    frame = _frame()
    rows = _table(factors=["sex"]).estimate(_survey(frame))
    y, w, woman = frame["y"], frame["w"], np.asarray(frame["sex"]) == "woman"
    p1, p0 = (float(np.average(y[g], weights=w[g])) for g in (woman, ~woman))
    z1 = np.where(woman, w * (y - p1), 0) / w[woman].sum()
    z0 = np.where(~woman, w * (y - p0), 0) / w[~woman].sum()
    for what, value, z in (
        ("ratio", np.log(p1 / p0), z1 / p1 - z0 / p0),
        ("difference", p1 - p0, z1 - z0),
    ):
        row = rows[f"sex: woman vs man (crude {what})"]
        wards = z.reshape(30, 8).sum(axis=1)
        variance = sum(15 / 14 * ((part - part.mean()) ** 2).sum() for part in (wards[:15], wards[15:]))
        assert row.value == pytest.approx(value, rel=1e-12)
        assert row.std_error == pytest.approx(np.sqrt(variance), rel=1e-12)
        assert row.df == 28.0
    extra = dict(rows[0].extra)
    assert extra["risk_exposed"] == pytest.approx(p1)
    assert extra["risk_unexposed"] == pytest.approx(p0)
    assert extra["factor_prevalence"] == pytest.approx(w[woman].sum() / w.sum())


def test_adjusted_ratio_is_that_of_statsmodels_with_clustered_errors() -> None:
    """Without strata our variance is the clustered sandwich times G / (G - 1), for G primary units.

    Whole weights are respondents repeated within their ward, so statsmodels is asked without weights, where its
    clustered covariance is fully supported.
    """
    frame = _frame()
    times = np.random.default_rng(2).integers(1, 4, 240)
    frame["w"] = times.astype(float)
    adjust = {"online": ["sex", "age"]}
    rows = _table(factors=[Factor("online", reference="low")], adjust_for=adjust).estimate(_survey(frame, stratum=None))
    online = np.asarray(frame["online"])
    design = np.column_stack(
        [online == "high", online == "middle", np.asarray(frame["sex"]) == "woman", frame["age"]]
    ).astype(float)
    groups = np.unique(np.asarray(frame["ward"]), return_inverse=True)[1]
    fit = sm.GLM(
        np.repeat(frame["y"], times), sm.add_constant(np.repeat(design, times, axis=0)), family=sm.families.Poisson()
    ).fit(tol=1e-14, cov_type="cluster", cov_kwds={"groups": np.repeat(groups, times), "use_correction": False})
    for position, level in ((1, "high"), (2, "middle")):
        row = rows[f"online: {level} vs low (adjusted ratio)"]
        # Two fits of one likelihood, theirs converged to about 1e-10.
        assert row.value == pytest.approx(fit.params[position], rel=1e-7)
        assert row.std_error == pytest.approx(fit.bse[position] * np.sqrt(30 / 29), rel=1e-7)
        assert row.estimand.scale == "conditional"
        assert dict(row.extra)["model"] == "adjusted for sex, age"


def test_without_covariates_the_model_gives_the_crude_ratio() -> None:
    frame = _frame()
    y, w, woman = frame["y"], frame["w"], np.asarray(frame["sex"]) == "woman"
    exposure = woman[:, None].astype(float)
    everybody = Patterns(np.arange(240), np.arange(240))
    fit = fit_modified_poisson(ModelData(y, w, everybody, exposure, np.zeros((240, 0)), ()), "sex")
    p1, p0 = (float(np.average(y[g], weights=w[g])) for g in (woman, ~woman))
    assert fit.log_ratio[0] == pytest.approx(np.log(p1 / p0), rel=1e-10)
    z = np.where(woman, w * (y - p1) / w[woman].sum() / p1, -w * (y - p0) / w[~woman].sum() / p0)
    np.testing.assert_allclose(fit.row_values[:, 0], z, rtol=1e-8, atol=1e-12)


def test_the_joint_covariance_is_the_cross_product_of_influence_by_primary_unit() -> None:
    answer = _table(factors=["online", "sex"], adjust_for={"online": ["sex"]}).estimate(_survey(_frame()))
    assert answer.influence.shape == (30, len(answer))
    np.testing.assert_allclose(answer.influence.T @ answer.influence, answer.covariance, rtol=1e-10, atol=1e-15)
    # high vs low and middle vs low share the reference group, so the two ratios are correlated.
    assert answer.covariance[0, 3] != 0.0


def test_degrees_of_freedom_are_those_of_the_group_in_fewer_units() -> None:
    """A factor of eight wards in two regions has 8 - 2 degrees of freedom, whatever the reference has."""
    frame = _frame()
    wards = np.repeat(np.arange(30), 8)
    frame["moderated"] = np.where(np.isin(wards, [0, 1, 2, 3, 20, 21, 22, 23]), "yes", "no").tolist()
    answer = _table(factors=["moderated"], adjust_for={"moderated": ["sex"]}).estimate(_survey(frame))
    assert [row.df for row in answer.terms] == [6.0, 6.0, 6.0, 6.0]
    assert answer.check("degrees of freedom").status == "warn"


@pytest.mark.parametrize("change", ["weights", "order", "copies", "scale of age"])
def test_what_must_not_matter(change: str) -> None:
    frame = _frame()
    table = _table(adjust_for={"online": ["sex", "age"]})
    base = table.estimate(_survey(frame))
    if change == "weights":
        frame["w"] = frame["w"] * 1e5
    elif change == "scale of age":
        frame["age"] = frame["age"] * 1e6 + 1e9
    else:
        rows = np.random.default_rng(1).permutation(240) if change == "order" else np.tile(np.arange(240), 2)
        frame = {key: [column[i] for i in rows] for key, column in frame.items()}
    again = table.estimate(_survey(frame))
    # Adding 1e9 to ages leaves them seven digits.
    np.testing.assert_allclose(again.values, base.values, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(again.std_errors, base.std_errors, rtol=1e-7)


def test_the_pilot_survey_s_factors_are_found_and_covered() -> None:
    """Risks multiply there, so every adjusted ratio is known; 60 draws, five standard errors of their mean."""
    draws, truth = 60, {"lgbtq": 1.9, "disability": 1.5, "moderated_community": 0.75}
    adjust = {name: ["gender", *(other for other in truth if other != name), "region"] for name in truth}
    table = RiskFactors(list(truth), adjust, behaviour="experience")
    errors = {name: [] for name in truth}
    covered = dict.fromkeys(truth, 0)
    for rng in generators(20260104, draws):
        answer = table.estimate(PilotSurvey().draw(rng))
        low, high = answer.intervals()
        for name, ratio in truth.items():
            row = answer.index(f"{name}: yes vs no (adjusted ratio)")
            errors[name].append(answer.values[row] - np.log(ratio))
            covered[name] += int(low[row] <= np.log(ratio) <= high[row])
    least = binomial_band(0.95, draws, false_alarm=1e-6)[0]
    for name in truth:
        assert abs(np.mean(errors[name])) < 5 * np.std(errors[name], ddof=1) / np.sqrt(draws), name
        assert covered[name] / draws >= least, name


# -- what every row says --------------------------------------------------------------------------------------------


def test_rows_come_level_by_level_and_carry_the_standard_columns() -> None:
    factor = Factor("online", "individual", reference="low", direction="risk", definition="hours a day")
    answer = _table(factors=[factor], adjust_for={"online": ["age"]}, behaviour="perpetration").estimate(
        _survey(_frame())
    )
    assert [row.term for row in answer.terms] == [
        f"online: {level} vs low ({what})"
        for level in ("high", "middle")
        for what in ("crude ratio", "adjusted ratio", "crude difference", "adjusted difference")
    ]
    tidy = answer.tidy()
    for column, value in (
        ("factor", "online"),
        ("reference", "low"),
        ("ecological_level", "individual"),
        ("behaviour", "perpetration"),
        ("direction", "risk"),
        ("definition", "hours a day"),
    ):
        assert (tidy[column] == value).all()
    assert tidy["factor_level"].tolist() == ["high"] * 4 + ["middle"] * 4
    assert tidy["model"].tolist() == ["crude", "adjusted for age"] * 4
    assert (tidy["estimand"] == "association").all()
    assert not answer[0].estimand.is_causal


def test_roles_that_were_not_declared_are_said() -> None:
    answer = _table(factors=["online", "sex"], adjust_for={"sex": []}).estimate(_survey(_frame()))
    models = {dict(row.extra)["factor"]: dict(row.extra)["model"] for row in answer.terms}
    assert models == {"online": "crude only; roles not declared", "sex": "crude; no confounder declared"}
    assert not any("adjusted" in row.term for row in answer.terms)
    assert any("nothing was adjusted for with online" in item for item in answer.method.assumptions)


def test_covariates_are_never_shown_as_factors() -> None:
    answer = _table(adjust_for={"online": ["sex", "age"]}).estimate(_survey(_frame()))
    assert {dict(row.extra)["factor"] for row in answer.terms} == {"online"}


def test_support_counts_the_groups_of_one_table() -> None:
    frame = _frame()
    answer = _table().estimate(_survey(frame))
    y, online = frame["y"], np.asarray(frame["online"])
    for row in answer.terms:
        assert {cell.table for cell in row.support} == {"y by online"}
        for cell in row.support:
            assert (cell.n, cell.events) == ((online == cell.label).sum(), y[online == cell.label].sum())
    assert release(answer).estimates()[0].causal is False


def test_missing_answers_leave_only_the_rows_that_need_them() -> None:
    frame = _frame()
    frame["online"] = [None if i < 10 else label for i, label in enumerate(frame["online"])]
    frame["age"] = np.where(np.arange(240) >= 220, np.nan, frame["age"])
    frame["y"] = np.where(np.arange(240) == 100, np.nan, frame["y"])
    answer = _table(factors=["online", "sex"], adjust_for={"online": ["age"]}).estimate(_survey(frame))
    shares = {row.term: dict(row.extra)["missing_share"] for row in answer.terms}
    assert shares["online: low vs high (crude ratio)"] == pytest.approx(11 / 240)
    assert shares["online: low vs high (adjusted ratio)"] == pytest.approx(31 / 240)
    assert shares["sex: woman vs man (crude ratio)"] == pytest.approx(1 / 240)
    assert answer["online: low vs high (adjusted ratio)"].n_units == 209
    assert "10 of 240" in answer.check("missing online").message
    assert "20 of 229" in answer.check("adjusted sample online").message
    assert "1 of 240" in answer.check("missing outcome").message
    tables = {cell.table for cell in answer["online: low vs high (adjusted ratio)"].support}
    assert tables == {"y by online", "y by online, complete on age"}


# -- what cannot be answered ----------------------------------------------------------------------------------------


def test_a_group_without_events_is_null_with_a_reason_and_the_others_stay() -> None:
    frame = _frame()
    online = np.asarray(frame["online"])
    frame["y"] = np.where(online == "middle", 0.0, frame["y"])
    adjust = {"online": ["age"]}
    answer = _table(adjust_for=adjust).estimate(_survey(frame))
    for what in ("crude ratio", "adjusted ratio"):
        row = answer[f"online: middle vs high ({what})"]
        assert (row.value, row.std_error) == (None, None)
        assert "no events" in row.reason
    assert answer["online: middle vs high (crude difference)"].std_error is None
    # Without that group the others are estimated as if it had not been there.
    keep = np.flatnonzero(online != "middle")
    design = np.column_stack([online[keep] == "low", frame["age"][keep]]).astype(float)
    fit = sm.GLM(
        frame["y"][keep], sm.add_constant(design), family=sm.families.Poisson(), freq_weights=frame["w"][keep]
    ).fit(tol=1e-14)
    assert answer["online: low vs high (adjusted ratio)"].value == pytest.approx(fit.params[1], rel=1e-7)


def test_a_reference_without_events_leaves_every_ratio_null() -> None:
    frame = _frame()
    frame["y"] = np.where(np.asarray(frame["online"]) == "high", 0.0, frame["y"])
    answer = _table(adjust_for={"online": ["age"]}).estimate(_survey(frame))
    assert all(row.value is None for row in answer.terms if row.estimand.contrast == "prevalence_ratio")


def test_everybody_with_the_outcome_has_no_standard_error() -> None:
    answer = _table(adjust_for={"online": ["sex"]}).estimate(_survey({**_frame(), "y": np.ones(240)}))
    assert all(row.std_error is None and row.reason for row in answer.terms)


def test_a_covariate_category_without_events_is_set_aside_and_its_category_unsaid() -> None:
    frame = _frame()
    frame["faith"] = ["silent" if i % 12 == 0 else ("a" if i % 2 else "b") for i in range(240)]
    silent = np.asarray(frame["faith"]) == "silent"
    frame["y"] = np.where(silent, 0.0, frame["y"])
    answer = _table(adjust_for={"online": ["faith"]}).estimate(_survey(frame))
    message = answer.check("separation online").message
    assert "faith" in message
    assert "silent" not in message
    row = answer["online: low vs high (adjusted ratio)"]
    assert abs(row.value) < 3
    assert row.std_error > 0


def test_a_separated_combination_of_covariates_is_null_and_never_minus_twenty() -> None:
    """No one with the outcome lies beyond a line in two covariates, and neither covariate shows it alone."""
    rng = np.random.default_rng(8)
    n = 240
    frame = _frame()
    frame["a"], frame["b"] = rng.choice(["x", "z"], n).tolist(), rng.choice(["x", "z"], n).tolist()
    gone = (np.asarray(frame["a"]) == "x") & (np.asarray(frame["b"]) == "x")
    frame["ab"] = (2.0 * gone + rng.random(n) * gone).tolist()
    frame["y"] = np.where(gone, 0.0, frame["y"])
    answer = _table(adjust_for={"online": ["a", "b", "ab"]}).estimate(_survey(frame))
    row = answer["online: low vs high (adjusted ratio)"]
    assert row.value is None
    assert "no finite value" in row.reason


def test_collinear_covariates_are_dropped_named_and_change_nothing() -> None:
    frame = _frame()
    frame["months"] = frame["age"] * 12.0
    base = _table(adjust_for={"online": ["age"]}).estimate(_survey(frame))
    more = _table(adjust_for={"online": ["age", "months"]}).estimate(_survey(frame))
    np.testing.assert_allclose(more.values, base.values, rtol=1e-9)
    np.testing.assert_allclose(more.std_errors, base.std_errors, rtol=1e-9)
    assert "months" in more.check("rank online").message


def test_a_factor_inside_its_covariates_is_not_identified() -> None:
    frame = _frame()
    frame["copy"] = frame["online"]
    with pytest.raises(IdentificationError, match="'online' is a combination"):
        _table(adjust_for={"online": ["copy"]}).estimate(_survey(frame))


def test_more_coefficients_than_degrees_of_freedom_are_refused() -> None:
    frame = _frame()
    frame["street"] = [f"street {i % 40}" for i in range(240)]
    with pytest.raises(IdentificationError, match=r"coefficients, but .* only 28 degrees") as caught:
        _table(adjust_for={"online": ["street"]}).estimate(_survey(frame))
    assert "street 1" not in str(caught.value)


def test_one_category_is_refused_with_its_count() -> None:
    frame = _frame()
    frame["online"] = ["high"] * 240
    with pytest.raises(IdentificationError, match="'online' has one category among the 240 respondents"):
        _table().estimate(_survey(frame))


def test_outcomes_that_are_not_shares_are_refused_without_their_values() -> None:
    frame = _frame()
    frame["y"][3], frame["y"][7] = 48151.62342, 0.5
    with pytest.raises(DataError, match=r"'y' .* neither 0 nor 1 in 2 rows") as caught:
        _table().estimate(_survey(frame))
    assert "48151" not in str(caught.value)


def test_places_absent_columns_and_outcomes_are_refused() -> None:
    survey = _survey(_frame())
    with pytest.raises(DesignError, match="primary sampling unit"):
        _table(factors=["ward"]).estimate(survey)
    with pytest.raises(DesignError, match="primary sampling unit") as caught:
        _table(adjust_for={"online": ["ward"]}).estimate(survey)
    assert "ward 0" not in str(caught.value)
    with pytest.raises(DataError, match="'sexx'"):
        _table(factors=["sexx"]).estimate(survey)
    with pytest.raises(DataError, match="'agee'"):
        _table(adjust_for={"online": ["agee"]}).estimate(survey)
    with pytest.raises(DesignError, match="'y' is an outcome"):
        _table(factors=["y"]).estimate(survey)
    with pytest.raises(DesignError, match="'y' is an outcome"):
        _table(adjust_for={"online": ["y"]}).estimate(survey)
    with pytest.raises(DesignError, match="no category 'never'"):
        _table(factors=[Factor("online", reference="never")]).estimate(survey)


# -- the value itself -----------------------------------------------------------------------------------------------


def test_it_is_a_frozen_value_however_its_options_were_given() -> None:
    first = RiskFactors(["a", Factor("b")], {"b": ["z"], "a": ("x", "x")}, behaviour="experience")
    second = RiskFactors((Factor("a"), "b"), (("a", ("x",)), ("b", ("z",))), behaviour="experience")
    assert first == second
    assert hash(first) == hash(second)
    assert pickle.loads(pickle.dumps(first)) == first
    with pytest.raises(dataclasses.FrozenInstanceError):
        first.behaviour = "perpetration"  # type: ignore[misc]
    with pytest.raises(TypeError):
        RiskFactors(["a"])  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RiskFactors([], behaviour="experience"), "at least one"),
        (lambda: RiskFactors(["a", "a"], behaviour="experience"), "2 times"),
        (lambda: RiskFactors(["a"], behaviour="suffering"), "behaviour"),
        (lambda: RiskFactors(["a"], {"b": ["c"]}, behaviour="experience"), "not among the factors"),
        (lambda: RiskFactors(["a"], {"a": ["a"]}, behaviour="experience"), "itself"),
        (lambda: RiskFactors(["a"], behaviour="experience", lonely_psu="drop"), "lonely_psu"),
        (lambda: Factor("a", "school"), "level is one of"),
        (lambda: Factor("a", direction="bad"), "direction"),
        (lambda: Factor(""), "name of a column"),
    ],
)
def test_impossible_options_are_refused(make: object, message: str) -> None:
    with pytest.raises(DesignError, match=message):
        make()  # type: ignore[operator]


def test_a_number_as_reference_means_its_category() -> None:
    frame = _frame()
    frame["online"] = [{"low": 0, "middle": 1, "high": 2}[label] for label in frame["online"]]
    answer = _table(factors=[Factor("online", reference=1)]).estimate(_survey(frame))  # type: ignore[arg-type]
    assert answer[0].term == "online: 0 vs 1 (crude ratio)"

"""`Prevalence`: rows, scales, missing answers, refusals, and coverage against a known truth."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from gbveval.core.errors import DataError, DesignError, IdentificationError
from gbveval.core.replicate import binomial_band, generators
from gbveval.data.survey import Survey
from gbveval.datasets.pilot import PilotSurvey
from gbveval.disclosure.release import release
from gbveval.factors.prevalence import Prevalence
from gbveval.testing.processes import SurveyFrames

SECRET = 48151.62342


def _frame(n: int = 120, seed: int = 3) -> dict[str, object]:
    rng = np.random.default_rng(seed)
    return {
        "y": rng.integers(0, 2, n).astype(float),
        "w": rng.uniform(1, 3, n),
        "ward": np.repeat([f"ward {g}" for g in range(n // 6)], 6).tolist(),
        "region": np.repeat(["north", "south"], n // 2).tolist(),
        "sex": rng.choice(["man", "woman"], n).tolist(),
        "lives": rng.choice(["rural", "urban"], n).tolist(),
    }


def _survey(frame: dict[str, object], **roles: object) -> Survey:
    used = {"outcome": "y", "weight": "w", "stratum": "region", "psu": "ward", **roles}
    return Survey(frame, **{key: value for key, value in used.items() if value is not None})


def test_the_overall_row_is_the_weighted_share_on_the_log_odds_scale() -> None:
    frame = _frame()
    row = Prevalence().estimate(_survey(frame))[0]
    y, w = frame["y"], frame["w"]
    p = float((w * y).sum() / w.sum())
    assert row.value == pytest.approx(np.log(p / (1 - p)), rel=1e-12)
    assert (row.term, row.df, row.n_units, row.n_clusters) == ("all", 18.0, 120, 20)
    # Brute force: linearised totals of the wards, by region, then the delta method.
    z = w * (y - p) / w.sum()
    wards = z.reshape(20, 6).sum(axis=1)
    variance = sum(10 / 9 * ((part - part.mean()) ** 2).sum() for part in (wards[:10], wards[10:]))
    assert row.std_error == pytest.approx(np.sqrt(variance) / (p * (1 - p)), rel=1e-12)


def test_groups_keep_the_whole_design_and_their_covariance_gives_contrasts() -> None:
    survey = _survey(_frame())
    answer = Prevalence(by="sex").estimate(survey)
    assert [row.term for row in answer.terms] == ["all", "sex: man", "sex: woman"]
    np.testing.assert_allclose(answer.influence.T @ answer.influence, answer.covariance, rtol=1e-12)
    contrast = answer.contrast({"sex: woman": 1.0, "sex: man": -1.0}, name="log odds ratio")[0]
    direct = ((answer.influence[:, 2] - answer.influence[:, 1]) ** 2).sum()
    assert contrast.std_error == pytest.approx(np.sqrt(direct), rel=1e-12)


def test_two_columns_are_crossed() -> None:
    survey = _survey(_frame())
    answer = Prevalence(by=["sex", "lives"]).estimate(survey)
    assert [row.term for row in answer.terms[1:]] == [
        f"sex and lives: {sex}, {lives}" for sex in ("man", "woman") for lives in ("rural", "urban")
    ]
    assert sum(row.n_units for row in answer.terms[1:]) == survey.n


def test_extra_columns_give_weighted_sizes_and_the_design_effect() -> None:
    frame = _frame()
    tidy = Prevalence(by="sex").estimate(_survey(frame)).tidy()
    assert tidy["n_weighted"].iloc[0] == pytest.approx(frame["w"].sum())
    assert tidy["n_weighted"].iloc[1:].sum() == pytest.approx(frame["w"].sum())
    assert (tidy["design_effect"] > 0).all()
    assert tidy["domain_level"].iloc[1:].tolist() == ["man", "woman"]


def test_an_unweighted_survey_says_so() -> None:
    answer = Prevalence().estimate(_survey(_frame(), weight=None, stratum=None, psu=None))
    assert "unweighted: every respondent counts the same" in answer.method.sample
    assert answer.check("weights").status == "info"
    y = np.asarray(_frame()["y"])
    p = y.mean()
    assert answer[0].std_error == pytest.approx(np.sqrt(y.var(ddof=1) / 120) / (p * (1 - p)), rel=1e-12)
    assert (answer[0].df, answer[0].n_clusters) == (119.0, None)


def test_missing_outcomes_are_left_out_of_the_share_and_counted() -> None:
    frame = _frame()
    frame["y"][:15] = np.nan
    answer = Prevalence(by="lives").estimate(_survey(frame))
    y, w = frame["y"][15:], frame["w"][15:]
    p = (w * y).sum() / w.sum()
    assert answer[0].value == pytest.approx(np.log(p / (1 - p)), rel=1e-12)
    assert answer[0].n_units == 105
    assert dict(answer[0].extra)["missing_share"] == pytest.approx(15 / 120)
    assert "15 of 120" in answer.check("missing outcome").message
    # Two wards have lost all six outcomes, a third half of them: 18 wards in 2 regions are left.
    assert answer[0].df == 16.0


def test_missing_groups_are_counted_and_are_no_row() -> None:
    frame = _frame()
    frame["sex"] = [None if i < 30 else label for i, label in enumerate(frame["sex"])]
    answer = Prevalence(by="sex").estimate(_survey(frame))
    assert [row.term for row in answer.terms] == ["all", "sex: man", "sex: woman"]
    assert answer[0].n_units == 120
    assert answer[1].n_units + answer[2].n_units == 90
    check = answer.check("missing sex")
    assert check.status == "warn"
    assert "30 of 120" in check.message


def test_those_without_an_answer_cannot_be_worked_out_from_what_is_released() -> None:
    """Total and groups would give away three people; the smallest group is given up for them."""
    frame = _frame(n=600)
    frame["sex"] = [None if i < 3 else ("man" if i < 200 else "woman") for i in range(600)]
    shown = release(Prevalence(by="sex").estimate(_survey(frame))).estimates()[0]
    assert [row.hidden for row in shown.rows] == [False, True, False]


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_share_of_nought_or_one_is_null_with_a_reason(value: float) -> None:
    frame = _frame()
    frame["y"] = np.where(np.asarray(frame["sex"]) == "man", value, frame["y"])
    answer = Prevalence(by="sex").estimate(_survey(frame))
    row = answer["sex: man"]
    assert row.value is None
    assert row.std_error is None
    assert "no log odds" in row.reason
    assert answer["sex: woman"].std_error > 0
    assert np.isnan(answer.covariance[1]).all()


def test_a_score_gets_a_mean_on_its_own_scale() -> None:
    frame = _frame()
    frame["y"] = np.arange(120.0)
    row = Prevalence().estimate(_survey(frame))[0]
    assert (row.estimand.contrast, row.estimand.link) == ("mean", "identity")
    assert row.value == pytest.approx((frame["w"] * frame["y"]).sum() / frame["w"].sum())
    assert row.support[0].events is None


def test_several_outcomes_share_one_covariance() -> None:
    frame = _frame()
    frame["z"] = 1.0 - frame["y"]
    answer = Prevalence().estimate(_survey(frame, outcome=["y", "z"]))
    assert [row.outcome for row in answer.terms] == ["y", "z"]
    # An outcome and its complement have opposite log odds, so their correlation is -1.
    assert answer.covariance[0, 1] == pytest.approx(-answer.covariance[0, 0], rel=1e-10)


def test_scale_of_weights_and_copies_of_respondents_do_not_matter() -> None:
    frame = _frame()
    base = Prevalence(by="sex").estimate(_survey(frame))
    heavy = Prevalence(by="sex").estimate(_survey({**frame, "w": frame["w"] * 1e4}))
    np.testing.assert_allclose(heavy.std_errors, base.std_errors, rtol=1e-10)
    rows = np.tile(np.arange(120), 2)
    twice = {key: [column[i] for i in rows] for key, column in frame.items()}
    np.testing.assert_allclose(Prevalence(by="sex").estimate(_survey(twice)).std_errors, base.std_errors, rtol=1e-10)


def test_lonely_units_are_refused_or_adjusted_and_said() -> None:
    frame = _frame()
    frame["region"] = ["island" if i < 6 else label for i, label in enumerate(frame["region"])]
    with pytest.raises(IdentificationError, match=r"1 of 3 strata.*lonely_psu='adjust'") as caught:
        Prevalence().estimate(_survey(frame))
    assert "island" not in str(caught.value)
    answer = Prevalence(lonely_psu="adjust").estimate(_survey(frame))
    assert answer.check("lonely primary units").status == "warn"
    assert answer[0].df == 17.0
    with pytest.raises(DesignError, match="lonely_psu"):
        Prevalence(lonely_psu="remove")


def test_a_group_in_one_unit_a_stratum_has_no_standard_error() -> None:
    frame = _frame()
    frame["sex"] = ["rare" if i in (0, 1, 2, 60, 61, 62) else "other" for i in range(120)]
    frame["y"][[0, 60]], frame["y"][[1, 2, 61, 62]] = 1.0, 0.0
    row = Prevalence(by="sex").estimate(_survey(frame))["sex: rare"]
    assert row.value is not None
    assert row.std_error is None
    assert "no more primary units than strata" in row.reason


@pytest.mark.parametrize("column", ["ward", "village"])
def test_places_and_identifiers_are_no_groups(column: str) -> None:
    frame = _frame()
    frame["village"] = [f"{ward} village {i % 2}" for i, ward in enumerate(frame["ward"])]
    with pytest.raises(DesignError, match=column) as caught:
        Prevalence(by=column).estimate(_survey(frame))
    assert "ward 1" not in str(caught.value)
    big = {key: [column[i % 120] for i in range(360)] for key, column in frame.items()}
    big["person"] = [f"person {i}" for i in range(360)]
    with pytest.raises(DesignError, match="360 categories"):
        Prevalence(by="person").estimate(_survey(big, psu=None))


def test_absent_columns_and_outcomes_as_groups_are_refused() -> None:
    survey = _survey(_frame())
    with pytest.raises(DataError, match="Column 'gendre'"):
        Prevalence(by="gendre").estimate(survey)
    with pytest.raises(DesignError, match="'y' is an outcome"):
        Prevalence(by="y").estimate(survey)


def test_it_is_a_frozen_value() -> None:
    assert hash(Prevalence(by=["a", "b"])) == hash(Prevalence(by=("a", "b")))
    with pytest.raises(dataclasses.FrozenInstanceError):
        Prevalence().by = "x"  # type: ignore[misc]


def test_no_names_of_places_and_no_values_are_shown() -> None:
    frame = _frame()
    frame["y"][0] = SECRET
    answer = Prevalence(by="sex").estimate(_survey(frame))
    for text in (answer.summary(), answer.to_json(), repr(answer)):
        assert "ward 1" not in text
        assert str(SECRET) not in text


def test_intervals_cover_the_population_with_few_unequal_units() -> None:
    frames = SurveyFrames(psu_per_stratum=6, target="prevalence")
    draws, covered = 300, 0
    for rng in generators(20260102, draws):
        frame, truth = frames.frame(rng)
        low, high = Prevalence().estimate(frames.check(frame)).intervals()
        covered += bool(low[0] <= truth <= high[0])
    # A Monte Carlo band for a nominal level that may be off by 0.02, as one stratum carries nearly all the variance.
    low_share = binomial_band(0.93, draws, false_alarm=1e-6)[0]
    assert low_share <= covered / draws


def test_of_a_rare_outcome_the_plain_interval_covers_too_little_and_two_others_do_not() -> None:
    """A prevalence of 2.5 % in twenty wards: 2,000 draws gave 96 % for logit and Korn-Graubard, and 91 % for t."""
    frames = SurveyFrames(psu_per_stratum=10, risk=0.02, target="share")
    draws = 300
    held = dict.fromkeys(("logit", "korn_graubard", "t"), 0)
    for rng in generators(20260104, draws):
        frame, truth = frames.frame(rng)
        survey = frames.check(frame)
        for interval in held:
            row = Prevalence(interval=interval).estimate(survey).records()[0]
            held[interval] += bool(row["conf_low"] <= truth <= row["conf_high"])
    least = binomial_band(0.93, draws, false_alarm=1e-6)[0]
    assert min(held["logit"], held["korn_graubard"]) / draws >= least
    assert held["t"] < min(held["logit"], held["korn_graubard"])


def test_the_pilot_survey_knows_its_prevalence_of_men_without_factors() -> None:
    """Over 40 draws the mean prevalence of women exceeds that of men by the factor that made them, 1.4."""
    ratios = []
    for rng in generators(20260103, 40):
        answer = Prevalence(by="gender").estimate(PilotSurvey().draw(rng))
        p = [1 / (1 + np.exp(-answer[f"gender: {who}"].value)) for who in ("woman", "man")]
        ratios.append(np.log(p[0] / p[1]))
    error = np.std(ratios, ddof=1) / np.sqrt(40)
    assert abs(np.mean(ratios) - np.log(1.4)) < 5 * error


def test_a_code_for_no_answer_is_noticed() -> None:
    frame = {"y": [0.0, 1.0, 1.0, 0.0, 0.0, 9.0, 9.0]}
    check = Prevalence().estimate(Survey(frame, outcome="y")).check("codes of y")
    assert check.status == "warn"
    assert "2 rows" in check.message
    assert "9" not in check.public.replace("99", "")
    # Numbers of reports are means, and nobody takes them for codes.
    counts = Survey({"y": [0.0, 3.0, 5.0, 2.0, 1.0, 4.0]}, outcome="y")
    assert not [each for each in Prevalence().estimate(counts).checks if each.name.startswith("codes")]

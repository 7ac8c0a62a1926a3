"""The notebook table, the forest by ecological level and the section of the report."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest

import gbveval as gbv
from gbveval.core.errors import DesignError, DisclosureError
from gbveval.datasets.pilot import PilotSurvey

mpl.use("Agg")

FACTORS = [
    gbv.Factor("moderated_community", "community", reference="no", direction="protective"),
    gbv.Factor("lgbtq", "individual", reference="no", direction="risk", definition="says so", time_order="before"),
    gbv.Factor("gender"),
]


def _answer(seed: int = 3, **more: object) -> gbv.Estimates:
    survey = PilotSurvey(wards=40, respondents=30).draw(np.random.default_rng(seed))
    asked = {"measures": ("ratio", "difference", "attributable_fraction"), **more}
    adjust = {"lgbtq": ["age"], "moderated_community": ["age", "gender"]}
    return gbv.RiskFactors(FACTORS, adjust, behaviour="experience", **asked).estimate(survey)  # type: ignore[arg-type]


def test_the_table_has_a_line_a_category_in_the_order_of_levels() -> None:
    answer = _answer()
    table = gbv.factor_table(answer)
    assert table.column("factor")[:2] == ("lgbtq", "moderated_community")
    assert set(table.column("factor")[2:]) == {"gender"}
    row = dict(zip(table.columns, table.rows[0], strict=True))
    record = {r["term"]: r for r in answer.records()}
    assert row["adjusted_ratio"] == record["lgbtq: yes vs no (adjusted ratio)"]["estimate"]
    assert row["adjusted_difference_low"] == record["lgbtq: yes vs no (adjusted difference)"]["conf_low"]
    assert row["attributable_fraction"] == record["lgbtq: attributable fraction, if causal"]["estimate"]
    assert row["e_value"] == record["lgbtq: yes vs no (adjusted ratio)"]["e_value"]
    assert row["robustness_value"] == record["lgbtq: yes vs no (adjusted difference)"]["robustness_value"]
    assert 0.0 < row["robustness_value_limit"] < row["robustness_value"] < 1.0
    assert (row["time_order"], row["adjusted_for"], row["adjustment_reason"]) == (
        "before",
        "age",
        "declared confounders",
    )
    protective = dict(zip(table.columns, table.rows[1], strict=True))
    assert protective["attributable_fraction"] is None
    assert protective["prevented_fraction"] > 0
    assert any("if the association were causal" in note for note in table.notes)
    undeclared = dict(zip(table.columns, table.rows[2], strict=True))
    assert "roles not declared" in undeclared["adjusted_for"]


def test_the_released_table_hides_lines_of_few() -> None:
    survey = gbv.Survey(
        {
            "y": [1.0] * 4 + [0.0] * 6 + [1.0] * 60 + [0.0] * 130,
            "x": ["yes"] * 10 + ["no"] * 190,
        },
        outcome="y",
    )
    table = gbv.factor_table(gbv.RiskFactors(["x"], behaviour="perpetration").estimate(survey))
    row = gbv.release(table).items[0].rows[0]
    assert all(value is None or isinstance(value, str) for value in row)


def test_few_without_an_answer_to_a_confounder_do_not_hide_the_table() -> None:
    """Two of 302 lack an age: the adjusted rows rest on the others, and are shown beside crude rows and shares."""
    frame = PilotSurvey().frame(np.random.default_rng(7))
    survey = gbv.Survey(frame, outcome="harassed_12m", weight="weight", stratum="region", psu="ward")
    factors = [gbv.Factor("disability", "individual", reference="no"), FACTORS[0]]
    adjust = {"disability": ["age", "gender"], "moderated_community": ["region"]}
    table = gbv.RiskFactors(factors, adjust, behaviour="experience", measures=["ratio"]).estimate(survey)
    supports = {cell.table for row in table.terms for cell in row.support}
    assert "harassed_12m by disability, complete on age, gender" in supports
    released = gbv.release([gbv.Prevalence(by="disability").estimate(survey), table])
    assert not [row["term"] for item in released.estimates() for row in item.rows if row.hidden]


def test_only_tables_of_factors_are_taken() -> None:
    survey = PilotSurvey().draw(np.random.default_rng(1))
    with pytest.raises(DesignError, match="RiskFactors"):
        gbv.factor_table(gbv.Prevalence().estimate(survey))
    with pytest.raises(DesignError, match="no table of factors"):
        gbv.plot_factors(gbv.release(gbv.Prevalence().estimate(survey)))
    with pytest.raises(DisclosureError, match="release"):
        gbv.plot_factors(_answer())  # type: ignore[arg-type]


def test_the_forest_has_a_heading_a_level_and_an_interval_a_ratio() -> None:
    released = gbv.release(_answer())
    ax = gbv.plot_factors(released)
    labels = [tick.get_text() for tick in ax.get_yticklabels()]
    assert [label for label in labels if label in ("individual", "community", "level not declared")] == [
        "individual",
        "community",
        "level not declared",
    ]
    ratios = [row for row in released.estimates()[0].rows if row["contrast"] == "prevalence_ratio"]
    drawn = [row for row in ratios if row["estimate"] is not None]
    lines = [
        line for line in ax.get_lines() if len(line.get_xdata()) == 2 and line.get_xdata()[0] != line.get_xdata()[1]
    ]
    assert sorted(float(line.get_xdata()[0]) for line in lines) == pytest.approx(sorted(r["conf_low"] for r in drawn))
    mpl.pyplot.close(ax.get_figure())


def test_a_label_from_data_starts_no_mathematics_and_hidden_rows_say_so() -> None:
    rng = np.random.default_rng(2)
    x = ["$5$"] * 5 + ["no"] * 295
    survey = gbv.Survey({"y": (rng.random(300) < 0.4).astype(float), "x": x}, outcome="y")
    released = gbv.release(gbv.RiskFactors([gbv.Factor("x", reference="no")], behaviour="experience").estimate(survey))
    ax = gbv.plot_factors(released)
    assert any("not shown" in text.get_text() for text in ax.texts)
    ax.get_figure().canvas.draw()
    assert any("$5$" in tick.get_text() for tick in ax.get_yticklabels())
    mpl.pyplot.close(ax.get_figure())


def test_the_report_has_the_table_its_figure_and_its_caution(tmp_path: object) -> None:
    section = gbv.Section("Who is at risk", gbv.release(_answer()))
    files = gbv.write_report([section], out=str(tmp_path))
    page = files.page.read_text(encoding="utf-8")
    for words in (
        "adjusted ratio",
        "E-value (limit), if causal",
        "fraction, %, if causal",
        "never added up",
        "prevented",
    ):
        assert words in page
    assert len(files.figures) == 1
    assert "individual" in page


def test_outcomes_have_lines_of_their_own() -> None:
    frame = PilotSurvey(wards=40, respondents=30).frame(np.random.default_rng(1))
    frame["worse"] = np.asarray(frame["harassed_12m"]) * (np.arange(len(frame["age"])) % 2)
    survey = gbv.Survey(frame, outcome=["harassed_12m", "worse"], weight="weight", stratum="region", psu="ward")
    answer = gbv.RiskFactors([FACTORS[1]], {"lgbtq": ["age"]}, behaviour="experience").estimate(survey)
    assert gbv.factor_table(answer).column("outcome") == ("harassed_12m", "worse")
    released = gbv.release(answer)
    from gbveval.reporting.factor_table import factor_columns, factor_rows

    item = released.estimates()[0]
    assert factor_columns(item)[0] == "outcome"
    assert [line[0] for line in factor_rows(item)] == ["harassed_12m", "worse"]


def test_adjusted_p_values_have_a_column_of_their_own() -> None:
    answer = _answer()
    family = [row.term for row in answer.terms if row.term.endswith("(adjusted ratio)")]
    adjusted = gbv.adjust_for_multiplicity(answer, terms=family)
    table = gbv.factor_table(adjusted)
    assert sum(value is not None for value in table.column("p_adjusted")) == len(family)
    assert "p_adjusted" not in gbv.factor_table(answer).columns
    from gbveval.reporting.factor_table import factor_columns

    assert "p, adjusted" in factor_columns(gbv.release(adjusted).estimates()[0])


def test_the_e_value_beside_a_ratio_is_that_of_the_ratio() -> None:
    """The odds ratio of a line comes after its ratio and has an E-value of its own, by its root."""
    answer = _answer(measures=("ratio", "odds_ratio"))
    table = gbv.factor_table(answer)
    records = {record["term"]: record for record in answer.records()}
    shown = dict(zip(zip(table.column("factor"), table.column("factor_level"), strict=True), table.column("e_value")))
    crude = next(term for term in records if term.startswith("gender: ") and term.endswith("(crude ratio)"))
    ratio = records[crude]["estimate"]
    # VanderWeele and Ding (2017): g + sqrt(g (g - 1)), with g the ratio or its inverse.
    g = max(ratio, 1 / ratio)
    assert shown["gender", records[crude]["factor_level"]] == pytest.approx(g + np.sqrt(g * (g - 1)), rel=1e-12)
    assert shown["lgbtq", "yes"] == records["lgbtq: yes vs no (adjusted ratio)"]["e_value"]

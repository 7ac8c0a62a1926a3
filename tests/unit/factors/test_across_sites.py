"""Associations by site: against separate surveys pooled by hand, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

import gbveval as gbv
from gbveval.core.errors import DesignError


def _frame(n_sites: int = 5, spread: float = 0.3, seed: int = 2) -> dict[str, object]:
    rng = np.random.default_rng(seed)
    n = 400 * n_sites
    site = np.repeat(np.arange(n_sites), 400)
    ward = np.repeat(np.arange(20 * n_sites), 20)
    exposed, age = rng.random(n) < 0.4, rng.choice(["old", "young"], n)
    log_ratio = 0.5 + spread * rng.normal(size=n_sites)
    risk = 0.2 * np.exp(log_ratio[site] * exposed) * np.where(age == "young", 1.2, 1.0)
    return {
        "y": (rng.random(n) < np.minimum(risk, 1.0)).astype(float),
        "x": np.where(exposed, "yes", "no").tolist(),
        "age": age.tolist(),
        "site": [f"country {i}" for i in site],
        "ward": [f"w{g:03d}" for g in ward],
    }


TABLE = gbv.RiskFactors(["x"], {"x": ["age"]}, behaviour="experience")


def _survey(frame: dict[str, object], **roles: str) -> gbv.Survey:
    return gbv.Survey(frame, outcome="y", stratum="site", psu="ward", **roles)


def test_sites_that_are_strata_give_what_separate_surveys_give() -> None:
    frame = _frame()
    pooled = gbv.factors_across_sites(TABLE, _survey(frame), "site")
    names = np.asarray(frame["site"])
    apart = {}
    for name in np.unique(names):
        part = {key: np.asarray(values)[names == name] for key, values in frame.items()}
        apart[str(name)] = TABLE.estimate(gbv.Survey(part, outcome="y", psu="ward"))
    for term in pooled.column("term"):
        answer = gbv.RandomEffects().estimate(gbv.SiteEffects.from_estimates(apart, term=term))
        row = dict(zip(pooled.columns, pooled.rows[pooled.column("term").index(term)], strict=True))
        record = {r["term"]: r for r in answer.records()}
        assert row["estimate"] == pytest.approx(record["average effect"]["estimate"], rel=1e-9)
        assert row["between_site_sd"] == pytest.approx(answer["between-site sd"].value, rel=1e-7, abs=1e-9)
        assert row["new_site_low"] == pytest.approx(record["effect in a new site"]["conf_low"], rel=1e-9)
        assert (row["sites"], row["left_out"]) == (5, 0)


def test_the_exact_hierarchy_pools_too() -> None:
    prior = gbv.HierarchyPrior(gbv.Normal(0.0, 1.0), gbv.HalfNormal(0.5))
    pooling = gbv.NormalHierarchy(prior)
    table = gbv.factors_across_sites(TABLE, _survey(_frame()), "site", pooling=pooling)
    plain = gbv.factors_across_sites(TABLE, _survey(_frame()), "site")
    # A weak prior moves an average of five sites by little.
    assert table.column("estimate")[0] == pytest.approx(plain.column("estimate")[0], rel=0.1)
    assert table.column("sd_low")[0] is not None


def test_a_site_without_events_is_left_out_and_counted() -> None:
    frame = _frame()
    quiet = (np.asarray(frame["site"]) == "country 1") & (np.asarray(frame["x"]) == "yes")
    frame["y"] = np.where(quiet, 0.0, np.asarray(frame["y"]))
    table = gbv.factors_across_sites(TABLE, _survey(frame), "site")
    row = dict(zip(table.columns, table.rows[0], strict=True))
    assert (row["sites"], row["left_out"]) == (4, 1)


def test_a_site_where_nobody_has_the_factor_is_counted_and_not_described() -> None:
    frame = _frame()
    here = np.asarray(frame["site"]) == "country 1"
    frame["x"] = np.where(here, "no", np.asarray(frame["x"])).tolist()
    table = gbv.factors_across_sites(TABLE, _survey(frame), "site")
    assert table.column("sites")[0] == 4
    assert any("1 site of 5" in note for note in table.notes)
    assert not any("country 1" in note or "400" in note for note in table.notes)


def test_the_released_table_hides_what_rests_on_few() -> None:
    frame = _frame()
    few = (np.asarray(frame["site"]) == "country 1") & (np.asarray(frame["x"]) == "yes")
    keep = ~few | (np.cumsum(few) % 25 == 0)
    frame["y"] = np.where(few, (np.cumsum(few) // 25) % 2, np.asarray(frame["y"]))
    small = {key: np.asarray(values)[keep].tolist() for key, values in frame.items()}
    table = gbv.factors_across_sites(TABLE, _survey(small), "site")
    assert table.column("sites")[0] == 5
    released = gbv.release(table)
    estimates = [row[4] for item in released.items for row in item.rows]
    assert all(value is None or isinstance(value, str) for value in estimates)


def test_too_few_sites_and_primary_units_in_two_sites_are_refused() -> None:
    frame = _frame(2)
    with pytest.raises(DesignError, match="3 are needed"):
        gbv.factors_across_sites(TABLE, _survey(frame), "site")
    frame = _frame()
    frame["site"] = [f"s{i % 4}" for i in range(len(frame["site"]))]  # type: ignore[arg-type]
    with pytest.raises(DesignError, match="more than one"):
        gbv.factors_across_sites(TABLE, gbv.Survey(frame, outcome="y", psu="ward"), "site")


def test_sites_in_which_some_gave_no_answer_are_released() -> None:
    """The groups of each site are people of that site, not everybody who answered."""
    rng = np.random.default_rng(4)
    n = 900
    f = np.array(rng.choice(["no", "yes"], n), dtype=object)
    f[::45] = None
    frame = {
        "y": (rng.random(n) < 0.3).astype(float),
        "f": f.tolist(),
        "place": np.repeat(["a", "b", "c"], 300).tolist(),
    }
    survey = gbv.Survey(frame, outcome="y")
    table = gbv.RiskFactors([gbv.Factor("f", reference="no")], behaviour="experience", measures=("ratio",))
    released = gbv.release([table.estimate(survey), gbv.factors_across_sites(table, survey, site="place")])
    (pooled,) = released.tables()
    assert pooled.rows[0][4] is not None

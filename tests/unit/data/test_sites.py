"""`SiteEffects`: one row a site, shown under codes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.data.test_trial import PLACE, SECRET, hostile_frames

import gbveval as gbv
from gbveval.core.errors import DataError, GbvevalError


def make(**change: Any) -> dict[str, Any]:
    frame: dict[str, Any] = {"e": [0.1, 0.2, -0.3], "se": [0.1, 0.2, 0.3], "site": ["b", PLACE, "a"]}
    frame.update(change)
    return frame


def problems(frame: Any, **roles: Any) -> tuple[str, ...]:
    with pytest.raises(DataError) as caught:
        gbv.SiteEffects(frame, **{"estimate": "e", "std_error": "se", "site": "site", **roles})
    assert PLACE not in str(caught.value)
    assert "48151" not in str(caught.value)
    return caught.value.problems


def test_sites_are_shown_under_codes_in_their_order() -> None:
    sites = gbv.SiteEffects(make(), estimate="e", std_error="se", site="site")
    assert sites.labels == ("site 01", "site 02", "site 03")
    assert sites.codes == {"site 01": "b", "site 02": PLACE, "site 03": "a"}
    assert PLACE not in repr(sites)
    many = gbv.SiteEffects({"e": np.zeros(120), "se": np.ones(120)}, estimate="e", std_error="se")
    assert many.labels[0] == "site 001"
    assert len(set(many.labels)) == 120


@pytest.mark.parametrize(
    ("value", "word"),
    [(0.0, "zero or negative"), (-SECRET, "zero or negative"), (None, "missing"), (np.inf, "infinite")],
)
def test_standard_errors_are_above_zero(value: Any, word: str) -> None:
    (found,) = problems(make(se=[0.1, value, 0.3]))
    assert word in found
    assert "1 row" in found


def test_all_problems_at_once() -> None:
    found = problems(make(e=[None, SECRET, 1.0], se=[-1.0, 1.0, 1.0], site=[None, "a", "b"]))
    for name in ("'e'", "'se'", "'site'"):
        assert any(name in text for text in found)


def test_a_repeated_site_is_refused_without_its_name() -> None:
    (found,) = problems(make(site=[PLACE, PLACE, "a"]))
    assert "1 row;" in found


def test_unknown_contrasts_are_refused() -> None:
    for contrast in ("magic", "", "ITT"):
        assert problems(make(), contrast=contrast)


def test_one_column_cannot_be_both() -> None:
    assert any("two roles" in text for text in problems(make(), std_error="e", site=None))


def _estimates(seed: int, binary: bool = False) -> gbv.Estimates:
    rng = np.random.default_rng(seed)
    y = rng.random(40) < 0.5 if binary else rng.normal(size=40)
    trial = gbv.Trial({"y": y, "arm": ["u", "n"] * 20}, outcome="y", arm="arm", control="u")
    return gbv.DifferenceInMeans().estimate(trial)


def test_from_estimates_takes_values_errors_and_counts() -> None:
    results = {PLACE: _estimates(1), "other": _estimates(2)}
    sites = gbv.SiteEffects.from_estimates(results)
    assert sites.estimate.tolist() == [r.terms[0].value for r in results.values()]
    assert sites.names == (PLACE, "other")
    assert [cell.n for cell in sites.support[0]] == [20, 20]
    tables = {cell.table for cells in sites.support for cell in cells}
    assert len(tables) == 2, "each site's counts are a table of their own"
    assert not any(PLACE in table for table in tables)


def test_from_estimates_refuses_what_cannot_be_pooled() -> None:
    with pytest.raises(DataError, match="at least one"):
        gbv.SiteEffects.from_estimates({})
    with pytest.raises(DataError, match="2 different things"):
        gbv.SiteEffects.from_estimates({"a": _estimates(1), "b": _estimates(2, binary=True)})
    with pytest.raises(GbvevalError):
        gbv.SiteEffects.from_estimates({"a": _estimates(1)}, term="nope")
    frame = {"y": [1.0] * 4, "arm": ["u", "n"] * 2}
    constant = gbv.DifferenceInMeans().estimate(gbv.Trial(frame, outcome="y", arm="arm", control="u"))
    with pytest.raises(GbvevalError):
        gbv.SiteEffects.from_estimates({PLACE: constant})


def test_sites_cannot_be_changed() -> None:
    sites = gbv.SiteEffects(make(), estimate="e", std_error="se", site="site")
    for array in (sites.estimate, sites.std_error):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0.0
    with pytest.raises(AttributeError):
        sites.estimate = np.zeros(3)  # type: ignore[misc]


@settings(max_examples=120, deadline=None)
@given(
    hostile_frames(("y", "arm", "se")),
    st.sampled_from([None, "arm", "nope"]),
    st.sampled_from(["risk_ratio", "none", "x"]),
)
def test_sites_are_made_or_an_error_of_ours_is_raised(frame: pd.DataFrame, site: str | None, contrast: str) -> None:
    try:
        sites = gbv.SiteEffects(frame, estimate="y", std_error="se", site=site, contrast=contrast)
    except GbvevalError as error:
        told = str(error)
        assert PLACE not in told
        return
    assert np.isfinite(sites.estimate).all()
    assert np.all(sites.std_error > 0)
    assert len(sites.codes) == sites.n == len(frame)

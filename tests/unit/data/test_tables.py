"""`SiteTables`: one row a site and arm, all problems at once, names never shown."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

import gbveval as gbv

PLACE = "<script>Hidden Valley</script>"
ROLES = {"site": "site", "arm": "arm", "control": "usual", "events": "y", "n": "n"}


def frame(**change: Any) -> dict[str, Any]:
    table: dict[str, Any] = {
        "site": [PLACE, PLACE, "b", "b"],
        "arm": ["new", "usual", "usual", "new"],
        "y": [0, 2, 9, 5],
        "n": [40, 38, 61, 60],
    }
    return {**table, **change}


def problems(**change: Any) -> str:
    with pytest.raises(gbv.DataError) as caught:
        gbv.SiteTables(frame(**change), **ROLES)
    assert "Hidden" not in str(caught.value)
    return str(caught.value)


def test_control_first_in_the_order_of_the_rows() -> None:
    tables = gbv.SiteTables(frame(), **ROLES)
    np.testing.assert_array_equal(tables.events, [[2, 0], [9, 5]])
    np.testing.assert_array_equal(tables.total, [[38, 40], [61, 60]])
    assert tables.codes == {"site 01": PLACE, "site 02": "b"}
    assert tables.arms == ("usual", "new")
    assert "Hidden" not in repr(tables)
    shuffled = gbv.SiteTables(pd.DataFrame(frame()).iloc[[2, 0, 3, 1]], **ROLES)
    assert shuffled.names == ("b", PLACE)
    np.testing.assert_array_equal(shuffled.events, [[9, 5], [2, 0]])
    assert shuffled.digest != tables.digest


def test_problems_are_named_together_and_without_values() -> None:
    text = problems(y=[0, -2, 9.5, 5], n=[40, 38, 61, 0])
    assert "negative or not whole in 2 rows" in text
    assert "zero in 1 row" in text
    assert "above 'n'" in problems(y=[0, 2, 70, 5])
    assert "missing" in problems(y=[0, None, 9, 5])
    assert "missing" in problems(y=[0, float("nan"), 9, 5])


def test_each_site_has_each_arm_once() -> None:
    assert "1 site" in problems(site=[PLACE, PLACE, "b", "c"]) or "2 sites" in problems(site=[PLACE, PLACE, "b", "c"])
    assert "several rows" in problems(arm=["new", "new", "usual", "new"])
    assert "control and one other" in problems(arm=["new", "usual", "usual", "third"])
    with pytest.raises(gbv.DataError, match="control arm is not among"):
        gbv.SiteTables(frame(), **{**ROLES, "control": "placebo"})


def test_people_or_exposure() -> None:
    with pytest.raises(gbv.DataError, match="not both"):
        gbv.SiteTables(frame(e=[1.0] * 4), **ROLES, exposure="e")
    rates = gbv.SiteTables(frame(e=[1.5, 2.0, 3.0, 4.0], y=[7, 2, 9, 5]), **{**ROLES, "n": None}, exposure="e")
    assert rates.has_exposure
    assert rates.support[0][1].n == 7
    with pytest.raises(gbv.DataError, match="zero or negative"):
        gbv.SiteTables(frame(e=[0.0, 2.0, 3.0, 4.0]), **{**ROLES, "n": None}, exposure="e")

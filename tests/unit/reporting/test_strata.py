"""Tables and figures of intersectional strata: order, what is hidden, what stands beside what."""

from __future__ import annotations

import numpy as np
import pytest

import gbveval as gbv
from gbveval.core.errors import DesignError, DisclosureError
from gbveval.reporting.parts import estimates_part


def frame(n: int, few: int = 0) -> dict[str, object]:
    rng = np.random.default_rng(3)
    g = rng.choice(["boy", "girl"], n).astype(object)
    # Few of another gender, in one class: one small stratum and its like.
    g[:few] = "other"
    found: dict[str, object] = {
        "g": g,
        "c": rng.choice(["low", "mid", "$high"], n),
        "b": rng.choice(["here", "away"], n),
    }
    arm = rng.choice(["usual", "new"], n)
    risk = 0.25 + 0.15 * (g == "girl") - 0.1 * (arm == "new")
    return found | {"arm": arm, "y": (rng.random(n) < risk).astype(float)}


def levels(few: int = 0) -> gbv.Estimates:
    return gbv.Maihda(["g", "c", "b"], quadrature=3).estimate(gbv.Survey(frame(4000, few), outcome="y"))


def effects(few: int = 0) -> gbv.Estimates:
    data = gbv.Trial(frame(4000, few), outcome="y", arm="arm", control="usual", subgroup=["g", "c", "b"])
    return gbv.IntersectionalEffects(quadrature=3).estimate(data)


def test_a_line_holds_a_stratum_with_its_departure() -> None:
    answer = levels()
    part = estimates_part(gbv.release(answer).items[0], None)
    assert part["columns"] == ["result", "estimate", "95 % interval", "beyond the sum", "units", "foreseen, %"]
    assert [row[0] for row in part["rows"][:3]] == ["VPC", "VPC after main effects", "PCV"]
    strata = part["rows"][3:]
    assert len(strata) == 12
    shown = [float(row[1].removesuffix(" %")) for row in strata]
    assert shown == sorted(shown, reverse=True)
    departure = np.exp(answer[f"departure of g and c and b: {strata[0][0]}"].value or 0.0)
    assert float(strata[0][3].split()[0]) == pytest.approx(departure, abs=1e-3)
    assert "area under the curve" in part["notes"][0]
    assert part["sentence"].startswith("Estimated share of the variance between people that lies between")
    assert "for y (VPC)" in part["sentence"]
    assert part["title"] == "Share of the variance between people that lies between intersectional strata: maihda"


def test_hidden_strata_come_last_and_take_departures_with_them() -> None:
    part = estimates_part(gbv.release(levels(few=30)).items[0], None)
    assert "beyond the sum" not in part["columns"]
    hidden = [row for row in part["rows"] if row[1] == "not shown"]
    assert hidden
    assert hidden == part["rows"][-len(hidden) :]
    assert f"{len(hidden)} of 18 strata are not shown" in part["notes"][-1]


def test_effects_say_where_they_may_go_the_other_way() -> None:
    part = estimates_part(gbv.release(effects()).items[0], None)
    assert "other way, %" in part["columns"]
    assert part["rows"][0][0] == "new vs usual, average over strata"
    assert part["rows"][4][0] in {"boy, low, here", *(row[0] for row in part["rows"])}
    small = estimates_part(gbv.release(effects(few=60)).items[0], None)
    assert small["rows"][0][1] == "not shown"
    assert small["sentence"].startswith("Estimated standard deviation of effects between subgroups on y")


def test_the_figure_draws_what_is_shown() -> None:
    released = gbv.release(levels(few=30))
    ax = gbv.plot_strata(released)
    shown = [row for row in released.items[0].rows if row["estimand"] == "stratum_level" and not row.hidden]
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert len(names) == len(shown)
    assert names[-1] == max(shown, key=lambda row: row["estimate"])["domain_level"]
    assert any("$high" in name for name in names)
    assert f"{18 - len(shown)} of 18 strata are not shown" in ax.get_title(loc="left")
    of_effects = gbv.plot_strata(gbv.release(effects()))
    assert of_effects.get_xscale() == "log"
    # No effect, and the average.
    assert sum(len(set(line.get_xdata())) == 1 and len(line.get_ydata()) == 2 for line in of_effects.lines) >= 2


def test_many_strata_are_drawn_by_rank() -> None:
    rng = np.random.default_rng(5)
    columns = {name: rng.choice(list("abcd"), 20000) for name in ("p", "q", "r")}
    columns["y"] = (rng.random(20000) < 0.4).astype(float)
    answer = gbv.Maihda(["p", "q", "r"], quadrature=1).estimate(gbv.Survey(columns, outcome="y"))
    ax = gbv.plot_strata(gbv.release(answer))
    assert not ax.get_yticks().size
    assert ax.get_ylabel() == "64 strata in order"


def test_refusals() -> None:
    with pytest.raises(DisclosureError, match="release"):
        gbv.plot_strata(levels())  # type: ignore[arg-type]
    survey = gbv.Survey(frame(400), outcome="y")
    with pytest.raises(DesignError, match="no strata"):
        gbv.plot_strata(gbv.release(gbv.Prevalence().estimate(survey)))
    small = gbv.Maihda(["g", "c", "b"], quadrature=1).estimate(gbv.Survey(frame(90), outcome="y"))
    with pytest.raises(DesignError, match="All strata are hidden"):
        gbv.plot_strata(gbv.release(small))

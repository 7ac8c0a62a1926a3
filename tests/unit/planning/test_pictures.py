"""Pictures of plans: what is drawn is what was computed."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
import pytest

import gbveval as gbv
from gbveval.core.errors import DesignError
from gbveval.core.table import Table

mpl.use("Agg")
ICC = gbv.ICC(0.03, scale="observed")
PLAN = gbv.ClusterDesign(clusters_per_arm=20, cluster_size=50, icc=ICC, outcome=gbv.Binary(0.35))


def test_every_value_of_the_table_is_the_mde_of_its_plan() -> None:
    table = gbv.mde_by_icc(PLAN, [0.01, 0.1], [10, 30], direction="decrease")
    assert table.columns == ("row", "icc", "scale", "clusters_per_arm", "mde")
    assert table.rows[0] == ("plan", 0.03, "observed", 20, gbv.mde(PLAN, direction="decrease"))
    for row, icc, scale, clusters, value in table.rows[1:]:
        plan = gbv.ClusterDesign(clusters, 50, gbv.ICC(icc, scale=scale), gbv.Binary(0.35))
        assert row == "grid"
        assert value == gbv.mde(plan, direction="decrease")


def test_the_icc_of_a_plan_inside_or_over_time_is_found() -> None:
    told = gbv.DisclosureDesign(PLAN, gbv.Disclosure(0.7, 0.98))
    table = gbv.mde_by_icc(told, [0.01, 0.1], [10], direction="decrease")
    assert table.rows[0][1:4] == (0.03, "observed", 20)
    other = gbv.ClusterDesign(10, 50, gbv.ICC(0.1, scale="observed"), gbv.Binary(0.35))
    expected = gbv.mde(gbv.DisclosureDesign(other, gbv.Disclosure(0.7, 0.98)), direction="decrease")
    assert table.rows[2][4] == pytest.approx(expected, rel=1e-12)
    wedge = gbv.LongitudinalClusterDesign(
        gbv.ClusterSchedule.stepped_wedge(4), 3, 20, gbv.ClusterPeriodCorrelation(ICC, cac=0.8), gbv.Continuous()
    )
    table = gbv.mde_by_icc(wedge, [0.03, 0.1], [3, 6], size="clusters_per_sequence")
    assert table.column("mde")[0] == table.column("mde")[1] == gbv.mde(wedge)
    assert table.column("mde")[2] < table.column("mde")[1] < table.column("mde")[3]


def test_an_effect_out_of_reach_is_left_blank() -> None:
    rare = gbv.ClusterDesign(clusters_per_arm=20, cluster_size=50, icc=ICC, outcome=gbv.Binary(0.05))
    table = gbv.mde_by_icc(rare, [0.01, 0.4], [2, 40], direction="decrease")
    assert [value is None for value in table.column("mde")[1:]] == [True, False, True, True]
    ax = gbv.plot_mde(table)
    assert ax.get_xlabel() == "clusters per arm"
    with pytest.raises(DesignError, match="anywhere in this table"):
        gbv.plot_mde(gbv.mde_by_icc(rare, [0.3, 0.4], [2, 3], direction="decrease"))


def test_the_contour_names_its_axes_and_marks_the_plan() -> None:
    ax = gbv.plot_mde(gbv.mde_by_icc(PLAN, [0.01, 0.05, 0.1], [10, 20, 40], power=0.9))
    assert "power 0.9 at alpha 0.05" in ax.get_title(loc="left")
    assert ax.get_ylabel() == "ICC (observed scale)"
    (words,) = [text.get_text() for text in ax.texts if "plan" in text.get_text()]
    assert words == f"the plan: {gbv.mde(PLAN, power=0.9):.3f}"
    far = gbv.plot_mde(gbv.mde_by_icc(PLAN, [0.05, 0.1], [10, 40], size="cluster_size"))
    assert far.get_xlabel() == "cluster size"
    assert not [text for text in far.texts if "plan" in text.get_text()]


def test_power_is_drawn_as_it_is() -> None:
    effects = [-0.1, -0.05, 0.0]
    formula = gbv.power_curve(PLAN, effects)
    simulated = gbv.simulate_curve(
        PLAN, [gbv.DifferenceInMeans(), gbv.LinAdjusted()], effects, seed=1, n_draws=60, progress=False
    )
    ax = gbv.plot_power(formula, simulated, labels=["by formula", "simulated"], target=0.9)
    lines = {line.get_label(): line for line in ax.lines if not str(line.get_label()).startswith("_")}
    assert list(lines) == ["by formula", "simulated: difference_in_means", "simulated: lin_adjusted"]
    np.testing.assert_array_equal(lines["by formula"].get_ydata(), formula.column("power"))
    assert len(ax.collections) == 2
    assert 0.9 in ax.get_yticks()
    assert gbv.plot_power(simulated).get_legend() is not None
    assert gbv.plot_power(formula).get_legend() is None


def test_what_cannot_be_drawn_is_refused() -> None:
    single: Any = gbv.ParallelDesign(n_per_arm=30, outcome=gbv.Continuous())
    other = Table("Other", ("x",), ((1.0,),))
    for call, words in (
        (lambda: gbv.mde_by_icc(single, [0.1], [10]), "has no icc"),
        (lambda: gbv.mde_by_icc(PLAN, [0.1], [10], size="n_per_arm"), "size must be one of"),
        (lambda: gbv.mde_by_icc(PLAN, "0.1", [10]), "iccs must be a list"),
        (lambda: gbv.mde_by_icc(PLAN, [0.1], []), "sizes must be a list"),
        (lambda: gbv.mde_by_icc(PLAN, [1.1], [10]), "An ICC must be"),
        (lambda: gbv.plot_mde(other), "another table"),
        (lambda: gbv.plot_mde(gbv.mde_by_icc(PLAN, [0.1], [10, 20])), "at least two ICCs"),
        (lambda: gbv.plot_power(), "at least one"),
        (lambda: gbv.plot_power(other), "power_curve or simulate_curve"),
        (lambda: gbv.plot_power(gbv.power_curve(PLAN, [0.1]), labels=["a", "b"]), "2 labels for 1"),
    ):
        with pytest.raises(DesignError, match=words):
            call()

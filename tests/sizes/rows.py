"""Which estimators are measured, with what options and how often."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gbveval as gbv
from tests.sizes.studies import CLUSTERS, SIZES, Study, SubgroupStudy

BOTH = ("continuous", "binary")
CONTINUOUS, BINARY, COUNT = ("continuous",), ("binary",), ("count",)
PLAIN, ADJUSTED = Study(), Study(covariate=True)


@dataclass(frozen=True)
class Measurement:
    """One row of the tables.

    Parameters
    ----------
    label : str
        What the row is called.
    estimator : Estimator
        With the options to measure.
    study : Study
        What its trials have.
    outcomes : tuple of str
        Kinds of outcome.
    sizes : tuple of str
        Kinds of cluster sizes.
    draws : int
        Trials drawn for each cell.
    clusters : tuple of int
        Numbers of clusters.
    term : int or None
        Position of the row that is read; None for the smallest `p_adjusted` of all rows (a family).
    """

    label: str
    estimator: Any
    study: Study = PLAIN
    outcomes: tuple[str, ...] = BOTH
    sizes: tuple[str, ...] = SIZES
    draws: int = 1000
    clusters: tuple[int, ...] = CLUSTERS
    term: int | None = 0


MEASUREMENTS = (
    Measurement("DifferenceInMeans", gbv.DifferenceInMeans(), draws=2000),
    Measurement("LinAdjusted", gbv.LinAdjusted(), ADJUSTED),
    *(Measurement(f"Ancova, {kind}", gbv.Ancova(std_error=kind), ADJUSTED) for kind in ("CR2", "CR3", "CR1S", "CR0")),
    *(
        Measurement(
            f"JointTest of two, {test}",
            gbv.JointTest(("new", "new x x"), gbv.Ancova(interact=("x",)), test),
            ADJUSTED,
        )
        for test in ("hotelling", "f", "chi_squared")
    ),
    *(
        Measurement(f"ClusterSummary, {test}", gbv.ClusterSummary(test), draws=2000)
        for test in ("welch_t", "pooled_t", "rank_sum")
    ),
    Measurement("ClusterSummary, weights by size", gbv.ClusterSummary(weights="size")),
    Measurement("InformativeSize, difference", gbv.InformativeSize(), term=2, sizes=("unequal",)),
    Measurement("Hajek", gbv.Hajek(), draws=2000),
    Measurement("HorvitzThompson", gbv.HorvitzThompson(), draws=2000),
    *(
        Measurement(f"ComplierAverage, {interval}", gbv.ComplierAverage(interval=interval), Study(take_up=True))
        for interval in ("wald", "anderson_rubin")
    ),
    Measurement("AttritionWeighted", gbv.AttritionWeighted(), Study(attrition=True), draws=250),
    *(
        Measurement(f"Gee, gaussian, {kind}", gbv.Gee("gaussian", std_error=kind), outcomes=CONTINUOUS, draws=500)
        for kind in ("LZ", "KC", "MD", "FG")
    ),
    *(
        Measurement(f"Gee, binomial, {kind}", gbv.Gee("binomial", std_error=kind), outcomes=BINARY, draws=500)
        for kind in ("LZ", "KC", "MD", "FG")
    ),
    Measurement("GeneralisedLinear, logit", gbv.GeneralisedLinear(), outcomes=BINARY),
    Measurement("GeneralisedLinear, logit, CR1S", gbv.GeneralisedLinear(std_error="CR1S"), outcomes=BINARY, draws=1000),
    Measurement("ModifiedPoisson", gbv.ModifiedPoisson(), outcomes=BINARY),
    Measurement("Standardised, logistic", gbv.Standardised(), ADJUSTED, outcomes=BINARY, draws=1000),
    Measurement("NegativeBinomial", gbv.NegativeBinomial(), outcomes=COUNT, draws=400),
    Measurement("Hurdle", gbv.Hurdle(), outcomes=COUNT, draws=400),
    *(
        Measurement(f"MixedEffects, {df}", gbv.MixedEffects(df=df), draws=500)
        for df in ("kenward_roger", "satterthwaite")
    ),
    Measurement(
        "MixedEffects, logistic, Laplace",
        gbv.MixedEffects("binomial", quadrature_points=1),
        outcomes=BINARY,
        draws=300,
    ),
    Measurement("SteppedWedge", gbv.SteppedWedge(effect="immediate"), Study(wedge=True), draws=300),
    *(
        Measurement(f"WildClusterBootstrap, {variant}", gbv.WildClusterBootstrap(variant, n_draws=999), draws=500)
        for variant in ("WCR11", "WCR33", "WCU11")
    ),
    Measurement("RandomisationInference", gbv.RandomisationInference(n_draws=999), draws=500),
    Measurement(
        "WestfallYoung, two outcomes", gbv.WestfallYoung(n_draws=999), Study(second=True), draws=500, term=None
    ),
    Measurement("RomanoWolf, two outcomes", gbv.RomanoWolf(n_draws=999), Study(second=True), draws=500, term=None),
    *(
        Measurement(f"ProportionTest, {method}", gbv.ProportionTest(method), outcomes=BINARY, draws=2000)
        for method in ("donner", "rao_scott")
    ),
    Measurement("WinProbability", gbv.WinProbability(better="lower"), draws=500),
    Measurement("SubgroupEffects, same effect", gbv.SubgroupEffects(), SubgroupStudy(), term=1),
    # After the average, the test and two subgroups, plain and shrunken.
    Measurement("SubgroupEffects, smallest of three", gbv.SubgroupEffects(), SubgroupStudy(), term=6),
    Measurement("QuantileEffect, median", gbv.QuantileEffect((0.5,)), outcomes=CONTINUOUS, draws=1000),
)

# Registered estimators that take cluster trials and have no size to measure.
WITHOUT_SIZE = {
    "corrected_effect": "it is DifferenceInMeans of reports over known rates; its conformance cases hold its size",
    "exposure_effects": "its trials have a network; its conformance cases simulate it",
    "fisher_exact": "it refuses clusters",
    "hierarchical_model": "it gives a posterior, which has no size",
    "intersectional_effects": "it is of many strata; its conformance cases hold its coverage with eight schools",
    "intracluster_correlation": "its null, clusters that are alike, is nobody's question",
    "lee_bounds": "it gives bounds, without a test",
    "list_design_test": "its arms are lists, drawn for each respondent; its conformance cases hold its size",
    "list_experiment": "it is DifferenceInMeans of counts on two lists",
    "list_regression": "its arms are lists, drawn for each respondent",
    "manski_bounds": "it gives bounds, without a test",
    "multiple_imputation": "it pools the estimator that it is put around, and its model knows no clusters",
    "placebo_compliers": "it is DifferenceInMeans of those who took up; its conformance cases have twelve clusters",
    "proportional_odds": "its conformance cases simulate it with an outcome of ordered levels",
    "saturation_effects": "its clusters hold both arms; its conformance cases have 8, 15 and 18 clusters",
    "transitions": "it takes its errors from the estimator that compares the arms in each group",
}

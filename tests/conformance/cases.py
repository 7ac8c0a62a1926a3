"""One line an estimator: what the conformance kit runs over."""

from __future__ import annotations

import numpy as np

import gbveval as gbv
from gbveval.testing.case import Case
from gbveval.testing.mixed_processes import ClusterEventFrames, IccFrames, SteppedWedgeFrames
from gbveval.testing.model_processes import ModelFrames
from gbveval.testing.ordinal_processes import OrdinalFrames, TransitionFrames
from gbveval.testing.place_processes import PlacedFrames
from gbveval.testing.processes import PanelFrames, SiteFrames, SiteTrialFrames, SurveyFrames, TrialFrames
from gbveval.testing.rollout_processes import DoseFrames
from gbveval.testing.site_processes import ControlSiteFrames, TableFrames
from gbveval.testing.spillover_processes import NetworkFrames, PlaceboFrames, SaturationFrames
from gbveval.testing.subgroup_processes import SubgroupFrames
from gbveval.testing.take_up import AttritionFrames, MeasuredAttritionFrames, ProbabilityFrames, TakeUpFrames
from tests.conformance.association_cases import ASSOCIATIONS
from tests.conformance.pooling_cases import POOLING
from tests.conformance.strata_cases import EFFECTS, STRATA
from tests.conformance.survey_cases import SURVEYS
from tests.conformance.switch_cases import SWITCHES_AND_FEW_TREATED
from tests.conformance.synthetic_cases import TIMING_AND_SYNTHETIC
from tests.conformance.underreporting_cases import UNDERREPORTING

SITE_PRIOR = gbv.SitePrior(
    gbv.Normal(0, 1), gbv.Normal(0, 1), gbv.HalfNormal(0.5), gbv.HalfNormal(0.5), 2.0, gbv.HalfNormal(2)
)
SWAP = frozenset({"swap"})
CONSTANT_COUNTS = "equal counts in unequal times at risk are rates that vary"
# Bounds swap ends when arms do, so their sign does not simply flip.
BOUNDS = frozenset({"shift", "scale"})
# A saturation is a share of one arm, so arms cannot swap; an exposure is to one arm.
MOVED = frozenset({"shift", "scale"})
NOISY = "with independent draws the numbers in the arms vary, and an unnormalised total of ones varies with them"
ONE_LEVEL = "an interval by inverting a test holds at one level; another needs the allocations or draws again"
DRAWN = "missing outcomes are drawn one row after the other, so another order draws others"
ALLOCATED = "allocations are drawn for units in their order, so another order draws others"
SAMPLED = "two runs of a sampler agree within Monte Carlo error only"

CASES = (
    Case(gbv.DifferenceInMeans(), TrialFrames(n_per_arm=3), note="three an arm"),
    Case(
        gbv.DifferenceInMeans(),
        TrialFrames(n_per_arm=60, binary=True, effect=-0.15),
        equivariant=frozenset({"swap"}),
        note="binary",
    ),
    Case(gbv.DifferenceInMeans(), TrialFrames(n_per_arm=12, strata=3), note="strata"),
    Case(gbv.DifferenceInMeans(), TrialFrames(n_per_arm=5, pairs=True), note="pairs"),
    Case(gbv.DifferenceInMeans(), TrialFrames(n_per_arm=4, cluster_size=10, uneven=True), note="clusters"),
    Case(gbv.DifferenceInMeans(), TrialFrames(n_per_arm=2, cluster_size=6), note="four clusters"),
    Case(
        gbv.DifferenceInMeans(),
        TrialFrames(n_per_arm=6, cluster_size=8, strata=2, uneven=True),
        note="clusters in strata",
    ),
    Case(gbv.DifferenceInMeans(), TrialFrames(n_per_arm=5, cluster_size=10, pairs=True), note="paired clusters"),
    Case(gbv.DifferenceInMeans(), TrialFrames(n_per_arm=100, weighted=True, effect=1.0), note="weights"),
    Case(gbv.LinAdjusted(), TrialFrames(n_per_arm=15, covariate=0.7), note="individuals"),
    Case(gbv.LinAdjusted(), TrialFrames(n_per_arm=6, cluster_size=10, covariate=0.5, uneven=True), note="clusters"),
    Case(gbv.GeneralisedLinear(), ModelFrames(n_per_arm=150, slope=0.5), equivariant=SWAP, note="logit"),
    Case(gbv.GeneralisedLinear(), ModelFrames(n_per_arm=10, cluster_size=20), equivariant=SWAP, note="clusters"),
    Case(
        gbv.GeneralisedLinear(family="poisson"),
        ModelFrames(n_per_arm=60, outcome="count", link="log", slope=0.3, exposure=True, overdispersion=0.4),
        equivariant=SWAP,
        n_draws=600,
        exempt={"check_constant_outcome_has_no_standard_error": CONSTANT_COUNTS},
        note="rates",
    ),
    Case(
        gbv.ModifiedPoisson(),
        ModelFrames(n_per_arm=150, link="log", effect=0.3, slope=0.3),
        equivariant=SWAP,
        note="individuals",
    ),
    Case(
        gbv.ModifiedPoisson(),
        ModelFrames(n_per_arm=10, link="log", effect=0.3, slope=0.3, cluster_size=20),
        equivariant=SWAP,
        note="clusters",
    ),
    Case(
        gbv.NegativeBinomial(),
        ModelFrames(n_per_arm=100, outcome="count", link="log", slope=0.3, exposure=True, overdispersion=0.7),
        equivariant=SWAP,
        n_draws=600,
        note="rates",
    ),
    Case(
        gbv.NegativeBinomial(),
        ModelFrames(n_per_arm=10, outcome="count", link="log", cluster_size=15, overdispersion=0.7),
        equivariant=SWAP,
        n_draws=600,
        note="clusters",
    ),
    Case(
        gbv.RandomisationInference(),
        TrialFrames(n_per_arm=5),
        conservative=True,
        n_draws=400,
        exempt={"check_wider_level_gives_a_wider_interval": ONE_LEVEL},
        note="252 allocations",
    ),
    Case(
        gbv.RandomisationInference(n_draws=999),
        TrialFrames(n_per_arm=6, cluster_size=8, uneven=True),
        conservative=True,
        n_draws=200,
        exempt={"check_wider_level_gives_a_wider_interval": ONE_LEVEL},
        note="clusters",
    ),
    Case(
        gbv.RandomisationInference(gbv.LinAdjusted(), n_draws=199),
        TrialFrames(n_per_arm=8, covariate=0.7),
        conservative=True,
        n_draws=150,
        exempt={"check_wider_level_gives_a_wider_interval": ONE_LEVEL},
        note="adjusted",
    ),
    Case(gbv.WestfallYoung(n_draws=199), TrialFrames(n_per_arm=6), conservative=True, n_draws=400),
    Case(gbv.RomanoWolf(n_draws=199), TrialFrames(n_per_arm=40), slack=0.02, n_draws=300),
    Case(
        gbv.WildClusterBootstrap(n_draws=399),
        TrialFrames(n_per_arm=8, cluster_size=10, uneven=True),
        slack=0.02,
        n_draws=500,
        exempt={"check_wider_level_gives_a_wider_interval": ONE_LEVEL},
    ),
    Case(
        gbv.WildClusterBootstrap(variant="WCR33"),
        TrialFrames(n_per_arm=5, cluster_size=8, covariate=0.5),
        slack=0.02,
        n_draws=400,
        exempt={
            "check_wider_level_gives_a_wider_interval": ONE_LEVEL,
        },
        note="jackknife",
    ),
    Case(
        gbv.LinAdjusted(population="cluster_average"),
        TrialFrames(n_per_arm=10, cluster_size=10, covariate=0.5, informative=True),
        note="every cluster the same",
    ),
    Case(gbv.LinAdjusted(), TrialFrames(n_per_arm=80, covariate=0.5, weighted=True), note="weights"),
    Case(gbv.LinAdjusted(), TrialFrames(n_per_arm=24, strata=3, covariate=0.5), note="strata"),
    Case(gbv.Ancova(), TrialFrames(n_per_arm=15, covariate=0.7), note="individuals"),
    Case(gbv.Ancova(), TrialFrames(n_per_arm=3, cluster_size=10, uneven=True), note="six clusters"),
    Case(gbv.Ancova(std_error="CR3"), TrialFrames(n_per_arm=5, cluster_size=10), conservative=True, note="jackknife"),
    Case(gbv.Ancova(), TrialFrames(n_per_arm=8, cluster_size=6, pairs=True, covariate=0.5), note="paired clusters"),
    Case(gbv.Ancova(), TrialFrames(n_per_arm=12, strata=3, covariate=0.5), note="strata"),
    Case(
        gbv.JointTest(("new", "new x covariates"), gbv.Ancova(interact=("covariates",))),
        TrialFrames(n_per_arm=8, cluster_size=8, covariate=0.5),
        conservative=True,
        note="few clusters",
    ),
    Case(
        gbv.Gee(),
        ModelFrames(n_per_arm=10, cluster_size=20, slope=0.5),
        equivariant=SWAP,
        n_draws=600,
        note="clusters",
    ),
    Case(
        gbv.Hurdle(),
        ModelFrames(n_per_arm=120, outcome="count", link="log", overdispersion=0.7),
        equivariant=SWAP,
        n_draws=600,
        note="individuals",
    ),
    Case(
        gbv.Hurdle(),
        ModelFrames(n_per_arm=12, outcome="count", link="log", cluster_size=15, overdispersion=0.7),
        equivariant=SWAP,
        n_draws=600,
        note="clusters",
    ),
    Case(
        gbv.Standardised(),
        ModelFrames(n_per_arm=120, slope=0.9, truth="risk_difference"),
        equivariant=SWAP,
        note="risk difference",
    ),
    Case(
        gbv.Standardised(contrasts=("odds_ratio", "risk_ratio"), interactions=True),
        ModelFrames(n_per_arm=10, slope=0.9, truth="odds_ratio", cluster_size=20),
        equivariant=SWAP,
        note="clusters",
    ),
    Case(
        gbv.Standardised(model="negative_binomial"),
        ModelFrames(n_per_arm=100, outcome="count", link="log", slope=0.3, exposure=True, overdispersion=0.5),
        equivariant=SWAP,
        n_draws=400,
        note="rates",
    ),
    Case(
        gbv.HorvitzThompson(),
        TrialFrames(n_per_arm=60),
        equivariant=frozenset({"scale", "swap"}),
        conservative=True,
        note="fixed numbers",
    ),
    Case(
        gbv.HorvitzThompson(),
        ProbabilityFrames(),
        equivariant=frozenset({"scale"}),
        conservative=True,
        note="independent draws",
        exempt={"check_constant_outcome_has_no_standard_error": NOISY},
    ),
    Case(gbv.Hajek(), ProbabilityFrames(), equivariant=frozenset({"shift", "scale"}), conservative=True),
    Case(gbv.Hajek(), TrialFrames(n_per_arm=20, cluster_size=8), conservative=True, note="clusters"),
    Case(gbv.ClusterSummary(), TrialFrames(n_per_arm=4, cluster_size=10, uneven=True), note="eight clusters"),
    Case(gbv.ClusterSummary("pooled_t"), TrialFrames(n_per_arm=3, cluster_size=10), note="pooled, six clusters"),
    Case(gbv.ClusterSummary(), TrialFrames(n_per_arm=5, cluster_size=10, pairs=True), note="pairs"),
    Case(
        gbv.ClusterSummary(),
        TrialFrames(n_per_arm=10, cluster_size=10, informative=True),
        note="informative size",
    ),
    Case(gbv.InformativeSize(), TrialFrames(n_per_arm=10, cluster_size=10, uneven=True)),
    Case(
        gbv.ComplierAverage(interval="wald"),
        TakeUpFrames(),
        equivariant=frozenset({"shift", "scale"}),
        note="individuals",
    ),
    Case(
        gbv.ComplierAverage(),
        TakeUpFrames(n_per_arm=12, cluster_size=15, compliers=0.8),
        equivariant=frozenset({"shift", "scale"}),
        n_draws=500,
        note="clusters",
    ),
    Case(
        gbv.AttritionWeighted(),
        MeasuredAttritionFrames(),
        n_draws=500,
        note="people",
    ),
    Case(
        gbv.AttritionWeighted(),
        MeasuredAttritionFrames(n_per_arm=15, cluster_size=20),
        slack=0.02,
        n_draws=400,
        note="clusters",
    ),
    Case(gbv.LeeBounds(), AttritionFrames(), equivariant=BOUNDS, conservative=True, note="individuals"),
    Case(
        gbv.LeeBounds(),
        AttritionFrames(n_per_arm=20, cluster_size=12),
        equivariant=BOUNDS,
        conservative=True,
        note="clusters",
    ),
    Case(
        gbv.ManskiBounds(),
        AttritionFrames(binary=True, effect=0.2),
        equivariant=frozenset(),
        conservative=True,
        note="yes or no",
    ),
    Case(
        gbv.ProportionTest(),
        TrialFrames(n_per_arm=100, binary=True, effect=0.0),
        equivariant=frozenset(),
        slack=0.02,
        note="people",
    ),
    Case(
        gbv.ProportionTest(),
        TrialFrames(n_per_arm=25, cluster_size=8, binary=True, effect=0.0),
        equivariant=frozenset(),
        slack=0.02,
        note="clusters",
    ),
    Case(
        gbv.FisherExact(),
        TrialFrames(n_per_arm=30, binary=True, effect=0.0),
        equivariant=frozenset(),
        conservative=True,
    ),
    Case(gbv.QuantileEffect((0.5,)), TrialFrames(n_per_arm=150), slack=0.02, n_draws=600, note="median"),
    Case(
        gbv.QuantileEffect((0.5,)),
        TrialFrames(n_per_arm=25, cluster_size=12),
        slack=0.03,
        n_draws=300,
        note="clusters",
    ),
    Case(
        gbv.MixedEffects(),
        TrialFrames(n_per_arm=3, cluster_size=10, uneven=True),
        conservative=True,
        n_draws=400,
        note="six clusters",
    ),
    Case(gbv.MixedEffects(), TrialFrames(n_per_arm=5, cluster_size=10, uneven=True), n_draws=400, note="ten clusters"),
    Case(
        gbv.MixedEffects(df="satterthwaite"),
        TrialFrames(n_per_arm=10, cluster_size=10, uneven=True),
        n_draws=400,
        note="twenty clusters",
    ),
    Case(
        gbv.MixedEffects(family="binomial"),
        ClusterEventFrames(),
        equivariant=frozenset({"swap"}),
        n_draws=300,
        note="events",
    ),
    Case(
        gbv.MixedEffects(family="poisson"),
        ClusterEventFrames(clusters_per_arm=10, counts=True),
        equivariant=frozenset({"swap"}),
        n_draws=300,
        exempt={"check_planted_secrets_show_nowhere": "a count refuses the planted number, which is not whole"},
        note="counts",
    ),
    Case(
        gbv.SteppedWedge(),
        SteppedWedgeFrames(growth=0.3),
        equivariant=frozenset({"shift", "scale"}),
        conservative=True,
        n_draws=300,
        note="exposure time",
    ),
    Case(
        gbv.SteppedWedge(effect="immediate"),
        SteppedWedgeFrames(),
        equivariant=frozenset({"shift", "scale"}),
        conservative=True,
        n_draws=300,
        note="immediate",
    ),
    Case(
        gbv.SteppedWedge(effect="immediate", random="cluster"),
        SteppedWedgeFrames(period_sd=0.0),
        equivariant=frozenset({"shift", "scale"}),
        conservative=True,
        n_draws=300,
        note="clusters only",
    ),
    # Smith's standard error is for many clusters; with sixty its intervals cover 93 in 100.
    Case(gbv.IntraclusterCorrelation(), IccFrames(), equivariant=frozenset(), slack=0.03, n_draws=400),
    Case(
        gbv.CallawaySantAnna(control="never_treated"),
        PanelFrames(),
        n_draws=200,
        term="cohort 3, period 3",
        note="cells",
    ),
    Case(
        gbv.CallawaySantAnna(),
        PanelFrames(n_units=240, trend=0.3),
        n_draws=150,
        term="cohort 3, period 3",
        note="covariates",
    ),
    Case(
        gbv.CallawaySantAnna(std_error="jackknife"),
        PanelFrames(n_units=36, cluster_size=4),
        n_draws=200,
        term="cohort 3, period 3",
        conservative=True,
        note="nine clusters left out",
    ),
    Case(gbv.Imputation(), PanelFrames(n_units=150, persistence=0.0), n_draws=200),
    Case(
        gbv.Imputation(), PanelFrames(n_units=240, cluster_size=4, trend=0.3), n_draws=150, note="covariates, clusters"
    ),
    Case(
        gbv.Imputation(anticipation=1.0),
        PanelFrames(n_units=150, persistence=0.0, cohorts=(4.0, 5.0, np.inf), n_periods=6),
        n_draws=150,
        term="cohort 4, period 4",
        note="anticipation",
    ),
    Case(gbv.TwoStage(), PanelFrames(n_units=150), n_draws=200, term="cohort 3, period 3"),
    Case(gbv.SunAbraham(), PanelFrames(n_units=90), n_draws=200, term="cohort 3, period 3"),
    Case(
        gbv.SunAbraham(std_error="CR2"),
        PanelFrames(n_units=45, cluster_size=3, covariate=0.5),
        n_draws=150,
        term="cohort 3, period 3",
        note="covariates, fifteen clusters",
    ),
    Case(gbv.ExtendedTwfe(), PanelFrames(n_units=90), n_draws=150),
    Case(gbv.TripleDifference(), PanelFrames(n_units=240, eligible=True), n_draws=150, term="cohort 3, period 3"),
    Case(
        gbv.TripleDifference(method="reg"),
        PanelFrames(n_units=240, eligible=True, trend=0.3, cluster_size=2),
        n_draws=150,
        term="cohort 3, period 3",
        note="covariate, clusters",
    ),
    Case(gbv.DoseResponse(degree=1), DoseFrames(selection=0.3), n_draws=100),
    Case(
        gbv.DoseResponse(degree=1, doses=(2.0, 4.0)),
        DoseFrames(n_units=240, growth=0.3, at=4.0, cluster_size=2),
        n_draws=100,
        term="dose 4",
        note="level, clusters",
    ),
    Case(
        gbv.DoseResponse(curve="saturated", control="never_treated"),
        DoseFrames(n_units=240, levels=(1.0, 2.0), bend=0.2, at=2.0),
        n_draws=100,
        term="dose 2",
        note="saturated",
    ),
    Case(gbv.StackedDid(before=0, after=1), PanelFrames(n_units=150), n_draws=200, term="event time 0"),
    Case(gbv.LocalProjections(before=0, after=1), PanelFrames(n_units=60), n_draws=200, term="event time 0"),
    Case(
        gbv.LocalProjections(before=0, after=1, weighting="equal"),
        PanelFrames(n_units=90, cluster_size=3, trend=0.2),
        n_draws=150,
        term="event time 0",
        note="covariate, clusters",
    ),
    Case(
        gbv.ExtendedTwfe(control="never_treated"),
        PanelFrames(n_units=120, trend=0.3),
        n_draws=200,
        term="cohort 3, period 3",
        note="covariates",
    ),
    Case(gbv.DoublyRobust(), PanelFrames(n_units=200, n_periods=2, cohorts=(2.0, np.inf), trend=0.5), n_draws=200),
    Case(
        gbv.DoublyRobust(method="reg"),
        PanelFrames(n_units=300, n_periods=2, cohorts=(2.0, np.inf), trend=0.5, cluster_size=2),
        n_draws=150,
        note="regression",
    ),
    Case(gbv.TwoWayFixedEffects(), PanelFrames(n_units=60), n_draws=120),
    Case(
        gbv.TwoWayFixedEffects(std_error="CR2"),
        PanelFrames(n_units=36, cluster_size=3, covariate=0.5),
        n_draws=150,
        note="twelve clusters",
    ),
    Case(
        gbv.TwoWayFixedEffects(),
        PlacedFrames(n_units=150, n_periods=2, district_km=50.0, range_km=50.0, cutoff_km=100.0),
        n_draws=150,
        note="places",
    ),
    Case(gbv.EventStudy(), PanelFrames(n_units=60), n_draws=150, term="event time 0"),
    Case(
        gbv.WildTwoWay(n_draws=399),
        PanelFrames(n_units=36, cluster_size=3),
        n_draws=200,
        exempt={"check_wider_level_gives_a_wider_interval": ONE_LEVEL},
    ),
    *SWITCHES_AND_FEW_TREATED,
    *ASSOCIATIONS,
    Case(gbv.TwoByTwo(), PanelFrames(n_units=60, cohorts=(3.0, np.inf)), n_draws=200),
    Case(
        gbv.TwoByTwo(std_error="CR2"),
        PanelFrames(n_units=40, cohorts=(3.0, np.inf), cluster_size=4),
        n_draws=200,
        note="ten clusters",
    ),
    *TIMING_AND_SYNTHETIC,
    *SURVEYS,
    *UNDERREPORTING,
    *POOLING,
    Case(
        gbv.NormalHierarchy(gbv.HierarchyPrior(gbv.Normal(0, 1), gbv.HalfNormal(0.5))),
        SiteFrames(),
        equivariant=frozenset(),
        n_draws=600,
    ),
    Case(
        gbv.NormalHierarchy(
            gbv.HierarchyPrior(gbv.NormalMixture((0.7, 0.3), (0.0, 0.0), (0.3, 2.0)), gbv.HalfNormal(0.5))
        ),
        SiteFrames(),
        equivariant=frozenset(),
        n_draws=200,
        note="past evidence with a vague component",
    ),
    Case(
        gbv.ControlAndEffect(
            gbv.SitePrior(gbv.Normal(0, 1), gbv.Normal(0, 1), gbv.HalfNormal(0.5), gbv.HalfNormal(0.5))
        ),
        ControlSiteFrames(),
        equivariant=frozenset(),
        n_draws=60,
    ),
    Case(
        gbv.TableHierarchy(gbv.TablePrior(gbv.Normal(0, 1), gbv.HalfNormal(0.5), gbv.Normal(-1.5, 1))),
        TableFrames(n_sites=4),
        equivariant=frozenset(),
        # Three quarters of a second each: enough for coverage and bias to fail, not for a fine band.
        n_draws=60,
        exempt={
            "check_refuses_one_group_an_arm": "two sites and proper priors are an answer, with a warning",
            "check_constant_outcome_has_no_standard_error": "one event in every arm is a table like any other",
            "check_planted_secrets_show_nowhere": "a count refuses the planted number, which is not whole",
        },
    ),
    Case(
        gbv.HierarchicalModel(SITE_PRIOR, gbv.SamplerSettings(draws=1500, tune=1000, target_accept=0.99)),
        SiteTrialFrames(),
        equivariant=frozenset(),
        n_draws=40,
        exempt={
            "check_names_do_not_matter": SAMPLED,
            "check_row_order_does_not_matter": SAMPLED,
        },
    ),
    *STRATA,
    *EFFECTS,
    Case(gbv.Prevalence(), SurveyFrames(), equivariant=frozenset()),
    Case(gbv.Prevalence(), SurveyFrames(psu_per_stratum=3), equivariant=frozenset(), note="four degrees of freedom"),
    Case(gbv.Prevalence(by="exposed"), SurveyFrames(psu_per_stratum=5), equivariant=frozenset(), note="domains"),
    Case(gbv.RiskFactors(["exposed"], behaviour="experience"), SurveyFrames(target="ratio"), equivariant=frozenset()),
    Case(
        gbv.RiskFactors(["exposed"], behaviour="experience"),
        SurveyFrames(target="ratio", psu_per_stratum=5),
        equivariant=frozenset(),
        note="few units",
    ),
    Case(
        gbv.RiskFactors(["exposed"], {"exposed": ["stratum"]}, behaviour="experience"),
        SurveyFrames(target="ratio"),
        equivariant=frozenset(),
        n_draws=200,
        note="adjusted",
    ),
    Case(
        gbv.WinProbability(contrasts=("win_probability", "win_difference", "win_odds", "win_ratio")),
        OrdinalFrames(n_per_arm=40, truth="win_probability"),
        equivariant=frozenset({"shift", "swap"}),
        note="individuals",
    ),
    Case(
        gbv.WinProbability(),
        OrdinalFrames(n_per_arm=8, cluster_size=15, truth="win_probability"),
        equivariant=frozenset({"shift", "swap"}),
        note="clusters",
    ),
    Case(
        gbv.WinProbability(),
        OrdinalFrames(n_per_arm=60, strata=2, truth="coefficient", effect=0.0),
        equivariant=frozenset({"shift", "swap"}),
        note="strata",
    ),
    Case(
        gbv.SaturationEffects(),
        SaturationFrames(),
        equivariant=MOVED,
        note="direct, fifteen clusters",
    ),
    Case(
        gbv.SaturationEffects(),
        SaturationFrames(clusters=6, truth="indirect", uneven=True),
        equivariant=MOVED,
        term="indirect, saturation 0.25 vs 0",
        note="indirect, eighteen clusters",
    ),
    Case(
        gbv.SaturationEffects("participant_average"),
        SaturationFrames(clusters=4, saturations=(0.25, 0.75), truth="indirect"),
        equivariant=MOVED,
        term="indirect, saturation 0.75 vs 0.25",
        note="no pure control, eight clusters",
    ),
    Case(
        gbv.ExposureEffects(n_draws=499),
        NetworkFrames(),
        equivariant=MOVED,
        conservative=True,
        n_draws=600,
        exempt={"check_row_order_does_not_matter": ALLOCATED},
        note="fixed numbers",
    ),
    Case(
        gbv.ExposureEffects(n_draws=499),
        NetworkFrames(independent=True, alone=9),
        equivariant=MOVED,
        conservative=True,
        n_draws=600,
        exempt={"check_row_order_does_not_matter": ALLOCATED},
        note="independent draws",
    ),
    Case(gbv.PlaceboCompliers(), PlaceboFrames(), note="people"),
    Case(gbv.PlaceboCompliers(), PlaceboFrames(n_per_arm=6, cluster_size=12), note="twelve clusters"),
    Case(gbv.Transitions(), TransitionFrames(n_per_arm=60), equivariant=SWAP, note="individuals"),
    Case(gbv.Transitions(), TransitionFrames(n_per_arm=8, cluster_size=20), equivariant=SWAP, note="clusters"),
    Case(gbv.SubgroupEffects(), SubgroupFrames(n_per_arm=20), note="average"),
    Case(
        gbv.SubgroupEffects(),
        SubgroupFrames(n_per_arm=4, cluster_size=10, truth="young"),
        term="new vs usual, young",
        note="eight clusters",
    ),
    Case(
        gbv.SubgroupEffects(average_effect=gbv.Normal(0.2, 0.4), between_subgroup_sd=gbv.HalfNormal(0.4)),
        SubgroupFrames(n_per_arm=8, cluster_size=10, spread=0.4, truth="middle"),
        term="new vs usual, middle, shrunken",
        equivariant=SWAP,
        n_draws=600,
        note="shrunken",
    ),
    Case(
        gbv.MultipleImputation(gbv.LinAdjusted(), n_imputations=8),
        MeasuredAttritionFrames(n_per_arm=80),
        equivariant=frozenset({"shift", "scale"}),
        n_draws=300,
        slack=0.02,
        exempt={"check_row_order_does_not_matter": DRAWN},
    ),
    Case(
        gbv.ProportionalOdds(),
        OrdinalFrames(n_per_arm=150, slope=0.5),
        equivariant=frozenset({"shift", "swap"}),
        n_draws=600,
        note="individuals",
    ),
    Case(
        gbv.ProportionalOdds(),
        OrdinalFrames(n_per_arm=10, cluster_size=20),
        equivariant=frozenset({"shift", "swap"}),
        n_draws=400,
        slack=0.02,
        note="clusters",
    ),
)

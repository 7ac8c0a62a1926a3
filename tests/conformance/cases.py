"""One line an estimator: what the conformance kit runs over."""

from __future__ import annotations

import gbveval as gbv
from gbveval.testing.case import Case
from gbveval.testing.model_processes import ModelFrames
from gbveval.testing.processes import PanelFrames, SiteFrames, SiteTrialFrames, SurveyFrames, TrialFrames
from gbveval.testing.take_up import AttritionFrames, ProbabilityFrames, TakeUpFrames

SITE_PRIOR = gbv.SitePrior(
    gbv.Normal(0, 1), gbv.Normal(0, 1), gbv.HalfNormal(0.5), gbv.HalfNormal(0.5), 2.0, gbv.HalfNormal(2)
)
SWAP = frozenset({"swap"})
CONSTANT_COUNTS = "equal counts in unequal times at risk are rates that vary"
# Bounds swap ends when arms do, so their sign does not simply flip.
BOUNDS = frozenset({"shift", "scale"})
NOISY = "with independent draws the numbers in the arms vary, and an unnormalised total of ones varies with them"
ONE_LEVEL = "an interval by inverting a test holds at one level; another needs the allocations or draws again"
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
        gbv.CallawaySantAnna(control="never_treated"),
        PanelFrames(),
        n_draws=400,
        term="cohort 3, period 3",
        note="cells",
    ),
    Case(gbv.TwoWayFixedEffects(), PanelFrames(n_units=60), n_draws=120),
    Case(
        gbv.NormalHierarchy(gbv.HierarchyPrior(gbv.Normal(0, 1), gbv.HalfNormal(0.5))),
        SiteFrames(),
        equivariant=frozenset(),
        n_draws=600,
    ),
    Case(
        gbv.HierarchicalModel(SITE_PRIOR, gbv.SamplerSettings(draws=1500, tune=1000, target_accept=0.99)),
        SiteTrialFrames(),
        equivariant=frozenset(),
        n_draws=60,
        exempt={
            "check_names_do_not_matter": SAMPLED,
            "check_row_order_does_not_matter": SAMPLED,
        },
    ),
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
)

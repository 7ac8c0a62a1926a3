"""One line an estimator: what the conformance kit runs over."""

from __future__ import annotations

import gbveval as gbv
from gbveval.testing.case import Case
from gbveval.testing.mixed_processes import ClusterEventFrames, IccFrames, SteppedWedgeFrames
from gbveval.testing.processes import PanelFrames, SiteFrames, SiteTrialFrames, SurveyFrames, TrialFrames
from gbveval.testing.take_up import AttritionFrames, ProbabilityFrames, TakeUpFrames

SITE_PRIOR = gbv.SitePrior(
    gbv.Normal(0, 1), gbv.Normal(0, 1), gbv.HalfNormal(0.5), gbv.HalfNormal(0.5), 2.0, gbv.HalfNormal(2)
)
# Bounds swap ends when arms do, so their sign does not simply flip.
BOUNDS = frozenset({"shift", "scale"})
NOISY = "with independent draws the numbers in the arms vary, and an unnormalised total of ones varies with them"
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

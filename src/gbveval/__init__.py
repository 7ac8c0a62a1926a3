"""Evaluate interventions against gender-based online harassment and abuse: plan, estimate, pool and report safely."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from gbveval._places import PLACES

__version__ = "0.1.0"


if TYPE_CHECKING:
    from gbveval.core.counts import CountTable as CountTable
    from gbveval.core.errors import ConvergenceError as ConvergenceError
    from gbveval.core.errors import DataError as DataError
    from gbveval.core.errors import DesignError as DesignError
    from gbveval.core.errors import GbvevalError as GbvevalError
    from gbveval.core.errors import GbvevalWarning as GbvevalWarning
    from gbveval.core.errors import IdentificationError as IdentificationError
    from gbveval.core.estimand import Estimand as Estimand
    from gbveval.core.estimates import Estimates as Estimates
    from gbveval.core.flow import Flow as Flow
    from gbveval.core.margins import equivalence as equivalence
    from gbveval.core.margins import noninferiority as noninferiority
    from gbveval.core.margins import noninferiority_of_risks as noninferiority_of_risks
    from gbveval.core.method import Check as Check
    from gbveval.core.multiplicity import adjust_for_multiplicity as adjust_for_multiplicity
    from gbveval.core.multiplicity import adjust_p_values as adjust_p_values
    from gbveval.core.posterior_prior import as_prior as as_prior
    from gbveval.core.safety import SafetyTable as SafetyTable
    from gbveval.core.table import Table as Table
    from gbveval.data.identifiers import keep_identifiers as keep_identifiers
    from gbveval.data.panel import Panel as Panel
    from gbveval.data.places import Places as Places
    from gbveval.data.sites import SiteEffects as SiteEffects
    from gbveval.data.survey import Survey as Survey
    from gbveval.data.tables import SiteTables as SiteTables
    from gbveval.data.trial import Trial as Trial
    from gbveval.datasets.planning_values import planning_value as planning_value
    from gbveval.datasets.planning_values import planning_values as planning_values
    from gbveval.design._levels import Level as Level
    from gbveval.design.allocation._chain import new_secret as new_secret
    from gbveval.design.allocation.allocated import Allocated as Allocated
    from gbveval.design.allocation.allocated import allocate as allocate
    from gbveval.design.allocation.blocked import BlockedAllocation as BlockedAllocation
    from gbveval.design.allocation.complete import ClusterAllocation as ClusterAllocation
    from gbveval.design.allocation.complete import CompleteAllocation as CompleteAllocation
    from gbveval.design.allocation.complete import SimpleAllocation as SimpleAllocation
    from gbveval.design.allocation.complete import StratifiedAllocation as StratifiedAllocation
    from gbveval.design.allocation.matched import MatchedAllocation as MatchedAllocation
    from gbveval.design.allocation.minimised import Minimisation as Minimisation
    from gbveval.design.allocation.restricted import ConstrainedAllocation as ConstrainedAllocation
    from gbveval.design.allocation.restricted import Rerandomisation as Rerandomisation
    from gbveval.design.allocation.restricted import balance_score as balance_score
    from gbveval.design.allocation.restricted import rerandomisation_gain as rerandomisation_gain
    from gbveval.design.allocation.sealed import open_sealed as open_sealed
    from gbveval.design.allocation.sealed import seal_allocation as seal_allocation
    from gbveval.design.allocation.sealed import verify_sealed as verify_sealed
    from gbveval.design.allocation.staggered import SaturationAllocation as SaturationAllocation
    from gbveval.design.allocation.staggered import SteppedWedgeAllocation as SteppedWedgeAllocation
    from gbveval.design.attrition import AttritionDesign as AttritionDesign
    from gbveval.design.cluster import ClusterDesign as ClusterDesign
    from gbveval.design.cluster_period_correlation import ClusterPeriodCorrelation as ClusterPeriodCorrelation
    from gbveval.design.cluster_schedule import ClusterSchedule as ClusterSchedule
    from gbveval.design.coded import CodedDesign as CodedDesign
    from gbveval.design.correlation import CorrelationDesign as CorrelationDesign
    from gbveval.design.counts import Count as Count
    from gbveval.design.dilution import NoncomplianceDesign as NoncomplianceDesign
    from gbveval.design.dilution import SpilloverDesign as SpilloverDesign
    from gbveval.design.disclosure import Disclosure as Disclosure
    from gbveval.design.disclosure import DisclosureDesign as DisclosureDesign
    from gbveval.design.effect_prior import EffectPrior as EffectPrior
    from gbveval.design.efficacy import AlphaSpending as AlphaSpending
    from gbveval.design.efficacy import EfficacyAtEnd as EfficacyAtEnd
    from gbveval.design.efficacy import HaybittlePeto as HaybittlePeto
    from gbveval.design.efficacy import OBrienFleming as OBrienFleming
    from gbveval.design.efficacy import Pocock as Pocock
    from gbveval.design.efficacy import WangTsiatis as WangTsiatis
    from gbveval.design.events import EventsDesign as EventsDesign
    from gbveval.design.factorial import FactorialDesign as FactorialDesign
    from gbveval.design.futility import BetaSpending as BetaSpending
    from gbveval.design.futility import FutilityBounds as FutilityBounds
    from gbveval.design.futility import HarmSpending as HarmSpending
    from gbveval.design.given_clusters import GivenClustersDesign as GivenClustersDesign
    from gbveval.design.icc import ICC as ICC
    from gbveval.design.icc import BetweenCV as BetweenCV
    from gbveval.design.icc import design_effect as design_effect
    from gbveval.design.icc import icc_convert as icc_convert
    from gbveval.design.incident_model import IncidentModel as IncidentModel
    from gbveval.design.list_experiment import ItemCount as ItemCount
    from gbveval.design.list_experiment import ListClusterDesign as ListClusterDesign
    from gbveval.design.list_experiment import ListExperimentDesign as ListExperimentDesign
    from gbveval.design.list_experiment import ListTrialDesign as ListTrialDesign
    from gbveval.design.longitudinal import LongitudinalClusterDesign as LongitudinalClusterDesign
    from gbveval.design.margins import EquivalenceDesign as EquivalenceDesign
    from gbveval.design.margins import NonInferiorityDesign as NonInferiorityDesign
    from gbveval.design.moderator import ModeratorDesign as ModeratorDesign
    from gbveval.design.multi_arm import MultiArmDesign as MultiArmDesign
    from gbveval.design.multi_arm_clusters import MultiArmClusterDesign as MultiArmClusterDesign
    from gbveval.design.multi_stage import MultiStageDesign as MultiStageDesign
    from gbveval.design.multilevel import MultilevelDesign as MultilevelDesign
    from gbveval.design.one_sample import OneSampleDesign as OneSampleDesign
    from gbveval.design.ordinal import Ordinal as Ordinal
    from gbveval.design.outcomes import Binary as Binary
    from gbveval.design.outcomes import Continuous as Continuous
    from gbveval.design.overall import AnovaDesign as AnovaDesign
    from gbveval.design.overall import ChiSquareDesign as ChiSquareDesign
    from gbveval.design.overall import RegressionDesign as RegressionDesign
    from gbveval.design.paired import Discordant as Discordant
    from gbveval.design.paired import PairedDesign as PairedDesign
    from gbveval.design.paired_clusters import PairedClusterDesign as PairedClusterDesign
    from gbveval.design.panel_errors import Autoregressive as Autoregressive
    from gbveval.design.panel_errors import AverageCovariances as AverageCovariances
    from gbveval.design.panel_errors import Equicorrelated as Equicorrelated
    from gbveval.design.panel_errors import Independent as Independent
    from gbveval.design.panel_errors import ResidualCovariance as ResidualCovariance
    from gbveval.design.parallel import ParallelDesign as ParallelDesign
    from gbveval.design.partially_nested import PartiallyNestedDesign as PartiallyNestedDesign
    from gbveval.design.randomised_response import RandomisedResponseDesign as RandomisedResponseDesign
    from gbveval.design.repeated import RepeatedMeasuresDesign as RepeatedMeasuresDesign
    from gbveval.design.rollout import RolloutDesign as RolloutDesign
    from gbveval.design.sequential import SequentialDesign as SequentialDesign
    from gbveval.design.several_outcomes import SeveralOutcomesDesign as SeveralOutcomesDesign
    from gbveval.disclosure.collapsing import collapse_categories as collapse_categories
    from gbveval.disclosure.ledger import Ledger as Ledger
    from gbveval.disclosure.magnitudes import suppress_magnitudes as suppress_magnitudes
    from gbveval.disclosure.nesting import Nesting as Nesting
    from gbveval.disclosure.policy import Policy as Policy
    from gbveval.disclosure.release import release as release
    from gbveval.disclosure.released import Released as Released
    from gbveval.disclosure.reliability import Reliability as Reliability
    from gbveval.disclosure.rounding import round_table as round_table
    from gbveval.disclosure.suppress import suppress_table as suppress_table
    from gbveval.estimators._pool import pool_imputations as pool_imputations
    from gbveval.estimators.diagnostics.assignment_log import check_assignment_log as check_assignment_log
    from gbveval.estimators.diagnostics.attrition import differential_attrition as differential_attrition
    from gbveval.estimators.diagnostics.balance import balance as balance
    from gbveval.estimators.diagnostics.balance import love_plot as love_plot
    from gbveval.estimators.diagnostics.safety import safety_table as safety_table
    from gbveval.estimators.did.callaway_santanna import CallawaySantAnna as CallawaySantAnna
    from gbveval.estimators.did.chaisemartin_dhaultfoeuille import (
        ChaisemartinDHaultfoeuille as ChaisemartinDHaultfoeuille,
    )
    from gbveval.estimators.did.comparison import compare as compare
    from gbveval.estimators.did.comparison import plot_comparison as plot_comparison
    from gbveval.estimators.did.conley_taber import ConleyTaber as ConleyTaber
    from gbveval.estimators.did.dose_response import DoseResponse as DoseResponse
    from gbveval.estimators.did.doubly_robust import DoublyRobust as DoublyRobust
    from gbveval.estimators.did.event_path import event_study_from as event_study_from
    from gbveval.estimators.did.event_study import EventStudy as EventStudy
    from gbveval.estimators.did.extended_twfe import ExtendedTwfe as ExtendedTwfe
    from gbveval.estimators.did.functional_form import functional_form as functional_form
    from gbveval.estimators.did.functional_form import plot_functional_form as plot_functional_form
    from gbveval.estimators.did.goodman_bacon import goodman_bacon as goodman_bacon
    from gbveval.estimators.did.goodman_bacon import goodman_bacon_by_kind as goodman_bacon_by_kind
    from gbveval.estimators.did.goodman_bacon import plot_goodman_bacon as plot_goodman_bacon
    from gbveval.estimators.did.honest_did import HonestDid as HonestDid
    from gbveval.estimators.did.honest_did import plot_honest_did as plot_honest_did
    from gbveval.estimators.did.imputation import Imputation as Imputation
    from gbveval.estimators.did.local_projections import LocalProjections as LocalProjections
    from gbveval.estimators.did.placebos import leave_one_cohort_out as leave_one_cohort_out
    from gbveval.estimators.did.placebos import placebo_in_group as placebo_in_group
    from gbveval.estimators.did.placebos import placebo_in_time as placebo_in_time
    from gbveval.estimators.did.pretrend_equivalence import pretrend_equivalence as pretrend_equivalence
    from gbveval.estimators.did.pretrend_power import pretrend_bias as pretrend_bias
    from gbveval.estimators.did.pretrend_power import pretrend_power as pretrend_power
    from gbveval.estimators.did.randomised_timing import RandomisedTiming as RandomisedTiming
    from gbveval.estimators.did.reporting_shock import reporting_shock as reporting_shock
    from gbveval.estimators.did.stacked_did import StackedDid as StackedDid
    from gbveval.estimators.did.staggered_efficient import StaggeredEfficient as StaggeredEfficient
    from gbveval.estimators.did.sun_abraham import SunAbraham as SunAbraham
    from gbveval.estimators.did.synthetic_control import SyntheticControl as SyntheticControl
    from gbveval.estimators.did.synthetic_did import SyntheticDid as SyntheticDid
    from gbveval.estimators.did.synthetic_path import plot_synthetic as plot_synthetic
    from gbveval.estimators.did.trend_scales import plot_trend_scales as plot_trend_scales
    from gbveval.estimators.did.trend_scales import trend_scales as trend_scales
    from gbveval.estimators.did.triple_difference import TripleDifference as TripleDifference
    from gbveval.estimators.did.twfe_weights import twfe_robustness as twfe_robustness
    from gbveval.estimators.did.twfe_weights import twfe_weights as twfe_weights
    from gbveval.estimators.did.two_by_two import TwoByTwo as TwoByTwo
    from gbveval.estimators.did.two_stage import TwoStage as TwoStage
    from gbveval.estimators.did.two_way_fixed_effects import TwoWayFixedEffects as TwoWayFixedEffects
    from gbveval.estimators.did.wild_two_way import WildTwoWay as WildTwoWay
    from gbveval.estimators.outcome_index import OutcomeIndex as OutcomeIndex
    from gbveval.estimators.randomised._assignment import RecordedAllocations as RecordedAllocations
    from gbveval.estimators.randomised.ancova import Ancova as Ancova
    from gbveval.estimators.randomised.attrition_weighted import AttritionWeighted as AttritionWeighted
    from gbveval.estimators.randomised.cluster_summary import ClusterSummary as ClusterSummary
    from gbveval.estimators.randomised.complier_average import ComplierAverage as ComplierAverage
    from gbveval.estimators.randomised.difference_in_means import DifferenceInMeans as DifferenceInMeans
    from gbveval.estimators.randomised.exposure_effects import ExposureEffects as ExposureEffects
    from gbveval.estimators.randomised.fisher_exact import FisherExact as FisherExact
    from gbveval.estimators.randomised.gee import Gee as Gee
    from gbveval.estimators.randomised.generalised_linear import GeneralisedLinear as GeneralisedLinear
    from gbveval.estimators.randomised.hajek import Hajek as Hajek
    from gbveval.estimators.randomised.horvitz_thompson import HorvitzThompson as HorvitzThompson
    from gbveval.estimators.randomised.hurdle import Hurdle as Hurdle
    from gbveval.estimators.randomised.informative_size import InformativeSize as InformativeSize
    from gbveval.estimators.randomised.intracluster_correlation import (
        IntraclusterCorrelation as IntraclusterCorrelation,
    )
    from gbveval.estimators.randomised.joint_test import JointTest as JointTest
    from gbveval.estimators.randomised.lee_bounds import LeeBounds as LeeBounds
    from gbveval.estimators.randomised.lin_adjusted import LinAdjusted as LinAdjusted
    from gbveval.estimators.randomised.list_design_test import ListDesignTest as ListDesignTest
    from gbveval.estimators.randomised.list_experiment import ListExperiment as ListExperiment
    from gbveval.estimators.randomised.list_regression import ListRegression as ListRegression
    from gbveval.estimators.randomised.manski_bounds import ManskiBounds as ManskiBounds
    from gbveval.estimators.randomised.mixed_effects import MixedEffects as MixedEffects
    from gbveval.estimators.randomised.modified_poisson import ModifiedPoisson as ModifiedPoisson
    from gbveval.estimators.randomised.multiple_imputation import MultipleImputation as MultipleImputation
    from gbveval.estimators.randomised.negative_binomial import NegativeBinomial as NegativeBinomial
    from gbveval.estimators.randomised.placebo_compliers import PlaceboCompliers as PlaceboCompliers
    from gbveval.estimators.randomised.proportion_test import ProportionTest as ProportionTest
    from gbveval.estimators.randomised.proportional_odds import ProportionalOdds as ProportionalOdds
    from gbveval.estimators.randomised.quantile_effect import QuantileEffect as QuantileEffect
    from gbveval.estimators.randomised.randomisation_inference import (
        RandomisationInference as RandomisationInference,
    )
    from gbveval.estimators.randomised.romano_wolf import RomanoWolf as RomanoWolf
    from gbveval.estimators.randomised.saturation_effects import SaturationEffects as SaturationEffects
    from gbveval.estimators.randomised.standardised import Standardised as Standardised
    from gbveval.estimators.randomised.stepped_wedge import SteppedWedge as SteppedWedge
    from gbveval.estimators.randomised.subgroup_effects import SubgroupEffects as SubgroupEffects
    from gbveval.estimators.randomised.transitions import Transitions as Transitions
    from gbveval.estimators.randomised.westfall_young import WestfallYoung as WestfallYoung
    from gbveval.estimators.randomised.wild_cluster_bootstrap import WildClusterBootstrap as WildClusterBootstrap
    from gbveval.estimators.randomised.win_probability import WinProbability as WinProbability
    from gbveval.estimators.tipping_point import plot_tipping_point as plot_tipping_point
    from gbveval.estimators.tipping_point import tipping_point as tipping_point
    from gbveval.factors.across_sites import factors_across_sites as factors_across_sites
    from gbveval.factors.additive_interaction import AdditiveInteraction as AdditiveInteraction
    from gbveval.factors.agreement import cohen_kappa as cohen_kappa
    from gbveval.factors.attributable_fraction import AttributableFraction as AttributableFraction
    from gbveval.factors.causal_graph import CausalGraph as CausalGraph
    from gbveval.factors.conditional_logistic import ConditionalLogistic as ConditionalLogistic
    from gbveval.factors.corrected_effect import CorrectedEffect as CorrectedEffect
    from gbveval.factors.corrected_intervals import corrected_prevalence_intervals as corrected_prevalence_intervals
    from gbveval.factors.e_values import e_value as e_value
    from gbveval.factors.e_values import e_value_of_means as e_value_of_means
    from gbveval.factors.e_values import e_value_of_risks as e_value_of_risks
    from gbveval.factors.exposure_tables import two_by_two_measures as two_by_two_measures
    from gbveval.factors.factor import Factor as Factor
    from gbveval.factors.factor_table import factor_table as factor_table
    from gbveval.factors.intersectional_effects import IntersectionalEffects as IntersectionalEffects
    from gbveval.factors.maihda import Maihda as Maihda
    from gbveval.factors.omitted_confounding import omitted_confounding as omitted_confounding
    from gbveval.factors.omitted_confounding import robustness_value as robustness_value
    from gbveval.factors.pooled_prevalence import PooledPrevalence as PooledPrevalence
    from gbveval.factors.prevalence import Prevalence as Prevalence
    from gbveval.factors.prior_corrected_prevalence import PriorCorrectedPrevalence as PriorCorrectedPrevalence
    from gbveval.factors.randomised_response import RandomisedResponse as RandomisedResponse
    from gbveval.factors.randomised_response_regression import (
        RandomisedResponseRegression as RandomisedResponseRegression,
    )
    from gbveval.factors.rao_scott_test import RaoScottTest as RaoScottTest
    from gbveval.factors.risk_factors import RiskFactors as RiskFactors
    from gbveval.factors.rogan_gladen import RoganGladen as RoganGladen
    from gbveval.factors.share_intervals import proportion_intervals as proportion_intervals
    from gbveval.factors.standardised_rates import direct_rate as direct_rate
    from gbveval.factors.standardised_rates import indirect_rate as indirect_rate
    from gbveval.factors.stratified_tables import stratified_measures as stratified_measures
    from gbveval.factors.survey_mean import SurveyMean as SurveyMean
    from gbveval.factors.survey_quantile import SurveyQuantile as SurveyQuantile
    from gbveval.factors.survey_ratio import SurveyRatio as SurveyRatio
    from gbveval.factors.survey_regression import SurveyRegression as SurveyRegression
    from gbveval.factors.survey_total import SurveyTotal as SurveyTotal
    from gbveval.factors.validation import Validation as Validation
    from gbveval.multisite._sampling import SamplerSettings as SamplerSettings
    from gbveval.multisite._sampling import monte_carlo_error as monte_carlo_error
    from gbveval.multisite.compare_models import compare_models as compare_models
    from gbveval.multisite.control_and_effect import ControlAndEffect as ControlAndEffect
    from gbveval.multisite.decisions import DecisionRule as DecisionRule
    from gbveval.multisite.decisions import ProgressionCriteria as ProgressionCriteria
    from gbveval.multisite.heterogeneity import heterogeneity as heterogeneity
    from gbveval.multisite.hierarchical_model import HierarchicalModel as HierarchicalModel
    from gbveval.multisite.mantel_haenszel import MantelHaenszel as MantelHaenszel
    from gbveval.multisite.multilevel_effects import MultilevelEffects as MultilevelEffects
    from gbveval.multisite.normal_hierarchy import NormalHierarchy as NormalHierarchy
    from gbveval.multisite.one_more_site import one_more_site as one_more_site
    from gbveval.multisite.one_more_site import one_more_site_by_counts as one_more_site_by_counts
    from gbveval.multisite.one_stage import OneStage as OneStage
    from gbveval.multisite.operating import operating_characteristics as operating_characteristics
    from gbveval.multisite.operating import plot_operating as plot_operating
    from gbveval.multisite.operating_counts import (
        operating_characteristics_of_counts as operating_characteristics_of_counts,
    )
    from gbveval.multisite.past_evidence import prior_effective_sample_size as prior_effective_sample_size
    from gbveval.multisite.past_evidence import prior_from_evidence as prior_from_evidence
    from gbveval.multisite.pooling_pictures import plot_left_out as plot_left_out
    from gbveval.multisite.pooling_pictures import plot_prior_to_posterior as plot_prior_to_posterior
    from gbveval.multisite.pooling_pictures import plot_shrinkage as plot_shrinkage
    from gbveval.multisite.poststratify import poststratify as poststratify
    from gbveval.multisite.prior_predictive import prior_predictive as prior_predictive
    from gbveval.multisite.prior_sensitivity import prior_sensitivity as prior_sensitivity
    from gbveval.multisite.random_effects import RandomEffects as RandomEffects
    from gbveval.multisite.reporting import Reporting as Reporting
    from gbveval.multisite.robust_effects import RobustEffects as RobustEffects
    from gbveval.multisite.site_checks import heavy_tailed_sites as heavy_tailed_sites
    from gbveval.multisite.site_checks import leave_one_site_out as leave_one_site_out
    from gbveval.multisite.site_influence import site_influence as site_influence
    from gbveval.multisite.site_pictures import plot_forest as plot_forest
    from gbveval.multisite.site_pictures import plot_funnel as plot_funnel
    from gbveval.multisite.site_prior import HierarchyPrior as HierarchyPrior
    from gbveval.multisite.site_prior import SitePrior as SitePrior
    from gbveval.multisite.site_prior import TablePrior as TablePrior
    from gbveval.multisite.small_study import egger_test as egger_test
    from gbveval.multisite.small_study import pet_peese as pet_peese
    from gbveval.multisite.small_study import selection_model as selection_model
    from gbveval.multisite.small_study import trim_and_fill as trim_and_fill
    from gbveval.multisite.table_effects import effects_from_means as effects_from_means
    from gbveval.multisite.table_effects import effects_from_tables as effects_from_tables
    from gbveval.multisite.table_hierarchy import TableHierarchy as TableHierarchy
    from gbveval.numerics.normal_mixture import NormalMixture as NormalMixture
    from gbveval.numerics.priors import Beta as Beta
    from gbveval.numerics.priors import Exponential as Exponential
    from gbveval.numerics.priors import Flat as Flat
    from gbveval.numerics.priors import HalfCauchy as HalfCauchy
    from gbveval.numerics.priors import HalfNormal as HalfNormal
    from gbveval.numerics.priors import HalfStudentT as HalfStudentT
    from gbveval.numerics.priors import LogNormal as LogNormal
    from gbveval.numerics.priors import Normal as Normal
    from gbveval.numerics.priors import Uniform as Uniform
    from gbveval.planning.assurance import Assurance as Assurance
    from gbveval.planning.assurance import assurance as assurance
    from gbveval.planning.assurance import assured_size as assured_size
    from gbveval.planning.closed_form import explain_power as explain_power
    from gbveval.planning.closed_form import mde as mde
    from gbveval.planning.closed_form import power as power
    from gbveval.planning.closed_form import power_curve as power_curve
    from gbveval.planning.closed_form import required_size as required_size
    from gbveval.planning.codings import compare_codings as compare_codings
    from gbveval.planning.diagnosis import Diagnosis as Diagnosis
    from gbveval.planning.interim import boundaries as boundaries
    from gbveval.planning.interim import conditional_power as conditional_power
    from gbveval.planning.interim import expected_size as expected_size
    from gbveval.planning.interim import interim_information as interim_information
    from gbveval.planning.interim import stopping_probabilities as stopping_probabilities
    from gbveval.planning.pictures import mde_by_icc as mde_by_icc
    from gbveval.planning.pictures import plot_mde as plot_mde
    from gbveval.planning.pictures import plot_power as plot_power
    from gbveval.planning.precision import interval_width as interval_width
    from gbveval.planning.precision import pilot_inflation as pilot_inflation
    from gbveval.planning.precision import required_sample as required_sample
    from gbveval.planning.precision import weighting_design_effect as weighting_design_effect
    from gbveval.planning.sequential_picture import plot_boundaries as plot_boundaries
    from gbveval.planning.simulate import simulate_curve as simulate_curve
    from gbveval.planning.simulate import simulate_power as simulate_power
    from gbveval.reporting.factor_figure import plot_factors as plot_factors
    from gbveval.reporting.report import Section as Section
    from gbveval.reporting.report import write_report as write_report
    from gbveval.reporting.strata_figure import plot_strata as plot_strata

__all__ = ["__version__", *sorted(PLACES)]


def __getattr__(name: str) -> Any:
    if name not in PLACES:
        from difflib import get_close_matches

        near = get_close_matches(name, PLACES)
        hint = f"nearest: {', '.join(near)}" if near else "`dir(gbveval)` lists what it has"
        raise AttributeError(f"module 'gbveval' has no attribute {name!r}; {hint}")
    value = getattr(importlib.import_module(PLACES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)

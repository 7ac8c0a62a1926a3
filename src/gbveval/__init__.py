"""Evaluate interventions against gender-based online harassment and abuse: plan, estimate, pool and report safely."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Where each public name lives. Loading is lazy, so that `import gbveval` costs nothing that is not used.
_PLACES = {
    "CallawaySantAnna": "gbveval.estimators.did.callaway_santanna",
    "Check": "gbveval.core.method",
    "CountTable": "gbveval.core.counts",
    "DataError": "gbveval.core.errors",
    "DesignError": "gbveval.core.errors",
    "DifferenceInMeans": "gbveval.estimators.randomised.difference_in_means",
    "Estimand": "gbveval.core.estimand",
    "Estimates": "gbveval.core.estimates",
    "Exponential": "gbveval.numerics.priors",
    "Flat": "gbveval.numerics.priors",
    "Flow": "gbveval.core.flow",
    "GbvevalError": "gbveval.core.errors",
    "HalfCauchy": "gbveval.numerics.priors",
    "HalfNormal": "gbveval.numerics.priors",
    "HalfStudentT": "gbveval.numerics.priors",
    "HierarchicalModel": "gbveval.multisite.hierarchical_model",
    "HierarchyPrior": "gbveval.multisite.site_prior",
    "LinAdjusted": "gbveval.estimators.randomised.lin_adjusted",
    "LogNormal": "gbveval.numerics.priors",
    "Normal": "gbveval.numerics.priors",
    "NormalHierarchy": "gbveval.multisite.normal_hierarchy",
    "Panel": "gbveval.data.panel",
    "Policy": "gbveval.disclosure.policy",
    "Released": "gbveval.disclosure.released",
    "SamplerSettings": "gbveval.multisite._sampling",
    "Section": "gbveval.reporting.report",
    "SiteEffects": "gbveval.data.sites",
    "SitePrior": "gbveval.multisite.site_prior",
    "Survey": "gbveval.data.survey",
    "Table": "gbveval.core.table",
    "Trial": "gbveval.data.trial",
    "TwoWayFixedEffects": "gbveval.estimators.did.two_way_fixed_effects",
    "Uniform": "gbveval.numerics.priors",
    "heavy_tailed_sites": "gbveval.multisite.site_checks",
    "leave_one_site_out": "gbveval.multisite.site_checks",
    "one_more_site": "gbveval.multisite.site_checks",
    "prior_sensitivity": "gbveval.multisite.site_checks",
    "release": "gbveval.disclosure.release",
    "write_report": "gbveval.reporting.report",
}

if TYPE_CHECKING:
    from gbveval.core.counts import CountTable as CountTable
    from gbveval.core.errors import DataError as DataError
    from gbveval.core.errors import DesignError as DesignError
    from gbveval.core.errors import GbvevalError as GbvevalError
    from gbveval.core.estimand import Estimand as Estimand
    from gbveval.core.estimates import Estimates as Estimates
    from gbveval.core.flow import Flow as Flow
    from gbveval.core.method import Check as Check
    from gbveval.core.table import Table as Table
    from gbveval.data.panel import Panel as Panel
    from gbveval.data.sites import SiteEffects as SiteEffects
    from gbveval.data.survey import Survey as Survey
    from gbveval.data.trial import Trial as Trial
    from gbveval.disclosure.policy import Policy as Policy
    from gbveval.disclosure.release import release as release
    from gbveval.disclosure.released import Released as Released
    from gbveval.estimators.did.callaway_santanna import CallawaySantAnna as CallawaySantAnna
    from gbveval.estimators.did.two_way_fixed_effects import TwoWayFixedEffects as TwoWayFixedEffects
    from gbveval.estimators.randomised.difference_in_means import DifferenceInMeans as DifferenceInMeans
    from gbveval.estimators.randomised.lin_adjusted import LinAdjusted as LinAdjusted
    from gbveval.multisite._sampling import SamplerSettings as SamplerSettings
    from gbveval.multisite.hierarchical_model import HierarchicalModel as HierarchicalModel
    from gbveval.multisite.normal_hierarchy import NormalHierarchy as NormalHierarchy
    from gbveval.multisite.site_checks import heavy_tailed_sites as heavy_tailed_sites
    from gbveval.multisite.site_checks import leave_one_site_out as leave_one_site_out
    from gbveval.multisite.site_checks import one_more_site as one_more_site
    from gbveval.multisite.site_checks import prior_sensitivity as prior_sensitivity
    from gbveval.multisite.site_prior import HierarchyPrior as HierarchyPrior
    from gbveval.multisite.site_prior import SitePrior as SitePrior
    from gbveval.numerics.priors import Exponential as Exponential
    from gbveval.numerics.priors import Flat as Flat
    from gbveval.numerics.priors import HalfCauchy as HalfCauchy
    from gbveval.numerics.priors import HalfNormal as HalfNormal
    from gbveval.numerics.priors import HalfStudentT as HalfStudentT
    from gbveval.numerics.priors import LogNormal as LogNormal
    from gbveval.numerics.priors import Normal as Normal
    from gbveval.numerics.priors import Uniform as Uniform
    from gbveval.reporting.report import Section as Section
    from gbveval.reporting.report import write_report as write_report

__all__ = ["__version__", *sorted(_PLACES)]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'gbveval' has no attribute {name!r}; it has: {', '.join(sorted(_PLACES))}")
    value = getattr(importlib.import_module(_PLACES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)

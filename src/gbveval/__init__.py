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
    "Flow": "gbveval.core.flow",
    "GbvevalError": "gbveval.core.errors",
    "LinAdjusted": "gbveval.estimators.randomised.lin_adjusted",
    "Panel": "gbveval.data.panel",
    "Policy": "gbveval.disclosure.policy",
    "Released": "gbveval.disclosure.released",
    "Section": "gbveval.reporting.report",
    "SiteEffects": "gbveval.data.sites",
    "Survey": "gbveval.data.survey",
    "Table": "gbveval.core.table",
    "Trial": "gbveval.data.trial",
    "TwoWayFixedEffects": "gbveval.estimators.did.two_way_fixed_effects",
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

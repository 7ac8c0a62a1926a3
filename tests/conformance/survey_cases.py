"""Cases of values of a surveyed population."""

from __future__ import annotations

import gbveval as gbv
from gbveval.testing.case import Case
from gbveval.testing.processes import SurveyFrames
from gbveval.testing.survey_processes import AmountFrames, AreaFrames, FiniteFrames, IndependentFrames

NONE: frozenset[str] = frozenset()
ONE_LEVEL = "limits that are not value +- quantile x standard error hold at one level"
LEVELS = {"check_wider_level_gives_a_wider_interval": ONE_LEVEL}


def _share(interval: str) -> Case:
    frames = SurveyFrames(psu_per_stratum=8, target="share")
    exempt = {} if interval == "t" else LEVELS
    estimator = gbv.Prevalence(interval=interval)
    return Case(estimator, frames, equivariant=NONE, n_draws=300, exempt=exempt, slack=0.02, note=interval)


SURVEYS = (
    *(_share(interval) for interval in ("t", "korn_graubard", "wilson", "likelihood", "arcsine")),
    Case(gbv.SurveyMean(), AmountFrames(), equivariant=NONE, n_draws=400),
    Case(gbv.SurveyMean(by="group"), AmountFrames(psu_per_stratum=6), equivariant=NONE, n_draws=300, note="groups"),
    Case(gbv.SurveyMean(), FiniteFrames(), equivariant=NONE, n_draws=400, note="two finite stages"),
    Case(gbv.SurveyMean(), AmountFrames(variance="jackknife"), equivariant=NONE, n_draws=200, note="jackknife"),
    Case(
        gbv.SurveyMean(),
        AmountFrames(variance="bootstrap"),
        equivariant=NONE,
        n_draws=150,
        exempt={"check_names_do_not_matter": "units are drawn in the order of their names"},
        note="bootstrap",
    ),
    Case(gbv.SurveyMean(), AmountFrames(variance="raked"), equivariant=NONE, n_draws=200, note="raked"),
    Case(gbv.SurveyTotal(), AmountFrames(target="total"), equivariant=NONE, n_draws=300),
    Case(
        gbv.SurveyRatio("y", "months"),
        AmountFrames(target="ratio"),
        equivariant=NONE,
        n_draws=300,
        exempt={"check_constant_outcome_has_no_standard_error": "the denominator still varies, and so does the ratio"},
    ),
    Case(gbv.SurveyRegression("x"), AmountFrames(target="slope"), equivariant=NONE, n_draws=300),
    Case(
        gbv.SurveyRegression("exposed", family="poisson"),
        SurveyFrames(target="ratio"),
        equivariant=NONE,
        n_draws=200,
        slack=0.02,
        note="shares",
    ),
    Case(
        gbv.PooledPrevalence("group", average=gbv.Normal(0, 1), between_sd=gbv.HalfNormal(0.7), n_draws=1000),
        AreaFrames(),
        equivariant=NONE,
        n_draws=120,
        slack=0.015,
    ),
    Case(gbv.RaoScottTest("group"), IndependentFrames(), equivariant=NONE, n_draws=600, slack=0.015),
    Case(gbv.SurveyQuantile(), AmountFrames(target="median"), equivariant=NONE, n_draws=300, exempt=LEVELS, slack=0.02),
)

"""What a number is an estimate of: a frozen value that is declared before the data are seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

EFFECTS: Final = {
    "ITT": "effect of being assigned",
    "ATE": "average treatment effect",
    "ATT": "average effect on the treated",
    "LATE": "average effect on those who take it up because they were assigned",
    "group_time_ATT": "average effect on a cohort in a period",
    "dose_ATT": "average effect of a dose on those who got it",
    "ACRT": "average effect of one more unit of dose, if doses were not chosen by what they do",
    "association": "association, not an effect",
    "prevalence": "prevalence",
    "population_value": "value in the population",
    "direct_effect": "effect of being assigned oneself, what is assigned to others held as it is",
    "indirect_effect": "effect on those not assigned of what is assigned to others",
    "total_effect": "effect of being assigned oneself and of what is assigned to others, together",
    "overall_effect": "effect of the saturation on everybody, assigned or not",
    "site_effect": "effect in a site",
    "average_effect": "average effect over sites",
    "new_site_effect": "effect in a new site",
    "effect_moderation": "difference in effect between sites that differ by one unit of a moderator",
    "control_mean": "mean outcome in control",
    "sensitivity": "share of events that are reported",
    "control_effect_correlation": "correlation over sites of control mean and effect",
    "between_site_sd": "standard deviation of effects between sites",
    "between_study_sd": "standard deviation of effects between studies",
    "within_study_sd": "standard deviation of effects within a study",
    "between_subgroup_sd": "standard deviation of effects between subgroups",
    "between_strata_share": "share of the variance between people that lies between intersectional strata",
    "between_sites_share": "share of the variance between people that lies between sites",
    "main_effects_share": "share of the variance between intersectional strata that main effects account for",
    "stratum_level": "level of the outcome in an intersectional stratum",
    "interaction": "departure of an intersectional stratum from the sum of main effects",
    "arm_mean": "average outcome if everybody were assigned to the arm",
    "intracluster_correlation": "share of the variance that lies between clusters",
    "nuisance": "a coefficient of the working model, without a causal reading",
    "pretest": "test that all pre-treatment differences are zero",
}
# What sites that differ in one thing, and so in others, cannot say of causes.
ACROSS: Final = ("effect_moderation", "control_mean", "sensitivity", "control_effect_correlation", "interaction")
# Rows whose value is a level of the population, of which nobody asks whether it is zero.
LEVELS: Final = (
    "prevalence",
    "population_value",
    "between_strata_share",
    "between_sites_share",
    "main_effects_share",
    "stratum_level",
)
CONTRASTS: Final = {
    "mean_difference": "identity",
    "risk_difference": "identity",
    "mean_difference_per_unit": "identity",
    "standardised_mean_difference": "identity",
    "arcsine_difference": "identity",
    "risk_ratio": "log",
    "odds_ratio": "log",
    "rate_ratio": "log",
    "mean_ratio": "log",
    "probit_difference": "identity",
    "prevalence_ratio": "log",
    "prevalence_difference": "identity",
    "attributable_fraction": "identity",
    "prevented_fraction": "identity",
    "relative_excess_risk": "identity",
    "attributable_proportion": "identity",
    "synergy_index": "log",
    "quantile_difference": "identity",
    "win_probability": "logit",
    "win_difference": "identity",
    "win_odds": "log",
    "win_ratio": "log",
    "mean": "identity",
    "total": "identity",
    "ratio_of_totals": "identity",
    "quantile": "identity",
    "proportion": "logit",
    "rate": "log",
    "log_odds_ratio": "identity",
    "standard_deviation": "identity",
    "variance": "identity",
    "correlation": "identity",
    "share": "identity",
    "none": "identity",
}
POPULATIONS: Final = (
    "participant_average",
    "cluster_average",
    "treated",
    "compliers",
    "always_observed",
    "without_at_baseline",
    "with_at_baseline",
    "subgroup",
    "sites",
    "survey_population",
    "target_population",
    "sample",
)


@dataclass(frozen=True, slots=True)
class Estimand:
    """A quantity to learn: what effect, in which contrast, for whom, on which scale.

    Parameters
    ----------
    effect : str
        One of `EFFECTS`: "ITT", "ATT", "association", ...
    contrast : str
        One of `CONTRASTS`: "risk_difference", "rate_ratio", ...
    population : str
        Over whom the average is taken: "participant_average", "cluster_average", "treated", ...
    scale : str
        "marginal" (compares populations) or "conditional" (compares people alike in the covariates). They differ
        for odds ratios and must never be compared.

    Examples
    --------
    >>> Estimand("ITT", "risk_ratio").link
    'log'
    """

    effect: str
    contrast: str
    population: str = "participant_average"
    scale: str = "marginal"

    def __post_init__(self) -> None:
        for name, known in (("effect", EFFECTS), ("contrast", CONTRASTS), ("population", POPULATIONS)):
            value = getattr(self, name)
            if value not in known:
                raise ValueError(f"{name} {value!r} is not known; choose one of {', '.join(known)}.")
        if self.scale not in ("marginal", "conditional"):
            raise ValueError(f"scale must be 'marginal' or 'conditional', not {self.scale!r}.")

    @property
    def link(self) -> str:
        """The scale on which estimate and covariance are kept: identity, log or logit."""
        return CONTRASTS[self.contrast]

    @property
    def is_causal(self) -> bool:
        """Whether a report may speak of an effect; an association never is one."""
        return self.effect not in (
            "association",
            *LEVELS,
            "intracluster_correlation",
            "nuisance",
            "pretest",
            *ACROSS,
        )

    def words(self) -> str:
        """Return the estimand as a reader would say it."""
        contrast = self.contrast.replace("_", " ")
        whom = self.population.replace("_", " ")
        return f"{EFFECTS[self.effect]} ({contrast}; {whom}; {self.scale})"

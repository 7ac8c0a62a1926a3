"""`RandomEffects`: what several sites' estimates say together, without a prior."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from gbveval.core.errors import DesignError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.method import Check, Method
from gbveval.core.registry import register
from gbveval.core.term import Term
from gbveval.data.sites import SiteEffects
from gbveval.multisite._pooled_line import (
    EQUAL,
    Combination,
    assemble,
    design,
    line_rows,
    moderator_checks,
    moderator_test,
    new_site,
    parse_at,
    require_enough,
    require_independent,
    terms_of,
    weight_check,
)
from gbveval.multisite.normal_hierarchy import SPREAD
from gbveval.numerics.inference import check_level, t_quantile
from gbveval.numerics.random_effects import (
    INFERENCES,
    METHODS,
    RandomEffectsFit,
    fit_random_effects,
    q_profile,
)

WORDS = {
    "REML": "restricted maximum likelihood",
    "ML": "maximum likelihood",
    "DL": "DerSimonian and Laird's moments",
    "PM": "Paule and Mandel's moments",
    "EB": "empirical Bayes",
    "HE": "Hedges's unweighted moments",
    "SJ": "Sidik and Jonkman's model errors",
    "EE": "none: effects are taken to be equal in all sites",
}
AT_EDGE = "an sd of zero lies at the edge, where no standard error holds; read the interval"


@register("random_effects")
@dataclass(frozen=True, slots=True)
class RandomEffects:
    """Average of site effects that differ, weighted by what each site knows, and the effect in a new site.

    Parameters
    ----------
    method : str
        How the variance between sites is estimated: "REML" (default), "ML", "DL" (DerSimonian-Laird), "PM"
        (Paule-Mandel), "EB" (empirical Bayes; the same solution as PM), "HE" (Hedges), "SJ" (Sidik-Jonkman), or "EE":
        the effect is taken to be the same in every site, and no effect in a new site is given.
    inference : str
        "hartung_knapp" (default; t with sites less coefficients), "truncated_hartung_knapp" (the same, never narrower
        than weights alone would give; recommended below five sites), or "normal" (too narrow with few sites).
    at : mapping of str to float, optional
        Moderators of the new site, in the units of the data; those not named are at their mean over the sites.
    level : float
        Level of the intervals. That of the between-site sd inverts a test and holds at this level only.

    Raises
    ------
    DesignError
        If an option is not known, or several rows come from one study.

    Notes
    -----
    **Identifies** the average effect over a population of sites, each site's own effect drawn towards the average
    (empirical Bayes), and the effect in a new site, whose interval (variance between sites plus that of the average, on
    the same reference distribution) is the widest. With moderators the average is that at their means, and a slope is
    an association between sites, however well each was randomised.

    **Valid when** site estimates are independent and close to normal with standard errors that are nearly known.
    **Do not use when** outcomes are rare (`MantelHaenszel`, `OneStage`), when rows share people or a study
    (`RobustEffects`), or with two to five sites and past evidence (`NormalHierarchy` with a prior says more).
    With two to four sites Hartung-Knapp intervals have their level but may be very wide, or by chance absurdly narrow:
    take the truncated form. Intervals of site effects treat the between-site variance as known and are too narrow when
    it is small and poorly known. The interval of the new site reaches its level with ten sites or more, and falls short
    with fewer (Partlett and Riley 2017).

    References
    ----------
    DerSimonian and Laird (1986), Controlled Clinical Trials 7. Hartung and Knapp (2001), Statistics in Medicine 20.
    Knapp and Hartung (2003), Statistics in Medicine 22. Viechtbauer (2007), Statistics in Medicine 26. Higgins,
    Thompson and Spiegelhalter (2009), JRSS A 172. Partlett and Riley (2017), Statistics in Medicine 36. Rover, Knapp
    and Friede (2015), BMC Medical Research Methodology 15, for the truncated form.

    Examples
    --------
    >>> sites = SiteEffects({"y": [0.2, 0.4, 0.3, 0.9], "se": [0.1, 0.1, 0.2, 0.2]}, estimate="y", std_error="se")
    >>> answer = RandomEffects().estimate(sites)
    >>> [row.term for row in answer.terms][-2:]
    ['effect in a new site', 'between-site sd']
    >>> bool(0.2 < answer["average effect"].value < 0.9)
    True
    """

    method: str = "REML"
    inference: str = "hartung_knapp"
    at: Any = ()
    level: float = 0.95
    name: ClassVar[str] = "random_effects"

    def __post_init__(self) -> None:
        for what, value, known in (("method", self.method, METHODS), ("inference", self.inference, INFERENCES)):
            if value not in known:
                raise DesignError(f"{what} must be one of {', '.join(known)}, not {value!r}.")
        try:
            check_level(self.level)
        except (TypeError, ValueError) as error:
            raise DesignError(f"level must be a number between 0 and 1, not {self.level!r}.") from error
        object.__setattr__(self, "at", parse_at(self.at))

    def estimate(self, data: SiteEffects, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return the average effect, each site's, a new site's, and the between-site sd.

        Parameters
        ----------
        data : SiteEffects
            One estimate and standard error a site.
        rng : numpy.random.Generator, optional
            Ignored: nothing is random.

        Raises
        ------
        DesignError
            If several rows come from one study, or `at` names no moderator.
        IdentificationError
            If sites are no more than coefficients, or moderators are collinear.
        """
        fit = fit_line(data, self)
        reason = ""
        if fit.scale <= EQUAL:
            reason = (
                "the sites' effects lie on the line exactly, which leaves the Hartung-Knapp interval no width; use "
                'inference="truncated_hartung_knapp"'
            )
        rows = line_rows(data, self.at)
        if self.method != "EE":
            rows += [*_site_rows(data, fit), new_site(data, self.at, fit.tau2)]
        extra = (("i_squared", fit.i_squared), ("log_likelihood", fit.log_likelihood))
        terms, covariance = terms_of(
            data, rows, fit.coefficients, fit.covariance, df=fit.df, reason=reason, extra=extra
        )
        if self.method != "EE":
            terms.append(self._spread(data, fit))
        terms += moderator_test(data, fit.coefficients, fit.covariance, df2=fit.df, reason=reason)
        return assemble(
            self, data, terms, covariance, method=self._words(data), checks=_checks(self, data, fit), level=self.level
        )

    def _spread(self, data: SiteEffects, fit: RandomEffectsFit) -> Term:
        """Return the between-site sd, with its Q-profile interval and Cochran's test."""
        tau = float(np.sqrt(fit.tau2))
        low, high = q_profile(data.estimate, data.std_error**2, design(data), level=self.level)
        return Term(
            term=SPREAD,
            estimand=Estimand("between_site_sd", "standard_deviation", "sites"),
            outcome=data.outcome,
            value=tau,
            std_error=fit.se_tau2 / (2.0 * tau) if tau > 0 else None,
            reason="" if tau > 0 else AT_EDGE,
            interval=(float(np.sqrt(low)), float(np.sqrt(high))),
            interval_level=self.level,
            statistic=fit.q,
            df=float(fit.q_df),
            p_value=fit.q_p_value,
            support=tuple(cell for cells in data.support for cell in cells),
        )

    def _words(self, data: SiteEffects) -> Method:
        normal = self.inference == "normal"
        small = {
            "hartung_knapp": "Hartung-Knapp scaling by the spread found about the average",
            "truncated_hartung_knapp": "Hartung-Knapp scaling, never below one",
            "normal": "none",
        }[self.inference]
        line = "a line in the moderators" if data.moderator_names else "their average"
        equal = self.method == "EE"
        return Method(
            sample=f"{data.n} sites, each with an estimate and a standard error taken as known",
            std_error=f"inverse-variance weights; variance between sites by {WORDS[self.method]}",
            small_sample=small,
            reference="normal"
            if normal
            else "t with the number of sites less that of coefficients; Q-profile for the sd",
            inference_for="these sites" if equal else "a population of sites, of which these are exchangeable members",
            assumptions=(
                "site estimates are independent and normal about each site's effect",
                "effects are the same in all sites" if equal else f"effects are normal about {line}",
            ),
            source="DerSimonian and Laird 1986; Hartung and Knapp 2001; Viechtbauer 2007",
        )


def fit_line(data: SiteEffects, model: RandomEffects) -> RandomEffectsFit:
    """Return the numeric fit of checked site effects."""
    require_independent(data, "RandomEffects")
    require_enough(data)
    return fit_random_effects(
        data.estimate, data.std_error**2, design(data), method=model.method, inference=model.inference
    )


def _site_rows(data: SiteEffects, fit: RandomEffectsFit) -> list[Combination]:
    """Return each site's effect drawn to the line: with share s = t / (t + v), s y + (1 - s) x'b.

    Its error is (1 - s) x'(error of b) and an independent part of variance s v.
    """
    v = data.std_error**2
    share = fit.tau2 / (fit.tau2 + v)
    x = design(data)
    return [
        Combination(
            f"effect in {label}",
            "site_effect",
            (1.0 - share[i]) * x[i],
            float(share[i] * v[i]),
            float(share[i] * data.estimate[i]),
            i,
        )
        for i, label in enumerate(data.labels)
    ]


def _checks(model: RandomEffects, data: SiteEffects, fit: RandomEffectsFit) -> list[Check]:
    text = (
        f"Q = {fit.q:.2f} on {fit.q_df} degrees of freedom, p = {fit.q_p_value:.3f}; {fit.i_squared:.0f} % of the "
        "variance lies between sites. Whether that is much is said by the between-site sd, in units of the effect (of "
        "its log, for ratios)."
    )
    found = [Check("heterogeneity", "info", text)]
    if data.n < 5 and model.inference != "truncated_hartung_knapp":
        text = (
            f"with {data.n} sites take inference='truncated_hartung_knapp': the plain form is by chance far too narrow "
            "when the sites happen to agree, and the normal one is too narrow always."
        )
        found.append(Check("few sites", "warn", text))
    elif data.n < 10 and model.inference == "normal":
        found.append(Check("few sites", "warn", f"normal intervals of {data.n} sites are too narrow."))
    quantiles = t_quantile(0.5 + model.level / 2.0, [fit.df, np.inf])
    if model.inference == "hartung_knapp" and quantiles[0] * np.sqrt(fit.scale) < quantiles[1]:
        text = (
            f"sites agree better than their standard errors and the between-site sd say (factor {fit.scale:.2f}): the "
            "interval is narrower than the normal one. Show the truncated form beside it."
        )
        found.append(Check("agreement", "warn", text))
    if fit.tau2 == 0.0 and model.method != "EE":
        text = (
            "the between-site sd is estimated as zero, which is no evidence that sites do not differ: see its interval."
        )
        found.append(Check("between-site sd", "info", text))
    return found + moderator_checks(data, data.n) + weight_check(fit.weights, data.labels)

"""`MultilevelEffects`: pooling several effects of each study, by a model with studies and effects within them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from gbveval.core.errors import DesignError, IdentificationError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.method import Check, Method
from gbveval.core.registry import register
from gbveval.core.term import Term
from gbveval.data._frame import Labels
from gbveval.data.sites import SiteEffects
from gbveval.multisite._pooled_line import (
    Combination,
    assemble,
    design,
    line_rows,
    moderator_checks,
    moderator_test,
    parse_at,
    position,
    require_enough,
    require_sites,
    terms_of,
)
from gbveval.numerics.nested_effects import NestedFit, fit_nested_effects

BETWEEN, WITHIN, NEW_STUDY = "between-study sd", "within-study sd", "effect in a new study"
NO_ERROR = "no standard error is given: with few studies the likelihood of an sd is skewed"
# Below this many studies degrees of freedom by effects promise more than is there.
FEW = 40


@register("multilevel_effects")
@dataclass(frozen=True, slots=True)
class MultilevelEffects:
    """Average of effects of which a study gives several, by a three-level model.

    Effects differ between studies and, within a study, between its rows; each row has a known standard error. Both
    variances are estimated by restricted maximum likelihood.

    Parameters
    ----------
    inference : str
        "t" (default; rows less coefficients) or "normal".
    at : mapping of str to float, optional
        Moderators of the new study, in the units of the data; those not named are at their mean over the rows.

    Raises
    ------
    DesignError
        If an option is not known, or the sites have no study.

    Notes
    -----
    **Identifies** the average effect over a population of studies, weighting a study by what its rows say together.

    **Valid when** the errors of a study's rows are independent given its effect: outcomes of different people. **Do not
    rely on its standard error when** rows share people, as several outcomes of one survey do, or when studies are fewer
    than forty: both degrees of freedom offered count rows, not studies. `RobustEffects` on the same model holds then.

    References
    ----------
    Konstantopoulos (2011), Research Synthesis Methods 2. Van den Noortgate and others (2013), Behavior Research Methods
    45.

    Examples
    --------
    >>> frame = {"y": [0.0, 0.2, 1.0, 1.2], "se": [0.1] * 4, "paper": ["a", "a", "b", "b"]}
    >>> sites = SiteEffects(frame, estimate="y", std_error="se", study="paper")
    >>> answer = MultilevelEffects().estimate(sites)
    >>> round(answer["average effect"].value, 3), round(answer["between-study sd"].value, 3)
    (0.6, 0.7)
    """

    inference: str = "t"
    at: Any = ()
    name: ClassVar[str] = "multilevel_effects"

    def __post_init__(self) -> None:
        if self.inference not in ("t", "normal"):
            raise DesignError(f"inference must be t or normal, not {self.inference!r}.")
        object.__setattr__(self, "at", parse_at(self.at))

    def estimate(self, data: SiteEffects, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return the average effect, that in a new study, and the sds between and within studies.

        Parameters
        ----------
        data : SiteEffects
            With the role study.
        rng : numpy.random.Generator, optional
            Ignored: nothing is random.

        Raises
        ------
        DesignError
            If there is no study, or `at` names no moderator.
        IdentificationError
            If there are fewer than two studies, or every study has a single row.
        """
        study = require_study(data, self.name)
        fit = nested(data, study)
        df = float(data.n - len(fit.coefficients)) if self.inference == "t" else np.inf
        rows = line_rows(data, self.at)
        variance = fit.between + fit.within
        rows.append(Combination(NEW_STUDY, "new_site_effect", position(data, self.at), variance))
        extra = (("cochran_q", fit.q), ("log_likelihood", fit.log_likelihood))
        terms, covariance = terms_of(
            data, rows, fit.coefficients, fit.covariance, df=df, extra=extra, n_clusters=study.count
        )
        terms += [
            Term(
                term=label,
                estimand=Estimand(effect, "standard_deviation", "sites"),
                outcome=data.outcome,
                value=float(np.sqrt(value)),
                std_error=None,
                reason=NO_ERROR,
                n_clusters=study.count,
                support=tuple(cell for cells in data.support for cell in cells),
            )
            for label, effect, value in (
                (BETWEEN, "between_study_sd", fit.between),
                (WITHIN, "within_study_sd", fit.within),
            )
        ]
        terms += moderator_test(data, fit.coefficients, fit.covariance, df2=df)
        checks = moderator_checks(data, study.count, "studies")
        if study.count < FEW:
            text = f"{study.count} studies: degrees of freedom count rows, not studies. Show RobustEffects beside it."
            checks.append(Check("few studies", "warn", text))
        words = Method(
            sample=f"{data.n} effects of {study.count} studies, with standard errors taken as known",
            std_error="that of the model; variances between and within studies by restricted maximum likelihood",
            small_sample="none",
            reference="normal" if self.inference == "normal" else "t with rows less coefficients",
            inference_for="a population of studies, of which these are exchangeable members",
            assumptions=(
                "errors of a study's rows are independent: the rows are of different people",
                "effects are normal, between studies and within them",
            ),
            source="Konstantopoulos 2011",
        )
        return assemble(self, data, terms, covariance, method=words, checks=checks)


def require_study(data: SiteEffects, name: str) -> Labels:
    """Return the studies; raise where there are none, or too few."""
    require_sites(data, name)
    if data.study is None:
        raise DesignError(f"{name} needs the role study: which rows come from one study. Declare it in SiteEffects.")
    require_enough(data)
    p = 1 + len(data.moderator_names)
    if data.study.count <= p:
        raise IdentificationError(
            f"{data.study.count} studies are too few for {p} coefficients; at least {p + 1} are needed. With one study "
            "report that study."
        )
    return data.study


def nested(data: SiteEffects, study: Labels) -> NestedFit:
    """Return the three-level fit; single rows in every study cannot tell the two variances apart."""
    if study.count == data.n:
        raise IdentificationError(
            "Every study has a single row, so variation between and within studies cannot be told apart. Use "
            "RandomEffects."
        )
    return fit_nested_effects(data.estimate, data.std_error**2, design(data), study.codes)

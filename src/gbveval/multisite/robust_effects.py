"""`RobustEffects`: pooling several effects of each study, whatever their dependence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError
from gbveval.core.estimates import Estimates
from gbveval.core.method import Check, Method
from gbveval.core.registry import register
from gbveval.core.term import Term
from gbveval.data._frame import Labels
from gbveval.data.sites import SiteEffects
from gbveval.multisite._pooled_line import (
    assemble,
    design,
    joint_row,
    line_rows,
    moderator_checks,
    moderator_test,
    parse_at,
    terms_of,
)
from gbveval.multisite.multilevel_effects import nested, require_study
from gbveval.numerics.cluster_sandwich import ClusterMoments, ClusterRobust, satterthwaite
from gbveval.numerics.cluster_wald import cluster_wald
from gbveval.numerics.nested_effects import marginal_covariance
from gbveval.numerics.random_effects import between_variance
from gbveval.numerics.robust_effects import SMALL_SAMPLE, robust_effects

FloatArray = NDArray[np.float64]
MODELS = ("multilevel", "random_effects")
# Below this Satterthwaite's approximation is known to reject too often (Tipton 2015).
FEW_DF = 4.0


@register("robust_effects")
@dataclass(frozen=True, slots=True)
class RobustEffects:
    """Average of effects of which a study gives several, with a variance that holds whatever their dependence.

    A working model gives the weights; the variance is taken from how studies scatter, not from the model.

    Parameters
    ----------
    working_model : str
        "multilevel" (default; effects in studies, as `MultilevelEffects`) or "random_effects" (rows taken as
        independent, for the weights only).
    small_sample : str
        "CR2" (default; unbiased if the working model holds, with Satterthwaite degrees of freedom) or "CR1" (studies
        over studies less coefficients; too small with few studies).
    at : mapping of str to float, optional
        Moderators at which the average is wanted, in the units of the data; those not named are at their mean.

    Raises
    ------
    DesignError
        If an option is not known, or the sites have no study.

    Notes
    -----
    **Identifies** the average effect over a population of studies, with the working model's weights.

    **Valid when** studies are independent of each other. Rows of a study may share people, controls, or nothing.
    **Do not use when** degrees of freedom fall below four: the test then rejects too often, and the checks say so. A
    moderator that varies in few studies has few degrees of freedom, however many studies there are.

    References
    ----------
    Hedges, Tipton and Johnson (2010), Research Synthesis Methods 1. Tipton (2015), Psychological Methods 20. Tipton and
    Pustejovsky (2015), Journal of Educational and Behavioral Statistics 40. Pustejovsky and Tipton (2022), Prevention
    Science 23, for working models.

    Examples
    --------
    >>> frame = {"y": [0.1, 0.3, 0.8, 1.0, 0.2, 0.0], "se": [0.1] * 6, "paper": ["a", "a", "b", "b", "c", "c"]}
    >>> sites = SiteEffects(frame, estimate="y", std_error="se", study="paper")
    >>> answer = RobustEffects().estimate(sites)
    >>> round(answer["average effect"].value, 3), round(answer["average effect"].df, 3)
    (0.4, 2.0)
    """

    working_model: str = "multilevel"
    small_sample: str = "CR2"
    at: Any = ()
    name: ClassVar[str] = "robust_effects"

    def __post_init__(self) -> None:
        for what, value, known in (
            ("working_model", self.working_model, MODELS),
            ("small_sample", self.small_sample, SMALL_SAMPLE),
        ):
            if value not in known:
                raise DesignError(f"{what} must be one of {', '.join(known)}, not {value!r}.")
        object.__setattr__(self, "at", parse_at(self.at))

    def estimate(self, data: SiteEffects, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return the average effect and the slopes.

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
            If studies are no more than coefficients.
        """
        study = require_study(data, self.name)
        coefficients, robust = robust_effects(
            data.estimate, design(data), self._working(data, study), study.codes, kind=self.small_sample
        )
        covariance = robust.covariance[:, :, 0]
        rows = line_rows(data, self.at)
        df = _degrees(np.array([row.vector for row in rows]), robust)
        terms, joint = terms_of(data, rows, coefficients, covariance, df=df, n_clusters=study.count)
        terms += self._joint_test(data, study, coefficients, robust)
        return assemble(self, data, terms, joint, method=self._words(data, study), checks=_checks(data, study, df))

    def _working(self, data: SiteEffects, study: Labels) -> FloatArray:
        v = data.std_error**2
        if self.working_model == "random_effects":
            tau2 = between_variance(data.estimate, v, design(data), method="REML")[0]
            return np.diag(v + tau2)
        fit = nested(data, study)
        return marginal_covariance(v, study.codes, fit.between, fit.within)

    def _joint_test(
        self, data: SiteEffects, study: Labels, coefficients: FloatArray, robust: ClusterRobust
    ) -> list[Term]:
        """Return the test that no moderator matters; with CR2 by Hotelling's T squared (AHT)."""
        if not data.moderator_names:
            return []
        covariance = robust.covariance[:, :, 0]
        if robust.moments is None:
            return moderator_test(data, coefficients, covariance, df2=float(study.count - len(coefficients)))
        constraints = np.eye(len(coefficients))[1:]
        found = cluster_wald(coefficients, covariance, constraints, robust.moments)
        return [joint_row(data, found.statistic, float(found.df), found.df2, found.p_value)]

    def _words(self, data: SiteEffects, study: Labels) -> Method:
        bias_reduced = self.small_sample == "CR2"
        model = self.working_model.replace("_", " ")
        return Method(
            sample=f"{data.n} effects of {study.count} studies",
            std_error=f"robust to dependence within studies; weights of a working model ({model}, REML)",
            small_sample="CR2, bias-reduced" if bias_reduced else "CR1, studies over studies less coefficients",
            reference="t with Satterthwaite's degrees of freedom" if bias_reduced else "t, studies less coefficients",
            inference_for="a population of studies",
            assumptions=("studies are independent of each other",),
            source="Hedges, Tipton and Johnson 2010; Pustejovsky and Tipton 2018",
        )


def _degrees(vectors: FloatArray, robust: ClusterRobust) -> FloatArray:
    """Return degrees of freedom for combinations of the coefficients."""
    if robust.moments is None:
        return np.full(len(vectors), robust.df[0])
    moments = robust.moments
    turned = ClusterMoments(moments.lifted @ vectors.T, vectors @ moments.own @ vectors.T, moments.kernel)
    return satterthwaite(turned)


def _checks(data: SiteEffects, study: Labels, df: FloatArray) -> list[Check]:
    found = moderator_checks(data, study.count, "studies")
    least = float(np.min(df))
    if least < FEW_DF:
        text = (
            f"{least:.1f} degrees of freedom, of {study.count} studies: below four the test rejects too often, and the "
            "interval is too narrow."
        )
        found.append(Check("degrees of freedom", "warn", text))
    return found

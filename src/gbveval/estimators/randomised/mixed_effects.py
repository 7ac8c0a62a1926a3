"""`MixedEffects`: a regression with random intercepts, linear or for events and counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gbveval.core.errors import DesignError
from gbveval.core.estimates import Estimates
from gbveval.core.method import Check
from gbveval.core.registry import register
from gbveval.data.trial import Trial
from gbveval.estimators._assemble import arm_support, require_parallel
from gbveval.estimators._mixed_model import (
    Settings,
    build_model,
    check_clusters,
    check_options,
    check_random,
    fit_model,
    refuse_roles,
)
from gbveval.estimators._mixed_rows import assemble_mixed

# Enough that the quadrature error is far below the standard error, at the cost of a few sums over clusters.
DEFAULT_POINTS = 15
MOST_POINTS = 100
EVALUATIONS = ("converged", "lme4")


@register("mixed_effects")
@dataclass(frozen=True, slots=True)
class MixedEffects:
    """Effect of assignment from a regression with random intercepts for clusters.

    Parameters
    ----------
    family : str
        "gaussian" (identity link, by REML), "binomial" (logit link; with the role `exposure`, events out of that many
        opportunities) or "poisson" (log link; `exposure` is the time at risk).
    random : tuple of str
        Random intercepts by role, each with a variance of its own: ("cluster",), ("cluster", "cluster:time"),
        ("site", "cluster"). A colon means every combination of the two.
    df : str
        "auto", "kenward_roger" (gaussian; the default there), "satterthwaite" (gaussian), "between_within" (binomial
        and poisson; the default there) or "normal" (z).
    quadrature_points : int, optional
        For a single random intercept, binomial or poisson: points of adaptive Gauss-Hermite quadrature, 15 by default;
        1 is Laplace's method. Several random intercepts always use Laplace's method.
    period_effects : bool
        Whether each period has an intercept, when the trial declares `time`.
    evaluation : str
        "converged", or "lme4" to reproduce what was published with R's lme4 for a binomial or poisson outcome. lme4
        takes the determinant in its likelihood one step before the modes have converged; coefficients differ by about a
        thousandth of a standard error, standard errors by up to about one percent.

    Notes
    -----
    **Identifies** the effect of assignment if the model holds: effects that do not vary with cluster size, random
    intercepts independent of covariates. For a gaussian or poisson outcome it is the marginal effect. For binomial it
    is the odds ratio *conditional* on the cluster, which lies further from one than the marginal odds ratio and is not
    comparable with it.

    **Valid when** clusters are many, or df is "kenward_roger": for a normal outcome it was checked not to reject too
    often from 6 clusters on, equal or unequal in size. "between_within" was checked from 20 clusters on; "normal" needs
    more.

    **Do not use when** cluster size is informative (effects differ between small and large clusters): the model then
    targets neither the average over participants nor that over clusters; use `DifferenceInMeans`. Nor when clusters
    are fewer than about 6, nor for an odds ratio to be read as a risk ratio.

    After the effects come the other coefficients and the variances, without a causal reading. Columns `reml_criterion`,
    or `log_likelihood` and `deviance`, stand in the first row.

    References
    ----------
    Kenward and Roger (1997), Biometrics 53. Fai and Cornelius (1996), Journal of Statistical Computation and
    Simulation 54. Pinheiro and Bates (1995), Journal of Computational and Graphical Statistics 4. Li and Redden (2015),
    BMC Medical Research Methodology 15. Bates, Maechler, Bolker and Walker (2015), Journal of Statistical Software 67.

    Examples
    --------
    >>> import numpy as np
    >>> school = np.repeat(np.arange(8), 5)
    >>> frame = {"y": np.sin(np.arange(40)) + school % 2 + np.cos(3 * school), "school": school,
    ...          "arm": np.where(school % 2 == 1, "new", "usual")}
    >>> trial = Trial(frame, outcome="y", arm="arm", control="usual", cluster="school")
    >>> answer = MixedEffects().estimate(trial)
    >>> round(answer[0].df, 6)
    6.0
    """

    family: str = "gaussian"
    random: tuple[str, ...] = ("cluster",)
    df: str = "auto"
    quadrature_points: int | None = None
    period_effects: bool = True
    evaluation: str = "converged"
    name: ClassVar[str] = "mixed_effects"

    def __post_init__(self) -> None:
        object.__setattr__(self, "random", check_random(self.random))
        check_options(self.family, self.df)
        if self.evaluation not in EVALUATIONS:
            raise DesignError(f"evaluation must be one of {', '.join(EVALUATIONS)}, not {self.evaluation!r}.")
        points = self.quadrature_points
        if points is None:
            return
        if isinstance(points, bool) or not isinstance(points, int) or not 1 <= points <= MOST_POINTS:
            raise DesignError(f"quadrature_points is a whole number from 1 to {MOST_POINTS}, not {points!r}.")
        if self.family == "gaussian":
            raise DesignError("A gaussian outcome needs no quadrature; leave quadrature_points out.")
        if points > 1 and len(self.random) > 1:
            raise DesignError("Quadrature is for a single random intercept; with several, Laplace's method is used.")

    def estimate(self, data: Trial, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return the effect of each arm against control, the other coefficients and the variances.

        Parameters
        ----------
        data : Trial
            With one outcome and the roles that `random` names.
        rng : numpy.random.Generator, optional
            Ignored: nothing is random.

        Raises
        ------
        DesignError
            If the roles do not fit the model.
        IdentificationError
            If an arm has a single cluster, is collinear with covariates, or has no events.
        ConvergenceError
            If the likelihood has no maximum.
        """
        require_parallel("MixedEffects", data, crossover=True)
        refuse_roles(data, "MixedEffects", self.random)
        used = data.observed(0)
        check_clusters(data, used)
        small_sample = check_options(self.family, self.df)
        others = range(1, len(data.arms))
        arms = (data.arm[:, None] == np.array(others)).astype(float)
        labels = tuple(f"{data.arms[code]} vs {data.arms[0]}" for code in others)
        model = build_model(data, self.family, self.random, (arms, labels), periods=self.period_effects)
        points = DEFAULT_POINTS if self.quadrature_points is None else self.quadrature_points
        points = 1 if len(self.random) > 1 else points
        settings = Settings(self.family, small_sample, points, self.evaluation == "lme4")
        fitted = fit_model(model, settings, data.outcome_names[0])
        unit = np.eye(fitted.beta.size)
        effects = [
            (label, unit[fitted.names.index(label)], arm_support(data, 0, used, (0, code)))
            for code, label in zip(others, labels, strict=True)
        ]
        return assemble_mixed(self, data, model, fitted, settings=settings, effects=effects, checks=self._checks(data))

    def _checks(self, data: Trial) -> tuple[Check, ...]:
        if self.period_effects or not data.crosses_over:
            return ()
        text = "clusters change arm over time and periods have no effects in the model: trends are taken for effects."
        return (Check("periods", "warn", text),)

"""`Gee`: generalised estimating equations for outcomes that vary together within clusters or persons."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import ConvergenceError, DesignError, IdentificationError
from gbveval.core.estimates import Estimates
from gbveval.core.method import Check, Method
from gbveval.core.registry import register
from gbveval.data.trial import Trial
from gbveval.estimators._assemble import Row, all_samples, require_parallel
from gbveval.estimators._glm_fit import fit_glm
from gbveval.estimators._model_design import Design, build_design, check_outcome
from gbveval.estimators._model_rows import (
    CANONICAL,
    DEGREES,
    LINKS,
    Coefficients,
    check_choice,
    coefficient_rows,
    covariance_checks,
    degrees_of_freedom,
    finish,
    model_estimand,
    raise_unless_converged,
    reference_words,
)
from gbveval.numerics.gee import CORRELATIONS, MOMENTS, Layout, fay_graubard, layout, solve_gee
from gbveval.numerics.gee import Gee as Solution
from gbveval.numerics.glm import Family
from gbveval.numerics.glm_covariance import CoefficientCovariance, coefficient_covariance

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
# Each covariance in the words of least squares on rows that are whitened within clusters.
SANDWICHES = {"LZ": "CR0", "KC": "CR2", "MD": "CR3"}
STD_ERRORS = ("auto", *SANDWICHES, "FG", "model")
WORDS = {
    "LZ": ("sandwich of Liang and Zeger", "none"),
    "KC": ("sandwich of Kauermann and Carroll", "Kauermann-Carroll (bias-reduced)"),
    "MD": ("sandwich of Mancl and DeRouen", "Mancl-DeRouen (jackknife type)"),
    "FG": ("sandwich of Fay and Graubard", "Fay-Graubard, with a bound"),
    "model": ("model-based, from the working correlation", "none"),
}
FEW_CLUSTERS = 40


@register("gee")
@dataclass(frozen=True, slots=True)
class Gee:
    """Coefficients of arm, covariates and strata by generalised estimating equations.

    Groups of outcomes that vary together are the role `cluster`; where none is declared, the role `site`, inside which
    arms may vary. Contrasts follow from family and link as in `GeneralisedLinear`.

    Parameters
    ----------
    family : str
        "binomial", "poisson" or "gaussian".
    link : str, optional
        "logit", "probit", "log" or "identity"; the canonical one by default.
    correlation : str
        Working correlation: "exchangeable", "independence" or "ar1" (by position in the order of the role `time`).
    moment : str
        How its parameter is estimated: "no_parameter_correction" (over rows and pairs, as R's geepack) or
        "parameters_subtracted" (over rows and pairs less the coefficients, as R's gee and statsmodels).
    std_error : str
        "auto" (KC), "LZ" (Liang-Zeger), "KC" (Kauermann-Carroll), "MD" (Mancl-DeRouen), "FG" (Fay-Graubard) or "model".
    df : str
        "auto" (Satterthwaite with KC and MD, clusters minus one with LZ and FG, normal with "model"), "normal",
        "residual", "clusters_minus_1" or "satterthwaite".
    fg_bound : float
        Largest share of the information that FG corrects a cluster for.

    Notes
    -----
    **Identifies** the contrast between groups of people alike in the covariates, averaged over clusters' own levels, if
    the mean is right, whatever the correlation.

    **Valid when** there are enough clusters: LZ is too small below about 40. KC with Satterthwaite degrees of freedom
    keeps its size with about ten clusters an arm, less surely with fewer. With fewer than ten clusters of unequal size
    the exchangeable correlation often has no admissible estimate, and the answer is refused.

    **Do not use when** cluster size is informative: with an exchangeable correlation large clusters count for less than
    their people and for more than one cluster, so that it targets **neither the average over participants nor the
    average over clusters**. Independence targets the average over participants. Do not use FG to compare analyses with
    a covariate on different origins: it changes when a covariate is shifted.

    The columns `correlation` and `dispersion` of the first row hold the two moment estimates.

    References
    ----------
    Liang and Zeger (1986), Biometrika 73. Kauermann and Carroll (2001), Journal of the American Statistical Association
    96. Mancl and DeRouen (2001), Biometrics 57. Fay and Graubard (2001), Biometrics 57. Pustejovsky and Tipton (2018),
    Journal of Business and Economic Statistics 36.

    Examples
    --------
    >>> y = [0, 1, 0, 0, 1, 1, 0, 1, 1, 1, 0, 1, 1, 1, 0, 1]
    >>> frame = {"y": y, "g": [i // 2 for i in range(16)], "arm": ["usual"] * 8 + ["new"] * 8}
    >>> trial = Trial(frame, outcome="y", arm="arm", control="usual", cluster="g")
    >>> round(float(np.exp(Gee().estimate(trial)[0].value)), 6)
    3.0
    """

    family: str = "binomial"
    link: str | None = None
    correlation: str = "exchangeable"
    moment: str = "no_parameter_correction"
    std_error: str = "auto"
    df: str = "auto"
    fg_bound: float = 0.75
    name: ClassVar[str] = "gee"

    def __post_init__(self) -> None:
        families = ("binomial", "poisson", "gaussian")
        check_choice("family", self.family, families)
        check_choice(f"link of family {self.family!r}", self._family.link, LINKS[self.family])
        check_choice("correlation", self.correlation, CORRELATIONS)
        check_choice("moment", self.moment, MOMENTS)
        check_choice("std_error", self.std_error, STD_ERRORS)
        check_choice("df", self.df, DEGREES)
        if not 0.0 <= self.fg_bound < 1.0:
            raise DesignError("fg_bound is a share from 0 to below 1, such as 0.75.")

    @property
    def _family(self) -> Family:
        return Family(self.family, CANONICAL[self.family] if self.link is None else self.link)

    def estimate(self, data: Trial, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return each arm against control for each outcome, and the coefficients behind it.

        Parameters
        ----------
        data : Trial
            A trial with the role `cluster` or `site`.
        rng : numpy.random.Generator, optional
            Ignored: nothing is random.

        Raises
        ------
        DataError
            If an outcome is outside the range of the family.
        DesignError
            If roles and options do not fit each other.
        IdentificationError
            If an outcome is separated, an arm too small, or no cluster has two outcomes.
        ConvergenceError
            If the equations have no solution with a correlation that exists.
        """
        require_parallel("Gee", data)
        self._check(data)
        kind = "KC" if self.std_error == "auto" else self.std_error
        degrees = self._degrees(kind)
        by = "site" if data.cluster is None else "assignment"
        rows: list[Row] = []
        checks: list[Check] = []
        covariance = None
        for outcome in range(len(data.outcome_names)):
            checks += check_outcome(data, outcome, self.family, "Gee")
            design = build_design(data, outcome, name="Gee", log_link=self._family.link == "log", cluster_by=by)
            fit, solution = self._fit(data, outcome, design, (kind, degrees))
            found, order = coefficient_rows(data, outcome, design, fit, model_estimand(data, outcome, self._family))
            extra = (("correlation", solution.alpha), ("dispersion", solution.phi))
            rows += [replace(found[0], extra=extra), *found[1:]]
            checks += [*design.checks, *covariance_checks(SANDWICHES.get(kind, "CR0"), fit, design)]
            checks += _few_clusters(kind, design)
            if fit.found.influence is None:
                covariance = fit.found.covariance[np.ix_(order, order)].copy()
        return finish(self, data, rows, self._method(data, kind, degrees), checks, covariance)

    def _check(self, data: Trial) -> None:
        if data.cluster is None and data.site is None:
            raise DesignError(
                "Gee needs outcomes in groups; the trial declares neither cluster nor site. Use GeneralisedLinear, or "
                "declare the person as cluster where persons were measured several times."
            )
        if data.weight is not None:
            raise DesignError("Gee does not take the role 'weight'. Use GeneralisedLinear with CR2, which takes it.")
        if self.correlation == "ar1" and data.time is None:
            raise DesignError("The correlation ar1 needs the order of outcomes: declare the role `time`.")
        if self.std_error == "model" and len(data.outcome_names) > 1:
            raise DesignError(
                "A model-based standard error does not say how several outcomes vary together. Use KC, or one outcome "
                "at a time."
            )

    def _degrees(self, kind: str) -> str:
        if self.df != "auto":
            return self.df
        if kind == "model":
            return "normal"
        return "satterthwaite" if kind in ("KC", "MD") else "clusters_minus_1"

    def _fit(
        self, data: Trial, outcome: int, design: Design, inference: tuple[str, str]
    ) -> tuple[Coefficients, Solution]:
        kind, degrees = inference
        name = data.outcome_names[outcome]
        assert design.cluster is not None
        time = np.zeros(design.y.size) if data.time is None else data.time.codes[design.used]
        order = np.lexsort((time, design.cluster))
        groups = layout(design.cluster[order])
        self._check_pairs(groups, len(design.labels))
        z, y = design.z[order], design.y[order]
        offset = None if design.offset is None else design.offset[order]
        start = fit_glm(self._family, z, y, offset=offset)
        raise_unless_converged(design, start, name, "Merge categories, or leave such a column out.")
        solution = solve_gee(
            self._family,
            z,
            y,
            start.gamma,
            groups,
            correlation=self.correlation,
            moment=self.moment,
            offset=offset,
        )
        if not solution.converged:
            raise ConvergenceError(
                f"The estimating equations of outcome {name!r} have no solution with a working correlation that "
                "exists; a large cluster can rule out the estimated one. Use correlation='independence'."
            )
        found = self._covariance(solution, groups, design, kind)
        df = degrees_of_freedom(degrees, kind, design, found.df)
        return Coefficients(design.basis.to_original @ solution.gamma, found, df, y), solution

    def _check_pairs(self, groups: Layout, k: int) -> None:
        less = k if self.moment == "parameters_subtracted" else 0
        if self.correlation != "independence" and groups.pairs <= less:
            raise IdentificationError(
                f"The clusters hold {groups.pairs:.0f} pairs of outcomes, which cannot tell a correlation. Use "
                "correlation='independence' or GeneralisedLinear."
            )

    def _covariance(self, solution: Solution, groups: Layout, design: Design, kind: str) -> CoefficientCovariance:
        lift = design.basis.to_original
        sandwich = kind if kind == "model" else SANDWICHES.get(kind, "CR0")
        found = coefficient_covariance(
            solution.design, solution.residual, lift, sandwich, dispersion=solution.phi, cluster=groups.cluster
        )
        if found is None:
            raise ConvergenceError(
                "The information of the estimating equations is singular at their solution. Use fewer covariates, or "
                "merge small categories."
            )
        if kind != "FG":
            return found
        influence = fay_graubard(solution.design, solution.residual, groups, lift, self.fg_bound)
        return CoefficientCovariance(influence.T @ influence, influence, None)

    def _method(self, data: Trial, kind: str, degrees: str) -> Method:
        std_error, small = WORDS[kind]
        groups = "clusters" if data.cluster is not None else "sites"
        return Method(
            sample=all_samples(data),
            std_error=f"{std_error}, working correlation {self.correlation}",
            small_sample=small,
            reference=reference_words(degrees),
            inference_for=f"a superpopulation of {groups} whose size is unrelated to the effect",
            assumptions=(
                "arms were assigned at random as declared",
                f"the {self._family.link} of the mean is linear in the covariates, with one effect for everybody",
                "cluster size is unrelated to the effect, or the correlation is independence",
                "one cluster's assignment does not change another's outcome",
                "outcomes are missing for reasons unrelated to the outcome",
            ),
            source="Liang and Zeger 1986",
        )


def _few_clusters(kind: str, design: Design) -> list[Check]:
    count = design.n_clusters or 0
    if kind != "LZ" or count >= FEW_CLUSTERS:
        return []
    text = f"with {count} clusters the standard error of Liang and Zeger is too small; KC corrects it."
    return [Check("few clusters", "warn", text)]

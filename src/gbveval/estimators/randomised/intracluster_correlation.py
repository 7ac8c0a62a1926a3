"""`IntraclusterCorrelation`: how alike outcomes of a cluster are, with the scale it is meant on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import ConvergenceError, DesignError, IdentificationError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.method import Check, Method
from gbveval.core.provenance import Provenance, options_of, versions
from gbveval.core.registry import register
from gbveval.core.term import Term
from gbveval.data.trial import Trial
from gbveval.design.icc import ICC, design_effect
from gbveval.estimators._assemble import arm_support, missing_check, require_parallel, sample_words
from gbveval.numerics.groups import group_sizes, group_sums
from gbveval.numerics.icc import BINARY_METHODS, anova_icc, binary_icc, fleiss_cuzick_std_error, modified_wald_std_error
from gbveval.numerics.inference import check_level, normal_quantile
from gbveval.numerics.mixed_glm import collapse, profile_sd
from gbveval.numerics.mixed_linear import NoMaximumError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
METHODS = ("anova", *BINARY_METHODS, "latent_logistic")
INTERVALS = (
    "auto",
    "smith",
    "thomas_hultquist_donner",
    "zou_donner",
    "fleiss_cuzick",
    "profile_likelihood",
    "none",
)
# Which intervals there are for a method; the first is its own.
OWN = {
    "anova": ("smith", "thomas_hultquist_donner", "zou_donner"),
    "fleiss_cuzick": ("fleiss_cuzick",),
    "latent_logistic": ("profile_likelihood",),
}
ARMS = ("within_arms", "control", "ignored")
POINTS = 25
LOGISTIC_VARIANCE = float(np.pi**2 / 3.0)
ESTIMAND = Estimand("intracluster_correlation", "correlation")
WORDS = {
    "smith": "Smith's large-sample standard error",
    "thomas_hultquist_donner": "from F quantiles (Thomas and Hultquist; Donner)",
    "zou_donner": "large-sample standard error when all pairs have one correlation (after Zou and Donner)",
    "fleiss_cuzick": "large-sample standard error when all pairs have one correlation (Zou and Donner)",
    "profile_likelihood": "profile likelihood of the variance between clusters",
    "none": "none",
}


@register("intracluster_correlation")
@dataclass(frozen=True, slots=True)
class IntraclusterCorrelation:
    """Share of an outcome's variance that lies between clusters, for planning the next trial.

    Parameters
    ----------
    method : str
        "anova" for any outcome. For a yes-or-no outcome also "modified_anova", "moment_equal_weights",
        "moment_size_weights", "modified_moment_equal_weights", "modified_moment_size_weights", "fleiss_cuzick", "mak",
        "pearson_equal_pairs", "pearson_equal_clusters", "pearson_people", "resampling", all on the observed scale, and
        "latent_logistic", from a logistic model with a random intercept, on the latent scale.
    interval : str
        "auto": "smith" for anova, its own for "fleiss_cuzick", "profile_likelihood" for "latent_logistic", none for the
        others. "thomas_hultquist_donner" (anova) is exact for a normal outcome and clusters of one size; "zou_donner"
        (anova, a yes-or-no outcome, arms not removed) holds when all pairs have one correlation and triples no more.
    arms : str
        "within_arms": differences between arms are removed ("anova" and "latent_logistic"). "control": the control arm
        only. "ignored": all clusters as if in one arm, for outcomes before assignment.
    level : float
        Level of intervals that are not symmetric; they exist at this level only.

    Notes
    -----
    **Estimates** the correlation of two people of one cluster. The scale stands in the column `scale`: "observed" (the
    outcome as recorded) or "latent_logistic". For a rare outcome the latent one is several times larger; give both to
    `gbveval.ICC` with their name and convert with `icc_convert`. `design_effect` is of the observed scale, at these
    clusters' sizes, for the average over participants.

    **Valid when** clusters are a sample of those that are planned for, and many: with fewer than about 20 an interval
    reaches from nothing to several times the estimate, and Smith's then covers too rarely.

    **Do not use when** the number of clusters an arm is one, or as proof that clustering may be ignored: an estimate at
    or below zero is not.

    References
    ----------
    Donner (1986), International Statistical Review 54. Smith (1957), Annals of Human Genetics 21. Ridout, Demetrio and
    Firth (1999), Biometrics 55. Zou and Donner (2004), Biometrics 60. Eldridge, Ukoumunne and Carlin (2009),
    International Statistical Review 77.

    Examples
    --------
    >>> import numpy as np
    >>> school = np.repeat(np.arange(12), 10)
    >>> y = np.sin(np.arange(120) ** 1.5) + 0.5 * np.sin(7 * school)
    >>> frame = {"y": y, "school": school, "arm": np.where(school % 2 == 1, "new", "usual")}
    >>> trial = Trial(frame, outcome="y", arm="arm", control="usual", cluster="school")
    >>> answer = IntraclusterCorrelation().estimate(trial)
    >>> 0.0 < answer[0].value < 0.4
    True
    """

    method: str = "anova"
    interval: str = "auto"
    arms: str = "within_arms"
    level: float = 0.95
    name: ClassVar[str] = "intracluster_correlation"

    def __post_init__(self) -> None:
        for option, known in (("method", METHODS), ("interval", INTERVALS), ("arms", ARMS)):
            if getattr(self, option) not in known:
                raise DesignError(f"{option} must be one of {', '.join(known)}, not {getattr(self, option)!r}.")
        allowed = ("auto", "none", *OWN.get(self.method, ()))
        if self.interval not in allowed:
            raise DesignError(f"The interval {self.interval!r} is not of {self.method}; choose {' or '.join(allowed)}.")
        if self.arms == "within_arms" and self.interval == "zou_donner":
            raise DesignError(
                'The interval "zou_donner" does not remove differences between arms. Use arms="control" or "ignored".'
            )
        if self.arms == "within_arms" and self.method not in ("anova", "latent_logistic"):
            raise DesignError(
                f'{self.method} does not remove differences between arms. Use arms="control" or "ignored", or "anova".'
            )
        try:
            check_level(self.level)
        except (TypeError, ValueError) as error:
            raise DesignError(str(error)) from error

    def estimate(self, data: Trial, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return one row for each outcome.

        Parameters
        ----------
        data : Trial
            With the role `cluster`.
        rng : numpy.random.Generator, optional
            Ignored: nothing is random.

        Raises
        ------
        DesignError
            If the trial has no clusters or has weights, clusters change arm, or the method does not fit the outcome.
        IdentificationError
            If clusters are too few or too small.
        ConvergenceError
            If the logistic model has no maximum.
        """
        if data.cluster is None:
            raise DesignError("IntraclusterCorrelation needs the role cluster. Declare it.")
        if data.weight is not None:
            raise DesignError("IntraclusterCorrelation does not take the role weight. Leave it out.")
        if self.arms != "ignored":
            require_parallel("IntraclusterCorrelation", data)
        rows = [self._row(data, outcome) for outcome in range(len(data.outcome_names))]
        variances = [np.nan if row.std_error is None else row.std_error**2 for row, _ in rows]
        covariance = np.full((len(rows), len(rows)), np.nan)
        np.fill_diagonal(covariance, variances)
        return Estimates(
            estimator=self.name,
            terms=tuple(row for row, _ in rows),
            covariance=covariance,
            level=self.level,
            method=self._words(data),
            checks=(*(check for _, found in rows for check in found), *missing_check(data)),
            provenance=Provenance(data.digest, tuple(options_of(self).items()), None, versions()),
            flow=data.flow(),
        )

    def _row(self, data: Trial, outcome: int) -> tuple[Term, list[Check]]:
        assert data.cluster is not None
        used = data.observed(outcome)
        if self.arms == "control":
            used = used & (data.arm == 0)
        y = data.outcomes[used, outcome]
        present, cluster = np.unique(data.cluster.codes[used], return_inverse=True)
        arm = np.zeros(present.size, dtype=np.intp)
        if self.arms == "within_arms":
            arm[cluster] = data.arm[used]
            arm = np.unique(arm, return_inverse=True)[1].astype(np.intp)
        n = group_sizes(cluster, present.size)
        name = data.outcome_names[outcome]
        self._check(data, outcome, y, n, arm)
        value, error, interval, extra = self._numbers(y, cluster, arm, name)
        estimated = self.interval != "none" and (error is not None or interval is not None)
        checks = []
        if value < 0:
            text = f"the correlation of {name} is estimated below zero: clusters differ less than chance alone gives."
            checks.append(Check("below zero", "warn", text))
        if present.size < 20:
            text = f"{present.size} clusters say little about a correlation: look at the interval, not the estimate."
            checks.append(Check("few clusters", "warn", text))
        codes = range(1) if self.arms == "control" else range(len(data.arms))
        row = Term(
            term=f"icc, {extra['scale'].replace('_', ' ')} scale",
            estimand=ESTIMAND,
            outcome=name,
            value=value,
            std_error=error if estimated else None,
            interval=interval if estimated else None,
            interval_level=self.level if interval is not None else None,
            n_units=int(used.sum()),
            n_clusters=int(present.size),
            support=arm_support(data, outcome, used, codes),
            reason="" if error is not None and estimated else "this method has no standard error",
            extra=tuple(extra.items()),
        )
        return row, checks

    def _check(self, data: Trial, outcome: int, y: FloatArray, n: FloatArray, arm: IntArray) -> None:
        """Raise where the clusters cannot give a correlation, or the method does not fit the outcome."""
        name = data.outcome_names[outcome]
        binary = self.method != "anova" or self.interval == "zou_donner"
        if binary and not np.isin(y, (0.0, 1.0)).all():
            what = self.interval if self.method == "anova" else self.method
            raise DesignError(f'{what} is for outcomes of 0 and 1; {name} has other values. Use "anova", "smith".')
        if n.size - (int(arm.max()) + 1 if arm.size else 0) < 1:
            raise IdentificationError(
                f"{n.size} clusters with {name}; at least two in an arm are needed. Use a published correlation."
            )
        if float(n.sum()) <= n.size:
            raise IdentificationError(f"Every cluster has a single row with {name}; pairs within clusters are needed.")
        lonely = int((n < 2).sum())
        if lonely and self.method in ("mak", "pearson_equal_clusters", "pearson_people"):
            raise IdentificationError(
                f'{lonely} clusters have a single row with {name}, and {self.method} needs pairs in each. Use "anova".'
            )
        if float(np.ptp(y)) == 0.0:
            raise IdentificationError(f"The outcome {name} does not vary, so nothing can be alike. Check its coding.")

    def _numbers(
        self, y: FloatArray, cluster: IntArray, arm: IntArray, name: str
    ) -> tuple[float, float | None, tuple[float, float] | None, dict[str, Any]]:
        """Return estimate, standard error, interval and further columns."""
        k = arm.size
        n = group_sizes(cluster, k)
        if self.method == "latent_logistic":
            return self._latent(y, cluster, arm, name)
        found = anova_icc(y, cluster, arm)
        extra: dict[str, Any] = {"scale": "observed", "design_effect": None}
        extra |= {"average_size": found.size, "within_variance": found.within, "between_variance": found.between}
        error: float | None = None
        interval = None
        if self.method == "anova":
            value = found.icc
            if self.interval == "thomas_hultquist_donner":
                interval = found.exact_interval(self.level)
            error = found.std_error if found.std_error > 0 else None
            if self.interval == "zou_donner":
                error = modified_wald_std_error(group_sums(cluster, y, k), n) or None
        else:
            events = group_sums(cluster, y, k)
            value = binary_icc(self.method, events, n)
            if self.method == "fleiss_cuzick":
                error = fleiss_cuzick_std_error(value, events, n) or None
        if not np.isfinite(value):
            raise IdentificationError(f"The outcome {name} does not vary enough for a correlation. Check its coding.")
        if 0.0 <= value < 1.0:
            extra["design_effect"] = design_effect(ICC(value, scale="observed"), cluster_sizes=n.tolist())
        return float(value), error, interval, extra

    def _latent(
        self, y: FloatArray, cluster: IntArray, arm: IntArray, name: str
    ) -> tuple[float, float | None, tuple[float, float] | None, dict[str, Any]]:
        x = (arm[cluster][:, None] == np.arange(arm.max() + 1)).astype(float)
        happened = group_sums(arm[cluster], y, x.shape[1])
        if np.any((happened == 0) | (happened == x.sum(axis=0))):
            raise IdentificationError(
                f"In an arm nobody, or everybody, has {name}; its log odds are infinite. Merge arms."
            )
        cells, _ = collapse("binomial", x, y, np.ones(y.size), cluster[:, None])
        drop = 0.5 * float(normal_quantile(0.5 + self.level / 2.0)) ** 2
        try:
            sds = profile_sd(cells, POINTS, drop)
        except NoMaximumError as reason:
            raise ConvergenceError(
                f"The logistic model of {name} has no maximum: clusters have all of the events or none. "
                'Use method="anova".'
            ) from reason
        value, low, high = (sd**2 / (sd**2 + LOGISTIC_VARIANCE) for sd in sds)
        return value, None, (low, high), {"scale": "latent_logistic", "between_variance": sds[0] ** 2}

    def _words(self, data: Trial) -> Method:
        interval = OWN.get(self.method, ("none",))[0] if self.interval == "auto" else self.interval
        arms = {
            "within_arms": "all arms, their means removed",
            "control": "the control arm only",
            "ignored": "all clusters, arms ignored",
        }[self.arms]
        latent = self.method == "latent_logistic"
        words = "; ".join(sample_words(data, number) for number in range(len(data.outcome_names)))
        return Method(
            sample=f"{words}; {arms}",
            std_error=WORDS[interval],
            small_sample="none",
            reference="chi-square of the likelihood ratio" if latent else "normal, or F for exact limits",
            inference_for="a superpopulation of clusters",
            assumptions=(
                "clusters are a sample of those planned for",
                "all pairs of people in a cluster are equally alike, in every cluster",
            ),
            source="Donner 1986; Ridout, Demetrio and Firth 1999",
        )

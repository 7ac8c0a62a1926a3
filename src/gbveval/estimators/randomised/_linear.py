"""What the regressions of a trial share: columns for arms and strata, the choice of a standard error, rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError, IdentificationError
from gbveval.core.estimand import Estimand
from gbveval.core.method import Check
from gbveval.data.trial import Trial
from gbveval.estimators._assemble import Row, arm_support
from gbveval.numerics.cluster_sandwich import CLUSTER_KINDS
from gbveval.numerics.least_squares import column_names, make_basis
from gbveval.numerics.linear_inference import DEGREES, STD_ERRORS, LinearInference, linear_inference

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
POPULATIONS = ("participant_average", "cluster_average")
CLUSTER_BY = ("assignment", "site")
DF_OPTIONS = ("auto", *DEGREES)
# A dense column a stratum: beyond this many numbers the columns would fill the memory of a small machine.
MAXIMUM_DUMMIES = 2e8
_WORDS = {
    "classical": "classical, one error variance for all",
    "HC0": "HC0, robust to heteroskedasticity",
    "HC1": "HC1, robust to heteroskedasticity",
    "HC2": "HC2, robust to heteroskedasticity",
    "HC3": "HC3, robust to heteroskedasticity",
    "CR0": "CR0, clustered by {unit}",
    "CR1": "CR1, clustered by {unit}",
    "CR1S": "CR1 as in Stata, clustered by {unit}",
    "CR2": "CR2, clustered by {unit}",
    "CR3": "CR3 (cluster jackknife), clustered by {unit}",
}
_CORRECTION = {
    "classical": "rows minus coefficients",
    "HC0": "none",
    "CR0": "none",
    "CR1": "clusters over clusters minus one",
    "CR1S": "clusters over clusters minus one, rows minus one over rows minus coefficients",
    "CR2": "CR2 (bias-reduced linearisation, identity working model)",
    "CR3": "CR3 (leave one cluster out)",
}


@dataclass(frozen=True, eq=False, slots=True)
class Choice:
    """How a trial's regression is inferred.

    Attributes
    ----------
    std_error, df : str
        As `linear_inference` takes them.
    group : ndarray of int or None
        What the errors are clustered by: clusters or pairs.
    n_groups : int
        Number of them.
    unit : str
        What a group is, in words.
    """

    std_error: str
    df: str
    group: NDArray[np.intp] | None
    n_groups: int
    unit: str

    def std_error_words(self) -> str:
        """Return the standard error as a report says it."""
        return _WORDS[self.std_error].format(unit=self.unit)

    def small_sample_words(self) -> str:
        """Return the small-sample correction as a report says it."""
        return _CORRECTION.get(self.std_error, self.std_error)

    def reference_words(self) -> str:
        """Return the reference distribution as a report says it."""
        if self.df == "normal":
            return "normal"
        of = {
            "residual": "rows minus coefficients",
            "clusters_minus_1": f"{self.unit if self.unit in ('pair', 'site') else 'cluster'}s minus one",
            "satterthwaite": "Satterthwaite's",
        }[self.df]
        return f"t with {of} degrees of freedom"


def check_options(
    std_error: str, df: str, population: str = "participant_average", cluster_by: str = "assignment"
) -> None:
    """Raise if an option of a regression estimator is not known."""
    for name, value, known in (
        ("std_error", std_error, ("auto", *STD_ERRORS)),
        ("df", df, DF_OPTIONS),
        ("population", population, POPULATIONS),
        ("cluster_by", cluster_by, CLUSTER_BY),
    ):
        if value not in known:
            raise DesignError(f"{name} must be one of {', '.join(known)}, not {value!r}.")


def choose(data: Trial, std_error: str, df: str, cluster_by: str = "assignment") -> Choice:
    """Return the inference that fits a trial's roles, or raise if what was asked for does not.

    Regressions of matched pairs cluster by the pair (de Chaisemartin and Ramirez-Cuellar 2024): the two units of a pair
    were assigned together.
    """
    if cluster_by == "site":
        if data.site is None:
            raise DesignError("cluster_by='site' needs the role `site`; the trial declares none.")
        check_nested(data)
    group = data.site if cluster_by == "site" else data.pair or data.cluster
    unit = "site" if cluster_by == "site" else "pair" if data.pair is not None else "unit of assignment"
    if group is None:
        if std_error in CLUSTER_KINDS:
            raise DesignError(f"{std_error} needs clusters; the trial declares none. Use HC2.")
        if df in ("satterthwaite", "clusters_minus_1"):
            raise DesignError(f"df={df!r} needs clusters; the trial declares none. Leave df to 'auto'.")
        return Choice("HC2" if std_error == "auto" else std_error, "residual" if df == "auto" else df, None, 0, "unit")
    chosen = "CR2" if std_error == "auto" else std_error
    if chosen not in CLUSTER_KINDS:
        raise DesignError(f"Errors are clustered by {unit}; {chosen} would treat people as independent. Use CR2.")
    auto = "satterthwaite" if chosen in ("CR2", "CR3") else "clusters_minus_1"
    return Choice(chosen, auto if df == "auto" else df, group.codes, group.count, unit)


def check_nested(data: Trial) -> None:
    """Raise if a cluster or pair lies in two sites: site would then not be a coarser grouping."""
    assert data.site is not None
    for role in ("cluster", "pair"):
        groups = getattr(data, role)
        if groups is not None and np.unique(groups.codes * data.site.count + data.site.codes).size > groups.count:
            raise DesignError(
                f"cluster_by='site' needs each {role} to lie in one site; some lie in several. Cluster by assignment."
            )


def regression_weights(data: Trial, used: BoolArray, population: str) -> FloatArray | None:
    """Return the weights of the rows used: analysis weights, over the cluster's total where clusters count alike."""
    weights = None if data.weight is None else data.weight[used]
    if population == "participant_average":
        return weights
    if data.cluster is None:
        raise DesignError("population='cluster_average' needs clusters; the trial declares none.")
    codes = data.cluster.codes[used]
    mass = np.bincount(codes, weights=weights, minlength=data.cluster.count)
    base = np.ones(codes.size) if weights is None else weights
    result: FloatArray = base / mass[codes]
    return result


def arm_columns(data: Trial, used: BoolArray) -> tuple[FloatArray, tuple[str, ...]]:
    """Return an indicator for every arm but control, and the arms' names."""
    arm = data.arm[used]
    return np.column_stack([(arm == code).astype(float) for code in range(1, len(data.arms))]), data.arms[1:]


def stratum_columns(data: Trial, used: BoolArray) -> tuple[FloatArray, tuple[str, ...]]:
    """Return an indicator for every stratum or pair but the first, named by number and never by label."""
    groups = data.stratum or data.pair
    if groups is None:
        return np.zeros((int(used.sum()), 0)), ()
    present, codes = np.unique(groups.codes[used], return_inverse=True)
    word = "stratum" if data.stratum is not None else "pair"
    if float(codes.size) * present.size > MAXIMUM_DUMMIES:
        raise DesignError(
            f"{present.size:,} effects of a {word} for {codes.size:,} rows do not fit into memory. Use "
            "DifferenceInMeans, which takes strata and pairs without columns, or merge strata."
        )
    columns = (codes[:, None] == np.arange(1, present.size)).astype(float)
    return columns, tuple(f"{word} #{number + 1}" for number in range(1, present.size))


def fit_trial(
    data: Trial, used: BoolArray, outcome: int, design: FloatArray, choice: Choice, weights: FloatArray | None
) -> LinearInference:
    """Return the regression of an outcome on columns, with the inference chosen.

    Influence functions are spread over all units (or groups) of the trial.
    """
    found = linear_inference(
        design,
        data.outcomes[used, outcome],
        std_error=choice.std_error,
        df=choice.df,
        weights=weights,
        cluster=None if choice.group is None else choice.group[used],
        n_clusters=choice.n_groups,
    )
    if found.influence is None:
        return found
    return replace(found, influence=spread_rows(found.influence, data, used, choice))


def spread_rows(influence: FloatArray, data: Trial, used: BoolArray, choice: Choice) -> FloatArray:
    """Return influence functions of the rows used for all units of the trial; those of groups are complete already."""
    if choice.group is not None:
        return influence
    whole = np.zeros((data.n, *influence.shape[1:]))
    whole[used] = influence
    return whole


def check_arms_separate(data: Trial, used: BoolArray, columns: FloatArray) -> None:
    """Raise if an arm is a linear function of the other columns: nothing then separates the two."""
    arms, names = arm_columns(data, used)
    basis = make_basis(np.column_stack([columns, arms]))
    for position, name in enumerate(names):
        if columns.shape[1] + position in basis.dropped:
            raise IdentificationError(
                f"The arm {name!r} is collinear with the covariates, so its effect cannot be told from theirs. "
                "Leave out the covariate that determines the arm."
            )


def check_sizes(data: Trial, used: BoolArray, k: int) -> None:
    """Raise if there are no more rows than coefficients, or fewer than two independent units in an arm."""
    n = int(used.sum())
    if n <= k:
        raise IdentificationError(
            f"{n} units with an outcome for {k} coefficients; more units than coefficients are needed. "
            "Use fewer covariates."
        )
    for code, label in enumerate(data.arms):
        member = used & (data.arm == code)
        count = int(member.sum())
        if data.cluster is not None:
            count = int(np.unique(data.cluster.codes[member]).size)
        if count < 2:
            what = "unit" if data.cluster is None else "cluster"
            raise IdentificationError(f"Arm {label!r} has {count} {what} with an outcome; at least two are needed.")


def used_rows(data: Trial, outcome: int) -> tuple[BoolArray, list[Check]]:
    """Return the rows with an outcome and a positive weight, and a check where weights are zero."""
    used = data.observed(outcome)
    if data.weight is None:
        return used, []
    keep = used & (data.weight > 0)
    lost = int(used.sum() - keep.sum())
    if lost == 0:
        return keep, []
    text = f"{lost} units have weight zero and take no part."
    return keep, [Check(f"weights {data.outcome_names[outcome]}", "info", text)]


def with_baseline(data: Trial, used: BoolArray, outcome: int) -> tuple[BoolArray, list[Check]]:
    """Return the rows that have a baseline as well, where the trial has that role, and a check where some have none."""
    if data.baseline is None:
        return used, []
    known = ~np.isnan(data.baseline)
    lost = int((used & ~known).sum())
    if not lost:
        return used, []
    text = f"{lost} units with an outcome have no baseline and are left out. Impute it, or leave the role out."
    return used & known, [Check(f"baseline {data.outcome_names[outcome]}", "warn", text)]


def fit_checks(found: LinearInference, position: int, dropped: Sequence[str]) -> list[Check]:
    """Return what a reader should know of a fit: dropped columns, exact fits, few degrees of freedom."""
    checks = []
    if dropped:
        text = f"collinear columns were dropped and change nothing: {', '.join(dropped)}."
        checks.append(Check("rank", "warn", text))
    if found.singular_clusters:
        text = f"{found.singular_clusters} clusters fit a coefficient exactly; the pseudo-inverse was taken."
        checks.append(Check("singular clusters", "info", text))
    if found.full_leverage:
        text = (
            f"{found.full_leverage} units are fitted exactly and carry no information on the error; use fewer "
            "covariates."
        )
        checks.append(Check("leverage", "warn", text))
    if found.moments is not None and found.df[position] < 4:
        text = (
            f"only {found.df[position]:.1f} degrees of freedom are left for the effect; a randomisation test is safer."
        )
        checks.append(Check("degrees of freedom", "warn", text))
    return checks


def coefficient_rows(
    data: Trial,
    used: BoolArray,
    outcome: int,
    found: LinearInference,
    names: Sequence[str],
    estimand: Estimand,
    choice: Choice,
) -> list[Row]:
    """Return a row for each arm against control, then the other coefficients, without a causal reading."""
    kept, _ = column_names(list(names), found.fit.basis)
    arms = data.arms[1:]
    first = [kept.index(name) for name in arms]
    rest = shown_coefficients(kept, first)
    nuisance = Estimand("nuisance", "mean_difference", estimand.population, "conditional")
    groups = choice.group if choice.group is not None else None if data.cluster is None else data.cluster.codes
    clusters = None if groups is None else int(np.unique(groups[used]).size)
    rows = []
    for i in (*first, *rest):
        causal = i in first
        code = 1 + first.index(i) if causal else 0
        rows.append(
            Row(
                term=f"{data.arms[code]} vs {data.arms[0]}" if causal else kept[i],
                outcome=data.outcome_names[outcome],
                value=float(found.beta[i]),
                influence=None if found.influence is None else found.influence[:, i],
                df=float(found.df[i]),
                estimand=estimand if causal else nuisance,
                n_units=int(used.sum()),
                n_clusters=clusters,
                support=arm_support(data, outcome, used, (0, code)) if causal else (),
                extra=fit_columns(found) if causal else (),
            )
        )
    return rows


def shown_coefficients(kept: Sequence[str], first: Sequence[int]) -> list[int]:
    """Return the positions of the coefficients that are shown after the arms.

    Effects of strata and pairs, and an intercept beside them, depend on which one comes first, and so are left out.
    """
    hidden = [i for i, name in enumerate(kept) if "stratum #" in name or "pair #" in name]
    if hidden and "(centred)" not in kept[hidden[0]]:
        hidden.append(kept.index("intercept"))
    return [i for i in range(len(kept)) if i not in first and i not in hidden]


def fit_columns(found: LinearInference) -> tuple[tuple[str, float | None], ...]:
    """Return what the next trial is planned with: how much the covariates explain, and what is left."""
    values = (
        ("r_squared", found.r_squared),
        ("adjusted_r_squared", found.adjusted_r_squared),
        ("residual_sd", found.residual_sd),
    )
    return tuple((name, float(value) if np.isfinite(value) else None) for name, value in values)


def row_order(found: LinearInference, names: Sequence[str], arms: Sequence[str]) -> list[int]:
    """Return the positions of the coefficients in the order of `coefficient_rows`."""
    kept, _ = column_names(list(names), found.fit.basis)
    first = [kept.index(name) for name in arms]
    return [*first, *shown_coefficients(kept, first)]


def separate_outcomes(covariances: list[FloatArray]) -> FloatArray:
    """Return one covariance of all outcomes' rows; between outcomes it is not known without influence functions."""
    total = sum(block.shape[0] for block in covariances)
    joint = np.full((total, total), np.nan)
    start = 0
    for block in covariances:
        end = start + block.shape[0]
        joint[start:end, start:end] = block
        start = end
    return joint

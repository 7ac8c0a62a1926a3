"""`LinAdjusted`: regression adjustment with every covariate interacted with the arm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError, IdentificationError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.method import Check, Method
from gbveval.core.registry import register
from gbveval.data.trial import Trial
from gbveval.estimators._assemble import Row, all_samples, arm_support, assemble, mean_contrast, refuse_crossover
from gbveval.numerics.cluster_sandwich import bias_reduced, cross_products
from gbveval.numerics.least_squares import LeastSquares, column_names, fit_least_squares, make_basis
from gbveval.numerics.sandwich import heteroskedasticity_robust

FloatArray = NDArray[np.float64]
STD_ERRORS = ("auto", "HC2", "HC3", "CR2")


@register("lin_adjusted")
@dataclass(frozen=True, slots=True)
class LinAdjusted:
    """Difference between two arms, adjusted for covariates by Lin's regression.

    Regresses the outcome on the arm, the covariates centred at their mean, and all products of the two. The
    coefficient of the arm estimates the average effect of being assigned. When units are assigned one by one it is
    asymptotically never less precise than the difference in means; when clusters are assigned it can be.

    Parameters
    ----------
    std_error : str
        "auto" (CR2 when the trial is clustered, else HC2), "HC2", "HC3" or "CR2".

    Notes
    -----
    **Identifies** the intention-to-treat effect over participants, whether or not the regression is right, when
    assignment was random with the same probability for all.

    **Valid when** there are clearly more independent units in each arm than coefficients. CR2 with Satterthwaite
    degrees of freedom holds with few clusters; its df, printed with the result, say how much is left.

    **Do not use when** a covariate was measured after assignment, or assignment probabilities differ between strata.

    The first row is the effect; the rows after it are coefficients of the working model, without a causal reading.

    References
    ----------
    Lin (2013), Annals of Applied Statistics 7. Bell and McCaffrey (2002), Survey Methodology 28.
    Pustejovsky and Tipton (2018), Journal of Business and Economic Statistics 36.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.arange(12.0)
    >>> frame = {"y": x + np.tile([0.0, 2.0], 6), "x": x, "arm": ["usual", "new"] * 6}
    >>> trial = Trial(frame, outcome="y", arm="arm", control="usual", covariates=["x"])
    >>> round(LinAdjusted().estimate(trial)[0].value, 6)
    2.0
    """

    std_error: str = "auto"
    name: ClassVar[str] = "lin_adjusted"

    def __post_init__(self) -> None:
        if self.std_error not in STD_ERRORS:
            raise DesignError(f"std_error must be one of {', '.join(STD_ERRORS)}, not {self.std_error!r}.")

    def estimate(self, data: Trial, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return the adjusted difference for each outcome, and the coefficients behind it.

        Parameters
        ----------
        data : Trial
            A trial with two arms and covariates.
        rng : numpy.random.Generator, optional
            Ignored: nothing is random.

        Raises
        ------
        DesignError
            If the trial has more than two arms, weights or pairs, or the standard error does not fit it.
        IdentificationError
            If the arm is collinear with covariates, or there are too few units.
        """
        refuse_crossover("LinAdjusted", data)
        kind = self._kind(data)
        rows: list[Row] = []
        checks: list[Check] = []
        for outcome in range(len(data.outcome_names)):
            found, notes = _fit(data, outcome, kind)
            rows += found
            checks += notes
        return assemble(self, data, rows, method=_method(data, kind), checks=checks)

    def _kind(self, data: Trial) -> str:
        if len(data.arms) != 2:
            raise DesignError(
                f"LinAdjusted compares two arms; the trial has {len(data.arms)}. Keep two, one pair at a time."
            )
        for role in ("weight", "pair", "stratum"):
            if getattr(data, role) is not None:
                raise DesignError(
                    f"LinAdjusted does not take the role {role!r}. "
                    + (
                        "Give strata as a covariate."
                        if role == "stratum"
                        else "See docs/roadmap.md for what is planned."
                    )
                )
        if data.cluster is not None and self.std_error in ("HC2", "HC3"):
            raise DesignError(
                f"The trial assigned clusters; {self.std_error} would treat people as independent. Use CR2."
            )
        if data.cluster is None and self.std_error == "CR2":
            raise DesignError("CR2 needs clusters; the trial declares none. Use HC2.")
        if self.std_error == "auto":
            return "HC2" if data.cluster is None else "CR2"
        return self.std_error


def _fit(data: Trial, outcome: int, kind: str) -> tuple[list[Row], list[Check]]:
    used = data.observed(outcome)
    y = data.outcomes[used, outcome]
    treated = data.arm[used].astype(float)
    design, names = lin_design(treated, data.covariates[used], data.arms[1], data.covariate_names)
    _check_arm(treated, data.covariates[used], data.arms)
    fit = fit_least_squares(design, y)
    kept, dropped = column_names(names, fit.basis)
    _check_size(data, used, fit)
    checks = []
    checks += _borrowed_slopes(dropped, kept, data.arms[1])
    dropped = [name for name in dropped if not any(name in check.message for check in checks)]
    if dropped:
        text = f"collinear columns were dropped and change nothing: {', '.join(dropped)}."
        checks.append(Check("rank", "warn", text))
    influence, df, note = _variance(data, used, (fit, design, y), kind)
    checks += note
    estimand = Estimand("ITT", mean_contrast(data, outcome), "participant_average")
    nuisance = Estimand("nuisance", "mean_difference", "participant_average", "conditional")
    order = [kept.index(names[0]), *(i for i, label in enumerate(kept) if label != names[0])]
    clusters = None if data.cluster is None else int(np.unique(data.cluster.codes[used]).size)
    support = arm_support(data, outcome, used, (0, 1))
    rows = [
        Row(
            term=f"{data.arms[1]} vs {data.arms[0]}" if position == 0 else kept[i],
            outcome=data.outcome_names[outcome],
            value=float(fit.beta[i, 0]),
            influence=influence[:, i],
            df=float(df[i]),
            estimand=estimand if position == 0 else nuisance,
            n_units=int(used.sum()),
            n_clusters=clusters,
            support=support if position == 0 else (),
        )
        for position, i in enumerate(order)
    ]
    return rows, checks


def lin_design(
    treated: FloatArray, covariates: FloatArray, arm: str, names: tuple[str, ...]
) -> tuple[FloatArray, tuple[str, ...]]:
    """Return the columns (arm, centred covariates, products) and their names."""
    centred = covariates - covariates.mean(axis=0)
    design = np.column_stack([treated, centred, treated[:, None] * centred])
    labels = (arm, *(f"{name} (centred)" for name in names), *(f"{arm} x {name} (centred)" for name in names))
    return design, labels


def _borrowed_slopes(dropped: list[str], kept: list[str], arm: str) -> list[Check]:
    """Name covariates that do not vary in one arm: the slope there is then taken from the other."""
    prefix = f"{arm} x "
    found = [name for name in dropped if name.startswith(prefix) and name.removeprefix(prefix) in kept]
    return [
        Check(
            "slopes",
            "warn",
            f"{name} cannot be estimated, since the covariate hardly varies in one arm; its slope is taken from the "
            "other arm, which is an assumption. Leave the covariate out to avoid it.",
        )
        for name in found
    ]


def _check_arm(treated: FloatArray, covariates: FloatArray, arms: tuple[str, ...]) -> None:
    """Raise if the arm is a linear function of the covariates: nothing then separates the two."""
    basis = make_basis(np.column_stack([covariates, treated]))
    if covariates.shape[1] in basis.dropped:
        raise IdentificationError(
            f"The arm {arms[1]!r} is collinear with the covariates, so its effect cannot be told from theirs. "
            "Leave out the covariate that determines the arm."
        )


def _check_size(data: Trial, used: NDArray[np.bool_], fit: LeastSquares) -> None:
    if fit.n <= fit.k:
        raise IdentificationError(
            f"{fit.n} units with an outcome for {fit.k} coefficients; more units than coefficients are needed. "
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


def _variance(
    data: Trial, used: NDArray[np.bool_], fitted: tuple[LeastSquares, FloatArray, FloatArray], kind: str
) -> tuple[FloatArray, FloatArray, list[Check]]:
    """Return influence by independent unit (all units or clusters), degrees of freedom and checks."""
    fit, design, y = fitted
    if kind == "CR2":
        assert data.cluster is not None
        codes = data.cluster.codes[used]
        sums = cross_products(fit, design, y, codes, data.cluster.count)
        robust = bias_reduced(fit, sums)
        notes = []
        if robust.singular_clusters:
            text = f"{robust.singular_clusters} clusters fit a coefficient exactly; the pseudo-inverse was taken."
            notes.append(Check("singular clusters", "info", text))
        if robust.df[1] < 4:
            text = f"only {robust.df[1]:.1f} degrees of freedom are left for the effect; a randomisation test is safer."
            notes.append(Check("degrees of freedom", "warn", text))
        return robust.influence[:, :, 0], robust.df, notes
    hc = heteroskedasticity_robust(fit, design, y, kind=kind)
    whole = np.zeros((data.n, fit.k))
    whole[used] = hc.influence[:, :, 0]
    notes = []
    if hc.full_leverage:
        text = (
            f"{hc.full_leverage} units are fitted exactly and carry no information on the error; use fewer covariates."
        )
        notes.append(Check("leverage", "warn", text))
    return whole, np.full(fit.k, float(fit.n - fit.k)), notes


def _method(data: Trial, kind: str) -> Method:
    clustered = kind == "CR2"
    return Method(
        sample=all_samples(data),
        std_error=f"{kind}, clustered by the unit of assignment"
        if clustered
        else f"{kind}, robust to heteroskedasticity",
        small_sample="CR2 (bias-reduced linearisation, identity working model)" if clustered else kind,
        reference="t with Satterthwaite degrees of freedom"
        if clustered
        else "t with rows minus coefficients degrees of freedom",
        inference_for="the participants of the trial (conservative), covariate means taken as known",
        assumptions=(
            "arms were assigned at random as declared, with one probability",
            "covariates were measured before assignment",
            "one unit's assignment does not change another's outcome",
            "outcomes are missing for reasons unrelated to the outcome",
        ),
        source="Lin 2013",
    )

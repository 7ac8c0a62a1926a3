"""Schemes that accept balanced allocations only: rerandomisation and covariate-constrained allocation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError
from gbveval.design._require import real, whole
from gbveval.design.allocation import _declared as declared
from gbveval.design.allocation._units import Roles, Units
from gbveval.design.allocation.complete import ClusterAllocation, CompleteAllocation, StratifiedAllocation
from gbveval.design.allocation.plan import AllocationPlan, arms_only, declaration_of
from gbveval.numerics.acceptable import Listed, Redrawn, Within
from gbveval.numerics.allocations import Codes, Scheme, count_allocations, enumerate_allocations
from gbveval.numerics.balance_scores import Mahalanobis, mahalanobis, squared_differences
from gbveval.numerics.block_allocation import Blocks
from gbveval.numerics.mechanism import draw
from gbveval.numerics.philox import Words

FloatArray = NDArray[np.float64]
Score = Callable[[Codes], FloatArray]
BASES = (CompleteAllocation, StratifiedAllocation, ClusterAllocation)
# Allocations, and labels, that are listed rather than drawn.
MOST_LISTED, MOST_LABELS = 200_000, 20_000_000
# Labels of drawn candidates that are held in memory, one byte each and eight for their sort keys.
MOST_CANDIDATE_LABELS = 400_000_000
# Candidates from which the share accepted is estimated.
CANDIDATES = 20_000
# Mirrored allocations have the same score but for rounding.
ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class RerandomisationGain:
    """What a threshold on the Mahalanobis distance does, in large samples.

    Attributes
    ----------
    threshold : tuple of float
        Largest distance accepted, one for each tier.
    variance_left : tuple of float
        Share of the variance of the covariates' differences that is left, one for each tier (v_a).
    accept : float
        Share of allocations accepted.
    covariate_reduction : tuple of float
        One less `variance_left`: by how much the covariates' variance is reduced.
    estimate_reduction : float or None
        By how much the variance of the difference in means is reduced, where R² was given.
    """

    threshold: tuple[float, ...]
    variance_left: tuple[float, ...]
    accept: float
    covariate_reduction: tuple[float, ...]
    estimate_reduction: float | None


def rerandomisation_gain(accept: Any, n_covariates: Any, *, r_squared: Any = None) -> RerandomisationGain:
    """Return thresholds of rerandomisation and the variance they leave.

    Parameters
    ----------
    accept : float or sequence of float
        Probability of acceptance; one for each tier.
    n_covariates : int or sequence of int
        Number of covariates (degrees of freedom with several arms: times arms less one); one for each tier.
    r_squared : float or sequence of float, optional
        Share of the outcome's variance that the covariates explain; one for each tier, what each adds.

    Returns
    -------
    RerandomisationGain

    Notes
    -----
    Morgan and Rubin (2012, Theorem 3.1): v = P(chi2_{k+2} <= a) / P(chi2_k <= a), and the variance of the difference in
    means falls by (1 - v) R². Exact for normal covariates, and an approximation otherwise. A t test that ignores the
    rerandomisation is then conservative.

    References
    ----------
    Morgan and Rubin (2012), Annals of Statistics 40; (2015), Journal of the American Statistical Association 110.

    Examples
    --------
    >>> found = rerandomisation_gain(0.001, 10, r_squared=0.5)
    >>> round(found.threshold[0], 4), round(found.variance_left[0], 4), round(found.estimate_reduction, 4)
    (1.4787, 0.1209, 0.4395)
    """
    from scipy.stats import chi2

    shares = [real("accept", p, low=0.0, high=1.0) for p in _several(accept)]
    numbers = [whole("n_covariates", k, least=1) for k in _several(n_covariates)]
    if len(shares) != len(numbers):
        raise DesignError("accept and n_covariates need one number each, for each tier.")
    limits = [float(chi2.ppf(p, k)) for p, k in zip(shares, numbers, strict=True)]
    left = [float(chi2.cdf(a, k + 2)) / p for a, p, k in zip(limits, shares, numbers, strict=True)]
    gain = None
    if r_squared is not None:
        explained = [real("r_squared", r, low=0.0, high=1.0, closed=True) for r in _several(r_squared)]
        if len(explained) != len(left) or sum(explained) > 1.0:
            raise DesignError("r_squared needs one share for each tier, which sum to at most one.")
        gain = float(sum((1.0 - v) * r for v, r in zip(left, explained, strict=True)))
    return RerandomisationGain(tuple(limits), tuple(left), float(np.prod(shares)), tuple(1.0 - v for v in left), gain)


def _several(value: Any) -> Sequence[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


@dataclass(frozen=True, slots=True)
class BalanceOfAllocations:
    """How a rule of balance divides the allocations of a scheme.

    Attributes
    ----------
    threshold : tuple of float
        Largest score accepted, one for each tier.
    accepted : float
        Share of allocations accepted: of all, or of drawn candidates.
    accepted_mcse : float
        Its Monte Carlo standard error; zero where all allocations were listed.
    least : float
        Smallest score seen (of the first tier).
    n_candidates : int
        Allocations listed or drawn.
    exact : bool
        Whether all allocations were listed.
    variance_left : tuple of float
        For rerandomisation: share of the covariates' variance that is left in large samples.
    """

    threshold: tuple[float, ...]
    accepted: float
    accepted_mcse: float
    least: float
    n_candidates: int
    exact: bool
    variance_left: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Rerandomisation:
    """A scheme drawn again until covariates are balanced by Mahalanobis distance.

    Parameters
    ----------
    base : CompleteAllocation, StratifiedAllocation or ClusterAllocation
        What is drawn; shares must give whole numbers.
    covariates : str, sequence of str, or sequence of sequences
        Columns to balance. Sequences of sequences are tiers, the most important first.
    accept : float or sequence of float, optional
        Probability of acceptance, by the chi-squared distribution in large samples; one for each tier. 0.01 by default.
    threshold : float or sequence of float, optional
        Largest distance accepted, in place of `accept`.

    Notes
    -----
    All allocations are listed where there are at most 200,000 of them, and probabilities and their number are then
    exact; else they are simulated.

    **The analysis it needs.** Fisher's test must draw allocations by the same rule: `Trial(allocation=...)` makes
    `RandomisationInference` do so; a test that permutes freely is wrong in size (too conservative when covariates
    predict the outcome). A t test is conservative too. Adjust for the covariates (`LinAdjusted`), which gets most of
    the gain and its interval right. With stratified bases strata stay strata in the analysis.

    **Do not use when** the threshold is so strict that few allocations are left: `Allocated.pair_coincidence` shows
    units that are hardly ever in different arms, and 100 acceptable allocations give p-values in steps of 0.01.

    References
    ----------
    Morgan and Rubin (2012), Annals of Statistics 40; (2015), Journal of the American Statistical Association 110. Li,
    Ding and Rubin (2018), Proceedings of the National Academy of Sciences 115.

    Examples
    --------
    >>> import gbveval as gbv
    >>> frame = {"age": [19.0, 22.0, 25.0, 31.0, 38.0, 44.0, 47.0, 59.0]}
    >>> base = gbv.CompleteAllocation(("usual", "new"))
    >>> found = gbv.allocate(frame, gbv.Rerandomisation(base, covariates="age", accept=0.2), seed=1)
    >>> found.n_allocations, found.exact  # of 70
    (14, True)
    """

    base: Any
    covariates: Any
    accept: Any = None
    threshold: Any = None

    def __post_init__(self) -> None:
        _need_base(self.base)
        given = self.covariates
        nested = isinstance(given, (list, tuple)) and len(given) > 0 and not any(isinstance(g, str) for g in given)
        tiers = tuple(declared.names_of("covariates", tier, least=1) for tier in (given if nested else (given,)))
        declared.names_of("covariates", [name for tier in tiers for name in tier], least=1)
        object.__setattr__(self, "covariates", tiers)
        if self.accept is not None and self.threshold is not None:
            raise DesignError("Give accept or threshold, not both.")
        name = "accept" if self.threshold is None else "threshold"
        values = (
            _several(0.01 if self.accept is None else self.accept) if name == "accept" else _several(self.threshold)
        )
        high = 1.0 if name == "accept" else float("inf")
        found = tuple(real(name, value, low=0.0, high=high) for value in values)
        if len(found) != len(tiers):
            raise DesignError(f"{name} needs one number for each of the {len(tiers)} tiers.")
        object.__setattr__(self, name, found)

    @property
    def arms(self) -> tuple[str, ...]:
        """Arm labels, control first."""
        return tuple(self.base.arms)

    def roles(self) -> Roles:
        """Return the columns that the scheme reads."""
        return _with_covariates(self.base, [name for tier in self.covariates for name in tier])

    def score(self, units: Units, base: Blocks) -> Mahalanobis:
        """Return the distances of allocations of known units."""
        places = iter(units.covariate_columns)
        tiers = [[column for _ in tier for column in next(places)] for tier in self.covariates]
        return mahalanobis(units.covariates, tiers, base.block, base.draw(Words("numbers"), 1)[0])

    def plan(self, units: Units) -> AllocationPlan:
        """Return the scheme for known units."""
        base = _base_plan(self.base, units)
        blocks = base.mechanism
        assert isinstance(blocks, Blocks)
        score = self.score(units, blocks)
        if min(score.ranks) == 0:
            raise DesignError("The covariates of a tier do not vary, or follow from earlier tiers. Leave them out.")
        limits, left = self._limits(score.ranks)
        rule = Within(score, np.array(limits) * (1.0 + ROUNDING))
        words = f"{base.words}, drawn again until balanced in {', '.join(sum(self.covariates, ()))}"
        everything = _all_of(blocks)
        if everything is not None:
            values = score(everything)
            kept = everything[(values <= rule.limits).all(axis=1)]
            balance = _balance(values, limits, kept.shape[0], exact=True, left=left)
            _need_some(kept.shape[0], balance)
            listed = Listed(kept, len(self.arms), complete=True)
            return arms_only(listed, self.arms, words, ("balance", balance))
        number_drawn = min(CANDIDATES, max(1_000, MOST_LABELS // units.n))
        values = score(draw(blocks, Words("candidates", units.digest, declaration_of(self)), number_drawn))
        balance = _balance(values, limits, int((values <= rule.limits).all(axis=1).sum()), exact=False, left=left)
        whole_number = blocks.count()
        assert whole_number is not None
        # Whole numbers of hundreds of digits are no floats; parts per million of them are.
        notes = [("balance", balance)]
        number = whole_number * round(balance.accepted * 10**6) // 10**6
        error = _times(whole_number, balance.accepted_mcse)
        notes += [("n_allocations", number), ("n_allocations_mcse", error)]  # type: ignore[list-item]
        return arms_only(Redrawn(blocks, rule), self.arms, words, *notes)

    def _limits(self, ranks: tuple[int, ...]) -> tuple[tuple[float, ...], tuple[float, ...]]:
        from scipy.stats import chi2

        if self.threshold is None:
            found = rerandomisation_gain(list(self.accept), list(ranks))
            return found.threshold, found.variance_left
        left = [float(chi2.cdf(a, k + 2) / chi2.cdf(a, k)) for a, k in zip(self.threshold, ranks, strict=True)]
        return self.threshold, tuple(left)


@dataclass(frozen=True, slots=True)
class ConstrainedAllocation:
    """Covariate-constrained allocation: one of the best-balanced allocations, drawn by lot.

    Parameters
    ----------
    base : CompleteAllocation, StratifiedAllocation or ClusterAllocation
        What is constrained; shares must give whole numbers.
    covariates : str or sequence of str
        Columns to balance; averaged in clusters.
    accept : float
        Share of allocations that is acceptable: those whose score is at most this quantile of all scores.
    weights : sequence of float, optional
        Weight of each covariate; equal by default.
    candidates : int
        Allocations drawn where there are more than can be listed (200,000).

    Notes
    -----
    The score is l2: squared standardised differences of arm means, summed (over pairs of arms, with several). Where
    candidates are drawn, the acceptable set is those among them, fixed by frame and declaration and not by the seed, so
    that tests use the set from which the list came; `n_allocations` is then the size of that set, and `exact` is false.

    **Validity.** `Allocated.pair_coincidence` says how often each two units are in the same arm among acceptable
    allocations; a pair that always or never is makes the design biased in the sense of Bailey, and is warned of in
    `Allocated.checks`. **The analysis it needs** adjusts for the covariates, or permutes within the acceptable set
    (`Trial(allocation=...)`).

    References
    ----------
    Raab and Butcher (2001), Statistics in Medicine 20. Moulton (2004), Clinical Trials 1. Li, Lokhnygina, Murray,
    Heagerty and DeLong (2016), Statistics in Medicine 35. Bailey (1987), Journal of the American Statistical
    Association 82.

    Examples
    --------
    >>> import gbveval as gbv
    >>> frame = {"school": list("abcdefgh"), "girls": [12.0, 30.0, 25.0, 31.0, 38.0, 44.0, 47.0, 59.0]}
    >>> base = gbv.ClusterAllocation(("usual", "new"), cluster="school")
    >>> found = gbv.allocate(frame, gbv.ConstrainedAllocation(base, covariates="girls", accept=0.2), seed=1)
    >>> found.n_allocations, found.exact
    (14, True)
    """

    base: Any
    covariates: Any
    accept: float = 0.1
    weights: Any = None
    candidates: int = 50_000

    def __post_init__(self) -> None:
        _need_base(self.base)
        object.__setattr__(self, "covariates", declared.names_of("covariates", self.covariates, least=1))
        object.__setattr__(self, "accept", real("accept", self.accept, low=0.0, high=1.0))
        given = (1.0,) * len(self.covariates) if self.weights is None else tuple(_several(self.weights))
        if len(given) != len(self.covariates):
            raise DesignError(f"weights needs one number for each of the {len(self.covariates)} covariates.")
        object.__setattr__(self, "weights", tuple(real("a weight", w, low=0.0, high=float("inf")) for w in given))
        whole("candidates", self.candidates, least=1_000)

    @property
    def arms(self) -> tuple[str, ...]:
        """Arm labels, control first."""
        return tuple(self.base.arms)

    def roles(self) -> Roles:
        """Return the columns that the scheme reads."""
        return _with_covariates(self.base, list(self.covariates))

    def score(self, units: Units, base: Blocks) -> Score:
        """Return the l2 score of allocations of known units."""
        del base
        weight = np.ones(units.covariates.shape[1])
        for columns, value in zip(units.covariate_columns, self.weights, strict=True):
            weight[list(columns)] = value
        return squared_differences(units.covariates, weight, len(self.arms))

    def plan(self, units: Units) -> AllocationPlan:
        """Return the scheme for known units."""
        base = _base_plan(self.base, units)
        blocks = base.mechanism
        assert isinstance(blocks, Blocks)
        if np.all(np.ptp(units.covariates, axis=0) == 0):
            raise DesignError("The covariates do not vary, so every allocation is balanced. Leave them out.")
        codes = _all_of(blocks)
        exact = codes is not None
        if codes is None:
            if self.candidates * units.n > MOST_CANDIDATE_LABELS:
                raise DesignError(
                    f"{self.candidates:,} candidates of {units.n:,} units do not fit into memory. Draw fewer, or use "
                    "Rerandomisation, which keeps none."
                )
            words = Words("candidates", units.digest, declaration_of(self))
            codes = np.unique(draw(blocks, words, self.candidates), axis=0)
        values = self.score(units, blocks)(codes)
        limit = float(np.quantile(values[:, 0], self.accept))
        kept = codes[values[:, 0] <= limit * (1.0 + ROUNDING)]
        balance = _balance(values, (limit,), kept.shape[0], exact=exact, left=())
        text = f"{base.words}, among the best {self.accept:g} by balance in {', '.join(self.covariates)}"
        return arms_only(Listed(kept, len(self.arms), complete=exact), self.arms, text, ("balance", balance))


def _need_base(base: Any) -> None:
    if not isinstance(base, BASES):
        raise DesignError("base must be a CompleteAllocation, StratifiedAllocation or ClusterAllocation.")


def _with_covariates(base: Any, covariates: list[str]) -> Roles:
    own: Roles = base.roles()
    return Roles(cluster=own.cluster, stratum=own.stratum, covariates=tuple(covariates))


def _base_plan(scheme: Any, units: Units) -> AllocationPlan:
    """Return the plan of a base whose numbers are fixed, or refuse it."""
    plan: AllocationPlan = scheme.plan(units)
    blocks = plan.mechanism
    assert isinstance(blocks, Blocks)
    if any(int(size) > sum(part.fixed) for size, part in zip(blocks.sizes, blocks.splits, strict=True)):
        raise DesignError(
            "Balance is compared among allocations with the same numbers in each arm, and the shares leave units over. "
            "Give counts in the base scheme, or strata that divide."
        )
    if len(np.unique(np.concatenate([np.flatnonzero(part.fixed) for part in blocks.splits]))) < len(plan.labels):
        raise DesignError("An arm gets no unit. Give every arm some.")
    return plan


def scheme_of_blocks(blocks: Blocks) -> Scheme:
    """Return the permutation scheme of blocks with fixed numbers."""
    found = blocks.scheme(blocks.draw(Words("numbers"), 1)[0])
    assert found is not None
    return found


def _all_of(blocks: Blocks) -> Codes | None:
    """Return every allocation of blocks with fixed numbers, if they are few enough to list."""
    scheme = scheme_of_blocks(blocks)
    count = count_allocations(scheme)
    if count > MOST_LISTED or count * blocks.n_units > MOST_LABELS:
        return None
    return np.concatenate([codes for codes, _ in enumerate_allocations(scheme)])


def _balance(
    values: FloatArray, limits: tuple[float, ...], kept: int, *, exact: bool, left: tuple[float, ...]
) -> BalanceOfAllocations:
    n = values.shape[0]
    share = kept / n
    # Where none was seen, one could have been.
    error = 0.0 if exact else float(np.sqrt(max(share, 1.0 / n) * (1.0 - share) / n))
    return BalanceOfAllocations(tuple(limits), share, error, float(values[:, 0].min()), n, exact, left)


def _need_some(kept: int, balance: BalanceOfAllocations) -> None:
    if kept == 0:
        raise DesignError(
            f"None of the {balance.n_candidates:,} allocations is balanced enough: the smallest distance is "
            f"{balance.least:.3g} and at most {balance.threshold[0]:.3g} was asked for. Accept more."
        )


def _times(number: int, share: float) -> float:
    try:
        return float(number) * share
    except OverflowError:
        return float("inf")


@dataclass(frozen=True, eq=False, slots=True)
class BalanceScore:
    """The balance of one allocation among those that could have been.

    Attributes
    ----------
    score : float
        Of the allocation given.
    p_value : float
        Share of allocations with a score at least as large.
    least : float
        Smallest score of any allocation.
    n_allocations : int
        Allocations listed or drawn.
    exact : bool
        Whether all were listed.
    """

    score: float
    p_value: float
    least: float
    n_allocations: int
    exact: bool
    _scores: FloatArray = field(repr=False)

    def quantile(self, share: float) -> float:
        """Return a quantile of the scores of all allocations (interpolated, type 7).

        Parameters
        ----------
        share : float
            From 0 to 1.
        """
        return float(np.quantile(self._scores, real("share", share, low=0.0, high=1.0 + 1e-12, closed=True)))

    def n_below(self, score: float) -> int:
        """Return how many of the allocations have at most this score.

        Parameters
        ----------
        score : float
            A threshold.
        """
        return int((self._scores <= score * (1.0 + ROUNDING)).sum())


def balance_score(frame: Any, scheme: Any, *, arm: str, unit: str | None = None) -> BalanceScore:
    """Return how balanced an allocation is, among those that the base scheme could have given.

    Parameters
    ----------
    frame : pandas, polars or pyarrow frame, or dict of columns
        One row a unit, or a person in a cluster.
    scheme : Rerandomisation or ConstrainedAllocation
        Whose score is taken: the Mahalanobis distance (of the first tier), or the l2 score.
    arm : str
        Column of the arm.
    unit : str, optional
        Column that names the units.

    Returns
    -------
    BalanceScore

    Notes
    -----
    All allocations with the same numbers in each arm are listed where they are at most 200,000, else 20,000 are drawn.

    Examples
    --------
    >>> import gbveval as gbv
    >>> frame = {"age": [19.0, 22.0, 25.0, 31.0], "arm": ["usual", "new", "new", "usual"]}
    >>> base = gbv.CompleteAllocation(("usual", "new"))
    >>> found = gbv.balance_score(frame, gbv.ConstrainedAllocation(base, covariates="age"), arm="arm")
    >>> round(found.score, 3), found.n_allocations
    (0.086, 6)
    """
    from gbveval.design.allocation._units import read_arms, read_units

    if not isinstance(scheme, (Rerandomisation, ConstrainedAllocation)):
        raise DesignError("scheme is a Rerandomisation or a ConstrainedAllocation: the score is theirs.")
    units = read_units(frame, scheme.roles(), unit)
    codes = read_arms(frame, arm, scheme.arms, units)
    base = Blocks(units.stratum, _splits_found(units, codes, len(scheme.arms)), len(scheme.arms))
    score = scheme.score(units, base)
    everything = _all_of(base)
    values = score(draw(base, Words("score", units.digest), CANDIDATES) if everything is None else everything)[:, 0]
    own = float(score(codes[None, :])[0, 0])
    reach = float((values >= own * (1.0 - ROUNDING) - 1e-12).mean())
    return BalanceScore(own, reach, float(values.min()), values.size, everything is not None, values)


def _splits_found(units: Units, codes: Codes, k: int) -> Any:
    from gbveval.numerics.block_allocation import blocks_by_count

    table = np.zeros((units.n_strata, k), dtype=np.intp)
    np.add.at(table, (units.stratum, codes), 1)
    return blocks_by_count(units.stratum, table).splits

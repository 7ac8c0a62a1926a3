"""`WinProbability`: how often somebody in one arm has the better outcome than somebody in the other."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError, IdentificationError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.method import Check, Method
from gbveval.core.registry import register
from gbveval.data.trial import Trial
from gbveval.estimators._assemble import Row, all_samples, arm_support, assemble, require_parallel
from gbveval.estimators.randomised._linear import used_rows
from gbveval.numerics.win_probability import Wins, combine, win_contrast, wins

BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.intp]
BETTER = ("higher", "lower")
CONTRASTS = ("win_probability", "win_difference", "win_odds", "win_ratio")


@register("win_probability")
@dataclass(frozen=True, slots=True)
class WinProbability:
    """Probability that a treated person has a better outcome than an untreated one, ties counted as one half.

    Parameters
    ----------
    better : str
        Which outcome wins: "higher" (help received, wellbeing) or "lower" (frequency or severity of harassment).
    contrasts : tuple of str
        Of "win_probability", "win_difference" (share of wins minus share of losses, 2 p - 1), "win_odds" (p / (1 - p))
        and "win_ratio" (wins over losses, ties left out); the first by default. All rest on the same two shares and
        have a joint covariance.

    Notes
    -----
    **Identifies** P(Y1 better than Y0) + P(tie) / 2 for a person drawn from each arm: the estimand of the
    Wilcoxon-Mann-Whitney test, and of nothing but the order of the outcomes. One half is no difference. It is not the
    share of people who benefit, since nobody is seen in both arms.

    **Inference.** The variance is that of the placements of each person among the people of the other arm; by cluster,
    CR2 of the placements. Degrees of freedom are Satterthwaite's, as in Brunner and Munzel's test without clusters.
    Intervals are symmetric in the log odds and stay between zero and one. With strata everybody is compared within the
    stratum and strata are averaged by size.

    **Valid when** each arm (in each stratum) has about ten people, or some clusters; no distribution is assumed, and
    arms may differ in spread.

    **Do not use when** a difference in means, risks or rates answers the question: readers understand those better. Not
    with matched pairs, which are refused. Where nobody in one arm reaches anybody in the other, the odds are infinite,
    and value and reason say so.

    References
    ----------
    Brunner and Munzel (2000), Biometrical Journal 42. Fay and Malinovsky (2018), Statistics in Medicine 37. Zou (2021),
    Statistics in Medicine 40. Brunner, Vandemeulebroecke and Mutze (2021), Statistics in Medicine 40.

    Examples
    --------
    >>> frame = {"y": [0, 1, 1, 3, 0, 0, 1, 2], "arm": ["usual"] * 4 + ["new"] * 4}
    >>> trial = Trial(frame, outcome="y", arm="arm", control="usual")
    >>> answer = WinProbability(better="lower").estimate(trial)
    >>> float(answer.tidy()["estimate"].iloc[0])  # 8 wins, 4 losses and 4 ties in 16 pairs
    0.625
    """

    better: str = "higher"
    contrasts: tuple[str, ...] = ("win_probability",)
    name: ClassVar[str] = "win_probability"

    def __post_init__(self) -> None:
        if self.better not in BETTER:
            raise DesignError(f"better must be one of {', '.join(BETTER)}, not {self.better!r}.")
        if isinstance(self.contrasts, str) or not self.contrasts or not set(self.contrasts) <= set(CONTRASTS):
            raise DesignError(f"contrasts must be a tuple of some of {', '.join(CONTRASTS)}.")

    def estimate(self, data: Trial, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return the contrasts of each arm with control, for each outcome.

        Parameters
        ----------
        data : Trial
            The checked trial.
        rng : numpy.random.Generator, optional
            Ignored: nothing is random.

        Raises
        ------
        DesignError
            If the trial has pairs, or clusters change arm over time.
        IdentificationError
            If an arm (in a stratum) has fewer than two units or clusters.
        """
        require_parallel("WinProbability", data)
        if data.pair is not None:
            raise DesignError(
                "WinProbability does not take the role 'pair'. Leave the pairs out (the error is then conservative), "
                "or use RandomisationInference with statistic='rank_sum'."
            )
        rows: list[Row] = []
        checks: list[Check] = []
        for outcome in range(len(data.outcome_names)):
            used, notes = used_rows(data, outcome)
            checks += notes
            for arm in range(1, len(data.arms)):
                found = _compare(data, outcome, arm, used, -1.0 if self.better == "lower" else 1.0)
                rows += self._rows(data, outcome, arm, used, found)
                checks += _ties(data, outcome, arm, found)
        return assemble(self, data, rows, method=_method(data, self.better), checks=checks)

    def _rows(self, data: Trial, outcome: int, arm: int, used: BoolArray, found: Wins) -> list[Row]:
        member = used & np.isin(data.arm, (0, arm))
        clusters = None if data.cluster is None else int(np.unique(data.cluster.codes[member]).size)
        rows = []
        for contrast in self.contrasts:
            finite = win_contrast(contrast, found.win, found.loss)
            value, gradient = (float("nan"), np.zeros(2)) if finite is None else finite
            influence, df = found.inference(gradient)
            reason = (
                "there are no losses, or no wins, so odds and ratios are not finite"
                if finite is None
                else "all outcomes are tied, or all pairs go one way, so nothing varies"
            )
            rows.append(
                Row(
                    term=f"{data.arms[arm]} vs {data.arms[0]}",
                    outcome=data.outcome_names[outcome],
                    value=value,
                    influence=influence,
                    df=df,
                    estimand=Estimand("ITT", contrast),
                    n_units=int(member.sum()),
                    n_clusters=clusters,
                    support=arm_support(data, outcome, used, (0, arm)),
                    extra=(("wins", found.win), ("losses", found.loss), ("ties", 1.0 - found.win - found.loss)),
                    reason=reason,
                )
            )
            if len(self.contrasts) > 1:
                rows[-1] = _named(rows[-1], contrast)
        return rows


def _named(row: Row, contrast: str) -> Row:
    return replace(row, term=f"{row.term}, {contrast.replace('_', ' ')}")


def _compare(data: Trial, outcome: int, arm: int, used: BoolArray, sign: float) -> Wins:
    """Return the shares of wins and losses of an arm against control, over strata."""
    member = used & np.isin(data.arm, (0, arm))
    y, treated = sign * data.outcomes[:, outcome], data.arm == arm
    strata = np.zeros(data.n, dtype=np.intp) if data.stratum is None else data.stratum.codes
    present, sizes = np.unique(strata[member], return_counts=True)
    _need(data, member, strata, arm)
    weight = data.weight
    if weight is not None:
        sizes = np.array([weight[member & (strata == s)].sum() for s in present])
    parts, places = [], []
    for stratum in present:
        inside = member & (strata == stratum)
        place: IntArray = np.flatnonzero(inside)
        codes = None
        if data.cluster is not None:
            found, codes = np.unique(data.cluster.codes[inside], return_inverse=True)
            place = found.astype(np.intp)
        own = None if weight is None else weight[inside]
        parts.append(wins(y[inside], treated[inside], weight=own, cluster=codes))
        places.append(place)
    total = data.n if data.cluster is None else data.cluster.count
    return combine(parts, places, sizes / sizes.sum(), total)


def _need(data: Trial, member: BoolArray, strata: IntArray, arm: int) -> None:
    """Raise where an arm has fewer than two independent units, in a stratum if there are strata."""
    units = np.arange(data.n) if data.cluster is None else data.cluster.codes
    what = "units" if data.cluster is None else "clusters"
    short = 0
    for stratum in np.unique(strata[member]):
        inside = member & (strata == stratum)
        short += any(np.unique(units[inside & (data.arm == code)]).size < 2 for code in (0, arm))
    if member.sum() == 0 or short:
        where = "An arm has" if data.stratum is None else f"{short} strata have an arm with"
        raise IdentificationError(
            f"{where} fewer than two {what} with an outcome (arms {data.arms[0]!r} and {data.arms[arm]!r}), so the "
            "variance cannot be estimated. Merge small strata or arms, or describe the data without inference."
        )


def _ties(data: Trial, outcome: int, arm: int, found: Wins) -> list[Check]:
    ties = 1.0 - found.win - found.loss
    if ties < 0.5:
        return []
    text = (
        f"{ties:.0%} of the pairs of {data.outcome_names[outcome]} ({data.arms[arm]} vs {data.arms[0]}) are tied and "
        "count as one half; the win ratio leaves them out and looks larger than it is."
    )
    return [Check(f"ties {data.outcome_names[outcome]}", "info", text)]


def _method(data: Trial, better: str) -> Method:
    clustered = data.cluster is not None
    weighted = data.weight is not None
    plain = "from the placements of each unit among those of the other arm, separate in each arm"
    return Method(
        sample=f"{all_samples(data)}; the {better} outcome wins",
        std_error="CR2 of the placements, clustered by the unit of assignment"
        if clustered
        else ("HC2 of the weighted placements" if weighted else plain),
        small_sample="CR2 (bias-reduced linearisation, identity working model)"
        if clustered
        else ("HC2" if weighted else "units minus one in each arm"),
        reference="t with Satterthwaite degrees of freedom" + (", or rows minus 2" if weighted else ""),
        inference_for="a superpopulation of " + ("clusters" if clustered else "participants"),
        assumptions=(
            "arms were assigned at random as declared",
            "one unit's assignment does not change another's outcome",
            "outcomes are missing for reasons unrelated to the outcome",
        ),
        source="Brunner and Munzel 2000; Zou 2021",
    )

"""`DifferenceInMeans`: what randomisation alone identifies, with the variance of the way units were assigned."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from gbveval.core.batch import BatchEstimates, ClusterBatch
from gbveval.core.errors import DesignError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.method import Check, Method
from gbveval.core.registry import register
from gbveval.data.trial import Trial
from gbveval.estimators._assemble import Row, all_samples, arm_support, assemble, mean_contrast, require_parallel
from gbveval.estimators.randomised._batches import adjusted_batch
from gbveval.estimators.randomised._mean_designs import DESIGNS, SIZE_CHECKS, Fit, SizeCheck

BoolArray = NDArray[np.bool_]


@register("difference_in_means")
@dataclass(frozen=True, slots=True)
class DifferenceInMeans:
    """Difference in means between arms, by the design that the trial declares.

    Estimates the average effect of being assigned, over participants. Which variance is used follows from the roles
    of the `Trial` and is said in words with the result:

    ======================  =============================================  ==========================
    roles                   variance                                       degrees of freedom
    ======================  =============================================  ==========================
    none                    Neyman, s1^2/n1 + s0^2/n0                      Welch
    weight                  HC2 of the weighted regression                 rows minus 2
    stratum                 Neyman within strata, weighted by size         units minus 2 x strata
    pair                    of the within-pair differences                 pairs minus 1
    cluster                 CR2 of the regression on the arm               Satterthwaite
    cluster and stratum     CR2 within strata, weighted by size            Satterthwaite
    cluster and pair        of the weighted pair differences               pairs minus 1
    ======================  =============================================  ==========================

    Other combinations are refused by name: weights go with no other role here (`LinAdjusted` and `Ancova` take them
    with clusters and strata).

    **Strata** are weighted by all their people with the outcome, in whichever arm, so shares treated may differ between
    strata, and every arm is compared over the same people.

    **With several arms** each is compared with control; with several outcomes each is a row. The joint covariance
    covers all rows (the control arm is in each of them), so any contrast of arms or outcomes can be had with
    `Estimates.contrast` (by outcome and term), such as one arm against another.

    Notes
    -----
    **Identifies** the intention-to-treat effect when assignment was random and one unit's assignment does not change
    another's outcome.

    **Valid when** each arm has at least two independent units (clusters, where they were assigned) in every stratum.
    Neyman's variance is conservative for the units of the sample and consistent for a superpopulation of them.

    **Do not use when** assignment probabilities differ between strata and `stratum` is not declared, when people in a
    cluster were assigned together and `cluster` is not declared, or when cluster size is informative and the average
    over clusters is wanted: this is the average over participants.

    References
    ----------
    Neyman (1923, translated 1990), Statistical Science 5. Bell and McCaffrey (2002), Survey Methodology 28.
    Imai, King and Nall (2009), Statistical Science 24. Imbens and Kolesar (2016), Review of Economics and Statistics
    98.

    Examples
    --------
    >>> frame = {"y": [1.0, 2.0, 3.0, 4.0, 5.0, 9.0], "arm": ["usual"] * 3 + ["new"] * 3}
    >>> trial = Trial(frame, outcome="y", arm="arm", control="usual")
    >>> row = DifferenceInMeans().estimate(trial)[0]
    >>> row.value, round(row.std_error, 4)
    (4.0, 1.633)
    """

    name: ClassVar[str] = "difference_in_means"

    def estimate(self, data: Trial, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return the difference between each arm and control for each outcome.

        Parameters
        ----------
        data : Trial
            The checked trial.
        rng : numpy.random.Generator, optional
            Ignored: nothing is random.

        Raises
        ------
        DesignError
            If the roles are combined in a way that this estimator does not cover.
        IdentificationError
            If an arm is too small (in a stratum) for a variance.
        """
        require_parallel("DifferenceInMeans", data)
        fit, method, lonely = _choose(data)
        rows = []
        checks: list[Check] = []
        for outcome, name in enumerate(data.outcome_names):
            for arm in range(1, len(data.arms)):
                used = data.observed(outcome) & np.isin(data.arm, (0, arm))
                used, note = _positive_weights(data, used, name)
                checks += note
                used, note = _complete_pairs(data, used, arm, name)
                checks += note
                lonely(data, outcome, used, arm)
                found = fit(data, outcome, arm, used)
                contrast = Estimand("ITT", mean_contrast(data, outcome), "participant_average")
                clusters = None if data.cluster is None else int(np.unique(data.cluster.codes[used]).size)
                rows.append(
                    Row(
                        term=f"{data.arms[arm]} vs {data.arms[0]}",
                        outcome=name,
                        value=found.value,
                        influence=found.influence,
                        df=found.df,
                        estimand=contrast,
                        n_units=int(used.sum()),
                        n_clusters=clusters,
                        support=arm_support(data, outcome, used, (0, arm)),
                    )
                )
        return assemble(self, data, rows, method=method, checks=checks, blocks=_blocks(data))

    @property
    def in_batches(self) -> bool:
        """Whether `estimate_batch` does what `estimate` does with these options."""
        return True

    def estimate_batch(self, batch: ClusterBatch) -> BatchEstimates:
        """Return what `estimate` returns, for many simulated cluster trials, from their cluster totals.

        Parameters
        ----------
        batch : ClusterBatch
            Cross-products of the trials; covariates are left aside.
        """
        plain = replace(batch, gram=batch.gram[..., :1, :1], moment=batch.moment[..., :1])
        return adjusted_batch(plain, "CR2", "satterthwaite", by_arm=True)


def _choose(data: Trial) -> tuple[Fit, Method, SizeCheck]:
    """Return the numeric function, the method in words and the size check that fit the trial's roles."""
    roles = tuple(role for role in ("cluster", "pair", "stratum", "weight") if getattr(data, role) is not None)
    if roles not in DESIGNS:
        raise DesignError(
            f"DifferenceInMeans does not cover a trial with {' and '.join(roles)} together. "
            "LinAdjusted and Ancova take clusters, strata and weights together."
        )
    fit, std_error, small, reference, source = DESIGNS[roles]
    method = Method(
        sample=all_samples(data),
        std_error=std_error,
        small_sample=small,
        reference=reference,
        inference_for=f"the participants of the trial (conservative) or a superpopulation of {_independent(data)}",
        assumptions=(
            "arms were assigned at random as declared",
            "one unit's assignment does not change another's outcome",
            "outcomes are missing for reasons unrelated to the outcome",
        ),
        source=source,
    )
    return fit, method, SIZE_CHECKS[roles]


def _independent(data: Trial) -> str:
    """Return what was assigned independently."""
    if data.pair is not None:
        return "pairs of clusters" if data.cluster is not None else "pairs"
    return "clusters" if data.cluster is not None else "units"


def _positive_weights(data: Trial, used: BoolArray, name: str) -> tuple[BoolArray, list[Check]]:
    """Leave out units of weight zero, who take no part, and say how many."""
    if data.weight is None:
        return used, []
    keep = used & (data.weight > 0)
    lost = int(used.sum() - keep.sum())
    if lost == 0:
        return keep, []
    return keep, [Check(f"weights {name}", "info", f"{lost} units have weight zero and take no part.")]


def _blocks(data: Trial) -> NDArray[np.intp] | None:
    """Return which variance each independent unit belongs to: its arm (in its stratum); None for pairs and weights."""
    if data.pair is not None or data.weight is not None:
        return None
    if data.cluster is not None:
        block_of = np.zeros(data.cluster.count, dtype=np.intp)
        strata = 0 if data.stratum is None else data.stratum.codes
        block_of[data.cluster.codes] = strata * len(data.arms) + data.arm
        return block_of
    return data.arm if data.stratum is None else data.stratum.codes * len(data.arms) + data.arm


def _complete_pairs(data: Trial, used: BoolArray, arm: int, name: str) -> tuple[BoolArray, list[Check]]:
    """Leave out pairs in which an outcome is missing on one side, and say how many."""
    if data.pair is None:
        return used, []
    sides = [np.bincount(data.pair.codes[used & (data.arm == a)], minlength=data.pair.count) > 0 for a in (0, arm)]
    complete = sides[0] & sides[1]
    lost = int(data.pair.count - complete.sum())
    keep = used & complete[data.pair.codes]
    if lost == 0:
        return keep, []
    left_out = int(used.sum() - keep.sum())
    text = (
        f"{lost} of {data.pair.count} pairs have no outcome on one side; they are left out ({left_out} observed units)."
    )
    return keep, [Check(f"complete pairs {name}", "warn", text)]

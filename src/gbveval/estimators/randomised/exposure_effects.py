"""`ExposureEffects`: effects of one's own assignment and of that of neighbours in a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError, IdentificationError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.method import Cell, Check, Method
from gbveval.core.provenance import Provenance, derive_seed, options_of, versions
from gbveval.core.registry import register
from gbveval.data._network import Network
from gbveval.data.trial import Trial
from gbveval.estimators._assemble import Row, all_samples, assemble, events_of, mean_contrast, require_parallel
from gbveval.estimators.randomised._assignment import (
    ASSIGNMENTS,
    Assignment,
    RecordedAllocations,
    assignment_of,
)
from gbveval.numerics.allocations import (
    SMALL_BLOCK,
    Codes,
    can_list,
    draw_allocations,
    enumerate_allocations,
    how_many,
)
from gbveval.numerics.exposure import (
    BOTH,
    DIRECT,
    INDIRECT,
    NONE,
    ExposureContrast,
    Exposures,
    exposure_codes,
    exposure_contrast,
)

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
BoolArray = NDArray[np.bool_]
WEIGHTINGS = ("hajek", "horvitz_thompson")
# Row, kind of effect, and the two exposures compared.
ROWS = (
    ("direct and indirect vs none", "total_effect", (BOTH, NONE)),
    ("direct only vs none", "direct_effect", (DIRECT, NONE)),
    ("indirect only vs none", "indirect_effect", (INDIRECT, NONE)),
    ("direct and indirect vs indirect only", "direct_effect", (BOTH, INDIRECT)),
)
NAMES = {
    BOTH: "treated, and reached by neighbours",
    DIRECT: "treated, not reached by neighbours",
    INDIRECT: "not treated, reached by neighbours",
    NONE: "not treated, not reached by neighbours",
}
# Allocations times units that are held in memory, one byte each.
LARGEST = 400_000_000
# A probability below this weighs one person like more than twenty.
SMALL = 0.05
# Standard errors that drawing leaves more uncertain than this are told as a warning.
NOISE = 0.1


@register("exposure_effects")
@dataclass(frozen=True, slots=True)
class ExposureEffects:
    """Effects of being treated and of having treated neighbours, in a network or in groups written as one.

    The trial declares who can reach whom (roles `unit` and `network`). Everybody's assignment puts each unit into one
    of four exposures: treated or not, and reached by treated neighbours or not. How likely each exposure was follows
    from how the trial assigned (strata, clusters, pairs and probabilities, as for `RandomisationInference`) and differs
    from unit to unit: people with many neighbours are rarely out of reach. Means are weighted by one over these
    probabilities, which are counted over all allocations if there are no more than `n_draws`, and over as many drawn
    ones otherwise.

    Parameters
    ----------
    least_share : float
        A unit is reached if at least one neighbour is treated, and at least this share of its neighbours.
    weighting : str
        "hajek": weights divided by their sum, little biased and much more precise. "horvitz_thompson": unbiased, for
        trials small enough that all allocations are listed: drawn ones leave its variance so noisy that it can come out
        below zero.
    assignment : str or RecordedAllocations
        As for `RandomisationInference`: "auto", "complete", "simple", or allocations recorded beforehand.
    n_draws : int
        Allocations to draw where there are more.

    Notes
    -----
    **Identifies** differences between the average outcomes that units would have under two exposures, when assignment
    was random as declared, the network is complete and older than assignment, and outcomes depend on others' assignment
    through the exposure alone. Rows compare each exposure with none, and being treated among those reached. Units for
    whom one of the two exposures of a row could not happen, such as people without neighbours, are not in that row's
    population; checks say how many, and rows may therefore be about different people.

    **Variance.** Aronow and Samii's, from the probabilities with which pairs of units were in the exposures together.
    Pairs that could never be seen together are bounded, so it is conservative; for "hajek" it is that of the residuals
    (linearisation). The joint covariance of the rows is not given.

    **Valid when** many units of assignment contribute to each exposure: the reference is normal. Look at the smallest
    probability in the checks; below 0.05 one person weighs like more than twenty.

    **Do not use when** the network was measured after assignment (treatment can make friends), pairs are missing from
    it in numbers, or treatment travels further than one step. With people in villages or schools that were assigned to
    shares, `SaturationEffects` needs no network.

    References
    ----------
    Aronow and Samii (2017), Annals of Applied Statistics 11. Fattorini (2006), Biometrika 93.

    Examples
    --------
    >>> frame = {
    ...     "y": [2.0, 3.0, 4.0, 5.0, 1.0, 1.0],
    ...     "id": ["a", "b", "c", "d", "e", "f"],
    ...     "arm": ["new", "usual", "new", "usual", "usual", "usual"],
    ... }
    >>> couples = {"one": ["a", "c", "e"], "other": ["b", "d", "f"]}
    >>> trial = Trial(frame, outcome="y", arm="arm", control="usual", unit="id", network=couples)
    >>> row = ExposureEffects().estimate(trial)["indirect only vs none"]
    >>> round(row.value, 9)  # everybody has the same probabilities: (3 + 5) / 2 less (1 + 1) / 2
    3.0
    """

    least_share: float = 0.0
    weighting: str = "hajek"
    assignment: str | RecordedAllocations = "auto"
    n_draws: int = 9_999
    name: ClassVar[str] = "exposure_effects"

    def __post_init__(self) -> None:
        if self.weighting not in WEIGHTINGS:
            raise DesignError(f"weighting must be one of {', '.join(WEIGHTINGS)}, not {self.weighting!r}.")
        if not isinstance(self.assignment, RecordedAllocations) and self.assignment not in ASSIGNMENTS:
            raise DesignError(f"assignment must be one of {', '.join(ASSIGNMENTS)}, or RecordedAllocations.")
        if not 0.0 <= self.least_share <= 1.0:
            raise DesignError(f"least_share is a share, 0 to 1, not {self.least_share!r}.")
        if self.n_draws < 99:
            raise DesignError("n_draws must be at least 99: fewer cannot tell a rare exposure from an impossible one.")

    def estimate(self, data: Trial, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return four contrasts of exposures for each outcome.

        Parameters
        ----------
        data : Trial
            Two arms, with the roles `unit` and `network`.
        rng : numpy.random.Generator, optional
            For drawn allocations; by default seeded from the data and the options.

        Raises
        ------
        DesignError
            If the trial declares no network, more than two arms, or weights.
        IdentificationError
            If in no row two units were seen in each exposure.
        """
        network = _network(data)
        assignment = assignment_of(data, self.assignment)
        seed = derive_seed(data.digest, self.name, repr(options_of(self))) if rng is None else int(rng.integers(2**31))
        exposures, how = self._exposures(data, network, assignment, np.random.default_rng(seed))
        seen = exposure_codes((data.arm == 1).astype(np.int8)[None, :], network.adjacency(), self.least_share)[0]
        rows: list[Row] = []
        found: list[ExposureContrast] = []
        checks: list[Check] = []
        for outcome in range(len(data.outcome_names)):
            for term, kind, pair in ROWS:
                row, contrast = self._row(data, outcome, (term, kind, pair), exposures, seen)
                rows.append(row)
                found.append(contrast)
            checks += _left_out(data, outcome, exposures, rows[-len(ROWS) :])
        if not np.isfinite([row.value for row in rows]).any():
            raise IdentificationError(
                "In no row were two units, with an outcome and able to be in both exposures, seen in each. Look "
                "at the network and the shares assigned: perhaps everybody is reached, or nobody."
            )
        checks += _probability_checks(exposures, seen, data, network)
        checks += _drawing_checks(exposures, [one.noise / (2.0 * one.variance) for one in found if one.variance > 0])
        covariance = np.full((len(rows), len(rows)), np.nan)
        np.fill_diagonal(covariance, [one.variance for one in found])
        method = self._method(data, network, assignment, how)
        answer = assemble(self, data, rows, method=method, checks=checks, covariance=covariance)
        drawn = exposures.touched is not None and not isinstance(self.assignment, RecordedAllocations)
        origin = Provenance(
            data.digest, answer.provenance.options, seed if drawn else None, versions(), seed_derived=rng is None
        )
        return replace(answer, provenance=origin)

    def _exposures(
        self, data: Trial, network: Network, assignment: Assignment, rng: np.random.Generator
    ) -> tuple[Exposures, str]:
        """Return exposures under all allocations, or under drawn ones and the one made; and that in words."""
        scheme, adjacency = assignment.scheme, network.adjacency()
        recorded = scheme.recorded is not None
        listed = not recorded and can_list(scheme) and assignment.count <= self.n_draws
        count = assignment.count if listed or recorded else self.n_draws
        if count * data.n > LARGEST:
            raise DesignError(
                f"{count:,} allocations of {data.n:,} units do not fit into memory. Use n_draws of at most "
                f"{LARGEST // data.n:,}."
            )
        weights: list[FloatArray] = []
        parts: list[Codes] = []
        if listed or recorded:
            for codes, weight in enumerate_allocations(scheme):
                parts.append(exposure_codes(codes[:, assignment.unit], adjacency, self.least_share))
                weights.append(weight)
        else:
            drawn = draw_allocations(scheme, self.n_draws, rng)
            parts += [exposure_codes(codes[:, assignment.unit], adjacency, self.least_share) for codes in drawn]
        if listed:
            weight = np.concatenate(weights)
            even = scheme.probability is None
            words = f"all {how_many(assignment.count)} allocations listed"
            return Exposures(np.concatenate(parts), None if even else weight / weight.sum(), None), words
        made = (data.arm == 1).astype(np.int8)[None, :]
        parts.append(exposure_codes(made, adjacency, self.least_share))
        words = f"{count:,} recorded" if recorded else f"{count:,} drawn of {how_many(assignment.count)} allocations"
        return Exposures(np.concatenate(parts), None, _touched(network, assignment)), f"{words}, and the one made"

    def _row(
        self,
        data: Trial,
        outcome: int,
        what: tuple[str, str, tuple[int, int]],
        exposures: Exposures,
        seen: NDArray[np.int8],
    ) -> tuple[Row, ExposureContrast]:
        """Return a row and the numbers behind it."""
        term, kind, pair = what
        name, used = data.outcome_names[outcome], data.observed(outcome)
        able = exposures.possible()[:, list(pair)].all(axis=1)
        units = np.flatnonzero(used & able)
        inside = np.isin(np.arange(data.n), units)
        counts = [int((inside & (seen == code)).sum()) for code in pair]
        found = ExposureContrast(float("nan"), float("nan"), float("nan"))
        reason = "fewer than two units that could be in both exposures were seen in one of them"
        if min(counts) >= 2:
            y = np.where(used, data.outcomes[:, outcome], 0.0)
            found = exposure_contrast(exposures, y, seen, pair, units, hajek=self.weighting == "hajek")
            reason = "" if found.variance >= 0 else "the estimated variance is below zero: too few units, or draws"
        happened = events_of(data.outcomes[:, outcome])
        support = tuple(
            Cell(
                NAMES[code],
                count,
                None if happened is None else int((inside & (seen == code) & happened).sum()),
                f"{name} by arm and exposure ({term})",
            )
            for code, count in zip(pair, counts, strict=True)
        )
        row = Row(
            term=term,
            outcome=name,
            value=found.value,
            influence=None,
            df=float("inf"),
            estimand=Estimand(kind, mean_contrast(data, outcome), "participant_average"),
            n_units=int(units.size),
            n_clusters=None if data.cluster is None else int(np.unique(data.cluster.codes[units]).size),
            support=support,
            reason=reason,
        )
        return row, found

    def _method(self, data: Trial, network: Network, assignment: Assignment, how: str) -> Method:
        means = ""
        if self.weighting == "hajek":
            means = ", of the residuals about each exposure's weighted mean (linearised)"
        least = f", and at least {self.least_share:.0%} of them" if self.least_share > 0 else ""
        return Method(
            sample=f"{all_samples(data)}; {network.edges.shape[0]:,} pairs of neighbours",
            std_error=f"from the probabilities of exposure of pairs of units{means}, with a bound for pairs that "
            "could not be seen together (conservative)",
            small_sample="none",
            reference="normal",
            inference_for="those participants who could have been in both exposures of a row (conservative)",
            assumptions=(
                f"arms were assigned at random as declared ({assignment.words}; probabilities from {how})",
                f"others' assignment matters only through whether a neighbour is treated{least}",
                "the network is complete, and was not changed by assignment",
                "outcomes are missing for reasons unrelated to the outcome and to assignment",
            ),
            source="Aronow and Samii 2017",
        )


def _network(data: Trial) -> Network:
    require_parallel("ExposureEffects", data)
    if data.network is None:
        raise DesignError(
            "ExposureEffects needs to know who can reach whom, and guesses it from nothing, clusters included. Declare "
            "Trial(unit=..., network=...): a column of identifiers, and a frame of the pairs that are linked. For "
            "groups, list the pairs inside each."
        )
    if len(data.arms) != 2:
        raise DesignError(f"ExposureEffects compares two arms; the trial has {len(data.arms)}. Keep two.")
    if data.weight is not None:
        raise DesignError("ExposureEffects weights by probabilities of exposure, not by the role weight. Leave it out.")
    return data.network


def _touched(network: Network, assignment: Assignment) -> object:
    """Return the units of assignment (and small blocks of them) on which each unit's exposure depends."""
    from scipy.sparse import csr_array, eye_array, hstack

    n, count = assignment.unit.size, assignment.block.size
    near = network.adjacency() + eye_array(n, dtype=np.float32, format="csr")
    ones = np.ones(n, dtype=np.float32)
    things = near @ csr_array((ones, (np.arange(n), assignment.unit)), shape=(n, count))
    small = np.bincount(assignment.block)[assignment.block] <= SMALL_BLOCK
    place = (np.flatnonzero(small), assignment.block[small])
    blocks = csr_array(
        (np.ones(place[0].size, dtype=np.float32), place), shape=(count, int(assignment.block.max()) + 1)
    )
    return csr_array(hstack([things, things @ blocks]))


def _left_out(data: Trial, outcome: int, exposures: Exposures, rows: Sequence[Row]) -> list[Check]:
    """Return who is not in the population of a row, and how that is known."""
    whole = int(data.observed(outcome).sum())
    short = [(row.term, whole - row.n_units) for row in rows if row.n_units < whole]
    if not short:
        return []
    how = "could not be" if exposures.touched is None else "were in no allocation drawn"
    why = f"{how} in one of the two exposures of a row and are not in its population"
    counts = "; ".join(f"{term}: {count:,}" for term, count in short)
    names = "; ".join(term for term, _ in short)
    return [
        Check(
            f"population {data.outcome_names[outcome]}",
            "info",
            f"of {whole:,} units with an outcome some {why} ({counts}).",
            f"some units with an outcome {why} ({names}).",
        )
    ]


def _probability_checks(exposures: Exposures, seen: NDArray[np.int8], data: Trial, network: Network) -> list[Check]:
    """Return what a reader should know of the probabilities of the exposures that were seen."""
    checks = []
    alone = int((network.degree() == 0).sum())
    if alone:
        text = "have no neighbour, so nobody reaches them; of the rows only 'direct only vs none' is about them too"
        checks.append(Check("no neighbour", "info", f"{alone:,} of {data.n:,} units {text}.", f"some units {text}."))
    used = ~np.isnan(data.outcomes).all(axis=1)
    possible = exposures.possible()[np.arange(data.n), seen]
    own = exposures.probability()[np.arange(data.n), seen][used & possible]
    if not own.size:
        return checks
    small = int((own < SMALL).sum())
    low = float(own.min())
    text = f"the smallest probability of an exposure that somebody had is {low:.3g}"
    if small:
        many = f"{small:,} people had one below {SMALL:g}"
        tail = f"They weigh up to {1 / low:,.0f} times one person; estimates lean on them."
        checks.append(
            Check("small probabilities", "warn", f"{text}; {many}. {tail}", f"{text}. Estimates lean on few.")
        )
    else:
        checks.append(Check("probabilities", "ok", f"{text}."))
    return checks


def _drawing_checks(exposures: Exposures, noises: list[float]) -> list[Check]:
    """Return how far the number of allocations leaves standard errors uncertain, at the worst of the rows."""
    if exposures.touched is None or not noises:
        return []
    text = (
        f"probabilities are from {exposures.codes.shape[0]:,} allocations, which leaves a standard error uncertain "
        f"by up to about {100 * max(noises):.0f} %."
    )
    if max(noises) > NOISE:
        return [Check("draws", "warn", f"{text} Draw more.")]
    return [Check("draws", "info", text)]

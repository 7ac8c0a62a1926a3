"""Hides how a declared scheme is carried out, and answers what it implies: probabilities, numbers and new draws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from math import log10
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError
from gbveval.core.method import Check
from gbveval.core.provenance import versions
from gbveval.design._require import whole
from gbveval.design.allocation._units import Units, bare_units, read_units
from gbveval.design.allocation.blocked import BlockedAllocation
from gbveval.design.allocation.minimised import Minimisation
from gbveval.design.allocation.plan import AllocationPlan, AllocationScheme, declaration_of
from gbveval.numerics.acceptable import Listed, TooStrictError, same_arm
from gbveval.numerics.allocations import Codes, Scheme, how_many
from gbveval.numerics.block_allocation import Blocks
from gbveval.numerics.mechanism import Moments, draw, moments, pick, simulated_number
from gbveval.numerics.philox import STREAM, Words

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
# Draws behind probabilities that no formula has, and labels of candidates that are drawn for them at most.
SIMULATED, LABELS = 10_000, 200_000_000


@dataclass(frozen=True, slots=True)
class PairCoincidence:
    """How often two units of assignment are in the same arm, over all pairs of units.

    Attributes
    ----------
    least, most : float
        Smallest and largest share of allocations in which a pair is together.
    n_never, n_always : int
        Pairs that are never, and always, together.
    n_pairs : int
        Pairs of units.
    n_allocations : int
        Allocations that were looked at.
    exact : bool
        Whether they are all there are.
    """

    least: float
    most: float
    n_never: int
    n_always: int
    n_pairs: int
    n_allocations: int
    exact: bool


@dataclass(frozen=True, eq=False)
class Allocated:
    """Units allocated by a declared scheme, with what the scheme implies.

    Made by `allocate`. Hand it to `Trial(allocation=...)`, and randomisation tests run the scheme again exactly.

    Attributes
    ----------
    scheme : AllocationScheme
        The declaration.
    seed : int
        The seed.
    plan : AllocationPlan
        The scheme for these units; `plan.notes` holds thresholds, acceptable allocations or matched groups.
    label_of_unit : ndarray of int8, shape (units,)
        Position in `labels` of each unit of assignment; -1 where it was left unassigned.
    dry_run : bool
        Whether this is a trial of the procedure, whose list is invalid for enrolment.
    """

    scheme: AllocationScheme
    seed: int
    plan: AllocationPlan
    label_of_unit: Codes
    units: Units = field(repr=False)
    dry_run: bool = False

    @property
    def arms(self) -> tuple[str, ...]:
        """Arm labels, control first."""
        return self.scheme.arms

    @property
    def labels(self) -> tuple[str, ...]:
        """What units are allocated to: arms, sequences of a stepped wedge, or a saturation with an arm."""
        return self.plan.labels

    @property
    def arm_of(self) -> IntArray:
        """Position in `arms` of each label in each period, shape (labels, periods)."""
        return self.plan.arm_of

    @property
    def words(self) -> str:
        """The scheme, said."""
        return self.plan.words

    @property
    def unit_names(self) -> tuple[str, ...] | None:
        """Names of the units of assignment; None where they are the rows of the frame."""
        return self.units.names

    @property
    def assigns_clusters(self) -> bool:
        """Whether the units of assignment are clusters."""
        return self.units.grouped

    @property
    def n_units(self) -> int:
        """Units of assignment."""
        return self.units.n

    @property
    def n_rows(self) -> int:
        """Rows of the frame."""
        return int(self.units.of_row.size)

    @property
    def assignments(self) -> NDArray[np.object_]:
        """Label of each row of the frame, in its order; None where it was left unassigned."""
        return np.array([*self.labels, None], dtype=object)[self.label_of_unit[self.units.of_row]]

    def arm_in(self, period: int = 0) -> NDArray[np.object_]:
        """Return the arm of each row of the frame in a period (the first is 0).

        Parameters
        ----------
        period : int
            Position of the period; 0 where arms do not change.
        """
        if not 0 <= whole("period", period, least=0) < self.arm_of.shape[1]:
            raise DesignError(f"There are {self.arm_of.shape[1]} periods, 0 to {self.arm_of.shape[1] - 1}.")
        codes = np.append(self.arm_of[:, period], len(self.arms))
        return np.asarray(np.array([*self.arms, None], dtype=object)[codes[self.label_of_unit[self.units.of_row]]])

    def assigned(self) -> Mapping[Any, str]:
        """Return the label of each assigned unit, by its name or number."""
        names = self.units.names or range(self.n_units)
        return {n: self.labels[code] for n, code in zip(names, self.label_of_unit, strict=True) if code >= 0}

    @cached_property
    def digest(self) -> str:
        """SHA-256 of what the scheme read of the frame and of the declaration."""
        return sha256(f"{self.units.digest}\x1f{declaration_of(self.scheme)}".encode()).hexdigest()

    @property
    def versions(self) -> tuple[tuple[str, str], ...]:
        """Version of the stream of random choices, which decides the list, and of Python and packages."""
        return (("stream", STREAM), *versions())

    @cached_property
    def list_digest(self) -> str:
        """SHA-256 of the list: units in order, and their labels."""
        text = "\x1f".join(self.labels) + "\x1e" + "\x1f".join(self.units.names or ())
        return sha256(text.encode() + self.label_of_unit.astype("<i1").tobytes()).hexdigest()

    @cached_property
    def _moments(self) -> Moments:
        return moments(self.plan.mechanism, Words("moments", self.digest), self._n_simulated)

    @cached_property
    def _n_simulated(self) -> int:
        """Draws behind what no formula has: fewer where most candidates are rejected."""
        balance = self.plan.note("balance")
        accepted = 1.0 if balance is None else max(balance.accepted, 1e-4)
        return int(min(SIMULATED, max(500, LABELS * accepted / self.n_units)))

    @cached_property
    def _by_formula(self) -> FloatArray | None:
        return self.plan.mechanism.probabilities()

    @cached_property
    def probabilities(self) -> FloatArray:
        """Probability of each label, shape (units, labels); where units may be left unassigned rows sum to less."""
        return self._moments.probabilities if self._by_formula is None else self._by_formula

    @cached_property
    def probabilities_mcse(self) -> FloatArray:
        """Monte Carlo standard error of `probabilities`; zeros where they are exact."""
        error = np.zeros_like(self.probabilities)
        return error if self._by_formula is not None else self._moments.error(self.probabilities)

    def probability_of(self, arm: str, period: int = 0) -> FloatArray:
        """Return the probability of an arm for each row of the frame, as the role probability of a trial takes it.

        Parameters
        ----------
        arm : str
            Label of the arm.
        period : int
            Position of the period, where arms change.
        """
        if arm not in self.arms:
            raise DesignError(f"arm must be one of {', '.join(map(repr, self.arms))}.")
        member = self.arm_of[:, period] == self.arms.index(arm)
        return np.asarray(self.probabilities[:, member].sum(axis=1)[self.units.of_row])

    def pairwise(self, first: int, second: int) -> FloatArray:
        """Return the probability of each pair of labels of two units of assignment, shape (labels, labels).

        Parameters
        ----------
        first, second : int
            Positions of the units.

        Notes
        -----
        Exact where `pairwise_is_exact`; else from 10,000 draws (fewer where candidates are mostly rejected), with
        standard error at most 0.005 (0.022).
        """
        for value in (first, second):
            if not 0 <= whole("a unit", value, least=0) < self.n_units:
                raise DesignError(f"Units are numbered 0 to {self.n_units - 1:,}.")
        exact = self.plan.mechanism.joint(first, second)
        return self._moments.joint(first, second) if exact is None else exact

    @cached_property
    def pairwise_is_exact(self) -> bool:
        """Whether joint probabilities are exact rather than simulated."""
        other = min(1, self.n_units - 1)
        return self.plan.mechanism.joint(0, other) is not None or self._moments.exact

    @cached_property
    def _number(self) -> tuple[int | None, float, bool]:
        known = self.plan.mechanism.count()
        if known is not None:
            return known, float(self.plan.note("n_allocations_mcse") or 0.0), self.plan.mechanism.count_is_exact
        noted = self.plan.note("n_allocations")
        if noted is not None:
            return int(noted), float(self.plan.note("n_allocations_mcse")), False
        if self._moments.exact:
            return int(self._moments.codes.shape[0]), 0.0, True
        simulated = simulated_number(self.plan.mechanism, Words("number", self.digest), SIMULATED // 5)
        return (None, float("nan"), False) if simulated is None else (*simulated, False)

    @property
    def n_allocations(self) -> int | None:
        """How many different allocations the scheme can give; None where they are too many to count."""
        return self._number[0]

    @property
    def n_allocations_mcse(self) -> float:
        """Monte Carlo standard error of the number of allocations; zero where it is by formula or enumeration."""
        return self._number[1]

    @property
    def log10_allocations(self) -> float:
        """Decimal logarithm of the number of allocations, for numbers with more digits than anybody reads."""
        n = self.n_allocations
        return float("nan") if n is None else log10(n)

    @property
    def exact(self) -> bool:
        """Whether probabilities and the number of allocations are exact, by formula or enumeration."""
        return self._number[2] and (self._by_formula is not None or self._moments.exact)

    def pair_coincidence(self) -> PairCoincidence:
        """Return how often two units are in the same arm, over the pairs of units: a check of restricted schemes.

        Notes
        -----
        From all allocations where they are listed, else from 10,000 draws. For at most 2,000 units.
        """
        if self.n_units > 2_000:
            raise DesignError("Pairs are compared for at most 2,000 units of assignment.")
        mechanism = self.plan.mechanism
        codes, exact = (mechanism.codes, mechanism.complete) if isinstance(mechanism, Listed) else (None, False)
        if codes is None:
            codes, exact = self._moments.codes, self._moments.exact
        share = same_arm(codes, self._moments.weight if codes is self._moments.codes else None)
        pairs = share[np.triu_indices(self.n_units, 1)]
        return PairCoincidence(
            float(pairs.min()),
            float(pairs.max()),
            int((pairs < 1e-12).sum()),
            int((pairs > 1.0 - 1e-12).sum()),
            int(pairs.size),
            int(codes.shape[0]),
            exact,
        )

    @cached_property
    def checks(self) -> tuple[Check, ...]:
        """What was looked at: the number of allocations, and pairs of units in restricted schemes."""
        return allocation_checks(self)

    @property
    def matched_groups(self) -> NDArray[np.intp]:
        """Number of the matched group of each row of the frame, for the role pair of a trial."""
        if self.plan.note("matched") is None or not isinstance(self.plan.mechanism, Blocks):
            raise DesignError("Groups are those of a MatchedAllocation.")
        return np.asarray(self.plan.mechanism.block[self.units.of_row])

    @property
    def saturations(self) -> FloatArray:
        """Saturation of each row's cluster, for the role saturation of a trial."""
        given = getattr(self.scheme, "saturations", None)
        if given is None:
            raise DesignError("Saturations are those of a SaturationAllocation.")
        return np.asarray(np.array(given)[self.label_of_unit[self.units.of_row] // 2])

    def redraw(self, n_draws: int, *, seed: int) -> Codes:
        """Return allocations drawn anew by the same scheme, as positions in `labels`, shape (n_draws, units).

        Parameters
        ----------
        n_draws : int
            How many.
        seed : int
            Seed of the draws; it has nothing to do with the seed of the list.
        """
        words = Words("redraw", str(whole("seed", seed, least=0)), self.digest)
        return draw(self.plan.mechanism, words, whole("n_draws", n_draws, least=1))

    def scheme_of(self, units: IntArray, code_of: IntArray) -> Scheme:
        """Return how some units could have been allocated, for randomisation tests.

        Parameters
        ----------
        units : ndarray of int
            Positions of the units.
        code_of : ndarray of int
            What each label counts as.
        """
        return pick(self.plan.mechanism, self.label_of_unit, units, code_of, self.plan.note("n_allocations"))

    def __repr__(self) -> str:
        counts = np.bincount(self.label_of_unit[self.label_of_unit >= 0], minlength=len(self.labels))
        shown = ", ".join(f"{label!r} ({n:,})" for label, n in zip(self.labels, counts, strict=True))
        left = int((self.label_of_unit < 0).sum())
        kind = "clusters" if self.assigns_clusters else "units"
        dry = "; DRY RUN" if self.dry_run else ""
        return f"<Allocated: {self.n_units:,} {kind}, {shown}{f', {left:,} unassigned' if left else ''}{dry}>"


# Fewer allocations than this cannot reach p = 0.05 in a two-sided test.
FEWEST = 40


def allocation_checks(found: Allocated) -> tuple[Check, ...]:
    """Return what was looked at in an allocation."""
    number = found.n_allocations
    said = "too many to count" if number is None else how_many(number)
    few = number is not None and number < FEWEST
    text = f"the scheme can give {said} allocations" + (
        f"; with fewer than {FEWEST} a two-sided randomisation test cannot reach 0.05" if few else ""
    )
    checks = [Check("number of allocations", "warn" if few else "ok", text + "."), *_foretold(found.scheme)]
    if found.plan.note("balance") is None or found.n_units > 500:
        return tuple(checks)
    pairs = found.pair_coincidence()
    stuck = pairs.n_never + pairs.n_always
    text = (
        f"two units are in the same arm in {pairs.least:.2f} to {pairs.most:.2f} of acceptable allocations; "
        f"{pairs.n_never:,} of {pairs.n_pairs:,} pairs never are and {pairs.n_always:,} always"
    )
    advice = ". Accept more allocations, or balance fewer covariates" if stuck else ""
    checks.append(Check("validity of the restriction", "warn" if stuck else "ok", f"{text}{advice}."))
    return tuple(checks)


def _foretold(scheme: Any) -> tuple[Check, ...]:
    """Return how well the next assignment can be foretold by whoever sees the earlier ones."""
    if isinstance(scheme, BlockedAllocation):
        sizes = "; ".join(
            f"blocks of {found.size}: {100 * found.forced:.0f} % follow from the others, "
            f"{100 * found.guessed:.0f} % can be guessed"
            for found in scheme.predictability()
        )
        fixed = len(scheme.sizes) == 1
        advice = ". The block size is fixed: whoever learns it can foretell assignments. Use several" if fixed else ""
        return (Check("predictability", "warn" if fixed else "info", f"{sizes}{advice}."),)
    if isinstance(scheme, Minimisation) and scheme.preferred >= 1.0:
        text = "the preferred arm is certain, so whoever keeps the counts can foretell assignments. Lower preferred."
        return (Check("predictability", "warn", text),)
    return ()


def allocate(
    frame: Any, scheme: AllocationScheme, *, seed: int, unit: str | None = None, dry_run: bool = False
) -> Allocated:
    """Return the units of a frame allocated by a declared scheme.

    Parameters
    ----------
    frame : pandas, polars or pyarrow frame, dict of columns, or int
        One row a unit (or, for cluster schemes, a person or a cluster). A whole number stands for that many units.
    scheme : AllocationScheme
        `SimpleAllocation`, `CompleteAllocation`, `StratifiedAllocation`, `ClusterAllocation`, `BlockedAllocation`,
        `MatchedAllocation`, `Minimisation`, `Rerandomisation`, `ConstrainedAllocation`, `SteppedWedgeAllocation` or
        `SaturationAllocation`.
    seed : int
        Seed, zero or more. Whoever has seed and frame has the list. Where assignments are told at once, let the seed be
        drawn in public after the frame is closed; where they must stay concealed, let it be long and secret.
    unit : str, optional
        Column that names the units. With it the order of rows changes nothing, except where order is that of
        enrolment, and a trial finds its units by name.
    dry_run : bool
        Whether this only tries the procedure. A list sealed from it is marked invalid.

    Raises
    ------
    DataError
        If columns are absent, incomplete or mix types, or units repeat.
    DesignError
        If the scheme does not fit the units.

    Notes
    -----
    The same seed, declaration and frame (what the scheme reads of it) give the same list on every version of Python and
    NumPy: choices are made from the raw words of Philox by integer arithmetic, keyed with the digest of all three. So a
    frame that was changed gives another list, and a seed cannot be reused by accident. Balance scores, distances and
    matching are computed in floating point; where two of them agree to the last digits, another machine may choose the
    other.

    Examples
    --------
    >>> from gbveval.design.allocation.complete import StratifiedAllocation
    >>> frame = {"id": [1, 2, 3, 4], "town": ["a", "a", "b", "b"]}
    >>> found = allocate(frame, StratifiedAllocation(("usual", "new"), stratum="town"), seed=7, unit="id")
    >>> found
    <Allocated: 4 units, 'usual' (2), 'new' (2)>
    >>> found.n_allocations, found.exact
    (4, True)
    """
    whole("seed", seed, least=0)
    if not callable(getattr(scheme, "plan", None)) or isinstance(scheme, type):
        raise DesignError("scheme takes a declared scheme, such as CompleteAllocation(('usual', 'new')).")
    roles = scheme.roles()
    if isinstance(frame, Integral) and not isinstance(frame, bool):
        if unit is not None or roles.cluster or roles.stratum or roles.factors or roles.covariates:
            raise DesignError("This scheme reads columns; give a frame rather than a number of units.")
        units = bare_units(whole("the number of units", frame, least=2))
    else:
        units = read_units(frame, roles, unit)
    if units.n < 2:
        raise DesignError("There is a single unit of assignment; at least two are needed.")
    plan = scheme.plan(units)
    words = Words("list", str(seed), units.digest, declaration_of(scheme))
    try:
        codes = plan.mechanism.draw(words, 1)[0]
    except TooStrictError as error:
        raise DesignError(
            f"None of {error.args[0]:,} candidates was balanced enough. Accept more, or balance fewer covariates."
        ) from None
    codes.flags.writeable = False
    return Allocated(scheme, int(seed), plan, codes, units, bool(dry_run))

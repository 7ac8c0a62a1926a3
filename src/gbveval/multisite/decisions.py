"""Hides how a posterior becomes go, adapt or stop, by rules that were written down before the data."""

from __future__ import annotations

from dataclasses import dataclass

from gbveval.core.errors import ConvergenceError, DesignError
from gbveval.core.estimates import Estimates
from gbveval.core.table import Table

GO, ADAPT, STOP = "go", "adapt", "stop"


@dataclass(frozen=True, slots=True)
class DecisionRule:
    """A quantity must lie beyond a threshold with at least this posterior probability.

    Parameters
    ----------
    term : str
        Which row of the pooled answer: "average effect", "effect in a new site", or an effect in one site. These are
        three different questions.
    probability : float
        Between 0 and 1.
    above, below : float, optional
        The threshold on the scale that is shown (a ratio for ratios); give one of the two. It is a practical one: the
        smallest effect that would matter, not zero by habit.

    Raises
    ------
    DesignError
        If not exactly one threshold is given, or the probability is none.

    Examples
    --------
    >>> DecisionRule("average effect", 0.8, below=-0.02).words()
    'P(average effect < -0.02) >= 0.8'
    """

    term: str
    probability: float
    above: float | None = None
    below: float | None = None

    def __post_init__(self) -> None:
        if (self.above is None) == (self.below is None):
            raise DesignError(f"A rule about {self.term!r} needs either `above` or `below`.")
        if not isinstance(self.probability, (int, float)) or not 0.0 < self.probability < 1.0:
            raise DesignError(f"The probability of a rule lies between 0 and 1; it is {self.probability!r}.")

    def words(self) -> str:
        """Return the rule in words."""
        side = f"> {self.above:g}" if self.above is not None else f"< {self.below:g}"
        return f"P({self.term} {side}) >= {self.probability:g}"

    def found(self, estimates: Estimates) -> float:
        """Return the posterior probability that the rule is about."""
        return estimates.probability(self.term, above=self.above, below=self.below)


@dataclass(frozen=True, slots=True)
class ProgressionCriteria:
    """Rules, declared before the data, by which pilots lead to a definitive trial, to changes, or to an end.

    Parameters
    ----------
    go : tuple of DecisionRule
        All must hold.
    stop : tuple of DecisionRule
        Any suffices, and it overrules going on: a rule about harm belongs here.

    Raises
    ------
    DesignError
        If a part is empty or holds something else.

    Notes
    -----
    Neither is "adapt": change the programme, or learn more. `operating_characteristics` says beforehand how often each
    happens, whatever is true. Write the criteria into the protocol; criteria chosen after the data decide nothing.

    Examples
    --------
    >>> from gbveval.data.sites import SiteEffects
    >>> from gbveval.multisite.normal_hierarchy import NormalHierarchy
    >>> from gbveval.multisite.site_prior import HierarchyPrior
    >>> from gbveval.numerics.priors import HalfNormal, Normal
    >>> criteria = ProgressionCriteria(
    ...     go=(DecisionRule("average effect", 0.8, below=-0.02),),
    ...     stop=(DecisionRule("effect in a new site", 0.3, above=0.02),),
    ... )
    >>> sites = SiteEffects({"y": [-0.06, -0.04, -0.05], "se": [0.02, 0.03, 0.02]}, estimate="y", std_error="se")
    >>> criteria.decide(NormalHierarchy(HierarchyPrior(Normal(0, 0.1), HalfNormal(0.03))).estimate(sites))
    'go'
    """

    go: tuple[DecisionRule, ...]
    stop: tuple[DecisionRule, ...]

    def __post_init__(self) -> None:
        for name, rules in (("go", self.go), ("stop", self.stop)):
            if not isinstance(rules, tuple) or not rules or not all(isinstance(rule, DecisionRule) for rule in rules):
                raise DesignError(f"{name} must be a tuple with a DecisionRule at least.")

    def decide(self, estimates: Estimates) -> str:
        """Return "go", "adapt" or "stop".

        Parameters
        ----------
        estimates : Estimates
            A pooled answer with a posterior.

        Raises
        ------
        ConvergenceError
            If a check of the answer failed: what did not converge decides nothing.
        DesignError
            If the answer has no posterior or no such row.
        """
        _refuse_failed(estimates)
        if any(rule.found(estimates) >= rule.probability for rule in self.stop):
            return STOP
        return GO if all(rule.found(estimates) >= rule.probability for rule in self.go) else ADAPT

    def assess(self, estimates: Estimates) -> Table:
        """Return every rule with the probability that was asked for and the one that was found, and the decision.

        Parameters
        ----------
        estimates : Estimates
            A pooled answer with a posterior.

        Raises
        ------
        ConvergenceError, DesignError
            As in `decide`.
        """
        _refuse_failed(estimates)
        rows = []
        for kind, rules in ((GO, self.go), (STOP, self.stop)):
            for rule in rules:
                found = rule.found(estimates)
                rows.append((kind, rule.words(), float(rule.probability), found, found >= rule.probability))
        decision = self.decide(estimates)
        note = f"Decision: {decision}. All rules of 'go' must hold; any of 'stop' suffices and overrules."
        support = tuple(cell for term in estimates.terms for cell in term.support)
        return Table(
            "Progression", ("towards", "rule", "needed", "found", "holds"), tuple(rows), (note,), (support,) * len(rows)
        )


def _refuse_failed(estimates: Estimates) -> None:
    failed = [check.name for check in estimates.checks if check.status == "fail"]
    if failed:
        raise ConvergenceError(
            f"Nothing is decided by an answer whose checks failed: {', '.join(failed)}. Mend the fit first (longer "
            "chains, another parametrisation, clearer priors)."
        )

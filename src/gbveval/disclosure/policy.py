"""What may be shown about survivors: the thresholds, the reader they guard against, and the words for the footer."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from gbveval.core.errors import DesignError
from gbveval.disclosure.nesting import Nesting, finest_of

_SMALLEST_THRESHOLD = 3


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules under which counts about survivors may leave.

    A number is hidden for its own sake ("primarily") when it is below a threshold, and so is its complement. For a
    group of n respondents of whom x report the outcome:

    - ``n < min_n`` hides n, x and n - x;
    - ``x < event_threshold`` hides x, and zero is no exception: "none of them" says something about each of them;
    - ``n - x < event_threshold`` hides n - x, and so "12 of 12" does not appear either.

    A frequency table without an outcome is judged by `min_n` alone. Totals are judged like cells. Whatever must be
    hidden besides, so that no hidden number follows from those shown, is the work of `suppress_table`.

    Parameters
    ----------
    min_n : int
        Fewest respondents that a number may describe; at least 3.
    min_events : int, optional
        Fewest respondents with, and fewest without, the outcome; between 3 and `min_n`. The same as `min_n` if not
        given.
    protection : int, optional
        The narrowest interval (upper end minus lower end) to which a reader may confine a hidden number. Half the
        smaller threshold, rounded down, if not given; at most that threshold minus 2, because who knows that a
        number is below the threshold has confined it already.
    attacker_knows_rule : bool
        True (the default): the reader is assumed to know, besides all that is shown, which hidden numbers are small,
        and hence that those are below the threshold and that the other hidden ones are not. Such a reader is
        stronger than one who knows only the rule. False: the reader knows only that counts are whole and not
        negative; then nobody may be told which numbers were hidden for their own sake.
    dominance : tuple of (int, float), optional
        Of sums of amounts: largest share that so many contributors may have together; (2, 0.9) says that two may not
        have more than nine tenths. None needs `override_reason`.
    p_percent : float, optional
        Of sums of amounts: nobody may be able to estimate a contribution to within so many percent of it by taking
        their own contribution from the sum. None needs `override_reason`.
    min_df : int, optional
        Fewest residual degrees of freedom (units minus coefficients) of a fitted model whose rows are shown: with fewer
        the coefficients nearly are the data. None needs `override_reason`.
    rounding : int, optional
        Round tables of counts to multiples of this number (5 is usual) instead of hiding their small numbers. Rows of
        estimates are hidden all the same.
    identify_sites : bool
        Show the names of sites rather than codes. Needs `override_reason`.
    enforce : bool
        False shows every number. Needs `override_reason`.
    nestings : sequence of Nesting
        Variables that are coarser versions of others, as districts are of wards: the reader knows which lie in which,
        and tables by one are compared with tables by the other.
    study_key : str, optional
        A secret of the study. With it released results carry a keyed digest of their data, by which the study can prove
        later which data they came from. Without it they carry none: a plain digest lets a reader confirm a guess of the
        data, and small data can be guessed outright.
    override_reason : str, optional
        Why this policy departs from the usual one; printed by `describe`, and so in the footer of the report.

    Raises
    ------
    DesignError
        A threshold is impossible, or a departure has no reason.

    Notes
    -----
    Ten is the threshold of ACRO, which checks the output of research data centres, and of the Washington State
    Department of Health; both are rules of practice rather than theorems. The rules say nothing about the precision
    of an estimate, which is a question of its own.

    Examples
    --------
    >>> policy = Policy(min_n=20, min_events=10)
    >>> policy.event_threshold, policy.protection_width
    (10, 5)
    >>> policy.override(reason="The ethics board agreed to name the ministries.", identify_sites=True).identify_sites
    True
    """

    min_n: int = 10
    min_events: int | None = None
    protection: int | None = None
    attacker_knows_rule: bool = True
    identify_sites: bool = False
    enforce: bool = True
    override_reason: str | None = None
    dominance: tuple[int, float] | None = (2, 0.9)
    p_percent: float | None = 10.0
    min_df: int | None = 10
    rounding: int | None = None
    study_key: str | None = dataclasses.field(default=None, repr=False)
    nestings: tuple[Nesting, ...] = ()

    def __post_init__(self) -> None:
        _check_count("min_n", self.min_n, _SMALLEST_THRESHOLD, None)
        if self.min_events is not None:
            _check_count("min_events", self.min_events, _SMALLEST_THRESHOLD, self.min_n)
        if self.protection is not None:
            _check_count("protection", self.protection, 1, self.smallest_threshold - 2)
        for name in ("attacker_knows_rule", "identify_sites", "enforce"):
            if not isinstance(getattr(self, name), bool):
                raise DesignError(f"`{name}` must be True or False.")
        self._check_amounts()
        if self.min_df is not None:
            _check_count("min_df", self.min_df, 1, None)
        if self.rounding is not None:
            _check_count("rounding", self.rounding, _SMALLEST_THRESHOLD, None)
        given = (self.nestings,) if isinstance(self.nestings, Nesting) else tuple(self.nestings)
        object.__setattr__(self, "nestings", given)
        if not all(isinstance(nesting, Nesting) for nesting in self.nestings):
            raise DesignError("`nestings` must be a sequence of `Nesting`.")
        finest_of(self.nestings)
        self._check_reason()

    def _check_amounts(self) -> None:
        if self.dominance is not None:
            largest, share = self.dominance
            _check_count("dominance[0]", largest, 1, None)
            if not 0.0 < share < 1.0:
                raise DesignError(f"`dominance[1]` must be a share between 0 and 1; it is {share!r}.")
        if self.p_percent is not None and not 0.0 < self.p_percent <= 100.0:
            raise DesignError(f"`p_percent` must be above 0 and at most 100; it is {self.p_percent!r}.")

    def _check_reason(self) -> None:
        reason = self.override_reason
        if reason is not None and (not isinstance(reason, str) or not reason.strip()):
            raise DesignError("The reason of an override is empty: write one sentence, because the report prints it.")
        if reason is None and (self.identify_sites or not self.enforce):
            option = "identify_sites=True" if self.identify_sites else "enforce=False"
            raise DesignError(f"`{option}` needs a reason: use `policy.override(reason=..., {option})`.")
        off = [name for name in ("dominance", "p_percent", "min_df") if getattr(self, name) is None]
        if reason is None and off:
            raise DesignError(
                f"`{off[0]}=None` needs a reason, which the report prints: use "
                f"`Policy({off[0]}=None, override_reason=...)`."
            )

    @property
    def event_threshold(self) -> int:
        """Fewest respondents with, and fewest without, the outcome."""
        return self.min_n if self.min_events is None else self.min_events

    @property
    def smallest_threshold(self) -> int:
        """The smaller of the two thresholds."""
        return min(self.min_n, self.event_threshold)

    @property
    def protection_width(self) -> int:
        """The narrowest interval to which a reader may confine a hidden number."""
        return self.smallest_threshold // 2 if self.protection is None else self.protection

    def override(
        self,
        *,
        reason: str,
        min_n: int | None = None,
        min_events: int | None = None,
        protection: int | None = None,
        identify_sites: bool | None = None,
        enforce: bool | None = None,
    ) -> Policy:
        """Return a policy that departs from this one and says why.

        Only what is named changes: a reason alone switches nothing off.

        Parameters
        ----------
        reason : str
            One sentence for the footer; the reasons of earlier overrides are kept before it.
        min_n, min_events, protection, identify_sites, enforce : optional
            The options that change.

        Returns
        -------
        Policy

        Raises
        ------
        DesignError
            The reason is empty, or the changed options are impossible.
        """
        if not isinstance(reason, str) or not reason.strip():
            raise DesignError("The reason of an override is empty: write one sentence, because the report prints it.")
        earlier = [] if self.override_reason is None else [self.override_reason]
        return dataclasses.replace(
            self,
            min_n=self.min_n if min_n is None else min_n,
            min_events=self.min_events if min_events is None else min_events,
            protection=self.protection if protection is None else protection,
            identify_sites=self.identify_sites if identify_sites is None else identify_sites,
            enforce=self.enforce if enforce is None else enforce,
            override_reason=" ".join([*earlier, " ".join(reason.split())]),
        )

    def describe(self) -> str:
        """Return the policy in plain words, for the footer of a report.

        Examples
        --------
        >>> Policy().describe().split(". ")[0]
        'Numbers about fewer than 10 respondents are not shown'
        """
        parts = [self._describe_rules()] if self.enforce else ["No number was hidden."]
        if self.enforce:
            if self.rounding is not None:
                parts.append(f"Tables of counts are rounded to multiples of {self.rounding} instead.")
            parts += [f"The reader knows what of {n.fine} lies in which {n.coarse}." for n in self.nestings]
            parts += self._describe_switched_off()
        if self.identify_sites:
            parts.append("Sites are named.")
        if self.override_reason is not None:
            reason = self.override_reason
            parts.append(f"Departure from the usual rules: {reason}{'' if reason[-1] in '.!?' else '.'}")
        return " ".join(parts)

    def _describe_switched_off(self) -> list[str]:
        sentences = {
            "dominance": "Sums of amounts were not judged by the share of their largest contributors.",
            "p_percent": "Sums of amounts were not judged by how closely a contributor could estimate another one.",
            "min_df": "Models were not judged by their residual degrees of freedom.",
        }
        return [sentence for name, sentence in sentences.items() if getattr(self, name) is None]

    def _describe_rules(self) -> str:
        known = (
            "knows everything shown here and which of the hidden numbers are small"
            if self.attacker_knows_rule
            else "knows everything shown here but not which of the hidden numbers are small"
        )
        return (
            f"Numbers about fewer than {self.min_n} respondents are not shown. "
            f"Nor is a number of respondents with the outcome, or without it, below {self.event_threshold}; "
            "zero is treated like any other small number. "
            "Some larger numbers are hidden too, so that a reader who "
            f"{known} can confine no hidden number to an interval narrower than {self.protection_width} within one "
            "table. A hidden number is not zero: it is not shown."
        )


def _check_count(name: str, value: object, smallest: int, largest: int | None) -> None:
    """Raise DesignError unless `value` is a whole number in the range."""
    wanted = f"at least {smallest}" if largest is None else f"from {smallest} to {largest}"
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or not isinstance(value, int) or value < smallest or (largest is not None and value > largest):
        raise DesignError(f"`{name}` must be a whole number {wanted}; it is {value!r}.")

"""`Validation`: how often answers were right among people of whom the truth is known."""

from __future__ import annotations

from dataclasses import dataclass

from gbveval.core.errors import DesignError


@dataclass(frozen=True, slots=True)
class Validation:
    """A sensitivity or specificity as a validation sample gave it.

    Parameters
    ----------
    correct : int
        For a sensitivity: who reported it, of those with the outcome. For a specificity: who reported none, of those
        without.
    n : int
        People of whom the truth is known.

    Raises
    ------
    DesignError
        If the counts are impossible.

    Examples
    --------
    >>> Validation(61, 80).describe()
    '0.7625 (61 of 80 validated)'
    """

    correct: int
    n: int

    def __post_init__(self) -> None:
        whole = all(isinstance(x, int) and not isinstance(x, bool) for x in (self.correct, self.n))
        if not whole or not 0 <= self.correct <= self.n or self.n < 1:
            raise DesignError("A validation has whole numbers: 0 <= correct <= n and n at least 1. Count again.")

    @property
    def share(self) -> float:
        """Share that were right."""
        return self.correct / self.n

    def describe(self) -> str:
        """Return it in words."""
        return f"{self.share:.4g} ({self.correct:,} of {self.n:,} validated)"

"""Harms by arm, before anybody may see them: adverse events, disclosures and the like."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, repr=False)
class SafetyTable:
    """Respondents with each kind of event, and events, by arm.

    It has no display of its own: `release` shows it, zeros included.

    Parameters
    ----------
    kinds : tuple of str
        What may have happened.
    arms : tuple of str
        Control first.
    followed : tuple of tuple of int
        Respondents with an answer, one tuple a kind, in it one number an arm.
    people : tuple of tuple of int
        Respondents to whom it happened at least once.
    events : tuple of tuple of int
        How often it happened in all.
    """

    kinds: tuple[str, ...]
    arms: tuple[str, ...]
    followed: tuple[tuple[int, ...], ...]
    people: tuple[tuple[int, ...], ...]
    events: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        for table in (self.followed, self.people, self.events):
            if len(table) != len(self.kinds) or any(len(row) != len(self.arms) for row in table):
                raise ValueError("A safety table needs one row a kind and one number an arm.")

    def __repr__(self) -> str:
        return f"<SafetyTable: {len(self.kinds)} kinds of event in {len(self.arms)} arms; release() shows it>"

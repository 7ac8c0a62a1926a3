"""Who was assessed, randomised and analysed: counts by arm that must add up."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FlowRow:
    """One line of a participant flow.

    Parameters
    ----------
    stage : str
        "assessed", "randomised", "missing outcome", "analysed", ...
    arm : str
        Arm label, or "all".
    n_units : int
        People (or other units of analysis).
    n_clusters : int or None
        Clusters with at least one of those units; None where nothing is clustered.
    """

    stage: str
    arm: str
    n_units: int
    n_clusters: int | None = None


@dataclass(frozen=True, slots=True)
class Flow:
    """Participant flow by arm and stage.

    Parameters
    ----------
    rows : tuple of FlowRow
        In the order of the stages.
    outcome : str
        Of which outcome those analysed are; by it `release` compares the flow with tables of the outcome by arm.
    """

    rows: tuple[FlowRow, ...]
    outcome: str = ""

    def count(self, stage: str, arm: str = "all") -> int:
        """Return the number of units at a stage in an arm (or in all arms together)."""
        found = [row.n_units for row in self.rows if row.stage == stage and arm in ("all", row.arm)]
        whole = [row.n_units for row in self.rows if row.stage == stage and row.arm == "all"]
        return whole[0] if arm == "all" and whole else sum(found)

    def arms(self) -> tuple[str, ...]:
        """Return the arms in the order in which they first occur."""
        return tuple(dict.fromkeys(row.arm for row in self.rows if row.arm != "all"))

    def imbalances(self) -> tuple[str, ...]:
        """Return every arm in which randomised does not equal analysed plus missing: it should be empty."""
        problems = []
        for arm in self.arms():
            randomised, analysed = self.count("randomised", arm), self.count("analysed", arm)
            missing = self.count("missing outcome", arm)
            if randomised != analysed + missing:
                problems.append(f"{arm}: {randomised} randomised, {analysed} analysed, {missing} missing")
        return tuple(problems)

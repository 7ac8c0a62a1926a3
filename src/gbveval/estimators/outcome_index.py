"""`OutcomeIndex`: one outcome made of several, by a rule that can be fixed beforehand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError, IdentificationError
from gbveval.data.trial import Trial
from gbveval.estimators._trials import changed
from gbveval.numerics.outcome_index import Index, inverse_covariance, mean_of_z, pairwise_covariance, z_scores

METHODS = ("inverse_covariance", "mean_of_z")


@dataclass(frozen=True, slots=True)
class OutcomeIndex:
    """One outcome made of several of a trial's outcomes, in standard deviations of the control arm.

    A single test of the index answers whether there was an effect on the whole, with more power than many adjusted
    tests when the effects point the same way, and with none when they cancel.

    Parameters
    ----------
    outcomes : sequence of str
        Outcomes of the trial, two or more.
    name : str
        Name of the new outcome.
    method : str
        "inverse_covariance" (Anderson 2008: components that repeat each other count less) or "mean_of_z" (Kling,
        Liebman and Katz 2007: equal weights, missing components set to the mean of the unit's arm).
    flip : sequence of str
        Outcomes of which more is the opposite of more of the others; their sign is turned.

    Notes
    -----
    **Valid when** the components, their directions and the method were fixed before the data were seen. The weights of
    "inverse_covariance" come from all arms together, so they carry no information on which arm a unit is in.

    **Do not use when** components measure different things: an index of them is an answer to no question.

    References
    ----------
    Kling, Liebman and Katz (2007), Econometrica 75. Anderson (2008), Journal of the American Statistical Association
    103.

    Examples
    --------
    >>> frame = {
    ...     "threats": [0.0, 2.0, 1.0, 3.0, 4.0, 2.0],
    ...     "safety": [5.0, 4.0, 4.0, 3.0, 2.0, 4.0],
    ...     "arm": ["usual", "usual", "usual", "new", "new", "new"],
    ... }
    >>> trial = Trial(frame, outcome=["threats", "safety"], arm="arm", control="usual")
    >>> index = OutcomeIndex(("threats", "safety"), name="harm", method="mean_of_z", flip=("safety",))
    >>> index.add(trial).outcome_names
    ('threats', 'safety', 'harm')
    >>> index.words(trial)
    'harm: mean of the z scores of threats, safety (turned), standardised by the control arm'
    """

    outcomes: tuple[str, ...]
    name: str
    method: str = "inverse_covariance"
    flip: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "outcomes", tuple(self.outcomes))
        object.__setattr__(self, "flip", tuple(self.flip))
        if self.method not in METHODS:
            raise DesignError(f"method must be one of {', '.join(METHODS)}, not {self.method!r}.")
        if len(set(self.outcomes)) < 2 or len(set(self.outcomes)) != len(self.outcomes):
            raise DesignError("An index needs two or more different outcomes.")
        if not set(self.flip) <= set(self.outcomes):
            raise DesignError("flip names an outcome that is not a component of the index.")
        if not self.name or self.name in self.outcomes:
            raise DesignError("The index needs a name of its own, that of no component.")

    def add(self, trial: Trial) -> Trial:
        """Return the trial with the index as one more outcome.

        Parameters
        ----------
        trial : Trial
            A trial with the components among its outcomes.

        Raises
        ------
        DesignError
            If an outcome is unknown, or the name is taken.
        IdentificationError
            If a component does not vary in the control arm, or components are collinear.
        """
        found = self._index(trial)
        return changed(
            trial,
            outcome_names=(*trial.outcome_names, self.name),
            outcomes=np.column_stack([trial.outcomes, found.value]),
        )

    def words(self, trial: Trial) -> str:
        """Return how the index is made, with its weights where they come from the data."""
        parts = [f"{name} (turned)" if name in self.flip else name for name in self.outcomes]
        if self.method == "mean_of_z":
            return f"{self.name}: mean of the z scores of {', '.join(parts)}, standardised by the control arm"
        weight = self._index(trial).weight
        shown = ", ".join(f"{part} {w:.2f}" for part, w in zip(parts, weight, strict=True))
        note = "; a negative weight counts a component against its direction" if np.any(weight < 0) else ""
        return f"{self.name}: z scores by the control arm, weighted by their inverse covariance ({shown}){note}"

    def _index(self, trial: Trial) -> Index:
        unknown = [name for name in self.outcomes if name not in trial.outcome_names]
        if unknown or self.name in trial.outcome_names:
            raise DesignError(
                f"{len(unknown)} components are no outcomes of the trial, or it has an outcome {self.name!r} "
                f"already; its outcomes are: {', '.join(trial.outcome_names)}."
            )
        sign = np.array([-1.0 if name in self.flip else 1.0 for name in self.outcomes])
        values = trial.outcomes[:, [trial.outcome_names.index(name) for name in self.outcomes]] * sign
        control = trial.arm == 0
        self._check(values, control)
        if self.method == "mean_of_z":
            return mean_of_z(values, control, trial.arm)
        covariance = pairwise_covariance(z_scores(values, control))
        roots = np.linalg.eigvalsh(covariance) if np.isfinite(covariance).all() else np.zeros(1)
        if roots[0] <= 1e-10 * max(roots[-1], 1.0):
            raise IdentificationError(
                "The components are collinear, or never observed together, so their covariance has no inverse. "
                "Leave out a component that repeats another, or use method='mean_of_z'."
            )
        return inverse_covariance(values, control)

    def _check(self, values: NDArray[np.float64], control: NDArray[np.bool_]) -> None:
        for column, name in zip(values.T, self.outcomes, strict=True):
            seen = column[control & ~np.isnan(column)]
            if seen.size < 2 or np.ptp(seen) == 0:
                raise IdentificationError(
                    f"The component {name!r} has {seen.size} values in the control arm and does not vary there, so it "
                    "cannot be standardised. Leave it out."
                )

"""Hides the families of bounds at which a study stops because it will show nothing, or because it harms."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from gbveval.core.errors import DesignError
from gbveval.design._require import real
from gbveval.design.efficacy import SOURCES, check_spending, spending_words, spent
from gbveval.numerics.sequential_bounds import Futility


@runtime_checkable
class LowerBoundary(Protocol):
    """A family of bounds at which a study stops without having shown an effect."""

    def __hash__(self) -> int:
        """Bounds are kept by what was asked for."""

    @property
    def words(self) -> str:
        """The family in words."""

    @property
    def source(self) -> str:
        """Where it is from."""

    def rule(self, information: tuple[float, ...], *, binding: bool) -> Futility:
        """Return how bounds are found at these shares of the information."""


@dataclass(frozen=True, slots=True)
class BetaSpending:
    """Futility bounds that spend the error of the second kind by a function of information.

    Parameters
    ----------
    power : float
        Power at which the bounds are drawn; 1 - power is spent. A plan of the required size has this power.
    kind, shape : str and float, optional
        As for `AlphaSpending`.

    References
    ----------
    Pampallona, Tsiatis and Kim (2001), Drug Information Journal 35.

    Examples
    --------
    >>> rule = BetaSpending(power=0.8).rule((0.5, 1.0), binding=False)
    >>> [round(value, 3) for value in rule.values]
    [0.07, 0.2]
    """

    power: float = 0.8
    kind: str = "obrien_fleming"
    shape: float | None = None

    def __post_init__(self) -> None:
        real("power", self.power, low=0.0, high=1.0)
        check_spending(self.kind, self.shape)

    @property
    def words(self) -> str:
        """The family in words."""
        return f"futility: an error of {1.0 - float(self.power):.4g} spent {spending_words(self.kind, self.shape)}"

    @property
    def source(self) -> str:
        """Where it is from."""
        return f"Pampallona, Tsiatis and Kim (2001), Drug Information Journal 35; {SOURCES[self.kind]}"

    def rule(self, information: tuple[float, ...], *, binding: bool) -> Futility:
        """Return how bounds are found at these shares of the information."""
        error = 1.0 - float(self.power)
        return Futility("beta", tuple(spent(self.kind, self.shape, error, share) for share in information), binding)


@dataclass(frozen=True, slots=True)
class HarmSpending:
    """Bounds at which a study stops because the programme seems to harm.

    Parameters
    ----------
    alpha : float
        Probability of crossing a bound, at any look, when the programme does nothing.
    kind, shape : str and float, optional
        How it is spent, as for `AlphaSpending`. "pocock" heeds harm early, "obrien_fleming" late.

    Notes
    -----
    An ethics board usually asks for less evidence of harm than of benefit, and early: alpha of 0.05 or 0.1 on this
    side, spent like Pocock, against 0.025 on the other. Harm that is seen outside the outcome (distress, retaliation, a
    breach of confidence) stops a study by its safety protocol, not by a statistic.

    References
    ----------
    DeMets and Ware (1982), Biometrika 69, for one-sided tests that stop for either.

    Examples
    --------
    >>> rule = HarmSpending(alpha=0.05).rule((0.5, 1.0), binding=False)
    >>> [round(value, 3) for value in rule.values]
    [0.031, 0.05]
    """

    alpha: float = 0.05
    kind: str = "pocock"
    shape: float | None = None

    def __post_init__(self) -> None:
        real("alpha", self.alpha, low=0.0, high=0.5)
        check_spending(self.kind, self.shape)

    @property
    def words(self) -> str:
        """The family in words."""
        return f"harm: an error of {float(self.alpha):.4g} spent {spending_words(self.kind, self.shape)}"

    @property
    def source(self) -> str:
        """Where it is from."""
        return f"DeMets and Ware (1982), Biometrika 69; {SOURCES[self.kind]}"

    def rule(self, information: tuple[float, ...], *, binding: bool) -> Futility:
        """Return how bounds are found at these shares of the information."""
        error = float(self.alpha)
        return Futility("harm", tuple(spent(self.kind, self.shape, error, share) for share in information), binding)


@dataclass(frozen=True, slots=True)
class FutilityBounds:
    """Bounds on z, one for every look but the last, at or below which a study stops.

    Parameters
    ----------
    z : tuple of float
        On the scale on which benefit is positive: 0 stops when the estimate points the wrong way. Minus infinity for a
        look without such a bound.

    Examples
    --------
    >>> FutilityBounds((0.0,)).rule((0.5, 1.0), binding=False).values
    (0.0,)
    """

    z: tuple[float, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.z, tuple) or not self.z:
            raise DesignError("z must be a tuple with one number for every look but the last.")
        for bound in self.z:
            if bound != -math.inf:
                real("A bound in z", bound, low=-math.inf, high=math.inf)

    @property
    def words(self) -> str:
        """The family in words."""
        return f"futility at z of {', '.join(f'{bound:g}' for bound in self.z)}"

    @property
    def source(self) -> str:
        """Where it is from."""
        return "Jennison and Turnbull (2000), Group Sequential Methods with Applications to Clinical Trials"

    def rule(self, information: tuple[float, ...], *, binding: bool) -> Futility:
        """Return how bounds are found at these shares of the information."""
        if len(self.z) != len(information) - 1:
            raise DesignError(
                f"z has {len(self.z)} bounds for {len(information)} looks; give one for every look but the last."
            )
        return Futility("fixed", tuple(float(bound) for bound in self.z), binding)

"""Hides the families of bounds at which a study that is looked at several times may stop: the effect is shown."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from gbveval.core.errors import DesignError
from gbveval.design._require import one_of, real
from gbveval.numerics.inference import normal_quantile
from gbveval.numerics.sequential_bounds import Rule

SPENDING = ("obrien_fleming", "pocock", "power", "hwang_shih_decani")
# Which functions need a shape, and from where they are.
SHAPED = ("power", "hwang_shih_decani")
SOURCES = {
    "obrien_fleming": "Lan and DeMets (1983), Biometrika 70",
    "pocock": "Lan and DeMets (1983), Biometrika 70",
    "power": "Kim and DeMets (1987), Biometrika 74",
    "hwang_shih_decani": "Hwang, Shih and DeCani (1990), Statistics in Medicine 9",
}


def check_spending(kind: object, shape: object) -> None:
    """Refuse a spending function that is not known, and a shape that is missing, superfluous or impossible."""
    named = one_of("kind", kind, SPENDING)
    if named not in SHAPED:
        if shape is not None:
            raise DesignError(f"The spending function {named!r} has no shape; leave it out.")
    elif named == "power":
        real("shape (the power of the information)", shape, low=0.0, high=math.inf)
    elif real("shape (gamma of Hwang, Shih and DeCani)", shape, low=-math.inf, high=math.inf) == 0.0:
        raise DesignError("A shape of zero spends in proportion to information: that is kind='power', shape=1.")


def spent(kind: str, shape: float | None, error: float, share: float) -> float:
    """Return how much of an error is spent when this share of the information is there.

    Examples
    --------
    >>> round(spent("hwang_shih_decani", -4.0, 0.025, 1 / 3), 6)
    0.001303
    """
    from scipy.special import ndtr

    if share >= 1.0:
        return error
    if kind == "obrien_fleming":
        return 2.0 * float(ndtr(float(normal_quantile(error / 2.0)) / math.sqrt(share)))
    if kind == "pocock":
        return error * math.log1p(math.expm1(1.0) * share)
    number = float(shape) if shape is not None else math.nan
    if kind == "power":
        return float(error * share**number)
    return error * math.expm1(-number * share) / math.expm1(-number)


def spending_words(kind: str, shape: float | None) -> str:
    """Return a spending function in words."""
    names = {
        "obrien_fleming": "like O'Brien and Fleming",
        "pocock": "like Pocock",
        "power": f"as information to the power of {shape if shape is None else f'{shape:g}'}",
        "hwang_shih_decani": f"as Hwang, Shih and DeCani with gamma {shape if shape is None else f'{shape:g}'}",
    }
    return names[kind]


@runtime_checkable
class EfficacyBoundary(Protocol):
    """A family of bounds for efficacy."""

    def __hash__(self) -> int:
        """Bounds are kept by what was asked for."""

    @property
    def words(self) -> str:
        """The family in words."""

    @property
    def source(self) -> str:
        """Where it is from."""

    def rule(self, information: tuple[float, ...], error: float) -> Rule:
        """Return how bounds are found at these shares of the information, with this error on one side."""


def is_efficacy(value: object) -> bool:
    """Return whether this is a family of bounds, and not its class (Pocock for Pocock())."""
    return isinstance(value, EfficacyBoundary) and not isinstance(value, type)


@dataclass(frozen=True, slots=True)
class WangTsiatis:
    """Bounds on z in proportion to information to the power of delta - 1/2.

    Parameters
    ----------
    delta : float
        0 gives O'Brien and Fleming's bounds, 0.5 Pocock's; between them what is asked early falls.

    References
    ----------
    Wang and Tsiatis (1987), Biometrics 43.

    Examples
    --------
    >>> WangTsiatis(0.25).words
    'Wang and Tsiatis with delta 0.25'
    """

    delta: float

    def __post_init__(self) -> None:
        real("delta", self.delta, low=-2.0, high=1.0)

    @property
    def words(self) -> str:
        """The family in words."""
        return f"Wang and Tsiatis with delta {float(self.delta):g}"

    @property
    def source(self) -> str:
        """Where it is from."""
        return "Wang and Tsiatis (1987), Biometrics 43"

    def rule(self, information: tuple[float, ...], error: float) -> Rule:
        """Return how bounds are found at these shares of the information."""
        return Rule("factor", tuple(share ** (float(self.delta) - 0.5) for share in information))


@dataclass(frozen=True, slots=True)
class Pocock:
    """The same bound on z at every look: easy to stop early, dear at the end.

    References
    ----------
    Pocock (1977), Biometrika 64.

    Examples
    --------
    >>> Pocock().rule((0.5, 1.0), 0.025).values
    (1.0, 1.0)
    """

    @property
    def words(self) -> str:
        """The family in words."""
        return "Pocock"

    @property
    def source(self) -> str:
        """Where it is from."""
        return "Pocock (1977), Biometrika 64"

    def rule(self, information: tuple[float, ...], error: float) -> Rule:
        """Return how bounds are found at these shares of the information."""
        return WangTsiatis(0.5).rule(information, error)


@dataclass(frozen=True, slots=True)
class OBrienFleming:
    """Bounds on z in proportion to one over the root of information: hard to stop early, cheap at the end.

    References
    ----------
    O'Brien and Fleming (1979), Biometrics 35.

    Examples
    --------
    >>> [round(value, 3) for value in OBrienFleming().rule((0.5, 1.0), 0.025).values]
    [1.414, 1.0]
    """

    @property
    def words(self) -> str:
        """The family in words."""
        return "O'Brien and Fleming"

    @property
    def source(self) -> str:
        """Where it is from."""
        return "O'Brien and Fleming (1979), Biometrics 35"

    def rule(self, information: tuple[float, ...], error: float) -> Rule:
        """Return how bounds are found at these shares of the information."""
        return WangTsiatis(0.0).rule(information, error)


@dataclass(frozen=True, slots=True)
class AlphaSpending:
    """Bounds that spend the size of the test by a function of information, so that looks need not be where planned.

    Parameters
    ----------
    kind : str
        "obrien_fleming" or "pocock" (the functions of Lan and DeMets that resemble these), "power" (Kim and DeMets) or
        "hwang_shih_decani".
    shape : float, optional
        For "power" the power (1 spends evenly, 3 late), for "hwang_shih_decani" gamma (1 resembles Pocock, -4 resembles
        O'Brien and Fleming).

    Notes
    -----
    A two-sided test spends half of its size on each side.

    References
    ----------
    Lan and DeMets (1983), Biometrika 70. Kim and DeMets (1987), Biometrika 74. Hwang, Shih and DeCani (1990),
    Statistics in Medicine 9.

    Examples
    --------
    >>> [round(value, 5) for value in AlphaSpending("power", shape=2).rule((0.5, 1.0), 0.025).values]
    [0.00625, 0.025]
    """

    kind: str = "obrien_fleming"
    shape: float | None = None

    def __post_init__(self) -> None:
        check_spending(self.kind, self.shape)

    @property
    def words(self) -> str:
        """The family in words."""
        return f"alpha spent {spending_words(self.kind, self.shape)}"

    @property
    def source(self) -> str:
        """Where it is from."""
        return SOURCES[self.kind]

    def rule(self, information: tuple[float, ...], error: float) -> Rule:
        """Return how bounds are found at these shares of the information."""
        return Rule("spend", tuple(spent(self.kind, self.shape, error, share) for share in information))


@dataclass(frozen=True, slots=True)
class HaybittlePeto:
    """One strict bound on z at every look but the last, which takes what is left of the size.

    Parameters
    ----------
    z : float
        The bound before the last look.

    References
    ----------
    Haybittle (1971), British Journal of Radiology 44. Peto et al. (1976), British Journal of Cancer 34.

    Examples
    --------
    >>> HaybittlePeto().rule((0.5, 1.0), 0.025).values
    (3.0,)
    """

    z: float = 3.0

    def __post_init__(self) -> None:
        real("z", self.z, low=0.0, high=math.inf)

    @property
    def words(self) -> str:
        """The family in words."""
        return f"Haybittle and Peto with {float(self.z):g} before the last look"

    @property
    def source(self) -> str:
        """Where it is from."""
        return "Haybittle (1971), British Journal of Radiology 44; Peto et al. (1976), British Journal of Cancer 34"

    def rule(self, information: tuple[float, ...], error: float) -> Rule:
        """Return how bounds are found at these shares of the information."""
        return Rule("fixed", (float(self.z),) * (len(information) - 1))


@dataclass(frozen=True, slots=True)
class EfficacyAtEnd:
    """No stop for efficacy before the last look, which has the whole size: looks are for futility or harm alone.

    Examples
    --------
    >>> EfficacyAtEnd().rule((0.5, 1.0), 0.025).values
    (inf,)
    """

    @property
    def words(self) -> str:
        """The family in words."""
        return "efficacy is tested at the last look only"

    @property
    def source(self) -> str:
        """Where it is from."""
        return "a single test at the end"

    def rule(self, information: tuple[float, ...], error: float) -> Rule:
        """Return how bounds are found at these shares of the information."""
        return Rule("fixed", (math.inf,) * (len(information) - 1))

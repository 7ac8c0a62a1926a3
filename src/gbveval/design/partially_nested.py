"""Hides the arithmetic of a plan in which treated people meet in groups and the others do not."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from gbveval.core.errors import DesignError
from gbveval.design._clustered import check_dispersion, split_variance
from gbveval.design._require import one_of, real, whole
from gbveval.design.icc import ICC
from gbveval.design.outcomes import Binary, Continuous
from gbveval.design.planned_test import PlainDesign, PlannedTest

REFERENCES = ("satterthwaite", "normal")


@dataclass(frozen=True, slots=True)
class PartiallyNestedDesign(PlainDesign):
    """People randomised one by one; the treated meet in groups, such as courses, and those in control do not.

    Parameters
    ----------
    n_groups : int
        Groups of treated people, at least 2.
    group_size : int
        People a group.
    n_control : int
        People in control.
    icc : ICC
        Of treated people, between their groups, with its scale.
    outcome : Continuous or Binary
        What is measured; the `sd` of a continuous one is that in control.
    treated_sd : float, optional
        Standard deviation between treated people, groups included; by default that in control.
    r_squared : float
        Share of a continuous outcome's variance that covariates explain, at each level of either arm.
    reference : str
        "satterthwaite" (t; a variance is estimated from the groups and one from control) or "normal" (both are known).

    Raises
    ------
    DesignError
        If something is impossible.

    Notes
    -----
    The variance of the estimate is (between + within / m) / groups in the treated arm, plus the variance in control
    over its people. Satterthwaite's degrees of freedom weigh those of the groups and of the people in control, and are
    few where groups are few: plan more groups before more people. Groups are planned as if made at random; a trainer
    who leads several groups makes them one.

    References
    ----------
    Moerbeek and Wong (2008), Statistics in Medicine 27. Satterthwaite (1946), Biometrics Bulletin 2.

    Examples
    --------
    >>> plan = PartiallyNestedDesign(10, 10, 100, ICC(0.1, scale="observed"), Continuous())
    >>> test = plan.planned_test(0.4)
    >>> round(test.std_error**2, 4), round(test.df, 1)
    (0.029, 20.5)
    """

    n_groups: int
    group_size: int
    n_control: int
    icc: ICC
    outcome: Continuous | Binary
    treated_sd: float | None = None
    r_squared: float = 0.0
    reference: str = "satterthwaite"

    def __post_init__(self) -> None:
        whole("n_groups", self.n_groups, least=2)
        whole("group_size", self.group_size, least=1)
        whole("n_control", self.n_control, least=2)
        one_of("reference", self.reference, REFERENCES)
        real("r_squared", self.r_squared, low=0.0, high=1.0, closed=True)
        if not isinstance(self.outcome, Continuous | Binary):
            raise DesignError("outcome must be Continuous(...) or Binary(...).")
        if isinstance(self.outcome, Binary) and (self.r_squared or self.treated_sd is not None):
            raise DesignError("The variance of a risk follows from it: leave out treated_sd and r_squared.")
        if self.treated_sd is not None:
            real("treated_sd", self.treated_sd, low=0.0, high=math.inf)
        if not isinstance(self.icc, ICC):
            raise DesignError(f"icc must be ICC(..., scale='observed') of treated people; it is {self.icc!r}.")
        check_dispersion(self.outcome, self.icc)

    @property
    def least_sizes(self) -> Mapping[str, int]:
        """Sizes that can be solved for, with the least that each may be."""
        return MappingProxyType({"n_groups": 2, "n_control": 2, "group_size": 1})

    def resized(self, name: str, value: int) -> PartiallyNestedDesign:
        """Return the design with another number of groups, of people a group or in control."""
        one_of("solve_for", name, tuple(self.least_sizes))
        if name == "n_groups":
            return replace(self, n_groups=value)
        return replace(self, n_control=value) if name == "n_control" else replace(self, group_size=value)

    def limit_hint(self, name: str) -> str:
        """Return what holds power down when only this size grows, and what to do."""
        other = "n_control" if name == "n_groups" else "n_groups"
        return f"The other sizes set a floor under the standard error: solve_for={other!r}, or raise it."

    def planned_test(self, effect: float, *, size: tuple[str, float] | None = None, null: float = 0.0) -> PlannedTest:
        """Return the planned test of an effect (treated minus control).

        Parameters
        ----------
        effect : float
            Difference in means or risks.
        size : (str, float), optional
            ("n_groups", "n_control" or "group_size", any real number) instead of the design's own.
        null : float
            Effect under the null hypothesis: a margin.
        """
        control, treated = self.outcome.levels(effect)
        sizes: dict[str, float] = {
            "n_groups": self.n_groups,
            "n_control": self.n_control,
            "group_size": self.group_size,
        }
        if size is not None:
            one_of("solve_for", size[0], tuple(sizes))
            sizes[size[0]] = float(size[1])
        groups, people = float(sizes["n_groups"]), float(sizes["n_control"])
        rest = 1.0 - float(self.r_squared)
        between, within = split_variance(self._treated_outcome(), self.icc, treated)
        grouped = (between + within / float(sizes["group_size"])) * rest / groups
        single = self.outcome.variance(control) * rest / people
        known = self.reference == "normal"
        df = math.inf if known else (grouped + single) ** 2 / (grouped**2 / (groups - 1) + single**2 / (people - 1))
        reference = "the normal distribution" if known else "the noncentral t with Satterthwaite's df"
        return PlannedTest(
            effect=effect,
            std_error=math.sqrt(grouped + single),
            df=df,
            null=null,
            formula="effect over its standard error (squared: treated variance x (icc + (1 - icc)/m) / groups + "
            f"control variance / people), against {reference}",
            source="Moerbeek and Wong (2008), Statistics in Medicine 27"
            + ("" if known else "; Satterthwaite (1946), Biometrics Bulletin 2, for the df"),
            assumptions=(
                "groups have the same size, and their means are normal",
                "people in control do not influence each other, and treated people only within their group",
                *(("both variances are known",) if known else ("Satterthwaite's df, taken at the true variances",)),
                *(("covariates explain the planned share, and cost no df",) if self.r_squared else ()),
            ),
        )

    def _treated_outcome(self) -> Continuous | Binary:
        if self.treated_sd is None or isinstance(self.outcome, Binary):
            return self.outcome
        return replace(self.outcome, sd=float(self.treated_sd))

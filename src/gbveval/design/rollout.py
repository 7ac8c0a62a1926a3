"""Hides the arithmetic of a planned rollout: units that start at different times, and errors that follow each other."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError, GbvevalWarning
from gbveval.design._require import one_of, real, whole
from gbveval.design.outcomes import Continuous
from gbveval.design.panel_errors import Errors
from gbveval.design.planned_test import Otherwise, PlainDesign, PlannedTest
from gbveval.numerics.two_way_variance import event_covariance, two_way_variance

if TYPE_CHECKING:
    from gbveval.design.rollout_process import RolloutProcess

FloatArray = NDArray[np.float64]
FEWEST_UNITS = 3
REFERENCE = -1.0


@dataclass(frozen=True, eq=False, slots=True)
class PlannedEventStudy:
    """What an event study of a planned rollout would know.

    Attributes
    ----------
    event_times : tuple of float
        Periods since treatment with a coefficient; -1 is the reference.
    covariance : ndarray, shape (event times, event times)
        Of the coefficients.
    """

    event_times: tuple[float, ...]
    covariance: FloatArray


@dataclass(frozen=True, slots=True)
class RolloutDesign(PlainDesign):
    """A panel of units that start treatment in different periods, or never: difference in differences.

    Parameters
    ----------
    n_periods : int
        Periods that are observed, at least 2.
    first_treated : tuple of int or None
        For each cohort the first treated period, counted from 1; None for units that are never treated.
    units_per_cohort : int or tuple of int
        Units in every cohort, or in each.
    errors : Autoregressive, ResidualCovariance, AverageCovariances, Equicorrelated or Independent
        How errors of a unit vary and follow each other, its lasting level aside.
    people_per_period : int, optional
        Where units are places in which other people are asked in each period: how many. Their sampling error is added
        to the error of the place.
    people_sd : float
        Standard deviation between people of a place in a period.
    reference : str
        "t" with units - 2 degrees of freedom, or "normal".

    Raises
    ------
    DesignError
        If something is impossible, or treatment cannot be told from units and periods.

    Warns
    -----
    GbvevalWarning
        If errors are taken as independent over periods.

    Notes
    -----
    The variance is exactly that of the coefficient of treatment with unit and period effects (`TwoWayFixedEffects`), by
    least squares, for normal errors with the covariance given: sum d' V d / (sum d' d)^2, d what is left of treatment
    beside unit and period effects. Independence is wrong in both directions. A minimum detectable effect computed with
    it has a true power of 0.64 instead of 0.80 with a correlation of 0.6 and 3 + 4 periods, and 0.98 with 0.5 and 1
    + 1.

    The reference is that of units whose errors have one covariance, treated or not; with one start it is exact for the
    difference of changes. Standard errors clustered by unit have about as many degrees of freedom if there are many
    treated units, and far fewer if there are a handful: see `ConleyTaber`. With several starts the effect is taken to
    be the same for all cohorts at all times. If it is not, this coefficient weights some effects negatively; the
    estimators that avoid it (`CallawaySantAnna`, `Imputation`) have another variance, to be found by `simulate_power`.

    References
    ----------
    Burlig, Preonas and Woerman (2020), Journal of Development Economics 144. Schochet (2022), Journal of Educational
    and Behavioral Statistics 47. Bertrand, Duflo and Mullainathan (2004), Quarterly Journal of Economics 119.

    Examples
    --------
    >>> from gbveval.design.panel_errors import Autoregressive
    >>> plan = RolloutDesign.before_after(50, 50, n_before=1, n_after=1, errors=Autoregressive(0.5))
    >>> round(plan.planned_test(0.5).std_error, 6)
    0.2
    """

    n_periods: int
    first_treated: tuple[int | None, ...]
    units_per_cohort: int | tuple[int, ...]
    errors: Errors
    people_per_period: int | None = None
    people_sd: float = 0.0
    reference: str = "t"

    def __post_init__(self) -> None:
        whole("n_periods", self.n_periods, least=2)
        self._check_cohorts()
        if not isinstance(self.errors, Errors):
            raise DesignError("errors must be Autoregressive(...), ResidualCovariance(...) or another of them.")
        real("people_sd", self.people_sd, low=0.0, high=math.inf, closed=True)
        if self.people_per_period is not None:
            whole("people_per_period", self.people_per_period, least=1)
        if (self.people_per_period is None) != (self.people_sd == 0.0):
            raise DesignError("people_per_period and people_sd belong together: give both, or neither.")
        one_of("reference", self.reference, ("t", "normal"))
        if self.n_units < FEWEST_UNITS:
            raise DesignError(f"{self.n_units} units leave nothing to estimate errors from; at least {FEWEST_UNITS}.")
        variance = two_way_variance(self._treatment(), self._units(1.0), self._covariance(self.people_per_period))
        if math.isnan(variance):
            raise DesignError(
                "Treatment cannot be told from units and periods: some period needs units that are treated and units "
                "that are not, and some unit must change."
            )
        if variance <= 0.0:
            raise DesignError("Errors with these covariances leave the comparison without variance; check them.")
        if self.errors.independent:
            words = (
                "errors are taken as independent over periods. Where they follow each other the variance is several "
                "times larger over many periods, and smaller over two. Give errors=Autoregressive(...), or "
                "ResidualCovariance.from_panel(pilot)."
            )
            warnings.warn(GbvevalWarning(f"GBV201: {words}"), stacklevel=3)

    def _check_cohorts(self) -> None:
        starts = self.first_treated
        if not isinstance(starts, tuple) or not starts:
            raise DesignError("first_treated must be a tuple with the first treated period of each cohort, or None.")
        for start in starts:
            if start is not None and whole("A first treated period", start, least=1) > self.n_periods:
                raise DesignError(
                    f"A first treated period of {start} is beyond the {self.n_periods} periods; use None."
                )
        if len(set(starts)) < len(starts):
            raise DesignError("Cohorts of first_treated repeat; give their units together.")
        sizes = self.units_per_cohort
        for size in sizes if isinstance(sizes, tuple) else (sizes,):
            whole("units_per_cohort", size, least=1)
        if isinstance(sizes, tuple) and len(sizes) != len(starts):
            raise DesignError(f"units_per_cohort has {len(sizes)} numbers, and first_treated {len(starts)} cohorts.")

    @classmethod
    def before_after(
        cls,
        n_control: int,
        n_treated: int,
        *,
        n_before: int,
        n_after: int,
        errors: Errors,
        people_per_period: int | None = None,
        people_sd: float = 0.0,
        reference: str = "t",
    ) -> RolloutDesign:
        """Return the plan in which some units start together and the others never do.

        Parameters
        ----------
        n_control, n_treated : int
            Units.
        n_before, n_after : int
            Periods before and from the start.
        errors, people_per_period, people_sd, reference
            As of the class.
        """
        before, after = whole("n_before", n_before, least=1), whole("n_after", n_after, least=1)
        units = (n_control, n_treated)
        return cls(before + after, (None, before + 1), units, errors, people_per_period, people_sd, reference)

    @property
    def outcome(self) -> Continuous:
        """What is measured: its units are those of the errors."""
        return Continuous()

    @property
    def cohort_sizes(self) -> tuple[int, ...]:
        """Units in each cohort."""
        given = self.units_per_cohort
        return given if isinstance(given, tuple) else (given,) * len(self.first_treated)

    @property
    def n_units(self) -> int:
        """Units in all cohorts."""
        return sum(self.cohort_sizes)

    @property
    def least_sizes(self) -> Mapping[str, int]:
        """Sizes that can be solved for, with the least that each may be."""
        sizes = {"n_units": max(len(self.first_treated), FEWEST_UNITS)}
        return MappingProxyType(sizes if self.people_per_period is None else {**sizes, "people_per_period": 1})

    def resized(self, name: str, value: int) -> RolloutDesign:
        """Return the design with as many units in all, shared over cohorts as before, or people in a period."""
        one_of("solve_for", name, tuple(self.least_sizes))
        if name == "people_per_period":
            return replace(self, people_per_period=value)
        return replace(self, units_per_cohort=_shared(self.cohort_sizes, int(value)))

    def limit_hint(self, name: str) -> str:
        """Return what holds power down when only this size grows, and what to do."""
        if name == "people_per_period":
            return (
                f"However many people are asked, the errors of {self.n_units} places themselves set a floor under the "
                "standard error. Add places instead: solve_for='n_units'."
            )
        return "Plan for a larger effect, more periods or a lower power."

    def process(self, effect: float) -> RolloutProcess:
        """Return the process that draws panels of this design with this true effect."""
        from gbveval.design.rollout_process import RolloutProcess

        return RolloutProcess(self, effect)

    def planned_test(self, effect: float, *, size: tuple[str, float] | None = None, null: float = 0.0) -> PlannedTest:
        """Return the planned test of an effect of treatment, the same for all cohorts and periods.

        Parameters
        ----------
        effect : float
            Treated minus what would have been otherwise.
        size : (str, float), optional
            ("n_units" or "people_per_period", any real number) instead of the design's own.
        null : float
            Effect under the null hypothesis: a margin.
        """
        self.outcome.levels(effect)
        total, people = float(self.n_units), self.people_per_period and float(self.people_per_period)
        if size is not None:
            one_of("solve_for", size[0], tuple(self.least_sizes))
            if size[0] == "n_units":
                total = float(size[1])
            else:
                people = float(size[1])
        covariance = self._covariance(people)
        one_unit = two_way_variance(self._treatment(), self._units(1.0), covariance)
        apart = float(np.mean(np.diag(covariance))) * np.eye(self.n_periods)
        naive = two_way_variance(self._treatment(), self._units(1.0), apart)
        df = math.inf if self.reference == "normal" else total - 2.0
        other = Otherwise("if errors of different periods were independent", df, naive / one_unit)
        return PlannedTest(
            effect=effect,
            std_error=math.sqrt(one_unit / total),
            df=df,
            null=null,
            formula="effect over sqrt(sum d' V d) / sum d' d, d what is left of treatment beside unit and period "
            f"effects, V the covariance of a unit's errors, against the {self._reference_words()}",
            source="Burlig, Preonas and Woerman (2020), Journal of Development Economics 144; Schochet (2022), Journal "
            "of Educational and Behavioral Statistics 47",
            assumptions=self._assumptions(),
            others=() if self.errors.independent else (other,),
        )

    def event_study(self) -> PlannedEventStudy:
        """Return the covariance that the coefficients of an event study would have, relative to the period before.

        Raises
        ------
        DesignError
            If no unit is never treated.

        Notes
        -----
        Feed it to `pretrend_power` through `event_study_from`, to learn which departures from parallel trends the test
        of pre-trends will see.
        """
        if None not in self.first_treated:
            raise DesignError("An event study is planned with units that are never treated; add such a cohort.")
        start = np.array([math.nan if first is None else float(first) for first in self.first_treated])
        event = np.arange(1.0, self.n_periods + 1.0)[None, :] - start[:, None]
        times = np.unique(event[np.isfinite(event) & (event != REFERENCE)])
        found = event_covariance(
            event, times, self._units(float(self.n_units)), self._covariance(self.people_per_period)
        )
        # A cohort that changes, without which there is no plan, has the reference and the start: nothing is collinear.
        assert found is not None
        return PlannedEventStudy(tuple(map(float, times)), found)

    def _units(self, total: float) -> FloatArray:
        """Return units of each cohort when they are so many in all."""
        return np.array(self.cohort_sizes, dtype=float) * total / self.n_units

    def _treatment(self) -> FloatArray:
        periods = np.arange(1, self.n_periods + 1)
        rows = [np.zeros(self.n_periods) if first is None else periods >= first for first in self.first_treated]
        return np.array(rows, dtype=float)

    def _covariance(self, people: float | None) -> FloatArray:
        starts = [first for first in self.first_treated if first is not None]
        errors = self.errors.covariance(self.n_periods, starts[0] - 1 if len(starts) == 1 else None)
        return errors if not people else errors + float(self.people_sd) ** 2 / people * np.eye(self.n_periods)

    def _reference_words(self) -> str:
        return "normal" if self.reference == "normal" else "noncentral t with units - 2 df"

    def _assumptions(self) -> tuple[str, ...]:
        told = [
            *self.errors.assumptions(),
            "without treatment all cohorts would have moved in parallel",
            "errors of units are independent of each other, with one covariance for treated units and others",
        ]
        if sum(first is not None for first in self.first_treated) > 1:
            told.append("the effect is the same in all cohorts at all times, or the coefficient is no average of them")
        if self.errors.independent:
            told.append("independence over periods is wrong in both directions where errors follow each other")
        return tuple(told)


def _shared(sizes: tuple[int, ...], total: int) -> tuple[int, ...]:
    """Return as many units in all, in the proportions of the sizes, at least one each: largest remainders first."""
    exact = np.array(sizes, dtype=float) * total / sum(sizes)
    found = np.maximum(np.floor(exact * (1.0 + 1e-12)), 1.0)
    while found.sum() < total:
        found[np.argmax(exact - found)] += 1.0
    while found.sum() > total:
        left = np.where(found > 1.0, exact - found, np.inf)
        found[np.argmin(left)] -= 1.0
    return tuple(int(each) for each in found)

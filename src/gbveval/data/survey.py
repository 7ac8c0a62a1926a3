"""`Survey`: a sample survey with its design, checked once; factors are read when a model names them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbveval.core.counts import CountTable
from gbveval.core.errors import ConvergenceError, DataError, DesignError, IdentificationError
from gbveval.core.provenance import DataDigest, digest_arrays
from gbveval.data._counts import count_respondents
from gbveval.data._frame import Checked, Labels, Reader, as_names, frozen, plural
from gbveval.data._survey_parts import (
    Calibration,
    calibration_of,
    check_populations,
    implied_weights,
    nested_stages,
    read_margins,
    read_replicates,
)
from gbveval.data._survey_totals import distance_of, read_totals
from gbveval.numerics.calibration import rake
from gbveval.numerics.replicate_weights import CENTRES, GIVEN, Replicates, jackknife, rescaled_bootstrap
from gbveval.numerics.survey import SampleDesign, sample_design

FloatArray = NDArray[np.float64]
# Replicate weights of more numbers than this (400 MB) are not made.
LARGEST = 50_000_000


class Survey(Checked):
    """A survey with its columns given roles, checked as a whole.

    Parameters
    ----------
    frame : pandas, polars or pyarrow frame, or dict of columns
        One row a respondent. Factors and covariates named later by an estimator are read from it.
    outcome : str or sequence of str
        Outcomes, 0 or 1 for a prevalence. Missing outcomes are kept and counted.
    weight : str, optional
        Sampling weight, zero or more. Absent, the weights are those that `fpc` implies; without `fpc` too, every
        respondent counts the same, and results say so.
    stratum : str, optional
        Sampling stratum.
    psu : str or sequence of str, optional
        Primary sampling unit; then, where units were drawn within it, those of the second and further stages. Labels
        may repeat between strata and units. Absent, each respondent is one. With `fpc`, people who were drawn within
        the last units are a stage of their own: give a column of respondents too, or the variance takes it that
        everybody in a drawn unit was asked.
    fpc : str or sequence of str, optional
        Finite populations: how many primary units the stratum has, how many second-stage units the primary unit has,
        and so on, as counts. Absent, units were drawn with replacement (or from a population so large that it does
        not matter), and later stages need not be told apart. Without `weight`, every stage needs one: the weight is
        then the product over stages of units there are over units drawn.
    replicate_weights : sequence of str, optional
        Columns of replicate weights that came with the data. Standard errors then come from them.
    replicate_scale : float or sequence of float, optional
        Factor of each replicate's squared deviation, from the survey's documentation: 1/R for bootstrap and balanced
        replicates, (R - 1)/R for a jackknife without strata, 1/(R (1 - rho)^2) for Fay's. Deviations are from the
        full-sample estimate.

    Raises
    ------
    DataError
        Listing every problem by column and number of rows, never by value.

    Examples
    --------
    >>> frame = {"harassed": [0, 1, 1, None], "ward": ["a", "a", "b", "b"]}
    >>> Survey(frame, outcome="harassed", psu="ward")
    <Survey: 4 respondents, 2 primary sampling units, unweighted; outcome harassed (1 missing)>
    """

    kept_identifiers: str = ""
    outcome_names: tuple[str, ...]
    outcomes: FloatArray
    weight: FloatArray | None
    stratum: Labels | None
    psu: Labels | None
    later_units: tuple[Labels, ...]
    populations: tuple[FloatArray, ...]
    weights_implied: bool
    replicates: Replicates | None
    calibration: Calibration | None
    _reader: Reader

    def __init__(
        self,
        frame: Any,
        *,
        outcome: str | Sequence[str],
        weight: str | None = None,
        stratum: str | None = None,
        psu: str | Sequence[str] | None = None,
        fpc: str | Sequence[str] | None = None,
        replicate_weights: Sequence[str] = (),
        replicate_scale: float | Sequence[float] | None = None,
    ) -> None:
        reader = Reader(frame, "Survey")
        names = as_names(outcome, "outcome")
        if not names:
            raise DataError("A Survey needs at least one outcome column.")
        outcomes = np.column_stack([reader.numbers(name, "outcome", missing=True) for name in names])
        strata = None if stratum is None else reader.labels(stratum, "stratum")
        stages = tuple(reader.labels(name, "psu") for name in as_names(psu, "psu"))
        sizes = as_names(fpc, "fpc")
        populations = tuple(reader.positive(name, "fpc") for name in sizes)
        weights = None if weight is None else reader.weights(weight)
        replicates = read_replicates(reader, as_names(replicate_weights, "replicate_weights"), replicate_scale)
        if replicates is not None and weight is None and not sizes:
            reader.problem("replicate_weights need the weight of the full sample too; give `weight`.")
        depth = max(len(stages), 1)
        if len(sizes) > depth:
            reader.problem(f"fpc names {len(sizes)} stages, but psu only {depth}; give one population a stage.")
        elif sizes and weight is None and len(sizes) < depth:
            reader.problem(
                f"fpc names {len(sizes)} of {depth} stages, which implies no weights; give every stage's population, "
                "or a weight."
            )
        for number, name in enumerate(names):
            if np.all(np.isnan(outcomes[:, number])) and name in reader.columns:
                reader.problem(f"Column {name!r} (outcome) is missing in every row.")
        reader.raise_problems()
        stages = nested_stages(stages, strata)
        check_populations(reader, sizes, populations, stages, strata)
        reader.raise_problems()
        implied = weights is None and bool(populations)
        self._set(
            kept_identifiers=reader.kept_identifiers,
            outcome_names=names,
            outcomes=outcomes,
            weight=implied_weights(populations, stages, strata) if implied else weights,
            stratum=strata,
            psu=stages[0] if stages else None,
            later_units=stages[1:],
            populations=populations,
            weights_implied=implied,
            replicates=replicates,
            calibration=None,
            _reader=reader,
        )

    @property
    def n(self) -> int:
        """Respondents."""
        return int(self.outcomes.shape[0])

    @property
    def n_psu(self) -> int:
        """Primary sampling units (respondents, when no psu is declared)."""
        return self.n if self.psu is None else self.psu.count

    @property
    def n_strata(self) -> int:
        """Sampling strata (one, when none is declared)."""
        return 1 if self.stratum is None else self.stratum.count

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of all columns of the frame."""
        return tuple(self._reader.columns)

    @property
    def asked_everybody(self) -> bool:
        """Whether variances rest on finite populations at every stage whose last units hold several respondents."""
        if self.replicates is not None and self.replicates.kind == GIVEN:
            return False
        units = (*(() if self.psu is None else (self.psu,)), *self.later_units)
        return bool(units) and len(self.populations) == len(units) and units[-1].count < self.n

    def weights(self) -> FloatArray:
        """Return the sampling weights, ones when none is declared."""
        return np.ones(self.n) if self.weight is None else self.weight

    def sample_design(self, lonely_psu: str = "error") -> SampleDesign:
        """Return strata, units of every stage and finite populations as the arrays that variances are made of.

        Raises
        ------
        IdentificationError
            If strata have a single primary unit and `lonely_psu` is "error".
        """
        try:
            return sample_design(
                self.n,
                psu=None if self.psu is None else self.psu.codes,
                stratum=None if self.stratum is None else self.stratum.codes,
                lonely_psu=lonely_psu,
                later=[stage.codes for stage in self.later_units],
                populations=self.populations,
            )
        except ValueError as error:
            raise IdentificationError(
                f"{error} Merge such strata with neighbours of their kind, or set lonely_psu='adjust' (conservative) "
                "and say so."
            ) from error

    def with_jackknife(self, *, centre: str = "estimate") -> Survey:
        """Return the survey with jackknife weights: standard errors come from leaving out one primary unit at a time.

        Parameters
        ----------
        centre : str
            "estimate" (the usual, a little conservative) or "mean" of the replicates.

        Raises
        ------
        DesignError
            If the weights are calibrated already (make the replicates first, then calibrate), or later stages have
            finite populations, whose variance the jackknife of primary units does not hold.
        IdentificationError
            If a stratum has a single primary unit.

        Examples
        --------
        >>> Survey({"harassed": [0, 1, 1, 0]}, outcome="harassed").with_jackknife().replicates.count
        4
        """
        if centre not in CENTRES:
            raise DesignError(f"centre is one of {', '.join(CENTRES)}, not {centre!r}.")
        return self._with(replicates=jackknife(self._replicable("jackknife"), self.weights(), centre=centre))

    def with_bootstrap(self, n: int = 500, *, seed: int) -> Survey:
        """Return the survey with bootstrap weights: primary units drawn again within strata (Rao, Wu and Yue 1992).

        Parameters
        ----------
        n : int
            Replicates; with 500 a standard error has a Monte Carlo error of about 3 %.
        seed : int
            Of the draws.

        Raises
        ------
        DesignError, IdentificationError
            As for `with_jackknife`.

        Examples
        --------
        >>> survey = Survey({"harassed": [0, 1, 1, 0]}, outcome="harassed")
        >>> survey.with_bootstrap(200, seed=1).replicates.count
        200
        """
        if n < 2:
            raise DesignError(f"A bootstrap needs at least two replicates, better 500; it got {n}.")
        design = self._replicable("bootstrap")
        rng = np.random.default_rng(seed)
        return self._with(replicates=rescaled_bootstrap(design, self.weights(), count=n, rng=rng))

    def _replicable(self, method: str) -> SampleDesign:
        """Return the design, if replicates of its primary units tell its variance."""
        if self.calibration is not None:
            raise DesignError(f"The weights are calibrated already; make the {method} weights first, then calibrate.")
        if self.replicates is not None:
            raise DesignError("The survey has replicate weights already, which its estimates use. Take it as it is.")
        # Lonely units are refused below, whatever would be done with them elsewhere.
        design = self.sample_design("adjust")
        if design.later:
            raise DesignError(
                f"The {method} of primary units leaves out the variance of later stages, which finite populations of "
                "the first make visible. Use the linearised variance, or declare no fpc."
            )
        if method == "jackknife" and self.n * design.n_units > LARGEST:
            raise DesignError(
                f"A jackknife of {plural(design.n_units, 'primary unit')} needs as many weights for each of "
                f"{plural(self.n, 'respondent')}, which is too much. Use with_bootstrap."
            )
        if np.any(design.sizes < 2):
            raise IdentificationError(
                f"{int((design.sizes < 2).sum()):,} of {design.n_strata:,} strata have a single primary unit, which no "
                f"{method} can leave out. Merge such strata with neighbours of their kind."
            )
        return design

    def poststratified(self, column: str, totals: Mapping[str, float]) -> Survey:
        """Return the survey with weights that meet the population totals of one column's categories.

        Parameters
        ----------
        column : str
            A category that every respondent has; cross two columns in the frame for joint cells.
        totals : mapping of str to float
            Category to number of people in the population.

        Raises
        ------
        DataError
            If categories and totals do not fit, or the column has gaps.

        Notes
        -----
        The variance is that of the residuals from the means of the categories (calibration residuals); replicate
        weights, where there are any, are poststratified one by one.

        Examples
        --------
        >>> survey = Survey({"harassed": [0, 1, 1], "gender": ["w", "w", "m"]}, outcome="harassed")
        >>> survey.poststratified("gender", {"w": 60, "m": 40}).weights().tolist()
        [30.0, 30.0, 40.0]
        """
        return self.raked({column: totals})

    def raked(
        self, margins: Mapping[str, Mapping[str, float]], *, max_iterations: int = 100, tolerance: float = 1e-10
    ) -> Survey:
        """Return the survey with weights that meet the population totals of several columns, one by one.

        Parameters
        ----------
        margins : mapping of str to mapping of str to float
            Column to category to number of people in the population.
        max_iterations : int
            Rounds at most.
        tolerance : float
            Relative difference from every total at which to stop.

        Raises
        ------
        DataError
            If categories and totals do not fit, or a column has gaps.
        ConvergenceError
            If the totals are not met within the rounds.
        DesignError
            If the weights are calibrated already.

        References
        ----------
        Deming and Stephan (1940), Annals of Mathematical Statistics 11. Deville and Saerndal (1992), Journal of the
        American Statistical Association 87.
        """
        if self.calibration is not None:
            raise DesignError("The weights are calibrated already; give all margins to one call.")
        if not margins:
            raise DesignError("Give the population totals of at least one column.")
        found = {column: self.labels(column) for column in margins}
        codes, totals = read_margins(found, margins, self.weights())

        def met(weights: FloatArray) -> FloatArray:
            answer = rake(weights, codes, totals, max_iterations=max_iterations, tolerance=tolerance)
            if not answer.gap <= tolerance:
                apart = f" (largest relative difference {answer.gap:.2g})" if np.isfinite(answer.gap) else ""
                raise ConvergenceError(
                    f"Raking did not meet its margins in {max_iterations:,} rounds{apart}. Merge small categories, or "
                    "leave a margin out."
                )
            return answer.weights

        return self._calibrated(met, calibration_of(found, self.weights()))

    def calibrated(
        self,
        totals: Mapping[str, float | Mapping[str, float]],
        *,
        population: float | None = None,
        distance: str = "linear",
        bounds: tuple[float, float] | None = None,
        max_iterations: int = 100,
        tolerance: float = 1e-10,
    ) -> Survey:
        """Return the survey with weights that meet known totals of numbers, and of categories.

        Parameters
        ----------
        totals : mapping of str to float, or to mapping of str to float
            A numeric column to its total in the population (mean times number of people), or a column of categories to
            the number of people in each.
        population : float, optional
            Number of people. Give it where it is known and no column has categories, which say it too.
        distance : str
            "linear": the generalised regression estimator; "raking": weights stay above zero.
        bounds : tuple of float, optional
            Least and largest factor by which a weight may change, such as (0.3, 3.0), with "linear".
        max_iterations : int
            Rounds at most.
        tolerance : float
            Difference from every total at which to stop, relative to the larger of it and the sum of absolute values.

        Raises
        ------
        DataError
            If columns and totals do not fit, or a column has gaps.
        ConvergenceError
            If no weights are found that meet the totals.
        IdentificationError
            If "linear" without bounds would make weights negative.
        DesignError
            If the weights are calibrated already, or an option is not known.

        Notes
        -----
        The variance is that of the residuals from the regression on the columns; replicate weights, where there are
        any, are calibrated one by one. To first order it is the same for all distances. **Do not use** with a column
        that respondents understood otherwise than the source of its total did.

        References
        ----------
        Deville and Saerndal (1992), Journal of the American Statistical Association 87.

        Examples
        --------
        >>> survey = Survey({"harassed": [0, 1, 1], "hours": [1, 2, 6]}, outcome="harassed")
        >>> met = survey.calibrated({"hours": 40.0}, population=10)
        >>> round(float(met.weights() @ [1, 2, 6]), 6), round(float(met.weights().sum()), 6)
        (40.0, 10.0)
        """
        if self.calibration is not None:
            raise DesignError("The weights are calibrated already; give all totals to one call.")
        if not totals:
            raise DesignError("Give the population total of at least one column.")
        moved = distance_of(distance, bounds)
        found = read_totals(self, totals, population)

        def met(weights: FloatArray) -> FloatArray:
            return found.met(weights, moved, max_iterations, tolerance)

        return self._calibrated(met, Calibration(found.names, frozen(found.columns), self.weights()))

    def _calibrated(self, met: Callable[[FloatArray], FloatArray], calibration: Calibration) -> Survey:
        """Return the survey with its weights, and those of every replicate, calibrated."""
        weight, replicates = met(calibration.base), self.replicates
        if replicates is not None:
            try:
                each = np.column_stack([met(column) for column in replicates.weights.T])
            except (ConvergenceError, IdentificationError) as error:
                raise type(error)(
                    "The full sample meets the totals, a replicate does not: it may leave out everybody of a category. "
                    f"{error}"
                ) from error
            replicates = replace(replicates, weights=each)
        return self._with(weight=weight, replicates=replicates, calibration=calibration)

    def replica(self, number: int) -> Survey:
        """Return the survey as one of its replicates weights it, to estimate once more.

        Parameters
        ----------
        number : int
            Which replicate, from 0.

        Raises
        ------
        DesignError
            If there is no such replicate.

        Examples
        --------
        >>> survey = Survey({"harassed": [0, 1, 1, 0]}, outcome="harassed").with_jackknife()
        >>> [round(float(weight), 3) for weight in survey.replica(0).weights()]
        [0.0, 1.333, 1.333, 1.333]
        """
        count = 0 if self.replicates is None else self.replicates.count
        if self.replicates is None or not 0 <= number < count:
            raise DesignError(f"The survey has {count:,} replicates, counted from 0; there is none of number {number}.")
        return self._with(weight=self.replicates.weights[:, number], replicates=None, calibration=None)

    def _with(self, **changes: Any) -> Survey:
        """Return the survey with some parts replaced."""
        copy = object.__new__(Survey)
        kept = {name: value for name, value in self.__dict__.items() if name != "digest"}
        copy._set(**{**kept, **changes})
        return copy

    def observed(self, outcome: int) -> NDArray[np.bool_]:
        """Return which respondents have the outcome (by its position)."""
        return ~np.isnan(self.outcomes[:, outcome])

    def labels(self, column: str) -> Labels:
        """Return a factor or domain as codes, -1 where missing; a DataError names an absent column."""
        reader = self._reader
        found = reader.labels(column, "factor", missing=True)
        self._raise(reader)
        return found

    def covariates(self, columns: Sequence[str]) -> tuple[FloatArray, tuple[str, ...], NDArray[np.bool_]]:
        """Return covariates as numeric columns, their names, and which respondents have all of them.

        Categories become indicators of every level but the first (in sorted order); numbers stay numbers.
        """
        import narwhals as nw

        reader = self._reader
        parts: list[FloatArray] = []
        names: list[str] = []
        complete = np.ones(self.n, dtype=bool)
        for column in columns:
            known = column in reader.columns
            if known and not (reader.dtype(column).is_numeric() or reader.dtype(column) == nw.Boolean):
                found = reader.labels(column, "factor", missing=True)
                parts += [(found.codes == level).astype(float) for level in range(1, found.count)]
                names += [f"{column}[{level}]" for level in found.levels[1:]]
                complete &= found.codes >= 0
            else:
                values = reader.numbers(column, "factor", missing=True)
                complete &= ~np.isnan(values)
                parts.append(values)
                names.append(column)
        self._raise(reader)
        return (np.column_stack(parts) if parts else np.zeros((self.n, 0))), tuple(names), complete

    def counts(
        self,
        rows: str,
        columns: str | None = None,
        *,
        layers: Sequence[str] = (),
        outcome: str | None = None,
        within: tuple[str, str] | None = None,
    ) -> CountTable:
        """Return respondents, and those with an outcome, by one to four categories: unweighted counts for `release`.

        Parameters
        ----------
        rows, columns : str
            Category columns; leave `columns` out for a one-way table.
        layers : sequence of str
            A third and fourth category column.
        outcome : str, optional
            A 0/1 outcome of the survey to count as well; absent, respondents are counted alone.
        within : tuple of (str, str), optional
            A column and the category of it to which the table is confined.

        Notes
        -----
        Respondents without one of the categories (or without the outcome, if one is counted) are left out and counted.

        Examples
        --------
        >>> frame = {"harassed": [0, 1, 1, 0], "gender": ["w", "w", "m", None]}
        >>> Survey(frame, outcome="harassed").counts("gender", outcome="harassed")
        <CountTable harassed by gender: 2 rows; release() shows what may be shown>
        """
        return count_respondents(
            self, (rows, *(() if columns is None else (columns,)), *layers), outcome=outcome, within=within
        )

    def domain(self, member: NDArray[np.bool_]) -> Survey:
        """Return the survey of a subpopulation: the whole design stays, outcomes outside are not observed.

        Parameters
        ----------
        member : ndarray of bool, shape (n,)
            Who belongs to it.

        Examples
        --------
        >>> survey = Survey({"harassed": [0, 1, 1, 0], "ward": ["a", "a", "b", "b"]}, outcome="harassed", psu="ward")
        >>> part = survey.domain(np.array([True, True, True, False]))
        >>> part.n, part.observed(0).sum().item(), part.n_psu
        (4, 3, 2)
        """
        from copy import copy

        found = copy(self)
        found._set(outcomes=np.where(np.asarray(member, dtype=bool)[:, None], self.outcomes, np.nan))
        found.__dict__.pop("digest", None)
        return found

    @staticmethod
    def _raise(reader: Reader) -> None:
        problems, reader.problems = reader.problems, []
        if problems:
            raise DataError(tuple(problems))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of outcomes and design; it identifies them and holds none of them."""
        digest = digest_arrays(
            [
                ("outcomes", self.outcomes),
                ("weight", self.weight),
                ("stratum", None if self.stratum is None else self.stratum.codes),
                ("psu", None if self.psu is None else self.psu.codes),
                *((f"stage {k + 2}", stage.codes) for k, stage in enumerate(self.later_units)),
                *((f"population {k + 1}", size) for k, size in enumerate(self.populations)),
                *(
                    ()
                    if self.replicates is None
                    else (("replicates", self.replicates.weights), ("replicate scale", self.replicates.scale))
                ),
            ]
        )
        return DataDigest(digest, self.kept_identifiers) if self.kept_identifiers else digest

    def __repr__(self) -> str:
        missing = np.isnan(self.outcomes).sum(axis=0)
        names = ", ".join(f"{a} ({m:,} missing)" for a, m in zip(self.outcome_names, missing, strict=True))
        units = "" if self.psu is None else f", {plural(self.psu.count, 'primary sampling unit')}"
        strata = "" if self.stratum is None else f", {self.stratum.count:,} strata"
        weighted = "unweighted" if self.weight is None else "weighted"
        weighted += " by its finite populations" if self.weights_implied else ""
        weighted += "" if self.calibration is None else f", calibrated on {', '.join(self.calibration.margins)}"
        weighted += "" if self.replicates is None else f", {self.replicates.count:,} replicates"
        word = "outcome" if len(self.outcome_names) == 1 else "outcomes"
        return f"<Survey: {plural(self.n, 'respondent')}{units}{strata}, {weighted}; {word} {names}>"

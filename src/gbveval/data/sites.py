"""`SiteEffects`: one estimate and standard error a site, checked once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DataError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.method import Cell
from gbveval.core.provenance import digest_arrays
from gbveval.data._frame import Checked, Labels, Reader, as_names, plural

FloatArray = NDArray[np.float64]


class SiteEffects(Checked):
    """Estimates of the same effect in several sites.

    Sites are shown under codes ("site 01", in the order of the rows), so that no place is named by accident; `codes`
    tells the analyst which is which.

    Parameters
    ----------
    frame : pandas, polars or pyarrow frame, or dict of columns
        One row a site.
    estimate : str
        Column with the estimate, on the log scale for ratios.
    std_error : str
        Column with its standard error, above zero.
    site : str, optional
        Column with the site's name; each may occur once.
    study : str, optional
        Column with the study that each row comes from, where several rows may come from one: `MultilevelEffects` and
        `RobustEffects` take effects that depend on each other.
    moderators : sequence of str
        Columns with numbers that describe the sites and on which effects may depend; each varies over the sites.
    control_mean, control_std_error : str, optional
        Columns with the mean of the control arm (on the scale of the effect: log odds for log odds ratios) and its
        standard error, for models of both.
    covariance : str, optional
        Column with the covariance of the errors of control mean and effect. Without it they are taken to share the
        control arm and nothing else, and it is minus the square of `control_std_error`.
    contrast : str
        What the estimates are: "mean_difference" (default), "risk_difference", "log_odds_ratio", ...
        Ratios ("risk_ratio", "odds_ratio", "rate_ratio") are given as logs and shown as ratios.

    Raises
    ------
    DataError
        Listing every problem by column and number of rows.

    Examples
    --------
    >>> SiteEffects({"effect": [0.1, 0.3], "se": [0.1, 0.2]}, estimate="effect", std_error="se")
    <SiteEffects: 2 sites, mean difference>
    """

    estimate: FloatArray
    std_error: FloatArray
    names: tuple[str, ...]
    contrast: str
    outcome: str
    support: tuple[tuple[Cell, ...], ...]
    moderators: FloatArray
    moderator_names: tuple[str, ...]
    control_mean: FloatArray | None
    control_std_error: FloatArray | None
    covariance: FloatArray | None
    study: Labels | None

    def __init__(  # noqa: PLR0913  (one keyword a role)
        self,
        frame: Any,
        *,
        estimate: str,
        std_error: str,
        site: str | None = None,
        study: str | None = None,
        moderators: Sequence[str] = (),
        control_mean: str | None = None,
        control_std_error: str | None = None,
        covariance: str | None = None,
        contrast: str = "mean_difference",
    ) -> None:
        reader = Reader(frame, "SiteEffects")
        values = reader.numbers(estimate, "estimate")
        errors = reader.numbers(std_error, "std_error")
        wrong = int((errors <= 0).sum())
        if wrong:
            reader.problem(
                f"Column {std_error!r} (std_error) is zero or negative in {plural(wrong, 'row')}; a standard error is "
                "above zero. A site with no variation needs its counts, not a standard error of zero."
            )
        described = _moderators(reader, as_names(moderators, "moderators"))
        control = _control(reader, errors, control_mean, control_std_error, covariance)
        names: tuple[str, ...] = tuple(str(i + 1) for i in range(reader.n))
        if site is not None:
            found = reader.labels(site, "site")
            repeated = reader.n - found.count
            if repeated and not reader.problems:
                reader.problem(
                    f"Column {site!r} (site) repeats a site in {plural(repeated, 'row')}; one row a site was "
                    "expected. Pool the rows of a site first, or give the site as `study` to a method for several rows."
                )
            names = tuple(found.levels[code] for code in found.codes)
        source = None if study is None else reader.labels(study, "study")
        reader.raise_problems()
        try:
            Estimand("site_effect", contrast, "sites")
        except ValueError as error:
            raise DataError(str(error)) from error
        self._fill(values, errors, names, contrast, estimate, described=described, control=control, study=source)

    def _fill(  # noqa: PLR0913  (one keyword a role)
        self,
        values: FloatArray,
        errors: FloatArray,
        names: tuple[str, ...],
        contrast: str,
        outcome: str,
        support: tuple[tuple[Cell, ...], ...] | None = None,
        *,
        described: tuple[FloatArray, tuple[str, ...]] | None = None,
        control: tuple[FloatArray | None, ...] = (None, None, None),
        study: Labels | None = None,
    ) -> None:
        table, columns = described or (np.zeros((len(names), 0)), ())
        self._set(
            moderators=table,
            moderator_names=columns,
            control_mean=control[0],
            control_std_error=control[1],
            covariance=control[2],
            study=study,
            estimate=values,
            std_error=errors,
            names=names,
            contrast=contrast,
            outcome=outcome,
            support=((),) * len(names) if support is None else support,
        )

    @classmethod
    def from_estimates(cls, estimates: Mapping[str, Estimates], *, term: str | None = None) -> SiteEffects:
        """Return the effects that the same estimator found in several sites.

        Parameters
        ----------
        estimates : mapping of str to Estimates
            Site name to that site's result. All must share the estimand.
        term : str, optional
            Which row to take; by default the first.
        """
        if not estimates:
            raise DataError("No site was given; at least one is needed.")
        rows = [result.terms[0] if term is None else result[term] for result in estimates.values()]
        kinds = {row.estimand for row in rows}
        if len(kinds) != 1:
            words = "; ".join(sorted(kind.words() for kind in kinds))
            raise DataError(f"The sites estimate {len(kinds)} different things: {words}. Pool only one.")
        undefined = sum(row.value is None or row.std_error is None for row in rows)
        if undefined:
            raise DataError(
                f"{plural(undefined, 'site')} of {len(rows)} have no estimate or no standard error; leave them out "
                "by name and say so, or use a model on their counts."
            )
        sites = cls.__new__(cls)
        values = np.array([row.value for row in rows], dtype=float)
        errors = np.array([row.std_error for row in rows], dtype=float)
        width = max(2, len(str(len(rows))))
        support = tuple(
            tuple(replace(cell, table=f"{cell.table} in site {i:0{width}d}") for cell in row.support)
            for i, row in enumerate(rows, 1)
        )
        sites._fill(values, errors, tuple(estimates), rows[0].estimand.contrast, rows[0].outcome, support)
        return sites

    @classmethod
    def from_values(
        cls,
        values: FloatArray,
        std_errors: FloatArray,
        *,
        names: Sequence[str],
        contrast: str,
        outcome: str,
        support: Sequence[tuple[Cell, ...]],
    ) -> SiteEffects:
        """Return effects that were computed from counts or means, with the counts behind each.

        Parameters
        ----------
        values, std_errors : ndarray, shape (sites,)
            On the link scale; the second above zero.
        names : sequence of str
            Sites.
        contrast, outcome : str
            What was estimated, and of what.
        support : sequence of tuple of Cell
            Counts behind each site.
        """
        sites = cls.__new__(cls)
        sites._fill(values, std_errors, tuple(names), contrast, outcome, tuple(support))
        return sites

    def with_moderators(self, frame: Any, *, site: str, moderators: Sequence[str]) -> SiteEffects:
        """Return the same effects with numbers that describe the sites, taken from a table by the site's name.

        Parameters
        ----------
        frame : pandas, polars or pyarrow frame, or dict of columns
            One row a site, in any order; rows of other sites are ignored.
        site : str
            Column with the site's name.
        moderators : sequence of str
            Columns with numbers on which effects may depend.

        Raises
        ------
        DataError
            If a site is absent or in several rows, or a moderator is missing or the same everywhere.
        """
        reader = Reader(frame, "table of sites")
        found = reader.labels(site, "site")
        columns = as_names(moderators, "moderators")
        table = [reader.numbers(column, "moderator") for column in columns]
        reader.raise_problems()
        rows = {name: np.flatnonzero(found.codes == code) for code, name in enumerate(found.levels)}
        wrong = sum(rows.get(name, np.array([])).size != 1 for name in self.names)
        if wrong:
            raise DataError(
                f"Column {site!r} (site) does not hold exactly one row for {plural(wrong, 'site')} of {self.n}. Spell "
                "sites as in the effects, and keep one row each."
            )
        order = np.array([rows[name][0] for name in self.names], dtype=np.intp)
        described = np.column_stack([values[order] for values in table]) if table else np.zeros((self.n, 0))
        same = int((np.ptp(described, axis=0) == 0.0).sum()) if self.n > 1 else 0
        if same:
            raise DataError(
                f"{plural(same, 'moderator')} of {len(columns)} are the same in every site. Leave them out."
            )
        sites = type(self).__new__(type(self))
        sites._fill(
            self.estimate,
            self.std_error,
            self.names,
            self.contrast,
            self.outcome,
            self.support,
            described=(described, columns),
            control=(self.control_mean, self.control_std_error, self.covariance),
            study=self.study,
        )
        return sites

    @property
    def n(self) -> int:
        """Sites."""
        return int(self.estimate.shape[0])

    @property
    def codes(self) -> dict[str, str]:
        """Code shown for each site -> its name, for the analyst's eyes."""
        return dict(zip(self.labels, self.names, strict=True))

    @property
    def labels(self) -> tuple[str, ...]:
        """Codes under which the sites are shown."""
        width = max(2, len(str(self.n)))
        return tuple(f"site {i + 1:0{width}d}" for i in range(self.n))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the estimates, standard errors and what else was read."""
        parts: list[tuple[str, Any]] = [
            ("estimate", self.estimate),
            ("std_error", self.std_error),
            ("contrast", self.contrast),
        ]
        if self.moderator_names:
            parts += [("moderators", self.moderators), ("moderator_names", "\n".join(self.moderator_names))]
        if self.study is not None:
            parts.append(("study", self.study.codes))
        for name in ("control_mean", "control_std_error", "covariance"):
            if getattr(self, name) is not None:
                parts.append((name, getattr(self, name)))
        return digest_arrays(parts)

    def __repr__(self) -> str:
        return f"<SiteEffects: {plural(self.n, 'site')}, {self.contrast.replace('_', ' ')}>"


def _moderators(reader: Reader, columns: tuple[str, ...]) -> tuple[FloatArray, tuple[str, ...]]:
    """Return numbers that describe the sites; one that is the same everywhere cannot explain a difference."""
    found = [reader.numbers(column, "moderator") for column in columns]
    for column, values in zip(columns, found, strict=True):
        if reader.n > 1 and np.isfinite(values).all() and np.ptp(values) == 0.0:
            reader.problem(
                f"Column {column!r} (moderator) is the same in all {plural(reader.n, 'row')}; it cannot explain why "
                "effects differ. Leave it out."
            )
    return (np.column_stack(found) if found else np.zeros((reader.n, 0))), columns


def _control(
    reader: Reader, errors: FloatArray, mean: str | None, error: str | None, covariance: str | None
) -> tuple[FloatArray | None, ...]:
    """Return mean of control, its standard error, and the covariance of its error with that of the effect."""
    if mean is None and error is None and covariance is None:
        return None, None, None
    if mean is None or error is None:
        reader.problem("The roles control_mean and control_std_error go together; give both, or neither.")
        return None, None, None
    values, own = reader.numbers(mean, "control_mean"), reader.positive(error, "control_std_error")
    joint = -(own**2) if covariance is None else reader.numbers(covariance, "covariance")
    wrong = int((joint**2 >= (own * errors) ** 2).sum())
    if wrong and covariance is None:
        reader.problem(
            f"In {plural(wrong, 'row')} the effect is known better than the mean of control. Then it is not a plain "
            "difference from that mean: give the covariance of the two errors (covariance), zero if they share nobody."
        )
    elif wrong:
        reader.problem(
            f"Column {covariance!r} (covariance) is too large in {plural(wrong, 'row')}: it must lie below the product "
            "of the two standard errors in size. Look whether a correlation was given."
        )
    return values, own, joint

"""`balance`: how alike arms were before the intervention, column by column and in one test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError, IdentificationError
from gbveval.core.estimates import Estimates
from gbveval.core.method import Cell
from gbveval.core.provenance import derive_seed
from gbveval.core.table import Table
from gbveval.data._frame import Labels
from gbveval.data.trial import Trial
from gbveval.estimators._assemble import events_of
from gbveval.estimators._trials import changed, subset
from gbveval.estimators.diagnostics._described import Described, described, filled
from gbveval.estimators.diagnostics._omnibus import DEGREES, Omnibus, by_allocations, by_regression, resolved
from gbveval.estimators.randomised._assignment import RecordedAllocations
from gbveval.estimators.randomised.ancova import Ancova
from gbveval.numerics.inference import check_level

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FloatArray = NDArray[np.float64]
OMNIBUS = ("randomisation", "regression", "none")
PANELS = ("site", "stratum")
ALL = "all together"
STANDARDISED = "standardised difference: "


@dataclass(frozen=True, slots=True)
class _Options:
    tested: tuple[str, ...] | None
    omnibus: str
    vcov: str
    df: str
    p_values: bool
    assignment: str | RecordedAllocations
    n_draws: int
    level: float


def balance(  # noqa: PLR0913  (one keyword a choice that a reader of the table will ask about)
    trial: Trial,
    *,
    tested: Sequence[str] | None = None,
    panels: str | None = None,
    omnibus: str = "randomisation",
    vcov: str = "auto",
    df: str = "auto",
    p_values: bool = False,
    assignment: str | RecordedAllocations = "auto",
    n_draws: int = 9_999,
    level: float = 0.95,
    rng: np.random.Generator | None = None,
) -> Table:
    """Return a table of characteristics by arm, with one test of all of them.

    Parameters
    ----------
    trial : Trial
        Its `characteristics` are described, then covariates and the baseline outcome that are not among them.
    tested : sequence of str, optional
        Columns that the test is about; by default all. The regression holds the others fixed.
    panels : str, optional
        "site" or "stratum": one set of rows, and one test, for each.
    omnibus : str
        "randomisation" (the default): d2 of Hansen and Bowers (2008), with the allocations that could have been as its
        distribution. "regression": the arm regressed on the columns, F test that all coefficients are zero. "none".
    vcov, df : str
        Of the regression: "auto" (HC1, or CR1 where groups were assigned), "classical", "HC0" to "HC3", "CR0" to
        "CR3"; "auto", "residual", "clusters_minus_1" or "normal".
    p_values : bool
        Whether each row has a p-value as well, for each arm and for all arms together.
    assignment : str or RecordedAllocations
        How units were assigned, as in `RandomisationInference`.
    n_draws : int
        Allocations drawn where they are not all listed.
    level : float
        Level of the intervals.
    rng : numpy.random.Generator, optional
        For drawn allocations; by default seeded from the data.

    Returns
    -------
    Table
        One row a column, the levels of a category below it, and a last row for the test. The columns depend on the arms
        and on `p_values`, and on nothing else.

    Notes
    -----
    Means, standard deviations, numbers and missing values are those of the arms, weighted if the trial is. The
    **difference** is adjusted for strata or pairs where they are declared, as the test is, so it need not be the
    difference of the means beside it; standard errors follow the assignment (HC2, or CR2 by cluster or pair). The
    standardised difference is the difference over the root mean of the two arms' variances; the variance ratio is arm
    over control.

    Missing values leave a row's own numbers. In the test they are filled with the column's mean, and *being missing* is
    tested as a column of its own: nobody is dropped.

    **Do not use when** the question is which covariates to adjust for: choose them beforehand. If arms were assigned by
    lot as declared, every difference is chance, and a p-value for each row invites adjustment for those that happen to
    be small (CONSORT advises against them; so they are off). The one test answers whether the whole is odder than the
    assignment allows, as happens when the log is wrong. Nor where clusters change arm over time.

    References
    ----------
    Hansen and Bowers (2008), Statistical Science 23. Moher et al. (2010), BMJ 340, CONSORT explanation, item 15.

    Examples
    --------
    >>> frame = {"y": [0, 1, 1, 0, 1, 0], "arm": ["usual", "new"] * 3, "age": [20, 21, None, 23, 24, 30]}
    >>> trial = Trial(frame, outcome="y", arm="arm", control="usual", characteristics=["age"])
    >>> table = balance(trial)
    >>> table.column("characteristic"), table.column("missing: usual")
    (('age', 'all together'), (1, None))
    """
    options = _checked(tested, omnibus, vcov, df, p_values, assignment, n_draws, level)
    resolved(trial, assignment)
    seed = derive_seed(trial.digest, "balance", repr(options)) if rng is None else int(rng.integers(2**31))
    draws = np.random.default_rng(seed)
    columns = _columns(trial, p_values)
    rows: list[dict[str, Any]] = []
    support: list[tuple[Cell, ...]] = []
    notes: list[str] = []
    for name, part in _parts(trial, panels):
        where = "" if panels is None else f" and {panels}"
        new, cells, said = _panel(part, options, draws, (name, where))
        rows += new
        support += cells
        notes += said
    return Table(
        title="Balance before the intervention",
        columns=columns,
        rows=tuple(tuple(row.get(column) for column in columns) for row in rows),
        notes=tuple(dict.fromkeys([*notes, *_words(trial, options, panels)])),
        support=tuple(support),
    )


def love_plot(table: Table, ax: Axes | None = None) -> Axes:
    """Draw the standardised differences of a balance table, one line a row and one mark an arm.

    Parameters
    ----------
    table : Table
        From `balance`.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.

    Notes
    -----
    The dotted lines at a tenth of a standard deviation are a customary guide, not a test: with few units chance alone
    goes beyond them.

    Examples
    --------
    >>> frame = {"y": [0, 1, 1, 0, 1, 0], "arm": ["usual", "new"] * 3, "age": [20, 21, 22, 23, 24, 30]}
    >>> trial = Trial(frame, outcome="y", arm="arm", control="usual", characteristics=["age"])
    >>> love_plot(balance(trial)).get_xlabel()
    'standardised difference from usual'
    """
    from gbveval.core._display import love_plot as draw

    arms = [name.removeprefix(STANDARDISED) for name in table.columns if name.startswith(STANDARDISED)]
    if not arms:
        raise DesignError("The table holds no standardised differences. Give a table made by `balance`.")
    control = next(name.removeprefix("mean: ") for name in table.columns if name.startswith("mean: "))
    marks = {arm: table.column(STANDARDISED + arm) for arm in arms}
    labels = [
        " ".join(part for part in ("" if panel == "all" else f"{panel}:", name, f"[{level}]" if level else "") if part)
        for panel, name, level in zip(*(table.column(c) for c in ("panel", "characteristic", "level")), strict=True)
    ]
    return draw(labels, marks, control, ax)


def _checked(
    tested: Sequence[str] | None,
    omnibus: str,
    vcov: str,
    df: str,
    p_values: bool,
    assignment: str | RecordedAllocations,
    n_draws: int,
    level: float,
) -> _Options:
    if omnibus not in OMNIBUS:
        raise DesignError(f"omnibus must be one of {', '.join(OMNIBUS)}, not {omnibus!r}.")
    if df not in DEGREES:
        raise DesignError(f"df must be one of {', '.join(DEGREES)}, not {df!r}.")
    if n_draws < 19:
        raise DesignError("n_draws must be at least 19, so that p can be 0.05.")
    if isinstance(tested, str):
        raise DesignError("tested must be a list of names of columns.")
    try:
        check_level(level)
    except ValueError as error:
        raise DesignError(str(error)) from error
    names = None if tested is None else tuple(tested)
    return _Options(names, omnibus, vcov, df, p_values, assignment, n_draws, level)


def _columns(trial: Trial, p_values: bool) -> tuple[str, ...]:
    """Return the columns of the table, which depend on the arms and on the option, never on the numbers."""
    own = [f"{what}: {arm}" for arm in trial.arms for what in ("n", "missing", "mean", "sd")]
    kinds = ("difference", "std_error", "conf_low", "conf_high", *(("p_value",) if p_values else ()))
    kinds += ("standardised difference", "variance ratio")
    compared = [f"{what}: {arm}" for arm in trial.arms[1:] for what in kinds]
    return ("panel", "characteristic", "level", *own, *compared, "statistic", "df", "df2", "p_value")


def _parts(trial: Trial, panels: str | None) -> list[tuple[str, Trial]]:
    if panels is None:
        return [("all", trial)]
    if panels not in PANELS:
        raise DesignError(f"panels must be one of {', '.join(PANELS)}, not {panels!r}.")
    labels: Labels | None = getattr(trial, panels)
    if labels is None:
        raise DesignError(f"panels={panels!r} needs the role {panels}; the trial declares none.")
    return [(level, subset(trial, labels.codes == code)) for code, level in enumerate(labels.levels)]


def _panel(
    part: Trial, options: _Options, rng: np.random.Generator, panel: tuple[str, str]
) -> tuple[list[dict[str, Any]], list[tuple[Cell, ...]], list[str]]:
    """Return rows, support and notes of one panel."""
    rows: list[dict[str, Any]] = []
    support: list[tuple[Cell, ...]] = []
    notes: list[str] = []
    columns = described(part)
    for one in columns:
        if one.is_category:
            rows.append({"panel": panel[0], "characteristic": one.name, "level": "", **_counts(part, one)})
            support.append(())
        for position, level in enumerate(one.levels):
            values = one.values[:, position]
            row = {"panel": panel[0], "characteristic": one.name, "level": level, **_counts(part, one)}
            compared, reason = _compare(part, values, options)
            rows.append({**row, **_moments(part, values), **compared})
            support.append(_support(part, one, position, panel))
            if reason:
                notes.append(f"{one.name}: no difference, because {reason}")
    if options.omnibus != "none":
        found, said = _omnibus(part, columns, options, rng)
        rows.append(
            {
                "panel": panel[0],
                "characteristic": ALL,
                "level": "",
                "statistic": found.statistic,
                "df": found.df,
                "df2": found.df2,
                "p_value": found.p_value,
            }
        )
        support.append(())
        notes += said
    return rows, support, notes


def _counts(part: Trial, one: Described) -> dict[str, Any]:
    missing = one.missing
    found: dict[str, Any] = {}
    for code, arm in enumerate(part.arms):
        member = part.arm == code
        found[f"n: {arm}"] = int((member & ~missing).sum())
        found[f"missing: {arm}"] = int((member & missing).sum())
    return found


def _moments(part: Trial, values: FloatArray) -> dict[str, Any]:
    """Return (weighted) mean and standard deviation by arm."""
    found: dict[str, Any] = {}
    for code, arm in enumerate(part.arms):
        mean, variance = _mean_variance(part, values, code)
        found[f"mean: {arm}"] = mean
        found[f"sd: {arm}"] = None if variance is None else float(np.sqrt(variance))
    return found


def _mean_variance(part: Trial, values: FloatArray, code: int) -> tuple[float | None, float | None]:
    member = (part.arm == code) & ~np.isnan(values)
    if part.weight is not None:
        member &= part.weight > 0
    n = int(member.sum())
    if n == 0:
        return None, None
    w = np.ones(n) if part.weight is None else part.weight[member]
    mean = float(np.average(values[member], weights=w))
    if n == 1:
        return mean, None
    return mean, float(np.average((values[member] - mean) ** 2, weights=w) * n / (n - 1.0))


def _compare(part: Trial, values: FloatArray, options: _Options) -> tuple[dict[str, Any], str]:
    """Return differences from control with their errors, or the reason why there are none."""
    empty = [arm for code, arm in enumerate(part.arms) if np.all(np.isnan(values[part.arm == code]))]
    if empty:
        return {}, f"it is missing everywhere in {', '.join(map(repr, empty))}"
    plain = changed(
        part,
        outcome_names=("characteristic",),
        outcomes=values[:, None],
        covariate_names=(),
        covariates=np.zeros((part.n, 0)),
        baseline=None,
    )
    try:
        answer = Ancova().estimate(plain)
    except IdentificationError as error:
        return {}, str(error)
    found: dict[str, Any] = {}
    _, control = _mean_variance(part, values, 0)
    for code, record in enumerate(answer.records(options.level)[: len(part.arms) - 1], start=1):
        arm = part.arms[code]
        _, variance = _mean_variance(part, values, code)
        for name, key in (("difference", "estimate"), *((k, k) for k in ("std_error", "conf_low", "conf_high"))):
            found[f"{name}: {arm}"] = record[key]
        if options.p_values:
            found[f"p_value: {arm}"] = record["p_value"]
        if control is not None and variance is not None:
            spread = float(np.sqrt((control + variance) / 2.0))
            found[STANDARDISED + arm] = record["estimate"] / spread if spread > 0 else None
            found[f"variance ratio: {arm}"] = variance / control if control > 0 else None
    if options.p_values:
        found.update(_equality(answer, len(part.arms)))
    return found, ""


def _equality(answer: Estimates, n_arms: int) -> dict[str, Any]:
    """Return the test that a column has one mean in all arms."""
    first = answer.with_terms(list(range(n_arms - 1)))
    if any(row.std_error is None for row in first.terms):
        return {}
    record = first.records()[0] if n_arms == 2 else first.joint_test().records()[0]
    return {key: record.get(key) for key in ("statistic", "df", "df2", "p_value")}


def _support(part: Trial, one: Described, position: int, panel: tuple[str, str]) -> tuple[Cell, ...]:
    """Return the counts behind a row: those of a level among the levels of its arm, or those of an arm."""
    name, where = panel
    values = one.values[:, position]
    seen = ~np.isnan(values)
    cells = []
    happened = None if one.is_category else events_of(values)
    for code, arm in enumerate(part.arms):
        member = (part.arm == code) & seen
        if one.is_category:
            inside = f"{one.name} of {arm} by level{where}" + (f" {name}" if where else "")
            cells.append(Cell(one.levels[position], int((values[member] == 1).sum()), None, inside))
        else:
            events = None if happened is None else int(happened[member].sum())
            label = f"{name}, {arm}" if where else arm
            cells.append(Cell(label, int(member.sum()), events, f"{one.name} by arm{where}"))
    return tuple(cells)


def _omnibus(
    part: Trial, columns: tuple[Described, ...], options: _Options, rng: np.random.Generator
) -> tuple[Omnibus, list[str]]:
    chosen = described(part, options.tested)
    matrix, _, incomplete = filled(chosen)
    if options.omnibus == "randomisation":
        found = by_allocations(part, matrix, resolved(part, options.assignment), options.n_draws, rng)
    else:
        names = {one.name for one in chosen}
        rest = [one for one in columns if one.name not in names]
        others = filled(rest)[0] if rest else np.zeros((part.n, 0))
        found = by_regression(part, matrix, others, options.vcov, options.df)
    notes = [f"All together: {found.words}."]
    if options.tested is not None:
        notes.append(f"All together is about: {', '.join(options.tested)}.")
    if incomplete:
        notes.append(f"In the test, missing values of {incomplete} columns are means, and being missing is a column.")
    if found.reason:
        notes.append(f"There is no test: {found.reason}.")
    return found, notes


def _words(trial: Trial, options: _Options, panels: str | None) -> list[str]:
    within = "strata" if trial.stratum is not None else "pairs" if trial.pair is not None else ""
    adjusted = f"adjusted for {within}" if within and panels != "stratum" else "of the means"
    clusters = "" if trial.cluster is None else " (CR2, by cluster)"
    notes = [
        f"Differences are {adjusted}, from control {trial.arms[0]!r}, with {100 * options.level:g} % intervals"
        f"{clusters}; means and standard deviations are those of the arms as they are.",
        "Standardised difference: over the root mean of the two arms' variances. Variance ratio: arm over control.",
    ]
    if not options.p_values:
        notes.append("No p-value is given for single rows: if arms were assigned by lot, differences are chance.")
    elif len(trial.arms) > 2:
        notes.append("The last p-value of a row tests that all arms are equal.")
    return notes

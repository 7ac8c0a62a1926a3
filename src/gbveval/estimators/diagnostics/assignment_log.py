"""`check_assignment_log`: whether a log of assignments is what the declared design could have produced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError
from gbveval.core.method import Check
from gbveval.core.provenance import derive_seed, digest_arrays
from gbveval.data._assignment import control_first
from gbveval.data._frame import Labels, Reader, as_names, plural
from gbveval.estimators.diagnostics._log_times import moment, times
from gbveval.numerics.allocations import permuted
from gbveval.numerics.covariate_balance import balance_test, unit_totals
from gbveval.numerics.inference import binomial_two_sided

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
BoolArray = NDArray[np.bool_]
# A log is long, and looked at in many places; what happens once in twenty logs is no sign of a fault.
ALPHA = 0.001
N_DRAWS = 9_999
# Beyond this many rows the chi-squared limit of d2 is taken in place of draws.
LARGE = 20_000


@dataclass(frozen=True, eq=False, slots=True)
class _Log:
    arms: Labels
    arm_column: str
    block: Labels | None
    unit: Labels | None


def check_assignment_log(  # noqa: PLR0913  (one keyword a column of the log)
    frame: Any,
    *,
    arm: str,
    control: str | int | bool,
    unit: str | None = None,
    block: str | None = None,
    block_size: int | None = None,
    ratio: Mapping[str, float] | None = None,
    time: str | None = None,
    start: Any = None,
    end: Any = None,
    received: str | None = None,
    covariates: Sequence[str] = (),
    measured: Mapping[str, str] | None = None,
    reached: str | None = None,
) -> tuple[Check, ...]:
    """Return what is odd about a log of assignments, before anything is estimated.

    Give the log as it was written, before rows are cleaned away: what was cleaned belongs in the participant flow.

    Parameters
    ----------
    frame : pandas, polars or pyarrow frame, or dict of columns
        One row an assignment.
    arm : str
        Column with the assigned arm.
    control : str, int or bool
        Label of the control arm.
    unit : str, optional
        Whom the row assigns. A unit should stand once.
    block : str, optional
        Block or stratum of the randomisation.
    block_size : int, optional
        Units in a complete block.
    ratio : mapping of arm to number, optional
        Declared allocation ratio, such as ``{"usual": 1, "message": 2}``; equal by default.
    time : str, optional
        When it was assigned: dates, times or numbers.
    start, end : optional
        First and last moment at which assignments were due, as dates, ISO texts or numbers.
    received : str, optional
        What was received: above zero means the intervention.
    covariates : sequence of str
        Columns meant to adjust with, to be measured before assignment.
    measured : mapping of covariate to column, optional
        When each covariate was measured.
    reached : str, optional
        Column of 0 and 1: who was reached *after* assignment, for example who completed a survey.

    Returns
    -------
    tuple of Check
        One or more for each thing that could be looked at: "ok", "info" or "warn". None of them names a unit, a block
        or a value.

    Notes
    -----
    - **Units** that stand twice, and those that stand in two arms.
    - **Missing arms**, and assignments outside the window or without a time.
    - **Ratio**: exact binomial test of each arm's number against the declared ratio (two-sided: all numbers no more
      likely than the one found); by block as well, the smallest p-value multiplied by the number of blocks. Where the
      design fixed the numbers, any departure is a fault, whatever the test says: the check of blocks is for that.
    - **Blocks**: with `block_size`, blocks that are incomplete, and blocks with more of an arm than a complete block
      may hold. Without it, blocks whose numbers are a whole unit or more away from the ratio; that can happen by chance
      if the draw was not balanced within blocks.
    - **Exposure**: control units that received the intervention, assigned ones that did not.
    - **Covariates** that cannot be ones: measured after assignment by their time; observed only among those who were
      reached afterwards; or so different between arms that the lot would do it less than once in a thousand (d2 of
      Hansen and Bowers 2008, permuting within blocks, or its limit in logs of more than 20,000 rows; missing values
      count as a value). An answer given after assignment
      may be a consequence of it: adjusting for it, or splitting by it, biases the effect.

    **Do not use when** rows are not assignments: a log with a row a measurement is full of repeated units.

    References
    ----------
    Hansen and Bowers (2008), Statistical Science 23. Montgomery, Nyhan and Torres (2018), American Journal of Political
    Science 62, on conditioning on post-treatment variables.

    Examples
    --------
    >>> log = {"who": ["a", "b", "b", "c"], "arm": ["usual", "new", "usual", "new"]}
    >>> for check in check_assignment_log(log, arm="arm", control="usual", unit="who"):
    ...     print(check.status, check.name)
    warn repeated units
    ok missing arms
    ok ratio
    """
    reader = Reader(frame, "assignment log")
    log = _read(reader, arm, str(control), unit, block)
    numbers = None if received is None else reader.numbers(received, "received", missing=True)
    touched = None if reached is None else reader.numbers(reached, "reached", missing=True)
    assigned = None if time is None else times(reader, time, "time")
    window = tuple(None if edge is None else moment(edge, name) for edge, name in ((start, "start"), (end, "end")))
    columns = [(name, *_covariate(reader, name)) for name in as_names(covariates, "covariates")]
    taken = {name: times(reader, column, "measured") for name, column in (measured or {}).items()}
    reader.raise_problems()
    if time is None and (taken or any(edge is not None for edge in window)):
        raise DesignError("A window, and times of measurement, need the time of assignment: give time=.")
    shares = _shares(ratio, log.arms.levels)
    found = [*_repeated(log), *_missing_arms(log)]
    if assigned is not None and any(edge is not None for edge in window):
        found.append(_window(assigned, window, str(time)))
    found += _ratio(log, shares)
    if log.block is not None:
        found += _blocks(log, shares, block_size)
    if numbers is not None:
        found += _exposure(log, numbers, str(received))
    for name, values, present in columns:
        found += _post_treatment(
            log, name, (values, present), None if assigned is None else (assigned, taken.get(name)), (reached, touched)
        )
    return tuple(found)


def _read(reader: Reader, arm: str, control: str, unit: str | None, block: str | None) -> _Log:
    arms = control_first(reader, reader.labels(arm, "arm", missing=True), arm, control)
    blocks = None if block is None else reader.labels(block, "block")
    return _Log(arms, arm, blocks, None if unit is None else reader.labels(unit, "unit"))


def _covariate(reader: Reader, name: str) -> tuple[FloatArray, BoolArray]:
    """Return the columns of a covariate, and which rows have it."""
    matrix, _ = reader.characteristics((name,))
    if matrix.shape[1] == 0:
        return np.zeros((reader.n, 1)), np.zeros(reader.n, dtype=bool)
    return matrix, ~np.isnan(matrix[:, 0])


def _shares(ratio: Mapping[str, float] | None, arms: tuple[str, ...]) -> FloatArray:
    if ratio is None:
        return np.full(len(arms), 1.0 / len(arms))
    given = {str(name): float(value) for name, value in ratio.items()}
    if set(given) != set(arms) or not all(np.isfinite(value) and value > 0 for value in given.values()):
        raise DesignError(
            f"The ratio needs one number above zero for each arm found ({', '.join(map(repr, arms))}) and no other."
        )
    parts = np.array([given[name] for name in arms])
    return np.asarray(parts / parts.sum())


def _repeated(log: _Log) -> list[Check]:
    if log.unit is None:
        return []
    counts = np.bincount(log.unit.codes, minlength=log.unit.count)
    twice = int((counts > 1).sum())
    if twice == 0:
        return [Check("repeated units", "ok", "Every unit stands once in the log.")]
    known = log.arms.codes >= 0
    pairs = np.unique(np.column_stack([log.unit.codes, log.arms.codes])[known], axis=0)[:, 0]
    crossed = int((np.bincount(pairs, minlength=log.unit.count) > 1).sum())
    rows = int(counts[counts > 1].sum())
    text = (
        f"Units that stand more than once: {twice:,} ({plural(rows, 'row')}); in more than one arm: {crossed:,}. "
        "Keep the first assignment of each, and count the others in the flow."
    )
    return [Check("repeated units", "warn", text, "Some units stand more than once in the log.")]


def _missing_arms(log: _Log) -> list[Check]:
    absent = int((log.arms.codes < 0).sum())
    if absent == 0:
        return [Check("missing arms", "ok", "Every row has an arm.")]
    text = f"Column {log.arm_column!r} is missing in {plural(absent, 'row')}. Find out whether they were assigned."
    return [Check("missing arms", "warn", text, "Some rows have no arm.")]


def _window(assigned: FloatArray, window: tuple[float | None, ...], column: str) -> Check:
    start, end = window
    unknown = int(np.isnan(assigned).sum())
    with np.errstate(invalid="ignore"):
        early = 0 if start is None else int((assigned < start).sum())
        late = 0 if end is None else int((assigned > end).sum())
    if early + late + unknown == 0:
        return Check("assignment window", "ok", "Every assignment lies in the declared window.")
    text = (
        f"Column {column!r}: {early:,} assignments before the window, {late:,} after it, {unknown:,} without a time. "
        "Ask what these units received, and leave out as a group only what the protocol says."
    )
    return Check("assignment window", "warn", text, "Some assignments lie outside the declared window.")


def _ratio(log: _Log, shares: FloatArray) -> list[Check]:
    counts = _counts(log.arms.codes, log.arms.count)
    total = int(counts.sum())
    # Two arms are one test; several are one each against the rest.
    tested = range(1, log.arms.count) if log.arms.count == 2 else range(log.arms.count)
    p_values = [binomial_two_sided(int(counts[code]), total, float(shares[code])) for code in tested]
    smallest = min(1.0, min(p_values) * len(p_values))
    shown = " : ".join(f"{count:,}" for count in counts)
    text = f"Arms hold {shown}; exact binomial test of the declared ratio p = {smallest:.4g}."
    odd = smallest < ALPHA
    if odd:
        text += " The lot would not do this: ask how arms were drawn, and whether rows are missing."
    found = [Check("ratio", "warn" if odd else "ok", text, f"Arms {_fit(odd)} the declared ratio.")]
    if log.block is None:
        return found
    known = log.arms.codes >= 0
    table = _table(log.block.codes[known], log.arms.codes[known], log.block.count, log.arms.count)
    sizes = table.sum(axis=1)
    kinds = {(int(row[code]), int(size), code) for row, size in zip(table, sizes, strict=True) for code in tested}
    worst = min(binomial_two_sided(count, size, float(shares[code])) for count, size, code in kinds)
    adjusted = min(1.0, worst * log.block.count * len(p_values))
    text = f"Smallest p of {plural(log.block.count, 'block')}, times their number: {adjusted:.4g}."
    status = "warn" if adjusted < ALPHA else "ok"
    return [
        *found,
        Check("ratio by block", status, text, f"Arms within blocks {_fit(adjusted < ALPHA)} the declared ratio."),
    ]


def _fit(odd: bool) -> str:
    return "are at odds with" if odd else "fit"


def _counts(codes: IntArray, n_arms: int) -> IntArray:
    return np.bincount(codes[codes >= 0], minlength=n_arms).astype(np.intp)


def _table(block: IntArray, arm: IntArray, n_blocks: int, n_arms: int) -> IntArray:
    flat = np.bincount(block * n_arms + arm, minlength=n_blocks * n_arms)
    return flat.reshape(n_blocks, n_arms).astype(np.intp)


def _blocks(log: _Log, shares: FloatArray, block_size: int | None) -> list[Check]:
    assert log.block is not None
    known = log.arms.codes >= 0
    table = _table(log.block.codes[known], log.arms.codes[known], log.block.count, log.arms.count)
    sizes = table.sum(axis=1)
    single = int(((table > 0).sum(axis=1) < 2).sum())
    found = []
    if block_size is None:
        away = np.abs(table - sizes[:, None] * shares).max(axis=1)
        odd = int((away >= 1.0 - 1e-9).sum())
        advice = "If the draw was balanced within blocks, these were not drawn so; give block_size to say it."
        text = f"Blocks a unit or more away from the ratio: {odd:,} of {log.block.count:,}. {advice}"
    else:
        full = block_size * shares
        if block_size < 2 or np.any(np.abs(full - np.round(full)) > 1e-9):
            raise DesignError(
                f"Blocks of {block_size} cannot hold the declared ratio in whole units. Mend one of them."
            )
        over = (table > np.round(full)).any(axis=1)
        odd, short = int(over.sum()), int((sizes < block_size).sum())
        text = (
            f"Blocks with more of an arm than a block of {block_size} may hold: {odd:,} of {log.block.count:,}. Look "
            "for repeated units and for assignments by hand."
        )
        if short:
            words = f"Blocks with fewer than {block_size} units: {short:,}. The last may; others lost rows."
            found.append(
                Check("incomplete blocks", "warn" if short > 1 else "info", words, "Some blocks are incomplete.")
            )
    clean = f"No block of {log.block.count:,} is at odds with the declared ratio."
    found.insert(
        0,
        Check(
            "blocks", "warn" if odd else "ok", text if odd else clean, f"Blocks {_fit(bool(odd))} the declared ratio."
        ),
    )
    if single:
        text = f"Blocks with a single arm, which say nothing about the effect: {single:,}."
        found.append(Check("blocks with one arm", "warn", text, "Some blocks hold a single arm."))
    return found


def _exposure(log: _Log, numbers: FloatArray, column: str) -> list[Check]:
    control, treated = log.arms.codes == 0, log.arms.codes > 0
    unknown = int((np.isnan(numbers) & (log.arms.codes >= 0)).sum())
    with np.errstate(invalid="ignore"):
        crossed, without = int((control & (numbers > 0)).sum()), int((treated & (numbers <= 0)).sum())
    found = []
    if crossed:
        text = f"Column {column!r}: {crossed:,} of {int(control.sum()):,} control rows received the intervention. "
        found.append(
            Check("control exposed", "warn", text + "Compare arms as assigned.", "Some of control were exposed.")
        )
    if without:
        text = f"Column {column!r}: {without:,} of {int(treated.sum()):,} assigned rows did not receive it. "
        text += "Compare arms as assigned; ComplierAverage gives the effect on those who take it up."
        found.append(Check("assigned not exposed", "info", text, "Some of those assigned did not receive it."))
    if unknown:
        text = f"Column {column!r} is missing in {plural(unknown, 'assigned row')}."
        found.append(Check("exposure unknown", "warn", text, "For some it is not known what they received."))
    return found or [Check("exposure", "ok", f"Column {column!r} agrees with the arm in every row.")]


def _post_treatment(
    log: _Log,
    name: str,
    column: tuple[FloatArray, BoolArray],
    clock: tuple[FloatArray, FloatArray | None] | None,
    after: tuple[str | None, FloatArray | None],
) -> list[Check]:
    """Return why a column cannot be a covariate, or that nothing speaks against it."""
    values, present = column
    label = f"post-treatment covariate: {name}"
    advice = "It may be a consequence of the intervention: do not adjust for it or split by it."
    found = []
    if clock is not None and clock[1] is not None:
        with np.errstate(invalid="ignore"):
            late = int((clock[1] > clock[0]).sum())
        if late:
            text = f"Column {name!r} was measured after assignment in {plural(late, 'row')}. {advice}"
            found.append(Check(label, "warn", text, f"{name} was measured after assignment. {advice}"))
    touched = after[1]
    if touched is not None:
        seen, outside = int(present.sum()), int((present & (touched != 1)).sum())
        left = int((~present & (touched != 1)).sum())
        if seen and left and outside == 0:
            text = (
                f"Column {name!r} is there for {plural(seen, 'row')}, all of them with {after[0]!r} 1, and missing in "
                f"all {left:,} others: it was answered after assignment. {advice}"
            )
            found.append(Check(label, "warn", text, f"{name} was answered after assignment. {advice}"))
    p_value = _chance(log, values, present)
    if p_value is not None and p_value < ALPHA:
        text = f"Column {name!r} differs between arms more than the lot allows (p = {p_value:.4g}). {advice}"
        found.append(Check(label, "warn", text, f"{name} differs between arms more than the lot allows. {advice}"))
    return found or [Check(f"covariate: {name}", "ok", f"Nothing says that {name!r} was measured after assignment.")]


def _chance(log: _Log, values: FloatArray, present: BoolArray) -> float | None:
    """Return the randomisation p-value of a column and of its being missing; None where it cannot differ."""
    keep = log.arms.codes >= 0
    arm = log.arms.codes[keep]
    block = None if log.block is None else log.block.codes[keep]
    seen = present[keep]
    if not seen.any():
        return None
    part = values[keep]
    centre = part[seen].mean(axis=0)
    columns = np.column_stack([np.where(seen[:, None], part, centre), seen.astype(float)])
    scheme = permuted(arm, block)
    totals = unit_totals(columns, np.arange(arm.size), scheme.block)
    seed = derive_seed(digest_arrays([("arm", arm), ("columns", columns)]), "check_assignment_log")
    n_draws = N_DRAWS if arm.size <= LARGE else 0
    found = balance_test(totals, scheme, list_all=False, n_draws=n_draws, rng=np.random.default_rng(seed))
    return found.p_value if found.rank else None

"""`release`: the only door out, where disclosure control is applied to everything at once."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gbveval.core.counts import CountTable
from gbveval.core.errors import ConvergenceError, DisclosureError
from gbveval.core.estimates import Estimates
from gbveval.core.flow import Flow
from gbveval.core.method import Cell
from gbveval.core.safety import SafetyTable
from gbveval.core.table import Table
from gbveval.core.term import Term
from gbveval.disclosure import released as _released
from gbveval.disclosure._asked import Asked, ask_counts, ask_sizes, ask_support
from gbveval.disclosure._count_tables import round_counts, shown_counts
from gbveval.disclosure._facts import TableFacts
from gbveval.disclosure._safety import followed_up, shown_safety
from gbveval.disclosure._together import protect_together
from gbveval.disclosure.ledger import Ledger
from gbveval.disclosure.policy import Policy
from gbveval.disclosure.released import Released, ReleasedEstimates, ReleasedRow, ReleasedTable
from gbveval.disclosure.reliability import Reliability
from gbveval.disclosure.suppressed import SuppressedTable

NUMBERS = ("estimate", "std_error", "statistic", "df", "df2", "p_value", "conf_low", "conf_high")
# What a row is, or is shown at: known beforehand.
KEYS = ("level", "event_time", "cohort", "time", "dose")
Item = Estimates | Table | CountTable | Flow | SafetyTable
KINDS = (Estimates, Table, CountTable, Flow, SafetyTable)
HiddenCells = dict[str, frozenset[str]]


def release(
    results: Item | Sequence[Item],
    policy: Policy | None = None,
    *,
    site_names: Mapping[str, str] | None = None,
    ledger: Ledger | None = None,
    name: str = "release",
    reliability: Reliability | None = None,
) -> Released:
    """Return results with everything hidden that would show somebody.

    Parameters
    ----------
    results : Estimates, CountTable, Table, Flow or SafetyTable, or a sequence of them
        Results that rest on the same respondents should be released together: counts of one table are protected
        jointly over all rows that use it.
    policy : Policy, optional
        The rules; ten respondents by default.
    site_names : mapping of str to str, optional
        Code to name of a site (`SiteEffects.codes`), shown only if the policy identifies sites.
    ledger : Ledger, optional
        What the study released so far. The new tables are compared with it and then recorded.
    name : str
        What this release is called in the ledger.
    reliability : Reliability, optional
        Flags prevalences and means that are shown but imprecise, in the note of their row. Without it none is flagged.

    Returns
    -------
    Released

    Raises
    ------
    ConvergenceError
        If a check of a result failed, such as the convergence of a sampler.
    DisclosureError
        If two results count one group differently, a table cannot be shown to be protected, or several tables give a
        small group away together however much of the new ones is hidden.

    Notes
    -----
    A row of estimates is hidden whole (estimate, error and interval) when a count behind it is hidden: from a risk
    difference, its standard error and the two sizes the counts follow. Coefficients of working models and influence
    functions never leave. A `Flow` counts allocation and not answers, so its arms are shown unless an arm is small.

    Examples
    --------
    >>> import gbveval as gbv
    >>> frame = {"y": [1] * 12 + [0] * 18 + [1] * 4 + [0] * 26, "arm": ["usual"] * 30 + ["new"] * 30}
    >>> trial = gbv.Trial(frame, outcome="y", arm="arm", control="usual")
    >>> shown = gbv.release(gbv.DifferenceInMeans().estimate(trial))
    >>> shown.estimates()[0].rows[0]["estimate"] is None
    True
    >>> shown.suppressed[0].split(";")[0]
    'y by arm: suppressed 1 cell primarily, 3 to protect it'
    """
    rules = Policy() if policy is None else policy
    if isinstance(results, KINDS):
        items: tuple[Any, ...] = (results,)
    elif isinstance(results, (list, tuple)):
        items = tuple(results)
    else:
        items = (results,)
    for item in items:
        if not isinstance(item, KINDS):
            kinds = ", ".join(kind.__name__ for kind in KINDS)
            raise DisclosureError(f"A {type(item).__name__} cannot be released; give one of {kinds}.")
    _refuse_failed([item for item in items if isinstance(item, Estimates)])
    kept = _protect(items, rules, ledger)
    printed, flows = iter(kept.printed), iter(kept.flows)
    names = dict(site_names or {}) if rules.identify_sites else {}
    done: list[ReleasedEstimates | ReleasedTable] = []
    for item in items:
        if isinstance(item, Estimates):
            done.append(_estimates(item, kept.hidden, names, rules, reliability))
        elif isinstance(item, CountTable):
            done.append(next(printed))
        elif isinstance(item, Flow):
            done.append(_flow(item, rules, next(flows)))
        elif isinstance(item, SafetyTable):
            done.append(shown_safety(item, rules))
        else:
            done.append(_table(item, kept.hidden))
    if ledger is not None:
        # Before anything leaves: what is out and not on record is lost to every later comparison.
        ledger.record(name, kept.stated)
    key = _released._KEY
    return Released(key, items=tuple(done), policy=rules.describe(), suppressed=kept.notes)


def _refuse_failed(results: Sequence[Estimates]) -> None:
    """Refuse results whose own diagnostics failed: they are not for anybody's decisions."""
    for result in results:
        failed = [check for check in result.checks if check.status == "fail"]
        if failed:
            names = ", ".join(check.name for check in failed)
            raise ConvergenceError(
                f"The result of {result.estimator} failed its checks ({names}) and is not released. {failed[0].message}"
            )


def _supports(item: Item) -> list[tuple[str, Cell]]:
    """Return the counts behind an item, each with the name of its table."""
    if isinstance(item, Estimates):
        return [(_table_of(cell, row), cell) for row in item.terms for cell in row.support]
    if isinstance(item, Table):
        return [(cell.table or item.title, cell) for cells in item.support for cell in cells]
    return []


@dataclass(frozen=True, slots=True, eq=False)
class _Protected:
    """Hidden groups by the name of their table and by flow, printed tables in order, notes, what all tables state."""

    hidden: HiddenCells
    flows: list[frozenset[str]]
    printed: list[ReleasedTable]
    notes: tuple[str, ...]
    stated: list[TableFacts]


def _protect(items: Sequence[Item], policy: Policy, ledger: Ledger | None) -> _Protected:
    """Return the tables behind and among the items, protected one by one and against each other."""
    counts = [item for item in items if isinstance(item, CountTable)]
    base = policy.rounding if policy.enforce else None
    rounded = [] if base is None else [round_counts(item, base, policy) for item in counts]
    behind = _behind(items)
    flows = [_analysed(item) for item in items if isinstance(item, Flow)]
    as_they_are = [facts for _, facts in rounded]
    as_they_are += [facts for item in items if isinstance(item, SafetyTable) for facts in followed_up(item, policy)]
    asked = [
        *behind.values(),
        *(flow for flow in flows if flow),
        *(ask_counts(item) for item in counts if base is None),
    ]
    found, remarks = protect_together(asked, policy, ledger, as_they_are)
    judged = list(zip(asked, found, strict=True))
    of_flows = iter(judged[len(behind) :])
    arms = [_hidden_groups(*next(of_flows)) if flow else frozenset() for flow in flows]
    printed = [table for table, _ in rounded]
    if base is None:
        printed = [shown_counts(item, kept, policy) for item, (_, kept) in zip(counts, of_flows, strict=True)]
    return _Protected(
        hidden={name: _hidden_groups(*each) for name, each in zip(behind, judged, strict=False)},
        flows=arms,
        printed=printed,
        notes=(
            *(f"{table.title}: {kept.audit.sentence()}" for table, kept in judged),
            *(f"{table.title}: {table.notes[0]}" for table, _ in rounded),
            *_unjudged(items),
            *_identifiers(items),
            *remarks,
        ),
        stated=[*(table.facts(kept, policy) for table, kept in judged), *as_they_are],
    )


def _analysed(flow: Flow) -> Asked | None:
    """Return the arms of those whose outcome is known as a table; None if the flow does not say which outcome."""
    sizes = {row.arm: row.n_units for row in flow.rows if row.stage == "analysed" and row.arm != "all"}
    if not flow.outcome or not sizes:
        return None
    return ask_sizes(f"participant flow, {flow.outcome}", tuple(sizes), tuple(sizes.values()), flow.outcome)


def _behind(items: Sequence[Item]) -> dict[str, Asked]:
    """Return the tables behind estimates by their name."""
    tables: dict[str, dict[str, Cell]] = {}
    outcomes = sorted({row.outcome for item in items if isinstance(item, Estimates) for row in item.terms}, key=len)
    for item in items:
        for name, cell in _supports(item):
            known = tables.setdefault(name, {}).setdefault(cell.label, cell)
            if (known.n, known.events) != (cell.n, cell.events):
                raise DisclosureError(
                    f"Two results count the group {cell.label!r} of {name!r} differently; their "
                    "difference could show a few people. Release results on the same respondents together, and "
                    "those on others in a call of their own."
                )
    return {
        name: ask_support(name, list(cells.values()), _outcome_of(name, outcomes)) for name, cells in tables.items()
    }


def _outcome_of(name: str, outcomes: Sequence[str]) -> str:
    """Return the longest of the outcomes, given from short to long, that a table's name begins with."""
    found = [outcome for outcome in outcomes if name == outcome or name.startswith(f"{outcome} by ")]
    return found[-1] if found else ""


def _unjudged(items: Sequence[Item]) -> list[str]:
    """Return a sentence on the rows that came without counts."""
    unjudged = sum(
        not row.support and row.estimand.population == "sites"
        for item in items
        if isinstance(item, Estimates)
        for row in item.terms
    )
    return [f"{unjudged} rows come from site estimates without counts, so they could not be judged"] if unjudged else []


def _identifiers(items: Sequence[Item]) -> list[str]:
    """Return which columns of the data were let in though they look like identifiers, and why."""
    remarks = (item.provenance.identifiers for item in items if isinstance(item, Estimates))
    return [remark for remark in dict.fromkeys(remarks) if remark]


def _hidden_groups(table: Asked, found: SuppressedTable) -> frozenset[str]:
    """Return the groups of which a number is hidden."""
    shown = [found.respondents[:-1]] + ([found.events[:-1]] if found.pairs else [])
    mask = np.atleast_1d(np.isnan(np.array(shown)).any(axis=0)).tolist()
    return frozenset(label for label, is_hidden in zip(table.categories[0], mask, strict=True) if is_hidden)


def _table_of(cell: Cell, row: Term) -> str:
    return cell.table or f"{row.outcome} behind {row.term}"


def _estimates(
    result: Estimates,
    hidden: HiddenCells,
    names: Mapping[str, str],
    policy: Policy,
    reliability: Reliability | None,
) -> ReleasedEstimates:
    keep = [i for i, row in enumerate(result.terms) if row.estimand.effect != "nuisance"]
    saturated = _saturated(result, policy)
    records = result.records()
    rows = []
    for i in keep:
        term = result.terms[i]
        shut = any(cell.label in hidden.get(_table_of(cell, term), ()) for cell in term.support)
        # An estimator that forgot its counts is not trusted; pooled site estimates may have none, and that is said.
        unknown = not term.support and term.estimand.population != "sites" and policy.enforce
        shut = shut or unknown or term.outcome in saturated
        # JSON knows no infinity: the df of a normal reference are absent, and the method says "normal".
        record = {key: _finite(value) for key, value in records[i].items()}
        for code, name in names.items():
            record["term"] = str(record["term"]).replace(code, name)
        note = term.reason
        if shut:
            record = {key: None if _is_number(key, value) else value for key, value in record.items()}
            # Why a hidden number is undefined can say what it is, such as a share of 0 or 100 %.
            record["reason"] = ""
            note = "not shown: the counts behind it are unknown" if unknown else "not shown, to protect a small group"
            if term.outcome in saturated:
                note = "not shown: the model has nearly as many coefficients as units"
        elif reliability is not None:
            note = "; ".join(part for part in (note, reliability.of_row(record, term.estimand.link)) if part)
        rows.append(ReleasedRow(tuple(record.items()), shut, note))
    kept = [result.terms[i] for i in keep]
    origin = result.provenance
    return ReleasedEstimates(
        estimator=result.estimator,
        heading="; ".join(dict.fromkeys(term.estimand.words() for term in kept)),
        causal=all(term.estimand.is_causal for term in kept if term.kind != "test"),
        link=kept[0].estimand.link if kept else "identity",
        rows=tuple(rows),
        method=result.method.sentences(),
        checks=tuple((check.name, check.status, check.public or check.message) for check in result.checks),
        level=result.level,
        provenance=(
            ("data_digest", _keyed(origin.data_digest, policy)),
            ("options", dict(origin.options)),
            ("seed", None if origin.seed_derived else origin.seed),
            ("versions", dict(origin.versions)),
        ),
    )


def _saturated(result: Estimates, policy: Policy) -> frozenset[str]:
    """Return the outcomes whose model leaves too few residual degrees of freedom: its rows nearly are the data."""
    if policy.min_df is None or not policy.enforce:
        return frozenset()
    found = set()
    for outcome in {row.outcome for row in result.terms if row.estimand.effect == "nuisance"}:
        rows = [row for row in result.terms if row.outcome == outcome and row.kind != "test"]
        units = max((row.n_units or 0 for row in rows), default=0)
        if units and units - len(rows) < policy.min_df:
            found.add(outcome)
    return frozenset(found)


def _keyed(digest: str, policy: Policy) -> str:
    """Return the digest keyed with the study's secret, or nothing: a plain one lets a reader confirm a guess."""
    if policy.study_key is None or not digest:
        return ""
    return hmac.new(policy.study_key.encode(), digest.encode(), hashlib.sha256).hexdigest()


def _table(item: Table, hidden: HiddenCells) -> ReleasedTable:
    """Return a table with the numbers of its hidden rows blanked; what they all share is hidden with any of them."""
    rows = []
    for number, row in enumerate(item.rows):
        cells = item.support[number] if item.support else ()
        shut = any(cell.label in hidden.get(cell.table or item.title, ()) for cell in cells)
        rows.append(tuple(None if shut and not isinstance(value, str) else _finite(value) for value in row))
    return ReleasedTable(item.title, item.columns, tuple(rows), item.notes)


def _finite(value: Any) -> Any:
    """Return a value that JSON can hold: Python's own numbers, and no infinity."""
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else None
    return value


def _is_number(key: str, value: Any) -> bool:
    """Whether a column of a hidden row must be blanked: its numbers, and any number of the method's own."""
    return key in NUMBERS or (isinstance(value, (int, float)) and key not in KEYS)


def _flow(flow: Flow, policy: Policy, hidden: frozenset[str]) -> ReleasedTable:
    arms = flow.arms()
    # With a small arm hidden, the total less the others would be that arm: then the total and the smallest other go
    # too, unless the comparison with other tables hid another one already.
    # Those lost to follow-up may be few; those randomised, or analysed, may not.
    largest = {
        arm: min(row.n_units for row in flow.rows if row.arm == arm and row.stage != "missing outcome") for arm in arms
    }
    small = [arm for arm in arms if arm in hidden or (largest[arm] < policy.min_n and policy.enforce)]
    if len(small) == 1 < len(arms):
        small.append(min((arm for arm in arms if arm not in small), key=lambda arm: largest[arm]))
    rows = []
    for row in flow.rows:
        shut = row.arm in small or (bool(small) and row.arm == "all")
        rows.append((row.stage, row.arm, None if shut else row.n_units, None if shut else row.n_clusters))
    notes = ("Counts of allocation and follow-up, not of answers.",)
    return ReleasedTable("Participant flow", ("stage", "arm", "units", "clusters"), tuple(rows), notes)

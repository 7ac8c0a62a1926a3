"""`safety_table`: adverse events, disclosures and referrals by arm, counted for everybody who was followed up."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gbveval.core.errors import DataError
from gbveval.core.safety import SafetyTable
from gbveval.data.trial import Trial


def safety_table(trial: Trial, kinds: Sequence[str] | None = None) -> SafetyTable:
    """Return how many respondents of each arm had each kind of event, and how many events there were.

    Parameters
    ----------
    trial : Trial
        With one outcome for each kind: 0 and 1, or how often it happened.
    kinds : sequence of str, optional
        Outcomes of the trial to count; all if not given. Name every kind that was watched for, also those that never
        happened: that none was seen is a result.

    Returns
    -------
    SafetyTable

    Raises
    ------
    DataError
        A kind is no outcome of the trial, or is no count.

    Notes
    -----
    No test is made: a trial that is large enough for its outcome is too small for its harms, and a harm that does not
    differ significantly is still a harm. Weights are not used: these are people.

    Not for outcomes that the intervention is meant to change; those have estimators.

    Examples
    --------
    >>> import gbveval as gbv
    >>> frame = {"hurt": [0] * 60, "told": [1] * 12 + [0] * 18 + [1, 2] + [0] * 28, "arm": ["a"] * 30 + ["b"] * 30}
    >>> trial = gbv.Trial(frame, outcome=["hurt", "told"], arm="arm", control="a")
    >>> gbv.safety_table(trial)
    <SafetyTable: 2 kinds of event in 2 arms; release() shows it>
    >>> for row in gbv.release(gbv.safety_table(trial)).tables()[0].rows:
    ...     print(*row, sep=" | ")
    hurt | a | 30 | 0 | 0
    hurt | b | 30 | 0 | 0
    told | a | 30 | 12 | 12
    told | b | 30 | 1 to 9 | 1 or more
    """
    names = trial.outcome_names if kinds is None else tuple(kinds)
    absent = [name for name in names if name not in trial.outcome_names]
    if absent:
        known = ", ".join(trial.outcome_names)
        raise DataError(f"{len(absent)} kinds are no outcomes of the trial; there are: {known}.")
    followed, people, events = [], [], []
    for name in names:
        y = trial.outcomes[:, trial.outcome_names.index(name)]
        seen = ~np.isnan(y)
        if ((y[seen] < 0) | (y[seen] != np.floor(y[seen]))).any():
            raise DataError(f"Column {name!r} is no count of events: whole numbers of 0 or more were expected.")
        members = [(trial.arm == code) & seen for code in range(len(trial.arms))]
        followed.append(tuple(int(member.sum()) for member in members))
        people.append(tuple(int((y[member] > 0).sum()) for member in members))
        events.append(tuple(int(y[member].sum()) for member in members))
    return SafetyTable(tuple(names), trial.arms, tuple(followed), tuple(people), tuple(events))

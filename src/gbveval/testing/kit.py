"""The conformance kit: every check that any estimator, ours or a contributor's, must pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from gbveval.core.errors import GbvevalError
from gbveval.core.registry import discover
from gbveval.testing.case import Case
from gbveval.testing.contract import CONTRACT
from gbveval.testing.invariance import INVARIANCE
from gbveval.testing.privacy import PRIVACY
from gbveval.testing.refusal import REFUSAL
from gbveval.testing.statistics import STATISTICS

Check = Callable[[Case], None]
CHECKS: tuple[Check, ...] = (*CONTRACT, *INVARIANCE, *REFUSAL, *PRIVACY, *STATISTICS)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one check said of one case.

    Parameters
    ----------
    check : str
        Name of the check.
    passed : bool
        Whether it held; exempted checks must fail.
    message : str
        Why not, or the reason of the exemption.
    """

    check: str
    passed: bool
    message: str = ""


def run_check(case: Case, check: Check) -> Verdict:
    """Return the verdict of one check on one case, exemptions taken into account.

    Notes
    -----
    An exemption is strict: when the check holds after all, the verdict is a failure that says so. It spares what the
    check asserts and what the estimator refuses; a crash, or a warning raised as an error, fails with or without it.
    """
    name = check.__name__
    reason = case.exempt.get(name)
    try:
        check(case)
    except (AssertionError, GbvevalError) as failure:
        if reason is not None:
            return Verdict(name, True, f"exempt: {reason}")
        told = str(failure) if isinstance(failure, AssertionError) else f"{type(failure).__name__}: {failure}"
        return Verdict(name, False, told)
    except Exception as error:
        # A reason speaks of what the check asserts or the estimator refuses, never of a crash or a warning.
        return Verdict(name, False, f"{type(error).__name__}: {error}")
    if reason is not None:
        return Verdict(name, False, f"the exemption is not needed: {reason}")
    return Verdict(name, True)


def run(case: Case, checks: Sequence[Check] = CHECKS) -> tuple[Verdict, ...]:
    """Return the verdicts of all checks on a case.

    Examples
    --------
    >>> import gbveval as gbv
    >>> from gbveval.testing.contract import CONTRACT
    >>> from gbveval.testing.processes import TrialFrames
    >>> verdicts = run(Case(gbv.DifferenceInMeans(), TrialFrames()), CONTRACT)
    >>> all(verdict.passed for verdict in verdicts)
    True
    """
    return tuple(run_check(case, check) for check in checks)


def missing_cases(cases: Iterable[Case]) -> tuple[str, ...]:
    """Return the registered estimators that no case covers."""
    covered = {case.estimator.name for case in cases}
    return tuple(name for name in discover() if name not in covered)

"""Hides how codings of one outcome are set beside each other: the same people, the same effect, another power."""

from __future__ import annotations

from gbveval.core.errors import DesignError
from gbveval.core.table import Table
from gbveval.design.coded import CODINGS, WORDS, CodedDesign
from gbveval.design.incident_model import IncidentModel
from gbveval.planning._request import tails
from gbveval.planning.closed_form import power as power_of
from gbveval.planning.closed_form import required_size


def compare_codings(
    model: IncidentModel,
    *,
    n_per_arm: int,
    effect: float,
    codings: tuple[str, ...] = CODINGS,
    power: float = 0.8,
    alpha: float = 0.05,
    alternative: str | None = None,
) -> Table:
    """Return power and required size of codings of one outcome, for one effect on its incidents.

    Parameters
    ----------
    model : IncidentModel
        How incidents come about.
    n_per_arm : int
        Respondents in each arm.
    effect : float
        Difference in mean incidents, treated minus control.
    codings : tuple of str
        Which of "count", "any", "ordered", "prevention", "cessation", "reduction".
    power, alpha, alternative
        As in `required_size`.

    Returns
    -------
    Table
        One row a coding: coding, among (whom), control and treated (what is recorded), share (of respondents it is
        about), power, n_per_arm (required, rounded up).

    Raises
    ------
    DesignError
        If there is no effect, or no coding.

    Examples
    --------
    >>> told = compare_codings(IncidentModel(2.0, 2.5), n_per_arm=500, effect=-0.5, codings=("count", "any"))
    >>> [(row[0], round(row[5], 2)) for row in told.rows]
    [('count', 0.74), ('any', 0.33)]
    """
    if not isinstance(codings, tuple) or not codings:
        raise DesignError("codings is a tuple of names, such as ('count', 'any').")
    rows = []
    for coding in codings:
        plan = CodedDesign(n_per_arm, model, coding)
        control, treated, share = plan.recorded(effect)
        found = power_of(plan, effect=effect, alpha=alpha, alternative=alternative)
        needed = required_size(plan, effect=effect, power=power, alpha=alpha, alternative=alternative).rounded
        rows.append((coding, WORDS[coding][0], control, treated, share, found, needed))
    side = plan.alternatives[0] if alternative is None else alternative
    return Table(
        f"Codings of incidents: a rate of {model.rate:g} and an effect of {effect:g}",
        ("coding", "among", "control", "treated", "share", "power", "n_per_arm"),
        tuple(rows),
        (tails(alpha, side), f"n_per_arm is what a power of {power:g} needs."),
    )

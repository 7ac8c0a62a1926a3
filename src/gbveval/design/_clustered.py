"""Hides how the variance of an outcome parts into what lies between clusters and what lies within them."""

from __future__ import annotations

from gbveval.core.errors import DesignError
from gbveval.design.counts import Count
from gbveval.design.icc import ICC, BetweenCV, icc_convert
from gbveval.design.outcomes import Binary, Continuous

ClusterOutcome = Continuous | Binary | Count
Dispersion = ICC | BetweenCV


def check_dispersion(outcome: object, icc: object) -> None:
    """Refuse an outcome that clusters are not planned for, and a correlation that does not describe it."""
    if not isinstance(outcome, ClusterOutcome):
        raise DesignError("outcome must be Continuous(...), Binary(...) or Count(...).")
    if not isinstance(icc, Dispersion):
        raise DesignError(
            f"An ICC of unnamed scale cannot be used: icc is {icc!r}. Give ICC(..., scale='observed') or "
            "ICC(..., scale='latent_logistic'), or for risks and rates BetweenCV(...)."
        )
    if isinstance(icc, BetweenCV):
        if isinstance(outcome, Continuous):
            raise DesignError(
                "A coefficient of variation depends on where zero is, so it is planned with for risks and rates only. "
                "A continuous outcome needs ICC(..., scale='observed'): its variance between clusters over sd squared."
            )
        if isinstance(outcome, Binary):
            ICC.from_between_cv(float(icc.value), risk=float(outcome.risk))
    elif icc.scale != "observed" and not isinstance(outcome, Binary):
        kind = "a continuous outcome" if isinstance(outcome, Continuous) else "a count"
        raise DesignError(
            f"A latent logistic ICC describes a binary outcome. {kind.capitalize()} needs ICC(..., scale='observed')"
            + ("." if isinstance(outcome, Continuous) else " or BetweenCV(...).")
        )


def observed_icc_at(outcome: ClusterOutcome, icc: Dispersion, level: float) -> float:
    """Return the ICC on the observed scale in an arm with this mean, risk or rate."""
    if isinstance(icc, ICC):
        return float(icc.value) if icc.scale == "observed" else icc_convert(icc, to="observed", risk=level).value
    if isinstance(outcome, Binary):
        # Beyond 1 no clusters can vary so much: in each everybody has the outcome, or nobody (`beyond_words` says it).
        return min(1.0, float(icc.value) ** 2 * level / (1.0 - level))
    between, within = split_variance(outcome, icc, level)
    return between / (between + within)


def split_variance(outcome: ClusterOutcome, icc: Dispersion, level: float) -> tuple[float, float]:
    """Return the variances between and within clusters, of one respondent, on the scale of the effect.

    The variance of a continuous or binary outcome includes clusters; that of a count is the one within them, so that a
    count without dispersion is Poisson in each cluster.
    """
    if isinstance(outcome, Count):
        within = outcome.variance(level) / float(outcome.exposure) ** 2
        if isinstance(icc, BetweenCV):
            return (float(icc.value) * level) ** 2, within
        return within * float(icc.value) / (1.0 - float(icc.value)), within
    total, share = outcome.variance(level), observed_icc_at(outcome, icc, level)
    return share * total, (1.0 - share) * total


def published_variance(outcome: ClusterOutcome, icc: Dispersion, level: float) -> tuple[float, float]:
    """Return the variances between and within clusters as Hayes and Bennett (1999) have them.

    A risk's variance within clusters is binomial at the mean risk, which counts what lies between clusters again.
    """
    between, within = split_variance(outcome, icc, level)
    return between, outcome.variance(level) if isinstance(outcome, Binary) else within


def beyond_words(outcome: ClusterOutcome, icc: Dispersion, level: float) -> str:
    """Return what is taken instead where risks cannot vary as much as planned, or nothing if they can."""
    if not isinstance(icc, BetweenCV) or not isinstance(outcome, Binary):
        return ""
    if observed_icc_at(outcome, icc, level) < 1.0:
        return ""
    return (
        f"at a risk of {level:.3g} clusters cannot have a coefficient of variation of {float(icc.value):g}: there in "
        "each cluster everybody is taken to have the outcome, or nobody"
    )


def dispersion_words(icc: Dispersion) -> str:
    """Return what lies between clusters, in words."""
    if isinstance(icc, BetweenCV):
        return f"the between-cluster coefficient of variation of {float(icc.value):g}"
    return f"the ICC of {float(icc.value):g} ({icc.scale})"

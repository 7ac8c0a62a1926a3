"""`heterogeneity`: how much the effects of sites differ, in all the numbers that reviewers ask for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gbveval.core.table import Table
from gbveval.data.sites import SiteEffects
from gbveval.multisite._pooled_line import design
from gbveval.multisite.random_effects import RandomEffects, fit_line
from gbveval.numerics.random_effects import between_variance, q_profile


def heterogeneity(sites: SiteEffects, model: RandomEffects | None = None) -> Table:
    """Return Cochran's Q, the variance and sd between sites, I squared and H squared, with intervals.

    Parameters
    ----------
    sites : SiteEffects
        One estimate and standard error a site.
    model : RandomEffects, optional
        Method and level; REML at 0.95 by default.

    Returns
    -------
    Table
        Columns quantity, estimate, std_error, conf_low, conf_high, df, p_value. With moderators Q is what they leave,
        and R squared is the share of the variance between sites that they account for.

    Notes
    -----
    The intervals follow from that of the variance (Viechtbauer 2007). I squared is a share, not an amount: with large
    sites it is near 100 per cent although effects differ by little that matters. Read the sd.

    References
    ----------
    Higgins and Thompson (2002), Statistics in Medicine 21. Viechtbauer (2007), Statistics in Medicine 26.

    Examples
    --------
    >>> sites = SiteEffects({"y": [0.2, 0.4, 0.9], "se": [0.1, 0.1, 0.2]}, estimate="y", std_error="se")
    >>> heterogeneity(sites).column("quantity")[:3]
    ('Q', 'between-site variance', 'between-site sd')
    """
    chosen = RandomEffects() if model is None else model
    fit = fit_line(sites, chosen)
    v, x = sites.std_error**2, design(sites)
    empty = (None, None, None, None, None)
    rows: list[tuple[str | float | None, ...]] = [("Q", fit.q, None, None, None, float(fit.q_df), fit.q_p_value)]
    if chosen.method == "EE":
        rows += [("I squared, per cent", fit.i_squared, *empty), ("H squared", fit.h_squared, *empty)]
    else:
        low, high = q_profile(sites.estimate, v, x, level=chosen.level)
        tau = float(np.sqrt(fit.tau2))
        error = fit.se_tau2 / (2.0 * tau) if tau > 0 else None
        typical = fit.typical_variance
        share = [100.0 * t / (t + typical) for t in (low, high)]
        ratio = [1.0 + t / typical for t in (low, high)]
        rows += [
            ("between-site variance", fit.tau2, fit.se_tau2, low, high, None, None),
            ("between-site sd", tau, error, float(np.sqrt(low)), float(np.sqrt(high)), None, None),
            ("I squared, per cent", fit.i_squared, None, *share, None, None),
            ("H squared", fit.h_squared, None, *ratio, None, None),
        ]
        if sites.moderator_names:
            alone = between_variance(sites.estimate, v, np.ones((sites.n, 1)), method=chosen.method)[0]
            explained = 100.0 * max(0.0, 1.0 - fit.tau2 / alone) if alone > 0 else 0.0
            rows.append(("R squared, per cent", explained, *empty))
    columns = ("quantity", "estimate", "std_error", "conf_low", "conf_high", "df", "p_value")
    note = f"{chosen.method}; intervals at level {chosen.level:g} by Q-profile."
    everybody = tuple(replace(cell) for cells in sites.support for cell in cells)
    return Table("How much effects differ between sites", columns, tuple(rows), (note,), (everybody,) * len(rows))

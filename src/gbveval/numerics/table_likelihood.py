"""Hides how what a site's counts say of its effect is computed, the control arm's level integrated or conditioned away.

With a the log odds (log rate) in control and theta the effect,

    integrated   l(theta) = int p(y_0 | a) p(y_1 | a + theta) p(a) da,
    conditional  l(theta) = C(n_1, y_1) C(n_0, y_0) e^(theta y_1) / sum_u C(n_1, u) C(n_0, t - u) e^(theta u),

the second for tables with a total of t events (Fisher's noncentral hypergeometric); for counts with exposure it is
binomial in t. Events are seen with probability q = s p + (1 - f) (1 - p), sensitivity s and specificity f by arm.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.hierarchy_quadrature import Panels, adaptive_panels, panel_nodes
from gbveval.numerics.priors import Flat, Normal

FloatArray = NDArray[np.float64]

# Log odds and log rate ratios beyond these are constant to all digits, or have no likelihood left.
REACH = 64.0
_TOLERANCE = 1e-9
_SIDE = np.array([1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 20.0, 36.0, REACH])
EDGES = np.concatenate([-_SIDE[::-1], [0.0], _SIDE])
# Log likelihoods this far below a site's best weigh nothing, whatever the other sites say.
_GONE = 200.0
_ROUGH = 1e-6
# Place, among the effects to resolve, of the one that the counts show.
_NEAREST = 7


@dataclass(frozen=True, slots=True, eq=False)
class Tables:
    """Counts by site and arm (control, treated).

    Attributes
    ----------
    events : ndarray, shape (sites, 2)
        Events.
    total : ndarray, shape (sites, 2)
        People, or exposure.
    poisson : bool
        Whether `total` is exposure.
    """

    events: FloatArray
    total: FloatArray
    poisson: bool

    def log_density(self, site: int, arm: int, level: FloatArray, sensitivity: float, specificity: float) -> FloatArray:
        """Return the log probability of an arm's events where its log odds or log rate is `level`."""
        from scipy.special import gammaln, xlog1py, xlogy

        y, n = float(self.events[site, arm]), float(self.total[site, arm])
        if self.poisson:
            mean_log = level + np.log(n * sensitivity)
            result: FloatArray = y * mean_log - np.exp(np.minimum(mean_log, 700.0)) - gammaln(y + 1.0)
            return result
        constant = gammaln(n + 1.0) - gammaln(y + 1.0) - gammaln(n - y + 1.0)
        if sensitivity == 1.0 and specificity == 1.0:
            plain: FloatArray = constant + y * level - n * np.logaddexp(0.0, level)
            return plain
        from scipy.special import expit

        q = sensitivity * expit(level) + (1.0 - specificity) * expit(-level)
        seen: FloatArray = constant + xlogy(y, q) + xlog1py(n - y, -q)
        return seen


@dataclass(frozen=True, slots=True, eq=False)
class Reported:
    """Which events are seen: points of what is not known of it, with their prior weights.

    Attributes
    ----------
    sensitivity, specificity : ndarray, shape (points, 2)
        By arm (control, treated).
    weight : ndarray, shape (points,)
        Sum to one.
    """

    sensitivity: FloatArray
    specificity: FloatArray
    weight: FloatArray

    @classmethod
    def fully(cls) -> Reported:
        """Return that every event is seen and nothing else."""
        return cls(np.ones((1, 2)), np.ones((1, 2)), np.ones(1))

    @property
    def is_full(self) -> bool:
        """Whether every event is seen and nothing else."""
        return bool((self.sensitivity == 1.0).all() and (self.specificity == 1.0).all())


@dataclass(frozen=True, slots=True, eq=False)
class SiteLikelihoods:
    """What every site's counts say of its effect, on panels that resolve all of it.

    Attributes
    ----------
    low, high : ndarray, shape (panels,)
        Ends of the panels of the effect.
    log_values : ndarray, shape (points of reporting, sites, panels, order)
        Log likelihoods at the panels' nodes.
    weight : ndarray, shape (points of reporting,)
        Prior weights of the points.
    """

    low: FloatArray
    high: FloatArray
    log_values: FloatArray
    weight: FloatArray

    @property
    def panels(self) -> Panels:
        """The panels, without values."""
        return Panels(low=self.low, high=self.high, log_values=np.empty((0, 0, 0)))

    def best(self) -> FloatArray:
        """Return the effect at which each site's likelihood is greatest, shape (sites,)."""
        nodes = self.panels.nodes.ravel()
        flat = self.log_values.max(axis=0).reshape(self.log_values.shape[1], -1)
        found: FloatArray = nodes[flat.argmax(axis=1)]
        return found

    def fading(self) -> NDArray[np.bool_]:
        """Return whether each site's likelihood vanishes on both sides, so that its counts alone bound the effect."""
        values = self.log_values.max(axis=0)
        top = values.max(axis=(1, 2))
        return np.asarray(np.maximum(values[:, 0, 0], values[:, -1, -1]) < top - 25.0, dtype=np.bool_)


def site_likelihoods(tables: Tables, control: Normal | Flat | None, reported: Reported) -> SiteLikelihoods:
    """Return every site's likelihood of its effect.

    Parameters
    ----------
    tables : Tables
        Counts.
    control : Normal, Flat or None
        Prior of each site's log odds or log rate in control, not pooled; None for the conditional likelihood.
    reported : Reported
        Which events are seen.

    Raises
    ------
    ValueError
        If a flat prior leaves an integral without an end: a site has an empty margin, or some events are not seen. If
        the conditional likelihood is asked for although some events are not seen.

    References
    ----------
    Skellam (1948) and Fisher (1935) for the conditional distributions; Rogan and Gladen (1978), American Journal of
    Epidemiology 107, for sensitivity and specificity.
    """
    _check(tables, control, reported)
    if control is None:
        functions = [_conditional(tables, site) for site in range(len(tables.events))]
    else:
        functions = [_integrated(tables, control, reported, site) for site in range(len(tables.events))]
    points = len(reported.weight)

    def log_values(theta: FloatArray) -> FloatArray:
        return np.concatenate([function(theta) for function in functions])

    found = _with_smooth_logs(log_values, adaptive_panels(log_values, EDGES, tolerance=_TOLERANCE))
    values = found.log_values.reshape(len(functions), points, len(found.low), -1).swapaxes(0, 1)
    floor = values.max(axis=(0, 2, 3))[:, None, None] - _GONE
    gone = values.max(axis=3, keepdims=True) < floor
    moving = np.ptp(values, axis=3, keepdims=True) > 1e-12
    alive = np.flatnonzero((~gone & moving).any(axis=(0, 1, 3)))
    # A conditional likelihood without events moves nowhere.
    alive = alive if alive.size else np.array([len(found.low) // 2])
    kept = slice(alive[0], alive[-1] + 1)
    # Where a site's likelihood is gone its log may be no polynomial any more; any small number serves.
    values = np.where(gone, floor, values)[:, :, kept]
    return SiteLikelihoods(found.low[kept], found.high[kept], values, reported.weight)


def _with_smooth_logs(log_values: Callable[[FloatArray], FloatArray], panels: Panels) -> Panels:
    """Return panels split until the logs themselves are polynomials wherever a likelihood is not gone.

    Averages over narrow normals read the log between the nodes, and it may fall from zero to minus a million in one.
    """
    low, high, values = panels.low, panels.high, panels.log_values
    for _ in range(30):
        top = values.max(axis=(1, 2))
        last = np.abs(values @ panels.transform[-2:].T).sum(axis=2)
        rough = ((last > _ROUGH) & (values.max(axis=2) > top[:, None] - _GONE)).any(axis=0)
        if not rough.any():
            break
        middle = 0.5 * (low + high)[rough]
        new_low, new_high = np.concatenate([low[rough], middle]), np.concatenate([middle, high[rough]])
        new = log_values(panel_nodes(new_low, new_high).ravel()).reshape(len(values), len(new_low), -1)
        low, high = np.concatenate([low[~rough], new_low]), np.concatenate([high[~rough], new_high])
        values = np.concatenate([values[:, ~rough], new], axis=1)
    order = np.argsort(low)
    return Panels(low=low[order], high=high[order], log_values=values[:, order])


def _check(tables: Tables, control: Normal | Flat | None, reported: Reported) -> None:
    if control is None and not reported.is_full:
        raise ValueError(
            "The conditional likelihood needs every event to be seen: with under-reporting the total of a site is not "
            "enough. Give a proper prior for the level of control."
        )
    if not isinstance(control, Flat):
        return
    if not reported.is_full:
        raise ValueError(
            "With under-reporting a flat prior for the level of control leaves an integral without an end. Give a "
            "Normal prior, in log odds or log rates."
        )
    none = int((tables.events.sum(axis=1) == 0).sum())
    every = 0 if tables.poisson else int((tables.events == tables.total).all(axis=1).sum())
    if none or every:
        raise ValueError(
            f"{none} site(s) have no event in either arm and {every} nothing else: with a flat prior for the level of "
            "control the integral over it has no end. Give a Normal prior, or choose the conditional likelihood, to "
            "which such a site contributes nothing."
        )


def _conditional(tables: Tables, site: int) -> Callable[[FloatArray], FloatArray]:
    from scipy.special import gammaln, logsumexp

    (y0, y1), (n0, n1) = tables.events[site], tables.total[site]
    t = y0 + y1
    if tables.poisson:
        odds = np.log(n1 / n0)
        constant = gammaln(t + 1.0) - gammaln(y1 + 1.0) - gammaln(y0 + 1.0)
        return lambda theta: (
            constant - y1 * np.logaddexp(0.0, -(theta + odds)) - y0 * np.logaddexp(0.0, theta + odds)
        )[None]
    u = np.arange(max(0.0, t - n0), min(n1, t) + 1.0)

    def log_choose(n: float, k: FloatArray | float) -> FloatArray:
        return np.asarray(gammaln(n + 1.0) - gammaln(np.asarray(k) + 1.0) - gammaln(n - np.asarray(k) + 1.0))

    base = log_choose(n1, u) + log_choose(n0, t - u)
    own = float(log_choose(n1, y1) + log_choose(n0, y0))
    return lambda theta: (own + theta * y1 - logsumexp(base + theta[:, None] * u, axis=1))[None]


def _integrated(
    tables: Tables, control: Normal | Flat, reported: Reported, site: int
) -> Callable[[FloatArray], FloatArray]:
    """Return theta (n,) -> log likelihoods (points, n); the level's nodes are found once, for effects near and far."""

    def parts(level: FloatArray, theta: FloatArray, point: int) -> FloatArray:
        s, f = reported.sensitivity[point], reported.specificity[point]
        first = tables.log_density(site, 0, level, s[0], f[0]) + control.log_density(level)
        second = tables.log_density(site, 1, level + theta[:, None], s[1], f[1])
        return np.asarray(first + second, dtype=np.float64)

    # The extremes of what is not known of reporting have their levels furthest apart: nodes for them serve the others.
    extremes = sorted(
        {int(find(table[:, arm])) for arm in (0, 1) for table in _tables(reported) for find in (np.argmin, np.argmax)}
    )
    edges = _level_edges(tables, control, reported, site)
    scan = _effects_to_resolve(tables, site)
    levels = _levels_around(lambda level: parts(level, scan[_NEAREST : _NEAREST + 1], extremes[0])[0], edges)
    first = np.concatenate([parts(levels, scan, point) for point in extremes])
    peak = first.max(axis=1).reshape(len(extremes), -1).max(axis=0)
    scan = scan[peak > peak.max() - 25.0]
    found = adaptive_panels(
        lambda level: np.concatenate([parts(level, scan, point) for point in extremes]), edges, tolerance=1e-8
    )
    top = found.log_values.max(axis=(1, 2), keepdims=True)
    alive = (found.log_values > top - 42.0).any(axis=(0, 2))
    level, log_weight = found.nodes[alive].ravel(), np.log(found.weights[alive].ravel())

    def log_likelihood(theta: FloatArray) -> FloatArray:
        result = np.empty((len(reported.weight), len(theta)))
        for point in range(len(reported.weight)):
            joint = parts(level, theta, point) + log_weight
            peak = joint.max(axis=1)
            result[point] = peak + np.log(np.exp(joint - peak[:, None]).sum(axis=1))
        return result

    return log_likelihood


def _levels_around(log_density: Callable[[FloatArray], FloatArray], edges: FloatArray) -> FloatArray:
    """Return levels ever denser towards a peak, which in a site of millions is a thousandth wide."""
    grid = np.linspace(edges[0], edges[-1], 400)
    found = [grid]
    for _ in range(5):
        best = grid[log_density(grid).argmax()]
        step = 2.0 * (grid[1] - grid[0])
        grid = np.linspace(best - step, best + step, 33)
        found.append(grid)
    return np.unique(np.concatenate(found))


def _effects_to_resolve(tables: Tables, site: int) -> FloatArray:
    """Return effects from far to near what the counts say, for which the level's nodes must serve."""
    y, n = tables.events[site] + 0.5, tables.total[site] + 1.0
    if tables.poisson:
        rates, variance = np.log(y / tables.total[site]), (1.0 / y).sum()
    else:
        rates, variance = np.log(y / (n - y)), (1.0 / y + 1.0 / (n - y)).sum()
    near = float(rates[1] - rates[0]) + np.sqrt(variance) * np.arange(-7.0, 8.0)
    return np.concatenate([near, np.linspace(-10.0, 10.0, 11), [-REACH, -20.0, 20.0, REACH]])


def _tables(reported: Reported) -> tuple[FloatArray, FloatArray]:
    return reported.sensitivity, reported.specificity


def _level_edges(tables: Tables, control: Normal | Flat, reported: Reported, site: int) -> FloatArray:
    """Return first panels of a site's level in control: around what the counts say, out to where the prior ends."""
    y, n = tables.events[site, 0], tables.total[site, 0]
    if tables.poisson:
        centre = float(np.log((y + 0.5) / (n * reported.sensitivity[:, 0].mean())))
    else:
        centre = float(np.log((y + 0.5) / (n - y + 0.5)))
    if isinstance(control, Normal):
        low, high = control.mean - 12.0 * control.sd, control.mean + 12.0 * control.sd
    else:
        # With events and others in the site the likelihood falls as e^-|level| at least.
        low, high = centre - 2.0 * REACH, centre + 2.0 * REACH
    width = float(np.hypot(1.0, 0.1 * (high - low)))
    near = centre + width * np.array([-2.0, -1.0, -0.5, -0.2, 0.0, 0.2, 0.5, 1.0, 2.0])
    wide = np.linspace(low, high, 9)
    edges = np.unique(np.concatenate([wide, near[(near > low) & (near < high)]]))
    apart = np.concatenate([[True], np.diff(edges) > 1e-6 * (high - low)])
    return np.asarray(edges[apart], dtype=np.float64)

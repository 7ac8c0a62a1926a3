"""Hides the exact posterior of site control means and effects together: their errors share the control arm.

z_i = (c_i, e_i) ~ N(theta_i, S_i) with S_i known, theta_i ~ N(m, Sigma), m_j ~ N(m0_j, s0_j) independently, and
Sigma = [[a^2, r a b], [r a b, b^2]]. With V_i = S_i + Sigma and H_i = S_i V_i^-1,

    m | Sigma, z           ~ N(P^-1 (P0 m0 + sum V_i^-1 z_i), P^-1),   P = P0 + sum V_i^-1,
    theta_i | m, Sigma, z  ~ N(z_i + H_i (m - z_i), H_i Sigma),

and the likelihood of Sigma follows with m integrated out. The two sds and the correlation are integrated numerically.
The correlation has density proportional to (1 - r^2)^(eta - 1) (Lewandowski, Kurowicka and Joe 2009).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import lgamma, log

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gbveval.numerics.fitted_product import Axis, FittedProduct, ProductRule
from gbveval.numerics.mixtures import GridDensity, NormalMixtures
from gbveval.numerics.priors import Normal, ScalePrior

FloatArray = NDArray[np.float64]
# Nodes along sd of control, sd of effect and correlation: more, until the answer stays where it is. The correlation
# needs most: near one and minus one the likelihood changes quickly.
COUNTS = ((8, 10, 12), (10, 12, 18), (12, 14, 26), (14, 16, 36), (18, 20, 48))
# Posterior sds; the Monte Carlo error of a million draws is a thousand times this.
ENOUGH = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class ControlAndEffectPriors:
    """Priors of the two averages, the two between-site sds, and eta of the correlation's."""

    control: Normal
    effect: Normal
    sd_control: ScalePrior
    sd_effect: ScalePrior
    eta: float

    def __post_init__(self) -> None:
        if not (isinstance(self.control, Normal) and isinstance(self.effect, Normal)):
            raise ValueError("The averages of control mean and effect need Normal priors.")
        for prior in (self.sd_control, self.sd_effect):
            if isinstance(prior, Normal) or not prior.is_proper:
                raise ValueError("The between-site sds need proper priors on zero and above, such as HalfNormal.")
        if not self.eta >= 1.0:
            raise ValueError(f"The eta of the correlation's prior must be 1 or more; it is {self.eta}.")


@dataclass(frozen=True, slots=True, eq=False)
class ControlAndEffectFit:
    """The posterior.

    Attributes
    ----------
    effects : NormalMixtures
        Terms: average control mean, average effect, control means of the sites, effects of the sites, effect in a new
        site; jointly normal given the node.
    nodes : ndarray, shape (nodes, 3)
        Sd of control, sd of effect and correlation at each node.
    sd_control, sd_effect, correlation : GridDensity
        Their marginals.
    log_marginal_likelihood : float
        All priors are proper.
    error : float
        Largest change of any mean or sd, in posterior sds, or of the log likelihood, from a rule with about two fifths
        of the nodes to the one used: an upper limit of the quadrature's error.
    """

    effects: NormalMixtures
    nodes: FloatArray
    sd_control: GridDensity
    sd_effect: GridDensity
    correlation: GridDensity
    log_marginal_likelihood: float
    error: float


def control_and_effect(z: ArrayLike, S: ArrayLike, priors: ControlAndEffectPriors) -> ControlAndEffectFit:
    """Fit control means and effects of sites jointly, without a sampler.

    Parameters
    ----------
    z : array_like, shape (sites, 2)
        Control mean and effect of each site.
    S : array_like, shape (sites, 2, 2)
        Covariance of their errors; minus the variance of the control mean off the diagonal for a plain difference.
    priors : ControlAndEffectPriors
        All of them proper.

    Raises
    ------
    ValueError
        If shapes do not fit, a number is not finite, or a covariance is not positive definite.

    Examples
    --------
    >>> from gbveval.numerics.priors import HalfNormal
    >>> priors = ControlAndEffectPriors(Normal(0, 1), Normal(0, 1), HalfNormal(0.5), HalfNormal(0.5), 2.0)
    >>> S = [[[0.04, -0.04], [-0.04, 0.09]]] * 2
    >>> fit = control_and_effect([[0.1, 0.3], [0.4, 0.2]], S, priors)
    >>> fit.effects.mean[:2].round(3).tolist(), fit.error < 1e-6
    ([0.236, 0.231], True)
    """
    model = _Model(*_checked(z, S), priors)
    rule = ProductRule(model.log_joint, model.axes(), COUNTS[0])
    fit, error = rule.fit(COUNTS[0]), np.inf
    effects, counts = model.effects(fit), COUNTS[0]
    for counts in COUNTS[1:]:
        before, known, fit = effects, fit.log_total, rule.fit(counts)
        effects = model.effects(fit)
        moved = np.abs([effects.mean - before.mean, effects.sd - before.sd]) / effects.sd
        error = max(float(moved.max()), abs(fit.log_total - known))
        if error < ENOUGH:
            break
    a, b, r = rule.marginals(counts)
    return ControlAndEffectFit(
        effects=effects,
        nodes=model.natural(fit.nodes),
        sd_control=GridDensity.from_panels(a, log_axis=True),
        sd_effect=GridDensity.from_panels(b, log_axis=True),
        correlation=GridDensity.from_panels(r, log_axis=False),
        log_marginal_likelihood=fit.log_total,
        error=error,
    )


def _checked(z: ArrayLike, S: ArrayLike) -> tuple[FloatArray, FloatArray]:
    data, errors = np.array(z, dtype=float), np.array(S, dtype=float)
    if data.ndim != 2 or data.shape[1] != 2 or not len(data) or errors.shape != (len(data), 2, 2):
        raise ValueError(f"Two numbers and a 2 by 2 covariance a site are needed; shapes {data.shape}, {errors.shape}.")
    if not (np.isfinite(data).all() and np.isfinite(errors).all()):
        raise ValueError("Control means, effects and covariances must be finite.")
    if not (np.linalg.eigvalsh(errors)[:, 0] > 0.0).all():
        raise ValueError("The covariance of control mean and effect must be positive definite in every site.")
    return data, errors


class _Model:
    """Everything given the two sds and the correlation, at many points of them at once."""

    def __init__(self, z: FloatArray, S: FloatArray, priors: ControlAndEffectPriors) -> None:
        self.z, self.S, self.priors = z, S, priors
        self.m0 = np.array([priors.control.mean, priors.effect.mean], dtype=float)
        self.p0 = np.array([priors.control.sd, priors.effect.sd], dtype=float) ** -2.0
        # Integral of (1 - r^2)^(eta - 1) from -1 to 1.
        eta = float(priors.eta)
        self.log_lkj = -(2.0 * eta - 1.0) * log(2.0) - 2.0 * lgamma(eta) + lgamma(2.0 * eta)

    def axes(self) -> tuple[Axis, Axis, Axis]:
        scales = []
        for place, prior in ((0, self.priors.sd_control), (1, self.priors.sd_effect)):
            errors = np.sqrt(self.S[:, place, place])
            known = np.array([errors.min(), errors.max(), np.ptp(self.z[:, place])])
            marks = np.concatenate([np.log(known[known > 0.0]), prior.log_landmarks()])
            # exp(log(upper)) may round past the upper end, where the prior is zero.
            ends = np.isfinite(prior.support_upper)
            upper = float(np.nextafter(np.log(prior.support_upper), -np.inf)) if ends else np.inf
            scales.append(Axis(marks[np.isfinite(marks)], True, upper))
        return scales[0], scales[1], Axis(np.linspace(-1.0, 1.0, 7), False)

    @staticmethod
    def natural(nodes: FloatArray) -> FloatArray:
        return np.column_stack([np.exp(nodes[:, :2]), nodes[:, 2]])

    def log_joint(self, points: FloatArray) -> FloatArray:
        """Return log prior x likelihood at (log sd of control, log sd of effect, correlation), with respect to them."""
        # The search for the upper end looks at scales whose fourth powers overflow; no prior is alive there.
        alive = points[:, :2].max(axis=1) < 150.0
        a, b, r = self.natural(np.where(alive[:, None], points, 0.0)).T
        precision = _Precision(self, a, b, r)
        with np.errstate(divide="ignore"):
            lkj = (self.priors.eta - 1.0) * np.log1p(-(r**2)) if self.priors.eta > 1.0 else 0.0
        prior = self.priors.sd_control.log_density(a) + self.priors.sd_effect.log_density(b) + lkj + self.log_lkj
        return np.where(alive, precision.log_likelihood + prior + points[:, 0] + points[:, 1], -np.inf)

    def effects(self, fit: FittedProduct) -> NormalMixtures:
        """Return the mixture over the nodes of a fit."""
        a, b, r = self.natural(fit.nodes).T
        at, sites, n = _Precision(self, a, b, r), len(self.z), len(a)
        sigma = np.stack([np.stack([a * a, r * a * b], -1), np.stack([r * a * b, b * b], -1)], -2)
        inverse = np.stack([np.stack([at.w11, at.w12], -1), np.stack([at.w12, at.w22], -1)], -2)
        H = self.S @ inverse
        theta = self.z + np.einsum("nsij,nsj->nsi", H, at.mean[:, None] - self.z)
        within = H @ sigma[:, None]
        own = np.sqrt(within[..., 0, 0])
        shared = within[..., 1, 0] / own
        rest = np.maximum(within[..., 1, 1] - shared**2, 0.0)
        loadings = np.zeros((n, 3 + 2 * sites, 2 + sites))
        loadings[:, :2, :2] = at.root
        loadings[:, 2 : 2 + sites, :2] = np.einsum("nsj,njk->nsk", H[..., 0, :], at.root)
        loadings[:, 2 + sites : -1, :2] = np.einsum("nsj,njk->nsk", H[..., 1, :], at.root)
        each = np.arange(sites)
        loadings[:, 2 + each, 2 + each] = own
        loadings[:, 2 + sites + each, 2 + each] = shared
        loadings[:, -1, :2] = at.root[:, 1]
        variance = (loadings**2).sum(axis=2)
        variance[:, 2 + sites : -1] += rest
        variance[:, -1] += b**2
        means = np.concatenate([at.mean, theta[..., 0], theta[..., 1], at.mean[:, 1:]], axis=1)
        return NormalMixtures(fit.weights, means, np.sqrt(variance), loadings)


class _Precision:
    """V_i^-1, the averages given Sigma, and the likelihood of Sigma: arrays over points."""

    def __init__(self, model: _Model, a: FloatArray, b: FloatArray, r: FloatArray) -> None:
        z, S = model.z, model.S
        v11 = S[:, 0, 0] + (a * a)[:, None]
        v22 = S[:, 1, 1] + (b * b)[:, None]
        v12 = S[:, 0, 1] + (r * a * b)[:, None]
        # Term by term: v11 v22 - v12^2 loses its digits when the sds are large and the correlation is near one.
        own = S[:, 0, 0] * S[:, 1, 1] - S[:, 0, 1] ** 2
        mixed = S[:, 0, 0] * (b * b)[:, None] + S[:, 1, 1] * (a * a)[:, None] - 2.0 * S[:, 0, 1] * (r * a * b)[:, None]
        det = own + mixed + (a * a * b * b * (1.0 - r) * (1.0 + r))[:, None]
        self.w11, self.w22, self.w12 = v22 / det, v11 / det, -v12 / det
        p11, p22 = self.w11.sum(axis=1) + model.p0[0], self.w22.sum(axis=1) + model.p0[1]
        p12 = self.w12.sum(axis=1)
        # Distances from the prior means, so that a common level loses no digits.
        y = z - model.m0
        f1 = self.w11 @ y[:, 0] + self.w12 @ y[:, 1]
        f2 = self.w12 @ y[:, 0] + self.w22 @ y[:, 1]
        size = p11 * p22 - p12**2
        m1, m2 = (p22 * f1 - p12 * f2) / size, (p11 * f2 - p12 * f1) / size
        e1, e2 = y[:, 0] - m1[:, None], y[:, 1] - m2[:, None]
        square = (self.w11 * e1**2 + 2.0 * self.w12 * e1 * e2 + self.w22 * e2**2).sum(axis=1)
        square += model.p0[0] * m1**2 + model.p0[1] * m2**2
        self.mean = np.stack([m1, m2], axis=1) + model.m0
        self.log_likelihood = (
            -len(z) * np.log(2.0 * np.pi)
            - 0.5 * np.log(det).sum(axis=1)
            - 0.5 * square
            + 0.5 * np.log(model.p0).sum()
            - 0.5 * np.log(size)
        )
        first = np.sqrt(p22 / size)
        second = -p12 / size / first
        self.root = np.zeros((len(a), 2, 2))
        self.root[:, 0, 0], self.root[:, 1, 0] = first, second
        self.root[:, 1, 1] = np.sqrt(np.maximum(p11 / size - second**2, 0.0))

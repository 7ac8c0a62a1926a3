"""Intracluster correlations from counts, sums and squares by cluster: analysis of variance, and yes-or-no outcomes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.groups import group_sizes, group_sums
from gbveval.numerics.inference import f_quantile

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

BINARY_METHODS = (
    "modified_anova",
    "moment_equal_weights",
    "moment_size_weights",
    "modified_moment_equal_weights",
    "modified_moment_size_weights",
    "fleiss_cuzick",
    "mak",
    "pearson_equal_pairs",
    "pearson_equal_clusters",
    "pearson_people",
    "resampling",
)


@dataclass(frozen=True, eq=False, slots=True)
class AnovaIcc:
    """An intracluster correlation from a one-way analysis of variance within arms.

    Attributes
    ----------
    icc, std_error : float
        Estimate, and Smith's standard error.
    size : float
        n0, the cluster size of the expected mean square.
    between, within : float
        Variance components.
    ratio : float
        Mean square between over that within.
    df_between, df_within : float
    """

    icc: float
    std_error: float
    size: float
    between: float
    within: float
    ratio: float
    df_between: float
    df_within: float

    def exact_interval(self, level: float) -> tuple[float, float]:
        """Return limits from F quantiles, exact for a normal outcome and clusters of one size.

        (F/F_q - 1) / (F/F_q + n0 - 1), with n0 in place of the size when sizes differ (Thomas and Hultquist 1978;
        Donner 1979).
        """
        upper = f_quantile(0.5 + level / 2.0, self.df_between, self.df_within)
        lower = f_quantile(0.5 - level / 2.0, self.df_between, self.df_within)
        limits = [(self.ratio / q - 1.0) / (self.ratio / q + self.size - 1.0) for q in (upper, lower)]
        return float(limits[0]), float(limits[1])


def anova_icc(y: FloatArray, cluster: IntArray, arm: IntArray) -> AnovaIcc:
    """Return the correlation by analysis of variance, clusters compared with the mean of their own arm.

    Parameters
    ----------
    y : ndarray, shape (n,)
    cluster : ndarray of int, shape (n,)
        Clusters, coded from zero, all present.
    arm : ndarray of int, shape (clusters,)
        Arm of each cluster, coded from zero, all present.

    Notes
    -----
    With k clusters of n_i in A arms, n0 = (N - sum_a sum n_i^2 / N_a) / (k - A) and
    icc = (MSB - MSW) / (MSB + (n0 - 1) MSW) (Donner 1986). The variance is Smith's (1957),

        2 (1 - r)^2 / n0^2 { (1 + r (n0 - 1))^2 / (N - k) + [ (k - A)(1 - r)(1 + r (2 n0 - 1))
            + r^2 sum_a (S2 - 2 S3 / N_a + S2^2 / N_a^2) ] / (k - A)^2 },

    S2 and S3 being the arm's sums of squared and cubed sizes; with one arm it is the formula as printed.
    """
    k, arms = arm.size, int(arm.max()) + 1
    n = group_sizes(cluster, k)
    centred = y - y.mean()
    mean = group_sums(cluster, centred, k) / n
    within = float(np.sum((centred - mean[cluster]) ** 2))
    arm_size = group_sums(arm, n, arms)
    arm_mean = group_sums(arm, n * mean, arms) / arm_size
    between = float(np.sum(n * (mean - arm_mean[arm]) ** 2))
    total = float(n.sum())
    second, third = group_sums(arm, n**2, arms), group_sums(arm, n**3, arms)
    df_between, df_within = float(k - arms), total - k
    size = (total - float(np.sum(second / arm_size))) / df_between
    msb, msw = between / df_between, within / df_within
    bottom = msb + (size - 1.0) * msw
    r = (msb - msw) / bottom if bottom > 0 else float("nan")
    spread = float(np.sum(second - 2.0 * third / arm_size + second**2 / arm_size**2))
    inner = df_between * (1.0 - r) * (1.0 + r * (2.0 * size - 1.0)) + r**2 * spread
    variance = 2.0 * (1.0 - r) ** 2 / size**2
    variance *= (1.0 + r * (size - 1.0)) ** 2 / df_within + inner / df_between**2
    ratio = msb / msw if msw > 0 else float("inf")
    return AnovaIcc(r, float(np.sqrt(max(variance, 0.0))), size, (msb - msw) / size, msw, ratio, df_between, df_within)


def binary_icc(method: str, events: FloatArray, n: FloatArray) -> float:
    """Return the correlation of a yes-or-no outcome by one of `BINARY_METHODS`, from counts by cluster.

    Parameters
    ----------
    method : str
    events, n : ndarray, shape (clusters,)
        Events and people in each cluster, at least two people.

    Notes
    -----
    As Ridout, Demetrio and Firth (1999) collect them; q_i = y_i / n_i, p = sum y / N, W = sum y_i (n_i - y_i) / n_i.

    - modified_anova: analysis of variance with k in place of k - 1 (Fleiss 1981).
    - moment: with weights w_i (1 / k or n_i / N), m = sum w q and S = sum w (q - m)^2,
      [S - m(1 - m) sum w(1 - w)/n] / {m(1 - m) [sum w(1 - w) - sum w(1 - w)/n]}; modified: S (k - 1)/k (Kleinman 1973).
    - fleiss_cuzick: 1 - W / [(N - k) p (1 - p)] (1979).
    - mak: the share of unlike pairs within clusters over that between, clusters equally weighted (1988).
    - pearson: correlation over pairs, each pair, each cluster, or each person having the same weight (Karlin, Cameron
      and Williams 1981).
    - resampling: unlike pairs between clusters minus those within, over 2 p (1 - p), all pairs equally weighted
      (Chakraborty and Sen 2016).
    """
    k, total = n.size, float(n.sum())
    p = float(events.sum()) / total
    share = events / n
    unlike = float(np.sum(events * (n - events) / n))
    if method == "modified_anova":
        size = (total - float(np.sum(n**2)) / total) / (k - 1)
        msb = (total * p * (1.0 - p) - unlike) / k
        msw = unlike / (total - k)
        return (msb - msw) / (msb + (size - 1.0) * msw)
    if "moment" in method:
        weights = n / total if method.endswith("size_weights") else np.full(k, 1.0 / k)
        return _moment(share, n, weights, (k - 1) / k if method.startswith("modified") else 1.0)
    if method == "fleiss_cuzick":
        return 1.0 - unlike / ((total - k) * p * (1.0 - p))
    if method == "mak":
        inside = float(np.mean(2.0 * events * (n - events) / (n * (n - 1.0))))
        mean = float(share.sum())
        between = 2.0 * (mean * (k - mean) - float(np.sum(share * (1.0 - share)))) / (k * (k - 1.0))
        return 1.0 - inside / between
    if method == "resampling":
        pairs = float(np.sum(n * (n - 1.0)))
        inside = 2.0 * float(np.sum(events * (n - events)))
        across = 2.0 * total**2 * p * (1.0 - p) - inside
        return (across / (total * (total - 1.0) - pairs) - inside / pairs) / (2.0 * p * (1.0 - p))
    weights = {
        "pearson_equal_pairs": np.full(k, 1.0 / float(np.sum(n * (n - 1.0)))),
        "pearson_equal_clusters": 1.0 / (k * n * (n - 1.0)),
        "pearson_people": 1.0 / (total * (n - 1.0)),
    }[method]
    mean = float(np.sum((n - 1.0) * weights * events))
    return (float(np.sum(weights * events * (events - 1.0))) - mean**2) / (mean * (1.0 - mean))


def _moment(share: FloatArray, n: FloatArray, weights: FloatArray, factor: float) -> float:
    mean = float(weights @ share)
    spread = factor * float(weights @ (share - mean) ** 2)
    noise = float(np.sum(weights * (1.0 - weights) / n))
    full = float(np.sum(weights * (1.0 - weights)))
    return (spread - mean * (1.0 - mean) * noise) / (mean * (1.0 - mean) * (full - noise))


def fleiss_cuzick_std_error(icc: float, events: FloatArray, n: FloatArray) -> float:
    """Return the large-sample standard error of the Fleiss-Cuzick estimate when all pairs have one correlation.

    With v = 1 / [p (1 - p)] and S2 = sum n_i^2,

        (1 - r) { (v - 6) sum(1/n_i) / (N - k)^2 + (2N + 4k - k v) k / [N (N - k)^2]
            + [ S2 v / N^2 - (3N - 2k)(N - 2k) S2 / (N^2 (N - k)^2) - (2N - k) / (N - k)^2 ] r
            + (4 - v)(S2 - N) r^2 / N^2 }

    (Zou and Donner 2004). With clusters of two it is Bloch and Kraemer's (1989) variance of kappa.
    """
    k, total = n.size, float(n.sum())
    p = float(events.sum()) / total
    v, second, free = 1.0 / (p * (1.0 - p)), float(np.sum(n**2)), total - k
    constant = (v - 6.0) * float(np.sum(1.0 / n)) / free**2 + (2.0 * total + 4.0 * k - k * v) * k / (total * free**2)
    slope = second * v / total**2 - (2.0 * total - k) / free**2
    slope -= (3.0 * total - 2.0 * k) * (total - 2.0 * k) * second / (total**2 * free**2)
    curve = (4.0 - v) * (second - total) / total**2
    return float(np.sqrt(max((1.0 - icc) * (constant + slope * icc + curve * icc**2), 0.0)))


def modified_wald_std_error(events: FloatArray, n: FloatArray) -> float:
    """Return the large-sample standard error of the analysis-of-variance estimate when all pairs have one correlation.

    For a yes-or-no outcome, with x = 1 - r_F of the Fleiss-Cuzick estimate and c = (k - 1)(n0 - 1) - (N - k), the
    analysis of variance gives r = [N - (N - 1) x] / (N + c x). Its standard error is that of r_F times
    dr/dr_F = N (k - 1) n0 / (N + c x)^2 (delta method; Zou and Donner 2004 start their modified Wald interval from the
    same variance).
    """
    k, total = n.size, float(n.sum())
    kappa = binary_icc("fleiss_cuzick", events, n)
    size = (total - float(np.sum(n**2)) / total) / (k - 1)
    c = (k - 1) * (size - 1.0) - (total - k)
    slope = total * (k - 1) * size / (total + c * (1.0 - kappa)) ** 2
    return slope * fleiss_cuzick_std_error(kappa, events, n)

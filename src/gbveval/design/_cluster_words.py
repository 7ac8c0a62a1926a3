"""Hides how plans of clusters are put in words: formulas by analysis, what must hold, and whose they are."""

from __future__ import annotations

from typing import Final

from gbveval.design.counts import Count
from gbveval.design.outcomes import Binary, Continuous

# By analysis: the formula, its source, and what is known about unequal sizes.
WORDS: Final = {
    "participants_cr2": (
        "respondents' variance x (icc (1 + cv^2) + (1 - icc)/m) / k",
        "Donner and Klar (2000); Eldridge, Ashby and Kerry (2006), International Journal of Epidemiology 35",
        "with unequal sizes the formula is a little cautious: at a CV of 0.8 and 12 clusters an arm it says 0.64 where "
        "a simulation of DifferenceInMeans, which has Satterthwaite's df, finds 0.66",
    ),
    "cluster_means": (
        "respondents' variance x (icc + (1 - icc) E[1/n]) / k",
        "Donner and Klar (2000), Design and Analysis of Cluster Randomization Trials",
        "sizes follow a rounded gamma distribution of at least two respondents; E[1/n] is summed over it",
    ),
    "gls": (
        "respondents' variance x (icc + (1 - icc)/m) / k / (1 - cv^2 L (1 - L)), L = icc / (icc + (1 - icc)/m)",
        "van Breukelen, Candel and Berger (2007), Statistics in Medicine 26",
        "clusters are weighted by the inverse of their true variance; near a CV of 1 power comes out about 0.01 high",
    ),
}
REFERENCES = ("t", "normal", "hayes_bennett")
# What a respondent's variance is, what must hold, and whose that is, by kind of outcome.
ARM_WORDS: Final = {
    Continuous: ("", "cluster means are normal with the same variance in both arms", ""),
    Binary: (
        "",
        "cluster proportions may be treated as normal, although events are counts; their ICC is as planned",
        "",
    ),
    Count: (
        "with the variance of a respondent's rate within clusters, rate/t + dispersion x rate^2, and between them, ",
        "the rates of clusters may be treated as normal, although events are counts: power comes out up to 0.01 low "
        "for a t test of their difference, and 0.01 to 0.06 high for one of log rates where events are few",
        "Hayes and Bennett (1999), International Journal of Epidemiology 28; ",
    ),
}
KNOWN: Final = {
    "normal": "variances are known; with 10 clusters an arm that overstates power by about 0.05",
    "hayes_bennett": "one cluster of each arm, not counted, stands for the estimation of variances; a risk's variance "
    "within clusters is taken at the mean risk, a little too large",
}

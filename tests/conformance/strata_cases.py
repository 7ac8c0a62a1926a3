"""Conformance cases of people in intersectional strata, whose variances are known because they are simulated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from types import MappingProxyType

import numpy as np

import gbveval as gbv
from gbveval.testing.case import Case, Frame

GENDER, CLASS, AGE, BORN = ("m", "w", "x"), ("low", "mid", "high"), ("14", "15", "16"), ("here", "there")
SITE = ("north", "south", "west")
CELLS = list(product(GENDER, CLASS, AGE, BORN))
MAIN = np.array(
    [0.5 * (g == "w") + 0.8 * (g == "x") - 0.3 * (c == "high") + 0.2 * (a == "16") + 0.3 * (b == "there")
     for g, c, a, b in CELLS]
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class StrataFrames:
    """Fifty-four strata of about 40 people, levels of log odds that depart at random from main effects.

    Parameters
    ----------
    truth : str
        "vpc", "rest" (after main effects), "pcv" or "sites".
    departures : float
        Their standard deviation.
    sites : bool
        Whether people live in three sites, whose log odds lie 0.7 apart.
    """

    truth: str = "vpc"
    departures: float = 0.4
    sites: bool = False

    @property
    def roles(self) -> Mapping[str, str]:
        """Role to column."""
        return MappingProxyType({"outcome": "y"})

    def frame(self, rng: np.random.Generator) -> tuple[Frame, float]:
        """Return a frame and the share of variance that it comes from."""
        size = 5 + rng.poisson(35, len(CELLS))
        eta = -1.2 + MAIN + self.departures * rng.normal(size=len(CELLS))
        who = np.repeat(np.arange(len(CELLS)), size)
        site = rng.integers(0, 3, who.size)
        level = eta[who] + (0.7 * (site - 1) if self.sites else 0.0)
        frame: Frame = {"y": (rng.random(who.size) < 1 / (1 + np.exp(-level))).astype(float)}
        frame["site"] = [SITE[k] for k in site]
        for place, name in enumerate(("gender", "class", "age", "born")):
            frame[name] = [CELLS[k][place] for k in who]
        main, rest = float(np.var(MAIN)), self.departures**2
        apart = 0.7**2 * 2 / 3 if self.sites else 0.0
        people = np.pi**2 / 3 + apart
        truths = {"vpc": (main + rest) / (main + rest + people), "rest": rest / (rest + people),
                  "pcv": main / (main + rest), "sites": apart / (main + rest + people)}  # fmt: skip
        return frame, truths[self.truth]

    def check(self, frame: Frame) -> gbv.Survey:
        """Return the frame as a Survey."""
        return gbv.Survey(frame, outcome="y")

    def null(self) -> None:
        """No strata that are alike: a share of variance of zero is on its bound."""


MODEL = gbv.Maihda(["gender", "class", "age", "born"], quadrature=7)
IN_SITES = gbv.Maihda(["gender", "class", "age", "born"], quadrature=7, site="site")
STRATA = (
    Case(MODEL, StrataFrames(), equivariant=frozenset(), n_draws=120, note="vpc"),
    Case(MODEL, StrataFrames("rest"), equivariant=frozenset(), n_draws=120, term="VPC after main effects", note="rest"),
    Case(MODEL, StrataFrames("pcv"), equivariant=frozenset(), n_draws=120, term="PCV", note="pcv"),
    Case(
        IN_SITES, StrataFrames("sites", sites=True), equivariant=frozenset(), n_draws=80, term="VPC of sites",
        note="sites",
    ),
)  # fmt: skip

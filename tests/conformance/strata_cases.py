"""Conformance cases of people in intersectional strata, whose variances are known because they are simulated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
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


@dataclass(frozen=True, slots=True)
class EffectFrames:
    """A trial over eighteen strata, with effects that depart at random from main effects.

    Parameters
    ----------
    outcome : str
        "binary" (log odds ratios) or "measured" (differences in means).
    schools : int
        Clusters that were assigned; 0 for people.
    stratum : int or None
        Whose effect is the truth; None for the average over strata.
    effect : float
        Size of main effects and of departures: zero for no effect anywhere.
    """

    outcome: str = "binary"
    schools: int = 0
    stratum: int | None = None
    effect: float = 1.0

    @property
    def roles(self) -> Mapping[str, str]:
        """Role to column."""
        roles = {"outcome": "y", "arm": "arm"}
        return MappingProxyType(roles | ({"cluster": "school"} if self.schools else {}))

    def frame(self, rng: np.random.Generator) -> tuple[Frame, float]:
        """Return a frame and the effect that it comes from."""
        strata = list(product(GENDER, CLASS, AGE[:2]))
        n = 60 * self.schools or 1440
        who = np.tile(np.arange(len(strata)), n)[:n]
        if self.schools:
            school = np.repeat(np.arange(self.schools), 60)
            treated = rng.permutation(np.arange(self.schools) % 2)[school] == 1
            base = 0.4 * rng.normal(size=self.schools)[school]
        else:
            school, treated = np.arange(n), rng.random(n) < 0.5
            base = (0.5 * rng.normal(size=len(strata)))[who]
        main = np.array([-0.4 + 0.3 * (g == "w") - 0.2 * (c == "high") for g, c, _ in strata])
        effects = self.effect * (main + 0.25 * rng.normal(size=len(strata)))
        level = base + effects[who] * treated
        y = level + rng.normal(size=n) if self.outcome == "measured" else rng.random(n) < 1 / (1 + np.exp(0.6 - level))
        frame: Frame = {"y": np.asarray(y, dtype=float), "arm": np.where(treated, "new", "usual"), "school": school}
        for place, name in enumerate(("gender", "class", "age")):
            frame[name] = [strata[k][place] for k in who]
        truth = np.bincount(who, minlength=len(strata)) / n @ effects if self.stratum is None else effects[self.stratum]
        return frame, float(truth)

    def check(self, frame: Frame) -> gbv.Trial:
        """Return the frame as a Trial."""
        return gbv.Trial(
            frame, outcome="y", arm="arm", control="usual", subgroup=["gender", "class", "age"],
            cluster="school" if self.schools else None,
        )  # fmt: skip

    def null(self) -> EffectFrames:
        """No effect in any stratum."""
        return replace(self, effect=0.0)


SWAP, LINEAR = frozenset({"swap"}), frozenset({"shift", "scale", "swap"})
OF_TRIALS = gbv.IntersectionalEffects(quadrature=5)
EFFECTS = (
    Case(OF_TRIALS, EffectFrames(), equivariant=SWAP, n_draws=80, note="odds ratios"),
    Case(
        OF_TRIALS, EffectFrames("measured", stratum=3), equivariant=LINEAR, n_draws=200,
        term="new vs usual, m, mid, 15", note="a stratum",
    ),
    Case(OF_TRIALS, EffectFrames("measured", schools=8), equivariant=LINEAR, n_draws=120, note="eight schools"),
)  # fmt: skip
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

"""Hides what becomes of a plan when not everybody tells what happened: what is seen, how biased, with what power.

With sensitivity s and specificity c the share that says yes is q = s p + (1 - c)(1 - p) (Bross 1954; Rogan and Gladen
1978), so with J = s + c - 1 the difference seen is J (p1 - p0) where arms disclose alike. The true risks P of clusters
are seen as (1 - c) + J P: of their variance J^2 is left, so icc_seen = J^2 icc p (1 - p) / (q (1 - q)).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from gbveval.core.errors import DesignError
from gbveval.design._clustered import observed_icc_at
from gbveval.design._diluted import DilutedPlan, DilutedTest, core, nearness, needs_two_arms, size_row, with_core
from gbveval.design._require import real
from gbveval.design.cluster import ClusterDesign
from gbveval.design.icc import ICC
from gbveval.design.outcomes import Binary
from gbveval.design.planned_test import PowerTest, Rows

# A true risk at which nothing is seen is kept this far from 0 and 1.
EDGE = 1e-6
SOURCE = "Bross (1954), Biometrics 10; Rogan and Gladen (1978), American Journal of Epidemiology 107"


@dataclass(frozen=True, slots=True)
class Disclosure:
    """How often what happened is told, and what did not happen is not.

    Parameters
    ----------
    sensitivity : float
        Probability that somebody to whom it happened says so: above 0, at most 1.
    specificity : float
        Probability that somebody to whom it did not happen does not say that it did. The two sum to more than 1;
        otherwise answers are no better than guessing.

    Raises
    ------
    DesignError
        If one is out of range, or their sum is 1 or less.

    References
    ----------
    Rogan and Gladen (1978), American Journal of Epidemiology 107.

    Examples
    --------
    >>> told = Disclosure(sensitivity=0.7, specificity=0.98)
    >>> round(told.observed_risk(0.3), 3), round(told.true_risk(0.224), 3)
    (0.224, 0.3)
    """

    sensitivity: float = 1.0
    specificity: float = 1.0

    def __post_init__(self) -> None:
        for name in ("sensitivity", "specificity"):
            value = getattr(self, name)
            if value != 1.0 or isinstance(value, bool):
                real(name, value, low=0.0, high=1.0, hint="It is a probability, 1 where everybody tells.")
        if self.gain <= 0.0:
            raise DesignError(
                f"A sensitivity of {self.sensitivity:g} and a specificity of {self.specificity:g} sum to no more than "
                "1: answers are no better than guessing, or yes and no were exchanged."
            )

    @property
    def gain(self) -> float:
        """What is left of a difference: sensitivity + specificity - 1."""
        return float(self.sensitivity) + float(self.specificity) - 1.0

    def observed_risk(self, risk: float) -> float:
        """Return the share that says yes where this is the true risk."""
        return float(self.sensitivity) * risk + (1.0 - float(self.specificity)) * (1.0 - risk)

    def true_risk(self, observed: float) -> float:
        """Return the true risk behind a share that says yes, such as a published one (Rogan and Gladen).

        Raises
        ------
        DesignError
            If no true risk gives that share.
        """
        real("The share that says yes", observed, low=0.0, high=1.0)
        found = (observed - (1.0 - float(self.specificity))) / self.gain
        if not 0.0 < found < 1.0:
            raise DesignError(
                f"With this disclosure between {1.0 - self.specificity:.3g} and {self.sensitivity:g} say yes, whatever "
                f"the true risk; {observed:g} is not. Check both."
            )
        return found

    def observed_icc(self, icc: float, risk: float) -> float:
        """Return the ICC of what is told where the true outcome has this one, both on the observed scale."""
        return icc * self._kept(risk)

    def true_icc(self, icc: float, risk: float) -> float:
        """Return the ICC of the true outcome, of true risk `risk`, behind one of what is told, such as a published one.

        Raises
        ------
        DesignError
            If it would be 1 or more.
        """
        found = real("An ICC", icc, low=0.0, high=1.0, closed=True) / self._kept(risk)
        if found >= 1.0:
            raise DesignError(f"An ICC of {icc:g} cannot be seen with this disclosure; it stays below {icc / found:g}.")
        return found

    def _kept(self, risk: float) -> float:
        """Return what is left of an ICC."""
        seen = self.observed_risk(real("A risk", risk, low=0.0, high=1.0))
        return self.gain**2 * risk * (1.0 - risk) / (seen * (1.0 - seen))


@dataclass(frozen=True, slots=True)
class ObservedRisks:
    """What a trial sees of a true effect.

    Attributes
    ----------
    control, treated : float
        Shares that say yes.
    true_effect : float
        True risk difference, treated minus control.
    effect : float
        Difference of the shares.
    bias : float
        Difference seen minus true difference: no size of the study makes it smaller.
    attenuation : float
        Difference seen over true difference; below zero where the sign turns. Not a number for a true effect of zero.
    """

    control: float
    treated: float
    true_effect: float

    @property
    def effect(self) -> float:
        """Difference of the shares that say yes."""
        return self.treated - self.control

    @property
    def bias(self) -> float:
        """Difference seen minus true difference."""
        return self.effect - self.true_effect

    @property
    def attenuation(self) -> float:
        """Difference seen over true difference."""
        return self.effect / self.true_effect if self.true_effect else math.nan


@dataclass(frozen=True, slots=True)
class DisclosureDesign(DilutedPlan):
    """A plan whose yes-or-no outcome is what people tell: its risk, effects and ICC are those of what truly happened.

    Parameters
    ----------
    plan : ParallelDesign or ClusterDesign
        The design, with a binary outcome; also an AttritionDesign, NoncomplianceDesign or SpilloverDesign around one.
    control : Disclosure
        Disclosure in control, and in the treated arm too unless `treated` is given.
    treated : Disclosure, optional
        Disclosure in the treated arm, where the programme changes what people tell: mostly it raises sensitivity, by
        naming what is abuse and by offering help.

    Raises
    ------
    DesignError
        If the outcome is not binary.

    Notes
    -----
    Effects are asked, and answered, as true ones. The analysis compares the shares that say yes; its power is that, and
    `observed` (and `explain_power`) says how far its estimate is from the truth. Where arms disclose alike a test of no
    difference is right and the estimate too small; where the programme changes disclosure the estimate is biased either
    way and can turn its sign. Then a true effect of zero is found with more than alpha, the effect at which nothing is
    seen (`blind_effect`) takes the place of the null, and an effect whose sign turns is refused by `required_size`.

    Published risks and ICCs are mostly of what was told: turn them into true ones with `Disclosure.true_risk` and
    `Disclosure.true_icc`. With clusters, sensitivity and specificity are the same in all clusters of an arm; where
    arms have different ICCs, their mean weighted by variance has the same variance as both, exactly for
    "participants_cr2" and "cluster_means".

    An answer by Warner's randomised response, known to be turned with probability 1 - p, is `Disclosure(p, p)`.

    References
    ----------
    Bross (1954), Biometrics 10. Rogan and Gladen (1978), American Journal of Epidemiology 107. Copeland, Checkoway,
    McMichael and Holbrook (1977), American Journal of Epidemiology 105.

    Examples
    --------
    >>> from gbveval.design.parallel import ParallelDesign
    >>> plan = ParallelDesign(n_per_arm=500, outcome=Binary(0.3))
    >>> told = DisclosureDesign(plan, Disclosure(sensitivity=0.6, specificity=0.98), Disclosure(0.75, 0.98))
    >>> seen = told.observed(-0.1)
    >>> round(seen.effect, 3), round(seen.bias, 3)
    (-0.028, 0.072)
    >>> round(told.blind_effect, 4)
    -0.0616
    """

    control: Disclosure
    treated: Disclosure | None = None

    def __post_init__(self) -> None:
        needs_two_arms(self.plan)
        if not isinstance(self.plan.outcome, Binary):
            raise DesignError("Disclosure is planned for yes-or-no outcomes: outcome must be Binary(...).")
        for name, given in (("control", self.control), ("treated", self.treated)):
            if not isinstance(given, Disclosure) and not (name == "treated" and given is None):
                raise DesignError(f"{name} must be Disclosure(sensitivity=..., specificity=...); it is {given!r}.")

    @property
    def by_arm(self) -> tuple[Disclosure, Disclosure]:
        """Disclosure in control and in the treated arm."""
        return self.control, self.control if self.treated is None else self.treated

    @property
    def blind_effect(self) -> float:
        """True effect at which no difference is seen: 0 where arms disclose alike.

        If there is none among possible risks, the largest or smallest possible effect.
        """
        control, treated = self.by_arm
        risk = float(self.plan.outcome.risk)
        if control == treated:
            return 0.0
        seen = control.observed_risk(risk)
        unseen = (seen - (1.0 - float(treated.specificity))) / treated.gain
        return min(max(unseen, EDGE), 1.0 - EDGE) - risk

    def observed(self, effect: float) -> ObservedRisks:
        """Return what a trial sees of a true risk difference, and how biased that is.

        Raises
        ------
        DesignError
            If the effect leads out of (0, 1).
        """
        control, treated = (
            each.observed_risk(p) for each, p in zip(self.by_arm, self.plan.outcome.levels(effect), strict=True)
        )
        return ObservedRisks(control, treated, float(effect))

    def hiding_sensitivity(self, effect: float) -> float:
        """Return the sensitivity in the treated arm at which nothing is seen of a true risk difference.

        A programme that lifts disclosure so far hides what it achieves; beyond it, success looks like harm.

        Raises
        ------
        DesignError
            If no sensitivity between 0 and 1 hides this effect.
        """
        treated = self.by_arm[1]
        risk = float(self.plan.outcome.levels(effect)[1])
        false = (1.0 - float(treated.specificity)) * (1.0 - risk)
        found = (self.observed(effect).control - false) / risk
        if not 0.0 <= found <= 1.0:
            raise DesignError(
                f"No sensitivity in the treated arm hides an effect of {effect:g}: it would have to be {found:.3g}."
            )
        return found

    def process(self, effect: float) -> Any:
        """Refuse: trials are drawn with what truly happened."""
        raise DesignError(
            "Trials are drawn without errors of disclosure. The shares that are seen are a trial too: simulate the "
            "plan inside with outcome=Binary(observed(effect).control) and effect=observed(effect).effect."
        )

    def planned_test(self, effect: float, *, size: tuple[str, float] | None = None) -> DilutedTest:
        """Return the planned test of the shares that say yes, where this is the true risk difference.

        Parameters
        ----------
        effect : float
            True risk difference, treated minus control.
        size : (str, float), optional
            A size, any real number, instead of the plan's own.
        """
        seen = self.observed(effect)
        inner = self._seen_plan(effect, seen).planned_test(seen.effect, size=size)
        full = self.plan.planned_test(effect, size=size)
        alike = self.by_arm[0] == self.by_arm[1]
        return DilutedTest(
            inner=inner,
            effect=float(effect),
            null=self.blind_effect,
            slope=self.by_arm[1].gain,
            rows=self._rows(seen, inner, full),
            formula=f"on the shares that say yes, sensitivity x risk + (1 - specificity) x (1 - risk): {inner.formula}",
            source=f"{SOURCE}; {inner.source}",
            assumptions=(
                *inner.assumptions,
                "whether somebody tells depends on nothing but what happened"
                + (", in both arms alike" if alike else " and the arm"),
                "the analysis compares shares as told; dividing by sensitivity + specificity - 1 changes no power",
            ),
            refusal=_turned(seen),
            near=nearness(inner),
        )

    def _rows(self, seen: ObservedRisks, inner: PowerTest, full: PowerTest) -> Rows:
        """Return what is told of the bias, beside power."""
        risks = self.plan.outcome.levels(seen.true_effect)
        rows: Rows = (
            ("true risks (control, treated)", f"{risks[0]:.4g}, {risks[1]:.4g}"),
            ("observed risks (control, treated)", f"{seen.control:.4g}, {seen.treated:.4g}"),
            ("observed difference", f"{seen.effect:.4g}"),
            ("bias (observed minus true difference)", f"{seen.bias:.4g}"),
        )
        if seen.true_effect:
            rows += (("attenuation (observed over true difference)", f"{seen.attenuation:.4g}"),)
            rows += size_row(inner, full, "size, over that with perfect disclosure")
        if self.by_arm[0] != self.by_arm[1]:
            rows += (("true effect at which nothing is seen", f"{self.blind_effect:.4g}"),)
            rows += (("check: disclosure differs by arm", _turned(seen) or _moved(seen, self.observed(0.0).effect)),)
        return rows

    def _seen_plan(self, effect: float, seen: ObservedRisks) -> Any:
        """Return the plan of what is told."""
        inside = core(self.plan)
        changes: dict[str, Any] = {"outcome": Binary(seen.control)}
        if isinstance(inside, ClusterDesign):
            risks = self.plan.outcome.levels(effect)
            # Variances are linear in the ICC, so this mean of both has their variance.
            weights, iccs = [], []
            for each, p, q, k in zip(
                self.by_arm, risks, (seen.control, seen.treated), (1.0, float(inside.ratio)), strict=True
            ):
                weights.append(q * (1.0 - q) / k)
                iccs.append(each.observed_icc(observed_icc_at(inside.outcome, inside.icc, p), p))
            mean = sum(w * icc for w, icc in zip(weights, iccs, strict=True)) / sum(weights)
            changes["icc"] = ICC(mean, scale="observed")
        return with_core(self.plan, **changes)


def _turned(seen: ObservedRisks) -> str:
    """Return why an effect cannot be found because its sign turns, or nothing if it does not."""
    if seen.true_effect * seen.effect > 0.0 or seen.effect == 0.0:
        return ""
    if seen.true_effect == 0.0:
        return (
            f"A true effect of zero is seen as {seen.effect:+.3g}, because arms disclose differently: what a large "
            "study finds is disclosure. Measure it in a way that the programme does not change."
        )
    return (
        f"A true effect of {seen.true_effect:+.3g} is seen as {seen.effect:+.3g}: disclosure that differs by arm turns "
        "its sign, and a larger study would only be surer of the wrong one. Measure in a way that the programme does "
        "not change, such as a list experiment or a source that does not ask people."
    )


def _moved(seen: ObservedRisks, alone: float) -> str:
    """Return what disclosure alone does to the difference."""
    return (
        f"disclosure alone is seen as {alone:+.3g}: with a true effect of zero the test rejects more often than alpha, "
        f"and the estimate of {seen.true_effect:+.3g} is off by {seen.bias:+.3g} however large the study"
    )

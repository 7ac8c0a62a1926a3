"""`IntersectionalEffects`: what a programme did at each intersection, borrowing from what its properties foresee."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gbveval.core.errors import DataError, DesignError
from gbveval.core.estimates import Estimates
from gbveval.core.method import Check, Method
from gbveval.core.provenance import Provenance, derive_seed, options_of, versions
from gbveval.core.registry import register
from gbveval.data._frame import as_names, plural
from gbveval.data.trial import Trial
from gbveval.estimators._assemble import all_samples, mean_contrast, missing_check, require_parallel
from gbveval.estimators.randomised.proportion_test import need_binary
from gbveval.factors._effect_rows import effect_rows
from gbveval.factors._effects_by_stratum import ArmEffects, TrialStrata, arm_effects, trial_strata
from gbveval.factors._row_blocks import RowBlocks
from gbveval.factors._strata import SPARSE, check_quadrature, counts_check

CONTRASTS = ("odds_ratio", "rate_ratio", "difference")
# Above this, and in a stratum that was heard, "works in the other direction here" is more likely than not to hold.
LIKELY_OPPOSITE = 0.9


@register("intersectional_effects")
@dataclass(frozen=True, slots=True)
class IntersectionalEffects:
    """Effects of a trial at intersections: how much they differ, how far additively, and each stratum's own.

    MAIHDA of effects. What gender, class and disability do to an effect one by one is fixed; what their combinations
    add varies at random; the effect of a small stratum leans on what its properties foresee.

    Parameters
    ----------
    by : sequence of str
        Two columns or more of the trial's role `subgroup`, whose combinations are the strata. Empty: all of them.
    contrast : str, optional
        "odds_ratio" (yes-or-no outcomes), "rate_ratio" (counts; with the role `exposure` per unit of it) or
        "difference" (of means or risks). By default odds ratios for yes-or-no outcomes of people assigned one by one,
        and differences otherwise. Clusters take differences only.
    quadrature : int
        Points of adaptive Gauss-Hermite quadrature for each stratum, for ratios; one is Laplace's approximation.

    Notes
    -----
    **Rows** of each arm: the average effect over strata (by their share of people, on the scale of logs for ratios);
    the standard deviation of effects between strata, and what main effects leave of it; the share of the variance that
    main effects account for; every stratum's effect; every departure from what its properties foresee one by one.

    **Identifies** effects of assignment within strata, when what defines these was known before assignment. Effects of
    strata are shrunken: biased towards what main effects foresee, closer to the truth on average. Differences between
    strata of an effect are associations: whoever is in a stratum differs in more than what defines it.

    **Nothing is assumed of levels without the programme.** Ratios come from the distribution of the treated's
    events given all events of a stratum (within strata of assignment), which no level of risk enters; differences from
    means with one variance within arms and strata. Where clusters were assigned, a linear mixed model gives the effects
    of all strata with their covariance (Kenward and Roger); what they share rests on few clusters, and has a t of that
    many.

    **Intervals** are quantiles of a confidence distribution, as in `Maihda`; those of standard deviations never hold
    zero, which is their bound, and are no test of whether effects differ. `probability_opposite` is that a stratum's
    effect has another sign than the average. `pooling_factor` is one where a stratum's effect is all foreseen.

    **Do not use when** subgroups were chosen after seeing outcomes; with fewer than a dozen strata, where the spread is
    hardly known (`SubgroupEffects` states a prior instead); for a decision on one stratum of a few people; for ratios
    of rates when people's own rates vary, since the counts are taken to be Poisson's (a check says so). Pairs and
    weights are refused; covariates and the baseline are not used.

    References
    ----------
    Evans, Williams, Onnela and Subramanian (2018), Social Science and Medicine 203, for strata. Stijnen, Hamza and
    Ozdemir (2010), Statistics in Medicine 29, for random log odds ratios given margins. Kenward and Roger (1997),
    Biometrics 53.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(1)
    >>> levels = {"gender": "mwx", "class": "123", "born": "yn"}
    >>> frame = {name: rng.choice(list(each), 4000) for name, each in levels.items()}
    >>> frame["arm"] = rng.choice(["usual", "new"], 4000)
    >>> eta = -0.5 - (frame["arm"] == "new") * (0.4 + 0.5 * (frame["gender"] == "w"))
    >>> frame["harassed"] = (rng.random(4000) < 1 / (1 + np.exp(-eta))).astype(int)
    >>> trial = Trial(frame, outcome="harassed", arm="arm", control="usual", subgroup=list(levels))
    >>> answer = IntersectionalEffects().estimate(trial)
    >>> [row.term for row in answer.terms[:5]]  # doctest: +NORMALIZE_WHITESPACE
    ['new vs usual, average over strata', 'new vs usual, sd between strata', 'new vs usual, sd after main effects',
     'new vs usual, share of main effects', 'new vs usual, m, 1, n']
    >>> bool(answer["new vs usual, w, 2, n"].value < answer["new vs usual, m, 2, n"].value)
    True
    """

    by: Sequence[str] = ()
    contrast: str | None = None
    quadrature: int = 15
    name: ClassVar[str] = "intersectional_effects"

    def __post_init__(self) -> None:
        object.__setattr__(self, "by", tuple(dict.fromkeys(as_names(self.by, "by"))))
        if self.contrast is not None and self.contrast not in CONTRASTS:
            raise DesignError(f"contrast is one of {', '.join(CONTRASTS)}, not {self.contrast!r}.")
        check_quadrature(self.quadrature)

    def estimate(self, data: Trial, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return for each outcome and arm the average, the spread, and the effect of every stratum.

        Parameters
        ----------
        data : Trial
            With two columns or more of the role `subgroup`.
        rng : numpy.random.Generator, optional
            For draws of the variances; by default seeded from data and options.

        Raises
        ------
        DataError
            If an outcome does not fit the contrast.
        DesignError
            If the trial has fewer than two subgroup columns, pairs or weights, or clusters with a ratio.
        IdentificationError
            If there are fewer than six strata, or too few say anything of the effect.
        """
        require_parallel("IntersectionalEffects", data)
        for role in ("pair", "weight"):
            if getattr(data, role) is not None:
                raise DesignError(f"IntersectionalEffects takes no {role}. Use SubgroupEffects, which does.")
        strata = trial_strata(data, tuple(self.by))
        seed = derive_seed(data.digest, self.name, repr(options_of(self))) if rng is None else None
        generator = np.random.default_rng(seed) if rng is None else rng
        rows, found = RowBlocks(), []
        for outcome in range(len(data.outcome_names)):
            contrast = _contrast(self, data, outcome)
            for arm in range(1, len(data.arms)):
                one = arm_effects(data, strata, contrast, self.quadrature, (outcome, arm), generator)
                found.append(one)
                rows += effect_rows(data, strata, contrast, one)
        terms, covariance, posterior = rows.joined()
        return Estimates(
            estimator=self.name,
            terms=terms,
            covariance=covariance,
            method=_method(self, data, strata),
            checks=(*_checks(data, strata, found), *missing_check(data)),
            provenance=Provenance(
                data.digest, tuple(options_of(self).items()), seed, versions(), seed_derived=rng is None
            ),
            posterior=posterior,
            flow=data.flow(),
        )


def _contrast(model: IntersectionalEffects, data: Trial, outcome: int) -> str:
    """Return the contrast by its name, and refuse outcomes that it is not for."""
    asked, clustered = model.contrast, data.cluster is not None
    if asked is None:
        asked = "odds_ratio" if data.is_binary(outcome) and not clustered else "difference"
    if asked == "difference":
        return mean_contrast(data, outcome)
    if clustered:
        raise DesignError(
            f"Clusters were assigned, and contrast={asked!r} takes people assigned one by one. Use "
            "contrast='difference', or SubgroupEffects."
        )
    if asked == "odds_ratio":
        need_binary("contrast='odds_ratio'", data, outcome)
        return asked
    y = data.outcomes[data.observed(outcome), outcome]
    wrong = int(((y < 0) | (y != np.floor(y))).sum())
    if wrong:
        raise DataError(
            f"Column {data.outcome_names[outcome]!r} (outcome) is not a count in {plural(wrong, 'row')}; "
            "contrast='rate_ratio' needs whole numbers of zero and more."
        )
    return asked


def _checks(data: Trial, strata: TrialStrata, found: list[ArmEffects]) -> tuple[Check, ...]:
    count = len(strata.domains.labels)
    checks = []
    if count < 20:
        text = f"with {count} strata the spread of effects between them is hardly known; see its interval."
        checks.append(Check("few strata", "warn", text))
    for one in found:
        name = f"{data.outcome_names[one.outcome]}, {data.arms[one.arm]}"
        if one.untold:
            text = f"{one.untold} of {count} strata say nothing of the effect by themselves; theirs is all foreseen."
            public = "some strata say nothing of the effect by themselves; theirs is all foreseen."
            checks.append(Check(f"strata without people or events in both arms ({name})", "info", text, public))
        if one.sparse:
            checks.append(Check(f"sparse strata ({name})", "warn", SPARSE))
        if one.overdispersed:
            checks.append(counts_check(f"overdispersion ({name})"))
        checks.append(_opposite(one, name))
    ignored = [
        word
        for word, given in (("covariates", data.covariate_names), ("baseline", data.baseline))
        if given is not None and len(given)
    ]
    if ignored:
        text = f"{' and '.join(ignored)} are declared and not used; LinAdjusted uses them for the average effect."
        checks.append(Check("covariates", "info", text))
    return tuple(checks)


def _opposite(one: ArmEffects, name: str) -> Check:
    """Return whether some stratum's effect is likely to have another sign than the average."""
    levels = one.levels.levels
    average = float(levels.weighted_sum(one.shares).mean[0])
    zero = np.zeros(len(levels))
    other = levels.cdf(zero) if average > 0 else levels.sf(zero)
    likely = int((other > LIKELY_OPPOSITE).sum())
    if likely:
        text = (
            "at some intersections the effect is likely to go the other way than on average "
            f"(probability above {LIKELY_OPPOSITE:.0%}); see probability_opposite before anything is scaled."
        )
        return Check(f"opposite effects ({name})", "warn", text)
    text = f"no stratum's effect is likely to go the other way than the average (none above {LIKELY_OPPOSITE:.0%})."
    return Check(f"opposite effects ({name})", "info", text)


def _method(model: IntersectionalEffects, data: Trial, strata: TrialStrata) -> Method:
    within = "" if data.stratum is None else ", within strata of assignment"
    rates = model.contrast == "rate_ratio"
    first = (
        f"{model.quadrature}-point adaptive quadrature (ratios) or restricted likelihood, in each stratum{within}"
        if data.cluster is None
        else "linear mixed model with intercepts of clusters and of strata in clusters, Kenward-Roger covariance"
    )
    return Method(
        sample=f"{all_samples(data)}; {len(strata.domains.labels)} strata of {strata.domains.name}",
        std_error=f"standard deviation of a confidence distribution: {first}",
        small_sample="coefficients integrated out; Jeffreys' prior of the variance between strata"
        + ("" if data.cluster is None else "; t for what all strata share"),
        reference="quantiles of that distribution",
        inference_for="strata of this trial: main effects fixed, departures from them random",
        assumptions=(
            "arms were assigned at random as declared",
            "subgroups were known before assignment, and chosen before outcomes were seen",
            "departures of strata's effects from the sum of main effects are normal and independent",
            *(("counts are Poisson, with one rate in an arm of a stratum",) if rates else ()),
            "one unit's assignment does not change another's outcome",
            "outcomes are missing for reasons unrelated to the outcome",
        ),
        source="Evans and others 2018; Stijnen, Hamza and Ozdemir 2010",
    )

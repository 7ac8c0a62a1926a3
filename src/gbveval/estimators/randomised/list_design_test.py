"""`ListDesignTest`: whether counts of a list experiment show that the sensitive item changed the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gbveval.core.errors import DesignError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.method import Method
from gbveval.core.provenance import derive_seed, options_of
from gbveval.core.registry import register
from gbveval.core.term import Term
from gbveval.data.trial import Trial
from gbveval.estimators._assemble import all_samples, assemble_terms, require_parallel
from gbveval.estimators.randomised._lists import check_items, count_support, list_support, require_lists, shares_of
from gbveval.numerics.list_design_test import SELECTIONS, design_effect_test


@register("list_design_test")
@dataclass(frozen=True, slots=True)
class ListDesignTest:
    """Test that a list experiment has no design effect, with the joint shares of counts and answers.

    Parameters
    ----------
    items : int
        Items of the short list, without the sensitive one.
    n_draws : int
        Draws for the weights of the reference distribution; with 50,000 a p-value of 0.05 is right to about 0.001.

    selection : str
        Which shares are taken as far above zero: those beyond log(n)^(1/2) standard errors ("standard_error", Andrews
        and Soares), or beyond a small part of the spread among shares ("spread", as the R package list does).

    Notes
    -----
    **Estimates** for each count j of the other items the share of respondents who count j and have (have not) the
    sensitive item: F0(j) - F1(j) and F1(j) - F0(j - 1), with F the distributions of counts with the short and the long
    list. None can be negative, unless the sensitive item changes how the others are counted, or answers to it are not
    true. The last row tests that none is: the distance of each set from what is possible, generalised moment
    selection, Bonferroni's correction for the two sets.

    **Published p-values** are mostly those of the R package list (`ict.test`): its selection, "spread" here, sets aside
    nearly all positive shares, so that its p-values are smaller. No proof says that it keeps its size; in simulations
    with nobody, or few, having the item it did.

    **Low power**: a test that does not reject shows no absence of a design effect, and false counts that cancel out
    leave no trace (Hatz and Randahl 2024).

    **Do not use when** respondents were drawn or assigned in clusters, strata or with weights: refused.

    References
    ----------
    Blair and Imai (2012), Political Analysis 20. Andrews and Soares (2010), Econometrica 78.

    Examples
    --------
    >>> import gbveval as gbv
    >>> frame = {"count": [1, 2, 1, 2, 2, 3, 1, 2], "list": ["short"] * 4 + ["long"] * 4}
    >>> trial = gbv.Trial(frame, outcome="count", arm="list", control="short")
    >>> answer = ListDesignTest(items=3).estimate(trial)
    >>> answer[-1].term, answer[-1].p_value
    ('no design effect', 1.0)
    """

    items: int
    n_draws: int = 50_000
    selection: str = "standard_error"
    name: ClassVar[str] = "list_design_test"

    def __post_init__(self) -> None:
        check_items(self.items)
        if self.n_draws < 1000:
            raise DesignError(f"n_draws is {self.n_draws}; at least 1,000 are needed, better 50,000.")
        if self.selection not in SELECTIONS:
            raise DesignError(f"selection is one of {', '.join(SELECTIONS)}, not {self.selection!r}.")

    def estimate(self, data: Trial, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return the joint shares and the test for each outcome.

        Parameters
        ----------
        data : Trial
            The lists.
        rng : numpy.random.Generator, optional
            For the weights; by default seeded from data and options.

        Raises
        ------
        DataError
            If a count is not one that its list allows.
        DesignError
            If there are not two lists, or the trial declares clusters, strata, pairs or weights.
        IdentificationError
            If a list has fewer than two counts.
        """
        refuse_roles("ListDesignTest", data)
        require_lists("ListDesignTest", data, self.items)
        seed = derive_seed(data.digest, self.name, repr(options_of(self))) if rng is None else None
        rng = np.random.default_rng(seed) if rng is None else rng
        terms: list[Term] = []
        for outcome, name in enumerate(data.outcome_names):
            used = data.observed(outcome)
            support = count_support(data, outcome, self.items)
            shares = shares_of(data, outcome, self.items)
            n = int(used.sum())
            for row, has in enumerate(("with", "without")):
                for count in range(self.items + 1):
                    error = float(shares.std_error[row, count])
                    terms.append(
                        Term(
                            term=f"count {count}, {has} the sensitive item",
                            estimand=Estimand("prevalence", "share", "participant_average"),
                            outcome=name,
                            value=float(shares.value[row, count]),
                            std_error=error if error > 0.0 else None,
                            n_units=n,
                            support=support,
                            reason="" if error > 0.0 else "nobody, or everybody, counts that few with either list",
                        )
                    )
            constant = not np.any(shares.std_error > 0.0)
            test = design_effect_test(shares, rng=rng, n_draws=self.n_draws, selection=self.selection)
            terms.append(
                Term(
                    term="no design effect",
                    estimand=Estimand("pretest", "none", "participant_average"),
                    outcome=name,
                    value=None,
                    std_error=None,
                    kind="test",
                    statistic=None if constant else float(test.statistic.max()),
                    p_value=None if constant else test.p_value,
                    n_units=n,
                    support=list_support(data, outcome, used),
                    reason="counts do not vary" if constant else "",
                )
            )
        method = Method(
            sample=all_samples(data),
            std_error="binomial, of the difference of two distributions of counts",
            small_sample="none",
            reference="mixture of chi-squares under the least favourable shares near zero (generalised moment "
            "selection), twice the smaller p-value of the two sets",
            inference_for="the population that respondents are a simple random sample of",
            assumptions=("lists were given at random", "respondents are independent"),
            source="Blair and Imai 2012; Andrews and Soares 2010",
        )
        return assemble_terms(self, data, terms, method=method, seed=seed)


def refuse_roles(estimator: str, data: Trial) -> None:
    """Raise DesignError for roles that a method for independent respondents would ignore."""
    require_parallel(estimator, data)
    given = [role for role in ("cluster", "stratum", "pair", "weight") if getattr(data, role) is not None]
    if given:
        raise DesignError(
            f"{estimator} takes respondents as independent and alike; the trial declares {' and '.join(given)}. "
            "ListExperiment takes these roles."
        )

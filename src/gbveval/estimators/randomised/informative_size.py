"""`InformativeSize`: whether the effect over participants differs from the effect over clusters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gbveval.core.errors import DesignError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.method import Check, Method
from gbveval.core.registry import register
from gbveval.data.trial import Trial
from gbveval.estimators._assemble import Row, all_samples, assemble, mean_contrast, require_parallel
from gbveval.estimators.randomised.ancova import Ancova


@register("informative_size")
@dataclass(frozen=True, slots=True)
class InformativeSize:
    """The effect over participants, the effect over clusters, and their difference.

    When large schools or villages respond differently from small ones, cluster size is informative: the two averages
    are different quantities, and mixed models and exchangeable estimating equations estimate neither (Kahan et al.
    2023).

    Notes
    -----
    **Identifies** three quantities; the last row tests whether the two averages are the same. Both are estimated by
    `Ancova` with CR2 errors, and their covariance comes from their influence functions by cluster.

    **Do not use when** the aim is to choose the population by this test: it has little power with few clusters, and
    the population is a question of policy. Not rejecting shows nothing.

    References
    ----------
    Kahan, Li, Copas and Harhay (2023), International Journal of Epidemiology 52. Wang, Turner, Preisser and Li (2022),
    Biostatistics.

    Examples
    --------
    >>> frame = {
    ...     "y": [1.0, 3.0, 2.0, 4.0, 5.0, 7.0, 9.0, 9.0, 8.0],
    ...     "school": ["a", "a", "b", "b", "c", "c", "d", "d", "d"],
    ...     "arm": ["usual"] * 4 + ["new"] * 5,
    ... }
    >>> trial = Trial(frame, outcome="y", arm="arm", control="usual", cluster="school")
    >>> [round(row.value, 4) for row in InformativeSize().estimate(trial).terms]
    [5.1, 4.8333, 0.2667]
    """

    name: ClassVar[str] = "informative_size"

    def estimate(self, data: Trial, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return three rows for each arm and outcome.

        Parameters
        ----------
        data : Trial
            A trial that assigned clusters.
        rng : numpy.random.Generator, optional
            Ignored: nothing is random.

        Raises
        ------
        DesignError
            If there are no clusters.
        """
        if data.cluster is None:
            raise DesignError("InformativeSize compares averages over clusters; the trial declares no cluster.")
        require_parallel("InformativeSize", data)
        people = Ancova().estimate(data)
        clusters = Ancova(population="cluster_average").estimate(data)
        assert people.influence is not None
        assert clusters.influence is not None
        rows: list[Row] = []
        for i in (i for i, row in enumerate(people.terms) if row.estimand.effect == "ITT"):
            a, b = people.terms[i], clusters.terms[i]
            outcome = data.outcome_names.index(a.outcome)
            estimand = Estimand("nuisance", mean_contrast(data, outcome), "cluster_average")
            pair = people.influence[:, i], clusters.influence[:, i]
            parts = (
                (f"{a.term}, participants", a.value, pair[0], a.df, a.estimand),
                (f"{a.term}, clusters", b.value, pair[1], b.df, b.estimand),
                (
                    f"{a.term}, difference",
                    (a.value or 0.0) - (b.value or 0.0),
                    pair[0] - pair[1],
                    min(a.df, b.df),
                    estimand,
                ),
            )
            rows += [
                Row(term, a.outcome, float(value or 0.0), influence, df, what, a.n_units or 0, a.n_clusters, a.support)
                for term, value, influence, df, what in parts
            ]
        return assemble(self, data, rows, method=_method(data), checks=_sizes(data))


def _sizes(data: Trial) -> list[Check]:
    assert data.cluster is not None
    size = np.bincount(data.cluster.codes).astype(float)
    spread = float(size.std() / size.mean())
    text = f"the sizes of the {size.size} clusters have a coefficient of variation of {spread:.2f}."
    return [Check("cluster sizes", "info", text)]


def _method(data: Trial) -> Method:
    return Method(
        sample=all_samples(data),
        std_error="CR2, clustered by the unit of assignment",
        small_sample="CR2 (bias-reduced linearisation, identity working model)",
        reference="t with Satterthwaite degrees of freedom; the smaller of the two for the difference",
        inference_for="the participants, or the clusters, of the trial (conservative)",
        assumptions=(
            "clusters were assigned at random as declared, with one probability",
            "one cluster's assignment does not change another's outcome",
            "outcomes are missing for reasons unrelated to the outcome",
        ),
        source="Kahan, Li, Copas and Harhay 2023",
    )

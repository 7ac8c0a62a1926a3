"""A difference in means of bounded outcomes: one file is all that a contributed estimator needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gbveval.core.errors import DesignError, IdentificationError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.method import Cell, Method
from gbveval.core.provenance import Provenance, options_of, versions
from gbveval.core.registry import register
from gbveval.core.term import Term
from gbveval.data.trial import Trial


@register("capped_difference")
@dataclass(frozen=True, slots=True)
class CappedDifference:
    """Difference in means after capping the outcome at a bound that was fixed before the data were seen.

    A few accounts with thousands of posts can drown everybody else; a cap that is written into the protocol keeps the
    estimand clear: the effect on the outcome up to the cap.

    Parameters
    ----------
    cap : float
        Outcomes above it count as it.
    """

    cap: float = 100.0
    name: ClassVar[str] = "capped_difference"

    def estimate(self, data: Trial, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return the difference between two arms of individually assigned units."""
        if len(data.arms) != 2 or data.cluster is not None or data.stratum is not None or data.pair is not None:
            raise DesignError("CappedDifference is for two arms of units that were assigned one by one.")
        seen = data.observed(0)
        y = np.minimum(data.outcomes[seen, 0], self.cap)
        arms = [y[data.arm[seen] == code] for code in (1, 0)]
        if min(arm.size for arm in arms) < 2:
            raise IdentificationError("An arm has fewer than two observed units; at least two are needed.")
        parts = [arm.var(ddof=1) / arm.size for arm in arms]
        variance = sum(parts)
        flat = not variance > 0
        df = variance**2 / sum(p**2 / (a.size - 1) for p, a in zip(parts, arms, strict=True)) if not flat else np.inf
        row = Term(
            term=f"{data.arms[1]} vs {data.arms[0]}, capped at {self.cap:g}",
            estimand=Estimand("ITT", "mean_difference"),
            outcome=data.outcome_names[0],
            value=float(arms[0].mean() - arms[1].mean()),
            std_error=None if flat else float(np.sqrt(variance)),
            df=float(df),
            n_units=int(seen.sum()),
            support=tuple(
                Cell(label, int(a.size), None, "analysed by arm")
                for label, a in zip(reversed(data.arms), arms, strict=True)
            ),
            reason="the capped outcome does not vary" if flat else "",
        )
        method = Method(
            sample=f"{int(seen.sum()):,} of {data.n:,} randomised units have the outcome",
            std_error="Neyman, separate variances in each arm",
            small_sample="none",
            reference="t with Welch's degrees of freedom",
            inference_for="the participants of the trial (conservative)",
            assumptions=(
                "arms were assigned at random",
                f"the cap of {self.cap:g} was fixed before the data were seen",
            ),
            source="Neyman 1923",
        )
        return Estimates(
            estimator=self.name,
            terms=(row,),
            covariance=np.array([[np.nan if flat else variance]]),
            method=method,
            provenance=Provenance(data.digest, tuple(options_of(self).items()), None, versions()),
            flow=data.flow(),
        )

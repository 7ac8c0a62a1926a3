"""The coefficients of one outcome's generalised linear model, with covariance and degrees of freedom, or a refusal."""

from __future__ import annotations

from gbveval.core.errors import ConvergenceError
from gbveval.estimators._glm_fit import fit_firth, fit_glm
from gbveval.estimators._model_design import Design
from gbveval.estimators._model_rows import Coefficients, degrees_of_freedom, raise_unless_converged
from gbveval.numerics.glm import Family, whiten
from gbveval.numerics.glm_covariance import coefficient_covariance


def fit_coefficients(
    family: Family, design: Design, inference: tuple[str, str], outcome: str, *, firth: bool = False, advice: str = ""
) -> Coefficients:
    """Return the coefficients of a model.

    Parameters
    ----------
    family : Family
        Family and link.
    design : Design
        Rows and columns.
    inference : tuple of str
        Standard error and degrees of freedom.
    outcome : str
        Name of the outcome, for messages.
    firth : bool
        Whether the bias-reduced estimate is asked for.
    advice : str
        What to do about separation.

    Raises
    ------
    IdentificationError
        If the outcome is separated.
    ConvergenceError
        If there is no solution inside the model.
    """
    kind, degrees = inference
    z = design.z
    fitter = fit_firth if firth else fit_glm
    fitted = fitter(family, z, design.y, offset=design.offset, weight=design.weight)
    alternative = " with family 'poisson'" if family.family == "quasipoisson" else ""
    default = f"Merge categories, leave such a column out, or use estimation='firth'{alternative}."
    raise_unless_converged(design, fitted, outcome, advice or default)
    white = whiten(family, z, design.y, fitted.gamma, offset=design.offset, weight=design.weight)
    dispersion = white.dispersion() if family.has_dispersion else 1.0
    found = coefficient_covariance(
        white.design, white.residual, design.basis.to_original, kind, dispersion=dispersion, cluster=design.cluster
    )
    if found is None:
        raise ConvergenceError(
            f"The information of the model of outcome {outcome!r} is singular at its solution. Use fewer covariates, "
            "or merge small categories."
        )
    df = degrees_of_freedom(degrees, kind, design, found.df)
    return Coefficients(design.basis.to_original @ fitted.gamma, found, df, white.mu)

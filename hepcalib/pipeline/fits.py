"""What is fitted to the results of trained models: residual corrections and decorrelators."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hepcalib.exceptions import RunError
from hepcalib.inference import Handle
from hepcalib.pipeline.decorrelators import decorrelated_tagger, ensure_decorrelator, is_learnt
from hepcalib.pipeline.residuals import ensure_residual, is_fitted, residual_path
from hepcalib.pipeline.training import bundle_path

if TYPE_CHECKING:
    from pathlib import Path

    from hepcalib.config import Loaded
    from hepcalib.inference import DecorrelatedTagger

__all__ = ["described_fits", "ensure_fit", "fitted_residuals", "fitted_to", "taggers", "unfitted"]


def unfitted(loaded: Loaded) -> list[str]:
    """Return the names of residuals and decorrelators that are not there for the models as now."""
    residuals = [name for name in loaded.config.residuals if not is_fitted(loaded, name)]
    return residuals + [n for n in loaded.config.decorrelators if not is_learnt(loaded, n)]


def described_fits(loaded: Loaded) -> dict[str, str]:
    """Return in words what each residual and decorrelator is."""
    residuals = {n: f"residual of {r.model}" for n, r in loaded.config.residuals.items()}
    others = {n: f"{d.method} of {d.score}" for n, d in loaded.config.decorrelators.items()}
    return {**residuals, **others}


def fitted_to(loaded: Loaded, name: str) -> tuple[str, ...]:
    """Return the datasets that a residual or decorrelator is fitted to."""
    config = loaded.config
    if name in config.residuals:
        return config.residuals[name].datasets
    return config.decorrelators[name].datasets


def ensure_fit(loaded: Loaded, name: str) -> Path:
    """Return the file of a residual or decorrelator, fitting it first if there is none."""
    is_residual = name in loaded.config.residuals
    return (ensure_residual if is_residual else ensure_decorrelator)(loaded, name)


def fitted_residuals(loaded: Loaded) -> dict[str, Path]:
    """Return the files of all residual corrections.

    Raises:
        RunError: if one is not fitted yet.
    """
    _require(loaded)
    return {name: residual_path(loaded, name) for name in loaded.config.residuals}


def taggers(loaded: Loaded) -> dict[str, Handle | DecorrelatedTagger]:
    """Return the handles of all models and decorrelators.

    Raises:
        RunError: if a decorrelator is not fitted yet.
        BundleError: if one cannot be read.
    """
    _require(loaded)
    models = {name: Handle.of(bundle_path(loaded, name)) for name in loaded.config.models}
    learnt = {name: decorrelated_tagger(loaded, name) for name in loaded.config.decorrelators}
    return {**models, **learnt}


def _require(loaded: Loaded) -> None:
    missing = unfitted(loaded)
    if missing:
        what = "residual" if missing[0] in loaded.config.residuals else "decorrelator"
        msg = f"no up-to-date {what} {', '.join(missing)}; run `hepcalib train` first"
        raise RunError(msg)

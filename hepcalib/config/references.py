"""Names in a configuration: what refers to something must find it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hepcalib.config.schema import ModelConfig
from hepcalib.exceptions import suggestion

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hepcalib.config.documents import Key
    from hepcalib.config.loading import Loaded

__all__ = ["check_references", "unused_address"]


def check_references(loaded: Loaded) -> None:
    """Refuse names that nothing has, and those that two things have.

    Raises:
        ConfigError: naming file, line and key.
    """
    config = loaded.config
    if config.run.address is not None and config.run.executor != "dask":
        raise loaded.error(("run", "address"), unused_address(config.run.executor))
    for name, dataset in config.datasets.items():
        if (dataset.sample is None) == (not dataset.files):
            raise loaded.error(("datasets", name), "needs either 'sample' or 'files'")
        if dataset.files and dataset.layout is None:
            raise loaded.error(("datasets", name), "'files' need a 'layout'")
        if dataset.sample is not None:
            _known(loaded, ("datasets", name, "sample"), dataset.sample, config.samples)
    for name, model in config.models.items():
        for i, used in enumerate(model.datasets if isinstance(model, ModelConfig) else ()):
            _known(loaded, ("models", name, "datasets", i), used, config.datasets)
    for name, scan in config.scans.items():
        _known(loaded, ("scans", name, "model"), scan.model, config.models)
        if name in config.models:
            raise loaded.error(("scans", name), "a model has this name; rename one of them")
    _check_residuals(loaded)
    _check_decorrelators(loaded)
    for name, analysis in config.analyses.items():
        for i, used in enumerate(analysis.datasets):
            _known(loaded, ("analyses", name, "datasets", i), used, config.datasets)
        for role, used in analysis.models.items():
            taggers = {**config.models, **config.scans, **config.decorrelators}
            known = config.residuals if role == "residual" else taggers
            _known(loaded, ("analyses", name, "models", role), used, known)


def unused_address(executor: str) -> str:
    """Return the complaint about the address of a scheduler for an executor that has none."""
    return f"only the executor 'dask' has a scheduler to go to, and the executor is '{executor}'"


def _check_residuals(loaded: Loaded) -> None:
    config = loaded.config
    for name, residual in config.residuals.items():
        _known(loaded, ("residuals", name, "model"), residual.model, config.models)
        for i, used in enumerate(residual.datasets):
            _known(loaded, ("residuals", name, "datasets", i), used, config.datasets)
        if name in {**config.models, **config.scans}:
            raise loaded.error(("residuals", name), "a model or scan has this name; rename one")


def _check_decorrelators(loaded: Loaded) -> None:
    config = loaded.config
    for name, decorrelator in config.decorrelators.items():
        for i, used in enumerate(decorrelator.datasets):
            _known(loaded, ("decorrelators", name, "datasets", i), used, config.datasets)
        if name in {**config.models, **config.scans, **config.residuals}:
            msg = "a model, scan or residual has this name; rename one"
            raise loaded.error(("decorrelators", name), msg)


def _known(loaded: Loaded, key: Key, name: str, known: Mapping[str, object]) -> None:
    if name not in known:
        raise loaded.error(key, f"nothing is named '{name}'. {suggestion(name, known)}")

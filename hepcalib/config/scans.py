"""Scans: copies of a model that differ in one value, of one key or of several."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from hepcalib.config.schema import ModelConfig
from hepcalib.exceptions import ConfigError, suggestion

if TYPE_CHECKING:
    from hepcalib.config.schema import Config

__all__ = ["scan_models", "scanned"]


def scan_models(config: Config, scan: str) -> dict[float, str]:
    """Return the name of the model of each value of a scan, in the order of the values."""
    return {float(value): _name(scan, value) for value in config.scans[scan].values}


def scanned(config: Config, scan: str) -> dict[str, ModelConfig]:
    """Return the models of a scan by name.

    Raises:
        ConfigError: if its model is a bundle, or has no such key or not these values.
    """
    wanted = config.scans[scan]
    model = config.models[wanted.model]
    if not isinstance(model, ModelConfig):
        msg = f"the model '{wanted.model}' is an existing bundle; a scan needs one to train"
        raise ConfigError(msg)
    if len({float(value) for value in wanted.values}) < len(wanted.values):
        msg = f"values: {list(wanted.values)}; needed: each of them once"
        raise ConfigError(msg)
    keys = (wanted.key,) if isinstance(wanted.key, str) else wanted.key
    return {
        _name(scan, value): functools.reduce(lambda m, k: _changed(m, k, value), keys, model)
        for value in wanted.values
    }


def _name(scan: str, value: float) -> str:
    return f"{scan}-{value}".replace(".", "p").replace("+", "")


def _changed(model: ModelConfig, key: str, value: float) -> ModelConfig:
    fields = model.model_dump(mode="json")
    section: Any = fields
    *path, last = key.split(".")
    for step in path:
        section = section.get(step) if isinstance(section, dict) else None
    # A network does not spell out the keywords that it leaves at their defaults.
    if not isinstance(section, dict) or (last not in section and path[:1] != ["network"]):
        known = section if isinstance(section, dict) else fields
        msg = f"key: a model has no '{key}'. {suggestion(last, known)}"
        raise ConfigError(msg)
    section[last] = value
    try:
        return ModelConfig.model_validate(fields)
    except ValidationError as error:
        msg = f"values: {value} for '{key}': {error.errors()[0]['msg']}"
        raise ConfigError(msg) from None

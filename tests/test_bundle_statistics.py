"""The target, the quantity and the location that a bundle is of."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pytest
from pydantic import ValidationError

from hepcalib import bundles, calibration
from hepcalib.calibration import location
from hepcalib.calibration.response import TARGETS
from hepcalib.exceptions import ConfigError
from hepcalib.features import Inputs
from hepcalib.models import MLP, BernoulliHead, NormalHead

if TYPE_CHECKING:
    from pathlib import Path

    from hepcalib.bundles import Bundle


def save(path: Path, *, of: Any = "cluster", head: Any = None, **options: Any) -> Bundle:
    names = {"cluster": "cluster.energy", "jet": "jet.log_pt"}
    inputs = Inputs(features=[names[of]])
    column = np.random.default_rng(1).lognormal(1, 1, 100)
    inputs.fit(inputs.extract({"energy": column} if of == "cluster" else {"pt": column}))
    model = MLP(features=1, hidden=(), head=head or NormalHead())
    keywords: Any = {"kind": "response", "name": "model", **options}
    return bundles.save(path, model, inputs, object=of, **keywords)


def test_the_names_are_those_of_the_calibration() -> None:
    assert sorted(get_args(bundles.Target)) == sorted(TARGETS)
    assert sorted(get_args(bundles.Location)) == sorted(location.LOCATIONS)
    assert all(callable(getattr(calibration, name)) for name in ("target", "to_response"))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("where", location.LOCATIONS)
def test_statistics_come_back_or_are_refused(tmp_path: Path, target: Any, where: Any) -> None:
    if where.startswith("response_") and target != "log10_response":
        with pytest.raises(ConfigError, match=f"'{where}' with target '{target}'"):
            save(tmp_path / "model", target=target, location=where)
        assert not (tmp_path / "model").exists()
        return
    save(tmp_path / "model", target=target, location=where)
    spec = bundles.load(tmp_path / "model").spec
    assert (spec.target, spec.location, spec.quantity) == (target, where, "energy")


@pytest.mark.parametrize(
    ("of", "quantity", "expected"),
    [
        ("cluster", None, "energy"),
        ("cluster", "energy", "energy"),
        ("jet", None, "pt"),
        ("jet", "energy", "energy"),
        ("jet", "mass", "mass"),
    ],
)
def test_the_quantity_is_written_down(
    tmp_path: Path, of: str, quantity: Any, expected: str
) -> None:
    assert save(tmp_path / "model", of=of, quantity=quantity).spec.quantity == expected


def test_a_tagger_has_no_quantity(tmp_path: Path) -> None:
    bundle = save(tmp_path / "tagger", head=BernoulliHead(), kind="tagger")
    assert bundle.spec.quantity is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "log_response"}, "unknown target 'log_response'"),
        ({"location": "peak"}, "unknown location 'peak'"),
        ({"quantity": "mass"}, "a cluster has no 'mass'"),
        ({"of": "jet", "quantity": "charge"}, "a jet has no 'charge'"),
    ],
)
def test_what_is_unknown_is_refused_before_it_is_written(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        save(tmp_path / "model", **options)
    assert not (tmp_path / "model").exists()


def test_a_bundle_without_a_target_is_of_the_logarithm(tmp_path: Path) -> None:
    """Those written before a target could be chosen."""
    path = save(tmp_path / "model").path
    fields = json.loads((path / "bundle.json").read_bytes())
    for name in ("target", "quantity", "sha256"):
        del fields[name]
    spec = bundles.BundleSpec.model_validate(fields)
    assert (spec.target, spec.quantity) == ("log10_response", None)
    with pytest.raises(ValidationError, match="target"):
        bundles.BundleSpec.model_validate({**fields, "target": "truth"})

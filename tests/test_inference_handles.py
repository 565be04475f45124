"""Handles: one model per process, the right one, on every worker."""

from __future__ import annotations

import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from hepcalib import bundles, inference
from hepcalib.exceptions import BundleError, HepcalibError
from hepcalib.features import Inputs
from hepcalib.inference import Handle, predict
from hepcalib.models import MLP, Bayesian, MixtureHead

if TYPE_CHECKING:
    from pathlib import Path

    import awkward as ak

    from hepcalib.bundles import Bundle


def clusters() -> dict[str, Any]:
    random = np.random.default_rng(60)
    return {"energy": random.lognormal(0, 1, 100), "mu": random.uniform(0, 80, 100)}


def save(path: Path, *, location: Any = "median") -> Bundle:
    inputs = Inputs(features=["cluster.energy", "cluster.mu"])
    inputs.fit(inputs.extract(clusters()))
    model = Bayesian(MLP(features=2, hidden=(16,), head=MixtureHead()), draws=8)
    return bundles.save(
        path, model, inputs, kind="response", object="cluster", name="c", location=location
    )


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return save(tmp_path / "clusters")


def assert_close(first: ak.Array, second: ak.Array) -> None:
    assert first.fields == second.fields
    for name in first.fields:
        assert np.allclose(first[name], second[name], rtol=1e-5, atol=1e-7), name


def test_model_is_loaded_once_per_process(bundle: Bundle) -> None:
    handle = Handle.of(bundle.path)
    assert handle == Handle(path=str(bundle.path), sha256=bundle.sha256)
    before = inference.loads()
    expected = predict(bundle, clusters())
    assert inference.loads() == before
    for same in (handle, pickle.loads(pickle.dumps(handle)), bundle.path, str(bundle.path)):
        assert_close(predict(same, clusters()), expected)
    assert inference.loads() == before + 1


def test_worker_processes_load_once_and_agree(bundle: Bundle) -> None:
    handle = Handle.of(bundle.path)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=spawn) as pool:
        results = [
            pool.submit(predict, handle, clusters(), device="cpu", threads=1).result()
            for _ in range(3)
        ]
        assert pool.submit(inference.loads).result() == 1
    for result in results:
        assert_close(result, predict(bundle, clusters(), device="cpu"))


def test_replaced_and_missing_bundles_are_refused(bundle: Bundle, tmp_path: Path) -> None:
    handle = Handle.of(bundle.path)
    save(bundle.path, location="mode")
    with pytest.raises(BundleError, match=f"{handle.sha256} was asked for") as caught:
        predict(handle, clusters())
    assert isinstance(pickle.loads(pickle.dumps(caught.value)), HepcalibError)
    with pytest.raises(BundleError, match="cannot be read"):
        predict(tmp_path / "nowhere", clusters())

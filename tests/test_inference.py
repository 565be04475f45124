from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import awkward as ak
import numpy as np
import pytest
import torch

from hepcalib import bundles, inference
from hepcalib.exceptions import ConfigError, DataError
from hepcalib.features import CATALOGUE, Inputs
from hepcalib.features.clusters import FEATURES
from hepcalib.inference import predict
from hepcalib.models import MLP, PFN, Bayesian, BernoulliHead, MixtureHead, NormalHead

if TYPE_CHECKING:
    from pathlib import Path

    from hepcalib.batch import Batch
    from hepcalib.bundles import Bundle
    from hepcalib.models import Head, Model

CLUSTER_KEYS = [f"cluster.{feature.name}" for feature in FEATURES]
CONSTITUENT_KEYS = ["constituent.delta_eta", "constituent.delta_phi", "constituent.log_pt"]
ROWS = 300


def clusters(rows: int = ROWS) -> dict[str, Any]:
    random = np.random.default_rng(50)
    return {
        CATALOGUE[key].needs[0]: random.lognormal(0, 0.5, rows).astype(np.float32)
        for key in CLUSTER_KEYS
    }


def jets(rows: int = ROWS) -> Any:
    random = np.random.default_rng(51)
    counts = random.integers(0, 30, rows)
    items = int(counts.sum())
    constituents = ak.zip(
        {
            "pt": random.exponential(5.0, items) + 0.1,
            "eta": random.normal(0, 1, items),
            "phi": random.uniform(-3, 3, items),
        }
    )
    return ak.zip(
        {
            "pt": random.uniform(20, 200, rows),
            "eta": random.normal(0, 1, rows),
            "phi": random.uniform(-3, 3, rows),
            "constituents": ak.unflatten(constituents, counts),
        },
        depth_limit=1,
    )


def lively(model: Model) -> Model:
    """Return the model with outputs that differ between objects, as those of a trained one."""
    torch.manual_seed(52)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.3)
    return model


def cluster_bundle(path: Path, *, head: Head | None = None, **options: Any) -> Bundle:
    inputs = Inputs(features=CLUSTER_KEYS)
    inputs.fit(inputs.extract(clusters()))
    plain = lively(MLP(features=15, hidden=(16,), head=head or MixtureHead()))
    model = Bayesian(plain, draws=8, initial_log_variance=-4.0)
    keywords = {"kind": "response", "location": "median", **options}
    return bundles.save(path, model, inputs, object="cluster", name="clusters", **keywords)


def jet_bundle(path: Path, *, head: Head, kind: Any) -> Bundle:
    inputs = Inputs(features=["jet.eta"], constituents=CONSTITUENT_KEYS)
    inputs.fit(inputs.extract(jets()))
    plain = lively(PFN(constituents=3, features=1, phi=(16, 16), f=(16,), head=head))
    return bundles.save(
        path, Bayesian(plain, draws=5), inputs, kind=kind, object="jet", name="jets"
    )


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return cluster_bundle(tmp_path / "clusters")


@pytest.fixture
def tagger(tmp_path: Path) -> Bundle:
    return jet_bundle(tmp_path / "tagger", head=BernoulliHead(), kind="tagger")


def part(columns: dict[str, Any], rows: Any) -> dict[str, Any]:
    return {name: column[rows] for name, column in columns.items()}


def assert_close(first: ak.Array, second: ak.Array) -> None:
    assert first.fields == second.fields
    for name in first.fields:
        np.testing.assert_allclose(
            ak.to_numpy(first[name]).astype(float),
            ak.to_numpy(second[name]).astype(float),
            rtol=1e-5,
            atol=1e-7,
            err_msg=name,
        )


def test_response_fields_and_their_relations(bundle: Bundle) -> None:
    result = predict(bundle, clusters())
    assert tuple(result.fields) == inference.RESPONSE_FIELDS
    assert str(result.type).startswith(f"{ROWS} * {{response: float64")
    assert str(result.in_range.type) == f"{ROWS} * bool"
    for name in ("stat", "syst", "tot"):
        sigma = math.log(10) * result.response * result[f"target_sigma_{name}"]
        assert np.allclose(result[f"sigma_{name}"], sigma, rtol=1e-12)
        assert ak.all(sigma > 0)
    total = np.hypot(result.sigma_stat, result.sigma_syst)
    assert np.allclose(result.sigma_tot, total, rtol=1e-5)
    assert 0.9 < ak.mean(result.in_range) <= 1


def test_response_of_normal_members_has_its_closed_form(tmp_path: Path) -> None:
    bundle = cluster_bundle(tmp_path / "normal", head=NormalHead(), location="mean")
    result = predict(bundle, clusters())
    with torch.no_grad():
        raw = bundle.model.member_outputs(bundle.inputs(bundle.inputs.extract(clusters())))
    means, variances = raw[..., 0].double().numpy(), np.exp(raw[..., 1].double().numpy())
    assert np.allclose(result.target_mean, means.mean(axis=0), rtol=1e-5)
    assert np.allclose(result.response, 10 ** means.mean(axis=0), rtol=1e-5)
    assert np.allclose(result.target_sigma_stat, means.std(axis=0), rtol=1e-4)
    assert np.allclose(result.target_sigma_syst, np.sqrt(variances.mean(axis=0)), rtol=1e-5)


@pytest.mark.parametrize("location", ["mean", "median", "mode"])
def test_location_is_that_of_the_pooled_mixture(tmp_path: Path, location: Any) -> None:
    bundle = cluster_bundle(tmp_path / location, location=location)
    few = part(clusters(), slice(0, 3))
    found = np.log10(ak.to_numpy(predict(bundle, few).response))
    step = 1e-3
    grid = torch.arange(-15, 15, step, dtype=torch.float64)
    with torch.no_grad():
        raw = bundle.model.member_outputs(bundle.inputs(bundle.inputs.extract(few))).double()
        densities = bundle.model.head(raw.unsqueeze(2)).log_prob(grid).exp().mean(dim=0)
    assert densities.sum(dim=1).numpy() * step == pytest.approx(np.ones(3), abs=1e-6)
    for row, density in enumerate(densities):
        expected = {
            "mean": (density * grid).sum().item() * step,
            "median": grid[(density.cumsum(0) * step >= 0.5).nonzero()[0]].item(),
            "mode": grid[density.argmax()].item(),
        }
        assert found[row] == pytest.approx(expected[location], abs=2 * step)


def test_tagger_score_is_the_mean_over_members(tagger: Bundle) -> None:
    result = predict(tagger, jets())
    assert tuple(result.fields) == inference.TAGGER_FIELDS
    with torch.no_grad():
        raw = tagger.model.member_outputs(tagger.inputs(tagger.inputs.extract(jets())))
    scores = torch.sigmoid(raw.double().squeeze(-1)).numpy()
    assert np.allclose(result.score, scores.mean(axis=0), rtol=1e-5)
    assert np.allclose(result.score_stat, scores.std(axis=0), rtol=1e-4)
    logits = raw.double().squeeze(-1).numpy()
    assert np.allclose(result.logit_mean, logits.mean(axis=0), rtol=1e-5)
    assert np.allclose(result.logit_stat, logits.std(axis=0), rtol=1e-4)
    assert ak.all((result.score > 0) & (result.score < 1) & (result.score_stat > 0))


@pytest.mark.parametrize("block", [1, 7, 100, 10_000])
def test_results_do_not_depend_on_blocks(bundle: Bundle, tagger: Bundle, block: int) -> None:
    assert_close(predict(bundle, clusters(), block=block), predict(bundle, clusters()))
    assert_close(predict(tagger, jets(), block=block), predict(tagger, jets()))


def test_results_do_not_depend_on_chunks_and_neighbours(bundle: Bundle, tagger: Bundle) -> None:
    order = np.random.default_rng(53).permutation(ROWS)[:100]
    assert_close(predict(bundle, part(clusters(), order)), predict(bundle, clusters())[order])
    assert_close(predict(tagger, jets()[order]), predict(tagger, jets())[order])
    chunks = [predict(tagger, jets()[start : start + 70]) for start in range(0, ROWS, 70)]
    assert_close(ak.concatenate(chunks), predict(tagger, jets()))


def test_a_plain_network_depends_on_neither(tmp_path: Path) -> None:
    """Its constituents are summed in blocks of their own, in memory that is used again."""
    model = lively(PFN(constituents=3, phi=(16, 16), f=(16,), head=BernoulliHead()))
    inputs = Inputs(constituents=CONSTITUENT_KEYS)
    inputs.fit(inputs.extract(jets()))
    plain = bundles.save(
        tmp_path / "plain", model, inputs, kind="tagger", object="jet", name="plain"
    )
    expected = predict(plain, jets())
    assert len(np.unique(ak.to_numpy(expected.score))) > ROWS / 2  # the control: jets differ
    for block in (1, 50, 700):
        assert_close(predict(plain, jets(), block=block), expected)
    chunks = [predict(plain, jets()[start : start + 70]) for start in range(0, ROWS, 70)]
    assert_close(ak.concatenate(chunks), expected)
    order = np.random.default_rng(54).permutation(ROWS)[:100]
    assert_close(predict(plain, jets()[order]), expected[order])


def test_a_result_follows_its_inputs(bundle: Bundle) -> None:
    """The negative control of the tests above: another object has another result."""
    result = predict(bundle, clusters())
    assert len(np.unique(ak.to_numpy(result.response))) == ROWS


@pytest.mark.parametrize("counts", [[100, 0, 199, 1], [0, 0, 300], [1] * 300])
def test_events_keep_their_structure(tagger: Bundle, counts: list[int]) -> None:
    result = predict(tagger, ak.unflatten(jets(), counts))
    assert ak.num(result).tolist() == counts
    assert_close(ak.flatten(result), predict(tagger, jets()))


def test_nothing_gives_nothing(bundle: Bundle, tagger: Bundle) -> None:
    flat = predict(bundle, clusters(0))
    assert len(flat) == 0
    assert str(flat.type).startswith("0 * {response: float64")
    events = predict(tagger, ak.unflatten(jets(0), [0, 0]))
    assert events.tolist() == [[], []]
    assert str(events.type).startswith("2 * var * {score: float64, score_stat: float64, logit_mean")


def test_jets_without_constituents_have_a_result(tagger: Bundle) -> None:
    empty = jets()[ak.num(jets().constituents) == 0]
    assert len(empty) > 0
    assert np.isfinite(ak.to_numpy(predict(tagger, empty).score)).all()


def test_errors_say_where(bundle: Bundle, tagger: Bundle) -> None:
    columns = clusters()
    columns["mu"] = columns["mu"].copy()
    columns["mu"][17] = np.nan
    with pytest.raises(DataError, match=r"^a.root:0-300: feature 'cluster.mu' .* row 17: nan"):
        predict(bundle, columns, where="a.root:0-300")
    with pytest.raises(DataError, match=r"^feature 'cluster.mu'"):
        predict(bundle, columns)
    with pytest.raises(DataError, match=r"^b.root: column 'phi' is missing"):
        predict(tagger, jets()[["pt", "eta", "constituents"]], where="b.root")


def test_results_that_are_not_finite_are_refused(bundle: Bundle) -> None:
    with torch.no_grad():
        next(bundle.model.parameters()).fill_(math.nan)
    with pytest.raises(
        DataError, match=r"^c.root: predicted response is not positive and finite for 300"
    ):
        predict(bundle, clusters(), where="c.root")


def test_threads_are_those_asked_for_and_restored(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, seen = torch.get_num_threads(), []

    def spy(_: Inputs, batch: Batch) -> torch.Tensor:
        seen.append(torch.get_num_threads())
        return torch.ones(batch.rows, dtype=torch.bool)

    monkeypatch.setattr(Inputs, "in_range", spy)
    predict(bundle, clusters(), threads=before + 1)
    assert seen == [before + 1]
    assert torch.get_num_threads() == before


class Hungry(MLP):
    """A model that runs out of memory beyond some rows, and counts how often it was asked."""

    rows, calls = 60, 0

    def outputs(self, batch: Batch) -> torch.Tensor:
        Hungry.calls += 1
        if batch.rows > Hungry.rows:
            msg = "CUDA out of memory"
            raise torch.OutOfMemoryError(msg)
        return super().outputs(batch)


def test_blocks_are_halved_when_memory_runs_out(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = lively(Hungry(features=15, hidden=(16,), head=MixtureHead()))
    hungry = replace(bundle, model=model)
    result = predict(hungry, clusters())
    # 300 and 150 and 75 fail, then eight blocks of at most 37
    assert Hungry.calls == 3 + math.ceil(ROWS / 37)
    assert_close(result, predict(hungry, clusters(), block=10))
    monkeypatch.setattr(Hungry, "rows", 0)
    with pytest.raises(torch.OutOfMemoryError):
        predict(hungry, clusters())


def test_impossible_requests_are_refused(bundle: Bundle) -> None:
    with pytest.raises(ConfigError, match="block is 0"):
        predict(bundle, clusters(), block=0)
    with pytest.raises(ConfigError, match="unknown device 'gpu'"):
        predict(bundle, clusters(), device="gpu")
    with pytest.raises(ConfigError, match="threads is 0"):
        predict(bundle, clusters(), threads=0)


def test_predictions_leave_the_model_trainable(bundle: Bundle) -> None:
    """Inference tensors must not stay behind in caches of the model."""
    predict(bundle, clusters())
    bundle.model.requires_grad_(requires_grad=True)
    batch = bundle.inputs(bundle.inputs.extract(clusters()))
    bundle.model.train()(batch).log_prob(torch.zeros(ROWS)).sum().backward()
    assert all(parameter.grad is not None for parameter in bundle.model.parameters())

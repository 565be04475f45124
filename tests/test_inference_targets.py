"""What a prediction means: targets, locations, quantities, intervals and densities by hand."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import awkward as ak
import numpy as np
import pytest
import torch
from scipy.stats import norm

from hepcalib import bundles, inference
from hepcalib.exceptions import ConfigError, DataError
from hepcalib.features import Inputs
from hepcalib.inference import Handle, mixtures, predict, resident
from hepcalib.models import (
    MLP,
    Bayesian,
    BernoulliHead,
    Conformal,
    DeepEnsemble,
    Dropout,
    Evidential,
    EvidentialHead,
    FlowLikelihood,
    GaussianAnsatz,
    GeneralisedInversion,
    InversionHead,
    Labelled,
    Laplace,
    LogNormalHead,
    MixtureHead,
    Model,
    NormalHead,
    RepulsiveEnsemble,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from hepcalib.bundles import Bundle

    Array = NDArray[np.float64]

ROWS = 60
ONE_SIGMA = 0.6826894921370859


def clusters(rows: int = ROWS, *, seed: int = 70) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    return {"energy": random.lognormal(1, 1, rows), "mu": random.uniform(5, 80, rows)}


def jets(rows: int = ROWS) -> ak.Array:
    random = np.random.default_rng(71)
    return ak.zip(
        {
            "pt": random.uniform(20, 200, rows),
            "eta": random.uniform(-2, 2, rows),
            "mass": random.uniform(2, 30, rows),
        }
    )


def mlp(head: Any, *, centre: float = 0.0) -> MLP:
    """A network whose outputs vary from row to row."""
    torch.manual_seed(72)
    model = MLP(features=2, hidden=(16,), head=head)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.3)
        list(model.parameters())[-1][:1] += centre
    return model


def save(path: Path, model: Model, *, of: str = "cluster", **options: Any) -> Bundle:
    names = ["cluster.energy", "cluster.mu"] if of == "cluster" else ["jet.log_pt", "jet.eta"]
    inputs = Inputs(features=names)
    inputs.fit(inputs.extract(clusters() if of == "cluster" else jets()))
    keywords: Any = {"kind": "response", "object": of, "name": "model", **options}
    return bundles.save(path, model, inputs, **keywords)


def normals(bundle: Bundle, columns: Any) -> tuple[Array, Array]:
    """Means and deviations of the normal members, (members, rows)."""
    with torch.no_grad():
        raw = bundle.model.member_outputs(bundle.inputs(bundle.inputs.extract(columns))).double()
    return raw[..., 0].numpy(), raw[..., 1].mul(0.5).exp().numpy()


def quantile(means: Array, deviations: Array, probability: float) -> Array:
    """The quantile of the pooled mixture, by bisection."""
    low, high = (means - 9 * deviations).min(0), (means + 9 * deviations).max(0)
    for _ in range(60):
        middle = 0.5 * (low + high)
        below = norm.cdf((middle - means) / deviations).mean(0) < probability
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return np.asarray(0.5 * (low + high))


def ends_of(means: Array, deviations: Array) -> tuple[Array, Array]:
    tail = (1 - ONE_SIGMA) / 2
    return quantile(means, deviations, tail), quantile(means, deviations, 1 - tail)


def bayesian(**options: Any) -> Bayesian:
    return Bayesian(mlp(NormalHead(), **options), draws=6, initial_log_variance=-4.0)


@pytest.mark.parametrize("target", ["log10_response", "response", "log10_truth"])
def test_every_field_by_hand(tmp_path: Path, target: Any) -> None:
    bundle = save(tmp_path / "model", bayesian(centre=1.0), target=target)
    columns = clusters()
    found = predict(bundle, columns)
    means, deviations = normals(bundle, columns)
    stat, syst = means.std(0), np.sqrt((deviations**2).mean(0))
    low, high = ends_of(means, deviations)
    median = quantile(means, deviations, 0.5)
    if target == "response":
        response, slope = median, np.ones(ROWS)
    elif target == "log10_response":
        response, low, high = 10**median, 10**low, 10**high
        slope = math.log(10) * response
    else:
        measured = columns["energy"]
        response, low, high = measured / 10**median, measured / 10**high, measured / 10**low
        slope = math.log(10) * response
    expected = {
        "response": response,
        "target_mean": means.mean(0),
        "target_sigma_stat": stat,
        "target_sigma_syst": syst,
        "target_sigma_tot": np.hypot(stat, syst),
        "sigma_stat": slope * stat,
        "sigma_syst": slope * syst,
        "sigma_tot": slope * np.hypot(stat, syst),
        "interval_low": low,
        "interval_high": high,
    }
    assert set(expected) | {"in_range"} == set(found.fields)
    for name, values in expected.items():
        # single precision: 1e-6 of the mean, over a spread of about a tenth of it
        np.testing.assert_allclose(found[name], values, rtol=1e-4, err_msg=name)
    assert (found.interval_low < found.interval_high).to_numpy().all()


@pytest.mark.parametrize("location", ["response_mean", "response_mode"])
def test_locations_of_the_response_itself(tmp_path: Path, location: Any) -> None:
    bundle = save(tmp_path / "model", bayesian(), location=location)
    columns = clusters(4)
    found = predict(bundle, columns).response.to_numpy()
    means, deviations = normals(bundle, columns)
    log10 = np.linspace(-12, 12, 240_001)[:, None, None]
    density = norm.pdf(log10, means, deviations).mean(1)  # of log10 R, (points, rows)
    response = 10 ** log10[:, 0]
    if location == "response_mean":
        expected = (density * response).sum(0) / density.sum(0)
    else:
        expected = response[(density / response).argmax(0), 0]
    np.testing.assert_allclose(found, expected, rtol=3e-4)  # the step of the grid
    other = save(tmp_path / "other", bayesian())
    assert not np.allclose(predict(other, columns).response, found, rtol=1e-2)


def test_a_density_of_the_response_may_be_log_normal(tmp_path: Path) -> None:
    model = mlp(LogNormalHead())
    for location in ("median", "mean", "mode"):
        bundle = save(tmp_path / location, model, target="response", location=location)
        found = predict(bundle, clusters())
        with torch.no_grad():
            members = bundle.model.members(bundle.inputs(bundle.inputs.extract(clusters())))
        expected = getattr(members, location)[0] if location != "median" else None
        if expected is None:
            expected = members.icdf(torch.tensor(0.5))[0]
        np.testing.assert_allclose(found.response, expected.double().numpy(), rtol=1e-4)
        np.testing.assert_allclose(found.sigma_tot, members.stddev[0].double(), rtol=1e-4)
    bundle = save(tmp_path / "wrong", model, location="response_mean")
    with pytest.raises(ConfigError, match="response_mean: a distribution of R, LogNormal"):
        predict(bundle, clusters())


@pytest.mark.parametrize("quantity", [None, "pt", "energy", "mass"])
def test_the_measured_value_is_that_of_the_quantity(tmp_path: Path, quantity: Any) -> None:
    model = bayesian(centre=1.0)
    bundle = save(tmp_path / "model", model, of="jet", target="log10_truth", quantity=quantity)
    assert bundle.spec.quantity == (quantity or "pt")
    found, columns = predict(bundle, jets()), jets()
    energy = np.sqrt((columns.pt * np.cosh(columns.eta)) ** 2 + columns.mass**2)
    measured = {"energy": energy, "mass": columns.mass}.get(quantity, columns.pt)
    means, deviations = normals(bundle, columns)
    expected = measured / 10 ** quantile(means, deviations, 0.5)
    np.testing.assert_allclose(found.response, expected, rtol=1e-4)
    if quantity in {"energy", "mass"}:
        with pytest.raises(DataError, match="column 'mass' is missing"):
            predict(bundle, columns[["pt", "eta"]])


def test_a_measured_value_that_is_not_positive_is_refused(tmp_path: Path) -> None:
    columns = {**clusters(), "energy": np.where(np.arange(ROWS) == 7, 0.0, 5.0)}
    truth = save(tmp_path / "truth", bayesian(), target="log10_truth")
    with pytest.raises(DataError, match=r"^a\.root: the measured energy is not.* in row 7: 0\.0"):
        predict(truth, columns, where="a.root")


def methods() -> dict[str, Callable[[], Model]]:
    return {
        "DeepEnsemble": lambda: DeepEnsemble(mlp(MixtureHead()), members=4),
        "RepulsiveEnsemble": lambda: RepulsiveEnsemble(mlp(NormalHead()), members=4),
        "Dropout": lambda: Dropout(mlp(MixtureHead()), draws=4),
        "Evidential": lambda: Evidential(mlp(EvidentialHead()), nodes=3),
        "Laplace": lambda: Laplace(mlp(NormalHead()), draws=4),
        "FlowLikelihood": lambda: FlowLikelihood(
            features=2, head=NormalHead(), transforms=1, hidden=(8,)
        ),
        "GaussianAnsatz": lambda: GaussianAnsatz(mlp(NormalHead()), warmup=0),
        "GeneralisedInversion": lambda: GeneralisedInversion(mlp(InversionHead(knots=4))),
        "Conformal": lambda: Conformal(Bayesian(mlp(MixtureHead()), draws=4), groups=2),
        "Conformal ensemble": lambda: Conformal(DeepEnsemble(mlp(NormalHead()), members=4)),
    }


@pytest.mark.parametrize("name", methods())
def test_every_method_goes_through_a_bundle(tmp_path: Path, name: str) -> None:
    torch.manual_seed(73)
    model = methods()[name]().eval()
    inputs = Inputs(features=["cluster.energy", "cluster.mu"])
    inputs.fit(inputs.extract(clusters()))
    sample = Labelled(inputs(inputs.extract(clusters())), torch.randn(ROWS))
    model.finish(sample, sample)
    bundle = save(tmp_path / "model", model, target="log10_truth")
    fresh = predict(bundle, clusters())
    found = predict(Handle.of(bundle.path), clusters())
    with torch.no_grad():
        members = model.members(sample.batch)
    assert members.batch_shape[1] == ROWS
    variance = members.variance.double().mean(0) + members.mean.double().var(0, correction=0)
    np.testing.assert_allclose(found.target_mean, members.mean.double().mean(0), rtol=1e-4)
    np.testing.assert_allclose(found.target_sigma_tot, variance.sqrt(), rtol=1e-4)
    for field in found.fields:
        np.testing.assert_array_equal(found[field], fresh[field])
    order = np.random.default_rng(74).permutation(ROWS)[:20]
    some = predict(bundle, {key: values[order] for key, values in clusters().items()}, block=3)
    for field in found.fields:
        np.testing.assert_allclose(some[field], found[field][order], rtol=1e-4, err_msg=field)
    assert len(predict(bundle, clusters(0))) == 0


def test_a_conformal_interval_comes_back_from_the_bundle(tmp_path: Path) -> None:
    inputs = Inputs(features=["cluster.energy", "cluster.mu"])
    inputs.fit(inputs.extract(clusters()))
    plain = bayesian()
    with torch.no_grad():
        predicted = plain.eval().members(inputs(inputs.extract(clusters(1000, seed=75))))
    far = predicted.mean.mean(0) + 3 * predicted.stddev.mean(0) * torch.randn(
        1000, generator=torch.Generator().manual_seed(76)
    )
    sample = Labelled(inputs(inputs.extract(clusters(1000, seed=75))), far)
    model = Conformal(plain, level=0.9).eval()
    unfitted = save(tmp_path / "unfitted", model)
    with pytest.raises(ConfigError, match="the interval is not fitted"):
        predict(unfitted, clusters())
    model.finish(sample, sample)
    found = predict(save(tmp_path / "model", model), clusters(1000, seed=75))
    usual = predict(save(tmp_path / "usual", plain), clusters(1000, seed=75))
    values = 10 ** far.double().numpy()
    inside = (values >= found.interval_low) & (values <= found.interval_high)
    # the rows of the fit: rank ceil(0.9 * 1001) = 901 of 1000, the last one to rounding
    assert abs(int(np.sum(inside)) - 901) <= 1
    narrow = (values >= usual.interval_low) & (values <= usual.interval_high)
    assert np.mean(narrow) < 0.5  # the control: widths that are three times too small
    for name in set(found.fields) - {"interval_low", "interval_high"}:
        np.testing.assert_array_equal(found[name], usual[name])


@pytest.mark.parametrize("head", [NormalHead(), MixtureHead(3)])
def test_densities_are_those_of_the_prediction(tmp_path: Path, head: Any) -> None:
    bundle = save(tmp_path / "model", Bayesian(mlp(head), draws=5))
    found, columns = mixtures(bundle, clusters()), predict(bundle, clusters())
    components = 5 * (3 if isinstance(head, MixtureHead) else 1)
    assert found.weights.shape == found.means.shape == found.deviations.shape
    assert found.weights.shape == (ROWS, components)
    assert found.weights.dtype == np.float64
    np.testing.assert_allclose(found.weights.sum(1), 1.0, rtol=1e-6)
    mean = (found.weights * found.means).sum(1)
    square = (found.weights * (found.means**2 + found.deviations**2)).sum(1)
    np.testing.assert_allclose(mean, columns.target_mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(np.sqrt(square - mean**2), columns.target_sigma_tot, rtol=1e-4)
    assert mixtures(Handle.of(bundle.path), clusters(0)).weights.shape == (0, components)


def test_densities_do_not_depend_on_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = save(tmp_path / "model", bayesian())
    expected = mixtures(bundle, clusters())
    monkeypatch.setattr("hepcalib.inference.densities._BLOCK", 7)
    for part, whole in zip(mixtures(bundle, clusters())[:3], expected[:3], strict=True):
        np.testing.assert_allclose(part, whole, rtol=1e-5, atol=1e-6)


def test_densities_of_something_else_are_refused(tmp_path: Path) -> None:
    tagger = save(tmp_path / "tagger", mlp(BernoulliHead()), kind="tagger")
    with pytest.raises(ConfigError, match="model 'model' is a tagger; needed: a response model"):
        mixtures(tagger, clusters())
    student = save(tmp_path / "student", mlp(EvidentialHead()))
    for function in (mixtures, predict):
        with pytest.raises(ConfigError, match="Evidence; needed: Normal"):
            function(student, clusters())
    bundle = save(tmp_path / "model", bayesian())
    columns = {**clusters(), "mu": np.full(ROWS, np.nan)}
    with pytest.raises(DataError, match=r"^b\.root: feature 'cluster.mu' is not finite"):
        mixtures(bundle, columns, where="b.root")


def test_a_feature_outside_of_the_training_sample_is_flagged(tmp_path: Path) -> None:
    bundle = save(tmp_path / "model", bayesian())
    columns = clusters()
    columns["mu"][[3, 8]] = [300.0, -20.0]
    columns["energy"][11] = 1e5
    found = predict(bundle, columns)
    inside = found.in_range.to_numpy()
    assert not inside[[3, 8, 11]].any()
    # the two ends of each of the two features are at the edge of the 99.98 % range
    assert inside.sum() >= ROWS - 3 - 4
    assert np.isfinite(found.response.to_numpy()).all()


def test_a_resident_bundle_is_one_object_per_place(tmp_path: Path) -> None:
    bundle = save(tmp_path / "model", bayesian())
    before = inference.loads()
    first = resident(Handle.of(bundle.path), device="cpu")
    assert resident(str(bundle.path), device="cpu") is first
    assert resident(bundle, device="cpu") is bundle
    assert inference.loads() == before + 1
    assert first.sha256 == bundle.sha256
    assert not first.model.training
    np.testing.assert_array_equal(
        predict(first, clusters(), device="cpu").response,
        predict(bundle, clusters(), device="cpu").response,
    )

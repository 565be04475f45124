from __future__ import annotations

from typing import TYPE_CHECKING, Any

import awkward as ak
import numpy as np
import pytest

from hepcalib import ntuples
from hepcalib.config import ModelConfig
from hepcalib.exceptions import TrainingError
from hepcalib.pipeline.learnable import (
    flat_weights,
    learnable,
    needed_columns,
    ranges,
    validation_mask,
    within_ranges,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from hepcalib.config import Loaded

    Load = Callable[..., Loaded]
    Write = Callable[..., Path]


def model(**changes: Any) -> ModelConfig:
    fields: dict[str, Any] = {
        "kind": "tagger",
        "object": "jet",
        "datasets": ["jets"],
        "inputs": {"features": ["jet.eta"], "constituents": ["constituent.log_pt"]},
        "network": {"name": "PFN", "head": {"name": "BernoulliHead"}},
        **changes,
    }
    return ModelConfig.model_validate(fields)


def response(**changes: Any) -> ModelConfig:
    return model(
        kind="response", network={"name": "PFN", "head": {"name": "NormalHead"}}, **changes
    )


@pytest.fixture
def jets(loaded: Load, jet_file: Write, tmp_path: Path) -> Loaded:
    """A dataset of two files with 48 jets each, and the next 48 with other event numbers."""
    files = []
    for number in range(2):
        event = np.arange(32, dtype=np.int64) + 32 * number
        files.append(jet_file(tmp_path / f"{number}.root", seed=number, event=event))
    return loaded(datasets={"jets": {"files": [str(f) for f in files], "layout": "flat_jets"}})


def read(loaded: Loaded, column: str) -> NDArray[np.float64]:
    files = loaded.config.datasets["jets"].files
    parts = [ntuples.read(file, "flat_jets")[column].to_list() for file in files]
    return np.array([value for part in parts for event in part for value in event], np.float64)


def chi2_per_bin(pt: NDArray[np.float64], weight: NDArray[np.float64]) -> float:
    """Departure from a flat spectrum, in units of what it is if the spectrum is flat."""
    sums, edges = np.histogram(pt, bins=8, range=(220, 560), weights=weight)
    squares, _ = np.histogram(pt, bins=edges, weights=weight**2)
    return float(np.mean((sums - sums.mean()) ** 2 / squares))


def test_flat_weights_are_flat_in_each_class() -> None:
    random = np.random.default_rng(10)
    background = random.random(20_000) < 0.7
    pt = np.where(
        background, 200 + random.exponential(80, 20_000), random.uniform(200, 600, 20_000)
    )
    inside = pt < 600
    pt, background = pt[inside], background[inside]
    weight = flat_weights(pt, background)
    for rows in (background, ~background):
        # Eight bins of a mean chi2 of 1 with a standard deviation of 0.5; bins of the weights that
        # are not those of the histogram, and within which the spectrum still falls, add to it.
        assert chi2_per_bin(pt[rows], weight[rows]) < 4
    assert weight[background].sum() == pytest.approx(weight[~background].sum(), rel=1e-9)
    # The control: the background is far from flat without weights.
    assert chi2_per_bin(pt[background], np.ones(background.sum())) > 100


def test_flat_weights_without_classes() -> None:
    pt = 200 + np.random.default_rng(11).exponential(60, 5000)
    weight = flat_weights(pt, None)
    assert np.all(weight >= 0)
    assert np.all(np.isfinite(weight))
    assert weight[pt > 350].mean() > 3 * weight[pt < 250].mean()


@pytest.mark.parametrize("fraction", [0.1, 0.5])
def test_validation_takes_whole_events(fraction: float) -> None:
    event = np.repeat(np.arange(40_000), 3)
    mask = validation_mask(event, fraction).reshape(-1, 3)
    assert np.all(mask == mask[:, :1])
    width = np.sqrt(fraction * (1 - fraction) / 40_000)
    assert mask.mean() == pytest.approx(fraction, abs=4 * width)
    # Neighbouring events are independent: a run of equal choices tells nothing about the next.
    both = (mask[1:, 0] & mask[:-1, 0]).mean()
    assert both == pytest.approx(fraction**2, abs=4 * fraction / np.sqrt(40_000))


def test_validation_grows_with_its_fraction() -> None:
    event = np.arange(1000)
    assert np.all(validation_mask(event, 0.2) <= validation_mask(event, 0.3))


def test_tagger_learns_signal_from_background(jets: Loaded) -> None:
    found = learnable(jets, model())
    label = read(jets, "label")
    assert found.target.tolist() == label.tolist()
    assert found.background is not None
    assert np.array_equal(found.background, label == 0)
    assert (found.weight, found.nuisance) == (None, None)
    assert found.identity.tolist() == read(jets, "event").tolist()


def test_only_background_and_the_chosen_signal(
    loaded: Load, jet_file: Write, tmp_path: Path
) -> None:
    labels = [[0, 1, 2, -1], [2, 0]]
    path = jet_file(tmp_path / "jets.root", counts=[4, 2], Jet_label=labels)
    config = loaded(datasets={"jets": {"files": [str(path)], "layout": "flat_jets"}})
    found = learnable(config, model(signal=2))
    assert found.target.tolist() == [0.0, 1.0, 1.0, 0.0]
    assert found.identity.tolist() == [0, 0, 1, 1]
    with pytest.raises(TrainingError, match="none of 6 jets can be used: they need the label 0"):
        learnable(config, model(signal=2, mass_range=[0, 1]))


def test_low_ends_of_ranges_belong_to_them() -> None:
    both = {"pt_range": [200.0, 400.0], "mass_range": [50.0, 100.0]}
    objects = ak.Array(
        {
            "pt": [200.0, 400.0, 300.0, 300.0, 199.0],
            "softdrop_mass": [50.0, 60.0, 100.0, 99.0, 60.0],
        }
    )
    assert ranges(model(**both)) == {"pt": (200.0, 400.0), "softdrop_mass": (50.0, 100.0)}
    assert within_ranges(objects, model(**both)).tolist() == [True, False, False, True, False]
    assert ranges(model()) == {}
    assert within_ranges(objects, model()).all()


def test_mass_range_and_nuisance(jets: Loaded) -> None:
    penalty = {"name": "distance_correlation", "nuisance": "softdrop_mass", "strength": 1.0}
    found = learnable(jets, model(mass_range=[100, 200], penalty=penalty))
    mass = read(jets, "softdrop_mass")
    expected = mass[(mass >= 100) & (mass < 200)]
    assert found.nuisance is not None
    assert found.nuisance[:, 0].tolist() == pytest.approx(expected.tolist(), rel=1e-6)


def test_response_of_matched_jets(loaded: Load, jet_file: Write, tmp_path: Path) -> None:
    links = [[0, -1, 1], [1, -1]]
    path = jet_file(tmp_path / "jets.root", counts=[3, 2], Jet_genJetIdx=links)
    config = loaded(datasets={"jets": {"files": [str(path)], "layout": "flat_jets"}})
    found = learnable(config, response())
    jets = ntuples.read(path, "flat_jets")
    pairs = [(0, 0), (0, 2), (1, 0)]
    expected = [np.log10(jets.pt[e, i] / jets.gen_pt[e, i]) for e, i in pairs]
    assert found.target.tolist() == pytest.approx(expected, abs=1e-6)
    assert found.background is None


def test_response_of_clusters_with_energy(
    loaded: Load, cluster_file: Write, tmp_path: Path
) -> None:
    truth = np.where(np.arange(60) < 10, 0.0, 5.0)
    energy = np.where(np.arange(60) >= 55, -0.5, 4.0)
    path = cluster_file(tmp_path / "c.root", cluster_ENG_CALIB_TOT=truth, clusterE=energy)
    config = loaded(datasets={"clusters": {"files": [str(path)], "layout": "cluster_tree"}})
    inputs = {"features": ["cluster.energy"]}
    found = learnable(config, response(object="cluster", datasets=["clusters"], inputs=inputs))
    assert found.target.tolist() == pytest.approx([np.log10(0.8)] * 45, abs=1e-6)


def test_weights(jets: Loaded) -> None:
    event = learnable(jets, model(weights="event")).weight
    assert event is not None
    assert event.tolist() == pytest.approx(read(jets, "weight").tolist(), rel=1e-6)
    flat = learnable(jets, model(weights="flat_pt")).weight
    assert flat is not None
    assert flat.tolist() == pytest.approx(
        flat_weights(read(jets, "pt"), read(jets, "label") == 0).tolist(), rel=1e-5
    )


@pytest.mark.parametrize("power", [-1.0, 0.5, 2.0])
@pytest.mark.parametrize("weights", ["none", "event"])
def test_weights_for_another_spectrum(jets: Loaded, power: float, weights: str) -> None:
    config = response(spectrum_power=power, weights=weights)
    found = learnable(jets, config)
    matched = read(jets, "matched") > 0
    expected = read(jets, "gen_pt")[matched] ** power
    if weights == "event":
        expected *= read(jets, "weight")[matched]
    assert found.weight is not None
    np.testing.assert_allclose(found.weight, expected, rtol=1e-5)
    mass = learnable(jets, response(spectrum_power=power, quantity="mass")).weight
    assert mass is not None
    np.testing.assert_allclose(mass, read(jets, "gen_mass")[matched] ** power, rtol=1e-5)


def test_no_power_is_no_weight(jets: Loaded) -> None:
    assert learnable(jets, response(spectrum_power=0.0)).weight is None


@pytest.mark.parametrize("quantity", ["pt", "mass"])
def test_targets(jets: Loaded, quantity: Any) -> None:
    matched = read(jets, "matched") > 0
    measured, true = (read(jets, f"{part}{quantity}")[matched] for part in ("", "gen_"))
    for target, expected in (
        ("log10_response", np.log10(measured / true)),
        ("response", measured / true),
        ("log10_truth", np.log10(true)),
    ):
        found = learnable(jets, response(target=target, quantity=quantity)).target
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_needed_columns() -> None:
    penalty = {"name": "distance_correlation", "nuisance": "trimmed_mass", "strength": 1.0}
    found = needed_columns(model(penalty=penalty, mass_range=[50, 300], weights="flat_pt"))
    expected = {"event", "eta", "constituents.pt", "label", "softdrop_mass", "trimmed_mass", "pt"}
    assert found == expected
    mass = needed_columns(response(quantity="mass"))
    assert mass >= {"matched", "gen_mass", "mass"}
    assert not mass & {"gen_pt", "pt"}
    energy = needed_columns(response(quantity="energy", target="log10_truth"))
    assert energy >= {"gen_pt", "gen_eta", "gen_mass", "pt", "eta", "mass"}
    assert needed_columns(response(weights="event")) >= {"matched", "gen_pt", "pt", "weight"}

from __future__ import annotations

import pickle
from typing import Any

import awkward as ak
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from hepcalib.batch import Batch
from hepcalib.exceptions import ConfigError, DataError, ShapeError
from hepcalib.features import CATALOGUE, Inputs
from hepcalib.features.clusters import FEATURES
from hepcalib.ragged import Ragged

Columns = dict[str, NDArray[np.float32]]

CLUSTER_KEYS = [f"cluster.{feature.name}" for feature in FEATURES]
JET_KEYS = [key for key in CATALOGUE if key.startswith("jet.")]
CONSTITUENT_KEYS = [key for key in CATALOGUE if key.startswith("constituent.")]


@pytest.fixture
def cluster_inputs(clusters: Columns) -> Inputs:
    inputs = Inputs(features=CLUSTER_KEYS)
    return inputs.fit(inputs.extract(clusters))


@pytest.fixture
def jet_inputs(jets: Any) -> Inputs:
    inputs = Inputs(features=JET_KEYS, constituents=CONSTITUENT_KEYS)
    return inputs.fit(inputs.extract(jets))


def features_of(batch: Batch) -> torch.Tensor:
    assert batch.features is not None
    return batch.features


def constituents_of(batch: Batch) -> Ragged:
    assert batch.constituents is not None
    return batch.constituents


def test_extract_keeps_order_and_float32(clusters: Columns) -> None:
    batch = Inputs(features=["cluster.mu", "cluster.energy"]).extract(clusters)
    assert batch.constituents is None
    assert features_of(batch).dtype == torch.float32
    expected = np.stack([clusters["mu"], clusters["energy"]], axis=1)
    assert np.array_equal(features_of(batch).numpy(), expected)


@pytest.mark.parametrize(
    ("names", "dtype"),
    [(["log_pt", "delta_eta"], torch.float32)]
    + [(["log_pt", name], torch.float64) for name in ("energy", "px", "py", "pz")],
)
def test_components_of_momenta_are_in_double_precision(
    jets: Any, names: list[str], dtype: torch.dtype
) -> None:
    keys = [f"constituent.{name}" for name in names]
    inputs = Inputs(features=["jet.eta"], constituents=keys)
    raw = inputs.fit(inputs.extract(jets)).extract(jets)
    assert features_of(raw).dtype == torch.float32
    assert constituents_of(raw).values.dtype == constituents_of(inputs(raw)).values.dtype == dtype
    exact = CATALOGUE[keys[1]].compute(inputs.table(jets))
    assert np.array_equal(constituents_of(raw).values[:, 1], torch.from_numpy(exact).to(dtype))
    assert inputs.in_range(raw).all()


def test_extract_flattens_events_of_jets(jets: Any) -> None:
    inputs = Inputs(features=JET_KEYS, constituents=CONSTITUENT_KEYS)
    events = ak.unflatten(jets, [100, 0, 299, 1])
    flat, jagged = inputs.extract(jets), inputs.extract(events)
    assert torch.equal(features_of(flat), features_of(jagged))
    assert torch.equal(constituents_of(flat).values, constituents_of(jagged).values)
    assert torch.equal(constituents_of(flat).offsets, constituents_of(jagged).offsets)


def test_extract_does_not_depend_on_neighbours(jets: Any) -> None:
    inputs = Inputs(features=JET_KEYS, constituents=CONSTITUENT_KEYS)
    rows = np.array([399, 7, 3, 3])
    some, all_ = inputs.extract(jets[rows]), inputs.extract(jets)
    chosen = all_.select(torch.from_numpy(rows))
    assert torch.equal(features_of(some), features_of(chosen))
    assert torch.equal(constituents_of(some).values, constituents_of(chosen).values)


def test_needs_are_sufficient_and_necessary(jets: Any) -> None:
    inputs = Inputs(features=["jet.abs_eta"], constituents=["constituent.delta_phi"])
    assert inputs.needs == {"eta", "phi", "constituents.phi", "constituents.pt"}
    fields = [name.partition(".")[2] for name in inputs.needs if "." in name]
    reduced = ak.zip(
        {"eta": jets["eta"], "phi": jets["phi"], "constituents": jets["constituents"][fields]},
        depth_limit=1,
    )
    assert inputs.extract(reduced).rows == len(jets)
    with pytest.raises(DataError, match="column 'phi' is missing"):
        inputs.extract(reduced[["eta", "constituents"]])


@pytest.mark.parametrize(("value", "shown"), [(np.nan, "nan"), (np.inf, "inf"), (1e39, "1e+39")])
def test_non_finite_features_name_feature_row_value_count(value: float, shown: str) -> None:
    energy = np.array([1.0, 2.0, value, value])
    message = rf"'cluster.energy' is not finite for 2 of 4, first in row 2: {shown}".replace(
        "+", r"\+"
    )
    with pytest.raises(DataError, match=message):
        Inputs(features=["cluster.energy"]).extract({"energy": energy})


@pytest.mark.parametrize("pt", [0.0, -1.0, np.nan])
def test_constituents_without_positive_pt_are_refused(jets: Any, pt: float) -> None:
    few = jets[5:9]  # the third one is empty
    values = ak.flatten(few["constituents", "pt"]).to_numpy().copy()
    first = int(ak.num(few["constituents"])[0] + ak.num(few["constituents"])[1])
    values[first + 4] = pt
    broken = ak.with_field(
        few, ak.unflatten(values, ak.num(few["constituents"])), ("constituents", "pt")
    )
    with pytest.raises(DataError, match=rf"1 of .* row 3 \(constituent 4\): {pt}"):
        Inputs(constituents=["constituent.delta_eta"]).extract(broken)


def test_non_finite_constituents_name_jet_and_constituent(jets: Any) -> None:
    few = jets[:2]
    eta = ak.flatten(few["constituents", "eta"]).to_numpy().copy()
    eta[-1] = np.nan
    broken = ak.with_field(
        few, ak.unflatten(eta, ak.num(few["constituents"])), ("constituents", "eta")
    )
    last = int(ak.num(few["constituents"])[1]) - 1
    with pytest.raises(DataError, match=rf"delta_eta'.*row 1 \(constituent {last}\): nan"):
        Inputs(constituents=["constituent.delta_eta"]).extract(broken)


def test_jet_without_momentum_is_refused() -> None:
    with pytest.raises(DataError, match=r"'jet.log_pt' is not finite for 1 of 2.*-inf, from pt"):
        Inputs(features=["jet.log_pt"]).extract({"pt": np.array([1.0, 0.0])})


def test_every_transformed_input_has_a_width_of_one(
    jet_inputs: Inputs, cluster_inputs: Inputs, jets: Any, clusters: Columns
) -> None:
    transformed = jet_inputs(jet_inputs.extract(jets))
    as_it_is = ({"name": "Identity"},)
    numbers = [key for key in CONSTITUENT_KEYS if CATALOGUE[key].transforms != as_it_is]
    columns = [CONSTITUENT_KEYS.index(key) for key in numbers]
    constituents = constituents_of(transformed).values[:, columns]
    clusters_ = features_of(cluster_inputs(cluster_inputs.extract(clusters)))
    for values in (features_of(transformed), constituents, clusters_):
        assert torch.allclose(values.float().std(dim=0), torch.tensor(1.0), atol=0.01)
        assert torch.allclose(values.float().mean(dim=0), torch.tensor(0.0), atol=1e-4)


def test_constants_travel_with_the_state(cluster_inputs: Inputs, clusters: Columns) -> None:
    assert not Inputs(**cluster_inputs.config).fitted
    again = Inputs(**cluster_inputs.config)
    again.load_state_dict(cluster_inputs.state_dict())
    assert again.fitted
    batch = again.extract(clusters)
    assert torch.equal(features_of(again(batch)), features_of(cluster_inputs(batch)))
    assert torch.equal(again.in_range(batch), cluster_inputs.in_range(batch))


def test_pickled_inputs_are_the_same(jet_inputs: Inputs, jets: Any) -> None:
    again = pickle.loads(pickle.dumps(jet_inputs))
    batch = again.extract(jets)
    assert torch.equal(features_of(again(batch)), features_of(jet_inputs(batch)))


def test_in_range_of_objects(cluster_inputs: Inputs, clusters: Columns) -> None:
    inside = cluster_inputs.in_range(cluster_inputs.extract(clusters))
    # At most 2e-4 of the clusters per feature leave the central 99.98 %, and a few do.
    assert 1 - 15 * 2e-4 <= float(inside.float().mean()) < 1
    low, high = cluster_inputs.ranges[CLUSTER_KEYS.index("cluster.mu")].tolist()
    assert (low, high) == (clusters["mu"].min(), clusters["mu"].max())
    typical = {name: np.full(3, np.median(column)) for name, column in clusters.items()}
    typical["energy"] = np.array([5.0, 1e5, 5.0])
    typical["mu"] = np.array([30.0, 30.0, 200.0])
    flags = cluster_inputs.in_range(cluster_inputs.extract(typical))
    assert flags.tolist() == [True, False, False]


def test_in_range_of_constituents(jets: Any) -> None:
    inputs = Inputs(constituents=CONSTITUENT_KEYS)
    raw = inputs.extract(jets)
    inputs.fit(raw)
    assert inputs.in_range(raw).all()
    values = constituents_of(raw).values.clone()
    offsets = constituents_of(raw).offsets
    values[int(offsets[4]), 0] = 50.0
    assert (~inputs.in_range(Batch(constituents=Ragged(values, offsets)))).nonzero().tolist() == [
        [4]
    ]
    # the parts of a batch may be slices of a longer one
    part = Batch(constituents=Ragged(values, offsets)).select(slice(3, 6))
    assert inputs.in_range(part).tolist() == [True, False, True]


def test_nothing_is_in_range_before_the_fit(clusters: Columns) -> None:
    inputs = Inputs(features=CLUSTER_KEYS)
    assert not inputs.in_range(inputs.extract(clusters)).any()


def test_small_samples_are_in_their_own_range(clusters: Columns) -> None:
    inputs = Inputs(features=CLUSTER_KEYS)
    few = inputs.extract({name: column[:50] for name, column in clusters.items()})
    assert inputs.fit(few).in_range(few).all()


def test_no_rows_give_an_empty_batch(jet_inputs: Inputs, jets: Any) -> None:
    raw = jet_inputs.extract(jets[:0])
    transformed = jet_inputs(raw)
    assert features_of(transformed).shape == (0, len(JET_KEYS))
    assert constituents_of(transformed).values.shape == (0, len(CONSTITUENT_KEYS))
    assert jet_inputs.in_range(raw).shape == (0,)


def test_fit_on_nothing_names_the_feature(clusters: Columns) -> None:
    inputs = Inputs(features=["cluster.mu"])
    empty = inputs.extract({"mu": clusters["mu"][:0]})
    with pytest.raises(DataError, match=r"'cluster.mu'.*empty column"):
        inputs.fit(empty)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"features": ["cluster.enregy"]}, "Did you mean 'cluster.energy'"),
        ({"features": ["constituent.log_pt"]}, "a feature of each constituent; needed"),
        ({"constituents": ["jet.log_pt"]}, "a feature of each object; needed"),
        ({"features": ["jet.eta", "jet.eta"]}, "listed twice: jet.eta"),
        ({"features": ["jet.eta", "cluster.mu"]}, "describe cluster and jet"),
        ({"features": ["cluster.mu"], "constituents": ["constituent.log_pt"]}, "cluster and jet"),
        ({}, "describe nothing"),
    ],
)
def test_wrong_inputs_are_refused(keywords: dict[str, list[str]], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Inputs(**keywords)


def test_batches_of_other_inputs_are_refused(cluster_inputs: Inputs) -> None:
    with pytest.raises(ShapeError, match=r"\(3, None\); needed: \(15, None\)"):
        cluster_inputs(Batch(features=torch.zeros(2, 3)))

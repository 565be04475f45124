from __future__ import annotations

from typing import TYPE_CHECKING, Any

import awkward as ak
import numpy as np
import pytest
import torch

from hepcalib import bundles
from hepcalib.exceptions import ConfigError, DataError
from hepcalib.features import Inputs
from hepcalib.interpretation import attention_profile, neighbour_distances
from hepcalib.models import PFN, Bayesian, BernoulliHead, DeepEnsemble
from hepcalib.models.gn2 import GN2
from hepcalib.models.particle_net_lite import ParticleNetLite

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hepcalib.bundles import Bundle
    from hepcalib.models import Model

KEYS = ["constituent.rapidity_offset", "constituent.azimuth_offset", "constituent.log_pt"]


@pytest.fixture
def bundle(tmp_path: Path, jets: Callable[..., ak.Array]) -> Callable[[Model], Bundle]:
    inputs = Inputs(constituents=KEYS)
    inputs.fit(inputs.extract(jets()))

    def save(model: Model) -> Bundle:
        return bundles.Bundle(
            model=model.eval(),
            inputs=inputs,
            spec=bundles.save(
                tmp_path / "plain",
                PFN(constituents=3, phi=(4,), f=(4,), head=BernoulliHead()),
                inputs,
                kind="tagger",
                object="jet",
                name="test",
            ).spec,
            sha256="",
            path=tmp_path,
        )

    return save


def gn2(**changed: Any) -> GN2:
    torch.manual_seed(4)
    sizes: dict[str, Any] = {"embed": (8, 8), "heads": 2, "blocks": 1, "pooled": 8, "f": (8,)}
    return GN2(constituents=3, **{**sizes, **changed}, head=BernoulliHead())


def test_equal_attention_is_one_everywhere(
    bundle: Callable[[Model], Bundle], jets: Callable[..., ak.Array]
) -> None:
    model = gn2()
    with torch.no_grad():
        model.gate.weight.zero_()
    found = attention_profile(bundle(model), jets(), ranks=8)
    known = np.isfinite(found.by_rank)
    assert known.sum() >= 8
    np.testing.assert_allclose(found.by_rank[known], 1.0, rtol=1e-5)
    np.testing.assert_allclose(found.by_distance[np.isfinite(found.by_distance)], 1.0, rtol=1e-5)
    assert found.jets == int(ak.sum(ak.num(jets().constituents) > 0))


def test_attention_is_put_in_its_rank_and_bin(
    bundle: Callable[[Model], Bundle], jets: Callable[..., ak.Array]
) -> None:
    sample, model = jets(), gn2()
    loaded, edges = bundle(model), (0.0, 0.1, 0.3)
    found = attention_profile(loaded, sample, ranks=2, edges=edges)
    with torch.no_grad():
        weights = model.attention(loaded.inputs(loaded.inputs.extract(sample))).values.numpy()
    counts = ak.num(sample.constituents)
    share = ak.unflatten(weights, counts) * counts
    order = ak.argsort(sample.constituents.pt, axis=1, ascending=False)
    second = share[order][counts > 1][:, 1]
    assert found.by_rank[1] == pytest.approx(np.mean(second), rel=1e-6)
    error = np.std(second, ddof=1) / np.sqrt(len(second))
    assert found.by_rank_error[1] == pytest.approx(error, rel=1e-6)
    phi = np.mod(sample.constituents.phi - sample.phi + np.pi, 2 * np.pi) - np.pi
    distance = np.hypot(sample.constituents.eta - sample.eta, phi)
    inside = (distance >= 0.1) & (distance < 0.3)
    means = ak.mean(share[inside][ak.any(inside, axis=1)], axis=1)
    assert found.by_distance[1] == pytest.approx(np.mean(means), rel=1e-6)
    assert found.by_rank[0] != pytest.approx(found.by_rank[1], rel=1e-4)


def test_attention_of_a_bayesian_model_is_that_of_its_means(
    bundle: Callable[[Model], Bundle], jets: Callable[..., ak.Array]
) -> None:
    plain = attention_profile(bundle(gn2()), jets())
    wrapped = attention_profile(bundle(Bayesian(gn2(), draws=2)), jets())
    np.testing.assert_allclose(wrapped.by_rank, plain.by_rank, rtol=1e-5)


def test_models_without_attention_or_of_many_networks_are_refused(
    bundle: Callable[[Model], Bundle], jets: Callable[..., ak.Array]
) -> None:
    pfn = PFN(constituents=3, phi=(4,), f=(4,), head=BernoulliHead())
    with pytest.raises(ConfigError, match="PFN has no attention"):
        attention_profile(bundle(pfn), jets())
    with pytest.raises(ConfigError, match="PFN has no edge convolutions"):
        neighbour_distances(bundle(pfn), jets())
    with pytest.raises(ConfigError, match="DeepEnsemble has several networks; attention are those"):
        attention_profile(bundle(DeepEnsemble(gn2(), members=2)), jets())
    empty = jets()[ak.num(jets().constituents) == 0]
    with pytest.raises(DataError, match=r"none of \d+ jets has constituents"):
        attention_profile(bundle(gn2()), empty)


def particle_net(k: int) -> ParticleNetLite:
    torch.manual_seed(5)
    return ParticleNetLite(
        constituents=3, k=k, edge_conv=((4, 4), (4,)), f=(4,), head=BernoulliHead()
    )


def mean_of_nearest(sample: ak.Array, inputs: Inputs, k: int) -> float:
    """Mean distance of the k nearest in the plane of the first two columns, by a slow loop."""
    distances: list[float] = []
    constituents = inputs.extract(sample).constituents
    assert constituents is not None
    for row in constituents.tolist():
        at = np.array(row)[:, :2] if row else np.empty((0, 2))
        for place in range(len(at)):
            others = np.sort(np.hypot(*(np.delete(at, place, axis=0) - at[place]).T))
            distances += others[:k].tolist()
    return float(np.mean(distances))


def test_distances_of_the_first_convolution_are_those_of_the_nearest(
    bundle: Callable[[Model], Bundle], jets: Callable[..., ak.Array]
) -> None:
    sample, loaded = jets(200), bundle(particle_net(2))
    found = neighbour_distances(loaded, sample, parts=10)
    assert found.distance[0] == pytest.approx(mean_of_nearest(sample, loaded.inputs, 2), rel=1e-5)
    assert found.distance[1] > found.distance[0]  # untrained: near in something else
    assert np.all(found.distance_error > 0.0)
    assert found.jets == 200


def test_all_others_are_neighbours_where_k_is_large(
    bundle: Callable[[Model], Bundle], jets: Callable[..., ak.Array]
) -> None:
    sample, loaded = jets(100), bundle(particle_net(20))
    found = neighbour_distances(loaded, sample, parts=5)
    expected = mean_of_nearest(sample, loaded.inputs, 20)
    np.testing.assert_allclose(found.distance, expected, rtol=1e-5)


@pytest.mark.parametrize("parts", [1, 11])
def test_parts_that_cannot_be_made_are_refused(
    bundle: Callable[[Model], Bundle], jets: Callable[..., ak.Array], parts: int
) -> None:
    with pytest.raises(ConfigError, match=f"parts is {parts}; needed: 2 to the number of jets, 10"):
        neighbour_distances(bundle(particle_net(2)), jets(10), parts=parts)

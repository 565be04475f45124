"""Scores of jets that are boosted, or whose constituents are split, from columns to results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import awkward as ak
import numpy as np
import pytest
import torch

from hepcalib import bundles
from hepcalib.features import Inputs, extraction
from hepcalib.inference import predict
from hepcalib.models import EFN, PFN, BernoulliHead, LorentzNet

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray

    from hepcalib.bundles import Bundle
    from hepcalib.models import Model

    Floats = NDArray[np.float64]
    Precision = type[np.floating[Any]]

MOMENTA = [f"constituent.{name}" for name in ("energy", "px", "py", "pz")]
MASS = 0.14  # GeV
COUNTS = np.random.default_rng(60).integers(1, 25, 40)


class Constituents(NamedTuple):
    """Those of all jets, one after the other."""

    vectors: Floats  # E, px, py, pz [GeV], (items, 4)
    mass: Floats  # [GeV]
    counts: NDArray[np.int64]  # of each jet

    @property
    def rows(self) -> NDArray[np.int64]:
        return np.repeat(np.arange(len(self.counts)), self.counts)


def constituents() -> Constituents:
    random = np.random.default_rng(61)
    items = int(COUNTS.sum())
    pt = 1 + random.exponential(15, items)
    eta = np.repeat(random.normal(0, 1, len(COUNTS)), COUNTS) + random.normal(0, 0.3, items)
    phi = np.repeat(random.uniform(-3, 3, len(COUNTS)), COUNTS) + random.normal(0, 0.3, items)
    px, py, pz = pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)
    energy = np.sqrt(px**2 + py**2 + pz**2 + MASS**2)
    return Constituents(np.stack([energy, px, py, pz], axis=1), np.full(items, MASS), COUNTS)


def columns(given: Constituents, dtype: Precision) -> ak.Array:
    """The jets of these constituents, as an ntuple has them."""
    _, px, py, pz = given.vectors.T
    pt = np.hypot(px, py)
    parts = {"pt": pt, "eta": np.arcsinh(pz / pt), "phi": np.arctan2(py, px), "mass": given.mass}
    items = ak.zip({name: values.astype(dtype) for name, values in parts.items()})
    phi = np.arctan2(np.bincount(given.rows, py), np.bincount(given.rows, px))
    jets = {"phi": phi.astype(dtype), "constituents": ak.unflatten(items, given.counts)}
    return ak.zip(jets, depth_limit=1)


def transformation(gamma: float, seed: int) -> Floats:
    """A rotation after a boost in any direction, for rows of E, px, py, pz: (4, 4)."""
    random = np.random.default_rng(seed)
    direction = random.normal(size=3)
    direction /= np.linalg.norm(direction)
    boost, rotation = np.eye(4), np.eye(4)
    boost[0, 0] = gamma
    boost[0, 1:] = boost[1:, 0] = np.sqrt(gamma**2 - 1) * direction
    boost[1:, 1:] += (gamma - 1) * np.outer(direction, direction)
    q, r = np.linalg.qr(random.normal(size=(3, 3)))
    rotation[1:, 1:] = q * np.sign(np.diag(r))
    matrix: Floats = (rotation @ boost).T
    return matrix


def moved(given: Constituents, gamma: float, seed: int) -> Constituents:
    return given._replace(vectors=given.vectors @ transformation(gamma, seed))


def split(given: Constituents, share: float) -> Constituents:
    """Each constituent as two in its direction, with these shares of its momentum and mass."""
    shares = np.tile([share, 1 - share], len(given.mass))
    vectors = np.repeat(given.vectors, 2, axis=0) * shares[:, np.newaxis]
    return Constituents(vectors, np.repeat(given.mass, 2) * shares, 2 * given.counts)


def emitted(given: Constituents, momentum: float) -> Constituents:
    """With another constituent beside each, of this transverse momentum [GeV] and without mass."""
    random = np.random.default_rng(63)
    eta, phi = random.normal(0, 1, (2, len(given.mass)))
    soft = np.stack([np.cosh(eta), np.cos(phi), np.sin(phi), np.sinh(eta)], axis=1) * momentum
    vectors = np.stack([given.vectors, soft], axis=1).reshape(-1, 4)
    mass = np.stack([given.mass, np.zeros_like(given.mass)], axis=1).ravel()
    return Constituents(vectors, mass, 2 * given.counts)


def saved(path: Path, model: Model, names: list[str]) -> Bundle:
    """A network in single precision, whose weights and running values all matter."""
    torch.manual_seed(62)
    with torch.no_grad():
        for name, value in [*model.eval().named_parameters(), *model.named_buffers()]:
            spread = 0.3 * torch.randn_like(value)
            positive = value.dim() == 1 and not name.endswith(("bias", "mean"))
            value.copy_(1 + spread.abs() if positive else spread)
    inputs = Inputs(constituents=names)
    raw = inputs.extract(columns(constituents(), np.float64))
    inputs.fit(raw)
    *_, last = [part for part in model.modules() if isinstance(part, torch.nn.Linear)]
    with torch.no_grad():  # logits around 0, so that scores are not at 0 or 1
        logits = model.outputs(inputs(raw))
        last.weight.div_(logits.std())
        last.bias.copy_((last.bias - logits.mean()) / logits.std())
    return bundles.save(path, model, inputs, kind="tagger", object="jet", name="random")


def change(tagger: Bundle, others: Iterable[Constituents], dtype: Precision) -> float:
    """Largest change of a score or logit over the spread of these."""
    first = predict(tagger, columns(constituents(), dtype))
    found = [0.0]
    for other in others:
        again = predict(tagger, columns(other, dtype))
        found += [
            np.abs(ak.to_numpy(again[name] - first[name])).max() / np.std(first[name])
            for name in ("score", "logit_mean")
        ]
    assert np.std(first["score"]) > 0.1
    return float(max(found))


def frames(gamma: float) -> list[Constituents]:
    return [moved(constituents(), gamma, seed) for seed in range(10)]


def splittings() -> list[Constituents]:
    return [split(constituents(), 0.5), split(constituents(), 0.03), emitted(constituents(), 1e-9)]


@pytest.fixture
def lorentz_net(tmp_path: Path) -> Bundle:
    model = LorentzNet(constituents=4, hidden=8, blocks=3, head=BernoulliHead())
    return saved(tmp_path / "tagger", model, MOMENTA)


@pytest.mark.parametrize("gamma", [1.0, 1.5, 5.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_score_from_invariants_is_invariant(
    lorentz_net: Bundle, gamma: float, dtype: Precision
) -> None:
    assert {value.dtype for value in lorentz_net.model.parameters()} == {torch.float32}
    assert change(lorentz_net, frames(gamma), dtype) < 1e-4


def test_with_momenta_in_single_precision_it_is_not(
    lorentz_net: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extraction, "_dtype", lambda _keys: np.float32)
    assert change(lorentz_net, frames(5.0), np.float64) > 1e-3


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_safe_score_stays_when_constituents_are_split_or_emitted(
    tmp_path: Path, dtype: Precision
) -> None:
    efn = EFN(phi=(8, 8), f=(8,), head=BernoulliHead())
    pfn = PFN(constituents=3, phi=(8, 8), f=(8,), head=BernoulliHead())
    safe, other = (
        saved(tmp_path / type(model).__name__, model, list(EFN.leading)) for model in (efn, pfn)
    )
    # Scores from random weights differ little between jets: rounding is large in units of that.
    assert change(safe, splittings(), dtype) < 1e-4
    assert all(change(other, [jets], dtype) > 0.1 for jets in splittings())

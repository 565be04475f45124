"""Scores of jets that are rotated and boosted, from their columns to the results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import awkward as ak
import numpy as np
import pytest
import torch

from hepcalib import bundles
from hepcalib.features import Inputs, extraction
from hepcalib.inference import predict
from hepcalib.models import BernoulliHead, LorentzNet

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from hepcalib.bundles import Bundle

    Floats = NDArray[np.float64]

MOMENTA = [f"constituent.{name}" for name in ("energy", "px", "py", "pz")]
MASS = 0.14  # GeV
COUNTS = np.random.default_rng(60).integers(1, 25, 40)


def momenta() -> Floats:
    """E, px, py, pz [GeV] of all constituents, (items, 4)."""
    random = np.random.default_rng(61)
    items = int(COUNTS.sum())
    pt = 1 + random.exponential(15, items)
    eta = np.repeat(random.normal(0, 1, len(COUNTS)), COUNTS) + random.normal(0, 0.3, items)
    phi = np.repeat(random.uniform(-3, 3, len(COUNTS)), COUNTS) + random.normal(0, 0.3, items)
    px, py, pz = pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)
    return np.stack([np.sqrt(px**2 + py**2 + pz**2 + MASS**2), px, py, pz], axis=1)


def columns(vectors: Floats, dtype: type[np.floating[Any]]) -> ak.Array:
    """The jets of these constituents, as an ntuple has them."""
    energy, px, py, pz = vectors.T
    pt = np.hypot(px, py)
    parts = {"pt": pt, "eta": np.arcsinh(pz / pt), "phi": np.arctan2(py, px)}
    constituents = ak.zip(
        {
            **{name: values.astype(dtype) for name, values in parts.items()},
            "mass": np.full(len(energy), MASS, dtype),
        }
    )
    rows = np.repeat(np.arange(len(COUNTS)), COUNTS)
    phi = np.arctan2(np.bincount(rows, py), np.bincount(rows, px))
    jets = {"phi": phi.astype(dtype), "constituents": ak.unflatten(constituents, COUNTS)}
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


@pytest.fixture
def tagger(tmp_path: Path) -> Bundle:
    """A network in single precision, whose weights and running values all matter."""
    model = LorentzNet(constituents=4, hidden=8, blocks=3, head=BernoulliHead()).eval()
    torch.manual_seed(62)
    with torch.no_grad():
        for name, value in [*model.named_parameters(), *model.named_buffers()]:
            spread = 0.3 * torch.randn_like(value)
            positive = value.dim() == 1 and not name.endswith(("bias", "mean"))
            value.copy_(1 + spread.abs() if positive else spread)
    inputs = Inputs(constituents=MOMENTA)
    raw = inputs.extract(columns(momenta(), np.float64))
    inputs.fit(raw)
    last = model.f[3]
    assert isinstance(last, torch.nn.Linear)
    with torch.no_grad():  # logits around 0, so that scores are not at 0 or 1
        logits = model.outputs(raw)
        last.weight.div_(logits.std())
        last.bias.copy_((last.bias - logits.mean()) / logits.std())
    return bundles.save(
        tmp_path / "tagger", model, inputs, kind="tagger", object="jet", name="lorentz"
    )


def change(tagger: Bundle, gamma: float, dtype: type[np.floating[Any]]) -> float:
    """Largest change of a score or logit over the spread of these, in 10 transformations."""
    first = predict(tagger, columns(momenta(), dtype))
    found = []
    for seed in range(10):
        moved = predict(tagger, columns(momenta() @ transformation(gamma, seed), dtype))
        found += [
            np.abs(ak.to_numpy(moved[name] - first[name])).max() / np.std(first[name])
            for name in ("score", "logit_mean")
        ]
    assert np.std(first["score"]) > 0.1
    return float(max(found))


@pytest.mark.parametrize("gamma", [1.0, 1.5, 5.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_score_from_invariants_is_invariant(
    tagger: Bundle, gamma: float, dtype: type[np.floating[Any]]
) -> None:
    assert {value.dtype for value in tagger.model.parameters()} == {torch.float32}
    assert change(tagger, gamma, dtype) < 1e-4


def test_with_momenta_in_single_precision_it_is_not(
    tagger: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extraction, "_dtype", lambda _keys: np.float32)
    assert change(tagger, 5.0, np.float64) > 1e-3

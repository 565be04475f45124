"""Synthetic jets as an ntuple, and the same network as a bundle and as TorchScript."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import awkward as ak
import numpy as np
import torch
from torch import Tensor, nn

from hepcalib import bundles, features, models, ntuples

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

LAYOUT, TREE = "flat_jets", "Events"
FEATURES = ("constituent.delta_eta", "constituent.delta_phi", "constituent.log_pt_fraction")
NEEDED = ("pt", "eta", "phi", "label", "constituents.pt", "constituents.eta", "constituents.phi")
MEAN, LARGEST, PADDING, SHAPE = 45.0, 200, 128, 4.0
JETS_PER_EVENT = 2
PDG_IDS = np.array([211, -211, 22, 130, 11, 13], np.int32)


def multiplicities(
    jets: int, *, mean: float = MEAN, largest: int = LARGEST, seed: int = 1
) -> NDArray[np.int64]:
    """Numbers of constituents: negative binomial, at least 1, the first jet with the largest."""
    rng = np.random.default_rng(seed)
    numbers = rng.negative_binomial(SHAPE, SHAPE / (SHAPE + mean), jets).clip(1, largest)
    numbers[0] = largest
    return numbers.astype(np.int64)


def columns(counts: NDArray[np.int64], *, seed: int = 2) -> ak.Array:
    """Standard columns of jets with so many constituents: exponential shares around an axis."""
    rng = np.random.default_rng(seed)
    jets, items = len(counts), int(counts.sum())
    row = np.repeat(np.arange(jets), counts)
    jet = {
        "pt": rng.uniform(200.0, 500.0, jets),
        "eta": rng.uniform(-2.0, 2.0, jets),
        "phi": rng.uniform(-np.pi, np.pi, jets),
        "mass": rng.uniform(20.0, 150.0, jets),
    }
    share = rng.exponential(size=items)
    share /= np.bincount(row, weights=share, minlength=jets)[row]
    phi = jet["phi"][row] + rng.normal(0.0, 0.2, items)
    constituents = {
        "pt": jet["pt"][row] * share + 1e-3,
        "eta": jet["eta"][row] + rng.normal(0.0, 0.2, items),
        "phi": np.mod(phi + np.pi, 2 * np.pi) - np.pi,
        "mass": np.full(items, 0.13957),
    }
    inner = {
        **{name: values.astype(np.float32) for name, values in constituents.items()},
        "pdg_id": rng.choice(PDG_IDS, items),
    }
    outer = {
        **{name: values.astype(np.float32) for name, values in jet.items()},
        "label": rng.integers(0, 2, jets, dtype=np.int32),
    }
    return ak.zip(
        {**outer, "constituents": ak.unflatten(ak.zip(inner), counts)},
        depth_limit=1,
    )


def write_chunks(folder: Path, jets: ak.Array, chunk: int) -> list[Path]:
    """Write so many events per file: of larger baskets, every chunk would read all."""
    size = chunk * JETS_PER_EVENT
    starts = range(0, len(jets), size)
    files = [folder / f"jets_{start:09d}.root" for start in starts]
    for file, start in zip(files, starts, strict=True):
        write(file, jets[start : start + size])
    return files


def write(path: Path, jets: ak.Array) -> None:
    """Write the jets, two per event, and candidates sorted by momentum, with links to them."""
    count = ak.num(jets.constituents).to_numpy()
    events = -(-len(jets) // JETS_PER_EVENT)
    event = np.arange(len(jets)) // JETS_PER_EVENT
    per_event = np.bincount(event, minlength=events)
    items = ak.flatten(jets.constituents)
    item_event = np.repeat(event, count)
    order = np.lexsort((-items.pt.to_numpy(), item_event))
    candidates = np.bincount(item_event, minlength=events)
    first = np.concatenate([[0], candidates.cumsum()[:-1]])
    rank = np.empty(len(order), np.int32)
    rank[order] = np.arange(len(order)) - first[item_event]
    jet_index = np.repeat((np.arange(len(jets)) % JETS_PER_EVENT).astype(np.int32), count)
    names = {"pt": "pt", "eta": "eta", "phi": "phi", "mass": "mass", "pdg_id": "pdgId"}
    ntuples.write(
        path,
        TREE,
        {
            **_event_columns(events),
            **{f"Jet_{n}": ak.unflatten(jets[n], per_event) for n in ("pt", "eta", "phi", "mass")},
            "Jet_label": ak.unflatten(jets.label, per_event),
            "Jet_genJetIdx": ak.unflatten(np.full(len(jets), -1, np.int32), per_event),
            **{
                f"PFCand_{branch}": ak.unflatten(items[name].to_numpy()[order], candidates)
                for name, branch in names.items()
            },
            "JetPFCand_jetIdx": ak.unflatten(jet_index, candidates),
            "JetPFCand_pfCandIdx": ak.unflatten(rank, candidates),
        },
    )


def _event_columns(events: int) -> dict[str, Any]:
    no_jets = ak.unflatten(np.empty(0, np.float32), np.zeros(events, np.int64))
    return {
        "run": np.ones(events, np.int32),
        "luminosityBlock": np.ones(events, np.int32),
        "event": np.arange(events, dtype=np.int64),
        "mu": np.full(events, 40.0, np.float32),
        "nPV": np.full(events, 30, np.int32),
        "rho": np.full(events, 20.0, np.float32),
        **{f"GenJet_{name}": no_jets for name in ("pt", "eta", "phi", "mass")},
    }


def save_bundle(path: Path, model: models.Model, jets: ak.Array, names: Sequence[str]) -> None:
    """Save an untrained tagger whose scores are spread, so that a difference would be seen."""
    inputs = features.Inputs(constituents=names)
    raw = inputs.extract(jets)
    inputs.fit(raw)
    model.eval()
    with torch.no_grad():
        logits = model.outputs(inputs(raw))
        last = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
        last.weight.div_(logits.std())
        last.bias.sub_(logits.mean() / logits.std())
    bundles.save(path, model, inputs, kind="tagger", object="jet", name="benchmark")


def pfn(constituents: int = len(FEATURES), *, seed: int = 1) -> models.PFN:
    torch.manual_seed(seed)
    return models.PFN(constituents=constituents, head=models.BernoulliHead())


class PaddedPFN(nn.Module):
    """The network of a bundle on padded jets: transforms, Phi, masked sum, F and sigmoid."""

    def __init__(self, bundle: bundles.Bundle) -> None:
        super().__init__()
        model = bundle.model
        assert isinstance(model, models.PFN)
        self.phi, self.f = model.phi, model.f
        width = len(bundle.inputs.constituent_names)
        # The transforms are straight lines here, given by their values at 0 and 1.
        ends = torch.tensor([[0.0] * width, [1.0] * width], dtype=torch.float64)
        chains = zip(bundle.inputs.constituent_transforms, ends.unbind(1), strict=True)
        shift, end = torch.stack([chain(points) for chain, points in chains], dim=1).double()
        self.shift = nn.Parameter(shift.float(), requires_grad=False)
        self.scale = nn.Parameter((end - shift).float(), requires_grad=False)

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        """(jets, padding, features), (jets, padding) -> (jets,)."""
        latent = self.phi(values * self.scale + self.shift) * mask.unsqueeze(2)
        logit: Tensor = self.f(latent.sum(dim=1))
        return torch.sigmoid(logit.squeeze(1))


def save_script(path: Path, bundle: bundles.Bundle) -> None:
    """Save the network on padded jets as coffea's torch_wrapper takes it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # all that torch_wrapper can load
        script: Any = torch.jit.script(PaddedPFN(bundle))
        script.save(str(path))

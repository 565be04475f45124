"""The same jets scored in four ways, each in a coffea processor that fills the same histogram."""

from __future__ import annotations

import functools
import warnings
from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import awkward as ak
import hist
import numpy as np
import torch
from coffea.ml_tools.torch_wrapper import torch_wrapper
from coffea.processor import IterativeExecutor, ProcessorABC, Runner
from torch import nn

from benchmarks.constituents.sample import LAYOUT, PADDING, TREE, PaddedPFN
from hepcalib import bundles, inference, ntuples

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

ROUNDING = 2.0**-24  # of float32, relative
PACKED_ITEMS = 1500  # constituents in a block of the packed loop


class Scores(ProcessorABC):  # type: ignore[misc]  # coffea is untyped
    """Read the jets, score them, fill a histogram, and hand out the scores beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def process(self, events: ak.Array) -> dict[str, Any]:
        jets = ntuples.objects(events, layout=LAYOUT)
        scores = self.scores(jets)
        filled = hist.Hist.new.IntCat([0, 1], name="label").Reg(100, 0, 1, name="score").Weight()
        filled.fill(label=ak.flatten(jets.label).to_numpy(), score=scores)
        place = (str(events.metadata["filename"]), int(events.metadata["entrystart"]))
        return {"histogram": filled, "scores": {place: scores}}

    def postprocess(self, accumulator: dict[str, Any]) -> dict[str, Any]:
        return accumulator

    @abstractmethod
    def scores(self, jets: ak.Array) -> NDArray[np.floating[Any]]:
        """Return the scores of all jets of the chunk, one after the other."""


class Ours(Scores):
    """`hepcalib.inference.predict`."""

    def scores(self, jets: ak.Array) -> NDArray[np.floating[Any]]:
        answer = inference.predict(_handle(self.folder), jets, device="cpu", threads=1)
        scores: NDArray[np.floating[Any]] = ak.flatten(answer.score).to_numpy()
        return scores


class Wrapper(Scores):
    """coffea's torch_wrapper: awkward arrays padded by awkward, TorchScript, one call a chunk."""

    def scores(self, jets: ak.Array) -> NDArray[np.floating[Any]]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch.jit, and that nothing is validated
            scores: NDArray[np.floating[Any]] = np.asarray(_wrapper(self.folder)(jets))
        return scores


class Padded(Scores):
    """Jets padded by numpy and scored by torch, a thousand at a time."""

    batch = 1024

    def scores(self, jets: ak.Array) -> NDArray[np.floating[Any]]:
        values, counts = flat(jets)
        edges = np.concatenate([[0], counts.cumsum()])
        network, scores = _network(self.folder), []
        with torch.inference_mode():
            for start in range(0, len(counts), self.batch):
                stop = min(start + self.batch, len(counts))
                padded = pad(values[edges[start] : edges[stop]], counts[start:stop])
                scores.append(network(*map(torch.from_numpy, padded)).numpy())
        return np.concatenate(scores) if scores else np.empty(0, np.float32)


class PaddedInCache(Padded):
    """The same in batches so small that what is between the layers stays in the cache."""

    batch = 64


class Packed(Scores):
    """A lean loop over blocks of constituents, as one would write it for a PFN."""

    def scores(self, jets: ak.Array) -> NDArray[np.floating[Any]]:
        values, counts = flat(jets)
        network = self.network()
        items = torch.from_numpy(values).to(network.scale.dtype) * network.scale + network.shift
        with torch.inference_mode():
            return torch.sigmoid(packed(network, items, torch.from_numpy(counts))).numpy()

    def network(self) -> PaddedPFN:
        return _network(self.folder)


class Double(Packed):
    """The packed loop in float64: what the others are compared with."""

    def network(self) -> PaddedPFN:
        return PaddedPFN(bundles.load(self.folder / "bundle")).double()


class Rounded(Double):
    """The same, but features moved by a rounding of a full turn, and each layer rounded anew."""

    def network(self) -> PaddedPFN:
        network = super().network()
        generator = torch.Generator().manual_seed(1)
        network.shift.add_(network.scale, alpha=2 * np.pi * ROUNDING)

        def rounded(_: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
            terms = inputs[0].shape[1]
            noise = torch.randn(output.shape, generator=generator, dtype=output.dtype)
            changed: Tensor = output * (1.0 + terms**0.5 * ROUNDING * noise)
            return changed

        for layer in network.modules():
            if isinstance(layer, nn.Linear):
                layer.register_forward_hook(rounded)
        return network


class Nothing(Scores):
    """What coffea takes to hand out the chunks, of which nothing is read but the labels."""

    def scores(self, jets: ak.Array) -> NDArray[np.floating[Any]]:
        return np.zeros(int(ak.count(jets.label)))


PATHS: dict[str, type[Scores]] = {
    "hepcalib": Ours,
    "torch_wrapper": Wrapper,
    "hand-padded, 1024 at a time": Padded,
    "hand-padded, 64 at a time": PaddedInCache,
    "packed loop": Packed,
}


def packed(network: PaddedPFN, items: Tensor, counts: Tensor, block: int = PACKED_ITEMS) -> Tensor:
    """Logits of packed constituents: (items, features), (jets,) -> (jets,)."""
    edges, start, pooled = torch.cat([counts.new_zeros(1), counts.cumsum(0)]), 0, []
    linears = list(network.phi)[::2]
    while start < len(counts):
        stop = int(torch.searchsorted(edges, edges[start] + block, right=True)) - 1
        stop = max(stop, start + 1)
        latent = items[edges[start] : edges[stop]]
        for linear in linears:
            latent = linear(latent).relu_()
        rows = torch.arange(stop - start).repeat_interleave(counts[start:stop])
        pooled.append(latent.new_zeros(stop - start, latent.shape[1]).index_add_(0, rows, latent))
        start = stop
    if not pooled:
        return items.new_empty(0)
    logits: Tensor = network.f(torch.cat(pooled)).squeeze(1)
    return logits


def user_features(jets: ak.Array) -> list[ak.Array]:
    """The features of the network in awkward, as an analysis writes them."""
    particles = jets.constituents
    turn = np.float32(2 * np.pi)
    return [
        particles.eta - jets.eta,
        (particles.phi - jets.phi + turn / 2) % turn - turn / 2,
        np.log10(particles.pt / jets.pt),
    ]


def flat(jets: ak.Array) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Features of all constituents (items, features) and their number in each jet."""
    found = user_features(ak.flatten(jets, axis=1))
    values = np.stack([ak.flatten(f).to_numpy().astype(np.float32) for f in found], axis=1)
    return values, ak.num(found[0]).to_numpy().astype(np.int64)


def pad(
    values: NDArray[np.float32], counts: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return (jets, PADDING, features) and its mask; what is beyond is cut away."""
    mask = np.arange(PADDING) < counts[:, None]
    first = np.concatenate([[0], counts.cumsum()[:-1]])
    padded = np.zeros((len(counts), PADDING, values.shape[1]), np.float32)
    padded[mask] = values[(first[:, None] + np.arange(PADDING))[mask]]
    return padded, mask.astype(np.float32)


class PFNWrapper(torch_wrapper):  # type: ignore[misc]  # coffea is untyped
    """What coffea asks a user to write."""

    def prepare_awkward(self, jets: ak.Array) -> tuple[list[ak.Array], dict[str, Any]]:
        columns = [
            ak.fill_none(ak.pad_none(feature, PADDING, clip=True), np.float32(0))
            for feature in user_features(ak.flatten(jets, axis=1))
        ]
        padded = np.stack([ak.to_numpy(c).astype(np.float32) for c in columns], axis=2)
        counts = ak.num(ak.flatten(jets, axis=1).constituents).to_numpy()
        mask = (np.arange(PADDING) < counts[:, None]).astype(np.float32)
        return [ak.from_numpy(padded), ak.from_numpy(mask)], {}


@functools.cache
def _handle(folder: Path) -> inference.Handle:
    return inference.Handle.of(folder / "bundle")


@functools.cache
def _wrapper(folder: Path) -> PFNWrapper:
    return PFNWrapper(str(folder / "network.pt"))


@functools.cache
def _network(folder: Path) -> PaddedPFN:
    return PaddedPFN(bundles.load(folder / "bundle")).eval()


def run(
    processor: Scores,
    files: list[Path],
    chunk: int,
    *,
    executor: Any = None,
) -> dict[str, Any]:
    """Run a processor over the files as coffea does, with so many events in a chunk."""
    runner = Runner(
        executor or IterativeExecutor(status=False),
        schema=ntuples.schema_of(LAYOUT),
        chunksize=chunk,
        savemetrics=False,
    )
    fileset = {"jets": {"files": {str(file): TREE for file in files}}}
    found = runner.run(fileset, processor)
    output: dict[str, Any] = found["out"]
    return output

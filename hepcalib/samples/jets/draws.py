"""Random numbers keyed by (seed, process, block of events, purpose), never by worker or chunk."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["BLOCK", "PURPOSES", "Draws"]

BLOCK = 50  # events; event n belongs to block n // BLOCK, whatever the sample it is made in

PURPOSES = (
    "generator",
    "mu",
    "vertices",
    "reconstructed vertices",
    "pool events",
    "pool rotation",
    "track of the hard scatter",
    "track of the pile-up",
    "momentum of the hard scatter",
    "momentum of the pile-up",
    "ecal energy",
    "ecal position",
    "hcal energy",
    "hcal position",
)


class Draws(NamedTuple):
    """The random streams of one block of events, one independent stream per purpose.

    Each stream is read once, in the order of the events, so that the numbers an event gets do not
    depend on how many events of its block are made.
    """

    seed: int
    run: int
    block: int

    def __call__(self, purpose: str) -> np.random.Generator:
        """Return the stream of a purpose, from its beginning."""
        key = (self.seed, self.run, self.block, PURPOSES.index(purpose))
        return np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))

    def pythia_seed(self) -> int:
        """Return Pythia's seed: distinct for the blocks of a sample, apart between samples."""
        key = (self.seed, self.run, PURPOSES.index("generator"))
        start = int(np.random.SeedSequence(key).generate_state(1)[0])
        return 1 + (start + self.block) % 900_000_000  # Pythia's largest seed

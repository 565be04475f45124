from __future__ import annotations

import numpy as np
import pytest

from hepcalib.samples.jets.draws import PURPOSES, Draws


@pytest.mark.parametrize("purpose", PURPOSES)
def test_stream_depends_on_its_key_only(purpose: str) -> None:
    stream = Draws(seed=4, run=1, block=7)(purpose).random(5)
    assert np.array_equal(stream, Draws(4, 1, 7)(purpose).random(5))
    others = [Draws(5, 1, 7), Draws(4, 2, 7), Draws(4, 1, 8)]
    for other in others:
        assert not np.any(stream == other(purpose).random(5))


def test_streams_of_two_purposes_differ() -> None:
    draws = Draws(0, 1, 0)
    first = {draws(purpose).random() for purpose in PURPOSES}
    assert len(first) == len(PURPOSES)


def test_an_unknown_purpose_is_refused() -> None:
    with pytest.raises(ValueError, match="not in tuple"):
        Draws(0, 1, 0)("lunch")


def test_pythia_seeds_are_allowed_and_never_twice_in_a_sample() -> None:
    seeds = [Draws(3, 1, block).pythia_seed() for block in range(2000)]
    assert len(set(seeds)) == 2000
    assert min(seeds) >= 1
    assert max(seeds) <= 900_000_000
    assert not set(seeds) & {Draws(3, 2, block).pythia_seed() for block in range(2000)}

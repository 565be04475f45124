from __future__ import annotations

import pytest
import torch

from hepcalib.exceptions import ConfigError
from hepcalib.models import MLP, PFN, Bayesian, NormalHead
from hepcalib.models.wrapping import keyed_generator, linear_layers, require_draws, require_plain


def test_numbers_depend_on_the_key_only() -> None:
    first = torch.rand(3, generator=keyed_generator(1, 2, 3))
    torch.rand(5)
    assert torch.equal(first, torch.rand(3, generator=keyed_generator(1, 2, 3)))
    assert not torch.equal(first, torch.rand(3, generator=keyed_generator(1, 3, 2)))


def test_linear_layers_come_in_the_order_of_the_data() -> None:
    model = PFN(constituents=3, phi=(4, 5), f=(6,), head=NormalHead())
    assert list(linear_layers(model)) == ["phi.0", "phi.2", "f.0", "f.2"]


def test_models_with_members_and_impossible_draws_are_refused() -> None:
    plain = MLP(features=2, head=NormalHead())
    require_plain(plain, "Here")
    with pytest.raises(ConfigError, match="Here: Bayesian has members of its own"):
        require_plain(Bayesian(plain), "Here")
    require_draws(1, 0, "Here")
    for draws, seed in ((0, 0), (1, -1)):
        with pytest.raises(ConfigError, match="Here: draws is"):
            require_draws(draws, seed, "Here")

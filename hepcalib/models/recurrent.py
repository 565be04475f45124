"""The recurrent network: the constituents of a jet one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import torch
from torch import nn

from hepcalib.exceptions import ConfigError
from hepcalib.models.layers import dense, output_layer
from hepcalib.models.model import Model, checked, described
from hepcalib.ragged import Ragged

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import TypeAlias

    from torch import Tensor

    from hepcalib.batch import Batch
    from hepcalib.models.heads import Head

    _State: TypeAlias = tuple[Tensor, ...]  # (jets, hidden) each: h, and c of an LSTM

__all__ = ["Cell", "Recurrent"]

Cell = Literal["gru", "lstm"]

BLOCK = 16_384  # constituents at a time, which bounds the memory of their gates
GATES = {"gru": 3, "lstm": 4}


class Recurrent(Model):
    r"""Long short-term memory, or gated recurrent units, over ordered constituents.

    From h = c = 0, each constituent x changes the state of its jet; the last state goes through a
    dense part. With "lstm",

    .. math:: (i, f, g, o) = W x + b + U h, \quad
        c' = \sigma(f) c + \sigma(i) \tanh g, \quad h' = \sigma(o) \tanh c'

    and with "gru", where the part of U h in n has a bias b' as well,

    .. math:: (r, z, n) = W x + b, (U h + b')_{r, z, n}, \quad
        \nu = \tanh(n_x + \sigma(r) n_h), \quad h' = (1 - \sigma(z)) \nu + \sigma(z) h

    The constituents come in descending order of one of their features. Those that are equal in it
    come in the order in which they were given: only then does a permutation change the result.
    A jet without constituents keeps the state 0. Each time step is computed for the jets that are
    still running, so that no jet pays for a longer one.

    Reference: arXiv:1607.08633; dropout of the state arXiv:1512.05287.

    Args:
        constituents: Number of features per constituent.
        features: Number of features of the jet beside its constituents.
        order: Which feature of the constituents orders them, counted from 0.
        hidden: Size of the state h.
        f: Widths of the hidden layers of the dense part.
        cell: "lstm" or "gru".
        head: What the outputs mean.
        activation: Of the dense part: double_silu, elu, gelu, relu, shifted_tanh, silu or tanh.

    Raises:
        ConfigError: if there is no such feature or cell, a width is not positive or the activation
            is unknown.
    """

    constituent_modules: ClassVar[tuple[str, ...]] = ("inputs", "state")

    def __init__(
        self,
        *,
        constituents: int,
        features: int = 0,
        order: int,
        hidden: int = 128,
        f: Sequence[int] = (100, 100),
        cell: Cell = "lstm",
        head: Head,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        if cell not in get_args(Cell):
            msg = f"Recurrent: cell is '{cell}'; needed: one of {', '.join(get_args(Cell))}"
            raise ConfigError(msg)
        if not 0 <= order < constituents or features < 0 or hidden < 1:
            msg = (
                f"Recurrent: order is {order} of {constituents} constituent features, features "
                f"{features}, hidden {hidden}; needed: one of them from 0, >= 0, >= 1"
            )
            raise ConfigError(msg)
        self.constituents, self.features, self.order = constituents, features, order
        self.hidden, self.cell, self.activation = hidden, cell, activation
        self.inputs = nn.Linear(constituents, GATES[cell] * hidden)
        self.state = nn.Linear(hidden, GATES[cell] * hidden, bias=cell == "gru")
        if cell == "lstm":  # so that it remembers at first
            nn.init.ones_(self.inputs.bias[hidden : 2 * hidden])
        widths = [hidden + features, *f]
        self.f = nn.Sequential(
            *dense(widths, activation=activation, where="Recurrent f"),
            output_layer(widths[-1], head.outputs),
        )
        self.widths = list(f)
        self.head = head

    @property
    def config(self) -> dict[str, Any]:
        """Constructor keywords, as JSON can hold them."""
        return {
            "constituents": self.constituents,
            "features": self.features,
            "order": self.order,
            "hidden": self.hidden,
            "f": self.widths,
            "cell": self.cell,
            "head": described(self.head),
            "activation": self.activation,
        }

    def outputs(self, batch: Batch) -> Tensor:
        """Return the raw outputs, (rows, head.outputs).

        Raises:
            ShapeError: if the batch has other numbers of features.
        """
        rows = batch.rows
        constituents = None if batch.constituents is None else batch.constituents.packed()
        values = checked(
            None if constituents is None else constituents.values,
            self.constituents,
            model=self,
            what="constituents",
        )
        latent = values.new_zeros(0, self.hidden)
        if constituents is not None and rows:
            latent = self._last_states(Ragged(values, constituents.offsets))
        if self.features:
            features = checked(batch.features, self.features, model=self, what="features")
            latent = torch.cat([latent, features], dim=1)
        raw: Tensor = self.f(latent)
        return raw

    def _last_states(self, jets: Ragged) -> Tensor:
        """Return the state of each jet after its last constituent, (rows, hidden)."""
        by_length = jets.counts.argsort(descending=True, stable=True)
        jets = jets.select(by_length)
        recurrence = self._recurrence(jets.values)
        states = [self._run(jets.select(block), *recurrence) for block in jets.blocks(BLOCK)]
        return torch.cat(states).index_select(0, by_length.argsort())

    def _recurrence(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return the transposed matrix U and its bias b'.

        By one call of the layer, on unit vectors and 0: a wrapper that draws weights or drops
        inputs in each call so does the same to all steps.
        """
        units = torch.eye(self.hidden, dtype=like.dtype, device=like.device)
        applied = self.state(torch.cat([units, like.new_zeros(1, self.hidden)]))
        return applied[:-1] - applied[-1], applied[-1]

    def _run(self, jets: Ragged, matrix: Tensor, bias: Tensor) -> Tensor:
        """Return the last states of jets which are sorted by length, the longest first."""
        index, running = time_steps(jets, self.order)
        gates = self.inputs(jets.packed().values.index_select(0, index))
        start = gates.new_zeros(jets.rows, self.hidden)
        state: _State = (start, start) if self.cell == "lstm" else (start,)
        finished = []
        for step in gates.split(running):
            finished.append(state[0][len(step) :])
            state = tuple(part[: len(step)] for part in state)
            state = _STEPS[self.cell](step, state, matrix, bias)
        return torch.cat([state[0], *reversed(finished)])


def time_steps(jets: Ragged, order: int) -> tuple[Tensor, list[int]]:
    """Return the items of ``jets.packed()`` step by step, and how many jets take each step.

    Args:
        jets: Sorted by length, the longest first.
        order: The feature that orders the items of a jet, descending.

    Shapes:
        -> (items,) int64, (steps,)
    """
    packed = jets.packed()
    ids = packed.row_ids()
    items = packed.values[:, order].argsort(descending=True, stable=True)
    items = items[ids[items].argsort(stable=True)]
    place = torch.arange(len(ids), device=ids.device) - packed.offsets[ids]
    return items[place.argsort(stable=True)], place.bincount().tolist()


def _lstm(gates: Tensor, state: _State, matrix: Tensor, bias: Tensor) -> _State:
    hidden, memory = state
    enter, keep, new, out = (gates + torch.addmm(bias, hidden, matrix)).chunk(4, dim=1)
    memory = keep.sigmoid() * memory + enter.sigmoid() * new.tanh()
    return out.sigmoid() * memory.tanh(), memory


def _gru(gates: Tensor, state: _State, matrix: Tensor, bias: Tensor) -> _State:
    (hidden,) = state
    reset, keep, new = gates.chunk(3, dim=1)
    of_reset, of_keep, of_new = torch.addmm(bias, hidden, matrix).chunk(3, dim=1)
    new = (new + (reset + of_reset).sigmoid() * of_new).tanh()
    return (new + (keep + of_keep).sigmoid() * (hidden - new),)


_STEPS: Mapping[str, Callable[[Tensor, _State, Tensor, Tensor], _State]] = {
    "gru": _gru,
    "lstm": _lstm,
}

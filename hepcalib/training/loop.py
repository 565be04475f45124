"""The training loop, one for regression and tagging, plain and Bayesian models."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from hepcalib.exceptions import TrainingError
from hepcalib.models.heads import BernoulliHead
from hepcalib.models.model import Labelled
from hepcalib.settings import own_settings, seeded
from hepcalib.training.checkpoint import fingerprint
from hepcalib.training.collapse import validation_auc, warn_of_collapse
from hepcalib.training.descent import Descent
from hepcalib.training.devices import resolve_device, thread_count
from hepcalib.training.examples import (
    require_classes,
    require_learnable,
    require_penalisable,
)
from hepcalib.training.history import Epoch
from hepcalib.training.memory import kept_memory
from hepcalib.training.objective import Objective, score
from hepcalib.training.order import Order
from hepcalib.training.penalties import penalty
from hepcalib.training.state import State

if TYPE_CHECKING:
    from collections.abc import Callable

    from hepcalib.models.model import Model
    from hepcalib.training.checkpoint import Checkpoint
    from hepcalib.training.examples import Examples
    from hepcalib.training.history import History
    from hepcalib.training.options import TrainingOptions

__all__ = ["train"]


@own_settings(gradients=True)
def train(
    model: Model,
    examples: Examples,
    validation: Examples,
    *,
    options: TrainingOptions,
    checkpoint: Checkpoint | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> History:
    r"""Fit a model by stochastic gradient descent and leave it in its best state.

    .. math:: L = \frac{1}{B} \sum_b -\frac{w_b}{\bar w} \ln p(y_b | x_b)
        + \Omega + \lambda\, P(\text{score}, \text{nuisance})

    Weights are divided by their mean over the training sample, not over the batch, so that single
    ones may be negative. Minus the log-likelihood is the model's `loss`, Omega its `regulariser`:
    for a Bayesian model the divergence from the prior over the number of training rows. The
    penalty P sees the background rows of the batch, or all; its score is the mean of the predicted
    distribution, the probability of a tagger. At the end the model's `finish` fits what descent
    does not learn.

    The best epoch is that of the smallest validation NLL + strength * penalty of the validation
    sample, without the regulariser, among the epochs at full strength; of a constraint, those that
    meet it come first; of an adversary, or with keep "last", it is the last one. Bayesian models
    are validated at their mean weights: that is one pass instead of one per draw, and slightly
    flatters a model whose weights are uncertain.

    For a seed and a fixed number of threads the result on a CPU is reproducible bit by bit.

    Reference: arXiv:2412.04370 (Bayesian loss), arXiv:2001.05310 (penalty).

    Args:
        model: Model to train; its present weights are the start.
        examples: Training sample.
        validation: Sample that chooses the epoch.
        options: Options of the loop.
        checkpoint: Where to leave the state of the training, and to go on from, if it is there.
        progress: Called with (epochs done, epochs) after each epoch.

    Warns:
        CollapseWarning: if a tagger with a penalty ends in a score that does not separate the
            classes of the validation sample.

    Returns:
        The figures of each epoch. The model is on the device of the training, in evaluation mode.

    Raises:
        TrainingError: if a sample cannot be learnt from, or the loss is not finite (with epoch and
            step); the model is then left in its best state so far, or that of the start. If the
            checkpoint cannot be read or written, or is that of another training.
        DataError: if targets, weights or nuisances are not finite or out of range.
        ShapeError: if the parts of a sample have different lengths.
    """
    for sample, name in ((examples, "training"), (validation, "validation")):
        _check(sample, name, model, options)
    device = resolve_device(options.device)
    with (
        thread_count(options.threads),
        kept_memory(),
        seeded(options.seed, device=device),
    ):
        model.to(device)
        dtype = next(model.parameters()).dtype
        samples = [_prepared(sample, device, dtype) for sample in (examples, validation)]
        restraint = None if options.penalty is None else penalty(options.penalty, samples[0])
        order = Order(examples.batch.rows, options)
        objective = Objective(model, examples.batch.rows, restraint)
        state = State(objective, Descent(objective, options, steps=order.steps), order)
        if checkpoint is not None:
            of = checkpoint.of or fingerprint(model, examples, validation, options)
            checkpoint.begin(state, of=of)
        _epochs(state, *samples, options=options, checkpoint=checkpoint, progress=progress)
        model.eval()
        if restraint is not None and isinstance(model.head, BernoulliHead):
            warn_of_collapse(state.history, samples[1])
        model.finish(*(Labelled(s.batch, s.target, s.weight, s.nuisance) for s in samples))
    return state.history


def _check(sample: Examples, name: str, model: Model, options: TrainingOptions) -> None:
    require_learnable(sample, name)
    if isinstance(model.head, BernoulliHead):
        require_classes(sample, name)
    if options.penalty is not None:
        require_penalisable(sample, name, acts_on=options.penalty.acts_on)
    if options.weight_decay and any(hasattr(m, "prior_precision") for m in model.modules()):
        msg = f"weight_decay {options.weight_decay} for a model with a prior; set it to 0"
        raise TrainingError(msg)


def _prepared(examples: Examples, device: torch.device, dtype: torch.dtype) -> Examples:
    """Return examples on the device, packed, in the model's dtype, with weights of mean 1."""
    weight = examples.weight
    if weight is not None:
        weight = (weight.double() / weight.double().mean()).to(dtype)
    background = None if examples.background is None else examples.background.bool()
    return examples._replace(
        target=examples.target.to(dtype), weight=weight, background=background
    ).to(device)


def _epochs(
    state: State,
    examples: Examples,
    validation: Examples,
    *,
    options: TrainingOptions,
    checkpoint: Checkpoint | None,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Take the epochs that are left; the model ends in its best state."""
    try:
        while not _ended(state.history, options):
            _one_pass(state, examples, options=options, checkpoint=checkpoint)
            state.finished(_validated(state, validation, options=options))
            if progress is not None:
                progress(len(state.history), options.epochs)
    finally:
        state.objective.model.load_state_dict(state.best)


def _ended(history: History, options: TrainingOptions) -> bool:
    since_the_best = len(history) - history.best.epoch if history else 0
    return len(history) == options.epochs or since_the_best >= (options.patience or math.inf)


def _one_pass(
    state: State,
    examples: Examples,
    *,
    options: TrainingOptions,
    checkpoint: Checkpoint | None,
) -> None:
    """Take the steps that are left of an epoch."""
    objective, epoch = state.objective, len(state.history)
    objective.model.train()
    batches = state.batches()
    seen = sum(len(rows) for rows in batches)
    for rows in batches[state.step :]:
        terms = objective.terms(examples.select(rows.to(examples.target.device)), epoch=epoch)
        loss = terms.loss
        if not math.isfinite(loss.item()):
            parts = ", ".join(f"{k} {v.item()}" for k, v in terms._asdict().items())
            msg = (
                f"the loss is {loss.item()} in epoch {epoch + 1}, step {state.step + 1} of "
                f"{len(batches)} ({parts}); lower learning_rate "
                f"({options.learning_rate}) or set gradient_clip"
            )
            raise TrainingError(msg)
        state.descent.step(loss)
        if objective.penalty is not None:
            objective.penalty.react(terms.penalty.item(), epoch=epoch)
        state.stepped(terms, share=len(rows) / seen)
        if checkpoint is not None:
            checkpoint.keep(state)


def _validated(state: State, validation: Examples, *, options: TrainingOptions) -> Epoch:
    """Evaluate the model, in blocks as large as the batches, and complete the epoch's figures."""
    objective, means, epoch = state.objective, state.means, len(state.history)
    model = objective.model.eval()
    rows = validation.batch.rows
    nll, value, auc, scores = 0.0, 0.0, 0.5, []
    with torch.no_grad():
        for start in range(0, rows, options.batch_size):
            block = slice(start, start + options.batch_size)
            predicted = model(validation.batch.select(block))
            weight = None if validation.weight is None else validation.weight[block]
            loss = model.weighted_loss(predicted, validation.target[block], weight).double()
            nll += loss.mean().item() * loss.shape[-1] / rows
            if objective.penalty is not None:
                scores.append(score(predicted))
        if objective.penalty is not None:
            usable = math.isfinite(nll)
            value = objective.penalty.value(torch.cat(scores), validation).item() if usable else nll
            if usable and isinstance(model.head, BernoulliHead):
                auc = validation_auc(torch.cat(scores), validation)
    if not math.isfinite(nll + value):
        msg = (
            f"after epoch {epoch + 1} the validation nll is {nll}, its penalty {value}; lower "
            f"learning_rate ({options.learning_rate}) or set gradient_clip"
        )
        raise TrainingError(msg)
    criterion = objective.criterion(nll, value, epoch=epoch)
    return Epoch(
        epoch=epoch + 1,
        train_nll=means.nll,
        regulariser=means.regulariser,
        penalty=means.penalty,
        validation_nll=nll,
        validation_penalty=value,
        strength=objective.strength(epoch),
        criterion=-float(epoch) if options.keep == "last" else criterion,
        validation_auc=auc,
    )

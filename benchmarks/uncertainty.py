"""Time of uncertain networks, training and prediction, in units of one plain network.

    python benchmarks/uncertainty.py [--rounds 40] [--batch 1024] [--json FILE] [--device cpu]

The network is 15-64-64-64-64 with a mixture of three components. In each round everything is
measured once, one after the other; a ratio is the median over the rounds of the ratio to the plain
network of the same round. Rounds are short, since the speed of a machine changes within a second.
On a CPU it is processor time of one thread, which other programs disturb least; on a GPU, which is
measured too where there is one, the time until it is done.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from hepcalib.batch import Batch
from hepcalib.models import MLP, Bayesian, MixtureHead
from hepcalib.models.ensembles import DeepEnsemble
from hepcalib.training import Examples
from hepcalib.training.memory import kept_memory
from hepcalib.training.objective import Objective

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from hepcalib.models import Model

FEATURES, HIDDEN, MEMBERS, DRAWS, TRAINING_ROWS = 15, (64, 64, 64, 64), 10, 50, 600_000
LEARNING_RATE = 1e-8  # the networks stay what they are, however often a step is measured
SECONDS = 0.05  # at least this long for a figure in a round


class Task(NamedTuple):
    name: str
    run: Callable[[], Any]
    reference: str
    bound: float | None = None


class Cost(NamedTuple):
    device: str
    name: str
    milliseconds: float
    reference: str
    ratio: float
    bound: float | None


def plain(device: str) -> MLP:
    return MLP(features=FEATURES, hidden=HIDDEN, head=MixtureHead(3)).to(device)


def step(models: list[Model], examples: Examples) -> Callable[[], None]:
    """One step of the training for each of the models, one after the other."""
    objectives = [Objective(model.train(), TRAINING_ROWS, None) for model in models]
    optimizers = [torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE) for model in models]

    def run() -> None:
        for objective, optimizer in zip(objectives, optimizers, strict=True):
            loss = objective.terms(examples, epoch=0).loss
            assert torch.isfinite(loss)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
            optimizer.step()

    return run


def loop_over_draws(model: Bayesian, batch: Batch) -> Callable[[], Tensor]:
    """The draws as networks of their own, one after the other."""
    networks = []
    common = model.model.state_dict()
    for draw in range(DRAWS):
        network = plain(str(next(model.parameters()).device))
        drawn = {name: values[draw] for name, values in model.stacked().items()}
        network.load_state_dict({**{name: common[name] for name in network.state_dict()}, **drawn})
        networks.append(network.eval())
    return lambda: torch.stack([network.outputs(batch) for network in networks])


def training_tasks(device: str, examples: Examples) -> list[Task]:
    gpu = device != "cpu"
    loop = f"{MEMBERS} networks, loop"
    return [
        Task("plain step", step([plain(device)], examples), "plain step"),
        Task("Bayesian step", step([Bayesian(plain(device))], examples), "plain step", 2.2),
        Task(
            f"{MEMBERS} networks, stacked",
            step([DeepEnsemble(plain(device), members=MEMBERS).to(device)], examples),
            loop if gpu else "plain step",
            1 / 3 if gpu else 7.5,
        ),
        Task(loop, step([plain(device) for _ in range(MEMBERS)], examples), "plain step"),
    ]


def prediction_tasks(device: str, batch: Batch) -> list[Task]:
    gpu = device != "cpu"
    model, loop = Bayesian(plain(device), draws=DRAWS).eval(), f"{DRAWS} draws, loop"
    noisy = Bayesian(plain(device)).train()
    network = plain(device).eval()
    return [
        Task("plain pass", lambda: network.outputs(batch), "plain pass"),
        Task(
            f"{DRAWS} draws, stacked",
            lambda: model.member_outputs(batch),
            loop if gpu else "plain pass",
            1 / 3 if gpu else 45.0,
        ),
        Task(loop, loop_over_draws(model, batch), "plain pass"),
        Task(
            f"{DRAWS} passes in training mode",
            lambda: torch.stack([noisy.outputs(batch) for _ in range(DRAWS)]),
            "plain pass",
        ),
        Task("moments", lambda: model.moments(batch), "plain pass", 4.0),
        Task("uncertainty of the mean", lambda: model.mean_uncertainty(batch), "plain pass"),
    ]


def seconds(task: Task, repeats: int, device: str) -> float:
    """Measure one run, as the mean of several, once what it needs is in the cache."""
    clock = time.process_time if device == "cpu" else time.perf_counter
    task.run()
    if device != "cpu":
        torch.cuda.synchronize()
    start = clock()
    for _ in range(repeats):
        task.run()
    if device != "cpu":
        torch.cuda.synchronize()
    return (clock() - start) / repeats


def measure(tasks: list[Task], device: str, rounds: int) -> list[Cost]:
    """Measure all tasks in turn, round after round."""
    repeats = {}
    for task in tasks:
        seconds(task, 2, device)  # what is made once
        repeats[task.name] = max(1, round(SECONDS / max(seconds(task, 1, device), 1e-5)))
    found: dict[str, list[float]] = {task.name: [] for task in tasks}
    for _ in range(rounds):
        for task in tasks:
            found[task.name].append(seconds(task, repeats[task.name], device))
    return [
        Cost(
            device,
            task.name,
            1e3 * statistics.median(found[task.name]),
            task.reference,
            statistics.median(
                a / b for a, b in zip(found[task.name], found[task.reference], strict=True)
            ),
            task.bound,
        )
        for task in tasks
    ]


def costs(device: str, *, rows: int, rounds: int) -> list[Cost]:
    """Measure everything on one device."""
    torch.manual_seed(0)
    batch = Batch(torch.randn(rows, FEATURES, device=device))
    examples = Examples(batch, torch.randn(rows, device=device))
    found = measure(training_tasks(device, examples), device, rounds)
    with torch.inference_mode() if device == "cpu" else contextlib.nullcontext(), torch.no_grad():
        return found + measure(prediction_tasks(device, batch), device, rounds)


def table(found: list[Cost]) -> str:
    lines = [
        "| device | what                       | time [ms] | in units of      | ratio | at most |",
        "|:-------|:---------------------------|----------:|:-----------------|------:|--------:|",
    ]
    for cost in found:
        bound = "" if cost.bound is None else f"{cost.bound:.2f}"
        lines.append(
            f"| {cost.device:<6} | {cost.name:<26} | {cost.milliseconds:>9.3f} "
            f"| {cost.reference:<16} | {cost.ratio:>5.2f} | {bound:>7} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--device", choices=("cpu", "cuda"), action="append")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    devices = arguments.device or ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    with kept_memory():
        found = [
            cost
            for device in devices
            for cost in costs(device, rows=arguments.batch, rounds=arguments.rounds)
        ]
    print(table(found), flush=True)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps([cost._asdict() for cost in found], indent=2) + "\n")


if __name__ == "__main__":
    main()

"""The steps of an analysis: simulate, train, process, plot; and all of them that are missing."""

from __future__ import annotations

import functools
import shutil
from typing import TYPE_CHECKING, NamedTuple

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from hepcalib import bundles, ntuples, plots
from hepcalib.config.schema import ModelConfig
from hepcalib.exceptions import RunError
from hepcalib.pipeline import analyses as joined
from hepcalib.pipeline.checks import check
from hepcalib.pipeline.datasets import refuse_bad_files, scan_datasets
from hepcalib.pipeline.fits import (
    described_fits,
    ensure_fit,
    fitted_residuals,
    fitted_to,
    taggers,
    unfitted,
)
from hepcalib.pipeline.outputs import claim, read_histograms, write_json, write_run
from hepcalib.pipeline.parallel import each
from hepcalib.pipeline.samples import ensure_sample, missing_samples
from hepcalib.pipeline.training import bundle_path, ensure_bundle, is_up_to_date
from hepcalib.run import process as run_processor
from hepcalib.study import Studied, Study, plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from rich.console import Console

    from hepcalib.config import Loaded
    from hepcalib.inference import DecorrelatedTagger, Handle
    from hepcalib.run import Chunk, Ledger

__all__ = ["Outcome", "plot", "process", "run", "show_plan", "simulate", "train"]


class Outcome(NamedTuple):
    """What a run leaves: its ledger, and in one line what went wrong, if anything."""

    ledger: Ledger
    complaint: str


def show_plan(loaded: Loaded, *, console: Console) -> None:
    """Check the configuration and its inputs, and print what a run would do."""
    check(loaded)
    table = Table("step", "name", "state", title=loaded.config.name)
    missing, wanted = missing_samples(loaded.config), _wanted_samples(loaded)
    for name in loaded.config.samples:
        state = "up to date" if name not in missing else "to do"
        table.add_row("simulate", name, state if name in wanted else "not needed")
    for name in loaded.config.models:
        table.add_row("train", name, "up to date" if is_up_to_date(loaded, name) else "to do")
    to_fit = unfitted(loaded)
    for name, what in described_fits(loaded).items():
        table.add_row("fit", name, f"{'to do' if name in to_fit else 'up to date'}: {what}")
    for name, analysis in loaded.config.analyses.items():
        table.add_row("process", name, f"{analysis.processor} on {', '.join(analysis.datasets)}")
    present = [d for d, x in loaded.config.datasets.items() if x.sample not in missing]
    datasets = scan_datasets(loaded, names=present, checksum=False)
    for dataset in datasets:
        events = sum(summary.entries for summary in dataset.files)
        table.add_row("read", dataset.name, f"{events} entries in {len(dataset.files)} files")
    console.print(table)
    refuse_bad_files(datasets)


def run(loaded: Loaded, *, out: Path, console: Console) -> Outcome:
    """Do all that is missing, in order, and print a summary.

    Raises:
        NtupleError: naming all files that cannot be read, if there is something to simulate or to
            train before they are; if not, the others are processed and the ledger has the reasons.
    """
    check(loaded)
    missing = _wanted_samples(loaded) & set(missing_samples(loaded.config))
    if missing or _untrained(loaded) or unfitted(loaded):
        given = [n for n in _wanted_datasets(loaded) if loaded.config.datasets[n].sample is None]
        for checksum in (False, True):  # first what answers at once
            refuse_bad_files(scan_datasets(loaded, names=given, checksum=checksum))
        _simulate(loaded, sorted(_wanted_samples(loaded)), console=console)
        train(loaded, console=console)
    outcome = process(loaded, out=out, console=console)
    plot(loaded, out=out, console=console)
    return outcome


def simulate(loaded: Loaded, *, console: Console) -> None:
    """Make all declared samples that are not there yet."""
    check(loaded)
    _simulate(loaded, loaded.config.samples, console=console)


def _simulate(loaded: Loaded, names: Iterable[str], *, console: Console) -> None:
    missing = missing_samples(loaded.config)
    with _bars(console) as bars:
        for name in (name for name in names if name in missing):
            task = bars.add_task(f"simulate {name}", total=None)
            ensure_sample(
                loaded.config,
                name,
                workers=loaded.config.run.workers,
                progress=functools.partial(_advance, bars, task),
            )
            total = int(bars.tasks[task].total or 1)
            _advance(bars, task, total, total)


def train(loaded: Loaded, *, console: Console) -> None:
    """Train the models without an up-to-date bundle, then fit what acts on their results."""
    check(loaded)
    _need_samples(loaded)
    untrained = _untrained(loaded)
    with _bars(console) as bars:
        tasks = {name: bars.add_task(f"train {name}", total=None) for name in untrained}

        def report(name: str, done: int, of: int) -> None:
            _advance(bars, tasks[name], done, of)

        workers = loaded.config.run.workers
        each(functools.partial(_train, loaded), untrained, workers=workers, report=report)
        for name in unfitted(loaded):
            task = bars.add_task(f"fit {name}", total=1)
            ensure_fit(loaded, name)
            _advance(bars, task, 1, 1)


def _train(loaded: Loaded, name: str, progress: Callable[[int, int], None]) -> None:
    ensure_bundle(loaded, name, progress=progress)


def process(loaded: Loaded, *, out: Path, console: Console) -> Outcome:
    """Run the processors over all datasets and write everything but metrics and figures."""
    check(loaded)
    _need_samples(loaded)
    handles, residuals = _handles(loaded), fitted_residuals(loaded)
    config = loaded.config
    datasets = scan_datasets(loaded, names=_used_datasets(loaded), checksum=True)
    claim(out, config)
    folder = (out / "columns").absolute()
    processor = joined.Joined(
        {
            name: joined.build(
                loaded, name, handles=handles, columns=folder / name, residuals=residuals
            )
            for name in config.analyses
        },
        datasets={name: analysis.datasets for name, analysis in config.analyses.items()},
    )
    options = config.run
    result = run_processor(
        processor,
        datasets,
        executor=options.executor,
        workers=options.workers,
        chunk_size=options.chunk_size,
        max_events=options.max_events,
        address=options.address,
        retries=options.retries,
        progress=console.is_terminal,
    )
    write_run(
        out,
        config,
        histograms=result.output,
        ledger=result.ledger,
        datasets=datasets,
        handles=handles,
        residuals=residuals,
    )
    _merge_columns(folder, result.processed, loaded)
    console.print(_ledger_table(result.ledger))
    return Outcome(result.ledger, result.ledger.complaint())


def plot(loaded: Loaded, *, out: Path, console: Console) -> None:
    """Compute the metrics and draw the figures from the histograms in the output directory."""
    histograms = read_histograms(out)
    shutil.rmtree(out / "figures", ignore_errors=True)
    metrics = {}
    table = Table("analysis", "quantity", "value")
    for name in loaded.config.analyses:
        found = joined.processor_class(loaded, name)
        if not issubclass(found, Studied):
            continue
        own = joined.histograms_of(histograms, name)
        if not own:
            table.add_row(name, "none", "nothing was processed")
            continue
        study: Study = found.study(own)
        metrics[name] = plain(dict(study.metrics))
        for figure_name, figure in study.figures.items():
            plots.save(figure, out / "figures" / f"{name}_{figure_name}")
        for quantity, value in study.summary.items():
            table.add_row(name, quantity, value)
    untrained = _untrained(loaded)
    for name in [name for name in loaded.config.models if name not in untrained]:
        history = bundles.load(bundle_path(loaded, name)).spec.provenance.get("history")
        if history:
            plots.save(
                plots.history_figure(history, label=name), out / "figures" / f"training_{name}"
            )
    write_json(out / "metrics.json", metrics)
    console.print(table)


def _merge_columns(folder: Path, processed: Sequence[Chunk], loaded: Loaded) -> None:
    """Join the parts of each analysis and dataset into one file; drop those of failed chunks."""
    for name, analysis in loaded.config.analyses.items():
        for dataset in analysis.datasets:
            parts = folder / name / dataset
            chunks = [chunk.metadata for chunk in processed if chunk.dataset == dataset]
            if parts.is_dir() and chunks:
                ntuples.merge_parts(parts, folder / f"{name}_{dataset}.root", chunks=chunks)
            elif chunks and joined.writes_columns(loaded, name):
                msg = f"{parts}: the workers have left nothing here; they must see this folder"
                raise RunError(msg)
        shutil.rmtree(folder / name, ignore_errors=True)


def _handles(loaded: Loaded) -> dict[str, Handle | DecorrelatedTagger]:
    untrained = _untrained(loaded)
    if untrained:
        msg = f"no up-to-date bundle of {', '.join(untrained)}; run `hepcalib train` first"
        raise RunError(msg)
    return taggers(loaded)


def _need_samples(loaded: Loaded) -> None:
    missing = _wanted_samples(loaded) & set(missing_samples(loaded.config))
    if missing:
        names = ", ".join(sorted(missing))
        msg = f"samples not simulated yet: {names}; run `hepcalib simulate` first"
        raise RunError(msg)


def _wanted_samples(loaded: Loaded) -> set[str]:
    """Return the samples that are read."""
    read = [loaded.config.datasets[name].sample for name in _wanted_datasets(loaded)]
    return {sample for sample in read if sample is not None}


def _wanted_datasets(loaded: Loaded) -> list[str]:
    """Return the datasets that are read: by an analysis, or to train or fit what is missing."""
    models = [loaded.config.models[name] for name in _untrained(loaded)]
    trained_on = [d for m in models if isinstance(m, ModelConfig) for d in m.datasets]
    to_fit = [dataset for name in unfitted(loaded) for dataset in fitted_to(loaded, name)]
    wanted = {*_used_datasets(loaded), *trained_on, *to_fit}
    return [name for name in loaded.config.datasets if name in wanted]


def _untrained(loaded: Loaded) -> list[str]:
    return [name for name in loaded.config.models if not is_up_to_date(loaded, name)]


def _used_datasets(loaded: Loaded) -> list[str]:
    used = {name for analysis in loaded.config.analyses.values() for name in analysis.datasets}
    return [name for name in loaded.config.datasets if name in used]


def _bars(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    )


def _advance(bars: Progress, task: TaskID, done: int, of: int) -> None:
    bars.update(task, completed=done, total=of)


def _ledger_table(ledger: Ledger) -> Table:
    columns = ("expected", "processed", "skipped", "failed")
    table = Table("dataset", *columns, "sum of weights", title="events")
    for name, dataset in ledger.to_json()["datasets"].items():
        events = [str(dataset["events"][column]) for column in columns]
        table.add_row(name, *events, f"{dataset['sum_of_weights']['processed']:.6g}")
    return table

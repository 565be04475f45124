"""The steps of an analysis: simulate, train, process, plot; and all of them that are missing."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.table import Table

from hepcalib import bundles, ntuples, plots
from hepcalib.config.schema import ModelConfig
from hepcalib.exceptions import RunError
from hepcalib.pipeline import analyses as joined
from hepcalib.pipeline.checks import check
from hepcalib.pipeline.datasets import refuse_bad_files, scan_datasets
from hepcalib.pipeline.figures import save_figures
from hepcalib.pipeline.fits import (
    described_fits,
    ensure_fit,
    fitted_residuals,
    fitted_to,
    taggers,
    unfitted,
)
from hepcalib.pipeline.folder import OutputFolder
from hepcalib.pipeline.kept import separated
from hepcalib.pipeline.outputs import (
    claim,
    read_counters,
    read_histograms,
    write_json,
    write_run,
)
from hepcalib.pipeline.parallel import each
from hepcalib.pipeline.progress import advance, bars, ledger_table, naming_collapse
from hepcalib.pipeline.samples import ensure_sample, missing_samples
from hepcalib.pipeline.training import bundle_path, ensure_bundle, is_up_to_date
from hepcalib.run import process as run_processor
from hepcalib.study import Studied, Study, plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from hist import Hist
    from matplotlib.figure import Figure
    from rich.console import Console

    from hepcalib.config import Loaded
    from hepcalib.inference import DecorrelatedTagger, Handle
    from hepcalib.run import Chunk, Ledger

__all__ = ["Outcome", "output_folder", "plot", "process", "run", "show_plan", "simulate", "train"]


class Outcome(NamedTuple):
    """What a run leaves: its ledger, and in one line what went wrong, if anything."""

    ledger: Ledger | None
    complaint: str

    @property
    def ok(self) -> bool:
        """Whether nothing went wrong."""
        return not self.complaint and (self.ledger is None or self.ledger.ok)


def output_folder(loaded: Loaded, out: Path) -> OutputFolder:
    """Return the output directory of a configuration, with its list of what is ours."""
    return OutputFolder(out, workspace=Path(loaded.config.workspace))


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


def run(loaded: Loaded, *, out: Path, console: Console, force: bool = False) -> Outcome:
    """Do all that is missing, in order, and print a summary.

    Raises:
        NtupleError: naming files that cannot be read, if there is something to simulate or to
            train before they are; if not, the others are processed and the ledger has the reasons.
    """
    check(loaded)
    output_folder(loaded, out).examine(force=force)
    missing = _wanted_samples(loaded) & set(missing_samples(loaded.config))
    if missing or _untrained(loaded) or unfitted(loaded):
        given = [n for n in _wanted_datasets(loaded) if loaded.config.datasets[n].sample is None]
        for checksum in (False, True):  # first what answers at once
            refuse_bad_files(scan_datasets(loaded, names=given, checksum=checksum))
        _simulate(loaded, sorted(_wanted_samples(loaded)), console=console)
        train(loaded, console=console)
    outcome = process(loaded, out=out, console=console, force=force)
    drawn = plot(loaded, out=out, console=console)
    complaints = [text for text in (outcome.complaint, drawn.complaint) if text]
    return outcome._replace(complaint="; ".join(complaints))


def simulate(loaded: Loaded, *, console: Console) -> None:
    """Make all declared samples that are not there yet."""
    check(loaded)
    _simulate(loaded, loaded.config.samples, console=console)


def _simulate(loaded: Loaded, names: Iterable[str], *, console: Console) -> None:
    missing = missing_samples(loaded.config)
    with bars(console) as shown:
        for name in (name for name in names if name in missing):
            task = shown.add_task(f"simulate {name}", total=None)
            ensure_sample(
                loaded.config,
                name,
                workers=loaded.config.run.workers,
                progress=functools.partial(advance, shown, task),
            )
            total = int(shown.tasks[task].total or 1)
            advance(shown, task, total, total)


def train(loaded: Loaded, *, console: Console) -> None:
    """Train the models without an up-to-date bundle, then fit what acts on their results."""
    check(loaded)
    _need_samples(loaded)
    untrained = _untrained(loaded)
    with bars(console) as shown:
        tasks = {name: shown.add_task(f"train {name}", total=None) for name in untrained}

        def report(name: str, done: int, of: int) -> None:
            advance(shown, tasks[name], done, of)

        workers = loaded.config.run.workers
        each(functools.partial(_train, loaded), untrained, workers=workers, report=report)
        for name in unfitted(loaded):
            task = shown.add_task(f"fit {name}", total=1)
            ensure_fit(loaded, name)
            advance(shown, task, 1, 1)


def _train(loaded: Loaded, name: str, progress: Callable[[int, int], None]) -> None:
    with naming_collapse(name):
        ensure_bundle(loaded, name, progress=progress)


def process(loaded: Loaded, *, out: Path, console: Console, force: bool = False) -> Outcome:
    """Run the processors over all datasets and write everything but metrics and figures.

    The ledger is written last, when everything else is there.
    """
    check(loaded)
    output = output_folder(loaded, out)
    output.examine(force=force)
    _need_samples(loaded)
    handles, residuals = _handles(loaded), fitted_residuals(loaded)
    config = loaded.config
    datasets = scan_datasets(loaded, names=_used_datasets(loaded), checksum=True)
    claim(output, config)
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
    histograms, counters = _separated(result.output, config.analyses)
    left_out = write_run(
        output,
        config,
        histograms=histograms,
        counters=counters,
        datasets=datasets,
        handles=handles,
        residuals=residuals,
    )
    for line in left_out:
        _say(console, f"Warning: {line}")
    _merge_columns(output, result.processed, loaded)
    write_json(output, "ledger.json", result.ledger.to_json())
    console.print(ledger_table(result.ledger))
    complaints = [text for text in (result.ledger.complaint(), *processor.complaints) if text]
    return Outcome(result.ledger, "; ".join(complaints))


def _separated(
    output: Mapping[str, Any], analyses: Iterable[str]
) -> tuple[dict[str, Hist[Any]], dict[str, Any]]:
    """Return the histograms, by analysis and name, and what each analysis counted beside them."""
    histograms: dict[str, Hist[Any]] = {}
    counters: dict[str, Any] = {}
    for name in sorted(analyses):
        found, rest = separated(name, joined.outputs_of(output, name))
        histograms |= {f"{name}/{key}": histogram for key, histogram in found.items()}
        counters |= {name: rest} if rest else {}
    return dict(sorted(histograms.items())), counters


def plot(loaded: Loaded, *, out: Path, console: Console) -> Outcome:
    """Compute the metrics and draw the figures from the histograms in the output directory.

    The metrics are written first. A study or a figure that fails costs none of the others.
    """
    histograms, counters = read_histograms(out), read_counters(out)
    output = output_folder(loaded, out)
    output.clear(lambda name: name == "metrics.json" or name.startswith("figures/"))
    metrics: dict[str, Any] = {}
    figures: dict[str, Figure] = {}
    complaints: list[str] = []
    table = Table("analysis", "quantity", "value")
    for name in loaded.config.analyses:
        own = joined.outputs_of(histograms, name)
        if not issubclass(joined.processor_class(loaded, name), Studied):
            continue
        if not own:
            table.add_row(name, "none", "nothing was processed")
            continue
        try:
            study = _study(loaded, name, {**own, **counters.get(name, {})})
            metrics[name] = plain(dict(study.metrics))
        except Exception as error:  # noqa: BLE001 - may be a user's, and costs no other analysis
            complaints.append(f"analysis '{name}': its study failed: {_named(error)}")
            continue
        figures |= {f"{name}_{key}": figure for key, figure in study.figures.items()}
        for quantity, value in study.summary.items():
            table.add_row(name, quantity, value)
    write_json(output, "metrics.json", metrics)
    figures |= _histories(loaded)
    complaints += save_figures(output, figures, workers=loaded.config.run.workers)
    console.print(table)
    return Outcome(None, "; ".join(complaints))


def _study(loaded: Loaded, name: str, outputs: Mapping[str, Any]) -> Study:
    found: Any = joined.processor_class(loaded, name)
    study: Study = found.study(outputs)
    return study


def _histories(loaded: Loaded) -> dict[str, Figure]:
    """Return a figure of each training that is known."""
    untrained, figures = _untrained(loaded), dict[str, "Figure"]()
    for name in [name for name in loaded.config.models if name not in untrained]:
        history = bundles.load(bundle_path(loaded, name)).spec.provenance.get("history")
        if history:
            figures[f"training_{name}"] = plots.history_figure(history, label=name)
    return figures


def _named(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def _say(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def _merge_columns(output: OutputFolder, processed: Sequence[Chunk], loaded: Loaded) -> None:
    """Join the parts of each analysis and dataset into one file; drop those of failed chunks."""
    folder = output.path / "columns"
    for name, analysis in loaded.config.analyses.items():
        for dataset in analysis.datasets:
            parts = folder / name / dataset
            chunks = [chunk.metadata for chunk in processed if chunk.dataset == dataset]
            if parts.is_dir() and chunks:
                with output.writing(f"columns/{name}_{dataset}.root") as temporary:
                    ntuples.merge_parts(parts, temporary, chunks=chunks)
            elif chunks and joined.writes_columns(loaded, name):
                msg = f"{parts}: the workers have left nothing here; they must see this folder"
                raise RunError(msg)
    output.clear_parts()


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

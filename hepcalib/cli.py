"""The command `hepcalib`: run, or one step of it."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click
from rich.console import Console

from hepcalib import __version__
from hepcalib.exceptions import HepcalibError, one_line
from hepcalib.stopping import Stopped, stoppable

if TYPE_CHECKING:
    from collections.abc import Callable

    from hepcalib.config import Loaded
    from hepcalib.pipeline.stages import Outcome

__all__ = ["main"]

Answer = TypeVar("Answer")


class _Path(click.Path):
    """A path that is not empty, as that of an unset variable is."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not str(value).strip():
            self.fail("is empty; is a variable not set?", param, ctx)
        return super().convert(value, param, ctx)


_config = click.argument("config", type=_Path(dir_okay=False, path_type=Path))
_out = click.option(
    "--out", type=_Path(file_okay=False, path_type=Path), help="Output directory [out/NAME]."
)
_force = click.option(
    "--force",
    is_flag=True,
    help="Use the output directory although it holds other files, which stay as they are.",
)
_data = click.option(
    "--data",
    type=_Path(file_okay=False, path_type=Path),
    help="Folder that ${HEPCALIB_DATA} in file names stands for.",
)
_workers = click.option("--workers", type=click.IntRange(min=1), help="Processes that work.")
_processing = (
    click.option("--executor", type=click.Choice(["iterative", "futures", "dask"])),
    _workers,
    click.option("--chunk-size", type=click.IntRange(min=1), help="Target entries per chunk."),
    click.option("--max-events", type=click.IntRange(min=1), help="Entries per dataset."),
    click.option("--address", help="Address of a dask scheduler instead of a local cluster."),
)


_record = click.option(
    "--record-checksums",
    is_flag=True,
    help="Write the sha256 of the input files beside CONFIG; later runs check them.",
)


def _processing_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_processing):
        command = option(command)
    return command


class _Command(click.Group):
    """Commands that a signal ends in one line, after they have closed what they opened."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            with stoppable():
                return super().invoke(ctx)
        except Stopped as stop:
            with suppress(OSError):  # the terminal may be gone
                click.echo(f"Error: {stop}", err=True)
            sys.exit(stop.exit_code)


@click.group(cls=_Command)
@click.version_option(__version__)
def main() -> None:
    """Calibrate detector signals and tag jets, with uncertainties, inside coffea."""


@main.command()
@_config
@_out
@_force
@_data
@_processing_options
@_record
@click.option("--dry-run", is_flag=True, help="Check everything, say what would be done, stop.")
def run(
    config: Path,
    *,
    out: Path | None,
    force: bool,
    data: Path | None,
    record_checksums: bool,
    dry_run: bool,
    **options: Any,
) -> None:
    """Do all that is missing: simulate, train, process, plot."""
    from hepcalib.pipeline import stages

    def work(loaded: Loaded) -> Outcome | None:
        folder, console = _folder(loaded, out), Console(stderr=True)
        if dry_run:
            stages.output_folder(loaded, folder).examine(force=force)
            stages.show_plan(loaded, console=Console())
            return None
        return stages.run(loaded, out=folder, console=console, force=force)

    _guarded(config, data, options, work, record=record_checksums and not dry_run)


@main.command()
@_config
@_data
@_workers
def simulate(config: Path, *, data: Path | None, **options: Any) -> None:
    """Make the simulated samples that are not there yet."""
    from hepcalib.pipeline import stages

    _guarded(config, data, options, lambda x: stages.simulate(x, console=Console(stderr=True)))


@main.command()
@_config
@_data
@_workers
def train(config: Path, *, data: Path | None, **options: Any) -> None:
    """Train the models that have no up-to-date bundle."""
    from hepcalib.pipeline import stages

    _guarded(config, data, options, lambda x: stages.train(x, console=Console(stderr=True)))


@main.command()
@_config
@_out
@_force
@_data
@_processing_options
@_record
def process(
    config: Path,
    *,
    out: Path | None,
    force: bool,
    data: Path | None,
    record_checksums: bool,
    **options: Any,
) -> None:
    """Run the processors and write histograms, columns and the ledger."""
    from hepcalib.pipeline import stages

    def work(loaded: Loaded) -> Outcome:
        console = Console(stderr=True)
        return stages.process(loaded, out=_folder(loaded, out), console=console, force=force)

    _guarded(config, data, options, work, record=record_checksums)


@main.command()
@_config
@_out
@_data
@_workers
def plot(config: Path, *, out: Path | None, data: Path | None, **options: Any) -> None:
    """Compute the metrics and draw the figures of the histograms in the output directory."""
    from hepcalib.pipeline import stages

    def work(loaded: Loaded) -> Outcome:
        return stages.plot(loaded, out=_folder(loaded, out), console=Console(stderr=True))

    _guarded(config, data, options, work)


@main.command()
@click.argument("bundle", type=_Path(file_okay=False, path_type=Path))
@click.option(
    "--onnx",
    type=_Path(dir_okay=False, path_type=Path),
    required=True,
    help="File to write: mixture networks of clusters, with the outputs that Athena reads.",
)
@click.option(
    "--draws",
    type=click.Choice(["frozen", "mean"]),
    default="frozen",
    show_default=True,
    help="All weight draws inside the graph, or one network of the mean weights.",
)
@click.option("--raw-inputs", is_flag=True, help="Put the transforms of the inputs into the graph.")
def export(bundle: Path, *, onnx: Path, draws: Literal["frozen", "mean"], raw_inputs: bool) -> None:
    """Write a trained model for programs without torch."""
    from hepcalib import bundles
    from hepcalib import export as room

    def write() -> None:
        room.write_onnx(bundles.load(bundle), onnx, draws=draws, raw_inputs=raw_inputs)
        click.echo(f"{onnx}: written, and equal to the model")

    _reporting(write)


def _folder(loaded: Loaded, out: Path | None) -> Path:
    if loaded.config.output is not None and not loaded.config.output.strip():
        raise loaded.error(("output",), "is empty; give a folder, or leave it out")
    return out or Path(loaded.config.output or Path("out") / loaded.config.name)


def _guarded(
    config: Path,
    data: Path | None,
    options: dict[str, Any],
    work: Callable[[Loaded], Outcome | None],
    *,
    record: bool = False,
) -> None:
    from hepcalib.config import load
    from hepcalib.pipeline.checksums import record_checksums, with_recorded

    variables = {} if data is None else {"HEPCALIB_DATA": str(data)}

    def loaded_and_done() -> Outcome | None:
        loaded = load(config, variables=variables).with_run(**options)
        if not record:
            return work(with_recorded(loaded, config))
        click.echo(record_checksums(loaded, config), err=True)
        return work(loaded)

    outcome = _reporting(loaded_and_done)
    if outcome is not None and not outcome.ok:
        click.echo(f"Error: {outcome.complaint}", err=True)
        sys.exit(1)


def _reporting(work: Callable[[], Answer]) -> Answer:
    """Do the work, or end with its error in one line."""
    try:
        return work()
    except HepcalibError as error:
        click.echo(f"Error: {one_line(str(error), longest=10_000)}", err=True)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        click.echo(f"Error: {where}{error.strerror or error}", err=True)
    sys.exit(2)

"""The processors of a configuration: imported, checked, and joined so that files are read once."""

from __future__ import annotations

import copy
import importlib
import inspect
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coffea.processor import ProcessorABC

from hepcalib.config.scans import scan_models
from hepcalib.exceptions import HepcalibError, OutputError, suggestion
from hepcalib.inference import Handle
from hepcalib.pipeline.isolation import own_events
from hepcalib.pipeline.kept import check_output, separated

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import awkward as ak

    from hepcalib.config import Loaded
    from hepcalib.inference import DecorrelatedTagger

__all__ = [
    "Joined",
    "build",
    "check_arguments",
    "models_of",
    "outline",
    "outputs_of",
    "processor_class",
    "writes_columns",
]


def processor_class(loaded: Loaded, name: str) -> type[ProcessorABC]:
    """Import the processor class of an analysis, from the installed packages or this folder.

    Raises:
        ConfigError: if there is no such module or class, or it is no coffea processor.
    """
    module_name, _, class_name = loaded.config.analyses[name].processor.partition(":")
    key = ("analyses", name, "processor")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise loaded.error(key, f"no module '{module_name}': {error}") from error
    found = getattr(module, class_name, None)
    if not (inspect.isclass(found) and issubclass(found, ProcessorABC)):
        known = [
            n
            for n, c in vars(module).items()
            if inspect.isclass(c) and issubclass(c, ProcessorABC) and c is not ProcessorABC
        ]
        msg = f"'{module_name}' has no processor '{class_name}'. {suggestion(class_name, known)}"
        raise loaded.error(key, msg)
    processor: type[ProcessorABC] = found
    return processor


def check_arguments(loaded: Loaded, name: str) -> None:
    """Refuse models and options that the processor's constructor does not know, or misses."""
    analysis = loaded.config.analyses[name]
    parameters = inspect.signature(processor_class(loaded, name)).parameters
    given = {
        **dict.fromkeys(analysis.models, "models"),
        **dict.fromkeys(analysis.options, "options"),
    }
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    for argument, room in given.items():
        if argument == "columns":
            msg = "the folder of the columns follows from the output directory; leave it out"
            raise loaded.error(("analyses", name, room, argument), msg)
        if argument not in parameters:
            msg = f"{analysis.processor} takes no '{argument}'. {suggestion(argument, parameters)}"
            raise loaded.error(("analyses", name, room, argument), msg)
    missing = [p for p, v in parameters.items() if v.default is v.empty and p not in given]
    if missing:
        msg = f"{analysis.processor} needs {', '.join(missing)} among its models or options"
        raise loaded.error(("analyses", name), msg)


def outline(loaded: Loaded, name: str) -> ProcessorABC:
    """Return the processor of an analysis before its models exist: it can tell what it needs.

    Raises:
        ConfigError: if the processor refuses the value of an option.
    """
    analysis = loaded.config.analyses[name]
    known = (*loaded.config.models, *loaded.config.decorrelators)
    models = _handed(loaded, name, dict.fromkeys(known, Handle("", "")), {})
    try:
        return processor_class(loaded, name)(**models, **analysis.options)
    except (HepcalibError, TypeError, ValueError) as error:
        raise loaded.error(("analyses", name, "options"), str(error)) from error


def writes_columns(loaded: Loaded, name: str) -> bool:
    """Tell whether a processor takes a folder for its per-object output, `columns`."""
    return "columns" in inspect.signature(processor_class(loaded, name)).parameters


def build(
    loaded: Loaded,
    name: str,
    *,
    handles: Mapping[str, Handle | DecorrelatedTagger],
    columns: Path,
    residuals: Mapping[str, Path] | None = None,
) -> ProcessorABC:
    """Return the processor of an analysis, with handles for its models and files of residuals.

    The constructor keeps the handles and opens none of them. If it has an argument `columns`, that
    is the folder for its per-object output.
    """
    analysis = loaded.config.analyses[name]
    found = processor_class(loaded, name)
    arguments = _handed(loaded, name, handles, residuals or {})
    if writes_columns(loaded, name):
        arguments["columns"] = str(columns)
    return found(**arguments, **analysis.options)


def models_of(loaded: Loaded, name: str) -> dict[str, str]:
    """Return the models that an analysis applies, with their roles.

    Those of its scans are included, and those that a decorrelator acts on.
    """
    used: dict[str, str] = {}
    decorrelators = loaded.config.decorrelators
    for role, given in loaded.config.analyses[name].models.items():
        model = decorrelators[given].score if given in decorrelators else given
        is_column = given in decorrelators and model not in loaded.config.models
        if is_column or model in loaded.config.residuals:
            continue
        found = scan_models(loaded.config, model).values() if model in loaded.config.scans else ()
        used |= dict.fromkeys(found or [model], role)
    return used


def _handed(
    loaded: Loaded,
    name: str,
    handles: Mapping[str, Handle | DecorrelatedTagger],
    residuals: Mapping[str, Path],
) -> dict[str, Any]:
    """Return what the constructor gets for each role: a handle, those of a scan, or a file."""
    config, arguments = loaded.config, dict[str, Any]()
    for role, used in config.analyses[name].models.items():
        if used in config.scans:
            arguments[role] = {v: handles[m] for v, m in scan_models(config, used).items()}
        elif used in config.residuals:
            arguments[role] = str(residuals.get(used, ""))
        else:
            arguments[role] = handles[used]
    return arguments


class Joined(ProcessorABC):  # type: ignore[misc]  # coffea is untyped
    """Several analyses in one reading of the files; outputs are named `analysis/output`."""

    def __init__(
        self, analyses: Mapping[str, ProcessorABC], *, datasets: Mapping[str, Sequence[str]]
    ) -> None:
        self.analyses = dict(analyses)
        self.datasets = {name: tuple(used) for name, used in datasets.items()}

        self.complaints: list[str] = []
        self._known: dict[str, set[str]] = {name: set() for name in self.analyses}
        self._refusal: str | None = None
        self._kept = False

    def process(self, events: ak.Array) -> dict[str, Any]:
        """Return the outputs of every analysis that uses the dataset of these events.

        All but the last get events of their own, so that none sees what another changed.

        Raises:
            OutputError: if an output cannot be kept; then also for all further chunks, unless
                there was one before that could.
        """
        if self._refusal is not None:
            raise OutputError(self._refusal)
        dataset = events.metadata["dataset"]
        using = [name for name in self.analyses if dataset in self.datasets[name]]
        outputs: dict[str, Any] = {}
        for name in using:
            own = events if name == using[-1] else own_events(events)
            output = self.analyses[name].process(own)
            self._check(name, output)
            outputs |= {f"{name}/{key}": value for key, value in output.items()}
        return outputs

    def _check(self, name: str, output: Any) -> None:
        try:
            check_output(name, output, known=self._known[name])
        except OutputError as error:
            self._refusal = None if self._kept else str(error)
            raise
        self._kept = True

    def postprocess(self, accumulator: dict[str, Any]) -> dict[str, Any]:
        """Return the outputs after each analysis has seen its own.

        An analysis that fails here, or returns what cannot be kept, leaves its sum as it is, and a
        complaint in `complaints`.
        """
        finished: dict[str, Any] = {}
        for name, processor in self.analyses.items():
            own = outputs_of(accumulator, name)
            try:
                changed = processor.postprocess(copy.deepcopy(own)) or own
                separated(name, changed)
            except Exception as error:  # noqa: BLE001 - the sum of a whole run is kept
                reason = f"{type(error).__name__}: {error}"
                self.complaints.append(f"analysis '{name}': postprocess failed: {reason}")
                changed = own
            finished |= {f"{name}/{key}": value for key, value in changed.items()}
        return finished


def outputs_of(histograms: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the outputs of one analysis, by their own names."""
    prefix = f"{name}/"
    return {
        key.removeprefix(prefix): histogram
        for key, histogram in sorted(histograms.items())
        if key.startswith(prefix)
    }
